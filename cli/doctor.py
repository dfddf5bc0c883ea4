"""`rlzoo doctor`: what is here, what is missing and what it would bring, and what nobody has run yet."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from rlzoo.cli.options import Json

if TYPE_CHECKING:
    from rlzoo.cli.installed import InstalledPart

HEADINGS = {"base": "What every run needs", "machine": "This machine", "more": "What can be added"}
STYLES = {"ok": "green", "absent": "dim", "unfit": "yellow", "broken": "red"}


def command(json: Json = False) -> None:
    """Say what is installed here and what is missing.

    What each missing part would enable, and the command that installs it.

    Packages are looked up and not loaded. The exit code is 1 where a part that every run needs is missing or of a version that does not fit.
    """
    from rlzoo.cli import console, installed

    parts = installed.parts()
    broken = [part for part in parts if part.group == "base" and part.state != "ok"]
    if json:
        console.print_json(
            {"ok": not broken, "parts": [asdict(part) for part in parts], "not_yet_run": dict(installed.NOT_YET_RUN)}
        )
    else:
        for group, heading in HEADINGS.items():
            console.print_heading(heading)
            for part in parts:
                if part.group == group:
                    _show(part)
        console.print_heading("Not yet run: only a GPU can show it")
        for name, about in installed.NOT_YET_RUN.items():
            console.print_state("", "dim", name, about)
        _conclude([part.name for part in broken], [part.name for part in parts if part.state == "unfit"])
    if broken:
        raise typer.Exit(1)


def _show(part: InstalledPart) -> None:
    from rlzoo.cli import console

    state = "broken" if part.group == "base" and part.state != "ok" else part.state
    console.print_state(state, STYLES[state], part.name, part.found)
    if part.state != "ok":
        console.print_pairs([(label, text) for label, text in _told(part) if text])


def _told(part: InstalledPart) -> list[tuple[str, str]]:
    return [
        ("why", part.why),
        ("would enable" if part.state == "absent" else "for", part.enables),
        ("do", part.install),
    ]


def _conclude(broken: list[str], unfit: list[str]) -> None:
    from rlzoo.cli import console

    console.hint("")
    if broken:
        console.hint(f"Runs will fail until these are repaired: {', '.join(broken)}.")
    elif unfit:
        console.hint(f"The base works. Of what was added, this does not fit: {', '.join(unfit)}.")
    else:
        console.hint("The base works. Train with it: rlzoo train --algo grpo --out runs/first")
