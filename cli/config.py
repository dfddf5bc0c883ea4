"""`rlzoo config`: settings shown, checked and described."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rlzoo.cli import options

app = typer.Typer(help="Show, check and describe settings.", invoke_without_command=True)


@app.callback()
def group(context: typer.Context) -> None:
    """Show, check and describe settings."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


Explain = Annotated[
    bool, typer.Option("--explain", help="Say what each setting does, and where its default comes from.")
]
Checked = Annotated[Path, typer.Argument(metavar="FILE", help="YAML settings.")]


@app.command("show", epilog=options.example("rlzoo config show --algo grpo --explain"))
def show(
    algo: options.Algo = None,
    recipe: options.Recipe = None,
    file: options.File = None,
    sets: options.Sets = None,
    steps: options.Steps = None,
    seed: options.Seed = None,
    model: options.Model = None,
    data: options.Data = None,
    explain: Explain = False,
    json: options.Json = False,
) -> None:
    """Print the settings that `train` would use.

    What is printed is a file that --config reads back to the same settings.
    """
    from rlzoo import configure
    from rlzoo.cli import console, described

    found = options.load_config(
        algo,
        recipe,
        file,
        options.assignments(
            sets, budget__steps=steps, seed=seed, model__path=model, data__sources=options.sources(data)
        ),
    )
    if not explain:
        if json:
            console.print_json(found.model_dump(mode="json"))
        else:
            console.print_line(configure.to_yaml(found).rstrip("\n"))
        return
    values = dict(configure.flatten(found.model_dump(mode="json")))
    entries = [
        {**entry, "value": values.get(entry["path"], entry["default"])}
        for entry in described.describe(type(found), objective=type(found.objective))
    ]
    if json:
        for entry in entries:
            console.print_json(entry)
        return
    for entry in entries:
        console.print_heading(f"{entry['path']} = {described.short(entry['value'])}")
        console.print_pairs(_pairs(entry))


def _pairs(entry: dict[str, Any]) -> list[tuple[str, str]]:
    from rlzoo.cli import described

    pairs = [("", entry["meaning"])] if entry["meaning"] else []
    if entry["limits"]:
        pairs.append(("", f"{entry['limits'][0].upper()}{entry['limits'][1:]}."))
    if not entry["required"] and entry["value"] != entry["default"]:
        pairs.append(("default", described.short(entry["default"])))
    if entry["source"]:
        pairs.append(("source", f"{entry['source']} [{entry['tag']}]"))
    return pairs


@app.command("check", epilog=options.example("rlzoo config check mine.yaml --algo cepo"))
def check(file: Checked, algo: options.Algo = None, recipe: options.Recipe = None, sets: options.Sets = None) -> None:
    """Check a file of settings, and whether its run could start.

    The run must be able to supply what its objective needs. No model is loaded.
    """
    from rlzoo.cli import console, train

    found = options.load_config(algo, recipe, file, options.assignments(sets))
    train.plan_of(found)
    console.print_line(f"ok: {file} describes a run of {found.objective.name} that could start")


@app.command("schema", epilog=options.example("rlzoo config schema"))
def schema() -> None:
    """Print the JSON schema of a file of settings, for editors."""
    import json

    from rlzoo.cli import console, described

    console.print_line(json.dumps(described.schema(), indent=2))
