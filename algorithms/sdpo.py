"""SDPO: the policy drawn to itself with a correct rollout of the same prompt before its eyes. arXiv:2601.20802."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor

from rlzoo import functional as F
from rlzoo.algorithms.teaching import judged, matching_credit, sampled_reverse_kl, teacher_weights
from rlzoo.data.privileged import reference_prompt
from rlzoo.objective import Objective, ObjectiveConfig, setting
from rlzoo.types import Context, Credit, Divergence, Group, MicroBatch, Needs, RolloutBatch, Signal, StudentTopK

PAPER = "arXiv:2601.20802"
CODE = "lasgroup/SDPO core_algos.py"
THOUGHT_ENDS = "</think>"
"""What stands before it in a demonstration is not shown."""


class SdpoConfig(ObjectiveConfig):
    form: Literal["topk", "sampled"] = setting("topk", source=CODE)
    """Over the student's `top_k` likeliest tokens and a bucket for the rest, or the sampled token alone, which is KL(student || teacher)."""
    alpha: float = setting(0.5, source=CODE, ge=0, le=1)
    """0 is KL(teacher || student), 1 is KL(student || teacher), between them the generalised Jensen-Shannon divergence; for form topk."""
    top_k: int = setting(100, source=CODE, ge=1)
    """How many tokens, for form topk."""
    ema_decay: float = setting(
        0.95, source=f"{CODE}: eta 0.05; 0.01 with rich feedback, 0.001 in CEPO's comparison", ge=0, lt=1
    )
    """Share of the teacher's weights that stays at each step."""
    ratio_cap: float = setting(2.0, source=CODE, gt=0)
    """Bound on the importance ratio that multiplies a token's loss."""


class Sdpo(Objective[SdpoConfig]):
    """loss = mean over tokens of w · [(1 - alpha) · KL(p_S || m) + alpha · KL(p_T || m)],  m = (1 - alpha) · p_S + alpha · p_T,
    w = sg(min(exp(logp - logp_old), 2)).

    arXiv:2601.20802 and `compute_self_distillation_loss` (EXACT), on the student's top-k tokens and a tail bucket. p_T is a
    running average of the weights, its prompt rewritten to show the demonstration. The run's mismatch weights multiply the loss.

    Sets: a rollout's demonstration is the first correct rollout of its prompt but itself, without its thoughts; rollouts
    without one, and unjudged ones, are left out.

    Normaliser: the response tokens of rollouts with a demonstration.

    Differs: correct is the verifier's word and no threshold on a reward; there is no feedback from an environment to show where
    nobody succeeded, and no trust-region teacher; the words around the demonstration are those of RLSD and OPSD here.
    """

    name = "sdpo"
    Config = SdpoConfig
    exemptions = {
        "reinforce": "matches a teacher; rewards only choose what it is shown",
        "learns": "matches a teacher; rewards only choose what it is shown",
        "detached": "its one term is a divergence, which has to reach the policy, and mismatch weights apply to it",
        "finite-differences": "the ratio that multiplies the divergence follows the policy and is detached on purpose",
    }

    def needs(self, step: int) -> Needs:
        match = Divergence(
            signal="shown", kind="jsd", mix=self.config.alpha, support=StudentTopK(self.config.top_k, tail=True)
        )
        return Needs(
            signals=(Signal(name="shown", weights=teacher_weights("ema", decay=self.config.ema_decay)),),
            divergences=(match,) if self.config.form == "topk" else (),
            min_group=2,
            because={"min_group": "a rollout is shown a correct one of the same prompt"},
        )

    def contexts(self, signal: str, group: Group) -> Sequence[Context]:
        right = judged(group, correct=True)
        told: list[Context] = []
        for i in range(len(group.rollouts)):
            sibling = next((j for j in right if j != i), None)
            text = "" if sibling is None else group.rollouts[sibling].text.rpartition(THOUGHT_ENDS)[2].strip()
            told.append(None if sibling is None else reference_prompt(group.problem, text))
        return told

    def assign_credit(self, batch: RolloutBatch) -> Credit:
        return matching_credit(batch, "shown", corrected=True)

    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        ratio_BT = F.truncated_importance(micro.logps_BT - micro.old_logps_BT, self.config.ratio_cap)
        if self.config.form == "sampled":
            return {"match": ratio_BT * sampled_reverse_kl(micro.logps_BT, micro.rollouts.signals["shown"])}
        return {"match": ratio_BT * micro.divergences["shown"]}
