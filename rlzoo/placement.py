"""Where this process stands among those that share its run, as a launcher says in the environment; and what is said of them. No torch."""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from rlzoo.errors import UsageError

NPROC = "RLZOO_NPROC"
"""Set, to their number, for ranks that `--nproc` has started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Which of a run's ranks this process is."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    """Among those of this machine."""
    local_world: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RankPlace:
    """Where a rank computes."""

    host: str
    device: str
    """cpu, cuda, or cuda:N."""
    pid: int = 0


def placement() -> Placement:
    """Of this process. UsageError where the launcher's variables cannot be meant."""
    world = _number("WORLD_SIZE", 1)
    if world == 1:
        return Placement()
    if world < 1 or "RANK" not in os.environ:
        raise UsageError(
            f"WORLD_SIZE is {world} and RANK is {os.environ.get('RANK', 'not set')}, so this process cannot tell which rank it is. A launcher sets both: "
            "start with `rlzoo train --nproc N` or torchrun, or unset WORLD_SIZE for one process."
        )
    rank = _number("RANK", 0)
    local_rank = _number("LOCAL_RANK", rank)
    found = Placement(
        rank=rank, world=world, local_rank=local_rank, local_world=_number("LOCAL_WORLD_SIZE", local_rank + 1)
    )
    if not (0 <= rank < world and 0 <= local_rank < world):
        raise UsageError(
            f"RANK is {rank} and LOCAL_RANK {local_rank}, but WORLD_SIZE is {world}: ranks count from 0 to {world - 1}. "
            "Start with `rlzoo train --nproc N` or torchrun, which set them."
        )
    return found


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    try:
        return int(text)
    except ValueError:
        raise UsageError(
            f"{name} is {text!r} in the environment, but a launcher sets it to a whole number. Unset it, or start with `rlzoo train --nproc N`."
        ) from None


def first() -> bool:
    """Whether this process talks for all; any process that shares its run with none does."""
    return os.environ.get("RANK", "0") == "0"


def talks() -> bool:
    """Whether this process is the one that tells what follows from the command alone: of ranks that `--nproc` started, none is."""
    return first() and NPROC not in os.environ


def several() -> bool:
    """Whether a launcher has started more than this process."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def resuming(out: Path) -> str:
    """The command that goes on with the run in `out` as this process was started."""
    words = f"train --resume --out {shlex.quote(str(out))}"
    if NPROC in os.environ:
        return f"rlzoo {words} --nproc {os.environ[NPROC]}"
    if not several():
        return f"rlzoo {words}"
    here, world = os.environ.get("LOCAL_WORLD_SIZE"), os.environ["WORLD_SIZE"]
    if here == world:
        return f"torchrun --standalone --nproc-per-node {world} -m rlzoo {words}"
    return f"on all {world} ranks, as before: torchrun ... -m rlzoo {words}"


def here(device: str) -> RankPlace:
    return RankPlace(host=socket.gethostname(), device=device, pid=os.getpid())


def in_words(places: Sequence[RankPlace]) -> str:
    """How many ranks, and where: `2, on cuda:0 and cuda:1 of node1`."""
    if len(places) == 1:
        return f"1, on {places[0].device}"
    parts = []
    for host, group in groupby(places, key=lambda place: place.host):
        parts.append((host, [place.device for place in group]))
    if len(parts) == 1:
        return f"{len(places)}, on {_devices(parts[0][1])} of {parts[0][0]}"
    return f"{len(places)} on {len(parts)} machines: " + ", ".join(
        f"{len(devices)} on {_devices(devices)} of {host}" for host, devices in parts
    )


def _devices(names: Sequence[str]) -> str:
    names = list(dict.fromkeys(names))
    if len(names) > 3:
        return f"{names[0]} to {names[-1]}"
    return " and ".join(names) if len(names) < 3 else f"{names[0]}, {names[1]} and {names[2]}"
