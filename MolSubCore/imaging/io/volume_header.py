"""The text headers of NRRD and MetaImage, checked before a library parses them.

Its parsers trust a header: a number of thousands of digits ends the process, a file that a header names is
opened wherever it lies, and what it promises is allocated.
"""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path

from MolSubCore.errors import ImageError
from MolSubCore.files import open_file
from MolSubCore.imaging.io.limits import MAX_BYTES, MAX_HEADER

#: Characters in one field; the free texts of a .seg.nrrd (``key:=value``) may be longer.
_FIELD, _TEXT = 500, 1 << 16
_WORD = re.compile(r"[A-Za-z0-9_ -]{1,60}")
#: ITK copies what the file before said into MetaImage headers: ``pixdim[1]`` of NIfTI, ``0008|0060`` of DICOM.
_META_WORD = re.compile(r"[A-Za-z0-9_ |.:()\[\]-]{1,60}")
_CHUNK = 1 << 20
_AGAIN = "Export or copy the file again"
_NRRD_ENCODINGS = ("raw", "gzip", "gz", "ascii", "txt", "text", "hex", "bzip2", "bz2")
_NRRD_DATA, _META_DATA = ("data file", "datafile"), "elementdatafile"

#: How files of these kinds begin.
NRRD_START, META_START = b"NRRD000", re.compile(rb"\s*(ObjectType|NDims|Comment|ID|ObjectSubType)\s*=")


def data_beside(path: Path) -> Path | None:
    """The file beside a NRRD or MetaImage header that holds its data; None where there is no such file."""
    with open_file(path) as stream:
        head = stream.read(352)
        kind = "NRRD" if head.startswith(NRRD_START) else "MetaImage" if META_START.match(head) else None
        if kind is None:
            return None
        head += stream.read(MAX_HEADER - len(head))
    try:
        fields = _nrrd_fields(path, head) if kind == "NRRD" else _meta_fields(path, head)
        name = next((fields[key] for key in (*_NRRD_DATA, _META_DATA) if key in fields), "LOCAL")
        return _beside(path, name)
    except ImageError:  # also of data in the file itself; whoever reads it says what is wrong with it
        return None


def check_text_header(path: Path, kind: str) -> list[Path]:
    """Refuse a NRRD or MetaImage header that is no such text, or that names another file than one beside it.

    Returns the files that hold the data, where they are not in the file itself.

    Parameters
    ----------
    path : Path
    kind : {'NRRD', 'MetaImage', 'NIfTI'}
        A NIfTI header is no text and passes.

    Raises
    ------
    ImageError
        Also where compressed data are said to be longer than the file.
    """
    if kind == "NIfTI":
        return []
    with path.open("rb") as stream:
        head = stream.read(MAX_HEADER)
    fields = _nrrd_fields(path, head) if kind == "NRRD" else _meta_fields(path, head)
    axes = fields.get("dimension" if kind == "NRRD" else "ndims", "")
    sizes = fields.get("sizes" if kind == "NRRD" else "dimsize", "").split()
    if (
        not re.fullmatch(r"[1-9]", axes)
        or len(sizes) != int(axes)
        or not all(re.fullmatch(r"\d{1,9}", n) for n in sizes)
    ):
        known = all(re.fullmatch(r"-?\d{1,20}", number) for number in (axes, *sizes))
        told = (
            f"{axes} dimensions of sizes {' '.join(sizes[:9])}" if known else "dimensions or sizes that are not numbers"
        )
        raise ImageError(path, f"says that it has {told}", _AGAIN)
    if kind == "NRRD":
        if fields.get("encoding", "").lower() not in _NRRD_ENCODINGS:
            raise ImageError(path, "has an encoding that is not known", "Save it as raw or gzip")
        data = next((fields[name] for name in _NRRD_DATA if name in fields), None)
    else:
        data = fields.get(_META_DATA)
        _check_compressed(path, fields)
        data = None if data is not None and data.upper() == "LOCAL" else data or ""
    return [] if data is None else [_beside(path, data)]


