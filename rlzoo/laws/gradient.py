"""Laws about the gradient."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from rlzoo.engine.learning.in_batch import with_in_batch
from rlzoo.engine.learning.update import build_update
from rlzoo.engine.step import Step
from rlzoo.laws.finding import Broken, Untried
from rlzoo.laws.lab import Bench, gradient_on_ranks, relative_difference
from rlzoo.laws.subject import (
    EXACT,
    Subject,
    agree,
    bandit_loss,
    gradient_of,
    micro_of,
    objective_of,
    with_credit,
)
from rlzoo.objective import step_loss
from rlzoo.types import CurrentWeights, RolloutBatch


def cut(subject: Subject) -> None:
    """The gradient does not depend on how an update is cut into micro-batches."""
    whole = subject.gradient(learner={"tokens_per_microbatch": 1 << 20})
    for budget in (1, 60):
        agree(
            subject.gradient(learner={"tokens_per_microbatch": budget}),
            whole,
            f"micro-batches of at most {budget} tokens against one",
        )


def skipping(subject: Subject) -> None:
    """Leaving out rows without loss changes nothing."""
    agree(
        subject.gradient(learner={"skip": True}),
        subject.gradient(learner={"skip": False}),
        "skipping on against off",
        "assign_credit",
    )


def ranks(subject: Subject) -> None:
    """Two processes compute the gradient that one does."""
    agree(gradient_on_ranks(subject.section), subject.gradient(drifted=False), "two ranks against one")


def padding(subject: Subject) -> None:
    """Further padding columns, and what stands in them, change nothing."""
    bench = subject.build()
    step = bench.step(subject.groups)
    expected = bench.gradient(step, old_logps_BT=subject.drift(step))
    wide = with_credit(bench, step, _widened(step.batch, 3))
    old = torch.nn.functional.pad(subject.drift(step), (0, 3), value=2.0)
    agree(bench.gradient(wide, old_logps_BT=old), expected, "three more columns of padding", "assign_credit")


def order(subject: Subject) -> None:
    """Rows in another order get the same credit each, and the same gradient together."""
    bench = subject.build()
    step = bench.step(subject.groups)
    shuffle = torch.randperm(len(step.sequences), generator=torch.Generator().manual_seed(1))
    contexts = {name: [prompts[i] for i in shuffle.tolist()] for name, prompts in step.contexts.items()}
    start = None if step.old_logps_BT is None else step.old_logps_BT[shuffle]
    moved = replace(step, sequences=step.sequences.take(shuffle.tolist()), contexts=contexts, old_logps_BT=start)
    moved = with_credit(bench, moved, step.batch.rows(shuffle))
    agree(
        moved.credit.advantages_BT, step.credit.advantages_BT[shuffle], "advantages of permuted rows", "assign_credit"
    )
    old = subject.drift(step)
    agree(
        bench.gradient(moved, old_logps_BT=old[shuffle]),
        bench.gradient(step, old_logps_BT=old),
        "gradient of permuted rows",
    )


def masked_tokens(subject: Subject) -> None:
    """Log-probs at padding get exactly no gradient."""
    _, micro, weights = micro_of(subject)
    loss = step_loss(objective_of(subject), micro, weights).total
    gradient = gradient_of(loss, micro.logps_BT)
    stray = gradient[~micro.rollouts.response_mask_BT]
    if bool((stray != 0).any()):
        raise Broken(
            f"{int((stray != 0).sum())} padding positions get a gradient, up to {float(stray.abs().max()):.2g}",
            "assign_credit",
        )


def at_ratio_one(subject: Subject) -> None:
    """Where the policy is the old one, the policy term's gradient at a token is minus its advantage times its weight.

    So the sign is right, nothing is divided twice, and the ratio is taken to the trainer's old log-probs.
    """
    objective, micro, weights = micro_of(subject, drifted=False)
    policy = {name: term for name, term in micro.credit.terms.items() if term.corrected}
    only = {name: w if name in policy else torch.zeros_like(w) for name, w in weights.items()}
    loss = step_loss(objective, micro, only).total
    expected = -sum(
        (term.coef * weights[name] * term.loss_weight_BT * micro.credit.advantages_BT for name, term in policy.items()),
        start=torch.zeros_like(micro.logps_BT),
    )
    agree(gradient_of(loss, micro.logps_BT), expected, "gradient at ratio one against -advantage x weight")


def off_policy(subject: Subject) -> None:
    """What is learned from an older policy's rollouts depends on how far the policy has moved since.

    Updates after a step's first are such. Tried where there are advantages; that the dependence is the right one is not shown.
    """
    objective, micro, weights = micro_of(subject)
    if not bool((micro.credit.advantages_BT != 0).any()):
        raise Untried(
            "no rollout of the toy step has an advantage, so there is nothing that an older policy could change"
        )
    still = replace(micro, old_logps_BT=micro.logps_BT.detach())
    moved, unmoved = (gradient_of(step_loss(objective, each, weights).total, micro.logps_BT) for each in (micro, still))
    if relative_difference(moved, unmoved) < EXACT:
        raise Broken("the gradient is the same whatever the old log-probs: from the second update on nothing corrects")


def reinforce(subject: Subject) -> None:
    """Over all ways to sample three responses of a softmax policy, the expected gradient points along that of P(correct).

    Exact enumeration with binary rewards; shows the direction, not the length.
    """
    objective, logits, right = objective_of(subject), torch.tensor([0.3, -0.2, 0.5, 0.1], dtype=torch.float64), {1, 3}
    logits.requires_grad_()
    total = torch.zeros_like(logits)
    probs = logits.detach().softmax(0)
    for choice in itertools.product(range(4), repeat=3):
        loss = bandit_loss(objective, logits, list(choice), right)
        total += probs[list(choice)].prod() * gradient_of(loss, logits)
    (wanted,) = torch.autograd.grad(-logits.softmax(0)[sorted(right)].sum(), logits)
    cosine = float(torch.nn.functional.cosine_similarity(total, wanted, dim=0))
    if not cosine > 1 - 1e-9:
        raise Broken(f"expected gradient and gradient of P(correct) have cosine {cosine:.6f}", "assign_credit")


def finite_differences(subject: Subject) -> None:
    """The gradient is the slope of the loss along random directions of the weights.

    A loss that depends on the weights through something detached on purpose has another slope, and breaks this law.
    """
    bench = subject.build()
    bench.heads.to_trunk()  # what the engine detaches by `Head.trunk` is no fault of the loss
    step = bench.step(subject.groups)
    old = subject.drift(step)
    bench.scorer.copies.hold(CurrentWeights(), bench.store.copy())  # a teacher that is the policy itself stands still
    gradient = bench.gradient(step, old_logps_BT=old)
    parameters = bench.parameters
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
        along = float(gradient @ torch.cat([d.reshape(-1) for d in direction]))
        slopes = []
        for size in (1e-5, 1e-6, 1e-7):  # a clip's edge may lie within a larger step; within all three, hardly
            there = _loss_along(bench, step, old, parameters, direction, size)
            back = _loss_along(bench, step, old, parameters, direction, -size)
            slopes.append((there - back) / (2 * size))
            if abs(slopes[-1] - along) <= 1e-5 * max(1.0, abs(along)):
                break
        else:
            raise Broken(f"slope {slopes[-1]:.8f} of the loss, but gradient {along:.8f}")


def _loss_along(
    bench: Bench, step: Step, old: Tensor, parameters: Sequence[nn.Parameter], direction: Sequence[Tensor], size: float
) -> float:
    """The update's loss, in-batch terms included, with the weights moved by `size` along `direction`; they are put back."""
    with torch.no_grad():
        for parameter, d in zip(parameters, direction, strict=True):
            parameter.add_(d, alpha=size)
    update = build_update(step, torch.arange(len(step.sequences)), old)
    terms = with_in_batch(update, step.needs, bench.scorer, step.costs, fresh=False).terms
    whole = bench.learner.backward(update, step.needs, step.costs)
    loss = sum(term.coef * whole.sums[f"loss/{name}"] for name, term in step.credit.terms.items())
    loss += sum(term.coef * float(term.loss.detach()) for term in terms.values())
    with torch.no_grad():
        for parameter, d in zip(parameters, direction, strict=True):
            parameter.sub_(d, alpha=size)
    bench.heads.clear()
    return loss


def _widened(batch: RolloutBatch, columns: int) -> RolloutBatch:
    """The batch with more padding on the right, filled with numbers that must not matter."""

    def wider(tensor: Tensor) -> Tensor:
        fill = False if tensor.dtype == torch.bool else 9.0
        return torch.nn.functional.pad(tensor, (0, columns), value=fill)

    return replace(
        batch,
        response_mask_BT=wider(batch.response_mask_BT),
        sampler_logps_BT=wider(batch.sampler_logps_BT),
        old_logps_BT=None if batch.old_logps_BT is None else wider(batch.old_logps_BT),
        signals={name: wider(value) for name, value in batch.signals.items()},
        entropy_BT=None if batch.entropy_BT is None else wider(batch.entropy_BT),
        values={name: wider(value) for name, value in batch.values.items()},
    )
