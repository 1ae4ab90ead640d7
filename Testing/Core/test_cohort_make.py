"""A table of a folder of images and a folder of masks: what belongs together, and where every file went."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from MolSubCore.__main__ import main
from MolSubCore.cohort.check import check_cohort
from MolSubCore.cohort.importers.folders import FolderOptions
from MolSubCore.cohort.importers.importing import make_cohort
from MolSubCore.cohort.importers.rows import ImportOptions
from MolSubCore.cohort.synthetic import make_synthetic_cohort
from MolSubCore.errors import MolSubError
from MolSubCore.files import read_json, write_json
from MolSubCore.tasks import Subtype

Row = dict[str, str]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five synthetic patients with two views each."""
    folder = tmp_path_factory.mktemp("drawn") / "cohort"
    counts = {Subtype.LUMINAL_A: 3, Subtype.TN: 2}
    return make_synthetic_cohort(folder, counts=counts, seed=2, image_shape=(160, 128)).parent


@pytest.fixture
def folder(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOLSUB_KEY", str(tmp_path / "private.key"))
    monkeypatch.setenv("TQDM_DISABLE", "1")
    return Path(shutil.copytree(drawn, tmp_path / "cohort"))


def rows_of(table: Path) -> list[Row]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def pairs(table: Path) -> dict[str, str]:
    return {Path(row["image"]).name: Path(row["mask"]).name for row in rows_of(table)}


def places(table: Path, kind: str) -> dict[str, str]:
    """Why each file of a kind was left out, by its name."""
    left = read_json(table.with_name(f"{table.stem}.import.json"))["inputs"][kind]["left_out_inputs"]
    return {key: reason for reason, keys in left.items() for key in keys}


def total(table: Path, kind: str) -> int:
    return int(read_json(table.with_name(f"{table.stem}.import.json"))["inputs"][kind]["total"])


def test_the_table_is_that_of_the_generator(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sides, views, patients and masks as the generator wrote them, and a table that passes the check."""
    table = folder / "made.csv"
    assert main(["cohort", "make", str(folder / "images"), str(folder / "masks"), "--out", str(table)]) == 0
    printed = capsys.readouterr().out
    assert "10 images: 10 in the table, 0 not" in printed
    assert "10 masks: 10 in the table, 0 not" in printed
    known = {Path(row["image"]).name: row for row in rows_of(folder / "table.csv")}
    made = rows_of(table)
    assert len(made) == 10
    for row in made:
        own = known[Path(row["image"]).name]
        assert (row["mask"], row["laterality"], row["view"]) == (own["mask"], own["laterality"], own["view"])
        assert float(row["age"]) == float(own["age"])
    patients = {(row["patient_id"], known[Path(row["image"]).name]["patient_id"]) for row in made}
    assert len(patients) == len({one for one, _ in patients}) == 5
    assert not check_cohort(table, purpose="predict").problems


def test_pseudonyms_hide_the_patient_id_and_stay(folder: Path) -> None:
    table, masks = folder / "made.csv", folder / "masks"
    make_cohort(folder / "images", masks, table)
    first = rows_of(table)
    ids = {str(pydicom.dcmread(path).PatientID) for path in (folder / "images").iterdir()}
    written = table.read_text() + (folder / "made.import.json").read_text()
    assert not any(row["patient_id"] in ids for row in first)
    assert all(f'"{name}"' not in written for name in ids)
    make_cohort(folder / "images", masks, table, overwrite=True)
    assert rows_of(table) == first
    make_cohort(folder / "images", masks, table, FolderOptions("identified"), overwrite=True)
    assert {row["patient_id"] for row in rows_of(table)} == ids


def test_masks_are_known_by_many_names_and_every_file_has_a_place(folder: Path) -> None:
    images, masks = folder / "images", folder / "masks"
    names = sorted(path.name.removesuffix(".nii.gz") for path in masks.iterdir())
    forms = ["{}_mask", "{}-Lesion 1", "mask_{}", "{}.roi", "SEG-{}", "{}_label"]
    for name, form in zip(names, forms, strict=False):
        (masks / f"{name}.nii.gz").rename(masks / f"{form.format(name)}.nii.gz")
    several, doubled, lost = names[6:9]
    shutil.copy(masks / f"{several}.nii.gz", masks / f"{several}_2.nii.gz")
    (masks / f"{several}.nii.gz").rename(masks / f"{several}_1.nii.gz")
    shutil.copy(masks / f"{doubled}.nii.gz", masks / f"{doubled}_mask.nii.gz")
    (masks / f"{lost}.nii.gz").rename(masks / "P9999_L_CC.nii.gz")
    (masks / "readme.txt").write_text("masks")
    (images / "notes.txt").write_text("no image")
    (images / "broken.dcm").write_bytes((images / f"{names[0]}.dcm").read_bytes()[:400])
    report = make_cohort(images, masks, folder / "made.csv")
    made = rows_of(folder / "made.csv")
    assert len(made) == 6 + 2 + 1
    used = pairs(folder / "made.csv")
    assert [used[f"{name}.dcm"] for name in names[:6]] == [
        f"{form.format(name)}.nii.gz" for name, form in zip(names, forms, strict=False)
    ]
    assert sorted(Path(row["mask"]).name for row in made if several in row["image"]) == [
        f"{several}_1.nii.gz", f"{several}_2.nii.gz",
    ]  # fmt: skip
    assert places(folder / "made.csv", "masks") == {
        f"{doubled}.nii.gz": "several masks for one image whose names do not number them",
        f"{doubled}_mask.nii.gz": "several masks for one image whose names do not number them",
        "P9999_L_CC.nii.gz": "no image for this mask",
        "readme.txt": "no mask by its name and content",
    }
    left = places(folder / "made.csv", "images")
    assert left[f"{doubled}.dcm"] == left[f"{lost}.dcm"] == "no mask for this image"
    assert set(left) == {f"{doubled}.dcm", f"{lost}.dcm", "notes.txt", "broken.dcm"}
    assert total(folder / "made.csv", "masks") == len(list(masks.iterdir()))
    assert total(folder / "made.csv", "images") == len(list(images.iterdir())) + 1  # the second mask's row
    assert any("several masks" in line for line in report.lines)


def test_a_segmentation_belongs_to_the_image_that_it_refers_to(folder: Path) -> None:
    """By its references, whatever its name; one that refers to no image here has none."""
    masks = folder / "seg"
    masks.mkdir()
    images = sorted((folder / "images").iterdir())
    for name, uid in (("a.dcm", pydicom.dcmread(images[3]).SOPInstanceUID), ("b.dcm", "1.2.3")):
        segmentation = pydicom.dcmread(images[0])
        del segmentation.PixelData
        segmentation.Modality, segmentation.SOPInstanceUID = "SEG", f"2.25.{len(name)}"
        reference, series = pydicom.Dataset(), pydicom.Dataset()
        reference.ReferencedSOPInstanceUID = uid
        series.ReferencedInstanceSequence = [reference]
        segmentation.ReferencedSeriesSequence = [series]
        segmentation.save_as(masks / name)
    make_cohort(folder / "images", masks, folder / "made.csv")
    assert pairs(folder / "made.csv") == {images[3].name: "a.dcm"}
    assert places(folder / "made.csv", "masks") == {"b.dcm": "no image for this mask"}


def test_pictures_and_masks_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told apart by their names; patients, sides and views from the names, too."""
    monkeypatch.setenv("MOLSUB_KEY", str(tmp_path / "private.key"))
    folder = tmp_path / "one"
    for patient in ("J\u00f6rg", "Ada"):
        (folder / patient).mkdir(parents=True)
        for name in ("L_CC", "R-MLO"):
            Image.fromarray(np.arange(600, dtype=np.uint8).reshape(30, 20)).save(folder / patient / f"{name}.png")
            Image.fromarray(np.eye(30, 20, dtype=np.uint8)).save(folder / patient / f"{name}_mask.png")
    write_json(folder / "Ada" / "L_CC.json", {"lesions": [{"points": [[1, 1], [1, 9], [9, 9]]}]})
    (folder / "table.xlsx").touch()
    make_cohort(folder, folder, tmp_path / "t.csv")
    made = rows_of(tmp_path / "t.csv")
    assert [(row["patient_id"], row["laterality"], row["view"]) for row in made] == [
        ("Ada", "R", "MLO"), ("J\u00f6rg", "L", "CC"), ("J\u00f6rg", "R", "MLO"),
    ]  # fmt: skip
    assert places(tmp_path / "t.csv", "images") == {
        "table.xlsx": "no image by its name and content", "Ada/L_CC.png": "no mask for this image",
    }  # fmt: skip
    assert set(places(tmp_path / "t.csv", "masks")) == {"Ada/L_CC.json", "Ada/L_CC_mask.png"}
    assert total(tmp_path / "t.csv", "images") + total(tmp_path / "t.csv", "masks") == 10


def test_patterns_say_what_names_mean(folder: Path) -> None:
    images, masks = folder / "images", folder / "masks"
    for mask in list(masks.iterdir()):
        mask.rename(masks / f"reader A {mask.name.removesuffix('.nii.gz')} x7.nii.gz")
    with pytest.raises(MolSubError, match="nothing for the table"):
        make_cohort(images, masks, folder / "made.csv")
    chosen = FolderOptions(patients=r"(P\d+)_", mask_name="reader A {name}*")
    make_cohort(images, masks, folder / "made.csv", chosen)
    known = {Path(row["image"]).name: row["patient_id"] for row in rows_of(folder / "table.csv")}
    assert {Path(row["image"]).name: row["patient_id"] for row in rows_of(folder / "made.csv")} == known
    for wrong in ({"patients": "P[0-9]+"}, {"patients": "("}, {"mask_name": "mask"}):
        with pytest.raises(MolSubError, match="--"):
            make_cohort(images, masks, folder / "wrong.csv", FolderOptions(**wrong))
    assert not (folder / "wrong.csv").exists()


def test_subtypes_are_joined_by_patient_and_side(folder: Path) -> None:
    images, masks, table = folder / "images", folder / "masks", folder / "made.csv"
    ids = {path.name: str(pydicom.dcmread(path).PatientID) for path in images.iterdir()}
    sides = {path.name: str(pydicom.dcmread(path).ImageLaterality) for path in images.iterdir()}
    first, second, third, fourth, fifth = sorted(set(ids.values()))
    side = {patient: sides[name] for name, patient in ids.items()}
    lines = ["Patient ID;Subtype;Laterality;Centre", f"{first};TN;;A", f"{second};Luminal A;{side[second]};B"]
    lines += [f"{third};TN;{'L' if side[third] == 'R' else 'R'};B", f"{fourth};;;A", "Q1;TN;;A", f"{fifth};HER2 2+;;A"]
    (folder / "pathology.csv").write_text("\n".join(lines))
    chosen = FolderOptions(subtypes=folder / "pathology.csv")
    make_cohort(images, masks, table, chosen)
    made = rows_of(table)
    assert [row["subtype"] for row in made] == ["TN", "TN", "Luminal A", "Luminal A"]
    assert [row["centre"] for row in made] == ["A", "A", "B", "B"]
    assert sorted(places(table, "rows of the table of subtypes").values()) == [
        "no image of this patient", "no image of this patient", "no image of this patient", "subtype not understood",
    ]  # fmt: skip
    make_cohort(images, masks, table, chosen, ImportOptions(keep_unlabelled=True), overwrite=True)
    assert len(rows_of(table)) == 10
    (folder / "pathology.csv").write_text(f"patient_id,subtype\n{first},4\n")
    with pytest.raises(MolSubError, match="row 2"):
        make_cohort(images, masks, table, chosen, overwrite=True)
    assert len(rows_of(table)) == 10
