"""Boxes as people and data sets write them. Standard library only."""

from __future__ import annotations

import re

from MolSubCore.errors import counted

_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?")
#: What may stand around and between the numbers: EMBED writes ``((330, 180, 390, 240),)``.
_LOOKS_LIKE_A_BOX = re.compile(r"[\s\d.,;+\-()\[\]{}]*\d[\s\d.,;+\-()\[\]{}]*")
#: How NumPy 2 prints numbers within a tuple, and numbers with an exponent.
_NUMPY = re.compile(r"\bnp\.(?:u?int|float)\d+\(")
_EXPONENT = re.compile(r"[+-]?\d+(?:\.\d*)?[eE][+-]?\d+\b")
_BETWEEN = re.compile(r"[\s,;()\[\]{}]*")


def looks_like_a_box(text: str) -> bool:
    """Whether a text has nothing but numbers, separators and brackets, and is more than one number."""
    return bool(_LOOKS_LIKE_A_BOX.fullmatch(text)) and len(_NUMBER.findall(text)) > 1


def read_box(text: str) -> tuple[int, int, int, int] | None:
    """Row 0, column 0, row 1, column 1 of one box, in or without brackets; None if it is anything else.

    Numbers are whole; ``330.0`` is.
    """
    found = _NUMBER.findall(text)
    if len(found) != 4 or not looks_like_a_box(text):
        return None
    if not all(_BETWEEN.fullmatch(between) for between in _NUMBER.split(text)):
        return None
    values = [float(number) for number in found]
    if not all(value.is_integer() for value in values):
        return None
    row0, col0, row1, col1 = map(int, values)
    return row0, col0, row1, col1


def is_meant_as_box(text: str) -> bool:
    """Whether a text is several numbers, as a box is, in whatever form programs print them."""
    return looks_like_a_box(_EXPONENT.sub("1", _NUMPY.sub("(", text)))


def why_no_box(text: str) -> str:
    """What is wrong with a text that is meant as a box and is none."""
    expected = "expected four whole numbers of pixels, row0,col0,row1,col1"
    if _NUMPY.search(text):
        return f"has numbers as NumPy prints them (np.int64(...)), {expected}; convert them with int()"
    if _EXPONENT.search(text):
        return f"has a number with an exponent ({_EXPONENT.findall(text)[0]}), {expected}"
    numbers = _NUMBER.findall(text)
    shares = [0 <= float(number) <= 1 for number in numbers]
    if (len(numbers) == 4 and all(shares)) or (len(numbers) == 5 and numbers[0].isdigit() and all(shares[1:])):
        told = "has shares of the picture, as YOLO writes boxes (centre x, centre y, width, height)"
        return f"{told}, {expected}"
    if len(numbers) == 8 and "(" not in text and "[" not in text:
        return f"has 8 numbers, {expected}; a decimal comma makes two numbers of one"
    if len(numbers) > 4 and len(numbers) % 4 == 0:
        return f"has {len(numbers)} numbers, which may be {len(numbers) // 4} boxes; {expected}, one row per lesion"
    if len(numbers) != 4:
        return f"has {counted(len(numbers), 'number')}, {expected}"
    return f"is not four whole numbers, {expected}"
