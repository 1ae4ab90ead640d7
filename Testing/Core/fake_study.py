"""A study folder without training or images: simulated patients, and logits with a given AUC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from paper_table import AGES, COUNTS, SIZES
from scipy import stats
from scipy.ndimage import gaussian_filter

from MolSubCore.cohort.levels import built_in_levels
from MolSubCore.cohort.splits import Split, make_split, write_split
from MolSubCore.cohort.synthetic import PAPER_COUNTS
from MolSubCore.cohort.table import Case, Cohort
from MolSubCore.evaluation import evaluate
from MolSubCore.evaluation.characteristics import Characteristics, characteristics, patient_columns
from MolSubCore.evaluation.explain_study import CENTRED, MEASURES, summarise
from MolSubCore.explain.examples import choose_examples, choose_failures, save_attention
from MolSubCore.files import read_json, write_json
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.models.registry import ARCHITECTURES
from MolSubCore.statistics.scores import Predictions, read_predictions, write_predictions
from MolSubCore.tasks import TASKS, Subtype
from MolSubCore.training.plan import Plan

PAPER_MODELS = ("densenet121-cbam", "densenet121", "densenet121-pre", "densenet121-tcata", "mob-cbam", "simple-cnn")
BASELINES = ("radiomics-svm", "radiomics-gb")
FUSIONS = ("tta", "views-mean", "views-learned", "clinical")
#: Patients per subtype who have one view only, so that 390 patients have 762 images (the paper's section 2.2).
ONE_VIEW = dict(zip(Subtype, (4, 9, 1, 4, 0), strict=True))
AUC = {"densenet121-cbam": 0.76, "densenet121-cbam+clinical": 0.78, "mob-cbam": 0.62, "simple-cnn": 0.58}


@dataclass(frozen=True)
class FakeCohort:
    """Rows of images with everything that predictions need."""

    cohort: Cohort
    split: Split
    subtype: list[Subtype]
    study_id: np.ndarray
    partition: np.ndarray
    view: np.ndarray


def fake_cohort(patients: int = 390, folds: int = 5, seed: int = 0) -> FakeCohort:
    """Patients with the paper's prevalences, ages and grades; two views each but for `ONE_VIEW`."""
    rng = np.random.default_rng(seed)
    cases: list[Case] = []
    for group, (subtype, size) in enumerate(PAPER_COUNTS.items()):
        count = size if patients == 390 else max(round(size * patients / 390), 1)
        single = ONE_VIEW[subtype] if patients == 390 else round(ONE_VIEW[subtype] * patients / 390)
        for n in range(count):
            extra = {"age": f"{rng.normal(*AGES[group]):.0f}"}
            for name in ("T grade", "N grade", "Ki67"):
                levels = COUNTS[name]
                shares = np.array([counts[group] for counts in levels.values()]) / SIZES[group]
                extra[name] = str(rng.choice(list(levels), p=shares / shares.sum()))
            name = f"{subtype.name}-{n}"
            for view in ("CC", "MLO")[: 1 if n < single else 2]:
                cases.append(Case(len(cases) + 2, name, Path(view), None, None, subtype, extra))
    cohort = Cohort(tuple(cases), Path("table.csv"))
    split = make_split(cohort, list(TASKS.values()), folds=folds, seed=seed, salt="salt")
    ids = np.array([split.study_id(case.patient_id) for case in cases])
    parts = np.array([str(split.partition[name]) for name in ids])
    views = np.array([case.image.name for case in cases])
    return FakeCohort(cohort, split, [case.subtype for case in cases if case.subtype], ids, parts, views)


