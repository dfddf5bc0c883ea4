"""What a step leaves on disk: its metrics and its rollouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from rlzoo import functional as F
from rlzoo.runs.evaluation import Evaluation
from rlzoo.runs.folder import RunDir, append_line
from rlzoo.types import Credit, Group, RolloutBatch


def batch_metrics(
    batch: RolloutBatch, groups: Sequence[Group], credit: Credit, shaping: Mapping[str, Tensor] | None = None
) -> dict[str, float]:
    """Rewards, verdicts and group statistics of a step. `shaping`: what each part added to the rewards, [B]."""
    usable = batch.valid_B
    metrics = {"reward/mean": mean(batch.rewards_B, usable), "correct/mean": mean(batch.correct_B, usable)}
    for i, domain in enumerate(batch.domains):
        rows = usable & (batch.domain_ids_B == i)
        if bool(rows.any()):
            metrics[f"reward/{domain}"] = mean(batch.rewards_B, rows)
            metrics[f"correct/{domain}"] = mean(batch.correct_B, rows)
    if bool(usable.any()):
        rewards = batch.rewards_B[usable].double()
        metrics["reward/std"] = float(rewards.std(correction=0))
    for name, added_B in (shaping or {}).items():
        metrics[f"shaping/{name}"] = mean(added_B, usable)
    metrics |= _by_domain(groups)
    statuses = [r.verdict.status for group in groups for r in group.rollouts if r.verdict is not None]
    for status in sorted(set(statuses)):
        metrics[f"status/{status}"] = statuses.count(status) / len(statuses)
    first = (
        F.group_size(batch.group_ids_B, usable).reciprocal().where(usable, 0.0)
    )  # rows weighted so that a group sums to one
    accuracy = F.group_mean(batch.correct_B.to(batch.rewards_B.dtype), batch.group_ids_B, usable)
    equal = F.group_equal(batch.rewards_B, batch.group_ids_B, usable)
    total = float(first.sum()) or 1.0
    for i, domain in enumerate(batch.domains):
        if whole := float(first[batch.domain_ids_B == i].sum()):
            metrics[f"mixed/{domain}"] = float(first[~equal & (batch.domain_ids_B == i)].sum()) / whole
    lengths = batch.response_mask_BT.sum(1)
    counted = batch.loss_mask_BT
    weighing = [term.loss_weight_BT.ne(0) for term in credit.terms.values()] or [credit.advantages_BT.ne(0)]
    credited_B = (torch.stack(weighing).any(0) & counted).any(1)
    return metrics | {
        "groups/mixed": float(first[~equal].sum()) / total,
        "groups/mastered": float(first[accuracy == 1].sum()) / total,
        "groups/all_wrong": float(first[accuracy == 0].sum()) / total,
        "length/mean": float(lengths.float().mean()),
        "length/max": float(lengths.max()),
        "length/truncated": float(batch.truncated_B.float().mean()),
        "credit/groups": float(len(batch.group_ids_B[credited_B].unique())),
        "credit/advantage_abs": float(credit.advantages_BT[counted].abs().mean()) if bool(counted.any()) else 0.0,
        "data/visits": sum(group.visit for group in groups) / len(groups),
        **credit.metrics,
    }


def _by_domain(groups: Sequence[Group]) -> dict[str, float]:
    """Means of what only some verifiers know: raw scores, and the accuracy of guessing."""
    found: dict[str, list[float]] = {}
    for group in groups:
        domain, chance = group.problem.domain, group.problem.metadata.get("chance")
        if isinstance(chance, int | float):
            found.setdefault(f"chance/{domain}", []).append(chance)
        for rollout in group.rollouts:
            if rollout.verdict is not None and rollout.verdict.score is not None:
                found.setdefault(f"score/{domain}", []).append(rollout.verdict.score)
    return {name: sum(values) / len(values) for name, values in sorted(found.items())}


def mean(values_B: Tensor, rows_B: Tensor) -> float:
    """Over the rows [B]; 0 where there is none."""
    return float(values_B[rows_B].double().mean()) if bool(rows_B.any()) else 0.0


class TokenTexts:
    """Text of single tokens, looked up once each."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.known: dict[int, str] = {}

    def __call__(self, tokens: Sequence[int]) -> list[str]:
        for token in tokens:
            if token not in self.known:
                self.known[token] = self.tokenizer.decode([token])
        return [self.known[token] for token in tokens]


