"""Fused models: a bundle predicts what the study tested, patient by patient, and says so where it cannot."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import failing
from fusion_runs import draw, select, write_base
from safetensors.numpy import load

from MolSubCore.__main__ import main
from MolSubCore.cohort.splits import read_split
from MolSubCore.cohort.synthetic import make_synthetic_cohort
from MolSubCore.cohort.table import Case, read_cohort
from MolSubCore.errors import BundleError, CohortError, MolSubError, TrainingError
from MolSubCore.evaluation import evaluate
from MolSubCore.evaluation.external import ExternalOptions, validate_bundle
from MolSubCore.files import read_json
from MolSubCore.models.bundle import Bundle, read_bundle
from MolSubCore.models.card import CARD, copy_bundle, read_card
from MolSubCore.models.fused import Lesions, Outputs, read_fused
from MolSubCore.prediction.predict import predict
from MolSubCore.report.items import Picture
from MolSubCore.statistics.scores import Scores, ensemble, read_predictions
from MolSubCore.study import finish, fusion
from MolSubCore.study.results import read_study
from MolSubCore.tasks import Subtype
from MolSubCore.training import export
from MolSubCore.worker import jobs
from MolSubCore.worker.protocol import check_kinds

COUNTS = {Subtype.LUMINAL_A: 8, Subtype.LUMINAL_B: 8, Subtype.HER2_HR_POSITIVE: 10, Subtype.TN: 14}
PLAN = ["--folds", "2", "--epochs", "6", "--pretrained", "none", "--test-share", "0.3", "--threads", "1"]
#: A network that learns something: the regressions on one that does not enlarge the last bits of its numbers.
PLAN += ["--learning-rate", "0.001"]
FUSIONS = ("tta", "views-mean", "views-learned", "clinical", "clinical-only", "views-learned+clinical")
#: No figure and no heatmap: nobody looks at them here.
UNDRAWN = (
    (evaluate, "draw_evaluation", lambda path, *found: None),
    (Picture, "write", lambda picture, folder: ""),
    (finish, "_heatmaps", lambda study, run: []),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort whose patients have an age and a density, some of them one view; a study of it."""
    folder = tmp_path_factory.mktemp("fused")
    table = make_synthetic_cohort(folder / "cohort", counts=COUNTS, seed=3, image_shape=(256, 208))
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    patients = list(dict.fromkeys(row["patient_id"] for row in rows))
    for row in rows:
        number = patients.index(row["patient_id"])
        row["density"] = "abcd"[number * 7 % 5 % 4]
    kept = [row for n, row in enumerate(rows) if n % 9 != 4 or rows[n - 1]["patient_id"] != row["patient_id"]]
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(kept[0]))
        writer.writeheader()
        writer.writerows(kept)
    words = ["study", str(table), "--out", str(folder / "study"), "--cache", str(folder / "cache"), *PLAN]
    words += ["--tasks", "tn", "--architectures", "simple-cnn", "--clinical", "age", "density"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fusion, "STRENGTHS", (0.01, 1.0))
        for place_of, name, instead in UNDRAWN:
            patch.setattr(place_of, name, instead)
        assert main(words) == 0
    return folder


def bundle_of(place: Path, kind: str, fold: str) -> Path:
    """The bundle of a fusion of the study, made once."""
    path = place / f"{kind}-{fold}.molsub"
    if not path.exists():
        words = ["models", "export", str(place / "study"), "--task", "tn", "--model", f"simple-cnn+{kind}"]
        assert main([*words, "--fold", fold, "--out", str(path)]) == 0
    return path


def held_out(place: Path) -> dict[str, list[Case]]:
    """The test patients' cases by study id."""
    cohort = read_cohort(place / "cohort" / "table.csv")
    split = read_split(place / "study" / "split.json", cohort)
    found: dict[str, list[Case]] = {}
    for case in cohort.cases:
        if split.partition_of(case.patient_id) == "test":
            found.setdefault(split.study_id(case.patient_id), []).append(case)
    return found


def of_study(place: Path, kind: str, fold: str) -> Scores:
    """The study's probabilities of the test patients, as its tables have them."""
    run = read_study(place / "study").runs["tn", f"simple-cnn{kind and '+'}{kind}"]
    if fold == "ensemble":
        return run.ensemble.per_patient()
    return run.calibration(int(fold)).apply(run.test[int(fold)].scores()).per_patient()


def predicted(loaded: Bundle, cases: list[Case], **more: Any) -> Any:
    images = [(case.image, case.lesion) for case in cases]
    clinical = more.pop("clinical", {name: cases[0].extra[name] for name in ("age", "density")})
    known = loaded.fused.columns if loaded.fused else {}
    given = {name: value for name, value in clinical.items() if name in known}
    views, sides = [case.view for case in cases], [case.side for case in cases]
    return predict(images, loaded, views=views, sides=sides, clinical=given, layers=(), **more)


