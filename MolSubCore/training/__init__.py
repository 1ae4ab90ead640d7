"""MolSubCore.training."""
