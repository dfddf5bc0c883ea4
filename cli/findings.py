"""Findings about laws, on the terminal or as JSON."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rlzoo.laws.finding import Finding

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show every law, not only those that are broken.")]

_STYLES = {"holds": "green", "broken": "bold red", "exempt": "yellow", "untried": "dim"}


def report(
    name: str, findings: Iterable[Finding], *, json: bool, verbose: bool, by_design: Collection[str] = ()
) -> None:
    """A line about all, then what broke, or with `verbose` everything. Exit code 1 if a law is broken.

    `by_design`: laws that some cannot keep, for which the line that declares it is proposed.
    """
    from rlzoo.cli import console
    from rlzoo.laws.finding import as_data

    seen: list[Finding] = []
    with console.stderr().status("trying the laws") as status:
        for finding in findings:
            seen.append(finding)
            status.update(f"trying the laws: {len(seen)}, {finding.law} {finding.state}")
            if json:
                console.print_json(as_data(finding))
    broken = [finding for finding in seen if finding.state == "broken"]
    if not json:
        console.print_line(summary(name, seen))
        for finding in seen if verbose else broken:
            _print(finding)
        _propose([finding.law for finding in broken if finding.law in by_design])
    if broken:
        raise typer.Exit(1)


def _propose(laws: Sequence[str]) -> None:
    """The line for laws that cannot hold by design, as with objectives that learn from a teacher and not from rewards."""
    from rlzoo.cli import console

    if laws:
        reasons = ", ".join(f'"{law}": "WHY"' for law in laws)
        console.hint(f"Where that is by design, declare it in the class: exemptions = {{{reasons}}}")


def _print(finding: Finding) -> None:
    from rlzoo.cli import console, plain

    console.print_state(finding.state, _STYLES[finding.state], finding.law, finding.statement)
    if finding.detail:
        console.print_pairs([("because" if finding.state == "exempt" else "", plain.visible(finding.detail, keep=""))])
    if finding.where:
        console.print_pairs([("see", finding.where)])


def summary(name: str, findings: Sequence[Finding]) -> str:
    """What became of the laws, in a line."""
    named = {state: [f.law for f in findings if f.state == state] for state in ("holds", "broken", "exempt", "untried")}
    parts = [f"{len(named['holds'])} of {len(findings)} laws hold"]
    parts += [f"{state}: {', '.join(named[state])}" for state in ("broken", "exempt") if named[state]]
    if named["untried"]:
        parts.append(f"{len(named['untried'])} not tried")
    return f"{name}: {'; '.join(parts)}"
