"""``molsub cohort``."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from MolSubCore.cli.parts import TRUST_IDS, Commands, add_command, add_group
from MolSubCore.cli.progress import Bar
from MolSubCore.errors import MolSubError
from MolSubCore.tasks import TASKS

if TYPE_CHECKING:
    from MolSubCore.cohort.check import CheckReport


def add_cohort(commands: Commands) -> None:
    """``molsub cohort check``, ``make``, ``import`` and ``synthetic``."""
    group = add_group(commands, "cohort", "tables of images, lesions and subtypes")
    _check(group)
    _make(group)
    _import(group)
    _synthetic(group)


def _check(group: Commands) -> None:
    check = add_command(
        group,
        "check",
        cohort_check,
        "read every row and list every problem with its row number",
        examples=("cohort check cohort.csv --task tn --folds 5", "cohort check new-patients.xlsx --for predict"),
    )
    check.add_argument("table", metavar="TABLE", help="csv, tsv or xlsx")
    check.add_argument("--task", choices=sorted(TASKS), help="check the classes of this task too")
    check.add_argument("--folds", type=int, help="check that the classes fill this many folds")
    check.add_argument("--trust-ids", action="store_true", help=TRUST_IDS)
    text = "write pages of pictures, every lesion on its mammogram, into this empty folder; rows by number, no names"
    check.add_argument("--pictures", metavar="FOLDER", help=text)
    check.add_argument("--identified", action="store_true", help="write patient ids and file names under the pictures")
    text = "what the table is for: train (default; needs subtypes and lesions), predict (lesions), outline (neither)"
    check.add_argument("--for", dest="purpose", choices=("train", "predict", "outline"), default="train", help=text)


def _make(group: Commands) -> None:
    text = "make a table of a folder of images and a folder of masks, and a report of what became of every file"
    parser = add_command(
        group,
        "make",
        cohort_make,
        text,
        examples=(
            "cohort make IMAGES MASKS --out cohort.csv",
            "cohort make IMAGES MASKS --out cohort.csv --subtypes pathology.xlsx --task tn",
            "cohort make IMAGES MASKS --out cohort.csv --patients '([^/]+)/' --mask-name '{name}_roi*'",
        ),
    )
    add = parser.add_argument
    add("images", metavar="IMAGES", help="folder of mammograms: DICOM, PNG, JPEG, TIFF")
    add("masks", metavar="MASKS", help="folder of masks, polygons (JSON) or DICOM SEG; may be the same folder")
    add("--out", required=True, metavar="TABLE", help="csv to write; its report, NAME.import.json, comes beside it")
    text = "table with patient_id and subtype, perhaps laterality (L or R; empty or both: both breasts), and further "
    text += "columns to take over; patient_id is the "
    add("--subtypes", metavar="TABLE", help=text + "headers' PatientID, or what --patients finds in the names")
    text = (
        "auto (default: header where every image has a PatientID that is not a placeholder, else name), header "
        "(pseudonyms of the PatientID), identified (the PatientID itself), name (the first folder that may be a "
        "patient's, else the file's name without side and view), or a regular expression on the path below IMAGES "
        "whose first group is the patient, such as '([^/]+)/'"
    )
    add("--patients", default="auto", metavar="HOW", help=text)
    text = "name of a mask without its ending, {name} for the image's, * for anything (default: words such as mask)"
    add("--mask-name", default="", metavar="PATTERN", help=text)
    add("--task", choices=sorted(TASKS), help="keep rows whose class in this task is known")
    add("--keep-unlabelled", action="store_true", help="keep rows without a subtype, for outlining and prediction")
    add("--keep-unoutlined", action="store_true", help="keep images without a mask, to outline them in 3D Slicer")
    add("--overwrite", action="store_true", help="replace a table that is there")


def _import(group: Commands) -> None:
    text = "make a table of a public cohort's folder, and a report of what became of every input"
    parser = add_command(
        group,
        "import",
        cohort_import,
        text,
        examples=(
            "cohort import cmmd CMMD_FOLDER --out cmmd.csv --task subtype4",
            "cohort import paper FOLDER --out cohort.csv",
        ),
    )
    add = parser.add_argument
    kinds = ("cmmd", "optimam", "cbis-ddsm", "vindr", "paper")
    add("kind", choices=kinds, metavar="COHORT", help=f"one of {', '.join(kinds)}; paper: name,img_path,...,label")
    add("folder", metavar="DIR", help="folder as it was downloaded and unpacked, with its tables and outlines")
    add("--out", required=True, metavar="TABLE", help="csv to write; its report, NAME.import.json, comes beside it")
    add("--task", choices=sorted(TASKS), help="keep rows whose class in this task is known; refused where none is")
    add("--keep-unlabelled", action="store_true", help="keep rows without a subtype, for outlining and prediction")
    add("--keep-unoutlined", action="store_true", help="keep images without a lesion, to outline them in 3D Slicer")
    text = "read every image, leave out those whose pixels another patient has too"
    add("--compare-pixels", action="store_true", help=text)
    add("--overwrite", action="store_true", help="replace a table that is there")


def _synthetic(group: Commands) -> None:
    make = add_command(
        group,
        "synthetic",
        cohort_synthetic,
        "make a synthetic cohort: DICOM mammograms, masks, a table",
        examples=("cohort synthetic synthetic --patients 40",),
    )
    make.add_argument("out", metavar="DIR", help="folder to make")
    make.add_argument("--patients", type=int, default=40, help="number of patients, two views each (default 40)")
    make.add_argument("--seed", type=int, default=7, help="random seed (default 7)")
    make.add_argument(
        "--signal", type=float, default=1.0, help="strength of the subtype signal: 0 none, 1 clear (default)"
    )


def cohort_check(options: argparse.Namespace) -> int:
    """``molsub cohort check``: exit code 2 when there is a problem."""
    from MolSubCore.cohort.check import check_cohort

    sheet = None
    if options.pictures:
        from MolSubCore.cohort.pictures import ContactSheet

        sheet = ContactSheet(Path(options.pictures), identified=options.identified)
    elif options.identified:
        raise MolSubError("--identified", "is for --pictures", "Give --pictures FOLDER too")
    with Bar("checking") as bar:
        report = check_cohort(
            Path(options.table),
            task=options.task,
            folds=options.folds,
            trust_ids=options.trust_ids,
            pictures=sheet,
            purpose=options.purpose,
            progress=bar,
        )
    for line in [*_displays(report), *report.lines()]:
        print(line)
    if sheet is not None and sheet.pages:
        last = f" to {sheet.pages[-1].name}" if len(sheet.pages) > 1 else ""
        print(f"Pictures of every lesion on its mammogram: {sheet.pages[0]}{last}")
    return 2 if report.problems else 0


def _displays(report: CheckReport) -> list[str]:
    """Display steps by class and manufacturer, with tests; nothing where all images are shown by one."""
    if len({step for _, _, step in report.displays}) < 2:
        return []
    from MolSubCore.evaluation.display_steps import Shown, associations, display_steps, told_steps

    images = [
        Shown(case.patient_id, case.subtype.value if case.subtype else "", maker, step)
        for case, maker, step in report.displays
    ]
    found = display_steps(images)
    return [*told_steps(found), *(f"Note: {line}." for line in associations(found))]


def cohort_synthetic(options: argparse.Namespace) -> int:
    """``molsub cohort synthetic``."""
    from MolSubCore.cohort.synthetic import make_synthetic_cohort

    with Bar("drawing") as bar:
        table = make_synthetic_cohort(
            Path(options.out), patients=options.patients, seed=options.seed, signal=options.signal, progress=bar
        )
    print(f"Synthetic cohort, no patients: {table}")
    return 0


def cohort_import(options: argparse.Namespace) -> int:
    """``molsub cohort import``."""
    from MolSubCore.cohort.importers.base import ImportOptions
    from MolSubCore.cohort.importers.importing import import_cohort

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
    from MolSubCore.cohort.importers.base import ImportOptions
    from MolSubCore.cohort.importers.folders import FolderOptions
    from MolSubCore.cohort.importers.importing import make_cohort

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
