"""A model of the library, and its card in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _


@dataclass(frozen=True)
class Model:
    """A model bundle in the library.

    Attributes
    ----------
    path : Path
    card : dict
        The content of its ``bundle.json``.
    """

    path: Path
    card: dict[str, Any]

    @property
    def file_name(self) -> str:
        """What a scene remembers of the choice."""
        return self.path.name

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.name.removesuffix(".molsub")

    @property
    def sha256(self) -> list[str]:
        """Of the members' weights; the same in every copy."""
        return [member["sha256"] for member in self.card["members"]]

    def summary(self) -> str:
        """Task and architecture in one line."""
        from MolSubCore.models.registry import ARCHITECTURES
        from MolSubCore.tasks import TASKS

        architecture = self.card["architecture"]
        known = ARCHITECTURES.get(architecture)
        parts = [TASKS[self.card["task"]].title, known.title if known else architecture]
        members = len(self.card["members"])
        if members > 1:
            parts.append(_("{count} networks averaged").format(count=members))
        return " · ".join(parts)

    def cautions(self) -> list[str]:
        """What must be known before the model is used."""
        found = list(self.card.get("warnings") or ())
        if not self.card.get("class_order_verified") and not any("class order" in text.lower() for text in found):
            found.append(_("The order of its classes was never verified."))
        if self.card.get("synthetic"):
            found.append(_("Trained on synthetic pictures: it says nothing about patients."))
        return found


def card_rows(model: Model) -> list[tuple[str, str]]:
    """The card as a table of two columns, for people."""
    card, unknown = model.card, _("not recorded")
    from MolSubCore.models.card import trained_on

    recipe = card["recipe"]
    order = card.get("class_order_source") or unknown
    if not card.get("class_order_verified"):
        order = _("{source} (NOT VERIFIED)").format(source=order)
    margin = _("margin {bound:g} {unit}").format(bound=recipe["bound"], unit=recipe["bound_unit"])
    rows = [
        (_("File"), model.file_name),
        (_("Intended use"), card.get("intended_use")),
        (_("Classes"), ", ".join(card["classes"])),
        (_("Positive class"), card.get("positive")),
        (_("Class order"), order),
        (_("Region"), f"{recipe['name']}, {margin}"),
        (_("Trained on"), trained_on(card)),
        (_("Vendors in training"), ", ".join(card.get("vendors") or ())),
        (_("Test set"), ", ".join(metric_lines(card))),
        (_("Calibration"), calibration_text(card)),
        (_("Made"), str(card.get("created") or "")[:10]),
    ]
    rows += [(_("Note"), text) for text in model.cautions()]
    return [(title, str(text or unknown)) for title, text in rows]


def calibration_text(model: Mapping[str, Any]) -> str:
    """Whether probabilities can be taken as frequencies: of a card, or of what a prediction keeps of it."""
    temperature, change = model.get("temperature"), model.get("recalibration")
    if change:
        text = _("recalibrated on {patients} patients of another cohort ({part})")
        return text.format(patients=change.get("patients"), part=change.get("fitted_on"))
    if temperature:
        return _("calibrated by temperature {value:.2f}").format(value=temperature)
    return _("not calibrated: 0.8 does not mean eight in ten")


def metric_lines(model: Mapping[str, Any]) -> list[str]:
    """AUC and accuracy on the test set with their 95 % intervals, per patient where known; `model` as above."""
    from MolSubCore.models.card import test_figures

    unit, metrics = test_figures(model)
    lines = []
    for name, value in metrics.items():
        if name.lower() not in ("auc", "macro auc", "accuracy") or value.get("value") is None:
            continue
        text = f"{name.replace('auc', 'AUC')} {value['value']:.2f}"
        if value.get("low") is not None and value.get("high") is not None:
            text += _(" (95 % CI {low:.2f} to {high:.2f})").format(low=value["low"], high=value["high"])
        lines.append(text)
    if lines:
        lines.append(unit)
    if lines and model.get("recalibration"):
        lines.append(_("before the recalibration"))
    return lines
