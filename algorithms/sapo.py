"""SAPO: a sigmoid gate where GRPO clips. arXiv:2511.20347."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from rlzoo import functional as F
from rlzoo import surrogates as S
from rlzoo.algorithms.grpo import Grpo, GrpoConfig
from rlzoo.algorithms.reinforce import UNCLIPPED
from rlzoo.objective import setting
from rlzoo.types import MicroBatch


class SapoConfig(GrpoConfig):
    """Negative advantages are gated a little more sharply."""

    unused: ClassVar[Mapping[str, str]] = UNCLIPPED
    reduction: F.Reduction = setting("rollout", source="verl and TRL code")
    tau_positive: float = setting(1.0, source="verl and TRL code", gt=0)
    """Sharpness of the gate for advantages of 0 or more."""
    tau_negative: float = setting(1.05, source="verl and TRL code", gt=0)
    """Sharpness of the gate for negative advantages."""


class Sapo(Grpo[SapoConfig]):
    """loss = -(4/tau) · sigmoid(tau · (r - 1)) · A, the mean over rollouts of the mean over tokens; tau by the sign of A.

    arXiv:2511.20347, as verl and TRL have it (EXACT). At r = 1 its gradient is GRPO's; away from it, it fades on both sides.

    Sets: GRPO's.

    Normaliser: GRPO's.

    Differs: nothing known. Its value at r = 1 is -2A/tau, so losses of both are not to be compared, only gradients.
    """

    name = "sapo"
    Config = SapoConfig

    def surrogate(self, micro: MicroBatch) -> Tensor:
        log_ratio_BT = F.log_ratio(micro.logps_BT, micro.old_logps_BT)
        settings = self.config
        return S.soft_gate(log_ratio_BT, micro.credit.advantages_BT, settings.tau_positive, settings.tau_negative)
