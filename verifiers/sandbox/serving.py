"""The program's side of a suite: serves what the suite's process asks for, one request at a time, inside the program's process.

Nothing here is trusted by the one who asks (`remote.py`), since the program can change all of it. Standard library only.

A request is a line {"op": name, "args": [...], "kwargs": {...}} on descriptor 0, its answer a line of results: {"value": v},
{"iterator": number}, {"method": true} for an attribute that is called, {"end": true} for an iterator that has ended, or
{"error": [type, text], "kinds": builtin classes, "own": classes of the program's}. An object that is no data stays here and
crosses as {"h": [number, class, whether it can be called]}; {"g": name} is a name of the program's own, {"n": table} a
tree or a list (`nodes.py`). While a request is pending, {"callback": number, "args": [...], "kwargs": {...}} asks for a call of
something that was handed over; what comes back is {"return": v}, {"end": true} or {"raise": number}, or another request first.
"""

import json
import operator
import os
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

from rlzoo.verifiers.sandbox import harness, incoming, nodes, notices, values

LONGEST_SAID = 2_000
"""Characters of an exception's arguments and fields, in the form that they cross in."""
MODULE = "solution"
FIXED = (int, float, complex, str, bytes, frozenset)
"""What extends these is a value whatever it is made by."""
METHODS = (types.MethodType, types.BuiltinMethodType, types.FunctionType, types.MethodWrapperType)
BINARY = (
    "add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift", "and_", "or_", "xor",
    "iadd", "isub", "imul", "imatmul", "itruediv", "ifloordiv", "imod", "ipow", "ilshift", "irshift", "iand", "ior", "ixor",
)  # fmt: skip
ORDER = ("lt", "le", "gt", "ge", "eq", "ne")


CHANGING = {"call": 1, "method": 2}
"""Operations whose further arguments are told again as they stand afterwards, and how many come before these."""


def _enter(thing: Any) -> Any:
    return type(thing).__enter__(thing)


def _leave(thing: Any, kind: str | None, text: str) -> Any:
    """With an exception of that builtin class, which the block has raised."""
    made = getattr(__import__("builtins"), kind, Exception)(text) if kind else None
    return type(thing).__exit__(thing, type(made) if kind else None, made, None)


def _is_one(thing: Any, kind: Any) -> bool:
    """Python's word, but for what a class of the program's says of its own instances."""
    own = type(kind) is not type and type(kind).__module__ == MODULE
    return kind in type(thing).__mro__ if own else isinstance(thing, kind)


def _alike(one: Any, other: Any) -> bool:
    """Whether both are of one class and hold the same, as far as that is data."""
    return type(one) is type(other) and _held(one) == _held(other)


def _held(thing: Any) -> Any:
    slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    fields = {name: getattr(thing, name, None) for name in slots if isinstance(name, str)}
    return [_plain({**fields, **getattr(thing, "__dict__", {})}), _plain(thing)]


OPERATIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(operator, name) for name in (*BINARY, *ORDER, "neg", "pos", "invert", "getitem", "setitem", "delitem")},
    "call": lambda thing, *arguments, **keywords: thing(*arguments, **keywords),
    "method": lambda thing, name, *arguments, **keywords: getattr(thing, name)(*arguments, **keywords),
    "getattr": getattr, "setattr": setattr, "delattr": delattr, "contains": operator.contains, "isinstance": _is_one, "alike": _alike,
    "len": len, "iter": iter, "next": next, "bool": bool, "str": str, "repr": repr, "format": format, "hash": hash, "abs": abs,
    "round": round, "int": int, "float": float, "reversed": reversed,
    "enter": _enter, "exit": _leave,
    "classes": lambda thing: [kind.__name__ for kind in thing.__mro__],
}  # fmt: skip


def serve(job: dict[str, Any]) -> None:
    """Load the program, then answer until nobody asks any more."""
    Served(job).serve()


