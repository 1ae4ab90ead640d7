"""What the names of files and folders say about images."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from MolSubCore.errors import MolSubError
from MolSubCore.imaging.view_text import facts_from_name, is_place
from MolSubCore.tasks import parse_subtype

#: Endings of mammograms; in folders, DICOM files without an ending are found, too.
IMAGE_ENDINGS = (".dcm", ".dicom", ".png", ".tif", ".tiff", ".jpg", ".jpeg", ".jp2")


def _set_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


_COUNTER = re.compile(r"[(\[]?\d{1,4}[)\]]?")
_UID = re.compile(r"\d+(\.\d+){3,}")
_DATE = re.compile(
    r"(19|20)\d\d(?:[-_. ](0[1-9]|1[0-2]))?|(19|20)\d\d([-_. ]?)(0[1-9]|1[0-2])\4(0[1-9]|[12]\d|3[01])"
    r"|\d\d?([-_.])\d\d?\7(19|20)\d\d"
)

#: Words in names of folders and files that do not name a patient.
_NEUTRAL = _set_of("""
    image images img imgs im i pic pics picture pictures bild bilder foto photo scan scans slice png jpg jpeg tif
    tiff dcm dicom dicoms dicomdir data dataset datasets raw full original originals processed processing
    presentation mg mammo mammos mammogram mammograms mammography mammographie mammografie mammografia ffdm tomo
    series serie ser se study studies studie st exam exams visit view views patients export exports pacs cd usb
    anonymized anonymised anonymous anon deidentified baseline followup follow up prior current mask masks maske
    masken masque masques seg segs segmentation segmentations label labels lesion lesions roi rois annotation
    annotations contour contours outline outlines gt groundtruth
""")

#: Those that with a number rather name a patient: ``ANON1``, ``Data 7``.
_UNNUMBERED = _set_of("anonymized anonymised anonymous anon deidentified data dataset datasets patients export exports")

#: Words of folders that divide patients: the same name in two of them may be one patient or two.
_DIVIDING = _set_of("""
    train training test testing val valid validation holdout fold split benign malignant normal cancer healthy
    positive negative pos neg batch part set subset group class hospital clinic center centre site cohort study
    studies year tn tnbc luminal her2 hr er pr
