"""Compressed frames: what their own headers say, and damaged or cut ones, which are refused before they are decoded."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import get_frame
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
)
from written_files import (
    LOSSLESS,
    UNCOMPRESSED,
    baseline_jpeg,
    mammogram_dataset,
    picture,
    write_codestream,
    write_dicom,
    write_lossless,
)

from MolSubCore.errors import ImageError
from MolSubCore.imaging.io.dicom import parse_codestream
from MolSubCore.imaging.io.reader import read_mammogram


@settings(deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.binary(max_size=40))
def test_jpeg_headers(rows: int, columns: int, comment: bytes) -> None:
    stream = io.BytesIO()
    inner = baseline_jpeg(np.zeros((8, 8), np.uint8))  # a thumbnail's header comes before the picture's own
    Image.new("L", (columns, rows)).save(stream, "JPEG", exif=b"Exif\0\0" + inner, comment=comment)
    code = parse_codestream(stream.getvalue())
    assert code is not None
    assert (code.process, code.precision, code.rows, code.columns, code.components) == (
        "baseline JPEG", 8, rows, columns, 1,
    )  # fmt: skip


@pytest.mark.parametrize("wrapped", [True, False], ids=["JP2 file", "bare"])
@pytest.mark.parametrize(("left", "top"), [(0, 0), (5, 3)])
def test_jpeg_2000_headers(wrapped: bool, left: int, top: int) -> None:
    """The picture may begin after the origin of its reference grid (ITU T.800 A.5.1)."""
    stream = io.BytesIO()
    Image.new("L", (40, 60)).save(stream, "JPEG2000", no_jp2=not wrapped)
    plain, moved = (struct.pack(">4I", 40 + x, 60 + y, x, y) for x, y in ((0, 0), (left, top)))
    code = parse_codestream(stream.getvalue().replace(plain, moved))
    assert code is not None
    assert (code.process, code.precision, code.rows, code.columns, code.components) == ("JPEG 2000", 8, 60, 40, 1)


@given(st.binary(max_size=80))
def test_noise_is_no_codestream_and_no_crash(content: bytes) -> None:
    for start in (b"", b"\xff\xd8", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "):
        code = parse_codestream(start + content)
        assert code is None or code.rows <= 1 << 32


@pytest.mark.parametrize("syntax", [*UNCOMPRESSED, *LOSSLESS], ids=lambda uid: uid.name)
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, syntax: UID) -> None:
    path, stored = tmp_path / "m.dcm", picture(12)
    if syntax in UNCOMPRESSED:
        write_dicom(path, mammogram_dataset(stored, 12), syntax)
    else:
        write_lossless(path, stored, 12, syntax)
    content = path.read_bytes()
    # What ends a file may hold nothing: the delimiter of a compressed frame, the padding of a deflated data set.
    end = len(content) - (9 if syntax in LOSSLESS else syntax == DeflatedExplicitVRLittleEndian)
    for length in [*range(150, end, 97), end - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(ImageError, match=r"m\.dcm"):
            read_mammogram(path)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda uid: uid.name)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.98])
def test_a_compressed_stream_cut_short_within_a_whole_file_is_refused(
    tmp_path: Path, syntax: UID, share: float
) -> None:
    stored = picture(12)
    stream = get_frame(dcmread(write_lossless(tmp_path / "w.dcm", stored, 12, syntax)).PixelData, 0, number_of_frames=1)
    cut = stream[: int(len(stream) * share) // 2 * 2]
    path = write_codestream(tmp_path / "m.dcm", mammogram_dataset(stored, 12), syntax, cut)
    with pytest.raises(ImageError, match=r"m\.dcm"):
        read_mammogram(path)


def test_rle_that_runs_over_the_end_is_refused_quietly(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The decoder panics there, which is no ordinary exception and prints a trace of its own."""
    header = np.array([2, 64, 72] + [0] * 13, "<u4").tobytes()
    runs = bytes([129, 7] * 4)  # each 128 times the value 7: 512 where 400 are expected
    dataset = mammogram_dataset(picture(12, (20, 20)), 12)
    path = write_codestream(tmp_path / "m.dcm", dataset, RLELossless, header + runs + runs)
    with pytest.raises(ImageError, match="damaged pixel data"):
        read_mammogram(path)
    assert capfd.readouterr().err == ""


def test_rle_bomb_is_refused_before_memory_is_asked_for(tmp_path: Path) -> None:
    header = np.array([2, 64, 66] + [0] * 13, "<u4").tobytes()
    dataset = mammogram_dataset(picture(16, (2, 2)), Rows=7_900, Columns=7_900)
    path = write_codestream(tmp_path / "m.dcm", dataset, RLELossless, header + bytes([129, 7, 129, 7]))
    assert path.stat().st_size < 2000
    with pytest.raises(ImageError, match="cannot hold the 124820000 bytes"):
        read_mammogram(path)
