"""Tests of programs in every form that data bring, what is compared how, and what is refused."""

from __future__ import annotations

import base64
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from rlzoo import configure
from rlzoo.data.procedural import code as embedded
from rlzoo.data.procedural import maths
from rlzoo.data.rowfaults import RowFault
from rlzoo.engine.isolation import find_isolation, verifier_context
from rlzoo.engine.trainer import train
from rlzoo.errors import UnmetNeed
from rlzoo.registry import build_verifier
from rlzoo.runs.folder import RunDir
from rlzoo.types import Problem, Verdict
from rlzoo.verifier import SandboxSettings, VerifierContext
from rlzoo.verifiers import code_pytest
from rlzoo.verifiers.code_tests import read_tests, same_output, same_result
from rlzoo.verifiers.sandbox import client, levels, values
from rlzoo.verifiers.sandbox.client import SandboxFault
from rlzoo.verifiers.sandbox.command import supervisor_command
from tests.support import offspring, small_config

CODE = build_verifier("code")


def judge(program: str, tests: Any, **metadata: Any) -> Verdict:
    sandbox = SandboxSettings(**metadata.pop("sandbox", {"wall_s": 5.0}))
    problem = Problem(id="p", domain="code", messages=(), verifier="code", metadata={"tests": tests, **metadata})
    return build_verifier("code", VerifierContext(sandbox=sandbox)).judge(problem, f"```python\n{program}\n```")


