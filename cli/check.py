"""`rlzoo check`: whether what somebody wrote keeps its contract, and what data hold. One subcommand a module."""

from __future__ import annotations

import typer

from rlzoo.cli import check_data, check_objective, check_verifier, options

app = typer.Typer(help="Try the laws of an objective or a verifier; look through data.", invoke_without_command=True)
app.command("objective", epilog=options.example("rlzoo check objective mine.py"))(check_objective.command)
app.command("verifier", epilog=options.example("rlzoo check verifier maths --set verifier.maths.equality=lenient"))(
    check_verifier.command
)
app.command("data", epilog=options.example("rlzoo check data problems.jsonl --set columns.prompt=question"))(
    check_data.command
)


@app.callback()
def group(context: typer.Context) -> None:
    """Try the laws of an objective or a verifier; look through data."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
