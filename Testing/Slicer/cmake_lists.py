"""The lists of files in CMake: what Slicer installs, read and written. ``make cmake-lists``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class FileList:
    """A list of files in a CMakeLists.txt.

    Attributes
    ----------
    folder : str
        Folder of the CMakeLists.txt; the files are named from there.
    variable : str
        The variable that holds the list.
    subdir : str
        Folder within qt-scripted-modules where the files are installed.
    """

    folder: str
    variable: str
    subdir: str

    @property
    def path(self) -> Path:
        """The CMakeLists.txt."""
        return ROOT / self.folder / "CMakeLists.txt"

    def read(self) -> list[str]:
        """The files named in the list."""
        return self._match().group(1).split()

    def write(self, files: list[str]) -> None:
        """Replace the list, if it differs."""
        text, found = self.path.read_text(encoding="utf-8"), self._match()
        body = "".join(f"\n  {name}" for name in files)
        new = f"{text[: found.start(1)]}{body}\n  {text[found.end(1) :]}"
        if new != text:
            self.path.write_text(new, encoding="utf-8")

    def on_disk(self) -> list[str]:
        """The files that ought to be in the list."""
        base, scripts = ROOT / self.folder, self.variable.endswith("SCRIPTS")
        files = {
            path.relative_to(base)
            for path in base.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
        } - {Path("CMakeLists.txt")}
        return sorted(path.as_posix() for path in files if (path.suffix == ".py") == scripts)

    def _match(self) -> re.Match[str]:
        text = self.path.read_text(encoding="utf-8")
        found = re.search(rf"set\({self.variable}\b([^)]*)\)", text)
        if not found:
            raise ValueError(f"{self.path.name} in {self.folder} has no set({self.variable} ...)")
        return found


LISTS = (
    FileList("MolSubCore", "CORE_SCRIPTS", "MolSubCore"),
    FileList("MolSubCore", "CORE_RESOURCES", "MolSubCore"),
    FileList("MolSubSlicer", "MODULE_PYTHON_SCRIPTS", "."),
    FileList("MolSubSlicer", "MODULE_PYTHON_RESOURCES", "."),
)


def main() -> None:
    """Write all lists from the files on disk."""
    for each in LISTS:
        each.write(each.on_disk())
        print(f"{each.folder}/CMakeLists.txt: {each.variable} names {len(each.read())} files")


if __name__ == "__main__":
    main()
