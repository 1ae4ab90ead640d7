"""Files as they come: DICOM, pictures, NIfTI, NRRD and MetaImage."""
