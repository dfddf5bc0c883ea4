"""A run on two ranks that is interrupted, or loses one: all end in seconds, one says why, and the resumption arrives where nobody disturbed it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from rlzoo.runs.folder import RunDir
from tests.support import as_flags, final_weights, without_times

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[1]
STEPS = 12
QUIET = as_flags("checkpoint.every=1", "eval.at_start=false", "eval.at_end=false")
MODULE = [sys.executable, "-m", "rlzoo"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "rlzoo"]
NOISE = ("Traceback", "ChildFailedError", "torch.distributed", "gloo", "resource_tracker", "SignalException")
ENDS_S = 10.0
"""From the moment a rank is gone until all are."""
FAULTY = """
import os
import torch
from rlzoo.algorithms.grpo import Grpo


class Faulty(Grpo):
    def assign_credit(self, batch):
        if os.environ.get("RANK") == "1" and batch.step == 2:
            raise {error}
        return super().assign_credit(batch)
"""


def words(out: Path, *more: str, how: str = "nproc", algo: str = "grpo") -> list[str]:
    start = [*MODULE, "train", "--nproc", "2"] if how == "nproc" else [*TORCHRUN, "train"]
    return [*start, "--algo", algo, "--steps", str(STEPS), *QUIET, "--out", str(out), *more]


def environment() -> dict[str, str]:
    ours = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return {**os.environ, **ours}


def start(command: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=600, check=False)


def ranks_of(parent: int) -> dict[int, int]:
    """Process of each rank that has been started."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            above = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            entries = (folder / "environ").read_bytes().split(b"\0")
        except (OSError, IndexError, ValueError):
            continue
        rank = next((int(entry[5:]) for entry in entries if entry.startswith(b"RANK=")), None)
        if above == parent and rank is not None:
            found[rank] = int(folder.name)
    return found


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(happened: Callable[[], object], process: subprocess.Popen[str], limit: float = 400.0) -> None:
    deadline = time.monotonic() + limit
    while not happened() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


def seconds_to_end(ranks: dict[int, int]) -> float:
    began = time.monotonic()
    while any(is_there(pid) for pid in ranks.values()) and time.monotonic() - began < 60:
        time.sleep(0.02)
    return time.monotonic() - began


def steps(out: Path) -> int:
    return len(RunDir(out).metrics())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """The run that nobody disturbs."""
    out = tmp_path_factory.mktemp("ranks") / "whole"
    done = finish(words(out))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Run: ") == 1
    assert "ranks       2, on cpu of " in done.stderr
    return RunDir(out)


def check_same(found: RunDir, whole: RunDir) -> None:
    assert final_weights(found.path) == final_weights(whole.path)
    assert without_times(found.metrics()) == without_times(whole.metrics())


def test_a_rank_killed_five_times_costs_nothing(whole: RunDir, tmp_path: Path) -> None:
    """Twice the first rank, which writes everything; moments by a seed."""
    out, chance, figures = tmp_path / "cut", random.Random(7), []
    for number in range(5):
        which = number % 2
        before = steps(out) if RunDir(out).exists() else 0
        process = start(words(out, *(["--resume"] if before else [])))
        wait_until(lambda before=before: RunDir(out).exists() and steps(out) > before, process)
        time.sleep(chance.random())
        ranks = ranks_of(process.pid)
        assert sorted(ranks) == [0, 1], process.communicate()[1]
        os.kill(ranks[which], signal.SIGKILL)
        figures.append(seconds_to_end(ranks))
        said = process.communicate(timeout=60)[1]
        assert process.returncode == 1, said
        status = RunDir(out).status()
        assert status.state == "failed"
        assert status.reason.startswith(f"rank {which} of 2 was killed by SIGKILL")
        assert said.count("error: ") == 1 and f"rank {which} of 2" in said
        assert f"rlzoo train --resume --out {out} --nproc 2" in said
        assert [word for word in NOISE if word in said] == []
    print("seconds until all had ended:", " ".join(f"{seconds:.1f}" for seconds in figures))
    assert max(figures) < ENDS_S
    assert finish(words(out, "--resume")).returncode == 0
    check_same(RunDir(out), whole)


