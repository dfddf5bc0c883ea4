"""GRPO: group-relative advantages in PPO's clipped surrogate, with an optional KL to the initial policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Generic, Literal, TypeVar

from torch import Tensor

from rlzoo import functional as F
from rlzoo import returns
from rlzoo.objective import Objective, ObjectiveConfig, setting
from rlzoo.types import Credit, Divergence, Initial, MicroBatch, Needs, RolloutBatch, Signal, Term


class GrpoConfig(ObjectiveConfig):
    """arXiv:2402.03300, and what later work made of its parts."""

    clip_low: float = setting(0.2, source="verl and TRL code", gt=0, lt=1)
    """How far the importance ratio may fall below 1 before its gradient is cut."""
    clip_high: float = setting(0.2, source="verl and TRL code", gt=0)
    """How far it may rise above 1."""
    dual_clip: float | None = setting(
        None, source="arXiv:1912.09729 eq. 5; on in verl and EasyR1, not in the paper", gt=1
    )
    """Bound c on the loss of a negative advantage, -c·A; None = off."""
    reduction: F.Reduction = setting("rollout", source="arXiv:2402.03300 eq. 3")
    """The mean's unit; `rollout` is the mean over rollouts of the mean over tokens."""
    scale_by_std: bool = setting(True, source="arXiv:2402.03300 sec. 4.1.2; off in Dr. GRPO, arXiv:2503.20783")
    """Divide advantages by the group's standard deviation."""
    std_ddof: int = setting(1, source="verl, EasyR1, TRL code", ge=0, le=1)
    """1 = Bessel-corrected; 0 = population, as in the papers' algebra."""
    std_eps: float = setting(1e-6, source="verl and EasyR1 code; TRL has 1e-4", ge=0)
    """Added to the standard deviation."""
    kl_coef: float = setting(0.0, source="0.04 in the original, 0 in most RLVR work", tag="INFERRED", ge=0)
    """Weight of the penalty on KL to the initial policy; above 0 it costs one forward pass of that policy a step."""
    kl_form: Literal["k1", "k2", "k3", "exact", "reward-k1", "reward-k2", "reward-k3"] = setting(
        "k3", source="arXiv:2402.03300 eq. 4; the others as verl names them"
    )
    """Estimator at sampled tokens, or exact: over the whole vocabulary, KL(policy || initial). reward-: not a loss, but taken from the
    reward before the group is compared, summed over the response, by the policy of the step's start."""
    entropy_coef: float = setting(0.0, source="off in most RLVR work", tag="INFERRED", ge=0)
    """Weight of a bonus on the token-mean of the entropy, with gradient."""
    entropy_top: float | None = setting(None, source="arXiv:2506.01939, which has 0.2; off elsewhere", gt=0, le=1)
    """Share of an update's tokens, those of highest entropy at the step's start, that the policy term learns from; None = all. The mean
    still counts every token."""


C = TypeVar("C", bound=GrpoConfig, covariant=True)


