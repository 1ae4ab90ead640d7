"""The module's parameter node: what a saved scene remembers of the panels."""

from __future__ import annotations

from typing import Optional

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import parameterNodeWrapper


@parameterNodeWrapper
class MolSubParameters:
    """State of the panels that belongs to the scene; paths and names of people are kept elsewhere.

    Attributes
    ----------
    mammogram
        The chosen mammogram.
    segmentation
        Its lesions, as they are edited.
    bundle
        File name of the chosen model in the library.
    layer, heatmap_class
        Which heatmap is shown; empty before there is one.
    opacity, threshold
        Of the heatmaps, 0 to 1; values below the threshold are transparent.
    overlay, roi_visible
        Whether heatmaps with their colour legend, and the outline of the ROI, are shown.
    link_views
        Whether the views zoom and pan together.
    device
        ``auto``, ``cpu`` or ``cuda``.
    """

    mammogram: Optional[vtkMRMLScalarVolumeNode]  # noqa: UP045 - Slicer 5.10's wrapper knows no other form
    segmentation: Optional[vtkMRMLSegmentationNode]  # noqa: UP045
    bundle: str = ""
    layer: str = ""
    heatmap_class: str = ""
    opacity: float = 0.5
    threshold: float = 0.3
    overlay: bool = True
    roi_visible: bool = True
    link_views: bool = False
    device: str = "auto"
