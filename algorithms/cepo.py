"""CEPO: token credit from contrastive evidence, what the right answer explains and a wrong one does not. arXiv:2605.19436."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Generic, Literal, TypeVar

import torch

from rlzoo.algorithms.grpo import Grpo, GrpoConfig
from rlzoo.algorithms.teaching import (
    BY_MEAN,
    EVIDENCE_METRICS,
    evidence_factor,
    judged,
    score_of,
    show_evidence,
    teacher_weights,
)
from rlzoo.data.privileged import hint
from rlzoo.objective import setting
from rlzoo.types import (
    Context,
    Credit,
    Group,
    Insert,
    Needs,
    Rollout,
    RolloutBatch,
    Signal,
)

PAPER = "arXiv:2605.19436"
CODE = "ahmedheakl/CEPO"
UNBOXED_CHARS = 50
"""Of a rejected response without a final answer, this many decoded characters stand for it (CEPO's code)."""


class CepoConfig(GrpoConfig):
    """Paper values where paper and script disagree: the script has evidence_clip 0.2."""

    clip_high: float = setting(0.28, source=f"{CODE} cepo.sh", gt=0)
    dual_clip: float | None = setting(3.0, source=f"EasyR1's default, under {CODE}", gt=1)
    reduction: Literal["token", "rollout", "group", "constant"] = setting(
        "token", source=f"EasyR1's default, under {CODE}"
    )
    mix: float = setting(0.5, source=f"{PAPER} sec. 4 and cepo.sh; the config's default is 1.0", ge=0, le=1)
    """lambda_0: share of a token's advantage that evidence may scale, at the first step."""
    schedule: Literal["linear", "constant"] = setting("linear", source=f"{CODE} ray_trainer.py:fit")
    """linear: the share falls to 0 over `warm_steps`; then both teachers are left out."""
    warm_steps: int = setting(25, source=f"{CODE} cepo.sh; the config's default is 100", ge=1)
    """T_warm, in rollout steps."""
    evidence_clip: float = setting(0.5, source=f"{PAPER} and README; cepo.sh and the config have 0.2", ge=0, le=1)
    """epsilon_w: how far from 1 a token's weight may go."""
    empty_negative: Literal["grpo", "rlsd"] = setting("grpo", source=f"{CODE}; the paper says rlsd")
    """For a group without a rejected rollout. grpo: no evidence. rlsd: the student itself is the negative reading."""
    contrast: Literal["answer", "prefix", "suffix"] = setting(
        "answer", source=f"{CODE}; the others are its CoT mode, worse in table 5"
    )
    """What the teachers are told: the final answer, or the first or last tokens of the best correct rollout, the answer where there is none,
    and of the worst."""
    contrast_tokens: int = setting(200, source=f"{CODE}; cepo.sh has 512", ge=1)
    """How many tokens, for prefix and suffix."""
    teacher: Literal["policy", "snapshot", "initial"] = setting(
        "policy", source=f"{CODE} and {PAPER} table 6: the actor is best"
    )
    """Whose weights read: the current ones, a copy taken every `teacher_every` steps, or the initial ones."""
    teacher_every: int = setting(25, source=f"{PAPER} table 6", tag="EXACT-2", ge=1)
    """Steps between two copies, for teacher snapshot."""


C = TypeVar("C", bound=CepoConfig, covariant=True)


class Cepo(Grpo[C], Generic[C]):
    """A_t = A · [(1 - lambda) + lambda · clip(exp(sign(A) · D_t), 1 ± eps_w)],  D_t = logp(y_t | right) - logp(y_t | rejected).

    arXiv:2605.19436 and `apply_cepo_weighting` (EXACT), then the base's loss, GRPO's unless another is named.
    lambda_s = lambda_0 · max(0, 1 - (s - 1) / T_warm).

    Sets: `right` is the prompt's answer, `rejected` the final answer of its lowest-scoring incorrect rollout, the first of equals;
    one pair for all rollouts of a prompt; an empty one is no evidence. Groups whose rewards are equal are not read.

    Normaliser: all response tokens of the update.

    Differs: evidence_clip is the paper's 0.5, not the script's 0.2; a group without a rejected rollout falls back to GRPO, as in
    the code, and not to RLSD, as in the paper.
    """

    name = "cepo"
    Config = CepoConfig
    addition = True
    metrics = EVIDENCE_METRICS

    def mix(self, step: int) -> float:
        """lambda_s; the first step has lambda_0 itself, since the code decays after use."""
        decay = 1.0 if self.config.schedule == "constant" else max(0.0, 1 - (step - 1) / self.config.warm_steps)
        return self.config.mix * decay

    def needs(self, step: int) -> Needs:
        below = super().needs(step)
        if not self.mix(step):
            return below
        weights = teacher_weights(self.config.teacher, every=self.config.teacher_every)
        teachers = tuple(Signal(name=name, weights=weights, rows="credited") for name in ("positive", "negative"))
        why = "its positive teacher is told the right answer"
        return replace(
            below, signals=(*below.signals, *teachers), answers=True, because={**below.because, "answers": why}
        )

    def contexts(self, signal: str, group: Group) -> Sequence[Context]:
        if signal not in ("positive", "negative"):
            return super().contexts(signal, group)
        rejected = [group.rollouts[i] for i in judged(group, correct=False)]
        worst = min(rejected, key=score_of, default=None)  # the first of equals
        if signal == "positive":
            best = max((group.rollouts[i] for i in judged(group, correct=True)), key=score_of, default=None)
            by_answer = self.config.contrast == "answer" or best is None
            told: Context = hint(group.problem.answer or "") if by_answer else self._excerpt(best)
        elif worst is None:
            told = None if self.config.empty_negative == "grpo" else Insert("")
        elif self.config.contrast == "answer":
            rejected_answer = (worst.verdict.extracted if worst.verdict else None) or worst.text[:UNBOXED_CHARS]
            told = hint(rejected_answer if rejected_answer.strip() else group.problem.answer or "")
        else:
            told = self._excerpt(worst)
        return [told] * len(group.rollouts)

    def _excerpt(self, rollout: Rollout | None) -> Context:
        if rollout is None:
            return None
        count = self.config.contrast_tokens
        first = self.config.contrast == "prefix"
        return Insert("", rollout.response_tokens[:count] if first else rollout.response_tokens[-count:])

    def assign_credit(self, batch: RolloutBatch) -> Credit:
        credit = super().assign_credit(batch)
        mix = self.mix(batch.step)
        if not mix:
            return replace(credit, metrics={**credit.metrics, "evidence/mix": 0.0})
        both_B = batch.signal_mask["positive"] & batch.signal_mask["negative"]
        read_BT = batch.loss_mask_BT & both_B[:, None]
        evidence_BT = torch.where(read_BT, batch.signals["positive"] - batch.signals["negative"], 0.0)
        shown = show_evidence(credit, batch, evidence_BT, read_BT, mix, self.config.evidence_clip)
        factor_BT = evidence_factor(credit.advantages_BT, evidence_BT, mix, self.config.evidence_clip)
        told = credit.warnings + (BY_MEAN,) * (not self.by_token())
        return replace(shown, advantages_BT=credit.advantages_BT * factor_BT, warnings=told)
