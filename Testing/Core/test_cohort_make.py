"""A table of a folder of images and a folder of masks: what belongs together, and where every file went."""

from __future__ import annotations

import csv
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from coarse_cohort import make_coarse_cohort
from PIL import Image

from MolSubCore.__main__ import main
from MolSubCore.cohort.check import check_cohort
from MolSubCore.cohort.importers.base import ImportOptions
from MolSubCore.cohort.importers.folders import FolderOptions
from MolSubCore.cohort.importers.importing import make_cohort
from MolSubCore.cohort.names import patients_of
from MolSubCore.cohort.table import read_cohort
from MolSubCore.errors import MolSubError
from MolSubCore.files import read_json, write_json
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.tasks import Subtype

Row = dict[str, str]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five synthetic patients with two views each."""
    folder = tmp_path_factory.mktemp("drawn") / "cohort"
    counts = {Subtype.LUMINAL_A: 3, Subtype.TN: 2}
    return make_coarse_cohort(folder, counts=counts, seed=2, image_shape=(160, 128)).parent


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
        f"{doubled}.nii.gz": "several masks for one image, not numbered by their names",
        f"{doubled}_mask.nii.gz": "several masks for one image, not numbered by their names",
        "P9999_L_CC.nii.gz": "no image for this mask",
        "readme.txt": "not a mask, by its name and content",
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
        "table.xlsx": "not an image, by its name and content", "Ada/L_CC.png": "no mask for this image",
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
        *["no image of its patient is in the table"] * 2, "no image of this patient", "subtype not understood",
    ]  # fmt: skip
    make_cohort(images, masks, table, chosen, ImportOptions(keep_unlabelled=True), overwrite=True)
    assert len(rows_of(table)) == 10
    (folder / "pathology.csv").write_text(f"patient_id,subtype\n{first},4\n")
    with pytest.raises(MolSubError, match="row 2"):
        make_cohort(images, masks, table, chosen, overwrite=True)
    assert len(rows_of(table)) == 10


def draw(folder: Path, *names: str) -> tuple[Path, Path]:
    """Pictures of these names, each with its mask, in two folders."""
    for name in names:
        for path, values in ((folder / "i" / f"{name}.png", 200), (folder / "m" / f"{name}_mask.png", 1)):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.eye(30, 20, dtype=np.uint8) * values).save(path)
    return folder / "i", folder / "m"


def test_a_side_that_is_not_understood_is_never_both_breasts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    patients = ("A", "B", "C", "D", "E", "F", "G", "H")
    images, masks = draw(tmp_path, *(f"{patient}_{side}_CC" for patient in patients for side in "LR"))
    rows = ["A,dx", "B,D", "C,Links", "D,gauche", "E,2", "F,xx", "F,L", "G,both", "H,L"]
    table = tmp_path / "s.csv"
    table.write_text("patient_id,Laterality,subtype\n" + "".join(f"{row},TN\n" for row in rows), "utf-8")
    make_cohort(images, masks, tmp_path / "t.csv", FolderOptions(subtypes=table))
    made = [(row["patient_id"], row["laterality"]) for row in rows_of(tmp_path / "t.csv")]
    assert made == [("A", "R"), ("B", "R"), ("C", "L"), ("D", "L"), ("G", "L"), ("G", "R"), ("H", "L")]
    left = places(tmp_path / "t.csv", "rows of the table of subtypes")
    assert left["row 6"] == left["row 7"] == "side not understood"
    notes = " ".join(note["text"] for note in read_json(tmp_path / "t.import.json")["notes"])
    assert "row 6 of the table of subtypes: the side '2'" in notes and "row 7" in notes
    why = places(tmp_path / "t.csv", "images")
    assert "other breast" in why["A_L_CC.png"] and "not understood" in why["F_L_CC.png"]
    for wrong, said in (
        ("patient_id,Brust,subtype\nA,rechts,TN\n", "column 'brust'"),
        ("patient_id,laterality,view,subtype\nA,R,L-MLO,TN\n", "contradicted"),
        ("patient_id,side\nA,L\n", "lacks the column.* subtype"),
    ):
        table.write_text(wrong, "utf-8")
        with pytest.raises(MolSubError, match=said):  # before any header is read
            make_cohort(tmp_path / "absent", masks, tmp_path / "x.csv", FolderOptions(subtypes=table))


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are no bytes, or pipes are others, elsewhere")
def test_every_name_comes_through_and_what_is_no_file_is_passed_over(tmp_path: Path) -> None:
    """The table names the very file, or the file is left out by name; nothing waits for ever."""
    names = [
        "a\nb",
        "a b",
        "tab\tx",
        "=1+1",
        " lead",
        "tail ",
        "a\\b",
        'q,"q',
        "M\udcfcller",
        "e\u0301",
        "cr\rx",
        "\\udcfc",
    ]
    images, masks = draw(tmp_path, *(f"{name}/L_CC" for name in names))
    os.mkfifo(images / "pipe.dcm")
    os.mkfifo(masks / "a_mask.json")
    (images / "dev.png").symlink_to("/dev/zero")
    (images / "dead.dcm").symlink_to("/nowhere")
    (images / "loop").symlink_to(tmp_path)
    (images / "again").symlink_to(images / "a b")
    for name in ("DICOMDIR", "Thumbs.db", "._a.png", ".hidden"):
        (images / name).write_bytes(b"x")
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (images / "a b/L_CC.png").rename(outside / "R_CC.png")
    (images / "linked").symlink_to(outside)
    (masks / "a b").rename(masks / "linked")
    (masks / "linked/L_CC_mask.png").rename(masks / "linked/R_CC_mask.png")
    report = make_cohort(images, masks, tmp_path / "t.csv")
    cases = read_cohort(tmp_path / "t.csv", need_subtype=False).cases
    kept = {*names, "linked"} - {"a b", "a\nb", "cr\rx", "\\udcfc"}
    assert {case.image for case in cases} == {
        images / name / f"{'R' if name == 'linked' else 'L'}_CC.png" for name in kept
    }
    assert all(case.mask and case.mask.is_file() for case in cases)
    assert len({case.patient_id for case in cases}) == len(kept)
    assert set(places(tmp_path / "t.csv", "images")) == {"a\nb/L_CC.png", "cr\rx/L_CC.png", "\\udcfc/L_CC.png"}
    said = "\n".join(report.lines)
    for words in ("rename", r"cr\rx", "(2: dev.png, pipe.dcm)", "(1: dead.dcm)", "(2: again, loop)", "DICOMDIR"):
        assert words in said, said
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("names", "patients"),
    [
        (["L_CC", "R_CC"], ["i", "i"]),
        (["1", "2"], ["i", "i"]),
        (["P1/L_CC", "P1/R_CC"], ["P1", "P1"]),
        (["P1/L_CC", "P2/L_CC"], ["P1", "P2"]),
        (["2019/001/L_CC", "2020/002/L_CC"], ["001", "002"]),
        (["2019/01/7/L_CC", "2019/02/8/L_CC"], ["7", "8"]),
        (["TN/P1_L_CC", "Luminal A/P2_L_CC"], ["P1", "P2"]),
        (["P1/exam1/L_CC", "P1/exam2/L_CC"], ["P1", "P1"]),
        (["P126_L_DM_CC", "P126_R_CM_MLO"], ["P126", "P126"]),
        (["left/P1", "right/P1"], ["P1", "P1"]),
        (["1_L_CC", "1_R_CC", "2_L_CC"], ["1", "1", "2"]),
        (["001_L_CC", "002_L_CC", "003_R_CC"], ["001", "002", "003"]),
        (["1_L_CC", "2_L_MLO", "3_R_CC"], ["i", "i", "i"]),
        (["train/001_L_CC", "val/002_L_CC"], ["001", "002"]),
        (["2001/a", "0007/b", "2345/c"], ["2001", "0007", "2345"]),
        (["P1/1.2.840.10/1", "P1/1.2.840.11/1"], ["P1", "P1"]),
        (["ANON1/IM0001", "ANON2/IM0001"], ["ANON1", "ANON2"]),
    ],
)
def test_who_the_patient_is_by_folders_and_names(names: list[str], patients: list[str]) -> None:
    folder = Path("/clinic/i")
    assert list(patients_of([folder / f"{name}.png" for name in names], folder).ids) == patients


def test_many_numbered_pictures_of_one_folder_are_asked_about() -> None:
    folder = Path("/clinic/i")
    few, many = ([folder / f"IMG_{n:04d}.png" for n in range(count)] for count in (4, 8))
    assert not patients_of(few, folder).doubtful
    assert patients_of(many, folder).doubtful
    years = [folder / year / "001_L_CC.png" for year in ("2021", "2022")]
    assert patients_of(years, folder).doubtful


def test_one_name_in_two_years_is_asked_about(tmp_path: Path) -> None:
    images, masks = draw(tmp_path, "2019/001/L_CC", "2020/001/L_CC", "2020/002/R_CC")
    with pytest.raises(MolSubError, match="'001' in 2019 and 2020") as asked:
        make_cohort(images, masks, tmp_path / "t.csv")
    for pattern, patients in zip(str(asked.value).split("'")[3::2], (["001", "001", "002"], 3), strict=True):
        make_cohort(images, masks, tmp_path / "t.csv", FolderOptions(pattern), overwrite=True)
        ids = [row["patient_id"] for row in rows_of(tmp_path / "t.csv")]
        assert ids == patients or len(set(ids)) == patients


def test_placeholders_are_no_patients_and_what_was_taken_is_said(folder: Path) -> None:
    images = folder / "images"
    for path in images.iterdir():
        image = pydicom.dcmread(path)
        image.PatientID = "ANONYMOUS"
        image.save_as(path)
    report = make_cohort(images, folder / "masks", folder / "made.csv")
    known = {Path(row["image"]).name: row["patient_id"] for row in rows_of(folder / "table.csv")}
    assert {Path(row["image"]).name: row["patient_id"] for row in rows_of(folder / "made.csv")} == known
    said = "\n".join(report.lines)
    assert "10 of 10 images have a placeholder for their PatientID" in said
    assert "Patient: the file's name without side and view, such as P" in said and "; 5 patients" in said
    with pytest.raises(MolSubError, match="placeholder"):
        make_cohort(images, folder / "masks", folder / "other.csv", FolderOptions("header"))


def test_masks_in_a_folder_of_each_patient(tmp_path: Path) -> None:
    """Pictures of the same name: the folder says which is the mask."""
    images, masks = draw(tmp_path / "two", "Ada/L_CC", "Bob/L_CC")
    for patient in ("Ada", "Bob"):
        (tmp_path / "one" / patient / "Masks").mkdir(parents=True)
        (images / patient / "L_CC.png").rename(tmp_path / "one" / patient / "L_CC.png")
        (masks / patient / "L_CC_mask.png").rename(tmp_path / "one" / patient / "Masks" / "L_CC.png")
    make_cohort(tmp_path / "one", tmp_path / "one", tmp_path / "t.csv")
    pairs = [(row["patient_id"], row["image"], row["mask"]) for row in rows_of(tmp_path / "t.csv")]
    assert pairs == [(p, f"one/{p}/L_CC.png", f"one/{p}/Masks/L_CC.png") for p in ("Ada", "Bob")]


def test_a_mask_is_never_given_to_another_patient(tmp_path: Path) -> None:
    """Where names repeat in every patient's folder, the folder counts, however deep."""
    images, masks = draw(tmp_path, "P1/study/L_CC", "P2/study/L_CC", "P3/L_CC")
    for patient in ("P1", "P2"):
        (masks / patient / "study" / "L_CC_mask.png").rename(masks / patient / "L_CC_mask.png")
    (masks / "P3").rename(masks / "P4")
    make_cohort(images, masks, tmp_path / "t.csv")
    pairs = [(row["image"], row["mask"]) for row in rows_of(tmp_path / "t.csv")]
    assert pairs == [(f"i/{p}/study/L_CC.png", f"m/{p}/L_CC_mask.png") for p in ("P1", "P2")]
    assert places(tmp_path / "t.csv", "masks") == {
        "P4/L_CC_mask.png": "only an image in another patient's folder has this name"
    }
    images, masks = draw(tmp_path / "n", "P1", "P10")
    (images / "P10.png").unlink()
    make_cohort(images, masks, tmp_path / "n.csv", FolderOptions(mask_name="{name}*"))
    assert [row["mask"] for row in rows_of(tmp_path / "n.csv")] == ["n/m/P1_mask.png"]


