"""DPO on pairs of the group: a right rollout of a prompt is preferred to each wrong one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

from rlzoo import returns
from rlzoo.objective import Objective, ObjectiveConfig, setting
from rlzoo.types import (
    Context,
    Credit,
    Group,
    InBatchTerm,
    Initial,
    Insert,
    MicroBatch,
    Needs,
    Representations,
    RolloutBatch,
    Signal,
)


class DpoConfig(ObjectiveConfig):
    beta: float = setting(0.1, source="arXiv:2305.18290 app. B", gt=0)
    """How strongly the policy is held to the initial one."""


C = TypeVar("C", bound=DpoConfig, covariant=True)


class Dpo(Objective[C], Generic[C]):
    """h = sum over t of (logp - logp_ref) of the right rollout less that of the wrong one; loss = -log sigmoid(beta h).

    arXiv:2305.18290 eq. 7 (EXACT); pairs drawn from a group are OURS.

    Sets: every pair of a correct and a wrong rollout of one prompt, by verdict; one cut at the limit is wrong as any other. The
    reference is the initial policy, over whole responses, the end token included; it reads prompts that have a pair, and no others.

    Normaliser: a mean over a prompt's pairs, then over the update's prompts that have one.

    Differs: pairs are the policy's own rollouts of this step, and not a fixed set of preferences.
    """

    name = "dpo"
    Config = DpoConfig

    def needs(self, step: int) -> Needs:
        why = "a pair is a right and a wrong rollout of one prompt"
        reference = Signal(name="reference", weights=Initial())
        return Needs(signals=(reference,), sequence_logps=True, min_group=2, because={"min_group": why})

    def contexts(self, signal: str, group: Group) -> Sequence[Context]:
        right = {r.verdict.correct for r in group.rollouts if r.verdict is not None and r.verdict.judged}
        return [Insert("") if len(right) > 1 else None] * len(group.rollouts)

    def assign_credit(self, batch: RolloutBatch) -> Credit:
        return Credit.nothing(batch.sampler_logps_BT)

    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        return {}

    def pair_losses(self, margins_NN: Tensor) -> Tensor:
        """The loss of each pair by its h. [N, N]"""
        return torch.nn.functional.softplus(-self.config.beta * margins_NN)

    def in_batch_losses(self, reps: Representations, rows: RolloutBatch) -> Mapping[str, InBatchTerm]:
        assert reps.sequence_logps_N is not None
        reference_N = rows.signals["reference"].where(rows.response_mask_BT, 0.0).sum(1)
        gain_N = reps.sequence_logps_N - reference_N
        right_N, wrong_N = rows.valid_B & rows.correct_B, rows.valid_B & ~rows.correct_B
        weights_NN = returns.pair_weights(rows.group_ids_B, right_N, wrong_N, gain_N.dtype)
        paired_NN = weights_NN > 0
        losses_NN = self.pair_losses((gain_N[:, None] - gain_N).where(paired_NN, 0.0))
        anchors = int((paired_NN.any(0) | paired_NN.any(1)).sum())
        return {"preference": InBatchTerm(loss=(weights_NN * losses_NN).sum(), anchors=anchors)}
