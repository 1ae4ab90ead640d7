"""Radiomics of one lesion on one mammogram: the handcrafted numbers that a network is compared with.

Which values: those after the modality transform, bright = dense whatever the file's polarity. Windows and VOI
tables play no part: which of them a file has follows hospital and machine. The values are then put on the breast's own
scale (`NORMALISATIONS`), since their unit differs between machines.

Which pixels: those within the lesion's outline; a lesion known by its box counts as the whole box. All in two
dimensions, on a crop around the lesion.

Scales were compared on 18 real mammograms, 54 places, by the concordance (CCC) of mean, standard deviation and 90th
percentile after padding, cropping and a label in the air. The least was 0.980 for median and interquartile range of
the breast's inner part, 0.982 for its mean and standard deviation, 0.973 and 0.966 for those of the whole breast, 0.969
for those of the lesion's surroundings. Median and interquartile range of the inner part it is: markers and implants
move them less.

Robustness: `PERTURBATIONS` of outline and grey values give a feature's values again; a model may then leave out what
they change. The chain follows Zwanenburg et al., Sci Rep 2019;9:614.

First-order and texture features come from MIRP, which follows the definitions of the Image Biomarker
Standardisation Initiative (IBSI) and is pure Python. pyradiomics is not used: its releases 3.0.1 and
3.1.0 do not build with plain pip. MIRP's shape features are of three-dimensional meshes, so the
shape comes from scikit-image's region properties. MIRP's own tests hold IBSI's benchmarks; ours hold those of
the digital phantom for every family.

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
from scipy import ndimage

from MolSubCore.errors import ImageError, LesionError, MolSubError
from MolSubCore.imaging.breast import breast_values
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

#: ``breast``: less the median of the breast's inner part, over its interquartile range / 1.349 (the standard deviation
#: where it is normal). ``none``: as the modality transform gives them.
NORMALISATIONS = ("breast", "none")
#: Ratios to a mean or a median: without a meaning where the scale's zero is one that was put there.
_NEEDS_ZERO = frozenset(("stat_cov", "stat_qcod"))

#: What is changed, one at a time: the outline grown or shrunk by so much of its area; moved by so much of its mean
#: diameter, a pixel at least, along rows and columns; noise added as strong as the picture's own.
PERTURBATIONS = ("grown", "shrunk", "moved", "noise")
_AREA, _SHIFT = 0.15, 0.05
_NAME = re.compile(r"((?:stat|ih|cm|rlm|szm|ngt|ngl)_[a-z0-9_]+?)(?:_d[0-9.]+)?(?:_a[0-9.]+)?(?:_2d\w*)?(?:_fbn_n\d+)?")


@dataclass(frozen=True)
class RadiomicsSettings:
    """Everything that decides the value of a feature, but for the versions of the libraries.

    Attributes
    ----------
    version : int
        Raised whenever the code behind the settings gives other values.
    normalisation : str
        Of `NORMALISATIONS`.
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

    version: int = 2
    normalisation: str = "breast"
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
        if self.normalisation not in NORMALISATIONS:
            found = f"is '{self.normalisation}', expected one of {', '.join(NORMALISATIONS)}"
            raise MolSubError("normalisation", found, "Choose one of these")
        if not self.families or not set(self.families) <= set(FAMILIES):
            found = f"are '{', '.join(self.families)}', expected some of {', '.join(FAMILIES)}"
            raise MolSubError("families", found, "Name these only")

    @classmethod
    def for_images(cls, meta: Sequence[dict[str, Any]], *, together: bool = False) -> RadiomicsSettings:
        """The settings of a cohort: pixels of 0.1 mm where the spacings are known, as stored where none is.

        Parameters
        ----------
        meta : sequence of dict
            `PatchStore.meta`.
        together : bool
            The recipe's.

        Raises
        ------
        MolSubError
            If some spacings are known and others not: millimetres are not to be compared with pixels.
        """
        unknown = sum(entry["spacing_source"] == "unknown" for entry in meta)
        if 0 < unknown < len(meta):
            found = (
                f"need one unit for all lesions: {unknown} of {len(meta)} are on images without a pixel spacing, the "
                "others on images with one"
            )
            remedy = (
                "Leave the patients without one out of the table (molsub cohort check lists their rows), or leave the "
                "baselines out: name the networks with --architectures"
            )
            raise MolSubError("radiomics baselines", found, remedy)
        return cls(together=together, spacing_mm=None if unknown else 0.1)

    def described(self) -> str:
        """In words, for reports."""
        of = {
            "breast": "grey values after the modality transform, less the median of the inner breast, over its "
            "interquartile range / 1.349",
            "none": "grey values after the modality transform",
        }[self.normalisation]
        pixels = f"pixels of {self.spacing_mm:g} mm" if self.spacing_mm else "pixels as stored (spacing unknown)"
        return f"{of}; {pixels}; {self.bins} grey levels of equal width from the lesion's lowest value to its highest"

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
    return [_features(*_crop(mammogram, lesion, settings), settings) for lesion in _chosen(lesions, settings)]


