"""Sides and views as people, files' names and headers write them. Standard library only."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Side = Literal["L", "R"]

#: Views in ACR's short form.
VIEWS = frozenset(
    ("CC", "MLO", "ML", "LM", "LMO", "SIO", "ISO", "FB", "XCC", "XCCL", "XCCM", "SPECIMEN", "AT", "CV")
)  # fmt: skip
_NAME_VIEWS = ("CC", "MLO", "ML", "LM", "LMO", "XCC", "XCCL", "XCCM")
# ACR's letters around a view, as in View Position: magnified and spot views before it, the others behind it
_BEFORE = {"M": "magnification", "S": "spot compression"}
_BEHIND = {
    "MAG": "magnification", "SPOT": "spot compression", "ID": "implant displaced",
    "RL": "rolled", "RM": "rolled", "RI": "rolled", "RS": "rolled",
}  # fmt: skip
LATERAL = "lateral (ML or LM is not told)"
#: Views, kinds and sides as people write them in View Position and in tables: capitals without accents, of phrases
#: without what parts their words.
_VIEW_NAMES = {
    "CC": "CC CRANIOCAUDAL CRANIOCAUDALE CRANEOCAUDAL KRANIOKAUDAL KRANIOCAUDAL CRANIOCAUDALPROJECTION FACE",
    "MLO": "MLO OML MEDIOLATERALOBLIQUE MEDIOLATERALOBLIQUEPROJECTION OBLIQUEMEDIOLATERAL OBLIQUEMEDIOLATERALE OBLIQUE "
    "OBL OBLICUA OBLICUO OBLIQUA OBLIQUO OBLICUAMEDIOLATERAL MEDIOLATERALOBLICUA MEDIOLATERALSCHRAG "
    "MEDIOLATERALSCHRAEG SCHRAG SCHRAEG SCHRAGAUFNAHME OBLIQUEEXTERNE OBLIQUAMEDIOLATERALE MEDIOLATERALOBLIQUA",
    "ML": "ML MEDIOLATERAL MEDIOLATERALE MEDIOLATERALPROJECTION",
    "LM": "LM LATEROMEDIAL LATEROMEDIALE LATEROMEDIALPROJECTION",
    "LMO": "LMO LATEROMEDIALOBLIQUE",
    "XCC": "XCC EXAGGERATEDCC EXAGGERATEDCRANIOCAUDAL",
    "XCCL": "XCCL CLEOPATRA",
    "XCCM": "XCCM",
    "SIO": "SIO",
    "ISO": "ISO",
    "FB": "FB CAUDOCRANIAL FROMBELOW",
    "AT": "AT AXILLARYTAIL",
    "CV": "CV CLEAVAGE",
    "SPECIMEN": "SPECIMEN SPEC",
}
_KIND_NAMES = {
    LATERAL: "LAT LLAT RLAT LATERAL TRUELATERAL SEITLICH PROFIL PROFILSTRICT PERFIL STRENGSEITLICH",
    "magnification": "MAG MAGN MAGNIFIED MAGNIFICATION AGRANDI AGRANDISSEMENT VERGROSSERUNG VERGROESSERUNG VERGROSSERT "
    "AMPLIADA AMPLIACION MAGNIFICADA MAGNIFICACION INGRANDIMENTO LUPE LUPENAUFNAHME",
    "spot compression": "SPOT SPOTCOMPRESSION SPOTCOMP CONE CONED CONEDOWN FOCAL FOCALIZADA LOCALISE LOCALISEE ZIEL "
    "ZIELAUFNAHME",
    "rolled": "ROLL ROLLED ROLLEDLATERAL ROLLEDMEDIAL ROLLEDSUPERIOR ROLLEDINFERIOR RL RM ROULE ROTADA",
    "implant displaced": "ID IMPLANTDISPLACED EKLUND PUSHBACK PUSHEDBACK",
    "tangential": "TAN TANG TANGENTIAL TANGENTIEL TANGENTIELLE TANGENCIAL",
    "anterior compression": "AC ANTERIORCOMPRESSION",
    "inframammary fold": "IMF INFRAMAMMARYFOLD",
    "axillary tissue": "AXILLA AXILLARY AXILLARYTISSUE",
    "biopsy": "BIOPSY BIOPSIE BIOPSIA BX STEREO STEREOTACTIC STEREOTAXIE PRONE PREFIRE POSTFIRE WIRE NEEDLE LOC "
    "LOCALIZATION LOCALISATION SCOUT POSTCLIP CLIPPLACEMENT POSTPROCEDURE",
    "tomosynthesis": "TOMO TOMOSYNTHESIS DBT",
}
_SIDE_NAMES = {
    "L": "L LT LEFT LI LINKS LINKE G GAUCHE I IZQ IZQUIERDA IZQUIERDO SIN SINISTRA SINISTRO ESQ ESQUERDA 左 左侧 左乳",
    "R": "R RT RIGHT RE RECHTS RECHTE D DROIT DROITE DER DERECHA DERECHO DX DESTRA DESTRO DIR DIREITA 右 右侧 右乳",
}
#: Words beside these that say nothing: nipple in profile, compression, view, magnified how much.
_EMPTY = frozenset(
    ("NP", "COMPRESSION", "COMP", "VIEW", "VUE", "PROJECTION", "PROJEKTION", "PROYECCION", "INCIDENCE", "INCIDENCIA",
     "BREAST")
)  # fmt: skip
_VIEW_OF = {word: view for view, words in _VIEW_NAMES.items() for word in words.split()}
_KIND_OF = {word: kind for kind, words in _KIND_NAMES.items() for word in words.split()}
_SIDE_OF: dict[str, Side] = {word: side for side, words in _SIDE_NAMES.items() for word in words.split()}  # type: ignore[misc]
#: Letters of a side behind a view: ``CCR``, ``MLOG``, ``CCD``, ``MLOI``.
_SIDE_BEHIND: dict[str, Side] = {"L": "L", "G": "L", "I": "L", "R": "R", "D": "R"}
# fmt: off
_SIDE_WORDS: dict[Side, frozenset[str]] = {
    "L": frozenset((
        "left", "links", "linke", "linker", "linkes", "gauche", "izquierda", "izquierdo", "sinistra", "sinistro",
        "sinister", "sinistrum", "esquerda",
        "esquerdo", "vänster", "venstre", "lewa", "lewy", "levá", "levý", "bal", "sol",
        "левая",
        "левый", "слева", "αριστερά", "αριστερός", "vasen", "stânga", "왼쪽", "좌측",
    )),
    "R": frozenset((
        "right", "rechts", "rechte", "rechter", "rechtes", "droite", "droit", "derecha", "derecho", "destra", "destro",
        "dexter", "dextra", "dextrum", "direita", "direito", "höger", "højre", "høyre", "prawa", "prawy", "pravá",
        "pravý", "jobb", "sağ",
        "правая", "правый", "справа", "δεξιά", "δεξιός", "oikea", "dreapta", "오른쪽", "우측",
    )),
}
# fmt: on
#: Short forms, which are a side only where nothing but the breast stands beside them. OS and OD are Latin for the eyes,
#: and are written for breasts all the same; S is sinistra, E esquerda.
_SHORT: dict[str, Side] = {
    **dict.fromkeys(("l", "lt", "lft", "li", "lks", "g", "izq", "izda", "izdo", "esq", "sin", "sn", "sx", "лев"), "L"),
    **dict.fromkeys(("r", "rt", "rgt", "re", "rts", "d", "der", "dcha", "dcho", "dir", "dex", "dx", "прав"), "R"),
    **dict.fromkeys(("e", "s", "os", "ms"), "L"),
    **dict.fromkeys(("od", "md"), "R"),
}
_BREAST = frozenset(
    (
        "breast",
        "breasts",
        "brust",
        "mamma",
        "mama",
        "sein",
        "seno",
        "mammella",
        "mammary",
        "m",
        "mammo",
        "side",
        "seite",
    )
)
_SIGNS: dict[Side, str] = {"L": "左", "R": "右"}
_BOTH = frozenset(("both", "bilateral", "beide", "beidseits", "bilaterale", "bilateraal", "ambas", "ambos", "entrambe"))
_NOT = frozenset(("not", "nicht", "keine", "non", "no", "pas", "was", "war"))


def read_side(text: str) -> Side | None:
    """The side that a text means: a letter, a word of some languages, ``RCC``; None where it is open, as in ``L?``."""
    plain = unicodedata.normalize("NFKC", text).casefold().strip()
    words = re.findall(r"[^\W\d_]+", unicodedata.normalize("NFC", plain))
    if "?" in plain or (_BOTH | _NOT) & set(words) or re.search("[双雙両兩]", plain):
        return None
    others = [word for word in words if word not in _BREAST]
    if len(others) == 1 and others[0] in _SHORT:
        return _SHORT[others[0]]
    found = {side for side, known in _SIDE_WORDS.items() if known & set(words) or _SIGNS[side] in plain}
    if not found:
        return read_view_text(plain).side or facts_from_name(plain)[0]
    return found.pop() if len(found) == 1 else None


def contradiction(told: str, own: str | None) -> str:
    """What is said of the side or the view of an image against what the image says; empty where that agrees."""
    return f"is {told}, the image says {own} (by its header or file name)" if own and told != own else ""


#: In names of files and folders: sides as words, views, and both as one word (``RCC``, ``LeftBreast``, ``MLO_R``).
_NAME_SIDES: dict[str, Side] = {
    **{word.upper(): side for side, words in _SIDE_WORDS.items() for word in words if len(word) > 3},
    "L": "L",
    "R": "R",
}
_SIDE_PART = "|".join(sorted((word for word in _NAME_SIDES if len(word) > 1), key=len, reverse=True))
_VIEW_PART = "|".join(sorted(_NAME_VIEWS, key=len, reverse=True))
_PLACE = re.compile(
    rf"(?:(?P<side>{_SIDE_PART}|[LR])(?:BREAST|BRUST|MAMMA|MAMA)?)?(?P<view>{_VIEW_PART})?"
    rf"|(?P<core>CC|MLO)(?P<letter>[LR])|(?P<before>{_VIEW_PART})(?P<behind>{_SIDE_PART})"
)


def _place_of(word: str) -> tuple[Side | None, str | None]:
    """Side and view that a word of a name, in capitals, is nothing but; neither where it is another word."""
    found = _PLACE.fullmatch(word) if word else None
    if found is None:
        return None, None
    side = found["side"] or found["letter"] or found["behind"]
    return _NAME_SIDES.get(side or ""), found["view"] or found["core"] or found["before"]


def is_place(word: str) -> bool:
    """Whether a word of a name says a side or a view, and nothing else."""
    return word.casefold() in ("sx", "dx") or any(_place_of(unicodedata.normalize("NFC", word).upper()))


def facts_from_name(name: str) -> tuple[Side | None, str | None]:
    """Side and view from the words of a file name, such as ``P126_L_DM_CC.jpg`` or ``R-MLO.png``.

    A name that gives two different sides (or views) gives none.
    """
    places = [_place_of(word) for word in re.split(r"[\W_]+", unicodedata.normalize("NFC", name).upper())]
    sides: set[Side] = {side for side, _ in places if side}
    views = {view for _, view in places if view}
    return (sides.pop() if len(sides) == 1 else None, views.pop() if len(views) == 1 else None)


def told_in(description: str) -> tuple[Side | None, str | None]:
    """Side and view that a free description names plainly: ``L CC``, ``RMLO``, ``linke Brust``; none where it is open.

    Single letters are a side only beside a view, and only ``L`` and ``R``: they mean other things, too.
    """
    plain = unicodedata.normalize("NFKC", description)
    words = {word for word in re.findall(r"[^\W\d_]+", plain.casefold()) if len(word) > 3}
    sides = {side for side, known in _SIDE_WORDS.items() if known & words}
    side, view = facts_from_name(plain)
    if side and (view or {"left", "right"} & words):
        sides.add(side)
    both = bool(_BOTH & words) or "?" in plain
    return (sides.pop() if len(sides) == 1 and not both else None), view


def facts_from_path(path: str | os.PathLike[str]) -> tuple[Side | None, str | None]:
    """Side and view from the name of a file, else from its two nearest folders, such as ``P1/Left/MLO/1.png``.

    A folder counts if it says nothing else, and as a letter only if the other letter's folder lies beside it: a folder
    called R may be anything. Where name and folders contradict each other, there is none: see `name_doubts`.
    """
    found = [*_told_by(path)]
    sides = {side for side, _ in found if side}
    view = next((view for _, view in found if view), None)
    return sides.pop() if len(sides) == 1 else None, view


def _told_by(path: str | os.PathLike[str]) -> Iterator[tuple[Side | None, str | None]]:
    """Sides and views by a file's name and by its folders, the nearest first."""
    place, name = os.path.split(os.path.abspath(path))  # noqa: PTH100
    yield facts_from_name(name.rpartition(".")[0] or name)
    for _ in range(2):
        place, name = os.path.split(place)
        words = [word for word in re.split(r"[\W_]+", unicodedata.normalize("NFC", name).upper()) if word]
        if not words or not all(any(_place_of(word)) or word.casefold() in _BREAST for word in words):
            continue
        side, view = facts_from_name(name)
        if name.upper() in ("L", "R"):
            other = {"L": "R", "R": "L", "l": "r", "r": "l"}[name]
            side = side if os.path.isdir(os.path.join(place, other)) else None  # noqa: PTH112, PTH118
        yield side, view if view in ("CC", "MLO") else None


