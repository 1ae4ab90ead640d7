"""Options of ``molsub cohort``."""

from __future__ import annotations

from MolSubCore.cli_parts import TRUST_IDS, Commands, add_command, add_group
from MolSubCore.tasks import TASKS


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
        "commands.cohort_check",
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
        "import_command.cohort_make",
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
        "auto (default: header where every image has a PatientID that is no placeholder, else name), header "
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
        "import_command.cohort_import",
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
        "commands.cohort_synthetic",
        "make a synthetic cohort: DICOM mammograms, masks, a table",
        examples=("cohort synthetic synthetic --patients 40",),
    )
    make.add_argument("out", metavar="DIR", help="folder to make")
    make.add_argument("--patients", type=int, default=40, help="number of patients, two views each (default 40)")
    make.add_argument("--seed", type=int, default=7, help="origin of all random numbers (default 7)")
    make.add_argument(
        "--signal", type=float, default=1.0, help="how much the lesion shows its subtype: 0 not, 1 clearly (default)"
    )
