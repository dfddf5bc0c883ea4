"""Which recipe a run starts from where none is named: by its model's size and device."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlzoo import placement
from rlzoo.cli import plain

if TYPE_CHECKING:
    from rlzoo.config import RunConfig

SMALL = 50e6
"""Parameters below which a model is trained with the settings of the embedded ones."""
LARGE = 3e9
"""Parameters from which a GPU gets smaller passes."""
BYTES_A_PARAMETER = 16
"""Of float32 weights, gradients and AdamW's two averages, or of the same with a copy in bfloat16."""
FROZEN_BYTES = {"float32": 4, "bfloat16": 2, "float64": 8}
"""Of weights below adapters, by `model.dtype`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeChoice:
    recipe: str
    why: str = ""
    """In words, where it was chosen and not named."""
    parameters: int | None = None


def choose(recipe: str | None, file: Path | None, sets: Sequence[str], otherwise: str | None = None) -> RecipeChoice:
    """The recipe that was named, or the one that suits the model that file and `--set` texts name.

    `otherwise`: that of a model that is one of ours or as small.
    """
    from rlzoo import configure
    from rlzoo.config import EMBEDDED

    usual = otherwise or configure.DEFAULT_RECIPE
    if recipe is not None:
        return RecipeChoice(recipe=recipe)
    model = given(file, sets).get("model")
    model = model if isinstance(model, dict) else {}
    path = model.get("path")
    if not isinstance(path, str) or path in EMBEDDED:
        return RecipeChoice(recipe=usual)
    return _by_size(path, model.get("device", "auto"), usual)


def given(file: Path | None, sets: Sequence[str]) -> dict[str, Any]:
    """What a file of settings and `--set` texts say, as plain data."""
    from rlzoo import configure
    from rlzoo.anchoring import anchored

    data: dict[str, Any] = {} if file is None else anchored(configure.read_file(file), file.parent)
    for text in sets:
        data = configure.merge(data, configure.parse_assignment(text))
    return data


def _by_size(path: str, device: str, usual: str) -> RecipeChoice:
    import torch

    from rlzoo.cli import console
    from rlzoo.engine.model.loading import parameters_of

    count = parameters_of(path)
    path = Path(path).name if os.path.isabs(path) else path
    size = "" if count is None else f"{console.human(count)} parameters"
    if count is not None and count < SMALL:
        return RecipeChoice(recipe=usual, why=f"{path} has {size}, as few as the embedded models", parameters=count)
    cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    large = "-large" if count is not None and count >= LARGE else ""
    name, where = (f"own-model-gpu{large}", "is trained on CUDA") if cuda else ("own-model", "is trained on a CPU")
    # a model that cannot be read is refused by whoever loads it: nothing is to be said of its recipe
    return RecipeChoice(recipe=name, why=f"{path} has {size} and {where}" if size else "", parameters=count)


def tell(chosen: RecipeChoice, config: RunConfig) -> None:
    """Say what was chosen and why, before anything else is shown."""
    if not chosen.why or not placement.talks():
        return
    sampling, learner = config.sampling, config.learner
    low, high = (getattr(config.objective, name, None) for name in ("clip_low", "clip_high"))
    ratio = "" if low is None or high is None else f", ratios clipped to [{1 - low:g}, {1 + high:g}]"
    memory = ""
    if chosen.parameters is not None:
        bytes_each, what = (
            (FROZEN_BYTES[config.model.dtype], "Frozen weights")
            if config.lora.rank
            else (BYTES_A_PARAMETER, "Weights, gradients and AdamW")
        )
        memory = f" {what} take about {chosen.parameters * bytes_each / 2**30:.2g} GiB."
    trained = f"adapters of rank {config.lora.rank}" if config.lora.rank else "float32 weights"
    plain.say(
        f"recipe {chosen.recipe}, since {chosen.why}: lr {learner.lr:g}, {trained} computing in {config.model.dtype}, "
        f"{sampling.prompts_per_step} prompts × {sampling.group_size} rollouts a step, responses up to {sampling.max_response} tokens{ratio}.{memory} "
        "--recipe NAME starts from other settings, --set changes one.",
        label="note",
    )
