r"""Approximations told beside an exact value, `5\sqrt{2} \approx 7.07`: what such an answer stands for.

It is the exact value, and the last approximation where that is one of an expression: `5\sqrt{2}` or 7.07. A value that is written as a
decimal is that value alone, whatever it is said to be about, and a chain with a link that is no rounding of its head is nothing.
"""

import re
from fractions import Fraction

from rlzoo.verifiers import units
from rlzoo.verifiers.forms import About, Form, Many, Named, Span, Value, Worked
from rlzoo.verifiers.notation import as_number

SLACK = Fraction(1, 100)
"""Of the exact value: how far an approximation of it may be away to be taken for it."""
TIE = Fraction(1, 10**9)
"""Of the last digit: by how much half of it may be exceeded, for a value that is worked out in floating point."""
MOST = 2
"""Approximations of one value, one behind the other."""
DIGITS = re.compile(r"(?P<whole>\d+)?(?:\.(?P<behind>\d*))?")
DECIMAL = re.compile(r"[^/a-zA-Z]*(?:\\(?:times|cdot) ?10[^/a-zA-Z]*)?")


def meant(about: About) -> tuple[Form, ...]:
    """What an answer with approximations may be taken for; nothing where one of them is of another value."""
    exact: Form = about
    links: list[Form] = []
    while isinstance(exact, About):
        links.insert(0, exact.rounded)
        exact = exact.exact
    head = _head(exact)
    if len(links) == 1 and isinstance(head, Value):
        if isinstance(exact, Named) and _value(units.split(head.text, units.ALL_LETTERS)[0]) is None:
            return tuple(links)  # A = \pi r^2 \approx 78.54
        if _decimal(head) and isinstance(links[0], Value) and not _decimal(links[0]):  # 1.41 \approx \sqrt{2}
            return (links[0], head) if _rounds(links[0].text, head.text, near=True) else ()
    if len(links) > MOST or not all(_same_shape(head, link, near=False) for link in links):
        return ()
    return (exact, links[-1]) if not _decimal(head) and _same_shape(head, links[-1], near=True) else (exact,)


def _head(form: Form) -> Form:
    """A value without its name and the calculation before it."""
    while isinstance(form, Named | Worked):
        form = form.value
    return form


def rounds(exact: str, rounded: str) -> bool:
    """Whether the one, a written number, is the other rounded."""
    return _rounds(exact, rounded, near=True)


def _same_shape(exact: Form, rounded: Form, *, near: bool) -> bool:
    """Whether values, or all items of a tuple, list or interval, are rounded. `near`: to within SLACK."""
    if isinstance(exact, Many) and isinstance(rounded, Many):
        pairs = zip(exact.items, rounded.items, strict=False)
        equal = exact.kind == rounded.kind and len(exact.items) == len(rounded.items)
        return equal and all(_same_shape(one, other, near=near) for one, other in pairs)
    if isinstance(exact, Span) and isinstance(rounded, Span):
        closed = (exact.low_closed, exact.high_closed) == (rounded.low_closed, rounded.high_closed)
        ends = ((exact.low, rounded.low), (exact.high, rounded.high))
        return closed and all(one == other or _rounds(one, other, near=near) for one, other in ends)
    return isinstance(exact, Value) and isinstance(rounded, Value) and _rounds(exact.text, rounded.text, near=near)


def _decimal(form: Form) -> bool:
    """Whether a value is written in digits, and no fraction."""
    if isinstance(form, Many):
        return all(map(_decimal, form.items))
    if isinstance(form, Span):
        return all(_decimal(Value(end)) for end in (form.low, form.high))
    bare = units.split(form.text, units.ALL_LETTERS)[0] if isinstance(form, Value) else ""
    return as_number(bare) is not None and DECIMAL.fullmatch(bare) is not None


def _rounds(exact: str, rounded: str, *, near: bool) -> bool:
    """Whether the one is the other rounded or cut off, to its last digit or, with zeros behind, to within SLACK; `near`: to within both.
    Units count where both are known: 1500 m are 1.5 km."""
    told, unit = units.split(rounded, units.ALL_LETTERS)
    value, beside = units.split(exact, units.ALL_LETTERS if unit else frozenset())
    number, whole = as_number(told), _value(value)
    if number is None or whole is None or DECIMAL.fullmatch(told) is None:
        return False
    if unit is not None and beside is not None:
        if None not in (unit.dimensions, beside.dimensions) and unit.dimensions != beside.dimensions:
            return False
        whole *= beside.size / unit.size if unit.dimensions is not None and beside.dimensions is not None else 1
    away, last = abs(whole - number), _last_digit(told)
    close = away <= SLACK * abs(whole)
    if near:
        return close and away < last
    return (away <= last / 2 * (1 + TIE) and (number != 0 or whole == 0)) or (close and (away < last or _round(told)))


def _round(text: str) -> bool:
    """Whether a whole number ends with zeros: about 2000 people."""
    found = DIGITS.search(text.replace(",", ""))
    return found is not None and found["behind"] is None and (found["whole"] or "").endswith("0")


def _last_digit(text: str) -> Fraction:
    """What one more in the last digit adds: a hundredth for 12.57, one for 4,200."""
    bare, _, power = text.replace(",", "").partition("10^")
    found = re.search(r"\d+(?:\.(?P<behind>\d*))?|\.(?P<bare>\d+)", bare)
    digits = len((found["behind"] or found["bare"] or "") if found else "")
    raised = re.search(r"-?\d{1,2}", power)
    return Fraction(10) ** ((int(raised[0]) if raised else 0) - digits) / (100 if "%" in text else 1)


def _value(text: str) -> Fraction | None:
    """The number that an expression without letters comes to; None for any other."""
    number = as_number(text)
    if number is not None:
        return number
    from rlzoo.verifiers import symbolic

    try:
        worked = float(symbolic.parse(text, True))
        return Fraction(worked)
    except (ValueError, TypeError, AttributeError, OverflowError):
        return None
