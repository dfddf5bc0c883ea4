"""What few seeds can say: paired t intervals, Holm's adjustment, equivalence, power. Numbers in, numbers out.

A seed is the unit: arms share each seed's initial weights, problems, order and sampling noise, so their difference at
that seed is one observation. docs/statistics.md says why it is done this way and what was measured.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.optimize import brentq

from rlzoo.evals.passk import Interval

ALPHA = 0.05
POWER = 0.8
MOST_SEEDS = 10_000
"""Where the search for enough seeds ends."""
_ROUNDING = 1e-12
"""Spread of differences in [-1, 1] that rounding alone can make."""

Floats = NDArray[np.float64]


def _unit_quadrature(points: int) -> tuple[Floats, Floats]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    return (nodes + 1) / 2, weights / 2


_QUADRATURE = _unit_quadrature(256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Paired differences over seeds, summed up."""

    n: int
    mean: float
    sd: float | None
    """Bessel-corrected; None for one seed."""

    @property
    def varies(self) -> bool:
        """False where there is no spread to measure a mean against: one seed, or the same difference at every seed."""
        return self.sd is not None and self.sd > _ROUNDING

    @property
    def se(self) -> float | None:
        return self.sd / self.n**0.5 if self.sd is not None else None

    def interval(self, alpha: float = ALPHA) -> Interval | None:
        """The two-sided t interval at level 1 - alpha. None where the differences do not vary: a width of zero would be a lie."""
        if not self.varies:
            return None
        assert self.se is not None
        half = t_critical(self.n - 1, alpha) * self.se
        return Interval(self.mean - half, self.mean + half)

    def p(self) -> float | None:
        """Two-sided, of no difference on average."""
        if not self.varies:
            return None
        assert self.se is not None
        return float(2 * special.stdtr(self.n - 1, -abs(self.mean) / self.se))

    def p_equivalent(self, margin: float) -> float | None:
        """TOST: the larger p of two one-sided tests, of a difference at or beyond -margin and at or beyond +margin."""
        if not self.varies:
            return None
        assert self.se is not None
        return float(special.stdtr(self.n - 1, (abs(self.mean) - margin) / self.se))


def difference(values: Sequence[float]) -> Difference:
    """Sum up one paired difference a seed."""
    if not values:
        raise ValueError("no paired seeds; a difference needs at least one")
    observed = np.asarray(values, dtype=np.float64)
    sd = float(observed.std(ddof=1)) if len(observed) > 1 else None
    return Difference(n=len(observed), mean=float(observed.mean()), sd=sd)


def intervals(values_SN: Floats, alpha: float = ALPHA) -> tuple[Floats, Floats]:
    """t intervals of many samples at once, one a row: lower and upper ends. [S]"""
    _, n = values_SN.shape
    mean_S = values_SN.mean(-1)
    half_S = t_critical(n - 1, alpha) * values_SN.std(-1, ddof=1) / np.sqrt(n)
    return mean_S - half_S, mean_S + half_S


def t_critical(df: int, alpha: float) -> float:
    """Beyond which, to both sides, Student's t lies with chance alpha."""
    return float(special.stdtrit(df, 1 - alpha / 2))


# ---------------------------------------------------------------------------------------------------------
# Several arms against one baseline


def holm(ps: Sequence[float | None]) -> list[float]:
    """Holm's adjusted p: reject where it is at most alpha, and the chance of any false rejection stays at most alpha.

    Scandinavian Journal of Statistics 6 (1979) 65. A test that could not be made (None) counts, with p = 1.
    """
    adjusted: dict[int, float] = {}
    highest = 0.0
    for rank, (p, index) in enumerate(_ranked(ps)):
        highest = max(highest, min(1.0, (len(ps) - rank) * p))
        adjusted[index] = highest
    return [adjusted[index] for index in range(len(ps))]


def holm_alphas(ps: Sequence[float | None], alpha: float = ALPHA) -> list[float]:
    """The alpha of each test's own interval, so that it leaves out zero exactly where Holm rejects.

    The test of rank k is held to alpha / (m - k); once one fails, all later ones are held to that one's. Such intervals
    agree with the decisions; they are not simultaneous. Bonferroni's, at alpha / m each, are.
    """
    alphas: dict[int, float] = {}
    remaining, failed = len(ps), False
    for p, index in _ranked(ps):
        alphas[index] = alpha / remaining
        failed = failed or p > alpha / remaining
        remaining -= not failed
    return [alphas[index] for index in range(len(ps))]


def _ranked(ps: Sequence[float | None]) -> list[tuple[float, int]]:
    """Least first, each with its place; a test that could not be made comes last, above all others."""
    return sorted((float("inf") if p is None else p, index) for index, p in enumerate(ps))


def correlation(scores: Sequence[tuple[float, float]]) -> float | None:
    """Pearson's, of two arms' scores, a pair a seed: what pairing is worth. None below three seeds, or without spread."""
    if len(scores) < 3 or np.std(scores, 0).min() <= _ROUNDING:
        return None
    return float(np.asarray(np.corrcoef(scores, rowvar=False))[0, 1])


# ---------------------------------------------------------------------------------------------------------
# Power


def power(effect: float, n: int, alpha: float = ALPHA) -> float:
    """Chance that the paired t test over n seeds rejects, if the true difference is `effect` standard deviations of it."""
    if n < 2:
        return 0.0
    shift = abs(effect) * n**0.5
    reach = _reach(n - 1, alpha)
    within = special.ndtr(reach - shift) - special.ndtr(-reach - shift)
    return float(1 - _QUADRATURE[1] @ within)


@lru_cache(maxsize=512)
def _reach(df: int, alpha: float) -> Floats:
    """The critical value times the estimated over the true standard deviation, at nodes of equal chance.

    The noncentral t as its definition has it, a normal over the root of a chi-square: scipy's nctdtr gives NaN here and there.
    """
    return np.asarray(t_critical(df, alpha) * np.sqrt(special.chdtri(df, _QUADRATURE[0]) / df))


@cache
def detectable(n: int, arms: int = 1, *, chance: float = POWER, alpha: float = ALPHA) -> float | None:
    """Smallest true difference, in standard deviations of the paired difference, that n seeds find with that chance.

    With several arms, at Holm's first and strictest step. None for one seed, which can find nothing.
    """
    if n < 2:
        return None
    # A million standard deviations are found by two seeds among ten thousand arms.
    return float(brentq(lambda effect: power(effect, n, alpha / arms) - chance, 0.0, 1e6))


def seeds_needed(effect: float, arms: int = 1, *, chance: float = POWER, alpha: float = ALPHA) -> int | None:
    """Fewest seeds that find a difference of `effect` standard deviations with that chance. None beyond MOST_SEEDS."""
    needed = bisect_left(range(MOST_SEEDS + 1), chance, key=lambda n: power(effect, n, alpha / arms))  # rises with n
    return needed if needed <= MOST_SEEDS else None
