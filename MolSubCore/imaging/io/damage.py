"""Whether JPEG and JPEG 2000 streams are whole: decoders fill in for what is missing or damaged, and say nothing.

A stream of Huffman codes (baseline, extended and lossless JPEG) is walked code by code, without decoding the picture:
it must hold exactly as many samples or blocks as the picture has, and end where they end. Bytes that are lost or
overwritten shift the codes behind them, so that the numbers no longer agree (ITU T.81 annexes B, F, H). Of progressive
JPEG the headers of its scans are looked at: together they must bring every bit of every coefficient (annex G).

JPEG 2000 has no such numbers. Its tile parts must lie one behind the other, and what arithmetic coding never
makes must not be in them: two bytes above FF8F, and zeros without end (ITU T.800 annexes A, B, C).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from MolSubCore.errors import ImageError
from MolSubCore.imaging.io.limits import MAX_BYTES
from MolSubCore.imaging.io.native import said_on_stderr

_SEQUENTIAL, _LOSSLESS = (0xC0, 0xC1), 0xC3
#: With Huffman codes, and with arithmetic coding.
_PROGRESSIVE = (0xC2, 0xCA)
#: Of a block.
_COEFFICIENTS = 64
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
        False where its coded data are of a process that is not looked into (progressive, arithmetic, JPEG-LS).

    Raises
    ------
    Damage
    """
    frame, huffman, interval = _Frame(), {}, 0  # type: ignore[var-annotated]
    scanned: set[int] = set()
    lacking: dict[int, list[int | None]] = {}  # of a progressive picture: bits of each coefficient that are to come
    for source in (tables, stream):
        at = 2
        while at + 1 < len(source):
            if source[at] != 0xFF:
                raise Damage(f"byte {at} is not a marker")
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
                if marker not in (*_SEQUENTIAL, _LOSSLESS, *_PROGRESSIVE):
                    return False
                frame = _frame(marker, content)
                lacking = {name: [None] * _COEFFICIENTS for name in frame.components}
            elif marker == 0xC4:
                huffman.update(_tables(content))
            elif marker == 0xDD:
                interval = int.from_bytes(content[:2], "big")
            elif marker == 0xDA:
                if not frame.marker:
                    raise Damage("coded data come before its header")
                if frame.marker in _PROGRESSIVE:
                    at = _end_of_scan(source, at)
                    members = _note_scan(content, lacking)
                else:
                    at, members = _check_scan(source, at, content, frame, huffman, interval)
                scanned.update(members)
        else:
            if source:
                raise Damage("its end marker is missing")
    if not frame.marker or scanned != set(frame.components):
        raise Damage("a part of its coded data is missing")
    if frame.marker in _PROGRESSIVE:
        if any(bits != 0 for own in lacking.values() for bits in own):
            raise Damage("scans of its coded data are missing, so that it is coarser than it was")
        return False
    return True


def _note_scan(header: bytes, lacking: dict[int, list[int | None]]) -> list[int]:
    """Record which bits of which coefficients a progressive scan brings (ITU T.81 G.1.1.1); its components."""
    members = list(header[1 : 1 + 2 * header[0] : 2]) if header else []
    if len(header) != 4 + 2 * len(members) or not set(members) <= lacking.keys():
        raise Damage("the header of a scan is damaged")
    first, last, bits = header[-3:]
    before, left = bits >> 4, bits & 15
    for own in (lacking[name] for name in members):
        for place in range(first, min(last, _COEFFICIENTS - 1) + 1):
            if before in (0, own[place]):  # a scan that refines what did not come brings nothing
                own[place] = left
    return members


def _end_of_scan(stream: bytes, at: int) -> int:
    """Where the coded data from `at` on end: at a marker that is neither a restart nor a stuffed byte."""
    found = re.compile(rb"\xff+[^\xff\x00\xd0-\xd7]").search(stream, at)
    if found is None:
        raise Damage("its end marker is missing")
    return found.start()


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


