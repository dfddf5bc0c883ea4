r"""Answers in words: `The answer is 7`, `**Answer:** 7`, a heading `Final answer`, and so on."""

import re
from collections import deque
from itertools import takewhile

from rlzoo.verifiers import listed
from rlzoo.verifiers.concluded import END, JOIN, MATH, conclusion, inner, trimmed
from rlzoo.verifiers.notation import ROUNDED

PHRASE = re.compile(
    r"(?:(?<![a-zA-Z])(?:(?:final|correct)\s+)?(?:answers?|ans|correct (?:option|choice))(?![a-zA-Z])(?:\s+(?:to|for|of)\s+(?:the|this|that|your)\s+[\w ]{1,40}?)?"
    r"(?P<verb>\s{1,3}(?:is|are|would be|will be|should be|becomes|comes out to be|must be)\b"
    r"(?:\s+(?:therefore|thus|then|simply|just|exactly|equal to|given by))*\s*:?|[ \t*_)\"'”]{0,4}(?:=>|[:=：→⇒]|->|[ ][-–—][ ]))"
    r"|\b(?:solutions?|results?|solution set)\b(?:\s+(?:to|for|of)\s+(?:the|this|that)\s+[\w ]{1,40}?)?\s{1,3}(?:is|are)\b:?"
    r"|^[ \t]{0,8}[#*_]{0,8}[ \t]{0,8}(?P<heading>(?:the )?(?:final )?answers?)(?: is)?[ \t:*_]{0,8}$"
    r"|^[ \t]{0,8}A: (?=\S{1,20}[ \t]*$)"
    r"|^[ \t]{0,8}[*_]{0,2}(?:Solution|Result)s?[*_]{0,2}:[*_]{0,2} (?=[^\n]{1,60}\s*\Z)"
    r"|(?:答案(?:是|为|：|:)|(?:ответ|respuesta|réponse|antwort|risposta|resposta)\s*(?:\*\*)?\s*(?::|：|(?:ist|est|is|es|é|è|lautet)\b)|答え(?:は|：|:)))",
    re.IGNORECASE | re.MULTILINE,
)
"""An announcement; `heading`: one that is a line of its own, with the answer below."""
_EVALUATION = """correct right wrong incorrect reasonable consistent valid simple clear obvious independent as below above the that this same not given found
    unique in within also indeed already only a an provided verified confirmed plausible expected unknown here to boxed what we going still based
    straightforward none-of-these sensible"""
EVALUATION = frozenset(_EVALUATION.split())
"""Words after `the answer is` that say something about it and not what it is."""
BEYOND = re.compile(
    r"(?<=\w)\s*(?:,\s*)?\b(?:because|since|as|so|when|where|which|after|and (?:he|she|it|they|the|we|so))\b.*$"
)
"""What follows a number in its sentence and belongs to no answer."""
AGAINST = re.compile(
    r"\bas well as\b|\b(?:wrong|incorrect|mistaken|alternatively|instead)\b|\b(?:real|actual|true|right|correct) (?:one|answer|value)\b"
    r"|\balso (?:be|right|correct|works?|possible|valid)\b|\b(?:and|or|but) \S*\d\S* (?:when|if|for|where|otherwise)\b|\b(?:could|might|may) be\b",
    re.IGNORECASE,
)
"""What stands in such words where they do not leave the number as it is."""
ASKED = re.compile(r"[^.?!\n]*\?(?=\s|$)")
OTHERWISE = re.compile(
    r"\W*(?:but|however|or|though|although|alternatively|maybe|perhaps|possibly|wait|actually|no)\b[^.\n]*?"
    r"\b(?:is|be|are|equals?|=|becomes?|also)\s+(?:also\s+|actually\s+|in fact\s+)?[$*\\(]*(?P<other>-?\d[\d.,/]*\d|\d)",
    re.IGNORECASE,
)
"""How a next sentence begins that gives another value."""
ITEM = re.compile(r"\s*[-*•+]\s+(.+)")
MOST = 64
"""Announcements that are looked at, from the last one on."""
LONGEST = 400
"""Characters of an announced answer."""


def answer(response: str) -> tuple[str, int] | None:
    """What the last announcement says that says anything, and where it stands."""
    for found in reversed(deque(PHRASE.finditer(response), MOST)):
        said = _said(response, found)
        if said:
            return said, found.start()
    return None


def _said(response: str, phrase: re.Match[str]) -> str | None:
    """What one announcement says; None where it says nothing that can be an answer."""
    rest = response[phrase.end() : phrase.end() + LONGEST]
    line, _, below = rest.partition("\n")
    if not line.strip(" \t*_:$#\\[("):  # a heading, or a formula on lines of its own
        line = f"{line.strip(' *_:#')}\n{below}".strip()
        math = MATH.match(line)
        line = math[0] if math else _lines(line)
        if line.lstrip().startswith(("#", "```")):
            return None
    elif MATH.match(line.strip()):  # `is $5$ cm`
        line = _formulas(line.strip()) or line
    if ASKED.match(MATH.sub("m", line)):  # `7? No, 8`
        return None
    behind = END.search(line)
    said = trimmed(line)
    if behind and (other := OTHERWISE.match(line, behind.end())) and other["other"] not in said:
        return None
    if len(re.findall(r"[a-zA-Z]{2,}", MATH.sub(" ", said))) > 3 and said[:1].isalpha():
        said = conclusion(f"{said}.") or said
    if said[:1] in "-−$€£0123456789" and not ROUNDED.search(said):
        beyond = BEYOND.search(said)
        said = said if beyond is None or AGAINST.search(beyond[0]) else said[: beyond.start()]
    first = re.split(r"[\s,.]", said.casefold(), maxsplit=1)[0]
    if not said or first in EVALUATION or not re.search(r"\w|\\|∅", said):
        return None
    short = len(said.split()) <= 3
    return said if short or re.search(r"\d|\\[a-zA-Z]|[=<>^]", said) else None


def _lines(text: str) -> str:
    """The first line; a list's items together."""
    lines = text.split("\n")
    if named := listed.labelled("\n".join(takewhile(listed.ITEM_LABELLED.fullmatch, lines))):
        return named
    items = []
    for line in lines:
        if not (found := ITEM.match(line)):
            break
        items.append(MATH.sub(inner, found[1]).strip(" .,;"))
    return ", ".join(items) if len(items) > 1 else lines[0]


def _formulas(text: str) -> str | None:
    """Formulas that only commas and `and` separate, as one text."""
    found, at, ends = [], 0, -1
    while math := MATH.match(text, at):
        found.append(inner(math))
        at = ends = math.end()
        joined = JOIN.match(text, at)
        if joined is None:
            break
        at = joined.end()
    unit = re.match(r" ?([a-zA-Z°%]{1,12})(?:[.*\s]*$)", text[at:]) if at == ends else None
    return f"{', '.join(found)}{f' {unit[1]}' if unit and len(found) == 1 else ''}" if found else None
