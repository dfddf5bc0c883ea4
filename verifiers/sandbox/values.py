"""Values as data: what crosses between a program and the one who judges it. Standard library only.

JSON with tags for what JSON cannot say, so that a tuple is no list, 1 is not 1.0 and an OrderedDict has an order. An object of a
class that extends one of Python's own (a named tuple, an IntEnum, a Counter) crosses as what it extends, and so do numpy's numbers
and other mappings; any other object crosses as an `Opaque` name and equals nothing, unless who packs and who unpacks agree on a tag of their own for it
(`Keep` and `Find`). Reading never runs anything and is bounded in bytes, depth and digits.
"""

import json
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

MOST_BYTES = 16 * 2**20
DEEPEST = 100
MOST_DIGITS = 4_300
"""Python's own limit on turning text into an integer."""
_MOST_BITS = 14_280  # below 4,300 digits
_TAGS: dict[type, str] = {tuple: "t", set: "s", frozenset: "z", deque: "q"}
_COLLECTIONS: dict[str, Callable[[Any], Any]] = {
    "t": tuple, "s": set, "z": frozenset, "q": deque, "d": dict, "l": OrderedDict,
}  # fmt: skip
_DICTS = (dict, Counter, defaultdict)
_EXTENDED: dict[type, Callable[[Any], Any]] = {
    int: int.__int__, float: float.__float__, str: str.__str__, bytes: bytes.__bytes__,
    tuple: lambda value: tuple(tuple.__iter__(value)), list: lambda value: list(list.__iter__(value)),
    dict: lambda value: dict(dict.items(value)), set: lambda value: set(set.__iter__(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)), deque: lambda value: deque(deque.__iter__(value)),
}  # fmt: skip
"""How an object of a class that extends one of these becomes one of them."""


Keep = Callable[[Any], "dict[str, Any] | None"]
"""What a value that is no data crosses as, as {tag: inner}; None where it crosses as an `Opaque`."""
Find = Callable[[str, Any], Any]
"""What a tag that is not this module's stands for; Malformed for none."""


class Malformed(ValueError):
    """Bytes that are no value within the limits."""


class Opaque:
    """Something that is no data, by the name of what it is; equal to nothing but itself."""

    def __init__(self, name: str) -> None:
        self.name = name


def dump(value: object) -> bytes:
    """One line of ASCII, without the line's end."""
    return json.dumps(pack(value), separators=(",", ":"), allow_nan=False).encode()


def load(line: bytes) -> Any:
    """The value of a line that `dump` made, or that somebody made up. Malformed if it is none."""
    return unpack(load_json(line))


def load_json(line: bytes) -> Any:
    """Plain JSON within the limits; Malformed otherwise."""
    if len(line) > MOST_BYTES:
        raise Malformed(f"{len(line)} bytes; the limit is {MOST_BYTES}")
    try:
        return json.loads(line, parse_int=_integer, parse_float=_real, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"no JSON value: {type(error).__name__}") from None


