"""OPSD: the policy drawn, on its own rollouts, to itself with the solution before its eyes. No reward. arXiv:2601.18734."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor

from rlzoo.algorithms.teaching import matching_credit, sampled_reverse_kl, teacher_weights, told_reference
from rlzoo.objective import Objective, ObjectiveConfig, setting
from rlzoo.types import (
    Context,
    Credit,
    Divergence,
    Full,
    Group,
    MicroBatch,
    Needs,
    RolloutBatch,
    Signal,
    TeacherTopK,
)

PAPER = "arXiv:2601.18734"
CODE = "siyan-zhao/OPSD opsd_trainer.py"


class OpsdConfig(ObjectiveConfig):
    form: Literal["full", "topk", "sampled"] = setting("full", source=CODE)
    """Over the whole vocabulary; over the teacher's `top_k` likeliest tokens, renormalised; or at the sampled token alone."""
    beta: float = setting(0.5, source=f"{CODE}: its scripts", ge=0, le=1)
    """0 is KL(teacher || student), 1 is KL(student || teacher), between them the generalised Jensen-Shannon divergence."""
    temperature: float | None = setting(None, source=f"{CODE}: the one it samples at", gt=0)
    """T_d: what the logits of both are divided by before they are compared; None = the sampling temperature; not for form sampled."""
    top_k: int = setting(50, source=CODE, ge=1)
    """How many tokens, for form topk."""
    teacher: Literal["initial", "ema", "policy"] = setting("initial", source=f"{CODE}: fixed to step 0, recommended")
    """Whose weights read: those of the run's start, a running average, or the current ones."""
    ema_decay: float = setting(0.999, source=CODE, ge=0, lt=1)
    """Share of the average that stays at each rollout step, for teacher ema; in the code at each optimizer step."""
    teacher_context: Literal["trajectory", "answer"] = setting("trajectory", source=f"{PAPER}, {CODE}")
    """What the teacher is told: a worked solution where the data carry one, or the final answer."""


class Opsd(Objective[OpsdConfig]):
    """loss = mean over tokens of beta · KL(p_T || m) + (1 - beta) · KL(p_S || m),  m = (1 - beta) · p_S + beta · p_T.

    arXiv:2601.18734 and its code (EXACT). p_T is the same model with the reference solution in its prompt, without gradient.

    Sets: all judged rollouts of problems with a solution or an answer; what they earned does not enter.

    Normaliser: the response tokens of those rollouts.

    Differs: the reference is the answer where the data carry no solution; the words around it are those of RLSD and SDPO here, and
    student and teacher see the same chat template, where the released code gives it to the teacher alone.
    """

    name = "opsd"
    Config = OpsdConfig
    exemptions = {
        "reinforce": "matches a teacher; rewards do not enter",
        "learns": "matches a teacher; rewards do not enter",
    }

    def needs(self, step: int) -> Needs:
        settings = self.config
        support = TeacherTopK(settings.top_k) if settings.form == "topk" else Full()
        match = Divergence(
            signal="informed", kind="jsd", mix=settings.beta, temperature=settings.temperature, support=support
        )
        return Needs(
            signals=(Signal(name="informed", weights=teacher_weights(settings.teacher, decay=settings.ema_decay)),),
            divergences=() if settings.form == "sampled" else (match,),
            answers=True,
            because={"answers": "its teacher is told each problem's solution, or its answer where there is none"},
        )

    def contexts(self, signal: str, group: Group) -> Sequence[Context]:
        return [told_reference(group.problem, self.config.teacher_context)] * len(group.rollouts)

    def assign_credit(self, batch: RolloutBatch) -> Credit:
        return matching_credit(batch, "informed")

    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        if self.config.form == "sampled":
            return {"match": sampled_reverse_kl(micro.logps_BT, micro.rollouts.signals["informed"])}
        return {"match": micro.divergences["informed"]}
