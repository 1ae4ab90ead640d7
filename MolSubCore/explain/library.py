"""The grad-cam library's other methods, by name."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from MolSubCore.errors import MolSubError
from MolSubCore.explain.gradcam import BLIND, Maps, frozen, stretch
from MolSubCore.models.registry import resolve_layer

#: Name on the command line to class of `pytorch_grad_cam`.
METHODS = {
    "gradcam-library": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "hirescam": "HiResCAM",
    "xgradcam": "XGradCAM",
    "layercam": "LayerCAM",
    "eigencam": "EigenCAM",
    "eigengradcam": "EigenGradCAM",
    "gradcamelementwise": "GradCAMElementWise",
    "ablationcam": "AblationCAM",
    "scorecam": "ScoreCAM",
}

#: Methods that do not depend on the class: their maps show what varies most in the activations.
CLASSLESS = frozenset({"eigencam"})


def check_method(method: str) -> None:
    """MolSubError, with the known ones, where `method` is none of `METHODS`."""
    if method not in METHODS:
        raise MolSubError("method", f"unknown value '{method}'", f"Choose one of gradcam, {', '.join(METHODS)}")


def explain_with_library(
    model: nn.Module, inputs: Tensor, layers: Sequence[str], classes: Sequence[int] | None, method: str
) -> Maps:
    """Maps of one patch by a method of the grad-cam library, one layer and class after another.

    Parameters
    ----------
    model, inputs, layers, classes
        As in `MolSubCore.explain.gradcam.explain`.
    method : str
        One of `METHODS`.

    Returns
    -------
    Maps
        `raw` is None: the library gives scaled maps only, at the patch's resolution. A map that is the same
        everywhere is flagged as blind, and every map of a model whose logits all but agree.

    Raises
    ------
    MolSubError
        If the method is unknown.
    """
    check_method(method)
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    maker = getattr(importlib.import_module("pytorch_grad_cam"), METHODS[method])
    with torch.no_grad():
        logits = model(inputs)[0].float().cpu().numpy()
    chosen = tuple(classes) if classes is not None else (int(logits.argmax()),)
    scaled = {}
    with _left_as_found(model):
        for name in dict.fromkeys(layers):
            layer = resolve_layer(model, name)
            cam = maker(model, [layer], **_for_tokens(model, layer, inputs, method))
            # The library keeps the layer's output itself; an in-place operation after it must not reach that.
            copying = layer.register_forward_hook(lambda module, arguments, output: output.clone())
            try:  # not its own `with`, which swallows IndexError
                # The weights are frozen: without a gradient for the input the library would find no graph.
                asked = inputs.detach().clone().requires_grad_(True)
                maps = [cam(asked, [ClassifierOutputTarget(index)])[0] for index in chosen]
            finally:
                copying.remove()
                cam.activations_and_grads.release()
            scaled[name] = stretch(np.stack(maps).astype(np.float32))
    mute = float(np.ptp(logits)) <= BLIND
    blind = {name: tuple(mute or bool(np.ptp(one) < 1e-6) for one in maps) for name, maps in scaled.items()}
    return Maps(tuple(scaled), chosen, None, scaled, blind, logits, method)


def _for_tokens(model: nn.Module, layer: nn.Module, inputs: Tensor, method: str) -> dict[str, Any]:
    """Options for a model whose layers give tokens: how to lay them out, which axis to ablate."""
    own = getattr(model, "feature_map", None)
    if own is None:
        return {}
    options: dict[str, Any] = {"reshape_transform": own}
    if method == "ablationcam":
        from pytorch_grad_cam.ablation_layer import AblationLayerVit

        axes: list[int] = []
        handle = layer.register_forward_hook(lambda module, arguments, output: axes.append(output.ndim))
        with torch.no_grad():
            model(inputs)
        handle.remove()
        if axes == [3]:
            options["ablation_layer"] = AblationLayerVit()
    return options


@contextlib.contextmanager
def _left_as_found(model: nn.Module) -> Iterator[None]:
    """Freeze the weights, then restore flags, gradients and modes, all of which the library changes."""
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    try:
        with frozen(model):
            yield
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient
        for module, training in modes:
            module.training = training
