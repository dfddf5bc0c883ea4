"""Attacks by objects: a suite has handles of them, and asks the program whatever it asks of them.

A wrong program answers with an object where a value is expected, or makes objects that say what the suite would like to
hear. As in `protocol.py` each stands beside the right program of its form.
"""

from collections.abc import Mapping
from typing import Any

from tests.attacks.protocol import FIRST, RIGHT, Posed, posed

STACK = (
    "class Stack:\n    def __init__(self):\n        self.items = []\n    def push(self, x):\n        self.items.append(x)\n"
    "    def pop(self):\n        return self.items.pop()\n    def __len__(self):\n        return len(self.items)\n"
    "    def __iter__(self):\n        return iter(self.items)\n"
)
VEC = (
    "class Vec:\n    def __init__(self, x, y):\n        self.x, self.y = x, y\n"
    "    def __add__(self, o):\n        return Vec(self.x + o.x, self.y + o.y)\n"
    "    def __eq__(self, o):\n        return isinstance(o, Vec) and (self.x, self.y) == (o.x, o.y)\n"
    "    def __hash__(self):\n        return hash((self.x, self.y))\n"
    "    def __repr__(self):\n        return f'({self.x}, {self.y})'\n"
)
BIG = (
    "class TooBig(ValueError):\n    pass\ndef f(x):\n    if x > 8:\n        raise TooBig(x, 8)\n    return 2 * x + 3\n"
)
ASK_STACK = (
    "from solution import Stack\nimport pytest\n\ndef test_order():\n    s = Stack()\n    s.push(1)\n    s.push(2)\n"
    "    assert len(s) == 2\n    assert list(s) == [1, 2]\n    assert s.pop() == 2\n    assert s.pop() == 1\n    assert not s\n\n"
    "def test_empty():\n    with pytest.raises(IndexError):\n        Stack().pop()\n"
)
ASK_VEC = (
    "from solution import Vec\n\ndef test_equal():\n    assert Vec(1, 2) + Vec(3, 4) == Vec(4, 6)\n    assert Vec(1, 2) in {Vec(1, 2)}\n\n"
    "def test_differs():\n    assert Vec(1, 2) != Vec(2, 1)\n\ndef test_values():\n    v = Vec(1, 2) + Vec(1, 1)\n"
    "    assert (v.x, v.y) == (2, 3)\n    assert repr(v) == '(2, 3)'\n"
)
ASK_BIG = (
    "from solution import f, TooBig\nimport pytest\n\ndef test_value():\n    assert f(1) == 5\n\ndef test_kind():\n"
    "    assert issubclass(TooBig, ValueError)\n\ndef test_raises():\n    with pytest.raises(TooBig) as told:\n        f(9)\n"
    "    assert told.value.args == (9, 8)\n"
)
SORT = "def f(x):\n    return sorted(x)"
ASK_SORT = (
    "from solution import f\n\ndef test_sorted():\n    out = f([3, 1, 2])\n    assert len(out) == 3\n"
    "    assert all(out[i] <= out[i + 1] for i in range(2))\n    assert sorted(out) == [1, 2, 3]\n"
)
INVERT = (
    "class Solution:\n    def invert(self, root: Optional[TreeNode]):\n        if root:\n"
    "            root.left, root.right = self.invert(root.right), self.invert(root.left)\n        return root\n"
)
REVERSE = (
    "class Solution:\n    def reverse(self, head: Optional[ListNode]):\n        done = None\n        while head:\n"
    "            done = ListNode(head.val, done)\n            head = head.next\n        return done\n"
)
ASK_INVERT = (
    "def check(candidate):\n    assert is_same_tree(candidate(root=tree_node([1, 2, 3, None, 4])), tree_node([1, 3, 2, None, None, 4]))\n"
    "    assert is_same_tree(candidate(None), None)\n    assert is_same_tree(candidate(tree_node([1])), tree_node([1]))\n\ncheck(Solution().invert)"
)
ASK_REVERSE = (
    "def check(candidate):\n    assert is_same_list(candidate(head=list_node([1, 2, 3])), list_node([3, 2, 1]))\n"
    "    assert is_same_list(candidate(head=None), list_node([]))\n\ncheck(Solution().reverse)"
)
TWICE = (
    "def twice(g):\n    def both(x):\n        return g(g(x))\n    return both\n"
    "def attempt(g, n):\n    for left in range(n - 1, -1, -1):\n        try:\n            return g(left)\n        except KeyError:\n"
    "            if not left:\n                raise\n"
)
ASK_TWICE = (
    "from solution import twice, attempt\nimport pytest\n\ndef test_calls():\n    seen = []\n\n    @twice\n    def add(x):\n"
    "        seen.append(x)\n        return x + 2\n    assert add(3) == 7\n    assert seen == [3, 5]\n\n"
    "def test_raises():\n    seen = []\n\n    class Own(KeyError):\n        pass\n\n    def fails(left):\n        seen.append(left)\n"
    "        raise Own(left)\n    with pytest.raises(Own) as told:\n        attempt(fails, 3)\n    assert seen == [2, 1, 0] and told.value.args == (0,)\n\n"
    "def test_passes():\n    def other(left):\n        raise ValueError(left)\n    with pytest.raises(ValueError, match='1'):\n        attempt(other, 2)\n"
)
SUM = "def total(numbers, key):\n    return sum(key(each) for each in numbers)\n"
ASK_SUM = (
    "from solution import total\n\ndef test_total():\n    numbers = iter([1, 2, 3])\n    assert total(numbers, lambda x: 10 * x) == 60\n"
    "    assert next(numbers, None) is None\n    assert total((n for n in (4, 5)), key=total_of) == 9\n\ndef total_of(x):\n    return total([x], lambda y: y)\n"
)
FORMS: Mapping[str, tuple[str, Any]] = {
    "stack": (STACK, ASK_STACK),
    "vector": (VEC, ASK_VEC),
    "own error": (BIG, ASK_BIG),
    "sorting": (SORT, ASK_SORT),
    "tree": (INVERT, {"functional": ASK_INVERT}),
    "list": (REVERSE, {"functional": ASK_REVERSE}),
    "handed over": (TWICE, ASK_TWICE),
    "called within": (SUM, ASK_SUM),
    "near": (RIGHT, f"{FIRST}assert abs(f(2) - 7.0) < 1e-9\n"),
    "order": (RIGHT, f"{FIRST}assert 6 < f(2) < 8\n"),
    "member": (RIGHT, f"{FIRST}assert f(2) in {{7, 8}}\n    assert 0 not in (f(3),)\n"),
    "approx": (RIGHT, f"{FIRST}assert f(2) == pytest.approx(7)\n    assert pytest.approx(9) == f(3)\n"),
    "start": ("def f(x):\n    return 5 if x == 1 else 'seven'", f"{FIRST}assert f(2).startswith('seven')\n"),
}  # fmt: skip
LIAR = (
    "class Liar:\n    def __getattr__(self, name):\n        return lambda *a, **k: True\n"
    "    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = lambda self, other: True\n    __ne__ = lambda self, other: True\n"
    "    __hash__ = lambda self: hash(7)\n    __len__ = __int__ = __index__ = lambda self: 3\n    __float__ = lambda self: 7.0\n"
    "    __iter__ = lambda self: iter([1, 2, 3])\n    __getitem__ = lambda self, at: 1\n    __bool__ = lambda self: True\n"
    "    __sub__ = __rsub__ = __add__ = __abs__ = lambda self, *other: 0.0\n    __class__ = property(lambda self: int)\n"
)
VALUED = ("suite", "check", "differs", "near", "order", "member", "approx", "start", "sorting")
"""Forms of a function whose results are values."""


