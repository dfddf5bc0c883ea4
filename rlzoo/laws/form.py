"""Laws about what is asked for, what is declared, and the form of what comes back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rlzoo.engine.step import Step
from rlzoo.laws.finding import Broken
from rlzoo.laws.subject import (
    Subject,
    as_micro,
    micro_of,
    objective_of,
    together,
)
from rlzoo.objective import Objective, checked_credit, checked_keep, refuse_stray, step_loss
from rlzoo.types import Credit, RolloutBatch

OPTIONAL = ("embeddings_BH", "entropy_BT", "old_logps_BT")
"""Tensors of a batch that are there only where needs() asks for them."""


class _Served(dict[str, Tensor]):
    """Tensors by name that refuse names not asked for, and remember which were."""

    def __init__(self, values: Mapping[str, Tensor], by: str = "needs") -> None:
        super().__init__(values)
        self.by = by
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        self.read.add(name)
        return super().__getitem__(name)

    def __missing__(self, name: str) -> Tensor:
        raise Broken(f"reads {name!r}, which {self.by}() does not declare", None)

    def get(self, name: str, default: Any = None) -> Any:
        return self[name]


def undeclared(subject: Subject) -> None:
    """What needs() does not declare is not read, at the first step and long after it."""
    steps = [subject.build().score(subject.groups, number) for number in (1, 100_000)]
    couples = type(objective_of(subject)).in_batch_losses is not Objective.in_batch_losses
    if couples and all(step.needs.embeddings is None and not step.needs.sequence_logps for step in steps):
        raise Broken("in_batch_losses is never called: needs() declares neither embeddings nor sequence_logps", "needs")
    for step in steps:
        absent = {name for name in OPTIONAL if getattr(step.batch, name) is None}
        try:
            run_served(subject, step)
        except (AttributeError, TypeError) as error:
            for name in sorted(absent):  # the one with which all goes well is what was missing
                invented: dict[str, Any] = {name: torch.zeros_like(step.batch.sampler_logps_BT)}
                supplied = replace(step, batch=replace(step.batch, **invented))
                with suppress(AttributeError, TypeError):
                    run_served(subject, supplied)
                    raise Broken(f"reads {name}, which needs() does not declare", None) from error
        except Broken:
            raise
        except (Exception, SystemExit):  # the law of what is returned names it
            return


def run_served(subject: Subject, step: Step) -> tuple[Credit, Mapping[str, Tensor], set[str]]:
    """Credit and losses [B, T] from tensors that refuse what was not asked for, and the names that were read."""
    objective = objective_of(subject)
    signals = _Served(step.batch.signals)
    projections, values = _Served(step.batch.projections, "heads"), _Served(step.batch.values, "heads")
    batch = replace(step.batch, signals=signals, projections=projections, values=values)
    credit = checked_credit(objective, batch)
    micro, _ = as_micro(subject, replace(step, batch=batch, credit=credit))
    divergences = _Served(micro.divergences)
    losses = objective.token_losses(replace(micro, heads=_Served(micro.heads, "heads"), divergences=divergences))
    if step.needs.sequence_logps or step.needs.embeddings is not None:
        objective.in_batch_losses(together(subject, step, micro), batch)
    return credit, losses, signals.read | divergences.read


def returns(subject: Subject) -> None:
    """Credit and losses are finite, one [B, T] loss for each declared term, not yet reduced."""
    bench = subject.build()
    step = bench.score(subject.groups)
    credit = checked_credit(bench.objective, step.batch)
    checked_keep(bench.objective, step.batch)
    for name, value in credit.metrics.items():
        if not math.isfinite(value):
            raise Broken(f"metric {name!r} is {value}", "assign_credit")
    objective, micro, weights = micro_of(subject)
    losses = objective.token_losses(micro)
    told = step_loss(objective, micro, weights)  # names terms and shapes
    refuse_stray(objective, told.stray)
    for name, loss_BT in losses.items():
        counted = weights[name] * micro.credit.terms[name].loss_weight_BT != 0
        if bool(counted.any()) and not loss_BT.requires_grad:
            raise Broken(f"loss {name!r} carries no gradient to the log-probs")
    bench.update(replace(step, credit=credit))  # names what is wrong with losses over rows that see each other


def needs(subject: Subject) -> None:
    """What is declared is used, at the first step and long after it."""
    for number in (1, 100_000):
        _needs_at(subject, number)


def _needs_at(subject: Subject, number: int) -> None:
    bench = subject.build()
    step = bench.step(subject.groups, number)
    credit, losses, read = run_served(subject, step)
    matched = {divergence.signal for divergence in step.needs.divergences}
    unread = ({signal.name for signal in step.needs.signals} | matched) - read
    if unread:
        raise Broken(f"needs({number}) declares {', '.join(sorted(unread))}, which nothing reads", "needs")
    unmatched = credit.terms.keys() ^ losses.keys()
    if unmatched:
        raise Broken(f"terms without a loss, or losses without a term: {', '.join(sorted(unmatched))}", "assign_credit")
    couples = type(bench.objective).in_batch_losses is not Objective.in_batch_losses
    if step.needs.sequence_logps and not couples:
        raise Broken("needs() declares sequence_logps, but in_batch_losses is not defined", "needs")
    if step.needs.embeddings is not None and not couples:
        bare = replace(step.batch, embeddings_BH=None, projections={})
        _used(bench.objective, bare, "embeddings")
    if step.needs.old_logps:
        _used(bench.objective, replace(step.batch, old_logps_BT=None), "old_logps")
    if step.needs.answers:
        told, other = (  # without solutions, in whose place an answer may stand
            [replace(g, problem=replace(g.problem, answer=a, solution=None)) for g in subject.groups]
            for a in ("1", "2")
        )
        if all(
            [bench.objective.contexts(signal.name, g) for g in told]
            == [bench.objective.contexts(signal.name, g) for g in other]
            for signal in step.needs.signals
        ):
            raise Broken("needs() declares answers, which no context reads", "needs")


def _used(objective: Objective[Any], without: RolloutBatch, what: str) -> None:
    """Credit must miss what was declared; that it fails is how it shows."""
    try:
        objective.assign_credit(without)
    except (AssertionError, AttributeError, KeyError, TypeError):
        return
    raise Broken(f"needs() declares {what}, which nothing reads", "needs")
