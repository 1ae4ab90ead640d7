"""Options of ``molsub evaluate``."""

from __future__ import annotations

from MolSubCore.cli_parts import EVALUATION_KEPT, TRUST_IDS, Commands, add_command

_EXAMPLES = (
    "evaluate runs/tn",
    "evaluate tn.molsub centres.csv --out validation --subgroup centre",
    "evaluate tn.molsub centres.csv --out recalibration --recalibrate-on centre=A --recalibrated tn-a.molsub",
)


def add_evaluate(commands: Commands) -> None:
    """``molsub evaluate RUN``, and ``molsub evaluate BUNDLE TABLE``."""
    text = (
        "a finished run: write its evaluation again; a model bundle and a cohort table: external validation, with "
        "subgroups, calibration against the training's, and recalibration on a named part"
    )
    parser = add_command(commands, "evaluate", "evaluate_command.evaluate", text, EVALUATION_KEPT, _EXAMPLES)
    add = parser.add_argument
    add("source", metavar="RUN|BUNDLE", help="run folder, or with a table a model bundle or a name in the library")
    add("table", metavar="TABLE", nargs="?", help="table of another cohort: csv, tsv or xlsx")
    add("--out", metavar="DIR", help="folder to make for a validation")
    add(
        "--subgroup",
        action="append",
        default=[],
        metavar="COLUMN",
        help="show the groups of this column apart, too, such as the centre; may be repeated "
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
        help="slope and intercept (default), or a temperature alone",
    )
    add("--recalibrated", metavar="BUNDLE", help="write the recalibrated model as a new bundle")
    add(
        "--overlap",
        choices=("refuse", "leave-out", "keep"),
        help="patients with images that the model was trained on: refuse the cohort (default), leave these patients "
        "out, or keep them; the page says it",
    )
    add("--trust-ids", action="store_true", help=TRUST_IDS)
    add("--resamples", type=int, default=2000, help="bootstrap resamples (default 2000)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (default auto)")
    add("--cache", metavar="DIR", help="folder of the patch cache (default: the user's cache folder, or $MOLSUB_CACHE)")
    add("--identified", action="store_true", help="write patient_id into the table of predictions")
    add("--resume", action="store_true", help="go on in DIR: predictions that are done are kept")
