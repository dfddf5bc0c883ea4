"""Scores of sampled answers, each with its standard error over problems. No torch, no files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb, sqrt
from statistics import fmean, stdev
from typing import NamedTuple

CORRECT, UNJUDGED = "correct", "error"


class Interval(NamedTuple):
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over problems. Samples of one problem are not independent, so the problem is the unit of its error."""

    value: float
    se: float | None
    """Standard error; None where a single problem cannot say."""
    problems: int

    def interval(self) -> Interval | None:
        """95 %, over problems; None where the error is not known."""
        return Interval(self.value - 1.96 * self.se, self.value + 1.96 * self.se) if self.se is not None else None


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Chance that k of the samples, drawn without replacement, hold a correct one: 1 - C(n - c, k) / C(n, k).

    arXiv:2107.03374 eq. 1, unbiased for k independent attempts; drawing with replacement is biased low.
    """
    if not 1 <= k <= samples or not 0 <= correct <= samples:
        raise ValueError(
            f"pass@{k} of {samples} samples, {correct} correct; expected 1 <= k <= samples and 0 <= correct <= samples"
        )
    return 1 - comb(samples - correct, k) / comb(samples, k)


def powers_of_two(samples: int) -> list[int]:
    """The k of which pass@k is reported: 1, 2, 4, ... up to the samples a problem has."""
    return [1 << exponent for exponent in range(samples.bit_length())]


def majority(answers: Sequence[str | None], status: Sequence[str], *, unjudged: float = 0.0) -> float:
    """Expected correctness of the commonest answer, ties broken evenly at random: maj@n, exactly.

    A missing answer never wins. One answer may carry several verdicts (one copy timed out); it then counts for the
    share of its judged copies that are correct, and for `unjudged` if no copy was judged.
    """
    votes = Counter(answer for answer in answers if answer is not None)
    if not votes:
        return 0.0
    most = max(votes.values())
    return fmean(_share_correct(answer, answers, status, unjudged) for answer, count in votes.items() if count == most)


def _share_correct(winner: str, answers: Sequence[str | None], status: Sequence[str], unjudged: float) -> float:
    judged = [
        verdict for answer, verdict in zip(answers, status, strict=True) if answer == winner and verdict != UNJUDGED
    ]
    return fmean(verdict == CORRECT for verdict in judged) if judged else unjudged


def over_problems(values: Sequence[float]) -> Estimate:
    """Mean of one value a problem, with the standard error of that mean."""
    if not values:
        raise ValueError("no problems; an estimate needs at least one")
    se = stdev(values) / sqrt(len(values)) if len(values) > 1 else None
    return Estimate(fmean(values), se, len(values))


def macro(domains: Sequence[Estimate]) -> Estimate:
    """Mean over domains, each counting alike however many problems it has; problems of different domains are independent."""
    errors = [domain.se for domain in domains]
    known = [error for error in errors if error is not None]
    se = sqrt(sum(error**2 for error in known)) / len(domains) if len(known) == len(errors) else None
    return Estimate(fmean(domain.value for domain in domains), se, sum(domain.problems for domain in domains))


def paired(before: Mapping[str, float], after: Mapping[str, float]) -> Estimate:
    """Mean change of the same problems, by id. Its error leaves out how problems differ, so it is mostly far below that of
    two separate means."""
    if before.keys() != after.keys():
        raise ValueError(
            f"{len(before.keys() ^ after.keys())} problems stand in only one of two evaluations; a paired difference needs the same problems"
        )
    return over_problems([after[problem] - before[problem] for problem in before])
