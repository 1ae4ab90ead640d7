"""Model cards and where bundles lie: all that needs no torch.

A bundle is one folder, or one ``.molsub`` file (a zip without compression), with ``bundle.json`` (the
card) and one safetensors file per member. There is no pickle in it.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import stat
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from MolSubCore import DISCLAIMER, __version__
from MolSubCore.errors import BundleError, MolSubError, explain_error, printable, reason_of
from MolSubCore.files import ESCAPED, OVERWRITE, atomic_folder, atomic_path, check_free, try_place
from MolSubCore.models.card_checks import check_classes, check_counts, check_values
from MolSubCore.models.fingerprints import read_fingerprints
from MolSubCore.tasks import get_task

FORMAT, FORMAT_VERSION = "molsub-bundle", 1
CARD = "bundle.json"
_CARD_CAP, _MEMBER_CAP, _MEMBERS_CAP = 16 << 20, 512 << 20, 64
_WARNINGS_TOLD = 20
#: Endings of other kinds of model files, which a bundle's folder must not have.
_OTHER_ENDINGS = (".pt", ".pth", ".ckpt", ".bin", ".onnx", ".zip", ".tar", ".gz", ".safetensors", ".json", ".h5")

_REQUIRED = ("architecture", "task", "classes", "recipe", "dropout", "members")


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")


def library_folder() -> Path:
    """The user's model library: ``$MOLSUB_MODELS``, or ``MolSub/models`` in the user's data folder."""
    if chosen := os.environ.get("MOLSUB_MODELS"):
        return Path(chosen)
    from platformdirs import user_data_dir

    return Path(user_data_dir("MolSub", appauthor=False)) / "models"


def scan_library(folder: Path) -> tuple[list[tuple[Path, dict[str, Any]]], list[BundleError]]:
    """Every bundle right below `folder` with its card, and an error for each that cannot be read.

    A folder that does not exist holds none; BundleError for what is no folder.
    """
    found, problems = [], []
    if os.path.lexists(folder) and not os.path.isdir(folder):  # noqa: PTH112 - long names raise
        raise BundleError(folder, "is no folder, expected a folder of bundles", "Give the folder that they lie in")
    for path in sorted(folder.iterdir()) if os.path.isdir(folder) else []:  # noqa: PTH112
        if not path.name.startswith(".") and (path.suffix == ".molsub" or os.path.isfile(path / CARD)):  # noqa: PTH113
            try:
                found.append((path, read_card(path)))
            except BundleError as error:
                problems.append(error)
            except Exception as error:  # whatever it is, it is this bundle's
                problems.append(BundleError(path, f"cannot be read ({explain_error(error)[0]})", "Copy it again"))
    return found, problems


def find_bundle(name: str | os.PathLike[str]) -> Path:
    """The bundle at a path, or of a name (with or without ``.molsub``) in the library.

    Raises
    ------
    BundleError
        If there is none.
    """
    path = Path(name)
    library = library_folder()
    for candidate in (path, library / path, library / f"{path}.molsub"):
        if candidate.exists():
            return candidate
    raise BundleError(
        path, f"is no bundle here, and none in {library}", "Give its path; molsub models list shows the library"
    )


def class_indices(known: Sequence[str], asked: Sequence[str]) -> list[int] | None:
    """Indices of the classes to explain; None means the predicted one.

    Parameters
    ----------
    known : sequence of str
        The card's classes.
    asked : 'predicted', 'all' or sequence of str

    Raises
    ------
    MolSubError
        If the model has no such class.
    """
    if asked == "predicted":
        return None
    if asked == "all":
        return list(range(len(known)))
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise MolSubError("class", f"unknown value '{unknown[0]}'", f"Choose among {', '.join(known)}, predicted, all")
    return [known.index(name) for name in asked]


def read_card(path: Path) -> dict[str, Any]:
    """The card of a bundle, checked, with the positive class of its task where it has none; imports no torch.

    Raises
    ------
    BundleError
        If it is missing, broken, of another version, or names an unknown task or another positive class.
    """
    try:
        card = json.loads(read_entry(path, CARD, _CARD_CAP).decode("utf-8"), parse_constant=_refuse)
    except BundleError:
        raise
    except (ValueError, RecursionError) as error:  # also of text that is no UTF-8, and of numbers without end
        raise BundleError(path, f"has a broken {CARD} ({error})", "Export or import the model again") from None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise BundleError(path, f"is no {FORMAT}", "Make one with molsub models export or import")
    if type(version := card.get("format_version")) is not int or version != FORMAT_VERSION:
        shown = printable(json.dumps(version), 60)
        found = f"has format version {shown}, this program reads {FORMAT_VERSION} (a number)"
        raise BundleError(path, found, "Export the model again with this version, or use the version that made it")
    missing = [key for key in _REQUIRED if key not in card]
    if missing:
        raise BundleError(path, f"lacks {', '.join(missing)} in {CARD}", "Export or import the model again")
    check_values(path, card)
    check_classes(path, card)
    check_counts(path, card)
    try:
        read_fingerprints((card.get("training") or {}).get("fingerprints"))
    except BundleError as error:
        raise BundleError(path, f"has {error.subject} that {error.problem}", error.remedy) from None
    if not 1 <= len(card["members"]) <= _MEMBERS_CAP:
        raise BundleError(path, f"has {len(card['members'])} members, expected 1 to {_MEMBERS_CAP}", "Export it again")
    card.setdefault("positive", get_task(card["task"]).positive)
    return card


def read_member(path: Path, member: dict[str, str]) -> bytes:
    """The bytes of one member, checked against the card's SHA-256."""
    data = read_entry(path, member["file"], _MEMBER_CAP)
    digest = hashlib.sha256(data).hexdigest()
    if digest != member["sha256"]:
        found = f"{member['file']} has SHA-256 {digest[:12]}..., the card says {member['sha256'][:12]}..."
        raise BundleError(path, found, "The file was changed or damaged: export or copy it again")
    return data


