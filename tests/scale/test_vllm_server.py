"""vLLM in a server of the run's own and in one that was there: trained with, killed, restarted, refused. A server takes a while to start."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from rlzoo.config import RunConfig
from rlzoo.engine.reporting import Silent
from rlzoo.engine.sampling.engines import Serving
from rlzoo.engine.sampling.servers import OwnServer, Server, arguments
from rlzoo.engine.sampling.vllm import VllmSampler
from rlzoo.engine.trainer import train
from rlzoo.errors import ConfigError, SamplerFault
from rlzoo.runs.folder import RunDir
from tests.scale.vllm_support import (
    DECODING,
    disturb,
    flat,
    greatest_canary,
    largest_gap,
    opened,
    requests_of,
    vllm_config,
)
from tests.support import as_flags

pytestmark = [pytest.mark.scale, pytest.mark.long]

STEPS, SEED = 3, 20261122
QUIET = ("eval.at_start=false", "eval.at_end=false", "checkpoint.every=1", "learner.lr=1e-3")
PROCESS = ("sampling.place=process", *QUIET)


def config_of(*assignments: str, steps: int = STEPS) -> RunConfig:
    return vllm_config(*PROCESS, *assignments, steps=steps)


def of_the_run(out: Path) -> list[int]:
    """Processes that were started for the run in `out`: they work in its folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if Path(os.readlink(process / "cwd")) == (out / "sampler").resolve():
                found.append(int(process.name))
    return found


def none_is_left(out: Path, within: float = 60.0) -> bool:
    deadline = time.monotonic() + within
    while of_the_run(out) and time.monotonic() < deadline:
        time.sleep(0.2)
    return not of_the_run(out)


def kill_server(out: Path) -> None:
    """The server and its engine, by SIGKILL; not the warden."""
    for pid in of_the_run(out):
        with suppress(OSError):
            if b"warden" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)


class KillsAt(Silent):
    """Does something when the nth stage of all begins, and perhaps once more later."""

    def __init__(self, act: Callable[[], object], *places: int) -> None:
        self.act, self.places, self.count = act, places, 0

    def stage(self, name: str) -> None:
        self.count += 1
        if self.count in self.places:
            self.act()


def test_a_run_trains_with_a_server_of_its_own(tmp_path: Path) -> None:
    train(config_of(), tmp_path / "run")
    lines = RunDir(tmp_path / "run").metrics()
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert greatest_canary(lines) > 0
    assert none_is_left(tmp_path / "run")
    assert (tmp_path / "run" / "sampler" / "server.log").stat().st_size > 0
    assert not (tmp_path / "run" / "sampler" / "weights.safetensors").exists()


@pytest.mark.parametrize("number", range(5))
def test_a_server_that_is_killed_is_started_once_more(number: int, tmp_path: Path) -> None:
    """At a stage drawn by the seed: while it samples, is published to, or waits."""
    out, place = tmp_path / "run", random.Random(SEED + number).randrange(4, 16)
    train(config_of(), out, reporter=KillsAt(lambda: kill_server(out), place))
    run = RunDir(out)
    assert run.status().state == "done"
    assert [line["step"] for line in run.metrics()] == [1, 2, 3]
    assert all(line["mismatch/canary"] < 1e-4 for line in run.metrics())
    assert (out / "sampler" / "server.log").read_text().count("# ") >= 2
    assert none_is_left(out)


def test_a_server_that_dies_twice_stops_the_run_which_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "twice"
    with pytest.raises(SamplerFault, match=r"died twice, the second time with exit code 137; its log is .*server\.log"):
        train(config_of(), out, reporter=KillsAt(lambda: kill_server(out), 4, 11))
    assert RunDir(out).status().state == "failed"
    assert none_is_left(out)
    train(config_of(), out, resume=True)
    assert RunDir(out).status().state == "done"
    assert [line["step"] for line in RunDir(out).metrics()] == [1, 2, 3]


def test_a_server_dies_with_a_run_that_is_killed_and_the_run_goes_on(tmp_path: Path) -> None:
    draw = random.Random(SEED)
    flags = as_flags("sampling.backend=vllm", "model.device=cpu", *PROCESS, "budget.steps=6")
    for number in range(5):
        out = tmp_path / f"run-{number}"
        wanted = draw.randrange(1, 5)
        command = [sys.executable, "-m", "rlzoo", "train", "--algo", "grpo", "--out", str(out), *flags]
        with (tmp_path / f"said-{number}").open("wb") as said:
            trainer = subprocess.Popen(command, stdout=said, stderr=said)
            deadline = time.monotonic() + 900
            while len(RunDir(out).metrics()) < wanted and trainer.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            assert trainer.poll() is None, (tmp_path / f"said-{number}").read_text()
            assert of_the_run(out)
            trainer.kill()
            trainer.wait()
        assert none_is_left(out)
        if number == 0:
            done = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=900, check=False)
            assert done.returncode == 0, done.stderr
            assert [line["step"] for line in RunDir(out).metrics()] == [1, 2, 3, 4, 5, 6]


def test_a_server_that_cannot_start_is_told_with_its_log_and_exit_code(tmp_path: Path) -> None:
    served = Serving(model=str(tmp_path / "nothing"), dtype="float32", room=288, rows=8, shape={})
    with pytest.raises(SamplerFault, match=r"ended while it started, with exit code 1.*its log is .*server\.log"):
        OwnServer(served, "me", tmp_path)


