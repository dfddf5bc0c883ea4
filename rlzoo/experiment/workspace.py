"""The folder of a comparison: made one comparison's, and held by one command at a time. What lies in it: `rlzoo.runs.comparison`."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlzoo import configure
from rlzoo.errors import DataError, RunConflict
from rlzoo.experiment.design import Experiment, PlannedRun
from rlzoo.runs.comparison import SPEC, read_spec, run_of
from rlzoo.runs.evaluation import Evaluation
from rlzoo.runs.folder import RunDir, dumps, write_json, write_text
from rlzoo.runs.lock import awaited, held

LOCK = ".lock"
MAY_CHANGE = {"command", "jobs", "settings"}
"""Entries of compare.json that change no result. Where the settings of a run did change, the run itself is refused."""


def check_folder(folder: Path, experiment: Experiment) -> None:
    """Refuse a folder of another comparison, or of something else: it is never mixed with or lost."""
    before = read_spec(folder)
    if before is None:
        if folder.exists() and (not folder.is_dir() or any(item.name != LOCK for item in folder.iterdir())):
            raise RunConflict(
                f"{folder} is not empty and holds no comparison; nothing was changed. Give another --out."
            )
        return
    then, now = before.as_data(), experiment.spec.as_data()
    changed = [f"  {line}" for key in sorted(now.keys() - MAY_CHANGE) for line in _changes(key, then[key], now[key])]
    if changed:
        raise RunConflict(
            f"the comparison in {folder} was started otherwise, so going on would mix two:\n"
            + "\n".join(changed)
            + "\nGo on with its own command, or give another --out."
        )


def _changes(key: str, before: Any, now: Any) -> list[str]:
    if before == now:
        return []
    if key == "arms":
        then, fresh = ({arm["name"]: arm for arm in arms} for arms in (before, now))
        return [
            f"arm {name}: {dumps(then[name]['assignments']) if name in then else 'absent'} -> "
            f"{dumps(fresh[name]['assignments']) if name in fresh else 'absent'}"
            for name in sorted(then.keys() | fresh.keys())
            if then.get(name) != fresh.get(name)
        ] or ["arms: in another order"]
    return [f"{key}: {dumps(before)} -> {dumps(now)}"]


def write_spec(folder: Path, experiment: Experiment) -> None:
    """Make the folder this comparison's."""
    try:
        (folder / "runs").mkdir(parents=True, exist_ok=True)
        (folder / "logs").mkdir(exist_ok=True)
        write_json(folder / SPEC, experiment.spec.as_data())
    except OSError as error:
        raise RunConflict(f"{folder} cannot be written: {error.strerror or error}. Give another --out.") from error


# ---------------------------------------------------------------------------------------------------------
# One comparison at a time


@contextmanager
def locked(folder: Path, *, patience_s: float = 60.0, waiting: Callable[[], None] = lambda: None) -> Iterator[int]:
    """Hold the folder; the number of the file that holds it. Runs inherit it, so that they keep the folder while they still save."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise RunConflict(f"{folder} cannot be written: {error.strerror or error}. Give another --out.") from error
    try:
        _take(handle, folder, patience_s, waiting)
        _await_runs(folder, patience_s, waiting)
        yield handle
    finally:
        os.close(handle)


def _take(handle: int, folder: Path, patience_s: float, waiting: Callable[[], None]) -> None:
    started = time.monotonic()
    while not held(handle):
        if time.monotonic() - started >= patience_s:
            raise RunConflict(
                f"another `rlzoo compare`, or a run of one, is at work in {folder}. Wait until it has ended, or give another --out."
            )
        waiting()
        time.sleep(0.5)


def _await_runs(folder: Path, patience_s: float, waiting: Callable[[], None]) -> None:
    """Runs on other machines hold their own folders alone: they may still save when their comparison is gone."""
    for run in (folder / "runs").glob("*"):
        if not awaited(run, 0.0):
            waiting()
            if not awaited(run, patience_s):
                raise RunConflict(
                    f"a run of this comparison is still at work in {run}. Wait until it has ended, or give another --out."
                )


# ---------------------------------------------------------------------------------------------------------
# Its runs


def prepare(folder: Path, planned: PlannedRun, start: Evaluation | None) -> None:
    """Make the run's folder, with its settings and, if known, its evaluation at step 0, so that every start is a resumption."""
    run = run_of(folder, planned.name)
    if start is not None and start_of(folder, planned) is None and not run.checkpoint_steps():
        _share_answers(folder, start, run)
        write_text(run.evals_file, dumps(start.as_record()) + "\n")
    if not run.exists():
        write_text(run.path / "config.yaml", configure.to_yaml(planned.config))


def _share_answers(folder: Path, start: Evaluation, run: RunDir) -> None:
    """The responses of a shared evaluation beside its record; nothing where the run that made it kept none."""
    made = run_of(folder, start.shared_from or "").answers_file(start.split, start.step)
    target = run.answers_file(start.split, start.step)
    if start.shared_from is not None and made.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial")
        shutil.copyfile(made, partial)
        os.replace(partial, target)


def start_of(folder: Path, planned: PlannedRun) -> Evaluation | None:
    """The run's own evaluation at step 0, if it has been recorded and can be read."""
    try:
        evaluations = run_of(folder, planned.name).evaluations()
    except DataError:  # its resumption mends or refuses it
        return None
    return next((found for found in evaluations if found.step == 0 and found.split == "test"), None)
