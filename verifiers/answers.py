r"""Finding the final answer in a response: by a named policy, one for each convention that data sets follow.

    final         the last box; without one, what the response announces as its answer; without that, what follows the last `#`, or what
                  its last sentence concludes; the default
    last-boxed    the last `\boxed{...}`
    only-boxed    the box, where all boxes hold the same; several that differ are no answer
    answer-line   what the last line that announces an answer says: `Answer: 7`, `The answer is 7`, `#### 7`, a heading `Final answer`

A box that never closes is no answer: the response was cut off inside it. What stands before the last `</think>`, or after a `<think>`
that never closes, does not count; neither does a next question that a model asks itself after its answer. Every policy reads a response
once, in time proportional to its length.

Whoever changes what a policy finds raises the `version` of the verifiers that use it.
"""

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Literal, NamedTuple

from rlzoo.types import Problem
from rlzoo.verifiers import announced, asked, concluded, listed

MARKER = "#"
BOX = re.compile(
    r"(?:\\|\x08|(?<![\\\w]))(?:boxed|fbox|(?<=\x08)oxed)(?:\s*\{|\s{0,2}(?=[-+\d(]|\\[a-zA-Z])|\s(?=[a-zA-Z](?![a-zA-Z])))"
)
BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
BARE = re.compile(r"\s*((?:\\[a-zA-Z]+(?:\{[^{}]*\})*|[^\s$,;\\{}])+)")
"""What a box without braces holds, `\boxed 7`, `\boxed\frac{1}{2}`."""
BETWEEN = re.compile(
    r"(?:\s|\$|[,;&:*]|\\[,;!:()\[\] ]|\\q?quad|\\\\|~|and|or|和|或|\\(?:text|mbox)\{\s*,?\s*(?:and|or)?\s*,?\s*\}|"
    r"(?:\\text\{)?[a-zA-Z](?:_\{?\d\}?)?\}?\s*=|\\(?:lor|vee|land|wedge))*"
)
"""What stands between boxes that are one answer together."""
OTHERWISE = re.compile(
    r"(?![^$]*\b(?:wait|no|not|actually|should|correct|check)\b)[\s$.,;()]*(?:[a-z]+,?\s+){0,2}"
    r"\b(?:or|maybe|perhaps|possibly|alternatively|either|else)\b,?(?:\s+[a-z]+,?){0,4}[\s$:,(]*",
    re.IGNORECASE,
)
"""What stands before another answer that a response offers beside the first: hedging, which is no correction."""
NAMED = re.compile(r"(?<![a-zA-Z\\])([a-zA-Z])\s*=\s*\$?$")
LONGEST_BETWEEN = 40
HEADING = re.compile(r"^[ \t]{0,8}#{1,6}[ \t](?=[^\n]*[^\W\d_])[^\n]*$", re.MULTILINE)
"""A heading of Markdown: signs, space and words; `#### 42` is none."""
SECTION = re.compile(
    r"\s*(?:\d+[.)]\s|[^\w$\\]*(?:step|case|part|problem|solution|check|verif|conclu|explan|method|note|example)\w*)",
    re.IGNORECASE,
)
"""How headings of four signs begin, where they hold digits."""
RETRACTED = re.compile(rf"\b(?:{concluded.DOUBTED}|correction|sorry|re-?check(?:ing)?|hold on)\b", re.IGNORECASE)
CORRECTED = re.compile(
    r"[.!?\n}][\s$*)\\\]]*(?:[.!][\s$]*)?(?:wait|actually|no|correction|sorry|oops|hmm)\b[^.\n]{0,60}?(?:\b(?:is|be|equals?)|=)\s*(?:really |actually |in fact )?[$*\\(]*(?P<other>-?\d[\d.,/]*\d|\d)(?![\d^*+/-])",
    re.IGNORECASE,
)
"""Another value behind a box, which is not announced as the answer."""
DENIED_BEHIND = re.compile(r"[\s$.)\\\]]*(?:is|was|would be)\s+(?:wrong|incorrect|false|not\b)", re.IGNORECASE)
DENIED_BEFORE = re.compile(
    r"\b(?:cannot be|can['’]t be|isn['’]t|is not|not|never|rather than|instead of|other than)\s*[$\\(]*$", re.IGNORECASE
)
HASHES = re.compile(r"^[ \t]*####(?!#)([^\n]*)", re.MULTILINE)
THOUGHT_BEGINS = re.compile(r"<(?:think|thinking|thought|reasoning)>|◁think▷|<\|begin_of_thought\|>")
THOUGHT = "</think>"
THOUGHTS = re.compile(r"</(?:think|thinking|thought|reasoning)>|◁/think▷|<\|end_of_thought\|>")
ENDS = re.compile(
    r"<\|(?:im_end|endoftext|eot_id|end_of_text|end|im_start)\|>|</s>|<｜end▁of▁sentence｜>|<end_of_turn>"
)
"""Tokens that end a response, where a model went on as if they were text."""
NEXT = re.compile(
    r"^[ \t*]{0,8}(?:(?:Q|Question|Problem|Exercise|Example|Human|User|Instruction)\s*\d*\s*[:.]|#{1,4}\s*(?:Question|Problem|Instruction|Input|User)\b)",
    re.MULTILINE,
)
"""How a next question begins."""
LONGEST = 100_000
"""Characters of a box; what has not closed by then is no answer."""
MOST_QUESTIONS = 8
"""Beginnings of a question that are looked at; the first ones may repeat what was asked."""
MOST_BOXES = 16
"""Boxes that may be one answer together."""


