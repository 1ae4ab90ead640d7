"""One result per breast and named lesion, never a mean of two; what means nothing stays out; whose images they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import failing
from other_cohort import known
from PIL import Image

from MolSubCore.errors import ImageError, MolSubError
from MolSubCore.files import read_json
from MolSubCore.imaging.mammogram import Mammogram, Person
from MolSubCore.models.bundle import Bundle
from MolSubCore.prediction.predict import predict
from MolSubCore.prediction.report import prediction_facts
from MolSubCore.prediction.result import Prediction
from MolSubCore.prediction.warnings import image_warnings
from MolSubCore.prediction.write import save_prediction
from MolSubCore.report.page import environment
from MolSubCore.statistics.delong import patient_auc
from MolSubCore.statistics.intervals import multiplicities
from MolSubCore.statistics.scores import Scores

BOX = "60,60,90,90"


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a prediction was made of is hashed: the images are files, if not those that are read."""
    for n in range(5):
        (tmp_path / str(n)).write_text(str(n))
    monkeypatch.chdir(tmp_path)


def view(seed: int, side: str | None = "L", **changes: Any) -> Mammogram:
    drawn = np.random.default_rng(seed).integers(0, 200 + 300 * seed, (200, 160)).astype(np.uint16)
    name = Person("p1", study="1.2.3", birth_date="19500101")
    return replace(Mammogram(drawn, value_range=(0, 4095), laterality=side, view="CC", person=name), **changes)


def predicted(*views: Mammogram, bundle: Bundle | None = None, **options: Any) -> Prediction:
    images = dict(enumerate(views))
    pairs = [(str(n), BOX) for n in images]
    return predict(pairs, bundle or known(), layers=[], read=lambda path: images[int(str(path))], **options)


def alone(mammogram: Mammogram) -> float:
    return predicted(mammogram).patient["TN"]


def test_the_mean_of_the_views_is_calibrated_and_a_view_alone_shown_likewise(tmp_path: Path) -> None:
    """TN, the first class, by hand: its log-odds times 2, less 1. In files and report, too."""
    views = [view(1), view(2)]
    shares = [alone(each) for each in views]
    fitted = {"method": "logistic", "slope": 2.0, "intercepts": [0.0, 1.0], "acts_on": "patient", "why": "",
              "patients": 60}  # fmt: skip
    found = predicted(*views, bundle=known(calibration=fitted))

    def by_hand(share: float) -> float:
        odds = (share / (1 - share)) ** 2 / np.e
        return float(odds / (1 + odds))

    assert found.patient["TN"] == pytest.approx(by_hand(np.mean(shares)))
    assert [float(item.probabilities[0]) for item in found.items] == pytest.approx([by_hand(share) for share in shares])
    assert [float(item.network[0]) for item in found.items] == pytest.approx(shares)
    assert found.patient["TN"] != pytest.approx(np.mean([by_hand(share) for share in shares]), abs=1e-4)
    result = read_json(save_prediction(found, tmp_path / "out") / "prediction.json")
    assert result["results"][0]["probabilities"] == found.patient
    assert [image["probabilities"]["TN"] for image in result["images"]] == pytest.approx(list(map(by_hand, shares)))
    note = prediction_facts(result, found.bundle_card).note
    assert "Calibrated on 60 patients of the training cohort. It acts on the mean over views" in note


def test_left_and_right_are_never_averaged() -> None:
    views = [view(1), view(2, "R"), view(3), view(4, "R")]
    found = predicted(*views)
    shares = [alone(each) for each in views]
    assert [one.title for one in found.results] == ["left breast", "right breast"]
    left, right = (one.probabilities for one in found.results)
    assert left
    assert right
    assert left["TN"] == pytest.approx((shares[0] + shares[2]) / 2)
    assert right["TN"] == pytest.approx((shares[1] + shares[3]) / 2)
    assert any("both breasts, left and right" in text for text in found.warnings)
    assert found.only_result is None
    with pytest.raises(MolSubError, match="has 2 results: left breast, right breast"):
        _ = found.patient
    assert not any("breasts" in text for text in predicted(view(1), view(3)).warnings)


def test_named_lesions_are_matched_over_views_and_kept_apart() -> None:
    views = [view(1), view(2), view(3)]
    found = predicted(*views, lesion_ids=["A", "B", "A"])
    assert [one.title for one in found.results] == ["left breast, lesion A", "left breast, lesion B"]
    assert (found.results[0].probabilities or {})["TN"] == pytest.approx((alone(views[0]) + alone(views[2])) / 2)
    assert (found.results[1].probabilities or {})["TN"] == pytest.approx(alone(views[1]))


