"""Contact sheets of a cohort: every lesion on its mammogram, for visual review."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from MolSubCore import DISCLAIMER
from MolSubCore.cohort.table import Case
from MolSubCore.errors import printable
from MolSubCore.files import atomic_path, check_free
from MolSubCore.imaging.display import display_array
from MolSubCore.imaging.mammogram import Mammogram
from MolSubCore.lesions.lesion import Lesion, LesionSet
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.lesions.roi import RoiGeometry, roi_geometry

Picture = NDArray[np.uint8]

_COLUMNS, _ROWS = 4, 4
#: Of a row's cell: side of each of its two pictures, gap between cells, height of the text above and below.
_SIDE, _GAP, _HEAD, _FOOT = 280, 14, 24, 48
_MARGIN = 24
_CELL = 2 * _SIDE + 6, _HEAD + _SIDE + _FOOT
_SIZE = (
    2 * _MARGIN + _COLUMNS * _CELL[0] + (_COLUMNS - 1) * _GAP,
    2 * _MARGIN + _ROWS * _CELL[1] + (_ROWS - 1) * _GAP + 24,
)
_BACKGROUND, _TEXT, _DIM, _WRONG = (24, 24, 26), (235, 235, 235), (160, 160, 160), (255, 110, 90)
_OUTLINE, _REGION = (255, 214, 10), (90, 170, 255)


class ContactSheet:
    """Pages of pictures, ``lesions-001.png``, ...: 16 rows a page, written as soon as it is full.

    On the left the whole mammogram as predictions see it, with its lesions (yellow) and the region around the first
    one (blue); on the right that region. Rows are named by their numbers in the table.

    Parameters
    ----------
    folder : Path
        Made where it is missing; must be empty.
    identified : bool
        Write patient ids and the names of images and masks, too.

    Raises
    ------
    MolSubError
        If the folder holds anything.
    """

    def __init__(self, folder: Path, *, identified: bool = False) -> None:
        check_free(folder)
        self.pages: list[Path] = []
        self._folder, self._identified = folder, identified
        self._sheet: Image.Image | None = None
        self._cells = 0

    def add(
        self, case: Case, mammogram: Mammogram | None, lesions: LesionSet | None, problems: Sequence[str] = ()
    ) -> None:
        """Draw one row: its image and lesions as far as they could be read, and what is wrong with them."""
        if self._sheet is None:
            self._sheet = Image.new("RGB", _SIZE, _BACKGROUND)
        row, column = divmod(self._cells, _COLUMNS)
        place = _MARGIN + column * (_CELL[0] + _GAP), _MARGIN + row * (_CELL[1] + _GAP)
        self._sheet.paste(_cell(case, mammogram, lesions, problems, self._identified), place)
        self._cells += 1
        if self._cells == _COLUMNS * _ROWS:
            self.finish()

    def finish(self) -> None:
        """Write the last page, if it is not empty."""
        if self._sheet is None:
            return
        ImageDraw.Draw(self._sheet).text((_MARGIN, _SIZE[1] - 30), DISCLAIMER, _DIM, _font(14))
        page = self._folder / f"lesions-{len(self.pages) + 1:03d}.png"
        with atomic_path(page, new=True) as temporary:
            self._sheet.save(temporary, format="PNG", compress_level=3)
        self.pages.append(page)
        self._sheet, self._cells = None, 0


def _cell(
    case: Case, mammogram: Mammogram | None, lesions: LesionSet | None, problems: Sequence[str], identified: bool
) -> Image.Image:
    cell = Image.new("RGB", _CELL, _BACKGROUND)
    draw = ImageDraw.Draw(cell)
    title = f"Row {case.row}"
    if mammogram is not None:
        title += f"   {mammogram.label}"
    if lesions is not None:
        title += f"   {len(lesions.lesions)} lesion{'s' if len(lesions.lesions) > 1 else ''}"
    if case.subtype is not None:
        title += f"   {case.subtype.value}"
    draw.text((0, 2), title, _WRONG if problems else _TEXT, _font(16))
    files = ", ".join(file.name for file in (case.image, case.mask) if file is not None)
    words = [printable(f"{case.patient_id}, {files}", 90)] if identified else []
    words += [line for text in problems[:1] for line in textwrap.wrap(printable(text, 270), 92)]
    for number, line in enumerate(words[:3]):
        told = identified and number == 0
        draw.text((0, _HEAD + _SIDE + 2 + 15 * number), line, _DIM if told else _WRONG, _font(12))
    if mammogram is not None:
        try:
            shown = display_array(mammogram)
            overview, zoom = _pictures(shown, mammogram, lesions)
        except Exception:  # reported as this row's problem
            return cell
        cell.paste(overview, (0, _HEAD))
        if zoom is not None:
            cell.paste(zoom, (_SIDE + 6, _HEAD))
    return cell


def _pictures(
    shown: NDArray[np.float32], mammogram: Mammogram, lesions: LesionSet | None
) -> tuple[Image.Image, Image.Image | None]:
    """The whole mammogram with all lesions, and the region around the first (around the first that is wrong)."""
    rows, columns = shown.shape
    whole = RoiGeometry(0, rows, 0, columns, _SIDE, (rows, columns))
    if lesions is None:
        return _drawn(shown, whole, ()), None
    chosen = next((lesion for lesion in lesions.lesions if lesion.label in lesions.wrong), lesions.lesions[0])
    region = roi_geometry(chosen.box, get_recipe("default"), mammogram.shape, mammogram.spacing)
    zoom = _drawn(shown, region, lesions.lesions)
    return _drawn(shown, whole, lesions.lesions, region), zoom


def _drawn(
    shown: NDArray[np.float32], place: RoiGeometry, lesions: Sequence[Lesion], region: RoiGeometry | None = None
) -> Image.Image:
    """A part of the image, as large as fits, with outlines on it."""
    rows, columns = place.inside()
    part = shown[rows, columns]
    scale = _SIDE / max(part.shape)
    size = tuple(max(1, round(length * scale)) for length in part.shape[::-1])
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    picture = np.repeat((cv2.resize(part, size, interpolation=way) * 255).astype(np.uint8)[..., None], 3, axis=2)
    start = np.array([columns.start, rows.start])
    for lesion in lesions:
        for contour in _contours(lesion):
            points = np.round((contour - start + 0.5) * scale - 0.5).astype(np.int32)
            cv2.polylines(picture, [points], True, _OUTLINE, 1, cv2.LINE_AA)
    if region is not None:
        corners = np.array([[region.col_start, region.row_start], [region.col_stop, region.row_stop]])
        first, last = np.round((corners - start) * scale).astype(int).tolist()
        cv2.rectangle(picture, first, last, _REGION, 1)
    return Image.fromarray(picture)


def _contours(lesion: Lesion) -> list[NDArray[np.float64]]:
    """Outlines in image coordinates (column, row)."""
    box = lesion.box
    if lesion.mask is None:
        ends = (box.col_start, box.row_start), (box.col_stop - 1, box.row_stop - 1)
        return [np.array([ends[0], (ends[1][0], ends[0][1]), ends[1], (ends[0][0], ends[1][1])], np.float64)]
    found = cv2.findContours(lesion.mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]
    return [np.asarray(contour[:, 0], np.float64) + np.array([box.col_start, box.row_start]) for contour in found]


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
