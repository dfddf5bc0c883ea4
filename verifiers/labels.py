"""What stands around an answer: the letter of an option, the label of a point, words before a value, how often a root counts."""

import re

from rlzoo.verifiers.notation import plain, strip

CHOICE = re.compile(r"(?:\\text\{)?\(?([A-J])\)?\.?\}?(?:[).:]?\s*\}?\s+.*|\}?)", re.DOTALL)
OPTIONS = re.compile(r"[A-H]{2,5}")
OPTIONS_LIST = re.compile(r"[A-H](?:(?:\s*,\s*|\s*(?:\\text\{)?(?:and|&)\}?\s*)[A-H]){1,4}|[A-H]{2,5}")
MARKED = re.compile(r"(?:\\text\{\(([A-J])\)\s*\}|\(([A-J])\))\s*(?P<rest>.+)", re.DOTALL)
CONSTANT = re.compile(r"\+\s*(?:C|c|K|k|C_\{?[01]\}?|\\text\{\s*(?:constant|const\.?|C)\s*\})$")
REPEATED = re.compile(
    r"\s*,?\s*(?:\\text\{\s*)?\(?\s*(?:\\text\{\s*)?(?:(?:a )?(?:double|repeated|triple) (?:real )?(?:root|solution|zero)|(?:with |of )?multiplicity \}?\s*\d)\s*\}?\s*\)?\s*\}?$"
)
"""How often a root counts, behind it."""
POINT = re.compile(r"[A-Z]'?\s*=?\s*(?=\()")
PREFIX = re.compile(r"\\text\{[^{}]*[a-zA-Z:=][^{}]*\}\s*(?=[-\d\\$(\[])")
HEDGED = re.compile(
    r"\b(?:not|except|other|or|less|more|fewer|greater|smaller|least|most|than|over|under|between|up to|below|above)\b"
)
"""Words before a value that make it another one."""


def same_letter(gold: str, found: str, lenient: bool) -> bool | None:
    """A letter with or without brackets, to lenient also with its option, where one is expected; None where none is."""
    if (
        len(gold) > 1
        and OPTIONS.fullmatch(gold)
        and len(set(gold)) == len(gold)
        and (several := OPTIONS_LIST.fullmatch(found))
    ):
        return sorted(re.findall("[A-H]", several[0])) == sorted(gold)
    found = re.sub(
        r"^(\\text\{\s*)?(?:the )?(?:option|choice|answer)\s*(?=\(?[A-J]\b)", r"\1", found, flags=re.IGNORECASE
    )
    letter, given = (_letter(side) for side in (gold, found))
    if letter is None or given is None:
        return None
    alone = [len(plain(text).strip("().")) == 1 for text in (gold, found)]
    marked = [MARKED.fullmatch(text) is not None for text in (gold, found)]
    if (
        all(alone)
        or (lenient and all(map(max, alone, marked)))
        or (lenient and alone[0] and re.match(r"[A-J][).:]\s", found))
    ):
        return given == letter
    return None


def _letter(text: str) -> str | None:
    """The letter of an option, alone or before the option's text."""
    if found := MARKED.fullmatch(text):
        return found[1] or found[2]
    found = CHOICE.fullmatch(text)
    return found[1] if found else None


def shortened(gold: str, found: str) -> str:
    """Without the letter of an option, and the words before a value."""
    if option := MARKED.fullmatch(found):
        found = strip(option["rest"])
    if gold.startswith("(") and (label := POINT.match(found)):
        found = strip(found[label.end() :])
    found = REPEATED.sub("", found)
    if re.search(r"\+\s*C$", gold) and (constant := CONSTANT.search(found)):
        found = f"{found[: constant.start()]}+C"
    if not gold.startswith("\\text{") and (prefix := PREFIX.match(found)) and not HEDGED.search(prefix[0]):
        found = strip(found[prefix.end() :])
    return found
