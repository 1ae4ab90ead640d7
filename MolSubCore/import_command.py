"""What ``molsub cohort import`` and ``molsub cohort make`` do."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from MolSubCore.progress import Bar


def cohort_import(options: argparse.Namespace) -> int:
    """``molsub cohort import``."""
    from MolSubCore.cohort.importers.importing import import_cohort
    from MolSubCore.cohort.importers.rows import ImportOptions

    chosen = ImportOptions(
        task=options.task,
        keep_unlabelled=options.keep_unlabelled,
        keep_unoutlined=options.keep_unoutlined,
        compare_pixels=options.compare_pixels,
    )
    with Bar("importing") as bar:
        report = import_cohort(
            options.kind, Path(options.folder), Path(options.out), chosen, overwrite=options.overwrite, progress=bar
        )
    for line in report.lines:
        print(line)
    print(f"\nTable: {report.table}\nWhat became of every input: {report.path}")
    return 0


def cohort_make(options: argparse.Namespace) -> int:
    """``molsub cohort make``."""
    from MolSubCore.cohort.importers.folders import FolderOptions
    from MolSubCore.cohort.importers.importing import make_cohort
    from MolSubCore.cohort.importers.rows import ImportOptions

    chosen = FolderOptions(options.patients, options.mask_name, Path(options.subtypes) if options.subtypes else None)
    kept = ImportOptions(
        task=options.task, keep_unlabelled=options.keep_unlabelled, keep_unoutlined=options.keep_unoutlined
    )
    table = Path(options.out)
    with Bar("reading headers") as bar:
        report = make_cohort(
            Path(options.images), Path(options.masks), table, chosen, kept, overwrite=options.overwrite, progress=bar
        )
    for line in report.lines:
        print(line)
    print(f"\nTable: {report.table}\nWhat became of every file: {report.path}")
    print(f"Look at it: molsub cohort check {shlex.quote(str(table))}{'' if options.subtypes else ' --for predict'}")
    return 0
