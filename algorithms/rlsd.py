"""RLSD: token credit from what a teacher that was told the answer thinks of each token. arXiv:2604.03128."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor

from rlzoo import functional as F
from rlzoo.algorithms.grpo import Grpo, GrpoConfig
from rlzoo.algorithms.teaching import (
    BY_MEAN,
    EVIDENCE_METRICS,
    evidence_factor,
    show_evidence,
    teacher_weights,
    told_reference,
)
from rlzoo.objective import setting
from rlzoo.types import Context, Credit, Group, MicroBatch, Needs, RolloutBatch, Signal

PAPER = "arXiv:2604.03128"
CODE = "iie-ycx/RLSD dp_opsd_actor.py"


class RlsdConfig(GrpoConfig):
    """Paper values where paper and script disagree: the script has decay_steps 60, teacher_every 20 and a stored trajectory."""

    clip_high: float = setting(0.28, source=f"{CODE}", gt=0)
    reduction: Literal["token", "rollout", "group", "constant"] = setting("token", source=f"{CODE}")
    mix: float = setting(0.5, source=f"{CODE}", ge=0, le=1)
    """lambda_0: share of a token's advantage that evidence may scale, before the schedule."""
    schedule: Literal["linear", "constant"] = setting("linear", source=f"{CODE}")
    """linear: the share falls to 0 over `decay_steps`; then the teacher is left out."""
    decay_steps: int = setting(50, source=f"{PAPER}; the released script has 60", tag="EXACT-2", ge=1)
    """Rollout steps after which the share is 0; the first step has already lost one of them."""
    evidence_clip: float = setting(0.2, source=f"{CODE}: clip_low where unset", ge=0, le=1)
    """epsilon_w: how far from 1 a token's weight may go."""
    student: Literal["current", "old"] = setting("current", source=f"{CODE}; ahmedheakl/CEPO has old")
    """What the teacher is compared with: the policy of each micro-batch, or that of the step's start."""
    teacher_context: Literal["answer", "trajectory"] = setting(
        "answer", source=f"{PAPER}; the released config names a stored trajectory", tag="EXACT-2"
    )
    """What the teacher is told: the final answer, or a worked solution where the data carry one."""
    teacher: Literal["policy", "snapshot", "initial"] = setting("snapshot", source=f"{CODE}; its config's default is 0")
    """Whose weights read: the current ones, a copy taken every `teacher_every` steps, or the initial ones."""
    teacher_every: int = setting(10, source=f"{PAPER}, as ahmedheakl/CEPO says; the script has 20", tag="EXACT-2", ge=1)
    """Steps between two copies, for teacher snapshot."""


C = TypeVar("C", bound=RlsdConfig, covariant=True)


class Rlsd(Grpo[C], Generic[C]):
    """A_t = A · [(1 - lambda) + lambda · clip(exp(sign(A) · D_t), 1 ± eps_w)],  D_t = logp(y_t | told the answer) - logp(y_t).

    arXiv:2604.03128 and `_build_stgca_advantages` (EXACT), then the base's loss, GRPO's unless another is named.
    lambda_s = lambda_0 · max(0, 1 - s / decay).

    Sets: the teacher reads the question with its answer beside it and a request to solve it one's own way; rows of prompts
    whose rewards are equal, or without an answer, are not read and keep A.

    Normaliser: all response tokens of the update.

    Differs: the teacher is told the answer alone, as in the paper, and not a stored trajectory; decay 50 and a copy every 10
    steps are the paper's. With student current, weights are made anew in every micro-batch: recorded advantages are then the
    base's, and recorded evidence is against the sampler's log-probs.
    """

    name = "rlsd"
    Config = RlsdConfig
    addition = True
    metrics = EVIDENCE_METRICS
    exemptions = {
        "at-ratio-one": "with student current, the weight of an advantage is made from the micro-batch's own log-probs",
        "finite-differences": "that weight follows the policy and is detached on purpose",
    }

    def mix(self, step: int) -> float:
        """lambda_s; the first step has lambda_0 · (1 - 1 / decay)."""
        decay = 1.0 if self.config.schedule == "constant" else max(0.0, 1 - step / self.config.decay_steps)
        return self.config.mix * decay

    def needs(self, step: int) -> Needs:
        below = super().needs(step)
        if not self.mix(step):
            return below
        weights = teacher_weights(self.config.teacher, every=self.config.teacher_every)
        teacher = Signal(name="informed", weights=weights, rows="credited")
        return replace(
            below,
            signals=(*below.signals, teacher),
            old_logps=below.old_logps or self.config.student == "old",
            answers=True,
            because={**below.because, "answers": "its teacher is told the right answer"},
        )

    def contexts(self, signal: str, group: Group) -> Sequence[Context]:
        if signal != "informed":
            return super().contexts(signal, group)
        return [told_reference(group.problem, self.config.teacher_context)] * len(group.rollouts)

    def evidence(self, batch: RolloutBatch, student_BT: Tensor | None) -> tuple[Tensor, Tensor]:
        """Log-ratio of teacher and student, 0 where the teacher did not read, and where it did. [B, T], [B, T] bool"""
        assert student_BT is not None
        read_BT = batch.loss_mask_BT & batch.signal_mask["informed"][:, None]
        return torch.where(read_BT, F.log_ratio(batch.signals["informed"], student_BT), 0.0), read_BT

    def assign_credit(self, batch: RolloutBatch) -> Credit:
        credit, mix, clip = super().assign_credit(batch), self.mix(batch.step), self.config.evidence_clip
        if not mix:
            return replace(credit, metrics={**credit.metrics, "evidence/mix": 0.0})
        old = self.config.student == "old"
        evidence_BT, read_BT = self.evidence(batch, batch.old_logps_BT if old else batch.sampler_logps_BT)
        shown = show_evidence(credit, batch, evidence_BT, read_BT, mix, clip)
        shown = replace(shown, warnings=credit.warnings + (BY_MEAN,) * (not self.by_token()))
        if not old:
            return shown
        factor_BT = evidence_factor(credit.advantages_BT, evidence_BT, mix, clip)
        return replace(shown, advantages_BT=credit.advantages_BT * factor_BT)

    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        mix = self.mix(micro.rollouts.step)
        if self.config.student == "old" or not mix:
            return super().token_losses(micro)
        advantages_BT = micro.credit.advantages_BT
        evidence_BT, _ = self.evidence(micro.rollouts, micro.logps_BT.detach())
        factor_BT = evidence_factor(advantages_BT, evidence_BT, mix, self.config.evidence_clip)
        credit = replace(micro.credit, advantages_BT=advantages_BT * factor_BT)
        return super().token_losses(replace(micro, credit=credit))
