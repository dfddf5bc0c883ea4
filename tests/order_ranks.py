"""One rank of a run as far as the order of its problems goes: what `tests/test_data_mixing.py` starts twice."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlzoo.config import PassRateConfig
from rlzoo.data.filters import Course, PassRate, ladder
from rlzoo.data.mixing import Drawn, Mixer
from rlzoo.data.procedural import logic
from rlzoo.data.strata import Shares
from rlzoo.engine.ranks import Ranks, join_ranks
from rlzoo.registry import datasets
from rlzoo.types import Group, Rollout, Verdict

PER_STEP, GROUP = 5, 4
"""Prompts a step, which two ranks cannot share evenly, and rollouts of each."""


def mixer(file: str) -> Mixer:
    """Two sources by domain, a quota, and two filters that go by what was measured."""
    sources = [logic(), datasets.load("file")(path=file)]
    shares = Shares(quotas={"sums": 3}, per_step=PER_STEP)
    filters = [PassRate(PassRateConfig(low=0.2, high=0.9, rest=1)), Course("ladder", ladder)]
    return Mixer(sources, [1, 1], seed=3, shares=shares, filters=filters)


def judged(drawn: Drawn) -> Group:
    """A group whose verdicts depend on the problem and on how often it was asked, as a trained policy's would."""
    right = (sum(drawn.problem.id.encode()) + drawn.visit) % (GROUP + 1)
    verdicts = [
        Verdict(status="correct", reward=1.0, reason="") if at < right else Verdict(status="wrong", reason="")
        for at in range(GROUP)
    ]
    rollout = Rollout(prompt_tokens=(), response_tokens=(), sampler_logps=(), text="", truncated=False)
    rollouts = tuple(rollout.judged_by(verdict) for verdict in verdicts)
    return Group(problem=drawn.problem, rollouts=rollouts, visit=drawn.visit)


def walk(ranks: Ranks, mixer: Mixer, steps: int) -> list[list[tuple[str, int]]]:
    """By step: the problems that all ranks asked, in the groups' order, with their visits."""
    seen = []
    for _ in range(steps):
        mine = [judged(drawn) for drawn in ranks.shard(mixer.draw(PER_STEP))]
        groups = ranks.all_gather(mine)
        mixer.observe(groups)
        seen.append([(group.problem.id, group.visit) for group in groups])
    return seen


def walk_and_resume(ranks: Ranks, file: str, steps: int, cut: int, state: Mapping[str, Any] | None = None) -> Any:
    """The order of `steps` steps, in a fresh mixer from step `cut` on; and the state at the cut."""
    first, second = mixer(file), mixer(file)
    before = walk(ranks, first, cut) if state is None else []
    kept = json.loads(json.dumps(first.state_dict() if state is None else state))
    second.load_state_dict(kept)
    return [*before, *walk(ranks, second, steps - cut)], kept


def main() -> None:
    """Arguments: the file of rows, steps, cut, the folder to write to, and perhaps a state to go on from."""
    file, steps, cut, folder, *state = sys.argv[1:]
    ranks = join_ranks()
    given = json.loads(Path(state[0]).read_text()) if state else None
    order, kept = walk_and_resume(ranks, file, int(steps), int(cut), given)
    (Path(folder) / f"rank-{ranks.rank}.json").write_text(json.dumps({"order": order, "state": kept}))
    ranks.leave(together=False)


if __name__ == "__main__":
    main()
