"""Ranks before they start: what is refused and told, what accelerate's launcher says, and where each rank computes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rlzoo import placement
from rlzoo.cli import accelerated, launching, main
from rlzoo.engine.joining import _check_shared
from rlzoo.engine.model.loading import _own_device
from rlzoo.errors import UnfitModel, UsageError
from rlzoo.placement import RankPlace, in_words
from rlzoo.runs.folder import RunDir
from rlzoo.training_config import ModelConfig
from tests.support import small_config

LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", placement.NPROC)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in LAUNCHER:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def told(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    return main.run(["train", *words]), capsys.readouterr().err


# -- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["0", "-2"])
def test_no_processes_are_refused(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = told("--nproc", number, capsys=capsys)
    assert (code, f"--nproc is {number}" in said) == (2, True)


def test_ranks_do_not_start_ranks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, said = told("--nproc", "2", capsys=capsys)
    assert code == 2
    assert "rank 0 of 2" in said and "leave --nproc out" in said


def test_more_ranks_than_cores_or_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = len(os.sched_getaffinity(0))
    launching.check_room(cores, ModelConfig(device="cpu"))
    with pytest.raises(UsageError, match=f"--nproc is {cores + 1}, but this process may use {cores} core"):
        launching.check_room(cores + 1, ModelConfig(device="cpu"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    launching.check_room(2, ModelConfig())
    with pytest.raises(UsageError, match=r"torch sees 2 CUDA devices here.*Give --nproc 2 or fewer"):
        launching.check_room(3, ModelConfig())


@pytest.mark.parametrize(
    ("variables", "what"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two'"),
        ({"WORLD_SIZE": "2"}, "RANK is not set"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK is 2"),
        ({"WORLD_SIZE": "0", "RANK": "0"}, "WORLD_SIZE is 0"),
    ],
)
def test_a_launcher_that_makes_no_sense_is_refused(
    variables: dict[str, str], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=what):
        placement.placement()


def test_the_place_among_ranks_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert placement.placement() == placement.Placement()
    for name, value in {"WORLD_SIZE": "8", "RANK": "5", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    assert placement.placement() == placement.Placement(rank=5, world=8, local_rank=1, local_world=4)


# -- devices ----------------------------------------------------------------------------------------------


def test_each_rank_has_its_own_device() -> None:
    assert [_own_device(rank, 4).index for rank in range(4)] == [0, 1, 2, 3]
    assert _own_device(3, 1).index == 0, "a scheduler that shows each rank one device shows it as the first"
    with pytest.raises(UnfitModel, match=r"cuda:2, but its machine has 2 CUDA devices.*at most 2 ranks"):
        _own_device(2, 2)


def test_one_device_is_not_shared() -> None:
    _check_shared([("a", "gpu-1"), ("a", "gpu-2"), ("b", "gpu-1"), ("a", ""), ("a", "")])
    with pytest.raises(UnfitModel, match="ranks 0 and 2 share one CUDA device of a"):
        _check_shared([("a", "gpu-1"), ("a", "gpu-2"), ("a", "gpu-1")])


# -- what is said of them ---------------------------------------------------------------------------------


def places(host: str, *devices: str) -> list[RankPlace]:
    return [RankPlace(host=host, device=device) for device in devices]


def test_how_many_run_and_where() -> None:
    assert in_words(places("a", "cpu")) == "1, on cpu"
    assert in_words(places("a", "cpu", "cpu")) == "2, on cpu of a"
    assert in_words(places("a", "cuda:0", "cuda:1")) == "2, on cuda:0 and cuda:1 of a"
    eight = [f"cuda:{number}" for number in range(4)]
    assert in_words(places("a", *eight) + places("b", *eight)) == (
        "8 on 2 machines: 4 on cuda:0 to cuda:3 of a, 4 on cuda:0 to cuda:3 of b"
    )


@pytest.mark.parametrize(("more", "ranks"), [((), "1, on cpu"), (("--nproc", "2"), "2, on cpu of ")])
def test_a_dry_run_tells_the_ranks(more: tuple[str, ...], ranks: str, capsys: pytest.CaptureFixture[str]) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        more, ranks = (), "1, on cpu"
    asked = ["train", "--dry-run", "--set", "model.device=cpu", *more]
    assert main.run(asked) == 0
    assert re.search(rf"^ranks +{ranks}", capsys.readouterr().out, re.MULTILINE)
    assert main.run([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["ranks"]
    assert [place["device"] for place in found] == ["cpu"] * (2 if more else 1)


def test_the_resumption_is_told_as_the_run_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Path("my runs/a")
    assert placement.resuming(out) == "rlzoo train --resume --out 'my runs/a'"
    for name, value in {"WORLD_SIZE": "4", "RANK": "0", "LOCAL_WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    assert placement.resuming(Path("a")) == ("torchrun --standalone --nproc-per-node 4 -m rlzoo train --resume --out a")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert "on all 4 ranks" in placement.resuming(Path("a"))
    monkeypatch.setenv(placement.NPROC, "4")
    assert placement.resuming(Path("a")) == "rlzoo train --resume --out a --nproc 4"


def test_options_are_handed_on_in_words() -> None:
    found = launching.arguments(
        algo="grpo", recipe=None, set=["learner.lr=-1", "seed=2"], steps=3, out=Path("a b"), resume=False, json=True
    )
    assert found == ["train", "--algo=grpo", "--set=learner.lr=-1", "--set=seed=2", "--steps=3", "--out=a b", "--json"]


# -- how they end -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ({0: 1, 1: -15}, 1),
        ({0: 2}, 2),
        ({1: 130, 0: -15}, 130),
        ({1: 130, 0: 130}, 130),
        ({1: 1, 0: 130}, 1),
        ({0: 2, 1: 130}, 2),
        ({1: -9, 0: 1}, 1),
        ({1: -9, 0: 130}, 1),
        ({0: -11}, 1),
    ],
)
def test_the_exit_code_is_that_of_one_process(codes: dict[int, int], code: int, tmp_path: Path) -> None:
    assert launching._ended(codes, 2, tmp_path / "none") == code


def test_a_rank_that_was_ended_after_a_failure_is_no_interrupt(tmp_path: Path) -> None:
    """The folder knows of the failure, though the rank that failed is not among those that ended first."""
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    (run.path / "config.yaml").write_text("")
    for state, code in (("failed", 1), ("interrupted", 130), ("running", 130)):
        run.write_status(state, step=3)
        assert launching._ended({0: 130}, 2, run.path) == code
    run.write_status("failed", step=3)  # of an earlier attempt: all say the same
    assert launching._ended({0: 130, 1: 130}, 2, run.path) == 130


def test_the_folder_says_who_was_killed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rlzoo import configure
    from rlzoo.runs.folder import write_text

    run = RunDir(tmp_path / "run")
    write_text(run.path / "config.yaml", configure.to_yaml(small_config()))
    run.write_status("running", step=3)
    assert launching._ended({1: -signal.SIGKILL, 0: 1}, 2, run.path) == 1
    assert run.status().state == "failed"
    assert run.status().reason.startswith("rank 1 of 2 was killed by SIGKILL")
    assert "--resume" in capsys.readouterr().err, "no rank was left to say it"
    run.write_status("done", step=3)
    assert launching._ended({1: -signal.SIGSEGV}, 2, run.path) == 1
    assert run.status().state == "done", "what was finished before stays so"


# -- accelerate -------------------------------------------------------------------------------------------

FSDP = {"ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_USE_FSDP": "true", "FSDP_OFFLOAD_PARAMS": "false"}
ZERO = {"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_USE_DEEPSPEED": "true"}


@pytest.mark.parametrize(
    ("environment", "settings"),
    [
        ({}, {}),
        ({"ACCELERATE_USE_FSDP": "true"}, {}),  # not by its launcher
        ({"ACCELERATE_MIXED_PRECISION": "no"}, {}),
        (FSDP, {"model.dtype": "bfloat16", "learner.shard": "fsdp2"}),
        (
            {**FSDP, "FSDP_OFFLOAD_PARAMS": "true"},
            {"model.dtype": "bfloat16", "learner.shard": "fsdp2", "learner.offload": True},
        ),
        ({**FSDP, "FSDP_SHARDING_STRATEGY": "NO_SHARD"}, {"model.dtype": "bfloat16", "learner.shard": "none"}),
        ({**ZERO, "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, {"learner.shard": "zero3"}),
        ({**ZERO, "ACCELERATE_DEEPSPEED_ZERO_STAGE": "0"}, {"learner.shard": "none"}),
        (
            {
                **ZERO,
                "ACCELERATE_DEEPSPEED_ZERO_STAGE": "1",
                "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": "cpu",
                "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": "none",
            },
            {"learner.shard": "zero1", "learner.offload": True},
        ),
    ],
)
def test_what_accelerate_was_told_is_read(environment: dict[str, str], settings: dict[str, Any]) -> None:
    assert accelerated.taken(environment).settings == settings


def test_a_deepspeed_file_that_accelerate_names_is_read(tmp_path: Path) -> None:
    file = tmp_path / "ds.json"
    file.write_text(json.dumps({"zero_optimization": {"stage": 3, "offload_param": {"device": "cpu"}}}))
    environment = {**ZERO, "ACCELERATE_DEEPSPEED_CONFIG_FILE": str(file)}
    assert accelerated.taken(environment).settings == {"learner.shard": "zero3", "learner.offload": True}
    file.write_text("{")
    with pytest.raises(UsageError, match=r"ds\.json that accelerate names cannot be read"):
        accelerated.taken(environment)


def test_what_is_set_wins_over_accelerate(capsys: pytest.CaptureFixture[str]) -> None:
    offloaded = accelerated.taken({**FSDP, "FSDP_OFFLOAD_PARAMS": "true"})
    assert offloaded.beside({"model": {"dtype": "float32"}}).settings == {
        "learner.shard": "fsdp2",
        "learner.offload": True,
    }
    assert offloaded.beside({"learner": {"shard": "none"}}).settings == {"model.dtype": "bfloat16"}
    offloaded.tell()
    assert "model.dtype=bfloat16, learner.shard=fsdp2, learner.offload=true" in capsys.readouterr().err


def test_accelerates_precision_becomes_the_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rlzoo.cli import options

    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert options.load_config("grpo", None, None, []).model.dtype == "bfloat16"
    assert capsys.readouterr().err.count("from accelerate's configuration: model.dtype=bfloat16.") == 1
    assert options.load_config("grpo", None, None, ["model.dtype=float32"]).model.dtype == "float32"
    assert "accelerate" not in capsys.readouterr().err
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    assert options.load_config("grpo", None, None, []).model.dtype == "float32"
    assert "mixed precision fp16" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        ("python /x/bin/accelerate launch --cpu --num_processes 2 -m rlzoo train", 2),
        ("python /x/bin/accelerate-launch --cpu --num-processes=3 -m rlzoo train", 3),
        ("python -m accelerate.commands.launch --num_processes 4 -m rlzoo", 4),
        ("python /x/bin/accelerate launch --cpu -m rlzoo train", 0),
        ("python train.py --num_processes 2", 0),
        ("bash", 0),
    ],
)
def test_accelerates_command_is_recognised(command: str, asked: int) -> None:
    assert accelerated.processes_asked(command.split()) == asked


def test_accelerates_file_is_asked_for_its_processes(tmp_path: Path) -> None:
    file = tmp_path / "cpu.yaml"
    file.write_text("use_cpu: true\nnum_processes: 2\n")
    assert accelerated.processes_asked(["accelerate", "launch", "--config_file", str(file), "-m", "rlzoo"]) == 2


def test_the_one_process_that_accelerate_starts_on_a_cpu_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    done = subprocess.run(
        [*command, "-m", "rlzoo", "train", "--out", "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "accelerate launch was asked for 2 processes and has started one" in done.stderr
    assert "--nproc 2" in done.stderr
    assert not (tmp_path / "run").exists()
