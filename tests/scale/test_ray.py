"""A comparison in a Ray cluster: its results are those of this machine, also where a node is lost, and nothing outlives it.

All nodes are on one machine, so nothing here shows storage that is really shared over a network, nor GPUs.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rlzoo import configure
from rlzoo.errors import UsageError
from rlzoo.experiment import cluster
from rlzoo.experiment.cluster import Node, RayCluster
from rlzoo.experiment.machine import MEMORY_PER_RUN
from rlzoo.runs.folder import RunDir
from tests.scale.ray_nodes import running
from tests.support import SMALL, without_times
from tests.test_docs import page

pytestmark = pytest.mark.scale

PATIENCE_S = 420
"""Seconds that anything may take before it counts as hung."""
STEPS = 16
SETTINGS = (
    *SMALL,
    "data.sources=[{name: maths}]",
    "eval.at_start=false",
    "eval.problems_per_level=1",
    "checkpoint.every=3",
)


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[Any]:
    """A head with one core; tests add nodes."""
    with running(1) as made:
        yield made


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def asked(out: str, *more: str) -> list[str]:
    sets = [word for text in SETTINGS for word in ("--set", text)]
    arms = ["grpo", "cepo", "--seeds", "0,", "--budget", f"steps={STEPS}"]
    return [sys.executable, "-P", "-m", "rlzoo", "compare", *arms, *sets, "--out", out, "--json", *more]


def begun(words: list[str], made: Any = None) -> subprocess.Popen[str]:
    env = {**os.environ, **({"RAY_ADDRESS": made.address} if made is not None else {})}
    return subprocess.Popen(
        words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, events and what was said; a hang fails."""
    try:
        out, told = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    return process.returncode, [json.loads(line) for line in out.splitlines()], told


