"""How worker processes are started: from a server that has what they need, and never by running the caller's own program again.

Python's own way imports the caller's main module in every worker. A script without `if __name__ == "__main__"` would train in each of them. It also has
one server for everybody, who gets what the first one asked for: here each list of modules has its own.
"""

import functools
import io
import multiprocessing
import os
from multiprocessing import context, forkserver, popen_forkserver, reduction, spawn, util
from typing import Any

MAIN = ("init_main_from_name", "init_main_from_path")


class _Launch(popen_forkserver.Popen):
    """As `popen_forkserver.Popen` launches, without the caller's main module."""

    def _launch(self, process: Any) -> None:
        told = {name: value for name, value in spawn.get_preparation_data(process.name).items() if name not in MAIN}
        packed = io.BytesIO()
        context.set_spawning_popen(self)
        try:
            reduction.dump(told, packed)
            reduction.dump(process, packed)
        finally:
            context.set_spawning_popen(None)
        self.sentinel, channel = _server(process.preload).connect_to_new_process(self._fds)  # type: ignore[attr-defined]
        other_end = os.dup(channel)  # the child sees by it that we are gone
        self.finalizer = util.Finalize(self, util.close_fds, (other_end, self.sentinel))  # type: ignore[attr-defined]
        with open(channel, "wb", closefd=True) as sender:
            sender.write(packed.getbuffer())
        self.pid = forkserver.read_signed(self.sentinel)


@functools.cache
def _server(preload: tuple[str, ...]) -> forkserver.ForkServer:
    made = forkserver.ForkServer()
    made.set_forkserver_preload(list(preload))
    return made


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_server.cache_clear)  # they are the parent's children


class WorkerProcess(context.ForkServerProcess):
    """A process of a server's."""

    preload: tuple[str, ...] = ()

    @staticmethod
    def _Popen(process: Any) -> Any:
        return _Launch(process)


class WorkerContext(context.ForkServerContext):
    """The server that has imported these modules, with such processes."""

    def __init__(self, preload: tuple[str, ...]) -> None:
        super().__init__()
        self.preload = preload

    def Process(self, *args: Any, **kwargs: Any) -> WorkerProcess:  # type: ignore[override]
        made = WorkerProcess(*args, **kwargs)
        made.preload = self.preload
        return made


def worker_context(preload: list[str]) -> context.BaseContext:
    """A server that has imported `preload` and forks workers: a killed one is replaced in milliseconds."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    return WorkerContext(tuple(preload))
