"""Clinical columns that tell the subtype: their names in six languages, and what they hold of the training patients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from MolSubCore.cohort.splits import TEST, Split, make_split
from MolSubCore.cohort.table import Case, Cohort
from MolSubCore.errors import CohortError
from MolSubCore.study.fusion import clinical_values
from MolSubCore.study.leakage import told_by_content, told_by_name
from MolSubCore.tasks import TASKS, PartialSubtype, Subtype

TELLING = """
ER|PR|HR|PgR|er_percent|er_pos|er status|erstatus|ERpos|pr_score|PR IHC|hr_pos|HER2|HER-2|her 2|her2/neu
HER2neu|her2_ihc|her2 score|ihc_her2|her2_status|HER2 FISH|FISH|CISH|IHC|c-erbB-2|cerbb2|C-erbB2|Ki-67
ki67_index|ki67_percent|Ki-67 (%)|MIB-1|hormone_receptor|receptor status|estrogen receptor|progesterone
subtype|molecular subtype|luminal|lumA|TN|TNBC|triple negative|St. Gallen|basal-like|PAM50|Oncotype DX
trastuzumab|Herceptin|tamoxifen|Östrogenrezeptor|Oestrogenrezeptor|Progesteronrezeptor|Hormonrezeptorstatus
Subtyp|Immunhistochemie|dreifach negativ|récepteurs hormonaux|récepteur aux œstrogènes|RE|RP|RH|RE (%)
sous-type|immunohistochimie|triple négatif|receptores hormonales|subtipo molecular|inmunohistoquímica
estado hormonal|recettori ormonali|sottotipo|immunoistochimica
雌激素受体|孕激素受体|ER状态|HER2状态|激素受体|分子分型|免疫组化|三阴性
Ki-67指数
"""
ORDINARY = """
age|menopausal status|menopause|premenopausal|breast density|density|ACR|percent density|size|tumour size
size_mm|BI-RADS|palpable|family history|parity|pregnancies|BMI|laterality|quadrant|ethnicity|grade|histology
t stage|n stage|TNM|margin|shape|calcification|prior biopsy|previous cancer|hormone replacement therapy|HRT
oral contraceptive|smoking|BRCA1|menarche|screen detected|manufacturer|centre|site|other2|mother2|lesion type
axillary nodes|lymph nodes|thickness|compression force|children|vascular invasion|interval cancer|referral
order|number|pre|post|operator|Alter|Menopausenstatus|Brustdichte|Größe|tastbar|Familienanamnese|âge|ménopause
densité|taille|antécédents familiaux|edad|menopausia|tamaño|età|familiarità|年龄|绝经|密度|大小|家族史
"""


def names(text: str) -> list[str]:
    return [name for line in text.strip().splitlines() for name in line.split("|")]


@pytest.mark.parametrize("name", names(TELLING))
def test_names_of_what_defines_the_subtype(name: str) -> None:
    assert "the subtype" in told_by_name(name)


@pytest.mark.parametrize("name", names(ORDINARY))
def test_ordinary_names(name: str) -> None:
    assert told_by_name(name) == ""


SUBTYPES = list(Subtype)
SHARES = np.array([102, 155, 54, 27, 52]) / 390


def drawn(rng: np.random.Generator, count: int) -> list[Subtype]:
    return [SUBTYPES[n] for n in rng.choice(5, count, p=SHARES)]


UNRELATED: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "two levels": lambda rng, n: rng.choice(["yes", "no"], n),
    "a rare level": lambda rng, n: rng.choice(["yes", "no"], n, p=[0.1, 0.9]),
    "four levels": lambda rng, n: rng.choice(list("abcd"), n),
    "twenty levels": lambda rng, n: rng.choice([f"level {k}" for k in range(20)], n),
    "numbers": lambda rng, n: rng.normal(60, 10, n).round(1).astype(str),
}


@pytest.mark.parametrize("count", [12, 40, 150])
def test_a_column_without_association_is_hardly_ever_refused(count: int) -> None:
    """The rule's false alarms: at most 2 of 500 columns, where one in a thousand is stated."""
    rng = np.random.default_rng(count)
    refused = [
        bool(told_by_content("x", draw(rng, count).tolist(), drawn(rng, count)))
        for draw in UNRELATED.values()
        for _ in range(100)
    ]
    assert sum(refused) <= 2


def test_a_true_but_modest_predictor_is_accepted() -> None:
    """An AUC of 0.76, which is what mammograms reach, in 312 patients: p is far below any threshold."""
    rng = np.random.default_rng(0)
    subtypes = drawn(rng, 312)
    shift = np.array([subtype is Subtype.TN for subtype in subtypes])
    assert told_by_content("age", rng.normal(60 + 10 * shift, 10).round(1).astype(str).tolist(), subtypes) == ""
    share = np.where(shift, 0.7, 0.2)
    assert told_by_content("palpable", (rng.uniform(size=312) < share).astype(str).tolist(), subtypes) == ""