def test_masks_with_the_names_of_other_images_are_told(tmp_path: Path) -> None:
    images = {"P1_L_CC.png": view(1), "P1_L_MLO.png": view(2)}
    mask = np.zeros(images["P1_L_CC.png"].shape, np.uint8)
    mask[100:140, 60:100] = 255
    files = {name: tmp_path / name.replace(".", "_mask.") for name in images}
    for name, file in files.items():
        Image.fromarray(mask).save(file)
        (tmp_path / name).touch()

    def told(*names: str) -> list[str]:
        pairs = [(str(tmp_path / image), str(files[mask])) for image, mask in zip(images, names, strict=False)]
        found = predict(pairs, known(), layers=[], read=lambda path: images[Path(path).name])
        return [text for text in found.warnings if "name is that of" in text]

    assert told(*images) == told("P1_L_CC.png") == []
    tail = "Check that it is the mask of this image."
    assert told("P1_L_MLO.png", "P1_L_CC.png") == [
        f"Image 1: The mask's name is that of image 2. {tail}",
        f"Image 2: The mask's name is that of image 1. {tail}",
    ]
    beside = "another image, in the folder of its own"
    assert told("P1_L_MLO.png") == [f"Image 1: The mask's name is that of {beside}. {tail}"]


def test_an_image_that_is_given_twice_with_two_lesions_counts_once() -> None:
    images = {"0": view(1), "1": view(1), "2": view(2)}
    boxes = {"0": BOX, "1": "100,60,140,100", "2": BOX}
    bundle = known()

    def found(*names: str) -> Prediction:
        return predict([(n, boxes[n]) for n in names], bundle, layers=[], read=images.__getitem__)  # type: ignore[arg-type]

    def share(*names: str) -> float:
        return found(*names).patient["TN"]

    told = "Images 1 and 2 are one picture: it counts once, and the result is the mean over its lesions."
    assert any(text.startswith(told) for text in found("0", "1", "2").warnings)
    assert not any("one picture" in text for text in found("0", "2").warnings)
    assert share("0", "1", "2") == pytest.approx((np.mean([share("0"), share("1")]) + share("2")) / 2)


