"""What the panels do, without widgets."""
