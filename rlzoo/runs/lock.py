"""One trainer a folder: a lock that goes with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from rlzoo.errors import RunConflict


def held(descriptor: int) -> bool:
    """Lock the open file or folder for this process, if no other has it. OSError on a file system without locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def place() -> str:
    """Where this process runs: the host, then what tells its start and its process table from others. Locks are seen in one place alone."""
    told = [socket.gethostname()]
    with suppress(OSError):
        told.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with suppress(OSError):
        told.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(told)


def is_held(folder: Path) -> bool | None:
    """Whether a process of this machine holds the folder's lock, found out without touching it; None where that cannot be told."""
    try:
        locks, number = Path("/proc/locks").read_text(encoding="ascii"), folder.stat().st_ino
    except OSError:
        return None
    return any(line.split()[1:2] == ["FLOCK"] and f":{number} " in line for line in locks.splitlines())


def awaited(folder: Path, patience_s: float, stop: Callable[[], bool] = lambda: False) -> bool:
    """Wait until no process, of any machine that shares the folder, trains in it; False where one still does when patience ends.

    True at once where there is no such folder, or no locks on its file system. `stop` ends the waiting early.
    """
    deadline = time.monotonic() + patience_s
    while not _is_free(folder):
        if time.monotonic() >= deadline or stop():
            return False
        time.sleep(0.25)
    return True


def _is_free(folder: Path) -> bool:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return True  # there is none, or whoever starts in it will say what is wrong
    try:
        return held(descriptor)
    except OSError:
        return True
    finally:
        os.close(descriptor)


class FolderLock:
    """Held on the folder itself, so that it leaves no file behind. The kernel gives it back when its process is gone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._descriptor: int | None = None
        self.impossible = False
        """The file system has no locks, so nothing keeps a second trainer out."""

    def take(self) -> None:
        """RunConflict where another process holds it; the folder must exist."""
        if self._descriptor is not None:
            return
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            free = held(descriptor)
        except OSError:  # a file system without locks: there is none to take
            os.close(descriptor)
            self.impossible = True
            return
        if not free:
            os.close(descriptor)
            raise RunConflict(
                f"another process is training the run in {self.folder}; nothing was changed. Wait until it ends, stop it, or give another --out."
            )
        self._descriptor = descriptor

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
