"""The cgroup around a supervisor, and what becomes of programs, cgroups and bait whose owners are killed."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rlzoo.types import Problem
from rlzoo.verifiers.pool import VerifierPool
from rlzoo.verifiers.sandbox import canary, cgroup, client, levels
from rlzoo.verifiers.sandbox.cgroup import Leaf, Place
from rlzoo.verifiers.sandbox.client import ProgramRun, Sandbox, SandboxFault, pipe_within
from rlzoo.verifiers.sandbox.leftovers import abandoned, claim
from tests.attacks import resources
from tests.support import offspring

MB = 2**20
HERE = [level for level in levels.LEVELS if level != "bubblewrap" or shutil.which("bwrap")]
"""Levels whose program is installed; `.ci/run` says when bubblewrap's is not."""

linux = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")


# ---------------------------------------------------------------------------------------------------------
# The files, in a folder laid out like a cgroup


def lay_out(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("")
    return folder


def test_limits_in_version_2(tmp_path: Path):
    leaf = Leaf(lay_out(tmp_path, "memory.max", "memory.swap.max", "pids.max"), 2)
    leaf.limit(128)
    assert (tmp_path / "memory.max").read_text() == str((128 + 64) * MB)
    assert (tmp_path / "memory.swap.max").read_text() == "0"
    assert (tmp_path / "pids.max").read_text() == str(64 + 16)
    (tmp_path / "memory.swap.max").unlink()  # a kernel without swap
    leaf.limit(256)
    assert (tmp_path / "memory.max").read_text() == str(320 * MB)


def test_limits_in_version_1(tmp_path: Path):
    leaf = Leaf(lay_out(tmp_path, "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"), 1)
    for memory_mb in (256, 128):  # lower, then higher: the sum with swap is never below
        leaf.limit(memory_mb)
        for path in tmp_path.iterdir():
            assert path.read_text() == str((memory_mb + 64) * MB), path.name


def test_a_file_that_is_missing_is_no_limit(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        Leaf(lay_out(tmp_path, "pids.max"), 2).limit(128)


@pytest.mark.parametrize(
    ("version", "name", "text"),
    [
        (2, "memory.events", "low 0\nhigh 0\nmax 12\noom 4\noom_kill 3\noom_group_kill 9\n"),
        (1, "memory.oom_control", "oom_kill_disable 0\nunder_oom 1\noom_kill 3\n"),
    ],
)
def test_kills_are_counted(tmp_path: Path, version: int, name: str, text: str):
    assert Leaf(tmp_path, version).kills() == 0
    (tmp_path / name).write_text(text)
    assert Leaf(tmp_path, version).kills() == 3


def test_all_in_it_are_killed_by_its_file_where_there_is_one(tmp_path: Path):
    folder = lay_out(tmp_path / "leaf", "cgroup.kill")
    cgroup._kill_all(folder)
    assert (folder / "cgroup.kill").read_text() == "1"
    (folder / "cgroup.kill").unlink()
    child = subprocess.Popen(["sleep", "60"])
    (folder / "cgroup.procs").write_text(f"0\n{child.pid}\n")
    cgroup._kill_all(folder)
    assert child.wait(10) == -signal.SIGKILL


# ---------------------------------------------------------------------------------------------------------
# Where to try


def machine(tmp_path: Path, membership: str, mounts: str) -> Path:
    (tmp_path / "cgroup").write_text(membership)
    (tmp_path / "mountinfo").write_text(mounts.replace("ROOT", str(tmp_path / "fs")))
    return tmp_path


V2 = "31 23 0:28 / ROOT rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "36 31 0:34 / ROOT/cpu rw,relatime - cgroup cgroup rw,cpu\n"
    "37 31 0:35 {root} ROOT/memory rw,relatime - cgroup cgroup rw,memory\n"
)


def controls(folder: Path, passed: str = "", maximum: str = "max") -> Path:
    lay_out(folder)
    (folder / "cgroup.subtree_control").write_text(passed)
    (folder / "memory.max").write_text(f"{maximum}\n")
    (folder / "pids.max").write_text("max\n")
    return folder


def test_version_2_keeps_programs_below_the_own_cgroup(tmp_path: Path):
    """A user's service: limits on it, of processors for example, hold for its programs too, so none leaves it."""
    above = controls(tmp_path / "fs/app.slice", "cpu memory pids\n")
    own = controls(above / "run.scope", "")
    proc = machine(tmp_path, "0::/app.slice/run.scope\n", V2)
    assert cgroup.places(proc, ask=False) == []
    (own / "cgroup.subtree_control").unlink()
    assert cgroup.places(proc) == []
    (own / "cgroup.subtree_control").write_text("memory pids\n")
    assert cgroup.places(proc) == [Place(own, 2)]


def test_version_2_at_the_root(tmp_path: Path):
    root = controls(tmp_path / "fs", "cpuset cpu memory pids\n")
    proc = machine(tmp_path, "0::/\n", V2)
    assert cgroup.places(proc, ask=False) == [Place(root, 2)]
    (root / "cgroup.subtree_control").write_text("")
    assert cgroup.places(proc, ask=False) == []
    cgroup.places(proc)
    assert (root / "cgroup.subtree_control").read_text() == "+memory +pids"  # the kernel would list them from now on


def test_version_1_below_the_own_cgroup(tmp_path: Path):
    own = lay_out(tmp_path / "fs/memory/job")
    hybrid = "8:pids:/\n4:memory:/job\n1:cpu:/\n0::/\n"  # version 2 is there too, without memory
    proc = machine(tmp_path, hybrid, V1.format(root="/") + V2.replace("ROOT", "ROOT/unified"))
    assert cgroup.places(proc) == [Place(own, 1)]
    proc = machine(tmp_path, "4:memory:/docker/abc/job\n", V1.format(root="/docker/abc"))
    assert cgroup.places(proc) == [Place(own, 1)]
    assert cgroup.places(machine(tmp_path, "4:memory:/docker/abcd\n", V1.format(root="/docker/abc"))) == []


def test_no_cgroups_at_all(tmp_path: Path):
    assert cgroup.places(tmp_path) == []
    assert cgroup.places(machine(tmp_path, "", "")) == []


# ---------------------------------------------------------------------------------------------------------
# What a killed process left


def test_a_folder_is_abandoned_once_its_holder_has_ended(tmp_path: Path):
    folder = lay_out(tmp_path / "bait-1")
    lay_out(tmp_path / "other")
    (tmp_path / "bait-2").symlink_to(tmp_path / "other")
    held = claim(folder)
    assert held is not None
    assert claim(folder) is None
    assert list(abandoned(tmp_path, "bait-")) == []
    os.close(held)
    assert list(abandoned(tmp_path, "bait-")) == [folder]
    assert list(abandoned(tmp_path / "nowhere", "bait-")) == []


BAIT = """
import time
from rlzoo.verifiers.sandbox.canary import _bait
with _bait() as (secret, outside, descriptor):
    print(secret, flush=True)
    time.sleep(float(__import__("sys").argv[1]))
time.sleep(60)
"""


def with_bait(folder: Path, seconds: float) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", BAIT, str(seconds)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(folder)},
    )  # fmt: skip
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


