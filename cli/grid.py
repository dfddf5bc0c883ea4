"""Watching a comparison: a live grid in a terminal, lines elsewhere, JSON lines for machines."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from rlzoo.cli import console, plain, watch

if TYPE_CHECKING:
    from rlzoo.experiment.runner import Event, Run

MARKS = 4
"""Lines that a run gets while it goes on, where there is no terminal."""
STATES = {"waiting": "·", "failed": "failed"}


class Board:
    """All runs, and how far each is."""

    def __init__(self, runs: Sequence[Run], slots: int) -> None:
        self.runs = runs
        self.slots = slots
        self.started = time.monotonic()
        self._progress: dict[str, watch.RunProgress] = {}
        self._starts: dict[str, float] = {}

    def progress(self, run: Run) -> watch.RunProgress:
        """What the run's metrics say; begun anew where a resumed run has taken some back."""
        sampling = run.planned.config.sampling
        found = self._progress.get(run.planned.name)
        if found is None or len(found.history) > len(run.metrics):
            rollouts = sampling.prompts_per_step * sampling.group_size
            found = self._progress[run.planned.name] = watch.RunProgress(run.planned.config.budget.limits(), rollouts)
        for metrics in run.metrics[len(found.history) :]:
            found.add(int(metrics["step"]), {name: value for name, value in metrics.items() if value is not None})
        return found

    def count(self, *states: str) -> int:
        return sum(run.state in states for run in self.runs)

    @property
    def seconds_left(self) -> float | None:
        """Of training in all runs, by the pace so far; evaluations come on top. None until a run can tell."""
        lengths: dict[str, list[float]] = {}
        for run in self.runs:
            progress = self.progress(run)
            if progress.fraction > 0:
                spent = sum(metrics.get("time/step", 0.0) for metrics in progress.history)
                lengths.setdefault(run.planned.arm, []).append(spent / progress.fraction)
        if not lengths:
            return None
        known = [length for found in lengths.values() for length in found]
        left = 0.0
        for run in self.runs:
            if run.state in ("waiting", "running") and not run.planned.config.control.frozen:
                of_arm = lengths.get(run.planned.arm, known)
                left += sum(of_arm) / len(of_arm) * (1 - self.progress(run).fraction)
        return left / max(1, min(self.slots, self.count("waiting", "running")))

    def line(self, run: Run) -> str:
        """How far a run is, in a line."""
        progress = self.progress(run)
        if not progress.history:
            return run.planned.name
        reward = progress.history[-1].get("reward/mean")
        return f"{run.planned.name}  step {progress.position.strip()}" + (
            f"  reward {reward:.2f}" if reward is not None else ""
        )


