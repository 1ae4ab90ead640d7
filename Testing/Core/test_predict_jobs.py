"""The jobs ``predict`` and ``warm``, against the library function, its saved files, and a real worker process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from heatmap_files import on_image
from written_files import mammogram_dataset, write_dicom

from MolSubCore.cohort.synthetic import make_synthetic_cohort
from MolSubCore.errors import LesionError, MolSubError
from MolSubCore.files import read_json
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.lesions.roi import square_roi
from MolSubCore.models.bundle import read_bundle, write_bundle
from MolSubCore.models.registry import build_model
from MolSubCore.prediction.predict import predict as predict_directly
from MolSubCore.prediction.write import save_prediction
from MolSubCore.tasks import Subtype, get_task
from MolSubCore.worker import cache, prediction
from MolSubCore.worker.jobs import predict, warm
from MolSubCore.worker.protocol import Cancel, Event, Request, read_event

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("features.1", "features.5")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two views of a synthetic patient, a small model of five classes with random weights."""
    folder = tmp_path_factory.mktemp("place")
    make_synthetic_cohort(folder / "cohort", counts={Subtype.TN: 1}, seed=5, image_shape=(512, 416))
    torch.manual_seed(1)
    task = get_task("subtype5")
    write_bundle(
        folder / "m.molsub",
        [build_model("simple-cnn", 5).state_dict()],
        architecture="simple-cnn",
        task=task.name,
        classes=task.classes,
        recipe=get_recipe("default").to_dict(),
        dropout=0.3,
    )
    return folder


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    cache.forget()
    yield
    cache.forget()


def pairs(place: Path) -> list[tuple[str, str]]:
    images = sorted((place / "cohort" / "images").glob("*.dcm"))
    return [(str(image), str(place / "cohort" / "masks" / f"{image.stem}.nii.gz")) for image in images]


def request(place: Path, out: Path, **more: Any) -> dict[str, Any]:
    images = [{"image": image, "lesions": lesions} for image, lesions in pairs(place)]
    return {"bundle": str(place / "m.molsub"), "images": images, "out": str(out), **more}


def quiet(share: float, **values: Any) -> None:
    """A listener that does not listen."""


def test_numbers_and_maps_are_those_of_the_command_line(place: Path, tmp_path: Path) -> None:
    seen: list[tuple[float, str]] = []
    first: list[dict[str, Any]] = []

    def listen(share: float, stage: str, prediction: dict[str, Any] | None = None) -> None:
        seen.append((share, stage))
        first.extend([prediction] if prediction else [])

    options = request(place, tmp_path / "out", layers=list(LAYERS))
    result = predict(options, listen)["prediction"]
    assert [stage for _, stage in seen] == ["loading model", "reading", "predicting", "predicted", "writing"]
    assert [share for share, _ in seen] == sorted(share for share, _ in seen)
    assert (first[0]["results"], first[0]["warnings"]) == (result["results"], result["warnings"])
    for early, item in zip(first[0]["items"], result["items"], strict=True):
        (class_,) = early["classes"]
        assert early["probabilities"][class_] == max(early["probabilities"].values())
        assert np.array_equal(np.load(early["maps"])[:, 0], np.load(item["maps"])[:, item["classes"].index(class_)])
    assert result == read_json(tmp_path / "out" / "prediction.json")
    direct = predict_directly(pairs(place), read_bundle(place / "m.molsub"), layers=LAYERS, classes="all")
    saved = read_json(save_prediction(direct, tmp_path / "cli") / "prediction.json")
    for name in ("task", "classes", "positive", "model", "patient", "warnings"):
        assert result[name] == saved[name]
    assert len(result["items"]) == len(saved["images"]) == 2
    for index, (item, entry) in enumerate(zip(result["items"], saved["images"], strict=True)):
        assert (item["image_index"], item["lesion_index"]) == (index, 0)
        for name in ("image", "lesion", "roi", "image_shape", "probabilities"):
            assert item[name] == entry[name]
        maps = np.load(item["maps"], mmap_mode="r")
        row0, row1, col0, col1 = item["maps_box"]
        assert maps.dtype == np.float32
        assert maps.shape == (2, 5, row1 - row0, col1 - col0)
        for layer, name in enumerate(item["layers"]):
            for position, class_ in enumerate(item["classes"]):
                file = tmp_path / "cli" / entry["heatmaps_by_class"][class_][name]["scaled"]
                full = on_image(file, tuple(entry["image_shape"]))
                # Weighted sums of one class and of several are added up in another order.
                np.testing.assert_allclose(maps[layer, position], full[row0:row1, col0:col1], atol=1e-5)
                blind = {"layer": name, "class": class_} in entry["blind_heatmaps"]
                assert item["blind"][layer][position] == blind
    text = json.dumps(result)
    assert not any(image in text or Path(image).stem in text for image, _ in pairs(place))


