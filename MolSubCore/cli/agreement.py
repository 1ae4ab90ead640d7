"""``molsub agreement``."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from MolSubCore.cli.parts import Commands, add_command
from MolSubCore.errors import MolSubError

if TYPE_CHECKING:
    pass


def add_agreement(commands: Commands) -> None:
    """``molsub agreement``."""
    text = "measure how far two readers' outlines of one mammogram agree: Dice, Hausdorff distance, kappa of the boxes"
    parser = add_command(
        commands,
        "agreement",
        agreement,
        text,
        examples=(
            "agreement reader1.nii.gz reader2.nii.gz --image R_CC.dcm",
            "agreement reader1.nii.gz reader2.nii.gz --image R_CC.dcm --consensus union --out both.nii.gz",
        ),
    )
    add = parser.add_argument
    add("first", metavar="FIRST", help="one reader's mask or polygon file, or row0,col0,row1,col1")
    add("second", metavar="SECOND", help="the other reader's")
    add("--image", required=True, metavar="IMAGE", help="the mammogram")
    add("--consensus", choices=("first", "second", "union", "intersection"), help="make one mask of both")
    add("--out", metavar="FILE", help="file for the consensus, ending in .nii.gz or .nrrd")
    add("--json", action="store_true", help="print machine-readable JSON")


def agreement(options: argparse.Namespace) -> int:
    """``molsub agreement``."""
    from MolSubCore.worker.agreement import agreement_lines, compare

    if bool(options.consensus) != bool(options.out):
        raise MolSubError("--consensus", "and --out go together", "Give both, or neither")
    names = ("image", "first", "second", "consensus", "out")
    found = compare({name: getattr(options, name) for name in names}, lambda share, **values: None)
    print(json.dumps(found, indent=2) if options.json else "\n".join(agreement_lines(found)))
    return 0
