"""What images say of their patients against the table: each direction, placeholders, pixels; and the commands."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import SimpleITK as sitk
from command_line import failing
from fault_writes import model
from PIL import Image
from written_files import mammogram_dataset, picture, write_dicom

from MolSubCore.__main__ import main
from MolSubCore.cohort.check import check_cohort
from MolSubCore.cohort.identity import Sighting, compare_identities, same_ids
from MolSubCore.cohort.looks import copies as find_copies
from MolSubCore.cohort.looks import is_copy, look_of
from MolSubCore.cohort.table import Case, Problem, parse_cohort
from MolSubCore.cohort.table_files import note_lines
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.imaging.mammogram import Mammogram, Person, is_placeholder
from MolSubCore.prediction.table import predict_table
from MolSubCore.tasks import Subtype


def seen(*rows: tuple[str, Person] | tuple[str, Person, str, Any]) -> list[Sighting]:
    found = []
    for number, (patient, person, *more) in enumerate(rows, start=2):
        case = Case(number, patient, Path(f"{number}.dcm"), None, "1,1,2,2", Subtype.TN)
        found.append(Sighting(case, person, *more))
    return found


def texts(problems: Any) -> list[str]:
    return [str(problem) for problem in problems]


def test_one_patient_under_two_ids() -> None:
    anna = Person("p1", name="anna", birth_date="19500101")
    found = compare_identities(seen(("A-2021", anna), ("B", Person("p2")), ("A-2023", anna)))
    (problem,) = found.problems
    assert (problem.row, problem.column) == (4, "patient_id")
    assert "rows 2, 4 are of one patient by the Patient ID (0010,0020)" in problem.text
    assert "birth dates agree" in problem.text
    assert "--trust-ids" in problem.text
    assert "p1" not in problem.text
    assert "anna" not in problem.text


def test_two_patients_under_one_id() -> None:
    rounded = seen(("1.23457E+15", Person("123", birth_date="1950")), ("1.23457E+15", Person("124", birth_date="1960")))
    (problem,) = compare_identities(rounded).problems
    assert problem.row == 3
    assert "2 different Patient IDs" in problem.text
    assert "in row 2; row 3" in problem.text
    assert "birth dates differ" in problem.text


def test_many_images_of_one_view_under_one_id_are_noted() -> None:
    rows = [("A", Person(), f"pixels {n}", None, "", "L", "CC") for n in range(3)]
    (note,) = compare_identities(seen(*rows)).notes
    assert "rows 2, 3, 4: one patient_id has 3 images of the left breast in CC" in note.text
    assert not compare_identities(seen(*rows[:2])).notes


def test_ids_that_were_exchanged_one_for_one() -> None:
    """One column of the table was sorted by itself: nobody is split and nobody joined, and every id is wrong."""
    rows = [("P1", Person("p-001")), ("P2", Person("P3")), ("P3", Person("P2")), ("P4", Person("P4"))]
    (problem,) = compare_identities(seen(*rows)).problems
    assert problem.row == 3
    assert "the images in rows 3, 4 is the patient_id of other rows" in problem.text
    assert "P1" not in problem.text
    rows[0], rows[3] = ("P1", Person("P4")), ("P4", Person("P1"))
    (problem,) = compare_identities(seen(*rows)).problems
    assert "rows 2, 3, 4, 5" in problem.text
    assert not compare_identities(seen(*rows), trust=True).problems
    # A pseudonym is nobody else's id.
    assert not compare_identities(seen(("A", Person("17")), ("B", Person("18")))).problems


def test_one_image_that_names_another_patient_than_its_row() -> None:
    """Where all others name their own patient, it is no pseudonym."""
    rows = [(f"P{n}", Person(f"p-00{n}")) for n in range(1, 7)]
    (problem,) = compare_identities(seen(*rows[:5], ("P6", Person("HX07")))).problems
    assert problem.row == 7
    assert "the images in row 7 is not their patient_id, as it is in 5 other rows" in problem.text
    assert "HX07" not in problem.text
    strangers = [("P4", Person("a")), ("P5", Person("b")), ("P6", Person("c"))]
    assert not compare_identities(seen(*rows[:3], *strangers)).problems  # pseudonyms that agree by chance
    assert not compare_identities(seen(*rows)).problems


def test_the_same_number_of_two_hospitals_is_of_two_patients() -> None:
    first, second = Person("17", issuer="north"), Person("17", issuer="south")
    assert not compare_identities(seen(("A", first), ("B", second))).problems
    assert compare_identities(seen(("A", first), ("A", second))).problems
    assert compare_identities(seen(("A", first), ("B", Person("17")))).problems  # the issuer is not always written


@pytest.mark.parametrize("attribute", ["study", "instance"])
def test_without_patient_ids_the_uids_tell(attribute: str) -> None:
    shared = Person(**{attribute: "1.2.3"})
    (problem,) = compare_identities(seen(("A", shared), ("B", shared), ("C", Person()))).problems
    assert "rows 2, 3 are of one patient" in problem.text


def test_placeholders_are_noted_once_and_accuse_nobody() -> None:
    for name in ("ANON", "anonymized", "0", "000000", "XXX", "Unknown", "de-identified"):
        assert is_placeholder(name), name
    for name in ("P1", "0017", "Anon-17", "Patient 3", "X12"):
        assert not is_placeholder(name), name
    rows = [(f"P{n}", Person("site 4 study", study="1.2.3")) for n in range(9)] + [("P9", Person("p9"))]
    found = compare_identities(seen(*rows))
    assert not found.problems
    (note,) = found.notes
    assert "9 of 10 images have a placeholder" in note.text


@pytest.mark.parametrize("attribute", ["patient_id", "study", "name"])
def test_one_woman_under_nearly_all_ids_is_no_placeholder(attribute: str) -> None:
    """Nine of ten ids are one woman with a birth date; without it, or with several, the value says nothing."""
    real: dict[str, str] = {attribute: "4711 meier"}

    def found(**births: str) -> Any:
        rows = [(f"P{n}", Person(**real, **{k: v.format(n) for k, v in births.items()})) for n in range(9)]
        return compare_identities(seen(*rows, ("P9", Person("p9"))))

    (problem,) = found(birth_date="19600203").problems
    assert "rows 2, 3, 4, 5, 6, 7, 8, 9, 10 are of one patient" in problem.text
    assert "9 ids for them" in problem.text
    for births in (
        {},
        {"birth_date": "196{}0203"},
        {"birth_date": "19000101"},
        {"birth_date": "19600203", "age": "0{}5y"},
    ):
        assert not found(**births).problems, births
    if attribute == "patient_id":
        (note, *_) = found().notes
        assert "9 have one ID under nearly all ids of the table" in note.text
    if attribute == "study":  # what images of nine PatientIDs share is nobody's
        rows = [(f"P{n}", Person(f"p{n}", study="1.2.3", birth_date="19600203")) for n in range(9)]
        assert not compare_identities(seen(*rows, ("P9", Person("p9")))).problems


def test_trusting_the_table_makes_notes_of_headers_but_not_of_pixels() -> None:
    rows = seen(("A", Person("p1"), "h", 1), ("B", Person("p1"), "h", 1))
    found = compare_identities(rows, trust=True)
    assert [problem.column for problem in found.problems] == ["image"]
    assert "one patient by the Patient ID" in found.notes[0].text
    assert found.summary["trusted"] is True


def test_one_image_in_several_rows_of_a_patient() -> None:
    same = seen(("A", Person(), "h", 1), ("A", Person(), "h", 1))
    other = seen(("A", Person(), "h", 1), ("A", Person(), "h", 2))
    (problem,) = compare_identities(same).problems
    assert "would count twice" in problem.text
    found = compare_identities(other)
    assert not found.problems
    assert "row 3: an image of an earlier row again" in found.notes[0].text


def test_one_picture_in_every_kind_of_file_has_one_hash(tmp_path: Path) -> None:
    stored = picture(12)
    write_dicom(tmp_path / "a.dcm", mammogram_dataset(stored, 12))
    Image.fromarray(stored.astype(np.uint16)).save(tmp_path / "a.png")
    sitk.WriteImage(sitk.GetImageFromArray(stored.astype(np.float32)[None]), str(tmp_path / "a.nii.gz"))
    sitk.WriteImage(sitk.GetImageFromArray(stored.astype(np.int32)), str(tmp_path / "a.nrrd"))
    hashes = {read_mammogram(tmp_path / f"a.{kind}").pixel_hash() for kind in ("dcm", "png", "nii.gz", "nrrd")}
    assert len(hashes) == 1
    stored[3, 3] ^= 1
    write_dicom(tmp_path / "b.dcm", mammogram_dataset(stored, 12))
    assert read_mammogram(tmp_path / "b.dcm").pixel_hash() not in hashes


def test_a_resaved_picture_is_found_and_different_pictures_are_not() -> None:
    """A picture in another window, half its size, negative, mirrored or turned is nearly the same; another is not."""
    ramp = np.add.outer(np.arange(200), np.arange(160))
    first = (60 + ramp + 50 * np.sin(ramp / 9)).astype(np.uint16)
    first[20:60, 90:150] += 200
    copies = [first, np.clip(first, 90, 560)[::2, ::2], 4095 - first, first[:, ::-1], first[::-1, ::-1], first.T // 16]
    others = [np.random.default_rng(seed).integers(0, 400, first.shape) for seed in range(3)]
    looks = [look_of(Mammogram(stored.astype(np.uint16))) for stored in (*copies, *others)]
    rows = seen(*((f"P{n}", Person(), str(n), n, look) for n, look in enumerate(looks)))
    (problem,) = compare_identities(rows).problems
    assert (problem.row, problem.column) == (3, "image")
    assert "rows 2, 3, 4, 5, 6, 7 show nearly the same picture" in problem.text
    assert "--trust-ids" in problem.text
    trusted = compare_identities(rows, trust=True)
    assert not trusted.problems
    assert "nearly the same picture" in trusted.notes[0].text
    found = compare_identities(rows[:-3])  # as of one phantom
    assert not found.problems
    assert "nearly all pictures look alike" in found.notes[0].text
    # Under one id, too; of several sides or views, such as both breasts of one woman, one is to look.
    found = compare_identities(seen(*(("P1", Person(), str(n), n, look, "L") for n, look in enumerate(looks))))
    (problem,) = found.problems
    assert "under one patient_id: it would count several times; leave out all but one" in problem.text
    rows = seen(*(("P1", Person(), str(n), n, look, "LR"[n % 2], "CC") for n, look in enumerate(looks)))
    assert not compare_identities(rows).problems
    assert "Look at them" in compare_identities(rows).notes[0].text
    pictures = [Mammogram(stored.astype(np.uint16), view="CC") for stored in (first, copies[1], others[0])]
    looks = [look_of(one) for one in pictures]
    assert is_copy(pictures[0], pictures[1], looks[:2])
    assert not is_copy(pictures[0], pictures[2], looks[::2])
    assert not is_copy(pictures[0], replace(pictures[1], view="MLO"), looks[:2])


def breast(seed: int) -> Any:
    """A breast with structures of several sizes, and air."""
    rows, columns = np.mgrid[:480, :400]
    rng, texture = np.random.default_rng(seed), np.zeros((480, 400))
    for sigma in (6, 12, 30):
        drawn = cv2.GaussianBlur(rng.normal(size=texture.shape), (0, 0), sigma)
        texture += drawn / drawn.std()
    inside = (columns / 300) ** 2 + ((rows - 240) / 200) ** 2 < 1
    return np.where(inside, 1500 + 150 * texture, 20).clip(0, 4095).astype(np.uint16)


def test_a_cropped_padded_or_labelled_copy_is_found_and_another_breast_is_not() -> None:
    first = breast(1)
    labelled = first.copy()
    labelled[10:30, 330:390] = 4095
    copies = [first, first[8:-8, 8:-8], np.pad(first, ((0, 0), (0, 80)), constant_values=20), labelled]
    copies += [np.ascontiguousarray(first[6:, :-6][::2, ::2][:, ::-1] // 16).astype(np.uint8)]
    pictures = [*copies, *(breast(seed) for seed in range(2, 12))]
    looks = [look_of(Mammogram(stored)) for stored in pictures]
    rows = seen(*((f"P{n}", Person(), str(n), n, look) for n, look in enumerate(looks)))
    (problem,) = compare_identities(rows).problems
    assert problem.rows == (2, 3, 4, 5, 6)


@pytest.mark.parametrize(
    ("pads", "value", "side"),
    [(((0, 0), (96, 96)), 0, 0), (((0, 0), (0, 192)), 0, 0), (((0, 0), (192, 0)), 0, 0),
     (((40, 40), (40, 40)), 4095, 0), (((100, 100), (96, 96)), 0, 256), (((0, 200), (0, 368)), 0, 0),
     (((10, 10), (150, 150)), 900, 480)],
)  # fmt: skip
def test_a_picture_padded_to_another_shape_is_a_copy(pads: Any, value: int, side: int) -> None:
    """With noise in the air, as of detectors; also a frame, and a slide of grey, and made smaller."""
    noise = np.random.default_rng(5).integers(0, 30, (480, 400)).astype(np.uint16)
    pictures = [breast(seed) + noise for seed in (1, 2, 3)]
    padded = np.pad(pictures[1], pads, constant_values=value)
    if side:
        padded = cv2.resize(padded, (side, side), interpolation=cv2.INTER_AREA)
    assert find_copies([look_of(Mammogram(one)) for one in (*pictures, padded)]) == [(1, 3)]


def test_real_mammograms_are_not_taken_for_copies_of_each_other(shared_data: Path) -> None:
    files = [*shared_data.glob("cdd-cesm/images/*.jpg"), *shared_data.glob("nyu-birads-4view-8bit/*.png")]
    pictures = [read_mammogram(file) for file in sorted(files)]
    pictures.append(Mammogram(np.ascontiguousarray(pictures[0].stored[20:-20, 20:-20])))
    looks = [look_of(one) for one in pictures]
    assert len(looks) > 10
    assert find_copies(looks) == [(0, len(looks) - 1)]


def test_images_of_unknown_side_are_told_where_they_are_averaged() -> None:
    rows = (("A", Person(), "h1", 1), ("A", Person(), "h2", 2, "", "L"), ("B", Person(), "h3", 3))
    (note,) = compare_identities(seen(*rows)).notes
    assert "row 2: no side of the breast is told" in note.text
    assert not compare_identities(seen(*rows[1:])).notes


def test_without_patient_ids_name_with_birth_date_tells() -> None:
    anna, anna2 = Person(name="doe anna", birth_date="19500312"), Person(name="anna doe", birth_date="1950-03-12")
    berta = Person(name="roe berta", birth_date="19600101")
    (problem,) = compare_identities(seen(("A", anna), ("B", anna2), ("C", berta))).problems
    assert "rows 2, 3 are of one patient by the name and birth date" in problem.text
    (problem,) = compare_identities(seen(("A", anna), ("A", berta), ("C", Person()))).problems
    assert "rows 2, 3 have one patient_id" in problem.text
    assert "different birth dates and different names" in problem.text
    # A name that goes with many birth dates was written over the names; one name alone is asked about.
    labelled = [(f"P{n}", Person(name="site a", birth_date=f"19{50 + n // 2}0312")) for n in range(6)]
    assert not compare_identities(seen(*labelled)).problems
    found = compare_identities(seen(("A", Person(name="doe anna")), ("B", Person(name="doe anna")), ("C", Person())))
    assert not found.problems
    assert "one name in the headers of their images, under 2 ids" in found.notes[0].text


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        (Person("p", sex="f"), Person("p", sex="m"), "different sexes"),
        (Person("p", birth_date="19500312"), Person("p", birth_date="19500412"), "different birth dates"),
        (Person(name="doe anna"), Person(name="roe berta"), "different names"),
        (Person("p", birth_date="19500312"), Person("p", birth_date="19500101"), ""),  # only the year was left
        (Person("p", birth_date="19500312"), Person("p", birth_date="00010101"), ""),
        (Person("p", sex="f"), Person("p", sex="o"), ""),
        (Person("p", age="045y", examined="20200301"), Person("p", age="052y", examined="20200301"), "different ages"),
        (Person("p", age="045y", examined="20200301"), Person("p", age="047y", examined="20220601"), ""),
        (Person("p", age="045y"), Person("p", age="072y"), "different ages"),
        (Person("p", name="doe anna"), Person("p", name="doe anna m"), ""),
        (Person("p", name="doe anna", birth_date="19500312"), Person("p", name="roe anna", birth_date="19500312"), ""),
        (Person("p", name="doe anna"), Person("p", name="anonymous"), ""),
        (Person("p", name="m\u00fcller \u00f8rsted"), Person("p", name="mueller oersted"), ""),
        (Person("0012", name="mu\u0308ller"), Person("12", name="muller"), ""),
    ],
)
def test_one_id_of_two_people(first: Person, second: Person, problem: str) -> None:
    found = compare_identities(seen(("A", first), ("A", second), ("B", Person("q"))))
    assert [problem in one.text for one in found.problems] == ([True] if problem else [])


def test_patient_ids_of_one_patient_in_other_spellings() -> None:
    for first, second in (("0012345", "12345"), ("p-17", "p17"), ("p 17", "p_17"), ("ab-0017", "ab17")):
        one, other = Person(first), Person(second)
        (problem,) = compare_identities(seen(("A", one), ("B", other), ("C", Person("q")))).problems
        assert "differ in leading zeros, separators or capitals only" in problem.text
        assert not compare_identities(seen(("A", one), ("A", other))).problems
    assert len(set(same_ids(["1-71", "17-1", "18-1"]).values())) == 3
    assert len(set(same_ids(["1-71", "171"]).values())) == 1


def test_accession_numbers_and_frames_of_reference_tell_and_placeholders_do_not() -> None:
    for attribute in ("accession", "frame", "series"):
        shared = Person(**{attribute: "1.2.77"})
        (problem,) = compare_identities(seen(("A", shared), ("B", shared), ("C", Person()))).problems
        assert "rows 2, 3 are of one patient by the" in problem.text
    linked = seen(("A", Person("old")), ("B", Person("new", others=("x", "old"))), ("C", Person("q")))
    (problem,) = compare_identities(linked).problems
    assert "rows 2, 3 are of one patient by the Other Patient ID (0010,1000)" in problem.text
    nobody = Person("anonymous", name="anonymous", birth_date="00010101", accession="0", frame="1.2.840.10008.1.4.1.1")
    assert not compare_identities(seen(("A", nobody), ("B", nobody), ("C", Person()))).problems
    # Every hospital counts its own: two people of other birth dates may have one number.
    one, other = Person("1", birth_date="19500312", accession="a7"), Person("2", birth_date="19600312", accession="a7")
    found = compare_identities(seen(("A", one), ("B", other), ("C", Person())))
    assert not found.problems
    assert "Accession Number" in found.notes[0].text
    # So may two of whom only their Patient IDs are known, or whose exams are of other days.
    for more in ({"patient_id": "{}"}, {"examined": "2020030{}"}):
        rows = [(n, Person(accession="1001", **{k: v.format(n) for k, v in more.items()})) for n in "12"]
        found = compare_identities(seen(*rows, ("C", Person())))
        assert not found.problems
        assert "rows 2, 3 share one Accession Number" in found.notes[0].text


def test_exams_years_apart_are_told() -> None:
    old, new = Person("p", examined="20190301"), Person("p", examined="20220401")
    (note,) = compare_identities(seen(("A", old, "h1", 1, "", "L"), ("A", new, "h2", 2, "", "L"))).notes
    assert "rows 2, 3: The images of the left breast are from exams 3.1 years apart" in note.text
    assert not compare_identities(seen(("A", old, "h1", 1, "", "L"), ("A", new, "h2", 2, "", "R"))).notes
    soon = Person("p", examined="20190401")
    assert not compare_identities(seen(("A", old, "h1", 1, "", "L"), ("A", soon, "h2", 2, "", "L"))).notes
    after = Person("p", examined="20190720")  # chemotherapy
    (note,) = compare_identities(seen(("A", old, "h1", 1, "", "L"), ("A", after, "h2", 2, "", "L"))).notes
    assert "from exams 5 months apart" in note.text


def test_ages_that_are_others_in_the_headers_are_told() -> None:
    """By more than three years: at diagnosis and at operation a woman is not as old as in the picture."""
    ages = (("58", "034y"), ("54,7", "054y"), ("61", "058y"), ("", "040y"), ("40", ""), ("47", "061y"))
    rows = seen(*((f"P{n}", Person(age=age)) for n, (_, age) in enumerate(ages)))
    rows = [
        replace(one, case=replace(one.case, extra={"Age": cell})) for one, (cell, _) in zip(rows, ages, strict=True)
    ]
    (note,) = compare_identities(rows).notes
    assert "Age 58, by the image's header 34 (and 1 more row like it)" in note.text
    assert note.rows == (2, 7)


def test_exams_of_one_breast_are_told_apart_without_their_dates() -> None:
    def notes(first: dict[str, str], second: dict[str, str], *views: str, side: str = "L") -> list[str]:
        people = [Person("p", **{"study": f"1.2.{n}", **own}) for n, own in enumerate((first, second))]
        rows = [("A", one, f"h{n}", n, "", side, view) for n, (one, view) in enumerate(zip(people, views, strict=True))]
        return texts(compare_identities(seen(*rows)).notes)

    (note,) = notes({"age": "048y"}, {"age": "055y"}, "CC", "MLO")
    assert "from several exams (their Study Instance UIDs differ; ages 48 and 55), and the result is a mean" in note
    (note,) = notes({}, {}, "CC", "CC")
    assert "from several exams (their Study Instance UIDs differ), and" in note
    days = {"examined": "20240101"}
    (note,) = notes({**days, "maker": "HOLOGIC, Inc."}, {**days, "maker": "SIEMENS"}, "CC", "CC")
    assert "differ; made by Hologic and Siemens)" in note
    assert not notes({}, {}, "CC", "MLO")  # an archive may give every image a study of its own
    assert not notes({"study": "1.3", "age": "048y"}, {"study": "1.3", "age": "049y"}, "CC", "CC")
    assert not notes(days, days, "CC", "CC")  # taken again that day
    assert not notes({**days, "age": "048y"}, {"examined": "20240115", "age": "049y"}, "CC", "MLO")
    assert not any("exams" in text for text in notes({}, {}, "CC", "CC", side=""))


def test_pairs_of_one_kind_are_told_with_all_their_rows() -> None:
    rows = [(f"P{n}", Person(f"q{n // 2}")) for n in range(60)]
    (line,) = note_lines(compare_identities(seen(*rows), trust=True).notes)
    assert "rows 2, 3 are of one patient" in line
    assert "(also rows 4-5; 6-7;" in line
    assert "and 9 more such sets" in line
    assert "None" not in "".join(note_lines([Problem(None, "x", "n 1"), Problem(None, "x", "n 2")]))


def test_ids_that_a_spreadsheet_rounded(tmp_path: Path) -> None:
    for number, name in enumerate(("1.23457E+15", "1,2e+11", "5E+10", "1E5", "P1.2E3")):
        (tmp_path / "t.csv").write_text(f'patient_id;image;box;subtype\n{name};a.png;"1,1,5,5";TN\n')
        problems = parse_cohort(tmp_path / "t.csv")[1]
        assert [problem.column for problem in problems] == (["patient_id"] if number < 3 else [])


@pytest.fixture
def leak(tmp_path: Path) -> Path:
    """Twelve ids of six patients, and the images say so."""
    lines = ["patient_id,image,box,subtype"]
    for n in range(6):
        for year in (2021, 2023):
            dataset = mammogram_dataset(picture(12, (96, 80), seed=10 * n + year), 12, PatientID=f"SECRET{n}")
            dataset.StudyInstanceUID, dataset.SOPInstanceUID = f"1.2.{n}.{year}", f"1.3.{n}.{year}"
            write_dicom(tmp_path / f"{n}-{year}.dcm", dataset)
            lines.append(f'{n}-{year},{n}-{year}.dcm,"20,20,40,40",{"TN" if n % 2 else "Luminal A"}')
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "t.csv"


def test_the_commands_refuse_a_leak_and_can_be_told_to_go_on(
    leak: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setenv("MOLSUB_CACHE", str(leak.parent / "cache"))
    assert main(["cohort", "check", str(leak)]) == 2
    printed = capsys.readouterr().out
    assert printed.count("of one patient by the Patient ID") == 6
    assert "SECRET" not in printed
    assert main(["cohort", "check", str(leak), "--trust-ids"]) == 0
    (note,) = [line for line in capsys.readouterr().out.splitlines() if "The table was trusted" in line]
    assert note.startswith("Note: rows 3, 5, 7, 9, 11, 13, patient_id: rows 2, 3 are of one patient")
    small = ["--architecture", "simple-cnn", "--pretrained", "none", "--folds", "1", "--device", "cpu", "--bound", "5"]
    out = leak.parent / "run"
    line = failing(capsys, "train", str(leak), "--task", "tn", "--out", str(out), *small)
    assert "row 3: rows 2, 3 are of one patient" in line
    assert "and 5 more problems" in line
    assert not out.exists()
    line = failing(
        capsys, "study", str(leak), "--tasks", "tn", "--out", str(out), "--architectures", "simple-cnn", *small[2:]
    )
    assert "rows 2, 3 are of one patient" in line
    assert not out.exists()


def table_of(folder: Path, rows: dict[str, str]) -> Path:
    """A table of patients with their images, of which those in letters are DICOM files that name these patients."""
    for seed, name in enumerate("ABCD"):
        dataset = mammogram_dataset(picture(12, (96, 80), seed=seed), 12, PatientID=name)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = (
            f"1.{n}.{seed}" for n in (2, 3, 4)
        )
        write_dicom(folder / f"{name}.dcm", dataset)
    Image.fromarray(picture(12, (96, 80), seed=0)).save(folder / "copy.png")
    lines = [f'{patient},{image},"20,20,40,40",L' for patient, image in rows.items()]
    (folder / "t.csv").write_text("\n".join(["patient_id,image,box,laterality", *lines]) + "\n")
    return folder / "t.csv"


def predicted(table: Path, out: str, **options: Any) -> tuple[int, list[dict[str, str]], dict[str, list[str]]]:
    """Exit code, lines of the summary, and the warnings that come of the table by case."""
    code = predict_table(table, model(), table.parent / out, {"layers": []}, **options)
    with (table.parent / out / "predictions.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    cases = {file.parent.name: json.loads(file.read_text()) for file in (table.parent / out).glob("*/prediction.json")}
    told = {name: [text for text in case["warnings"] if text.startswith("Table, ")] for name, case in cases.items()}
    return code, lines, told


def test_images_of_another_patient_are_not_predicted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = table_of(tmp_path, {"A": "B.dcm", "B": "A.dcm", "C": "C.dcm"})
    (problem,) = check_cohort(table, purpose="predict").problems
    code, lines, told = predicted(table, "out")
    assert code == 2
    assert [line["error"] for line in lines] == [str(problem), str(problem), ""]
    assert [bool(line["p:TN"]) for line in lines] == [False, False, True]
    assert told == {"case-0003": []}
    printed = capsys.readouterr()
    assert printed.err.count(problem.text) == 1
    assert "1 of 3 patients predicted" in printed.out
    code, lines, _ = predicted(table, "trusted", trust_ids=True)
    assert (code, [line["error"] for line in lines]) == (0, ["", "", ""])
    assert f"{problem.text.partition(';')[0]}. The table was trusted" in capsys.readouterr().err


def test_an_exchange_is_told_beside_other_contradictions(tmp_path: Path) -> None:
    rows = [("A", Person("B")), ("B", Person("A")), ("C1", Person("C")), ("C2", Person("C"))]
    assert [problem.rows for problem in compare_identities(seen(*rows)).problems] == [(4, 5), (2, 3)]


def test_copies_under_two_ids_are_told_in_the_results_of_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {"A": "A.dcm", "C": "C.dcm", "X": "copy.png"}
    table = table_of(tmp_path, rows)
    (problem,) = check_cohort(table, purpose="predict").problems
    assert "same pixels as row 2, which is another patient" in problem.text
    code, lines, told = predicted(table, "out")
    assert (code, [line["error"] for line in lines]) == (0, ["", "", ""])
    assert told == {"case-0001": [f"Table, {problem}."], "case-0002": [], "case-0003": [f"Table, {problem}."]}
    assert capsys.readouterr().out.count(problem.text) == 1
    times = [file.stat().st_mtime_ns for file in sorted(tmp_path.glob("out/case-*/prediction.json"))]
    assert predicted(table, "out", resume=True)[2] == told
    assert [file.stat().st_mtime_ns for file in sorted(tmp_path.glob("out/case-*/prediction.json"))] == times
    table_of(tmp_path, {"A": "A.dcm", "C": "C.dcm"})
    assert predicted(table, "out", resume=True)[2]["case-0001"] == []


def test_one_patient_id_for_two_patients_is_predicted_only_where_the_table_is_trusted(tmp_path: Path) -> None:
    table = table_of(tmp_path, {"A": "A.dcm", "D": "D.dcm"})
    table.write_text(table.read_text() + 'A,B.dcm,"20,20,40,40",L\n')
    (problem,) = check_cohort(table, purpose="predict").problems
    code, lines, _ = predicted(table, "out")
    assert (code, lines[0]["rows"], lines[0]["error"], lines[1]["error"]) == (2, "2 4", str(problem), "")
    code, lines, _ = predicted(table, "trusted", trust_ids=True)
    assert (code, lines[0]["error"]) == (0, "")


def named(*rows: tuple[str, str, str]) -> list[Sighting]:
    """Rows of patient_id, image and mask, by their names alone; an empty mask is a box."""
    return [
        Sighting(Case(n, own, Path(image), Path(mask) if mask else None, None if mask else "1,1,9,9", Subtype.TN))
        for n, (own, image, mask) in enumerate(rows, start=2)
    ]


IDS = ["P001", "P002", "P003", "P004"]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{}_L_CC.png", "{}_L_CC_mask.png"),
        ("{}_L_CC.png", "roi_{}_L_CC_2.nii.gz"),
        ("images/{}/L_CC.png", "masks/{}/L_CC.png"),
        ("images/{}/L_CC.png", "masks/{}_L_CC_seg.png"),
        ("{}_L_CC.dcm", "{} L CC.nii.gz"),
    ],
)
def test_masks_of_other_rows_are_told_by_their_names(image: str, mask: str) -> None:
    right = [(own, image.format(own), mask.format(own)) for own in IDS]
    assert not texts(compare_identities(named(*right)).problems)
    shifted = [(own, picture, right[(n + 1) % 4][2]) for n, (own, picture, _) in enumerate(right)]
    found = compare_identities(named(*shifted))
    assert [(one.row, one.column) for one in found.problems] == [(n, "mask") for n in (2, 3, 4, 5)]
    assert "row 2, mask: the mask's name is that of another image of the table, in row 3" in texts(found.problems)[0]
    assert all("names of the files are not, add --trust-ids" in text for text in texts(found.problems))
    assert not any("P00" in text for text in texts(found.problems))
    assert {row for one in found.foreign for row in one.rows} == {2, 3, 4, 5}
    assert not compare_identities(named(*shifted), trust=True).problems
    exchanged = [right[0], (*right[1][:2], right[2][2]), (*right[2][:2], right[1][2]), right[3]]
    assert [one.row for one in compare_identities(named(*exchanged)).problems] == [3, 4]


def test_masks_of_images_that_only_lie_beside_are_told(tmp_path: Path) -> None:
    for own in IDS:
        (tmp_path / f"{own}_L_MLO.png").touch()
    rows = [(own, f"{tmp_path}/{own}_L_CC.png", f"{tmp_path}/{own}_L_MLO_mask.png") for own in IDS]
    found = texts(compare_identities(named(*rows)).problems)
    assert len(found) == 4
    assert "the mask's name is that of another image, in the folder of its own" in found[0]


def test_names_of_masks_without_a_pattern_never_alarm(tmp_path: Path) -> None:
    for rows in (
        [(own, f"{own}.png", f"drawn_{n}.png") for n, own in enumerate(IDS)],
        [(own, f"{own}.png", f"mask_{n}.png") for n, own in enumerate(IDS)],
        [(own, f"{own}_L_CC_clahe.png", f"{own}_L_CC_mask.png") for own in IDS],
        [(own, f"{own}/1.png", f"{own}/2.nii.gz") for own in IDS],
        [(own, f"scan_{n}.png", "scan_1.nii.gz" if n == 1 else f"scan_{n}_1.nii.gz") for n, own in enumerate(IDS)],
    ):
        found = compare_identities(named(*rows))
        assert not found.problems
        assert not [note for note in found.notes if note.column == "mask"]
    same = [
        ("P001", "P001_L_DM_CC.png", "P001_L_DM_CC_mask.png"),
        ("P001", "P001_L_CM_CC.png", "P001_L_DM_CC_mask.png"),
    ]
    found = compare_identities(named(*same))
    assert not found.problems
    assert "in row 2, of the same patient, side and view" in str(found.notes)
    strange = [(own, f"{own}_CC.png", f"{own}_CC_mask.png") for own in IDS] + [("P9", "P9_CC.png", "Q7_CC_mask.png")]
    found = compare_identities(named(*strange))
    assert not found.problems
    assert [note.row for note in found.notes if "as it is in nearly all other rows" in note.text] == [6]


@pytest.mark.parametrize("name", ["{}_L_CC.png", "{}/L_CC.png", "{}LCC.png", "exam-{}-L-CC.png"])
def test_ids_of_other_rows_in_the_names_of_images(name: str) -> None:
    assert not compare_identities(named(*((own, name.format(own), "") for own in IDS))).problems
    shifted = named(*((own, name.format(IDS[(n + 1) % 4]), "") for n, own in enumerate(IDS)))
    (problem,) = compare_identities(shifted).problems
    assert (problem.row, problem.column, problem.rows) == (2, "patient_id", (2, 3, 4, 5))
    assert "the image of row 2 has the id of row 3's patient and not that of its own (so also rows 3-5)" in problem.text
    assert "P00" not in problem.text
    assert not compare_identities(shifted, trust=True).problems
    twelve = [f"P{n:03d}" for n in range(1, 13)]
    moved = named(*((own, name.format(twelve[n - 1]), "") for n, own in enumerate(twelve)))
    assert [one.rows for one in compare_identities(moved).problems] == [tuple(range(2, 14))]
    one = named(("P001", name.format("P002"), ""), *((own, name.format(own), "") for own in IDS[1:]))
    assert [problem.rows for problem in compare_identities(one).problems] == [(2,)]
    right = [replace(each, person=Person(each.case.patient_id.casefold())) for each in one]  # the header knows better
    assert not compare_identities(right).problems


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (["1", "2", "3"], ["2_CC.png", "3_CC.png", "1_CC.png"]),  # counters
        (["S01", "S02", "S03"], ["a.png", "b.png", "S01.png"]),  # of few names anything is told
        (["S-01", "S-02", "S-03"], ["S1_CC.png", "S2_CC.png", "S3_CC.png"]),
        (["P10", "P100", "P1000"], ["P10.png", "P100.png", "P1000.png"]),
        (["MLO", "mask", "img1"], ["img1_MLO.png", "img1_mask.png", "img2_mask.png"]),
    ],
)
def test_ids_that_names_have_by_chance(ids: list[str], names: list[str]) -> None:
    assert not compare_identities(named(*((own, name, "") for own, name in zip(ids, names, strict=True)))).problems


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("smith^anna^m", "smith^anna", True),
        ("mueller-schmidt^anna", "m\u00fcller^anna", True),
        ("smith^anna^^frau dr.", "smith^anna", True),
        ("dr. smith^anna", "smith^anna", True),
        ("wang^xiao dong", "wang^xiaodong", True),
        ("wang^xiaodong=\u738b^\u5c0f\u6771", "wang^xiaodong", True),
        ("smith^a", "smith^anna", True),
        ("smith^anna", "smith^maria anna", True),
        ("smith, anna m", "smith^anna", True),
        ("smith^anna", "smith^berta", False),  # twins
        ("smith^anna maria", "smith^anna lena", False),
        ("smith^a", "smith^berta", False),
        ("wang^xiao dong", "wang^xiao mei", False),
        ("garcia lopez^maria", "garcia perez^maria", False),
        ("von berg^anna", "von stein^anna", False),
        ("smith", "smith^anna", False),
        ("anonymous", "anonymous", False),
    ],
)
def test_one_name_in_two_spellings_with_one_birth_date(first: str, second: str, same: bool) -> None:
    def born(name: str, day: str = "19610304") -> Person:
        return Person(name.replace("^", "")[:9] + day, name=" ".join(name.split("^")), birth_date=day, written=name)

    rows = seen(("A", born(first)), ("B", born(second, "19610304")), ("C", born("jones^eve", "19500102")))
    rows[1] = replace(rows[1], person=replace(rows[1].person, patient_id="other"))
    found = compare_identities(rows)
    assert [one.rows for one in found.problems] == ([(2, 3)] if same else [])
    assert all("name and birth date" in one.text and "their names agree" in one.text for one in found.problems)
    other_day = replace(rows[1], person=replace(rows[1].person, birth_date="19610305"))
    assert not compare_identities([rows[0], other_day, rows[2]]).problems


def test_a_further_id_or_a_trials_subject_that_two_ids_share() -> None:
    def told(first: Person, second: Person, *more: Person) -> list[str]:
        rows = [(f"T{n}", one) for n, one in enumerate((first, second, Person("c3"), Person("d4"), *more))]
        return texts(compare_identities(seen(*rows)).problems)

    one, other = Person("a1", others=("9934567", "0")), Person("b2", others=("77", "9934567"))
    (text,) = told(one, other)
    assert "rows 2, 3 are of one patient by the Other Patient ID (0010,1000)" in text
    assert not told(one, replace(other, others=("0", "77")))
    assert not told(*(Person(f"p{n}", others=("study-x",)) for n in range(20)))  # of nearly all
    (text,) = told(Person("a1", subject="s-017", protocol="x"), Person("b2", subject="s-017"))
    assert "by the Clinical Trial Subject ID (0012,0040)" in text
    assert not told(Person("a1", subject="s-017", protocol="x"), Person("b2", subject="s-017", protocol="y"))
    born = [replace(each, birth_date=day) for each, day in ((one, "19610304"), (other, "19500102"))]
    assert not told(*born)
    found = compare_identities(seen(("A", born[0]), ("B", born[1])))
    assert "share one Other Patient ID (0010,1000) under several ids" in str(found.notes)
