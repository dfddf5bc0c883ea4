"""The suite's side of a program: asks its process for one thing at a time, and reads what comes back as data.

The program decides what it answers and nothing else: what it says is data, a handle (`handles.py`), or an exception whose class
is Python's own or one that the suite has named beforehand. Whatever else it says ends its chances. Standard library only.
"""

import json
import os
import threading
import types
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from rlzoo.verifiers.sandbox import controls, handles, nodes, notices, sameness, standins, values
from rlzoo.verifiers.sandbox.callbacks import Callbacks, Uncallable
from rlzoo.verifiers.sandbox.lines import Lines
from rlzoo.verifiers.sandbox.sameness import Identity
from rlzoo.verifiers.sandbox.standins import SolutionError

ASK, ANSWER = 5, 6
"""Descriptors to the program's process and from it."""
LONGEST_ANSWER = 4 * 2**20
"""Bytes of one answer, its line's end included."""
MOST_HANDLES = 20_000
"""Objects that a program may answer with."""


class Wire:
    """Lines to the program's process and from it."""

    def __init__(self) -> None:
        self._requests = os.fdopen(ASK, "wb", buffering=0)
        self._answers = os.fdopen(ANSWER, "rb")
        self._ready = False
        self.broken = ""

    def load(self) -> None:
        """Wait until it has loaded; `broken` says why if it does not."""
        if self._ready:
            return
        self._ready = True
        first = self._read()
        if "ready" not in first:
            self.broken = self.broken or standins.text_of(first.get("load")) or "the program does not load"

    def _exchange(self, line: dict[str, Any]) -> dict[str, Any]:
        try:
            self._requests.write(json.dumps(line).encode() + b"\n")
        except BrokenPipeError:
            raise self.breaks("the program ended") from None
        return self._read()

    def _read(self) -> dict[str, Any]:
        """One line; {} and `broken` for what is none."""
        line = self._answers.readline(LONGEST_ANSWER)
        try:
            if not line.endswith(b"\n"):
                raise values.Malformed("the program ended" if len(line) < LONGEST_ANSWER else "an answer is too long")
            answer = values.load_json(line)
            if not isinstance(answer, dict):
                raise values.Malformed("an answer is no object")
        except values.Malformed as error:
            self.broken = str(error)[: standins.LONGEST_TEXT]
            return {}
        return answer

    def breaks(self, why: str) -> SolutionError:
        """What is raised from now on: nothing more that it says can be believed."""
        self.broken = self.broken or why
        return SolutionError(self.broken)


