"""What a damaged or hostile file can bring into messages and pages: no patient, no control characters, no markup."""

from __future__ import annotations

import copy
import csv
import io
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fuzz_mutations import inputs
from fuzz_seeds import Seed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from privacy_marks import found_in, mark_dicom
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from written_files import mammogram_dataset, picture, write_dicom

import MolSubCore
from MolSubCore.__main__ import main
from MolSubCore.cli.terminal import PlainText
from MolSubCore.cohort.table import Case, Cohort, without_paths
from MolSubCore.drawing import make_figure
from MolSubCore.errors import ImageError, MolSubError, printable
from MolSubCore.evaluation.characteristics import patient_columns
from MolSubCore.files import plain_cell
from MolSubCore.imaging.io.reader import brief, read_mammogram
from MolSubCore.imaging.mammogram import maker_name
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.lesions.roi import extract_rois
from MolSubCore.prediction.warnings import image_warnings

ROOT = Path(MolSubCore.__file__).parent


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Seed:
    """A small mammogram with a mark in every identifying attribute."""
    folder = tmp_path_factory.mktemp("marked")
    plain = write_dicom(folder / "plain.dcm", mammogram_dataset(picture(12), 12))
    mark_dicom(plain, folder / "marked.dcm", "7")
    return Seed("DICOM", "marked.dcm", (folder / "marked.dcm").read_bytes(), "DICOM")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_what_is_said_of_damaged_files_names_no_patient(tmp_path: Path, marked: Seed, data: st.DataObject) -> None:
    _, content = data.draw(inputs([marked]))
    path = tmp_path / "image.dcm"
    path.write_bytes(content)
    try:
        mammogram = read_mammogram(path)
    except MolSubError as error:
        said = [str(error)]
    else:
        said = [*mammogram.warnings, *mammogram.photometric_history, mammogram.label]
    assert not found_in("\n".join(said).encode()), said


def test_a_librarys_words_lose_what_they_quote() -> None:
    """Libraries quote a file's values and paths in their errors."""
    assert brief(ValueError("could not convert string to float: 'Anna Mueller'")) == (
        "ValueError: could not convert string to float: '...'"
    )
    assert brief(KeyError("Anna")) == "KeyError: '...'"
    assert "Anna" not in brief(ValueError('Invalid value for VR UI: "Anna".'))
    assert brief(ValueError("needs 3 bytes, has 2")) == "ValueError: needs 3 bytes, has 2"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=50), st.text(max_size=3000), st.text(max_size=50))
def test_errors_are_one_printable_line_of_bounded_length(subject: str, problem: str, remedy: str) -> None:
    text = str(MolSubError(subject, problem, remedy))
    assert text.isprintable()
    assert len(text) < 8000
    assert printable(text, 10_000) == text


def test_printable_keeps_what_people_write() -> None:
    assert printable("Größe 乳房 5 µm") == "Größe 乳房 5 µm"
    assert printable("a\x1b[2Jb\u202ec\0") == r"a\x1b[2Jb\u202ec\x00"
    assert printable("x" * 5000).count("x") < 600


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "乳房 ü"), ("cp1252", r"\u4e73\u623f ü"), ("ascii", None)])
def test_no_text_steers_the_terminal_or_is_refused_by_it(encoding: str, shown: str | None) -> None:
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding=encoding, newline="")
    print("a\x1b[2J\x9b1m\rb\udcfc\u202e\tc 乳房 ü", file=PlainText(stream))
    stream.flush()
    text = buffer.getvalue().decode(encoding)
    assert text.startswith(r"a\u001b[2J\u009b1m\u000db\udcfc\u202e" + "\tc ")
    assert text.endswith("\n")
    if shown:
        assert text.endswith(f"{shown}\n")


def test_the_command_line_prints_through_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a\x1b[31m").mkdir()
    assert main(["models", "list", "--library", str(tmp_path / "a\x1b[31m")]) == 0
    assert r"a\u001b[31m" in capsys.readouterr().out


def test_a_name_that_the_locale_does_not_have_is_one_rows_failure() -> None:
    code = (
        "import os\n"
        "from MolSubCore.errors import explain_error, hide_paths\n"
        "print(ascii(hide_paths('no /clinic/Anna/\u00fc.png', ['/clinic/Anna/\u00fc.png', 'a\\0b'])))\n"
        "try:\n"
        "    os.stat('\u00fc.png')\n"
        "except ValueError as error:\n"
        "    print(explain_error(error))\n"
    )
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT.parent)}
    done = subprocess.run([sys.executable, "-c", code.encode("ascii", "backslashreplace").decode()], env=environment,
                          capture_output=True, text=True, check=True)  # fmt: skip
    hidden, told = done.stdout.splitlines()
    assert hidden == "'no ...'"
    if sys.platform == "linux":
        assert "the computer's locale does not have (ascii)" in told and told.endswith("2)")


