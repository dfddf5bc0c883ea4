"""Where a step's seconds go, and how a run is asked to stop."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import torch

from rlzoo.engine.ranks import Ranks
from rlzoo.engine.reporting import Reporter
from rlzoo.signals import handled

ONE_PRESS_S = 1.0
"""Seconds in which several ranks take a signal for one: a scheduler sends it to them and to the launcher, which passes it on."""

MEASURE = "measure"
"""The stage that only measures, so that arms can be compared: no budget pays for it."""


class Clock:
    """Seconds by stage since the last `start`. A stage ends when its device has finished."""

    def __init__(self, reporter: Reporter, device: torch.device) -> None:
        self.reporter = reporter
        self.device = device
        self.seconds: dict[str, float] = {}

    def start(self) -> None:
        self.seconds = {}

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Tell the reporter and count the seconds of what happens within."""
        self.reporter.stage(stage)
        started = time.perf_counter()
        try:
            yield
        finally:
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


class Stop:
    """Ctrl-C and SIGTERM, held until the step at hand is done; SIGUSR1, which asks for a checkpoint then."""

    def __init__(self, note: Callable[[str], None], ranks: Ranks | None = None) -> None:
        self.note = note
        self.ranks = ranks or Ranks()
        self.asked = False
        self._since = 0.0
        self.save_asked = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """The first Ctrl-C or SIGTERM within asks the loop to stop after the step at hand; a second one stops at once."""

        def ask(number: int, frame: FrameType | None) -> None:
            if self.ranks.is_lost():
                raise KeyboardInterrupt(signal.Signals(number).name)
            if self.asked and self.ranks.world > 1 and time.monotonic() - self._since < ONE_PRESS_S:
                return
            if self.asked:
                raise KeyboardInterrupt(signal.Signals(number).name)
            self.asked, self._since = True, time.monotonic()
            self.note("stopping after this step; press Ctrl-C again to stop at once and lose it.")

        def save(number: int, frame: FrameType | None) -> None:
            self.save_asked = True

        with handled({signal.SIGINT: ask, signal.SIGTERM: ask, signal.SIGUSR1: save}):
            yield
