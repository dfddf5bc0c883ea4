"""One memory limit on all that a supervisor starts, together: a cgroup of its own, where this machine lets us make one.

Address space is limited for each process; a program that may fork is bounded by its sum here. The supervisor enters
once, when its own memory has been charged elsewhere, so programs are born inside at no cost. Version 2 of the interface
is cgroup-v2.rst, version 1 cgroup-v1/memory.rst, both of the kernel's documentation. Whether it works is found by doing
it; where anything of it fails there is no cgroup, and the sandbox goes without.
"""

import contextlib
import os
import secrets
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from rlzoo.verifiers.sandbox.confine import PROCESSES, SCRATCH_MB
from rlzoo.verifiers.sandbox.leftovers import abandoned, claim

PREFIX = "rlzoo-sandbox-"
BESIDE_MB = SCRATCH_MB + 48
"""What is charged beside a program's own memory: its files, pages of the interpreter that it writes to, the kernel's."""
BESIDE_PROCESSES = 16
"""The supervisor and what it starts to end a program; without room for them a fork bomb would keep it from that."""
FIRST_MB = 512
"""Until a job says what it may use."""
END_S = 1.0
"""For killed processes to be gone."""
TRIES = 3


@dataclass(frozen=True, slots=True)
class Place:
    """A cgroup below which this process may be allowed to make others."""

    folder: Path
    version: int


class Leaf:
    """A cgroup made for one supervisor, by the process that holds it."""

    def __init__(self, folder: Path, version: int, held: int | None = None) -> None:
        """`held`: the descriptor of `claim`, closed with it."""
        self.folder, self.version = folder, version
        self._held = held
        self._memory_mb = 0

    def limit(self, memory_mb: int) -> None:
        """What all in it together may use beside `BESIDE_MB`. OSError where the kernel refuses."""
        if memory_mb == self._memory_mb:
            return
        size = (memory_mb + BESIDE_MB) * 2**20
        if self.version == 2:
            self._write("pids.max", PROCESSES + BESIDE_PROCESSES)
            self._write("memory.max", size)
            with contextlib.suppress(FileNotFoundError):  # a kernel without swap has no such file
                self._write("memory.swap.max", 0)
        else:
            with contextlib.suppress(FileNotFoundError, PermissionError):  # the sum with swap, never below the other
                self._write("memory.memsw.limit_in_bytes", -1)
            self._write("memory.limit_in_bytes", size)
            with contextlib.suppress(FileNotFoundError, PermissionError):
                self._write("memory.memsw.limit_in_bytes", size)
        self._memory_mb = memory_mb

    def entrance(self) -> int:
        """A descriptor to which a process writes "0" to enter; the right to is that of who opened it."""
        return os.open(self.folder / "cgroup.procs", os.O_WRONLY)

    def kills(self) -> int:
        """How many processes in it the kernel has killed for memory so far."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        try:
            lines = (self.folder / name).read_text(encoding="ascii").splitlines()
        except OSError:
            return 0
        return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))

    def end(self) -> None:
        """Kill whoever is in it, and remove it."""
        remove(self.folder)
        self.forget()

    def forget(self) -> None:
        """Let go of it without ending it, in a fork of its owner."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _write(self, name: str, value: int) -> None:
        descriptor = os.open(self.folder / name, os.O_WRONLY | os.O_TRUNC)
        try:
            os.write(descriptor, str(value).encode())
        finally:
            os.close(descriptor)


def make() -> Leaf | None:
    """A cgroup, after those that killed processes left here are removed; None where there can be none."""
    sweep()
    for place in places():
        for _ in range(TRIES):
            leaf = _make_in(place)
            if leaf is not None:
                return leaf
    return None


def sweep() -> None:
    """Remove the cgroups of processes that were killed, and whoever is still in them."""
    for place in places(ask=False):
        for folder in abandoned(place.folder, PREFIX):
            remove(folder)


def _make_in(place: Place) -> Leaf | None:
    """None where this machine does not let us, or another start took it for abandoned before it was held."""
    folder = place.folder / f"{PREFIX}{secrets.token_hex(6)}"
    try:
        folder.mkdir(mode=0o755)
    except OSError:
        return None
    try:
        held = claim(folder)
        if held is None:
            return None
        leaf = Leaf(folder, place.version, held)
    except OSError:
        return None
    try:
        leaf.limit(FIRST_MB)
    except OSError:
        leaf.end()
        return None
    return leaf


def remove(folder: Path) -> None:
    """Kill whoever is in the cgroup and remove it; what cannot be removed in time is left for a later start."""
    deadline = time.monotonic() + END_S
    while True:
        _kill_all(folder)
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                return
        time.sleep(0.002)


def _kill_all(folder: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(folder / "cgroup.kill", os.O_WRONLY)
        try:
            os.write(descriptor, b"1")
        finally:
            os.close(descriptor)
        return
    with contextlib.suppress(OSError, ValueError):  # version 1, and kernels before 5.14
        for pid in (folder / "cgroup.procs").read_text(encoding="ascii").split():
            if int(pid) > 0:  # 0 is somebody in another process table
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)


# ---------------------------------------------------------------------------------------------------------
# Where


def places(proc: Path = Path("/proc/self"), *, ask: bool = True) -> list[Place]:
    """Cgroups to try, most fitting first: version 2 before 1. `ask`: have the own one pass limits on, if it does not yet.

    Always below the own one, whose limits of every kind then hold for programs too. In version 2 a cgroup that holds
    processes cannot limit others below it, the root apart.
    """
    try:
        memberships = (proc / "cgroup").read_text(encoding="utf-8").splitlines()
        mounts = (proc / "mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    own: dict[int, str] = {}
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            own[2] = path
        elif "memory" in controllers.split(","):
            own[1] = path
    found: list[Place] = []
    for version in (2, 1):
        for root, mounted in _mounts(mounts, version):
            if version in own and (root == "/" or own[version] == root or own[version].startswith(f"{root}/")):
                below = own[version] if root == "/" else own[version].removeprefix(root)
                found += _candidates(mounted / below.strip("/"), version, ask=ask)
                break
    return found


def _mounts(lines: list[str], version: int) -> list[tuple[str, Path]]:
    """The cgroup at the root of each mount of that version, and where it is mounted."""
    found = []
    for line in lines:
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        if kind == ("cgroup2" if version == 2 else "cgroup") and (version == 2 or "memory" in options.split(",")):
            root, mounted = (field.replace("\\040", " ") for field in fields.split(" ")[3:5])
            found.append((root, Path(mounted)))
    return found


def _candidates(own: Path, version: int, *, ask: bool) -> list[Place]:
    if version == 1:
        return [Place(own, 1)] if own.is_dir() else []
    return [Place(own, 2)] if _passes_memory_on(own, ask=ask) else []


def _passes_memory_on(folder: Path, *, ask: bool) -> bool:
    """Whether cgroups below this one can have limits."""
    needed = {"memory", "pids"}
    try:
        if ask and not needed <= set((folder / "cgroup.subtree_control").read_text(encoding="ascii").split()):
            descriptor = os.open(folder / "cgroup.subtree_control", os.O_WRONLY)
            try:
                os.write(descriptor, b"+memory +pids")
            finally:
                os.close(descriptor)
        return needed <= set((folder / "cgroup.subtree_control").read_text(encoding="ascii").split())
    except OSError:
        return False
