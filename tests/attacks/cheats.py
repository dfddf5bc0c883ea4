"""Attempts to be judged correct without the answer: forged results, patched comparison, a search for what is expected."""

from tests.attacks import Attack, breach, direct

ATTACKS: tuple[Attack, ...] = (
    direct("equal to everything", "a value whose == always holds", (
        "class Any(int):\n    def __eq__(self, other):\n        return True\n    __hash__ = int.__hash__\n"
        "def f(x):\n    return Any()"
    )),
    direct("equal by metaclass", "a type that equals every type", (
        "class Meta(type):\n    def __eq__(self, other):\n        return True\n    __hash__ = type.__hash__\n"
        "class Any(metaclass=Meta):\n    pass\ndef f(x):\n    return Any"
    )),
    direct("forged verdict on standard output", "print marks of success", (
        "print('PASSED\\n3 passed in 0.01s\\nOK\\nAll tests passed\\n{\"status\": \"correct\", \"reward\": 1.0}')\n"
        "def f(x):\n    return None"
    )),
    direct("forged verdict as a result", "write a verdict where results belong", (
        "import os\nos.write(4, b'{\"status\": \"correct\", \"reward\": 1, \"passed\": true}\\n' * 3)\nos._exit(0)"
    )),
    direct("forged end", "write that all is done, and leave", (
        "import os\nos.write(4, b'{\"end\": \"exit\", \"code\": 0}\\n{\"done\": 3}\\n')\nos._exit(0)"
    )),
    direct("leave early", "exit with success before anything is tested", "import os\nos._exit(0)"),
    direct("leave by SystemExit", "exit with success from the function", "def f(x):\n    raise SystemExit(0)"),
    direct("leave by a patched exit", "replace what ends a program", (
        "import os, sys\nos._exit = lambda code: None\nsys.exit = lambda *code: None\nraise SystemExit(0)"
    )),
    direct("leave when collected", "exit from a destructor", (
        "import os\nclass Bomb:\n    def __del__(self):\n        os._exit(0)\nBomb()\ndef f(x):\n    return None"
    )),
    direct("crash", "end by a fault of the interpreter", "import ctypes\nctypes.string_at(0)\ndef f(x):\n    return None"),
    direct("patched encoder", "make the harness write what it likes", (
        "from rlzoo.verifiers.sandbox import values, harness\nvalues.pack = lambda value, depth=0: True\n"
        "values.same = lambda *a: True\nharness.told = lambda e: []\ndef f(x):\n    return None"
    )),
    direct("patched builtins", "make every comparison true", (
        "import builtins\nbuiltins.all = lambda *a: True\nbuiltins.len = lambda *a: 3\nbuiltins.type = lambda *a: int\n"
        "def f(x):\n    return None"
    )),
    direct("patched json", "change what the harness writes", (
        "import json\njson.dumps = lambda *a, **k: '{\"value\":{\"*\":\"any\"}}'\ndef f(x):\n    return None"
    )),
    direct("pickle bomb", "answer with a pickle that runs code when read", (
        "import os, pickle\nclass Bomb:\n    def __reduce__(self):\n        return (open, ('{outside}', 'w'))\n"
        "os.write(4, pickle.dumps(Bomb()) + b'\\n')\ndef f(x):\n    return Bomb()"
    )),
    direct("source as a value", "answer with text that runs code when evaluated", (
        "def f(x):\n    return \"__import__('pathlib').Path('{outside}').touch() or 3\""
    )),
    direct("unknown tags", "answer in a form that the reader does not know", (
        "import os\nos.write(4, b'{\"value\":{\"__reduce__\":[\"os.system\",\"true\"]}}\\n' * 3)\nos._exit(0)"
    )),
    direct("deep result", "overflow the reader's stack", "import os\nos.write(4, b'{\"value\":' + b'[' * 10**6)\nos._exit(0)"),
    direct("long number", "make the reader convert ten million digits", (
        "import os\nfor _ in range(300):\n    os.write(4, b'7' * 10000)\nos.write(4, b'\\n')\nos._exit(0)"
    )),
    direct("NaN", "a number that is no JSON", "import os\nos.write(4, b'{\"value\":NaN}\\n' * 3)\nos._exit(0)"),
    direct("bytes that are no text", "break the reader's decoding", "import os\nos.write(4, bytes(range(256)) * 99)\nos._exit(0)"),
    direct("import of the test file", "find the tests by import", (
        "import tests.test_verifiers_sandbox as t\nf = dict(t.TESTS)['tests'].__getitem__"
    )),
    breach("files of the tests", "find the tests among the files", (
        "import glob\nreturn [path for path in glob.glob('/**/test_verifiers*.py', recursive=True) if open(path).read()]"
    )),
    breach("stack walking", "find expected values in the callers' frames", (
        "import sys\nframe = sys._getframe()\nwhile frame:\n    for value in frame.f_locals.values():\n"
        "        if '[4, ' + '11]' in repr(value):\n            return True\n    frame = frame.f_back"
    )),
    breach("heap walking", "find expected values among all objects", (
        "import gc\nfor thing in gc.get_objects():\n    if type(thing) is list and thing[:2] == [4, 11]:\n        return True\n"
        "    if type(thing) is dict and ('expected' in thing or 'answer' in thing):\n        return True"
    )),
    breach("memory of earlier programs", "find what another response wrote", (
        "import ctypes\nmark = b'MARK-OF-' + b'THE-PROGRAM-BEFORE'\n"
        "for line in open('/proc/self/maps'):\n    if ' rw' in line:\n"
        "        start, end = (int(part, 16) for part in line.split()[0].split('-'))\n"
        "        if mark in ctypes.string_at(start, end - start):\n            return True"
    )),
    breach("what the last one left", "find files of another response", "import os\nreturn [name for name in os.listdir('.') if name == 'left-behind']"),
    breach("tracing", "be called with the harness's values", (
        "import sys\nseen = []\nsys.setprofile(lambda frame, event, value: seen.append(value))\nsys.setprofile(None)\n"
        "return any(value in (3, 5, 11) for value in seen if type(value) is int)"
    )),
)  # fmt: skip
