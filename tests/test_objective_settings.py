"""Every setting of every shipped objective, by a case in which it decides: what the default gives, and what another value gives.

Sums are in the tests. A case shows one place where a setting acts, not all of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from rlzoo import registry
from rlzoo.engine.model.sequences import Sequences
from rlzoo.errors import ConfigError
from rlzoo.laws.lab import Bench, toy_config, toy_groups, toy_policy
from rlzoo.settings import ObjectiveConfig, Settings
from rlzoo.types import (
    CurrentWeights,
    Group,
    InBatchTerm,
    Initial,
    Insert,
    MicroBatch,
    Pooling,
    Previous,
    Problem,
    Representations,
    Rollout,
    RolloutBatch,
    Snapshot,
    Verdict,
)

D = torch.float64
SHOWN: dict[str, set[str]] = {}
"""By objective: the settings that a case of this file shows."""


def shows(objective: str, *settings: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Marks a test as the case of these settings."""

    def marked(test: Callable[..., None]) -> Callable[..., None]:
        SHOWN.setdefault(objective, set()).update(settings)
        return test

    return marked


def build(name: str, **settings: Any) -> Any:
    return registry.build_objective(toy_config({"name": name, **settings}).objective)


def rows(
    correct: Sequence[int],
    groups: Sequence[int],
    *,
    lengths: Sequence[int] = (),
    domains: Sequence[int] = (),
    judged: Sequence[bool] = (),
    step: int = 1,
    **more: Any,
) -> RolloutBatch:
    """A batch whose rewards are 1 for right and 0 for wrong; one token a row unless said otherwise."""
    B = len(correct)
    sizes = torch.tensor(lengths or [1] * B)
    return RolloutBatch(
        response_mask_BT=torch.arange(int(sizes.max()))[None, :] < sizes[:, None],
        rewards_B=torch.tensor(correct, dtype=D),
        correct_B=torch.tensor(correct) > 0,
        judged_B=torch.tensor(judged or [True] * B),
        truncated_B=torch.zeros(B, dtype=torch.bool),
        group_ids_B=torch.tensor(groups),
        domain_ids_B=torch.tensor(domains or [0] * B),
        sampler_logps_BT=torch.zeros(B, int(sizes.max()), dtype=D),
        max_response=10,
        domains=("maths", "code"),
        step=step,
        **more,
    )


def told(objective: Any, batch: RolloutBatch, drift: Sequence[float], term: str = "policy") -> list[float]:
    """A term's loss at each row's one token, its log-prob being `drift` above the old one."""
    now = torch.tensor(drift, dtype=D)[:, None]
    old = torch.zeros_like(now)
    micro = MicroBatch(
        logps_BT=now, entropy_BT=old, old_logps_BT=old, rollouts=batch, credit=objective.assign_credit(batch)
    )
    losses: Tensor = objective.token_losses(micro)[term]
    return losses[:, 0].tolist()


def advantages(objective: Any, batch: RolloutBatch) -> list[float]:
    found: list[float] = objective.assign_credit(batch).advantages_BT[:, 0].tolist()
    return found


# -- grpo -------------------------------------------------------------------------------------------------

PLAIN = {"scale_by_std": False}
"""Rewards 1 and 0 then earn advantages of one half and minus one half."""
PAIR = rows([1, 0], [0, 0])


@shows("grpo", "kl_form")
@pytest.mark.parametrize(
    ("form", "loss", "slope"),
    [("k1", 0.5, 1.0), ("k2", 0.125, 0.5), ("k3", math.exp(-0.5) - 0.5, 1 - math.exp(-0.5)), ("exact", 7.0, 0.0)],
)
def test_kl_as_a_loss(form: str, loss: float, slope: float) -> None:
    """The policy is surer by 1/2 than the initial one: d, d^2 / 2, e^-d + d - 1, and what the engine tells of whole distributions."""
    objective = build("grpo", kl_coef=0.3, kl_form=form)
    known = {
        "signals": {"reference": torch.full((2, 1), -1.5, dtype=D)},
        "signal_mask": {"reference": torch.ones(2) > 0},
    }
    batch = replace(PAIR, **known)
    now = torch.full((2, 1), -1.0, dtype=D, requires_grad=True)
    micro = MicroBatch(
        logps_BT=now, entropy_BT=torch.zeros(2, 1, dtype=D), old_logps_BT=now.detach(), rollouts=batch,
        credit=objective.assign_credit(batch), divergences={"reference": torch.full((2, 1), 7.0, dtype=D)},
    )  # fmt: skip
    assert micro.credit.terms["kl"].coef == 0.3
    told_BT = objective.token_losses(micro)["kl"]
    assert told_BT[:, 0].tolist() == pytest.approx([loss, loss])
    if form != "exact":
        (gradient,) = torch.autograd.grad(told_BT.sum(), now)
        assert gradient[:, 0].tolist() == pytest.approx([slope, slope])
    assert bool(objective.needs(1).divergences) == (form == "exact")


@pytest.mark.parametrize(
    ("form", "taken"), [("reward-k1", 0.8), ("reward-k2", 0.17), ("reward-k3", math.exp(-0.5) + math.exp(-0.3) - 1.2)]
)
def test_kl_taken_from_the_reward(form: str, taken: float) -> None:
    """d is 0.5 and 0.3 at the right rollout's two tokens and 0 at the wrong one's; padding counts nothing. No loss term is left."""
    objective = build("grpo", kl_coef=0.5, kl_form=form, **PLAIN)
    batch = replace(
        rows([1, 0], [0, 0], lengths=[2, 1]),
        old_logps_BT=torch.tensor([[-1.0, -1.0], [-1.0, 0.0]], dtype=D),
        signals={"reference": torch.tensor([[-1.5, -1.3], [-1.0, 9.0]], dtype=D)},
    )
    credit = objective.assign_credit(batch)
    half = (1 - 0.5 * taken) / 2
    assert credit.advantages_BT[:, 0].tolist() == pytest.approx([half, -half])
    assert set(credit.terms) == {"policy"}
    assert objective.needs(1).old_logps


