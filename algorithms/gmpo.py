"""GMPO: the geometric mean of a response's ratios, clipped token by token. arXiv:2507.20673."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from rlzoo import functional as F
from rlzoo import surrogates as S
from rlzoo.algorithms.grpo import Grpo, GrpoConfig
from rlzoo.objective import setting
from rlzoo.types import MicroBatch


class GmpoConfig(GrpoConfig):
    """Clips are of log-ratios: 0.4 lets ratios be in (0.67, 1.49)."""

    unused: ClassVar[Mapping[str, str]] = {
        "dual_clip": "a product of ratios is bounded by other tokens, not by itself",
        "entropy_top": "its ratio is the whole response's, so no token of it can be left out",
    }
    reduction: F.Reduction = setting("rollout", source="a mean over responses: verl and TRL code")
    clip_low: float = setting(0.4, source="TRL gmpo, verl `geo_mean`", gt=0)
    """How far a token's log-ratio may fall where the advantage is negative."""
    clip_high: float = setting(0.4, source="TRL gmpo, verl `geo_mean`", gt=0)
    """How far a token's log-ratio may rise where the advantage is positive."""


class Gmpo(Grpo[GmpoConfig]):
    """loss = -A · exp(mean over tokens of rho_t), the mean over responses; rho_t = min(log r_t, high) for A > 0, max(log r_t, -low) for A < 0.

    arXiv:2507.20673, as TRL and verl have it (EXACT).

    Sets: GRPO's.

    Normaliser: all judged rollouts of the update with a token.

    Differs: log-ratios are clamped to ±20 a token.
    """

    name = "gmpo"
    Config = GmpoConfig

    def by_token(self) -> bool:
        return False

    def surrogate(self, micro: MicroBatch) -> Tensor:
        return S.geometric_surrogate(
            F.log_ratio(micro.logps_BT, micro.old_logps_BT),
            micro.credit.advantages_BT,
            micro.rollouts.response_mask_BT,
            self.config.clip_low,
            self.config.clip_high,
        )
