"""What a step costs, what a run has spent of its budget, where its seconds go, and how it is asked to stop: all by hand."""

from __future__ import annotations

import signal
import time
from dataclasses import fields, replace

import pytest
import torch
from torch._C._distributed_c10d import HashStore

from rlzoo.config import BudgetConfig
from rlzoo.engine.budget import Spent
from rlzoo.engine.clock import Clock, Stop
from rlzoo.engine.learning.batch import draw_minibatches
from rlzoo.engine.learning.learner import _by_domain
from rlzoo.engine.model.sequences import sequences_of
from rlzoo.engine.ranks import Ranks
from rlzoo.engine.reporting import Silent
from rlzoo.engine.rollcall import Loss, RollCall
from rlzoo.engine.step import Costs
from rlzoo.laws.lab import Bench, toy_groups
from rlzoo.placement import here
from rlzoo.types import Group, Problem, Rollout
from tests.test_golden_objectives import batch_of


def group(prompt: int, *responses: int) -> Group:
    """A prompt of so many tokens, and responses of so many."""
    return Group(
        problem=Problem(id="p", domain="maths", messages=(), verifier="maths"),
        rollouts=tuple(
            Rollout(
                prompt_tokens=(1,) * prompt,
                response_tokens=(2,) * length,
                sampler_logps=(0.0,) * length,
                text="",
                truncated=False,
            )
            for length in responses
        ),
    )


GROUPS = [group(3, 2, 5), group(4, 1, 1, 0)]
"""Two prompts of 7 tokens in all, five responses of 9, and 2 x 3 + 3 x 4 + 9 = 27 in rows."""


def test_costs_by_hand() -> None:
    """A prompt is read once a group while sampling, and once a row in every pass."""
    costs, rows = Costs(), sequences_of(GROUPS)
    costs.sampled(GROUPS)
    costs.sampled(GROUPS[:1])
    assert costs == Costs(prompts=3, rollouts=7, gen_tokens=16, prefill_tokens=10)
    costs = Costs()
    for _ in range(2):
        costs.trained([3, 4])
        costs.rescored(rows)
        costs.read(rows)
    assert costs == Costs(train_tokens=14, scoring_tokens=54, extra_tokens=54)
    costs.read(rows, 10)
    costs.read(rows, -5)
    assert (costs.extra_tokens, costs.heavier) == (108, 135.0)


def test_old_log_probs_of_later_updates_are_charged_as_scoring() -> None:
    """Of two updates the second's rows are read before the first moves the policy; with one update there is nothing to read."""
    for updates in (1, 2):
        learner = {"updates_per_step": updates, "skip": False}
        bench = Bench("grpo", learner=learner)
        step = bench.step(toy_groups(policy=bench.policy))
        parts = draw_minibatches(step.batch, updates, bench.config.seed)
        bench.learner.learn(step, 0.0)
        later = torch.cat([*parts[1:], torch.zeros(0, dtype=torch.int64)])
        assert step.costs.scoring_tokens == sum(step.sequences.lengths[i] for i in later.tolist())
        assert (step.costs.scoring_tokens > 0) == (updates == 2)
        assert step.costs.train_tokens == sum(step.sequences.lengths)


def test_a_domain_without_a_judged_rollout_has_no_share_that_learned() -> None:
    batch = replace(batch_of([1, 1, 1], [1, 0, 1], domains=[0, 0, 1]), judged_B=torch.tensor([True, True, False]))
    assert _by_domain(batch, torch.tensor([True, False, True])) == {"learned/math": 0.5}


def test_costs_add_up_one_by_one() -> None:
    names = [spec.name for spec in fields(Costs)]
    costs = Costs(**{name: 2**at for at, name in enumerate(names)})
    costs.add(Costs(**{name: 1000 * 2**at for at, name in enumerate(names)}))
    assert [getattr(costs, name) for name in names] == [1001 * 2**at for at in range(len(names))]


def spent(**more: float) -> Spent:
    return Spent(**more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("costs", "flops"),
    [
        ({"gen_tokens": 1}, 200),
        ({"prefill_tokens": 1}, 200),
        ({"scoring_tokens": 1}, 200),
        ({"extra_tokens": 1}, 200),
        ({"train_tokens": 1}, 520),  # 600, less 2 for each of 40 parameters that are not trained
        ({"heavier": 7.0}, 14),
        ({"gen_tokens": 1, "prefill_tokens": 2, "scoring_tokens": 4, "extra_tokens": 8, "train_tokens": 16, "heavier": 32.0}, 11384),
    ],
)  # fmt: skip
def test_flops_by_hand(costs: dict[str, float], flops: float) -> None:
    """Of 100 parameters, 40 of them frozen."""
    assert spent(parameters=100, frozen=40, **costs).flops == flops


