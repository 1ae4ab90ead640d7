"""README and documentation pages: their commands parse, their examples run, their links lead somewhere."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import case

from MolSubCore import DISCLAIMER, __version__
from MolSubCore.cli.app import build_parser
from MolSubCore.cli.parts import all_commands
from MolSubCore.models.registry import ARCHITECTURES
from MolSubCore.tasks import PAPER_TASKS, TASKS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "Resources" / "Documentation").glob("*.md"))
README, TESTING = ROOT / "README.md", ROOT / "Testing" / "README.md"
DOI = "10.3389/fonc.2025.1638212"

every_page = pytest.mark.parametrize("page", [README, TESTING, *PAGES], ids=lambda page: str(page.relative_to(ROOT)))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text_of(page), flags=re.DOTALL)


def shell_lines(page: Path) -> list[list[str]]:
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def anchors(page: Path) -> set[str]:
    """What a heading is called in a link: as GitHub does it."""
    titles = re.findall(r"^#+ (.*)$", text_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_begins_with_a_picture_the_warning_and_what_is_known() -> None:
    text = text_of(README)
    order = ["![", "Research use only. Not a medical device", "no result of our own on patients", "make demo"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "not for diagnosis" in text.casefold()
    assert "Research use only. Not a medical device" in DISCLAIMER
    assert len(text.splitlines()) <= 180


def test_the_readme_lists_every_page() -> None:
    text = text_of(README)
    assert PAGES and all(f"](Resources/Documentation/{page.name})" in text for page in PAGES)


@every_page
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        name, _, anchor = target.partition("#")
        if target.startswith("https://"):
            continue
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@every_page
def test_commands_parse(page: Path) -> None:
    """Those in blocks, and what is named of them within the text."""
    for words in shell_lines(page):
        if words[0] == "molsub":
            assert build_parser().parse_args(words[1:]).handler, words
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", text_of(ROOT / "Makefile"), flags=re.MULTILINE), words
    known = dict(all_commands(build_parser()))
    prose = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    for code in re.findall(r"`molsub ([^`]+)`", prose):
        words = shlex.split(code)
        name = next(name for n in (2, 1, 0) if (name := " ".join(words[:n])) in known)
        assert name or words[0].startswith("-"), code
        options = [word for word in words if word.startswith("--")]
        assert all(option in known[name]._option_string_actions for option in options), code


def test_every_command_is_documented() -> None:
    shown = {" ".join(words) for page in (README, *PAGES) for words in shell_lines(page)}
    prose = " ".join(text_of(page) for page in PAGES)
    for name, parser in all_commands(build_parser()):
        if name and not parser.commands():
            assert any(line.startswith(f"molsub {name}") for line in shown) or f"`molsub {name}" in prose, name


def test_tables_of_tasks_and_architectures_are_complete() -> None:
    text = text_of(ROOT / "Resources" / "Documentation" / "commands.md")
    assert all(f"`{name}`" in text for name in (*TASKS, *ARCHITECTURES))


def test_the_overview_names_every_folder() -> None:
    text = text_of(ROOT / "Resources" / "Documentation" / "overview.md")
    for folder in ("MolSubCore", "MolSubSlicer/MolSubSlicerLib"):
        rooms = {path.parent.name for path in (ROOT / folder).glob("*/__init__.py")}
        assert len(rooms) > 5 and all(f"| `{room}` |" in text for room in rooms), rooms


def test_each_published_file_is_imported_as_its_task() -> None:
    """The authors' names of the files (their README) and the tasks that they are of."""
    imports = [words for words in shell_lines(README) if words[:3] == ["molsub", "models", "import"]]
    found = {words[3]: build_parser().parse_args(words[1:]).task for words in imports}
    tasks = {"ms": "subtype5", "l": "luminal", "tn": "tn", "HER2": "her2"}
    assert found == {f"prefered_model_for_{name}.pth": task for name, task in tasks.items()}
    assert set(found.values()) == set(PAPER_TASKS)


def test_the_python_example_of_the_readme_runs(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = blocks(README, "python")
    shutil.copy(workplace / "m.molsub", tmp_path / "model.molsub")
    for number, view in enumerate(("CC", "MLO")):
        image, mask = case(workplace, number)
        shutil.copy(image, tmp_path / f"R_{view}.dcm")
        shutil.copy(mask, tmp_path / f"R_{view}_lesion.nii.gz")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    assert "Luminal" in capsys.readouterr().out
    assert {"prediction.json", "report.html", "heatmaps"} <= {path.name for path in (tmp_path / "result").iterdir()}


def test_the_python_examples_of_the_pages_run(capsys: pytest.CaptureFixture[str]) -> None:
    for page in (TESTING, *PAGES):
        for example in blocks(page, "python"):
            exec(compile(example, page.name, "exec"), {})
    assert "densenet121-cbam torch.Size([1, 5])" in capsys.readouterr().out


def literals() -> Iterator[str]:
    """The texts of the program, with a gap where a value is put in."""
    for folder in ("MolSubCore", "MolSubSlicer"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(text_of(path))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield re.sub(r"\{\w*\}", "\0", node.value)
                elif isinstance(node, ast.JoinedStr):
                    parts = (part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
                    yield "".join(map(str, parts))


def test_the_messages_of_troubleshooting_are_the_programs() -> None:
    page = ROOT / "Resources" / "Documentation" / "troubleshooting.md"
    rows = [row for row in re.findall(r"^\| (.*?) \|", text_of(page), flags=re.MULTILINE) if "`" in row]
    messages = [message for row in rows for message in re.findall(r"`([^`]+)`", row)]
    texts = "\n".join(literals())
    for message in messages:
        assert message.replace("...", "\0") in texts, message
    assert len(messages) > 15


def test_the_citation_names_this_software_and_the_paper() -> None:
    citation = text_of(ROOT / "CITATION.cff")
    own, _, paper = citation.partition("references:\n")
    for line in ("cff-version: 1.2.0", f"version: {__version__}", "type: software", "license: MIT"):
        assert line in own.splitlines()
    assert all(re.search(rf"^{key}:", own, flags=re.MULTILINE) for key in ("message", "title", "authors"))
    assert f"doi: {DOI}" in paper
    assert re.findall(r"family-names: (\w+)", paper) == ["Luo", "Wei", "Gu", "Zhu", "Xu"]
    title, journal = (re.search(rf'{key}: "(.+)"', paper) for key in ("title", "journal"))
    assert title and journal and all(part in text_of(README) for part in (DOI, title[1], journal[1]))
