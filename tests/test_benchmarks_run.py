"""Each benchmark at its smallest: it starts as its docstring says, ends, and prints what it is for. Not how fast anything is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import as_flags

ROOT = Path(__file__).resolve().parents[1]


def printed(name: str, *arguments: str) -> str:
    """As every page has it: by its module, from the root."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        env={name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"},  # as a reader's shell
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def told(name: str, *arguments: str) -> Any:
    return json.loads(printed(name, *arguments))


@pytest.mark.long
def test_step() -> None:
    found = told("step", "--steps", "2", *as_flags())
    assert all(value >= 0 for value in numbers(found)) and any(value > 0 for value in numbers(found))


@pytest.mark.long
def test_objectives() -> None:
    other = "opd:teacher_path=tiny-clean"
    found = told("objectives", "--steps", "1", "--rounds", "1", "--also", other, *as_flags())
    assert found["grpo"]["over_grpo"] == 1 and found["cepo, schedule on"]["seconds"] > 0
    assert found[other]["score"] > 0  # the teacher's pass
    assert found["price_of_not_skipping"] > 0


@pytest.mark.long
def test_fixed_length() -> None:
    found = told("fixed_length", "--engine", "rlzoo", "--steps", "3")
    assert (found["engine"], found["rows"], len(found["seconds"])) == ("rlzoo", 32, 1)
    assert found["median"] == pytest.approx(found["seconds"][0], abs=1e-3) and found["peak_rss_mb"] > 0


@pytest.mark.long
@pytest.mark.parametrize("kind", ["maths", "code"])
def test_verify(kind: str) -> None:
    found = told("verify", "--workers", "1", "--kind", kind)
    assert set(found) == {"workers", kind} and max(numbers(found[kind])) > 0


@pytest.mark.long
def test_verdicts() -> None:
    assert "| `math-verify` | 1 of 3 | 0 of 0 | 1 |" in printed(
        "verdicts", "--kind", "maths", "--part", "first", "--limit", "3"
    )


@pytest.mark.long
def test_agreement(tmp_path: Path) -> None:
    printed("agreement", "--export", str(tmp_path / "cases.jsonl"))
    assert len((tmp_path / "cases.jsonl").read_text(encoding="utf-8").splitlines()) == 300


def numbers(found: Any) -> list[float]:
    """All of them, however deep."""
    if isinstance(found, dict):
        return [value for below in found.values() for value in numbers(below)]
    return [float(found)] if isinstance(found, int | float) else []
