"""What a set of problems holds: domains, lengths, repetitions, and what of it stands in a test suite too."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from statistics import median

from rlzoo.types import Problem, text_of

N = 13
"""Words of an n-gram that counts as overlap: the length that GPT-3 (arXiv:2005.14165, appendix C) and most since use."""
COMMON = 0.01
"""Share of the prompts from which on an n-gram is boilerplate, such as a fixed instruction, and no overlap."""
COMMON_AT_LEAST = 10
WORD = re.compile(r"\w+|[^\w\s]")


def question(problem: Problem) -> str:
    """The text of a problem's messages."""
    return "\n".join(text_of(message) for message in problem.messages)


def words(text: str) -> list[str]:
    """Lower-case words and signs, spelled one way (NFKC): what is left when layout and case are not looked at."""
    return WORD.findall(unicodedata.normalize("NFKC", text).lower())


def normalised(text: str) -> str:
    """A hash that texts share if they have the same words and signs in the same order."""
    return blake2b(" ".join(words(text)).encode(errors="replace"), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Of one text a problem, in `unit`."""

    unit: str
    count: int
    least: int
    median: float
    p95: int
    most: int


def lengths(measured: Iterable[int], unit: str) -> Lengths | None:
    """None where there is nothing to measure."""
    found = sorted(measured)
    if not found:
        return None
    p95 = found[min(len(found) - 1, int(0.95 * len(found)))]
    return Lengths(unit=unit, count=len(found), least=found[0], median=median(found), p95=p95, most=found[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetitions:
    """Problems that ask the same in other layout or case."""

    repeated: int
    """Problems whose normalised prompt an earlier one has."""
    contradicting: int
    """Those of them whose answer is another."""
    examples: tuple[str, ...]
    """Prompts that come more than once, the most frequent first."""


def repetitions(problems: Sequence[Problem], shown: int = 3) -> Repetitions:
    first: dict[str, Problem] = {}
    counts: Counter[str] = Counter()
    contradicting = 0
    for problem in problems:
        key = normalised(question(problem))
        counts[key] += 1
        earlier = first.setdefault(key, problem)
        contradicting += earlier is not problem and earlier.answer != problem.answer
    often = [key for key, count in counts.most_common(shown) if count > 1]
    return Repetitions(
        repeated=sum(counts.values()) - len(counts),
        contradicting=contradicting,
        examples=tuple(question(first[key]) for key in often),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """What of the training problems stands in a suite."""

    suite: str
    size: int
    """Problems of the suite."""
    exact: int
    """Problems of the suite that some training prompt repeats word for word."""
    grams: int
    """Problems of the suite that share an n-gram with some training prompt, the exact ones not counted."""
    examples: tuple[str, ...]


def overlaps(train: Sequence[Problem], suites: Mapping[str, Sequence[Problem]], shown: int = 3) -> list[Overlap]:
    """For each suite, its problems that training would show, whole or in part."""
    prompts = [words(question(problem)) for problem in train]
    whole = {" ".join(prompt) for prompt in prompts}
    wanted = {gram for problems in suites.values() for problem in problems for gram in _grams(words(question(problem)))}
    spread: Counter[int] = Counter()
    for prompt in prompts:
        spread.update(wanted & _grams(prompt))
    limit = _common(len(train))
    telling = {gram for gram, count in spread.items() if count <= limit}
    found = []
    for name, problems in suites.items():
        seen = [words(question(problem)) for problem in problems]
        boilerplate = _boilerplate(seen)
        exact = [at for at, prompt in enumerate(seen) if " ".join(prompt) in whole]
        same = set(exact)
        part = [at for at, prompt in enumerate(seen) if at not in same and (_grams(prompt) - boilerplate) & telling]
        some = tuple(question(problems[at]) for at in [*exact, *part][:shown])
        found.append(Overlap(suite=name, size=len(problems), exact=len(exact), grams=len(part), examples=some))
    return found


def _grams(prompt: Sequence[str]) -> set[int]:
    return {hash(tuple(prompt[at : at + N])) for at in range(len(prompt) - N + 1)}


def _boilerplate(prompts: Sequence[Sequence[str]]) -> set[int]:
    """n-grams that many of these prompts share."""
    spread: Counter[int] = Counter()
    for prompt in prompts:
        spread.update(_grams(prompt))
    return {gram for gram, count in spread.items() if count > _common(len(prompts))}


def _common(prompts: int) -> float:
    """How many of so many prompts may share an n-gram that still tells something about each of them."""
    return min(max(COMMON_AT_LEAST, COMMON * prompts), max(1.0, prompts / 2))


def domains(problems: Sequence[Problem]) -> dict[str, dict[str, int]]:
    """By domain: how many problems each verifier judges."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for problem in problems:
        found[problem.domain][problem.verifier] += 1
    return {domain: dict(counts) for domain, counts in sorted(found.items())}
