"""The Load panel: mammograms into the scene."""
