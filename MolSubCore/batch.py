"""Prediction of every patient in a table."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from MolSubCore import DISCLAIMER
from MolSubCore.cohort.table import Case, read_cohort, without_paths
from MolSubCore.dicom_out.source import check_sources
from MolSubCore.errors import explain_error, is_output_error
from MolSubCore.files import check_free, plain_cell, read_json, write_text
from MolSubCore.lock import alone_in
from MolSubCore.models.bundle import Bundle
from MolSubCore.models.card import calibration_note
from MolSubCore.predict import check_request, predict


def predict_table(
    table: Path,
    bundle: Bundle,
    out: Path,
    request: dict[str, Any],
    *,
    identified: bool = False,
    dicom: bool = False,
    resume: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> int:
    """Predict each patient of `table` into ``out/case-0001``, ...; summarise in ``out/predictions.csv``.

    A patient that cannot be predicted is reported and the others go on. Rows of the table, not
    patient ids, say who a case is, unless `identified`.

    Parameters
    ----------
    request : dict
        ``layers``, ``classes`` and ``method`` of `MolSubCore.predict.predict`.
    dicom : bool
        Write each patient's DICOM objects, too; needs `identified`.

    Returns
    -------
    int
        Exit code: 0, or 2 if a patient could not be predicted.
    """
    patients: dict[str, list[Case]] = {}
    for case in read_cohort(table, need_subtype=False).cases:
        patients.setdefault(case.patient_id, []).append(case)
    check_request(bundle, **request)
    if not resume:
        check_free(out, remedy="Choose another --out, or add --resume to keep what is done")
    with alone_in(out):
        rows, failed = [], 0
        for number, (patient_id, cases) in enumerate(patients.items(), start=1):
            folder = out / f"case-{number:04d}"
            row = {"case": folder.name, "rows": " ".join(str(case.row) for case in cases)}
            if identified:
                row["patient_id"] = patient_id
            try:
                done = (folder / "prediction.json").exists() and (not dicom or (folder / "dicom").is_dir())
                if not (resume and done):
                    images = [(case.image, case.lesion) for case in cases]
                    if dicom:
                        check_sources([case.image for case in cases], identified=identified)
                    prediction = predict(images, bundle, **request)
                    prediction.save(folder, identified=identified, overwrite=resume, dicom=dicom)
                result = read_json(folder / "prediction.json")
                row |= {f"p:{name}": f"{p:.6f}" for name, p in result["patient"]["probabilities"].items()}
                row |= {"warnings": str(len(result["warnings"])), "error": ""}
            except Exception as error:  # whatever it is, it is this patient's
                if is_output_error(error):
                    raise
                failed += 1
                row |= {"warnings": "", "error": explain_error(error)[0] if identified else "could not be predicted"}
                print(f"\nmolsub: rows {row['rows']}: {without_paths(error, cases)}.", file=sys.stderr)
            rows.append(row)
            if progress:
                progress(number, len(patients), folder.name)
        _write_summary(out / "predictions.csv", rows, bundle, identified)
    print(f"{len(patients) - failed} of {len(patients)} patients predicted: {out / 'predictions.csv'}")
    print(f"Probabilities: {calibration_note(bundle.card)}\n{DISCLAIMER}")
    return 2 if failed else 0


def _write_summary(path: Path, rows: list[dict[str, str]], bundle: Bundle, identified: bool) -> None:
    names = ["case", "rows", *(["patient_id"] if identified else [])]
    names += [f"p:{name}" for name in bundle.card["classes"]] + ["warnings", "error"]
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, fieldnames=names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: plain_cell(value) for name, value in row.items()} for row in rows)
    write_text(path, buffer.getvalue())
