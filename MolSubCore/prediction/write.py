"""A prediction as files: JSON, heatmaps, overlay sheets, the report as HTML and PDF."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MolSubCore import DISCLAIMER
from MolSubCore.explain.heatmaps import Grid, write_heatmap
from MolSubCore.explain.overlay import Scene, draw_sheet, make_scene
from MolSubCore.files import OVERWRITE, atomic_folder, file_label, file_word, write_json
from MolSubCore.models.card import model_summary, now
from MolSubCore.prediction.provenance import result_key
from MolSubCore.prediction.report import prediction_pdf, prediction_report

if TYPE_CHECKING:
    from MolSubCore.prediction.result import LesionPrediction, Prediction


def save_prediction(
    prediction: Prediction,
    out: str | os.PathLike[str],
    *,
    identified: bool = False,
    overwrite: bool = False,
    dicom: bool = False,
    command: str = "",
    heatmap_grid: Grid = "region",
) -> Path:
    """Write all files of `prediction` to the folder `out`, whole or not at all; return `out`.

    Parameters
    ----------
    identified : bool
        Whether file names and patient identifiers may be written.
    dicom : bool
        Whether to write DICOM objects, too, to ``dicom``; needs `identified`.
    command : str
        For the record; without `identified` it must name nobody.
    heatmap_grid : {'region', 'image'}
        Of the heatmaps' files; see `MolSubCore.explain.heatmaps.write_heatmap`.

    Raises
    ------
    MolSubError
        If `out` holds something; with `overwrite`, something else than a prediction. With `dicom`, if not
        `identified`, or if an image is no DICOM file.
    """
    out = Path(out)
    if dicom:
        from MolSubCore.prediction.dicom.source import check_sources

        check_sources([item.files[0] for item in prediction.items], identified=identified)
    with atomic_folder(out, replaces="prediction.json" if overwrite else None, remedy=OVERWRITE) as folder:
        with ThreadPoolExecutor(max_workers=2) as pool:  # zlib and file writes leave the interpreter
            waiting = [(item, _start_maps(item, prediction, folder, pool, heatmap_grid)) for item in prediction.items]
            images = [_entry(item, prediction, maps, identified) for item, maps in waiting]
        result = {
            "format": "molsub-prediction",
            "format_version": 1,
            "intended_use": DISCLAIMER,
            "task": prediction.bundle_card["task"],
            "classes": prediction.classes,
            "positive": prediction.bundle_card.get("positive"),
            "model": model_summary(prediction.bundle_card),
            "made": _made(prediction, identified, command),
            "images": images,
            "clinical": dict(prediction.clinical) or None,
            "results": [one.to_dict() for one in prediction.results],
            # Of the only result; null where there are several, such as of both breasts.
            "patient": None if prediction.only_result is None else {"probabilities": prediction.only_result},
            "heatmap_grid": heatmap_grid,
            "heatmap_method": next((item.maps.method for item in prediction.items if item.maps), None),
            "warnings": list(prediction.warnings),
        }
        if dicom:
            from MolSubCore.prediction.dicom.write import write_dicom

            sheets = {
                image["lesion"]: {name: folder / file for name, file in image["overlays"].items()} for image in images
            }
            result["dicom"] = [f"dicom/{name}" for name in write_dicom(prediction, folder / "dicom", sheets)]
        write_json(folder / "prediction.json", result)
        pictures = {image["lesion"]: [folder / name for name in image["overlays"].values()] for image in images}
        prediction_report(result, pictures, prediction.bundle_card, folder / "report.html")
        prediction_pdf(result, pictures, prediction.bundle_card, folder / "report.pdf")
    return out


def _made(prediction: Prediction, identified: bool, command: str) -> dict[str, Any]:
    """Date, command, and hashes of all that decided the result."""
    made = {"date": now(), "command": command, **prediction.made}
    if "key" in made:
        files = list({item.image_index: item.files for item in prediction.items}.values())
        made["key"] = result_key(made, files, identified=identified)
    return made


def _entry(
    item: LesionPrediction, prediction: Prediction, maps: list[Future[dict[str, Any]]], identified: bool
) -> dict[str, Any]:
    """One lesion's entry in ``prediction.json``, once its files are written."""
    geometry = item.roi.geometry
    entry: dict[str, Any] = {
        "image": item.image,
        "lesion": item.lesion,
        "breast": item.breast,
        "lesion_id": item.lesion_id or None,
        "means_nothing": item.means_nothing or None,
        "roi": {key: getattr(geometry, key) for key in ("row_start", "row_stop", "col_start", "col_stop")},
        "image_shape": list(item.mammogram.shape),
        "spacing": {
            "row_mm": item.mammogram.spacing.row_mm,
            "col_mm": item.mammogram.spacing.col_mm,
            "source": item.mammogram.spacing.source,
        },
        "photometric_history": list(item.mammogram.photometric_history),
        "probabilities": dict(zip(prediction.classes, map(float, item.probabilities), strict=True)),
        "heatmaps": {},
        "heatmaps_by_class": {},
        "overlays": {},
    }
    if identified:
        entry["files"] = {"image": str(item.files[0]), "lesion": str(item.files[1])}
        entry["identifiers"] = dict(item.mammogram.identifiers)
    if item.maps is not None:
        _add_maps(item, prediction, [future.result() for future in maps], entry)
    return entry