def _integer(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise Malformed(f"an integer of {len(text)} digits; the limit is {MOST_DIGITS}")
    return int(text)


def _real(text: str) -> float:
    if len(text) > MOST_DIGITS:
        raise Malformed(f"a number of {len(text)} characters; the limit is {MOST_DIGITS}")
    return float(text)


def _no_constant(text: str) -> Any:
    raise Malformed(f"{text} is not JSON")


def pack(value: Any, depth: int = 0, keep: Keep | None = None) -> Any:
    """The tagged form. ValueError beyond the depth limit, which a value that contains itself reaches."""
    if depth > DEEPEST:
        raise ValueError(f"a value nested deeper than {DEEPEST}")
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return value if value.bit_length() <= _MOST_BITS else {"o": f"integer of {value.bit_length()} bits"}
    if kind is float:
        return value if value - value == 0 else {"f": repr(value)}
    if kind is list:
        return [pack(item, depth + 1, keep) for item in value]
    if kind in _TAGS:
        return {_TAGS[kind]: [pack(item, depth + 1, keep) for item in value]}
    if kind in _DICTS:
        return {"d": [[pack(key, depth + 1, keep), pack(item, depth + 1, keep)] for key, item in dict.items(value)]}
    if OrderedDict in kind.__mro__:  # whose order counts, and is not the one that it has as a dict
        pairs = [(key, dict.__getitem__(value, key)) for key in OrderedDict.__iter__(value)]
        return {"l": [[pack(key, depth + 1, keep), pack(item, depth + 1, keep)] for key, item in pairs]}
    if kind is bytes:
        return {"b": value.hex()}
    if kind is range:
        return {"r": [pack(value.start), pack(value.stop), pack(value.step)]}
    if kind is complex:
        return {"c": [repr(value.real), repr(value.imag)]}
    if kind is Decimal and value.is_finite():
        return {"m": str(value)}
    if kind is Fraction:
        return {"v": [pack(value.numerator), pack(value.denominator)]}
    for builtin, plain in _EXTENDED.items():
        if isinstance(value, builtin):
            return pack(plain(value), depth, keep)
    if kind.__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return pack(value.item(), depth)
    if isinstance(value, Mapping):
        return {"d": [[pack(key, depth + 1, keep), pack(value[key], depth + 1, keep)] for key in value]}
    kept = keep(value) if keep is not None else None
    return kept if kept is not None else {"o": kind.__name__[:60]}


def unpack(packed: Any, depth: int = 0, find: Find | None = None) -> Any:
    """The value of a tagged form. Malformed for unknown tags, unhashable keys and too much depth."""
    if depth > DEEPEST:
        raise Malformed(f"a value nested deeper than {DEEPEST}")
    if isinstance(packed, list):
        return [unpack(item, depth + 1, find) for item in packed]
    if not isinstance(packed, dict):
        return packed
    if len(packed) != 1:
        raise Malformed("a tagged value has one key")
    ((tag, inner),) = packed.items()
    try:
        return _unpack_tagged(tag, inner, depth + 1, find)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise Malformed(f"no value: {error}"[:200]) from None


def _unpack_tagged(tag: str, inner: Any, depth: int, find: Find | None) -> Any:
    if tag == "o" and isinstance(inner, str):
        return Opaque(inner[:60])
    if tag == "f" and inner in {"nan", "inf", "-inf"}:
        return float(inner)
    if tag == "b" and isinstance(inner, str):
        return bytes.fromhex(inner)
    if tag == "c" and isinstance(inner, list):
        real, imaginary = inner
        return complex(float(real), float(imaginary))
    if tag == "m" and isinstance(inner, str) and len(inner) <= MOST_DIGITS:
        return Decimal(inner)
    if tag == "v" and isinstance(inner, list) and all(type(item) is int for item in inner):
        numerator, denominator = inner
        return Fraction(numerator, denominator)
    if tag == "r" and isinstance(inner, list) and all(type(item) is int for item in inner):
        start, stop, step = inner
        return range(start, stop, step)
    if find is not None and tag not in _COLLECTIONS:
        return find(tag, inner)
    if tag not in _COLLECTIONS or not isinstance(inner, list):
        raise Malformed(f"unknown tag {tag[:20]!r}")
    items = [unpack(item, depth, find) for item in inner]
    if tag in {"d", "l"}:
        return _COLLECTIONS[tag]((key, item) for key, item in items)
    return _COLLECTIONS[tag](items)


def same(value: object, expected: object) -> bool:
    """Equal, and of one type all the way down: True is not 1, and 1.0 is not 1."""
    value = dict(value) if isinstance(value, OrderedDict) else value
    if type(value) is not type(expected):
        return False
    if isinstance(value, list | tuple) and isinstance(expected, list | tuple):
        return len(value) == len(expected) and all(map(same, value, expected))
    if isinstance(value, dict) and isinstance(expected, dict):
        return value.keys() == expected.keys() and all(same(value[key], expected[key]) for key in expected)
    return value == expected


def short(value: object) -> str:
    """For a reason: at most 80 characters of one line."""
    if isinstance(value, Opaque):
        return f"{'an' if value.name[:1] in 'aeiou' else 'a'} {value.name}"
    if isinstance(value, int) and value.bit_length() >= 256:
        return f"an integer of {value.bit_length()} bits"
    try:
        return repr(value)[:80].replace("\n", " ")
    except (RecursionError, ValueError):  # integers within it are too long to write
        return f"a {type(value).__name__}"
