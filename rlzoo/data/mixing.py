"""Which problems a step gets: by weight or quota, past filters, in an order that a handful of counters restores."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any

from rlzoo.config import RunConfig
from rlzoo.data.filters import Filter, Fits, filters_of
from rlzoo.data.source import ProblemSource, Split, digest
from rlzoo.data.strata import Shares, Stratum, make_strata
from rlzoo.errors import DataError
from rlzoo.types import Group, Problem

PATIENCE = 10_000
"""Problems of an endless source that may be passed over in a row before that is an error."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A problem as it comes up in a run."""

    problem: Problem
    visit: int
    """How often this run had drawn the problem before."""


class Mixer:
    """Draws from the train splits of several sources. Every rank draws the same; ranks divide what was drawn.

    The next problem comes from the stratum (a source, or a source's part of a domain) that is furthest behind its share, so
    every run of problems holds each share to within one or two. A finite stratum is shuffled anew each epoch; an endless one
    is walked from a place that depends on the seed. A problem that a filter does not admit is passed over; what filters know
    comes from `observe`, which every rank calls with all ranks' groups, so ranks stay equal.
    """

    def __init__(
        self,
        sources: Sequence[ProblemSource],
        weights: Sequence[float],
        seed: int,
        *,
        shares: Shares | None = None,
        filters: Sequence[Filter] = (),
    ) -> None:
        self.sources = tuple(sources)
        self.seed = seed
        self.plan = make_strata(sources, weights, shares or Shares())
        self.strata = self.plan.strata
        self.filters = tuple(filters)
        self._drawn = [0] * len(self.strata)
        self._at = [0] * len(self.strata)
        """How far each stratum was walked; ahead of what was drawn by what was passed over."""
        self._passed: dict[str, int] = {}
        """By problem of a finite stratum: how often it was passed over."""
        self._asked: set[str] = set()
        """Problems of finite strata that were drawn and not yet observed."""

    def draw(self, count: int) -> list[Drawn]:
        """The next `count` problems, strata interleaved. Without filters, how draws are cut into steps changes nothing."""
        return [self._next() for _ in range(count)]

    def observe(self, groups: Sequence[Group]) -> None:
        """What became of problems that were drawn: all ranks' judged groups."""
        for group in groups:
            judged = [r.verdict for r in group.rollouts if r.verdict is not None and r.verdict.judged]
            if judged:
                rate = sum(verdict.correct for verdict in judged) / len(judged)
                for filter_ in self.filters:
                    filter_.observe(group.problem, rate, returns=group.problem.id in self._asked)
            self._asked.discard(group.problem.id)

    def state_dict(self) -> dict[str, Any]:
        return {
            "drawn": list(self._drawn),
            "at": list(self._at),
            "passed": dict(self._passed),
            "filters": [filter_.state_dict() for filter_ in self.filters],
            "fingerprint": self.fingerprint(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """DataError if the state belongs to other sources, weights or another seed."""
        if state["fingerprint"] != self.fingerprint():
            raise DataError(
                "the saved data order belongs to other sources, weights or another seed; going on would repeat some "
                "problems and miss others. Resume with the data the run started with."
            )
        self._drawn, self._at, self._passed = list(state["drawn"]), list(state["at"]), dict(state["passed"])
        for filter_, saved in zip(self.filters, state["filters"], strict=True):
            filter_.load_state_dict(saved)

    def fingerprint(self) -> str:
        """Changes with anything that changes what is drawn."""
        return digest(
            [(source.name, source.fingerprint()) for source in self.sources],
            self.plan.described(),
            [filter_.described() for filter_ in self.filters],
            self.seed,
        )

    def _next(self) -> Drawn:
        place = self.plan.behind(self._drawn)
        stratum = self.strata[place]
        for _ in range(PATIENCE + 20 * (stratum.size or 0)):
            nth = self._at[place]
            self._at[place] += 1
            drawn = self._problem(place, stratum, nth)
            if all(filter_.admits(drawn.problem, sum(self._drawn)) for filter_ in self.filters):
                self._drawn[place] += 1
                if stratum.size is not None:
                    self._asked.add(drawn.problem.id)
                return drawn
            if stratum.size is not None:
                self._passed[drawn.problem.id] = self._passed.get(drawn.problem.id, 0) + 1
        raise DataError(
            f"of {stratum.name}, {PATIENCE + 20 * (stratum.size or 0):,} problems in a row were passed over "
            f"({', '.join(filter_.described()[0] for filter_ in self.filters)}), so none is left to ask. Loosen data.pass_rate, "
            "data.curriculum or sampling.max_prompt, or leave the source out."
        )

    def _problem(self, place: int, stratum: Stratum, nth: int) -> Drawn:
        if stratum.size is None:
            return Drawn(stratum.problem(_start(self.seed, place) + nth), 0)
        epoch, at = divmod(nth, stratum.size)
        problem = stratum.problem(_order(self.seed, place, epoch, stratum.size)[at])
        return Drawn(problem, epoch - self._passed.get(problem.id, 0))


def mixer_of(config: RunConfig, sources: Sequence[ProblemSource], fits: Callable[[Problem], bool]) -> Mixer:
    """The mixer that a run's settings describe. `fits`: whether a problem's prompt is short enough."""
    data = config.data
    shares = Shares(
        domains=data.domains,
        quotas=data.quotas,
        temperature=data.temperature,
        per_step=config.sampling.prompts_per_step,
    )
    filters: list[Filter] = [Fits(fits, config.sampling.max_prompt)] if data.long_prompts == "skip" else []
    weights = [source.weight for source in data.sources]
    return Mixer(sources, weights, config.seed, shares=shares, filters=[*filters, *filters_of(data)])


def suite(
    sources: Sequence[ProblemSource], split: Split, per_level: int, fits: Callable[[Problem], bool] | None = None
) -> list[Problem]:
    """Evaluation problems: the first `per_level` of every domain and level, in the sources' order; all of them where
    there are fewer. Endless splits end once every level seen so far is full. Problems that do not fit are left out, and of
    those that several sources hold, all but the first."""
    chosen: dict[str, Problem] = {}
    for source in sources:
        taken: dict[tuple[str, str], int] = {}
        for problem in walk(source, split):
            level = (problem.domain, problem.level)
            if fits is not None and not fits(problem):
                continue
            if taken.setdefault(level, 0) < per_level:
                taken[level] += 1
                chosen.setdefault(problem.id, problem)
            elif source.size(split) is None and min(taken.values()) == per_level:
                break
    return list(chosen.values())


def walk(source: ProblemSource, split: Split) -> Iterator[Problem]:
    """A split's problems in order; without end where it has none."""
    size, index = source.size(split), 0
    while size is None or index < size:
        yield source.problem(split, index)
        index += 1


def _start(seed: int, place: int) -> int:
    return Random(f"start/{seed}/{place}").randrange(2**40)


@lru_cache(maxsize=64)
def _order(seed: int, place: int, epoch: int, size: int) -> Sequence[int]:
    order = list(range(size))
    Random(f"order/{seed}/{place}/{epoch}").shuffle(order)
    return order
