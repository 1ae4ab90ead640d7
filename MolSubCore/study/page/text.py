"""The words of a study's page: what was found, how it was done, what is not known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from MolSubCore.cohort.dates import interval_text
from MolSubCore.errors import counted
from MolSubCore.evaluation.display_steps import told_steps
from MolSubCore.imaging.display import described
from MolSubCore.lesions.radiomics import RadiomicsSettings
from MolSubCore.models.card import shares_note
from MolSubCore.models.registry import ARCHITECTURES
from MolSubCore.prediction.warnings import spacing_text
from MolSubCore.report.items import joined, model_title
from MolSubCore.report.page import chance_text, known
from MolSubCore.statistics.calibration import LEAST
from MolSubCore.statistics.delong import FEW
from MolSubCore.study.page.comparison import Comparison
from MolSubCore.study.page.published import published
from MolSubCore.study.page.tables import absence, auc_name, levels
from MolSubCore.study.results import RunResult, StudyResults
from MolSubCore.tasks import Subtype, get_task
from MolSubCore.training.run_files import FUSION

Facts = list[tuple[str, str]]


@dataclass(frozen=True)
class Finding:
    """A task's main figure, for the top of the page."""

    title: str
    auc: str
    interval: str
    who: str
    sentence: str
    published: str


def findings(results: StudyResults) -> list[Finding]:
    """What the main model reaches on the test set, task by task."""
    return [_finding(results, task) for task in results.tasks]


def _finding(results: StudyResults, task: str) -> Finding:
    title, run = get_task(task).title, results.main_run(task)
    entry = published()["tasks"].get(task)
    other = f"published (other cohort): {entry['test']['auc']['value']:.3f}" if entry else ""
    if run is None:
        return Finding(title, "–", "", "", absence(results, (task,)), other)
    metric = levels(run)["ensemble"][auc_name(run)]
    counts = run.evaluation["prevalence"]["test"]["patients"]
    who = f"{sum(counts.values())} test patients"
    who += (
        f", {counts[run.positive]} {run.positive}"
        if run.positive
        else f", macro mean of {metric.get('classes') or len(run.classes)} classes"
    )
    if metric["value"] is None:
        return Finding(title, "undefined", "", who, "One class only in the test set.", other)
    ends = f"95 % CI {metric['low']:.2f} to {metric['high']:.2f}"
    return Finding(title, f"{metric['value']:.2f}", ends, who, chance_text(metric, counts) + _extremes(run), other)


def _extremes(run: RunResult) -> str:
    if run.positive:
        return ""
    metrics = levels(run)["ensemble"]
    values = {name: metrics[f"auc: {name}"]["value"] for name in run.classes}
    found = {name: value for name, value in values.items() if value is not None}
    if not found:
        return ""
    best, worst = max(found, key=found.__getitem__), min(found, key=found.__getitem__)
    return f" Highest class AUC: {best} ({found[best]:.2f}); lowest: {worst} ({found[worst]:.2f})."


def comparison_summary(results: StudyResults, comparisons: tuple[Comparison, ...]) -> str:
    """How the main model stands to the others, counted."""
    if not comparisons:
        return "There is no other finished model to compare with."
    known_p = [(one.found.auc, one.found.p_auc_adjusted) for one in comparisons if one.found.auc]
    better = sum(1 for auc, p in known_p if p is not None and p < 0.05 and auc.value > 0)
    worse = sum(1 for auc, p in known_p if p is not None and p < 0.05 and auc.value < 0)
    rest = len(comparisons) - better - worse
    models = "; ".join(model_title(name) for name in dict.fromkeys(one.found.second for one in comparisons))
    return (
        f"{model_title(results.main)} was compared on the test set with {models}: {len(comparisons)} comparisons of "
        f"AUC, p-values adjusted by Holm within each task. It was better in {better}, worse in {worse}; in {rest} no "
        "difference was shown, which does not mean that there is none."
    )


