"""Where and how precisely to compute."""

from __future__ import annotations

import pytest
import torch

from MolSubCore.errors import MolSubError
from MolSubCore.models.device import has_native_bf16, resolve_device, resolve_precision


@pytest.mark.parametrize(("available", "chosen"), [(True, "cuda"), (False, "cpu")])
def test_devices(monkeypatch: pytest.MonkeyPatch, available: bool, chosen: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert resolve_device("auto") == torch.device(chosen)
    assert resolve_device("cpu") == torch.device("cpu")
    if available:
        assert resolve_device("cuda") == torch.device("cuda")
    else:
        with pytest.raises(MolSubError, match="--device cpu"):
            resolve_device("cuda")


@pytest.mark.parametrize("name", ["gpu", "CPU", "", "cuda:1"])
def test_unknown_devices(name: str) -> None:
    with pytest.raises(MolSubError, match="Choose auto, cpu or cuda"):
        resolve_device(name)


def test_precision() -> None:
    assert resolve_precision("fp32", "cuda") == resolve_precision("fp32", torch.device("cpu")) == "fp32"
    assert resolve_precision("bf16", "cpu") == "bf16"
    assert resolve_precision("auto", torch.device("cpu")) == ("bf16" if has_native_bf16() else "fp32")
    with pytest.raises(MolSubError, match=r"unknown value 'fp16'.*Choose auto, fp32 or bf16"):
        resolve_precision("fp16", "cpu")


def test_native_bf16_agrees_with_the_processor() -> None:
    try:
        flags = next(line for line in open("/proc/cpuinfo") if line.startswith("flags")).split()  # noqa: PTH123, SIM115
    except (OSError, StopIteration):
        pytest.skip("no /proc/cpuinfo with flags")
    if "AVX512" not in torch.backends.cpu.get_cpu_capability():
        assert not has_native_bf16()
    else:
        assert has_native_bf16() == ("avx512_bf16" in flags or "amx_tile" in flags)