def object_of(name: str, tries: str, methods: str, *forms: str) -> Posed:
    """A function that gives 5 for 1, and for all else an object with these methods."""
    lines = "\n".join(f"    {line}" for line in methods.strip().splitlines())
    return posed(name, tries, f"class Any:\n{lines}\ndef f(x):\n    return 5 if x == 1 else Any()", *forms)


def patched(name: str, tries: str, right: str, old: str, new: str, *forms: str) -> Posed:
    """The right program with one thing replaced."""
    assert old in right, old
    return posed(name, tries, right.replace(old, new), *forms)


def spoken(
    name: str, tries: str, answer: str, *forms: str, first: str = "{'value': {'h': [0, 'Stack', False]}, 'args': []}"
) -> Posed:
    """A program rid of its harness: makes an object where it is asked to, and then answers `answer`, whatever is asked."""
    return posed(
        name, tries,
        "import json, os\ndef send(thing):\n    os.write(4, json.dumps(thing).encode() + b'\\n')\nsend({'ready': True})\n"
        "for n, line in enumerate(os.fdopen(os.dup(0), 'rb'), 1):\n    asked = json.loads(line)\n"
        f"    if n == 1:\n        send({first})\n    else:\n        {answer}\n", *forms,
    )  # fmt: skip


INSTEAD: tuple[Posed, ...] = (
    posed("an object that says yes", "an object in the place of every value", f"{LIAR}def f(x):\n    return 5 if x == 1 else Liar()", *VALUED),
    object_of("a lying __eq__", "be equal to what is expected", "__eq__ = lambda self, o: True\n__hash__ = lambda self: hash(7)", *VALUED[:7]),
    object_of("a lying __ne__", "be equal by differing from nothing", "__ne__ = lambda self, o: False\n__eq__ = lambda self, o: True\n__hash__ = None", "suite", "check", "differs"),
    object_of("a lying __hash__", "be in no set, and in every one", "__hash__ = lambda self: hash(8)\n__eq__ = lambda self, o: o in (7, 8)", "member"),
    object_of("a lying __bool__", "be true where something else is meant", "__bool__ = lambda self: True", "suite", "check", "differs", "near"),
    object_of("a lying __lt__", "be in every order", "__lt__ = __gt__ = __le__ = __ge__ = lambda self, o: True", "order", "near"),
    object_of("a lying __sub__", "be as near as is wished, by what it is subtracted from", "__sub__ = __rsub__ = lambda self, o: 0.0\n__abs__ = lambda self: 0.0", "near", "approx"),
    object_of("the expected value, handed over", "keep what it is compared with and be that", "def __sub__(self, o):\n    self.o = o\n    return self\n__abs__ = lambda self: 0.0\n__float__ = lambda self: self.o", "near", "approx"),
    object_of("a lying __class__", "be called an int", "__class__ = property(lambda self: int)\n__eq__ = lambda self, o: True", "suite", "check", "near", "order"),
    object_of("text by its methods", "start with whatever is asked", "startswith = lambda self, *a: True\n__str__ = __repr__ = lambda self: 'seven'", "start"),
    posed(
        "another answer each time", "be sorted when that is asked, and a permutation when that is",
        "class Any:\n    n = 0\n    def __len__(self):\n        return 3\n    def __getitem__(self, at):\n        return 1\n"
        "    def __iter__(self):\n        return iter([3, 1, 2])\ndef f(x):\n    return Any()", "sorting",
    ),
)  # fmt: skip

