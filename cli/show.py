"""`rlzoo show`: a run's rollouts, as sampled and judged."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer
from typer.core import TyperGroup

from rlzoo.cli import options, selection
from rlzoo.types import Status

if TYPE_CHECKING:
    from rlzoo.runs.folder import RunDir

ROLLOUTS = "rollouts"


class _RolloutsByDefault(TyperGroup):
    """`rlzoo show RUN` is `rlzoo show rollouts RUN`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [ROLLOUTS, *_step_after_eval(args)]
        return super().parse_args(ctx, args)


def _step_after_eval(args: list[str]) -> list[str]:
    """`--eval 20` is `--eval --step 20`."""
    found: list[str] = []
    for word in args:
        found += ["--step", word] if found and found[-1] == "--eval" and word.isdecimal() else [word]
    return found


app = typer.Typer(cls=_RolloutsByDefault, help="Print what a run holds.", invoke_without_command=True)


@app.callback()
def group(context: typer.Context) -> None:
    """Print what a run holds; `rlzoo show RUN` prints its rollouts."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]
Step = Annotated[int | None, typer.Option("--step", metavar="N", help="Which step. [default: the newest]")]
ProblemId = Annotated[
    str | None, typer.Option("--problem", metavar="ID", help="Only this problem, in the newest step that holds it.")
]
Only = Annotated[
    list[str] | None,
    typer.Option("--status", metavar="STATUS", help=f"Only these verdicts: {', '.join(get_args(Status))}; repeatable."),
]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=0, help="At most so many rollouts; 0 = all.")]
Eval = Annotated[
    bool,
    typer.Option("--eval", help="Instead, responses of an evaluation; --eval 20 is --eval --step 20."),
]
Split = Annotated[Literal["test", "validation", "curve"], typer.Option("--split", help="Which problems, with --eval.")]


@app.command(ROLLOUTS, epilog=options.example("rlzoo show runs/first --step 20 --status wrong"))
def command(
    folder: Run,
    step: Step = None,
    problem: ProblemId = None,
    status: Only = None,
    limit: Limit = 8,
    evaluated: Eval = False,
    split: Split = "test",
    json: options.Json = False,
) -> None:
    """Print a summary, and rollouts with verdicts."""
    from rlzoo.cli import console
    from rlzoo.runs.folder import RunDir

    run = RunDir(folder)
    selection.check(run, status or [])
    if not (evaluated or json or status or step is not None or problem is not None):
        _summarise(run)
        if not run.rollout_steps():
            console.hint("No rollouts are recorded: it has made no step yet, or log.rollouts_every is 0.")
            return
    kept = selection.answers(run, split) if evaluated else selection.rollouts(run)
    rows = selection.select(run, kept, step, problem, status or [])
    shown = rows[:limit] if limit else rows
    if json:
        for row in shown:
            console.print_json(row)
    else:
        for _, group in groupby(shown, key=lambda row: (row["step"], row["problem_id"], row["group"])):
            members = list(group)
            console.print_group(members[0])
            for row in members:
                console.print_rollout(row)
            console.print_line()
    if len(shown) < len(rows):
        console.hint(f"{len(shown)} of {len(rows)} {'responses' if evaluated else 'rollouts'}; --limit 0 shows all.")


def _summarise(run: RunDir) -> None:
    """The run at a glance; where its records are damaged, that is told and its rollouts can still be read."""
    from rlzoo.cli import overview, plain
    from rlzoo.evals import records

    try:
        record = records.alone(run)
    except records.DAMAGES as error:
        plain.say(f"no summary: {error}", label="warning")
        return
    overview.show(record)


# ---------------------------------------------------------------------------------------------------------
# What was measured beside training

Picture = Annotated[
    Path | None, typer.Option("--out", metavar="FILE.png", help="Also draw it, with its data beside it.")
]
Page = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Also write a page of its own.")]


@app.command("interference", epilog=options.example("rlzoo show interference runs/first"))
def interference(folder: Run, json: options.Json = False) -> None:
    """Print how the gradients of domains agree."""
    from rlzoo.cli import views

    views.interference(folder, json=json)


@app.command("drift", epilog=options.example("rlzoo show drift runs/first"))
def drift(folder: Run, json: options.Json = False) -> None:
    """Print what a step does to mastered prompts."""
    from rlzoo.cli import views

    views.drift(folder, json=json)


@app.command("representations", epilog=options.example("rlzoo show representations runs/first --out space.png"))
def representations(folder: Run, out: Picture = None, json: options.Json = False) -> None:
    """Print, and draw, how embeddings lie."""
    from rlzoo.cli import views

    views.representations(folder, out, json=json)


@app.command("credit", epilog=options.example("rlzoo show credit runs/first --html credit.html"))
def credit(
    folder: Run,
    step: Step = None,
    problem: ProblemId = None,
    limit: Limit = 8,
    html: Page = None,
    json: options.Json = False,
) -> None:
    """Print responses coloured by each token's credit."""
    from rlzoo.cli import views

    views.credit(folder, step, problem, limit, html, json=json)
