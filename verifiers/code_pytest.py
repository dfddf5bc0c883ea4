"""Pytest-style suites: refused where values as data cannot serve them, else run beside the program and never with it."""

import ast
import atexit
import builtins
import importlib.util
import symtable
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from rlzoo.data import assertions
from rlzoo.data.rowfaults import RowFault
from rlzoo.verifier import SandboxSettings
from rlzoo.verifiers import code_names
from rlzoo.verifiers.code_tests import Fault, Tests, over
from rlzoo.verifiers.sandbox import nodes, notices, values
from rlzoo.verifiers.sandbox.client import Outcome, ProgramRun, Sandbox, SandboxFault, pipe_within
from rlzoo.verifiers.sandbox.levels import opened
from rlzoo.verifiers.sandbox.values import short

MODULE = "solution"
EXTRA_S = 0.25
"""Wall-clock seconds that a suite has beyond its program's limit, to say what came of it."""
SUITE_MB = 1_024
PASSED, NO_TESTS = 0, 5
"""Pytest's exit codes."""
ASK, ANSWER = 5, 6
"""Descriptors of `suite_runner.py`, which needs pytest to be imported."""
PRINTED = {"capsys", "capfd", "capsysbinary", "capfdbinary", "redirect_stdout", "redirect_stderr", "stdout", "stderr"}
APPLYING = {
    "map",
    "filter",
    "sorted",
    "min",
    "max",
    "reduce",
    "partial",
    "starmap",
    "raises",
    "assertRaises",
    "assertRaisesRegex",
    "warns",
    "sort",
}
"""What calls the functions that it is given, and does nothing else with them."""
DYNAMIC = {"eval", "exec", "globals", "vars"}
"""By which suites read names that their text does not show."""
FILES = {"tmp_path", "tmp_path_factory", "tmpdir", "tmpdir_factory", "tempfile"}
"""By which suites write files, which no program sees."""
PATCHED = {"monkeypatch", "patch"}
"""Names by which suites reach into the process of the solution, which is another one here."""


def refusal(source: str, *, check: bool = False) -> str | None:
    """Why this suite needs more than calls with data and objects, in a line; None if nothing shows it. Nothing is run.

    `check`: the suite sees the solution's names without importing them, and may hand one of them to a checker.
    """
    try:
        tree = ast.parse(source)
        uses = _Uses(tree, check)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"is no Python: {type(error).__name__}"
    if uses.everything and not uses.brought:
        return "calls nothing of the solution that is not Python's own"
    if uses.beside:
        return f"takes {uses.beside[0]} from the solution beside what it checks, so that a program could make it right"
    if uses.looked.otherwise:
        return "looks up the solution's names while it runs"
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    served = _served(tree, uses)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(map(uses.of, node.bases)):
            return f"extends the solution's own class {uses.of(node.bases[0])}"
        marks = node.decorator_list if isinstance(node, ast.FunctionDef) and node.name.startswith("test") else []
        if any(uses.of(mark.func if isinstance(mark, ast.Call) else mark) for mark in marks):
            return "hands a test itself to the solution, which need not run it"
        if isinstance(node, ast.ClassDef) and any(
            ast.unparse(base).rpartition(".")[2] == "TestCase" for base in node.bases
        ):
            waits = [one.name for one in node.body if isinstance(one, ast.AsyncFunctionDef) and one.name[:4] == "test"]
            if waits:
                return f"holds a coroutine {waits[0]} in a TestCase, for which nobody waits"
        original = uses.of(node)
        if original is not None:
            call = calls.get(id(node))
            if call is None and isinstance(node, ast.Name) and id(node) not in uses.handed | served:
                return f"uses the solution's {original} other than by calling it"
        word = node.arg if isinstance(node, ast.arg) else node.id if isinstance(node, ast.Name) else None
        word = node.attr if isinstance(node, ast.Attribute) else word
        if uses.everything and word in DYNAMIC:
            return f"looks up the solution's names while it runs, by {word}"
        if word in PRINTED:
            return "reads what the solution prints"
        if word in FILES:
            return "writes files, which the solution could not see"
        if word in PATCHED:
            return "patches what the solution uses"
    return None


