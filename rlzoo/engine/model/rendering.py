"""Messages to prompt tokens, once a problem; and prompts under a privileged context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Literal

from jinja2 import TemplateError

from rlzoo.data.mixing import walk
from rlzoo.data.source import ProblemSource, Split
from rlzoo.engine.model.room import PromptLimit
from rlzoo.errors import DataError
from rlzoo.types import Context, Insert, Message, Problem, text_of


class Renderer:
    """A tokenizer with its chat template. Without a template, the messages' text is the prompt."""

    def __init__(self, tokenizer: Any, limit: PromptLimit, template: Mapping[str, Any] | None = None) -> None:
        """`template`: what the chat template is told beside the messages."""
        self.tokenizer = tokenizer
        self.limit = limit
        self.template = dict(template or {})

    def prompt(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Tokens up to and including the generation header. DataError if they are none or too many."""
        text = self.text(messages)
        tokens = self._encoded(text)
        if not tokens:
            raise DataError("a prompt has no tokens. Leave out rows whose prompt is empty.")
        if len(tokens) > self.limit.tokens:
            raise DataError(
                f"a prompt has {len(tokens)} tokens, more than {self.limit.words}; cut off it would ask something else. "
                f"{self.limit.instead(len(tokens))}, or leave the row out. It begins: {text[:80]!r}"
            )
        self._refuse_unknown(tokens, text)
        return tokens

    def _refuse_unknown(self, tokens: Sequence[int], text: str) -> None:
        """DataError if the model's table does not hold a token."""
        if self.limit.rows is not None and max(tokens, default=0) >= self.limit.rows:
            unknown = next(token for token in tokens if token >= self.limit.rows)
            raise DataError(
                f"a prompt holds {self.tokenizer.convert_ids_to_tokens(unknown)!r}, token {unknown:,}, but the model's table holds {self.limit.rows:,}. "
                f"Leave the row out, or choose the model that the token is meant for. It begins: {text[:80]!r}"
            )

    def text(self, messages: Sequence[Message]) -> str:
        """The prompt as the tokenizer gets it."""
        plain = [{"role": message["role"], "content": text_of(message)} for message in messages]
        if self.tokenizer.chat_template:
            try:
                rendered: str = self.tokenizer.apply_chat_template(
                    plain, tokenize=False, add_generation_prompt=True, **self.template
                )
            except (TemplateError, ValueError, TypeError, KeyError, AttributeError) as error:
                told = f", told model.template = {self.template}," if self.template else ""
                roles = ", ".join(turn["role"] for turn in plain)
                raise DataError(
                    f"the tokenizer's chat template{told} refuses a prompt of the roles {roles}: {error}. Leave out the turns that it does not "
                    "know (a system message can stand at the head of the user's), change what it is told, or use a model whose template knows them."
                ) from error
            return rendered
        return "\n".join(turn["content"] for turn in plain)

    def _encoded(self, text: str) -> tuple[int, ...]:
        """Tokens of a prompt. A template writes every special token itself; without one, the tokenizer's start of text is put
        before it, as base models were trained, and no end."""
        tokens = tuple(self.tokenizer.encode(text, add_special_tokens=False))
        start = self.tokenizer.bos_token_id
        if self.tokenizer.chat_template or not tokens or start is None or tokens[0] == start:
            return tokens
        adds_start = self.tokenizer.encode(text)[:1] == [start]
        return (start, *tokens) if adds_start else tokens

    def shown(self, problem: Problem) -> str:
        """The problem's prompt as the model reads it, special tokens written out."""
        written: str = self.tokenizer.decode(self._encoded(self.text(problem.messages)), skip_special_tokens=False)
        return written

    def length(self, problem: Problem) -> int:
        """Tokens of the problem's prompt."""
        return len(self._encoded(self.text(problem.messages)))

    def fits(self, problem: Problem) -> bool:
        """Whether the problem's prompt is within the limit."""
        return self.length(problem) <= self.limit.tokens

    def under(self, context: Context, prompt_tokens: tuple[int, ...]) -> tuple[int, ...] | None:
        """The prompt of the same response under a context; None where the row has none, or the model has no room for it.

        `sampling.max_prompt` bounds what is sampled from; a context may be as long as the model's own leaves beside a response.
        """
        if context is None:
            return None
        if isinstance(context, Insert):
            text = self.tokenizer.encode(context.text, add_special_tokens=False) if context.text else ()
            tokens = (*prompt_tokens, *text, *context.tokens)
        else:
            rewritten = self.text(context.messages)
            tokens = self._encoded(rewritten)
            self._refuse_unknown(tokens, rewritten)
        return tokens if self.limit.beside is None or len(tokens) <= self.limit.beside else None


LOOKED_AT = 64
"""Problems of an endless source whose prompts are measured before a run."""


def check_lengths(
    renderer: Renderer, sources: Sequence[ProblemSource], split: Split, long_prompts: Literal["refuse", "skip"]
) -> list[str]:
    """What is to be said of sources whose prompts are over the limit; DataError unless they are to be skipped.

    Found at the start, for a run that stops at its hundredth step has cost a hundred. Only prompts of more bytes than the
    limit has tokens are tokenised: a token stands for at least one byte, but for the few that a tokenizer puts before a text.
    """
    notes: list[str] = []
    limit = renderer.limit
    for source in sources:
        size = source.size(split)
        lengths = [
            renderer.length(problem)
            for problem in islice(walk(source, split), LOOKED_AT if size is None else size)
            if len(renderer.text(problem.messages).encode(errors="replace")) >= limit.tokens
        ]
        long = [length for length in lengths if length > limit.tokens]
        if not long:
            continue
        among = f"the first {LOOKED_AT}" if size is None else f"{size:,}"
        prompts = "prompts" if split == "train" else f"{split} prompts"
        found = f"{len(long):,} of {among} {prompts} of {source.name} have more tokens than {limit.words}, the longest {max(long):,}"
        if long_prompts == "refuse":
            raise DataError(
                f"{found}; cut off they would ask something else. {limit.instead(max(long))}, "
                "or leave them out (--set data.long_prompts=skip)."
            )
        notes.append(f"{found}; they are passed over")
    return notes
