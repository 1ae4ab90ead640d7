"""A walk through the elements of a DICOM data set, from length to length, before anything is made of them.

What a parser makes of an element is a hundred times as large as the element: a small file of millions of empty items
would fill the memory.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from pydicom.datadict import dictionary_has_tag, dictionary_VR

from MolSubCore.errors import ImageError
from MolSubCore.imaging.limits import MAX_ELEMENTS

_LONG = {b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"}
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS, _PIXEL_DATA = 0x7FE0, 0x7FE00010
#: What may follow the pixel data: digital signatures, padding.
_BEHIND = {0xFFFAFFFA, 0xFFFCFFFC}
_DEEPEST = 100
_AGAIN = "Export or copy the file again"


def check_elements(path: Path, content: bytes | mmap.mmap, start: int, *, little: bool = True) -> None:
    """Refuse a data set of more than `MAX_ELEMENTS` elements and items before its pixel data, nested ones included.

    Nor may it hold an element twice, its pixel data included: which of them counts, every reader decides by itself.

    Parameters
    ----------
    path : Path
    content : bytes or mmap
    start : int
        Where the data set begins.
    little : bool
        Whether it is in little endian.

    Raises
    ------
    ImageError
    """
    seen: set[int] = set()
    at, twice = len(content), ""
    for count, (tag, depth, place) in enumerate(_walk(content, start, len(content), little=little), start=1):
        if depth == 0:
            if tag in seen and tag >> 16 != 0xFFFE:
                twice = twice or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
            seen.add(tag)
            at = place
        found = f"more than {MAX_ELEMENTS} elements and items" if count > MAX_ELEMENTS else ""
        if found or depth > _DEEPEST:
            found = found or f"sequences in sequences, more than {_DEEPEST} deep,"
            raise ImageError(path, f"has {found} in its header", "Check where the file comes from")
    if twice:
        raise ImageError(path, f"has the element {twice} of its header twice", "Export it again")
    explicit = content[start + 4 : start + 6].isalpha() and content[start + 4 : start + 6].isupper()
    if _pixels_again(content, at, little=little, explicit=explicit):
        raise ImageError(path, "holds pixel data twice", "Export it again")


def _pixels_again(content: bytes | mmap.mmap, at: int, *, little: bool, explicit: bool) -> bool:
    """Whether the pixel data that begin at `at`, or the first of their group, have others behind them."""
    order = "<" if little else ">"
    found = 0
    while at + 12 <= len(content):
        group, number = struct.unpack_from(order + "HH", content, at)
        if group < _PIXELS or group == 0xFFFE:
            return False
        if group << 16 | number == _PIXEL_DATA:
            found += 1
            if found > 1:
                return True
        wide = not explicit or bytes(content[at + 4 : at + 6]) in _LONG
        at += 8 if explicit and wide else 4 if wide else 6
        (length,) = struct.unpack_from(order + ("I" if wide else "H"), content, at)
        at += 4 if wide else 2
        if length == _UNDEFINED:  # fragments
            while at + 8 <= len(content):
                group, number, length = struct.unpack_from(order + "HHI", content, at)
                at += 8 + (length if length != _UNDEFINED else 0)
                if (group, number) != (_ITEM >> 16, _ITEM & 0xFFFF):
                    break
        else:
            at += length
    return False


def _walk(content: bytes | mmap.mmap, at: int, stop: int, *, little: bool) -> Iterator[tuple[int, int, int]]:
    """Tag, depth and place of each element and item, up to the pixel data's first one, which is the last.

    Ends quietly where the bytes make no sense: the parser will say so.
    """
    order = "<" if little else ">"
    # Of each sequence and item that is open: where it ends, if its length says.
    ends = [stop]
    explicit = content[at + 4 : at + 6].isalpha() and content[at + 4 : at + 6].isupper()
    while True:
        while len(ends) > 1 and at >= ends[-1]:
            ends.pop()
        if at + 8 > ends[-1]:
            return
        group, number = struct.unpack_from(order + "HH", content, at)
        tag = group << 16 | number
        yield tag, len(ends) - 1, at
        if group == _PIXELS and len(ends) == 1:
            return
        if tag in (_ITEM, _ITEM_END, _SEQUENCE_END) or not explicit:
            (length,) = struct.unpack_from(order + "I", content, at + 4)
            kind, at = b"", at + 8
        else:
            kind = bytes(content[at + 4 : at + 6])
            if kind in _LONG:
                if at + 12 > ends[-1]:
                    return
                (length,) = struct.unpack_from(order + "I", content, at + 8)
                at += 12
            elif kind.isalpha():
                (length,) = struct.unpack_from(order + "H", content, at + 6)
                at += 8
            else:
                return
        if tag in (_ITEM_END, _SEQUENCE_END):
            if len(ends) > 1:
                ends.pop()
        elif tag == _ITEM or kind == b"SQ" or length == _UNDEFINED or (not kind and _is_sequence(tag)):
            # What has no length ends with a delimiter, within what it is in.
            ends.append(ends[-1] if length == _UNDEFINED else min(at + length, ends[-1]))
        else:
            at += length


@lru_cache(maxsize=4096)
def _is_sequence(tag: int) -> bool:
    return dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ"


def check_end(path: Path, content: bytes) -> None:
    """Refuse an inflated data set that does not end where its pixel data do: it has no checksum, but lengths.

    Raises
    ------
    ImageError
    """
    last = (0, 0, 0)
    for element in _walk(content, 0, len(content), little=True):
        last = element
    tag, _, at = last
    if tag >> 16 != _PIXELS or at + 12 > len(content):
        return  # without an image: refused as such
    behind = False
    while at + 8 <= len(content):
        group, number = struct.unpack_from("<HH", content, at)
        tag = group << 16 | number
        if behind and tag not in _BEHIND:
            break
        long = bytes(content[at + 4 : at + 6]) in _LONG
        (length,) = struct.unpack_from("<I" if long else "<H", content, at + (8 if long else 6))
        at += length + (12 if long else 8)
        behind = behind or tag == _PIXEL_DATA
    if behind and at != len(content) and content[at:] != b"\0":
        raise ImageError(path, "has damaged pixel data: its deflated data do not end with them", _AGAIN)