def name_doubts(path: str | os.PathLike[str], side: str | None, view: str | None) -> list[str]:
    """In what the names of a file and its folders contradict each other, or what its header says.

    Parameters
    ----------
    side, view : str or None
        By the header; None where it does not say it.
    """
    _, *folders = _told_by(path)
    own, own_view = _plainly(path)
    sides = [one for one in (own, *(each for each, _ in folders)) if one]
    doubts = []
    if len(set(sides)) > 1:
        doubts.append("The names of the file and its folders contradict each other about the side (L and R).")
    elif sides and side and sides[0] != side:
        doubts.append(f"The file's name says the side {sides[0]}, its header says {side}: {side} was used.")
    if own_view and view and _kin(own_view) != _kin(view) and (own or own_view in ("CC", "MLO")):
        doubts.append(f"The file's name says the view {own_view}, its header says {view}: {view} was used.")
    return doubts


def _plainly(path: str | os.PathLike[str]) -> tuple[Side | None, str | None]:
    """Side and view by a file's name, a letter alone left out: it may be anything."""
    side, view = next(_told_by(path))
    words = re.split(r"[\W_]+", os.path.basename(path).upper())  # noqa: PTH119
    return side if view or any(len(word) > 1 and _place_of(word)[0] for word in words) else None, view


