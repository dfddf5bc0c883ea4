"""Signals of schedulers: what ends a process from outside ends it as Ctrl-C does, with its work saved."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], None]


@contextmanager
def handled(handlers: Mapping[signal.Signals, Handler]) -> Iterator[None]:
    """These handlers within, and those of before afterwards. Not in the main thread nothing is changed: whoever runs us there
    handles signals."""
    before: dict[signal.Signals, object] = {}
    try:
        for number, handler in handlers.items():
            before[number] = signal.signal(number, handler)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)  # type: ignore[arg-type]


@contextmanager
def terminated_like_ctrl_c() -> Iterator[None]:
    """SIGTERM, which Slurm and Kubernetes send, raises KeyboardInterrupt within, with its name. SIGUSR1, which asks for a checkpoint, waits
    for steps."""

    def ask(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    with handled({signal.SIGTERM: ask, signal.SIGUSR1: _later}):
        yield


def _later(number: int, frame: FrameType | None) -> None:
    """Outside steps there is nothing new to save."""
