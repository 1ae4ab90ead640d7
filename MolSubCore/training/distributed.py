"""One training in several processes, started by ``torchrun``: each takes its share of every batch.

The processes need one file system. The first one shows, decides and writes; the others compute and wait. Without
torchrun every function here is that of a single process.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from MolSubCore.errors import TrainingError

if TYPE_CHECKING:  # the command line asks for the rank before it loads PyTorch
    from torch import nn

_T = TypeVar("_T")

#: The others wait while the first one reads all images; a process that is lost is noticed at once all the same.
_TIMEOUT = timedelta(days=2)

#: Seconds for the first process to say what went wrong, before another one says it.
PATIENCE = 20.0

_CAUSE = "molsub cause"

#: Held by whichever thread of the first process says what ends the training.
_saying = threading.Lock()


def launched() -> tuple[int, int]:
    """Rank and number of the processes that torchrun started; (0, 1) without it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """The processes of torchrun as one group: gloo on the processor, NCCL between GPUs, one for each process."""
    rank, size = launched()
    if size == 1:
        yield
        return
    import torch
    from torch import distributed

    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        local = int(os.environ["LOCAL_RANK"])
        if local < torch.cuda.device_count():
            torch.cuda.set_device(local)
    distributed.init_process_group(backend, timeout=_TIMEOUT, rank=rank, world_size=size)
    ended = threading.Event()
    if rank == 0:
        threading.Thread(target=_listen, args=(ended,), daemon=True).start()
    yield
    # Not after an error, when others may still wait for this process's part of a sum: its end ends that too.
    ended.set()
    distributed.destroy_process_group()


def processes() -> int:
    """Size of the group."""
    import torch.distributed

    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def processes_here() -> int:
    """Those of the group that are on this computer."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if processes() > 1 else 1


def rank() -> int:
    """Of this process in the group."""
    import torch.distributed

    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def is_first() -> bool:
    """Whether this process is the one that shows, decides and writes."""
    return rank() == 0


def check_devices(device: str) -> None:
    """Refuse fewer GPUs than processes.

    Raises
    ------
    TrainingError
    """
    import torch

    local = processes_here()
    if device == "cuda" and local > torch.cuda.device_count():
        found = f"starts {local} processes here, and PyTorch sees {torch.cuda.device_count()} GPU(s)"
        raise TrainingError("torchrun", found, "Give --nproc-per-node that number, or use --device cpu")


def barrier() -> None:
    """Wait for all."""
    broadcast(None)


def broadcast(value: _T) -> _T:
    """The first process's value, in all; the others wait for it."""
    if processes() == 1:
        return value
    import torch
    from torch import distributed

    # Not distributed.barrier, which on GPUs needs their streams; and both ways, so that the first one waits too.
    distributed.all_reduce(torch.zeros(1))
    content = [value]
    distributed.broadcast_object_list(content, src=0, device=torch.device("cpu"))
    return content[0]


def gather(value: _T) -> list[_T]:
    """The values of all processes by rank, in the first one; in the others their own alone."""
    if processes() == 1:
        return [value]
    from torch import distributed

    found: list[Any] | None = [None] * processes() if is_first() else None
    distributed.gather_object(value, found, dst=0)
    return [value] if found is None else found


def in_turn(work: Callable[[], _T]) -> _T:
    """Have the first process do what fills a cache or downloads a file; then the others, who find it there."""
    if not is_first():
        barrier()
        return work()
    result = work()
    barrier()
    return result


def share(count: int) -> slice:
    """This process's part of a batch: neighbours, the first processes having one more where it does not divide."""
    each, more = divmod(count, processes())
    start = rank() * each + min(rank(), more)
    return slice(start, start + each + (rank() < more))


def wrapped(model: nn.Module, size: int) -> nn.Module:
    """The model, with gradients averaged over the processes; on its own in a single one.

    Parameters
    ----------
    model : nn.Module
        On its device. Its weights and buffers become those of the first process.
    size : int
        Of its square patches.
    """
    if processes() == 1:
        return model
    import torch
    from torch.nn.parallel import DistributedDataParallel

    network = DistributedDataParallel(model)
    # After its first step it puts the gradients into another order, which decides how they round: a training that
    # goes on would round otherwise than one that was never stopped. So this comes before the first epoch of both.
    was_training = model.training
    model.eval()
    for _ in range(2):
        patch = torch.zeros((1, 1, size, size), device=next(model.parameters()).device)
        network(patch).sum().backward()
    model.zero_grad(set_to_none=True)
    model.train(was_training)
    return network


def cause_to_tell(message: str) -> str:
    """What this process has to tell at the end of a training that did not go well: "" for nothing.

    The first one tells its error. The others leave theirs for the first one, and tell it only if that does not happen.

    Parameters
    ----------
    message : str
        One line; of an interruption, which all processes notice, it is empty in the others.
    """
    if launched()[0] == 0:
        if not _saying.acquire(blocking=False):
            time.sleep(PATIENCE)  # `_listen` is ending this process
        return message
    if message:
        from torch import distributed

        if distributed.is_initialized():
            _store().compare_set(_CAUSE, "", message)
        time.sleep(PATIENCE)
    return message


def _listen(ended: threading.Event) -> None:
    """Tell the error of another process and end this one, which may wait for that process in vain."""
    store = _store()
    while not ended.wait(0.3):
        if store.check([_CAUSE]) and _saying.acquire(blocking=False):
            print(store.get(_CAUSE).decode(), file=sys.__stderr__, flush=True)
            os._exit(2)


def _store() -> Any:
    """Torchrun's own memory, which outlives the processes."""
    from torch.distributed.rendezvous import rendezvous

    return next(iter(rendezvous("env://", timeout=timedelta(seconds=30))))[0]
