"""Decoding with the trained model itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from rlzoo.config import RunConfig
from rlzoo.engine.model.policy import Policy
from rlzoo.engine.model.sequences import Sequences
from rlzoo.engine.model.suitability import PROBE
from rlzoo.engine.model.weights.base import WeightStore
from rlzoo.engine.sampling.base import Decoding, Request, Sampler, end_tokens
from rlzoo.engine.sampling.noise import choose
from rlzoo.errors import Diverged, RlzooError, UnfitModel
from rlzoo.mishaps import machine_fault
from rlzoo.types import Rollout

CACHED_GAP = 1e-3
"""Nats between a token's log-prob while sampling and in its whole text, on average, that rounding may make."""
CACHED_GAP_ROUNDED = 0.25
"""The same in bfloat16, where a few hundredths are usual."""


class _SlabLayer(DynamicLayer):
    """A cache layer with its memory taken once: tokens are written in place and handed out as a view."""

    is_croppable = False

    def __init__(self, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.room = room
        self.length = 0
        self.slab_keys: Tensor | None = None
        self.slab_values: Tensor | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if self.slab_keys is None or self.slab_values is None:
            rows, heads, _, width = key_states.shape
            self.slab_keys = key_states.new_empty(rows, heads, self.room, width)
            self.slab_values = value_states.new_empty(rows, heads, self.room, value_states.shape[-1])
            self.is_initialized = True
        end = self.length + key_states.shape[-2]
        self.slab_keys[:, :, self.length : end] = key_states
        self.slab_values[:, :, self.length : end] = value_states
        self.length = end
        return self.slab_keys[:, :, :end], self.slab_values[:, :, :end]

    def get_seq_length(self) -> int:
        return self.length

    def batch_repeat_interleave(self, repeats: Any) -> None:
        assert self.slab_keys is not None and self.slab_values is not None
        self.slab_keys = self.slab_keys.repeat_interleave(repeats, dim=0)
        self.slab_values = self.slab_values.repeat_interleave(repeats, dim=0)

    def batch_select_indices(self, indices: Tensor) -> None:
        assert self.slab_keys is not None and self.slab_values is not None
        self.slab_keys, self.slab_values = self.slab_keys[indices], self.slab_values[indices]


def _cache(model: Any, room: int) -> Cache:
    """Slabs for full attention; the library's own cache for sliding windows and other kinds of layer."""
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    if set(kinds) == {"full_attention"}:
        return Cache(layers=[_SlabLayer(room) for _ in kinds])
    return DynamicCache(config=config)


class TransformersSampler(Sampler):
    """Decodes with the trained model itself, so publishing weights is free and log-probs agree to rounding.

    A prompt is prefilled once and its cache copied to its responses; finished rows leave the batch.
    """

    name = "transformers"

    def __init__(self, config: RunConfig, tokenizer: Any) -> None:
        super().__init__(config, tokenizer)
        self.max_rows = config.sampling.max_rows
        self.weights: WeightStore | None = None
        self.ends: tuple[int, ...] = ()
        """Tokens that end a response."""

    @classmethod
    def check(cls, kind: type, named: str) -> None:
        if getattr(kind, "_is_stateful", False):
            raise UnfitModel(
                f"model {named!r} is {kind.__name__}, which keeps a recurrent state where attention keeps a token's keys: prompts of several lengths "
                "cannot be read side by side and copied to their responses, as the sampler 'transformers' does. Use a model whose layers "
                "are all attention, or another sampling.backend."
            )

    def publish(self, weights: WeightStore, updates: int) -> None:
        super().publish(weights, updates)
        if self.weights is not weights:
            with weights.whole() as policy:
                self.ends = end_tokens(self.tokenizer, getattr(policy.model, "generation_config", None))
                self._check_cache(policy)
        self.weights = weights

    @torch.inference_mode()
    def _check_cache(self, policy: Policy) -> None:
        """Sample a little, and hold the log-probs against those of whole sequences. UnfitModel where they are not the same."""
        named, kind = self.config.model.path, type(policy.model).__name__
        requests = [Request(prompt_tokens=PROBE[:length], keys=(1, 2)) for length in (2, 4)]
        try:
            groups = self._decode(policy, requests, Decoding(temperature=policy.temperature, max_response=4))
        except RlzooError:
            raise
        except Exception as error:  # what a model's code makes of a cache that is not its own is anybody's guess
            if fault := machine_fault(error, self.config, "sample"):
                raise fault from error
            raise UnfitModel(
                f"model {named!r} is {kind}, which cannot be sampled from with one cache for several responses "
                f"({type(error).__name__}: {error}). Use another architecture, or another sampling.backend."
            ) from error
        rollouts = [rollout for group in groups for rollout in group]
        whole = policy(Sequences([r.prompt_tokens for r in rollouts], [r.response_tokens for r in rollouts])).logps_K
        cached = torch.tensor([logp for r in rollouts for logp in r.sampler_logps], device=whole.device)
        gap = float((whole - cached).abs().mean())
        if gap > (CACHED_GAP_ROUNDED if policy.output.weight.dtype == torch.bfloat16 else CACHED_GAP):
            raise UnfitModel(
                f"model {named!r} is {kind}, whose log-probs with a cache differ from those of the whole text (by {gap:.3g} nats on average), so "
                "what is sampled would not be what is trained on. Use another architecture, or another sampling.backend."
            )

    @torch.inference_mode()
    def sample(self, requests: Sequence[Request], decoding: Decoding) -> list[tuple[Rollout, ...]]:
        """As the base says. Memory is bounded by `sampling.max_rows` responses decoded side by side."""
        assert self.weights is not None, "weights are published before the first sample"
        with self.weights.whole() as policy:
            return self._sample(policy, requests, decoding)

    def _sample(self, policy: Policy, requests: Sequence[Request], decoding: Decoding) -> list[tuple[Rollout, ...]]:
        results: dict[int, tuple[Rollout, ...]] = {}
        order = sorted(range(len(requests)), key=lambda i: len(requests[i].prompt_tokens))
        start = 0
        while start < len(order):
            rows, stop = 0, start
            while stop < len(order) and (stop == start or rows + len(requests[order[stop]].keys) <= self.max_rows):
                rows += len(requests[order[stop]].keys)
                stop += 1
            batch = order[start:stop]
            for index, rollouts in zip(
                batch, self._decode(policy, [requests[i] for i in batch], decoding), strict=True
            ):
                results[index] = rollouts
            start = stop
        return [results[i] for i in range(len(requests))]

    def _decode(self, policy: Policy, requests: Sequence[Request], decoding: Decoding) -> list[tuple[Rollout, ...]]:
        device = policy.device
        counts = torch.tensor([len(request.keys) for request in requests], device=device)
        lengths = torch.tensor([len(request.prompt_tokens) for request in requests], device=device)
        width = int(lengths.max())
        ids = torch.zeros(len(requests), width, dtype=torch.long, device=device)
        for i, request in enumerate(requests):  # left-padded, so that all rows write the same cache column
            ids[i, width - len(request.prompt_tokens) :] = torch.tensor(request.prompt_tokens, device=device)
        padded = bool((lengths != width).any())
        mask = (torch.arange(width, device=device)[None, :] >= (width - lengths)[:, None]).long() if padded else None
        positions = (torch.arange(width, device=device)[None, :] - (width - lengths)[:, None]).clamp(min=0)
        cache: Any = _cache(policy.model, width + decoding.max_response)

        def forward(ids: Tensor, mask: Tensor | None, positions: Tensor) -> Tensor:
            return policy.last_hidden(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
            )

        hidden = forward(ids, mask, positions)

        cache.batch_repeat_interleave(counts)
        hidden = hidden.repeat_interleave(counts, 0)
        places = lengths.repeat_interleave(counts, 0)
        if mask is not None:
            mask = mask.repeat_interleave(counts, 0)
        keys = torch.tensor([key for request in requests for key in request.keys], dtype=torch.long, device=device)
        total = len(keys)
        alive = torch.arange(total, device=device)
        tokens = torch.zeros(total, decoding.max_response, dtype=torch.long, device=device)
        logps = torch.zeros(total, decoding.max_response, dtype=torch.float32, device=device)
        ended = torch.full((total,), decoding.max_response, dtype=torch.long, device=device)
        ends = torch.tensor(self.ends, device=device)
        for position in range(decoding.max_response):
            log_probs = _distribution(policy, hidden, decoding)
            chosen = choose(log_probs, keys[alive], position, decoding.noise)
            tokens[alive, position] = chosen
            logps[alive, position] = log_probs.gather(1, chosen[:, None]).squeeze(1)
            over = torch.isin(chosen, ends)
            ended[alive[over]] = position + 1
            if position + 1 == decoding.max_response or bool(over.all()):
                break
            if bool(over.any()):
                stay = (~over).nonzero().squeeze(1)
                alive, chosen, places = alive[stay], chosen[stay], places[stay]
                cache.batch_select_indices(stay)
                mask = None if mask is None else mask[stay]
            if mask is not None:
                mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
            hidden = forward(chosen[:, None], mask, places[:, None])
            places = places + 1
        if not bool(torch.isfinite(logps).all()):
            raise Diverged(
                "the policy's logits are not finite, so nothing can be sampled from it. Go on from an earlier checkpoint with a lower "
                f"learner.lr (now {self.config.learner.lr:g}), or look at the weights of {self.config.model.path!r}."
            )
        return self._rollouts(requests, tokens, logps, ended)

    def _rollouts(
        self, requests: Sequence[Request], tokens: Tensor, logps: Tensor, ended: Tensor
    ) -> list[tuple[Rollout, ...]]:
        all_tokens, all_logps, ends = tokens.tolist(), logps.tolist(), ended.tolist()
        responses = [row[:end] for row, end in zip(all_tokens, ends, strict=True)]
        said = [row[:-1] if row[-1] in self.ends else row for row in responses]
        texts = self.tokenizer.batch_decode(said, skip_special_tokens=True)
        results: list[tuple[Rollout, ...]] = []
        row = 0
        for request in requests:
            group = range(row, row + len(request.keys))
            results.append(
                tuple(
                    Rollout(
                        prompt_tokens=request.prompt_tokens,
                        response_tokens=tuple(responses[i]),
                        sampler_logps=tuple(all_logps[i][: ends[i]]),
                        text=texts[i],
                        truncated=responses[i][-1] not in self.ends,
                        policy_version=self.policy_version,
                    )
                    for i in group
                )
            )
            row += len(request.keys)
        return results


def _distribution(policy: Policy, hidden_RH: Tensor, decoding: Decoding) -> Tensor:
    """Log-probs of the distribution that is really sampled from: tempered, cut, renormalised. [R, V] float32"""
    logits_RV = policy.output(hidden_RH).float()
    return truncate(logits_RV / decoding.temperature, decoding.top_p, decoding.top_k).log_softmax(1)


def truncate(logits_RV: Tensor, top_p: float, top_k: int) -> Tensor:
    """Logits with everything outside the k likeliest tokens and the nucleus of mass `top_p` at -inf. [R, V]

    The token that carries the cumulative mass past `top_p` stays in, so at least one always does.
    """
    if 0 < top_k < logits_RV.shape[1]:
        edge = logits_RV.topk(top_k, 1).values[:, -1:]
        logits_RV = logits_RV.masked_fill(logits_RV < edge, -torch.inf)
    if top_p < 1:
        ordered, index = logits_RV.sort(1, descending=True)
        before = ordered.softmax(1).cumsum(1) - ordered.softmax(1)
        outside = torch.zeros_like(before, dtype=torch.bool).scatter(1, index, before >= top_p)
        logits_RV = logits_RV.masked_fill(outside, -torch.inf)
    return logits_RV
