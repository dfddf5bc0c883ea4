"""A Ray cluster as a place for runs: what its nodes carry, and whether they see what they need. Ray is imported when one is asked for."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlzoo.config import EMBEDDED, RunConfig
from rlzoo.errors import UsageError
from rlzoo.experiment.carrier import Need, RayExecutor
from rlzoo.experiment.machine import MEMORY_PER_RUN, RunsShare

INSTALL = "pip install 'rlzoo[ray]'"
PROBE_S = 60.0
"""Seconds within which a node must answer what it sees."""
SEEN = ".seen-by-nodes"
ALIKE = ("rlzoo", "torch", "transformers")
"""Packages whose versions decide results: nodes must agree with the comparison on them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One machine of the cluster, by what Ray says it has."""

    id: str
    name: str
    """Its address, with the host's name where that says more."""
    cpus: float
    gpus: float
    memory: float
    """Bytes for runs."""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Node:
        has = told["Resources"]
        address, host = str(told["NodeManagerAddress"]), str(told.get("NodeManagerHostname") or "")
        return cls(
            id=str(told["NodeID"]),
            name=f"{host} ({address})" if host not in ("", address) else address,
            cpus=has.get("CPU", 0.0),
            gpus=has.get("GPU", 0.0),
            memory=has.get("memory", 0.0),
        )

    def carries(self, need: Need) -> int:
        """Runs of this need side by side."""
        parts = [(self.cpus, need.cpus), (self.gpus, need.gpus), (self.memory, need.memory)]
        return min(int(has // wants) for has, wants in parts if wants)

    def __str__(self) -> str:
        return f"{self.name}: {self.cpus:g} cores, {self.gpus:g} GPUs, {self.memory / 2**30:.1f} GiB"


@dataclass(frozen=True, slots=True, kw_only=True)
class RayCluster:
    """The nodes of a cluster that we are connected to."""

    nodes: Sequence[Node]
    gpus_per_run: int | None = None

    def share(self, config: RunConfig, runs: int, *, jobs: int | None, threads: int | None) -> RunsShare:
        need = self.need(config, config.threads or threads)
        carried = sum(node.carries(need) for node in self.nodes)
        if not carried:
            raise UsageError(
                f"a run needs {need}, but no node of the Ray cluster has that, so none would ever start. The nodes are:\n"
                + "\n".join(f"  {node}" for node in self.nodes)
                + "\nAdd a node (`ray start --address=HEAD:6379`), or ask for less: --gpus-per-run, --set threads=1"
            )
        return RunsShare(slots=min(jobs or carried, carried, runs), threads=need.cpus)

    def need(self, config: RunConfig, threads: int | None) -> Need:
        """What one run takes; without `threads`, as many cores as fit it on every node that could have it."""
        gpus = 0
        if config.model.device != "cpu":
            gpus = self.gpus_per_run or int(any(node.gpus >= 1 for node in self.nodes))
        small = config.model.path in EMBEDDED
        if threads is None:
            able = [node for node in self.nodes if node.cpus >= 1 and node.gpus >= gpus]
            each = [node.cpus // (node.gpus // gpus) if gpus else node.cpus for node in able]
            threads = 1 if small and not gpus else max(1, int(min(each, default=1)))
        return Need(cpus=threads, gpus=gpus, memory=MEMORY_PER_RUN if small else 0)

    def executor(self, config: RunConfig, slots: int, folder: Path, lock: int) -> RayExecutor:
        need = self.need(config, config.threads)
        check([node for node in self.nodes if node.carries(need)], folder)
        return RayExecutor(slots, need)


@contextmanager
def connected(on: str, gpus_per_run: int | None) -> Iterator[RayCluster]:
    """Join the cluster that `on` names: `ray`, one that runs here, or `ray://host:port`. UsageError where there is none."""
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            f"--on is {on!r}, but Ray is not installed, so there is no cluster to reach. Install it: {INSTALL}"
        ) from error
    _hush()
    try:
        ray.init(
            address="auto" if on == "ray" else on,
            namespace="rlzoo",
            log_to_driver=False,
            configure_logging=False,
            logging_level="ERROR",
        )
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        where = "on this machine" if on == "ray" else f"at {on}"
        said = " ".join(str(error).split())[:160]
        raise UsageError(
            f"--on is {on!r}, but no Ray cluster could be joined {where} ({said}). Start one with `ray start --head` here and `ray start --address=HEAD:6379` "
            "on each further machine, or name one that runs: --on ray://HEAD:10001"
        ) from error
    try:
        yield RayCluster(nodes=[Node.of(told) for told in ray.nodes() if told["Alive"]], gpus_per_run=gpus_per_run)
    finally:
        ray.shutdown()


def _hush() -> None:
    """Ray tells what befalls nodes on standard output, where results go. What it means for a run, the run's log says."""
    from ray._private import worker

    worker.print_to_stdstream = lambda data, ignore_prefix: None


def check(nodes: Sequence[Node], folder: Path) -> None:
    """Refuse nodes that could not carry a run to the same result: each is named with what it lacks."""
    token = secrets.token_hex(8)
    file = folder.resolve() / SEEN
    file.write_text(token, encoding="ascii")
    try:
        wrong = {node: why for node, why in zip(nodes, _answers(nodes, file, token), strict=True) if why}
    finally:
        with suppress(OSError):
            file.unlink()
    if wrong:
        raise UsageError(
            "not every node of the Ray cluster can carry these runs:\n"
            + "\n".join(f"  {node.name} {why}" for node, why in wrong.items())
            + "\nRuns need one --out folder that all nodes see under the same path, on shared storage, and one environment. "
            "Give such an --out, or take the node out of the cluster with `ray stop` there."
        )


def _answers(nodes: Sequence[Node], file: Path, token: str) -> list[str]:
    """What each node lacks, in words; empty where it lacks nothing."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    looked = ray.remote(_look())
    asked = [
        looked.options(
            num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)
        ).remote(str(file), ALIKE)
        for node in nodes
    ]
    ray.wait(asked, num_returns=len(asked), timeout=PROBE_S)
    here = _look()(str(file), ALIKE)[1]
    answers = []
    for reference in asked:
        try:
            seen, versions = ray.get(reference, timeout=0)
        except ray.exceptions.GetTimeoutError:
            answers.append(f"did not answer within {PROBE_S:.0f} s")
            continue
        except ray.exceptions.RayError as error:
            answers.append(f"could not be asked: {' '.join(str(error).split())[:200]}")
            continue
        other = [
            f"{name} {versions[name] or 'absent'} (here {here[name]})" for name in ALIKE if versions[name] != here[name]
        ]
        lacks = [f"does not see {file.parent}"] if seen != token else []
        answers.append(" and ".join([*lacks, *([f"has {', '.join(other)}"] if other else [])]))
    return answers


def _look() -> Any:
    """What a node is asked. A function inside a function travels whole: the node may lack rlzoo itself."""

    def look(file: str, packages: Sequence[str]) -> tuple[str, dict[str, str]]:
        from importlib import metadata

        versions = dict.fromkeys(packages, "")
        for name in packages:
            try:
                versions[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
        try:
            os.listdir(os.path.dirname(file))  # what a network file system remembers of the folder is asked for anew
            with open(file, encoding="ascii") as opened:
                return opened.read(), versions
        except (OSError, UnicodeDecodeError):
            return "", versions

    return look
