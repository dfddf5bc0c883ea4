"""What a step's metrics say of its updates, by hand; and learner settings, each by a case in which it decides."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from rlzoo.engine.learning.micro import corrected
from rlzoo.engine.learning.optimizer import adamw
from rlzoo.engine.learning.tally import Tally, Totals, record_mismatch, record_ratios, summary
from rlzoo.engine.model.weights.replicated import Replicated
from rlzoo.engine.ranks import Ranks
from rlzoo.engine.step import Costs
from rlzoo.laws.lab import Bench, toy_groups, toy_policy
from rlzoo.training_config import LearnerConfig, MismatchConfig
from rlzoo.types import Credit, Term

GROUPS = toy_groups(policy=toy_policy())
D = torch.float64
THREE = (torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0]))
"""Two tokens of one row and one of another."""


def padded(*values: float) -> torch.Tensor:
    """Three values at the places above, and one at a place that is no token."""
    return torch.tensor([[values[0], values[1]], [values[2], 99.0]], dtype=D)


def told(tally: Tally) -> Totals:
    return tally.read(Ranks())


def test_ratios_by_hand() -> None:
    """Ratios 2, 1 and 0.9: k3 of old and now is r - 1 - log r; beyond 1 ± 0.2 lies only the first."""
    tally = Tally()
    now, old = padded(math.log(2) - 1, -1.0, math.log(0.9) - 1), padded(-1.0, -1.0, -1.0)
    record_ratios(tally, now, old, THREE)
    found = told(tally)
    kl = (1 - math.log(2)) + (-0.1 - math.log(0.9))
    assert found.sums == pytest.approx({"tokens": 3, "rows": 2, "kl_old": kl, "clipped": 1})
    assert found.largest == pytest.approx({"ratio_max": 2.0})


def test_a_ratio_beyond_all_bounds_is_counted_as_e_to_20() -> None:
    tally = Tally()
    record_ratios(tally, padded(30.0, 0.0, 0.0), padded(0.0, 0.0, 0.0), THREE)
    found = told(tally)
    assert found.largest["ratio_max"] == pytest.approx(math.exp(20))
    assert found.sums["kl_old"] == pytest.approx(math.exp(20) - 21)


def test_mismatch_by_hand() -> None:
    """The sampler is surer by log 2 at one token, less sure by log 4 at another: weights trainer over sampler are 1/2, 4 and 1."""
    batch = Bench("grpo").step(GROUPS).batch
    sampler = torch.zeros_like(batch.sampler_logps_BT)
    sampler[:2, :2] = padded(math.log(2), -math.log(4), 0.0)
    batch = replace(batch, sampler_logps_BT=sampler)
    tally = Tally()
    record_mismatch(tally, torch.zeros(3, dtype=D), batch, THREE)
    found = told(tally)
    expected = {"compared": 3, "gap": math.log(2) - math.log(4), "weight": 5.5, "weight_squared": 0.25 + 16 + 1}
    assert found.sums == pytest.approx(expected)
    assert found.largest == pytest.approx({"gap_max": math.log(4)})
    assert found.gaps_K.tolist() == pytest.approx([math.log(2), math.log(4), 0.0])


COMPARED = {"compared": 1.0, "gap": 0.0, "weight": 1.0, "weight_squared": 1.0}


def test_the_99th_percentile_is_what_99_of_100_tokens_stay_within() -> None:
    """Differences of 0.01 to 2.00 in two updates: 198 of the 200 are at most 1.98; of three, all but none are within the largest."""
    every = torch.arange(1, 201) / 100
    found = summary([Totals(sums=COMPARED, gaps_K=every[::2]), Totals(gaps_K=every[1::2])], 8)
    assert found["mismatch/p99"] == pytest.approx(1.98)
    few = Totals(sums=COMPARED, gaps_K=torch.tensor([0.1, 0.3, 0.2]))
    assert summary([few], 1)["mismatch/p99"] == pytest.approx(0.3)


def test_a_tally_adds_and_keeps_the_largest() -> None:
    tally = Tally()
    for value in (1.0, torch.tensor(2.0), 0.5):
        tally.add("sum", value)
        tally.top("top", value)
    tally.count_stray({"policy": torch.tensor(2), "kl": torch.tensor(0)})
    tally.count_stray({"policy": torch.tensor(3)})
    found = told(tally)
    assert (found.sums, found.largest, found.stray) == ({"sum": 3.5}, {"top": 2.0}, {"policy": 5.0, "kl": 0.0})


def test_metrics_of_two_updates_by_hand() -> None:
    """Losses, anchors, heads and gradient norms are means over updates; what is counted by token is a mean over tokens."""
    first = Totals(
        sums={
            "loss/policy": 1.0, "coupled/cross": 4.0, "anchors/cross": 6.0, "head/value": 0.5, "grad/norm": 2.0, "rows": 3.0,
            "tokens": 10.0, "kl_old": 1.0, "clipped": 2.0, "compared": 4.0, "gap": 2.0, "weight": 4.0,
            "weight_squared": 8.0,
        },
        largest={"ratio_max": 1.5, "gap_max": 0.25},
    )  # fmt: skip
    second = Totals(
        sums={"loss/policy": 2.0, "tokens": 30.0, "kl_old": 3.0, "clipped": 6.0, "rows": 1.0},
        largest={"ratio_max": 1.25},
    )
    assert summary([first, second], 8) == pytest.approx(
        {
            "loss/policy": 1.5, "coupled/cross": 2.0, "anchors/cross": 3.0, "head/value": 0.25, "grad/norm": 1.0,
            "trained/kl_old": 0.1, "trained/clipped": 0.2, "trained/ratio_max": 1.5,
            "mismatch/kl": 0.5, "mismatch/p99": 0.0, "mismatch/max": 0.25, "mismatch/ess": 16 / (4 * 8), "grad/nonfinite": 0.0, "rows/trained": 0.5,
        }
    )  # fmt: skip


def test_a_step_without_tokens_has_metrics_of_nothing() -> None:
    found = summary([Totals()], 0)
    assert not any(name.startswith(("trained/", "mismatch/")) for name in found)  # 0.0 would be a measurement
    assert set(found.values()) == {0.0}


# -- entropy at the step's start --------------------------------------------------------------------------


def entropy_of_all(bench: Bench) -> float:
    """Over the tokens of judged rollouts, from one pass over everything."""
    step = bench.step(GROUPS)
    told = bench.scorer.pass_over(bench.store, step.sequences, width=step.batch.response_mask_BT.shape[1])
    return float(told.entropy_BT[step.batch.loss_mask_BT].mean())


@pytest.mark.parametrize(
    "section", ["grpo", "cepo", "mcpo-mastery", "mcpo-contrastive", "tests/seam_objectives.py:Distils"]
)
@pytest.mark.parametrize(
    "learner",
    [
        {},
        {"skip": False},
        {"updates_per_step": 1},
        {"updates_per_step": 3, "old_logps": "sampler"},
        {"tokens_per_microbatch": 1},
        {"lr": 0.5},
    ],
    ids=str,
)
def test_entropy_is_that_of_all_judged_rollouts_before_anything_moved(section: str, learner: dict[str, Any]) -> None:
    """Whoever trains whichever rows, in however many updates: the same number, so that arms can be compared."""
    bench = Bench(section, learner=learner)
    expected = entropy_of_all(bench)
    metrics = bench.learner.learn(bench.step(GROUPS), 0.0)
    assert metrics["policy/entropy"] == pytest.approx(expected, rel=1e-9)


def test_skipped_rows_would_move_the_entropy() -> None:
    """That of trained rows alone is another number, so the test above can fail; and the pass that tells the rest costs nobody."""
    bench = Bench("grpo")
    step = bench.step(GROUPS)
    measured = bench.learner.measured(step)
    assert measured.entropy_BT is not None
    read_B = ~measured.entropy_BT[:, 0].isnan()
    acting_B = (step.credit.advantages_BT != 0).any(1)
    assert read_B.equal(step.batch.valid_B & ~acting_B)
    rest = float(measured.entropy_BT[read_B][step.batch.response_mask_BT[read_B]].mean())
    assert abs(rest - entropy_of_all(bench)) > 1e-3
    assert step.costs == Costs()


def test_a_step_that_trains_nothing_tells_entropy_and_nothing_of_ratios() -> None:
    bench = Bench("grpo")
    step = bench.step(GROUPS)
    nothing = {n: replace(t, loss_weight_BT=torch.zeros_like(t.loss_weight_BT)) for n, t in step.credit.terms.items()}
    idle = replace(step, credit=Credit(advantages_BT=torch.zeros_like(step.credit.advantages_BT), terms=nothing))
    metrics = bench.learner.learn(idle, 0.0)
    assert metrics["policy/entropy"] == pytest.approx(entropy_of_all(Bench("grpo")), rel=1e-9)
    assert not any(name.startswith("trained/") for name in metrics)


# -- learner settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mismatch", "weights"),
    [
        ({"mode": "off"}, [1, 1, 1, 1, 1]),
        ({"mode": "tis"}, [0.1, 0.75, 1.5, 2, 2]),
        ({"mode": "tis", "cap": 4.0}, [0.1, 0.75, 1.5, 4, 4]),
        ({"mode": "icepop"}, [0, 0.75, 1.5, 4, 0]),
        ({"mode": "icepop", "low": 0.05}, [0.1, 0.75, 1.5, 4, 0]),
        ({"mode": "icepop", "high": 2.0}, [0, 0.75, 1.5, 0, 0]),
        ({"mode": "icepop", "high": 9.0, "low": 1.0}, [0, 0, 1.5, 4, 8]),
    ],
)
def test_mismatch_weights_by_setting(mismatch: dict[str, Any], weights: list[float]) -> None:
    """Ratios trainer over sampler of 0.1, 0.75, 1.5, 4 and 8; only terms that are to be corrected are."""
    ratios = torch.tensor([[0.1, 0.75, 1.5, 4.0, 8.0]], dtype=D)
    ones = torch.ones_like(ratios)
    terms = {
        name: Term(loss_mask_BT=ones.bool(), loss_weight_BT=ones, reduction="token", corrected=name == "policy")
        for name in ("policy", "kl")
    }
    found = corrected(
        Credit(advantages_BT=ones, terms=terms), ratios.log(), ones.bool(), MismatchConfig(**mismatch)
    ).terms
    assert found["policy"].loss_weight_BT[0].tolist() == pytest.approx(weights)
    assert found["kl"].loss_weight_BT[0].tolist() == [1.0] * 5


@pytest.mark.parametrize(
    ("mismatch", "weights"),
    [
        ({"mode": "tis"}, [[1.5, 1.5, 1.5], [0.25, 0.25, 1.0]]),
        ({"mode": "tis", "cap": 1.25}, [[1.25, 1.25, 1.25], [0.25, 0.25, 1.0]]),
        ({"mode": "icepop"}, [[1.5, 1.5, 1.5], [0.0, 0.0, 1.0]]),
        ({"mode": "icepop", "high": 1.25, "low": 0.2}, [[0.0, 0.0, 0.0], [0.25, 0.25, 1.0]]),
        ({"mode": "icepop", "high": 3.0, "low": 0.0}, [[1.5, 1.5, 1.5], [0.25, 0.25, 1.0]]),  # a mask of sequences
        ({"mode": "icepop", "high": 1.4, "low": 0.0}, [[0.0, 0.0, 0.0], [0.25, 0.25, 1.0]]),
    ],
)
def test_at_the_level_of_sequences_all_tokens_share_the_product(
    mismatch: dict[str, Any], weights: list[list[float]]
) -> None:
    """Ratios of 2, 1/2 and 3/2 multiply to 3/2; of 1/2 and 1/2, before padding whose number does not count, to 1/4."""
    ratios = torch.tensor([[2.0, 0.5, 1.5], [0.5, 0.5, 9.0]], dtype=D)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    ones = torch.ones_like(ratios)
    terms = {"policy": Term(loss_mask_BT=mask, loss_weight_BT=ones, reduction="token", corrected=True)}
    settings = MismatchConfig(level="sequence", **mismatch)
    found = corrected(Credit(advantages_BT=ones, terms=terms), ratios.log(), mask, settings).terms["policy"]
    counted = torch.tensor(weights, dtype=D)
    assert found.loss_weight_BT[mask].tolist() == pytest.approx(counted[mask].tolist())


def test_the_ratio_that_corrects_is_trainer_over_sampler() -> None:
    """The sampler is surer by log 2 everywhere: tokens weigh one half, and with the reverse twice that and more."""
    plain, halved = Bench("grpo"), Bench("grpo", learner={"mismatch": {"mode": "tis", "cap": 9.0}})
    step = plain.step(GROUPS)
    sure = step.batch.sampler_logps_BT + math.log(2)
    moved = replace(step, batch=replace(step.batch, sampler_logps_BT=sure * step.batch.response_mask_BT))
    torch.testing.assert_close(halved.gradient(moved), plain.gradient(step) / 2)


def stepped(gradients: list[float], **settings: Any) -> float:
    """Where one weight of 0 is after AdamW's steps along these gradients."""
    weight = nn.Parameter(torch.zeros(1, 1, dtype=D))
    optimizer = adamw([weight], LearnerConfig(lr=0.1, **settings))
    for gradient in gradients:
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
    return float(weight.detach())


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # Bias-corrected moments of gradients 1 and 3: m = (0.1 * 0.9 + 0.3) / 0.19, v = (0.001 * 0.999 + 0.009) / 0.001999
        ({}, -0.1 - 0.1 * (0.39 / 0.19) / math.sqrt(0.009999 / 0.001999)),
        ({"betas": (0.0, 0.999)}, -0.1 - 0.1 * 3 / math.sqrt(0.009999 / 0.001999)),
        ({"betas": (0.9, 0.5)}, -0.1 - 0.1 * (0.39 / 0.19) / math.sqrt((0.5 * 0.5 + 0.5 * 9) / 0.75)),
        ({"eps": 1.0}, -0.05 - 0.1 * (0.39 / 0.19) / (math.sqrt(0.009999 / 0.001999) + 1)),
    ],
)
def test_betas_and_eps_by_hand(settings: dict[str, Any], expected: float) -> None:
    assert stepped([1.0, 3.0], **settings) == pytest.approx(expected, rel=1e-6)


