"""Coded concepts of DICOM results: SNOMED CT and DICOM where they have one, else the private scheme 99MOLSUB."""

from __future__ import annotations

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes

from MolSubCore import __version__
from MolSubCore.files import file_word

SCHEME = "99MOLSUB"
#: Made once for the scheme (ITU-T X.667: a UUID as an integer below 2.25).
SCHEME_UID = "2.25.9846907896380538784809389272168072780"

PREDICTED = CodedConcept("PREDICTED", SCHEME, "Predicted class of molecular subtype")
CALIBRATION = CodedConcept("CALIBRATION", SCHEME, "Calibration of the probabilities")
INTENDED_USE = CodedConcept("INTENDED_USE", SCHEME, "Intended use")
WARNING = CodedConcept("WARNING", SCHEME, "Warning about the prediction")
HEATMAP = CodedConcept("HEATMAP", SCHEME, "Heatmap of the evidence for a class")

LESION = CodedConcept.from_code(codes.SCT.Lesion)
ABNORMAL = CodedConcept.from_code(codes.SCT.MorphologicallyAbnormalStructure)
BREAST = CodedConcept.from_code(codes.SCT.Breast)
MAMMOGRAPHY = CodedConcept.from_code(codes.SCT.Mammography)
NO_UNITS = CodedConcept.from_code(codes.UCUM.NoUnits)
MEAN = CodedConcept.from_code(codes.SCT.Mean)
SIDES = {"L": CodedConcept.from_code(codes.SCT.Left), "R": CodedConcept.from_code(codes.SCT.Right)}
_PROBABILITY = "P_"


def scheme_item() -> CodingSchemeIdentificationItem:
    """The identification of 99MOLSUB, which every object that uses it carries."""
    item = CodingSchemeIdentificationItem(
        SCHEME,
        name="MolSubSlicer codes for predicted molecular subtypes",
        version=__version__,
        responsible_organization="MolSubSlicer project",
    )
    item.CodingSchemeUID = SCHEME_UID  # highdicom takes one of registered schemes only
    return item


def class_code(name: str) -> CodedConcept:
    """The concept of a class, such as ``HER2+/HR-``: (HER2pos_HRneg, 99MOLSUB)."""
    return CodedConcept(file_word(name), SCHEME, name)


def probability_code(name: str) -> CodedConcept:
    """The concept of the probability of a class: (P_HER2pos_HRneg, 99MOLSUB)."""
    return CodedConcept(_PROBABILITY + file_word(name), SCHEME, f"Probability of {name}")


def quantity_code(method: str) -> CodedConcept:
    """What the values of a heatmap are, by the method that made it."""
    gradients = "grad" in method or method in ("hirescam", "layercam")
    known = codes.DCM.GradientWeightedClassActivation if gradients else codes.DCM.ClassActivation
    return CodedConcept.from_code(known)
