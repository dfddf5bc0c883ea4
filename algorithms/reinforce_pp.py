"""REINFORCE++: advantages whitened over the tokens of the whole step instead of within a group. arXiv:2501.03262."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

from torch import Tensor

from rlzoo import surrogates as S
from rlzoo.algorithms.grpo import Grpo, GrpoConfig
from rlzoo.algorithms.rloo import UNSCALED
from rlzoo.objective import setting
from rlzoo.types import Needs, RolloutBatch


class ReinforcePpConfig(GrpoConfig):
    """One reward a response and no discount, so that every token's return is the reward."""

    unused: ClassVar[Mapping[str, str]] = UNSCALED
    scale_by_std: bool = setting(False, source="verl code: the step's std stands in its place")
    reduction: Literal["token", "rollout", "group", "constant"] = setting("token", source="verl code")
    baseline: bool = setting(False, source="verl code; true is its REINFORCE++-baseline")
    """Subtract the group's mean reward before whitening."""


class ReinforcePp(Grpo[ReinforcePpConfig]):
    """A_t = (R_i - mean) / sqrt(var + 1e-8) over all judged tokens of the step; with `baseline`, of R_i - the group's mean R.

    arXiv:2501.03262, as verl has it (EXACT); then PPO's clipped loss. var is unbiased, gamma is 1.

    Sets: a response weighs in mean and variance by its tokens. Equal values everywhere give no advantage.

    Normaliser: all judged tokens of the update.

    Differs: whitened over the step, on all ranks, and not over a mini-batch; the KL to the initial policy is a term of its own
    unless `kl_form` takes it from the reward. What an addition scales to nothing (a mastered prompt) stays nothing.
    """

    name = "reinforce-pp"
    Config = ReinforcePpConfig
    exemptions = {
        "equal-groups": "rewards are measured against the whole step, so a group of equal ones stands out too"
    }

    def needs(self, step: int) -> Needs:
        below = super().needs(step)
        return below if self.config.baseline else replace(below, min_group=1, because={})

    def advantages(self, batch: RolloutBatch) -> Tensor:
        if self.config.baseline:
            return super().advantages(batch)
        return S.divided(batch.rewards_B.where(batch.valid_B, 0.0), self.std_factor(batch))

    def token_advantages(self, batch: RolloutBatch) -> Tensor:
        whitened_BT = S.whiten(super().token_advantages(batch), batch.loss_mask_BT)
        factor_B = self.std_factor(batch)
        return whitened_BT if factor_B is None else whitened_BT.where((factor_B != 0)[:, None], 0.0)
