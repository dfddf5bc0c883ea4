"""What laws are tried on: the objective on toy benches, and the pieces they are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rlzoo.engine.model.weights.replicated import Replicated
from rlzoo.engine.step import Step
from rlzoo.laws.finding import Broken
from rlzoo.laws.lab import Bench, relative_difference, toy_groups, toy_policy
from rlzoo.objective import Objective, checked_needs, step_loss, update_weights
from rlzoo.types import Credit, Group, MicroBatch, Needs, Representations, RolloutBatch

EXACT = 1e-9
"""Relative difference that float64 rounding may leave."""


class Subject:
    """The objective under test: settings to build it from, and fresh benches with it."""

    def __init__(self, section: Mapping[str, Any]) -> None:
        self.section = dict(section)
        self.updates = max(2, checked_needs(self.build().objective, 1).min_updates)
        self.groups = toy_groups(policy=toy_policy())

    def build(self, **changes: Any) -> Bench:
        return Bench(self.section, **changes)

    def drift(self, step: Step) -> Tensor:
        """Log-probs of an old policy that differs from the present one, so that clips and hinges are met. [B, T]"""
        T = step.batch.response_mask_BT.shape[1]
        logps = self.build().scorer.pass_over(Replicated(toy_policy()), step.sequences, width=T).logps_BT
        generator = torch.Generator().manual_seed(5)
        return (
            logps - 0.3 * torch.randn(logps.shape, generator=generator, dtype=logps.dtype)
        ) * step.batch.response_mask_BT

    def gradient(self, groups: Sequence[Group] | None = None, drifted: bool = True, **changes: Any) -> Tensor:
        """Of one update of all rows. [parameters]"""
        bench = self.build(**changes)
        step = bench.step(groups or self.groups)
        return bench.gradient(step, old_logps_BT=self.drift(step) if drifted else None)


def agree(one: Tensor, other: Tensor, what: str, method: str = "token_losses", limit: float = EXACT) -> None:
    if not bool(torch.isfinite(one).all()) or not bool(torch.isfinite(other).all()):
        raise Broken(f"{what}: not finite", method)
    gap = relative_difference(one, other)
    if gap > limit:
        raise Broken(f"{what}: relative difference {gap:.2g}, at most {limit:g} is rounding", method)


def objective_of(subject: Subject) -> Objective[Any]:
    return subject.build().objective


def credit_of(subject: Subject) -> tuple[RolloutBatch, Credit]:
    step = subject.build().step(subject.groups)
    return step.batch, step.credit


def micro_of(subject: Subject, *, drifted: bool = True) -> tuple[Objective[Any], MicroBatch, dict[str, Tensor]]:
    """The whole first step as one micro-batch whose log-probs are a leaf, and its reduction weights by term, [B, T]."""
    bench = subject.build()
    micro, weights = as_micro(subject, bench.step(subject.groups), drifted=drifted)
    return bench.objective, micro, weights


def as_micro(subject: Subject, step: Step, *, drifted: bool = True) -> tuple[MicroBatch, dict[str, Tensor]]:
    """A step as one micro-batch whose log-probs are a leaf, and its reduction weights by term, [B, T]."""
    bench, batch, (B, T) = subject.build(), step.batch, step.batch.response_mask_BT.shape
    logps = bench.scorer.pass_over(bench.store, step.sequences, width=T).logps_BT

    def leaves(names: Iterable[str]) -> dict[str, Tensor]:
        return {name: torch.zeros(B, T, dtype=logps.dtype, requires_grad=True) for name in names}

    # The sampler's log-probs are another's, so that a ratio taken to them is seen.
    batch = replace(batch, sampler_logps_BT=batch.sampler_logps_BT - 0.5 * batch.response_mask_BT)
    micro = MicroBatch(
        logps_BT=logps.clone().requires_grad_(),
        entropy_BT=torch.ones_like(logps).requires_grad_(),
        old_logps_BT=subject.drift(step) if drifted else logps,
        rollouts=batch,
        credit=step.credit,
        heads=leaves(bench.heads.of_tokens),
        divergences=leaves(divergence.signal for divergence in step.needs.divergences),
    )
    return micro, update_weights(step.credit, batch)


def together(subject: Subject, step: Step, micro: MicroBatch) -> Representations:
    """What losses over rows that see each other are given of a step's rows."""
    return Representations(
        embeddings_NH=step.batch.embeddings_BH,
        sequence_logps_N=micro.logps_BT.sum(1) if step.needs.sequence_logps else None,
        heads=subject.build().heads.of_rollouts,
    )