def _add_maps(
    item: LesionPrediction, prediction: Prediction, written: list[dict[str, Any]], entry: dict[str, Any]
) -> None:
    """The names of heatmaps and overlays by class; those of the predicted class stand in ``heatmaps``, too."""
    assert item.maps is not None
    predicted = prediction.classes[int(item.probabilities.argmax())]
    for part in written:
        name = part["class"]
        entry["heatmaps_by_class"][name] = part["files"]
        entry["overlays"][name] = part["overlay"]
        if name == predicted or not entry["heatmaps"]:
            entry["heatmaps"] = {layer: kinds["scaled"] for layer, kinds in part["files"].items()}
            entry["heatmap_class"] = name
    entry["blind_heatmaps"] = [
        {"layer": layer, "class": prediction.classes[class_index]}
        for layer in item.maps.layers
        for class_index, blind in zip(item.maps.classes, item.maps.blind[layer], strict=True)
        if blind
    ]


def _start_maps(
    item: LesionPrediction, prediction: Prediction, folder: Path, pool: ThreadPoolExecutor, grid: Grid
) -> list[Future[dict[str, Any]]]:
    """Begin to write one lesion's heatmaps and overlays, class by class."""
    if item.maps is None:
        return []
    (folder / "heatmaps").mkdir(exist_ok=True)
    synthetic = bool(prediction.bundle_card.get("synthetic"))
    scene = make_scene(item.mammogram, item.lesions, item.roi.geometry, item.lesion, synthetic_model=synthetic)
    return [
        pool.submit(_write_class, item, prediction.classes, scene, position, folder, grid)
        for position in range(len(item.maps.classes))
    ]


def _write_class(
    item: LesionPrediction, classes: list[str], scene: Scene, position: int, folder: Path, grid: Grid
) -> dict[str, Any]:
    """One class's overlay and its heatmaps, scaled and (where the method gives them) raw: file names."""
    assert item.maps is not None
    name = classes[item.maps.classes[position]]
    prefix = f"{file_label(item.lesion)}_{file_word(name)}"
    draw_sheet(folder / f"{prefix}.png", scene, item.maps, position, classes, item.probabilities)
    files: dict[str, dict[str, str]] = {}
    for layer in item.maps.layers:
        files[layer] = {}
        for kind, source in (("scaled", item.maps.scaled), ("raw", item.maps.raw)):
            if source is None:
                continue
            file = f"heatmaps/{prefix}_{layer}_{kind}.nrrd"
            fields = {
                "heatmap class": name,
                "heatmap layer": layer,
                "heatmap kind": kind,
                "heatmap method": item.maps.method,
            }
            place = item.roi.geometry, item.mammogram.spacing
            write_heatmap(folder / file, source[layer][position], *place, fields, grid=grid)
            files[layer][kind] = file
    return {"class": name, "overlay": f"{prefix}.png", "files": files}
