"""Every kind of write of the library, small: what was there before, the write, and what a reader makes of it."""

from __future__ import annotations

import importlib
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import fault_cohorts as cohorts
import jinja2
import torch
from fake_study import make_fake_study, write_blobs
from families import filled
from fault_kinds import Write
from kill_driver import data, tiny_model
from PIL import Image
from reportlab import rl_config

from MolSubCore.cohort.splits import Split
from MolSubCore.cohort.store import build_store
from MolSubCore.cohort.table import read_cohort
from MolSubCore.evaluation import evaluate
from MolSubCore.evaluation.evaluate import evaluate_run
from MolSubCore.explain.examples import read_attention
from MolSubCore.files import atomic_path, read_json
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.lock import alone_in
from MolSubCore.models.bundle import Bundle, write_bundle
from MolSubCore.models.card import read_card, read_member
from MolSubCore.models.fingerprints import DEVELOPMENT, Fingerprints
from MolSubCore.models.registry import build_model
from MolSubCore.prediction.predict import predict
from MolSubCore.prediction.table import predict_table
from MolSubCore.prediction.write import save_prediction
from MolSubCore.report.items import Picture, new_figure
from MolSubCore.study import finish
from MolSubCore.study.fusion import make_fusions
from MolSubCore.study.page import report as study_report
from MolSubCore.study.page.tables import models_table
from MolSubCore.study.results import read_study
from MolSubCore.tasks import TASKS
from MolSubCore.training import run as training
from MolSubCore.training.loop import Event, load_checkpoint
from MolSubCore.training.plan import Plan

RUN = Path("runs") / "luminal--densenet121-cbam"


class Halted(Exception):
    """Ends the preparation of a training after its first epoch."""


def _plan(**more: object) -> Plan:
    values: dict[str, object] = {
        "task": "tn", "architecture": "simple-cnn", "recipe": get_recipe("default").to_dict(), "data_hash": "d",
        "split_hash": "s", "folds": 2, "epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "threads": 1,
    }  # fmt: skip
    return Plan(**(values | more))  # type: ignore[arg-type]


def _train(folder: Path, halt: bool = False) -> None:
    def listen(event: Event) -> None:
        if halt and event.kind == "step" and event.epoch == 2:
            raise Halted

    with patch.object(training, "build_model", tiny_model):
        training.train(_plan(), data(), folder, only_folds=[1], listener=listen)


def _half_trained(folder: Path) -> None:
    try:
        _train(folder, halt=True)
    except Halted:
        return
    raise AssertionError("the training was to be halted")


def _read_training(folder: Path) -> object:
    model = tiny_model("", 2, dropout=0.3)
    return [load_checkpoint(file, model) for file in folder.rglob("[!.]*.safetensors")], training.finished_folds(folder)


def _store(folder: Path) -> str:
    found = build_store(read_cohort(cohorts.COHORT / "table.csv"), get_recipe("default"), folder / "cache")
    assert found.patches.shape == (3, 224, 224)
    return found.data_hash()


def _damage_pack(folder: Path) -> None:
    """A cache that knows one image already, and a pack that was cut by something else."""
    _store(folder)
    (pack,) = (folder / "cache" / "packs").iterdir()
    (pack / "pack.json").write_text("{")
    next((folder / "cache").rglob("*.safetensors")).unlink()


def _run_folder(folder: Path) -> None:
    split = Split({"a": "test", "b": 1, "c": 2}, 2, 0, "00" * 16)
    training.prepare_run(folder / "run", _plan(), split, _Summary(**vars(data())), resume=True)


class _Summary(training.TrainingData):
    """A training's data whose key is the same every time, as the split's is."""

    def summary(self) -> dict[str, Any]:
        return {"patients": 3}

    def fingerprints(self) -> Fingerprints:
        return Fingerprints(bytes(32), {}).with_part(DEVELOPMENT, ["a", "b", "c"])


def _bundle(path: Path, seed: int, overwrite: bool) -> None:
    """Write a bundle with members large enough to be torn."""
    members = [{"weight": torch.full((4096,), float(seed + number))} for number in range(2)]
    recipe = get_recipe("default").to_dict()
    shared = {"architecture": "simple-cnn", "task": "tn", "classes": TASKS["tn"].classes, "recipe": recipe}
    write_bundle(path, members, dropout=0.3, overwrite=overwrite, **shared)  # type: ignore[arg-type]


def _read_bundle(path: Path) -> object:
    card = read_card(path)
    return [read_member(path, member) for member in card["members"]]