ECHO = "a, b = map(int, input().split())\nprint(a + b)"
ADD = "def add(a, b):\n    return a + b"
METHOD = "class Solution:\n    def add(self, a, b):\n        return a + b"
STDIN = {"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]}
PRIVATE = [{"input": "1 2", "output": "3", "testtype": "stdin"}]
FORMS: Mapping[str, tuple[str, Any, dict[str, Any]]] = {
    "TACO": (ECHO, json.dumps(STDIN), {}),
    "TACO with a function": (ADD, json.dumps({"fn_name": "add", "inputs": [[1, 2]], "outputs": [[3]]}), {}),
    "PrimeIntellect": (
        ECHO,
        json.dumps({"language": "python", "test_cases": [{"type": "stdin_stdout", "input": "1 2\n", "output": "3\n"}]}),
        {},
    ),
    "PrimeIntellect with a function": (
        ADD,
        {"test_cases": [{"type": "function_call", "fn_name": "add", "input": [1, 2], "output": 3}]},
        {},
    ),
    "LiveCodeBench": (ECHO, json.dumps(PRIVATE), {}),
    "LiveCodeBench with a method": (
        METHOD,
        [{"input": "1\n2", "output": "3", "testtype": "functional"}],
        {"func_name": "add"},
    ),
    "LiveCodeBench, private": (
        ECHO,
        base64.b64encode(zlib.compress(pickle.dumps(json.dumps(PRIVATE)))).decode(),
        {},
    ),
    "guru's LeetCode": (
        METHOD,
        {"functional": "def check(candidate):\n    assert candidate(a=1, b=2) == 3\n\ncheck(Solution().add)"},
        {},
    ),
    "KodCode": (ADD, "from solution import add\n\ndef test_add():\n    assert add(1, 2) == 3\n", {}),
    "embedded": ("def f(x):\n    return x + 1", [[1, 2], [3, 4]], {}),
}


@pytest.mark.parametrize("form", list(FORMS))
def test_every_form_of_tests(form: str):
    program, tests, metadata = FORMS[form]
    assert judge(program, tests, **metadata).correct, judge(program, tests, **metadata).reason
    wrong = judge(program.replace("a + b", "a - b").replace("x + 1", "x"), tests, **metadata)
    assert wrong.status == "wrong"
    assert judge("def other(:", tests, **metadata).status == "wrong"


@pytest.mark.parametrize(
    ("tests", "why"),
    [
        ([], "no tests"),
        (None, "no tests"),
        ({"inputs": ["1"], "outputs": []}, "more inputs than outputs, or fewer (1 and 0)"),
        ("{not json", "no JSON and no Python"),
        (base64.b64encode(zlib.compress(pickle.dumps(print))).decode(), "never unpickled"),
        (17, "not known (17)"),
        ({"kind": "call", "fn_name": "f", "inputs": ["abc"], "outputs": ["1"]}, "no JSON"),
        ({"kind": "call", "fn_name": "f", "inputs": ["(1,"], "outputs": ["1"], "literals": True}, "no Python literal"),
        ([{"input": "1", "output": "2", "testtype": "functional"}], "that nothing names"),
    ],
)
def test_tests_that_cannot_be_used_are_the_datas_fault(tests: Any, why: str):
    """All reasons are `test_data_tests_form.py`'s; these arrive where a problem was made by hand."""
    problem = Problem(id="p", domain="code", messages=(), verifier="code", metadata={"tests": tests})
    assert why in str(CODE.gold_fault(problem))
    with pytest.raises(ValueError, match=r"problem 'p': .*Give it other metadata.tests") as told:
        CODE.judge(problem, "#x")
    assert why in str(told.value)


@pytest.mark.parametrize("grants", ["fork", ["forks"], {"fork": True}, [None], 7])
def test_grants_are_a_list_of_known_names(grants: Any):
    with pytest.raises(RowFault, match=r"grants is no list of known names .*known: fork"):
        read_tests({"tests": [[1, 2]], "grants": grants})


def test_null_is_what_columns_hold_for_no_value():
    assert read_tests({"tests": [[1, 2]], "grants": None}).grants == ()
    assert read_tests({"tests": [[1, 2]], "grants": ["fork"]}).grants == ("fork",)
    call = {"kind": "call", "fn_name": "f", "inputs": ["1"], "outputs": ["1"], "wrapped": None, "literals": None}
    assert read_tests({"tests": call, "entry": None}).kind == "calls"


def test_a_result_in_a_list_of_one_is_right_where_all_are_expected_so():
    """{"outputs": [[3]]}: whether the list is the result or its wrapping, the data do not say."""
    wrapped = {"fn_name": "add", "inputs": [[1, 2], [3, 4]], "outputs": [[3], [7]]}
    plain = {"fn_name": "add", "inputs": [[1, 2], [3, 4]], "outputs": [3, 7]}
    listed = ADD.replace("a + b", "[a + b]")
    assert judge(ADD, wrapped).correct
    assert judge(listed, wrapped).correct
    assert judge(ADD, plain).correct
    assert judge(listed, plain).reason == "add(1, 2) is [3], expected 3"


TWO = "def put(x): KEPT.append(x)\ndef get(i): return KEPT[i]\nKEPT = []"


@pytest.mark.parametrize(
    ("tests", "program", "mistake"),
    [
        (["put(3)", "assert get(0) == 3"], TWO, "KEPT[i] + 1"),
        (["assert get(0) == 3", "assert half(3) == 1.5"], "def half(x): return x / 2\ndef get(i): return 3", "x // 2"),
        (["assert abs(root(2) - 1.41421356) < 1e-8"], "def root(x): return x ** 0.5", "x / 2"),
        (["assert letters('abca') == {'a', 'b', 'c'}"], "def letters(x): return set(x)", "list(x)"),
        (["assert add(b=2, a=1) == -1"], "def add(a, b): return a - b", "b - a"),
        (["for n in range(3):\n    assert double(n) == 2 * n"], "def double(x): return 2 * x", "x + 1"),
    ],
)
def test_assertions_of_any_kind_are_run_as_they_stand(tests: list[str], program: str, mistake: str):
    originals = {
        "KEPT[i] + 1": "KEPT[i]",
        "x // 2": "x / 2",
        "x / 2": "x ** 0.5",
        "list(x)": "set(x)",
        "b - a": "a - b",
        "x + 1": "2 * x",
    }
    assert judge(program, tests).correct, judge(program, tests).reason
    assert judge(program.replace(originals[mistake], mistake), tests).status == "wrong"


@pytest.mark.parametrize(
    ("tests", "program"),
    [
        ("METADATA = {}\n\ndef check(candidate):\n    assert candidate(a=1, b=2) == 3\n\ncheck(add)", ADD),
        ("def test_add():\n    s = Solution()\n    assert s.add(1, 2) == 3\n", METHOD),
        ("import math\n\ndef test_add():\n    assert math.isclose(add(1, 2), 3)\n", ADD),
        ("from solution import add\nassert abs(add(1, 2) - 3) < 1e-9", ADD),
        ({"fn_name": "add", "inputs": [["a\u2028", "b"]], "outputs": ["a\u2028b"]}, ADD),
        ("assert add([(1, 2), (1, 2)], 3) == (1, 3)", "def add(a, b):\n    return len(set(a)), b"),
        ({"fn_name": "add", "inputs": [[]], "outputs": [3]}, "def add():\n    return 3"),
    ],
)
def test_what_a_reader_of_tests_could_spoil_on_the_way(tests: Any, program: str):
    assert judge(program, tests).correct, judge(program, tests).reason
    assert (
        judge(program.replace("a + b", "a").replace("return 3", "return 4").replace("set(a)", "a"), tests).status
        == "wrong"
    )


def test_a_solution_that_fails_its_own_tests_is_found():
    problem = Problem(
        id="p", domain="code", messages=(), verifier="code", metadata={"tests": [[1, 2]]}, solution="#x+1"
    )
    assert CODE.gold_fault(problem) is None
    bad = Problem(id="p", domain="code", messages=(), verifier="code", metadata={"tests": [[1, 2]]}, solution="#x+2")
    assert CODE.gold_fault(bad) == "its own solution fails: f(1) is 3, expected 2"


@pytest.mark.parametrize(
    ("found", "expected", "equal"),
    [
        ("3\n", "3", True),
        ("3  \n4\n\n", "3\n4", True),
        ("1 2", "1\n2", True),
        ("0.50", "0.5", True),
        ("1e400", "1e401", False),
        ("3 4", "3", False),
        ("NaN", "NaN0", False),
        ("9" * 10**6, "9", False),
    ],
)
def test_output_is_compared_as_tokens(found: str, expected: str, equal: bool):
    assert same_output(found, expected) is equal


@pytest.mark.parametrize(
    ("value", "expected", "equal"),
    [
        ((1, 2), [1, 2], True),
        (1, 1.0, True),
        (True, 1, True),
        ((1, (2,)), [1, [2]], False),
        ([(1, 2)], [[1, 2]], False),
        (Decimal("0.5"), 0.5, True),
        (Fraction(1, 2), 0.5, True),
        (1 + 0j, 1, True),
        ({1: 2}, {"1": 2}, True),
        ("1", 1, False),
        (values.Opaque("x"), ["x"], False),
        (float("nan"), float("nan"), False),
    ],
)
def test_results_are_equal_as_livecodebench_has_it(value: object, expected: object, equal: bool):
    assert same_result(value, expected) is equal


@pytest.mark.parametrize(
    ("value", "expected", "equality", "equal"),
    [
        ((1, 2), [1, 2], "==", False),
        ([1, 2], (1, 2), "==", False),
        ((1, 2), (1, 2), "==", True),
        (True, 1, "==", True),
        (1, True, "is", False),
        ([True], [1], "is", False),
        (1, 1.0, "is", True),
        ({"a": (1,)}, {"a": [1]}, "==", False),
    ],
)
def test_assertions_have_pythons_equality(value: object, expected: object, equality: Any, equal: bool):
    assert same_result(value, expected, equality) is equal
    source = f"assert f() {equality} {expected!r}"
    assert judge(f"def f():\n    return {value!r}", [source]).correct is equal


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1,
        -(10**4000),
        1.5,
        "é\ud800\n",
        [1, [2]],
        (1, (2,)),
        {"a": {1: (2,)}},
        {1, 2},
        b"\0x",
        2j,
        float("inf"),
        range(5, -(10**30), -2),
    ],
)
def test_values_cross_unchanged(value: object):
    back = values.load(values.dump(value))
    assert values.same(back, value)


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 5_000, b"7" * 5_000, b"1" * 4_000 + b".5" + b"0" * 400, b"NaN", b"{}", b'{"d": [[[], 1]]}', b'{"x": 1}',
        b'{"b": "zz"}', b'{"r": [1, 2, 0]}', b'{"r": [1, 2]}', b'{"r": [1, 2.0, 3]}', b'{"r": [true, 2, 3]}', b"\xff", b"", b'{"t": 1}', b"[" * 90 + b'{"t":[' * 90 + b"]}" * 90 + b"]" * 90,
    ],
)  # fmt: skip
def test_what_is_no_value_is_refused(line: bytes):
    with pytest.raises(values.Malformed):
        values.load(line)


