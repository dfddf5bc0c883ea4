r"""Expressions held against each other at points, where sympy's rules for rewriting do not reach: at whole numbers for floors,
factorials and binomials of letters, with `i` as the imaginary unit, and up to a constant for antiderivatives.
"""

import cmath
from collections.abc import Sequence
from itertools import islice, product
from typing import Any

import sympy
from sympy.functions.combinatorial.factorials import binomial, factorial

WHOLE = frozenset("nmkrstjpqNMK")
"""Letters that stand for whole numbers where a floor, factorial or binomial of them is asked for."""
COUNTS = (sympy.floor, sympy.ceiling, factorial, binomial)
LARGEST_COUNT = 13
MOST_POINTS = 60
CONSTANT_AT = tuple(sympy.Rational(*at) for at in ((3, 7), (11, 13), (17, 5), (29, 11), (-7, 9), (-31, 7)))
EXACT = 1e-25
"""Relative difference of values worked out to 40 digits."""
ROUNDED = 1e-6
"""The same, where a decimal was written down."""


def counts(one: Any, other: Any) -> bool:
    """Whether both are expressions, and one has floors, factorials or binomials of whole numbers' letters and no others."""
    if not (isinstance(one, sympy.Expr) and isinstance(other, sympy.Expr)):
        return False
    letters = one.free_symbols | other.free_symbols
    return (
        bool(letters)
        and len(letters) <= 3
        and all(letter.name in WHOLE for letter in letters)
        and (one.has(*COUNTS) or other.has(*COUNTS))
    )


def same_counts(one: Any, other: Any) -> bool:
    """Whether both have the same values at whole numbers, as far as both have values there; at least a dozen are needed."""
    letters = sorted(one.free_symbols | other.free_symbols, key=str)
    top = LARGEST_COUNT * 3 if len(letters) == 1 and not (one - other).has(factorial, binomial) else LARGEST_COUNT
    seen = 0
    for values in islice(product(range(1, top), repeat=len(letters)), MOST_POINTS * 4):
        at = dict(zip(letters, map(sympy.Integer, values), strict=True))
        try:
            left, right = one.subs(at).doit(), other.subs(at).doit()
            if not (left.is_finite and right.is_finite):
                continue
            if not (left - right).is_zero and abs(complex((left - right).evalf(20))) > EXACT * max(
                1.0, abs(complex(left.evalf(20)))
            ):
                return False
        except (TypeError, ValueError, ArithmeticError, AttributeError):
            continue
        seen += 1
        if seen >= MOST_POINTS:
            break
    return seen >= LARGEST_COUNT - 2


def imaginary(one: Any, other: Any) -> bool:
    """Whether two expressions have no letter but the imaginary unit, `i`."""
    if not (isinstance(one, sympy.Expr) and isinstance(other, sympy.Expr)):
        return False
    return {letter.name for letter in one.free_symbols | other.free_symbols} == {"i"}


def unfinished(tree: Any) -> bool:
    """Whether a complex number is still to be worked out: powers of it, products of two, a division by it."""
    for node in sympy.preorder_traversal(tree):
        if isinstance(node, sympy.Pow) and node.base.free_symbols and node.exp != 1:
            return True
        if (
            isinstance(node, sympy.Mul)
            and sum(bool(part.free_symbols) and not part.has(sympy.exp) for part in node.args) > 1
        ):
            return True
    return False


def same_complex(one: Any, other: Any) -> bool:
    """Whether two numbers are equal with `i` as the imaginary unit."""
    rounded = one.has(sympy.Float) or other.has(sympy.Float)
    try:
        left, right = (side.subs(dict.fromkeys(side.free_symbols, sympy.I)).evalf(40) for side in (one, other))
        apart, size = abs(complex((left - right).evalf(30))), max(abs(complex(left)), abs(complex(right)))
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        return False
    if not cmath.isfinite(apart) or not cmath.isfinite(size):
        return False
    return bool(apart <= (ROUNDED if rounded else EXACT) * max(size, 1e-12))


def constant_apart(one: Any, other: Any) -> bool:
    """Whether two expressions of one letter differ by the same number everywhere, as antiderivatives do."""
    letters = one.free_symbols | other.free_symbols
    if not (isinstance(one, sympy.Expr) and isinstance(other, sympy.Expr)) or len(letters) != 1:
        return False
    [letter] = letters
    if not letter.name.islower():  # A + C is a sum of two letters
        return False
    found: list[complex] = []
    for at in CONSTANT_AT:
        try:
            left, right = (complex(side.subs(letter, at).evalf(30)) for side in (one, other))
        except (TypeError, ValueError, ArithmeticError, AttributeError):
            continue
        if cmath.isfinite(left) and cmath.isfinite(right):
            found.append(left - right)
    return len(found) >= 4 and all(abs(value - found[0]) <= 1e-10 * max(1.0, abs(found[0])) for value in found)


def irrational(tree: Any) -> bool:
    """Whether an expression without letters is known to be no fraction, so that no digits write it exactly."""
    try:
        return isinstance(tree, sympy.Expr) and not tree.free_symbols and tree.doit().is_rational is False
    except (TypeError, ValueError, ArithmeticError, AttributeError, RecursionError):
        return False


def distinct_primes(numbers: Sequence[int]) -> bool:
    """Whether all are primes, and none stands twice."""
    return len(set(numbers)) == len(numbers) and all(map(sympy.isprime, numbers))
