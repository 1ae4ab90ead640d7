"""Names of table columns for side, view and lesion, and columns that look relevant but are not read.

Standard library only.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from MolSubCore.cohort.table_files import is_missing, row_list
from MolSubCore.errors import MolSubError
from MolSubCore.imaging.view_text import read_side, without_accents
from MolSubCore.tasks import parse_subtype


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split())


#: Columns of sides; in those of `VAGUE_SIDES` a cell that is not a side may mean something else.
SIDES = _names("""
    laterality side image_laterality imagelaterality image_side leftright left_right lr l_r left_or_right
    left_or_right_breast breast_side breast_laterality side_of_breast seite bildseite brustseite lateralitat lateralite
    lateralita lateralidad lateralidade cote lato lado strona zijde sida
""")
VAGUE_SIDES = _names("breast lat brust mamma mama sein seno mammella borst brost piers laterally laterale")
VIEWS = _names("""
    view view_position viewposition image_view mammographic_view projection projektion proyeccion projeccao projecao
    proiezione incidence incidencia vue vista ansicht
""")
#: Columns that tell a patient's lesions apart; those of `VAGUE_LESIONS` where their cells look like numbers or letters.
LESIONS = _names("""
    lesion_id lesionid id_lesion lesion_no lesion_nr lesion_num lesion_number lesion_index abnormality_id finding_id
    lasion_id lasion_nr laesion_id laesion_nr
