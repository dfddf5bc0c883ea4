"""Gradients of domains: each over its own rows, the parts of a loss over rows that see each other included."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rlzoo.engine.diagnostics import Diagnostics
from rlzoo.engine.step import Step
from rlzoo.laws.lab import DOMAINS, Bench, toy_groups, toy_policy

GROUPS = toy_groups(policy=toy_policy())


def measured(section: str | dict[str, Any], **changes: Any) -> tuple[Bench, Step, Diagnostics]:
    bench = Bench(section, **changes)
    nobody: Any = None  # interference samples and records nothing
    return bench, bench.step(GROUPS), Diagnostics(bench.config, bench.learner, nobody, nobody, nobody)


def whole(bench: Bench, step: Step) -> Tensor:
    """The policy's own gradient of one update of all rows; heads come last."""
    return bench.gradient(step)[: sum(p.numel() for p in bench.policy.parameters())]


def test_parts_of_a_coupled_loss_add_up_to_the_whole() -> None:
    """A domain's part is per row of its own: weighted by its share of rows, what the coupled loss adds sums to its gradient."""
    parts, gradients = [], []
    for section in ("mcpo-contrastive", "grpo"):
        bench, step, diagnostics = measured(section)
        gradients.append(whole(bench, step))
        parts.append(diagnostics.gradients(step))
        rows = step.batch.domain_ids_B
    added = torch.zeros_like(gradients[0])
    for i, name in enumerate(DOMAINS):
        added += (parts[0][name] - parts[1][name]) * float((rows == i).double().mean())
    assert float(added.norm()) > 1e-3
    torch.testing.assert_close(added, gradients[0] - gradients[1], rtol=1e-9, atol=1e-12)


def test_a_domain_has_cosine_one_with_itself_in_float32() -> None:
    _, step, diagnostics = measured("mcpo-contrastive", dtype=torch.float32)
    found = diagnostics.interference(step)
    assert found["domains"] == list(DOMAINS)
    assert all(abs(found["cosine"][i][i] - 1) < 1e-9 for i in range(len(DOMAINS)))


def test_measuring_leaves_gradients_and_counts_as_they_were() -> None:
    bench, step, diagnostics = measured("mcpo-contrastive")
    before = replace(step.costs)
    diagnostics.interference(step)
    passes = 3 * sum(step.sequences.lengths)  # forward and backward over every row, as forward passes
    assert step.costs.train_tokens == before.train_tokens
    assert 0 < step.costs.extra_tokens - before.extra_tokens <= passes
    assert all(p.grad is None for p in bench.policy.parameters())