@pytest.mark.parametrize("which", [0, 1])
def test_under_torchrun_too_the_others_say_who_is_gone(which: int, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(words(out, how="torchrun"))
    wait_until(lambda: RunDir(out).checkpoint_steps(), process)
    ranks = ranks_of(process.pid)
    os.kill(ranks[which], signal.SIGKILL)
    assert seconds_to_end(ranks) < ENDS_S
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert RunDir(out).status().state == "failed"
    assert RunDir(out).status().reason.startswith(f"rank {which} of 2 (process {ranks[which]}, cpu of ")
    assert said.count("ended without a word") == 1
    assert "To go on from its newest checkpoint: torchrun --standalone --nproc-per-node 2 -m rlzoo train" in said


@pytest.mark.parametrize("how", ["nproc", "torchrun"])
@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (
            "torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB')",
            "memory ran out while updating the policy",
        ),
        ("ZeroDivisionError('by zero')", "ZeroDivisionError: by zero"),
    ],
    ids=["memory", "bug"],
)
def test_what_fails_on_one_rank_alone_is_told_by_the_first(how: str, error: str, cause: str, tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY.format(error=error))
    out = tmp_path / "run"
    began = time.monotonic()
    process = start(words(out, how=how, algo=f"{tmp_path / 'faulty.py'}:Faulty"))
    wait_until(lambda: RunDir(out).status().state == "failed", process)
    assert seconds_to_end(ranks_of(process.pid)) < ENDS_S
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 1, said
    assert RunDir(out).status().state == "failed"
    assert RunDir(out).status().reason.startswith("rank 1 of 2 (process ")
    assert cause in RunDir(out).status().reason
    assert said.count("error: rank 1 of 2") == 1 and said.count(cause) == 1
    assert (out / "traceback-rank-1.txt").exists() == ("bug" in RunDir(out).status().reason)
    assert time.monotonic() - began < 400


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_reaches_all_ranks_and_is_told_once(number: signal.Signals, whole: RunDir, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(words(out))
    wait_until(lambda: RunDir(out).exists() and steps(out), process)
    process.send_signal(number)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 130, said
    assert said.count("stopping after this step") == 1
    assert said.count("interrupted after step") == 1
    assert [word for word in NOISE if word in said] == []
    run = RunDir(out)
    assert run.status().state == "interrupted"
    assert run.checkpoint_steps()[-1] == steps(out) < STEPS
    assert json.loads((out / "status.json").read_text())["resume"] == f"rlzoo train --resume --out {out} --nproc 2"
    assert finish(words(out, "--resume")).returncode == 0
    check_same(run, whole)


def test_ranks_save_when_they_are_asked_and_go_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(words(out, "--set", "checkpoint.every=1000"))
    wait_until(lambda: RunDir(out).exists() and steps(out), process)
    process.send_signal(signal.SIGUSR1)
    wait_until(lambda: RunDir(out).checkpoint_steps(), process)
    saved = RunDir(out).checkpoint_steps()[0]
    assert saved < STEPS
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 0, said
    assert steps(out) == STEPS


def test_a_refusal_is_told_once_with_the_code_of_one_process(whole: RunDir) -> None:
    before = whole.metrics_file.read_bytes()
    refused = finish(words(whole.path))
    assert refused.returncode == 2
    assert refused.stderr.count("error: ") == 1
    assert f"{whole.path} holds a run; nothing was changed." in refused.stderr
    assert whole.metrics_file.read_bytes() == before


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        static = {
            "RANK": "0",
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(taken.getsockname()[1]),
        }
        command = [*MODULE, "train", "--algo", "grpo", *QUIET, "--out", str(tmp_path / "run")]
        done = subprocess.run(
            command, env={**environment(), **static}, capture_output=True, text=True, timeout=300, check=False
        )
    assert done.returncode == 1
    assert f"port {static['MASTER_PORT']} is taken on this machine" in done.stderr
    assert "Traceback" not in done.stderr
