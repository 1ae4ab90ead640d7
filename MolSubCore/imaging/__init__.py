"""Files become mammograms and lesions; both become regions of interest.

`read_mammogram` and `display_array` are imported from their modules:
`MolSubCore.imaging.io.reader`, `MolSubCore.imaging.display`.
"""
