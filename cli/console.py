"""Everything that is printed: results on standard output, everything else on standard error.

Text of models, data and users goes through `safe`: no markup is read from it, and nothing in it can steer the terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.color import Color
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text

from rlzoo.cli import plain
from rlzoo.evals import evaluations, tables
from rlzoo.placement import in_words
from rlzoo.runs.comparison import AXES
from rlzoo.runs.folder import dumps

if TYPE_CHECKING:
    from rlzoo.config import RunConfig
    from rlzoo.engine.plan import Plan
    from rlzoo.evals.passk import Estimate
    from rlzoo.runs.evaluation import Evaluation

GAP = 2
"""Spaces between columns."""


def stdout() -> Console:
    return Console(markup=False, emoji=False, highlight=False)


def stderr() -> Console:
    return Console(stderr=True, markup=False, emoji=False, highlight=False)


def safe(text: str, style: str = "") -> Text:
    """Text as it is, with characters that steer a terminal shown as escapes; those stand out in reverse."""
    shown = Text(style=style)
    for character in text:
        harmless = plain.visible(character)
        shown.append(harmless, style="reverse" if harmless != character else "")
    return shown


def print_line(text: str = "") -> None:
    """A line of results, never wrapped or cut."""
    stdout().print(safe(text), soft_wrap=True)


def emit(thing: RenderableType, console: Console | None = None) -> None:
    """Lay something out, on standard output unless told otherwise, without the blanks that fill its lines up."""
    console = console or stdout()
    with console.capture() as captured:
        console.print(thing)
    console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    console.file.flush()


def print_json(data: object) -> None:
    """One line of JSON; numbers that are not finite become null."""
    sys.stdout.write(dumps(data) + "\n")
    sys.stdout.flush()


def hint(text: str) -> None:
    """What a reader may want next; no result."""
    stderr().print(safe(text, "dim"), soft_wrap=True)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Columns without frames. The last one takes what room is left and wraps; `right` names columns of numbers."""
    grid = table()
    for number, name in enumerate(head):
        numeric = number in right
        grid.add_column(Text(name), justify="right" if numeric else "left", overflow="fold", no_wrap=numeric)
    for row in rows:
        grid.add_row(*(safe(cell) for cell in row))
    emit(grid)


