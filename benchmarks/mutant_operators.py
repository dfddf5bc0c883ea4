"""One-line mistakes, by table: what `benchmarks/mutants.py` draws from.

An operator takes a node of the syntax tree and yields what could stand there instead. A mutant is the source with one
node's text replaced, so it differs in one place.
"""

from __future__ import annotations

import ast
import copy
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

AREAS: Mapping[str, tuple[str, ...]] = {
    "engine": ("rlzoo/engine",),
    "objectives": ("algorithms", "rlzoo/functional.py", "rlzoo/objective.py"),
    "statistics": ("evals/statistics.py", "evals/analysis.py", "evals/judgement.py", "evals/measurements.py"),
}
"""What is tried, by area: files, or folders with all their modules."""
OPPOSITES: Mapping[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
EDGES: Mapping[type[ast.cmpop], type[ast.cmpop]] = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
SIGNS: Mapping[type[ast.operator], type[ast.operator]] = {ast.Add: ast.Sub, ast.Sub: ast.Add}
TERMS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.BitAnd, ast.BitOr)
ORDERED = (ast.Sub, ast.Div, ast.FloorDiv, ast.Mod, ast.MatMult)
AXES = {"sum", "mean", "any", "all", "std", "cumsum", "softmax", "log_softmax", "logsumexp", "argmax", "cat", "stack"}
AXES |= {"unsqueeze", "squeeze", "sort", "gather", "scatter_", "index_add", "amax", "amin", "normalize"}
"""Calls whose number is an axis."""
OTHERS = {"mean": "sum", "sum": "mean", "min": "max", "max": "min", "any": "all", "all": "any", "minimum": "maximum"}
PASSING = {"clamp", "abs", "sqrt", "exp", "sign", "square", "detach", "round", "double", "bool", "float", "log"}
"""Methods without which a value still has its shape."""
SILENT = {"strict", "encoding", "source", "tag", "exist_ok", "slots", "frozen", "kw_only"}
"""Keywords that no outcome depends on."""

Replacements = Iterator[ast.AST]
Placed = ast.expr | ast.stmt


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One mistake: the text from `start` to `end` of a file becomes `after`."""

    area: str
    path: str
    line: int
    operator: str
    start: int
    """Offset in UTF-8 bytes, as the syntax tree counts."""
    end: int
    before: str
    after: str
    first: int
    """The statement's first line."""
    last: int
    """Its last; of a compound one, the header's. A test that ran none of these lines cannot notice."""
    imported: bool
    """True where it runs at import, in a module's or a class's body, a default or a decorator."""
    id: str
    """Of the file, the line's text and the replacement, so that it stays when lines move."""

    def applied(self, source: bytes) -> bytes:
        """The file with the mistake in it."""
        return source[: self.start] + self.after.encode() + source[self.end :]


def sign(node: ast.AST) -> Replacements:
    """a + b for a - b and back, x for -x."""
    if isinstance(node, ast.BinOp) and type(node.op) in SIGNS:
        yield ast.BinOp(node.left, SIGNS[type(node.op)](), node.right)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield node.operand
    if isinstance(node, ast.AugAssign) and type(node.op) in SIGNS:
        yield ast.AugAssign(node.target, SIGNS[type(node.op)](), node.value)


def off_by_one(node: ast.AST) -> Replacements:
    """n + 1 for a whole number, an edge counted that was not or the other way."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        yield ast.Constant(node.value + 1)
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in EDGES:
        yield ast.Compare(node.left, [EDGES[type(node.ops[0])]()], node.comparators)


def dropped_term(node: ast.AST) -> Replacements:
    """One side of a sum, product or mask, a value without its `.clamp(...)`, a statement less."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, TERMS):
        yield node.left
        if isinstance(node.op, (ast.Add, ast.Mult, ast.BitAnd, ast.BitOr)):
            yield node.right
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in PASSING:
        yield node.func.value
    if isinstance(node, ast.AugAssign) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        yield ast.Pass()