def outcome_rows(results: StudyResults) -> list[tuple[str, ...]]:
    """Task, classes in the order of the logits, positive class, and the subtypes of each class."""
    rows: list[tuple[str, ...]] = []
    for name in results.tasks:
        task = get_task(name)
        members = {cls: [s.value for s in Subtype if task.class_of[s] == cls] for cls in task.classes}
        trivial = all(found == [cls] for cls, found in members.items())
        text = "each subtype by itself" if trivial else "; ".join(f"{c}: {', '.join(m)}" for c, m in members.items())
        positive = task.positive or "none: each class against the rest"
        rows.append((task.title, ", ".join(task.classes), positive, text))
    return rows


def data_facts(results: StudyResults) -> Facts:
    """The cohort as the software saw it."""
    summary = results.cohort.get("summary") or {}
    numbers = [f"{summary[key]} {key}" for key in ("patients", "images", "lesions") if key in summary]
    clinical = results.study.get("clinical") or []
    return [
        ("Cohort table", ", ".join(numbers) or "not recorded"),
        ("Views", _counts(summary.get("views"))),
        ("Manufacturers", _counts(summary.get("manufacturers"))),
        ("Presentation", _counts(summary.get("presentation"))),
        ("Pixel spacing from", _counts(summary.get("spacing_sources"))),
        ("Pixel spacing", spacing_text(summary.get("spacing_mm"))),
        ("Imaging to biopsy", interval_text(results.cohort.get("interval"))),
        ("Clinical columns used", joined(clinical) if clinical else "none"),
        *[("Clinical columns that tell the subtype", told) for told in [_telling(results)] if told],
        ("Missing data", "a row without a usable image, lesion or subtype stops the study before training; missing "
                         "characteristics are counted in Table 1 and left out of its tests"),
        ("Identifiers", "patients have salted ids; no names, ids or paths of files are in this folder, nor the key of "
                        "the ids"),
        ("Hash of images, lesions and labels", known(results.study.get("data_hash"))),
    ]  # fmt: skip


def _telling(results: StudyResults) -> str:
    """The clinical columns that are used although they tell the subtype; empty where there are none."""
    found: dict[str, str] = results.study.get("clinical_i_know") or {}
    return "; ".join(f"{name}: {why}" for name, why in found.items())


def _counts(found: dict[str, int] | None) -> str:
    return ", ".join(f"{name} {count}" for name, count in (found or {}).items()) or "not recorded"


def preprocessing_facts(results: StudyResults) -> Facts:
    """The recipe, in words."""
    recipe = results.study.get("recipe") or {}
    if not recipe:
        return [("Recipe", "not recorded")]
    clahe, shown = recipe.get("clahe_clip"), described(str(recipe.get("display")))
    box = "one region around all lesions of an image" if recipe.get("together") else "one region for each lesion"
    margin = f"{recipe.get('bound'):g} {recipe.get('bound_unit')} on every side"
    normal = f"(v - {recipe.get('mean')}) / {recipe.get('std')}, one grey channel, v from 0 to 1"
    return [
        ("Recipe", f"{recipe.get('name')}, version {recipe.get('version')}"),
        ("Predictor", "the pixels of the region of interest; lesions were outlined by the users of this software"),
        ("Grey levels", f"{shown}; adaptive histogram equalisation: {clahe if clahe else 'none'}"),
        *((("Display steps", " ".join(told_steps(steps))),) if (steps := results.cohort.get("display_steps")) else ()),
        ("Region of interest", f"{box}, {margin}, made square ({recipe.get('square')})"),
        (
            "Patch",
            f"{recipe.get('size')} x {recipe.get('size')} pixels, {recipe.get('resize')}, {recipe.get('patch_dtype')}",
        ),
        ("Normalisation", normal),
    ]


#: By what was done with ids that the images contradict.
_OVERLAP = {
    "checked": "none found: Patient IDs, birth dates and dates in the images were held against the table's ids, and "
    "the pixels and looks of all images against each other; a picture or person under two ids stops a study",
    "trusted": "not excluded: ids that the images contradict were taken as they stand in the table (--trust-ids)",
}


