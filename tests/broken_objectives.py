"""Mistakes on purpose, each of which a law of `rlzoo check objective` must catch. Named as `tests/broken_objectives.py:Class`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from rlzoo import functional as F
from rlzoo.algorithms.grpo import Grpo, GrpoConfig
from rlzoo.objective import setting
from rlzoo.types import (
    Credit,
    Divergence,
    Head,
    InBatchTerm,
    Initial,
    MicroBatch,
    Needs,
    Pooling,
    Representations,
    RolloutBatch,
    Signal,
)

# -- ten mistakes of arithmetic ---------------------------------------------------------------------------


class MeanPerMicroBatch(Grpo[GrpoConfig]):
    """Divides by the rows at hand, although the engine divides by the update's."""

    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        return {name: loss / len(micro.logps_BT) for name, loss in super().token_losses(micro).items()}


class IgnoresMask(Grpo[GrpoConfig]):
    """Counts every column, padding too."""

    def assign_credit(self, batch: RolloutBatch) -> Credit:
        credit = super().assign_credit(batch)
        everywhere = torch.ones_like(batch.response_mask_BT) & batch.judged_B[:, None]
        advantages_BT = credit.advantages_BT[:, :1].expand_as(everywhere) * everywhere
        term = replace(
            credit.terms["policy"], loss_mask_BT=everywhere, loss_weight_BT=everywhere.to(advantages_BT.dtype)
        )
        return replace(credit, advantages_BT=advantages_BT, terms={"policy": term})


class WrongSign(Grpo[GrpoConfig]):
    """An objective to maximise, handed over as a loss."""

    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        return {name: -loss for name, loss in super().token_losses(micro).items()}


class StaleOldLogps(Grpo[GrpoConfig]):
    """Takes the ratio to what the sampler reported instead of the policy at the start of the step."""

    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        return super().token_losses(replace(micro, old_logps_BT=micro.rollouts.sampler_logps_BT))


class PaddingInLength(Grpo[GrpoConfig]):
    """Takes a response to be as long as the padded row."""

    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        mask_BT = micro.rollouts.response_mask_BT
        share_B1 = mask_BT.sum(1, keepdim=True) / mask_BT.shape[1]
        return {name: loss * share_B1 for name, loss in super().token_losses(micro).items()}


class AttachedAdvantage(Grpo[GrpoConfig]):
    """Weighs advantages by the policy's entropy and forgets to detach it."""

    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        shaped_BT = micro.credit.advantages_BT * micro.entropy_BT
        return super().token_losses(replace(micro, credit=replace(micro.credit, advantages_BT=shaped_BT)))


class StdOfOne(Grpo[GrpoConfig]):
    """Takes the Bessel-corrected std of a group in which one rollout could be judged."""

    def assign_credit(self, batch: RolloutBatch) -> Credit:
        credit = super().assign_credit(batch)
        advantages_B = torch.zeros_like(batch.rewards_B)
        for group in batch.group_ids_B.unique():
            rows = (batch.group_ids_B == group) & batch.valid_B
            rewards = batch.rewards_B[rows]
            advantages_B[rows] = (rewards - rewards.mean()) / (rewards.std() + self.config.std_eps)
        return replace(credit, advantages_BT=advantages_B[:, None] * batch.loss_mask_BT)


class DividesTwice(Grpo[GrpoConfig]):
    """Divides by the response's length, and so does the engine."""

    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        length_B1 = micro.rollouts.response_mask_BT.sum(1, keepdim=True).clamp(min=1)
        return {name: loss / length_B1 for name, loss in super().token_losses(micro).items()}


class NoRatio(Grpo[GrpoConfig]):
    """Learns from an older policy's rollouts as if they were its own."""

    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        return {"policy": -micro.credit.advantages_BT * micro.logps_BT}


class IdleConfig(GrpoConfig):
    """GRPO's, and one that nothing reads."""

    sharpness: float = setting(1.0, source="nobody", tag="OURS", gt=0)
    """Meant to scale advantages."""


