"""A pytest-style suite in a process that holds no program: its `solution` module is a stub that asks the program's process.

Values go both ways as data. What the suite concludes leaves it as result lines: one {"test": name, "outcome": "passed"} for
every test that was collected, whatever became of it, then one of `Conclusion`. Which tests there are and which of them are
marked to be skipped or to fail is settled before the program says anything.
Runs in a sandbox of its own, since a data set's tests are somebody's code too. Standard library and pytest only.
"""

import asyncio
import inspect
import os
import sys
import threading
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import pytest

from rlzoo.verifiers.sandbox import harness, lines, nodes, prelude, sameness, standins
from rlzoo.verifiers.sandbox.handles import Handle
from rlzoo.verifiers.sandbox.remote import Program, stub

MARKED = "marked"
"""Outcome of a test that its own source marks as one that is skipped or fails."""
NOTHING = "nothing"
"""Outcome of a test that was collected and never ran."""


class Conclusion(TypedDict):
    """The last line: how pytest itself ended, and what it says about the program and the suite."""

    end: int
    """Number of lines before it."""
    code: int
    """Of pytest's exit."""
    ran: bool
    """The suite's top level ran through."""
    calls: int
    """Calls of the solution."""
    answered: bool
    """A test passed after calling the solution; or the top level did, where there is no test."""
    rests: bool
    """Some of what it answered was a value, and not only what it says about its own objects."""
    broken: str
    """Why nothing more can be believed: the program ended, or said what is no answer."""
    unknown: bool
    """The suite asked for the identity of values, of which nobody can say it."""
    fault: str
    """Why the suite judges nobody: it failed before it had called anything of the solution."""


