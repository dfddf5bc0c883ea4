"""The prompts that a run will ask, made for its model and held against what that has room for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlzoo.config import RunConfig
from rlzoo.data.source import ProblemSource, Split
from rlzoo.engine.model.rendering import Renderer, check_lengths
from rlzoo.engine.model.room import PromptLimit, Room, check_tokenizer
from rlzoo.engine.model.weights.base import WeightStore
from rlzoo.engine.reporting import Reporter
from rlzoo.engine.supply import Supply

Asked = tuple[Sequence[ProblemSource], Split]
"""Sources, and the split of them that is asked."""


def open_renderer(config: RunConfig, tokenizer: Any, weights: WeightStore, reporter: Reporter) -> Renderer:
    """What turns problems into prompts that the model has room for. Refused where tokenizer and model do not go together."""
    with weights.whole() as policy:
        room = Room.of(policy.model)
    for line in check_tokenizer(tokenizer, room, config.model.path):
        reporter.note(line)
    return Renderer(tokenizer, PromptLimit.of(config.sampling, room), config.model.template)


def asked_of(config: RunConfig, supply: Supply) -> list[Asked]:
    """The splits that a run of `config` will ask, by their sources."""
    evaluation = config.eval
    asked: list[Asked] = [(supply.training, "train")]
    asked += (
        [(supply.tested, "test")]
        if any((evaluation.at_start, evaluation.at_end, evaluation.every, evaluation.curve))
        else []
    )
    asked += [(supply.tested, "validation")] if evaluation.validation_every else []
    return asked


def measure(config: RunConfig, renderer: Renderer, asked: Sequence[Asked], reporter: Reporter) -> None:
    """Hold the prompts that will be asked against what there is room for, before anything is sampled."""
    for sources, split in asked:
        for line in check_lengths(renderer, sources, split, config.data.long_prompts):
            reporter.note(line)
