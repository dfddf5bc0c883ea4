"""Attacks on the protocol between a program and its tests: silence, floods, half frames, forged answers, lying results.

Each is a wrong program in one form of tests, whose right program stands beside it. Suites ask for calls one at a time, and
their programs are served by a harness that a program can be rid of: `served` answers what the suite asks with lines of its
own making, and `{n}` there is the number of the request, from one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.attacks import Attack

RIGHT = "def f(x):\n    if x < 0:\n        raise ValueError('negative')\n    return 2 * x + 3"
WALL_S = 0.4
"""Seconds of a program, unless an attack takes longer to get through."""
FIRST = (
    "from solution import f\nimport pytest, time\n\ndef test_first():\n    assert f(1) == 5\n\ndef test_then():\n    "
)
FORMS: Mapping[str, tuple[str, Any]] = {
    "stdio": ("print(2 * int(input()) + 3)", {"inputs": ["1\n", "2\n", "4\n"], "outputs": ["5\n", "7\n", "11\n"]}),
    "calls": (RIGHT, {"fn_name": "f", "inputs": [[1], [2], [4]], "outputs": [5, 7, 11]}),
    "rows": ("def f(x):\n    return [x, 2 * x + 3]", {"fn_name": "f", "inputs": [[1], [2]], "outputs": [[1, 5], [2, 7]]}),
    "table": ("def f(x):\n    return {'a': 2 * x + 3}", {"fn_name": "f", "inputs": [[1], [2]], "outputs": [{"a": 5}, {"a": 7}]}),
    "text": ("def f(x):\n    return str(2 * x + 3)", {"fn_name": "f", "inputs": [[1], [2]], "outputs": ["5", "7"]}),
    "pairs": (RIGHT, [[1, 5], [2, 7], [4, 11]]),
    "check": (RIGHT, {"functional": "def check(c):\n    assert c(1) == 5\n    assert c(2) == 7\n    assert c(4) == 11\n\ncheck(f)"}),
    "suite": (RIGHT, f"{FIRST}assert f(2) == 7\n\ndef test_last():\n    assert f(4) == 11\n"),
    "differs": (RIGHT, f"{FIRST}assert f(2) != 4\n"),
    "raises anything": (RIGHT, f"{FIRST}with pytest.raises(Exception):\n        f(-1)\n"),
    "raises ValueError": (RIGHT, f"{FIRST}with pytest.raises(ValueError):\n        f(-1)\n"),
    "raises OSError": (
        RIGHT.replace("ValueError", "OSError"), f"{FIRST}time.sleep(0.05)\n    with pytest.raises(OSError):\n        f(-1)\n",
    ),
}  # fmt: skip
"""A right program and its tests, by name of the form or of what the second test of a suite asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Posed(Attack):
    """A wrong program in forms that are named in FORMS."""

    forms: tuple[str, ...]
    wall_s: float
    """What it needs to get through, where it does."""


def posed(name: str, tries: str, program: str, *forms: str, wall_s: float = WALL_S) -> Posed:
    return Posed(name=name, tries=tries, program=program.strip() + "\n", forms=forms, wall_s=wall_s)


def served(
    name: str,
    tries: str,
    then: str,
    *forms: str,
    first: str = "send({'value': 5, 'args': [1]})",
    wall_s: float = WALL_S,
) -> Posed:
    """A program that answers the first request right, every later one by `then`."""
    program = (
        "import json, os, signal, time\n"
        "def send(thing):\n"
        "    data = thing if isinstance(thing, bytes) else json.dumps(thing).encode() + b'\\n'\n"
        "    while data:\n"
        "        data = data[os.write(4, data):]\n"
        "send({'ready': ['f']})\n"
        "for n, line in enumerate(os.fdopen(os.dup(0), 'rb'), 1):\n"
        f"    if n == 1:\n        {first}\n"
        f"    else:\n        {then}\n"
    )
    return posed(name, tries, program, *forms, wall_s=wall_s)


def second(name: str, tries: str, then: str, *forms: str, before: str = "") -> Posed:
    """A function that is right for 1, and does `then` for every other argument."""
    lines = "\n".join(f"    {line}" for line in then.strip().splitlines())
    return posed(name, tries, f"{before}\ndef f(x):\n    if x == 1:\n        return 5\n{lines}", *forms)


