"""Settings of reward shaping, pass-rate filter, curriculum and learner: each by a case in which it decides.

The learner's are shown in `tests/test_engine_tally.py`, `tests/test_engine_optimizer.py` and `tests/test_engine_gradient.py`.
"""

from __future__ import annotations

from typing import Any

import pytest

from rlzoo.config import PassRateConfig, RewardConfig
from rlzoo.data.filters import Course, PassRate, ladder
from rlzoo.engine.learning.batch import build_batch
from rlzoo.engine.reward import shaped, shaping_parts
from rlzoo.laws.lab import DOMAINS, toy_config
from rlzoo.training_config import LearnerConfig, MismatchConfig
from rlzoo.types import Group, Problem, Rollout, Verdict

PROBLEM = Problem(id="p", domain="maths", messages=({"role": "user", "content": "?"},), verifier="maths", answer="4")


def rollout(tokens: int, status: str, text: str, extracted: str | None) -> Rollout:
    return Rollout(
        prompt_tokens=(1,), response_tokens=(1,) * tokens, sampler_logps=(0.0,) * tokens, text=text, truncated=False,
        verdict=Verdict(status=status, reason="", reward=float(status == "correct"), extracted=extracted),
    )  # fmt: skip


GROUP = Group(
    problem=PROBLEM,
    rollouts=(
        rollout(4, "correct", r"\boxed{4}", "4"),
        rollout(8, "correct", "<think>it is</think>4", None),
        rollout(8, "wrong", r"\boxed{5}", "5"),
        rollout(10, "error", r"\boxed{6}", "6"),
    ),
)
"""Two right ones of 4 and 8 tokens, a wrong one of 8 of at most 10, and one that nobody judged."""


@pytest.mark.parametrize(
    ("settings", "added"),
    [
        ({}, [0, 0, 0, 0]),
        ({"format": 0.5}, [0.5, 0, 0, 0]),  # with a final answer, and right
        ({"format": 0.5, "gated": False}, [0.5, 0, 0.5, 0]),
        ({"format": 0.5, "format_kind": "boxed"}, [0.5, 0, 0, 0]),
        ({"format": 0.25, "format_kind": "think"}, [0, 0.25, 0, 0]),
        ({"length": 2.0}, [1, -1, 0, 0]),  # 2 x (0.5 - 0/4) and 2 x (0.5 - 4/4)
        ({"length": 2.0, "gated": False}, [1, -1, -1, 0]),
        ({"overlong": 1.0, "overlong_buffer": 4}, [0, -0.5, -0.5, 0]),  # two of the last four tokens
        ({"overlong": 1.0, "overlong_buffer": 2}, [0, 0, 0, 0]),
        ({"overlong": 3.0, "overlong_buffer": 8}, [-0.75, -2.25, -2.25, 0]),
        ({"format": 0.5, "length": 2.0}, [1.5, -1, 0, 0]),
    ],
)
def test_what_is_added_to_a_reward(settings: dict[str, Any], added: list[float]) -> None:
    batch = build_batch([GROUP], domains=DOMAINS, max_response=10, step=1, total_steps=1)
    found = shaped(batch, [GROUP], RewardConfig(**settings))
    assert (found.rewards_B - batch.rewards_B).tolist() == pytest.approx(added)
    assert found.correct_B.tolist() == [True, True, False, False]
    on = {name for name in ("format", "length", "overlong") if settings.get(name)}
    assert set(shaping_parts(batch, [GROUP], RewardConfig(**settings))) == on


@pytest.mark.parametrize(
    ("settings", "rate", "passed_over"),
    [
        ({}, 0.0, 0),
        ({}, 1.0, 0),
        ({"low": 0.25}, 0.25, 0),
        ({"low": 0.25}, 0.2, 1),
        ({"high": 0.75}, 0.75, 0),
        ({"high": 0.75}, 0.8, 1),
        ({"high": 0.75, "rest": 3}, 0.8, 3),
    ],
)
def test_how_long_a_problem_is_rested(settings: dict[str, Any], rate: float, passed_over: int) -> None:
    found = PassRate(PassRateConfig(**settings))
    assert found.admits(PROBLEM, 0)
    found.observe(PROBLEM, rate, returns=True)
    assert [found.admits(PROBLEM, 0) for _ in range(5)] == [False] * passed_over + [True] * (5 - passed_over)
    once = PassRate(PassRateConfig(**settings))
    once.observe(PROBLEM, rate, returns=False)  # it will not come up again
    assert once.admits(PROBLEM, 0)


def test_the_running_pass_rate_of_a_level_by_hand() -> None:
    """The first group counts whole, each later one a tenth."""
    course = Course("ladder", ladder)
    for rate in (1.0, 0.0, 0.5):
        course.observe(PROBLEM, rate, returns=True)
    assert course.rates == pytest.approx({("maths", PROBLEM.level): 0.9 * (0.9 * 1.0) + 0.1 * 0.5})


LEARNER: dict[str, Any] = {
    "updates_per_step": 4, "tokens_per_microbatch": 8192, "lr": 1e-4, "schedule": "constant", "warmup_steps": 0, "lr_floor": 0.0,
    "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "max_grad_norm": 1.0, "skip": True, "old_logps": "trainer",
    "logit_elements": 1 << 22, "max_nonfinite": 3, "packing": False, "shard": "none", "offload": False,
    "activation_checkpointing": False,
    "mismatch": {"mode": "off", "level": "token", "cap": 2.0, "low": 0.5, "high": 5.0},
}  # fmt: skip
REWARD: dict[str, Any] = {
    "format": 0.0, "format_kind": "answer", "length": 0.0, "gated": True, "overlong": 0.0, "overlong_buffer": 16,
}  # fmt: skip


def test_defaults_of_learner_reward_and_filter() -> None:
    """A changed default is changed here on purpose."""
    assert LearnerConfig().model_dump() == LEARNER
    assert MismatchConfig().model_dump() == LEARNER["mismatch"]
    assert RewardConfig().model_dump() == REWARD
    assert PassRateConfig().model_dump() == {"low": 0.0, "high": 1.0, "rest": 1}
    assert toy_config("grpo").data.curriculum is None
