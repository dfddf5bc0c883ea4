"""What a model has room for: tokens of prompt and response together, and rows of its token table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlzoo.config import SamplingConfig
from rlzoo.errors import ConfigError, ModelError

_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len")
"""Where architectures write how many positions they know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Of one model."""

    context: int | None = None
    """Tokens of prompt and response together; None where positions have no end."""
    rows: int
    """Tokens that its tables hold."""

    @classmethod
    def of(cls, model: Any) -> Room:
        """By the model's own settings and its tables of tokens."""
        tables = (model.get_input_embeddings(), model.get_output_embeddings())
        return cls(context=context_of(model.config), rows=min(len(table.weight) for table in tables))


def context_of(settings: Any) -> int | None:
    """Positions that a model was made for, stretched ones (YaRN) included; None where it does not say."""
    text = settings.get_text_config()
    known = [found for name in _LENGTHS if isinstance(found := getattr(text, name, None), int) and found > 0]
    if not known:
        return None
    rope = getattr(text, "rope_parameters", None) or {}
    if isinstance(rope, Mapping) and rope.get("rope_type") == "yarn":
        original = rope.get("original_max_position_embeddings") or known[0]
        return max(known[0], int(original * float(rope.get("factor") or 1)))
    return known[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptLimit:
    """How long a prompt may be, and which setting says so."""

    tokens: int
    context: int | None = None
    """The model's, where that is what limits prompts, and not `sampling.max_prompt`."""
    max_response: int = 0
    rows: int | None = None
    """As in `Room`; None where no model is at hand."""
    beside: int | None = None
    """What the model's context leaves beside the longest response; None where positions have no end."""

    @classmethod
    def of(cls, sampling: SamplingConfig, room: Room) -> PromptLimit:
        """`sampling.max_prompt`, or what the response leaves of the context. ConfigError where it leaves nothing."""
        tokens, response, context = sampling.max_prompt, sampling.max_response, room.context
        if context is None:
            return cls(tokens=tokens, rows=room.rows)
        if tokens + response <= context:
            return cls(tokens=tokens, rows=room.rows, beside=context - response)
        if response >= context:
            raise ConfigError(
                f"sampling.max_response is {response}, but the model's context is {context} tokens for prompt and response together, so no "
                "prompt has room before it. Lower it (--set sampling.max_response=N), or choose a model of a longer context."
            )
        left = context - response
        return cls(tokens=left, context=context, max_response=response, rows=room.rows, beside=left)

    @property
    def words(self) -> str:
        """What a longer prompt is longer than."""
        if self.context is None:
            return f"sampling.max_prompt = {self.tokens}"
        return f"the {self.tokens} that sampling.max_response = {self.max_response} leaves of the model's context of {self.context}"

    def instead(self, longest: int) -> str:
        """What makes room for prompts up to `longest` tokens."""
        if self.context is None:
            return f"Raise the limit (--set sampling.max_prompt={longest})"
        if longest < self.context:
            return f"Lower the response's limit (--set sampling.max_response={self.context - longest})"
        return "Choose a model of a longer context"


def check_tokenizer(tokenizer: Any, room: Room, named: str) -> list[str]:
    """What is to be said of tokens that the model's table does not hold. ModelError where text may become such tokens.

    Added tokens beyond the table are known from models whose tokenizer serves a larger relative (images, for example): no text
    becomes them, so they are noted; a prompt that names one is refused when it is read.
    """
    rows = room.rows
    vocabulary: Mapping[str, int] = tokenizer.get_vocab()
    added = set(getattr(tokenizer, "added_tokens_decoder", {}))
    beyond = {token: number for token, number in vocabulary.items() if number >= rows}
    ordinary = {token: number for token, number in beyond.items() if number not in added}
    if ordinary:
        raise ModelError(
            f"the tokenizer of {named!r} has {len(vocabulary):,} tokens, numbered up to {max(vocabulary.values()):,}, but the model's table holds "
            f"{rows:,}: {len(ordinary):,} of them stand for nothing there, {min(ordinary)!r} for example. "
            "Give the model its own tokenizer, or resize the table (resize_token_embeddings) and save both."
        )
    ends = [tokenizer.eos_token] if tokenizer.eos_token in beyond else []
    if ends:
        raise ModelError(
            f"the end-of-sequence token of {named!r}, {ends[0]!r}, is number {beyond[ends[0]]:,}, but the model's table holds {rows:,} tokens, so "
            "no response could end. Set eos_token in tokenizer_config.json, or resize the table (resize_token_embeddings)."
        )
    if not beyond:
        return []
    some = ", ".join(sorted(beyond)[:3])
    return [
        f"{len(beyond):,} special tokens of the tokenizer are beyond the model's table of {rows:,} ({some}); no prompt may hold them"
    ]