""")
VAGUE_LESIONS = _names("lesion lesions lasion laesion lesione herd")
#: The same where it is not said plainly: such a column is not read, but told.
_PERHAPS_LESIONS = _names(
    "roi roi_id roi_no roi_nr roi_number annotation_id mass mass_id mass_no tumor tumour tumor_id"
)
#: Columns that tell a patient's exams apart.
_EXAMS = re.compile(
    r"(?:study|exam|examination|visit|time_?point|scan|acquisition|session|untersuchung|termin)"
    r"(?:_?(?:date|id|uid|no|nr|number|instance_?uid|datum))?|accession(?:_?(?:no|nr|number))?|(?:date|datum)(?:_of)?_?"
    r"(?:study|exam|examination|visit|scan|untersuchung)?|untersuchungsdatum|aufnahmedatum"
)
_LESION_ID = re.compile(r"(?:lesion|l|nr|no)?[\s_.#-]*(?:\d{1,3}(?:\.0+)?[a-z]?|[a-z])", re.IGNORECASE)
#: Of ids of one lesion in several spellings.
SAME_LESIONS = "the lesion ids of {} differ only in capitals or leading zeros; read as one lesion"
#: Ids of lesions that tell nobody.
_HARMLESS = re.compile(r"(?:lesion|l|nr|no)?[\s_.#-]*[a-z]?\d{1,2}[a-z]?|[a-z]", re.IGNORECASE)

#: Names of columns that would matter if they were read; also with a number or one of `_BESIDE` added.
_MEANINGS = {
    "an image": _names("image images img img_path image_path image_file dicom dicom_path picture bild"),
    "a lesion": _names(
        "mask masks mask_path annotation annotation_path segmentation seg roi box bbox outline contour maske masque"
    ),
    "an edge of a box": _names("xmin ymin xmax ymax x_min y_min x_max y_max x0 y0 x1 y1 x2 y2 row0 col0 row1 col1"),
    "a subtype": _names("subtype subtypes label labels molecular_subtype molecularsubtype subtyp subtype_name"),
}
_BESIDE = _names(
    "new old other second first two one final corrected revised path file left right cc mlo l r a b reader"
)
#: Columns by which somebody meant to say which rows count: those that leave a row out, that keep it, that divide rows.
_LEAVES_OUT = re.compile(
    r"(?:\w+_)?(?:exclude[ds]?|exclusion|excl|exclu|discard(?:ed)?|rejected|ausgeschlossen|ausschluss)(?:_\w+)?"
    r"|(?:is_)?(?:drop(?:ped)?|skip|ignored?|omit(?:ted)?|withdrawn|test|test_set|holdout|hold_out)"
)
_KEEPS = re.compile(
    r"(?:\w+_)?(?:include[ds]?|inclusion|incl|consent(?:ed)?|eligible|usable|quality|qc|qa|eingeschlossen|einschluss"
    r"|einwilligung)(?:_\w+)?|(?:is_)?(?:use|used|keep|kept|valid|ok)"
)
_DIVIDES = re.compile(r"(?:\w+_)?(?:split|partition|set|subset|dataset|fold|phase|train_test)")
_YES = _names("yes y true 1 1.0 x ja oui si s\u00ed sim")
_NO = _names("no n false 0 0.0 nein non nao n\u00e3o")
_POOR = _names(
    "fail failed poor bad inadequate insufficient unusable reject rejected nondiagnostic non-diagnostic refused"
)
_POOR |= _names("denied revoked withdrawn")
_PARTS = _names("test testing tests val valid validation holdout hold-out hold_out external dev")
_PARTS_TOLD = 3

#: Columns that say how a box is written, and cells of them that say no other than how it is read.
_BOX_FORM = re.compile(
    r"(?:b?box(?:es)?|bounding_box(?:es)?|coords?|coordinates?)_?(?:format|order|units?|convention|mode|axes|origin|scale)"
    r"|(?:format|order|units?|convention)_of_(?:the_)?(?:b?box(?:es)?|coords?|coordinates?)"
)
_OUR_BOX = re.compile(
    r"row_?0col_?0row_?1col_?1|y_?(?:0|min|1)x_?(?:0|min|1)y_?(?:1|max|2)x_?(?:1|max|2)|yxyx|yx|rows?col(?:umn)?s?|rc|rcrc"
    r"|px|pix(?:els?)?|top_?left|upper_?left|1|1\.0|00|0"
)

#: Columns of receptors, by what each is of.
_RECEPTORS = {
    "ER": re.compile(r"(?:er|o?estrogen_receptors?)(?:_status|_ihc|_result|_percent)?"),
    "PR": re.compile(r"(?:pr|pgr|progesterone_receptors?)(?:_status|_ihc|_result|_percent)?"),
    "HER2": re.compile(r"(?:her_?2|her_?2_?neu|c?_?erb_?b_?2)(?:_status|_ihc|_result|_score)?"),
}
_POSITIVE, _NEGATIVE = re.compile(r"pos(?:itive?|itiv[oa]?|itif)?\.?"), re.compile(r"neg(?:ative?|ativ[oa]?|atif)?\.?")
#: Columns that say one thing of a patient, in whatever row.
_OF_PATIENTS = re.compile(
    r"age|sex|gender|(?:\w+_)?(?:cent(?:re|er)|hospital|institut(?:e|ion)|clinic)|menopaus\w*|birth\w*|date_of_birth|dob"
)

_IMAGE_FILE = re.compile(r".*\.(?:dcm|dicom|png|jpe?g|tiff?|jp2|nii|nii\.gz|nrrd|nhdr|mha|mhd)", re.IGNORECASE)


@lru_cache(maxsize=1 << 14)  # asked for in every row
def plain(column: str) -> str:
    """A column name in the form of the sets above: without accents, words separated by ``_``."""
    return re.sub(r"[^\w]+|_+", "_", without_accents(column.casefold())).strip("_")


@lru_cache(maxsize=64)  # the rows of a table have the same columns
def named(columns: tuple[str, ...], names: frozenset[str]) -> tuple[str, ...]:
    """Those columns that have one of these names, in any spelling."""
    return tuple(column for column in columns if plain(column) in names)


def is_lesion_id(cell: str) -> bool:
    """Whether a cell looks like the number or letter of a lesion, not like a description."""
    return _LESION_ID.fullmatch(cell.strip()) is not None


def lesion_key(cell: str) -> str:
    """A lesion's id without capitals and leading zeros: ``A`` is ``a``, ``01`` is ``1``."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"\.0+$", "", " ".join(cell.casefold().split())))