def perturbed_features(
    mammogram: Mammogram, lesions: LesionSet, settings: RadiomicsSettings
) -> list[list[dict[str, float]]]:
    """The rows of `lesion_features`, each measured again under each of `PERTURBATIONS`."""
    radiomics_versions()
    crops = [_crop(mammogram, lesion, settings) for lesion in _chosen(lesions, settings)]
    return [[_features(*_perturbed(crop, kind), settings) for kind in PERTURBATIONS] for crop in crops]


def _chosen(lesions: LesionSet, settings: RadiomicsSettings) -> Sequence[Lesion]:
    return [_merged(lesions)] if settings.together else lesions.lesions


def _merged(lesions: LesionSet) -> Lesion:
    box = lesions.lesions[0].box
    for lesion in lesions.lesions[1:]:
        box = box.union(lesion.box)
    return Lesion("1", box, lesions.full_mask()[box.rows, box.cols], lesions.lesions[0].source_kind)


Crop = tuple[NDArray[np.float32], NDArray[np.bool_]]


def _crop(mammogram: Mammogram, lesion: Lesion, settings: RadiomicsSettings) -> Crop:
    """Normalised grey values and mask around a lesion, on the grid of the settings."""
    scale = _scale(mammogram, settings.spacing_mm)
    box = lesion.box
    # So much that a perturbed outline is on it, too.
    margin = 2 + math.ceil(max(_AREA, _SHIFT) * max(box.shape)) + (0 if scale is None else math.ceil(2 * max(scale)))
    # Beyond the image's border its outermost pixels are repeated, so that a lesion is sampled alike anywhere.
    rows = np.clip(np.arange(box.row_start - margin, box.row_stop + margin), 0, mammogram.shape[0] - 1)
    columns = np.clip(np.arange(box.col_start - margin, box.col_stop + margin), 0, mammogram.shape[1] - 1)
    image = _normalised(mammogram, np.ix_(rows, columns), settings.normalisation)
    mask = np.pad(np.ones(box.shape, bool) if lesion.mask is None else lesion.mask, margin)
    if scale is not None:
        image, mask = _resampled(image, scale), _resampled(mask.astype(np.float32), scale) >= 0.5
    if (pixels := int(mask.sum())) > MOST_PIXELS:
        found = f"has {pixels} pixels, expected at most {MOST_PIXELS}"
        raise LesionError(f"lesion {lesion.label}", found, "Outline the lesion more closely")
    return image, mask


def _normalised(mammogram: Mammogram, place: tuple[NDArray[Any], ...], normalisation: str) -> NDArray[np.float32]:
    """Grey values of some pixels after the modality transform, bright = dense, on the breast's scale."""
    values = mammogram.orient(mammogram.rescale(mammogram.stored[place]))
    if normalisation == "none":
        return values
    whole, inner = breast_values(mammogram)
    inner = inner if inner.size else whole
    if not inner.size:
        return values
    low, middle, high = (float(value) for value in np.percentile(inner, (25, 50, 75)))
    # Of a picture of few grey values the range may be 0 though they differ.
    spread = (high - low) / 1.349 or float(inner.std()) or 1.0
    if mammogram.outside is not None:  # padding has no grey value: as dark as the breast gets
        values = np.where(mammogram.outside[place], np.float32(whole.min(initial=low)), values)
    return np.asarray((values - np.float32(middle)) / np.float32(spread), np.float32)


def _perturbed(crop: Crop, kind: str) -> Crop:
    image, mask = crop
    if kind == "noise":
        # Each lesion has noise of its own, the same one every time.
        rng = np.random.default_rng(list(hashlib.sha256(np.ascontiguousarray(image).data).digest()))
        return image + np.float32(_noise_of(image)) * rng.standard_normal(image.shape, np.float32), mask
    area = int(mask.sum())
    if kind == "moved":
        step = max(1, round(_SHIFT * 2 * math.sqrt(area / math.pi)))
        return image, np.roll(mask, (step, step), axis=(0, 1))
    # By distance from the outline, as an observer draws it wider or closer.
    away = ndimage.distance_transform_edt(~mask) - ndimage.distance_transform_edt(mask)
    count = round(area * (1 + _AREA if kind == "grown" else 1 - _AREA))
    if not 0 < count < mask.size:
        return crop
    return image, away <= np.partition(away.ravel(), count - 1)[count - 1]


def _noise_of(image: NDArray[np.float32]) -> float:
    """Standard deviation of a picture's noise (Immerkaer, Comput Vis Image Underst 1996;64:300)."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    inner = ndimage.convolve(image, kernel)[1:-1, 1:-1]
    return float(math.sqrt(math.pi / 2) / 6 * np.abs(inner).mean()) if inner.size else 0.0


def _scale(mammogram: Mammogram, spacing_mm: float | None) -> tuple[float, float] | None:
    """Sides of a new pixel in old ones, along rows and columns; None where nothing is to be resampled."""
    if spacing_mm is None:
        return None
    row_mm, col_mm = mammogram.spacing.row_mm, mammogram.spacing.col_mm
    if row_mm is None or col_mm is None:
        found = f"has no known pixel spacing, and the features are of pixels of {spacing_mm:g} mm"
        raise ImageError(mammogram.source or mammogram.label, found, "Leave the image out")
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
    if settings.normalisation != "none":
        found = {name: value for name, value in found.items() if name not in _NEEDS_ZERO}
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