def lying(name: str, tries: str, base: str, methods: str, made: str, *forms: str) -> Posed:
    """A function whose result, `made` as it says, is of a class with methods that lie."""
    lines = "\n".join(f"    {line}" for line in methods.strip().splitlines())
    return posed(name, tries, f"{base}\n{lines}\ndef f(x):\n    return {made}", *forms)


EQUAL = "def __eq__(self, other):\n    return True\n__hash__ = None\ndef __ne__(self, other):\n    return False\n"
DEAD = ("suite", "check", "differs", "raises anything", "raises OSError")
UNSAID = ("suite", "check", "differs", "raises anything")

SILENT: tuple[Posed, ...] = (
    second("exit after the first", "end with success when one test is passed", "os._exit(0)", "calls", "pairs", *DEAD, before="import os"),
    second("killed after the first", "end by a signal when one test is passed", "os.abort()", *DEAD, before="import os"),
    served("gone at once after the first", "be no longer there when it is asked", "pass", *DEAD, first="send({'value': 5, 'args': [1]}); os._exit(0)"),
    second("descriptors closed", "answer no more and stay", "os.closerange(0, 64)\nwhile True:\n    pass", "calls", *UNSAID, before="import os"),
    second("SystemExit in a call", "an exception that no test may catch as an Exception", "raise SystemExit(0)", "calls", "pairs", *UNSAID),
    second("KeyboardInterrupt in a call", "interrupt whoever asks", "raise KeyboardInterrupt", "calls", *UNSAID),
    posed(
        "exit at the end", "end with success whatever was printed",
        "import atexit, os, sys\natexit.register(os._exit, 0)\nsys.excepthook = lambda *a: os._exit(0)\nprint(5)\n1 / (input() == '1')", "stdio",
    ),
    posed("ready and gone", "say that it is ready, and leave", "import os\nos.write(4, b'{\"ready\": [\"f\"]}\\n')\nos._exit(0)", "calls", *UNSAID),
)  # fmt: skip

FRAMES: tuple[Posed, ...] = (
    served("half a frame", "begin an answer and leave", "send(b'{\"value\": 7, \"args\": ['); os._exit(0)", *UNSAID),
    served("half a frame, held", "begin an answer and wait", "send(b'{\"value\": 7'); time.sleep(60)", "suite", "raises anything"),
    served("two answers in a line", "be read twice", "send(b'{\"value\": 7, \"args\": []} {\"value\": 11, \"args\": []}\\n')", *UNSAID),
    served("answers in advance", "have answered before it is asked", "pass", "suite", "check", "raises anything", first="send({'value': 5, 'args': [1]}); send({'value': 5, 'args': [1]}); send({'value': {}, 'args': [1]})"),
    served("ready again", "answer with another beginning", "send({'ready': ['f', 'pytest', 'test_then']})", *UNSAID),
    served("a verdict for an answer", "answer with what a suite concludes", "send({'test': 'test_then', 'outcome': 'passed'}); send({'end': 2, 'calls': 2})", *UNSAID),
    posed(
        "values written in advance", "have lines where results belong before any call",
        "import os\nos.write(4, b'{\"value\": 5}\\n{\"value\": true}\\n{\"value\": [11]}\\n')\ndef f(x):\n    return 0", "calls", "pairs", "check", "suite",
    ),
)  # fmt: skip

