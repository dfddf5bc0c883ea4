"""Evaluations scored: each problem's share, and what can be reported at their number of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rlzoo.evals import passk
from rlzoo.evals.passk import Estimate
from rlzoo.runs.evaluation import Attempt, Evaluation
from rlzoo.runs.folder import RunDir

MACRO = "macro"
"""The mean over domains."""


CURVE = "curve"
"""What evaluations for a curve have for their split."""


def of_run(run: RunDir, split: str = "test") -> list[Evaluation]:
    """A run's evaluations on one split, by step."""
    return on(run.evaluations(), split)


def on(found: Sequence[Evaluation], split: str) -> list[Evaluation]:
    """Those on one split, by step. Where a step was evaluated again, the later record stands."""
    by_step = {each.step: each for each in found if each.split == split}
    return [by_step[step] for step in sorted(by_step)]


def curve(found: Sequence[Evaluation]) -> list[Evaluation]:
    """The same few test problems along training, one response each, by step: as answered for a curve, and out of whole tests.

    Both are of the same noise, so a whole test's first responses are what the curve's own would have been. Empty without a curve.
    """
    own = on(found, CURVE)
    if not own:
        return []
    parts = [part for each in on(found, "test") if (part := _part(each, own[0])) is not None]
    by_step = {each.step: each for each in (*parts, *own)}
    return [by_step[step] for step in sorted(by_step)]


def _part(whole: Evaluation, like: Evaluation) -> Evaluation | None:
    """The first responses to the problems of another evaluation; None where `whole` did not ask them all in the same way."""
    attempts = {attempt.id: attempt for attempt in whole.attempts}
    ways = [(e.temperature, e.top_p, e.top_k, e.max_response, e.seed) for e in (whole, like)]
    if ways[0] != ways[1] or any(attempt.id not in attempts for attempt in like.attempts):
        return None
    chosen = [attempts[attempt.id] for attempt in like.attempts]
    firsts = tuple(replace(a, status=a.status[:1], answers=a.answers[:1], tokens=a.tokens[:1]) for a in chosen)
    return replace(whole, split=CURVE, samples=1, suite=like.suite, attempts=firsts)


def metrics(evaluation: Evaluation) -> list[str]:
    """What can be reported at this number of samples."""
    n = evaluation.samples
    return [f"avg@{n}", *(f"pass@{k}" for k in passk.powers_of_two(n)), *([f"maj@{n}"] if n > 1 else [])]


def problems(evaluation: Evaluation) -> set[tuple[str, str]]:
    """What it asked: domain and id."""
    return {(attempt.domain, attempt.id) for attempt in evaluation.attempts}


def unjudged(evaluation: Evaluation) -> int:
    """Responses on which verification itself failed. They count as incorrect."""
    return sum(attempt.status.count(passk.UNJUDGED) for attempt in evaluation.attempts)


def correct(attempt: Attempt, *, upper: bool = False) -> int:
    """Correct responses to one problem; `upper` counts those that could not be judged among them."""
    return attempt.status.count(passk.CORRECT) + (attempt.status.count(passk.UNJUDGED) if upper else 0)


def score(attempt: Attempt, metric: str, *, upper: bool = False) -> float:
    """`avg@n`, `pass@k` or `maj@n` of one problem, in [0, 1]."""
    family, _, k = metric.partition("@")
    if family == "maj":
        return passk.majority(attempt.answers, attempt.status, unjudged=float(upper))
    return passk.pass_at_k(len(attempt.status), correct(attempt, upper=upper), 1 if family == "avg" else int(k))


def scores(
    evaluation: Evaluation, metric: str, domain: str, *, level: str | None = None, upper: bool = False
) -> dict[str, float]:
    """Each problem's score, by id; `level=None` takes all levels."""
    return {
        attempt.id: score(attempt, metric, upper=upper)
        for attempt in evaluation.attempts
        if attempt.domain == domain and level in (None, attempt.level)
    }


def pass_at_1(evaluation: Evaluation) -> dict[str, Estimate]:
    """pass@1 by domain, and over domains last."""
    found = {
        domain: passk.over_problems(list(scores(evaluation, "pass@1", domain).values()))
        for domain in evaluation.domains
    }
    return {**found, MACRO: passk.macro(list(found.values()))}


def same_responses(one: Evaluation, other: Evaluation) -> bool:
    """True if both hold the same problems with the same verdicts and answers, response for response."""

    def told(found: Evaluation) -> object:
        return (
            found.suite,
            found.samples,
            [(each.id, each.domain, each.level, each.status, each.answers) for each in found.attempts],
        )

    return told(one) == told(other)