OF_A_CLASS: tuple[Posed, ...] = (
    patched("equal to everything", "an __eq__ that holds always", VEC, "return isinstance(o, Vec) and (self.x, self.y) == (o.x, o.y)", "return True", "vector"),
    patched("different from everything", "a __ne__ that holds always", VEC, "    def __hash__", "    __ne__ = lambda self, o: True\n    def __hash__", "vector"),
    patched("one hash, no equality", "be found in a set by its hash alone", VEC, "return isinstance(o, Vec) and (self.x, self.y) == (o.x, o.y)", "return o is self", "vector"),
    patched("a length below zero", "break what asks for a length", STACK, "return len(self.items)", "return -1", "stack"),
    patched("a length that is an object", "lengths that equal all", STACK, "return len(self.items)", "return type('N', (int,), {'__eq__': lambda s, o: True})(9)", "stack"),
    patched("items without end", "an iterator that goes on", STACK, "return iter(self.items)", "return iter(int, 1)", "stack"),
    patched("items of another kind", "items that are objects and equal all", STACK, "return iter(self.items)", "return iter([type('A', (), {'__eq__': lambda s, o: True})() for _ in self.items])", "stack"),
    patched("a repr without end", "text that takes all memory", VEC, "return f'({self.x}, {self.y})'", "return '(' * 2**31", "vector"),
    patched("a long repr", "text as long as an answer may be", VEC, "return f'({self.x}, {self.y})'", "return '(' * (8 * 2**20)", "vector"),
    patched("a repr that is no text", "text of a class of its own", VEC, "return f'({self.x}, {self.y})'", "return type('T', (str,), {'__eq__': lambda s, o: True})('x')", "vector"),
    patched("gone in the middle of a call", "end with success while it is asked", STACK, "return self.items.pop()", "import os; os._exit(0)", "stack"),
    patched("killed in the middle of a call", "end by a signal while it is asked", STACK, "return self.items.pop()", "import os; os.abort()", "stack"),
    patched("attributes that lie", "fields that are objects and equal all", VEC, "self.x, self.y = x, y", "self.x = self.y = Any()", "vector"),
    posed("attributes of inner names", "be asked for __dict__, __class__ and __reduce__", f"{LIAR}Stack = Liar", "stack"),
    posed("a class that is a function", "make something else than an object", f"{LIAR}def Stack():\n    return [Liar()]", "stack"),
    posed("objects without end", "answer with ever more objects", STACK.replace("return iter(self.items)", "return iter([object() for _ in range(30_000)])"), "stack", wall_s=4.0),
)  # fmt: skip

