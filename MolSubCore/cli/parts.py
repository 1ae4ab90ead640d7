"""What the commands' options are made of."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from MolSubCore.errors import nearest

if TYPE_CHECKING:
    pass


RESUMABLE = "What is finished is kept; the same command with --resume goes on."
NOTHING_LEFT = "Nothing half-written was left."
ANEW = "The same command begins anew."
STUDY_KEPT = "What is finished is kept; the same command goes on."
CASES_KEPT = "Finished cases of a table are kept; the same command with --resume goes on."
EVALUATION_KEPT = "Predictions on another cohort are kept; the same command with --resume goes on."

TRUST_IDS = "trust the table's patient_id where the images' own Patient IDs contradict it (without it: an error)"
MISSING = (
    "words for a missing value in clinical columns, beside a blank cell (default NA, n/a, unknown and the like; none "
    "and - are values)"
)

Commands = Any  # argparse's own type for subparsers is private

_EXAMPLES = "examples:\n"


class _Help(argparse.HelpFormatter):
    """Wraps texts as argparse does, but for the examples, which stay line by line."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith(_EXAMPLES):
            return text
        return super()._fill_text(text, width, indent)


class Parser(argparse.ArgumentParser):
    """Errors of usage in one line, as all others are; misspelt options and commands with the nearest one."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **{"formatter_class": _Help, **named})
        self._given: list[str] = []

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse, and refuse what is not known here: the command itself knows best what was meant."""
        self._given = list(sys.argv[1:] if args is None else args)
        if not self._given and self.commands():
            self.print_help()
            self.exit(0)
        found, rest = super().parse_known_args(self._given, namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        if (out := getattr(found, "out", None)) is not None and not out.strip():
            self.error(f"--out is '{out}', expected a path")
        return found, rest

    def error(self, message: str) -> NoReturn:
        """End with exit code 2."""
        text = self._unknown_options() or self._unknown_choice(message) or message
        text = " ".join(text.split()).rstrip(".")
        self.exit(2, f"molsub: {text}{'' if text.endswith('?') else '.'} See {self.prog} --help.\n")

    def commands(self) -> dict[str, Parser]:
        """The commands right below this one."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                return dict(action.choices)
        return {}

    def options(self) -> dict[str, argparse.Action]:
        """The long options, by name."""
        return {name: action for name, action in self._option_string_actions.items() if name.startswith("--")}

    def _unknown_options(self) -> str:
        """What is wrong with options that are not known; they are told before what is missing for their sake."""
        if self.commands():
            return ""
        known = self.options()
        for word in self._given:
            name = word.partition("=")[0]
            if word == "--":
                break
            if re.match(r"--?[A-Za-z]", name) and name not in self._option_string_actions:
                if name.startswith("--") and any(option.startswith(name) for option in known):
                    continue  # an abbreviation
                near = self._short_for(name) or nearest(f"--{name.lstrip('-')}", set(known) - {"--help"})
                return f"unknown option {name}" + (f": did you mean {near}?" if near else "")
        return ""

    def _short_for(self, name: str) -> str:
        """The option whose words begin with the letters of `name`: ``--learning-rate`` for ``--lr``."""
        letters = name.lstrip("-")
        known = [option for option in self.options() if "-" in option[2:]]
        return next((o for o in known if "".join(word[0] for word in o[2:].split("-")) == letters), "")

    def _unknown_choice(self, message: str) -> str:
        """A wrong choice with the nearest right one."""
        wrong = re.match(r"argument (.*?): invalid choice: (?:'(.*)'|(\S+)) \(choose from", message, re.DOTALL)
        if not wrong:
            return ""
        word = wrong[2] or wrong[3]
        if wrong[1] != "COMMAND":
            choices = [str(c) for action in self._actions if action.choices for c in action.choices]
            near = nearest(word, choices)
            return message + (f": did you mean {near}?" if near else "")
        own = self.commands()
        deeper = {f"{name} {inner}": inner for name, parser in own.items() for inner in parser.commands()}
        near = next((name for name, inner in deeper.items() if inner == word), "") or nearest(word, [*own, *deeper])
        ending = f"did you mean {near}?" if near else f"the commands are {', '.join(own)}"
        return f"unknown command {word}: {ending}"


def add_command(
    commands: Commands,
    name: str,
    handler: Callable[[argparse.Namespace], int],
    text: str,
    after: str = NOTHING_LEFT,
    examples: Sequence[str] = (),
) -> argparse.ArgumentParser:
    """A command that the function `handler` carries out: it takes the options and returns the exit code.

    `examples` are shown below its help, ``molsub`` before them.
    """
    epilog = _EXAMPLES + "\n".join(f"  molsub {example}" for example in examples) if examples else None
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text, epilog=epilog)
    parser.set_defaults(handler=handler, after_interrupt=after)
    return parser


def add_group(commands: Commands, name: str, text: str) -> Commands:
    """A command of commands."""
    parser = commands.add_parser(name, help=text, description=text)
    return parser.add_subparsers(title="commands", required=True, metavar="COMMAND")


def all_commands(parser: Parser, name: str = "") -> Iterator[tuple[str, Parser]]:
    """Every command and group with its name, such as ``cohort check``, the whole first (of no name)."""
    yield name, parser
    for word, inner in parser.commands().items():
        yield from all_commands(inner, f"{name} {word}".strip())


def layer_names(text: str | None) -> list[str] | None:
    """The layers of ``--layers``; none of them where it is ``none``."""
    if text is None:
        return None
    return [] if text == "none" else names_in(text)


def names_in(text: str) -> list[str]:
    """Comma-separated names."""
    return [part.strip() for part in text.split(",") if part.strip()]
