"""Trains, is killed with SIGKILL at a chosen moment, resumes: run by test_training_resume.py.

One process imports torch once and forks a child for every training, before any computation of its
own. The moments come from the command line, ``kind:number``; the digests of the final weights go
to standard output as JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch._dynamo  # noqa: F401 - every optimiser asks for it, in every child
from safetensors.numpy import load_file
from torch import nn

from MolSubCore import files
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.training import loop as checkpoint
from MolSubCore.training import run
from MolSubCore.training.loop import Event
from MolSubCore.training.plan import Plan

EPOCHS, SIZE = 3, 64


def tiny_model(architecture: str, classes: int, *, dropout: float) -> nn.Module:
    """Convolution, normalisation and dropout: all kinds of state that a resume must restore."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Dropout2d(dropout), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, classes),
    )  # fmt: skip


def data() -> run.TrainingData:
    """Twelve patches of twelve patients: two folds and a test set."""
    recipe = get_recipe("default")
    patches = np.random.default_rng(0).random((12, SIZE, SIZE)).astype(recipe.patch_dtype)
    store: Any = SimpleNamespace(
        patches=patches, case_index=np.arange(12), lesion=["1"] * 12, meta=[{} for _ in range(12)], subtypes=()
    )
    labels = np.tile([0, 1], 6)
    return run.TrainingData(
        store, labels, tuple(f"S{i}" for i in range(12)), (1, 1, 2, 2, 1, 1, 2, 2, "test", "test", 1, 2)
    )


def killer(kind: str, number: int) -> Any:
    """Install the trap for one moment; return the listener."""
    count = {"step": 0, "replace": 0, "write": 0}

    def hit(what: str) -> bool:
        count[what] += 1
        return count[what] == number

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    real_replace, real_save = os.replace, checkpoint.save_file

    def replace(source: Any, target: Any) -> None:
        now = kind.startswith("replace") and hit("replace")
        if now and kind == "replace-before":
            die()
        real_replace(source, target)
        if now:
            die()

    def save(tensors: Any, path: Any, metadata: Any = None) -> None:
        real_save(tensors, path, metadata=metadata)
        if kind == "write" and hit("write"):
            with Path(path).open("rb+") as file:
                file.truncate(100)
            die()

    def listen(event: Event) -> None:
        if kind == "step" and event.kind == "step" and hit("step"):
            die()

    files.os.replace, checkpoint.save_file = replace, save  # type: ignore[assignment]
    return listen


def train_once(out: Path, architecture: str, moment: str | None) -> int:
    """Train in a forked child; return its wait status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        if architecture == "tiny":
            run.build_model = tiny_model  # type: ignore[assignment]
        plan = Plan(
            task="tn", architecture=architecture, recipe=get_recipe("default").to_dict(), data_hash="d", split_hash="s",
            folds=2, epochs=EPOCHS, batch_size=2, learning_rate=1e-3, threads=1,
        )  # fmt: skip
        out.mkdir(exist_ok=True)
        kind, number = moment.split(":") if moment else ("none", "0")
        run.train(plan, data(), out, listener=killer(kind, int(number)))
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr)
        os._exit(1)


def digest(out: Path) -> str:
    """SHA-256 of all final weights, metrics (less the clock) and predictions."""
    total = hashlib.sha256()
    for folder in sorted(out.glob("fold-*")):
        assert not list(folder.glob(".tmp-*")), "a temporary file was left"
        for name in ("best.safetensors", "predictions.csv", "test_predictions.csv"):
            total.update((folder / name).read_bytes() if name.endswith("csv") else _tensors(folder / name))
        total.update(_tensors(folder / "last.safetensors"))
        for row in (folder / "metrics.csv").read_text().splitlines():
            total.update(row.rsplit(",", 2)[0].encode())
    return total.hexdigest()


def _tensors(file: Path) -> bytes:
    tensors = load_file(file)
    return b"".join(name.encode() + tensors[name].tobytes() for name in sorted(tensors))


def main() -> None:
    """``kill_driver.py FOLDER ARCHITECTURE MOMENT...``."""
    root, architecture, moments = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    result: dict[str, Any] = {}
    for moment in [None, *moments]:
        out = root / (moment or "never").replace(":", "-")
        if moment is not None:
            status = train_once(out, architecture, moment)
            assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, f"{moment}: not killed ({status})"
        assert train_once(out, architecture, None) == 0, f"{moment}: did not finish"
        result[moment or "never"] = out
    print(json.dumps({name: digest(out) for name, out in result.items()}))


if __name__ == "__main__":
    main()
