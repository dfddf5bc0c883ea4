"""What a power cut must not take: bytes reach the disk before a name points at them, and the name before anything relies on it."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

_NO_SYNC = (errno.EINVAL, errno.ENOTSUP)
"""What file systems answer that cannot sync a folder."""


def sync(path: Path) -> None:
    """A file's bytes, or a folder's names, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """The folder and those above it, each name on disk before what is put into it."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync(folder.parent)


def put(partial: Path, target: Path) -> None:
    """A file that was written under another name, in its place for good."""
    sync(partial)
    os.replace(partial, target)
    sync(target.parent)


def overwrite(file: Path, text: str) -> None:
    """Other content for a small file in the room that it has already."""
    with file.open("r+b", buffering=0) as handle:
        handle.write(text.encode())
        handle.truncate()
        os.fsync(handle.fileno())


def sync_tree(folder: Path) -> None:
    """All files below a folder, then the folders' names."""
    folders = [folder]
    for path in folder.rglob("*"):
        if path.is_dir():
            folders.append(path)
        else:
            sync(path)
    for inner in reversed(folders):
        sync(inner)


def remove_tree(folder: Path) -> None:
    """Delete a folder so that a half-deleted one never stands under its name."""
    hidden = folder.with_name(f".{folder.name.lstrip('.')}.old")
    if folder != hidden:
        shutil.rmtree(hidden, ignore_errors=True)
        os.replace(folder, hidden)
    shutil.rmtree(hidden)