@pytest.mark.parametrize("tests", [[[1, 1]], STDIN, "from solution import f\n\ndef test():\n    assert f(1) == 1\n"])
def test_a_program_that_waited_says_so(tests: Any):
    """What used the processor is slow; what waited may have waited for the machine."""
    waits = judge("import time\ntime.sleep(60)\ndef f(x): return x", tests, sandbox={"wall_s": 0.3})
    works = judge("while True:\n    pass\ndef f(x): return x", tests, sandbox={"wall_s": 0.3})
    assert (waits.status, works.status) == ("timeout", "timeout")
    assert waits.starved


def test_one_wall_limit_for_all_tests_of_a_program():
    slow = {"inputs": ["x"] * 50, "outputs": ["x"] * 50}
    started = time.monotonic()
    verdict = judge("import time\ntime.sleep(0.2)\nprint(input())", slow, sandbox={"wall_s": 0.5})
    assert verdict.status == "timeout"
    assert time.monotonic() - started < 8  # the 50 tests alone sleep for 10 s


def test_programs_are_the_same_in_every_run():
    program = "import random\nprint(random.random(), list({'a', 'b', 'c', 'd', 'e'}))"
    outputs = set()
    for _ in range(2):
        outputs.add(judge(program, {"inputs": [""], "outputs": ["?"]}).reason)
        levels.close_all()
    assert len(outputs) == 1


# ---------------------------------------------------------------------------------------------------------
# A program runs as under plain Python

LINES = {"inputs": ["3\n4\n"], "outputs": ["7\n"]}
READ = "a, b = map(int, {}.read().split())\n"
PLAIN = {
    "exit": "print(sum(int(input()) for _ in range(2)))\nexit()\nprint(8)",
    "quit": "print(sum(int(input()) for _ in range(2)))\nquit(0)",
    "sys.exit": "import sys\nprint(7)\nsys.exit()",
    "atexit": "import atexit\natexit.register(lambda: print(7))",
    "a thread that nobody joins": "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.05), print(7))).start()",
    "/dev/stdin": READ.format("open('/dev/stdin')") + "print(a + b)",
    "/dev/stdin by pathlib": "import pathlib\na, b = map(int, pathlib.Path('/dev/stdin').read_text().split())\nprint(a + b)",
    "/dev/stdout": "open('/dev/stdout', 'w').write('7')",
    "descriptor 0": READ.format("open(0)") + "print(a + b)",
    "fileinput": "import fileinput\nprint(sum(int(line) for line in fileinput.input()))",
    "__future__": "from __future__ import annotations\ndef f(x: Unknown): return x\nprint(f(7))",
    "main guard": "if __name__ == '__main__':\n    print(7)",
    "asyncio": "import asyncio\nasync def main():\n    await asyncio.sleep(0)\n    print(7)\nasyncio.run(main())",
    "numpy": "import numpy as np\nnp.fft.fft([1, 2]), np.ma.array([1]), np.polynomial.Polynomial([1]), np.random.default_rng(0)\nprint(np.array([3, 4]).sum())",
    "libraries": "import pathlib, sqlite3, decimal, concurrent.futures\nprint(7)",
}
UNLIKE = {
    "exit with a code": "print(7)\nexit(1)",
    "exit with words": "import sys\nprint(7)\nsys.exit('no')",
    "an exception at the end": "print(7)\nraise ValueError",
    "LeetCode's imports in a script": "print(7)\nx: List[int] = []",
    "a package that is not named": "import pydantic\nprint(7)",
    "more at exit": "import atexit\natexit.register(lambda: print(8))\nprint(7)",
}


