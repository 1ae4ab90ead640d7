"""Heatmaps: Grad-CAM and other methods, overlay sheets, tests of faithfulness, examples of a run."""
