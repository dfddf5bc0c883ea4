r"""What the end of a response concludes where it announces no answer: a last line in bold, `So x = 7.`, `the limit does not exist.`

A sentence is trusted only where it says one thing: what is bold, a formula or value after `is` or `=`, or the only one it holds.
"""

import re
from itertools import pairwise

from rlzoo.verifiers import units
from rlzoo.verifiers.notation import ROUNDED, clean

END = re.compile(
    r"(?<![ap])(?<![ap]\.m)(?<!\.\.)(?<!\bSt)(?<!\bMr)(?<!\bMrs)(?<!\bapprox)(?:[.?。]|(?<![\d)])!)(?=\s|$|\*|\"|')"
)
"""Of a sentence: a full stop with space behind it, and none of `p.m.`"""
MATH = re.compile(
    r"\$\$(.+?)\$\$|(?<!\\)\$(?!\d[\d,.]*\s+[a-z]{2,} )((?:[^$\n\\]|\\.)+)\$|\\\[(.+?)\\\]|\\\((.+?)\\\)", re.DOTALL
)
"""A formula between its marks; `$18 and he has $5` is none."""
JOIN = re.compile(r"\s*(?:,|;|and|or|,\s*and|,\s*or|和|或)\s*")
CONCLUSION = re.compile(
    r"\b(?:is|are|was|were|equals?|gives?|becomes?|makes?|made|has|have|had|earns?|costs?|needs?|gets?|spends?|totals?)\b|=|≈|\\approx|:"
)
DOUBT = re.compile(
    r"\?|\b(?:let(?:'s| us| me)?|maybe|perhaps|wait|hmm|check|verify|try|suppose|assume|if|consider|next|first|second|now|step|would|could|might|"
    r"not|cannot|isn't|doesn't|error|mistake|wrong|unsure|sure|guess|however|but)\b",
    re.IGNORECASE,
)
ALONE = re.compile(
    r"(?:∴|therefore|thus|so|hence|,|\s|\$)*[a-zA-Z](?:_\{?\d\}?)?\s*=\s*[^\s=$a-zA-Z][^=$]{0,40}\$?\.?|\*\*[^*\n]*\d[^*\n]*\*\*\.?|\$\$[^$]*\d[^$]*\$\$|\\\[[^\n]*\d[^\n]*\\\]",
    re.IGNORECASE,
)
"""A last line that is nothing but an assignment, or bold, or a formula."""
ANNOTATION = re.compile(r"<<[^<>\n]*>>")
"""A calculation as GSM8K notes it."""
BOLD_RESULT = re.compile(r"[=≈]\s*\*\*([^*\n=?]{1,40})\*\*\s*\.?$")
"""The end of a last line that ends with what it comes to, in bold."""
TIME = re.compile(r"\d{1,2}:\d\d\s?(?:[ap]\.?m)?", re.IGNORECASE)
RESULT = re.compile(r"[^\n]*[a-zA-Z]{3}[^\n]*=\s*[$€£]?\d[\d,.]*(?:\s+[a-zA-Z]+){0,3}")
"""A line with words that ends with what it comes to."""
FINISHED = (".", "!", "$", "\\)", "\\]", "*", "。")
"""How a last sentence ends that was not cut off."""
TUPLE = re.compile(r"[(\[][^()\[\]\n]{0,60}\d[^()\[\]\n]{0,60},[^()\[\]\n]{1,60}[)\]]")
BOUND = re.compile(
    r"\b(?:less|more|fewer|greater|at least|at most|over|under|nearly|almost|up to)(?: than)?(?: or equal to)? [$€£]?\d"
)
"""A number that is only a bound of the value."""
THEREFORE = re.compile(
    r"\W*(?:(?:therefore|thus|so|hence|finally|altogether|in total|in conclusion|also|somit|daher|folglich|donc|ainsi|por (?:lo )?tanto|portanto|logo|así|entonces|quindi|"
    r"dunque|итак|следовательно|поэтому)\b|因此|所以|故|したがって|よって)",
    re.IGNORECASE,
)
BESIDE = re.compile(
    r"(?<=[\w)$%°!²³*])\s*(?:,\s*|\()(?:which (?:occurs|happens)|attained|reached|achieved|occurr\w+|obtained|when|where|at|if|since|because|as)\b.*$"
)
"""What is said beside a value: where a maximum is attained."""
IS_A = re.compile(r"\b(?:is|be|are|was|falls on|lands on)\s+(?:an?\s+|the\s+|on\s+)?(?P<word>[A-Za-z][a-z-]+)\s*[.!]*$")
COMMENT = re.compile(
    r"(?:in)?correct|right|wrong|valid|consistent|reasonable|satisfied|verified|done|complete|solved|possible|impossible|unique|confirmed|clear|needed|as|follows|below|above"
)
DEPENDS = (
    r"(?!.*\b(?:unless|except|only (?:if|when)|depends|sometimes|in a way|not always|(?:yes|no) and (?:yes|no))\b)"
)
AGREED = re.compile(rf"(?:\W|therefore|so|thus|hence)*{DEPENDS}\b(?P<word>yes|no)\b\**\s*[,.:;!—–-]", re.IGNORECASE)
RATIO = re.compile(
    r"\bratio\b.*?(?P<ratio>\d+(?:\.\d+)?(?:\s*(?::|\bto\b)\s*\d+(?:\.\d+)?){1,3})[.!\s*]*$", re.IGNORECASE | re.DOTALL
)
O_CLOCK = re.compile(r"\b\d{1,2}(?::\d\d)?\s?(?:[ap]\.?m\b\.?)|\b\d{1,2}:\d\d\b(?!:)", re.IGNORECASE)
NUMBER = re.compile(r"(?<![\w.])[-−]?[$€£]?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?(?![\w])")
LABEL = re.compile(r"^(?:[-*+>]\s+|\d+[.)]\s+(?=\S+\s))?(?:(?:\*\*)?Step \d+(?:\*\*)?[:.](?:\*\*)?\s*)?")
LAST = 2_000
"""Characters at a response's end that are looked at for a conclusion."""
BOLD = re.compile(r"(?<![*\\])\*\*(?!\s)([^*\n]+?)\*\*(?!\*)|__([^_\n]+)__|(?<!`)`([^`\n]{1,60})`(?!`)")
ASIDE = re.compile(
    r"\W*(?:let me know|i hope|hope (?:this|that)|feel free|would you like|if you (?:have|need|want|would)|happy to|great question|good luck)\b.*",
    re.IGNORECASE,
)
"""A last line that says nothing about the question."""
ENDED = re.compile(
    r"(?:\s|\$?\s*\\(?:black)?square\s*\$?|\$?\\qed\$?|[\u2600-\u27bf\u25a0\u25a1\u220e\U0001f300-\U0001faff\ufe0f]|Q\.?E\.?D\.?|(?<=\n)-{3,})+$"
)
CHECKED = re.compile(
    r"^\W*(?:proof|verif(?:y|ication)|check(?:ing)?|double[- ]check|remark|note|explanation|justification|sanity check|to verify|to check|let'?s (?:check|verify))\b",
    re.IGNORECASE | re.MULTILINE,
)
"""How a paragraph begins that follows an answer."""
PROOF = re.compile(r"^\W*proof\b", re.IGNORECASE | re.MULTILINE)
DOUBTED = "wait|actually|mistake|wrong|incorrect|instead|oops|hmm"
"""Words that take an answer back."""
FAILED = re.compile(rf"\b(?:{DOUBTED}|fails?|contradict\w*|extraneous|rejected?|not|however|but)\b", re.IGNORECASE)
"""What a check says that does not confirm."""
UNSURE = re.compile(
    r"\?|\b(?:maybe|perhaps|wait|hmm|not|isn't|doesn't|unsure|guess|suppose|assume|assuming|mistake|wrong|could be|might|either|let's|let me|try)\b",
    re.IGNORECASE,
)
"""Doubt about what is bold."""
SAYS = re.compile(
    r"[A-Z][a-z]*\b[^\n=]*\b(?:is|are|was|were|will|ends?|begins?|starts?|arrives?|leaves?|costs?|takes?|has|have|needs?|gets?|gives?|equals?|at)\b[^\n]*\d[^\n]*"
)
"""What is bold and is a sentence about a value."""
OUTCOME = re.compile(
    r"(?:\b(?:no (?:real |integer |such |valid |positive )?(?:solutions?|roots?|integers?|numbers?|values?)(?: exists?)?|does not exist|doesn't exist|is undefined|diverges|"
    r"infinitely many(?: solutions?)?))\s*\.?$",
    re.IGNORECASE,
)
"""Words at the end of a sentence that are an answer."""
_SIGN = r"[-−+–*/·⋅×÷^=<>≤≥≠≈±∓∈∪∩∞πθ√∛∅°%!|,;:(){}\[\]⟨⟩⌊⌋⌈⌉²³¹⁰⁴⁵⁶⁷⁸⁹⁻ⁿ₀₁₂₃₄₅₆₇₈₉½¼¾⅓⅔∖.$€£… ]"
_WORD = r"(?:sqrt|sin|cos|tan|ln|log|pi|or|and|mod|[a-zA-Z]['’]?(?![a-zA-Z'’]))"
FORMULA = re.compile(rf"(?<![\w'’])(?:\d|{_SIGN}|(?<![a-zA-Z]){_WORD}|(?<=\d){_WORD})+$")
"""What ends a sentence and is written in signs."""
SHOWN = re.compile(r"[₀-₉…=<>≤≥≠±∈∪∞{(\[√π/^²³∅]|\d ?[:×·+] ?\d|\d [-−] \d|[a-z]\s?[-+−]\s?\d")
"""What a formula has and a number has not."""
CUE = re.compile(
    r"(?:^|[:∴⇒→]|\b(?:is|are|was|be|equals?|when|for|with|where|so|thus|hence|therefore|gets?|gives?|becomes?|satisfy|satisfies|if|exactly|precisely|only|have|has|by|at|that|in|to|and|or))\s*$",
    re.IGNORECASE,
)
"""What stands before a formula that concludes."""
UNIT = re.compile(r"\s*([a-zA-Z°%²³/^ ]{0,25}?)\s*[.!*。]*$")
STATED = re.compile(r"[A-Z∴*][^\n]*\b(?:is|are|equals|of|costs|was|were)\s+(?:\*\*)?[$€£]?[-−]?\d[\d.,/]*%?(?:\*\*)?")
"""A last line without a full stop that says what something is."""
ITEM_NAMED = re.compile(
    r"\s*(?:[-*•+]|\d+[.)])\s+\**\s*\$?\s*(?P<named>[^\n=$]{1,20}=[^\n=$]{1,60}?)\s*\$?\s*\**\s*[.,;]?"
)
"""An item of a list that says what one letter is."""
ASSIGNED = re.compile(rf"[a-zA-Z](?:\([^()]*\))?\s*=\s*{NUMBER.pattern}")
LONGEST_FORMULA = 200
_UNIT = r"(?:(?:square|cubic|sq\.?|cu\.?)\s)?[a-zA-Z°]{1,12}(?:[²³]|\^\{?[23]\}?|\s(?:squared|cubed))?"
MEASURED = re.compile(rf"\s*({_UNIT}(?:\s?(?:/|\bper\b)\s?{_UNIT})?)(?![a-zA-Z])")
BEHIND_FORMULA = re.compile(r"\s+((?:square |cubic |sq\.? )?[a-z]{1,12}(?:\s?[²³]|\^[23])?)$")