@pytest.mark.parametrize("level", levels.LEVELS)
def test_a_program_runs_as_under_plain_python(level: str):
    if not levels.try_level(level).holds:
        return
    for name, program in PLAIN.items():
        verdict = judge(program, LINES, sandbox={"level": level, "packages": ("numpy",), "wall_s": 3.0})
        assert verdict.correct, (name, verdict.reason)


@pytest.mark.parametrize("name", list(UNLIKE))
def test_what_plain_python_fails_is_wrong(name: str):
    assert judge(UNLIKE[name], LINES, sandbox={"packages": ("numpy",)}).status == "wrong"


def test_a_package_is_there_only_where_the_run_names_it():
    assert judge(PLAIN["numpy"], LINES).reason.startswith("ModuleNotFoundError")
    with pytest.raises(
        SandboxFault, match=r"verifier\.packages names 'nopackage', which is no package installed here: pip"
    ):
        judge(PLAIN["numpy"], LINES, sandbox={"packages": ("nopackage",)})
    assert configure.load(algo="grpo").verifier.packages == ["numpy"]


BARE_NAMES = "def add(a: List[int], b) -> Optional[int]:\n    return Counter(a)[b] + gcd(4, 6) - 2 + (inf > 1) - 1"


def test_leetcodes_imports_stand_where_its_graders_put_them():
    case = {"fn_name": "add", "inputs": [[[1, 1, 2], 1]], "outputs": [2]}
    method = BARE_NAMES.replace("def add(", "class Solution:\n  def add(self, ").replace("    return", "    return")
    assert judge(BARE_NAMES, case).correct, judge(BARE_NAMES, case).reason
    assert judge(method, "assert Solution().add([1, 1, 2], 1) == 2").correct
    check = "def check(candidate):\n    assert candidate([1, 1, 2], 1) > 1\n\ncheck({})"
    assert judge(method, {"functional": check.format("Solution().add")}).correct
    assert "Counter" not in judge(BARE_NAMES, {"functional": check.format("add")}).reason, "typing has one"
    assert "gcd" in judge(BARE_NAMES, {"functional": check.format("add")}).reason
    for plain in (
        ["assert add([1, 1, 2], 1) == 2"],
        "from solution import add\n\ndef test():\n    assert add([1, 1, 2], 1) > 1",
    ):
        assert "List" in judge(BARE_NAMES, plain).reason


def test_leetcodes_imports_replace_nothing():
    """`pow` of math and operator, `open` of io, `sum` of the program: Python's own and the program's come first."""
    program = "def prod(x):\n    return 7\ndef add(a, b):\n    return pow(a, b, 5) + prod([1])"
    assert judge(program, {"fn_name": "add", "inputs": [[2, 3]], "outputs": [10]}).correct
    assert judge("x = 1", {"fn_name": "gcd", "inputs": [[4, 6]], "outputs": [2]}).reason.endswith("defines no gcd")


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(): return P(1, 2)", [1, 2]),
        ("from enum import IntEnum\nclass E(IntEnum):\n    A = 3\ndef f(): return E.A", 3),
        ("from enum import StrEnum\nclass E(StrEnum):\n    A = 'a'\ndef f(): return [E.A]", ["a"]),
        ("class L(list): pass\ndef f(): return L([1])", [1]),
        ("class D(dict):\n    def __missing__(self, k): return 9\ndef f(): return D(a=1)", {"a": 1}),
        ("import numpy as np\ndef f(): return [np.int64(3), np.float64(0.5), np.bool_(True)]", [3, 0.5, True]),
    ],
)
def test_what_extends_a_value_is_that_value(program: str, expected: object):
    form = {"kind": "call", "fn_name": "f", "inputs": [""], "outputs": [json.dumps(expected)]}
    assert judge(program, form, sandbox={"packages": ("numpy",)}).correct
    wrong = {**form, "outputs": [json.dumps([expected, expected])]}
    assert judge(program, wrong, sandbox={"packages": ("numpy",)}).status == "wrong"


def test_a_class_cannot_lie_about_its_value():
    lie = "class L(int):\n    def __eq__(self, o): return True\n    def __int__(self): return 2\n    __index__ = __int__\ndef f(): return L(1)"
    assert (
        judge(lie, {"kind": "call", "fn_name": "f", "inputs": [""], "outputs": ["2"]}).reason == "f() is 1, expected 2"
    )


@pytest.mark.parametrize(
    ("found", "expected", "near"),
    [
        ("0.3333333", "0.333333333", True),
        ("1234567.1", "1234567.9", True),
        ("0.33333", "0.333333333", False),
        ("1000001", "1000000", False),
        ("1.0000001", "1", False),
        ("1e-9", "0.0", True),
        ("nan", "0.5", False),
        ("inf", "1e400", False),
        ("x0.5", "0.5", False),
    ],
)
def test_numbers_with_a_point_may_be_off_where_their_graders_have_it_so(found: str, expected: str, near: bool):
    program = f"print({found!r})"
    given = {"inputs": ["1"], "outputs": [expected]}
    assert judge(program, given).correct is near
    assert not judge(program, [{"input": "1", "output": expected, "testtype": "stdin"}]).correct


@pytest.mark.parametrize(
    ("tests", "why"),
    [
        ({"inputs": ["1", "2"], "outputs": ["", " \n"]}, "expect no output"),
        ({"fn_name": "f", "inputs": [[1], [2]], "outputs": [None, None]}, "every result is null"),
    ],
)
def test_tests_that_silence_passes_are_none(tests: Any, why: str):
    with pytest.raises(RowFault, match=why):
        read_tests({"tests": tests})


