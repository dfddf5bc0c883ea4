"""What a run measured beside training, summarised: interference, drift, retention, representations, token credit. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from rlzoo.errors import DataError
from rlzoo.runs.folder import RunDir, read_lines

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A mean over measured steps."""

    value: float
    se: float | None
    """Standard error over steps, as if they were independent; None for fewer than two."""
    steps: int


def mean(values: Sequence[float]) -> Mean:
    """Mean and standard error; not finite without values."""
    count = len(values)
    if not count:
        return Mean(value=math.nan, se=None, steps=0)
    return Mean(
        value=float(np.mean(values)),
        se=float(np.std(values, ddof=1) / math.sqrt(count)) if count > 1 else None,
        steps=count,
    )


def records(run: RunDir, key: str) -> list[tuple[int, dict[str, Any]]]:
    """(step, what was measured) of every step at which `key` was."""
    found = []
    for line in read_lines(run.diagnostics_file):
        if isinstance(line.get(key), dict) and line[key]:
            found.append((int(line["step"]), line[key]))
    return found


def measured_steps(run: RunDir) -> int:
    """How many steps were measured at all."""
    return sum(1 for _ in read_lines(run.diagnostics_file))


# ---------------------------------------------------------------------------------------------------------
# Interference


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """How the gradients of two domains agree over a run."""

    domains: tuple[str, str]
    cosine: Mean
    negative: int
    """Steps at which they pointed apart."""


def pairs(run: RunDir) -> list[Pair]:
    """Every pair of domains, in the order in which they were first measured together."""
    cosines: dict[tuple[str, str], list[float]] = {}
    for step, measured in records(run, "interference"):
        names, matrix = measured.get("domains"), _rows(measured.get("cosine"))
        if not isinstance(names, list) or [len(row) for row in matrix] != [len(names)] * len(names):
            raise DataError(
                f"{run.diagnostics_file}: interference of step {step} is not a square matrix over its domains."
            )
        for i, one in enumerate(names):
            for j in range(i + 1, len(names)):
                first, second = sorted((str(one), str(names[j])))
                if matrix[i][j] is not None:
                    cosines.setdefault((first, second), []).append(float(matrix[i][j]))
    return [
        Pair(domains=names, cosine=mean(values), negative=sum(value < 0 for value in values))
        for names, values in cosines.items()
    ]


def _rows(matrix: Any) -> list[list[Any]]:
    """A matrix's rows; of what is none, the empty row that no domain has."""
    return matrix if isinstance(matrix, list) and all(isinstance(row, list) for row in matrix) else [[]]