def await_(happened: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> Any:
    """What it returns once that is true; fails where it never is, or the process ends before."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := happened()):
        assert time.monotonic() < deadline, "it never happened"
        assert process is None or process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    return found


def steps(out: str, name: str) -> int:
    return len(RunDir(Path(out, "runs", name)).metrics())


def records(out: str) -> dict[str, Any]:
    found = [RunDir(run) for run in sorted(Path(out, "runs").iterdir())]
    return {run.path.name: (without_times(run.metrics()), run.evaluations()) for run in found}


def under_way(out: str, below: int = 0) -> dict[str, int]:
    """Processes of the runs in `out`, by the run's name; with `below`, those alone that this process started, however far down."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "train" in words and f"{Path(out).resolve()}/runs/" in " ".join(words) and "leash" in " ".join(words):
            number = int(folder.name)
            if not below or below in ancestors(number):
                found[Path(words[words.index("--out") + 1]).name] = number
    return found


def ancestors(number: int) -> set[int]:
    found: set[int] = set()
    while number > 1:
        try:
            number = int(Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            break
        found.add(number)
    return found


# ---------------------------------------------------------------------------------------------- without a cluster


def test_where_no_cluster_runs_it_is_said_how_to_start_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(**named: Any) -> None:
        raise ConnectionError(f"Could not find any running Ray instance at {named['address']}.")

    monkeypatch.setattr("ray.init", none)
    with pytest.raises(
        UsageError, match=r"joined on this machine \(Could not find.*\). Start one with `ray start --head`"
    ):
        cluster.connected("ray", None).__enter__()
    with pytest.raises(UsageError, match=r"no Ray cluster could be joined at ray://away:10001"):
        cluster.connected("ray://away:10001", None).__enter__()


# ------------------------------------------------------------------------------------------------- with a cluster


def test_nodes_are_asked_what_they_see(ray_cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", ray_cluster.address)
    with cluster.connected("ray", None) as place:
        (head,) = place.nodes
        assert (head.cpus, head.gpus) == (1, 0)
        cluster.check([head], tmp_path)
        assert list(tmp_path.iterdir()) == []
        (unseen,) = cluster._answers([head], tmp_path / "elsewhere" / cluster.SEEN, "token")
        assert unseen == f"does not see {tmp_path / 'elsewhere'}"
        monkeypatch.setattr(cluster, "_answers", lambda nodes, file, token: [unseen])
        with pytest.raises(UsageError, match=r"not every node .*\n  .*does not see .*\nRuns need one --out folder"):
            cluster.check([head], tmp_path)
        with pytest.raises(UsageError, match=r"a run needs 2 cores and 1.5 GiB, but no node(.|\n)*1 cores, 0 GPUs"):
            place.share(configure.load(assignments=["threads=2"]), 2, jobs=None, threads=None)


def test_a_lost_node_loses_nothing(ray_cluster: Any) -> None:
    lost = ray_cluster.add()
    with begun(asked("in-ray", "--on", "ray"), ray_cluster) as process:
        raylet = lost.all_processes["raylet"][0].process.pid
        name = await_(
            lambda: next((name for name in under_way("in-ray", raylet) if steps("in-ray", name) >= 4), ""), process
        )
        ray_cluster.remove_node(lost, allow_graceful=False)
        before = steps("in-ray", name)
        code, events, told = ended(process)
    assert before < STEPS - 1, "the run was nearly over: this showed nothing"
    assert code == 0, told
    assert events[0]["jobs"] == 2
    again = [(event["run"], event["reason"]) for event in events if event["event"] == "retry"]
    assert [run for run, _ in again] == [name]
    assert "was lost" in again[0][1]
    assert [event["run"] for event in events if event["event"] == "started"].count(name) == 2
    assert under_way("in-ray") == {}

    whole = ended(begun(asked("here")))
    assert whole[0] == 0, whole[2]
    assert list(records("here")) == ["cepo-seed0", "grpo-seed0"]
    assert all(len(metrics) == STEPS and evaluations for metrics, evaluations in records("here").values())
    assert records("in-ray") == records("here")
    origin = RunDir(Path("in-ray/runs", name)).provenance()
    assert origin is not None and len(origin.ran) == 2  # it went on and did not begin anew


@pytest.mark.long
def test_interrupted_in_the_cluster_killed_there_and_ended_here(ray_cluster: Any) -> None:
    with begun(asked("moved", "--on", "ray"), ray_cluster) as process:
        (name,) = await_(lambda: [run for run in under_way("moved") if steps("moved", run) >= 2], process)
        process.send_signal(signal.SIGINT)
        code, _, told = ended(process)
    assert code == 130, told
    assert "To go on: rlzoo compare grpo cepo" in told and "--on ray" in told
    assert under_way("moved") == {}
    run = RunDir(Path("moved/runs", name))
    saved = steps("moved", name)
    assert run.checkpoint_steps()[-1] == saved < STEPS  # saved after the step at hand

    with begun(asked("moved", "--on", "ray"), ray_cluster) as process:
        await_(lambda: steps("moved", name) > saved + 1, process)
        process.kill()
    await_(lambda: not under_way("moved"))  # its runs notice, and end

    code, _, told = ended(begun(asked("moved")))
    assert code == 0, told
    assert ended(begun(asked("never-moved")))[0] == 0
    assert records("moved") == records("never-moved")


@pytest.mark.long
def test_the_pages_commands_run_in_a_cluster(ray_cluster: Any) -> None:
    found = [block for block in page("docs/scale-ray.md") if block.directive == "scale"]
    assert found
    for block in found:
        for words in block.commands:
            assert words[0] == "rlzoo"
            process = begun([sys.executable, "-P", "-m", *words, *shlex.split(block.value), "--json"], ray_cluster)
            code, events, told = ended(process)
            assert code == 0, told
            assert events[-1]["event"] == "result"


# --------------------------------------------------------------------------------------------------- what is carried


def node(cpus: float, gpus: float = 0, gib: float = 64) -> Node:
    return Node(id="0", name="node", cpus=cpus, gpus=gpus, memory=gib * 2**30)


def test_what_a_cluster_carries_by_hand() -> None:
    tiny, own = configure.load(), configure.load(assignments=["model.path=elsewhere"])

    def shared(place: RayCluster, config: Any = own, *, jobs: int | None = None, threads: int | None = None) -> Any:
        share = place.share(config, 12, jobs=jobs, threads=threads)
        return share.slots, share.threads

    head, small, big = node(0), node(4), node(8)
    on_cpus = RayCluster(nodes=[head, small, big])
    assert shared(on_cpus) == (3, 4)  # of unknown size: the smaller node's cores each, so 1 + 2
    assert shared(on_cpus, tiny) == (12, 1)
    assert shared(on_cpus, tiny, jobs=5) == (5, 1)
    assert shared(on_cpus, tiny, threads=3) == (3, 3)  # 1 + 2
    assert shared(RayCluster(nodes=[node(8, gib=4)]), tiny) == (4 * 2**30 // MEMORY_PER_RUN, 1)  # memory for 2
    eight = RayCluster(nodes=[head, node(64, 8), node(16, 1)])
    assert shared(eight) == (9, 8)  # 64 cores by 8 GPUs, 16 by 1: 8 are there for each
    assert shared(RayCluster(nodes=[head, node(64, 8)], gpus_per_run=3)) == (2, 32)
    assert shared(eight, configure.load(assignments=["model.path=elsewhere", "model.device=cpu"]))[0] == 5  # 16 cores
    with pytest.raises(UsageError, match=r"a run needs 9 GPUs and .* cores?, but no node"):
        shared(RayCluster(nodes=[node(64, 8)], gpus_per_run=9))