def errors(source: str) -> list[str]:
    """Names that a suite uses as classes of exceptions: what it waits for, catches, or asks what it extends."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            found |= _last_names(node.type)
        if isinstance(node, ast.Call) and node.args:
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in {"raises", "assertRaises", "assertRaisesRegex", "issubclass", "warns", "assertWarns"}:
                found |= _last_names(node.args[0])
    return sorted(found - set(dir(builtins)))


def _last_names(node: ast.expr) -> set[str]:
    """Of `solution.E` the last part."""
    parts = node.elts if isinstance(node, ast.Tuple) else [node]
    return {ast.unparse(part).rpartition(".")[2] for part in parts if isinstance(part, ast.Name | ast.Attribute)}


def _served(tree: ast.Module, uses: "_Uses") -> set[int]:
    """Ids of nodes that name a class of the solution's, for its attributes, as what something is, as an exception or in an
    annotation; or a function, as a decorator or where it is handed to what only calls it."""
    found: set[int] = set()
    raised = set(errors(ast.unparse(tree)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (uses.of(node.value) or "a")[0].isupper():
            found.add(id(node.value))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance" and len(node.args) == 2:
            kinds = node.args[1].elts if isinstance(node.args[1], ast.Tuple) else [node.args[1]]
            found |= {id(kind) for kind in kinds}
        if isinstance(node, ast.Name) and node.id in raised:
            found.add(id(node))
        if isinstance(node, ast.FunctionDef):
            found |= {id(mark) for mark in node.decorator_list}
        for told in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            found |= {id(part) for part in ast.walk(told)} if told is not None else set()
        if isinstance(node, ast.Call) and (uses.of(node.func) or ast.unparse(node.func).rpartition(".")[2] in APPLYING):
            found |= {id(argument) for argument in (*node.args, *(keyword.value for keyword in node.keywords))}
    return found


class _Uses:
    """What in a suite stands for the solution's functions: names, and attributes of `Solution()`."""

    def __init__(self, tree: ast.Module, check: bool) -> None:
        self.everything = check or MODULE in _stars(tree)
        self.names = _imported(tree, self.everything)
        """As the suite has them, with the solution's own."""
        helpers = self.names.keys() & nodes.NAMES.keys() if check else set()
        self.nodes = bool(helpers)
        """Whether it uses what LeetCodeDataset puts before its tests, which is then the suite's and not the solution's."""
        for helper in helpers:
            del self.names[helper]
        self.beside: list[str] = []
        """What a suite reads of the solution that is not what its checker is given."""
        self.handed: set[int] = set()
        """Ids of nodes that name a function without calling it, and lose nothing by it."""
        self._objects: set[str] = set()
        self.looked = code_names.looked_up(tree, MODULE)
        checker = assertions.checker(tree) if check else None
        whole = self.everything and (checker is None or checker.target is None)
        free = self.names.keys() & free_names(ast.unparse(tree)) if whole else set()
        self.graders = code_names.of_graders(tree, free)
        """Names that are the suite's own without an import, as those before LeetCode's tests are."""
        for name in self.graders:
            del self.names[name]
        self.brought = sorted(self.names)
        """What the stub may put among the suite's own names."""
        if checker is not None and checker.target is not None:
            target = checker.target.partition(".")[0]
            if target in self.names:
                self.beside = [] if _stars(tree) else sorted(self.names.keys() - {target})
                self.brought = [target]
            self.names[checker.alias] = checker.alias
            calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
            given = [call.args for call in calls if isinstance(call.func, ast.Name) and call.func.id == checker.name]
            self.handed |= {id(argument) for arguments in given for argument in arguments}
        self.beside = self.beside or code_names.judging(tree, free - set(self.graders))
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and len(node.targets) == 1:
                self._follow(ast.unparse(node.targets[0]), node.value)

    def _follow(self, target: str, value: ast.expr) -> None:
        original = self.of(value)
        if self._is_object(value):
            self._objects.add(target)
        elif original is not None:
            self.names[target] = original
            self.handed.add(id(value))

    def _is_object(self, node: ast.expr) -> bool:
        """Whether it is `Solution()`, or a name for it."""
        if isinstance(node, ast.Call):
            return isinstance(node.func, ast.Name) and self.names.get(node.func.id) == "Solution"
        return isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) in self._objects

    def of(self, node: ast.AST) -> str | None:
        """The solution's function that this node is, by its own name; None for anything else."""
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            return self.names.get(node.id)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and self._is_object(node.value):
            return f"Solution.{node.attr}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            return node.attr if node.value.id in self.looked.aliases else None
        return None


