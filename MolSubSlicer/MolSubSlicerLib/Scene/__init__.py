"""What lies in the scene: mammograms, lesions, heatmaps, predictions. MRML only, no widgets."""
