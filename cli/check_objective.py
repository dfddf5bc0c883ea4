"""`rlzoo check objective`: the laws of an objective."""

from __future__ import annotations

from typing import Annotated

import typer

from rlzoo.cli import completion, findings, options

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        autocompletion=completion.objectives,
        help="A name from `rlzoo algos`, module.path:Class, file.py:Class or file.py.",
    ),
]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="A setting of it: objective.x=y; repeatable.")
]
Only = Annotated[list[str] | None, typer.Option("--only", metavar="LAW", help="Only this law; repeatable.")]


def command(
    name: Name,
    sets: Sets = None,
    only: Only = None,
    verbose: findings.Verbose = False,
    json: options.Json = False,
) -> None:
    """Try every law on an objective, and show those that are broken; exit code 1 if one is."""
    from rlzoo.laws import objective as contract

    section = options.objective_section(name, sets)
    tried = contract.check(section, only or [])
    findings.report(section["name"], tried, json=json, verbose=verbose, by_design=contract.BY_DESIGN)
