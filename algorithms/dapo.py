"""DAPO: clip-higher, a token mean, dynamic sampling and a soft punishment of overlong responses. arXiv:2503.14476."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from torch import Tensor

from rlzoo import functional as F
from rlzoo.algorithms.grpo import Grpo, GrpoConfig
from rlzoo.lengths import overlong_punishment
from rlzoo.objective import setting
from rlzoo.types import Credit, RolloutBatch

PAPER = "arXiv:2503.14476"


class DapoConfig(GrpoConfig):
    """The paper samples 16 rollouts a prompt of up to 20480 tokens and takes 512 an update."""

    clip_high: float = setting(0.28, source=f"{PAPER} sec. 4.1; TRL and verl code", gt=0)
    reduction: Literal["token", "rollout", "group", "constant"] = setting("token", source=f"{PAPER} eq. 12; TRL code")
    dynamic_sampling: bool = setting(True, source=f"{PAPER} eq. 11", tag="EXACT-2")
    """Keep only prompts with right and wrong rollouts; others are drawn for those dropped, and charged."""
    overlong: float = setting(1.0, source=f"{PAPER} eq. 13", tag="EXACT-2", ge=0)
    """Factor of the soft overlong punishment, added to rewards; 0 = off. It comes on top of `reward.overlong`."""
    overlong_share: float = setting(0.2, source=f"{PAPER} sec. 4.1: 4096 of 20480 tokens", tag="EXACT-2", gt=0, le=1)
    """Share of `sampling.max_response`, at its end, over which the punishment falls from 0 to -1."""


NONE_MIXED = (
    "of all prompts drawn for a step none had both right and wrong rollouts: it goes on with those drawn last, which only lengths and other "
    "shaping tell apart. Use easier or harder problems, or raise sampling.max_resample."
)


class Dapo(Grpo[DapoConfig]):
    """A_i as GRPO's from R_i + overlong(n_i); loss = -min(r A, clip(r, 0.8, 1.28) A), the mean over all tokens of the update.

    arXiv:2503.14476 eq. 8-13 (EXACT-2; the loss EXACT, TRL and verl). overlong(n) falls from 0 at L - C to -1 at L tokens, L being
    `sampling.max_response` and C a fifth of it.

    Sets: only prompts with 0 < right < G judged rollouts stay in the step; for others new ones are drawn, up to
    `sampling.max_resample` times. Where none is found the step goes on with those drawn last, and says so.

    Normaliser: all judged tokens of the update.

    Differs: what was drawn in surplus is charged to the budget. The std is Bessel-corrected, as in verl and TRL.
    """

    name = "dapo"
    Config = DapoConfig
    metrics = {"dapo/overlong": ("reward", "mean of what the overlong punishment added to judged rollouts")}
    exemptions = {"equal-groups": "its overlong punishment tells rollouts apart that the verifier does not"}

    def keep(self, batch: RolloutBatch) -> Tensor:
        kept_P = super().keep(batch)
        if not self.config.dynamic_sampling:
            return kept_P
        right_B, valid_B = batch.correct_B.to(batch.rewards_B.dtype), batch.valid_B
        mixed_B = ~F.group_equal(right_B, batch.group_ids_B, valid_B)
        return kept_P & kept_P.new_zeros(len(kept_P)).index_put((batch.group_ids_B,), mixed_B)

    def assign_credit(self, batch: RolloutBatch) -> Credit:
        credit = self._credit(batch)
        return replace(credit, warnings=credit.warnings + (NONE_MIXED,) * (not self.keep(batch).any()))

    def _credit(self, batch: RolloutBatch) -> Credit:
        if not self.config.overlong:
            return super().assign_credit(batch)
        limit = batch.max_response
        buffer = max(1, round(self.config.overlong_share * limit))
        lengths = batch.response_mask_BT.sum(1).tolist()
        punished = [self.config.overlong * overlong_punishment(length, limit, buffer) for length in lengths]
        added_B = batch.rewards_B.new_tensor(punished) * batch.valid_B
        credit = super().assign_credit(replace(batch, rewards_B=batch.rewards_B + added_B))
        mean = float(added_B.sum() / batch.valid_B.sum().clamp(min=1))
        return replace(credit, metrics={**credit.metrics, "dapo/overlong": mean})
