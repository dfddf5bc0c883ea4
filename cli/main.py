"""The `rlzoo` command: what it can do, and how failures are told. Modules of commands load nothing heavy until they run."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from rlzoo import __version__, placement
from rlzoo.cli import (
    algos,
    check,
    compare,
    config,
    doctor,
    evaluate,
    explain,
    metrics,
    new,
    plain,
    recipes,
    report,
    runs,
    show,
    train,
    warmstart,
)
from rlzoo.cli.options import example

app = typer.Typer(
    help="RL with verifiable rewards: change the objective and nothing else, and learn whether it mattered.",
    invoke_without_command=True,
    epilog=example("rlzoo train --algo grpo --steps 20 --out runs/first"),
    rich_markup_mode=None,  # rich's help costs 0.1 s
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("train", epilog=example("rlzoo train --algo grpo --data problems.jsonl --out runs/first"))(train.command)
app.command("compare", epilog=example("rlzoo compare grpo cepo --seeds 3 --budget gen_tokens=500k"))(compare.command)
app.command("report", epilog=example("rlzoo report runs/first"))(report.command)
app.command("eval", epilog=example("rlzoo eval runs/first --samples 16"))(evaluate.command)
app.add_typer(show.app, name="show", epilog=example("rlzoo show runs/first --eval --status wrong"))
app.command("runs", epilog=example("rlzoo runs --json"))(runs.command)
app.command("algos", epilog=example("rlzoo algos --json"))(algos.command)
app.command("explain", epilog=example("rlzoo explain cepo --set objective.mix=0.3"))(explain.command)
app.add_typer(check.app, name="check", epilog=example("rlzoo check data problems.jsonl"))
app.add_typer(new.app, name="new", epilog=example("rlzoo new objective my-idea"))
app.command("recipes", epilog=example("rlzoo recipes"))(recipes.command)
app.add_typer(config.app, name="config", epilog=example("rlzoo config show --algo grpo --explain"))
app.command("metrics", epilog=example("rlzoo metrics --json"))(metrics.command)
app.command("doctor", epilog=example("rlzoo doctor --json"))(doctor.command)
app.command("warmstart", epilog=example("rlzoo warmstart --out models"))(warmstart.command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rlzoo {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Takes what stands before the command's name."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def run(args: list[str] | None = None) -> int:
    """Run one command. 0 done, 1 failed, 2 asked wrongly, 130 interrupted; never a traceback."""
    os.environ.setdefault(
        "PYTHONSAFEPATH", "1"
    )  # processes started from here never import a file because it lies in this folder
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(ValueError):
                stream.reconfigure(errors="backslashreplace")  # a terminal that knows no ± must not end a run
    try:
        code = app(args, prog_name="rlzoo", standalone_mode=False)
    except TyperException as error:
        plain.say(f"{error.format_message()}{_see_help(error)}", label="error")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        if placement.first():
            plain.say("interrupted")
        return plain.INTERRUPTED
    except Exception as error:
        return plain.explain_failure(error)
    return code if isinstance(code, int) else 0


def _see_help(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f"\nSee `{context.command_path} --help`." if context is not None else ""
