"""Named preprocessing recipes: everything that decides what a patch looks like."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from MolSubCore.errors import MolSubError
from MolSubCore.imaging.display import AUTO


@dataclass(frozen=True)
class Recipe:
    """How a mammogram and a lesion become a patch.

    Attributes
    ----------
    name : str
    version : int
        Raised whenever the code behind the recipe gives other patches.
    bound : float
        Margin added to the lesion's box on every side.
    bound_unit : {'px', 'mm'}
    display : str
        Display step of `MolSubCore.imaging.display`; ``stored`` means the pixels as stored.
    clahe_clip : float or None
        Clip limit of scikit-image's adaptive histogram equalisation on the whole image; None: none.
    together : bool
        One ROI around all lesions of an image, instead of one for each.
    square : {'centred', 'published'}
        Whether the shorter side grows on both sides, or its left or top edge moves alone.
    resize : {'antialiased', 'opencv-linear'}
    patch_dtype : {'float16', 'uint8'}
        Patches are kept in [0, 1] (float16) or 0 to 255 (uint8).
    mean, std : float
        Normalisation of a patch in [0, 1] (ImageNet's first channel).
    size : int
        Rows and columns of a patch.
    """

    name: str
    version: int
    bound: float
    bound_unit: Literal["px", "mm"]
    display: str
    clahe_clip: float | None
    together: bool
    square: Literal["centred", "published"]
    resize: Literal["antialiased", "opencv-linear"]
    patch_dtype: Literal["float16", "uint8"]
    mean: float = 0.485
    std: float = 0.229
    size: int = 224

    def key(self) -> str:
        """SHA-256 of the recipe."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """The recipe in a plan or a bundle.

        Raises
        ------
        MolSubError
            If fields are missing, unknown, or of a version this program does not make.
        """
        try:
            recipe = cls(**values)
        except TypeError as error:
            raise MolSubError(
                "recipe", f"has other fields than expected ({error})", "Use the version that made it"
            ) from None
        known = next((r for r in _KNOWN if (r.name, r.version) == (recipe.name, recipe.version)), None)
        if known is None:
            found = f"{recipe.name} version {recipe.version}"
            have = ", ".join(f"{r.name} version {r.version}" for r in _KNOWN)
            raise MolSubError("recipe", f"is {found}, this program has {have}", "Use the version that made it")
        whole = replace(known, bound=recipe.bound, bound_unit=recipe.bound_unit)
        if recipe != whole or not _is_bound(recipe.bound, recipe.bound_unit):
            wrong = [name for name in values if getattr(recipe, name) != getattr(whole, name)] or ["bound"]
            found = f"{recipe.name} has another {', '.join(wrong)} than the recipe of that name"
            raise MolSubError("recipe", found, "Export or import the model again")
        return recipe

    def normalise(self, patches: NDArray[Any]) -> NDArray[np.float32]:
        """Stored patches (N, size, size) to the model's input (N, 1, size, size), float32."""
        values = patches.astype(np.float32)[:, None]
        if self.patch_dtype == "uint8":
            values /= np.float32(255)
        values -= np.float32(self.mean)
        values /= np.float32(self.std)
        return values


RECIPES = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            Recipe("default", 3, 100.0, "px", AUTO, None, False, "centred", "antialiased", "float16"),
            # The published preprocessing, bit for bit in its uint8 stages, with the clamp's rows and
            # columns the right way round.
            Recipe("published-2025", 1, 100.0, "px", "stored", 0.003, True, "published", "opencv-linear", "uint8"),
        )
    }
)

#: Those of models of before, which keep their former display so that their results stay the same.
_FORMER = (
    Recipe("default", 2, 100.0, "px", "auto-2", None, False, "centred", "antialiased", "float16"),
    Recipe("default", 1, 100.0, "px", "auto", None, False, "centred", "antialiased", "float16"),
)
_KNOWN = (*RECIPES.values(), *_FORMER)


def _is_bound(bound: Any, unit: Any) -> bool:
    number = isinstance(bound, int | float) and not isinstance(bound, bool)
    return number and 0 <= bound <= 2000 and unit in ("px", "mm")


def get_recipe(name: str, *, bound: float | None = None, bound_unit: Literal["px", "mm"] | None = None) -> Recipe:
    """The recipe called `name`, with another margin if asked.

    Raises
    ------
    MolSubError
        If the name is unknown or the bound is not between 0 and 2000.
    """
    if name not in RECIPES:
        raise MolSubError("recipe", f"unknown value '{name}'", f"Choose one of {', '.join(RECIPES)}")
    if bound is not None and not 0 <= bound <= 2000:
        raise MolSubError("bound", f"is {bound}, expected 0 to 2000", "Choose a value in this range")
    recipe = RECIPES[name]
    return replace(
        recipe,
        bound=recipe.bound if bound is None else float(bound),
        bound_unit=bound_unit or recipe.bound_unit,
    )
