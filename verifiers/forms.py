r"""What kinds of thing an answer may be: a value, words, a list, a set, a tuple, an interval, a region of a line, a matrix, a named value."""

import re
from dataclasses import dataclass
from typing import Literal

from rlzoo.verifiers.patterns import VARIABLE


@dataclass(frozen=True, slots=True)
class Value:
    """A number or an expression, perhaps with a unit."""

    text: str


@dataclass(frozen=True, slots=True)
class Words:
    text: str
    """Folded: case, articles and punctuation do not count."""
    parts: tuple[str, ...] = ()
    """What `and` joins, in no order."""


@dataclass(frozen=True, slots=True)
class Named:
    """`x = 5`."""

    name: str
    value: "Form"


@dataclass(frozen=True, slots=True)
class Worked:
    """`2 + 3 = 5`, a calculation without variables and its result."""

    steps: tuple[str, ...]
    value: "Form"


@dataclass(frozen=True, slots=True)
class About:
    """`5\\sqrt{2} \\approx 7.07`."""

    exact: "Form"
    rounded: "Form"


@dataclass(frozen=True, slots=True)
class Many:
    kind: Literal["list", "set", "tuple", "bracket"]
    """`1, 2`; `{1, 2}`; `(1, 2)`; `[1, 2, 3]`."""
    items: tuple["Form", ...]
    either: bool = False
    """Of a list: `or` or `and` stands in it, not only commas."""


@dataclass(frozen=True, slots=True)
class Span:
    low: str
    high: str
    low_closed: bool
    high_closed: bool


@dataclass(frozen=True, slots=True)
class Region:
    """Parts of a line, in any order; as inequalities of a letter or without one."""

    parts: tuple["Span | Many", ...]
    letter: str | None = None
    holes: bool = False
    """`parts` holds what is left out."""


@dataclass(frozen=True, slots=True)
class Matrix:
    rows: tuple[tuple["Form", ...], ...]


@dataclass(frozen=True, slots=True)
class Pieces:
    """A function in pieces: values, each with where it holds; `Value("")` for everywhere else."""

    rows: tuple[tuple["Form", "Form"], ...]


Form = Value | Words | Named | Worked | About | Many | Span | Region | Matrix | Pieces
EVERYWHERE = Span("-\\infty", "\\infty", False, False)


def by_name(items: tuple[Form, ...]) -> tuple[Form, ...]:
    """Named values in the order of their letters, where all have one of their own; the name once, `x = 2, 3`, is that of all."""
    names = [item.name for item in items if isinstance(item, Named)]
    if len(names) == len(items) == len(set(names)) and all(map(VARIABLE.fullmatch, names)):
        if all(re.fullmatch("[a-zA-Z]", name) for name in names):
            return tuple(sorted(items, key=lambda item: item.name if isinstance(item, Named) else ""))
        if len({name.partition("_")[0] for name in names}) == 1:  # x_1 = 2, x_2 = 3
            return tuple(item.value if isinstance(item, Named) else item for item in items)
        return items
    if names and len(set(names)) == 1:
        return tuple(item.value if isinstance(item, Named) else item for item in items)
    return items


def named_once(many: Many) -> bool:
    """Whether each value has a name of its own, as in `a = 1, b = 2`."""
    names = [item.name for item in many.items if isinstance(item, Named) and re.fullmatch("[a-zA-Z]", item.name)]
    return len(names) == len(many.items) == len(set(names))
