"""What a suite hands over to a program: functions, iterators and classes of exceptions, which stay with the suite.

While something of the program's is asked for, it may ask in turn for a call of what it was handed, and for nothing else. Values
go both ways as data and handles. Standard library only.
"""

import builtins
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any

from rlzoo.verifiers.sandbox import handles, standins, values

MOST_CALLS = 100_000
"""Of what was handed over."""
DEEPEST = 40
"""Calls within calls."""
LONGEST_DOC = 2_000


class Uncallable(Exception):
    """The program asks for what it may not ask for."""


class Callbacks:
    """What was handed over, by number."""

    def __init__(self) -> None:
        self._given: list[Any] = []
        self._numbers: dict[int, int] = {}
        """By `id`."""
        self.raised: list[Exception] = []
        """By what was handed over; the program may let each through."""
        self.asserted: list[AssertionError] = []
        """Those that say that a test fails, which no program may keep to itself."""
        self._calls = self._depth = 0

    def packed(self, value: Any) -> dict[str, Any] | None:
        """What it crosses as; None for what is neither a function nor the like."""
        found = handles.packed(value)
        if found is not None:
            return found
        if isinstance(value, type):
            return _packed_class(value)
        if not (callable(value) or isinstance(value, Iterator)):
            return None
        number = self._numbers.setdefault(id(value), len(self._given))
        if number == len(self._given):
            self._given.append(value)
        kind = "call" if callable(value) else "iterator"
        name, doc = getattr(value, "__name__", None), getattr(value, "__doc__", None)
        told = [text[:LONGEST_DOC] if isinstance(text, str) else None for text in (name, doc)]
        return {"k": [number, kind, *told, _parameters(value) if kind == "call" else None]}

    def given(self, number: object) -> Any:
        """What was handed over by that number; Malformed for any other."""
        if type(number) is not int or not 0 <= number < len(self._given):
            raise values.Malformed("what was never handed over")
        return self._given[number]

    def answer(self, asked: dict[str, Any], find: values.Find) -> dict[str, Any]:
        """What a call gives, or that it raises. Uncallable for what is no call of what was handed over."""
        self._calls += 1
        if self._calls > MOST_CALLS or self._depth >= DEEPEST:
            raise Uncallable(f"calls what it was handed more than {MOST_CALLS} times, or {DEEPEST} deep")
        try:
            called = self.given(asked["callback"])
            arguments, keywords = (values.unpack(asked.get(part), find=find) for part in ("args", "kwargs"))
        except values.Malformed as error:
            raise Uncallable(str(error)) from None
        if not (isinstance(arguments, list) and isinstance(keywords, dict) and all(map(_is_name, keywords))):
            raise Uncallable("calls what it was handed with no arguments that there are")
        self._depth += 1
        try:
            result = called(*arguments, **keywords) if callable(called) else next(called)
            return {"return": values.pack(result, keep=self.packed)}
        except StopIteration:
            return {"end": True}
        except Exception as error:
            self.raised.append(error)
            self.asserted += [error] if isinstance(error, AssertionError) and standins.is_a_failure(error) else []
            return {"raise": len(self.raised) - 1, "class": _told_class(type(error)), "args": _arguments(error)}
        finally:
            self._depth -= 1


def _is_name(key: object) -> bool:
    return isinstance(key, str)


def _packed_class(kind: type) -> dict[str, Any] | None:
    """One of Python's own, or of a suite's exceptions."""
    if getattr(builtins, kind.__name__, None) is kind:
        return {"y": [kind.__name__]}
    if kind.__module__ == standins.MODULE:
        return {"g": kind.__name__}
    return {"y": _told_class(kind)} if issubclass(kind, Exception) else None


def _told_class(kind: type) -> list[str]:
    """The names of a class and of those that it extends."""
    return [each.__name__ for each in kind.__mro__ if each is not object]


def _arguments(error: Exception) -> Any:
    try:
        return values.pack(list(error.args))
    except (ValueError, RecursionError):
        return []


def _parameters(function: Callable[..., Any]) -> list[list[Any]] | None:
    """Name, kind and whether there is a default, of each parameter; None where Python cannot tell."""
    if not isinstance(function, types.FunctionType):
        return None
    told = inspect.signature(function).parameters.values()
    return [[one.name, int(one.kind), one.default is not one.empty] for one in told]
