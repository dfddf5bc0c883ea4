"""PPO with a token-level critic and generalised advantage estimation."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rlzoo import functional as F
from rlzoo import returns
from rlzoo import surrogates as S
from rlzoo.objective import Objective, ObjectiveConfig, setting
from rlzoo.settings import Settings
from rlzoo.types import Credit, Head, MicroBatch, Needs, RolloutBatch, Term

PPO = "arXiv:1707.06347"
VAPO = "arXiv:2504.05118"


class CriticSettings(Settings):
    lr: float = setting(1e-3, source="no published default for one linear layer", tag="OURS", gt=0)
    """Of the critic's own AdamW."""
    weight_decay: float = setting(0.01, source="verl code", tag="INFERRED", ge=0)
    """Of the critic's own AdamW."""
    trunk: bool = setting(False, source="verl trains another model as critic", tag="OURS")
    """Let the gradient of the critic's loss reach the policy."""
    clip: float | None = setting(0.2, source="openai/baselines ppo2; verl has 0.5", gt=0)
    """How far a value may move within a step before its loss stops falling; None = as far as it likes."""
    coef: float = setting(0.5, source="openai/baselines ppo2", ge=0)
    """Weight of the critic's loss."""
    warmup_steps: int = setting(0, source=f"{VAPO} sec. 4.1 has 50", tag="INFERRED", ge=0)
    """Steps at the start in which the critic alone learns."""


class PpoConfig(ObjectiveConfig):
    clip_low: float = setting(0.2, source=f"{PPO} sec. 6.1", gt=0, lt=1)
    """How far the importance ratio may fall below 1 before its gradient is cut."""
    clip_high: float = setting(0.2, source=f"{PPO} sec. 6.1", gt=0)
    """How far it may rise above 1."""
    gamma: float = setting(1.0, source="verl code", gt=0, le=1)
    """Discount a token."""
    lam: float = setting(0.95, source=f"{PPO} table 3; {VAPO} varies it by length", ge=0, le=1)
    """lambda of the policy's advantages."""
    lam_value: float = setting(1.0, source=f"{VAPO} sec. 4.1", ge=0, le=1)
    """lambda of what the critic is to predict."""
    length_alpha: float | None = setting(None, source=f"{VAPO} eq. 9, which has 0.05", gt=0)
    """alpha: the policy's lambda becomes max(0, 1 - 1 / (alpha n)) for a response of n tokens; None = `lam` for all."""
    whiten: bool = setting(True, source="verl code")
    """Bring the policy's advantages to mean 0 and variance 1 over the step's judged tokens."""
    critic: CriticSettings = CriticSettings()


class Ppo(Objective[PpoConfig]):
    """A_t = sum over l of (gamma lam)^l delta_{t+l}, delta_t = r_t + gamma V_{t+1} - V_t; loss = -min(r A, clip(r) A) + 0.5 · value loss.

    arXiv:1707.06347 and arXiv:1506.02438 (EXACT), with two lambdas as arXiv:2504.05118. V_t is a linear layer on what predicts token t,
    as it stands at the step's start; the reward stands at the last token. Value loss = max((V - R)^2, (V_clipped - R)^2) / 2, with
    R = A of `lam_value`, unwhitened, + V at the step's start.

    Sets: each response by itself, so one a prompt will do; after the last token the value is 0, also of one cut at the limit.

    Normaliser: all judged tokens of the update, for the value loss, too.

    Differs: the critic is a head on the policy, and its gradient stays in the head unless `critic.trunk`; there is no KL in the reward.
    """

    name = "ppo"
    Config = PpoConfig
    exemptions = {"equal-groups": "the baseline is a critic's value, not the group's mean"}
    metrics = {
        "critic/explained": ("-", "share of the returns' variance over judged tokens that values explain, at most 1")
    }

    def needs(self, step: int) -> Needs:
        critic = self.config.critic
        return Needs(heads_only=step <= critic.warmup_steps and not critic.trunk)

    def heads(self, hidden: int) -> Mapping[str, Head]:
        settings, module = self.config.critic, nn.Linear(hidden, 1)
        nn.init.zeros_(module.weight)  # no value is better than a random one
        nn.init.zeros_(module.bias)
        known = {"lr": settings.lr, "weight_decay": settings.weight_decay}
        return {"value": Head(module=module, kind="token", trunk=settings.trunk, **known)}

    def targets(self, batch: RolloutBatch) -> Tensor:
        """What the critic is to predict. [B, T]"""
        mask_BT, values_BT = batch.loss_mask_BT, batch.values["value"]
        lam_B = torch.full_like(batch.rewards_B, self.config.lam_value)
        rewards_BT = returns.at_last(batch.rewards_B, mask_BT)
        return returns.gae(rewards_BT, values_BT, mask_BT, self.config.gamma, lam_B) + values_BT * mask_BT

    def assign_credit(self, batch: RolloutBatch) -> Credit:
        settings, mask_BT, values_BT = self.config, batch.loss_mask_BT, batch.values["value"]
        lam_B = torch.full_like(batch.rewards_B, settings.lam)
        if settings.length_alpha is not None:
            tokens_B = mask_BT.sum(1).clamp(min=1).to(lam_B.dtype)
            lam_B = (1 - 1 / (settings.length_alpha * tokens_B)).clamp(min=0)
        rewards_BT = returns.at_last(batch.rewards_B, mask_BT)
        advantages_BT = returns.gae(rewards_BT, values_BT, mask_BT, settings.gamma, lam_B)
        if settings.whiten:
            advantages_BT = S.whiten(advantages_BT, mask_BT)
        weight_BT = mask_BT.to(values_BT.dtype)
        acting_BT = weight_BT * (advantages_BT != 0) * (batch.step > settings.critic.warmup_steps)
        policy = Term(loss_mask_BT=mask_BT, loss_weight_BT=acting_BT, reduction="token", corrected=True)
        value = Term(loss_mask_BT=mask_BT, loss_weight_BT=weight_BT, reduction="token", coef=settings.critic.coef)
        targets_BT = self.targets(batch)
        told = {"critic/explained": returns.explained(targets_BT, values_BT, mask_BT)}
        terms = {"policy": policy, "value": value}
        return Credit(advantages_BT=advantages_BT, terms=terms, given={"targets": targets_BT}, metrics=told)

    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        settings, rows = self.config, micro.rollouts
        log_ratio_BT = F.log_ratio(micro.logps_BT, micro.old_logps_BT)
        advantages_BT, targets_BT = micro.credit.advantages_BT, micro.credit.given["targets"]
        clip = settings.critic.clip
        return {
            "policy": F.clipped_surrogate(log_ratio_BT, advantages_BT, settings.clip_low, settings.clip_high),
            "value": returns.clipped_value_loss(micro.heads["value"], rows.values["value"], targets_BT, clip),
        }
