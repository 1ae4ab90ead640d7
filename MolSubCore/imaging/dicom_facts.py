"""What a DICOM header says about a mammogram: side, view, spacing, polarity, doubts.

Every function takes a data set and gives the fact and the sentences a user must see.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from pydicom.dataset import Dataset

from MolSubCore.errors import printable
from MolSubCore.imaging.mammogram import Spacing

Side = Literal["L", "R"]

# CID 4014: code in SCT, the same in SNM3/SRT, short form (ACR). The first two letters of the last
# column are what people call it.
_VIEW_CODES = {
    "399162004": "CC",
    "R-10242": "CC",
    "399368009": "MLO",
    "R-10226": "MLO",
    "399260004": "ML",
    "R-10224": "ML",
    "399352003": "LM",
    "R-10228": "LM",
    "399099002": "LMO",
    "R-10230": "LMO",
    "399188001": "SIO",
    "R-102D0": "SIO",
    "441555000": "ISO",
    "R-40AAA": "ISO",
    "399196006": "FB",
    "R-10244": "FB",
    "399265009": "XCC",
    "R-102CF": "XCC",
    "399192008": "XCCL",
    "R-1024A": "XCCL",
    "399101009": "XCCM",
    "R-1024B": "XCCM",
    "127457009": "SPECIMEN",
    "G-8310": "SPECIMEN",
    # modifiers of CID 4015 that some files give as the view
    "399011000": "AT",
    "R-102D1": "AT",
    "399161006": "CV",
    "R-102D2": "CV",
}
_VIEWS = set(_VIEW_CODES.values())
# CID 4015: modifiers that make the picture another kind than the standard views
_UNUSUAL = {
    "399163009": "magnification",
    "R-102D6": "magnification",
    "399055006": "spot compression",
    "R-102D7": "spot compression",
    "399209000": "implant displaced",
    "R-102D5": "implant displaced",
    "399110001": "tangential",
    "R-102C2": "tangential",
    "399161006": "cleavage",
    "R-102D2": "cleavage",
    "399011000": "axillary tail",
    "R-102D1": "axillary tail",
    "442580003": "axillary tissue",
    "R-40AB2": "axillary tissue",
}
_MAX_MM, _MIN_SPACING = 600.0, 0.005
_LONGEST = 1024


def text(dataset: Dataset, keyword: str) -> str:
    """An attribute's value as stripped text; several values joined by a backslash, empty if absent.

    Control characters, which no attribute read here may hold, are escaped; an absurdly long value is shortened.
    """
    value = dataset.get(keyword)
    if value is None:
        return ""
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    joined = "\\".join(str(v).strip() for v in values).strip("\\")
    return joined if joined.isprintable() and len(joined) <= _LONGEST else printable(joined, _LONGEST)


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...] | None:
    """An attribute's values as floats: empty if absent, None if one of them is not a finite number."""
    try:
        value = dataset.get(keyword)
        if value is None or value == "":
            return ()
        values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        found = tuple(float(v) for v in values if v is not None and v != "")
    except (TypeError, ValueError, OverflowError):
        return None
    return found if all(math.isfinite(v) for v in found) else None


def read_side(dataset: Dataset) -> tuple[Side | None, list[str]]:
    """Side of the breast: Image Laterality (0020,0062), then Laterality, then Frame Laterality."""
    keywords = ("ImageLaterality", "Laterality", "FrameLaterality")
    given = {keyword: text(dataset, keyword).upper()[:1] for keyword in keywords}
    sides: list[Side] = [side for value in given.values() for side in ("L", "R") if value == side]  # type: ignore[misc]
    if not sides:
        both = "B" in given.values()
        return None, ["The file says that both breasts are shown; one side was expected."] if both else []
    if len(set(sides)) > 1:
        found = ", ".join(f"{keyword} {value}" for keyword, value in given.items() if value)
        return sides[0], [f"The file contradicts itself about the side ({found}); {sides[0]} was taken."]
    return sides[0], []


