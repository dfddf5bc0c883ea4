"""Suites about objects: what a suite may do with the solution's own classes, exceptions and functions, and what it may rest on."""

from __future__ import annotations

from typing import Any

import pytest

from rlzoo.registry import build_verifier
from rlzoo.types import Problem, Verdict
from rlzoo.verifier import SandboxSettings, VerifierContext
from rlzoo.verifiers.sandbox import levels, nodes, values
from tests.attacks.objects import VEC


def judge(program: str, tests: Any, level: str | None = None) -> Verdict:
    sandbox = SandboxSettings(wall_s=5.0, level=level or levels.choose().level)
    problem = Problem(id="p", domain="code", messages=(), verifier="code", metadata={"tests": tests})
    return build_verifier("code", VerifierContext(sandbox=sandbox)).judge(problem, f"```python\n{program}\n```")


KINDS = """
import enum
from collections import OrderedDict, namedtuple
class Colour(enum.Enum):
    RED = 1
class Cache(OrderedDict):
    def put(self, key):
        self[key] = True
        return self
Pair = namedtuple("Pair", "a b")
class Node:
    made = 0
    def __init__(self, value, *below):
        self.value, self.below = value, below
    @classmethod
    def leaf(cls, value):
        return cls(value)
    def __enter__(self):
        self.value += 1
        return self
    def __exit__(self, kind, error, trace):
        self.value = kind.__name__ if kind else "left"
        return kind is KeyError
    @property
    def count(self):
        return self.value
    def add(self, items):
        items.append(self.value)
    def __iadd__(self, other):
        self.value += other
        return self
class Count:
    def __init__(self, n):
        self.n = n
    def __iter__(self):
        return self
    def __next__(self):
        if not self.n:
            raise StopIteration
        self.n -= 1
        return self.n
class Low(ValueError):
    def __init__(self, need, have):
        super().__init__(f"need {need}")
        self.need = need
class Lower(Low):
    pass
def fall(x):
    raise [Low, Lower, TypeError][x](3, 2)
"""
USES = (
    "assert Colour.RED.value == 1 and Colour.RED.name == 'RED' and Colour(1) == Colour.RED",
    "c = Cache()\n    c.put('a').put('b')\n    assert c == {'a': True, 'b': True} and list(c) == ['a', 'b'] and c['a'] and 'z' not in c",
    "p = Pair(1, 2)\n    a, b = p\n    assert p == (1, 2) and p.a == 1 and (a, b) == (1, 2) and p[1] == 2",
    "n = Node(1, Node(2), Node.leaf(3))\n    assert n.below[1].value == 3 and [each.value for each in n.below] == [2, 3] and isinstance(n.below[0], Node) and not isinstance(3, Node)",
    "n = Node(1)\n    with n as same:\n        assert same.value == 2\n    assert n.value == 'left'\n    n = Node(1)\n    with n:\n        raise KeyError(1)\n    assert n.value == 'KeyError'",
    "n = Node(1)\n    n.value = 5\n    n += 2\n    items = []\n    n.add(items)\n    assert items == [7] and not hasattr(n, 'absent') and getattr(n, 'absent', 3) == 3",
    "assert list(Count(3)) == [2, 1, 0] and next(Count(9)) == 8",
    "with pytest.raises(Low, match='need 3') as told:\n        fall(1)\n    assert told.value.need == 3 and issubclass(told.type, Lower) and str(told.value) == 'need 3'",
    "assert Node(1, Node(4)).below[0].count == 4",
    "try:\n        fall(2)\n    except Low:\n        assert False\n    except TypeError as e:\n        assert e.args == (3, 2)",
)  # fmt: skip
SUITE = (
    "import pytest\nfrom solution import Colour, Cache, Pair, Node, Count, Low, Lower, fall\n\ndef test():\n    {}\n"
)


@pytest.mark.parametrize("use", USES)
def test_what_a_suite_may_do_with_objects(use: str):
    if "Lower" not in use:
        suite = SUITE.replace(", Lower", "")
    else:
        suite = SUITE + "\ndef test_classes():\n    assert issubclass(Lower, Low)\n"
    verdict = judge(KINDS, suite.format(use))
    assert verdict.correct, verdict.reason


