r"""What a value is given a name by, `x = 5`, `\text{Area} = 12`, and when two names are of one thing: `\angle ABC` and `\angle B`."""

import re

from rlzoo.verifiers import phrases
from rlzoo.verifiers.notation import plain
from rlzoo.verifiers.patterns import NAME

WORKED_OUT = re.compile(
    r"\\(?:log|ln|lg|exp|sqrt|sin|cos|tan|cot|sec|csc|arc(?:sin|cos|tan)|sinh|cosh|tanh|frac|binom|max|min|gcd|lcm|det)(?![a-z])|e ?\("
)
"""What begins an expression, of whose letters it then says something."""
WORDS = re.compile(r"\\text\{([^{}]*)\}(?:_\{?\w{1,3}\}?)?")
_GREEK = "alpha|beta|gamma|delta|epsilon|theta|phi|psi|omega|lambda|mu|sigma|rho|tau|angle ?[A-Z]{1,3}"
_TERM = rf"(?:[a-zA-Z]+|\\(?:{_GREEK}))(?:_\{{?[a-zA-Z0-9]{{1,3}}\}}?)?'?"
SUM = re.compile(rf"{_TERM}(?:\s*(?:[+\-*]|\\cdot|\\times)?\s*{_TERM})*")
"""Letters, or words, with signs between them."""
LETTERS = re.compile(r"(?:m ?)?(?:\\(?P<sign>[a-z]+) ?\{? ?)?(?P<letters>[A-Z]{1,4})\}?")
AT = re.compile(r"(?P<function>[a-zA-Z]|\\[a-z]+)(?:\^\{-1\}|')? ?\( ?(?P<at>-?\d[^()]*)\)")


def is_name(text: str) -> bool:
    """Whether a value may be named so."""
    if NAME.fullmatch(text) is None or WORKED_OUT.match(text):
        return False
    told = WORDS.fullmatch(text)
    return told is None or phrases.named(told[1]) or not re.search("[a-zA-Z]", told[1])


def is_sum(text: str) -> bool:
    """Whether letters are only added, subtracted and multiplied, so that a value of it may be what is asked for: `a + b`."""
    return SUM.fullmatch(text.strip()) is not None and all(map(phrases.named, re.findall("[a-zA-Z]{3,}", text)))


def others(one: str, other: str) -> bool:
    """Whether two names are of different things of one kind: `AB` and `CD`, `f(2)` and `f(3)`, `\\angle A` and `\\angle B`."""
    at = [AT.fullmatch(plain(name)) for name in (one, other)]
    if at[0] and at[1]:
        return plain(one) != plain(other)
    found = [LETTERS.fullmatch(name.strip()) for name in (one, other)]
    if not found[0] or not found[1] or found[0]["sign"] != found[1]["sign"]:
        return False
    first, second = (match["letters"] for match in found if match)
    if found[0]["sign"] and "angle" in found[0]["sign"] and min(len(first), len(second)) == 1:
        return first[len(first) // 2] != second[len(second) // 2]
    return len(first) == len(second) > 0 and sorted(first) != sorted(second)
