r"""What form a question asks for, where it says so: `Factor completely`, `in lowest terms`, `in scientific notation`.

An answer of the right value that is not in that form is no answer: the question was how to write the value. Nothing here makes a wrong
value right, but for a multiple choice that is answered with the option's text instead of its letter.
"""

import math
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from rlzoo.types import Problem
from rlzoo.verifiers import comparing, labels, rounding, units
from rlzoo.verifiers.concluded import MATH, inner
from rlzoo.verifiers.forms import About, Many, Named
from rlzoo.verifiers.notation import FRACTION, MIXED, POWER_OF_TEN, as_number, clean, plain, strip
from rlzoo.verifiers.parsing import readings

FACTOR = re.compile(
    r"(?:^|[.!?:;,]\s+|\bplease |\bfully |\bcompletely )factor(?:i[sz]e)?\b|\bfactor(?:i[sz]e)?d?\b[^.?!]{0,90}\b(?:completely|fully)\b|factored form|"
    r"(?:completely|fully) factored|as a product of (?:linear|irreducible|polynomial)",
    re.IGNORECASE | re.MULTILINE,
)
EXPAND = re.compile(r"(?:^|[.!?:;,]\s+|\bplease )(?:expand|multiply out)\b|expanded form", re.IGNORECASE | re.MULTILINE)
PRIMES = re.compile(r"prime factori[sz]ation|product of (?:its )?primes|prime factors? form", re.IGNORECASE)
LOWEST = re.compile(
    r"lowest terms|simplest (?:form|terms|fraction)|reduced (?:form|fraction)|fully reduced|simplified (?:form|fraction)|fully simplified|irreducible fraction|"
    r"(?:^|[.!?:;,]\s+)(?:simplify|reduce)\b",
    re.IGNORECASE | re.MULTILINE,
)
RADICAL = re.compile(
    r"radical form|simplified radical|simplest (?:surd )?form|rationali[sz]e|rational denominator|(?:^|[.!?:;,]\s+)simplify\b",
    re.IGNORECASE | re.MULTILINE,
)
RATIONAL = re.compile(r"rationali[sz]e|rational denominator|simplest radical form", re.IGNORECASE)
SCIENTIFIC = re.compile(r"scientific notation", re.IGNORECASE)
MIXED_NUMBER = re.compile(r"(?:as|to) an? (?:simplified )?mixed (?:number|fraction)", re.IGNORECASE)
IMPROPER = re.compile(r"(?:as|to) an? (?:simplified )?improper fraction", re.IGNORECASE)
DECIMAL = re.compile(
    r"(?:as|to|in) (?:an? )?(?:exact |repeating |recurring |terminating |finite )*decimal\b(?! places)", re.IGNORECASE
)
COMMON = re.compile(r"(?:as|to) an? (?:\w+ ){0,2}fraction", re.IGNORECASE)
PER_CENT = re.compile(r"(?:as|to|in) (?:an? )?per ?cent(?:age)?\b", re.IGNORECASE)
SLOPE = re.compile(r"slope[- ]intercept|in the form \$?\\?\(?\s*y\s*=\s*m\s*x", re.IGNORECASE)
GENERAL = re.compile(r"(?:form|as) \$?\\?\(?\s*[Aa]\s*x\s*\+\s*[Bb]\s*y", re.IGNORECASE)
ORDER = re.compile(
    r"(?:least|smallest|lowest|shortest|youngest|lightest|slowest) to (?:the )?(?:greatest|largest|highest|biggest|longest|tallest|oldest|heaviest|fastest)|"
    r"(?:greatest|largest|highest|biggest|longest|tallest|oldest|heaviest|fastest) to (?:the )?(?:least|smallest|lowest|shortest|youngest|lightest|slowest)|"
    r"(?:ascending|descending|increasing|decreasing|alphabetical|chronological) order|in order (?:from|of)",
    re.IGNORECASE,
)
TASK = re.compile(
    r"(?:^|[.!?:;,]\s+|\bplease )(?:simplify|expand|factor|factori[sz]e|evaluate|compute|calculate|rationali[sz]e|convert|express|write|rewrite|find the exact value)\b",
    re.IGNORECASE | re.MULTILINE,
)
"""A question that shows what it wants in another form."""
OPTION = re.compile(
    r"(?:\\(?:textbf|text|mathrm|mathbf)\{\s*)?(?:\((?P<round>[A-J])\)|(?:(?<=\n)|(?<=\s))(?P<plain>[A-J])[.)](?=\s))\s*\}?(?:\\ |~)?"
)
YES_OR_NO = re.compile(
    r"\byes\b[\"'“”*]*(?: or |/)[\"'“”*]*no\b|(?:^|[.!,;:]\s+)(?:is|are|was|were|do|does|did|can|could|will|would|has|have|must|should) [^.?!]+\?\s*$",
    re.IGNORECASE,
)
VALUE = re.compile(r"\b(?:how (?:many|much)|what|which|find|compute|determine)\b|\bor\b(?!\W*no\b)", re.IGNORECASE)
"""What a question says that wants more than yes or no."""
PRIME_POWER = re.compile(r"(\d{1,12})(?:\^\{?\d{1,3}\}?)?", re.ASCII)
DENOMINATOR = re.compile(r"\\frac\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}\{[^{}]*\\sqrt|/\s*\(?\s*[\d\s]*\\?sqrt")
ROOT_OF = re.compile(r"\\sqrt\s*\{\s*(\d{1,12})\s*\}")
ROUND = re.compile(
    r"\bround|\bnearest\b|\bapproximat|\bestimat|decimal places?|significant (?:figures|digits)|to the (?:tenth|hundredth|thousandth)",
    re.IGNORECASE,
)
RATIO_ASKED = re.compile(r"\bratios?\b|\bproportions?\b|\bodds\b", re.IGNORECASE)
NOUN = re.compile(r"(?P<number>-?\d[\d.,/]*) ?(?:\\text\{ ?)?(?P<noun>[a-z]{3,20}) ?\}?", re.IGNORECASE)
LONGEST_FORMULA = 60
LONGEST = 4_000
"""Characters of a question that are read."""
MOST_OPTIONS = 10