def test_several_lesions_have_their_places(place: Path, tmp_path: Path) -> None:
    image = pairs(place)[0][0]
    labels = np.zeros((512, 416), np.uint8)
    labels[100:120, 250:280], labels[300:340, 260:290] = 1, 2
    sitk.WriteImage(sitk.GetImageFromArray(labels[None]), str(tmp_path / "m.nrrd"))
    images = [{"image": image, "lesions": "200,260,220,290"}, {"image": image, "lesions": str(tmp_path / "m.nrrd")}]
    options = request(place, tmp_path / "out", layers=[]) | {"images": images}
    items = predict(options, quiet)["prediction"]["items"]
    assert [(item["image_index"], item["lesion_index"]) for item in items] == [(0, 0), (1, 0), (1, 1)]
    assert [item["maps"] for item in items] == [None] * 3
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["prediction.json"]


def test_only_the_predicted_class(place: Path, tmp_path: Path) -> None:
    result = predict(request(place, tmp_path / "out", classes="predicted", layers=["features.5"]), quiet)["prediction"]
    for item in result["items"]:
        assert item["classes"] == [max(item["probabilities"], key=item["probabilities"].__getitem__)]
        assert np.load(item["maps"]).shape[:2] == (1, 1)


def test_a_region_larger_than_the_image_is_cut_at_its_border(place: Path, tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 4000, (160, 300)).astype(np.uint16)
    image = write_dicom(tmp_path / "a.dcm", mammogram_dataset(stored, 12))
    images = [{"image": str(image), "lesions": "50,60,90,90"}]
    options = request(place, tmp_path / "out", layers=["features.5"]) | {"images": images}
    (item,) = predict(options, quiet)["prediction"]["items"]
    from MolSubCore.lesions.lesion import Box

    expected = square_roi(Box(50, 90, 60, 90), (100, 100), (160, 300))
    assert item["roi"]["row_start"] == expected.row_start < 0
    assert item["maps_box"] == [0, 160, expected.col_start, expected.col_stop]
    assert np.load(item["maps"]).shape == (1, 5, 160, 240)