def test_a_mask_that_may_belong_to_two_images_is_told_and_given_to_neither(tmp_path: Path) -> None:
    """Of scan and scan_1 with masks scan_1 and scan_2 nobody knows whose scan_1 is; where all names agree, all know."""
    images, masks = draw(tmp_path, "P1/scan", "P1/scan_1", "P2/scan", "P2/scan_1")
    for patient in ("P1", "P2"):
        for old, new in (("scan_1", "scan_1"), ("scan", "scan_2" if patient == "P1" else "scan")):
            (masks / patient / f"{old}_mask.png").rename(masks / patient / f"{new}.png")
    make_cohort(images, masks, tmp_path / "t.csv")
    pairs = [(row["image"], row["mask"]) for row in rows_of(tmp_path / "t.csv")]
    assert pairs == [(f"i/P2/{name}.png", f"m/P2/{name}.png") for name in ("scan", "scan_1")]
    assert places(tmp_path / "t.csv", "masks") == {
        f"P1/scan_{n}.png": "its end is the name of one image, or the number of a lesion on another: "
        "rename it, or use --mask-name"
        for n in (1, 2)
    }


def test_folders_of_patients_and_flat_masks_belong_together(tmp_path: Path) -> None:
    images, masks = draw(tmp_path, "P1/L_CC", "P2/L_CC", "P3_L_CC")
    for patient in ("P1", "P2"):
        (masks / patient / "L_CC_mask.png").rename(masks / f"{patient}_L_CC{'_mask' * (patient == 'P2')}.png")
    (masks / "P3").mkdir()
    (masks / "P3_L_CC_mask.png").rename(masks / "P3" / "L_CC.png")
    make_cohort(images, masks, tmp_path / "t.csv")
    pairs = {row["image"]: row["mask"] for row in rows_of(tmp_path / "t.csv")}
    assert pairs == {
        "i/P1/L_CC.png": "m/P1_L_CC.png", "i/P2/L_CC.png": "m/P2_L_CC_mask.png", "i/P3_L_CC.png": "m/P3/L_CC.png",
    }  # fmt: skip


