"""Whole runs of two ranks whose weights lie in pieces: killed, resumed on other numbers of ranks, and by the README's command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rlzoo.engine.model.loading import locate
from rlzoo.runs.folder import RunDir
from tests.scale.vllm_support import greatest_canary
from tests.support import as_flags, offspring
from tests.test_docs import page

pytestmark = [pytest.mark.scale, pytest.mark.long]

DEADLINE_S = 600
STEPS = 8
SETTINGS = as_flags(
    *("model.device=cpu", "eval.at_start=false", "eval.at_end=false", "checkpoint.every=1", "learner.lr=1e-4"),
    *("data.sources=[{name: maths}]", f"budget.steps={STEPS}"),
)


def begun(out: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "rlzoo", "train", "--out", str(out), *words]
    with out.with_suffix(".log").open("ab") as said:
        return subprocess.Popen(command, stdout=said, stderr=said, env={**os.environ, "OMP_NUM_THREADS": "1"})


def ended(process: subprocess.Popen[bytes], out: Path) -> None:
    assert process.wait(DEADLINE_S) == 0, out.with_suffix(".log").read_text()[-3000:]


def killed_after(step: int, process: subprocess.Popen[bytes], out: Path) -> int:
    """The launcher and all its ranks, by SIGKILL, once so many steps are recorded. Steps that were recorded then."""
    deadline = time.monotonic() + DEADLINE_S
    while len(RunDir(out).metrics()) < step and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None, out.with_suffix(".log").read_text()[-3000:]
    for pid in (process.pid, *offspring(process.pid)):
        os.kill(pid, signal.SIGKILL)
    process.wait()
    return len(RunDir(out).metrics())


def last_weights(out: Path) -> torch.Tensor:
    """[parameters]"""
    return vector(RunDir(out).checkpoint(STEPS))


def vector(folder: Path) -> torch.Tensor:
    """All weights of a folder, by name. [parameters]"""
    found = load_file(folder / "model.safetensors")
    return torch.cat([found[name].double().reshape(-1) for name in sorted(found)])


def test_a_run_that_is_killed_goes_on_also_on_another_number_of_ranks(tmp_path: Path) -> None:
    """Under FSDP2 on 2, 1 and 2 ranks, killed at moments between steps, it ends within 1e-5 of the way that an undisturbed run goes."""
    straight, moved = tmp_path / "straight", tmp_path / "moved"
    begin = ["--algo", "grpo", *SETTINGS, "--set", "learner.shard=fsdp2"]
    ended(begun(straight, *begin, "--nproc", "2"), straight)
    assert killed_after(2, begun(moved, *begin, "--nproc", "2"), moved) < STEPS
    assert killed_after(5, begun(moved, "--resume", "--nproc", "1"), moved) < STEPS
    ended(begun(moved, "--resume", "--nproc", "2"), moved)
    run = RunDir(moved)
    assert [line["step"] for line in run.metrics()] == list(range(1, STEPS + 1))
    origin = run.provenance()
    assert origin is not None and [part.within.machine["ranks"] for part in origin.ran] == [2, 1, 2]
    start = vector(Path(locate("tiny")))
    way = float((last_weights(straight) - start).norm())
    gap = float((last_weights(moved) - last_weights(straight)).norm())
    print(f"2, 1, 2 ranks with two kills: {gap / way:.1e} of the way moved")
    assert way > 1e-3
    assert gap <= 1e-5 * way


README = [block for block in page("README.md") if block.directive == "scale"]


@pytest.mark.parametrize("shard", ["fsdp2", "zero2"])
@pytest.mark.parametrize("algo", ["mcpo-contrastive", "mcpo-mastery", "cepo"])
def test_the_readmes_command_for_any_objective(algo: str, shard: str, tmp_path: Path) -> None:
    """As written, with another objective or store in its place."""
    (block,) = README
    (words,) = block.commands
    assert words[:2] == ["rlzoo", "train"]
    words[words.index("--algo") + 1] = algo
    words = [f"learner.shard={shard}" if word.startswith("learner.shard=") else word for word in words]
    out = tmp_path / "run"
    ended(begun(out, *words[2:], *block.value.split(), "--set", "model.device=cpu"), out)
    lines = RunDir(out).metrics()
    assert lines
    print(f"{algo}, {shard}: canary at most {greatest_canary(lines):.1e}")