def test_texts_of_files_are_no_formulas(tmp_path: Path) -> None:
    figure = make_figure(figsize=(2, 2))
    axes = figure.subplots()
    axes.set_title(r"$\frac{ of $ 5")
    axes.set_xticks([0.5], [r"$\x$"])
    figure.savefig(tmp_path / "a.png")
    assert axes.get_title() == r"$\frac{ of $ 5"
    using = {path.name for path in ROOT.rglob("*.py") if re.search(r"\bFigure\(|pyplot", path.read_text())}
    assert using == {"drawing.py"}  # the one way to make a figure


def test_free_text_of_a_header_is_not_repeated(tmp_path: Path) -> None:
    """Whatever somebody typed into a field that has defined terms, or numbers, or none."""
    name = "ANNA MUELLER"
    texts = ("ViewPosition", "BodyPartExamined", "VOILUTFunction", "Manufacturer", "SeriesDescription", "Laterality",
             "PixelIntensityRelationship", "PresentationLUTShape", "PresentationIntentType", "PaddleDescription",
             "ProtocolName", "WindowCenterWidthExplanation", "PatientOrientation", "PixelSpacingCalibrationType",
             "PartialView", "BurnedInAnnotation", "ImageType", "DetectorType", "StudyDescription")  # fmt: skip
    for keywords in (texts, ("ImagerPixelSpacing",), ("PixelSpacing",), ("WindowCenter",), ("PixelAspectRatio",),
                     ("EstimatedRadiographicMagnificationFactor",), ("RescaleSlope",), ("NumberOfFrames",),
                     ("Modality",), ("PhotometricInterpretation",), ("PixelPaddingValue",),
                     ("SOPClassUID",)):  # fmt: skip
        dataset = mammogram_dataset(picture(12), 12)
        view = Dataset()
        view.CodeValue, view.CodeMeaning, view.CodingSchemeDesignator = name, name, "SCT"
        dataset.ViewCodeSequence = [view]
        dataset.ViewCodeSequence[0].ViewModifierCodeSequence = [copy.deepcopy(view)]
        dataset.PixelIntensityRelationshipSign = 1
        for keyword in keywords:
            tag = tag_for_keyword(keyword)
            assert tag is not None
            dataset[tag] = RawDataElement(Tag(tag), "LO", len(name), name.encode(), 0, False, True)
        said = []
        try:
            mammogram = read_mammogram(write_dicom(tmp_path / "a.dcm", dataset))
        except MolSubError as error:
            said.append(str(error))
        else:
            lesions = read_lesions("5,5,20,20", mammogram)
            rois = extract_rois(mammogram, lesions, get_recipe("default"))
            said += [*image_warnings("1", mammogram, lesions, rois, {"vendors": ["Hologic"]}), mammogram.label]
            said += mammogram.photometric_history
        if keywords == texts:
            assert "(a value that DICOM does not define) is not a known mammographic view" in " ".join(said)
        assert said and not re.search("anna|mueller", " ".join(said), re.IGNORECASE), (keywords, said)
    assert maker_name("GE MEDICAL SYSTEMS") == "GE" and maker_name("") == maker_name(None) == "unknown"


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("box", "MUSTERMANN, Erika"), ("box", "04.02.1962"), ("box", "Mustermann/Erika"),
        ("subtype", "Mustermann Erika 04.02.1962"), ("subtype", "TN Frau Mustermann"), ("subtype", "19620204"),
        ("subtype", "\u5f20\u4e09"),
    ],
)  # fmt: skip
def test_cells_that_may_be_names_are_not_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], column: str, cell: str
) -> None:
    """As where columns were shifted against their header; the row and the column are told."""
    write_dicom(tmp_path / "a.dcm", mammogram_dataset(picture(12), 12))
    row = {"patient_id": "P1", "image": "a.dcm", "box": "2,2,9,9", "subtype": "TN"} | {column: cell}
    with (tmp_path / "t.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    assert main(["cohort", "check", str(tmp_path / "t.csv")]) == 2
    said = "".join(capsys.readouterr())
    assert f"row 2, {column}: " in said
    assert not re.search("mustermann|erika|frau|1962|\u5f20", said.replace(str(tmp_path), ""), re.IGNORECASE)


def test_rows_are_told_without_paths() -> None:
    image, mask = Path("/clinic/Anna/image.dcm"), Path("/clinic/Anna/mask.nii")
    case = Case(3, "Anna", image, mask, None, None)
    assert without_paths(ImageError(image, "is empty", "Copy it"), [case]) == "its image is empty. Copy it"
    assert without_paths(ImageError(mask, "is empty", "Copy it"), [case]) == "its mask is empty. Copy it"
    assert without_paths(ImageError("box 1,2,3,4", "is empty", "Mend it"), [case]).startswith("box 1,2,3,4 is")
    for error in (
        ImageError("/clinic/Anna/other.raw", "is empty", "Copy it"),
        PermissionError(13, "denied", str(image)),
    ):
        assert "Anna" not in without_paths(error, [case])


@pytest.mark.parametrize("folder", ["/i", "/a", "/clinic/i", "a", "/clinic/4/mm", "/clinic/is/its", "and/has"])
def test_words_of_a_message_stay_whatever_a_folder_is_called(folder: str) -> None:
    """Names of folders are hidden as parts of paths only."""
    case = Case(3, "P1", Path(folder, "image.dcm"), Path(folder, "4", "m.tif"), None, None)
    error = ImageError(case.image, "has 3/4 of its rows in mm/px, i.e. it is a part", f"Look at {folder}/image.dcm")
    assert without_paths(error, [case]) == ("its image has 3/4 of its rows in mm/px, i.e. it is a part. Look at ...")


@pytest.mark.parametrize(
    "said",
    [
        "cannot identify image file '/clinic/Anna Berg/mask.tif'",
        "/clinic/Anna Berg/mask.tif: holds 2 pages",
        "cannot open /clinic/Anna Be",  # cut short
        "no such folder Anna Berg/mask.tif",
        "no such folder: Anna Berg/",
        "mask.tif is none; mask.raw is not beside it",
        "could not open /tmp/of-the-library/Anna.nii.gz",
        "has its data in 'Anna Berg of the header.raw', which is not beside it",
        r"could not open C:\\\\clinic\\\\Anna Berg\\\\mask.tif",
    ],
)
def test_no_message_of_a_library_brings_a_path(said: str) -> None:
    """Whatever kind of error it is, and however much of the path it tells."""
    case = Case(3, "P1", Path("/clinic/Anna Berg/image.dcm"), Path("/clinic/Anna Berg/mask.tif"), None, None)
    for error in (ImageError("x", said, "Copy it"), RuntimeError(said), KeyError(said)):
        told = without_paths(error, [case])
        assert "Anna" not in told and "mask.tif" not in told and "mask.raw" not in told and "clinic" not in told, told
    assert without_paths(ImageError("x", "has 1/2 of mm/px and HER2+/HR-", "Do"), [case]) == (
        "x has 1/2 of mm/px and HER2+/HR-. Do"
    )


def test_no_table_shows_columns_that_tell_who_a_patient_is() -> None:
    """By their names: a hospital has few levels, a date of birth may look like a number. Asked for, they are shown."""
    kept = ("age", "grade", "birads", "nodal_status", "menopause", "t stage", "ki67", "validated", "filed")
    left = (
        "Patient Name",
        "name",
        "birth_date",
        "DOB",
        "hospital",
        "centre",
        "accession",
        "MRN",
        "geburtsdatum",
        "姓名",
    )
    cells = dict.fromkeys((*kept, *(name.lower() for name in left)), "18880808")
    cases = tuple(
        Case(n, f"P{n}", Path(f"{n}.dcm"), None, "1,2,3,4", None, dict(cells, grade=str(n % 2))) for n in range(6)
    )
    cohort = Cohort(cases, Path("table.csv"))
    found = patient_columns(cohort)
    assert set(found.columns) == set(kept)
    assert set(found.left_out) == {name.lower() for name in left}
    assert "centre (tells where a patient was; shown where it has codes" in found.note().replace("hospital, ", "")
    assert set(patient_columns(cohort, ["hospital"]).columns) == {"hospital"}
    codes = tuple(replace(case, extra={**case.extra, "centre": f"C{n % 2}"}) for n, case in enumerate(cases))
    assert patient_columns(Cohort(codes, Path("table.csv"))).columns["centre"] == [f"C{n % 2}" for n in range(6)]


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("@SUM(1)", "'@SUM(1)"),
        ("+1+1", "'+1+1"),
        ("-cmd", "'-cmd"),
        ("\t=1", "'\t=1"),
        *((same, same) for same in ("-0.5", "+1", "-1e-9", "HER2+/HR-", "Luminal A", "", 3, -2.5)),
    ],
)
def test_a_spreadsheet_computes_nothing_of_what_is_written(cell: object, written: object) -> None:
    assert plain_cell(cell) == written
