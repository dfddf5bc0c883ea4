"""MCPO, Multi-domain Contrastive Policy Optimization: what is right in one domain pulls at what is right in another.

arXiv:2605.25443 publishes the idea and no details; everything below that is not in its abstract is OUR READING, and a knob.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import Tensor

from rlzoo import functional as F
from rlzoo.algorithms.contrast import CLIPO, EmbedSettings, HeadSettings, make_head, over_anchors, with_bonus
from rlzoo.algorithms.grpo import Grpo, GrpoConfig
from rlzoo.objective import Objective, ObjectiveConfig, setting
from rlzoo.settings import Settings
from rlzoo.types import Credit, Head, InBatchTerm, Needs, Pooling, Representations, RolloutBatch

OURS = "unpublished; our reading"
ONE_DOMAIN = (
    "a step held rollouts of one domain only: its cross-domain term is 0, so it did not test what its name says."
)


class TransferSettings(Settings):
    rule: Literal["topk", "threshold", "topk+threshold", "all", "soft"] = setting("topk", source=OURS, tag="OURS")
    """Which correct rollouts of other domains count as transferable."""
    k: int = setting(2, source=OURS, tag="OURS", ge=1)
    """How many positives an anchor takes, for the rules with topk."""
    delta_sim: float = setting(0.0, source=OURS, tag="OURS", ge=-1, le=1)
    """Smallest cosine, for the rules with a threshold."""
    anchor: Literal["rollout", "group_centroid"] = setting("rollout", source=OURS, tag="OURS")
    """What candidates are compared with: the rollout, or the mean of its prompt's correct rollouts."""


class IntraSettings(Settings):
    form: Literal["infonce", "align", "off"] = setting("infonce", source=OURS, tag="OURS")
    """How correct rollouts are aligned: against negatives, by cosine alone, or not."""
    scope: Literal["domain", "group"] = setting("domain", source="the abstract says within a domain", tag="EXACT")
    """Among which correct rollouts: those of the anchor's domain, or of its prompt."""


class ContrastiveConfig(ObjectiveConfig):
    mode: Literal["loss", "reward", "both"] = setting(
        "loss", source="the abstract speaks of representations that the model learns", tag="INFERRED"
    )
    """loss: the gradient reaches the policy. reward: CLIPO's way, a bonus before group normalisation. both."""
    embed: EmbedSettings = EmbedSettings()
    head: HeadSettings = HeadSettings()
    transfer: TransferSettings = TransferSettings()
    negatives: Literal["pool", "group", "domain"] = setting(
        "pool", source="the abstract says incorrect rollouts; of which scope is unpublished", tag="INFERRED"
    )
    """Where an anchor's negatives come from: all rows of the update, its prompt, or its domain."""
    denominator: Literal["per-pair", "supcon"] = setting("per-pair", source=OURS, tag="OURS")
    """What a positive competes with: the negatives, or the negatives and all positives."""
    intra: IntraSettings = IntraSettings()
    tau: float = setting(0.1, source=f"{OURS}; {CLIPO} has 0.05", tag="OURS", gt=0)
    """Temperature of the similarities."""
    lambda_cross: float = setting(0.1, source=OURS, tag="OURS", ge=0)
    """Weight of the cross-domain term, for mode loss and both."""
    lambda_intra: float = setting(0.1, source=OURS, tag="OURS", ge=0)
    """Weight of the in-domain term, for mode loss and both."""
    reward_lambda: float = setting(0.2, source=CLIPO, tag="INFERRED", ge=0)
    """Weight of the contrastive loss in the reward, for mode reward and both."""
    floor: float = setting(0.5, source=CLIPO, tag="INFERRED", ge=0)
    """The reward bonus is never below minus this."""
    memory_bank: int = setting(0, source=OURS, tag="OURS", ge=0)
    """Embeddings of earlier correct rollouts kept as candidates; needed if a step holds one domain, for mode loss. 0 = none."""


C = TypeVar("C", bound=ContrastiveConfig, covariant=True)


