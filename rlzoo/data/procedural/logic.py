"""Orders from scattered comparisons, and truth tables."""

from collections.abc import Sequence
from itertools import pairwise, permutations
from random import Random
from typing import NamedTuple

from rlzoo.data.procedural.base import Procedural, Task, Work

ITEMS = "abcdefghijklmno"
VARIABLES = "pqrst"


def _order(rng: Random, count: int, further: Sequence[int]) -> Task:
    """A hidden order: every two neighbours, `a<b` or `b>a`, and as many further comparisons that hold as one of `further`."""
    items = rng.sample(ITEMS, count)
    pairs = [*pairwise(range(count))]
    said = [rng.choice(_wordings(low, high)) for low, high in pairs]
    others = [text for high in range(count) for low in range(high) for text in _wordings(low, high) if text not in said]
    said += rng.sample(others, rng.choice(further))
    rng.shuffle(said)

    def solve(work: Work) -> str:
        order = list(items)
        for at in range(count - 1):
            if slip := work.slips():
                other = slip.randrange(at + 1, count)
                order[at], order[other] = order[other], order[at]
        return "".join(order)

    return Task(
        question=(question := ",".join(said).format(*items)),
        key=question,
        form=",".join(said),
        solve=solve,
        metadata={"kind": "order", "below": [[items[low], items[high]] for low, high in pairs]},
    )


def _wordings(low: int, high: int) -> tuple[str, str]:
    """With the number of an item's place in braces where its letter belongs."""
    return f"{{{low}}}<{{{high}}}", f"{{{high}}}>{{{low}}}"


TABLE = {"&": lambda a, b: a and b, "|": lambda a, b: a or b, "^": lambda a, b: a != b}
"""Operators of the truth tables; `!` negates a letter."""


class Operand(NamedTuple):
    """Part of an expression."""

    text: str
    column: list[bool]
    """What it is for each assignment."""
    key: str
    """The same whichever side of a commuting operator was written first."""


def _truth(rng: Random, leaves: Sequence[int]) -> Task:
    """`((a&!b)|a)^b` or `(a&!b)|(b^a)`: what it is for each assignment of two letters, all true first, the last changing fastest."""
    names = sorted(rng.sample(VARIABLES, 2))
    count = rng.choice(leaves)
    balanced = count == 4 and rng.random() < 0.5
    used = [*rng.sample(names, 2), *(rng.sample(names, 2) if balanced else rng.choices(names, k=count - 2))]
    negated = [rng.random() < 0.35 for _ in used]
    ops = rng.choices("&|^", k=count - 1)

    def leaf(at: int, called: dict[str, str]) -> Operand:
        column = [((row >> (1 - names.index(used[at]))) & 1 == 0) != negated[at] for row in range(4)]
        text = ("!" if negated[at] else "") + called[used[at]]
        return Operand(text, column, text)

    def build(work: Work, called: dict[str, str]) -> Operand:
        def join(op: str, left: Operand, right: Operand) -> Operand:
            column = [TABLE[op](a, b) for a, b in zip(left.column, right.column, strict=True)]
            if slip := work.slips():
                row = slip.randrange(4)
                column[row] = not column[row]
            work.write(_written(column))
            return Operand(
                _bracket(left.text) + op + _bracket(right.text), column, f"({op.join(sorted((left.key, right.key)))})"
            )

        sides = [leaf(at, called) for at in range(count)]
        first = join(ops[0], sides[0], sides[1])
        if balanced:
            return join(ops[2], first, join(ops[1], sides[2], sides[3]))
        for op, side in zip(ops[1:], sides[2:], strict=True):
            first = join(op, first, side)
        return first

    own = {name: name for name in names}
    whole = build(Work(), own)
    renamed = [dict(zip(names, letters, strict=True)) for letters in permutations("ab")]
    return Task(
        question=whole.text,
        key=whole.key,
        form=min(build(Work(), called).key for called in renamed),
        solve=lambda work: _written(build(work, own).column),
        metadata={"kind": "truth", "expression": whole.text, "letters": names},
    )


def _bracket(text: str) -> str:
    return text if len(text) <= 2 else f"({text})"


def _written(column: Sequence[bool]) -> str:
    return "".join("T" if value else "F" for value in column)


def order_of_three(rng: Random) -> Task:
    """`c<a,b>c,b<a`"""
    return _order(rng, 3, (1, 2))


def truth_of_two(rng: Random) -> Task:
    """`(p&!q)|p`, `(p&!q)|(q^p)`"""
    return _truth(rng, (3, 4))


def order_of_four(rng: Random) -> Task:
    """`c<a,d>b,c>b,d>a`"""
    return _order(rng, 4, (1, 2))


def order_of_five(rng: Random) -> Task:
    """`c<a,d>b,c>b,d<e,e>a`"""
    return _order(rng, 5, (0, 1))


LOGIC = Procedural(
    name="logic",
    levels={"1": order_of_three, "2": truth_of_two, "3": order_of_four, "4": order_of_five},
    held_out_per_level=120,  # answers vary more between these problems, so it takes more of them for the same error
)
