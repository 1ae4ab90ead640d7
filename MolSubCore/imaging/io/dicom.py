"""What a DICOM header says about a mammogram: side, view, spacing, polarity, doubts.

Every function takes a data set and gives the fact and the sentences a user must see.
"""

from __future__ import annotations

import io
import math
import mmap
import re
import struct
import unicodedata
import zlib
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames, get_frame
from pydicom.filereader import read_dataset
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import Decoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from MolSubCore.errors import ImageError, printable
from MolSubCore.files import open_file
from MolSubCore.imaging import view_text
from MolSubCore.imaging.io.damage import Damage, check_jpeg, check_jpeg_2000, check_rle, wrapped
from MolSubCore.imaging.io.limits import MAX_BYTES, MAX_ELEMENTS, MAX_INFLATED, check_size
from MolSubCore.imaging.io.native import no_stderr
from MolSubCore.imaging.mammogram import (
    SYNTHETIC_MODEL,
    Mammogram,
    ModalityLut,
    Person,
    Spacing,
    VoiTransform,
    at_the_edge,
)
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
#: Sides in the terminologies of Anatomic Region Sequence.
_SIDE_CODES: dict[str, Side] = {"80248007": "L", "T-04030": "L", "73056007": "R", "T-04020": "R"}
#: As `view_text` calls it.
_TOMO = "tomosynthesis"
#: What describes an image in free words, and what in them makes it another kind; each with its sentence.
_DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription", "DerivationDescription")
_QUALITY = (
    r"QC[ -]?(?:IMAGE|TEST|FLAT)\w*(?: FIELD)?|FLAT[ -]?FIELD|QUALITY[ -]?CONTROL|QUALITATSKONTROLLE|KONSTANZPR\w+"
)
_KINDS_TOLD = (
    (
        r"RECOMBIN\w*|SUBTRACT\w*|SUBTRAKTION\w*|SOUSTRACTION|DUAL[ _-]?ENERGY|HIGH[ _-]?ENERGY",
        "it is a recombined, subtraction or high-energy image of contrast mammography: it shows the contrast agent "
        "and not the tissue as a mammogram does",
    ),
    (
        r"LOW[ _-]?ENERGY|CESM|CEM|CEDM|CEDEM|SENOBRIGHT|TITANCEM|I-?VIEW|KONTRASTMITTEL|CONTRAST[ _-]?ENHANCED",
        "it is an image of contrast mammography: the breast holds contrast agent",
    ),
    (r"SPECIMEN|PR(?:AE|Ä|A)PARAT\w*|RESEKTAT|OPERATIEPREPARAAT", "it is an image of a specimen, not of the breast"),
    (r"CROPPED|CROP|PATCH(?:ES)?|CUT-?OUT", "it is cut out of a mammogram, and shows a part of it only"),
    (
        r"C-?VIEW|S-?VIEW|V-?PREVIEW|INTELLIGENT[ -]?2D|INSIGHT[ -]?2D|SYNTHETIC[ -]?2D|SYNTHETI[SZ]ED|SYNTHESI[SZ]ED|"
        r"2D[ -]?S[IY]NT\w+|SYNTHETISCH\w*|RAW[ -]?PROJECTIONS?|SLABS?|"
        r"(?:TOMO\w*|DBT)[ -]?(?:PROJ\w*|SLICES?|RE[CK]ON\w*|SCHICHT\w*)",
        "it comes from tomosynthesis, it is not a direct exposure",
    ),
    (r"PHANTOM\w*", "it is an image of a phantom"),
    (
        r"GALA[CK]TOGRA\w*|DU[CK]TOGRA\w*",
        "it is a galactogram (ductogram): the milk ducts hold contrast agent",
    ),
    (_QUALITY, "it is a quality-control image"),
)
#: Millimetres between pixels of a mammogram at least (of films scanned finely 0.042), but for magnification views;
#: sides of a pixel that differ by more are told, and by more still are none of a picture.
_LEAST_SPACING, _SQUARE, _OBLONG = 0.035, 1.02, 1.5
_MAX_MM, _MIN_SPACING = 600.0, 0.005
#: Factors of contact views lie between these; outside, what is shown is as large as nowhere in training.
_CONTACT = 1.15
_FACTORS = (0.95, 4.0)
#: How far what a file says twice of a length may be apart.
_APART = 1.15
_CONTRADICTED = "contradicted"
_LONGEST = 1024
#: Stands in messages for free text of a header, which may hold anything, also a patient's name.
_FREE_TEXT = "a value that DICOM does not define"
#: Defined terms that a message may repeat, though they are none of a mammogram: View Position (PS3.3 C.8.1.1 and
#: C.8.11.5), Body Part Examined (some of PS3.16 Annex L), Modality (C.7.3.1.1.1), Photometric Interpretation (C.7.6.3).
_POSITIONS = ("AP", "PA", "LL", "RL", "RLD", "LLD", "RLO", "LLO")
_BODY_PARTS = (
    *("ABDOMEN", "ABDOMENPELVIS", "ANKLE", "ARM", "AXILLA", "CHEST", "CHESTABDOMEN", "CHESTABDPELVIS", "CLAVICLE"),
    *("CSPINE", "ELBOW", "EXTREMITY", "FACE", "FEMUR", "FINGER", "FOOT", "FOREARM", "HAND", "HEAD", "HEART", "HIP"),
    *("HUMERUS", "JAW", "KNEE", "LEG", "LIVER", "LSPINE", "LUNG", "MEDIASTINUM", "NECK", "ORBIT", "PELVIS", "RIB"),
    *("SHOULDER", "SKULL", "SPINE", "SSPINE", "STERNUM", "THORAX", "THYROID", "TOE", "TSPINE", "WHOLEBODY", "WRIST"),
)
_ALL_MODALITIES = (
    *(
        "AR",
        "AU",
        "BDUS",
        "BI",
        "BMD",
        "CR",
        "CT",
        "DG",
        "DOC",
        "DX",
        "ECG",
        "EPS",
        "ES",
        "FID",
        "GM",
        "HC",
        "HD",
        "IO",
    ),
    *(
        "IOL",
        "IVOCT",
        "IVUS",
        "KER",
        "KO",
        "LEN",
        "LS",
        "MG",
        "MR",
        "NM",
        "OAM",
        "OCT",
        "OP",
        "OPM",
        "OPT",
        "OPV",
        "OT",
    ),
    *(
        "PLAN",
        "PR",
        "PT",
        "PX",
        "REG",
        "RESP",
        "RF",
        "RG",
        "RTDOSE",
        "RTIMAGE",
        "RTPLAN",
        "RTRECORD",
        "RTSTRUCT",
        "RWV",
    ),
    *("SEG", "SM", "SMR", "SR", "SRF", "TG", "US", "VA", "XA", "XC"),
)
_PHOTOMETRIC = (
    *("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "HSV", "ARGB", "CMYK", "XYB"),
    *("YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT"),
)


def text(dataset: Dataset, keyword: str) -> str:
    """An attribute's value as stripped text; several values joined by a backslash, empty if absent.

    Control characters, which no attribute read here may hold, are escaped; an absurdly long value is shortened.
    """
    value = dataset.get(keyword)
    if value is None:
        return ""
    values = _values(value)
    joined = "\\".join(str(v).strip() for v in values).strip("\\")
    return joined if joined.isprintable() and len(joined) <= _LONGEST else printable(joined, _LONGEST)


def _values(value: Any) -> Sequence[Any]:
    """The values of an element; pydicom leaves texts of more than 64 KiB, whose type a file does not say, as bytes."""
    if isinstance(value, bytes):
        return value.decode("latin-1").rstrip(" \0").split("\\")
    return value if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def term(value: str, known: Container[str]) -> str:
    """A value of a header as a message may tell it: itself where it is a known term; else it may be anybody's name."""
    return value if value in known else _FREE_TEXT


def _unquoted(error: BaseException) -> str:
    """What a library says of a damaged element, without the values that it quotes."""
    return re.sub(r"'[^']*'|\"[^\"]*\"", "'...'", str(error))


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...] | None:
    """An attribute's values as floats: empty if absent, None if one of them is not a finite number."""
    try:
        value = dataset.get(keyword)
        if value is None or value == "":
            return ()
        values = _values(value)
        found = tuple(float(v) for v in values if v is not None and v != "")
    except (TypeError, ValueError, OverflowError):
        return None
    return found if all(math.isfinite(v) for v in found) else None