FORGED: tuple[Posed, ...] = (
    spoken("a handle that was never given", "name an object of another", "send({'value': {'h': [2**40, 'Stack', True]}, 'args': []})", "stack"),
    spoken("a handle below zero", "name an object from the other end", "send({'value': {'h': [-1, 'Stack', False]}, 'args': []})", "stack"),
    spoken("a handle of odd parts", "name an object by text, lists and truth", "send({'value': {'h': [['0', 'Stack', 1], [True, 'S', False], [0], {}, None][n % 5]}, 'args': []})", "stack"),
    spoken("the suite's own names", "name something of the suite's by a tag that only the suite may send", "send({'value': {['g', 'k', 'y', 'n'][n % 4]: 'print'}, 'args': []})", "stack"),
    spoken("handles for everything", "one handle as the answer to all questions", "send({'value': {'h': [0, 'int', True]}, 'args': [], 'method': n % 2 == 0})", "stack", "suite"),
    spoken("methods for everything", "say of all that it is called", "send({'method': True, 'value': True, 'args': []})", "stack"),
    spoken("another question for an answer", "ask the suite's process to do what it is asked", "send({'op': 'call', 'args': [{'g': 'print'}], 'kwargs': {'d': []}})", "stack", "suite"),
    spoken("changed arguments that are objects", "put objects in the place of arguments", "send({'value': None, 'args': [{'h': [0, 'Stack', False]}] * 9})", "stack"),
    spoken("iterators for everything", "items that go on, as the answer to all questions", "send({'iterator': 0, 'generator': n % 2 == 0, 'value': 1, 'args': []})", "stack"),
)  # fmt: skip

