"""Verdicts in words."""

from __future__ import annotations

from rlzoo.evals import statistics
from rlzoo.evals.judgement import START, ArmVerdict, Judgement, p_holm_text
from rlzoo.evals.passk import Interval


def points(value: float) -> str:
    return f"{100 * value:+.1f}"


def bracket(interval: Interval) -> str:
    return f"[{points(interval.low)}, {points(interval.high)}]"


def sentence(verdict: ArmVerdict, margin: float) -> str:
    """A verdict in a line: word, difference, interval, seeds, and what would settle an open one."""
    against = "its own start" if verdict.against == START else verdict.against
    text = f"{verdict.arm}{' (control)' if verdict.control else ''}: {phrase(verdict.judgement, against, margin)}"
    if verdict.without is not None and verdict.without.difference is None:
        text += ". A run collapsed at every seed"
    elif verdict.without is not None:
        seeds = ", ".join(map(str, verdict.collapsed))
        text += f". Without seed {seeds}, where a run collapsed: {phrase(verdict.without, against, margin)}"
    return text


def phrase(judgement: Judgement, against: str, margin: float) -> str:
    head = {
        "better": f"better than {against}",
        "worse": f"worse than {against}",
        "equivalent": f"equivalent to {against}",
        "identical": f"identical to {against}",
        "inconclusive": f"inconclusive against {against}",
    }[judgement.word]
    if judgement.word == "identical":
        return f"{head}: {judgement.because}"
    parts = [_numbers(judgement)] if judgement.difference is not None else []
    parts += [judgement.because] if judgement.because else []
    if judgement.word == "inconclusive" and judgement.detectable is not None:
        parts.append(_settling(judgement, margin))
    return f"{head} at these settings: {'; '.join(parts)}"


def _numbers(judgement: Judgement) -> str:
    difference = judgement.difference
    assert difference is not None
    parts = [f"{points(difference.mean)} points"]
    if judgement.interval is not None:
        parts[0] += f" {bracket(judgement.interval)}"
    if judgement.p_holm is not None:
        parts.append(p_holm_text(judgement.p_holm))
    parts.append(f"{difference.n} seed{'s' * (difference.n != 1)}")
    return ", ".join(parts)


def _settling(judgement: Judgement, margin: float) -> str:
    assert judgement.detectable is not None and judgement.difference is not None
    needed = f"about {judgement.seeds_needed}" if judgement.seeds_needed else f"over {statistics.MOST_SEEDS:,}"
    found = f"{100 * judgement.detectable:.1f} points or more" if judgement.detectable < 1 else "no difference"
    text = f"these seeds find {found} with 80 %"
    if judgement.detectable > margin / 100:
        text += f", {needed} would find {margin:g}"
    return text
