"""REINFORCE: the reward itself, against no baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from torch import Tensor

from rlzoo import functional as F
from rlzoo import surrogates as S
from rlzoo.algorithms.grpo import Grpo, GrpoConfig
from rlzoo.algorithms.rloo import UNSCALED
from rlzoo.objective import setting
from rlzoo.types import MicroBatch, Needs, RolloutBatch

UNCLIPPED: Mapping[str, str] = {name: "its loss is not clipped" for name in ("clip_low", "clip_high", "dual_clip")}
"""Settings of GRPO's clip, for relatives without one."""


class ReinforceConfig(GrpoConfig):
    """No paper fixes clip or mean for whole responses; these are the plainest."""

    unused: ClassVar[Mapping[str, str]] = {**UNSCALED, **UNCLIPPED}
    scale_by_std: bool = setting(False, source="Williams 1992: no std is in it")


class Reinforce(Grpo[ReinforceConfig]):
    """A_i = R_i; loss = -r A, the mean over rollouts of the mean over tokens.

    Williams 1992; the importance ratio and the mean are OURS. With one update a step r is 1 and this is -A · logp in its gradient.

    Sets: every judged rollout stands alone; what others of its prompt earned does not enter.

    Normaliser: all judged rollouts of the update with a token, those without reward included.

    Differs: nothing is subtracted, so where all rewards are 0 or more nothing is ever pushed down.
    """

    name = "reinforce"
    Config = ReinforceConfig
    exemptions = {"equal-groups": "a reward is measured against nothing, so equal ones count as they are"}

    def needs(self, step: int) -> Needs:
        return replace(super().needs(step), min_group=1, because={})

    def advantages(self, batch: RolloutBatch) -> Tensor:
        return S.divided(batch.rewards_B.where(batch.valid_B, 0.0), self.std_factor(batch))

    def surrogate(self, micro: MicroBatch) -> Tensor:
        return -F.log_ratio(micro.logps_BT, micro.old_logps_BT).exp() * micro.credit.advantages_BT
