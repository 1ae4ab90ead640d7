"""Whole files of every format that a reader of this project knows, for the fuzz test to damage."""

from __future__ import annotations

import io
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from openpyxl import Workbook
from PIL import Image
from pydicom import Dataset, dcmread
from written_files import mammogram_dataset, one_of_each_kind, picture, write_dicom

from MolSubCore.cohort.splits import Split

READERS = ("DICOM", "picture", "volume", "mask", "table", "bundle", "checkpoint", "split", "worker")

#: Of the synthetic images and masks.
SHAPE = (33, 34)
_TABLE = (
    "patient_id,image,mask,box,subtype,age,note\n"
    "007,a/L_CC.dcm,a/m.nii.gz,,Luminal A,51,\n"
    'P 2,b.png,,"1,2,30,31",TN,,"two\nlines"\n'
    "P3,c.dcm,c.json,,HER2+/HR-,60,=1+1\n"
)
_PAPER = "name,img_path,annotation_path,label\n1,a.png,a.nii.gz,0\n2,b.png,b.nii.gz,4\n"


@dataclass(frozen=True)
class Seed:
    """A whole file: who reads it, its ending, its bytes, its container, and the image of which it is a mask."""

    reader: str
    name: str
    data: bytes = field(repr=False)
    container: str = "plain"
    shape: tuple[int, int] = SHAPE
    real: bool = False

    @property
    def suffix(self) -> str:
        """What a file of this kind must be called."""
        return next((end for end in (".nii.gz", ".seg.nrrd") if self.name.endswith(end)), Path(self.name).suffix)


def _container(name: str) -> str:
    if name.startswith("Deflated"):
        return "deflated"
    ends = {
        ".dcm": "DICOM",
        ".png": "PNG",
        ".gz": "gzip",
        ".xlsx": "zip",
        ".molsub": "zip",
        ".pth": "zip",
        ".json": "JSON",
    }
    return ends.get(Path(name).suffix, "plain")


def _seed(reader: str, path: Path, *, shape: tuple[int, int] = SHAPE, real: bool = False) -> Seed:
    return Seed(reader, path.name, path.read_bytes(), _container(path.name), shape, real)


def make_seeds(real: Path | None) -> dict[str, list[Seed]]:
    """Seeds by reader: synthetic ones of every format, and the real files of the folder `real`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = [_seed(_image_reader(path), path) for path in (*one_of_each_kind(folder), *_more_pictures(folder))]
        masks = [_seed("mask", path) for path in _masks(folder)]
        others = [_seed(reader, path) for reader, path in (*_tables(folder), *_models(folder))]
    seeds = [*images, *masks, *others, *_texts(), *(_real_seeds(real) if real else [])]
    return {reader: [seed for seed in seeds if seed.reader == reader] for reader in READERS}


def _image_reader(path: Path) -> str:
    volumes = (".nii", ".gz", ".nrrd", ".mha")
    return "DICOM" if path.suffix == ".dcm" else "volume" if path.suffix in volumes else "picture"


def _more_pictures(folder: Path) -> list[Path]:
    grey, deep = picture(8, SHAPE), picture(12, SHAPE)
    colours = np.dstack([grey] * 3)
    pictures = {
        "rgb.png": Image.fromarray(colours),
        "alpha.png": Image.fromarray(np.dstack([colours, grey])),
        "palette.png": Image.fromarray(grey).convert("P"),
        "float.tif": Image.fromarray(deep.astype(np.float32)),
        "rgb.tif": Image.fromarray(colours),
    }
    for name, image in pictures.items():
        image.save(folder / name)
    Image.fromarray(deep).save(folder / "lzw.tif", compression="tiff_lzw")
    Image.fromarray(grey).save(folder / "progressive.jpg", progressive=True)
    written = [folder / name for name in (*pictures, "lzw.tif", "progressive.jpg")]
    float_volume, packed = folder / "float.nii.gz", folder / "packed.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(deep[None].astype(np.float32)), str(float_volume))
    sitk.WriteImage(sitk.GetImageFromArray(deep[None]), str(packed), useCompression=True)
    return [*written, float_volume, packed]


def lesion_mask() -> np.ndarray:
    """Two lesions of two labels."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[5:15, 6:20], mask[20:30, 10:30] = 1, 2
    return mask


def _masks(folder: Path) -> list[Path]:
    mask = lesion_mask()
    for name in ("m.png", "m.tif", "m.bmp"):
        Image.fromarray(mask).save(folder / name)
    for name in ("m.nii.gz", "m.nii", "m.nrrd", "m.mha"):
        sitk.WriteImage(sitk.GetImageFromArray(mask[None]), str(folder / name))
    layers = sitk.Compose(*(sitk.GetImageFromArray((mask[None] == n).astype(np.uint8)) for n in (1, 2)))
    layers.SetMetaData("Segmentation_ReferenceImageExtentOffset", "0 0 0")
    sitk.WriteImage(layers, str(folder / "m.seg.nrrd"))
    outline = [[5, 6], [5, 20], [15, 20], [15, 6]]
    (folder / "m.json").write_text(json.dumps({"lesions": [{"points": outline}]}))
    other = [{"cgPoints": [{"x": x, "y": y} for y, x in outline], "label": "mass ", "type": "Draw"}]
    (folder / "tompei.json").write_text(json.dumps(other))
    names = ("m.png", "m.tif", "m.bmp", "m.nii.gz", "m.nii", "m.nrrd", "m.mha", "m.seg.nrrd", "m.json", "tompei.json")
    return [*(folder / name for name in names), _segmentation(folder / "seg.dcm", mask)]


