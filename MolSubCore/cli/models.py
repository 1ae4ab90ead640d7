"""``molsub models``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from MolSubCore.cli.parts import Commands, add_command, add_group
from MolSubCore.errors import MolSubError, counted
from MolSubCore.tasks import PAPER_TASKS
from MolSubCore.training.plan import DEFAULT_ARCHITECTURE


def add_models(commands: Commands) -> None:
    """``molsub models``."""
    group = add_group(commands, "models", "model bundles")
    listing = add_command(
        group, "list", models_list, "list the bundles in the model library", examples=("models list",)
    )
    listing.add_argument("--library", metavar="DIR", help="folder of bundles (default: the user's, or $MOLSUB_MODELS)")
    info = add_command(
        group,
        "info",
        models_info,
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
        models_export,
        "make a bundle from a run",
        examples=(
            "models export runs/tn --out tn.molsub",
            "models export study --task tn --model densenet121-cbam+clinical --out tn.molsub --fold ensemble",
        ),
    )
    export.add_argument("run", metavar="RUN", help="a run folder, or a study's with --task and --model")
    export.add_argument("--model", metavar="NAME", help="of a study: an architecture, or a fusion such as NAME+tta")
    export.add_argument("--task", metavar="TASK", help="of a study with several")
    export.add_argument("--out", required=True, metavar="BUNDLE", help="a folder, or a file ending in .molsub")
    export.add_argument(
        "--fold", default="best", metavar="best|ensemble|N", help="which fold's model, or all of them (default best)"
    )
    export.add_argument("--overwrite", action="store_true", help="replace an existing bundle")
    convert = add_command(
        group,
        "import",
        models_import,
        "make a bundle from a published .pth file, without executing it",
        examples=("models import prefered_model_for_tn.pth --task tn --out published-tn.molsub",),
    )
    convert.add_argument("file", metavar="FILE.pth")
    convert.add_argument("--task", required=True, choices=sorted(PAPER_TASKS))
    convert.add_argument("--out", required=True, metavar="BUNDLE", help="a folder, or a file ending in .molsub")
    convert.add_argument(
        "--architecture",
        default=DEFAULT_ARCHITECTURE,
        metavar="NAME",
        help=f"architecture of the checkpoint (default {DEFAULT_ARCHITECTURE})",
    )
    convert.add_argument(
        "--class-order", metavar="NAMES", help="class names in the order of the logits, comma-separated"
    )
    convert.add_argument("--overwrite", action="store_true", help="replace an existing bundle")


def models_list(options: argparse.Namespace) -> int:
    """``molsub models list``: exit code 2 where a bundle cannot be read, or the folder asked for is not there."""
    from MolSubCore.models.card import library_folder, model_name, scan_library

    library = Path(options.library) if options.library else library_folder()
    chosen = "--library" if options.library else "$MOLSUB_MODELS" if os.environ.get("MOLSUB_MODELS") else ""
    if chosen and not os.path.lexists(library):
        raise MolSubError(library, f"does not exist, expected a folder of bundles ({chosen})", "Check the path")
    found, problems = scan_library(library)
    for path, card in found:
        marks = " (synthetic)" if card.get("synthetic") else ""
        marks += "" if card.get("class_order_verified", True) else " (class order not verified)"
        members = counted(len(card["members"]), "member")
        print(f"{path.name:32} {card['task']:10} {model_name(card):24} {members}{marks}")
    for problem in problems:
        print(f"molsub: {problem}", file=sys.stderr)
    if not found and not problems:
        print(f"No bundle in {library}. Make one with molsub models export or import, --out {library}/NAME.molsub.")
    return 2 if problems else 0


def models_info(options: argparse.Namespace) -> int:
    """``molsub models info``."""
    from MolSubCore.models.card import card_lines, check_recipe, find_bundle, read_card

    path = find_bundle(options.bundle)
    card = read_card(path)
    check_recipe(path, card)
    if options.html:
        from MolSubCore.evaluation.model_card import write_model_card

        print(f"Model card: {write_model_card(card, Path(options.html))}", file=sys.stderr if options.json else None)
    if options.json:
        from MolSubCore.models.card import monai_metadata

        print(json.dumps(card | {"metadata": monai_metadata(card)}, indent=2))  # for programs: ASCII passes any pipe
    elif not options.html:
        print("\n".join(card_lines(card)))
    return 0


def models_export(options: argparse.Namespace) -> int:
    """``molsub models export``."""
    from MolSubCore.lock import alone_at
    from MolSubCore.models.card import check_target
    from MolSubCore.training.export import check_exportable, export_run, find_run

    run, out = find_run(Path(options.run), options.model, options.task), Path(options.out)
    check_exportable(run)
    check_target(out, overwrite=options.overwrite)
    with alone_at(out):
        path = export_run(run, out, fold=options.fold, overwrite=options.overwrite)
    print(f"Bundle: {path}")
    return 0


def models_import(options: argparse.Namespace) -> int:
    """``molsub models import``."""
    from MolSubCore.models.card import card_lines, check_checkpoint, check_class_order, check_target, read_card
    from MolSubCore.models.registry import get_architecture

    # All that needs no PyTorch is checked before it is loaded.
    get_architecture(options.architecture)
    if not os.path.isfile(options.file):  # noqa: PTH113 - Path.is_file raises on names that are too long
        raise MolSubError(options.file, "does not exist or is not a file", "Give the published .pth file")
    check_target(Path(options.out), overwrite=options.overwrite)
    order = options.class_order.split(",") if options.class_order else None
    if order:
        check_class_order(options.task, order)
    check_checkpoint(Path(options.file))
    from MolSubCore.lock import alone_at
    from MolSubCore.models.published import import_published

    with alone_at(Path(options.out)):
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
