"""What a DICOM header says about side, view, spacing and kind; codes against pydicom's copy of the standard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sr._snomed_dict import mapping
from pydicom.sr.codedict import codes
from written_files import mammogram_dataset, picture, write_dicom

from MolSubCore.errors import ImageError
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.imaging.mammogram import Mammogram, Spacing
from MolSubCore.imaging.view_text import read_view_text


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """Write a 12-bit mammogram with these attributes and read it."""

    def written(**attributes: Any) -> Mammogram:
        return read_mammogram(write_dicom(tmp_path / "m.dcm", mammogram_dataset(picture(12), 12, **attributes)))

    return written


@pytest.mark.parametrize("keyword", ["ImageLaterality", "Laterality", "FrameLaterality"])
def test_side_from_each_attribute(read: Any, keyword: str) -> None:
    for side in ("L", "R"):
        assert read(**{"ImageLaterality": "", keyword: side}).laterality == side


def test_side_in_doubt(read: Any) -> None:
    assert read(ImageLaterality=None).laterality is None
    contradicting = read(ImageLaterality="R", Laterality="L")
    assert contradicting.laterality == "R"
    assert any("(ImageLaterality R, Laterality L); R was used" in warning for warning in contradicting.warnings)
    both = read(ImageLaterality="B")
    assert both.laterality is None
    assert any("both breasts" in warning for warning in both.warnings)
    odd = read(ImageLaterality="LATERAL")  # which begins with an L, and is no side
    assert odd.laterality is None
    assert any("side is not understood (ImageLaterality)" in warning for warning in odd.warnings)
    assert not any("side" in warning for warning in read(ImageLaterality="U").warnings)


SHORT_FORMS = {  # ACR's names in the last column of PS3.16 CID 4014
    "CranioCaudal": "CC",
    "MedioLateralObliqueProjection": "MLO",
    "MedioLateralProjection": "ML",
    "LateroMedial": "LM",
    "LateroMedialOblique": "LMO",
    "CaudoCranial": "FB",
    "SuperolateralToInferomedialOblique": "SIO",
    "InferomedialToSuperolateralOblique": "ISO",
    "CranioCaudalExaggeratedLaterally": "XCCL",
    "CranioCaudalExaggeratedMedially": "XCCM",
    "TissueSpecimenFromBreast": "SPECIMEN",
}


def coded(value: str, modifiers: tuple[str, ...] = ()) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", "as coded"
    item.ViewModifierCodeSequence = [coded(modifier) for modifier in modifiers]
    return item


@pytest.mark.parametrize("name", SHORT_FORMS)
def test_view_codes_of_the_standard_in_both_terminologies(read: Any, name: str) -> None:
    assert set(codes.cid4014.dir()) == set(SHORT_FORMS)
    code = getattr(codes.cid4014, name).value
    for value in (code, mapping["SCT"][code]):
        assert read(ViewCodeSequence=[coded(value)], ViewPosition="").view == SHORT_FORMS[name]


def test_view_from_text_attributes_and_contradictions(read: Any) -> None:
    for position, expected in (("MLO", "MLO"), ("L CC", "CC"), ("RMLO", "MLO"), ("CCID", "CC"), ("AP", None)):
        assert read(ViewPosition=position).view == expected
    assert read(ViewPosition="", PatientOrientation="MLO").view == "MLO"  # as in CBIS-DDSM
    assert read(ViewPosition="", PatientOrientation=["A", "FR"]).view is None
    contradicting = read(ViewCodeSequence=[coded("399368009")], ViewPosition="CC")
    assert contradicting.view == "MLO"
    assert any("code MLO, View Position CC" in warning for warning in contradicting.warnings)
    magnified = read(ViewCodeSequence=[coded("399162004", ("399163009",))])
    assert magnified.view == "CC"
    assert any("not a standard view: magnification" in warning for warning in magnified.warnings)
    unknown = read(ViewCodeSequence=[coded("12345")], ViewPosition="")
    assert unknown.view is None
    assert any("view's code is not in DICOM's list" in warning for warning in unknown.warnings)


def test_spacing_and_its_source(read: Any) -> None:
    assert read().spacing == Spacing()
    assert read(ImagerPixelSpacing=[0.1, 0.09]).spacing == Spacing(0.1, 0.09, "ImagerPixelSpacing")
    calibrated = read(PixelSpacing=[0.09, 0.08], ImagerPixelSpacing=[0.1, 0.09])
    assert calibrated.spacing == Spacing(0.09, 0.08, "PixelSpacing")
    # PS3.3 10.7.1.3: a copy of the detector's spacing is no calibration.
    assert read(PixelSpacing=[0.1, 0.1], ImagerPixelSpacing=[0.1, 0.1]).spacing.source == "ImagerPixelSpacing"
    assert read(PixelSpacing=[0.1, 0.1], ImagerPixelSpacing=[0.100005, 0.1]).spacing.source == "ImagerPixelSpacing"
    alone = read(PixelSpacing=[0.1, 0.1])
    assert alone.spacing.source == "PixelSpacing"
    assert any("calibrated" in warning for warning in alone.warnings)


def test_magnification_enters_the_spacing_and_is_told(read: Any) -> None:
    """Of pixels 0.1 mm apart at the detector; PS3.3 C.8.7.11.3.1.1."""
    plain, factor = {"ImagerPixelSpacing": [0.1, 0.1]}, "EstimatedRadiographicMagnificationFactor"
    contact = read(**plain, **{factor: 1.04})
    assert contact.spacing.row_mm == pytest.approx(0.1 / 1.04)
    assert contact.spacing.source == "ImagerPixelSpacing, magnification corrected"
    assert contact.warnings == ()
    assert any("divided by 1.04" in line for line in contact.photometric_history)
    for magnified in (
        read(**plain, **{factor: 1.8}),
        read(PixelSpacing=[0.1, 0.1], **plain, **{factor: 1.8}),  # a copy, not calibrated
        read(PixelSpacing=[0.0556, 0.0556], **plain, **{factor: 1.8}),
        read(**plain, DistanceSourceToDetector=650, DistanceSourceToPatient=361.1),
    ):
        assert magnified.spacing.row_mm == pytest.approx(0.1 / 1.8, rel=2e-3)
        assert any("magnification view" in text and "says 1.8" in text for text in magnified.warnings)
    for doubtful in (
        read(PixelSpacing=[0.09, 0.09], **plain, **{factor: 1.8}),
        read(PixelSpacing=[0.1, 0.1], **{factor: 1.8}),
        read(**plain, ViewCodeSequence=[coded("399162004", ("399163009",))]),
        read(**plain, ViewPosition="RMCC"),
        read(**plain, ViewPosition="CCMAG"),
        read(**plain, SeriesDescription="L CC M 1.8"),
        read(**plain, SeriesDescription="VERGROESSERUNG L CC"),
        read(**plain, DistanceSourceToDetector=650, DistanceSourceToPatient=600, **{factor: 1.8}),
        read(**plain, DistanceSourceToDetector=650, DistanceSourceToPatient=361.1, **{factor: 1.05}),
        read(
            PixelSpacing=[0.2, 0.2], **plain, DistanceSourceToDetector=650, DistanceSourceToPatient=361, **{factor: 1}
        ),
    ):
        assert doubtful.spacing == Spacing()
        assert any("magnification" in text and "unknown" in text for text in doubtful.warnings)
    downsampled = read(PixelSpacing=[0.2, 0.2], **plain)
    assert downsampled.spacing == Spacing()
    assert any("contradict each other" in text for text in downsampled.warnings)
    fiducial = read(PixelSpacing=[0.07, 0.07], PixelSpacingCalibrationType="FIDUCIAL", **plain, **{factor: 1.8})
    assert fiducial.spacing == Spacing(0.07, 0.07, "PixelSpacing")
    absurd = read(**plain, **{factor: 0})
    assert absurd.spacing == Spacing(0.1, 0.1, "ImagerPixelSpacing")
    assert any("factor is not used: 0 is" in text for text in absurd.warnings)


@pytest.mark.parametrize(
    ("attributes", "view", "words"),
    [
        ({"ViewPosition": "CCID"}, "CC", "implant displaced"),
        ({"ViewPosition": "L MLO ID"}, "MLO", "implant displaced"),
        ({"ViewPosition": "RSCC"}, "CC", "spot compression"),
        ({"ViewPosition": "SMML"}, "ML", "spot compression, magnification"),
        ({"ViewPosition": "CCRL"}, "CC", "rolled"),
        ({"ViewCodeSequence": [("399162004", ("414493004",))]}, "CC", "rolled"),
        ({"ViewCodeSequence": [("399162004", ("399055006", "399163009"))]}, "CC", "spot compression, magnification"),
        ({"ViewCodeSequence": [("399162004", ("12345",))]}, "CC", "view modifier is not in"),
        ({"ViewCodeSequence": [("127457009", ())]}, "SPECIMEN", "image of a specimen"),
        ({"ViewPosition": "SPECIMEN"}, "SPECIMEN", "image of a specimen"),
        ({"ViewPosition": "CC MAG"}, "CC", "magnification"),
        ({"ViewPosition": "MLO SPOT COMPRESSION"[:16]}, "MLO", "spot compression"),
        ({"ViewPosition": "CC ROLLED"}, "CC", "rolled"),
        ({"ViewPosition": "CC ID"}, "CC", "implant displaced"),
        ({"ViewPosition": "BIOPSY"}, None, "biopsy"),
        ({"ViewPosition": "LAT"}, None, "ML or LM is not told"),
        ({"ViewPosition": "XCCL"}, "XCCL", "exaggerated craniocaudal"),
        ({"ViewPosition": "AP"}, None, "'AP' is not a known mammographic view"),
        ({"SeriesDescription": "L CC MAG"}, "CC", "magnification"),
        ({"PartialView": "YES"}, "CC", "partial view"),
        ({"PaddleDescription": "7.5CM SPOT CONTACT"}, "CC", "spot compression"),
    ],
)
def test_views_of_another_kind_are_told(read: Any, attributes: dict[str, Any], view: str | None, words: str) -> None:
    if isinstance(attributes.get("ViewCodeSequence"), list):
        sequence = [coded(*pair) for pair in attributes["ViewCodeSequence"]]
        attributes = {**attributes, "ViewCodeSequence": sequence, "ViewPosition": ""}
    mammogram = read(**attributes)
    assert mammogram.view == view
    assert [text for text in mammogram.warnings if words in text], mammogram.warnings
    usual = read(ViewCodeSequence=[coded("399368009", ("442581004",))], ViewPosition="MLO", PartialView="NO")
    assert (usual.view, usual.warnings) == ("MLO", ())


@pytest.mark.parametrize(
    ("text", "side", "view"),
    [
        ("cranio-caudal", None, "CC"), ("Face droite", "R", "CC"), ("CCD", "R", "CC"), ("MLOG", "L", "MLO"),
        ("oblicua izquierda", "L", "MLO"), ("Schräg rechts", "R", "MLO"), ("medio-lateral oblique", None, "MLO"),
        ("medio-lateral", None, "ML"), ("L ML", "L", "ML"), ("R-XCCL", "R", "XCCL"), ("M.L.O.", None, "MLO"),
        ("profil", None, None), ("CC/MLO", None, None), ("RAT", "R", "AT"), ("LAT", None, None), ("CC 2", None, "CC"),
    ],
)  # fmt: skip
def test_views_as_people_write_them(text: str, side: str | None, view: str | None) -> None:
    told = read_view_text(text)
    assert (told.side, told.view) == (side, view)


@pytest.mark.parametrize("values", [[0, 0], [-0.1, -0.1], [1e-7, 1e-7], [0.1, 0.5], [30, 30], [0.1]])
def test_impossible_spacing_is_not_used_and_told(read: Any, values: list[float]) -> None:
    mammogram = read(PixelSpacing=values, ImagerPixelSpacing=[0.1, 0.1])
    assert mammogram.spacing == Spacing(0.1, 0.1, "ImagerPixelSpacing")
    assert any("PixelSpacing is not used" in warning for warning in mammogram.warnings)


def test_doubts_a_user_must_see(read: Any) -> None:
    assert read().warnings == ()
    for keyword, value, words in (
        ("BurnedInAnnotation", "YES", "burned-in text, which may identify"),
        ("BurnedInAnnotation", None, "does not say whether the picture has burned-in"),
        ("ImageType", ["ORIGINAL", "PRIMARY", "STEREO"], "stereotactic"),
        ("ImageType", ["ORIGINAL", "PRIMARY", "STEREO_SCOUT"], "stereotactic"),
        ("ImageType", ["DERIVED", "PRIMARY", "TOMO", "GENERATED_2D"], "comes from tomosynthesis"),
        ("BreastImplantPresent", "YES", "implant"),
        ("QualityControlImage", "YES", "quality-control"),
        ("BodyPartExamined", "CHEST", "CHEST, expected BREAST"),
        ("Modality", "CR", "CR, not MG"),
        ("Modality", None, "does not name its modality"),
    ):
        assert any(words in warning for warning in read(**{keyword: value}).warnings), words


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"ImageType": ["DERIVED", "PRIMARY", "", "SUBTRACTION"]}, "Image Type (SUBTRACTION)"),
        ({"ImageType": ["DERIVED", "PRIMARY", "RECOMBINED"], "ContrastBolusAgent": "X"}, "Image Type (RECOMBINED)"),
        ({"SeriesDescription": "CESM Recombined L CC"}, "recombined, subtraction or high-energy"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "", "LOW_ENERGY"]}, "contrast mammography: the breast holds"),
        ({"ContrastBolusAgent": "X"}, "According to its Contrast/Bolus Agent"),
        ({"SeriesDescription": "Specimen L"}, "image of a specimen, not of the breast"),
        ({"BodyPartExamined": "BREAST SPECIMEN"}, "image of a specimen, not of the breast"),
        ({"StudyDescription": "Pr\u00e4parateradiographie"}, "image of a specimen, not of the breast"),
        ({"SeriesDescription": "cropped images"}, "Series Description (CROPPED) it is cut out of a mammogram"),
        ({"AcquisitionDeviceProcessingDescription": "C-View"}, "comes from tomosynthesis"),
        ({"SeriesDescription": "Biopsy prefire"}, "not a standard view: biopsy"),
        ({"SeriesDescription": "Phantom"}, "image of a phantom"),
        ({"SeriesDescription": "L CC Tomosynthesis Projection"}, "comes from tomosynthesis"),
        ({"SeriesDescription": "L CC Tomo slab 10 mm"}, "comes from tomosynthesis"),
        ({"SeriesDescription": "L CC Tomo"}, "comes from tomosynthesis"),
        ({"SeriesDescription": "L CC 2D synthetisch"}, "comes from tomosynthesis"),
        ({"ImageType": ["DERIVED", "PRIMARY", "RAW_PROJECTION"]}, "comes from tomosynthesis"),
        ({"SeriesDescription": "LCCID"}, "not a standard view: implant displaced"),
        ({"SeriesDescription": "L CC Eklund"}, "not a standard view: implant displaced"),
        ({"SeriesDescription": "CC push back"}, "not a standard view: implant displaced"),
        ({"SeriesDescription": "L CC rolled"}, "not a standard view: rolled"),
        ({"SeriesDescription": "L CC Lupe"}, "not a standard view: magnification"),
        ({"SeriesDescription": "Post clip"}, "not a standard view: biopsy"),
        ({"SeriesDescription": "Galaktographie links CC"}, "it is a galactogram"),
        ({"SeriesDescription": "Ductogram"}, "it is a galactogram"),
        ({"SeriesDescription": "QC Flat field"}, "a quality-control image"),
        ({"SpecimenDescriptionSequence": [Dataset()]}, "image of a specimen, not of the breast"),
    ],
)
def test_images_of_another_kind_are_told_by_the_words_that_say_it(
    read: Any, attributes: dict[str, Any], words: str
) -> None:
    told = [text for text in read(**attributes).warnings if words in text]
    assert len(told) == 1, read(**attributes).warnings
    for usual in (
        "MAMMO screening digital bilateral", "Standard 2D", "L CC", "ROUTINE CC AND MLO", "2 D", "R&D", "ID 1234",
        "L CC Combo 2D + Tomo", "MAMMO SCREENING BILATERAL W TOMO", "Combo Tomo", "L CC HD Combo", "Implant", "QC",
    ):  # fmt: skip
        assert read(SeriesDescription=usual, StudyDescription=usual).warnings == ()


def test_values_too_long_for_their_element_are_counted_rightly(tmp_path: Path) -> None:
    centres = [str(number) for number in range(60_000)]
    dataset = mammogram_dataset(picture(12), 12, WindowCenter=centres, WindowWidth=["5"] * 60_000)
    with pytest.warns(UserWarning, match="exceeds the size of 64 kByte"):
        write_dicom(tmp_path / "m.dcm", dataset)
    assert read_mammogram(tmp_path / "m.dcm").warnings[0] == "The file has 60000 windows; the first 16 were looked at."


@pytest.mark.parametrize(("slope", "intercept"), [("1e308", "-1e308"), ("1e39", "0"), ("1", "1e300")])
def test_grey_values_beyond_all_numbers_are_refused(read: Any, slope: str, intercept: str) -> None:
    with pytest.raises(ImageError, match="grey values are beyond all numbers"):
        read(RescaleSlope=slope, RescaleIntercept=intercept)


def region(value: str, meaning: str) -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return [item]


def test_a_region_that_is_a_specimen_is_told(read: Any) -> None:
    of_breast = region("76752008", "Breast")
    assert not any("specimen" in text for text in read(AnatomicRegionSequence=of_breast).warnings)
    of_breast[0].AnatomicRegionModifierSequence = region("G-8310", "Tissue specimen")
    for given in (of_breast, region("127457009", "Tissue specimen from breast")):
        assert any("image of a specimen" in text for text in read(AnatomicRegionSequence=given).warnings)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"AnatomicRegionSequence": region("73056007", "Right breast")}, "side (ImageLaterality L, Anatomic Region R)"),
        ({"AnatomicRegionSequence": region("1", "Right breast")}, "side (ImageLaterality L, Anatomic Region R)"),
        ({"ViewPosition": "RCC"}, "side (ImageLaterality L, View Position R)"),
        ({"SeriesDescription": "R CC"}, "side (ImageLaterality L, Series Description R)"),
        ({"SeriesDescription": "rechte Brust"}, "side (ImageLaterality L, Series Description R)"),
        ({"SeriesDescription": "LMLO"}, "view (View Position CC, Series Description MLO)"),
    ],
)
def test_what_contradicts_side_or_view_is_named_beside_it(read: Any, attributes: dict[str, Any], words: str) -> None:
    mammogram = read(**attributes)
    assert mammogram.label == "L CC"
    assert [text for text in mammogram.warnings if words in text], mammogram.warnings


def test_side_of_the_region_or_the_view_alone(read: Any) -> None:
    assert read(ImageLaterality=None, AnatomicRegionSequence=region("73056007", "Right breast")).laterality == "R"
    assert read(ImageLaterality=None, ViewPosition="RCC").laterality == "R"
    assert read(ImageLaterality=None, SeriesDescription="R CC").laterality is None  # of a whole series, perhaps
    assert read(ImageLaterality=None, AnatomicRegionSequence=region("76752008", "Breast")).laterality is None


def test_spacings_of_no_mammogram(read: Any) -> None:
    oblong = read(ImagerPixelSpacing=[0.14, 0.28])
    assert oblong.spacing == Spacing()
    assert any("far from square" in text for text in oblong.warnings)
    for values in ([0.1, 0.12], [0.12, 0.1]):
        assert any("not square by ImagerPixelSpacing" in text for text in read(ImagerPixelSpacing=values).warnings)
    fine = read(ImagerPixelSpacing=[0.028, 0.028])
    assert fine.spacing == Spacing()
    assert any("finer than any mammogram's" in text for text in fine.warnings)
    absurd = read(ImagerPixelSpacing=[0.1, 0.1], EstimatedRadiographicMagnificationFactor=180)
    assert absurd.spacing == Spacing()
    assert any("180 is not possible; the spacing is taken as unknown" in text for text in absurd.warnings)


def test_codes_of_views_in_other_places(read: Any) -> None:
    long = coded("399162004", ("",))
    long.ViewModifierCodeSequence[0].LongCodeValue = "399163009"
    assert any("magnification" in text for text in read(ViewCodeSequence=[long]).warnings)
    two = read(ViewCodeSequence=[coded("399162004"), coded("399368009")])
    assert any("codes of several views (CC, MLO)" in text for text in two.warnings)
    meaning = coded("399162004")
    meaning.CodeMeaning = "medio-lateral oblique"
    assert any("code says CC, its own meaning MLO" in text for text in read(ViewCodeSequence=[meaning]).warnings)


def test_identifiers_and_maker(read: Any) -> None:
    mammogram = read(Manufacturer="Maker", ManufacturerModelName="Model 1")
    assert (mammogram.manufacturer, mammogram.model_name, mammogram.synthetic) == ("Maker", "Model 1", False)
    assert mammogram.identifiers["PatientID"] == "P1"
    assert mammogram.identifiers["SOPInstanceUID"] == "1.2.3.4"
    assert mammogram.label == "L CC"


def test_what_only_the_functional_groups_of_an_enhanced_image_say(read: Any) -> None:
    measures, anatomy, group = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, anatomy.FrameLaterality = [0.09, 0.09], "R"
    group.PixelMeasuresSequence, group.FrameAnatomySequence = [measures], [anatomy]
    mammogram = read(ImageLaterality=None, SharedFunctionalGroupsSequence=[group], NumberOfFrames=1)
    assert mammogram.spacing.row_mm == 0.09
    assert mammogram.laterality == "R"