def learned(**learner: Any) -> tuple[Bench, dict[str, float]]:
    bench = Bench("grpo", learner=learner)
    return bench, bench.learner.learn(bench.step(GROUPS, number=2), 0.5)


def test_the_learning_rate_of_a_step_reaches_its_updates() -> None:
    """Half of the budget is spent: 1e-3 x 2/4 of the warm-up x (0.2 + 0.8 / 2)."""
    _, metrics = learned(schedule="linear", warmup_steps=4, lr_floor=0.2)
    assert metrics["learner/lr"] == pytest.approx(1e-3 * 0.5 * 0.6)
    still = toy_policy().output.weight.detach()
    at_zero, _ = learned(lr=0.0)
    assert torch.equal(at_zero.policy.output.weight.detach(), still)
    full, _ = learned(updates_per_step=1)
    # AdamW's first step moves a weight by lr, whatever its gradient's size.
    assert float((full.policy.output.weight.detach() - still).abs().max()) == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("updates", [1, 3])
def test_as_many_updates_as_asked_for(updates: int) -> None:
    _, metrics = learned(updates_per_step=updates)
    assert metrics["learner/updates"] == updates


@pytest.mark.parametrize("longest", [1e-3, 1e6])
def test_gradients_are_scaled_down_to_the_norm_and_never_up(longest: float) -> None:
    """What the optimizer saw is its first moment over 1 - 0.9."""
    bench, metrics = learned(max_grad_norm=longest, updates_per_step=1)
    assert 1e-2 < metrics["grad/norm"] < 1e2
    assert isinstance(bench.store, Replicated)
    optimizer = bench.store.optimizer
    assert optimizer is not None
    moments = [state["exp_avg"].reshape(-1) / 0.1 for state in optimizer.state.values()]
    assert float(torch.cat(moments).norm()) == pytest.approx(min(longest, metrics["grad/norm"]), rel=1e-3)


def test_old_log_probs_are_the_samplers_where_asked() -> None:
    """A sampler that is surer by log 2: the first update's ratio is 1/2 by its log-probs, and 1 by the trainer's."""
    for whose, ratio in (("sampler", 0.5), ("trainer", 1.0)):
        bench = Bench("grpo", learner={"old_logps": whose, "updates_per_step": 1})
        step = bench.step(GROUPS)
        sure = (step.batch.sampler_logps_BT + math.log(2)) * step.batch.response_mask_BT
        metrics = bench.learner.learn(replace(step, batch=replace(step.batch, sampler_logps_BT=sure)), 0.0)
        assert metrics["trained/ratio_max"] == pytest.approx(ratio)
        assert metrics["trained/kl_old"] == pytest.approx(ratio - 1 - math.log(ratio), abs=1e-12)
        assert metrics["mismatch/kl"] == pytest.approx(math.log(2))
