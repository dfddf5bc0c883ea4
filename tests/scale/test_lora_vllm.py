"""Adapters in vLLM, merged and as themselves: its log-probs are the trainer's, and a stale adapter shows.

What this does not show: the sampler of a run, which calls the same functions.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.scale
pytest.importorskip("peft", reason="in the scale environment only")
ROOT = Path(__file__).resolve().parents[2]


def gaps(way: str, folder: Path) -> dict[str, float]:
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, str(ROOT / "tests" / "scale" / "lora_vllm.py"), way, str(folder)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=1000, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    print(done.stdout.strip().splitlines()[-1])
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def test_merged_weights_are_published(tmp_path: Path) -> None:
    """The output layer is tied: `full` names it, or vLLM would keep the old one."""
    found = gaps("merged", tmp_path)
    assert found["start"] < 1e-4
    assert found["unpublished"] > 0.01
    assert found["published"] < 1e-4


@pytest.mark.long
def test_an_adapter_is_published_under_a_new_identity(tmp_path: Path) -> None:
    found = gaps("adapter", tmp_path)
    assert found["start"] < 1e-4
    assert found["unpublished"] > 0.01
    assert found["published"] < 1e-4
    assert found["same identity"] > 0.01, "a changed adapter under an identity that is known stays as it was"
    assert found["new identity"] < 1e-4
    assert found["in place"] < 1e-4
