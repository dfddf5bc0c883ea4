"""MaxRL: advantages over the group's mean reward, so that a prompt counts the more the rarer its successes. arXiv:2602.02710."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Self, TypeVar

import torch
from pydantic import model_validator
from torch import Tensor

from rlzoo import functional as F
from rlzoo.algorithms.grpo import Grpo, GrpoConfig
from rlzoo.algorithms.rloo import UNSCALED
from rlzoo.errors import ObjectiveFault
from rlzoo.objective import setting
from rlzoo.types import Needs, RolloutBatch

WHY = "it divides by the group's mean reward"

S = TypeVar("S", bound=GrpoConfig)


def refuse_kl_in_reward(config: S, why: str) -> S:
    """The settings, if they leave rewards as they are; a KL would take them below 0."""
    if config.kl_coef and config.kl_form.startswith("reward"):
        raise ValueError(
            f"kl_form is {config.kl_form!r}, which takes the KL from the reward, but {why}: below 0 it would be none. Use k1, k2, k3 or exact."
        )
    return config


class MaxRlConfig(GrpoConfig):
    """The estimator; clip and mean are GRPO's."""

    unused: ClassVar[Mapping[str, str]] = UNSCALED
    scale_by_std: bool = setting(False, source="prime-rl `max_rl.py`: the mean stands in the std's place")

    @model_validator(mode="after")
    def _reward_stays_a_rate(self) -> Self:
        return refuse_kl_in_reward(self, WHY)


class MaxRl(Grpo[MaxRlConfig]):
    """A_i = (R_i - mean R) / mean R over the group, 0 where the mean is 0; loss as GRPO's.

    arXiv:2602.02710, as prime-rl has it (EXACT).

    Sets: a group is the judged rollouts of one prompt; one whose rewards are equal gives no advantage.

    Normaliser: GRPO's.

    Differs: negative rewards are refused, before the run where its settings tell, else at the step.
    """

    name = "max-rl"
    Config = MaxRlConfig

    def needs(self, step: int) -> Needs:
        below = super().needs(step)
        return replace(below, rewards="nonnegative", because={**below.because, "rewards": WHY})

    def advantages(self, batch: RolloutBatch) -> Tensor:
        rewards_B = batch.rewards_B.where(batch.valid_B, 0.0)
        if bool((rewards_B < 0).any()):
            raise ObjectiveFault(
                f"objective 'max-rl' was given a reward of {float(rewards_B.min()):g}, but {WHY}, which is then no longer a rate of "
                "success. Leave out what takes rewards below 0 (reward.*, a contrastive bonus), or use grpo."
            )
        mean_B = F.group_mean(rewards_B, batch.group_ids_B, batch.valid_B)
        return super().advantages(batch) / torch.where(mean_B > 0, mean_B, 1.0)
