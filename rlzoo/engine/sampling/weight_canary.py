"""Whether what samples holds the weights that are learned: its log-probs of a few tokens against the learner's."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from rlzoo.engine.model.sequences import Sequences
from rlzoo.engine.model.weights.base import WeightStore
from rlzoo.engine.sampling.base import Decoding, Request
from rlzoo.engine.sampling.noise import row_key
from rlzoo.types import Rollout

BOUND = {"float32": 1e-4, "bfloat16": 0.25}
"""Nats between the two log-probs of any token, by `model.dtype`: rounding stays within. Over 2,000 responses of `tiny` on a CPU they differed by up to 1.1e-5 in float32
and 0.245 in bfloat16, where weights that are a few small updates old may hide within the bound."""

LONG, SHORT, DRAWN = 72, (3, 7, 12), 4
"""Tokens of the prompts, one of them longer than two blocks of vLLM's prefix cache, so that a cache which was not dropped is seen; and
tokens drawn after each."""


def probes(vocabulary: int, room: int) -> list[Request]:
    """The same prompts every time, their tokens spread over the vocabulary. `room`: tokens of prompt and response together."""
    requests = []
    for length in (min(LONG, room - DRAWN), *SHORT):
        tokens = tuple(row_key("canary", length, place) % vocabulary for place in range(length))
        requests.append(Request(prompt_tokens=tokens, keys=(row_key("canary", length),)))
    return requests


def drawing(temperature: float) -> Decoding:
    """From the whole distribution, at the temperature of training."""
    return Decoding(temperature=temperature, max_response=DRAWN)


@torch.no_grad()
def gap(weights: WeightStore, rollouts: Sequence[Rollout]) -> float:
    """Largest absolute difference of the two log-probs; infinite where the learner's are not finite. All ranks call it."""
    sequences = Sequences([r.prompt_tokens for r in rollouts], [r.response_tokens for r in rollouts])
    learner_K = weights.forward(sequences).logps_K.double().cpu()
    sampler_K = torch.tensor([logp for r in rollouts for logp in r.sampler_logps], dtype=torch.float64)
    found = float((learner_K - sampler_K).abs().max())
    return found if math.isfinite(found) else math.inf
