"""Passes over many rows: how they are cut, and what comes back without gradient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rlzoo.engine.model.sequences import Sequences, lines_of
from rlzoo.engine.model.weights.base import WeightStore
from rlzoo.types import Pooling


class Scores(NamedTuple):
    """What one pass without gradient tells of rows, on the policy's device; 0 at padding."""

    logps_BT: Tensor
    entropy_BT: Tensor
    embeddings_BH: Tensor | None
    values: Mapping[str, Tensor]
    """Outputs of token heads, by name, [B, T]."""


def microbatches(lengths: Sequence[int], budget: int, *, packed: bool = False) -> Iterator[list[int]]:
    """Rows sorted by length, cut so that rows x longest row stays within `budget` tokens; never empty, never split.

    `packed`: long rows together with short ones that fill their lines, cut so that the sum of their lengths stays within it.
    """
    if packed:
        yield from _packed(lengths, budget)
        return
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batch: list[int] = []
    widest = 0
    for i in order:
        widest = max(widest, lengths[i])
        if batch and (len(batch) + 1) * widest > budget:
            yield batch
            batch, widest = [], lengths[i]
        batch.append(i)
    if batch:
        yield batch


def _packed(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    batch: list[int] = []
    total = 0
    for line in lines_of(lengths, min(budget, max(lengths, default=0))):
        size = sum(lengths[i] for i in line)
        if batch and total + size > budget:
            yield batch
            batch, total = [], 0
        batch, total = batch + line, total + size
    if batch:
        yield batch


@torch.no_grad()
def score(
    weights: WeightStore,
    sequences: Sequences,
    *,
    width: int,
    budget: int,
    packed: bool = False,
    pooling: Pooling | None = None,
    logps: bool = True,
    heads: Mapping[str, nn.Module] | None = None,
    padding: Sequence[Sequences] = (),
) -> Scores:
    """Log-probs, entropy and values [B, width] and embeddings [B, H] of rows. `heads`: modules from hidden states to one number.

    `padding`: what is read besides and forgotten, a pass each, so that all ranks make equally many.
    """
    B, device, wide = len(sequences), weights.device, weights.wide
    plane = {"logps": torch.zeros(B, width, dtype=wide, device=device)}
    plane["entropy"] = torch.zeros_like(plane["logps"])
    values = {name: torch.zeros_like(plane["logps"]) for name in heads or {}}
    embeddings_BH = torch.zeros(B, weights.hidden, dtype=wide, device=device) if pooling is not None else None
    for index in microbatches(sequences.lengths, budget, packed=packed):
        outputs = weights.forward(sequences.take(index), pooling=pooling, logps=logps)
        if logps:
            plane["logps"][index] = outputs.to_padded(outputs.logps_K, len(index), width)
            plane["entropy"][index] = outputs.to_padded(outputs.entropy_K, len(index), width)
        for name, module in (heads or {}).items():
            value_K = module(outputs.hidden_KH.to(wide)).squeeze(-1)
            values[name][index] = outputs.to_padded(value_K, len(index), width)
        if embeddings_BH is not None and outputs.embeddings_BH is not None:
            embeddings_BH[index] = outputs.embeddings_BH.to(wide)
    for rows in padding:
        weights.forward(rows, pooling=pooling, logps=logps)
    return Scores(plane["logps"], plane["entropy"], embeddings_BH, values)