def table_of(place: Path, table: Path, blank: str = "") -> Path:
    """A table of the test patients alone; that of `blank` has no age."""
    rows = {row["image"]: row for row in csv.DictReader((place / "cohort" / "table.csv").open(encoding="utf-8"))}
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(next(iter(rows.values()))))
        writer.writeheader()
        for name, cases in held_out(place).items():
            for case in cases:
                row = rows[f"images/{case.image.name}"] | {"image": str(case.image), "mask": str(case.mask)}
                writer.writerow(row | ({"age": ""} if name == blank else {}))
    return table


def tolerance(card: dict[str, Any]) -> float:
    """1e-6, but for regressions that enlarge the last bits of the networks' log-odds."""
    gain = 1.0
    for step in card["fusion"]["steps"]:
        for one in step.get("members", ()) if step.get("image") else ():
            gain = max(gain, abs(one["coefficients"][0][0] / one["scale"][0]))
    return 1e-6 * gain


@pytest.mark.parametrize("fold", ["ensemble", "2"])
@pytest.mark.parametrize("kind", FUSIONS)
def test_a_bundle_predicts_what_the_study_tested(place: Path, kind: str, fold: str) -> None:
    path, scores, patients = bundle_of(place, kind, fold), of_study(place, kind, fold), held_out(place)
    bundle = read_bundle(path)
    assert read_card(path)["format_version"] == 2
    assert len(patients) == len(scores.patient) >= 10
    evaluation = read_json(place / "study" / "runs" / f"tn--simple-cnn+{kind}" / "evaluation.json")
    whole = fold == "ensemble"
    for parts, own in (
        (evaluation["calibration"], bundle.card["calibration"]),
        (evaluation["thresholds"], bundle.card["thresholds"]),
        (evaluation["test"], bundle.card["metrics"]["test"]),
    ):
        assert own == (parts["ensemble"] if whole else parts["folds"][fold])
    for name, expected in zip(scores.patient.tolist(), scores.probabilities, strict=True):
        found = predicted(bundle, patients[name])
        assert list(found.patient.values()) == pytest.approx(expected, abs=tolerance(bundle.card))
        assert not any("missing" in text for text in found.warnings)


def test_a_table_gives_the_same_and_a_missing_value_the_model_without(place: Path, tmp_path: Path) -> None:
    path, patients = bundle_of(place, "clinical", "ensemble"), held_out(place)
    names = list(patients)
    table = table_of(place, tmp_path / "table.csv", blank=names[0])
    out = tmp_path / "out"
    assert main(["predict", str(table), "--model", str(path), "--out", str(out), "--layers", "none"]) == 0
    card = read_card(path)
    for number, name in enumerate(names, start=1):
        result = read_json(out / f"case-{number:04d}" / "prediction.json")
        kind = "clinical" if number > 1 else ""
        scores = of_study(place, kind, "ensemble")
        expected = scores.probabilities[scores.patient.tolist().index(name)]
        assert list(result["patient"]["probabilities"].values()) == pytest.approx(expected, abs=tolerance(card))
        told = [text for text in result["warnings"] if "the clinical value age is missing" in text]
        assert len(told) == (number == 1)
        assert bool(result["model"]["fusion"]) == bool(result["clinical"]) == (number > 1)
    lines = list(csv.DictReader((out / "predictions.csv").open(encoding="utf-8")))
    assert [line["clinical"] for line in lines] == ["missing", *["used"] * (len(names) - 1)]


@pytest.mark.parametrize("kind", ["clinical", "clinical-only", "views-learned+clinical"])
def test_without_a_value_it_is_the_model_before(place: Path, kind: str) -> None:
    bundle = read_bundle(bundle_of(place, kind, "ensemble"))
    before = kind.rpartition("+")[0]
    scores = of_study(place, before, "ensemble")
    name, cases = next(iter(held_out(place).items()))
    found = predicted(bundle, cases, clinical={"age": "54"})
    expected = scores.probabilities[scores.patient.tolist().index(name)]
    assert list(found.patient.values()) == pytest.approx(expected, abs=1e-6)
    assert any("the clinical value density is missing" in text for text in found.warnings)
    own = read_json(place / "study" / "runs" / f"tn--simple-cnn{before and '+'}{before}" / "evaluation.json")
    assert found.bundle_card["calibration"] == own["calibration"]["ensemble"]
    assert found.bundle_card["thresholds"] == own["thresholds"]["ensemble"]
    assert found.bundle_card["metrics"]["test"] == own["test"]["ensemble"]