def check_data(path: Path, kind: str) -> int | None:
    """Refuse a NRRD (gzip) or MetaImage (zlib) file whose packed data are damaged, which its reader would not say.

    Returns how many bytes of data there are, unpacked; None where they are text, or not where the header ends.

    Parameters
    ----------
    path : Path
        Its header has passed `check_text_header`, or will be checked by it.
    kind : {'NRRD', 'MetaImage'}

    Raises
    ------
    ImageError
    """
    check_text_header(path, kind)
    with path.open("rb") as stream:
        head = stream.read(MAX_HEADER)
    if kind == "NRRD":
        fields, name = _nrrd_fields(path, head), None
        encoding = fields["encoding"].lower()
        if encoding not in ("raw", "gzip", "gz"):
            return None
        packed = encoding != "raw"
        skips = any(fields.get(one, "0").strip() != "0" for one in ("byte skip", "byteskip", "line skip", "lineskip"))
        name = next((fields[one] for one in _NRRD_DATA if one in fields), None)
        at = re.search(rb"\n\r?\n", head)
        start, unpack = at.end() if at else 0, zlib.decompressobj(16 + zlib.MAX_WBITS)
    else:
        fields = _meta_fields(path, head)
        packed = fields.get("compresseddata", "").lower() in ("true", "1", "yes")
        skips = fields.get("headersize", "0").strip() != "0" or fields.get("binarydata", "true").lower() in (
            "false",
            "0",
        )
        name = None if fields[_META_DATA].upper() == "LOCAL" else fields[_META_DATA]
        at = re.search(rb"(?im)^\s*ElementDataFile\s*=[^\n]*\n", head)
        start, unpack = at.end() if at else 0, zlib.decompressobj()
    file, begin = (path, start) if name is None else (path.parent / os.fsdecode(name.encode("latin-1")), 0)
    if not packed:
        return None if skips else file.stat().st_size - begin
    with file.open("rb") as stream:
        stream.seek(begin)
        left = MAX_BYTES
        try:
            while not unpack.eof and left > 0 and (data := unpack.unconsumed_tail or stream.read(_CHUNK)):
                left -= len(unpack.decompress(data, _CHUNK))
        except zlib.error as error:
            raise ImageError(path, f"has damaged data ({error})", _AGAIN) from None
    if not unpack.eof:
        raise ImageError(path, "is cut short or damaged: its packed data do not end", _AGAIN)
    return None if skips else MAX_BYTES - left


def _nrrd_fields(path: Path, head: bytes) -> dict[str, str]:
    """``field: value`` of all lines up to the first empty one; comments and ``key:=value`` are left out."""
    fields: dict[str, str] = {}
    for number, line in enumerate(head.split(b"\n")):
        words = line.rstrip(b"\r").decode("latin-1")
        if not words:
            return fields
        if number == 0 or words.startswith("#"):
            continue
        name, colon, value = words.partition(":")
        text = colon and value.startswith("=")
        if not colon or len(words) > (_TEXT if text else _FIELD) or (not text and not _WORD.fullmatch(name)):
            raise ImageError(
                path, f"has line {number + 1} of its NRRD header of another form than 'field: value'", _AGAIN
            )
        if not text:
            fields[name.lower()] = value.strip()
    if len(head) >= MAX_HEADER:
        raise ImageError(path, f"has a NRRD header that does not end within {MAX_HEADER} bytes", _AGAIN)
    return fields


def _meta_fields(path: Path, head: bytes) -> dict[str, str]:
    """``name = value`` of all lines up to the one that says where the data are, which is the last."""
    fields: dict[str, str] = {}
    for line in head.split(b"\n"):
        words = line.rstrip(b"\r").decode("latin-1")
        name, equals, value = words.partition("=")
        name = name.strip().lower()
        if not words.strip():
            continue
        if not equals or len(words) > _FIELD or not _META_WORD.fullmatch(name):
            raise ImageError(path, "has a line of its MetaImage header of another form than 'name = value'", _AGAIN)
        fields[name] = value.strip()
        if name == _META_DATA:
            return fields
    raise ImageError(path, "does not say where its data are (ElementDataFile)", _AGAIN)


def _check_compressed(path: Path, fields: dict[str, str]) -> None:
    """The library makes room for as many compressed bytes as the header says."""
    said = fields.get("compresseddatasize", "0")
    data = (
        path
        if fields[_META_DATA].upper() == "LOCAL"
        else path.parent / os.fsdecode(fields[_META_DATA].encode("latin-1"))
    )
    there = os.path.isfile(data)  # noqa: PTH113 - Path.is_file raises on names that are too long
    if not re.fullmatch(r"\d{1,12}", said) or (there and int(said) > data.stat().st_size):
        raise ImageError(path, f"is cut short: its header promises {said} bytes of compressed data", _AGAIN)


def _beside(path: Path, name: str) -> Path:
    """Data of their own file must lie beside the header: a plain name, no list, no pattern, no device."""
    if not name or name.split()[0].upper() == "LIST" or "%" in name or re.search(r"[/\\:]", name.removeprefix("./")):
        found = f"has its data in '{name}', expected one file beside it"
        raise ImageError(path, found, "Save header and data as one file (.nrrd, .mha)")
    file = path.parent / os.fsdecode(name.encode("latin-1"))  # the bytes of the header, by which it is opened
    if not os.path.isfile(file):  # noqa: PTH113 - Path.is_file raises on names that are too long
        raise ImageError(path, f"has its data in '{name}', which is not beside it", "Copy both files")
    return file
