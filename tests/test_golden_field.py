"""Worked numbers of the field's objectives: losses, advantages and gradients to 1e-9 in float64, and the laws that tie them to each other.

`golden/field.json` was computed in plain Python from papers and peers' code, independently of this package. Where it has no case, the sum
is in the test. It shows that the formulas are these; not that the formulas are the papers'.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from rlzoo import functional as F
from rlzoo import registry
from rlzoo.engine import plan
from rlzoo.errors import ConfigError, ObjectiveFault, UnmetNeed
from rlzoo.evals.validity.differences import differing
from rlzoo.laws.lab import Bench, toy_config, toy_groups, toy_policy
from rlzoo.lengths import overlong_punishment
from rlzoo.objective import Objective
from rlzoo.types import MicroBatch, RolloutBatch
from tests.test_golden_objectives import WIDTHS, batch_of, build, close, loss_of, pad

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "field.json").read_text())
SHARED = GOLDEN["shared_batch"]
D = torch.float64
PLUS, MINUS = 0.25 / (0.5 + 1e-6), -0.75 / (0.5 + 1e-6)
"""GRPO's advantages of the shared batch: three of four right, so the Bessel-corrected std is 1/2."""
DRIFT = [[0.10, 0.22, -0.30], [0.41, -0.05], [-0.30, 0.10, 1.30, -0.20], [0.0]]
ADVANTAGES = [PLUS, PLUS, MINUS, PLUS]
LENGTHS = [3, 2, 4, 1]

FIELD = (
    "bnpo", "cispo", "dapo", "dr-grpo", "gmpo", "gspo", "luspo", "max-rl", "reinforce", "reinforce-pp", "rloo", "sapo", "vespo",
)  # fmt: skip
WHOLE_STEP = ("reinforce", "reinforce-pp")
"""Whose advantages are not relative to a group."""


def shared(width: int = 4, **more: Any) -> tuple[RolloutBatch, Tensor, Tensor]:
    batch = batch_of(LENGTHS, SHARED["rewards"], width=width, **more)
    return batch, pad(SHARED["logp_new"], width), pad(SHARED["logp_old"], width)


def advantages(objective: Objective[Any], batch: RolloutBatch) -> Tensor:
    """At each row's first token. [B]"""
    return objective.assign_credit(batch).advantages_BT[:, 0]


# -- worked numbers ---------------------------------------------------------------------------------------

