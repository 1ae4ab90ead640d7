"""Which image a mask belongs to by its name: that of the image, with a word such as ``mask`` and perhaps a number."""

from __future__ import annotations

import functools
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from MolSubCore.cohort.names import IMAGE_ENDINGS, is_neutral, patient_in_name, tells_patient
from MolSubCore.imaging.view_text import facts_from_name

NO_IMAGE = "no image for this mask"
SEVERAL_IMAGES = "its name fits several images"
OTHER_FOLDER = "only an image in another patient's folder has this name"

ONLY_MASKS = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd", ".json")
MASK_ENDINGS = (*ONLY_MASKS, ".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")
#: Words in names of masks, in some languages; between separators or at the end.
_WORDS = r"(?:mask|maske|masque|seg|segmentation|segm|lesion|lesions|roi|label|labels|outline|contour|annotation|gt)"
_NUMBER = r"(?:[\s_.\-]*(?:#|no\.?|nr\.?)?\s*(?P<{}>\d{{1,2}}))?"
SUFFIX = re.compile(rf"[\s_.\-]+{_WORDS}{_NUMBER.format('after')}$", re.IGNORECASE)
PREFIX = re.compile(rf"^{_WORDS}{_NUMBER.format('before')}[\s_.\-]+", re.IGNORECASE)
MASK_FOLDER = re.compile(rf"(?:{_WORDS}|masken)s?", re.IGNORECASE)
PLAIN_NUMBER = re.compile(r"[\s_.\-]+(?:lesion)?(\d{1,2})$", re.IGNORECASE)
#: From so many masks with their own image's name, and this share of all, the names of a table follow one pattern.
_FEWEST, _SHARE = 3, 0.75


def stem_of(name: str) -> str:
    """The name of a file without the ending of an image or a mask."""
    lower = name.lower()
    known = (*MASK_ENDINGS, *IMAGE_ENDINGS)
    ending = max((end for end in known if lower.endswith(end)), key=len, default="")
    return name[: len(name) - len(ending)] if ending else name


def composed(text: str) -> str:
    """A name as it is compared, letters with their accents as one sign."""
    return unicodedata.normalize("NFC", text)


def _plain(text: str) -> str:
    """A name as it is compared: composed, without capitals, separators alike."""
    return re.sub(r"[\s_.\-]+", "-", composed(text).casefold()).strip("-")


def _place(key: str) -> str:
    """Folder and name of a file below its folder, as they are compared."""
    folder, _, name = key.rpartition("/")
    return f"{composed(folder).casefold()}/{_plain(stem_of(name))}"


def _with_folders(key: str) -> list[str]:
    """A file's name, and the same behind the names of its folders, as flat folders have them: ``P1_L_CC``."""
    parts = key.split("/")
    stem = stem_of(parts[-1])
    return ["_".join([*parts[start:-1], stem]) for start in range(len(parts) - 1, -1, -1)]


@functools.cache
def _folders(folder: str) -> frozenset[str]:
    """The parts of a file's folder that may tell whose it is, as they are compared."""
    return frozenset(composed(name).casefold() for name in folder.split("/") if name and not is_neutral(name))


def _readings(name: str) -> Iterable[tuple[str, str]]:
    """The names of images that a mask's name may mean, with the number of the lesion; the nearest first."""
    yield name, ""
    for pattern in (SUFFIX, PREFIX):
        if found := pattern.search(name):
            rest = name[: found.start()] + name[found.end() :]
            number = next((value for value in found.groups() if value), "")
            yield rest, number
            if plain := PLAIN_NUMBER.search(rest):
                yield rest[: plain.start()], number or plain[1]
    if plain := PLAIN_NUMBER.search(name):
        yield name[: plain.start()], plain[1]


@dataclass
class Fit:
    """Which images a mask may belong to, by their positions.

    Attributes
    ----------
    images : list of int
        By the nearest reading of its name.
    reason : str
        Why it is not one.
    number : str
        Of the lesion, by this reading.
    otherwise : list of int
        Further ones, by other readings.
    """

    images: list[int]
    reason: str
    number: str = ""
    otherwise: list[int] = field(default_factory=list)


