"""AdamW and its learning rate, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from rlzoo.engine.learning.optimizer import adamw, learning_rate
from rlzoo.training_config import LearnerConfig


def test_weight_decay_spares_norms_and_biases():
    """Without a gradient to speak of, a step multiplies matrices by 1 - lr·decay and leaves vectors alone."""
    matrix, vector = nn.Parameter(torch.full((2, 2), 4.0)), nn.Parameter(torch.full((2,), 4.0))
    optimizer = adamw([vector, matrix], LearnerConfig(lr=0.5, weight_decay=0.1))
    for parameter in (matrix, vector):
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert matrix.flatten().tolist() == pytest.approx([3.8] * 4)
    assert vector.tolist() == [4.0, 4.0]


@pytest.mark.parametrize(
    ("schedule", "step", "progress", "expected"),
    [
        ("constant", 1, 0.0, 0.25),
        ("constant", 2, 0.0, 0.5),
        ("constant", 4, 0.5, 1.0),
        ("constant", 9, 1.0, 1.0),
        ("linear", 4, 0.25, 0.2 + 0.8 * 0.75),
        ("linear", 2, 0.25, 0.5 * (0.2 + 0.8 * 0.75)),
        ("linear", 4, 1.0, 0.2),
        ("cosine", 4, 0.0, 1.0),
        ("cosine", 4, 0.5, 0.2 + 0.8 * 0.5),
        ("cosine", 4, 1 / 3, 0.2 + 0.8 * 0.75),
        ("cosine", 4, 1.0, 0.2),
    ],
)
def test_the_learning_rate_by_hand(schedule: str, step: int, progress: float, expected: float):
    """Four steps of warm-up, and a floor of a fifth."""
    settings = LearnerConfig(lr=1.0, warmup_steps=4, schedule=schedule, lr_floor=0.2)  # type: ignore[arg-type]
    assert math.isclose(learning_rate(settings, step, progress), expected, rel_tol=1e-12)
    assert learning_rate(LearnerConfig(lr=0.3), 1, 0.0) == 0.3
