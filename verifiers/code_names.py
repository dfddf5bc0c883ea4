"""Whose the names are that a suite reads without importing them: the solution's, or those that graders import before tests.

A program that could bring `isclose` or `Counter` would decide what is near or equal. Text is parsed and nothing is run.
"""

import ast
from collections.abc import Collection, Iterator
from types import ModuleType
from typing import Any, NamedTuple

from rlzoo.verifiers.sandbox import prelude


def of_graders(tree: ast.Module, names: Collection[str]) -> list[str]:
    """Those that are the suite's: a grader imports them, and they judge a result of the solution's or build what is beside it."""
    known = prelude.names("all")
    found: set[str] = set()
    for name in sorted(known.keys() & names):
        others = set(names) - {name} - found
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _is(node.func, name)]
        if isinstance(known[name], ModuleType):
            found |= {name} if others and not calls else set()
        elif not any(_alone(one, name, others | _results(tree, others)) for one in _asserts(tree)) and _fits(
            tree, name, known[name]
        ):
            found |= {name} if _judges(tree, name, others) or _feeds(tree, name, known[name], others) else set()
    return sorted(found)


def judging(tree: ast.Module, names: Collection[str]) -> list[str]:
    """Those whose word alone a test takes for the results of others, such as `near` in `assert near(f(2), 7)`."""
    found = []
    for name in sorted(names):
        others = set(names) - {name}
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _is(node.func, name)]
        words = [one.test.operand if isinstance(one.test, ast.UnaryOp) else one.test for one in _asserts(tree)]
        taken = calls and all(_mentions(call, others | _results(tree, others)) for call in calls)
        if taken and any(word is call for word in words for call in calls):
            found.append(name)
    return found


class Looked(NamedTuple):
    """What a suite that imports the solution as a module reads of it without calling it."""

    aliases: frozenset[str]
    """Of the module."""
    names: frozenset[str]
    otherwise: bool
    """Whether the module itself is handed to anything, so that no text says which names are looked up."""


def looked_up(tree: ast.Module, module: str) -> Looked:
    imports = (one for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names)
    aliases = frozenset(one.asname or one.name for one in imports if one.name == module)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names, known = set(), set()
    otherwise = False
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            known.add(id(node.value))
            names |= {node.attr} if id(node) not in called else set()
        if isinstance(node, ast.Call) and len(node.args) > 1 and isinstance(node.func, ast.Name):
            owner, name = node.args[:2]
            asks = node.func.id in {"hasattr", "getattr"} and isinstance(owner, ast.Name) and owner.id in aliases
            if asks and isinstance(name, ast.Constant) and isinstance(name.value, str):
                known.add(id(owner))
                names.add(name.value)
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in {"import_module", "__import__"}:
            otherwise |= any(isinstance(one, ast.Constant) and one.value == module for one in node.args)
    reads = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in aliases)
    return Looked(aliases, frozenset(names), otherwise or any(id(read) not in known for read in reads))


def _asserts(tree: ast.AST) -> Iterator[ast.Assert]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Assert))


def _is(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _mentions(node: ast.AST, names: Collection[str]) -> bool:
    return any(isinstance(part, ast.Name) and part.id in names for part in ast.walk(node))


def _results(tree: ast.AST, names: Collection[str]) -> set[str]:
    """Variables that hold what these have given."""
    found: set[str] = set()
    for node in ast.walk(tree):
        value = node.value if isinstance(node, ast.Assign) else node.iter if isinstance(node, ast.For) else None
        if value is not None and _mentions(value, names):
            targets = getattr(node, "targets", None) or [getattr(node, "target", node)]
            found |= {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
    return found


def _alone(one: ast.Assert, name: str, others: Collection[str]) -> bool:
    """Whether an assertion is about what this gives, and about nothing of the others."""
    return _mentions(one, {name}) and not _mentions(one, others)


def _judges(tree: ast.Module, name: str, others: Collection[str]) -> bool:
    """Whether it takes what others give, or stands on the other side of a comparison with that."""
    told = set(others) | _results(tree, others)
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and _is(node.func, name))
    if any(_mentions(argument, told) for call in calls for argument in call.args):
        return True
    compares = (node for node in ast.walk(tree) if isinstance(node, ast.Compare))
    return any(
        _mentions(left, {name}) and _mentions(right, told)
        for compare in compares
        for sides in ([compare.left, *compare.comparators],)
        for left in sides
        for right in sides
        if left is not right
    )


def _feeds(tree: ast.Module, name: str, kind: Any, others: Collection[str]) -> bool:
    """Whether it is a class of whose objects the others are given some."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and _mentions(node.func, others))
    made = {name} | _results(tree, {name})
    holds = isinstance(kind, type) and kind.__module__ != "itertools"  # such as deque, and not `compress`
    return holds and any(_mentions(argument, made) for call in calls for argument in call.args)


def _fits(tree: ast.Module, name: str, kind: Any) -> bool:
    """Whether all that is read of it and of what it makes is there: a class of the solution's of that name has more."""
    made = {name} | {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _is(node.value.func, name)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    reads = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return not isinstance(kind, type) or all(
        hasattr(kind, read.attr) for read in reads if isinstance(read.value, ast.Name) and read.value.id in made
    )
