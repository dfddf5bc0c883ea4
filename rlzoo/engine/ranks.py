"""Processes that share one run. With one process every call is the identity."""

from __future__ import annotations

import pickle
import signal
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from rlzoo.engine.joining import meet
from rlzoo.engine.rollcall import Loss, RollCall
from rlzoo.errors import RunError
from rlzoo.placement import RankPlace, placement

T = TypeVar("T")
BEHIND_S = 3.0
"""Seconds in which the roll call must tell of a loss for it to be the reason of an error; the kernel closes a dead process's lines at once."""
TOGETHER_S = 8.0
"""Seconds that a rank waits for the first one's last words."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """Who we are among how many."""

    rank: int = 0
    world: int = 1
    roll: RollCall | None = None
    """Its line to the others; None where there is one rank, or where ranks are only played."""

    @property
    def first(self) -> bool:
        """True on the rank that writes files and talks."""
        return self.rank == 0

    @property
    def places(self) -> tuple[RankPlace, ...]:
        """Where each rank is; none where there is one."""
        return self.roll.places if self.roll is not None else ()

    def all_reduce_sum(self, tensors: Iterable[Tensor]) -> None:
        """Sum tensors over all ranks, in place, as one message: gradients are summed here and never averaged."""
        tensors = list(tensors)
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, piece in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(piece.view_as(tensor))

    def gather(self, mine: T) -> list[T]:
        """Every rank's object, in rank order, on every rank."""
        if self.world == 1:
            return [mine]
        everyone: list[Any] = [None] * self.world
        dist.all_gather_object(everyone, mine)
        return everyone

    def shard(self, items: Sequence[T]) -> Sequence[T]:
        """This rank's part of items that all ranks hold: every `world`-th, from `rank`."""
        return items[self.rank :: self.world]

    def all_gather(self, mine: Sequence[T]) -> list[T]:
        """Undo `shard`: all ranks' parts in the items' own order, on every rank."""
        parts = self.gather(list(mine))
        merged: list[T] = []
        for index in range(max((len(part) for part in parts), default=0)):
            merged += [part[index] for part in parts if index < len(part)]
        return merged

    def decide(self, choose: Callable[[], T]) -> T:
        """What the first rank's `choose` returns, or raises, on every rank: the others hear it and never look for themselves."""
        if self.world == 1:
            return choose()
        told: list[Any] = [None]
        if self.first:
            try:
                told = [(choose(), None)]
            except Exception as error:
                dist.broadcast_object_list([(None, _sendable(error))])
                raise
        dist.broadcast_object_list(told)
        value, fault = told[0]
        if fault is not None:
            raise fault
        chosen: T = value
        return chosen

    def any(self, mine: bool) -> bool:
        """True everywhere if it is true anywhere."""
        return any(self.gather(mine))

    # -- ends ------------------------------------------------------------------------------------------------

    def is_lost(self) -> bool:
        """Whether some rank has ended, so that this one cannot go on."""
        return self.roll is not None and self.roll.lost is not None

    def loss_behind(self, error: BaseException) -> Loss | None:
        """The end of another rank that this error comes from; None where it is this rank's own."""
        if self.roll is None:
            return None
        if isinstance(error, KeyboardInterrupt):
            by_launcher = error.args == (signal.SIGTERM.name,)  # so it ends the ranks that are left
            return self.roll.wait(BEHIND_S if by_launcher else 0)
        return self.roll.wait(BEHIND_S) if of_a_collective(error) else None

    def hang_up(self) -> None:
        """Have collectives that the others wait in fail. (With nccl that would itself wait; there the roll call ends them.)"""
        if dist.is_initialized() and dist.get_backend() == "gloo":
            with suppress(RuntimeError):
                dist.destroy_process_group()

    def leave(self, *, together: bool) -> None:
        """This rank has done its part, and another run may follow in its process. `together`: not before the first one's process has
        ended, since launchers end all with the first that fails."""
        if self.roll is not None:
            self.roll.leave()
            dist.destroy_process_group()
            if together and not self.first:
                self.roll.ended.wait(TOGETHER_S)


def _sendable(error: Exception) -> Exception:
    """The error itself, or one of its words where it does not survive the way."""
    try:
        copied: Exception = pickle.loads(pickle.dumps(error))
        return copied
    except Exception:
        return RunError(f"{type(error).__name__}: {error}")


def _cpu() -> torch.device:
    return torch.device("cpu")


def join_ranks(take: Callable[[], torch.device] = _cpu) -> Ranks:
    """The ranks that a launcher such as torchrun described in the environment; one rank without it. `take` says which device is ours."""
    mine = placement()
    return Ranks() if mine.world == 1 else Ranks(mine.rank, mine.world, meet(mine, take))


def of_a_collective(error: BaseException | None) -> bool:
    """Whether it says no more than that ranks could not talk to each other."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        told = str(error)
        if isinstance(error, dist.DistError) or (
            isinstance(error, RuntimeError) and any(word in told for word in ("gloo", "NCCL", "nccl"))
        ):
            return True
        error = error.__cause__ or error.__context__
    return False
