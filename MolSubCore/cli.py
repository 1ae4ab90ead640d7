"""The command line: options only. What they do is in `MolSubCore.commands`.

Nothing heavy is imported here, so that ``molsub --help`` answers at once.
"""

from __future__ import annotations

from MolSubCore import DISCLAIMER, __version__
from MolSubCore.cli_cohort import add_cohort
from MolSubCore.cli_evaluate import add_evaluate
from MolSubCore.cli_parts import ANEW, Commands, Parser, add_command
from MolSubCore.cli_results import add_agreement, add_explain_study, add_models, add_predict
from MolSubCore.cli_training import add_study, add_train


def build_parser() -> Parser:
    """The whole command line of ``molsub``."""
    parser = Parser(
        prog="molsub",
        description=f"Molecular subtypes of breast cancer from mammograms. {DISCLAIMER}",
    )
    parser.add_argument("--version", action="version", version=f"molsub {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _demo(commands)
    add_cohort(commands)
    add_train(commands)
    add_study(commands)
    add_evaluate(commands)
    add_predict(commands)
    add_explain_study(commands)
    add_models(commands)
    add_agreement(commands)
    text = "tell a shell how to complete molsub's commands and options with the tab key"
    examples = ("completion bash > ~/.local/share/bash-completion/completions/molsub",)
    completion = add_command(commands, "completion", "completion.tell", text, examples=examples)
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), metavar="SHELL", help="bash, zsh or fish")
    text = "for programs: do jobs that come as JSON lines on standard input, tell events on standard output"
    parser_of_worker = add_command(
        commands, "worker", "worker_command.worker", text, examples=("worker --job JOB_FOLDER",)
    )
    parser_of_worker.add_argument("--job", metavar="DIR", help="do the one job in DIR/request.json instead")
    return parser


def _demo(commands: Commands) -> None:
    text = "the whole job on a small synthetic cohort, in a few minutes on a CPU"
    parser = add_command(commands, "demo", "commands.demo", text, ANEW, ("demo --out demo",))
    parser.add_argument("--out", default="demo", metavar="DIR", help="folder for everything it makes (default demo)")
    parser.add_argument("--seed", type=int, default=7, help="origin of all random numbers (default 7)")