class Program(Wire):
    """The other end of the program's process."""

    def __init__(self, source: str = "", *, nodes: bool = False) -> None:
        """`source`: of the suite. `nodes`: it may answer with trees and lists of LeetCode's."""
        super().__init__()
        self._nodes = nodes
        self.lines = Lines(source)
        self._callbacks = Callbacks()
        self._lock = threading.RLock()
        """Of a suite's own threads, one asks at a time."""
        self._errors = standins.Errors(self._callbacks.raised)
        self.calls = 0
        self.asks = 0
        """Of any kind."""
        self.rests = 0
        """Values and exceptions among its answers: anything but handles, None from objects, and what they compare to."""
        self.recipes: dict[int, controls.MadeBy] = {}
        self.identity = Identity() if sameness.asks(source) else None

    def call(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """What the solution's function gives; its exception where that is a builtin one, else SolutionError."""
        return self.applied("call", [handles.OwnName(self, name)], arguments, keywords, name, counts=True)

    def made(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """An object of the solution's class of that name."""
        made = self.applied("call", [handles.OwnName(self, name)], arguments, keywords, name, trust=handles.MADE)
        if isinstance(made, handles.Handle):
            self.recipes.setdefault(made._rlzoo.number, controls.MadeBy(name, arguments, keywords))
        return made

    def named(self, name: str) -> Any:
        """The solution's constant of that name; itself where it is something that is called. AttributeError where it is nothing."""
        self.calls += 1
        answer = self.asked("named", name)
        if answer.get("absent") is True:
            self.rests += 1
            raise AttributeError(f"module {standins.MODULE!r} has no attribute {name!r}")
        return self if answer.get("called") is True else self.result(answer, name, counts=True)

    def applied(
        self,
        op: str,
        what: list[Any],
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        name: str,
        *,
        trust: int = handles.GIVEN,
        counts: bool = False,
    ) -> Any:
        """A call, or a method, of `what`, which may change its arguments. `counts`: also None is a value that a test may rest on."""
        self.calls += 1
        packed = [self.pack(argument) for argument in arguments]
        answer = self.ask({"op": op, "args": [*map(self.pack, what), *packed], "kwargs": self.pack(keywords)})
        after = answer.get("args")
        if not isinstance(after, list) or len(after) != len(arguments):
            raise self.breaks(f"{name} does not say what became of its arguments")
        for own, before, changed in zip(arguments, packed, after, strict=True):
            self._copy_change(own, before, changed)
        same = answer.get("same")
        if type(same) is int and 0 <= same < len(arguments) and type(arguments[same]) in sameness.TOLD:
            self.rests += 1
            return arguments[same]
        result = self.result(answer, name, trust=trust, counts=counts)
        if self.identity is not None:
            self.identity.keep(result, arguments)
        return result

    def asked(self, op: str, *arguments: Any) -> dict[str, Any]:
        """What an operation on an object answers."""
        return self.ask({"op": op, "args": [self.pack(argument) for argument in arguments], "kwargs": {"d": []}})

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Its answer; the exception that it tells of instead."""
        with self._lock:
            return self._answered(request)

    def _answered(self, request: dict[str, Any]) -> dict[str, Any]:
        self.load()
        self.asks += 1
        if self.broken:
            raise SolutionError(self.broken)
        asserted = len(self._callbacks.asserted)
        answer = self._exchange(request)
        while "callback" in answer:
            answer = self._exchange(self._called_back(answer))
        if "notices" in answer:
            notices.tell(answer["notices"], self._errors.known)
        error = self._errors.told(answer) if "error" in answer else None
        if any(failed is not error for failed in self._callbacks.asserted[asserted:]):
            raise self.breaks("the program swallows an assertion of what it was handed")
        del self._callbacks.asserted[asserted:]
        if error is not None:
            self.rests += 1
            raise self._unending(error, request)
        if self.broken:
            raise SolutionError(self.broken)
        return answer

    def _unending(self, error: BaseException, request: dict[str, Any]) -> BaseException:
        """The exception, but that none out of a call is an iteration's end, as in Python none out of a generator is."""
        ends = isinstance(error, StopIteration | StopAsyncIteration)
        if not ends or "next" in request or "send" in request or request["op"] == "next":
            return error
        return (
            error if self.lines.waits_for("StopIteration") else SolutionError(f"{type(error).__name__} out of a call")
        )

    def _called_back(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What the program may know of a call of something that the suite has handed over."""
        try:
            return self._callbacks.answer(asked, self._find)
        except Uncallable as error:
            raise self.breaks(f"the program {error}") from None
        except BaseException:  # such as the end of a test, which no program is told of
            self.breaks("a test ends within what it has handed over")
            raise

    def result(self, answer: dict[str, Any], name: str, *, trust: int = handles.GIVEN, counts: bool = False) -> Any:
        """What an answer brings; `counts` as of `applied`."""
        if isinstance(answer.get("iterator"), int):
            self.rests += 1
            asked = Items(self, answer["iterator"])
            return _generated(asked) if answer.get("generator") is True else asked
        result = self.value(answer, name, trust=trust)
        if not isinstance(result, handles.Handle) and (counts or result is not None):
            self.rests += 1
        return _awaited(result) if answer.get("awaited") is True else result

    def value(self, answer: dict[str, Any], name: str, *, trust: int = handles.GIVEN) -> Any:
        """What it answers. Something that is neither data nor a handle ends its chances: in one process no test would have
        seen an exception."""
        try:
            packed = answer["value"]
            whole = isinstance(packed, dict) and packed.keys() == {"h"}
            result = self._found("h", packed["h"], trust) if whole else values.unpack(packed, find=self._find)
        except (KeyError, values.Malformed):
            raise self.breaks(f"{name} gives no value") from None
        told = callable(result) and not isinstance(result, handles.Handle | handles.Class)
        if told and isinstance(type(result).__eq__, types.FunctionType):
            raise self.breaks(f"{name} returns what it was handed, which says itself what it is equal to")
        if isinstance(result, values.Opaque):
            raise self.breaks(f"{name} returns {values.short(result)}, which is no data")
        return result

    def pack(self, value: Any) -> Any:
        return values.pack(value, keep=self._callbacks.packed)

    def _find(self, tag: str, inner: Any) -> Any:
        return self._found(tag, inner, handles.GIVEN)

    def _found(self, tag: str, inner: Any, trust: int) -> Any:
        """A node, something that was handed over, or a handle. Its number says which of its objects the program means, and nothing to anybody else."""
        if tag == "n" and self._nodes:
            return nodes.unpack(inner, nodes.own)
        if tag == "k":
            return self._callbacks.given(inner)
        if tag != "h" or not isinstance(inner, list) or [type(part) for part in inner] != [int, str, bool]:
            raise values.Malformed(f"unknown tag {tag[:20]!r}")
        number, name, calls = inner
        if not 0 <= number < MOST_HANDLES:
            raise values.Malformed(f"object {number}; the limit is {MOST_HANDLES}")
        kind = handles.Called if calls else handles.Handle
        return kind(handles.Link(self, number, name[: standins.LONGEST_NAME], trust))

    def error_class(self, name: str) -> type[Exception]:
        """What stands for the solution's exception of that name."""
        rests = self.rests
        try:
            told = self.asked("classes", handles.OwnName(self, name)).get("value")
        except Exception:  # it has none of that name, so nothing that it raises is one
            told = None
        self.rests = rests
        return self._errors.stand_in(name, told)

    def _copy_change(self, own: Any, before: Any, changed: Any) -> None:
        """What the program did to an argument in place, done to the suite's own list or dict."""
        if type(own) not in (list, dict, OrderedDict) or changed == before:
            return
        self.rests += 1
        after = self.value({"value": changed}, "an argument")
        if type(own) is list and type(after) is list:
            own[:] = after
        elif type(own) is type(after):
            own.clear()
            own.update(after)


class Items(Iterator[Any]):
    """An iterator of the program's: each item is asked for when it is wanted."""

    def __init__(self, program: Program, number: int) -> None:
        self._program, self._number = program, number

    def __next__(self) -> Any:
        return self.item({"next": self._number})

    def item(self, request: dict[str, Any]) -> Any:
        answer = self._program.ask(request)
        if answer.get("end") is True:
            raise StopIteration
        return self._program.result(answer, "an iterator", counts=True)

    def sent(self, value: Any) -> Any:
        return self.item({"send": self._number, "args": self._program.pack(value)})


def _generated(items: Items) -> Generator[Any, Any, None]:
    """The same as a generator, which a suite may send values to."""
    value = None
    while True:
        try:
            item = next(items) if value is None else items.sent(value)
        except StopIteration:
            return
        value = yield item


async def _awaited(value: Any) -> Any:
    return value


def stub(
    program: Program,
    names: Sequence[str],
    raised: Sequence[str],
    own: Callable[[str], bool],
    looked: Sequence[str] = (),
) -> types.ModuleType:
    """The module `solution`: any name of it asks the program, whether it has one or not, but for those that are `looked` at,
    of which the program says at once whether it has them.

    `names`: all that `import *` may bring, where the suite has nothing of that name yet (`own` tells). `raised`: names that the
    suite uses as exceptions. Others that begin with a capital letter are classes.
    """

    def remote(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            return program.call(name, arguments, keywords)

        call.__name__ = name.rpartition(".")[2]
        call.__dict__["_rlzoo"] = handles.OwnName(program, name)
        return call

    class Stub(types.ModuleType):
        @property
        def __all__(self) -> list[str]:
            return [name for name in names if not own(name)]

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            if name in raised:
                return program.error_class(name)
            if name in looked:
                found = program.named(name)
                if found is not program:
                    return found
            return handles.Class(program, name) if name.lstrip("_")[:1].isupper() else remote(name)

    class Solution:
        """LeetCode's class: each call is made on an instance of its own."""

        def __getattr__(self, name: str) -> Any:
            return remote(f"Solution.{name}")

    module = Stub(standins.MODULE)
    setattr(module, "Solution", Solution)  # noqa: B010
    return module
