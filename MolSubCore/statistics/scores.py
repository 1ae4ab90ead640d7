"""Predictions of a model on many lesions: the table that training writes and evaluation reads."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from MolSubCore.errors import MolSubError, reason_of
from MolSubCore.files import open_file, write_text

_COLUMNS = ("study_id", "case", "lesion", "laterality", "view", "label")
_LOGIT = "logit:"


@dataclass(frozen=True, eq=False)
class Predictions:
    """Logits of N lesions.

    Attributes
    ----------
    study_id, lesion, laterality, view : ndarray of str, shape (N,)
        Salted id of the patient; the rest may be empty.
    case : ndarray of int, shape (N,)
        Image: lesions of one image have the same number.
    label : ndarray of int, shape (N,)
        Index of the true class.
    logits : ndarray of float64, shape (N, classes)
    classes : tuple of str
    """

    study_id: NDArray[np.str_]
    case: NDArray[np.int64]
    lesion: NDArray[np.str_]
    laterality: NDArray[np.str_]
    view: NDArray[np.str_]
    label: NDArray[np.int64]
    logits: NDArray[np.float64]
    classes: tuple[str, ...]

    def probabilities(self) -> NDArray[np.float64]:
        """Softmax of the logits, shape (N, classes)."""
        return np.asarray(softmax(self.logits, axis=1), np.float64)

    def scores(self) -> Scores:
        """One row per lesion."""
        return Scores(self.probabilities(), self.label, self.study_id, self.case, self.laterality)


@dataclass(frozen=True, eq=False)
class Scores:
    """Probabilities of N units (lesions, images, or breasts of patients) with label, patient and image.

    Attributes
    ----------
    probabilities : ndarray, shape (N, classes)
    label : ndarray of int, shape (N,)
    patient : ndarray of str, shape (N,)
    case : ndarray of int, shape (N,)
    breast : ndarray of str, shape (N,), optional
        Side of the breast, ``L`` or ``R``; empty where it is not known.
    fold : ndarray of int, shape (N,), optional
        Number of the model that each row is by, where different patients are by different models: ranks of scores
        are compared within a model only.
    calibrate : callable, optional
        What makes of mean probabilities, shape (N, classes), those that are reported. `per_image` and `per_patient`
        take the mean of what the networks give, and then apply it.
    """

    probabilities: NDArray[np.float64]
    label: NDArray[np.int64]
    patient: NDArray[np.str_]
    case: NDArray[np.int64]
    breast: NDArray[np.str_] | None = None
    fold: NDArray[np.int64] | None = None
    calibrate: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None

    @cached_property
    def unit(self) -> NDArray[np.str_]:
        """Name of each row's unit of analysis: its patient; of patients with both breasts, the breast of the patient.

        Two breasts are two tumours: their mean is the prediction of neither. Both units keep their patient, so that
        intervals draw them together.
        """
        if self.breast is None:
            return self.patient
        sides: dict[str, set[str]] = {}
        rows = list(zip(self.patient.tolist(), self.breast.tolist(), strict=True))
        for patient, side in rows:
            sides.setdefault(patient, set()).add(side)
        return np.array([f"{patient}/{side}" if len(sides[patient]) > 1 else patient for patient, side in rows])

    def select(self, rows: NDArray[np.generic]) -> Scores:
        """Some rows, by their positions or a mask."""
        breast = None if self.breast is None else self.breast[rows]
        fold = None if self.fold is None else self.fold[rows]
        probabilities, label, patient, case = (
            column[rows] for column in (self.probabilities, self.label, self.patient, self.case)
        )
        return Scores(probabilities, label, patient, case, breast, fold, self.calibrate)

    def calibrated(self, calibrate: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None) -> Scores:
        """The same rows, with another `calibrate`."""
        return replace(self, calibrate=calibrate)

    @classmethod
    def pooled(cls, parts: Sequence[Scores]) -> Scores:
        """All rows of several, each by a model of its own: the folds of a cross-validation.

        ValueError where they are not calibrated alike: the means are to be pooled then, not the rows.
        """
        if len({part.calibrate for part in parts}) > 1:
            raise ValueError("the rows of scores with different calibrations cannot be pooled")
        breasts = [part.breast for part in parts if part.breast is not None]
        return cls(
            np.concatenate([part.probabilities for part in parts]),
            np.concatenate([part.label for part in parts]),
            np.concatenate([part.patient for part in parts]),
            np.concatenate([part.case for part in parts]),
            np.concatenate(breasts) if len(breasts) == len(parts) else None,
            np.repeat(np.arange(len(parts)), [len(part.label) for part in parts]),
            parts[0].calibrate,
        )

    def per_image(self) -> Scores:
        """Mean over the lesions of each image, calibrated."""
        return self._mean_by(self.case)._applied(self.calibrate)

    def per_patient(self) -> Scores:
        """Mean over the images of each patient or breast (`unit`), which are means of their lesions; calibrated."""
        images = self._mean_by(self.case)
        return images._mean_by(images.unit)._applied(self.calibrate)

    def _applied(self, calibrate: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None) -> Scores:
        return replace(self, probabilities=calibrate(self.probabilities)) if calibrate else self

    def _mean_by(self, key: NDArray[np.generic]) -> Scores:
        first, group = by_appearance(key)
        if (self.label != self.label[first][group]).any():
            raise MolSubError("predictions", "give one patient two labels", "Correct the cohort table")
        sums = np.zeros((len(first), self.probabilities.shape[1]))
        np.add.at(sums, group, self.probabilities)
        mean = sums / np.bincount(group)[:, None]
        breast = None if self.breast is None else self.breast[first]
        fold = None if self.fold is None else self.fold[first]
        return Scores(mean, self.label[first], self.patient[first], self.case[first], breast, fold)


def by_appearance(keys: NDArray[np.generic] | Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Groups of equal keys, numbered as they first appear: the order of salted ids differs in every study.

    Returns
    -------
    first : ndarray of int, shape (groups,)
        Position of each group's first member.
    group : ndarray of int, shape (N,)
    """
    _, first, group = np.unique(np.asarray(keys), return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return first[order], place[group]


def ensemble(members: Sequence[Predictions]) -> Scores:
    """Mean of the members' probabilities on the same lesions.

    Raises
    ------
    MolSubError
        If the members' rows, labels or classes differ.
    """
    first = members[0]
    for other in members[1:]:
        same = (np.array_equal(getattr(first, name), getattr(other, name)) for name in ("case", "lesion", "label"))
        if first.classes != other.classes or not all(same):
            raise MolSubError(
                "predictions", "of the folds have different lesions or classes", "Train the folds on one split"
            )
    mean = np.mean([member.probabilities() for member in members], axis=0)
    return Scores(mean, first.label, first.study_id, first.case, first.laterality)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write a csv; floats are written so that they are read back exactly."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*_COLUMNS, *(_LOGIT + name for name in predictions.classes)])
    columns = [getattr(predictions, name).tolist() for name in _COLUMNS]
    for *cells, logits in zip(*columns, predictions.logits.tolist(), strict=True):
        writer.writerow([*cells, *map(repr, logits)])
    write_text(path, buffer.getvalue())


def read_predictions(path: Path) -> Predictions:
    """Read what `write_predictions` wrote.

    Raises
    ------
    MolSubError
        If the file is missing or damaged.
    """
    try:
        with open_file(path) as stream, io.TextIOWrapper(stream, encoding="utf-8", newline="") as file:
            header, *rows = list(csv.reader(file))
        names = [name.removeprefix(_LOGIT) for name in header[len(_COLUMNS) :]]
        if tuple(header[: len(_COLUMNS)]) != _COLUMNS or not names:
            raise ValueError("other columns")
        columns = list(zip(*rows, strict=True)) or [()] * len(header)
        text = {name: np.array(columns[n], dtype=str) for n, name in enumerate(_COLUMNS)}
        logits = np.array(columns[len(_COLUMNS) :], dtype=np.float64).T.reshape(len(rows), len(names))
        case, label = text["case"].astype(np.int64), text["label"].astype(np.int64)
        if ((label < 0) | (label >= len(names))).any():
            raise ValueError("a label has no class")
        if not np.isfinite(logits).all():
            raise ValueError("a logit is not a finite number")
        return Predictions(
            text["study_id"], case, text["lesion"], text["laterality"], text["view"], label, logits, tuple(names)
        )
    except (OSError, ValueError, IndexError, OverflowError, csv.Error) as error:
        raise MolSubError(
            path, f"is not a table of predictions ({reason_of(error)})", "Resume the training to write it again"
        ) from None
