"""What a mammogram is, once read: one canonical array and what is known about it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

#: Number types in which pixel values are compared, the narrowest first, with their ends.
_KINDS = (("<u2", (0, 2**16 - 1)), ("<i4", (-(2**31), 2**31 - 1)))

SpacingSource = Literal[
    "PixelSpacing", "ImagerPixelSpacing", "ImagerPixelSpacing, magnification corrected", "file header", "unknown"
]

#: Manufacturer's Model Name (0008,1090) of all that the synthetic generator writes; the reader knows it by this.
SYNTHETIC_MODEL = "MolSub synthetic"


#: Makers of mammography systems and of readers of imaging plates, by a word of what Manufacturer (0008,0070) says.
_MAKERS = {
    "GE": "ge general", "Hologic": "hologic lorad trex", "Siemens": "siemens", "Fujifilm": "fuji fujifilm",
    "Philips": "philips sectra", "Planmed": "planmed", "IMS Giotto": "ims giotto internazionale",
    "Canon": "canon toshiba",
    "Carestream": "carestream kodak", "Konica Minolta": "konica", "Agfa": "agfa", "Metaltronica": "metaltronica",
    "Samsung": "samsung", "Genoray": "genoray", "DRGEM": "drgem", "Hitachi": "hitachi", "Shimadzu": "shimadzu",
    "Villa": "villa", "Allengers": "allengers", "Adani": "adani", "United Imaging": "uih united", "Neusoft": "neusoft",
    "Anke": "anke", "Wandong": "wandong", "Instrumentarium": "instrumentarium", "BMI": "bmi", "CapeRay": "caperay",
    "iCRco": "icrco", "Vidar": "vidar", "Lumisys": "lumisys", "Howtek": "howtek", "R2": "r2", "iCAD": "icad",
    "Parascript": "parascript", "MolSubSlicer project": "molsubslicer",
}  # fmt: skip


def maker_name(text: str | None) -> str:
    """A manufacturer's name for messages: one of the known makers; other text of a header may be anybody's name."""
    words = set(re.findall(r"[a-z0-9]+", (text or "").casefold()))
    if not words:
        return "unknown"
    return next((name for name, known in _MAKERS.items() if words & set(known.split())), "one that is not known here")


@dataclass(frozen=True)
class Spacing:
    """Distance between pixel centres.

    Attributes
    ----------
    row_mm, col_mm : float or None
        Between rows and between columns, in mm; None when unknown.
    source : SpacingSource
        Where it came from. `PixelSpacing` is calibrated (0028,0030); `ImagerPixelSpacing` is that of the
        detector (0018,1164), a few per cent larger than in the breast, unless it was divided by a magnification
        factor.
    """

    row_mm: float | None = None
    col_mm: float | None = None
    source: SpacingSource = "unknown"

    @property
    def mean_mm(self) -> float | None:
        """One number for both directions; None when unknown."""
        return None if self.row_mm is None or self.col_mm is None else (self.row_mm + self.col_mm) / 2


@dataclass(frozen=True)
class Grid:
    """Where a file's header puts its pixels, in mm of its own coordinates (LPS).

    Attributes
    ----------
    origin : tuple of float
        Centre of the first pixel.
    column_axis, row_axis : tuple of float
        Unit vectors along which the column number and the row number grow.
    row_mm, col_mm : float
        Distances between rows and between columns as written, also where they mean nothing.
    """

    origin: tuple[float, ...] = (0.0, 0.0, 0.0)
    column_axis: tuple[float, ...] = (1.0, 0.0, 0.0)
    row_axis: tuple[float, ...] = (0.0, 1.0, 0.0)
    row_mm: float = 1.0
    col_mm: float = 1.0


@dataclass(frozen=True, eq=False)
class ModalityLut:
    """A Modality LUT Sequence item (0028,3000), which takes the place of slope and intercept.

    Attributes
    ----------
    first : int
        Stored value that the first entry stands for; smaller values map to the first entry, values
        beyond the last entry to the last.
    values : ndarray of float32, shape (n,)
        Output values.
    """

    first: int
    values: NDArray[np.float32]

    def apply(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Map stored values (any shape) through the table (PS3.3 C.11.1.1)."""
        index = np.clip(stored.astype(np.int32) - self.first, 0, len(self.values) - 1)
        return self.values[index]


