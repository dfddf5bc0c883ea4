r"""Answers in words, and what words around a formula say: `Monday`, `no solution`, `for any integer k`."""

import re

from rlzoo.verifiers import units
from rlzoo.verifiers.notation import plain

NO_SOLUTION = re.compile(
    r"(?:there (?:is|are) )?no (?:(?:such|real|integer|valid|possible|positive|rational) )*(?:solutions?|values?|roots?|numbers?|integers?|x|answers?)"
    r"(?: exists?)?|none|empty(?: set)?|null set|nothing",
)
NONE = "no solution"
INFINITY = re.compile(r"(-|\+|negative|positive|plus|)\s*infinity")
_MONTHS = "january february march april may june july august september october november december"
MONTHS = frozenset(_MONTHS.split())
FUNCTIONS = re.compile(
    r"(?:sqrt|a?(?:rc)?(?:sin|cos|tan|cot|sec|csc)h?|log|ln|exp|max|min|mod|frac|infty|inf|and|or|pi|lcm|gcd|cdot|times)+",
    re.ASCII,
)
"""Letters in a row that are no word: names of functions and signs as plain text has them."""
_NUMERALS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty"""
NUMERALS = {name: number for number, name in enumerate(_NUMERALS.split())}


def is_words(text: str) -> bool:
    """Whether an answer is a word or a phrase: letters of `east` multiplied in another order are those of `seat`."""
    bare = re.sub(r"\\text\{\W*(?:and|or)\W*\}", " , ", text)
    if re.match(r"[-+]?[\d.$\\({\[]", bare) and (units.split(bare)[1] is not None or re.search(r"\d|\\(?!text)", bare)):
        return False
    if re.search(r"\\text\{[^{}]*[a-zA-Z]{2}", bare):
        return not re.search(r"\d|\\(?!text)|[=<>]", bare)
    if folded(bare) in ("yes", "no", "odd", "even", "dne") or folded(bare) in NUMERALS:
        return True
    words = re.findall(r"[a-zA-Z]{4,}", re.sub(r"\\(?:begin|end)\{[a-z]*\*?\}|\\[a-zA-Z]+", " ", bare))
    return any(not FUNCTIONS.fullmatch(word) for word in words) and not re.search(r"[=<>]", bare)


def folded(text: str) -> str:
    """Words without case, articles, punctuation and marks; a date in one order."""
    words = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).casefold()
    words = re.sub(r"(?<=\d)(?:st|nd|rd|th)\b", "", words)
    found = [word for word in re.split(r"[\s.,!;\"“”~$*{}]+", words) if word and word not in ("the", "a", "an")]
    if len(found) > 1 and MONTHS & set(found):
        found = sorted(word for word in found if word not in ("of", "on"))
    return " ".join(found) or plain(text)
