"""The writes of cohorts, for fault_writes.py: a worklist's masks and table, and an import."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from import_trees import header, picture, write_image, write_rows
from numpy.typing import NDArray
from PIL import Image

from MolSubCore.annotation.worklist import open_worklist
from MolSubCore.cohort.importers.importing import import_cohort
from MolSubCore.cohort.table import read_cohort
from MolSubCore.lesions.masks import write_mask

BOX = "20,20,44,44"


def cohort(folder: Path) -> Path:
    """A table of three patients with a PNG each; the table's path. The images have the same time in every copy."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["patient_id,image,box,subtype"]
    for number, subtype in enumerate(("Luminal A", "TN", "TN")):
        drawn = np.random.default_rng(number).integers(1, 255, (64, 60), np.uint8)
        Image.fromarray(drawn).save(folder / f"p{number}_R_CC.png")
        rows.append(f"p{number},p{number}_R_CC.png,'{BOX}',{subtype}".replace("'", '"'))
    (folder / "table.csv").write_text("\n".join(rows))
    return folder / "table.csv"


def cbis(folder: Path) -> None:
    """Two images in the form of CBIS-DDSM, with masks that an import makes into files."""
    rows = [["patient_id", "left or right breast", "image view", "pathology", "image file path", "ROI mask file path"]]
    for number in (1, 2):
        name, mask = f"Mass-Test_P_0000{number}_LEFT_CC", np.zeros((30, 20), np.uint8)
        mask[5:20, 5 : 12 + number] = 255
        write_image(folder / name / "1.dcm", picture((30, 20), number), of=header("x", "L", "CC"))
        write_image(folder / f"{name}_1" / "1.dcm", mask, of=header("x", "L", "CC"))
        rows.append([f"P_{number}", "LEFT", "CC", "BENIGN", f"{name}/1.dcm", f"{name}_1/1.dcm"])
    write_rows(folder / "table.csv", rows)


#: Set by the driver: a cohort that lies still while folders are copied.
COHORT = Path()


def outline(value: int) -> NDArray[np.uint8]:
    """Larger than what the file system gives at a time, also compressed."""
    drawn = np.random.default_rng(value).random((256, 240)) < 0.3
    drawn[0, 0] = True
    return np.where(drawn, value, 0).astype(np.uint8)


def outline_again(folder: Path, value: int) -> None:
    """What the panel does: outline, mark as done, note, and write the table."""
    source = folder / "images"
    with open_worklist(source, "A") as worklist:
        with worklist.writing(1) as temporary:
            write_mask(temporary, outline(value), row_mm=None, col_mm=None)
        worklist.set_note(1, f"outlined {value}")
        worklist.set_done(1)
        worklist.next()
        worklist.export()


def first_mask(folder: Path) -> None:
    cohort(folder / "images")
    (folder / "images" / "table.csv").unlink()
    outline_again(folder, 1)


def read_worklist(folder: Path) -> object:
    with open_worklist(folder / "images", "A") as worklist:
        (entry,) = [entry for entry in worklist.entries if entry.has_mask]
        (values,) = sitk.GetArrayFromImage(sitk.ReadImage(str(entry.mask)))
        assert any(np.array_equal(values, outline(value)) for value in (1, 2))
        return read_cohort(worklist.export(), need_subtype=False)


def make_import(folder: Path) -> None:
    import_cohort("cbis-ddsm", COHORT / "cbis", folder / "t.csv", overwrite=True)


def read_import(folder: Path) -> object:
    """Where the table is, all that it names is there."""
    if not (folder / "t.csv").exists():
        return None
    cases = read_cohort(folder / "t.csv", need_subtype=False).cases
    masks = [sitk.GetArrayFromImage(sitk.ReadImage(str(case.mask))) for case in cases]
    assert [mask.sum() for mask in masks] == [15 * 8, 15 * 9]
    return cases
