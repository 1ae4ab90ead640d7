"""Prediction of every patient in a table."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from MolSubCore import DISCLAIMER
from MolSubCore.cohort.columns import shown_lesion_ids
from MolSubCore.cohort.identity import Sighting, compare_identities, people_of, shared_masks, sighting_of
from MolSubCore.cohort.table import Case, Cohort, Problem, clinical_of, read_rows_apart, tell_notes, without_paths
from MolSubCore.cohort.table_files import kind_of, note_lines, row_list
from MolSubCore.errors import MolSubError, explain_error, is_output_error
from MolSubCore.files import (
    check_free,
    check_ours,
    check_unchanged,
    plain_cell,
    read_json,
    why_not_as_written,
    write_json,
    write_listed,
)
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.lock import alone_in
from MolSubCore.models.bundle import Bundle
from MolSubCore.models.card import bundle_hash, calibration_note
from MolSubCore.prediction.dicom.source import check_sources
from MolSubCore.prediction.predict import LESIONS_NUMBERED, check_request, predict, recorded, told
from MolSubCore.prediction.provenance import made_of, program, result_key
from MolSubCore.prediction.report import results_of
from MolSubCore.prediction.result import ImageAndLesion, Prediction
from MolSubCore.prediction.warnings import warning_lines
from MolSubCore.prediction.write import save_prediction

_PLAN, _SUMMARY, _RESULT = "plan.json", "predictions.csv", "prediction.json"
_FORMAT = "molsub-predictions"
#: How warnings begin that come of the table as a whole.
_TABLE = "Table, "
#: How the rows are called of which nobody knows whose they are; no id has a NUL.
_NOBODY = "\0"


def predict_table(
    table: Path,
    bundle: Bundle,
    out: Path,
    request: dict[str, Any],
    *,
    identified: bool = False,
    dicom: bool = False,
    resume: bool = False,
    command: str = "",
    heatmap_grid: Literal["region", "image"] = "region",
    trust_ids: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> int:
    """Predict each patient of `table` into ``out/case-0001``, ...; summarise in ``out/predictions.csv``.

    There is a line per result, which says of a model with clinical values whether they were used: one per breast, and
    per lesion where the column ``lesion_id`` names them. The column
    ``laterality`` or ``side``, or the view (``L-MLO``), says the side where a file does not.

    With `resume`, a case is kept where the same images, lesions, model and settings gave it, wherever in the table its
    rows stand now; what is new gets a new number. A case that somebody has changed since is left as it is, and
    predicted again beside it; one that has lost files is predicted again in its place. A patient that cannot be
    predicted, also for a wrong cell in one of their rows, is reported and the others go on. Rows of the table, not
    patient ids, say who a case is, unless `identified`.

    What the images say of their patients is held against the table as `molsub cohort check` does it: a patient whose
    images are another's by their headers, or several patients', is not predicted; of the rest there are warnings.

    Parameters
    ----------
    request : dict
        ``layers``, ``classes`` and ``method`` of `MolSubCore.prediction.predict.predict`.
    dicom : bool
        Write each patient's DICOM objects, too; needs `identified`.
    command : str
        For the record; without `identified` it must name nobody.
    heatmap_grid : {'region', 'image'}
        Of the heatmaps' files.
    trust_ids : bool
        Take the table's ids where the images' headers contradict them.

    Raises
    ------
    MolSubError
        If `out` holds something, or with `resume` something else than predictions of this model with these settings,
        or a summary that somebody has changed.

    Returns
    -------
    int
        Exit code: 0, or 2 if a patient could not be predicted.
    """
    cohort, problems = read_rows_apart(table)
    tell_notes(cohort)
    patients, wrong = _by_patient(cohort, problems)
    if any(
        _said_of(cases, identified)["lesion_ids"] != _said_of(cases, True)["lesion_ids"] for cases in patients.values()
    ):
        print(f"Note: {LESIONS_NUMBERED}.", file=sys.stderr)
    chosen, _ = check_request(bundle, **request)
    columns = tuple(bundle.fused.columns) if bundle.fused else ()
    asked = recorded(chosen, request.get("classes", "predicted"), request.get("method", "gradcam"))
    plan = {"bundle_sha256": bundle_hash(bundle.card), **asked, "identified": identified, "heatmap_grid": heatmap_grid}
    plan |= program()
    _check_begun(out, plan, resume)
    with alone_in(out):
        _check_begun(out, plan, resume)  # another process may have begun it meanwhile
        if not (out / _PLAN).exists():
            write_json(out / _PLAN, {"format": _FORMAT, "format_version": 1, **plan})
        whose = _Whose(cohort.cases, trust=trust_ids)
        for line in note_lines([*problems, *whose.foreign]):
            print(f"molsub: {line}. Not predicted.", file=sys.stderr)
        cases_of = _Folders(out, len(patients))
        results: dict[str, tuple[list[int], dict[str, Any]]] = {}
        folders: dict[str, Path] = {}

        def make(patient_id: str, number: int) -> None:
            """Predict a patient, unless that is done, and read the result."""
            cases = patients[patient_id]
            images = [(case.image, case.lesion) for case in cases]
            said = _said_of(cases, identified) | {"clinical": clinical_of(cases, columns)}
            doubts = whose.doubts(cases)
            state: Literal["kept", "replaced", "new"] = "replaced"
            if again := patient_id in folders:
                folder = folders[patient_id]
            else:
                key = _key(images, bundle, asked | told(**said), identified)
                folder, state = cases_of.take(number, _numbers(cases), key)
                folders[patient_id] = folder
                if state == "kept":
                    whose.read(cases)
            if state == "kept" and dicom and not (folder / "dicom").is_dir():
                state = "replaced"
            if state != "kept":
                if dicom:
                    check_sources([case.image for case in cases], identified=identified)
                prediction = predict(
                    images, bundle, **request, **said, doubts=doubts, unnamed="trusted" if trust_ids else "confirmed"
                )
                if not again:
                    whose.add(cases, prediction)
                save_prediction(
                    prediction,
                    folder,
                    identified=identified,
                    overwrite=state != "new",
                    dicom=dicom,
                    command=command,
                    heatmap_grid=heatmap_grid,
                )
            results[patient_id] = [case.row for case in cases], read_json(folder / _RESULT)

        found: dict[str, list[dict[str, str]]] = {}
        said: dict[str, tuple[str, list[int]]] = {}  # by kind of failure: its first text, and the rows of all others

        def tell(cases: Sequence[Case], text: str) -> None:
            """Print a failure; one of a kind, which differs in numbers only, at the end."""
            kind = kind_of(text)
            if kind in said:
                said[kind][1].extend(case.row for case in cases)
                return
            said[kind] = text, []
            numbers = ", ".join(str(case.row) for case in cases)
            print(f"\nmolsub: row{'s' * (len(cases) > 1)} {numbers}: {text}.", file=sys.stderr)

        def attempt(patient_id: str, number: int = 0) -> None:
            """`make` a patient's result, and its lines of the summary."""
            cases = patients[patient_id]
            row = {"rows": _numbers(cases)}
            if identified:
                row["patient_id"] = patient_id
            if unread := wrong.get(patient_id):
                numbers = sorted({case.row for case in cases} | {one.row for one in unread if one.row})
                row |= {"rows": " ".join(map(str, numbers)), "error": "; ".join(map(str, unread))}
                if patient_id.startswith(_NOBODY):
                    row.pop("patient_id", None)
                found[patient_id] = [row]
                return
            try:
                if refused := whose.refused(cases):
                    found[patient_id] = [row | {"error": refused}]
                    return
                make(patient_id, number)
                result = results[patient_id][1]
                row |= {"warnings": str(len(result["warnings"])), "error": ""}
                row |= {"clinical": "used" if result.get("clinical") else "missing"} if columns else {}
                found[patient_id] = [row | _result_cells(one) for one in results_of(result)]
            except Exception as error:  # whatever it is, it is this patient's
                if is_output_error(error):
                    raise
                results.pop(patient_id, None)
                why = without_paths(error, cases)
                row |= {"warnings": "", "error": explain_error(error)[0] if identified else why}
                tell(cases, why)
                found[patient_id] = [row]

        for number, patient_id in enumerate(patients, start=1):
            attempt(patient_id, number)
            if progress:
                progress(number, len(patients), folders[patient_id].name if patient_id in folders else "")
        whose.compare()  # what pixels tell is known now; it belongs into the reports of the patients concerned
        for patient_id in [each for each, (_, result) in results.items() if whose.are_new(patients[each], result)]:
            attempt(patient_id)
        rows = [
            one | {"case": folders[each].name if each in results else ""} for each in patients for one in found[each]
        ]
        failed = len(patients) - len(results)
        for text, more in said.values():
            if more:
                differ = " (the others differ only in numbers)" if re.search(r"\d", text) else ""
                print(f"\nmolsub: {row_list(more)}, too: {text}{differ}.", file=sys.stderr)
        check_unchanged(out / _SUMMARY)  # while the work lasted
        _write_summary(out / _SUMMARY, rows, bundle, identified)
    for told_of in cases_of.changed:
        print(f"Note: {told_of}.", file=sys.stderr)
    for line in note_lines(whose.notes):
        print(f"Note: {line}", file=sys.stderr)
    for line in [*note_lines(whose.problems), *warning_lines([_without_doubts(one) for one in results.values()])]:
        print(f"Warning: {line}")
    if others := cases_of.others():
        print(f"Not of any row of the present table, and not in predictions.csv: {', '.join(others)}")
    print(f"{len(patients) - failed} of {len(patients)} patients predicted: {out / 'predictions.csv'}")
    print(f"Probabilities: {calibration_note(bundle.card)}\n{DISCLAIMER}")
    return 2 if failed else 0


