"""A run with a vLLM server at an address: the run and the server are killed five times each, and nothing that was saved is lost.

Moments are drawn by the seed, as it was written down before the first run.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from rlzoo.engine.model.loading import locate
from rlzoo.engine.sampling.engines import Serving
from rlzoo.engine.sampling.servers import arguments, environment_of
from rlzoo.runs.folder import RunDir
from tests.scale.vllm_support import greatest_canary, vllm_config
from tests.support import as_flags, offspring
from tests.test_docs import free_port

pytestmark = [pytest.mark.scale, pytest.mark.long]

SEED = 20261122
STEPS = 30
DEADLINE_S = 300


class Killed:
    """A server as the documentation starts one, which can be killed and started again at its address."""

    def __init__(self, folder: Path) -> None:
        room = vllm_config().sampling.max_prompt + 24
        self.served = Serving(model=locate("tiny"), dtype="float32", room=room, rows=64, shape={})
        self.log, self.port = folder / "server.log", free_port()
        self.start()

    def start(self) -> None:
        words = arguments(self.served, host="127.0.0.1", port=self.port, cpu=not torch.cuda.is_available())
        told = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", **environment_of(self.served)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words],
                stdout=log,
                stderr=log,
                env={**os.environ, **told},
            )
        from rlzoo.engine.sampling.http_lines import ServerGone, ServerLines

        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                ServerLines(f"http://127.0.0.1:{self.port}").ask("GET", "/health", timeout=10)
                return
            except ServerGone:
                assert time.monotonic() < deadline and self.process.poll() is None, self.log.read_text()[-3000:]
                time.sleep(0.2)

    def kill(self) -> None:
        everyone = (self.process.pid, *offspring(self.process.pid))
        for pid in everyone:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()


def test_run_and_server_are_killed_five_times_each(tmp_path: Path) -> None:
    draw, out, log = random.Random(SEED), tmp_path / "run", tmp_path / "run.log"
    whose = ["run"] * 5 + ["server"] * 5
    draw.shuffle(whose)
    server = Killed(tmp_path)
    flags = as_flags(
        *("sampling.backend=vllm", "model.device=cpu", f"sampling.place=http://127.0.0.1:{server.port}"),
        *("eval.at_start=false", "eval.at_end=false", "checkpoint.every=1", f"budget.steps={STEPS}"),
    )
    words = [sys.executable, "-P", "-m", "rlzoo", "train", "--algo", "grpo", "--out", str(out), *flags]
    saved = 0

    def begun() -> subprocess.Popen[bytes]:
        resume = ["--resume"] if (out / "config.yaml").exists() else []
        with log.open("ab") as said:
            return subprocess.Popen([*words, *resume], stdout=said, stderr=said)

    try:
        for number, victim in enumerate(whose):
            run = begun()
            wanted, later = saved + draw.randrange(1, 3), draw.uniform(0, 0.5)
            deadline = time.monotonic() + DEADLINE_S
            while len(RunDir(out).metrics()) < wanted and run.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(later)
            assert run.poll() is None, log.read_text()[-3000:]
            if victim == "run":
                run.kill()
                run.wait()
            else:
                server.kill()
                assert run.wait(DEADLINE_S) == 1, log.read_text()[-3000:]
                assert RunDir(out).status().state == "failed"
                said = log.read_text()
                assert "does not answer any more" in said and "--resume" in said
                server.start()
            checkpoints = RunDir(out).checkpoint_steps()
            now = checkpoints[-1] if checkpoints else 0
            assert now >= saved, f"kill {number} of the {victim} lost what was saved"
            saved = now
        assert begun().wait(DEADLINE_S) == 0, log.read_text()[-3000:]
    finally:
        server.kill()
    lines = RunDir(out).metrics()
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert RunDir(out).status().state == "done"
    print(f"{len(whose)} kills, {STEPS} steps, canary at most {greatest_canary(lines):.1e}")