@shows("grpo", "entropy_coef")
def test_entropy_bonus() -> None:
    objective = build("grpo", entropy_coef=0.25)
    entropy = torch.tensor([[1.0], [3.0]], dtype=D, requires_grad=True)
    credit = objective.assign_credit(PAIR)
    zeros = torch.zeros(2, 1, dtype=D)
    micro = MicroBatch(logps_BT=zeros, entropy_BT=entropy, old_logps_BT=zeros, rollouts=PAIR, credit=credit)
    term = credit.terms["entropy"]
    assert (term.coef, term.reduction, term.corrected) == (0.25, "token", False)
    loss = objective.token_losses(micro)["entropy"]
    assert loss[:, 0].tolist() == [-1.0, -3.0] and loss.requires_grad
    assert set(build("grpo").assign_credit(PAIR).terms) == {"policy"}


@shows("grpo", "entropy_top")
@pytest.mark.parametrize(
    ("share", "updates", "kept"),
    [
        (None, None, [[1, 1, 1], [1, 1, 0], [0, 0, 0]]),
        (0.2, None, [[0, 1, 0], [0, 0, 0], [0, 0, 0]]),  # one of five
        (0.21, None, [[0, 1, 0], [0, 1, 0], [0, 0, 0]]),  # rounded up
        (0.6, None, [[1, 1, 0], [0, 1, 0], [0, 0, 0]]),  # the first of equals
        (1.0, None, [[1, 1, 1], [1, 1, 0], [0, 0, 0]]),
        (0.2, [0, 1, 1], [[0, 1, 0], [0, 1, 0], [0, 0, 0]]),  # one of three, and one of two in the other update
        (0.6, [1, 0, 1], [[1, 1, 0], [1, 1, 0], [0, 0, 0]]),  # two of each
    ],
)
def test_tokens_of_highest_entropy(share: float | None, updates: list[int] | None, kept: list[list[int]]) -> None:
    """Of five judged tokens; padding and the unjudged row are surest to be chosen and are not. The mean counts all five."""
    entropy = torch.tensor([[1.0, 3.0, 1.0], [0.5, 2.0, 9.0], [9.0, 9.0, 9.0]], dtype=D)
    batch = rows([1, 0, 1], [0, 0, 0], lengths=[3, 2, 3], judged=[True, True, False], entropy_BT=entropy)
    batch = replace(batch, update_ids_B=None if updates is None else torch.tensor(updates))
    objective = build("grpo", entropy_top=share, kl_coef=0.1)
    terms = objective.assign_credit(batch).terms
    assert terms["policy"].loss_weight_BT.tolist() == kept
    assert terms["policy"].loss_mask_BT.sum() == terms["kl"].loss_weight_BT.sum() == 5
    assert objective.needs(1).entropy == (share is not None)


@shows("grpo", "clip_low", "clip_high", "dual_clip")
@pytest.mark.parametrize(
    ("settings", "ratios", "expected"),
    [
        ({}, (1.1, 0.9), (-0.55, 0.45)),  # inside the clip: -r A
        ({}, (2.0, 0.5), (-0.6, 0.4)),  # 1.2 and 0.8
        ({"clip_low": 0.4}, (2.0, 0.5), (-0.6, 0.3)),
        ({"clip_high": 0.4}, (2.0, 0.5), (-0.7, 0.4)),
        ({}, (0.5, 10.0), (-0.25, 5.0)),  # away from where the advantage points nothing is held
        ({"dual_clip": 3.0}, (0.5, 10.0), (-0.25, 1.5)),  # 3 x 0.5
    ],
)
def test_clips(settings: dict[str, float], ratios: Sequence[float], expected: Sequence[float]) -> None:
    objective = build("grpo", **PLAIN, **settings)
    assert told(objective, PAIR, [math.log(ratio) for ratio in ratios]) == pytest.approx(expected)


@shows("grpo", "scale_by_std", "std_ddof", "std_eps")
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"scale_by_std": False}, 0.5),
        ({"std_eps": 0.0}, 0.5 / math.sqrt(0.5)),  # squares 1/4 + 1/4 over n - 1 = 1
        ({"std_eps": 0.0, "std_ddof": 0}, 1.0),  # over n = 2: the std is 1/2
        ({"std_eps": 0.5, "std_ddof": 0}, 0.5),  # 1/2 over 1/2 + 1/2
    ],
)
def test_the_std(settings: dict[str, Any], expected: float) -> None:
    assert advantages(build("grpo", **settings), PAIR) == pytest.approx([expected, -expected])


@shows("grpo", "reduction", "kl_coef")
def test_terms_carry_their_reduction_and_coefficient() -> None:
    for reduction in ("token", "rollout", "group", "constant"):
        terms = build("grpo", reduction=reduction, kl_coef=0.25).assign_credit(PAIR).terms
        assert {name: (term.reduction, term.coef) for name, term in terms.items()} == {
            "policy": (reduction, 1.0),
            "kl": (reduction, 0.25),
        }
        assert (terms["policy"].corrected, terms["kl"].corrected) == (True, False)