def inner(math: re.Match[str]) -> str:
    """What a formula holds between its marks."""
    return next(part for part in math.groups() if part is not None).strip()


def trimmed(text: str) -> str:
    """One sentence without emphasis, dollar signs and the full stop."""
    text = re.sub(r"\.{3,}", "…", text).strip().strip("*_").removeprefix("}").strip()
    text = re.sub(r"\s*\\[\])]$", "", text) if not re.match(r"\\[\[(]", text) else text
    if math := MATH.fullmatch(text.rstrip(".*_ ")):
        return inner(math).rstrip(".").strip()
    end = END.search(text)
    text = text[: end.start()] if end else text
    text = re.sub(r"\*\*|__|`|[\u2600-\u27bf\U0001f300-\U0001faff]", "", text).strip().rstrip(".,;*_").strip()
    if math := MATH.fullmatch(text):
        return inner(math)
    return re.sub(r"(?:です|になります)$", "", text.lstrip(" :*").rstrip("\r").strip())


def conclusion(response: str) -> str | None:
    """The one value that a response's end states; None where it is unfinished, in doubt, or says several things."""
    response = response.replace("...", "…")
    text = _without_asides(response.rstrip()[-LAST:])
    proof = PROOF.search(response)
    if proof and response[: proof.start()].strip():
        return _ending(_without_asides(response[: proof.start()].rstrip()[-LAST:])) or _ending(text)
    found = _ending(text)
    if found is not None:
        return found
    checks = [check.start() for check in CHECKED.finditer(text) if text[: check.start()].strip()]
    if not checks or FAILED.search(text, checks[0]):
        return None
    return _ending(_without_asides(text[: checks[0]]))


