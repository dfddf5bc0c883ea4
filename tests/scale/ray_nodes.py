"""Nodes of a Ray cluster on this machine, for tests."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PATIENCE_S = 150.0
"""Seconds for a node to start in. Ray itself allows 15, which a busy machine does not keep."""
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_register_timeout_seconds": str(int(PATIENCE_S)),
    "RAY_prestart_worker_first_driver": "false",
    "RAY_worker_niceness": "0",
}
PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


@contextmanager
def running(cpus: int) -> Iterator[Any]:
    """A cluster whose head has so many cores; `add()` gives it a node with one. Gone afterwards, whatever happened."""
    import ray
    from ray.cluster_utils import Cluster

    class Nodes(Cluster):  # type: ignore[misc]
        def add(self) -> Any:
            return self.add_node(num_cpus=1, **_settings(head=False))

    with pytest.MonkeyPatch.context() as patch, _patient():
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        made = Nodes()
        try:
            made.add_node(num_cpus=cpus, **_settings(head=True))
            yield made
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
    from ray._private import services

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
