"""Grad-CAM of several layers and classes in one pass (Selvaraju et al., 2017).

The map of layer activations A and class score s is ``ReLU(sum_k mean(ds/dA_k) A_k)``. One forward pass keeps
the activations of all layers asked for; the gradients of a score with respect to all of them come from one
backward pass that goes no further than the earliest of these layers and skips the weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from MolSubCore.errors import MolSubError
from MolSubCore.models.device import whole_float32
from MolSubCore.models.registry import resolve_layer

#: A map that adds less than this to its class's logit (to first order, summed over the map) carries no evidence,
#: however bright its scaled form is: without it no probability would change in the fourth decimal.
BLIND = 1e-4

#: What a heatmap explains: a class's logit, or its log-odds, which is what its probability depends on.
Target = Literal["logit", "log-odds"]


@dataclass(frozen=True, eq=False)
class Maps:
    """Heatmaps of one patch.

    Attributes
    ----------
    layers : tuple of str
        Dotted names, in the order asked for.
    classes : tuple of int
        Class indices, in the order asked for.
    raw : dict of str to ndarray of float32, shape (classes, h, w), or None
        After ReLU, at the layer's resolution; None for methods that give scaled maps only.
    scaled : dict of str to ndarray of float32, shape (classes, h, w)
        Each map's range stretched to [0, 1].
    blind : dict of str to tuple of bool
        Whether a map carries no evidence: its scaled form must not be interpreted.
    logits : ndarray of float32, shape (all classes,)
    method : str
    """

    layers: tuple[str, ...]
    classes: tuple[int, ...]
    raw: dict[str, NDArray[np.float32]] | None
    scaled: dict[str, NDArray[np.float32]]
    blind: dict[str, tuple[bool, ...]]
    logits: NDArray[np.float32]
    method: str = "gradcam"

    def patch_map(self, layer: str, position: int, size: int = 224) -> NDArray[np.float32]:
        """The scaled map of the class at `position` on the patch's grid, as the grad-cam library gives it.

        Bilinear, and stretched to [0, 1] once more: between its pixel centres a map does not reach its extremes.
        """
        resized = cv2.resize(self.scaled[layer][position], (size, size), interpolation=cv2.INTER_LINEAR)
        return stretch(resized[None])[0]

    def with_classes(self, other: Maps, classes: Sequence[int]) -> Maps:
        """These maps and those of other classes of the same patch, in the order of `classes`."""
        both = [*self.classes, *other.classes]
        order = [both.index(index) for index in classes]

        def joined(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.concatenate([first, second])[order]

        scaled = {layer: joined(self.scaled[layer], other.scaled[layer]) for layer in self.layers}
        raw = None
        if self.raw is not None and other.raw is not None:
            raw = {layer: joined(self.raw[layer], other.raw[layer]) for layer in self.layers}
        blind = {
            layer: tuple((*self.blind[layer], *other.blind[layer])[place] for place in order) for layer in self.layers
        }
        return Maps(self.layers, tuple(classes), raw, scaled, blind, self.logits, self.method)

    @staticmethod
    def mean(parts: Sequence[Maps]) -> Maps:
        """Mean over the members of an ensemble; scaled anew where raw maps are known."""
        first = parts[0]
        if len(parts) == 1:
            return first
        logits = np.mean([part.logits for part in parts], axis=0)
        blind = {
            layer: tuple(all(flags) for flags in zip(*(part.blind[layer] for part in parts), strict=True))
            for layer in first.layers
        }
        if any(part.raw is None for part in parts):
            scaled = {layer: np.mean([part.scaled[layer] for part in parts], axis=0) for layer in first.layers}
            return Maps(first.layers, first.classes, None, scaled, blind, logits, first.method)
        raw = {layer: np.mean([part.raw[layer] for part in parts], axis=0) for layer in first.layers}  # type: ignore[index]
        scaled = {layer: stretch(maps) for layer, maps in raw.items()}
        return Maps(first.layers, first.classes, raw, scaled, blind, logits, first.method)


def stretch(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each map (classes, h, w) minus its minimum, over its maximum, as the grad-cam library scales."""
    low = maps.min(axis=(1, 2), keepdims=True)
    shifted = maps - low
    return (shifted / (np.float32(1e-7) + shifted.max(axis=(1, 2), keepdims=True))).astype(np.float32)


def target_score(logits: Tensor, index: int, target: Target = "logit") -> Tensor:
    """A class's logit, or its log-odds: the logit less the log-sum-exp of the others; from logits (classes,).

    A logit means nothing by itself: one number added to all of them changes no probability.
    """
    if target == "logit":
        return logits[index]
    others = torch.cat([logits[:index], logits[index + 1 :]])
    return logits[index] - torch.logsumexp(others, dim=0)