def test_names_that_contradict_the_headers_are_told(folder: Path) -> None:
    """Side, view and patient by the names, against the headers; the headers are taken."""
    images, masks = folder / "images", folder / "masks"
    known = {path.stem: (path.stem.split("_")[1], path.stem.split("_")[2]) for path in images.iterdir()}
    first, second = sorted(known)[0], sorted(known)[-1]
    side, view = known[first]
    (images / first[:5]).mkdir()
    (images / second[:5]).mkdir()
    wrong = f"{'R' if side == 'L' else 'L'}_{'MLO' if view == 'CC' else 'CC'}_9"
    (images / f"{first}.dcm").rename(images / second[:5] / f"{wrong}.dcm")
    (masks / f"{first}.nii.gz").rename(masks / f"{second[:5]}_{wrong}.nii.gz")
    report = make_cohort(images, masks, folder / "made.csv")
    (row,) = [row for row in rows_of(folder / "made.csv") if f"/{wrong}" in row["image"]]
    assert (row["laterality"], row["view"]) == (side, view)
    said = "\n".join(report.lines)
    for words in (f"says the side {wrong[0]}, its header says {side}", f"header says {view}", "suggests another"):
        assert f"{words}" in said and f"(1: {second[:5]}/{wrong}.dcm)" in said, said
    (text,) = [t for t in read_mammogram(images / second[:5] / f"{wrong}.dcm").warnings if "the side" in t]
    assert text == f"The file's name says the side {wrong[0]}, its header says {side}: {side} was used."
