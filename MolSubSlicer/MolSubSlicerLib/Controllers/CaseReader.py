"""Reading an image of a worklist together with its lesions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from slicer.i18n import tr as _

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from MolSubSlicerLib.Session import Session

#: Facts of the image, and a label map for each file of lesions.
Done = Callable[[dict[str, Any], "list[NDArray[np.uint8]]"], None]


class CaseReader:
    """Reads one case after another; of a case that is not wanted any more nothing is heard.

    Attributes
    ----------
    busy : bool
        Whether a case is being read.
    """

    def __init__(self, session: Session) -> None:
        self.session, self.busy, self._turn = session, False, 0

    def forget(self) -> None:
        """Nothing that was asked for is wanted any more."""
        self._turn += 1
        self.busy = False

    def find(self, folder: Path, done: Callable[[dict[str, Any]], None], failed: Callable[[str], None]) -> None:
        """Find the mammograms in a folder."""
        self._submit("find-images", {"path": str(folder)}, self._begin(), done, failed)

    def read(self, image: Path, lesions: Sequence[Path | str], done: Done, failed: Callable[[str], None]) -> None:
        """Read an image, then its files and boxes of lesions; of those, what cannot be read is told and left out."""
        turn = self._begin()
        options = {"path": str(image), "out": str(self.session.new_folder("image"))}

        def next_lesions(facts: dict[str, Any], waiting: Sequence[Path | str], found: list[NDArray[np.uint8]]) -> None:
            if not waiting:
                self.busy = False
                done(facts, found)
                return
            self.busy = True

            def one_read(result: dict[str, Any]) -> None:
                for text in result["warnings"]:
                    self.session.say(text, "warning")
                next_lesions(facts, waiting[1:], [*found, np.load(result["labels"])])

            def one_failed(message: str) -> None:
                self.session.say(message, "error")
                next_lesions(facts, waiting[1:], found)

            out = str(self.session.new_folder("lesions"))
            wanted = {"image": str(image), "lesions": str(waiting[0]), "out": out}
            self._submit("read-lesions", wanted, turn, one_read, one_failed)

        self._submit("read-image", options, turn, lambda facts: next_lesions(facts, lesions, []), failed)

    def _begin(self) -> int:
        self._turn += 1
        self.busy = True
        return self._turn

    def _submit(
        self,
        job: str,
        options: dict[str, Any],
        turn: int,
        done: Callable[[dict[str, Any]], None],
        failed: Callable[[str], None],
    ) -> None:
        def only_now(call: Callable[[Any], None]) -> Callable[[Any], None]:
            def answer(value: Any) -> None:
                if turn == self._turn:
                    self.busy = False
                    call(value)

            return answer

        gone = only_now(failed)
        self.session.submit(
            job, options, done=only_now(done), failed=gone, cancelled=lambda: gone(_("The reading was cancelled."))
        )
