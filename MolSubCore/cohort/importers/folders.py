"""A folder of images and a folder of masks: which mask belongs to which image, and whose image it is.

Masks are matched by what they refer to (DICOM SEG), by a pattern of the user's, or by their names: that of the image
with a word such as ``mask`` or ``lesion`` and perhaps a number before or after it. Every file is accounted for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from MolSubCore.cohort import columns
from MolSubCore.cohort.identity import same_ids
from MolSubCore.cohort.importers.base import (
    NO_MAMMOGRAM,
    OVERLONG,
    Found,
    Ledger,
    Line,
    Note,
    Progress,
    Row,
    age_of,
    files_below,
    note_passed,
    read_lines,
    relative,
)
from MolSubCore.cohort.mask_names import (
    MASK_ENDINGS,
    MASK_FOLDER,
    NO_IMAGE,
    ONLY_MASKS,
    OTHER_FOLDER,
    PLAIN_NUMBER,
    PREFIX,
    SEVERAL_IMAGES,
    SUFFIX,
    ImageNames,
    composed,
    stem_of,
)
from MolSubCore.cohort.names import IMAGE_ENDINGS, patients_of
from MolSubCore.cohort.pseudonyms import Salt
from MolSubCore.cohort.splits import Split
from MolSubCore.cohort.table_files import clean_cell, row_list
from MolSubCore.errors import CohortError, MolSubError, listed
from MolSubCore.imaging.io import dicom as facts
from MolSubCore.imaging.io.content import is_dicom
from MolSubCore.imaging.io.dicom import open_dicom
from MolSubCore.imaging.io.reader import check_header
from MolSubCore.imaging.mammogram import is_placeholder
from MolSubCore.imaging.view_text import facts_from_path, name_doubts, read_side
from MolSubCore.tasks import SubtypeLabel, number_label, parse_subtype

NO_IMAGE_FILE = "not an image, by its name and content"
BAD_IMAGE = "image that cannot be read: damaged, or of an unsupported kind"
NO_MASK_FILE = "not a mask, by its name and content"
IS_MASK = "a segmentation in the folder of images"
NO_MASK = "no mask for this image"
NAME_OR_NUMBER = "its end is the name of one image, or the number of a lesion on another: rename it, or use --mask-name"
SEVERAL_REFERRED = "it refers to several of the images"
SEVERAL_MASKS = "several masks for one image, not numbered by their names"
NO_PATIENT = "the name does not fit the pattern of patients"
NO_ID = "image without a PatientID"
DUMMY_ID = "its PatientID is a placeholder, such as ANONYMOUS"
NO_ROW = "patient without a row in the table of subtypes"
OTHER_SIDE = "the table of subtypes has the patient's other breast only"
NO_SIDE = "laterality of the image not stated, but given in the table of subtypes"
NOT_UNDERSTOOD = "subtype not understood"
SIDE_UNKNOWN = "side not understood"
SIDES_DIFFER = "side contradicted by the view of the same row"
WRONG_SIDE = "the side in a row of its patient in the table of subtypes is not understood"
WRONG_SUBTYPE = "the subtype in the row of its patient is not understood"
TWO_ROWS = "patient with two subtypes in the table of subtypes"

#: More images than that in the only folder probably belong to several patients.
_MANY = 12
#: Columns of a table of subtypes for the patient, and cells of sides that mean both breasts.
_ID_COLUMNS = ("patient_id", "patient id", "patientid", "id")
_BOTH = re.compile(
    r"b|both|both breasts|bilat|bilat[eé]ral|bilaterale|bds|beide|beidseits|ambas|ambos|entrambe"
    r"|l ?[+/&]? ?r|r ?[+/&]? ?l|left and right|right and left"
)


@dataclass(frozen=True)
class FolderOptions:
    """The user's choices for the folders.

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
    doubts: tuple[str, ...] = ()
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
    otherwise: list[_Image] = field(default_factory=list)


