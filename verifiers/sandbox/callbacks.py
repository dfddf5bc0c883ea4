"""What a suite hands over to a program: functions, iterators and classes of exceptions, which stay with the suite.

While something of the program's is asked for, it may ask in turn for a call of what it was handed, and for nothing else. Values
go both ways as data and handles. Standard library only.
"""

import builtins
import functools
import inspect
import operator
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from rlzoo.verifiers.sandbox import handles, lines, standins, values

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
        self._own: set[int] = set()
        """Numbers of what the suite has made itself, which the program may ask for calls of."""
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
        found = _packed_class(value) if isinstance(value, type) else None
        if found is not None:
            return found
        own = _is_own(value)
        place = None if own else _place(value)
        parts = None if own or place else self._parts(value)
        if not (own or place or parts):
            return None
        number = self._numbers.setdefault(id(value), len(self._given))
        if number == len(self._given):
            self._given.append(value)
            self._own |= {number} if own else set()
        if place is not None:
            return {"k": [number, "place", *place, None]}
        if parts is not None:
            return {"k": [number, "made", *parts]}
        kind = "call" if callable(value) else "iterator"
        name, doc = getattr(value, "__name__", None), getattr(value, "__doc__", None)
        told = [text[:LONGEST_DOC] if isinstance(text, str) else None for text in (name, doc)]
        return {"k": [number, kind, *told, _parameters(value) if kind == "call" else None]}

    def _parts(self, value: Any) -> list[Any] | None:
        """What Python's own makes it of, such as `partial(pow, 2)` and `itemgetter(1)`: function, arguments, keywords."""
        function: Any
        keywords: dict[str, Any] = {}
        if isinstance(value, functools.partial):
            function, arguments, keywords = value.func, value.args, value.keywords
        elif isinstance(value, operator.itemgetter | operator.attrgetter | operator.methodcaller):
            told: Any = value.__reduce__()
            function, arguments = told
        else:
            return None
        made = self.packed(function)
        parts = [values.pack(part, keep=self.packed) for part in (list(arguments), keywords)]
        return [made, *parts] if made is not None else None

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
            if asked["callback"] not in self._own:
                raise Uncallable("calls what is Python's own in the suite's process")
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


def _is_own(value: Any) -> bool:
    """Whether it is of a kind that suites make themselves: functions, bound methods, objects that are called, partials of such;
    and iterators. Nothing else is ever called by the program's wish, such as `eval` or `getattr`."""
    if isinstance(value, functools.partial):
        return _is_own(value.func)
    plain = inspect.unwrap(value) if callable(value) and hasattr(type(value), "__get__") else value
    if isinstance(plain, types.FunctionType):
        return plain.__code__.co_filename == lines.FILE
    if isinstance(value, types.MethodType):
        return not isinstance(value.__self__, type) or _is_own(value.__func__)
    if isinstance(value, types.BuiltinMethodType | types.MethodWrapperType):
        bare = isinstance(value.__self__, types.ModuleType | type) or value.__name__.startswith("__get")
        return not bare
    if isinstance(value, Iterator):
        return True
    called = next((vars(kind)["__call__"] for kind in type(value).__mro__ if "__call__" in vars(kind)), None)
    return isinstance(called, types.FunctionType) and not isinstance(value, type)


def _place(value: Any) -> list[str] | None:
    """Module and name by which the program finds the same of Python's own in its own process; None for anything else."""
    if not callable(value):
        return None
    if isinstance(value, types.MethodDescriptorType | types.WrapperDescriptorType):
        return [value.__objclass__.__module__, value.__qualname__]
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    for module in (getattr(value, "__module__", None), type(value).__module__.partition(".")[0]):
        top = module.partition(".")[0] if isinstance(module, str) else ""
        if isinstance(name, str) and (top in sys.stdlib_module_names or top == "numpy"):
            try:
                if operator.attrgetter(name)(sys.modules[str(module)]) == value:
                    return [str(module), name]
            except (KeyError, AttributeError, ValueError):
                pass
    return None


def _is_name(key: object) -> bool:
    return isinstance(key, str)


def _packed_class(kind: type) -> dict[str, Any] | None:
    """One of Python's own, or of a suite's exceptions."""
    if getattr(builtins, kind.__name__, None) is kind:
        return {"y": [kind.__name__]}
    if kind.__module__ == standins.MODULE:
        return {"g": kind.__name__}
    return {"y": _told_class(kind)} if issubclass(kind, Exception) and _place(kind) is None else None


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
