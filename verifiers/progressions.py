r"""Answers for any integer: `\frac{\pi}{4} + k\pi, k \in \mathbb{Z}`, `x \equiv 3 \pmod 7`, `x = 3 + 5t, y = 1 - 2t`.

Such an answer is a union of arithmetic progressions, and two answers are equal if the unions are, however many parts each is written
in: `(-1)^k \frac{\pi}{6} + k\pi` is `\frac{\pi}{6} + 2k\pi` and `\frac{5\pi}{6} + 2k\pi`. A family of a few members,
`2e^{2\pi i k/3}, k = 0, 1, 2`, is the list of them.
"""

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from rlzoo.verifiers.forms import Form, Many, Named, Value
from rlzoo.verifiers.notation import strip
from rlzoo.verifiers.parsing import readings
from rlzoo.verifiers.quantities import AS_WRITTEN

CONDITION = re.compile(
    r"[\s,;(:|]*(?:\b(?:where|with|for|and)\b)?[\s,(]*(?:\b(?:any|all|every|each|some|an?)\b\s*)?"
    r"(?:(?P<member>[a-z])\s*\\in\s*(?:\\mathbb\{(?P<set>[ZN])\}|(?P<bare>[ZN]))(?P<part>[\^_]\s*\{?[^{}\s]{1,5}\}?)?"
    r"|(?:integers?|whole numbers?)\s*(?:values? )?(?:of )?(?P<after>[a-z])"
    r"|(?<![a-zA-Z])(?P<before>[a-z])\s*(?:is|be|being|are|=)?\s*(?:an|any|arbitrary|some)?\s*integers?"
    r"|(?<![a-zA-Z])(?P<told>[a-z])\s*=\s*0\s*,\s*\\pm\s*1\b(?:[^a-z\\]|\\pm)*\.\.\.)[\s).}]*$"
)
"""What says which letter is any integer."""
BUILDER = re.compile(r"\\\{(?P<body>.*?)(?:\||:)(?P<rest>.*(?:\\mathbb\{[ZN]\}|integers?).*)\\\}", re.DOTALL)
CONGRUENCE = re.compile(
    r"(?:[a-z]\s*\\equiv\s*)?(?P<left>-?\d{1,9}(?:\s*(?:,|or|and)+\s*-?\d{1,9})*)\s*\(?\s*(?:\\[pb]?mod|mod|modulo)\s*\{?\s*(?P<modulus>\d{1,9})\s*\}?\s*\)?"
)
MEMBERS = re.compile(
    r"(?P<body>.*?[^\s,;(])[\s,;(]*(?<![a-zA-Z\\])(?P<letter>[a-z])\s*(?:=|\\in)\s*(?:\\?\{)?\s*(?P<values>-?\d{1,2}(?:\s*,\s*(?:-?\d{1,2}|\.\.\.)){1,11})\s*(?:\\?\})?\s*\)?",
    re.DOTALL,
)
LETTER = re.compile(r"(?<![\\a-zA-Z])[nmkt](?![a-zA-Z])")
OTHER_LETTER = re.compile(r"(?<![\\a-zA-Z])[nm](?![a-zA-Z])")
MOST_PARTS = 240
NEAR = 1e-9


class Family(NamedTuple):
    text: str
    letter: str
    over: str
    """Z, N, or nothing where it is not said."""


class Steps(NamedTuple):
    start: float
    step: float


def condition(text: str) -> Family | None:
    """An answer for any integer without the words that say so; None for any other."""
    if found := BUILDER.fullmatch(text):
        text = f"{found['body']}, {found['rest']}"
        text = re.sub(r"^\s*[a-z](?:\s*\\in\s*\\mathbb\{[RZ]\})?\s*,\s*(?=[a-z]\s*=)", "", text)
    plain = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text)
    found = CONDITION.search(plain)
    if not found:
        return None
    letter = found["member"] or found["after"] or found["before"] or found["told"]
    if not found[0].strip() or not plain[: found.start()].strip():
        return None
    counted = "N" if found["part"] and re.search(r"[+>]|\\ge", found["part"]) else ""  # positive integers
    return Family(strip(plain[: found.start()]), letter, counted or found["set"] or found["bare"] or "Z")


def _family(text: str) -> Family | None:
    """The same, also of a congruence."""
    if found := CONGRUENCE.fullmatch(re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).strip()):
        parts = re.findall(r"-?\d+", found["left"])
        return Family(", ".join(f"{part}+{found['modulus']}k" for part in parts), "k", "Z")
    return condition(text)


def members(text: str) -> str:
    """A family with a few members as their list; any other text as it is."""
    found = MEMBERS.fullmatch(text)
    if not found:
        return text
    body = found["body"].rpartition("=")[2].strip()
    letter = re.compile(rf"(?<![\\a-zA-Z]){found['letter']}(?![a-zA-Z])|(?<=[i\d]){found['letter']}(?![a-zA-Z])")
    values = [value.strip() for value in found["values"].split(",")]
    if "..." in values:
        at = values.index("...")
        if at < 2 or at != len(values) - 2:
            return text
        values = [str(value) for value in range(int(values[0]), min(int(values[-1]), 20) + 1)]
    if not letter.search(body) or re.search(r"[,;]|\\text", body):
        return text
    times = re.compile(rf"(?<=[\w)}}])\s*(?:{letter.pattern})")
    return ", ".join(letter.sub(f"({value})", times.sub(rf"\\cdot ({value}) ", body)) for value in values)