def _without_asides(text: str) -> str:
    """Without what ends a proof, emoji, and last lines such as `Let me know if ...`."""
    while True:
        before, _, line = text.rpartition("\n")
        if before.strip() and ASIDE.fullmatch(line.strip()):
            text = before.rstrip()
        elif (ended := ENDED.search(text)) and text[: ended.start()].strip():
            text = text[: ended.start()]
        else:
            return text


def _ending(text: str) -> str | None:
    """What the last line says."""
    closing = text.rpartition("\n")[2].strip()
    if (noted := ANNOTATION.fullmatch(closing)) and "=" not in noted[0]:
        return trimmed(noted[0][2:-2])
    if items := _named_items(text):
        return items
    if result := BOLD_RESULT.search(closing):
        return trimmed(result[1])
    paragraph = ANNOTATION.sub("", LABEL.sub("", text.rpartition("\n")[2].strip()))
    if (bold := _bold(paragraph)) is not None:
        return bold or None
    if ALONE.fullmatch(paragraph):
        return trimmed(re.sub(r"^\W*(?:therefore|thus|so|hence)\b[\s,:]*", "", paragraph, flags=re.IGNORECASE))
    if paragraph in ("$$", "\\]"):
        display = list(MATH.finditer(text))
        return _value(inner(display[-1])) if display and display[-1].end() == len(text) else None
    if not paragraph or paragraph.startswith(("#", "|", "```")):
        return None
    if not (paragraph.endswith(FINISHED) or RESULT.fullmatch(paragraph) or STATED.fullmatch(paragraph)):
        return _formula(paragraph) if "\n" in text else None
    return _sentence(paragraph)


