"""How a run isolates the programs that its policy writes: found once, before a model is loaded, told to workers, recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, zip_longest

from rlzoo import registry
from rlzoo.config import VerificationConfig
from rlzoo.data.source import SPLITS, ProblemSource
from rlzoo.errors import UnmetNeed
from rlzoo.types import Problem
from rlzoo.verifier import SandboxSettings, VerifierContext
from rlzoo.verifiers.sandbox import levels
from rlzoo.verifiers.sandbox.client import SandboxFault

LOOKED_AT = 200
"""Problems of each split that are looked at for what judges them; workers refuse on their own a program that was missed."""
WALL_SHARE = 0.75
"""Of the worker's limit, so that a program ends by its own limit and never costs its worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """The level in force, with what it is made of."""

    level: str
    layers: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.level} ({', '.join(self.layers)})" if self.layers else self.level


def find_isolation(settings: VerificationConfig, sources: Sequence[ProblemSource]) -> Isolation | None:
    """The isolation of the programs that responses to these problems hold; None if they hold none. UnmetNeed where this machine offers none.

    Starts and attacks a sandbox: once a run, by its plan, which hands on what was found.
    """
    if not _any_programs(settings, sources):
        return None
    if settings.sandbox_url is not None:
        return Isolation(level="sandboxfusion", layers=(settings.sandbox_url,))
    try:
        found = levels.choose(settings.sandbox, allow_unsafe=settings.allow_unsafe, packages=tuple(settings.packages))
    except SandboxFault as fault:
        raise UnmetNeed(str(fault)) from fault
    finally:
        levels.close_all()
    return Isolation(level=found.level, layers=found.layers)


def _any_programs(settings: VerificationConfig, sources: Sequence[ProblemSource]) -> bool:
    """Whether the verifier of some problem says that it runs what responses hold."""
    context = verifier_context(settings, None)
    built = cache(lambda name: registry.build_verifier(name, context))

    def runs_programs(problem: Problem) -> bool:
        try:
            return built(problem.verifier).runs_programs(problem)
        except Exception:  # somebody's verifier that cannot be built, as every verdict on the problem will say
            return False

    # Sources in turn: where one holds programs, the first problem of each mostly tells.
    in_turn = chain.from_iterable(zip_longest(*map(some_problems, sources)))
    return any(runs_programs(problem) for problem in in_turn if problem is not None)


def some_problems(source: ProblemSource) -> Iterator[Problem]:
    """Problems of every split, evenly spread over it; one of an endless split, since one generator makes them all."""
    for split in SPLITS:
        size = source.size(split)
        for index in range(0, 1 if size is None else size, max(1, -(-(size or 1) // LOOKED_AT))):
            yield source.problem(split, index)


def verifier_context(settings: VerificationConfig, isolation: Isolation | None) -> VerifierContext:
    """What the run tells its verifiers: their settings, and the level that was found, not a search for one."""
    return VerifierContext(
        settings=settings.own(),
        sandbox=SandboxSettings(
            level=isolation.level if isolation is not None and settings.sandbox_url is None else settings.sandbox,
            allow_unsafe=settings.allow_unsafe,
            wall_s=WALL_SHARE * settings.timeout_s,
            memory_mb=max(64, settings.memory_mb // 2),
            packages=tuple(settings.packages),
            url=settings.sandbox_url,
        ),
    )