class Served:
    """The program's names, and all that it has answered that is no data."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._nodes = bool(job["nodes"])
        self._notices = notices.Notices() if job["notices"] else None
        self._space = harness.load(MODULE, job["program"], job["prelude"], nodes.NAMES if self._nodes else None)
        self._requests = os.fdopen(os.dup(0), "rb")
        self._lock = threading.RLock()
        self._incoming = incoming.Incoming(self.ask, self.packed)
        self._kept: list[Any] = []
        self._numbers: dict[int, int] = {}
        """Of what is kept, by `id`."""

    def serve(self) -> None:
        harness.write({"ready": True})
        for line in self._requests:
            harness.write(self.answer(json.loads(line)))

    def ask(self, asked: dict[str, Any]) -> Any:
        """What the suite's process says to a call of something that it has handed over; answers what it asks meanwhile."""
        with self._lock:
            harness.write(asked)
            for line in self._requests:
                told = json.loads(line)
                if "end" in told:
                    raise StopIteration
                if "raise" in told:
                    raise self._incoming.error(told["class"], self.unpacked(told["args"]), told["raise"])
                if "return" in told:
                    return self.unpacked(told["return"])
                harness.write(self.answer(told))
        raise EOFError

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = self._answer(request)
        except BaseException as error:
            answer = self._told(error)
        return {**answer, "notices": self._notices.taken()} if self._notices is not None else answer

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if "next" in request:
            for item in self._kept[request["next"]]:
                return {"value": self.packed(item)}
            return {"end": True}
        if "send" in request:
            return {"value": self.packed(self._kept[request["send"]].send(self.unpacked(request["args"])))}
        arguments, keywords = self.unpacked(request["args"]), self.unpacked(request["kwargs"])
        name = request["op"]
        if name == "plain":
            return {"value": _plain(arguments[0])}
        if name == "named":
            return self._named(arguments[0])
        result = OPERATIONS[name](*arguments, **keywords)
        if name == "getattr" and isinstance(result, METHODS):
            return {"method": True}
        awaited = type(result) is types.CoroutineType
        if awaited:
            import asyncio

            result = asyncio.run(result)
        told: dict[str, Any] = {"awaited": True} if awaited else {}
        if name in CHANGING:
            further = arguments[CHANGING[name] :]
            told["args"] = self.packed(further)
            told["same"] = next(
                (n for n, one in enumerate(further) if one is result and isinstance(one, list | dict)), None
            )
        if isinstance(result, Iterator) and (name == "iter" or not self._is_made(request, result)):
            return {**told, "iterator": self._number(result), "generator": type(result) is types.GeneratorType}
        return {**told, "value": self.packed(result, made=self._is_made(request, result))}

    def _named(self, name: str) -> dict[str, Any]:
        """Of a name of the program's: that there is none, that it is called, or its value."""
        if name not in self._space:
            return {"absent": True}
        thing = self._space[name]
        return {"called": True} if callable(thing) else {"value": self.packed(thing)}

    def _is_made(self, request: dict[str, Any], result: Any) -> bool:
        """Whether it is an object that the suite has made of a class, which is no value even where its class extends one."""
        first = request["args"][:1]
        named = request["op"] == "call" and first and isinstance(first[0], dict) and "g" in first[0]
        kind = type(result)
        made = bool(named) and isinstance(self._space.get(first[0]["g"]), type)
        return made and kind.__module__ == MODULE and not issubclass(kind, FIXED)

    def _number(self, value: Any) -> int:
        number = self._numbers.setdefault(id(value), len(self._kept))
        if number == len(self._kept):
            self._kept.append(value)
        return number

    def _keep(self, value: Any) -> dict[str, Any]:
        known = self._incoming.number(value)
        if known is not None:
            return {"k": known}
        table = nodes.pack(value) if self._nodes else None
        if table is not None:
            return table
        return {"h": [self._number(value), str(type(value).__name__)[:60], callable(value)]}

    def packed(self, value: Any, *, made: bool = False) -> Any:
        """What cannot be packed is no data, and no error of the call's."""
        try:
            known = id(value) in self._numbers and not isinstance(value, tuple)  # as `self` that a method gives back
            return self._keep(value) if made or known else values.pack(value, keep=self._keep)
        except (ValueError, RecursionError):
            return {"o": "value without end"}

    def unpacked(self, packed: Any) -> Any:
        return values.unpack(packed, find=self._find)

    def _find(self, tag: str, inner: Any) -> Any:
        if tag == "h":
            return self._kept[inner[0]]
        if tag == "g":
            return harness.finder(self._space, inner)()
        if tag == "n":
            return nodes.unpack(inner, self._node)
        return self._incoming.made(tag, inner)

    def _node(self, kind: str, value: Any) -> Any:
        """Of the program's own class, if it has one."""
        made = self._space.get(kind)
        if not isinstance(made, type):
            return nodes.own(kind, value)
        node: Any = object.__new__(made)
        node.val = value
        return node

    def _told(self, error: BaseException) -> dict[str, Any]:
        kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
        own = [kind.__name__[:60] for kind in type(error).__mro__ if kind.__module__ != "builtins"]
        answer = {"error": harness.told(error), "kinds": kinds, "own": own[:20], "raised": incoming.number_of(error)}
        try:
            said = {"said": values.pack(list(error.args)), "fields": values.pack(vars(error))}
            return {**answer, **said} if len(json.dumps(said)) <= LONGEST_SAID else answer
        except BaseException:
            return answer


def _plain(value: Any) -> Any:
    """As data, where its class extends a value's."""
    try:
        return values.pack(value)
    except (ValueError, RecursionError):
        return {"o": "value without end"}
