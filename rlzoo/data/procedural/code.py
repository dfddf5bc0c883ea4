"""Programming by example: write the Python expression of x that gives these values."""

from random import Random

from rlzoo.data.procedural.base import Procedural, Task, Work

HIDDEN_POINTS = (-7, -2, 0, 1, 6, 11, 23)
"""Where a response is tested beside the examples of its prompt."""


def _polynomial(square: int, slope: int, shift: int) -> str:
    """As short as people write it: `2*x*x+x-3`."""
    parts = []
    for factor, power in ((square, "x*x"), (slope, "x"), (shift, "")):
        if factor == 0:
            continue
        size = str(abs(factor)) if not power else power if abs(factor) == 1 else f"{abs(factor)}*{power}"
        parts.append(("-" if factor < 0 else "+") + size)
    return "".join(parts).removeprefix("+") or "0"


def _task(points: list[int], square: int, slope: int, shift: int, family: str) -> Task:
    def f(x: int) -> int:
        return square * x * x + slope * x + shift

    examples = [(x, f(x)) for x in points]

    def solve(work: Work) -> str:
        (p, fp), (q, fq) = examples[:2]
        if family == "shift":
            found = work.calc(fp, "-", p)
            return _polynomial(0, 1, found)
        if family == "scale":
            found = work.calc(fp, "/", p)
            return _polynomial(0, found, 0)
        if family == "line":
            rise = work.calc(fq, "-", fp)
            found = rise if q - p == 1 else work.calc(rise, "/", q - p)
            return _polynomial(0, found, work.calc(fp, "-", work.calc(found, "*", p)))
        first, second = work.calc(fq, "-", fp), work.calc(examples[2][1], "-", fq)
        found = work.calc(work.calc(second, "-", first), "/", 2)
        return _polynomial(found, work.calc(first, "-", found), fp)

    return Task(
        ",".join(f"f({x})={y}" for x, y in examples),
        " ".join(f"{x}:{y}" for x, y in sorted(examples)),
        solve,
        {"tests": [[x, f(x)] for x in sorted({*points, *HIDDEN_POINTS})]},
        form=_polynomial(square, slope, shift),
    )


def one_number(rng: Random) -> Task:
    """`x+47` or `14*x`, from two points."""
    points = sorted(rng.sample(range(2, 12), 2))
    if rng.random() < 0.6:
        return _task(points, 0, 1, rng.randint(2, 150), "shift")
    return _task(points, 0, rng.randint(2, 20), 0, "scale")


def near_line(rng: Random) -> Task:
    """`3*x+42`, from neighbouring points."""
    p = rng.randint(1, 6)
    return _task([p, p + 1], 0, rng.randint(2, 9), rng.randint(1, 50), "line")


def far_line(rng: Random) -> Task:
    """`3*x+42`, from points two to four apart."""
    p = rng.randint(1, 5)
    return _task([p, p + rng.randint(2, 4)], 0, rng.randint(2, 9), rng.randint(1, 50), "line")


def parabola(rng: Random) -> Task:
    """`2*x*x+x+3`, from f(0), f(1) and f(2)."""
    return _task([0, 1, 2], rng.randint(1, 6), rng.randint(1, 9), rng.randint(2, 30), "square")


CODE = Procedural(name="code", levels={"1": one_number, "2": near_line, "3": far_line, "4": parabola})