def read(
    images_folder: Path, masks_folder: Path, options: FolderOptions, salt: Salt | None, progress: Progress | None = None
) -> Found:
    """Match the files of two folders, which may be one; headers are read, no pixels.

    Raises
    ------
    CohortError
        If a folder does not exist, a pattern is wrong, or the table of subtypes cannot be used.
    """
    pattern, named = _patient_pattern(options.patients), _named(options.mask_name)
    found = Found(Ledger("images"))
    labels = _Labels(options.subtypes, found)  # checked before thousands of headers are read
    masks_ledger = Ledger("masks")
    found.others.insert(0, masks_ledger)
    image_files, mask_files, strays = _divide(images_folder, masks_folder, found)
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
    wrong = _match(images, masks, named)
    images = _with_patients(images, images_folder, options.patients, pattern, salt, found)
    labels.compare(images)
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


def _divide(images_folder: Path, masks_folder: Path, found: Found) -> tuple[list[Path], list[Path], list[Path]]:
    """Files that may be images, files that may be masks, and those of a common folder that are neither."""
    top, below = images_folder.resolve(), masks_folder.resolve()
    passed: dict[str, list[str]] = {}
    mask_files = files_below(masks_folder, passed)
    note_passed(found, passed, "" if top == below else " in the folder of masks")
    if top != below:
        passed = {}
        inside = {path.resolve() for path in mask_files} if below.is_relative_to(top) else set()
        images = [path for path in files_below(images_folder, passed) if path.resolve() not in inside]
        note_passed(found, passed, " in the folder of images")
        if top.is_relative_to(below):  # the images lie below the folder of masks
            own = {path.resolve() for path in images}
            mask_files = [path for path in mask_files if path.resolve() not in own]
        return images, mask_files, []
    masks, images, strays = [], [], []
    for path in mask_files:
        name = path.name.lower()
        stem = stem_of(path.name)
        if (
            name.endswith(ONLY_MASKS)
            or SUFFIX.search(stem)
            or PREFIX.search(stem)
            or any(MASK_FOLDER.fullmatch(part) for part in path.relative_to(masks_folder).parts[:-1])
            or _segmentation(path) is not None
        ):
            masks.append(path)
        elif name.endswith(IMAGE_ENDINGS) or is_dicom(path):
            images.append(path)
        else:
            strays.append(path)
    return images, masks, strays


def _image(path: Path, key: str) -> tuple[_Image | None, str]:
    """The facts of an image file, or why it is not one."""
    try:
        kind = check_header(path)
        if kind != "DICOM":
            side, view = facts_from_path(path)
            return _Image(key, path, side or "", view or ""), ""
        header = open_dicom(path).header
    except Exception:  # any error is this file's
        if _segmentation(path) is not None:
            return None, IS_MASK
        if is_dicom(path):
            return None, NO_MAMMOGRAM
        return None, BAD_IMAGE if path.name.lower().endswith(IMAGE_ENDINGS) else NO_IMAGE_FILE
    side, view = facts.read_side(header)[0], facts.read_view(header)[0]
    told = facts_from_path(path)
    doubts = tuple(name_doubts(path, side, view))
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
            doubts,
        ),
        "",
    )


def _mask(path: Path, key: str) -> _Mask | None:
    """A file that may be a mask, by its ending or as a DICOM SEG with the images that it refers to."""
    if path.name.lower().endswith(MASK_ENDINGS):
        return _Mask(key, path, stem_of(path.name))
    if (uids := _segmentation(path)) is not None:
        return _Mask(key, path, stem_of(path.name), refers=uids)
    return None


def _segmentation(path: Path) -> frozenset[str] | None:
    """The instances that a DICOM SEG refers to, anywhere in it; None for other files."""
    if not is_dicom(path):
        return None
    try:
        header = open_dicom(path).header
        if facts.text(header, "Modality") != "SEG":
            return None
        return frozenset(str(e.value) for e in header.iterall() if e.tag == 0x00081155)
    except Exception:  # a damaged file raises many kinds
        return None