""")


@dataclass(frozen=True)
class Patients:
    """What the names of folders and files say about the patients.

    Attributes
    ----------
    ids : tuple of str
        One for every image; empty where unknown.
    how : str
        Where they were taken from, in words.
    doubtful : tuple of (str, str)
        Ids found in several folders that may hold different patients, such as years, and these folders.
    """

    ids: tuple[str, ...]
    how: str
    doubtful: tuple[tuple[str, str], ...] = ()


#: Views of an ordinary examination.
_VIEWS = 4


def patients_of(images: Sequence[Path], folder: Path) -> Patients:
    """The patients of images: by the first folder that may be a patient's, else by the file's name, else by `folder`.

    Years, UIDs, classes and words such as ``image`` are not patients, nor are sides, views and numbers of images.
    """
    if not images:
        return Patients((), "")
    top = Path(os.path.commonpath([image.parent for image in images]))
    paths = [image.parent.relative_to(top).parts for image in images]
    levels: dict[int, bool] = {}  # where all folders are dates; an id may look like one
    for names in paths:
        for depth, name in enumerate(names):
            levels[depth] = levels.get(depth, True) and bool(_DATE.fullmatch(name))
    dated = bool(_DATE.fullmatch(top.name))
    for depth in range(min(map(len, paths)) - 1):  # months and days below years, if folders of patients follow
        if levels.get(depth - 1, dated):
            levels[depth] = levels[depth] or all(re.fullmatch(r"0[1-9]|[12]\d|3[01]", names[depth]) for names in paths)
    ids, ways, before = [], [], []
    for image, names in zip(images, paths, strict=True):
        divides = [levels[depth] or _divides(name) for depth, name in enumerate(names)]
        place = next((n for n, name in enumerate(names) if not (divides[n] or is_neutral(name))), None)
        own, sure = (names[place], True) if place is not None else _patient_in(_without_ending(image.name))
        ids.append(own)
        ways.append("folder" if place is not None else "name" if sure else "number" if own else "")
        before.append("/".join(name for name, one in zip(names[:place], divides, strict=False) if one))
    if not {"folder", "name"} & set(ways):  # numbers that may count images, or nothing at all
        beside = Counter(
            (own, tuple(name for name in names if not is_place(name)))
            for own, names in zip(ids, paths, strict=True)
            if own
        )
        if max(beside.values(), default=1) == 1:
            studies = [next((name for name in names if _UID.fullmatch(name)), "") for names in paths]
            if all(studies) and os.path.abspath(top) == os.path.abspath(folder):  # noqa: PTH100
                return Patients(tuple(studies), "the study's folder (two studies may be of one patient)")
            shown = [facts_from_name(_without_ending(image.name)) for image in images]
            twice = max(Counter(place for place in shown if all(place)).values(), default=1) > 1
            if not (twice and all(ids)):  # of two pictures of one view the numbers tell the patients
                doubts: tuple[tuple[str, str], ...] = ()
                if twice or (len(images) > _VIEWS and not any(any(place) for place in shown)):
                    name = _without_ending(images[0].name)
                    doubts = ((name, f"one folder with {len(images) - 1} other images that name no patient"),)
                return Patients((_own_name(top),) * len(ids), "the name of the one folder", doubts)
    places: dict[str, set[str]] = {}
    for one, own in zip(ids, before, strict=True):
        if one:
            places.setdefault(one, set()).add(own)
    doubtful = [(one, " and ".join(sorted(own)[:3])) for one, own in sorted(places.items()) if len(own) > 1]
    words = {"folder": "the folder's name", "name": "the file's name without side and view", "number": "the number"}
    how = ", else ".join(text for way, text in words.items() if way in ways)
    return Patients(tuple(ids), how, tuple(doubtful))


def _without_ending(name: str) -> str:
    ending = next((end for end in (".nii.gz", *IMAGE_ENDINGS) if name.lower().endswith(end)), "")
    return name[: len(name) - len(ending)]


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[\s_.\-]+", name) if word]


def is_neutral(name: str) -> bool:
    """Whether a name does not identify a patient: sides, views, numbers after words such as ``image``, or nothing."""
    words = _words(name)
    if _UID.fullmatch(name):
        return True
    plain = [re.sub(r"\d+$", "", word).casefold() for word in words]
    if all(is_place(word) or _COUNTER.fullmatch(word) for word in words):
        return any(is_place(word) for word in words) or not words
    numbered = any(re.search(r"\d", word) for word in words)
    return all(
        (own in _NEUTRAL and not (numbered and own in _UNNUMBERED))
        or is_place(word)
        or (n > 0 and _COUNTER.fullmatch(word))
        for n, (word, own) in enumerate(zip(words, plain, strict=True))
    )


def _divides(name: str) -> bool:
    """Whether a folder's name is that of a class, a part or a place."""
    words = _words(name)
    if _is_subtype(name):
        return True
    plain = [re.sub(r"\d+$", "", word).casefold() for word in words]
    return any(own in _DIVIDING for own in plain) and all(
        own in _DIVIDING or own in _NEUTRAL or is_place(word) or re.fullmatch(r"\d{1,4}|[A-Za-z]", word)
        for word, own in zip(words, plain, strict=True)
    )


def _is_subtype(name: str) -> bool:
    try:
        return not name.isdigit() and bool(parse_subtype(name.replace("_", " ")))
    except MolSubError:
        return False


def _patient_in(stem: str) -> tuple[str, bool]:
    """The patient in a file's name (or empty), and whether it is more than a number that may count images."""
    words = re.split(r"([\s_.\-]+)", stem)
    placed = [n for n, word in enumerate(words) if n % 2 == 0 and is_place(word)]
    parts = [stem]
    if placed:  # what stands before side and view, else what is left without them
        rest = "".join(word for n, word in enumerate(words) if n not in placed)
        parts = ["".join(words[: placed[0]]), rest]
    counter = ""
    for part in parts:
        text = part.strip(" _.-")
        if _COUNTER.fullmatch(text):
            counter = counter or (text if not placed or part is parts[0] else "")
        elif text and not is_neutral(text):
            return text, True
    return counter, False


def tells_patient(name: str) -> bool:
    """Whether a file's name has more than side, view and a number that counts images."""
    return _patient_in(_without_ending(name))[1]


def patient_in_name(stem: str) -> str:
    """The patient in a file's name without its ending; empty where it tells none."""
    return _patient_in(stem)[0]


def _own_name(folder: Path) -> str:
    """The name of the nearest folder, from here upwards, that may be a patient's."""
    whole = Path(os.path.abspath(folder))  # noqa: PTH100
    names = [place.name for place in (whole, *whole.parents) if place.name]
    plain = (name for name in names if not (_DATE.fullmatch(name) or _divides(name) or is_neutral(name)))
    return next(plain, names[0] if names else "1")
