"""The Predict panel: models and predictions."""
