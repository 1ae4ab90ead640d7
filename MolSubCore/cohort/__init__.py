"""Cohort tables, their checks and splits, patches and features, importers, synthetic cohorts."""