def test_a_suite_may_build_with_the_solutions_nodes():
    program = "class Link:\n    def __init__(self, v, after=None):\n        self.v, self.after = v, after\ndef total(one):\n    return one.v + total(one.after) if one else 0"
    suite = "from typing import Optional\nfrom solution import Link, total\n\ndef build(items) -> Optional[Link]:\n    first: Link = None\n    for item in items:\n        first = Link(item, first)\n    return first\n\ndef test():\n    assert total(build([1, 2, 3])) == 6\n    one = build([1])\n    one.after = build([5])\n    assert total(one) == 6 and one.after.v == 5\n"
    assert judge(program, suite).correct
    assert judge(program.replace("one.v +", "1 +"), suite).status == "wrong"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("assert Vec(1, 2) + Vec(3, 4) == Vec(4, 6)", "no test rests on a value"),
        ("assert Vec(1, 2)", "no test rests on a value"),
        ("assert Vec(1, 2) == 7", "compared with a value"),
        ("assert not Vec(1, 2) < 3", "put in an order with a value"),
        ("assert (Vec(1, 2) + Vec(1, 1)) + 1", "used as a value"),
        ("assert Vec(1, 2).twin().index(2) == 0", "is asked for its index"),
        ("import copy\n    copy.copy(Vec(1, 2))", "fails test"),
    ],
)
def test_what_says_nothing(line: str, why: str):
    program = VEC + "    def index(self, x):\n        return 0\n    copy = twin = lambda self: Vec(self.x, self.y)\n"
    verdict = judge(program, f"from solution import Vec\n\ndef test():\n    {line}\n")
    assert verdict.status == "wrong" and why in verdict.reason, verdict.reason


@pytest.mark.parametrize("level", levels.LEVELS)
def test_at_every_level(level: str):
    if levels.try_level(level).holds:
        suite = "from solution import Vec\n\ndef test():\n    assert (Vec(1, 2) + Vec(1, 1)).x == 2\n"
        assert judge(VEC, suite, level).correct
        assert judge(VEC.replace("self.x + o.x", "o.x"), suite, level).status == "wrong"


def test_nodes_by_hand():
    root = nodes.tree_node([1, 2, 3, None, 4])
    assert root is not None and (root.left.val, root.right.val, root.left.left, root.left.right.val) == (2, 3, None, 4)
    assert nodes.pack(root) == {
        "n": [["TreeNode", 1, 1, 2], ["TreeNode", 2, -1, 3], ["TreeNode", 3, -1, -1], ["TreeNode", 4, -1, -1]]
    }
    assert nodes.is_same_tree(nodes.unpack(nodes.pack(root)["n"], nodes.own), root)
    assert not nodes.is_same_tree(root, nodes.tree_node([1, 2, 3, 4]))
    assert nodes.tree_node([]) is None and nodes.list_node([]) is None
    first = nodes.list_node(range(5_000))
    assert nodes.is_same_list(nodes.unpack(nodes.pack(first)["n"], nodes.own), first)
    assert not nodes.is_same_list(first, nodes.list_node(range(4_999)))
    with pytest.raises(values.Malformed, match="not there"):
        nodes.unpack([["ListNode", 1, 5]], nodes.own)


@pytest.mark.parametrize(
    "own",
    ["", "class TreeNode:\n    def __init__(self, x):\n        self.val, self.left, self.right = x, None, None\n"],
)
def test_a_program_may_have_its_own_class_of_nodes(own: str):
    program = (
        own
        + "class Solution:\n    def twice(self, root):\n        new = TreeNode(root.val)\n        new.left = root\n        return new"
    )
    suite = "def check(candidate):\n    assert is_same_tree(candidate(root=tree_node([1, 2])), tree_node([1, 1, None, 2]))\n\ncheck(Solution().twice)"
    assert judge(program, {"functional": suite}).correct
    assert judge(program, {"functional": suite.replace("None, 2", "2")}).status == "wrong"