def same(gold: str, found: str) -> bool | None:
    """Whether two answers, at least one of them for any integer, are the same; None where this cannot tell."""
    families = [_family(gold), _family(found)]
    if families == [None, None]:
        return None
    for at, text in enumerate((gold, found)):
        if families[at] is None:
            letters = set(LETTER.findall(text))
            families[at] = Family(text, letters.pop(), "") if len(letters) == 1 else None
    one, other = families
    if one is None or other is None or "N" in (one.over, other.over):
        return None
    try:
        sides = [_parts(one), _parts(other)]
    except (ValueError, TypeError, ArithmeticError, AttributeError):
        return None
    if sides[0] is None or sides[1] is None:
        return None
    (first, names), (second, beside) = sides[0], sides[1]
    if names or beside:
        return names == beside and _same_line(first, second)
    if not one.over and not re.search(r"\\pi|\\circ", gold):
        return None  # a formula for each n, not the numbers that it runs through
    return _same_union(first, second)


def without_condition(gold: str, found: str, lenient: bool) -> tuple[str, str] | None:
    """Both without `k in Z`, where both have it, whatever the letter; to lenient also where one has. None where they are for other integers."""
    (any_gold, of_gold), (any_found, of_found) = _any_integer(gold), _any_integer(found)
    if of_gold and of_found and of_gold != of_found:
        return None
    if lenient:
        gold, found = members(gold), members(found)
    if of_gold and of_found:
        return strip(any_gold), strip(any_found)
    if not lenient or not (of_gold or of_found):
        return gold, found
    bare = [text if has else OTHER_LETTER.sub("k", text) for text, has in ((any_gold, of_gold), (any_found, of_found))]
    return strip(bare[0]), strip(bare[1])


def _any_integer(text: str) -> tuple[str, str]:
    """An answer for any integer, with its letter as k and without the condition; which integers, or nothing."""
    family = None if AS_WRITTEN.search(text) else condition(text)
    if family is None:
        return text, ""
    return re.sub(rf"(?<![\\a-zA-Z]){family.letter}(?![a-zA-Z])", "k", family.text), family.over


def _parts(family: Family) -> tuple[list[Steps], tuple[str, ...]] | None:
    """A family's progressions, and the names that they are coordinates of."""
    form = readings(family.text)[-1]
    items: Sequence[Form] = form.items if isinstance(form, Many) else (form,)
    names = [item.name for item in items if isinstance(item, Named)]
    vector = len(names) == len(items) > 1 and len(set(names)) == len(names)
    if isinstance(form, Many) and form.kind in ("tuple", "bracket"):
        return None
    if vector:
        items = sorted(items, key=lambda item: item.name if isinstance(item, Named) else "")
    found: list[Steps] = []
    for item in items:
        inner = item.value if isinstance(item, Named) else item
        for value in inner.items if isinstance(inner, Many) else (inner,):
            steps = _steps(value.text, family.letter) if isinstance(value, Value) else []
            if not steps or (vector and len(steps) > 1):
                return None
            found += steps
    return found, tuple(sorted(names)) if vector else ()


def _steps(text: str, letter: str) -> list[Steps]:
    """The progressions that an expression of an integer runs through: one, or one for even and one for odd; none for others."""
    from rlzoo.verifiers import symbolic

    tree: Any = symbolic.parse(text, True)
    letters = {symbol.name: symbol for symbol in tree.free_symbols}
    if set(letters) != {letter}:
        return []
    values = [float(tree.subs(letters[letter], at).evalf(20)) for at in range(7)]
    if not all(map(math.isfinite, values)):
        return []
    gaps = [values[at + 2] - values[at] for at in range(5)]
    scale = max(map(abs, values))
    if any(abs(gap - gaps[0]) > NEAR * scale for gap in gaps) or abs(gaps[0]) < NEAR * scale:
        return []
    step = gaps[0] / 2
    if abs(values[1] - values[0] - step) <= NEAR * scale:
        return [Steps(values[0], step)]
    return [Steps(values[0], gaps[0]), Steps(values[1], gaps[0])]


def _same_line(one: Sequence[Steps], other: Sequence[Steps]) -> bool:
    """Whether two progressions of points are the same."""
    for sign in (1, -1):
        if all(abs(a.step - sign * b.step) < NEAR for a, b in zip(one, other, strict=True)):
            times = [(a.start - b.start) / a.step for a, b in zip(one, other, strict=True)]
            return all(abs(time - round(times[0])) < NEAR for time in times)
    return False


def _same_union(one: Sequence[Steps], other: Sequence[Steps]) -> bool:
    """Whether two unions of progressions hold the same numbers: their remainders by a common multiple of all steps."""
    unit = abs(one[0].step)
    ratios = [Fraction(abs(part.step) / unit).limit_denominator(120) for part in (*one, *other)]
    if any(
        abs(float(ratio) * unit - abs(part.step)) > NEAR * unit
        for ratio, part in zip(ratios, (*one, *other), strict=True)
    ):
        return False
    period = Fraction(
        math.lcm(*(ratio.numerator for ratio in ratios)), math.gcd(*(ratio.denominator for ratio in ratios))
    )
    sides = []
    for parts in (one, other):
        held = []
        for part in parts:
            count = period / Fraction(abs(part.step) / unit).limit_denominator(120)
            if count.denominator != 1 or count > MOST_PARTS:
                return False
            held += [(part.start / unit + at * abs(part.step) / unit) % float(period) for at in range(int(count))]
        sides.append(held)
    whole = float(period)

    def inside(value: float, held: Sequence[float]) -> bool:
        return any(min(abs(value - other), whole - abs(value - other)) < 1e-7 for other in held)

    return all(inside(value, sides[1]) for value in sides[0]) and all(inside(value, sides[0]) for value in sides[1])
