"""Suites that rest on what a program says of itself, swallows or brings along: a right program passes each, a wrong one does not."""

from __future__ import annotations

from typing import Any

import pytest

from rlzoo.data.rowfaults import RowFault
from rlzoo.verifiers.code_tests import same_output
from rlzoo.verifiers.sandbox import values
from tests.test_verifiers_code_objects import judge

F = "from solution import f\nimport pytest, unittest\n\ndef test_one():\n    assert f(1) == 5\n\ndef test():\n    "
TWICE = "def f(x):\n    return 2 * x + 3"
STOPS = "def f(x):\n    if x == 1:\n        return 5\n    raise StopIteration"
LINES = {
    "all of a map": "assert all(map(f, [2, 4]))",
    "zip of a map": "for got, want in zip(map(f, [2, 3]), [7, 9]):\n        assert got == want",
    "a filter": "assert list(filter(lambda x: f(x) > 8, [2, 3])) == [3]",
    "yield from": "def within():\n        yield from map(f, [2, 3])\n    assert all(got > 6 for got in within())",
}


@pytest.mark.parametrize("line", LINES.values(), ids=list(LINES))
def test_no_call_ends_a_loop(line: str):
    assert judge(TWICE, F + line).correct
    assert judge(STOPS, F + line).status == "wrong"
    case = "from solution import f\nimport unittest\n\nclass TestIt(unittest.TestCase):\n    def test(self):\n        assert f(1) == 5\n        "
    assert judge(STOPS, case + line.replace("\n", "\n    ")).status == "wrong"
    checked = {"functional": f"def check(f):\n    assert f(1) == 5\n    {line}\n\ncheck(f)"}
    assert judge(TWICE, checked).correct and judge(STOPS, checked).status == "wrong"


def test_an_iteration_that_a_suite_waits_the_end_of():
    program = "class Count:\n    def __init__(self, n):\n        self.n = n\n    def take(self):\n        if not self.n:\n            raise StopIteration\n        self.n -= 1\n        return self.n\n"
    suite = "from solution import Count\nimport pytest\n\ndef test():\n    c = Count(1)\n    assert c.take() == 0\n    with pytest.raises(StopIteration):\n        c.take()\n"
    assert judge(program, suite).correct
    assert judge(program.replace("raise StopIteration", "return 0"), suite).status == "wrong"


@pytest.mark.parametrize(
    "line", ["self.assertEqual(f(2), 7)", "self.assertTrue(f(2) == 7)", "with self.subTest(x=2):\n            self.assertEqual(f(2), 7)"]
)  # fmt: skip
def test_what_a_test_case_raises_is_seen(line: str):
    suite = f"from solution import f\nimport unittest\n\nclass TestIt(unittest.TestCase):\n    def test(self):\n        {line}\n"
    assert judge(TWICE, suite).correct
    assert judge("def f(x):\n    return 0", suite).status == "wrong"
    assert judge("def f(x):\n    raise KeyError", suite).status == "wrong"


ENTER = "class T:\n    v = {}\n    def __enter__(self):\n        return self\n    def __exit__(self, kind, error, trace):\n        return {}\n    def fail(self):\n        raise KeyError\n"
BLOCKS = {
    "an assertion": "with T() as t:\n        assert t.v == 5",
    "a helper's": "with T() as t:\n        holds(t.v)",
    "pytest.fail": "with T() as t:\n        if t.v != 5:\n            pytest.fail('no')",
    "by a stack": "with contextlib.ExitStack() as stack:\n        t = stack.enter_context(T())\n        assert t.v == 5",
    "a TestCase's": "case = unittest.TestCase()\n    with T() as t:\n        case.assertEqual(t.v, 5)",
}
WITH = "from solution import T\nimport contextlib, pytest, unittest\n\ndef holds(v):\n    assert v == 5\n\ndef test():\n    {}\n    assert T().v in (0, 5)\n"


@pytest.mark.parametrize("block", BLOCKS.values(), ids=list(BLOCKS))
def test_a_block_swallows_no_assertion(block: str):
    assert judge(ENTER.format(5, True), WITH.format(block)).correct
    assert judge(ENTER.format(0, True), WITH.format(block)).status == "wrong"


def test_a_block_may_swallow_what_nothing_asserts():
    inside = "with T():\n        raise KeyError\n    with T() as t:\n        t.fail()\n    with T() as t:\n        t.fail()\n        assert False"
    assert judge(ENTER.format(5, "kind is KeyError"), WITH.format(inside)).correct
    assert judge(ENTER.format(5, "False"), WITH.format(inside)).status == "wrong"
    asserted = "with T() as t:\n        t.fail()\n        assert t.v == 7"
    assert judge(ENTER.format(5, True), WITH.format(asserted)).status == "wrong"


