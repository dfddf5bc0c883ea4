"""Weights of which each rank holds a piece: what every such store does alike, whoever cuts and gathers."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rlzoo.engine.model.divergence import Match, OutputWeights
from rlzoo.engine.model.policy import Outputs, Policy
from rlzoo.engine.model.sequences import Sequences
from rlzoo.engine.ranks import Ranks
from rlzoo.types import Pooling


class ShardedStore(ABC):
    """Weights cut up over ranks. A subclass cuts `policy`, gathers one weight at a time and steps."""

    module: Callable[..., Outputs]
    """What is called for a forward pass: the policy, or what was put around it."""
    named: Mapping[str, nn.Parameter]
    """What is trained, by name, as this rank holds it."""

    def __init__(self, policy: Policy, *, dtype: torch.dtype, device: torch.device, ranks: Ranks) -> None:
        self.policy = policy.eval()  # dropout would make skipped rows, resumed runs and equal micro-batches differ
        self.ranks = ranks
        self.dtype = dtype
        self.device = device
        self.trainable = frozenset(name for name, p in policy.named_parameters() if p.requires_grad)
        for module in policy.modules():
            for name, buffer in module._buffers.items():
                module._buffers[name] = None if buffer is None else buffer.to(device)
        self.shell = emptied(policy)
        self.aliases = names_of(policy)
        self._reached: list[Tensor] = []

    @abstractmethod
    def gathered(self, name: str) -> Tensor:
        """A weight, whole and unrounded, on the device. All ranks call it. Any shape"""

    @abstractmethod
    def place(self, name: str, whole: Tensor) -> None:
        """Keep this rank's piece of a weight that all ranks have whole. All ranks call it."""

    @property
    def wide(self) -> torch.dtype:
        return torch.promote_types(self.dtype, torch.float32)

    @property
    def hidden(self) -> int:
        return self.shell.hidden

    @property
    def num_parameters(self) -> int:
        return self.shell.num_parameters

    @property
    def num_frozen(self) -> int:
        return self.shell.num_frozen

    def precision(self, name: str) -> torch.dtype:
        """In which a weight is kept: what is trained, in float32 at least."""
        return self.wide if name in self.trainable else self.dtype

    # -- passes -------------------------------------------------------------------------------------------

    def forward(
        self,
        sequences: Sequences,
        *,
        pooling: Pooling | None = None,
        logps: bool = True,
        matches: Sequence[Match] = (),
    ) -> Outputs:
        outputs = self.module(sequences, pooling=pooling, logps=logps, matches=matches)
        self._remember(outputs)
        return outputs

    def _remember(self, outputs: Outputs) -> None:
        told = [outputs.logps_K, outputs.entropy_K, outputs.embeddings_BH, outputs.hidden_KH, *outputs.divergences]
        self._reached = [t for t in told if t is not None and t.requires_grad]

    def reaching(self, loss: Tensor) -> Tensor:
        """The loss, with a gradient of zero for all that the last pass told. Scalar

        A loss that leaves an output out on one rank alone would leave weights without a gradient there, and the others waiting.
        """
        whole: Tensor = _Reaching.apply(loss, *self._reached)  # type: ignore[no-untyped-call]
        self._reached = []
        return whole

    # -- weights ------------------------------------------------------------------------------------------

    def exact(self) -> Iterator[tuple[str, Tensor]]:
        for name, _ in self.shell.named_parameters():
            yield name, self.gathered(name)

    def full(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in self.exact():
            for alias in self.aliases[name]:
                yield alias.removeprefix("model."), tensor.to(self.dtype)
        yield from kept_buffers(self.shell.model)

    @contextmanager
    def whole(self, *, host: bool = False) -> Iterator[Policy]:
        held: dict[str, Tensor] = {}
        for name, tensor in self.exact():
            if not host:
                held[name] = tensor.to(self.dtype, copy=True)
            elif self.ranks.first:
                held[name] = tensor.to("cpu", self.dtype, copy=True)
        yield filled(self.shell, held)

    def output_weights(self) -> OutputWeights:
        layer, names = self.shell.output, {id(p): name for name, p in self.shell.named_parameters()}

        def read(parameter: Tensor | None) -> Tensor | None:
            return None if parameter is None else self.gathered(names[id(parameter)]).to(self.dtype, copy=True)

        weight_VH = read(layer.weight)
        assert weight_VH is not None
        return OutputWeights(weight_VH, read(layer.bias))

    @torch.no_grad()
    def take(self, policy: Policy | None) -> None:
        source = dict(policy.named_parameters()) if policy is not None else {}
        for name, parameter in self.shell.named_parameters():
            if self.ranks.first:
                whole = source[name].detach().to(self.device, self.precision(name), copy=True).contiguous()
            else:
                whole = torch.empty(parameter.shape, dtype=self.precision(name), device=self.device)
            self._tell(whole)
            self.place(name, whole)
        buffers = dict(policy.named_buffers()) if policy is not None else {}
        for name, buffer in self.shell.named_buffers():
            if self.ranks.first:
                buffer.copy_(buffers[name])
            self._tell(buffer)

    def _tell(self, tensor: Tensor) -> None:
        if self.ranks.world > 1:
            dist.broadcast(tensor, 0)

    @torch.no_grad()
    def follow(self, other: Any, keep: float) -> None:
        for name, theirs in other.exact():
            if keep and name in self.trainable:
                theirs = torch.lerp(self.gathered(name), theirs, 1 - keep)
            self.place(name, theirs.to(self.precision(name)))

    # -- a checkpoint -------------------------------------------------------------------------------------

    def weights_state(self) -> dict[str, dict[str, Tensor]]:
        """Every weight by each of its names, as it is computed with; and those that this rounds. Complete on the first rank. Any shape"""
        weights: dict[str, Tensor] = {f"model.{name}": tensor.cpu() for name, tensor in kept_buffers(self.shell.model)}
        masters: dict[str, Tensor] = {}
        for name, tensor in self.exact():
            if self.ranks.first:
                rounded = tensor.to("cpu", self.dtype, copy=True)
                weights |= dict.fromkeys(self.aliases[name], rounded)
                if self.dtype != self.wide and name in self.trainable:
                    masters[name] = tensor.to("cpu", copy=True)
        return {"weights": weights, "masters": masters}

    def take_state(self, state: Mapping[str, Any]) -> None:
        """What `weights_state` told; every rank has all of it."""
        for name, _ in self.shell.named_parameters():
            held = state["masters"].get(name, (state["weights"] or {}).get(name))
            if held is not None:
                self.place(name, held.to(self.device, self.precision(name)))


class _Reaching(torch.autograd.Function):
    """The first tensor; the others get a gradient of zero."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, *reached: Tensor) -> Tensor:
        ctx.save_for_backward(*reached)
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return gradient, *(torch.zeros_like(t) for t in ctx.saved_tensors)


def emptied(policy: Policy) -> Policy:
    """The policy with its own modules and the same buffers, and weights that are shapes alone; ties stay."""
    memo: dict[int, Any] = {id(b): b for b in policy.buffers()}
    for parameter in policy.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
    return copy.deepcopy(policy, memo)


def filled(shell: Policy, held: Mapping[str, Tensor]) -> Policy:
    """A policy of the shell's shape with these weights, and none where nothing is held; it is not trained."""
    memo: dict[int, Any] = {id(b): b for b in shell.buffers()}
    for name, parameter in shell.named_parameters():
        memo[id(parameter)] = nn.Parameter(held.get(name, parameter.detach()), requires_grad=False)
    return copy.deepcopy(shell, memo).eval()


def names_of(policy: Policy) -> dict[str, list[str]]:
    """By the first name of each weight, all its names: a tied output layer has a second."""
    seen: dict[int, list[str]] = {}
    for name, parameter in policy.named_parameters(remove_duplicate=False):
        seen.setdefault(id(parameter), []).append(name)
    return {names[0]: names for names in seen.values()}


def kept_buffers(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The model's buffers that `save_pretrained` writes. Any shape"""
    for prefix, module in model.named_modules():
        for name, buffer in module._buffers.items():
            if buffer is not None and name not in module._non_persistent_buffers_set:
                yield f"{prefix}.{name}" if prefix else name, buffer


def layers_of(policy: Policy) -> list[nn.Module]:
    """The transformer's layers, by which weights are gathered and activations recomputed."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    found = [module for module in policy.modules() if isinstance(module, GradientCheckpointingLayer)]
    inner = {id(part) for layer in found for part in layer.modules() if part is not layer}
    return [layer for layer in found if id(layer) not in inner]


def give_room(policy: Policy, where: torch.device) -> None:
    """Memory for weights that are shapes so far; ties stay."""
    made: dict[int, nn.Parameter] = {}
    for module in policy.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.is_meta:
                if id(parameter) not in made:
                    empty = torch.empty_like(parameter, device=where)
                    made[id(parameter)] = nn.Parameter(empty, parameter.requires_grad)
                module._parameters[name] = made[id(parameter)]
