"""What an objective is, and the one place where losses are reduced.

An objective says what counts and how; the engine samples, scores, divides and steps. Two methods carry most
objectives: `assign_credit` sees the whole step without gradient, `token_losses` sees some rows with gradient.
Everything else an objective may want is declared in `needs` and served by the engine.
"""

from __future__ import annotations

import inspect
import traceback
from abc import ABC
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

from rlzoo import functional as F
from rlzoo.errors import ObjectiveFault
from rlzoo.settings import ObjectiveConfig, setting
from rlzoo.types import (
    Context,
    Credit,
    Group,
    Head,
    InBatchTerm,
    Insert,
    MicroBatch,
    Needs,
    Representations,
    RolloutBatch,
)

if TYPE_CHECKING:
    from torch import Tensor


__all__ = [
    "Objective",
    "ObjectiveConfig",
    "checked_credit",
    "checked_keep",
    "checked_needs",
    "locate_fault",
    "refuse_stray",
    "setting",
    "step_loss",
    "update_weights",
]

C = TypeVar("C", bound=ObjectiveConfig, covariant=True)

SHIPPED = "rlzoo.algorithms."
"""Where the objectives lie that keep every law; a test holds it."""


class Objective(ABC, Generic[C]):
    """Base of all objectives. Subclass, override `assign_credit` and `token_losses`, register one name."""

    name: ClassVar[str]
    Config: ClassVar[type[ObjectiveConfig]]
    addition: ClassVar[bool] = False
    """True if the class adds to its parent through `super()` only, so that it works over any subclass of that parent.

    One whose first base is such a class with a `Config` and without a `name`, a part of its own, works over any objective.
    """
    metrics: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """Metrics of the objective's own: name to unit and meaning."""
    exemptions: ClassVar[Mapping[str, str]] = {}
    """Laws of `rlzoo check objective` that cannot hold for this objective, each with its reason."""

    def __init__(self, config: C) -> None:
        self.config = config

    def needs(self, step: int) -> Needs:
        """What the engine must supply at `step` (from 1). May shrink as schedules end; never depends on data."""
        return Needs()

    def contexts(self, signal: str, group: Group) -> Sequence[Context]:
        """The context of each rollout of `group` under `signal`: a pure function of the group. Default: its own prompt."""
        return [Insert("")] * len(group.rollouts)

    def keep(self, batch: RolloutBatch) -> Tensor:
        """Which prompts stay in the step. [P] bool. The engine samples further prompts for those dropped."""
        groups = int(batch.group_ids_B.max()) + 1
        return batch.judged_B.new_ones(groups)

    def assign_credit(self, batch: RolloutBatch) -> Credit:
        """Advantages and loss terms of a whole step. Pure: the same batch gives the same credit, nothing is changed."""
        raise NotImplementedError(f"{type(self).__name__} defines no assign_credit")

    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        """One [B, T] loss per term, unreduced, with gradient. Keys are those of the credit's terms."""
        raise NotImplementedError(f"{type(self).__name__} defines no token_losses")

    def in_batch_losses(self, reps: Representations, rows: RolloutBatch) -> Mapping[str, InBatchTerm]:
        """Losses over rows that see each other: the rows of one update, all ranks. Default: none."""
        return {}

    def heads(self, hidden: int) -> Mapping[str, Head]:
        """Small trained modules of the objective's own, for hidden size `hidden`. Default: none."""
        return {}

    def observe(self, batch: RolloutBatch) -> None:
        """Called once after each step's updates; the only place where an objective's state may change."""

    def state_dict(self) -> dict[str, Any]:
        """What `observe` has gathered, for checkpoints. Tensors and plain values only."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        if state:
            raise ObjectiveFault(
                f"{type(self).__name__} was given state ({', '.join(state)}) but defines no load_state_dict; "
                "define it beside state_dict."
            )


def checked_needs(objective: Objective[Any], step: int) -> Needs:
    """`needs`, held to its form."""
    asked = objective.needs(step)
    if not isinstance(asked, Needs):
        raise ObjectiveFault(
            f"{type(objective).__name__}.needs returned {type(asked).__name__}, expected Needs; Needs() asks for nothing."
        )
    return asked


def checked_keep(objective: Objective[Any], batch: RolloutBatch) -> list[bool]:
    """`keep`, held to its form: one answer a prompt."""
    keep_P = objective.keep(batch)
    prompts = int(batch.group_ids_B.max()) + 1
    if list(getattr(keep_P, "shape", [])) != [prompts] or str(keep_P.dtype) != "torch.bool":
        found = f"{keep_P.dtype} {list(keep_P.shape)}" if hasattr(keep_P, "shape") else type(keep_P).__name__
        raise ObjectiveFault(
            f"{type(objective).__name__}.keep returned {found}, expected torch.bool [{prompts}]: whether each prompt stays."
        )
    stays: list[bool] = keep_P.tolist()
    return stays


def checked_credit(objective: Objective[Any], batch: RolloutBatch) -> Credit:
    """`assign_credit`, held to its form: finite numbers that carry no gradient."""
    credit = objective.assign_credit(batch)
    who = f"{type(objective).__name__}.assign_credit"
    if not isinstance(credit, Credit):
        raise ObjectiveFault(f"{who} returned {type(credit).__name__}, expected a Credit.")
    for name, value in credit.metrics.items():
        if not isinstance(value, (int, float)):
            raise ObjectiveFault(f"{who} returned metric {name!r} as a {type(value).__name__}, expected one number.")
    scales = {f"the scale of term {name!r}": term.loss_weight_BT for name, term in credit.terms.items()}
    for name, tensor in {"advantages_BT": credit.advantages_BT, **scales}.items():
        stray = ~tensor.isfinite()
        if bool(stray.any()):
            raise ObjectiveFault(
                f"{who} returned {name} not finite at {int(stray.sum())} tokens. Look for a division by an empty count or a std of 0."
            )
    return credit


def locate_fault(cls: type[Objective[Any]], error: BaseException, method: str | None = None) -> str:
    """file:line of the objective's own code to look at: where the error passed through it, else the method at fault.

    `method` names it; without, messages of the engine do: they begin as `Mine.token_losses returned ...`. What a class
    inherits from an objective that ships is not its fault: then some other method of its own is, or the class.
    """
    known = [owner for owner in cls.__mro__ if issubclass(owner, Objective) and owner is not Objective]
    owners = [owner for owner in known if not owner.__module__.startswith(SHIPPED) and _file(owner)] or known
    files = {_file(owner) for owner in owners} - {""}
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    if own and method is None:
        return f"{_shown(own[-1].filename)}:{own[-1].lineno}"
    method = method or str(error).split(" ", 1)[0].partition(".")[2].partition("(")[0]
    for name in (method, "in_batch_losses", "token_losses", "assign_credit", "contexts", "needs", "__init__"):
        for owner in owners:  # the most derived class comes first: what it overrides is the likeliest fault
            if name in owner.__dict__ and _file(owner):
                return f"{_shown(_file(owner))}:{inspect.getsourcelines(getattr(owner, name))[1]}"
    first = next((owner for owner in owners if _file(owner)), None)
    return f"{_shown(_file(first))}:{inspect.getsourcelines(first)[1]}" if first else cls.__module__


def _file(cls: type) -> str:
    """The file a class was written in; empty for one that was put together."""
    try:
        inspect.getsourcelines(cls)
        return inspect.getfile(cls)
    except (OSError, TypeError):
        return ""


def _shown(file: str) -> str:
    """As short as the reader can follow it: relative to the folder they stand in, where it lies below."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


