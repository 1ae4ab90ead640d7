"""What is installed: bounds that a lock file satisfies, and licences that were looked at."""

from __future__ import annotations

import csv
import itertools
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import licences
import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "Testing" / "requirements" / "lock.txt"
SYSTEMS = {
    "linux": ("Linux", "posix", "x86_64"),
    "win32": ("Windows", "nt", "AMD64"),
    "darwin": ("Darwin", "posix", "arm64"),
}


def locked() -> dict[str, list[Requirement]]:
    """Entries of the lock file by package; one package may have several versions, for several Pythons."""
    found = defaultdict(list)
    for entry in re.split(r"\n(?=\S)", LOCK.read_text(encoding="utf-8").strip()):
        need = Requirement(entry.partition("\\")[0].partition("--hash")[0].strip())
        found[canonicalize_name(need.name)].append(need)
    return found


def asked() -> list[Requirement]:
    """What pyproject.toml asks for, tests included."""
    project = pytest.importorskip("tomllib").loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [Requirement(text) for text in (*project["dependencies"], *project["optional-dependencies"]["test"])]


def environment(python: str, system: str) -> dict[str, Any]:
    platform_system, os_name, machine = SYSTEMS[system]
    return {
        **default_environment(), "python_version": python, "python_full_version": f"{python}.9", "extra": "",
        "sys_platform": system, "platform_system": platform_system, "os_name": os_name, "platform_machine": machine,
    }  # fmt: skip


@pytest.mark.parametrize(("python", "system"), list(itertools.product(("3.10", "3.11", "3.12"), SYSTEMS)))
def test_the_lock_satisfies_the_project(python: str, system: str) -> None:
    lock, here = locked(), environment(python, system)
    for need in asked():
        if need.marker is not None and not need.marker.evaluate(here):
            continue
        own = [one for one in lock[canonicalize_name(need.name)] if one.marker is None or one.marker.evaluate(here)]
        assert len(own) == 1, f"{need}: {own}; run make lock"
        (pin,) = own[0].specifier
        assert pin.operator == "=="
        assert need.specifier.contains(Version(pin.version)), f"{need}: {own[0]}; run make lock"


def test_every_bound_is_below_and_above() -> None:
    for need in asked():
        operators = {one.operator for one in need.specifier}
        assert operators in ({">=", "<"}, {"=="}), need


def test_the_lock_holds_hashes_and_no_hosts() -> None:
    text = LOCK.read_text(encoding="utf-8")
    for entry in re.split(r"\n(?=\S)", text.strip()):
        hashes = re.findall(r"--hash=(\S+)", entry)
        assert hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), entry.splitlines()[0]
    assert "://" not in text and "index-url" not in text and "find-links" not in text


def test_every_licence_was_looked_at() -> None:
    with licences.LIST.open(encoding="utf-8", newline="") as file:
        listed = {row["name"]: row for row in csv.DictReader(file)}
    for package in licences.packages():
        assert package.name in listed, f"{package.name} is not listed; run make licences"
        assert listed[package.name]["spdx"] == package.spdx, f"{package}; run make licences"
        assert licences.is_allowed(package.spdx) or licences.reason(package), f"{package}: not explained"


def test_what_runs_has_no_copyleft_but_what_is_named() -> None:
    found = {one.name for one in licences.packages() if one.needed_by == "run" and licences.needs_attention(one)}
    assert {name for name in found if not name.startswith(("nvidia-", "cuda-"))} <= {"pylibjpeg-libjpeg"}


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("Apache-2.0 WITH LLVM-exception AND BSD-3-Clause", True),
        ("unknown:  []", False),
        ("AGPL-3.0-or-later", False),
    ],
)
def test_expressions(expression: str, allowed: bool) -> None:
    assert licences.is_allowed(expression) is allowed
