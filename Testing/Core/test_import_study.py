"""From a folder in CMMD's form to a check, a study of four subtypes and a bundle; partial subtypes on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import failing
from import_trees import CLINICAL, header, picture, write_image, write_outline, write_rows

from MolSubCore.__main__ import main
from MolSubCore.cohort.splits import make_split
from MolSubCore.cohort.table import read_cohort
from MolSubCore.errors import CohortError
from MolSubCore.files import read_json
from MolSubCore.statistics.scores import read_predictions
from MolSubCore.tasks import TASKS, PartialSubtype

WORDS = ("Luminal A", "Luminal B", "HER2-enriched", "triple negative")
PLAN = ["--folds", "2", "--epochs", "1", "--pretrained", "none", "--test-share", "0.25", "--threads", "1"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of sixteen patients, imported."""
    place = tmp_path_factory.mktemp("import")
    folder, clinical = place / "cmmd", []
    for number in range(16):
        patient, word = f"D2-{number + 1:04d}", WORDS[number % 4]
        write_image(folder / patient / "1-1.dcm", picture((256, 208), number), of=header(patient, "L", "MLO"))
        write_outline(folder, patient, "MLO", "L", [(40, 60), (80, 60), (80, 110), (40, 110)])
        clinical.append([patient, "L", 40 + number, 2, "mass", "Malignant", word])
    write_rows(folder / "clinical.csv", [CLINICAL, *clinical])
    assert main(["cohort", "import", "cmmd", str(folder), "--out", str(place / "t.csv"), "--task", "subtype4"]) == 0
    return place / "t.csv"


def test_the_check_says_which_tasks_the_table_serves(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cohort", "check", str(table), "--task", "subtype4", "--folds", "2"]) == 0
    printed = capsys.readouterr().out
    assert "Patients, task subtype4: Luminal A 4, Luminal B 4, HER2-enriched 4, TN 4" in printed
    assert "Patients, task subtype5: Luminal A 4, Luminal B 4, undetermined 4, TN 4" in printed
    assert main(["cohort", "check", str(table), "--task", "subtype5", "--folds", "2"]) == 2
    assert "HER2+ may be HER2+/HR+ or HER2+/HR-" in capsys.readouterr().out


def test_a_task_that_splits_a_partial_subtype_is_refused(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort = read_cohort(table)
    with pytest.raises(CohortError, match=r"4 rows, first row 4: HER2\+ may be .* task subtype5 tells apart"):
        make_split(cohort, TASKS["subtype5"], folds=2)
    line = failing(capsys, "train", str(table), "--task", "subtype5", "--out", str(table.parent / "no"), *PLAN[:-2])
    assert "HER2+ may be HER2+/HR+ or HER2+/HR-" in line
    assert not (table.parent / "no").exists()


@pytest.mark.slow
def test_a_study_of_four_subtypes_and_its_bundle(table: Path) -> None:
    study, bundle = table.parent / "study", table.parent / "four.molsub"
    command = ["study", str(table), "--out", str(study), "--cache", str(table.parent / "cache"), *PLAN]
    assert main([*command, "--tasks", "subtype4", "--architectures", "simple-cnn", "--clinical", "age"]) == 0
    cohort = read_json(study / "cohort.json")
    assert cohort["subtypes"]["HER2+"] == {"patients": 4, "images": 4}
    assert sum(part["subtypes"]["HER2+"] for part in cohort["partitions"].values()) == 4
    run = study / "runs" / "subtype4--simple-cnn"
    found = read_predictions(run / "fold-1" / "test_predictions.csv")
    assert found.classes == ("Luminal A", "Luminal B", "HER2-enriched", "TN")
    split = read_json(study / "split.json")
    assert len(found.label) == sum(part == "test" for part in split["partition"].values())
    assert set(np.unique(found.label)) == {0, 1, 2, 3}
    assert main(["models", "export", str(run), "--out", str(bundle)]) == 0
    image = read_cohort(table).cases[2]
    assert image.subtype is PartialSubtype.HER2
    out = table.parent / "prediction"
    arguments = ["predict", str(image.image), "--lesion", str(image.lesion), "--model", str(bundle), "--out", str(out)]
    assert main([*arguments, "--layers", "none"]) == 0
    assert set(read_json(out / "prediction.json")["patient"]["probabilities"]) == set(found.classes)
