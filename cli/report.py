"""`rlzoo report`: the report of a run, or of a comparison again, from what lies on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlzoo.cli import options
from rlzoo.errors import DataError, UsageError

if TYPE_CHECKING:
    from rlzoo.runs.folder import RunDir

Folder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run or of a comparison.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Of a comparison: refuse arms that differ in more than the objective.")
]


def command(folder: Folder, strict: Strict = False, json: options.Json = False) -> None:
    """Write the HTML report of a run, or of a comparison again.

    It reads what lies in the folder and adds report.html, report.md and report.json, so it also shows how far an unfinished run or comparison has come.
    """
    from rlzoo.runs.comparison import read_spec
    from rlzoo.runs.folder import RunDir

    if read_spec(folder) is not None:
        _comparison(folder, strict=strict, json=json)
    elif not RunDir(folder).exists():
        raise UsageError(
            f"{str(folder)!r} holds no run (no config.yaml) and no comparison (no compare.json). "
            "Give the folder that `rlzoo train` or `rlzoo compare` printed."
        )
    elif strict:
        raise UsageError(f"--strict is about the arms of a comparison, but {str(folder)!r} is one run. Leave it out.")
    else:
        _run(RunDir(folder), json=json)


def _comparison(folder: Path, *, strict: bool, json: bool) -> None:
    from rlzoo.cli import console
    from rlzoo.evals import analysis, gather, report
    from rlzoo.evals.report import data

    comparison = analysis.analyse(*gather.read(folder), strict=strict)
    path = report.write(comparison, folder)
    if json:
        console.print_json(data.comparison(comparison))
        return
    for line in comparison.verdict_lines():
        console.print_line(line)
    console.hint(f"report: {path}")


def _run(run: RunDir, *, json: bool) -> None:
    from rlzoo.cli import console, overview
    from rlzoo.evals import records, report
    from rlzoo.evals.report import alone

    try:
        record = records.alone(run)
    except records.DAMAGES as error:
        raise DataError(f"{run.path} cannot be reported on: {error}") from error
    path = report.write_run(record)
    if json:
        console.print_json(alone.document(record).data)
        return
    overview.show(record)
    console.hint(f"report: {path}")
