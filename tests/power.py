"""What a power cut may leave of a folder: real file operations are watched, and the folder rebuilt as of each of them.

The disk is taken to keep what was synced and nothing else: a file has the bytes of its last fsync, a folder the names of its own.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

Node = tuple[str, Any]
"""("file", digest of its bytes) or ("folder", {name: inode})."""
Tree = dict[str, str | None]
"""Each path below the folder: the digest of a file's bytes, None for a folder."""


@dataclass
class Disk:
    """The states of one folder, from operation to operation."""

    root: Path
    blobs: dict[str, bytes] = field(default_factory=dict)
    synced: dict[int, Node] = field(default_factory=dict)
    """By inode, what is certain to survive."""
    operations: list[str] = field(default_factory=list)
    cuts: list[tuple[Tree, Tree, Tree]] = field(default_factory=list)
    """Before each operation: what was synced; all names with synced bytes; everything."""
    _held: list[int] = field(default_factory=list)

    def blob(self, data: bytes) -> str:
        key = hashlib.sha256(data).hexdigest()
        self.blobs[key] = data
        return key

    def sync(self, descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path != self.root and not path.is_relative_to(self.root):
            return
        self.operation(f"fsync {path.relative_to(self.root)}")
        self._held.append(os.dup(descriptor))  # no inode is given to another file while we compare
        inode = os.fstat(descriptor).st_ino
        if path.is_dir():
            self.synced[inode] = ("folder", {entry.name: entry.inode() for entry in os.scandir(path)})
        else:
            self.synced[inode] = ("file", self.blob(path.read_bytes()))

    def operation(self, words: str) -> None:
        self.operations.append(words)
        self.cuts.append((self._certain(), self._live(names_only=True), self._live(names_only=False)))

    def _certain(self) -> Tree:
        tree: Tree = {}

        def walk(inode: int, path: str) -> None:
            kind, content = self.synced.get(inode, ("file", self.blob(b"")))
            if kind == "file":
                tree[path] = content
                return
            tree[path] = None
            for name, inner in content.items():
                walk(inner, f"{path}/{name}" if path else name)

        if self.root.exists():
            walk(self.root.stat().st_ino, "")
        return tree

    def _live(self, *, names_only: bool) -> Tree:
        tree: Tree = {}
        for path in self.root.rglob("*"):
            name = str(path.relative_to(self.root))
            if path.is_dir():
                tree[name] = None
            elif names_only:
                kind, content = self.synced.get(path.stat().st_ino, ("file", None))
                tree[name] = content if kind == "file" and content else self.blob(b"")
            else:
                tree[name] = self.blob(path.read_bytes())
        return tree

    def rebuild(self, tree: Tree, folder: Path) -> Path:
        """The folder as the cut left it."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, blob in tree.items():
            if blob is None:
                (folder / name).mkdir(parents=True, exist_ok=True)
        for name, blob in tree.items():
            if blob is not None:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(self.blobs[blob])
        return folder

    def close(self) -> None:
        for descriptor in self._held:
            os.close(descriptor)


@contextmanager
def watched(root: Path) -> Iterator[Disk]:
    """Everything within that syncs, renames or deletes below `root` is taken down, and happens."""
    disk = Disk(root)
    own = {name: getattr(os, name) for name in ("fsync", "replace", "unlink", "rmdir")}
    rmtree = shutil.rmtree

    def fsync(descriptor: int) -> None:
        disk.sync(descriptor)
        own["fsync"](descriptor)

    def replace(source: Any, target: Any, **more: Any) -> None:
        if Path(target).is_relative_to(root):
            disk.operation(f"replace {Path(source).relative_to(root)} -> {Path(target).relative_to(root)}")
        own["replace"](source, target, **more)

    def removed(path: Any, *more: Any, **named: Any) -> None:
        if Path(path).is_relative_to(root) and Path(path).exists():
            disk.operation(f"rmtree {Path(path).relative_to(root)}")
        rmtree(path, *more, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        patch.setattr(os, "replace", replace)
        patch.setattr(shutil, "rmtree", removed)
        try:
            yield disk
        finally:
            disk.close()
