"""What segments of a mask call themselves: a lesion, or anatomy and objects that are none."""

from __future__ import annotations

import re
from collections.abc import Iterable

from MolSubCore.imaging.view_text import without_accents

#: Words that are no lesion wherever they stand in a name, in capitals without accents (as in `view_text`): English,
#: German, French, Spanish, Italian, Portuguese.
_NO_LESION = """
    PECTORAL PECTORALIS PECTORALE PEITORAL PETTORALE PECTORALMUSKEL PEKTORALIS PEKTORALMUSKEL BRUSTMUSKEL
    MUSCLE MUSCLES MUSKEL MUSKULATUR MUSCULO MUSCOLO
    NIPPLE NIPPLES MAMILLE MAMILLA BRUSTWARZE MAMELON PEZON CAPEZZOLO MAMILO
    AREOLA AREOLAR AREOLE
    SKIN SKINLINE PEAU PIEL PELLE CUTE CUTIS PELE
    BACKGROUND HINTERGRUND FOND FONDO SFONDO FUNDO ARRIEREPLAN
    FIBROGLANDULAR FIBROGLANDULAIRE FIBROGHIANDOLARE PARENCHYMA PARENCHYM PARENCHYME PARENQUIMA PARENCHIMA
    DRUSENGEWEBE DRUSENKORPER DRUESENGEWEBE DRUESENKOERPER
    IMPLANT IMPLANTS IMPLANTAT IMPLANTATE IMPLANTE IMPLANTES PROTHESE PROTESIS PROTESI PROTESE PROSTHESIS
    LYMPH LYMPHNODE LYMPHNODES LYMPHKNOTEN GANGLION GANGLIONS GANGLIO GANGLIOS LINFONODO LINFONODI LINFONODOS
    CLIP CLIPS MARKER MARKERS MARKERCLIP MARQUEUR MARCADOR MARCATORE
    PACEMAKER HERZSCHRITTMACHER PADDLE ARTEFACT ARTEFACTS ARTIFACT ARTIFACTS ARTEFAKT
"""
#: Words that are no lesion where a name has nothing but them, sides and the words after: else they are a place.
_ALONE = """
    BREAST BREASTS BRUST MAMMA MAMA SEIN SEINS SENO MAMMELLA
    GLAND GLANDULAR DRUSE FAT FATTY ADIPOSE FETT FETTGEWEBE GRAISSE GRASA GRASSO GORDURA
    AIR LUFT AIRE ARIA AXILLA AXILLARY AXILA AXELLE VESSEL VESSELS ARTERY VEIN RIB RIBS CHEST THORAX HEART LUNG BODY
    HAUT WIRE NEEDLE NORMAL HEALTHY GESUND
"""
_FILLING = """
    L R LT RT LEFT RIGHT LINKS LINKE LINKER RECHTS RECHTE RECHTER GAUCHE DROIT DROITE IZQUIERDA IZQUIERDO DERECHA
    DERECHO SINISTRA SINISTRO DESTRA DESTRO ESQUERDA ESQUERDO DIREITA DIREITO
    MASK MASKE MASQUE MASCARA MASCHERA REGION AREA CONTOUR OUTLINE LINE BORDER SURFACE WALL WHOLE ENTIRE TOTAL GANZE
    TISSUE GEWEBE TISSU TEJIDO TESSUTO TECIDO STRUCTURE ENTITY BODYSTRUCTURE OUTSIDE THE OF DE LA LE DER DIE DAS IL
"""
#: What makes of any name a lesion's; parts of words in all of these languages.
_LESION = re.compile(
    r"LESI|LESAO|LASION|LAESION|\bMASS|\bMASA|TUMO|TUMEUR|CANC[EI]R|CANCRO|KREBS|CARCIN|KARZIN|MALIGN|BENIGN|BENIN|GUTARTIG|"
    r"BOSARTIG|NEOPLAS|CALC|KALK|KALZ|FINDING|BEFUND|HALLAZGO|REPERTO|ACHADO|CONSTATATION|NODUL|\bKNOTEN|HERD\b|CYST|ZYST|"
    r"KYST|QUIST|\bCIST|ADENO|PAPILLO|LIPOM|HAMARTOM|HAMATOM|HEMATOM|ABS[CZ]ESS|DISTOR|ASYMM|ASIMM|ASIME|\bDCIS|\bIDC\b|"
    r"\bILC\b|INVASI|SUSP[EI]|SOSPETT|VERDACHT|VERDACHTIG|METAST|THICKEN|VERDICK|RETRACT|NECROS|NEKROS|PAGET|"
    r"ALTERED|ABNORM|ANOMAL|PATHOLOG|PATOLOG|OPACIT|TARGET|BI ?RADS|\bNME\b|PHYLLO|SCAR\b|NARBE|SEROM|RUPTUR|MELANOM"
)
#: The name itself denies it.
_DENIED = re.compile(
    r"\b(?:NO|NON|NOT|WITHOUT|OHNE|KEIN|KEINE|SANS|SIN|SENZA|SEM) (?:LESION\w*|LASION\w*|TUMO\w+|CANCER|FINDING\w*)"
)
#: Before what names a place: a lesion lies near it.
_NEAR = """
    NEAR NEARBY AT BEHIND BESIDE BESIDES NEXT UNDER BELOW ABOVE ADJACENT CLOSE ON WITHIN INSIDE TOWARDS FROM IN
    NEBEN BEI HINTER UNTER NAHE AN AM IM UBER PRES SOUS DERRIERE DANS SUR CERCA JUNTO DETRAS BAJO EN VICINO SOTTO DIETRO
    NEL PERTO ATRAS SOB EM RETRO SUB PERI PRE
"""
_NO_LESION_SET, _ALONE_SET, _FILLING_SET, _NEAR_SET = (
    frozenset(words.split()) for words in (_NO_LESION, _ALONE, _FILLING, _NEAR)
)
#: Longer texts are no names, but say something about the segment.
_NAME = 6
#: Codes of types (SNOMED CT, with its older form SRT, and DICOM) that are no lesion, for meanings in other languages.
_CODES = {
    "76752008": "breast",
    "T-04000": "breast",
    "24142002": "nipple",
    "39937001": "skin",
    "T-01000": "skin",
    "72005009": "skin of areola",
    "59441001": "lymph node",
    "68171009": "lymph node",
    "71616004": "muscle",
    "127954009": "muscle",
    "60005003": "pectoralis major muscle",
    "18686000": "pectoralis minor muscle",
    "55603005": "fat",
    "77720000": "clip",
    "125040": "background",
    "111045": "pectoral muscle outline",
}
_LESION_CODES = {"4147007", "52988006", "108369006", "49755003"}