def shown_lesion_ids(ids: Sequence[str], *, identified: bool) -> list[str]:
    """One patient's lesion ids as results may name them: one spelling of each, and numbers for what may tell who it is.

    An id such as ``1``, ``A``, ``M1`` or ``lesion 2`` is kept; with `identified` every one is.

    Parameters
    ----------
    ids : sequence of str
        Of each image; empty where none is told.
    """
    spelt: dict[str, str] = {}
    for own in ids:
        spelt.setdefault(lesion_key(own), own)
    if not identified:
        taken = {key for key, own in spelt.items() if _HARMLESS.fullmatch(own)}
        free = (str(n) for n in itertools.count(1) if str(n) not in taken)
        spelt = {key: own if not own or key in taken else next(free) for key, own in spelt.items()}
    return [spelt[lesion_key(own)] for own in ids]


def unread(rows: Sequence[tuple[int, Mapping[str, str]]], *, sided: bool) -> Iterator[tuple[str, str]]:
    """Further columns that look relevant, each with a note.

    Parameters
    ----------
    rows : sequence of (int, mapping)
        Number and further cells of each row.
    sided : bool
        Whether a column of the table says the sides of images.
    """
    for name in dict.fromkeys(name for _, cells in rows for name in cells):
        own = plain(name)
        if own in SIDES | VAGUE_SIDES | VIEWS | LESIONS | VAGUE_LESIONS:
            continue
        told = [(number, cell) for number, cells in rows if (cell := cells.get(name, "")) and not is_missing(cell)]
        if not told:
            continue
        if meant := _deciding(own, told):
            yield name, meant
            continue
        if _BOX_FORM.fullmatch(own):
            if other := [one for one in told if not _OUR_BOX.fullmatch(re.sub(r"[^a-z0-9_.]", "", one[1].casefold()))]:
                text = f"looks like the form of a box in {row_list(number for number, _ in other)}, but was not read"
                yield name, f"{text}: a box is row0,col0,row1,col1 in pixels, whatever this column says"
            continue
        meaning = _meaning(own)
        cells = [cell for _, cell in told]
        if own in _PERHAPS_LESIONS and len(set(cells)) > 1 and all(is_lesion_id(cell) for cell in cells):
            text = f"looks like numbers of lesions in {row_list(n for n, _ in told)}, but was not read"
            yield name, f"{text}; name the column lesion_id if it is"
            continue
        if all(_IMAGE_FILE.fullmatch(cell) for cell in cells):
            meaning = meaning or "an image or a lesion"
        elif meaning in ("an image", "a lesion"):
            meaning = meaning if any(re.search(r"[./\\]|\d\D+\d+\D+\d+\D+\d", cell) for cell in cells) else ""
        elif meaning == "a subtype" or all(_is_subtype(cell) for cell in cells):
            meaning = "a subtype"
        elif not sided and len(own) < 40 and all(is_side(cell) for cell in cells):
            text = f"looks like sides in {row_list(n for n, _ in told)}, but was not read as the sides of images"
            yield name, f"{text}; name the column laterality if it is"
            continue
        if meaning:
            text = f"looks like {meaning} in {row_list(n for n, _ in told)}, but was not read"
            yield name, f"{text}: only the columns image, mask, box and subtype are read, one image per row"


def _deciding(own: str, told: Sequence[tuple[int, str]]) -> str:
    """What is to be said of a column by which somebody meant to say which rows count; empty where it is none."""
    plainly = [(number, cell.strip().casefold()) for number, cell in told]
    if _LEAVES_OUT.fullmatch(own):
        reasons = "excl" in own  # whose cells may be why
        found = [
            (number, cell if cell in _YES else "so")
            for number, cell in plainly
            if cell in _YES or (reasons and cell not in _NO)
        ]
    elif _KEEPS.fullmatch(own):
        found = [(number, cell) for number, cell in plainly if cell in _NO | _POOR]
    elif _DIVIDES.fullmatch(own):
        found = [(number, cell) for number, cell in plainly if cell in _PARTS]
    else:
        found = []
    if not found:
        return ""
    words = list(dict.fromkeys(cell for _, cell in found))[:_PARTS_TOLD]
    rows = row_list(number for number, _ in found)
    say = "says" if len(found) == 1 else "say"
    return (
        f"is not used: {rows} {say} {' or '.join(words)}, and every row counts all the same. Delete the rows that are "
        "not meant; a division of the patients is given with --split"
    )


