"""Runs in a Ray cluster: each is a process beside an actor, which the scheduler puts where there is room.

The runner sees what it sees of a process of its own. A run whose node is lost has failed like one that was killed: it is started again,
wherever there is room, and goes on from its newest checkpoint.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlzoo.experiment import executor, leash
from rlzoo.runs.lock import awaited

PASSED_ON = ("HF_", "RLZOO_", "OMP_", "MKL_")
"""How names of variables begin that runs take from the comparison's environment and not from their node's."""
ANSWER_S = 10.0
"""Seconds in which an actor must have ended its run."""
DYING_S = 3.0
"""Seconds by which an actor may outlive its run where both are ended."""
INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one run takes of a node."""

    cpus: int
    gpus: int = 0
    memory: int = 0
    """Bytes; 0 = nobody knows."""

    def __str__(self) -> str:
        cores = f"{self.cpus} core{'s' * (self.cpus != 1)}"
        parts = [*([f"{self.gpus} GPU{'s' * (self.gpus != 1)}"] if self.gpus else []), cores]
        return " and ".join([*parts, *([f"{self.memory / 2**30:.1f} GiB"] if self.memory else [])])


class RayExecutor:
    """Each run is `rlzoo train` beside an actor that holds what the run needs. Folders lie on storage that all nodes share."""

    def __init__(self, slots: int, need: Need) -> None:
        self.slots = slots
        self.need = need

    def start(self, run: Path, log: Path, slot: int) -> RayProcess:
        import ray

        actor = ray.remote(Carrier).options(
            num_cpus=self.need.cpus,
            num_gpus=self.need.gpus,
            memory=self.need.memory or None,
            max_restarts=0,  # the runner counts starts, and prepares each
            max_concurrency=4,
        )
        env = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
        return RayProcess(actor.remote(), run.resolve(), log.resolve(), env)


class RayProcess:
    """A run under way in the cluster, or waiting there for room."""

    def __init__(self, actor: Any, run: Path, log: Path, env: Mapping[str, str]) -> None:
        self._actor, self._log = actor, log
        self._node = actor.node.remote()
        self._end = actor.carry.remote(str(run), str(log), dict(env))
        self._code: int | None = None

    def poll(self) -> int | None:
        import ray

        if self._code is None and ray.wait([self._end], timeout=0)[0]:
            try:
                self._code = int(ray.get(self._end))
            except ray.exceptions.RayError as error:
                self._code = 1
                self._tell(error)
            ray.kill(self._actor)
        return self._code

    def interrupt(self) -> None:
        import ray

        if self.poll() is not None:
            return
        if self._where():
            self._actor.interrupt.remote()
        else:  # still without a place: there is nothing to save
            ray.kill(self._actor)
            self._code = INTERRUPTED

    def kill(self) -> None:
        import ray

        if self.poll() is None:
            if self._where():
                ray.wait([self._actor.kill.remote()], timeout=ANSWER_S)
            ray.kill(self._actor)
            self._code = -signal.SIGKILL

    def _where(self) -> str:
        """Its node, once it has one."""
        import ray

        try:
            return str(ray.get(self._node, timeout=0))
        except (ray.exceptions.GetTimeoutError, ray.exceptions.RayError):
            return ""

    def _tell(self, error: Exception) -> None:
        """Write into the run's log why it has no exit code, as the run itself would have."""
        import ray

        where = f" ({self._where()})" if self._where() else ""
        cause = getattr(error, "cause", None)
        if isinstance(error, ray.exceptions.RayTaskError) and isinstance(cause, OSError):
            why = f"the node{where} could not start the run: {cause}"
        elif isinstance(error, ray.exceptions.RayActorError):
            why = f"its node{where} was lost, or the actor that carried the run there"
        else:
            why = f"the node{where} could not carry the run: {' '.join(str(error).split())[:300]}"
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"error: {why}\n")


class Carrier:
    """The actor: holds a run's resources and its process. Methods run side by side, in threads."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = threading.Event()
        self._starting = threading.Lock()

    def node(self) -> str:
        """The machine's name."""
        return socket.gethostname()

    def carry(self, run: str, log: str, env: Mapping[str, str]) -> int:
        """Start the run, or go on with it, and wait for its end: its exit code."""
        # Where this node was thought lost, or a comparison was killed, the run of before may still save.
        awaited(Path(run), leash.PATIENCE_S, self._asked.is_set)
        with self._starting:
            if self._asked.is_set():
                return INTERRUPTED
            own = {name: value for name, value in os.environ.items() if not name.startswith(PASSED_ON)}
            with open(log, "ab") as output:
                self._process = subprocess.Popen(
                    executor.command_of(Path(run)),
                    stdin=subprocess.PIPE,  # closed by our end, whatever that is: see `rlzoo.experiment.leash`
                    stdout=output,
                    stderr=output,
                    env={**own, **env, "PYTHONSAFEPATH": "1"},
                    start_new_session=True,
                )
        code = self._process.wait()
        if code == -signal.SIGKILL and not self._asked.is_set():
            time.sleep(DYING_S)  # a node that is lost ends the run, then us: whoever asks should hear of the node
        return code

    def interrupt(self) -> None:
        """Ask the run to end after the step at hand, saved."""
        with self._starting:
            self._asked.set()
            if self._process is not None and self._process.poll() is None:
                self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End the run now, with all that it started."""
        with self._starting:
            self._asked.set()
            if self._process is not None:
                executor.end_group(self._process)