def _fake_study(folder: Path) -> None:
    """A study whose folds are done and older than everything that is made of them."""
    make_fake_study(
        folder, tasks=("luminal",), models=("densenet121-cbam",), fusions={}, patients=40, folds=2, resamples=5,
        attention=False,
    )  # fmt: skip
    (folder / RUN / "evaluation.json").unlink()


#: Every picture and table is written alike, so that one of each will do.
_PICTURE = Picture("figure-2", "drawn", figure=new_figure(2, 2, "t", synthetic=True, fixed=True))
_PAGE = jinja2.Environment(loader=jinja2.DictLoader({"study.html": "<html>{{ pictures }}</html>"}))


def _draw(path: Path) -> None:
    with atomic_path(path) as temporary:
        Image.new("L", (9, 9)).save(temporary)


def _merge(folder: Path) -> None:
    """`MolSubCore.study.finish.finish_study` and the report, with one table and one picture."""
    run = folder / RUN
    with alone_in(folder):
        with (
            patch.object(finish, "evaluate_run", partial(evaluate_run, resamples=5)),
            patch.object(evaluate, "draw_evaluation", lambda path, *found: _draw(path)),
        ):
            finish.bring_up_to_date(run)
            make_fusions(run, ["views-mean"], None)
            finish.bring_up_to_date(run.with_name(f"{run.name}+views-mean"))
        write_blobs(run, 0)
        with (
            patch.object(study_report, "make_figures", lambda *found: [lambda: [_PICTURE]]),
            patch.object(study_report, "make_tables", lambda found, *more: [models_table(found)]),
            patch.object(study_report, "environment", lambda: _PAGE),
        ):
            study_report.write_report(read_study(folder))


def _read_study(folder: Path) -> object:
    found = read_study(folder)
    return [read_attention(run.folder) for run in found.runs.values()]


@lru_cache(maxsize=1)
def model() -> Bundle:
    """A small network with random weights."""
    recipe = get_recipe("default").to_dict()
    card = {
        "architecture": "mob-cbam", "task": "tn", "classes": list(TASKS["tn"].classes), "recipe": recipe,
        "members": [{"file": "model-1.safetensors", "sha256": "0" * 64}], "name": "m", "temperature": None,
    }  # fmt: skip
    network = filled(lambda: build_model("mob-cbam", 2, dropout=0.3)).eval().requires_grad_(False)
    return Bundle(card, (network,), torch.device("cpu"))


def warm() -> None:
    """What every child would do again; no computation of torch, which a fork would not survive."""
    model()
    training.software()
    for name in ("MolSubCore.prediction.write", "MolSubCore.prediction.report", "torch._dynamo"):
        importlib.import_module(name)
    rl_config.useA85 = 0  # a pure Python encoding, which takes most of a prediction's time


def _one(folder: Path) -> None:
    out = folder / "out"
    found = predict([(cohorts.COHORT / "p0_R_CC.png", cohorts.BOX)], model(), layers=["features.0.0"], classes="all")
    save_prediction(found, out, overwrite=True)


def _another(folder: Path) -> None:
    """The prediction of another image, which is then replaced."""
    found = predict([(cohorts.COHORT / "p1_R_CC.png", cohorts.BOX)], model(), layers=[])
    save_prediction(found, folder / "out")


def _table(folder: Path) -> None:
    assert predict_table(cohorts.COHORT / "table.csv", model(), folder / "out", {"layers": []}, resume=True) == 0


def _nothing(folder: Path) -> None:
    return None


WRITES = (
    Write("checkpoint and results of a fold", _half_trained, _train, _read_training),
    Write("new run folder", _nothing, _run_folder, _nothing),
    Write("patch cache", _damage_pack, _store, _store, vanishes=True),
    Write(
        "bundle, one file, replaced",
        lambda folder: _bundle(folder / "m.molsub", 1, False),
        lambda folder: _bundle(folder / "m.molsub", 5, True),
        lambda folder: _read_bundle(folder / "m.molsub"),
        whole=True,
    ),
    Write(
        "bundle, a folder, replaced",
        lambda folder: _bundle(folder / "m", 1, False),
        lambda folder: _bundle(folder / "m", 5, True),
        lambda folder: _read_bundle(folder / "m"),
        whole=True,
    ),
    Write("mask, note and table of a worklist", cohorts.first_mask,
          lambda folder: cohorts.outline_again(folder, 2), cohorts.read_worklist),
    Write("merge of a study", _fake_study, _merge, _read_study),
    Write("one prediction, replaced", _another, _one, lambda folder: read_json(folder / "out" / "prediction.json"),
          whole=True),
    Write("table, masks and report of an import", _nothing, cohorts.make_import, cohorts.read_import),
    Write("predictions of a table", _nothing, _table, _nothing),
)  # fmt: skip
