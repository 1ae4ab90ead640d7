"""How large a file's claims may be before it is refused unread."""

from __future__ import annotations

from pathlib import Path

from MolSubCore.errors import ImageError

#: The largest mammograms have 30 million pixels (digitised film); a header that claims more than this is refused.
MAX_PIXELS = 200_000_000
#: Largest data set, in bytes, that a deflated DICOM file may inflate to.
MAX_INFLATED = 512 * 1024 * 1024


def check_size(path: Path, rows: int, columns: int, frames: int = 1) -> None:
    """Refuse an empty or absurdly large picture before anything of it is decoded.

    Raises
    ------
    ImageError
        If rows x columns x frames is 0 or above `MAX_PIXELS`.
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
