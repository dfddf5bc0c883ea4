"""All ranks make the same passes through the model, by law: where weights lie in pieces, one pass fewer on one rank is a hang.

Ranks are threads here, each with a policy of its own; tests/scale tries the same on processes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor

from rlzoo.engine.model.sequences import Sequences
from rlzoo.engine.ranks import Ranks
from rlzoo.engine.scorer import Scorer
from rlzoo.laws.lab import Bench, one_active_row, toy_groups, toy_policy

GROUPS = toy_groups(policy=toy_policy())
WORLD = 2
T = TypeVar("T")


@dataclass(frozen=True)
class Meeting:
    """Where threads that are ranks hand each other what they have."""

    table: list[Any] = field(default_factory=lambda: [None] * WORLD)
    barrier: threading.Barrier = field(default_factory=lambda: threading.Barrier(WORLD, timeout=60))


@dataclass(frozen=True)
class Threaded(Ranks):
    meeting: Meeting = field(default_factory=Meeting)

    def gather(self, mine: T) -> list[T]:
        self.meeting.table[self.rank] = mine
        self.meeting.barrier.wait()
        everyone = list(self.meeting.table)
        self.meeting.barrier.wait()
        return everyone

    def all_reduce_sum(self, tensors: Iterable[Tensor]) -> None:
        tensors = list(tensors)
        for mine, *all_ranks in zip(tensors, *self.gather([t.clone() for t in tensors]), strict=True):
            mine.copy_(torch.stack(all_ranks).sum(0))


def passes(section: str, act: Callable[[Bench], object], **learner: Any) -> list[list[str]]:
    """What each rank's models were called for, in order: the trained one and its copies, with and without gradient."""
    meeting = Meeting()
    benches = [Bench(section, ranks=Threaded(rank, WORLD, meeting=meeting), learner=learner) for rank in range(WORLD)]
    heard: list[list[str]] = [[] for _ in benches]
    for bench, calls in zip(benches, heard, strict=True):

        def hear(module: Any, given: Any, calls: list[str] = calls) -> None:
            calls.append("learns" if torch.is_grad_enabled() else "reads")

        bench.policy.register_forward_pre_hook(hear)  # a copy of the policy has the hook, too
    with ThreadPoolExecutor(WORLD) as pool:
        for done in [pool.submit(act, bench) for bench in benches]:
            done.result()
    return heard


def step(bench: Bench) -> None:
    bench.learner.learn(bench.step(GROUPS), 0.0)


@pytest.mark.parametrize("budget", [1, 40, 1 << 20])
@pytest.mark.parametrize(
    "section",
    [
        "grpo",
        "cepo",
        "mcpo-contrastive",
        "tests/seam_objectives.py:Distils",
        "tests/seam_objectives.py:Couples",
        "tests/seam_objectives.py:Critic",
        "tests/seam_objectives.py:ReadsSignals",
    ],
)
def test_every_rank_makes_the_same_passes(section: str, budget: int) -> None:
    one, other = passes(section, step, tokens_per_microbatch=budget)
    assert one == other
    assert "learns" in one


def uneven(bench: Bench) -> None:
    """Three rows, of which the first rank has two, longer together than one pass may be."""
    rows = Sequences([(3,) * 120] * 3, [(4,) * n for n in (30, 20, 25)])
    scores = bench.scorer.pass_over(bench.store, rows)
    alone = bench.store.forward(rows.take([1])).logps_K
    torch.testing.assert_close(scores.logps_BT[1, :20], alone.detach())


def test_a_rank_with_fewer_rows_reads_one_again() -> None:
    one, other = passes("grpo", uneven)
    assert one == other


def test_a_rank_without_rows_reads_one_all_the_same() -> None:
    def single(bench: Bench) -> None:
        bench.scorer.pass_over(bench.store, Sequences([(3,)], [(4, 5)]))

    assert passes("grpo", single) == [["reads"], ["reads"]]


def test_one_active_row_is_passed_by_both_ranks() -> None:
    def single(bench: Bench) -> None:
        made = one_active_row(bench.step(GROUPS))
        bench.learner.backward(bench.update(made).update, made.needs, made.costs)

    one, other = passes("grpo", single)
    assert one == other


def test_a_teachers_pass_that_only_keeps_step_is_charged_to_nobody() -> None:
    """One group's rows over two ranks, and over one: the teacher's tokens are the same."""
    charged: list[int] = []

    def act(bench: Bench) -> None:
        made = bench.step(GROUPS)
        paired = bench.update(made, torch.arange(3))  # the first has no context: one rank has two rows, the other one
        bench.learner.backward(paired.update, made.needs, made.costs)
        charged.append(made.costs.extra_tokens)

    one, other = passes("tests/seam_objectives.py:Distils", act, tokens_per_microbatch=1)
    assert one == other
    act(Bench("tests/seam_objectives.py:Distils", learner={"tokens_per_microbatch": 1}))
    assert len(set(charged)) == 1 and charged[0] > 0


def test_without_padding_the_passes_are_unequal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seeded mistake: each rank reads its own rows and no more."""
    monkeypatch.setattr(Scorer, "_padding", lambda self, sequences: [])
    one, other = passes("grpo", uneven)
    assert len(one) == len(other) + 1
