"""Inside the process of a run: it ends, with its work saved, when what started it is gone."""

from __future__ import annotations

import os
import signal
import threading
import time

PATIENCE_S = 120.0
"""Seconds to save in; then the process ends at once."""
LOOK_S = 1.0
"""Seconds between looks at whether the parent is there."""


def attach(lock: int | None = None) -> None:
    """Watch standard input, whose other end is held by what started us. `lock`, the comparison's where it is on this machine,
    stays open here and is closed to our own children."""
    if lock is not None:
        os.set_inheritable(lock, False)
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(PATIENCE_S)
    os._exit(130)


def follow_parent() -> None:
    """End, with its work saved, when the process that started this one is gone."""
    threading.Thread(target=_outlive, args=(os.getppid(),), daemon=True).start()


def _outlive(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_S)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(PATIENCE_S)
    os._exit(130)
