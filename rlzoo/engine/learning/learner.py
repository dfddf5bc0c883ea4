"""From a step's credit to new weights. The engine owns the denominators; the objective owns what is divided.

An update's gradient is the sum over its micro-batches and ranks. Denominators are counted over all of its rows before
anything is skipped, so neither the cut into micro-batches nor the number of ranks nor skipping changes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rlzoo.config import RunConfig
from rlzoo.engine.learning.batch import draw_minibatches
from rlzoo.engine.learning.in_batch import with_in_batch
from rlzoo.engine.learning.micro import TEACHER_HEAVIER, TEACHER_TOKENS, Micro
from rlzoo.engine.learning.optimizer import learning_rate
from rlzoo.engine.learning.tally import START_ENTROPY, START_TOKENS, Tally, Totals, summary
from rlzoo.engine.learning.update import Update, build_update, schedule
from rlzoo.engine.ranks import Ranks
from rlzoo.engine.scorer import Scorer
from rlzoo.engine.step import Costs, Step
from rlzoo.errors import Diverged
from rlzoo.objective import refuse_stray
from rlzoo.types import Needs, RolloutBatch


class Learner:
    """Turns scored, credited steps into updates of the policy and of the objective's heads."""

    def __init__(self, config: RunConfig, ranks: Ranks, scorer: Scorer) -> None:
        self.config = config
        self.ranks = ranks
        self.scorer = scorer
        self.store = scorer.copies.current
        self.heads = scorer.heads
        self.updates = 0
        self.nonfinite = 0

    def learn(self, step: Step, progress: float) -> dict[str, float]:
        """All updates of one step, and its metrics. `progress` is the share of the budget that is spent, in [0, 1)."""
        settings = self.config.learner
        step = self.measured(step)
        parts = draw_minibatches(step.batch, settings.updates_per_step, self.config.seed)
        old_logps_BT = self._old_logps(step, parts)
        lr = learning_rate(settings, step.number, progress)
        totals, learned_B = [], torch.zeros_like(step.batch.judged_B)
        for number, index_N in enumerate(parts):
            own_forward = number == 0 and settings.old_logps == "trainer"
            update = build_update(step, index_N, None if own_forward else old_logps_BT)
            update = replace(update, fresh=number == 0, sampled_old=settings.old_logps == "sampler")
            paired = with_in_batch(update, step.needs, self.scorer, step.costs, fresh=number == 0)
            learned_B[index_N] = paired.update.learning()
            whole = self.backward(paired.update, step.needs, step.costs, paired.tally(self.ranks.world))
            self._apply(whole, lr, still=step.needs.heads_only)
            totals.append(whole)
        self.store.clear()
        nothing = {f"loss/{name}": 0.0 for name in step.credit.terms}
        metrics = summary(totals, len(step.sequences)) | self._entropy(step, totals) | _by_domain(step.batch, learned_B)
        return {**nothing, **metrics, "learner/lr": lr, "learner/updates": float(self.updates)}

    def dealt(self, step: Step) -> Step:
        """The step with the update that each of its rows is for: some credit compares the tokens of an update."""
        ids_B = torch.zeros_like(step.batch.group_ids_B)
        parts = draw_minibatches(step.batch, self.config.learner.updates_per_step, self.config.seed)
        for number, index_N in enumerate(parts):
            ids_B[index_N] = number
        return replace(step, batch=replace(step.batch, update_ids_B=ids_B))

    def measured(self, step: Step) -> Step:
        """The step with the entropy of judged rows that no pass of this arm's own will read at its start.

        What is left out of a step differs between arms, and entropy over the rest could not be compared; so this pass is nobody's cost.
        """
        if step.entropy_BT is not None:
            return step
        entropy_BT = torch.full_like(step.batch.sampler_logps_BT, math.nan)
        parts = draw_minibatches(step.batch, self.config.learner.updates_per_step, self.config.seed)
        known_B = self._read_by_updates(step, parts if self.config.learner.old_logps == "trainer" else parts[:1])
        index_K = (step.batch.valid_B & ~known_B).nonzero().squeeze(1)
        if len(index_K):
            rows = step.sequences.take(index_K.tolist())
            told = self.scorer.pass_over(self.store, rows, width=entropy_BT.shape[1])
            entropy_BT[index_K] = told.entropy_BT.to(entropy_BT.dtype)
        return replace(step, entropy_BT=entropy_BT)

    def _read_by_updates(self, step: Step, parts: Sequence[Tensor]) -> Tensor:
        """Rows of these updates that go through the model. [B] bool"""
        read_B = torch.zeros_like(step.batch.judged_B)
        for index_N in parts:
            read_B[index_N] = build_update(step, index_N, None).active() if self.config.learner.skip else True
        return read_B

    def _entropy(self, step: Step, totals: Sequence[Totals]) -> dict[str, float]:
        """Mean entropy at the step's start over tokens of all judged rollouts of the prompts kept; nothing where there is none."""
        assert step.entropy_BT is not None
        told_K = step.entropy_BT[step.batch.loss_mask_BT].double()
        total, tokens = float(told_K.nansum()), float((~told_K.isnan()).sum())
        if tokens < len(told_K):  # the others are rows of the first update, which read them
            total += totals[0].sums.get(START_ENTROPY, 0.0)
            tokens += totals[0].sums.get(START_TOKENS, 0.0)
        return {"policy/entropy": total / tokens} if tokens else {}

    def backward(self, update: Update, needs: Needs, costs: Costs, tally: Tally | None = None) -> Totals:
        """Leave the update's gradient, summed over micro-batches and ranks, with the weights and the heads."""
        tally = tally or Tally()
        passes = schedule(update, self.config.learner, self.ranks)
        costs.trained([update.sequences.lengths[i] for i in passes.chosen])
        micro = Micro(self.scorer, needs, self.config.learner.mismatch)
        self.store.begin()
        for share in passes.shares:
            self.store.backward(micro.loss(update, share, tally), last=share.last)
        self.heads.sum_gradients()
        whole = tally.read(self.ranks)
        refuse_stray(self.scorer.objective, whole.stray)
        costs.extra_tokens += int(whole.sums.get(TEACHER_TOKENS, 0))
        costs.heavier += whole.sums.get(TEACHER_HEAVIER, 0.0)
        return whole

    def _old_logps(self, step: Step, parts: Sequence[Tensor]) -> Tensor | None:
        """The policy at the start of the step, for rows of later updates that will be trained. [B, T], 0 elsewhere."""
        if self.config.learner.old_logps == "sampler":
            return step.batch.sampler_logps_BT
        if step.old_logps_BT is not None or len(parts) == 1:
            return step.old_logps_BT
        chosen_K = self._read_by_updates(step, parts[1:]).nonzero().squeeze(1)
        old_logps_BT = torch.zeros_like(step.batch.sampler_logps_BT)
        if len(chosen_K):
            rows = step.sequences.take(chosen_K.tolist())
            scores = self.scorer.pass_over(self.store, rows, width=old_logps_BT.shape[1])
            old_logps_BT[chosen_K] = scores.logps_BT.to(old_logps_BT.dtype)
            if step.entropy_BT is not None:
                step.entropy_BT[chosen_K] = scores.entropy_BT.to(old_logps_BT.dtype)
            step.costs.rescored(rows)
        return old_logps_BT

    def _apply(self, whole: Totals, lr: float, *, still: bool) -> None:
        """Clip and step; leave the update out if anything in it is not finite, and stop after too many of those.

        `still`: heads alone step. A step of the policy's optimizer by a gradient of zero would decay weights and age its averages.
        """
        broken = bool(whole.sums.get("nonfinite"))
        for name, size in self.heads.norms().items():
            whole.sums[f"head/{name}"] = float(size)
        norm = 0.0
        if still:
            self.store.clear()
        else:
            norm = self.store.step(lr, self.config.learner.max_grad_norm, veto=broken)
        if math.isfinite(norm) and not broken:
            if not still:
                whole.sums["grad/norm"] = norm
            self.heads.step()
        else:
            whole.sums["grad/nonfinite"] = 1.0
            self._count_nonfinite(whole, norm)
        self.updates += 1
        self.heads.clear()

    def _count_nonfinite(self, whole: Totals, norm: float) -> None:
        settings = self.config.learner
        self.nonfinite += 1
        if self.nonfinite > settings.max_nonfinite:
            told = {name: value for name, value in whole.sums.items() if name.startswith(("loss/", "coupled/"))}
            losses = ", ".join(f"{name} {value:g}" for name, value in told.items())
            raise Diverged(
                f"update {self.updates + 1} is not finite (gradient norm {norm:g}; {losses}), the {self.nonfinite}th of this run; "
                f"learner.max_nonfinite allows {settings.max_nonfinite}. Lower learner.lr (now {settings.lr:g}), "
                "or look at the last rollouts with `rlzoo show`."
            )

    def state_dict(self) -> dict[str, Any]:
        return {
            "weights": self.store.state(),
            "heads": self.heads.state_dict(),
            "counters": [self.updates, self.nonfinite],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.store.load(state["weights"])
        self.heads.load_state_dict(state["heads"])
        self.updates, self.nonfinite = state["counters"]


def _by_domain(batch: RolloutBatch, learned_B: Tensor) -> dict[str, float]:
    """Shares of the domains' judged rollouts from which something was learned."""
    rows = {name: batch.valid_B & (batch.domain_ids_B == i) for i, name in enumerate(batch.domains)}
    return {
        f"learned/{name}": float(learned_B[of_B].double().mean()) for name, of_B in rows.items() if bool(of_B.any())
    }