@dataclass(frozen=True, eq=False)
class VoiTransform:
    """One display transform offered by the file (DICOM PS3.3 C.11.2), by name.

    Attributes
    ----------
    name : str
        ``window:0``, ``window:1``, ... or ``voi-lut:0``, ...
    kind : {'linear', 'linear-exact', 'sigmoid', 'lut'}
        VOI LUT Function (0028,1056), or a VOI LUT Sequence item.
    center, width : float
        Window, in units after rescale (not for 'lut').
    first : float
        First value mapped by the LUT (only for 'lut').
    lut : ndarray of float32, shape (n,), or None
        LUT output scaled to [0, 1] (only for 'lut').
    explanation : str
        The file's own words for it, or an empty string.
    """

    name: str
    kind: Literal["linear", "linear-exact", "sigmoid", "lut"]
    center: float = 0.0
    width: float = 1.0
    first: float = 0.0
    lut: NDArray[np.float32] | None = None
    explanation: str = ""


#: What is said of a mammogram that may be a negative.
MAY_BE_NEGATIVE = (
    "The background is brighter than the breast: the picture may be a negative (dense tissue dark); "
    "results on a negative mean nothing."
)

#: What programs and people write where an id was taken out.
_PLACEHOLDER = re.compile(
    r"[x0*?#._-]*|(?:de-?identified|anon(?:y(?:m(?:ous|i[sz]ed)?)?)?|unknown|none|null|nil|n/?a|not available|removed"
    r"|redacted|patient ?id|patient|test|dummy|no ?id|no ?name)[ _^-]*0*"
)


def is_placeholder(patient_id: str) -> bool:
    """Whether a Patient ID is none, such as ``ANON``, ``XXXX`` or ``0``."""
    return bool(patient_id) and _PLACEHOLDER.fullmatch(patient_id.casefold()) is not None


@dataclass(frozen=True)
class Person:
    """Whom an image shows by its own header: to be compared in memory, never to be written or printed.

    Attributes
    ----------
    patient_id, issuer : str
        Patient ID (0010,0020) and Issuer of Patient ID (0010,0021), as compared: case and spaces do not count.
    name, birth_date : str
        Patient's Name and Birth Date: evidence beside an id, no id themselves.
    study, instance : str
        Study Instance UID and SOP Instance UID.
    sex, age, examined : str
        Patient's Sex, Patient's Age, and the day of the exam as ``YYYYMMDD``.
    accession, frame, series : str
        Accession Number, Frame of Reference UID, Series Instance UID.
    others : tuple of str
        Other Patient IDs.
    written : str
        Patient's Name with DICOM's ``^`` and ``=`` between its parts.
    subject, protocol : str
        Clinical Trial Subject ID (0012,0040) and Clinical Trial Protocol ID (0012,0020).
    maker : str
        Manufacturer of the machine, which tells exams apart.
    """

    patient_id: str = ""
    issuer: str = ""
    name: str = ""
    birth_date: str = ""
    study: str = ""
    instance: str = ""
    sex: str = ""
    age: str = ""
    examined: str = ""
    accession: str = ""
    frame: str = ""
    series: str = ""
    others: tuple[str, ...] = ()
    written: str = ""
    subject: str = ""
    protocol: str = ""
    maker: str = ""


