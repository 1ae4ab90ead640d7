"""OPTIMAM (OMI-DB): marks, screening records and receptors."""

from __future__ import annotations

import copy
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from import_trees import cases_of, header, left_out, notes, write_image

from MolSubCore.cohort.importers import base as receptors
from MolSubCore.cohort.importers import optimam
from MolSubCore.cohort.importers import optimam as optimam_image
from MolSubCore.cohort.importers import optimam as optimam_nbss
from MolSubCore.cohort.importers.base import DEAD_LINK, NO_FILE, NO_MAMMOGRAM, NO_SIDE, ImportOptions, from_receptors
from MolSubCore.cohort.importers.importing import import_cohort
from MolSubCore.tasks import PartialSubtype, Subtype

CLIENT, STUDY = "demd9001", "1.2.826.0.1.3680043.9.3218.1.1.90000001.1000.1500000000000.1.0"
STEM = "1.2.826.0.1.3680043.9.3218.1.1.90000001.1000.1500000000000."


@pytest.fixture
def optimam_folder(shared_data: Path, tmp_path: Path) -> Path:
    """The artificial tree in the true format, with files where its images would be."""
    folder = tmp_path / "omidb"
    shutil.copytree(shared_data / "optimam_like" / "data", folder / "data", copy_function=shutil.copyfile)
    for number in ("3.0", "4.0"):
        image = folder / "images" / CLIENT / STUDY / f"{STEM}{number}.dcm"
        write_image(image, of=header("x", "R", "CC"))
    for path in (folder / "data").rglob("*"):
        path.chmod(0o755)
    return folder


