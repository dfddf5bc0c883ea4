"""What a suite's process asks beside what the suite does, since an object says of itself what it likes: the opposite of an answer, and
the same of an object that must answer otherwise.

Standard library only.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

OPPOSITES = {"eq": "ne", "ne": "eq", "lt": "gt", "gt": "lt", "le": "gt", "ge": "lt"}
"""What does not hold of two objects of which the first holds."""
NEAR = 1e-6
LEAF = 3
"""How much more each further number of another object's differs, so that not all differ alike."""


class MadeBy(NamedTuple):
    """What the suite has made an object by."""

    name: str
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]

    def other(self) -> "MadeBy | None":
        """Of an object that is another by all that it is made of; None where that is nothing."""
        counted = [0]
        changed = [_other(value, counted) for value in self.arguments]
        named = {name: _other(value, counted) for name, value in self.keywords.items()}
        return MadeBy(self.name, tuple(changed), named) if counted[0] else None


class Answering(Protocol):
    """What is asked."""

    calls: int
    rests: int
    broken: str
    recipes: dict[int, MadeBy]

    def asked(self, op: str, *arguments: Any) -> dict[str, Any]: ...

    def made(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any: ...


def says(program: Answering, op: str, *operands: Any) -> Any:
    """What the program answers, a number or truth; None where it raises or answers otherwise. No test rests on it."""
    rests = program.rests
    try:
        found = program.asked(op, *operands).get("value")
    except Exception:
        if program.broken:
            raise
        found = None
    program.rests = rests
    return found if isinstance(found, bool | int | float) else None


def contradicts(program: Answering, op: str, left: Any, right: Any, found: bool) -> bool:
    """Whether the opposite of an answer is answered alike. Of an order only that both hold is one."""
    if op in {"eq", "ne"}:
        return bool(says(program, OPPOSITES[op], left, right) is found)
    return found and bool(says(program, OPPOSITES[op], left, right))


def vain(program: Answering, left: Any, right: Any, alike: bool) -> bool:
    """Whether two handles that are not alike in what they hold, or were made by, equal a third that must differ, too."""
    numbers = [one._rlzoo.number for one in (left, right)]
    own, others = (program.recipes.get(number) for number in numbers)
    differ = not alike or (own is not None and others is not None and own != others)
    if numbers[0] == numbers[1] or not differ:
        return False
    known = others or own or next(reversed(program.recipes.values()), None)
    recipe = known.other() if known is not None else None
    rests, calls = program.rests, program.calls
    try:
        third = program.made(recipe.name, recipe.arguments, dict(recipe.keywords)) if recipe is not None else None
    except Exception:
        if program.broken:
            raise
        third = None
    program.rests, program.calls = rests, calls
    link = getattr(third, "_rlzoo", None)
    if link is None or link.number in numbers:
        return False
    return says(program, "eq", right if others is None and own is not None else left, third) is True


def echoes(program: Answering, op: str, operands: Sequence[Any], found: Any) -> bool:
    """Whether a difference from a number or a sum with it hardly depends on that number."""
    at = next((n for n, one in enumerate(operands) if isinstance(one, int | float | Decimal | Fraction)), None)
    if op not in {"add", "sub"} or at is None or isinstance(found, bool) or not isinstance(found, int | float):
        return False
    step: Any = 1 if isinstance(operands[at], int) else type(operands[at])("0.75")
    again = says(program, op, *(one + step if n == at else one for n, one in enumerate(operands)))
    if again is None:
        return False
    if isinstance(step, int):
        return bool(again == found)
    moved = -float(step) if op == "sub" and at == 1 else float(step)
    return bool(abs(again - found - moved) > NEAR * max(1.0, abs(found)))


def _other(value: Any, counted: list[int]) -> Any:
    """Another value of the same type; the same where there is none to be had."""
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(_other(item, counted) for item in value)
    if type(value) is dict:
        return {key: _other(item, counted) for key, item in value.items()}
    if type(value) not in (int, float, str, Decimal, Fraction):
        return value
    counted[0] += 1
    return f"{value}{'x' * counted[0]}" if type(value) is str else value + LEAF * counted[0] - LEAF + 1
