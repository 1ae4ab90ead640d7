"""Options of training and of studies."""

from __future__ import annotations

import argparse

from MolSubCore.cli_parts import RESUMABLE, STUDY_KEPT, TRUST_IDS, Commands, add_command
from MolSubCore.tasks import TASKS


def add_train(commands: Commands) -> None:
    """``molsub train``."""
    parser = add_command(
        commands,
        "train",
        "commands.train",
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


def add_study(commands: Commands) -> None:
    """``molsub study`` and ``molsub study-report``."""
    text = "the whole study: every task, architecture and fold, the baselines, all tables and figures, a report"
    parser = add_command(
        commands,
        "study",
        "study_command.study",
        text,
        STUDY_KEPT,
        (
            "study cohort.csv --out study --pretrained auto --dry-run",
            "study cohort.csv --out study --jobs 2",
            "study cohort.csv --out study --tasks tn --architectures densenet121-cbam simple-cnn --clinical age",
        ),
    )
    add = parser.add_argument
    add("table", metavar="TABLE", help="cohort table: csv, tsv or xlsx")
    add("--out", required=True, metavar="STUDY", help="study folder; one that is there is gone on with")
    add(
        "--tasks",
        nargs="+",
        default=[],
        choices=sorted(TASKS),
        help="default the paper's four: luminal, her2, tn, subtype5",
    )
    add(
        "--architectures",
        nargs="+",
        default=[],
        metavar="NAME",
        help="networks and baselines (radiomics-svm, radiomics-gb); default the paper's nine, and the baselines where "
        "their library is installed",
    )
    add("--clinical", nargs="+", default=[], metavar="COLUMN", help="columns of the table for late fusion, such as age")
    add("--dry-run", action="store_true", help="check everything, print the plan and an estimate, train nothing")
    add("--jobs", type=int, default=1, metavar="N", help="jobs at a time (default 1)")
    add("--executor", choices=("local", "slurm"), default="local", help="where the jobs run (default local)")
    add("--partition", metavar="NAME", help="of the Slurm cluster")
    add("--time-limit", type=int, default=24 * 60, metavar="MINUTES", help="of a job on Slurm (default a day)")
    add("--split", metavar="FILE", help="split file of an earlier study, or a csv with patient_id,partition")
    add("--cache", metavar="DIR", help="folder of the patch cache (default: the user's cache folder, or $MOLSUB_CACHE)")
    add("--trust-ids", action="store_true", help=TRUST_IDS)
    add(
        "--pretrained",
        default="",
        metavar="kept|auto|none|DIR",
        help="ImageNet weights: kept by an earlier download (default), auto to download them, none, or a folder of "
        "torchvision's files",
    )
    _plan_options(parser, without=("architecture",))
    text = "tables, figures and page of a study folder again, of what is finished"
    report = add_command(commands, "study-report", "study_command.study_report", text, examples=("study-report study",))
    report.add_argument("study", metavar="STUDY", help="study folder")


def _plan_options(parser: argparse.ArgumentParser, without: tuple[str, ...] = ()) -> None:
    """Options that are fields of the plan; those left out are absent from the namespace."""
    for option, kind, text in _PLAN_OPTIONS:
        if option not in without:
            parser.add_argument(
                f"--{option}", type=kind, default=argparse.SUPPRESS, metavar=kind.__name__.upper(), help=text
            )
    for option, choices, text in _PLAN_CHOICES:
        parser.add_argument(f"--{option}", choices=choices, default=argparse.SUPPRESS, help=text)