@shows("grpo", "kl_coef")
def test_kl_to_the_initial_policy_by_hand() -> None:
    """k3 = q/p - log(q/p) - 1 with q/p = 2 and 1/2; the reference is asked for where it is used, and of the initial weights."""
    assert build("grpo").needs(1).signals == ()
    objective = build("grpo", kl_coef=0.5)
    (signal,) = objective.needs(1).signals
    assert (signal.name, signal.weights) == ("reference", Initial())
    reference = torch.tensor([[math.log(2)], [-math.log(2)]], dtype=D)
    batch = replace(PAIR, signals={"reference": reference})
    assert told(objective, batch, [0.0, 0.0], "kl") == pytest.approx([1 - math.log(2), math.log(2) - 0.5])


# -- mcpo-mastery -----------------------------------------------------------------------------------------

MASTERED = rows([1, 1, 1, 0], [0, 0, 1, 1])
"""A prompt whose rollouts are all right, and one of which half are."""


@shows("mcpo-mastery", "hkl.delta", "hkl.estimator")
@pytest.mark.parametrize(
    ("hinge", "drift", "expected"),
    [
        ({}, 0.009, 0.0),
        ({"delta": 0.1}, 0.09, 0.0),
        ({"delta": 0.1}, -0.09, 0.0),
        ({"delta": 0.1}, 0.5, (math.exp(0.5) - 1.5) - (math.exp(0.1) - 1.1)),
        ({"delta": 0.1}, -0.5, (math.exp(-0.5) - 0.5) - (math.exp(-0.1) - 0.9)),
        ({"delta": 0.1, "estimator": "k2"}, -0.5, (0.25 - 0.01) / 2),
        ({"delta": 0.1, "estimator": "k1"}, -0.5, 0.4),
    ],
)
def test_the_hinge_by_hand(hinge: dict[str, Any], drift: float, expected: float) -> None:
    objective = build("mcpo-mastery", hkl=hinge)
    assert told(objective, MASTERED, [drift] * 4, "hinge_kl")[0] == pytest.approx(expected, abs=1e-15)


@shows("mcpo-mastery", "hkl.beta")
def test_the_hinges_weight() -> None:
    assert build("mcpo-mastery").assign_credit(MASTERED).terms["hinge_kl"].coef == 1.0
    assert build("mcpo-mastery", hkl={"beta": 0.3}).assign_credit(MASTERED).terms["hinge_kl"].coef == 0.3
    off = build("mcpo-mastery", hkl={"beta": 0.0})
    assert set(off.assign_credit(MASTERED).terms) == {"policy"}
    assert off.needs(1).min_updates == 1


@shows("mcpo-mastery", "hkl.anchor")
def test_what_the_hinge_measures_from() -> None:
    """A row that is 0.5 above the step's start and 0.2 below the step before: the k1 hinge is 0.49 or 0.19."""
    before = {"previous": torch.full((4, 1), 0.7, dtype=D)}
    batch = replace(MASTERED, signals=before)
    for anchor, expected in (("rollout_old", 0.49), ("previous_step", 0.19)):
        objective = build("mcpo-mastery", hkl={"anchor": anchor, "estimator": "k1"})
        assert told(objective, batch, [0.5] * 4, "hinge_kl")[0] == pytest.approx(expected)
        needs = objective.needs(1)
        assert [signal.weights for signal in needs.signals] == [Previous()] * (anchor == "previous_step")
        assert needs.min_updates == (2 if anchor == "rollout_old" else 1)


@shows("mcpo-mastery", "hkl.norm")
@pytest.mark.parametrize(
    ("norm", "reduction", "counted"),
    [
        ("mastered", "group", [True, True, False, False]),
        ("mastered_rollouts", "rollout", [True, True, False, False]),
        ("mastered_tokens", "token", [True, True, False, False]),
        ("all_prompts", "group", [True, True, True, True]),
    ],
)
def test_over_what_the_hinges_mean_runs(norm: str, reduction: str, counted: list[bool]) -> None:
    """Whatever is counted, only mastered rows weigh."""
    term = build("mcpo-mastery", hkl={"norm": norm}).assign_credit(MASTERED).terms["hinge_kl"]
    assert term.reduction == reduction
    assert term.loss_mask_BT[:, 0].tolist() == counted
    assert term.loss_weight_BT[:, 0].tolist() == [1.0, 1.0, 0.0, 0.0]


