"""Results as DICOM objects of the mammogram's own study: segmentation, structured report, parametric map, overlay."""
