"""Places where runs are carried out, and how many side by side; this machine is one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rlzoo import configure
from rlzoo.config import EMBEDDED, RunConfig
from rlzoo.errors import UsageError
from rlzoo.experiment.executor import Executor, LocalExecutor

MEMORY_PER_RUN = 3 * 2**29
"""Bytes; a run of an embedded model peaks at about two thirds of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsShare:
    """How a place is divided among runs."""

    slots: int
    """Runs side by side."""
    threads: int
    """Of each run."""


class RunsPlace(Protocol):
    """Where runs can be carried out."""

    def share(self, config: RunConfig, runs: int, *, jobs: int | None, threads: int | None) -> RunsShare:
        """What `runs` like this one get; `jobs` and `threads` are what was asked for, or used before."""
        ...

    def executor(self, config: RunConfig, slots: int, folder: Path, lock: int) -> Executor:
        """What starts runs like this one in the comparison's `folder`; `lock` is the open file that holds it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ThisMachine:
    """Runs as processes beside this one; on GPUs, so many for each."""

    gpus_per_run: int | None = None

    def share(self, config: RunConfig, runs: int, *, jobs: int | None, threads: int | None) -> RunsShare:
        groups = self._groups(config)
        slots = jobs or min(runs, len(groups) or _without_gpus(config))
        return RunsShare(slots=slots, threads=config.threads or threads or max(1, configure.default_threads() // slots))

    def executor(self, config: RunConfig, slots: int, folder: Path, lock: int) -> LocalExecutor:
        return LocalExecutor(slots, lock, self._groups(config))

    def _groups(self, config: RunConfig) -> list[str]:
        """GPUs of each run, as CUDA_VISIBLE_DEVICES names them."""
        found, each = devices(config), self.gpus_per_run or 1
        if self.gpus_per_run is not None and each > len(found):
            raise UsageError(
                f"--gpus-per-run is {each}, but this machine offers a run {len(found) or 'no'} GPU{'s' * (len(found) != 1)}, so none "
                "could start. Ask for fewer, or for none by leaving it out."
            )
        return [",".join(found[at : at + each]) for at in range(0, len(found) - each + 1, each)]


def _without_gpus(config: RunConfig) -> int:
    """Runs side by side on the CPU: of an embedded model, as many as cores and memory carry; else one."""
    if config.threads is not None:
        return max(1, min(configure.default_threads() // config.threads, _carried()))
    if config.model.path not in EMBEDDED:
        return 1  # nobody knows its size yet
    return max(1, min(configure.default_threads(), _carried()))


def devices(config: RunConfig) -> list[str]:
    """GPUs that runs may be spread over, as CUDA_VISIBLE_DEVICES names them."""
    if config.model.device == "cpu":
        return []
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]


def _carried() -> int:
    """Runs of an embedded model that fit into free memory; many where it cannot be told."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        free = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    except (OSError, ValueError):
        free = []
    return max(1, free[0] // MEMORY_PER_RUN) if free else 1024
