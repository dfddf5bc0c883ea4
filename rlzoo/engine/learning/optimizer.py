"""The optimizer, and its learning rate as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from rlzoo.training_config import LearnerConfig


def adamw(parameters: Iterable[nn.Parameter], settings: LearnerConfig) -> torch.optim.AdamW:
    """AdamW as `learner.*` describes it, in one kernel on CUDA. Vectors, which are norms and biases, are not decayed."""
    found = list(parameters)
    fused = bool(found) and all(p.is_cuda for p in found)
    groups = [
        {"params": [p for p in found if p.dim() >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in found if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.lr,
        betas=settings.betas,
        eps=settings.eps,
        fused=fused or None,
    )


def learning_rate(settings: LearnerConfig, step: int, progress: float) -> float:
    """Of rollout step `step` (from 1) when the share `progress` of the budget is spent. There is no scheduler state to lose."""
    rate = settings.lr * min(1.0, step / settings.warmup_steps if settings.warmup_steps else 1.0)
    left = {"constant": 1.0, "linear": 1 - progress, "cosine": 0.5 * (1 + math.cos(math.pi * progress))}
    return rate * (settings.lr_floor + (1 - settings.lr_floor) * left[settings.schedule])