# ---------------------------------------------------------------------------------------------------------
# pytest-style suites

SUITE = """
import pytest
from solution import add, grow, fail

@pytest.mark.parametrize("a", [1, 2])
def test_add(a):
    assert add(a, b=1) == a + 1

def test_in_place():
    items = [1]
    grow(items)
    assert items == [1, 1]

def test_fails():
    with pytest.raises(ValueError, match="no"):
        fail()
"""
SOLUTION = "def add(a, b):\n    return a + b\ndef grow(x):\n    x.append(1)\ndef fail():\n    raise ValueError('no')\n"


@pytest.mark.parametrize(
    ("program", "status"),
    [
        (SOLUTION, "correct"),
        (SOLUTION.replace("a + b", "a"), "wrong"),
        (SOLUTION.replace("x.append(1)", "pass"), "wrong"),
        (SOLUTION.replace("ValueError", "KeyError"), "wrong"),
        (SOLUTION.replace("def fail", "def other"), "wrong"),
        ("while True:\n    pass", "timeout"),
        ("import os\nos._exit(0)", "wrong"),
        ("class Any:\n    def __eq__(self, o):\n        return True\ndef add(a, b):\n    return Any()\ngrow = fail = add", "wrong"),
        ("import os\nfor _ in range(9):\n    os.write(4, b'{\"test\": \"x\", \"outcome\": \"passed\"}\\n{\"end\": 1}\\n')", "wrong"),
        ("import sys, pytest\npytest.exit('ok', 0)", "wrong"),
    ],
)  # fmt: skip
def test_a_suite_asks_the_program_for_values(program: str, status: str):
    assert judge(program, SUITE, sandbox={"wall_s": 1.5}).status == status


FIRST = "from solution import f\n\ndef test_one():\n    assert f(1) == 1\n\ndef test_two():\n    assert f(2) == 2\n"
FLOOD = "class Loud(Exception):\n    def __str__(self): return 'x' * (16 << 20)\n"


@pytest.mark.parametrize("level", levels.LEVELS)
@pytest.mark.parametrize(
    "then",
    [
        FLOOD + "def f(x):\n    if x == 1: return 1\n    raise Loud()",
        "def f(x):\n    if x == 1: return 1\n    raise ValueError('\\U0001f600' * (16 << 20))",
        'import os\nSENT = b\'{"error":["E","\' + b\'x\' * (16 << 20) + b\'"],"kinds":["ValueError","Exception"]}\\n\'\ndef f(x):\n    if x == 1: return 1\n    left = SENT\n    while left: left = left[os.write(4, left):]\n',
        "def f(x):\n    return 1 if x == 1 else [[]] * 700_000",
        "import os\ndef f(x):\n    if x == 1: return 1\n    os._exit(0)",
        "import os\ndef f(x):\n    if x == 1: return 1\n    os.write(4, b'{\"value\": 2')\n    os._exit(0)",
    ],
    ids=["text", "wide text", "forged frame", "many values", "exit", "half a frame"],
)
def test_an_answer_and_then_a_flood_is_wrong(then: str, level: str):
    """A suite's process that dies while it reports says nothing, and nothing is no success."""
    if levels.try_level(level).holds:
        sandbox = {"level": level, "wall_s": 5.0, "memory_mb": 512}
        assert judge(then, FIRST, sandbox=sandbox).status in {"wrong", "timeout"}
        assert judge("def f(x):\n    return x", FIRST, sandbox=sandbox).correct


RAISES = "import pytest\nfrom solution import f\n\ndef test_ok():\n    assert f(1) == 1\n\ndef test_raises():\n    with pytest.raises({}):\n        f(0)\n"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("raise ValueError('no')", {"Exception", "ValueError"}),
        ("raise Own()", {"Exception"}),
        ("import os; os._exit(1)", set()),
        ("raise SystemExit(0)", {"SystemExit"}),
        ("return object()", set()),
        ("return 0", set()),
        ("import os; os.write(4, b'nonsense\\n'); raise ValueError", set()),
        ("raise KeyboardInterrupt", set()),
    ],
)
def test_only_an_exception_is_one(body: str, expected: set[str]):
    program = f"class Own(Exception): pass\ndef f(x):\n    if x: return x\n    {body}"
    for kind in ("Exception", "ValueError", "SystemExit"):
        assert judge(program, RAISES.format(kind)).correct is (kind in expected), kind


MARKED = """
import unittest
import pytest
from solution import f

{}
def test_marked():
    assert f(1) == {}

def test_plain():
    assert f(2) == 2
"""


@pytest.mark.parametrize(
    ("mark", "value", "status"),
    [
        # these stand in the text of a suite that is judged: what is held is the verdict, and no test of ours is marked
        ("@pytest.mark.skip(reason='later')", 0, "correct"),
        ("@pytest.mark.skipif(True, reason='later')", 0, "correct"),
        ("@pytest.mark.xfail", 0, "correct"),
        ("@pytest.mark.xfail", 1, "correct"),
        ("@pytest.mark.xfail(strict=True)", 1, "wrong"),
        ("@pytest.mark.skipif(False, reason='later')", 0, "wrong"),
        ("@pytest.mark.skipif(f(7) == 7, reason='asked the program')", 0, "wrong"),
        ("", 0, "wrong"),
    ],
)
def test_a_mark_counts_only_before_the_program_said_anything(mark: str, value: int, status: str):
    assert judge("def f(x):\n    return x", MARKED.format(mark, value)).status == status


