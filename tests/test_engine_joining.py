"""Two ranks that meet, agree and part: this process is one of them, a fork of it the other."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore

from rlzoo.engine import joining
from rlzoo.engine.ranks import Ranks, join_ranks
from rlzoo.errors import RunError, UnfitModel, UsageError
from rlzoo.placement import Placement
from tests.support import left_alone

CPU = torch.device("cpu")


end_at_once = os._exit


@pytest.fixture(autouse=True)
def _alone_and_in_seconds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("ARRIVAL", "COLLECTIVE"):
        monkeypatch.setattr(joining, name, timedelta(seconds=15))
    with left_alone(monkeypatch):
        yield


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def joined(rank: int, monkeypatch: pytest.MonkeyPatch, act: Callable[[Ranks], None]) -> Iterator[Ranks]:
    """This process as `rank` of two; the other one does `act`, and must come to its end."""
    settings = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    other = os.fork()
    if not other:
        code = 1
        try:
            os.environ["RANK"] = str(1 - rank)
            act(join_ranks())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            end_at_once(code)
    try:
        monkeypatch.setenv("RANK", str(rank))
        yield join_ranks()
        code = os.waitstatus_to_exitcode(os.waitpid(other, 0)[1])
    except BaseException:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)
        time.sleep(0.2)  # its line is heard to end while that ends nobody
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    assert code == 0, "the other rank failed, and said why"


class Unsendable(Exception):
    def __reduce__(self) -> str:
        raise TypeError("stays here")


def refuse(error: Exception) -> None:
    raise error


def agree(ranks: Ranks) -> None:
    """What both do, each with what it knows of itself."""
    mine = ranks.rank
    assert (ranks.world, ranks.first, len(ranks.places)) == (2, mine == 0, 2)
    assert ranks.places[mine].pid == os.getpid() != ranks.places[1 - mine].pid
    assert (dist.get_backend(), dist.get_rank(), dist.get_world_size()) == ("gloo", mine, 2)
    one, other = torch.tensor([1.0, 2.0]) * (mine + 1), torch.full((2, 2), 10.0 + mine)
    ranks.all_reduce_sum(each for each in (one, other))
    assert one.tolist() == [3.0, 6.0] and other.tolist() == [[21.0, 21.0], [21.0, 21.0]]
    ranks.all_reduce_sum([])
    assert ranks.gather(f"rank {mine}") == ["rank 0", "rank 1"]
    assert ranks.all_gather(ranks.shard("abcde")) == [*"abcde"]
    assert ranks.all_gather([] if mine else ["only"]) == ["only"]
    assert ranks.decide(lambda: f"rank {mine}") == "rank 0"
    with pytest.raises(UsageError, match=r"^rank 0$"):
        ranks.decide(lambda: refuse(UsageError(f"rank {mine}")))
    with pytest.raises(RunError if mine else Unsendable, match=r"^Unsendable: no$" if mine else r"^no$"):
        ranks.decide(lambda: refuse(Unsendable("no")))
    assert (ranks.any(mine == 1), ranks.any(False)) == (True, False)
    assert not ranks.is_lost()


@pytest.mark.parametrize("rank", [0, 1])
def test_ranks_agree_and_part_together(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def act(ranks: Ranks) -> None:
        agree(ranks)
        ranks.leave(together=rank == 1)  # the first one's process is then the other

    with joined(rank, monkeypatch, act) as ranks:
        act(ranks)
        assert not dist.is_initialized()
        assert ranks.roll is not None and ranks.roll.lost is None
        assert ranks.roll.ended.is_set() == (rank == 1), "the first one's process has ended before the other goes on"


def test_a_rank_that_hangs_up_has_the_others_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def act(ranks: Ranks) -> None:
        assert ranks.roll is not None
        ranks.roll.leave()
        ranks.hang_up()
        assert not dist.is_initialized()
        ranks.hang_up()  # there is nothing left to hang up

    with joined(0, monkeypatch, act) as ranks, pytest.raises(RuntimeError, match=r"gloo|closed"):
        ranks.gather("nobody hears this")


def test_one_process_alone_is_all_there_is() -> None:
    alone = join_ranks(no_device)  # which is not asked for
    assert alone == Ranks()
    assert (alone.rank, alone.world, alone.first, alone.places) == (0, 1, True, ())
    assert alone.gather("mine") == ["mine"] and alone.any(True) and not alone.any(False)
    assert alone.decide(lambda: 3) == 3
    tensor = torch.ones(2)
    alone.all_reduce_sum([tensor])
    assert tensor.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_shards_are_dealt_out_in_turn(world: int) -> None:
    shards = [Ranks(rank, world).shard("abcdefg") for rank in range(world)]
    assert shards == {1: ["abcdefg"], 2: ["aceg", "bdf"], 3: ["adg", "be", "cf"]}[world]


# -- meeting ----------------------------------------------------------------------------------------------


def place(host: str, fault: str = "", uuid: str = "") -> str:
    return json.dumps({"place": {"host": host, "device": "cpu", "pid": 7}, "uuid": uuid, "fault": fault})


def no_device() -> torch.device:
    raise UnfitModel("no device is left")


def test_every_rank_hears_where_the_others_are() -> None:
    store = HashStore()
    store.set("place/0", place("elsewhere"))
    places, device = joining._told(store, Placement(rank=1, world=2), lambda: CPU)
    assert device == CPU
    assert [(each.host, each.device, each.pid) for each in places] == [
        ("elsewhere", "cpu", 7),
        (socket.gethostname(), "cpu", os.getpid()),
    ]


def test_a_rank_without_a_device_is_told_by_all() -> None:
    store = HashStore()
    store.set("place/0", place("elsewhere"))
    with pytest.raises(UnfitModel, match=rf"^rank 1 of 2, on {socket.gethostname()}: no device is left$"):
        joining._told(store, Placement(rank=1, world=2), no_device)
    with pytest.raises(UnfitModel, match=r"^rank 1 of 2, on .*: no device is left$"):
        joining._told(store, Placement(rank=0, world=2), lambda: CPU)


def test_two_ranks_on_one_device_are_refused() -> None:
    joining._check_shared([("a", "u"), ("b", "u"), ("a", "v"), ("a", ""), ("a", "")])
    with pytest.raises(UnfitModel, match=r"ranks 1 and 3 share one CUDA device of b.*model\.device=cpu"):
        joining._check_shared([("a", "u"), ("b", "u"), ("b", "v"), ("b", "u")])
    store = HashStore()
    for rank in (0, 1):
        store.set(f"place/{rank}", place("a", uuid="u"))
    with pytest.raises(UnfitModel, match="ranks 0 and 1 share"):
        joining._told(store, Placement(rank=2, world=3), lambda: CPU)


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({}, "MASTER_ADDR and MASTER_PORT are not set"),
        ({"MASTER_ADDR": "127.0.0.1"}, "MASTER_PORT is not set"),
        ({"MASTER_PORT": "1"}, "MASTER_ADDR is not set"),
    ],
)
def test_ranks_that_cannot_know_where_to_meet_are_refused(
    known: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", **known}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=f"WORLD_SIZE is 2, but {words}.*rlzoo train --nproc N"):
        join_ranks()


def test_a_port_that_is_taken_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("", 0)) as taken:
        port = str(taken.getsockname()[1])
        for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(RunError, match=f"^port {port} is taken on this machine.*MASTER_PORT"):
            join_ranks()


def test_ranks_that_do_not_meet_are_told_where_and_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert joining.ARRIVAL.total_seconds() == 5 * 60
    assert joining.COLLECTIVE.total_seconds() == 30 * 60
    monkeypatch.setenv("MASTER_ADDR", "node1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    mine = Placement(rank=1, world=4)
    said = joining._not_met(mine, TimeoutError("timed  out\nafter " + "x" * 300))
    assert said.startswith("rank 1 of 4 did not meet the others at node1:29500: timed out after x")
    assert said.count("x") == 200 - len("timed out after ") and "within 300 s" in said
    for taken in ("EADDRINUSE", "bind: Address already in use"):
        assert joining._not_met(mine, OSError(taken)).startswith("port 29500 is taken")
