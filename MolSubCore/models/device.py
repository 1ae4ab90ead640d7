"""Where to compute, how precisely, and how a patch gets there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Literal

import torch
from numpy.typing import NDArray

from MolSubCore.errors import MolSubError
from MolSubCore.lesions.preprocessing import Recipe


def resolve_device(name: str) -> torch.device:
    """``auto``, ``cpu`` or ``cuda`` as a device; `auto` is a GPU where there is one.

    Raises
    ------
    MolSubError
        If a GPU is asked for and PyTorch sees none.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise MolSubError("device", f"unknown value '{name}'", "Choose auto, cpu or cuda")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise MolSubError("device", "is cuda, and PyTorch sees no GPU", "Install the GPU's driver, or use --device cpu")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


@contextlib.contextmanager
def whole_float32() -> Iterator[None]:
    """Convolutions with all bits of float32; TensorFloat-32, a GPU's default, has 13 fewer, and other results."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def has_native_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; where it does not, bf16 is many times slower."""
    capability = torch.backends.cpu.get_cpu_capability()
    if "AVX512" not in capability:
        return False
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    amx = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool((probe and probe()) or (amx and amx()))


def resolve_precision(name: str, device: torch.device | str) -> Literal["fp32", "bf16"]:
    """``auto``, ``fp32`` or ``bf16`` as ``fp32`` or ``bf16``; `auto` is bf16 where the hardware has it."""
    if name == "fp32":
        return "fp32"
    if name == "bf16":
        return "bf16"
    if name != "auto":
        raise MolSubError("precision", f"unknown value '{name}'", "Choose auto, fp32 or bf16")
    native = torch.cuda.is_bf16_supported() if str(device).startswith("cuda") else has_native_bf16()
    return "bf16" if native else "fp32"


def to_input(patches: NDArray[Any], recipe: Recipe, device: torch.device | str) -> torch.Tensor:
    """Patches as their recipe makes them, (N, size, size), as a model's input (N, 1, size, size) on `device`."""
    return torch.from_numpy(recipe.normalise(patches)).to(device, memory_format=torch.channels_last)
