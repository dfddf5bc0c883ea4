"""Tensor mathematics against sums that a reader can do."""

from __future__ import annotations

import math

import pytest
import torch

from rlzoo import functional as F


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [
        (2.0, +2.0, -2.4),  # up too far, rewarded: held at 1.2
        (2.0, -2.0, +4.0),  # up too far, punished: full pull back
        (0.5, +2.0, -1.0),  # down too far, rewarded: full pull back
        (0.5, -2.0, +1.6),  # down too far, punished: held at 0.8
    ],
)
def test_clipped_surrogate_by_hand(ratio: float, advantage: float, expected: float):
    got = F.clipped_surrogate(torch.tensor([math.log(ratio)]), torch.tensor([advantage]), 0.2, 0.2)
    torch.testing.assert_close(got, torch.tensor([expected]))


def test_dual_clip_bounds_negative_advantages_only():
    ratio, advantages = torch.tensor([10.0, 10.0]).log(), torch.tensor([-2.0, 2.0])
    got = F.clipped_surrogate(ratio, advantages, 0.2, 0.2, dual_clip=3)
    torch.testing.assert_close(got, torch.tensor([6.0, -2.4]))  # 20 held at 3 x 2; the other untouched


@pytest.mark.parametrize(("threshold", "weight"), [(0.5, 0.5), (0.75, math.sqrt(3) / 4), (0.25, math.sqrt(3) / 4)])
def test_mastery_holds_the_weight_at_its_value_at_the_threshold(threshold: float, weight: float):
    """W(p) = p·A+ = sqrt(p(1 - p)) up to the threshold, and what it is there beyond it, up to p = 7/8 of eight rollouts."""
    for right in range(1, 8):
        p = right / 8
        rewards = torch.tensor([1.0] * right + [0.0] * (8 - right), dtype=torch.float64)
        ids, counted = torch.zeros(8, dtype=torch.int64), torch.ones(8, dtype=torch.bool)
        factor = F.majority_scale(torch.full((8,), p, dtype=torch.float64), threshold)
        got = F.group_advantages(rewards, ids, counted, ddof=0, eps=0, std_factor_B=factor)
        expected = weight if p > threshold else math.sqrt(p * (1 - p))
        assert math.isclose(p * float(got[0]), expected, rel_tol=1e-12), (p, threshold)


def test_a_threshold_of_one_scales_nothing():
    assert F.majority_scale(torch.tensor([0.0, 0.5, 0.9, 1.0]), 1.0).tolist() == [1.0, 1.0, 1.0, 1.0]


def test_a_prompt_without_weight_has_no_advantage_though_its_rewards_differ():
    """All eight are right, so p = 1 and the factor is 0, but a bonus for length makes their rewards unequal."""
    rewards = torch.tensor([1.0, 1.05, 0.95, 1.0])
    ids, counted = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.bool)
    factor = F.majority_scale(torch.ones(4))
    assert F.group_advantages(rewards, ids, counted, std_factor_B=factor).tolist() == [0.0, 0.0, 0.0, 0.0]


def test_group_advantages_by_hand():
    """Group 0 holds 1, 0, 0 and an unjudged row: mean 1/3, Bessel-corrected std sqrt(1/3). Group 1 is all equal."""
    rewards = torch.tensor([1.0, 0.0, 0.0, 9.0, 0.9, 0.9])
    ids = torch.tensor([0, 0, 0, 0, 1, 1])
    counted = torch.tensor([True, True, True, False, True, True])
    got = F.group_advantages(rewards, ids, counted, eps=0)
    third = 1 / 3
    std = math.sqrt((4 / 9 + 1 / 9 + 1 / 9) / 2)
    torch.testing.assert_close(got, torch.tensor([2 * third / std, -third / std, -third / std, 0, 0, 0]))
    plain = F.group_advantages(rewards, ids, counted, scale_by_std=False)
    torch.testing.assert_close(plain, torch.tensor([2 * third, -third, -third, 0, 0, 0]))


def test_equal_rewards_give_exact_zeros_where_a_quotient_would_not():
    rewards = torch.full((8,), 0.9)
    zeros = torch.zeros(8, dtype=torch.long)
    assert F.group_advantages(rewards, zeros, torch.ones(8, dtype=torch.bool)).eq(0).all()
    assert F.group_advantages(rewards[:1], zeros[:1], torch.ones(1, dtype=torch.bool)).eq(0).all()  # a group of one


def test_kl_estimators_by_hand():
    logps, other = torch.tensor(-1.0), torch.tensor(-1.3)
    torch.testing.assert_close(F.kl_k1(logps, other), torch.tensor(0.3))
    torch.testing.assert_close(F.kl_k2(logps, other), torch.tensor(0.045))
    torch.testing.assert_close(F.kl_k3(logps, other), torch.tensor(math.exp(-0.3) + 0.3 - 1))


def test_kl_estimators_average_to_the_categorical_kl():
    """Exactly, by enumeration: the k1 and k3 means under p equal KL(p || q)."""
    p, q = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.2, 0.2, 0.6]).double()
    exact = (p * (p / q).log()).sum()
    torch.testing.assert_close((p * F.kl_k1(p.log(), q.log())).sum(), exact)
    torch.testing.assert_close((p * F.kl_k3(p.log(), q.log())).sum(), exact)