def read_entry(path: Path, name: str, cap: int) -> bytes:
    """One file of a bundle as bytes, never extracted; plain names only, no links.

    Raises
    ------
    BundleError
        If it is missing, larger than `cap` bytes, or its name leads anywhere else.
    """
    if PurePosixPath(name).name != name or "\\" in name or name in ("", ".", ".."):
        raise BundleError(path, f"names a file outside itself ('{name}')", "Do not use this bundle")
    try:
        if path.is_dir():
            file = path / name
            if file.is_symlink():
                raise BundleError(path, f"{name} is a symbolic link", "Put the file itself there")
            if file.exists() and not file.is_file():
                raise BundleError(path, f"{name} is no file", "Do not use this bundle")
            if file.stat().st_size > cap:
                raise BundleError(path, f"{name} is larger than {cap} bytes", "Do not use this bundle")
            return file.read_bytes()
        if path.exists() and not path.is_file():
            raise BundleError(path, "is no file", "Give a .molsub file or folder")
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo(name)
            if (
                info.file_size > cap
                or info.compress_type != zipfile.ZIP_STORED
                or stat.S_ISLNK(info.external_attr >> 16)
            ):
                raise BundleError(
                    path, f"{name} is a link, compressed, or larger than {cap} bytes", "Do not use this bundle"
                )
            return archive.read(info)
    except (FileNotFoundError, KeyError):
        raise BundleError(path, f"has no {name}", "Give a bundle made by molsub models export or import") from None
    except (BundleError, MemoryError):
        raise
    except Exception as error:  # a damaged zip file raises many kinds, NotImplementedError and RuntimeError among them
        found = f"is no bundle (neither a folder nor a readable zip file: {reason_of(error, 100)})"
        raise BundleError(path, found, "Give a .molsub file or folder, or copy it again") from None