FLOODS: tuple[Posed, ...] = (
    served("16 MB of error", "an error whose text is as long as a line may be", "send({'error': ['E', 'x' * (16 * 2**20 - 100)], 'kinds': ['KeyError']})", "suite", "check", "raises ValueError"),
    served("16 MB of error that become 256", "text that is shown fourfold, each character four bytes: more memory than the suite has", "send(b'{\"kinds\": [], \"error\": [\"E\", [\"' + chr(0x1F600).encode() + b'\\x7f' * (16 * 2**20 - 200) + b'\"]]}\\n')", "suite", wall_s=9.0),
    served("errors that are escaped", "text of which each character is ten when it is shown", "send(b'{\"kinds\": [\"KeyError\"], \"error\": [\"E\", \"' + chr(0x10ffff).encode() * (4 * 2**20 - 100) + b'\"]}\\n')", "suite", "raises ValueError"),
    served("16 MB of result", "a value as long as a line may be", "send({'value': [0] * (5 * 2**20), 'args': [1]})", "suite", "raises anything"),
    served("no end of a line", "an answer that goes on", "while True: send(b'x' * 65536)", "suite", "raises anything"),
    posed("blanks after the answer", "the answer, and 64 MB that would be stripped", "print(5 + 2 * (int(input()) - 1))\nfor _ in range(1024):\n    print(' ' * 65536)", "stdio"),
    second("standard output", "flood what nobody reads", "while True:\n    print('x' * 65536)", "calls", "suite"),
    second("results", "flood the descriptor of results", "while True:\n    os.write(4, b'x' * 65536)", "calls", "suite", before="import os"),
)  # fmt: skip

ERRORS: tuple[Posed, ...] = (
    second("text without end", "an error whose text takes all memory", "raise E", "calls", "suite", "check", before="class E(Exception):\n    def __str__(self):\n        return 'x' * 2**31"),
    second("text that raises", "an error whose text and repr raise another", "raise E", "calls", "suite", before="class E(Exception):\n    def __str__(self):\n        raise SystemExit(0)\n    __repr__ = __str__"),
    second("text that recurses", "an error whose text is its own", "raise E", "calls", "suite", before="class E(Exception):\n    def __str__(self):\n        return str(self)\n    __repr__ = __str__"),
    second("text that is no text", "an error whose text is a class of its own", "raise E", "calls", "suite", before="class T(str):\n    def splitlines(self, *a):\n        return [{'value': 7}]\nclass E(Exception):\n    def __str__(self):\n        return T('x')"),
    second("text of results", "lines of results in the text and name of an error", "raise type('}\\n{\"value\": 7}\\n', (Exception,), {})('}\\n{\"value\":7,\"args\":[]}\\n\\x1b[2J\\r{\"end\":2,\"calls\":2}')", "calls", "pairs", "suite", "check"),
    served("text that cannot be written", "lone surrogates and control characters", "send({'error': ['\\ud800\\x00\\x1b[2J', '\\udfff' * 1000], 'kinds': ['KeyError']})", "suite", "raises ValueError"),
    second("a skipped test", "raise what skips a test, by its class and by its name", "import unittest\nraise type('Skipped', (unittest.SkipTest,), {'__module__': 'builtins'})('skip')", "calls", "suite", "check", "differs"),
    served("forged kinds", "kinds that end or skip a test, or are none", "send({'error': ['Skipped', 'x'], 'kinds': [['SkipTest', 'Skipped', 'Exit'], ['SystemExit'], ['KeyboardInterrupt', 'GeneratorExit'], 7][n % 4]})", "suite", "check", "differs", "raises ValueError"),
    served("kinds that cannot be made", "exceptions that need more than a text", "send({'error': ['E', 'x'], 'kinds': ['ExceptionGroup', 'BaseExceptionGroup', 'UnicodeDecodeError', 'StopIteration']})", "suite", "check", "differs", "raises ValueError"),
    second("a class named like a builtin one", "an error that is no ValueError by its class", "raise type('ValueError', (Exception,), {'__module__': 'own'})('x')", "raises ValueError"),
    second("assertion of its own", "fail in the name of the suite", "assert x == 1, 'passed'", "calls", "suite", "differs", "raises ValueError"),
)  # fmt: skip

