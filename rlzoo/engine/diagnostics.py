"""What papers claim of objectives, measured for any of them: drift, retention, interference, representations.

Every measurement costs forward passes (interference also backward ones), which are counted among the run's extra tokens.
None of them changes the run: weights, noise and data order are as without.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlzoo import functional as F
from rlzoo.config import RunConfig
from rlzoo.engine.asking import Asker
from rlzoo.engine.clock import Clock
from rlzoo.engine.learning.in_batch import with_in_batch
from rlzoo.engine.learning.learner import Learner
from rlzoo.engine.learning.update import build_update
from rlzoo.engine.recorder import Recorder
from rlzoo.engine.sampling.base import Decoding
from rlzoo.engine.sampling.noise import row_key
from rlzoo.engine.step import Costs, Step
from rlzoo.types import Pooling, Problem, RolloutBatch


@dataclass(frozen=True, slots=True)
class Early:
    """What was measured before a step's updates."""

    interference: Mapping[str, Any]
    embeddings_BH: Tensor


class Diagnostics:
    """Measures every so many steps; holds the problems that were once mastered."""

    def __init__(self, config: RunConfig, learner: Learner, asker: Asker, recorder: Recorder, clock: Clock) -> None:
        self.config = config
        self.learner = learner
        self.scorer = learner.scorer
        self.asker = asker
        self.recorder = recorder
        self.clock = clock
        self.mastered: dict[str, Problem] = {}

    def before(self, step: Step) -> Early | None:
        """What must be measured before the step's updates: gradients by domain, and embeddings. None where nothing is due."""
        every = self.config.diagnostics.every
        if not every or step.number % every:
            return None
        with self.clock.timed("diagnose"):
            return Early(self.interference(step), self._embeddings(step))

    def after(self, step: Step, early: Early | None) -> None:
        """Record what was measured; drift and retention are, with the new weights."""
        if early is None:
            return
        with self.clock.timed("diagnose"):
            record: dict[str, Any] = {"step": step.number}
            if early.interference:
                record["interference"] = early.interference
            record["representations"] = representation_statistics(early.embeddings_BH, step.truth)
            record |= self.drift(step)
            self.recorder.diagnosis(record, embeddings_arrays(early.embeddings_BH, step.truth))

    def interference(self, step: Step) -> dict[str, Any]:
        """Cosines between the gradients of the domains' own rows."""
        gradients = self.gradients(step)
        names = [name for name, gradient in gradients.items() if float(gradient.norm()) > 0]
        cosine = [
            [float(torch.nn.functional.cosine_similarity(gradients[a], gradients[b], dim=0)) for b in names]
            for a in names
        ]
        negative = sum(cosine[i][j] < 0 for i in range(len(names)) for j in range(i))
        return {"domains": names, "cosine": cosine, "negative": negative} if len(names) > 1 else {}

    def gradients(self, step: Step) -> dict[str, Tensor]:
        """The gradient of each domain's own rows, by domain, divided over its own rows. [parameters] float64

        Of losses over rows that see each other, a domain has what reaches its rows from the whole step's.
        """
        gradients: dict[str, Tensor] = {}
        trial, batch = Costs(), step.batch
        everything = build_update(
            step, torch.arange(len(step.sequences), device=batch.judged_B.device), step.old_logps_BT
        )
        whole = with_in_batch(everything, step.needs, self.scorer, trial, fresh=True).update
        for i, name in enumerate(batch.domains):
            index_N = (batch.domain_ids_B == i).nonzero().squeeze(1)
            if not len(index_N):
                continue
            share = len(step.sequences) / len(index_N)  # per row of its own, as the other terms are
            embedding, summed = whole.embedding_grads_NH, whole.sequence_logp_grads_N
            update = replace(
                build_update(step, index_N, step.old_logps_BT),
                embedding_grads_NH=None if embedding is None else embedding[index_N] * share,
                sequence_logp_grads_N=None if summed is None else summed[index_N] * share,
            )
            self.learner.backward(update, step.needs, trial)
            gradients[name] = self.learner.store.gradient()  # float32 would leave 1e-4 in a cosine
        self.learner.store.clear()
        self.learner.heads.clear()
        step.costs.heavier += trial.heavier
        step.costs.extra_tokens += (
            trial.extra_tokens + 3 * trial.train_tokens
        )  # forward and backward, as forward passes
        return gradients

    def drift(self, step: Step) -> dict[str, Any]:
        """KL and accuracy of the step's mastered prompts under the new weights; accuracy of those mastered before."""
        batch = step.truth
        accuracy_B = F.group_mean(batch.correct_B.double(), batch.group_ids_B, batch.valid_B)
        solved = sorted(set(batch.group_ids_B[(accuracy_B == 1) & batch.valid_B].tolist()))
        record: dict[str, Any] = {}
        earlier = list(self.mastered.values())
        if solved:
            mastered = torch.tensor(solved, device=batch.group_ids_B.device)
            index_K = torch.isin(batch.group_ids_B, mastered).nonzero().squeeze(1)
            part = step.sequences.take(index_K.tolist())
            now = self.scorer.pass_over(self.learner.store, part, width=batch.response_mask_BT.shape[1]).logps_BT
            step.costs.read(part)
            kl = F.kl_k3(batch.sampler_logps_BT[index_K].to(now.dtype), now)[batch.response_mask_BT[index_K]]
            again = self._accuracy([step.judged[g].problem for g in solved], f"drift-{step.number}", step.costs)
            record["drift"] = {
                "prompts": len(solved),
                "kl": float(kl.mean()),
                "accuracy_before": 1.0,
                "accuracy_after": again,
            }
        if earlier:
            accuracy = self._accuracy(earlier, f"retention-{step.number}", step.costs)
            record["retention"] = {"problems": len(earlier), "accuracy": accuracy}
        for g in solved:
            if len(self.mastered) < self.config.diagnostics.retained:
                self.mastered.setdefault(step.judged[g].problem.id, step.judged[g].problem)
        return record

    def _accuracy(self, problems: Sequence[Problem], stream: str, costs: Costs) -> float:
        """Share of correct answers, one response to each problem with the current weights, from a noise stream of its own."""
        decoding = Decoding.of(self.config.sampling, self.config.sampling)
        groups = self.asker.ask(problems, lambda i: [row_key(stream, self.config.seed, problems[i].id)], decoding)
        rollouts = [rollout for group in groups for rollout in group.rollouts]
        costs.extra_tokens += sum(len(r.prompt_tokens) + len(r.response_tokens) for r in rollouts)
        verdicts = [r.verdict for r in rollouts if r.verdict is not None]
        return sum(v.correct for v in verdicts) / max(len(verdicts), 1)

    def _embeddings(self, step: Step) -> Tensor:
        """One embedding a rollout; a pass is made for them where the objective asked for none. [B, H]"""
        if step.batch.embeddings_BH is not None:
            return step.batch.embeddings_BH
        scores = self.scorer.pass_over(self.learner.store, step.sequences, pooling=Pooling(), logps=False)
        step.costs.read(step.sequences)
        assert scores.embeddings_BH is not None
        return scores.embeddings_BH

    def state_dict(self) -> dict[str, Any]:
        return {"mastered": [plain(problem) for problem in self.mastered.values()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        problems = [restored(fields) for fields in state["mastered"]]
        self.mastered = {problem.id: problem for problem in problems}


def plain(problem: Problem) -> str:
    """A problem as JSON, for checkpoints."""
    return json.dumps(asdict(problem))


def restored(text: str) -> Problem:
    """The problem that `plain` wrote."""
    fields = json.loads(text)
    return Problem(**{**fields, "messages": tuple(fields["messages"])})


def representation_statistics(embeddings_BH: Tensor, batch: RolloutBatch) -> dict[str, float]:
    """Alignment and uniformity (arXiv:2005.10242) of correct rollouts on the unit sphere, and how far domains can be told apart.

    alignment: mean squared distance of correct rollouts of one domain; lower is closer. uniformity: log of the mean
    exp(-2 d²) over all pairs; lower is more spread. separability: accuracy of the nearest domain centroid, leave-one-out.
    """
    z = torch.nn.functional.normalize(embeddings_BH.double(), dim=1)[batch.valid_B]
    domain, right = batch.domain_ids_B[batch.valid_B], batch.correct_B[batch.valid_B]
    if len(z) < 2:
        return {}
    square = (2 - 2 * z @ z.T).clamp(min=0)
    apart = ~torch.eye(len(z), dtype=torch.bool, device=z.device)
    pairs = apart & right[:, None] & right[None, :] & (domain[:, None] == domain[None, :])
    ids = domain.unique()
    sums = torch.stack([z[domain == d].sum(0) for d in ids])
    counts = torch.stack([(domain == d).sum() for d in ids])
    own = domain[:, None] == ids[None, :]
    centroids = sums[None] - own[..., None] * z[:, None, :]
    centroids = centroids / (counts[None] - own.long()).clamp(min=1)[..., None]
    nearest = ids[((z[:, None, :] - centroids).square().sum(-1)).argmin(1)]
    return {
        "alignment": float(square[pairs].mean()) if bool(pairs.any()) else 0.0,
        "uniformity": float((-2 * square[apart]).exp().mean().log()),
        "separability": float((nearest == domain).double().mean()),
    }


def embeddings_arrays(embeddings_BH: Tensor, batch: RolloutBatch) -> dict[str, Any]:
    """Arrays of `representations/step-*.npz`."""
    return {
        "embeddings": embeddings_BH.float().cpu().numpy(),
        "domain": np.array([batch.domains[i] for i in batch.domain_ids_B.tolist()]),
        "correct": batch.correct_B.cpu().numpy(),
    }
