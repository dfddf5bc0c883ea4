"""Orders from scattered statements, and truth tables."""

from collections.abc import Sequence
from functools import cache, reduce
from itertools import pairwise, permutations
from operator import and_
from random import Random
from typing import NamedTuple

from rlzoo.data.procedural.base import Procedural, Task, Work

ITEMS = "abcdefghijklmno"
VARIABLES = "pqrst"


class Statement(NamedTuple):
    """Something that is true of items in their order: one before another, one at a place, one not there."""

    text: str
    """`{0}<{1}`, `{0}=2` or `{0}!2`, with the number of an item's place in braces where its letter belongs."""
    orders: int
    """Bit set of the permutations of which it is true; the first is the order itself."""


@cache
def _statements(count: int) -> tuple[Statement, ...]:
    """All that can be said truly about `count` items, each numbered by its place from 0."""
    orders = list(permutations(range(count)))

    items = range(count)
    found = [
        *((f"{{{a}}}<{{{b}}}", [at[a] < at[b] for at in orders]) for b in items for a in range(b)),
        *((f"{{{a}}}={a + 1}", [at[a] == a for at in orders]) for a in items),
        *((f"{{{a}}}!{place + 1}", [at[a] != place for at in orders]) for place in items for a in items if a != place),
    ]
    return tuple(Statement(text, sum(holds << n for n, holds in enumerate(column))) for text, column in found)


def _order(rng: Random, count: int, said: Sequence[int]) -> Task:
    """A hidden order of `count` items, and as many statements as one of `said`, which only that order keeps."""
    size = rng.choice(said)
    known = _statements(count)
    while True:
        chosen = rng.sample(known, size)
        if reduce(and_, (statement.orders for statement in chosen)) == 1:
            break
    items = rng.sample(ITEMS, count)
    texts = [statement.text for statement in chosen]
    turned = [_turned(text) if "<" in text and rng.random() < 0.5 else text for text in texts]

    def solve(work: Work) -> str:
        order = list(items)
        for at in range(count - 1):
            if slip := work.slips():
                other = slip.randrange(at + 1, count)
                order[at], order[other] = order[other], order[at]
        return "".join(order)

    return Task(
        question=",".join(turned).format(*items),
        key=",".join(sorted(text.format(*items) for text in texts)),
        form=",".join(sorted(texts)),
        solve=solve,
        metadata={"kind": "order", "below": [list(pair) for pair in pairwise(items)]},
    )


def _turned(text: str) -> str:
    """`{1}>{0}` for `{0}<{1}`."""
    return ">".join(reversed(text.split("<")))


TABLE = {"&": lambda a, b: a and b, "|": lambda a, b: a or b, "^": lambda a, b: a != b}
"""Operators of the truth tables; `!` negates a letter."""


class Side(NamedTuple):
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

    def leaf(at: int, called: dict[str, str]) -> Side:
        column = [((row >> (1 - names.index(used[at]))) & 1 == 0) != negated[at] for row in range(4)]
        text = ("!" if negated[at] else "") + called[used[at]]
        return Side(text, column, text)

    def build(work: Work, called: dict[str, str]) -> Side:
        def join(op: str, left: Side, right: Side) -> Side:
            column = [TABLE[op](a, b) for a, b in zip(left.column, right.column, strict=True)]
            if slip := work.slips():
                row = slip.randrange(4)
                column[row] = not column[row]
            work.write(_written(column))
            return Side(
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
    """`c<a,b!1,c<b,b>a`"""
    return _order(rng, 3, (3, 4))


def truth_of_two(rng: Random) -> Task:
    """`(p&!q)|p`, `(p&!q)|(q^p)`"""
    return _truth(rng, (3, 4))


def order_of_four(rng: Random) -> Task:
    """`c<a,d=4,b>c,a!2`"""
    return _order(rng, 4, (4, 5))


def order_of_five(rng: Random) -> Task:
    """`c<a,d=4,b>c,e!5,a>d,b<e`"""
    return _order(rng, 5, (6,))


LOGIC = Procedural(
    name="logic",
    levels={"1": order_of_three, "2": truth_of_two, "3": order_of_four, "4": order_of_five},
    held_out_per_level=120,  # answers vary more between these problems, so it takes more of them for the same error
)
