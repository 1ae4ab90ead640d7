"""Importers of public cohorts, and of the paper's own table: a folder becomes a cohort table and a report."""
