"""Which place `--on` names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rlzoo.errors import UnknownName
from rlzoo.experiment import cluster
from rlzoo.experiment.machine import RunsPlace, ThisMachine


@contextmanager
def opened(on: str, gpus_per_run: int | None) -> Iterator[RunsPlace]:
    """This machine (`local`), or a Ray cluster (`ray`, `ray://host:port`) to which we are connected meanwhile."""
    if on == "local":
        yield ThisMachine(gpus_per_run=gpus_per_run)
    elif on == "ray" or on.startswith("ray://"):
        with cluster.connected(on, gpus_per_run) as place:
            yield place
    else:
        raise UnknownName(
            f"--on is {on!r}, but runs are carried out here (local) or by a Ray cluster: ray for one that runs on this machine, "
            "ray://HOST:PORT for another."
        )
