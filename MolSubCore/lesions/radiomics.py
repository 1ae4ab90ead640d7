"""Radiomics of one lesion on one mammogram: the handcrafted numbers that a network is compared with.

Which pixels: the grey values as the image is displayed (`MolSubCore.imaging.display`; in [0, 1],
bright = dense, whatever the file's polarity), which is what the networks see too. Of these only the
pixels within the lesion's outline; a lesion known by its box counts as the whole box. All in two
dimensions, on a crop around the lesion.

First-order and texture features come from MIRP, which follows the definitions of the Image Biomarker
Standardisation Initiative (IBSI) and is pure Python. pyradiomics is not used: its releases 3.0.1 and
3.1.0 do not build with plain pip. MIRP's shape features are of three-dimensional meshes, so the
shape comes from scikit-image's region properties.

References
----------
Zwanenburg et al., Radiology 2020;295:328 (IBSI); Zwanenburg and Loeck, JOSS 2024;9(99):6413 (MIRP).
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from MolSubCore.errors import ImageError, LesionError, MolSubError
from MolSubCore.imaging.display import AUTO, display_array
from MolSubCore.imaging.mammogram import Mammogram
from MolSubCore.lesions.lesion import Lesion, LesionSet

#: Families of features: shape, then MIRP's names for first order (intensities, and their histogram),
#: co-occurrence, run length, size zone, neighbourhood tone difference and neighbouring dependence.
FAMILIES = ("shape", "stat", "ih", "cm", "rlm", "szm", "ngtdm", "ngldm")

#: Most pixels of a lesion: 100 square centimetres at 0.05 mm; beyond lies a mask that is none.
MOST_PIXELS = 4_000_000

_SHAPE = (
    *("area", "perimeter", "circularity", "major_axis", "minor_axis"),
    *("elongation", "eccentricity", "solidity", "extent", "feret_diameter"),
)
_NAME = re.compile(r"((?:stat|ih|cm|rlm|szm|ngt|ngl)_[a-z0-9_]+?)(?:_d[0-9.]+)?(?:_a[0-9.]+)?(?:_2d\w*)?(?:_fbn_n\d+)?")


@dataclass(frozen=True)
class RadiomicsSettings:
    """Everything that decides the value of a feature, but for the versions of the libraries.

    Attributes
    ----------
    version : int
        Raised whenever the code behind the settings gives other values.
    display : str
        Display step whose grey values are measured.
    together : bool
        One row for all lesions of an image, as recipes of that kind have one patch.
    spacing_mm : float or None
        Resample to square pixels of this side, so that textures of different detectors are of one scale
        and shapes are in mm; None: pixels as stored, shapes in pixels.
    bins : int
        Grey levels of histogram and textures, equally wide from the lesion's smallest value to its
        largest (IBSI: fixed bin number, for grey values without a physical unit).
    distance : int
        Chebyshev distance of neighbours in pixels, for co-occurrence and neighbouring dependence; directions
        are merged into one matrix.
    families : tuple of str
        Of `FAMILIES`.
    """

    version: int = 1
    display: str = AUTO
    together: bool = False
    spacing_mm: float | None = None
    bins: int = 32
    distance: int = 1
    families: tuple[str, ...] = FAMILIES

    def __post_init__(self) -> None:
        object.__setattr__(self, "families", tuple(self.families))
        for name, low, high in (("bins", 2, 1024), ("distance", 1, 100), ("spacing_mm", 0.01, 10)):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise MolSubError(name, f"is {value}, expected {low} to {high}", "Choose a value in this range")
        if not self.families or not set(self.families) <= set(FAMILIES):
            found = f"are '{', '.join(self.families)}', expected some of {', '.join(FAMILIES)}"
            raise MolSubError("families", found, "Name these only")

    @classmethod
    def for_images(cls, meta: Sequence[dict[str, Any]], *, together: bool = False) -> RadiomicsSettings:
        """The settings of a cohort: pixels of 0.1 mm where the spacing of every image is known, else as stored.

        Parameters
        ----------
        meta : sequence of dict
            `PatchStore.meta`.
        together : bool
            The recipe's.
        """
        known = all(entry["spacing_source"] != "unknown" for entry in meta)
        return cls(together=together, spacing_mm=0.1 if known else None)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy."""
        return dataclasses.asdict(self) | {"families": list(self.families)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RadiomicsSettings:
        """The settings in a plan.

        Raises
        ------
        MolSubError
            If fields are unknown or out of range, or of a version this program does not have.
        """
        try:
            settings = cls(**values)
        except TypeError as error:
            raise MolSubError("features", f"has other fields than expected ({error})", "Start a new run") from None
        if settings.version != cls.version:
            found = f"is version {settings.version}, this program has version {cls.version}"
            raise MolSubError("features", found, "Use the version that made it")
        return settings

    def key(self) -> str:
        """SHA-256 of the settings."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


def radiomics_versions() -> dict[str, str]:
    """Versions of the libraries that compute the features.

    Raises
    ------
    MolSubError
        If the optional one is not installed.
    """
    try:
        return {name: version(name) for name in ("mirp", "scikit-image", "pillow")}
    except PackageNotFoundError as error:
        remedy = "Install it with pip install 'molsubslicer[radiomics]'"
        raise MolSubError("radiomics", f"needs the package {error.name}", remedy) from None


def lesion_features(mammogram: Mammogram, lesions: LesionSet, settings: RadiomicsSettings) -> list[dict[str, float]]:
    """Features of all lesions of one image, or one row for them together.

    Returns
    -------
    list of dict
        In the order of the lesions. Names and order are always the same; what is undefined is NaN.

    Raises
    ------
    MolSubError
        If the library is not installed.
    ImageError
        If the settings name a spacing and the image's is unknown.
    LesionError
        If a lesion has more than `MOST_PIXELS` pixels.
    """
    radiomics_versions()
    chosen = [_merged(lesions)] if settings.together else lesions.lesions
    return [_features(*_crop(mammogram, lesion, settings), settings) for lesion in chosen]


def _merged(lesions: LesionSet) -> Lesion:
    box = lesions.lesions[0].box
    for lesion in lesions.lesions[1:]:
        box = box.union(lesion.box)
    return Lesion("1", box, lesions.full_mask()[box.rows, box.cols], lesions.lesions[0].source_kind)


Crop = tuple[NDArray[np.float32], NDArray[np.bool_]]


def _crop(mammogram: Mammogram, lesion: Lesion, settings: RadiomicsSettings) -> Crop:
    """Displayed grey values and mask around a lesion, on the grid of the settings."""
    scale = _scale(mammogram, settings.spacing_mm)
    margin = 1 if scale is None else math.ceil(2 * max(*scale, 1.0)) + 1
    box = lesion.box
    # Beyond the image's border its outermost pixels are repeated, so that a lesion is sampled alike anywhere.
    rows = np.clip(np.arange(box.row_start - margin, box.row_stop + margin), 0, mammogram.shape[0] - 1)
    columns = np.clip(np.arange(box.col_start - margin, box.col_stop + margin), 0, mammogram.shape[1] - 1)
    region = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    shown = display_array(mammogram, settings.display, region=region)
    image = shown[np.ix_(rows - rows[0], columns - columns[0])]
    mask = np.pad(np.ones(box.shape, bool) if lesion.mask is None else lesion.mask, margin)
    if scale is not None:
        image, mask = _resampled(image, scale), _resampled(mask.astype(np.float32), scale) >= 0.5
    if (pixels := int(mask.sum())) > MOST_PIXELS:
        found = f"has {pixels} pixels, expected at most {MOST_PIXELS}"
        raise LesionError(f"lesion {lesion.label}", found, "Outline the lesion more closely")
    return image, mask


def _scale(mammogram: Mammogram, spacing_mm: float | None) -> tuple[float, float] | None:
    """Sides of a new pixel in old ones, along rows and columns; None where nothing is to be resampled."""
    if spacing_mm is None:
        return None
    row_mm, col_mm = mammogram.spacing.row_mm, mammogram.spacing.col_mm
    if row_mm is None or col_mm is None:
        found = f"has no known pixel spacing, and the features are of pixels of {spacing_mm:g} mm"
        raise ImageError(mammogram.source or mammogram.label, found, "Use settings without a spacing")
    return spacing_mm / row_mm, spacing_mm / col_mm


def _resampled(values: NDArray[np.float32], scale: tuple[float, float]) -> NDArray[np.float32]:
    """Antialiased bilinear values of new pixels; the first one begins where the first old one does."""
    height, width = (max(int(length / step), 1) for length, step in zip(values.shape, scale, strict=True))
    source = (0.0, 0.0, min(width * scale[1], values.shape[1]), min(height * scale[0], values.shape[0]))
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR, box=source))


def _features(image: NDArray[np.float32], mask: NDArray[np.bool_], settings: RadiomicsSettings) -> dict[str, float]:
    found: dict[str, float] = {}
    if "shape" in settings.families:
        found |= _shape(mask, settings.spacing_mm or 1.0)
    if grey := [name for name in settings.families if name != "shape"]:
        found |= _grey(image, mask, grey, settings)
    return {name: value if math.isfinite(value) else math.nan for name, value in found.items()}


def _shape(mask: NDArray[np.bool_], side: float) -> dict[str, float]:
    """Area, perimeter (Crofton's formula), axes of the ellipse of equal moments, ratios; `side` is that of a pixel."""
    from skimage.measure import regionprops

    if not mask.any():
        return dict.fromkeys((f"shape_{name}" for name in _SHAPE), math.nan)
    with warnings.catch_warnings():  # the hull of pixels in one line is their line
        warnings.simplefilter("ignore")
        (region,) = regionprops(mask.astype(np.uint8))
        area, perimeter = float(region.area), float(region.perimeter_crofton)
        major, minor = float(region.axis_major_length), float(region.axis_minor_length)
        values = (
            area * side**2,
            perimeter * side,
            4 * math.pi * area / perimeter**2 if perimeter > 0 else math.nan,
            major * side,
            minor * side,
            minor / major if major > 0 else math.nan,
            float(region.eccentricity),
            float(region.solidity),
            float(region.extent),
            float(region.feret_diameter_max) * side,
        )
    return {f"shape_{name}": value for name, value in zip(_SHAPE, values, strict=True)}


def _grey(
    image: NDArray[np.float32], mask: NDArray[np.bool_], families: list[str], settings: RadiomicsSettings
) -> dict[str, float]:
    """MIRP's features, by the names of features alone: the settings are the same for all."""
    empty = not mask.any()  # nothing is left of a speck on a coarser grid: the names, without values
    with _quiet():
        from mirp import extract_features

        (table,) = extract_features(
            image=image[None].astype(np.float64),
            mask=(mask | empty)[None].astype(np.uint8),
            by_slice=True,
            base_feature_families=families,
            base_discretisation_method="fixed_bin_number",
            base_discretisation_n_bins=settings.bins,
            glcm_distance=float(settings.distance),
            ngldm_distance=float(settings.distance),
        )
    row = table.iloc[0]
    named = {match.group(1): row[match.string] for match in map(_NAME.fullmatch, map(str, table.columns)) if match}
    return {name: math.nan if empty else float(value) for name, value in named.items()}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep MIRP's log off the screen and the root logger as it was; undefined values come without warnings."""
    root, disabled = logging.getLogger(), logging.root.manager.disable
    keeper = logging.NullHandler()  # with a handler there, MIRP configures none of its own
    root.addHandler(keeper)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        root.removeHandler(keeper)