GSPO_WIDE, GSPO = GOLDEN["gspo"][1], GOLDEN["gspo"][0]
CASES: dict[str, tuple[dict[str, Any], Mapping[str, Any]]] = {
    "dr-grpo": ({"name": "dr-grpo"}, GOLDEN["dr_grpo"][0]),
    "dapo": ({"name": "dapo", "overlong": 0.0}, GOLDEN["dapo"]["loss_case"]),
    "gspo": ({"name": "gspo"}, GSPO),
    "gspo 0.2": ({"name": "gspo", "clip_low": 0.2, "clip_high": 0.2}, GSPO_WIDE),
    "gspo token": ({"name": "gspo", "clip_low": 0.2, "clip_high": 0.2, "token": True}, GSPO_WIDE),
    "cispo of verl": ({"name": "cispo", "clip_low": 0.2, "clip_high": 0.28}, GOLDEN["cispo"][0]),
    "cispo of TRL": ({"name": "cispo"}, GOLDEN["cispo"][1]),
    "sapo": ({"name": "sapo"}, GOLDEN["sapo"]),
    "gmpo 0.4": ({"name": "gmpo"}, GOLDEN["gmpo"][0]),
    "gmpo 0.25": ({"name": "gmpo", "clip_low": 0.25, "clip_high": 0.25}, GOLDEN["gmpo"][1]),
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients(case: str, width: int) -> None:
    section, expected = CASES[case]
    loss, gradient, _ = loss_of(build(**section), *shared(width))
    close(loss, expected["loss"])
    close(gradient, pad(expected["grad_logp_new"], width))


def test_advantages_without_a_std() -> None:
    batch, *_ = shared()
    close(advantages(build(name="dr-grpo"), batch), GOLDEN["advantages"]["no_std (Dr.GRPO)"])
    close(advantages(build(name="rloo"), batch), GOLDEN["rloo"]["adv"])


@pytest.mark.parametrize(("baseline", "key"), [(False, "token_adv_flat"), (True, "baseline_token_adv_flat")])
def test_reinforce_pp(baseline: bool, key: str) -> None:
    batch, *_ = shared(9)
    credit = build(name="reinforce-pp", baseline=baseline).assign_credit(batch)
    close(credit.advantages_BT[batch.response_mask_BT], GOLDEN["reinforce_pp"][key])
    assert bool((credit.advantages_BT[~batch.response_mask_BT] == 0).all())
    assert credit.terms["policy"].reduction == "token"


def test_reinforce_pp_weighs_by_tokens_and_its_baseline_by_groups() -> None:
    """Rewards 1, 0 | 1, 1 of 1, 3 | 1, 1 tokens: the mean is 3/6, squares 6/4 over 5; less their groups' means +1/2, -1/2 | 0, 0."""
    batch = batch_of([1, 3, 1, 1], [1, 0, 1, 1], groups=[0, 0, 1, 1])
    std = math.sqrt(1.5 / 5 + 1e-8)
    close(advantages(build(name="reinforce-pp"), batch), [0.5 / std, -0.5 / std, 0.5 / std, 0.5 / std])
    mean = (0.5 - 3 * 0.5) / 6
    centred = [0.5 - mean, -0.5 - mean, -mean, -mean]
    std = math.sqrt(sum(n * c * c for n, c in zip([1, 3, 1, 1], centred, strict=True)) / 5 + 1e-8)
    close(advantages(build(name="reinforce-pp", baseline=True), batch), [c / std for c in centred])


def test_estimators_of_the_kl_and_weights_of_the_mismatch() -> None:
    told = GOLDEN["kl_estimators"]
    logps, ref = torch.tensor(told["logp"], dtype=D), torch.tensor(told["ref"], dtype=D)
    for name, estimator in (("k1", F.kl_k1), ("k2", F.kl_k2), ("k3", F.kl_k3)):
        close(estimator(logps, ref), told[name])
    told = GOLDEN["rollout_mismatch"]
    _, _, old = shared()
    log_ratio = old - pad(told["logp_rollout"], 4)
    mask = shared()[0].response_mask_BT
    close(F.truncated_importance(log_ratio, 2.0) * mask, pad(told["tis_cap2"], 4))
    close(F.icepop(log_ratio, 0.5, 5.0) * mask, pad(told["icepop_0p5_5"], 4))
    close(F.icepop(log_ratio, 0.5, 2.0) * mask, pad(told["icepop_0p5_2"], 4))
    close(F.sequence_log_ratio(log_ratio, mask)[:, 0].exp(), told["seq_ratio"])


@pytest.mark.parametrize("name", ["grpo", "dapo", "cispo", "gspo", "sapo", "gmpo"])
@pytest.mark.parametrize("case", ["all_equal_rewards", "all_wrong_but_format_varies", "one_of_eight"])
def test_advantage_edges(case: str, name: str) -> None:
    given = GOLDEN["advantage_edge_cases"][case]
    batch = batch_of([1] * len(given["rewards"]), given["rewards"])
    close(advantages(build(name=name), batch), given["unbiased_eps1e6"])


# -- by hand ----------------------------------------------------------------------------------------------


def rows_by_hand() -> zip[tuple[list[float], float]]:
    return zip(DRIFT, ADVANTAGES, strict=True)


@pytest.mark.parametrize("width", WIDTHS)
def test_luspo(width: int) -> None:
    """Mean ratios 1.0067, 1.1972, 1.2523 and 1, of which the first two are held at 1.0025: (-1.504 - 1.003 + 7.514 - 0.5) / 4."""
    losses = []
    for drift, advantage in rows_by_hand():
        s = math.exp(sum(drift) / len(drift))
        losses.append(len(drift) * -min(s * advantage, min(max(s, 1 - 2e-3), 1 + 2.5e-3) * advantage))
    assert sum(losses) / 4 == pytest.approx(1.12692, abs=1e-4)
    loss, gradient, _ = loss_of(build(name="luspo"), *shared(width))
    close(loss, sum(losses) / 4)
    slope = math.exp(0.9 / 4) * -MINUS / 4  # of each token of the only row that is not held: s A / rollouts
    close(gradient, pad([[0.0] * 3, [0.0] * 2, [slope] * 4, [-PLUS / 4]], width))


@pytest.mark.parametrize("width", WIDTHS)
def test_vespo(width: int) -> None:
    """log w = 0.02, 0.36, 0.9 and 0, the sums of the log-ratios; phi = exp(lambda + k log w - lambda w), 1 in the last row."""
    total, slopes = 0.0, []
    for drift, advantage, logps in zip(DRIFT, ADVANTAGES, SHARED["logp_new"], strict=True):
        log_w = sum(drift)
        k, rate = (2, 3) if advantage > 0 else (3, 2)
        phi = math.exp(rate + k * log_w - rate * math.exp(log_w))
        total -= phi * advantage * sum(logps)
        slopes.append([-phi * advantage / 10] * len(drift))
    loss, gradient, _ = loss_of(build(name="vespo"), *shared(width))
    close(loss, total / 10)
    close(gradient, pad(slopes, width))


@pytest.mark.parametrize(
    ("settings", "row"),
    [({"k_positive": 0.0}, 0), ({"lambda_positive": 1.0}, 1), ({"k_negative": 0.0}, 2), ({"lambda_negative": 5.0}, 2)],
)
def test_vespos_shape_by_setting(settings: dict[str, float], row: int) -> None:
    """Each setting changes the rows of its sign, by the formula."""
    usual = {"k_positive": 2.0, "lambda_positive": 3.0, "k_negative": 3.0, "lambda_negative": 2.0}
    sign = "positive" if ADVANTAGES[row] > 0 else "negative"
    told = {**usual, **settings}
    k, rate, log_w = told[f"k_{sign}"], told[f"lambda_{sign}"], sum(DRIFT[row])
    _, gradient, _ = loss_of(build(name="vespo", **settings), *shared())
    close(gradient[row, 0], -math.exp(rate + k * log_w - rate * math.exp(log_w)) * ADVANTAGES[row] / 10)


def test_vespo_far_from_the_old_policy_is_finite() -> None:
    batch, logps, old = shared()
    for shift in (30.0, -30.0):
        loss, gradient, _ = loss_of(build(name="vespo"), batch, logps + shift * batch.response_mask_BT, old)
        assert bool(loss.isfinite()) and bool(gradient.isfinite().all())


def test_reinforce() -> None:
    """Only right rows earn, each 1: minus the mean of their ratios, over four rows. Nothing holds a ratio."""
    expected = -sum(sum(map(math.exp, DRIFT[row])) / LENGTHS[row] for row in (0, 1, 3)) / 4
    loss, gradient, _ = loss_of(build(name="reinforce"), *shared())
    close(loss, expected)
    close(gradient[0], [*(-math.exp(d) / 12 for d in DRIFT[0]), 0.0])
    close(gradient[2], [0.0] * 4)


def test_max_rl() -> None:
    """Three of four right: 1/4 over 3/4. One of four: 3/4 over 1/4. None: nothing."""
    batch = batch_of([1] * 12, [1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0], groups=[0] * 4 + [1] * 4 + [2] * 4)
    third = 1 / 3
    close(advantages(build(name="max-rl"), batch), [third, third, -1, third, 3, -1, -1, -1, 0, 0, 0, 0])


def test_bnpo() -> None:
    """p = 3/4, 1/4 and 1: m = 2/3, v = (1 + 25 + 16)/144/2 = 7/48, q = (2/9)/(7/48) - 1 = 11/21; alpha 1 + 22/189, beta 1 + 11/189."""
    rewards = [1, 1, 0, 1, 1, 0, 0, 0, 1, 1, 1, 1]
    credit = build(name="bnpo").assign_credit(batch_of([1] * 12, rewards, groups=[0] * 4 + [1] * 4 + [2] * 4))
    a, b = 1 + 22 / 189, 1 + 11 / 189
    assert credit.metrics == pytest.approx({"bnpo/alpha": a, "bnpo/beta": b}, abs=1e-12)

    def density(p: float) -> float:
        return p ** (a - 1) * (1 - p) ** (b - 1) * math.gamma(a + b) / (math.gamma(a) * math.gamma(b))

    high, low = density(0.75), density(0.25)
    expected = [0.25 / high] * 2 + [-0.75 / high, 0.25 / high] + [0.75 / low] + [-0.25 / low] * 3 + [0] * 4
    close(credit.advantages_BT[:, 0], expected)


def test_bnpo_of_equal_prompts_or_a_single_one_weighs_nothing() -> None:
    """Shares of 1/3 three times over, made of other roundings: found equal by comparison."""
    single, *_ = shared()
    equal = batch_of([1] * 9, [1, 0, 0, 0, 1, 0, 0, 0, 1], groups=[0] * 3 + [1] * 3 + [2] * 3)
    for batch in (single, equal):
        credit = build(name="bnpo").assign_credit(batch)
        assert credit.metrics == {"bnpo/alpha": 1.0, "bnpo/beta": 1.0}
        close(credit.advantages_BT, build(name="dr-grpo").assign_credit(batch).advantages_BT)


def test_bnpo_where_the_density_is_thin() -> None:
    """999 prompts near one half and one at 1/1000: its density is below 1e-6, so its right rollout counts a million times."""
    from rlzoo import surrogates as S

    shares = torch.tensor([0.5, 0.5001] * 400 + [0.001], dtype=D)
    alpha, beta = S.fit_beta(shares)
    assert alpha > 5
    close(S.beta_density(shares, alpha, beta)[-1], 1e-6)


# -- dapo -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "point", [*GOLDEN["dapo"]["overlong"], *GOLDEN["dapo"]["overlong_small"]], ids=lambda p: str(p["length"])
)
def test_the_overlong_punishment(point: Mapping[str, Any]) -> None:
    assert overlong_punishment(point["length"], point["l_max"], point["l_cache"]) == pytest.approx(
        point["penalty"], abs=1e-12
    )