def final_answer(response: str, agreeing: bool = False) -> str | None:
    r"""The last box, or boxes joined by no more than `and`, `or` and commas; without one, what is announced, marked or concluded.

    `agreeing`: to a question that wants yes or no, which may begin with it.
    """
    response = spoken(response)
    boxed, box_at = _boxes(response)
    tag = _tagged(response)
    if tag is not None and tag[1] > box_at:
        return within_tag(tag[0])
    if boxed is None and box_at >= 0:
        return None
    if boxed:
        later = _afterwards(response, box_at)
        if later is None and _corrected(response, box_at, boxed):
            return None
        return later or f"{boxed}{_unit_of(response, box_at, boxed)}"
    said, marked = announced.answer(response), _marked(response)
    if said is not None and (marked is None or not marked.certain or said[1] > marked.at):
        return said[0]
    if marked is not None:
        return marked.text or None
    found = concluded.conclusion(response)
    if found is None or (agreeing and found.casefold() not in ("yes", "no")):
        found = listed.opening(response) or found
    return listed.labelled(response) if found is None else found


def _unit_of(response: str, box_at: int, boxed: str) -> str:
    """The unit that stands right behind a box with a number in it: `$\\boxed{5}$ hours`."""
    if not re.fullmatch(r"-?\d[\d.,]*", boxed):
        return ""
    behind = response[response.find("}", box_at) + 1 :][:100]
    if not re.match(r"[\s$\\)\]]*[a-zA-Z°]", behind):
        return ""
    return concluded.unit_behind(re.sub(r"^\s*(?:\$+|\\[)\]])?\s*(?:\\(?:text|mathrm)\{)?", "", behind))


def _corrected(response: str, box_at: int, boxed: str) -> bool:
    """Whether what follows a box says another number instead: `Wait, it is 8.`"""
    others = [found["other"] for found in CORRECTED.finditer(response, box_at)]
    return bool(others) and others[-1] not in boxed and re.search(r"\d", boxed) is not None


def _denied(response: str, box: re.Match[str]) -> bool:
    """Whether words beside a box say that it is not the answer."""
    content = _content(response, box)
    end = box.end() + len(content or "") + 1
    before = DENIED_BEFORE.search(response, max(0, box.start() - 30), box.start())
    return before is not None or (content is not None and DENIED_BEHIND.match(response, end, end + 60) is not None)


def _afterwards(response: str, box_at: int) -> str | None:
    """What stands behind the last box and takes its place: an answer announced after the box was taken back in words, or `#### 42`."""
    retracted = RETRACTED.search(response, box_at)
    said = announced.answer(response[retracted.end() :]) if retracted else None
    return said[0] if said is not None else _closing_line(response, box_at)


def within_tag(content: str) -> str | None:
    """What `<answer>` holds: a box, a sentence that announces, or the answer itself."""
    if BOX.search(content):
        return _boxes(content)[0] or None
    said = announced.answer(content)
    return said[0] if said is not None else concluded.trimmed(content) or None


