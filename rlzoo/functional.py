"""Pure tensor mathematics: tensors and numbers in, tensors out. No config, no state, no device, no mean over a batch.

Shape letters are those of `rlzoo.types`. Losses are to be minimised and come back per token, unreduced.
"""

import math
from typing import Literal

import torch
from torch import Tensor

LOG_RATIO_LIMIT = 20.0
"""Exponents of ratios are clamped to ±20: e^20 is past every clip and still finite in bfloat16."""

# ---------------------------------------------------------------------------------------------------------
# Groups


def _num_groups(group_ids_B: Tensor) -> int:
    return int(group_ids_B.max()) + 1 if group_ids_B.numel() else 0


def _group_sums(values_B: Tensor, group_ids_B: Tensor, num_groups: int) -> Tensor:
    return values_B.new_zeros(num_groups).index_add(0, group_ids_B, values_B)


def group_mean(values_B: Tensor, group_ids_B: Tensor, valid_B: Tensor) -> Tensor:
    """Mean over the counted rows of each row's own group. [B]  0 where a group has none."""
    num_groups = _num_groups(group_ids_B)
    weight_B = valid_B.to(values_B.dtype)
    totals = _group_sums(values_B * weight_B, group_ids_B, num_groups)
    counts = _group_sums(weight_B, group_ids_B, num_groups)
    return (totals / counts.clamp(min=1))[group_ids_B]


