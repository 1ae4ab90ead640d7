"""How large a file's claims may be before it is refused unread."""

from __future__ import annotations

from pathlib import Path

from MolSubCore.errors import ImageError

#: The largest mammograms have 30 million pixels (digitised film); a header that claims more than this is refused.
#: Of this size even 64-bit pixels and their copies stay within 2 GiB.
MAX_PIXELS = 64_000_000
#: Bytes of all pixels of a file, several channels included.
MAX_BYTES = 8 * MAX_PIXELS
#: Largest data set, in bytes, that a deflated DICOM file may inflate to.
MAX_INFLATED = 512 * 1024 * 1024
#: Elements and items of a DICOM header, nested ones included: a mammogram has some hundreds, a segmentation of a
#: thousand frames forty thousand. Two million empty ones would take a minute and more than a gigabyte.
MAX_ELEMENTS = 100_000
#: Bytes in which the text header of a volume must end.
MAX_HEADER = 1 << 20


def check_size(path: Path, rows: int, columns: int, frames: int = 1, pixel_bytes: int = 1) -> None:
    """Refuse an empty or absurdly large picture before anything of it is decoded.

    Parameters
    ----------
    pixel_bytes : int
        Of all channels of a pixel.

    Raises
    ------
    ImageError
        If rows x columns x frames is 0 or above `MAX_PIXELS`, or all pixels have more than `MAX_BYTES`.
    """
    if rows < 1 or columns < 1:
        raise ImageError(path, f"has {rows} rows and {columns} columns", "Export or copy the file again")
    if rows * columns * frames > MAX_PIXELS:
        size = f"{rows} x {columns}" + (f" x {frames} frames" if frames != 1 else "")
        raise ImageError(
            path,
            f"claims {size} pixels, at most {MAX_PIXELS // 10**6} million are read",
            "Check that it is a mammogram",
        )
    if rows * columns * frames * pixel_bytes > MAX_BYTES:
        found = (
            f"claims {rows * columns * frames * pixel_bytes >> 20} MiB of pixels, at most {MAX_BYTES >> 20} are read"
        )
        raise ImageError(path, found, "Check that it is a mammogram or its mask")