def _named(mask_name: str) -> Callable[[str], re.Pattern[str]] | None:
    """A function from an image's name to the pattern of its masks; None to match by words."""
    if not mask_name:
        return None
    if "{name}" not in mask_name:
        raise CohortError("--mask-name", f"is '{mask_name}', expected {{name}} in it", "Write, e.g., {name}_lesion*")
    parts = [re.sub(r"\*+", "*", part).split("*") for part in mask_name.split("{name}")]
    texts = [".*".join(map(re.escape, map(composed, part))) for part in parts]
    before, after = texts[0].endswith(".*"), texts[1].startswith(".*")

    def pattern(name: str) -> re.Pattern[str]:
        """For an image's name; the mask of ``P10`` is not one of ``P1``, whatever ``*`` matches."""
        own = re.escape(composed(name))
        own = rf"(?<!\d){own}" if before and name[:1].isdigit() else own
        own = rf"{own}(?!\d)" if after and name[-1:].isdigit() else own
        return re.compile(own.join(texts), re.IGNORECASE)

    return pattern


def _match(
    images: Sequence[_Image], masks: Sequence[_Mask], named: Callable[[str], re.Pattern[str]] | None
) -> dict[str, str]:
    """Give every image its masks; return why other masks have no image, by their keys."""
    by_uid: dict[str, list[_Image]] = {}
    for image in images:
        by_uid.setdefault(image.uid, []).append(image)
    names = ImageNames([image.key for image in images])
    stems: dict[str, list[int]] = {}
    for n, image in enumerate(images):
        stems.setdefault(stem_of(image.path.name), []).append(n)
    patterns = [(own, composed(stem).casefold(), named(stem)) for stem, own in stems.items() if named is not None]
    wrong: dict[str, str] = {}
    for mask in masks:
        reason = SEVERAL_IMAGES
        if mask.refers:
            fitting = [image for uid in sorted(mask.refers) for image in by_uid.get(uid, [])]
            reason = SEVERAL_REFERRED
        elif named is not None:
            plain = composed(mask.name)
            small = plain.casefold()  # a substring is found much faster than a pattern
            several = [own for own, part, pattern in patterns if part in small and pattern.fullmatch(plain)]
            own, reason = names.of_folder([n for own in several for n in own], mask.key)
            fitting = [images[n] for n in own]
            number = PLAIN_NUMBER.search(mask.name)
            mask.number = number[1] if number else ""
        else:
            fit = names.of_mask(mask.key)
            fitting, reason, mask.number = [images[n] for n in fit.images], fit.reason, fit.number
            mask.otherwise = [images[n] for n in fit.otherwise]
        if len(fitting) == 1:
            fitting[0].masks.append(mask)
        else:
            wrong[mask.key] = reason if fitting or reason == OTHER_FOLDER else NO_IMAGE
    for mask in masks:  # for scan and scan_1 with masks scan_1 and scan_2, scan_1 is ambiguous
        counted = [one for image in mask.otherwise for one in image.masks if one.number and one is not mask]
        if mask.key not in wrong and counted:
            wrong |= {one.key: NAME_OR_NUMBER for one in (mask, *counted)}
    for image in images:
        image.masks = [mask for mask in image.masks if mask.key not in wrong]
        numbers = [mask.number for mask in image.masks]
        if len(image.masks) > 1 and ("" in numbers or len(set(numbers)) < len(numbers)):
            wrong |= {mask.key: SEVERAL_MASKS for mask in image.masks}
            image.masks = []
    return wrong


def _patient_pattern(patients: str) -> re.Pattern[str] | None:
    if patients in ("auto", "header", "identified", "name"):
        return None
    try:
        pattern = re.compile(patients)
    except re.error as error:
        remedy = "Give auto, header, identified, name, or a pattern such as '([^/]+)/'"
        raise CohortError("--patients", f"is not a valid pattern ({error})", remedy) from None
    if pattern.groups < 1:
        found = f"is '{patients}', expected auto, header, identified, name, or a pattern with a group"
        raise CohortError("--patients", found, "Put the part that names the patient in parentheses, such as '([^/]+)/'")
    return pattern


