"""The worker's jobs: functions ``(options, progress)`` that give a JSON-ready result, by their names in `JOBS`.

A job imports what it needs when it runs: `environment` works in a Python without any package. `needs` comes first, so
that a job can be cancelled while libraries are loaded.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from MolSubCore.errors import MolSubError, explain_error, hide_paths
from MolSubCore.files import OVERWRITE, atomic_path, check_free
from MolSubCore.tasks import Subtype
from MolSubCore.worker.environment import describe
from MolSubCore.worker.loading import needs
from MolSubCore.worker.protocol import Progress, check_options, image_pairs, named_images, write_array

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from MolSubCore.imaging.mammogram import Mammogram
    from MolSubCore.lesions.lesion import LesionSet

#: Modules that read images and masks.
_READERS = (
    "MolSubCore.imaging.io.reader",
    "MolSubCore.imaging.breast",
    "MolSubCore.imaging.canonical",
    "MolSubCore.lesions.masks",
)
#: Loads PyTorch.
_PREDICTION = "MolSubCore.worker.prediction"
#: Options of whatever predicts.
_OF_A_PREDICTION = ("classes", "layers", "device", "same_patient", "identified", "clinical")


def read_image(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``read-image``.

    Parameters
    ----------
    options : mapping
        ``path`` (a mammogram) and ``out`` (a folder; made where it is missing).
    progress : callable
        ``progress(share, stage=...)``: ``reading``, ``writing``.

    Returns
    -------
    dict
        ``pixels`` (``OUT/pixels.npy``: (rows, columns), bright = dense, the smallest exact type of uint8, int16,
        uint16, float32), and the facts of `image_facts`: of its identifiers only the instance UIDs, and as ``patient``
        a digest to compare whether two images name the same patient; null where the header names none.

    Raises
    ------
    MolSubError
        If it cannot be read or is not a mammogram.
    """
    check_options("read-image", options, "path", "out")
    needs("MolSubCore.worker.cache", *_READERS)
    from MolSubCore.imaging.canonical import canonical_array
    from MolSubCore.worker.cache import cached_mammogram

    progress(0.0, stage="reading")
    mammogram = cached_mammogram(options["path"])
    facts = image_facts(mammogram)
    progress(0.8, stage="writing")
    return {"pixels": write_array(Path(options["out"]) / "pixels.npy", canonical_array(mammogram)), **facts}


def image_facts(mammogram: Mammogram) -> dict[str, Any]:
    """What a program needs to show a mammogram, JSON-ready."""
    from MolSubCore.imaging.breast import find_chest_wall
    from MolSubCore.imaging.canonical import canonical_window

    window, (chest_wall, notes) = canonical_window(mammogram), find_chest_wall(mammogram)
    spacing = mammogram.spacing
    return {
        "rows": mammogram.shape[0],
        "columns": mammogram.shape[1],
        "label": mammogram.label,
        "laterality": mammogram.laterality,
        "view": mammogram.view,
        "spacing": {"row_mm": spacing.row_mm, "col_mm": spacing.col_mm, "source": spacing.source},
        "window": {"center": window.center, "width": window.width, "source": window.source},
        "chest_wall": chest_wall,
        "manufacturer": mammogram.manufacturer,
        "presentation": mammogram.presentation,
        "history": [*mammogram.photometric_history, window.note],
        "warnings": [*mammogram.warnings, *notes],
        "sop_instance_uid": mammogram.identifiers.get("SOPInstanceUID"),
        "study_instance_uid": mammogram.identifiers.get("StudyInstanceUID"),
        "patient": _digest(mammogram.person.patient_id),
        "synthetic": mammogram.synthetic,
    }


def _digest(patient: str | None) -> str | None:
    """For comparing within a program, not for files: short ids can be found by trying all."""
    from MolSubCore.imaging.mammogram import is_placeholder

    if not patient or is_placeholder(patient):
        return None
    return hashlib.sha256(patient.encode("utf-8", "surrogateescape")).hexdigest()


