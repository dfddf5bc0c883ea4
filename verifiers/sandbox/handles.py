"""What stands in a suite's process for an object of the program's: every operation is asked of the program, one at a time.

An object may lie, so what it may be asked depends on how the suite came by it:

- `MADE`: the suite has made it of the solution's class, so that what its operators do is what is tested;
- `WORKED_OUT`: an operator on such objects gave it, and it may take part in further ones with such objects;
- `GIVEN`: anything else, where a value may be expected. It answers fields, methods that no value has, calls, its text and its truth,
  and is compared with what the suite has made. That it is asked for what a value would say ends the program's chances.

No object is ever equal to a value, or in an order with one, by the program's word. Standard library only.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from rlzoo.verifiers.sandbox import controls, nodes, standins, values
from rlzoo.verifiers.sandbox.lines import Lines

GIVEN, WORKED_OUT, MADE = 0, 1, 2
VALUES = (int, float, complex, str, bytes, list, tuple, dict, set, frozenset, range, deque)
NAMES_OF_VALUES = frozenset(name for kind in VALUES for name in dir(kind))
OPERATORS = {
    "add": "add", "sub": "sub", "mul": "mul", "matmul": "matmul", "truediv": "truediv", "floordiv": "floordiv", "mod": "mod",
    "pow": "pow", "lshift": "lshift", "rshift": "rshift", "and": "and_", "or": "or_", "xor": "xor",
}  # fmt: skip
"""By the names of Python's methods, as the program's side has them."""
TELLING = frozenset({"__name__", "__doc__", "__qualname__"})
"""Of functions."""


class Asking(Protocol):
    """What handles need of the other end of a program (`remote.py`)."""

    calls: int
    rests: int
    broken: str
    lines: Lines
    recipes: dict[int, controls.MadeBy]
    """Of what the suite has made, by number."""

    def made(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any: ...

    def applied(
        self, op: str, what: list[Any], arguments: tuple[Any, ...], keywords: dict[str, Any], name: str
    ) -> Any: ...

    def asked(self, op: str, *arguments: Any) -> dict[str, Any]: ...

    def result(self, answer: dict[str, Any], name: str, *, trust: int = GIVEN, counts: bool = False) -> Any: ...

    def value(self, answer: dict[str, Any], name: str) -> Any: ...

    def breaks(self, why: str) -> Exception: ...


class Link(NamedTuple):
    """Which object of which program a handle stands for."""

    program: Asking
    number: int
    kind: str
    """Name of its class, by the program's word."""
    trust: int


class OwnName:
    """A name of the solution's own."""

    def __init__(self, program: Asking, name: str) -> None:
        self.program, self.name = program, name


class Class:
    """A class of the solution's: makes objects, and has attributes of its own."""

    def __init__(self, program: Asking, name: str) -> None:
        self._rlzoo = OwnName(program, name)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self._rlzoo.program.made(self._rlzoo.name, arguments, keywords)

    def __getattr__(self, name: str) -> Any:
        if _is_inner(name):
            raise AttributeError(name)
        return _attribute(self._rlzoo.program, self._rlzoo, name, self._rlzoo.name)

    def __instancecheck__(self, thing: object) -> bool:
        if not isinstance(thing, Handle):
            return False
        return _flag(self._rlzoo.program, "isinstance", thing, self._rlzoo)