def read_side(dataset: Dataset) -> tuple[Side | None, list[str]]:
    """Side of the breast: Image Laterality (0020,0062), then Laterality, then Frame Laterality."""
    keywords = ("ImageLaterality", "Laterality", "FrameLaterality")
    given = {keyword: text(dataset, keyword).upper() for keyword in keywords}
    found: dict[str, Side] = {name: side for name, value in given.items() if (side := view_text.read_side(value))}
    doubts: list[str] = []
    if not found:
        if any(value in ("B", "BOTH", "BILATERAL") for value in given.values()):
            return None, ["The file says that both breasts are shown; one side was expected."]
        odd = [keyword for keyword, value in given.items() if value not in ("", "U", "UNPAIRED", "UNKNOWN")]
        doubts = [f"The file's side is not understood ({', '.join(odd)}); it counts as unknown."] if odd else []
    others: dict[str, Side | None] = {"Anatomic Region": _region_side(dataset)}
    others["View Position"] = read_view_text(text(dataset, "ViewPosition")).side
    others |= {
        _spaced(name): view_text.told_in(text(dataset, name))[0] for name in ("SeriesDescription", "ProtocolName")
    }
    found |= {name: side for name, side in others.items() if side}
    sides = list(found.values())
    if len(set(sides)) > 1:
        told = ", ".join(f"{name} {side}" for name, side in found.items())
        side = sides[0] if not doubts and any(name in given for name in found) else None
        used = f"{side} was used" if side else "it is unknown"
        doubts.append(f"The file contradicts itself about the side ({told}); {used}.")
        return side, doubts
    # A description alone may be of a whole series; the region and the view are the image's.
    named = [side for name, side in found.items() if name in (*given, "Anatomic Region", "View Position")]
    return (named[0] if named and not doubts else None), doubts


def _region_side(dataset: Dataset) -> Side | None:
    """Side of Anatomic Region Sequence (0008,2218), by its code or its modifier's words."""
    for item in dataset.get("AnatomicRegionSequence") or []:
        modifiers = item.get("AnatomicRegionModifierSequence") or []
        meanings = [text(part, "CodeMeaning") for part in (item, *modifiers)]
        if side := _SIDE_CODES.get(code_of(item)) or view_text.told_in(" ".join(meanings))[0]:
            return side
    return None


def code_of(item: Dataset) -> str:
    """Code Value of a coded entry, or the long one in its place."""
    return text(item, "CodeValue") or text(item, "LongCodeValue")


def _spaced(keyword: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", keyword)


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
    named += _kinds_described(dataset)
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
            f"The file contradicts itself about the view (code {coded}, View Position {told.view}); {coded} was used."
        )
    for name in ("SeriesDescription", "ProtocolName"):
        other = view_text.told_in(text(dataset, name))[1]
        if view and other and other != view and not (coded and told.view and coded != told.view):
            given = f"{'code' if coded else 'View Position'} {view}, {_spaced(name)} {other}"
            notes.append(f"The file contradicts itself about the view ({given}); {view} was used.")
            break
    if told.unknown:
        word = f"'{position}'" if position.upper() in _POSITIONS else f"({_FREE_TEXT})"
        known = f"; {view} was used" if view else ""
        notes.append(f"The View Position {word} is not a known mammographic view{known}.")
    return view, notes


def _kinds_described(dataset: Dataset) -> list[str]:
    """Kinds of view that free descriptions say: some by their words, short ones only beside a view and nothing else."""
    kinds: list[str] = []
    for name in ("SeriesDescription", "ProtocolName"):
        told = read_view_text(text(dataset, name))
        plain = told.view is not None and not told.unknown
        sure = ("magnification", "spot compression", "biopsy", *(told.kinds if plain else ()))
        kinds += [kind for kind in told.kinds if kind in sure and kind not in (LATERAL, _TOMO)]
        if re.search(r"\bEKLUND\b|\bPUSH(?:ED)?[ -]?BACK\b", text(dataset, name).upper()):
            kinds.append("implant displaced")
    return kinds


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
    code = code_of(items[0]) if items else ""
    places = [dataset, *items[:1]]  # some files have the modifiers beside the view instead of in it
    given = [item for place in places for item in place.get("ViewModifierCodeSequence") or []]
    modifiers = [code_of(item) for item in given]
    unusual = [_UNUSUAL[modifier] for modifier in modifiers if modifier in _UNUSUAL]
    for item in given:
        if code_of(item) not in _UNUSUAL:
            unusual += read_view_text(text(item, "CodeMeaning")).kinds
    notes = []
    view = _VIEW_CODES.get(code)
    if len({_VIEW_CODES.get(code_of(item), "") for item in items}) > 1:
        told = ", ".join(_VIEW_CODES.get(code_of(item)) or "unknown" for item in items[:4])
        notes.append(f"The file has codes of several views ({told}); the first was used.")
    own = read_view_text(text(items[0], "CodeMeaning")).view if items else None
    if view and own and own != view:
        notes.append(f"The view code says {view}, its own meaning {own}; {view} was used.")
    if code and view is None:
        meant = read_view_text(text(items[0], "CodeMeaning"))
        view, unusual = meant.view, [*unusual, *meant.kinds]
        taken = f"; its meaning was taken as {view}" if view else ""
        notes.append(f"The view's code is not in DICOM's list for mammography (CID 4014){taken}.")
    if any(modifier and modifier not in _UNUSUAL and modifier not in _USUAL for modifier in modifiers):
        notes.append("A view modifier is not in DICOM's list for mammography (CID 4015).")
    return view, unusual, notes


def plausible_spacing(row_mm: float, column_mm: float, shape: tuple[int, int]) -> str | None:
    """What is wrong with a pixel spacing on an image of this shape (rows, columns), or None."""
    if not (math.isfinite(row_mm) and math.isfinite(column_mm)) or min(row_mm, column_mm) < _MIN_SPACING:
        return f"{row_mm:g} x {column_mm:g} mm is not a possible pixel spacing"
    height, width = row_mm * shape[0], column_mm * shape[1]
    if max(height, width) > _MAX_MM:
        return f"{row_mm:g} x {column_mm:g} mm would make an image of {height:.0f} x {width:.0f} mm"
    if max(row_mm, column_mm) > _OBLONG * min(row_mm, column_mm):
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
            warnings.append(f"{keyword} is not used: it is not two numbers.")
        elif problem := plausible_spacing(values[0], values[1], shape):
            warnings.append(f"{keyword} is not used: {problem}.")
        elif min(values) < _LEAST_SPACING and (keyword == "ImagerPixelSpacing" or not _may_be_magnified(dataset)):
            size = f"{values[0]:g} x {values[1]:g} mm"
            warnings.append(f"{keyword} is not used: {size} is finer than any mammogram's (in other units?).")
        else:
            found[keyword] = (values[0], values[1])
            if max(values) > _SQUARE * min(values):
                size = f"{values[0]:.4g} x {values[1]:.4g} mm"
                warnings.append(
                    f"The pixels are not square by {keyword} ({size}): the picture is distorted, or it is wrong."
                )
    return found, warnings


def _magnification(dataset: Dataset) -> tuple[float | None, str, list[str]]:
    """How much larger the breast is at the detector than it is, who says so, and what was not used."""
    told, title = numbers(dataset, "EstimatedRadiographicMagnificationFactor"), "the magnification factor"
    warnings = []
    if told is None or (told and not _FACTORS[0] <= told[0] <= _FACTORS[1]):
        value = f"{told[0]:g}" if told else "what the file says"
        warnings.append(f"The magnification factor is not used: {value} is not possible.")
        if told is None or told[0] != 0:  # 0 is written where there is none
            warnings[-1] = f"{warnings[-1][:-1]}; the spacing is taken as unknown."
            return None, _CONTRADICTED, warnings
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


def _may_be_magnified(dataset: Dataset) -> bool:
    factors = numbers(dataset, "EstimatedRadiographicMagnificationFactor")
    return bool(factors and factors[0] > _CONTACT) or _told_magnified(dataset)


