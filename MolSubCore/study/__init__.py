"""A whole study: its plan, its jobs, and what is made of their results."""
