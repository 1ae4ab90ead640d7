"""The Set-up panel: packages and Python."""
