"""``molsub demo``: the whole job on a small synthetic cohort."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from MolSubCore import DISCLAIMER
from MolSubCore.cli.parts import ANEW, Commands, add_command
from MolSubCore.cli.progress import Bar, TrainingBar
from MolSubCore.errors import MolSubError
from MolSubCore.files import MANIFEST, check_free, note_files, read_json, remove_listed
from MolSubCore.lock import alone_in
from MolSubCore.tasks import Subtype

TASK = "her2"
#: What is in every demo, and all that it makes.
_MARK = "demo.txt"
_PARTS = (_MARK, "cohort", "unseen", "cache", "run", "prediction", "synthetic-her2.molsub", "report.*")
PATIENTS = {
    Subtype.LUMINAL_A: 5,
    Subtype.LUMINAL_B: 5,
    Subtype.HER2_HR_POSITIVE: 6,
    Subtype.HER2_HR_NEGATIVE: 6,
    Subtype.TN: 4,
}
_PATIENTS, _EPOCHS = sum(PATIENTS.values()), 8
#: Rows and columns of the mammograms: the network sees a lesion in as many pixels as of a real one.
_SHAPE = (2048, 1664)
#: Brief training on a CPU: few epochs in small steps at a higher rate than the paper's 300 at 1e-4.
SETTINGS = {
    "folds": 1,
    "epochs": _EPOCHS,
    "batch_size": 4,
    "learning_rate": 1e-3,
    "oversampling": 1.3,
    "test_share": 0.3,
}


def check_demo(out: Path) -> None:
    """Refuse a folder in which no demo can be made, before anything is loaded for it; as `run_demo`."""
    check_free(out, replaces=_MARK, remedy="Choose another --out", whole=False)


def add_demo(commands: Commands) -> None:
    """``molsub demo``."""
    text = "train, evaluate and predict on a small synthetic cohort, in a few minutes on a CPU"
    examples = ("demo --out demo", "demo --out longer --patients 60 --epochs 12")
    parser = add_command(commands, "demo", demo, text, ANEW, examples)
    parser.add_argument("--out", default="demo", metavar="DIR", help="folder for everything it makes (default demo)")
    text = f"synthetic patients to train and test on (default {_PATIENTS}, at least as many)"
    parser.add_argument("--patients", type=int, default=_PATIENTS, metavar="N", help=text)
    text = (
        f"epochs of training (default {_EPOCHS}); 12 with 60 patients take ten minutes and tell the classes well apart"
    )
    parser.add_argument("--epochs", type=int, default=_EPOCHS, metavar="N", help=text)
    parser.add_argument("--seed", type=int, default=7, help="random seed (default 7)")


def demo(options: argparse.Namespace) -> int:
    """``molsub demo``."""
    run_demo(Path(options.out), seed=options.seed, patients=options.patients, epochs=options.epochs)
    return 0


def run_demo(out: Path, *, seed: int = 7, patients: int = _PATIENTS, epochs: int = _EPOCHS) -> None:
    """Make a cohort, train, evaluate, predict an unseen case, and say where everything is.

    Parameters
    ----------
    out : Path
        Folder for everything; a demo that is there already is made anew.
    patients, epochs : int
        Of the training; with 60 and 12 it tells the classes of the synthetic cohort well apart.

    Raises
    ------
    MolSubError
        If `out` holds anything that is not of a demo, or there are too few patients or epochs.
    """
    check_demo(out)
    for option, value, least in (("--patients", patients, _PATIENTS), ("--epochs", epochs, 1)):
        if value < least:
            raise MolSubError(option, f"is {value}, expected {least} or more", "Leave it out, or give more")
    with alone_in(out):
        if (out / MANIFEST).is_file():
            remove_listed(out)
        try:
            _make(out, {**SETTINGS, "epochs": epochs, "seed": seed}, patients / _PATIENTS)
        finally:
            note_files(out, only=_PARTS)


def _make(out: Path, settings: dict[str, Any], times: float) -> None:
    from MolSubCore.evaluation.evaluate import evaluate_run, summary_lines
    from MolSubCore.models.bundle import read_bundle
    from MolSubCore.prediction.predict import predict
    from MolSubCore.prediction.write import save_prediction
    from MolSubCore.training.export import export_run
    from MolSubCore.training.run import train
    from MolSubCore.training.session import TrainingOptions, prepare_training

    (out / _MARK).write_text(f"Everything here is synthetic: no patient. {DISCLAIMER}\n", encoding="utf-8")
    print("MolSubSlicer demo. Every picture is SYNTHETIC, no patient; the numbers say nothing about real cancers.")
    cohort, unseen = _cohorts(out, settings["seed"], times)
    run = out / "run"
    options = TrainingOptions(cohort, run, TASK, cache=out / "cache", pretrained="none", settings=settings)
    with Bar("reading images") as bar:
        session = prepare_training(options, progress=bar)
    listener = TrainingBar(session.plan.folds, session.plan.epochs)
    train(session.plan, session.data, run, listener=listener)
    listener.close()
    evaluation = evaluate_run(run)
    bundle = export_run(run, out / "synthetic-her2.molsub", fold="best")
    with Bar("predicting") as bar:
        images = sorted((unseen / "images").glob("*.dcm"))
        pairs = [(image, unseen / "masks" / f"{image.stem}.nii.gz") for image in images]
        folder = save_prediction(predict(pairs, read_bundle(bundle)), out / "prediction")
        bar(1, 1)
    _report(folder, bundle, evaluation, run / "evaluation.png", out / "report.html")
    print("\n".join(summary_lines(evaluation)))
    print(f"\nAll synthetic. {DISCLAIMER}")
    for title, path in (
        ("Report", out / "report.html"),
        ("Overlays and heatmaps", folder),
        ("Evaluation", run / "evaluation.png"),
        ("Model bundle", bundle),
        ("Cohort", cohort),
    ):
        print(f"{title + ':':24}{path}")


def _cohorts(out: Path, seed: int, times: float) -> tuple[Path, Path]:
    """The cohort's table of so many times `PATIENTS`, and the folder of one patient that no training sees."""
    from MolSubCore.cohort.synthetic import make_synthetic_cohort

    with Bar("drawing mammograms") as bar:
        counts = {subtype: round(times * count) for subtype, count in PATIENTS.items()}
        table = make_synthetic_cohort(out / "cohort", counts=counts, seed=seed, image_shape=_SHAPE, progress=bar)
    with Bar("drawing an unseen case") as bar:
        counts = {Subtype.TN: 1}
        unseen = make_synthetic_cohort(out / "unseen", counts=counts, seed=seed + 1, image_shape=_SHAPE, progress=bar)
    return table, unseen.parent


def _report(folder: Path, bundle: Path, evaluation: dict[str, object], picture: Path, out: Path) -> None:
    """The prediction's report again, with the evaluation of the model it came from."""
    from MolSubCore.models.card import read_card
    from MolSubCore.prediction.report import prediction_pdf, prediction_report

    for name in ("report.html", "report.pdf"):  # the same without the evaluation
        (folder / name).unlink()
    result = read_json(folder / "prediction.json")
    pictures = {image["lesion"]: [folder / name for name in image["overlays"].values()] for image in result["images"]}
    card = read_card(bundle)
    prediction_report(result, pictures, card, out, evaluation=evaluation, evaluation_picture=picture)
    prediction_pdf(result, pictures, card, out.with_suffix(".pdf"), evaluation_picture=picture)
