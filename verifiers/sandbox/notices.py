"""What a program says beside its answers, by warnings and logs, which a suite may look at: told again in the suite's process.

Standard library only.
"""

import builtins
import logging
import warnings
from collections.abc import Callable
from typing import Any

MOST = 1_000
"""Notices with one answer."""
LONGEST = 2_000
LOOKED_AT = {"caplog", "assertLogs", "assertNoLogs", "recwarn", "warns", "catch_warnings", "deprecated_call", "assertWarns", "assertWarnsRegex"}  # fmt: skip
"""By which suites look at them."""


class Notices(logging.Handler):
    """In the program's process: what was said since the last answer."""

    def __init__(self) -> None:
        super().__init__()
        self._notices: list[list[Any]] = []
        setattr(warnings, "showwarning", self._warned)  # noqa: B010 - its parameters are fewer
        warnings.simplefilter("always")
        logging.getLogger().addHandler(self)
        logging.getLogger().setLevel(1)  # what is looked at is decided by the suite's own levels

    def emit(self, record: logging.LogRecord) -> None:
        own = logging.getLogger(record.name).level if record.name != "root" else 0
        self._notices.append(["log", record.name, record.levelno, record.getMessage()[:LONGEST], own])

    def _warned(self, message: Any, category: type, *further: Any) -> None:
        self._notices.append(["warning", [kind.__name__ for kind in category.__mro__], str(message)[:LONGEST]])

    def taken(self) -> list[list[Any]]:
        found, self._notices = self._notices[:MOST], []
        return found


def tell(notices: object, known: Callable[[str], type[Exception] | None]) -> None:
    """Say the same in this process, where a filter may make an exception of it. `known`: the suite's class of a name."""
    for notice in notices[:MOST] if isinstance(notices, list) else ():
        match notice:
            case ["log", str(name), int(level), str(text), int(own)]:
                logger = logging.getLogger(name[:LONGEST] if name != "root" else None)
                if own and name != "root":
                    logger.setLevel(own)
                logger.log(level, "%s", text[:LONGEST])
            case ["warning", [*kinds], str(text)]:
                found = (known(one) or getattr(builtins, one, None) for one in kinds if isinstance(one, str))
                kind = next((one for one in found if isinstance(one, type) and issubclass(one, Warning)), UserWarning)
                warnings.warn_explicit(text[:LONGEST], kind, "program.py", 1)
