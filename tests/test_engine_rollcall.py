"""Ranks that hear of each other's end: lines within one process, held against ends that are told, silent, regular or not theirs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore, Store

from rlzoo.engine import rollcall
from rlzoo.engine.ranks import Ranks, of_a_collective
from rlzoo.engine.rollcall import Loss, RollCall
from rlzoo.placement import here
from rlzoo.signals import handled
from tests.support import left_alone

Lines = list[RollCall]


@pytest.fixture(autouse=True)
def _nobody_is_ended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with left_alone(monkeypatch):
        yield


@pytest.fixture
def store() -> Store:
    return HashStore()


@pytest.fixture
def three(store: Store) -> Iterator[Lines]:
    lines = [RollCall(rank, store, [here("cpu")] * 3) for rank in range(3)]
    for _ in range(100):  # the first has taken both
        if len(lines[0]._lines) == 2:
            break
        time.sleep(0.05)
    yield lines
    for line in lines:
        line.leave()


def die(roll: RollCall) -> None:
    """As the kernel does when a process is gone."""
    for line in list(roll._lines):
        line.shutdown(socket.SHUT_RDWR)


def test_a_rank_that_is_killed_is_heard_of_by_all(three: Lines) -> None:
    die(three[1])
    for rank in (0, 2):
        assert three[rank].wait(5) == Loss(rank=1, kind="silent")


def test_a_rank_that_fails_says_why_to_all(three: Lines) -> None:
    three[2].tell("failed", "memory ran out", 1)
    for rank in (0, 1):
        assert three[rank].wait(5) == Loss(rank=2, kind="failed", cause="memory ran out", code=1)
    die(three[2])
    die(three[1])
    assert three[0].wait(0) == Loss(rank=2, kind="failed", cause="memory ran out", code=1), "the first end is the cause"


def test_without_the_first_rank_the_others_hear_that(three: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(three[0], "_lose", lambda loss: None)  # a process that is gone tells nothing of its lines
    die(three[0])
    for rank in (1, 2):
        assert three[rank].wait(5) == Loss(rank=0, kind="silent")
        assert three[rank].ended.wait(5)


def test_whoever_has_done_its_part_may_go(three: Lines) -> None:
    for roll in three[1:]:
        roll.leave()
        die(roll)
    assert three[0].wait(0.5) is None
    three[0].leave()
    assert three[1].lost is None


def test_a_stranger_is_hung_up_on_and_nothing_is_lost(three: Lines, store: Store) -> None:
    at = json.loads(store.get("roll"))
    for text in (b'{"token": "guessed", "rank": 1}\n', b"GET / HTTP/1.1\n", b'{"lost": {}}\n'):
        with socket.create_connection(("127.0.0.1", at["port"]), timeout=5) as stranger:
            stranger.sendall(text)
            assert stranger.recv(10) == b""
    assert three[0].wait(0.2) is None


@pytest.mark.long
def test_a_rank_that_is_stuck_is_cut_off_with_its_last_words() -> None:
    script = """
import signal, socket, time
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore, Store
from rlzoo.engine import rollcall
from rlzoo.placement import here
rollcall.NOTICE_S = rollcall.LAST_S = 0.2
signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
store = HashStore()
first, second = (rollcall.RollCall(rank, store, [here("cpu")] * 2) for rank in range(2))
first.stuck = lambda loss: print("stuck", loss.rank, flush=True)
second.ending.set()
while not first._lines:
    time.sleep(0.01)
for line in second._lines:
    line.shutdown(socket.SHUT_RDWR)
