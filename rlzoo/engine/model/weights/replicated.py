"""Every rank holds all weights; gradients are summed over ranks. Exact, and right for models that one device holds."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rlzoo.engine.model.divergence import Match, OutputWeights
from rlzoo.engine.model.policy import Outputs, Policy
from rlzoo.engine.model.sequences import Sequences
from rlzoo.engine.ranks import Ranks
from rlzoo.types import Pooling

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class Replicated:
    """Weights on every rank. Those of less than float32 are rounded from float32 masters, which are what the optimizer steps."""

    def __init__(
        self,
        policy: Policy,
        *,
        dtype: torch.dtype | None = None,
        optimizer: MakeOptimizer | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        """`dtype`: the precision in which the model computes, if another than it came in. `optimizer`: None for weights not trained."""
        self.policy = policy.eval()  # dropout would make skipped rows, resumed runs and equal micro-batches differ
        self.ranks = ranks or Ranks()
        came = {name: p.detach() for name, p in policy.named_parameters()}
        if dtype is not None:
            policy.to(dtype)
        self.named = {name: p for name, p in policy.named_parameters() if p.requires_grad}
        self.masters: dict[str, nn.Parameter] = {
            name: p if _precise(p.dtype) else nn.Parameter(came[name].float().clone()) for name, p in self.named.items()
        }
        self.optimizer = None if optimizer is None else optimizer(self.masters.values())

    @property
    def device(self) -> torch.device:
        return self.policy.device

    @property
    def wide(self) -> torch.dtype:
        return self.policy.wide

    @property
    def hidden(self) -> int:
        return self.policy.hidden

    @property
    def num_parameters(self) -> int:
        return self.policy.num_parameters

    @property
    def num_frozen(self) -> int:
        return self.policy.num_frozen

    def forward(
        self,
        sequences: Sequences,
        *,
        pooling: Pooling | None = None,
        logps: bool = True,
        matches: Sequence[Match] = (),
    ) -> Outputs:
        outputs: Outputs = self.policy(sequences, pooling=pooling, logps=logps, matches=matches)
        return outputs

    # -- the gradient -------------------------------------------------------------------------------------

    def begin(self) -> None:
        for master in self.masters.values():
            master.grad = torch.zeros_like(master)

    def backward(self, loss: Tensor, *, last: bool) -> None:
        if loss.requires_grad:
            loss.backward()
        for name, parameter in self.named.items():
            master = self.masters[name]
            if master is not parameter and parameter.grad is not None and master.grad is not None:
                master.grad += parameter.grad  # many small micro-batches would be rounded away in bfloat16
                parameter.grad = None
        if last:
            self.ranks.all_reduce_sum(p.grad for p in self.masters.values() if p.grad is not None)

    def gradient(self) -> Tensor:
        return torch.cat([p.grad.reshape(-1).cpu().double() for p in self.masters.values() if p.grad is not None])

    def clear(self) -> None:
        self.policy.zero_grad(set_to_none=True)
        for master in self.masters.values():
            master.grad = None

    def step(self, lr: float, max_norm: float, *, veto: bool = False) -> float:
        assert self.optimizer is not None, "these weights are not trained"
        norm = float(nn.utils.clip_grad_norm_(self.masters.values(), max_norm))
        if not veto and math.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            self.optimizer.step()
            self._round()
        return norm

    @torch.no_grad()
    def _round(self) -> None:
        """Bring weights up to their masters."""
        for name, parameter in self.named.items():
            if self.masters[name] is not parameter:
                parameter.copy_(self.masters[name])

    # -- the weights --------------------------------------------------------------------------------------

    def whole(self, *, host: bool = False) -> AbstractContextManager[Policy]:
        return nullcontext(self.policy)  # as it lies: `save_pretrained` reads it from any device

    def exact(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self.policy.named_parameters():
            yield name, self.masters.get(name, parameter).detach()

    def output_weights(self) -> OutputWeights:
        return OutputWeights(self.policy.output.weight, self.policy.output.bias)

    @torch.no_grad()
    def take(self, policy: Policy | None) -> None:
        held = dict(self.policy.named_parameters()) | dict(self.policy.named_buffers())
        given = {} if policy is None else dict(policy.named_parameters()) | dict(policy.named_buffers())
        for name, tensor in held.items():
            tensor = self.masters.get(name, tensor)
            if self.ranks.first:
                tensor.copy_(given[name])
            if self.ranks.world > 1:
                dist.broadcast(tensor, 0)
        self._round()

    def full(self) -> Iterator[tuple[str, Tensor]]:
        yield from saved_names(self.policy.model, self.policy.model.state_dict())

    def copy(self) -> Replicated:
        twin = Replicated(copy.deepcopy(self.policy), ranks=self.ranks)
        twin.follow(self, 0.0)
        twin.policy.requires_grad_(False)
        return twin

    @torch.no_grad()
    def follow(self, other: Any, keep: float) -> None:
        held = dict(self.policy.named_parameters())
        for name, theirs in other.exact():
            if name in self.masters and keep:
                self.masters[name].lerp_(theirs.to(self.masters[name]), 1 - keep)
            elif not keep:
                self.masters.get(name, held[name]).copy_(theirs)
        self._round()

    def state(self) -> dict[str, Any]:
        rounded = {n: m.detach() for n, m in self.masters.items() if m is not self.named[n]}
        kept = {} if self.optimizer is None else self.optimizer.state
        return {
            "masters": rounded,
            "weights": self.policy.state_dict() if self.optimizer is None else None,  # a run's own are its checkpoint
            "optimizer": {name: dict(kept[master]) for name, master in self.masters.items() if master in kept},
        }

    @torch.no_grad()
    def load(self, state: Mapping[str, Any]) -> None:
        if state["weights"] is not None:
            self.policy.load_state_dict(state["weights"])
        for name, master in self.masters.items():
            if name in state["masters"]:
                master.copy_(state["masters"][name])
            if self.optimizer is not None and name in state["optimizer"]:
                aside = (
                    "cpu" if not self.optimizer.defaults.get("fused") else master.device
                )  # where it counts its steps
                self.optimizer.state[master] = {
                    key: value.clone().to(master.device if value.dim() else aside)
                    for key, value in state["optimizer"][name].items()
                }


def saved_names(model: Any, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """`weights` of `model` by the names that `save_pretrained` gives them; tied ones under each of their names. Any shape."""
    from transformers.core_model_loading import revert_weight_conversion

    named: dict[str, Tensor] = revert_weight_conversion(model, dict(weights))
    for name, weight in named.items():
        yield name, weight.detach()


def _precise(dtype: torch.dtype) -> bool:
    return dtype in (torch.float32, torch.float64)
