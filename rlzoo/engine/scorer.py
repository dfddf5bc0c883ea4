"""The score stage: what an objective asks of a step before credit is assigned, computed once and shared.

The engine knows no signal by name; an objective brings the name and the contexts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rlzoo import functional as F
from rlzoo.engine.model.copies import PolicyCopies
from rlzoo.engine.model.heads import Heads
from rlzoo.engine.model.passes import Scores, microbatches, score
from rlzoo.engine.model.rendering import Renderer
from rlzoo.engine.model.sequences import Sequences
from rlzoo.engine.model.weights.base import WeightStore
from rlzoo.engine.ranks import Ranks
from rlzoo.engine.step import Costs, Prompts, Step
from rlzoo.errors import ObjectiveFault
from rlzoo.objective import Objective
from rlzoo.types import Needs, Pooling, Signal


class Scorer:
    """Serves what an objective asks of a step before credit is assigned."""

    def __init__(
        self,
        copies: PolicyCopies,
        renderer: Renderer,
        objective: Objective[Any],
        heads: Heads,
        ranks: Ranks,
        *,
        budget: int,
        packed: bool = False,
    ) -> None:
        """`budget`: tokens of one forward pass, padding included unless rows are `packed`."""
        self.copies = copies
        self.renderer = renderer
        self.objective = objective
        self.heads = heads
        self.ranks = ranks
        self.budget = budget
        self.packed = packed

    def asks_for_all(self, needs: Needs) -> bool:
        """Whether a pass over all rows with the present weights has to be made."""
        asked = needs.old_logps or needs.entropy or needs.sequence_logps or needs.embeddings is not None
        return asked or bool(self.heads.of_tokens)

    def pass_over(
        self,
        weights: WeightStore,
        sequences: Sequences,
        *,
        width: int | None = None,
        pooling: Pooling | None = None,
        logps: bool = True,
        values: bool = False,
    ) -> Scores:
        """`score` with the rows shared among ranks; every rank gets all of it. `values`: of the token heads, too."""
        heads = self.heads.of_tokens if values else {}
        width = sequences.width if width is None else width

        def own(rows: Sequences, padding: Sequence[Sequences] = ()) -> Scores:
            return score(
                weights,
                rows,
                width=width,
                budget=self.budget,
                packed=self.packed,
                pooling=pooling,
                logps=logps,
                heads=heads,
                padding=padding,
            )

        if self.ranks.world == 1:
            return own(sequences)
        mine = list(self.ranks.shard(range(len(sequences))))
        parts = self.ranks.gather((mine, own(sequences.take(mine), self._padding(sequences))))
        index = [i for owned, _ in parts for i in owned]
        back_B = torch.tensor(sorted(range(len(index)), key=lambda place: index[place]), dtype=torch.long)
        return _joined([part for _, part in parts], back_B, weights.device)

    def _padding(self, sequences: Sequences) -> list[Sequences]:
        """What this rank reads besides its own rows, so that it makes as many passes as any: the shortest row, over and over."""
        lengths, world = sequences.lengths, self.ranks.world
        cuts = [
            sum(1 for _ in microbatches(lengths[rank::world], self.budget, packed=self.packed)) for rank in range(world)
        ]
        shortest = sequences.take([min(range(len(lengths)), key=lengths.__getitem__)])
        return [shortest] * (max(cuts) - cuts[self.ranks.rank])

    def prescore(self, sequences: Sequences, needs: Needs, costs: Costs) -> Scores | None:
        """The pass over all rows with the present weights, if `needs` asks for one; no verdict is needed for it."""
        if not self.asks_for_all(needs):
            return None
        costs.read(sequences)
        return self.pass_over(self.copies.current, sequences, pooling=needs.embeddings, values=True)

    def score(self, step: Step, prescored: Scores | None = None) -> Step:
        """The step with the signals, embeddings, values, entropy and old log-probs that its needs ask for."""
        scores = prescored or self.prescore(step.sequences, step.needs, step.costs)
        contexts: dict[str, Prompts] = {}
        crowded: dict[str, int] = {}
        values: dict[str, Tensor] = {}
        masks: dict[str, Tensor] = {}
        matched = {divergence.signal for divergence in step.needs.divergences}
        for signal in step.needs.signals:
            prompts, crowded[signal.name] = self._prompts(signal, step)
            contexts[signal.name] = prompts
            masks[signal.name] = torch.tensor([p is not None for p in prompts], device=step.batch.judged_B.device)
            # divergences run the teacher beside the student
            values[signal.name] = self._read(signal, prompts, step, run=signal.name not in matched)
        batch = replace(step.batch, signals=values, signal_mask=masks)
        if scores is not None:
            batch = replace(
                batch,
                old_logps_BT=scores.logps_BT if step.needs.old_logps else None,
                entropy_BT=scores.entropy_BT if step.needs.entropy else None,
                embeddings_BH=scores.embeddings_BH,
                projections=self.heads.project(scores.embeddings_BH),
                values=scores.values,
            )
        if scores is not None:
            step = replace(step, old_logps_BT=scores.logps_BT, entropy_BT=scores.entropy_BT)
        return replace(step, batch=batch, contexts=contexts, crowded=crowded)

    def _read(self, signal: Signal, prompts: Prompts, step: Step, *, run: bool) -> Tensor:
        """Log-probs of the step's responses behind other prompts, under the signal's weights; 0 where there is none. [B, T]"""
        values_BT = torch.zeros_like(step.batch.sampler_logps_BT)
        index = [i for i, prompt in enumerate(prompts) if prompt is not None]
        if run and index:
            given = behind(prompts, step.sequences, index)
            read = self.pass_over(self.copies.get(signal.weights), given, width=values_BT.shape[1])
            values_BT[index] = read.logps_BT.to(values_BT.dtype)
            step.costs.read(given, self.copies.heavier(signal.weights))
        return values_BT

    def _prompts(self, signal: Signal, step: Step) -> tuple[Prompts, int]:
        """Each row's prompt under the signal, and how many rows have none because it would be too long."""
        batch = step.batch
        differs_B = batch.valid_B & ~F.group_equal(batch.rewards_B, batch.group_ids_B, batch.valid_B)
        wanted = (batch.valid_B if signal.rows == "all" else differs_B).tolist()
        prompts: list[tuple[int, ...] | None] = []
        crowded = 0
        for group in step.groups:
            given = self.objective.contexts(signal.name, group)
            if len(given) != len(group.rollouts):
                raise ObjectiveFault(
                    f"{type(self.objective).__name__}.contexts({signal.name!r}) returned {len(given)} contexts for a group of "
                    f"{len(group.rollouts)} rollouts. Return one for each, None where it has none."
                )
            for context, rollout in zip(given, group.rollouts, strict=True):
                asked = context if wanted[len(prompts)] else None
                prompts.append(self.renderer.under(asked, rollout.prompt_tokens))
                crowded += asked is not None and prompts[-1] is None
        return prompts, crowded


def behind(prompts: Prompts, sequences: Sequences, index: list[int]) -> Sequences:
    """The responses at `index`, each behind its prompt in `prompts`."""
    return replace(sequences.take(index), prompts=[prompts[i] or () for i in index])


def _joined(parts: list[Scores], back_B: Tensor, device: torch.device) -> Scores:
    """The ranks' parts as one, put back into the rows' own order by `back_B`."""

    def whole(tensors: list[Tensor]) -> Tensor:
        return torch.cat([tensor.to("cpu") for tensor in tensors])[back_B].to(device)

    def named(each: list[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        return {name: whole([values[name] for values in each]) for name in each[0]}

    embeddings = [part.embeddings_BH for part in parts if part.embeddings_BH is not None]
    return Scores(
        whole([part.logps_BT for part in parts]),
        whole([part.entropy_BT for part in parts]),
        whole(embeddings) if embeddings else None,
        named([part.values for part in parts]),
    )