def _with_patients(
    images: list[_Image],
    folder: Path,
    patients: str,
    pattern: re.Pattern[str] | None,
    salt: Salt | None,
    found: Found,
) -> list[_Image]:
    """Images with their patient; those without one are placed."""
    patients = _chosen(images, patients, found)
    by_header = patients in ("header", "identified")
    named = patients_of([image.path for image in images], folder)
    if patients == "name" and named.doubtful:
        raise _doubtful(folder, images, named.doubtful)
    kept = []
    spelt: dict[str, set[str]] = {}
    split = Split({}, salt.value if salt else "", 1, -1)
    for image, name in zip(images, named.ids, strict=True):
        if pattern is not None:
            match = pattern.search(image.key)
            name = (match[1] or "") if match else ""
        image.source_id = image.header_id if by_header else clean_cell(name)
        spelt.setdefault(image.source_id, set()).add(name)
        dummy = by_header and is_placeholder(image.source_id)
        if not image.source_id or dummy:
            found.inputs.place(image.key, NO_PATIENT if pattern else DUMMY_ID if dummy else NO_ID)
            continue
        image.patient = image.source_id
        if patients == "header":
            image.patient = split.study_id(image.source_id)
        kept.append(image)
    found.patients = {
        "header": "pseudonyms of the headers' PatientID",
        "identified": "the headers' PatientID",
        "name": named.how,
    }.get(patients, "what the pattern of --patients finds in the names")
    again = [repr(name)[1:-1] for name, own in spelt.items() if name and len(own) > 1 and not by_header]
    found.note("Names that differ only in Unicode composition, blanks or invisible characters: one patient", again)
    if by_header:
        found.note("Files whose folder or name suggests another patient than the PatientID in their headers, which was "
                   "used", _told_otherwise(images, named.ids))  # fmt: skip
    ids = {image.patient for image in kept}
    if by_header and len(ids) == 1 and len(set(named.ids)) > 1:
        text = f"All {len(kept)} images have one PatientID, folders and names suggest {len(set(named.ids))} patients"
        found.notes.append(Note(f"{text}: if the PatientID is a placeholder, add --patients name"))
    if patients == "name" and len(ids) == 1 and len(kept) > _MANY:
        text = f"All {len(kept)} images count as one patient's, since neither folders nor names show more patients"
        remedy = "if every file is a separate patient, add --patients '([^/]+)[.][^.]+$'"
        found.notes.append(Note(f"{text}: {remedy}"))
    return kept


def _told_otherwise(images: Sequence[_Image], names: Sequence[str]) -> list[str]:
    """Images whose folder or name is the PatientID of other images, or is shared by images of other PatientIDs."""
    spelt = same_ids([*names, *(image.header_id for image in images)])
    headers = {spelt[image.header_id] for image in images}
    groups: dict[str, list[_Image]] = {}
    for image, name in zip(images, names, strict=True):
        groups.setdefault(spelt[name], []).append(image)
    mixed = [own for own in groups.values() if len({spelt[image.header_id] for image in own}) > 1]
    told = [image for own in mixed if 2 * len(mixed) <= len(groups) for image in own]  # else the names are not patients
    told += [
        image
        for image, name in zip(images, names, strict=True)
        if name and spelt[name] in headers and spelt[name] != spelt[image.header_id]
    ]
    return list(dict.fromkeys(image.key for image in told))


def _chosen(images: Sequence[_Image], patients: str, found: Found) -> str:
    """Source of the patients for ``auto``: the headers if all have a PatientID, else the names."""
    if patients != "auto":
        return patients
    dummies = sum(is_placeholder(image.header_id) for image in images)
    lacking = sum(not image.header_id for image in images)
    if images and not dummies and not lacking:
        return "header"
    if dummies:
        text = f"{dummies} of {len(images)} images have a placeholder for their PatientID, such as ANONYMOUS"
        found.notes.append(Note(f"{text}: patients were taken from the names"))
    elif lacking < len(images):
        text = f"{lacking} of {len(images)} images have no PatientID: patients were taken from the names"
        found.notes.append(Note(f"{text}; --patients header uses only the others"))
    return "name"


def _doubtful(folder: Path, images: Sequence[_Image], doubtful: Sequence[tuple[str, str]]) -> CohortError:
    """Error for one name in several years, classes or parts: the user must decide whether it is one patient."""
    name, places = doubtful[0]
    more = f" (and {len(doubtful) - 1} more such names)" if len(doubtful) > 1 else ""
    remedy = "Give --patients a pattern for the patient, see molsub cohort make --help"
    for image in images:
        above = image.key.split("/")[:-1]
        if name in above:
            depth = f"(?:[^/]+/){{{above.index(name)}}}"
            remedy = f"Add --patients '^{depth}([^/]+)/' if it is one patient, --patients '^({depth}[^/]+)/' if not"
            break
    return CohortError(folder, f"holds '{name}' in {places}{more}: it is unclear whether this is one patient", remedy)


