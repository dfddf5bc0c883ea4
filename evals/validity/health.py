"""What happened on the way: responses cut, verification that failed, evidence without meaning, test problems trained on, no headroom."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from rlzoo.evals import records
from rlzoo.evals.evaluations import MACRO, unjudged
from rlzoo.evals.records import Record
from rlzoo.evals.validity.result import CheckResult, Grid, members, result
from rlzoo.runs.comparison import ComparisonSpec

TRUNCATED_MOST = 0.1

ERRORS_MOST = 0.01

CEILING, FLOOR = 0.95, 0.05
"""Beyond which all arms are too near the end of the scale to tell apart. Free answers are right by chance almost never."""

UNMEASURED = (0.0, 1.0)
"""Ends of evidence/auc in a step all of whose rollouts were right, or all wrong."""


def truncated(record: Record) -> float:
    """Share of training rollouts cut at the length limit, late in the run."""
    return record.late("status/truncated", 0.0) or 0.0


def truncation(grid: Grid) -> CheckResult:
    problems = []
    for record in members(grid):
        tested = record.final.share("truncated")
        if max(tested, truncated(record)) > TRUNCATED_MOST:
            problems.append(
                f"{record.name}: {100 * truncated(record):.0f} % of late rollouts, {100 * tested:.0f} % of test responses"
            )
    return result(
        "truncation",
        problems,
        fine=f"at most {100 * TRUNCATED_MOST:.0f} % of responses were cut",
        wrong="many responses were cut at the length limit: scores measure length too",
    )


def errors(grid: Grid) -> CheckResult:
    problems = []
    for record in members(grid):
        training = record.late("status/error", 0.0) or 0.0
        if unjudged(record.final) or training > ERRORS_MOST:
            problems.append(
                f"{record.name}: {unjudged(record.final)} test responses unjudged (counted as wrong), {100 * training:.1f} % of late rollouts"
            )
    return result(
        "verification",
        problems,
        fine="every test response was judged",
        wrong="verification itself failed on some responses",
    )


def evidence(grid: Grid) -> CheckResult:
    """Token credit by evidence is worth something only where the evidence tells right rollouts from wrong ones.

    Asked of the last steps that credit by it: a schedule may end it long before the run ends.
    """
    problems, told = [], False
    for record in members(grid):
        credited = [line for line in record.metrics if "evidence/auc" in line]
        if not credited:
            continue
        told = True
        measured = records.last([line for line in credited if _ends(line) != UNMEASURED])
        if not measured:
            problems.append(f"{record.name}: no step that it credited held right and wrong rollouts to measure it on")
            continue
        auc = fmean(line["evidence/auc"] for line in measured)
        low, high = (fmean(ends) for ends in zip(*map(_ends, measured), strict=True))
        if low <= 0.5:
            steps = f"steps {measured[0]['step']:.0f} to {measured[-1]['step']:.0f}"
            problems.append(f"{record.name}: {auc:.2f} [{low:.2f}, {high:.2f}] over {steps}")
    return result(
        "evidence",
        problems,
        fine="evidence tells right rollouts from wrong ones" if told else "no arm assigns credit by evidence",
        wrong="evidence/auc is not above chance, so credit went to tokens without reason",
    )


def _ends(line: Mapping[str, float]) -> tuple[float, float]:
    """Of the interval of evidence/auc."""
    return line.get("evidence/auc_low", 0.0), line.get("evidence/auc_high", 1.0)


def overlap(grid: Grid) -> CheckResult:
    """Test problems among the training rollouts, by id."""
    problems, seen = [], 0
    for record in members(grid):
        tested = {attempt.id for attempt in record.final.attempts}
        trained: set[str] = set()
        for step in record.run.rollout_steps():
            trained |= _problem_ids(record, step)
        seen += len(trained)
        if both := sorted(tested & trained):
            problems.append(f"{record.name}: {len(both)} test problems were trained on, {both[0]} among them")
    fine = (
        "no test problem is among the recorded training problems, by id"
        if seen
        else "no training rollouts were recorded to check"
    )
    return result("overlap", problems, fine=fine, wrong="test problems were trained on")


def _problem_ids(record: Record, step: int) -> set[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        column = pq.read_table(record.run.rollouts_file(step), columns=["problem_id"]).column(0)
    except (OSError, pa.ArrowException):
        return set()
    return set(column.unique().to_pylist())


def saturated(spec: ComparisonSpec, grid: Grid) -> dict[str, str]:
    """Domains that cannot show equivalence, since all arms that claim something are near an end of the scale."""
    claiming = [record for record in members(grid) if record.arm not in spec.controls]
    scores: dict[str, list[float]] = {}
    for record in claiming:
        for domain, score in record.scores(record.final).items():
            scores.setdefault(domain, []).append(score.value)
    scores.pop(MACRO, None)
    ends = {
        domain: "ceiling" if min(values) > CEILING else "chance" if max(values) < FLOOR else ""
        for domain, values in scores.items()
    }
    return {domain: end for domain, end in ends.items() if end}


def headroom(spec: ComparisonSpec, grid: Grid) -> CheckResult:
    problems = [
        f"{domain}: all arms {f'exceed {100 * CEILING:.0f} %' if end == 'ceiling' else f'stay below {100 * FLOOR:.0f} %'}"
        for domain, end in saturated(spec, grid).items()
    ]
    return result(
        "headroom",
        problems,
        fine="every domain leaves room for a difference",
        wrong="no equivalence is claimed for these domains; tests of equivalence leave them out",
    )