class _Collected:
    """Gives pytest one module that was never a file, and keeps what became of each test."""

    def __init__(
        self, source: str, program: Program | None, *, check: bool = False, further: Mapping[str, Any] | None = None
    ) -> None:
        """`check`: the source sees the solution's names without importing them. `further`: what it finds beside them."""
        self.further = further or {}
        self.source, self.program, self.check = source, program, check
        self.outcomes: dict[str, str] = {}
        """By test; of all that were collected, from the start."""
        self.marked: set[str] = set()
        self.ran = self.answered = False
        self.fault = ""

    @property
    def calls(self) -> int:
        return self.program.calls if self.program is not None else 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> bool:
        session.items = []
        module = types.ModuleType("suite")
        sys.modules["suite"] = module
        module.__dict__.update(self.further)
        try:
            if self.check:
                exec("from solution import *", module.__dict__)
            text: Any = self.source
            if self.program is not None and self.program.identity is not None:
                own = self.program.identity
                module.__dict__.update({sameness.SAME: own.same, sameness.DIFFERENT: own.different, "id": own.id})
                text = sameness.rewritten(self.source)
            exec(compile(text, lines.FILE, "exec", dont_inherit=True), module.__dict__)
        except (Exception, pytest.skip.Exception, pytest.fail.Exception) as error:
            self.outcomes[_told(error)] = "failed"
            self._blame("its top level", error)
            return True
        self.ran = True
        session.items = list(session.genitems(_module(session, module)))
        session.testscollected = len(session.items)
        if len({item.nodeid for item in session.items}) != len(session.items):
            self.fault = "two of its tests have one name"
        self.outcomes = {item.nodeid: NOTHING for item in session.items}
        if not self.calls:  # what the program answered may not decide what is skipped
            self.marked = {item.nodeid for item in session.items if _is_marked(item)}
        self.answered = not session.items and self.calls > 0
        if self.program is not None:
            self.program.load()
            session.items = [] if self.program.broken else session.items
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        if not inspect.iscoroutinefunction(pyfuncitem.obj):
            return None
        names = inspect.signature(pyfuncitem.obj).parameters
        asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
        return True

    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> pytest.TestReport:
        """Without a traceback: what an exception says is never rendered, for it may be the program's.

        After pytest's own hook for unittest, which says what a `TestCase` has raised.
        """
        error = call.excinfo.value if call.excinfo is not None else None
        outcome = "passed" if error is None else "skipped" if isinstance(error, pytest.skip.Exception) else "failed"
        if error is not None and outcome == "failed":
            self._blame(item.name, error)
        return pytest.TestReport(
            nodeid=item.nodeid, location=item.location, keywords={}, outcome=outcome, longrepr=None, when=call.when,  # type: ignore[arg-type]
        )  # fmt: skip

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test has passed if its call did and nothing around it failed."""
        known, name = self.outcomes[report.nodeid], report.nodeid
        if known in {"failed", MARKED} or (report.when != "call" and report.outcome == "passed"):
            return
        if report.outcome == "skipped" or hasattr(report, "wasxfail"):
            self.outcomes[name] = MARKED if name in self.marked else "failed"
        else:
            self.outcomes[name] = report.outcome
        self.answered |= self.outcomes[name] == "passed" and self.calls > 0

    def _blame(self, where: str, error: BaseException) -> None:
        """The suite itself, where it failed without having asked the program anything."""
        if self.program is None or not self.program.asks:
            self.fault = self.fault or f"{where} raises {_told(error)}"


def _told(error: BaseException) -> str:
    return f"{type(error).__name__[:60]}: {str(error)[:100]}"


def _module(session: pytest.Session, module: types.ModuleType) -> pytest.Module:
    class Suite(pytest.Module):
        def _getobj(self) -> types.ModuleType:
            return module

        def istestfunction(self, obj: object, name: str) -> bool:
            ours = isinstance(obj, Handle) or str(getattr(obj, "__module__", "")).startswith("rlzoo.")
            return not ours and super().istestfunction(obj, name)

    made: pytest.Module = Suite.from_parent(session, path=Path("/suite.py"))
    return made


def _is_marked(item: pytest.Item) -> bool:
    """By pytest's marks, or by unittest's decorator."""
    holders = (getattr(item, "obj", None), getattr(item.parent, "obj", None))
    told = ("__unittest_skip__", "__unittest_expecting_failure__")
    own = any(getattr(holder, name, False) is True for holder in holders for name in told)
    return own or any(mark.name in {"skip", "skipif", "xfail"} for mark in item.iter_markers())


os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
OPTIONS = [
    "-p",
    "no:cacheprovider",
    "-p",
    "no:terminal",
    "--capture=no",
    "--rootdir=/",
    "-c",
    "/dev/null",
    "-x",
    "-p",
    "no:threadexception",
]


def warm_up() -> None:
    """Have pytest load all that a suite's run loads, once for all that are forked later."""
    pytest.main(["/", *OPTIONS], plugins=[_Collected("def test(): pass", None)])


def run_suite(job: dict[str, Any]) -> None:
    """Run `job["program"]`, a suite's source, against the program behind the descriptors."""
    program = Program(job["program"], nodes=job["nodes"])
    sys.modules["solution"] = stub(
        program, job["names"], job["errors"], lambda name: hasattr(sys.modules["suite"], name), job["looked"]
    )
    graders = prelude.names("all") if job["graders"] else {}
    further = {**(nodes.NAMES if job["nodes"] else {}), **{name: graders[name] for name in job["graders"]}}
    collected = _Collected(job["program"], program, check=job["check"], further=further)
    threading.excepthook = lambda told: _failed_in_thread(program, told.exc_value)
    code = pytest.main(["/", *OPTIONS], plugins=[collected])
    for name, outcome in collected.outcomes.items():
        harness.write({"test": name[:200], "outcome": outcome})
    conclusion: Conclusion = {
        "end": len(collected.outcomes),
        "code": int(code),
        "ran": collected.ran,
        "calls": program.calls,
        "answered": collected.answered,
        "rests": program.rests > 0,
        "broken": program.broken,
        "unknown": program.identity is not None and program.identity.unknown,
        "fault": collected.fault,
    }
    harness.write(dict(conclusion))


def _failed_in_thread(program: Program, error: BaseException | None) -> None:
    """An assertion in a suite's own thread, which no test would see."""
    if error is not None and standins.is_a_failure(error):
        program.breaks("an assertion in a thread of the suite's fails")


harness.MODES["suite"] = run_suite  # where this module is loaded, which is where suites run
