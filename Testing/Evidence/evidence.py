"""Evidence that training learns what is there, and nothing where nothing is: ``make evidence``.

Synthetic cohorts of the paper's size: 390 patients, 762 images, the paper's prevalences. In one of them the
lesions show their subtype; in the other nothing does, and whatever a model finds there would be a leak. The
figures go to ``Resources/evidence.json``. What is finished is kept: the command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import csv
import platform
from pathlib import Path
from typing import Any

import numpy as np

from MolSubCore.cli.progress import Bar, TrainingBar
from MolSubCore.cohort.synthetic import PAPER_COUNTS, make_synthetic_cohort
from MolSubCore.evaluation.evaluate import evaluate_run
from MolSubCore.files import read_json, write_json
from MolSubCore.training.run import train
from MolSubCore.training.session import TrainingOptions, prepare_training

TASK = "tn"
#: Images per subtype in the paper (section 2.2): 18 patients have one view only.
PAPER_IMAGES = dict(zip(PAPER_COUNTS, (200, 301, 107, 50, 104), strict=True))
SIGNAL = 0.9
#: From scratch, in steps as few as two cores can do within an hour.
COMMON = {"learning_rate": 5e-4, "device": "cpu", "precision": "fp32", "threads": 2}
PLANTED = {**COMMON, "seed": 21, "folds": 1, "epochs": 10}
NULL = {**COMMON, "folds": 2, "epochs": 2}
NULL_SEEDS = (1, 2, 3)


def paper_cohort(folder: Path, signal: float, seed: int) -> Path:
    """A cohort with the paper's patients and images; the views beyond its numbers are left out of the table."""
    table, full = folder / "paper.csv", folder / "table.csv"
    if table.exists():
        return table
    if not full.exists():
        with Bar(f"drawing {folder.name}") as bar:
            make_synthetic_cohort(folder, counts=PAPER_COUNTS, seed=seed, signal=signal, progress=bar)
    spare = {subtype.value: 2 * PAPER_COUNTS[subtype] - count for subtype, count in PAPER_IMAGES.items()}
    with full.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    kept = []
    for row in rows:
        if row["view"] == "MLO" and spare[row["subtype"]]:
            spare[row["subtype"]] -= 1
        else:
            kept.append(row)
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(kept[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
    return table


def run(table: Path, out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Train, or go on, and evaluate; return the figures of one run."""
    options = TrainingOptions(
        table,
        out,
        TASK,
        resume=(out / "plan.json").exists(),
        cache=out.parent / "cache",
        pretrained="none",
        settings=settings,
    )
    with Bar("reading images") as bar:
        session = prepare_training(options, progress=bar)
    listener = TrainingBar(session.plan.folds, session.plan.epochs)
    train(session.plan, session.data, out, pretrained=session.pretrained, listener=listener)
    listener.close()
    found = evaluate_run(out)
    test = found["test"]
    rows = [row for file in out.glob("fold-*/metrics.csv") for row in csv.DictReader(file.open(encoding="utf-8"))]
    return {
        "plan": {name: settings[name] for name in settings} | {"architecture": session.plan.architecture},
        "patients": session.data.summary()["patients"],
        "images": session.data.summary()["images"],
        "training_seconds": round(sum(float(row["seconds"]) for row in rows)),
        "test_patients": test["ensemble"]["patient"]["n_patients"],
        "auc": test["ensemble"]["patient"]["metrics"]["auc"],
        "auc_by_fold": [fold["patient"]["metrics"]["auc"]["value"] for fold in test["folds"].values()],
        "validation_auc_by_fold": [fold["patient"]["metrics"]["auc"]["value"] for fold in found["folds"].values()],
    }


def main() -> None:
    """Make or go on with all runs and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", default="build/evidence", type=Path, help="folder of cohorts and runs")
    parser.add_argument("--out", default="Resources/evidence.json", type=Path, help="file to write")
    options = parser.parse_args()
    planted = run(paper_cohort(options.work / "planted", SIGNAL, 7), options.work / "planted-run", PLANTED)
    blank = paper_cohort(options.work / "null", 0.0, 8)
    null = [run(blank, options.work / f"null-run-{seed}", {**NULL, "seed": seed}) for seed in NULL_SEEDS]
    software = read_json(options.work / "planted-run" / "plan.json")["software"]
    write_json(
        options.out,
        {
            "command": "make evidence",
            "cohort": "synthetic, no patients",
            "task": TASK,
            "signal": SIGNAL,
            "planted": planted,
            "null": null,
            "null_mean_auc": float(np.mean([value for part in null for value in part["auc_by_fold"]])),
            "software": software,
            "machine": platform.machine(),
        },
    )
    print(f"Planted signal: test AUC {planted['auc']['value']:.3f}")
    for part in null:
        auc = part["auc"]
        print(f"No signal, seed {part['plan']['seed']}: {auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f})")


if __name__ == "__main__":
    main()