def test_values_are_checked(place: Path) -> None:
    bundle, cases = read_bundle(bundle_of(place, "clinical", "2")), next(iter(held_out(place).values()))
    plain = predicted(bundle, cases, clinical={"age": 54, "density": "b"})
    assert predicted(bundle, cases, clinical={"age": "54.0", "density": "B"}).patient == plain.patient
    with pytest.raises(MolSubError, match="clinical value age: is 'old', expected a number"):
        predicted(bundle, cases, clinical={"age": "old", "density": "b"})
    other = predicted(bundle, cases, clinical={"age": "54", "density": "z"})
    assert other.patient != plain.patient
    assert any("density is 'z', the model knows a, b, c, d" in text for text in other.warnings)
    images = [(case.image, case.lesion) for case in cases]
    with pytest.raises(MolSubError, match="names stage, the model uses age, density"):
        predict(images, bundle, clinical={"stage": "2"})


def test_a_missing_view_is_told(place: Path) -> None:
    bundle = read_bundle(bundle_of(place, "views-learned", "ensemble"))
    counts = {name: one["patients"] for name, one in bundle.card["fusion"]["steps"][0]["tested"].items()}
    assert counts["both"] + counts["one"] == len(held_out(place))
    cases = next(cases for cases in held_out(place).values() if len(cases) == 2)
    assert not any("there is no view" in text for text in predicted(bundle, cases).warnings)
    alone = predicted(bundle, cases[:1])
    (told,) = [text for text in alone.warnings if "there is no view" in text]
    assert f"{counts['one']} of the test patients had one of them only" in told
    shown = predict([(case.image, case.lesion) for case in cases], bundle)
    assert any("the heatmaps explain that, not the result" in text for text in shown.warnings)


