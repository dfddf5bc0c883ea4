"""Prompts as tokens: what a template writes, what a base model's tokenizer puts before the text, and what it does not."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from rlzoo.config import SamplingConfig
from rlzoo.engine.model.rendering import Renderer, check_lengths
from rlzoo.engine.model.room import PromptLimit, Room
from rlzoo.errors import DataError
from rlzoo.types import Insert, Message, Problem, Rewrite

HELLO: list[Message] = [{"role": "user", "content": "a b"}]


def tokenizer(*, adds: str, template: str | None = None, start: str | None = "<s>") -> Any:
    """Words are tokens. `adds`: what stands around a text that is encoded with special tokens."""
    inner = Tokenizer(models.WordLevel({"<s>": 0, "a": 1, "b": 2, "</s>": 3}, unk_token="a"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(single=adds, special_tokens=[("<s>", 0), ("</s>", 3)])
    made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=start, eos_token="</s>")
    made.chat_template = template
    return made


@pytest.mark.parametrize(
    ("adds", "template", "start", "tokens"),
    [
        ("<s> $A", None, "<s>", (0, 1, 2)),
        ("<s> $A </s>", None, "<s>", (0, 1, 2)),  # an end after the prompt would be the end of the answer
        ("$A", None, "<s>", (1, 2)),
        ("$A </s>", None, "<s>", (1, 2)),
        ("<s> $A", None, None, (1, 2)),
        ("<s> $A", "{% for m in messages %}{{ m.content }}{% endfor %}", "<s>", (1, 2)),
        ("<s> $A", "<s> {% for m in messages %}{{ m.content }}{% endfor %}", "<s>", (0, 1, 2)),
    ],
)
def test_a_base_models_prompt_starts_as_its_texts_did(
    adds: str, template: str | None, start: str | None, tokens: tuple[int, ...]
) -> None:
    renderer = Renderer(tokenizer(adds=adds, template=template, start=start), PromptLimit(tokens=8))
    assert renderer.tokenizer.pad_token_id is None, "nor is a padding token needed"
    assert renderer.prompt(HELLO) == tokens


def test_a_context_may_be_as_long_as_the_model_has_room_for() -> None:
    """Three tokens are more than `max_prompt`, four more than what the model leaves beside a response: no context then."""
    limit = PromptLimit(tokens=2, beside=3)
    renderer = Renderer(tokenizer(adds="$A", start=None), limit)
    told = [Rewrite(({"role": "user", "content": "a b " + "b " * more},)) for more in (0, 1, 2)]
    assert [renderer.under(context, (1,)) for context in told] == [(1, 2), (1, 2, 2), None]
    assert [renderer.under(Insert("b", (2,) * more), (1,)) for more in (0, 1, 2)] == [(1, 2), (1, 2, 2), None]


class Words:
    """Prompts of 1, 2, 3, ... words, as many as said; without end for None."""

    def __init__(self, size: int | None) -> None:
        self.name, self.count = "words", size

    def size(self, split: str) -> int | None:
        return self.count

    def problem(self, split: str, index: int) -> Problem:
        words: Message = {"role": "user", "content": " ".join("a" * (index + 1))}
        return Problem(id=str(index), domain="maths", messages=(words,), verifier="maths", answer="1")


@pytest.mark.parametrize(("size", "told"), [(3, None), (5, "2 of 5 prompts"), (None, "61 of the first 64 prompts")])
def test_prompts_that_are_too_long_are_counted_before_a_run(size: int | None, told: str | None) -> None:
    """A limit of three words: the fourth problem's prompt and those after it are over it."""
    renderer = Renderer(tokenizer(adds="$A", start=None), PromptLimit(tokens=3))
    source: Any = Words(size)
    notes = check_lengths(renderer, [source], "train", "skip")
    if told is None:
        assert notes == []
        assert check_lengths(renderer, [source], "train", "refuse") == []
        return
    (note,) = notes
    assert note.startswith(f"{told} of words have more tokens than sampling.max_prompt = 3, the longest {size or 64}")
    assert f"{(told.split(' prompts')[0])} test prompts" in check_lengths(renderer, [source], "test", "skip")[0]
    with pytest.raises(DataError, match=rf"--set sampling\.max_prompt={size or 64}\).*data\.long_prompts=skip"):
        check_lengths(renderer, [source], "train", "refuse")


def test_what_a_model_leaves_beside_a_response() -> None:
    sampling = SamplingConfig(max_prompt=10, max_response=4)
    assert PromptLimit.of(sampling, Room(context=None, rows=9)).beside is None
    assert PromptLimit.of(sampling, Room(context=20, rows=9)).beside == 16
    assert PromptLimit.of(sampling, Room(context=8, rows=9)).beside == 4