class Idle(Grpo[IdleConfig]):
    """Declares a setting and forgets it."""

    name = "idle"
    Config = IdleConfig

    def assign_credit(self, batch: RolloutBatch) -> Credit:
        return super().assign_credit(batch)


class IdleBesideNan(Idle):
    """So does this one, and what it computes is no number."""

    Config = IdleConfig

    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        return {name: loss * torch.nan for name, loss in super().token_losses(micro).items()}

    def assign_credit(self, batch: RolloutBatch) -> Credit:
        credit = super().assign_credit(batch)
        return replace(credit, advantages_BT=credit.advantages_BT * torch.nan)


class AsWideAsItsHead(Grpo[GrpoConfig]):
    """Joins what a head returns to what it was given: as long as both are equally wide, nobody notices."""

    def needs(self, step: int) -> Needs:
        return replace(super().needs(step), embeddings=Pooling())

    def heads(self, hidden: int) -> Mapping[str, Head]:
        return {"project": Head(module=nn.Linear(hidden, min(hidden, 128), bias=False), kind="rollout")}

    def in_batch_losses(self, reps: Representations, rows: RolloutBatch) -> Mapping[str, InBatchTerm]:
        assert reps.embeddings_NH is not None
        pool = torch.cat([reps.heads["project"](reps.embeddings_NH), reps.embeddings_NH[:0]])
        return {"spread": InBatchTerm(loss=pool.square().mean(), anchors=len(pool))}


class LosesState(Grpo[GrpoConfig]):
    """Scales by a running mean of rewards that no checkpoint holds."""

    def __init__(self, config: GrpoConfig) -> None:
        super().__init__(config)
        self.typical = 1.0

    def assign_credit(self, batch: RolloutBatch) -> Credit:
        credit = super().assign_credit(batch)
        return replace(credit, advantages_BT=credit.advantages_BT * self.typical)

    def observe(self, batch: RolloutBatch) -> None:
        self.typical = 0.9 * self.typical + 0.1 * float(batch.rewards_B.mean())


class AliasesBatch(Grpo[GrpoConfig]):
    """Centres the batch's own rewards in place."""

    def assign_credit(self, batch: RolloutBatch) -> Credit:
        rewards_B = batch.rewards_B
        rewards_B -= F.group_mean(rewards_B, batch.group_ids_B, batch.valid_B)
        return super().assign_credit(batch)


# -- what does not have the form of an answer -------------------------------------------------------------


class WrongShape(Grpo[GrpoConfig]):
    def assign_credit(self, batch: RolloutBatch) -> Credit:
        credit = super().assign_credit(batch)
        return replace(credit, advantages_BT=credit.advantages_BT[:, :-1])


class ShortLoss(Grpo[GrpoConfig]):
    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        return {name: loss.sum(1) for name, loss in super().token_losses(micro).items()}


class Reduced(Grpo[GrpoConfig]):
    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        return {name: loss.mean() for name, loss in super().token_losses(micro).items()}


class NanCredit(Grpo[GrpoConfig]):
    def assign_credit(self, batch: RolloutBatch) -> Credit:
        credit = super().assign_credit(batch)
        return replace(credit, advantages_BT=credit.advantages_BT / 0.0)


class NanLoss(Grpo[GrpoConfig]):
    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        return {name: loss * float("nan") for name, loss in super().token_losses(micro).items()}


class UnknownTerm(Grpo[GrpoConfig]):
    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        return {**super().token_losses(micro), "bonus": micro.entropy_BT}


class ReadsWhatItDoesNotAskFor(Grpo[GrpoConfig]):
    def assign_credit(self, batch: RolloutBatch) -> Credit:
        assert batch.signals["reference"] is not None
        return super().assign_credit(batch)


class Raises(Grpo[GrpoConfig]):
    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        return {"policy": micro.logps_BT @ micro.old_logps_BT}


class ReturnsNothing(Grpo[GrpoConfig]):
    def assign_credit(self, batch: RolloutBatch) -> Any:
        super().assign_credit(batch)