@pytest.mark.parametrize(("settings", "factor"), [({}, 1.0), ({"overlong": 0.5}, 0.5), ({"overlong": 0.0}, 0.0)])
def test_dapo_punishes_what_is_long(settings: dict[str, float], factor: float) -> None:
    """Of 100 tokens the last 20 cost: 0, -1/20, -1/2 and -1 at 80, 81, 90 and 100, against their mean -31/80."""
    batch = replace(batch_of([80, 81, 90, 100], [1, 1, 1, 1]), max_response=100)
    credit = build(name="dapo", scale_by_std=False, **settings).assign_credit(batch)
    close(credit.advantages_BT[:, 0], [factor * (added + 31 / 80) for added in (0, -1 / 20, -1 / 2, -1)])
    assert credit.metrics.get("dapo/overlong", 0.0) == pytest.approx(-factor * 31 / 80)


def test_dapos_share_of_the_limit() -> None:
    """Half of 10 tokens: 6 of them are one beyond, of five. Unjudged rollouts are neither punished nor counted."""
    batch = replace(batch_of([5, 6, 10], [1, 1, 1]), max_response=10, judged_B=torch.tensor([True, True, False]))
    credit = build(name="dapo", scale_by_std=False, overlong_share=0.5).assign_credit(batch)
    close(credit.advantages_BT[:, 0], [0.1, -0.1, 0.0])
    assert credit.metrics["dapo/overlong"] == pytest.approx(-0.1)


