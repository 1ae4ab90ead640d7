"""``molsub study`` and ``molsub study-report``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MolSubCore import DISCLAIMER
from MolSubCore.cli.parts import MISSING, STUDY_KEPT, TRUST_IDS, Commands, add_command
from MolSubCore.cli.progress import Bar, Bars, JobsBar
from MolSubCore.cli.train import add_settings
from MolSubCore.errors import MolSubError, counted
from MolSubCore.files import check_folder
from MolSubCore.lock import alone_in
from MolSubCore.tasks import TASKS
from MolSubCore.training.plan import SETTINGS

if TYPE_CHECKING:
    from MolSubCore.study.job import StudyJob
    from MolSubCore.study.plan import Study, StudyOptions
    from MolSubCore.study.results import StudyResults


def add_study(commands: Commands) -> None:
    """``molsub study`` and ``molsub study-report``."""
    text = "run a whole study: every task, architecture and fold, baselines, tables, figures and a report"
    parser = add_command(
        commands,
        "study",
        study,
        text,
        STUDY_KEPT,
        (
            "study cohort.csv --out study --pretrained auto --dry-run",
            "study cohort.csv --out study --jobs 2",
            "study cohort.csv --out study --tasks tn --architectures densenet121-cbam simple-cnn --clinical age",
        ),
    )
    add = parser.add_argument
    add("table", metavar="TABLE", help="cohort table: csv, tsv or xlsx")
    add("--out", required=True, metavar="STUDY", help="study folder; an existing study is resumed")
    add(
        "--tasks",
        nargs="+",
        default=[],
        choices=sorted(TASKS),
        help="default the paper's four: luminal, her2, tn, subtype5",
    )
    add(
        "--architectures",
        nargs="+",
        default=[],
        metavar="NAME",
        help="networks and baselines (radiomics-svm, radiomics-gb); default the paper's nine, and the baselines where "
        "their library is installed",
    )
    add("--clinical", nargs="+", default=[], metavar="COLUMN", help="columns of the table for late fusion, such as age")
    add(
        "--i-know",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help="clinical columns that are meant although they tell the subtype, such as her2_ihc; the report says so",
    )
    add("--missing", nargs="*", metavar="WORD", help=MISSING)
    add(
        "--small-counts",
        choices=("exact", "likelihood-ratio"),
        help="test of Table 1 where an expected count is below 5: exact (Fisher, Fisher-Freeman-Halton; default), or "
        "the paper's likelihood-ratio chi-square, which is significant too often there",
    )
    add(
        "--dry-run",
        action="store_true",
        help="check everything, print the plan and an estimate of the time, train nothing",
    )
    add("--jobs", type=int, default=1, metavar="N", help="jobs at a time (default 1)")
    add("--executor", choices=("local", "slurm"), default="local", help="where the jobs run (default local)")
    add("--partition", metavar="NAME", help="of the Slurm cluster")
    add("--time-limit", type=int, default=24 * 60, metavar="MINUTES", help="of a job on Slurm (default a day)")
    add("--split", metavar="FILE", help="split file of an earlier study, or a csv with patient_id,partition")
    add("--cache", metavar="DIR", help="folder of the patch cache (default: the user's cache folder, or $MOLSUB_CACHE)")
    add("--trust-ids", action="store_true", help=TRUST_IDS)
    add(
        "--pretrained",
        default="",
        metavar="kept|auto|none|DIR",
        help="ImageNet weights: kept by an earlier download (default), auto to download them, none, or a folder of "
        "torchvision's files",
    )
    add_settings(parser, without=("architecture",))
    text = "write a study's tables, figures and page again, from what is finished"
    report = add_command(commands, "study-report", study_report, text, examples=("study-report study",))
    report.add_argument("study", metavar="STUDY", help="study folder")


#: Folders of a study to which only it writes; the folds' own belong to the jobs, which may outlive it.
_WRITES = ("results", "runs", "runs/*")


def study(options: argparse.Namespace) -> int:
    """``molsub study``: exit code 2 when a job failed."""
    if options.jobs < 1:
        raise MolSubError("--jobs", f"is {options.jobs}, expected 1 or more", "Choose a larger number")
    if options.executor == "slurm":
        from MolSubCore.worker.executor import check_names

        check_names(Path(options.out), options.partition)
    if not options.dry_run:
        check_folder(Path(options.out))
    from MolSubCore.study.options import check_study

    wanted = _options(options)
    check_study(wanted)  # before PyTorch is loaded
    from MolSubCore.study.finish import finish_study
    from MolSubCore.study.plan import plan_study

    with Bars() as bars:
        planned = plan_study(wanted, bars)
    for note in planned.notes:
        print(f"Note: {note}")
    waiting = [job for job in planned.jobs if not job.finished]
    if options.dry_run:
        return _dry_run(planned, waiting)
    with alone_in(Path(options.out), writes=_WRITES):
        planned.write()
        failed = _run(options, planned, waiting)
        with Bar("evaluating") as bar:
            results, notes, unfinished = finish_study(planned, bar)
        _print_results(results)
        for note in notes:
            print(f"Note: {note}")
        if results.runs or not failed:  # of failures alone there is nothing to report
            _report(results)
    return _tell_failures(planned, failed, unfinished)


def _options(options: argparse.Namespace) -> StudyOptions:
    from MolSubCore.study.options import StudyOptions

    given = vars(options)
    return StudyOptions(
        table=Path(options.table),
        out=Path(options.out),
        tasks=tuple(options.tasks),
        models=tuple(options.architectures),
        clinical=tuple(options.clinical),
        i_know=tuple(options.i_know),
        missing=None if options.missing is None else tuple(options.missing),
        small_counts=options.small_counts,
        split=Path(options.split) if options.split else None,
        cache=Path(options.cache) if options.cache else None,
        pretrained=options.pretrained,
        trust_ids=options.trust_ids,
        workers=options.jobs,
        settings={setting.name: given[setting.name] for setting in SETTINGS if setting.name in given},
    )


def _dry_run(planned: Study, waiting: list[StudyJob]) -> int:
    from MolSubCore.study.estimate import estimate

    with Bar("timing steps") as bar:
        found = estimate(planned, bar)
    settings = planned.options.settings
    tasks, models = counted(len(planned.options.tasks), "task"), counted(len(planned.options.models), "model")
    folds, finished = counted(settings["folds"], "fold"), len(planned.jobs) - len(waiting)
    print(f"{counted(len(planned.jobs), 'job')}: {tasks} x {models} x {folds}; {finished} finished")
    print(f"{'task':12}{'model':24}{'folds':>6}{'finished':>10}")
    for task, model in planned.plans:
        own = [job for job in planned.jobs if (job.task, job.model) == (task, model)]
        print(f"{task:12}{model:24}{len(own):6}{sum(job.finished for job in own):10}")
    print(f"\n{'model':24}{'one step':>10}{'all its jobs':>16}")
    for model, seconds in found.seconds.items():
        step = f"{found.step_seconds[model]:.2f} s" if model in found.step_seconds else "-"
        print(f"{model:24}{step:>10}{duration(seconds):>16}")
    at_once = f"{counted(planned.options.workers, 'job')} of {counted(settings['threads'], 'thread')} at a time"
    print(
        f"\nAt most {duration(found.total_seconds)} on {settings['device']} with {at_once}, "
        f"and {found.disk_bytes / 2**30:.1f} GiB of disk. Nothing was written."
    )
    return 0


def duration(seconds: float) -> str:
    """A time span for people."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _run(options: argparse.Namespace, planned: Study, waiting: list[StudyJob]) -> dict[str, str]:
    if not waiting:
        return {}
    bar = JobsBar(len(planned.jobs), len(planned.jobs) - len(waiting))
    try:
        if options.executor == "slurm":
            from MolSubCore.worker.executor import run_slurm

            return run_slurm(
                waiting,
                bar,
                folder=planned.options.out / "slurm",
                partition=options.partition,
                at_once=options.jobs,
                timeout_min=options.time_limit,
                gpus=int(planned.options.settings["device"] == "cuda"),
            )
        from MolSubCore.worker.executor import run_local

        return run_local(waiting, options.jobs, bar)
    finally:
        bar.close()


