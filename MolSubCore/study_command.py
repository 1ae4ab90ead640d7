"""What ``molsub study`` and ``molsub study-report`` do."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MolSubCore import DISCLAIMER
from MolSubCore.errors import MolSubError
from MolSubCore.files import check_folder
from MolSubCore.lock import alone_in
from MolSubCore.progress import Bar, Bars, JobsBar

if TYPE_CHECKING:
    from MolSubCore.evaluation.study_results import StudyResults
    from MolSubCore.study.job import StudyJob
    from MolSubCore.study.plan import Study, StudyOptions

#: Folders of a study to which only it writes; the folds' own belong to the jobs, which may outlive it.
_WRITES = ("results", "runs", "runs/*")


def study(options: argparse.Namespace) -> int:
    """``molsub study``: exit code 2 when a job failed."""
    if options.jobs < 1:
        raise MolSubError("--jobs", f"is {options.jobs}, expected 1 or more", "Choose a larger number")
    if options.executor == "slurm":
        from MolSubCore.jobs.slurm import check_names

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

    own = {"table", "out", "tasks", "architectures", "clinical", "dry_run", "jobs", "executor", "partition"}
    own |= {"time_limit", "split", "cache", "pretrained", "trust_ids", "handler", "after_interrupt"}
    return StudyOptions(
        table=Path(options.table),
        out=Path(options.out),
        tasks=tuple(options.tasks),
        models=tuple(options.architectures),
        clinical=tuple(options.clinical),
        split=Path(options.split) if options.split else None,
        cache=Path(options.cache) if options.cache else None,
        pretrained=options.pretrained,
        trust_ids=options.trust_ids,
        workers=options.jobs,
        settings={key: value for key, value in vars(options).items() if key not in own},
    )


def _dry_run(planned: Study, waiting: list[StudyJob]) -> int:
    from MolSubCore.study.estimate import estimate

    with Bar("timing steps") as bar:
        found = estimate(planned, bar)
    folds = planned.options.settings["folds"]
    print(f"{len(planned.jobs)} jobs: {len(planned.options.tasks)} task(s) x {len(planned.options.models)} model(s) x "
          f"{folds} fold(s); {len(planned.jobs) - len(waiting)} finished")  # fmt: skip
    print(f"{'task':12}{'model':24}{'folds':>6}{'finished':>10}")
    for task, model in planned.plans:
        own = [job for job in planned.jobs if (job.task, job.model) == (task, model)]
        print(f"{task:12}{model:24}{len(own):6}{sum(job.finished for job in own):10}")
    print(f"\n{'model':24}{'one step':>10}{'all its jobs':>16}")
    for model, seconds in found.seconds.items():
        step = f"{found.step_seconds[model]:.2f} s" if model in found.step_seconds else "-"
        print(f"{model:24}{step:>10}{duration(seconds):>16}")
    settings = planned.options.settings
    print(
        f"\nAt most {duration(found.total_seconds)} on {settings['device']} with {planned.options.workers} job(s) at a "
        f"time of {settings['threads']} thread(s), and {found.disk_bytes / 2**30:.1f} GiB of disk. Nothing was written."
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
            from MolSubCore.jobs.slurm import run_slurm

            return run_slurm(
                waiting,
                bar,
                folder=planned.options.out / "slurm",
                partition=options.partition,
                at_once=options.jobs,
                timeout_min=options.time_limit,
                gpus=int(planned.options.settings["device"] == "cuda"),
            )
        from MolSubCore.jobs.local import run_local

        return run_local(waiting, options.jobs, bar)
    finally:
        bar.close()


def _print_results(results: StudyResults) -> None:
    if not results.runs:
        return
    print(f"\nAUC per patient on the test set, 95 % interval{' - SYNTHETIC COHORT' * bool(results.study['synthetic'])}")
    for (task, model), run in results.runs.items():
        metrics: dict[str, Any] = run.evaluation["test"]["ensemble"]["patient"]["metrics"]
        auc = metrics["auc" if run.positive else "macro auc"]
        text = "undefined" if auc["value"] is None else f"{auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f})"
        print(f"{task:10}{model:40}{text}")


def _report(results: StudyResults) -> None:
    from MolSubCore.pseudonyms import key_advice
    from MolSubCore.report.study_report import write_report

    with Bar("drawing") as bar:
        page = write_report(results, progress=bar)
    print(f"{DISCLAIMER}\nReport: {page}\nTables and figures: {results.folder / 'results'}")
    print(key_advice(results.folder / "split.json"))


def _tell_failures(planned: Study, failed: dict[str, str], unfinished: list[str]) -> int:
    from MolSubCore.jobs.local import describe_failures

    if not failed and not unfinished:
        return 0
    lines = [*describe_failures(planned.jobs, failed), *unfinished]
    for line in lines[1:]:
        print(f"Failed: {line}")
    raise MolSubError(
        f"{len(lines)} job(s) failed, first {lines[0].rstrip('.')}",
        "all others are done" if len(lines) == 1 else "all but those named above are done",
        "The same command does what is left",
    )


def study_report(options: argparse.Namespace) -> int:
    """``molsub study-report``: tables, figures and the page of a study folder again."""
    from MolSubCore.evaluation.study_results import read_study

    results = read_study(Path(options.study))
    _print_results(results)
    with alone_in(results.folder, writes=_WRITES):
        _report(results)
    return 0
