"""Adapters that are trained over weights that are not. Every rank holds all; copies hold adapters alone and share the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlzoo.engine.model.divergence import Match, OutputWeights
from rlzoo.engine.model.lora import AdaptedPolicy
from rlzoo.engine.model.policy import Outputs, Policy
from rlzoo.engine.model.sequences import Sequences
from rlzoo.engine.model.weights.replicated import MakeOptimizer, Replicated
from rlzoo.engine.ranks import Ranks
from rlzoo.types import Pooling


class Adapted(Replicated):
    """As `Replicated`, of a policy in which the adapters alone are trained, in float32 at least and so without masters."""

    policy: AdaptedPolicy

    def __init__(
        self, policy: AdaptedPolicy, *, optimizer: MakeOptimizer | None = None, ranks: Ranks | None = None
    ) -> None:
        super().__init__(policy, optimizer=optimizer, ranks=ranks)

    def adapters(self) -> Mapping[str, Tensor]:
        """The adapters in force, by name. Any shape"""
        return self.policy.adapters

    def initial(self) -> AdapterCopy:
        """The weights below: the same module, with its adapters off."""
        return AdapterCopy(self.policy, None)

    def copy(self) -> AdapterCopy:  # type: ignore[override]
        return AdapterCopy(self.policy, {name: held.detach().clone() for name, held in self.adapters().items()})

    def full(self) -> Iterator[tuple[str, Tensor]]:
        """The merged model, by the names that `save_pretrained` writes and those that it ties to them. Any shape"""
        yield from self.policy.merged().items()

    def adapter(self) -> Iterator[tuple[str, Tensor]]:
        """The adapters alone, by the names of peft's files. Any shape"""
        yield from self.policy.adapter()

    def save_adapter(self, folder: Path) -> None:
        """A folder that a server takes as an adapter. One that changed under an identity that the server knows stays as it was there:
        give it a new identity each time."""
        self.policy.save_adapter(folder)


class AdapterCopy:
    """The policy under other adapters, or none; not trained. It runs the one module there is, so no second model is held.

    A running average is one of the adapters' factors, not of their products.
    """

    def __init__(self, policy: AdaptedPolicy, held: dict[str, Tensor] | None) -> None:
        """`held`: by name; None for no adapters at all."""
        self.policy = policy
        self.held = held

    @property
    def device(self) -> torch.device:
        return self.policy.device

    @property
    def wide(self) -> torch.dtype:
        return self.policy.wide

    @property
    def hidden(self) -> int:
        return self.policy.hidden

    def adapters(self) -> Mapping[str, Tensor]:
        """What is held, by name. Any shape"""
        assert self.held is not None, "no adapters are held"
        return self.held

    @torch.no_grad()
    def forward(
        self,
        sequences: Sequences,
        *,
        pooling: Pooling | None = None,
        logps: bool = True,
        matches: Sequence[Match] = (),
    ) -> Outputs:
        with self.policy.holding(self.held):
            outputs: Outputs = self.policy(sequences, pooling=pooling, logps=logps, matches=matches)
        return outputs

    @property
    def num_parameters(self) -> int:
        return self.policy.num_parameters

    @property
    def num_frozen(self) -> int:
        return self.policy.num_frozen

    @contextmanager
    def whole(self, *, host: bool = False) -> Iterator[AdaptedPolicy]:
        with self.policy.holding(self.held):
            yield self.policy

    def full(self) -> Iterator[tuple[str, Tensor]]:
        """The merged model, by the names that `save_pretrained` writes and those that it ties to them. Any shape"""
        with self.policy.holding(self.held):
            yield from self.policy.merged().items()

    def exact(self) -> Iterator[tuple[str, Tensor]]:
        """The adapters, by name; the weights below are the trained policy's own. Any shape"""
        yield from self.adapters().items()

    def output_weights(self) -> OutputWeights:
        return OutputWeights(self.policy.output.weight, self.policy.output.bias)

    def take(self, policy: Policy | None) -> None:
        raise AssertionError("adapters are read by name, not taken from a whole policy")

    def copy(self) -> AdapterCopy:
        return AdapterCopy(self.policy, None if self.held is None else {n: t.clone() for n, t in self.held.items()})

    @torch.no_grad()
    def follow(self, other: Any, keep: float) -> None:
        news = other.adapters()
        for name, mine in self.adapters().items():
            mine.lerp_(news[name], 1 - keep) if keep else mine.copy_(news[name])

    def state(self) -> dict[str, Any]:
        return {"adapters": dict(self.adapters())}

    @torch.no_grad()
    def load(self, state: Mapping[str, Any]) -> None:
        for name, mine in self.adapters().items():
            mine.copy_(state["adapters"][name])

    # -- nothing is trained here --------------------------------------------------------------------------

    def begin(self) -> None:
        pass

    def clear(self) -> None:
        pass

    def backward(self, loss: Tensor, *, last: bool) -> None:
        raise AssertionError("these weights are not trained")

    def step(self, lr: float, max_norm: float, *, veto: bool = False) -> float:
        raise AssertionError("these weights are not trained")

    def gradient(self) -> Tensor:
        """Nothing. [parameters]"""
        return torch.zeros(0, dtype=torch.float64)