_COMPRESSION, _ROWS_PER_STRIP, _PLANAR, _TABLES = 259, 278, 284, 347
_STRIPS, _STRIP_BYTES, _TILE_WIDTH, _TILE_LENGTH, _TILES, _TILE_BYTES = 273, 279, 322, 323, 324, 325
_BITS, _SAMPLES, _FILL_ORDER = 258, 277, 266
_PLAIN, _LZW, _JPEG, _DEFLATE, _PACKBITS = 1, 5, 7, (8, 32946), 32773
_CLEAR, _STOP, _FIRST, _MOST_CODES = 256, 257, 258, 1 << 12
#: Samples of a pixel by the colour type of a PNG, and its passes where it is interlaced: first column, row, steps.
_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PNG_START = 8


def check_whole(path: Path, picture: Image.Image) -> None:
    """Refuse a PNG, JPEG or TIFF file of which bytes are missing or overwritten, as far as that can be told.

    Parameters
    ----------
    path : Path
    picture : Image
        The file, opened by Pillow.

    Raises
    ------
    ImageError
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ImageError(
            path, f"has {size >> 20} MiB, at most {MAX_BYTES >> 20} are read", "Check that it is a picture"
        )
    try:
        if picture.format == "PNG":
            _check_png(path.read_bytes())
        elif picture.format in ("JPEG", "MPO"):
            stream = path.read_bytes()
            if not check_jpeg(stream):
                _ask_libjpeg(stream)
        elif picture.format == "TIFF":
            _check_tiff(path, picture)
    except Damage as damage:
        raise ImageError(path, f"is not a whole picture: {damage}", "Export or copy the file again") from None


def _check_png(content: bytes) -> None:
    """Every chunk by its checksum, the last one, and the packed picture by its own checksum and length."""
    at, kind, header, length = _PNG_START, b"", b"", 0
    unpack = zlib.decompressobj()
    while kind != b"IEND":
        size, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        data, check = content[at + 8 : at + 8 + size], content[at + 8 + size : at + 12 + size]
        if len(check) < 4:
            raise Damage("its end is missing" if at >= len(content) else "a part of it is cut short")
        if zlib.crc32(kind + data) != int.from_bytes(check, "big"):
            name = kind.decode("ascii", "replace")
            raise Damage(f"the checksum of its part {name} at byte {at} is wrong")
        if kind == b"IHDR":
            header = data
        elif kind == b"IDAT":
            length += _unpacked(unpack, data)
        at += 12 + size
    if not unpack.eof or len(header) != 13 or length < _png_bytes(header):
        raise Damage("its coded data end before its last pixel")
    if length > _png_bytes(header):
        raise Damage("its coded data are too long for its size")


def _unpacked(unpack: Any, data: bytes) -> int:
    """Bytes that packed data give, which are not kept; zlib checks their checksum at the end."""
    found = 0
    try:
        while data and not unpack.eof:
            found += len(unpack.decompress(data, 1 << 20))
            data = unpack.unconsumed_tail
    except zlib.error as error:
        raise Damage(f"its coded data are damaged ({error})") from None
    return found


def _png_bytes(header: bytes) -> int:
    """Bytes of all rows, each with the one that says how it was filtered."""
    columns, rows = (int.from_bytes(header[n : n + 4], "big") for n in (0, 4))
    bits = header[8] * _PNG_SAMPLES.get(header[9], 1)
    found = 0
    for left, top, across, down in _ADAM if header[12] else ((0, 0, 1, 1),):
        wide, high = max(0, -(-(columns - left) // across)), max(0, -(-(rows - top) // down))
        found += high * (1 + (wide * bits + 7) // 8) if wide else 0
    return found


def _ask_libjpeg(stream: bytes) -> None:
    """Of coded data that are not looked into (progressive): OpenCV's libjpeg prints what it finds wrong."""
    import cv2
    import numpy as np

    with said_on_stderr() as said:
        decoded = cv2.imdecode(np.frombuffer(stream, np.uint8), cv2.IMREAD_UNCHANGED)
        remarks = said()
    if decoded is None or "Corrupt JPEG" in remarks:
        raise Damage("its coded data are damaged")