def receptors(rows: Sequence[Mapping[str, str]]) -> list[dict[str, bool]]:
    """What each row's columns say of ER, PR and HER2, as far as it can be read for certain."""
    names = dict.fromkeys(name for cells in rows for name in cells)
    of = {name: kind for name in names for kind, known in _RECEPTORS.items() if known.fullmatch(plain(name))}
    found: list[dict[str, bool]] = [{} for _ in rows]
    for name, kind in of.items():
        cells = [re.sub(r"\s*\(.*\)$", "", without_accents(row.get(name, "")).strip().casefold()) for row in rows]
        signs = "+" in cells and not (kind == "HER2" and "++" in cells)  # else a minus may stand for nothing known
        for own, cell in zip(found, cells, strict=True):
            status = _status(cell, signs=signs, her2=kind == "HER2")
            if status is not None:
                own.setdefault(kind, status)
    return found


def _status(cell: str, *, signs: bool, her2: bool) -> bool | None:
    """Whether a receptor is positive; None where that is not certain (HER2 2+, numbers without their scale)."""
    if _POSITIVE.fullmatch(cell) or (signs and cell == "+") or (her2 and cell in ("3+", "+++")):
        return True
    if _NEGATIVE.fullmatch(cell) or (signs and cell == "-") or (her2 and cell in ("0", "1+", "0/1+", "0-1+")):
        return False
    share = re.fullmatch(r"(\d+(?:[.,]\d+)?)\s*%", cell)
    number = float(share[1].replace(",", ".")) if share and not her2 else 0.5
    return None if 0 < number < 1 else number >= 1


def tells_exams(column: str) -> bool:
    """Whether a column tells a patient's exams apart, by a date, a number or a name."""
    return _EXAMS.fullmatch(plain(column)) is not None


def of_patients(column: str) -> bool:
    """Whether a column says one thing of a patient, in whatever row, such as the age or the centre."""
    return _OF_PATIENTS.fullmatch(plain(column)) is not None


def differing(values: Sequence[tuple[int, str]], *, shown: bool) -> tuple[int, str] | None:
    """The first row of a patient that says another than the one before, and what is to be said of it; else None.

    Parameters
    ----------
    values : sequence of (int, str)
        Rows of the patient with their cells, without those that say nothing.
    shown : bool
        Whether the cells may be shown: somebody asked for the column, or nobody is known by it.
    """
    for row, value in values[1:]:
        if not _same(value, values[0][1]):
            first, own = values[0]
            if shown:
                return row, f"is '{value}', row {first} of the same patient has '{own}'"
            return row, f"is another value than in row {first} of the same patient"
    return None


def _same(first: str, second: str) -> bool:
    """Whether two cells say the same, also as numbers: ``48`` and ``48.0``."""
    try:
        return first.strip() == second.strip() or float(first) == float(second)
    except ValueError:
        return False


def is_side(cell: str) -> bool:
    """Whether a cell of an unknown column is a side, not a file name that contains one."""
    return re.fullmatch(r"[^\d_./\\]{1,16}", cell) is not None and bool(read_side(cell))


def _meaning(own: str) -> str:
    words = [re.sub(r"\d+$", "", word) for word in own.split("_")]
    left = "_".join(word for word in words if word and word not in _BESIDE)
    whole = "_".join(word for word in words if word)
    return next((meaning for meaning, names in _MEANINGS.items() if {left, whole, own} & names), "")


def _is_subtype(cell: str) -> bool:
    try:
        return bool(parse_subtype(cell)) and not cell.replace(".", "").isdigit()
    except MolSubError:
        return False
