"""LUSPO: GSPO whose responses count by their length, so that none is favoured for being short. arXiv:2602.05261."""

from __future__ import annotations

from torch import Tensor

from rlzoo.algorithms.gspo import Gspo, GspoConfig
from rlzoo.objective import setting
from rlzoo.types import RolloutBatch

SOURCE = "arXiv:2602.05261 sec. 5.1, by TRL's index of papers"


class LuspoConfig(GspoConfig):
    """Of the advantage nothing is published beside GRPO's."""

    clip_low: float = setting(2e-3, source=SOURCE, tag="EXACT-2", gt=0, lt=1)
    clip_high: float = setting(2.5e-3, source=SOURCE, tag="EXACT-2", gt=0)


class Luspo(Gspo[LuspoConfig]):
    """loss = mean over responses of |y_i| · -min(s A, clip(s, 1 - low, 1 + high) A); s the mean ratio of GSPO.

    arXiv:2602.05261, as TRL has it (EXACT). The length stands in the loss weight; a token's gradient is s A / rollouts.

    Sets: GRPO's.

    Normaliser: all judged rollouts of the update with a token, whatever their lengths.

    Differs: losses grow with the responses' length, so a learning rate or a gradient norm of GSPO's means another thing here.
    """

    name = "luspo"
    Config = LuspoConfig

    def acting(self, batch: RolloutBatch, advantages_BT: Tensor) -> Tensor:
        return super().acting(batch, advantages_BT) * batch.loss_mask_BT.sum(1, keepdim=True)
