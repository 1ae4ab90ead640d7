"""Importers of public cohorts, of folders and of the paper's own table: each makes a cohort table and a report."""
