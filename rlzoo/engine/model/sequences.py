"""Prompts and responses as token lists, and as one tensor: a row a line, or several rows packed into each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rlzoo.types import Group


@dataclass(frozen=True, slots=True)
class Sequences:
    """Prompts and responses as tokens; row i is one sequence, its response at the end."""

    prompts: Sequence[Sequence[int]]
    responses: Sequence[Sequence[int]]
    model_inputs: Sequence[Mapping[str, Tensor]] = ()
    """What else the model's forward takes of each row, laid end to end and not looked at; empty for text."""

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each whole sequence."""
        return [len(p) + len(r) for p, r in zip(self.prompts, self.responses, strict=True)]

    @property
    def width(self) -> int:
        """Tokens of the longest response."""
        return max(map(len, self.responses), default=0)

    def take(self, index: Sequence[int]) -> Sequences:
        """The rows at `index`, in that order."""
        return Sequences(
            [self.prompts[i] for i in index],
            [self.responses[i] for i in index],
            [self.model_inputs[i] for i in index] if self.model_inputs else (),
        )


def sequences_of(groups: Sequence[Group]) -> Sequences:
    """Token rows in (prompt, rollout) order, verdicts or not."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    return Sequences([r.prompt_tokens for r in rollouts], [r.response_tokens for r in rollouts])


class Padded(NamedTuple):
    """Sequences as a model takes them, L lines of them: padding comes last, so that under a causal mask it reaches no real token.

    K runs over the rows' response tokens, row after row.
    """

    ids_LS: Tensor
    rows_K: Tensor
    """int64; which row each response token belongs to."""
    lines_K: Tensor
    """int64; which line it stands in."""
    columns_K: Tensor
    """int64; its position in the response."""
    places_K: Tensor
    """int64; its position in the line."""
    targets_K: Tensor
    counts_B: Tensor
    """Tokens of each response."""
    more: Mapping[str, Tensor]


def pad(sequences: Sequences, device: torch.device) -> Padded:
    """A row a line, on `device`, made on the host: nothing is read back. ids [B, S]"""
    placed = _place(sequences, [(i, 0) for i in range(len(sequences))], device)
    rows = sequences.model_inputs
    more = {name: torch.cat([row[name] for row in rows]).to(device) for name in (rows[0] if rows else ())}
    return placed._replace(more=more)


def lines_of(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Rows in lines of at most `width` tokens, a longer one alone: the longest first, each into the first line with room for it."""
    lines, ends = list[list[int]](), list[int]()
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        number = next((n for n, end in enumerate(ends) if end + lengths[i] <= width), len(lines))
        if number == len(lines):
            lines.append([])
            ends.append(0)
        lines[number].append(i)
        ends[number] += lengths[i]
    return lines


def pack(sequences: Sequences, device: torch.device, *, one_line: bool) -> Padded:
    """Rows laid end to end, each with positions of its own, by which attention keeps them apart. ids [L, S]

    Lines are as long as the longest row: attention by a mask costs the square of a line. `one_line`: all in one, for attention that
    takes the rows one by one wherever they lie.
    """
    lengths = sequences.lengths
    spots, ends = [(0, 0)] * len(lengths), list[int]()
    for number, line in enumerate(lines_of(lengths, sum(lengths) if one_line else max(lengths, default=0))):
        ends.append(0)
        for i in line:
            spots[i] = (number, ends[-1])
            ends[-1] += lengths[i]
    placed = _place(sequences, spots, device)
    positions_LS = torch.zeros(placed.ids_LS.shape, dtype=torch.long)
    for number, end in enumerate(ends):  # what is left over of a line counts as a row of its own
        positions_LS[number, end:] = torch.arange(positions_LS.shape[1] - end)
    for (number, start), length in zip(spots, lengths, strict=True):
        positions_LS[number, start : start + length] = torch.arange(length)
    return placed._replace(more={"position_ids": positions_LS.to(device, non_blocking=True)})


def _place(sequences: Sequences, spots: Sequence[tuple[int, int]], device: torch.device) -> Padded:
    """Rows at their spots, each a line and a place in it."""
    ends = [start + length for (_, start), length in zip(spots, sequences.lengths, strict=True)]
    ids_LS = torch.zeros(max((line for line, _ in spots), default=-1) + 1, max(ends, default=0), dtype=torch.long)
    for (line, start), end, prompt, response in zip(spots, ends, sequences.prompts, sequences.responses, strict=True):
        ids_LS[line, start:end] = torch.tensor([*prompt, *response], dtype=torch.long)
    lines_B, offsets_B = torch.tensor(spots, dtype=torch.long).reshape(-1, 2).unbind(1)
    counts_B = torch.tensor([len(r) for r in sequences.responses], dtype=torch.long)
    starts_B = torch.tensor([len(p) for p in sequences.prompts], dtype=torch.long)
    rows_K = torch.repeat_interleave(torch.arange(len(sequences)), counts_B)
    columns_K = torch.arange(len(rows_K)) - torch.repeat_interleave(counts_B.cumsum(0) - counts_B, counts_B)
    lines_K, places_K = lines_B[rows_K], (offsets_B + starts_B)[rows_K] + columns_K
    made = (ids_LS, rows_K, lines_K, columns_K, places_K, ids_LS[lines_K, places_K], counts_B)
    ids_LS, rows_K, lines_K, columns_K, places_K, targets_K, counts_B = (t.to(device, non_blocking=True) for t in made)
    return Padded(ids_LS, rows_K, lines_K, columns_K, places_K, targets_K, counts_B, {})
