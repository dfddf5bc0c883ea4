"""What runs inside the program's own process, once it is confined: reads the job, runs the program, writes its results.

Nothing here is trusted by the one who judges: the program can change all of it. It knows the tests' inputs and no
expected value. Standard library only.

A job is JSON: `mode`, `program`, and by mode `entry`, `inputs`, `prelude` (what `prelude.py` imports is there for the program).
Results are lines: {"value": v}, {"error": [type, text]}, or {"load": [type, text]} where the program did not even load.
Values are in the form of `values.py`.
"""

import ast
import atexit
import builtins
import gc
import io
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from rlzoo.verifiers.sandbox import prelude, values

JOB, RESULTS = 3, 4
"""Descriptors beside 0, 1 and 2."""
STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/proc/self/fd/0": 0, "/proc/self/fd/1": 1}
"""Paths of what a program has open already, which no sandbox shows it."""


def dress() -> None:
    """Give this interpreter what Python's own `site` adds for scripts: `exit` and `quit`."""
    import _sitebuiltins

    for name in ("exit", "quit"):
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D (i.e. EOF)"))


def main() -> None:
    """Run the job and end the process. Never returns."""
    atexit._clear()  # what the interpreter that forked this one would do at its own end
    code = 0
    try:
        job = _read_job()
        gc.enable()
        if "random" in sys.modules or "random" in job["program"]:
            import random

            random.seed(0)  # the same in every run
        MODES[job["mode"]](job)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:
        write({"load": told(error)})
        code = 1
    try:
        sys.stdout.flush()
    except BaseException:
        code = code or 1
    os._exit(code & 255)


def _read_job() -> dict[str, Any]:
    pieces = []
    while piece := os.read(JOB, 1 << 16):
        pieces.append(piece)
    os.close(JOB)
    job: dict[str, Any] = json.loads(b"".join(pieces))
    return job


def write(result: Mapping[str, Any]) -> None:
    """One line of results."""
    line = json.dumps(result, separators=(",", ":")).encode() + b"\n"
    while line:
        line = line[os.write(RESULTS, line) :]


def told(error: BaseException) -> list[str]:
    try:
        text = str(error)
    except BaseException:
        text = ""
    return [type(error).__name__[:60], (text.splitlines() or [""])[0][:200]]


def load(name: str, program: str, imports: str = "none", further: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A module's namespace, the main module's if that is its name, in `sys.modules` as programs expect.

    `imports`: which of the names of `prelude.py` are found where the program and Python itself have nothing of that name, and
    `further`: which others are.
    """
    module = type(sys)(name)
    found = builtins if imports == "none" else prelude.beneath(builtins.__dict__, imports)
    module.__dict__["__builtins__"] = (
        {**further, **(found if isinstance(found, dict) else vars(found))} if further else found
    )
    sys.modules[name] = module
    exec(compile(program, "program.py", "exec", dont_inherit=True), module.__dict__)
    return module.__dict__


# ---------------------------------------------------------------------------------------------------------
# Modes


def run_script(job: dict[str, Any]) -> None:
    """The program as a script: standard input to standard output, up to where plain Python would end it."""
    sys.argv = ["program.py"]
    if any(path in job["program"] for path in STREAMS):
        _show_streams()
    try:
        load("__main__", job["program"])
    except SystemExit:
        raise
    except BaseException as error:
        write({"error": told(error)})
        raise SystemExit(1) from None
    finally:
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()  # waits for threads that nobody joined
        atexit._run_exitfuncs()


def _show_streams() -> None:
    """Let `open` find `STREAMS`."""
    plain = io.open

    def opened(file: Any, *arguments: Any, **keywords: Any) -> Any:
        path = os.fspath(file) if isinstance(file, os.PathLike) else file
        return plain(
            os.dup(STREAMS[path]) if isinstance(path, str) and path in STREAMS else file, *arguments, **keywords
        )

    io.open = builtins.open = opened


def run_expression(job: dict[str, Any]) -> None:
    """An expression of x, or a definition of `f`; called once an input."""
    tree = ast.parse(job["program"])
    if len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr):
        expression = compile(ast.Expression(tree.body[0].value), "program.py", "eval", dont_inherit=True)
        _call_all(lambda x: eval(expression, {"__builtins__": builtins, "x": x}), job["inputs"])
        return
    function = load("program", job["program"]).get("f")
    if not callable(function):
        raise ValueError("neither an expression of x nor a definition of f(x)")
    _call_all(function, job["inputs"])


def run_calls(job: dict[str, Any]) -> None:
    """The function or method named `entry`, called once an input; `class Solution` is made anew for each."""
    find = finder(load("program", job["program"], job["prelude"]), job["entry"], either=True)
    find()

    def call(*arguments: Any) -> Any:
        return find()(*arguments)

    _call_all(call, job["inputs"])


def finder(space: dict[str, Any], entry: str, *, either: bool = False) -> Callable[[], Callable[..., Any]]:
    """What finds `f`, or `Solution.f` on a new instance. `either`: whichever of the two the program has, the method first."""
    owner, name = space.get("Solution"), entry.rpartition(".")[2]
    made = owner if isinstance(owner, type) and hasattr(owner, name) and (either or "." in entry) else None

    def find() -> Callable[..., Any]:
        function: Any = getattr(made(), name) if made is not None else None
        if made is None and (either or "." not in entry):
            function = space.get(name)
        if not callable(function):
            raise NameError(f"the program defines no {entry}")
        found: Callable[..., Any] = function
        return found

    return find


def _call_all(function: Callable[..., Any], inputs: list[Any]) -> None:
    """One line an input, up to the first that fails."""
    for packed in inputs:
        try:
            result = {"value": values.pack(function(*values.unpack(packed)))}
            write(result)
        except BaseException as error:
            write({"error": told(error)})
            return


MODES: dict[str, Callable[[dict[str, Any]], None]] = {
    "script": run_script,
    "expression": run_expression,
    "calls": run_calls,
}
"""By name; the supervisor brings `serve`, `suite_runner.py` its own."""
