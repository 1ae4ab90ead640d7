"""Whether a JPEG or TIFF file is whole; Pillow reads damaged ones and says nothing. (It checks PNG and LZW itself.)"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from MolSubCore.errors import ImageError
from MolSubCore.imaging.quiet import said_on_stderr
from MolSubCore.imaging.whole_jpeg import Damage, check_jpeg, check_packbits

_COMPRESSION, _ROWS_PER_STRIP, _PLANAR, _TABLES = 259, 278, 284, 347
_STRIPS, _STRIP_BYTES, _TILE_WIDTH, _TILE_LENGTH, _TILES, _TILE_BYTES = 273, 279, 322, 323, 324, 325
_BITS, _SAMPLES = 258, 277
_JPEG, _DEFLATE, _PACKBITS = 7, (8, 32946), 32773


def check_whole(path: Path, picture: Image.Image) -> None:
    """Refuse a JPEG or TIFF file of which bytes are missing or overwritten, as far as that can be told.

    Parameters
    ----------
    path : Path
    picture : Image
        The file, opened by Pillow.

    Raises
    ------
    ImageError
    """
    try:
        if picture.format in ("JPEG", "MPO"):
            stream = path.read_bytes()
            if not check_jpeg(stream):
                _ask_libjpeg(stream)
        elif picture.format == "TIFF":
            _check_tiff(path, picture)
    except Damage as damage:
        raise ImageError(path, f"is not a whole picture: {damage}", "Export or copy the file again") from None


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
    kind = tags.get(_COMPRESSION, 1)
    if kind not in (_JPEG, *_DEFLATE, _PACKBITS):
        return
    with path.open("rb") as stream:
        for offset, count, size in _parts(tags, picture.size):
            stream.seek(offset)
            data = stream.read(count)
            if len(data) < count:
                raise Damage("a part of it is missing")
            if kind == _JPEG:
                check_jpeg(data, tags.get(_TABLES, b""))
            elif kind == _PACKBITS:
                check_packbits(data, size)
            else:
                _check_deflate(data, size)


def _parts(tags: Any, size: tuple[int, int]) -> Iterator[tuple[int, int, int]]:
    """Offset and bytes of each strip or tile, and its bytes when unpacked."""
    columns, rows = size
    bits = tags.get(_BITS, (1,))
    planes = tags.get(_SAMPLES, 1) if tags.get(_PLANAR, 1) == 2 else 1
    pixel_bits = bits[0] if planes > 1 else sum(bits)
    tiled = _TILES in tags
    offsets, counts = (tags[_TILES], tags[_TILE_BYTES]) if tiled else (tags[_STRIPS], tags[_STRIP_BYTES])
    deep = tags[_TILE_LENGTH] if tiled else min(tags.get(_ROWS_PER_STRIP, rows), rows)
    across = tags[_TILE_WIDTH] if tiled else columns
    of_plane = max(1, len(offsets) // planes)
    for number, (offset, count) in enumerate(zip(offsets, counts, strict=True)):
        height = deep if tiled else min(deep, rows - (number % of_plane) * deep)
        yield offset, count, height * ((across * pixel_bits + 7) // 8)


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