def group_size(group_ids_B: Tensor, valid_B: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """How many counted rows each row's group has. [B]"""
    num_groups = _num_groups(group_ids_B)
    return _group_sums(valid_B.to(dtype), group_ids_B, num_groups)[group_ids_B]


def group_equal(values_B: Tensor, group_ids_B: Tensor, valid_B: Tensor) -> Tensor:
    """True where all counted rows of the row's group hold the same value, by comparison. [B] bool"""
    num_groups = _num_groups(group_ids_B)
    high = values_B.new_full((num_groups,), -math.inf)
    low = values_B.new_full((num_groups,), math.inf)
    ids, kept = group_ids_B[valid_B], values_B[valid_B]
    high = high.scatter_reduce(0, ids, kept, "amax")
    low = low.scatter_reduce(0, ids, kept, "amin")
    return (high <= low)[group_ids_B]


def group_advantages(
    rewards_B: Tensor,
    group_ids_B: Tensor,
    valid_B: Tensor,
    *,
    scale_by_std: bool = True,
    ddof: int = 1,
    eps: float = 1e-6,
    std_factor_B: Tensor | None = None,
) -> Tensor:
    """Reward minus its group's mean, over the group's std if asked. [B]

    arXiv:2402.03300 (GRPO, scaled), arXiv:2503.20783 (Dr. GRPO, unscaled). `std_factor_B` multiplies the std
    before `eps` is added (arXiv:2604.16972 eq. 12). A group whose counted rewards are equal gives exact zeros,
    by comparing the rewards: the quotient of two roundings would not. So does one whose factor is 0, which has no
    weight however its rewards differ. Rows not counted get 0 and move nobody.
    """
    centred_B = rewards_B - group_mean(rewards_B, group_ids_B, valid_B)
    denominator_B = torch.ones_like(rewards_B) if std_factor_B is None else std_factor_B
    if scale_by_std:
        squares_B = group_mean(centred_B.square(), group_ids_B, valid_B)
        size_B = group_size(group_ids_B, valid_B, rewards_B.dtype)
        variance_B = squares_B * size_B / (size_B - ddof).clamp(min=1)
        denominator_B = variance_B.sqrt() * denominator_B + eps
    still_B = group_equal(rewards_B, group_ids_B, valid_B) | ~valid_B
    if std_factor_B is not None:
        still_B |= std_factor_B == 0
    return torch.where(still_B, 0.0, centred_B / torch.where(still_B, 1.0, denominator_B))


# ---------------------------------------------------------------------------------------------------------
# Policy losses


def log_ratio(logps_BT: Tensor, old_logps_BT: Tensor) -> Tensor:
    """log(pi / pi_old), clamped to ±20 so that its exponential is finite. [B, T]"""
    return (logps_BT - old_logps_BT).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


def clipped_surrogate(
    log_ratio_BT: Tensor,
    advantages_BT: Tensor,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None = None,
) -> Tensor:
    """PPO's pessimistic surrogate, as a loss to minimise. [B, T]  arXiv:1707.06347 eq. 7.

    `dual_clip` c > 1 bounds the loss of a negative advantage by -c·A (arXiv:1912.09729 eq. 5).
    """
    ratio_BT = log_ratio_BT.exp()
    clipped_BT = ratio_BT.clamp(1 - clip_low, 1 + clip_high)
    loss_BT = -torch.minimum(ratio_BT * advantages_BT, clipped_BT * advantages_BT)
    if dual_clip is None:
        return loss_BT
    bounded_BT = torch.minimum(loss_BT, -dual_clip * advantages_BT)
    return torch.where(advantages_BT < 0, bounded_BT, loss_BT)


# ---------------------------------------------------------------------------------------------------------
# KL estimators, from samples of the first policy


def kl_k1(logps: Tensor, other_logps: Tensor) -> Tensor:
    """log p - log q at a sample of p. Unbiased, may be negative. Any shape."""
    return logps - other_logps


def kl_k2(logps: Tensor, other_logps: Tensor) -> Tensor:
    """Half the squared log-ratio. Biased, low variance, never negative. Any shape."""
    return 0.5 * (logps - other_logps).square()


def kl_k3(logps: Tensor, other_logps: Tensor) -> Tensor:
    """q/p - log(q/p) - 1 at a sample of p. Unbiased and never negative. Any shape."""
    delta = (other_logps - logps).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return delta.exp() - delta - 1


KL_ESTIMATES = {"k1": kl_k1, "k2": kl_k2, "k3": kl_k3}
"""By name. As a loss, with gradient through `logps` alone: k1 has that of the log-prob, zero on average; k2 that of KL(now || other),
k3 that of KL(other || now), on average over samples of the policy at hand."""

# ---------------------------------------------------------------------------------------------------------
# The mean, as weights

Reduction = Literal["token", "rollout", "group", "constant"]


def reduction_weights(loss_mask_BT: Tensor, reduction: Reduction, group_ids_B: Tensor, max_response: int) -> Tensor:
    """Weights whose weighted sum is the mean that `reduction` names, over all rows given. [B, T] float

    Give it the rows of one whole optimizer update: the denominators are theirs. Weights sum to one over what is
    counted, except for `constant`, whose denominator is rollouts x `max_response`. Nothing counted: all zero.
    """
    counted = loss_mask_BT.to(torch.float64)
    lengths_B = counted.sum(1)
    used_B = lengths_B > 0
    match reduction:
        case "token":
            return counted / lengths_B.sum().clamp(min=1)
        case "constant":
            return counted / (used_B.sum().clamp(min=1) * max_response)
        case "rollout":
            return counted / (lengths_B.clamp(min=1) * used_B.sum().clamp(min=1))[:, None]
        case "group":
            _, ids_B = torch.unique(group_ids_B, return_inverse=True)
            rows_B = group_size(ids_B, used_B, torch.float64)
            groups = (used_B / rows_B.clamp(min=1)).sum().round().clamp(min=1)
            return counted / (lengths_B.clamp(min=1) * rows_B.clamp(min=1) * groups)[:, None]


# ---------------------------------------------------------------------------------------------------------
# Rollout/trainer mismatch


def sequence_log_ratio(log_ratio_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Log-ratio of each whole response, the sum over its tokens, at each of its places. [B, T], 0 at padding."""
    counted_BT = mask_BT.to(log_ratio_BT.dtype)
    return (log_ratio_BT * counted_BT).sum(1, keepdim=True) * counted_BT


def truncated_importance(log_ratio_BT: Tensor, cap: float) -> Tensor:
    """Truncated importance weight, min(pi_old / pi_sampler, cap). [B, T], detached."""
    return log_ratio_BT.detach().clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp().clamp(max=cap)


def icepop(log_ratio_BT: Tensor, low: float, high: float) -> Tensor:
    """The ratio where it lies in [low, high], else 0: the token's loss is masked, its denominator is not. [B, T]"""
    ratio_BT = log_ratio_BT.detach().clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
    return torch.where((ratio_BT >= low) & (ratio_BT <= high), ratio_BT, 0.0)


# ---------------------------------------------------------------------------------------------------------
# Divergences between distributions, over the last axis


def divergence(
    student_logps: Tensor, teacher_logps: Tensor, kind: Literal["forward", "reverse", "jsd"], mix: float
) -> Tensor:
    """Divergence of two log-distributions over the last axis, in nats. Shape [...] of [..., V].

    forward KL(teacher || student); reverse KL(student || teacher); jsd = mix·KL(teacher || m) +
    (1 - mix)·KL(student || m), m = (1 - mix)·student + mix·teacher (arXiv:2601.18734; its ends, mix 0 and 1,
    are defined as forward and reverse).
    """
    if kind == "forward" or (kind == "jsd" and mix == 0):
        return _kl(teacher_logps, student_logps)
    if kind == "reverse" or (kind == "jsd" and mix == 1):
        return _kl(student_logps, teacher_logps)
    middle = torch.logaddexp(student_logps + math.log1p(-mix), teacher_logps + math.log(mix))
    return mix * _kl(teacher_logps, middle) + (1 - mix) * _kl(student_logps, middle)


def _kl(p_logps: Tensor, q_logps: Tensor) -> Tensor:
    terms = p_logps.exp() * (p_logps - q_logps)
    return torch.where(p_logps == -math.inf, 0.0, terms).sum(-1)


# ---------------------------------------------------------------------------------------------------------
# Mastery: re-weighted prompts and a hinge on drift (arXiv:2604.16972)


def majority_scale(accuracy: Tensor, threshold: float = 0.5) -> Tensor:
    """What the std is multiplied by for prompts that are mostly right: 1 up to the threshold t, then
    sqrt(p(1 - p)) / sqrt(t(1 - t)), which holds the weight of a prompt at its value at t.

    arXiv:2604.16972 eq. 12, which has t = 0.5 and so 2·sqrt(p(1 - p)). At p = 1 it is 0: no weight. Any shape.
    """
    if threshold >= 1:
        return torch.ones_like(accuracy)
    edge = math.sqrt(threshold * (1 - threshold))
    return torch.where(accuracy > threshold, (accuracy * (1 - accuracy)).clamp(min=0).sqrt() / edge, 1.0)


def hinge_kl(drift: Tensor, delta: float, estimator: Literal["k1", "k2", "k3"] = "k3") -> Tensor:
    """Zero while |drift| <= delta, then the estimator of KL(old || now) minus its value at the edge. Any shape.

    `drift` is logp - old logp of tokens sampled from the old policy. arXiv:2604.16972 eq. 7-9: k3(d) = e^d - d - 1, with
    edges k3(delta) and k3(-delta). k2 (d²/2) and k1 (|d|) are ablations. Its slope is zero inside the band.
    """
    clamped = drift.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    match estimator:
        case "k3":
            above = clamped.exp() - clamped - (math.exp(delta) - delta)
            below = clamped.exp() - clamped - (math.exp(-delta) + delta)
            outside = torch.where(clamped > 0, above, below)
        case "k2":
            outside = 0.5 * (clamped.square() - delta**2)
        case "k1":
            outside = clamped.abs() - delta
    return torch.where(drift.abs() <= delta, 0.0, outside)


# ---------------------------------------------------------------------------------------------------------
# Evidence: how two privileged readings of a token differ (arXiv:2605.19436)


def evidence_weights(evidence_BT: Tensor, sign_B1: Tensor, mix: float, clip: float) -> Tensor:
    """Factor on a token's advantage: (1 - mix) + mix · clip(exp(sign · evidence), 1 ± clip). [B, T]

    arXiv:2605.19436, `apply_cepo_weighting`. Clipped after the exponential, so an infinite weight becomes the edge. Sign 0
    gives 1. Never negative for clip <= 1: the verifier's sign is kept.
    """
    weights_BT = torch.where(sign_B1 == 0, 1.0, (sign_B1 * evidence_BT).exp().clamp(1 - clip, 1 + clip))
    return (1 - mix) + mix * weights_BT


def clustered_auc(values: Tensor, positive: Tensor, cluster: Tensor) -> tuple[float, float]:
    """Area under the ROC curve and its standard error, items of one cluster being dependent. One-dimensional tensors.

    Ties count half. The error is Obuchowski's (Biometrics 53, 1997) clustered form of DeLong's placement values.
    (0.5, inf) where one of the two classes is absent.
    """
    ones, zeros = int(positive.sum()), int((~positive).sum())
    if not ones or not zeros:
        return 0.5, math.inf
    values = values.double()
    low, high = values[~positive].sort().values, values[positive].sort().values

    def placed(of: Tensor, among: Tensor) -> Tensor:
        return (torch.searchsorted(among, of, right=False) + torch.searchsorted(among, of, right=True)).double() / (
            2 * len(among)
        )

    place = values.new_zeros(len(values))
    place[positive] = placed(values[positive], low)
    place[~positive] = 1 - placed(values[~positive], high)
    auc = float(place[positive].mean())
    _, ids = torch.unique(cluster, return_inverse=True)
    count = int(ids.max()) + 1
    sums = values.new_zeros(count).index_add(0, ids, torch.where(positive, (place - auc) / ones, (place - auc) / zeros))
    return auc, math.sqrt(float(sums.square().sum()) * count / max(count - 1, 1))


def evidence_summary(
    evidence_BT: Tensor, sign_B1: Tensor, read_BT: Tensor, correct_B: Tensor, clip: float
) -> dict[str, float]:
    """How well evidence ranks tokens of correct rollouts above those of wrong ones, and how often it was clipped.

    `auc` over all tokens read, with the ends of its 95 % interval, rollouts being clusters; `clipped`, the share of tokens
    whose weight was cut.
    """
    rows_BT = torch.arange(len(correct_B), device=correct_B.device)[:, None].expand_as(read_BT)
    right_BT = correct_B[:, None].expand_as(read_BT)
    auc, error = clustered_auc(evidence_BT[read_BT], right_BT[read_BT], rows_BT[read_BT])
    clipped = (((sign_B1 * evidence_BT).exp() - 1).abs() > clip)[read_BT]
    return {
        "auc": auc,
        "auc_low": max(0.0, auc - 1.96 * error),
        "auc_high": min(1.0, auc + 1.96 * error),
        "clipped": float(clipped.double().mean()) if len(clipped) else 0.0,
    }


# ---------------------------------------------------------------------------------------------------------
# Contrastive terms over rollouts that see each other


def l2_normalize(rows: Tensor) -> Tensor:
    """Rows over their length, or over 1e-12 if that is less. Same shape"""
    return torch.nn.functional.normalize(rows, dim=-1, eps=1e-12)


def same_group(group_N: Tensor) -> Tensor:
    """Pairs of one group, each with itself included. [N, N] bool"""
    return group_N[:, None] == group_N


def positive_pairs(group_N: Tensor, right_N: Tensor) -> Tensor:
    """Pairs (i, j) of one group, both right, i other than j. [N, N] bool"""
    itself = torch.eye(len(right_N), dtype=torch.bool, device=right_N.device)
    return right_N[:, None] & right_N & same_group(group_N) & ~itself


def centroids(z_NM: Tensor, group_N: Tensor, right_N: Tensor) -> Tensor:
    """Direction of the mean of the right rows of each row's group, itself included. [N, M]"""
    return l2_normalize((same_group(group_N) & right_N).to(z_NM.dtype) @ z_NM)


def row_weights(chosen_NN: Tensor, dtype: torch.dtype) -> Tensor:
    """Weights that are equal over what a row chose and sum to 1, or to 0 where it chose nothing. [N, N]"""
    return chosen_NN.to(dtype) / chosen_NN.sum(1, keepdim=True).clamp(min=1)


def transfer_weights(
    similarity_NN: Tensor,
    candidates_NN: Tensor,
    rule: Literal["topk", "threshold", "topk+threshold", "all", "soft"],
    k: int,
    minimum: float,
    tau: float,
) -> Tensor:
    """How much each candidate counts as a transferable positive of each anchor; rows sum to 1, or to 0 without any. [N, N]

    Chosen on detached similarities, ties to the lowest index. topk: the k most similar. threshold: those of at least
    `minimum`. soft: all, weighted by softmax(similarity / tau).
    """
    similarity_NN = similarity_NN.detach()
    if rule == "soft":
        weights = (similarity_NN / tau).masked_fill(~candidates_NN, -math.inf).softmax(1)
        return weights.nan_to_num(0.0)
    chosen = candidates_NN
    if rule in ("threshold", "topk+threshold"):
        chosen = chosen & (similarity_NN >= minimum)
    if rule in ("topk", "topk+threshold"):
        order = similarity_NN.masked_fill(~chosen, -math.inf).sort(dim=1, descending=True, stable=True).indices
        rank = torch.empty_like(order).scatter_(
            1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
        )
        chosen = chosen & (rank < k)
    return row_weights(chosen, similarity_NN.dtype)


def info_nce(
    similarity_NN: Tensor,
    positives_NN: Tensor,
    negatives_NN: Tensor,
    tau: float,
    denominator: Literal["per-pair", "supcon"],
) -> tuple[Tensor, Tensor]:
    """Each anchor's contrastive loss, and whether it has one (positives and negatives present). [N], [N] bool

    `positives_NN` are weights that sum to 1 over an anchor's positives. per-pair: a positive competes with the
    negatives alone; supcon: with the negatives and all positives (arXiv:2004.11362 eq. 2). 0 where there is none.
    Columns beyond those of `negatives_NN` hold none.
    """
    logits = similarity_NN / tau
    negatives_NN = torch.nn.functional.pad(negatives_NN, (0, similarity_NN.shape[1] - negatives_NN.shape[1]))
    has_N = (positives_NN > 0).any(1) & negatives_NN.any(1)
    # Anchors without a term get one harmless entry, so that no NaN is born and then hidden.
    safe_NN = negatives_NN | ~has_N[:, None]
    competitors_NN = safe_NN | (positives_NN > 0) if denominator == "supcon" else safe_NN
    rest_N1 = logits.masked_fill(~competitors_NN, -math.inf).logsumexp(1, keepdim=True)
    total = torch.logaddexp(logits, rest_N1) if denominator == "per-pair" else rest_N1
    losses_N = (positives_NN * (total - logits)).sum(1)
    return torch.where(has_N, losses_N, 0.0), has_N


def alignment(similarity_NN: Tensor, positives_NN: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of 1 - cosine over an anchor's positives, and whether it has any. [N], [N] bool"""
    has_N = (positives_NN > 0).any(1)
    return (positives_NN * (1 - similarity_NN)).sum(1), has_N


def anchor_mean(losses_N: Tensor, has_N: Tensor) -> Tensor:
    """Mean over anchors that have a term; 0 without any. Scalar"""
    return losses_N.where(has_N, 0.0).sum() / has_N.sum().clamp(min=1)
