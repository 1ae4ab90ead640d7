"""What the commands' options are made of."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

RESUMABLE = "What is finished is kept; the same command with --resume goes on."
NOTHING_LEFT = "Nothing half-written was left."
ANEW = "The same command begins anew."
STUDY_KEPT = "What is finished is kept; the same command goes on."
CASES_KEPT = "Finished cases of a table are kept; the same command with --resume goes on."
EVALUATION_KEPT = "Predictions on another cohort are kept; the same command with --resume goes on."

TRUST_IDS = "take the table's patient_id where the images' own Patient IDs contradict it; without it that is a problem"

Commands = Any  # argparse's own type for subparsers is private


class Parser(argparse.ArgumentParser):
    """Errors of usage in one line, as all others are."""

    def error(self, message: str) -> NoReturn:
        """End with exit code 2."""
        self.exit(2, f"molsub: {' '.join(message.split())}. See {self.prog} --help.\n")


def add_command(
    commands: Commands, name: str, handler: str, text: str, after: str = NOTHING_LEFT
) -> argparse.ArgumentParser:
    """A command that ``MolSubCore.<handler>``, a module and a function in it, carries out."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(handler=handler, after_interrupt=after)
    return parser


def add_group(commands: Commands, name: str, text: str) -> Commands:
    """A command of commands."""
    parser = commands.add_parser(name, help=text, description=text)
    return parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
