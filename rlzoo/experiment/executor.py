"""How runs are carried out: what any place offers, and processes of this machine. Those of a cluster: `rlzoo.experiment.carrier`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

BOOT = (
    "import sys; from rlzoo.experiment import leash; leash.attach({lock}); "
    "from rlzoo.cli.main import run; sys.exit(run())"
)


def command_of(run: Path, lock: int | None = None) -> list[str]:
    """What starts, or goes on with, the run in this folder; it ends, saved, when its standard input does."""
    return [sys.executable, "-P", "-c", BOOT.format(lock=lock), "train", "--resume", "--out", str(run)]


class Process(Protocol):
    """A run under way."""

    def poll(self) -> int | None:
        """Its exit code: 0 done, 2 refused, anything else failed; None while it goes on."""
        ...

    def interrupt(self) -> None:
        """Ask it to end after the step at hand, saved."""
        ...

    def kill(self) -> None:
        """End it now."""
        ...


class Executor(Protocol):
    """Starts runs; at most `slots` at a time, each in a slot of its own."""

    slots: int

    def start(self, run: Path, log: Path, slot: int) -> Process:
        """Start, or go on with, the run whose settings lie in the folder `run`; what it prints is appended to `log`."""
        ...


class LocalExecutor:
    """Each run is `rlzoo train` in a process of its own, with one of the `devices` if there are any."""

    def __init__(self, slots: int, lock: int, devices: Sequence[str] = ()) -> None:
        self.slots = slots
        self.lock = lock
        self.devices = devices

    def start(self, run: Path, log: Path, slot: int) -> LocalProcess:
        env = {**os.environ, "PYTHONSAFEPATH": "1"}
        if self.devices:
            env["CUDA_VISIBLE_DEVICES"] = self.devices[slot % len(self.devices)]
        with log.open("ab") as output:
            # A session of its own: Ctrl-C reaches the run through us, once.
            return LocalProcess(
                subprocess.Popen(
                    command_of(run, self.lock),
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    env=env,
                    pass_fds=(self.lock,),
                    start_new_session=True,
                )
            )


class LocalProcess:
    """A process, and all that it started."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def poll(self) -> int | None:
        code = self._process.poll()
        if code is not None and self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        return code

    def interrupt(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        end_group(self._process)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a session of its own, with all that it started."""
    if process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
