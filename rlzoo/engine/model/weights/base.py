"""Who holds the weights and steps them: what the rest of the engine may ask of it, and nothing else touches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor

from rlzoo.engine.model.divergence import Match, OutputWeights
from rlzoo.engine.model.policy import Outputs, Policy
from rlzoo.engine.model.sequences import Sequences
from rlzoo.types import Pooling


class WeightStore(Protocol):
    """One set of weights over all ranks. Losses and gradients are sums over micro-batches and ranks, never means."""

    @property
    def device(self) -> torch.device: ...

    @property
    def wide(self) -> torch.dtype:
        """The precision of log-probs, embeddings and heads: at least float32."""
        ...

    @property
    def hidden(self) -> int: ...

    @property
    def num_parameters(self) -> int:
        """As `Policy.num_parameters`, over all ranks."""
        ...

    @property
    def num_frozen(self) -> int:
        """As `Policy.num_frozen`."""
        ...

    def forward(
        self,
        sequences: Sequences,
        *,
        pooling: Pooling | None = None,
        logps: bool = True,
        matches: Sequence[Match] = (),
    ) -> Outputs:
        """As `Policy.forward`, with gradient where the caller has not switched it off."""
        ...

    def begin(self) -> None:
        """Start an update: gradients are zero, also of weights that no loss will reach, since momentum must move them."""
        ...

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add a micro-batch's gradient. `last`: it is the update's last one on this rank; gradients are then summed over ranks."""
        ...

    def step(self, lr: float, max_norm: float, *, veto: bool = False) -> float:
        """Scale the gradient down to `max_norm` and step; its norm before that.

        Nothing moves where the norm is not finite, or with `veto`.
        """
        ...

    def gradient(self) -> Tensor:
        """What `backward` has left, as one float64 vector on the CPU, in the order of the weights. [parameters]"""
        ...

    def clear(self) -> None:
        """Forget gradients."""
        ...

    def whole(self, *, host: bool = False) -> AbstractContextManager[Policy]:
        """The policy with all its weights at hand, for decoding and saving. All ranks enter it; nothing in it may wait for others.

        `host`: for the first rank alone and in its host's memory, so that a model need not fit on a device to be saved.
        """
        ...

    def exact(self) -> Iterator[tuple[str, Tensor]]:
        """Every weight once, unrounded, by its name in the policy. All ranks go through it to its end. Any shape"""
        ...

    def output_weights(self) -> OutputWeights:
        """The output layer's, to be kept beyond the call. All ranks call it."""
        ...

    def take(self, policy: Policy | None) -> None:
        """Let the first rank's `policy` be the weights, everywhere; None on the others. All ranks call it."""
        ...

    def full(self) -> Iterator[tuple[str, Tensor]]:
        """All weights, whole, one after the other: by the names of `save_pretrained`, and a tied output layer by its own name too. Any shape.

        All ranks call it and exhaust it. For handing on to an engine that samples; what was yielded may be the weights themselves.
        """
        ...

    def copy(self) -> WeightStore:
        """The same weights, which are not trained: for teachers."""
        ...

    def follow(self, other: WeightStore, keep: float) -> None:
        """keep x own + (1 - keep) x other's weights; 0 takes them over as they are."""
        ...

    def state(self) -> dict[str, Any]:
        """Weights (where `save_pretrained` would round them) and optimizer state by name of the weight; knows neither ranks nor pieces.

        All ranks call it; it is complete on the first.
        """
        ...

    def load(self, state: Mapping[str, Any]) -> None:
        """What any store's `state` told, complete on every rank. All ranks call it."""
        ...