def test_dapo_keeps_mixed_prompts() -> None:
    told = GOLDEN["dapo"]["dynamic_sampling"]
    flat = [float(c) for group in told["groups_correct"] for c in group]
    batch = batch_of([1] * 16, flat, groups=[row // 4 for row in range(16)])
    assert build(name="dapo").keep(batch).tolist() == told["keep"]
    assert build(name="dapo", dynamic_sampling=False).keep(batch).tolist() == [True] * 4
    unjudged = torch.ones(16, dtype=torch.bool)
    unjudged[8] = False  # the only right rollout of the third prompt: what is left is all wrong
    unjudged[12:] = False  # nobody judged the fourth
    assert build(name="dapo").keep(replace(batch, judged_B=unjudged)).tolist() == [False] * 4


def test_dapos_shaping_is_the_objective_and_no_unequal_reward() -> None:
    """Two arms that differ in the objective alone are told as that, though one adds to its rewards."""

    def flat(name: str) -> dict[str, Any]:
        dumped = toy_config(name).model_dump(mode="json")
        return {
            f"{part}.{key}": value
            for part in ("objective", "reward", "sampling")
            for key, value in dumped[part].items()
        }

    grid = {name: {0: SimpleNamespace(settings=flat(name))} for name in ("grpo", "dapo")}
    assert grid["dapo"][0].settings["objective.overlong"] == 1.0
    assert differing(SimpleNamespace(baseline="grpo"), grid) == {}
    grid["dapo"][0].settings["reward.overlong"] = 1.0
    assert set(differing(SimpleNamespace(baseline="grpo"), grid)["dapo"]) == {"reward.overlong"}


# -- what equals what -------------------------------------------------------------------------------------


def random_update(lengths: Sequence[int], seed: int = 0) -> tuple[RolloutBatch, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    groups = [row // 4 for row in range(len(lengths))]
    rewards = torch.rand(len(lengths), generator=generator, dtype=D)
    batch = replace(batch_of(lengths, rewards.tolist(), groups=groups), max_response=max(lengths))
    logps = -torch.rand(batch.response_mask_BT.shape, generator=generator, dtype=D) * batch.response_mask_BT
    old = logps + 0.3 * torch.randn(logps.shape, generator=generator, dtype=D) * batch.response_mask_BT
    return batch, logps, old


RAGGED = [3, 7, 1, 4, 2, 6, 5, 5]
CLIP = {"clip_low": 0.2, "clip_high": 0.28}


@pytest.mark.parametrize("token", [False, True])
def test_gspo_of_single_tokens_is_grpo(token: bool) -> None:
    update = random_update([1] * 8)
    one, other = loss_of(build(name="gspo", token=token, **CLIP), *update), loss_of(build(name="grpo", **CLIP), *update)
    close(one[0], other[0])
    close(one[1], other[1])


def test_gspo_token_parts_from_gspo_where_a_row_has_several_advantages() -> None:
    """Row of two tokens worth 1 and 3 at ratio 1: the token form gives each its own, the sequence form both their mean."""
    batch = batch_of([2], [1.0])
    logps = pad([[-1.0, -2.0]], 2)
    for token, expected in ((True, [-0.5, -1.5]), (False, [-1.0, -1.0])):
        objective = build(name="gspo", token=token)
        credit = objective.assign_credit(batch)
        worth = replace(credit, advantages_BT=pad([[1.0, 3.0]], 2))
        now = logps.clone().requires_grad_()
        micro = MicroBatch(
            logps_BT=now, entropy_BT=torch.zeros_like(now), old_logps_BT=logps, rollouts=batch, credit=worth
        )
        (objective.token_losses(micro)["policy"].mean()).backward()
        close(now.grad, [expected])


def test_rloo_is_dr_grpo_times_g_over_g_less_one() -> None:
    batch, *_ = random_update(RAGGED)
    close(advantages(build(name="rloo"), batch), 4 / 3 * advantages(build(name="dr-grpo"), batch))


def test_luspo_of_equal_lengths_is_gspo_times_the_length() -> None:
    update = random_update([5] * 8)
    narrow = {"clip_low": 2e-3, "clip_high": 2.5e-3}
    close(loss_of(build(name="luspo"), *update)[1], 5 * loss_of(build(name="gspo", **narrow), *update)[1])


def test_gmpo_within_its_clip_is_gspo_within_its() -> None:
    update = random_update(RAGGED)
    wide = {"clip_low": 0.99, "clip_high": 50.0}
    close(loss_of(build(name="gmpo", **wide), *update)[1], loss_of(build(name="gspo", **wide), *update)[1])


def test_max_rl_is_dr_grpo_over_the_groups_mean() -> None:
    batch, *_ = random_update(RAGGED)
    mean = F.group_mean(batch.rewards_B, batch.group_ids_B, batch.valid_B)
    close(advantages(build(name="max-rl"), batch), advantages(build(name="dr-grpo"), batch) / mean)


def test_dapo_without_its_shaping_is_grpo_bit_for_bit() -> None:
    update = random_update(RAGGED)
    one = loss_of(build(name="dapo", overlong=0.0), *update)
    other = loss_of(build(name="grpo", reduction="token", clip_high=0.28), *update)
    assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


@pytest.mark.parametrize("name", ["cispo", "sapo", "gmpo", "gspo", "vespo"])
def test_at_ratio_one_only_the_surrogate_changes_and_its_gradient_does_not(name: str) -> None:
    batch, logps, _ = random_update(RAGGED)
    objective = build(name=name)
    plain = build(name="grpo", reduction=objective.config.reduction)
    close(loss_of(objective, batch, logps, logps)[1], loss_of(plain, batch, logps, logps)[1])


# -- edges ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIELD)
def test_a_group_of_one(name: str) -> None:
    """Of 1: nothing to measure against. REINFORCE takes it as it is; verl's rule for GRPO would too, and is not ours."""
    earned = advantages(build(name=name), batch_of([2], [1.0]))
    close(earned, [1.0] if name == "reinforce" else [0.0])


@pytest.mark.parametrize("name", FIELD)
@pytest.mark.parametrize("reward", [0.9, 0.0])
def test_equal_rewards(name: str, reward: float) -> None:
    """Eight times 0.9 in float32, whose mean is another number: exact zeros, in the whole step too."""
    batch = batch_of([2] * 8, [reward] * 8, groups=[0] * 4 + [1] * 4)
    batch = replace(batch, rewards_B=batch.rewards_B.float(), max_response=1000)
    earned = build(name=name).assign_credit(batch).advantages_BT
    assert earned.eq(batch.rewards_B[:, None] if name == "reinforce" else 0.0).all()


@pytest.mark.parametrize("name", FIELD)
def test_unjudged_and_empty_rows_are_nowhere(name: str) -> None:
    """With an unjudged row and one without a token, whatever their rewards, the others earn and lose what they do alone."""
    objective = build(name=name)
    lengths = [3, 2, 0, 4, 1, 2, 2, 3]
    batch, logps, old = random_update(lengths, seed=3)
    batch = replace(batch, judged_B=torch.tensor([True] * 5 + [False] + [True] * 2), max_response=1000)
    counted = torch.tensor([0, 1, 3, 4, 6, 7])
    whole, alone = (
        loss_of(objective, batch, logps, old),
        loss_of(objective, batch.rows(counted), logps[counted], old[counted]),
    )
    close(whole[0], alone[0])
    close(whole[1][counted], alone[1])
    assert whole[1][[2, 5]].eq(0).all()
    assert whole[0].abs() > 1e-6


@pytest.mark.parametrize("name", FIELD)
def test_nothing_judged_at_all(name: str) -> None:
    batch, logps, old = random_update(RAGGED)
    batch = replace(batch, judged_B=torch.zeros(8, dtype=torch.bool))
    loss, gradient, _ = loss_of(build(name=name), batch, logps, old)
    close(loss, 0.0)
    assert gradient.eq(0).all()


# -- rewards that cannot be -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reward", "refused"),
    [
        ("max-rl", {"overlong": 1.0, "overlong_buffer": 4}, "reward.overlong"),
        ("max-rl", {"length": 1.0, "gated": False}, "reward.length"),
        ("max-rl", {"length": 2.5}, "reward.length"),
        ("max-rl", {"length": 1.0}, None),
        ("max-rl", {"format": 0.5}, None),
        ("bnpo", {"format": 0.5}, "reward.format"),
        ("bnpo", {"length": 1.0, "overlong": 1.0, "overlong_buffer": 4}, "reward.length and reward.overlong"),
        ("bnpo", {}, None),
        ("grpo", {"overlong": 1.0, "overlong_buffer": 4}, None),
    ],
)
def test_shaping_that_an_objective_cannot_take_is_refused_before_the_run(
    name: str, reward: dict[str, Any], refused: str | None
) -> None:
    config = toy_config(name, reward=reward)
    objective = registry.build_objective(config.objective)
    if refused is None:
        plan.check_needs(config, objective, objective.needs(1), ("maths",), [])
        return
    with pytest.raises(UnmetNeed, match=f"objective '{name}' needs rewards .* but {refused} can"):
        plan.check_needs(config, objective, objective.needs(1), ("maths",), [])


@pytest.mark.parametrize(("name", "reward"), [("max-rl", -0.25), ("bnpo", -0.25), ("bnpo", 1.5)])
def test_and_at_the_step_by_name(name: str, reward: float) -> None:
    batch = batch_of([1] * 4, [1, 0, reward, 1])
    with pytest.raises(ObjectiveFault, match=f"objective '{name}' was given a reward of {reward:g}"):
        build(name=name).assign_credit(batch)
    unjudged = replace(batch, judged_B=torch.tensor([True, True, False, True]))
    assert build(name=name).assign_credit(unjudged).advantages_BT.isfinite().all()


# -- mismatch ---------------------------------------------------------------------------------------------

GROUPS = toy_groups(policy=toy_policy())


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_the_mismatch_weight_joins_vespos_sum(level: str) -> None:
    """On a first update, weighing trainer over sampler is measuring from the sampler: one sum of the same logs, and no other factor."""
    step = Bench("vespo").step(GROUPS)
    noise = 0.2 * torch.randn(step.batch.sampler_logps_BT.shape, generator=torch.Generator().manual_seed(2), dtype=D)
    sampler = (step.batch.sampler_logps_BT + noise) * step.batch.response_mask_BT
    moved = replace(step, batch=replace(step.batch, sampler_logps_BT=sampler))
    weighed = Bench("vespo", learner={"mismatch": {"mode": "tis", "cap": 1e6, "level": level}}).gradient(moved)
    torch.testing.assert_close(weighed, Bench("vespo").gradient(step, old_logps_BT=sampler))
    assert not torch.allclose(weighed, Bench("vespo").gradient(step))


def test_a_weight_of_zero_in_vespos_sum_counts_as_1e_8() -> None:
    """IcePop drops one of two tokens, whose ratio is 8: log w = log 1e-8 + 0, and phi is next to nothing."""
    step = Bench("vespo").step(GROUPS)
    sampler = step.batch.sampler_logps_BT - math.log(8) * step.batch.response_mask_BT
    moved = replace(step, batch=replace(step.batch, sampler_logps_BT=sampler))
    gradient = Bench("vespo", learner={"mismatch": {"mode": "icepop"}}).gradient(moved)
    assert gradient.isfinite().all() and gradient.abs().max() < 1e-12


# -- settings and additions -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("sapo", {"clip_high": 0.3}), ("vespo", {"dual_clip": 3.0}), ("rloo", {"scale_by_std": True}), ("max-rl", {"std_ddof": 0}),
        ("bnpo", {"std_eps": 0.0}), ("cispo", {"dual_clip": 3.0}), ("gmpo", {"dual_clip": 3.0}), ("reinforce", {"clip_low": 0.1}),
        ("reinforce-pp", {"scale_by_std": True}),
    ],
)  # fmt: skip
def test_a_setting_without_effect_is_refused(name: str, setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(setting))} is .*objective '{name}' has no use for it"):
        toy_config({"name": name, **setting})