class ImageNames:
    """The names of images, to find that of each mask.

    Parameters
    ----------
    keys : sequence of str
        Paths of the images below their folder, with ``/``.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._folder_of = [key.rpartition("/")[0] for key in keys]
        self._name_of = [key.rpartition("/")[2] for key in keys]
        self._by_name: dict[str, list[int]] = {}
        self._by_path: dict[str, list[int]] = {}
        for n, key in enumerate(keys):
            self._by_path.setdefault(_place(key), []).append(n)
            for name in _with_folders(key):  # P1/L_CC may have the mask P1_L_CC
                self._by_name.setdefault(_plain(name), []).append(n)

    def of_folder(self, images: list[int], mask: str) -> tuple[list[int], str]:
        """Of images of one name those whose folders go with the mask's, the nearest only; and why, if it is not one.

        Folders that contradict each other count only where the name tells nothing, such as ``L_CC`` or ``IM0001``.
        """
        folder = mask.rpartition("/")[0]
        if exact := [n for n in images if self._folder_of[n] == folder]:
            return exact, SEVERAL_IMAGES
        own = _folders(folder)
        near: dict[int, list[int]] = {}
        for n in images:
            theirs = _folders(self._folder_of[n])
            if theirs <= own or own <= theirs:
                near.setdefault(len(theirs & own), []).append(n)
        if near:
            return near[max(near)], SEVERAL_IMAGES
        if images and not tells_patient(self._name_of[images[0]]):
            return [], OTHER_FOLDER
        return images, SEVERAL_IMAGES

    def of_mask(self, mask: str) -> Fit:
        """Images whose name is the mask's, as it is or without its word and number; of the same folder first.

        Parameters
        ----------
        mask : str
            Its path below the folder of masks, with ``/``.
        """
        folder, _, file = mask.rpartition("/")
        fit = Fit([], NO_IMAGE)
        why = NO_IMAGE
        for name, number in _readings(stem_of(file)):
            fitting = self._by_path.get(_place(f"{folder}/{name}"), [])
            fitting = [n for n in fitting if self._folder_of[n] == folder] or fitting
            reason = SEVERAL_IMAGES
            if not fitting and folder:  # masks P1/L_CC of images P1_L_CC
                names = _with_folders(f"{folder}/{name}.nii")[1:]
                fitting = next((own for one in names if (own := self._by_name.get(_plain(one), []))), [])
            if not fitting:
                fitting, reason = self.of_folder(self._by_name.get(_plain(name), []), mask)
            if fitting and not fit.images:
                fit.images, fit.reason, fit.number = fitting, reason, number
            elif fitting:
                fit.otherwise += [n for n in fitting if n not in fit.images]
            why = OTHER_FOLDER if reason == OTHER_FOLDER else why
        return fit if fit.images else Fit([], why)


@dataclass(frozen=True)
class Misnamed:
    """A mask whose name is not that of its image.

    Attributes
    ----------
    row : int
        Position of the mask and its image.
    other : int or None
        Position of the image whose name it has; None where that is none of those given.
    known : bool
        Whether there is an image of that name, here or in the folder of its own image.
    close : bool
        Whether that image is of the same patient, side and view by its name, such as another picture of one exposure.
    """

    row: int
    other: int | None
    known: bool
    close: bool

    def told(self, other: str) -> str:
        """What is wrong with the name, in words.

        Parameters
        ----------
        other : str
            What the other image is called where it is one of those given.
        """
        if not self.known:
            return "the mask's name is not that of its image, as it is in nearly all other rows"
        whose = "another image, in the folder of its own" if self.other is None else other
        return f"the mask's name is that of {whose}{', of the same patient, side and view' if self.close else ''}"


def misnamed_masks(files: Sequence[tuple[Path, Path | None]]) -> list[Misnamed]:
    """Masks that have the name of another image than their own, or of none where nearly all have that of their own.

    Of a mask whose name is no image's, such as ``drawn_by_reader_1``, nothing is said.

    Parameters
    ----------
    files : sequence of (Path, Path or None)
        Images, each with its mask; None where it has a box, or nothing.
    """
    rows = [n for n, (_, mask) in enumerate(files) if mask is not None and not mask.name.lower().endswith(_REFERRING)]
    if not rows:
        return []
    images = _below([image for image, _ in files])
    masks = dict(zip(rows, _below([mask for n in rows if (mask := files[n][1]) is not None]), strict=True))
    first: dict[str, int] = {}
    for n, key in enumerate(images):
        first.setdefault(key, n)
    positions = list(first.values())
    names = ImageNames(list(first))
    beside = _Beside({os.path.abspath(file) for pair in files for file in pair if file is not None})  # noqa: PTH100
    found: list[Misnamed] = []
    strangers: list[int] = []
    right = 0
    for n in rows:
        fit = names.of_mask(masks[n])
        own, stem = images[n], stem_of(files[n][0].name)
        if any(positions[one] == first[own] for one in (*fit.images, *fit.otherwise)):
            right += 1
        elif len(fit.images) == 1:
            other = positions[fit.images[0]]
            name = stem_of(files[other][0].name)
            told_by_folder = _folders(images[other].rpartition("/")[0])
            if _worded(masks[n]) or told_by_folder or tells_patient(files[other][0].name):
                found.append(Misnamed(n, other, True, _close(stem, name)))
        elif not fit.images and fit.reason == NO_IMAGE and _worded(masks[n]):
            readings = [name for name, _ in _readings(stem_of(masks[n].rpartition("/")[2]))][1:]
            if _plain(stem) in map(_plain, readings):
                right += 1
            elif any(_plain(stem).startswith(f"{_plain(name)}-") for name in readings if name):
                continue  # P1_L_CC_clahe was made of P1_L_CC
            elif (near := beside.first(files[n][0], readings)) is not None:
                found.append(Misnamed(n, None, True, _close(stem, near)))
            else:
                strangers.append(n)
    if right >= max(_FEWEST, _SHARE * len(rows)):
        found += [Misnamed(n, None, False, False) for n in strangers]
    return sorted(found, key=lambda one: one.row)


#: Segmentations that say themselves which image they are of.
_REFERRING = (".dcm", ".dicom")


def _below(paths: Sequence[Path]) -> list[str]:
    """Paths below the nearest folder of them all, with ``/``."""
    whole = [os.path.abspath(path) for path in paths]  # noqa: PTH100
    try:
        top = os.path.commonpath([os.path.dirname(path) for path in whole])  # noqa: PTH120
    except ValueError:  # on several drives
        return [Path(path).name for path in whole]
    return [Path(os.path.relpath(path, top)).as_posix() for path in whole]


def _worded(mask: str) -> bool:
    """Whether a mask's name has a word of masks, or lies in a folder of them."""
    *folders, name = mask.split("/")
    stem = stem_of(name)
    return bool(SUFFIX.search(stem) or PREFIX.search(stem)) or any(map(MASK_FOLDER.fullmatch, folders))