def change(path: Path, edit: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


@pytest.mark.real
def test_optimam_marks_are_joined_to_receptors(optimam_folder: Path, tmp_path: Path) -> None:
    report = import_cohort("optimam", optimam_folder, tmp_path / "t.csv", ImportOptions(task="luminal"))
    (case,) = cases_of(report)
    assert (case.patient_id, case.subtype) == (CLIENT, PartialSubtype.HR_POSITIVE_HER2_NEGATIVE)
    assert case.box == "1487,756,1733,1183"  # Y1, X1, Y2, X2 of the mark
    facts = ("laterality", "view", "age", "manufacturer", "er", "pr", "her2", "mark", "grade", "lesions")
    values = [case.extra[name] for name in facts]
    assert values == ["R", "CC", "65", "HOLOGIC, Inc.", "RP", "RP", "RN", "Mass", "G2", "1"]
    assert left_out(report) == {optimam.NO_MARK: 1}
    assert report.content["tasks"]["luminal"]["patients"] == {"non-Luminal": 0, "Luminal": 1}


def test_a_header_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    for name in ("dead", "loop"):
        (tmp_path / f"{name}.json").symlink_to({"dead": "nowhere", "loop": "loop.json"}[name])
        assert optimam_image.read_header(tmp_path, name).wrong == DEAD_LINK
    (tmp_path / "folder.json").mkdir()
    assert optimam_image.read_header(tmp_path, "folder").wrong == NO_FILE
    assert optimam_image.read_header(tmp_path, "none").wrong == optimam_image.NO_HEADER


#: What is changed in the one mark of the tree, by the name of the mark.
MARKS: dict[str, dict[str, Any]] = {
    "linked to two": {"LinkedNBSSLesionNumber": "1, 2"},
    "linked to two alike": {"LinkedNBSSLesionNumber": "1,3", "X2": "99999"},
    "linked to nothing": {"LinkedNBSSLesionNumber": None},
    "linked to a lesion without tissue": {"LinkedNBSSLesionNumber": 9},
    "no number": {"X1": "", "LinkedNBSSLesionNumber": 1},
    "outside": {"X1": "-90", "X2": "-5"},
    "turned": {"X1": "1183", "X2": "756"},
    "in situ": {"LinkedNBSSLesionNumber": "4"},
    "uncertain": {"LinkedNBSSLesionNumber": "5"},
}


def edit_marks(content: Any) -> None:
    images = content["STUDIES"][STUDY][STEM + "2.0"]
    mark = images[STEM + "3.0"].pop("10241")
    images[STEM + "3.0"] = {name: mark | values for name, values in MARKS.items()}


def edit_records(content: Any) -> None:
    """Lesion 2 is HER2+, 3 is as 1 with a biopsy that disagrees, 4 is in situ, 5 has an uncertain receptor."""
    for event in ("SURGERY", "BIOPSYWIDE"):
        side = content["1001"][event]["R"]
        side["3"] = copy.deepcopy(side["1"])
        side["2"] = side["1"] | {"HER2ReceptorStatus": "RP"}
        nothing = {"InvasiveType": None, "InvasiveComponents": None, "DiseaseGrade": None, "InvasivePresent": "N"}
        side["4"] = side["1"] | nothing | {"MalignancyType": "a", "InSituComponents": "NID"}
        side["5"] = side["1"] | {"HormoneERStatus": "RN", "HormonePRStatus": "RU", "HER2ReceptorStatus": "RN"}
    content["1001"]["BIOPSYWIDE"]["R"]["3"]["HormoneERStatus"] = "RN"  # surgery says RP


@pytest.mark.real
def test_optimam_traps(optimam_folder: Path, tmp_path: Path) -> None:
    client = optimam_folder / "data" / CLIENT
    imagedb = client / f"imagedb_{CLIENT}.json"
    change(imagedb, edit_marks)
    change(client / f"nbss_{CLIENT}.json", edit_records)
    imagedb.rename(client / f"IMAGEDB_{CLIENT}.json")
    (client / STUDY / f"{STEM}4.0.json").rename(client / STUDY / f"{STEM}4.0.dcm.json")
    report = import_cohort("optimam", optimam_folder, tmp_path / "t.csv")
    assert left_out(report) == {
        optimam.NO_MARK: 1,
        optimam_nbss.DIFFERENT: 1,
        optimam_nbss.NO_LINK: 1,
        optimam_nbss.NO_LESION: 1,
        optimam_nbss.IN_SITU: 1,
        receptors.INCOMPLETE: 1,
        optimam.BAD_MARK: 1,
        optimam.OUTSIDE: 1,
    }
    assert sorted(case.box or "" for case in cases_of(report)) == ["1487,756,1733,1183", "1487,756,1733,2560"]
    assert optimam_nbss.DISAGREE in notes(report)
    assert "wrong order" in notes(report)


@pytest.mark.real
@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"00080068": ["FOR PROCESSING"]}, optimam_image.RAW),
        ({"00280008": [30]}, NO_MAMMOGRAM),
        ({"00200062": [""]}, NO_SIDE),
        (None, optimam_image.NO_HEADER),
    ],
)
def test_optimam_images_that_do_not_count(
    optimam_folder: Path, tmp_path: Path, values: dict[str, list[Any]] | None, reason: str
) -> None:
    path = optimam_folder / "data" / CLIENT / STUDY / f"{STEM}4.0.json"
    kinds = {"00280008": "IS"}
    if values is None:
        path.write_text("{")
    else:
        change(path, lambda c: c.update({t: {"vr": kinds.get(t, "CS"), "Value": v} for t, v in values.items()}))
    assert left_out(import_cohort("optimam", optimam_folder, tmp_path / "t.csv")) == {reason: 1}


def test_receptors_tell_what_follows_and_no_more() -> None:
    """By brute force: a subtype is told where every way to fill in what is unknown agrees with it."""
    known = {
        (True, True): Subtype.HER2_HR_POSITIVE,
        (True, False): Subtype.HER2_HR_NEGATIVE,
        (False, True): PartialSubtype.HR_POSITIVE_HER2_NEGATIVE,
        (False, False): Subtype.TN,
    }
    for triple in itertools.product((True, False, None), repeat=3):
        ways = [(True, False) if value is None else (value,) for value in triple]
        possible = {known[her2, er or pr] for er, pr, her2 in itertools.product(*ways)}
        subtype, reason = from_receptors(*triple)
        if len(possible) == 1:
            assert {subtype} == possible
        elif possible == {Subtype.HER2_HR_POSITIVE, Subtype.HER2_HR_NEGATIVE}:
            assert subtype is PartialSubtype.HER2
        else:
            assert subtype is None
        assert bool(reason) == (subtype is None)