@pytest.mark.parametrize(
    ("name", "edge", "beyond"),
    [
        ("dapo", {"overlong_share": 1.0}, {"overlong_share": 1.01}),
        ("dapo", {"overlong": 0.0}, {"overlong": -0.1}),
        ("cispo", {"clip_low": 1.0}, {"clip_low": 1.01}),
        ("sapo", {"tau_positive": 0.1}, {"tau_positive": 0.0}),
        ("sapo", {"tau_negative": 0.1}, {"tau_negative": 0.0}),
        ("gmpo", {"clip_low": 2.0}, {"clip_low": 0.0}),
        ("vespo", {"k_negative": 0.0}, {"k_negative": -0.1}),
        ("vespo", {"lambda_positive": 0.1}, {"lambda_positive": 0.0}),
    ],
)
def test_settings_are_refused_beyond_their_edge(name: str, edge: Any, beyond: Any) -> None:
    toy_config({"name": name, **edge})
    with pytest.raises(ConfigError):
        toy_config({"name": name, **beyond})


@pytest.mark.parametrize(("setting", "row"), [("tau_positive", 0), ("tau_negative", 2)])
def test_sapos_gates(setting: str, row: int) -> None:
    """The gradient at a token is 4 sigmoid' r A over the count: each tau acts on its sign's rows and on no others."""
    _, usual, _ = loss_of(build(name="sapo"), *shared())
    _, other, _ = loss_of(build(name="sapo", **{setting: 3.0}), *shared())
    r = math.exp(DRIFT[row][0])
    gate = 1 / (1 + math.exp(-3 * (r - 1)))
    close(other[row, 0], -4 * gate * (1 - gate) * r * ADVANTAGES[row] / LENGTHS[row] / 4)
    same = [i for i in range(4) if (ADVANTAGES[i] > 0) != (ADVANTAGES[row] > 0)]
    close(other[same], usual[same])