def simulate(found: FakeCohort, task: str, model: str, auc: float, members: int) -> np.ndarray:
    """Logits (members, images, classes) whose per-patient AUC is about `auc`; patients weigh most, then views.

    Two classes: a binormal score, so that the AUC is Phi(shift / sqrt(2 variance)). More: the same shift on the
    true class. Models share most of a patient's noise, a fusion and its base nearly all of it.
    """
    labels, classes = np.array([TASKS[task].index_of(s) for s in found.subtype]), len(TASKS[task].classes)
    _, patient = np.unique(found.study_id, return_inverse=True)
    base, _, kind = model.partition("+")
    shared, own, rest = (
        np.random.default_rng(list("/".join(names).encode())) for names in ((task,), (task, base), (task, base, kind))
    )
    size = (patient.max() + 1, classes)
    noise = (np.sqrt(0.6) * shared.normal(size=size) + np.sqrt(0.4) * own.normal(size=size))[patient]
    noise = noise + 0.5 * rest.normal(size=noise.shape)
    variance = 1 + 0.5**2 / 2
    shift = np.sqrt(2 * variance) * stats.norm.ppf(auc)
    prior = np.log(np.bincount(labels) / len(labels)) / 2  # as after oversampling
    if classes == 2:
        half = shift / variance * (noise[:, 0] + shift * (labels - 0.5)) / 2
        logits = np.stack([-half, half], axis=1)
    else:
        logits = shift / variance * (noise + shift * np.eye(classes)[labels])
    return np.asarray(1.5 * (logits + prior) + 0.15 * rest.normal(size=(members, *logits.shape)))


def as_predictions(found: FakeCohort, task: str, logits: np.ndarray, rows: np.ndarray) -> Predictions:
    labels = np.array([TASKS[task].index_of(s) for s in found.subtype], np.int64)
    lesion, side = np.full(len(rows), "1"), np.full(len(rows), "L")
    return Predictions(
        found.study_id[rows], rows, lesion, side, found.view[rows], labels[rows], logits[rows], TASKS[task].classes
    )


def per_patient(part: Predictions) -> Predictions:
    """As the fusions write it: one row per patient, the mean of its logits; lesion and view are empty."""
    names, first, group = np.unique(part.study_id, return_index=True, return_inverse=True)
    mean = np.zeros((len(names), part.logits.shape[1]))
    np.add.at(mean, group, part.logits)
    blank = np.full(len(names), "", dtype=str)
    mean /= np.bincount(group)[:, None]
    return Predictions(names, part.case[first], blank, blank, blank, part.label[first], mean, part.classes)


def write_run(folder: Path, found: FakeCohort, plan: Plan, model: str, auc: float) -> None:
    """One run of all folds, without its evaluation."""
    task, folds = plan.task, plan.folds
    write_json(folder / "plan.json", plan.to_dict() | {"architecture": model, "software": {"torch": "2.5.1"}})
    logits = simulate(found, task, model, auc, folds)
    shrink = per_patient if "+views" in model or "+clinical" in model else lambda part: part
    for fold in range(1, folds + 1):
        for name, part in (("predictions", str(fold)), ("test_predictions", "test")):
            rows = np.flatnonzero(found.partition == part)
            made = shrink(as_predictions(found, task, logits[fold - 1], rows))
            write_predictions(folder / f"fold-{fold}" / f"{name}.csv", made)
        write_json(folder / f"fold-{fold}" / "done.json", {"epochs": 300, "best_epoch": 100})


def evaluate_quickly(run: Path, resamples: int) -> dict[str, Any]:
    """`evaluate_run` without its picture, which takes longer than all the rest."""
    with patch.object(evaluate, "draw_evaluation"):
        return evaluate.evaluate_run(run, resamples=resamples)


