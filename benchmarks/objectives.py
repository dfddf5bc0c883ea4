"""What an objective costs beside GRPO: a step of the default recipe, as many updates, skipping off for both.

    python -m benchmarks.objectives [--steps 6] [--rounds 2] [--also NAME[:SETTING=VALUE] ...] [--set NAME=VALUE]

The learning rate is 0, so all arms sample the same rollouts and do the same work but for their own. Arms take turns,
`rounds` times; the first step of each turn is warm-up. Prints the median and the fastest step, ratios to GRPO's, and
the price of not skipping.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

ARMS: dict[str, tuple[str, ...]] = {  # the objective, and what else is set
    "grpo": ("grpo",),
    "mcpo-contrastive": ("mcpo-contrastive",),
    "mcpo-mastery": ("mcpo-mastery",),
    "cepo, schedule on": ("cepo", "objective.schedule=constant"),
    "cepo, schedule over": ("cepo", "objective.warm_steps=1"),
    "grpo, skipping": ("grpo", "learner.skip=true"),
}


def measure(own: tuple[str, ...], steps: int, overrides: list[str]) -> list[dict[str, float]]:
    """Metrics of each step after the first."""
    from rlzoo import configure
    from rlzoo.engine.trainer import train
    from rlzoo.runs.folder import RunDir

    settings = [
        *(f"budget.steps={steps + 1}", "learner.lr=0", "learner.skip=false", "log.rollouts_every=0"),
        *("eval.at_start=false", "eval.at_end=false", "eval.curve=0", "checkpoint.every=0"),
    ]
    with tempfile.TemporaryDirectory() as folder:
        train(configure.load(algo=own[0], assignments=[*settings, *own[1:], *overrides]), Path(folder) / "run")
        return [dict(line) for line in RunDir(Path(folder) / "run").metrics()[1:]]


def also(text: str) -> tuple[str, ...]:
    """An arm from `name:setting=value:...`, settings the objective's own."""
    name, *settings = text.split(":")
    return (name, *(f"objective.{setting}" for setting in settings))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--also", nargs="+", default=[], metavar="NAME", help="objectives as they are, beside those")
    parser.add_argument("--set", action="append", default=[])
    given = parser.parse_args()
    arms = ARMS | {name: also(name) for name in given.also}
    lines: dict[str, list[dict[str, float]]] = {arm: [] for arm in arms}
    for _ in range(given.rounds):
        for arm, own in arms.items():
            lines[arm] += measure(own, given.steps, given.set)
    seconds = {arm: statistics.median(line["time/step"] for line in of) for arm, of in lines.items()}
    least = {arm: min(line["time/step"] for line in of) for arm, of in lines.items()}
    table = {
        arm: {
            "seconds": round(seconds[arm], 3),
            "over_grpo": round(seconds[arm] / seconds["grpo"], 3),
            "least": round(least[arm], 3),
            "least_over_grpo": round(least[arm] / least["grpo"], 3),
            **{
                part: round(statistics.median(line[f"time/{part}"] for line in of), 3)
                for part in ("sample", "score", "update")
            },
        }
        for arm, of in lines.items()
    }
    print(json.dumps({**table, "price_of_not_skipping": seconds["grpo"] / seconds["grpo, skipping"]}, indent=1))


if __name__ == "__main__":
    main()
