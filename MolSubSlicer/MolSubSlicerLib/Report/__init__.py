"""The Report panel."""
