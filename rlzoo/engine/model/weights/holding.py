"""Who holds a policy's weights, by the settings: the one place where that is chosen."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
import torch.distributed as dist
from torch.utils.checkpoint import checkpoint

from rlzoo.engine.model.policy import Policy
from rlzoo.engine.model.weights.base import WeightStore
from rlzoo.engine.model.weights.pieces import layers_of
from rlzoo.engine.model.weights.replicated import MakeOptimizer, Replicated
from rlzoo.engine.ranks import Ranks
from rlzoo.errors import ConfigError
from rlzoo.training_config import LearnerConfig

OLDEST_DEEPSPEED = (0, 19)


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


def check_holding(settings: LearnerConfig) -> None:
    """Refuse holders of weights that are not installed, before a model is loaded. ConfigError"""
    if not settings.shard.startswith("zero"):
        return
    asked = f"learner.shard is {settings.shard!r}, which is DeepSpeed's,"
    instead = "Install it (pip install 'rlzoo[deepspeed]'), or use learner.shard=fsdp2, which needs nothing else."
    if find_spec("deepspeed") is None:
        raise ConfigError(f"{asked} but deepspeed is not installed, so nothing could hold the weights. {instead}")
    found = version("deepspeed")
    if tuple(int(part) for part in re.findall(r"\d+", found)[:2]) < OLDEST_DEEPSPEED:
        oldest = ".".join(map(str, OLDEST_DEEPSPEED))
        raise ConfigError(
            f"{asked} but deepspeed is {found}, and before {oldest} it steps on gradients that are not finite. {instead}"
        )


def remarks(settings: LearnerConfig, ranks: Ranks) -> list[str]:
    """What is to be said of who holds the weights."""
    if settings.shard == "none" or ranks.world > 1:
        return []
    use = (
        "its slices lie in host memory" if settings.offload else "it saves no memory, and learner.shard=none is faster"
    )
    return [f"learner.shard is {settings.shard} on one rank, which holds all the weights there are: {use}."]


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
