"""The patch store: what comes from the cache is what would be read, whatever happened to the cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from coarse_cohort import make_coarse_cohort
from other_cohort import as_negative

from MolSubCore.cohort import store as store_module
from MolSubCore.cohort.patches import PatchStore
from MolSubCore.cohort.remarks import store_notes
from MolSubCore.cohort.store import build_store
from MolSubCore.cohort.table import Cohort, read_cohort
from MolSubCore.errors import CohortError
from MolSubCore.files import MANIFEST, sha256_file
from MolSubCore.imaging.io import content
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.lesions.roi import extract_rois
from MolSubCore.tasks import Subtype

RECIPE = get_recipe("default", bound=10)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = {Subtype.LUMINAL_A: 2, Subtype.TN: 1}
    return make_coarse_cohort(tmp_path_factory.mktemp("c") / "c", counts=counts, seed=2, image_shape=(160, 128)).parent


@pytest.fixture
def cohort(drawn: Path, tmp_path: Path) -> Cohort:
    """An own copy of the files."""
    return read_cohort(Path(shutil.copytree(drawn, tmp_path / "c")) / "table.csv")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images that the store reads."""
    names: list[str] = []

    def counting(path: Path) -> object:
        names.append(Path(path).name)
        return read_mammogram(path)

    monkeypatch.setattr(store_module, "read_mammogram", counting)
    return names


def assert_same(first: PatchStore, second: PatchStore) -> None:
    assert np.array_equal(first.patches, second.patches)
    assert first.patches.dtype == second.patches.dtype
    assert np.array_equal(first.case_index, second.case_index)
    assert (first.lesion, first.meta, first.subtypes) == (second.lesion, second.meta, second.subtypes)
    assert first.data_hash() == second.data_hash()


def test_it_holds_what_the_images_give(cohort: Cohort, tmp_path: Path) -> None:
    store = build_store(cohort, RECIPE, tmp_path / "cache")
    expected, index = [], []
    for number, case in enumerate(cohort.cases):
        mammogram = read_mammogram(case.image)
        for roi in extract_rois(mammogram, read_lesions(case.lesion, mammogram), RECIPE):
            expected.append(roi.patch)
            index.append(number)
    assert np.array_equal(store.patches, np.stack(expected))
    assert store.case_index.tolist() == index
    assert store.subtypes == tuple(case.subtype.value for case in cohort.cases if case.subtype)
    assert all(entry["synthetic"] and entry["view"] in ("CC", "MLO") for entry in store.meta)


def test_what_may_be_a_negative_is_refused_with_its_row(cohort: Cohort, tmp_path: Path) -> None:
    """As is an outline that can be none: no run learns from an image of which a prediction means nothing."""
    cases = list(cohort.cases)
    cases[2] = replace(cases[2], image=as_negative(cases[2].image))
    with pytest.raises(CohortError, match=r"^row 4: its image may be a negative .*, or leave the row out") as caught:
        build_store(Cohort(tuple(cases), cohort.source), RECIPE, tmp_path / "cache")
    assert str(tmp_path) not in str(caught.value)


def test_meta_names_nobody(cohort: Cohort, tmp_path: Path) -> None:
    text = repr(build_store(cohort, RECIPE, tmp_path / "cache").meta)
    assert not any(case.patient_id in text or case.image.stem in text for case in cohort.cases)
    assert str(tmp_path) not in text


def test_a_second_build_reads_no_image(cohort: Cohort, tmp_path: Path, read: list[str]) -> None:
    first = build_store(cohort, RECIPE, tmp_path / "cache")
    assert len(read) == 6
    assert_same(first, build_store(cohort, RECIPE, tmp_path / "cache"))
    assert len(read) == 6
    part = build_store(Cohort(cohort.cases[2:5], cohort.source), RECIPE, tmp_path / "cache")
    assert len(read) == 6
    assert np.array_equal(part.patches, first.patches[(first.case_index >= 2) & (first.case_index < 5)])


def test_a_stopped_build_goes_on(cohort: Cohort, tmp_path: Path, read: list[str]) -> None:
    def stop(done: int, total: int, text: str) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_store(cohort, RECIPE, tmp_path / "cache", progress=stop)
    store = build_store(cohort, RECIPE, tmp_path / "cache")
    assert len(read) == 6
    assert_same(store, build_store(cohort, RECIPE, tmp_path / "other"))


def test_changes_are_noticed(cohort: Cohort, tmp_path: Path, read: list[str]) -> None:
    first = build_store(cohort, RECIPE, tmp_path / "cache")
    mask = cohort.cases[1].mask
    assert mask is not None
    image = sitk.ReadImage(str(mask))
    array = sitk.GetArrayFromImage(image)
    array[:] |= np.roll(array, 2, axis=2)  # two pixels wider
    changed = sitk.GetImageFromArray(array)
    changed.CopyInformation(image)
    sitk.WriteImage(changed, str(mask))
    second = build_store(cohort, RECIPE, tmp_path / "cache")
    assert read[6:] == [cohort.cases[1].image.name]
    assert_same(second, build_store(cohort, RECIPE, tmp_path / "other"))
    assert second.data_hash() != first.data_hash()
    del read[:]
    other = build_store(cohort, get_recipe("default", bound=20), tmp_path / "cache")
    assert len(read) == 6
    assert other.data_hash() != second.data_hash()