def test_what_is_spent_of_a_budget_by_hand() -> None:
    budget = BudgetConfig(steps=10, gen_tokens=1000)
    run = spent(steps=2, gen_tokens=300)
    assert run.progress(budget) == 0.3
    assert run.progress(budget, Costs(gen_tokens=600)) == 0.9
    assert run.gen_tokens == 300, "the costs ahead are not charged yet"
    assert spent(steps=5, gen_tokens=300).progress(budget) == 0.5
    assert run.reached(budget) == ""
    assert spent(steps=9, gen_tokens=999).reached(budget) == ""
    assert spent(steps=10).reached(budget) == "budget.steps = 10 is spent"
    assert spent(steps=9, gen_tokens=1000).reached(budget) == "budget.gen_tokens = 1000 is spent"


def test_what_is_spent_is_told_and_kept() -> None:
    run = spent(
        prompts=1, rollouts=2, gen_tokens=3, train_tokens=4, extra_tokens=5, device_seconds=6.0, parameters=1, steps=9
    )
    told = run.metrics()
    assert told == {
        "cost/prompts": 1.0, "cost/rollouts": 2.0, "cost/gen_tokens": 3.0, "cost/train_tokens": 4.0, "cost/extra_tokens": 5.0,
        "cost/flops": 2.0 * (3 + 5) + 6.0 * 4, "time/device_seconds": 6.0,
    }  # fmt: skip
    again = Spent()
    again.load_state_dict(run.state_dict())
    assert again == run


# -- seconds ----------------------------------------------------------------------------------------------


class Heard(Silent):
    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, name: str) -> None:
        self.stages.append(name)


def test_seconds_of_a_stage_add_up_until_the_next_start(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([1.0, 3.0, 10.0, 11.0, 20.0, 24.0, 30.0, 30.5])
    heard = Heard()
    clock = Clock(heard, torch.device("cpu"))
    with monkeypatch.context() as patch:
        patch.setattr(time, "perf_counter", ticks.__next__)
        for stage in ("sample", "verify"):
            with clock.timed(stage):
                pass
        with pytest.raises(KeyError), clock.timed("sample"):
            raise KeyError
        assert clock.seconds == {"sample": 6.0, "verify": 1.0}
        clock.start()
        with clock.timed("save"):
            pass
    assert clock.seconds == {"save": 0.5}
    assert heard.stages == ["sample", "verify", "sample", "save"]


# -- stopping ---------------------------------------------------------------------------------------------


def sent(number: signal.Signals) -> tuple[object, ...] | None:
    """What the interrupt holds that this signal raises here; None where it raises none."""
    try:
        signal.raise_signal(number)
    except KeyboardInterrupt as error:
        return error.args
    return None


def stopping(ranks: Ranks | None = None) -> tuple[Stop, list[str]]:
    notes: list[str] = []
    return Stop(notes.append, ranks), notes


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_one_stops(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    stop, notes = stopping()
    with stop.listening():
        seen = [(stop.asked, sent(number)), (stop.asked, sent(number))]
    assert seen == [(False, None), (True, (number.name,))]
    (note,) = notes
    assert "after this step" in note and "Ctrl-C again" in note
    assert not stop.save_asked
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before


def test_a_checkpoint_is_asked_for_without_a_stop() -> None:
    stop, notes = stopping()
    assert not stop.save_asked
    with stop.listening():
        assert sent(signal.SIGUSR1) is None
    assert (stop.save_asked, stop.asked, notes) == (True, False, [])


def test_several_ranks_take_the_signals_of_one_second_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler's own and the one that the launcher passes on; one rank alone is never sent two for one."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stop, notes = stopping(Ranks(0, 2))
    seen = []
    with stop.listening():
        for now[0] in (100.0, 100.9, 101.0):
            seen.append(sent(signal.SIGTERM))
    assert seen == [None, None, ("SIGTERM",)]
    assert len(notes) == 1


def test_a_rank_that_has_lost_another_stops_at_once() -> None:
    roll = RollCall(0, HashStore(), [here("cpu")])
    roll.lost = Loss(rank=1, kind="silent")
    stop, notes = stopping(Ranks(0, 2, roll))
    with stop.listening():
        assert sent(signal.SIGTERM) == ("SIGTERM",)
    assert (stop.asked, notes) == (False, [])
    roll.leave()