def test_which_need_a_group() -> None:
    """What is measured against nothing, or against the whole step, needs no second rollout of a prompt."""
    least = {name: build(name=name).needs(1).min_group for name in FIELD}
    assert {name for name, group in least.items() if group == 1} == set(WHOLE_STEP)
    assert build(name="reinforce-pp", baseline=True).needs(1).min_group == 2


@pytest.mark.parametrize("base", FIELD)
def test_mastery_over_every_base(base: str) -> None:
    """A mastered prompt beside the shared one: the hinge is mastery's own, and the policy term is the base's on what it re-weights.

    Three of four right: the scale is sqrt(3)/2, so what is divided by it, or by a std times it, is 2/sqrt(3) of the base's.
    """
    drift = [[0.0, 0.02], [0.3]]
    batch = batch_of([*LENGTHS, 2, 1], [*SHARED["rewards"], 1, 1], groups=[0] * 4 + [1] * 2)
    batch = replace(batch, max_response=1000)
    old = torch.cat([pad(SHARED["logp_old"], 4), -torch.ones(2, 4, dtype=D)])
    logps = torch.cat([pad(SHARED["logp_new"], 4), pad(drift, 4) - 1]) * batch.response_mask_BT
    old = old * batch.response_mask_BT
    objective = build(name="mcpo-mastery", base=base)
    _, gradient, shares = loss_of(objective, batch, logps, old)
    k3 = lambda d: math.exp(d) - d - 1  # noqa: E731
    close(shares["hinge_kl"], ((k3(0.02) - k3(0.01)) / 2 + (k3(0.3) - k3(0.01))) / 2)
    assert gradient.isfinite().all()
    if base not in WHOLE_STEP and base != "bnpo":
        ratio = advantages(objective, batch)[:4] / advantages(build(name=base), batch)[:4]
        torch.testing.assert_close(ratio, torch.full((4,), 2 / math.sqrt(3), dtype=D), rtol=1e-5, atol=0)


