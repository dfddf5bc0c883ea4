"""`rlzoo runs`: which runs there are, and how far they have come."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlzoo.cli import folders, options
from rlzoo.errors import UsageError

if TYPE_CHECKING:
    from rlzoo.runs.folder import RunDir

Folder = Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where to look, comparisons' runs included.")]
WRITTEN = ("config.yaml", "status.json", "metrics.jsonl", "evals.jsonl")
"""Files by which a run is known and its age told."""


def command(folder: Folder = folders.RUNS, json: options.Json = False) -> None:
    """List the runs in a folder, newest first."""
    from rlzoo.cli import console

    if not folder.is_dir():
        raise UsageError(f"there is no folder {str(folder)!r}, so no runs to list. Give the folder that holds them.")
    found = sorted((about(run, folder) for run in runs_in(folder)), key=lambda entry: (entry["age_s"], entry["name"]))
    if json:
        for entry in found:
            console.print_json(entry)
        return
    if not found:
        console.hint(f"no runs in {folder}. `rlzoo train` makes one.")
        return
    console.print_table(
        ["run", "algorithm", "model", "steps", "reward", "pass@1", "age", "state"],
        [_row(entry) for entry in found],
        right=(3, 4, 5, 6),
    )
    damaged = [entry for entry in found if entry["damage"] is not None]
    if damaged:
        console.print_line()
        console.print_pairs([(entry["name"], entry["damage"]) for entry in damaged])


def runs_in(folder: Path) -> Iterator[RunDir]:
    """Every run at or below a folder; nothing is looked for inside one."""
    from rlzoo.runs.folder import RunDir

    for place, below, files in os.walk(folder):
        below.sort()
        if set(WRITTEN) & set(files):
            below.clear()
            yield RunDir(Path(place))


def about(run: RunDir, folder: Path) -> dict[str, Any]:
    """One run as plain data; of a damaged one, what is wrong with it."""
    from rlzoo.evals import records, summary

    entry: dict[str, Any] = {
        "name": str(run.path.relative_to(folder)) if run.path != folder else str(folder),
        "path": str(run.path),
        "age_s": age(run),
        "damage": None,
    }
    try:
        found = summary.of(records.alone(run))
    except records.DAMAGES as error:
        missing = "it has no config.yaml" if not run.exists() else " ".join(str(error).split()) or type(error).__name__
        return entry | {"damage": missing}
    steps = found.spent.get("steps")
    return entry | {
        "objective": found.objective,
        "model": found.model,
        "seed": found.seed,
        "state": found.state,
        "abandoned": found.abandoned,
        "step": found.step,
        "steps": int(steps[1]) if steps else None,
        "spent": {axis: list(share) for axis, share in found.spent.items()},
        "reward": found.rewards[-1] if found.rewards else None,
        "tested": {"step": found.tested[0], "pass@1": found.tested[1]} if found.tested else None,
    }


def age(run: RunDir) -> float:
    """Seconds since it was last written to."""
    times = [file.stat().st_mtime for name in WRITTEN if (file := run.path / name).is_file()]
    return max(0.0, time.time() - max(times, default=0.0))


def _row(entry: dict[str, Any]) -> list[str]:
    from rlzoo.cli import console

    since = console.since(entry["age_s"])
    if entry["damage"] is not None:
        return [entry["name"], "–", "–", "–", "–", "–", since, "damaged"]
    tested = entry["tested"]
    return [
        entry["name"],
        entry["objective"],
        Path(entry["model"]).name,
        f"{entry['step']}/{entry['steps']}" if entry["steps"] else str(entry["step"]),
        f"{entry['reward']:.2f}" if entry["reward"] is not None else "–",
        f"{100 * tested['pass@1']:.1f}" if tested else "–",
        since,
        "killed" if entry["abandoned"] else entry["state"],
    ]
