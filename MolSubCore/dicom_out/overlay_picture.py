"""Overlay sheets as DICOM Secondary Capture, for archives and viewers that know no parametric map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import UID, RLELossless, SecondaryCaptureImageStorage

from MolSubCore import DISCLAIMER
from MolSubCore.dicom_out.maker import common, finished, new_object, reference


def make_overlay(picture: Path, title: str, source: Dataset, card: dict[str, Any], series: UID, number: int) -> Dataset:
    """An overlay sheet as a colour picture.

    Parameters
    ----------
    picture : Path
        A PNG that `MolSubCore.explain.overlay.draw_sheet` drew.
    title : str
        Lesion and class.
    source, card, series, number
        As for `make_segmentation`.

    Returns
    -------
    Dataset
        RLE compressed. It is burned in what the mammogram has burned in, which may be unknown; the sheet's own text
        names no patient.
    """
    with Image.open(picture, formats=("PNG",)) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    made = new_object(source, SecondaryCaptureImageStorage, "OT", common(card, "overlay", series, number))
    made.ConversionType = "WSD"
    made.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    if "BurnedInAnnotation" in source:
        made.BurnedInAnnotation = source.BurnedInAnnotation
    made.PatientOrientation = ""
    made.DerivationDescription = f"Overlay of heatmaps: {title}"
    made.SourceImageSequence = [reference(source)]
    made.ImageComments = DISCLAIMER
    made.Rows, made.Columns, made.SamplesPerPixel = pixels.shape
    made.PhotometricInterpretation, made.PlanarConfiguration, made.PixelRepresentation = "RGB", 0, 0
    made.BitsAllocated, made.BitsStored, made.HighBit = 8, 8, 7
    made.compress(RLELossless, pixels, generate_instance_uid=False)
    return finished(made, source)