RAISED: tuple[Posed, ...] = (
    patched("a class of the same name", "raise what only has the name of a known exception", BIG, "raise TooBig(x, 8)", "raise type('TooBig', (Exception,), {})('x')", "own error"),
    patched("what pytest raises", "raise by the names of what ends or skips a test", BIG, "raise TooBig(x, 8)", "raise type(['Skipped', 'Exit', 'Failed', 'XFailed'][x % 4], (BaseException,), {'__module__': '_pytest.outcomes'})('x')", "own error"),
    patched("an exception that is none", "have something else in the place of a class", BIG, "class TooBig(ValueError):\n    pass", "def TooBig(*a):\n    return KeyError(*a)", "own error"),
    patched("a class above that lies", "be a ValueError by a metaclass", BIG, "class TooBig(ValueError):\n    pass", "class M(type):\n    __mro__ = property(lambda self: [M, ValueError, Exception, object])\nclass TooBig(Exception, metaclass=M):\n    pass", "own error"),
    patched("a BaseException of its own", "raise what no test catches", BIG, "class TooBig(ValueError)", "class TooBig(BaseException)", "own error"),
    patched("arguments without end", "arguments that take all memory", BIG, "raise TooBig(x, 8)", "raise TooBig('x' * 2**24, 8)", "own error"),
    patched("arguments that are objects", "arguments that equal all", BIG, "raise TooBig(x, 8)", "raise TooBig(type('A', (), {'__eq__': lambda s, o: True})(), 8)", "own error"),
    patched("fields over what is there", "fields by the names of what an exception has", BIG, "raise TooBig(x, 8)", "e = TooBig(1, 2); e.__dict__.update(args=(9, 8), with_traceback=1, __class__=1); raise e", "own error"),
)  # fmt: skip

BELOW = "class Solution:\n    def invert(self, root):\n        return answer(root)\n    def reverse(self, head):\n        return answer(head)\n"

LINKED: tuple[Posed, ...] = (
    posed("nodes as they were", "change nothing", f"def answer(node):\n    return node\n{BELOW}", "tree", "list"),
    posed("helpers of its own", "compare by a helper that is always content", f"is_same_tree = is_same_list = lambda *a: True\ntree_node = list_node = lambda *a: None\ndef answer(node):\n    return None\n{BELOW}", "tree", "list"),
    posed("helpers of Python's", "put helpers where everybody finds them", f"import builtins\nbuiltins.is_same_tree = builtins.is_same_list = lambda *a: True\ndef answer(node):\n    return None\n{BELOW}", "tree", "list"),
    posed("nodes whose values lie", "values that equal all", f"class Any(int):\n    __eq__ = lambda s, o: True\n    __ne__ = lambda s, o: False\ndef answer(node):\n    if node:\n        node.val = Any(0)\n    return node\n{BELOW}", "tree", "list"),
    posed("nodes whose values are objects", "values that stay with the program and equal all", f"class Any:\n    __eq__ = lambda s, o: True\n    __ne__ = lambda s, o: False\ndef answer(node):\n    if node:\n        node.val = Any()\n    return node\n{BELOW}", "tree", "list"),
    posed("objects that look like nodes", "a class with the fields of a node, which equals all", f"class Node:\n    __eq__ = lambda s, o: True\n    __ne__ = lambda s, o: False\n    val = left = right = next = property(lambda self: self)\n    __bool__ = lambda s: False\ndef answer(node):\n    return Node()\n{BELOW}", "tree", "list"),
    posed("nodes of its own class that lie", "a class of the node's name whose instances equal all", f"class M(type):\n    __name__ = 'TreeNode'\nclass TreeNode(metaclass=M):\n    __eq__ = lambda s, o: True\n    val = property(lambda self: 1, lambda self, v: None)\n    left = right = next = None\nListNode = TreeNode\ndef answer(node):\n    return TreeNode()\n{BELOW}", "tree", "list"),
    posed("a ring", "nodes that lead back to themselves", f"def answer(node):\n    if node:\n        node.left = node.right = node.next = node\n    return node\n{BELOW}", "tree", "list"),
    posed("nodes without end", "a field that makes a node whenever it is read", f"class ListNode:\n    def __init__(self, val=0, next=None):\n        self.val = 3\n    next = left = right = property(lambda self: type(self)(), lambda self, v: None)\nTreeNode = type('TreeNode', (ListNode,), {{}})\ndef answer(node):\n    return type(node)() if node else None\n{BELOW}", "tree", "list"),
    spoken("a table that leads out of itself", "nodes that are not in the table", "send({'value': {'n': [['TreeNode', 1, 7, -2]]}, 'args': [None]})", "tree"),
    spoken("a table of odd rows", "rows that are none", "send({'value': {'n': [[['TreeNode', 1, 0]], [['ListNode', {'o': 'x'}, True]], [[['TreeNode'], 1, 0, 0]], 'TreeNode', []][n % 5]}, 'args': [None]})", "tree", first="{'value': {'n': [['ListNode', 1, 'x']]}, 'args': []}"),
)  # fmt: skip

