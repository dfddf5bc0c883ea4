"""Folders that belong to a living process, so that what a killed one left can be told apart and removed by a later start.

An owner holds a lock on its folder; the kernel lets go of it when the owner ends, however it ends. Locks work on any
folder, cgroups included, and do not depend on pids, which differ between containers.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def claim(folder: Path) -> int | None:
    """A descriptor that holds the folder until it is closed; None where somebody else holds it. OSError if it is gone."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def abandoned(parent: Path, prefix: str) -> Iterator[Path]:
    """This user's folders of that name whose owner has ended, each held while the caller removes it."""
    try:
        found = [
            Path(entry.path)
            for entry in os.scandir(parent)
            if entry.name.startswith(prefix)
            and entry.is_dir(follow_symlinks=False)
            and entry.stat(follow_symlinks=False).st_uid == os.geteuid()
        ]
    except OSError:
        return
    for folder in found:
        held = None
        with contextlib.suppress(OSError):
            held = claim(folder)
        if held is not None:
            try:
                yield folder
            finally:
                os.close(held)
