"""Which verifier judges a problem that names none, by where it comes from: patterns of its `data_source`, else of its domain."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

ROUTES: Mapping[str, str] = {
    "*reasoning-gym*": "reasoning-gym",
    "*reasoning_gym*": "reasoning-gym",
    "*gsm8k*": "maths",
    "*math*": "maths",
    "*aime*": "maths",
    "*amc*": "maths",
    "*numina*": "maths",
    "*deepscaler*": "maths",
    "*dapo*": "maths",
    "*simulation*": "logic",
    "*puzzle*": "logic",
    "*arc*agi*": "logic",
    "*gpqa*": "choice",
    "*mmlu*": "choice",
    "*arc_*": "choice",
    "*apps*": "code",
    "*taco*": "code",
    "*code*": "code",
    "*humaneval*": "code",
    "*mbpp*": "code",
    "logic*": "logic",
    "*[!a-z]logic*": "logic",
    "*zebralogic*": "logic",
}
"""Verifier by shell pattern, compared without regard to case; the first that matches. `logic` begins a word: *biological* is none of it."""


def by_origin(origins: Iterable[str | None], routes: Mapping[str, str] = ROUTES) -> str | None:
    """The verifier that the first of `origins` with a matching pattern is routed to; None if there is none."""
    for origin in filter(None, origins):
        for pattern, verifier in routes.items():
            if fnmatchcase(origin.lower(), pattern.lower()):
                return verifier
    return None