def question(problem: Problem) -> str:
    """What the problem's last message of a user says."""
    for message in reversed(problem.messages):
        content = message.get("content")
        if message.get("role") == "user" and isinstance(content, str):
            return content[-LONGEST:]
    return ""


def yes_or_no(problem: Problem) -> bool:
    """Whether the question wants no more than that."""
    asked = question(problem).strip()
    return YES_OR_NO.search(asked) is not None and VALUE.search(asked) is None


def fault(asked: str, gold: str, found: str) -> str | None:
    """What is missing from an answer of the right value; None if it is in the form that the question asks for."""
    if not _wants_a_form(asked) or gold == found or plain(gold) == plain(found):
        return None
    one, other = _value(gold), _value(found)
    if (
        SLOPE.search(asked)
        and re.match(r"y\s*=", strip(clean(gold)))
        and not re.match(r"y\s*=", strip(clean(found)))
        and "=" in found
    ):
        return "not in the form y = mx + b"
    if GENERAL.search(asked) and re.match(r"y\s*=", strip(clean(found))) and not re.match(r"y\s*=", strip(clean(gold))):
        return "not in the form Ax + By = C"
    for pattern, check in CHECKS:
        if pattern.search(asked) and (told := check(one, other)):
            return told
    formulas = (
        [plain(inner(formula)) for formula in MATH.finditer(asked)]
        if TASK.search(asked) and not _options(asked)
        else []
    )
    if as_number(other) is None and plain(one) != plain(other) and plain(other) in formulas:
        return "repeats what the question asks to be written in another way"
    return None


@lru_cache(maxsize=4_096)
def _wants_a_form(asked: str) -> bool:
    return any(pattern.search(asked) for pattern in (*(pattern for pattern, _ in CHECKS), SLOPE, GENERAL, TASK))


def option(asked: str, gold: str, found: str) -> bool:
    """Whether an answer is the text of the option whose letter is expected, and of no other; or the letter where its text is expected."""
    options = _options(asked)
    letter = re.compile(r"\W*(?:text(?:bf)?)?\W*([A-J])\W*")
    expected, given = letter.fullmatch(gold.strip()), letter.fullmatch(found.strip())
    if not options or (expected is not None) == (given is not None):
        return False
    if given is not None:
        return given[1] in options and _same(options[given[1]], gold)
    return expected is not None and [name for name, text in options.items() if _same(text, found)] == [expected[1]]


def contradicts(asked: str, found: str) -> bool:
    """Whether a letter stands beside what is another option's text: `(B) 7`, where 7 is option C."""
    told = labels.parted(strip(clean(found))) if as_number(found) is None else None
    options = _options(asked) if told is not None else {}
    if told is None or told[0] not in options or _same(options[told[0]], told[1]):
        return False
    if any(_same(text, told[1]) for text in options.values()):
        return True
    return None not in (as_number(told[1]), as_number(options[told[0]]))


def same_as_asked(asked: str, gold: str, found: str) -> bool:
    """Whether two answers are the same to somebody who reads the question, and not without it."""
    if None not in (as_number(gold), as_number(found)):
        return False
    text = strip(clean(found))
    return any(
        _same(*pair) for way in (_of_formula, _rounded, _counted, _ratio, _letter) for pair in way(asked, gold, text)
    )


