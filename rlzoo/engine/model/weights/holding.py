"""Who holds a policy's weights, by the settings: the one place where that is chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch.utils.checkpoint import checkpoint

from rlzoo.config import LearnerConfig
from rlzoo.engine.model.policy import Policy
from rlzoo.engine.model.weights.base import WeightStore
from rlzoo.engine.model.weights.pieces import layers_of
from rlzoo.engine.model.weights.replicated import MakeOptimizer, Replicated
from rlzoo.engine.ranks import Ranks


def hold(
    policy: Policy,
    settings: LearnerConfig,
    ranks: Ranks,
    *,
    optimizer: MakeOptimizer | None,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> WeightStore:
    """The store of `learner.shard`. What is not trained is held by FSDP2 where the trained weights lie in pieces, else whole.

    `optimizer`: None for weights that are not trained. `dtype` and `device`: of computing, if others than the policy came with.
    """
    if optimizer is not None and settings.activation_checkpointing:
        recompute_layers(policy)
    if optimizer is None and holds_whole(settings):
        return Replicated(policy.requires_grad_(False), dtype=dtype, ranks=ranks)
    if settings.shard == "none":
        return Replicated(policy, dtype=dtype, optimizer=optimizer, ranks=ranks)
    _join_alone(ranks)
    if settings.shard == "fsdp2" or optimizer is None:
        from rlzoo.engine.model.weights.fsdp2 import Fsdp2

        return Fsdp2(policy, dtype=dtype, device=device, optimizer=optimizer, ranks=ranks, offload=settings.offload)
    from rlzoo.engine.model.weights.zero import Zero

    return Zero(policy, settings, dtype=dtype, device=device, optimizer=optimizer, ranks=ranks)


def holds_whole(settings: LearnerConfig) -> bool:
    """Whether every rank holds all weights, whoever holds gradients and the optimizer's state."""
    return settings.shard in ("none", "zero1", "zero2")


def _join_alone(ranks: Ranks) -> None:
    """A group of one, which sharding asks for where no launcher made one."""
    if ranks.world == 1 and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=torch._C._distributed_c10d.HashStore(), rank=0, world_size=1)


class Recomputed:
    """A layer's forward pass, of which only the input is kept for the backward pass."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        self.forward = forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.forward(*args, **kwargs)
        return checkpoint(self.forward, *args, use_reentrant=False, **kwargs)


def recompute_layers(policy: Policy) -> None:
    """Keep of each layer what enters it, and nothing else, until its backward pass."""
    for layer in layers_of(policy):
        plain: Any = layer
        plain.forward = Recomputed(layer.forward)
