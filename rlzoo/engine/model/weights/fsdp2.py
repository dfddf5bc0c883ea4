"""PyTorch's `fully_shard`: each rank holds a slice of every weight, its gradient, its master and its optimizer state."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from rlzoo.engine.model.policy import Policy
from rlzoo.engine.model.weights.pieces import ShardedStore, give_room, layers_of
from rlzoo.engine.model.weights.replicated import MakeOptimizer
from rlzoo.engine.ranks import Ranks


class Fsdp2(ShardedStore):
    """Weights in slices, gathered layer by layer for a pass. What is trained is kept in float32 and rounded as it is gathered."""

    def __init__(
        self,
        policy: Policy,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
        optimizer: MakeOptimizer | None = None,
        ranks: Ranks,
        offload: bool = False,
    ) -> None:
        """`policy`: the same on every rank; where its weights are shapes alone, `take` is to follow. `offload`: slices lie in host memory."""
        dtype, device = dtype or policy.output.weight.dtype, device or policy.device
        super().__init__(policy, dtype=dtype, device=device, ranks=ranks)
        self.offload = offload
        for name, parameter in policy.named_parameters():
            parameter.data = parameter.data.to(self.precision(name))
        mixed = MixedPrecisionPolicy(cast_forward_inputs=False)
        if self.wide != dtype:
            mixed = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=self.wide, cast_forward_inputs=False)
        kept = CPUOffloadPolicy(pin_memory=device.type == "cuda") if offload else OffloadPolicy()
        mesh = init_device_mesh(device.type, (ranks.world,))
        for part in (*layers_of(policy), policy):
            fully_shard(part, mesh=mesh, mp_policy=mixed, offload_policy=kept, reshard_after_forward=True)
        for module in policy.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)  # gradients are sums
                module.set_force_sum_reduction_for_comms(True)  # gloo scales nothing on the way
        self.module = policy
        give_room(policy, torch.device("cpu") if offload else device)
        if optimizer is None:
            policy.requires_grad_(False)
        self.slices: dict[str, Any] = dict(policy.named_parameters())
        self.named = {name: p for name, p in self.slices.items() if p.requires_grad}
        self.optimizer = None if optimizer is None else optimizer(self.named.values())

    # -- pieces -------------------------------------------------------------------------------------------

    @torch.no_grad()
    def gathered(self, name: str) -> Tensor:
        """As the base says. Any shape"""
        return self._whole(self.slices[name])

    def _whole(self, held: DTensor) -> Tensor:
        on_device: Any = held.to(self.device) if held.device != self.device else held
        whole: Tensor = on_device.full_tensor()
        return whole

    @torch.no_grad()
    def place(self, name: str, whole: Tensor) -> None:
        held = self.slices[name]
        held._local_tensor.copy_(self._slice(held, whole)._local_tensor)

    def _slice(self, held: DTensor, whole: Tensor) -> DTensor:
        """This rank's slice of a tensor that all ranks have whole; nothing is sent."""
        return distribute_tensor(whole, held.device_mesh, held.placements, src_data_rank=None)

    # -- the gradient -------------------------------------------------------------------------------------

    def begin(self) -> None:
        for parameter in self.named.values():
            parameter.grad = torch.zeros_like(parameter)

    def backward(self, loss: Tensor, *, last: bool) -> None:
        self.reaching(loss).backward()  # each micro-batch's gradient is summed over ranks as it is made

    def gradient(self) -> Tensor:
        found: list[Any] = [p.grad for p in self.named.values() if p.grad is not None]
        return torch.cat([self._whole(grad).reshape(-1).cpu().double() for grad in found])

    def clear(self) -> None:
        for parameter in self.named.values():
            parameter.grad = None

    @torch.no_grad()
    def step(self, lr: float, max_norm: float, *, veto: bool = False) -> float:
        assert self.optimizer is not None, "these weights are not trained"
        gradients: list[Any] = [p.grad for p in self.named.values() if p.grad is not None]
        slices = [grad._local_tensor for grad in gradients]
        squares = torch.zeros((), dtype=self.wide, device=self.device)
        for part in slices:
            squares += part.square().sum().to(self.device)
        self.ranks.all_reduce_sum([squares])
        norm = math.sqrt(squares) if math.isfinite(squares) else float(squares)
        if not veto and math.isfinite(norm):
            torch._foreach_mul_(slices, min(1.0, max_norm / (norm + 1e-6)))
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            self.optimizer.step()
        return norm

    # -- the weights --------------------------------------------------------------------------------------

    def copy(self) -> Fsdp2:
        twin = Fsdp2(
            copy.deepcopy(self.shell), dtype=self.dtype, device=self.device, ranks=self.ranks, offload=self.offload
        )
        twin.follow(self, 0.0)
        return twin

    @torch.no_grad()
    def follow(self, other: Any, keep: float) -> None:
        if not isinstance(other, Fsdp2):
            return super().follow(other, keep)
        for name, held in self.slices.items():
            own, theirs = held._local_tensor, other.slices[name]._local_tensor
            if keep and name in self.trainable:
                own.lerp_(theirs.to(own), 1 - keep)
            else:
                own.copy_(theirs)

    def state(self) -> dict[str, Any]:
        kept: Mapping[Any, Any] = {} if self.optimizer is None else self.optimizer.state
        optimizer: dict[str, dict[str, Tensor]] = {}
        for name, parameter in self.named.items():
            for key, value in kept.get(parameter, {}).items():
                whole = self._whole(value) if isinstance(value, DTensor) else value
                if self.ranks.first:
                    optimizer.setdefault(name, {})[key] = whole.to("cpu", copy=True)
        weights = self.weights_state()
        if self.optimizer is not None:  # a run's own are its checkpoint
            return {"masters": weights["masters"], "weights": None, "optimizer": optimizer}
        return {**weights, "optimizer": {}}

    @torch.no_grad()
    def load(self, state: Mapping[str, Any]) -> None:
        self.take_state(state)
        if self.optimizer is None:
            return
        for name, parameter in self.named.items():
            if name in state["optimizer"]:
                held: Any = parameter
                self.optimizer.state[parameter] = {
                    key: self._kept(held, value) if value.dim() else value.clone()
                    for key, value in state["optimizer"][name].items()
                }

    def _kept(self, held: DTensor, value: Tensor) -> DTensor:
        """An optimizer's tensor as this rank keeps it, beside its weight."""
        piece: Any = torch.empty_like(held)
        piece._local_tensor.copy_(self._slice(held, value.to(self.device, held.dtype))._local_tensor)
        kept: DTensor = piece
        return kept
