"""The suite's side of a program: asks its process for one thing at a time, and reads what comes back as data.

The program decides what it answers and nothing else: what it says is data, a handle (`handles.py`), or an exception whose class
is Python's own or one that the suite has named beforehand. Whatever else it says ends its chances. Standard library only.
"""

import builtins
import itertools
import json
import os
import types
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from rlzoo.verifiers.sandbox import handles, nodes, values

ASK, ANSWER = 5, 6
"""Descriptors to the program's process and from it."""
LONGEST_ANSWER = 4 * 2**20
"""Bytes of one answer, its line's end included."""
LONGEST_TEXT = 1_000
"""Characters of what an exception of the program's says."""
LONGEST_NAME = 60
LONGEST_SAID = 4_000
"""Characters of its arguments, and as many of its fields."""
MOST_HANDLES = 20_000
"""Objects that a program may answer with."""


class SolutionError(Exception):
    """An exception of the program's own, or a result that is no data."""


class Program:
    """The other end of the program's process."""

    def __init__(self, *, nodes: bool = False) -> None:
        """`nodes`: it may answer with trees and lists of LeetCode's."""
        self._nodes = nodes
        self._requests = os.fdopen(ASK, "wb", buffering=0)
        self._answers = os.fdopen(ANSWER, "rb")
        self._ready = False
        self._errors: dict[str, type[Exception]] = {}
        """Classes that stand for the solution's own exceptions, by name; those that the suite asks for, and what they extend."""
        self.calls = 0
        self.asks = 0
        """Of any kind."""
        self.rests = 0
        """Values and exceptions among its answers: anything but handles, None from objects, and what they compare to."""
        self.broken = ""

    def load(self) -> None:
        """Wait until it has loaded; `broken` says why if it does not."""
        if self._ready:
            return
        self._ready = True
        first = self._read()
        if "ready" not in first:
            self.broken = self.broken or _text(first.get("load")) or "the program does not load"

    def call(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """What the solution's function gives; its exception where that is a builtin one, else SolutionError."""
        return self.applied("call", [handles.Named(self, name)], arguments, keywords, name, counts=True)

    def made(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """An object of the solution's class of that name."""
        return self.applied("call", [handles.Named(self, name)], arguments, keywords, name, trust=handles.MADE)

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
        return self.result(answer, name, trust=trust, counts=counts)

    def asked(self, op: str, *arguments: Any) -> dict[str, Any]:
        """What an operation on an object answers."""
        return self.ask({"op": op, "args": [self.pack(argument) for argument in arguments], "kwargs": {"d": []}})

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Its answer; the exception that it tells of instead."""
        self.load()
        self.asks += 1
        if self.broken:
            raise SolutionError(self.broken)
        try:
            self._requests.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            raise self.breaks("the program ended") from None
        answer = self._read()
        if "error" in answer:
            self.rests += 1
            raise self._exception(answer)
        if self.broken:
            raise SolutionError(self.broken)
        return answer

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

        def find(tag: str, inner: Any) -> Any:
            return self._found(tag, inner, handles.GIVEN)

        try:
            packed = answer["value"]
            whole = isinstance(packed, dict) and packed.keys() == {"h"}
            result = self._found("h", packed["h"], trust) if whole else values.unpack(packed, find=find)
        except (KeyError, values.Malformed):
            raise self.breaks(f"{name} gives no value") from None
        if isinstance(result, values.Opaque):
            raise self.breaks(f"{name} returns {values.short(result)}, which is no data")
        return result

    def pack(self, value: Any) -> Any:
        return values.pack(value, keep=handles.packed)

    def _found(self, tag: str, inner: Any, trust: int) -> Any:
        """A node, or a handle. Its number says which of its objects the program means, and nothing to anybody else."""
        if tag == "n" and self._nodes:
            return nodes.unpack(inner, nodes.own)
        if tag != "h" or not isinstance(inner, list) or [type(part) for part in inner] != [int, str, bool]:
            raise values.Malformed(f"unknown tag {tag[:20]!r}")
        number, name, calls = inner
        if not 0 <= number < MOST_HANDLES:
            raise values.Malformed(f"object {number}; the limit is {MOST_HANDLES}")
        kind = handles.Called if calls else handles.Handle
        return kind(handles.Link(self, number, name[:LONGEST_NAME], trust))

    def error_class(self, name: str) -> type[Exception]:
        """What stands for the solution's exception of that name, with Python's own class that it extends."""
        if name not in self._errors:
            rests = self.rests
            try:
                told = self.asked("classes", handles.Named(self, name)).get("value")
            except Exception:  # it has none of that name, so nothing that it raises is one
                told = None
            self.rests = rests
            names = [one for one in told[:20] if isinstance(one, str)] if isinstance(told, list) else []
            base: type[Exception] = _builtin_error(names) or Exception
            for one in (*reversed(_own_classes(names, name)), name):
                base = self._errors.setdefault(one, type(one, (base,), {"__module__": handles.MODULE}))
        return self._errors[name]

    def _exception(self, answer: dict[str, Any]) -> BaseException:
        """As the suite knows it: by a class of its own asking, else by Python's."""
        told, kinds, own = answer["error"], answer.get("kinds"), answer.get("own")
        names = [name for name in kinds[:20] if isinstance(name, str)] if isinstance(kinds, list) else []
        text = _text(told[-1:] if isinstance(told, list) else None)
        said = _small(answer.get("said"), list)
        arguments = tuple(said) if said is not None else (text,)
        for name in own[:20] if isinstance(own, list) else ():
            if isinstance(name, str) and name in self._errors and "Exception" in names:
                error = _made_error(self._errors[name], arguments)
                fields = _small(answer.get("fields"), dict) or {}
                error.__dict__.update({key: fields[key] for key in fields if _is_public(key)})
                return error
        for name in names:
            kind = getattr(builtins, name, None)
            if isinstance(kind, type) and issubclass(kind, BaseException) and kind not in (Exception, BaseException):
                return _made_error(kind, arguments)
        return SolutionError(_text(told)) if "Exception" in names else BaseException(_text(told))

    def _copy_change(self, own: Any, before: Any, changed: Any) -> None:
        """What the program did to an argument in place, done to the suite's own list or dict."""
        if type(own) not in (list, dict) or changed == before:
            return
        self.rests += 1
        after = self.value({"value": changed}, "an argument")
        if type(own) is list and type(after) is list:
            own[:] = after
        if type(own) is dict and type(after) is dict:
            own.clear()
            own.update(after)

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
            self.broken = str(error)[:LONGEST_TEXT]
            return {}
        return answer

    def breaks(self, why: str) -> SolutionError:
        """What is raised from now on: nothing more that it says can be believed."""
        self.broken = self.broken or why
        return SolutionError(self.broken)


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


def _text(told: object) -> str:
    """Of what an exception says, as much as is read."""
    parts = told if isinstance(told, list) else []
    return ": ".join(part[:LONGEST_TEXT] for part in parts[:2] if isinstance(part, str))


def _small(packed: Any, kind: type) -> Any:
    """Data of that type, within a limit; None for anything else."""
    try:
        found = values.unpack(packed) if len(json.dumps(packed)) <= LONGEST_SAID else None
    except values.Malformed:
        return None
    parts = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
    return found if type(found) is kind and not any(isinstance(part, values.Opaque) for part in parts) else None


def _is_public(name: object) -> bool:
    return isinstance(name, str) and name.isidentifier() and not name.startswith("_")


def _made_error(kind: type[BaseException], arguments: tuple[Any, ...]) -> BaseException:
    """Without running what makes it, which may need other arguments."""
    error = kind.__new__(kind)
    error.args = arguments
    return error


def _builtin(name: str) -> type | None:
    kind = getattr(builtins, name, None)
    return kind if isinstance(kind, type) else None


def _own_classes(names: Sequence[str], first: str) -> list[str]:
    """Those of the program's own above the first, before Python's."""
    own = itertools.takewhile(lambda name: _builtin(name) is None, names)
    return [name for name in own if name != first and name.isidentifier() and len(name) <= LONGEST_NAME]


def _builtin_error(names: Sequence[str]) -> type[Exception] | None:
    """The first of Python's own exceptions among them."""
    kinds = (_builtin(name) for name in names)
    return next((kind for kind in kinds if kind is not None and issubclass(kind, Exception)), None)


def stub(program: Program, names: Sequence[str], errors: Sequence[str], own: Callable[[str], bool]) -> types.ModuleType:
    """The module `solution`: any name of it asks the program, whether it has one or not.

    `names`: all that `import *` may bring, where the suite has nothing of that name yet (`own` tells). `errors`: names that the
    suite uses as exceptions. Others that begin with a capital letter are classes.
    """

    def remote(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            return program.call(name, arguments, keywords)

        call.__name__ = name.rpartition(".")[2]
        return call

    class Stub(types.ModuleType):
        @property
        def __all__(self) -> list[str]:
            return [name for name in names if not own(name)]

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            if name in errors:
                return program.error_class(name)
            return handles.Class(program, name) if name.lstrip("_")[:1].isupper() else remote(name)

    class Solution:
        """LeetCode's class: each call is made on an instance of its own."""

        def __getattr__(self, name: str) -> Any:
            return remote(f"Solution.{name}")

    module = Stub(handles.MODULE)
    setattr(module, "Solution", Solution)  # noqa: B010
    return module
