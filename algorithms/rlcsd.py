"""RLCSD: token credit from what a correct sibling explains and incorrect ones do not. arXiv:2606.11709."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Generic, TypeVar

import torch
from torch import Tensor

from rlzoo.algorithms.grpo import Grpo, GrpoConfig
from rlzoo.algorithms.teaching import BY_MEAN, judged, score_of
from rlzoo.data.privileged import reference_prompt
from rlzoo.objective import setting
from rlzoo.types import Context, Credit, Group, Needs, RolloutBatch, Signal

PAPER = "arXiv:2606.11709"
CODE = "prime-rl rlcsd.py"
OTHERS = "no published default: a setting in the paper's code; this is a re-implementation's"


class RlcsdConfig(GrpoConfig):
    std_ddof: int = setting(0, source=f"{PAPER} eq. 8, {CODE}", ge=0, le=1)
    lam: float = setting(0.5, source=OTHERS, tag="OURS", ge=0)
    """Largest amount by which contrast may move an advantage."""
    tau: float = setting(1.3, source=OTHERS, tag="OURS", gt=0)
    """Evidence at which it has moved by lam · tanh(1), in nats."""
    delta: float = setting(0.02, source=OTHERS, tag="OURS", ge=0)
    """Tokens whose advantage would move by no more than this keep it."""
    eta: float = setting(0.5, source=OTHERS, tag="OURS", ge=0)
    """Weight of the moved tokens' mean beside that of the others."""
    wrong_siblings: int = setting(1, source=OTHERS, tag="OURS", ge=1)
    """K: how many incorrect siblings are averaged over, each a pass of its own; fewer where there are fewer."""
    wrong_below: float = setting(0.5, source=f"{CODE}: threshold - gap, a setting there", tag="INFERRED", gt=0, le=1)
    """An incorrect rollout that scored this much or more is no wrong sibling."""


C = TypeVar("C", bound=RlcsdConfig, covariant=True)


class Rlcsd(Grpo[C], Generic[C]):
    """A_t = eta · (L / M) · clamp(A + m_t) where abs(m_t) > delta, else A · L / (L - M);  m_t = lam · tanh(e_t / tau),
    e_t = logp(y_t | right) - log mean over k of p(y_t | wrong_k).

    arXiv:2606.11709 eq. 7-15 as in prime-rl's code (EXACT as far as code goes), then GRPO's loss. M of the row's L tokens are
    moved; clamp holds the sign of A at 0, and for A = 0 lets only raises pass.

    Sets: the teacher, with the current weights, reads a rollout behind the full text of a correct sibling, and behind each of
    up to K incorrect ones, never behind itself; which ones is decided by a hash of problem, visit and rollout. Rollouts without
    siblings of both kinds keep A.

    Normaliser: GRPO's; L / M and L / (L - M) give both kinds of tokens a mean of their own within the row.

    Differs: siblings are drawn by a hash where the code draws at random; correct is the verifier's word and no threshold; no
    default of lam, tau, delta, eta and K was found in the paper's own words.
    """

    name = "rlcsd"
    Config = RlcsdConfig
    addition = True
    metrics = {
        "contrast/rows": ("0-1", "share of judged rollouts with a correct and an incorrect sibling"),
        "contrast/moved": ("0-1", "share of their tokens whose advantage was moved"),
    }

    def needs(self, step: int) -> Needs:
        below = super().needs(step)
        why = "a rollout is read behind a correct and an incorrect sibling"
        return replace(
            below,
            signals=(*below.signals, Signal(name="right"), *(Signal(name=name) for name in self.wrong())),
            min_group=max(below.min_group, 3),
            because={**below.because, "min_group": why},
        )

    def wrong(self) -> list[str]:
        """Names of the signals behind incorrect siblings."""
        return [f"wrong_{k}" for k in range(1, self.config.wrong_siblings + 1)]

    def contexts(self, signal: str, group: Group) -> Sequence[Context]:
        if signal not in ("right", *self.wrong()):
            return super().contexts(signal, group)
        right = judged(group, correct=True)
        wrong = [i for i in judged(group, correct=False) if score_of(group.rollouts[i]) < self.config.wrong_below]
        place = 0 if signal == "right" else self.wrong().index(signal)
        told: list[Context] = []
        for i in range(len(group.rollouts)):
            found = [shuffled(kind, group, i) for kind in (right, wrong)]
            chosen = found[0 if signal == "right" else 1][place:] if all(found) else []
            told.append(reference_prompt(group.problem, group.rollouts[chosen[0]].text) if chosen else None)
        return told

    def contrast(self, batch: RolloutBatch) -> tuple[Tensor, Tensor]:
        """m_t, 0 where nothing was read, and the tokens of rows with both kinds of siblings. [B, T], [B, T] bool"""
        heard_KB1 = torch.stack([batch.signal_mask[name] for name in self.wrong()])[:, :, None]
        read_BT = batch.loss_mask_BT & (batch.signal_mask["right"][:, None] & heard_KB1.any(0))
        each_KBT = torch.stack([batch.signals[name] for name in self.wrong()]).masked_fill(~heard_KB1, -math.inf)
        wrong_BT = each_KBT.masked_fill(~read_BT, 0.0).logsumexp(0) - heard_KB1.sum(0).clamp(min=1).log()
        evidence_BT = torch.where(read_BT, batch.signals["right"] - wrong_BT, 0.0)
        return self.config.lam * (evidence_BT / self.config.tau).tanh(), read_BT

    def assign_credit(self, batch: RolloutBatch) -> Credit:
        credit = super().assign_credit(batch)
        before_BT = credit.advantages_BT
        shift_BT, read_BT = self.contrast(batch)
        moved_BT = read_BT & (shift_BT.abs() > self.config.delta)
        M_B1, L_B1 = moved_BT.sum(1, keepdim=True), batch.loss_mask_BT.sum(1, keepdim=True)
        shifted_BT = before_BT + shift_BT
        held_BT = torch.where(before_BT < 0, shifted_BT.clamp(max=0), shifted_BT.clamp(min=0))
        after_BT = torch.where(
            moved_BT,
            self.config.eta * held_BT * L_B1 / M_B1.clamp(min=1),
            before_BT * L_B1 / (L_B1 - M_B1).clamp(min=1),
        )
        acting_BT = self.acting(batch, after_BT)  # also where A = 0 has moved
        policy = replace(credit.terms["policy"], loss_weight_BT=acting_BT)
        rows = read_BT.any(1).sum() / batch.valid_B.sum().clamp(min=1)
        told = {"contrast/rows": float(rows), "contrast/moved": float(moved_BT.sum() / read_BT.sum().clamp(min=1))}
        return replace(
            credit,
            advantages_BT=after_BT,
            terms={**credit.terms, "policy": policy},
            metrics={**credit.metrics, **told},
            evidence_BT=shift_BT,
            warnings=credit.warnings + (BY_MEAN,) * (not self.by_token()),
        )


def shuffled(rollouts: Sequence[int], group: Group, reader: int) -> list[int]:
    """The rollouts but the reader itself, in an order that the problem, its visit and the reader decide in every process."""

    def key(other: int) -> bytes:
        parts = (group.problem.id, group.visit, reader, other)
        return blake2b("\x1f".join(map(str, parts)).encode(errors="replace"), digest_size=8).digest()

    return sorted((i for i in rollouts if i != reader), key=key)
