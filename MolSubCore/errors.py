"""The one exception family of MolSubCore.

Every message is one line: what was looked at, what is wrong with it (with the value found and the
value expected), and the way out. The command line prints it and ends with exit code 2.
"""

from __future__ import annotations

import os


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
        self.problem = problem
        self.remedy = remedy
        super().__init__(" ".join(f"{self.subject}: {problem}. {remedy}.".split()))

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
