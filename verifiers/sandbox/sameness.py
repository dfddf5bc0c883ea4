"""`is` in a suite: true of handles of one object, and of values as far as it is known, since they cross as copies.

What a call was given and gives back is told by the program. Of anything else that is a value nobody can say it, and then the
suite judges nobody. Standard library only.
"""

import ast
import builtins
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from rlzoo.verifiers.sandbox.handles import VALUES, Handle

SAME, DIFFERENT = "_rlzoo_is", "_rlzoo_is_not"
TOLD = (list, dict, OrderedDict)
"""What a call may give back as the same."""


class Identity:
    """What a suite may ask in the place of `is`, `is not` and `id`."""

    def __init__(self) -> None:
        self._given: list[tuple[Any, Sequence[Any]]] = []
        """Results of calls that are none of their arguments."""
        self.unknown = False
        """Whether the suite has asked what nobody can say."""

    def keep(self, result: Any, arguments: Sequence[Any]) -> None:
        if isinstance(result, TOLD):
            self._given.append((result, arguments))

    def same(self, left: Any, right: Any) -> bool:
        if isinstance(left, Handle) and isinstance(right, Handle):
            return left._rlzoo.number == right._rlzoo.number
        if left is not right and isinstance(left, VALUES) and type(left) is type(right) and type(left) is not bool:
            self.unknown |= not any(
                (one is left and any(each is right for each in given))
                or (one is right and any(each is left for each in given))
                for one, given in self._given
            )
        return left is right

    def different(self, left: Any, right: Any) -> bool:
        return not self.same(left, right)

    def id(self, thing: Any) -> int:
        if isinstance(thing, Handle):
            return -1 - thing._rlzoo.number
        known = any(thing is one or any(thing is each for each in given) for one, given in self._given)
        self.unknown |= isinstance(thing, VALUES) and not known
        return builtins.id(thing)


class _Asked(ast.NodeTransformer):
    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        sides = [node.left, *node.comparators]
        if len(node.ops) != 1 or any(isinstance(side, ast.Constant) for side in sides):
            return node
        name = {ast.Is: SAME, ast.IsNot: DIFFERENT}.get(type(node.ops[0]))
        called = ast.Call(ast.Name(name, ast.Load()), sides, []) if name is not None else node
        return ast.fix_missing_locations(ast.copy_location(called, node))


def asks(source: str) -> bool:
    """Whether a suite compares the identity of anything but Python's own constants."""
    if " is " not in source and "id(" not in source:
        return False
    tree = ast.parse(source)
    ids = any(isinstance(node, ast.Name) and node.id == "id" for node in ast.walk(tree))
    return ids or ast.unparse(_Asked().visit(tree)) != ast.unparse(ast.parse(source))


def rewritten(source: str) -> ast.Module:
    """The suite with calls in the place of its comparisons."""
    found: ast.Module = _Asked().visit(ast.parse(source))
    return found
