"""MolSubCore.explain."""
