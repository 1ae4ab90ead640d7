"""``molsub predict``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MolSubCore import DISCLAIMER
from MolSubCore.cli.parts import CASES_KEPT, TRUST_IDS, Commands, add_command, layer_names, names_in
from MolSubCore.cli.progress import Bar
from MolSubCore.errors import MolSubError, counted, printable

if TYPE_CHECKING:
    from MolSubCore.models.bundle import Bundle


def add_predict(commands: Commands) -> None:
    """``molsub predict``."""
    parser = add_command(
        commands,
        "predict",
        predict,
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
    add(
        "--clinical",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="the patient's clinical values, for a model that uses them; in a table its columns say them",
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
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="device to compute on (default auto)")
    add("--identified", action="store_true", help="write file names and patient identifiers into the result")
    text = "write DICOM objects of the images' own studies, too (SEG, SR, parametric maps); needs --identified"
    add("--dicom", action="store_true", help=text)
    add("--overwrite", action="store_true", help="replace an earlier prediction in DIR, and nothing else")
    add("--resume", action="store_true", help="with a table: keep the patients that are done")
    add("--trust-ids", action="store_true", help=f"with a table: {TRUST_IDS}")


def predict(options: argparse.Namespace) -> int:
    """``molsub predict`` for one patient or a table."""
    from MolSubCore.models.card import class_indices, find_bundle, read_card
    from MolSubCore.prediction.provenance import command_line

    table, out = _table_of(options), Path(options.out)
    if options.dicom:
        from MolSubCore.prediction.dicom.source import check_sources

        check_sources([] if table else options.images, identified=options.identified)
    request: dict[str, Any] = {
        "layers": layer_names(options.layers),
        "classes": options.classes if options.classes in ("predicted", "all") else names_in(options.classes),
        "method": options.method,
    }
    names = ("layers", "classes", "method", "device", "identified", "dicom", "resume", "trust_ids", "overwrite")
    command = command_line(
        "predict",
        {f"--{name.replace('_', '-')}": getattr(options, name) for name in (*names, "heatmap_grid")},
        {
            "images": options.images,
            "--lesion": options.lesion,
            "--clinical": options.clinical,
            "--model": options.model,
            "--out": options.out,
        },
        identified=options.identified,
    )
    # All that needs no PyTorch is checked before it is loaded.
    path = find_bundle(options.model)
    class_indices(read_card(path)["classes"], request["classes"])
    _check_inputs(options, table, out)
    from MolSubCore.models.bundle import read_bundle

    if table is None:
        from MolSubCore.lock import alone_at

        with alone_at(out):
            return _predict_patient(options, read_bundle(path, device=options.device), out, request, command)
    bundle = read_bundle(path, device=options.device)
    from MolSubCore.prediction.table import predict_table

    with Bar("predicting") as bar:
        return predict_table(
            table,
            bundle,
            out,
            request,
            identified=options.identified,
            dicom=options.dicom,
            resume=options.resume,
            command=command,
            heatmap_grid=options.heatmap_grid,
            trust_ids=options.trust_ids,
            progress=bar,
        )


def _check_inputs(options: argparse.Namespace, table: Path | None, out: Path) -> None:
    """Table, images, lesions and target as far as they can be judged without their pixels."""
    from MolSubCore.files import OVERWRITE, check_free

    if table is not None:
        from MolSubCore.cohort.table import read_rows_apart

        read_rows_apart(table)
        if not options.resume:
            check_free(out, remedy="Choose another --out, or add --resume to keep what is done")
        return
    from MolSubCore.imaging.io.reader import check_header
    from MolSubCore.lesions.masks import check_lesion_source

    check_free(out, replaces="prediction.json" if options.overwrite else None, remedy=OVERWRITE)
    for image, lesion in zip(options.images, options.lesion, strict=True):
        check_header(image)
        check_lesion_source(lesion)


def _clinical_of(words: list[str]) -> dict[str, str]:
    """Values by name; MolSubError for a word without ``=``, or a name that is there twice."""
    found: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name.strip() or name in found:
            problem = f"has '{word[:60]}', expected NAME=VALUE, each name once"
            raise MolSubError("--clinical", problem, "Write it as in --clinical age=54 density=c")
        found[name] = value
    return found


def _table_of(options: argparse.Namespace) -> Path | None:
    """The table to predict, or None for images; what does not go together is refused."""
    from MolSubCore.cohort.table_files import TABLE_ENDINGS

    _clinical_of(options.clinical)
    tables = [name for name in options.images if Path(name).suffix.lower() in TABLE_ENDINGS]
    if folders := [name for name in options.images if os.path.isdir(name)]:  # noqa: PTH112 - long names raise
        remedy = "Name its images, or a table of them; molsub cohort make builds one from a folder"
        raise MolSubError(folders[0], "is a folder, expected images or a table", remedy)
    if not tables:
        if len(options.images) != len(options.lesion):
            images, lesions = counted(len(options.images), "image"), counted(len(options.lesion), "lesion")
            counts = f"{images} and {lesions} were given, expected as many of each"
            raise MolSubError("--lesion", counts, "Give --lesion once per image, in the same order")
        for option, values in (("--side", options.side), ("--lesion-id", options.lesion_id)):
            if values and len(values) != len(options.images):
                found = f"is given {counted(len(values), 'time')} for {counted(len(options.images), 'image')}"
                raise MolSubError(option, found, "Give it once per image, in the same order")
        if options.resume:
            raise MolSubError("--resume", "is for tables", "With images use --overwrite, or choose another --out")
        if options.trust_ids:
            raise MolSubError("--trust-ids", "is for tables", "With images use --same-patient")
        return None
    if options.clinical:
        raise MolSubError("--clinical", "is for images", "In a table the columns of these names say it")
    if options.side or options.lesion_id or options.same_patient:
        remedy = "In a table the columns laterality, lesion_id and patient_id say it"
        raise MolSubError("--side, --lesion-id and --same-patient", "are for images", remedy)
    if len(options.images) > 1 or options.lesion:
        raise MolSubError(tables[0], "is a table given together with images or --lesion", "Give the table alone")
    if options.overwrite:
        raise MolSubError("--overwrite", "is for images", "With a table use --resume, or choose another --out")
    return Path(tables[0])


def _predict_patient(
    options: argparse.Namespace, bundle: Bundle, out: Path, request: dict[str, Any], command: str
) -> int:
    from MolSubCore.cohort.columns import SAME_LESIONS, shown_lesion_ids
    from MolSubCore.models.card import calibration_note
    from MolSubCore.prediction.predict import LESIONS_NUMBERED
    from MolSubCore.prediction.predict import predict as predict_patient
    from MolSubCore.prediction.write import save_prediction

    clinical = _clinical_of(options.clinical)
    names = shown_lesion_ids(options.lesion_id, identified=options.identified)
    spelt = shown_lesion_ids(options.lesion_id, identified=True)
    prediction = predict_patient(
        list(zip(options.images, options.lesion, strict=True)),
        bundle,
        **request,
        sides=[None if side == "file" else side for side in options.side],
        lesion_ids=names,
        unnamed="confirmed" if options.same_patient else "refuse",
        clinical=clinical,
    )
    wishes = {"identified": options.identified, "overwrite": options.overwrite, "dicom": options.dicom}
    save_prediction(prediction, out, **wishes, command=command, heatmap_grid=options.heatmap_grid)
    if names != spelt:
        print(f"Note: {LESIONS_NUMBERED}.", file=sys.stderr)
    if spelt != options.lesion_id:
        print(f"Note: {SAME_LESIONS.format('the images')}.", file=sys.stderr)
    for result in prediction.results:
        values = result.probabilities
        if len(prediction.results) > 1:
            print(f"{result.title[0].upper()}{result.title[1:]}:{'' if values else ' no result'}")
        for name, value in sorted((values or {}).items(), key=lambda entry: -entry[1]):
            print(f"{value:6.3f}  {name}")
    print(f"Probabilities: {calibration_note(prediction.bundle_card)}")
    for warning in prediction.warnings:
        print(f"Warning: {printable(warning, 2000)}")
    print(f"{DISCLAIMER}\nReport: {out / 'report.html'}, {out / 'report.pdf'}")
    if options.dicom:
        print(f"DICOM objects, which name the patient: {out / 'dicom'}")
    return 0
