"""`rlzoo train --nproc N`: ranks of one machine, started by torch's launcher and ended as one process is."""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rlzoo import placement
from rlzoo.cli import plain
from rlzoo.errors import UsageError
from rlzoo.placement import RankPlace
from rlzoo.signals import handled

if TYPE_CHECKING:
    from rlzoo.training_config import ModelConfig

ENDING_S = 8
"""Seconds that ranks have to end by themselves after one has failed; they take fewer."""
AT_ONCE = 3
"""Presses of Ctrl-C after which ranks are killed: the first ends them after their step, the second where they are."""


def check(nproc: int | None) -> None:
    """Refuse a number that is none, ranks that start ranks, and a launcher that has started fewer than it was asked for."""
    if nproc is None:
        from rlzoo.cli import accelerated

        accelerated.check_lone()
        return
    if nproc < 1:
        raise UsageError(f"--nproc is {nproc}, but a run needs a process. Give 1 or more, or leave it out.")
    if "WORLD_SIZE" in os.environ:
        raise UsageError(
            f"--nproc {nproc} starts ranks, but a launcher has started this process as rank {os.environ.get('RANK', '0')} of {os.environ['WORLD_SIZE']} "
            "(RANK and WORLD_SIZE are set), so there would be ranks of ranks. Use one of the two: leave --nproc out, or start rlzoo without the launcher."
        )


def check_room(nproc: int, model: ModelConfig) -> None:
    """Refuse more ranks than this machine has places for."""
    devices = _cuda_devices(model)
    if devices is not None and nproc > devices:
        raise UsageError(
            f"--nproc is {nproc}, but torch sees {devices} CUDA device{'' if devices == 1 else 's'} here, and each rank needs its own. "
            f"Give --nproc {devices} or fewer, or compute on cores with --set model.device=cpu."
        )
    from rlzoo.configure import default_threads

    cores = default_threads()
    if devices is None and nproc > cores:
        raise UsageError(
            f"--nproc is {nproc}, but this process may use {cores} core{'' if cores == 1 else 's'}, so ranks would wait for each other's turn. "
            f"Give --nproc {cores} or fewer."
        )


def places(nproc: int | None, model: ModelConfig) -> tuple[RankPlace, ...]:
    """Where the ranks of this machine will be, by number and settings alone; none where this process is alone."""
    world = nproc or placement.placement().world
    if world == 1:
        return ()
    cuda = _cuda_devices(model) is not None
    names = [f"cuda:{rank}" if cuda else "cpu" for rank in range(world)]
    if nproc is None and placement.placement().local_world != world:
        names = ["cuda" if cuda else "cpu"] * world
    return tuple(RankPlace(host=socket.gethostname(), device=name) for name in names)


def _cuda_devices(model: ModelConfig) -> int | None:
    """How many there are; None where the run is on cores."""
    import torch

    on_cores = model.device == "cpu" or (model.device == "auto" and not torch.cuda.is_available())
    return None if on_cores else torch.cuda.device_count()


def arguments(**given: Any) -> list[str]:
    """The options of `rlzoo train` that were given, in words again; of a list, each entry."""
    words = ["train"]
    for name, value in given.items():
        if isinstance(value, bool):
            words += [f"--{name}"] * value
        elif value is not None:
            words += [f"--{name}={entry}" for entry in (value if isinstance(value, list) else [value])]
    return words


def start(nproc: int, words: list[str], out: Path) -> int:
    """Start the ranks and wait for them; the exit code that one process would have had."""
    from torch.distributed import run as launcher
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    os.environ[placement.NPROC] = str(nproc)
    quiet = "ignore:resource_tracker:UserWarning"  # what is left of a rank that was killed has its tidying told
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), quiet]))
    from rlzoo.configure import default_threads

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, default_threads() // nproc)))
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL + 1)  # what it would say is said below
    with tempfile.TemporaryDirectory(prefix="rlzoo-ranks-") as logs, _passing_on():
        options = {"nproc-per-node": nproc, "local-addr": "127.0.0.1", "log-dir": logs, "shutdown-timeout": ENDING_S}
        told = [f"--{name}={value}" for name, value in options.items()]
        asked = ["--standalone", *told, "--signals-to-handle=SIGQUIT", "-m", "rlzoo", *words]
        try:
            launcher.run(launcher.parse_args(asked))
        except ChildFailedError as error:
            return _ended({rank: failure.exitcode for rank, failure in error.failures.items()}, nproc, out)
    return 0


def _ended(codes: Mapping[int, int], nproc: int, out: Path) -> int:
    """The run's exit code from those of its ranks that ended first; its folder says who was killed, which a rank cannot know of another.

    Ranks that are ended because another failed may say that they were interrupted: the failure counts.
    """
    from rlzoo.runs.folder import RunDir

    killed = {rank: -code for rank, code in codes.items() if code < 0 and -code != signal.SIGTERM}
    told = set() if killed else set(codes.values())
    if UsageError.exit_code in told:
        return UsageError.exit_code
    run = RunDir(out)
    state = run.status().state if run.exists() else ""
    if plain.INTERRUPTED in told and 1 not in told and (state != "failed" or len(codes) == nproc):
        return plain.INTERRUPTED
    if killed and state in ("running", "failed"):
        rank, number = next(iter(killed.items()))
        why = " (by hand, or by the kernel where memory ran out)" if number == signal.SIGKILL else ""
        reason = f"rank {rank} of {nproc} was killed by {signal.Signals(number).name}{why}; the others ended with it"
        run.write_status("failed", reason=reason, resume=placement.resuming(out))
        if state == "running":  # nobody was left to say it
            plain.say(f"{reason}\nTo go on from its newest checkpoint: {placement.resuming(out)}", label="error")
    return 1


@contextmanager
def _passing_on() -> Iterator[None]:
    """Each signal reaches each rank once. Ranks have sessions of their own, so that a terminal's Ctrl-C does not."""
    presses = 0

    def pass_on(number: int, frame: FrameType | None) -> None:
        nonlocal presses
        found = _ranks()
        presses += number == signal.SIGINT
        if not found and number != signal.SIGUSR1:
            raise KeyboardInterrupt
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if presses >= AT_ONCE else number)

    with handled(dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGUSR1), pass_on)):
        yield


def _ranks() -> list[int]:
    """Our children that are ranks by now."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):
            parent = int((folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"\0RANK=" in b"\0" + (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found
