"""Carrying a comparison out: its runs are started, watched and, on Ctrl-C, let to save."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rlzoo.cli import plain
from rlzoo.signals import terminated_like_ctrl_c

if TYPE_CHECKING:
    from rlzoo.config import RunConfig
    from rlzoo.experiment.design import Experiment
    from rlzoo.experiment.machine import RunsPlace
    from rlzoo.experiment.runner import Run
    from rlzoo.runs.identity import RunCode


def carry_out(experiment: Experiment, place: RunsPlace, out: Path, *, overwrite: bool, json: bool) -> list[Run]:
    """Make all runs of the comparison that are not finished; those that failed for good."""
    from rlzoo.cli import console, grid
    from rlzoo.experiment import runner, workspace

    with terminated_like_ctrl_c(), workspace.locked(out, waiting=_told_once(out)) as lock:
        workspace.check_folder(out, experiment)
        runs = runner.survey(experiment.runs, out, _code_by_arm(), overwrite=overwrite)
        workspace.write_spec(out, experiment)
        kept = sum(run.state == "done" for run in runs)
        if kept:
            plain.say(
                f"{kept} of {console.count(len(runs), 'run')} finished already and stay as they are.", label="note"
            )
        executor = place.executor(experiment.runs[0].config, experiment.slots, out, lock)
        try:
            with grid.watching(runs, experiment.slots, json=json) as view:
                failed = runner.Runner(runs, out, executor, view.tell).run()
        except runner.Interrupted:
            again = f"{experiment.command} {shlex.join(['--out', str(out)])}"
            plain.say(f"interrupted; finished runs and checkpoints are kept. To go on: {again}")
            raise typer.Exit(plain.INTERRUPTED) from None
        if not json:
            console.hint("")
        return failed


def _told_once(out: Path) -> Callable[[], None]:
    told: list[bool] = []

    def waiting() -> None:
        if not told:
            told.append(True)
            plain.say(f"waiting for runs that are still at work in {out} ...", label="note")

    return waiting


def _code_by_arm() -> Callable[[RunConfig], RunCode]:
    """The code of a run, found once for settings that differ in their seed alone."""
    from rlzoo.engine import provenance
    from rlzoo.engine.supply import build_supply

    found: dict[str, RunCode] = {}

    def code_of(config: RunConfig) -> RunCode:
        key = config.model_copy(update={"seed": 0}).model_dump_json()
        if key not in found:
            found[key] = provenance.code_of(config, build_supply(config))
        return found[key]

    return code_of
