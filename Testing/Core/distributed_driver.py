"""Trainings in one and in several processes: run by test_distributed.py, which compares what this prints as JSON.

One process imports torch once and forks the processes of every training, with the variables that torchrun sets.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kill_driver
import numpy as np
import torch
import torch._dynamo  # optimizers load it at their first step: once here, not in every process

from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.training import run
from MolSubCore.training.distributed import joined
from MolSubCore.training.loop import Event, FoldTrainer, PatchSet
from MolSubCore.training.plan import Plan

#: Patches of the training parts whose gradients are compared, four a batch: the last batch is 4, 3 or 1 of them.
COUNTS = (4, 7, 5)

Work = Callable[[int], None]


def group(size: int, work: Work) -> list[int]:
    """Have `work(rank)` done by processes as torchrun starts them; return their wait statuses."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    children = []
    for rank in range(size):
        child = os.fork()
        if not child:
            os.environ |= {
                "TORCHELASTIC_RUN_ID": "test", "TORCHELASTIC_USE_AGENT_STORE": "True", "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(store.port), "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size),
                "LOCAL_WORLD_SIZE": str(size),
            }  # fmt: skip
            finish(work, rank)
        children.append(child)
    return [os.waitpid(child, 0)[1] for child in children]


def finish(work: Work, rank: int) -> None:
    """Do the work and end this process; a line on standard error if it fails."""
    code = 1
    try:
        with joined():
            work(rank)
        code = 0
    except BaseException as error:
        print(f"rank {rank}: {error!r}", file=sys.stderr)
    os._exit(code)


def plan(**changes: Any) -> Plan:
    values: dict[str, Any] = {
        "task": "tn", "architecture": "simple-cnn", "recipe": get_recipe("default").to_dict(), "data_hash": "d",
        "split_hash": "s", "folds": 2, "epochs": 1, "batch_size": 4, "oversampling": 1.0, "dropout": 0.0,
    }  # fmt: skip
    return Plan(**(values | changes))


def gradients(out: Path, count: int) -> None:
    """Keep the gradients of every step of an epoch, in which the weights stay as they are."""
    recipe = get_recipe("default")
    patches = np.random.default_rng(0).random((count, 224, 224)).astype(recipe.patch_dtype)
    data = PatchSet(patches, np.arange(count), np.arange(count) % 2)
    still = plan(learning_rate=0.0, weight_decay=0.0, processes=run.distributed.processes())
    out.mkdir(exist_ok=True)
    trainer = FoldTrainer(run.initial_model(still, 1, run.NO_PRETRAINED), still, 1, data, data, out)
    found: list[list[float]] = []
    real = trainer.optimizer.step

    def step(*arguments: Any) -> Any:
        every = torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])
        found.append([*every[::5000].tolist(), float(every.norm())])
        return real(*arguments)

    trainer.optimizer.step = step  # type: ignore[method-assign]
    row = trainer._epoch(0)  # the rest of a training writes checkpoints
    if run.distributed.is_first():
        row = {name: row[name] for name in ("train_loss", "train_auc", "val_loss")}
        (out / "gradients.json").write_text(json.dumps({"steps": found, "row": row}))


def whole(out: Path, size: int, moment: int) -> Work:
    """A training with batch normalisation, dropout and all; the first process kills itself at step `moment`."""

    def work(rank: int) -> None:
        run.build_model = kill_driver.tiny_model  # type: ignore[assignment]
        out.mkdir(exist_ok=True)
        steps = 0

        def listen(event: Event) -> None:
            nonlocal steps
            steps += event.kind == "step"
            if rank == 0 and event.kind == "step" and steps == moment:
                os.kill(os.getpid(), signal.SIGKILL)

        tiny = plan(architecture="tiny", batch_size=6, epochs=3, dropout=0.3, learning_rate=1e-3, oversampling=1.5)
        run.train(dataclasses.replace(tiny, processes=size), kill_driver.data(), out, listener=listen)

    return work


def main() -> None:
    """``distributed_driver.py FOLDER``."""
    root, result = Path(sys.argv[1]), dict[str, Any]()
    for count in COUNTS:
        for size in (1, 2):
            out = root / f"gradients-{count}-{size}"
            assert group(size, lambda rank, out=out, count=count: gradients(out, count)) == [0] * size  # type: ignore[misc]
            result[out.name] = json.loads((out / "gradients.json").read_text())
    trainings = {"never": [0], "again": [0], "killed": [3, 0]}
    for size, names in ((1, ["never"]), (2, ["never", "again", "killed"]), (3, ["never", "killed"])):
        for name in names:
            moments = trainings[name]
            out = root / f"{name}-{size}"
            for moment in moments:
                statuses = group(size, whole(out, size, moment))
                if moment:
                    assert os.WIFSIGNALED(statuses[0]) and not (out / "fold-1" / "done.json").exists()
                else:
                    assert statuses == [0] * size, out.name
            result[out.name] = kill_driver.digest(out)
    child = os.fork()
    if not child:
        finish(whole(root / "alone", 1, 0), 0)
    assert os.waitpid(child, 0)[1] == 0
    print(json.dumps(result | {"alone": kill_driver.digest(root / "alone")}))


if __name__ == "__main__":
    main()
