"""Settings made wrong by rule: each is refused with words, or is a run."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rlzoo import configure
from tests import bytes_model
from tests.campaigns.judging import Outcome, asked
from tests.support import small_config

VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 3, 2**31, 2**63, 2**70, -(2**70), 0.5, -0.5, 1e-30, 1e300, float("inf"), float("nan"),
    "", " ", "x", "0", "1e-4", "tiny", "no/such/file", "../..", "a\x00b", "é" * 40, "\u202e", [], [1], ["a"], {}, {"a": 1},
    [[1, 2]], {"name": "maths"}, [{"name": "maths"}], [{"name": "nosuch"}], [{"name": ["a"]}], "~", "{}", "mine.py:Mine", ":", "a:b",
)  # fmt: skip
CHEAP = 600
"""Response tokens that a step of a real run may sample at most."""


@dataclass(frozen=True, slots=True)
class Case:
    """One mutated file and what became of it."""

    told: str
    """What was done to it."""
    outcome: Outcome
    ran: bool
    """Whether a step was made with it."""


def base(folder: Path) -> dict[str, Any]:
    """Settings of a run that takes a second."""
    config = small_config(
        f"model.path={bytes_model.make(folder / 'model')}", "data.sources=[{name: maths}]", "eval.problems_per_level=1",
        "eval.samples=1", "sampling.max_response=3", "sampling.group_size=2", "sampling.prompts_per_step=2", steps=1,
    )  # fmt: skip
    data: dict[str, Any] = config.model_dump(mode="json")
    return data


def campaign(folder: Path, count: int, seed: int, *, runs: int) -> Iterator[Case]:
    """`count` mutated files, each planned; the first `runs` that are accepted and cheap are also carried out."""
    whole = base(folder)
    for number in range(count):
        chance = random.Random(f"{seed}/{number}")
        told, raw = _mutated(whole, chance)
        file = folder / f"{number}.yaml"
        file.write_bytes(raw)
        outcome, ran = asked(["train", "--config", file, "--dry-run"]), False
        if outcome.code == 0 and runs > 0 and _cheap(file):
            ran, runs = True, runs - 1
            outcome = asked(["train", "--config", file, "--steps", "1", "--out", folder / f"run-{number}"])
        yield Case(told, outcome, ran)


def _cheap(file: Path) -> bool:
    config = configure.load(file=file)
    sampling = config.sampling
    tokens = sampling.prompts_per_step * sampling.group_size * sampling.max_response * config.learner.updates_per_step
    every = config.eval.problems_per_level * config.eval.samples * sampling.max_response
    return max(tokens, every, config.eval.validation_per_level) <= CHEAP and config.verifier.workers <= 2


def _mutated(whole: dict[str, Any], chance: random.Random) -> tuple[str, bytes]:
    """What was done, and the file's bytes."""
    data, told = copy.deepcopy(whole), []
    for _ in range(chance.choice((1, 1, 2, 3))):
        inner, name = _place(data, chance)
        if inner is None:
            break
        told.append(_change(inner, name, chance))
    raw = yaml.safe_dump(data, allow_unicode=True, sort_keys=False).encode()
    kind = chance.random()
    if kind < 0.03:
        return "cut short", raw[: chance.randrange(len(raw))]
    if kind < 0.06:
        at = chance.randrange(len(raw))
        return "bytes that are no text", raw[:at] + bytes([0, 0xFF, 0xFE]) + raw[at:]
    if kind < 0.08:
        return "tabs", raw.replace(b"  ", b"\t")
    return "; ".join(told), raw


def _place(data: dict[str, Any], chance: random.Random) -> tuple[Any, Any]:
    """A mapping or list somewhere in the settings, and a key in it."""
    inner: Any = data
    while True:
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        if not keys:
            return None, None
        name = chance.choice(keys)
        below = inner[name]
        if not isinstance(below, (dict, list)) or not below or chance.random() < 0.15:
            return inner, name
        inner = below


def _change(inner: Any, name: Any, chance: random.Random) -> str:
    kind = chance.choice(("value", "value", "value", "drop", "typo", "more", "swap"))
    if kind == "drop":
        del inner[name]
        return f"{name} is gone"
    if kind in ("typo", "more") and isinstance(inner, dict) and isinstance(name, str) and name:
        at = chance.randrange(len(name))
        wrong = name[:at] + chance.choice("xyz_") + name[at + (kind == "typo") :]
        inner[wrong] = inner.pop(name) if kind == "typo" else inner[name]
        return f"{name} is {wrong}"
    if kind == "swap" and isinstance(inner, dict):
        other = chance.choice(list(inner))
        inner[name], inner[other] = inner[other], inner[name]
        return f"{name} and {other} are exchanged"
    inner[name] = chance.choice(VALUES)
    return f"{name} is {inner[name]!r}"