def rollout_table(
    groups: Sequence[Group],
    batch: RolloutBatch,
    credit: Credit | None,
    texts: TokenTexts,
    shaping: Mapping[str, Tensor] | None = None,
) -> pa.Table:
    """A step's rollouts with what became of every token. Without credit, as far as verification got."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    lengths = [len(rollout.response_tokens) for rollout in rollouts]
    verdicts = [rollout.verdict for rollout in rollouts]
    columns = _responses(groups, batch.step, texts) | {
        "visit": [group.visit for group in groups for _ in group.rollouts],
        "token_texts": [texts(rollout.response_tokens) for rollout in rollouts],
        "reward": batch.rewards_B.tolist(),
        "correct": batch.correct_B.tolist(),
        "truncated": batch.truncated_B.tolist(),
        "policy_version": [rollout.policy_version for rollout in rollouts],
        "sampler_logps": [list(rollout.sampler_logps) for rollout in rollouts],
    }
    for name, added_B in (shaping or {}).items():
        columns[f"shaping/{name}"] = added_B.tolist()
    if any(v is not None and v.score is not None for v in verdicts):
        columns["score"] = [v.score if v else None for v in verdicts]
    if credit is not None:
        columns["advantages"] = _ragged(credit.advantages_BT, lengths)
        for name, term in credit.terms.items():
            columns[f"scale/{name}"] = _ragged(term.loss_weight_BT, lengths)
        if credit.evidence_BT is not None:
            columns["evidence"] = _ragged(credit.evidence_BT, lengths)
    return pa.table(columns)


def answers_table(groups: Sequence[Group], step: int, texts: TokenTexts) -> pa.Table:
    """The responses of an evaluation with their verdicts, in the columns of rollouts."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    return pa.table(
        _responses(groups, step, texts)
        | {
            "reward": [r.verdict.reward if r.verdict else None for r in rollouts],
            "correct": [r.verdict.correct if r.verdict else None for r in rollouts],
            "truncated": [r.truncated for r in rollouts],
        }
    )


def write_evaluation(run: RunDir, found: Evaluation, groups: Sequence[Group], texts: TokenTexts) -> None:
    """Its responses, and then its line of evals.jsonl: one without the other was cut off, and is made again."""
    run.write_answers(found.split, found.step, answers_table(groups, found.step, texts))
    append_line(run.evals_file, found.as_record())


def _responses(groups: Sequence[Group], step: int, texts: TokenTexts) -> dict[str, Any]:
    """Columns that say what was asked, what came back and how it was judged."""
    rollouts = [(g, group, k, rollout) for g, group in enumerate(groups) for k, rollout in enumerate(group.rollouts)]
    verdicts = [rollout.verdict for *_, rollout in rollouts]
    prompts = ["".join(texts(group.rollouts[0].prompt_tokens)) for group in groups]
    return {
        "step": [step] * len(rollouts),
        "problem_id": [group.problem.id for _, group, _, _ in rollouts],
        "domain": [group.problem.domain for _, group, _, _ in rollouts],
        "level": [group.problem.level for _, group, _, _ in rollouts],
        "group": [g for g, *_ in rollouts],
        "rollout": [k for _, _, k, _ in rollouts],
        "prompt_text": [prompts[g] for g, *_ in rollouts],
        "text": [rollout.text for *_, rollout in rollouts],
        "tokens": [list(rollout.response_tokens) for *_, rollout in rollouts],
        "status": [v.status if v else None for v in verdicts],
        "reason": [v.reason if v else None for v in verdicts],
        "extracted": [v.extracted if v else None for v in verdicts],
    }


def _ragged(values_BT: Tensor, lengths: Sequence[int]) -> list[list[float]]:
    return [row[:length] for row, length in zip(values_BT.float().tolist(), lengths, strict=True)]