def _told_magnified(dataset: Dataset) -> bool:
    """Whether the view's codes, its position, a description or the paddle speak of magnification."""
    _, unusual, _ = _coded_view(dataset)
    named = read_view_text(text(dataset, "ViewPosition")).kinds
    return (
        "magnification" in (*unusual, *named, *_kinds_described(dataset))
        or "MAG" in text(dataset, "PaddleDescription").upper()
    )


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
        relation = text(dataset, "PixelIntensityRelationship").upper()
        relation = term(relation, ("LIN", "LOG", "DISP")) if relation else "unknown"
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
    history.append("Inverted so that bright = dense." if inverted else "Bright = dense as stored.")
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
    if any("STEREO" in kind.split("_") for kind in kinds):
        warnings.append("This is a stereotactic image (biopsy), not a standard view.")
    generated = any("GENERATED_2D" in kind or "TOMO" in kind for kind in kinds)
    if generated:
        warnings.append("This 2D image comes from tomosynthesis, it is not a direct exposure.")
    warnings += _kinds_told(dataset, generated=generated)
    if text(dataset, "BreastImplantPresent").upper() == "YES":
        warnings.append("The breast has an implant.")
    if text(dataset, "QualityControlImage").upper() == "YES":
        warnings.append("This is a quality-control image.")
    body = text(dataset, "BodyPartExamined").upper()
    if body and "BREAST" not in body and "MAMM" not in body:
        warnings.append(f"Body Part Examined is {term(body, _BODY_PARTS)}, expected BREAST.")
    return warnings


def _kinds_told(dataset: Dataset, *, generated: bool) -> list[str]:
    """What words in the image's type and descriptions make of it; of the file's text only those words are repeated."""
    told: list[str] = []
    controlled = text(dataset, "QualityControlImage").upper() == "YES"
    for pattern, what in _KINDS_TOLD:
        if (generated and _TOMO in what) or (controlled and "quality-control" in what):
            continue
        further = ("BodyPartExamined", "StudyDescription") if "specimen" in what else ()
        for name in ("ImageType", *_DESCRIPTIONS, *further):
            words = text(dataset, name).upper().replace("_", " ")
            if found := re.search(rf"(?<![^\W\d_])(?:{pattern})(?![^\W\d_])", words):
                told.append(f"According to its {_spaced(name)} ({found[0]}) {what}.")
                break
    if not generated and not any(_TOMO in sentence for sentence in told):
        for name in ("SeriesDescription", "ProtocolName"):
            # "L CC Tomo", but not what describes a whole series or study of both, such as "Combo 2D + Tomo"
            described = read_view_text(text(dataset, name))
            if _TOMO in described.kinds and not described.unknown and "2D" not in text(dataset, name).upper():
                told.append(f"According to its {_spaced(name)} it comes from {_TOMO}, it is not a direct exposure.")
                break
    if dataset.get("SpecimenDescriptionSequence") and not any("specimen" in sentence for sentence in told):
        told.append("According to its Specimen Description Sequence it is an image of a specimen, not of the breast.")
    regions = list(dataset.get("AnatomicRegionSequence") or [])
    regions += [item for region in regions for item in region.get("AnatomicRegionModifierSequence") or []]
    coded = any(_VIEW_CODES.get(code_of(item)) == "SPECIMEN" for item in regions)
    if coded and not any("specimen" in sentence for sentence in told):
        told.append("According to its Anatomic Region Sequence it is an image of a specimen, not of the breast.")
    agents = [text(dataset, "ContrastBolusAgent"), *(dataset.get("ContrastBolusAgentSequence") or [])]
    given = any(agent and str(agent).strip().upper() not in ("NO", "NONE", "N/A", "N", "WITHOUT") for agent in agents)
    if given and not any("contrast" in sentence for sentence in told):
        told.append(
            "According to its Contrast/Bolus Agent it is an image of contrast mammography: the breast holds contrast "
            "agent."
        )
    return told


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
    written = _compared(dataset, "PatientName")
    name = re.sub(r"[\s^=,]+", " ", written).strip()
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
        written=written,
        subject=_compared(dataset, "ClinicalTrialSubjectID"),
        protocol=_compared(dataset, "ClinicalTrialProtocolID"),
        maker=text(dataset, "Manufacturer"),
    )


def _compared(dataset: Dataset, keyword: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text(dataset, keyword)).casefold().split())


