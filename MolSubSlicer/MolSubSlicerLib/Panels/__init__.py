"""The panels: widgets only."""
