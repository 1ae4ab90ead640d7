"""The command line itself: help, examples, misspelt words, completion, and errors that come before PyTorch does."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from MolSubCore.__main__ import main
from MolSubCore.cli.app import build_parser
from MolSubCore.cli.completion import SHELLS, script
from MolSubCore.cli.parts import all_commands
from MolSubCore.files import write_json

ROOT = Path(__file__).resolve().parents[2]


def test_every_command_has_examples_that_it_understands() -> None:
    for name, parser in all_commands(build_parser()):
        if parser.commands():
            continue
        lines = [line.strip() for line in (parser.epilog or "").splitlines()[1:]]
        assert lines, name
        for line in lines:
            words = shlex.split(line.partition(" > ")[0])
            assert words[0] == "molsub"
            assert " ".join(words[1:]).startswith(name)
            assert build_parser().parse_args(words[1:]).handler == parser.get_default("handler")
        assert all(line in parser.format_help() for line in lines), name


@pytest.mark.parametrize("words", [[], ["cohort"], ["models"]])
def test_a_command_of_commands_alone_shows_its_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {' '.join(['molsub', *words])}")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("predcit a.dcm", "unknown command predcit: did you mean predict?"),
        ("check t.csv", "did you mean cohort check?"),
        ("cohort chekc t.csv", "did you mean check?"),
        ("xyz", "the commands are demo, cohort"),
        ("predict a.dcm --modle m --out o", "unknown option --modle: did you mean --model?"),
        ("train t.csv --task tn --out o --lr 1", "did you mean --learning-rate?"),
        ("train t.csv --out o --task lumnal", "did you mean luminal?"),
        ("models import a.pth --task tn --out o -x", "unknown option -x"),
        ("predict a.dcm --model m --out=", "--out is '', expected a path"),
    ],
)
def test_a_misspelt_word_is_told_with_the_nearest(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words.split())
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
def test_bash_completes_commands_options_and_choices(tmp_path: Path) -> None:
    (tmp_path / "molsub").write_text(script("bash", build_parser()))
    asked = {
        "molsub pre": ["predict"],
        "molsub cohort ch": ["check"],
        "molsub predict --mod": ["--model"],
        "molsub predict --device c": ["cpu", "cuda"],
        "molsub cohort import opt": ["optimam"],
        "molsub cohort check --for ": ["train", "predict", "outline"],
        "molsub predict --device = c": ["cpu", "cuda"],  # as bash parts --device=c
        "molsub cohort check --for =": ["train", "predict", "outline"],
        "molsub predict --device=c": ["--device=cpu", "--device=cuda"],  # as zsh leaves it
        "molsub predict --model = ": [],
        "molsub predict imag": [],  # a file
        "molsub predict --model ": [],
    }
    ask = 'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _molsub; echo "${COMPREPLY[@]}"'
    for line, expected in asked.items():
        words = line.split(" ")
        done = subprocess.run(
            ["bash", "-c", f"source {shlex.quote(str(tmp_path / 'molsub'))}; {ask}", "bash", *words],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == expected, line


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_knows_every_command_and_option(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    for name, parser in all_commands(build_parser()):
        assert all(word in text for word in name.split())
        for option in parser.options():
            assert (f"-l {option[2:]} " if shell == "fish" else option) in text, (name, option)


WORK = """
import sys, time, types
from MolSubCore import __main__ as program

class Parser:
    def parse_args(self, words):
        return types.SimpleNamespace(handler=work, after_interrupt="")

def work(options):
    with open(sys.argv[1], "w") as file:
        for _ in range(3):
            print("said", flush=True)
            print("complained", file=sys.stderr, flush=True)
            time.sleep(0.2)
        file.write("done")
    return 0

program.build_parser = Parser
sys.exit(program.main())
"""


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
@pytest.mark.parametrize("streams", [">&-", "2>&-", "<&- >&- 2>&-", "| head -1", "2>&1 | head -1", "> /dev/full"])
def test_nobody_has_to_listen(tmp_path: Path, streams: str) -> None:
    (tmp_path / "work.py").write_text(WORK)
    line = f"set -o pipefail; {shlex.quote(sys.executable)} work.py result {streams}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    full = "full" in streams
    assert done.returncode == 2 * full
    assert (tmp_path / "result").read_text() == ("" if full else "done")
    assert "Exception" not in done.stderr and "Traceback" not in done.stderr
    if full:
        assert "the disk is full" in done.stderr


TROUBLE = """
import json, sys
from MolSubCore.__main__ import main
for words in json.loads(sys.argv[1]):
    code = main(words)
    assert code == 2, (words, code)
    assert not {"torch", "sklearn", "matplotlib"} & set(sys.modules), words
