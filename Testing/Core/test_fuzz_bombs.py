"""Files made to exhaust a reader: each ends within ten seconds and two GiB, in a watched process."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from fuzz_campaign import Reader
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless
from written_files import baseline_jpeg, mammogram_dataset, picture, write_codestream, write_dicom

from MolSubCore.imaging.io.limits import MAX_PIXELS

#: The largest square that is read.
SIDE = int(MAX_PIXELS**0.5)
Maker = Callable[[Path], Path]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    child = Reader(tmp_path_factory.mktemp("bombs"))
    yield child
    child.close()


def answer(reader: Reader, kind: str, path: Path, shape: tuple[int, int] = (30, 30)) -> dict[str, Any]:
    """What became of a file; that it took no longer and held no more than it may, and said no more than a line."""
    found = reader.read(kind, path, shape)
    path.unlink(missing_ok=True)
    assert found["outcome"] != "fault", found
    return found


def zeros(count: int) -> Iterator[bytes]:
    yield from (bytes(1 << 20) for _ in range(count >> 20))
    yield bytes(count % (1 << 20))


def png(path: Path, rows: int, columns: int, bits: int, colour: int) -> Path:
    """A PNG of nothing but zeros (ISO 15948), a thousandth of its pixels' size."""
    samples = {0: 1, 2: 3, 6: 4}[colour]
    line = 1 + columns * samples * bits // 8
    deflater, data = zlib.compressobj(1), []
    for _ in range(rows):
        data.append(deflater.compress(bytes(line)))
    body = b"".join((*data, deflater.flush()))
    header = struct.pack(">IIBBBBB", columns, rows, bits, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", body), (b"IEND", b"")]
    parts = [struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def nifti(path: Path, side: int, code: int, bits: int) -> Path:
    """A header that promises a square of this side, and as many zeros, compressed."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, side, side, 1, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, code, bits)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    header[344:348] = b"n+1\0"
    with gzip.open(path, "wb", 1) as file:
        file.write(header)
        for part in zeros(side * side * bits // 8):
            file.write(part)
    return path


def nrrd(path: Path, sizes: str, kind: str, packed: int) -> Path:
    """A gzip NRRD of `packed` bytes, in members of a MiB: ten GiB of zeros are a file of ten MiB."""
    dimension = len(sizes.split())
    head = f"NRRD0004\ntype: {kind}\ndimension: {dimension}\nsizes: {sizes}\nendian: little\nencoding: gzip\n\n"
    path.write_bytes(head.encode() + gzip.compress(bytes(1 << 20), 9) * (packed >> 20))
    return path


def jpeg_2000_of(path: Path, side: int) -> Path:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("L", (40, 60)).save(stream, "JPEG2000", no_jp2=True)
    lie = stream.getvalue().replace(struct.pack(">2I", 40, 60), struct.pack(">2I", side, side))
    return write_codestream(path, mammogram_dataset(picture(8, (60, 40)), 8), JPEG2000Lossless, lie)


def rle(path: Path, side: int) -> Path:
    """16-bit RLE of a square of zeros: 128 of them in two bytes."""
    half = b"\x81\0" * -(-side * side // 128)
    header = struct.pack("<16I", 2, 64, 64 + len(half), *[0] * 13)
    dataset = mammogram_dataset(picture(16, (2, 2)), 16, Rows=side, Columns=side)
    return write_codestream(path, dataset, RLELossless, header + half + half)


def deflated(path: Path, count: int) -> Path:
    dataset = mammogram_dataset(picture(12), 12)
    dataset.add_new(0x00091010, "OB", bytes(count))
    return write_dicom(path, dataset, DeflatedExplicitVRLittleEndian)


def segmentation(path: Path, syntax: UID = ExplicitVRLittleEndian, **attributes: Any) -> Path:
    dataset = mammogram_dataset(np.ones((30, 30), np.uint8), 8, Modality="SEG", **attributes)
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    return write_dicom(path, dataset, syntax)


def workbook(path: Path, sheet: Iterator[bytes]) -> Path:
    """An xlsx with this for its sheet."""
    from openpyxl import Workbook

    stream = io.BytesIO()
    Workbook().save(stream)
    with zipfile.ZipFile(stream) as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as book:
        for name in plain.namelist():
            with book.open(name, "w") as part:
                for content in sheet if name.endswith("sheet1.xml") else [plain.read(name)]:
                    part.write(content)
    return path


_SHEET = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'


def rows_of_nothing(count: int) -> Iterator[bytes]:
    yield _SHEET + b"<sheetData>"
    for _ in range(count // 1000):
        yield b"<row/>" * 1000
    yield b"</sheetData></worksheet>"


def laughs() -> Iterator[bytes]:
    """Entities that name each other: a billion words once they are put in."""
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    yield f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "laugh">{levels}]>'.encode()
    yield _SHEET + b'<sheetData><row><c t="inlineStr"><is><t>&l9;</t></is></c></row></sheetData></worksheet>'


def table(path: Path, line: bytes, count: int, header: bytes = b"patient_id,image,mask,subtype\n") -> Path:
    with path.open("wb") as file:
        file.write(header)
        for _ in range(count // 1000):
            file.write(line * 1000)
    return path


def polygons(path: Path, count: int, points: int) -> Path:
    circle = np.stack([np.cos(t := np.linspace(0, 6.28, points)), np.sin(t)], axis=1) * 14 + 15
    path.write_text(json.dumps({"lesions": [{"points": circle.tolist()}] * count}))
    return path


REFUSED: dict[str, tuple[str, str, Maker, str]] = {
    "PNG of 400 million pixels": ("picture", "b.png", lambda p: png(p, 20_000, 20_000, 8, 0), "64 million"),
    "gzip NIfTI": ("volume", "b.nii.gz", lambda p: nifti(p, 30_000, 2, 8), "at most 64 million"),
    "NRRD of many channels": ("mask", "b.nrrd", lambda p: nrrd(p, "5000 3000 3000 1", "float", 1 << 20), ""),
    "number of digits": ("volume", "b.nrrd", lambda p: nrrd(p, "2 2" + "0" * 3000, "float", 1 << 20), "NRRD header"),
    "deflated DICOM": ("DICOM", "b.dcm", lambda p: deflated(p, 600 << 20), "inflates to more than 512 MiB"),
    "deflated SEG": ("mask", "b.dcm", lambda p: deflated(p, 600 << 20), "inflates to more than 512 MiB"),
    "JPEG 2000 that lies": ("DICOM", "b.dcm", lambda p: jpeg_2000_of(p, 60_000), "60000 x 60000"),
    "SEG of many frames": ("mask", "b.dcm", lambda p: segmentation(p, NumberOfFrames=2**31 - 1), "2147483647 frames"),
    "SEG cut short": ("mask", "b.dcm", lambda p: segmentation(p, NumberOfFrames=9000), "truncated"),
    "ten million rows": ("table", "b.csv", lambda p: table(p, b"1,a,b,TN\n", 10_000_000), "more than 250000 rows"),
    "five million rows xlsx": ("table", "b.xlsx", lambda p: workbook(p, rows_of_nothing(5_000_000)), ""),
    "a GiB of a sheet": ("table", "b.xlsx", lambda p: workbook(p, rows_of_nothing(180_000_000)), "unpacks to"),
    "a billion laughs": ("table", "b.xlsx", lambda p: workbook(p, laughs()), ""),
    "a million columns": ("table", "b.csv", lambda p: table(p, b"a\n", 1000, b"image," * 1_000_000 + b"\n"), "columns"),
    "a table of NULs": ("table", "b.csv", lambda p: table(p, bytes(1000), 100_000), ""),
    "a thousand polygons": ("mask", "b.json", lambda p: polygons(p, 1000, 10), "at most 50"),
    "deep JSON": ("mask", "b.json", lambda p: _written(p, b"[" * 5_000_000), "no polygons"),
    "much JSON": ("mask", "b.json", lambda p: _written(p, b"[" + b"[]," * 10_000_000 + b"[]]"), "more than 16 MiB"),
    "deep split": ("split", "b.json", lambda p: _written(p, b"[" * 5_000_000), "not valid JSON"),
    "endless number": ("split", "b.json", lambda p: _written(p, b"1" * 5_000_000), "not valid JSON"),
    "deep request": ("worker", "b.jsonl", lambda p: _written(p, b"[" * 5_000_000), "not a JSON object"),
}


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


#: Seconds to make.
_HEAVY = ("deflated DICOM", "deflated SEG", "five million rows xlsx", "a GiB of a sheet")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in _HEAVY else []) for name in REFUSED]
)
def test_bombs_are_refused(reader: Reader, name: str) -> None:
    kind, file, make, words = REFUSED[name]
    found = answer(reader, kind, make(reader.folder / file))
    assert found["outcome"] == "refused"
    assert words in found["message"]


LARGEST: dict[str, tuple[str, str, Maker]] = {
    "grey PNG": ("picture", "l.png", lambda p: png(p, SIDE, SIDE, 8, 0)),
    "RGBA PNG of 16 bits": ("picture", "l.png", lambda p: png(p, SIDE, SIDE, 16, 6)),
    "NIfTI of doubles": ("volume", "l.nii.gz", lambda p: nifti(p, SIDE, 64, 64)),
    "NRRD with ten GiB behind it": ("volume", "l.nrrd", lambda p: nrrd(p, f"{SIDE} {SIDE} 1", "double", 10 << 30)),
    "RLE": ("DICOM", "l.dcm", lambda p: rle(p, SIDE)),
    "half a GiB deflated": ("DICOM", "l.dcm", lambda p: deflated(p, 500 << 20)),
    "a quarter of a million rows": ("table", "l.csv", lambda p: table(p, b"1,a,b,TN\n", 249_000)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_that_is_read_stays_within_the_limits(reader: Reader, name: str) -> None:
    kind, file, make = LARGEST[name]
    assert answer(reader, kind, make(reader.folder / file))["outcome"] == "result"


@pytest.mark.slow
def test_a_large_mask_of_noise(reader: Reader) -> None:
    noise = np.random.default_rng(1).integers(0, 2, (SIDE, SIDE), np.uint8)
    path = reader.folder / "noise.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(noise[None]), str(path))
    assert answer(reader, "mask", path, noise.shape)["outcome"] in ("refused", "result")


@pytest.mark.parametrize("kind", ["DICOM", "mask", "table", "bundle", "checkpoint"])
def test_pipes_and_devices_are_no_files(reader: Reader, kind: str) -> None:
    """A pipe without a writer would be waited for without end."""
    pipe = reader.folder / "pipe.csv"
    os.mkfifo(pipe)
    assert answer(reader, kind, pipe)["outcome"] == "refused"
    folder = reader.folder / f"{kind}.molsub"
    folder.mkdir()
    os.mkfifo(folder / "bundle.json")
    found = reader.read("bundle", folder, (1, 1))
    assert found["outcome"] == "refused", found
    assert reader.read(kind, Path("/dev/zero"), (1, 1))["outcome"] == "refused"


@pytest.mark.parametrize("data", ["/dev/zero", "../secret.raw", "LIST", "a%02d.raw 1 9 1", "pipe.raw", ""])
@pytest.mark.parametrize("kind", ["h.nhdr", "h.mhd"])
def test_a_header_names_no_file_elsewhere(reader: Reader, kind: str, data: str) -> None:
    nhdr = f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 30 30 1\nencoding: raw\ndata file: {data}\n"
    mhd = f"ObjectType = Image\nNDims = 3\nDimSize = 30 30 1\nElementType = MET_UCHAR\nElementDataFile = {data}\n"
    (reader.folder.parent / "secret.raw").write_bytes(bytes(range(250)) * 4)
    if not (reader.folder / "pipe.raw").exists():
        os.mkfifo(reader.folder / "pipe.raw")
    path = _written(reader.folder / kind, (nhdr if kind == "h.nhdr" else mhd).encode())
    assert answer(reader, "volume", path)["outcome"] == "refused"


def test_a_jpeg_of_another_size_than_its_header(reader: Reader) -> None:
    lie = baseline_jpeg(np.zeros((8, 8), np.uint8)).replace(
        struct.pack(">2H", 8, 8), struct.pack(">2H", 65_500, 65_500)
    )
    path = _written(reader.folder / "lie.jpg", lie)
    assert "million" in answer(reader, "picture", path)["message"]