def _by_patient(cohort: Cohort, problems: Sequence[Problem]) -> tuple[dict[str, list[Case]], dict[str, list[Problem]]]:
    """Cases of each patient, in the table's order, and problems of those of whom a row could not be read.

    A row of which nobody knows whose it is counts as a patient without cases.
    """
    owner = {case.row: case.patient_id for case in cohort.cases}
    owner |= {row: name or f"{_NOBODY}{row}" for row, name in cohort.wrong_rows.items()}
    patients: dict[str, list[Case]] = {owner[row]: [] for row in sorted(owner)}
    for case in cohort.cases:
        patients[case.patient_id].append(case)
    wrong: dict[str, list[Problem]] = {}
    for one in problems:
        wrong.setdefault(owner[one.row or 0], []).append(one)
    return patients, wrong


class _Whose:
    """Whose the images of a table are: by their headers, which are read at once, and by their pixels, once known.

    Attributes
    ----------
    foreign : tuple of Problem
        Why patients are not predicted.
    problems, notes : list of Problem
        What else there is, as known by the last `compare`: between patients, and all that is to be known.
    """

    def __init__(self, cases: Sequence[Case], *, trust: bool) -> None:
        self._cases, self._trust = cases, trust
        people = people_of(cases)
        self._seen = {case.row: Sighting(case, person) for case, person in zip(cases, people, strict=True)}
        self.compare()

    def compare(self) -> None:
        """Hold all that is known by now against the table."""
        found = compare_identities(list(self._seen.values()), trust=self._trust)
        self.foreign = found.foreign
        owner = {case.row: case.patient_id for case in self._cases}
        told = {one.text for one in found.foreign}
        said = (*found.problems, *found.notes)
        problems = [one for one in (*found.problems, *shared_masks(self._cases, said)) if one.text not in told]
        # Of the images of one patient the prediction itself says what became of them.
        self.problems = [one for one in problems if len({owner[row] for row in one.rows}) > 1]
        self.notes = list(found.notes)

    def add(self, cases: Sequence[Case], prediction: Prediction) -> None:
        """Remember what the images of a patient look like, as they were read for the prediction."""
        for item in {one.image_index: one for one in prediction.items}.values():
            case = cases[item.image_index]
            self._seen[case.row] = sighting_of(case, item.mammogram, item.lesions)

    def read(self, cases: Sequence[Case]) -> None:
        """Remember the images of a patient whose prediction is kept, so that nobody else reads them."""
        for case in cases:
            with contextlib.suppress(MolSubError, OSError):
                self._seen[case.row] = sighting_of(case, read_mammogram(case.image))

    def refused(self, cases: Sequence[Case]) -> str:
        """Why a patient is not predicted; else empty."""
        own = {case.row for case in cases}
        return next((str(one) for one in self.foreign if own.intersection(one.rows)), "")

    def doubts(self, cases: Sequence[Case]) -> list[str]:
        """What the reader of a patient's result must know of it."""
        own = {case.row for case in cases}
        return [f"{_TABLE}{one}." for one in self.problems if own.intersection(one.rows)]

    def are_new(self, cases: Sequence[Case], result: dict[str, Any]) -> bool:
        """Whether a patient's doubts are others than a result says."""
        return [text for text in result["warnings"] if text.startswith(_TABLE)] != self.doubts(cases)


