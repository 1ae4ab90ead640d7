"""The grad-cam library's other methods, by name."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from MolSubCore.errors import MolSubError
from MolSubCore.explain.gradcam import Maps, stretch
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
        `raw` is None: the library gives scaled maps only, at the patch's resolution. A map that is the
        same everywhere is flagged as blind.

    Raises
    ------
    MolSubError
        If the method is unknown.
    """
    if method not in METHODS:
        raise MolSubError("method", f"unknown value '{method}'", f"Choose one of gradcam, {', '.join(METHODS)}")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    maker = getattr(importlib.import_module("pytorch_grad_cam"), METHODS[method])
    with torch.no_grad():
        logits = model(inputs)[0].float().cpu().numpy()
    chosen = tuple(classes) if classes is not None else (int(logits.argmax()),)
    trained = [p for p in model.parameters() if p.requires_grad]
    grads = [p.grad for p in trained]
    scaled = {}
    try:
        for name in dict.fromkeys(layers):
            cam = maker(model, [resolve_layer(model, name)])
            try:  # its own `with` swallows IndexError
                maps = [cam(inputs.clone(), [ClassifierOutputTarget(index)])[0] for index in chosen]
            finally:
                cam.activations_and_grads.release()
            scaled[name] = stretch(np.stack(maps).astype(np.float32))
    finally:
        for parameter, grad in zip(trained, grads, strict=True):
            parameter.grad = grad
    blind = {name: tuple(bool(np.ptp(one) < 1e-6) for one in maps) for name, maps in scaled.items()}
    return Maps(tuple(scaled), chosen, None, scaled, blind, logits, method)
