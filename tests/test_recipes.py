"""Recipes of the package: each is whole under every objective, those of papers hold what was published, and the docs name all."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlzoo import configure, registry

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", configure.recipes())
def test_each_is_whole_under_every_objective(name: str) -> None:
    for algo in registry.objectives.names():
        config = configure.load(recipe=name, algo=algo)
        assert config.objective.name == algo
        assert configure.validate(config.model_dump(mode="json")) == config


def test_cepo_as_its_script_has_it() -> None:
    """Two updates of 16 prompts, 8 rollouts each; adapters of rank 16, scaled by 32 / 16."""
    config = configure.load(recipe="paper-cepo")
    sampling, learner = config.sampling, config.learner
    assert config.objective.name == "cepo"
    assert config.objective.model_dump()["clip_high"] == 0.28 and config.objective.model_dump()["dual_clip"] == 3.0
    assert sampling.prompts_per_step / learner.updates_per_step == 16 and sampling.group_size == 8
    assert (sampling.max_prompt, sampling.max_response, sampling.temperature) == (768, 2048, 1.0)
    assert (learner.lr, learner.schedule, config.budget.steps) == (5e-6, "constant", 50)
    assert (config.lora.rank, config.lora.alpha, config.model.dtype) == (16, 32, "bfloat16")


def test_grpo_as_its_paper_has_it() -> None:
    config = configure.load(recipe="paper-grpo")
    sampling, learner = config.sampling, config.learner
    assert sampling.prompts_per_step * sampling.group_size == 1024 and sampling.group_size == 64
    assert (learner.updates_per_step, learner.lr, sampling.max_response) == (1, 1e-6, 1024)
    assert config.objective.model_dump()["kl_coef"] == 0.04


def test_the_two_mcpo() -> None:
    mastery, contrastive = (configure.load(recipe=f"paper-mcpo-{name}") for name in ("mastery", "contrastive"))
    assert (mastery.eval.samples, mastery.eval.temperature) == (8, 0.7)
    assert mastery.learner.updates_per_step > 1  # in a step's first update the hinge is 0
    assert (contrastive.sampling.prompts_per_step, contrastive.sampling.group_size) == (128, 16)
    assert contrastive.learner.updates_per_step == 1  # 128 prompts a batch, 128 an update
    assert (contrastive.eval.samples, contrastive.eval.temperature, contrastive.eval.top_p) == (16, 0.6, 0.95)


def test_what_each_size_of_machine_gets() -> None:
    small, large, eight, two = (configure.load(recipe=name) for name in ("gpu-24gb", "gpu-80gb", "gpus-8", "nodes-2"))
    assert {config.sampling.backend for config in (small, large, eight, two)} == {"vllm"}
    assert (small.lora.rank, large.lora.rank) == (32, 0)
    assert [config.learner.shard for config in (small, large, eight, two)] == ["none", "none", "fsdp2", "fsdp2"]
    assert [config.sampling.steps_ahead for config in (small, large, eight, two)] == [0, 0, 0, 1]
    assert two.sampling.place == "process" and two.learner.mismatch.mode == "tis"
    assert eight.sampling.prompts_per_step % (8 * eight.learner.updates_per_step) == 0  # each rank gets as many
    assert two.sampling.prompts_per_step % (16 * two.learner.updates_per_step) == 0


@pytest.mark.parametrize("name", configure.recipes())
def test_the_docs_name_it(name: str) -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    assert f"`{name}`" in pages or f"--preset {name}" in pages