class StepLoss(NamedTuple):
    """A micro-batch's share of an update's loss. Nothing in it has been read back from the device."""

    total: Tensor
    """Scalar, with gradient."""
    shares: Mapping[str, Tensor]
    """Each term's share, detached and before its coefficient. Scalars."""
    stray: Mapping[str, Tensor]
    """By term, how many counted tokens have a loss that is not finite although all that was given there is. int64 scalars."""


def step_loss(objective: Objective[Any], micro: MicroBatch, weights: Mapping[str, Tensor]) -> StepLoss:
    """The micro-batch's share of the update's loss.

    `weights` hold [B, T] reduction weights a term, counted over the whole update; sums over the update's
    micro-batches and ranks are then the loss. This is the one reduction in the project.
    """
    losses = _checked_losses(objective, micro)
    terms = micro.credit.terms
    total = micro.logps_BT.new_zeros(())
    shares: dict[str, Tensor] = {}
    stray: dict[str, Tensor] = {}
    for name, loss_BT in losses.items():
        weight_BT = (weights[name] * terms[name].loss_weight_BT).to(loss_BT.dtype)
        # Where nothing counts, a loss may be anything, also NaN: it must not reach the sum through 0 * NaN.
        counts_BT = weight_BT != 0
        broken_BT = counts_BT & ~loss_BT.isfinite()
        stray[name] = broken_BT.sum() * (broken_BT & ~_given_finite(micro)).any().logical_not()
        share = loss_BT.where(counts_BT, 0.0).mul(weight_BT).sum()
        shares[name] = share.detach()
        total = total + terms[name].coef * share
    return StepLoss(total, shares, stray)


