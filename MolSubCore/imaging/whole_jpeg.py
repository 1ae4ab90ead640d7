"""Whether JPEG and JPEG 2000 streams are whole: decoders fill in for what is missing or damaged, and say nothing.

A stream of Huffman codes (baseline, extended and lossless JPEG) is walked code by code, without decoding the picture:
it must hold exactly as many samples or blocks as the picture has, and end where they end. Bytes that are lost or
overwritten shift the codes behind them, so that the numbers no longer agree (ITU T.81 annexes B, F, H).

JPEG 2000 has no such numbers. Its tile parts must lie one behind the other, and what arithmetic coding never
makes must not be in them: two bytes above FF8F, and zeros without end (ITU T.800 annexes A, B, C).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_SEQUENTIAL, _LOSSLESS, _PROGRESSIVE = (0xC0, 0xC1), 0xC3, 0xC2
_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_RESTART = range(0xD0, 0xD8)
#: Bytes looked at in one go; every bit of them has an entry in some tables.
_CHUNK = 1 << 17
#: Some writers put bytes of padding behind the last code; each is less than a code of a damaged stream.
_SPARE_BITS = 24
#: Of an end of block, and of a code that the table does not have: where the number of the coefficient goes then.
_END, _NO_CODE = 128, 64
#: Zero bytes in a row that a JPEG 2000 stream has at most beside its empty packets, which are one zero byte each.
_ZEROS = 24


class Damage(ValueError):
    """What is wrong with a stream, for the middle of a sentence."""


@dataclass
class _Component:
    across: int
    down: int


@dataclass
class _Frame:
    marker: int = 0
    rows: int = 0
    columns: int = 0
    components: dict[int, _Component] = field(default_factory=dict)


def check_jpeg(stream: bytes, tables: bytes = b"") -> bool:
    """Refuse a JPEG stream whose coded data do not fill its picture exactly.

    Parameters
    ----------
    stream : bytes
        From the start marker (FFD8) on.
    tables : bytes
        A stream of tables alone that comes before it, as TIFF has them.

    Returns
    -------
    bool
        False where its process (progressive, arithmetic, JPEG-LS) is none that is looked into.

    Raises
    ------
    Damage
    """
    frame, huffman, interval = _Frame(), {}, 0  # type: ignore[var-annotated]
    scanned: set[int] = set()
    for source in (tables, stream):
        at = 2
        while at + 1 < len(source):
            if source[at] != 0xFF:
                raise Damage(f"byte {at} is no marker")
            marker = source[at + 1]
            if marker == 0xFF:  # fill byte
                at += 1
                continue
            if marker == 0xD9:
                break
            if marker in _RESTART or marker == 0x01:
                at += 2
                continue
            length = int.from_bytes(source[at + 2 : at + 4], "big")
            content = source[at + 4 : at + 2 + length]
            if length < 2 or len(content) != length - 2:
                raise Damage("a segment of its header is cut short")
            at += 2 + length
            if marker in _FRAMES:
                if marker not in (*_SEQUENTIAL, _LOSSLESS):
                    return False
                frame = _frame(marker, content)
            elif marker == 0xC4:
                huffman.update(_tables(content))
            elif marker == 0xDD:
                interval = int.from_bytes(content[:2], "big")
            elif marker == 0xDA:
                if not frame.marker:
                    raise Damage("coded data come before its header")
                at, members = _check_scan(source, at, content, frame, huffman, interval)
                scanned.update(members)
        else:
            if source:
                raise Damage("its end marker is missing")
    if not frame.marker or scanned != set(frame.components):
        raise Damage("a part of its coded data is missing")
    return True


def _frame(marker: int, content: bytes) -> _Frame:
    rows, columns = (int.from_bytes(content[i : i + 2], "big") for i in (1, 3))
    parts = {content[i]: _Component(content[i + 1] >> 4, content[i + 1] & 15) for i in range(6, len(content) - 2, 3)}
    if not rows or not columns or not parts or not all(1 <= n <= 4 for p in parts.values() for n in (p.across, p.down)):
        raise Damage("its header makes no picture")
    return _Frame(marker, rows, columns, parts)


def _tables(content: bytes) -> Iterator[tuple[tuple[int, int], tuple[NDArray[np.uint8], NDArray[np.uint8]]]]:
    """Of every 16 bits that may follow: the bits of the code at their start (0: none), and its symbol."""
    at = 0
    while at + 17 <= len(content):
        counts = content[at + 1 : at + 17]
        symbols = content[at + 17 : at + 17 + sum(counts)]
        if len(symbols) != sum(counts):
            raise Damage("a Huffman table is cut short")
        bits, symbol = np.zeros(1 << 16, np.uint8), np.zeros(1 << 16, np.uint8)
        code = number = 0
        for length, count in enumerate(counts, start=1):
            for _ in range(count):
                first, last = code << 16 - length, code + 1 << 16 - length
                if last > 1 << 16:
                    raise Damage("a Huffman table has more codes than there can be")
                bits[first:last], symbol[first:last] = length, symbols[number]
                code, number = code + 1, number + 1
            code <<= 1
        yield (content[at] >> 4, content[at] & 15), (bits, symbol)
        at += 17 + len(symbols)


def _check_scan(
    stream: bytes,
    at: int,
    header: bytes,
    frame: _Frame,
    huffman: dict[tuple[int, int], tuple[NDArray[np.uint8], NDArray[np.uint8]]],
    interval: int,
) -> tuple[int, list[int]]:
    """Walk one scan; where its coded data end, and the components in it."""
    count = header[0]
    chosen = [(header[1 + 2 * n], header[2 + 2 * n]) for n in range(count)]
    if any(name not in frame.components for name, _ in chosen):
        raise Damage("a scan is of a component that there is not")
    members = [frame.components[name] for name, _ in chosen]
    widest = max(part.across for part in frame.components.values())
    highest = max(part.down for part in frame.components.values())
    side = 1 if frame.marker == _LOSSLESS else 8
    if count == 1:  # not interleaved: the component's own blocks
        columns = _up(_up(frame.columns * members[0].across, widest), side)
        rows = _up(_up(frame.rows * members[0].down, highest), side)
        blocks = [1]
    else:
        columns, rows = _up(frame.columns, side * widest), _up(frame.rows, side * highest)
        blocks = [part.across * part.down for part in members]
    try:
        kinds = [tuple(huffman[kind, choice >> 4 if kind == 0 else choice & 15] for kind in (0, 1)[: 1 + (side == 8)])
                 for _, choice in chosen]  # fmt: skip
    except KeyError:
        raise Damage("a Huffman table is missing") from None
    units = [kind for kind, repeats in zip(kinds, blocks, strict=True) for _ in range(repeats)]
    left, expected = rows * columns, 0
    end = at
    for part, after, end in _intervals(stream, at):  # noqa: B007
        due = min(interval or left, left)
        if not due:
            raise Damage("there are coded data behind its last pixel")
        _walk(part, due, units, lossless=side == 1)
        left -= due
        if after not in _RESTART:
            break
        if after != 0xD0 + expected:
            raise Damage("a part of its coded data is missing")
        expected = (expected + 1) % 8
    if left:
        raise Damage("its coded data end before its last pixel")
    return end, [name for name, _ in chosen]


def _up(value: int, unit: int) -> int:
    return -(-value // unit)


def _intervals(stream: bytes, at: int) -> Iterator[tuple[bytes, int, int]]:
    """Coded data between markers, without stuffing; the marker behind each, and the place of that."""
    start = at
    for found in re.finditer(rb"\xff+([^\xff\x00])", stream[at:]):
        marker = found[1][0]
        end = start + found.start()
        begin, at = at, end
        if marker in _RESTART:
            at = start + found.end()
        yield stream[begin:end].replace(b"\xff\x00", b"\xff"), marker, at
        if marker not in _RESTART:
            return
    raise Damage("its end marker is missing")


def _walk(
    data: bytes, due: int, units: list[tuple[tuple[NDArray[np.uint8], NDArray[np.uint8]], ...]], *, lossless: bool
) -> None:
    """Follow `due` groups of codes through the bits of one interval, which must end there."""
    padded = np.frombuffer(data + bytes(8), np.uint8)
    offset = position = 0  # of the chunk in bytes, within the chunk in bits
    walk = _walk_lossless if lossless else _walk_blocks
    state: tuple[int, int] = (0, 0)
    while due:
        chunk = padded[offset : offset + _CHUNK + 8]
        limit = 8 * (len(chunk) - 8)
        if position >= limit:
            raise Damage("its coded data end before its last pixel")
        position, due, state = walk(_windows(chunk), limit, position, due, units, state)
        if position >= limit and offset + _CHUNK < len(data):
            offset += _CHUNK
            position -= limit
        elif due:
            raise Damage("its coded data end before its last pixel")
    spare = 8 * (len(data) - offset) - position
    if spare < 0:
        raise Damage("its coded data end before its last pixel")
    if spare >= 8 + _SPARE_BITS:
        raise Damage(f"{spare // 8} bytes of coded data are left behind its last pixel")


def _windows(chunk: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """The 16 bits from every bit on, for all bytes but the last 8 and some bits beyond."""
    whole = chunk[:-2].astype(np.uint32) << 16 | chunk[1:-1].astype(np.uint32) << 8 | chunk[2:]
    found = np.empty((len(whole), 8), np.uint16)
    for bit in range(8):
        found[:, bit] = whole >> 8 - bit & 0xFFFF
    return found.ravel()


def _walk_lossless(
    windows: NDArray[np.uint16], limit: int, position: int, due: int,
    units: list[tuple[tuple[NDArray[np.uint8], NDArray[np.uint8]], ...]], state: tuple[int, int],
) -> tuple[int, int, tuple[int, int]]:  # fmt: skip
    """A sample is a code for the bits of its difference, and those bits; 16 of them are not written."""
    known: dict[int, bytes] = {}
    steps = []
    for ((bits, symbol),) in units:
        if id(bits) not in known:
            if symbol.max() > 16:
                raise Damage("a Huffman table is none of lossless JPEG")
            length = np.where(bits > 0, bits + np.where(symbol < 16, symbol, 0), 0).astype(np.uint8)
            known[id(bits)] = length[windows].tobytes()
        steps.append(known[id(bits)])
    turn = state[0]
    if len(steps) == 1:
        position, due = _eights(np.frombuffer(steps[0], np.uint8), limit, position, due)
    while due and position < limit:
        step = steps[turn][position]
        if not step:
            raise Damage("it holds codes that its tables do not have")
        position += step
        turn += 1
        if turn == len(steps):
            turn = 0
            due -= 1
    return position, due, (turn, 0)


def _eights(lengths: NDArray[np.uint8], limit: int, position: int, due: int) -> tuple[int, int]:
    """Take eight codes at a time as long as they are in the chunk; where a code is none, it stays where it is."""
    onward = np.minimum(np.arange(len(lengths), dtype=np.int32) + lengths, np.int32(len(lengths) - 1))
    for _ in range(3):
        onward = onward[onward]
    jumps, safe = memoryview(onward), limit - 8 * 32
    while due >= 8 and position < safe:
        position = jumps[position]
        due -= 8
    return position, due


def _walk_blocks(
    windows: NDArray[np.uint16], limit: int, position: int, due: int,
    units: list[tuple[tuple[NDArray[np.uint8], NDArray[np.uint8]], ...]], state: tuple[int, int],
) -> tuple[int, int, tuple[int, int]]:  # fmt: skip
    """A block is a code for its mean, then codes for runs of zeros with a coefficient each, up to 63 of them."""
    known: dict[int, tuple[bytes, bytes]] = {}

    def prepared(table: tuple[NDArray[np.uint8], NDArray[np.uint8]], first: bool) -> tuple[bytes, bytes]:
        bits, symbol = table
        if id(bits) not in known:
            extra = symbol if first else symbol & 15
            length = np.where(bits > 0, np.minimum(bits + extra, 255), 0).astype(np.uint8)
            run = np.where(symbol == 0, _END, (symbol >> 4) + 1)
            run = np.where((symbol & 15 == 0) & (symbol > 0) & (symbol != 0xF0), _NO_CODE, run)
            run = np.where(bits > 0, run, _NO_CODE).astype(np.uint8)
            known[id(bits)] = length[windows].tobytes(), run[windows].tobytes()
        return known[id(bits)]

    steps = [(prepared(first, True)[0], *prepared(other, False)) for first, other in units]
    turn, number = state
    count = len(steps)
    while due and position < limit:
        mean, lengths, runs = steps[turn]
        if number == 0:
            length = mean[position]
            if not length:
                raise Damage("it holds codes that its tables do not have")
            position += length
            number = 1
        while number < 64 and position < limit:
            number += runs[position]
            position += lengths[position]
        if number < 64:
            break  # the block goes on in the next chunk
        if 64 < number < _END:
            raise Damage("it holds codes that its tables do not have, or blocks of more than 64 coefficients")
        number = 0
        turn += 1
        if turn == count:
            turn = 0
            due -= 1
    return position, due, (turn, number)


def check_jpeg_2000(stream: bytes) -> None:
    """Refuse a JPEG 2000 codestream whose tile parts do not follow each other, or hold what no coder makes.

    Parameters
    ----------
    stream : bytes
        From the start marker (FF4F) on.

    Raises
    ------
    Damage
    """
    at, zeros = 2, _ZEROS
    size: tuple[int, ...] = ()
    while stream[at : at + 2] != b"\xff\x90":
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        if stream[at : at + 1] != b"\xff" or length < 2 or at + 2 + length > len(stream):
            raise Damage("its header is cut short")
        if stream[at + 1] == 0x51:
            size = tuple(int.from_bytes(stream[at + 6 + 4 * i : at + 10 + 4 * i], "big") for i in range(8))
        if stream[at + 1] == 0x52 and size:
            zeros = _ZEROS + _packets(stream[at + 4 : at + 2 + length], size)
        at += 2 + length
    while stream[at : at + 2] == b"\xff\x90":
        length = int.from_bytes(stream[at + 6 : at + 10], "big")
        stop = at + length if length else stream.rfind(b"\xff\xd9")
        if stop > len(stream) or (length and length < 14):
            raise Damage("a part of its coded data is missing")
        begin = at + 12
        while stream[begin : begin + 2] != b"\xff\x93":
            step = int.from_bytes(stream[begin + 2 : begin + 4], "big")
            if stream[begin : begin + 1] != b"\xff" or step < 2 or begin + 2 + step > stop:
                raise Damage("the header of a tile is damaged")
            begin += 2 + step
        _check_tile(stream[begin + 2 : stop], zeros)
        at = stop
    if stream[at : at + 2] != b"\xff\xd9":
        raise Damage("a part of its coded data is missing")


def _check_tile(data: bytes, zeros: int) -> None:
    # Start and end of packet markers, which an encoder may add, are FF91 with a length and FF92.
    for found in re.finditer(rb"\xff[\x90-\xff]", data):
        if found[0] not in (b"\xff\x91", b"\xff\x92"):
            raise Damage("it holds bytes that its coder never makes")
    if bytes(zeros) in data:
        raise Damage(f"it holds more than {zeros} zero bytes in a row, which its coder never makes")


def _packets(coding: bytes, size: tuple[int, ...]) -> int:
    """Packets of one tile at most (COD; ITU T.800 B.6): an empty one is a zero byte."""
    style, layers, levels = coding[0], int.from_bytes(coding[2:4], "big"), coding[5]
    wide, high, left, top, tile_wide, tile_high = size[:6]
    columns, rows = min(wide - left, tile_wide), min(high - top, tile_high)
    found = 0
    for level in range(levels + 1):
        if not style & 1 or 10 + level >= len(coding):  # one for the whole tile
            found += 1
            continue
        across, down = coding[10 + level] & 15, coding[10 + level] >> 4
        shrunk = levels - level
        found += ((columns >> shrunk + across) + 2) * ((rows >> shrunk + down) + 2)
    return found * layers


def check_rle(stream: bytes, size: int, segments: int) -> None:
    """Refuse RLE (PackBits) data whose segments are not exactly as long as the picture (PS3.5 annex G).

    Parameters
    ----------
    stream : bytes
        One frame.
    size : int
        Bytes of a segment, unpacked.
    segments : int

    Raises
    ------
    Damage
    """
    header = np.frombuffer(stream[:64], "<u4")
    if len(header) < 16 or header[0] != segments:
        raise Damage("its RLE header is not that of the image")
    ends = [*(int(n) for n in header[2 : 1 + segments]), len(stream)]
    for start, end in zip(header[1 : 1 + segments].tolist(), ends, strict=True):
        if not 64 <= start <= end <= len(stream):
            raise Damage("its RLE header is not that of the image")
        check_packbits(stream[start:end], size)


def check_packbits(data: bytes, size: int) -> None:
    """Refuse PackBits data that do not unpack to exactly `size` bytes (`Damage`)."""
    at = found = 0
    length = len(data)
    while found < size and at < length:
        code = data[at]
        if code < 128:
            found += code + 1
            at += code + 2
        elif code > 128:
            found += 257 - code
            at += 2
        else:
            at += 1
    if found != size or at > length:
        raise Damage("its coded data end before its last pixel" if found < size else "its coded data are too long")
    if len(data[at:].strip(b"\0\x80")) > 1:
        raise Damage(f"{length - at} bytes of coded data are left behind its last pixel")
