"""A full disk, no memory, a clock that jumps, a worker that dies: said in words, exit code 1, and resumed to the same end."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from rlzoo import mishaps
from rlzoo.cli import main
from rlzoo.config import RunConfig
from rlzoo.engine.trainer import train
from rlzoo.errors import ConfigError, MachineFault
from rlzoo.runs import durable
from rlzoo.runs.folder import RunDir
from tests import bytes_model
from tests.support import LEAST, Disturbed, final_weights, offspring, small_config, without_times

STEPS = 3


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    model = bytes_model.make(tmp_path_factory.mktemp("model"))
    return small_config(f"model.path={model}", *LEAST, "checkpoint.every=1", "eval.every=1", steps=STEPS)


@pytest.fixture(scope="module")
def whole(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    train(config, out)
    return out


def completes(out: Path, config: RunConfig, whole: Path) -> None:
    """Resumed, the run ends as the one that nothing disturbed."""
    train(config, out, resume=True)
    assert RunDir(out).status().state == "done"
    assert final_weights(out) == final_weights(whole)
    assert without_times(RunDir(out).metrics()) == without_times(RunDir(whole).metrics())
    assert RunDir(out).evaluations() == RunDir(whole).evaluations()


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: a write past it fails as on a full disk, in whatever library it happens."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("size", [0, 1_000, 3_000, 8_000, 30_000])
def test_a_full_disk_ends_a_run_that_then_completes(size: int, config: RunConfig, whole: Path, tmp_path: Path) -> None:
    """The limits lie between the sizes of its files, so that each kind of write is the one that fails."""
    out = tmp_path / "run"
    train(small_like(config, 1), out)
    (out / "config.yaml").write_bytes((whole / "config.yaml").read_bytes())
    with room_for(size), pytest.raises(MachineFault, match="no room to write"):
        train(config, out, resume=True)
    if size:
        assert RunDir(out).status().state == "failed"
        assert "no room to write" in RunDir(out).status().reason
    assert not list(out.glob("checkpoints/.*partial")), "what was half written makes room"
    completes(out, config, whole)


def small_like(config: RunConfig, steps: int) -> RunConfig:
    return config.model_copy(update={"budget": config.budget.model_copy(update={"steps": steps})})


def test_the_room_that_a_status_has_is_enough_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    run = RunDir(tmp_path)
    run.write_status("running", step=7, reason="a long one")
    monkeypatch.setattr(durable, "put", no_room)
    run.write_status("failed", reason="full")
    assert (run.status().state, run.status().reason) == ("failed", "full")
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


@pytest.mark.parametrize(
    ("stage", "settings"),
    [
        ("sample", ["sampling.max_rows (now 512)", "sampling.max_response (now 4)", "sampling.max_prompt (now 256)"]),
        ("update", ["learner.tokens_per_microbatch (now ", "learner.logit_elements", "sampling.max_response"]),
    ],
)
def test_memory_that_ran_out_names_what_takes_it(
    stage: str, settings: list[str], config: RunConfig, whole: Path, tmp_path: Path
) -> None:
    def give_out() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...\nmore")

    with pytest.raises(MachineFault, match=r"memory ran out while .*2\.00 GiB") as fault:
        train(config, tmp_path / "run", reporter=Disturbed(stage, give_out, 2))
    assert all(name in str(fault.value) for name in settings)
    assert RunDir(tmp_path / "run").status().reason == str(fault.value)
    completes(tmp_path / "run", config, whole)


def test_memory_that_runs_out_as_a_model_is_read(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give_out(*args: object, **more: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 14.00 GiB.")

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", give_out)
    with pytest.raises(MachineFault, match=r"memory ran out while loading the model: .*14\.00 GiB") as fault:
        train(config, tmp_path / "run")
    assert all(f"{name} (now " in str(fault.value) for name in ("model.path", "model.dtype", "verifier.workers"))


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux alone")
@pytest.mark.parametrize("want", [lambda: torch.zeros(2**33), lambda: bytearray(2**35)], ids=["torch", "python"])
def test_memory_that_the_machine_refuses(
    want: Callable[[], object], config: RunConfig, whole: Path, tmp_path: Path
) -> None:
    def ask_too_much() -> None:
        before = resource.getrlimit(resource.RLIMIT_AS)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, before[1]))
        try:
            want()
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)

    with pytest.raises(MachineFault, match="memory ran out while scoring rollouts"):
        train(config, tmp_path / "run", reporter=Disturbed("score", ask_too_much, 2))
    assert RunDir(tmp_path / "run").status().state == "failed"
    completes(tmp_path / "run", config, whole)


def test_a_clock_that_jumps_changes_nothing(
    config: RunConfig, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(0)
    monkeypatch.setattr(time, "time", lambda: chance.uniform(-1e9, 4e9))
    monkeypatch.setattr(time, "time_ns", lambda: chance.randrange(4 * 10**18))
    limited = config.model_copy(update={"budget": config.budget.model_copy(update={"device_seconds": 3600.0})})
    assert train(limited, tmp_path / "run").step == STEPS
    lines = RunDir(tmp_path / "run").metrics()
    assert without_times(lines) == without_times(RunDir(whole).metrics())
    assert all(value >= 0 for line in lines for name, value in line.items() if name.startswith("time/"))
    assert all(0 < line["time/step"] < 600 for line in lines)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
@pytest.mark.parametrize("stage", ["sample", "verify", "score"])
def test_verifier_workers_that_are_killed_cost_nothing(
    stage: str, config: RunConfig, whole: Path, tmp_path: Path
) -> None:
    killed: list[int] = []
    others = set(offspring(os.getpid()))

    def kill() -> None:
        for pid in set(offspring(os.getpid())) - others:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    train(config, tmp_path / "run", reporter=Disturbed(stage, kill, 2))
    assert killed
    assert final_weights(tmp_path / "run") == final_weights(whole)
    assert RunDir(tmp_path / "run").evaluations() == RunDir(whole).evaluations()


def test_the_command_says_what_happened_and_how_to_go_on(
    config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from rlzoo import configure

    file = tmp_path / "config.yaml"
    file.write_text(configure.to_yaml(config))
    with room_for(4_000):
        code = main.run(["train", "--config", str(file), "--out", str(tmp_path / "run")])
    said = capsys.readouterr().err
    assert code == 1
    assert "error: there was no room to write while" in said
    assert f"rlzoo train --resume --out {tmp_path / 'run'}" in said
    assert "bug" not in said


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x"), "no room to write while saving: No space left on device, at /x"),
        (RuntimeError("Error while serializing: I/O error: File too large (os error 27)"), "no room to write"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 640 vs 534"), "no room to write"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "memory ran out"),
        (MemoryError(), "memory ran out while saving. What takes it"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), r"Permission denied \(/x\)"),
    ],
)  # fmt: skip
def test_faults_of_the_machine_are_known(error: BaseException, words: str) -> None:
    with pytest.raises(MachineFault, match=words):
        raise mishaps.machine_fault(error, None, "save") or AssertionError


@pytest.mark.parametrize(
    "error",
    [KeyError("x"), RuntimeError("shapes differ"), FileNotFoundError(2, "No such file", "x"), ConfigError("no")],
)
def test_what_is_not_the_machines_fault_is_left(error: BaseException) -> None:
    assert mishaps.machine_fault(error, None, "save") is None
