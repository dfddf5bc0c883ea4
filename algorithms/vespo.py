"""VESPO: the weight of a whole response, shaped smoothly instead of clipped. arXiv:2602.10693."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

from torch import Tensor

from rlzoo import functional as F
from rlzoo import surrogates as S
from rlzoo.algorithms.grpo import Grpo, GrpoConfig
from rlzoo.algorithms.reinforce import UNCLIPPED
from rlzoo.objective import setting
from rlzoo.types import Credit, MicroBatch, RolloutBatch


class VespoConfig(GrpoConfig):
    """Of the advantage nothing is published beside GRPO's."""

    unused: ClassVar[Mapping[str, str]] = {**UNCLIPPED, "entropy_top": "its weight is the whole response's"}
    reduction: Literal["token", "rollout", "group", "constant"] = setting("token", source="TRL code")
    k_positive: float = setting(2.0, source="TRL code", ge=0)
    """k where the advantage is 0 or more."""
    lambda_positive: float = setting(3.0, source="TRL code", gt=0)
    """lambda where the advantage is 0 or more."""
    k_negative: float = setting(3.0, source="TRL code", ge=0)
    """k where the advantage is negative."""
    lambda_negative: float = setting(2.0, source="TRL code", gt=0)
    """lambda where the advantage is negative."""


class Vespo(Grpo[VespoConfig]):
    """loss = -sg(phi(w)) · A · logp, the mean over tokens; phi(w) = exp(lambda + k log w - lambda w), log w = sum over tokens of logp - old logp.

    arXiv:2602.10693, as TRL has it (EXACT). Terms of the sum are clamped to ±20, log w to [ln 1e-8, 20]; k and lambda by the sign of A.

    Sets: GRPO's.

    Normaliser: all judged tokens of the update.

    Mismatch: where `learner.mismatch` is on, the log of its weight joins log w, and the loss is not multiplied by it.

    Differs: TRL takes token weights alone into the sum; here `learner.mismatch.level=sequence` adds the log of its one weight.
    """

    name = "vespo"
    Config = VespoConfig
    exemptions = {"finite-differences": "the weight follows the policy and is detached on purpose"}

    def assign_credit(self, batch: RolloutBatch) -> Credit:
        credit = super().assign_credit(batch)
        policy = replace(credit.terms["policy"], correction="loss")
        return replace(credit, terms={**credit.terms, "policy": policy})

    def surrogate(self, micro: MicroBatch) -> Tensor:
        settings, advantages_BT = self.config, micro.credit.advantages_BT
        log_ratio_BT = F.log_ratio(micro.logps_BT, micro.old_logps_BT)
        log_w_B1 = (log_ratio_BT * micro.rollouts.response_mask_BT).sum(1, keepdim=True)
        if micro.log_mismatch_B is not None:
            log_w_B1 = log_w_B1 + micro.log_mismatch_B[:, None]
        positive = settings.k_positive, settings.lambda_positive
        negative = settings.k_negative, settings.lambda_negative
        return -S.shaped_weight(log_w_B1, advantages_BT, positive, negative) * advantages_BT * micro.logps_BT
