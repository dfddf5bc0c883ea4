"""One micro-batch: rows through the policy with gradient, the objective's losses on them, and their share of the update's loss."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rlzoo import functional as F
from rlzoo.engine.learning.tally import Tally, record_mismatch, record_ratios, record_start
from rlzoo.engine.learning.update import Share, Update
from rlzoo.engine.model.divergence import Match
from rlzoo.engine.scorer import Scorer, behind
from rlzoo.errors import ObjectiveFault
from rlzoo.objective import step_loss
from rlzoo.training_config import MismatchConfig
from rlzoo.types import Credit, Divergence, MicroBatch, Needs

TEACHER_TOKENS = "teacher_tokens"
"""In a tally: tokens that teachers read beside the student."""
TEACHER_HEAVIER = "teacher_heavier"
"""In a tally: what they add to `Costs.heavier`."""


@dataclass(frozen=True, slots=True)
class Micro:
    """What every micro-batch of an update needs. Nothing here waits for the device."""

    scorer: Scorer
    needs: Needs
    mismatch: MismatchConfig

    def loss(self, update: Update, share: Share, tally: Tally) -> Tensor:
        """The rows' share of the update's loss, with gradient. Scalar"""
        weights = self.scorer.copies.current
        sequences = update.sequences.take(share.rows)
        where_B = torch.tensor(share.rows).to(weights.device, non_blocking=True)
        batch, credit = update.batch.rows(where_B), update.credit.rows(where_B)
        B, T = batch.response_mask_BT.shape
        asked = {d.signal: self._match(d, update, share, tally) for d in self.needs.divergences}
        pooling = self.needs.embeddings if update.embedding_grads_NH is not None else None
        outputs = weights.forward(sequences, pooling=pooling, matches=list(asked.values()))
        logps_BT = outputs.to_padded(outputs.logps_K, B, T)
        if update.old_logps_NT is None:
            old_logps_BT = logps_BT.detach()
        else:
            old_logps_BT = update.old_logps_NT[where_B].to(logps_BT.dtype)
        if share.weighted:
            # Ratios are recorded against the step's start, before mismatch weights touch the losses' weights.
            places_K = (outputs.rows_K, outputs.columns_K)
            record_ratios(tally, logps_BT, old_logps_BT, places_K)
            if update.fresh:
                record_start(tally, outputs.entropy_K, batch.judged_B[outputs.rows_K])
            if update.fresh or not update.sampled_old:
                record_mismatch(tally, (logps_BT if update.sampled_old else old_logps_BT)[places_K], batch, places_K)
        log_ratio_BT = old_logps_BT - batch.sampler_logps_BT
        micro = MicroBatch(
            logps_BT=logps_BT,
            entropy_BT=outputs.to_padded(outputs.entropy_K, B, T),
            old_logps_BT=old_logps_BT,
            rollouts=batch,
            credit=corrected(credit, log_ratio_BT, batch.response_mask_BT, self.mismatch),
            log_mismatch_B=log_mismatch(log_ratio_BT, batch.response_mask_BT, self.mismatch),
            heads=self.scorer.heads.read(outputs, B, T),
            divergences={
                name: outputs.to_padded(values_K, B, T)
                for name, values_K in zip(asked, outputs.divergences, strict=True)
            },
        )
        at_zero = 1.0 if share.weighted else 0.0
        reduction = {name: weight_NT[where_B] * at_zero for name, weight_NT in update.weights.items()}
        loss, shares, stray = step_loss(self.scorer.objective, micro, reduction)
        tally.count_stray(stray)
        for name, part in shares.items():
            tally.add(f"loss/{name}", part)
        if update.embedding_grads_NH is not None and outputs.embeddings_BH is not None:
            gradient_BH = update.embedding_grads_NH[where_B].to(outputs.embeddings_BH.dtype)
            loss = loss + (outputs.embeddings_BH * gradient_BH).sum() * at_zero
        if update.sequence_logp_grads_N is not None:
            loss = loss + (logps_BT.sum(1) * update.sequence_logp_grads_N[where_B].to(logps_BT.dtype)).sum() * at_zero
        tally.add("nonfinite", (~torch.isfinite(loss)).sum())
        return loss

    def _match(self, asked: Divergence, update: Update, share: Share, tally: Tally) -> Match:
        """A teacher's pass over the same responses, each behind its own context."""
        signal = next((s for s in self.needs.signals if s.name == asked.signal), None)
        if signal is None:
            raise ObjectiveFault(
                f"{type(self.scorer.objective).__name__} asks for a divergence from {asked.signal!r}, but needs() names no such signal. "
                "Add the Signal beside the Divergence."
            )
        prompts = [update.prompts[asked.signal][i] for i in share.rows]
        sequences = update.sequences.take(share.rows)
        have = [i for i, prompt in enumerate(prompts) if prompt is not None]
        teacher = self.scorer.copies.get(signal.weights)
        # without any context a teacher still reads: every rank makes the same passes
        given = behind(prompts, sequences, have) if have else sequences.take([0])
        starts, kept = [0], list[int]()
        for response in sequences.responses:
            starts.append(starts[-1] + len(response))
        for i in have:
            kept += range(starts[i], starts[i + 1])
        with torch.no_grad():
            teacher_KH = teacher.forward(given, logps=False).hidden_KH[: len(kept)]
        if share.weighted:  # a pass that only keeps step with other ranks is nobody's cost, as the policy's own is
            tally.add(TEACHER_TOKENS, float(sum(given.lengths)))
            tally.add(TEACHER_HEAVIER, float(sum(given.lengths) * self.scorer.copies.heavier(signal.weights)))
        kept_K = torch.tensor(kept, dtype=torch.long).to(teacher_KH.device, non_blocking=True)
        return Match(asked, kept_K, teacher_KH, teacher.output_weights())


def corrected(credit: Credit, log_ratio_BT: Tensor, mask_BT: Tensor, settings: MismatchConfig) -> Credit:
    """Policy terms with their loss weight multiplied by the weights that correct rollout/trainer mismatch."""
    if settings.mode == "off":
        return credit
    weight_BT = _mismatch_weights(log_ratio_BT, mask_BT, settings)
    return replace(
        credit,
        terms={
            name: replace(term, loss_weight_BT=term.loss_weight_BT * weight_BT)
            if term.corrected and term.correction == "scale"
            else term
            for name, term in credit.terms.items()
        },
    )


def log_mismatch(log_ratio_BT: Tensor, mask_BT: Tensor, settings: MismatchConfig) -> Tensor | None:
    """Log of the weights, summed over each response's tokens; of its one weight at the level of sequences. [B]

    A weight of 0 counts as 1e-8. None where nothing is corrected.
    """
    if settings.mode == "off":
        return None
    log_weight_BT = _mismatch_weights(log_ratio_BT, mask_BT, settings).clamp(min=1e-8).log() * mask_BT
    summed_B = log_weight_BT.sum(1)
    return summed_B / mask_BT.sum(1).clamp(min=1) if settings.level == "sequence" else summed_B


def _mismatch_weights(log_ratio_BT: Tensor, mask_BT: Tensor, settings: MismatchConfig) -> Tensor:
    """Detached. [B, T]"""
    if settings.level == "sequence":
        log_ratio_BT = F.sequence_log_ratio(log_ratio_BT, mask_BT)
    if settings.mode == "tis":
        return F.truncated_importance(log_ratio_BT, settings.cap)
    return F.icepop(log_ratio_BT, settings.low, settings.high)
