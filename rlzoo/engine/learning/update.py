"""One optimizer update: which rows, what they are worth, and which of them each rank passes through the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from rlzoo.engine.learning.batch import balance_by_length
from rlzoo.engine.model.passes import microbatches
from rlzoo.engine.model.sequences import Sequences
from rlzoo.engine.ranks import Ranks
from rlzoo.engine.step import Prompts, Step
from rlzoo.objective import update_weights
from rlzoo.training_config import LearnerConfig
from rlzoo.types import Credit, RolloutBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One optimizer update, ready for its backward passes: rows, what they are worth, and what they are compared with."""

    batch: RolloutBatch
    credit: Credit
    sequences: Sequences
    weights: Mapping[str, Tensor]
    """Reduction weights by term, [N, T]."""
    old_logps_NT: Tensor | None
    """None: the weights are still those of the step's start, so the update's own forward gives them."""
    start_logps_NT: Tensor | None = None
    """By the weights of the step's start, where a pass has told them: what an own forward of the step's first update would give."""
    embedding_grads_NH: Tensor | None = None
    """Gradient of the in-batch losses by embedding."""
    sequence_logp_grads_N: Tensor | None = None
    """Gradient of the in-batch losses by summed log-prob."""
    prompts: Mapping[str, Prompts] = field(default_factory=dict)
    """By signal, each row's prompt under its context; for divergences."""
    sampled_old: bool = False
    """`old_logps_NT` are the sampler's, which says nothing of how far it is from the trainer."""
    fresh: bool = False
    """The first of its step, so that its own forward is by the weights that sampled."""

    def active(self) -> Tensor:
        """Rows that can change the gradient. [N] bool"""
        return self._acted_on(self.credit.terms)

    def learning(self) -> Tensor:
        """Rows from which something is learned: those that a policy term or an in-batch loss acts on; all active ones of an objective
        without a policy term. What only holds the policy where it is, such as a KL term beside one, does not count. [N] bool"""
        policy = [name for name, term in self.credit.terms.items() if term.corrected]
        return self._acted_on(policy or self.credit.terms)

    def _acted_on(self, terms: Iterable[str]) -> Tensor:
        """Rows that one of these terms, or an in-batch loss, weighs. [N] bool"""
        acting_N = torch.zeros_like(self.batch.judged_B)
        for name in terms:
            acting_N |= (self.weights[name] * self.credit.terms[name].loss_weight_BT != 0).any(1)
        if self.embedding_grads_NH is not None:
            acting_N |= (self.embedding_grads_NH != 0).any(1)
        if self.sequence_logp_grads_N is not None:
            acting_N |= self.sequence_logp_grads_N != 0
        return acting_N & self.batch.response_mask_BT.any(1)


def build_update(step: Step, index_N: Tensor, old_logps_BT: Tensor | None) -> Update:
    """The update made of the step's rows at `index_N` (int64), skipped ones included, with denominators counted over exactly those."""
    batch, credit, where = step.batch.rows(index_N), step.credit.rows(index_N), index_N.tolist()
    return Update(
        batch=batch,
        credit=credit,
        sequences=step.sequences.take(where),
        weights=update_weights(credit, batch),
        old_logps_NT=None if old_logps_BT is None else old_logps_BT[index_N],
        start_logps_NT=None if step.old_logps_BT is None else step.old_logps_BT[index_N],
        prompts={name: [prompts[i] for i in where] for name, prompts in step.contexts.items()},
    )


class Share(NamedTuple):
    """Rows of an update that one rank passes through the model at once."""

    rows: list[int]
    weighted: bool
    """False: only to keep step with the other ranks, at weight zero."""
    last: bool


class Schedule(NamedTuple):
    """An update's passes."""

    chosen: Sequence[int]
    """Rows that are trained, over all ranks."""
    shares: Sequence[Share]
    """This rank's; all ranks have equally many."""


def schedule(update: Update, settings: LearnerConfig, ranks: Ranks) -> Schedule:
    """Who passes what: rows that can change the gradient, dealt out by length, short ranks repeating a row at weight zero."""
    active_N = update.active() if settings.skip else update.batch.response_mask_BT.any(1)
    chosen: list[int] = active_N.nonzero().squeeze(1).tolist()
    lengths = update.sequences.lengths
    parts = balance_by_length([lengths[i] for i in chosen], ranks.world)
    budget, packed = settings.tokens_per_microbatch, settings.packing
    cuts = [list(microbatches([lengths[chosen[i]] for i in p], budget, packed=packed)) for p in parts]
    mine, cut, passes = parts[ranks.rank], cuts[ranks.rank], max(map(len, cuts))

    def shares() -> Iterator[Share]:
        for number in range(passes):
            here = number < len(cut)
            rows = [chosen[mine[i]] for i in cut[number]] if here else [chosen[0]]
            yield Share(rows, weighted=here, last=number + 1 == passes)

    return Schedule(chosen, list(shares()))
