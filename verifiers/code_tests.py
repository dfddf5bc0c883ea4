"""What a program is held against, out of the one form of tests (`rlzoo/data/tests_form.py`), and when two results are equal."""

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from math import isfinite
from numbers import Number
from typing import Any, Literal, NamedTuple

from rlzoo.data.rowfaults import RowFault, short
from rlzoo.data.tests_form import CallTests, Equality, Prelude, code_tests, is_form
from rlzoo.verifiers.sandbox import values
from rlzoo.verifiers.sandbox.seccomp import GRANTED

STARVED = 0.5
"""Share of its wall limit below which a program had so little of a processor that the machine may be why it took so long."""
TOLERANCE = 1e-6
"""Of guru's grader of programs (absolute), and within that of PrimeIntellect's in verl (relative, 1e-5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tests:
    """What a program is held against. Inputs may reach the program's process; expected values never do."""

    kind: Literal["expression", "calls", "script", "pytest", "check"]
    inputs: Sequence[Any] = ()
    """Arguments of each call, or standard input of each run."""
    expected: Sequence[Any] = ()
    wrapped: bool = False
    """A result may also stand in a list of one."""
    entry: str = "f"
    equality: Equality = "list"
    prelude: Prelude = "none"
    """What a program finds that it did not import."""
    tolerance: float = 0.0
    """Numbers that are written with a point or an exponent may be off by this, relative to 1 or to themselves if that is more."""
    source: str = ""
    """Of a pytest-style suite."""
    grants: tuple[str, ...] = field(default=())
    """What programs may do beyond the core, where a suite asks: names of `seccomp.GRANTED`."""

    def __post_init__(self) -> None:
        """Tests that silence passes are none: RowFault."""
        if not (self.source or self.inputs):
            raise RowFault("no tests")
        if self.kind == "script" and not any(text.strip() for text in self.expected):
            raise RowFault("tests that expect no output, so that a program that does nothing would pass them")
        if self.kind == "calls" and all(result is None for result in self.expected):
            raise RowFault("tests whose every result is null, so that a function that does nothing would pass them")


class Fault(NamedTuple):
    """Why a program fails, in a line."""

    status: Literal["wrong", "timeout"]
    reason: str
    starved: bool = False
    """Of a timeout, as `Verdict` has it."""


def over(limit_s: float, processor_s: float, where: str = "") -> Fault:
    """The wall limit was reached; without much of a processor the machine may be why."""
    return Fault("timeout", f"over the limit of {limit_s:g} s{where}", processor_s < STARVED * limit_s)


def read_tests(metadata: Mapping[str, Any]) -> Tests:
    """`metadata["tests"]`, with `entry` and `grants` beside it.

    The loader's form, or whatever `code_tests` makes into it; or pairs of an argument and a value, as the embedded domain has
    them: an expression of x, or `f`. RowFault for what cannot be used.
    """
    raw = metadata.get("tests")
    grants = _grants(metadata.get("grants") or ())
    if raw is None:
        raise RowFault("no tests", "metadata has no 'tests'")
    if _pairs(raw):
        inputs = [values.pack([argument]) for argument, _ in raw]
        return Tests(kind="expression", inputs=inputs, expected=[value for _, value in raw], grants=grants)
    entry = metadata.get("entry") or metadata.get("fn_name") or metadata.get("func_name")
    tests = raw if is_form(raw) else code_tests(raw, entry)
    if tests["kind"] == "stdio":
        tolerance = TOLERANCE if tests.get("near") else 0.0
        return Tests(
            kind="script", inputs=tests["inputs"], expected=tests["outputs"], tolerance=tolerance, grants=grants
        )
    if tests["kind"] == "call":
        return _calls(tests, grants)
    if tests["kind"] == "pytest":
        return Tests(kind="pytest", source=tests["pytest"], grants=grants)
    return Tests(kind="check", source=tests["functional"], prelude=tests.get("prelude", "all"), grants=grants)


