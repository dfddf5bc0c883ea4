"""`rlzoo check verifier`: the laws of a verifier."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlzoo.cli import completion, findings, options

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        autocompletion=completion.verifiers,
        help="A registered name, module.path:Class, file.py:Class or file.py.",
    ),
]
Data = Annotated[
    Path | None, typer.Option("--data", metavar="FILE", help="Rows to try it on: what a `file` source takes.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="A setting of it: verifier.maths.equality=lenient; repeatable."),
]
Only = Annotated[list[str] | None, typer.Option("--only", metavar="LAW", help="Only this law; repeatable.")]
Timeout = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="Limit of one verdict, as verifier.timeout_s.")
]


def command(
    name: Name,
    data: Data = None,
    sets: Sets = None,
    only: Only = None,
    timeout: Timeout = 2.0,
    verbose: findings.Verbose = False,
    json: options.Json = False,
) -> None:
    """Try every law on a verifier, in a worker process, and show those that are broken; exit code 1 if one is."""
    from rlzoo import configure, registry
    from rlzoo.laws import verifier as contract
    from rlzoo.verifier import VerifierContext

    if name.endswith(".py"):
        name = registry.only_verifier(name)
    problems = contract.problems_for(name, str(data) if data else None)
    context = VerifierContext(settings=configure.load(assignments=sets or []).verifier.own())
    tried = contract.check(name, problems, only=only or [], timeout_s=timeout, context=context)
    findings.report(name, tried, json=json, verbose=verbose)
