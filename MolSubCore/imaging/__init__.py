"""MolSubCore.imaging."""