def _print_results(results: StudyResults) -> None:
    if not results.runs:
        return
    from MolSubCore.statistics.metrics import over_classes

    print(f"\nAUC per patient on the test set, 95 % CI{' - SYNTHETIC COHORT' * bool(results.study['synthetic'])}")
    for (task, model), run in results.runs.items():
        metrics: dict[str, Any] = run.evaluation["test"]["ensemble"]["patient"]["metrics"]
        auc = metrics["auc" if run.positive else "macro auc"]
        text = "undefined" if auc["value"] is None else f"{auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f})"
        text += over_classes(auc)
        print(f"{task:10}{model:40}{text}")


def _report(results: StudyResults) -> None:
    from MolSubCore.cohort.pseudonyms import key_advice
    from MolSubCore.study.page.report import write_report

    with Bar("drawing") as bar:
        page = write_report(results, progress=bar)
    print(f"{DISCLAIMER}\nReport: {page}\nTables and figures: {results.folder / 'results'}")
    print(key_advice(results.folder / "split.json"))


def _tell_failures(planned: Study, failed: dict[str, str], unfinished: list[str]) -> int:
    from MolSubCore.worker.executor import describe_failures

    if not failed and not unfinished:
        return 0
    lines = [*describe_failures(planned.jobs, failed), *unfinished]
    for line in lines[1:]:
        print(f"Failed: {line}")
    raise MolSubError(
        f"{counted(len(lines), 'job')} failed, first {lines[0].rstrip('.')}",
        "all others are done" if len(lines) == 1 else "all but those named above are done",
        "The same command does what is left",
    )


def study_report(options: argparse.Namespace) -> int:
    """``molsub study-report``: tables, figures and the page of a study folder again."""
    from MolSubCore.study.results import read_study

    results = read_study(Path(options.study))
    _print_results(results)
    with alone_in(results.folder, writes=_WRITES):
        _report(results)
    return 0
