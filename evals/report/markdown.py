"""The report as Markdown. No text of models, data or users can become markup."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rlzoo.evals.report.content import Document, Table
from rlzoo.evals.report.drill import SharedProblem
from rlzoo.text import visible

_MARKS = {"green": "ok", "flag": "FLAG", "refuse": "REFUSED"}


def render(document: Document) -> str:
    lines = [f"# {escape(document.title)}", "", escape(document.heading), "", "## Setup", ""]
    lines += [f"- {escape(label)}: {escape(text)}" for label, text in document.setup if text]
    if document.remarks:
        lines += ["", "## What stands out", "", *(f"- {escape(text)}" for text in document.remarks)]
    if document.findings:
        lines += _judged(document)
    for table in document.tables.values():
        lines += ["", f"## {escape(table.title)}", "", *_table(table)]
    lines += ["", f"## {escape(document.rollouts.title)}", ""]
    lines += [document.rollouts.chosen if document.problems else document.rollouts.none, ""]
    for problem in document.problems:
        lines += _problem(problem)
    return "\n".join(lines) + "\n"


def _judged(document: Document) -> Iterator[str]:
    """What a comparison concludes, and what it rests on."""
    for heading, sentences in (
        ("The objective, over seeds:", [sentence for _, sentence in document.verdicts]),
        ("Against step 0, the untrained start:", [sentence for _, sentence in document.starts]),
        ("These checkpoints, over problems (says nothing about other seeds):", document.checkpoints),
    ):
        yield from ["", "## Verdicts"] if heading.startswith("The objective") else []
        yield from ["", heading, "", *(f"- {escape(sentence)}" for sentence in sentences)]
    yield from ["", "## Validity", ""]
    for finding in document.findings:
        yield f"- {_MARKS[finding.level]} · {escape(finding.check)}: {escape(finding.text)}"
        yield from (f"  - {escape(detail)}" for detail in finding.details)


def escape(text: str) -> str:
    """One line on which nothing is markup, wherever it stands: no list begins, no address becomes a link.

    Where addresses of e-mail become links, they do so here too: no escape hides them.
    """
    line = re.sub(r"([\\`*_{}\[\]<>#|~&!])", r"\\\1", visible(text.replace("\n", " ")).strip())
    line = re.sub(r":(?=//)|(?<=www)\.", r"\\\g<0>", line, flags=re.IGNORECASE)
    return re.sub(r"^(\d+(?=[.)](?:\s|$))|(?=[-+=](?!\d)))", r"\1\\", line)


def _table(table: Table) -> Iterator[str]:
    if table.rows:
        yield _row(table.head)
        yield "|" + "|".join(" --- " if i < table.words else " ---: " for i in range(len(table.head))) + "|"
        yield from (_row(row) for row in table.rows)
        yield ""
    if table.note:
        yield escape(table.note)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(escape(cell) for cell in cells)} |"


def _block(text: str, indent: str = "    ") -> list[str]:
    """An indented block: nothing inside can end it."""
    return [f"{indent}{line}".rstrip() for line in visible(text).split("\n")]


def _problem(problem: SharedProblem) -> Iterator[str]:
    level = f", level {problem.level}" if problem.level else ""
    yield f"### {escape(problem.id)}"
    yield ""
    yield escape(f"{problem.domain}{level}, step {problem.step}, seed {problem.seed}")
    yield ""
    yield from _block(problem.prompt)
    yield ""
    for side in problem.sides:
        yield f"**{escape(side.arm)}**: {side.correct} of {side.total} correct"
        yield ""
        for rollout in side.rollouts:
            yield f"{escape(rollout.status)}, reward {rollout.reward:g}: {escape(rollout.reason)}"
            yield ""
            yield from _block(rollout.text)
            yield ""