def read_view(dataset: Dataset) -> tuple[str | None, list[str]]:
    """View in ACR's short form: View Code Sequence (CID 4014), View Position, Patient Orientation (CBIS-DDSM)."""
    coded, notes = _coded_view(dataset)
    position = short_view(text(dataset, "ViewPosition"))
    if coded and position and coded != position:
        notes.append(
            f"The file contradicts itself about the view (code {coded}, View Position {position}); {coded} was taken."
        )
    orientation = text(dataset, "PatientOrientation").upper()
    return coded or position or (orientation if orientation in _VIEWS else None), notes


def read_chest_wall(dataset: Dataset) -> Literal["left", "right"] | None:
    """Side of the stored picture where the chest wall is by Patient Orientation (0020,0020).

    Its first value is the direction of the rows: anterior to the right means that the chest wall is on the left
    (PS3.3 C.7.6.1.1.1).
    """
    rows = text(dataset, "PatientOrientation").upper().split("\\")[0]
    return {"A": "left", "P": "right"}.get(rows[:1])  # type: ignore[return-value]


def _coded_view(dataset: Dataset) -> tuple[str | None, list[str]]:
    items = dataset.get("ViewCodeSequence") or []
    if not items:
        return None, []
    code = text(items[0], "CodeValue")
    modifiers = [text(item, "CodeValue") for item in items[0].get("ViewModifierCodeSequence") or []]
    unusual = dict.fromkeys(_UNUSUAL[modifier] for modifier in modifiers if modifier in _UNUSUAL)
    notes = [f"This is not a standard view: {', '.join(unusual)}."] if unusual else []
    if code and code not in _VIEW_CODES:
        notes.append(f"The view code {code} is not in DICOM's list for mammography (CID 4014).")
    return _VIEW_CODES.get(code), notes


def short_view(position: str) -> str | None:
    """A View Position such as ``MLO``, ``RCC``, ``L CC`` or ``CCID`` in short form; None if it is none known."""
    word = position.upper().replace(" ", "")
    for candidate in (word, word[1:] if word[:1] in ("L", "R") else "", word.removesuffix("ID")):
        if candidate in _VIEWS:
            return candidate
    return None


def plausible_spacing(row_mm: float, column_mm: float, shape: tuple[int, int]) -> str | None:
    """What is wrong with a pixel spacing on an image of this shape (rows, columns), or None."""
    if not (math.isfinite(row_mm) and math.isfinite(column_mm)) or min(row_mm, column_mm) < _MIN_SPACING:
        return f"{row_mm:g} x {column_mm:g} mm is no distance between pixels"
    height, width = row_mm * shape[0], column_mm * shape[1]
    if max(height, width) > _MAX_MM:
        return f"{row_mm:g} x {column_mm:g} mm would make an image of {height:.0f} x {width:.0f} mm"
    if max(row_mm, column_mm) > 2 * min(row_mm, column_mm):
        return f"{row_mm:g} x {column_mm:g} mm is far from square"
    return None


def read_spacing(dataset: Dataset, shape: tuple[int, int]) -> tuple[Spacing, list[str]]:
    """Pixel spacing and its source (PS3.3 10.7.1.3).

    Pixel Spacing (0028,0030) is taken first; where it only repeats Imager Pixel Spacing (0018,1164) it
    has not been calibrated and is reported as that. Impossible values count as absent, with a warning.
    """
    warnings: list[str] = []
    found: dict[str, tuple[float, float]] = {}
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        values = numbers(dataset, keyword)
        if values == ():
            continue
        if values is None or len(values) != 2:
            warnings.append(f"{keyword} is not used: '{text(dataset, keyword)}' is not two numbers.")
        elif problem := plausible_spacing(values[0], values[1], shape):
            warnings.append(f"{keyword} is not used: {problem}.")
        else:
            found[keyword] = (values[0], values[1])
    pixel, imager = found.get("PixelSpacing"), found.get("ImagerPixelSpacing")
    if pixel and imager and all(math.isclose(p, i, rel_tol=1e-4) for p, i in zip(pixel, imager, strict=True)):
        pixel = None
    if pixel:
        if not imager and not text(dataset, "PixelSpacingCalibrationType"):
            warnings.append(
                "The file does not say whether its Pixel Spacing is calibrated to the breast or the detector's."
            )
        return Spacing(*pixel, "PixelSpacing"), warnings
    return (Spacing(*imager, "ImagerPixelSpacing") if imager else Spacing()), warnings


