"""Puzzles judged by their constraints, where they say them, else by comparing with their one solution.

`metadata["kind"]` says which:

    order        `below`: pairs [low, high]; the answer lists the items, one character each, from lowest to highest
    truth        `expression`, `letters`; the answer is the truth table's last column
    assignment   `variables`: {name: its possible values}, `constraints`, and optionally `different`: groups of names whose values
                 differ; the answer is `a=1, b=red`, or a JSON object
    grid         `grid`: rows with null (or 0) in empty cells, and optionally `boxes`: [rows, columns] of a box; the answer is
                 the filled grid as JSON, or a row a line
    value        the default: the answer is the problem's own, as JSON data, or word by word without regard to case; it stands in
                 <answer></answer>, or where those of the other kinds stand
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

from rlzoo.types import Problem, Verdict
from rlzoo.verifier import Verifier, VerifierConfig
from rlzoo.verifiers.answers import final_answer, tagged_answer
from rlzoo.verifiers.code_tests import same_result

EXPRESSION = re.compile(r"[a-z()&|^!]+")
PAIR = re.compile(r"\s*([^\s=:,;{}]+)\s*[=:]\s*([^=:,;{}]+?)\s*(?:[,;\n]|$)")
VALUE = "value"
LONGEST = 10_000
"""Characters of an answer; longer ones are wrong unread."""


class Logic(Verifier[VerifierConfig]):
    """Correct if the final answer keeps every constraint of the problem's metadata."""

    name = "logic"
    version = 4

    def judge(self, problem: Problem, response: str) -> Verdict:
        kind = _kind(problem)
        if kind != VALUE and (not isinstance(kind, str) or kind not in KINDS):
            known = ", ".join((*KINDS, VALUE))
            raise ValueError(f"problem {problem.id!r} has metadata.kind {kind!r}; this verifier knows {known}")
        if kind == VALUE and problem.answer is None:
            raise ValueError(f"problem {problem.id!r} has neither metadata.kind nor an answer to compare with")
        found = self.extract(problem, response)
        if found is None:
            return Verdict(status="unparsed", reason="no final answer after '#' or in \\boxed{}")
        if len(found) > LONGEST:
            fault: str | None = f"an answer of {len(found)} characters"
        else:
            fault = (
                value_fault(found, problem.answer or "") if kind == VALUE else _constraint_fault(problem, kind, found)
            )
        if fault is None:
            reason = "the answer" if kind == VALUE else "every constraint holds"
            return Verdict(status="correct", reward=1.0, reason=reason, extracted=found)
        return Verdict(status="wrong", reason=fault, extracted=found[:LONGEST])

    def extract(self, problem: Problem, response: str) -> str | None:
        return tagged_answer(response) if _kind(problem) == VALUE else final_answer(response)

    def gold_fault(self, problem: Problem) -> str | None:
        """Also which constraint the problem's own answer breaks."""
        tagged = _kind(problem) == VALUE
        answer = "0" if problem.answer is None else problem.answer
        try:
            verdict = self.judge(problem, f"<answer>{answer}</answer>" if tagged else f"\\boxed{{{answer}}}")
        except ValueError as fault:
            return str(fault)
        if problem.answer is None or verdict.correct:
            return None
        return f"its own answer {problem.answer!r} is wrong: {verdict.reason}"


def _constraint_fault(problem: Problem, kind: str, found: str) -> str | None:
    """Which constraint is broken. ValueError where metadata cannot be read, which is never the response's fault."""
    try:
        return KINDS[kind](found, problem.metadata)
    except (ValueError, MemoryError):
        raise
    except Exception as fault:
        told = f"{type(fault).__name__}: {fault}"
        raise ValueError(
            f"problem {problem.id!r}: metadata of kind {kind!r} are incomplete or no such data: {told}"
        ) from fault


def _kind(problem: Problem) -> Any:
    """`metadata["kind"]`; also null, as columns hold where other rows have one, is the default."""
    kind = problem.metadata.get("kind")
    return VALUE if kind is None else kind


def value_fault(found: str, expected: str) -> str | None:
    """Why `found` is not what is expected; None if it is."""
    one, other = _json(found), _json(expected)
    equal = (
        same_result(one, other, "is") if one is not None and other is not None else _words(found) == _words(expected)
    )
    return None if equal else f"expected {expected[:80]}"


def _words(text: str) -> str:
    return " ".join(text.casefold().split()).strip("'\"")


def order_fault(found: str, below: Sequence[Sequence[str]]) -> str | None:
    """Why `found`, items one character each from lowest to highest, is no order of these pairs; None if it is one."""
    items = {item for pair in below for item in pair}
    if sorted(found) != sorted(items):
        return f"not an order of {''.join(sorted(items))}"
    for low, high in below:
        if found.index(low) > found.index(high):
            return f"{low}<{high} does not hold"
    return None


