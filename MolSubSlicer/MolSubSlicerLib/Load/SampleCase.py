"""The sample case: two synthetic views with the lesion outlined, in Slicer's Sample Data module and in ours.

The files are made by the project's own generator (the worker's job `sample-case`), the same on every machine but for
the last bits of some pixels, so nothing has to be downloaded; the Sample Data module takes them from the project's page
where it can be reached.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import slicer

from MolSubSlicerLib.Compat import resource

CATEGORY = "MolSub"
NAME = "MolSubSyntheticMammogram"
#: A release of its own: the files outlive versions of the program.
URL = "https://github.com/MolSubSlicer/SlicerMolSub/releases/download/sample-case-2/"

#: SHA256 of each file.
FILES = {
    "molsub_sample_R_CC.dcm": "d17fb948bc7e489056161dcd92d105a880bd006f4ec1d86282da2faf5ccc8291",
    "molsub_sample_R_CC_lesion.nii": "cb62fdef0d2c5c76788a1c2764c3592e8869f6347d9ffc370e4c0809caa90f95",
    "molsub_sample_R_MLO.dcm": "0679157b328b308db0cff251bd6cf90a794015d32d73ecc6e9174eba16e7b4e8",
    "molsub_sample_R_MLO_lesion.nii": "939faf23c9ce5972ed6ddeba87d0081ac8c6ac197f08e8458a8b56abc46f1154",
}


def cases_in(folder: str | Path) -> list[dict[str, str]]:
    """Image and outline of each view, in the form in which the job `sample-case` names them."""
    names = [name for name in FILES if name.endswith(".dcm")]
    return [
        {"image": str(Path(folder) / name), "lesions": str(Path(folder) / f"{name[:-4]}_lesion.nii")} for name in names
    ]


def register() -> None:
    """Offer the case in Slicer's Sample Data module; to be called once the application has started up."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=NAME,
        thumbnailFileName=str(resource("Icons/SampleCase.png")),
        uris=[URL + name for name in FILES],
        fileNames=list(FILES),
        checksums=[f"SHA256:{digest}" for digest in FILES.values()],
        nodeNames=[None] * len(FILES),
        loadFiles=[False] * len(FILES),
        customDownloader=fetch,
    )


def fetch(source: Any) -> None:
    """Download the case and load it in the module; where it cannot be downloaded, the same files are made."""
    import SampleData

    cases: list[dict[str, str]] = []
    try:
        paths = SampleData.SampleDataLogic().downloadSourceIntoCache(source)
    except ValueError as error:
        logging.info("MolSubSlicer: the sample case is made here, because it cannot be downloaded: %s", error)
    else:
        if all(Path(path).is_file() for path in paths):  # Slicer removes a file with another checksum
            cases = cases_in(Path(paths[0]).parent)
    slicer.util.selectModule("MolSubSlicer")
    slicer.util.getModuleWidget("MolSubSlicer").panels["LoadPanel"].controller.load_sample(cases)