def test_what_a_masks_name_says_is_not_of_another_name(cohort: Cohort, tmp_path: Path) -> None:
    """The same content under the name of something else, then under its own again."""

    def told() -> list[str]:
        store = build_store(Cohort(tuple(cases), cohort.source), RECIPE, tmp_path / "cache")
        return [note.text for note in store_notes(cohort, store) if "mask's name" in note.text]

    cases = list(cohort.cases)
    mask = cases[1].mask
    assert mask is not None
    assert told() == []
    cases[1] = replace(cases[1], mask=Path(shutil.copy(mask, mask.with_name("pectoral_muscle.nii.gz"))))
    (text,) = told()
    assert "pectoral" in text
    cases[1] = replace(cases[1], mask=mask)
    assert told() == []


def test_files_are_known_by_what_they_hold(cohort: Cohort, tmp_path: Path, read: list[str]) -> None:
    """Another mask of the same size and time under the same name; and the same files in another place."""
    cases = []
    for case in cohort.cases:  # uncompressed: all masks have one size
        assert case.mask is not None
        plain = case.mask.with_name(case.mask.name.removesuffix(".gz"))
        sitk.WriteImage(sitk.ReadImage(str(case.mask)), str(plain))
        os.utime(plain, ns=(1, 1))
        cases.append(replace(case, mask=plain))
    plain_cohort = Cohort(tuple(cases), cohort.source)
    first = build_store(plain_cohort, RECIPE, tmp_path / "cache")
    one, other = cases[2].mask, cases[4].mask  # of one side: each lies on the other's breast, too
    assert one is not None and other is not None
    assert one.read_bytes() != other.read_bytes() and one.stat().st_size == other.stat().st_size
    spare = one.with_name("spare")
    one.rename(spare)
    other.rename(one)
    spare.rename(other)
    assert [one.stat().st_mtime_ns, other.stat().st_mtime_ns] == [1, 1]
    second = build_store(plain_cohort, RECIPE, tmp_path / "cache")
    assert_same(second, build_store(plain_cohort, RECIPE, tmp_path / "other"))
    assert second.data_hash() != first.data_hash()
    del read[:]
    folder = Path(shutil.copytree(cohort.source.parent, tmp_path / "elsewhere"))
    build_store(read_cohort(folder / "table.csv"), RECIPE, tmp_path / "cache")
    assert len(read) == 6  # of these the compressed masks were never read
    build_store(cohort, RECIPE, tmp_path / "cache")
    assert len(read) == 6


def test_hashes_of_files_are_remembered_by_their_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, hashed = tmp_path / "a.png", []

    def counting(path: Path) -> str:
        hashed.append(path.name)
        return sha256_file(path)

    monkeypatch.setattr(content, "sha256_file", counting)
    monkeypatch.setattr(content, "_SETTLED", 0)
    file.write_bytes(b"one")
    known = content.content_hash(file, tmp_path / "hashes")
    monkeypatch.setattr(content, "_known", {})  # as in another process
    assert content.content_hash(file, tmp_path / "hashes") == known == hashlib.sha256(b"one").hexdigest()
    assert hashed == ["a.png"]
    for kept in (tmp_path / "hashes").rglob("*"):
        assert kept.is_dir() or kept.write_text("damaged")
    monkeypatch.setattr(content, "_known", {})
    assert content.content_hash(file, tmp_path / "hashes") == known
    status = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert content.content_hash(file, tmp_path / "hashes") == hashlib.sha256(b"two").hexdigest()