time.sleep(100)
"""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stdout) == (1, "asked\nstuck 1\n"), done.stderr
    assert time.monotonic() - started < 90


@pytest.mark.parametrize("stuck", [False, True])
def test_whoever_does_not_notice_by_itself_is_interrupted_and_then_cut_off(
    stuck: bool, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    roll, loss = RollCall(0, store, [here("cpu")]), Loss(rank=1, kind="failed", code=3)
    seen: list[object] = []
    ended = threading.Event()
    monkeypatch.setattr(rollcall, "NOTICE_S", 0.02)
    monkeypatch.setattr(rollcall, "LAST_S", 0.02 if stuck else 1e6)
    roll.stuck = seen.append

    def cut_off(code: int) -> None:
        seen.append(code)
        ended.set()

    monkeypatch.setattr(os, "_exit", cut_off)

    def interrupted(number: int, frame: object) -> None:
        seen.append(number)
        if not stuck:
            roll.ending.set()
            ended.set()

    with handled({signal.SIGTERM: interrupted}):
        roll._lose(loss)
        for _ in range(500):
            if ended.wait(0.01):
                break
    assert seen == [signal.SIGTERM, *([loss, 3] if stuck else [])]


def test_whoever_notices_by_itself_is_left_alone(store: Store) -> None:
    roll = RollCall(0, store, [here("cpu")])
    roll._lose(Loss(rank=1, kind="silent"))
    (press,) = [thread for thread in threading.enumerate() if thread.name == "roll call's end"][-1:]
    roll.ending.set()
    press.join(5)
    assert not press.is_alive()


def test_a_rank_that_ends_hears_of_no_other(store: Store) -> None:
    for end in (lambda roll: roll.leave(), lambda roll: roll.tell("failed", "", 1)):
        roll = RollCall(0, store, [here("cpu")])
        end(roll)
        assert roll.ending.is_set()
        roll._lose(Loss(rank=1, kind="silent"))
        assert roll.wait(0) is None


def test_a_rank_that_comes_late_hears_of_a_loss_before_it(three: Lines, store: Store) -> None:
    three[1].tell("failed", "memory ran out", 1)
    loss = three[0].wait(5)
    late = RollCall(2, store, [here("cpu")] * 3)
    assert late.wait(5) == loss == Loss(rank=1, kind="failed", cause="memory ran out")
    late.leave()


def test_messages_come_in_pieces_and_together(three: Lines, store: Store) -> None:
    at = json.loads(store.get("roll"))
    hello = json.dumps({"token": at["token"], "rank": 2}).encode()
    with socket.create_connection(("127.0.0.1", at["port"]), timeout=5) as line:
        line.sendall(hello[:7])
        time.sleep(0.02)
        line.sendall(
            hello[7:] + b'\n{"left": 2}\n{"lost": {"rank": 2, "kind": "failed", "cause": "late", "code": 4}}\n'
        )
        assert three[0].wait(5) == Loss(rank=2, kind="failed", cause="late", code=4)


def test_a_rank_out_of_reach_goes_on_without_a_line(store: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    store.set("roll", json.dumps({"hosts": ["127.0.0.1"], "port": port, "token": "t"}))
    roll = RollCall(1, store, [here("cpu")] * 2)
    assert roll.ended.is_set() and not roll._lines
    roll.tell("failed", "nobody hears it", 1)


def test_a_line_is_open_until_it_ends_and_a_dead_machine_is_noticed_in_half_a_minute(
    three: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASTER_ADDR", "")  # others than the launcher's are tried in their order
    (mine,) = three[1]._lines
    assert (
        rollcall.KEEPALIVE["TCP_KEEPIDLE"] + rollcall.KEEPALIVE["TCP_KEEPINTVL"] * rollcall.KEEPALIVE["TCP_KEEPCNT"]
        == 30
    )
    for line in (mine, *three[0]._lines):
        assert line.gettimeout() is None and line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        for name, value in rollcall.KEEPALIVE.items():
            assert line.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) == value
    assert sorted(rank for rank in three[0]._lines.values() if rank is not None) == [1, 2]
    assert three[1].places == (here("cpu"),) * 3
    assert rollcall._reach([], mine.getpeername()[1]) is None
    reached = rollcall._reach(["", "127.0.0.1"], mine.getpeername()[1])
    assert reached is not None
    reached.close()


def test_a_child_holds_no_line_open(three: Lines) -> None:
    lines = list(three[1]._lines)
    three[1].leave()
    three[1]._forget()
    assert [line.fileno() for line in lines] == [-1]


def test_errors_of_collectives_are_told_from_a_ranks_own() -> None:
    closed = "[/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:39282"
    assert of_a_collective(RuntimeError(closed))
    assert of_a_collective(dist.DistBackendError("NCCL communicator was aborted"))
    outer = ValueError("in a hook")
    outer.__cause__ = RuntimeError(closed)
    assert of_a_collective(outer)
    assert not of_a_collective(RuntimeError("CUDA out of memory"))
    assert not of_a_collective(MemoryError())


def test_an_error_of_its_own_is_no_consequence_of_another_ranks_end(three: Lines) -> None:
    ranks = Ranks(0, 3, three[0])
    assert Ranks().loss_behind(KeyboardInterrupt()) is None
    die(three[1])
    three[0].wait(5)
    assert ranks.is_lost()
    assert ranks.loss_behind(MemoryError()) is None
    assert ranks.loss_behind(RuntimeError("gloo: closed")) == Loss(rank=1, kind="silent")
    assert ranks.loss_behind(KeyboardInterrupt("SIGTERM")) == Loss(rank=1, kind="silent")
