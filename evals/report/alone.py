"""A report of one run: the same page, without the parts that need a second arm."""

from __future__ import annotations

from dataclasses import replace

from rlzoo.evals import evaluations, summary, tables
from rlzoo.evals.analysis import Comparison
from rlzoo.evals.evaluations import MACRO
from rlzoo.evals.passk import Estimate
from rlzoo.evals.records import Record
from rlzoo.evals.report import content, data, drill, setup
from rlzoo.evals.report.content import NONE, Document, RolloutsWords, Table
from rlzoo.evals.validity import collapse
from rlzoo.evals.wording import bracket, points
from rlzoo.runs.comparison import Arm, ComparisonSpec


def grid(record: Record) -> Comparison:
    """The run as the only arm, so that it is drawn as those of a comparison are; nothing is judged."""
    seeds = {record.seed: record}
    why = collapse.diagnose(record) if record.evaluations else None
    spec = ComparisonSpec(
        arms=(Arm(name=record.arm),), baseline=record.arm, seeds=(record.seed,), command=setup.again(record)
    )
    return Comparison(
        spec=spec,
        records={record.arm: seeds},
        grid={record.arm: seeds},
        verdicts=(),
        starts=(),
        cells=(),
        findings=(),
        collapsed={(record.arm, record.seed): why} if why else {},
        saturated={},
        differing={},
    )


def document(record: Record) -> Document:
    alone, found, told = grid(record), summary.of(record), summary.outstanding(record)
    spent, healthy = content.cost(alone), content.health(alone)
    late = healthy.note.replace(", then over seeds", "")
    each = [tests(record), replace(spent, note=""), replace(healthy, note=late)]
    return Document(
        title=f"{found.objective} on {found.model}, seed {found.seed}",
        heading=f"{record.run.path}: {summary.state(found, str(record.run.path))}",
        setup=[*setup.entries(alone), ("command", alone.spec.command)],
        remarks=[*told, *record.remarks],
        verdicts=(),
        starts=(),
        checkpoints=(),
        findings=(),
        tables={table.key: table for table in each if table.rows},
        problems=drill.problems(alone),
        rollouts=RolloutsWords(
            title="Rollouts",
            chosen="Problems whose rollouts are the most mixed, in the last step that was recorded.",
            none="No step's rollouts were recorded.",
        ),
        data={
            "schema": data.SCHEMA,
            "setup": dict(setup.entries(alone)),
            "summary": found.as_data(),
            "stands_out": told,
            "run": data.run(record),
        },
    )


def tests(record: Record) -> Table:
    """pass@1 by domain and level, at the start and now."""
    head, rows = ["domain", "level", "problems"], []
    now = record.final if record.evaluations else None
    start = record.start if now is not None and record.start is not now else None
    paired = start is not None and now is not None and start.suite == now.suite
    if now is not None:
        changes = {row.domain: row for row in tables.changes(start, now)} if paired and start is not None else {}
        before = {(row.domain, row.level): row.scores["pass@1"] for row in tables.scoreboard(start)} if start else {}
        head += ["step 0", f"step {now.step}", "change"] if paired else [f"step {now.step}"]
        for row in tables.scoreboard(now):
            change = changes.get(row.domain) if row.level is None else None
            reach = change.difference.interval() if change is not None else None
            told = [row.domain if row.level is None else "", row.level or "", str(row.problems)]
            score = _percent(row.scores["pass@1"])
            moved = f"{points(change.difference.value)}{f' {bracket(reach)}' if reach else ''}" if change else NONE
            rows.append(
                [*told, _percent(before.get((row.domain, row.level))), score, moved] if paired else [*told, score]
            )
    unjudged = evaluations.unjudged(record.final) if record.evaluations else 0
    return Table(
        key="outcome",
        title="Tests",
        head=head,
        rows=rows,
        words=2,
        note="pass@1 in percent"
        + (
            ", its change in points with 95 % over problems, paired: it holds for these weights, and says nothing about other seeds."
            if paired
            else "."
        )
        + f" {MACRO} is the mean over domains."
        + (f" {unjudged} responses could not be judged and count as wrong." if unjudged else ""),
    )


def _percent(score: Estimate | None) -> str:
    return NONE if score is None else f"{100 * score.value:.1f}"
