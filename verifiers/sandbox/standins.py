"""What stands in a suite's process for exceptions of the program's: Python's own classes, and those that the suite has named.

No class is made but for a name that the suite's text uses as one, so that nothing that a program raises is what pytest takes for
more than an exception. Standard library only.
"""

import builtins
import itertools
import json
from collections.abc import Sequence
from typing import Any

from rlzoo.verifiers.sandbox import values

MODULE = "solution"
LONGEST_TEXT = 1_000
"""Characters of what an exception of the program's says."""
LONGEST_NAME = 60
LONGEST_SAID = 4_000
"""Characters of its arguments, and as many of its fields."""


TOLD = "_rlzoo"
"""Field of an exception that the program has told of."""


class SolutionError(Exception):
    """An exception of the program's own, or a result that is no data."""


class Errors:
    """Classes that stand for the solution's own exceptions, by name: those that the suite asks for, and what they extend."""

    def __init__(self, raised: Sequence[Exception]) -> None:
        """`raised`: by what the suite has handed over, which the program may let through."""
        self._raised = raised
        self._classes: dict[str, type[Exception]] = {}

    def stand_in(self, name: str, told: object) -> type[Exception]:
        """The class for that name, which extends those that are `told`, up to the first of Python's own."""
        names = [one for one in told[:20] if isinstance(one, str)] if isinstance(told, list) else []
        base: type[Exception] = _builtin_error(names) or Exception
        for one in (*reversed(_own_classes(names, name)), name):
            base = self._classes.setdefault(one, type(one, (base,), {"__module__": MODULE}))
        return self._classes[name]

    def known(self, name: str) -> type[Exception] | None:
        return self._classes.get(name)

    def told(self, answer: dict[str, Any]) -> BaseException:
        """What an answer tells of: what the suite's own functions raised; else a class of the suite's asking; else Python's."""
        raised = answer.get("raised")
        if type(raised) is int and 0 <= raised < len(self._raised):
            return self._raised[raised]
        error = self._made(answer)
        error.__dict__[TOLD] = True
        return error

    def _made(self, answer: dict[str, Any]) -> BaseException:
        said_of, kinds, own = answer["error"], answer.get("kinds"), answer.get("own")
        names = [name for name in kinds[:20] if isinstance(name, str)] if isinstance(kinds, list) else []
        text = text_of(said_of[-1:] if isinstance(said_of, list) else None)
        said = _small(answer.get("said"), list)
        arguments = tuple(said) if said is not None else (text,)
        for name in own[:20] if isinstance(own, list) else ():
            if isinstance(name, str) and name in self._classes and "Exception" in names:
                error = _made_error(self._classes[name], arguments)
                fields = _small(answer.get("fields"), dict) or {}
                error.__dict__.update({key: fields[key] for key in fields if _is_public(key)})
                return error
        for name in names:
            kind = getattr(builtins, name, None)
            if isinstance(kind, type) and issubclass(kind, BaseException) and kind not in (Exception, BaseException):
                return _made_error(kind, arguments)
        return SolutionError(text_of(said_of)) if "Exception" in names else BaseException(text_of(said_of))


def is_told(error: BaseException) -> bool:
    """Whether it is the program's, and not what the suite says itself."""
    return TOLD in error.__dict__


def is_a_failure(error: BaseException) -> bool:
    """Whether it says that a test fails, or ends it, by the suite's own word."""
    return not is_told(error) and (isinstance(error, AssertionError) or not isinstance(error, Exception))


def text_of(told: object) -> str:
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
    if isinstance(error, StopIteration):
        error.value = arguments[0] if arguments else None  # which `yield from` reads without looking
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
