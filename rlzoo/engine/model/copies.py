"""Copies of the policy under other weights, and other models, made when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rlzoo.engine.model.weights.base import WeightStore
from rlzoo.types import CurrentWeights, Ema, Initial, OtherModel, Previous, Snapshot, Weights

NEXT = "next"


class PolicyCopies:
    """The policy under every set of weights that signals ask for."""

    def __init__(
        self,
        current: WeightStore,
        load_initial: Callable[[], WeightStore],
        load_other: Callable[[OtherModel], WeightStore] | None = None,
    ) -> None:
        self.current = current
        self._load_initial = load_initial
        self._load_other = load_other
        self._copies: dict[Weights, WeightStore] = {}
        self._start_of_step: WeightStore | None = None
        """What `Previous` will be in the next step, if anybody asks for it."""

    def get(self, weights: Weights) -> WeightStore:
        """The policy under `weights`. A running average or snapshot starts as the weights of the moment it is first asked for."""
        if isinstance(weights, CurrentWeights) and weights not in self._copies:
            return self.current
        if weights not in self._copies:
            self._copies[weights] = self._made(weights)
            if isinstance(weights, Previous):
                self._start_of_step = self.current.copy()
        return self._copies[weights]

    def _made(self, weights: Weights) -> WeightStore:
        if isinstance(weights, OtherModel):
            assert self._load_other is not None, "nobody said how other models are loaded"
            return self._load_other(weights)
        return self._load_initial() if isinstance(weights, Initial) else self.current.copy()

    def heavier(self, weights: Weights) -> int:
        """Parameters by which a token's pass under `weights` costs more than one of the policy; less than 0 where it costs less."""
        if not isinstance(weights, OtherModel):
            return 0
        return self.get(weights).num_parameters - self.current.num_parameters

    def hold(self, weights: Weights, store: WeightStore) -> None:
        """Let `store` be what `weights` name from now on, whatever they are."""
        self._copies[weights] = store

    def after_step(self, step: int) -> None:
        """Bring averages and snapshots up to date."""
        for weights, held in self._copies.items():
            if isinstance(weights, Ema):
                held.follow(self.current, weights.decay)
            elif isinstance(weights, Snapshot) and step % weights.every == 0:
                held.follow(self.current, 0.0)
            elif isinstance(weights, Previous) and self._start_of_step is not None:
                held.follow(self._start_of_step, 0.0)
                self._start_of_step.follow(self.current, 0.0)

    def state_dict(self) -> dict[str, Any]:
        kept = {repr(w): held.state() for w, held in self._copies.items() if not isinstance(w, Initial | OtherModel)}
        return kept if self._start_of_step is None else {**kept, NEXT: self._start_of_step.state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for key, held in state.items():
            if key != NEXT:
                self.get(_WEIGHTS[key.partition("(")[0]](*_arguments(key))).load(held)
        if self._start_of_step is not None:
            self._start_of_step.load(state[NEXT])


_WEIGHTS: dict[str, Callable[..., Weights]] = {
    "Ema": Ema,
    "Snapshot": lambda every: Snapshot(int(every)),
    "Previous": Previous,
}


def _arguments(text: str) -> list[float]:
    """Numbers of a repr such as `Ema(decay=0.5)`."""
    inside = text.partition("(")[2].rstrip(")")
    return [float(part.split("=")[1]) for part in inside.split(",") if part]
