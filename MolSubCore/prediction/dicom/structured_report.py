"""A prediction as a DICOM Comprehensive SR by template TID 1500 (Measurement Report)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    ImageContentItem,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegmentationFrame,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceImageForSegmentation,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from MolSubCore import DISCLAIMER, __version__
from MolSubCore.models.card import calibration_note, result_note
from MolSubCore.prediction.dicom.codes import (
    BREAST,
    CALIBRATION,
    HEATMAP,
    INTENDED_USE,
    LESION,
    MAMMOGRAPHY,
    MEAN,
    NO_UNITS,
    PREDICTED,
    SIDES,
    WARNING,
    class_code,
    probability_code,
)
from MolSubCore.prediction.dicom.maker import DEVICE, MAKER, common, finished, model_uid, model_version, new_uid
from MolSubCore.prediction.dicom.segmentation import LesionObject
from MolSubCore.tasks import leading_classes

if TYPE_CHECKING:
    from MolSubCore.prediction.result import LesionPrediction, Prediction

#: Tracking identifier of the group with the patient's probabilities.
PATIENT = "patient"


@dataclass(frozen=True, eq=False)
class ReportedLesion:
    """A lesion's prediction and the objects that the report refers to.

    Attributes
    ----------
    item : LesionPrediction
    source : Dataset
        The mammogram, from `read_source`.
    segmentation : LesionObject
        Of the lesion's image.
    segment : int
        The lesion's number in it.
    pictures : tuple of Dataset
        Parametric maps and overlays.
    """

    item: LesionPrediction
    source: Dataset
    segmentation: LesionObject
    segment: int
    pictures: tuple[Dataset, ...] = ()


def make_report(prediction: Prediction, lesions: list[ReportedLesion], series: UID) -> Dataset:
    """The report of a prediction, in the study of its first image.

    Per lesion: tracking, algorithm, finding and site, probability of each class, predicted class, references to
    segment and heatmaps. For the patient the means. Intended use, calibration and warnings as text.

    Parameters
    ----------
    prediction : Prediction
    lesions : list of ReportedLesion
        One for each of the prediction's items.
    series : UID
        Series Instance UID.

    Returns
    -------
    Dataset
        Complete, preliminary, unverified.
    """
    card = prediction.bundle_card
    groups = [_lesion_group(lesion, prediction) for lesion in lesions]
    report = MeasurementReport(
        ObservationContext(observer_device_context=_observer(card)),
        MAMMOGRAPHY,
        [*groups, *_result_groups(prediction, lesions)],
        title=codes.DCM.ImagingMeasurementReport,
    )
    for name, value in _texts(prediction):
        report[0].ContentSequence.append(TextContentItem(name, value, RelationshipTypeValues.CONTAINS))
    evidence = _evidence(lesions)
    made = ComprehensiveSR(
        evidence,
        report[0],
        is_complete=True,
        is_final=False,
        is_verified=False,
        performed_procedure_codes=[],
        **common(card, "report", series, 1),
    )
    return finished(made, lesions[0].source)


def _evidence(lesions: list[ReportedLesion]) -> list[Dataset]:
    """All objects referred to, each once; the first image first, whose study and patient the report gets."""
    found: dict[str, Dataset] = {}
    for lesion in lesions:
        for dataset in (lesion.source, lesion.segmentation.dataset, *lesion.pictures):
            found.setdefault(str(dataset.SOPInstanceUID), dataset)
    return list(found.values())


def _observer(card: dict[str, Any]) -> ObserverContext:
    attributes = DeviceObserverIdentifyingAttributes(
        uid=model_uid(card),
        name=DEVICE,
        manufacturer_name=MAKER,
        model_name=str(card.get("name") or "unnamed")[:64],
        serial_number=card["members"][0]["sha256"][:16],
    )
    return ObserverContext(CodedConcept.from_code(codes.DCM.Device), attributes)


def _algorithm(card: dict[str, Any]) -> AlgorithmIdentification:
    """The model: what it is, of which version, and what decides its numbers."""
    parameters = [
        f"software=MolSubCore {__version__}",
        f"architecture={card['architecture']}",
        f"task={card['task']}",
        f"classes={', '.join(card['classes'])}",
        f"recipe={card['recipe']['name']}, margin {card['recipe']['bound']:g} {card['recipe']['bound_unit']}",
        f"calibration={calibration_note(card)}",
        *(f"weights SHA-256={member['sha256']}" for member in card["members"]),
    ]
    return AlgorithmIdentification(
        str(card.get("name") or "unnamed"), model_version(card), parameters, codes.DCM.ArtificialIntelligence, MAKER
    )


def _lesion_group(lesion: ReportedLesion, prediction: Prediction) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    card, source = prediction.bundle_card, lesion.source
    name, uid = lesion.segmentation.tracking[lesion.segment]
    segment = ReferencedSegmentationFrame(
        lesion.segmentation.dataset.SOPClassUID,
        lesion.segmentation.dataset.SOPInstanceUID,
        lesion.segment,  # of the frame: each segment has one
        lesion.segment,
        SourceImageForSegmentation(source.SOPClassUID, source.SOPInstanceUID),
    )
    # One of both only (PS3.3 table 10-3, type 1C); the segment lies in one frame.
    del segment[0].ReferencedSOPSequence[0].ReferencedFrameNumber
    values = dict(zip(prediction.classes, map(float, lesion.item.probabilities), strict=True))
    group = PlanarROIMeasurementsAndQualitativeEvaluations(
        TrackingIdentifier(uid, name),
        referenced_segment=segment,
        finding_type=LESION,
        finding_sites=[_site(lesion.item)],
        algorithm_id=_algorithm(card),
        measurements=[Measurement(probability_code(key), value, NO_UNITS) for key, value in values.items()],
        qualitative_evaluations=_predicted(values),
    )
    for picture in lesion.pictures:
        group[0].ContentSequence.append(
            ImageContentItem(
                HEATMAP,
                picture.SOPClassUID,
                picture.SOPInstanceUID,
                relationship_type=RelationshipTypeValues.CONTAINS,
            )
        )
    return group


def _result_groups(
    prediction: Prediction, lesions: list[ReportedLesion]
) -> list[MeasurementsAndQualitativeEvaluations]:
    """The means over lesions and images: one group per breast, or per lesion that the user names."""
    groups = []
    for result in prediction.results:
        values, counted = result.probabilities, {id(item) for item in result.counted}
        if values is None:
            continue
        own = [lesion.source for lesion in lesions if id(lesion.item) in counted]
        sources = {str(source.SOPInstanceUID): source for source in own}
        groups.append(
            MeasurementsAndQualitativeEvaluations(
                TrackingIdentifier(new_uid(), PATIENT if len(prediction.results) == 1 else result.title),
                finding_type=LESION,
                finding_sites=[FindingSite(BREAST, SIDES.get(result.breast or ""))],
                algorithm_id=_algorithm(prediction.bundle_card),
                measurements=[
                    Measurement(probability_code(key), value, NO_UNITS, derivation=None if prediction.fused else MEAN)
                    for key, value in values.items()
                ],
                qualitative_evaluations=_predicted(values),
                source_images=[
                    SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID)
                    for source in sources.values()
                ],
            )
        )
    return groups


def _site(item: LesionPrediction) -> FindingSite:
    return FindingSite(BREAST, SIDES.get(item.mammogram.laterality or ""))


def _predicted(values: dict[str, float]) -> list[QualitativeEvaluation]:
    """The class with the highest probability; none for a tie."""
    leading = leading_classes(values)
    return [QualitativeEvaluation(PREDICTED, class_code(leading[0]))] if len(leading) == 1 else []


def _texts(prediction: Prediction) -> list[tuple[CodedConcept, str]]:
    return [
        (INTENDED_USE, DISCLAIMER),
        (CALIBRATION, result_note(prediction.bundle_card)),
        *((WARNING, text) for text in prediction.warnings),
    ]
