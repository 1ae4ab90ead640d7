"""The data classes of a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from MolSubCore.cohort.identity import breast_name
from MolSubCore.errors import MolSubError
from MolSubCore.explain.gradcam import Maps
from MolSubCore.imaging.mammogram import Mammogram
from MolSubCore.lesions.lesion import LesionSet
from MolSubCore.lesions.roi import Roi
from MolSubCore.models.fused import Fused, Lesions, Outputs
from MolSubCore.prediction.calibrated import Calibrate, calibration_of

#: One image and the lesion on it: a mask file, a polygon file, or ``row0,col0,row1,col1``.
Side = Literal["L", "R"]


ImageAndLesion = tuple[str | PathLike[str], str | PathLike[str]]


@dataclass(frozen=True, eq=False)
class LesionPrediction:
    """The prediction for one lesion on one image.

    Attributes
    ----------
    image, lesion : str
        Labels such as ``1 R MLO`` and ``1 R MLO lesion 1``.
    image_index, lesion_index : int
        Which of the images given, and which of its lesions, from 0.
    mammogram : Mammogram
    lesions : LesionSet
        All lesions of the image.
    roi : Roi
    network : ndarray of float64, shape (classes,)
        Probabilities as the model's networks give them, in the mean over its members: what a result is the mean of.
    maps : Maps or None
        Heatmaps at layer resolution; None when no layer was asked for.
    files : ImageAndLesion
        What was read; never to be written unless asked.
    breast : {'L', 'R'} or None
        Side of the breast, by the file or by whoever asked.
    lesion_id : str
        Which of the patient's lesions this is, where the user says so: the same in every view of it.
    picture : int
        Number of the first image with these pixels, or of which this is a copy: one that is given twice counts once.
    means_nothing : str
        Why the probabilities mean nothing; empty where they may.
    calibrate : callable, optional
        Of the model, from `MolSubCore.prediction.calibrated.calibration_of_lesions`.
    outputs : Outputs, optional
        Of a fused model: all that its networks give, of one lesion.
    """

    image: str
    lesion: str
    image_index: int
    lesion_index: int
    mammogram: Mammogram
    lesions: LesionSet
    roi: Roi
    network: NDArray[np.float64]
    maps: Maps | None
    files: ImageAndLesion
    breast: Side | None = None
    lesion_id: str = ""
    picture: int = 0
    means_nothing: str = ""
    calibrate: Calibrate | None = None
    outputs: Outputs | None = None

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Probabilities of this lesion alone, as they are shown, shape (classes,)."""
        return self.network if self.calibrate is None else self.calibrate(self.network[None])[0]


@dataclass(frozen=True, eq=False)
class Result:
    """The result for one breast, or for one lesion of it where the user says which lesion is which.

    Attributes
    ----------
    breast : {'L', 'R'} or None
        None where no image says which breast it shows.
    lesion_id : str
        Empty where the user did not name lesions.
    items : tuple of LesionPrediction
        All of it, also those that mean nothing.
    classes : tuple of str
    calibrate : callable, optional
        Of the model.
    fused : Fused, optional
        Of a fused model, which takes the place of the mean.
    clinical : mapping of str to str
        The patient's values that a fused model uses.
    """

    breast: Side | None
    lesion_id: str
    items: tuple[LesionPrediction, ...]
    classes: tuple[str, ...]
    calibrate: Calibrate | None = None
    fused: Fused | None = None
    clinical: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What it is called, such as ``left breast`` or ``left breast, lesion A``."""
        where = breast_name(self.breast)
        return f"{where}, lesion {self.lesion_id}" if self.lesion_id else where

    @property
    def counted(self) -> tuple[LesionPrediction, ...]:
        """The lesions that the mean is made of."""
        return tuple(item for item in self.items if not item.means_nothing)

    @property
    def probabilities(self) -> dict[str, float] | None:
        """Probability per class: mean over the lesions of an image, then over the images, calibrated.

        A fused model has its own way in the place of the mean. None where none counts.
        """
        mean = self._mean()
        if mean is None:
            return None
        if self.calibrate:
            mean = self.calibrate(mean[None])[0]
        return dict(zip(self.classes, map(float, mean), strict=True))

    def _mean(self) -> NDArray[np.float64] | None:
        if self.fused:
            return self.fused.probabilities(self.lesions(), self.clinical) if self.counted else None
        by_image: dict[int, list[NDArray[np.float64]]] = {}
        for item in self.counted:
            by_image.setdefault(item.picture, []).append(item.network)
        if not by_image:
            return None
        return np.asarray(np.mean([np.mean(values, axis=0) for values in by_image.values()], axis=0), np.float64)

    def lesions(self) -> Lesions:
        """What a fused model is applied to."""
        found = [(item, item.outputs) for item in self.counted]
        return Lesions(
            Outputs.joined([outputs for _, outputs in found if outputs is not None]),
            np.array([item.picture for item, _ in found], np.int64),
            np.array([item.mammogram.view or "" for item, _ in found]),
        )

    def to_dict(self) -> dict[str, Any]:
        """The entry of ``results`` in ``prediction.json``."""
        return {
            "title": self.title,
            "breast": self.breast,
            "lesion": self.lesion_id or None,
            "images": list(dict.fromkeys(item.image for item in self.counted)),
            "left_out": [item.lesion for item in self.items if item.means_nothing],
            "probabilities": self.probabilities,
        }


@dataclass(frozen=True, eq=False)
class Prediction:
    """The prediction for one patient.

    Attributes
    ----------
    bundle_card : dict
        The model bundle's card.
    items : tuple of LesionPrediction
        One per lesion and image.
    warnings : tuple of str
        Sentences that a reader of the result must see.
    made : dict
        What it was made of; see `MolSubCore.prediction.provenance.made_of`.
    fused : Fused, optional
        Of a fused model.
    clinical : mapping of str to str
        The patient's values that a fused model used.
    """

    bundle_card: dict[str, Any]
    items: tuple[LesionPrediction, ...]
    warnings: tuple[str, ...] = field(default=())
    made: dict[str, Any] = field(default_factory=dict)
    fused: Fused | None = None
    clinical: Mapping[str, str] = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the probabilities."""
        return list(self.bundle_card["classes"])

    @property
    def results(self) -> tuple[Result, ...]:
        """One result per breast, and per lesion where the user names them; never a mean over two of these."""
        found: dict[tuple[Side | None, str], list[LesionPrediction]] = {}
        for item in self.items:
            found.setdefault((item.breast, item.lesion_id), []).append(item)
        classes, calibrate = tuple(self.classes), calibration_of(self.bundle_card)
        return tuple(
            Result(*key, tuple(items), classes, calibrate, self.fused, self.clinical) for key, items in found.items()
        )

    @property
    def patient(self) -> dict[str, float]:
        """Probabilities of the only result.

        Raises
        ------
        MolSubError
            If there are several: they are never averaged.
        """
        only = self.only_result
        if only is None:
            found = f"has {len(self.results)} results: {', '.join(one.title for one in self.results)}"
            raise MolSubError("prediction", found, "Take each by itself (results)")
        return only

    @property
    def only_result(self) -> dict[str, float] | None:
        """Probabilities where there is one result, of one breast; None where there are several."""
        return self.results[0].probabilities if len(self.results) == 1 else None
