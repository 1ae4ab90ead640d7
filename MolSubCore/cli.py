"""The command line: options only. What they do is in `MolSubCore.commands`.

Nothing heavy is imported here, so that ``molsub --help`` answers at once.
"""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from MolSubCore import DISCLAIMER, __version__
from MolSubCore.tasks import TASKS

_RESUMABLE = "What is finished is kept; the same command with --resume goes on."
_NOTHING_LEFT = "Nothing half-written was left."
_ANEW = "The same command begins anew."
_STUDY_KEPT = "What is finished is kept; the same command goes on."
_CASES_KEPT = "Finished cases of a table are kept; the same command with --resume goes on."

Commands = Any  # argparse's own type for subparsers is private


class _Parser(argparse.ArgumentParser):
    """Errors of usage in one line, as all others are."""

    def error(self, message: str) -> NoReturn:
        """End with exit code 2."""
        self.exit(2, f"molsub: {' '.join(message.split())}. See {self.prog} --help.\n")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line of ``molsub``."""
    parser = _Parser(
        prog="molsub",
        description=f"Molecular subtypes of breast cancer from mammograms. {DISCLAIMER}",
    )
    parser.add_argument("--version", action="version", version=f"molsub {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _demo(commands)
    _cohort(commands)
    _train(commands)
    _study(commands)
    _evaluate(commands)
    _predict(commands)
    _explain_study(commands)
    _models(commands)
    _agreement(commands)
    text = "for programs: do jobs that come as JSON lines on standard input, tell events on standard output"
    parser_of_worker = _command(commands, "worker", "worker", text)
    parser_of_worker.add_argument("--job", metavar="DIR", help="do the one job in DIR/request.json instead")
    return parser


def _command(
    commands: Commands, name: str, handler: str, text: str, after: str = _NOTHING_LEFT
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(handler=handler, after_interrupt=after)
    return parser


def _demo(commands: Commands) -> None:
    text = "the whole job on a small synthetic cohort, in a few minutes on a CPU"
    parser = _command(commands, "demo", "demo", text, _ANEW)
    parser.add_argument("--out", default="demo", metavar="DIR", help="folder for everything it makes (default demo)")
    parser.add_argument("--seed", type=int, default=7, help="origin of all random numbers (default 7)")


def _cohort(commands: Commands) -> None:
    group = _group(commands, "cohort", "tables of images, lesions and subtypes")
    check = _command(group, "check", "cohort_check", "read every row and list every problem with its row number")
    check.add_argument("table", metavar="TABLE", help="csv, tsv or xlsx")
    check.add_argument("--task", choices=sorted(TASKS), help="check the classes of this task too")
    check.add_argument("--folds", type=int, help="check that the classes fill this many folds")
    make = _command(group, "synthetic", "cohort_synthetic", "make a synthetic cohort: DICOM mammograms, masks, a table")
    make.add_argument("out", metavar="DIR", help="folder to make")
    make.add_argument("--patients", type=int, default=40, help="number of patients, two views each (default 40)")
    make.add_argument("--seed", type=int, default=7, help="origin of all random numbers (default 7)")
    make.add_argument(
        "--signal", type=float, default=1.0, help="how much the lesion shows its subtype: 0 not, 1 clearly (default)"
    )


def _group(commands: Commands, name: str, text: str) -> Commands:
    parser = commands.add_parser(name, help=text, description=text)
    return parser.add_subparsers(title="commands", required=True, metavar="COMMAND")


def _train(commands: Commands) -> None:
    parser = _command(
        commands, "train", "train", "train a model on a cohort, with cross-validation, and evaluate it", _RESUMABLE
    )
    add = parser.add_argument
    add("table", metavar="TABLE", help="cohort table: csv, tsv or xlsx")
    add("--out", required=True, metavar="RUN", help="run folder")
    add("--task", choices=sorted(TASKS), required=True, help="what to tell apart")
    add("--resume", action="store_true", help="go on with the run in RUN")
    add("--split", metavar="FILE", help="split file of an earlier run, or a csv with patient_id,partition")
    add("--cache", metavar="DIR", help="folder of the patch cache (default: the user's cache folder, or $MOLSUB_CACHE)")
    add("--only-fold", type=int, action="append", metavar="N", help="train this fold only; may be repeated")
    add(
        "--pretrained",
        default=argparse.SUPPRESS,
        metavar="auto|none|FILE",
        help="ImageNet weights: download (default; none for simple-cnn and densenet121), none, or a local file",
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


def _study(commands: Commands) -> None:
    text = "the whole study: every task, architecture and fold, the baselines, all tables and figures, a report"
    parser = _command(commands, "study", "study", text, _STUDY_KEPT)
    add = parser.add_argument
    add("table", metavar="TABLE", help="cohort table: csv, tsv or xlsx")
    add("--out", required=True, metavar="STUDY", help="study folder; one that is there is gone on with")
    add("--tasks", nargs="+", default=[], choices=sorted(TASKS), help="default all four")
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
    add(
        "--pretrained",
        default="",
        metavar="auto|none|DIR",
        help="ImageNet weights: download (default), none, or a folder of torchvision's files",
    )
    _plan_options(parser, without=("architecture",))
    text = "tables, figures and page of a study folder again, of what is finished"
    report = _command(commands, "study-report", "study_report", text)
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


def _evaluate(commands: Commands) -> None:
    parser = _command(commands, "evaluate", "evaluate", "write evaluation.json and evaluation.png of a run again")
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument("--resamples", type=int, default=2000, help="bootstrap resamples (default 2000)")


def _predict(commands: Commands) -> None:
    parser = _command(
        commands,
        "predict",
        "predict",
        "predict the subtype of one patient's lesion from one or more images, or of every patient in a table",
        _CASES_KEPT,
    )
    add = parser.add_argument
    add("images", nargs="+", metavar="IMAGE", help="mammograms of one patient, or one table (csv, tsv, xlsx)")
    add(
        "--lesion",
        action="append",
        default=[],
        metavar="MASK",
        help="mask or polygon file, or row0,col0,row1,col1; once per image, in the same order",
    )
    add(
        "--model",
        required=True,
        metavar="BUNDLE",
        help="model bundle: a folder, a .molsub file, or a name in the library",
    )
    add("--out", required=True, metavar="DIR", help="folder to make")
    add(
        "--layers",
        metavar="NAMES",
        help="dotted layer names, comma-separated, or none (default: the architecture's own)",
    )
    add(
        "--classes",
        default="predicted",
        metavar="NAMES",
        help="classes to explain: predicted (default), all, or names, comma-separated",
    )
    add("--method", default="gradcam", help="gradcam (default), or another method of the grad-cam library")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (default auto)")
    add("--identified", action="store_true", help="write file names and patient identifiers into the result")
    add("--overwrite", action="store_true", help="replace what is in DIR")
    add("--resume", action="store_true", help="with a table: keep the patients that are done")


def _explain_study(commands: Commands) -> None:
    text = "test a model's heatmaps on a cohort: where they lie, and whether they can be believed"
    parser = _command(commands, "explain-study", "explain_study", text)
    add = parser.add_argument
    add("table", metavar="TABLE", help="cohort table: csv, tsv or xlsx")
    add("--model", required=True, metavar="BUNDLE", help="model bundle, or a name in the library")
    add("--out", required=True, metavar="DIR", help="folder to make")
    add("--layers", metavar="NAMES", help="dotted layer names, comma-separated (default: those of the model)")
    add("--rim-mm", type=float, default=5.0, help="width of the peritumoral rim where the spacing is known (default 5)")
    add("--rim-px", type=float, default=50.0, help="the same in pixels, where it is not known (default 50)")
    add("--faithful", type=int, default=20, metavar="N", help="patients for deletion and insertion (default 20)")
    add("--randomised", type=int, default=8, metavar="N", help="patients for weight randomisation (default 8)")
    add("--seed", type=int, default=21, help="origin of all random numbers (default 21)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (default auto)")
    add("--overwrite", action="store_true", help="replace an earlier result in DIR")


def _agreement(commands: Commands) -> None:
    text = "how far two readers' outlines of one mammogram agree: Dice, Hausdorff distance, kappa on the boxes"
    parser = _command(commands, "agreement", "agreement", text)
    add = parser.add_argument
    add("first", metavar="FIRST", help="one reader's mask or polygon file, or row0,col0,row1,col1")
    add("second", metavar="SECOND", help="the other's")
    add("--image", required=True, metavar="IMAGE", help="the mammogram")
    add("--consensus", choices=("first", "second", "union", "intersection"), help="make one mask of both")
    add("--out", metavar="FILE", help="where the consensus goes: a file ending in .nii.gz or .nrrd")
    add("--json", action="store_true", help="the numbers as they are")


def _models(commands: Commands) -> None:
    group = _group(commands, "models", "model bundles")
    listing = _command(group, "list", "models_list", "list the bundles in the model library")
    listing.add_argument("--library", metavar="DIR", help="folder of bundles (default: the user's, or $MOLSUB_MODELS)")
    info = _command(group, "info", "models_info", "show a bundle's card")
    info.add_argument("bundle", metavar="BUNDLE")
    info.add_argument("--json", action="store_true", help="the card as it is")
    export = _command(group, "export", "models_export", "make a bundle from a run")
    export.add_argument("run", metavar="RUN")
    export.add_argument("--out", required=True, metavar="BUNDLE", help="a folder, or a file ending in .molsub")
    export.add_argument(
        "--fold", default="best", metavar="best|ensemble|N", help="which fold's model, or all of them (default best)"
    )
    export.add_argument("--overwrite", action="store_true", help="replace an existing bundle")
    convert = _command(
        group, "import", "models_import", "make a bundle from a published .pth file, without executing it"
    )
    convert.add_argument("file", metavar="FILE.pth")
    convert.add_argument("--task", required=True, choices=sorted(TASKS))
    convert.add_argument("--out", required=True, metavar="BUNDLE", help="a folder, or a file ending in .molsub")
    convert.add_argument(
        "--architecture", default="densenet121-cbam", metavar="NAME", help="what it is of (default densenet121-cbam)"
    )
    convert.add_argument(
        "--class-order", metavar="NAMES", help="class names in the order of the logits, comma-separated"
    )
    convert.add_argument("--overwrite", action="store_true", help="replace an existing bundle")
