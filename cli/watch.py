"""Watching a run: a live view in a terminal, fixed-column lines elsewhere, JSON lines for machines."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rlzoo import placement, trouble
from rlzoo.cli import console, plain
from rlzoo.engine.reporting import Silent
from rlzoo.evals import tables
from rlzoo.runs.comparison import AXES
from rlzoo.runs.evaluation import Evaluation

if TYPE_CHECKING:
    from rlzoo.config import RunConfig
    from rlzoo.engine.plan import Plan
    from rlzoo.engine.reporting import Reporter

WORTH_A_LINE = ("load", "evaluate", "save")
"""Stages that may take long enough for a reader to wonder."""
RECENT = 10
"""Steps over which seconds a step are averaged."""


class RunProgress:
    """How far a run is, from what it reports."""

    def __init__(self, limits: Mapping[str, float], rollouts_per_step: int) -> None:
        self.limits = limits
        self.rollouts_per_step = rollouts_per_step
        self.step = 0
        self.history: list[Mapping[str, float]] = []
        self.trouble = trouble.Watch()
        self._fractions: list[float] = []

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        self.step = step
        self.history.append(metrics)
        self.trouble.add(metrics)
        self._fractions.append(self._spent(step, metrics))

    def _spent(self, step: int, metrics: Mapping[str, float]) -> float:
        spent = [
            (step if axis == "steps" else metrics.get(AXES[axis].metric, 0.0)) / limit
            for axis, limit in self.limits.items()
        ]
        return min(1.0, max(spent, default=0.0))

    @property
    def fraction(self) -> float:
        """Of the budget's nearest limit, in [0, 1]."""
        return self._fractions[-1] if self._fractions else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Of training, by the pace of the recent steps; evaluations come on top. None until it can be told."""
        if len(self.history) == 1 and self.limits.keys() == {"steps"}:
            return self.history[0].get("time/step", 0.0) * (self.limits["steps"] - self.step)
        window = min(RECENT, len(self.history) - 1)
        if window < 1:
            return None
        gained = self.fraction - self._fractions[-1 - window]
        seconds = sum(metrics.get("time/step", 0.0) for metrics in self.history[-window:])
        return seconds / gained * (1 - self.fraction) if gained > 0 else None

    @property
    def position(self) -> str:
        """`40/200`, or `40` where steps do not end the run."""
        return f"{self.step:>{self._width}}/{self.limits['steps']:.0f}" if "steps" in self.limits else f"{self.step:>4}"

    @property
    def _width(self) -> int:
        return len(f"{self.limits['steps']:.0f}")

    def kept(self, metrics: Mapping[str, float]) -> str:
        """Rollouts that were trained on, of all."""
        total = self.rollouts_per_step
        return f"{round(metrics.get('rows/trained', 0.0) * total):>{len(str(total))}}/{total}"

    def tokens(self, metrics: Mapping[str, float]) -> str:
        """Response tokens of the step."""
        return console.human(metrics.get("length/mean", 0.0) * self.rollouts_per_step)


def losses(metrics: Mapping[str, float]) -> list[tuple[str, float]]:
    return [(name, value) for name, value in metrics.items() if name.startswith(("loss/", "coupled/"))]


def step_line(progress: RunProgress, metrics: Mapping[str, float]) -> str:
    """What a step did, in fixed columns, so that steps can be read down the page."""
    columns = [
        f"step {progress.position}",
        f"reward {metrics.get('reward/mean', float('nan')):.2f}",
        f"kept {progress.kept(metrics)}",
        f"tokens {progress.tokens(metrics):>4}",
        *(f"{name} {value:+.4f}" for name, value in losses(metrics)),
        f"{metrics.get('time/step', float('nan')):.1f} s",
    ]
    return "  ".join(columns)


class RunLines:
    """One line a step, and one for whatever takes long."""

    def __init__(self, config: RunConfig, out: Path) -> None:
        self.config, self.out = config, out
        self.progress = RunProgress({}, 0)
        self.standing: dict[str, str] = {}
        """What stands in the way of learning, by kind."""

    def plan(self, plan: Plan) -> None:
        self.progress = RunProgress(plan.limits, plan.rollouts_per_step)
        console.emit(console.plan_table(plan, self.config, self.out), console.stderr())

    def stage(self, name: str) -> None:
        if name in WORTH_A_LINE:
            self.line(f"{name} ...")

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        self.progress.add(step, metrics)
        self.line(step_line(self.progress, metrics))
        self._tell_trouble()

    def _tell_trouble(self) -> None:
        """A line when something comes to stand in the way of learning, and one when it is over."""
        standing = self.progress.trouble.standing()
        for kind, told in standing.items():
            if kind not in self.standing:
                self.warn(told)
        for kind, told in self.standing.items():
            if kind not in standing:
                self.note(f"over: {told.partition(': ')[2]}")
        self.standing = standing

    def evaluated(self, evaluation: Evaluation) -> None:
        self.line(console.evaluated_line(evaluation))

    def note(self, text: str) -> None:
        plain.say(text, label="note")

    def warn(self, text: str) -> None:
        plain.say(text, label="warning")

    def line(self, text: str) -> None:
        """Plain text: a log is no place for styles."""
        sys.stderr.write(plain.visible(text) + "\n")
        sys.stderr.flush()


class RunEvents(RunLines):
    """Events as JSON lines on standard output; words for people on standard error."""

    def plan(self, plan: Plan) -> None:
        self.progress = RunProgress(plan.limits, plan.rollouts_per_step)
        console.print_json({"event": "plan", "out": str(self.out), **plan_as_data(plan)})

    def stage(self, name: str) -> None: ...

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        self.progress.add(step, metrics)
        console.print_json({"event": "step", "step": step, **metrics})
        self._tell_trouble()

    def evaluated(self, evaluation: Evaluation) -> None:
        console.print_json({"event": "evaluated", **tables.scores_as_data(evaluation)})


def plan_as_data(plan: Plan) -> dict[str, Any]:
    return asdict(plan)


# ---------------------------------------------------------------------------------------------------------
# In a terminal


class View:
    """The live view: redrawn in place several times a second; notes, warnings and evaluations scroll away above it."""

    def __init__(self, config: RunConfig, out: Path, screen: Console) -> None:
        self.config, self.out, self.screen = config, out, screen
        self.progress = RunProgress({}, 0)
        self.domains: Sequence[str] = ()
        self.current = "start"
        self.started = time.monotonic()
        self.since = self.started

    def plan(self, plan: Plan) -> None:
        self.progress = RunProgress(plan.limits, plan.rollouts_per_step)
        self.domains = plan.domains
        self.screen.print(console.plan_table(plan, self.config, self.out))
        self.screen.print()

    def stage(self, name: str) -> None:
        self.current, self.since = name, time.monotonic()

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        self.progress.add(step, metrics)

    def evaluated(self, evaluation: Evaluation) -> None:
        self.screen.print(console.safe(console.evaluated_line(evaluation)))

    def note(self, text: str) -> None:
        self.screen.print(console.safe(f"note: {text}", "dim"))

    def warn(self, text: str) -> None:
        self.screen.print(console.safe(f"warning: {text}", "yellow"))

    def __rich__(self) -> RenderableType:
        parts: list[RenderableType] = [self._clock()]
        if self.progress.history:
            parts += [self._domains(), self._learning(self.progress.history[-1])]
            parts += [console.safe(f"warning: {told}", "yellow") for told in self.progress.trouble.standing().values()]
        return Group(*parts)

    def _clock(self) -> RenderableType:
        now, left = time.monotonic(), self.progress.seconds_left
        grid = Table.grid(padding=(0, console.GAP, 0, 0))
        for _ in range(4):
            grid.add_column(no_wrap=True)
        stage = f"{self.current} {now - self.since:.0f} s" if self.current in WORTH_A_LINE else self.current
        remaining = f"{console.duration(left)} left" if left is not None else ""
        grid.add_row(
            Text(f"step {self.progress.position}", style="bold"),
            ProgressBar(total=1.0, completed=self.progress.fraction, width=20),
            Text(f"{console.duration(now - self.started)} gone  {remaining}"),
            console.safe(stage, "dim"),
        )
        return grid

    def _domains(self) -> RenderableType:
        table = console.table()
        columns: tuple[tuple[str, JustifyMethod], ...] = (
            ("", "left"),
            ("reward", "right"),
            ("correct", "right"),
            ("reward so far", "left"),
        )
        for name, justify in columns:
            table.add_column(name, justify=justify, no_wrap=True)
        last = self.progress.history[-1]
        width = max(12, min(48, self.screen.width - 44))
        for label in ("mean", *self.domains):
            values = [metrics.get(f"reward/{label}") for metrics in self.progress.history]
            table.add_row(
                console.safe("all" if label == "mean" else label),
                _fraction(last.get(f"reward/{label}")),
                _fraction(last.get(f"correct/{label}")),
                Text(
                    console.sparkline([value for value in values if value is not None and isfinite(value)], width),
                    style="cyan",
                ),
            )
        return table

    def _learning(self, metrics: Mapping[str, float]) -> RenderableType:
        words = [f"{name} {value:+.4f}" for name, value in losses(metrics)]
        if "grad/norm" in metrics:
            words.append(f"grad/norm {metrics['grad/norm']:.3g}")
        words.append(f"kept {self.progress.kept(metrics).strip()}")
        words.append(f"tokens {self.progress.tokens(metrics)}")
        if "time/tokens_per_second" in metrics:
            words.append(f"{console.human(metrics['time/tokens_per_second'])} tokens/s")
        if "time/step" in metrics:
            words.append(f"{metrics['time/step']:.1f} s a step")
        return Text("  ".join(words), style="dim")


def _fraction(value: float | None) -> Text:
    return Text("–" if value is None else f"{value:.2f}")


@contextmanager
def watching(config: RunConfig, out: Path, *, json: bool) -> Iterator[Reporter]:
    """The reporter that suits where the output goes: JSON if asked, a live view in a terminal, else lines."""
    screen = console.stderr()
    if not placement.first():
        yield Silent()
    elif json:
        yield RunEvents(config, out)
    elif not screen.is_terminal or screen.is_dumb_terminal:
        yield RunLines(config, out)
    else:
        view = View(config, out, screen)
        with Live(view, console=screen, refresh_per_second=4, redirect_stdout=False):
            yield view
            view.stage("")