def read_lesion_labels(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``read-lesions``.

    Parameters
    ----------
    options : mapping
        ``image``, ``lesions`` (a mask or polygon file, or ``row0,col0,row1,col1``) and ``out`` (a folder).

    Returns
    -------
    dict
        ``labels`` (``OUT/labels.npy``: uint8 (rows, columns), lesion n has the value n), ``count``, ``boxes``
        (``[row0, row1, col0, col1]`` of each, half-open) and ``warnings``.

    Raises
    ------
    MolSubError
        If the lesions cannot be read, there are none, or they lie on another grid.
    """
    check_options("read-lesions", options, "image", "lesions", "out")
    needs("MolSubCore.worker.cache", *_READERS)
    from MolSubCore.lesions.masks import read_lesions
    from MolSubCore.worker.cache import cached_mammogram

    progress(0.0, stage="reading")
    lesions = read_lesions(options["lesions"], cached_mammogram(options["image"]))
    labels, shared = label_map(lesions)
    boxes = [lesion.box for lesion in lesions.lesions]
    notes = [f"{shared} pixels belong to more than one lesion; each was assigned to the last one."] if shared else []
    return {
        "labels": write_array(Path(options["out"]) / "labels.npy", labels),
        "count": len(boxes),
        "boxes": [[box.row_start, box.row_stop, box.col_start, box.col_stop] for box in boxes],
        "warnings": [*lesions.remarks, *notes],
    }


def label_map(lesions: LesionSet) -> tuple[NDArray[np.uint8], int]:
    """All lesions on the image's grid, the n-th with value n; and how many pixels several of them share.

    Returns
    -------
    labels : ndarray of uint8, shape (rows, columns)
        A lesion given as a box fills it.
    shared : int
    """
    import numpy as np

    labels, shared = np.zeros(lesions.shape, np.uint8), 0
    for number, lesion in enumerate(lesions.lesions, start=1):
        part = labels[lesion.box.rows, lesion.box.cols]
        inside = np.ones(part.shape, bool) if lesion.mask is None else lesion.mask
        shared += int(np.count_nonzero(part[inside]))
        part[inside] = number
    return labels, shared


#: Names of pictures and volumes that are masks, not mammograms; DICOM files say so in their header.
_MASK = re.compile(
    r"(?:^|[\W_])(?:masks?|segs?|segmentations?|labels?|labelmap|lesions?|roi)(?:[\W_\d]|$)", re.IGNORECASE
)
_MASK_FOLDERS = {"masks", "segmentations", "labels"}


def find_images(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``find-images``.

    Parameters
    ----------
    options : mapping
        ``path`` (a folder, searched with its subfolders, or one file) or ``paths`` (a list of such). Hidden files and
        folders are skipped.
    progress : callable
        ``progress(share, stage="looking", files=..., of=...)``.

    Returns
    -------
    dict
        ``images``: paths of the mammograms, in the order of their names; ``skipped``: ``path`` and ``reason`` (a
        sentence) of every other file.

    Raises
    ------
    MolSubError
        If there is no such folder or file.
    """
    check_options("find-images", options, optional=("path", "paths"))
    needs(*_READERS)

    given = options.get("paths") or [options.get("path")]
    if not all(isinstance(place, str) and place for place in given):
        raise MolSubError("find-images", "lacks the option path", "Give a folder or files")
    files = list(dict.fromkeys(file for place in given for file in _files(Path(place))))
    images: list[str] = []
    skipped: list[dict[str, str]] = []
    for number, file in enumerate(files, start=1):
        reason = why_not(file)
        if reason is None:
            images.append(str(file))
        else:
            skipped.append({"path": str(file), "reason": reason})
        if number % 20 == 0 or number == len(files):
            progress(number / len(files), stage="looking", files=number, of=len(files))
    return {"images": images, "skipped": skipped}


def why_not(file: Path) -> str | None:
    """Why a file is not a mammogram, in a sentence without its path; None where its header says it is one."""
    from MolSubCore.imaging.io.reader import check_header

    try:
        kind = check_header(file)
    except MolSubError as error:
        return f"{error.problem[:1].upper()}{error.problem[1:]}. {error.remedy}."
    except Exception as error:  # any error is this file's
        return hide_paths(f"It cannot be read: {explain_error(error)[0]}", [file])
    if kind != "DICOM" and (_MASK.search(file.name) or file.parent.name.casefold() in _MASK_FOLDERS):
        return "According to its name it is a lesion mask, not a mammogram."
    return None


def _files(place: Path) -> Iterator[Path]:
    """A file, or all files below a folder in the order of their names."""
    if not place.is_dir():
        if not place.is_file():
            raise MolSubError(place, "does not exist", "Check the path")
        yield place
        return
    for folder, folders, names in os.walk(place):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(names) if not name.startswith("."))


