"""MolSubCore.cohort."""
