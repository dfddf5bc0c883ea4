"""BNPO: advantages over a Beta density fitted to the step's success rates. arXiv:2506.02864."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Self

from pydantic import model_validator
from torch import Tensor

from rlzoo import functional as F
from rlzoo import surrogates as S
from rlzoo.algorithms.grpo import Grpo, GrpoConfig
from rlzoo.algorithms.max_rl import refuse_kl_in_reward
from rlzoo.algorithms.rloo import UNSCALED
from rlzoo.errors import ObjectiveFault
from rlzoo.objective import setting
from rlzoo.types import Credit, Needs, RolloutBatch

WHY = "a Beta density is one of shares between 0 and 1"


class BnpoConfig(GrpoConfig):
    """The estimator; clip and mean are GRPO's."""

    unused: ClassVar[Mapping[str, str]] = UNSCALED
    scale_by_std: bool = setting(
        False, source="arXiv:2506.02864, its code: a density stands in the std's place", tag="EXACT-2"
    )

    @model_validator(mode="after")
    def _reward_stays_a_share(self) -> Self:
        return refuse_kl_in_reward(self, WHY)


class Bnpo(Grpo[BnpoConfig]):
    """A_i = (R_i - p) / Beta(p; alpha, beta), p = mean R of the prompt; 0 where p is 0 or 1; loss as GRPO's.

    arXiv:2506.02864, `recipe/bnpo/src/bnpo_ray_trainer.py` (EXACT-2). With m and v the mean and unbiased variance of p over the step's
    prompts and q = m(1 - m)/v - 1: alpha = max(1, 1 + q m/3), beta = max(1, 1 + q (1 - m)/3). 1/Beta is at most 1e6.

    Sets: prompts with a judged rollout, those that are all right or all wrong included. One prompt, or equal p: alpha = beta = 1.

    Normaliser: GRPO's.

    Differs: TRL's loss_type "bnpo" is another thing, GRPO with a token mean: here `grpo` with `objective.reduction=token`.
    """

    name = "bnpo"
    Config = BnpoConfig
    metrics = {
        "bnpo/alpha": (
            "number",
            "alpha of the Beta density fitted to the step's prompts; 1 with beta 1 is no weighting",
        ),
        "bnpo/beta": ("number", "its beta"),
    }

    def needs(self, step: int) -> Needs:
        below = super().needs(step)
        return replace(below, rewards="share", because={**below.because, "rewards": WHY})

    def density(self, batch: RolloutBatch) -> tuple[Tensor, float, float]:
        """Of each row's prompt, and alpha and beta. [B]"""
        shares_B = F.group_mean(batch.rewards_B, batch.group_ids_B, batch.valid_B)
        alpha, beta = S.fit_beta(S.prompt_values(shares_B, batch.group_ids_B, batch.valid_B))
        return S.beta_density(shares_B, alpha, beta), alpha, beta

    def advantages(self, batch: RolloutBatch) -> Tensor:
        rewards_B = batch.rewards_B.where(batch.valid_B, 0.0)
        stray_B = (rewards_B < 0) | (rewards_B > 1)
        if bool(stray_B.any()):
            raise ObjectiveFault(
                f"objective 'bnpo' was given a reward of {float(rewards_B[stray_B][0]):g}, but {WHY}. "
                "Leave out what takes rewards beyond them (reward.*, a contrastive bonus), or use grpo."
            )
        return super().advantages(batch) / self.density(batch)[0]

    def assign_credit(self, batch: RolloutBatch) -> Credit:
        credit = super().assign_credit(batch)
        _, alpha, beta = self.density(batch)
        return replace(credit, metrics={**credit.metrics, "bnpo/alpha": alpha, "bnpo/beta": beta})