def _checked_losses(objective: Objective[Any], micro: MicroBatch) -> Mapping[str, Tensor]:
    """`token_losses`, held to its form: one [B, T] loss for each term of the credit."""
    losses, terms = objective.token_losses(micro), micro.credit.terms
    who = f"{type(objective).__name__}.token_losses"
    if not isinstance(losses, Mapping) or not all(hasattr(loss, "shape") for loss in losses.values()):
        found = (
            ", ".join(f"{name!r}: {type(loss).__name__}" for name, loss in losses.items())
            if isinstance(losses, Mapping)
            else type(losses).__name__
        )
        raise ObjectiveFault(f"{who} returned {found}, expected a mapping from each term's name to its [B, T] loss.")
    if set(losses) != set(terms):
        raise ObjectiveFault(
            f"{who} returned terms {sorted(losses)}, but its credit declares "
            f"{sorted(terms)}. Return one [B, T] loss for each declared term."
        )
    for name, loss_BT in losses.items():
        if tuple(loss_BT.shape) != tuple(micro.logps_BT.shape):
            raise ObjectiveFault(
                f"{who} returned {name!r} with shape {list(loss_BT.shape)}, expected "
                f"{list(micro.logps_BT.shape)} (rollouts x response tokens). Losses come back per token: the engine takes the mean."
            )
    return losses


def _given_finite(micro: MicroBatch) -> Tensor:
    """Tokens at which all that a loss may be made from is finite. [B, T] bool"""
    finite_BT = micro.logps_BT.isfinite()
    given = (
        *(micro.old_logps_BT, micro.entropy_BT, micro.credit.advantages_BT),
        *(*micro.heads.values(), *micro.divergences.values(), *micro.rollouts.signals.values()),
    )
    for tensor_BT in given:
        finite_BT = finite_BT & tensor_BT.isfinite()
    return finite_BT


def refuse_stray(objective: Objective[Any], stray: Mapping[str, Tensor | float]) -> None:
    """Numbers that are finite and a loss that is not: no divergence, but the objective's own fault. ObjectiveFault names the term."""
    for name, count in stray.items():
        if int(count):
            raise ObjectiveFault(
                f"{type(objective).__name__}.token_losses returned {name!r} not finite at {int(count)} counted tokens, although all that it "
                "was given is finite there. Look for a division by zero, or a logarithm or exponential without a bound."
            )


def update_weights(credit: Credit, rows: RolloutBatch) -> dict[str, Tensor]:
    """Reduction weights of every term over the rows of one update. Term to [B, T] float64."""
    return {
        name: F.reduction_weights(term.loss_mask_BT, term.reduction, rows.group_ids_B, rows.max_response)
        for name, term in credit.terms.items()
    }