def truth_fault(found: str, expression: str, letters: Sequence[str]) -> str | None:
    """Why `found`, a T or F a row, is not the expression's truth table; None if it is. Rows run from all true to all
    false, the last letter changing fastest."""
    if not EXPRESSION.fullmatch(expression):
        raise ValueError(f"{expression!r} is no expression of letters and ( ) & | ^ !")
    rows = list(product((1, 0), repeat=len(letters)))
    if len(found) != len(rows) or set(found) - {"T", "F"}:
        return f"not {len(rows)} letters T or F"
    program = compile(re.sub(r"!([a-z])", r"(1^\1)", expression), "expression", "eval")
    for row, claimed in zip(rows, found, strict=True):
        truth = "T" if eval(program, {"__builtins__": {}}, dict(zip(letters, row, strict=True))) else "F"
        if truth != claimed:
            assignment = " ".join(f"{letter}={'FT'[value]}" for letter, value in zip(letters, row, strict=True))
            return f"is {truth} at {assignment}"
    return None


RELATIONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: _number(left) < _number(right),
    "<=": lambda left, right: _number(left) <= _number(right),
    "next-to": lambda left, right: abs(_number(left) - _number(right)) == 1,
}
"""Of a constraint [name, relation, name or value]."""


def assignment_fault(found: str, metadata: Mapping[str, Any]) -> str | None:
    """Why `found` gives the variables no values that keep all constraints; None if it does."""
    variables: Mapping[str, Sequence[Any]] = metadata["variables"]
    given = _pairs(found)
    if given is None or given.keys() != variables.keys():
        return f"not one value for each of {', '.join(variables)}"
    for name, value in given.items():
        if value not in map(str, variables[name]):
            return f"{name} cannot be {value[:40]}"
    for group in metadata.get("different") or ():
        values = [given[name] for name in group]
        if len(set(values)) < len(values):
            return f"two of {', '.join(group)} are equal"
    for left, relation, right in metadata.get("constraints") or ():
        if relation not in RELATIONS:
            raise ValueError(f"constraint {relation!r} is unknown; known: {', '.join(RELATIONS)}")
        if not RELATIONS[relation](given[left], given.get(str(right), str(right))):
            return f"{left} {relation} {right} does not hold"
    return None


def grid_fault(found: str, metadata: Mapping[str, Any]) -> str | None:
    """Why `found` is no filled grid: givens kept, and 1 to n once in every row, column and box; None if it is."""
    given: Sequence[Sequence[Any]] = metadata["grid"]
    size = len(given)
    grid = _grid(found)
    if grid is None or len(grid) != size or any(len(row) != size for row in grid):
        return f"not {size} rows of {size} numbers"
    whole = set(range(1, size + 1))
    for r, c in product(range(size), repeat=2):
        if given[r][c] and grid[r][c] != int(given[r][c]):
            return f"row {r + 1}, column {c + 1} was given as {given[r][c]}"
    for at in range(size):
        if set(grid[at]) != whole:
            return f"row {at + 1} does not hold 1 to {size} once each"
        if {row[at] for row in grid} != whole:
            return f"column {at + 1} does not hold 1 to {size} once each"
    high, wide = metadata.get("boxes") or (1, size)
    for top, left in product(range(0, size, high), range(0, size, wide)):
        if {grid[r][c] for r in range(top, top + high) for c in range(left, left + wide)} != whole:
            return f"the box at row {top + 1}, column {left + 1} does not hold 1 to {size} once each"
    return None


KINDS: Mapping[str, Callable[[str, Mapping[str, Any]], str | None]] = {
    "order": lambda found, metadata: order_fault(found, metadata["below"]),
    "truth": lambda found, metadata: truth_fault(found, metadata["expression"], metadata["letters"]),
    "assignment": assignment_fault,
    "grid": grid_fault,
}


def _pairs(found: str) -> dict[str, str] | None:
    """Names and values, as text; None for what is no list of them or names one twice."""
    data = _json(found)
    if isinstance(data, dict):
        return {str(name): str(value) for name, value in data.items()}
    pairs = PAIR.findall(found)
    names = {name: value for name, value in pairs}
    rest = PAIR.sub("", found).strip()
    return None if rest or len(names) < len(pairs) else names


def _grid(found: str) -> list[list[int]] | None:
    data = _json(found)
    if data is None:
        lines = [line.strip() for line in found.splitlines() if line.strip()]
        packed = all(line.isascii() and line.isdigit() for line in lines)  # `1234`, a row without spaces
        data = [[int(cell) for cell in (line if packed else re.findall(r"[0-9]{1,3}", line))] for line in lines]
    whole = isinstance(data, list) and all(
        isinstance(row, list) and all(type(cell) is int for cell in row) for row in data
    )
    return data if whole else None


def _json(found: str) -> Any:
    """The answer as JSON; None if it is none, as NaN, which does not equal itself. Only small numbers are read."""
    try:
        return json.loads(
            found, parse_int=lambda text: int(text) if len(text) < 10 else text, parse_constant=_no_constant
        )
    except (ValueError, RecursionError):
        return None


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _number(text: str) -> float:
    try:
        return float(text[:40])
    except ValueError as fault:
        raise ValueError(
            f"{text[:40]!r} is compared as a number and is none; give the variable numbers as values"
        ) from fault