class Handle:
    """An object of the program's."""

    __slots__ = ("_rlzoo",)
    _rlzoo: Link

    def __init__(self, link: Link) -> None:
        object.__setattr__(self, "_rlzoo", link)

    def __getattr__(self, name: str) -> Any:
        if _is_inner(name):
            raise AttributeError(name)
        found = _attribute(self._rlzoo.program, self, name, self._rlzoo.kind)
        if self._rlzoo.trust == GIVEN and name in NAMES_OF_VALUES and isinstance(found, Method | Handle):
            raise _no_data(self, f"asked for its {name}")
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        self._rlzoo.program.asked("setattr", self, name, value)

    def __delattr__(self, name: str) -> None:
        self._rlzoo.program.asked("delattr", self, name)

    def __eq__(self, other: object) -> bool:
        return _equal(self, other, "eq")

    def __ne__(self, other: object) -> bool:
        return _equal(self, other, "ne")

    def __hash__(self) -> int:
        return int(_of_type(_own(self), "hash", int, self))

    def __bool__(self) -> bool:
        return _flag(self._rlzoo.program, "bool", self)

    def __str__(self) -> str:
        return str(_of_type(self._rlzoo.program, "str", str, self))

    def __repr__(self) -> str:
        return str(_of_type(self._rlzoo.program, "repr", str, self))

    def __format__(self, spec: str) -> str:
        return str(_of_type(self._rlzoo.program, "format", str, self, spec))

    def __len__(self) -> int:
        return int(_of_type(_own(self), "len", int, self))

    def __contains__(self, item: object) -> bool:
        return _flag(_own(self), "contains", self, item)

    def __iter__(self) -> Iterator[Any]:
        program = _own(self)
        found = program.result(program.asked("iter", self), "iter")
        if not isinstance(found, Iterator):
            raise program.breaks("iter gives no iterator")
        return found

    def __getitem__(self, key: Any) -> Any:
        program = _own(self)
        return program.result(program.asked("getitem", self, key), "an item", counts=True)

    def __setitem__(self, key: Any, value: Any) -> None:
        _own(self).asked("setitem", self, key, value)

    def __delitem__(self, key: Any) -> None:
        _own(self).asked("delitem", self, key)

    def __int__(self) -> int:
        return int(_of_type(_own(self), "int", int, self))

    def __float__(self) -> float:
        return float(_of_type(_own(self), "float", float, self))

    def __abs__(self) -> Any:
        return _worked_out("abs", self)

    def __neg__(self) -> Any:
        return _worked_out("neg", self)

    def __pos__(self) -> Any:
        return _worked_out("pos", self)

    def __invert__(self) -> Any:
        return _worked_out("invert", self)

    def __round__(self, *digits: int) -> Any:
        return _worked_out("round", self, *digits)

    def __reversed__(self) -> Iterator[Any]:
        program = _own(self)
        return iter(program.result(program.asked("reversed", self), "reversed"))

    def __enter__(self) -> Any:
        program = self._rlzoo.program
        return _same(self, program.result(program.asked("enter", self), "__enter__"))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        name, text = (kind.__name__, str(error)) if kind is not None else (None, "")
        program = self._rlzoo.program
        if program.value(program.asked("exit", self, name, text), "__exit__") is not True or error is None:
            return False
        if standins.is_a_failure(error) or program.lines.asserts_after(error):
            raise program.breaks("__exit__ swallows what the suite asserts")
        return True

    def __reduce_ex__(self, version: object) -> Any:
        raise TypeError("an object of the solution's is copied nowhere")


class Called(Handle):
    """One that can be called."""

    __slots__ = ()

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self._rlzoo.program.applied("call", [self], arguments, keywords, self._rlzoo.kind)

    def __getattribute__(self, name: str) -> Any:
        if name not in TELLING:
            return super().__getattribute__(name)
        link = object.__getattribute__(self, "_rlzoo")
        return link.program.result(link.program.asked("getattr", self, name), name)


def _next(handle: Handle) -> Any:
    program = _own(handle)
    return program.result(program.asked("next", handle), "next", counts=True)


def _binary(op: str) -> tuple[Callable[[Handle, Any], Any], Callable[[Handle, Any], Any], Callable[[Handle, Any], Any]]:
    """`a + b`, the same from the right, and `a += b`."""

    def forward(self: Handle, other: Any) -> Any:
        return _worked_out(op, self, other)

    def backward(self: Handle, other: Any) -> Any:
        return _worked_out(op, other, self)

    def in_place(self: Handle, other: Any) -> Any:
        return _same(self, _worked_out(f"i{op.rstrip('_')}", self, other))

    return forward, backward, in_place


def _order(op: str) -> Callable[[Handle, Any], bool]:
    def compare(self: Handle, other: Any) -> bool:
        if not isinstance(other, Handle):
            raise _no_data(self, "put in an order with a value")
        _meet(self, other)
        found = _flag(self._rlzoo.program, op, self, other)
        if controls.contradicts(self._rlzoo.program, op, self, other, found):
            raise _no_data(self, "put before another and behind it")
        return found

    return compare


setattr(Handle, "__next__", _next)  # noqa: B010 - mypy would take every handle for an iterator
for _name, _op in OPERATORS.items():
    for _prefix, _method in zip(("", "r", "i"), _binary(_op), strict=True):
        setattr(Handle, f"__{_prefix}{_name}__", _method)
for _op in ("lt", "le", "gt", "ge"):
    setattr(Handle, f"__{_op}__", _order(_op))


class Method:
    """A method of an object's, which is asked for when it is called."""

    def __init__(self, program: Asking, owner: Any, name: str, kind: str) -> None:
        self._program, self._owner, self.__name__, self._kind = program, owner, name, kind

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        name = f"{self._kind}.{self.__name__}"
        return self._program.applied("method", [self._owner, self.__name__], arguments, keywords, name)