DAMAGE = {
    "steps": lambda card: card["fusion"]["steps"].append({"name": "tta", "title": "x"}),
    "another step": lambda card: card["fusion"]["steps"][0].update(name="votes"),
    "no base": lambda card: card["fusion"]["bases"].clear(),
    "a member": lambda card: card["fusion"]["steps"][0]["members"].pop(),
    "a width": lambda card: card["fusion"]["steps"][0]["members"][0]["coefficients"][0].pop(),
    "a scale": lambda card: card["fusion"]["steps"][0]["members"][0]["scale"].__setitem__(0, 0),
    "a word": lambda card: card["fusion"]["steps"][0]["members"][0]["intercept"].__setitem__(0, "1"),
    "a kind": lambda card: card["fusion"]["steps"][0]["columns"].update(age="categorical"),
    "the version": lambda card: card.update(format_version=1),
    "no fusion": lambda card: card.pop("fusion"),
    "the base's calibration": lambda card: card["fusion"]["bases"][0]["calibration"]["intercepts"].pop(),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_fusions_are_refused(place: Path, tmp_path: Path, name: str) -> None:
    source, target = bundle_of(place, "clinical", "2"), tmp_path / "bundle"
    copy_bundle(source, target)
    card = read_json(target / CARD)
    DAMAGE[name](card)
    (target / CARD).write_text(json.dumps(card))
    with pytest.raises(BundleError):
        read_card(target)


def test_a_damaged_file_of_a_fusion_is_refused(place: Path, tmp_path: Path) -> None:
    copy_bundle(bundle_of(place, "views-learned", "2"), tmp_path / "bundle")
    file = tmp_path / "bundle" / "fusion-1.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with pytest.raises(BundleError, match="SHA-256"):
        read_bundle(tmp_path / "bundle")


def test_what_can_be_exported_is_named(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["models", "export", str(place / "study"), "--out", str(tmp_path / "x.molsub")]
    assert "simple-cnn+clinical-only" in failing(capsys, *words, "--model", "simple-cnn+votes")
    assert "Choose from tn" in failing(capsys, *words, "--task", "luminal", "--model", "simple-cnn")
    image = str(next(iter(held_out(place).values()))[0].image)
    command = ["predict", image, "--lesion", "10,10,60,60", "--model", str(bundle_of(place, "clinical", "2"))]
    assert "expected NAME=VALUE" in failing(capsys, *command, "--out", str(tmp_path / "y"), "--clinical", "54")


@pytest.mark.parametrize("kind", ["tta", "views-learned", "views-learned+clinical"])
def test_a_validation_predicts_as_predict_does(place: Path, tmp_path: Path, kind: str) -> None:
    """On the test patients, as another cohort's."""
    bundle, patients = read_bundle(bundle_of(place, kind, "ensemble")), held_out(place)
    table = table_of(place, tmp_path / "table.csv")
    options = ExternalOptions(resamples=20, cache=tmp_path / "cache", overlap="keep", subgroups=("density",))
    found = validate_bundle(bundle, table, tmp_path / "out", options).scores
    assert len(found.patient) == len(patients)
    scores = of_study(place, kind, "ensemble")
    expected = dict(zip(scores.patient.tolist(), scores.probabilities.tolist(), strict=True))
    own = found.per_patient().probabilities
    for name, shown in zip(patients, own, strict=True):
        assert shown == pytest.approx(expected[name], abs=tolerance(bundle.card))
    if "clinical" in kind:
        table_of(place, table, blank=next(iter(patients)))
        with pytest.raises(CohortError, match="the clinical value age is missing"):
            validate_bundle(bundle, table, tmp_path / "other", options)


def test_the_workers_job(place: Path, tmp_path: Path) -> None:
    path, cases = bundle_of(place, "clinical", "2"), next(iter(held_out(place).values()))
    images = [{"image": str(case.image), "lesions": str(case.mask)} for case in cases]
    options = {"bundle": str(path), "images": images, "out": str(tmp_path), "layers": [], "same_patient": True}
    values = {"age": 61, "density": "b"}
    found = jobs.predict(options | {"clinical": values}, lambda share, **more: None)["prediction"]
    own = predicted(read_bundle(path), cases, clinical=values)
    assert found["patient"]["probabilities"] == pytest.approx(own.patient, abs=1e-9)
    assert found["clinical"] == {"age": "61", "density": "b"}
    without = jobs.predict(options, lambda share, **more: None)["prediction"]
    assert any("the clinical value age, density is missing" in text for text in without["warnings"])
    assert without["model"]["bundle_sha256"] == found["model"]["bundle_sha256"]
    with pytest.raises(MolSubError, match="invalid value of the option clinical"):
        check_kinds("predict", options | {"clinical": {"age": [61]}})


@pytest.mark.parametrize("task", ["tn", "subtype5"])
def test_steps_are_the_studys_fusions(tmp_path: Path, task: str) -> None:
    """With simulated outputs: also of five classes, and of patients with one view or none of the two."""
    drawn = draw(np.random.default_rng(4), 120, task=task, views=("CC", "MLO", "ML"))
    kept = np.arange(len(drawn.rows.label)) % 7 > 1
    patches = replace(
        drawn, rows=select(drawn.rows, kept), partition=drawn.partition[kept], features=drawn.features[kept]
    )
    run = tmp_path / f"{task}--simple-cnn"
    write_base(run, patches, task=task)
    names = [name for name in (*fusion.FUSIONS, *fusion.STACKED) if name != "tta"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fusion, "STRENGTHS", (0.01, 1.0))
        for place_of, name, instead in UNDRAWN:
            patch.setattr(place_of, name, instead)
        assert not any(fusion.make_fusions(run, names, patches.clinical).values())
    rows, members = patches.rows, 3
    for name in names:
        derived = run.with_name(f"{run.name}+{name}")
        steps, arrays = [], {}
        for number, (base, last) in enumerate(pairwise(export._chain(derived)), start=1):
            entry, files = export._step(base, last, [1, 2, 3], run, f"{number}.safetensors")
            steps.append(entry)
            arrays |= {file: load(data) for file, data in files.items()}
        card = {"classes": rows.classes, "members": [{}] * members, "fusion": {"steps": steps}}
        fused = read_fused(card, arrays)
        assert fused is not None
        tested = [read_predictions(derived / f"fold-{fold}" / "test_predictions.csv") for fold in (1, 2, 3)]
        scores = ensemble(tested).per_patient()
        counts = set()
        for patient, expected in zip(scores.patient.tolist(), scores.probabilities, strict=True):
            own = np.flatnonzero(rows.study_id == patient)
            outputs = Outputs(
                np.stack([rows.logits[own]] * members), None, np.stack([patches.features[own].astype(float)] * members)
            )
            lesions = Lesions(outputs, rows.case[own], rows.view[own])
            steps_made, values, _ = fused.whole(patches.clinical[patient])
            assert steps_made == len(fused.steps)
            assert fused.probabilities(lesions, values) == pytest.approx(expected, abs=1e-9)
            counts.add(len(fused.remarks(lesions)))
        assert counts == ({0, 1} if "learned" in name else {0})


def test_a_fusion_is_exported_beside_its_run_only(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "tn--simple-cnn"
    write_base(run, draw(np.random.default_rng(1), 24))
    assert not any(fusion.make_fusions(run, ["views-mean"]).values())
    for name in ("tn--simple-cnn+views-mean", "renamed"):
        apart = shutil.copytree(tmp_path / "runs" / "tn--simple-cnn+views-mean", tmp_path / "apart" / name)
        with pytest.raises(TrainingError, match=r"simple-cnn\+views-mean, apart from the run of simple-cnn"):
            export.check_exportable(apart)
