"""Hostile and damaged checkpoints: nothing runs, and only a BundleError comes out."""

from __future__ import annotations

import os
import pickle
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published_network import archive, rewritten, saved
from torch import nn

from MolSubCore.errors import BundleError
from MolSubCore.models.unpickle import is_finite, read_tensors


class Storage:
    """Named in a pickle as a reference to a storage."""

    def __init__(self, key: Any = "0", count: Any = 4, kind: str = "storage", name: str = "FloatStorage") -> None:
        self.reference = (kind, getattr(torch, name), key, "cpu", count)


class Pickler(pickle.Pickler):
    """Writes storages as references, as torch.save does."""

    def persistent_id(self, value: object) -> object:
        return value.reference if isinstance(value, Storage) else None


class Call:
    """Pickled as a call of any function, with state to be set on its result."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.parts


def tensor(offset: Any = 0, size: Any = (2, 2), stride: Any = (2, 1), storage: Any = None, state: Any = None) -> Call:
    storage = Storage() if storage is None else storage
    return Call(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, {}, state=state)


def checkpoint(folder: Path, value: object, protocol: int = 2) -> Path:
    """A checkpoint of this value with one storage of four floats: 0, 1, 2, 3."""
    import io

    stream = io.BytesIO()
    Pickler(stream, protocol).dump(value)
    return archive(folder / "c.pth", stream.getvalue(), s0=np.arange(4, dtype="<f4").tobytes())


@pytest.mark.parametrize("function", [os.system, eval, exec, __import__, getattr, os.mkdir])
@pytest.mark.parametrize("protocol", [2, 4])
def test_no_call_is_made(tmp_path: Path, function: Any, protocol: int) -> None:
    marker = tmp_path / "marker"
    argument = {os.system: f"touch {marker}", os.mkdir: str(marker)}.get(function, f"open({str(marker)!r}, 'w')")
    inner = nn.Module()
    inner.register_buffer("b", torch.zeros(1))
    inner.hostile = Call(function, argument)
    for value in ({"w": tensor(), "x": Call(function, argument)}, {"w": tensor(), Call(str, "k"): 1}):
        try:
            found = read_tensors(checkpoint(tmp_path, value, protocol))
        except BundleError:
            continue
        assert list(found) == ["w"]
        assert found["w"].tolist() == [[0.0, 1.0], [2.0, 3.0]]
    whole = nn.Sequential(nn.Linear(2, 2), nn.Sequential(inner))
    (tmp_path / "m.pth").write_bytes(saved(whole))
    assert set(read_tensors(tmp_path / "m.pth")) == {"0.weight", "0.bias", "1.0.b"}
    assert not marker.exists()


def test_hostile_pieces_are_live_without_us(tmp_path: Path) -> None:
    """The attack works on Python's own unpickler: the tests above would notice it."""
    marker = tmp_path / "marker"
    pickle.loads(pickle.dumps(Call(os.mkdir, str(marker))))
    assert marker.is_dir()