COUNTED = torch.tensor([[True, True, True], [True, False, False], [True, True, False], [False, False, False]])
IDS = torch.tensor([5, 5, 8, 8])


@pytest.mark.parametrize(
    ("per", "expected"),
    [
        ("token", [[1 / 6] * 3, [1 / 6, 0, 0], [1 / 6, 1 / 6, 0], [0] * 3]),
        ("rollout", [[1 / 9] * 3, [1 / 3, 0, 0], [1 / 6, 1 / 6, 0], [0] * 3]),  # three rollouts count
        ("group", [[1 / 12] * 3, [1 / 4, 0, 0], [1 / 4, 1 / 4, 0], [0] * 3]),  # two groups, of two and of one
        ("constant", [[1 / 30] * 3, [1 / 30, 0, 0], [1 / 30, 1 / 30, 0], [0] * 3]),  # 3 rollouts x 10
    ],
)
def test_reduction_weights_by_hand(per: F.Reduction, expected: list[list[float]]):
    got = F.reduction_weights(COUNTED, per, IDS, max_response=10)
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(("per", "weight"), [("token", 1.0), ("rollout", 1.0), ("group", 1.0), ("constant", 0.1)])
def test_a_single_token_weighs_one(per: F.Reduction, weight: float):
    """Every count is 1: none is held above it."""
    counted = torch.tensor([[True, False], [False, False]])
    got = F.reduction_weights(counted, per, torch.tensor([3, 4]), max_response=10)
    assert got.tolist() == [[weight, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("per", ["token", "rollout", "group", "constant"])
def test_nothing_counted_weighs_nothing(per: F.Reduction):
    assert F.reduction_weights(torch.zeros_like(COUNTED), per, IDS, 10).eq(0).all()


def test_mismatch_weights_by_hand():
    ratio = torch.tensor([0.4, 1.0, 3.0, 6.0]).log()
    torch.testing.assert_close(F.truncated_importance(ratio, 2.0), torch.tensor([0.4, 1.0, 2.0, 2.0]))
    torch.testing.assert_close(F.icepop(ratio, 0.5, 5.0), torch.tensor([0.0, 1.0, 3.0, 0.0]))


def test_log_ratios_are_held_at_20_wherever_they_are_raised():
    """e^20 is past every clip and finite; e^-20 is not 0. Within the bound nothing is touched."""
    far = torch.tensor([30.0, 19.0, -19.0, -30.0], dtype=torch.float64)
    zero = torch.zeros_like(far)
    held = torch.tensor([20.0, 19.0, -19.0, -20.0], dtype=torch.float64)
    torch.testing.assert_close(F.log_ratio(far, zero), held)
    torch.testing.assert_close(F.kl_k3(zero, far), held.exp() - held - 1)
    torch.testing.assert_close(F.truncated_importance(far, 1e12), held.exp(), rtol=1e-12, atol=0.0)
    torch.testing.assert_close(F.icepop(far, 1e-12, 1e12), held.exp(), rtol=1e-12, atol=0.0)
    torch.testing.assert_close(F.hinge_kl(far, 0.0), held.exp() - held - 1)


def test_mismatch_weights_carry_no_gradient():
    ratio = torch.tensor([0.1], requires_grad=True)
    assert not F.truncated_importance(ratio, 2.0).requires_grad
    assert not F.icepop(ratio, 0.5, 2.0).requires_grad


def test_divergences_by_hand():
    student, teacher = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.9, 0.1]]).log()
    forward = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    reverse = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    middle = [0.7, 0.3]
    jsd = 0.5 * (0.9 * math.log(0.9 / 0.7) + 0.1 * math.log(0.1 / 0.3) + sum(0.5 * math.log(0.5 / m) for m in middle))
    for kind, expected in (("forward", forward), ("reverse", reverse), ("jsd", jsd)):
        torch.testing.assert_close(F.divergence(student, teacher, kind, 0.5), torch.tensor([expected]))  # type: ignore[arg-type]
    torch.testing.assert_close(F.divergence(student, teacher, "jsd", 0.0), torch.tensor([forward]))
    torch.testing.assert_close(F.divergence(student, teacher, "jsd", 1.0), torch.tensor([reverse]))


def test_divergence_of_an_impossible_token_is_finite():
    student, teacher = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]]).log()
    torch.testing.assert_close(F.divergence(student, teacher, "forward", 0.5), torch.tensor([math.log(2)]))


def test_evidence_summary_by_hand():
    evidence = torch.tensor([[0.5, 0.001, 0.0], [-0.2, 0.001, 0.6]])
    read = torch.ones(2, 3, dtype=torch.bool)
    told = F.evidence_summary(evidence, torch.ones(2, 1), read, torch.tensor([True, False]), clip=0.5)
    assert told["auc"] == pytest.approx((2 + 1.5 + 1) / 9)  # 0.5; 0.001, which ties once; 0.0
    assert told["clipped"] == pytest.approx(2 / 6)  # exp(0.5) - 1 and exp(0.6) - 1 exceed 0.5
