"""Which models can be trained here: told by their settings before weights are loaded, and by what they do afterwards."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from rlzoo.engine.model.logps import logits_of
from rlzoo.engine.model.policy import Policy
from rlzoo.engine.model.sequences import Sequences
from rlzoo.errors import ModelError, UnfitModel

PROBE = (1, 2, 3, 4, 5)
"""Tokens that every table holds."""
LARGEST_GAP = {torch.float64: 1e-3, torch.float32: 1e-3, torch.bfloat16: 0.1}
"""Between logits that should be the same, by the precision they are computed in."""


def check_kind(settings: Any, named: str) -> type:
    """The class that will be loaded for a model's settings. UnfitModel, by name, where it is no causal language model."""
    from transformers import AutoModelForCausalLM

    kind = type(settings).__name__.removesuffix("Config")
    if getattr(settings, "is_encoder_decoder", False):
        raise UnfitModel(
            f"model {named!r} is {kind}, whose encoder reads the prompt apart from the response, but prompt and response are one sequence "
            "here, read from left to right. Use a causal language model."
        )
    mapping: Any = AutoModelForCausalLM._model_mapping
    if type(settings) in mapping:
        found: Any = mapping[type(settings)]
        return found if isinstance(found, type) else found[0]
    if "AutoModelForCausalLM" in (getattr(settings, "auto_map", None) or {}):
        raise UnfitModel(
            f"model {named!r} is {kind}, whose code comes with its weights, and such code is not run here. "
            "Use an architecture that transformers has."
        )
    raise UnfitModel(
        f"model {named!r} is {kind}, of which transformers has no causal language model, so nothing can be sampled from it. "
        "Use a causal language model."
    )


def check_policy(policy: Policy, named: str) -> None:
    """Hold what a loaded model does against what log-probs are computed by. UnfitModel, by name, where they differ."""
    kind, most = type(policy.model).__name__, LARGEST_GAP[policy.output.weight.dtype]
    if not math.isfinite(gap := lookahead_gap(policy)):
        raise ModelError(
            f"model {named!r} gives logits that are not finite, so its weights are damaged. Load another copy of it."
        )
    if gap > most:
        raise UnfitModel(
            f"model {named!r} is {kind}, which reads a text from both sides: what it says of a token changes with the tokens after it (by "
            f"{gap:.0%} of its largest logit). Nothing can be sampled from it token by token. Use a causal language model."
        )
    if (gap := output_layer_gap(policy)) > most:
        raise UnfitModel(
            f"model {named!r} changes its logits after the output layer (by up to {gap:.3g}: a soft cap or a scale), "
            "which is not supported; log-probs would be wrong. Use another architecture."
        )


def check_packing(policy: Policy, named: str) -> None:
    """Refuse to lay rows end to end where a row would then see others, or itself otherwise. UnfitModel, by name."""
    kind, settings = type(policy.model).__name__, policy.model.config.get_text_config()
    other = set(getattr(settings, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if other:
        raise UnfitModel(
            f"learner.packing is on, but model {named!r} is {kind} with layers of the kind {', '.join(sorted(other))}, which count from the start of "
            "a line and not of a row. Set learner.packing=false."
        )
    if (gap := packing_gap(policy)) > LARGEST_GAP[policy.output.weight.dtype]:
        raise UnfitModel(
            f"learner.packing is on, but model {named!r} is {kind}, in which rows laid end to end see each other (log-probs change by {gap:.3g}). "
            "Set learner.packing=false."
        )


@torch.no_grad()
def packing_gap(policy: Policy) -> float:
    """Largest change of a log-prob, in nats, when rows are laid end to end."""
    prompts, responses = [PROBE[:2], PROBE[:2], PROBE[:1:-1]], [PROBE + PROBE[:3], PROBE[:3], PROBE[3:]]
    rows = Sequences(prompts, responses)  # of 10, 5 and 5 tokens, so that two share a line
    alone = [policy(rows.take([i])).logps_K for i in range(len(rows))]
    return _largest(policy(rows).logps_K - torch.cat(alone))


@torch.no_grad()
def lookahead_gap(policy: Policy) -> float:
    """Largest change of a position's logits when tokens are put after it, as a share of the largest of them."""
    ends = [policy.last_hidden(input_ids=_probe(policy, PROBE[:3]), use_cache=False)]
    with policy.output.asking(lambda hidden_RSH, weight_VH, bias_V: hidden_RSH[:, 2]):
        ends.append(policy.model(input_ids=_probe(policy, PROBE), use_cache=False).logits)
    alone_V, followed_V = (logits_of(end, policy.output.weight, policy.output.bias, 1.0)[0] for end in ends)
    return _largest(alone_V - followed_V) / max(_largest(alone_V), 1e-6)


@torch.no_grad()
def output_layer_gap(policy: Policy) -> float:
    """Largest difference between the model's own logits and its output layer's on a probe: soft caps and scales would show here."""
    probe = _probe(policy, PROBE[:4])
    logits_V = policy.model(input_ids=probe, use_cache=False).logits[0, -1]
    ours_V = logits_of(
        policy.last_hidden(input_ids=probe, use_cache=False), policy.output.weight, policy.output.bias, 1.0
    )
    return _largest(ours_V[0] - logits_V)


def _probe(policy: Policy, tokens: tuple[int, ...]) -> Tensor:
    return torch.tensor(tokens, device=policy.device)[None, :]


def _largest(differences_V: Tensor) -> float:
    gap = float(differences_V.abs().max())
    return gap if math.isfinite(gap) else math.inf