def test_numpy_and_state_setting_have_no_effect(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    hostile = Call(os.mkdir, str(marker))
    states: list[Any] = [
        {"__class__": hostile, "_parameters": hostile},
        (None, {"__class__": hostile, "items": hostile, "tensor": hostile}),
        (Storage(), 0, (10**9,), (0,)),  # what torch.Tensor.__setstate__ would hand to set_()
    ]
    value: dict[str, Any] = {"w": tensor(), "n": np.arange(3), "s": np.random.default_rng(0), "hostile": hostile}
    for number, state in enumerate(states):
        value[f"t{number}"] = tensor(state=state)
        value[f"f{number}"] = Call(np.zeros, 3, state=state)
        value[f"d{number}"] = Call(__import__("collections").OrderedDict, state=state)
    found = read_tensors(checkpoint(tmp_path, value))
    assert set(found) == {"w", "t0", "t1", "t2"}
    assert all(one.tolist() == [[0.0, 1.0], [2.0, 3.0]] for one in found.values())
    assert not marker.exists()


@pytest.mark.parametrize(
    "value",
    [
        tensor(offset=1),  # one value too far
        tensor(offset=-1),
        tensor(size=(2, -2)),
        tensor(stride=(-2, 1)),
        tensor(stride=(3, 1)),
        tensor(size=(4, 4), stride=(1, 0)),
        tensor(size=(10**12,), stride=(0,)),  # inside, yet 4 TB once copied
        tensor(size=(2,), stride=(1, 1)),
        tensor(size=(1.5, 2)),
        tensor(size="22"),
        tensor(size=(1,) * 100, stride=(1,) * 100),
        tensor(storage=Storage(count=5)),
        tensor(storage=Storage(count=-1)),
        tensor(storage=Storage(count=2**62)),
        tensor(storage=Storage(count="4")),
        tensor(storage=Storage(key="1")),
        tensor(storage=Storage(key=("0",))),
        tensor(storage=Storage(key="../data.pkl")),
        tensor(storage=Storage(kind="module")),
        tensor(storage=Storage(name="ComplexFloatStorage")),
        tensor(storage=[1.0, 2.0]),
        Call(torch._utils._rebuild_parameter, 3, True, {}),
    ],
    ids=lambda value: "-".join(str(part) for part in value.parts[1][1:4]),
)
def test_lies_about_sizes(tmp_path: Path, value: Call) -> None:
    with pytest.raises(BundleError, match=r"c\.pth"):
        read_tensors(checkpoint(tmp_path, {"w": value}))


def nested(depth: int, kind: bytes) -> bytes:
    """A pickle of containers in each other: tuples as a dictionary's key, or lists."""
    if kind == b"key":
        return b"\x80\x02}" + b")" + b"\x85" * depth + b"Ns."
    return b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."


def shared_dictionaries(depth: int) -> bytes:
    """Dictionaries that hold the next one twice: 2 to the power of `depth` paths through them."""
    body = b"}q\x00"
    for level in range(depth):
        memo = bytes([level % 256])
        body += b"}(X\x01\x00\x00\x00ah" + memo + b"X\x01\x00\x00\x00bh" + memo + b"uq" + bytes([(level + 1) % 256])
    return b"\x80\x02" + body + b"."


@pytest.mark.parametrize(
    "pickled",
    [
        nested(300_000, b"key"),
        nested(300_000, b"list"),
        shared_dictionaries(200),
        b"\x80\x02Nr\xff\xff\xff\x7f.",  # a memo index that Python's C unpickler makes room for: 32 GiB
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",  # a byte array of 1 TiB
        b"\x80\x02\x82\x01.",  # a class by its number in copyreg
        b"\x80\x02cos\nsystem\n(X\x01\x00\x00\x00atR.",
        b"(S'touch x'\nios\nsystem\n.",  # protocol 0: INST
        b"",
        b".",
        b"\x80\x02h\x05.",
        b"\x80\x02}(u}a.",
    ],
    ids=["tuple key", "lists", "shared", "memo", "bytearray", "extension", "call", "inst", "empty", "stop", "get", "a"],
)
def test_pickles_that_would_exhaust_or_crash(tmp_path: Path, pickled: bytes) -> None:
    with pytest.raises(BundleError):
        read_tensors(archive(tmp_path / "c.pth", pickled))


def test_a_module_that_holds_itself(tmp_path: Path) -> None:
    loop = nn.Sequential()
    loop._modules["self"] = loop
    wide = nn.Sequential()
    for _ in range(40):  # 2 to the power of 40 paths
        wide = nn.Sequential(wide, wide)
    for module in (loop, wide):
        (tmp_path / "m.pth").write_bytes(saved(module))
        with pytest.raises(BundleError):
            read_tensors(tmp_path / "m.pth")


def test_archives_that_lie(tmp_path: Path) -> None:
    (tmp_path / "good.pth").write_bytes(saved({"w": torch.ones(3)}))
    packed = rewritten(tmp_path / "good.pth", tmp_path / "packed.pth", lambda data: data, compressed=True)
    with pytest.raises(BundleError, match="compressed"):
        read_tensors(packed)
    with zipfile.ZipFile(tmp_path / "two.pth", "w") as two:
        two.writestr("a/data.pkl", b"N.")
        two.writestr("b/data.pkl", b"N.")
    with pytest.raises(BundleError, match="2 pickles"):
        read_tensors(tmp_path / "two.pth")
    archive(tmp_path / "long.pth", b"\x80\x02N." + b" " * (5 << 20))
    with pytest.raises(BundleError, match="larger than"):
        read_tensors(tmp_path / "long.pth")
    for content in ({}, [], 3, {"epoch": 1}):
        (tmp_path / "none.pth").write_bytes(saved(content))
        with pytest.raises(BundleError, match="no tensors"):
            read_tensors(tmp_path / "none.pth")


@pytest.mark.parametrize(
    "dtype", ["float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
)
def test_every_kind_of_number_and_view(tmp_path: Path, dtype: str) -> None:
    base = torch.arange(24).reshape(4, 6).to(getattr(torch, dtype))
    values = {"whole": base, "turned": base.t(), "part": base[1:3, ::2], "none": base[:0], "one": base[2, 3]}
    (tmp_path / "v.pth").write_bytes(saved(values))
    found = read_tensors(tmp_path / "v.pth")
    assert all(torch.equal(found[name], value) and found[name].dtype == base.dtype for name, value in values.items())


def test_finite() -> None:
    assert is_finite({"a": torch.ones(2), "n": torch.tensor(3)})
    for wrong in (torch.inf, -torch.inf, torch.nan):
        assert not is_finite({"a": torch.ones(2), "b": torch.tensor([0.0, wrong])})


SMALL = saved(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)))
EXPECTED = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).state_dict()


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files(tmp_path: Path, data: st.DataObject) -> None:
    """Bytes changed anywhere, in the archive or in its pickle alone (where no checksum is in the way)."""
    path = tmp_path / "d.pth"
    damage = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=4)

    def spoil(content: bytes) -> bytes:
        spoiled = bytearray(content)
        for place, value in data.draw(damage):
            spoiled[place % len(spoiled)] = value
        return bytes(spoiled)

    path.write_bytes(SMALL)
    if data.draw(st.booleans(), label="pickle only"):
        path = rewritten(path, tmp_path / "p.pth", spoil)
    else:
        path.write_bytes(spoil(SMALL))
    try:
        found = read_tensors(path)
    except BundleError as error:
        assert "\n" not in str(error)
    else:
        assert found
        assert all(isinstance(value, torch.Tensor) for value in found.values())
    assert sys.getrecursionlimit() >= 1000


def test_the_small_file_is_whole(tmp_path: Path) -> None:
    (tmp_path / "s.pth").write_bytes(SMALL)
    found = read_tensors(tmp_path / "s.pth")
    assert {name: value.shape for name, value in found.items()} == {n: v.shape for n, v in EXPECTED.items()}
