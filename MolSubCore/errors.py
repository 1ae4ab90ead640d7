"""The one exception family of MolSubCore.

Every message is one line: what was looked at, what is wrong with it (with the value found and the
value expected), and the way out. The command line prints it and ends with exit code 2.
"""

from __future__ import annotations

import os

#: Longest statement of a problem; files can hold values of any length.
_LONGEST = 600


def printable(text: str, most: int = _LONGEST) -> str:
    """`text` in one line that is safe on a terminal and in a page: a file's control characters are escaped.

    Parameters
    ----------
    text : str
        Of any origin and length.
    most : int
        More characters than this are left out in the middle.
    """
    if len(text) > most:
        text = f"{text[: most - 103]}...{text[-100:]}"
    words = " ".join(text.split())
    if words.isprintable():
        return words
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in words)


class MolSubError(ValueError):
    """An input that cannot be used, said in one line.

    Parameters
    ----------
    subject : str or os.PathLike
        What the error is about: a file, a table row, an option.
    problem : str
        What was found and what was expected, without a final full stop.
    remedy : str
        The way out, without a final full stop.
    """

    exit_code = 2

    def __init__(self, subject: str | os.PathLike[str], problem: str, remedy: str) -> None:
        self.subject = os.fspath(subject)
        self.problem = printable(problem)
        self.remedy = remedy
        super().__init__(f"{printable(self.subject)}: {self.problem}. {printable(remedy, 2 * _LONGEST)}.")

    def __reduce__(self) -> tuple[type[MolSubError], tuple[str, str, str]]:
        """So that an error of a worker process arrives as it was."""
        return type(self), (self.subject, self.problem, self.remedy)


class ImageError(MolSubError):
    """A mammogram that cannot be read or used."""


class LesionError(MolSubError):
    """A lesion mask, polygon or box that cannot be read or does not fit its mammogram."""


class CohortError(MolSubError):
    """A cohort table, split file or patch store that cannot be used."""


class BundleError(MolSubError):
    """A model bundle, checkpoint or pretrained-weight file that cannot be used."""


class TrainingError(MolSubError):
    """A training plan or run folder that cannot be used."""
