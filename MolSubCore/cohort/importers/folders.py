"""A folder of images and a folder of masks: which mask belongs to which image, and whose image it is.

Masks are matched by what they refer to (DICOM SEG), by a pattern of the user's, or by their names: that of the image
with a word such as ``mask`` or ``lesion`` and perhaps a number before or after it. Every file has one place in the
books.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from MolSubCore.cohort.importers.ledger import Ledger
from MolSubCore.cohort.importers.rows import NO_MAMMOGRAM, OVERLONG, Found, Note, Progress, Row
from MolSubCore.cohort.importers.sources import Line, age_of, files_below, read_lines, relative
from MolSubCore.cohort.splits import Split
from MolSubCore.cohort.table_files import clean_cell
from MolSubCore.cohort.worklist_source import IMAGE_ENDINGS, patient_of
from MolSubCore.errors import CohortError, MolSubError
from MolSubCore.imaging import dicom_facts as facts
from MolSubCore.imaging.dicom_file import open_dicom
from MolSubCore.imaging.raster import facts_from_name, read_side
from MolSubCore.imaging.reader import check_header
from MolSubCore.pseudonyms import Salt
from MolSubCore.tasks import SubtypeLabel, parse_subtype

NO_IMAGE_FILE = "no image by its name and content"
NO_MASK_FILE = "no mask by its name and content"
IS_MASK = "a segmentation in the folder of images"
NO_MASK = "no mask for this image"
NO_IMAGE = "no image for this mask"
SEVERAL_IMAGES = "its name fits several images"
SEVERAL_MASKS = "several masks for one image whose names do not number them"
NO_PATIENT = "the name does not fit the pattern of patients"
NO_ROW = "patient without a row in the table of subtypes"
NOT_UNDERSTOOD = "subtype not understood"
TWO_ROWS = "patient with two subtypes in the table of subtypes"

_ONLY_MASKS = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd", ".json")
_MASK_ENDINGS = (*_ONLY_MASKS, ".png", ".tif", ".tiff", ".bmp")
#: Words in names of masks, in some languages; between separators or at the end.
_WORDS = r"(?:mask|maske|masque|seg|segmentation|segm|lesion|lesions|roi|label|labels|outline|contour|annotation|gt)"
_NUMBER = r"(?:[\s_.\-]*(?:#|no\.?|nr\.?)?\s*(?P<{}>\d{{1,2}}))?"
_SUFFIX = re.compile(rf"[\s_.\-]+{_WORDS}{_NUMBER.format('after')}$", re.IGNORECASE)
_PREFIX = re.compile(rf"^{_WORDS}{_NUMBER.format('before')}[\s_.\-]+", re.IGNORECASE)
_PLAIN_NUMBER = re.compile(r"[\s_.\-]+(?:lesion)?(\d{1,2})$", re.IGNORECASE)


@dataclass(frozen=True)
class FolderOptions:
    """What a user says of the folders.

    Attributes
    ----------
    patients : str
        ``auto`` (pseudonyms of the headers' PatientID where every image has one, else by name), ``header``
        (pseudonyms), ``identified`` (the PatientID itself), ``name`` (folder or file name), or a regular expression
        whose first group, in the path below the folder of images, is the patient.
    mask_name : str
        Name of a mask without its ending, with ``{name}`` for that of the image and ``*`` for anything; empty: by
        words such as mask and lesion.
    subtypes : Path or None
        Table with ``patient_id``, ``subtype`` and perhaps ``laterality`` and further columns.
    """

    patients: str = "auto"
    mask_name: str = ""
    subtypes: Path | None = None


@dataclass
class _Image:
    key: str
    path: Path
    side: str = ""
    view: str = ""
    age: str = ""
    header_id: str = ""
    uid: str = ""
    raw: bool = False
    patient: str = ""
    source_id: str = ""
    masks: list[_Mask] = field(default_factory=list)


@dataclass
class _Mask:
    key: str
    path: Path
    name: str
    number: str = ""
    refers: frozenset[str] = frozenset()


def read(
    images_folder: Path, masks_folder: Path, options: FolderOptions, salt: Salt | None, progress: Progress | None = None
) -> Found:
    """Match the files of two folders, which may be one; headers are read, no pixels.

    Raises
    ------
    CohortError
        If a folder is none, a pattern is wrong, or the table of subtypes cannot be used.
    """
    pattern = _patient_pattern(options.patients)
    found = Found(Ledger("images"))
    masks_ledger = Ledger("masks")
    found.others.append(masks_ledger)
    image_files, mask_files, strays = _divide(images_folder, masks_folder)
    images = []
    for number, path in enumerate(image_files, start=1):
        key = relative(path, images_folder)
        found.inputs.expect(key)
        image, reason = _image(path, key)
        if image is None:
            found.inputs.place(key, reason)
        else:
            images.append(image)
        if progress:
            progress(number, len(image_files), "headers")
    masks = []
    for path in mask_files:
        key = relative(path, masks_folder)
        masks_ledger.expect(key)
        if (mask := _mask(path, key)) is None:
            masks_ledger.place(key, NO_MASK_FILE)
        else:
            masks.append(mask)
    for path in strays:
        found.inputs.expect(key := relative(path, images_folder))
        found.inputs.place(key, NO_IMAGE_FILE)
    wrong = _match(images, masks, _named(options.mask_name))
    images = _with_patients(images, images_folder, options.patients, pattern, salt, found)
    labels = _Labels(options.subtypes, found)
    _rows(images, labels, found, wrong)
    _notes(images, found)

    def settle(rows: list[Row]) -> None:
        used = {row.mask for row in rows}
        for mask in masks:
            reason = wrong.get(mask.key) or (None if mask.path in used else "its image is not in the table")
            masks_ledger.place(mask.key, reason)
        labels.settle(rows)

    found.settle = settle
    return found


def _divide(images_folder: Path, masks_folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Files that may be images, files that may be masks, and those of a common folder that are neither."""
    top, below = images_folder.resolve(), masks_folder.resolve()
    mask_files = files_below(masks_folder)
    if top != below:
        inside = {path.resolve() for path in mask_files} if below.is_relative_to(top) else set()
        images = [path for path in files_below(images_folder) if path.resolve() not in inside]
        if top.is_relative_to(below):  # the images lie below the folder of masks
            own = {path.resolve() for path in images}
            mask_files = [path for path in mask_files if path.resolve() not in own]
        return images, mask_files, []
    masks, images, strays = [], [], []
    for path in mask_files:
        name = path.name.lower()
        stem = _stem(path.name)
        if (
            name.endswith(_ONLY_MASKS)
            or _SUFFIX.search(stem)
            or _PREFIX.search(stem)
            or _segmentation(path) is not None
        ):
            masks.append(path)
        elif name.endswith(IMAGE_ENDINGS) or _is_dicom(path):
            images.append(path)
        else:
            strays.append(path)
    return images, masks, strays


def _image(path: Path, key: str) -> tuple[_Image | None, str]:
    """What a file says of its image, or why it is none."""
    try:
        kind = check_header(path)
        if kind != "DICOM":
            side, view = facts_from_name(path.stem)
            return _Image(key, path, side or "", view or ""), ""
        header = open_dicom(path).header
    except (MolSubError, OSError):
        return None, IS_MASK if _segmentation(path) is not None else NO_MAMMOGRAM if _is_dicom(path) else NO_IMAGE_FILE
    side, view = facts.read_side(header)[0], facts.read_view(header)[0]
    told = facts_from_name(path.stem)
    return (
        _Image(
            key,
            path,
            side or told[0] or "",
            view or told[1] or "",
            age_of(facts.text(header, "PatientAge")),
            clean_cell(facts.text(header, "PatientID")),
            facts.text(header, "SOPInstanceUID"),
            facts.text(header, "PresentationIntentType").upper() == "FOR PROCESSING",
        ),
        "",
    )


def _mask(path: Path, key: str) -> _Mask | None:
    """A file that may be a mask, by its ending or as a DICOM SEG with the images that it refers to."""
    if path.name.lower().endswith(_MASK_ENDINGS):
        return _Mask(key, path, _stem(path.name))
    if (uids := _segmentation(path)) is not None:
        return _Mask(key, path, _stem(path.name), refers=uids)
    return None


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _segmentation(path: Path) -> frozenset[str] | None:
    """The instances that a DICOM SEG refers to, wherever in it; None where it is none."""
    if not _is_dicom(path):
        return None
    try:
        header = open_dicom(path).header
        if facts.text(header, "Modality") != "SEG":
            return None
        return frozenset(str(e.value) for e in header.iterall() if e.tag == 0x00081155)
    except Exception:  # a damaged file raises many kinds
        return None


def _stem(name: str) -> str:
    lower = name.lower()
    known = (*_MASK_ENDINGS, *IMAGE_ENDINGS)
    ending = max((end for end in known if lower.endswith(end)), key=len, default="")
    return name[: len(name) - len(ending)] if ending else name


def _plain(text: str) -> str:
    """A name as it is compared: composed, without capitals, separators alike."""
    return re.sub(r"[\s_.\-]+", "-", unicodedata.normalize("NFC", text).casefold()).strip("-")


def _named(mask_name: str) -> Callable[[str], re.Pattern[str]] | None:
    """What gives the pattern of the masks of an image's name; None for the words."""
    if not mask_name:
        return None
    if "{name}" not in mask_name:
        raise CohortError("--mask-name", f"is '{mask_name}', expected {{name}} in it", "Write such as {name}_lesion*")
    parts = [part.split("*") for part in mask_name.split("{name}")]
    texts = [".*".join(map(re.escape, map(_composed, part))) for part in parts]
    return lambda name: re.compile(re.escape(_composed(name)).join(texts), re.IGNORECASE)


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _match(
    images: Sequence[_Image], masks: Sequence[_Mask], named: Callable[[str], re.Pattern[str]] | None
) -> dict[str, str]:
    """Give every image its masks; why the others have none, by their keys."""
    by_uid: dict[str, list[_Image]] = {}
    by_name: dict[str, list[_Image]] = {}
    by_path: dict[str, list[_Image]] = {}
    for image in images:
        by_uid.setdefault(image.uid, []).append(image)
        by_name.setdefault(_plain(_stem(image.path.name)), []).append(image)
        by_path.setdefault(_place(image.key), []).append(image)
    patterns = [(image, named(_stem(image.path.name))) for image in images] if named is not None else []
    wrong: dict[str, str] = {}
    for mask in masks:
        if mask.refers:
            fitting = [image for uid in sorted(mask.refers) for image in by_uid.get(uid, [])]
        elif named is not None:
            fitting = [image for image, pattern in patterns if pattern.fullmatch(_composed(mask.name))]
            fitting = _same_folder(fitting, mask)
            number = _PLAIN_NUMBER.search(mask.name)
            mask.number = number[1] if number else ""
        else:
            fitting = _by_words(mask, by_name, by_path)
        if len(fitting) == 1:
            fitting[0].masks.append(mask)
        else:
            wrong[mask.key] = SEVERAL_IMAGES if fitting else NO_IMAGE
    for image in images:
        numbers = [mask.number for mask in image.masks]
        if len(image.masks) > 1 and ("" in numbers or len(set(numbers)) < len(numbers)):
            wrong |= {mask.key: SEVERAL_MASKS for mask in image.masks}
            image.masks = []
    return wrong


def _place(key: str) -> str:
    """Folder and name of a file below its folder, as they are compared."""
    folder, _, name = key.rpartition("/")
    return f"{_composed(folder).casefold()}/{_plain(_stem(name))}"


def _same_folder(images: list[_Image], mask: _Mask) -> list[_Image]:
    """Of images of one name those in the folder of the same name as the mask's, if there are any."""
    folder = _composed(mask.key.rpartition("/")[0]).casefold()
    return [i for i in images if _composed(i.key.rpartition("/")[0]).casefold() == folder] or images


def _by_words(mask: _Mask, by_name: dict[str, list[_Image]], by_path: dict[str, list[_Image]]) -> list[_Image]:
    """Images whose name is the mask's, as it is or without its word and number; of the same folder first."""
    folder = mask.key.rpartition("/")[0]
    for name, number in _readings(mask.name):
        fitting = by_path.get(_place(f"{folder}/{name}")) or by_name.get(_plain(name), [])
        if fitting:
            mask.number = number
            return fitting
    return []


def _readings(name: str) -> Iterable[tuple[str, str]]:
    """The names of images that a mask's name may mean, with the number of the lesion; the nearest first."""
    yield name, ""
    for pattern in (_SUFFIX, _PREFIX):
        if found := pattern.search(name):
            rest = name[: found.start()] + name[found.end() :]
            number = next((value for value in found.groups() if value), "")
            yield rest, number
            if plain := _PLAIN_NUMBER.search(rest):
                yield rest[: plain.start()], number or plain[1]
    if plain := _PLAIN_NUMBER.search(name):
        yield name[: plain.start()], plain[1]


def _patient_pattern(patients: str) -> re.Pattern[str] | None:
    if patients in ("auto", "header", "identified", "name"):
        return None
    try:
        pattern = re.compile(patients)
    except re.error as error:
        remedy = "Give auto, header, identified, name, or a pattern such as '([^/]+)/'"
        raise CohortError("--patients", f"is no pattern ({error})", remedy) from None
    if pattern.groups < 1:
        found = f"is '{patients}', expected auto, header, identified, name, or a pattern with a group"
        raise CohortError("--patients", found, "Put what is the patient in parentheses, such as '([^/]+)/'")
    return pattern


def _with_patients(
    images: list[_Image],
    folder: Path,
    patients: str,
    pattern: re.Pattern[str] | None,
    salt: Salt | None,
    found: Found,
) -> list[_Image]:
    """Images with their patient; those that do not tell it are placed."""
    if patients == "auto":
        patients = "header" if images and all(image.header_id for image in images) else "name"
    kept = []
    top = Path(os.path.commonpath([image.path.parent for image in images])) if images else folder
    split = Split({}, salt.value if salt else "", 1, -1)
    for image in images:
        if pattern is not None:
            match = pattern.search(image.key)
            image.source_id = clean_cell(match[1] or "") if match else ""
        elif patients == "name":
            image.source_id = clean_cell(patient_of(image.path, top))
        else:
            image.source_id = image.header_id
        if not image.source_id:
            found.inputs.place(image.key, NO_PATIENT if pattern else "image does not tell its patient")
            continue
        image.patient = image.source_id
        if patients == "header":
            image.patient = split.study_id(image.source_id)
        kept.append(image)
    if patients == "header":
        found.notes.append(Note("patient_id is a pseudonym of the headers' PatientID; see --patients"))
    return kept


class _Labels:
    """The table of subtypes, by patient and perhaps side."""

    def __init__(self, table: Path | None, found: Found) -> None:
        self.given = table is not None
        self._ledger = Ledger("rows of the table of subtypes", used="of a patient in the table")
        self._lines: dict[tuple[str, str], list[Line]] = {}
        self._labels: dict[int, SubtypeLabel | None] = {}
        self._sources: dict[Path, str] = {}
        if table is None:
            return
        found.others.append(self._ledger)
        for line in read_lines(table, found):
            patient = line["patient_id"] or line["patient id"] or line["patientid"] or line["id"]
            key = f"row {line.number}"
            self._ledger.expect(key)
            if line.overlong or not patient:
                self._ledger.place(key, OVERLONG if line.overlong else "no patient_id")
                continue
            if re.fullmatch(r"\d+(\.0+)?", line["subtype"]):
                text = f"row {line.number}: the subtype is a number, which may mean several things"
                raise CohortError(table, text, "Write the names of the subtypes")
            try:
                self._labels[line.number] = parse_subtype(line["subtype"]) if line["subtype"] else None
            except MolSubError:
                self._ledger.place(key, NOT_UNDERSTOOD)
                continue
            side = read_side(line["laterality"] or line["side"]) or ""
            self._lines.setdefault((patient, side), []).append(line)
        if not self._labels:
            remedy = "Give a table with the columns patient_id and subtype"
            raise CohortError(table, "has no row with a patient_id and a subtype", remedy)

    def of(self, image: _Image) -> tuple[SubtypeLabel | None, str, dict[str, str]]:
        """Subtype, the reason where there is none, and the further columns of an image's patient and side."""
        if not self.given:
            return None, "no table of subtypes", {}
        self._sources[image.path] = image.source_id
        lines = self._lines.get((image.source_id, image.side)) or self._lines.get((image.source_id, ""), [])
        if not lines:
            return None, NO_ROW, {}
        labels = {self._labels[line.number] for line in lines}
        cells = lines[0].cells
        dropped = (
            "patient_id",
            "patient id",
            "patientid",
            "id",
            "subtype",
            "laterality",
            "side",
            "image",
            "mask",
            "box",
        )
        extra = {name: cell for name, cell in cells.items() if name not in dropped}
        if len(labels) > 1:
            return None, TWO_ROWS, extra
        label = labels.pop()
        return label, "" if label else "no subtype", extra

    def settle(self, rows: Sequence[Row]) -> None:
        """Place every row that is left."""
        patients = {self._sources[row.image] for row in rows} if self.given else set()
        for (patient, _), lines in self._lines.items():
            for line in lines:
                self._ledger.place(f"row {line.number}", None if patient in patients else "no image of this patient")


def _rows(images: Sequence[_Image], labels: _Labels, found: Found, wrong: dict[str, str]) -> None:
    """A row for every image and mask; an image without one has a row without it."""
    for image in images:
        subtype, no_subtype, more = labels.of(image)
        extra = {**more, "laterality": image.side, "view": image.view}
        extra |= {"age": image.age} if image.age and not more.get("age") else {}
        masks: list[_Mask | None] = [*image.masks] or [None]
        for number, mask in enumerate(masks, start=1):
            key = image.key if number == 1 else f"{image.key}, mask {number}"
            if number > 1:
                found.inputs.expect(key)
            found.rows.append(
                Row(
                    key,
                    image.patient,
                    image.path,
                    subtype,
                    mask=mask.path if mask else None,
                    no_subtype=no_subtype,
                    no_lesion=NO_MASK,
                    extra=dict(extra),
                )
            )


def _notes(images: Sequence[_Image], found: Found) -> None:
    def note(text: str, some: Sequence[object]) -> None:
        if some:
            found.notes.append(Note(f"{text}: {len(some)}"))

    note("Images with several masks, one row each", [image for image in images if len(image.masks) > 1])
    note("Images that do not tell their side", [image for image in images if not image.side])
    note("Images that do not tell their view", [image for image in images if not image.view])
    note("Images for processing (raw), unlike what readers see", [image for image in images if image.raw])
    ids: dict[str, set[str]] = {}
    for image in images:
        ids.setdefault(image.patient, set()).add(image.header_id)
    note(
        "Patients whose images have several PatientIDs in their headers",
        [p for p, own in ids.items() if len(own - {""}) > 1],
    )
    patients: dict[str, set[str]] = {}
    for image in images:
        if image.header_id:
            patients.setdefault(image.header_id, set()).add(image.patient)
    note(
        "PatientIDs in the headers that stand under several patients",
        [p for p, own in patients.items() if len(own) > 1],
    )
