"""vLLM in the trainer's process: what it samples is what the learner would, whatever the model, and a mistake in handing on turns red."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rlzoo.cli import main
from rlzoo.engine.model.loading import frozen_store
from rlzoo.engine.model.weights.replicated import Replicated
from rlzoo.engine.sampling import weight_canary as canary
from rlzoo.engine.sampling.base import Decoding, Request, Sampler
from rlzoo.engine.sampling.vllm import VllmSampler
from rlzoo.engine.trainer import train
from rlzoo.errors import Diverged, SamplerFault
from rlzoo.runs.folder import RunDir
from tests.architectures import TRAINED, make
from tests.scale.vllm_support import (
    DECODING,
    SHORT_CONTEXT,
    disturb,
    flat,
    greatest_canary,
    largest_gap,
    opened,
    other_model,
    requests_of,
    vllm_config,
)

pytestmark = pytest.mark.scale

Opened = tuple[VllmSampler, Replicated]


@pytest.fixture(scope="module")
def tiny() -> Iterator[Opened]:
    """One engine for the tests of this file; `tiny` ties its output layer to its table of tokens."""
    with ExitStack() as stack:
        sampler, weights, _ = opened(vllm_config(), stack)
        assert isinstance(sampler, VllmSampler)
        yield sampler, weights


@pytest.fixture
def whole(tiny: Opened) -> Iterator[Opened]:
    """The same, put back as it was."""
    sampler, weights = tiny
    before = {name: value.clone() for name, value in weights.policy.state_dict().items()}
    yield tiny
    weights.policy.load_state_dict(before)
    sampler.publish(weights, 0)


def tokens_of(sampler: Sampler, requests: list[Request], decoding: Decoding = DECODING) -> dict[int, tuple[int, ...]]:
    """Responses by noise key."""
    groups = sampler.sample(requests, decoding)
    return {
        key: rollout.response_tokens
        for request, group in zip(requests, groups, strict=True)
        for key, rollout in zip(request.keys, group, strict=True)
    }


def test_log_probs_are_those_of_the_learner(tiny: Opened) -> None:
    sampler, weights = tiny
    rollouts = flat(sampler.sample(requests_of(20, 4), DECODING))
    assert largest_gap(weights, rollouts) < 1e-4
    assert len({r.response_tokens for r in rollouts}) > 40


def test_responses_end_as_the_transformers_sampler_says(tiny: Opened) -> None:
    """The end token is the last and belongs to the response; what has none was cut; text is without it."""
    sampler, _ = tiny
    rollouts = flat(sampler.sample(requests_of(30, 4), DECODING))
    for rollout in rollouts:
        assert not set(sampler.ends) & set(rollout.response_tokens[:-1])
        assert rollout.truncated == (rollout.response_tokens[-1] not in sampler.ends)
        assert rollout.truncated == (len(rollout.response_tokens) == 16) or not rollout.truncated
        said = rollout.response_tokens if rollout.truncated else rollout.response_tokens[:-1]
        assert rollout.text == sampler.tokenizer.decode(said, skip_special_tokens=True)
        assert rollout.policy_version == sampler.policy_version
    assert {rollout.truncated for rollout in rollouts} == {True, False}


def test_the_order_of_requests_changes_no_token(tiny: Opened) -> None:
    sampler, _ = tiny
    requests = requests_of(24, 4)
    forward = tokens_of(sampler, requests)
    assert tokens_of(sampler, requests[::-1]) == forward
    apart = [Request(prompt_tokens=r.prompt_tokens, keys=(key,)) for r in requests for key in reversed(r.keys)]
    assert tokens_of(sampler, apart[1::2]) == {key: forward[key] for r in apart[1::2] for key in r.keys}


def test_a_seed_of_the_whole_request_would_be_seen(tiny: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """The seeded mistake: seeds by place in the batch."""
    sampler, _ = tiny
    assert sampler.engine is not None
    draw = sampler.engine.draw

    def misplaced(draws: Any, settings: Any) -> Any:
        return draw([one._replace(seed=place) for place, one in enumerate(draws)], settings)

    requests = requests_of(24, 4)
    monkeypatch.setattr(sampler.engine, "draw", misplaced)
    assert tokens_of(sampler, requests[::-1]) != tokens_of(sampler, requests)


def test_samples_of_a_prompt_share_its_prefill(tiny: Opened) -> None:
    """64 tokens are two blocks of the cache: the second response finds them there."""
    sampler, _ = tiny
    engine: Any = sampler.engine
    engine.llm.reset_prefix_cache()
    prompt = {"prompt_token_ids": [3 + place % 40 for place in range(70)]}
    params = [engine.params(max_tokens=2, seed=seed) for seed in range(4)]
    cached = [o.num_cached_tokens for o in engine.llm.generate([prompt] * 4, params, use_tqdm=False)]
    assert cached == [0, 64, 64, 64]


def test_published_weights_are_sampled_from_and_stale_ones_are_caught(
    whole: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler, weights = whole
    disturb(weights, 1e-4)
    assert largest_gap(weights, flat(sampler.sample(requests_of(10, 2), DECODING))) > 1e-4  # not yet published
    sampler.publish(weights, 7)
    rollouts = flat(sampler.sample(requests_of(10, 2), DECODING))
    assert largest_gap(weights, rollouts) < 1e-4
    assert {r.policy_version for r in rollouts} == {7}
    assert 0 < sampler.gap < 1e-4
    disturb(weights, 1e-4)
    calls: list[int] = []
    monkeypatch.setattr(sampler.engine, "load", lambda named, updates: calls.append(len(list(named))))
    with pytest.raises(SamplerFault, match=r"differ from the learner's by up to .* published twice"):
        sampler.publish(weights, 8)
    assert len(calls) == 2


def test_one_lost_publication_is_made_good(whole: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler, weights = whole
    assert sampler.engine is not None
    load, calls = sampler.engine.load, list[int]()

    def lossy(named: Iterator[tuple[str, Tensor]], updates: int) -> None:
        calls.append(updates)
        if len(calls) > 1:
            load(named, updates)

    monkeypatch.setattr(sampler.engine, "load", lossy)
    disturb(weights, 1e-3)
    sampler.publish(weights, 3)
    assert calls == [3, 3]


def test_a_tied_output_layer_that_is_not_named_turns_red(whole: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM reports success and keeps the old one."""
    sampler, weights = whole
    names = [name for name, _ in weights.full()]
    assert "lm_head.weight" in names
    assert "model.embed_tokens.weight" in names

    def unnamed(self: Replicated) -> Iterator[tuple[str, Tensor]]:
        return ((name, value) for name, value in full(self) if name != "lm_head.weight")

    full = Replicated.full
    monkeypatch.setattr(Replicated, "full", unnamed)
    disturb(weights, 1e-3)
    with pytest.raises(SamplerFault, match="may not take all of its weights"):
        sampler.publish(weights, 1)