def mask_doubts(path: str | os.PathLike[str], side: str | None, view: str | None) -> list[str]:
    """In what the name of a mask's file contradicts the side and the view of its image, where both say it."""
    own, own_view = _plainly(path)
    found = []
    if own and side and own != side:
        found.append(f"the side {own}, its image {side}")
    if own_view and view and _kin(own_view) != _kin(view) and (own or own_view in ("CC", "MLO")):
        found.append(f"the view {own_view}, its image {view}")
    return [f"The mask's name says {' and '.join(found)}: check that it is the mask of this image."] if found else []


def _kin(view: str) -> str:
    """Names are less exact than headers: CC for XCCL."""
    return "CC" if view.startswith("XCC") else view


@dataclass(frozen=True)
class ViewText:
    """What a View Position, or a cell of a table, says.

    Attributes
    ----------
    side : {'L', 'R'} or None
    view : str or None
        In short form.
    kinds : tuple of str
        What makes it another kind than the standard views: ``magnification``, ``implant displaced``, ...
    unknown : bool
        Whether it has a word that is none of these, or several views.
    """

    side: Side | None = None
    view: str | None = None
    kinds: tuple[str, ...] = ()
    unknown: bool = False


def without_accents(text: str) -> str:
    """A text in its compatible letters (NFKD) without their accents, as words are compared."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def read_view_text(position: str) -> ViewText:
    """The one reader of views: ``MLO``, ``RCC``, ``L CC MAG``, ``CCID``, ``cranio-caudal``, ``MLO gauche``, ..."""
    plain = re.sub(r"\b90\b", " LAT ", without_accents(position).upper())  # degrees; ß is SS in capitals
    plain = re.sub(r"\bM ?(?=1[.,][2-9])", " MAG ", plain)
    words = re.findall(r"[^\W\d_]+", plain)
    sides: list[Side] = []
    views: list[str] = []
    kinds: list[str] = []
    unknown = False
    at = 0
    while at < len(words):
        for count in range(min(4, len(words) - at), 0, -1):  # the longest phrase first
            word = "".join(words[at : at + count])
            if word in _VIEW_OF:
                views.append(_VIEW_OF[word])
            elif word in _KIND_OF:
                kinds.append(_KIND_OF[word])
            elif word in _SIDE_OF:
                sides.append(_SIDE_OF[word])
            elif word in _EMPTY:
                pass
            elif count == 1 and (found := _lettered(word)) is not None:
                side, view, own = found
                sides += [side] if side else []
                views.append(view)
                kinds += own
            else:
                continue
            at += count
            break
        else:
            unknown, at = True, at + 1
    if len(set(views)) > 1:
        return ViewText(kinds=tuple(dict.fromkeys(kinds)), unknown=True)
    first = views[0] if views else None
    kinds = [kind for kind in dict.fromkeys(kinds) if kind != LATERAL or first is None]
    return ViewText(sides[0] if len(set(sides)) == 1 else None, first, tuple(kinds), unknown)


def _lettered(word: str) -> tuple[Side | None, str, list[str]] | None:
    """A view with ACR's letters around it, or a side's: ``RMCC`` is magnified, ``CCID`` displaced, ``MLOG`` left."""
    for side, candidate in ((None, word), (word[:1], word[1:]) if word[:1] in ("L", "R") else (None, "")):
        if candidate in VIEWS:
            return side, candidate, []  # type: ignore[return-value]
        behind = next((letters for letters in _BEHIND if candidate.endswith(letters)), "")
        core = candidate.removesuffix(behind)
        for count in range(3):
            before = core[:count]
            if core[count:] in VIEWS and all(letter in _BEFORE for letter in before):
                kinds = [*(_BEFORE[letter] for letter in before), *([_BEHIND[behind]] if behind else [])]
                return side, core[count:], kinds  # type: ignore[return-value]
    for letter, rest in ((word[-1:], word[:-1]), (word[:1], word[1:])):
        if letter in _SIDE_BEHIND and rest in ("CC", "MLO", "ML", "OML"):
            return _SIDE_BEHIND[letter], _VIEW_OF[rest], []
    return None
