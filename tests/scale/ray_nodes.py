"""Nodes of a Ray cluster on this machine, for tests."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE_S = 150.0
"""Seconds for a node to start in. Ray itself allows 15, which a busy machine does not keep."""
PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


@contextmanager
def cluster(*cpus: int) -> Iterator[tuple[Any, list[Any]]]:
    """A cluster with a node for each number of cores, the first its head; gone afterwards, whatever happened."""
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster()
    with _patient():
        try:
            nodes = [made.add_node(num_cpus=count, **_settings(head=not number)) for number, count in enumerate(cpus)]
            yield made, nodes
        finally:
            ray.shutdown()
            made.shutdown()


def _settings(*, head: bool) -> dict[str, Any]:
    sockets = [socket.socket() for _ in PORTS]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = {name: each.getsockname()[1] for name, each in zip(PORTS, sockets, strict=True)}
    for each in sockets:
        each.close()
    own = {"include_dashboard": False, "no_monitor": True} if head else {}
    return {
        **ports,
        **own,
        "include_log_monitor": False,
        "object_store_memory": 80 * 2**20,
        "memory": 8 * 2**30,
    }


@contextmanager
def _patient() -> Iterator[None]:
    """Nodes may take long to start: Ray is not told that its own patience is over."""
    import ray._private.services as services

    ask, start = services.get_node, services.start_raylet

    def patient(*args: Any, **named: Any) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return ask(*args, **named)
            except Exception:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def announced(*args: Any, **named: Any) -> Any:
        # The raylet gives up where its agent, still importing, has not said within 15 seconds on which port it listens.
        bound = _bound(start, args, named)
        said = Path(bound["session_dir"]) / f"dashboard_agent_listen_port_{bound['node_id']}"
        said.write_text(str(bound["dashboard_agent_listen_port"]), encoding="ascii")
        return start(*args, **named)

    services.get_node, services.start_raylet = patient, announced
    try:
        yield
    finally:
        services.get_node, services.start_raylet = ask, start


def _bound(function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    import inspect

    found = inspect.signature(function).bind(*args, **named)
    found.apply_defaults()
    return found.arguments