def _without_doubts(told_of: tuple[list[int], dict[str, Any]]) -> tuple[list[int], dict[str, Any]]:
    """A result for the terminal, where what comes of the table is told once."""
    rows, result = told_of
    return rows, result | {"warnings": [text for text in result["warnings"] if not text.startswith(_TABLE)]}


def _numbers(cases: Sequence[Case]) -> str:
    return " ".join(str(case.row) for case in cases)


class _Folders:
    """The folders of cases: which is whose is told by what it was made of, never by its number.

    Parameters
    ----------
    out : Path
    patients : int
        Numbers up to this one are for the table's patients in their order, where they are free.
    """

    def __init__(self, out: Path, patients: int) -> None:
        self.changed: list[str] = []  # what became of cases that somebody has changed
        self._out, self._next = out, patients + 1
        self._known: dict[str, list[Path]] = {}
        for folder in sorted(out.glob("case-*")):
            self._known.setdefault(_made_key(folder), []).append(folder)

    def take(self, number: int, rows: str, key: str | None) -> tuple[Path, Literal["kept", "replaced", "new"]]:
        """The folder of a patient; whether it holds that prediction, may be written anew, or is still to be made."""
        own = self._out / f"case-{number:04d}"
        if key and (known := self._known.get(key)):
            why = {folder: why_not_as_written(folder, _RESULT) for folder in known}
            folder = min(known, key=lambda each: (bool(why[each]), each != own))
            known.remove(folder)
            if not why[folder]:
                return folder, "kept"
            with contextlib.suppress(MolSubError):
                check_ours(folder, _RESULT)
                return folder, "replaced"
            self.changed.append(f"{folder.name} {why[folder]}: it was left as it is, and rows {rows} predicted again")
        if not os.path.lexists(own):
            return own, "new"
        while os.path.lexists(folder := self._out / f"case-{self._next:04d}"):
            self._next += 1
        self._next += 1
        return folder, "new"

    def others(self) -> list[str]:
        """Folders that were there, and that nobody has taken."""
        return sorted(folder.name for folders in self._known.values() for folder in folders)