def gradient_of(loss: Tensor, leaf: Tensor) -> Tensor:
    """What `loss` sends into `leaf`; zeros where nothing arrives. Same shape"""
    if not loss.requires_grad:
        return torch.zeros_like(leaf)
    (gradient,) = torch.autograd.grad(loss, leaf, allow_unused=True)
    return torch.zeros_like(leaf) if gradient is None else gradient


def bandit_loss(objective: Objective[Any], logits: Tensor, choice: Sequence[int], right: set[int]) -> Tensor:
    """Loss of one group of one-token responses drawn from a softmax over arms, at ratio one. Scalar"""
    drawn, B = torch.tensor(choice), len(choice)
    logps_BT = logits.log_softmax(0)[drawn][:, None]
    correct = torch.tensor([arm in right for arm in choice])
    asked: Needs = objective.needs(1)
    zeros = torch.zeros(B, 1, dtype=torch.float64)
    batch = RolloutBatch(
        response_mask_BT=torch.ones(B, 1, dtype=torch.bool),
        rewards_B=correct.double(),
        correct_B=correct,
        judged_B=torch.ones(B, dtype=torch.bool),
        truncated_B=torch.zeros(B, dtype=torch.bool),
        group_ids_B=torch.zeros(B, dtype=torch.long),
        domain_ids_B=torch.zeros(B, dtype=torch.long),
        sampler_logps_BT=logps_BT.detach(),
        old_logps_BT=logps_BT.detach() if asked.old_logps else None,
        signals={signal.name: logps_BT.detach() for signal in asked.signals},  # every reader is the policy itself
        signal_mask={signal.name: torch.ones(B, dtype=torch.bool) for signal in asked.signals},
        embeddings_BH=torch.ones(B, 4, dtype=torch.float64) if asked.embeddings else None,
        entropy_BT=torch.ones_like(zeros) if asked.entropy else None,
        values={name: zeros for name, head in objective.heads(4).items() if head.kind == "token"},
        projections={
            name: torch.ones(B, 4, dtype=torch.float64) for name, h in objective.heads(4).items() if h.kind == "rollout"
        },
        max_response=1,
    )
    credit = objective.assign_credit(batch)
    micro = MicroBatch(
        logps_BT=logps_BT,
        entropy_BT=zeros,
        old_logps_BT=logps_BT.detach(),
        rollouts=batch,
        credit=credit,
        heads={name: zeros for name, h in objective.heads(4).items() if h.kind == "token"},
        divergences={d.signal: zeros for d in asked.divergences},
    )
    loss = step_loss(objective, micro, update_weights(credit, batch)).total
    if asked.sequence_logps:  # a response of one token is its own sum; embeddings are all alike, and tell nothing
        modules = {name: head.module.double() for name, head in objective.heads(4).items() if head.kind == "rollout"}
        reps = Representations(embeddings_NH=batch.embeddings_BH, sequence_logps_N=logps_BT.sum(1), heads=modules)
        for term in objective.in_batch_losses(reps, batch).values():
            loss = loss + term.coef * term.loss
    return loss


def with_credit(bench: Bench, step: Step, batch: RolloutBatch) -> Step:
    return replace(step, batch=batch, credit=bench.objective.assign_credit(batch))
