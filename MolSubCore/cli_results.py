"""Options of the commands that use models: predictions, heatmaps, bundles, outlines."""

from __future__ import annotations

from MolSubCore.cli_parts import CASES_KEPT, Commands, add_command, add_group
from MolSubCore.tasks import PAPER_TASKS


def add_predict(commands: Commands) -> None:
    """``molsub predict``."""
    parser = add_command(
        commands,
        "predict",
        "commands.predict",
        "predict the subtype of one patient's lesion from one or more images, or of every patient in a table",
        CASES_KEPT,
        (
            "predict R_CC.dcm --lesion R_CC.nii.gz --model tn.molsub --out result",
            "predict R_CC.dcm R_MLO.dcm --lesion R_CC.nii.gz --lesion 330,180,390,240 --model tn.molsub --out result",
            "predict cohort.csv --model tn.molsub --out results",
        ),
    )
    add = parser.add_argument
    add("images", nargs="+", metavar="IMAGE", help="mammograms of one patient, or one table (csv, tsv, xlsx)")
    add(
        "--lesion",
        action="append",
        default=[],
        metavar="MASK",
        help="mask or polygon file, or row0,col0,row1,col1; once per image, in the same order",
    )
    add(
        "--side",
        action="append",
        default=[],
        choices=("L", "R", "file"),
        help="breast in the image, where its file does not say it; once per image, in the same order",
    )
    add(
        "--lesion-id",
        action="append",
        default=[],
        metavar="NAME",
        help="which of the patient's lesions it is; once per image: views of one lesion are averaged, others never "
        "(without it: one result per breast)",
    )
    text = "all images are of one patient, though their files do not say whose they are"
    add("--same-patient", action="store_true", help=text)
    text = "model bundle: a folder, a .molsub file, or a name in the library"
    add("--model", required=True, metavar="BUNDLE", help=text)
    add("--out", required=True, metavar="DIR", help="folder to make")
    text = "dotted layer names, comma-separated, or none (default: the architecture's own)"
    add("--layers", metavar="NAMES", help=text)
    add(
        "--classes",
        default="predicted",
        metavar="NAMES",
        help="classes to explain: predicted (default), all, or names, comma-separated",
    )
    add("--method", default="gradcam", help="gradcam (default), or another method of the grad-cam library")
    text = "grid of the heatmaps' files: their region of interest, placed on the image (default), or the whole image"
    add("--heatmap-grid", choices=("region", "image"), default="region", help=text)
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (default auto)")
    add("--identified", action="store_true", help="write file names and patient identifiers into the result")
    text = "write DICOM objects of the images' own studies, too (SEG, SR, parametric maps); needs --identified"
    add("--dicom", action="store_true", help=text)
    add("--overwrite", action="store_true", help="replace an earlier prediction in DIR, and nothing else")
    add("--resume", action="store_true", help="with a table: keep the patients that are done")


def add_explain_study(commands: Commands) -> None:
    """``molsub explain-study``."""
    text = "test a model's heatmaps on a cohort: where they lie, and whether they can be believed"
    parser = add_command(
        commands,
        "explain-study",
        "commands.explain_study",
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
    add("--seed", type=int, default=21, help="origin of all random numbers (default 21)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (default auto)")
    add("--overwrite", action="store_true", help="replace an earlier result in DIR")


def add_models(commands: Commands) -> None:
    """``molsub models``."""
    group = add_group(commands, "models", "model bundles")
    listing = add_command(
        group, "list", "commands.models_list", "list the bundles in the model library", examples=("models list",)
    )
    listing.add_argument("--library", metavar="DIR", help="folder of bundles (default: the user's, or $MOLSUB_MODELS)")
    info = add_command(
        group,
        "info",
        "commands.models_info",
        "show a bundle's card",
        examples=(
            "models info tn.molsub",
            "models info tn.molsub --html card.html",
        ),
    )
    info.add_argument("bundle", metavar="BUNDLE")
    info.add_argument("--json", action="store_true", help="the whole card, and its metadata in MONAI's keys")
    info.add_argument("--html", metavar="FILE", help="write the card as a page to read")
    export = add_command(
        group,
        "export",
        "commands.models_export",
        "make a bundle from a run",
        examples=(
            "models export runs/tn --out tn.molsub",
            "models export study/runs/tn--densenet121-cbam --out tn.molsub --fold ensemble",
        ),
    )
    export.add_argument("run", metavar="RUN")
    export.add_argument("--out", required=True, metavar="BUNDLE", help="a folder, or a file ending in .molsub")
    export.add_argument(
        "--fold", default="best", metavar="best|ensemble|N", help="which fold's model, or all of them (default best)"
    )
    export.add_argument("--overwrite", action="store_true", help="replace an existing bundle")
    convert = add_command(
        group,
        "import",
        "commands.models_import",
        "make a bundle from a published .pth file, without executing it",
        examples=("models import prefered_model_for_tn.pth --task tn --out published-tn.molsub",),
    )
    convert.add_argument("file", metavar="FILE.pth")
    convert.add_argument("--task", required=True, choices=sorted(PAPER_TASKS))
    convert.add_argument("--out", required=True, metavar="BUNDLE", help="a folder, or a file ending in .molsub")
    convert.add_argument(
        "--architecture", default="densenet121-cbam", metavar="NAME", help="what it is of (default densenet121-cbam)"
    )
    convert.add_argument(
        "--class-order", metavar="NAMES", help="class names in the order of the logits, comma-separated"
    )
    convert.add_argument("--overwrite", action="store_true", help="replace an existing bundle")


def add_agreement(commands: Commands) -> None:
    """``molsub agreement``."""
    text = "how far two readers' outlines of one mammogram agree: Dice, Hausdorff distance, kappa on the boxes"
    parser = add_command(
        commands,
        "agreement",
        "commands.agreement",
        text,
        examples=(
            "agreement reader1.nii.gz reader2.nii.gz --image R_CC.dcm",
            "agreement reader1.nii.gz reader2.nii.gz --image R_CC.dcm --consensus union --out both.nii.gz",
        ),
    )
    add = parser.add_argument
    add("first", metavar="FIRST", help="one reader's mask or polygon file, or row0,col0,row1,col1")
    add("second", metavar="SECOND", help="the other's")
    add("--image", required=True, metavar="IMAGE", help="the mammogram")
    add("--consensus", choices=("first", "second", "union", "intersection"), help="make one mask of both")
    add("--out", metavar="FILE", help="where the consensus goes: a file ending in .nii.gz or .nrrd")
    add("--json", action="store_true", help="the numbers as they are")
