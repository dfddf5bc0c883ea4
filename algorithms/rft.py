"""RFT: fine-tuning on the policy's own correct rollouts."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from rlzoo.objective import Objective, ObjectiveConfig
from rlzoo.types import Credit, MicroBatch, RolloutBatch, Term


class Rft(Objective[ObjectiveConfig]):
    """loss = -logp over the tokens of correct rollouts, no ratio and no clip.

    arXiv:2308.01825 (INFERRED), with rollouts of the present policy in place of a set gathered before.

    Sets: correct rollouts by verdict, whatever their reward was shaped to; wrong ones say nothing.

    Normaliser: the tokens of the update's correct rollouts.

    Differs: nothing is sampled once and kept, and equal responses are not taken out; weights that correct rollout/trainer mismatch do
    not enter, since nothing is weighed by a ratio.
    """

    name = "rft"
    Config = ObjectiveConfig
    exemptions = {
        "equal-groups": "a prompt answered right every time is learned from, too",
        "off-policy": "right answers are learned from as they stand, whoever wrote them",
    }

    def assign_credit(self, batch: RolloutBatch) -> Credit:
        right_BT = batch.loss_mask_BT & batch.correct_B[:, None]
        weight_BT = right_BT.to(batch.rewards_B.dtype)
        term = Term(loss_mask_BT=right_BT, loss_weight_BT=weight_BT, reduction="token")
        return Credit(advantages_BT=weight_BT.clone(), terms={"likelihood": term})

    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        return {"likelihood": -micro.logps_BT}
