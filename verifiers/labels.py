"""What stands around an answer: the letter of an option, the label of a point, words before a value, how often a root counts."""

import re

from rlzoo.verifiers import phrases
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
PREFIX = re.compile(r"\\text\{(?P<words>[^{}]*[a-zA-Z:=][^{}]*)\}\s*(?P<sign>[:=]\s*)?(?=[-\d\\$(\[])")
WRITTEN_OUT = re.compile(r"\\text\{([^{}]*)\}")
BEHIND_LETTER = re.compile(r"([A-J])[).:]\s+(?P<rest>.+)", re.DOTALL)
ELSE = re.compile(
    r"\b(?:or|nor|not|no|never|wrong|false|incorrect|maybe|perhaps|possibly|probably|but|unless|instead|either|neither|rather|versus|vs)\b|n['’]t\b|\?"
    r"|(?<![A-Za-z0-9}\\])(?:[B-H](?![A-Za-z'’])|\(A\)|A(?=$|[).:,]))",
)
"""What an option's text does not hold where nobody knows it: doubt, another letter."""


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
    if all(alone) or (lenient and all(map(max, alone, marked))) or (lenient and alone[0] and parted(found) is not None):
        told = parted(found)
        if given != letter or told is None or alone[0]:
            return given == letter and (told is None or not ELSE.search(told[1]))
        return None if parted(gold) else True  # both have a text: it is compared as well
    return None


def parted(text: str) -> tuple[str, str] | None:
    """The letter of an option and the option's text behind it: `(B) 12`, `B. 12`."""
    written = WRITTEN_OUT.fullmatch(text)
    text = written[1].strip() if written else text
    found = MARKED.fullmatch(text) or BEHIND_LETTER.fullmatch(text)
    if found is None:
        return None
    letter = next(part for part in found.groups()[:-1] if part)
    return letter, strip(found["rest"])


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
    if not gold.startswith("\\text{") and (prefix := PREFIX.match(found)) and _leads(prefix):
        found = strip(found[prefix.end() :])
    return found


def _leads(prefix: re.Match[str]) -> bool:
    return phrases.leads(f"{prefix['words']}{prefix['sign'] or ''}")