def _check_tiff(path: Path, picture: Image.Image) -> None:
    tags: Any = picture.tag_v2  # type: ignore[attr-defined]
    kind = tags.get(_COMPRESSION, _PLAIN)
    if kind not in (_PLAIN, _LZW, _JPEG, *_DEFLATE, _PACKBITS):
        return
    try:
        parts = list(_parts(tags, picture.size))
    except KeyError:  # Pillow reads as many of the directory's entries as there are
        raise Damage("it is cut short, in its directory") from None
    if not parts:
        raise Damage("its directory names no part of the picture")
    deep = tags[_TILE_LENGTH] if _TILES in tags else tags.get(_ROWS_PER_STRIP, picture.height)
    longest = max(size for *_, size in parts)
    if any(size <= 0 for *_, size in parts):
        raise Damage("it has more parts than its size needs")
    places = sorted({(offset, count) for offset, count, _ in parts})
    if any(first + count > second for (first, count), (second, _) in pairwise(places)):
        raise Damage("its parts lie over each other")
    with path.open("rb") as stream:
        for offset, count, size in parts:
            stream.seek(offset)
            data = stream.read(count)
            if len(data) < count or (kind == _PLAIN and count < size):
                raise Damage("a part of it is missing")
            if kind == _PLAIN and count >= longest + longest // max(1, min(deep, picture.height)):
                raise Damage("its parts are too long for its size")
            if kind == _JPEG:
                check_jpeg(data, tags.get(_TABLES, b""))
            elif kind == _PACKBITS:
                check_packbits(data, size)
            elif kind == _LZW:
                # Files of before TIFF 6 have their codes the other way round.
                if tags.get(_FILL_ORDER, 1) == 1 and not (data[:1] == b"\0" and data[1:2] and data[1] & 1):
                    _check_lzw(data, size)
            elif kind in _DEFLATE:
                _check_deflate(data, size)


