"""GSPO: one importance ratio a response, the geometric mean over its tokens. arXiv:2507.18071."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Generic, TypeVar

from torch import Tensor

from rlzoo import functional as F
from rlzoo import surrogates as S
from rlzoo.algorithms.grpo import Grpo, GrpoConfig
from rlzoo.objective import setting
from rlzoo.types import MicroBatch

PAPER = "arXiv:2507.18071"


class GspoConfig(GrpoConfig):
    """Clips are of the mean ratio, so they are far narrower than a token's."""

    unused: ClassVar[Mapping[str, str]] = {
        "entropy_top": "its ratio is the whole response's, so no token of it can be left out"
    }
    clip_low: float = setting(3e-4, source=f"{PAPER} sec. 5.1; verl code", gt=0, lt=1)
    clip_high: float = setting(4e-4, source=f"{PAPER} sec. 5.1; verl code", gt=0)
    reduction: F.Reduction = setting("rollout", source="a mean over responses: verl code")
    token: bool = setting(False, source=f"{PAPER} sec. 4.3; true is GSPO-token, and verl's code")
    """Each token gets the gradient of its own advantage; equal to the sequence form where a response has one advantage."""


C = TypeVar("C", bound=GspoConfig, covariant=True)


class Gspo(Grpo[C], Generic[C]):
    """s_i = exp(mean over tokens of logp - old logp); loss = -min(s A, clip(s, 1 - low, 1 + high) A), the mean over responses.

    arXiv:2507.18071 eq. 5-7 (EXACT, verl). A token's gradient is s A / |y|. `token` has sg(s) · exp(logp - sg(logp)) for s.

    Sets: GRPO's.

    Normaliser: all judged rollouts of the update with a token.

    Differs: log-ratios are clamped to ±20 a token. Where credit is per token, as CEPO's, the sequence form spreads a token's share
    over its response; use `token`.
    """

    name = "gspo"
    Config = GspoConfig
    exemptions = {"settings": "token tells only where an addition gives the tokens of a response unlike advantages"}

    def by_token(self) -> bool:
        return self.config.token

    def surrogate(self, micro: MicroBatch) -> Tensor:
        log_ratio_BT = F.log_ratio(micro.logps_BT, micro.old_logps_BT)
        log_s_BT = S.sequence_mean(log_ratio_BT, micro.rollouts.response_mask_BT).expand_as(log_ratio_BT)
        if self.config.token:
            log_s_BT = log_s_BT.detach() + micro.logps_BT - micro.logps_BT.detach()
        return F.clipped_surrogate(
            log_s_BT, micro.credit.advantages_BT, self.config.clip_low, self.config.clip_high, self.config.dual_clip
        )