class _Labels:
    """The table of subtypes, by patient and perhaps side."""

    def __init__(self, table: Path | None, found: Found) -> None:
        self.given = table is not None
        self._found = found
        self._ledger = Ledger("rows of the table of subtypes", used="of a patient in the table")
        self._lines: dict[tuple[str, str], list[Line]] = {}
        self._labels: dict[int, SubtypeLabel | None] = {}
        self._sources: dict[Path, str] = {}
        self._wrong: dict[str, str] = {}
        self._vague: set[tuple[str, str]] = set()
        if table is None:
            return
        found.others.append(self._ledger)
        lines = list(read_lines(table, found))
        self._check_columns(table, lines)
        cells: dict[str, list[int]] = {}
        for line in lines:
            patient = next((line[name] for name in _ID_COLUMNS if line[name]), "")
            key = f"row {line.number}"
            self._ledger.expect(key)
            why = next((line.why_no_id[name] for name in _ID_COLUMNS if line[name]), "is empty")
            if line.overlong or why:
                self._ledger.place(key, OVERLONG if line.overlong else f"patient_id {why}")
                continue
            if number_label(line["subtype"]) is not None or re.fullmatch(r"\d+(\.0+)?", line["subtype"]):
                text = f"row {line.number}: the subtype is a number, which is ambiguous"
                raise CohortError(table, text, "Write the names of the subtypes")
            side, wrong = _side_of(line)
            if wrong:  # never both breasts
                self._ledger.place(key, wrong)
                self._wrong[patient] = WRONG_SIDE
                if wrong == SIDE_UNKNOWN:
                    cells.setdefault(_cell(line, columns.SIDES), []).append(line.number)
                continue
            try:
                self._labels[line.number] = parse_subtype(line["subtype"]) if line["subtype"] else None
            except MolSubError:
                self._ledger.place(key, NOT_UNDERSTOOD)
                self._vague.add((patient, side))
                continue
            self._lines.setdefault((patient, side), []).append(line)
        for cell, rows in cells.items():
            text = f"{row_list(rows)} of the table of subtypes: the side '{cell}' is not understood, expected L or R"
            found.notes.append(Note(f"{text}; images of these patients got no subtype"))
        if not self._labels:
            remedy = "Give a table with the columns patient_id and subtype, and laterality (L or R) if it is by breast"
            reasons = "; ".join(f"{len(keys)} {reason}" for reason, keys in self._ledger.left_out().items())
            found_text = f"has no row with a patient_id and a subtype{f' ({reasons})' if reasons else ''}"
            raise CohortError(table, found_text, remedy)

    @staticmethod
    def _check_columns(table: Path, lines: Sequence[Line]) -> None:
        """Refuse a table without its columns, and one with sides in a column of an unknown name."""
        names = list(dict.fromkeys(name for line in lines for name in line.cells))
        lacking = [name for name in ("patient_id", "subtype") if name not in names]
        if "patient_id" in lacking and set(_ID_COLUMNS) & set(names):
            lacking.remove("patient_id")
        if lines and lacking:
            text = f"lacks the {listed('column', lacking)}; found: {', '.join(names)}"
            raise CohortError(table, text, "Add them to the header row")
        if columns.SIDES & set(map(columns.plain, names)):
            return
        for name in names:
            cells = [line[name] for line in lines if line[name]]
            known = name in (*_ID_COLUMNS, "subtype", "image", "mask") or columns.plain(name) in columns.VIEWS
            if cells and not known and all(columns.is_side(cell) or _BOTH.fullmatch(cell.casefold()) for cell in cells):
                text = f"has sides in the column '{name}': it is unclear whether they are the sides of the tumours"
                raise CohortError(table, text, "Name the column laterality if they are, else remove it")

    def compare(self, images: Sequence[_Image]) -> None:
        """Note ids of the table that nearly match those of images: they were not joined."""
        own = {image.source_id for image in images}
        alike = {_like(name) for name in own}
        rows = [
            f"row {line.number}"
            for (patient, _), lines in self._lines.items()
            for line in lines
            if patient not in own and _like(patient) in alike
        ]
        text = (
            "Rows of the table of subtypes whose id differs from the images' in capitals, separators or leading zeros"
        )
        self._found.note(f"{text} only: not joined", rows)

    def of(self, image: _Image) -> tuple[SubtypeLabel | None, str, dict[str, str]]:
        """Subtype, else the reason why not, and further columns for an image's patient and side."""
        if not self.given:
            return None, "no table of subtypes", {}
        self._sources[image.path] = image.source_id
        patient = image.source_id
        if patient in self._wrong:
            return None, self._wrong[patient], {}
        lines = self._lines.get((patient, image.side), [])
        if not lines and (patient, image.side) not in self._vague:
            lines = self._lines.get((patient, ""), [])
        if not lines:
            if {(patient, image.side), (patient, "")} & self._vague:
                return None, WRONG_SUBTYPE, {}
            if any((patient, side) in self._lines for side in ("L", "R")):
                return None, OTHER_SIDE if image.side else NO_SIDE, {}
            return None, NO_ROW, {}
        labels = {self._labels[line.number] for line in lines}
        dropped = (*_ID_COLUMNS, "subtype", "image", "mask", "box")
        extra = {
            name: cell
            for name, cell in lines[0].cells.items()
            if name not in dropped and columns.plain(name) not in columns.SIDES
        }
        if len(labels) > 1:
            return None, TWO_ROWS, extra
        label = labels.pop()
        return label, "" if label else "no subtype", extra

    def settle(self, rows: Sequence[Row]) -> None:
        """Place every row that is left."""
        patients = {self._sources[row.image] for row in rows} if self.given else set()
        known = set(self._sources.values())
        for (patient, _), lines in self._lines.items():
            for line in lines:
                reason = "no image of its patient is in the table" if patient in known else "no image of this patient"
                self._ledger.place(f"row {line.number}", None if patient in patients else reason)