def _grants(value: object) -> tuple[str, ...]:
    names = {str(name) for name in value} if isinstance(value, list | tuple) else {"no list"}
    if not names.issubset(GRANTED):
        raise RowFault("metadata.grants is no list of known names", f"{short(value)}; known: {', '.join(GRANTED)}")
    return tuple(sorted(names))


def _calls(tests: CallTests, grants: tuple[str, ...]) -> Tests:
    read, form = (ast.literal_eval, "Python literal") if tests.get("literals") else (json.loads, "JSON")
    try:
        arguments = [[read(line) for line in text.split("\n") if line] for text in tests["inputs"]]
        expected = [_result(text) for text in tests["outputs"]]
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as fault:  # a form that was made by hand
        raise RowFault(f"a test's argument or result is no {form}", str(fault)) from fault
    return Tests(
        kind="calls",
        inputs=[values.pack(each) for each in arguments],
        expected=expected,
        wrapped=bool(tests.get("wrapped")),
        entry=tests["fn_name"],
        equality=tests.get("equality", "list"),
        prelude=tests.get("prelude", "all"),
        grants=grants,
    )


def _result(text: str) -> Any:
    """JSON; Python where a tuple is expected."""
    try:
        return json.loads(text)
    except ValueError:
        return ast.literal_eval(text)


def _pairs(raw: object) -> bool:
    if not isinstance(raw, Sequence) or isinstance(raw, str | bytes) or not raw:
        return False
    return all(isinstance(case, Sequence) and not isinstance(case, str | bytes) and len(case) == 2 for case in raw)


# ---------------------------------------------------------------------------------------------------------
# Comparing


def same_output(found: str, expected: str, tolerance: float = 0.0) -> bool:
    """Equal line by line without trailing space; else token by token, numbers as numbers: 1.0 is 1.00.

    `tolerance`: of numbers that are expected with a point or an exponent.
    """
    if _lines(found) == _lines(expected):
        return True
    left, right = found.split(), expected.split()
    return len(left) == len(right) and all(_same_token(*pair, tolerance) for pair in zip(left, right, strict=True))


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]


def _same_token(one: str, expected: str, tolerance: float) -> bool:
    if one == expected:
        return True
    if len(one) > 60 or len(expected) > 60 or not ({*one} & {*"0123456789"} and {*expected} & {*"0123456789"}):
        return False
    if not one.isascii() or "_" in one:  # which Decimal and float would read as digits
        return False
    try:
        if Decimal(one) == Decimal(expected):
            return True
        if not tolerance or not {*expected} & {*".eE"}:
            return False
        number = float(expected)
        return isfinite(number) and abs(float(one) - number) <= tolerance * max(1.0, abs(number))
    except (InvalidOperation, ValueError):
        return False


def same_result(value: object, expected: object, equality: Equality = "list") -> bool:
    """Equal as Python's `==` has it, but for keys, which JSON writes as text.

    `list`: a tuple is the list that is expected, as LiveCodeBench's and PrimeIntellect's graders have it; not within.
    `is`: nor is True 1, or a tuple a list.
    """
    if equality == "list" and isinstance(value, tuple):
        value = list(value)
    return _equal(value, expected, equality == "is")


def _equal(value: object, expected: object, strict: bool) -> bool:
    if isinstance(value, list | tuple) and isinstance(expected, list | tuple):
        alike = isinstance(value, list) is isinstance(expected, list) and len(value) == len(expected)
        return alike and all(_equal(*pair, strict) for pair in zip(value, expected, strict=True))
    if isinstance(value, Mapping) and isinstance(expected, Mapping):
        left = {str(key): item for key, item in value.items()}
        right = {str(key): item for key, item in expected.items()}
        return left.keys() == right.keys() and all(_equal(left[key], right[key], strict) for key in right)
    if isinstance(value, Number) and isinstance(expected, Number):
        return value == expected and not (strict and isinstance(value, bool) is not isinstance(expected, bool))
    return type(value) is type(expected) and value == expected