@shows("mcpo-mastery", "mastered_threshold")
@pytest.mark.parametrize(("threshold", "prompts"), [(1.0, 1.0), (0.75, 2.0), (0.5, 3.0), (0.51, 2.0)])
def test_from_which_share_a_prompt_is_mastered(threshold: float, prompts: float) -> None:
    """Prompts of which all, three quarters, half and none of the judged rollouts are right; an unjudged one counts nowhere."""
    right = [1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0]
    judged = [True] * 3 + [False] + [True] * 12
    batch = rows(right, [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4, judged=judged)
    credit = build("mcpo-mastery", mastered_threshold=threshold).assign_credit(batch)
    assert credit.metrics["mastery/prompts"] == prompts
    assert credit.terms["hinge_kl"].loss_mask_BT[3, 0].item() is False


@shows("mcpo-mastery", "scale_threshold")
@pytest.mark.parametrize(("threshold", "expected"), [(0.5, 2 / 3), (1.0, 1 / math.sqrt(3)), (0.75, 1 / math.sqrt(3))])
def test_the_weight_of_a_mostly_right_prompt(threshold: float, expected: float) -> None:
    """Three of four right: A+ = 1/4 over std sqrt(3)/4. Above one half it is over scale = 2 sqrt(3/4 1/4) = sqrt(3)/2 too."""
    batch = rows([1, 1, 1, 0], [0] * 4)
    found = advantages(build("mcpo-mastery", std_ddof=0, std_eps=0.0, scale_threshold=threshold), batch)
    assert found == pytest.approx([expected] * 3 + [-3 * expected])


@shows("mcpo-mastery", "advantage_clip")
def test_advantages_are_clipped_on_both_sides() -> None:
    """Without the std: seven wrong and one right earn -1/8 and 7/8, seven right and one wrong the reverse."""
    batch = rows([1] + [0] * 7 + [0] + [1] * 7, [0] * 8 + [1] * 8)
    bare = advantages(build("mcpo-mastery", **PLAIN, scale_threshold=1.0), batch)
    assert (bare[0], bare[1], bare[8], bare[9]) == pytest.approx((0.875, -0.125, -0.875, 0.125))
    held = advantages(build("mcpo-mastery", **PLAIN, scale_threshold=1.0, advantage_clip=0.5), batch)
    assert (held[0], held[1], held[8], held[9]) == pytest.approx((0.5, -0.125, -0.5, 0.125))


@shows("mcpo-mastery", "keep_all_wrong")
@pytest.mark.parametrize(("keep", "counted"), [(True, [True] * 4), (False, [False, False, True, True])])
def test_prompts_without_a_right_rollout_count_or_not(keep: bool, counted: list[bool]) -> None:
    terms = build("mcpo-mastery", keep_all_wrong=keep).assign_credit(rows([0, 0, 1, 0], [0, 0, 1, 1])).terms
    assert terms["policy"].loss_mask_BT[:, 0].tolist() == counted


# -- cepo -------------------------------------------------------------------------------------------------


def rollout(text: str, tokens: Sequence[int], reward: float, *, status: str = "wrong", boxed: bool = True) -> Rollout:
    verdict = Verdict(status=status, reason="", reward=reward, extracted=text if boxed else None)
    return Rollout(
        prompt_tokens=(1,), response_tokens=tuple(tokens), sampler_logps=(-1.0,) * len(tokens), text=text,
        truncated=False, verdict=verdict,
    )  # fmt: skip


PROBLEM = Problem(id="p", domain="maths", messages=({"role": "user", "content": "?"},), verifier="maths", answer="42")
UNJUDGED = rollout("nobody", [9, 9, 9, 9], 0.0, status="error")
BEST = rollout("42", [1, 2, 3, 4, 5], 1.0, status="correct")
NEAR, WORST, ALSO = rollout("41", [6, 6], 0.5), rollout("7", [10, 11, 12], 0.0), rollout("8", [13], 0.0)
MIXED = Group(problem=PROBLEM, rollouts=(UNJUDGED, NEAR, BEST, WORST, ALSO))
SOLVED = Group(problem=PROBLEM, rollouts=(BEST, BEST, UNJUDGED))


def contexts(group: Group, **settings: Any) -> tuple[Any, Any]:
    """What each teacher is told, the same for every rollout of the group."""
    objective = build("cepo", **settings)
    found = [objective.contexts(name, group) for name in ("positive", "negative")]
    assert all(list(each) == [each[0]] * len(group.rollouts) for each in found)
    return found[0][0], found[1][0]


@shows("cepo", "contrast", "contrast_tokens")
@pytest.mark.parametrize(
    ("settings", "positive", "negative"),
    [
        ({}, Insert(" 42"), Insert(" 7")),  # the first of the two with the lowest reward; the unjudged one is nobody
        ({"contrast": "prefix", "contrast_tokens": 2}, Insert("", (1, 2)), Insert("", (10, 11))),
        ({"contrast": "suffix", "contrast_tokens": 2}, Insert("", (4, 5)), Insert("", (11, 12))),
        ({"contrast": "prefix"}, Insert("", (1, 2, 3, 4, 5)), Insert("", (10, 11, 12))),  # 200 tokens hold all
    ],
)
def test_what_the_teachers_are_told(settings: dict[str, Any], positive: Insert, negative: Insert) -> None:
    assert contexts(MIXED, **settings) == (positive, negative)


def test_a_rejected_response_without_a_final_answer_is_told_by_its_beginning() -> None:
    long = rollout("x" * 49 + "yz", [3], 0.0, boxed=False)
    assert contexts(Group(problem=PROBLEM, rollouts=(BEST, long)))[1] == Insert(" " + "x" * 49 + "y")


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_rejected_response_is_no_evidence(text: str) -> None:
    """Both teachers are told the right answer, so that no token is worth more than another."""
    empty = rollout(text, [3], 0.0, boxed=False)
    assert contexts(Group(problem=PROBLEM, rollouts=(BEST, empty))) == (Insert(" 42"), Insert(" 42"))


def test_a_group_without_a_right_rollout_tells_the_answer_in_place_of_its_best() -> None:
    """However well a wrong one was paid."""
    wrong = Group(problem=PROBLEM, rollouts=(NEAR, WORST))
    assert contexts(wrong, contrast="suffix", contrast_tokens=1) == (Insert(" 42"), Insert("", (12,)))


def test_a_group_that_nobody_judged_tells_nothing_of_its_rollouts() -> None:
    group = Group(problem=PROBLEM, rollouts=(UNJUDGED, UNJUDGED))
    assert contexts(group, contrast="prefix") == (Insert(" 42"), None)


@shows("cepo", "empty_negative")
def test_a_group_without_a_rejected_rollout() -> None:
    assert contexts(SOLVED) == (Insert(" 42"), None)
    assert contexts(SOLVED, empty_negative="rlsd") == (Insert(" 42"), Insert(""))


@shows("cepo", "teacher", "teacher_every")
@pytest.mark.parametrize(
    ("settings", "weights"),
    [
        ({}, CurrentWeights()),
        ({"teacher": "initial"}, Initial()),
        ({"teacher": "snapshot"}, Snapshot(25)),
        ({"teacher": "snapshot", "teacher_every": 3}, Snapshot(3)),
    ],
)
def test_whose_weights_read(settings: dict[str, Any], weights: Any) -> None:
    signals = build("cepo", **settings).needs(1).signals
    assert [(s.name, s.weights, s.rows) for s in signals] == [
        ("positive", weights, "credited"),
        ("negative", weights, "credited"),
    ]


@shows("cepo", "mix", "schedule", "warm_steps")
@pytest.mark.parametrize(
    ("settings", "mixes"),
    [
        ({}, {1: 0.5, 6: 0.4, 25: 0.02, 26: 0.0, 40: 0.0}),
        ({"mix": 0.25}, {1: 0.25, 6: 0.2}),
        ({"warm_steps": 10}, {1: 0.5, 6: 0.25, 11: 0.0}),
        ({"schedule": "constant"}, {1: 0.5, 40: 0.5}),
    ],
)
def test_the_share_of_evidence_by_step(settings: dict[str, Any], mixes: dict[int, float]) -> None:
    objective = build("cepo", **settings)
    for step, mix in mixes.items():
        assert objective.mix(step) == pytest.approx(mix, abs=1e-12)
        needs = objective.needs(step)
        assert (len(needs.signals), needs.answers) == ((2, True) if mix else (0, False))


@shows("cepo", "mix", "evidence_clip")
@pytest.mark.parametrize(
    ("settings", "factors"),
    [
        # Evidence log 1.2 for the right row and log 4 for the wrong one, whose sign turns it to 1/4; weights 1.2 and 1/2
        ({}, (0.5 + 0.5 * 1.2, 0.5 + 0.5 * 0.5)),
        ({"mix": 1.0}, (1.2, 0.5)),
        ({"evidence_clip": 0.1}, (0.5 + 0.5 * 1.1, 0.5 + 0.5 * 0.9)),
        ({"evidence_clip": 1.0}, (0.5 + 0.5 * 1.2, 0.5 + 0.5 * 0.25)),
    ],
)
def test_evidence_by_hand(settings: dict[str, float], factors: Sequence[float]) -> None:
    signals = {"positive": torch.tensor([[1.2], [4.0]], dtype=D).log(), "negative": torch.zeros(2, 1, dtype=D)}
    masks = {name: torch.ones(2, dtype=torch.bool) for name in signals}
    batch = replace(PAIR, signals=signals, signal_mask=masks)
    credit = build("cepo", **PLAIN, **settings).assign_credit(batch)
    assert credit.advantages_BT[:, 0].tolist() == pytest.approx([0.5 * factors[0], -0.5 * factors[1]])
    for teacher in masks:  # a row that one of them did not read has no evidence
        one = replace(batch, signal_mask={**masks, teacher: torch.tensor([True, False])})
        assert advantages(build("cepo", **PLAIN, **settings), one) == pytest.approx([0.5 * factors[0], -0.5])


# -- mcpo-contrastive -------------------------------------------------------------------------------------

Z = torch.tensor([[1, 0], [0, 1], [0.6, 0.8], [0.8, 0.6], [-1, 0], [1, 0]], dtype=D)
"""Cosines with row 0: itself, 0, 0.6, 0.8, -1, 1."""
SIX = rows([1, 0, 1, 1, 0, 0], [0, 0, 1, 2, 1, 0], domains=[0, 0, 1, 1, 1, 0], judged=[True] * 5 + [False])
"""Right: row 0 of maths, rows 2 and 3 of code. Wrong: 1 of maths, 4 of code. Row 5 nobody judged: it is no negative."""
ONE = {"tau": 1.0, "head": {"kind": "none"}}
POOL = math.exp(0) + math.exp(-1)
"""Row 0's negatives, over all rows: e^0 of row 1 and e^-1 of row 4."""


def pull(cosine: float, others: float) -> float:
    """-log of what a positive of that cosine has of itself and the sum over its competitors."""
    return -math.log(math.exp(cosine) / (math.exp(cosine) + others))


def cross_and_intra(batch: RolloutBatch = SIX, z: Tensor = Z, **settings: Any) -> tuple[list[Any], list[Any]]:
    """Each row's cross-domain and in-domain loss, None where it has none."""
    cross, has_cross, intra, has_intra = build("mcpo-contrastive", **{**ONE, **settings}).terms(z, z[:0], batch)
    values = [zip(loss.tolist(), has.tolist(), strict=True) for loss, has in ((cross, has_cross), (intra, has_intra))]
    first, second = ([loss if has else None for loss, has in pairs] for pairs in values)
    return first, second


SOFT = 1 / (1 + math.exp(-0.2))
"""Row 3's share of softmax(0.6, 0.8)."""


@shows("mcpo-contrastive", "transfer.rule", "transfer.k", "transfer.delta_sim", "denominator", "tau", "negatives")
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"transfer": {"k": 1}}, pull(0.8, POOL)),
        ({}, (pull(0.8, POOL) + pull(0.6, POOL)) / 2),
        ({"transfer": {"rule": "all", "k": 1}}, (pull(0.8, POOL) + pull(0.6, POOL)) / 2),
        ({"transfer": {"rule": "threshold", "delta_sim": 0.7}}, pull(0.8, POOL)),
        ({"transfer": {"rule": "threshold", "delta_sim": 0.9}}, None),
        ({"transfer": {"rule": "topk", "delta_sim": 0.9, "k": 1}}, pull(0.8, POOL)),  # topk asks for no threshold
        ({"transfer": {"rule": "topk+threshold", "delta_sim": 0.5, "k": 1}}, pull(0.8, POOL)),
        ({"transfer": {"rule": "topk+threshold", "delta_sim": 0.9, "k": 1}}, None),
        ({"transfer": {"rule": "soft"}}, SOFT * pull(0.8, POOL) + (1 - SOFT) * pull(0.6, POOL)),
        ({"transfer": {"k": 1}, "tau": 0.5}, pull(1.6, 1 + math.exp(-2))),
        ({"transfer": {"k": 1}, "negatives": "group"}, pull(0.8, 1)),
        ({"transfer": {"k": 1}, "negatives": "domain"}, pull(0.8, 1)),
        ({"denominator": "supcon"}, math.log(POOL + math.exp(0.8) + math.exp(0.6)) - 0.7),
    ],
)
def test_the_cross_domain_term_of_row_0(settings: dict[str, Any], expected: float | None) -> None:
    assert cross_and_intra(**settings)[0][0] == (None if expected is None else pytest.approx(expected))


