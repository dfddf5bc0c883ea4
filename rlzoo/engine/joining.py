"""How processes meet as the ranks of a run: each takes a device of its machine, tells the others where it is, and joins their group."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import timedelta
from itertools import count

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from rlzoo.engine.rollcall import RollCall
from rlzoo.errors import RunError, UnfitModel, UsageError
from rlzoo.placement import Placement, RankPlace, here

ARRIVAL = timedelta(minutes=5)
"""In which all ranks must have started."""
COLLECTIVE = timedelta(minutes=30)
"""In which all ranks must have come to a collective: longer than a checkpoint takes, or the longest answer. A rank that dies is noticed at
once (`rlzoo.engine.rollcall`); this is for one that hangs."""
_joined = count()
"""Runs of this process have keys of their own in the launcher's store."""


def meet(mine: Placement, take: Callable[[], torch.device]) -> RollCall:
    """Join the process group of the ranks that a launcher described in the environment; `take` says which device is this rank's."""
    try:
        store = _store(mine)
        places, device = _told(store, mine, take)
        roll = RollCall(mine.rank, store, places)
        _group(store, mine, device)
    except dist.DistError as error:
        raise RunError(_not_met(mine, error)) from error
    return roll


def _store(mine: Placement) -> Store:
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise UsageError(
            f"WORLD_SIZE is {mine.world}, but {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set, so the ranks cannot find each other. "
            "Start with `rlzoo train --nproc N` or torchrun, or set them to the first rank's address and a free port."
        )
    store, _, _ = next(rendezvous("env://", mine.rank, mine.world, timeout=ARRIVAL))
    return PrefixStore(f"rlzoo/{next(_joined)}", store)


def _told(store: Store, mine: Placement, take: Callable[[], torch.device]) -> tuple[list[RankPlace], torch.device]:
    """Where every rank is, and this one's device. UnfitModel, on all of them, where one has no device of its own."""
    device, uuid, fault = torch.device("cpu"), "", ""
    try:
        device = take()
        if device.type == "cuda":
            uuid = str(torch.cuda.get_device_properties(device).uuid)
    except UnfitModel as error:
        fault = str(error)
    store.set(f"place/{mine.rank}", json.dumps({"place": asdict(here(str(device))), "uuid": uuid, "fault": fault}))
    answers = [json.loads(store.get(f"place/{rank}")) for rank in range(mine.world)]
    for rank, answer in enumerate(answers):
        if answer["fault"]:
            raise UnfitModel(f"rank {rank} of {mine.world}, on {answer['place']['host']}: {answer['fault']}")
    _check_shared([(answer["place"]["host"], answer["uuid"]) for answer in answers])
    return [RankPlace(**answer["place"]) for answer in answers], device


def _check_shared(devices: Sequence[tuple[str, str]]) -> None:
    """Refuse two ranks on one CUDA device, where each of them sees only that one."""
    for (host, uuid), times in Counter(devices).items():
        if uuid and times > 1:
            who = " and ".join(str(rank) for rank, each in enumerate(devices) if each == (host, uuid))
            raise UnfitModel(
                f"ranks {who} share one CUDA device of {host}, where each needs its own. Start at most as many ranks there as it has devices "
                "(--nproc, --nproc-per-node), show each rank its own, or set model.device=cpu."
            )


def _group(store: Store, mine: Placement, device: torch.device) -> None:
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo",  # objects travel by gloo, tensors of a device by nccl
        store=PrefixStore("group", store),
        rank=mine.rank,
        world_size=mine.world,
        timeout=COLLECTIVE,
        device_id=device if cuda else None,
    )


def _not_met(mine: Placement, error: Exception) -> str:
    where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    told = " ".join(str(error).split())
    if "EADDRINUSE" in told or "address already in use" in told.lower():
        return (
            f"port {os.environ.get('MASTER_PORT')} is taken on this machine, so the ranks cannot meet there. Set MASTER_PORT (torchrun: --master-port) to a free one; "
            "`rlzoo train --nproc N` and torchrun --standalone find one themselves."
        )
    return (
        f"rank {mine.rank} of {mine.world} did not meet the others at {where}: {told[:200]}. See that all ranks were started within "
        f"{ARRIVAL.total_seconds():.0f} s, with the same MASTER_ADDR and MASTER_PORT, and that the first one's machine is reached from here."
    )
