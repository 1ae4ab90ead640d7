"""Fused models: what is made of the outputs of a model's networks, in the steps that the bundle's card gives.

A step takes the members' logits of a patient's lesions and gives others: of each lesion (flips), or of the patient (or
breast). Studies fit and test these steps (`MolSubCore.study.fusion`); here they are applied, with NumPy alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MolSubCore.cohort.table_files import NA_WORDS, column_name, finite_number
from MolSubCore.errors import MolSubError

Floats = NDArray[np.float64]

#: Test-time augmentation is the mean over these: axes of (N, 1, rows, columns) that are reversed. They are the flips
#: of the augmentation in training, without its rotations and shears, which interpolate.
FLIPS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {"identity": (), "horizontal flip": (3,), "vertical flip": (2,), "both flips": (2, 3)}
)
#: The views of a learned fusion, in the order of its columns.
VIEWS = ("CC", "MLO")
#: The arrays of a fitted regression, in files and cards.
ARRAYS = ("mean", "scale", "coefficients", "intercept")

_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a model's networks give for N lesions.

    Attributes
    ----------
    logits : ndarray, shape (members, N, classes)
    flipped : ndarray, shape (flips, members, N, classes), or None
        Of the flipped patches, in the order of `FLIPS` without the first.
    features : ndarray, shape (members, N, D), or None
        Input of the networks' last layer.
    """

    logits: Floats
    flipped: Floats | None = None
    features: Floats | None = None

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> Outputs:
        """Some of the lesions."""
        chosen = np.asarray(rows, np.int64)
        flipped = None if self.flipped is None else self.flipped[:, :, chosen]
        return Outputs(self.logits[:, chosen], flipped, None if self.features is None else self.features[:, chosen])

    @classmethod
    def joined(cls, parts: Sequence[Outputs]) -> Outputs:
        """The lesions of several."""
        flipped = [part.flipped for part in parts if part.flipped is not None]
        features = [part.features for part in parts if part.features is not None]
        return cls(
            np.concatenate([part.logits for part in parts], axis=1),
            np.concatenate(flipped, axis=2) if flipped else None,
            np.concatenate(features, axis=1) if features else None,
        )

    def packed(self) -> Floats:
        """All in one array, shape (members, N, width), for a file."""
        parts = [self.logits, *([] if self.flipped is None else self.flipped)]
        return np.concatenate([*parts, *([] if self.features is None else [self.features])], axis=2)

    @classmethod
    def unpacked(cls, values: Floats, classes: int, *, flips: bool) -> Outputs:
        """What `packed` gave."""
        count = classes * (len(FLIPS) if flips else 1)
        logits, features = values[..., :count], values[..., count:]
        blocks = np.stack(np.split(logits, count // classes, axis=2))
        return cls(blocks[0], blocks[1:] if flips else None, features if features.shape[2] else None)


@dataclass(frozen=True, eq=False)
class Lesions:
    """What a step is applied to: lesions of one patient (or breast), or already the patient as the only row.

    Attributes
    ----------
    outputs : Outputs
        Of the lesions; a step changes its logits.
    picture : ndarray of int, shape (N,)
        Lesions with the same number are of one image.
    view : ndarray of str, shape (N,)
        Empty where it is not known.
    """

    outputs: Outputs
    picture: NDArray[np.int64]
    view: NDArray[np.str_]

    def probabilities(self) -> Floats:
        """Mean over the lesions of an image, then over the images, of every member, shape (members, classes)."""
        found = np.exp(log_softmax(self.outputs.logits))
        return _mean([_mean([found[:, row] for row in rows]) for rows in _groups(self.picture)])

    def patient(self, logits: Floats) -> Lesions:
        """The patient as the only row, with logits of every member, shape (members, classes)."""
        return Lesions(Outputs(logits[:, None]), np.zeros(1, np.int64), np.array([""]))


def _groups(keys: NDArray[Any]) -> list[list[int]]:
    found: dict[Any, list[int]] = {}
    for row, key in enumerate(keys.tolist()):
        found.setdefault(key, []).append(row)
    return list(found.values())


def _mean(parts: Sequence[Floats]) -> Floats:
    return np.asarray(np.mean(np.stack(parts), axis=0), np.float64)


def log_softmax(logits: Floats) -> Floats:
    """Logarithms of the probabilities, over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)), np.float64)


def log_odds(probabilities: Floats) -> Floats:
    """Log-odds of each class against the rest, shape (N, classes).

    Of two classes the second's alone, shape (N, 1), the first's being its negative.
    """
    share = np.maximum(probabilities, _TINY)
    # Not 1 - share: near 1 that has lost all digits.
    rest = share @ (1 - np.eye(share.shape[1]))
    odds = np.asarray(np.log(share) - np.log(rest), np.float64)
    return odds[:, 1:] if odds.shape[1] == 2 else odds


def two_sided(decision: Floats) -> Floats:
    """Logits, shape (N, classes), whose softmax are the probabilities of a logistic regression of all classes.

    Parameters
    ----------
    decision : ndarray, shape (N, 1) for two classes, else (N, classes)
    """
    return np.hstack([-decision / 2, decision / 2]) if decision.shape[1] == 1 else decision


@dataclass(frozen=True, eq=False)
class Regression:
    """A logistic regression of standardised columns and of categories.

    Attributes
    ----------
    mean, scale : ndarray, shape (numbers,)
        Of the columns that are numbers; they come first.
    coefficients : ndarray, shape (1, columns) for two classes, else (classes, columns)
    intercept : ndarray, shape (1,) or (classes,)
    categories : tuple of tuple of str
        Of each column of categories, in the order of the coefficients after the numbers.
    """

    mean: Floats
    scale: Floats
    coefficients: Floats
    intercept: Floats
    categories: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of(cls, values: Mapping[str, Any], categories: Sequence[Sequence[str]] = ()) -> Regression:
        """From `ARRAYS` by name; ValueError where their sizes do not fit each other, or a value is not finite."""
        arrays = {name: np.asarray(values[name], np.float64) for name in ARRAYS}
        mean, scale, coefficients, intercept = arrays.values()
        width = len(mean) + sum(map(len, categories))
        fits = mean.ndim == 1 and scale.shape == mean.shape and coefficients.shape == (len(intercept), width)
        if not fits or intercept.ndim != 1 or not all(np.isfinite(one).all() for one in arrays.values()):
            raise ValueError("arrays of other sizes, or a number that is not finite")
        if (scale <= 0).any():
            raise ValueError("a scale that is not above 0")
        return cls(mean, scale, coefficients, intercept, tuple(map(tuple, categories)))

    def logits(self, numbers: Floats, words: Sequence[str] = ()) -> Floats:
        """Logits of one patient, shape (classes,); a number that is NaN counts as the mean."""
        scaled = np.nan_to_num((numbers - self.mean) / self.scale, nan=0.0)
        shown = [float(word == one) for word, known in zip(words, self.categories, strict=True) for one in known]
        return two_sided((self.coefficients @ np.concatenate([scaled, shown]) + self.intercept)[None])[0]


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a fusion.

    Attributes
    ----------
    name : str
        Such as ``views-mean``.
    title : str
        For people.
    """

    name: str
    title: str

    def apply(self, lesions: Lesions, values: Mapping[str, str]) -> Lesions:
        """What comes of the lesions; `values` are the patient's clinical ones, whole and checked."""
        raise NotImplementedError

    def remarks(self, lesions: Lesions) -> list[str]:
        """What a reader of the result must know, in sentences."""
        return []


class FlipsMean(Step):
    """The mean of the probabilities over the flips of a patch, as logarithms."""

    def apply(self, lesions: Lesions, values: Mapping[str, str]) -> Lesions:
        """Lesions again."""
        outputs = lesions.outputs
        assert outputs.flipped is not None
        logs = log_softmax(np.concatenate([outputs.logits[None], outputs.flipped]))
        top = logs.max(axis=0)
        mean = top + np.log(np.exp(logs - top).sum(axis=0)) - math.log(len(logs))
        return replace(lesions, outputs=replace(outputs, logits=mean))


class ViewsMean(Step):
    """The mean of the logits over the lesions of an image, then the images of a view, then the views."""

    def apply(self, lesions: Lesions, values: Mapping[str, str]) -> Lesions:
        """The patient."""
        logits, views = lesions.outputs.logits, []
        for of_view in _groups(lesions.view):
            images = [[of_view[n] for n in rows] for rows in _groups(lesions.picture[of_view])]
            views.append(_mean([_mean([logits[:, row] for row in rows]) for rows in images]))
        return lesions.patient(_mean(views))


@dataclass(frozen=True, eq=False)
class ViewsLearned(Step):
    """A regression on the mean features of each view.

    Attributes
    ----------
    members : tuple of Regression
    precision : str
        Type of numbers that the features were fitted in: ``float16`` in runs of before, else ``float32``.
    tested : dict
        ``both``, ``one`` and ``none``: how many test patients had so many of the views, with the AUC where known.
    """

    members: tuple[Regression, ...] = ()
    precision: str = "float32"
    tested: Mapping[str, Any] = field(default_factory=dict)

    def apply(self, lesions: Lesions, values: Mapping[str, str]) -> Lesions:
        """The patient."""
        features = lesions.outputs.features
        assert features is not None
        if self.precision == "float16":
            limit = float(np.finfo(np.float16).max)
            features = features.clip(-limit, limit).astype(np.float16).astype(np.float64)
        columns, missing = [], []
        for view in VIEWS:
            seen = lesions.view == view
            missing.append(float(not seen.any()))
            columns.append(features[:, seen].mean(axis=1) if seen.any() else np.full(features[:, 0].shape, np.nan))
        table = np.hstack([*columns, np.tile(missing, (len(features), 1))])
        logits = [model.logits(row) for model, row in zip(self.members, table, strict=True)]
        return lesions.patient(np.stack(logits))

    def remarks(self, lesions: Lesions) -> list[str]:
        """Of a view that is missing: what stands in its place, and on how many patients that was tested."""
        lacking = [view for view in VIEWS if view not in lesions.view.tolist()]
        if not lacking:
            return []
        kind = "one" if len(lacking) == 1 else "none"
        tested = self.tested.get(kind) or {}
        count, both = tested.get("patients"), self.tested.get("both") or {}
        how = f"{count} of the test patients had {'one of them only' if kind == 'one' else 'neither'}"
        how += _auc_text(tested) + (f", {both['patients']} both{_auc_text(both)}" if "patients" in both else "")
        known = how if count is not None else "how many test patients lacked it is not recorded"
        return [
            f"{self.title}: there is no view {' and no '.join(lacking)}; the training patients' mean stands in its "
            f"place ({known})."
        ]


def _auc_text(tested: Mapping[str, Any]) -> str:
    return f" (AUC {tested['auc']:.2f})" if tested.get("auc") is not None else ""


@dataclass(frozen=True, eq=False)
class ClinicalStep(Step):
    """A regression on the patient's log-odds so far, if `image`, and on clinical columns.

    Attributes
    ----------
    columns : dict of str to str
        Kind of each column, ``continuous`` or ``categorical``, by name.
    image : bool
    members : tuple of Regression
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    image: bool = True
    members: tuple[Regression, ...] = ()

    def apply(self, lesions: Lesions, values: Mapping[str, str]) -> Lesions:
        """The patient."""
        odds = log_odds(lesions.probabilities())
        kinds = self.columns.items()
        numbers = [float(values[name]) for name, kind in kinds if kind == "continuous"]
        words = [values[name] for name, kind in kinds if kind == "categorical"]
        logits = [
            model.logits(np.array([*(own if self.image else ()), *numbers]), words)
            for model, own in zip(self.members, odds, strict=True)
        ]
        return lesions.patient(np.stack(logits))

    def value(self, name: str, text: str) -> tuple[str | None, str]:
        """A value as the regression knows it, None where it says nothing; and a doubt, empty where there is none.

        Raises
        ------
        MolSubError
            If it should be a number and is none.
        """
        cell = text.strip()
        if self.columns[name] == "continuous":
            if not cell or cell.casefold() in NA_WORDS:
                return None, ""
            if finite_number(cell) is None:
                raise MolSubError(f"clinical value {name}", f"is '{cell[:60]}', expected a number", "Correct it")
            return cell, ""
        place = [name for name, kind in self.columns.items() if kind == "categorical"].index(name)
        known = list(dict.fromkeys(word for model in self.members for word in model.categories[place]))
        if cell in known:
            return cell, ""
        same = [word for word in known if _same_word(word, cell)]
        if len(same) == 1:
            return same[0], ""
        if not cell or cell.casefold() in NA_WORDS:
            return None, ""
        found = f"The clinical value {name} is '{cell[:60]}', the model knows {', '.join(known)}"
        return cell, f"{found}: it counts as none of them."


def _same_word(word: str, cell: str) -> bool:
    """Whether two spellings are one category: 2 is 2.0, and A is a."""
    number = finite_number(word)
    return word.casefold() == cell.casefold() or (number is not None and number == finite_number(cell))


@dataclass(frozen=True, eq=False)
class Fused:
    """The steps of a fused model."""

    steps: tuple[Step, ...]

    @property
    def title(self) -> str:
        """For people."""
        return ", then ".join(f"{step.title[:1].lower()}{step.title[1:]}" for step in self.steps)

    @property
    def flips(self) -> bool:
        """Whether the networks must see the flipped patches."""
        return any(isinstance(step, FlipsMean) for step in self.steps)

    @property
    def features(self) -> bool:
        """Whether the networks' features are needed."""
        return any(isinstance(step, ViewsLearned) for step in self.steps)

    @property
    def columns(self) -> dict[str, str]:
        """Kinds of all clinical columns by name."""
        parts = [step.columns for step in self.steps if isinstance(step, ClinicalStep)]
        return {name: kind for part in parts for name, kind in part.items()}

    def whole(self, given: Mapping[str, Any]) -> tuple[int, dict[str, str], list[str]]:
        """How many of the steps a patient's clinical values allow.

        Returns
        -------
        steps : int
            All of them, or those before the first that lacks a value.
        values : dict of str to str
            As the regressions know them.
        notes : list of str
            What is doubtful about them, and what is missing, in sentences.

        Raises
        ------
        MolSubError
            If a value is not a number where one is needed.
        """
        values: dict[str, str] = {}
        notes: list[str] = []
        for number, step in enumerate(self.steps):
            if not isinstance(step, ClinicalStep):
                continue
            lacking = []
            for name in step.columns:
                found, doubt = step.value(name, str(given.get(name, "")))
                notes += [doubt] if doubt else []
                if found is None:
                    lacking.append(name)
                else:
                    values[name] = found
            if lacking:
                return number, {}, [_lacking(step, lacking)]
        return len(self.steps), values, notes

    def probabilities(self, lesions: Lesions, values: Mapping[str, str]) -> Floats:
        """Probabilities of a patient (or breast), not calibrated: the mean over the members, shape (classes,)."""
        for step in self.steps:
            lesions = step.apply(lesions, values)
        return np.asarray(lesions.probabilities().mean(axis=0), np.float64)

    def remarks(self, lesions: Lesions) -> list[str]:
        """What a reader of this patient's result must know."""
        return [text for step in self.steps for text in step.remarks(lesions)]


def _lacking(step: ClinicalStep, names: Sequence[str]) -> str:
    return (
        f"{step.title}: the clinical value {', '.join(names)} is missing. The result is that of the model without "
        "clinical values, with its own calibration, thresholds and test figures."
    )


def check_names(given: Mapping[str, Any], fused: Fused | None) -> dict[str, str]:
    """Clinical values by the names of the model's columns, as texts.

    Raises
    ------
    MolSubError
        If the model uses no such column.
    """
    known = fused.columns if fused else {}
    values = {column_name(str(name)): str(value) for name, value in given.items() if value is not None}
    if unknown := [name for name in values if name not in known]:
        found = f"names {unknown[0]}, the model uses {', '.join(known) or 'no clinical values'}"
        raise MolSubError("clinical values", found, "Leave it out")
    return values


_PLAIN: Mapping[str, type[Step]] = MappingProxyType({"tta": FlipsMean, "views-mean": ViewsMean})


def read_fused(card: Mapping[str, Any], arrays: Mapping[str, Mapping[str, Any]]) -> Fused | None:
    """The fusion of a checked card; None where there is none.

    Parameters
    ----------
    card : mapping
    arrays : mapping of str to mapping of str to ndarray
        Content of the files that the steps name: ``mean-1`` is the first member's.

    Raises
    ------
    ValueError
        If the arrays of a file do not fit.
    """
    if not card.get("fusion"):
        return None
    classes, members = len(card["classes"]), range(1, len(card["members"]) + 1)
    steps: list[Step] = []
    for entry in card["fusion"]["steps"]:
        name, title = entry["name"], entry["title"]
        if name in _PLAIN:
            steps.append(_PLAIN[name](name, title))
        elif name == "views-learned":
            content = arrays[entry["file"]]
            found = [Regression.of({one: content[f"{one}-{n}"] for one in ARRAYS}) for n in members]
            rows = 1 if classes == 2 else classes
            if any(model.coefficients.shape != (rows, 2 * entry["features"] + 2) for model in found):
                raise ValueError("arrays of another number of features or classes")
            steps.append(ViewsLearned(name, title, tuple(found), entry["precision"], entry.get("tested") or {}))
        else:
            models = tuple(Regression.of(one, one["categories"]) for one in entry["members"])
            steps.append(ClinicalStep(name, title, entry["columns"], entry["image"], models))
    return Fused(tuple(steps))
