"""What the command line needs before anything heavy is loaded: safe text, and errors told in words."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import textwrap
import time
import traceback
from pathlib import Path

from rlzoo import placement
from rlzoo.errors import RankLost, RlzooError, UsageError
from rlzoo.mishaps import file_refused, machine_fault
from rlzoo.text import visible

__all__ = ["INTERRUPTED", "Crash", "explain_failure", "say", "visible"]

DEBUG = "RLZOO_DEBUG"
INTERRUPTED = 130
"""Exit code after Ctrl-C."""
FIRST_SAYS_S = 1.0
"""Seconds for the first of several processes to say what all are refused for: launchers end all with the first that is gone."""


class Crash(Exception):
    """An exception nobody foresaw, with the folder where its traceback belongs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self.folder = folder


def say(text: str, *, label: str = "") -> None:
    """A message on standard error, with later lines indented below the first; wrapped where there is a terminal."""
    head = f"{label}: " if label else ""
    lines = [
        f"{head if number == 0 else ' ' * len(head)}{line}"
        for number, line in enumerate(visible(text).splitlines() or [""])
    ]
    if sys.stderr.isatty():
        width = max(40, shutil.get_terminal_size().columns)
        lines = [
            part
            for line in lines
            for part in textwrap.wrap(
                line,
                width,
                subsequent_indent=" " * len(head),
                break_on_hyphens=False,
                break_long_words=False,
                drop_whitespace=True,
            )
            or [""]
        ]
    print("\n".join(lines), file=sys.stderr)  # noqa: T201


def explain_failure(error: Exception) -> int:
    """Say what went wrong in words, and return the exit code. A traceback is shown only with RLZOO_DEBUG=1."""
    if os.environ.get(DEBUG, "") not in ("", "0"):
        traceback.print_exception(error)
    if isinstance(error, RlzooError):
        if _tells(error):
            say(str(error), label="error")
        return error.exit_code
    folder = error.folder if isinstance(error, Crash) else None
    cause = error.__cause__ if isinstance(error, Crash) and error.__cause__ else error
    fault = machine_fault(cause)
    told = str(fault or "") or (file_refused(cause) if isinstance(cause, OSError) and cause.errno else "")
    if told:
        say(told, label="error")
        return 1
    summary = " ".join(f"{type(cause).__name__}: {cause}".split()).rstrip(":")
    say(f"{summary[:300]}\nThis is a bug. Its traceback: {_save_traceback(cause, folder)}", label="error")
    return 1


def _tells(error: RlzooError) -> bool:
    """Of several processes one says what concerns them all."""
    if isinstance(error, RankLost):
        return error.told_here
    if isinstance(error, UsageError) and not placement.first():
        time.sleep(FIRST_SAYS_S)
        return False
    return True


def _save_traceback(error: BaseException, folder: Path | None) -> Path | str:
    text = "".join(traceback.format_exception(error))
    try:
        if folder is not None and (folder / "config.yaml").is_file():
            file = folder / "traceback.txt"
            file.write_text(text, encoding="utf-8", errors="backslashreplace")
            return file
        handle, name = tempfile.mkstemp(prefix="rlzoo-traceback-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as temporary:
            temporary.write(text)
        return name
    except OSError as problem:
        return f"could not be saved ({problem.strerror}); set {DEBUG}=1 to see it"