def explain(
    model: nn.Module,
    inputs: Tensor,
    layers: Sequence[str],
    classes: Sequence[int] | Callable[[NDArray[np.float32]], Sequence[int]] | None = None,
    *,
    target: Target = "logit",
) -> Maps:
    """Grad-CAM maps of one patch for several layers and classes, in one forward pass.

    The model is left as it was found: no hooks, no ``.grad``, the same ``requires_grad`` flags.

    Parameters
    ----------
    model : nn.Module
        In eval mode.
    inputs : Tensor, shape (1, 1, size, size)
        A normalised patch, on the model's device.
    layers : sequence of str
        Dotted names of layers that give one tensor (1, C, h, w), or one that the model's own ``feature_map``
        brings into this form (a vision transformer's tokens).
    classes : sequence of int, or callable, optional
        Or what chooses them by the logits, shape (classes,); the class with the largest one when None.
    target : {'logit', 'log-odds'}
        See `target_score`.

    Returns
    -------
    Maps

    Raises
    ------
    MolSubError
        If a layer is unknown or its output is no feature map.
    """
    names = tuple(dict.fromkeys(layers))
    kept: dict[str, Tensor] = {}
    feature_map = feature_map_of(model)
    with frozen(model), _kept_outputs(model, names, kept), torch.enable_grad(), whole_float32():
        logits = model(inputs)[0]
        _check(names, {name: feature_map(output) for name, output in kept.items()})
        values = logits.detach().float().cpu().numpy()
        wanted = classes(values) if callable(classes) else classes
        chosen = tuple(wanted) if wanted is not None else (int(values.argmax()),)
        activations = [kept[name] for name in names]
        gradients = [
            torch.autograd.grad(target_score(logits, index, target), activations,
                                retain_graph=index != chosen[-1] or len(set(chosen)) > 1, allow_unused=True)
            for index in chosen
        ]  # fmt: skip
    raw = {
        name: _maps(feature_map(kept[name]), [None if one[n] is None else feature_map(one[n]) for one in gradients])
        .cpu()
        .numpy()
        for n, name in enumerate(names)
    }
    blind = {name: tuple(not float(one.sum()) > BLIND for one in maps) for name, maps in raw.items()}
    return Maps(names, chosen, raw, {name: stretch(maps) for name, maps in raw.items()}, blind, values)


def feature_map_of(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The model's own function that brings a layer's output into the form (B, C, h, w); else the identity."""
    own: Callable[[Tensor], Tensor] | None = getattr(model, "feature_map", None)
    return own or (lambda output: output)


@contextlib.contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """The model's weights without gradients for a while, so that no graph is built for them."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@contextlib.contextmanager
def _kept_outputs(model: nn.Module, names: Sequence[str], kept: dict[str, Tensor]) -> Iterator[None]:
    """Keep the layers' outputs; the graph starts at the first one."""
    handles = []

    def keep(name: str) -> object:
        def hook(module: nn.Module, arguments: object, output: object) -> object:
            if not isinstance(output, Tensor):
                return None
            if not output.requires_grad:
                output = output.detach().requires_grad_(True)
            kept[name] = output
            # A copy for the rest of the network: its in-place operations must not reach what is kept.
            return output.clone()

        return hook

    try:
        for name in names:
            handles.append(resolve_layer(model, name).register_forward_hook(keep(name)))  # type: ignore[arg-type]
        yield
    finally:
        for handle in handles:
            handle.remove()


def _check(names: Sequence[str], kept: dict[str, Tensor]) -> None:
    for name in names:
        if name not in kept or kept[name].ndim != 4:
            found = "gives no tensor" if name not in kept else f"gives a tensor of shape {tuple(kept[name].shape)}"
            raise MolSubError("layer", f"{name} {found}, expected a feature map (1, C, h, w)", "Choose another layer")


def _maps(activation: Tensor, gradients: Sequence[Tensor | None]) -> Tensor:
    """Weighted sums of an activation (1, C, h, w) for several gradients; shape (classes, h, w), float32."""
    activation = activation.detach().float()[0]
    weights = torch.stack(
        [
            activation.new_zeros(len(activation)) if gradient is None else gradient.float()[0].mean(dim=(1, 2))
            for gradient in gradients
        ]
    )
    return torch.relu(torch.einsum("kc,chw->khw", weights, activation))
