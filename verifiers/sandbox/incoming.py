"""In the program's process, what stands for the suite's own functions, iterators and classes of exceptions. Standard library only."""

import builtins
import functools
import importlib
import inspect
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rlzoo.verifiers.sandbox import values

RAISED = "_rlzoo"
"""Field of an exception that the suite's side has raised: its number there."""


class Incoming:
    """What was handed over so far; each thing stands for itself however often it comes."""

    def __init__(self, ask: Callable[[dict[str, Any]], Any], pack: Callable[[Any], Any]) -> None:
        self._ask, self._pack = ask, pack
        self._made: dict[int, Any] = {}
        self._numbers: dict[int, int] = {}
        """By `id`; of Python's own too, which is found by module and name in this process."""
        self._classes: dict[str, type] = {}

    def number(self, value: Any) -> int | None:
        """Of what the suite has handed over."""
        return self._numbers.get(id(value))

    def made(self, tag: str, inner: Any) -> Any:
        """What stands for a thing of the suite's; Malformed for an unknown tag."""
        if tag == "y":
            return self.error_class(inner)
        if tag != "k":
            raise values.Malformed(f"unknown tag {tag[:20]!r}")
        number, kind, name, doc, parameters = inner
        if number not in self._made:
            thing = self._thing(number, kind, name, doc, parameters)
            self._made[number] = thing
            self._numbers[id(thing)] = number
        return self._made[number]

    def _thing(self, number: int, kind: str, name: Any, doc: Any, parameters: Any) -> Any:
        if kind == "place":
            return operator.attrgetter(doc)(importlib.import_module(name))
        if kind == "made":
            function, arguments, keywords = (values.unpack(part, find=self.made) for part in (name, doc, parameters))
            made = functools.partial(function, *arguments, **keywords)
            return made() if isinstance(function, type) and function.__module__ == "operator" else made
        return self._function(number, name, doc, parameters) if kind == "call" else HandedItems(self, number)

    def call(self, number: int, arguments: Sequence[Any] = (), keywords: dict[str, Any] | None = None) -> Any:
        packed = {"args": self._pack(list(arguments)), "kwargs": self._pack(keywords or {})}
        return self._ask({"callback": number, **packed})

    def _function(self, number: int, name: str | None, doc: str | None, parameters: list[list[Any]] | None) -> Any:
        def function(*arguments: Any, **keywords: Any) -> Any:
            return self.call(number, arguments, keywords)

        function.__name__ = function.__qualname__ = name or "function"
        function.__doc__ = doc
        if parameters is not None:
            given = [
                inspect.Parameter(
                    one, inspect._ParameterKind(kind), default=None if optional else inspect.Parameter.empty
                )
                for one, kind, optional in parameters
            ]
            function.__dict__["__signature__"] = inspect.Signature(given)
        return function

    def error_class(self, names: Sequence[str]) -> type:
        """Python's own class, or one of that name that extends the first of Python's own."""
        found = getattr(builtins, names[0], None)
        if isinstance(found, type):
            return found
        if names[0] not in self._classes:
            self._classes[names[0]] = type(names[0], (self.error_class(names[1:]),), {})
        return self._classes[names[0]]

    def error(self, names: Sequence[str], arguments: Sequence[Any], number: int) -> BaseException:
        """What the suite's own function has raised."""
        kind: Any = self.error_class(names)
        made: BaseException = kind.__new__(kind)
        made.args = tuple(arguments)
        setattr(made, RAISED, number)
        return made


class HandedItems(Iterator[Any]):
    """An iterator of the suite's: each item is asked for when it is wanted."""

    def __init__(self, incoming: Incoming, number: int) -> None:
        self._incoming, self._number = incoming, number

    def __next__(self) -> Any:
        return self._incoming.call(self._number)


def number_of(error: BaseException) -> int | None:
    """The suite's number for an exception of its own."""
    return getattr(error, RAISED, None)
