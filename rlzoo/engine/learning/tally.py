"""Sums of one update over its micro-batches, kept as tensors and read once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rlzoo import functional as F
from rlzoo.engine.ranks import Ranks
from rlzoo.types import RolloutBatch

RATIO_BAND = 0.2
"""Ratios outside 1 ± this count as clipped in `trained/clipped`, whatever the objective clips at."""
START_ENTROPY, START_TOKENS = "start_entropy", "start_tokens"
"""In a tally: entropy over judged tokens of a step's first update, which reads them at the step's start, and how many they are."""


@dataclass(slots=True)
class Tally:
    """One rank's share of an update's sums and maxima. Nothing is read back from the device before `read`."""

    sums: dict[str, Tensor | float] = field(default_factory=dict)
    largest: dict[str, Tensor | float] = field(default_factory=dict)
    stray: dict[str, Tensor] = field(default_factory=dict)
    """By term: counted tokens whose loss is not finite although all that it was made from is."""
    gaps: list[Tensor] = field(default_factory=list)
    """Absolute differences between sampler's and trainer's log-probs, token by token."""

    def add(self, name: str, value: Tensor | float) -> None:
        """Add a number; summed in float64."""
        value = value.detach().double() if isinstance(value, Tensor) else value
        self.sums[name] = self.sums.get(name, 0.0) + value

    def top(self, name: str, value: Tensor | float) -> None:
        """Keep the largest, 0 at least."""
        value = value.detach().double() if isinstance(value, Tensor) else value
        self.largest[name] = torch.maximum(
            torch.as_tensor(self.largest.get(name, 0.0), dtype=torch.float64),
            torch.as_tensor(value, dtype=torch.float64),
        )

    def count_stray(self, found: Mapping[str, Tensor]) -> None:
        """Add to each term's stray tokens."""
        for name, count in found.items():
            self.stray[name] = self.stray[name] + count if name in self.stray else count

    def read(self, ranks: Ranks) -> Totals:
        """All ranks' tallies together, as numbers."""
        mine = Totals(_numbers(self.sums), _numbers(self.largest), _numbers(self.stray), _together(self.gaps))
        whole = Totals()
        for other in ranks.gather(mine):
            for name, value in other.sums.items():
                whole.sums[name] = whole.sums.get(name, 0.0) + value
            for name, value in other.largest.items():
                whole.largest[name] = max(whole.largest.get(name, 0.0), value)
            for name, value in other.stray.items():
                whole.stray[name] = whole.stray.get(name, 0.0) + value
            whole.gaps_K = torch.cat([whole.gaps_K, other.gaps_K])
        return whole


@dataclass(slots=True)
class Totals:
    """An update's sums, maxima and stray tokens over all ranks."""

    sums: dict[str, float] = field(default_factory=dict)
    largest: dict[str, float] = field(default_factory=dict)
    stray: dict[str, float] = field(default_factory=dict)
    gaps_K: Tensor = field(default_factory=lambda: torch.zeros(0))
    """On the CPU, in float32."""


def _together(gaps: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(gaps)).float().cpu() if gaps else torch.zeros(0)


def _numbers(values: Mapping[str, Tensor | float]) -> dict[str, float]:
    """Host values of scalars, with one transfer for all that lie on a device."""
    held = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    read = torch.stack([value.double() for value in held.values()]).tolist() if held else []
    told = dict(zip(held, read, strict=True))
    return {name: told[name] if name in told else float(value) for name, value in values.items()}


@torch.no_grad()
def record_ratios(
    tally: Tally,
    logps_BT: Tensor,
    old_logps_BT: Tensor,
    places_K: tuple[Tensor, Tensor],
) -> None:
    """How far the policy is from the step's start at the response tokens `places_K`."""
    drift = (logps_BT - old_logps_BT)[places_K].clamp(-F.LOG_RATIO_LIMIT, F.LOG_RATIO_LIMIT)
    ratio = drift.exp()
    tally.add("tokens", float(len(ratio)))
    tally.add("rows", float(len(logps_BT)))
    tally.add("kl_old", (ratio - 1 - drift).sum())
    tally.add("clipped", ((ratio - 1).abs() > RATIO_BAND).sum())
    tally.top("ratio_max", ratio.max() if len(ratio) else 0.0)


@torch.no_grad()
def record_start(tally: Tally, entropy_K: Tensor, judged_K: Tensor) -> None:
    """Entropy at the response tokens of judged rollouts, by the weights that stand at the step's start."""
    tally.add(START_ENTROPY, entropy_K.where(judged_K, 0.0).sum())
    tally.add(START_TOKENS, judged_K.sum())


@torch.no_grad()
def record_mismatch(tally: Tally, logps_K: Tensor, batch: RolloutBatch, places_K: tuple[Tensor, Tensor]) -> None:
    """How far the sampler is from the trainer: `logps_K` are the trainer's, at the weights that sampled."""
    gap = batch.sampler_logps_BT[places_K] - logps_K
    tally.add("compared", float(len(gap)))
    weight = (-gap).clamp(-F.LOG_RATIO_LIMIT, F.LOG_RATIO_LIMIT).double().exp()
    tally.add("gap", gap.sum())
    tally.add("weight", weight.sum())
    tally.add("weight_squared", weight.square().sum())
    tally.top("gap_max", gap.abs().max() if len(gap) else 0.0)
    tally.gaps.append(gap.abs())


def summary(updates: Sequence[Totals], num_rows: int) -> dict[str, float]:
    """The step's metrics from its updates' totals."""
    total: dict[str, float] = {}
    for update in updates:
        for name, value in update.sums.items():
            total[name] = total.get(name, 0.0) + value
    tokens, compared = total.get("tokens", 0.0), total.get("compared", 0.0)
    metrics = {
        name: value / len(updates)
        for name, value in total.items()
        if name.startswith(("loss/", "coupled/", "anchors/", "head/")) or name == "grad/norm"
    }
    if tokens:  # else nothing was trained, and there is nothing to tell
        metrics |= {
            "trained/kl_old": total["kl_old"] / tokens,
            "trained/clipped": total["clipped"] / tokens,
            "trained/ratio_max": max(u.largest.get("ratio_max", 0.0) for u in updates),
        }
    if compared:
        metrics |= {
            "mismatch/kl": total["gap"] / compared,
            "mismatch/p99": _within(torch.cat([torch.zeros(0), *(u.gaps_K for u in updates)]), 0.99),
            "mismatch/max": max(u.largest.get("gap_max", 0.0) for u in updates),
            "mismatch/ess": total["weight"] ** 2 / (compared * total["weight_squared"]),
        }
    return metrics | {
        "grad/nonfinite": total.get("grad/nonfinite", 0.0),
        "rows/trained": total.get("rows", 0.0) / max(num_rows, 1),
    }


def _within(values_K: Tensor, share: float) -> float:
    """The smallest of the values that at least `share` of them do not exceed; 0 where there are none."""
    if not len(values_K):
        return 0.0
    return float(values_K.kthvalue(max(1, math.ceil(share * len(values_K)))).values)