@pytest.mark.parametrize(
    "line",
    # lines of a suite that is judged; the test below asserts that each of them costs it the verdict
    ["pytest.skip('now')", "pytest.xfail('now')", "raise unittest.SkipTest('now')", "pytest.importorskip('nothing')"],
)
def test_a_skip_at_run_time_is_a_failure(line: str):
    assert (
        judge("def f(x):\n    return x", f"{MARKED.format('', 1)}\ndef test_skips():\n    f(1)\n    {line}\n").reason
        == "fails test_skips"
    )


@pytest.mark.parametrize(
    ("suite", "why"),
    [
        (
            "from solution import f\nimport pytest\n@pytest.mark.skip\ndef test():\n    assert f(1) == 1\n",
            "calls nothing",
        ),
        (
            "from solution import f\nimport nothing_here\ndef test():\n    assert f(1) == 1\n",
            "its top level raises ModuleNotFoundError",
        ),
        ("from solution import f\ndef test(absent):\n    assert f(1) == 1\n", "test raises"),
        ("from solution import f\ndef test():\n    x = undefined\n    assert f(1) == x\n", "test raises NameError"),
        (
            "from solution import f\nimport pytest\ny = f(1)\n@pytest.mark.parametrize('x', [])\ndef test(x):\n    assert f(1) == 1\n",
            "wrong",
        ),
    ],
)
def test_a_suite_that_fails_by_itself_judges_nobody(suite: str, why: str):
    if why == "wrong":
        assert judge("def f(x):\n    return x", suite).status == "wrong"
        return
    with pytest.raises(RowFault, match=why):
        judge("def f(x):\n    return x", suite)


ASYNC = """
import pytest
from solution import double, triple, count

@pytest.mark.asyncio
async def test_double():
    assert await double(4) == 8

@pytest.mark.parametrize("x", [1, 2])
async def test_triple(x):
    assert triple(x) == 3 * x

def test_iterators():
    numbers = count()
    assert [next(numbers) for _ in range(3)] == [0, 1, 2]
    assert list(zip(count(), "ab")) == [(0, "a"), (1, "b")]
"""
ASYNC_SOLUTION = "async def double(x):\n    return 2 * x\ndef triple(x):\n    return 3 * x\ndef count():\n    n = 0\n    while True:\n        yield n\n        n += 1\n"


@pytest.mark.parametrize("level", levels.LEVELS)
def test_async_tests_and_endless_iterators(level: str):
    if not levels.try_level(level).holds:
        return
    sandbox = {"level": level, "wall_s": 5.0}
    assert judge(ASYNC_SOLUTION, ASYNC, sandbox=sandbox).correct, judge(ASYNC_SOLUTION, ASYNC, sandbox=sandbox).reason
    for right, wrong in (("2 * x", "x"), ("3 * x", "x"), ("n += 1", "n += 2"), ("async def", "def")):
        assert judge(ASYNC_SOLUTION.replace(right, wrong), ASYNC, sandbox=sandbox).status == "wrong", wrong


def test_a_suite_may_hand_over_a_range():
    assert judge("def total(x):\n    return x[0] + total(x[1:]) if x else 0", RANGE).correct
    assert judge("def total(x):\n    return sum(list(x))", RANGE).correct


RANGE = "from solution import total\n\ndef test():\n    assert total(range(1, 101)) == 5050\n"


@pytest.mark.parametrize(
    ("suite", "why"),
    [
        ("import inspect\nfrom solution import f\ndef test(): assert inspect.signature(f)", "other than by calling"),
        ("from solution import f\ndef test(): assert f.calls == 1", "other than by calling"),
        ("from solution import Stack\nclass Own(Stack): pass\ndef test(): assert Own()", "own class Stack"),
        ("from solution import MOST, f\ndef test(): assert f(1) < MOST", "uses the solution's MOST"),
        ("from solution import f\ndef test(capsys):\n    f(1)\n    assert capsys.readouterr().out", "prints"),
        ("import sys, io\nfrom solution import f\ndef test():\n    sys.stdout = io.StringIO()\n    f(1)", "prints"),
        (
            "from solution import f\ndef test(monkeypatch):\n    monkeypatch.setattr('builtins.input', str)\n    f(1)",
            "patches",
        ),
        ("from solution import f\ndef test(tmp_path): assert f(tmp_path / 'a')", "writes files"),
        ("from solution import *\ndef test(): assert eval('f(1)') == f(1)", "by eval"),
        ("from solution import *\ndef test(): assert sum([1]) == 1", "nothing of the solution"),
        ("def test(:", "no Python"),
    ],
)
def test_suites_that_need_more_than_values_are_refused(suite: str, why: str):
    assert why in str(code_pytest.refusal(suite))


CHECKED = "def g(): pass\ndef check(candidate):\n    {}\n\ncheck({})"


@pytest.mark.parametrize(
    ("line", "target", "why"),
    [
        ("assert hash(candidate)", "f", "candidate other than by calling"),
        ("assert near(candidate(1), 2)", "f", "takes near from the solution"),
        ("assert candidate([1]) > 0", "sum", "nothing of the solution"),
    ],
)
def test_a_checker_is_held_to_the_same(line: str, target: str, why: str):
    solution = "def f(*a): pass\nclass Stack: pass\nclass Solution:\n    def f(self, *a): pass"
    assert why in str(code_pytest.refusal(CHECKED.format(line, target), check=True))
    tests = {"functional": CHECKED.format(line, target)}
    problem = Problem(id="p", domain="code", messages=(), verifier="code", metadata={"tests": tests}, solution=solution)
    assert why in str(CODE.gold_fault(problem))