@shows("mcpo-contrastive", "negatives")
def test_where_negatives_come_from() -> None:
    """Row 3 is alone in its group: it has no negative there, row 4 in its domain, and rows 1 and 4 in the pool."""
    found = {scope: cross_and_intra(negatives=scope)[0][3] for scope in ("pool", "group", "domain")}
    assert found["group"] is None
    assert found["domain"] == pytest.approx(pull(0.8, math.exp(-0.8)))
    assert found["pool"] == pytest.approx(pull(0.8, math.exp(-0.8) + math.exp(0.6)))


@shows("mcpo-contrastive", "intra.form", "intra.scope")
@pytest.mark.parametrize(
    ("intra", "expected"),
    [
        ({}, pull(0.96, math.exp(0.8) + math.exp(-0.6))),  # rows 2 and 3: 0.6 x 0.8 + 0.8 x 0.6
        ({"form": "align"}, 1 - 0.96),
        ({"form": "off"}, None),
        ({"scope": "group"}, None),  # they are of two prompts
    ],
)
def test_the_in_domain_term_of_row_2(intra: dict[str, str], expected: float | None) -> None:
    found = cross_and_intra(intra=intra)[1]
    assert found[2] == (None if expected is None else pytest.approx(expected))
    assert found[0] is None  # the only right row of maths
    assert found[5] is None


