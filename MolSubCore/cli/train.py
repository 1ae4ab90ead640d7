"""``molsub train``."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import TYPE_CHECKING

from MolSubCore.cli.parts import RESUMABLE, TRUST_IDS, Commands, add_command
from MolSubCore.cli.progress import Bar, TrainingBar
from MolSubCore.tasks import TASKS

if TYPE_CHECKING:
    from MolSubCore.training.plan import Plan


def add_train(commands: Commands) -> None:
    """``molsub train``."""
    parser = add_command(
        commands,
        "train",
        train,
        "train a model on a cohort, with cross-validation, and evaluate it",
        RESUMABLE,
        (
            "train cohort.csv --task tn --out runs/tn --pretrained auto",
            "train cohort.csv --task tn --out runs/tn --resume",
        ),
    )
    add = parser.add_argument
    add("table", metavar="TABLE", help="cohort table: csv, tsv or xlsx")
    add("--out", required=True, metavar="RUN", help="run folder")
    add("--task", choices=sorted(TASKS), required=True, help="what to tell apart")
    add("--resume", action="store_true", help="go on with the run in RUN")
    add("--split", metavar="FILE", help="split file of an earlier run, or a csv with patient_id,partition")
    add("--cache", metavar="DIR", help="folder of the patch cache (default: the user's cache folder, or $MOLSUB_CACHE)")
    add("--trust-ids", action="store_true", help=TRUST_IDS)
    add("--only-fold", type=int, action="append", metavar="N", help="train this fold only; may be repeated")
    add(
        "--pretrained",
        default=argparse.SUPPRESS,
        metavar="kept|auto|none|FILE",
        help="ImageNet weights: kept by an earlier download (default), auto to download them, none, or a local file; "
        "simple-cnn and densenet121 take none",
    )
    _plan_options(parser)


#: Options of the plan; the names are the plan's fields. Left out, the plan's defaults hold.
_PLAN_OPTIONS: tuple[tuple[str, type, str], ...] = (
    ("architecture", str, "densenet121-cbam (default), simple-cnn, resnet101, ...; a wrong name lists all"),
    ("recipe", str, "preprocessing: default or published-2025"),
    ("bound", float, "margin around the lesion's box (default 100)"),
    ("folds", int, "folds of the cross-validation (default 5)"),
    ("epochs", int, "largest number of epochs (default 300)"),
    ("seed", int, "origin of all random numbers (default 21)"),
    ("batch-size", int, "patches per step (default 8)"),
    ("learning-rate", float, "AdamW's (default 1e-4)"),
    ("weight-decay", float, "AdamW's (default 0.005)"),
    ("dropout", float, "share of channels dropped in training (default 0.3)"),
    ("oversampling", float, "size of an epoch over the training part (default: the paper's, by task)"),
    ("patience", int, "epochs without a better one before it stops early (default 100)"),
    ("test-share", float, "share of patients kept for the test set (default 0.2)"),
    ("threads", int, "CPU threads (default: all cores)"),
)


_PLAN_CHOICES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("bound-unit", ("px", "mm"), "unit of --bound (default px)"),
    ("schedule", ("cosine", "cosine-published"), "learning rate over the epochs (default cosine)"),
    ("monitor", ("val_loss", "val_auc"), "what chooses the best epoch (default val_loss)"),
    ("device", ("auto", "cpu", "cuda"), "default auto"),
    ("precision", ("auto", "fp32", "bf16"), "default auto: bf16 where the hardware has it"),
)


def _plan_options(parser: argparse.ArgumentParser, without: tuple[str, ...] = ()) -> None:
    """Options that are fields of the plan; those left out are absent from the namespace."""
    for option, kind, text in _PLAN_OPTIONS:
        if option not in without:
            parser.add_argument(
                f"--{option}", type=kind, default=argparse.SUPPRESS, metavar=kind.__name__.upper(), help=text
            )
    for option, choices, text in _PLAN_CHOICES:
        parser.add_argument(f"--{option}", choices=choices, default=argparse.SUPPRESS, help=text)


def train(options: argparse.Namespace) -> int:
    """``molsub train``: trains, evaluates and says where the run is."""
    from MolSubCore.training.distributed import launched
    from MolSubCore.training.session import TrainingOptions, check_training

    wanted = TrainingOptions.from_namespace(options)
    if launched()[1] == 1:  # what is wrong is said before PyTorch is loaded
        check_training(wanted)
    from MolSubCore.cohort.pseudonyms import key_advice
    from MolSubCore.evaluation.evaluate import summary_lines
    from MolSubCore.evaluation.train import train_run

    with Bar("reading images") as reading, ExitStack() as stack:

        def listen(plan: Plan) -> TrainingBar:
            reading.close()
            bar = TrainingBar(plan.folds, plan.epochs)
            stack.callback(bar.close)
            return bar

        trained = train_run(wanted, reading=reading, listen=listen, evaluating=stack.close)
    if launched()[0] > 0:
        return 0
    for note in trained.notes:
        print(f"Note: {note}")
    if trained.evaluation is None:
        print(f"Trained in {trained.run}; folds not trained yet: {', '.join(map(str, trained.missing))}.")
        return 0
    for line in summary_lines(trained.evaluation):
        print(line)
    print(f"\nRun: {trained.run}\nEvaluation: {trained.run / 'evaluation.png'}")
    print(f"Make a bundle of it: molsub models export {trained.run} --out BUNDLE")
    print(key_advice(trained.run / "split.json"))
    return 0
