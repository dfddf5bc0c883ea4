"""LeetCode's nodes of trees and lists, with the helpers that LeetCodeDataset puts before programs and tests. Standard library only.

They are on both sides, and cross as a table: of each node its kind, its value and the places of those that follow it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from rlzoo.verifiers.sandbox import values

MOST_NODES = 100_000
NOBODY = -1
"""Place of a node that is not there."""


class ListNode:
    """Of a list in which each node knows the next."""

    def __init__(self, val: Any = 0, next: Any = None) -> None:
        self.val, self.next = val, next


class TreeNode:
    """Of a binary tree."""

    def __init__(self, val: Any = 0, left: Any = None, right: Any = None) -> None:
        self.val, self.left, self.right = val, left, right


def list_node(items: Sequence[Any]) -> ListNode | None:
    """The first node of a list of these; None for none."""
    first: ListNode | None = None
    for item in reversed(items):
        first = ListNode(item, first)
    return first


def tree_node(items: Sequence[Any]) -> TreeNode | None:
    """The root of a tree whose nodes are these level by level, with None where one is missing; nothing is below those."""
    if not items or items[0] is None:
        return None
    root = TreeNode(items[0])
    waiting, sides = deque([root]), iter(items[1:])
    for item in sides:
        node = waiting.popleft()
        for side, value in (("left", item), ("right", next(sides, None))):
            if value is not None:
                below = TreeNode(value)
                setattr(node, side, below)
                waiting.append(below)
        if not waiting:
            break
    return root


def is_same_list(one: Any, other: Any) -> bool:
    while one is not None and other is not None:
        if one.val != other.val:
            return False
        one, other = one.next, other.next
    return one is None and other is None


def is_same_tree(one: Any, other: Any) -> bool:
    pairs = [(one, other)]
    while pairs:
        one, other = pairs.pop()
        if one is None or other is None:
            if one is not other:
                return False
            continue
        if one.val != other.val:
            return False
        pairs += [(one.left, other.left), (one.right, other.right)]
    return True


NAMES: dict[str, Any] = {
    thing.__name__: thing for thing in (ListNode, TreeNode, list_node, tree_node, is_same_list, is_same_tree)
}
FIELDS = {"ListNode": ("next",), "TreeNode": ("left", "right")}
"""What leads from a node to others, by the name of its class."""


def pack(root: Any) -> dict[str, Any] | None:
    """The table of a node and all that follow it; None for what is no node. ValueError for what only looks like one."""
    kind = type(root).__name__
    if kind not in FIELDS:
        return None
    places, found, rows = {id(root): 0}, [root], []
    for node in found:
        if len(found) > MOST_NODES or type(node).__name__ != kind or not hasattr(node, "val"):
            raise ValueError(f"no {kind}, or too many")
        row = [kind, values.pack(node.val)]
        for field in FIELDS[kind]:
            after = getattr(node, field, None)
            if after is not None and id(after) not in places:
                places[id(after)] = len(found)
                found.append(after)
            row.append(NOBODY if after is None else places[id(after)])
        rows.append(row)
    return {"n": rows}


def unpack(rows: Any, make: Callable[[str, Any], Any]) -> Any:
    """The root of a table, its nodes made by `make` of the class's name and a value. Malformed for what is no table."""
    if not isinstance(rows, list) or not 0 < len(rows) <= MOST_NODES:
        raise values.Malformed("no table of nodes")
    kind = rows[0][0] if isinstance(rows[0], list) and rows[0] else None
    if not isinstance(kind, str) or kind not in FIELDS:
        raise values.Malformed("no kind of node")
    after = FIELDS[kind]
    if any(not isinstance(row, list) or len(row) != 2 + len(after) or row[0] != kind for row in rows):
        raise values.Malformed("rows of no node")
    if any(type(place) is not int or not NOBODY <= place < len(rows) for row in rows for place in row[2:]):
        raise values.Malformed("a node that follows is not there")
    made = [make(kind, values.unpack(row[1])) for row in rows]
    for node, row in zip(made, rows, strict=True):
        for field, place in zip(after, row[2:], strict=True):
            setattr(node, field, None if place == NOBODY else made[place])
    return made[0]


def own(kind: str, value: Any) -> Any:
    """A node of this module's."""
    return ListNode(value) if kind == "ListNode" else TreeNode(value)