def _of_formula(asked: str, gold: str, found: str) -> Iterator[tuple[str, str]]:
    """`x^2 + y^2 = 25` as 25 where the question asks for `x^2 + y^2`, and says no such thing of it."""
    left, sign, right = found.partition("=")
    signs = [re.escape(one) for one in plain(left).replace(" ", "")]
    if sign and "=" not in right and 0 < len(signs) <= LONGEST_FORMULA:
        spaced = r"\s*".join(signs)
        alone = rf"(?<![\w+\-*/^|(\\])(?<![+\-*/^|(]\s){spaced}(?!\w|\s*[+\-*/^|!(=<>])"
        if re.search(alone, clean(asked)):
            yield gold, right


def _rounded(asked: str, gold: str, found: str) -> Iterator[tuple[str, str]]:
    """`3.6 \\approx 4` as 4 where the question asks to round."""
    if "\\approx" in found and ROUND.search(asked):
        form = readings(found)[-1]
        while isinstance(form, Named):
            form = form.value
        if isinstance(form, About) and rounding.meant(form):
            yield gold, found.rpartition("\\approx")[2]


def _counted(asked: str, gold: str, found: str) -> Iterator[tuple[str, str]]:
    """`3 quarters` as 3 where the question is how many quarters."""
    noun = NOUN.fullmatch(found)
    if noun and re.search(rf"\bhow many (?:[\w-]+ ){{0,2}}{noun['noun'].rstrip('s')}", asked, re.IGNORECASE):
        yield gold, noun["number"]


def _ratio(asked: str, gold: str, found: str) -> Iterator[tuple[str, str]]:
    """`3:10` as a ratio, which it is by itself no more than a time of day."""
    if RATIO_ASKED.search(asked):
        one, other = (re.sub(r"^\s*(\d+)\s*:\s*(\d+)\s*$", r"\1 to \2", side) for side in (gold, found))
        if (one, other) != (gold, found):
            yield one, other


def _letter(asked: str, gold: str, found: str) -> Iterator[tuple[str, str]]:
    """`D) Not enough information` as D where that is what D says."""
    told = labels.parted(found)
    options = _options(asked) if told is not None else {}
    if told is not None and told[0] in options and _same(options[told[0]], told[1]):
        yield gold, told[0]


def _same(one: str, other: str) -> bool:
    try:
        return comparing.same(one, other, True)[0]
    except ValueError:
        return False


def _options(asked: str) -> dict[str, str]:
    """Each option's text by its letter; none where they are not A, B, C and so on."""
    places = list(OPTION.finditer(asked))[-MOST_OPTIONS:]
    names = [place["round"] or place["plain"] for place in places]
    if len(names) < 3 or "".join(names) != "ABCDEFGHIJ"[: len(names)]:
        return {}
    ends = [place.start() for place in places[1:]] + [len(asked)]
    texts = [asked[place.end() : end] for place, end in zip(places, ends, strict=True)]
    return {
        name: re.sub(r"(?:\\q?quad|\\\\|[\s,;.])+$", "", text.partition("\n")[0] if name == names[-1] else text)
        .strip()
        .strip("$")
        .strip()
        for name, text in zip(names, texts, strict=True)
    }


def _value(text: str) -> str:
    """An answer without what names it: what follows its last equals sign, if it has one value."""
    text = strip(clean(text))
    left, sign, right = text.rpartition("=")
    return (
        strip(right)
        if sign and "," not in text and "\\begin" not in text and not re.search(r"[<>]|\\[lg]e", text) and left
        else text
    )


def _tree(text: str) -> Any:
    from rlzoo.verifiers import symbolic

    try:
        return symbolic.parse(text, True)
    except ValueError:
        return None


def _factored(gold: str, found: str) -> str | None:
    one, other = _tree(gold), _tree(found)
    if one is None or other is None or _factors(one) < 2:
        return None
    if _factors(other) < _factors(one):
        return "not factored completely"
    return "a common factor is left" if _contents(one) == 1 and _contents(other) > 1 else None


def _factors(tree: Any) -> int:
    """How many factors with letters a product has, powers counted as often as they stand."""
    import sympy

    if isinstance(tree, sympy.Mul):
        return sum(_factors(part) for part in tree.args)
    if isinstance(tree, sympy.Pow) and tree.exp.is_Integer and tree.exp.is_positive:
        return int(tree.exp) * _factors(tree.base)
    return int(bool(getattr(tree, "free_symbols", ())))


def _contents(tree: Any) -> int:
    """The product of the numbers that divide a factor each."""
    import sympy

    parts = tree.args if isinstance(tree, sympy.Mul) else (tree,)
    found = 1
    for part in parts:
        base = part.base if isinstance(part, sympy.Pow) else part
        if isinstance(base, sympy.Add) and base.free_symbols and base.is_polynomial():
            content = sympy.Poly(base, *sorted(base.free_symbols, key=str)).content()
            found *= int(content) if content.is_Integer else 1
    return abs(found)