def _cell(line: Line, names: Collection[str]) -> str:
    """The first non-empty cell of a column of these names."""
    return next((cell for name, cell in line.cells.items() if cell and columns.plain(name) in names), "")


def _side_of(line: Line) -> tuple[str, str]:
    """Side of a row (empty for both breasts), and why it cannot be used."""
    cell = _cell(line, columns.SIDES)
    by_view: str = read_side(_cell(line, columns.VIEWS)) or ""
    if not cell:
        return by_view, ""
    if _BOTH.fullmatch(" ".join(cell.casefold().split())):
        return "", ""
    told: str = read_side(cell) or ""
    if told and by_view and told != by_view:
        return "", SIDES_DIFFER
    return told, "" if told else SIDE_UNKNOWN


def _like(patient: str) -> str:
    """An id without capitals, separators and leading zeros."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[\W_]+", " ", patient.casefold())).strip()


def _rows(images: Sequence[_Image], labels: _Labels, found: Found, wrong: dict[str, str]) -> None:
    """A row for every image and mask; an image without a mask has one row."""
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
    note("Images whose laterality is not stated", [image for image in images if not image.side])
    for text in dict.fromkeys(text for image in images for text in image.doubts):
        found.note(text.rstrip("."), tuple(image.key for image in images if text in image.doubts))
    note("Images whose view is not stated", [image for image in images if not image.view])
    note("Images FOR PROCESSING (raw), unlike those that readers see", [image for image in images if image.raw])
    uids: dict[str, list[str]] = {}
    for image in images:
        uids.setdefault(image.uid or image.key, []).append(image.key)
    again = tuple(key for keys in uids.values() for key in keys[1:])
    found.note("Files of an image that another file has, too, by its SOPInstanceUID; keep one of each", again)
    ids: dict[str, set[str]] = {}
    for image in images:
        ids.setdefault(image.patient, set()).add("" if is_placeholder(image.header_id) else image.header_id)
    note(
        "Patients whose images have several PatientIDs in their headers",
        [p for p, own in ids.items() if len(own - {""}) > 1],
    )
    patients: dict[str, set[str]] = {}
    for image in images:
        if image.header_id and not is_placeholder(image.header_id):
            patients.setdefault(image.header_id, set()).add(image.patient)
    note(
        "PatientIDs in the headers that several patients have",
        [p for p, own in patients.items() if len(own) > 1],
    )
