"""Adapters and vLLM: merged or as themselves, what is sampled from is what is trained, and a stale adapter turns red."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rlzoo.engine.model.loading import load_adapted, load_tokenizer
from rlzoo.engine.model.weights.adapted import Adapted
from rlzoo.engine.sampling.choice import open_sampler
from rlzoo.engine.sampling.vllm import VllmSampler
from rlzoo.engine.trainer import train
from rlzoo.errors import ConfigError, SamplerFault
from rlzoo.runs.folder import RunDir
from tests.adapters import stirred
from tests.scale.vllm_support import DECODING, flat, greatest_canary, largest_gap, requests_of, vllm_config
from tests.support import small_config

pytestmark = pytest.mark.scale

LORA = ("lora.rank=4", "lora.alpha=8")
SHORT = requests_of(8, 2)


def with_adapters(publish: str, stack: ExitStack, *more: str) -> tuple[Any, Adapted]:
    """A sampler beside adapters over `tiny`, published as they begin."""
    config = vllm_config(*LORA, f"lora.publish={publish}", *more)
    weights = Adapted(load_adapted(config))
    return open_sampler(config, load_tokenizer(config.model.path), weights, stack), weights


def test_an_adapter_is_published_alone_and_a_stale_one_turns_red(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seeded mistake: an adapter that goes by the name of the one before, of which vLLM keeps what it has."""
    with ExitStack() as stack:
        sampler, weights = with_adapters("adapter", stack)
        stirred(weights.policy, 0.05)
        assert largest_gap(weights, flat(sampler.sample(SHORT, DECODING))) > 1e-2  # not yet published
        sampler.publish(weights, 1)
        assert 0 < sampler.gap < 1e-4
        assert largest_gap(weights, flat(sampler.sample(SHORT, DECODING))) < 1e-4
        stirred(weights.policy, 0.05)
        adapt = sampler.engine.adapt

        def under_the_same_name(save: Any, updates: int) -> None:
            sampler.engine.adapter = replace_number(sampler.engine.adapter)
            adapt(save, updates)

        monkeypatch.setattr(sampler.engine, "adapt", under_the_same_name)
        with pytest.raises(SamplerFault, match=r"differ from the learner's by up to .* published twice"):
            sampler.publish(weights, 2)


def replace_number(request: Any) -> Any:
    """The request before it, so that the next one is the same again."""
    from vllm.lora.request import LoRARequest

    return LoRARequest("before", request.lora_int_id - 1, request.lora_path) if request.lora_int_id > 1 else None


@pytest.mark.long
def test_merged_weights_are_published() -> None:
    """The output layer is tied: `full` names it, or vLLM would keep the old one."""
    with ExitStack() as stack:
        sampler, weights = with_adapters("merged", stack)
        stirred(weights.policy, 0.05)
        assert largest_gap(weights, flat(sampler.sample(SHORT, DECODING))) > 1e-2
        sampler.publish(weights, 1)
        assert largest_gap(weights, flat(sampler.sample(SHORT, DECODING))) < 1e-4


def test_an_adapter_that_nobody_could_publish_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"lora\.rank is 0, so that there is none"):
        VllmSampler.fit(vllm_config("lora.publish=adapter"))
    with pytest.raises(ConfigError, match="holds no adapter of more than 512"):
        VllmSampler.fit(vllm_config("lora.publish=adapter", "lora.rank=600"))
    from rlzoo.engine.sampling.transformers import TransformersSampler

    with pytest.raises(ConfigError, match="computes with the learner's own adapters"):
        TransformersSampler.fit(small_config("lora.publish=adapter", "lora.rank=4"))


@pytest.mark.long
@pytest.mark.parametrize("place", ["inside", "process"])
@pytest.mark.parametrize("publish", ["merged", "adapter"])
def test_the_canary_is_green_after_each_of_20_updates(publish: str, place: str, tmp_path: Path) -> None:
    config = vllm_config(
        *LORA,
        f"lora.publish={publish}",
        f"sampling.place={place}",
        *("eval.at_start=false", "eval.at_end=false", "learner.lr=1e-3", "learner.updates_per_step=1"),
        steps=20,
    )
    train(config, tmp_path / "run")
    run = RunDir(tmp_path / "run")
    lines = run.metrics()
    assert [line["step"] for line in lines] == list(range(1, 21))
    assert [{row["policy_version"] for row in run.rollouts(step)} for step in (1, 20)] == [{0}, {19}]
    print(f"{publish}, {place}: canary at most {greatest_canary(lines):.2e}")