def last_boxed(response: str) -> str | None:
    """The content of the last box."""
    return _last_boxed(spoken(response))[0] or None


def only_boxed(response: str) -> str | None:
    """The content of the boxes if it is the same in all of them. Of boxes inside a box, the innermost counts."""
    response, at = spoken(response), 0
    found: set[str] = set()
    while box := BOX.search(response, at):
        content = _content(response, box)
        if content is None:
            return None
        at = box.end() + len(content)
        found.add(_last_boxed(content)[0] or _unwrapped(content))
        found.discard("")
        if len(found) > 1:
            return None
    return found.pop() if found else None


def answer_line(response: str) -> str | None:
    """What the response announces last as its answer, or the line of its last `####`."""
    response = spoken(response)
    said = announced.answer(response)
    hashes = None
    for hashes in HASHES.finditer(response):  # noqa: B007  the last one counts
        pass
    if hashes is not None and not HEADING.match(hashes[0]) and (said is None or hashes.start() > said[1]):
        said = (concluded.trimmed(hashes[1]), hashes.start())
    if said is None:
        return None
    return _last_boxed(said[0])[0] or said[0] or None


def tagged_answer(response: str) -> str | None:
    """The content of the last `<answer>` tag that closes; without one, as `final_answer`."""
    end = response.rfind("</answer>")
    start = response.rfind("<answer>", 0, max(end, 0))
    return (response[start + len("<answer>") : end].strip() or None) if start >= 0 else final_answer(response)


Extraction = Literal["final", "last-boxed", "only-boxed", "answer-line"]

POLICIES: Mapping[str, Callable[[str], str | None]] = {
    "final": final_answer,
    "last-boxed": last_boxed,
    "only-boxed": only_boxed,
    "answer-line": answer_line,
}


def setting(metadata: Mapping[str, Any], name: str, known: Mapping[str, object], of_run: str) -> str:
    """The problem's own choice of a setting, or else the run's. ValueError for a value that is not known."""
    value = metadata.get(name) or of_run
    if value not in known:
        raise ValueError(f"metadata.{name} is {value!r}, expected one of {', '.join(known)}")
    return str(value)


def extract(problem: Problem, response: str, of_run: Extraction) -> str | None:
    """The final answer by the problem's `metadata["extraction"]`, or else by the run's policy."""
    policy = setting(problem.metadata, "extraction", POLICIES, of_run)
    if policy == "final":
        return final_answer(response, asked.yes_or_no(problem))
    return POLICIES[policy](response)


MISSING: Mapping[str, str] = {
    "final": "no final answer in \\boxed{}, announced as the answer, or after '#'",
    "last-boxed": "no final answer in \\boxed{}",
    "only-boxed": "no \\boxed{}, or several that differ",
    "answer-line": "no line that announces an answer, as 'Answer:' or '####' do",
}


def missing(problem: Problem, of_run: Extraction) -> str:
    """Why nothing was extracted, in a line."""
    return MISSING[setting(problem.metadata, "extraction", POLICIES, of_run)]


def spoken(response: str) -> str:
    """What a response says once it has thought, up to where a next question begins."""
    response = after_thinking(response)
    if end := ENDS.search(response):
        response = response[: end.start()] if response[: end.start()].strip() else response
    for following in islice(NEXT.finditer(response), MOST_QUESTIONS):
        before = response[: following.start()]
        if BOX.search(before) or HASHES.search(before) or announced.answer(before) is not None:
            return before
    return response


def after_thinking(response: str) -> str:
    """What follows the last thought; nothing of a thought that never closes."""
    thoughts = [found.end() for found in THOUGHTS.finditer(response)]
    response = response[thoughts[-1] :] if thoughts else response
    if unfinished := THOUGHT_BEGINS.search(response):
        response = response[: unfinished.start()]
    return response


class Marked(NamedTuple):
    """What follows a `#`."""

    text: str
    at: int
    certain: bool
    """It stands as GSM8K writes it, `#### 42`, or ends the response, and is no word that might be a hashtag's."""


