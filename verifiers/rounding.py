r"""Approximations told beside an exact value, `5\\sqrt{2} \\approx 7.07`: whether they are of that value."""

import re
from fractions import Fraction

from rlzoo.verifiers import units
from rlzoo.verifiers.forms import About, Form, Named, Value, Worked
from rlzoo.verifiers.notation import as_number

SLACK = Fraction(1, 100)
"""Of the exact value: by how much one that is cut off instead of rounded may be away, within its last digit."""
DIGITS = re.compile(r"(?P<whole>\d+)(?:\.(?P<behind>\d*))?")


def agrees(about: About) -> bool:
    """Whether every approximation is the exact value rounded, or cut off; so are those that cannot be worked out."""
    exact: Form = about
    rounded: list[Form] = []
    while isinstance(exact, About):
        rounded.append(exact.rounded)
        exact = exact.exact
    while isinstance(exact, Named | Worked):
        exact = exact.value
    return not isinstance(exact, Value) or all(
        _rounds(exact.text, one.text) for one in rounded if isinstance(one, Value)
    )


def _rounds(exact: str, rounded: str) -> bool:
    """Whether the one is the other rounded. Units count where both are known: 1500 m are 1.5 km."""
    told, unit = units.split(rounded, units.ALL_LETTERS)
    value, beside = units.split(exact, units.ALL_LETTERS if unit else frozenset())
    number, whole = as_number(told), _value(value)
    if number is None or whole is None:
        return True
    scale = Fraction(1)
    if unit is not None and beside is not None and unit.dimensions == beside.dimensions is not None:
        scale = beside.size / unit.size
    away, last = abs(whole * scale - number), _last_digit(told)
    return away <= last / 2 * (1 + SLACK) or (away < last and away <= SLACK * abs(whole * scale))


def _last_digit(text: str) -> Fraction:
    """What one more in the last digit adds: a hundredth for 12.57, a hundred for 4,200."""
    found = DIGITS.search(text.replace(",", ""))
    assert found is not None
    hundredth = 100 if "%" in text else 1
    if found["behind"] is not None:
        return Fraction(1, 10 ** len(found["behind"]) * hundredth)
    zeros = len(found["whole"]) - len(found["whole"].rstrip("0"))
    return Fraction(10 ** min(zeros, len(found["whole"]) - 1), hundredth)


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