@dataclass(frozen=True, eq=False)
class Mammogram:
    """One mammographic view.

    Attributes
    ----------
    stored : ndarray, shape (rows, columns)
        Pixel values exactly as decoded, in the file's own type: before rescale and inversion. Rows and columns as a
        viewer shows them: see `turned`.
    slope, intercept : float
        Modality rescale (0028,1053), (0028,1052); 1 and 0 when absent.
    modality_lut : ModalityLut or None
        Table used in place of slope and intercept, where the file has one.
    inverted : bool
        Whether dense tissue is dark in `stored` (MONOCHROME1), so that `pixels` turns it over.
    value_range : tuple of float
        Smallest and largest value the rescaled pixels can take, from the bit depth. Inversion is
        ``low + high - value``, so it does not depend on the picture's content.
    padding : tuple of int, or None
        Smallest and largest stored value that means "outside the image" (Pixel Padding Value and
        Range Limit, (0028,0120) and (0028,0121)); see `outside`.
    spacing : Spacing
    grid : Grid or None
        Of a volume (NIfTI, NRRD, MetaImage): what its header says of the file's axes, for masks of the same geometry.
    turned : tuple of bool
        Whether `stored` has the file's rows, and its columns, in reverse order.
    chest_wall_told : {'left', 'right'} or None
        Where the chest wall is in the stored picture by the header's Patient Orientation; see
        `MolSubCore.imaging.breast`.
    laterality : {'L', 'R'} or None
        Side of the breast.
    view : str or None
        View in short form: ``CC``, ``MLO``, ``ML``, ``LM``, ``XCCL``, ...
    manufacturer, model_name : str or None
    presentation : {'FOR PRESENTATION', 'FOR PROCESSING'} or None
        Presentation Intent Type (0008,0068).
    photometric_history : tuple of str
        What the file said and what was done about it, in order, for people.
    voi : tuple of VoiTransform
        Display transforms the file offers; none is applied to `pixels`.
    warnings : tuple of str
        Sentences a user of the result must see.
    negative : bool
        Whether it may be a negative, by its background: a warning says it, and predictions mean nothing.
    synthetic : bool
        Made by the generator of this project, not a patient's.
    identifiers : mapping
        PatientID and the like, for joining tables; never to be written unless asked.
    person : Person
        Whom the file names; empty for files that name nobody. Never to be written.
    source : Path or None
        The file; never to be written unless asked.
    """

    stored: NDArray[Any]
    slope: float = 1.0
    intercept: float = 0.0
    modality_lut: ModalityLut | None = None
    inverted: bool = False
    value_range: tuple[float, float] = (0.0, 1.0)
    padding: tuple[int, int] | None = None
    spacing: Spacing = Spacing()
    grid: Grid | None = None
    turned: tuple[bool, bool] = (False, False)
    chest_wall_told: Literal["left", "right"] | None = None
    laterality: Literal["L", "R"] | None = None
    view: str | None = None
    manufacturer: str | None = None
    model_name: str | None = None
    presentation: Literal["FOR PRESENTATION", "FOR PROCESSING"] | None = None
    photometric_history: tuple[str, ...] = ()
    voi: tuple[VoiTransform, ...] = ()
    warnings: tuple[str, ...] = ()
    negative: bool = False
    synthetic: bool = False
    identifiers: dict[str, str] = field(default_factory=dict)
    person: Person = field(default=Person(), repr=False)
    source: Path | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        rows, columns = self.stored.shape
        return rows, columns

    @property
    def label(self) -> str:
        """Side and view for people and file names, such as ``R MLO``; ``?`` stands for unknown."""
        return f"{self.laterality or '?'} {self.view or '?'}"

    def as_shown(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array on the file's rows and columns, shape (rows, columns, ...), in the order of `stored`; or back."""
        rows, columns = self.turned
        return array[:: -1 if rows else 1, :: -1 if columns else 1]

    def pixel_hash(self) -> str:
        """SHA-256 of the stored values and their shape: the same picture, whatever file and number type hold it."""
        values = self.stored
        low, high = float(values.min()), float(values.max())
        # As the narrowest type that holds them, so that 16 bits in a DICOM file and floats in a NIfTI are the same.
        if np.isfinite(low) and np.isfinite(high) and (values.dtype.kind in "iub" or bool((values % 1 == 0).all())):
            kind = next((name for name, ends in _KINDS if ends[0] <= low and high <= ends[1]), "<f8")
        else:
            kind = "<f8"
        digest = hashlib.sha256(repr((self.shape, kind)).encode())
        digest.update(np.ascontiguousarray(values, kind).data)
        return digest.hexdigest()

    @cached_property
    def outside(self) -> NDArray[np.bool_] | None:
        """Pixels that are padding: of the padding's values, and connected to the picture's edge; None without any.

        The same value within the breast is what it is: saturated calcifications, dark fat.
        """
        if self.padding is None:
            return None
        low, high = self.padding
        return at_the_edge((self.stored >= low) & (self.stored <= high))

    def rescale(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Modality rescale of stored values of any shape: a new float32 array, polarity as stored."""
        if self.modality_lut is not None:
            return self.modality_lut.apply(stored)
        values = stored.astype(np.float32)
        if self.slope != 1.0:
            values *= np.float32(self.slope)
        if self.intercept != 0.0:
            values += np.float32(self.intercept)
        return values

    def orient(self, rescaled: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn rescaled values (any shape) to bright = dense; the same array where nothing is to do."""
        if not self.inverted:
            return rescaled
        low, high = self.value_range
        return np.float32(low + high) - rescaled

    @cached_property
    def rescaled(self) -> NDArray[np.float32]:
        """Pixels after the modality rescale, polarity as stored: float32, (rows, columns)."""
        return self.rescale(self.stored)

    @cached_property
    def pixels(self) -> NDArray[np.float32]:
        """The canonical array: float32, (rows, columns), after rescale, bright = dense."""
        if not self.inverted:
            return self.rescaled
        low, high = self.value_range
        values = self.rescale(self.stored)
        return np.subtract(np.float32(low + high), values, out=values)


def at_the_edge(marked: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """The part of a mask (rows, columns) that is connected to the picture's edge; None where there is none."""
    if not marked.any():
        return None
    from scipy import ndimage

    numbered, count = ndimage.label(marked)
    kept = np.zeros(count + 1, bool)
    for side in (numbered[0], numbered[-1], numbered[:, 0], numbered[:, -1]):
        kept[side] = True
    kept[0] = False
    return kept[numbered] if kept.any() else None
