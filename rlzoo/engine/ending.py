"""How a run ends before its time: whose fault it was, on whichever rank, said once and written into its folder."""

from __future__ import annotations

import signal
import sys
import traceback
from contextlib import ExitStack, suppress
from types import FrameType

from rlzoo.config import RunConfig
from rlzoo.engine.ranks import TOGETHER_S, Ranks
from rlzoo.engine.reporting import LastStage
from rlzoo.engine.rollcall import Loss
from rlzoo.errors import RankLost, RlzooError
from rlzoo.mishaps import machine_fault
from rlzoo.placement import resuming
from rlzoo.runs.folder import RunDir, write_text
from rlzoo.signals import handled


class Ending:
    """What one rank does about an exception that ends the run."""

    def __init__(self, run: RunDir, config: RunConfig, ranks: Ranks, reporter: LastStage, signals: ExitStack) -> None:
        self.run, self.config, self.ranks, self.reporter, self.signals = run, config, ranks, reporter, signals
        self.ours = False
        """Whether the folder is this run's, so that its status may be written."""
        if ranks.roll is not None:
            ranks.roll.stuck = self._cut_off

    def claim(self) -> None:
        """The folder is this run's from now on."""
        self.ours = True

    def of(self, error: BaseException) -> BaseException:
        """What to raise in place of `error`; the other ranks are told, and so is the run's folder."""
        if self.ranks.roll is not None:  # launchers send more of them to a run that is ending already
            self.signals.enter_context(handled({signal.SIGINT: _pass_over, signal.SIGTERM: _pass_over}))
        loss = self.ranks.loss_behind(error)
        return self._own(error) if loss is None else self._others(loss)

    def _own(self, error: BaseException) -> BaseException:
        if isinstance(error, KeyboardInterrupt):  # a second one in a step, or one in an evaluation or while loading
            self._tell("interrupted", "", 130)
            if self.ranks.first:
                self._interrupted()
            return self._after_the_first(error)
        fault = machine_fault(error, self.config, self.reporter.name)
        reason, code = (
            str(fault or error) or type(error).__name__,
            error.exit_code if isinstance(error, RlzooError) else 1,
        )
        if not self.ranks.first:
            reason = self._with_traceback(fault or error, reason)
        self._tell("failed", reason, code)
        if self.ranks.first:
            self._failed(reason)
        if fault is not None:
            fault.__cause__ = error
        if self.ranks.first:
            return self._after_the_first(fault or error)
        return self._after_the_first(RankLost(reason, told_here=False, exit_code=code))

    def _others(self, loss: Loss) -> BaseException:
        roll = self.ranks.roll
        assert roll is not None
        roll.ending.set()
        told_here = self.ranks.rank == _teller(loss)
        if loss.kind == "interrupted":
            if told_here:
                self._interrupted()
            return self._after_the_first(KeyboardInterrupt())
        reason = self._in_words(loss)
        if told_here:
            self._failed(reason)
        return self._after_the_first(RankLost(reason, told_here=told_here, exit_code=loss.code))

    def _tell(self, kind: str, reason: str, code: int) -> None:
        if self.ranks.roll is not None:
            self.ranks.roll.tell(kind, reason, code)  # type: ignore[arg-type]

    def _after_the_first(self, error: BaseException) -> BaseException:
        """The first rank's last words come before this one's end: launchers end all with the first that is gone."""
        roll = self.ranks.roll
        if roll is not None:
            self.ranks.hang_up()  # an interpreter that ends over open collectives may abort, and its exit code is then another
            if not self.ranks.first:
                roll.ended.wait(TOGETHER_S)
        return error

    def _in_words(self, loss: Loss) -> str:
        assert self.ranks.roll is not None
        place = self.ranks.roll.places[loss.rank]
        who = f"rank {loss.rank} of {self.ranks.world} (process {place.pid}, {place.device} of {place.host})"
        if loss.kind == "failed":
            return f"{who} failed: {loss.cause}"
        return (
            f"{who} ended without a word: it was killed, by hand or by the kernel where memory ran out, or it crashed. "
            "No other rank can go on without it; all have ended."
        )

    def _with_traceback(self, error: BaseException, reason: str) -> str:
        """Of what nobody foresaw, kept where the first rank's would be."""
        if isinstance(error, RlzooError) or not self.ours:
            return reason
        file = self.run.path / f"traceback-rank-{self.ranks.rank}.txt"
        with suppress(OSError):
            write_text(file, "".join(traceback.format_exception(error)))
        return f"{type(error).__name__}: {reason.rstrip('.')}. This is a bug. Its traceback: {file}"

    def _interrupted(self) -> None:
        if self.ours:
            step = max((int(line["step"]) for line in self.run.metrics()), default=0)
            self.run.write_status(
                "interrupted", step=step, reason="stopped at once by Ctrl-C", resume=resuming(self.run.path)
            )

    def _failed(self, reason: str) -> None:
        if self.ours:
            with suppress(OSError):  # what failed may be the disk, and is said all the same
                self.run.write_status("failed", reason=reason, resume=resuming(self.run.path))

    def _cut_off(self, loss: Loss) -> None:
        """The same from another thread, where the main one is stuck: nothing else of this process runs any more."""
        if self.ranks.rank != _teller(loss):
            return
        if loss.kind == "interrupted":
            self._interrupted()
            return
        reason = self._in_words(loss)
        self._failed(reason)
        again = f"\nTo go on from its newest checkpoint: {resuming(self.run.path)}" if self.ours else ""
        shown = "\x1b[?25h" if sys.stderr.isatty() else ""  # the live view has hidden the cursor
        sys.stderr.write(f"{shown}error: {reason}{again}\n")
        sys.stderr.flush()


def _teller(loss: Loss) -> int:
    """The rank that says it for all: the first one, also of its own end unless that was without a word."""
    return 1 if loss.rank == 0 and loss.kind == "silent" else 0


def _pass_over(number: int, frame: FrameType | None) -> None:
    """What there is to stop is ending."""
