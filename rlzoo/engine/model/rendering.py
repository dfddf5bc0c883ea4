"""Messages to prompt tokens, once a problem; and prompts under a privileged context."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from jinja2 import TemplateError

from rlzoo.config import SamplingConfig
from rlzoo.data.source import ProblemSource
from rlzoo.errors import DataError, ModelError
from rlzoo.types import Context, Insert, Message, Problem, text_of


class Renderer:
    """A tokenizer with its chat template. Without a template, the messages' text is the prompt."""

    def __init__(self, tokenizer: Any, *, max_prompt: int, limit: str = "sampling.max_prompt = {}") -> None:
        """`limit`: what sets `max_prompt`, in words."""
        self.tokenizer = tokenizer
        self.max_prompt = max_prompt
        self.limit = limit.format(max_prompt)

    @classmethod
    def of(cls, tokenizer: Any, settings: SamplingConfig, positions: int | None) -> Renderer:
        """That of a run. `positions`: tokens that the model knows places for, prompt and response together; None = any number."""
        left = None if positions is None else positions - settings.max_response
        if left is None or settings.max_prompt <= left:
            return cls(tokenizer, max_prompt=settings.max_prompt)
        if left < 1:
            raise ModelError(
                f"the model has {positions} positions and sampling.max_response is {settings.max_response}, so no prompt would fit before a "
                f"response. Set sampling.max_response below {positions}, or use a model with a longer context."
            )
        words = f"the {{}} that the model's {positions} positions leave beside sampling.max_response = {settings.max_response}"
        return cls(tokenizer, max_prompt=left, limit=words)

    def prompt(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Tokens up to and including the generation header. DataError if they are none or too many."""
        text = self.text(messages)
        tokens = self._encoded(text)
        if not tokens:
            raise DataError("a prompt has no tokens. Leave out rows whose prompt is empty.")
        if len(tokens) > self.max_prompt:
            raise DataError(
                f"a prompt has {len(tokens)} tokens, more than {self.limit}; "
                f"cut off it would ask something else. Raise the limit or leave the row out. It begins: {text[:80]!r}"
            )
        return tokens

    def text(self, messages: Sequence[Message]) -> str:
        """The prompt as the tokenizer gets it."""
        plain = [{"role": message["role"], "content": text_of(message)} for message in messages]
        if self.tokenizer.chat_template:
            try:
                rendered: str = self.tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)
            except (TemplateError, ValueError, TypeError, KeyError, AttributeError) as error:
                roles = ", ".join(turn["role"] for turn in plain)
                raise DataError(
                    f"the tokenizer's chat template refuses a prompt of the roles {roles}: {error}. Leave out the turns that it does not "
                    "know (a system message can stand at the head of the user's), or use a model whose template knows them."
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

    def length(self, problem: Problem) -> int:
        """Tokens of the problem's prompt."""
        return len(self._encoded(self.text(problem.messages)))

    def fits(self, problem: Problem) -> bool:
        """Whether the problem's prompt is within the limit."""
        return self.length(problem) <= self.max_prompt

    def under(self, context: Context, prompt_tokens: tuple[int, ...]) -> tuple[int, ...] | None:
        """The prompt of the same response under a context; None where the row has none."""
        if context is None:
            return None
        if isinstance(context, Insert):
            text = self.tokenizer.encode(context.text, add_special_tokens=False) if context.text else ()
            return (*prompt_tokens, *text, *context.tokens)
        return self.prompt(context.messages)


def check_lengths(
    renderer: Renderer, sources: Sequence[ProblemSource], long_prompts: Literal["refuse", "skip"]
) -> list[str]:
    """What is to be said of finite sources whose train prompts are over the limit; DataError unless they are to be skipped.

    Found at the start, for a run that stops at its hundredth step has cost a hundred.
    """
    notes: list[str] = []
    for source in sources:
        problems = (source.problem("train", index) for index in range(source.size("train") or 0))
        long = _too_long(renderer, problems)
        if not long:
            continue
        found = (
            f"{len(long):,} of {source.size('train'):,} prompts of {source.name} have more tokens than "
            f"{renderer.limit}, the longest {max(long):,}"
        )
        if long_prompts == "refuse":
            raise DataError(f"{found}; {_instead(renderer, max(long))}")
        notes.append(f"{found}; they are passed over")
    return notes


def check_suite(renderer: Renderer, problems: Sequence[Problem], split: str) -> None:
    """DataError where a prompt of an evaluation is over the limit: known before the first step, not after the last."""
    if long := _too_long(renderer, problems):
        raise DataError(
            f"{len(long):,} of the {len(problems):,} {split} prompts have more tokens than {renderer.limit}, the longest {max(long):,}; "
            + _instead(renderer, max(long))
        )


def _too_long(renderer: Renderer, problems: Iterable[Problem]) -> list[int]:
    """The lengths of prompts over the limit. Only those of more bytes than it has tokens are tokenised: a token
    stands for at least one byte."""
    lengths = [
        renderer.length(problem)
        for problem in problems
        if len(renderer.text(problem.messages).encode(errors="replace")) > renderer.max_prompt
    ]
    return [length for length in lengths if length > renderer.max_prompt]


def _instead(renderer: Renderer, longest: int) -> str:
    raised = (
        f"Raise the limit (--set sampling.max_prompt={longest})"
        if renderer.limit.startswith("sampling.max_prompt")
        else "Lower sampling.max_response"
    )
    return f"cut off they would ask something else. {raised}, or leave them out (--set data.long_prompts=skip)."
