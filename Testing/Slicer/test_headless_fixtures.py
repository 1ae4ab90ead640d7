"""The fixtures of this folder give what they promise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def test_case_is_two_views_with_masks_of_their_size(synthetic_case: Any) -> None:
    import pydicom
    import SimpleITK as sitk

    assert synthetic_case.views == ("CC", "MLO")
    for image, mask in zip(synthetic_case.images, synthetic_case.masks, strict=True):
        header = pydicom.dcmread(image, stop_before_pixels=True)
        columns, rows, _ = sitk.ReadImage(str(mask)).GetSize()
        assert (header.Rows, header.Columns) == (rows, columns)


def test_where_a_package_is_missing_the_tests_skip_and_name_it() -> None:
    here = Path(__file__).resolve().parent
    code = (
        f"import sys; sys.path.insert(0, {str(here)!r})\n"
        "from headless import packages; packages.missing_packages = lambda: ['libegl1']\n"
        f"import pytest; pytest.main(['-q', '-rs', {str(here / 'test_headless_views.py')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "1 skipped" in done.stdout and "libegl1" in done.stdout, done.stdout + done.stderr


def test_bundle_is_read_by_the_core(bundle: Path) -> None:
    card = json.loads((bundle / "bundle.json").read_text())
    assert card["classes"] == ["non-TN", "TN"]
