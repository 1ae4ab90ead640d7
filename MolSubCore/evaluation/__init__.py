"""MolSubCore.evaluation."""