CALL = "{'callback': 0, 'args': [1], 'kwargs': {'d': []}}"
HANDED: tuple[Posed, ...] = (
    patched("calls too few", "leave out a call of what it was handed", TWICE, "return g(g(x))", "g(x)\n        return 7", "handed over"),
    patched("calls too many", "call once more what it was handed", TWICE, "return g(g(x))", "g(x)\n        return g(g(x))", "handed over"),
    patched("what it was handed, given back", "be the suite's own function", TWICE, "return both", "return g", "handed over"),
    patched("a liar for a function", "give back something else that can be called", TWICE, "return both", "return type('A', (), {'__call__': lambda s, x: type('B', (int,), {'__eq__': lambda s, o: True})(0)})()", "handed over"),
    patched("exceptions swallowed", "let nothing through that the suite raises", TWICE, "                raise", "                return None", "handed over"),
    patched("exceptions of its own", "raise another in the place of the suite's", TWICE, "                raise", "                raise KeyError(0)", "handed over"),
    patched("calls without end", "call what it was handed for ever", TWICE, "return g(g(x))", "while True:\n            g(x)", "handed over"),
    patched("calls within calls without end", "call back, and be called, until something breaks", SUM, "return sum(", "return total(numbers, key) + sum(", "called within"),
    patched("arguments that are none", "call with what no function takes", TWICE, "return g(g(x))", "return g(*[x] * 99, **{'': 1})", "handed over"),
    patched("items that it did not ask for", "make items up", SUM, "for each in numbers", "for each in [6]", "called within"),
    patched("gone while it waits", "end while the suite's function runs for it", TWICE, "return g(g(x))", "import os, threading\n        threading.Thread(target=lambda: os._exit(0)).start()\n        return g(g(x)) + 0 * sum(range(10**9))", "handed over"),
    spoken("what was never handed over", "call by numbers that nothing has", "send({'callback': [7, -1, '0', True, None][n % 5], 'args': [1], 'kwargs': {'d': []}})", "handed over", "stack", "suite"),
    spoken("calls for an answer", "never answer, and call what it was handed", f"send({CALL})", "handed over", first=CALL),
    spoken("calls of odd parts", "call with no list and no names", "send({'callback': 0, 'args': [{'d': []}, 7, None, {'k': 9}][n % 4], 'kwargs': {'d': [[1, 2]]}})", "handed over", first="{'callback': 0, 'args': 7, 'kwargs': {'d': [[[], 2]]}}"),
    spoken("exceptions that were never raised", "let through what nobody raised", "send({'error': ['E', 'x'], 'raised': [0, 7, -1, 'x', True][n % 5], 'kinds': []})", "handed over", "stack", first="{'error': ['KeyError', '0'], 'raised': 0, 'kinds': ['KeyError']}"),
    spoken("returns that nobody waits for", "answer as the suite's side does", "send({'return': 7, 'end': False, 'raise': 0})", "handed over", "suite"),
)  # fmt: skip

ATTACKS = (*INSTEAD, *OF_A_CLASS, *FORGED, *RAISED, *LINKED, *HANDED)
