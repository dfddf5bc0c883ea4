"""Series of runs, thinned for drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlzoo.errors import RlzooError
from rlzoo.evals.evaluations import MACRO
from rlzoo.evals.passk import Estimate
from rlzoo.evals.records import Record
from rlzoo.runs.comparison import AXES
from rlzoo.runs.folder import read_lines

REWARD = "correct/mean"
"""Shown as training's progress: unlike the reward it means the same for every objective and control."""
X_AXES = {"tokens": AXES["gen_tokens"].metric, "steps": AXES["steps"].metric, "seconds": AXES["device_seconds"].metric}
COST = (
    "cost/prompts",
    "cost/rollouts",
    "cost/gen_tokens",
    "cost/train_tokens",
    "cost/extra_tokens",
    "cost/flops",
    "time/device_seconds",
)
HEALTH = (  # nothing of the family `trained`: arms train different tokens
    "policy/entropy",
    "groups/mixed",
    "grad/norm",
    "mismatch/kl",
    "status/truncated",
    "status/error",
    "length/mean",
    "evidence/auc",
)
MOST_POINTS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    arm: str
    seed: int
    x: Sequence[float]
    y: Sequence[float]


def smooth(values: Sequence[float]) -> list[float]:
    """Centred mean over about a twentieth of the steps, at least three."""
    width = max(3, len(values) // 20) // 2
    return [float(np.mean(values[max(0, i - width) : i + width + 1])) for i in range(len(values))]


def thin(values: Sequence[Any]) -> list[Any]:
    """At most MOST_POINTS of them, evenly, first and last kept."""
    if len(values) <= MOST_POINTS:
        return list(values)
    return [values[round(i)] for i in np.linspace(0, len(values) - 1, MOST_POINTS)]


def training(record: Record) -> dict[str, list[Any]]:
    """A run's steps, tokens, seconds and smoothed share of correct rollouts."""
    lines = [
        line
        for line in record.metrics
        if all(isinstance(line.get(key), (int, float)) for key in (*X_AXES.values(), REWARD))
    ]
    shares = smooth([float(line[REWARD]) for line in lines])
    rows = thin(list(zip(lines, shares, strict=True)))
    return {
        **{axis: [line[key] for line, _ in rows] for axis, key in X_AXES.items()},
        "correct": [share for _, share in rows],
    }


def rewards(record: Record, axis: str) -> Line:
    found = training(record)
    return Line(arm=record.arm, seed=record.seed, x=found[axis], y=found["correct"])


def tested(record: Record, axis: str) -> Line:
    """Macro pass@1 on test problems at every evaluation, along an axis on which step 0 is 0."""
    return _scores(record, axis, record.scored)


def on_the_way(record: Record, axis: str) -> Line:
    """The same on the few problems of the curve."""
    return _scores(record, axis, record.curve)


def _scores(record: Record, axis: str, found: Mapping[int, Mapping[str, Estimate]]) -> Line:
    at = {0: 0.0} | dict(record.series(X_AXES[axis]))
    known = [(at[step], scores[MACRO].value) for step, scores in found.items() if step in at]
    return Line(arm=record.arm, seed=record.seed, x=[x for x, _ in known], y=[y for _, y in known])


def metric(record: Record, name: str) -> Line:
    found = record.series(name)
    rows = thin(list(zip([step for step, _ in found], smooth([value for _, value in found]), strict=True)))
    return Line(arm=record.arm, seed=record.seed, x=[step for step, _ in rows], y=[value for _, value in rows])


def mean(lines: Sequence[Line]) -> tuple[list[float], list[float]]:
    """The mean line over seeds, on the stretch that all of them cover."""
    full = [line for line in lines if line.x]
    if not full:
        return [], []
    low, high = max(min(line.x) for line in full), min(max(line.x) for line in full)
    grid = [x for x in sorted({x for line in full for x in line.x}) if low <= x <= high]
    grid = thin(grid)
    return grid, [float(np.mean([np.interp(x, line.x, line.y) for line in full])) for x in grid]


def diagnostics(record: Record) -> list[dict[str, Any]]:
    """What the run measured about interference and representations; nothing if it did not, or the file is damaged."""
    try:
        return [line for line in read_lines(record.run.diagnostics_file) if isinstance(line.get("step"), int)]
    except (RlzooError, AttributeError):
        return []


def diagnosed(record: Record, family: str, name: str) -> Line:
    """One number of the diagnostics by step."""
    found = [
        (line["step"], float(line[family][name]))
        for line in diagnostics(record)
        if isinstance(line.get(family), dict) and isinstance(line[family].get(name), (int, float))
    ]
    return Line(arm=record.arm, seed=record.seed, x=[step for step, _ in found], y=[value for _, value in found])