def _imported(tree: ast.Module, everything: bool) -> dict[str, str]:
    found = {name: name for name in free_names(ast.unparse(tree))} if everything else {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == MODULE:
            found |= {one.asname or one.name: one.name for one in node.names if one.name != "*"}
    return found


def _stars(tree: ast.Module) -> set[str | None]:
    """Modules of which the suite imports everything."""
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {node.module for node in imports if any(one.name == "*" for one in node.names)}


def free_names(source: str) -> list[str]:
    """Names that a suite reads and neither binds nor has from Python: all that `import *` may bring it.

    Anything more would let a program replace what the suite compares with, such as `abs` or `isclose`.
    """
    top = symtable.symtable(source, "suite.py", "exec")
    read: set[str] = set()
    bound = set(dir(builtins))
    tables = [top]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            if table is top or symbol.is_global():
                if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace():
                    bound.add(symbol.get_name())
                elif symbol.is_referenced():
                    read.add(symbol.get_name())
    return sorted(name for name in read - bound if not name.startswith("__"))


@lru_cache(maxsize=256)
def called(source: str, check: bool) -> tuple[str, ...]:
    """Names of the solution that a suite brings in."""
    try:
        return tuple(_Uses(ast.parse(source), check).brought)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()


def run(program: str, tests: Tests, settings: SandboxSettings) -> Fault | None:
    """What fails; None if every test passes. RowFault where the suite itself is no use."""
    check = tests.kind == "check"
    why = refusal(tests.source, check=check)
    if why is not None:
        raise RowFault("a suite that needs more than calls with values", why)
    within = opened(settings)
    beside = suite_sandbox(within.level, settings.packages)
    beside.start()
    uses = _Uses(ast.parse(tests.source), check)
    served = {"mode": "serve", "program": program, "prelude": tests.prelude, "nodes": uses.nodes}
    served["notices"] = any(word in tests.source for word in notices.LOOKED_AT)
    job = ProgramRun(work=served, wall_s=settings.wall_s, memory_mb=settings.memory_mb, grants=tests.grants)
    work = {
        "mode": "suite",
        "program": tests.source,
        "names": uses.brought,
        "graders": uses.graders,
        "looked": sorted(uses.looked.names),
        "nodes": uses.nodes,
        "errors": errors(tests.source),
        "check": check,
    }
    suite = ProgramRun(work=work, wall_s=settings.wall_s + EXTRA_S, memory_mb=SUITE_MB)
    with ExitStack() as stack:
        (ask_out, ask_in), (answer_out, answer_in) = pipe_within(stack), pipe_within(stack)
        within.begin(job, ask_out.fileno(), answer_in.fileno())
        ask_out.close()
        answer_in.close()
        try:
            outcome = beside.run(suite, {ASK: ask_in.fileno(), ANSWER: answer_out.fileno()})
        finally:
            ended, used_s = within.finish()
    if ended == "wall" or outcome.end == "wall":
        return over(settings.wall_s, used_s + outcome.processor_s)
    if ended == "memory":
        return Fault("wrong", f"over the memory limit of {settings.memory_mb} MiB")
    return _concluded(outcome)


def _concluded(outcome: Outcome) -> Fault | None:
    """What the suite's process says, which counts only if pytest and that process ended as they should."""
    lines = list(_lines(outcome.results))
    told = lines[-1] if lines else {}
    if (outcome.end, outcome.code) != ("exit", 0) or told.get("end") != len(lines) - 1:
        return Fault("wrong", f"the suite did not end: {outcome.end} {outcome.code}")
    if told["fault"]:
        raise RowFault("a suite that fails by itself", str(told["fault"]))
    outcomes = {str(line["test"]): line["outcome"] for line in lines[:-1]}
    if told["broken"]:
        return Fault("wrong", f"fails: {short(told['broken'])}")
    failed = [name for name, result in outcomes.items() if result not in {"passed", "marked"}]
    if failed:
        return Fault("wrong", f"fails {short(failed[0].rpartition('::')[2]).strip(chr(39))}")
    if told["code"] != (PASSED if outcomes else NO_TESTS) or told["ran"] is not True:
        return Fault("wrong", f"the suite did not end: pytest's exit code is {told['code']}")
    if not told["calls"]:
        raise RowFault("a suite that calls nothing of the solution")
    if told["answered"] is not True:
        raise RowFault("a suite of which no test passes after calling the solution")
    if told["unknown"]:
        raise RowFault("a suite that compares the identity of values, which cross as copies")
    if told["rests"] is not True:
        return Fault("wrong", "no test rests on a value of the program's, only on what its objects say of one another")
    return None


def _lines(results: bytes) -> Iterator[dict[str, Any]]:
    for line in results.splitlines():
        yield values.load_json(line)


@cache
def suite_sandbox(level: str, packages: tuple[str, ...] = ()) -> Sandbox:
    """Where suites run: the same level, with pytest loaded."""
    found = [importlib.util.find_spec(name) for name in ("pytest", "pluggy", "iniconfig", "packaging", "pygments")]
    if found[0] is None:
        raise SandboxFault("pytest-style tests need the package 'pytest', which is not installed: pip install pytest")
    folders = {Path(spec.origin).parents[1] for spec in found if spec is not None and spec.origin is not None}
    sandbox = Sandbox(
        level, packages=packages, preload=["rlzoo.verifiers.sandbox.suite_runner"], paths=sorted(map(str, folders))
    )
    atexit.register(sandbox.close)
    return sandbox
