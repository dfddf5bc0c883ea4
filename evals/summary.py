"""A run at a glance: how far it is, what it learned, and what stands out. No torch."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rlzoo.evals import tables
from rlzoo.evals.evaluations import MACRO
from rlzoo.evals.records import Record
from rlzoo.evals.tables import Change
from rlzoo.evals.validity import collapse
from rlzoo.runs.comparison import AXES
from rlzoo.runs.folder import RunDir
from rlzoo.runs.lock import is_held, place
from rlzoo.text import without_particulars

LOOKED_AT = 50
"""Newest steps with rollouts that are looked through for what stands out."""
TRUNCATED, TIMEOUTS, MIXED = 0.05, 0.01, 0.2
"""Shares of responses, and of groups, past which they stand out."""
LONGEST_REASON = 60
"""Characters told of it."""
UNSOLVED = 3
"""Steps without a correct response after which a level stands out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """How far a run is and what it learned."""

    objective: str
    model: str
    seed: int
    state: str
    """As status.json has it: running, done, failed or interrupted."""
    abandoned: bool
    """It is running by its own word, and no process of this machine trains it."""
    reason: str
    step: int
    spent: Mapping[str, tuple[float, float]]
    """By axis of the budget, what is spent and the limit."""
    rewards: Sequence[float]
    """Mean reward of each step."""
    domains: Mapping[str, tuple[float, float]]
    """Mean reward over the first and the last steps, by domain."""
    early: float | None
    late: float | None
    mixed: float | None
    """Share of groups of unequal rewards over the last steps."""
    tested: tuple[int, float] | None
    """The newest evaluation on test problems: its step and macro pass@1."""
    curve: Sequence[tuple[int, float]] = ()
    """Macro pass@1 by step on the few test problems that a curve is drawn from."""
    changes: Sequence[Change] = ()
    """From the first evaluation to the newest, by domain and over domains; empty unless there are two of the same problems."""
    first_tested: int = 0
    host: str = ""
    """Where it was last written, if that is not here."""

    def as_data(self) -> dict[str, Any]:
        """Fractions and not percent."""
        return asdict(self)


@dataclass(slots=True)
class _Level:
    """A level's recorded steps from the newest back to the first that solved it, which is not counted."""

    responses: int = 0
    steps: int = 0
    solved: bool = False

    def add(self, responses: int, *, solved: bool) -> None:
        """An older step."""
        self.solved = self.solved or solved
        if not self.solved:
            self.steps += 1
            self.responses += responses


def of(record: Record) -> RunSummary:
    """Of a run in whatever state."""
    status = record.run.status()
    limits = {axis: record.settings.get(f"budget.{axis}") for axis in AXES}
    domains = sorted(
        {name.removeprefix("correct/") for line in record.metrics for name in line if name.startswith("correct/")}
        - {"mean"}
    )
    start, newest = record.start, record.evaluations[-1] if record.evaluations else None
    paired = start is not None and newest is not None and start is not newest and start.suite == newest.suite
    return RunSummary(
        objective=str(record.settings.get("objective.name", "?")),
        model=str(record.settings.get("model.path", "?")),
        seed=record.seed,
        state=status.state,
        abandoned=status.state == "running" and status.place == place() and is_held(record.run.path) is False,
        host="" if status.place == place() else status.place.partition(" ")[0],
        reason=status.reason,
        step=max(record.steps, status.step or 0),
        spent={
            axis: (float(record.steps) if axis == "steps" else record.last(AXES[axis].metric) or 0.0, float(limit))
            for axis, limit in limits.items()
            if isinstance(limit, (int, float))
        },
        rewards=[value for _, value in record.series("reward/mean") if isfinite(value)],
        domains={
            domain: (early, late)
            for domain in domains
            if (early := record.early(f"reward/{domain}")) is not None
            and (late := record.late(f"reward/{domain}")) is not None
        },
        early=record.early("reward/mean"),
        late=record.late("reward/mean"),
        mixed=record.late("groups/mixed"),
        tested=(newest.step, record.final_macro) if newest is not None else None,
        curve=[(step, scores[MACRO].value) for step, scores in record.curve.items()],
        changes=tables.changes(start, newest) if paired and start is not None and newest is not None else (),
        first_tested=start.step if start is not None else 0,
    )


