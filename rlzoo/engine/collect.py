"""A step's rollouts: problems drawn, answered, judged, and drawn again where the objective does not keep them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rlzoo.config import RunConfig
from rlzoo.engine.answering import Answers
from rlzoo.engine.asking import Asker
from rlzoo.engine.clock import Clock
from rlzoo.engine.control import told
from rlzoo.engine.learning.batch import build_batch, to_device
from rlzoo.engine.model.passes import Scores
from rlzoo.engine.model.sequences import sequences_of
from rlzoo.engine.recorder import Recorder
from rlzoo.engine.reward import shaped
from rlzoo.engine.scorer import Scorer
from rlzoo.engine.step import Costs, Step
from rlzoo.engine.verification import Pending, check_error_rate
from rlzoo.errors import VerifierFault
from rlzoo.objective import Objective, checked_keep, checked_needs
from rlzoo.types import Credit, Group, RolloutBatch


class Collector:
    """Makes steps, up to what can be told before credit."""

    def __init__(
        self,
        config: RunConfig,
        objective: Objective[Any],
        domains: tuple[str, ...],
        answers: Answers,
        asker: Asker,
        scorer: Scorer,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self.config = config
        self.objective = objective
        self.domains = domains
        self.answers = answers
        self.asker = asker
        self.scorer = scorer
        self.recorder = recorder
        self.clock = clock

    def collect(self, number: int) -> tuple[Step, Scores | None]:
        """The step with judged groups, and what was scored while verdicts were on their way.

        Prompts that the objective does not keep are drawn again, and charged.
        """
        needs, costs = checked_needs(self.objective, number), Costs()
        wanted, rounds = self.config.sampling.prompts_per_step, self.config.sampling.max_resample
        keeps_all = type(self.objective).keep is Objective.keep
        kept: list[Group] = []
        groups: list[Group] = []
        verified: dict[int, Group] = {}
        dropped, prescored = 0, None
        for attempt in range(rounds):
            with self.clock.timed("sample"):
                pending = self.asker.begin(self.answers.draw(wanted - len(kept), attempt))
            if keeps_all and self.scorer.asks_for_all(needs):
                with self.clock.timed("score"):
                    sequences = sequences_of(self.asker.ranks.all_gather(pending.groups))
                    prescored = self.scorer.prescore(sequences, needs, costs)
            with self.clock.timed("verify"):
                judged = self._judged(pending, number, costs)
            groups = told(judged, self.config.control.reward, self.config.seed, number)
            verified |= {id(group): own for group, own in zip(groups, judged, strict=True)}
            self.answers.mixer.observe(groups)
            batch = self.batch(groups, number)
            keep = checked_keep(self.objective, batch)
            fresh = [group for group, stays in zip(groups, keep, strict=True) if stays]
            dropped += len(groups) - len(fresh)
            if not fresh and not kept and attempt + 1 == rounds:
                fresh = groups  # nothing worth keeping was found: the step goes on with what there is
            kept += fresh
            if len(kept) == wanted:
                break
        if kept != groups:  # the batch at hand is of the last round's groups
            batch = self.batch(kept, number)
        batch = to_device(batch, self.scorer.copies.current.device)
        step = Step(
            number=number,
            needs=needs,
            groups=kept,
            verified=None if self.config.control.reward == "true" else [verified[id(group)] for group in kept],
            batch=batch,
            sequences=sequences_of(kept),
            costs=costs,
            dropped=dropped,
            credit=Credit.nothing(batch.sampler_logps_BT),
        )
        return step, prescored

    def batch(self, groups: Sequence[Group], number: int) -> RolloutBatch:
        """The groups as tensors on the CPU, with shaped rewards."""
        batch = build_batch(
            groups,
            domains=self.domains,
            max_response=self.config.sampling.max_response,
            step=number,
            total_steps=self.config.budget.steps or 0,
            dtype=torch.float64 if self.config.model.dtype == "float64" else torch.float32,
        )
        return shaped(batch, groups, self.config.reward)

    def _judged(self, pending: Pending, number: int, costs: Costs) -> list[Group]:
        """All ranks' groups with their verdicts, in the order of the draw."""
        groups = self.asker.ranks.all_gather(pending.judged())
        costs.sampled(groups)
        try:
            check_error_rate(groups, self.config.verifier.max_error_rate)
        except VerifierFault:
            self.recorder.unjudged(groups, self.batch(groups, number))
            raise
        return groups
