"""Predictions as DICOM objects."""
