"""One trainer a folder: a second is refused while the first lives, and goes on once it was killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rlzoo.engine.trainer import train
from rlzoo.errors import RunConflict
from rlzoo.runs.folder import RunDir
from rlzoo.runs.lock import FolderLock, awaited, place
from rlzoo.signals import terminated_like_ctrl_c
from tests.support import small_config

QUICK = ("eval.at_start=false", "eval.at_end=false")
HOLD = "import sys, time\nfrom pathlib import Path\nfrom rlzoo.runs.lock import FolderLock\nlock = FolderLock(Path(sys.argv[1]))\nlock.take()\nprint('held', flush=True)\ntime.sleep(600)"


@pytest.mark.parametrize("way", ["resume", "overwrite", "anew"])
def test_a_second_trainer_is_refused_until_the_first_is_gone(way: str, tmp_path: Path):
    config = small_config(*QUICK, steps=1)
    out = tmp_path / "run"
    out.mkdir()
    if way != "anew":
        train(config, out)
    before = sorted(path.name for path in out.iterdir())
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    ask = {"resume": way == "resume", "overwrite": way == "overwrite"}
    with pytest.raises(RunConflict, match=r"another process is training the run in .*; nothing was changed"):
        train(config, out, **ask)
    assert sorted(path.name for path in out.iterdir()) == before
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert train(config, out, **ask).state == "done"
    assert len(RunDir(out).metrics()) == 1


def test_the_lock_ends_with_its_block_and_leaves_nothing(tmp_path: Path):
    with FolderLock(tmp_path) as first:
        first.take()
        first.take()
        with pytest.raises(RunConflict), FolderLock(tmp_path) as second:
            second.take()
    with FolderLock(tmp_path) as third:
        third.take()
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_locked_that_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(descriptor: int, kind: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    with FolderLock(tmp_path) as lock:
        lock.take()
        assert lock.impossible


def test_a_place_is_told_by_host_and_start():
    assert place() == place()
    assert place().split()[0] == socket.gethostname()


def test_a_request_for_a_checkpoint_outside_steps_ends_nothing():
    with terminated_like_ctrl_c():
        signal.raise_signal(signal.SIGUSR1)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_waiting_for_a_folder_touches_nothing_and_ends_in_time(tmp_path: Path):
    assert awaited(tmp_path / "none", 0)
    with FolderLock(tmp_path) as lock:
        assert awaited(tmp_path, 0)  # looking takes nothing
        lock.take()
        assert not awaited(tmp_path, 0)
        assert not awaited(tmp_path, 600, stop=lambda: True)
        letting_go = threading.Timer(0.3, lock.__exit__, (None, None, None))
        letting_go.start()
        assert awaited(tmp_path, 600)
        letting_go.join()
    assert list(tmp_path.iterdir()) == []
