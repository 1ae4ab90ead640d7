"""What intervals, tests and calibrations hold where the truth is known: ``make evidence``, a few minutes.

The simulations are those of the tests, with more draws. The tables are the page ``Resources/Documentation/levels.md``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from MolSubCore.cli.progress import Bar
from MolSubCore.files import write_text

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "Resources" / "Documentation" / "levels.md"
sys.path.insert(0, str(ROOT / "Testing" / "Core"))

from test_calibration import errors  # noqa: E402
from test_delong import told_apart  # noqa: E402
from test_group_tests import SIZES_SHARES, called_associated  # noqa: E402
from test_interaction import SETTINGS as SUBGROUPS  # noqa: E402
from test_interaction import called_unequal  # noqa: E402
from test_intervals import coverage_of_auc, coverage_of_shares, out_of_fold  # noqa: E402
from test_pseudo_ensemble import SETTINGS, outcome  # noqa: E402

NAMES = ("sensitivity", "specificity", "ppv", "npv", "accuracy")
SHARES, IMAGES, PATIENTS = (0.1, 0.3, 0.5), (1, 2, 4, 6), (12, 40, 120)
COHORTS, AUC_COHORTS, TESTS, TABLES = 2000, 500, 2000, 2000


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown: text to the left, numbers to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def coverage(bar: Bar) -> str:
    """Coverage per image, and of the AUC per patient."""
    rows, done, total = [], 0, len(PATIENTS) * len(IMAGES) * len(SHARES)
    for patients in PATIENTS:
        for images in IMAGES:
            for share in SHARES:
                found = coverage_of_shares(patients, images, share, COHORTS, 1)
                area = coverage_of_auc(patients, images, share, AUC_COHORTS, 1)
                cells = [f"{value:.3f}" for value in (*(found[name] for name in NAMES), area)]
                rows.append([str(patients), str(images), f"{100 * share:.0f} %", *cells])
                done += 1
                bar(done, total)
    header = ["patients", "images each", "positive", "sensitivity", "specificity", "PPV", "NPV", "accuracy", "AUC"]
    return table(header, rows)


def differences() -> str:
    """Type I errors of two equal models."""
    rows = []
    for positives in (2, 3, 5, 9, 10, 20):
        found = told_apart(positives, TESTS)
        rows.append([str(positives), *(f"{100 * found[name]:.1f} %" for name in ("rejected", "delong", "held"))])
    return table(["patients of the smaller class", "our test", "DeLong's test", "our interval holds 0"], rows)


def associations() -> str:
    """Type I errors of Table 1."""
    rows = []
    for sizes, shares in SIZES_SHARES:
        ours, paper = called_associated(sizes, shares, TABLES)
        words = [" / ".join(map(str, sizes)), " / ".join(f"{share:g}" for share in shares)]
        rows.append([*words, f"{100 * ours:.1f} %", f"{100 * paper:.1f} %"])
    return table(["patients of each group", "shares of the categories", "our rule", "likelihood ratio"], rows)


def subgroups() -> str:
    """Type I errors, and power, of the test of equal AUCs."""
    rows = []
    for sizes, aucs, shift in SUBGROUPS:
        words = [", ".join(f"{own} of {own + others}" for own, others in sizes), " / ".join(f"{one:g}" for one in aucs)]
        rows.append([*words, f"{shift:g}", f"{100 * called_unequal(sizes, aucs, shift, TESTS):.1f} %"])
    return table(["positive patients of each level", "AUCs", "scores higher by", "called unequal"], rows)


def ensembles() -> str:
    """Calibration and thresholds of an ensemble, for new patients."""
    rows = []
    for setting, cohorts in SETTINGS:
        found = np.mean([outcome(setting, seed) for seed in range(cohorts)], axis=0)
        facts = [str(value) for value in (setting.members, setting.patients, setting.classes)]
        facts.append(f"{setting.noise:g}" + (", offset, scaled" if setting.offsets else ""))
        rows.append([*facts, f"{np.exp(found[0]):.2f}", f"{found[1]:.2f}", f"{found[2]:.3f}", f"{found[3]:.3f}"])
    header = ["networks", "patients", "classes", "noise", "slope", "expected / observed", "promised", "given"]
    return table(header, rows)


def calibration_error() -> str:
    """Calibration error of right and of too sure probabilities."""
    rows = []
    for scale, title in ((1.0, "right"), (2.5, "log-odds 2.5 times too large")):
        found = np.array([errors(seed, 78, scale) for seed in range(1000)])
        mean = found[:, 0].mean()
        held = ((found[:, 1] <= mean) & (mean <= found[:, 2])).mean()
        rows.append([title, f"{mean:.3f}", f"{found[:, 3].mean():.3f}", f"{held:.3f}"])
    return table(["probabilities", "mean error", "told: if all were right", "its interval covers"], rows)


def main() -> None:
    """Draw, and write the page."""
    bar = Bar("coverage")
    with bar:
        cells = coverage(bar)
    with Bar("tests and calibration") as bar:
        parts = []
        for number, make in enumerate((differences, associations, ensembles, calibration_error, subgroups), start=1):
            parts.append(make())
            bar(number, 5)
        mean, covered, pooled = out_of_fold(500)
    text = f"""# What intervals, tests and calibrations hold

[Back to the README](../../README.md)

Written by `make evidence`: simulations whose truth is known, drawn by the code of the tests.

## Intervals

How often the 95 % CI holds the truth, in {COHORTS:,} cohorts ({AUC_COHORTS} for the AUC, which is per patient).
Sensitivity and specificity are 0.79 per image, and the images of a patient share half of their variance. Shares of
images have Wilson's interval with the effective number of images, Student's t of the patients, and all images of a
patient counted as one where fewer than five patients have either outcome. In cohorts of 12 patients, and where few
patients are positive, they hold more than they promise.

{cells}

**Out of fold**: five networks whose log-odds are offset from each other by a standard deviation of 1, each with a
true AUC of 0.80. Pairs within one fold give {mean:.2f} on average, and the interval holds 0.80 in {100 * covered:.0f}
%. Pairs across folds would give {pooled:.2f}.

## Two models on the same patients

Two models that are equally good, and 20 patients of the other class, {TESTS:,} times: how often they are called
different at 0.05.

{parts[0]}

## Categories of Table 1

Variables without association, {TABLES:,} times: how often p is below 0.05.

{parts[1]}

## Subgroups

Whether the AUC is the same in all levels of an attribute: a permutation test within the classes, {TESTS:,} times.

{parts[4]}

## Calibration of an ensemble

Calibration and threshold of the mean of all networks, fitted on validation scores of single networks
(`pseudo_ensemble`), for 4,000 new patients. A slope and an expected / observed of 1 are right. The threshold was
chosen for a sensitivity of 0.9; its specificity is what was promised on validation and what new patients gave. Noise
is that of each network, in standard deviations of what all of them see.

{parts[2]}

## Calibration error

78 patients, 1,000 times.

{parts[3]}
"""
    write_text(PAGE, text)
    print(f"Tables: {PAGE}")


if __name__ == "__main__":
    main()