def test_a_prefix_cache_that_is_kept_turns_red(whole: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler, weights = whole
    engine: Any = sampler.engine
    monkeypatch.setattr(engine.llm, "reset_prefix_cache", lambda: True)
    disturb(weights, 1e-2)
    with pytest.raises(SamplerFault, match="differ from the learner's"):
        sampler.publish(weights, 1)


def test_weights_that_are_not_finite_are_told_as_that(whole: Opened) -> None:
    sampler, weights = whole
    with torch.no_grad():
        weights.policy.output.weight[3] = float("nan")
    with pytest.raises(Diverged, match=r"lower learner\.lr"):
        sampler.publish(weights, 1)


def test_nothing_is_sampled_before_weights_were_published(tiny: Opened) -> None:
    sampler, _ = tiny
    fresh = VllmSampler(sampler.config, sampler.tokenizer)
    fresh.engine = sampler.engine
    with pytest.raises(SamplerFault, match="no weights were published before the first sample"):
        fresh.sample(requests_of(1, 1), DECODING)


def test_prompts_of_more_tokens_than_a_batch_holds_are_sampled(tiny: Opened) -> None:
    """One that was cut over two batches would stop vLLM: a seeded response's generator cannot be turned back on a CPU."""
    sampler, weights = tiny
    requests = requests_of(300, 1)
    assert sum(len(r.prompt_tokens) for r in requests) > 4096
    assert largest_gap(weights, flat(sampler.sample(requests, replace(DECODING, max_response=4)))) < 1e-4


def test_probes_are_the_same_every_time_and_fit(tiny: Opened) -> None:
    made = canary.probes(100, 40)
    assert made == canary.probes(100, 40)
    assert [len(r.prompt_tokens) for r in made] == [36, 3, 7, 12]
    assert all(0 <= token < 100 for r in made for token in r.prompt_tokens)
    assert len(canary.probes(100, 10_000)[0].prompt_tokens) == 72  # more than two blocks of 32


def test_truncated_sampling_draws_from_the_cut_distribution(tiny: Opened) -> None:
    sampler, _ = tiny
    rollouts = flat(sampler.sample(requests_of(5, 2), replace(DECODING, top_k=1)))
    assert all(abs(logp) < 1e-6 for rollout in rollouts for logp in rollout.sampler_logps)


# -- other engines in this process: the shared one is not asked again -------------------------------------


def test_the_first_publication_is_what_brings_a_runs_own_weights() -> None:
    """With noise on the initial weights, what vLLM read from the model's folder is not what is trained."""
    jittered = vllm_config("model.jitter=0.01", "seed=3")
    with ExitStack() as stack:
        other, own, _ = opened(jittered, stack)
        assert largest_gap(own, flat(other.sample(requests_of(5, 2), DECODING))) < 1e-4
        plain = frozen_store(vllm_config())
        assert largest_gap(plain, flat(other.sample(requests_of(5, 2), DECODING))) > 1e-2


@pytest.mark.parametrize("name", ["tiny", "qwen3"])
def test_a_run_trains_with_the_canary_green_after_every_update(name: str, tmp_path: Path) -> None:
    more = () if name == "tiny" else (f"model.path={other_model(tmp_path, name)}", *SHORT_CONTEXT)
    every = ("eval.at_start=false", "eval.at_end=false", "learner.skip=false")  # rows of no advantage are compared, too
    config = vllm_config(*every, "learner.lr=1e-3", *more, steps=2)
    train(config, tmp_path / "run")
    lines = RunDir(tmp_path / "run").metrics()
    assert [line["step"] for line in lines] == [1, 2]
    assert all("mismatch/max" in line for line in lines) and greatest_canary(lines) > 0
    assert RunDir(tmp_path / "run").provenance().sampler.startswith("vllm 0.32")


def test_an_evaluation_asks_vllm_too(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "eval",
        "tiny",
        "--json",
        "--samples",
        "2",
        "--per-level",
        "2",
        "--set",
        "sampling.backend=vllm",
        "--set",
        "model.device=cpu",
    ]
    assert main.run(words) == 0
    record = json.loads(capsys.readouterr().out)["record"]
    assert record["samples"] == 2
    assert all(len(attempt["status"]) == 2 for attempt in record["problems"])


def test_an_architecture_without_kernels_is_told_as_that(tmp_path: Path) -> None:
    """vLLM has no attention for heads of 8 on a CPU, and says so only when it samples."""
    narrow = make(TRAINED["qwen3"], tmp_path / "narrow")
    with ExitStack() as stack, pytest.raises(SamplerFault, match=r"it may lack a kernel for this architecture"):
        opened(vllm_config(f"model.path={narrow}", *SHORT_CONTEXT), stack)