def read_polarity(dataset: Dataset, presentation: str | None, falling: bool) -> tuple[bool, list[str], list[str]]:
    """Whether dense tissue is dark in the rescaled values.

    Parameters
    ----------
    dataset : Dataset
    presentation : str or None
        Presentation Intent Type.
    falling : bool
        Whether the modality rescale turns the order of values over (negative slope).

    Returns
    -------
    inverted : bool
    history : list of str
    warnings : list of str
    """
    photometric = text(dataset, "PhotometricInterpretation").upper()
    inverted = photometric == "MONOCHROME1"
    history = [f"Photometric Interpretation {photometric}."]
    warnings: list[str] = []
    shape = text(dataset, "PresentationLUTShape").upper()
    expected = "INVERSE" if inverted else "IDENTITY"
    if shape in ("INVERSE", "IDENTITY"):
        history.append(f"Presentation LUT Shape {shape}: says the same as {photometric}, not applied again.")
        if shape != expected:
            history[-1] = f"Presentation LUT Shape {shape}: contradicts {photometric}, not applied."
            warnings.append(f"Presentation LUT Shape {shape} contradicts {photometric}; {photometric} decided.")
    sign = numbers(dataset, "PixelIntensityRelationshipSign") or ()
    if sign and sign[0] in (1, -1):
        relation = text(dataset, "PixelIntensityRelationship") or "unknown"
        decides = presentation == "FOR PROCESSING"
        history.append(
            f"Pixel Intensity Relationship {relation}, sign {sign[0]:+.0f}"
            + (
                ": decides, as the image is for processing."
                if decides
                else ": not used, the image is not for processing."
            )
        )
        dense_dark = (sign[0] > 0) != falling  # sign +1: more X-rays, that is less dense, give higher stored values
        if decides and dense_dark != inverted:
            told = "dark" if dense_dark else "bright"
            warnings.append(
                f"The sign of the pixel intensity relationship ({sign[0]:+.0f}) says that dense tissue is {told} in "
                f"the stored values, which contradicts {photometric}; the sign decided."
            )
            inverted = dense_dark
    history.append("Turned over to bright = dense." if inverted else "Bright = dense as stored.")
    return inverted, history, warnings


def read_doubts(dataset: Dataset, presentation: str | None) -> list[str]:
    """Sentences about what makes the image another kind than a standard, anonymous, processed mammogram."""
    warnings: list[str] = []
    if presentation == "FOR PROCESSING":
        warnings.append(
            "The image is FOR PROCESSING (raw): it looks unlike the processed images readers and most models see."
        )
    burned = text(dataset, "BurnedInAnnotation").upper()
    if burned == "YES":
        warnings.append("The picture has burned-in text, which may identify the patient.")
    elif burned != "NO":
        warnings.append("The file does not say whether the picture has burned-in text; check before passing it on.")
    kinds = text(dataset, "ImageType").upper().split("\\")
    if "STEREO" in kinds:
        warnings.append("This is a stereotactic image (biopsy), not a standard view.")
    if any("GENERATED_2D" in kind or "TOMO" in kind for kind in kinds):
        warnings.append("This 2D image comes from tomosynthesis, it is not a direct exposure.")
    if text(dataset, "BreastImplantPresent").upper() == "YES":
        warnings.append("The breast has an implant.")
    if text(dataset, "QualityControlImage").upper() == "YES":
        warnings.append("This is a quality-control image.")
    body = text(dataset, "BodyPartExamined").upper()
    if body and "BREAST" not in body and "MAMM" not in body:
        warnings.append(f"Body Part Examined is {body}, expected BREAST.")
    return warnings


def identifiers_of(dataset: Dataset) -> dict[str, str]:
    """PatientID and the like, for joining tables; only those present."""
    keywords: tuple[Any, ...] = (
        "PatientID",
        "AccessionNumber",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SOPInstanceUID",
    )
    return {keyword: value for keyword in keywords if (value := text(dataset, keyword))}
