"""What tests of the vLLM sampler share: samplers, requests, gaps and models unlike the embedded one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from rlzoo.config import RunConfig
from rlzoo.engine.model.loading import frozen_store, load_tokenizer
from rlzoo.engine.model.passes import score
from rlzoo.engine.model.sequences import Sequences
from rlzoo.engine.model.weights.replicated import Replicated
from rlzoo.engine.sampling.base import Decoding, Request, Sampler
from rlzoo.engine.sampling.choice import open_sampler
from rlzoo.engine.sampling.noise import row_key
from rlzoo.types import Rollout
from tests.architectures import TRAINED, make
from tests.support import small_config

SHORT_CONTEXT = ("sampling.max_prompt=200", "sampling.max_response=24")
"""Room that the models of `tests/architectures.py` have."""


def vllm_config(*assignments: str, **more: Any) -> RunConfig:
    return small_config("sampling.backend=vllm", "model.device=cpu", *assignments, **more)


def other_model(folder: Path, name: str = "qwen3") -> Path:
    """An architecture and a tokenizer unlike the embedded model's; qwen3's output layer is its own. Heads of 32, the narrowest for which
    vLLM has attention on a CPU."""
    made = TRAINED[name]
    wide = {"hidden_size": 64, "num_attention_heads": 2, "head_dim": 32, "query_pre_attn_scalar": 32}
    kept = {key: value for key, value in wide.items() if key != "query_pre_attn_scalar" or key in made.settings}
    return make(replace(made, settings={**made.settings, **kept}), folder / name)


def opened(config: RunConfig, stack: ExitStack, folder: Path | None = None) -> tuple[Sampler, Replicated, Any]:
    """A sampler with the weights of `config` published; the weights; the tokenizer."""
    weights, tokenizer = frozen_store(config), load_tokenizer(config.model.path)
    return open_sampler(config, tokenizer, weights, stack, folder=folder), weights, tokenizer


def requests_of(count: int, group: int, *, longest: int = 40, tokens: int = 60, name: str = "r") -> list[Request]:
    """Prompts of several lengths, of tokens that any table holds."""
    made = []
    for at in range(count):
        length = 1 + row_key(name, at) % longest
        prompt = tuple(3 + row_key(name, at, place) % (tokens - 3) for place in range(length))
        made.append(Request(prompt_tokens=prompt, keys=tuple(row_key(name, "key", at, k) for k in range(group))))
    return made


def flat(groups: Sequence[tuple[Rollout, ...]]) -> list[Rollout]:
    return [rollout for group in groups for rollout in group]


def largest_gap(weights: Replicated, rollouts: Sequence[Rollout]) -> float:
    """Between the rollouts' log-probs and those of a pass over whole sequences."""
    sequences = Sequences([r.prompt_tokens for r in rollouts], [r.response_tokens for r in rollouts])
    logps_BT = score(weights, sequences, width=sequences.width, budget=8192).logps_BT
    told = [torch.tensor(r.sampler_logps) - logps_BT[i, : len(r.sampler_logps)] for i, r in enumerate(rollouts)]
    return float(torch.cat(told).abs().max())


@torch.no_grad()
def disturb(weights: Replicated, scale: float) -> None:
    """Seeded noise on every weight."""
    generator = torch.Generator().manual_seed(1)
    for parameter in weights.policy.model.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=scale)


DECODING = Decoding(max_response=16)


def greatest_canary(lines: Sequence[Mapping[str, float]]) -> float:
    """Of all steps, shown to be within the bound of float32; so is every token that was compared, which steps that train nothing do not."""
    canaries = [line["mismatch/canary"] for line in lines]
    assert all(0 < canary < 1e-4 for canary in canaries), canaries
    compared = [line["mismatch/max"] for line in lines if "mismatch/max" in line]
    assert compared and max(compared) < 1e-4, compared
    return max(canaries)
