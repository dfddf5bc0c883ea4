"""Training called as a library: from a script without a guard, and from a program that has no file at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlzoo import configure
from rlzoo.runs.folder import RunDir
from tests import bytes_model
from tests.support import small_config

SCRIPT = """
from pathlib import Path
from rlzoo import configure
from rlzoo.engine.trainer import train
print("the program ran", flush=True)
train(configure.validate(configure.read_file({config!r})), Path({out!r}))
"""


@pytest.mark.parametrize("way", ["file", pytest.param("stdin", marks=pytest.mark.long)])
def test_a_program_without_a_guard_runs_once(way: str, tmp_path: Path) -> None:
    """Its verifier workers are processes of their own and never run the program again."""
    small = ("data.sources=[{name: maths}]", "eval.problems_per_level=1", "sampling.max_response=4")
    model = f"model.path={bytes_model.make(tmp_path / 'model')}"
    (tmp_path / "config.yaml").write_text(configure.to_yaml(small_config(model, *small, steps=1)))
    text = SCRIPT.format(config=str(tmp_path / "config.yaml"), out=str(tmp_path / "run"))
    (tmp_path / "mine.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "mine.py"] if way == "file" else [sys.executable, "-"],
        input=text if way == "stdin" else None,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the program ran") == 1
    assert RunDir(tmp_path / "run").status().state == "done"
    statuses = {row["status"] for row in RunDir(tmp_path / "run").rollouts(1)}
    assert statuses and "error" not in statuses