def state(found: RunSummary, path: str) -> str:
    """In words: how far it is, why it stands, and what would go on with it."""
    words = f"{found.state}, {progress(found)}"
    again = f"`rlzoo train --resume --out {shlex.quote(path)}` goes on"
    if found.abandoned:
        return f"{words}; but no process of this machine trains it, so it was killed. {again}"
    if found.state == "running" and found.host:
        return f"{words}, on {found.host}"
    if found.state in ("failed", "interrupted"):
        return f"{words}: {found.reason}. {again}" if found.reason else f"{words}. {again}"
    return words


def progress(found: RunSummary) -> str:
    """`step 40 of 60`, and the share of other limits that is spent."""
    limits = dict(found.spent)
    steps = limits.pop("steps", None)
    words = f"step {found.step}{f' of {steps[1]:.0f}' if steps else ''}"
    return ", ".join(
        [words, *(f"{100 * now / limit:.0f} % of its {AXES[axis].words}" for axis, (now, limit) in limits.items())]
    )


# ---------------------------------------------------------------------------------------------------------
# What stands out


def outstanding(record: Record) -> list[str]:
    """What a reader should know before believing the curve, in sentences; empty where there is nothing."""
    return [*_of_metrics(record), *_of_rollouts(record.run)]


def _of_metrics(record: Record) -> Iterator[str]:
    if not record.trained:
        return
    if record.evaluations and (why := collapse.diagnose(record)):
        yield f"it collapsed: {why}"
    limit = record.settings.get("sampling.max_response", "?")
    for status, least, words in (
        ("truncated", TRUNCATED, f"of responses are cut off at sampling.max_response = {limit} tokens"),
        ("timeout", TIMEOUTS, "of responses take the verifier longer than verifier.timeout_s"),
        ("error", 0.0, "of responses could not be judged: the verifier itself failed on them"),
    ):
        share = record.late(f"status/{status}", 0.0)
        if share is not None and share > least:
            yield f"{_percent(share)} {words}"
    mixed = record.late("groups/mixed")
    if mixed is not None and mixed < MIXED:
        yield f"only {_percent(mixed)} of groups hold unequal rewards; the others teach a group baseline nothing"


def _of_rollouts(run: RunDir) -> Iterator[str]:
    """What the newest steps were refused for, and which level has waited longest for a correct response."""
    steps = run.rollout_steps()
    reasons: Counter[str] = Counter()
    firsts: dict[str, str] = {}
    levels: dict[tuple[str, str], _Level] = {}
    for step in reversed(steps[-LOOKED_AT:]):
        rows = _rows(run, step)
        for row in rows if step == steps[-1] else ():
            if row["status"] != "correct":
                alike = f"{row['status']}, {without_particulars(row['reason'])}"
                reasons[alike] += 1
                firsts.setdefault(alike, f"{row['status']}, such as `{_short(row['reason'])}`")
        for key in {(row["domain"], row["level"]) for row in rows}:
            mine = [row for row in rows if (row["domain"], row["level"]) == key]
            levels.setdefault(key, _Level()).add(len(mine), solved=any(row["correct"] for row in mine))
    if reasons:
        alike, most = reasons.most_common(1)[0]
        yield f"most frequent reason of a refusal in step {steps[-1]}: {firsts[alike]} ({most} of {reasons.total()})"
    waiting = {key: level for key, level in levels.items() if level.steps >= UNSOLVED}
    if waiting:
        (domain, name), level = max(waiting.items(), key=lambda item: (item[1].steps, item[1].responses))
        yield (
            f"{domain}{f' level {name}' if name else ''} has waited longest for a correct response: none of {level.responses} "
            f"in the last {level.steps} recorded steps that asked it"
            + (f"; {len(waiting)} levels wait for {UNSOLVED} or more" if len(waiting) > 1 else "")
        )


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 1]}…"


def _rows(run: RunDir, step: int) -> list[dict[str, Any]]:
    """Verdicts of a step; nothing where its file is damaged or stopped before verification."""
    try:
        table = pq.read_table(run.rollouts_file(step), columns=["domain", "level", "status", "reason", "correct"])
    except (OSError, pa.ArrowException):
        return []
    return [{**row, "reason": row["reason"] or ""} for row in table.to_pylist() if row["status"] is not None]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.1f} %"
