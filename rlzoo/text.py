"""Text of models, data and users, made harmless to show. No imports beyond the standard library."""

from __future__ import annotations

import re
import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that steer a terminal or cannot be seen: controls, bidi and zero-width marks, odd line ends."""


_PARTICULARS = re.compile(r"(?<![\w])'[^']*'|\"[^\"]*\"|[(:].*|\d+", re.DOTALL)


def without_particulars(text: str) -> str:
    """A message without what it says of one row alone, such as its numbers: those that then are equal may be counted together."""
    return _PARTICULARS.sub("...", text)


def visible(text: str, *, keep: str = "\n") -> str:
    """`text` with every character that steers a terminal, or cannot be seen, written as an escape. `keep` stays as it is."""
    return "".join(
        character if character in keep or unicodedata.category(character) not in _HIDDEN else _escape(character)
        for character in text
    )


def _escape(character: str) -> str:
    code = ord(character)
    if character in "\t\r\n":
        return repr(character)[1:-1]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