def test_a_picture_beside_its_resaved_copy_counts_once_and_is_told() -> None:
    first, other = view(1), view(2)
    copy = replace(first, stored=np.clip(first.stored // 2 + 7, 10, None).astype(first.stored.dtype))
    found = predicted(first, copy, other)
    expected = (np.mean([alone(first), alone(copy)]) + alone(other)) / 2
    assert found.patient["TN"] == pytest.approx(expected)
    assert [text for text in found.warnings if "copies" in text] == [
        "Images 1 and 2 show nearly the same picture, like copies that were resaved, slightly cropped or displayed "
        "differently: they count as one in the result."
    ]


def test_a_view_that_only_the_table_says_is_that_of_the_image() -> None:
    found = predicted(view(1, view=None), view(2, view=None), views=["CC", "ML"])
    assert [item.image for item in found.items] == ["1 L CC", "2 L ML"]
    card = {"training": {"cohort": {"views": {"CC": 5, "MLO": 5}}}}
    told = image_warnings("2 L ML", found.items[1].mammogram, found.items[1].lesions, [found.items[1].roi], card)
    assert "Image 2 L ML: its view is ML, the model was trained on CC, MLO." in told


def test_a_side_that_nobody_says_is_told_and_can_be_said() -> None:
    found = predicted(view(1), view(2, None))
    assert [one.title for one in found.results] == ["left breast", "breast of unknown side"]
    assert any("unknown" in text and "--side" in text for text in found.warnings)
    assert any("averaged as views of one" in text for text in predicted(view(1, None), view(2, None)).warnings)
    found = predicted(view(1), view(2, None), sides=[None, "R"])
    assert [one.title for one in found.results] == ["left breast", "right breast"]
    with pytest.raises(ImageError, match="side of image 1: is R, the image says L"):
        predicted(view(1), sides=["R"])


def test_what_means_nothing_stays_out_of_the_mean() -> None:
    flat = view(2)
    flat.stored[40:120, 40:120] = 100
    wide = replace(flat, stored=np.full_like(flat.stored, 100))
    negative = view(3, negative=True)
    found = predicted(view(1), wide, negative)
    assert found.patient["TN"] == pytest.approx(alone(view(1)))
    assert [text for text in found.warnings if "left out of the result" in text] == [
        "2 L CC lesion 1 was left out of the result, as its prediction means nothing: the region around the lesion "
        "holds one grey value only.",
        "3 L CC lesion 1 was left out of the result, as its prediction means nothing: the picture may be a negative "
        "(dense tissue dark).",
    ]
    with pytest.raises(ImageError, match="nothing to predict from: the region around the lesion holds one grey"):
        predicted(wide)
    assert predicted(negative).patient  # a suspicion: it is warned of
    other = predicted(view(1), replace(wide, laterality="R"))
    assert other.results[1].probabilities is None


def test_images_of_several_people_are_refused_or_asked_about() -> None:
    nobody = Person()
    for other in (Person("p2"), Person("p1", issuer="x")):
        first = view(1) if not other.issuer else view(1, person=Person("p1", issuer="y"))
        with pytest.raises(ImageError, match="the images belong to"):
            predicted(first, view(2, person=other), unnamed="confirmed")
    for strange in (nobody, Person("p1", birth_date="19600101")):
        with pytest.raises(ImageError, match="--same-patient"):
            predicted(view(1), view(2, person=strange), unnamed="refuse")
        assert any(
            "taken as one patient" in t for t in predicted(view(1), view(2, person=strange), unnamed="warn").warnings
        )
        predicted(view(1), view(2, person=strange), unnamed="confirmed")
    for strange, said in ((Person("p1", sex="m", birth_date="19500101"), "sexes"), (Person("p1", name="b"), "names")):
        first = view(1, person=Person("p1", sex="f", name="a", birth_date="19500101"))
        warnings = predicted(first, view(2, person=strange), unnamed="confirmed").warnings
        assert any(f"different {said}" in text and "taken as one patient" in text for text in warnings)
    predicted(view(1), view(2), unnamed="refuse")
    predicted(view(1, person=Person("0017-3")), view(2, person=Person("17-3")), unnamed="refuse")
    study = Person(study="1.2.9")
    predicted(view(1, person=study), view(2, person=study), unnamed="refuse")  # nameless, but of one study


def test_exams_years_apart_in_one_mean_are_told() -> None:
    old, new = (view(n, person=Person("p1", examined=day)) for n, day in ((1, "20190301"), (2, "20220401")))
    (warning,) = [text for text in predicted(old, new).warnings if "apart" in text]
    assert warning.startswith("The images of the left breast are from exams 3.1 years apart")
    assert not any("apart" in text for text in predicted(old, replace(new, laterality="R")).warnings)
    old, new = (view(n, person=Person("p1", study=f"1.{n}", age=f"0{41 + 7 * n}y")) for n in (1, 2))
    (warning,) = [text for text in predicted(old, new).warnings if "several exams" in text]
    assert "(their Study Instance UIDs differ; ages 48 and 55), and the result is a mean over them" in warning


def test_control_characters_of_names_are_shown_in_pages_and_not_obeyed() -> None:
    page = environment().from_string("{{ name }}").render(name="a\x1b[31m<b>\u202egnp\u00a0.dcm")
    assert page == "a\\x1b[31m&lt;b&gt;\\u202egnp\u00a0.dcm"


def test_files_and_report_have_one_result_per_breast(tmp_path: Path) -> None:
    found = predicted(view(1), view(2, "R"))
    save_prediction(found, tmp_path / "out")
    content = read_json(tmp_path / "out" / "prediction.json")
    assert content["patient"] is None
    assert [(one["breast"], one["images"]) for one in content["results"]] == [("L", ["1 L CC"]), ("R", ["2 R CC"])]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Prediction for the left breast" in page
    assert "Prediction for the right breast" in page
    old = {**content, "patient": {"probabilities": {"TN": 0.75, "non-TN": 0.25}}}
    del old["results"]  # of a prediction of before
    assert prediction_facts(old, found.bundle_card).results == [("patient", [("TN", 0.75), ("non-TN", 0.25)])]


def test_the_command_asks_about_pictures_that_name_nobody(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(2):
        Image.fromarray(view(n + 1).stored).save(tmp_path / f"{n}.png")
    names = [str(tmp_path / f"{n}.png") for n in range(2)]
    command = ["predict", *names, "--lesion", BOX, "--lesion", BOX, "--model", str(workplace / "m.molsub")]
    line = failing(capsys, *command, "--layers", "none", "--out", str(tmp_path / "out"))
    assert "of 2 images 1, 2 had no PatientID to say whose they are" in line
    assert "--same-patient" in line
    assert "--side: is given 1 time for 2 images" in failing(capsys, *command, "--side", "L", "--out", "x")


def test_both_breasts_of_a_patient_are_two_units_of_one_cluster() -> None:
    """Four lesions of two patients: A has a lesion in each breast, B two views of one."""
    share = np.array([0.9, 0.1, 0.6, 0.8])
    scores = Scores(
        np.stack([1 - share, share], axis=1),
        np.array([1, 1, 0, 0]),
        np.array(["A", "A", "B", "B"]),
        np.arange(4),
        np.array(["L", "R", "L", "L"]),
    )
    units = scores.per_patient()
    assert units.unit.tolist() == ["A/L", "A/R", "B"]
    assert units.patient.tolist() == ["A", "A", "B"]
    assert units.probabilities[:, 1].tolist() == pytest.approx([0.9, 0.1, 0.7])
    drawn = multiplicities(units.patient, units.label, 50, 0)
    assert np.array_equal(drawn[:, 0], drawn[:, 1])
    other = replace(scores, label=np.array([1, 0, *scores.label[2:]]))  # each breast has a subtype of its own
    assert other.per_patient().label[:2].tolist() == [1, 0]
    parts = [replace(scores, patient=np.char.add(scores.patient, str(n)), case=scores.case + 4 * n) for n in range(5)]
    many = Scores.pooled(parts)
    one_each = replace(many, breast=None)
    assert len(patient_auc(many, ("non-TN", "TN"), "TN").influence) == 10  # patients, not breasts
    assert len(one_each.per_patient().label) == 10
    assert len(many.per_patient().label) == 15
