"""Files beside a fold's predictions that fusions read: penultimate features, and predictions averaged over flips.

They are written by `MolSubCore.training.extras`; reading them needs no torch.
"""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from MolSubCore.errors import TrainingError, reason_of
from MolSubCore.files import atomic_path, open_file
from MolSubCore.predictions import Predictions
from MolSubCore.training.run_files import check_written

FEATURES = "features.npz"
TTA_VALIDATION = "tta_predictions.csv"
TTA_TEST = "tta_test_predictions.csv"

#: Test-time augmentation is the mean over these: axes of (N, 1, rows, columns) that are reversed. They are the flips
#: of the augmentation in training, without its rotations and shears, which interpolate.
FLIPS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {"identity": (), "horizontal flip": (3,), "vertical flip": (2,), "both flips": (2, 3)}
)

_TEXT = ("study_id", "lesion", "laterality", "view")
_ARRAYS = (*_TEXT, "case", "label", "logits")


@dataclass(frozen=True, eq=False)
class Features:
    """What one fold's model makes of every patch of the store, in store order.

    Attributes
    ----------
    values : ndarray of float16, shape (N, D)
        Input of the architecture's last layer. Values beyond float16's range are its ends, +-65504.
    partition : ndarray of str, shape (N,)
        ``test``, or the number of the fold in which the patient is in the validation part; 0 for none.
    predictions : Predictions
        Logits of the same pass, with patient, image, lesion, view and label. Mind that the model was trained on all
        partitions but ``test`` and its own fold's.
    """

    values: NDArray[np.float16]
    partition: NDArray[np.str_]
    predictions: Predictions


def write_features(path: Path, features: Features) -> None:
    """Write an npz, whole or not at all; equal features give equal bytes."""
    rows = features.predictions
    arrays = {name: getattr(rows, name) for name in _ARRAYS}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, features=features.values, partition=features.partition, classes=np.array(rows.classes), **arrays)


def read_features(path: Path) -> Features:
    """Read what `write_features` wrote; nothing in the file is run.

    Raises
    ------
    TrainingError
        If the file is missing, of another form, or no longer as the training wrote it.
    """
    check_written(path)
    try:
        with open_file(path) as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("features", "partition", "classes", *_ARRAYS)}
        count, shape = len(arrays["features"]), arrays["features"].shape
        if len(shape) != 2 or any(len(arrays[name]) != count for name in ("partition", *_ARRAYS)):
            raise ValueError("arrays of different lengths")
        if not np.isfinite(arrays["features"]).all():
            raise ValueError("a feature is no finite number")
        fields = {field.name: arrays[field.name] for field in dataclasses.fields(Predictions)}
        rows = Predictions(**(fields | {"classes": tuple(arrays["classes"].tolist())}))
        return Features(arrays["features"], arrays["partition"], rows)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        found = f"holds no features ({reason_of(error)})"
        raise TrainingError(path, found, "Delete it and run this fold again") from None
