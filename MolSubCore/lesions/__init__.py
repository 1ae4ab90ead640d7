"""Lesions: outlines in files, regions of interest, and the patches that networks see."""
