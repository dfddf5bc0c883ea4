"""Dr. GRPO: GRPO without its two divisions, by the group's std and by the response's length. arXiv:2503.20783."""

from __future__ import annotations

from typing import Literal

from rlzoo.algorithms.grpo import Grpo, GrpoConfig
from rlzoo.objective import setting

PAPER = "arXiv:2503.20783"


class DrGrpoConfig(GrpoConfig):
    """The paper samples 8 rollouts a prompt of up to 3000 tokens."""

    scale_by_std: bool = setting(False, source=f"{PAPER}; verl and TRL code")
    reduction: Literal["token", "rollout", "group", "constant"] = setting(
        "constant", source="verl `seq-mean-token-sum-norm`; TRL loss_type dr_grpo"
    )


class DrGrpo(Grpo[DrGrpoConfig]):
    """A_i = R_i - mean R over the group; loss = -min(r A, clip(r, 1 - low, 1 + high) A), summed over tokens / (rollouts · L_max).

    arXiv:2503.20783, as verl and TRL have it (EXACT). L_max is `sampling.max_response`.

    Sets: a group is the judged rollouts of one prompt; one whose rewards are equal gives no advantage.

    Normaliser: judged rollouts of the update with a token, times L_max: a constant that no response changes.

    Differs: nothing but settings of GRPO. Peers divide by the padded length in places; here it is the run's limit.
    """

    name = "dr-grpo"
    Config = DrGrpoConfig
