"""CLIPO: a bonus on the reward for correct rollouts that resemble each other and no incorrect one. arXiv:2603.10101."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor

from rlzoo import functional as F
from rlzoo.algorithms.contrast import (
    CLIPO,
    EmbedSettings,
    HeadSettings,
    drawn,
    make_head,
    over_anchors,
    row_keys,
    soft_nearest,
    with_bonus,
)
from rlzoo.algorithms.grpo import Grpo, GrpoConfig
from rlzoo.objective import setting
from rlzoo.types import Credit, Head, InBatchTerm, Needs, Pooling, Representations, RolloutBatch


class ClipoEmbedSettings(EmbedSettings):
    layer: int = setting(-1, source=CLIPO)
    pool: Literal["mean", "last"] = setting("mean", source=f"{CLIPO}, of the sampler's hidden states without the end")


class ClipoHeadSettings(HeadSettings):
    kind: Literal["linear", "mlp", "none"] = setting("linear", source=CLIPO)
    dim: int = setting(512, source=f"{CLIPO}, on GSM8K; 2048 on MATH", ge=1)
    lr: float = setting(1e-3, source=CLIPO, gt=0)
    weight_decay: float = setting(0.01, source=CLIPO, ge=0)


class ClipoConfig(GrpoConfig):
    """The KL of 0.001 that its scripts add stands in their GRPO baseline too, and is off here as there."""

    embed: ClipoEmbedSettings = ClipoEmbedSettings()
    head: ClipoHeadSettings = ClipoHeadSettings()
    level: Literal["group", "cross", "batch"] = setting("group", source=CLIPO)
    """What an anchor competes with. group: its prompt's rollouts. cross: the batch's, positives of its prompt. batch: positives too."""
    form: Literal["infonce", "supcon_out", "supcon_in", "soft_nn"] = setting("infonce", source=CLIPO)
    """How positives count: one drawn at random, the mean of their logs, the log of their mean, or of their sum."""
    tau: float = setting(0.05, source=CLIPO, gt=0)
    """Temperature of the similarities."""
    reward_lambda: float = setting(0.2, source=CLIPO, ge=0)
    """Weight of the contrastive loss in the reward."""
    floor: float = setting(0.5, source=CLIPO, ge=0)
    """The reward bonus is never below minus this."""
    head_steps: int = setting(
        0, source=f"{CLIPO} has 14 on GSM8K and 58 on MATH, about an epoch: it depends on the data", tag="OURS", ge=0
    )
    """Rollout steps at the start in which the head learns and the policy stands still."""


C = TypeVar("C", bound=ClipoConfig, covariant=True)


class Clipo(Grpo[C], Generic[C]):
    """R'_i = R_i + max(-reward_lambda · L_i, -floor) for correct i, before group normalisation;  L_i = -log e^{s_ip/tau} / sum over
    a in A(i) of e^{s_ia/tau},  p drawn from P(i),  s = cosine of head(mean hidden state).

    arXiv:2603.10101 and `compute_contrastive_rewards` (EXACT). The head alone learns from L, by its own AdamW.

    Sets: anchors are correct rollouts; P(i) the other correct rollouts of the prompt; A(i) all its other rollouts, positives
    included. Anchors without a positive, or without one of A(i) that is none, have no term. Unjudged rollouts are in no set.
    At levels cross and batch, prompts whose rollouts are all correct have terms too, and so advantages.

    Normaliser: GRPO's for the policy; for the head, anchors that have a term.

    Differs: embeddings are the trainer's, over all response tokens, where the code sums those of the sampler without the last;
    log-sum-exp without the code's epsilon of 1e-8, which there hides similarities under about 0.08 at tau 0.05; infonce draws by a
    hash of the rollouts; the head takes a step an update, not one a rollout step; the policy stands still at the start only if asked.
    """

    name = "clipo"
    Config = ClipoConfig
    addition = True
    metrics = {"contrastive/bonus": ("0-1", "mean reward bonus of correct rollouts, never positive")}

    def needs(self, step: int) -> Needs:
        embed = self.config.embed
        pooling = Pooling(layer=embed.layer, pool=embed.pool, gradient=False)
        below, within = super().needs(step), self.config.level == "group"
        told = (
            {"min_group": "a correct rollout is compared with a correct and an incorrect one of its prompt"}
            if within
            else {}
        )
        least = max(below.min_group, 3 if within else 2)
        still = below.heads_only or step <= self.config.head_steps
        told = {**below.because, **told}
        return replace(below, embeddings=pooling, min_group=least, heads_only=still, because=told)

    def heads(self, hidden: int) -> Mapping[str, Head]:
        return {**super().heads(hidden), "contrast": make_head(self.config.head, hidden)}

    def contrast(self, z_NM: Tensor, rows: RolloutBatch) -> tuple[Tensor, Tensor]:
        """Each row's contrastive loss, 0 where it has none, and whether it has one. [N], [N] bool"""
        settings, right = self.config, rows.correct_B & rows.valid_B
        everywhere = torch.zeros_like(rows.group_ids_B)
        near = F.same_group(everywhere if settings.level != "group" else rows.group_ids_B)
        itself = torch.eye(len(right), dtype=torch.bool, device=right.device)
        others = right[:, None] & rows.valid_B & near & ~itself
        positives = F.positive_pairs(everywhere if settings.level == "batch" else rows.group_ids_B, right)
        has_N = positives.any(1) & (others & ~positives).any(1)
        z_NM = F.l2_normalize(z_NM)
        similarity = z_NM @ z_NM.T
        if settings.form in ("infonce", "supcon_out"):
            counted = drawn(positives, row_keys(rows)) if settings.form == "infonce" else positives
            weights = F.row_weights(counted, z_NM.dtype)
            losses_N, _ = F.info_nce(similarity, weights, others & ~counted, settings.tau, "supcon")
        else:
            losses_N = soft_nearest(similarity, positives, others, settings.tau)
            if settings.form == "supcon_in":
                losses_N = losses_N + positives.sum(1).clamp(min=1).log()
        return torch.where(has_N, losses_N, 0.0), has_N

    def acting(self, batch: RolloutBatch, advantages_BT: Tensor) -> Tensor:
        return super().acting(batch, advantages_BT) * (batch.step > self.config.head_steps)

    def assign_credit(self, batch: RolloutBatch) -> Credit:
        losses_B, _ = self.contrast(batch.projections["contrast"], batch)
        shaped, bonus = with_bonus(batch, losses_B, self.config.reward_lambda, self.config.floor)
        credit = super().assign_credit(shaped)
        terms = credit.terms
        if batch.step <= self.config.head_steps:
            terms = {name: replace(t, loss_weight_BT=torch.zeros_like(t.loss_weight_BT)) for name, t in terms.items()}
        return replace(credit, terms=terms, metrics={**credit.metrics, "contrastive/bonus": bonus})

    def in_batch_losses(self, reps: Representations, rows: RolloutBatch) -> Mapping[str, InBatchTerm]:
        assert reps.embeddings_NH is not None
        losses_N, has_N = self.contrast(reps.heads["contrast"](reps.embeddings_NH), rows)
        return {**super().in_batch_losses(reps, rows), "head": over_anchors(losses_N, has_N)}
