"""Which rollouts of a run, or responses of its evaluations, are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from rlzoo.errors import UsageError, did_you_mean
from rlzoo.types import Status

if TYPE_CHECKING:
    from rlzoo.runs.folder import RunDir


@dataclass(frozen=True, slots=True)
class Kept:
    """What a run keeps by step."""

    one: str
    name: str
    """Of several."""
    steps: Sequence[int]
    read: Callable[[int], list[dict[str, Any]]]
    why_none: str


def rollouts(run: RunDir) -> Kept:
    return Kept(
        "rollout", "rollouts", run.rollout_steps(), run.rollouts, "It has made no step yet, or log.rollouts_every is 0."
    )


def answers(run: RunDir, split: str) -> Kept:
    """Responses to the problems of an evaluation."""
    instead = [other for other in ("test", "validation", "curve") if run.answered(other)]
    return Kept(
        f"response to {split} problems",
        f"responses to {split} problems",
        run.answered(split),
        lambda step: run.answers(split, step),
        f"It holds some of {' and '.join(instead)}: --split {instead[0]}."
        if instead
        else "It has not been evaluated, or by a version that kept none.",
    )


def check(run: RunDir, status: list[str]) -> None:
    """Refuse a folder that holds no run, and verdicts that do not exist."""
    if not run.exists():
        raise UsageError(
            f"{str(run.path)!r} holds no run (no config.yaml). Give the folder that `rlzoo train` printed."
        )
    for name in status:
        if name not in get_args(Status):
            raise UsageError(f"no verdict is called {name!r}. {did_you_mean(name, get_args(Status))}")


def select(run: RunDir, kept: Kept, step: int | None, problem: str | None, status: list[str]) -> list[dict[str, Any]]:
    """What one step holds, in order of sampling: the step asked for, else the newest that holds what is asked for."""
    if not kept.steps:
        raise UsageError(f"{run.path} holds no {kept.name}. {kept.why_none}")
    if step is not None and step not in kept.steps:
        raise UsageError(f"{run.path} holds no {kept.name} of step {step}; it holds {_ranges(kept.steps)}.")
    for number in [step] if step is not None else reversed(kept.steps):
        rows = [
            row
            for row in kept.read(number)
            if (problem is None or row["problem_id"] == problem) and (not status or row["status"] in status)
        ]
        if rows:
            return sorted(rows, key=lambda row: (row["group"], row["rollout"]))
    where = f"step {step}" if step is not None else "any step"
    raise UsageError(
        f"no {kept.one} of {where} in {run.path} fits. Leave out --problem or --status to see what is there."
    )


def _ranges(steps: Sequence[int]) -> str:
    return f"steps {steps[0]} to {steps[-1]} ({len(steps)} of them)" if len(steps) > 1 else f"step {steps[0]} only"
