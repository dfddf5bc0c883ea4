"""Run folders damaged by rule: each is refused with words, or goes on to the end that the undamaged run had."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlzoo.config import RunConfig
from rlzoo.engine.trainer import train
from rlzoo.runs.folder import RunDir
from tests import bytes_model
from tests.campaigns.judging import Outcome, asked
from tests.support import final_weights, small_config

STEPS = 3
HARMS = ("cut", "emptied", "NULed", "swapped", "key", "type", "mode", "folder", "gone", "appended", "garbled")


@dataclass(frozen=True, slots=True)
class Case:
    """One damaged folder and what became of it."""

    told: str
    outcome: Outcome
    wrong: str
    """What is wrong with the run that came out of it, if one did."""


def settings(folder: Path) -> RunConfig:
    """A run of a second that saves every step and evaluates."""
    return small_config(
        f"model.path={bytes_model.make(folder / 'model')}", "data.sources=[{name: maths}]", "eval.problems_per_level=1",
        "eval.samples=1", "sampling.max_response=3", "sampling.group_size=2", "sampling.prompts_per_step=2",
        "checkpoint.every=1", "checkpoint.keep_last=2", steps=STEPS,
    )  # fmt: skip


def campaign(folder: Path, count: int, seed: int) -> Iterator[Case]:
    """`count` damaged folders, each resumed, shown or tested."""
    whole = folder / "whole"
    train(settings(folder), whole)
    cut = shutil.copytree(whole, folder / "cut")  # as a kill in the last step leaves it
    shutil.rmtree(RunDir(cut).checkpoint(STEPS))
    shutil.copytree(RunDir(cut).checkpoint(STEPS - 1), RunDir(cut).checkpoint(STEPS - 2))
    for number in range(count):
        chance = random.Random(f"{seed}/{number}")
        run = shutil.copytree(chance.choice((whole, cut)), folder / f"run-{number}")
        files = sorted(path for path in run.rglob("*") if path.is_file())
        harmed = chance.sample(files, chance.choice((1, 1, 2)))
        told = "; ".join(_harm(file, files, run, chance) for file in harmed)
        outcome = asked(_command(run, chance))
        unsettled = "config.yaml" in told or outcome.words[0] != "train" or outcome.code
        yield Case(f"{' '.join(outcome.words[:2])}: {told}", outcome, "" if unsettled else _wrong(run, whole))
        _restore_modes(run)
        shutil.rmtree(run)


def _command(run: Path, chance: random.Random) -> list[str]:
    return chance.choice(
        (
            ["train", "--resume", "--out", str(run)],
            ["train", "--resume", "--out", str(run)],
            ["show", str(run)],
            ["show", str(run), "--step", "1", "--limit", "0"],
            ["eval", str(run), "--per-level", "1"],
        )
    )


def _wrong(run: Path, whole: Path) -> str:
    """Where a run that was resumed to its end differs from the one that nothing harmed."""
    steps = [int(line["step"]) for line in RunDir(run).metrics()]
    if steps != list(range(1, STEPS + 1)):
        return f"metrics of steps {steps}"
    if final_weights(run) != final_weights(whole):
        return "other weights"
    if RunDir(run).evaluations() != RunDir(whole).evaluations():
        return "other evaluations"
    return ""


def _harm(file: Path, files: list[Path], run: Path, chance: random.Random) -> str:
    kind = chance.choice(HARMS)
    name = str(file.relative_to(run))
    if not file.is_file():
        return f"{name} was gone already"
    data = file.read_bytes()
    if kind == "cut":
        file.write_bytes(data[: chance.randrange(max(1, len(data)))])
    elif kind == "emptied":
        file.write_bytes(b"")
    elif kind == "NULed":
        at = chance.randrange(max(1, len(data)))
        file.write_bytes(data[:at] + bytes(len(data) - at))
    elif kind == "swapped":
        other = chance.choice([path for path in files if path.is_file()])
        file.write_bytes(other.read_bytes())
        other.write_bytes(data)
        name += f" and {other.relative_to(run)}"
    elif kind == "mode":
        file.chmod(0)
    elif kind == "folder":
        file.unlink()
        file.mkdir()
    elif kind == "gone":
        file.unlink()
    elif kind == "appended":
        file.write_bytes(
            data + chance.choice((b"{", b"\x00" * 300, b"\n\n", b"null\n", b'{"step": 1}\n', b'{"step": "x"}\n'))
        )
    elif kind in ("key", "type"):
        file.write_bytes(_rewritten(data, kind, chance))
    else:
        at = chance.randrange(max(1, len(data)))
        file.write_bytes(data[:at] + os.urandom(0) + bytes(chance.randrange(256) for _ in range(8)) + data[at + 8 :])
    return f"{name} {kind}"


def _rewritten(data: bytes, kind: str, chance: random.Random) -> bytes:
    """JSON, or its lines, without a key or with another type; anything else cut in half."""
    try:
        text = data.decode()
        lines = [text] if text.lstrip().startswith("{\n") else text.splitlines()
        at = chance.randrange(len(lines))
        loaded: Any = json.loads(lines[at])
        name = chance.choice(sorted(loaded))
    except (ValueError, IndexError, TypeError):
        return data[: len(data) // 2]
    if kind == "key":
        del loaded[name]
    else:
        loaded[name] = chance.choice((None, "x", -1, [], {}, [1], {"a": 1}, True, 1e300))
    lines[at] = json.dumps(loaded)
    return ("\n".join(lines) + "\n").encode()


def _restore_modes(run: Path) -> None:
    for path in run.rglob("*"):
        if path.is_file():
            path.chmod(0o644)
