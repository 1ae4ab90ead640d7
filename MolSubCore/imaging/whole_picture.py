"""Whether the file of a picture is whole; Pillow reads damaged ones and says nothing.

PNG has checksums of every part and of its picture. JPEG's codes must fill the picture exactly (`whole_jpeg`), and so
must those of TIFF, whose deflate has a checksum. TIFF without compression has nothing to look at but where its parts
lie: of bytes that were overwritten there, `lost_block` finds some. In LZW, bytes that were changed into codes of the
same length cannot be told.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image

from MolSubCore.errors import ImageError
from MolSubCore.imaging.limits import MAX_BYTES
from MolSubCore.imaging.quiet import said_on_stderr
from MolSubCore.imaging.whole_jpeg import Damage, check_jpeg, check_packbits

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
    """Of processes that are not looked into (progressive): OpenCV's libjpeg prints what it finds wrong."""
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
    parts = list(_parts(tags, picture.size))
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