@pytest.mark.parametrize("base", FIELD)
def test_cepo_over_every_base(base: str) -> None:
    """Evidence of log 2 against the rows' signs at one token: right rows' weight is 1 - 0.25, wrong ones' 1 + 0.25."""
    batch, logps, old = shared()
    positive = torch.zeros_like(logps)
    positive[:, 0] = -math.log(2)
    signals = {"positive": positive, "negative": torch.zeros_like(logps)}
    batch = replace(batch, signals=signals, signal_mask={name: torch.ones(4, dtype=torch.bool) for name in signals})
    plain = build(name=base).assign_credit(batch).advantages_BT
    credited = build(name="cepo", base=base).assign_credit(batch).advantages_BT
    factor = torch.where(plain > 0, 0.75, 1.25)
    close(credited[:, 0], (factor * plain)[:, 0])
    close(credited[:, 1:], plain[:, 1:])
    loss, gradient, _ = loss_of(build(name="cepo", base=base), batch, logps, old)
    assert loss.isfinite() and gradient.isfinite().all()


def test_mastery_over_dynamic_sampling_says_that_its_hinge_is_idle() -> None:
    batch, *_ = shared()
    assert any(
        "dynamic_sampling" in text for text in build(name="mcpo-mastery", base="dapo").assign_credit(batch).warnings
    )
    for off in ({"dynamic_sampling": False}, {"hkl": {"beta": 0.0}}):
        assert not build(name="mcpo-mastery", base="dapo", **off).assign_credit(batch).warnings
