"""Damage to files, drawn by hypothesis: bytes anywhere, within containers too, where checksums are put right again."""

from __future__ import annotations

import copy
import gzip
import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from fuzz_seeds import Seed
from hypothesis import strategies as st

_LARGEST = 8 << 20
#: Of a file's first bytes, where the headers are, twice as much is damaged as of the rest.
_HEAD = 1500
_WORDS = (
    *(b"\0", b"\xff", b"\0\0", b"\xff\xff", b"\xff\x7f", b"\x7f\xff", b"\0\x80", b"\x80\0", b"\1\0", b"\0\1"),
    *(b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\0\0\0\x80", b"\0\0\0\0", b"\0\0\1\0"),
    *(b"\xff" * 8, b"\xff" * 7 + b"\x7f", b"\0" * 8, struct.pack("<d", float("nan")), struct.pack("<f", 1e30)),
    *(b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xff\xd9", b"\xff\xd8", b"\xff\x4f\xff\x51", b"PK\3\4"),
    *(b"0", b"-1", b"1e999", b"NaN", b"Infinity", b"99999999999999999999", b"1" * 5000, b"null", b"true", b"0.5"),
    *(b'"', b"'", b",", b"[", b"]", b"{", b"}", b":", b"\n", b"\r", b"\t", b";", b"[" * 3000, b'{"a":' * 3000),
    *(b"=cmd|'/c calc'!A1", b"@SUM(1)", b"../../../../etc/passwd", b"/dev/zero", b"a/" * 3000, b"x" * 300),
    *(b"\x1b[31m", "\u202e".encode(), "\ud800".encode("utf-8", "surrogatepass"), b"\xc3\x28", b"<script>", b"&lt"),
)

Edit = Callable[[bytes, int], bytes]


def _set(words: bytes) -> Edit:
    return lambda data, at: data[:at] + words + data[at + len(words) :]


def _insert(words: bytes) -> Edit:
    return lambda data, at: data[:at] + words + data[at:]


def _flip(bit: int) -> Edit:
    return lambda data, at: data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :] if at < len(data) else data


def _delete(count: int) -> Edit:
    return lambda data, at: data[:at] + data[at + count :]


def _repeat(count: int, times: int) -> Edit:
    return lambda data, at: data[:at] + data[at : at + count] * times + data[at + count :]


def _cut(data: bytes, at: int) -> bytes:
    return data[:at]


def _edits() -> st.SearchStrategy[Edit]:
    words = st.sampled_from(_WORDS) | st.binary(min_size=1, max_size=8)
    few = st.integers(1, 64)
    return st.one_of(
        words.map(_set),
        words.map(_set),
        words.map(_insert),
        st.integers(0, 7).map(_flip),
        (few | st.integers(1, 5000)).map(_delete),
        st.builds(_repeat, few, st.sampled_from((2, 3, 100, 5000))),
        st.just(_cut),
    )


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """`data` with one to four edits."""
    for edit in draw(st.lists(_edits(), min_size=1, max_size=4)):
        size = max(len(data), 1)
        places = st.integers(0, min(_HEAD, size) - 1)
        at = draw(st.one_of(places, places, st.integers(0, size - 1)))
        changed = edit(data, at)
        data = changed if len(changed) <= max(_LARGEST, len(data)) else data
    return data


@st.composite
def inputs(draw: st.DrawFn, seeds: Sequence[Seed]) -> tuple[Seed, bytes]:
    """A seed and its damaged bytes; one in four is a real file, where there are any."""
    made, real = ([seed for seed in seeds if seed.real is kind] for kind in (False, True))
    chosen = real if real and draw(st.integers(0, 3)) == 3 else made
    seed = draw(st.sampled_from(chosen))
    within = _WITHIN.get(seed.container)
    if within is None or draw(st.integers(0, 2)) == 0:
        return seed, draw(damaged(seed.data))
    return seed, draw(within(seed.data))


@st.composite
def _in_gzip(draw: st.DrawFn, data: bytes) -> bytes:
    return gzip.compress(draw(damaged(gzip.decompress(data))), 1, mtime=0)


@st.composite
def _in_png(draw: st.DrawFn, data: bytes) -> bytes:
    """Chunks keep true checksums."""
    data, at, chunks = draw(damaged(data)), 8, [data[:8]]
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        body = data[at + 4 : at + 8 + length]
        chunks.append(data[at : at + 4] + body + zlib.crc32(body).to_bytes(4, "big"))
        at += 12 + length
    return b"".join(chunks)


@st.composite
def _in_zip(draw: st.DrawFn, data: bytes) -> bytes:
    """One member is damaged; checksums and, in a bundle, the card's hashes are put right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info: archive.read(info) for info in archive.infolist()}
    chosen = draw(st.sampled_from(list(members)))
    within = _in_json if chosen.filename.endswith(".json") and draw(st.booleans()) else damaged
    members[chosen] = draw(within(members[chosen]))
    if chosen.filename.endswith(".safetensors"):
        (card,) = (info for info in members if info.filename == "bundle.json")
        content = json.loads(members[card])
        content["members"][0]["sha256"] = hashlib.sha256(members[chosen]).hexdigest()
        members[card] = json.dumps(content).encode()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for info, content in members.items():
            archive.writestr(zipfile.ZipInfo(info.filename), content, info.compress_type)
    return stream.getvalue()


@st.composite
def _in_deflated(draw: st.DrawFn, data: bytes) -> bytes:
    """The data set of a deflated DICOM file, whose group 2 says where it begins."""
    start = 144 + int.from_bytes(data[140:144], "little")
    inner = draw(damaged(zlib.decompress(data[start:], -zlib.MAX_WBITS)))
    deflater = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return data[:start] + deflater.compress(inner) + deflater.flush()


_LONG = {b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UR", b"UT", b"UN", b"SV", b"UV"}


def elements(data: bytes) -> list[tuple[int, int, int]]:
    """Of each element of an explicit-VR little-endian file: where its length, its value and its next begin."""
    at, found = 132, []
    while at + 8 <= len(data):
        long = data[at + 4 : at + 6] in _LONG
        length_at, value_at = (at + 8, at + 12) if long else (at + 6, at + 8)
        length = int.from_bytes(data[length_at:value_at], "little")
        if value_at + length > len(data) or not data[at + 4 : at + 6].isupper():
            break
        found.append((length_at, value_at, value_at + length))
        at = value_at + length
    return found


@st.composite
def _in_dicom(draw: st.DrawFn, data: bytes) -> bytes:
    """One to three elements get other values and true lengths, so that what follows them is read as it was."""
    for _ in range(draw(st.integers(1, 3))):
        if not (found := elements(data)):
            return draw(damaged(data))
        length_at, value_at, end = draw(st.sampled_from(found))
        value = draw(damaged(data[value_at:end]) | st.sampled_from(_WORDS) | st.binary(max_size=20))
        value = value[: (1 << 8 * (value_at - length_at)) - 2]
        value += b" " * (len(value) % 2)
        data = data[:length_at] + len(value).to_bytes(value_at - length_at, "little") + value + data[end:]
    return data


_VALUES = (
    *(None, True, 0, -1, 2, 1 << 70, 0.5, -1e308, float("inf"), float("nan"), "", "x", "test", "1,2,30,31", "a\0b"),
    *("../../../../etc/passwd", "/dev/zero", ".", "mask.png", "image.dcm", "\x1b[2J\u202e", "x" * 100_000, "\ud800"),
    *([], {}, [[]], [1, 2], ["x"], {"x": 1}, [[1, 2]] * 20_000, [None], [{"points": []}]),
)


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Every container of a JSON document with each of its keys; of a long list, the first ones."""
    found: list[tuple[Any, Any]] = []
    waiting = [content]
    while waiting and len(found) < 500:
        within = waiting.pop(0)
        if isinstance(within, dict | list):
            keys = list(within) if isinstance(within, dict) else range(min(len(within), 20))
            found += [(within, key) for key in keys]
            waiting += [within[key] for key in keys]
    return found


@st.composite
def _in_json(draw: st.DrawFn, data: bytes) -> bytes:
    """One to three values of a JSON document are replaced, removed or doubled."""
    content: Any = json.loads(data)
    for _ in range(draw(st.integers(1, 3))):
        value, action = copy.deepcopy(draw(st.sampled_from(_VALUES))), draw(st.integers(0, 19))
        places = _places(content)
        if action == 19 or not places:
            content = value
            continue
        within, key = draw(st.sampled_from(places))
        if action < 3:
            del within[key]
        else:
            within[key] = value if action > 5 else [within[key], within[key]]
    return (json.dumps(content) + "\n").encode("utf-8", "surrogatepass")


_WITHIN: dict[str, Callable[[bytes], st.SearchStrategy[bytes]]] = {
    "gzip": _in_gzip,
    "PNG": _in_png,
    "zip": _in_zip,
    "deflated": _in_deflated,
    "DICOM": _in_dicom,
    "JSON": _in_json,
}