def test_a_step_is_sampled_ahead_beside_the_update(tmp_path: Path) -> None:
    ahead = ("sampling.steps_ahead=1", "learner.mismatch.mode=tis", "learner.mismatch.level=sequence")
    train(config_of(*ahead, steps=4), tmp_path / "run")
    run = RunDir(tmp_path / "run")
    assert [{row["policy_version"] for row in run.rollouts(step)} for step in (1, 2, 3, 4)] == [{0}, {0}, {2}, {4}]
    lines = run.metrics()
    assert all(line["mismatch/canary"] < 1e-4 for line in lines)
    assert lines[0]["mismatch/max"] < 1e-4 < lines[2]["mismatch/max"]
    assert all(line["mismatch/ess"] > 0.5 for line in lines)


# -- one that was there -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server as the documentation starts it: by `arguments`, for the embedded model."""
    folder = tmp_path_factory.mktemp("server")
    config = vllm_config()
    from rlzoo.engine.model.loading import locate

    served = Serving(model=locate("tiny"), dtype="float32", room=config.sampling.max_prompt + 24, rows=64, shape={})
    own = OwnServer(served, "nobody", folder)
    try:
        yield own.url
    finally:
        own.close()


def test_a_run_and_an_evaluation_use_a_server_that_is_there(address: str, tmp_path: Path) -> None:
    train(vllm_config(*QUIET, f"sampling.place={address}", steps=2), tmp_path / "run")
    lines = RunDir(tmp_path / "run").metrics()
    assert all(0 < line["mismatch/canary"] < 1e-4 for line in lines)
    assert RunDir(tmp_path / "run").provenance().sampler.endswith(", server")
    words = ["eval", str(tmp_path / "run"), "--samples", "1", "--per-level", "2", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "rlzoo", *words], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("place", ["inside", "process", "address"])
def test_the_canary_is_green_after_each_of_20_updates(place: str, address: str, tmp_path: Path) -> None:
    at = address if place == "address" else place
    train(vllm_config(*QUIET, "learner.updates_per_step=1", f"sampling.place={at}", steps=20), tmp_path / "run")
    run = RunDir(tmp_path / "run")
    lines = run.metrics()
    assert [line["step"] for line in lines] == list(range(1, 21))
    assert [{row["policy_version"] for row in run.rollouts(step)} for step in (1, 20)] == [{0}, {19}]
    print(f"{place}: canary at most {greatest_canary(lines):.2e}")


def test_log_probs_over_http_are_the_learners_and_requests_may_come_in_any_order(address: str) -> None:
    with ExitStack() as stack:
        sampler, weights, _ = opened(vllm_config(f"sampling.place={address}", "model.jitter=0.003"), stack)
        requests = requests_of(20, 4)
        forward = sampler.sample(requests, DECODING)
        assert largest_gap(weights, flat(forward)) < 1e-4
        assert sampler.sample(requests[::-1], DECODING)[::-1] == forward or _same_tokens(sampler, requests, forward)


def _same_tokens(sampler: Any, requests: Any, forward: Any) -> bool:
    """Log-probs differ by rounding with what is computed beside them; tokens do not."""
    back = sampler.sample(requests[::-1], DECODING)[::-1]
    return [r.response_tokens for r in flat(back)] == [r.response_tokens for r in flat(forward)]


def test_a_server_that_another_run_publishes_to_is_out_of_step(address: str) -> None:
    with ExitStack() as stack:
        mine, _, _ = opened(vllm_config(f"sampling.place={address}"), stack)
        mine.sample(requests_of(1, 1), DECODING)
        theirs, weights, _ = opened(vllm_config(f"sampling.place={address}"), stack)
        with pytest.raises(SamplerFault, match=r"out of step: it has weights of another run \(update 0\)"):
            mine.sample(requests_of(1, 1), DECODING)
        disturb(weights, 1e-3)
        theirs.publish(weights, 1)
        assert largest_gap(weights, flat(theirs.sample(requests_of(4, 2), DECODING))) < 1e-4


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        (("model.path=tiny-clean",), ""),
        (("sampling.max_response=2000",), "room is"),
        (("model.dtype=bfloat16",), "dtype is float32, not bfloat16"),
    ],
)
def test_a_server_of_another_shape_is_refused(assignments: tuple[str, ...], said: str, address: str) -> None:
    config = vllm_config(f"sampling.place={address}", *assignments)
    if not said:  # the same shape, other weights: they are published before the first sample
        VllmSampler.fit(config)
        return
    with pytest.raises(ConfigError, match="is not one for this run") as told:
        VllmSampler.fit(config)
    assert said in str(told.value)


def test_a_server_started_without_our_worker_is_refused(tmp_path: Path) -> None:
    from rlzoo.engine.model.loading import locate

    served = Serving(model=locate("tiny"), dtype="float32", room=288, rows=8, shape={})

    def without(served: Serving, *, host: str, port: int, cpu: bool) -> list[str]:
        words = arguments(served, host=host, port=port, cpu=cpu)
        at = words.index("--worker-extension-cls")
        return [*words[:at], *words[at + 2 :]]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rlzoo.engine.sampling.servers.arguments", without)
        own = OwnServer(served, "nobody", tmp_path)
    try:
        with pytest.raises(ConfigError, match="takes no weights from a run"):
            VllmSampler.fit(vllm_config(f"sampling.place={own.url}"))
        assert isinstance(own, Server)
    finally:
        own.close()
