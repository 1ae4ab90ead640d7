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

    def is_of(self, known: Mapping[str, Any]) -> bool:
        """Whether a prediction, by what it says of its model, was made with this one; of before by its weights."""
        from MolSubCore.models.card import bundle_hash

        if known.get("bundle_sha256"):
            return bool(known["bundle_sha256"] == bundle_hash(self.card))
        return bool(self.sha256 == known.get("sha256"))

    def clinical(self) -> list[str]:
        """Clinical values that it uses, each with what it may be."""
        from MolSubCore.models.card import clinical_columns

        number = _("a number")
        columns = clinical_columns(self.card).items()
        return [f"{name} ({', '.join(one['values']) or number})" for name, one in columns]

    def summary(self) -> str:
        """Task and architecture in one line."""
        from MolSubCore.models.card import fusion_title
        from MolSubCore.models.registry import ARCHITECTURES
        from MolSubCore.tasks import TASKS

        architecture = self.card["architecture"]
        known = ARCHITECTURES.get(architecture)
        parts = [TASKS[self.card["task"]].title, known.title if known else architecture]
        members = len(self.card["members"])
        if members > 1:
            parts.append(_("{count} networks averaged").format(count=members))
        if fused := fusion_title(self.card):
            parts.append(fused)
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
    from MolSubCore.models.card import card_rows, test_summary

    test = ", ".join(test_summary(model.card)) or _("not recorded")
    notes = [(_("Note"), text) for text in model.cautions()]
    return [(_("File"), model.file_name), *card_rows(model.card), (_("Test set"), test), *notes]