class Contrastive(Objective[C], Generic[C]):
    """The terms alone, over whatever base."""

    Config = ContrastiveConfig
    addition = True

    def __init__(self, config: C) -> None:
        super().__init__(config)
        self.bank_embeddings = torch.zeros(0, 0)
        self.bank_domains = torch.zeros(0, dtype=torch.long)

    def needs(self, step: int) -> Needs:
        below, embed = super().needs(step), self.config.embed
        pooling = Pooling(layer=embed.layer, pool=embed.pool, gradient=self.config.mode != "reward")
        because = {**below.because, "domains": "its positives are correct rollouts of other domains"}
        return replace(below, embeddings=pooling, domains=max(below.domains, 2), because=because)

    def heads(self, hidden: int) -> Mapping[str, Head]:
        return {**super().heads(hidden), "contrast": make_head(self.config.head, hidden)}

    def terms(self, z_NM: Tensor, bank_KM: Tensor, rows: RolloutBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Losses and presence of the cross-domain and the in-domain term, by anchor, 0 where absent. Four [N]"""
        settings, rule, right = self.config, self.config.transfer, rows.correct_B & rows.valid_B
        scopes = {"pool": right * 0, "group": rows.group_ids_B, "domain": rows.domain_ids_B}
        z_NM = F.l2_normalize(z_NM)
        pool = torch.cat([z_NM, F.l2_normalize(bank_KM)])  # the bank holds correct rollouts only
        pool_right = torch.cat([right, right.new_ones(len(bank_KM))])
        pool_domains = torch.cat([rows.domain_ids_B, self.bank_domains.to(right.device)[: len(bank_KM)]])
        candidates = right[:, None] & pool_right & (rows.domain_ids_B[:, None] != pool_domains)
        looking = F.centroids(z_NM, rows.group_ids_B, right) if rule.anchor == "group_centroid" else z_NM
        transfer = F.transfer_weights(looking @ pool.T, candidates, rule.rule, rule.k, rule.delta_sim, settings.tau)
        negatives = right[:, None] & (~rows.correct_B & rows.valid_B) & F.same_group(scopes[settings.negatives])
        friends = F.row_weights(F.positive_pairs(scopes[settings.intra.scope], right), z_NM.dtype)
        cross = F.info_nce(z_NM @ pool.T, transfer, negatives, settings.tau, settings.denominator)
        if settings.intra.form == "align":
            return *cross, *F.alignment(z_NM @ z_NM.T, friends)
        intra, has_intra = F.info_nce(z_NM @ z_NM.T, friends, negatives, settings.tau, settings.denominator)
        wanted = settings.intra.form != "off"
        return *cross, intra * wanted, has_intra & wanted

    def assign_credit(self, batch: RolloutBatch) -> Credit:
        metrics: dict[str, float] = {}
        if self.config.mode != "loss":
            z_BM = batch.projections["contrast"]
            cross, _, intra, _ = self.terms(z_BM, z_BM[:0], batch)
            batch, bonus = with_bonus(batch, cross + intra, self.config.reward_lambda, self.config.floor)
            metrics = {"contrastive/bonus": bonus}
        credit = super().assign_credit(batch)
        alone = batch.domain_ids_B.unique().numel() < 2 and not (len(self.bank_domains) and self.config.mode == "loss")
        return replace(credit, metrics={**credit.metrics, **metrics}, warnings=credit.warnings + (ONE_DOMAIN,) * alone)

    def in_batch_losses(self, reps: Representations, rows: RolloutBatch) -> Mapping[str, InBatchTerm]:
        assert reps.embeddings_NH is not None
        head, h_NH = reps.heads["contrast"], reps.embeddings_NH
        bank_KM = head(self.bank_embeddings.to(h_NH)) if len(self.bank_domains) else head(h_NH[:0])
        cross, has_cross, intra, has_intra = self.terms(head(h_NH), bank_KM, rows)
        below = super().in_batch_losses(reps, rows)
        if self.config.mode == "reward":  # of these the head alone learns, on the sum of an anchor's terms
            return {**below, "head": over_anchors(cross + intra, has_cross | has_intra)}
        cross_term = over_anchors(cross, has_cross, self.config.lambda_cross)
        intra_term = over_anchors(intra, has_intra, self.config.lambda_intra)
        return {**below, "cross": cross_term, "intra": intra_term}

    def observe(self, batch: RolloutBatch) -> None:
        super().observe(batch)
        if self.config.memory_bank and batch.embeddings_BH is not None:
            right, size = batch.correct_B & batch.valid_B, self.config.memory_bank
            held = self.bank_embeddings if len(self.bank_domains) else batch.embeddings_BH[:0]
            self.bank_embeddings = torch.cat([held, batch.embeddings_BH[right]])[-size:]
            self.bank_domains = torch.cat([self.bank_domains, batch.domain_ids_B[right]])[-size:]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "bank": [self.bank_embeddings, self.bank_domains]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.bank_embeddings, self.bank_domains = state["bank"]
        super().load_state_dict({name: value for name, value in state.items() if name != "bank"})


class McpoContrastiveConfig(ContrastiveConfig, GrpoConfig):
    pass


M = TypeVar("M", bound=McpoContrastiveConfig, covariant=True)


class McpoContrastive(Contrastive[M], Grpo[M], Generic[M]):
    """L = L_base + lambda_cross · mean l(i, T(i)) + lambda_intra · mean l(i, I(i));  l(i, P) = mean over p in P of
    -log e^{s_ip/tau} / (e^{s_ip/tau} + sum over negatives e^{s_in/tau}),  s = cosine of head(mean hidden state).

    arXiv:2605.25443; the shape is EXACT-2, its details INFERRED or OURS.

    Sets: anchors i are the update's correct rollouts; T(i) the `transfer.k` most similar correct rollouts of other domains; I(i)
    the other correct rollouts of its domain; negatives the update's incorrect ones. Unjudged rollouts are in none of them.

    Normaliser: each term is a mean over its own anchors, those with a positive and a negative; without any it is 0.

    Modes: `loss` is the formula above. `reward` is CLIPO's: R'_i = R_i + max(-reward_lambda · (l(i, T(i)) + l(i, I(i))), -floor)
    for correct i, before group normalisation, and only the head learns from l. `both` does both.

    Differs: the paper publishes no formula, temperature, weights or head, so this is our reading, and every choice is a setting.
    """

    name = "mcpo-contrastive"
    Config = McpoContrastiveConfig
    addition = True
    metrics = {"contrastive/bonus": ("0-1", "mean reward bonus of correct rollouts, never positive; not in mode loss")}
