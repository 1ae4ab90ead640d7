"""MolSubCore.report."""