def split_facts(results: StudyResults) -> Facts:
    """How patients were divided."""
    study = results.study
    folds = counted(known(study.get("folds")), "fold")
    return [
        ("Unit", "the patient: all images of a patient lie in one partition"),
        ("Division", f"a test set, and {folds} of the rest; one division for all tasks"),
        ("Stratified by", "the molecular subtype"),
        ("Test set", "never used to choose a model, an epoch, a calibration or a threshold, but for how far the "
                     "networks disagree on its patients, which needs no classes; from the same cohort, so setting, "
                     "eligibility, outcome and predictors are those of the training patients"),
        ("Overlap of partitions", _OVERLAP.get(str(study.get("identities")), "not recorded")),
        ("Seed", known(study.get("seed"))),
        ("Hash of the division", known(study.get("split_hash"))),
    ]  # fmt: skip


_PLAN = (
    ("optimizer", "AdamW, rate {learning_rate}, weight decay {weight_decay}, betas {beta1} and {beta2}"),
    ("schedule", "{schedule}, {epochs} epochs at most, stops after {patience} without a better one"),
    ("batch", "{batch_size} patches, {precision} on {device}, threads: {threads}"),
    ("dropout", "{dropout}"),
    ("selection of the epoch", "{monitor} of the fold's validation part"),
)


def model_facts(results: StudyResults) -> Facts:
    """Models and hyperparameters, from the plan of a finished run of the main model."""
    models = []
    for name in results.study["models"]:
        entry = ARCHITECTURES.get(name)
        began = next((results.runs[key].plan.get("pretrained") for key in results.runs if key[1] == name), None)
        weights = {None: "not finished", "none": "from scratch"}.get(began, "ImageNet weights")
        models.append(model_title(name) + (f" ({entry.source}; {weights})" if entry else ""))
    facts: Facts = [("Models", "; ".join(models))]
    run = next((found for task in results.tasks if (found := results.main_run(task))), None)
    plan = run.plan if run else {}
    for title, text in _PLAN:
        try:
            facts.append((title.capitalize(), text.format(**plan)))
        except KeyError:
            facts.append((title.capitalize(), "not recorded"))
    facts.append(("Loss", "cross-entropy"))
    facts.append(("Initial weights", f"pretrained: {known(plan.get('pretrained'))}; the rest drawn from the seed"))
    sampling = {run.task: run.plan.get("oversampling") for _, run in _main_runs(results)}
    rates = ", ".join(f"{task} {known(rate)}" for task, rate in sampling.items())
    facts.append(("Oversampling of rare classes", rates or "not recorded"))
    seen = {run.task: shares_note(run.evaluation["calibration"]["ensemble"]) for _, run in _main_runs(results)}
    told = " ".join(f"{get_task(task).title}: {note}" for task, note in seen.items() if note)
    facts.append(("Classes seen in training", told or "in the shares of the cohort, or not recorded"))
    baseline = next((one.plan for one in results.runs.values() if one.plan.get("features")), None)
    if baseline:
        told = RadiomicsSettings.from_dict(baseline["features"]).described()
        kept = f"; within each fold those with a reliability (ICC) of {known(baseline.get('robust'))} or more are used"
        facts.append(("Radiomics", f"{told}{kept if 'robust' in baseline else ''}"))
    augmentation = plan.get("augmentation") or {}
    facts.append(
        ("Augmentation", ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in augmentation.items()) or "not recorded")
    )
    settings = results.study.get("settings") or {}
    facts.append(("Settings of the study", ", ".join(f"{k} {v}" for k, v in settings.items()) or "all as by default"))
    return facts


def _main_runs(results: StudyResults) -> Iterator[tuple[str, RunResult]]:
    for task in results.tasks:
        if run := results.main_run(task):
            yield task, run


