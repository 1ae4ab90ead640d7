"""Services that tests start for themselves; a test is skipped where one cannot be had."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "Core"))  # for dicom_read_back, coarse_cohort

import orthanc
import pytest
from orthanc import Orthanc
from slurm import SlurmCluster, why_not


@pytest.fixture(scope="session")
def cluster() -> Iterator[SlurmCluster]:
    """A Slurm cluster of one node with four processors, whatever this computer has."""
    if reason := why_not():
        pytest.skip(reason)
    with SlurmCluster(cpus=4) as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(running.configuration))
        # The nodes' variables must be those that the jobs are given, not those of the tests.
        patch.setenv("OMP_NUM_THREADS", "3")
        yield running


@pytest.fixture(scope="module")
def archive() -> Iterator[Orthanc]:
    """An empty DICOM archive on loopback."""
    if reason := orthanc.why_not():
        pytest.skip(reason)
    with Orthanc() as running:
        yield running