# ---------------------------------------------------------------------------------------------------------
# Drift and retention


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What one step did to the prompts that it had mastered, over the steps measured."""

    prompts: int
    """Mastered prompts, summed over steps."""
    kl: Mean
    """KL(before || after) a token, nats."""
    lost: Mean
    """Accuracy before minus after, 0-1."""
    retention: list[tuple[int, int, float]]
    """(step, problems mastered earlier, accuracy on them then)."""


def drift(run: RunDir) -> Drift:
    found = [measured for _, measured in records(run, "drift")]
    return Drift(
        prompts=sum(int(m["prompts"]) for m in found),
        kl=mean([float(m["kl"]) for m in found if m["kl"] is not None]),
        lost=mean([float(m["accuracy_before"]) - float(m["accuracy_after"]) for m in found]),
        retention=[(step, int(m["problems"]), float(m["accuracy"])) for step, m in records(run, "retention")],
    )


# ---------------------------------------------------------------------------------------------------------
# Representations


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectedStep:
    """Rollouts of one step in the plane of all steps' first two principal components."""

    step: int
    points: Floats
    """[B, 2]"""
    domains: list[str]
    correct: list[bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    snapshots: list[ProjectedStep]
    explained: tuple[float, float]
    """Shares of the variance over all steps."""


def representation_files(run: RunDir) -> list[Path]:
    return sorted((run.path / "representations").glob("step-??????.npz"))


def project(run: RunDir) -> Projection:
    """PCA over all recorded rollouts of all steps together, so that steps can be compared in one picture."""
    loaded = [(int(path.stem.removeprefix("step-")), *representation(path)) for path in representation_files(run)]
    if not loaded:
        return Projection(snapshots=[], explained=(math.nan, math.nan))
    if len({embeddings.shape[1] for _, embeddings, _, _ in loaded}) > 1:
        raise DataError(f"{run.path}/representations holds embeddings of several sizes; they are not of one model.")
    axes, centre, explained = principal_axes(np.concatenate([embeddings for _, embeddings, _, _ in loaded]))
    return Projection(
        snapshots=[
            ProjectedStep(step=step, points=(embeddings - centre) @ axes.T, domains=domains, correct=correct)
            for step, embeddings, domains, correct in loaded
        ],
        explained=explained,
    )


def principal_axes(rows: Floats) -> tuple[Floats, Floats, tuple[float, float]]:
    """The first two axes [2, H], the centre [H] and the shares of variance. An axis's largest entry is positive."""
    centre = rows.mean(0)
    _, singular, axes = np.linalg.svd(rows - centre, full_matrices=False)
    axes, singular = (
        np.concatenate([axes, np.zeros((2, rows.shape[1]))])[:2],
        np.concatenate([singular, np.zeros(2)]),
    )
    largest = axes[np.arange(2), np.abs(axes).argmax(1)]
    axes = axes * np.where(largest < 0, -1.0, 1.0)[:, None]
    shares = singular**2 / max(float((singular**2).sum()), 1e-300)
    return axes, centre, (float(shares[0]), float(shares[1]))


def representation(path: Path) -> tuple[Floats, list[str], list[bool]]:
    """Embeddings of a step's rollouts [B, H], their domains, and which are correct; those that are not finite are left out."""
    try:
        with np.load(path, allow_pickle=False) as held:
            embeddings = np.asarray(held["embeddings"], dtype=np.float64)
            domains, correct = [str(d) for d in held["domain"]], [bool(c) for c in held["correct"]]
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise DataError(f"{path} cannot be read: {error}. The file was changed or damaged after the run.") from error
    if embeddings.ndim != 2 or not len(embeddings) == len(domains) == len(correct):
        raise DataError(f"{path} holds {embeddings.shape} embeddings, {len(domains)} domains, {len(correct)} verdicts.")
    kept: Any = np.isfinite(embeddings).all(1).tolist()
    return (
        embeddings[kept],
        [d for d, k in zip(domains, kept, strict=True) if k],
        [c for c, k in zip(correct, kept, strict=True) if k],
    )


# ---------------------------------------------------------------------------------------------------------
# Token credit


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One sampled token, and what it was worth to each term."""

    text: str
    advantage: float
    scales: Mapping[str, float]
    """By term; 0 = the term has no loss there."""
    evidence: float | None


def tokens(row: Mapping[str, Any]) -> list[Token]:
    """Credit of a recorded rollout, token by token; empty where its step stopped before credit."""
    advantages = row.get("advantages")
    if advantages is None:
        return []
    scales = {name.removeprefix("scale/"): row[name] for name in row if name.startswith("scale/") and row[name]}
    evidence = row.get("evidence")
    return [
        Token(
            text=str(text),
            advantage=float(advantages[i]),
            scales={name: float(values[i]) for name, values in scales.items()},
            evidence=None if evidence is None else float(evidence[i]),
        )
        for i, text in enumerate(row["token_texts"])
    ]


def strength(value: float, largest: float) -> float:
    """Where `value` lies between minus and plus the largest magnitude shown, in [-1, 1]; 0 if that is none."""
    if not math.isfinite(value) or not largest > 0:
        return 0.0
    return max(-1.0, min(1.0, value / largest))


def largest(values: Sequence[float]) -> float:
    return max((abs(value) for value in values if math.isfinite(value)), default=0.0)
