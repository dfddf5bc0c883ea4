"""Problems that all arms met in the same step, with their rollouts side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean
from typing import Any

import pyarrow as pa

from rlzoo.evals.analysis import Comparison
from rlzoo.evals.records import Record

PER_DOMAIN = 3
ROLLOUTS = 3
MOST_CHARACTERS = 1500
MOST_TOKENS = 400

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRollout:
    text: str
    left: int
    """Characters beyond those shown."""
    status: str
    reason: str
    reward: float
    advantage: float | None
    """Mean over its tokens."""
    pieces: Sequence[tuple[str, float]]
    """Token texts with their advantage as a share of the largest shown, -1 to 1; empty where they do not add up to the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One arm's answers."""

    arm: str
    correct: int
    total: int
    rollouts: Sequence[ShownRollout]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedProblem:
    id: str
    domain: str
    level: str
    step: int
    seed: int
    prompt: str
    sides: Sequence[Side]


def problems(comparison: Comparison) -> list[SharedProblem]:
    """The problems on which arms came apart the most, a few of each domain, from the last step that all arms recorded."""
    arms = [
        arm for arm, seeds in comparison.grid.items() if any(record.run.rollout_steps() for record in seeds.values())
    ]
    for seed in comparison.spec.seeds:
        records = {arm: comparison.grid[arm][seed] for arm in arms if seed in comparison.grid[arm]}
        if arms and len(records) == len(arms):
            found = _of_seed(records, seed)
            if found:
                return found
    return []


def _of_seed(records: Mapping[str, Record], seed: int) -> list[SharedProblem]:
    steps = set.intersection(*(set(record.run.rollout_steps()) for record in records.values()))
    if not steps:
        return []
    step = max(steps)
    by_arm = {arm: _groups(record, step) for arm, record in records.items()}
    shared = [key for key in next(iter(by_arm.values())) if all(key in groups for groups in by_arm.values())]
    ranked = sorted(shared, key=lambda key: -_apart([groups[key] for groups in by_arm.values()]))
    chosen: list[tuple[str, int]] = []
    domains = {key: str(next(iter(by_arm.values()))[key][0]["domain"]) for key in shared}
    for domain in dict.fromkeys(domains[key] for key in shared):
        chosen += [key for key in ranked if domains[key] == domain][:PER_DOMAIN]
    return [_problem({arm: groups[key] for arm, groups in by_arm.items()}, step, seed) for key in chosen]


def _groups(record: Record, step: int) -> dict[tuple[str, int], Rows]:
    """A step's rollouts by problem and visit; nothing if the file is damaged."""
    try:
        rows = record.run.rollouts(step)
        rows = sorted(rows, key=lambda row: (str(row["problem_id"]), int(row["visit"]), int(row["rollout"])))
        return {
            key: list(members)
            for key, members in groupby(rows, key=lambda row: (str(row["problem_id"]), int(row["visit"])))
        }
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return {}


def _apart(sides: Iterable[Rows]) -> float:
    """How far shares of correct rollouts lie apart; of a single arm, how mixed its rollouts are."""
    shares = [fmean(bool(row["correct"]) for row in rows) for rows in sides]
    return max(shares) - min(shares) if len(shares) > 1 else 1 - abs(2 * shares[0] - 1)


def _problem(sides: Mapping[str, Rows], step: int, seed: int) -> SharedProblem:
    first = next(iter(sides.values()))[0]
    shown = {arm: [*(rows if len(sides) > 1 else _varied(rows))[:ROLLOUTS]] for arm, rows in sides.items()}
    largest = max(
        [abs(value) for rows in shown.values() for row in rows for value in row.get("advantages") or []], default=0.0
    )
    return SharedProblem(
        id=str(first["problem_id"]),
        domain=str(first["domain"]),
        level=str(first.get("level") or ""),
        step=step,
        seed=seed,
        prompt=str(first["prompt_text"])[:MOST_CHARACTERS],
        sides=[
            Side(
                arm=arm,
                correct=sum(bool(row["correct"]) for row in rows),
                total=len(rows),
                rollouts=[_rollout(row, largest) for row in shown[arm]],
            )
            for arm, rows in sides.items()
        ],
    )


def _varied(rows: Rows) -> Rows:
    """One of each verdict first, then one of each text; arms side by side keep their order, since they share their noise."""
    seen: set[str] = set()
    ranks = []
    for row in rows:
        marks = [f"status {row.get('status')}", f"text {row['text']}"]
        ranks.append(next((rank for rank, mark in enumerate(marks) if mark not in seen), len(marks)))
        seen.update(marks)
    return [row for _, row in sorted(zip(ranks, rows, strict=True), key=lambda pair: pair[0])]


def _rollout(row: Mapping[str, Any], largest: float) -> ShownRollout:
    text = str(row["text"])
    advantages = row.get("advantages") or []
    return ShownRollout(
        text=text[:MOST_CHARACTERS],
        left=max(0, len(text) - MOST_CHARACTERS),
        status=str(row.get("status") or "unjudged"),
        reason=str(row.get("reason") or "")[:300],
        reward=float(row["reward"]),
        advantage=fmean(advantages) if advantages else None,
        pieces=_pieces(row, text, advantages, largest),
    )


def _pieces(row: Mapping[str, Any], text: str, advantages: Sequence[float], largest: float) -> list[tuple[str, float]]:
    tokens = [str(token) for token in row.get("token_texts") or []]
    whole = "".join(tokens).startswith(text) and len(text) <= MOST_CHARACTERS  # an end token may follow the text
    if not whole or not largest or len(tokens) != len(advantages) or len(tokens) > MOST_TOKENS:
        return []
    return [(token, advantage / largest) for token, advantage in zip(tokens, advantages, strict=True)]
