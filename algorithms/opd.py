"""OPD: on-policy distillation from another model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from rlzoo import functional as F
from rlzoo.objective import Objective, ObjectiveConfig, setting
from rlzoo.types import Credit, Divergence, MicroBatch, Needs, OtherModel, RolloutBatch, Signal, Term

RL = "prime-rl orchestrator/algo/opd.py"
OPSD = "arXiv:2601.18734, its code"


class OpdConfig(ObjectiveConfig):
    teacher_path: str = setting("", source="no default: a run names its teacher", tag="OURS")
    """The model that teaches: a folder made by save_pretrained, or a hub name. Its tokenizer must be the policy's."""
    form: Literal["reward", "divergence"] = setting("reward", source=f"{RL}; divergence as TRL's distillation")
    """reward: how much surer the teacher is of a sampled token is its advantage. divergence: whole distributions are matched."""
    clip_low: float = setting(0.2, source="as GRPO's", tag="OURS", gt=0, lt=1)
    """How far the importance ratio may fall below 1 before its gradient is cut; form reward."""
    clip_high: float = setting(0.2, source="as GRPO's", tag="OURS", gt=0)
    """How far it may rise above 1; form reward."""
    beta: float = setting(0.5, source=f"{OPSD}: beta of its scripts", ge=0, le=1)
    """0 = KL(teacher || policy), 1 = KL(policy || teacher), between them Jensen-Shannon; form divergence."""


class Opd(Objective[OpdConfig]):
    """A_t = logp_teacher - logp_old, in PPO's clipped loss; or loss = JSD_beta(teacher || policy) over the whole vocabulary.

    prime-rl's `opd.py` and TRL's distillation (EXACT as far as code goes); the divergence is that of arXiv:2601.18734.

    Sets: all judged rollouts; the verifier's word does not enter. The teacher reads the prompt as the policy was given it, and both are
    taken at the sampling temperature.

    Normaliser: all judged tokens of the update.

    Differs: the teacher scores once a step, and what it says stands for all of the step's updates, where
    prime-rl takes the live policy's log-probs, masks tokens that fell by 0.2 and adds 1e-3 · log²r; the ratio is clipped as GRPO's.
    """

    name = "opd"
    Config = OpdConfig
    exemptions = {
        "equal-groups": "the teacher says what a token is worth, not the group",
        "reinforce": "a teacher is followed; rewards do not enter",
        "learns": "a teacher is followed; the law's bandit has the policy itself as teacher",
    }
    metrics = {
        "teacher/gap": (
            "nats",
            "mean of the policy's less the teacher's log-probs of sampled tokens: KL(policy || teacher)",
        )
    }

    def needs(self, step: int) -> Needs:
        teacher = Signal(name="teacher", weights=OtherModel(self.config.teacher_path))
        because = {"signals": "set objective.teacher_path to a folder made by save_pretrained, or a hub name"}
        if self.config.form == "divergence":
            match = Divergence(signal="teacher", mix=self.config.beta)
            return Needs(signals=(teacher,), divergences=(match,), because=because)
        return Needs(signals=(teacher,), old_logps=True, because=because)

    def assign_credit(self, batch: RolloutBatch) -> Credit:
        mask_BT = batch.loss_mask_BT & batch.signal_mask["teacher"][:, None]
        weight_BT = mask_BT.to(batch.sampler_logps_BT.dtype)
        if self.config.form == "divergence":
            term = Term(loss_mask_BT=mask_BT, loss_weight_BT=weight_BT, reduction="token")
            return Credit(advantages_BT=torch.zeros_like(weight_BT), terms={"match": term})
        assert batch.old_logps_BT is not None
        advantages_BT = torch.where(mask_BT, batch.signals["teacher"] - batch.old_logps_BT, 0.0)
        gap = -float(advantages_BT.sum()) / max(int(mask_BT.sum()), 1)
        term = Term(loss_mask_BT=mask_BT, loss_weight_BT=weight_BT, reduction="token", corrected=True)
        return Credit(advantages_BT=advantages_BT, terms={"policy": term}, metrics={"teacher/gap": gap})

    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        if self.config.form == "divergence":
            return {"match": micro.divergences["teacher"]}
        log_ratio_BT = F.log_ratio(micro.logps_BT, micro.old_logps_BT)
        advantages_BT = micro.credit.advantages_BT
        return {"policy": F.clipped_surrogate(log_ratio_BT, advantages_BT, self.config.clip_low, self.config.clip_high)}
