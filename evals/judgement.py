"""The decision, from numbers alone: which word differences over seeds earn."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rlzoo.evals import statistics
from rlzoo.evals.passk import Estimate, Interval
from rlzoo.evals.statistics import Difference

Word = Literal["better", "worse", "equivalent", "identical", "inconclusive"]


START = "step 0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What differences over seeds earn. Fractions, not points."""

    word: Word
    because: str
    """What a reader must know beside the numbers; may be empty."""
    difference: Difference | None
    interval: Interval | None
    """Agrees with the word: leaves out zero exactly where Holm's test rejects."""
    plain: Interval | None
    """95 %, as if this were the only arm."""
    simultaneous: Interval | None
    """Bonferroni's: all arms' intervals hold at once with 95 %."""
    p: float | None
    p_holm: float | None
    p_equivalent: float | None
    """Of TOST, Holm-adjusted over the arms. None where equivalence cannot be claimed."""
    detectable: float | None
    """Smallest true difference that these seeds find with 80 %, at the spread seen."""
    seeds_needed: int | None
    """Seeds that find a difference of the margin with 80 %, at the spread seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmVerdict:
    """One arm against the baseline, or against its own start."""

    arm: str
    against: str
    control: bool
    seeds: tuple[int, ...]
    """Those that both have."""
    judgement: Judgement
    correlation: float | None
    """Of both sides' scores over the seeds: what pairing was worth."""
    checkpoints: Estimate | None
    """The difference of these very checkpoints, with its error over problems. Says nothing about other seeds."""
    without: Judgement | None = None
    """Without the seeds at which either side collapsed."""
    collapsed: tuple[int, ...] = ()


def judge(
    differences: Mapping[str, Sequence[float]],
    *,
    margin: float,
    identical: Collection[str] = (),
    equivalence: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, Judgement]:
    """The verdict of each arm of one family, Holm-adjusted over the family.

    `differences`: one a seed, by arm. `margin`: in the same unit. `equivalence`: differences over the domains that can show
    equivalence; empty where there is none, None where all can.
    """
    found = {arm: statistics.difference(values) if values else None for arm, values in differences.items()}
    equal_on = {arm: _equivalence(arm, found[arm], equivalence) for arm in found}
    ps = [each.p() if each else None for each in found.values()]
    tosts = [each.p_equivalent(margin) if each else None for each in equal_on.values()]
    rows = zip(
        equal_on.items(), ps, statistics.holm(ps), statistics.holm_alphas(ps), statistics.holm(tosts), strict=True
    )
    return {
        arm: _judgement(
            found[arm],
            p=p,
            p_holm=p_holm if p is not None else None,
            alpha=alpha,
            p_equivalent=p_equivalent if equal and equal.varies else None,
            identical=arm in identical,
            arms=len(found),
            margin=margin,
        )
        for (arm, equal), p, p_holm, alpha, p_equivalent in rows
    }


def _equivalence(
    arm: str, difference: Difference | None, equivalence: Mapping[str, Sequence[float]] | None
) -> Difference | None:
    if equivalence is None:
        return difference
    values = equivalence.get(arm, ())
    return statistics.difference(values) if values else None


def _judgement(
    difference: Difference | None,
    *,
    p: float | None,
    p_holm: float | None,
    alpha: float,
    p_equivalent: float | None,
    identical: bool,
    arms: int,
    margin: float,
) -> Judgement:
    word, because = _word(difference, p_holm, p_equivalent, identical=identical, margin=margin)
    detectable, seeds_needed = _sought(difference, arms, margin)
    return Judgement(
        word=word,
        because=because,
        difference=difference,
        interval=difference.interval(alpha) if difference else None,
        plain=difference.interval() if difference else None,
        simultaneous=difference.interval(statistics.ALPHA / arms) if difference else None,
        p=p,
        p_holm=p_holm,
        p_equivalent=p_equivalent,
        detectable=detectable,
        seeds_needed=seeds_needed,
    )


def _sought(difference: Difference | None, arms: int, margin: float) -> tuple[float | None, int | None]:
    """What as many seeds find, and how many find the margin. None and None without a spread to go by."""
    if difference is None or not difference.varies:
        return None, None
    sds = statistics.detectable(difference.n, arms)
    assert sds is not None and difference.sd is not None
    return sds * difference.sd, statistics.seeds_needed(margin / difference.sd, arms)


def _word(
    difference: Difference | None, p_holm: float | None, p_equivalent: float | None, *, identical: bool, margin: float
) -> tuple[Word, str]:
    if difference is None:
        return "inconclusive", "no seed has a finished run on both sides"
    if difference.n == 1:
        return "inconclusive", (
            "one seed shows no spread over seeds to hold a difference against; it takes at least 2, and 3 or more to find much"
            + ("; at this one, both gave the same verdict and answer to every test problem" if identical else "")
        )
    if identical:
        return "identical", "the same verdict and answer to every test problem at every seed"
    if not difference.varies:
        return "inconclusive", (
            f"the difference is exactly the same at all {difference.n} seeds. So few seeds cannot show that it never varies, "
            "and an interval of zero width is not trusted"
        )
    equivalent = p_equivalent if p_equivalent is not None and p_equivalent <= statistics.ALPHA else None
    if p_holm is not None and p_holm <= statistics.ALPHA:
        small = "" if equivalent is None else _small(margin, equivalent)
        return ("better" if difference.mean > 0 else "worse"), small
    if equivalent is not None:
        return "equivalent", _small(margin, equivalent)
    return "inconclusive", ""


def _small(margin: float, p: float) -> str:
    return f"the difference is shown to be smaller than {100 * margin:g} points (TOST, {p_holm_text(p)})"


def p_holm_text(p: float) -> str:
    return f"Holm p {p:.3f}" if p >= 0.001 else "Holm p < 0.001"
