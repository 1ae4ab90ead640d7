"""Predictions: made, written, reported."""
