"""What carries a run on a node of a cluster, without a cluster: its process, its log, its end. With one: tests/scale/test_ray.py."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rlzoo import configure
from rlzoo.experiment.carrier import Carrier, Need
from rlzoo.runs.folder import RunDir
from rlzoo.runs.lock import FolderLock
from tests.support import small_config

PATIENCE_S = 120


class Carried(threading.Thread):
    """`carry` in a thread, as the actor runs it."""

    def __init__(self, carrier: Carrier, run: Path, log: Path, env: dict[str, str] | None = None) -> None:
        super().__init__(daemon=True)
        self.asked = (str(run), str(log), env or {})
        self.carrier, self.code = carrier, -999
        self.start()

    def run(self) -> None:
        self.code = self.carrier.carry(*self.asked)

    def ended(self) -> int:
        self.join(PATIENCE_S)
        return self.code


def await_(what: str, happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def process_of(carrier: Carrier) -> int:
    return carrier._process.pid if carrier._process is not None else 0


def test_a_run_that_is_refused_says_so_in_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "77")  # of the node: the comparison's are taken instead
    run, log = tmp_path / "run", tmp_path / "log"
    run.mkdir()
    (run / "config.yaml").write_text("nonsense: 1\n")
    log.write_text("before\n")
    assert Carried(Carrier(), run, log).ended() == 2
    assert log.read_text().startswith("before\n") and "nonsense" in log.read_text()


@pytest.mark.long
def test_ctrl_c_lets_a_run_save_and_the_next_start_goes_on(tmp_path: Path) -> None:
    run, log = RunDir(tmp_path / "run"), tmp_path / "log"
    run.path.mkdir()
    config = small_config("eval.at_start=false", "eval.at_end=false", steps=200)
    (run.path / "config.yaml").write_text(configure.to_yaml(config))
    carrier = Carrier()
    carried = Carried(carrier, run.path, log, {"OMP_NUM_THREADS": "1"})
    await_("a step", run.metrics)
    env = Path(f"/proc/{process_of(carrier)}/environ").read_bytes().split(b"\0")
    assert b"OMP_NUM_THREADS=1" in env
    carrier.interrupt()
    assert carried.ended() == 130, log.read_text()
    saved = len(run.metrics())
    assert run.checkpoint_steps()[-1] == saved

    again = Carrier()
    carried = Carried(again, run.path, log)
    await_("a further step", lambda: len(run.metrics()) > saved)
    again.kill()
    assert carried.ended() == -signal.SIGKILL
    assert not Path(f"/proc/{process_of(again)}").exists()
    assert carrier.carry(str(run.path), str(log), {}) == 130  # one that was asked to end starts nothing any more


def test_a_run_waits_for_the_one_before_it_in_its_folder(tmp_path: Path) -> None:
    run, log, carrier, after = tmp_path / "run", tmp_path / "log", Carrier(), Carrier()
    run.mkdir()
    with FolderLock(run) as lock:
        lock.take()
        waiting = [Carried(carrier, run, log), Carried(after, run, log)]
        carrier.interrupt()
        assert waiting[0].ended() == 130  # asked to end before it began
        time.sleep(0.3)
        assert waiting[1].is_alive() and process_of(carrier) == process_of(after) == 0
    assert waiting[1].ended() == 2  # an empty folder holds nothing to go on with
    assert process_of(after) and "error: " in log.read_text()


def test_needs_in_words() -> None:
    assert str(Need(cpus=1)) == "1 core"
    assert str(Need(cpus=8, gpus=2)) == "2 GPUs and 8 cores"
    assert str(Need(cpus=1, memory=3 * 2**29)) == "1 core and 1.5 GiB"
