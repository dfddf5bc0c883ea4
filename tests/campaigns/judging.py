"""Commands asked for in this process, and what no answer may be: a traceback, a bug that is none, silence."""

from __future__ import annotations

import contextlib
import io
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rlzoo.cli import main

LIMIT_S = 120
BLAMES = ("This is a bug", "Traceback (most recent call last)", "traceback")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    words: tuple[str, ...]
    code: int
    out: str
    said: str
    """On standard error."""

    @property
    def fault(self) -> str:
        """What no command may do and this one did; empty if it did nothing such."""
        if self.code not in (0, 1, 2):
            return f"exit code {self.code}: {self.said[-200:]}"
        if any(blame in self.said for blame in BLAMES):
            return f"blames itself: {self.said[-300:]}"
        if self.code and "error: " not in self.said:
            return f"exit code {self.code} without a word"
        return ""

    @property
    def message(self) -> str:
        """The error, as it was told."""
        return self.said[self.said.rfind("error: ") :].strip() if "error: " in self.said else ""


class Hung(BaseException):
    """A command that did not end in time."""


def asked(words: Sequence[str | Path]) -> Outcome:
    """One command, carried out here."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise Hung

    out, said = io.StringIO(), io.StringIO()
    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LIMIT_S)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
            code = main.run([str(word) for word in words])
    except Hung:
        code = 124
        said.write(f"still at it after {LIMIT_S} s")
    except BaseException as error:
        code = 70
        said.write(f"let out {type(error).__name__}: {error}")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return Outcome(tuple(map(str, words)), code, out.getvalue(), said.getvalue())
