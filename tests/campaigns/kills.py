"""A run killed at a seeded moment and resumed: weights, metrics, evaluations and rollouts are those of the run that nobody killed.

A moment is one of the calls that put bytes and names on disk, or the beginning of a stage. Most lie inside a save, which is
where a kill leaves something half done.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rlzoo.config import RunConfig
from rlzoo.engine.reporting import Silent
from rlzoo.engine.saving import Saver
from rlzoo.engine.trainer import train
from rlzoo.runs.folder import RunDir
from tests import bytes_model
from tests.support import final_weights, small_config, without_times

STEPS = 4
CALLS = ("fsync", "replace", "unlink", "rmdir")


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill and what became of the run."""

    told: str
    inside: bool
    """Between two files of one save."""
    wrong: str


class Moments(Silent):
    """Counts moments, and does something at one of them."""

    def __init__(self, at: int | None, act: Callable[[], object]) -> None:
        self.at, self.act = at, act
        self.seen: list[str] = []
        self.saving = False
        for name in CALLS:
            setattr(os, name, self._counted(getattr(os, name), name))
        whole = Saver.save

        def save(saver: Saver) -> None:
            self.saving = True
            whole(saver)
            self.saving = False

        Saver.save = save  # type: ignore[assignment, method-assign]

    def _counted(self, call: Callable[..., object], name: str) -> Callable[..., object]:
        def counted(*args: object, **options: object) -> object:
            self.note(f"{name} in a save" if self.saving else name)
            return call(*args, **options)

        return counted

    def note(self, text: str) -> None:
        if len(self.seen) == self.at:
            self.act()
        self.seen.append(text)

    def stage(self, name: str) -> None:
        self.note(f"stage {name}")


def settings(folder: Path) -> RunConfig:
    """A run of seconds that saves every step, evaluates on both splits and keeps rollouts."""
    return small_config(
        f"model.path={bytes_model.make(folder / 'model')}", "data.sources=[{name: maths}]", "eval.problems_per_level=1",
        "eval.samples=1", "eval.every=2", "eval.validation_every=1", "eval.validation_per_level=1", "sampling.max_response=3",
        "sampling.group_size=2", "sampling.prompts_per_step=2", "checkpoint.every=1", "checkpoint.keep_last=2", steps=STEPS,
    )  # fmt: skip


def campaign(folder: Path, count: int, seed: int) -> Iterator[Kill]:
    """`count` kills; two in three inside a save."""
    config, whole = settings(folder), RunDir(folder / "whole")
    listed = folder / "moments"

    def undisturbed() -> None:
        moments = Moments(None, lambda: None)
        train(config, whole.path, reporter=moments)
        listed.write_text("\n".join(moments.seen))

    assert in_a_process(undisturbed) == 0, "the undisturbed run failed"
    moments = listed.read_text().splitlines()
    inside = [number for number, name in enumerate(moments) if name.endswith("in a save")]
    for number in range(count):
        chance = random.Random(f"{seed}/{number}")
        at = chance.choice(inside) if number % 3 else chance.randrange(len(moments))
        run = RunDir(folder / f"run-{number}")
        told = f"at {at} of {len(moments)}, {moments[at]}"
        ended = in_a_process(lambda run=run, at=at: train(config, run.path, reporter=Moments(at, die)))  # type: ignore[misc]
        if ended != -signal.SIGKILL:
            yield Kill(told, False, f"was not killed but ended with {ended}")
            continue
        again = run.exists()
        ended = in_a_process(lambda run=run, again=again: train(config, run.path, resume=again))  # type: ignore[misc]
        yield Kill(told, at in inside, f"resuming ended with {ended}" if ended else differs(run, whole))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_process(act: Callable[[], object]) -> int:
    """Its exit status; negative for a signal's number. Forked, so that libraries are loaded once."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            act()
        except BaseException:  # told, and never back into the parent's loop
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def differs(run: RunDir, whole: RunDir) -> str:
    """Where a run differs from the one that nobody killed; empty if nowhere."""
    if final_weights(run.path) != final_weights(whole.path):
        return "other weights"
    if without_times(run.metrics()) != without_times(whole.metrics()):  # type: ignore[arg-type]
        return "other metrics"
    if run.evaluations() != whole.evaluations():
        return "other evaluations"
    if run.rollout_steps() != whole.rollout_steps():
        return f"rollouts of steps {run.rollout_steps()}"
    if any(run.rollouts(step) != whole.rollouts(step) for step in whole.rollout_steps()):
        return "other rollouts"
    return ""
