"""The process that reads damaged files: one JSON line in, one out; whatever a reader prints goes to a file.

``python fuzz_child.py LOG`` with ``{"reader", "file", "shape"}`` a line on standard input.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from MolSubCore.errors import MolSubError


def _image(path: Path, shape: tuple[int, int]) -> None:
    from MolSubCore.imaging.canonical import canonical_array
    from MolSubCore.imaging.io.reader import check_header, read_mammogram
    from MolSubCore.worker.jobs import image_facts

    with contextlib.suppress(MolSubError):
        check_header(path)
    mammogram = read_mammogram(path)
    json.dumps(image_facts(mammogram), allow_nan=False)
    assert canonical_array(mammogram).shape == mammogram.shape


def _mask(path: Path, shape: tuple[int, int]) -> None:
    from MolSubCore.imaging.mammogram import Mammogram
    from MolSubCore.lesions.masks import read_lesions

    found = read_lesions(path, Mammogram(np.zeros(shape, np.uint8)))
    assert found.full_mask().any()


def _table(path: Path, shape: tuple[int, int]) -> None:
    from MolSubCore.cohort.table import read_cohort

    assert read_cohort(path).cases


def _bundle(path: Path, shape: tuple[int, int]) -> None:
    from MolSubCore.models.bundle import read_bundle
    from MolSubCore.models.card import card_lines

    bundle = read_bundle(path)
    assert card_lines(bundle.card)


def _checkpoint(path: Path, shape: tuple[int, int]) -> None:
    from MolSubCore.models.unpickle import read_tensors

    assert read_tensors(path)


def _split(path: Path, shape: tuple[int, int]) -> None:
    from fuzz_seeds import split_cohort

    from MolSubCore.cohort.splits import read_split
    from MolSubCore.cohort.table import Case, Cohort
    from MolSubCore.tasks import Subtype

    cases = [Case(n, p, Path(p), None, None, Subtype.TN) for n, p in enumerate(split_cohort(), start=2)]
    assert read_split(path, Cohort(tuple(cases), Path("table.csv"))).partition


def _worker(path: Path, shape: tuple[int, int]) -> None:
    """A request, in the folder of the files that it names."""
    from MolSubCore.worker.protocol import Cancel, read_event, read_request
    from MolSubCore.worker.worker import Worker

    out = io.StringIO()
    worker = Worker(io.StringIO(), out)
    for line in io.TextIOWrapper(io.BytesIO(path.read_bytes()), encoding="utf-8", errors="replace"):
        request = read_request(line)
        if not isinstance(request, Cancel):
            worker.run(request)
    events = [read_event(line) for line in out.getvalue().splitlines()]
    for event in events:
        if event.event == "failed" and event.values["bad_input"]:
            raise MolSubError("worker", "could not do the job", str(event.values["message"]))
        assert event.event != "failed", event.values


READ: dict[str, Callable[[Path, tuple[int, int]], None]] = {
    "DICOM": _image,
    "picture": _image,
    "volume": _image,
    "mask": _mask,
    "table": _table,
    "bundle": _bundle,
    "checkpoint": _checkpoint,
    "split": _split,
    "worker": _worker,
}


def _peak() -> int:
    """The most memory this process ever held, or has held since `_reset`, in bytes."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most << 10


def _reset() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _attempt(reader: str, path: Path, shape: tuple[int, int]) -> dict[str, Any]:
    """Read one file; what came of it."""
    try:
        READ[reader](path, shape)
        return {"outcome": "result"}
    except MolSubError as error:
        text = str(error)
        if len(text) > 1500 or "\n" in text or not text.isprintable():
            return {"outcome": "fault", "kind": "unreadable message", "message": ascii(text)[:2000]}
        return {"outcome": "refused", "kind": type(error).__name__, "message": text}
    except BaseException as error:  # a panic of Rust is no Exception
        frames = traceback.extract_tb(error.__traceback__)
        where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[:-4:-1])
        return {"outcome": "fault", "kind": type(error).__name__, "message": f"{str(error)[:500]} ({where})"}


def serve(log: Path, requests: TextIO, answers: TextIO) -> None:
    """Answer every request until the input ends."""
    for line in requests:
        task = json.loads(line)
        before = log.stat().st_size
        _reset()
        start = time.process_time()
        answer = _attempt(task["reader"], Path(task["file"]), tuple(task["shape"]))
        answer["seconds"] = time.process_time() - start
        answer["bytes"] = _peak()
        if printed := log.read_bytes()[before:]:
            answer |= {"outcome": "fault", "kind": "prints", "message": repr(printed[:500])}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sink = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    serve(Path(sys.argv[1]), sys.stdin, channel)