"""


def test_trivial_errors_come_before_pytorch(tmp_path: Path) -> None:
    """Paths, tables, names: told at once, not after the seconds that PyTorch takes to load."""
    out, table = str(tmp_path / "out"), tmp_path / "t.csv"
    table.write_text("patient_id,image,mask,subtype\nA,i.dcm,m.png,TN\nB,i.dcm,m.png,Luminal A\n")
    (tmp_path / "run").mkdir()
    write_json(tmp_path / "run" / "plan.json", {"architecture": "densenet121-cbam+tta", "task": "tn"})
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    card = {
        "format": "molsub-bundle", "format_version": 1, "task": "tn", "classes": ["non-TN", "TN"], "dropout": 0.3,
        "architecture": "simple-cnn", "recipe": {"name": "default", "bound": 5, "bound_unit": "px"},
        "members": [{"file": "m", "sha256": "0" * 64}],
    }  # fmt: skip
    write_json(bundle / "bundle.json", card)
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "broken.molsub").touch()
    predict = ["predict", "--model", str(bundle), "--out", out]
    faulty = [
        [*predict, str(tmp_path / "none.dcm"), "--lesion", "1,2,3,4"],
        [*predict, str(table), "--lesion", "1,2,3,4"],
        [*predict, str(tmp_path)],
        [*predict, str(tmp_path / "none.csv")],
        ["predict", "--model", "none", "--out", out, str(table)],
        ["predict", "--model", str(bundle), "--out", str(tmp_path), str(table)],
        ["train", str(tmp_path), "--task", "tn", "--out", out],
        ["train", str(table), "--task", "tn", "--out", out, "--architecture", "desnet"],
        ["train", str(table), "--task", "tn", "--out", out, "--epochs", "0"],
        ["train", str(table), "--task", "tn", "--out", out],
        ["train", str(table), "--task", "tn", "--out", str(tmp_path / "run")],
        ["study", str(tmp_path / "none.csv"), "--out", out],
        ["study", str(table), "--out", out, "--clinical", "aeg"],
        ["evaluate", str(bundle), str(table), "--out", str(tmp_path)],
        ["evaluate", str(bundle), str(table), "--out", out, "--subgroup", "centre"],
        ["explain-study", str(tmp_path / "none.csv"), "--model", str(bundle), "--out", out],
        ["models", "export", str(tmp_path / "run"), "--out", out],
        ["models", "export", str(tmp_path), "--out", out],
        ["models", "import", str(tmp_path / "none.pth"), "--task", "tn", "--out", out],
        ["cohort", "check", str(tmp_path)],
        ["models", "import", str(table), "--task", "tn", "--out", out],
        ["models", "import", str(table), "--task", "tn", "--out", str(tmp_path / "run")],
        ["models", "import", str(table), "--task", "tn", "--out", f"{out}.pth"],
        ["models", "import", str(table), "--task", "tn", "--out", out, "--class-order", "TN,x"],
        ["models", "list", "--library", str(tmp_path / "none")],
        ["models", "list", "--library", str(table)],
        ["models", "list", "--library", str(tmp_path / "library")],
        ["demo", "--out", str(table)],
        ["demo", "--out", str(tmp_path)],
        ["demo", "--out", out, "--patients", "25"],
        ["evaluate", str(tmp_path / "none")],
        ["evaluate", str(tmp_path), "--resamples", "0"],
        ["evaluate", str(tmp_path / "none.molsub"), str(table), "--out", out],
        ["evaluate", str(tmp_path / "none.molsub"), str(tmp_path / "none.csv"), "--out", out],
        ["models", "export", str(tmp_path / "none"), "--out", out],
    ]
    done = subprocess.run(
        [sys.executable, "-c", TROUBLE, json.dumps(faulty)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == len(faulty), done.stderr
    assert "molsub cohort make" in lines[6]
    assert "densenet121-cbam" in lines[7]
    assert "fusion" in lines[16]
    assert not (tmp_path / "out").exists()