def table() -> Table:
    return Table(box=None, show_edge=False, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")


# ---------------------------------------------------------------------------------------------------------
# Numbers


def human(count: float) -> str:
    """A count in few characters: 950, 1.9k, 24k, 1.2M."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size * 0.9995:
            scaled = count / size
            return f"{scaled:.1f}{letter}" if scaled < 9.95 else f"{scaled:.0f}{letter}"
    return f"{count:.0f}"


def duration(seconds: float) -> str:
    """0:07, 4:10, 1:02:03."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def since(seconds: float) -> str:
    """An age in one unit: 40 s, 12 min, 3 h, 5 d."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def percent(estimate: Estimate, *, sign: bool = False) -> str:
    """`61.2 ± 1.9`, in percent; the error left out where a single problem cannot say."""
    value = f"{100 * estimate.value:{'+' if sign else ''}.1f}"
    return value if estimate.se is None else f"{value} ± {100 * estimate.se:.1f}"


# ---------------------------------------------------------------------------------------------------------
# A run's plan


def plan_lines(plan: Plan, config: RunConfig, out: Path | None) -> list[tuple[str, str]]:
    """What the run will do, as (heading, text)."""
    sampling, learner, evaluation = config.sampling, config.learner, config.eval
    moments = [
        word
        for word, wanted in (
            ("before", evaluation.at_start),
            ("after", evaluation.at_end),
            (f"every {evaluation.every} steps", evaluation.every),
        )
        if wanted
    ]
    responses = "response" if evaluation.samples == 1 else "responses"
    updates = "update" if plan.updates_per_step == 1 else "updates"
    lines = [
        ("run", f"{plan.objective} on {config.model.path}, seed {config.seed}, domains {', '.join(plan.domains)}"),
        (
            "a step",
            f"{sampling.prompts_per_step} prompts × {sampling.group_size} rollouts = {plan.rollouts_per_step}, "
            f"at most {human(plan.max_tokens_per_step)} response tokens",
        ),
        (
            "learning",
            f"{plan.updates_per_step} {updates} a step of {plan.prompts_per_update} prompts ({plan.rollouts_per_update} rollouts), "
            f"lr {learner.lr:g}, micro-batches of {human(learner.tokens_per_microbatch)} tokens"
            + (" laid end to end" if learner.packing else "")
            + (f", adapters of rank {config.lora.rank}" if config.lora.rank else ""),
        ),
        ("asks for", "; ".join(plan.extra) or "nothing beyond sampling and updating"),
        ("ends at", " or ".join(f"{amount(axis, limit)}" for axis, limit in plan.limits.items())),
        (
            "tests",
            (
                f"{' and '.join(moments)}: pass@1 of {evaluation.problems_per_level} problems of each level, {evaluation.samples} {responses} each"
                if moments
                else "none"
            )
            + (f"; a curve of {count(evaluation.curve, 'point')} on a few of them" if evaluation.curve else ""),
        ),
    ]
    if plan.ranks:
        lines.insert(1, ("ranks", in_words(plan.ranks)))
    if plan.sandbox is not None:
        lines.append(("programs", f"run in the sandbox level {plan.sandbox}"))
    return [*lines, *([("written to", str(out))] if out is not None else [])]


def amount(axis: str, limit: float) -> str:
    return f"{limit:.0f} steps" if axis == "steps" else f"{human(limit)} {AXES[axis].words}"


def plan_table(plan: Plan, config: RunConfig, out: Path | None) -> Table:
    return entries(plan_lines(plan, config, out))


def entries(lines: Sequence[tuple[str, str]]) -> Table:
    """Headings, and beside each its text, wrapped."""
    grid = Table.grid(padding=(0, GAP, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for heading, text in lines:
        grid.add_row(heading, safe(text))
    return grid


BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int, *, low: float = 0.0, high: float = 1.0) -> str:
    """Values as bars from `low` to `high`, at most `width` of them; where there are more values, each bar is the mean of several."""
    bars = min(width, len(values))
    edges = [round(index * len(values) / bars) for index in range(bars + 1)] if bars else []
    means = [sum(values[start:end]) / (end - start) for start, end in pairwise(edges)]
    shares = [(mean - low) / (high - low) if high > low else 0.5 for mean in means]
    return "".join(BARS[max(0, min(len(BARS) - 1, int(share * len(BARS))))] for share in shares)


# ---------------------------------------------------------------------------------------------------------
# Evaluations


def count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def describe(evaluation: Evaluation, name: str = "") -> str:
    """What was evaluated and how, in a line."""
    parts = [
        name,
        evaluation.split,
        count(len(evaluation.attempts), "problem"),
        f"{count(evaluation.samples, 'sample')} each",
        f"temperature {evaluation.temperature:g}",
        f"seed {evaluation.seed}",
    ]
    return " · ".join(part for part in parts if part)


def print_scores(evaluation: Evaluation, name: str) -> None:
    """All metrics with their errors, by domain and level; columns that do not fit go into further tables below."""
    rows = tables.scoreboard(evaluation)
    shown = [metric for metric in evaluations.metrics(evaluation) if not metric.startswith("avg@")]  # avg@n is pass@1
    lead = max(len("domain"), *(len(row.domain) for row in rows)) + max(
        len("level"), *(len(row.level or "") for row in rows)
    )
    room = stdout().width - lead - len("problems") - 2 * GAP
    per_table = max(1, room // (len("100.0 ± 0.0") + GAP))
    print_line(name)
    print_line(describe(evaluation))
    for start in range(0, len(shown), per_table):
        metrics = shown[start : start + per_table]
        print_line()
        print_table(
            ["domain", "level", "problems", *metrics],
            [
                [
                    "" if row.level is not None else row.domain,
                    row.level or "",
                    str(row.problems),
                    *(percent(row.scores[metric]) for metric in metrics),
                ]
                for row in rows
            ],
            right=range(2, 3 + len(metrics)),
        )
    print_line()
    emit(
        safe(
            f"Percent ± one standard error over problems. pass@1 is the mean over all samples (avg@{evaluation.samples}); "
            "macro is the mean over domains."
        )
    )
    _print_unjudged(evaluation)


def print_changes(before: Evaluation, after: Evaluation) -> None:
    """The end of a run: pass@1 of every domain before and after, and the difference paired over problems."""
    print_line(describe(after, "pass@1"))
    print_line()
    head = ["domain", "problems", f"step {before.step}", f"step {after.step}", "change, paired"]
    rows = [
        [
            row.domain,
            str(row.difference.problems),
            percent(row.before),
            percent(row.after),
            percent(row.difference, sign=True),
        ]
        for row in tables.changes(before, after)
    ]
    print_table(head, rows, right=range(1, 5))
    print_line()
    emit(safe("Percent ± one standard error over problems; macro is the mean over domains."))
    _print_unjudged(after)


def _print_unjudged(evaluation: Evaluation) -> None:
    if unjudged := evaluations.unjudged(evaluation):
        best = tables.upper_bound(evaluation)
        emit(
            safe(
                f"{count(unjudged, 'response')} could not be judged and counted as wrong; "
                f"were all of them right, macro pass@1 would be {percent(best)}."
            )
        )


def evaluated_line(evaluation: Evaluation) -> str:
    """pass@1 in one line, for those who watch a run."""
    scores = {row.domain: row.scores["pass@1"] for row in tables.scoreboard(evaluation) if row.level is None}
    words = [
        f"{domain} {percent(score).replace(' ', '')}" for domain, score in scores.items()
    ]  # three domains fit 80 columns
    return f"step {evaluation.step} {evaluation.split}: {'  '.join(words)}"


# ---------------------------------------------------------------------------------------------------------
# Rollouts

_STYLES = {"correct": "green", "wrong": "red", "error": "magenta"}


def print_rollout(row: Mapping[str, Any]) -> None:
    """One response with its verdict. A bar stands before every line of the model's, so that it cannot pass for ours."""
    console = stdout()
    print_rollout_head(row)
    _print_block(console, str(row["text"]))
    if row["reason"]:
        console.print(Text("    ").append_text(safe(plain.visible(str(row["reason"]), keep=""), "dim")), soft_wrap=True)


def print_rollout_head(row: Mapping[str, Any]) -> None:
    """Number, verdict, reward and length of a response."""
    status = str(row["status"] or "unjudged")
    trained = "visit" in row  # an evaluation's responses earn no credit
    head = Text.assemble(
        f"  {'rollout' if trained else 'response'} {row['rollout']}  ",
        (plain.visible(status, keep=""), _STYLES.get(status, "yellow")),
        f"  reward {row['reward']:g}{f'  advantage {_mean_advantage(row)}' if trained else ''}  {count(len(row['tokens']), 'token')}",
    )
    stdout().print(head, soft_wrap=True)


def shade(strength: float, *, underline: bool = False) -> Style:
    """Green for plus, red for minus, the fuller the nearer to 1; none at 0."""
    if not strength:
        return Style(underline=underline)
    full, pale = round(70 + 130 * abs(strength)), round(70 - 40 * abs(strength))
    colour = (pale, full, pale) if strength > 0 else (full, pale, pale)
    return Style(bgcolor=Color.from_rgb(*colour), color="white", underline=underline)


def print_group(row: Mapping[str, Any]) -> None:
    """What the rollouts below answer."""
    console = stdout()
    level = f"level {row['level']}" if row["level"] else ""
    visit = f"visit {row['visit']}" if "visit" in row else ""
    parts = [f"step {row['step']}", str(row["problem_id"]), str(row["domain"]), level, visit]
    console.print(safe(plain.visible(" · ".join(part for part in parts if part), keep=""), "bold"), soft_wrap=True)
    _print_block(console, str(row["prompt_text"]))


def print_block(text: str) -> None:
    """Text that is not ours, with a bar before every line."""
    _print_block(stdout(), text)


def _print_block(console: Console, text: str) -> None:
    bar = Text("    │ ", style="dim")
    for line in text.split("\n"):
        shown = safe(line)
        parts = (
            shown.wrap(console, max(10, console.width - len(bar)), overflow="fold") if console.is_terminal else [shown]
        )
        for part in parts or [shown]:
            shown_line = bar.copy().append_text(part)
            shown_line.rstrip()
            console.print(shown_line, soft_wrap=True)


def _mean_advantage(row: Mapping[str, Any]) -> str:
    advantages = row.get("advantages") or []  # a step that stopped before credit has none
    return f"{sum(advantages) / len(advantages):+.2f}" if advantages else "–"


# ---------------------------------------------------------------------------------------------------------
# Entries: a heading, and what belongs to it below


def print_heading(text: str) -> None:
    emit(safe(text, "bold"))


def print_state(state: str, style: str, name: str, text: str) -> None:
    """What became of something: its state, its name, and what it stands for."""
    emit(Text.assemble((f"{state:<8}", style), safe(name, "bold"), "  ", safe(text)))


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """`label: text` a line, indented; an empty label is left out."""
    for label, text in pairs:
        emit(Padding(safe(f"{label}: {text}" if label else text), (0, 0, 0, 4)))
