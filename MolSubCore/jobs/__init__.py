"""Jobs for other processes: the messages, the worker that runs them, and what hands them out."""