def _named_items(text: str) -> str | None:
    """A list at the end whose items say what each letter is: `- x = 2`, `- y = 3`."""
    found: list[str] = []
    for line in reversed(text.split("\n")):
        item = ITEM_NAMED.fullmatch(line)
        if item is None:
            break
        found.insert(0, item["named"].strip())
    return ", ".join(found) if len(found) > 1 else None


def _bold(line: str) -> str | None:
    """What a last line has in bold or as code; nothing where it has none, and an empty text where that is no answer."""
    if agreed := AGREED.match(line):
        return agreed["word"]
    spans = [span for span in BOLD.finditer(line) if not _label(line, span)]
    if not spans:
        return None
    texts = [next(part for part in span.groups() if part).strip() for span in spans]
    between = [line[one.end() : other.start()] for one, other in pairwise(spans)]
    if not all(JOIN.fullmatch(part) for part in between):
        return None
    if UNSURE.search(BOLD.sub(" ", line)) or (
        len(texts) == 1 and UNSURE.search(texts[0]) and not OUTCOME.search(texts[0])
    ):
        return ""
    if len(texts) > 1:
        return ", ".join(trimmed(text) for text in texts)
    said = trimmed(texts[0])
    if aside := ROUNDED.search(line[spans[0].start() :].rstrip(".! ").replace("*", "")):
        return said if ROUNDED.search(said) else f"{said} (about {aside['rounded'].strip('$ ')})"
    if SAYS.fullmatch(said) and (stated := _sentence(f"{said}.")) is not None:
        return stated
    if noted := re.fullmatch(r"[a-z -]+\((\d[\d,.]*)\)", said):
        return noted[1]
    words = re.findall(r"[^\W\d_]{3,}", MATH.sub(" ", re.sub(r"\\[a-z]+", " ", said)))
    if len(words) > 3 and re.search(r"\d|\\", said):
        return _sentence(f"{said}.") or ""
    if len(words) > 3 or (len(words) > 2 and not re.search(r"\d", said) and not OUTCOME.search(said)):
        found = OUTCOME.search(said)
        return found[0].rstrip(". ") if found else ""
    return said if re.search(r"\w|[∅∞]", said) else None


def _label(line: str, span: re.Match[str]) -> bool:
    """Whether bold text is a label: `**Answer:**`, `**Check**:`."""
    return span[0].rstrip("*_` ").endswith(":") or line[span.end() :].lstrip().startswith(":")


