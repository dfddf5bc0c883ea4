"""A run at a glance, in the terminal: the curve, the tests, and what stands out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlzoo.cli import console
from rlzoo.evals import summary
from rlzoo.evals.evaluations import MACRO
from rlzoo.evals.wording import bracket, points

if TYPE_CHECKING:
    from rlzoo.evals.records import Record
    from rlzoo.evals.summary import RunSummary
    from rlzoo.evals.tables import Change

WIDEST = 60
"""Characters of a curve."""


def show(record: Record) -> None:
    """Everything in a screen, at the terminal's width."""
    found = summary.of(record)
    path = str(record.run.path)
    console.print_heading(f"{path} · {found.objective} on {found.model}, seed {found.seed}")
    lines = [("state", summary.state(found, path)), *_training(found), *_tests(found), *_curve(found)]
    told = summary.outstanding(record)
    lines += [("stands out" if number == 0 else "", text) for number, text in enumerate(told)]
    console.emit(console.entries(lines))
    console.print_line()


def _training(found: RunSummary) -> list[tuple[str, str]]:
    if not found.rewards or found.early is None or found.late is None:
        return [("reward", "no step was made yet")]
    low, high = min(found.rewards), max(found.rewards)
    width = max(12, min(WIDEST, console.stdout().width - 40))
    curve = console.sparkline(found.rewards, width, low=low, high=high)
    lines = [("reward", f"{curve}  {found.early:.2f} → {found.late:.2f}  (lowest {low:.2f}, highest {high:.2f})")]
    if len(found.domains) > 1:
        lines.append(
            (
                "by domain",
                "   ".join(f"{name} {early:.2f} → {late:.2f}" for name, (early, late) in found.domains.items()),
            )
        )
    if found.mixed is not None:
        lines.append(("groups", f"{100 * found.mixed:.0f} % hold unequal rewards, in the last steps"))
    return lines


def _tests(found: RunSummary) -> list[tuple[str, str]]:
    if found.tested is None:
        return [("tests", "not evaluated on test problems yet")]
    step, macro = found.tested
    if not found.changes:
        return [("tests", f"pass@1 {100 * macro:.1f} at step {step}")]
    whole = next(change for change in found.changes if change.domain == MACRO)
    lines = [
        (
            "tests",
            f"pass@1 {100 * whole.before.value:.1f} → {100 * whole.after.value:.1f}, steps {found.first_tested} to {step}: "
            f"{_difference(whole)} points over {whole.difference.problems} problems",
        )
    ]
    parts = [
        f"{change.domain} {100 * change.before.value:.1f} → {100 * change.after.value:.1f}"
        for change in found.changes
        if change.domain != MACRO
    ]
    return [*lines, *([("", "   ".join(parts))] if len(parts) > 1 else [])]


def _curve(found: RunSummary) -> list[tuple[str, str]]:
    """Test problems on the way; nothing where they are but a start."""
    if len(found.curve) < 2:
        return []
    scores = [score for _, score in found.curve]
    bars = console.sparkline(scores, WIDEST, low=min(scores), high=max(scores))
    told = " ".join(f"{100 * score:.0f}" for score in scores)
    steps = f"steps {found.curve[0][0]} to {found.curve[-1][0]}"
    return [("on the way", f"{bars}  {told}  (pass@1 on a few test problems, {steps})")]


def _difference(change: Change) -> str:
    reach = change.difference.interval()
    return f"{points(change.difference.value)}{f' {bracket(reach)}' if reach else ''}"
