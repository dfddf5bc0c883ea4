"""What the engine tells whoever watches. The command line draws it; a test may collect it; nobody has to listen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from rlzoo.engine.plan import Plan
from rlzoo.runs.evaluation import Evaluation


class Reporter(Protocol):
    """All calls come from rank 0's main thread."""

    def plan(self, plan: Plan) -> None:
        """Before anything is loaded: what the run will do, derived from its settings."""

    def stage(self, name: str) -> None:
        """A stage of a step begins: sample, verify, score, measure, update, publish, diagnose, other; or evaluate, save, load."""

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """A step ended; `metrics` as written to metrics.jsonl."""

    def evaluated(self, evaluation: Evaluation) -> None:
        """An evaluation ended and is recorded."""

    def note(self, text: str) -> None:
        """Something a reader should know, once."""

    def warn(self, text: str) -> None:
        """Something is wrong that does not stop the run."""


class Silent:
    """Listens to nothing."""

    def plan(self, plan: Plan) -> None: ...
    def stage(self, name: str) -> None: ...
    def step(self, step: int, metrics: Mapping[str, float]) -> None: ...
    def evaluated(self, evaluation: Evaluation) -> None: ...
    def note(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...


class LastStage:
    """Passes all on and remembers the stage."""

    def __init__(self, listener: Reporter) -> None:
        self.listener = listener
        self.name = ""

    def plan(self, plan: Plan) -> None:
        self.listener.plan(plan)

    def stage(self, name: str) -> None:
        self.name = name
        self.listener.stage(name)

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        self.listener.step(step, metrics)

    def evaluated(self, evaluation: Evaluation) -> None:
        self.listener.evaluated(evaluation)

    def note(self, text: str) -> None:
        self.listener.note(text)

    def warn(self, text: str) -> None:
        self.listener.warn(text)
