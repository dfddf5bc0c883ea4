"""What a report says, before it is laid out: verdicts, checks and tables that HTML and Markdown share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any

from rlzoo import trouble
from rlzoo.evals.analysis import Cell, Comparison
from rlzoo.evals.judgement import ArmVerdict
from rlzoo.evals.passk import Interval
from rlzoo.evals.records import Record
from rlzoo.evals.report import data, drill, setup
from rlzoo.evals.report.drill import SharedProblem
from rlzoo.evals.validity import differences, spending
from rlzoo.evals.validity.result import CheckResult
from rlzoo.evals.wording import bracket, points, sentence
from rlzoo.runs.comparison import AXES

NONE = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    key: str
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    words: int = 1
    """Leading columns of words; the rest are numbers, set right."""
    shades: Sequence[Sequence[float | None]] = ()
    """Of a matrix: what each cell's colour shows, -1 to 1; None leaves it plain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutsWords:
    """What is said of the rollouts shown."""

    title: str = "Rollouts side by side"
    chosen: str = "Problems on which arms came apart the most, in the last step that all of them recorded."
    none: str = "No step's rollouts were recorded by all arms of one seed."


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A report's content."""

    title: str
    heading: str
    setup: Sequence[tuple[str, str]]
    """Label and text."""
    remarks: Sequence[str]
    """What stands out in a run; a comparison has its checks for it."""
    verdicts: Sequence[tuple[str, str]]
    """Word and sentence of each arm against the baseline."""
    starts: Sequence[tuple[str, str]]
    """And against its own start."""
    checkpoints: Sequence[str]
    """The other statement: these checkpoints on these problems."""
    findings: Sequence[CheckResult]
    tables: Mapping[str, Table]
    problems: Sequence[SharedProblem]
    data: Mapping[str, Any]
    rollouts: RolloutsWords = RolloutsWords()


def document(comparison: Comparison) -> Document:
    tables = [
        tests(comparison),
        outcome(comparison),
        gains(comparison),
        cost(comparison),
        health(comparison),
        settings(comparison),
        runs(comparison),
    ]
    return Document(
        title=f"{', '.join(comparison.spec.names)} compared",
        heading=comparison.heading(),
        setup=[*setup.entries(comparison), ("command", comparison.spec.command)],
        remarks=(),
        verdicts=[(v.judgement.word, sentence(v, comparison.spec.margin)) for v in comparison.verdicts],
        starts=[(v.judgement.word, sentence(v, comparison.spec.margin)) for v in comparison.starts],
        checkpoints=[_checkpoint_line(v) for v in comparison.verdicts if v.checkpoints is not None],
        findings=comparison.findings,
        tables={table.key: table for table in tables},
        problems=drill.problems(comparison),
        data=data.comparison(comparison),
    )


def _checkpoint_line(verdict: ArmVerdict) -> str:
    estimate = verdict.checkpoints
    assert estimate is not None
    reach = estimate.interval()
    if reach is None:
        return (
            f"{verdict.arm}: {points(estimate.value)} points against {verdict.against}; too few problems for an error"
        )
    told = "are not told apart" if reach.low <= 0 <= reach.high else "differ"
    return f"{verdict.arm} and {verdict.against} {told} on problems like these: {points(estimate.value)} points {bracket(reach)}, {estimate.problems} problems"


# ---------------------------------------------------------------------------------------------------------
# Tables


def tests(comparison: Comparison) -> Table:
    rows = []
    for verdict in (*comparison.verdicts, *comparison.starts):
        judged = verdict.judgement
        rows.append(
            [
                verdict.arm,
                verdict.against,
                judged.word,
                points(judged.difference.mean) if judged.difference else NONE,
                _bracket(judged.interval),
                _bracket(judged.plain),
                _bracket(judged.simultaneous),
                _p(judged.p),
                _p(judged.p_holm),
                _p(judged.p_equivalent),
                str(len(verdict.seeds)),
                _finds(judged.detectable),
                str(judged.seeds_needed or NONE),
                f"{verdict.correlation:.2f}" if verdict.correlation is not None else NONE,
            ]
        )
    return Table(
        key="tests",
        title="Tests over seeds",
        head=[
            "arm",
            "against",
            "verdict",
            "points",
            "interval",
            "95 %",
            "all at once",
            "p",
            "Holm p",
            "TOST p",
            "seeds",
            "finds",
            "needs",
            "r",
        ],
        rows=rows,
        words=3,
        note=(
            "Paired t over seeds, on the mean over domains of pass@1. interval: Holm's, leaves out 0 where the verdict is better or worse. 95 %: as if there "
            "were no other arm. all at once: Bonferroni's, hold together with 95 %. TOST p: of equivalence within the margin, Holm-adjusted. finds: the smallest "
            f"difference these seeds find with 80 %, in points. needs: seeds that find {comparison.spec.margin:g} points. r: correlation of both sides over seeds. "
            "Arms that claim something are one family of Holm's, controls another."
        ),
    )


