"""``molsub explain-study``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from MolSubCore import DISCLAIMER
from MolSubCore.cli.parts import Commands, add_command, layer_names
from MolSubCore.cli.progress import Bar


def add_explain_study(commands: Commands) -> None:
    """``molsub explain-study``."""
    text = "test a model's heatmaps on a cohort: where they lie, and whether they can be believed"
    parser = add_command(
        commands,
        "explain-study",
        explain_study,
        text,
        examples=("explain-study cohort.csv --model tn.molsub --out heatmaps",),
    )
    add = parser.add_argument
    add("table", metavar="TABLE", help="cohort table: csv, tsv or xlsx")
    add("--model", required=True, metavar="BUNDLE", help="model bundle, or a name in the library")
    add("--out", required=True, metavar="DIR", help="folder to make")
    add("--layers", metavar="NAMES", help="dotted layer names, comma-separated (default: those of the model)")
    add("--rim-mm", type=float, default=5.0, help="width of the peritumoral rim where the spacing is known (default 5)")
    add("--rim-px", type=float, default=50.0, help="the same in pixels, where it is not known (default 50)")
    add("--faithful", type=int, default=20, metavar="N", help="patients for deletion and insertion (default 20)")
    add("--randomised", type=int, default=8, metavar="N", help="patients for weight randomisation (default 8)")
    add("--target", choices=("logit", "log-odds"), default="logit",
        help="what the maps explain: the class's logit (default), or its log-odds")  # fmt: skip
    add("--controls", type=int, default=20, metavar="N",
        help="random displacements of each map, for comparison (default 20)")  # fmt: skip
    add("--seed", type=int, default=21, help="random seed (default 21)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="device to compute on (default auto)")
    add("--overwrite", action="store_true", help="replace an earlier result in DIR")


def explain_study(options: argparse.Namespace) -> int:
    """``molsub explain-study``."""
    from MolSubCore.cohort.table import read_cohort
    from MolSubCore.files import OVERWRITE, check_free
    from MolSubCore.models.card import find_bundle, read_card

    path, table, out = find_bundle(options.model), Path(options.table), Path(options.out)
    read_card(path)
    read_cohort(table, need_subtype=False)
    check_free(out, replaces="explanations.json" if options.overwrite else None, remedy=OVERWRITE)
    from MolSubCore.evaluation.explain_study import ExplanationPlan, explain_cohort
    from MolSubCore.models.bundle import read_bundle
    from MolSubCore.prediction.provenance import command_line

    layers = layer_names(options.layers)
    plan = ExplanationPlan(
        layers=None if layers is None else tuple(layers),
        rim_mm=options.rim_mm,
        rim_px=options.rim_px,
        faithful=options.faithful,
        randomised=options.randomised,
        target=options.target,
        controls=options.controls,
        seed=options.seed,
    )
    names = (
        "layers",
        "rim_mm",
        "rim_px",
        "faithful",
        "randomised",
        "target",
        "controls",
        "seed",
        "device",
        "overwrite",
    )
    command = command_line(
        "explain-study",
        {f"--{name.replace('_', '-')}": getattr(options, name) for name in names},
        {"table": options.table, "--model": options.model, "--out": options.out},
        identified=False,
    )
    from MolSubCore.lock import alone_at

    with alone_at(out), Bar("explaining") as bar:
        bundle = read_bundle(path, device=options.device)
        result = explain_cohort(table, bundle, out, plan, overwrite=options.overwrite, command=command, progress=bar)
    for line in _table(result):
        print(line)
    print(f"{DISCLAIMER}\nFigure: {out / 'explanations.png'}")
    for line in result["warnings"]:
        print(f"Warning: {line}")
    for entry in result["left_out"]:
        name = f"row{'s' * (' ' in entry['rows'])} {entry['rows']}"
        print(f"molsub: {name}: {entry['reason']}. Left out.", file=sys.stderr)
    return 2 if result["left_out"] else 0


def _table(result: dict[str, Any]) -> list[str]:
    """Each layer's mean shares of the energy, and what it gains over the map of the middle."""
    head = "".join(f"{name:>9}" for name in ("inside", "rim", "beyond", "AUROC"))
    lines = [f"{'layer':28}{head}   gain over the middle: deletion, insertion (95 % CI)"]
    for layer, groups in (result["reference"] | result["layers"]).items():
        summary = groups["all"]
        means = [summary[name]["mean"] for name in ("inside", "rim", "beyond", "auroc")]
        line = f"{layer:28}" + "".join(f"{'empty':>9}" if mean is None else f"{mean:9.3f}" for mean in means)
        gains = [summary[f"{name} over centred"] for name in ("deletion", "insertion")]
        lines.append(line + "".join(f"   {_with_interval(gain)}" for gain in gains if gain["mean"] is not None))
    return lines


def _with_interval(value: dict[str, Any]) -> str:
    interval = "" if value["low"] is None else f" ({value['low']:.3f} to {value['high']:.3f})"
    return f"{value['mean']:.3f}{interval}"
