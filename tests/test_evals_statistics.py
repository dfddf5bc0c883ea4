"""Numbers by hand, then what is promised of many: coverage, false alarms, power. Each promise is broken on purpose once."""

from __future__ import annotations

import numpy as np
import pytest

from rlzoo.evals import statistics
from rlzoo.evals.passk import Interval


def test_paired_t_by_hand() -> None:
    found = statistics.difference([1.0, 2.0, 3.0])
    assert (found.n, found.mean, found.sd) == (3, 2.0, 1.0)
    low, high = found.interval() or Interval(0, 0)
    # t of 2 degrees of freedom at 97.5 %: 4.302653; se = 1 / sqrt(3)
    assert low == pytest.approx(2 - 4.302653 / 3**0.5, abs=1e-6)
    assert high == pytest.approx(2 + 4.302653 / 3**0.5, abs=1e-6)
    # t = 2 sqrt(3); of 2 degrees of freedom, two-sided p = 1 - t / sqrt(t² + 2)
    assert found.p() == pytest.approx(1 - (12 / 14) ** 0.5)
    assert statistics.difference([-1.0, -2.0, -3.0]).p() == found.p()
    low_S, high_S = statistics.intervals(np.array([[1.0, 2.0, 3.0], [0.0, 2.0, 4.0]]))  # the second is twice as wide
    assert low_S == pytest.approx([low, 2 * low - 2])
    assert high_S == pytest.approx([high, 2 * high - 2])


def test_the_levels_that_reports_name() -> None:
    """Reports say 95 % and 80 %."""
    assert (statistics.ALPHA, statistics.POWER) == (0.05, 0.8)


def test_equivalence_by_hand() -> None:
    found = statistics.difference([-0.5, 0.0, 0.5])  # mean 0, se = 0.5 / sqrt(3)
    # One-sided p of t = margin / se = 4 sqrt(3), 2 degrees of freedom: (1 - t / sqrt(t² + 2)) / 2
    assert found.p_equivalent(2.0) == pytest.approx((1 - (48 / 50) ** 0.5) / 2)
    shifted = statistics.difference([0.5, 1.0, 1.5])
    mirrored = statistics.difference([-0.5, -1.0, -1.5])
    assert shifted.p_equivalent(2.0) == pytest.approx(mirrored.p_equivalent(2.0))
    assert statistics.difference([1.9, 2.1, 2.3]).p_equivalent(2.0) > 0.5  # type: ignore[operator]


@pytest.mark.parametrize("values", [[0.3], [0.0, 0.0, 0.0], [0.02, 0.02, 0.02], [0.1 + 0.2, 0.3, 0.3]])
def test_without_spread_nothing_is_tested(values: list[float]) -> None:
    found = statistics.difference(values)
    assert not found.varies
    assert [found.interval(), found.p(), found.p_equivalent(2.0)] == [None] * 3


def test_one_seed_has_no_spread_and_a_spread_beyond_rounding_is_one() -> None:
    one = statistics.difference([0.3])
    assert (one.n, one.mean, one.sd, one.se) == (1, 0.3, None, None)
    assert statistics.difference([0.0, 1.5e-12 * 2**0.5]).varies  # a standard deviation of 1.5e-12
    assert not statistics.difference([0.0, 0.7e-12 * 2**0.5]).varies


def test_no_seeds_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        statistics.difference([])


# ------------------------------------------------------------------------------------------------- several arms


def test_holm_by_hand() -> None:
    # sorted .01 .02 .04: 3 x .01 = .03; 2 x .02 = .04; 1 x .04 = .04
    assert statistics.holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert statistics.holm([0.9, 0.6]) == [1.0, 1.0]
    assert statistics.holm([None, 0.02]) == pytest.approx([1.0, 0.04])
    assert statistics.holm([]) == []


def test_holm_levels_by_hand() -> None:
    """Sorted .01 .02 .04: all are rejected, at 5 % over 3, 2 and 1. Once one is not, later ones keep its level."""
    assert statistics.holm_alphas([0.04, 0.01, 0.02]) == pytest.approx([0.05, 0.05 / 3, 0.025])
    assert statistics.holm_alphas([0.03, 0.01, 0.02]) == pytest.approx([0.05, 0.05 / 3, 0.025])
    assert statistics.holm_alphas([0.04, 0.01, 0.03]) == pytest.approx([0.025, 0.05 / 3, 0.025])
    assert statistics.holm_alphas([None, 0.02, 0.9]) == pytest.approx([0.05 / 3] * 3)
    assert statistics.holm_alphas([0.04, 0.025]) == [0.05, 0.025]  # at its level exactly is a rejection
    assert statistics.holm_alphas([0.04, 0.06], 0.1) == [0.05, 0.1]
    assert statistics.holm_alphas([]) == []


def test_holm_intervals_agree_with_holm() -> None:
    """An interval leaves out zero exactly where the adjusted p is at most 5 %."""
    rng = np.random.default_rng(5)
    decided = 0
    for _ in range(300):
        arms = [statistics.difference(list(rng.normal(shift, 1, 4))) for shift in (0, 1, 2, 4)]
        ps = [arm.p() for arm in arms]
        for arm, p, alpha in zip(arms, statistics.holm(ps), statistics.holm_alphas(ps), strict=True):
            low, high = arm.interval(alpha) or Interval(0, 0)
            assert (p <= 0.05) == (low > 0 or high < 0)
            decided += p <= 0.05
    assert 100 < decided < 1000


