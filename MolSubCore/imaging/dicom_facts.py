"""What a DICOM header says about a mammogram: side, view, spacing, polarity, doubts.

Every function takes a data set and gives the fact and the sentences a user must see.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, Literal

from pydicom.dataset import Dataset

from MolSubCore.errors import printable
from MolSubCore.imaging import view_text
from MolSubCore.imaging.mammogram import Person, Spacing
from MolSubCore.imaging.view_text import LATERAL, VIEWS, Side, read_view_text

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
# CID 4015: modifiers that make the picture another kind than the standard views
_UNUSUAL = {
    "441752004": "anterior compression",
    "P2-00161": "anterior compression",
    "442593008": "inframammary fold",
    "R-40ABE": "inframammary fold",
    "414493004": "rolled",
    "R-102CA": "rolled",
    "399197002": "rolled",
    "R-102D3": "rolled",
    "399226006": "rolled",
    "R-102D4": "rolled",
    "415670009": "rolled",
    "R-102C9": "rolled",
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
#: Also in CID 4015, but of standard views too: nipple in profile.
_USUAL = {"442581004", "R-40AB3"}
#: Views that are no standard ones, whatever else is said.
_SPECIAL = {
    "XCC": "exaggerated craniocaudal",
    "XCCL": "exaggerated craniocaudal",
    "XCCM": "exaggerated craniocaudal",
    "FB": "from below",
    "AT": "axillary tail",
    "CV": "cleavage",
}
_MAX_MM, _MIN_SPACING = 600.0, 0.005
#: Factors of contact views lie between these; outside, what is shown is as large as nowhere in training.
_CONTACT = 1.15
_FACTORS = (0.95, 4.0)
#: How far what a file says twice of a length may be apart.
_APART = 1.15
_CONTRADICTED = "contradicted"
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
    given = {keyword: text(dataset, keyword).upper() for keyword in keywords}
    sides: list[Side] = [side for value in given.values() if (side := view_text.read_side(value))]
    if not sides:
        if any(value in ("B", "BOTH", "BILATERAL") for value in given.values()):
            return None, ["The file says that both breasts are shown; one side was expected."]
        odd = [keyword for keyword, value in given.items() if value not in ("", "U", "UNPAIRED", "UNKNOWN")]
        return None, [f"The file's side is not understood ({', '.join(odd)}); it counts as unknown."] if odd else []
    if len(set(sides)) > 1:
        found = ", ".join(f"{keyword} {value}" for keyword, value in given.items() if value)
        return sides[0], [f"The file contradicts itself about the side ({found}); {sides[0]} was taken."]
    return sides[0], []


def read_view(dataset: Dataset) -> tuple[str | None, list[str]]:
    """View in ACR's short form: View Code Sequence (CID 4014), View Position, Patient Orientation (CBIS-DDSM)."""
    coded, unusual, notes = _coded_view(dataset)
    position = text(dataset, "ViewPosition")
    told = read_view_text(position)
    orientation = text(dataset, "PatientOrientation").upper()
    view = coded or told.view or (orientation if orientation in VIEWS else None)
    paddle = text(dataset, "PaddleDescription").upper()
    named = [kind for kind in told.kinds if kind != LATERAL or not coded]
    named += [kind for word, kind in (("MAG", "magnification"), ("SPOT", "spot compression")) if word in paddle]
    described = read_view_text(" ".join(text(dataset, name) for name in ("SeriesDescription", "ProtocolName")))
    named += [kind for kind in described.kinds if kind in ("magnification", "spot compression")]
    if view in _SPECIAL:
        named.append(_SPECIAL[view])
    if unusual := list(dict.fromkeys([*unusual, *named])):
        notes.append(f"This is not a standard view: {', '.join(unusual)}.")
    if view == "SPECIMEN":
        notes.append("This is an image of a specimen, not of the breast.")
    if text(dataset, "PartialView").upper() == "YES":
        notes.append("This is a partial view: it does not show the whole breast.")
    if coded and told.view and coded != told.view:
        notes.append(
            f"The file contradicts itself about the view (code {coded}, View Position {told.view}); {coded} was taken."
        )
    if told.unknown:
        word = printable(position, 40)
        known = f"; {view} was taken" if view else ""
        notes.append(f"The View Position '{word}' is no view of mammography that is known{known}.")
    return view, notes