_LONG = {b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"}
_UNDEFINED = 0xFFFFFFFF
_ITEM_TAG, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS, _PIXEL_DATA = 0x7FE0, 0x7FE00010
#: What may follow the pixel data: digital signatures, padding.
_ALLOWED_BEHIND = {0xFFFAFFFA, 0xFFFCFFFC}
_DEEPEST = 100
_AGAIN = "Export or copy the file again"


def check_elements(path: Path, content: bytes | mmap.mmap, start: int, *, little: bool = True) -> None:
    """Refuse a data set of more than `MAX_ELEMENTS` elements and items before its pixel data, nested ones included.

    Nor may it hold an element twice, its pixel data included: which of them counts, every reader decides by itself.

    Parameters
    ----------
    path : Path
    content : bytes or mmap
    start : int
        Where the data set begins.
    little : bool
        Whether it is in little endian.

    Raises
    ------
    ImageError
    """
    seen: set[int] = set()
    at, twice = len(content), ""
    for count, (tag, depth, place) in enumerate(_walk(content, start, len(content), little=little), start=1):
        if depth == 0:
            if tag in seen and tag >> 16 != 0xFFFE:
                twice = twice or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
            seen.add(tag)
            at = place
        found = f"more than {MAX_ELEMENTS} elements and items" if count > MAX_ELEMENTS else ""
        if found or depth > _DEEPEST:
            found = found or f"sequences in sequences, more than {_DEEPEST} deep,"
            raise ImageError(path, f"has {found} in its header", "Check where the file comes from")
    if twice:
        raise ImageError(path, f"has the element {twice} of its header twice", "Export it again")
    explicit = content[start + 4 : start + 6].isalpha() and content[start + 4 : start + 6].isupper()
    if _pixels_again(content, at, little=little, explicit=explicit):
        raise ImageError(path, "holds pixel data twice", "Export it again")


def _pixels_again(content: bytes | mmap.mmap, at: int, *, little: bool, explicit: bool) -> bool:
    """Whether the pixel data that begin at `at`, or the first of their group, have others behind them."""
    order = "<" if little else ">"
    found = 0
    while at + 12 <= len(content):
        group, number = struct.unpack_from(order + "HH", content, at)
        if group < _PIXELS or group == 0xFFFE:
            return False
        if group << 16 | number == _PIXEL_DATA:
            found += 1
            if found > 1:
                return True
        wide = not explicit or bytes(content[at + 4 : at + 6]) in _LONG
        at += 8 if explicit and wide else 4 if wide else 6
        (length,) = struct.unpack_from(order + ("I" if wide else "H"), content, at)
        at += 4 if wide else 2
        if length == _UNDEFINED:  # fragments
            while at + 8 <= len(content):
                group, number, length = struct.unpack_from(order + "HHI", content, at)
                at += 8 + (length if length != _UNDEFINED else 0)
                if (group, number) != (_ITEM_TAG >> 16, _ITEM_TAG & 0xFFFF):
                    break
        else:
            at += length
    return False


def _walk(content: bytes | mmap.mmap, at: int, stop: int, *, little: bool) -> Iterator[tuple[int, int, int]]:
    """Tag, depth and place of each element and item, up to the pixel data's first one, which is the last.

    Ends quietly where the bytes make no sense: the parser will say so.
    """
    order = "<" if little else ">"
    # Of each sequence and item that is open: where it ends, if its length says.
    ends = [stop]
    explicit = content[at + 4 : at + 6].isalpha() and content[at + 4 : at + 6].isupper()
    while True:
        while len(ends) > 1 and at >= ends[-1]:
            ends.pop()
        if at + 8 > ends[-1]:
            return
        group, number = struct.unpack_from(order + "HH", content, at)
        tag = group << 16 | number
        yield tag, len(ends) - 1, at
        if group == _PIXELS and len(ends) == 1:
            return
        if tag in (_ITEM_TAG, _ITEM_END, _SEQUENCE_END) or not explicit:
            (length,) = struct.unpack_from(order + "I", content, at + 4)
            kind, at = b"", at + 8
        else:
            kind = bytes(content[at + 4 : at + 6])
            if kind in _LONG:
                if at + 12 > ends[-1]:
                    return
                (length,) = struct.unpack_from(order + "I", content, at + 8)
                at += 12
            elif kind.isalpha():
                (length,) = struct.unpack_from(order + "H", content, at + 6)
                at += 8
            else:
                return
        if tag in (_ITEM_END, _SEQUENCE_END):
            if len(ends) > 1:
                ends.pop()
        elif tag == _ITEM_TAG or kind == b"SQ" or length == _UNDEFINED or (not kind and _is_sequence(tag)):
            # What has no length ends with a delimiter, within what it is in.
            ends.append(ends[-1] if length == _UNDEFINED else min(at + length, ends[-1]))
        else:
            at += length


@lru_cache(maxsize=4096)
def _is_sequence(tag: int) -> bool:
    return dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ"


def check_end(path: Path, content: bytes) -> None:
    """Refuse an inflated data set that does not end where its pixel data do: it has no checksum, but lengths.

    Raises
    ------
    ImageError
    """
    last = (0, 0, 0)
    for element in _walk(content, 0, len(content), little=True):
        last = element
    tag, _, at = last
    if tag >> 16 != _PIXELS or at + 12 > len(content):
        return  # without an image: refused as such
    behind = False
    while at + 8 <= len(content):
        group, number = struct.unpack_from("<HH", content, at)
        tag = group << 16 | number
        if behind and tag not in _ALLOWED_BEHIND:
            break
        long = bytes(content[at + 4 : at + 6]) in _LONG
        (length,) = struct.unpack_from("<I" if long else "<H", content, at + (8 if long else 6))
        at += length + (12 if long else 8)
        behind = behind or tag == _PIXEL_DATA
    if behind and at != len(content) and content[at:] != b"\0":
        raise ImageError(path, "has damaged pixel data: its deflated data do not end with them", _AGAIN)


_PREAMBLE = 132
_PIXEL_TAGS: list[Any] = [
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "FloatPixelData",
    "DoubleFloatPixelData",
    "PixelData",
]


@dataclass(frozen=True, eq=False)
class DicomFile:
    """A DICOM file with its header read.

    Attributes
    ----------
    path : Path
    header : Dataset
        Everything before the pixel data (with them, if the file is deflated).
    syntax : UID
        Transfer syntax; for a file without (0002,0010), the one its bytes were parsed by.
    syntax_declared : bool
        Whether the file names its transfer syntax.
    """

    path: Path
    header: Dataset
    syntax: UID
    syntax_declared: bool

    def pixel_dataset(self) -> Dataset:
        """The elements that describe and hold the pixels, read now; the caller may change it."""
        if self.syntax == DeflatedExplicitVRLittleEndian:
            dataset = Dataset(
                {tag: self.header.get_item(tag) for tag in self.header.keys() if tag.group in (0x28, 0x7FE0)}  # noqa: SIM118
            )
        else:
            read = dcmread(self.path, force=True, specific_tags=_PIXEL_TAGS)
            dataset = Dataset({tag: read.get_item(tag) for tag in read.keys()})  # noqa: SIM118
        little = self.syntax != ExplicitVRBigEndian
        dataset.set_original_encoding(self.syntax == ImplicitVRLittleEndian, little, self.header.original_character_set)
        return dataset


def open_dicom(path: Path) -> DicomFile:
    """Read the header of a DICOM file, with or without preamble.

    Raises
    ------
    ImageError
        If the file is damaged, deflated to more than `MAX_INFLATED` bytes, or has more than `MAX_ELEMENTS` elements.
    """
    with open_file(path) as stream:
        if stream.read(_PREAMBLE)[128:] != b"DICM":
            stream.seek(0)
        meta = _file_meta(stream)
        begin = stream.tell()
        if str(meta.get("TransferSyntaxUID", "")) == DeflatedExplicitVRLittleEndian:
            header = _inflated(path, stream, meta)
            return DicomFile(path, header, DeflatedExplicitVRLittleEndian, True)
        stream.seek(0)
        if not meta and DeflatedExplicitVRLittleEndian.encode() in stream.read(1 << 16):
            raise ImageError(path, "is deflated and its file meta information is damaged", _AGAIN)
        big = str(meta.get("TransferSyntaxUID", "")) == ExplicitVRBigEndian
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            check_elements(path, content, begin, little=not big)
        stream.seek(0)
        header = dcmread(stream, force=True, stop_before_pixels=True, defer_size=1 << 20)
    declared = header.file_meta.get("TransferSyntaxUID")
    if declared:
        return DicomFile(path, header, UID(str(declared)), True)
    implicit, little = header.original_encoding
    parsed = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    return DicomFile(path, header, parsed, False)


def _file_meta(stream: BinaryIO) -> FileMetaDataset:
    """Group 2, from the stream's position on; empty where it cannot be parsed. Nothing is inflated."""
    try:
        group = read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
        return FileMetaDataset(group)
    except Exception:  # a damaged group 2 is reported by what fails next
        return FileMetaDataset()


def _inflated(path: Path, stream: BinaryIO, meta: FileMetaDataset) -> Dataset:
    """The data set behind a deflated group 2, inflated no further than the limit."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(stream.read(), MAX_INFLATED)
    except zlib.error as error:
        raise ImageError(path, f"is declared deflated, but cannot be inflated ({error})", _AGAIN) from error
    if inflater.unconsumed_tail:
        raise ImageError(path, f"inflates to more than {MAX_INFLATED >> 20} MiB", "Check where the file comes from")
    if not inflater.eof:
        raise ImageError(path, "is cut short: its deflated data end too early", _AGAIN)
    check_elements(path, content, 0)
    check_end(path, content)
    header = read_dataset(io.BytesIO(content), False, True)
    header.file_meta = meta
    return header


_ITEM = b"\xfe\xff\x00\xe0"
_JPEG_2000 = "JPEG 2000"
#: Share of the pixels that may have bits above those stored: overlays of lines and letters.
_UPPER_BITS = 0.1
_PROCESS = {0xC0: "baseline JPEG", 0xC1: "extended JPEG", 0xC3: "lossless JPEG", 0xF7: "JPEG-LS"}
_NO_LENGTH = {0x01, *range(0xD0, 0xD8)}
# pylibjpeg's RLE is a hundred times faster than pydicom's; only pyjpegls notices damaged JPEG-LS.
_PREFERRED = ("pyjpegls", "pylibjpeg", "pillow")


@dataclass(frozen=True)
class Codestream:
    """What a compressed frame says about itself (JPEG's SOF or JPEG 2000's SIZ marker segment)."""

    process: str
    precision: int
    rows: int
    columns: int
    components: int
    start: int


def read_pixels(file: DicomFile) -> tuple[NDArray[Any], list[str]]:
    """Decode the one frame of a DICOM file.

    Parameters
    ----------
    file : DicomFile
        Its header has passed the checks of `MolSubCore.imaging.io.dicom`.

    Returns
    -------
    stored : ndarray of (u)int8 or (u)int16, shape (rows, columns)
        As decoded, in native byte order, with the sign of Pixel Representation (0028,0103).
    warnings : list of str

    Raises
    ------
    ImageError
        If there are no pixel data, they are not whole, not what the transfer syntax says, or no
        decoder is installed.
    """
    dataset = file.pixel_dataset()
    if "PixelData" not in dataset:
        floating = "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset
        found = "has floating-point pixel data, expected integers" if floating else "has no pixel data"
        raise ImageError(file.path, found, "Give the DICOM file of a mammogram, complete with its image")
    decoder = decoder_of(file)
    encapsulated = bool(dataset["PixelData"].is_undefined_length) or dataset.PixelData[:4] == _ITEM
    if encapsulated != file.syntax.is_encapsulated:
        found, expected = ("compressed", "uncompressed") if encapsulated else ("uncompressed", "compressed")
        name = file.syntax.name if file.syntax_declared else "no transfer syntax"
        raise ImageError(file.path, f"declares {name} ({expected}), but its pixel data are {found}", _AGAIN)
    bits = (int(dataset.BitsStored), _high_bit(dataset))
    warnings = _check_compressed(file, dataset) if encapsulated else _check_length(file, dataset)
    high = dataset.get("HighBit")
    if high is not None and int(high) != bits[1] and not encapsulated:
        warnings.append(
            f"High Bit {high} is none of {bits[0]} bits stored in {dataset.BitsAllocated}: {bits[1]} was used."
        )
    plugin = plugin_of(decoder) if encapsulated else ""
    options: dict[str, Any] = {"allow_excess_frames": False}
    if file.syntax not in (*JPEG2000TransferSyntaxes, *JPEGLSTransferSyntaxes):
        options["correct_unused_bits"] = False
    decoded = _decode(file, decoder, dataset, decoding_plugin=plugin, **options)
    stored = decoded.astype(decoded.dtype.newbyteorder("="), copy=False)
    in_cell = not encapsulated or file.syntax == RLELossless  # a JPEG sample knows no high bit
    if bits[1] == bits[0] - 1 or not in_cell:
        _check_stored_bits(file, stored, bits[0])
    stored, note = unused_bits_removed(stored, bits[0], bits[1] if in_cell else bits[0] - 1)
    _check_sign(file, stored, bits[0])
    return np.ascontiguousarray(stored), warnings + note


def _check_stored_bits(file: DicomFile, stored: NDArray[Any], bits: int) -> None:
    """Refuse values of more bits than are said to be stored: without the upper ones they would be other values.

    Overlays in the upper bits, which old files have, are in a few pixels, at whose border the values without them go
    on; where too many bits are cut from a picture, the values with them do.
    """
    clean, _ = unused_bits_removed(stored, bits, bits - 1)
    raw, cut = stored.astype(np.int32), clean.astype(np.int32)
    upper = raw >> bits
    longer = (upper != 0) & ((upper != -1) | (cut >= 0))
    if not (count := int(np.count_nonzero(longer))):
        return
    border = longer[:, 1:] != longer[:, :-1]
    steps = [
        float(np.median(np.abs(np.diff(values, axis=1))[border])) if border.any() else 0.0 for values in (raw, cut)
    ]
    if count <= _UPPER_BITS * stored.size and steps[0] >= steps[1]:
        return
    needed = max(int(raw.max()).bit_length(), int(-1 - raw.min()).bit_length()) + (stored.dtype.kind == "i")
    found = f"has {count} pixels with values of up to {needed} bits, its Bits Stored (0028,0101) says {bits}"
    raise ImageError(file.path, found, "Correct Bits Stored and High Bit, or export it again")


def _check_sign(file: DicomFile, stored: NDArray[Any], bits: int) -> None:
    """Refuse values without a sign that are said to have one: their upper half follows on from below the lower one."""
    if count := wrapped(stored, bits):
        found = f"is said to have signed pixels, but {count} neighbours are nearly {1 << bits} apart, as unsigned are"
        raise ImageError(file.path, found, "Set Pixel Representation (0028,0103) to 0, or export it again")


def _decode(file: DicomFile, decoder: Decoder, dataset: Dataset, **options: Any) -> NDArray[Any]:
    """Decode the first frame; a decoder written in Rust fails by a panic, which is no `Exception`."""
    try:
        with no_stderr():
            return decoder.as_array(dataset, index=0, raw=True, **options)[0]
    except BaseException as error:
        failed = isinstance(error, RuntimeError) and str(error).startswith("Unable to decode")
        if not failed and type(error).__name__ != "PanicException":
            raise
        said = str(error).strip().splitlines()[-1].partition(": ")[2] if failed else error
        raise ImageError(file.path, f"has damaged pixel data ({said})", _AGAIN) from error


def decoder_of(file: DicomFile) -> Decoder:
    """pydicom's decoder of the file's transfer syntax (ImageError where there is none)."""
    try:
        decoder = get_decoder(file.syntax)
    except NotImplementedError:
        known = file.syntax.name != file.syntax
        name = (
            f"{file.syntax.name} ({file.syntax})" if known else str(file.syntax) if file.syntax.is_valid else _FREE_TEXT
        )
        raise ImageError(
            file.path, f"has the transfer syntax {name}, which cannot be decoded", "Export it uncompressed"
        ) from None
    if not decoder.is_available:
        needs = "; ".join(decoder.missing_dependencies)
        raise ImageError(file.path, f"is compressed as {file.syntax.name}, no decoder is installed", f"Install {needs}")
    return decoder


def plugin_of(decoder: Decoder) -> str:
    """The decoder's library that is used; empty for pydicom's own choice."""
    return next((name for name in _PREFERRED if name in decoder.available_plugins), "")


def _high_bit(dataset: Dataset) -> int:
    """High Bit (0028,0102), or what it must be where it is absent or impossible."""
    stored, allocated = int(dataset.BitsStored), int(dataset.BitsAllocated)
    high = dataset.get("HighBit")
    return int(high) if high is not None and stored - 1 <= int(high) < allocated else stored - 1


def _check_length(file: DicomFile, dataset: Dataset) -> list[str]:
    """Uncompressed pixel data must be as long as the header says; too long by less than a row is a warning."""
    needed = int(dataset.Rows) * int(dataset.Columns) * int(dataset.BitsAllocated) // 8
    found = len(dataset.PixelData)
    if found < needed:
        raise ImageError(file.path, f"has truncated pixel data: {found} bytes, expected {needed}", _AGAIN)
    if found >= needed + needed // int(dataset.Rows) and found > needed + needed % 2:
        told = f"{dataset.Rows} x {dataset.Columns} pixels of {dataset.BitsAllocated} bits have {needed}"
        raise ImageError(
            file.path, f"has {found} bytes of pixel data, {told}: its size is not that of its image", _AGAIN
        )
    if found > needed + needed % 2:
        return [f"The pixel data are {found - needed} bytes longer than the image; the rest was not read."]
    return []


def _check_compressed(file: DicomFile, dataset: Dataset) -> list[str]:
    """Compare a compressed frame's own header with the DICOM header, before anything is decoded."""
    try:
        stream = get_frame(dataset.PixelData, 0, number_of_frames=1)
    except Exception as error:
        raise ImageError(file.path, f"has damaged or truncated pixel data ({error})", _AGAIN) from error
    return check_stream(file, dataset, stream)


def check_stream(file: DicomFile, dataset: Dataset, stream: bytes) -> list[str]:
    """Compare one compressed frame with the DICOM header; `dataset` gets the bits that the decoder will deliver.

    Raises
    ------
    ImageError
        If it is of another kind or size, or cut short.
    """
    if file.syntax == RLELossless:
        _check_packets(file, dataset, len(stream))
        _check_whole(file, dataset, stream)
        return []
    code = parse_codestream(stream)
    if code is None:
        raise ImageError(file.path, f"declares {file.syntax.name}, but its pixel data are not that", _AGAIN)
    if code.process not in _allowed(file.syntax):
        raise ImageError(file.path, f"declares {file.syntax.name}, but its pixel data are {code.process}", _AGAIN)
    expected = (int(dataset.Rows), int(dataset.Columns), 1)
    if (code.rows, code.columns, code.components) != expected:
        found = f"{code.rows} x {code.columns} x {code.components}"
        told = " x ".join(map(str, expected))
        raise ImageError(file.path, f"has compressed pixel data of {found} samples, its header says {told}", _AGAIN)
    if code.precision > 16 or code.precision > int(dataset.BitsAllocated):
        told = f"Bits Allocated {dataset.BitsAllocated}"
        raise ImageError(file.path, f"has compressed samples of {code.precision} bits, its header says {told}", _AGAIN)
    if stream.rfind(b"\xff\xd9", code.start) < 0:
        raise ImageError(
            file.path, "has truncated pixel data: the end marker of the compressed image is missing", _AGAIN
        )
    _check_whole(file, dataset, stream[code.start :] if code.process == _JPEG_2000 else stream)
    if code.precision <= 8 < int(dataset.BitsAllocated):
        dataset.BitsAllocated = 8  # what the decoder will deliver
        dataset.BitsStored = min(8, int(dataset.BitsStored))
    # More bits than are stored harm nothing: what is set in them is removed, and told, once it is decoded.
    if code.precision < int(dataset.BitsStored) and code.process != _JPEG_2000:
        return [f"The compressed samples have {code.precision} bits, the header says {dataset.BitsStored}."]
    return []


def _check_whole(file: DicomFile, dataset: Dataset, stream: bytes) -> None:
    """Refuse coded data of which bytes are missing or overwritten."""
    try:
        if file.syntax == RLELossless:
            if dataset.BitsAllocated % 8 == 0:
                check_rle(stream, int(dataset.Rows) * int(dataset.Columns), int(dataset.BitsAllocated) // 8)
        elif file.syntax in JPEG2000TransferSyntaxes:
            check_jpeg_2000(stream)
        else:
            check_jpeg(stream)
    except Damage as damage:
        raise ImageError(file.path, f"has damaged pixel data: {damage}", _AGAIN) from None


def _check_packets(file: DicomFile, dataset: Dataset, found: int) -> None:
    """Refuse RLE data too short for the image before memory is asked for: two bytes give at most 128 (PS3.5 G.3)."""
    needed = int(dataset.Rows) * int(dataset.Columns) * int(dataset.BitsAllocated) // 8
    if (found - 64) * 64 < needed:
        told = f"{found} bytes of RLE cannot hold the {needed} bytes of the image"
        raise ImageError(file.path, f"has truncated pixel data: {told}", _AGAIN)


def _allowed(syntax: UID) -> tuple[str, ...]:
    """The compression processes a transfer syntax may hold."""
    if syntax == JPEGBaseline8Bit:
        return ("baseline JPEG",)
    if syntax == JPEGExtended12Bit:
        return ("baseline JPEG", "extended JPEG")
    if syntax in (JPEGLossless, JPEGLosslessSV1):
        return ("lossless JPEG",)
    return ("JPEG-LS",) if syntax in JPEGLSTransferSyntaxes else (_JPEG_2000,)


def parse_codestream(stream: bytes) -> Codestream | None:
    """Read the frame header of a JPEG, JPEG-LS or JPEG 2000 stream; None if it is none of these."""
    siz = stream.find(b"\xff\x4f\xff\x51", 0, 1024)  # 0 for a bare stream, later within a JP2 file
    if siz == 0 or stream[4:8] == b"jP  ":
        if siz < 0 or len(stream) < siz + 45:
            return None
        wide, high, left, top = (int.from_bytes(stream[siz + 8 + 4 * i : siz + 12 + 4 * i], "big") for i in range(4))
        components = int.from_bytes(stream[siz + 40 : siz + 42], "big")
        return Codestream(_JPEG_2000, (stream[siz + 42] & 0x7F) + 1, high - top, wide - left, components, siz)
    if stream[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 10 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF or marker in _NO_LENGTH:
            at += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        if marker in _PROCESS or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            rows, columns = (int.from_bytes(stream[i : i + 2], "big") for i in (at + 5, at + 7))
            name = _PROCESS.get(marker, f"JPEG of process 0x{marker:02X}")
            return Codestream(name, stream[at + 4], rows, columns, stream[at + 9], at + 2 + length)
        at += 2 + length
    return None


def unused_bits_removed(stored: NDArray[Any], bits: int, high: int) -> tuple[NDArray[Any], list[str]]:
    """Keep the `bits` bits of each cell that end at bit `high`, sign-extended for signed types (PS3.5 8.1.1).

    Returns the same array where there is nothing to do, and a warning where other bits were set
    (old files keep overlays there).
    """
    width, shift = 8 * stored.dtype.itemsize, high + 1 - bits
    if bits >= width:
        return stored, []
    if stored.dtype.kind == "u":
        mask = stored.dtype.type((1 << bits) - 1)
        if shift == 0 and stored.max() <= mask:
            return stored, []
        clean = (stored >> stored.dtype.type(shift)) & mask
        dirty = (stored & ~stored.dtype.type(int(mask) << shift)) != 0
    else:
        up, down = stored.dtype.type(width - bits - shift), stored.dtype.type(width - bits)
        clean = (stored << up) >> down
        dirty = (clean != stored) & ((stored >> stored.dtype.type(bits)) != 0) & (shift == 0)
    count = int(np.count_nonzero(dirty))
    why = "(overlays, a wrong header, or damage); they were removed."
    return clean, [f"{count} pixels had bits set outside the {bits} stored ones {why}"] if count else []


#: Windows, and tables, of a file that are looked at: three of each are usual, a table may have 65,536 entries.
_MOST_LUTS = 16
_FUNCTIONS: dict[str, Literal["linear", "linear-exact", "sigmoid"]] = {
    "": "linear",
    "LINEAR": "linear",
    "LINEAR_EXACT": "linear-exact",
    "SIGMOID": "sigmoid",
}


def read_voi(dataset: Dataset, *, signed: bool) -> tuple[tuple[VoiTransform, ...], list[str]]:
    """All windows and VOI LUTs of a header, windows first.

    Parameters
    ----------
    dataset : Dataset
    signed : bool
        Whether rescaled values can be negative; then a table's first mapped value is signed.

    Returns
    -------
    voi : tuple of VoiTransform
        Windows of impossible width are kept: a display step says why it does not use them.
    warnings : list of str
        About transforms that cannot be read and are left out.
    """
    windows, warnings = _windows(dataset)
    tables: list[VoiTransform] = []
    items = dataset.get("VOILUTSequence") or []
    if len(items) > _MOST_LUTS:
        warnings.append(f"The file has {len(items)} VOI LUTs; the first {_MOST_LUTS} were looked at.")
    useless: dict[str, list[int]] = {}
    for number, item in enumerate(items[:_MOST_LUTS]):
        try:
            first, entries, bits = read_lut(item, signed=signed)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            useless.setdefault(_unquoted(error), []).append(number)
            continue
        top = float((1 << bits) - 1)
        if entries.max() > top:
            warnings.append(
                f"VOI LUT {number} holds {entries.max()}, more than its {bits} bits allow; it was scaled to that."
            )
            top = float(entries.max())
        scaled = entries.astype(np.float32) / np.float32(top)
        explanation = text(item, "LUTExplanation")
        tables.append(VoiTransform(f"voi-lut:{number}", "lut", first=float(first), lut=scaled, explanation=explanation))
    for reason, numbers_of in useless.items():
        others = f"; nor are {len(numbers_of) - 1} others, for the same reason" if len(numbers_of) > 1 else ""
        warnings.append(f"VOI LUT {numbers_of[0]} is not used: {reason}{others}.")
    return (*windows, *tables), warnings


def _windows(dataset: Dataset) -> tuple[list[VoiTransform], list[str]]:
    warnings: list[str] = []
    centers, widths = numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth")
    if centers is None or widths is None:
        return [], ["The file's windows are not used: Window Center or Window Width is not a number."]
    if len(centers) != len(widths):
        warnings.append(
            f"The file has {len(centers)} Window Centers and {len(widths)} Window Widths; only pairs are used."
        )
    if min(len(centers), len(widths)) > _MOST_LUTS:
        count = min(len(centers), len(widths))
        warnings.append(f"The file has {count} windows; the first {_MOST_LUTS} were looked at.")
    function = text(dataset, "VOILUTFunction").upper()
    if function not in _FUNCTIONS:
        warnings.append(f"The VOI LUT Function is {_FREE_TEXT}; windows are taken as LINEAR.")
    kind = _FUNCTIONS.get(function, "linear")
    words = text(dataset, "WindowCenterWidthExplanation").split("\\")
    return [
        VoiTransform(f"window:{i}", kind, center, width, explanation=words[i] if i < len(words) else "")
        for i, (center, width) in enumerate(zip(centers[:_MOST_LUTS], widths[:_MOST_LUTS], strict=False))
    ], warnings


def read_modality_lut(dataset: Dataset, *, signed: bool) -> tuple[ModalityLut, int] | None:
    """The Modality LUT Sequence (0028,3000) and its bits per entry, or None where there is none.

    Raises
    ------
    ValueError
        If the table cannot be read.
    """
    items = dataset.get("ModalityLUTSequence") or []
    if not items:
        return None
    first, entries, bits = read_lut(items[0], signed=signed)
    return ModalityLut(first, entries.astype(np.float32)), bits


def read_lut(item: Dataset, *, signed: bool) -> tuple[int, NDArray[np.uint16], int]:
    """A lookup table item: first mapped value, entries, bits per entry.

    Raises
    ------
    ValueError
        If descriptor and data do not fit together.
    """
    descriptor = [int(v) for v in item.LUTDescriptor]
    if len(descriptor) != 3:
        raise ValueError(f"its LUT Descriptor has {len(descriptor)} values, expected 3")
    count = (descriptor[0] & 0xFFFF) or 1 << 16
    first, bits = descriptor[1], descriptor[2]
    if signed and first > 0x7FFF:  # written as unsigned in an explicit-VR file
        first -= 1 << 16
    elif not signed and first < 0:
        first += 1 << 16
    if not 8 <= bits <= 16:
        raise ValueError(f"it has {bits} bits per entry, expected 8 to 16")
    entries = _entries(item, count, bits)
    if len(entries) < count:
        raise ValueError(f"it has {len(entries)} entries, its descriptor promises {count}")
    return first, entries[:count], bits


def _entries(item: Dataset, count: int, bits: int) -> NDArray[np.uint16]:
    """LUT Data (0028,3006), of whatever VR; 8-bit entries may lie two in a word."""
    value: Any = item.LUTData
    if isinstance(value, bytes):
        little = item.original_encoding[1] is not False
        raw = value
        words = np.frombuffer(value[: len(value) // 2 * 2], "<u2" if little else ">u2").astype(np.uint16)
    else:
        words = np.atleast_1d(np.asarray(value, dtype=np.int64) & 0xFFFF).astype(np.uint16)
        raw = words.astype("<u2").tobytes()
    if bits == 8 and len(words) < count <= len(raw):
        return np.frombuffer(raw, np.uint8)[:count].astype(np.uint16)
    return words


Presentation = Literal["FOR PRESENTATION", "FOR PROCESSING"]

_MAMMOGRAPHY = "Give one 2D mammographic view (modality MG)"
_MODALITIES = {"MG", "CR", "DX", "SC", "OT"}
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_FOR_PRESENTATION, _FOR_PROCESSING = _STORAGE + "1.2", _STORAGE + "1.2.1"
_TOMOSYNTHESIS = _STORAGE + "13.1.3"
_SOP_CLASSES = {
    _FOR_PRESENTATION,
    _FOR_PROCESSING,
    _TOMOSYNTHESIS,  # some 2D images made from tomosynthesis are stored so, with one frame
    _STORAGE + "1",  # CR
    _STORAGE + "1.1",  # DX for presentation
    _STORAGE + "1.1.1",  # DX for processing
    _STORAGE + "7",  # secondary capture
    _STORAGE + "7.2",
    _STORAGE + "7.3",
}
#: Grey values beyond this are none that can be computed with.
_LARGEST = 1e30
#: Share of the picture's values that padding beside the breast may spread over; pixels of such a value within the
#: breast from which on it is told.
_FLAT, _LEAST_INNER = 0.1, 20


def read_dicom(path: Path) -> Mammogram:
    """Read a DICOM mammogram.

    Parameters
    ----------
    path : Path
        A DICOM file, with or without preamble, in any transfer syntax pydicom has a decoder for.

    Returns
    -------
    Mammogram

    Raises
    ------
    ImageError
        If the file is not one 2D mammographic view, or its pixel data are not whole.
    """
    file, warnings = _opened(path)
    header = file.header
    stored, pixel_warnings = read_pixels(file)
    rescale = _read_rescale(path, header)
    presentation = _presentation(header)
    inverted, history, doubts = read_polarity(header, presentation, rescale.falling)
    side, side_warnings = read_side(header)
    view, view_warnings = read_view(header)
    spacing, corrected, spacing_warnings = read_spacing(header, (stored.shape[0], stored.shape[1]))
    voi, voi_warnings = read_voi(header, signed=rescale.value_range[0] < 0)
    padding, padding_warnings = _padding(header, stored)
    warnings += [*pixel_warnings, *doubts, *read_doubts(header, presentation)]
    warnings += [*side_warnings, *view_warnings, *spacing_warnings, *voi_warnings, *padding_warnings]
    maker, model = text(header, "Manufacturer"), text(header, "ManufacturerModelName")
    return Mammogram(
        stored,
        slope=rescale.slope,
        intercept=rescale.intercept,
        modality_lut=rescale.table,
        inverted=inverted,
        value_range=rescale.value_range,
        padding=padding,
        spacing=spacing,
        chest_wall_told=read_chest_wall(header),
        laterality=side,
        view=view,
        manufacturer=maker or None,
        model_name=model or None,
        presentation=presentation,
        photometric_history=tuple(_stored_as(file, stored) + rescale.history + history + corrected),
        voi=voi,
        warnings=tuple(warnings),
        synthetic=SYNTHETIC_MODEL.casefold() in f"{maker} {model}".casefold(),
        identifiers=identifiers_of(header),
        person=person_of(header),
        source=path,
    )


def check_dicom(path: Path) -> None:
    """Refuse, by its header alone, a DICOM file that `read_dicom` would refuse without a look at its pixels.

    Raises
    ------
    ImageError
    """
    _opened(path)


def _opened(path: Path) -> tuple[DicomFile, list[str]]:
    """The file with its header, checked, and what is to be said about its kind."""
    file = open_dicom(path)
    _fill_from_groups(file.header)
    warnings = _check_kind(path, file.header)
    _check_layout(path, file.header)
    return file, warnings


def _fill_from_groups(header: Dataset) -> None:
    """Copy what only the functional groups of an enhanced, one-frame image say to the top level."""
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for groups in (header.get(keyword) or [])[:1]:
            for group in groups:
                for element in group.value[0] if group.VR == "SQ" and group.value else ():
                    if header.get(element.tag) is None or header[element.tag].is_empty:
                        header.add(element)


def _check_kind(path: Path, header: Dataset) -> list[str]:
    """Refuse what is clearly no single 2D mammogram, by modality, SOP class and number of frames."""
    kind = UID(text(header, "SOPClassUID"))
    modality = text(header, "Modality").upper()
    if "DirectoryRecordSequence" in header:
        raise ImageError(path, "is a DICOMDIR, an index of other files", "Name one of the images it lists")
    if modality and modality not in _MODALITIES:
        raise ImageError(path, f"has modality {term(modality, _ALL_MODALITIES)}, expected MG", _MAMMOGRAPHY)
    frames = numbers(header, "NumberOfFrames")
    if frames is None or (frames and frames[0] != 1):
        count = "an unreadable number of" if frames is None else f"{frames[0]:.0f}"
        tomosynthesis = kind == _TOMOSYNTHESIS or "TOMOSYNTHESIS" in text(header, "ImageType").upper()
        what = "tomosynthesis volume" if tomosynthesis else "multi-frame image"
        raise ImageError(
            path, f"is a {what} of {count} frames, expected one frame", "Give the 2D view of the same breast"
        )
    if kind and kind not in _SOP_CLASSES and kind.name != kind:
        raise ImageError(path, f"is a {kind.name}, expected a mammogram", _MAMMOGRAPHY)
    if not modality:
        return ["The file does not name its modality; it was read as a mammogram."]
    return [] if modality == "MG" else [f"The modality is {modality}, not MG; it was read as a mammogram."]


def _check_layout(path: Path, header: Dataset) -> None:
    """Refuse pixel layouts no mammogram has, and absurd sizes, before pixel data are touched."""
    layout = {}
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "SamplesPerPixel"):
        values = numbers(header, keyword)
        if not values:
            found = (
                f"does not say its {keyword} (has no image, is cut short, or its transfer syntax is not what it says)"
            )
            raise ImageError(path, found, "Give the DICOM file of a mammogram, complete with its image")
        layout[keyword] = int(values[0])
    check_size(path, layout["Rows"], layout["Columns"])
    aspect = numbers(header, "PixelAspectRatio")
    if aspect is None or (aspect and (len(aspect) != 2 or min(aspect) <= 0 or aspect[0] != aspect[1])):
        ratio = ":".join(f"{value:g}" for value in aspect) if aspect else "of no numbers"
        found = f"has pixels that are not square (Pixel Aspect Ratio {ratio})"
        raise ImageError(path, found, "Export it with square pixels")
    photometric = text(header, "PhotometricInterpretation").upper()
    if photometric not in ("MONOCHROME1", "MONOCHROME2") or layout["SamplesPerPixel"] != 1:
        named = term(photometric, _PHOTOMETRIC) if photometric else "nothing"
        found = f"has Photometric Interpretation {named}, {layout['SamplesPerPixel']} samples"
        raise ImageError(path, f"{found}, expected MONOCHROME1 or MONOCHROME2 with 1", "Give the greyscale original")
    allocated, stored = layout["BitsAllocated"], layout["BitsStored"]
    if allocated not in (8, 16) or not 1 <= stored <= allocated or layout["PixelRepresentation"] not in (0, 1):
        found = (
            f"has {stored} bits stored in {allocated} allocated, pixel representation {layout['PixelRepresentation']}"
        )
        raise ImageError(
            path, f"{found}; expected up to 8 or 16 bits, representation 0 or 1", "Export it again as 16-bit"
        )


@dataclass(frozen=True, eq=False)
class _Rescale:
    """The modality transform: from stored to rescaled values."""

    slope: float
    intercept: float
    table: ModalityLut | None
    value_range: tuple[float, float]
    falling: bool
    history: list[str]


def _read_rescale(path: Path, header: Dataset) -> _Rescale:
    signed = int(header.PixelRepresentation) == 1
    bits = int(header.BitsStored)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    try:
        modality = read_modality_lut(header, signed=signed)
    except (ValueError, TypeError, AttributeError) as error:
        raise ImageError(
            path, f"has a Modality LUT that cannot be used: {_unquoted(error)}", "Export it with plain pixels"
        ) from error
    if modality is not None:
        table, depth = modality
        falling = bool(table.values[0] > table.values[-1])
        note = f"Modality LUT of {len(table.values)} entries, {depth} bits."
        return _Rescale(1.0, 0.0, table, (0.0, 2.0**depth - 1), falling, [note])
    slopes, intercepts = numbers(header, "RescaleSlope"), numbers(header, "RescaleIntercept")
    if slopes is None or intercepts is None or slopes[:1] == (0.0,):
        read = ["no number" if values is None else values[0] if values else "" for values in (slopes, intercepts)]
        found = f"Rescale Slope '{read[0]}', Intercept '{read[1]}'"
        raise ImageError(path, f"has {found}, expected numbers and a slope other than 0", "Correct the header")
    slope, intercept = (slopes or (1.0,))[0], (intercepts or (0.0,))[0]
    ends = (low * slope + intercept, high * slope + intercept)
    if not all(abs(end) <= _LARGEST for end in ends):
        found = f"has Rescale Slope {slope:g} and Intercept {intercept:g}: its grey values are beyond all numbers"
        raise ImageError(path, found, "Correct the header")
    history = [] if (slope, intercept) == (1.0, 0.0) else [f"Rescaled: {slope:g} x stored {intercept:+g}."]
    return _Rescale(slope, intercept, None, (min(ends), max(ends)), slope < 0, history)


def _presentation(header: Dataset) -> Presentation | None:
    """Presentation Intent Type (0008,0068), or what the SOP class implies."""
    intent = text(header, "PresentationIntentType").upper()
    kind = text(header, "SOPClassUID")
    if intent == "FOR PROCESSING" or (not intent and kind == _FOR_PROCESSING):
        return "FOR PROCESSING"
    if intent == "FOR PRESENTATION" or (not intent and kind == _FOR_PRESENTATION):
        return "FOR PRESENTATION"
    return None


def _padding(header: Dataset, stored: NDArray[Any]) -> tuple[tuple[int, int] | None, list[str]]:
    """Stored values that mean "outside": Pixel Padding Value to Range Limit (PS3.3 C.7.5.1.1.2); and what is in doubt.

    A range that takes in the breast is none: beside it, padding is (nearly) of one value.
    """
    values = numbers(header, "PixelPaddingValue")
    if not values:
        return None, []
    limits = numbers(header, "PixelPaddingRangeLimit")
    ends = [int(values[0]), int(limits[0]) if limits else int(values[0])]
    if stored.dtype.kind == "i":  # the same bits, written with an unsigned value representation
        top = int(np.iinfo(stored.dtype).max)
        ends = [end - 2 * (top + 1) if end > top else end for end in ends]
    low, high = min(ends), max(ends)
    padded = (stored >= low) & (stored <= high)
    if not padded.any():
        return (low, high), []
    name = f"Pixel Padding Value {low}" if low == high else f"Pixel Padding Value and Range Limit ({low} to {high})"
    bottom, summit = np.percentile(stored, (0.1, 99.9))
    flat = _FLAT * max(1.0, float(summit - bottom))
    outside = at_the_edge(padded)
    if outside is None:
        told = f"it is found within the picture only ({100 * float(padded.mean()):.2g} % of it), not beside the breast"
        return None, [f"The {name} is not used: {told}."] if _on_tissue(stored, padded, (low, high), flat) else []
    if low < high:
        first, last = np.percentile(stored[outside], (1, 99))
        if last - first > flat:
            share = f"{100 * float(outside.mean()):.0f} % of the image"
            return None, [f"The {name} is not used: it takes in values of the breast ({share})."]
    inner = padded & ~outside
    if _on_tissue(stored, inner, (low, high), flat):
        share = f"{100 * float(inner.sum() / (~outside).sum()):.2g} % of what is not padding"
        return (low, high), [f"The {name} is also found within the picture ({share}): there it was not applied."]
    return (low, high), []


def _on_tissue(stored: NDArray[Any], marked: NDArray[np.bool_], ends: tuple[int, int], flat: float) -> bool:
    """Whether padding's values are found where all around is other than they are, and not in the noise of the air."""
    from scipy import ndimage

    if np.count_nonzero(marked) < _LEAST_INNER:
        return False
    ring = ndimage.binary_dilation(marked, np.ones((3, 3)), iterations=2) & ~marked
    values = stored[ring].astype(np.float64)
    away = np.minimum(np.abs(values - ends[0]), np.abs(values - ends[1]))
    return bool(away.size and np.median(away) > flat)


def _stored_as(file: DicomFile, stored: NDArray[Any]) -> list[str]:
    header = file.header
    found = [
        f"DICOM {file.syntax.name}{'' if file.syntax_declared else ' (not declared)'}; "
        f"{header.BitsStored} of {header.BitsAllocated} bits, {'signed' if stored.dtype.kind == 'i' else 'unsigned'}."
    ]
    if text(header, "LossyImageCompression") == "01":
        found.append("The image has been compressed with loss.")
    # Iterating over the data set itself would decode every element.
    if any(0x6000 <= element >> 16 <= 0x601E for element in header.keys()):  # noqa: SIM118
        found.append("Overlays are not drawn into the pixels.")
    return found


_EXPORT_AGAIN = "Export the segmentation again"
#: Frames of a file; one of tomosynthesis has about a hundred.
_MOST_FRAMES = 10_000


def check_frames(path: Path, header: Dataset) -> tuple[int, int, int, int]:
    """Rows, columns, frames and bits a pixel, where a header claims no more of them than a segmentation has.

    Raises
    ------
    ImageError
    """
    layout = []
    for keyword in ("Rows", "Columns", "NumberOfFrames", "BitsAllocated"):
        found = numbers(header, keyword)
        if not found and keyword != "NumberOfFrames":
            raise ImageError(path, f"does not say its {keyword}", _EXPORT_AGAIN)
        layout.append(int(found[0]) if found else 1)
    rows, columns, count, bits = layout
    check_size(path, rows, columns)
    if not 1 <= count <= _MOST_FRAMES or rows * columns * count > MAX_BYTES or bits not in (1, 8, 16):
        raise ImageError(path, f"claims {count} frames of {rows} x {columns} pixels of {bits} bits", _EXPORT_AGAIN)
    return rows, columns, count, bits


def read_frames(file: DicomFile) -> Iterator[NDArray[Any]]:
    """Decode all frames of a file, one at a time.

    Yields
    ------
    ndarray of an unsigned integer, shape (rows, columns)
        Of 1-bit files 0 and 1.

    Raises
    ------
    ImageError
        If the header claims too much, or there are fewer pixels than it says.
    """
    dataset = file.pixel_dataset()
    rows, columns, count, bits = check_frames(file.path, dataset)
    if "PixelData" not in dataset:
        raise ImageError(file.path, "has no pixel data", _EXPORT_AGAIN)
    decoder, plugin = decoder_of(file), ""
    if file.syntax.is_encapsulated:
        plugin = plugin_of(decoder)
        streams = list(generate_frames(dataset.PixelData, number_of_frames=count))
        if len(streams) != count:
            raise ImageError(file.path, f"has {len(streams)} frames, its header says {count}", _EXPORT_AGAIN)
        for stream in streams:
            check_stream(file, dataset, stream)
    elif len(dataset.PixelData) < (rows * columns * count * bits + 7) // 8:
        raise ImageError(file.path, f"has truncated pixel data: {len(dataset.PixelData)} bytes", _EXPORT_AGAIN)
    for frame, _ in decoder.iter_array(dataset, raw=True, decoding_plugin=plugin):
        yield frame
