"""What a run tells and writes, and how often."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rlzoo.engine.ranks import Ranks
from rlzoo.engine.record import batch_metrics
from rlzoo.engine.recorder import Recorder
from rlzoo.engine.reporting import Silent
from rlzoo.laws.lab import Bench, toy_groups, toy_policy, toy_tokenizer
from rlzoo.runs.folder import RunDir

GROUPS = toy_groups(policy=toy_policy())


class Heard(Silent):
    """Keeps what it is warned of."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def recorder(folder: Path, ranks: Ranks | None = None, **log: Any) -> tuple[Recorder, Heard, Bench]:
    bench, heard = Bench("grpo", log=log), Heard()
    nobody: Any = None  # no tracker is called here
    return Recorder(bench.config, RunDir(folder), ranks or Ranks(), heard, toy_tokenizer(), nobody), heard, bench


def test_a_warning_is_told_once_a_run(tmp_path: Path) -> None:
    found, heard, _ = recorder(tmp_path)
    found.warn_once(["one", "two", "one"])
    found.warn_once(["two", "three"])
    assert heard.warnings == ["one", "two", "three"]


def test_contexts_that_are_too_long_are_counted_and_told_once(tmp_path: Path) -> None:
    """A model that leaves 6 tokens beside a response: some prompts fit with a sibling's answer behind them, others do not."""
    found, heard, _ = recorder(tmp_path, rollouts_every=0)
    bench = Bench("cepo")
    roomy = bench.step(GROUPS)
    bench.renderer.limit = replace(bench.renderer.limit, beside=6)
    tight = bench.step(GROUPS)
    for name, all_B in roomy.batch.signal_mask.items():
        assert roomy.crowded[name] == 0
        lost = int((all_B & ~tight.batch.signal_mask[name]).sum())
        assert 0 < tight.crowded[name] == lost < int(all_B.sum())
        assert found.metrics(tight, {})[f"crowded/{name}"] == lost / len(tight.sequences)
    assert len(heard.warnings) == len(tight.crowded) and "is longer than the model has room" in heard.warnings[0]
    assert found.metrics(roomy, {})[f"crowded/{name}"] == 0.0


@pytest.mark.parametrize(("every", "steps"), [(1, [1, 2, 3, 4]), (2, [2, 4]), (3, [3]), (0, [])])
def test_rollouts_are_written_as_often_as_asked(every: int, steps: list[int], tmp_path: Path) -> None:
    found, _, bench = recorder(tmp_path, rollouts_every=every)
    for number in (1, 2, 3, 4):
        found.rollouts(bench.step(GROUPS, number), {})
    assert list(found.run.rollout_steps()) == steps


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    found, _, bench = recorder(tmp_path, Ranks(1, 2))
    found.rollouts(bench.step(GROUPS), {})
    found.diagnosis({"step": 1}, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("rewards", "judged", "std"),
    [
        ([0.1, 0.7], [True, True], 0.3),  # half their distance
        ([0.1, 0.7], [True, False], 0.0),  # one row is left
        ([0.1, 0.7], [False, False], None),
    ],
)
def test_the_spread_of_rewards_is_that_of_judged_rows_and_absent_without_any(
    rewards: list[float], judged: list[bool], std: float | None
) -> None:
    step = Bench("grpo").step(GROUPS)
    rows = torch.arange(len(rewards)) % len(step.batch.rewards_B)
    assert len(rows.unique()) == len(rows), "the toy step has too few rows"
    usable = torch.zeros_like(step.batch.judged_B)
    usable[rows] = torch.tensor(judged)
    filled = step.batch.rewards_B.clone()
    filled[rows] = torch.tensor(rewards, dtype=filled.dtype)
    found = batch_metrics(replace(step.batch, rewards_B=filled, judged_B=usable), step.groups, step.credit)
    assert found.get("reward/std") == (None if std is None else pytest.approx(std, abs=1e-7 if std else 0))
