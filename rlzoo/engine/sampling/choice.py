"""The sampler that a run names."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rlzoo import registry
from rlzoo.config import RunConfig
from rlzoo.engine.model.weights.base import WeightStore
from rlzoo.engine.ranks import Ranks
from rlzoo.engine.sampling.base import Sampler
from rlzoo.errors import UnknownName


def sampler_class(backend: str) -> type[Sampler]:
    """The class behind `sampling.backend`. UnknownName for what is no sampler."""
    kind: Any = registry.samplers.load(backend)
    if not (isinstance(kind, type) and issubclass(kind, Sampler)):
        raise UnknownName(
            f"sampling.backend is {backend!r}, which is no sampler. Make it a subclass of rlzoo.engine.sampling.base.Sampler."
        )
    return kind


def open_sampler(
    config: RunConfig,
    tokenizer: Any,
    weights: WeightStore,
    stack: ExitStack,
    *,
    ranks: Ranks | None = None,
    folder: Path | None = None,
) -> Sampler:
    """The run's sampler, with the weights in force; closed when `stack` is. All ranks call it. `folder`: as in `Sampler.open`."""
    kind = sampler_class(config.sampling.backend)
    with weights.whole() as policy:
        kind.check(type(policy.model), config.model.path)
    sampler = kind(config, tokenizer)
    stack.callback(sampler.close)
    sampler.open(weights, ranks or Ranks(), folder)
    sampler.publish(weights, 0)
    return sampler