def test_identity_is_told_where_it_can_be():
    table = "import pytest\nfrom solution import f\n@pytest.mark.parametrize('x, want', [{}])\ndef test(x, want):\n    assert f(x) is want\n"
    assert judge("def f(x):\n    return x > 1", table.format("(1, False), (2, True)")).correct
    assert judge("def f(x):\n    return int(x > 1)", table.format("(1, False), (2, True)")).status == "wrong"
    suite = "from solution import f\n\ndef test():\n    x = [[1]]\n    y = f(x)\n    assert y == x and y is {} x\n"
    copied, given = "def f(x):\n    return list(x)", "def f(x):\n    return x"
    assert judge(copied, suite.format("not")).correct and judge(given, suite.format("")).correct
    assert judge(given, suite.format("not")).status == judge(copied, suite.format("")).status == "wrong"
    with pytest.raises(RowFault, match="identity of values"):  # nobody can tell of what is within
        judge(copied, suite.format("not") + "    assert y[0] is not x[0]\n")


def test_a_suite_that_serves_is_not_refused():
    for line in ("assert candidate(1) == max(1, 0)", "h = candidate\n    assert h(1)", "assert candidate(2) is None"):
        assert code_pytest.refusal(CHECKED.format(line, "f"), check=True) is None
        assert code_pytest.refusal(CHECKED.format(line, "Solution().f"), check=True) is None
        assert code_pytest.refusal(f"c = Solution().f\n{CHECKED.format(line, 'c')}", check=True) is None
    assert code_pytest.refusal(SUITE) is None
    assert code_pytest.refusal("from solution import f\ndef test(): assert f(1) is None") is None
    assert code_pytest.refusal("from solution import *\ndef test(): assert f(1) == max(1, 0)") is None


CHECK = "def check(candidate):\n    {}\n\ncheck(area)"
STAR = "{}from solution import *\n\ndef test():\n    {}\n"
CHEATS = {
    "abs": ("assert abs(area(1.0) - 3.14) < 1e-2", "def abs(x): return 0", ""),
    "isclose": ("assert isclose(area(1.0), 3.14)", "def isclose(*a): return True", "from math import isclose\n"),
    "isclose, by a star": ("assert isclose(area(1.0), 3.14)", "def isclose(*a): return True", "from math import *\n"),
    "len": ("assert len([n for n in range(5) if area(n) > 0]) == 4", "def len(x): return 4", ""),
    "sorted": ("assert sorted([area(2), area(1)]) == [3.14, 12.56]", "def sorted(x): return [3.14, 12.56]", ""),
    "isinstance": ("assert isinstance(area(1), float)", "def isinstance(*a): return True", ""),
    "a helper": ("assert near(area(1.0))", "def near(*a): return True", "def near(x):\n    return 3 < x < 4\n"),
}


@pytest.mark.parametrize("form", [CHECK, STAR], ids=["check", "pytest"])
@pytest.mark.parametrize("name", list(CHEATS))
def test_a_program_replaces_nothing_that_a_suite_compares_with(name: str, form: str):
    """An attack: the names of a program come into a suite by `import *`, but none that it has of its own or from Python."""
    line, cheat, before = CHEATS[name]
    suite = form.format(before, line) if form is STAR else before + form.format(line.replace("area", "candidate"))
    tests = suite if form is STAR else {"functional": suite}
    assert judge(f"{AREA}\n{cheat}", tests).correct, judge(AREA, tests).reason
    verdict = judge(f"{NO_AREA}\n{cheat}", tests)
    assert verdict.status == "wrong"
    forged = "import os, json\nos.write(4, json.dumps({'ready': ['area', 'abs', '__builtins__', '__all__', 3]}).encode() + b'\\n')"
    assert judge(f"{forged}\n{NO_AREA}\n{cheat}", tests).status == "wrong"


AREA = "def area(r):\n    return 3.14 * r * r"
NO_AREA = "def area(r):\n    return 0"


@pytest.mark.parametrize(
    "own", ["test_mine", "setup_module", "teardown_function", "setUpModule", "pytest_plugins", "TestX"]
)
def test_a_programs_own_tests_are_not_the_suites(own: str):
    suite = STAR.format("", "assert area(1) == 3.14")
    assert judge(f"{AREA}\n\ndef {own}(x):\n    raise ValueError", suite).correct
    check = {"functional": CHECK.format("assert candidate(1) == 3.14")}
    assert judge(f"{AREA}\n\ndef {own}(x):\n    raise ValueError", check).correct


def test_a_solution_named_like_a_test_is_none():
    program = "def test_even(n):\n    return n % 2 == 0"
    suite = "from solution import {}\n\ndef test():\n    assert test_even(2) and not test_even(3)\n"
    assert judge(program, suite.format("*")).correct
    assert judge(program, suite.format("test_even")).correct
    assert judge(program.replace("== 0", "> 0"), suite.format("*")).reason == "fails test"


def test_a_suite_that_calls_nothing_of_the_program_judges_nobody():
    with pytest.raises(ValueError, match="calls nothing of the solution"):
        judge(AREA, "import solution\n\ndef test():\n    assert 1 + 1 == 2\n")