def _parts(tags: Any, size: tuple[int, int]) -> Iterator[tuple[int, int, int]]:
    """Offset and bytes of each strip or tile, and its bytes when unpacked."""
    columns, rows = size
    bits = tags.get(_BITS, (1,))
    planes = tags.get(_SAMPLES, 1) if tags.get(_PLANAR, 1) == 2 else 1
    pixel_bits = bits[0] if planes > 1 else sum(bits)
    tiled = _TILES in tags
    offsets, counts = tags[_TILES if tiled else _STRIPS], tags.get(_TILE_BYTES if tiled else _STRIP_BYTES)
    deep = tags[_TILE_LENGTH] if tiled else min(tags.get(_ROWS_PER_STRIP, rows), rows)
    across = tags[_TILE_WIDTH] if tiled else columns
    of_plane = max(1, len(offsets) // planes)
    for number, offset in enumerate(offsets):
        height = deep if tiled else min(deep, rows - (number % of_plane) * deep)
        length = height * ((across * pixel_bits + 7) // 8)
        yield offset, counts[number] if counts else length, length


def _check_deflate(data: bytes, size: int) -> None:
    unpack = zlib.decompressobj()
    try:
        found = len(unpack.decompress(data, size + 1))
        if not unpack.eof:
            found += len(unpack.decompress(unpack.unconsumed_tail, 1))
    except zlib.error as error:
        raise Damage(f"its coded data are damaged ({error})") from None
    if found != size or not unpack.eof:
        raise Damage("its coded data end before its last pixel" if found < size else "its coded data are too long")


def _check_lzw(data: bytes, size: int) -> None:
    """Follow the codes of TIFF's LZW (its section 13) by the lengths of what they stand for."""
    bits, held, at, width = 0, 0, 0, 9
    lengths: list[int] = []
    found, before = 0, 0
    count = len(data)
    while True:
        while held < width and at < count:
            bits = (bits & 0xFFFFFF) << 8 | data[at]
            held += 8
            at += 1
        if held < width:
            break  # without its end: some writers leave it out
        held -= width
        code = bits >> held & (1 << width) - 1
        if code < _CLEAR:
            length = 1
        elif code == _CLEAR:
            lengths, before, width = [], 0, 9
            continue
        elif code == _STOP:
            break
        elif code - _FIRST < len(lengths):
            length = lengths[code - _FIRST]
        elif code - _FIRST == len(lengths) and before:
            length = before + 1
        else:
            raise Damage("it holds codes that it does not define")
        if before:
            lengths.append(before + 1)
            known = _FIRST + len(lengths)
            if known >= (1 << width) - 1 and width < 12:
                width += 1
            elif known > _MOST_CODES:
                raise Damage("it holds more codes than there can be")
        found += length
        before = length
    if found != size:
        raise Damage("its coded data end before its last pixel" if found < size else "its coded data are too long")
    if count - at > 1:
        raise Damage(f"{count - at} bytes of coded data are left behind its last pixel")


#: Pixels of a block at least: a disk's sectors have 512 bytes.
_LEAST = 128
#: Pixels of tissue beside either end of a block at least: before it, and in the row above (or below) it.
_BEFORE, _BESIDE = 8, 16
#: Pixels of tissue that are above and below a block at least where it crosses them.
_CROSSED = 64
#: Share of the picture's range by which tissue differs from a block at least: air and its noise, and what a
#: compression with loss makes of either, lie closer to it, and to lose them changes nothing.
_TISSUE = 0.05
#: Grey values that a picture has at least.
_LEVELS = 16
#: Grey values (of more than 8 bits) by which a compression with loss may part what was one value.
_NEAR = 12
#: Share of the range by which neighbours differ on average where bytes are no pixels (a third of random ones; in the
#: grain of real mammograms up to an eighth).
_NOISE = 0.25
#: Rows that a line of text has at most.
_MOST_OF_TEXT = 96
#: Share of neighbours nearly the whole signed range apart from which on signs are wrong; so many are enough where the
#: picture's values reach this share of the range on either side. Of a part of them neither value is the picture's
#: least or largest: a label is white on black.
_WRAPPED, _FEW_WRAPPED, _ENDS, _WITHIN_ENDS = 0.001, 20, 0.9, 0.1


def wrapped(stored: NDArray[Any], bits: int | None = None) -> int:
    """Neighbours whose values are nearly the whole signed range apart: unsigned values that were given a sign.

    Parameters
    ----------
    stored : ndarray, shape (rows, columns)
    bits : int, optional
        Of a value; by default as many as the values need.

    Returns
    -------
    int
        0 where they are too few, or the values have no sign.
    """
    if stored.dtype.kind != "i" or stored.shape[1] < _LEAST:
        return 0
    low, high = int(stored.min()), int(stored.max())
    if bits is None:
        bits = 1 + max(high.bit_length(), (-1 - low).bit_length())
    half = 1 << bits - 1
    if low >= -half // 2 or high < half // 2:
        return 0
    found = inner = 0
    whole = stored.astype(np.int32)
    for first, second in ((whole[:, 1:], whole[:, :-1]), (whole[1:], whole[:-1])):
        far = np.abs(first - second) > 3 << bits - 2
        pairs = np.stack([first[far], second[far]])
        found += pairs.shape[1]
        inner += int(((pairs > low) & (pairs < high)).all(axis=0).sum())
    many = found >= _FEW_WRAPPED and low < -_ENDS * half and high > _ENDS * half
    many |= found > 2 * _WRAPPED * stored.size
    return found if many and inner >= _WITHIN_ENDS * found else 0


def lost_block(stored: NDArray[Any]) -> tuple[int, int, int, str] | None:
    """Find the first block of one value, or of noise, that cuts off the tissue beside it.

    Parameters
    ----------
    stored : ndarray, shape (rows, columns)

    Returns
    -------
    (row, column, count, what) or None
        Where the block begins, its pixels, and what they are, for the middle of a sentence.
    """
    rows, columns = stored.shape
    if columns < _LEAST or rows < 3:
        return None
    flat = stored.ravel()
    sample = flat[:: max(1, flat.size >> 18)]
    low, high = (float(value) for value in np.percentile(sample, (0.5, 99.5)))
    if high <= low or (flat.dtype.kind != "f" and high - low < _LEVELS):
        return None
    away = _TISSUE * (high - low)
    for start, end in _runs(flat):
        if any(
            _begins_in_tissue(pixels, first, last, columns, away) or _begins_in_noise(pixels, first, last, columns)
            for pixels, first, last in ((flat, start, end), (flat[::-1], flat.size - end, flat.size - start))
        ) or _crosses_tissue(flat, start, end, columns, away):
            return start // columns, start % columns, end - start, "of one value"
    if (noise := _noise(flat, columns, high - low)) is not None:
        return noise[0] // columns, noise[0] % columns, noise[1] - noise[0], "without any likeness to each other"
    return None


def plain_rows(stored: NDArray[Any]) -> NDArray[np.intp]:
    """Rows of one value right across a picture whose neighbours are not: dead lines, and lines drawn into it.

    Parameters
    ----------
    stored : ndarray, shape (rows, columns)
    """
    rows, columns = stored.shape
    if rows < 3 or columns < _LEAST:
        return np.empty(0, np.intp)
    plain = (stored == stored[:, :1]).all(axis=1)
    alone = plain[1:-1] & ~plain[:-2] & ~plain[2:]
    found = 1 + np.flatnonzero(alone)
    low, high = (float(value) for value in np.percentile(stored.ravel()[:: max(1, stored.size >> 18)], (0.5, 99.5)))
    away = _TISSUE * (high - low)
    crossed = [
        np.count_nonzero(np.abs(stored[[row - 1, row + 1]].astype(np.float64) - float(stored[row, 0])) > away)
        for row in found
    ]
    return found[np.array(crossed, int) >= 2 * _CROSSED]


#: Rows between which a shift is looked for, those around them that say how like each other rows are, and the least
#: shift (pixels). Rows that are shifted are several times less like each other than others, and not when shifted back.
_APART, _AROUND, _LEAST_SHIFT, _UNLIKE, _LIKE = 3, 24, 8, 3.0, 0.2
#: Places that are looked at.
_PLACES = 50


def shifted_rows(stored: NDArray[Any]) -> tuple[int, int] | None:
    """Find where a picture goes on shifted sideways, as where pixels are missing before: its rows close up.

    Parameters
    ----------
    stored : ndarray, shape (rows, columns)

    Returns
    -------
    (row, pixels) or None
        About where it begins, and how far to the left (negative: to the right).
    """
    from scipy import ndimage

    rows, columns = stored.shape
    if rows < 4 * _AROUND or columns < _LEAST:
        return None
    low, high = (float(value) for value in np.percentile(stored.ravel()[:: max(1, stored.size >> 18)], (0.5, 99.5)))
    if high <= low:
        return None

    def shares(part: NDArray[Any]) -> NDArray[np.float32]:
        return np.clip((part.astype(np.float32) - low) / (high - low), 0, 1)

    thin = shares(stored[:, :: max(1, columns // 256)])
    steps = np.abs(thin[_APART:] - thin[:-_APART]).mean(axis=1)
    usual = ndimage.median_filter(steps, 2 * _AROUND + 1, mode="nearest")
    most = ndimage.maximum_filter1d(steps, 2 * _APART + 3)
    there = np.flatnonzero((steps > _UNLIKE * usual + 0.01) & (steps == most))
    for row in there[(there >= 8) & (there < len(steps) - 8)][:_PLACES].tolist():
        above, below = shares(stored[row]), shares(stored[row + _APART])
        apart = float(((above - below) ** 2).mean())
        alike = np.fft.irfft(np.fft.rfft(above) * np.conj(np.fft.rfft(below)), columns)
        shift = int(alike.argmax())
        left = float((above**2).mean() + (below**2).mean() - 2 * alike[shift] / columns)
        near = [*range(max(0, row - 16), row - _APART), *range(row + 5, min(len(steps), row + 17))]
        normal = np.median([((shares(stored[n]) - shares(stored[n + _APART])) ** 2).mean() for n in near])
        shift = shift if shift <= columns // 2 else shift - columns
        if abs(shift) >= _LEAST_SHIFT and left < _LIKE * apart and left < 4 * normal + 2e-4:
            return row + 1, shift
    return None


def _runs(flat: NDArray[Any]) -> Iterator[tuple[int, int]]:
    """First and last (excluded) of the pixels of each run of one value that is `_LEAST` long."""
    step = _LEAST // 2
    count = (flat.size - 1) // step
    whole = (flat[: count * step].reshape(count, step) == flat[step : count * step + 1 : step, None]).all(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], whole, [False]]).astype(np.int8)))
    for first, last in zip((edges[::2] * step).tolist(), (edges[1::2] * step).tolist(), strict=True):
        value = flat[first]
        before, behind = flat[max(0, first - step) : first] != value, flat[last : last + step] != value
        start = first - (int(before[::-1].argmax()) if before.any() else len(before))
        end = last + (int(behind.argmax()) if behind.any() else len(behind))
        if end - start >= _LEAST:
            yield start, end


def _begins_in_tissue(flat: NDArray[Any], start: int, end: int, columns: int, away: float) -> bool:
    """Whether a run begins within a row where tissue is before it, and goes on in the row above it.

    It must be as long as a row, or it is the edge of a dark or bright area; nor may it be the last of an edge that
    moves: there the row above does not reach as far as those above it.
    """
    first = start % columns
    length = columns - first
    if end - start < columns or first < _BEFORE or length < _BESIDE or start < 4 * columns:
        return False
    value = float(flat[start])

    def tissue(at: int) -> int:
        """Pixels from `at` on that are tissue; 0 if they are not the first ones."""
        there = np.abs(flat[at : at + length].astype(np.float64) - value) > away
        count = int(np.count_nonzero(there))
        return count if np.count_nonzero(there[:count]) > 0.9 * count else 0

    if (np.abs(flat[start - _BEFORE : start].astype(np.float64) - value) <= away).any():
        return False
    above = tissue(start - columns)
    return above >= _BESIDE and all(abs(tissue(start - n * columns) - above) <= above / 4 for n in (2, 3, 4))


def _begins_in_noise(flat: NDArray[Any], start: int, end: int, columns: int) -> bool:
    """Whether a run as long as a row begins within one where hardly any pixel above it is near to its value.

    So it is where air has noise: a dark area of the picture's own that begins in it begins with a row.
    """
    first = start % columns
    if end - start < columns or start < columns or min(first, columns - first) < _BEFORE or flat.dtype.itemsize == 1:
        return False
    if flat.dtype.kind == "f":  # its grey values have no step of their own
        return False
    far = np.abs(flat[start - columns : start].astype(np.int64) - int(flat[start])) > _NEAR
    return bool(min(far[: columns - first].mean(), far[columns - first :].mean()) > 0.9)


def _crosses_tissue(flat: NDArray[Any], start: int, end: int, columns: int, away: float) -> bool:
    """Whether the same tissue is right above a run and right below it."""
    if end - start < columns:
        parts = (start - columns, end - columns), (start + columns, end + columns)
    else:  # the pixels before and behind it are those above and below it, from other columns on
        parts = (start - columns, start), (end, end + columns)
    if parts[0][0] < 0 or parts[1][1] > flat.size:
        return False
    value = float(flat[start])
    one, other = (
        np.roll(np.abs(flat[first:last].astype(np.float64) - value) > away, first % columns) for first, last in parts
    )
    most = max(np.count_nonzero(one), np.count_nonzero(other))
    return bool(most >= _CROSSED and np.count_nonzero(one & other) > 0.5 * most)


def _noise(flat: NDArray[Any], columns: int, spread: float) -> tuple[int, int] | None:
    """First and last of the pixels that are noise, where not most of the picture is.

    Text is as rough: but it stands below itself, in a few rows, and what was lost goes on in the row.
    """
    count = flat.size // _LEAST
    rough = np.empty(count, bool)
    for at in range(0, count, 4096):
        part = flat[at * _LEAST : min(count, at + 4096) * _LEAST].reshape(-1, _LEAST).astype(np.float32)
        rough[at : at + 4096] = np.abs(np.diff(part, axis=1)).mean(axis=1) > _NOISE * spread
    if rough.mean() > 0.5:
        return None
    edges = np.flatnonzero(np.diff(np.concatenate([[False], rough, [False]]).astype(np.int8)))
    for first, last in zip((edges[::2] * _LEAST).tolist(), (edges[1::2] * _LEAST).tolist(), strict=True):
        if last - first > _LEAST and not _is_text(flat, first, last, columns, spread):
            return first, last
    return None


def _is_text(flat: NDArray[Any], first: int, last: int, columns: int, spread: float) -> bool:
    """Whether pixels that are rough are so in some rows right above and below as well."""
    if last - first >= columns:
        return False
    rows = 1
    for step in (-columns, columns):
        at = first + step
        while 0 <= at < flat.size - (last - first) and rows <= _MOST_OF_TEXT:
            part = flat[at : at + last - first].astype(np.float32)
            if np.abs(np.diff(part)).mean() <= _NOISE / 2 * spread:
                break
            rows, at = rows + 1, at + step
    return 2 < rows <= _MOST_OF_TEXT


def _roughness(flat: NDArray[Any]) -> float:
    """Mean difference of neighbours as a share of the range; 0 of a flat picture."""
    low, high = (float(value) for value in np.percentile(flat[:: max(1, flat.size >> 18)], (0.5, 99.5)))
    return float(np.abs(np.diff(flat.astype(np.float32))).mean()) / (high - low) if high > low else 0.0


def unlike(stored: NDArray[Any]) -> str | None:
    """Why neighbouring pixels are not like each other as those of a picture are, for a sentence; None where they are.

    Parameters
    ----------
    stored : ndarray, shape (rows, columns)
    """
    rows, columns = stored.shape
    if min(rows, columns) < _LEAST:
        return None
    flat = stored.ravel()[: 1 << 22]
    rough = _roughness(flat)
    if flat.dtype.itemsize == 2 and _roughness(flat.byteswap()) < 0.5 * rough:
        return "but they are with the two bytes of each exchanged"
    if rough > _NOISE:
        return "as of damage"
    part = flat.astype(np.float32)
    down, across = (float(np.abs(part[lag:] - part[:-lag]).mean()) for lag in (columns, rows))
    if rows != columns and across < 0.5 * down:
        return "but they are with rows and columns exchanged"
    return None


def cut_off(stored: NDArray[Any]) -> tuple[int, str] | None:
    """Rows of one value at the top or the bottom of a picture, right up to which there is tissue.

    So does a picture look that was cropped and padded, and one whose data were lost from some air on.

    Parameters
    ----------
    stored : ndarray, shape (rows, columns)

    Returns
    -------
    (rows, place) or None
        How many there are, and 'top' or 'bottom'.
    """
    rows, columns = stored.shape
    low, high = (float(value) for value in np.percentile(stored.ravel()[:: max(1, stored.size >> 18)], (0.5, 99.5)))
    if all((side == stored[0, 0]).all() for side in (stored[0], stored[-1], stored[:, 0], stored[:, -1])):
        return None  # a frame all around
    if columns < _LEAST or (stored.dtype.kind != "f" and high - low < _LEVELS):
        return None
    for place, turned in (("bottom", stored[::-1]), ("top", stored)):
        value = turned[0, 0]
        count = next((row for row in range(rows) if (turned[row] != value).any()), rows)
        if not 2 <= count < rows - 4:
            continue
        near = np.abs(turned[count : count + 4].astype(np.float64) - float(value)) > _TISSUE * (high - low)
        if np.count_nonzero(near.all(axis=0)) >= columns // 8:
            return count, place
    return None
