r"""Answers in words, and what words around a formula say: `Monday`, `no solution`, `for any integer k`."""

import re
from collections.abc import Mapping

from rlzoo.verifiers import units
from rlzoo.verifiers.notation import plain
from rlzoo.verifiers.phrases import NUMERALS

NO_SOLUTION = re.compile(
    r"(?:there (?:is|are) )?no (?:(?:such|real|integer|valid|possible|positive|rational) )*(?:solutions?|values?|roots?|numbers?|integers?|x|answers?)"
    r"(?: exists?)?|none|empty(?: set)?|null set|nothing|inconsistent|unsolvable",
)
NONE = "no solution"
ABSENT, UNDEFINED, ENDLESS = "does not exist", "undefined", "infinitely many"
_SUBJECT = (
    r"(?:(?:it|limit|value|series|integral|sequence|function|derivative|expression|inverse|sum|this|that|there)\s+)*"
)
MEANINGS: Mapping[str, re.Pattern[str]] = {
    NONE: NO_SOLUTION,
    ABSENT: re.compile(rf"{_SUBJECT}(?:(?:does not|doesn['’]t|do not) exist|dne|d n e|nonexistent|non-existent)"),
    UNDEFINED: re.compile(rf"{_SUBJECT}(?:is\s+)?(?:undefined|not defined)"),
    ENDLESS: re.compile(
        r"(?:there are |has |have )?(?:infinitely many|infinite number(?: of)?|infinite(?:ly)?|countless|unlimited)"
        r"(?: (?:many|real|distinct|different|integer|such|positive))*(?: (?:solutions?|values?|numbers?|points?|integers?|pairs?|triples?|ways?|roots?))?"
    ),
    "diverges": re.compile(rf"{_SUBJECT}(?:diverges|diverge|(?:is )?divergent)"),
    "converges": re.compile(rf"{_SUBJECT}(?:converges|converge|(?:is )?convergent)"),
    "yes": re.compile(
        r"yes(?! no\b)(?: (?:it|they|he|she|this|that|there|we|you|both|all|i)\b(?!.*\b(?:not?|but|only|cannot|wrong|incorrect|false|unless|sometimes)\b|.*n['’]t).*)?"
    ),
    "no": re.compile(
        r"no(?!.*\b(?:yes|wrong|incorrect|false|unless)\b)(?: (?:it|they|he|she|this|that|there|we|you|i)\b.*(?:\bnot\b|\bcannot\b|n['’]t).*)?"
    ),
}
"""What is said in several ways."""
ALSO_MEANT = frozenset((frozenset((NONE, ABSENT)), frozenset((ABSENT, UNDEFINED))))
"""Meanings that answer the same question."""
SENTENCE = re.compile(
    r"(?!.*\b(?:not?|never|neither|nor|or|either|but|cannot|doubt|wrong|false|unlikely|hardly|tomorrow|yesterday|before|after|unless|if|whatever)\b)(?!.*n['’]t\b)(?:\S+ ){1,5}?(?:is|are|was|were|will be|would be|falls on|lands on) (?:on )?"
)
"""What stands before the word that a sentence comes to."""
KIND = re.compile(r"(?<=.) (?:functions?|numbers?|series)$")
BOTH = re.compile(r"\s*(?:,|;|\band\b|&|\\text\{\s*,?\s*and\s*\})+\s*")
INFINITY = re.compile(r"(-|\+|negative|positive|plus|)\s*infinity")
_MONTHS = "january february march april may june july august september october november december"
MONTHS = tuple(_MONTHS.split())
FUNCTIONS = re.compile(
    r"(?:sqrt|a?(?:rc)?(?:sin|cos|tan|cot|sec|csc)h?|log|ln|exp|max|min|mod|frac|infty|inf|and|or|pi|lcm|gcd|cdot|times)+",
    re.ASCII,
)
"""Letters in a row that are no word: names of functions and signs as plain text has them."""


def is_words(text: str) -> bool:
    """Whether an answer is a word or a phrase: letters of `east` multiplied in another order are those of `seat`."""
    bare = re.sub(r"\\text\{\W*(?:and|or)\W*\}", " , ", text)
    if re.match(r"[-+]?[\d.$\\({\[]", bare) and (units.split(bare)[1] is not None or re.search(r"\d|\\(?!text)", bare)):
        return False
    if re.search(r"\\text\{[^{}]*[a-zA-Z]{2}", bare):
        return not re.search(r"\d|\\(?!text)|[=<>]", bare)
    if folded(bare) in MEANINGS or folded(bare) in ("yes", "no", "odd", "even", "dne") or folded(bare) in NUMERALS:
        return True
    words = re.findall(r"[a-zA-Z]{4,}", re.sub(r"\\(?:begin|end)\{[a-z]*\*?\}|\\[a-zA-Z]+", " ", bare))
    return any(not FUNCTIONS.fullmatch(word) for word in words) and not re.search(r"[=<>]", bare)


def folded(text: str) -> str:
    """Words without case, articles, punctuation and marks; a date in one order."""
    words = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).casefold()
    words = re.sub(r"(?<=\d)(?:st|nd|rd|th)\b", "", words)
    found = [word for word in re.split(r"[\s.,!;\"“”~$*{}]+", words) if word and word not in ("the", "a", "an")]
    if len(found) > 1 and set(MONTHS) & set(found):
        found = sorted(word for word in found if word not in ("of", "on"))
    words = " ".join(found)
    for meaning, pattern in MEANINGS.items():
        if pattern.fullmatch(words):
            return meaning
    return re.sub(r"^on (?=\w+day$)", "", words) or plain(text)


def same(gold: str, found: str) -> bool:
    """Whether two phrases, both folded, say the same."""
    if gold == found or frozenset((gold, found)) in ALSO_MEANT:
        return True
    if gold in ("true", "false") and found == gold[0]:
        return True
    one, other = (KIND.sub("", text).replace("-", "") for text in (gold, found))
    if one == other:
        return True
    told = SENTENCE.match(other)
    return told is not None and other[told.end() :] == one


def joined_words(text: str) -> tuple[str, ...]:
    """What `and` joins, folded and in order of the alphabet: `Alice and Bob`; nothing where there is no `and`."""
    bare = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text)
    if not re.search(r"\band\b|&", bare):
        return ()
    found = [folded(part) for part in BOTH.split(bare) if part.strip()]
    return tuple(sorted(found)) if len(found) > 1 and all(len(part.split()) <= 2 for part in found) else ()