def _expanded(gold: str, found: str) -> str | None:
    import sympy

    def products(tree: Any) -> bool:
        sums = [node for node in sympy.preorder_traversal(tree) if isinstance(node, sympy.Mul | sympy.Pow)]
        return any(isinstance(part, sympy.Add) and part.free_symbols for node in sums for part in node.args)

    one, other = _tree(gold), _tree(found)
    if not isinstance(one, sympy.Add) or other is None or products(one):
        return None
    return "not multiplied out" if products(other) else None


def _primes(gold: str, found: str) -> str | None:
    import sympy

    sides = [
        [PRIME_POWER.fullmatch(part.strip()) for part in re.split(r"\\cdot|\\times|\*", side)] for side in (gold, found)
    ]
    prime = [all(part is not None and sympy.isprime(int(part[1])) for part in side) for side in sides]
    return "no product of primes" if prime[0] and not prime[1] else None


def _lowest(_: str, found: str) -> str | None:
    bare = re.sub(r"\\text\{[^{}]*\}", "", found).replace(" ", "")
    parts = (
        FRACTION.fullmatch(bare)
        or MIXED.fullmatch(bare)
        or re.fullmatch(r"[+-]?(?P<top>\d{1,60})/(?P<bottom>\d{1,60})", bare)
    )
    if not parts:
        return None
    return (
        "not in lowest terms"
        if math.gcd(int(parts["top"]), int(parts["bottom"])) > 1 or int(parts["bottom"]) == 1
        else None
    )


def _radical(gold: str, found: str) -> str | None:
    def square_free(text: str) -> bool:
        roots = [int(root) for root in ROOT_OF.findall(text)]
        return not any(
            root % (side * side) == 0 for root in roots for side in range(2, min(math.isqrt(root), 2_000) + 1)
        )

    return "a root that can be simplified" if square_free(gold) and not square_free(found) else None


def _rational(gold: str, found: str) -> str | None:
    return "a root in the denominator" if DENOMINATOR.search(found) and not DENOMINATOR.search(gold) else None


def _scientific(gold: str, found: str) -> str | None:
    def normal(text: str) -> bool:
        bare = POWER_OF_TEN.fullmatch(plain(units.split(text)[0]))
        return bare is not None and 1 <= abs(float(bare["top"])) < 10

    return (
        "not in scientific notation"
        if normal(gold) and re.fullmatch(r"[-\d.,\s]+|.*10\s*\^.*", found) and not normal(found)
        else None
    )


def _has(pattern: str, told: str) -> Callable[[str, str], str | None]:
    """A check that an answer is not written in a way that the expected one is not written in."""
    written = re.compile(pattern)
    return lambda gold, found: told if written.fullmatch(found) and not written.fullmatch(gold) else None


def _ordered(gold: str, found: str) -> str | None:
    one, other = readings(gold)[-1], readings(found)[-1]
    if not (isinstance(one, Many) and isinstance(other, Many) and len(one.items) == len(other.items)):
        return None
    pairs = zip(one.items, other.items, strict=True)
    return None if all(comparing.forms(a, b, True)[0] for a, b in pairs) else "in another order"


_RATIO = r"[+-]?(?:\d+\s*)?\\frac\s*\{\s*[+-]?\d+\s*\}\s*\{\s*\d+\s*\}|[+-]?\d+\s*/\s*\d+"
_POINT = r"[+-]?\d*\.\d+(?:\.\.\.)?"
CHECKS: tuple[tuple[re.Pattern[str], Callable[[str, str], str | None]], ...] = (
    (FACTOR, _factored),
    (EXPAND, _expanded),
    (PRIMES, _primes),
    (LOWEST, _lowest),
    (RADICAL, _radical),
    (RATIONAL, _rational),
    (SCIENTIFIC, _scientific),
    (
        MIXED_NUMBER,
        _has(r"[+-]?\\frac\s*\{\s*\d+\s*\}\s*\{\s*\d+\s*\}|[+-]?\d+\s*/\s*\d+|" + _POINT, "no mixed number"),
    ),
    (IMPROPER, _has(r"[+-]?\d+\s*\\frac.*|[+-]?\d+ \d+/\d+|" + _POINT, "no improper fraction")),
    (DECIMAL, _has(_RATIO, "no decimal")),
    (COMMON, _has(_POINT, "no fraction")),
    (PER_CENT, _has(rf"{_RATIO}|0?\.\d+", "not in per cent")),
    (ORDER, _ordered),
)
"""What a question asks for, and what an answer lacks that is not in that form."""
