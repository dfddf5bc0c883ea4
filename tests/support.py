"""Small real runs of the embedded model, shared by tests."""

from __future__ import annotations

import hashlib
import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest

from rlzoo import configure
from rlzoo.config import RunConfig
from rlzoo.engine import rollcall
from rlzoo.engine.reporting import Silent
from rlzoo.runs.folder import RunDir
from rlzoo.signals import handled

SMALL = (
    "sampling.prompts_per_step=6",
    "learner.updates_per_step=2",
    "sampling.group_size=4",
    "sampling.max_response=24",
    "eval.problems_per_level=2",
    "eval.samples=2",
    "eval.curve=0",
    "threads=1",
)
"""Settings of a step that takes a fraction of a second."""
LEAST = (
    "data.sources=[{name: maths}]",
    "eval.problems_per_level=1",
    "sampling.max_response=4",
    "sampling.group_size=2",
)
"""On top of them, of a step that takes as little as a step can. The source comes first."""


def benchmark(name: str) -> Any:
    """A module of benchmarks/, which is no installed package."""
    folder = Path(__file__).resolve().parents[1] / "benchmarks"
    if "benchmarks" not in sys.modules:
        package = sys.modules["benchmarks"] = ModuleType("benchmarks")
        package.__path__ = [str(folder)]
    return importlib.import_module(f"benchmarks.{name}")


def small_config(*assignments: str, algo: str = "grpo", steps: int = 3) -> RunConfig:
    return configure.load(algo=algo, assignments=[*SMALL, f"budget.steps={steps}", *assignments])


def as_flags(*assignments: str) -> list[str]:
    """The same settings for the command line."""
    return [word for text in (*SMALL, *assignments) for word in ("--set", text)]


def without_times(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records without what may differ between equal runs."""
    return [{key: value for key, value in line.items() if not key.startswith("time/")} for line in lines]


def final_weights(out: Path) -> str:
    """A hash of the newest checkpoint's weights."""
    run = RunDir(out)
    return hashlib.sha256((run.checkpoint(run.checkpoint_steps()[-1]) / "model.safetensors").read_bytes()).hexdigest()


def offspring(of: int) -> list[int]:
    """Processes below this one, however deep."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
    found, level = [], [of]
    while level:
        level = [pid for pid, parent in parents.items() if parent in level]
        found += level
    return found


@contextmanager
def left_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within, no roll call ends this process, which pytest runs in: where one tries to, the test fails."""

    def refuse(number: int, frame: FrameType | None) -> None:
        raise AssertionError("a roll call interrupts the test")

    ended: list[int] = []
    monkeypatch.setattr(rollcall, "NOTICE_S", 1e6)
    monkeypatch.setattr(os, "_exit", ended.append)
    with handled({signal.SIGTERM: refuse}):
        yield
    assert ended == []


class Disturbed(Silent):
    """Does something when a stage begins for the nth time."""

    def __init__(self, name: str, act: Callable[[], object], nth: int = 1) -> None:
        self.name, self.act, self.left = name, act, nth

    def stage(self, name: str) -> None:
        self.left -= name == self.name
        if name == self.name and self.left == 0:
            self.act()


class Listening(Silent):
    """Remembers what it was warned of."""

    def __init__(self) -> None:
        self.warned: list[str] = []

    def warn(self, text: str) -> None:
        self.warned.append(text)