def is_archive(path: Path) -> bool:
    """Whether a file is a zip archive, whole or damaged: some versions of Python raise for a damaged one."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:
        return True


def check_checkpoint(path: Path) -> None:
    """Refuse what is no PyTorch checkpoint, which is a zip archive; PyTorch is not loaded for it.

    Raises
    ------
    BundleError
    """
    if not path.is_file():
        raise BundleError(path, "is no file", "Check the path")
    if not is_archive(path):
        remedy = "Load a file of PyTorch before 1.6 there and save it with a newer one; download a damaged one again"
        raise BundleError(path, "is no PyTorch checkpoint (no zip archive)", remedy)


def check_target(path: Path, *, overwrite: bool = False, remedy: str = OVERWRITE) -> None:
    """Refuse before any work a place to which `write_entries` would not write a bundle.

    Raises
    ------
    MolSubError
        If something is there and `overwrite` is false, or it is no bundle.
    OSError
        Of `path`, if it cannot be made.
    """
    if path.suffix.lower() in _OTHER_ENDINGS or path.suffix in (".MOLSUB", ".Molsub"):
        found = f"ends in {path.suffix}, expected .molsub, or no ending for a folder"
        raise MolSubError(path, found, f"Name it {path.stem}.molsub")
    if path.suffix != ".molsub" or path.is_dir():
        check_free(path, replaces=CARD if overwrite else None, remedy=remedy)
        return
    if os.path.lexists(path):
        if not overwrite:
            raise MolSubError(path, "exists already", remedy)
        try:
            read_entry(path, CARD, _CARD_CAP)
        except BundleError:
            raise MolSubError(path, "is no bundle, and is not replaced", "Choose another name") from None
    try_place(path)


def bundle_hash(card: dict[str, Any]) -> str:
    """SHA-256 of a bundle: of its card, which holds those of its members."""
    return hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()


def write_entries(path: Path, entries: dict[str, bytes], *, overwrite: bool = False) -> None:
    """Write the files of a bundle, whole or not at all: to one file if `path` ends in ``.molsub``, else to a folder.

    Raises
    ------
    MolSubError
        If `path` exists and `overwrite` is false.
    """
    check_target(path, overwrite=overwrite)
    if path.suffix != ".molsub":
        with atomic_folder(path, replaces=CARD if overwrite else None, remedy=OVERWRITE) as folder:
            for name, data in entries.items():
                (folder / name).write_bytes(data)
        return
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name), data)


def card_bytes(card: dict[str, Any]) -> bytes:
    """A card as it is written; ValueError where it holds what JSON does not."""
    return (json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", ESCAPED)


def now() -> str:
    """The time for a card: UTC, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def copy_bundle(source: Path, target: Path, *, overwrite: bool = False) -> None:
    """Copy a bundle, checked against its card, to a file if `target` ends in ``.molsub``, else to a folder.

    Raises
    ------
    MolSubError
        If the bundle is damaged, or `target` exists and `overwrite` is false.
    """
    card = read_card(source)
    members = {member["file"]: read_member(source, member) for member in card["members"]}
    write_entries(target, {CARD: read_entry(source, CARD, _CARD_CAP), **members}, overwrite=overwrite)


def model_summary(card: dict[str, Any]) -> dict[str, Any]:
    """What a reader of a result must know of the model."""
    keys = ("name", "architecture", "task", "class_order_verified", "created", "synthetic")
    return {
        **{key: card.get(key) for key in keys},
        "recipe": card["recipe"]["name"],
        "members": len(card["members"]),
        "sha256": [member["sha256"] for member in card["members"]],
        "MolSubCore": __version__,
    }


def patient_level(card: dict[str, Any], part: str) -> dict[str, Any]:
    """What a card holds per patient of its own ``validation`` or ``test`` set; empty where it holds nothing.

    Of a recalibrated bundle it is of the probabilities before: say so with `earlier` wherever it is shown.
    """
    found: dict[str, Any] = ((card.get("metrics") or {}).get(part) or {}).get("patient") or {}
    return found


def earlier(card: dict[str, Any]) -> str:
    """What must stand beside a card's own figures: that they are from before a recalibration; else empty."""
    return "before the recalibration" if card.get("recalibration") else ""


def dated(card: dict[str, Any], title: str) -> str:
    """The title of a card's own figures; with `earlier` where that is not empty."""
    return f"{title}, {earlier(card)}" if earlier(card) else title


def earlier_note(card: dict[str, Any]) -> str:
    """`earlier` as a sentence, with what it does to the figures; empty where there is no recalibration."""
    if not earlier(card):
        return ""
    # Exactly unchanged for one lesion in one view of two classes; a mean over views can order two patients anew.
    ranks = " The AUC rests on ranks, which a recalibration hardly changes." if card.get("positive") else ""
    return f"Figures of the model's own validation and test set are from {earlier(card)}.{ranks}"


def calibration_note(card: dict[str, Any]) -> str:
    """Whether a model's probabilities can be taken as frequencies, in a sentence."""
    temperature = card.get("temperature")
    if change := card.get("recalibration"):
        named = change.get("fitted_on") or "a part"
        how = f"{change['method']} recalibration on {change.get('patients', 'some')} patients of another cohort"
        return f"Calibrated by {how} ({named})."
    if temperature:
        return f"Calibrated by temperature {temperature:.2f}."
    return "Not calibrated: 0.8 does not mean eight cases in ten."