def read_chest_wall(dataset: Dataset) -> Literal["left", "right"] | None:
    """Side of the stored picture where the chest wall is by Patient Orientation (0020,0020).

    Its first value is the direction of the rows: anterior to the right means that the chest wall is on the left
    (PS3.3 C.7.6.1.1.1).
    """
    rows = text(dataset, "PatientOrientation").upper().split("\\")[0]
    return {"A": "left", "P": "right"}.get(rows[:1])  # type: ignore[return-value]


def _coded_view(dataset: Dataset) -> tuple[str | None, list[str], list[str]]:
    """The coded view, what kind of picture its modifiers make of it, and doubts."""
    items = dataset.get("ViewCodeSequence") or []
    code = text(items[0], "CodeValue") if items else ""
    places = [dataset, *items[:1]]  # some files have the modifiers beside the view instead of in it
    modifiers = [text(item, "CodeValue") for place in places for item in place.get("ViewModifierCodeSequence") or []]
    unusual = [_UNUSUAL[modifier] for modifier in modifiers if modifier in _UNUSUAL]
    notes = []
    view = _VIEW_CODES.get(code)
    if code and view is None:
        meant = read_view_text(text(items[0], "CodeMeaning"))
        view, unusual = meant.view, [*unusual, *meant.kinds]
        taken = f"; its meaning was taken as {view}" if view else ""
        notes.append(f"The view code {code} is not in DICOM's list for mammography (CID 4014){taken}.")
    for modifier in dict.fromkeys(modifiers):
        if modifier and modifier not in _UNUSUAL and modifier not in _USUAL:
            notes.append(f"The view modifier {modifier} is not in DICOM's list for mammography (CID 4015).")
    return view, unusual, notes


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


def read_spacing(dataset: Dataset, shape: tuple[int, int]) -> tuple[Spacing, list[str], list[str]]:
    """Distance between pixels in the breast, with its source (PS3.3 10.7.1.3, C.8.7.11.3.1.1).

    Pixel Spacing (0028,0030) that differs from Imager Pixel Spacing (0018,1164) has been calibrated and is taken.
    Else the Imager Pixel Spacing, which is at the detector, is divided by the Estimated Radiographic Magnification
    Factor (0018,1114), or by the ratio of the distances of the detector and of the breast from the source. Where a
    magnification is told without its factor, or it is open whether a Pixel Spacing has it in it, the spacing is
    unknown. Impossible values count as absent. Whatever is not plain is told.

    Returns
    -------
    spacing : Spacing
    history : list of str
    warnings : list of str
    """
    found, warnings = _spacings(dataset, shape)
    factor, source, doubts = _magnification(dataset)
    warnings += doubts
    pixel, imager = found.get("PixelSpacing"), found.get("ImagerPixelSpacing")
    calibration = text(dataset, "PixelSpacingCalibrationType").upper()
    if pixel and imager and all(math.isclose(p, i, rel_tol=1e-4) for p, i in zip(pixel, imager, strict=True)):
        pixel = None
    if source == _CONTRADICTED and calibration != "FIDUCIAL":
        return Spacing(), [], warnings
    if pixel and imager and not calibration and not _FACTORS[0] <= imager[0] / pixel[0] <= _FACTORS[1]:
        warnings.append(
            f"Pixel Spacing ({pixel[0]:.3g} mm) and Imager Pixel Spacing ({imager[0]:.3g} mm) contradict each other: "
            f"no breast is {imager[0] / pixel[0]:.3g} times as large at the detector. The spacing is taken as unknown."
        )
        return Spacing(), [], warnings
    magnified = factor is not None and factor > _CONTACT
    if magnified:
        warnings.append(f"This is a magnification view: {source} says {factor:.3g}; lengths are those in the breast.")
    if pixel:
        if imager and magnified and factor and calibration in ("", "GEOMETRY"):
            expected = imager[0] / factor
            if not math.isclose(pixel[0], expected, rel_tol=0.1):
                warnings[-1] = (
                    f"This is a magnification view: {source} says {factor:.3g}, so that pixels are {expected:.3g} mm "
                    f"apart in the breast; Pixel Spacing says {pixel[0]:.3g} mm. The spacing is taken as unknown."
                )
                return Spacing(), [], warnings
        if not imager and not calibration:
            if magnified:
                warnings[-1] = (
                    f"This is a magnification view: {source} says {factor:.3g}. The file does not say whether its "
                    "Pixel Spacing is corrected for that; the spacing is taken as unknown."
                )
                return Spacing(), [], warnings
            warnings.append(
                "The file does not say whether its Pixel Spacing is calibrated to the breast or the detector's."
            )
        return Spacing(*pixel, "PixelSpacing"), [], warnings
    if not imager:
        return Spacing(), [], warnings
    if factor is None and _told_magnified(dataset):
        warnings.append("This is a magnification view without its factor: the pixel spacing is taken as unknown.")
        return Spacing(), [], warnings
    if factor is None or factor == 1.0:
        return Spacing(*imager, "ImagerPixelSpacing"), [], warnings
    note = f"Imager Pixel Spacing {imager[0]:.4g} x {imager[1]:.4g} mm divided by {factor:.4g} ({source})."
    corrected = Spacing(imager[0] / factor, imager[1] / factor, "ImagerPixelSpacing, magnification corrected")
    return corrected, [note], warnings