def test_files_are_read_once_and_again_when_they_change(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    images, bundles = cache.read_mammogram, read_bundle
    monkeypatch.setattr(cache, "read_mammogram", lambda path: read.append(Path(path).suffix) or images(path))
    monkeypatch.setattr(
        "MolSubCore.models.bundle.read_bundle",
        lambda path, device: read.append(Path(path).suffix) or bundles(path, device=device),
    )
    stored = np.random.default_rng(0).integers(0, 4000, (512, 416)).astype(np.uint16)
    image = write_dicom(tmp_path / "a.dcm", mammogram_dataset(stored, 12))
    options = request(place, tmp_path / "out", layers=[]) | {"images": [{"image": str(image), "lesions": "9,9,40,40"}]}
    first = predict(options, quiet)["prediction"]["patient"]
    assert predict(options, quiet)["prediction"]["patient"] == first
    assert read == [".molsub", ".dcm"]
    write_dicom(image, mammogram_dataset(stored[::-1].copy(), 12))
    os.utime(image, ns=(1, 1))
    assert predict(options, quiet)["prediction"]["patient"] != first
    assert read == [".molsub", ".dcm", ".dcm"]


def test_little_is_kept() -> None:
    kept: cache.Kept[int] = cache.Kept(2)
    read: list[int] = []
    for key in (1, 2, 1, 3, 1, 2):
        assert kept.get(key, lambda key=key: read.append(key) or key) == key  # type: ignore[misc]
    assert read == [1, 2, 3, 2]  # 2 was used longest ago when 3 came
    with pytest.raises(ZeroDivisionError):
        kept.get(4, lambda: 1 // 0)
    assert kept.get(2, lambda: 0) == 2


@pytest.mark.parametrize(
    ("error", "words"),
    [(torch.OutOfMemoryError("CUDA out of memory. Tried"), "GPU"), (MemoryError(), "computer"),
     (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), "computer")],
)  # fmt: skip
def test_out_of_memory_is_one_sentence_with_advice(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def fail(*given: Any, **named: Any) -> None:
        raise error

    monkeypatch.setattr(prediction, "predict", fail)
    with pytest.raises(MolSubError, match=rf"more memory than the {words} has free\. Close other programs") as caught:
        predict(request(place, tmp_path / "out"), quiet)
    assert ("cpu" in str(caught.value)) == (words == "GPU")
    monkeypatch.undo()
    assert predict(request(place, tmp_path / "out", layers=[]), quiet)["prediction"]["items"]


def test_another_fault_is_not_taken_for_memory(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "predict", lambda *given, **named: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        predict(request(place, tmp_path / "out"), quiet)


def test_bad_requests(place: Path, tmp_path: Path) -> None:
    for options, words in (
        ({"bundle": "x"}, "lacks the option images"),
        (request(place, tmp_path / "o", classes=["Luminal C"]), "Luminal C"),
        (request(place, tmp_path / "o", layers=["features.99"]), "features.99"),
        (request(place, tmp_path / "o") | {"bundle": str(tmp_path / "none.molsub")}, "is not a bundle"),
    ):
        with pytest.raises(MolSubError, match=words):
            predict(options, quiet)
    unknown = request(place, tmp_path / "o")
    unknown["images"][0]["view"] = "banana"
    with pytest.raises(MolSubError, match="view of image 1: is 'banana'"):
        predict(unknown, quiet)
    wrong = request(place, tmp_path / "o")
    wrong["images"][0]["lesions"] = "600,600,700,700"
    with pytest.raises(LesionError, match="no pixel on the image"):
        predict(wrong, quiet)
    assert not (tmp_path / "o").exists()


def test_warm_reads_the_bundle(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert warm({"bundle": str(place / "m.molsub")}, quiet) == {}
    monkeypatch.setattr("MolSubCore.models.bundle.read_bundle", lambda *given, **named: 1 // 0)
    assert len(cache.cached_bundle(place / "m.molsub").models) == 1


class Process:
    """A real worker and the pipes to it."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen([sys.executable, "-u", "-m", "MolSubCore", "worker"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, encoding="utf-8", env=environment)  # fmt: skip

    def say(self, message: Request | Cancel) -> None:
        assert self.process.stdin
        self.process.stdin.write(message.line())
        self.process.stdin.flush()

    def hear(self) -> Event:
        assert self.process.stdout
        return read_event(self.process.stdout.readline())

    def ended(self, name: str) -> Event:
        while True:
            event = self.hear()
            if event.id == name and event.event in ("done", "failed", "cancelled"):
                return event


def test_a_job_cancelled_while_pytorch_loads_leaves_a_worker_that_predicts(place: Path, tmp_path: Path) -> None:
    worker = Process()
    try:
        assert worker.hear().values["pid"] == worker.process.pid
        for number, seconds in enumerate((0.0, 0.4, 0.8)):
            worker.say(Request(f"c{number}", "predict", request(place, tmp_path / f"c{number}")))
            time.sleep(seconds)
            worker.say(Cancel(f"c{number}"))
            assert worker.ended(f"c{number}").event in ("cancelled", "done")
        assert not (tmp_path / "c0").exists()
        worker.say(Request("p", "predict", request(place, tmp_path / "p", layers=list(LAYERS))))
        done = worker.ended("p")
        assert done.event == "done", done.values
        found = done.values["result"]["prediction"]["patient"]["probabilities"]
        expected = predict_directly(pairs(place), read_bundle(place / "m.molsub"), layers=[]).patient
        assert found == pytest.approx(expected, abs=1e-6)
    finally:
        assert worker.process.stdin
        worker.process.stdin.close()
        assert worker.process.wait(20) == 0