HER2 = (Subtype.HER2_HR_POSITIVE, Subtype.HER2_HR_NEGATIVE)
HR = (Subtype.LUMINAL_A, Subtype.LUMINAL_B, Subtype.HER2_HR_POSITIVE)


def receptor_column(what: str, rng: np.random.Generator, subtype: Subtype) -> str:
    """A cell under a name that tells nothing."""
    if what == "score":  # 2+ where in situ hybridisation decides
        return str(
            rng.choice([2, 3], p=[0.15, 0.85]) if subtype in HER2 else rng.choice([0, 1, 2], p=[0.45, 0.4, 0.15])
        )
    if what == "share":
        return str(int(rng.uniform(10, 100))) if subtype in HR else str(int(rng.uniform(0, 2)))
    if what == "proliferation":
        return str(int(rng.uniform(2, 15) if subtype is Subtype.LUMINAL_A else rng.uniform(12, 80)))
    return str(SUBTYPES.index(subtype))


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("score", "HER2-positive from HER2-negative"),
        ("share", "hormone receptors positive from negative"),
        ("proliferation", "Luminal A from the rest"),
        ("code", "HER2-positive from HER2-negative"),
    ],
)
def test_what_defines_the_subtype_is_found_under_any_name(what: str, told: str) -> None:
    rng = np.random.default_rng(1)
    subtypes = drawn(rng, 150)
    found = told_by_content("x1", [receptor_column(what, rng, subtype) for subtype in subtypes], subtypes)
    assert found.startswith(f"it tells {told} nearly by itself in 150 training patients (AUC ")


def test_partial_subtypes_are_of_their_class() -> None:
    labels = [PartialSubtype.HER2, PartialSubtype.HR_POSITIVE_HER2_NEGATIVE] * 20
    assert "it tells HER2-positive" in told_by_content("x", ["a", "b"] * 20, labels)


def cohort_of(column: str, value: Callable[[int, str], str], count: int = 100) -> tuple[Cohort, Split]:
    """A cohort whose column depends on the number of the subtype and the partition of the patient."""
    cases = [Case(n + 2, f"P{n}", Path(f"{n}.png"), None, "0,0,9,9", SUBTYPES[n % 5], {}) for n in range(count)]
    split = make_split(Cohort(tuple(cases), Path("t.csv")), [TASKS["tn"]], folds=2)
    for n, case in enumerate(cases):
        where = split.partition_of(case.patient_id)
        case.extra.update({column: value(n, "test" if where == TEST else "training"), "age": str(40 + n // 5)})
    return Cohort(tuple(cases), Path("t.csv")), split


def test_only_training_patients_are_looked_at() -> None:
    """What the column says of test patients neither accuses nor excuses it."""

    def in_test_only(n: int, where: str) -> str:
        return "ab"[n % 5 == 4] if where == "test" else "ab"[n % 2]

    def in_training_only(n: int, where: str) -> str:
        return "ab"[n % 5 == 4] if where == "training" else "ab"[n % 2]

    cohort, split = cohort_of("x", in_test_only)
    assert len(clinical_values(cohort, split, ["x", "age"])) == 100
    with pytest.raises(CohortError, match=r"x: it tells .*TN.* nearly by itself in \d+ training patients \(AUC 1.00\)"):
        clinical_values(*cohort_of("x", in_training_only), ["x", "age"])


def test_what_is_meant_is_accepted_by_its_name() -> None:
    cohort, split = cohort_of("her2 ihc", lambda n, _: str(3 * (n % 5 in (2, 3))))
    with pytest.raises(CohortError, match=r"--i-know 'her2 ihc' where it is meant") as caught:
        clinical_values(cohort, split, ["age", "HER2 IHC"])
    assert "\n" not in str(caught.value)
    found = clinical_values(cohort, split, ["age", "her2 ihc"], i_know=["HER2 ihc"])
    assert {cells["her2 ihc"] for cells in found.values()} == {"0", "3"}
    with pytest.raises(CohortError, match=r"--i-know: names her2 ihc, which is none of the columns of --clinical"):
        clinical_values(cohort, split, ["age"], i_know=["her2 ihc"])


def test_none_is_a_category_and_no_number() -> None:
    """A word for nothing is a category among categories; among numbers there is a value to be filled in."""
    cohort, split = cohort_of("calcification", lambda n, _: "none" if n % 2 else "coarse")
    found = clinical_values(cohort, split, ["calcification"])
    assert {cells["calcification"] for cells in found.values()} == {"none", "coarse"}
    with pytest.raises(CohortError, match="calcification: the clinical value is missing"):
        clinical_values(cohort, split, ["calcification"], missing=["None"])
    cohort.cases[7].extra["age"] = "-"
    with pytest.raises(CohortError, match="row 9, age: the clinical value is missing"):
        clinical_values(cohort, split, ["age"])