def test_correlation_by_hand() -> None:
    assert statistics.correlation([(1, 2), (2, 4), (3, 6)]) == pytest.approx(1)
    assert statistics.correlation([(1, 3), (2, 2), (3, 1)]) == pytest.approx(-1)
    assert statistics.correlation([(1, 1), (2, 3), (3, 2)]) == pytest.approx(0.5)
    assert statistics.correlation([(1, 2), (2, 2), (3, 2)]) is None
    assert statistics.correlation([(1, 2), (2, 4)]) is None
    assert statistics.correlation([]) is None


# -------------------------------------------------------------------------------------------------------- power


@pytest.mark.parametrize(("n", "sds"), [(3, 3.26), (5, 1.68), (8, 1.16), (10, 1.00), (20, 0.66)])
def test_detectable_difference(n: int, sds: float) -> None:
    """Textbook values of a paired t test at 5 % and 80 %, in standard deviations of the difference."""
    assert statistics.detectable(n) == pytest.approx(sds, abs=0.006)


def test_three_seeds_with_three_arms_find_only_giants() -> None:
    assert statistics.detectable(3, 3) == pytest.approx(5.67, abs=0.01)
    assert statistics.detectable(1) is None
    # t of 2 seeds is 12.706, and the estimated spread is below 1.2816 of the true one with 80 %: 12.706 x 1.2816 / sqrt(2)
    assert statistics.detectable(2) == pytest.approx(11.51, abs=0.1)
    found = statistics.detectable(6, 2, chance=0.9, alpha=0.1)
    assert found is not None
    assert statistics.power(found, 6, 0.05) == pytest.approx(0.9)


def test_seeds_needed_is_the_first_that_suffices() -> None:
    assert statistics.seeds_needed(0.5) == 34  # the textbook's 34 pairs for d = 0.5
    for effect, arms in ((0.5, 3), (1.0, 1), (2.0, 4), (6.0, 3)):
        n = statistics.seeds_needed(effect, arms)
        assert n is not None
        assert statistics.power(effect, n, 0.05 / arms) >= 0.8 > statistics.power(effect, n - 1, 0.05 / arms)
    assert statistics.seeds_needed(1e-4) is None
    most = statistics.detectable(10_000)
    assert most is not None
    assert [statistics.seeds_needed(most * scale) for scale in (1.00001, 0.99999)] == [10_000, None]
    assert statistics.seeds_needed(0.5, chance=0.9) == 44  # the textbook's
    assert statistics.power(5.0, 1) == 0
    assert statistics.power(-1.0, 5) == statistics.power(1.0, 5)
    assert statistics.power(0.0, 2) == pytest.approx(0.05, abs=1e-3)


def test_power_is_what_happens() -> None:
    """Simulated rejections against the formula; 20,000 draws have a standard error below 0.4 points."""
    rng = np.random.default_rng(11)
    for n, effect in ((3, 3.26), (8, 0.7)):
        low_S, high_S = statistics.intervals(rng.normal(effect, 1, (20_000, n)))
        rejected = float(((low_S > 0) | (high_S < 0)).mean())
        assert rejected == pytest.approx(statistics.power(effect, n), abs=0.012)
    assert statistics.power(0.0, 5, 0.05) == pytest.approx(0.05, abs=1e-4)


# ----------------------------------------------------------------------------------------------- promises of many

SIZES = (3, 5, 8, 20)


def percentile_bootstrap(values_SN: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The interval that few seeds must not be given."""
    samples, n = values_SN.shape
    picks_SR = rng.integers(0, n, (samples, 400 * n))
    means_SR = np.take_along_axis(values_SN, picks_SR, 1).reshape(samples, 400, n).mean(-1)
    low_S, high_S = np.quantile(means_SR, [0.025, 0.975], axis=1)
    return low_S, high_S


@pytest.mark.parametrize("n", SIZES)
def test_interval_covers(n: int) -> None:
    low_S, high_S = statistics.intervals(np.random.default_rng(n).normal(0.3, 1, (20_000, n)))
    assert 0.93 <= float(((low_S <= 0.3) & (high_S >= 0.3)).mean()) <= 0.97


def test_coverage_would_show_a_bad_interval() -> None:
    """The percentile bootstrap over 3 seeds covers about 75 % and not 95 %."""
    rng = np.random.default_rng(3)
    low_S, high_S = percentile_bootstrap(rng.normal(0, 1, (2_000, 3)), rng)
    assert 0.72 <= float(((low_S <= 0) & (high_S >= 0)).mean()) <= 0.78


def simultaneous(alphas: str, seed: int) -> float:
    """How often all three intervals hold at once, one arm being truly far away and two near."""
    rng = np.random.default_rng(seed)
    truth = np.array([9.0, 5.0, 3.0])
    whole = 0
    for draws in rng.normal(truth[:, None], 1, (1_500, 3, 6)):
        arms = [statistics.difference(list(row)) for row in draws]
        levels = statistics.holm_alphas([arm.p() for arm in arms]) if alphas == "holm" else [0.05 / 3] * 3
        ends = [arm.interval(level) or Interval(0, 0) for arm, level in zip(arms, levels, strict=True)]
        whole += all(end.low <= value <= end.high for end, value in zip(ends, truth, strict=True))
    return whole / 1_500


def test_simultaneous_intervals_hold_at_once_and_holms_do_not() -> None:
    """Why the report gives both: those that agree with the decision are narrower than those that hold together."""
    assert simultaneous("bonferroni", 1) >= 0.945
    assert simultaneous("holm", 1) < 0.93
