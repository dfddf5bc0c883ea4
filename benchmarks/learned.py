"""Did a run's training reward rise? Its first steps against its last, prompts being the sample.

    python -m benchmarks.learned RUN ... [--steps 10]

Reads the rollouts that `log.rollouts_every=1` keeps. A prompt's value is the mean reward of its group. Prints Markdown, a row a run: the means,
their difference, and the difference in its standard errors. Exits 1 if any is not above two.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from math import copysign, hypot, inf
from pathlib import Path
from statistics import fmean

from rlzoo.evals.passk import Estimate, over_problems
from rlzoo.runs.folder import RunDir

ENOUGH = 2.0
"""Standard errors."""


def prompts(run: RunDir, steps: Sequence[int]) -> Estimate:
    """Mean reward of the prompts of some steps, with its standard error over prompts."""
    values = []
    for step in steps:
        groups: dict[int, list[float]] = {}
        for row in run.rollouts(step):
            groups.setdefault(row["group"], []).append(row["reward"])
        values += [fmean(rewards) for rewards in groups.values()]
    return over_problems(values)


def rise(run: RunDir, steps: int) -> tuple[Estimate, Estimate, float]:
    """Of the first and the last steps, and how many standard errors lie between them."""
    kept, trained = run.rollout_steps(), [int(line["step"]) for line in run.metrics()]
    if kept != trained or len(kept) < 2 * steps:
        raise SystemExit(
            f"{run.path}: rollouts of {len(kept)} of {len(trained)} steps; first and last {steps} of all are compared, so "
            f"train {2 * steps} or more with log.rollouts_every=1"
        )
    first, last = prompts(run, kept[:steps]), prompts(run, kept[-steps:])
    assert first.se is not None and last.se is not None
    rose, error = last.value - first.value, hypot(first.se, last.se)
    return first, last, rose / error if error else copysign(inf, rose) if rose else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--steps", type=int, default=10)
    given = parser.parse_args()
    print(
        f"| run | first {given.steps} | last {given.steps} | difference | standard errors |\n| --- | --- | --- | --- | --- |"
    )
    all_rose = True
    for path in given.runs:
        first, last, errors = rise(RunDir(path), given.steps)
        all_rose &= errors > ENOUGH
        print(
            f"| {path.name} | {first.value:.3f} | {last.value:.3f} | {last.value - first.value:+.3f} | {errors:.1f} |"
        )
    return 0 if all_rose else 1


if __name__ == "__main__":
    raise SystemExit(main())