@shows("mcpo-contrastive", "transfer.anchor")
@pytest.mark.parametrize(("anchor", "cosine"), [("rollout", 1.0), ("group_centroid", 0.6)])
def test_what_candidates_are_compared_with(anchor: str, cosine: float) -> None:
    """Row 0 points along x, the mean of its prompt's right rows 0 and 1 along the diagonal: next to which lies row 4, not row 3.

    With wrong row 2 the mean would point along y, where row 5 lies; and without row 1 along x.
    """
    z = torch.tensor([[1, 0], [0, 1], [-1, 0], [1, 0], [0.6, 0.8], [0, 1], [0, -1]], dtype=D)
    batch = rows([1, 1, 0, 1, 1, 1, 0], [0, 0, 0, 1, 1, 1, 1], domains=[0] * 3 + [1] * 4)
    found = cross_and_intra(batch, z, transfer={"anchor": anchor, "k": 1})[0][0]
    assert found == pytest.approx(pull(cosine, math.exp(-1) + 1))


def in_batch(objective: Any, batch: RolloutBatch = SIX, z: Tensor = Z) -> dict[str, InBatchTerm]:
    reps = Representations(embeddings_NH=z, sequence_logps_N=None, heads={"contrast": nn.Identity()})
    found: dict[str, InBatchTerm] = objective.in_batch_losses(reps, batch)
    return found


@shows("mcpo-contrastive", "lambda_cross", "lambda_intra")
def test_each_term_has_its_own_weight_and_anchors() -> None:
    terms = in_batch(build("mcpo-contrastive", **ONE, lambda_cross=0.3, lambda_intra=0.7))
    assert {name: (term.coef, term.anchors) for name, term in terms.items()} == {"cross": (0.3, 3), "intra": (0.7, 2)}
    cross, intra = cross_and_intra()
    assert float(terms["cross"].loss) == pytest.approx((cross[0] + cross[2] + cross[3]) / 3)
    assert float(terms["intra"].loss) == pytest.approx((intra[2] + intra[3]) / 2)


@shows("mcpo-contrastive", "mode")
def test_what_learns_in_each_mode() -> None:
    for mode, names, gradient in (
        ("loss", {"cross", "intra"}, True),
        ("reward", {"head"}, False),
        ("both", {"cross", "intra"}, True),
    ):
        objective = build("mcpo-contrastive", **ONE, mode=mode)
        assert set(in_batch(objective)) == names
        assert objective.needs(1).embeddings == Pooling(layer=-1, pool="mean", gradient=gradient)
    (head,) = in_batch(build("mcpo-contrastive", **ONE, mode="reward")).values()
    cross, intra = cross_and_intra()
    assert (head.coef, head.anchors) == (1.0, 3)
    assert float(head.loss) == pytest.approx((cross[0] + cross[2] + intra[2] + cross[3] + intra[3]) / 3)


