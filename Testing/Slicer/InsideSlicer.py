"""Tests of the module that run in the real application too, by `unittest` alone.

CTest runs them in a build of the extension. From a checkout, with an installed Slicer (on Linux without a screen
under ``xvfb-run -a``)::

    Slicer --testing --no-splash --additional-module-paths MolSubSlicer --python-code \\
        "import slicer.testing; slicer.testing.runUnitTest(['Testing/Slicer'], 'InsideSlicer')"

The exit code is 0 when all tests passed. Tests that read images are skipped until the Set-up panel has installed
what Slicer's Python lacks.
"""

from __future__ import annotations

import time
import unittest
from collections.abc import Callable
from typing import Any

import slicer

PANELS = {"LoadPanel", "AnnotatePanel", "PredictPanel", "HeatmapPanel", "ReportPanel", "TrainPanel", "SetupPanel"}


def wait_for(happened: Callable[[], Any], seconds: float = 60.0) -> bool:
    """Run the event loop until something has happened; whether it did."""
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        slicer.app.processEvents()
        time.sleep(0.01)
    return bool(happened())


class InsideSlicerTest(unittest.TestCase):
    """The module as the application loads it."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)
        slicer.util.selectModule("MolSubSlicer")
        self.module = slicer.util.getModuleWidget("MolSubSlicer")
        self.load = self.module.panels["LoadPanel"]
        self.said: list[tuple[str, str]] = []
        self.module.session.messages.connect(self._hear)

    def tearDown(self) -> None:
        self.module.session.messages.disconnect(self._hear)
        self.load.controller.stop()

    def _hear(self, text: str, kind: str) -> None:
        self.said.append((text, kind))

    def load_sample(self) -> list[Any]:
        """The sample case, loaded by a click."""
        self.load.ui.sampleButton.click()
        self.assertTrue(wait_for(lambda: not self.load.controller.busy), "the sample case was not loaded in time")
        errors = [text for text, kind in self.said if kind == "error"]
        if any("No module named" in text for text in errors):
            self.skipTest(f"Install what is missing in the Set-up panel first: {errors[0]}")
        self.assertEqual(errors, [])
        return [row.volume for row in self.load.controller.views()]

    def test_the_module_has_its_panels_and_says_that_it_is_for_research(self) -> None:
        self.assertEqual(set(self.module.panels), PANELS)
        self.assertIn("Research use only", self.module.banner.text)

    def test_the_dicom_plugin_is_registered(self) -> None:
        self.assertIn("DICOMMammographyPlugin", slicer.modules.dicomPlugins)

    def test_the_sample_case_is_loaded_and_hung(self) -> None:
        volumes = self.load_sample()
        self.assertEqual([volume.GetName() for volume in volumes], ["R CC", "R MLO"])
        for volume in volumes:
            self.assertEqual(volume.GetImageData().GetDimensions(), (1664, 2048, 1))
            self.assertEqual([round(each, 4) for each in volume.GetSpacing()], [0.1172, 0.1172, 1.0])
        shown = {node.GetBackgroundVolumeID() for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")}
        self.assertLessEqual({volume.GetID() for volume in volumes}, shown)

    def test_the_sample_case_brings_its_lesions(self) -> None:
        from MolSubSlicerLib.Scene import Lesions

        for volume in self.load_sample():
            labels = Lesions.labels_of(Lesions.segmentation_for(volume, create=False), volume)
            self.assertEqual(labels.shape, (2048, 1664))
            self.assertEqual(int(labels.max()), 1)


if __name__ == "__main__":
    unittest.main()
