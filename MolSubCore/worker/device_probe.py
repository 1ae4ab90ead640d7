"""Whether PyTorch can compute on a device: it may see one that it has no kernels for."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import nn

from MolSubCore.errors import reason_of

_GIB = 1 << 30
_DRIVER = "Update the GPU's driver, or install a PyTorch whose CUDA it can run; until then the processor (cpu) is used"
_KERNELS = {
    "cuda": "Install a PyTorch built for this GPU, or choose the processor (cpu) as the device",
    "cpu": "Install PyTorch again",
}
_TOLERANCE = 1e-3

Fault = tuple[str, str]


def probe(device: str, *, driver: str | None = None) -> tuple[dict[str, Any], list[Fault]]:
    """Run a small convolution and its gradient on a device, and compare it with the processor's result.

    Parameters
    ----------
    device : {'auto', 'cpu', 'cuda'}
        With ``auto`` the GPU where there is one, and where that fails the processor.
    driver : str, optional
        The NVIDIA driver's version: where there is one, a GPU is expected.

    Returns
    -------
    facts : dict
        ``cuda_build, threads``; if a device computed, ``device, kernel_seconds``, and of a GPU ``device_name,
        memory_gib``.
    faults : list of (str, str)
        Problem and remedy.
    """
    facts: dict[str, Any] = {"cuda_build": torch.version.cuda, "threads": torch.get_num_threads()}
    faults: list[Fault] = []
    available = device != "cpu" and torch.cuda.is_available()
    if not available and (device == "cuda" or (device == "auto" and driver is not None)):
        faults.append(_no_gpu(driver))
    for name in (["cuda"] if available else []) + ([] if device == "cuda" else ["cpu"]):
        try:
            seconds = kernel_seconds(name)
        except Exception as error:  # drivers and libraries raise many kinds
            text = reason_of(error)
            place = "GPU" if name == "cuda" else "processor"
            faults.append((f"A test computation on the {place} failed ({text})", _KERNELS[name]))
            continue
        facts |= {"device": name, "kernel_seconds": round(seconds, 4)}
        if name == "cuda":
            properties = torch.cuda.get_device_properties(torch.cuda.current_device())
            facts |= {"device_name": properties.name, "memory_gib": round(properties.total_memory / _GIB, 1)}
        break
    return facts, faults


def kernel_seconds(device: str) -> float:
    """Seconds of a convolution forward and backward, the second time; RuntimeError where the result is wrong."""
    torch.manual_seed(0)
    layer, patch = nn.Conv2d(4, 8, 3, padding=1), torch.randn(2, 4, 32, 32)
    expected = _gradient(layer, patch)
    layer, patch = layer.to(device), patch.to(device)
    _gradient(layer, patch)
    started = time.perf_counter()
    found = _gradient(layer, patch).cpu()  # waits for the device
    seconds = time.perf_counter() - started
    if not torch.allclose(found, expected, rtol=_TOLERANCE, atol=_TOLERANCE * float(expected.abs().max())):
        raise RuntimeError("it gave a wrong result")
    return seconds


def _gradient(layer: nn.Module, patch: torch.Tensor) -> torch.Tensor:
    inputs = patch.clone().requires_grad_(True)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad((layer(inputs) ** 2).sum(), inputs)
    return gradient


def _no_gpu(driver: str | None) -> Fault:
    if torch.version.cuda is None:
        return "This PyTorch is built without CUDA and cannot use an NVIDIA GPU", _KERNELS["cuda"]
    if driver is None:
        return "There is no NVIDIA driver on this computer", "Install it, or choose the processor (cpu) as the device"
    try:
        torch.cuda.init()
        reason = ""
    except Exception as error:
        reason = f" ({reason_of(error)})"
    return f"PyTorch, built for CUDA {torch.version.cuda}, sees no GPU with driver {driver}{reason}", _DRIVER