def _close(name: str, other: str) -> bool:
    """Whether two images are of one patient, side and view by their names."""
    place, patient = facts_from_name(name), patient_in_name(name)
    return all(place) and bool(patient) and (place, patient) == (facts_from_name(other), patient_in_name(other))


class _Beside:
    """Images in the folders of others, by their names.

    Parameters
    ----------
    known : set of str
        Files that are no further images.
    """

    def __init__(self, known: set[str]) -> None:
        self._known = known
        self._folders: dict[str, dict[str, str]] = {}

    def first(self, image: Path, names: Iterable[str]) -> str | None:
        """The name of the first file beside an image that has one of these names; None where none has."""
        folder = os.path.dirname(os.path.abspath(image))  # noqa: PTH100, PTH120
        if folder not in self._folders:
            try:
                files = sorted(os.listdir(folder))  # noqa: PTH208
            except (OSError, ValueError):  # a NUL in a path: told where the image is read
                files = []
            self._folders[folder] = {
                _plain(stem_of(file)): stem_of(file)
                for file in files
                if not file.lower().endswith(ONLY_MASKS) and os.path.join(folder, file) not in self._known  # noqa: PTH118
            }
        own = self._folders[folder]
        return next((own[_plain(name)] for name in names if _plain(name) in own), None)


def parts_of_names(images: Sequence[Path]) -> list[list[str]]:
    """The names of images without their endings, and of their folders below the nearest one of them all."""
    keys = _below(images)
    return [[stem_of(key.rpartition("/")[2]), *key.split("/")[:-1]] for key in keys]
