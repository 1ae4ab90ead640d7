"""``molsub train``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from MolSubCore.cli.parts import RESUMABLE, TRUST_IDS, Commands, add_command
from MolSubCore.cli.progress import Bar, TrainingBar
from MolSubCore.tasks import TASKS
from MolSubCore.training.plan import SETTINGS

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
    add("--task", choices=sorted(TASKS), required=True, help="classification task")
    add("--resume", action="store_true", help="resume the run in RUN")
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
    add_settings(parser)


def add_settings(parser: argparse.ArgumentParser, without: tuple[str, ...] = ()) -> None:
    """An option for each setting of the plan; those left out are absent from the namespace."""
    for setting in SETTINGS:
        if setting.name not in without:
            parser.add_argument(
                f"--{setting.name.replace('_', '-')}",
                type=setting.kind,
                choices=setting.choices or None,
                default=argparse.SUPPRESS,
                metavar=None if setting.choices else setting.kind.__name__.upper(),
                help=f"{setting.help} (default {setting.default})",
            )


def train(options: argparse.Namespace) -> int:
    """``molsub train``: trains, evaluates and says where the run is."""
    from MolSubCore.training.session import TrainingOptions, check_training

    wanted = TrainingOptions.from_namespace(options)
    check_training(wanted)  # before PyTorch is loaded
    from MolSubCore.cohort.pseudonyms import key_advice
    from MolSubCore.evaluation.evaluate import summary_lines
    from MolSubCore.evaluation.train import train_run

    with Bar("reading images") as reading, ExitStack() as stack:

        def note(texts: Sequence[str]) -> None:
            reading.close()
            for text in texts:
                print(f"Note: {text}")

        def listen(plan: Plan) -> TrainingBar:
            bar = TrainingBar(plan.folds, plan.epochs)
            stack.callback(bar.close)
            return bar

        trained = train_run(wanted, reading=reading, noting=note, listen=listen, evaluating=stack.close)
    if trained.evaluation is None:
        print(f"Trained in {trained.run}; folds not trained yet: {', '.join(map(str, trained.missing))}.")
        return 0
    for line in summary_lines(trained.evaluation):
        print(line)
    print(f"\nRun: {trained.run}\nEvaluation: {trained.run / 'evaluation.png'}")
    print(f"Make a bundle of it: molsub models export {trained.run} --out BUNDLE")
    print(key_advice(trained.run / "split.json"))
    return 0