@shows("mcpo-contrastive", "mode", "reward_lambda", "floor")
@pytest.mark.parametrize(
    ("settings", "bonus"),
    [
        ({"mode": "loss"}, lambda pulled: 0.0),
        ({}, lambda pulled: -0.2 * pulled),
        ({"mode": "both"}, lambda pulled: -0.2 * pulled),
        ({"reward_lambda": 0.3}, lambda pulled: -0.3 * pulled),
        ({"reward_lambda": 0.3, "floor": 0.1}, lambda pulled: max(-0.3 * pulled, -0.1)),
        ({"reward_lambda": 30.0}, lambda pulled: max(-30 * pulled, -0.5)),
    ],
)
def test_the_bonus_by_hand(settings: dict[str, Any], bonus: Callable[[float], float]) -> None:
    """Of rows 0 and 1, of one prompt, the first is right: half of 1 + bonus, and minus that. Row 5 nobody judged."""
    objective = build("mcpo-contrastive", **{**ONE, **PLAIN, "mode": "reward", **settings})
    cross, intra = cross_and_intra()
    pulled = [(c or 0.0) + (i or 0.0) for c, i in zip(cross, intra, strict=True)]
    credit = objective.assign_credit(replace(SIX, projections={"contrast": Z}))
    half = (1 + bonus(pulled[0])) / 2
    assert credit.advantages_BT[:, 0].tolist()[:2] == pytest.approx([half, -half])
    if settings.get("mode") != "loss":
        mean = sum(bonus(pulled[row]) for row in (0, 2, 3)) / 3
        assert credit.metrics["contrastive/bonus"] == pytest.approx(mean)


@shows("mcpo-contrastive", "memory_bank")
def test_the_bank_holds_the_newest_right_rows_in_order() -> None:
    off, on = build("mcpo-contrastive", **ONE), build("mcpo-contrastive", **ONE, memory_bank=4)
    for objective in (off, on):
        objective.observe(replace(SIX, embeddings_BH=Z))
        objective.observe(replace(SIX, embeddings_BH=10 * Z))
    assert len(off.bank_embeddings) == 0
    assert on.bank_embeddings.tolist() == [[0.8, 0.6], [10.0, 0.0], [6.0, 8.0], [8.0, 6.0]]
    assert on.bank_domains.tolist() == [1, 0, 1, 1]
    again = build("mcpo-contrastive", **ONE, memory_bank=4)
    again.load_state_dict(on.state_dict())
    assert torch.equal(again.bank_embeddings, on.bank_embeddings)
    assert torch.equal(again.bank_domains, on.bank_domains)


@shows("mcpo-contrastive", "memory_bank")
def test_a_step_of_one_domain_finds_its_positives_in_the_bank() -> None:
    """Row 0 of maths alone beside its wrong row 1: the bank gives it row 3 of code, and no row of its own domain."""
    alone = SIX.rows(torch.tensor([0, 1]))
    objective = build("mcpo-contrastive", **ONE, memory_bank=3, transfer={"k": 1})
    assert in_batch(objective, alone, Z[:2])["cross"].anchors == 0
    assert objective.assign_credit(alone).warnings
    objective.observe(replace(SIX, embeddings_BH=Z))
    cross = in_batch(objective, alone, Z[:2])["cross"]
    assert cross.anchors == 1
    assert float(cross.loss) == pytest.approx(pull(0.8, 1))
    assert not objective.assign_credit(alone).warnings


@shows("mcpo-contrastive", "memory_bank")
def test_a_correct_row_that_is_not_counted_does_not_enter_the_bank() -> None:
    """Row 0 is correct; its twin was never judged, so its word of correctness is nobody's."""
    unjudged = replace(SIX, judged_B=SIX.judged_B.clone().index_fill_(0, torch.tensor([0]), False), embeddings_BH=Z)
    objective = build("mcpo-contrastive", **ONE, memory_bank=8)
    objective.observe(unjudged)
    assert bool(SIX.correct_B[0]) and len(objective.bank_domains) == int(SIX.correct_B.sum()) - 1


@shows("mcpo-contrastive", "head.kind", "head.dim", "head.lr", "head.weight_decay")
def test_heads() -> None:
    def made(**head: Any) -> Any:
        return build("mcpo-contrastive", head=head).heads(16)["contrast"]

    def shapes(head: Any) -> list[tuple[int, ...]]:
        return [tuple(parameter.shape) for parameter in head.module.parameters()]

    assert shapes(made()) == [(16, 16)]  # 128, but no more than the hidden size
    assert shapes(made(dim=5)) == [(5, 16)]
    assert shapes(made(kind="mlp", dim=5)) == [(16, 16), (5, 16)]
    assert shapes(made(kind="none")) == []
    assert (made().lr, made().weight_decay, made().kind) == (1e-3, 0.01, "rollout")
    bench = Bench({"name": "mcpo-contrastive", "head": {"lr": 0.5, "weight_decay": 0.25}})
    assert bench.heads.optimizer is not None
    (group,) = bench.heads.optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.25)


@shows("mcpo-contrastive", "embed.layer", "embed.pool")
@pytest.mark.parametrize("layer", [-1, 1, 0])
@pytest.mark.parametrize("pool", ["mean", "last"])
def test_what_embeds_a_rollout(layer: int, pool: str) -> None:
    """The layer's hidden states at the response's own positions, from the model's own call, each row alone."""
    bench = Bench({"name": "mcpo-contrastive", "embed": {"layer": layer, "pool": pool}})
    step = bench.step(toy_groups(policy=toy_policy()))
    found = step.batch.embeddings_BH
    assert found is not None
    sequences: Sequences = step.sequences
    for row in (0, 5):
        prompt, response = sequences.prompts[row], sequences.responses[row]
        out = bench.policy.model(input_ids=torch.tensor([[*prompt, *response]]), output_hidden_states=True)
        hidden = out.hidden_states[layer][0, len(prompt) :]
        torch.testing.assert_close(found[row], hidden.mean(0) if pool == "mean" else hidden[-1])


# -- defaults ---------------------------------------------------------------------------------------------

DEFAULTS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "golden" / "settings.json").read_text())
"""By objective and setting: default, bounds, choices, and how sure the default's source is where it was not read in the paper or its code.

A changed one is changed here on purpose.
"""


