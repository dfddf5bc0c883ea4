"""Orders from scattered comparisons, and truth tables."""

from itertools import pairwise
from random import Random

from rlzoo.data.procedural.base import Procedural, Task, Work

ITEMS = "abcdefghijklmno"
VARIABLES = "pqrst"


def _order(rng: Random, count: int, flipped: float) -> Task:
    """All neighbours of a hidden order, shuffled, `a<b` or the other way round."""
    items = rng.sample(ITEMS, count)
    pairs = [[low, high] for low, high in pairwise(items)]
    written = [f"{high}>{low}" if rng.random() < flipped else f"{low}<{high}" for low, high in pairs]
    rng.shuffle(written)

    def solve(work: Work) -> str:
        order = list(items)
        for at in range(count - 1):
            if slip := work.slips():
                other = slip.randrange(at + 1, count)
                order[at], order[other] = order[other], order[at]
        return "".join(order)

    return Task(",".join(written), " ".join(sorted(map("<".join, pairs))), solve, {"kind": "order", "below": pairs})


TABLE = {"&": lambda a, b: a and b, "|": lambda a, b: a or b, "^": lambda a, b: a != b}
"""Operators of the truth tables; `!` negates a letter."""


def _truth(rng: Random, letters: int) -> Task:
    """`(a&!b)|c`: what it is for each assignment, all true first, the last letter changing fastest."""
    names = sorted(rng.sample(VARIABLES, letters))
    used = [*rng.sample(names, letters), *rng.choices(names, k=3 - letters)]
    leaves = [("!" if rng.random() < 0.35 else "") + name for name in used]
    if leaves[0].strip("!") == leaves[1].strip("!"):
        leaves[1], leaves[2] = leaves[2], leaves[1]
    inner, outer = rng.choice("&|^"), rng.choice("&|^")
    rows = 2**letters

    def column(leaf: str) -> list[bool]:
        place = letters - 1 - names.index(leaf.strip("!"))
        return [((row >> place) & 1 == 0) != leaf.startswith("!") for row in range(rows)]

    def written(values: list[bool]) -> str:
        return "".join("T" if value else "F" for value in values)

    def apply(work: Work, op: str, left: list[bool], right: list[bool]) -> list[bool]:
        values = [TABLE[op](a, b) for a, b in zip(left, right, strict=True)]
        if slip := work.slips():
            row = slip.randrange(rows)
            values[row] = not values[row]
        return values

    def solve(work: Work) -> str:
        first, second = apply(work, inner, column(leaves[0]), column(leaves[1])), column(leaves[2])
        values = written(apply(work, outer, first, second))
        work.write(written(first))
        work.write(values)
        return values

    key = outer.join(sorted([f"({inner.join(sorted(leaves[:2]))})", leaves[2]]))
    expression = f"({leaves[0]}{inner}{leaves[1]}){outer}{leaves[2]}"
    return Task(expression, key, solve, {"kind": "truth", "expression": expression, "letters": names})


def order_of_three(rng: Random) -> Task:
    """`c<a,b<c`"""
    return _order(rng, 3, 0.0)


def truth_of_two(rng: Random) -> Task:
    """`(p&!q)|p`"""
    return _truth(rng, 2)


def order_of_three_turned(rng: Random) -> Task:
    """`a>c,b<c`"""
    return _order(rng, 3, 0.5)


def order_of_four(rng: Random) -> Task:
    """`c<a,d<b,b<c`"""
    return _order(rng, 4, 0.0)


LOGIC = Procedural(
    name="logic",
    levels={"1": order_of_three, "2": truth_of_two, "3": order_of_three_turned, "4": order_of_four},
    held_out_per_level=120,  # answers vary more between these problems, so it takes more of them for the same error
)
