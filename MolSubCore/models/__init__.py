"""MolSubCore.models."""
