"""Policies with adapters that tests are tried on."""

from __future__ import annotations

from typing import Any

import torch

from rlzoo.engine.model.lora import AdaptedPolicy, adapted
from rlzoo.laws.lab import toy_policy
from rlzoo.training_config import LoraConfig


def toy_adapted(rank: int = 4, noise: float = 0.0, seed: int = 0, **settings: Any) -> AdaptedPolicy:
    """The laboratory's policy with adapters of alpha 8; with `noise`, their second factors are not zero."""
    policy = adapted(toy_policy(), LoraConfig(rank=rank, alpha=8, **settings), base="toy", seed=seed)
    return stirred(policy, noise)


@torch.no_grad()
def stirred(policy: AdaptedPolicy, noise: float) -> AdaptedPolicy:
    """The same policy, `noise` times normal numbers added to its adapters' second factors."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in policy.adapters.items():
        if "lora_B" in name:
            parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter.dtype), alpha=noise)
    return policy