class GridLines:
    """A line where a run starts, ends or fails, and a few while it goes on."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._marked: dict[str, int] = {}

    def tell(self, event: Event, run: Run) -> None:
        name = run.planned.name
        if event == "step":
            mark = int(MARKS * self.board.progress(run).fraction)
            if mark <= self._marked.get(name, 0) or mark == MARKS:
                return
            self._marked[name] = mark
            self.say(self.board.line(run) + self._left())
        elif event == "started":
            self.say(f"{name}  started" if run.attempts == 1 else f"{name}  started again")
        elif event == "done":
            ended = self.board.count("done", "failed")
            self.say(
                f"{self.board.line(run)}  done in {console.duration(run.seconds)}  ({ended} of {len(self.board.runs)} runs)"
            )
        elif event == "stopping":
            self.say(f"{name}  stopping after this step")
        else:
            self.say(f"{name}  {'failed, is tried again' if event == 'retry' else 'failed'}: {run.reason}")

    def _left(self) -> str:
        left = self.board.seconds_left
        return f"  all runs: {console.duration(left)} left" if left is not None else ""

    def say(self, text: str) -> None:
        sys.stderr.write(plain.visible(text) + "\n")
        sys.stderr.flush()


class GridEvents:
    """Events as JSON lines on standard output."""

    def tell(self, event: Event, run: Run) -> None:
        data: dict[str, Any] = {
            "event": event,
            "run": run.planned.name,
            "arm": run.planned.arm,
            "seed": run.planned.seed,
        }
        if event == "step":
            data |= run.metrics[-1]
        elif event == "done":
            data["seconds"] = run.seconds
        elif event in ("retry", "failed"):
            data["reason"] = run.reason
        console.print_json(data)


class Grid:
    """Arms x seeds, then the runs under way with their curves; failures scroll away above."""

    def __init__(self, board: Board, screen: Console) -> None:
        self.board, self.screen = board, screen
        self.stopping = False

    def tell(self, event: Event, run: Run) -> None:
        if event in ("retry", "failed"):
            again = ", is tried again" if event == "retry" else ""
            self.screen.print(console.safe(f"{run.planned.name}: failed{again}: {run.reason}", "yellow"))
        elif event == "stopping" and not self.stopping:
            self.stopping = True
            self.screen.print(
                Text("note: runs stop after the step at hand; press Ctrl-C again to stop at once.", "dim")
            )

    def __rich__(self) -> RenderableType:
        return Group(self._clock(), self._cells(), self._running())

    def _clock(self) -> RenderableType:
        board = self.board
        left = board.seconds_left
        words = [
            f"{board.count('done')}/{len(board.runs)} runs",
            *([f"{board.count('failed')} failed"] if board.count("failed") else []),
            f"{console.duration(time.monotonic() - board.started)} gone",
            *([f"{console.duration(left)} left"] if left is not None else []),
        ]
        return Text("  ".join(words), style="bold")

    def _cells(self) -> RenderableType:
        """One row an arm, one column a seed: the reward of the newest step, the share of the budget spent, or a state."""
        seeds = list(dict.fromkeys(run.planned.seed for run in self.board.runs))
        by_place = {(run.planned.arm, run.planned.seed): run for run in self.board.runs}
        arms = list(dict.fromkeys(run.planned.arm for run in self.board.runs))
        room = max(1, (self.screen.width - max(map(len, arms)) - console.GAP) // (len("failed") + console.GAP))
        blocks: list[RenderableType] = []
        for start in range(0, len(seeds), room):
            shown = seeds[start : start + room]
            table = console.table()
            table.add_column("", no_wrap=True)
            for seed in shown:
                table.add_column(f"seed {seed}", justify="right", no_wrap=True)
            for arm in arms:
                table.add_row(console.safe(arm), *(self._cell(by_place[arm, seed]) for seed in shown))
            blocks.append(table)
        return Group(*blocks)

    def _cell(self, run: Run) -> Text:
        progress = self.board.progress(run)
        if run.state == "running":
            return Text(f"{100 * progress.fraction:.0f} %", style="cyan")
        if run.state == "done":
            reward = progress.history[-1].get("reward/mean") if progress.history else None
            return Text("done" if reward is None else f"{reward:.2f}", style="green")
        return Text(STATES[run.state], style="red" if run.state == "failed" else "dim")

    def _running(self) -> RenderableType:
        table = console.table()
        for name in ("", "", "reward so far", ""):
            table.add_column(name, no_wrap=True)
        width = max(8, min(40, self.screen.width - 62))
        for run in self.board.runs:
            if run.state == "running":
                progress = self.board.progress(run)
                rewards = [metrics.get("reward/mean") for metrics in progress.history]
                left = progress.seconds_left
                table.add_row(
                    console.safe(run.planned.name),
                    f"step {progress.position.strip()}" if progress.history else "starting",
                    Text(console.sparkline([value for value in rewards if value is not None], width), style="cyan"),
                    f"{console.duration(left)} left" if left is not None else "",
                )
        return table


@contextmanager
def watching(runs: Sequence[Run], slots: int, *, json: bool) -> Iterator[GridLines | GridEvents | Grid]:
    """What suits where the output goes: JSON if asked, a live grid in a terminal, else lines."""
    screen = console.stderr()
    board = Board(runs, slots)
    if json:
        yield GridEvents()
    elif not screen.is_terminal or screen.is_dumb_terminal:
        yield GridLines(board)
    else:
        grid = Grid(board, screen)
        with Live(grid, console=screen, refresh_per_second=4, redirect_stdout=False):
            yield grid
