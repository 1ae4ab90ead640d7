"""What the commands of ``molsub`` do: read options, call the library, say where the results are."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MolSubCore import DISCLAIMER
from MolSubCore.errors import MolSubError, printable
from MolSubCore.progress import Bar, TrainingBar

if TYPE_CHECKING:
    from MolSubCore.models.bundle import Bundle
    from MolSubCore.training.plan import Plan


def demo(options: argparse.Namespace) -> int:
    """``molsub demo``."""
    from MolSubCore.demo import check_demo, run_demo

    check_demo(Path(options.out))
    run_demo(Path(options.out), seed=options.seed)
    return 0


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
    for line in report.lines():
        print(line)
    if sheet is not None and sheet.pages:
        last = f" to {sheet.pages[-1].name}" if len(sheet.pages) > 1 else ""
        print(f"Pictures of every lesion on its mammogram: {sheet.pages[0]}{last}")
    return 2 if report.problems else 0


def cohort_synthetic(options: argparse.Namespace) -> int:
    """``molsub cohort synthetic``."""
    from MolSubCore.cohort.synthetic import make_synthetic_cohort

    with Bar("drawing") as bar:
        table = make_synthetic_cohort(
            Path(options.out), patients=options.patients, seed=options.seed, signal=options.signal, progress=bar
        )
    print(f"Synthetic cohort, no patients: {table}")
    return 0


def train(options: argparse.Namespace) -> int:
    """``molsub train``: trains, evaluates and says where the run is."""
    from MolSubCore.training.distributed import launched
    from MolSubCore.training.session import TrainingOptions, check_training

    wanted = TrainingOptions.from_namespace(options)
    if launched()[1] == 1:  # what is wrong is said before PyTorch is loaded
        check_training(wanted)
    from MolSubCore.evaluation.evaluate import summary_lines
    from MolSubCore.pseudonyms import key_advice
    from MolSubCore.train import train_run

    with Bar("reading images") as reading, ExitStack() as stack:

        def listen(plan: Plan) -> TrainingBar:
            reading.close()
            bar = TrainingBar(plan.folds, plan.epochs)
            stack.callback(bar.close)
            return bar

        trained = train_run(wanted, reading=reading, listen=listen, evaluating=stack.close)
    if launched()[0] > 0:
        return 0
    for note in trained.notes:
        print(f"Note: {note}")
    if trained.evaluation is None:
        print(f"Trained in {trained.run}; folds not trained yet: {', '.join(map(str, trained.missing))}.")
        return 0
    for line in summary_lines(trained.evaluation):
        print(line)
    print(f"\nRun: {trained.run}\nEvaluation: {trained.run / 'evaluation.png'}")
    print(f"Make a bundle of it: molsub models export {trained.run} --out BUNDLE")
    print(key_advice(trained.run / "split.json"))
    return 0


def predict(options: argparse.Namespace) -> int:
    """``molsub predict`` for one patient or a table."""
    from MolSubCore.models.card import class_indices, find_bundle, read_card
    from MolSubCore.provenance import command_line

    table, out = _table_of(options), Path(options.out)
    if options.dicom:
        from MolSubCore.dicom_out.source import check_sources

        check_sources([] if table else options.images, identified=options.identified)
    request: dict[str, Any] = {
        "layers": _layers(options.layers),
        "classes": options.classes if options.classes in ("predicted", "all") else _names(options.classes),
        "method": options.method,
    }
    names = ("layers", "classes", "method", "device", "identified", "dicom", "resume", "overwrite", "heatmap_grid")
    command = command_line(
        "predict",
        {f"--{name.replace('_', '-')}": getattr(options, name) for name in names},
        {"images": options.images, "--lesion": options.lesion, "--model": options.model, "--out": options.out},
        identified=options.identified,
    )
    # All that needs no PyTorch is checked before it is loaded.
    path = find_bundle(options.model)
    class_indices(read_card(path)["classes"], request["classes"])
    _check_inputs(options, table, out)
    from MolSubCore.models.bundle import read_bundle

    bundle = read_bundle(path, device=options.device)
    if table is None:
        return _predict_patient(options, bundle, out, request, command)
    from MolSubCore.batch import predict_table

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
            progress=bar,
        )


def _check_inputs(options: argparse.Namespace, table: Path | None, out: Path) -> None:
    """Table, images, lesions and target as far as they can be judged without their pixels."""
    from MolSubCore.files import OVERWRITE, check_free

    if table is not None:
        from MolSubCore.cohort.table import read_cohort

        read_cohort(table, need_subtype=False)
        if not options.resume:
            check_free(out, remedy="Choose another --out, or add --resume to keep what is done")
        return
    from MolSubCore.imaging.lesion import check_lesion_source
    from MolSubCore.imaging.reader import check_header

    check_free(out, replaces="prediction.json" if options.overwrite else None, remedy=OVERWRITE)
    for image, lesion in zip(options.images, options.lesion, strict=True):
        check_header(image)
        check_lesion_source(lesion)


def _table_of(options: argparse.Namespace) -> Path | None:
    """The table to predict, or None for images; what does not go together is refused."""
    from MolSubCore.cohort.table_files import TABLE_ENDINGS

    tables = [name for name in options.images if Path(name).suffix.lower() in TABLE_ENDINGS]
    if folders := [name for name in options.images if os.path.isdir(name)]:  # noqa: PTH112 - long names raise
        remedy = "Name its images, or a table of them; molsub cohort make builds one from a folder"
        raise MolSubError(folders[0], "is a folder, expected images or a table", remedy)
    if not tables:
        if len(options.images) != len(options.lesion):
            counts = (
                f"{len(options.images)} images and {len(options.lesion)} lesions were given, expected as many of each"
            )
            raise MolSubError("--lesion", counts, "Give --lesion once per image, in the same order")
        for option, values in (("--side", options.side), ("--lesion-id", options.lesion_id)):
            if values and len(values) != len(options.images):
                found = f"is given {len(values)} time(s) for {len(options.images)} images"
                raise MolSubError(option, found, "Give it once per image, in the same order")
        if options.resume:
            raise MolSubError("--resume", "is for tables", "With images use --overwrite, or choose another --out")
        return None
    if options.side or options.lesion_id or options.same_patient:
        remedy = "In a table the columns laterality, lesion_id and patient_id say it"
        raise MolSubError("--side, --lesion-id and --same-patient", "are for images", remedy)
    if len(options.images) > 1 or options.lesion:
        raise MolSubError(tables[0], "is a table beside other images or --lesion", "Give the table alone")
    if options.overwrite:
        raise MolSubError("--overwrite", "is for images", "With a table use --resume, or choose another --out")
    return Path(tables[0])


def _predict_patient(
    options: argparse.Namespace, bundle: Bundle, out: Path, request: dict[str, Any], command: str
) -> int:
    from MolSubCore.models.card import calibration_note
    from MolSubCore.predict import predict as predict_patient

    prediction = predict_patient(
        list(zip(options.images, options.lesion, strict=True)),
        bundle,
        **request,
        sides=[None if side == "file" else side for side in options.side],
        lesion_ids=options.lesion_id,
        unnamed="confirmed" if options.same_patient else "refuse",
    )
    wishes = {"identified": options.identified, "overwrite": options.overwrite, "dicom": options.dicom}
    prediction.save(out, **wishes, command=command, heatmap_grid=options.heatmap_grid)
    for result in prediction.results:
        values = result.probabilities
        if len(prediction.results) > 1:
            print(f"{result.title[0].upper()}{result.title[1:]}:{'' if values else ' no result'}")
        for name, value in sorted((values or {}).items(), key=lambda entry: -entry[1]):
            print(f"{value:6.3f}  {name}")
    print(f"Probabilities: {calibration_note(bundle.card)}")
    for warning in prediction.warnings:
        print(f"Warning: {printable(warning, 2000)}")
    print(f"{DISCLAIMER}\nReport: {out / 'report.html'}, {out / 'report.pdf'}")
    if options.dicom:
        print(f"DICOM objects, which name the patient: {out / 'dicom'}")
    return 0


def explain_study(options: argparse.Namespace) -> int:
    """``molsub explain-study``."""
    from MolSubCore.cohort.table import read_cohort
    from MolSubCore.files import OVERWRITE, check_free
    from MolSubCore.models.card import find_bundle, read_card

    path, table, out = find_bundle(options.model), Path(options.table), Path(options.out)
    read_card(path)
    read_cohort(table, need_subtype=False)
    check_free(out, replaces="explanations.json" if options.overwrite else None, remedy=OVERWRITE)
    from MolSubCore.explain_study import ExplanationPlan, explain_cohort
    from MolSubCore.models.bundle import read_bundle
    from MolSubCore.provenance import command_line

    layers = _layers(options.layers)
    plan = ExplanationPlan(
        layers=None if layers is None else tuple(layers),
        rim_mm=options.rim_mm,
        rim_px=options.rim_px,
        faithful=options.faithful,
        randomised=options.randomised,
        seed=options.seed,
    )
    names = ("layers", "rim_mm", "rim_px", "faithful", "randomised", "seed", "device", "overwrite")
    command = command_line(
        "explain-study",
        {f"--{name.replace('_', '-')}": getattr(options, name) for name in names},
        {"table": options.table, "--model": options.model, "--out": options.out},
        identified=False,
    )
    bundle = read_bundle(path, device=options.device)
    with Bar("explaining") as bar:
        result = explain_cohort(table, bundle, out, plan, overwrite=options.overwrite, command=command, progress=bar)
    print(f"{'layer':28}{'inside':>9}{'rim':>9}{'beyond':>9}   (mean share of the energy)")
    for layer, groups in result["layers"].items():
        means = [groups["all"][name]["mean"] for name in ("inside", "rim", "beyond")]
        print(f"{layer:28}" + "".join("  blind  " if mean is None else f"{mean:9.3f}" for mean in means))
    print(f"{DISCLAIMER}\nFigure: {out / 'explanations.png'}")
    for entry in result["left_out"]:
        print(f"molsub: rows {entry['rows']}: {entry['reason']}. Left out.", file=sys.stderr)
    return 2 if result["left_out"] else 0


def agreement(options: argparse.Namespace) -> int:
    """``molsub agreement``."""
    from MolSubCore.jobs.agreement import agreement_lines, compare

    if bool(options.consensus) != bool(options.out):
        raise MolSubError("--consensus", "and --out go together", "Give both, or neither")
    names = ("image", "first", "second", "consensus", "out")
    found = compare({name: getattr(options, name) for name in names}, lambda share, **values: None)
    print(json.dumps(found, indent=2) if options.json else "\n".join(agreement_lines(found)))
    return 0


def _layers(text: str | None) -> list[str] | None:
    if text is None:
        return None
    return [] if text == "none" else _names(text)


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def models_list(options: argparse.Namespace) -> int:
    """``molsub models list``: exit code 2 where a bundle cannot be read, or the folder asked for is not there."""
    from MolSubCore.models.card import library_folder, scan_library

    library = Path(options.library) if options.library else library_folder()
    chosen = "--library" if options.library else "$MOLSUB_MODELS" if os.environ.get("MOLSUB_MODELS") else ""
    if chosen and not os.path.lexists(library):
        raise MolSubError(library, f"does not exist, expected a folder of bundles ({chosen})", "Check the path")
    found, problems = scan_library(library)
    for path, card in found:
        marks = " (synthetic)" if card.get("synthetic") else ""
        marks += "" if card.get("class_order_verified", True) else " (class order not verified)"
        print(f"{path.name:32} {card['task']:10} {card['architecture']:24} {len(card['members'])} member(s){marks}")
    for problem in problems:
        print(f"molsub: {problem}", file=sys.stderr)
    if not found and not problems:
        print(f"No bundle in {library}. Make one with molsub models export or import, --out {library}/NAME.molsub.")
    return 2 if problems else 0


def models_info(options: argparse.Namespace) -> int:
    """``molsub models info``."""
    from MolSubCore.models.card import card_lines, find_bundle, read_card

    card = read_card(find_bundle(options.bundle))
    if options.html:
        from MolSubCore.report.model_card import write_model_card

        print(f"Model card: {write_model_card(card, Path(options.html))}", file=sys.stderr if options.json else None)
    if options.json:
        from MolSubCore.models.metadata import monai_metadata

        print(json.dumps(card | {"metadata": monai_metadata(card)}, indent=2))  # for programs: ASCII passes any pipe
    elif not options.html:
        print("\n".join(card_lines(card)))
    return 0


def models_export(options: argparse.Namespace) -> int:
    """``molsub models export``."""
    from MolSubCore.training.export import export_run

    path = export_run(Path(options.run), Path(options.out), fold=options.fold, overwrite=options.overwrite)
    print(f"Bundle: {path}")
    return 0


def models_import(options: argparse.Namespace) -> int:
    """``molsub models import``."""
    from MolSubCore.models.card import card_lines, check_checkpoint, check_target, read_card
    from MolSubCore.models.card_checks import check_class_order
    from MolSubCore.models.registry import get_architecture

    # All that needs no PyTorch is checked before it is loaded.
    get_architecture(options.architecture)
    if not os.path.isfile(options.file):  # noqa: PTH113 - Path.is_file raises on names that are too long
        raise MolSubError(options.file, "does not exist or is no file", "Give the published .pth file")
    check_target(Path(options.out), overwrite=options.overwrite)
    order = options.class_order.split(",") if options.class_order else None
    if order:
        check_class_order(options.task, order)
    check_checkpoint(Path(options.file))
    from MolSubCore.models.published import import_published

    path = import_published(
        Path(options.file),
        options.task,
        Path(options.out),
        architecture=options.architecture,
        class_order=order,
        overwrite=options.overwrite,
    )
    print("\n".join(card_lines(read_card(path))))
    print(f"Bundle: {path}")
    return 0
