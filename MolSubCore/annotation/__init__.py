"""Outlining a cohort: worklists, and a second reader."""