def list_library(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``library-list``.

    Parameters
    ----------
    options : mapping
        Optional: ``folder``; default: the user's library. One that does not exist is empty.

    Returns
    -------
    dict
        ``bundles`` (``path, name, card``) and ``problems`` (``path, problem``), by the names of their files.
    """
    check_options("library-list", options, optional=("folder",))
    from MolSubCore.models.card import library_folder, scan_library

    folder = Path(options["folder"]) if options.get("folder") else library_folder()
    found, problems = scan_library(folder)
    return {
        "bundles": [
            {"path": str(path), "name": path.name.removesuffix(".molsub"), "card": card} for path, card in found
        ],
        "problems": [{"path": error.subject, "problem": str(error)} for error in problems],
    }


def import_checkpoint(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``import-checkpoint``: make a bundle of a published ``.pth`` file, without executing it.

    Parameters
    ----------
    options : mapping
        ``checkpoint``, ``task`` and ``out`` (a file ending in ``.molsub``, or a folder to make). Optional:
        ``architecture``, ``class_order`` (names, in the order of the logits), ``overwrite``.

    Returns
    -------
    dict
        ``path`` and ``card``.

    Raises
    ------
    MolSubError
        If the file does not fit, or `out` exists (before anything is read).
    """
    from MolSubCore.models.card import check_target, read_card

    optional = ("architecture", "class_order", "overwrite")
    check_options("import-checkpoint", options, "checkpoint", "task", "out", optional=optional)
    out, overwrite = Path(options["out"]), bool(options.get("overwrite"))
    check_target(out, overwrite=overwrite, remedy="Choose another name")
    progress(0.0, stage="loading PyTorch")
    needs("MolSubCore.models.published")
    from MolSubCore.models import published

    progress(0.5, stage="importing")
    published.import_published(
        Path(options["checkpoint"]),
        options["task"],
        out,
        architecture=options.get("architecture") or published.ARCHITECTURE,
        class_order=options.get("class_order"),
        overwrite=overwrite,
    )
    return {"path": str(out), "card": read_card(out)}


def export_bundle(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``export-bundle``: a copy of a bundle, to share; every part is checked by its SHA-256.

    Parameters
    ----------
    options : mapping
        ``bundle`` (a path, or a name in the user's library) and ``out`` (a file ending in ``.molsub``, or a folder to
        make). Optional: ``overwrite``.

    Returns
    -------
    dict
        ``path``.

    Raises
    ------
    MolSubError
        If the bundle is damaged, or `out` exists.
    """
    from MolSubCore.models.card import check_target, copy_bundle, find_bundle

    check_options("export-bundle", options, "bundle", "out", optional=("overwrite",))
    source, out, overwrite = find_bundle(options["bundle"]), Path(options["out"]), bool(options.get("overwrite"))
    if out.exists() and out.samefile(source):
        raise MolSubError(out, "is the bundle itself", "Choose another place")
    check_target(out, overwrite=overwrite, remedy="Choose another name")
    progress(0.0, stage="copying")
    copy_bundle(source, out, overwrite=overwrite)
    return {"path": str(out)}


#: Chosen for a lesion that is well visible in both views; another seed gives other files and checksums.
_SEED = 24
_SHAPE = (2048, 1664)


def sample_case(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``sample-case``: two views of a synthetic breast, with the lesion outlined.

    Parameters
    ----------
    options : mapping
        ``out`` (a folder; made where it is missing).

    Returns
    -------
    dict
        ``cases``: of CC and MLO the ``image`` (DICOM) and ``lesions`` (NIfTI, uncompressed, so that its bytes do
        not depend on a compressor).

    Raises
    ------
    MolSubError
        If the folder cannot be written to.
    """
    check_options("sample-case", options, "out")
    needs("MolSubCore.cohort.synthetic", "pydicom")
    from MolSubCore.cohort.synthetic import make_synthetic_cohort

    folder = Path(options["out"])
    cases = []
    with tempfile.TemporaryDirectory() as temporary:
        cohort = Path(temporary) / "case"
        make_synthetic_cohort(cohort, counts={Subtype.TN: 1}, seed=_SEED, image_shape=_SHAPE)
        for number, image in enumerate(sorted((cohort / "images").glob("*.dcm")), start=1):
            name = f"molsub_sample_{image.stem.split('_', 1)[1]}"
            mask = gzip.decompress((cohort / "masks" / f"{image.stem}.nii.gz").read_bytes())
            case = {"image": folder / f"{name}.dcm", "lesions": folder / f"{name}_lesion.nii"}
            for path, content in zip(case.values(), (_lasting(image), mask), strict=True):
                with atomic_path(path, durable=False) as new:
                    new.write_bytes(content)
            cases.append({kind: str(path) for kind, path in case.items()})
            progress(number / 2, stage="writing")
    return {"cases": cases}


def _lasting(image: Path) -> bytes:
    """The bytes of a DICOM file without this version's number, which would change them with every release."""
    import pydicom

    dataset, file = pydicom.dcmread(image), BytesIO()
    dataset.SoftwareVersions = "sample case"
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def predict(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``predict``.

    Parameters
    ----------
    options : mapping
        ``bundle``, ``images`` (a list of ``{"image", "lesions"}``, one patient's; each may have ``side``, L or R,
        ``view`` for a file that does not state it, and ``lesion_id``) and ``out`` (a folder; made where it is missing).
        Optional: ``classes`` (``all``, the default, ``predicted``, or names), ``layers`` (null for the architecture's
        own, or a list of names), ``device``, ``identified`` (show ids of lesions as they are), ``same_patient`` (true
        where the user confirmed that images without a patient are of one patient), ``clinical`` (the patient's values
        by column, texts or numbers, for a model that uses them).
    progress : callable
        ``progress(share, stage=...)``: ``loading model``, ``reading``, ``predicting``, ``predicted``, ``writing``. The
        event of ``predicted`` holds the whole ``prediction`` with the maps of each image's predicted class only, so
        that a result can be shown while the other maps are computed.

    Returns
    -------
    dict
        ``prediction``, also in ``OUT/prediction.json``; see `MolSubCore.worker.prediction.predict_images`.

    Raises
    ------
    MolSubError
        For anything that cannot be read or does not fit, and if memory runs out.
    """
    check_options("predict", options, "bundle", "images", "out", optional=_OF_A_PREDICTION)
    progress(0.0, stage="loading model")
    needs(_PREDICTION)
    from MolSubCore.worker.prediction import predict_images

    return {"prediction": predict_images(options, progress)}


def warm(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``warm``: load what a prediction needs, and with ``bundle`` predict an empty patch of it.

    Parameters
    ----------
    options : mapping
        Optional: ``bundle`` and ``device``.
    progress : callable
        ``progress(share, stage=...)``: ``loading PyTorch``, ``loading model``, ``predicting``.

    Returns
    -------
    dict
        Empty.
    """
    check_options("warm", options, optional=("bundle", "device"))
    progress(0.0, stage="loading PyTorch")
    # Also what the first image and mask would load.
    needs(_PREDICTION, *_READERS, "SimpleITK", "MolSubCore.imaging.io.dicom", "scipy.ndimage")
    if options.get("bundle"):
        from MolSubCore.worker.prediction import dry_pass

        dry_pass(options["bundle"], options.get("device") or "auto", progress)
    return {}


def report(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``report``.

    Parameters
    ----------
    options : mapping
        ``bundle``, ``images`` (a list of ``{"image", "lesions"}``, one patient's; each may have ``side``, L or R,
        ``view`` for a file that does not state it, and ``lesion_id``) and ``out`` (a folder to make);
        optional: ``notes`` (warnings of the calling program, which come first in the report), ``identified``,
        ``overwrite``, ``classes`` (``predicted``, ``all`` or names), ``layers``, ``device``, ``same_patient``,
        ``clinical``.
    progress : callable
        ``progress(share, stage=...)``: ``loading model``, ``predicting``, ``writing``.

    Returns
    -------
    dict
        ``folder``, ``html`` and ``pdf``.

    Raises
    ------
    MolSubError
        For anything that cannot be read or does not fit; before any work, if `out` exists.
    """
    optional = (*_OF_A_PREDICTION, "notes", "overwrite")
    check_options("report", options, "bundle", "images", "out", optional=optional)
    needs(_PREDICTION, "MolSubCore.prediction.write")
    from MolSubCore.prediction.predict import predict
    from MolSubCore.prediction.write import save_prediction
    from MolSubCore.worker.cache import cached_bundle, mammogram_of

    pairs = image_pairs("report", options)
    out, overwrite = Path(options["out"]), bool(options.get("overwrite"))
    check_free(out, replaces="prediction.json" if overwrite else None, remedy=OVERWRITE)
    progress(0.0, stage="loading model")
    bundle = cached_bundle(options["bundle"], options.get("device") or "auto")
    progress(0.1, stage="predicting")
    classes = options.get("classes") or "predicted"
    layers, named = options.get("layers"), named_images(options)
    images = {str(entry["image"]): mammogram_of(entry) for entry in options["images"]}
    named |= {"clinical": options.get("clinical") or {}}
    prediction = predict(pairs, bundle, layers=layers, classes=classes, read=lambda path: images[str(path)], **named)
    notes = dict.fromkeys([*(options.get("notes") or ()), *prediction.warnings])
    prediction = replace(prediction, warnings=tuple(notes))
    progress(0.6, stage="writing")
    save_prediction(prediction, out, identified=bool(options.get("identified")), overwrite=overwrite)
    return {"folder": str(out), "html": str(out / "report.html"), "pdf": str(out / "report.pdf")}


def study_fold(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``study-fold``; see `MolSubCore.study.job.run_fold`."""
    needs("MolSubCore.study.job")
    from MolSubCore.study.job import run_fold

    return run_fold(dict(options), progress)


def check_cohort(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``check-cohort``; see `MolSubCore.worker.train.check`."""
    needs("MolSubCore.worker.train")
    from MolSubCore.worker.train import check

    return check(options, progress)


def train(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``train``; see `MolSubCore.worker.train.train`."""
    needs("MolSubCore.worker.train")
    from MolSubCore.worker.train import train

    return train(options, progress)


def agreement(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``agreement``; see `MolSubCore.worker.agreement.compare`."""
    needs("MolSubCore.worker.agreement")
    from MolSubCore.worker.agreement import compare

    return compare(options, progress)


Job = Callable[[Mapping[str, Any], Progress], dict[str, Any]]

JOBS: Mapping[str, Job] = MappingProxyType(
    {
        "environment": describe,
        "read-image": read_image,
        "find-images": find_images,
        "read-lesions": read_lesion_labels,
        "sample-case": sample_case,
        "warm": warm,
        "predict": predict,
        "report": report,
        "library-list": list_library,
        "import-checkpoint": import_checkpoint,
        "export-bundle": export_bundle,
        "study-fold": study_fold,
        "check-cohort": check_cohort,
        "train": train,
        "agreement": agreement,
    }
)
