"""``molsub evaluate``."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from MolSubCore import DISCLAIMER
from MolSubCore.cli.parts import EVALUATION_KEPT, MISSING, TRUST_IDS, Commands, add_command
from MolSubCore.cli.progress import Bars
from MolSubCore.errors import MolSubError
from MolSubCore.lock import alone_in

if TYPE_CHECKING:
    from MolSubCore.evaluation.external import ExternalOptions, ExternalValidation


_EXAMPLES = (
    "evaluate runs/tn",
    "evaluate tn.molsub centres.csv --out validation --subgroup centre",
    "evaluate tn.molsub centres.csv --out recalibration --recalibrate-on centre=A --recalibrated tn-a.molsub",
)


def add_evaluate(commands: Commands) -> None:
    """``molsub evaluate RUN``, and ``molsub evaluate BUNDLE TABLE``."""
    text = (
        "write the evaluation of a finished run again, or validate a model bundle on another cohort, with "
        "subgroups, calibration against the training's, and recalibration on a named part"
    )
    parser = add_command(commands, "evaluate", evaluate, text, EVALUATION_KEPT, _EXAMPLES)
    add = parser.add_argument
    add("source", metavar="RUN|BUNDLE", help="run folder, or with a table a model bundle or a name in the library")
    add("table", metavar="TABLE", nargs="?", help="table of another cohort: csv, tsv or xlsx")
    add("--out", metavar="DIR", help="folder to make for a validation")
    add(
        "--subgroup",
        action="append",
        default=[],
        metavar="COLUMN",
        help="also report results per group of this column, such as the centre; may be repeated "
        "(always: view, vendor, band of the column age, lesion size)",
    )
    add(
        "--recalibrate-on",
        metavar="COLUMN=VALUE",
        help="fit a recalibration on the patients with this value in a column, and judge it on all others",
    )
    add(
        "--recalibration",
        choices=("logistic", "temperature"),
        default="logistic",
        help="slope and intercepts (default), or the slope alone, which is 1 / temperature",
    )
    add("--recalibrated", metavar="BUNDLE", help="write the recalibrated model as a new bundle")
    add(
        "--overlap",
        choices=("refuse", "leave-out", "keep"),
        help="patients with images that the model was trained on: refuse the cohort (default), leave these patients "
        "out, or keep them; the page says it",
    )
    add("--missing", nargs="*", metavar="WORD", help=MISSING)
    add("--trust-ids", action="store_true", help=TRUST_IDS)
    add("--resamples", type=int, default=2000, help="bootstrap resamples (default 2000)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="device to compute on (default auto)")
    add("--cache", metavar="DIR", help="folder of the patch cache (default: the user's cache folder, or $MOLSUB_CACHE)")
    add("--identified", action="store_true", help="write patient_id into the table of predictions")
    add("--resume", action="store_true", help="go on in DIR: predictions that are done are kept")


#: Options that a run has no use for, with what they are where they are not given.
_OF_A_BUNDLE = (
    "out",
    "subgroup",
    "recalibrate_on",
    "recalibrated",
    "resume",
    "identified",
    "cache",
    "overlap",
    "trust_ids",
    "missing",
)


def evaluate(options: argparse.Namespace) -> int:
    """``molsub evaluate RUN``, and ``molsub evaluate BUNDLE TABLE``: exit code 2 where an image cannot be used."""
    return _evaluate_run(options) if options.table is None else _evaluate_bundle(options)


def _evaluate_run(options: argparse.Namespace) -> int:
    # All that needs no heavy library is checked before one is loaded.
    from MolSubCore.training.run_files import finished_plan

    run = Path(options.source)
    given = [name for name in _OF_A_BUNDLE if getattr(options, name)]
    if given:
        option = f"--{given[0].replace('_', '-')}"
        raise MolSubError(option, "is for a bundle on another cohort, which needs a table", "Give BUNDLE and TABLE")
    if run.suffix == ".molsub" or (run / "bundle.json").is_file():
        raise MolSubError(run, "is a model bundle, and there is no table", "Give the cohort table after it, and --out")
    if options.resamples < 1:
        raise MolSubError("--resamples", f"is {options.resamples}, expected 1 or more", "Choose a larger number")
    finished_plan(run)
    from MolSubCore.evaluation.evaluate import evaluate_run, summary_lines

    with alone_in(run):
        found = evaluate_run(run, resamples=options.resamples)
    for line in summary_lines(found):
        print(line)
    print(f"\nEvaluation: {run / 'evaluation.json'}, {run / 'evaluation.png'}")
    return 0


def _evaluate_bundle(options: argparse.Namespace) -> int:
    if not options.out:
        raise MolSubError("--out", "is missing", "Say where the validation goes: --out DIR")
    if options.recalibrated and not options.recalibrate_on:
        raise MolSubError("--recalibrated", "needs --recalibrate-on", "Name the patients to fit on, or leave it out")
    if (Path(options.source) / "plan.json").is_file():
        remedy = "Make a bundle of it first: molsub models export RUN --out BUNDLE"
        raise MolSubError(options.source, "is a run folder, expected a bundle before a table", remedy)
    from MolSubCore.evaluation.external_cohort import column_groups, named_part, read_external_table
    from MolSubCore.files import check_free
    from MolSubCore.models.card import check_recalibrated, find_bundle, read_card

    # All that needs no PyTorch is checked before it is loaded.
    if options.resamples < 1:
        raise MolSubError("--resamples", f"is {options.resamples}, expected 1 or more", "Choose a larger number")
    path, target = find_bundle(options.source), Path(options.recalibrated) if options.recalibrated else None
    rows = read_external_table(Path(options.table), read_card(path)["task"]).cases_of()
    column_groups(rows, options.subgroup)
    part = named_part(rows, options.recalibrate_on or "")
    if not options.resume:
        check_free(Path(options.out), remedy="Choose another --out, or add --resume to keep what is done")
    if target:
        check_recalibrated(path, target)
    from MolSubCore.cohort.pseudonyms import key_advice
    from MolSubCore.cohort.table_files import NA_WORDS
    from MolSubCore.evaluation.evaluate import summary_lines
    from MolSubCore.evaluation.external import begin, check_part, validate_bundle
    from MolSubCore.evaluation.external_page import write_page

    check_part(rows, part, read_card(path)["task"], options.recalibrate_on)
    from MolSubCore.models.bundle import read_bundle

    wanted, out = _external_options(options), Path(options.out)
    bundle = read_bundle(path, device=options.device)
    begin(out, read_card(path), resume=options.resume)  # before the folder is locked, which would make it
    with alone_in(out, writes=("logits", "results")), Bars() as bars:
        found = validate_bundle(bundle, Path(options.table), out, wanted, progress=bars)
        words = NA_WORDS if options.missing is None else options.missing
        page = write_page(
            found, bundle.card, out, identified=options.identified, missing=words, progress=bars("drawing")
        )
    for line in [*summary_lines(found.result), *_calibration_lines(found)]:
        print(line)
    for warning in found.result["warnings"]:
        print(f"Warning: {warning}")
    print(f"{DISCLAIMER}\nPage: {page}\nTables, figures and predictions: {out / 'results'}")
    print(key_advice(out / "plan.json"))
    if target:
        print(f"Recalibrated bundle: {_write_bundle(path, target, found)}")
    return 2 if found.external.failed else 0


def _external_options(options: argparse.Namespace) -> ExternalOptions:
    from MolSubCore.evaluation.external import ExternalOptions

    return ExternalOptions(
        subgroups=tuple(options.subgroup),
        recalibrate_on=options.recalibrate_on or "",
        method=options.recalibration,
        resamples=options.resamples,
        resume=options.resume,
        cache=Path(options.cache) if options.cache else None,
        overlap=options.overlap or "refuse",
        trust_ids=options.trust_ids,
        command=_command(options),
    )


def _command(options: argparse.Namespace) -> str:
    from MolSubCore.prediction.provenance import command_line

    shown = ("recalibration", "resamples", "device", "identified", "resume", "overlap", "trust_ids")
    hidden = ("out", "cache", "recalibrated", "subgroup", "recalibrate_on")
    return command_line(
        "evaluate",
        {f"--{name}": getattr(options, name) for name in shown}
        | {"--missing": options.missing == [] or shlex.join(options.missing or [])},
        {"source": options.source, "table": options.table}
        | {f"--{name.replace('_', '-')}": getattr(options, name) for name in hidden},
        identified=False,
    )


def _calibration_lines(found: ExternalValidation) -> list[str]:
    """Slope and expected / observed, as received and, where it was recalibrated, on the patients left out."""
    result = found.result
    name = result["positive"]
    if not name:
        return []
    parts = [("as received", result["calibration_drift"]["here"])]
    if fitted := result["recalibration"]:
        left = f"{fitted['judged_on']} patients left out of it"
        parts += [(f"{side} recalibration, {left}", fitted[side]["calibration"]) for side in ("before", "after")]
    lines = [f"{'calibration':56}{'slope':>8}{'E/O':>8}{'Brier':>8}"]
    for title, part in parts:
        values = [part["classes"][name][key]["value"] for key in ("slope", "expected_observed", "brier")]
        lines.append(f"{title:56}" + "".join(f"{'-':>8}" if value is None else f"{value:8.3f}" for value in values))
    return lines


def _write_bundle(path: Path, target: Path, found: ExternalValidation) -> Path:
    from MolSubCore.models.card import write_recalibrated

    fitted = found.result["recalibration"]
    sides = ("before", "after")
    judged = {side: fitted[side]["calibration"] for side in sides}
    change = {key: value for key, value in fitted.items() if key not in (*sides, "thresholds")} | {"judged": judged}
    return write_recalibrated(path, target, change, thresholds=fitted["thresholds"], images=found.fitted_images)
