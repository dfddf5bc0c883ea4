"""The one that starts, limits and ends programs: a small interpreter of its own below each verifier worker.

It holds no problem, no test and no expected value, and reads no byte that a program wrote: descriptors go through it
unopened. For each job it forks, the fork puts the layers on itself, and whatever descends from it is killed before the
job counts as over. Standard library only; started by `client.py` as `python -S`.

Control messages are JSON datagrams on a socket: jobs come with descriptors for the program, answers say how it ended.
"""

import contextlib
import fcntl
import gc
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from rlzoo.verifiers.sandbox import harness, imports, kernel, prelude, serving
from rlzoo.verifiers.sandbox.confine import ABOVE, SCRATCH, Layers, address_space, free_uids

READY = "ready"


def main() -> None:
    """Serve jobs from the socket given as descriptor 0 until it closes. Settings: JSON in the last argument."""
    settings = json.loads(sys.argv[-1])
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    try:
        server = Supervisor(control, settings)
    except Exception as error:
        control.send(json.dumps({"failed": f"{type(error).__name__}: {error}"[:500]}).encode())
        return
    server.serve()


class Supervisor:
    """One job at a time."""

    def __init__(self, control: socket.socket, settings: dict[str, Any]) -> None:
        self.control = control
        self.number = 0
        if kernel.linux:
            kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        sys.path += settings["paths"]
        imports.prepare(settings["level"], settings["preload"], settings["packages"])
        prelude.names("all")
        harness.dress()
        harness.MODES["serve"] = serving.serve
        own = (address_space(), free_uids())  # read from /proc, which the new root lacks
        readable = [*settings["paths"], *imports.folders(settings["packages"])]
        self.scratch: str | None = None
        self.renew: Callable[[], None] | None = None
        if settings["level"] == "namespaces":
            from rlzoo.verifiers.sandbox import namespaces

            self.scratch = namespaces.enter(readable, control)
            self.renew = namespaces.renew_scratch
        if kernel.linux:  # nobody may trace it; only now, since it would not be let write its own uid map
            kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
        if settings["level"] == "bubblewrap":
            self.scratch = SCRATCH
        self.alone = self.scratch is not None and os.getpid() == 1
        """First in a process table of its own, so that everybody else there is a program's."""
        entered = settings["cgroup"] is not None and _enter(
            settings["cgroup"]
        )  # what it holds by now is charged elsewhere
        self.layers = Layers(confined=settings["level"] != "none", scratch=self.scratch, readable=readable, own=own)
        os.chdir(self.scratch or "/")
        gc.collect()
        gc.freeze()
        gc.disable()
        told = {
            READY: [*self.layers.names(), *(["cgroup"] if entered else [])],
            "uids": self.layers.uids if self.scratch is None else None,
            "cgroup": entered,
        }
        control.send(json.dumps(told).encode())

    def serve(self) -> None:
        while True:
            try:
                message, descriptors, _, _ = socket.recv_fds(self.control, 65_536, 8)
            except OSError:
                return
            if not message:
                return
            job = json.loads(message)
            if "fds" not in job:  # "stop", for a job that has ended meanwhile
                continue
            report = self.run(job, descriptors)
            clean = self._clean()
            try:
                self.control.send(json.dumps({**report, "job": job["job"], "last": not clean}).encode())
            except OSError:
                return
            if not clean:
                return

    def run(self, job: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        """Fork, watch, end. How it ended: `exit` and `signal` (with a code), `wall`, `stopped`, `unconfined`."""
        started, used = time.monotonic(), _processor_s()
        self.number = job["job"]
        told, telling = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._become(job, descriptors, telling)
        for descriptor in (*descriptors, telling):
            os.close(descriptor)
        fault = os.read(told, 1_000).decode(errors="replace")
        os.close(told)
        ended = "unconfined" if fault else self._watch(pid, started + job["wall_s"])
        status = self._end_all(pid)
        report: dict[str, Any] = {"end": ended, "code": 0, "seconds": time.monotonic() - started, "fault": fault}
        report["processor_s"] = _processor_s() - used
        if ended == "exit":
            code = os.waitstatus_to_exitcode(status)
            report.update(end="exit" if code >= 0 else "signal", code=abs(code))
        return report

    def _become(self, job: dict[str, Any], descriptors: list[int], telling: int) -> None:
        """In the fork: descriptors in place and no other, layers on, then the harness. Never returns."""
        try:
            places = dict(zip(job["fds"], descriptors, strict=True))
            high = {place: fcntl.fcntl(descriptor, fcntl.F_DUPFD, ABOVE) for place, descriptor in places.items()}
            telling = fcntl.fcntl(telling, fcntl.F_DUPFD, ABOVE)
            ruleset = self.layers.ruleset
            for place, descriptor in high.items():
                os.dup2(descriptor, place)
            keep = sorted({telling, *([ruleset] if ruleset is not None else [])})
            lowest = max(places) + 1
            for low, top in zip([lowest, *(one + 1 for one in keep)], [*keep, 1 << 20], strict=True):
                os.closerange(low, top)
            os.setsid()
            self.layers.apply(number=self.number, memory_mb=job["memory_mb"], cpu_s=job["wall_s"], grants=job["grants"])
            os.close(telling)
        except BaseException as error:
            os.write(telling, f"{type(error).__name__}: {error}"[:500].encode())
            os._exit(1)
        harness.main()

    def _watch(self, pid: int, deadline: float) -> str:
        """Until the program's first process ends, time is up, or the other side says stop or is gone."""
        handle = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
        try:
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    return "wall"
                wait = left if handle is not None else min(left, 0.002)
                sources: list[Any] = [self.control, *([handle] if handle is not None else [])]
                ready, _, _ = select.select(sources, [], [], wait)
                if self.control in ready:
                    if not self.control.recv(65_536):
                        self._end_all(pid)
                        os._exit(0)
                    return "stopped"
                if handle is None and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    return "exit"
                if handle in ready:
                    return "exit"
        finally:
            if handle is not None:
                os.close(handle)

    def _end_all(self, pid: int) -> int:
        """Kill until no descendant is left, orphans included; the first process's wait status.

        Whoever is killed here is a child not yet waited for, so its pid cannot have passed to somebody else.
        """
        status, victims, all_killed = 0, [-1] if self.alone else [pid], False
        while True:
            for victim in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
            try:
                gone, result = os.waitpid(-1, 0)
            except ChildProcessError:
                return status
            status = result if gone == pid else status
            victims = [-1] if self.alone else [] if all_killed else _children()
            if victims and not self.alone and self.layers.uids is not None:
                all_killed = self._end_uid(self.layers.uid(self.number))
                victims = [] if all_killed else victims

    def _end_uid(self, uid: int) -> bool:
        """Kill all that run under a program's own uid, in one call that no fork can slip through; whether that was done."""
        pid = os.fork()
        if pid == 0:
            try:
                os.setresuid(uid, uid, uid)
                if uid and os.getuid() == uid:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(-1, signal.SIGKILL)
                    os._exit(0)
            finally:
                os._exit(1)
        return os.waitpid(pid, 0)[1] == 0

    def _clean(self) -> bool:
        """Whether the next program finds nothing of this one: its files go with their whole file system.

        False where only a new supervisor can do that.
        """
        if self.scratch is None or not os.listdir(self.scratch):
            return True
        if self.renew is None:
            return False
        os.chdir("/")
        self.renew()
        self.layers.renew_ruleset()
        os.chdir(self.scratch)
        return True


def _processor_s() -> float:
    """Seconds of processor time of all that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _enter(entrance: int) -> bool:
    """Move into the cgroup whose list of processes is open there, with all that is started from now on."""
    try:
        os.write(entrance, b"0")
    except OSError:
        return False
    finally:
        os.close(entrance)
    return True


def _children() -> list[int]:
    """This process's children, by the kernel's list; orphans come to a subreaper."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as listed:
            return [int(pid) for pid in listed.read().split()]
    except OSError:
        return []