def make_fake_study(
    folder: Path,
    *,
    tasks: Sequence[str] = ("luminal", "tn", "her2", "subtype5"),
    models: Sequence[str] = (*PAPER_MODELS, *BASELINES),
    fusions: Mapping[str, Sequence[str]] | None = None,
    auc: Mapping[str, float] = AUC,
    patients: int = 390,
    folds: int = 5,
    seed: int = 0,
    resamples: int = 60,
    attention: bool = True,
    unfinished: Sequence[tuple[str, str, int]] = (),
    synthetic: bool = True,
) -> Path:
    """Write a whole study; by default four tasks, eight models, and the main model's fusions.

    `auc` may name a model or a fusion, which else has its base's; other models
    have 0.65. Runs of `unfinished` jobs lack that fold and an evaluation.
    """
    fused = {models[0]: FUSIONS} if fusions is None else fusions
    found = fake_cohort(patients, folds, seed)
    recipe = get_recipe("default").to_dict()
    data_hash, split_hash = (sha256(f"{what} {seed}".encode()).hexdigest() for what in ("data", "split"))
    for task in tasks:
        plan = Plan(task, models[0], recipe, data_hash, split_hash, folds=folds, synthetic=synthetic)
        for order, model in enumerate(models):
            for name in (model, *(f"{model}+{kind}" for kind in fused.get(model, ()))):
                run = folder / "runs" / f"{task}--{name}"
                write_run(run, found, plan, name, auc.get(name, auc.get(model, 0.65)))
                missing = [fold for t, m, fold in unfinished if (t, m) == (task, name)]
                for fold in missing:
                    (run / f"fold-{fold}" / "done.json").unlink()
                if not missing:
                    evaluate_quickly(run, resamples)
                    if attention and name in ARCHITECTURES and order == 0:
                        write_blobs(run, seed)
                        write_tests(run, seed)
    write_split(found.split, folder / "split.json")
    write_json(folder / "cohort.json", cohort_record(found, synthetic))
    write_json(folder / "subgroups.json", {"levels": fake_levels(found)})
    jobs = [
        {"key": sha256(f"{task}{model}{fold}".encode()).hexdigest(), "task": task, "model": model, "fold": fold}
        for task in tasks
        for model in models
        for fold in range(1, folds + 1)
    ]
    write_json(
        folder / "study.json",
        {"format": "molsub-study", "format_version": 1, "tasks": list(tasks), "models": list(models), "folds": folds,
         "seed": seed, "epochs": 300, "device": "cpu", "threads": 1, "clinical": ["age"], "data_hash": data_hash,
         "split_hash": split_hash, "synthetic": synthetic, "recipe": recipe,
         "settings": {"batch_size": 8, "learning_rate": 1e-4, "pretrained": "auto"},
         "software": {"MolSubCore": "0.1.0", "torch": "2.5.1", "gpu": "none"}, "jobs": jobs},
    )  # fmt: skip
    return folder


def fake_levels(found: FakeCohort) -> dict[str, dict[str, str]]:
    """Levels of the patients of the test set: two vendors in turn, the age of the table, and lesions of 12 to 60 mm."""
    rows = np.flatnonzero(found.partition == "test")
    order = {name: n for n, name in enumerate(dict.fromkeys(found.study_id[rows].tolist()))}
    meta = [{"manufacturer": "AB"[order[found.study_id[row]] % 2], "lesion_mm": 12 + row % 49} for row in rows]
    cases = {name: [found.cohort.cases[n] for n in rows if found.study_id[n] == name] for name in order}
    return built_in_levels(found.study_id[rows].tolist(), meta, cases)


#: What is to be reviewed of the cohort.
NOTE = "rows 4, 9, box: The lesion lies partly outside the breast: 50.2 % of it is on breast tissue."


#: Of a table with dates.
INTERVAL = {
    "imaging": ["exam_date"], "reference": ["biopsy_date"], "problems": [],
    "patients": 390, "known": 380, "missing": 10, "before": 2, "long": 1,
    "days": {"median": 9.0, "q1": 5.0, "q3": 16.0, "low": -3, "high": 120},
}  # fmt: skip


def cohort_record(found: FakeCohort, synthetic: bool) -> dict[str, Any]:
    """``cohort.json``: counts and characteristics, no identifiers."""
    patients = patient_columns(found.cohort)
    cases, columns = patients.cases, patients.columns
    ids = [found.split.study_id(case.patient_id) for case in cases]
    test = np.array([found.split.partition[name] == "test" for name in ids])
    views = {view: int((found.view == view).sum()) for view in ("CC", "MLO")}
    tables: dict[str, Characteristics] = {}
    for name, chosen in (("all", test | True), ("training and validation", ~test), ("test", test)):
        keep = np.flatnonzero(chosen)
        group = [cases[n].subtype.value for n in keep if cases[n].subtype]
        cells = {key: [values[n] for n in keep] for key, values in columns.items()}
        tables[name] = characteristics(group, cells, order=[s.value for s in Subtype], like=tables.get("all"))
    partitions = {}
    for part in sorted(set(found.partition)):
        rows = np.flatnonzero(found.partition == part)
        people = {found.study_id[n]: found.subtype[n].value for n in rows}
        partitions[part] = {
            "patients": len(people), "images": len(rows), "lesions": len(rows),
            "subtypes": {s.value: list(people.values()).count(s.value) for s in Subtype},
            "views": {view: int((found.view[rows] == view).sum()) for view in ("CC", "MLO")},
        }  # fmt: skip
    count = len(found.study_id)
    summary = {"patients": len(set(found.study_id)), "images": count, "lesions": count, "views": views,
               "manufacturers": {"synthetic": count}, "presentation": {"FOR PRESENTATION": count},
               "spacing_sources": {"ImagerPixelSpacing": count}, "synthetic": synthetic}  # fmt: skip
    subtypes = {
        s.value: {"patients": sum(c.subtype == s for c in cases), "images": found.subtype.count(s)} for s in Subtype
    }
    return {
        "notes": [NOTE],
        "interval": INTERVAL,
        "summary": summary,
        "partitions": partitions,
        "subtypes": subtypes,
        "characteristics": {name: table.to_dict() for name, table in tables.items()},
        "characteristics_table": {name: table.table() for name, table in tables.items()},
        "characteristics_note": tables["all"].note(),
    }


