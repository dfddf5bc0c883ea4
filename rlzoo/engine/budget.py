"""What a run has spent, and when that is enough. Everything an arm causes is charged to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from rlzoo.config import BudgetConfig
from rlzoo.engine.step import Costs


@dataclass(slots=True)
class Spent(Costs):
    """Counters since the start of the run, over all ranks."""

    steps: int = 0
    device_seconds: float = 0.0
    parameters: int = 0
    frozen: int = 0
    """Those of the parameters that are not trained, and so have no gradient of their own."""

    @property
    def flops(self) -> float:
        """2 x parameters a token forward, 6 x a token trained (4 x those below adapters); attention's own products are not counted.

        A token that another model reads counts by that model's parameters."""
        forward = self.gen_tokens + self.prefill_tokens + self.scoring_tokens + self.extra_tokens
        saved = 2.0 * self.frozen * self.train_tokens
        return float(self.parameters) * (2.0 * forward + 6.0 * self.train_tokens) - saved + 2.0 * self.heavier

    def progress(self, budget: BudgetConfig, now: Costs | None = None) -> float:
        """The largest share of any limit that is spent, the costs of the step at hand included; 1 or more ends the run."""
        if now is not None:
            ahead = replace(self)
            ahead.add(now)
            return ahead.progress(budget)
        return max(float(getattr(self, axis)) / limit for axis, limit in budget.limits().items())

    def reached(self, budget: BudgetConfig) -> str:
        """Which limit ended the run, in words; empty while none did."""
        for axis, limit in budget.limits().items():
            if getattr(self, axis) >= limit:
                return f"budget.{axis} = {limit:g} is spent"
        return ""

    def metrics(self) -> dict[str, float]:
        return {
            "cost/prompts": float(self.prompts),
            "cost/rollouts": float(self.rollouts),
            "cost/gen_tokens": float(self.gen_tokens),
            "cost/train_tokens": float(self.train_tokens),
            "cost/extra_tokens": float(self.extra_tokens),
            "cost/flops": self.flops,
            "time/device_seconds": self.device_seconds,
        }

    def state_dict(self) -> dict[str, float]:
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


def passes_a_point(before: float, after: float, points: int) -> bool:
    """Whether the share of the budget that is spent reached one of `points` inner ones, evenly spread, or passed several."""
    parts = points + 1
    return points > 0 and int(after * parts + 1e-9) > int(before * parts + 1e-9)