def swapped_argument(node: ast.AST) -> Replacements:
    """Two neighbouring arguments, or the sides of a difference, a quotient or a matrix product."""
    if isinstance(node, ast.Call) and not any(isinstance(given, ast.Starred) for given in node.args):
        for at in range(len(node.args) - 1):
            args = [*node.args[:at], node.args[at + 1], node.args[at], *node.args[at + 2 :]]
            if ast.dump(args[at]) != ast.dump(args[at + 1]):
                yield ast.Call(node.func, args, node.keywords)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ORDERED):
        yield ast.BinOp(node.right, node.op, node.left)


def wrong_axis(node: ast.AST) -> Replacements:
    """Axis 0 for any other, and 1 for axis 0."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return
    for at, given in enumerate(node.args):
        axis = _whole(given)
        if axis is not None and node.func.attr in AXES:
            args = [*node.args[:at], ast.Constant(0 if axis else 1), *node.args[at + 1 :]]
            yield ast.Call(node.func, args, node.keywords)
    for at, keyword in enumerate(node.keywords):
        axis = _whole(keyword.value)
        if axis is not None and keyword.arg in ("dim", "axis"):
            other = ast.keyword(keyword.arg, ast.Constant(0 if axis else 1))
            yield ast.Call(node.func, node.args, [*node.keywords[:at], other, *node.keywords[at + 1 :]])


def constant(node: ast.AST) -> Replacements:
    """Twice a number with a point, 1 for 0.0, the other truth."""
    if isinstance(node, ast.Constant) and type(node.value) is float:
        yield ast.Constant(node.value * 2 if node.value else 1.0)
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        yield ast.Constant(not node.value)


def turned_comparison(node: ast.AST) -> Replacements:
    """Less for greater, equal for unequal, in for not in."""
    if isinstance(node, ast.Compare):
        for at, op in enumerate(node.ops):
            ops = [*node.ops[:at], OPPOSITES[type(op)](), *node.ops[at + 1 :]]
            yield ast.Compare(node.left, ops, node.comparators)


def dropped_condition(node: ast.AST) -> Replacements:
    """One part of an `and` or `or`, x for `not x` or ~x, one branch whatever the condition says."""
    if isinstance(node, ast.BoolOp):
        for at in range(len(node.values)):
            rest = [*node.values[:at], *node.values[at + 1 :]]
            yield ast.BoolOp(node.op, rest) if len(rest) > 1 else rest[0]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.Invert)):
        yield node.operand
    if isinstance(node, ast.IfExp):
        yield node.body
        yield node.orelse
    if isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
        for at, each in enumerate(node.generators):
            for drop in range(len(each.ifs)):
                other = copy.deepcopy(node)
                del other.generators[at].ifs[drop]
                yield other


def other_reduction(node: ast.AST) -> Replacements:
    """Sum for mean, least for greatest, any for all."""
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr in OTHERS:
            yield ast.Call(ast.Attribute(node.func.value, OTHERS[node.func.attr], ast.Load()), node.args, node.keywords)
        if isinstance(node.func, ast.Name) and node.func.id in OTHERS and node.func.id != "sum":
            yield ast.Call(ast.Name(OTHERS[node.func.id], ast.Load()), node.args, node.keywords)


OPERATORS: Mapping[str, Callable[[ast.AST], Replacements]] = {
    "sign": sign,
    "off by one": off_by_one,
    "dropped term": dropped_term,
    "swapped argument": swapped_argument,
    "wrong axis": wrong_axis,
    "constant": constant,
    "turned comparison": turned_comparison,
    "dropped condition": dropped_condition,
    "other reduction": other_reduction,
}


def watched(root: Path) -> dict[str, str]:
    """Every module that is tried, from the root, with its area."""
    found: dict[str, str] = {}
    for area, places in AREAS.items():
        for place in places:
            files = [root / place] if place.endswith(".py") else sorted((root / place).rglob("*.py"))
            found |= {str(file.relative_to(root)): area for file in files}
    return found


def mutants(root: Path) -> list[Mutant]:
    """Every mutant there is of the watched files, in the order of the text."""
    return [one for path, area in watched(root).items() for one in of_source((root / path).read_bytes(), path, area)]


def of_source(source: bytes, path: str, area: str) -> list[Mutant]:
    """Every mutant of one file, which differs from it in one place."""
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    found: list[Mutant] = []
    alike: Counter[str] = Counter()
    for node, statement, imported in _places(ast.parse(source)):
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        before = source[start:end].decode()
        for operator, replaced in _replacements(node, statement):
            text = ast.unparse(ast.fix_missing_locations(replaced))
            after = f"({text})" if isinstance(replaced, ast.expr) and not _plain(replaced) else text
            line = lines[node.lineno - 1]
            column = node.col_offset - (len(line) - len(line.lstrip()))
            told = f"{path}|{line.strip().decode()}|{column}|{operator}|{before}|{after}"
            alike[told] += 1
            last: int = statement.body[0].lineno - 1 if hasattr(statement, "body") else statement.end_lineno or 0
            found.append(Mutant(
                area=area, path=path, line=node.lineno, operator=operator, start=start, end=end, before=before, after=after,
                first=statement.lineno, last=max(statement.lineno, last), imported=imported,
                id=hashlib.sha256(f"{told}|{alike[told]}".encode()).hexdigest()[:8],
            ))  # fmt: skip
    return found


def _replacements(node: Placed, statement: ast.stmt) -> Iterator[tuple[str, ast.AST]]:
    for name, operator in OPERATORS.items():
        for replaced in operator(copy.deepcopy(node)):
            yield name, replaced
    if isinstance(statement, (ast.If, ast.While)) and node is statement.test:
        yield "dropped condition", ast.Constant(False)
        if isinstance(statement, ast.If):
            yield "dropped condition", ast.Constant(True)


def _places(tree: ast.Module) -> Iterator[tuple[Placed, ast.stmt, bool]]:
    """Nodes that may be replaced, each with its innermost statement and whether it runs at import."""

    def walk(node: ast.AST, statement: ast.stmt | None, imported: bool) -> Iterator[tuple[Placed, ast.stmt, bool]]:
        if _left_alone(node):
            return
        if isinstance(node, ast.stmt):
            statement = node
        if statement is not None and isinstance(node, (ast.expr, ast.stmt)):
            yield node, statement, imported
        for name, child in _children(node):
            inside = isinstance(node, ast.FunctionDef) and name == "body"
            yield from walk(child, statement, imported and not inside)

    yield from walk(tree, None, True)


def _children(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases", "keys"):
            continue
        if isinstance(node, ast.Match) and name == "cases":
            value = [statement for case in node.cases for statement in case.body]
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield name, child


def _left_alone(node: ast.AST) -> bool:
    """Words, types and imports: where a change is no mistake in what is computed."""
    if isinstance(node, (ast.JoinedStr, ast.Raise, ast.Assert, ast.Import, ast.ImportFrom)):
        return True
    if isinstance(node, ast.keyword):
        return node.arg in SILENT
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.dump(node.test)
    named = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    return named and ("__all__" in ast.dump(node.targets[0]) or "TypeVar" in ast.dump(node.value))  # type: ignore[attr-defined]


def _plain(node: ast.AST) -> bool:
    return isinstance(node, (ast.Name, ast.Constant, ast.Attribute, ast.Call, ast.Subscript, ast.Tuple))


def _whole(node: ast.AST) -> int | None:
    """A whole number that stands there, with its sign."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _whole(node.operand)
        return None if inner is None else -inner
    return node.value if isinstance(node, ast.Constant) and type(node.value) is int else None
