"""A comparison's plan: what would be refused or warned of, and what will be done, in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlzoo.cli import plain
from rlzoo.errors import UnmetNeed, UsageError

if TYPE_CHECKING:
    from rlzoo.experiment.design import Experiment


def check(experiment: Experiment, *, strict: bool) -> None:
    """Refuse before anything is started what one of the arms would refuse later; warn of what a verdict will have to say."""
    from rlzoo.cli import train

    for arm in experiment.arms:
        config = next(run.config for run in experiment.runs if run.arm == arm.name)
        try:
            train.plan_of(config)
        except UnmetNeed as error:
            raise UnmetNeed(f"arm {arm.name!r} cannot be run: {error}") from error
    differing = [f"  {arm}: {line}" for arm, lines in experiment.differing().items() for line in lines]
    if differing and strict:
        raise UsageError(
            f"arms differ from {experiment.baseline!r} in more than the objective, and --strict allows no verdict on such:\n"
            + "\n".join(differing)
            + "\nSet them alike with --set, or leave out --strict."
        )
    if differing:
        plain.say(
            f"arms differ from {experiment.baseline!r} in more than the objective; the report will say so:\n"
            + "\n".join(differing),
            label="warning",
        )
    if len(experiment.request.seeds) == 1:
        plain.say(
            "one seed cannot tell an objective from luck: every verdict will be inconclusive. Use --seeds 3 or more.",
            label="warning",
        )


def show(experiment: Experiment, out: Path | None, preset: str | None, *, json: bool, result: bool) -> None:
    from rlzoo.cli import console

    if json:
        spec = experiment.spec.as_data()
        console.print_json(
            {"event": "plan", "out": None if out is None else str(out), "runs": len(experiment.runs), **spec}
        )
        return
    console.emit(_plan_table(_plan_lines(experiment, out, preset)), console.stdout() if result else console.stderr())


def _plan_table(lines: Sequence[tuple[str, str]]) -> Any:
    from rich.table import Table

    from rlzoo.cli import console

    table = Table.grid(padding=(0, console.GAP, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for heading, text in lines:
        table.add_row(heading, console.safe(text))
    return table


def _plan_lines(experiment: Experiment, out: Path | None, preset: str | None) -> list[tuple[str, str]]:
    from rlzoo.cli import console
    from rlzoo.experiment.presets import PRESETS

    asked = experiment.request
    controls = [arm.name for arm in experiment.arms if arm.control]
    arms = ", ".join(arm.name for arm in experiment.arms if not arm.control)
    lines = [
        ("arms", f"{arms}; measured against {experiment.baseline}"),
        *([("controls", f"{', '.join(controls)}, made of {experiment.baseline}")] if controls else []),
        ("runs", f"{len(experiment.arms)} arms × {console.count(len(asked.seeds), 'seed')} = {len(experiment.runs)}"),
        (
            "side by side",
            f"{console.count(experiment.slots, 'run')}, {console.count(experiment.threads, 'thread')} each",
        ),
        ("each ends at", " or ".join(console.amount(axis, limit) for axis, limit in experiment.budget.items())),
        ("recipe", asked.recipe + (f", then {asked.file}" if asked.file else "")),
    ]
    known = PRESETS.get(preset or "")
    changed = asked.budget or asked.sets or asked.file
    if known and not changed and (known.arms, known.controls, known.seeds) == (asked.arms, asked.controls, asked.seeds):
        lines.append(("takes", f"about {known.minutes} minutes on two cores"))
    if detectable := _detectable(len(asked.seeds), max(1, len(experiment.arms) - len(controls) - 1)):
        lines.append(("can be told", detectable))
    return [*lines, *([("written to", str(out))] if out is not None else [])]


def _detectable(seeds: int, comparisons: int) -> str:
    """The smallest difference that this many seeds can show, in words."""
    from rlzoo.evals import statistics

    size = statistics.detectable(seeds, comparisons)
    if size is None:
        return "nothing over seeds: one seed has no spread"
    over = f", with Holm over {comparisons} arms" if comparisons > 1 else ""
    return (
        f"differences of about {size:.1f} standard deviations of the paired difference over seeds{over}, "
        f"with {statistics.POWER:.0%} chance; smaller ones mostly end inconclusive"
    )
