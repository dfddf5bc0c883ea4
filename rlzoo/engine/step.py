"""One rollout step as one thing: its groups, tensors, needs, credit and costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

from rlzoo.engine.model.sequences import Sequences
from rlzoo.types import Credit, Group, Needs, RolloutBatch

Prompts = Sequence[tuple[int, ...] | None]
"""Each row's prompt tokens under a context; None where it has none."""


@dataclass(slots=True)
class Costs:
    """What was sampled and passed through the model, prompts included, over all ranks. The one place where it is counted."""

    prompts: int = 0
    rollouts: int = 0
    gen_tokens: int = 0
    prefill_tokens: int = 0
    train_tokens: int = 0
    scoring_tokens: int = 0
    """Of passes for old log-probs, which any objective with several updates costs."""
    extra_tokens: int = 0
    """Of forward passes that only the objective, or a measurement, asked for."""
    heavier: float = 0.0
    """Of those through other models: tokens times the parameters by which such a model exceeds the policy, or falls below it."""

    def sampled(self, groups: Sequence[Group]) -> None:
        """Rollouts of these groups were drawn, whatever becomes of them."""
        self.prompts += len(groups)
        self.rollouts += sum(len(group.rollouts) for group in groups)
        self.gen_tokens += sum(len(rollout.response_tokens) for group in groups for rollout in group.rollouts)
        self.prefill_tokens += sum(len(group.rollouts[0].prompt_tokens) for group in groups)

    def trained(self, lengths: Sequence[int]) -> None:
        """Rows of these lengths went forward and backward."""
        self.train_tokens += sum(lengths)

    def rescored(self, sequences: Sequences) -> None:
        """A forward pass was made for old log-probs."""
        self.scoring_tokens += sum(sequences.lengths)

    def read(self, sequences: Sequences, heavier: int = 0) -> None:
        """A forward pass was made that the objective asked for, with so many parameters more than the policy's."""
        self.extra_tokens += sum(sequences.lengths)
        self.heavier += sum(sequences.lengths) * heavier

    def add(self, other: Costs) -> None:
        """Another step's costs on top."""
        for spec in fields(other):
            setattr(self, spec.name, getattr(self, spec.name) + getattr(other, spec.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """All of a step, all ranks. Stages return it with more in it; only its costs are counted in place."""

    number: int
    """Counted from 1."""
    needs: Needs
    groups: Sequence[Group]
    """As the objective is told of them."""
    verified: Sequence[Group] | None = None
    """As the verifier judged them, in a control arm; None where that is what the objective is told."""
    batch: RolloutBatch
    sequences: Sequences
    costs: Costs = field(default_factory=Costs)
    dropped: int = 0
    """Prompts that the objective did not keep."""
    contexts: Mapping[str, Prompts] = field(default_factory=dict)
    """By signal. Divergences use them again."""
    crowded: Mapping[str, int] = field(default_factory=dict)
    """By signal, rows that the objective gave a context for which the model has no room beside the response."""
    old_logps_BT: Tensor | None = None
    """Of all rows, if a pass over them had to be made anyway."""
    entropy_BT: Tensor | None = None
    """Of the policy at the step's start, as far as passes before the updates tell it; NaN in rows that none of them read."""
    credit: Credit
    """Nothing until it is assigned."""

    @property
    def judged(self) -> Sequence[Group]:
        """The groups with the verifier's own verdicts."""
        return self.groups if self.verified is None else self.verified

    @property
    def truth(self) -> RolloutBatch:
        """The batch with the verifier's own correctness beside what the objective was told of rewards."""
        if self.verified is None:
            return self.batch
        right = [r.verdict is not None and r.verdict.correct for group in self.verified for r in group.rollouts]
        return replace(self.batch, correct_B=torch.tensor(right, device=self.batch.correct_B.device))
