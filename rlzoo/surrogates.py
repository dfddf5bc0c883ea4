"""Policy losses beside PPO's, and what their advantages are made of: pure tensor mathematics, as in `rlzoo.functional`.

Losses are to be minimised and come back per token, unreduced. A loss of a whole response stands at each of its tokens, so that the mean
over tokens is that loss; the response's tokens must all be there.
"""

import math

import torch
from torch import Tensor

from rlzoo import functional as F

LOWEST_LOG_WEIGHT = math.log(1e-8)
"""Below which the weight of a response is cut before it is shaped (arXiv:2602.10693 as TRL has it)."""
RAREST_DENSITY = 1e-6
"""Least density that an advantage is divided by (arXiv:2506.02864's code)."""

# ---------------------------------------------------------------------------------------------------------
# Advantages


def divided(values_B: Tensor, factor_B: Tensor | None) -> Tensor:
    """Values over a factor, 0 where it is 0; as they are without one. [B]"""
    if factor_B is None:
        return values_B
    return torch.where(factor_B == 0, 0.0, values_B / torch.where(factor_B == 0, 1.0, factor_B))


def whiten(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Less the mean over all counted tokens, over their std: sqrt(unbiased variance + 1e-8). [B, T], 0 elsewhere

    As verl's `masked_whiten`. Values that are all equal become exact zeros, found by comparison: an optimizer that scales gradients
    would make a full step of their rounding.
    """
    counted_BT = mask_BT.to(values_BT.dtype)
    count = counted_BT.sum()
    centred_BT = (values_BT - (values_BT * counted_BT).sum() / count.clamp(min=1)) * counted_BT
    variance = centred_BT.square().sum() / (count - 1).clamp(min=1)
    flat = mask_BT.flatten()
    still_BT = F.group_equal(values_BT.flatten(), torch.zeros_like(flat, dtype=torch.long), flat).view_as(mask_BT)
    return torch.where(still_BT, 0.0, centred_BT / (variance + 1e-8).sqrt())


def prompt_values(values_B: Tensor, group_ids_B: Tensor, valid_B: Tensor) -> Tensor:
    """One value a prompt, of values that its rows share; prompts without a counted row left out. [P]"""
    prompts = int(group_ids_B.max()) + 1 if group_ids_B.numel() else 0
    ids = group_ids_B[valid_B]
    there_P = torch.zeros(prompts, dtype=torch.bool, device=ids.device).index_fill(0, ids, True)
    return values_B.new_zeros(prompts).scatter(0, ids, values_B[valid_B])[there_P]


def fit_beta(shares_P: Tensor) -> tuple[float, float]:
    """alpha and beta of the density by which success at prompts is normalised, never below 1. arXiv:2506.02864, its code.

    Moments: a = (m(1 - m)/v - 1)·m and b = (m(1 - m)/v - 1)·(1 - m) with v unbiased; alpha = 1 + a/3 and beta = 1 + b/3. One prompt,
    or equal shares, by comparison: (1, 1).
    """
    if len(shares_P) < 2 or bool(shares_P.max() <= shares_P.min()):
        return 1.0, 1.0
    mean, variance = float(shares_P.double().mean()), float(shares_P.double().var())
    spread = mean * (1 - mean) / variance - 1
    return max(1.0, 1 + spread * mean / 3), max(1.0, 1 + spread * (1 - mean) / 3)


def beta_density(shares_B: Tensor, alpha: float, beta: float) -> Tensor:
    """Beta(share; alpha, beta), at least 1e-6; 1 at shares of 0 and 1, where no advantage is left to divide. [B]"""
    inside_B = (shares_B > 0) & (shares_B < 1)
    p_B = torch.where(inside_B, shares_B, 0.5).double()
    log_normaliser = math.lgamma(alpha) + math.lgamma(beta) - math.lgamma(alpha + beta)
    log_B = (alpha - 1) * p_B.log() + (beta - 1) * (-p_B).log1p() - log_normaliser
    return torch.where(inside_B, log_B.exp().clamp(min=RAREST_DENSITY), 1.0).to(shares_B.dtype)


# ---------------------------------------------------------------------------------------------------------
# Policy losses


def sequence_mean(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean over each row's counted tokens; 0 without any. [B, 1]"""
    counted_BT = mask_BT.to(values_BT.dtype)
    return (values_BT * counted_BT).sum(1, keepdim=True) / counted_BT.sum(1, keepdim=True).clamp(min=1)


def weighted_likelihood(
    logps_BT: Tensor, log_ratio_BT: Tensor, advantages_BT: Tensor, clip_low: float, clip_high: float
) -> Tensor:
    """-A · logp, times the clipped ratio as a number: clipped tokens keep their gradient. [B, T]  arXiv:2506.13585 (CISPO)."""
    ratio_BT = log_ratio_BT.detach().exp().clamp(1 - clip_low, 1 + clip_high)
    return -ratio_BT * advantages_BT * logps_BT


def soft_gate(log_ratio_BT: Tensor, advantages_BT: Tensor, tau_positive: float, tau_negative: float) -> Tensor:
    """-(4/tau) · sigmoid(tau·(r - 1)) · A: a gate instead of a clip, of slope 1 at r = 1. [B, T]  arXiv:2511.20347 (SAPO)."""
    tau_BT = torch.full_like(advantages_BT, tau_positive).masked_fill(advantages_BT < 0, tau_negative)
    gate_BT = torch.sigmoid(tau_BT * (log_ratio_BT.exp() - 1))
    return -(4 / tau_BT) * gate_BT * advantages_BT


def geometric_surrogate(
    log_ratio_BT: Tensor, advantages_BT: Tensor, mask_BT: Tensor, clip_low: float, clip_high: float
) -> Tensor:
    """-A · the geometric mean of a row's ratios, each first clipped where its advantage points. [B, T]  arXiv:2507.20673 (GMPO).

    Clips are of the log-ratio: at most `clip_high` for A > 0, at least -`clip_low` for A < 0.
    """
    held_BT = torch.where(advantages_BT < 0, log_ratio_BT.clamp(min=-clip_low), log_ratio_BT.clamp(max=clip_high))
    return -advantages_BT * sequence_mean(held_BT, mask_BT).exp()


def shaped_weight(
    log_weight_B1: Tensor, advantages_BT: Tensor, positive: tuple[float, float], negative: tuple[float, float]
) -> Tensor:
    """phi(w) = exp(lambda + k·log w - lambda·w), (k, lambda) by the advantage's sign: 1 at w = 1. [B, T], detached  arXiv:2602.10693 (VESPO)."""
    log_B1 = log_weight_B1.detach().clamp(LOWEST_LOG_WEIGHT, F.LOG_RATIO_LIMIT)

    def phi(k: float, rate: float) -> Tensor:
        return (rate + k * log_B1 - rate * log_B1.exp()).exp()

    return torch.where(advantages_BT < 0, phi(*negative), phi(*positive))
