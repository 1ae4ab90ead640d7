"""The one reader of mammograms: any supported file becomes a `Mammogram`, or a one-line `ImageError`.

The kind of a file is decided by its content, never by its name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from MolSubCore.errors import ImageError, MolSubError, plain_reason
from MolSubCore.files import why_no_file
from MolSubCore.imaging.breast import breast_values, bright_background, sideways
from MolSubCore.imaging.display import display_step, same_picture, turned_over
from MolSubCore.imaging.io.damage import cut_off, lost_block, plain_rows, shifted_rows, unlike, wrapped
from MolSubCore.imaging.io.native import no_remarks, no_stderr
from MolSubCore.imaging.io.volume_header import META_START, NRRD_START
from MolSubCore.imaging.mammogram import MAY_BE_NEGATIVE, Mammogram, Person
from MolSubCore.imaging.view_text import facts_from_path, name_doubts

#: Lines across a picture that are told; more are damage.
_MOST_LINES = 3
#: Grey values of a breast that are few (the real mammograms at hand have 198 and more), where so many pixels are seen.
_FEW_LEVELS, _LEAST_VALUES = 48, 4096

Kind = Literal["DICOM", "picture", "NIfTI", "NRRD", "MetaImage"]

_SUPPORTED = "Give a mammogram as DICOM, PNG, JPEG, TIFF, NIfTI, NRRD or MHA"


def read_mammogram(path: str | os.PathLike[str]) -> Mammogram:
    """Read one mammographic view from a file.

    Parameters
    ----------
    path : str or os.PathLike
        DICOM (MG for presentation or for processing, CR, DX, secondary capture), PNG, JPEG, TIFF,
        NIfTI, NRRD or MetaImage. One frame, one grey channel.

    Returns
    -------
    Mammogram
        With everything the file says about spacing, side, view, polarity and display; what is in
        doubt is in its `warnings`.

    Raises
    ------
    ImageError
        If the file cannot be read whole, or is not one 2D mammographic view; one line that names
        the file, the value found and the remedy.
    """
    file = Path(path)
    kind = _kind_of(file)
    read, _ = _functions_of(kind)
    with one_line(file):
        mammogram = read(file)
        return _checked(_with_names(file, mammogram) if kind == "DICOM" else mammogram)


def check_header(path: str | os.PathLike[str]) -> Kind:
    """Refuse a file that by its header alone is no mammogram; no pixel is decoded.

    Returns
    -------
    {'DICOM', 'picture', 'NIfTI', 'NRRD', 'MetaImage'}
        A picture or volume that passes may still be a mask, in colour, or cut short.

    Raises
    ------
    ImageError
        As `read_mammogram`.
    """
    file = Path(path)
    kind = _kind_of(file)
    _, check = _functions_of(kind)
    with one_line(file):
        check(file)
    return kind


def read_person(path: str | os.PathLike[str]) -> Person:
    """Whom a file names; no pixel is decoded, and a picture names nobody.

    Raises
    ------
    ImageError
        If the file cannot be opened, or its header is damaged.
    """
    file = Path(path)
    if _kind_of(file) != "DICOM":
        return Person()
    from MolSubCore.imaging.io import dicom as dicom_facts
    from MolSubCore.imaging.io.dicom import open_dicom

    with one_line(file):
        return dicom_facts.person_of(open_dicom(file).header)


@contextlib.contextmanager
def one_line(file: Path) -> Iterator[None]:
    """Any library's failure as one line; what it prints is kept off the screen."""
    with no_remarks("pydicom", "PIL"), no_stderr():
        try:
            yield
        except MolSubError:
            raise
        except MemoryError:
            raise ImageError(
                file, "needs more memory than there is", "Close other programs, or use a smaller image"
            ) from None
        except Exception as error:  # the cause stays attached
            raise ImageError(file, f"cannot be read ({brief(error)})", "Export or copy the file again") from error


def brief(error: BaseException) -> str:
    """An exception's type and text in at most 160 characters and one line; what it quotes may be a patient's name."""
    plain = plain_reason(error) or (error.strerror if isinstance(error, OSError) else "")
    if plain:
        return plain
    words = re.sub(r"'[^']*'|\"[^\"]*\"", "'...'", str(error))
    text = " ".join(f"{type(error).__name__}: {words}".split())
    return text if len(text) <= 160 else text[:157] + "..."


def _kind_of(file: Path) -> Kind:
    head = _head(file)
    if head[128:132] == b"DICM" or _looks_like_bare_dicom(head):
        return "DICOM"
    if head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "picture"
    if head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0") or head.startswith(b"\x1f\x8b"):
        return "NIfTI"
    if head.startswith(NRRD_START):
        return "NRRD"
    if META_START.match(head):
        return "MetaImage"
    if head.startswith((b"\x89PNG", b"PNG\r", b"PNG\n")):
        raise ImageError(file, "is a PNG file damaged as by a transfer as text (its line ends)", "Copy it again")
    raise ImageError(file, f"is not an image this program knows (its first bytes are {head[:4].hex(' ')})", _SUPPORTED)


def _functions_of(kind: Kind) -> tuple[Callable[[Path], Mammogram], Callable[[Path], None]]:
    """What reads files of a kind, and what looks at their headers only; its libraries are loaded now."""
    if kind == "DICOM":
        from MolSubCore.imaging.io import dicom

        return dicom.read_dicom, dicom.check_dicom
    if kind == "picture":
        from MolSubCore.imaging.io import picture as raster

        return raster.read_raster, raster.check_raster
    from MolSubCore.imaging.io import volume

    readers = {"NIfTI": volume.read_nifti, "NRRD": volume.read_nrrd, "MetaImage": volume.read_metaimage}
    return readers[kind], lambda file: volume.check_volume(file, kind)


