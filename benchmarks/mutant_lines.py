"""Which test runs which line: a plugin of pytest that the campaign of `benchmarks/mutants.py` loads, since no coverage tool is installed.

    RLZOO_LINES=lines.json pytest -p benchmarks.mutant_lines

Lines of a fixture count for every test that asks for it, whatever its scope, and lines run while a test file is imported
for all of its tests. Lines of a module's or a class's own body run once, at import, and are not recorded: the campaign
then takes the tests that run anything in that file. What a test starts as a process of its own is not seen.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from benchmarks.mutant_operators import watched

ROOT = Path(__file__).resolve().parents[1]
Lines = set[tuple[str, int]]


class Recorder:
    """Lines run, by the context that is open: a test, a fixture or a test file."""

    def __init__(self, root: Path) -> None:
        self.files = {str(root / name): name for name in watched(root)}
        self.names: dict[str, str | None] = {}
        self.contexts: dict[str, Lines] = defaultdict(set)
        self.open: list[Lines] = []
        self.seconds: dict[str, float] = defaultdict(float)
        self.passed: set[str] = set()
        self.fixtures: dict[str, list[str]] = {}

    @contextmanager
    def context(self, name: str) -> Iterator[None]:
        """Lines run inside count for `name`."""
        self.open.append(self.contexts[name])
        try:
            yield
        finally:
            self.open.pop()

    def named(self, file: str) -> str | None:
        """A watched file's name from the root, through links; None for any other."""
        if file not in self.names:
            self.names[file] = self.files.get(os.path.realpath(file))
        return self.names[file]

    def called(self, frame: FrameType, event: str, argument: Any) -> Any:
        """The tracer of calls: lines are followed in watched functions only."""
        code = frame.f_code
        name = self.named(code.co_filename)
        if name is None or not code.co_flags & inspect.CO_OPTIMIZED:
            return None
        open_, seen = self.open, set[int]()

        def ran(frame: FrameType, event: str, argument: Any) -> Any:
            if event == "line" and frame.f_lineno not in seen:
                seen.add(frame.f_lineno)
                if open_:
                    open_[-1].add((name, frame.f_lineno))
            return ran

        return ran

    def start(self) -> None:
        threading.settrace(self.called)
        sys.settrace(self.called)

    def written(self) -> dict[str, Any]:
        """By test: seconds, the lines by file."""
        told: dict[str, Any] = {}
        for test in sorted(self.passed):
            lines = set(self.contexts[test]) | self.contexts[test.partition("::")[0]]
            for fixture in self.fixtures[test]:
                lines |= self.contexts[fixture]
            by_file: dict[str, list[int]] = defaultdict(list)
            for name, line in sorted(lines):
                by_file[name].append(line)
            told[test] = {"seconds": round(self.seconds[test], 2), "lines": by_file}
        return told


RECORDER = Recorder(ROOT)


def pytest_configure(config: pytest.Config) -> None:
    RECORDER.start()


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Any:
    if not isinstance(collector, pytest.Module):
        return (yield)
    with RECORDER.context(collector.nodeid):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Any:
    found = getattr(item, "_fixtureinfo", None)
    definitions = found.name2fixturedefs.values() if found else ()
    RECORDER.fixtures[item.nodeid] = [_fixture(definition) for several in definitions for definition in several]
    sys.settrace(RECORDER.called)  # a test that traced for itself left nothing behind
    with RECORDER.context(item.nodeid):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any) -> Any:
    with RECORDER.context(_fixture(fixturedef)):
        return (yield)


def _fixture(definition: Any) -> str:
    return f"fixture {definition.baseid} {definition.argname}"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    RECORDER.seconds[report.nodeid] += report.duration
    if report.when == "call" and report.passed:
        RECORDER.passed.add(report.nodeid)


def pytest_sessionfinish() -> None:
    sys.settrace(None)
    Path(os.environ["RLZOO_LINES"]).write_text(json.dumps(RECORDER.written()), encoding="utf-8")
