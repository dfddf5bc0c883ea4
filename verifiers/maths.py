r"""Final answers in mathematics. Numbers are compared as exact fractions; everything else is taken apart into its form, and expressions
within it are held against each other by math-verify, once they are known to be safe.

What counts as equal is a problem's `metadata["equality"]`, or else the setting `verifier.maths.equality`:

    lenient   what a person who knows the question would take: also without units or with them, 50% for 50, `x = 5` for 5, rounded to six
              decimals, an inequality for its interval, `2^{10}` for 1024; the default
    strict    the same value in the same form. A number must be written down; 50% is one half; units, names and brackets stay. What lenient
              takes beyond that is refused by name.

Neither takes a calculation that is not carried out (`3+4` for 7), an ordered pair for a set, a number of one base for that of another, or
another unit. Words are compared as text. An answer that would be too large to work out is correct only if it is written as the expected
one is.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

from rlzoo.types import Problem, Verdict
from rlzoo.verifier import Verifier, VerifierConfig
from rlzoo.verifiers import answers, asked, comparing
from rlzoo.verifiers.notation import as_number
from rlzoo.verifiers.quantities import close

EQUALITY: Mapping[str, str] = {"strict": "the same value in the same form", "lenient": "what a person would take"}
LONGEST = 2_000
"""Characters of an answer; longer ones are wrong unread."""


class MathsConfig(VerifierConfig):
    extraction: answers.Extraction = "final"
    """Where the final answer stands, for problems whose metadata do not say. final: in the last box, else where it is announced, else
    after the last `#`. only-boxed: several boxes must agree. answer-line: after `Answer:`, `The answer is` or `####`."""
    equality: Literal["strict", "lenient"] = "lenient"
    """When answers are equal, for problems whose metadata do not say. lenient: as a person who knows the question would say.
    strict: the same value in the same form; units, names and brackets stay."""


class Maths(Verifier[MathsConfig]):
    """Correct if the final answer equals `problem.answer`."""

    name = "maths"
    Config = MathsConfig
    version = 4

    def judge(self, problem: Problem, response: str) -> Verdict:
        """ValueError for a problem whose answer cannot be compared with anything."""
        lenient = self._lenient(problem)
        gold = _gold(problem)
        found = self.extract(problem, response)
        if found is None:
            return Verdict(status="unparsed", reason=answers.missing(problem, self.config.extraction))
        if len(found) > LONGEST:
            reason = f"an answer of {len(found)} characters; the limit is {LONGEST}"
            return Verdict(status="wrong", reason=reason, extracted=found[:LONGEST])
        equal, note = same(gold, found, lenient)
        question = asked.question(problem)
        if lenient:
            equal = equal or asked.option(question, gold, found) or asked.same_as_asked(question, gold, found)
            equal = equal and not asked.contradicts(question, found)
        if equal and (lacking := asked.fault(question, gold, found)):
            equal, note = False, lacking
        if equal:
            return Verdict(status="correct", reward=1.0, reason=f"equals {_line(gold)}", extracted=found)
        return Verdict(status="wrong", reason=f"expected {_line(gold)}{note and f'; {note}'}", extracted=found)

    def extract(self, problem: Problem, response: str) -> str | None:
        return answers.extract(problem, response, self.config.extraction)

    def gold_fault(self, problem: Problem) -> str | None:
        """Cheap for numbers and words."""
        try:
            answers.missing(problem, self.config.extraction)  # raises for a policy that does not exist
            gold = _gold(problem)
            equal, note = same(gold, gold, self._lenient(problem), read=True)
        except ValueError as fault:
            return str(fault)
        return None if equal else f"the answer {gold!r} does not equal itself: {note}"

    def loads(self, problem: Problem) -> tuple[str, ...]:
        """sympy, which takes half a second that no response's time limit should pay, unless the answer is a number."""
        if problem.answer is None or (as_number(problem.answer) is not None and not self._lenient(problem)):
            return ()
        return ("rlzoo.verifiers.symbolic",)

    def _lenient(self, problem: Problem) -> bool:
        return answers.setting(problem.metadata, "equality", EQUALITY, self.config.equality) == "lenient"


@lru_cache(maxsize=4_096)
def same(gold: str, found: str, lenient: bool, read: bool = False) -> tuple[bool, str]:
    """Whether two answers are equal, and a remark on why not. `read`: go through sympy even if the texts are equal."""
    expected, number = as_number(gold), as_number(found)
    if expected is not None and number is not None:
        if close(gold, found, expected, number) if lenient else expected == number:
            return True, ""
        if "," not in gold + found:
            return False, ""
    return comparing.same(gold, found, lenient, read)


def _gold(problem: Problem) -> str:
    if problem.answer is None or not problem.answer.strip():
        raise ValueError(f"problem {problem.id!r} has no answer, which this verifier compares with. Give it one.")
    worked = problem.answer.rpartition("\n#### ")
    return worked[2].strip() if worked[1] and worked[2].strip() else problem.answer


def _line(text: str) -> str:
    return " ".join(text.split())[:200]
