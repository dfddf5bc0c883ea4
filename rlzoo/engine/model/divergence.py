"""Divergences between two policies' distributions, in chunks of tokens."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rlzoo import functional as F
from rlzoo.engine.model.logps import logits_of
from rlzoo.types import Divergence, StudentTopK, TeacherTopK


class OutputWeights(NamedTuple):
    """An output layer's weights, whole."""

    weight_VH: Tensor
    bias_V: Tensor | None


class Match(NamedTuple):
    """What a forward pass is to be held against: a teacher's hidden states at some of its response tokens."""

    asked: Divergence
    kept_K: Tensor
    """int64; which of the pass's response tokens the teacher read."""
    teacher_KH: Tensor
    """Its hidden states there."""
    teacher_output: OutputWeights


def matched_divergence(
    student_KH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, match: Match, *, temperature: float, chunk: int
) -> Tensor:
    """Per-token divergence from a teacher's distribution, gradient to the student only; 0 where it did not read. [K]

    At `temperature`, the sampling temperature, unless another was asked for.
    """
    asked, teacher = match.asked, match.teacher_output
    over = temperature if asked.temperature is None else asked.temperature

    def part(own_KH: Tensor, weight: Tensor, bias: Tensor | None, given_KH: Tensor) -> Tensor:
        with torch.no_grad():
            other = logits_of(given_KH, teacher.weight_VH, teacher.bias_V, over).log_softmax(1)
        own = logits_of(own_KH, weight, bias, over).log_softmax(1)
        own, other = restrict_support(own, other, asked.support)
        return F.divergence(own, other, asked.kind, asked.mix)

    read_KH = student_KH[match.kept_K]
    pieces = [
        checkpoint(
            part, read_KH[i : i + chunk], weight_VH, bias_V, match.teacher_KH[i : i + chunk], use_reentrant=False
        )
        for i in range(0, len(read_KH), chunk)
    ]
    wide = torch.promote_types(student_KH.dtype, torch.float32)
    if not pieces:  # no row has such a context: an exact zero that stays in the graph
        return student_KH.sum(1).to(wide) * 0
    values = torch.cat(pieces)
    return values.new_zeros(len(student_KH)).index_put((match.kept_K,), values)


def restrict_support(own: Tensor, other: Tensor, support: object) -> tuple[Tensor, Tensor]:
    """Both log-distributions on the support asked for. The support is chosen on detached probabilities. [K, V] -> [K, k(+1)]"""
    if not isinstance(support, (StudentTopK, TeacherTopK)):
        return own, other
    chooser = own if isinstance(support, StudentTopK) else other
    index = chooser.detach().topk(min(support.k, own.shape[1]), dim=1).indices
    kept = [logps.gather(1, index) for logps in (own, other)]
    if support.tail and index.shape[1] < own.shape[1]:
        # The tail's mass is 1 - sum of the kept; log1mexp of their logsumexp, and it carries gradient.
        kept = [torch.cat([logps, _log1mexp(logps.logsumexp(1, keepdim=True))], 1) for logps in kept]
    elif not support.tail:
        kept = [logps.log_softmax(1) for logps in kept]
    return kept[0], kept[1]


def _log1mexp(log_p: Tensor) -> Tensor:
    """log(1 - e^x) for x <= 0, kept finite where the tail underflows. Same shape"""
    tiny = torch.finfo(log_p.dtype).eps
    return torch.log(-torch.expm1(log_p.clamp(max=-tiny)))
