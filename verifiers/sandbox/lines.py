"""Where in its own text a suite is while something of a program's raises: what the lines there wait for, and what they assert.

Standard library only.
"""

import ast
import sys
import types
from collections.abc import Iterator
from functools import cached_property

FILE = "suite.py"
"""What a suite's text is compiled as."""
WAITING = {"raises", "assertRaises", "assertRaisesRegex"}


class Lines:
    """A suite's text, parsed once it is asked about."""

    def __init__(self, source: str) -> None:
        self._source = source

    @cached_property
    def _nodes(self) -> list[ast.AST]:
        return list(ast.walk(ast.parse(self._source)))

    def waits_for(self, name: str) -> bool:
        """Whether the suite is in a block or call that names this exception as what it waits for."""
        line = next((frame.f_lineno for frame in _frames() if frame.f_code.co_filename == FILE), 0)
        return any(
            _spans(part, line) and any(name in ast.unparse(kind) for kind in kinds)
            for node in self._nodes
            for part, kinds in _waiting(node)
        )

    def asserts_after(self, error: BaseException) -> bool:
        """Whether the block that `error` leaves holds an assertion at the line that it comes from, or after it."""
        inside = {id(frame): frame.f_lineno for frame in _frames() if frame.f_code.co_filename == FILE}
        trace = error.__traceback__
        while trace is not None and id(trace.tb_frame) not in inside:
            trace = trace.tb_next
        if trace is None:
            return False
        line, header = trace.tb_lineno, inside[id(trace.tb_frame)]
        blocks = [
            node
            for node in self._nodes
            if isinstance(node, ast.With | ast.AsyncWith)
            and _spans(node, line)
            and node.lineno <= header <= node.body[0].lineno
        ]
        asserts = [part for block in blocks[-1:] for part in ast.walk(block) if _asserts(part)]
        return any(getattr(part, "end_lineno", 0) >= line for part in asserts)


def _frames() -> Iterator[types.FrameType]:
    """From here outwards."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _spans(node: ast.AST, line: int) -> bool:
    first: int = getattr(node, "lineno", 0)
    return first <= line <= (getattr(node, "end_lineno", None) or first)


def _waiting(node: ast.AST) -> Iterator[tuple[ast.AST, list[ast.expr]]]:
    """Where something is waited for, and the expressions that name it."""
    if isinstance(node, ast.Try):
        kinds = [handler.type for handler in node.handlers if handler.type is not None]
        yield from ((part, kinds) for part in node.body)
    if isinstance(node, ast.With | ast.AsyncWith):
        calls = [item.context_expr for item in node.items]
        yield node, [call.args[0] for call in calls if isinstance(call, ast.Call) and _waits(call)]
    if isinstance(node, ast.Call) and _waits(node):
        yield node, node.args[:1]


def _waits(call: ast.Call) -> bool:
    return bool(call.args) and ast.unparse(call.func).rpartition(".")[2] in WAITING


def _asserts(node: ast.AST) -> bool:
    """An assertion, but for one that only says that its line is not reached."""
    if isinstance(node, ast.Assert):
        return not (isinstance(node.test, ast.Constant) and not node.test.value)
    name = ast.unparse(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""
    return name.startswith("assert") and name not in WAITING
