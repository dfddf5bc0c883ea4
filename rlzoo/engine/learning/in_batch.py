"""Losses over rows that see each other: run once an update on gathered representations, their gradient replayed in the micro-batches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlzoo.engine.learning.tally import Tally
from rlzoo.engine.learning.update import Update
from rlzoo.engine.scorer import Scorer
from rlzoo.engine.step import Costs
from rlzoo.errors import ObjectiveFault
from rlzoo.objective import Objective
from rlzoo.types import InBatchTerm, Needs, Representations


class InBatch(NamedTuple):
    """An update that knows what its in-batch losses ask of each row."""

    update: Update
    terms: Mapping[str, InBatchTerm]

    def tally(self, world: int) -> Tally:
        """The losses and their anchors, this rank's share: every rank has computed all of them."""
        tally = Tally()
        for name, term in self.terms.items():
            tally.add(f"coupled/{name}", float(term.loss.detach()) / world)
            tally.add(f"anchors/{name}", term.anchors / world)
        return tally


def with_in_batch(update: Update, needs: Needs, scorer: Scorer, costs: Costs, *, fresh: bool) -> InBatch:
    """The update with the gradient of its in-batch losses by representation. Identical on every rank.

    `fresh`: the representations that were scored at the step's start are still those of the current weights, and no pass is made.
    """
    objective, weights, pooling = scorer.objective, scorer.copies.current, needs.embeddings
    defined = type(objective).in_batch_losses is not Objective.in_batch_losses
    if not defined or (pooling is None and not needs.sequence_logps):
        return InBatch(update, {})
    live = (pooling is not None and pooling.gradient) or needs.sequence_logps
    embeddings_NH, logps_NT = update.batch.embeddings_BH, update.start_logps_NT
    if live and not fresh:
        width = update.batch.response_mask_BT.shape[1]
        scores = scorer.pass_over(weights, update.sequences, width=width, pooling=pooling, logps=needs.sequence_logps)
        logps_NT, embeddings_NH = scores.logps_BT, scores.embeddings_BH
        costs.read(update.sequences)
    leaf_NH = leaf_N = None
    if embeddings_NH is not None:
        leaf_NH = embeddings_NH.detach().requires_grad_(bool(pooling and pooling.gradient))
    if needs.sequence_logps and logps_NT is not None:
        leaf_N = logps_NT.sum(1).detach().requires_grad_()
    modules = scorer.heads.of_rollouts
    with torch.enable_grad():
        reps = Representations(embeddings_NH=leaf_NH, sequence_logps_N=leaf_N, heads=modules)
        terms = objective.in_batch_losses(reps, update.batch)
        given = [leaf for leaf in (leaf_NH, leaf_N) if leaf is not None]
        given += [parameter for module in modules.values() for parameter in module.parameters()]
        total = _total(objective, terms, given)
        if total is not None and total.requires_grad:
            total.backward()
    update = replace(
        update,
        embedding_grads_NH=None if leaf_NH is None else leaf_NH.grad,
        sequence_logp_grads_N=None if leaf_N is None else leaf_N.grad,
    )
    return InBatch(update, terms)


def _total(objective: Objective[Any], terms: Mapping[str, InBatchTerm], given: Sequence[Tensor]) -> Tensor | None:
    """Sum of the in-batch losses, held to their form. Scalar. Not finite from what is `given` finite: the objective's own fault."""
    who = f"{type(objective).__name__}.in_batch_losses"
    if not isinstance(terms, Mapping):
        raise ObjectiveFault(
            f"{who} returned {type(terms).__name__}, expected a mapping from a name to an InBatchTerm."
        )
    total = None
    for name, term in terms.items():
        if not isinstance(term, InBatchTerm):
            raise ObjectiveFault(
                f"{who} returned {name!r} as a {type(term).__name__}, expected an InBatchTerm: its loss with the number of anchors."
            )
        if term.loss.dim() != 0:
            raise ObjectiveFault(
                f"{who} returned {name!r} with shape {list(term.loss.shape)}, expected a scalar: "
                "an in-batch loss is the mean over its own anchors."
            )
        if not math.isfinite(float(term.loss.detach())) and all(bool(tensor.isfinite().all()) for tensor in given):
            raise ObjectiveFault(
                f"{who} returned {name!r} as {float(term.loss.detach())}, although representations are finite. Look for a division by an "
                "empty count, or a logarithm of zero."
            )
        total = term.coef * term.loss if total is None else total + term.coef * term.loss
    return total
