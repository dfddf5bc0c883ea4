"""What is added to a verifier's reward: form, length, and the soft overlong punishment. Correctness is never touched.

An unjudged response gets nothing, so it still changes nobody's advantage.
"""

from collections.abc import Sequence

from rlzoo.config import RewardConfig
from rlzoo.lengths import overlong_punishment
from rlzoo.types import Rollout
from rlzoo.verifiers.answers import BOX, THOUGHT

THINK = "<think>"
PARTS = ("format", "length", "overlong")


def parts(rollouts: Sequence[Rollout], settings: RewardConfig, max_response: int) -> list[dict[str, float]]:
    """By rollout of one group, what each part that is switched on adds to its reward."""
    judged = [rollout for rollout in rollouts if rollout.verdict is not None and rollout.verdict.judged]
    lengths = [len(rollout.response_tokens) for rollout in judged]
    shortest, longest = (min(lengths), max(lengths)) if lengths else (0, 0)
    added: list[dict[str, float]] = []
    for rollout in rollouts:
        verdict, size = rollout.verdict, len(rollout.response_tokens)
        here: dict[str, float] = {}
        judge = verdict is not None and verdict.judged
        correct = verdict is not None and verdict.correct
        open_gate = judge and (correct or not settings.gated)
        if settings.format:
            here["format"] = settings.format * (open_gate and has_form(rollout, settings.format_kind))
        if settings.length:
            reward = length_reward(size, shortest, longest, correct)
            here["length"] = settings.length * reward if open_gate else 0.0
        if settings.overlong:
            punished = overlong_punishment(size, max_response, settings.overlong_buffer)
            here["overlong"] = settings.overlong * punished if judge else 0.0
        added.append(here)
    return added


def has_form(rollout: Rollout, kind: str) -> bool:
    """Whether a response is written as `reward.format_kind` says."""
    text = rollout.text
    if kind == "boxed":
        return sum(1 for _ in BOX.finditer(text)) == 1 and not rollout.truncated
    if kind == "think":
        thought, closed, rest = text.removeprefix(THINK).partition(THOUGHT)
        alone = text.count(THINK) == text.count(THOUGHT) == 1
        return text.startswith(THINK) and alone and bool(closed and thought.strip() and rest.strip())
    return rollout.verdict is not None and rollout.verdict.extracted is not None


def length_reward(size: int, shortest: int, longest: int, correct: bool) -> float:
    """0.5 for the group's shortest response to -0.5 for its longest; wrong responses earn no more than 0.

    arXiv:2501.12599, section 2.3.3. Where all are of one length it is 0.
    """
    if longest == shortest:
        return 0.0
    reward = 0.5 - (size - shortest) / (longest - shortest)
    return reward if correct else min(0.0, reward)
