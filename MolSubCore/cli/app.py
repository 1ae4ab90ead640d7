"""The command line.

Nothing heavy is imported here, so that ``molsub --help`` answers at once: each command imports what it needs when it
is run.
"""

from __future__ import annotations

from MolSubCore import DISCLAIMER, __version__
from MolSubCore.cli.agreement import add_agreement
from MolSubCore.cli.cohort import add_cohort
from MolSubCore.cli.completion import add_completion
from MolSubCore.cli.demo import add_demo
from MolSubCore.cli.evaluate import add_evaluate
from MolSubCore.cli.explain_study import add_explain_study
from MolSubCore.cli.models import add_models
from MolSubCore.cli.parts import Parser
from MolSubCore.cli.predict import add_predict
from MolSubCore.cli.study import add_study
from MolSubCore.cli.train import add_train
from MolSubCore.cli.worker import add_worker


def build_parser() -> Parser:
    """The whole command line of ``molsub``."""
    parser = Parser(
        prog="molsub",
        description=f"Molecular subtypes of breast cancer from mammograms. {DISCLAIMER}",
    )
    parser.add_argument("--version", action="version", version=f"molsub {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (add_demo, add_cohort, add_train, add_study, add_evaluate, add_predict, add_explain_study, add_models):
        add(commands)
    add_agreement(commands)
    add_completion(commands, parser)
    add_worker(commands)
    return parser
