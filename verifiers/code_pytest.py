"""Pytest-style suites: refused where values as data cannot serve them, else run beside the program and never with it."""

import ast
import atexit
import builtins
import importlib.util
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from rlzoo.data.faults import RowFault
from rlzoo.verifiers.code_tests import Fault, Tests
from rlzoo.verifiers.sandbox import values
from rlzoo.verifiers.sandbox.client import Job, Sandbox, SandboxFault, pipe_within
from rlzoo.verifiers.sandbox.levels import Settings, opened
from rlzoo.verifiers.sandbox.values import short

MODULE = "solution"
EXTRA_S = 0.25
"""Wall-clock seconds that a suite has beyond its program's limit, to say what came of it."""
SUITE_MB = 1_024
ASK, ANSWER = 5, 6
"""Descriptors of `suite.py`, which needs pytest to be imported."""
PRINTED = {"capsys", "capfd", "capsysbinary", "capfdbinary", "redirect_stdout", "stdout"}
PATCHED = {"monkeypatch", "patch"}
"""Names by which suites reach into the process of the solution, which is another one here."""


def refusal(source: str, solution: str | None = None) -> str | None:
    """Why this suite needs more than calls with data, in a line; None if nothing shows it. Nothing is run.

    `solution`: the reference program, where there is one; tells classes from functions.
    """
    try:
        tree = ast.parse(source)
        classes = {node.name for node in ast.walk(ast.parse(solution or "")) if isinstance(node, ast.ClassDef)}
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"is no Python: {type(error).__name__}"
    names = _imported(tree)
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in names and isinstance(node.ctx, ast.Load):
            call = calls.get(id(node))
            original = names[node.id]
            if original in classes and original != "Solution":
                return f"needs the solution's own class {original}"
            if call is None:
                return f"uses the solution's {original} other than by calling it"
            for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
                if isinstance(argument, ast.Lambda) or (isinstance(argument, ast.Name) and argument.id in functions):
                    return f"hands a callable to the solution's {original}"
        word = node.arg if isinstance(node, ast.arg) else node.id if isinstance(node, ast.Name) else None
        word = node.attr if isinstance(node, ast.Attribute) else word
        if word in PRINTED:
            return "reads what the solution prints"
        if word in PATCHED:
            return "patches what the solution uses"
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops):
            sides = [node.left, *node.comparators]
            if not any(isinstance(side, ast.Constant) for side in sides) and any(_asks(side, names) for side in sides):
                return "compares the identity of what the solution returns"
    return None


def _imported(tree: ast.Module) -> dict[str, str]:
    """Names of the suite that stand for the solution's, with the solution's own names.

    After `import *` these are all names that the suite reads and neither binds nor has from Python.
    """
    found: dict[str, str] = {}
    everything = False
    bound = set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == MODULE:
            everything |= any(one.name == "*" for one in node.names)
            found |= {one.asname or one.name: one.name for one in node.names if one.name != "*"}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(one.asname or one.name).partition(".")[0] for one in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
    if everything:
        read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        found |= {name: name for name in read - bound}
    return found


def _asks(node: ast.AST, names: dict[str, str]) -> bool:
    return any(isinstance(part, ast.Name) and part.id in names for part in ast.walk(node))


def run(program: str, tests: Tests, settings: Settings) -> Fault | None:
    """What fails; None if every test passes. RowFault where the suite itself is no use."""
    why = refusal(tests.source)
    if why is not None:
        raise RowFault("a suite that needs more than calls with values", why)
    source = f"from {MODULE} import *\n{tests.source}" if tests.kind == "check" else tests.source
    within = opened(settings)
    beside = suite_sandbox(within.level)
    beside.start()
    job = Job(work={"mode": "serve", "program": program}, wall_s=settings.wall_s, memory_mb=settings.memory_mb)
    suite = Job(work={"mode": "suite", "program": source}, wall_s=settings.wall_s + EXTRA_S, memory_mb=SUITE_MB)
    with ExitStack() as stack:
        (ask_out, ask_in), (answer_out, answer_in) = pipe_within(stack), pipe_within(stack)
        within.begin(job, ask_out.fileno(), answer_in.fileno())
        ask_out.close()
        answer_in.close()
        try:
            outcome = beside.run(suite, {ASK: ask_in.fileno(), ANSWER: answer_out.fileno()})
        finally:
            ended = within.finish()
    if ended == "wall" or outcome.end == "wall":
        return Fault("timeout", f"over the limit of {settings.wall_s:g} s")
    lines = list(_lines(outcome.results))
    if not lines or "end" not in lines[-1]:
        return Fault("wrong", f"the suite did not end: {short(lines[-1] if lines else outcome.code)}")
    outcomes = [(str(line["test"]), line["outcome"]) for line in lines[:-1]]
    if not outcomes:
        raise RowFault("a suite without a test")
    failed = [short(name.rpartition("::")[2]).strip("'") for name, result in outcomes if result != "passed"]
    return Fault("wrong", f"fails {failed[0]}") if failed else None


def _lines(results: bytes) -> Iterator[dict[str, object]]:
    for line in results.splitlines():
        yield values.load_json(line)


@cache
def suite_sandbox(level: str) -> Sandbox:
    """Where suites run: the same level, with pytest loaded."""
    found = [importlib.util.find_spec(name) for name in ("pytest", "pluggy", "iniconfig", "packaging", "pygments")]
    if found[0] is None:
        raise SandboxFault("pytest-style tests need the package 'pytest', which is not installed: pip install pytest")
    folders = {Path(spec.origin).parents[1] for spec in found if spec is not None and spec.origin is not None}
    sandbox = Sandbox(level, preload=["rlzoo.verifiers.sandbox.suite"], packages=sorted(map(str, folders)))
    atexit.register(sandbox.close)
    return sandbox