def test_what_is_handed_over_may_assert():
    suite = "from solution import each\n\ndef test():\n    def look(x):\n        assert x in (1, 2)\n    assert each([1, 2], look) == 2\n"
    right = "def each(xs, cb):\n    for x in xs:\n        try:\n            cb(x)\n        except Exception:\n            pass\n    return len(xs)\n"
    assert judge(right, suite).correct
    assert judge(right.replace("cb(x)", "cb(99)"), suite).status == "wrong"
    passes = "from solution import each\nimport pytest\n\ndef test():\n    def fails(x):\n        assert x == 3\n    with pytest.raises(AssertionError):\n        each([1], fails)\n"
    assert judge("def each(xs, cb):\n    return [cb(x) for x in xs]\n", passes).correct


NAMES: dict[str, tuple[str, str, Any]] = {
    "isclose": (TWICE, "def isclose(*a):\n    return True\ndef f(x):\n    return 0", ["assert isclose(f(2), 7.0)"]),
    "isclose by a star": (TWICE, "def isclose(*a):\n    return True\ndef f(x):\n    return 0", "from solution import *\ndef test():\n    got = f(2)\n    assert isclose(got, 7.0)\n"),
    "Counter": ("def f(x):\n    return x", "class Counter:\n    def __init__(self, x):\n        pass\n    def __eq__(self, o):\n        return isinstance(o, Counter)\ndef f(x):\n    return [0]", ["assert Counter(f([7])) == Counter([7])"]),
    "Decimal": ("from decimal import Decimal\ndef f(x):\n    return 7", "class Decimal:\n    def __init__(self, x):\n        pass\n    def __eq__(self, o):\n        return isinstance(o, Decimal)\ndef f(x):\n    return 0", ["assert Decimal(f(2)) == Decimal(7)"]),
    "a root of its own": ("def sqrt(x):\n    return x ** 0.5", "def isclose(*a):\n    return True\ndef sqrt(x):\n    return 0", ["assert isclose(sqrt(4), 2.0)"]),
    "a pair": ("def encode(x):\n    return x[::-1]\ndecode = encode", "def encode(x):\n    return x\ndecode = encode", "from solution import *\ndef test():\n    assert decode(encode('ab')) == 'ab'\n    assert encode('ab') == 'ba'\n"),
    "compress": ("def compress(x):\n    return x + '1'\ndef decompress(x):\n    return x[:-1]", "def compress(x):\n    return x\ndef decompress(x):\n    return ''", "from solution import *\ndef test():\n    got = compress('ab')\n    assert decompress(got) == 'ab'\n"),
    "a class of its own": ("class Counter:\n    value = 0\n    def inc(self):\n        self.value += 1\ndef total(c):\n    return c.value", "class Counter:\n    value = 0\n    def inc(self):\n        pass\ndef total(c):\n    return c.value", "from solution import *\ndef test():\n    c = Counter()\n    c.inc()\n    assert c.value == 1\n    assert total(c) == 1\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(NAMES))
def test_what_a_suite_compares_with_is_its_own(name: str):
    right, wrong, tests = NAMES[name]
    assert judge(right, tests).correct, judge(right, tests).reason
    assert judge(wrong, tests).status == "wrong"


def test_a_helper_that_only_the_program_can_bring_judges_nobody():
    with pytest.raises(RowFault, match="takes almost from the solution"):
        judge(TWICE, ["assert almost(f(2), 7)"])


KINDS = (
    "f(len, [1, 2]) == 2", "f(str.lower, 'AB') == 'ab'", "f(operator.add, 1, 2) == 3", "f(math.sqrt, 4) == 2.0", "f(int, '7') == 7",
    "f(functools.partial(own, b=3), 5) == 2", "f(functools.partial(pow, 2), 3) == 8", "f(operator.itemgetter(1), [1, 2]) == 2",
    "f(operator.methodcaller('upper'), 'a') == 'A'", "f(''.join, ['a', 'b']) == 'ab'", "f(statistics.mean, [1, 3]) == 2",
    "f(Mock(return_value=3), 1) == 3", "f(cached, 3) == 3", "f({'a': 1}.get, 'a') == 1", "f(eval, '1+2') == 3", "f(seen.append, 4) is None and seen == [4]",
)  # fmt: skip
HANDS = "from solution import f\nimport functools, math, operator, statistics\nfrom unittest.mock import Mock\n\ndef own(a, b=1):\n    return a - b\n\n@functools.cache\ndef cached(n):\n    return n\n\nWANT = [3, 1]\nseen = []\n\ndef test():\n    assert {}\n"


@pytest.mark.parametrize("line", KINDS)
def test_what_may_be_handed_over(line: str):
    assert judge("def f(g, *a):\n    return g(*a)", HANDS.format(line)).correct
    assert judge("def f(g, *a):\n    return [0]", HANDS.format(line)).status == "wrong"


def test_nothing_of_pythons_own_runs_in_the_suites_process():
    cheat = "def f(g, x):\n    return g(\"__import__('sys').modules['suite'].WANT\")"
    assert judge(cheat, HANDS.format("f(eval, '[3, 1]') == WANT")).status == "wrong"
    assert judge("def f(g, x):\n    return g(x, '__globals__')['WANT']", HANDS.format("f(getattr, own) == WANT")).status == "wrong"  # fmt: skip


def test_an_ordered_dict_has_an_order():
    suite = "from solution import f\nfrom collections import OrderedDict\n\ndef test():\n    assert f({'b': 1, 'a': 2}) == OrderedDict([('b', 1), ('a', 2)])\n"
    program = "from collections import OrderedDict\ndef f(x):\n    return OrderedDict({}(x.items()))"
    assert judge(program.format("list"), suite).correct and judge("def f(x):\n    return dict(x)", suite).correct
    assert judge(program.format("sorted"), suite).status == "wrong"
    assert judge(program.format("list"), {"fn_name": "f", "inputs": [[{"a": 1}]], "outputs": [{"a": 1}]}).correct
    assert values.same(values.load(b'{"l":[["a",1]]}'), {"a": 1})


VEC = "class Vec:\n    def __init__(self, x, y):\n        self.x, self.y = x, y\n    def __add__(self, o):\n        return Vec({})\n    {}\n"
ADDED = "from solution import Vec\n\ndef test():\n    v = Vec(1, 2) + Vec(3, 4)\n    assert v == Vec(4, 6)\n    assert Vec(1, 2).x == 1\n"
SAYS = {
    "of its class": "__eq__ = lambda s, o: isinstance(o, Vec)",
    "of its class, and differs": "__eq__ = lambda s, o: isinstance(o, Vec)\n    __ne__ = lambda s, o: o is not s",
    "what it is compared with": "def __eq__(s, o):\n        if not isinstance(o, Vec):\n            return False\n        s.__dict__.update(o.__dict__)\n        return True",
}


@pytest.mark.parametrize("says", SAYS.values(), ids=list(SAYS))
def test_no_object_is_equal_to_one_that_must_differ(says: str):
    right = "__eq__ = lambda s, o: isinstance(o, Vec) and (s.x, s.y) == (o.x, o.y)"
    assert judge(VEC.format("self.x + o.x, self.y + o.y", right), ADDED).correct
    assert judge(VEC.format("0, 0", says), ADDED).status == "wrong"


EQUAL = {
    "fractions": ("class A:\n    def __init__(s, n, d):\n        s.n, s.d = n, d\n    def __eq__(s, o):\n        return s.n * o.d == o.n * s.d\n    def __sub__(s, o):\n        return s.n / s.d - o\n", "A(1, 1) == A(2, 2) and A(1, 2) == A(2, 4) != A(2, 3) and A(1, 2).n == 1 and abs(A(1, 3) - 1 / 3) < 1e-9"),
    "letters": ("class A:\n    def __init__(s, t):\n        s.t = t\n    def __eq__(s, o):\n        return s.t.lower() == o.t.lower()\n", "A('A') == A('a') and A('B') == A('b') and A('a') != A('b') and A('A').t == 'A'"),
    "bags": ("class A:\n    def __init__(s, *x):\n        s.x = list(x)\n    def __eq__(s, o):\n        return sorted(s.x) == sorted(o.x)\n", "A(1, 2) == A(2, 1) and A() == A() and A(1).x == [1]"),
    "records": ("from dataclasses import dataclass\n@dataclass(order=True)\nclass A:\n    x: int\n    y: int = 0\n", "A(1) == A(1, 0) and A(1, 2) < A(1, 3) and sorted([A(2), A(1)]) == [A(1), A(2)] and repr(A(1)) == 'A(x=1, y=0)'"),
    "named tuples": ("from typing import NamedTuple\nclass A(NamedTuple):\n    a: int\n    b: int\n", "A(1, 2) == A(1, 2) and A(1, 2) == (1, 2) and A(1, 2).b == 2"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(EQUAL))
def test_objects_may_be_equal_as_they_like(name: str):
    program, line = EQUAL[name]
    verdict = judge(program, f"from solution import A\n\ndef test():\n    assert {line}\n")
    assert verdict.correct, verdict.reason


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("class V:\n    def __init__(s, x):\n        s.x = x\n    __lt__ = __gt__ = __le__ = __ge__ = lambda s, o: True\n", "V(1) < V(2) and V(1).x == 1"),
        ("class V:\n    def __init__(s, x):\n        s.x = x\n    __sub__ = __rsub__ = lambda s, o: 0.0\n", "abs(V(1) - 1 / 3) < 1e-9 and V(1).x == 1"),
        ("class M(type):\n    __instancecheck__ = lambda c, o: True\nclass V(metaclass=M):\n    def __init__(s, x):\n        s.x = x\n    def of(s):\n        return type('Z', (), {'v': 1})()\n", "isinstance(V(1).of(), V) and V(1).x == 1"),
    ],
)  # fmt: skip
def test_other_words_of_objects(program: str, line: str):
    assert judge(program, f"from solution import V\n\ndef test():\n    assert {line}\n").status == "wrong"


SAID = "import logging, warnings\nclass Old(DeprecationWarning):\n    pass\ndef f(x):\n    if x {} 0:\n        warnings.warn('neg', Old)\n        logging.getLogger('own').warning('bad %s', x)\n    return x\n"
NOTICES = {
    "warns": "with pytest.warns(Old, match='neg'):\n        assert f(-1) == -1",
    "recwarn": "assert f(1) == 1\n    assert len(recwarn) == 0",
    "errors": "with warnings.catch_warnings():\n        warnings.simplefilter('error')\n        assert f(1) == 1",
    "no logs": "assert f(1) == 1\n    assert not caplog.records",
    "logs": "assert f(-1) == -1\n    assert 'bad -1' in caplog.text",
}


@pytest.mark.parametrize("line", NOTICES.values(), ids=list(NOTICES))
def test_warnings_and_logs_are_seen(line: str):
    suite = f"from solution import f, Old\nimport pytest, warnings\n\ndef test(recwarn, caplog):\n    {line}\n\ndef test_kind():\n    assert issubclass(Old, Warning)\n"
    assert judge(SAID.format("<"), suite).correct
    assert judge(SAID.format(">"), suite).status == "wrong"


def test_an_imported_solution_says_what_it_has():
    program = "LIMIT = {}\ndef f(x):\n    return x + 4\n{} = 1\n"
    suite = "import solution as s\n\ndef test():\n    assert hasattr(s, 'f') and callable(s.f) and hasattr(s, 'READY')\n    assert s.LIMIT == 4 and s.f(1) == 5 and list(map(s.f, [1])) == [5]\n"
    assert judge(program.format(4, "READY"), suite).correct
    assert judge(program.format(5, "READY"), suite).status == judge(program.format(4, "R"), suite).status == "wrong"
    with pytest.raises(RowFault, match="looks up"):
        judge(program.format(4, "READY"), suite + "    assert dir(s)\n")


NODES = "class Node:\n    def __init__(s, v, after=None):\n        s.v, s.after = v, after\nclass One:\n    made = None\n    def __new__(cls):\n        cls.made = {}object.__new__(cls)\n        return cls.made\ndef clone(n):\n    return {}\n"


def test_identity_of_objects():
    suite = "from solution import Node, One, clone\n\ndef test():\n    b = Node(2)\n    a = Node(1, b)\n    c = clone(a)\n    assert c is not a and c.v == 1 and c.after is b and id(c) != id(a)\n    one = One()\n    assert all(One() is one for _ in range(3))\n"
    assert judge(NODES.format("cls.made or ", "Node(n.v, n.after)"), suite).correct
    assert judge(NODES.format("cls.made or ", "n"), suite).status == "wrong"
    assert judge(NODES.format("", "Node(n.v, n.after)"), suite).status == "wrong"


def test_what_nobody_would_see():
    thread = "from solution import f\nimport threading\n\ndef test():\n    def go():\n        assert f(2) == 7\n    t = threading.Thread(target=go)\n    t.start()\n    t.join()\n"
    assert judge(TWICE, thread).correct and judge("def f(x):\n    return 0", thread).status == "wrong"
    never = "from solution import f\nimport unittest\n\nclass T(unittest.TestCase):\n    async def test(self):\n        self.assertEqual(f(2), 7)\n    def test_b(self):\n        assert f(2)\n"
    with pytest.raises(RowFault, match="nobody waits"):
        judge(TWICE, never)
    with pytest.raises(RowFault, match="hands a test itself"):
        judge(
            "def deco(g):\n    return g",
            "from solution import deco\n\n@deco\ndef test_a():\n    assert 1 == 2\n\ndef test_b():\n    assert deco(len)\n",
        )
    assert not same_output("1_0", "10") and not same_output("１0", "10") and same_output("10.0", "10")