def declared(settings: type[Settings]) -> dict[str, Any]:
    """Default, bounds, choices and tag of each setting, but EXACT; parts of several nested."""
    found: dict[str, Any] = {}
    for name, field in settings.model_fields.items():
        if name in ObjectiveConfig.model_fields:
            continue
        if isinstance(field.default, Settings):
            found[name] = declared(type(field.default))
            assert field.default == type(field.default)(), f"{name} as a part has other defaults than its class"
            continue
        limits = {
            key: getattr(limit, key)
            for limit in field.metadata
            for key in ("gt", "ge", "lt", "le")
            if hasattr(limit, key)
        }
        words = [
            word
            for part in (field.annotation, *get_args(field.annotation))
            for word in get_args(part)
            if isinstance(word, str)
        ]
        tag = field.json_schema_extra["tag"]
        sure = {} if tag == "EXACT" else {"tag": tag}
        found[name] = {"default": field.default, **limits, **({"choices": words} if words else {}), **sure}
    return found


@pytest.mark.parametrize("name", registry.objectives.names())
def test_defaults_and_bounds_are_those_of_their_sources(name: str) -> None:
    assert declared(registry.objective_class(name).Config) == DEFAULTS[name]


def test_no_default_is_kept_of_what_is_not_there() -> None:
    assert set(DEFAULTS) == set(registry.objectives.names())


@pytest.mark.parametrize(
    ("name", "edge", "beyond"),
    [
        ("grpo", {"clip_low": 0.99}, {"clip_low": 1.0}),
        ("grpo", {"clip_low": 0.01}, {"clip_low": 0.0}),
        ("grpo", {"dual_clip": 1.01}, {"dual_clip": 1.0}),
        ("grpo", {"std_ddof": 0}, {"std_ddof": -1}),
        ("grpo", {"std_ddof": 1}, {"std_ddof": 2}),
        ("grpo", {"std_eps": 0.0}, {"std_eps": -1e-9}),
        ("grpo", {"kl_coef": 0.0}, {"kl_coef": -1e-9}),
        ("mcpo-mastery", {"hkl": {"delta": 0.0}}, {"hkl": {"delta": -1e-9}}),
        ("mcpo-mastery", {"hkl": {"beta": 0.0}}, {"hkl": {"beta": -1e-9}}),
        ("mcpo-mastery", {"mastered_threshold": 1.0}, {"mastered_threshold": 1.01}),
        ("mcpo-mastery", {"mastered_threshold": 0.01}, {"mastered_threshold": 0.0}),
        ("mcpo-mastery", {"scale_threshold": 0.01}, {"scale_threshold": 0.0}),
        ("mcpo-mastery", {"scale_threshold": 1.0}, {"scale_threshold": 1.01}),
        ("mcpo-mastery", {"advantage_clip": 0.01}, {"advantage_clip": 0.0}),
        ("cepo", {"mix": 0.0}, {"mix": -0.01}),
        ("cepo", {"mix": 1.0}, {"mix": 1.01}),
        ("cepo", {"warm_steps": 1}, {"warm_steps": 0}),
        ("cepo", {"evidence_clip": 0.0}, {"evidence_clip": -0.01}),
        ("cepo", {"evidence_clip": 1.0}, {"evidence_clip": 1.01}),
        ("cepo", {"contrast_tokens": 1}, {"contrast_tokens": 0}),
        ("cepo", {"teacher_every": 1}, {"teacher_every": 0}),
        ("mcpo-contrastive", {"head": {"dim": 1}}, {"head": {"dim": 0}}),
        ("mcpo-contrastive", {"head": {"weight_decay": 0.0}}, {"head": {"weight_decay": -0.1}}),
        ("mcpo-contrastive", {"transfer": {"k": 1}}, {"transfer": {"k": 0}}),
        ("mcpo-contrastive", {"transfer": {"delta_sim": -1.0}}, {"transfer": {"delta_sim": -1.01}}),
        ("mcpo-contrastive", {"transfer": {"delta_sim": 1.0}}, {"transfer": {"delta_sim": 1.01}}),
        ("mcpo-contrastive", {"tau": 0.01}, {"tau": 0.0}),
        ("mcpo-contrastive", {"lambda_cross": 0.0}, {"lambda_cross": -0.1}),
        ("mcpo-contrastive", {"lambda_intra": 0.0}, {"lambda_intra": -0.1}),
        ("mcpo-contrastive", {"reward_lambda": 0.0}, {"reward_lambda": -0.1}),
        ("mcpo-contrastive", {"floor": 0.0}, {"floor": -0.1}),
        ("mcpo-contrastive", {"memory_bank": 0}, {"memory_bank": -1}),
    ],
)
def test_settings_are_refused_beyond_their_edge_and_taken_at_it(name: str, edge: Any, beyond: Any) -> None:
    build(name, **edge)
    with pytest.raises(ConfigError):
        build(name, **beyond)


# -- none is left out -------------------------------------------------------------------------------------


def leaves(config: type[Settings], before: str = "") -> set[str]:
    """Names of all settings, those of a part behind its name."""
    found: set[str] = set()
    for name, field in config.model_fields.items():
        part = field.annotation
        if isinstance(part, type) and issubclass(part, Settings):
            found |= leaves(part, f"{before}{name}.")
        else:
            found.add(before + name)
    return found


@pytest.mark.parametrize("name", ["grpo", "mcpo-mastery", "cepo", "mcpo-contrastive"])
def test_every_setting_has_its_case(name: str) -> None:
    """What an objective takes over from GRPO is shown there."""
    above = ObjectiveConfig if name == "grpo" else registry.objective_class("grpo").Config
    assert SHOWN[name] == leaves(registry.objective_class(name).Config) - leaves(above)
