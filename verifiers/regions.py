"""Parts of a line taken from others: `x > 0, x \\ne 1`, and a line without an interval. Ends are numbers, or nothing is done."""

import math
import re
from collections.abc import Sequence
from functools import lru_cache

from rlzoo.verifiers.forms import Many, Named, Span, Value
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
