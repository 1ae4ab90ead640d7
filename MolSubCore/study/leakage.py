"""Clinical columns that tell the subtype: by their names, and by what they hold of the training patients.

The subtype is defined by ER, PR, HER2 and Ki-67, and the treatment is chosen by it. A model that is given such a column
predicts what is known already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from MolSubCore.cohort.columns import plain
from MolSubCore.evaluation.characteristics import kind_of
from MolSubCore.statistics.group_tests import compare_categorical
from MolSubCore.statistics.metrics import auc
from MolSubCore.tasks import PartialSubtype, Subtype, SubtypeLabel, subtype_order

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: A column tells two classes apart with an AUC from here on, at a p-value below the second.
_AUC, _P = 0.9, 0.0002

#: What may stand beside the short name of a receptor: ``er_pos``, ``RE %``, ``prscore``, ``状态`` (status).
_MEASURE = (
    r"(?:status|stat|stato|estado|statut|state|result\w*|resultat|ergebnis|befund|percent\w*|percentage|perc|pct|prozent"
    r"|pourcentage|porcentaje|proc|pos\w*|neg\w*|score|allred|irs|h_?score|expr\w*|level|index|intens\w*|value|wert|val"
    r"|valeur|valor|valore|cat\w*|group|class|binary|bin|yes|no|tumou?r|primary|biops\w*|core|surg\w*|path\w*|ihc|ish|fish"
    r"|[a-z]?\d+|状态|阳性|阴性|表达|百分比|评分|比例)"
)
#: Receptors by their short names: alone, or with a measure. `re`, `rp` and `rh` are French, Spanish and Italian.
_SHORT = re.compile(rf"(?:{_MEASURE}_)*(?P<found>er|pr|pgr|hr|re|rp|rh|or|hrec|her)(?:_?{_MEASURE})*(?:_{_MEASURE})*")
#: Receptors by short names that mean nothing else wherever they stand as a word.
_WORDS = re.compile(r"(?:^|_)(?P<found>er|pr|pgr|hr|tn|ish)(?=$|_)")

#: What the subtype is defined by, or is, in names without accents, words separated by ``_``.
_DEFINING = re.compile(
    r"(?P<found>(?<![a-z])her_?2|(?<![a-z])c_?erb|erb_?b|(?<![a-z])her_?neu|neu_?oncogene|人表皮生长因子|人类表皮"
    r"|(?<![a-z])ki_?67|(?<![a-z])mib_?1(?!\d)|(?<![a-z])ki(?=_|$)|增殖指数"
    r"|o?estrogen|ostrogen|progest|雌激素|孕激素"
    r"|re[cz]ept(?:or|eur)|recettor|受体"
    r"|hormon\w*?_?(?:status|stat\b|rec|rez|pos|neg|sens|dep|abh)|(?:stato|statut|estado)_hormon"
    r"|(?<![a-z])ihc|ihc(?![a-z])|im+un\w*hist|in+mun\w*hist|immunoistoch|(?<![a-z])ihk|免疫组化"
    r"|(?<![a-z])[fsc]ish(?![a-z])|in_?situ_?hybrid|原位杂交"
    r"|sub_?typ|sous_?typ|sub_?tipo|sotto_?tipo|分型|亚型"
    r"|lumin|(?<![a-z])lum_?[ab](?![a-z])|管腔"
    r"|trip(?:le|el|lo|l)_?neg|dreifach_?neg|tri_?neg|tnbc|三阴"
    r"|gallen|basal_?like|basaloid|claudin|intrinsic|pam_?50|mole[ck]ular|moleculaire|molecolar|分子"
    r"|oncotype|recurrence_?score|mamma_?print|endo_?predict|prosigna|blueprint)"
)
#: Treatments that are chosen by the subtype.
_TREATMENT = re.compile(
    r"(?P<found>herceptin|trastuz|pertuz|lapatinib|neratinib|t_?dm_?1|kadcyla|tamoxif|letroz|anastroz|exemest|fulvestr"
    r"|aromatase|endocrine_?t|endokrin|(?<![a-z])cdk_?4|palbocicl|ribocicl|abemacicl|antihormon|anti_?her|曲妥珠|赫赛汀|他莫昔芬"
    r"|来曲唑|内分泌治疗)"
)


def told_by_name(column: str) -> str:
    """Why a column's name says that it tells the subtype; empty where it does not.

    Names are read in English, German, French, Spanish, Italian and Chinese.
    """
    name = plain(column)
    found = _DEFINING.search(name) or _SHORT.fullmatch(name) or _WORDS.search(name)
    if found:
        return f"the subtype is defined by it (its name has '{found['found'].replace('_', ' ')}')"
    if found := _TREATMENT.search(name):
        return f"it is chosen by the subtype (its name has '{found['found'].replace('_', ' ')}')"
    return ""


def told_by_content(column: str, cells: Sequence[str], subtypes: Sequence[SubtypeLabel]) -> str:
    """Why a column nearly tells two classes apart; empty where it does not.

    Classes are the subtypes, each against the rest and in pairs, and the status of HER2, of hormone receptors, and
    Luminal or not. The column tells them apart where its AUC alone is 0.9 or more and p below 0.0002: of numbers in
    either direction, by Mann-Whitney; of categories with the share of the class among the other patients of the
    category, by the test of Table 1. Without association at most about one column in a thousand is found so.

    Parameters
    ----------
    column : str
        Name.
    cells : sequence of str, length N
        Of the training patients, none missing.
    subtypes : sequence of Subtype or PartialSubtype, length N
    """
    numbers = kind_of(cells, column) == "continuous"
    for first, second, positive, among in _classes(subtypes):
        known = np.array(cells)[among]
        own = positive[among]
        if own.all() or not own.any():
            continue
        if numbers:
            area, p = _of_numbers(known.astype(np.float64), own)
        else:
            area, p = _of_categories(known, own)
        if area >= _AUC and p < _P:
            return f"it tells {first} from {second} nearly by itself in {len(own)} training patients (AUC {area:.2f})"
    return ""


def _classes(subtypes: Sequence[SubtypeLabel]) -> Iterator[tuple[str, str, Mask, Mask]]:
    """Two classes, who is of the first, and who is of either."""
    label, everyone = np.array([subtype.value for subtype in subtypes]), np.ones(len(subtypes), bool)
    her2: set[SubtypeLabel] = {Subtype.HER2_HR_POSITIVE, Subtype.HER2_HR_NEGATIVE, PartialSubtype.HER2}
    luminal: set[SubtypeLabel] = {Subtype.LUMINAL_A, Subtype.LUMINAL_B, PartialSubtype.HR_POSITIVE_HER2_NEGATIVE}
    hormone = np.array([subtype is not PartialSubtype.HER2 for subtype in subtypes])
    groups = (
        ("HER2-positive", "HER2-negative", her2, everyone),
        ("hormone receptors positive", "negative", {*luminal, Subtype.HER2_HR_POSITIVE}, hormone),
        ("Luminal", "the rest", luminal, everyone),
    )
    for first, second, members, among in groups:
        yield first, second, np.isin(label, [member.value for member in members]), among
    present = [subtype.value for subtype in subtype_order(subtypes) if subtype in subtypes]
    for name in present:
        yield name, "the rest", label == name, everyone
    for name, other in combinations(present, 2):
        yield name, other, label == name, np.isin(label, [name, other])


def _of_numbers(values: Floats, positive: Mask) -> tuple[float, float]:
    """AUC in the better direction, and p."""
    found = stats.mannwhitneyu(values[positive], values[~positive])
    area = float(found.statistic) / int(positive.sum()) / int((~positive).sum())
    return max(area, 1 - area), float(found.pvalue)


def _of_categories(cells: NDArray[np.str_], positive: Mask) -> tuple[float, float]:
    """AUC of the share of the class among the other patients of the same category, and p where the AUC is high."""
    _, level = np.unique(cells, return_inverse=True)
    sizes, hits = np.bincount(level), np.bincount(level, positive)
    others = np.maximum(sizes[level] - 1, 1)
    of_all = (positive.sum() - positive) / (len(cells) - 1)  # where nobody else is of the category
    share = np.where(sizes[level] > 1, (hits[level] - positive) / others, of_all)
    area = float(auc(share, positive, np.ones((1, len(cells))))[0])
    if area < _AUC:
        return area, 1.0
    p = compare_categorical(np.stack([hits, sizes - hits], axis=1), ("yes", "no")).p
    return area, 1.0 if p is None else p


def telling_columns(columns: Mapping[str, Sequence[str]], subtypes: Sequence[SubtypeLabel]) -> dict[str, str]:
    """Columns that tell the subtype, by name or content, and why.

    Parameters
    ----------
    columns : mapping of str to sequence of str, length N
        Of the training patients only, none missing.
    subtypes : sequence of Subtype or PartialSubtype, length N
    """
    found = {name: told_by_name(name) or told_by_content(name, cells, subtypes) for name, cells in columns.items()}
    return {name: why for name, why in found.items() if why}
