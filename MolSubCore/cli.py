"""The command line: options only. What they do is in `MolSubCore.commands`.

Nothing heavy is imported here, so that ``molsub --help`` answers at once.
"""

from __future__ import annotations

import argparse

from MolSubCore import DISCLAIMER, __version__
from MolSubCore.cli_parts import ANEW, Commands, Parser, add_command, add_group
from MolSubCore.cli_results import add_agreement, add_explain_study, add_models, add_predict
from MolSubCore.cli_training import add_study, add_train
from MolSubCore.tasks import TASKS


def build_parser() -> argparse.ArgumentParser:
    """The whole command line of ``molsub``."""
    parser = Parser(
        prog="molsub",
        description=f"Molecular subtypes of breast cancer from mammograms. {DISCLAIMER}",
    )
    parser.add_argument("--version", action="version", version=f"molsub {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _demo(commands)
    _cohort(commands)
    add_train(commands)
    add_study(commands)
    _evaluate(commands)
    add_predict(commands)
    add_explain_study(commands)
    add_models(commands)
    add_agreement(commands)
    text = "for programs: do jobs that come as JSON lines on standard input, tell events on standard output"
    parser_of_worker = add_command(commands, "worker", "study_command.worker", text)
    parser_of_worker.add_argument("--job", metavar="DIR", help="do the one job in DIR/request.json instead")
    return parser


def _demo(commands: Commands) -> None:
    text = "the whole job on a small synthetic cohort, in a few minutes on a CPU"
    parser = add_command(commands, "demo", "commands.demo", text, ANEW)
    parser.add_argument("--out", default="demo", metavar="DIR", help="folder for everything it makes (default demo)")
    parser.add_argument("--seed", type=int, default=7, help="origin of all random numbers (default 7)")


def _cohort(commands: Commands) -> None:
    group = add_group(commands, "cohort", "tables of images, lesions and subtypes")
    check = add_command(
        group, "check", "commands.cohort_check", "read every row and list every problem with its row number"
    )
    check.add_argument("table", metavar="TABLE", help="csv, tsv or xlsx")
    check.add_argument("--task", choices=sorted(TASKS), help="check the classes of this task too")
    check.add_argument("--folds", type=int, help="check that the classes fill this many folds")
    make = add_command(
        group, "synthetic", "commands.cohort_synthetic", "make a synthetic cohort: DICOM mammograms, masks, a table"
    )
    make.add_argument("out", metavar="DIR", help="folder to make")
    make.add_argument("--patients", type=int, default=40, help="number of patients, two views each (default 40)")
    make.add_argument("--seed", type=int, default=7, help="origin of all random numbers (default 7)")
    make.add_argument(
        "--signal", type=float, default=1.0, help="how much the lesion shows its subtype: 0 not, 1 clearly (default)"
    )


def _evaluate(commands: Commands) -> None:
    parser = add_command(
        commands, "evaluate", "commands.evaluate", "write evaluation.json and evaluation.png of a run again"
    )
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument("--resamples", type=int, default=2000, help="bootstrap resamples (default 2000)")
