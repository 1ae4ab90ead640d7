"""The process that does jobs for the Slicer module and for studies."""