def packed(value: Any) -> dict[str, Any] | None:
    """What an object of the program's crosses as on its way back, and a node as well."""
    if isinstance(value, Handle):
        return {"h": [value._rlzoo.number, value._rlzoo.kind, isinstance(value, Called)]}
    if isinstance(value, nodes.ListNode | nodes.TreeNode):
        return nodes.pack(value)
    named = value if isinstance(value, OwnName) else getattr(value, "_rlzoo", None)
    return {"g": named.name} if isinstance(named, OwnName) else None


def _is_inner(name: str) -> bool:
    """Names by which Python and pytest ask an object what it is, which no program answers."""
    return (name.startswith("__") and name.endswith("__")) or "pytest" in name or name == "_rlzoo"


def _attribute(program: Asking, owner: Any, name: str, kind: str) -> Any:
    program.calls += isinstance(owner, OwnName)
    rests = program.rests
    try:
        answer = program.asked("getattr", owner, name)
    except AttributeError:  # that something has no such attribute says nothing of it
        program.rests = rests
        raise
    if answer.get("method") is True:
        return Method(program, owner, name, kind)
    return program.result(answer, f"{kind}.{name}")


def _no_data(handle: Handle, why: str) -> Exception:
    return handle._rlzoo.program.breaks(
        f"{values.short(values.Opaque(handle._rlzoo.kind))}, which is no data, is {why}"
    )


def _own(handle: Handle) -> Asking:
    """The program, where the suite has made the object itself."""
    if handle._rlzoo.trust != MADE:
        raise _no_data(handle, "used as a value")
    return handle._rlzoo.program


def _meet(left: Handle, right: Handle) -> None:
    """Two objects may be asked about one another if the suite has made one of them, or operators on such gave both."""
    trusts = left._rlzoo.trust, right._rlzoo.trust
    if max(trusts) != MADE and min(trusts) != WORKED_OUT:
        raise _no_data(left, "asked about another that the suite has not made either")


def _worked_out(op: str, *operands: Any) -> Any:
    """What an operator gives."""
    ours = [operand for operand in operands if isinstance(operand, Handle)]
    if len(ours) > 1:
        _meet(*ours)
    elif len(operands) > 1:
        _own(ours[0])  # a value in it may be what is expected
    elif ours[0]._rlzoo.trust == GIVEN:
        raise _no_data(ours[0], "used as a value")
    program = ours[0]._rlzoo.program
    answer = program.asked(op, *operands)
    if len(ours) < len(operands) and controls.echoes(program, op, operands, answer.get("value")):
        raise _no_data(ours[0], "the same for every number")
    trust = WORKED_OUT if min(one._rlzoo.trust for one in ours) != GIVEN else GIVEN
    return program.result(answer, op, trust=trust)


def _same(handle: Handle, found: Any) -> Any:
    """The handle itself where the program answers with the same object."""
    return handle if isinstance(found, Handle) and found._rlzoo.number == handle._rlzoo.number else found


def _flag(program: Asking, op: str, *operands: Any) -> bool:
    return bool(_of_type(program, op, bool, *operands, counts=False))


def _of_type(program: Asking, op: str, kind: type[Any], *operands: Any, counts: bool = True) -> Any:
    found: Any = program.value(program.asked(op, *operands), op)
    if type(found) is not kind or (op == "len" and found < 0):
        raise program.breaks(f"{op} gives no {kind.__name__}")
    program.rests += counts and op != "hash"
    return found


def _equal(handle: Handle, other: object, op: str) -> bool:
    """Whether two objects are equal (`eq`) or differ (`ne`), by the program's word; with a value, by what is data in it."""
    program = handle._rlzoo.program
    if other is None:
        return op == "ne"
    if isinstance(other, Handle):
        _meet(handle, other)
        alike = controls.says(program, "alike", handle, other)
        found = _flag(program, op, handle, other)
        told = values.short(values.Opaque(handle._rlzoo.kind))
        if controls.contradicts(program, op, handle, other, found):
            raise program.breaks(f"{told} is equal to another and differs from it")
        if (found and _always(program, handle, op)) or (
            found is (op == "eq") and controls.vain(program, handle, other, alike is True)
        ):
            raise program.breaks(f"{told} compares the same with everything")
        return found
    try:
        plain = values.unpack(program.asked("plain", handle).get("value"))
    except values.Malformed:
        raise program.breaks("an object that is no data") from None
    if handle._rlzoo.trust != MADE or isinstance(plain, values.Opaque):
        raise _no_data(handle, "compared with a value")
    program.rests += 1
    return bool(plain == other) is (op == "eq")


def _always(program: Asking, handle: Handle, op: str) -> bool:
    """Whether it is equal to a text that it has never seen, or differs from itself."""
    rests = program.rests
    try:
        return _flag(program, op, handle, "no object of the solution's" if op == "eq" else handle)
    except Exception:
        if program.broken:
            raise
        program.rests = rests
        return False
