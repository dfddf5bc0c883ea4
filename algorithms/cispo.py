"""CISPO: the importance weight is clipped and the gradient is not. arXiv:2506.13585."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from rlzoo import functional as F
from rlzoo import surrogates as S
from rlzoo.algorithms.grpo import Grpo, GrpoConfig
from rlzoo.objective import setting
from rlzoo.types import MicroBatch


class CispoConfig(GrpoConfig):
    """TRL's and ScaleRL's form: a cap of 5 and no lower bound. verl uses its clip range, 0.2 and 0.2."""

    unused: ClassVar[Mapping[str, str]] = {"dual_clip": "the weight's upper bound already holds every loss"}
    clip_low: float = setting(1.0, source="TRL code: no lower bound; verl has 0.2", gt=0, le=1)
    clip_high: float = setting(4.0, source="TRL code and ScaleRL: a cap of 5; verl has 0.2", gt=0)
    reduction: Literal["token", "rollout", "group", "constant"] = setting("token", source="verl and TRL code")


class Cispo(Grpo[CispoConfig]):
    """loss = -sg(clip(r, 1 - low, 1 + high)) · A · logp, the mean over tokens; A as GRPO's.

    arXiv:2506.13585, as verl and TRL have it (EXACT). No token loses its gradient, however far its ratio has moved.

    Sets: GRPO's.

    Normaliser: all judged tokens of the update.

    Differs: the paper caps from above alone and publishes no value of its cap.
    """

    name = "cispo"
    Config = CispoConfig
    exemptions = {"finite-differences": "the weight follows the policy and is detached on purpose"}

    def surrogate(self, micro: MicroBatch) -> Tensor:
        return S.weighted_likelihood(
            micro.logps_BT,
            F.log_ratio(micro.logps_BT, micro.old_logps_BT),
            micro.credit.advantages_BT,
            self.config.clip_low,
            self.config.clip_high,
        )