def _marked(response: str) -> Marked | None:
    """What follows the last `#` that begins no heading."""
    at = response.rfind(MARKER)
    closing = _closing_line(response, 0)
    if closing is not None:
        return Marked(closing, at, True)
    start = response.rfind("\n", 0, at + 1) + 1
    if at < 0 or HEADING.match(response, start):
        hashes = [found for found in HASHES.finditer(response) if not HEADING.match(found[0])]
        return Marked(concluded.trimmed(hashes[-1][1]), hashes[-1].start(), True) if hashes else None
    text = response[at + 1 :].strip()
    first, _, rest = text.partition("\n")
    if response[start:at].strip() == "###" and rest.strip():
        text = first  # a line of its own, and prose behind it
    return Marked(text, at, any(sign.isdigit() for sign in text) and "\n" not in text)


def _closing_line(response: str, box_at: int) -> str | None:
    """What `#### 42` says where it ends a response: GSM8K's mark is no heading, also behind a box."""
    last = response.rstrip().rpartition("\n")
    found = HASHES.fullmatch(last[2])
    if (
        found is None
        or len(last[0]) < box_at
        or SECTION.match(found[1])
        or not any(sign.isdigit() for sign in found[1])
    ):
        return None
    return concluded.trimmed(found[1])


def _tagged(response: str) -> tuple[str, int] | None:
    """The content of the last `<answer>` that closes, and where it ends."""
    end = response.rfind("</answer>")
    start = response.rfind("<answer>", 0, max(end, 0))
    if start < 0 or not response[start + len("<answer>") : end].strip():
        return None
    return response[start + len("<answer>") : end].strip(), end


def _boxes(response: str) -> tuple[str | None, int]:
    """The last box's content, with those that are one answer together with it; and where the last one starts (-1: there is none)."""
    places = [box for box in deque(BOX.finditer(response), MOST_BOXES) if not _denied(response, box)]
    content, at = _last_boxed(response, places)
    if not content:
        return content, at
    found, start, names = [content], at, [_name_before(response, at)]
    for box in reversed([box for box in places if box.start() < at]):
        inner = _content(response, box)
        end = None if inner is None else box.end() + len(inner) + (response[box.end() - 1] == "{")
        if (
            not inner
            or end is None
            or end > start
            or start - end > LONGEST_BETWEEN
            or not (BETWEEN.fullmatch(response, end, start) or OTHERWISE.fullmatch(response, end, start))
        ):
            break
        found.insert(0, _unwrapped(inner))
        start = box.start()
        names.insert(0, _name_before(response, start))
    if len(found) > 1 and None not in names and len(set(names)) == len(names):
        return ", ".join(f"{name} = {value}" for name, value in zip(names, found, strict=True)), at
    together = list(dict.fromkeys(found))
    return ", ".join(together), at


def _name_before(response: str, at: int) -> str | None:
    """The letter that a box is the value of: `x = \\boxed{2}`."""
    found = NAMED.search(response, max(0, at - 12), at)
    return found[1] if found else None


def _last_boxed(response: str, places: Sequence[re.Match[str]] | None = None) -> tuple[str | None, int]:
    """The last box's content (None if it never closes) and where it starts (-1: there is none). Of boxes at the end that are empty,
    as instructions repeated have them, the first one before that is not counts."""
    places = deque(BOX.finditer(response), MOST_BOXES) if places is None else places
    found: tuple[str | None, int] = (None, -1)
    for box in reversed(places):
        content = _content(response, box)
        if content is None:
            return None, box.start()
        if content.strip():
            return _unwrapped(content), box.start()
        found = ("", box.start()) if found[1] < 0 else found
    return found


def _unwrapped(content: str) -> str:
    """Without braces that stand around all of it: `\boxed{{12}}`."""
    content = content.strip()
    while content.startswith("{") and content.endswith("}"):
        inner = _closed(content, 1)
        if inner is None or len(inner) != len(content) - 2 or not inner.strip() or "," in inner:
            break
        content = inner.strip()
    return content


def _content(response: str, box: re.Match[str]) -> str | None:
    """What a box holds; None if it never closes."""
    if box[0].endswith("{"):
        return _closed(response, box.end())
    found = BARE.match(response, box.end(), box.end() + LONGEST)
    return found[0].rstrip(".") if found else ""


def _closed(response: str, start: int) -> str | None:
    """The text from `start`, just inside a brace, to where it closes; escaped braces do not count."""
    depth = 1
    for match in BRACE.finditer(response, start, start + LONGEST):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return response[start : match.start()]
    return None
