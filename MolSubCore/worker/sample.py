"""The worker's job ``sample-case``: the synthetic case that the Slicer module offers as sample data."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from MolSubCore.cohort.synthetic import make_synthetic_cohort
from MolSubCore.files import atomic_path
from MolSubCore.tasks import Subtype
from MolSubCore.worker.options import Progress, require

#: Chosen so that the lesion can be seen well in both views; another seed gives other files and checksums.
_SEED = 24
_SHAPE = (1024, 832)


def make_sample_case(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``sample-case``: two views of a breast that is nobody's, with the lesion outlined.

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
    require("sample-case", options, "out")
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
