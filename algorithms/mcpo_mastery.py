"""MCPO, Mastery-Consolidated Policy Optimization: keep what is mastered, push what is nearly so. arXiv:2604.16972."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Generic, Literal, TypeVar

from torch import Tensor

from rlzoo import functional as F
from rlzoo.algorithms.grpo import Grpo, GrpoConfig
from rlzoo.objective import setting
from rlzoo.settings import Settings
from rlzoo.types import Credit, MicroBatch, Needs, Previous, RolloutBatch, Signal, Term

PAPER = "arXiv:2604.16972"
NONE_MASTERED = (
    "objective.dynamic_sampling drops the prompts that are mastered, so the hinge on them never acts; set it to false."
)


class HingeSettings(Settings):
    """The hinge on drift of mastered prompts."""

    delta: float = setting(0.01, source=f"{PAPER} sec. 5", tag="EXACT-2", ge=0)
    """Half-width of the band of log-ratios that cost nothing, in nats."""
    beta: float = setting(1.0, source=f"{PAPER} eq. 15", tag="EXACT-2", ge=0)
    """Weight of the hinge beside the policy term; 0 switches it off."""
    estimator: Literal["k1", "k2", "k3"] = setting("k3", source=f"{PAPER} eq. 7-9", tag="EXACT-2")
    """Of the KL at a sampled token; k1 and k2 are ablations of ours."""
    anchor: Literal["rollout_old", "previous_step"] = setting("rollout_old", source=f"{PAPER} eq. 7", tag="EXACT-2")
    """What drift is measured from. rollout_old: the policy that sampled, free of charge, but equal to the policy in the first
    update of a step. previous_step: the policy at the start of the step before, which costs a forward pass; our reading of
    "between successive gradient steps"."""
    norm: Literal["mastered", "mastered_rollouts", "mastered_tokens", "all_prompts"] = setting(
        "mastered", source=f"{PAPER} eq. 11; over what the mean runs is not published beyond E over M", tag="INFERRED"
    )
    """What the mean runs over: mastered prompts, their rollouts, their tokens, or all prompts of the update."""


class McpoMasteryConfig(GrpoConfig):
    """Built on DAPO's clip-higher without dynamic sampling; lr, batch and group size are unpublished."""

    clip_high: float = setting(0.28, source="DAPO's default, on which the paper builds", tag="INFERRED", gt=0)
    hkl: HingeSettings = HingeSettings()
    mastered_threshold: float = setting(
        1.0, source=f"{PAPER}: M holds prompts with p(x) = 1", tag="EXACT-2", gt=0, le=1
    )
    """Group accuracy from which a prompt counts as mastered."""
    scale_threshold: float = setting(0.5, source=f"{PAPER} eq. 12", tag="EXACT-2", gt=0, le=1)
    """Group accuracy above which the query weight is held at its value there instead of vanishing; 1 switches it off."""
    advantage_clip: float | None = setting(
        None, source="not in the paper: at 15/16 correct a wrong rollout gets -7.7", tag="OURS", gt=0
    )
    """Bound on the absolute advantage; None = off."""
    keep_all_wrong: bool = setting(
        True, source="none published; false saves compute and changes the mean's denominator", tag="OURS"
    )
    """Count rollouts of prompts without a correct one in the policy term's mean."""


C = TypeVar("C", bound=McpoMasteryConfig, covariant=True)


class McpoMastery(Grpo[C], Generic[C]):
    """A_i = (R_i - mean R) / (std R · scale(p) + eps), scale = 2 sqrt(p(1 - p)) for p > 1/2; + beta · mean over p(x) = 1 of phi(d).

    arXiv:2604.16972 eq. 7-15 (EXACT-2). d = logp - logp_old; phi is zero for |d| <= delta and
    k3(d) - k3(±delta) outside. With one update a step d is zero, so the hinge then needs the other anchor.

    Sets: p(x) is the share of the prompt's judged rollouts that are correct; M, the mastered prompts, those with p(x) = 1.

    Normaliser: GRPO's for the policy term; for the hinge, the update's mastered prompts, each a mean over rollouts of means over tokens.

    Differs: the formulas are second-hand; clip-higher is DAPO's default; over what the hinge's mean runs is our reading.
    """

    name = "mcpo-mastery"
    Config = McpoMasteryConfig
    addition = True
    metrics = {"mastery/prompts": ("prompts", "prompts whose rollouts are all correct: the hinge's set M")}

    def needs(self, step: int) -> Needs:
        below = super().needs(step)
        if not self.config.hkl.beta:
            return below
        if self.config.hkl.anchor == "previous_step":
            return replace(below, signals=(*below.signals, Signal(name="previous", weights=Previous())))
        why = "its hinge is zero on a step's first update, unless objective.hkl.anchor=previous_step"
        return replace(below, min_updates=2, because={**below.because, "min_updates": why})

    def accuracy(self, batch: RolloutBatch) -> Tensor:
        """p(x), the share of the prompt's judged rollouts that the verifier called correct. [B]"""
        return F.group_mean(batch.correct_B.to(batch.rewards_B.dtype), batch.group_ids_B, batch.valid_B)

    def std_factor(self, batch: RolloutBatch) -> Tensor | None:
        below = super().std_factor(batch)
        scale_B = F.majority_scale(self.accuracy(batch), self.config.scale_threshold)
        return scale_B if below is None else below * scale_B

    def assign_credit(self, batch: RolloutBatch) -> Credit:
        credit = super().assign_credit(batch)
        accuracy_B, loss_mask_BT = self.accuracy(batch), batch.loss_mask_BT
        advantages_BT, terms = credit.advantages_BT, dict(credit.terms)
        if self.config.advantage_clip is not None:
            advantages_BT = advantages_BT.clamp(-self.config.advantage_clip, self.config.advantage_clip)
        if not self.config.keep_all_wrong:
            some_BT = (accuracy_B > 0)[:, None]
            terms["policy"] = replace(terms["policy"], loss_mask_BT=terms["policy"].loss_mask_BT & some_BT)
        mastered_B = (accuracy_B >= self.config.mastered_threshold) & batch.valid_B
        mastered_BT = loss_mask_BT & mastered_B[:, None]
        if self.config.hkl.beta:
            norm = self.config.hkl.norm
            terms["hinge_kl"] = Term(
                loss_mask_BT=loss_mask_BT if norm == "all_prompts" else mastered_BT,
                loss_weight_BT=mastered_BT.to(advantages_BT.dtype),
                reduction="rollout"
                if norm == "mastered_rollouts"
                else "token"
                if norm == "mastered_tokens"
                else "group",
                coef=self.config.hkl.beta,
            )
        prompts = float(batch.group_ids_B[mastered_B].unique().numel())
        idle = bool(self.config.hkl.beta) and getattr(self.config, "dynamic_sampling", False)
        return replace(
            credit,
            advantages_BT=advantages_BT,
            terms=terms,
            metrics={**credit.metrics, "mastery/prompts": prompts},
            warnings=credit.warnings + (NONE_MASTERED,) * idle,
        )

    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        losses = super().token_losses(micro)
        hkl = self.config.hkl
        if not hkl.beta:
            return losses
        anchor_BT = micro.old_logps_BT if hkl.anchor == "rollout_old" else micro.rollouts.signals["previous"]
        return {**losses, "hinge_kl": F.hinge_kl(micro.logps_BT - anchor_BT, hkl.delta, hkl.estimator)}
