"""What the Load panel tells of a mammogram, in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from MolSubSlicerLib.Scene import Mammograms, Patients

#: Where a spacing comes from: at the detector the breast is up to a tenth smaller than it seems.
_SOURCES = {
    "ImagerPixelSpacing": _("detector"),
    "ImagerPixelSpacing, magnification corrected": _("in the breast"),
    "PixelSpacing": _("calibrated"),
    "file header": _("file header"),
}
_PRESENTATIONS = {"FOR PRESENTATION": _("For Presentation"), "FOR PROCESSING": _("For Processing")}


@dataclass(frozen=True)
class ViewRow:
    """One mammogram of a table.

    Attributes
    ----------
    volume : vtkMRMLScalarVolumeNode
    cells : tuple of str
        The patient's letter (empty while there is one patient), side, view, pixel spacing with its source, vendor,
        notes in short.
    details : str
        Everything that the reader says of it, in sentences.
    """

    volume: Any
    cells: tuple[str, str, str, str, str, str]
    details: str


def view_row(volume: Any) -> ViewRow:
    """Describe a mammogram of the scene."""
    facts = Mammograms.facts_of(volume)
    warnings = [str(text) for text in facts.get("warnings", ())]
    notes = [_("Synthetic, not a patient.")] if facts.get("synthetic") else []
    if warnings:
        count = len(warnings)
        notes.append(warnings[0] if count == 1 else _("{count} warnings").format(count=count))
    size = _("{rows} × {columns} pixels").format(rows=facts.get("rows", "?"), columns=facts.get("columns", "?"))
    presentation = _PRESENTATIONS.get(str(facts.get("presentation")), "")
    source = (facts.get("spacing") or {}).get("source") or "unknown"
    spacing = _("spacing from {source}").format(source=source) if source != "unknown" else _("spacing unknown")
    file = Path(volume.GetAttribute("MolSub.SourceFile") or "").name
    parts = ", ".join(text for text in (file, size, presentation, spacing) if text)
    details = [f"{Patients.name_of(volume)}: {parts}.", *warnings]
    cells = (
        Patients.letter_of(volume),
        facts.get("laterality") or _("unknown"),
        facts.get("view") or _("unknown"),
        spacing_text(facts.get("spacing") or {}),
        facts.get("manufacturer") or _("unknown"),
        " ".join(notes),
    )
    return ViewRow(volume, cells, " ".join(details))


def spacing_text(spacing: dict[str, Any]) -> str:
    """Pixel spacing in mm and, in a word, where it comes from."""
    row, column = spacing.get("row_mm"), spacing.get("col_mm")
    if not row or not column:
        return _("unknown")
    size = f"{row:.3g}" if row == column else f"{row:.3g} × {column:.3g}"
    source = spacing.get("source")
    return f"{size} ({_SOURCES.get(source, source)})" if source else size
