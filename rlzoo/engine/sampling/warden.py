"""Stands between a run and its server: starts it, and ends it with all its children when it ends or the run is gone, however that went.

Started as `python -P warden.py PARENT COMMAND...`; ends with the server's exit code, 128 + the signal where one ended it.
Imports nothing but the standard library: it must be there at once, and stay when all else fails.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from types import FrameType

LOOK_S = 0.2
GRACE_S = 5.0
"""To end in by itself, before it is killed."""


def watch(parent: int, command: list[str]) -> int:
    """Run `command` until it ends, `parent` is gone or we are asked to end; its exit code."""
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    signal.signal(signal.SIGTERM, ask)
    server = subprocess.Popen(command, start_new_session=True)
    while server.poll() is None and os.getppid() == parent and not asked:
        time.sleep(LOOK_S)
    _end(server)
    code = server.returncode
    return 128 - code if code < 0 else code


def _end(server: subprocess.Popen[bytes]) -> None:
    """The server and what it started, which is one group of processes."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        server.wait(GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


if __name__ == "__main__":
    sys.exit(watch(int(sys.argv[1]), sys.argv[2:]))
