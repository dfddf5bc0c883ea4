"""What objectives with a teacher share: whose weights read, what they are told, and what follows from it.

A teacher is the same model under other weights or with more to read. It scores the tokens that the student sampled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from rlzoo import functional as F
from rlzoo.data.privileged import reference_prompt
from rlzoo.types import (
    Context,
    Credit,
    CurrentWeights,
    Ema,
    Group,
    Initial,
    Problem,
    Rollout,
    RolloutBatch,
    Snapshot,
    Term,
    Weights,
)

EVIDENCE_METRICS: Mapping[str, tuple[str, str]] = {
    "evidence/auc": ("0-1", "does evidence rank tokens of correct above those of wrong rollouts; 0.5 is chance"),
    "evidence/auc_low": ("0-1", "lower end of its 95 % interval, rollouts as clusters"),
    "evidence/auc_high": ("0-1", "upper end"),
    "evidence/clipped": ("0-1", "share of credited tokens whose weight was clipped"),
    "evidence/mix": ("0-1", "lambda of this step"),
}


BY_MEAN = (
    "advantages differ within a response, and this loss weighs a response as a whole, so only their mean acts: set objective.token=true, or use "
    "a base whose loss is per token."
)


def teacher_weights(
    kind: Literal["policy", "initial", "snapshot", "ema"], *, every: int = 1, decay: float = 0.0
) -> Weights:
    """The weights that a setting names."""
    choices: dict[str, Weights] = {
        "policy": CurrentWeights(),
        "initial": Initial(),
        "snapshot": Snapshot(every),
        "ema": Ema(decay),
    }
    return choices[kind]


def told_reference(problem: Problem, kind: Literal["answer", "trajectory"]) -> Context:
    """The question with its answer or, where one exists, its worked solution beside it; None where the problem carries neither."""
    reference = (problem.solution if kind == "trajectory" else None) or problem.answer
    return None if reference is None else reference_prompt(problem, reference)


def judged(group: Group, correct: bool | None = None) -> list[int]:
    """Rollout numbers of those that were judged; of those alone that were judged correct, or not correct, if asked."""
    verdicts = [rollout.verdict for rollout in group.rollouts]
    return [i for i, v in enumerate(verdicts) if v is not None and v.judged and correct in (None, v.correct)]


def score_of(rollout: Rollout) -> float:
    """What its verifier gave it."""
    return rollout.verdict.reward if rollout.verdict is not None else 0.0


# ---------------------------------------------------------------------------------------------------------
# Evidence: advantages weighed by how two readings of a token differ


def evidence_factor(advantages_BT: Tensor, evidence_BT: Tensor, mix: float, clip: float) -> Tensor:
    """What each token's advantage is multiplied by; the row's sign decides in which direction evidence counts. [B, T]"""
    return F.evidence_weights(evidence_BT, advantages_BT.sum(1, keepdim=True).sign(), mix, clip)


def show_evidence(
    credit: Credit, batch: RolloutBatch, evidence_BT: Tensor, read_BT: Tensor, mix: float, clip: float
) -> Credit:
    """The credit with what `EVIDENCE_METRICS` names and the evidence itself, for display. Advantages are as they were."""
    sign_B1 = credit.advantages_BT.sum(1, keepdim=True).sign()
    found = F.evidence_summary(evidence_BT, sign_B1, read_BT, batch.correct_B, clip)
    told = {**{f"evidence/{name}": value for name, value in found.items()}, "evidence/mix": mix}
    return replace(credit, metrics={**credit.metrics, **told}, evidence_BT=evidence_BT)


# ---------------------------------------------------------------------------------------------------------
# Distillation: the policy drawn to a teacher, whatever was earned


def matching_credit(batch: RolloutBatch, signal: str, *, corrected: bool = False) -> Credit:
    """No advantages, and one term, `match`: a mean over the tokens of judged rows that have the signal's context."""
    told_BT = batch.loss_mask_BT & batch.signal_mask[signal][:, None]
    weight_BT = told_BT.to(batch.rewards_B.dtype)
    term = Term(loss_mask_BT=told_BT, loss_weight_BT=weight_BT, reduction="token", corrected=corrected)
    return Credit(advantages_BT=torch.zeros_like(weight_BT), terms={"match": term})


def sampled_reverse_kl(logps_BT: Tensor, teacher_logps_BT: Tensor) -> Tensor:
    """sg(logp - logp_T) · logp at the sampled tokens: its gradient is that of KL(student || teacher), its value is not. [B, T]"""
    return (logps_BT - teacher_logps_BT).detach() * logps_BT
