"""Tasks of the reasoning-gym library, judged by its own scorers."""

from collections.abc import Callable
from functools import cache
from typing import Any

from rlzoo.types import Problem, Verdict
from rlzoo.verifier import Verifier, VerifierConfig
from rlzoo.verifiers.answers import tagged_answer

FULL_SCORE = 1.0
"""Scorers give partial credit, also for a well-formed wrong answer; only this much is correct. The score itself is a metric."""


class ReasoningGym(Verifier[VerifierConfig]):
    """Correct at the full score. `metadata["entry"]` is the library's entry, `metadata["dataset"]` its data set."""

    name = "reasoning-gym"
    version = 4

    def judge(self, problem: Problem, response: str) -> Verdict:
        found = tagged_answer(response)
        if found is None:
            return Verdict(status="unparsed", reason="no final answer after '#', in \\boxed{} or in <answer>")
        entry = dict(problem.metadata["entry"])
        score = float(scorer(problem.metadata["dataset"])(found, entry))
        if score >= FULL_SCORE:
            return Verdict(status="correct", reward=1.0, reason="full score", extracted=found, score=score)
        expected = " ".join(str(entry.get("answer")).split())[:200]
        return Verdict(status="wrong", reason=f"score {score:.2f}; expected {expected}", extracted=found, score=score)

    def extract(self, problem: Problem, response: str) -> str | None:
        return tagged_answer(response)

    def gold_fault(self, problem: Problem) -> str | None:
        """That the library's own answer does not score in full."""
        gold = problem.metadata["entry"].get("answer")
        if gold is None:
            return None
        verdict = self.judge(problem, f"<answer>{gold}</answer>")
        return None if verdict.correct else f"its own answer {gold!r} has the {verdict.reason}"

    def loads(self, problem: Problem) -> tuple[str, ...]:
        """The library, which takes seconds to import."""
        return ("reasoning_gym",)


@cache
def scorer(dataset: str) -> Callable[[str, dict[str, Any]], float]:
    import reasoning_gym  # here, so that settings of all verifiers are told without waiting for it

    score: Callable[[str, dict[str, Any]], float] = reasoning_gym.get_score_answer_fn(dataset)
    return score
