"""The heatmap's colours: even steps for the eye, from black through purple and orange to light yellow.

Computed here and stored with the scene, so that they are the same in every version of Slicer. The path
runs through the CIE L*a*b* space with growing lightness and even steps of colour difference.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray
from slicer.i18n import tr as _

from MolSubSlicerLib.Scene.Nodes import KIND, all_of_kind

#: Lightness (0 to 100), chroma and hue (degrees) of the path's corners; all within sRGB.
_CORNERS = np.array(
    [
        (1.0, 2.0, 290.0),
        (14.0, 38.0, 305.0),
        (28.0, 52.0, 330.0),
        (40.0, 58.0, 370.0),
        (53.0, 74.0, 403.0),
        (68.0, 76.0, 426.0),
        (82.0, 78.0, 443.0),
        (97.0, 36.0, 464.0),
    ]
)
_STEPS = 256


def heat_table() -> NDArray[np.float64]:
    """The colours, sRGB in [0, 1], shape (256, 3)."""
    position = np.linspace(0.0, 1.0, 4001)
    lightness, chroma, hue = (_smooth(position, column) for column in _CORNERS.T)
    angle = np.deg2rad(hue)
    path = np.stack([lightness, chroma * np.cos(angle), chroma * np.sin(angle)], axis=1)
    length = np.concatenate([[0.0], np.linalg.norm(np.diff(path, axis=0), axis=1).cumsum()])
    even = np.linspace(0.0, length[-1], _STEPS)
    return _srgb(np.stack([np.interp(even, length, column) for column in path.T], axis=1))


def heat_colours() -> Any:
    """The scene's vtkMRMLColorTableNode with these colours; made where there is none."""
    found = all_of_kind("colours")
    if found:
        return found[0]
    node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLColorTableNode")
    node.UnRegister(None)
    node.SetName(_("MolSub heat"))
    node.SetAttribute(KIND, "colours")
    node.SetTypeToUser()
    node.SetNumberOfColors(_STEPS)
    node.SetHideFromEditors(True)
    for index, (red, green, blue) in enumerate(heat_table()):
        node.SetColor(index, f"{index / (_STEPS - 1):.2f}", red, green, blue, 1.0)
    node.GetLookupTable().SetRange(0, _STEPS - 1)
    slicer.mrmlScene.AddNode(node)
    return node


def _smooth(position: NDArray[np.float64], corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cubic through the corners (Catmull-Rom), corners at even distances."""
    padded = np.concatenate([[2 * corners[0] - corners[1]], corners, [2 * corners[-1] - corners[-2]]])
    scaled = position * (len(corners) - 1)
    index = np.minimum(scaled.astype(int), len(corners) - 2)
    t = scaled - index
    a, b, c, d = (padded[index + step] for step in range(4))
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))


def _srgb(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE L*a*b* (D65) to sRGB (IEC 61966-2-1), cut to [0, 1]."""
    y = (lab[:, 0] + 16) / 116
    ratios = np.stack([y + lab[:, 1] / 500, y, y - lab[:, 2] / 200], axis=1)
    xyz = np.where(ratios > 6 / 29, ratios**3, 3 * (6 / 29) ** 2 * (ratios - 4 / 29)) * (0.95047, 1.0, 1.08883)
    linear = xyz @ np.linalg.inv(_RGB_TO_XYZ).T
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


_RGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