def _segmentation(path: Path, mask: np.ndarray) -> Path:
    """A DICOM SEG of two frames, as PS3.3 A.51 lays it out, with 8 bits a pixel."""
    frames = np.stack([mask == 1, mask == 2]).astype(np.uint8)
    dataset = mammogram_dataset(frames[0], 8, Modality="SEG", NumberOfFrames=2, PixelData=frames.tobytes())
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    dataset.PerFrameFunctionalGroupsSequence = []
    for number in (1, 2):
        identification, group = Dataset(), Dataset()
        identification.ReferencedSegmentNumber = number
        group.SegmentIdentificationSequence = [identification]
        dataset.PerFrameFunctionalGroupsSequence.append(group)
    return write_dicom(path, dataset)


def _tables(folder: Path) -> list[tuple[str, Path]]:
    texts = {
        "utf8.csv": _TABLE.encode("utf-8-sig"),
        "utf16.csv": _TABLE.encode("utf-16"),
        "chinese.csv": _TABLE.replace("note", "备注").encode("gb18030"),
        "latin.csv": _TABLE.replace("note", "Größe").encode("cp1252"),
        "semicolons.csv": _PAPER.replace(",", ";").encode(),
        "tabs.tsv": _PAPER.replace(",", "\t").encode(),
    }
    for name, data in texts.items():
        (folder / name).write_bytes(data)
    book = Workbook()
    for line in _PAPER.splitlines():
        book.active.append(line.split(","))
    book.save(folder / "book.xlsx")
    return [("table", folder / name) for name in (*texts, "book.xlsx")]


def _models(folder: Path) -> list[tuple[str, Path]]:
    """A bundle of the smallest network, and a checkpoint."""
    import torch
    from published_network import saved
    from torch import nn

    from MolSubCore.lesions.preprocessing import get_recipe
    from MolSubCore.models.bundle import write_bundle
    from MolSubCore.models.registry import build_model

    model = build_model("mob-cbam", 2, dropout=0.3)
    write_bundle(
        folder / "m.molsub",
        [model.state_dict()],
        architecture="mob-cbam",
        task="tn",
        classes=("non-TN", "TN"),
        recipe=get_recipe("published-2025").to_dict(),
        dropout=0.3,
    )
    torch.manual_seed(1)
    (folder / "module.pth").write_bytes(saved(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))))
    (folder / "dict.pth").write_bytes(saved({"state_dict": nn.Linear(3, 2).state_dict(), "epoch": 3}))
    return [("bundle", folder / "m.molsub"), ("checkpoint", folder / "module.pth"), ("checkpoint", folder / "dict.pth")]


def split_cohort() -> list[str]:
    """Patients of the split files' cohort."""
    return [f"P{number}" for number in range(6)]


def _texts() -> list[Seed]:
    """Split files and requests to the worker; their paths lead to files beside them."""
    parts = ["test", 1, 1, 2, 2, 0]
    table = "patient_id,partition\n" + "".join(f"{p},{n}\n" for p, n in zip(split_cohort(), parts, strict=True))
    names = map(Split({}, "s", 2, 1).study_id, split_cohort())
    content = {"format": "molsub-split", "format_version": 1, "salt": "s", "folds": 2, "seed": 1}
    content["partition"] = dict(zip(names, parts, strict=True))
    requests = [
        ("read-image", {"path": "image.dcm", "out": "out"}),
        ("read-lesions", {"image": "image.dcm", "lesions": "mask.png", "out": "out"}),
        ("find-images", {"path": "."}),
        ("check-cohort", {"table": "table.csv", "task": "tn", "folds": 2}),
        ("agreement", {"image": "image.dcm", "first": "mask.png", "second": "mask.png"}),
        ("library-list", {}),
    ]
    lines = [{"molsub": 1, "id": str(n), "job": job, "options": o} for n, (job, o) in enumerate(requests)]
    return [
        Seed("split", "split.csv", table.encode()),
        Seed("split", "split.json", json.dumps(content, indent=2).encode(), "JSON"),
        *(Seed("worker", "request.jsonl", json.dumps(line).encode() + b"\n", "JSON") for line in lines),
        Seed("worker", "request.jsonl", b'{"molsub": 1, "cancel": "7"}\n'),
    ]


def _real_seeds(folder: Path) -> list[Seed]:
    found = [_seed("DICOM", path, real=True) for path in sorted(folder.rglob("*.dcm"))]
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".png", ".jpg") and path.parent.name != "tompei":
            found.append(_seed("mask" if path.parent.name == "masks" else "picture", path, real=True))
        elif path.suffix == ".csv":
            found.append(_seed("table", path, real=True))
    masks = (*folder.rglob("masks_nii/*.nii.gz"), *folder.rglob("tompei/*.json"))
    found += [_seed("mask", path, real=True) for path in sorted(masks)]
    return [_with_shape(seed) if seed.reader == "mask" else seed for seed in found]


def _with_shape(seed: Seed) -> Seed:
    """A real mask with the shape of its image, told by the mask itself."""
    if seed.suffix == ".json":
        shape = (2294, 1914)
    elif seed.suffix == ".png":
        columns, rows = Image.open(io.BytesIO(seed.data)).size
        shape = (rows, columns)
    else:
        import gzip

        columns, rows = np.frombuffer(gzip.decompress(seed.data)[42:46], "<i2").tolist()
        shape = (rows, columns)
    return Seed(seed.reader, seed.name, seed.data, seed.container, shape, real=True)


def write_companions(folder: Path) -> None:
    """The files that the worker's requests name."""
    image = mammogram_dataset(picture(12, SHAPE), 12)
    write_dicom(folder / "image.dcm", image)
    assert dcmread(folder / "image.dcm").Rows == SHAPE[0]
    Image.fromarray(lesion_mask()).save(folder / "mask.png")
    (folder / "table.csv").write_text("patient_id,image,mask,subtype\n1,image.dcm,mask.png,TN\n")
