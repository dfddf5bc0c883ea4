"""The benchmarks of a GPU and of packing run to their end on a CPU. Their numbers here mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import benchmark

ROOT = Path(__file__).resolve().parents[1]


def test_arms_and_shapes() -> None:
    """Parameters by hand, of 0.5B: 24 layers of 896 x (896 + 2 x 128 + 896 + 3 x 4864), biases, norms, and the table."""
    gpu = benchmark("gpu")
    assert gpu.plan(dry=False, trl=True)[0] == ("full", "0.5B")
    assert gpu.plan(dry=False, trl=True)[-1] == ("trl", "1.5B")
    assert {shape for _, shape in gpu.plan(dry=True, trl=False)} == {"dry"}
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    with torch.device("meta"):
        model = Qwen2ForCausalLM(Qwen2Config(**gpu.SHAPES["0.5B"]))
    layers = 24 * (896 * (896 + 2 * 128 + 896 + 3 * 4864) + 896 + 2 * 128 + 2 * 896)
    assert sum(p.numel() for p in model.parameters()) == layers + 151_936 * 896 + 896


@pytest.mark.long
def test_a_dry_run_measures_every_arm() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--dry"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"full", "packed"} <= {each["arm"] for each in found}
    for each in found:
        assert each["shape"] == "dry"
        assert each["device"] == "cpu"
        assert 0 < each["training_mfu"] < 1
        assert each["sampled_tokens_per_s"] > 0


def test_packing_is_measured_in_turn() -> None:
    found = benchmark("packing").measure("tiny", 256, 24, 1)
    assert found["passes"]["packed"] <= found["passes"]["padded"]
    assert found["padded_tokens_over_real"] >= 1
    assert len(found["ratios"]) == 1
    assert found["ratio"] > 0