def outcome(comparison: Comparison) -> Table:
    rows = [
        [
            cell.arm,
            cell.domain,
            _percent(cell.start),
            f"{_percent(cell.final)} {_range(cell.final_interval)}".strip(),
            f"{points(cell.gain)} {_bracket(cell.gain_interval, '')}".strip() if cell.gain is not None else NONE,
            f"{points(cell.versus)} {_bracket(cell.versus_interval, '')}".strip() if cell.versus is not None else NONE,
            str(cell.seeds),
            str(cell.problems),
        ]
        for cell in comparison.cells
    ]
    ends = "; ".join(
        f"{domain} is at the {end}" if end == "ceiling" else f"{domain} is at chance"
        for domain, end in comparison.saturated.items()
    )
    return Table(
        key="outcome",
        title="Outcome",
        head=["arm", "domain", "step 0", "final", "gain", f"against {comparison.spec.baseline}", "seeds", "problems"],
        rows=rows,
        words=2,
        note=(
            "pass@1 in percent, differences in points, 95 % t intervals over seeds, not adjusted for the number of arms and domains: they describe, and only the "
            "verdicts above decide. macro is the mean over domains."
            + (f" No equivalence is claimed where {ends}." if ends else "")
        ),
    )


def gains(comparison: Comparison) -> Table:
    """Arms by domains: what training moved."""
    by_place = {(cell.arm, cell.domain): cell for cell in comparison.cells}
    names = [arm for arm in comparison.spec.names if comparison.grid.get(arm)]
    found = [[_gain(by_place.get((arm, domain))) for domain in comparison.domains] for arm in names]
    largest = max([abs(value) for row in found for value in row if value is not None], default=0.0) or 1.0
    return Table(
        key="gains",
        title="Gains by domain",
        head=["arm", *comparison.domains, "worst", "domains lost"],
        rows=[
            [
                arm,
                *(points(value) if value is not None else NONE for value in row),
                points(min(known)) if (known := [value for value in row[:-1] if value is not None]) else NONE,
                str(sum(value < 0 for value in known)) if known else NONE,
            ]
            for arm, row in zip(names, found, strict=True)
        ],
        shades=[[value / largest if value is not None else None for value in row] for row in found],
        note="Points of pass@1 gained since step 0, mean over seeds. domains lost: how many ended below their start.",
    )


def _gain(cell: Cell | None) -> float | None:
    return cell.gain if cell is not None else None


def cost(comparison: Comparison) -> Table:
    columns: list[tuple[str, Callable[[Record], float | None]]] = [
        ("steps", lambda r: float(r.steps)),
        ("prompts", lambda r: r.last("cost/prompts")),
        ("rollouts", lambda r: r.last("cost/rollouts")),
        ("sampled tokens", lambda r: r.last("cost/gen_tokens")),
        ("trained tokens", lambda r: r.last("cost/train_tokens")),
        ("extra tokens", lambda r: r.last("cost/extra_tokens")),
        ("FLOP", lambda r: r.last("cost/flops")),
        ("device s", lambda r: r.last("time/device_seconds")),
        ("evaluation s", lambda r: r.eval_seconds),
    ]
    axes = ", ".join(AXES[axis].words for axis in spending.equalised(comparison.grid))
    return Table(
        key="cost",
        title="Cost",
        head=["arm", *(name for name, _ in columns)],
        rows=[
            [arm, *(_mean(seeds, value, count) for _, value in columns)]
            for arm, seeds in comparison.grid.items()
            if seeds
        ],
        note=(f"A run's cost, mean over seeds. Equalised: {axes}. " if axes else "A run's cost, mean over seeds. ")
        + "extra tokens: forward passes that only the objective, or a diagnosis, asked for.",
    )


HEALTH: tuple[tuple[str, str, float | None], ...] = (
    ("entropy", "policy/entropy", None),
    ("mixed", "groups/mixed", None),
    ("grad norm", "grad/norm", None),
    ("mismatch", "mismatch/kl", None),
    ("truncated", "status/truncated", 0.0),
    ("errors", "status/error", 0.0),
    ("length", "length/mean", None),
)
"""Heading, metric, and what a step means that does not hold it."""


