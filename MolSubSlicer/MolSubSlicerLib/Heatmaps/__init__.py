"""The Heatmaps panel."""
