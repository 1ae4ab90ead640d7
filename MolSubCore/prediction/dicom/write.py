"""All DICOM results of a prediction as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import UID, RLELossless, SecondaryCaptureImageStorage

from MolSubCore import DISCLAIMER
from MolSubCore.files import file_label, file_word
from MolSubCore.imaging.io.native import no_remarks
from MolSubCore.prediction.dicom.maker import common, finished, new_object, new_uid, reference
from MolSubCore.prediction.dicom.parametric_map import make_parametric_map
from MolSubCore.prediction.dicom.segmentation import make_segmentation
from MolSubCore.prediction.dicom.source import read_source
from MolSubCore.prediction.dicom.structured_report import ReportedLesion, make_report

if TYPE_CHECKING:
    from MolSubCore.prediction.result import LesionPrediction, Prediction


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


def write_dicom(prediction: Prediction, folder: Path, overlays: dict[str, dict[str, Path]]) -> list[str]:
    """Write segmentations, parametric maps, overlays and the report of a prediction.

    They belong to the studies of their mammograms and name the patient: identified data.

    Parameters
    ----------
    prediction : Prediction
    folder : Path
        Made here; not atomic by itself.
    overlays : dict
        For each lesion (`LesionPrediction.lesion`), the overlay sheet (PNG) by class name.

    Returns
    -------
    list of str
        File names: ``seg_*.dcm``, ``map_*.dcm``, ``overlay_*.dcm`` and ``sr.dcm``.

    Raises
    ------
    MolSubError
        If an image is no DICOM file, or cannot be referred to.
    """
    folder.mkdir()
    writer = _Writer(prediction, folder)
    with no_remarks("highdicom", "pydicom"):
        lesions = []
        for index in dict.fromkeys(item.image_index for item in prediction.items):
            items = [item for item in prediction.items if item.image_index == index]
            lesions += writer.image(items, overlays)
        writer.save(make_report(prediction, lesions, new_uid()), "sr.dcm")
    return writer.names


class _Writer:
    """Writes the objects of one prediction; each kind has one series in each study, maps one for each image."""

    def __init__(self, prediction: Prediction, folder: Path) -> None:
        self._prediction, self._folder = prediction, folder
        self._series: dict[tuple[str, str], UID] = {}
        self._numbers: dict[UID, int] = {}
        self.names: list[str] = []

    def image(self, items: list[LesionPrediction], overlays: dict[str, dict[str, Path]]) -> list[ReportedLesion]:
        """Write what belongs to one image; its lesions for the report."""
        source = read_source(Path(items[0].files[0]))
        card = self._prediction.bundle_card
        segmentation = make_segmentation(items, source, card, *self._next("segmentation", source))
        self.save(segmentation.dataset, f"seg_{file_label(items[0].image)}.dcm")
        lesions = []
        for segment, item in enumerate(items, start=1):
            pictures = tuple(self._pictures(item, source, overlays.get(item.lesion, {})))
            lesions.append(ReportedLesion(item, source, segmentation, segment, pictures))
        return lesions

    def _pictures(self, item: LesionPrediction, source: Dataset, overlays: dict[str, Path]) -> list[Dataset]:
        if item.maps is None:
            return []
        card, classes = self._prediction.bundle_card, self._prediction.classes
        made = []
        for position, index in enumerate(item.maps.classes):
            name = classes[index]
            file = f"{file_label(item.lesion)}_{file_word(name)}.dcm"
            heatmaps = make_parametric_map(item, position, classes, source, card, *self._next("map", source))
            self.save(heatmaps, f"map_{file}")
            title = f"{item.lesion}, {name}"
            sheet = make_overlay(overlays[name], title, source, card, *self._next("overlay", source))
            self.save(sheet, f"overlay_{file}")
            made += [_without_pixels(heatmaps), _without_pixels(sheet)]
        return made

    def _next(self, kind: str, source: Dataset) -> tuple[UID, int]:
        """Series UID and instance number of the next object of a kind.

        A series has one frame of reference at most (PS3.3 A.1.2.3), and maps have that of their image.
        """
        of = source.SOPInstanceUID if kind == "map" else source.StudyInstanceUID
        series = self._series.setdefault((kind, str(of)), new_uid())
        self._numbers[series] = self._numbers.get(series, 0) + 1
        return series, self._numbers[series]

    def save(self, dataset: Dataset, name: str) -> None:
        dataset.save_as(self._folder / name, enforce_file_format=True)
        self.names.append(name)


def _without_pixels(dataset: Dataset) -> Dataset:
    """What a report needs of an object."""
    kept = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    reference = Dataset()
    for keyword in kept:
        reference[keyword] = dataset[keyword]
    return reference
