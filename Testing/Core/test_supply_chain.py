"""What is installed: bounds that a lock file satisfies, and licences that were looked at."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import licences
import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
SYSTEMS = {
    "linux": ("Linux", "posix", "x86_64"),
    "win32": ("Windows", "nt", "AMD64"),
    "darwin": ("Darwin", "posix", "arm64"),
}


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


@pytest.mark.parametrize(("python", "system"), list(itertools.product(("3.10", "3.11", "3.12", "3.13"), SYSTEMS)))
def test_the_lock_satisfies_the_project(python: str, system: str) -> None:
    lock, here = licences.locked(), environment(python, system)
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
    text = licences.LOCK.read_text(encoding="utf-8")
    for entry in re.split(r"\n(?=\S)", text.strip()):
        hashes = re.findall(r"--hash=(\S+)", entry)
        assert hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), entry.splitlines()[0]
    assert "://" not in text and "index-url" not in text and "find-links" not in text


def test_every_licence_of_the_lock_was_looked_at() -> None:
    listed = licences.listed()
    assert set(licences.locked()) == set(listed), "run make licences"
    for row in listed.values():
        package = licences.Package(row["name"], row["version"], row["spdx"], row["needed_by"])
        assert licences.is_allowed(package.spdx) or licences.reason(package), f"{package}: not explained"
    # Versions other than the locked ones, which a user may well have, are not compared.
    for package in licences.packages():
        assert listed[package.name]["spdx"] == package.spdx, f"{package}; run make licences"


def test_what_runs_has_no_copyleft_but_what_is_named() -> None:
    rows = [row for row in licences.listed().values() if row["needed_by"] == "run"]
    found = {row["name"] for row in rows if not licences.is_allowed(row["spdx"])}
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
