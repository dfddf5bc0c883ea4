"""vLLM over many responses, and on two ranks. Seeds stand here as they were written down before the first run."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from rlzoo.engine.evaluator import evaluate
from rlzoo.engine.reporting import Silent
from rlzoo.engine.sampling.base import Decoding
from rlzoo.runs.folder import RunDir
from tests.scale.vllm_support import (
    SHORT_CONTEXT,
    disturb,
    flat,
    greatest_canary,
    largest_gap,
    opened,
    other_model,
    requests_of,
    vllm_config,
)
from tests.support import as_flags, small_config

pytestmark = [pytest.mark.scale, pytest.mark.long]

SEED = 4711
SCALE_BIN = Path(sys.executable).parent


def test_rewards_are_those_of_the_transformers_sampler() -> None:
    """Over 500 prompts, four responses each, paired by prompt: within 2.6 standard errors of the difference (one in a hundred is not)."""
    wanted = (
        "eval.samples=4",
        "eval.problems_per_level=60",
        f"seed={SEED}",
        "model.device=cpu",
        "sampling.max_response=32",
    )
    found = {}
    for backend in ("transformers", "vllm"):
        config = small_config(*wanted, f"sampling.backend={backend}")
        record = evaluate("tiny", config, reporter=Silent())
        found[backend] = {a.id: sum(s == "correct" for s in a.status) / len(a.status) for a in record.attempts}
    prompts = sorted(found["vllm"])[:500]
    assert len(prompts) == 500
    gaps = torch.tensor([found["vllm"][p] - found["transformers"][p] for p in prompts], dtype=torch.float64)
    error = float(gaps.std()) / math.sqrt(len(gaps))
    print(f"vllm - transformers: {float(gaps.mean()):+.4f}, standard error {error:.4f}")
    assert abs(float(gaps.mean())) < 2.6 * error


@pytest.mark.parametrize("name", ["tiny", "qwen3", "qwen2-two-ends", "gemma3-text"])
def test_log_probs_of_2000_responses_are_the_learners(name: str, tmp_path: Path) -> None:
    more = () if name == "tiny" else (f"model.path={other_model(tmp_path, name)}", *SHORT_CONTEXT)
    with ExitStack() as stack:
        sampler, weights, _ = opened(vllm_config(*more), stack)
        rollouts = flat(sampler.sample(requests_of(500, 4), Decoding(max_response=24)))
        assert len(rollouts) == 2000
        gap = largest_gap(weights, rollouts)
        print(f"{name}: {gap:.2e}")
        assert gap < 1e-4


def test_bfloat16_stays_within_the_bound_that_the_canary_allows() -> None:
    from rlzoo.engine.sampling import weight_canary as canary

    with ExitStack() as stack:
        sampler, weights, _ = opened(vllm_config("model.dtype=bfloat16"), stack)
        gap = largest_gap(weights, flat(sampler.sample(requests_of(500, 4), Decoding(max_response=24))))
        print(f"bfloat16: {gap:.3f}, canary {sampler.measured()['mismatch/canary']:.3f}")
        assert 0 < sampler.measured()["mismatch/canary"] < canary.BOUND["bfloat16"]


def test_tiny_is_published_in_a_tenth_of_a_second() -> None:
    with ExitStack() as stack:
        sampler, weights, _ = opened(vllm_config(), stack)
        times = []
        for update in range(10):
            begun = time.perf_counter()
            sampler.publish(weights, update)
            times.append(time.perf_counter() - begun)
        print(f"published with canary: {min(times):.3f} s at least, {sorted(times)[5]:.3f} s the median")
        assert min(times) < 0.1


def differing(first: list[tuple[int, ...]], second: list[tuple[int, ...]]) -> float:
    """Share of tokens that differ, given equal ones before."""
    same = total = 0
    for one, other in zip(first, second, strict=True):
        equal = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
        same += equal
        total += equal + (one != other)
    return 1 - same / total


def test_arms_stay_as_close_as_with_the_transformers_sampler() -> None:
    """Weights apart by noise of 2e-3: at most twice the share of tokens differ."""
    shares = {}
    for backend in ("transformers", "vllm"):
        with ExitStack() as stack:
            sampler, weights, _ = opened(small_config(f"sampling.backend={backend}", "model.device=cpu"), stack)
            requests = requests_of(100, 8)
            before = [r.response_tokens for r in flat(sampler.sample(requests, Decoding(max_response=24)))]
            disturb(weights, 2e-3)
            sampler.publish(weights, 1)
            after = [r.response_tokens for r in flat(sampler.sample(requests, Decoding(max_response=24)))]
            shares[backend] = differing(before, after)
    print(shares)
    assert 0 < shares["vllm"] <= 2 * shares["transformers"]


@pytest.mark.parametrize("place", ["inside", "process"])
@pytest.mark.parametrize("algo", ["mcpo-contrastive", "mcpo-mastery", "cepo"])
def test_objectives_train_on_two_ranks(algo: str, place: str, tmp_path: Path) -> None:
    flags = as_flags(
        "sampling.backend=vllm", f"sampling.place={place}", "model.device=cpu", "eval.at_start=false", "budget.steps=2"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "rlzoo", "train", "--algo", algo, "--out", str(tmp_path / "run"), *flags]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = RunDir(tmp_path / "run").metrics()
    assert [line["step"] for line in lines] == [1, 2]
    print(f"{algo}, {place}: canary at most {greatest_canary(lines):.1e}")