def _made_key(folder: Path) -> str:
    """What a case was made of; empty where it does not say."""
    with contextlib.suppress(MolSubError, OSError):
        made = (read_json(folder / _RESULT) or {}).get("made")
        return str(made.get("key", "")) if isinstance(made, dict) else ""
    return ""


def _key(images: Sequence[ImageAndLesion], bundle: Bundle, settings: dict[str, Any], identified: bool) -> str | None:
    """What a patient's prediction will be made of; None where a file cannot be read, which predicting tells."""
    try:
        return result_key(made_of(images, bundle.card, settings), images, identified=identified)
    except OSError:
        return None


def _check_begun(out: Path, plan: dict[str, Any], resume: bool) -> None:
    """Refuse a folder that holds anything, or with `resume` anything but predictions of the same plan."""
    if not (resume and (out / _PLAN).is_file()):
        if resume and any(out.glob("case-*")):
            found = f"holds predictions without a {_PLAN}: their model and settings are unknown"
            raise MolSubError(out, found, "Choose another --out")
        return check_free(out, remedy="Choose another --out, or add --resume to keep what is done", whole=False)
    stored = read_json(out / _PLAN)
    if not isinstance(stored, dict) or stored.get("format") != _FORMAT:
        raise MolSubError(out, "does not hold predictions of a table", "Choose another --out")
    if stored.get("bundle_sha256") != plan["bundle_sha256"]:
        raise MolSubError(out, "was begun with another model", "Choose another --out, or give that model")
    differing = [
        f"{name} was {stored.get(name)}, is {value}" for name, value in plan.items() if stored.get(name) != value
    ]
    if differing:
        found = f"was begun with other settings ({'; '.join(differing)})"
        raise MolSubError(out, found, "Choose another --out, or give the earlier settings")
    check_unchanged(out / _SUMMARY)


def _said_of(cases: Sequence[Case], identified: bool) -> dict[str, Any]:
    """What the table says of the images of one patient: sides, views, and which lesion is which."""
    lesions = shown_lesion_ids([case.lesion_id for case in cases], identified=identified)
    return {
        "sides": [case.side for case in cases],
        "views": [case.view for case in cases],
        "lesion_ids": lesions if any(lesions) else (),
    }


def _result_cells(result: dict[str, Any]) -> dict[str, str]:
    cells = {"breast": result["breast"] or "", "lesion_id": result.get("lesion") or ""}
    if result["probabilities"] is None:
        return cells | {"error": "its prediction means nothing"}
    return cells | {f"p:{name}": f"{p:.6f}" for name, p in result["probabilities"].items()}


def _write_summary(path: Path, rows: list[dict[str, str]], bundle: Bundle, identified: bool) -> None:
    names = ["case", "rows", *(["patient_id"] if identified else [])]
    names += ["clinical"] if bundle.fused and bundle.fused.columns else []
    names += ["breast", "lesion_id"] + [f"p:{name}" for name in bundle.card["classes"]] + ["warnings", "error"]
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, fieldnames=names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: plain_cell(value) for name, value in row.items()} for row in rows)
    write_listed(path, buffer.getvalue())