def _head(file: Path) -> bytes:
    """The first bytes of a file that exists and has some."""
    if why := why_no_file(file):
        raise ImageError(file, why, "Name one image file")
    try:
        with file.open("rb") as stream:
            head = stream.read(352)
    except FileNotFoundError:
        raise ImageError(file, "does not exist", "Check the path") from None
    except (OSError, ValueError) as error:
        raise ImageError(
            file, f"cannot be opened ({brief(error)})", "Check the path and your right to read it"
        ) from None
    if not head:
        raise ImageError(file, "is empty (0 bytes)", "Export or copy the file again")
    return head


def _looks_like_bare_dicom(head: bytes) -> bool:
    """Whether a file without the 128-byte preamble begins with an element of group 2 or 8."""
    little, big = head[:2] in (b"\x02\0", b"\x08\0"), head[:2] == b"\0\x08"
    if len(head) < 16 or not (little or big):
        return False
    if head[4:6].isalpha() and head[4:6].isupper():
        return True
    return little and head[3] == 0 and int.from_bytes(head[4:8], "little") < 1 << 16


def _with_names(file: Path, mammogram: Mammogram) -> Mammogram:
    """Side and view by the names of a DICOM file and its folders where its header is silent; what they contradict."""
    doubts = name_doubts(file, mammogram.laterality, mammogram.view)
    side, view = facts_from_path(file)
    if any("both breasts" in text for text in mammogram.warnings):
        side = None
    history = mammogram.photometric_history
    if (side and not mammogram.laterality) or (view and not mammogram.view):
        history += ("Side or view were read from the names of the file and its folder, as its header lacks them.",)
    return dataclasses.replace(
        mammogram,
        laterality=mammogram.laterality or side,
        view=mammogram.view or view,
        photometric_history=history,
        warnings=(*mammogram.warnings, *doubts),
    )


def _checked(mammogram: Mammogram) -> Mammogram:
    """Add what holds for every kind of file: a constant picture, a bright background, a block of lost pixels."""
    found, negative = list(mammogram.warnings), False
    stored = mammogram.stored
    if count := wrapped(stored):
        apart = f"has signed values, but {count} neighbours are nearly their whole range apart, as unsigned ones are"
        remedy = "Convert the original again, to unsigned values (uint16)"
        raise ImageError(mammogram.source or mammogram.label, apart, remedy)
    lines = plain_rows(stored)
    for name, numbers in (("Row", lines), ("Column", plain_rows(stored.T))):
        if 0 < len(numbers) <= _MOST_LINES:
            names = ", ".join(str(number) for number in numbers.tolist())
            what = f"{name} {names} holds" if len(numbers) == 1 else f"{name}s {names} hold"
            found.append(f"{what} one value right across the picture: a dead line of the detector, or a drawn one.")
    if 0 < len(lines) <= _MOST_LINES:
        stored = stored.copy()
        stored[lines] = stored[lines - 1]
    if (block := lost_block(stored)) is not None:
        row, column, count, what = block
        found_there = (
            f"has damaged pixels: {count} {what} one after another, from row {row}, column {column} on, "
            "as of lost data or of a line drawn into the picture"
        )
        raise ImageError(mammogram.source or mammogram.label, found_there, "Export or copy the file again")
    if (shifted := shifted_rows(stored)) is not None:
        row, pixels = shifted
        side = "left" if pixels > 0 else "right"
        moved = f"from about row {row} on all lies {abs(pixels)} pixels to the {side}, as where data before are missing"
        raise ImageError(
            mammogram.source or mammogram.label, f"has damaged pixels: {moved}", "Export or copy the file again"
        )
    if (why := unlike(mammogram.stored)) is not None:
        found.append(f"Neighbouring pixels are not like each other as those of a picture are, {why}.")
    if (band := cut_off(mammogram.stored)) is not None:
        found.append(
            f"The {band[0]} rows at the {band[1]} hold one value, and the breast is cut off there: "
            "the picture was cropped and padded, or a part of its data was lost."
        )
    if mammogram.stored.min() == mammogram.stored.max():
        found.append(f"Every pixel has the same value ({mammogram.stored.flat[0]}): there is no picture.")
    elif turned_over(mammogram):
        mammogram = _turned(mammogram)
        found.append("The file's VOI LUT inverts the values (dense tissue is dark as stored): so was the picture.")
    elif bright_background(mammogram):
        negative = True
        found.append(MAY_BE_NEGATIVE)
    if (edge := sideways(mammogram)) is not None:
        found.append(
            f"The breast lies against the {edge} edge of the picture, not against its left or right one: it seems to "
            "be rotated by 90 degrees. Export it upright, its lesion mask, too."
        )
    found += display_step(mammogram).notes
    values = breast_values(mammogram)[0]
    if values.size >= _LEAST_VALUES and 2 < (levels := np.unique(values).size) < _FEW_LEVELS:
        found.append(
            f"The breast has only {levels} grey values (fewer than {_FEW_LEVELS}): the picture was saved with too few "
            "of them, and fine differences are lost. Export it again."
        )
    checked = dataclasses.replace(mammogram, warnings=tuple(found), negative=negative)
    same_picture(mammogram, checked)
    return checked


def _turned(mammogram: Mammogram) -> Mammogram:
    """The same, its dense tissue bright; what its tables show stays what it was."""
    voi = [dataclasses.replace(each, lut=1 - each.lut) if each.lut is not None else each for each in mammogram.voi]
    history = (*mammogram.photometric_history, "The VOI LUT falls, and the background is bright: inverted.")
    return dataclasses.replace(mammogram, inverted=not mammogram.inverted, voi=tuple(voi), photometric_history=history)
