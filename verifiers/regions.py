"""Parts of a line taken from others: `x > 0, x \\ne 1`, and a line without an interval. Ends are numbers, or nothing is done."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from rlzoo.verifiers.forms import Form, Many, Named, Region, Span, Value
from rlzoo.verifiers.notation import as_number, plain

INFINITE = ("\\infty", "inf", "oo", "infinity")


@lru_cache(maxsize=1_024)
def position(text: str) -> float | None:
    """Where an end of an interval lies; None for what is no real number."""
    if is_infinite(text):
        return -math.inf if plain(text).startswith("-") else math.inf
    number = as_number(text)
    if number is not None:
        return float(number)
    from rlzoo.verifiers import symbolic

    try:
        value = float(symbolic.parse(text, True).evalf(20))
    except (ValueError, TypeError, ArithmeticError, AttributeError):
        return None
    return value if math.isfinite(value) else None


def is_infinite(text: str) -> bool:
    return re.sub("^[+-]", "", plain(text)) in INFINITE


def without(parts: Sequence[Span | Many], taken: Sequence[Span | Many]) -> tuple[Span | Many, ...] | None:
    """What is left of parts of a line; None where an end is no number."""
    holes: list[Span] = []
    for hole in taken:
        if isinstance(hole, Span):
            holes.append(hole)
            continue
        for item in hole.items:
            point = item.value if isinstance(item, Named) else item
            if not isinstance(point, Value):
                return None
            holes.append(Span(point.text, point.text, True, True))
    left: list[Span] = []
    for part in parts:
        if not isinstance(part, Span):
            return None
        left.append(part)
    for hole in holes:
        fresh: list[Span] = []
        for span in left:
            cut = _cut(span, hole)
            if cut is None:
                return None
            fresh += cut
        left = fresh
    return tuple(left)


def _cut(span: Span, hole: Span) -> list[Span] | None:
    low, high, start, end = (position(text) for text in (span.low, span.high, hole.low, hole.high))
    if low is None or high is None or start is None or end is None:
        return None
    if end < low or start > high:
        return [span]
    found = []
    if low < start:
        found.append(Span(span.low, hole.low, span.low_closed, not hole.low_closed))
    if end < high:
        found.append(Span(hole.high, span.high, not hole.high_closed, span.high_closed))
    return found


OUTSIDE = re.compile(r"(?<![a-zA-Z\\])([a-zA-Z]) ?\\notin ?\\\{([^{}]*)\\\}")
RESTRICTED = re.compile(
    r"(?P<value>.+?)(?: ?,)? ?(?:\( ?|\\text\{\(?[,;]? ?(?:(?:valid|defined|true) )?(?:for|where|when|if|with|provided|assuming)(?: that)?\}|(?:for|where|when|if|with) )"
    r"(?: ?\( ?| )?(?P<where>[a-zA-Z] ?(?:\\(?:ne|[lg]e)(?![a-z])|[<>])[^()]*?)(?: ?\))?"
)


def beside(text: str) -> str:
    """`\\frac{1}{x}, x \\ne 0` for a value with a restriction that words or brackets set off."""
    text = OUTSIDE.sub(r"\1 \\ne \2", text)
    found = RESTRICTED.fullmatch(text)
    return f"{found['value']}, {found['where']}" if found and "\\begin" not in text else text


def distance(letter: str, sign: str, far: str, centre: str | None) -> Region | None:
    """`|x| > 1`, `|x| < 1`, `|x - 2| < 1`."""
    closed = sign in ("\\le", "\\ge")
    near = f"-({far})" if re.search(r"[+-]", far) else f"-{far}"
    if centre is not None:
        middle, reach = as_number(centre.replace(" ", "")), as_number(far)
        if middle is None or reach is None:
            return None
        near, far = (f"\\frac{{{end.numerator}}}{{{end.denominator}}}" for end in (-middle - reach, reach - middle))
    if sign in ("<", "\\le"):
        return Region((Span(near, far, closed, closed),), letter)
    return Region((Span("-\\infty", near, False, closed), Span(far, "\\infty", closed, False)), letter)


def meeting(one: Span | Many, other: Span | Many) -> Span | None:
    """`x > 1 and x < 3` as one interval; None where numbers say that they do not meet, as a careless `and` has it."""
    if not isinstance(one, Span) or not isinstance(other, Span):
        return None
    if one.low.endswith("\\infty"):
        one, other = other, one
    if (
        one.high != "\\infty"
        or other.low != "-\\infty"
        or one.low.endswith("\\infty")
        or other.high.endswith("\\infty")
    ):
        return None
    low, high = as_number(one.low), as_number(other.high)
    if low is not None and high is not None and low > high:
        return None
    return Span(one.low, other.high, one.low_closed, other.high_closed)


def punctured(region: Region) -> Region | None:
    """The line without some points as these points; None if the region is something else."""
    if region.holes:
        return region
    parts = [part for part in region.parts if isinstance(part, Span) and not part.low_closed and not part.high_closed]
    lows = [part.low for part in parts if not is_infinite(part.low)]
    highs = [part.high for part in parts if not is_infinite(part.high)]
    if (
        len(parts) < len(region.parts)
        or sorted(map(plain, lows)) != sorted(map(plain, highs))
        or len(lows) != len(parts) - 1
    ):
        return None
    return Region((Many("set", tuple(map(Value, lows))),), region.letter, holes=True)


def with_holes(items: list[Form]) -> tuple[Form, ...]:
    """Items, where the values behind `x \\ne 1` are left out of the line as well: `x \\ne 1, 2`."""
    at = next((at for at, item in enumerate(items) if isinstance(item, Region) and item.holes), len(items))
    if at + 1 >= len(items) or not all(isinstance(item, Value) for item in items[at + 1 :]):
        return tuple(items)
    line = items[at]
    assert isinstance(line, Region) and isinstance(line.parts[0], Many)
    return *items[:at], replace(line, parts=(Many("set", (*line.parts[0].items, *items[at + 1 :])),))


def mixed(items: Sequence[Form], together: bool) -> Region | None:
    """`x > 0, x \\ne 1`, an interval without points; `x = -1 or x > 2`, one with a point beside it. None for anything else."""
    whole = [item for item in items if isinstance(item, Region) and not item.holes]
    holes = [item for item in items if isinstance(item, Region) and item.holes]
    points = [item for item in items if isinstance(item, Named) and isinstance(item.value, Value)]
    letters = {item.letter for item in (*whole, *holes)} | {item.name for item in points}
    if len(whole) + len(holes) + len(points) != len(items) or len(letters) > 1 or not whole:
        return None
    parts_of = tuple(part for region in whole for part in region.parts)
    if holes and not points and together:
        if len(parts_of) == 2 and (met := meeting(*parts_of)):
            parts_of = (met,)
        rest = without(parts_of, [part for region in holes for part in region.parts])
        return Region(rest, whole[0].letter) if rest else None
    if points and not holes and not together:
        return Region((Many("set", tuple(item.value for item in points)), *parts_of), whole[0].letter)
    return None