def evaluation_facts(results: StudyResults) -> Facts:
    """How predictions became numbers."""
    run = next((found for _, found in _main_runs(results)), None)
    bootstrap = run.evaluation.get("bootstrap", {}) if run else {}
    drawn = f"{bootstrap['resamples']} resamples" if "resamples" in bootstrap else "resamples"
    return [
        (
            "Unit of analysis",
            "the patient: the mean of the softmax probabilities of all its lesions and views, calibrated",
        ),
        ("Test set", "the mean of the probabilities of all folds' models (ensemble), calibrated"),
        ("Classification", "the largest calibrated probability; other thresholds are chosen on validation only"),
        (
            "Intervals",
            f"95 %; AUC and macro means: logit scale, bootstrap over patients within class ({drawn}); shares: Wilson",
        ),
        (
            "Comparisons",
            f"AUC: DeLong, paired, or below {FEW} patients of a class by permutation of the two models' ranks; "
            "accuracy: McNemar, exact and mid-p; Holm within each task",
        ),
        (
            "Calibration",
            "correction of the classes' shares seen in training, then slope and intercepts of the patient's log "
            f"probabilities, fitted on validation where every class has {LEAST} patients; slope, intercept, "
            "expected / observed, Brier score, log loss, calibration error, reliability",
        ),
        ("Clinical use", "decision curve; whether any threshold makes sense is not for software to say"),
        ("Heatmaps", "Grad-CAM of the best fold's model on the test set, patients chosen by a stated rule"),
    ]


#: Patients of a class below which a figure is called uncertain.
_FEW = 30

_ALWAYS = (
    "Validation patients chose the epoch: their figures are optimistic, the best fold's most, and have no intervals.",
    "Out of fold, each patient is predicted by a model trained on others; AUCs compare patients of one fold only.",
    "No patient was left out of all folds: calibration and thresholds of the ensemble rest on single networks' "
    "validation scores, drawn together by how far the networks disagree on the test set. That is an estimate.",
    "P-values are adjusted within a task, not over tasks. One above 0.05 does not show that models are equal.",
    "Heatmaps show where a score reacts, not why, and methods of this kind have failed tests of their faithfulness.",
    "The models need a lesion that somebody outlined; how outlines differ between readers was not measured.",
)


def limitations(results: StudyResults) -> Iterator[str]:
    """What the reader must know before believing a number."""
    study, summary = results.study, results.cohort.get("summary") or {}
    if study.get("synthetic"):
        yield "The cohort is synthetic: drawn by a program. Nothing here is about patients or about mammography."
    if results.unfinished:
        left = f"{len(results.unfinished)} of {len(study['jobs'])} jobs are not finished"
        yield f"{left}: tables and p-values will change."
    if told := _telling(results):
        yield (
            f"Clinical columns were used that tell the subtype, as the study was told to (--i-know): {told}. What "
            "fusions with clinical columns reach is no prediction before the biopsy."
        )
    yield "The test set is of the same cohort as the training set. Performance elsewhere is unknown, and often lower."
    for task, run in _main_runs(results):
        counts = run.evaluation["prevalence"]["test"]["patients"]
        name = min(counts, key=counts.__getitem__)
        if counts[name] < _FEW:
            text = f"the test set has {counted(counts[name], 'patient')} of {name}"
            yield f"{get_task(task).title}: {text}; figures that rest on them are uncertain."
    makers = [name for name in summary.get("manufacturers", {}) if name != "unknown"]
    if len(makers) == 1 and not study.get("synthetic"):
        yield f"All images whose manufacturer is known are from {makers[0]}: other devices were not seen."
    if not any(FUSION in model for _, model in results.runs):
        yield "Views of a patient are averaged by their probabilities; no learned fusion was part of this study."
    if results.levels is None:
        yield "Age and other groups were not looked at apart; whether the models are fair to them is not known."
    else:
        yield (
            "Subgroups are by view, vendor, age and lesion size only, and few patients are in each; ethnicity and "
            "other groups were not looked at. Whether the models are fair to them is not known."
        )
    yield from _ALWAYS


def question(results: StudyResults) -> str:
    """What the study asks, in one paragraph."""
    tasks = joined(get_task(name).title for name in results.tasks)
    return (
        "Can the molecular subtype of an invasive breast cancer be told from the mammogram, before any tissue is "
        f"taken? Models were developed and evaluated on one cohort for: {tasks}. The design follows a published study "
        "of DenseNet121-CBAM, with patients instead of images as the unit of division and analysis. The software is "
        "for research; it has no intended clinical use."
    )
