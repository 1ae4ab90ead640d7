"""The process that computes for the module."""
