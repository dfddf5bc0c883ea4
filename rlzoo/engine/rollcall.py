"""Every rank's line to the first one. A rank that fails says why; one that is killed is noticed, since the kernel closes its line.

Collectives tell neither: gloo says only that a connection is closed, nccl waits. Once a rank is lost no other can go on, so all end: by
themselves where their next collective fails, interrupted after `NOTICE_S`, and cut off `LAST_S` later where they are stuck in one.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch._C._distributed_c10d import Store

from rlzoo.placement import RankPlace

NOTICE_S = 1.5
"""Seconds in which a rank may notice by itself that another is lost."""
LAST_S = 3.0
"""Seconds after that until it is cut off."""
REACH_S = 5.0
"""Seconds in which the first rank's address must answer."""
KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}
"""A machine that is gone with its kernel is noticed after half a minute."""

Kind = Literal["failed", "interrupted", "silent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """The end of a rank before its run's."""

    rank: int
    kind: Kind
    cause: str = ""
    """In its own words; empty where it left none."""
    code: int = 1
    """What its process returns, or would have."""


class RollCall:
    """One rank's end of the lines. With `first` it holds all of them."""

    def __init__(self, rank: int, store: Store, places: Sequence[RankPlace]) -> None:
        self.rank = rank
        self.places = tuple(places)
        self.lost: Loss | None = None
        self.heard = threading.Event()
        """Set once a rank is lost."""
        self.ending = threading.Event()
        """Set once this rank's main thread has taken notice, or has done its part."""
        self.ended = threading.Event()
        """Set once the first rank's process is gone, or its line."""
        self.stuck: Callable[[Loss], None] = lambda loss: None
        """Called before the process is cut off."""
        self._lines: dict[socket.socket, int | None] = {}
        self._left: set[int] = set()
        self._said = threading.Lock()
        self._main = threading.main_thread().ident
        if rank == 0:
            self._answer(store)
        else:
            self._call(store)

    # -- what a rank says ------------------------------------------------------------------------------------

    def tell(self, kind: Kind, cause: str, code: int) -> None:
        """This rank ends, and why; the others hear it before it is gone."""
        self.ending.set()
        self._send({"lost": asdict(Loss(rank=self.rank, kind=kind, cause=cause, code=code))})

    def leave(self) -> None:
        """This rank has done its part of the run."""
        self.ending.set()
        self._send({"left": self.rank})

    def wait(self, seconds: float) -> Loss | None:
        """The rank that was lost, if that becomes known in this time."""
        self.heard.wait(seconds)
        return self.lost

    # -- lines -----------------------------------------------------------------------------------------------

    def _answer(self, store: Store) -> None:
        server = socket.create_server(("", 0), backlog=len(self.places))
        token = os.urandom(16).hex()
        at = {"hosts": _addresses(), "port": server.getsockname()[1], "token": token}
        store.set("roll", json.dumps(at))
        self._start(lambda: self._serve(server, token))

    def _call(self, store: Store) -> None:
        at = json.loads(store.get("roll"))
        line = _reach([os.environ.get("MASTER_ADDR", ""), *at["hosts"]], at["port"])
        if line is None:  # a wall between the machines: deaths are then noticed by collectives alone
            self.ended.set()
            return
        self._lines[line] = 0
        line.sendall(_packed({"token": at["token"], "rank": self.rank}))
        self._start(lambda: self._listen(line))

    def _start(self, work: Callable[[], None]) -> None:
        os.register_at_fork(after_in_child=self._forget)
        threading.Thread(target=work, daemon=True, name="roll call").start()

    def _forget(self) -> None:
        """A child holds no line open for a parent that is gone."""
        for line in self._lines:
            line.close()

    def _listen(self, line: socket.socket) -> None:
        rest = b""
        while got := _received(line):
            *whole, rest = (rest + got).split(b"\n")
            for text in whole:
                self._hear(json.loads(text))
        if 0 not in self._left:
            self._lose(Loss(rank=0, kind="silent"))
        self.ended.set()

    def _serve(self, server: socket.socket, token: str) -> None:
        waiting: dict[socket.socket, bytes] = {}
        with selectors.DefaultSelector() as ready:
            ready.register(server, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    line = key.fileobj
                    assert isinstance(line, socket.socket)
                    if line is server:
                        line = _kept_alive(server.accept()[0])
                        waiting[line] = b""
                        ready.register(line, selectors.EVENT_READ)
                        continue
                    got = _received(line)
                    *whole, waiting[line] = (waiting[line] + got).split(b"\n")
                    known = all(self._take(line, text, token) for text in whole)
                    if not got or not known:
                        ready.unregister(line)
                        self._hang_up(line)

    def _take(self, line: socket.socket, text: bytes, token: str) -> bool:
        """Hear a message; False from whoever is no rank of this run."""
        try:
            message = json.loads(text)
            if line not in self._lines:
                known = bool(message["token"] == token)
                if known:
                    self._lines[line] = int(message["rank"])
                    if self.lost is not None:
                        line.sendall(_packed({"lost": asdict(self.lost)}))
                return known
            self._hear(message)
        except (ValueError, KeyError, TypeError, OSError):
            return False
        return True

    def _hang_up(self, line: socket.socket) -> None:
        rank = self._lines.pop(line, None)
        line.close()
        if rank is not None and rank not in self._left:
            self._lose(Loss(rank=rank, kind="silent"))

    def _hear(self, message: Mapping[str, Any]) -> None:
        if "left" in message:
            self._left.add(int(message["left"]))
        else:
            loss = Loss(**message["lost"])
            self._left.add(loss.rank)
            self._lose(loss)

    def _lose(self, loss: Loss) -> None:
        with self._said:
            if self.lost is not None or self.ending.is_set():
                return
            self.lost = loss
        self.heard.set()
        if self.rank == 0:
            self._send({"lost": asdict(loss)})
        threading.Thread(target=self._press, args=(loss,), daemon=True, name="roll call's end").start()

    def _send(self, message: Mapping[str, Any]) -> None:
        for line in list(self._lines):
            with suppress(OSError):
                line.sendall(_packed(message))

    def _press(self, loss: Loss) -> None:
        """See to it that the main thread takes notice; a process whose main thread cannot is cut off."""
        if self.ending.wait(NOTICE_S):
            return
        if self._main is not None:
            signal.pthread_kill(self._main, signal.SIGTERM)
        if not self.ending.wait(LAST_S):
            self.stuck(loss)
            os._exit(loss.code)


def _addresses() -> list[str]:
    """Names and numbers under which other machines may reach this one."""
    name = socket.getfqdn()
    with suppress(OSError):
        return [name, *socket.gethostbyname_ex(socket.gethostname())[2]]
    return [name]


def _reach(hosts: Sequence[str], port: int) -> socket.socket | None:
    for host in dict.fromkeys(filter(None, hosts)):
        with suppress(OSError):
            line = socket.create_connection((host, port), timeout=REACH_S)
            line.settimeout(None)
            return _kept_alive(line)
    return None


def _kept_alive(line: socket.socket) -> socket.socket:
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return line


def _received(line: socket.socket) -> bytes:
    """What has come; nothing where the other end is gone."""
    try:
        return line.recv(65536)
    except OSError:
        return b""


def _packed(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"
