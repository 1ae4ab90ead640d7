"""Licences of everything in the lock file, from the installed packages' own metadata.

``python Testing/Core/licences.py`` writes Testing/requirements/licences.csv: name, version, SPDX, what needs it.
Packages of other systems and Pythons, which are not installed here, keep the row that they have.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LIST = Path(__file__).resolve().parents[1] / "requirements" / "licences.csv"
LOCK = LIST.with_name("lock.txt")

#: Permissive, or copyleft of their own files only: they ask for a notice, and nothing of this project's code.
ALLOWED = {
    *("0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0"),
    *("ISC", "MIT", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Zlib"),
}
#: All others, by package, and why they are here all the same.
ATTENTION = {
    "pylibjpeg-libjpeg": "GPL: installed beside this project, never part of it; binds who passes on both together",
    "mirp": "EUPL-1.2: copyleft; radiomics baselines only, an extra",
    "pyside6-essentials": "LGPL: tests only",
    "shiboken6": "LGPL: tests only",
}
#: NVIDIA's libraries for PyTorch on Linux, of these names: free to use with NVIDIA's hardware, not open.
_NVIDIA = re.compile(r"(nvidia|cuda)-.*")
#: How packages without an SPDX expression name their licence, in the field or the classifier.
_SPDX = {
    "mit": "MIT", "mit license": "MIT", "bsd 3-clause license": "BSD-3-Clause", "bsd-3-clause": "BSD-3-Clause",
    "2-clause bsd": "BSD-2-Clause", "apache": "Apache-2.0", "apache 2.0": "Apache-2.0", "apache-2.0": "Apache-2.0",
    "apache license": "Apache-2.0", "apache 2.0 license": "Apache-2.0", "apache software license": "Apache-2.0",
    "python software foundation license": "PSF-2.0", "gpl v3.0": "GPL-3.0-only", "mpl-2.0 and mit": "MPL-2.0 AND MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0", "nvidia proprietary software": "LicenseRef-NVIDIA-Proprietary",
    "bsd-3-clause, apache-2.0, dependency licenses": "BSD-3-Clause AND Apache-2.0", "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause", "other/proprietary license": "LicenseRef-NVIDIA-Proprietary",
}  # fmt: skip
#: Whose metadata say less than their licence file.
_KNOWN = {"nvidia-nvtx": "Apache-2.0", "cuda-toolkit": "LicenseRef-NVIDIA-Proprietary"}


@dataclass(frozen=True)
class Package:
    """An installed package and its licence."""

    name: str
    version: str
    spdx: str
    needed_by: str


def locked() -> dict[str, list[Requirement]]:
    """Entries of the lock file by package; one package may have several versions, for several Pythons."""
    found: dict[str, list[Requirement]] = {}
    for entry in re.split(r"\n(?=\S)", LOCK.read_text(encoding="utf-8").strip()):
        need = Requirement(entry.partition("\\")[0].partition("--hash")[0].strip())
        found.setdefault(canonicalize_name(need.name), []).append(need)
    return found


def packages() -> list[Package]:
    """What molsubslicer needs and the lock file names, as installed here: to run, else for its extras and tests."""
    lock, found = locked(), {}
    for extra, what in (("", "run"), ("radiomics", "extra"), ("slurm", "extra"), ("test", "test")):
        for package in _closure("molsubslicer", extra, set()):
            name = canonicalize_name(package.metadata["Name"])
            if any(need.specifier.contains(package.version) for need in lock.get(name, ())):
                found.setdefault(name, Package(name, package.version, spdx(package), what))
    return [found[name] for name in sorted(found)]


def listed() -> dict[str, dict[str, str]]:
    """The rows of the list, by package."""
    with LIST.open(encoding="utf-8", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def _closure(name: str, extra: str, seen: set[tuple[str, str]]) -> Iterator[Distribution]:
    if (name, extra) in seen:
        return
    seen.add((name, extra))
    try:
        package = distribution(name)
    except PackageNotFoundError:  # of another system, or an extra that is not installed
        return
    yield package
    for text in package.requires or ():
        need = Requirement(text)
        if need.marker is None or need.marker.evaluate({"extra": extra}):
            for one in ("", *sorted(need.extras)):
                yield from _closure(canonicalize_name(need.name), one, seen)


def spdx(package: Distribution) -> str:
    """The SPDX expression of a package; `unknown: ...` where it cannot be told."""
    name, meta = canonicalize_name(package.metadata["Name"]), package.metadata
    if name in _KNOWN:
        return _KNOWN[name]
    if expression := meta.get("License-Expression"):
        return expression
    field = (meta.get("License") or "").strip()
    classes = [line.split("::")[-1].strip() for line in meta.get_all("Classifier") or () if line.startswith("License")]
    for text in (field.splitlines()[0] if field else "", *classes):
        if text.startswith("LicenseRef-"):
            return text
        if text.casefold() in _SPDX:
            return _SPDX[text.casefold()]
        if re.fullmatch(r"[A-Za-z0-9.-]+( (OR|AND) [A-Za-z0-9.-]+)+", text):
            return text
    return f"unknown: {field[:40]} {classes}"


def is_allowed(expression: str) -> bool:
    """Whether one of the alternatives of an SPDX expression has allowed parts only."""
    return any(
        all(part.strip(" ()") in ALLOWED for part in choice.split(" AND ")) for choice in expression.split(" OR ")
    )


def needs_attention(package: Package) -> bool:
    """Whether its licence is not one of the allowed ones."""
    return not is_allowed(package.spdx)


def reason(package: Package) -> str:
    """Why a package with another licence is here; empty where nobody has said so."""
    if _NVIDIA.fullmatch(package.name) and package.spdx == "LicenseRef-NVIDIA-Proprietary":
        return "NVIDIA's own licence: libraries that PyTorch's wheels for Linux need; not passed on by this project"
    return ATTENTION.get(package.name, "")


def main() -> None:
    """Write the list."""
    rows = {one.name: one for one in packages()}
    former = listed()
    for name in locked():
        if name not in rows:
            row = former.get(name, {"version": "", "spdx": "unknown: not installed here", "needed_by": "test"})
            rows[name] = Package(name, row["version"], row["spdx"], row["needed_by"])
    with LIST.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("name", "version", "spdx", "needed_by", "attention"))
        for name in sorted(rows):
            one = rows[name]
            writer.writerow((name, one.version, one.spdx, one.needed_by, reason(one) if needs_attention(one) else ""))


if __name__ == "__main__":
    main()
