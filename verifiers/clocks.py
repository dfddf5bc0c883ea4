"""Times of day and dates as people write them."""

import re
from typing import NamedTuple

from rlzoo.verifiers.words import MONTHS

CLOCK = re.compile(r"(?P<hour>\d{1,2})(?::(?P<minute>[0-5]\d))?\s*(?:(?P<half>[ap])\.?\s?m\.?)?")
WORDED = re.compile(
    r"noon|midnight|midday|o['’]? ?clock|in the (?:morning|afternoon|evening)|at night|\d\.\d\d ?\}?[ap]\.?m",
    re.IGNORECASE,
)
"""A time of day in words, or with a point."""
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_MONTH = r"(?P<month>[a-z]{3,9})\.?"
_YEAR = r"(?:,?\s*(?:in\s+)?(?P<year>\d{4}))?"
_WEEKDAY = r"(?:on\s+)?(?:(?P<weekday>(?:mon|tues|wednes|thurs|fri|satur|sun)day)\s*,?\s*)?(?:the\s+)?"
DATES = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{_WEEKDAY}{_MONTH}\s*(?:the\s+)?{_DAY}{_YEAR}",
        rf"{_WEEKDAY}{_DAY}\s*(?:of\s+)?{_MONTH}{_YEAR}",
        r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})(?P<weekday>)",
    )
)
NUMBER_OF = {month: number for number, month in enumerate(MONTHS, 1)}


class Date(NamedTuple):
    year: int | None
    month: int
    day: int
    weekday: str | None


def plain_time(text: str) -> str:
    """A time of day with its words as signs: `7 o'clock` as `7:00`, `noon` as `12:00 pm`; any other text as it is."""
    if not WORDED.search(text):
        return text
    bare = " ".join(re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).lower().split())
    bare = re.sub(r"^(?:12 )?(?:noon|midday)$|^12(?::00)? noon$", "12:00 pm", bare)
    bare = re.sub(r"^(?:12 )?midnight$|^12(?::00)? midnight$", "12:00 am", bare)
    bare = re.sub(r"\bin the morning$", "am", bare)
    bare = re.sub(r"\b(?:in the (?:afternoon|evening)|at night)$", "pm", bare)
    bare = re.sub(r"^(\d{1,2}) ?o['’]? ?clock", r"\1:00", bare)
    bare = re.sub(r"^(\d{1,2})\.(\d\d)(?= ?[ap])", r"\1:\2", bare)
    return bare if CLOCK.fullmatch(bare) else text


def date(text: str) -> Date | None:
    """A day of a month; None for anything else."""
    bare = " ".join(re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).lower().split()).rstrip(".")
    for pattern in DATES:
        found = pattern.fullmatch(bare)
        if not found:
            continue
        name = found["month"]
        month = int(name) if name.isdigit() else _month(name)
        if month is None or not 1 <= month <= 12 or not 1 <= int(found["day"]) <= 31:
            return None
        return Date(int(found["year"]) if found["year"] else None, month, int(found["day"]), found["weekday"] or None)
    return None


def _month(name: str) -> int | None:
    known = [
        number
        for month, number in NUMBER_OF.items()
        if month == name or (name == "sept" and number == 9) or month[:3] == name
    ]
    return known[0] if known else None


def same_date(gold: str, found: str) -> bool | None:
    """Whether two dates are the same day; None where one is no date. A year or weekday that was not expected may stand there."""
    one, other = date(gold), date(found)
    if one is None or other is None:
        return None
    if (one.month, one.day) != (other.month, other.day):
        return False
    for expected, told in ((one.year, other.year), (one.weekday, other.weekday)):
        if expected is not None and told is not None and expected != told:
            return False
    return one.year is None or other.year is not None
