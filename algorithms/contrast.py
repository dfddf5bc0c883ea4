"""What contrastive objectives share: what embeds a rollout, the head on it, and a contrastive loss as part of the reward."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from rlzoo import functional as F
from rlzoo.objective import setting
from rlzoo.settings import Settings
from rlzoo.types import Head, InBatchTerm, RolloutBatch

CLIPO = "arXiv:2603.10101, CLIPO's code"


class EmbedSettings(Settings):
    layer: int = setting(-1, source=CLIPO, tag="INFERRED")
    """Hidden states of this layer; -1 = the last, after the final norm."""
    pool: Literal["mean", "last"] = setting("mean", source=CLIPO, tag="INFERRED")
    """Over the response's own positions, the end token included."""


class HeadSettings(Settings):
    kind: Literal["linear", "mlp", "none"] = setting(
        "linear", source=f"the paper says a lightweight head; {CLIPO}", tag="INFERRED"
    )
    """What maps an embedding to the sphere on which cosines are taken: one matrix, two with a ReLU between, or nothing. None has a
    bias, so that an embedding's length changes nothing."""
    dim: int = setting(128, source="unpublished; our reading", tag="OURS", ge=1)
    """Output size; the hidden size if that is smaller."""
    lr: float = setting(1e-3, source=CLIPO, tag="INFERRED", gt=0)
    """Of the head's own AdamW."""
    weight_decay: float = setting(0.01, source=CLIPO, tag="INFERRED", ge=0)
    """Of the head's own AdamW."""


def make_head(settings: HeadSettings, hidden: int) -> Head:
    """The head that `settings` describe, for hidden size `hidden`."""
    size = min(settings.dim, hidden)
    linear = nn.Linear(hidden, size, bias=False)
    mlp = nn.Sequential(nn.Linear(hidden, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, size, bias=False))
    modules: dict[str, nn.Module] = {"linear": linear, "mlp": mlp, "none": nn.Identity()}
    return Head(module=modules[settings.kind], kind="rollout", lr=settings.lr, weight_decay=settings.weight_decay)


def over_anchors(losses_N: Tensor, has_N: Tensor, coef: float = 1.0) -> InBatchTerm:
    """The mean over anchors that have a term, as a loss."""
    return InBatchTerm(loss=F.anchor_mean(losses_N, has_N), coef=coef, anchors=int(has_N.sum()))


def with_bonus(batch: RolloutBatch, losses_B: Tensor, weight: float, floor: float) -> tuple[RolloutBatch, float]:
    """The batch with R_i + max(-weight · loss_i, -floor) as its rewards, and the mean bonus of its correct rollouts."""
    bonus_B = (-weight * losses_B).clamp(min=-floor)
    shaped = replace(batch, rewards_B=batch.rewards_B + bonus_B.to(batch.rewards_B.dtype))
    return shaped, float(F.anchor_mean(bonus_B, batch.correct_B & batch.valid_B))


def soft_nearest(similarity_NN: Tensor, positives_NN: Tensor, others_NN: Tensor, tau: float) -> Tensor:
    """-log of what the positives together have of all others, positives included; 0 without positives. [N]"""
    logits, has_N1 = similarity_NN / tau, positives_NN.any(1, keepdim=True)
    # Rows without positives get all entries in both sums, so that no NaN is born and then hidden.
    shares = [logits.masked_fill(~(held | ~has_N1), -math.inf).logsumexp(1) for held in (positives_NN, others_NN)]
    return shares[1] - shares[0]


def drawn(positives_NN: Tensor, keys_N: Tensor) -> Tensor:
    """One positive of each row that has any, drawn by a hash of both rows' keys: the same in any order of rows. [N, N] bool"""
    pairs = keys_N[:, None] * 0x9E3779B1 + keys_N  # int64 wraps around, as a hash may
    pairs = (pairs ^ (pairs >> 29)) * 0x85EBCA77
    pairs = ((pairs ^ (pairs >> 32)) & 0x7FFF_FFFF).masked_fill(~positives_NN, -1)
    chosen = torch.zeros_like(positives_NN).scatter_(1, pairs.argmax(1, keepdim=True), True)
    return chosen & positives_NN


def row_keys(batch: RolloutBatch) -> Tensor:
    """A number that tells each row's response from others, whatever their order and padding: of its sampled log-probs. [N] int64"""
    micro = (batch.sampler_logps_BT.double() * 2.0**24).round().to(torch.int64) * batch.response_mask_BT
    places = torch.arange(1, micro.shape[1] + 1, device=micro.device) * 0x27D4EB2F
    return (micro * places).sum(1) + batch.step
