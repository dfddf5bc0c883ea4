r"""Answers in several lines or words apart: a list that names each value, and the `No.` that a response begins with."""

import re

from rlzoo.verifiers.concluded import CHECKED, DEPENDS, DOUBTED, MATH, inner

_LABEL = r"[A-Za-z][A-Za-z0-9 '’()_-]{0,40}?"
ITEM_LABELLED = re.compile(
    rf"\s*(?:(?:[-*•+]|\d+[.)])\s+)?(?:\*\*(?P<bold>{_LABEL})\s*(?::\s*\*\*|\*\*\s*:)|(?<=[-*•+.)]\s)(?P<bare>{_LABEL})\s*:)\s*(?P<value>\S.{{0,80}}?)\s*[.,;]?\s*"
)
"""An item of a list that says what one thing is: `- **Radius:** 5`."""
WORKING = re.compile(
    r"step|given|original|check|verif|formula|method|known|note|equation|sub|add|rule|total|case|so\b|then\b|lower|upper|bound|limit|endpoint",
    re.IGNORECASE,
)
"""Names of what is part of a calculation, or of no value by itself."""
NUMBERED = re.compile(r"\s*\b(?:first|second|third|fourth|one|two|three|\d+|[a-z])\b\s*|_?\d+$", re.IGNORECASE)
OPENING = re.compile(rf"{DEPENDS}\W*(?P<word>yes|no)\b\W*?(?:[.,:;—–-]\**(?=\s|$)|\**$)", re.IGNORECASE)
OTHER = {"yes": re.compile(r"\bno\b(?! \w)", re.IGNORECASE), "no": re.compile(r"\byes\b", re.IGNORECASE)}
TAKEN_BACK = re.compile(rf"\b(?:{DOUBTED}|however|correction)\b", re.IGNORECASE)
BESIDE = re.compile(r"(?<=[\w)}$%])\s*[,;]?\s+(?:and\s+)?(?=\*\*[^*\n]{1,40}(?::\*\*|\*\*:))")
"""Between two that stand in one line."""
MOST = 8
"""Items of a list that together are one answer."""


def labelled(text: str) -> str | None:
    """A list at the end whose items name a value each: as a tuple, in their order; values of one name, `Root 1`, `Root 2`, in no order."""
    names: list[str] = []
    values: list[str] = []
    lines = [part for line in text.rstrip().split("\n")[-MOST - 1 :] for part in BESIDE.split(line)]
    for line in reversed(lines):
        item = ITEM_LABELLED.fullmatch(line)
        if item is None:
            break
        value = _value(item["value"])
        name = item["bold"] or item["bare"]
        if value is None or WORKING.search(name) or CHECKED.match(name):
            return None
        names.insert(0, NUMBERED.sub("", name).casefold().strip())
        values.insert(0, value)
    if not 2 <= len(values) <= MOST:
        return None
    together = ", ".join(values)
    return together if len(set(names)) == 1 else f"({together})"


def _value(text: str) -> str | None:
    """What an item says, if it is nothing but a formula or a number, perhaps with a unit."""
    text = text.replace("**", "").strip()
    if math := MATH.fullmatch(text):
        text = inner(math)
    words = re.findall(r"[^\W\d_]{2,}", re.sub(r"\\[a-zA-Z]+", " ", text))
    return (
        text if re.search(r"\d|\\(?:pi|infty)", text) and len(words) <= 2 and not re.search(r"[=<>≈?]", text) else None
    )


def opening(response: str) -> str | None:
    """The `yes` or `no` that a response begins with, which nothing behind it takes back."""
    first, _, rest = response.lstrip().partition("\n")
    said = OPENING.match(first)
    if said is None:
        return None
    behind = f"{first[said.end() :]}\n{rest}"
    word = said["word"].lower()
    if OTHER[word].search(behind) or TAKEN_BACK.search(behind):
        return None
    return said["word"]