def _spacings(dataset: Dataset, shape: tuple[int, int]) -> tuple[dict[str, tuple[float, float]], list[str]]:
    """Pixel Spacing and Imager Pixel Spacing, where they are possible."""
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
    return found, warnings


def _magnification(dataset: Dataset) -> tuple[float | None, str, list[str]]:
    """How much larger the breast is at the detector than it is, who says so, and what was not used."""
    told, title = numbers(dataset, "EstimatedRadiographicMagnificationFactor"), "the magnification factor"
    warnings = []
    if told is None or (told and not _FACTORS[0] <= told[0] <= _FACTORS[1]):
        value = f"{told[0]:g}" if told else text(dataset, "EstimatedRadiographicMagnificationFactor")
        warnings.append(f"The magnification factor is not used: '{value}' is no possible one.")
    detector, patient = (numbers(dataset, f"DistanceSourceTo{place}") or () for place in ("Detector", "Patient"))
    if told and _FACTORS[0] <= told[0] <= _FACTORS[1]:
        ratio = detector[0] / patient[0] if detector and patient and patient[0] > 0 else told[0]
        if _FACTORS[0] <= ratio <= _FACTORS[1] and not told[0] / _APART <= ratio <= told[0] * _APART:
            warnings.append(
                f"The magnification factor {told[0]:.3g} contradicts the distances of the source from detector "
                f"({detector[0]:g} mm) and breast ({patient[0]:g} mm), {ratio:.3g}: the spacing is taken as unknown."
            )
            return None, _CONTRADICTED, warnings
        return told[0], title, warnings
    if detector and patient and patient[0] > 0 and _CONTACT < detector[0] / patient[0] <= _FACTORS[1]:
        return detector[0] / patient[0], "the distance of the source from detector and breast", warnings
    return None, "", warnings


def _told_magnified(dataset: Dataset) -> bool:
    """Whether the view's codes, its position or the paddle speak of magnification."""
    _, unusual, _ = _coded_view(dataset)
    named = read_view_text(text(dataset, "ViewPosition")).kinds
    return "magnification" in (*unusual, *named) or "MAG" in text(dataset, "PaddleDescription").upper()


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


def person_of(dataset: Dataset) -> Person:
    """Whom the header names, in the form in which two headers are compared."""
    name = re.sub(r"[\s^=,]+", " ", _compared(dataset, "PatientName")).strip()
    keywords = ("PatientID", "IssuerOfPatientID", "PatientBirthDate", "StudyInstanceUID", "SOPInstanceUID")
    patient_id, issuer, birth_date, study, instance = (_compared(dataset, keyword) for keyword in keywords)
    if "^^^" in patient_id:  # HL7's way to write both
        patient_id, _, rest = patient_id.partition("^^^")
        issuer = issuer or rest.partition("^")[0]
    items = dataset.get("OtherPatientIDsSequence") or []
    others = [*_compared(dataset, "OtherPatientIDs").split("\\"), *(_compared(item, "PatientID") for item in items)]
    dates = (_compared(dataset, keyword) for keyword in ("StudyDate", "AcquisitionDate", "ContentDate"))
    return Person(
        patient_id,
        issuer,
        name,
        birth_date,
        study,
        instance,
        sex=_compared(dataset, "PatientSex"),
        age=_compared(dataset, "PatientAge"),
        examined=next((re.sub(r"\D", "", date)[:8] for date in dates if date), ""),
        accession=_compared(dataset, "AccessionNumber"),
        frame=_compared(dataset, "FrameOfReferenceUID"),
        series=_compared(dataset, "SeriesInstanceUID"),
        others=tuple(filter(None, others[:100])),
    )


def _compared(dataset: Dataset, keyword: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text(dataset, keyword)).casefold().split())