def health(comparison: Comparison) -> Table:
    def row(arm: str, seeds: Mapping[int, Record]) -> list[str]:
        trained = {seed: record for seed, record in seeds.items() if record.trained}
        cells = [
            _mean(trained, partial(_late, metric=metric, default=default), compact) for _, metric, default in HEALTH
        ]
        return [arm, *cells, str(sum(fallen == arm for fallen, _ in comparison.collapsed))]

    return Table(
        key="health",
        title="Health of training",
        head=["arm", *(name for name, _, _ in HEALTH), "collapsed"],
        rows=[row(arm, seeds) for arm, seeds in comparison.grid.items() if seeds],
        note="Means over the last tenth of the steps, then over seeds. entropy (of all judged rollouts, trained or not) and mismatch in nats; mixed (groups of unequal rewards), truncated and errors are shares."
        + "".join(f" {text}." for text in _in_trouble(comparison)),
    )


def _in_trouble(comparison: Comparison) -> list[str]:
    """What stands in the way of learning at each run's last step, by run."""
    members = [record for seeds in comparison.grid.values() for record in seeds.values()]
    return [
        f"{record.name}, at its last step: {told}" for record in members for told in trouble.standing(record.metrics)
    ]


def _late(record: Record, metric: str, default: float | None) -> float | None:
    return record.late(metric, default)


def settings(comparison: Comparison) -> Table:
    base = comparison.spec.baseline
    rows = [
        [arm, key, usual, own, "declared" if differences.declared(comparison.spec, arm, key) else "flagged"]
        for arm, keys in comparison.differing.items()
        for key, (usual, own) in keys.items()
    ]
    return Table(
        key="settings",
        title="Settings that differ",
        head=["arm", "setting", base, "the arm", "status"],
        rows=rows,
        words=5,
        note="Beside the objective's own settings and the seed."
        if rows
        else "None beside the objective's own settings and the seed.",
    )


def _isolation(comparison: Comparison) -> str:
    """How programs of the policy were isolated, where there were any."""
    found = {
        record.provenance.sandbox
        for seeds in comparison.records.values()
        for record in seeds.values()
        if record.provenance is not None and record.provenance.sandbox
    }
    return f" Programs ran in the sandbox: {'; '.join(sorted(found))}." if found else ""


def runs(comparison: Comparison) -> Table:
    rows = [
        [
            record.arm,
            str(record.seed),
            record.state,
            f"left out: {record.left_out}"
            if record.left_out
            else comparison.collapsed.get((record.arm, record.seed), "takes part"),
            _percent(record.final_macro) if not record.left_out else NONE,
        ]
        for seeds in comparison.records.values()
        for record in seeds.values()
    ]
    return Table(
        key="runs",
        title="Runs",
        head=["arm", "seed", "state", "part", "final"],
        rows=rows,
        words=4,
        note="final: macro pass@1 in percent." + _isolation(comparison),
    )


# ---------------------------------------------------------------------------------------------------------
# Numbers


def _mean(seeds: Mapping[int, Record], value: Callable[[Record], float | None], show: Callable[[float], str]) -> str:
    found = [number for record in seeds.values() if (number := value(record)) is not None]
    return show(fmean(found)) if found else NONE


def count(number: float) -> str:
    """950, 1.9k, 24k, 1.2M."""
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size * 0.9995:
            scaled = number / size
            return f"{scaled:.1f}{letter}" if scaled < 9.95 else f"{scaled:.0f}{letter}"
    return f"{number:.0f}"


def compact(number: float) -> str:
    return (
        "0"
        if number == 0
        else f"{number:.3f}"
        if 0.001 <= abs(number) < 10
        else f"{number:.1f}"
        if 10 <= abs(number) < 1e4
        else f"{number:.1e}"
    )


def _percent(value: float | None) -> str:
    return f"{100 * value:.1f}" if value is not None else NONE


def _range(interval: Interval | None) -> str:
    return f"[{100 * max(0.0, interval.low):.1f}, {100 * min(1.0, interval.high):.1f}]" if interval else ""


def _bracket(interval: Interval | None, none: str = NONE) -> str:
    return bracket(interval) if interval else none


def _finds(detectable: float | None) -> str:
    return NONE if detectable is None else f"{100 * detectable:.1f}" if detectable < 1 else "nothing"


def _p(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}" if value >= 0.001 else "< 0.001"
