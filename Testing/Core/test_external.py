"""A bundle on another cohort: flow, predictions, subgroups, recalibration without a leak, going on, and the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from coarse_cohort import make_coarse_cohort
from command_line import failing
from other_cohort import CARD, Known, as_negative, known, rows_of, validated, write_rows
from PIL import Image
from sklearn.metrics import roc_auc_score
from test_study_page import Page

from MolSubCore.__main__ import main
from MolSubCore.cohort.check import check_cohort
from MolSubCore.cohort.looks import look_of
from MolSubCore.cohort.table import read_cohort
from MolSubCore.cohort.table_files import note_lines
from MolSubCore.errors import MolSubError
from MolSubCore.evaluation.external import ExternalValidation
from MolSubCore.evaluation.external_page import write_page
from MolSubCore.evaluation.subgroups import LEAST
from MolSubCore.files import read_json
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.imaging.mammogram import Mammogram
from MolSubCore.models.bundle import read_bundle
from MolSubCore.models.card import read_card
from MolSubCore.models.fingerprints import Fingerprints, new_fingerprints, read_fingerprints
from MolSubCore.prediction.predict import predict
from MolSubCore.statistics import calibration
from MolSubCore.statistics.calibration import CalibrationMap, fit_calibration
from MolSubCore.statistics.scores import ensemble
from MolSubCore.tasks import Subtype
from MolSubCore.training.run_files import fold_predictions

COUNTS = {Subtype.LUMINAL_A: 16, Subtype.HER2_HR_NEGATIVE: 8, Subtype.TN: 16}
SECRET = "Q7ZSECRET"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty patients in two views, in two centres; the first has no subtype yet, a row has no image, one is partial."""
    folder = tmp_path_factory.mktemp("other")
    table = make_coarse_cohort(folder / SECRET, counts=COUNTS, seed=5, image_shape=(256, 208))
    rows = rows_of(table)
    for number, row in enumerate(rows):
        row["Centre"] = "AB"[number // 2 % 2]
        row["patient_id"] = f"{SECRET}-{row['patient_id']}"
    rows[0]["subtype"] = rows[1]["subtype"] = ""
    rows[4]["image"] = "images/absent.dcm"
    return write_rows(table.with_name("t.csv"), rows)


@pytest.fixture(scope="module")
def found(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ExternalValidation, Path]:
    out = tmp_path_factory.mktemp("v") / "out"
    result = validated(cohort, out, recalibrate_on="centre=A")
    write_page(result, CARD, out)
    return result, out


def test_every_row_is_used_or_has_its_reason(found: tuple[ExternalValidation, Path]) -> None:
    result, out = found[0].result, found[1]
    flow = result["flow"]
    assert flow["table"] == {"rows": 80, "patients": 40}
    assert [part["rows"] for part in flow["left_out"].values()] == [2, 0, 1]
    assert flow["used"] == {"rows": 77, "patients": 39}
    assert result["left_out_rows"] == [
        {"row": 2, "reason": "no subtype"}, {"row": 3, "reason": "no subtype"},
        {"row": 6, "reason": "image or lesion cannot be used"},
    ]  # fmt: skip
    assert read_json(out / "evaluation.json") == result
    assert result["test"]["ensemble"]["image"]["n"] == 77
    assert "absent" not in (out / "evaluation.json").read_text()


def test_the_numbers_are_those_of_molsub_predict(cohort: Path, found: tuple[ExternalValidation, Path]) -> None:
    """Each patient read and predicted by the other way, and scikit-learn's AUC of these."""
    rows, patients = rows_of(cohort), {}
    for number, row in enumerate(rows, start=2):
        if row["subtype"] and "absent" not in row["image"]:
            patients.setdefault(row["patient_id"], []).append((number, row))
    written = {row["rows"]: row for row in rows_of(found[1] / "results" / "predictions.csv")}
    assert len(written) == len(patients) == 39
    shares, label = [], []
    for own in patients.values():
        images = [(cohort.parent / row["image"], cohort.parent / row["mask"]) for _, row in own]
        share = predict(images, known(), layers=[]).patient["TN"]
        line = written[" ".join(str(number) for number, _ in own)]
        assert float(line["p:TN"]) == pytest.approx(share, abs=1e-6)
        assert line["class"] == ("TN" if own[0][1]["subtype"] == "TN" else "non-TN")
        shares.append(share)
        label.append(own[0][1]["subtype"] == "TN")
    auc = found[0].result["test"]["ensemble"]["patient"]["metrics"]["auc"]
    assert auc["value"] == pytest.approx(roc_auc_score(label, shares))


def test_what_means_nothing_is_left_out_as_by_molsub_predict(cohort: Path, tmp_path: Path) -> None:
    """One view of a patient and both views of another may be negatives: the mean is of the other views."""
    rows = rows_of(cohort)[6:26]
    images = [(cohort.parent / row["image"], cohort.parent / row["mask"]) for row in rows]
    for number in (1, 4, 5):
        images[number] = as_negative(images[number][0]), images[number][1]
        rows[number]["image"] = str(images[number][0])
    found = validated(write_rows(cohort.with_name("turned.csv"), rows), tmp_path / "out")
    flow = found.result["flow"]
    assert flow["left_out"]["image or lesion of which a prediction means nothing"] == {"rows": 3, "patients": 1}
    assert flow["used"] == {"rows": 17, "patients": 9}
    (told,) = (text for text in found.result["warnings"] if text.startswith("Left out: "))
    assert told.startswith("Left out: rows 3, 6-7, image or lesion: its image may be a negative")
    page = Page(write_page(found, CARD, tmp_path / "out"))
    assert told in page.text
    assert "left out: image or lesion of which a prediction means nothing" in page.text
    lines = {line["rows"]: line for line in rows_of(tmp_path / "out" / "results" / "predictions.csv")}
    assert len(lines) == 9
    assert not any({"6", "7"} & set(line.split()) for line in lines)
    both, alone = predict(images[:2], known(), layers=[]), predict(images[:1], known(), layers=[])
    assert float(lines["2"]["p:TN"]) == pytest.approx(both.patient["TN"], abs=1e-6)
    assert both.patient == alone.patient


def test_what_is_to_be_reviewed_is_said_as_the_check_says_it(cohort: Path, tmp_path: Path) -> None:
    """Of a lesion of one pixel."""
    rows = rows_of(cohort)[6:26]
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(cohort.parent / rows[4]["mask"])))[0]
    row, column = np.argwhere(mask)[len(np.argwhere(mask)) // 2]
    small = np.zeros(mask.shape, np.uint8)
    small[row, column] = 255
    Image.fromarray(small).save(cohort.with_name("small.png"))
    rows[4]["mask"] = "small.png"
    table = write_rows(cohort.with_name("small.csv"), rows)
    notes = [note for note in check_cohort(table).notes if note.row and not note.rows]
    spoken = [f"{line[0].upper()}{line[1:]}" for line in note_lines(notes)]
    assert any(line.startswith("Row 6, mask: The lesion is 1 x 1 pixels") for line in spoken)
    found = validated(table, tmp_path / "out")
    assert set(spoken) <= set(found.result["warnings"])
    page = Page(write_page(found, CARD, tmp_path / "out"))
    assert all(line in page.text for line in spoken)


def test_subgroups_add_up(cohort: Path, found: tuple[ExternalValidation, Path]) -> None:
    rows = found[0].result["subgroups"]
    for attribute in ("vendor", "age", "lesion size", "centre"):
        own = [row for row in rows if row["attribute"] == attribute]
        assert sum(row["patients"] for row in own) == 39
        assert sum(row["images"] for row in own) == 77
        assert sum(row["classes"]["TN"] for row in own) == sum(found[0].scores.per_patient().label == 0)
    views = {row["level"]: row for row in rows if row["attribute"] == "view"}
    assert views["CC"]["images"] + views["MLO"]["images"] == 77
    assert {views["CC"]["patients"], views["MLO"]["patients"]} == {39, 38}
    for row in rows:
        few = min(row["classes"].values()) < LEAST
        assert (row["metrics"]["auc"]["value"] is None) == few
        assert ("fewer than 10" in row["metrics"]["auc"].get("why", "")) == few
    tests = {test["attribute"]: test for test in found[0].result["interactions"]}
    assert list(tests) == list(dict.fromkeys(row["attribute"] for row in rows))
    for attribute, test in tests.items():
        enough = [
            row["level"] for row in rows if row["attribute"] == attribute and min(row["classes"].values()) >= LEAST
        ]
        assert (test["p"] is not None) == (len(set(enough) - {"unknown", "several"}) > 1)
    scores, meta = found[0].scores, found[0].external.data.store.meta
    inside = np.array([entry["view"] == "MLO" for entry in meta])
    assert len(set(scores.patient[inside])) == inside.sum()  # one MLO view each: no mean is needed
    expected = roc_auc_score(scores.label[inside] == 0, scores.probabilities[inside, 0])
    assert views["MLO"]["metrics"]["auc"]["value"] == pytest.approx(expected)


def test_bands_come_in_their_order(found: tuple[ExternalValidation, Path]) -> None:
    """And every patient is in the band of the age in the table."""
    levels = [row["level"] for row in found[0].result["subgroups"] if row["attribute"] == "age"]
    order = ["below 40 years", "40 to 49 years", "50 to 59 years", "60 to 69 years", "from 70 years"]
    assert levels == [level for level in order if level in levels]
    for study_id, cases in found[0].external.cases_of().items():
        age = int(cases[0].extra["age"])
        assert found[0].levels["age"][study_id] == order[int(np.clip(age // 10 - 3, 0, 4))]


def test_the_recalibration_sees_its_part_only(cohort: Path, found: tuple[ExternalValidation, Path]) -> None:
    """Fitted anew from the rows of centre A; nobody is on both sides."""
    result, scores = found[0].result["recalibration"], found[0].scores
    levels = found[0].levels["centre"]
    inside = np.array([levels[str(name)] == "A" for name in scores.patient])
    with patch.object(calibration, "LEAST", 2):
        again = fit_calibration(scores.select(inside), ("TN", "non-TN"))
    assert (result["slope"], result["intercepts"]) == (again.slope, list(again.intercepts))
    assert found[0].recalibration is not None
    judged = {str(name) for name in found[0].judged[1].patient}
    assert not judged & found[0].recalibration.patients
    assert judged | found[0].recalibration.patients == set(map(str, scores.patient))
    assert result["patients"] + result["judged_on"] == 39
    lines = rows_of(found[1] / "results" / "predictions.csv")
    assert all((line["part"] == "judged") == (line["group:centre"] == "B") for line in lines)
    assert all(bool(line["recalibrated p:TN"]) == (line["group:centre"] == "B") for line in lines)


def test_it_goes_on_and_takes_new_rows(cohort: Path, tmp_path: Path) -> None:
    few = write_rows(cohort.with_name("few.csv"), rows_of(cohort)[6:26])
    first, second, third = known(), known(), known()
    validated(few, tmp_path / "out", first)
    assert sum(first.asked) == 20
    with pytest.raises(MolSubError, match="--resume"):
        validated(few, tmp_path / "out", second)
    before = read_json(tmp_path / "out" / "evaluation.json")
    validated(few, tmp_path / "out", second, resume=True)
    assert second.asked == []
    after = read_json(tmp_path / "out" / "evaluation.json")
    assert after["made"].pop("date") >= before["made"].pop("date")
    assert after == before
    (tmp_path / "out" / "logits" / "00000.safetensors").write_bytes(b"damaged")
    more = write_rows(cohort.with_name("more.csv"), rows_of(cohort)[6:30])
    result = validated(more, tmp_path / "out", third, resume=True)
    assert sum(third.asked) == 24
    assert result.result["flow"]["used"]["rows"] == 24
    other = Known({**CARD, "members": [{"file": "x", "sha256": "1" * 64}]}, (torch.nn.Identity(),), third.device)
    with pytest.raises(MolSubError, match="another model"):
        validated(more, tmp_path / "out", other, resume=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"subgroups": ("ward",)}, "column ward: is not in the table, which has age, centre"),
     ({"recalibrate_on": "centre=Z"}, "names 0 of the 39 patients"),
     ({"recalibrate_on": "synthetic=yes"}, "names 39 of the 39 patients"),
     ({"recalibrate_on": "view=CC"}, "in some of their rows only"),
     ({"recalibrate_on": "centre"}, "expected COLUMN=VALUE"),
     ({"recalibrate_on": "centre=A", "least": 20}, r"on centre=A: too few patients \(11 non-TN, 8 TN, at least 20"),
     ({"resamples": 0}, "is 0, expected 1")],
)  # fmt: skip
def test_what_is_refused_leaves_nothing(cohort: Path, tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(MolSubError, match=words):
        validated(cohort, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_tables_that_are_refused(cohort: Path, tmp_path: Path) -> None:
    rows = rows_of(cohort)
    for column, value, words in (
        ("subtype", "grade 3", "unknown value 'grade 3'"),
        ("subtype", "Luminal B", "another subt"),
    ):
        changed = [dict(row) for row in rows]
        changed[8][column] = value
        with pytest.raises(MolSubError, match=words):
            validated(write_rows(cohort.with_name("wrong.csv"), changed), tmp_path / "out")
    with pytest.raises(MolSubError, match="no row with a subtype"):
        validated(write_rows(cohort.with_name("none.csv"), [{**row, "subtype": ""} for row in rows]), tmp_path / "out")


def test_a_subtype_that_leaves_the_class_open(cohort: Path, tmp_path: Path) -> None:
    """HER2+ without hormone receptors tells luminal from non-luminal as little as it tells the five subtypes apart."""
    rows = [dict(row) for row in rows_of(cohort)]
    for row in rows[30:34]:
        row["subtype"] = "HER2+"
    table = write_rows(cohort.with_name("partial.csv"), rows)
    five = {**CARD, "task": "subtype5", "positive": None, "classes": [subtype.value for subtype in Subtype]}
    bundle = Known(five, (torch.nn.Identity(),), torch.device("cpu"))
    object.__setattr__(bundle, "logits", lambda inputs: torch.zeros(1, len(inputs), 5))
    result = validated(table, tmp_path / "out", bundle).result
    assert result["flow"]["left_out"]["class left open by the subtype"]["rows"] == 4
    assert result["flow"]["used"]["rows"] == 73
    write_page(validated(table, tmp_path / "out", bundle, resume=True), five, tmp_path / "out")
    assert validated(table, tmp_path / "two").result["flow"]["used"]["rows"] == 77  # TN or not it tells


def test_the_page_is_whole_and_names_nobody(found: tuple[ExternalValidation, Path]) -> None:
    page = Page(found[1] / "evaluation.html")
    assert page.open == []
    assert page.scripts == 0
    assert len(page.ids) == len(set(page.ids))
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert all(name.startswith("data:") for name in page.resources)
    for words in ("Thresholds of the training, applied here", "not estimable", "TRIPOD+AI", "12f", "centre=A",
                  "SYNTHETIC", "Recalibration, tested on patients not used to fit it"):  # fmt: skip
        assert words in page.text, words
    for file in found[1].rglob("*"):
        assert file.is_dir() or SECRET.encode() not in file.read_bytes(), file.name


def test_patients_of_the_training_are_counted_refused_left_out_or_kept(
    cohort: Path, found: tuple[ExternalValidation, Path], tmp_path: Path
) -> None:
    """The old patients less one row, and nine new ones; whatever the table calls them."""
    data = found[0].external.data
    names = sorted(set(data.study_ids))
    old, tested = set(names[:28]), set(names[28:30])
    hashes: dict[str, set[str]] = {name: set() for name in names}
    for name, meta in zip(data.study_ids, data.store.meta, strict=True):
        hashes[name].add(meta["pixels"])
    trained = set().union(*(hashes[name] for name in old)) - {min(hashes[names[0]])}
    gone = {name for name in old if hashes[name] & trained}
    assert len(gone) in (27, 28)  # the first may have had one usable row only
    prints = new_fingerprints().with_part("development", trained)
    prints = prints.with_part("test", set().union(*(hashes[name] for name in tested)))
    assert not any(each in str(prints.to_dict()) for each in trained)
    seen = known(training={"fingerprints": json.loads(json.dumps(prints.to_dict()))})
    counted = rf"{len(trained)} images of {len(gone)} patients that the model was trained on, of 39 patients"
    with pytest.raises(MolSubError, match=counted):
        validated(cohort, tmp_path / "refused", seen)
    assert not (tmp_path / "refused").exists()
    result = validated(cohort, tmp_path / "kept", seen, overlap="keep").result
    assert result["overlap"]["development"]["images"] == len(trained)
    assert any("on them the figures do not validate the model" in text for text in result["warnings"])
    assert any("from the test set" in text for text in result["warnings"])
    result = validated(cohort, tmp_path / "left", seen, overlap="leave-out").result
    left = result["flow"]["left_out"]["patient with an image that the model was trained on"]["patients"]
    (halved,) = (name for name in names if len(hashes[name]) == 1)  # whose other image is absent
    assert left == len(gone) - (halved in gone)  # a patient is told once: that one under the absent image
    assert result["flow"]["used"]["patients"] == 39 - len(gone)
    assert sum(part["patients"] for part in result["flow"]["left_out"].values()) == 1 + len(gone)
    assert any("recognised by equal pixels only" in text for text in result["warnings"])  # no sketches here
    assert any("could not be checked" in text for text in found[0].result["warnings"])  # a bundle of before


def test_copies_of_the_training_are_found_by_their_look(
    cohort: Path, found: tuple[ExternalValidation, Path], tmp_path: Path
) -> None:
    """The training had JPEGs of this cohort's images, through a window, and images of others."""
    external = found[0].external
    kept = dict.fromkeys(external.cohort.cases[number].image for number in external.data.store.case_index.tolist())
    copied, looks = list(kept)[:12], []
    for image in copied:
        pixels = read_mammogram(image).pixels
        low, high = np.percentile(pixels, (1, 99.8))
        shown = (255 * np.clip((pixels - low) / (high - low), 0, 1)).astype(np.uint8)
        coded = cv2.imdecode(cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, 80])[1], cv2.IMREAD_GRAYSCALE)
        looks.append(look_of(Mammogram(coded, value_range=(0.0, 255.0))))
    others = make_coarse_cohort(tmp_path / "others", counts={Subtype.TN: 6}, seed=99, image_shape=(256, 208))
    for case in read_cohort(others).cases:
        looks.append(look_of(read_mammogram(case.image)))
    prints = Fingerprints(bytes(range(32)), {}).with_part("development", ["0" * 64], looks)
    seen = known(training={"fingerprints": json.loads(json.dumps(prints.to_dict()))})
    people = {case.patient_id for case in external.cohort.cases if case.image in set(copied)}
    result = validated(cohort, tmp_path / "kept", seen).result
    assert result["overlap"]["development"] == {"images": 12, "patients": len(people), "by_look": 12}
    told = f"12 images of {len(people)} patients look like images that the model was trained on"
    assert any(text.startswith(told) for text in result["warnings"])
    left = validated(cohort, tmp_path / "left", seen, overlap="leave-out").result
    assert left["flow"]["used"]["patients"] == result["flow"]["used"]["patients"] - len(people)
    apart = Fingerprints(bytes(range(32)), {}).with_part("development", ["0" * 64], looks[12:])
    none = known(training={"fingerprints": apart.to_dict()})
    result = validated(cohort, tmp_path / "none", none).result
    assert any(text.startswith("Overlap with the training: 0 images of 0 patients.") for text in result["warnings"])


def test_the_commands(workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the very cohort of the training, which it says; with a recalibrated bundle, which then is one."""
    table, bundle = str(workplace / "cohort" / "table.csv"), str(workplace / "m.molsub")
    cache = ["--cache", str(workplace / "cache"), "--resamples", "100"]
    new, before = tmp_path / "new.molsub", (workplace / "m.molsub").read_bytes()
    command = ["evaluate", bundle, table, "--out", str(tmp_path / "v"), *cache, "--identified"]
    assert "that the model was trained on" in failing(capsys, *command)
    assert not (tmp_path / "v").exists()
    command += ["--overlap", "keep"]
    command += ["--recalibrate-on", "laterality=L", "--recalibrated", str(new)]
    assert "cannot be fitted on laterality=L: too few patients (" in failing(capsys, *command)
    assert not (tmp_path / "v").exists()
    with patch.object(calibration, "LEAST", 1):
        assert main(command) == 0
    printed = capsys.readouterr().out
    assert "External validation, task luminal" in printed
    assert "the model was trained on: on them the figures do not validate the model" in printed
    assert "from the test set of the model's own cohort" in printed
    assert (workplace / "m.molsub").read_bytes() == before
    change = read_json(tmp_path / "v" / "evaluation.json")["recalibration"]
    assert read_card(new)["recalibration"]["slope"] == change["slope"]
    lines = rows_of(tmp_path / "v" / "results" / "predictions.csv")
    assert {line["patient_id"] for line in lines} == {row["patient_id"] for row in rows_of(Path(table))}
    first = next(line for line in lines if line["part"] == "judged")
    rows = [rows_of(Path(table))[int(number) - 2] for number in first["rows"].split()]
    images = [(workplace / "cohort" / row["image"], workplace / "cohort" / row["mask"]) for row in rows]
    fitted = read_fingerprints(read_card(new)["training"]["fingerprints"])
    assert fitted
    assert len(fitted.parts["recalibration"]) == sum(row["laterality"] == "L" for row in rows_of(Path(table)))
    share = predict(images, read_bundle(new), layers=[]).patient["Luminal"]
    assert share == pytest.approx(float(first["recalibrated p:Luminal"]), abs=1e-5)
    card = read_card(workplace / "m.molsub")
    drift = read_json(tmp_path / "v" / "evaluation.json")["calibration_drift"]
    assert (drift["validation"], drift["test"]) == (None, card["metrics"]["test"]["patient"]["calibration"])
    evaluation = read_json(workplace / "run" / "evaluation.json")
    assert card["calibration"] == evaluation["calibration"]["ensemble"]
    assert card["thresholds"] == evaluation["thresholds"]["ensemble"]
    # Of the test patients the bundle says what the run says, calibrated.
    plan = read_json(workplace / "run" / "plan.json")
    members = list(fold_predictions(workplace / "run", plan, "test_predictions").values())
    own = ensemble(members).calibrated(CalibrationMap.from_dict(card["calibration"])).per_patient()
    line_of = {number: line for line in lines for number in line["rows"].split()}
    assert len(own.case) == 3
    for case, share in zip(own.case.tolist(), own.probabilities[:, 1].tolist(), strict=True):
        assert float(line_of[str(case + 2)]["p:Luminal"]) == pytest.approx(share, abs=1e-6)


def test_what_does_not_go_together(workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, bundle, run = (str(workplace / name) for name in ("cohort/table.csv", "m.molsub", "run"))
    out = ["--out", str(tmp_path / "v")]
    assert "there is no table" in failing(capsys, "evaluate", bundle)
    assert "--out: is missing" in failing(capsys, "evaluate", bundle, table)
    assert "models export" in failing(capsys, "evaluate", run, table, *out)
    assert "--subgroup" in failing(capsys, "evaluate", run, "--subgroup", "centre")
    assert "--recalibrate-on" in failing(capsys, "evaluate", bundle, table, *out, "--recalibrated", "x.molsub")
    named = ["--recalibrate-on", "laterality=L", "--recalibrated", bundle]
    assert "not touched" in failing(capsys, "evaluate", bundle, table, *out, *named)
    assert list(tmp_path.iterdir()) == []