@pytest.mark.parametrize("before", ["test_cases = [1, 2]", "test_data = 3", "from unittest import TestCase"])
def test_assertions_beside_names_like_tests(before: str):
    tests = f"{before}\nfor r in [1, 2]:\n    assert Solution().area(r) == 3.14 * r * r\n"
    program = "class Solution:\n    def area(self, r):\n        return 3.14 * r * r"
    assert judge(program, {"functional": tests}).correct
    assert judge(program.replace("3.14", "3"), {"functional": tests}).status == "wrong"


def test_names_that_a_star_may_bring():
    source = "import os\nfrom re import sub as s\nX = Y\ndef g(a=B):\n    c = h(a, c=[d for d in E])\n    print(c, X)\nclass K(L):\n    m = n\n    def f(self):\n        global Z\n        Z = s(os)\n        return __name__, Z\n"
    assert code_pytest.free_names(source) == ["B", "E", "L", "Y", "h", "n"]
    assert code_pytest.free_names("def one():\n    f = 1\ndef two():\n    return f(2)\n") == ["f"]


# ---------------------------------------------------------------------------------------------------------
# Levels, refusal, and who goes when somebody is killed


def test_without_any_level_code_is_refused(monkeypatch: pytest.MonkeyPatch):
    config = configure.load(algo="grpo")
    broken = levels.LevelTrial(level="core", holds=False, reason="attacks got through: forks")
    monkeypatch.setattr(levels, "try_level", lambda level, packages: broken)
    with pytest.raises(UnmetNeed, match=r"no sandbox level holds.*attacks got through: forks.*allow_unsafe"):
        find_isolation(config.verifier, [embedded()])
    assert find_isolation(config.verifier, [maths()]) is None
    allowed = configure.load(algo="grpo", assignments=["verifier.allow_unsafe=true"])
    assert str(find_isolation(allowed.verifier, [embedded()])) == "none (rlimits)"
    with pytest.raises(SandboxFault, match="cannot be verified"):
        levels.choose("none")


def test_workers_are_told_the_level_that_was_found():
    config = configure.load(algo="grpo")
    found = find_isolation(config.verifier, [embedded()])
    assert found is not None
    assert found.level in levels.LEVELS
    assert verifier_context(config.verifier, found).sandbox.level == found.level
    assert verifier_context(config.verifier, None).sandbox.level == "auto"


def test_a_run_finds_its_isolation_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its plan does; workers and the record of the run are told. Workers attack a sandbox of their own, in their processes."""
    searches, starts = [], []
    choose, command = levels.choose, supervisor_command

    def search(*arguments: Any, **more: Any) -> levels.LevelTrial:
        searches.append(arguments)
        return choose(*arguments, **more)

    def start(level: str, packages: list[str]) -> list[str]:
        starts.append(level)
        return command(level, packages)

    monkeypatch.setattr(levels, "choose", search)
    monkeypatch.setattr(client, "supervisor_command", start)
    levels.close_all()  # what other tests of this process left open
    levels.try_level.cache_clear()
    quiet = ("eval.at_start=false", "eval.at_end=false", "learner.updates_per_step=1")
    train(small_config(*quiet, "data.sources=[{name: code}]", steps=1), tmp_path / "run")
    found = RunDir(tmp_path / "run").provenance().sandbox
    assert len(searches) == 1
    assert len(starts) == len(set(starts))
    assert found.startswith(starts[-1])


HELD = """
import os, sys, time
from rlzoo.verifiers.sandbox.client import ProgramRun, Sandbox
sandbox = Sandbox(sys.argv[1])
sandbox.start()
print(sandbox._process.pid, flush=True)
sandbox.run(ProgramRun(work={"mode": "script", "program": "import os, time\\nos.fork()\\ntime.sleep(600)"}, wall_s=600, grants=("fork",)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")
@pytest.mark.parametrize("level", levels.LEVELS)
def test_a_killed_worker_takes_its_programs_along(level: str):
    if not levels.try_level(level).holds:
        return
    worker = subprocess.Popen([sys.executable, "-P", "-c", HELD, level], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    supervisor = int(worker.stdout.readline())
    deadline = time.monotonic() + 10
    while len(offspring(supervisor)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    everyone = [supervisor, *offspring(supervisor)]
    assert len(everyone) >= 3
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    while any(alive(pid) for pid in everyone) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [pid for pid in everyone if alive(pid)]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Fusion(BaseHTTPRequestHandler):
    """Answers as SandboxFusion does, by running the code for real."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        done = subprocess.run(
            [sys.executable, "-I", "-c", body["code"]], input=body["stdin"], capture_output=True, text=True, check=False
        )
        result = {"status": "Finished", "return_code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
        answer = {"status": "Success" if not done.returncode else "Failed", "run_result": result}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


def test_sandboxfusion_by_url():
    server = HTTPServer(("127.0.0.1", 0), Fusion)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sandbox = {"url": f"http://127.0.0.1:{server.server_port}/", "wall_s": 2.0}
    try:
        assert judge(ECHO, STDIN, sandbox=sandbox).correct
        assert judge("def f(x):\n    print('3')\n    return x + 1", [[1, 2]], sandbox=sandbox).correct
        assert judge("def f(x):\n    return x", [[1, 2]], sandbox=sandbox).reason == "f(1) is 1, expected 2"
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(SandboxFault, match="cannot be reached"):
        judge(ECHO, STDIN, sandbox=sandbox)
