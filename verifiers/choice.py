"""Multiple choice: one letter, and the right one.

`problem.answer` is the letter; `metadata["choices"]`, where given, is how many options there are, or the options themselves. Several
letters are no answer, so hedging earns nothing. Options are put in a seeded order by `rlzoo.data.choices`, which also notes the share of
right answers that guessing gives (`metadata["chance"]`, the metric `chance/<domain>`).
"""

import re
from collections.abc import Sequence
from string import ascii_uppercase

from rlzoo.types import Problem, Verdict
from rlzoo.verifier import Verifier, VerifierConfig
from rlzoo.verifiers import answers
from rlzoo.verifiers.notation import plain

LETTER = re.compile(r"\(?\[?([A-Z])[\])]?(?:$|[.:)]|\s)")
ALONE = re.compile(r"(?<![A-Za-z0-9'])([A-Z])(?![A-Za-z0-9'])")
ARTICLES = frozenset("AI")
"""Letters that are also English words: inside an option's own text they name no option."""
MOST = 26


class ChoiceConfig(VerifierConfig):
    extraction: answers.Extraction = "final"
    """Where the letter stands, for problems whose metadata do not say; the policies are those of `verifier.maths.extraction`."""


class Choice(Verifier[ChoiceConfig]):
    """Correct if the final answer is the letter `problem.answer`. Letters are upper case; the option's text may follow."""

    name = "choice"
    Config = ChoiceConfig
    version = 4

    def judge(self, problem: Problem, response: str) -> Verdict:
        gold, options = _gold(problem)
        found = self.extract(problem, response)
        if found is None:
            return Verdict(status="unparsed", reason=answers.missing(problem, self.config.extraction))
        letters = letters_in(found, ascii_uppercase[:options])
        if len(letters) != 1:
            what = f"several letters: {', '.join(letters)}" if letters else "no letter of an option"
            return Verdict(status="unparsed", reason=what, extracted=None)
        if letters[0] == gold:
            return Verdict(status="correct", reward=1.0, reason=f"{gold} is right", extracted=gold)
        return Verdict(status="wrong", reason=f"expected {gold}", extracted=letters[0])

    def extract(self, problem: Problem, response: str) -> str | None:
        return answers.extract(problem, response, self.config.extraction)

    def gold_fault(self, problem: Problem) -> str | None:
        """That the problem's own answer is no option."""
        try:
            answers.missing(problem, self.config.extraction)  # raises for a policy that does not exist
            _gold(problem)
        except ValueError as fault:
            return str(fault)
        return None


def letters_in(found: str, known: str) -> list[str]:
    """The options that an answer names, in order: `B`, `(B)`, `B.`, `B) because`, `**B**`; all of them for `A or B`, `AB`."""
    bare = re.sub(r"\\(?:text|textbf|mathrm|mathbf|mbox)\s*\{([^{}]*)\}", r"\1", found[:1_000]).strip(" \t\r\n*$.")
    if re.fullmatch(r"[A-Z]{2,}", bare) and set(bare) <= set(known):
        return sorted(set(bare))
    named = list(dict.fromkeys(letter for letter in ALONE.findall(bare) if letter in known))
    first = LETTER.match(bare)
    if first and first[1] in known:  # `B. A cat` names B: an article in the option's own text is no letter
        return [letter for letter in named if letter == first[1] or letter not in ARTICLES or _listed(bare, letter)]
    return named


def _listed(text: str, letter: str) -> bool:
    """Whether the letter stands as an option of its own beside others: `B or A`, `B, A`, `B (A)`."""
    return bool(re.search(rf"(?:\b(?:or|and)\b|[,/&(])\s*\(?{letter}(?:[).,/]|$|\s+(?:or|and)\b)", text))


def _gold(problem: Problem) -> tuple[str, int]:
    """The right letter and the number of options. ValueError for a problem without them."""
    choices = problem.metadata.get("choices", 0)
    options = choices if isinstance(choices, int) else len(choices) if isinstance(choices, Sequence) else 0
    gold = plain(problem.answer or "").strip("().")
    if len(gold) != 1 or gold not in ascii_uppercase[: options or MOST]:
        raise ValueError(
            f"problem {problem.id!r} has the answer {problem.answer!r}, expected one letter from A to "
            f"{ascii_uppercase[(options or MOST) - 1]}. Give it the letter of the right option."
        )
    return gold, options or MOST