def judge(names: Iterable[str], types: Iterable[str] = (), codes: Iterable[str] = ()) -> tuple[str, str]:
    """What a segment is no lesion by, in words of our own list; and where that is contradicted, by what it is one.

    Parameters
    ----------
    names : iterable of str
        How the segment is called; the first that says something counts.
    types, codes : iterable of str
        Meanings and codes of its type, then of its category: that a muscle is of the category of abnormal structures,
        which programs choose for everything, makes it no lesion.

    Returns
    -------
    word, against : str
        The words in the name that are no lesion's, empty where it is one or that is open; where its type is a
        lesion's all the same, those words and ``'type'``: it stays a lesion.
    """
    coded = [*types]
    told = " ".join(_CODES.get(code, "lesion" if code in _LESION_CODES else "") for code in codes)
    typed_lesion = any(_reading(text)[0] for text in (*coded, told))
    for name in names:
        lesion, word = _reading(name)
        if lesion:
            return "", ""
        if word:
            return word, "type" if typed_lesion else ""
    if coded and (word := _reading(coded[0])[1]) and not _ALONE_SET & set(word.upper().split()):
        return word, ""
    if typed_lesion:
        return "", ""
    return next(((word, "") for text in (*coded, told) if (word := _reading(text)[1])), ("", ""))


def _reading(name: str) -> tuple[bool, str]:
    """Whether a name says a lesion; else the known words by which it is none, empty where it is open."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name[:500])
    words = re.findall(r"[^\W\d_]+", without_accents(spaced).upper())
    joined = " ".join(words)
    denied = _DENIED.search(joined)
    rest = _DENIED.sub(" ", joined)
    if _LESION.search(rest):
        return True, ""
    known = [word for word in words if word in _NO_LESION_SET]
    if known and len(words) <= _NAME:
        before = words[: words.index(known[0])]
        if not _NEAR_SET & set(before):
            return False, _shown(word for word in words if word in _NO_LESION_SET)
    elif not known and words and all(word in _ALONE_SET or word in _FILLING_SET for word in words):
        return False, _shown(word for word in words if word in _ALONE_SET)
    return False, "no lesion" if denied else ""


def _shown(words: Iterable[str]) -> str:
    return " ".join(dict.fromkeys(words)).lower()


def left_out(words: Iterable[str]) -> str:
    """The sentence about segments that are no lesions by their names; of those only words of our own list are told."""
    known = [f"'{word}'" for word in dict.fromkeys(words)]
    if len(known) == 1:
        return f"The segment {known[0]} was left out: according to its name it is not a lesion."
    return f"The segments {', '.join(known)} were left out: according to their names they are no lesions."


def kept_against(words: Iterable[str]) -> str:
    """The sentence about segments that are called something else than their types, which are lesions'."""
    known = ", ".join(f"'{word}'" for word in dict.fromkeys(words))
    return f"A segment is called {known}, but its type is that of a lesion: it was taken as one. Check its outline."