class KeepsRows(Grpo[GrpoConfig]):
    def keep(self, batch: RolloutBatch) -> Tensor:
        return batch.judged_B


class CountsWithNumbers(Grpo[GrpoConfig]):
    def assign_credit(self, batch: RolloutBatch) -> Credit:
        credit = super().assign_credit(batch)
        term = credit.terms["policy"]
        return replace(credit, terms={"policy": replace(term, loss_mask_BT=term.loss_mask_BT * 2.0)})


class OneAdvantageARollout(Grpo[GrpoConfig]):
    def assign_credit(self, batch: RolloutBatch) -> Credit:
        credit = super().assign_credit(batch)
        return replace(credit, advantages_BT=credit.advantages_BT[:, 0])


class BareCoupledLoss(Grpo[GrpoConfig]):
    def needs(self, step: int) -> Needs:
        return replace(super().needs(step), embeddings=Pooling())

    def in_batch_losses(self, reps: Representations, rows: RolloutBatch) -> Any:
        assert reps.embeddings_NH is not None
        return {"spread": reps.embeddings_NH.square().mean()}


class NanCoupledLoss(BareCoupledLoss):
    def in_batch_losses(self, reps: Representations, rows: RolloutBatch) -> Any:
        return {name: InBatchTerm(loss=loss / 0) for name, loss in super().in_batch_losses(reps, rows).items()}


class Misspells(Grpo[GrpoConfig]):
    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        return {"policy": micro.log_probs_BT}  # type: ignore[attr-defined]


class AddsDivergence(Grpo[GrpoConfig]):
    """No fault of its own: what it is handed may be not finite."""

    def needs(self, step: int) -> Needs:
        teacher = Signal(name="teacher", weights=Initial())
        return replace(super().needs(step), signals=(teacher,), divergences=(Divergence(signal="teacher"),))

    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        return {name: loss + micro.divergences["teacher"] for name, loss in super().token_losses(micro).items()}


class Exits(Grpo[GrpoConfig]):
    def assign_credit(self, batch: RolloutBatch) -> Credit:
        raise SystemExit(0)


# -- what is asked for, and what is not -------------------------------------------------------------------


class ReadsEmbeddings(Grpo[GrpoConfig]):
    def assign_credit(self, batch: RolloutBatch) -> Credit:
        credit = super().assign_credit(batch)
        length_B1 = batch.embeddings_BH.norm(dim=1, keepdim=True)  # type: ignore[union-attr]
        return replace(credit, advantages_BT=credit.advantages_BT * length_B1)


class ReadsDivergence(Grpo[GrpoConfig]):
    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        return {"policy": super().token_losses(micro)["policy"] + micro.divergences["teacher"]}


class ReadsValues(Grpo[GrpoConfig]):
    def assign_credit(self, batch: RolloutBatch) -> Credit:
        values_BT = batch.values["value"]
        credit = super().assign_credit(batch)
        return replace(credit, advantages_BT=credit.advantages_BT - values_BT)


class ReadsHead(Grpo[GrpoConfig]):
    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        values_BT = micro.heads["value"]
        return {"policy": super().token_losses(micro)["policy"] + values_BT}


class CouplesUnasked(Grpo[GrpoConfig]):
    def in_batch_losses(self, reps: Representations, rows: RolloutBatch) -> Any:
        return {"spread": InBatchTerm(loss=torch.zeros(()))}


class AsksForAnswers(Grpo[GrpoConfig]):
    def needs(self, step: int) -> Needs:
        return replace(super().needs(step), answers=True)


class AsksForDivergence(Grpo[GrpoConfig]):
    def needs(self, step: int) -> Needs:
        teacher = Signal(name="teacher", weights=Initial())
        return replace(super().needs(step), signals=(teacher,), divergences=(Divergence(signal="teacher"),))


class CentresOnce(Grpo[GrpoConfig]):
    """Changes the batch in place, in a way that a second time does not show."""

    def assign_credit(self, batch: RolloutBatch) -> Credit:
        batch.rewards_B.clamp_(min=0.5)
        return super().assign_credit(batch)
