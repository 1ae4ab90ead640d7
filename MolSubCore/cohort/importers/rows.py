"""What an importer finds: rows for the table, the books of all inputs, and what should be known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from MolSubCore.cohort.importers.ledger import Ledger
from MolSubCore.tasks import SubtypeLabel

Progress = Callable[[int, int, str], None]

#: Reasons of several importers.
NO_IMAGE = "image file missing"
NO_SIDE = "image does not tell its side"
NO_MAMMOGRAM = "not one 2D mammogram"
OVERLONG = "more cells than columns"


@dataclass(frozen=True)
class ImportOptions:
    """Choices of the user.

    Attributes
    ----------
    task : str or None
        Keep only rows whose class in this task is known.
    keep_unlabelled : bool
        Keep rows without a subtype; the table is then for outlining and prediction.
    keep_unoutlined : bool
        Keep images without a lesion outline, to be outlined in 3D Slicer.
    compare_pixels : bool
        Read every image and leave out those whose pixels another patient has too.
    """

    task: str | None = None
    keep_unlabelled: bool = False
    keep_unoutlined: bool = False
    compare_pixels: bool = False


@dataclass
class Row:
    """One candidate for a row of the table.

    Attributes
    ----------
    key : str
        Of its input in the ledger.
    patient_id : str
    image : Path
    subtype : Subtype, PartialSubtype or None
    mask : Path or None
        A file that the reader of lesions takes.
    box : str or None
        ``row0,col0,row1,col1``, half-open, pixels.
    mask_images : tuple of Path
        DICOM images of which one holds the mask: they are made into a mask file beside the table.
    no_subtype, no_lesion : str
        The reason where the subtype or the outline is missing.
    extra : dict
        Other columns.
    """

    key: str
    patient_id: str
    image: Path
    subtype: SubtypeLabel | None = None
    mask: Path | None = None
    box: str | None = None
    mask_images: tuple[Path, ...] = ()
    no_subtype: str = "no subtype"
    no_lesion: str = "no lesion outline"
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def outlined(self) -> bool:
        """Whether there is a lesion."""
        return bool(self.mask or self.box or self.mask_images)


@dataclass(frozen=True)
class Note:
    """Something that should be known: a sentence, and the inputs or patients it is about."""

    text: str
    about: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.about:
            return self.text
        shown = ", ".join(self.about[:6]) + (", ..." if len(self.about) > 6 else "")
        return f"{self.text} ({len(self.about)}: {shown})"


@dataclass
class Found:
    """All that an importer read.

    Attributes
    ----------
    inputs : Ledger
        The inputs of which each may become one row of the table.
    others : list of Ledger
        Further inputs, such as the rows of a clinical table.
    rows : list of Row
        Candidates; the rest of `inputs` has been left out.
    notes : list of Note
    twins : tuple of tuple of str
        Groups of patients who are known to share pixels.
    patients : str
        What was taken for the patient, for people; empty where the cohort says it itself.
    settle : callable or None
        Called with the rows that were kept, to place what is left in `others`.
    """

    inputs: Ledger
    others: list[Ledger] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    twins: tuple[tuple[str, ...], ...] = ()
    settle: Callable[[list[Row]], None] | None = None
    patients: str = ""

    def note(self, text: str, about: list[str] | tuple[str, ...]) -> None:
        """Add a note, unless it is about nothing."""
        if about:
            self.notes.append(Note(text, tuple(about)))