class Grpo(Objective[C], Generic[C]):
    """A_i = (R_i - mean R) / (std R + eps) over the group; loss = -min(r A, clip(r, 1 - low, 1 + high) A) + kl_coef · k3 - entropy_coef · entropy.

    arXiv:2402.03300 eq. 3 (EXACT). The mean is over rollouts of the mean over tokens.

    Sets: a group is the judged rollouts of one prompt; one whose rewards are equal gives no advantage.

    Normaliser: all judged rollouts of the update with a token, those without advantage included.

    Differs: the KL to the initial policy is off, as in most later work; the std is Bessel-corrected, as in verl and TRL.
    """

    name = "grpo"
    Config = GrpoConfig

    def needs(self, step: int) -> Needs:
        form = self.config.kl_form if self.config.kl_coef else ""
        return Needs(
            signals=(Signal(name="reference", weights=Initial()),) if form else (),
            divergences=(Divergence(signal="reference", kind="reverse"),) if form == "exact" else (),
            old_logps=form.startswith("reward"),
            entropy=self.config.entropy_top is not None,
            min_group=2,
            because={"min_group": "advantages are measured against the group's mean"},
        )

    def charged(self, batch: RolloutBatch) -> RolloutBatch:
        """The batch with what KL to the initial policy takes from its rewards."""
        if not self.config.kl_coef or batch.old_logps_BT is None or not self.config.kl_form.startswith("reward"):
            return batch
        estimate = F.KL_ESTIMATES[self.config.kl_form.removeprefix("reward-")]
        kl_BT = estimate(batch.old_logps_BT, batch.signals["reference"]).where(batch.loss_mask_BT, 0.0)
        return replace(batch, rewards_B=batch.rewards_B - self.config.kl_coef * kl_BT.sum(1))

    def std_factor(self, batch: RolloutBatch) -> Tensor | None:
        """What the group's std is multiplied by, [B]; for objectives that re-weight prompts. Default: nothing."""
        return None

    def advantages(self, batch: RolloutBatch) -> Tensor:
        """What each rollout earns; 0 where it is not counted. [B]"""
        return F.group_advantages(
            batch.rewards_B,
            batch.group_ids_B,
            batch.valid_B,
            scale_by_std=self.config.scale_by_std,
            ddof=self.config.std_ddof,
            eps=self.config.std_eps,
            std_factor_B=self.std_factor(batch),
        )

    def token_advantages(self, batch: RolloutBatch) -> Tensor:
        """The same at each counted token of the rollout. [B, T]"""
        return self.advantages(batch)[:, None] * batch.loss_mask_BT

    def acting(self, batch: RolloutBatch, advantages_BT: Tensor) -> Tensor:
        """How much the policy term's loss of each token counts under these advantages; 0 where there is none. [B, T]"""
        acting_BT = (advantages_BT != 0).to(advantages_BT.dtype)
        if self.config.entropy_top is None or batch.entropy_BT is None:
            return acting_BT
        share, parts_B = self.config.entropy_top, batch.update_ids_B
        return acting_BT * returns.top_share(batch.entropy_BT, batch.loss_mask_BT, share, parts_B)

    def by_token(self) -> bool:
        """Whether advantages that differ within a response act as such, and not by their mean alone."""
        return True

    def surrogate(self, micro: MicroBatch) -> Tensor:
        """The policy term's loss. [B, T]"""
        return F.clipped_surrogate(
            F.log_ratio(micro.logps_BT, micro.old_logps_BT),
            micro.credit.advantages_BT,
            self.config.clip_low,
            self.config.clip_high,
            self.config.dual_clip,
        )

    def assign_credit(self, batch: RolloutBatch) -> Credit:
        batch = self.charged(batch)
        loss_mask_BT, advantages_BT = batch.loss_mask_BT, self.token_advantages(batch)
        acting_BT, reduction = self.acting(batch, advantages_BT), self.config.reduction
        terms = {
            "policy": Term(loss_mask_BT=loss_mask_BT, loss_weight_BT=acting_BT, reduction=reduction, corrected=True)
        }
        every_BT = loss_mask_BT.to(advantages_BT.dtype)
        given: dict[str, Any] = {"loss_mask_BT": loss_mask_BT, "loss_weight_BT": every_BT}
        if self.config.kl_coef and not self.config.kl_form.startswith("reward"):
            terms["kl"] = Term(**given, reduction=self.config.reduction, coef=self.config.kl_coef)
        if self.config.entropy_coef:
            terms["entropy"] = Term(**given, reduction="token", coef=self.config.entropy_coef)
        return Credit(advantages_BT=advantages_BT, terms=terms)

    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        losses = {"policy": self.surrogate(micro)}
        if "kl" in micro.credit.terms:
            estimate = F.KL_ESTIMATES.get(self.config.kl_form)
            losses["kl"] = (
                estimate(micro.logps_BT, micro.rollouts.signals["reference"])
                if estimate
                else micro.divergences["reference"]
            )
        if "entropy" in micro.credit.terms:
            losses["entropy"] = -micro.entropy_BT
        return losses