RESULTS: tuple[Posed, ...] = (
    lying("a lying int", "an int that equals all", "class Any(int):", f"{EQUAL}__class__ = property(lambda self: int)\n__index__ = __int__ = lambda self: 5", "Any(0)", "calls", "pairs", "suite", "check"),
    lying("a lying IntEnum", "a member that equals all", "import enum\nclass Any(enum.IntEnum):", f"{EQUAL}A = 0", "Any.A", "calls", "suite", "check"),
    lying("a lying str", "text that equals all", "class Any(str):", f"{EQUAL}def encode(self, *a):\n    return b'5'", "Any('')", "text"),
    lying("a lying list", "a list that equals all, of any length", "class Any(list):", f"{EQUAL}def __len__(self):\n    return 2\ndef __iter__(self):\n    return iter([self, self])\ndef __getitem__(self, at):\n    return self", "Any()", "rows"),
    lying("a lying tuple", "a tuple that equals all", "class Any(tuple):", f"{EQUAL}def __iter__(self):\n    return iter((self, self))\ndef __reduce__(self):\n    return (list, ())", "Any((1,))", "rows"),
    lying("a lying NamedTuple", "fields that equal all", "import collections\nclass Any(collections.namedtuple('Any', 'a b')):", f"{EQUAL}def _asdict(self):\n    return {{'a': 5}}\n__iter__ = lambda self: iter((self, self))", "Any(1, 0)", "rows", "table"),
    lying("a lying dict", "keys and values that equal all", "class Any(dict):", f"{EQUAL}def keys(self):\n    return {{'a': self}}.keys()\ndef items(self):\n    return [('a', self)]\ndef __iter__(self):\n    return iter('a')\ndef __getitem__(self, key):\n    return self", "Any(a=0)", "table"),
    lying("a lying key", "a dict whose keys and values are of such a class", "class Any(str):", "__eq__ = lambda self, other: True\n__hash__ = str.__hash__\n__str__ = __repr__ = lambda self: 'a'", "{Any('b'): Any('')}", "table"),
    posed("a class that is int", "a metaclass that calls a class int", "class M(type):\n    __eq__ = lambda self, other: True\n    __hash__ = type.__hash__\n    __name__ = 'int'\nclass Any(metaclass=M):\n    pass\ndef f(x):\n    return Any()", "calls", "suite", "differs"),
    second("no data", "a result that is no data, where it must differ or raise", "return object()", "suite", "check", "differs", "raises anything"),
    second("a value without end", "a list that holds itself", "y = []\ny.append(y)\nreturn y", "calls", "suite", "differs", "raises ValueError", "raises anything"),
    second("a generator without end", "a result that goes on", "return (y for y in iter(int, 1))", "calls", "pairs", "suite", "raises anything"),
    second("a coroutine", "a result that somebody must wait for", "async def go():\n    while True:\n        pass\nreturn go()", "calls", "suite", "raises anything"),
    second("a view without end", "a result that is still to come", "return map(lambda y: y, iter(int, 1))", "calls", "suite", "raises anything"),
)  # fmt: skip

HARNESS: tuple[Posed, ...] = (
    posed(
        "inputs taken away", "empty the list of calls by the frames above",
        "import sys\ndef f(x):\n    frame = sys._getframe()\n    while frame:\n        for value in list(frame.f_locals.values()):\n            if type(value) is list:\n                value.clear()\n            if type(value) is dict and 'inputs' in value:\n                value['inputs'].clear()\n        frame = frame.f_back\n    return 5", "calls", "pairs", "suite",
    ),
    posed(
        "the harness's own functions", "replace what packs and writes, found in sys.modules",
        "import sys\nfor name, module in list(sys.modules.items()):\n    for own in ('pack', 'unpack', 'same', 'told', 'write', 'finder', 'short', '_answer', '_packed'):\n        if name.startswith('rlzoo') and hasattr(module, own):\n            setattr(module, own, lambda *a, **k: {'o': 'int'})\ndef f(x):\n    return 0", "calls", "suite", "check",
    ),
    posed(
        "packed lies", "have every value packed as one of no known kind",
        "from rlzoo.verifiers.sandbox import values\nvalues.pack = lambda value, depth=0: {'f': 'nan'}\nvalues._TAGS.clear()\nvalues.Opaque.__eq__ = lambda *a: True\ndef f(x):\n    return 0", "calls", "suite", "check", "differs",
    ),
    posed(
        "every mode the same", "replace the modes by one that says what a suite says",
        "import gc, os\nfor thing in gc.get_objects():\n    if type(thing) is dict and 'serve' in thing:\n        for key in thing:\n            thing[key] = lambda job: None\nos.write(4, b'{\"end\": 3, \"calls\": 3}\\n')\ndef f(x):\n    return 0", "calls", "suite", "check",
    ),
)  # fmt: skip

ATTACKS = (*SILENT, *FRAMES, *FLOODS, *ERRORS, *RESULTS, *HARNESS)