@linux
def test_a_worker_told_to_end_removes_its_bait(tmp_path: Path):
    process, secret = with_bait(tmp_path, 0.5)
    assert secret.is_file()
    process.terminate()
    assert process.wait(10) == -signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


@linux
def test_bait_of_a_killed_worker_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    killed, left = with_bait(tmp_path, 60)
    living, kept = with_bait(tmp_path, 60)
    killed.kill()
    killed.wait()
    assert left.is_file()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with canary._bait():
        assert not left.parent.exists()
        assert kept.is_file()
    living.kill()
    living.wait()


@linux
@pytest.mark.parametrize("when", ["removed before", "held", "removed after"])
def test_bait_that_another_start_takes_for_abandoned_is_made_again(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    taken: list[Path] = []

    def late(folder: Path) -> int | None:
        if taken:
            return claim(folder)
        taken.append(folder)
        if when == "removed before":
            folder.rmdir()
        held = claim(folder)
        if when == "removed after":
            folder.rmdir()
            return held
        again = claim(folder)  # somebody else holds it
        assert held is not None
        os.close(held)
        return again

    monkeypatch.setattr(canary, "claim", late)
    with canary._bait() as (secret, _, _):
        assert Path(secret).parent not in taken
        assert claim(Path(secret).parent) is None
    assert list(tmp_path.iterdir()) == []


@linux
def test_no_bait_without_locks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(canary, "claim", lambda folder: None)
    with pytest.raises(SandboxFault, match="set TMPDIR"), canary._bait():
        pass


# ---------------------------------------------------------------------------------------------------------
# On this machine


@pytest.fixture
def open_level(request: pytest.FixtureRequest) -> Callable[[str], Sandbox]:
    """A sandbox of a level that holds here, ended with the test."""

    def open_it(level: str) -> Sandbox:
        if not levels.try_level(level).holds:
            pytest.skip(f"{level} does not hold here")
        sandbox = Sandbox(level)
        request.addfinalizer(sandbox.close)
        sandbox.start()
        return sandbox

    return open_it


def leaf_of(sandbox: Sandbox) -> Leaf:
    if sandbox._leaf is None:
        pytest.skip("no cgroup is writable here")
    return sandbox._leaf


SUM = """
import os, time
def take(megabytes):
    taken = bytearray(megabytes * 2**20)
    for at in range(0, len(taken), 4096):
        taken[at] = 1
    return taken
told, tell = os.pipe()
for n in range({children}):
    if os.fork() == 0:
        taken = take({each})
        os.write(tell, b"x")
        time.sleep(60)
os.close(tell)
{main}
"""


@linux
@pytest.mark.parametrize("level", HERE)
def test_processes_of_a_program_share_one_limit(level: str, open_level: Callable[[str], Sandbox]):
    """128 MiB and 64 beside: four processes of 60 are too many together, though each is within its address space."""
    sandbox = open_level(level)
    folder = leaf_of(sandbox).folder
    assert "cgroup" in sandbox.layers
    own = Path("/proc/self/cgroup").read_text()
    assert folder.name not in own  # the worker itself is not in it

    def run(children: int, each: int, main: str) -> tuple[str, bytes]:
        work = {"mode": "script", "program": SUM.format(children=children, each=each, main=main)}
        outcome = sandbox.run(ProgramRun(work=work, wall_s=5, memory_mb=128, grants=("fork",)))
        return outcome.end, outcome.stdout

    count = "done = 0\nend = time.monotonic() + 2\nwhile time.monotonic() < end and done < {all}:\n    done += len(os.read(told, 1))\nprint(done)"
    assert run(2, 40, count.format(all=2)) == ("exit", b"2\n")
    before = leaf_of(sandbox).kills()
    assert run(2, 50, "os.read(told, 1), os.read(told, 1)\ntaken = take(110)\nprint(1)") == ("memory", b"")
    assert leaf_of(sandbox).kills() > before
    assert sandbox.run(ProgramRun(work={"mode": "script", "program": "print(3)"})).stdout == b"3\n"
    sandbox.close()
    assert not folder.exists()


@linux
def test_where_the_kernel_chose_the_supervisor_the_program_is_to_blame(open_level: Callable[[str], Sandbox]):
    """It is killed here, once the kernel has killed one of the program's processes for memory."""
    sandbox = open_level("core")
    leaf = leaf_of(sandbox)
    before = leaf.kills()
    main = "os.read(told, 4)\ntime.sleep(600)"
    with contextlib.ExitStack() as stack:
        (ask, _), (_, answer) = pipe_within(stack), pipe_within(stack)
        work = {"mode": "script", "program": SUM.format(children=4, each=70, main=main)}
        sandbox.begin(ProgramRun(work=work, wall_s=60, memory_mb=128, grants=("fork",)), ask.fileno(), answer.fileno())
    deadline = time.monotonic() + 10
    while leaf.kills() == before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sandbox._process is not None
    sandbox._process.kill()
    assert sandbox.report()["end"] == "memory"
    assert not leaf.folder.exists()


@linux
def test_what_came_while_the_worker_slept_counts(open_level: Callable[[str], Sandbox], monkeypatch: pytest.MonkeyPatch):
    """The worker is away for longer than it would wait; meanwhile the program has written and ended."""
    sandbox = open_level("core")
    look, looks = select.select, []

    def late(*ends: Any) -> Any:
        looks.append(1)
        time.sleep(0.6 if len(looks) == 2 else 0.0)  # once the program has its job
        return look(*ends)

    monkeypatch.setattr(select, "select", late)
    monkeypatch.setattr(client, "GRACE_S", -2.9)
    outcome = sandbox.run(ProgramRun(work={"mode": "script", "program": "print(3)"}, wall_s=2.0))
    assert (outcome.end, outcome.stdout) == ("exit", b"3\n")


def kill_supervisor(sandbox: Sandbox) -> None:
    assert sandbox._process is not None
    sandbox._process.kill()
    sandbox._process.wait()


@linux
def test_a_supervisor_killed_before_it_read_its_message_is_a_fault_of_the_sandbox(
    open_level: Callable[[str], Sandbox],
):
    """The kernel then resets the connection instead of ending it."""
    sandbox = open_level("core")
    with contextlib.ExitStack() as stack:
        (ask, _), (_, answer) = pipe_within(stack), pipe_within(stack)
        work = {"mode": "script", "program": "import time\ntime.sleep(600)"}
        sandbox.begin(ProgramRun(work=work, wall_s=60), ask.fileno(), answer.fileno())
    assert sandbox._process is not None
    assert sandbox._control is not None
    sandbox._process.send_signal(signal.SIGSTOP)
    sandbox._control.send(b'{"stop": true}')
    kill_supervisor(sandbox)
    with pytest.raises(SandboxFault, match="ended while a program ran"):
        sandbox.report()


@linux
def test_a_supervisor_killed_while_a_program_floods_is_a_fault_of_the_sandbox(
    open_level: Callable[[str], Sandbox], monkeypatch: pytest.MonkeyPatch
):
    sandbox = open_level("core")
    take = client._take

    def then_killed(end: Any, taken: bytearray, most: int) -> bool:
        kill_supervisor(sandbox)
        return take(end, taken, most)

    monkeypatch.setattr(client, "_take", then_killed)
    flood = {"mode": "script", "program": "import time\nprint('x' * 100, flush=True)\ntime.sleep(600)"}
    with pytest.raises(SandboxFault, match="ended while a program ran"):
        sandbox.run(ProgramRun(work=flood, wall_s=5, output_bytes=10))


STAYING = next(attack for attack in resources.ATTACKS if attack.name == "children that ignore signals")


def begun(sandbox: Sandbox) -> list[int]:
    """Start a program that leaves eight processes behind; pids of all below the supervisor, itself first."""
    with contextlib.ExitStack() as stack:
        (ask, _), (_, answer) = pipe_within(stack), pipe_within(stack)
        program = STAYING.program + "\nimport time\ntime.sleep(600)"
        job = ProgramRun(work={"mode": "script", "program": program}, wall_s=600, grants=STAYING.grants)
        sandbox.begin(job, ask.fileno(), answer.fileno())
    assert sandbox._process is not None
    deadline = time.monotonic() + 10
    while (
        len(everyone := [sandbox._process.pid, *offspring(sandbox._process.pid)]) < 10 and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    assert len(everyone) >= 10
    return everyone


def living(pids: list[int], seconds: float = 0.0) -> list[int]:
    """Who of them runs still, after at most so long."""
    deadline = time.monotonic() + seconds
    while True:
        found = []
        for pid in pids:
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                continue
            found += [pid] if state != "Z" else []
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.01)


@linux
@pytest.mark.parametrize("bounded", [True, False], ids=["cgroup", "no cgroup"])
@pytest.mark.parametrize("level", HERE)
def test_a_killed_supervisor_leaves_nobody(
    level: str, bounded: bool, open_level: Callable[[str], Sandbox], monkeypatch: pytest.MonkeyPatch
):
    if not bounded:
        monkeypatch.setattr(cgroup, "make", lambda: None)
    elif cgroup.places() == []:
        pytest.skip("no cgroup is writable here")
    sandbox = open_level(level)
    other = Sandbox(level)
    others = begun(other)
    everyone = begun(sandbox)
    assert sandbox._process is not None
    sandbox._process.kill()
    with pytest.raises(SandboxFault, match="ended while a program ran"):
        sandbox.report()
    assert living(everyone, 2) == []
    assert living(others) == others  # another supervisor's program is left alone
    assert sandbox.run(ProgramRun(work={"mode": "script", "program": "print(3)"})).stdout == b"3\n"
    other.close()
    assert living(others, 2) == []


def leaves_below(pid: int, folder: Path) -> set[Path]:
    """Cgroups that hold a process descended from `pid`: tests run side by side, and each has its own."""
    return {leaf for leaf in folder.glob(f"{cgroup.PREFIX}*") if any(pid in ancestors(held) for held in held_by(leaf))}


def held_by(leaf: Path) -> list[int]:
    try:
        return [int(pid) for pid in (leaf / "cgroup.procs").read_text().split()]
    except OSError:  # removed meanwhile
        return []


def ancestors(pid: int) -> Iterator[int]:
    while pid > 1:
        yield pid
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return


HOLDER = """
import sys, time
sys.path.insert(0, sys.argv[2])
from tests.test_verifiers_sandbox_cgroup import Sandbox, begun
sandbox = Sandbox(sys.argv[1])
print(*begun(sandbox), flush=True)
time.sleep(600)
"""


@linux
def test_a_cgroup_whose_worker_and_supervisor_were_killed_is_removed_by_a_later_start(
    open_level: Callable[[str], Sandbox],
):
    folder = leaf_of(open_level("core")).folder.parent
    worker = subprocess.Popen(
        [sys.executable, "-c", HOLDER, "core", str(Path(__file__).resolve().parents[1])],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdout is not None
    everyone = [int(pid) for pid in worker.stdout.readline().split()]
    made = leaves_below(worker.pid, folder)
    assert len(made) == 1
    worker.kill()
    os.kill(everyone[0], signal.SIGKILL)
    worker.wait()
    leaf = cgroup.make()
    assert leaf is not None
    leaf.end()
    assert living(everyone, 2) == []
    assert not (made | {leaf.folder}) & set(folder.glob(f"{cgroup.PREFIX}*"))


@linux
def test_a_closed_pool_leaves_no_cgroup(open_level: Callable[[str], Sandbox]):
    folder = leaf_of(open_level("core")).folder.parent
    before = leaves_below(os.getpid(), folder)
    problem = Problem(id="p", domain="code", messages=(), verifier="code", metadata={"tests": [[1, 2]]})
    with VerifierPool(workers=2, timeout_s=20) as pool:
        assert pool.judge([(problem, "# x + 1"), (problem, "# x + 2")])[0].correct
        made = leaves_below(os.getpid(), folder) - before
        assert made
    assert not any(leaf.exists() for leaf in made)