def write_blobs(run: Path, seed: int) -> None:
    """Attention of a run: noise with a bright blob, and maps that gather on it from layer to layer."""
    rng = np.random.default_rng(seed)
    fold = read_json(run / "evaluation.json")["best_fold"]
    plan = read_json(run / "plan.json")
    predictions = read_predictions(run / f"fold-{fold}" / "test_predictions.csv")
    layers = ARCHITECTURES["densenet121-cbam"].default_layers
    examples, failures, patches = choose_examples(predictions), choose_failures(predictions), []
    maps: dict[str, list[np.ndarray]] = {name: [] for name in layers}
    for example in [*examples, *failures]:
        for view in example["views"]:
            del view["case"], view["row"]
            centre = rng.uniform(90, 134, 2)
            blob = _blob(224, centre, 26.0)
            texture = 0.35 + 0.5 * gaussian_filter(rng.normal(size=(224, 224)), 4)
            circle = [
                [int(centre[1] + 34 * np.cos(t)), int(centre[0] + 34 * np.sin(t))] for t in np.arange(0, 6.2, 0.2)
            ]
            view |= {"patch": len(patches), "blind": [False] * (len(layers) - 1) + [view["view"] == "MLO"],
                     "geometry": None, "outline": [circle]}  # fmt: skip
            patches.append((255 * np.clip(texture + 0.5 * blob, 0, 1)).astype(np.uint8))
            for n, (name, size) in enumerate(zip(layers, (56, 56, 28, 14, 7, 7), strict=True)):
                spread = _blob(size, centre * size / 224, (70 - 9 * n) * size / 224)
                maps[name].append((spread * rng.uniform(0.6, 1, spread.shape)).astype(np.float32))
    record = {"task": plan["task"], "architecture": plan["architecture"], "fold": fold, "layers": list(layers),
              "classes": plan["classes"], "synthetic": plan["synthetic"],
              "examples": examples, "failures": failures}  # fmt: skip
    pictures = np.array(patches, np.uint8).reshape(-1, 224, 224)
    save_attention(run, record, pictures, {name: np.array(found, np.float32) for name, found in maps.items()})


def write_tests(run: Path, seed: int) -> None:
    """Tests of a run's heatmaps with numbers drawn for six patients."""
    rng, plan, layer = np.random.default_rng(seed), read_json(run / "plan.json"), "features.norm5"
    rows = [
        {"patient": n, "image": "", "lesion": "", "class": plan["classes"][0], "correct": True, "layer": name,
         "blind": False, **{measure: float(rng.uniform(0, 1)) for measure in MEASURES}}
        for n in range(6)
        for name in (CENTRED, layer)
    ]  # fmt: skip
    summary = summarise(rows, plan["classes"], [{"classifier": {layer: 0.4}, "features.conv0": {layer: 0.05}}])
    facts = {"format_version": 1, "fold": 1, "layer": layer, "test_patients": 78, "patients": 6, "lesions": 6}
    write_json(run / "faithfulness.json", {**facts, **summary, "inputs": None})


def _blob(size: int, centre: np.ndarray, width: float) -> np.ndarray:
    rows, columns = np.indices((size, size))
    return np.asarray(np.exp(-((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / 2 / width**2))