def test_a_header_is_known_with_the_data_beside_it(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    for name, data in (("a.mhd", "a.raw"), ("a.nhdr", "a.raw")):
        sitk.WriteImage(image, str(tmp_path / name))
        before = content.content_hash(tmp_path / name)
        (tmp_path / data).write_bytes(bytes(reversed(range(64))))
        assert content.content_hash(tmp_path / name) != before


def damage(file: Path, how: str) -> None:
    content = file.read_bytes()
    if how == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "garbled":
        file.write_bytes(bytes(np.random.default_rng(0).integers(0, 256, len(content), dtype=np.uint8)))
    elif how == "zip":
        file.write_bytes(b"PK\x03\x04" + content[4:])
    elif how == "other json":
        file.write_bytes(b'{"case_index": [' + b"0," * 5 + b'0], "meta": [1, 2, 3, 4, 5, 6]}')
    else:
        file.unlink()


HOW = ["truncated", "empty", "garbled", "zip", "other json", "gone"]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", ["patches.npy", "pack.json"])
def test_a_damaged_pack_is_made_again(cohort: Cohort, tmp_path: Path, read: list[str], name: str, how: str) -> None:
    first = build_store(cohort, RECIPE, tmp_path / "cache")
    expected = PatchStore(np.array(first.patches), first.case_index, first.lesion, first.meta, first.subtypes)
    (pack,) = (tmp_path / "cache" / "packs").iterdir()
    damage(pack / name, how)
    assert_same(build_store(cohort, RECIPE, tmp_path / "cache"), expected)
    assert len(read) == 6
    assert [file.name for file in pack.parent.iterdir()] == [pack.name]


@pytest.mark.parametrize("how", HOW)
def test_a_damaged_entry_is_made_again(cohort: Cohort, tmp_path: Path, read: list[str], how: str) -> None:
    expected = build_store(cohort, RECIPE, tmp_path / "cache")
    shutil.rmtree(tmp_path / "cache" / "packs")
    entries = sorted((tmp_path / "cache" / "entries").rglob("*.safetensors"))
    assert len(entries) == 6
    damage(entries[3], how)
    assert_same(build_store(cohort, RECIPE, tmp_path / "cache"), build_store(cohort, RECIPE, tmp_path / "other"))
    assert len(read) == 6 + 1 + 6
    assert expected.data_hash() == build_store(cohort, RECIPE, tmp_path / "cache").data_hash()


FILL = """
import sys, pathlib
from MolSubCore.cohort.store import build_store
from MolSubCore.cohort.table import read_cohort
from MolSubCore.lesions.preprocessing import get_recipe
sys.stdin.read(1)
print(build_store(read_cohort(sys.argv[1]), get_recipe("default", bound=10), pathlib.Path(sys.argv[2])).data_hash())
"""


def test_two_processes_fill_one_cache(cohort: Cohort, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FILL, str(cohort.source), str(tmp_path / "cache")]
    pair = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in pair:  # both wait for this, so that they start together
        assert process.stdin is not None
        process.stdin.write("x")
        process.stdin.flush()
    answers = [process.communicate()[0].strip() for process in pair]
    assert [process.returncode for process in pair] == [0, 0]
    assert answers == [build_store(cohort, RECIPE, tmp_path / "other").data_hash()] * 2
    assert not [path for path in (tmp_path / "cache").rglob(".*") if path.name != MANIFEST]


@pytest.mark.parametrize("left", ["a stale folder", "another's pack"])
def test_a_pack_that_cannot_be_put_in_its_place(
    cohort: Cohort, tmp_path: Path, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped process of the same number left its folder; or another process was faster by a moment."""
    expected = build_store(cohort, RECIPE, tmp_path / "cache")
    (pack,) = (tmp_path / "cache" / "packs").iterdir()
    shutil.rmtree(pack)
    if left == "a stale folder":
        (pack.parent / f".tmp-{os.getpid()}-{pack.name}").mkdir()
    else:
        replace = os.replace

        def late(source: Path, target: Path) -> None:
            if Path(target) == pack:
                pack.mkdir()
                (pack / "patches.npy").touch()
            replace(source, target)

        monkeypatch.setattr(os, "replace", late)
    store = build_store(cohort, RECIPE, tmp_path / "cache")
    assert np.array_equal(store.patches, build_store(cohort, RECIPE, tmp_path / "other").patches)
    assert store.meta == expected.meta


def test_the_hash_is_of_patches_and_labels_only(cohort: Cohort, drawn: Path, tmp_path: Path) -> None:
    store = build_store(cohort, RECIPE, tmp_path / "cache")
    elsewhere = build_store(read_cohort(drawn / "table.csv"), RECIPE, tmp_path / "other")
    assert elsewhere.data_hash() == store.data_hash()
    assert store.data_hash() == build_store(cohort, RECIPE, tmp_path / "cache").data_hash()

    def changed(patches: np.ndarray, subtypes: tuple[str, ...]) -> str:
        return PatchStore(patches, store.case_index, store.lesion, store.meta, subtypes).data_hash()

    pixels = np.array(store.patches)
    assert changed(pixels, store.subtypes) == store.data_hash()
    pixels[3, 100, 100] = np.nextafter(pixels[3, 100, 100], np.float16(2))
    labels = (*store.subtypes[:-1], "Luminal B")
    hashes = {store.data_hash(), changed(pixels, store.subtypes), changed(np.array(store.patches), labels)}
    assert len(hashes) == 3
    (file,) = (tmp_path / "cache").rglob("patches.npy")
    mapped = np.load(file, mmap_mode="r+")
    mapped[3] = pixels[3]
    mapped.flush()
    again = build_store(cohort, RECIPE, tmp_path / "cache")
    assert again.data_hash() == changed(pixels, store.subtypes)  # hashed anew, since the file was touched


def test_a_row_that_cannot_be_used_is_named_and_the_rest_kept(cohort: Cohort, tmp_path: Path, read: list[str]) -> None:
    cohort.cases[4].image.write_bytes(b"no image")
    with pytest.raises(CohortError, match="row 6"):
        build_store(cohort, RECIPE, tmp_path / "cache")
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 4


def test_the_cache_folder_can_be_chosen(cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOLSUB_CACHE", str(tmp_path / "chosen"))
    build_store(cohort, RECIPE)
    assert (tmp_path / "chosen" / "packs").is_dir()
