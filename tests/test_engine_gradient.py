"""An update's gradient is a property of its rows: no cut, padding, skipping or rank may move it.

Shown on a two-layer random model. Not shown: that a large model's kernels behave the same.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.multiprocessing.spawn import ProcessRaisedException

from rlzoo import configure
from rlzoo.engine.learning.batch import balance_by_length, draw_minibatches
from rlzoo.engine.model.passes import microbatches
from rlzoo.engine.model.sequences import Sequences
from rlzoo.errors import ConfigError
from rlzoo.laws.lab import (
    Bench,
    gradient_on_ranks,
    one_active_row,
    relative_difference,
    toy_groups,
    toy_policy,
)
from rlzoo.types import Term

GROUPS = toy_groups(policy=toy_policy())
OBJECTIVES = [
    "grpo",
    {"name": "grpo", "reduction": "token", "kl_coef": 0.1},
    {"name": "grpo", "reduction": "group"},
    {"name": "grpo", "reduction": "constant", "scale_by_std": False},
    "tests/seam_objectives.py:Couples",
    "tests/seam_objectives.py:Critic",
    "tests/seam_objectives.py:Distils",
]


@pytest.mark.parametrize("section", OBJECTIVES, ids=str)
@pytest.mark.parametrize("budget", [1, 60, 1 << 20], ids=["one row", "a few rows", "all rows"])
@pytest.mark.parametrize("skip", [True, False])
def test_gradient_does_not_depend_on_the_cut(section: Any, budget: int, skip: bool):
    whole = Bench(section, learner={"tokens_per_microbatch": 1 << 20, "skip": False})
    cut = Bench(section, learner={"tokens_per_microbatch": budget, "skip": skip}, logit_elements=37)
    expected = whole.gradient(whole.step(GROUPS))
    assert expected.norm() > 0.01
    assert relative_difference(cut.gradient(cut.step(GROUPS)), expected) <= 1e-12


def test_gradient_in_float32_within_rounding():
    def bench(budget: int) -> torch.Tensor:
        made = Bench("grpo", dtype=torch.float32, learner={"tokens_per_microbatch": budget}, model={"dtype": "float32"})
        return made.gradient(made.step(GROUPS))

    assert relative_difference(bench(1), bench(1 << 20)) <= 1e-6


@pytest.mark.parametrize(
    "section",
    [
        "grpo",
        pytest.param("tests/seam_objectives.py:Couples", marks=pytest.mark.long),
        pytest.param("tests/seam_objectives.py:Critic", marks=pytest.mark.long),
    ],
)
def test_gradient_does_not_depend_on_ranks(section: str):
    alone = Bench(section)
    expected = alone.gradient(alone.step(GROUPS))
    assert relative_difference(gradient_on_ranks(section, learner={"tokens_per_microbatch": 40}), expected) <= 1e-12


def test_a_rank_with_everything_skipped_takes_part():
    alone = Bench("grpo")
    expected = alone.gradient(one_active_row(alone.step(GROUPS)))
    assert relative_difference(gradient_on_ranks("grpo", only_first=True), expected) <= 1e-12


def test_four_updates_each_equal_a_step_of_their_rows():
    """The denominators are the update's own: with the step's count, each gradient would be a quarter as large."""
    bench = Bench("grpo", sampling={"prompts_per_step": 8}, learner={"updates_per_step": 4})
    groups = toy_groups(3, prompts=8, policy=bench.policy)
    step = bench.step(groups)
    dealt = bench.learner.dealt(step).batch.update_ids_B
    for number, index in enumerate(draw_minibatches(step.batch, 4, 0)):
        assert dealt[index].tolist() == [number] * len(index)
        ids = torch.unique(step.batch.group_ids_B[index]).tolist()
        alone = Bench("grpo")
        small = alone.step([groups[g] for g in ids])
        small = replace(small, credit=replace(step.credit.rows(index), metrics={}))
        assert relative_difference(bench.gradient(step, index), alone.gradient(small)) <= 1e-12


def test_old_logps_of_later_updates_are_the_start_of_the_step():
    """After the first update has moved the weights, the second compares with log-probs from before it."""
    bench = Bench("grpo", learner={"lr": 0.05})
    step = bench.step(GROUPS)
    metrics = bench.learner.learn(step, 0.0)
    assert metrics["trained/ratio_max"] > 1.05
    assert metrics["mismatch/max"] < 1e-9  # the sampler's log-probs are the policy's at the start of the step


@pytest.mark.parametrize("old_logps", ["trainer", "sampler"])
def test_how_far_the_sampler_is_from_the_trainer_is_measured_whoevers_log_probs_are_the_old_ones(old_logps: str):
    """A sampler that is 0.25 nats too sure at every token: mean and largest difference are 0.25, and all weights equal."""
    bench = Bench("grpo", learner={"lr": 0.05, "updates_per_step": 2, "old_logps": old_logps})
    step = bench.step(GROUPS)
    batch = step.batch
    sure = replace(batch, sampler_logps_BT=(batch.sampler_logps_BT + 0.25) * batch.response_mask_BT)
    metrics = bench.learner.learn(replace(step, batch=sure), 0.0)
    assert metrics["mismatch/kl"] == pytest.approx(0.25, abs=1e-9)
    assert metrics["mismatch/max"] == pytest.approx(0.25, abs=1e-9)
    assert metrics["mismatch/ess"] == pytest.approx(1.0, abs=1e-9)


def test_corrections_that_could_not_act_are_refused():
    with pytest.raises(
        ConfigError, match=r"mismatch.mode is 'tis' and .*every ratio is 1. Use learner.old_logps=trainer"
    ):
        configure.load(algo="grpo", assignments=["learner.old_logps=sampler", "learner.mismatch.mode=tis"])
    with pytest.raises(ConfigError, match=r"low is 6 and high 5: no ratio lies between them"):
        configure.load(algo="grpo", assignments=["learner.mismatch.mode=icepop", "learner.mismatch.low=6"])
    for fine in ("learner.mismatch.low=5", "learner.mismatch.high=0.5"):
        configure.load(algo="grpo", assignments=["learner.mismatch.mode=icepop", fine])


@pytest.mark.parametrize("cut", ["top_p=0.9", "top_k=5"])
def test_a_cut_distribution_is_no_old_policy(cut: str):
    with pytest.raises(ConfigError, match=r"old_logps is 'sampler', but .*Use learner.old_logps=trainer"):
        configure.load(algo="grpo", assignments=["learner.old_logps=sampler", f"sampling.{cut}"])
    configure.load(algo="grpo", assignments=["learner.old_logps=trainer", f"sampling.{cut}"])


def test_an_update_without_loss_still_steps_the_optimizer():
    """Momentum moves the weights although no rollout earned credit."""
    bench = Bench("grpo", learner={"lr": 0.01})
    step = bench.step(GROUPS)
    bench.learner.learn(step, 0.0)
    before = bench.policy.output.weight.detach().clone()
    terms = {n: replace(t, loss_weight_BT=torch.zeros_like(t.loss_weight_BT)) for n, t in step.credit.terms.items()}
    bench.learner.learn(replace(step, credit=replace(step.credit, terms=terms)), 0.0)
    assert not torch.equal(before, bench.policy.output.weight)


def test_padding_columns_carry_nothing():
    """Values at padding positions of every per-token input are arbitrary; the gradient is the same."""
    bench = Bench("grpo")
    step = bench.step(GROUPS)
    expected = bench.gradient(step)
    padding = ~step.batch.response_mask_BT
    noisy = step.credit.advantages_BT.masked_fill(padding, 7.0)
    batch = replace(step.batch, sampler_logps_BT=step.batch.sampler_logps_BT.masked_fill(padding, 3.0))
    changed = replace(step, credit=replace(step.credit, advantages_BT=noisy), batch=batch)
    torch.testing.assert_close(bench.gradient(changed), expected)


def test_mismatch_weights_multiply_the_policy_term_only():
    """TIS with ratios of exp(-1) everywhere scales the policy gradient by exp(-1); the denominator stays."""
    plain, corrected = Bench("grpo"), Bench("grpo", learner={"mismatch": {"mode": "tis"}})
    step = plain.step(GROUPS)
    batch = step.batch
    shifted = replace(batch, sampler_logps_BT=(batch.sampler_logps_BT + 1.0) * batch.response_mask_BT)
    moved = replace(step, batch=shifted)
    torch.testing.assert_close(corrected.gradient(moved), plain.gradient(step) * torch.e**-1)


def test_a_loss_that_is_not_finite_is_left_out_and_stops_the_run_in_the_end():
    from rlzoo.errors import Diverged

    bench = Bench("grpo", learner={"max_nonfinite": 2, "updates_per_step": 1})
    step = bench.step(GROUPS)
    before = bench.policy.output.weight.detach().clone()
    broken = replace(step.credit, advantages_BT=step.credit.advantages_BT * float("nan"))
    terms = {
        n: Term(loss_mask_BT=t.loss_mask_BT, loss_weight_BT=t.loss_mask_BT.double(), reduction=t.reduction)
        for n, t in broken.terms.items()
    }
    broken = replace(broken, terms=terms)
    for _ in range(2):
        assert bench.learner.learn(replace(step, credit=broken), 0.0)["grad/nonfinite"] == 1
    torch.testing.assert_close(bench.policy.output.weight.detach(), before, rtol=0, atol=0)
    with pytest.raises(Diverged, match="Lower learner"):
        bench.learner.learn(replace(step, credit=broken), 0.0)


def test_minibatches_take_whole_groups_of_every_domain():
    batch = Bench("grpo").step(toy_groups(1, prompts=12, policy=toy_policy())).batch
    parts = draw_minibatches(batch, 2, seed=0)
    assert sorted(torch.cat(parts).tolist()) == list(range(48))
    for part in parts:
        groups = torch.unique(batch.group_ids_B[part])
        assert len(part) == 4 * len(groups)
        domains = batch.domain_ids_B[part].bincount(minlength=3)
        assert domains.tolist() == [8, 8, 8]
    other = draw_minibatches(replace(batch, step=2), 2, seed=0)
    assert {tuple(p.tolist()) for p in other} != {tuple(p.tolist()) for p in parts}


def test_microbatches_stay_within_the_budget_and_lose_no_row():
    lengths = [3, 50, 7, 7, 20, 1, 33]
    cuts = list(microbatches(lengths, 60))
    assert sorted(i for cut in cuts for i in cut) == list(range(7))
    assert all(len(cut) == 1 or len(cut) * max(lengths[i] for i in cut) <= 60 for cut in cuts)
    assert list(microbatches([100], 60)) == [[0]]


def test_rows_are_dealt_evenly():
    parts = balance_by_length([8, 7, 6, 5, 4, 3, 2, 1], 2)
    assert sorted(i for part in parts for i in part) == list(range(8))
    assert [sum(8 - i for i in part) for part in parts] == [18, 18]


def test_a_policy_term_moves_what_it_should():
    """The gradient is that of the written-out GRPO loss, taken with plain autograd through full logits."""
    bench = Bench("grpo")
    step = bench.step(GROUPS)
    got = bench.gradient(step)
    policy, batch = toy_policy(), step.batch
    losses = []
    for i, (prompt, response) in enumerate(zip(step.sequences.prompts, step.sequences.responses, strict=True)):
        logits = policy.model(input_ids=torch.tensor([[*prompt, *response]])).logits[0, len(prompt) - 1 : -1]
        logps = logits.log_softmax(-1)[range(len(response)), list(response)]
        ratio = (logps - logps.detach()).exp()
        advantage = step.credit.advantages_BT[i, 0]
        if batch.judged_B[i]:
            losses.append(-(ratio * advantage).mean())
    torch.stack(losses).mean().backward()
    expected = torch.cat([p.grad.reshape(-1) for p in policy.parameters() if p.grad is not None])
    assert relative_difference(got, expected) <= 1e-12


def test_rows_without_a_response_are_survived():
    rows = Sequences([(3, 4), (3,)], [(), (5, 1)])
    outputs = toy_policy()(rows)
    assert outputs.to_padded(outputs.logps_K, 2, 2)[0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("fails", "told"),
    [("raise ValueError('only here')", "ValueError: only here"), ("os._exit(3)", "rank 1 ended with exit code 3")],
)
def test_a_failing_rank_is_told_and_ends_the_others(fails: str, told: str, tmp_path: Path) -> None:
    """The first waits in a collective for the second, which is gone."""
    file = tmp_path / "fails.py"
    file.write_text(
        "import os\n"
        "import torch.distributed as dist\n"
        "from rlzoo.algorithms.grpo import Grpo\n\n\n"
        "class Fails(Grpo):\n"
        "    def assign_credit(self, batch):\n"
        "        if dist.is_initialized() and dist.get_rank() == 1:\n"
        f"            {fails}\n"
        "        return super().assign_credit(batch)\n"
    )
    with pytest.raises(ProcessRaisedException, match=told) as raised:
        gradient_on_ranks(f"{file}:Fails")
    assert raised.value.error_index == 1
    assert not [child for child in multiprocessing.active_children() if child.name.startswith("rank ")]
