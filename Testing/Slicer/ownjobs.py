"""Jobs of a test's own in real worker processes: they are put into every process that starts with a folder's path."""

from __future__ import annotations

from pathlib import Path

_FINDER = r"""
import importlib.util, sys, types

own = types.ModuleType("own_jobs")
exec(compile(JOBS, "own_jobs", "exec"), own.__dict__)
sys.modules["own_jobs"] = own

class Finder:
    # Adds the jobs to the worker's table as soon as that is imported.
    def find_spec(self, name, path=None, target=None):
        if name != "MolSubCore.worker.worker":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module
        def exec_module(module):
            run(module)
            module.JOBS = {**module.JOBS, **{job: getattr(own, function) for job, function in NAMES.items()}}
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


def write_jobs(folder: Path, code: str, names: dict[str, str]) -> None:
    """Make a `sitecustomize` for PYTHONPATH.

    Parameters
    ----------
    folder : Path
        Goes into PYTHONPATH.
    code : str
        Functions ``(options, progress)``.
    names : dict
        The name of a job, and the function that does it.
    """
    text = f"JOBS = {code!r}\nNAMES = {names!r}\n{_FINDER}"
    (folder / "sitecustomize.py").write_text(text, encoding="utf-8")


def hold_predictions(folder: Path) -> Path:
    """Have predictions and reports wait, once they have begun, while the returned file exists; it does not at first.

    Parameters
    ----------
    folder : Path
        Goes into PYTHONPATH.
    """
    hold = folder / "hold"
    code = f"""
import os, time

def hold(progress):
    progress(0.0, stage="loading model")
    while os.path.exists({str(hold)!r}):
        time.sleep(0.02)

def predict(options, progress):
    from MolSubCore.worker.jobs import predict
    hold(progress)
    return predict(options, progress)

def report(options, progress):
    from MolSubCore.worker.jobs import report as write_report
    hold(progress)
    return write_report(options, progress)
"""
    write_jobs(folder, code, {"predict": "predict", "report": "report"})
    return hold
