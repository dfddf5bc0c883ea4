"""A sampler with a place of its own: decodes with a copy of the weights that it was told, on whatever thread asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from rlzoo.engine.model.weights.base import WeightStore
from rlzoo.engine.sampling.base import Decoding, Request
from rlzoo.engine.sampling.transformers import TransformersSampler
from rlzoo.types import Rollout


class Apart(TransformersSampler):
    """Published weights stay as they are while the learner steps its own."""

    name = "apart"
    elsewhere = True
    asked: list[tuple[str, float, float]] = []
    """Thread, begin and end of every call."""

    def publish(self, weights: WeightStore, updates: int) -> None:
        super().publish(weights.copy(), updates)

    def sample(self, requests: Sequence[Request], decoding: Decoding) -> list[tuple[Rollout, ...]]:
        begun = time.monotonic()
        rollouts = super().sample(requests, decoding)
        self.asked.append((threading.current_thread().name, begun, time.monotonic()))
        return rollouts