def card_lines(card: dict[str, Any]) -> list[str]:
    """The card for people."""
    makers = ", ".join(((card.get("training") or {}).get("cohort") or {}).get("manufacturers") or {})
    lines = [
        f"{card.get('name') or 'unnamed'}: {card['architecture']}, task {card['task']}, "
        f"{len(card['members'])} member(s)",
        f"Classes in the order of the logits: {', '.join(card['classes'])}",
        f"Class order: {card.get('class_order_source') or 'not recorded'}"
        + ("" if card.get("class_order_verified") else " - NOT VERIFIED"),
        f"Recipe: {card['recipe']['name']}, margin {card['recipe']['bound']:g} {card['recipe']['bound_unit']}",
        f"Trained on: {trained_on(card)}",
        *([f"Manufacturers: {makers}"] if makers else []),
        f"Test set: {_metrics_text(card)}",
        f"Probabilities: {calibration_note(card)}",
        f"Created: {card.get('created') or 'not recorded'}",
    ]
    lines += [f"Warning: {text}" for text in card_warnings(card)]
    if card.get("synthetic"):
        lines.append("Warning: trained on synthetic pictures; it says nothing about patients.")
    return [*(printable(line, 2000) for line in lines), DISCLAIMER]


def card_warnings(card: dict[str, Any]) -> list[str]:
    """What a bundle warns of; of very many the first, and how many more there are."""
    told = list(card.get("warnings", ()))
    more = len(told) - _WARNINGS_TOLD
    return [*told[:_WARNINGS_TOLD], *([f"The model's card has {more} more warnings."] if more > 0 else [])]


def trained_on(card: dict[str, Any]) -> str:
    """How many patients the model was trained on: those of its validation and test sets are told apart."""
    training = card.get("training") or {}
    cohort = training.get("cohort") or {}
    if training.get("summary") or not cohort:
        return str(training.get("summary") or "not recorded")
    pictures = f"images{', synthetic' * bool(card.get('synthetic'))}"
    counts = (cohort.get(name) for name in ("patients", "images"))
    patients, images = ("an unknown number of" if count is None else str(count) for count in counts)
    total = f"{patients} patients, {images} {pictures}"
    test, validation = (patient_level(card, part).get("n_patients") for part in ("test", "validation"))
    if test is None or validation is None or cohort.get("patients") is None:
        return f"part of a cohort of {total}; how many were kept for validation and testing is not recorded"
    rest, folds = cohort["patients"] - test, len(training.get("folds") or ())
    if folds > 1:  # each patient outside the test set is in the training part of all folds but one
        return f"{rest} patients for training and validation in {folds} folds; {test} more for testing ({total} in all)"
    return f"{rest - validation} patients; {validation} more for validation and {test} for testing ({total} in all)"


def test_figures(model: Mapping[str, Any]) -> tuple[str, dict[str, dict[str, Any]]]:
    """What a model's own test set was counted in, such as ``per patient, n = 78``, and its metrics.

    Parameters
    ----------
    model : mapping
        A card, or what a prediction keeps of it: its ``metrics``.
    """
    part = (model.get("metrics") or {}).get("test") or {}
    for name in ("patient", "image"):
        if level := part.get(name):
            metrics = {key: one for key, one in (level.get("metrics") or {}).items() if isinstance(one, dict)}
            count = level.get("n")
            return f"per {name}" + (f", n = {count}" if count is not None else ""), metrics
    return "", {}


def _metrics_text(card: dict[str, Any]) -> str:
    """AUC and accuracy with their intervals, and what they are counted in."""
    unit, metrics = test_figures(card)
    found = []
    for name, title in (("auc", "AUC"), ("macro auc", "macro AUC"), ("accuracy", "accuracy")):
        metric = metrics.get(name) or {}
        if metric.get("value") is not None:
            low, high = metric.get("low"), metric.get("high")
            interval = "" if low is None or high is None else f" (95 % CI {low:.2f} to {high:.2f})"
            found.append(f"{title} {metric['value']:.2f}{interval}")
    return dated(card, f"{', '.join(found)}; {unit}") if found else "not recorded"