def _sentence(paragraph: str) -> str | None:
    """What the last sentence of a line says."""
    ends = [end.end() for end in END.finditer(paragraph) if end.end() < len(paragraph.rstrip("*_ "))]
    sentence = paragraph[ends[-1] :].strip() if ends else paragraph
    if (aside := ROUNDED.search(sentence.rstrip(".!* "))) and UNSURE.search(sentence[: aside.start()]) is None:
        exact = _sentence(sentence[: aside.start()])
        return f"{exact} (about {aside['rounded'].strip('$ ')})" if exact is not None else None
    sentence = BESIDE.sub("", sentence)
    if (outcome := OUTCOME.search(sentence.rstrip("*_ "))) and not UNSURE.search(sentence[: outcome.start()]):
        return outcome[0].rstrip(". ")
    if (word := _word(sentence)) is not None:
        return word
    words = len(re.findall(r"[^\W\d_]{2,}", MATH.sub(" ", sentence)))
    if DOUBT.search(sentence) or words < (1 if THEREFORE.match(sentence) else 2):
        return _formula(sentence) if words == 1 and not DOUBT.search(sentence) else None
    formulas = list(MATH.finditer(sentence))
    if formulas:
        last = formulas[-1]
        joined = all(JOIN.fullmatch(sentence, one.end(), other.start()) for one, other in pairwise(formulas))
        if (
            joined
            and len(formulas) > 1
            and not sentence[last.end() :].strip(" .!*。")
            and all("=" in formula[0] for formula in formulas)
        ):
            return ", ".join(map(inner, formulas))
        alone = len(formulas) == 1 and not NUMBER.search(MATH.sub(" ", sentence))
        behind = UNIT.fullmatch(sentence[last.end() :])
        told = re.search(r"\b(?:is|are|equals?|of|be)\s*$", sentence[: last.start()]) and behind is not None
        value = _value(inner(last)) if alone or told else None
        unit = behind[1].strip() if behind and told and behind[1].strip().lower() in units.KNOWN else ""
        return f"{value} {unit}".strip() if value is not None else None
    if (shown := _formula(sentence)) is not None and not ASSIGNED.fullmatch(shown):
        return shown
    times = O_CLOCK.findall(sentence)
    if len(times) == 1:
        return str(times[0])
    if ratio := RATIO.search(sentence):
        return ratio["ratio"]
    for cut in [*reversed(list(CONCLUSION.finditer(sentence))), None]:
        tail = sentence[cut.end() :] if cut else sentence
        numbers = NUMBER.findall(tail)
        pairs = [pair for pair in TUPLE.findall(tail) if not re.fullmatch(r"\(\d{1,3}(?:,\d{3})+\)", pair)]
        if len(pairs) == 1 and len(numbers) == len(NUMBER.findall(pairs[0])):
            return str(pairs[0])
        if numbers:
            if len(numbers) > 1 or BOUND.search(tail):
                return None
            return f"{numbers[0]}{unit_behind(tail[tail.rfind(numbers[0]) + len(numbers[0]) :])}"
    return None


def _word(sentence: str) -> str | None:
    """The word that a sentence without numbers comes to: `it is a Tuesday`, `yes, it is`."""
    if re.search(r"\d", sentence) or UNSURE.search(sentence.replace("not", "") if AGREED.match(sentence) else sentence):
        return None
    if agreed := AGREED.match(sentence):
        return agreed["word"]
    found = IS_A.search(sentence.replace("*", ""))
    return found["word"] if found and not COMMENT.fullmatch(found["word"].lower()) else None


def unit_behind(tail: str) -> str:
    """The unit with which the text behind a number begins, with a space before it; nothing where there is none, or dollars."""
    behind = MEASURED.match(tail[:80].replace("*", ""))
    if behind is None:
        return ""
    known = units.split(clean(f"1 {behind[1]}"), units.FEW_LETTERS)[1]
    if known is None or known.dimensions == units.KNOWN["dollars"][0]:
        return ""
    return f" {behind[1]}" if known.dimensions is not None or known.times != 1 or (known.power or 1) > 1 else ""


def _formula(sentence: str) -> str | None:
    """The signs that end a sentence, if they are more than a number and words lead up to them."""
    bare = re.sub(r"[.!\s*_]+$", "", re.sub(r"\*\*", "", sentence))
    unit = BEHIND_FORMULA.search(bare)
    if unit is not None and (unit[1].split()[-1].lower() in units.KNOWN or "unit" in unit[1]):
        bare = bare[: unit.start()]
    found = FORMULA.search(bare[-LONGEST_FORMULA:])
    if found is None:
        return None
    formula = found[0].strip(" ,;:.").removeprefix("=").strip()
    formula = re.sub(r"^(?:or|and|a|I)\s+", "", formula)
    before = bare[: len(bare) - len(found[0])]
    if DOUBT.search(before) or not re.search(r"\d|[∅∞π]", formula) or not SHOWN.search(formula):
        return None
    if not CUE.search(before.rstrip("*_ ,;")) and not found[0].lstrip().startswith(("=", ":")):
        return None
    if formula.count("(") != formula.count(")"):
        return None
    return f"{formula} {unit[1]}" if unit is not None and len(bare) == unit.start() else formula


def _value(formula: str) -> str | None:
    """What a formula comes to: all of it, or what follows its last equals sign."""
    formula = formula.strip().rstrip(".,").strip()
    if not re.search(r"\d|\\(?:pi|infty|emptyset|varnothing)", formula):
        return None
    return formula
