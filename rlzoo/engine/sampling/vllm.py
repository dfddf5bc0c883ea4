"""Sampling with vLLM: in the trainer's process, in a server of the run's own, or in one that is already there.

The same rollouts as any sampler's, and the weights handed on by name. After each `publish` a few tokens are drawn and the learner asked
for their log-probs too: what samples is never other than what learns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from rlzoo.config import RunConfig
from rlzoo.engine.model.loading import locate
from rlzoo.engine.model.room import Room, context_of
from rlzoo.engine.model.weights.adapted import Adapted
from rlzoo.engine.model.weights.base import WeightStore
from rlzoo.engine.ranks import Ranks
from rlzoo.engine.sampling import weight_canary as canary
from rlzoo.engine.sampling.base import Decoding, Request, Sampler, end_tokens
from rlzoo.engine.sampling.engines import Draw, Engine, Sampled, Serving, adapter_room, check_dtype, installed
from rlzoo.engine.sampling.vllm_worker import shape_of
from rlzoo.errors import Diverged, SamplerFault
from rlzoo.types import Rollout


def served_by(
    config: RunConfig, shape: Mapping[str, Any], context: int | None, *, adapted: bool | None = None
) -> Serving:
    """What an engine has to serve for a run. `context`: the model's own, None where it has no end. `adapted`: whether there are adapters to
    publish alone; None for as the settings say."""
    adapted = config.lora.publish == "adapter" if adapted is None else adapted
    tokens = config.sampling.max_prompt + config.sampling.max_response
    return Serving(
        model=locate(config.model.path),
        dtype=config.model.dtype,
        room=tokens if context is None else min(tokens, context),
        rows=config.sampling.max_rows,
        shape=shape,
        adapter=adapter_room(config.lora.rank) if adapted else 0,
    )


class VllmSampler(Sampler):
    """An engine of vLLM behind the sampler's protocol. A response's seed is its noise key, so that neither the order of requests nor the
    responses beside it matter beyond rounding; `sampling.noise` says nothing here."""

    name = "vllm"
    elsewhere = True

    def __init__(self, config: RunConfig, tokenizer: Any) -> None:
        super().__init__(config, tokenizer)
        self.engine: Engine | None = None
        self.ends: tuple[int, ...] = ()
        """Tokens that end a response."""
        self.probes: list[Request] = []
        self.gap = 0.0
        """As the canary found it last."""

    @classmethod
    def fit(cls, config: RunConfig) -> None:
        super().fit(config)
        check_dtype(config.model.dtype)
        if config.lora.publish == "adapter":
            adapter_room(config.lora.rank)
        place = config.sampling.place
        if not place.startswith("http"):
            installed()
            return
        from rlzoo.engine.sampling.servers import greet

        settings = AutoConfig.from_pretrained(locate(config.model.path))
        greet(place, served_by(config, shape_of(settings), context_of(settings)))

    @property
    def described(self) -> str:
        assert self.engine is not None, "a sampler is opened first"
        place = self.config.sampling.place
        return f"vllm {self.engine.version}, {'server' if place.startswith('http') else place}"

    def open(self, weights: WeightStore, ranks: Ranks, folder: Path | None) -> None:
        super().open(weights, ranks, folder)
        sampling = self.config.sampling
        with weights.whole() as policy:
            room = Room.of(policy.model)
            self.ends = end_tokens(self.tokenizer, getattr(policy.model, "generation_config", None))
            shape = shape_of(policy.model.config)
        adapted = self.config.lora.publish == "adapter" and isinstance(weights, Adapted)  # a test's are merged
        served = served_by(self.config, shape, room.context, adapted=adapted)
        self.probes = canary.probes(room.rows, served.room)
        if sampling.place == "inside":
            from rlzoo.engine.sampling.inside import Inside

            self.engine = Inside(served, device=weights.device, world=ranks.world)
        else:
            from rlzoo.engine.sampling.servers import open_server

            on_device = weights.device.type == "cuda" and sampling.place == "process" and not adapted
            self.engine = open_server(sampling.place, served, ranks, folder, on_device=on_device)

    def sample(self, requests: Sequence[Request], decoding: Decoding) -> list[tuple[Rollout, ...]]:
        if self.policy_version < 0:
            raise SamplerFault(
                "no weights were published before the first sample, so other weights than the learner's would answer. Call publish() first."
            )
        groups = self._draw(requests, decoding)
        if not all(math.isfinite(logp) for group in groups for rollout in group for logp in rollout.sampler_logps):
            raise self._diverged()
        return groups

    def publish(self, weights: WeightStore, updates: int) -> None:
        """As the base says, and held against the learner; published once more where they differ. SamplerFault if they still do."""
        super().publish(weights, updates)
        bound = canary.BOUND[self.config.model.dtype]
        for _ in range(2):
            self._load(weights, updates)
            self.gap = self._canary(weights)
            if self.gap <= bound:
                return
        if math.isinf(self.gap):
            raise self._diverged()
        raise SamplerFault(
            f"vLLM's log-probs differ from the learner's by up to {self.gap:.3g} nats on the weights of update {updates}, published twice; "
            f"{bound:g} is what rounding makes in {self.config.model.dtype}. It would sample from another policy than the one that is "
            "learned. Go on from the last checkpoint with sampling.backend=transformers in a new run, or report the architecture "
            f"({self.config.model.path!r}) and vLLM's version ({self.engine.version if self.engine else ''}): vLLM may not take all of its weights."
        )

    def sleep(self) -> None:
        assert self.engine is not None, "a sampler is opened first"
        self.engine.sleep()

    def wake(self) -> None:
        assert self.engine is not None, "a sampler is opened first"
        self.engine.wake()

    def measured(self) -> Mapping[str, float]:
        return {"mismatch/canary": self.gap}

    def close(self) -> None:
        if self.engine is not None:
            self.engine.close()

    # -- within ------------------------------------------------------------------------------------------

    def _load(self, weights: WeightStore, updates: int) -> None:
        """Hand the weights on: each rank to its own engine, or the first rank to the one that all share."""
        assert self.engine is not None, "a sampler is opened first"
        publish = self._publication(self.engine, weights, updates)
        if not self.engine.shared:
            publish()
            return
        self.ranks.decide(publish)
        if not self.ranks.first:
            self.engine.follow(updates)

    def _publication(self, engine: Engine, weights: WeightStore, updates: int) -> Callable[[], None]:
        """What hands the weights on. All ranks call it."""
        if isinstance(weights, Adapted) and self.config.lora.publish == "adapter":
            return partial(engine.adapt, weights.save_adapter, updates)
        if not engine.shared:
            return partial(engine.load, weights.full(), updates)
        held = [
            (name, weight if engine.on_device else weight.cpu())
            for name, weight in weights.full()  # all ranks gather, and one keeps
            if self.ranks.first
        ]
        return partial(engine.load, iter(held), updates)

    def _canary(self, weights: WeightStore) -> float:
        """The largest difference on any rank."""
        assert self.engine is not None, "a sampler is opened first"
        how = canary.drawing(self.config.sampling.temperature)
        groups = (
            self.ranks.decide(lambda: self._draw(self.probes, how))
            if self.engine.shared
            else self._draw(self.probes, how)
        )
        return max(self.ranks.gather(canary.gap(weights, [rollout for group in groups for rollout in group])))

    def _draw(self, requests: Sequence[Request], decoding: Decoding) -> list[tuple[Rollout, ...]]:
        assert self.engine is not None, "a sampler is opened first"
        settings = {
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "top_k": decoding.top_k,
            "max_tokens": decoding.max_response,
            "stop_token_ids": list(self.ends),
            "logprobs": 0,
            "detokenize": False,
        }
        draws = [Draw(request.prompt_tokens, key % 2**63) for request in requests for key in request.keys]
        drawn = self.engine.draw(draws, settings)
        said = [one.tokens[:-1] if one.tokens[-1] in self.ends else one.tokens for one in drawn]
        texts = self.tokenizer.batch_decode(said, skip_special_tokens=True)
        made = iter(zip(drawn, texts, strict=True))
        return [tuple(self._rollout(request, *next(made)) for _ in request.keys) for request in requests]

    def _rollout(self, request: Request, drawn: Sampled, text: str) -> Rollout:
        return Rollout(
            prompt_tokens=request.prompt_tokens,
            response_tokens=tuple(drawn.tokens),
            sampler_logps=tuple(drawn.logps),
            text=text,
            truncated=drawn.tokens[-1] not in self.ends,
            policy_version=self.policy_version,
        )

    def _diverged(self) -> Diverged:
        return Diverged(
            "the policy's logits are not finite, so nothing can be sampled from it. Go on from an earlier checkpoint with a lower "
            f"learner.lr (now {self.config.learner.lr:g}), or look at the weights of {self.config.model.path!r}."
        )
