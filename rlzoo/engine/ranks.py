"""Processes that share one run. With one process every call is the identity."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from rlzoo.errors import RunError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ranks:
    """Who we are among how many."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """True on the rank that writes files and talks."""
        return self.rank == 0

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


def _sendable(error: Exception) -> Exception:
    """The error itself, or one of its words where it does not survive the way."""
    try:
        copied: Exception = pickle.loads(pickle.dumps(error))
        return copied
    except Exception:
        return RunError(f"{type(error).__name__}: {error}")


def join_ranks() -> Ranks:
    """The process group that a launcher such as torchrun described in the environment; one rank without it."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Ranks()
    if not dist.is_initialized():  # objects travel by gloo, tensors of a device by nccl
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    return Ranks(dist.get_rank(), dist.get_world_size())
