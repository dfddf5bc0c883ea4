"""Evaluations as tables of estimates: one model's scores, and what changed between two evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rlzoo.errors import DataError
from rlzoo.evals import evaluations, passk
from rlzoo.evals.evaluations import MACRO
from rlzoo.evals.passk import Estimate
from rlzoo.runs.evaluation import Evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Scores of a domain, of one of its levels, or of the mean over domains (`macro`)."""

    domain: str
    level: str | None
    """None for a domain's row."""
    scores: Mapping[str, Estimate]

    @property
    def problems(self) -> int:
        return next(iter(self.scores.values())).problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One domain before and after, and the difference paired over its problems."""

    domain: str
    before: Estimate
    after: Estimate
    difference: Estimate


def scoreboard(evaluation: Evaluation) -> list[Row]:
    """A row a domain, one for each of its levels below it where there are several, and the macro row last."""
    rows: list[Row] = []
    for domain in evaluation.domains:
        rows.append(_row(evaluation, domain, None))
        levels = evaluation.levels(domain)
        rows += [_row(evaluation, domain, level) for level in levels if len(levels) > 1]
    whole = [row for row in rows if row.level is None]
    means = {metric: passk.macro([row.scores[metric] for row in whole]) for metric in evaluations.metrics(evaluation)}
    return [*rows, Row(domain=MACRO, level=None, scores=means)]


def _row(evaluation: Evaluation, domain: str, level: str | None) -> Row:
    scores = {
        metric: passk.over_problems(list(evaluations.scores(evaluation, metric, domain, level=level).values()))
        for metric in evaluations.metrics(evaluation)
    }
    return Row(domain=domain, level=level, scores=scores)


def upper_bound(evaluation: Evaluation, metric: str = "pass@1") -> Estimate:
    """The macro score if every response that could not be judged were correct."""
    return passk.macro(
        [
            passk.over_problems(list(evaluations.scores(evaluation, metric, domain, upper=True).values()))
            for domain in evaluation.domains
        ]
    )


def changes(before: Evaluation, after: Evaluation, metric: str = "pass@1") -> list[Change]:
    """What changed, domain by domain, and over domains last. Refused unless both hold the same problems."""
    if before.suite != after.suite or evaluations.problems(before) != evaluations.problems(after):
        raise DataError(
            f"the evaluations of steps {before.step} and {after.step} hold different problems (suites {before.suite} and {after.suite}), "
            "so their difference would mix the model's change with the problems'. Evaluate both on the same test problems."
        )
    rows = []
    for domain in before.domains:
        old, new = evaluations.scores(before, metric, domain), evaluations.scores(after, metric, domain)
        rows.append(
            Change(
                domain=domain,
                before=passk.over_problems(list(old.values())),
                after=passk.over_problems(list(new.values())),
                difference=passk.paired(old, new),
            )
        )
    mean = Change(
        domain=MACRO,
        before=passk.macro([row.before for row in rows]),
        after=passk.macro([row.after for row in rows]),
        difference=passk.macro([row.difference for row in rows]),
    )
    return [*rows, mean]


def scores_as_data(evaluation: Evaluation) -> dict[str, Any]:
    """The scoreboard as plain data, fractions and not percent."""
    return {
        "step": evaluation.step,
        "split": evaluation.split,
        "samples": evaluation.samples,
        "seed": evaluation.seed,
        "temperature": evaluation.temperature,
        "suite": evaluation.suite,
        "unjudged": evaluations.unjudged(evaluation),
        "upper_bound": {"pass@1": asdict(upper_bound(evaluation))} if evaluations.unjudged(evaluation) else {},
        "rows": [
            {
                "domain": row.domain,
                "level": row.level,
                "scores": {metric: asdict(score) for metric, score in row.scores.items()},
            }
            for row in scoreboard(evaluation)
        ],
    }


def changes_as_data(before: Evaluation, after: Evaluation) -> dict[str, Any]:
    """Before, after and the paired difference as plain data, fractions and not percent."""
    return {
        "metric": "pass@1",
        "split": after.split,
        "steps": [before.step, after.step],
        "samples": after.samples,
        "rows": [asdict(change) for change in changes(before, after)],
    }
