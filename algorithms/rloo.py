"""RLOO: each rollout is measured against the others of its prompt, without itself. arXiv:2402.14740."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from rlzoo import functional as F
from rlzoo.algorithms.grpo import Grpo, GrpoConfig
from rlzoo.objective import setting
from rlzoo.types import RolloutBatch

NO_STD = "its advantages are not divided by a std"
UNSCALED: Mapping[str, str] = {name: NO_STD for name in ("scale_by_std", "std_ddof", "std_eps")}
"""Settings of GRPO's std, for relatives without one."""


class RlooConfig(GrpoConfig):
    """The estimator; clip and mean are those of the run's GRPO."""

    unused: ClassVar[Mapping[str, str]] = UNSCALED
    scale_by_std: bool = setting(False, source="arXiv:2402.14740; verl code")


class Rloo(Grpo[RlooConfig]):
    """A_i = R_i - mean of R_j over the group's other rollouts = G/(G - 1) · (R_i - mean R); loss as GRPO's.

    arXiv:2402.14740, as verl has it (EXACT).

    Sets: a group is the judged rollouts of one prompt; one whose rewards are equal, or of one rollout, gives no advantage.

    Normaliser: GRPO's.

    Differs: the paper's loss is unclipped REINFORCE; as in verl it is PPO's clipped one, which is the same in a step's first update.
    """

    name = "rloo"
    Config = RlooConfig

    def advantages(self, batch: RolloutBatch) -> Tensor:
        size_B = F.group_size(batch.group_ids_B, batch.valid_B, batch.rewards_B.dtype)
        return super().advantages(batch) * size_B / (size_B - 1).clamp(min=1)
