"""IPO on pairs of the group: the preference is held at a margin instead of grown without end."""

from __future__ import annotations

from torch import Tensor

from rlzoo.algorithms.dpo import Dpo, DpoConfig
from rlzoo.objective import setting


class IpoConfig(DpoConfig):
    beta: float = setting(0.1, source="as DPO's; the paper calls it tau and fixes none", tag="OURS", gt=0)
    """How strongly the policy is held to the initial one: the margin that h is drawn to is 1 / (2 beta)."""


class Ipo(Dpo[IpoConfig]):
    """loss = (h - 1 / (2 beta))^2 with DPO's h, of sums over tokens.

    arXiv:2310.12036 eq. 17 (EXACT); pairs drawn from a group are OURS.

    Sets: as DPO: every pair of a correct and a wrong rollout of one prompt.

    Normaliser: a mean over a prompt's pairs, then over the update's prompts that have one.

    Differs: log-probs are summed over a response, as in the paper; TRL averages them over its tokens.
    """

    name = "ipo"
    Config = IpoConfig

    def pair_losses(self, margins_NN: Tensor) -> Tensor:
        return (margins_NN - 1 / (2 * self.config.beta)).square()
