"""Verdicts on responses as models write them, held against a person's: maths and code, in parts.

    python -m benchmarks.verdicts [--kind maths] [--part first] [--json] [--save FILE] [--docs]

Rows lie in `benchmarks/verdicts/<kind>-<part>.jsonl`; a part that is not there yet is left out. A false negative is a right
response that is not `correct`, a false positive a wrong one that is. Everything goes through the pool with a run's defaults, as
a row that says nothing is judged. Maths is also judged by each other policy, and by math-verify alone: its own `parse` of the
response and of the expected answer in a box, and its own `verify`. `--save` writes tables and every wrong verdict as Markdown;
`--docs` puts the tables into docs/verifiers.md, between its marks.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product, starmap
from pathlib import Path
from typing import Any, NamedTuple, get_args

from rlzoo import configure
from rlzoo.data.source import Split
from rlzoo.engine.isolation import find_isolation
from rlzoo.engine.verification import open_pool
from rlzoo.types import Message, Problem
from rlzoo.verifiers.maths import MathsConfig

ROOT = Path(__file__).resolve().parents[1]
SETS = ROOT / "benchmarks" / "verdicts"
DOCS = ROOT / "docs" / "verifiers.md"
PARTS = ("first", "second", "third", "fourth", "fifth")
FORMS = ("stdio", "call", "assertions", "pytest", "check", "pairs")
BARE = "math-verify"
FIELDS = {
    "maths": {"id", "problem", "gold", "response", "right", "reason"},
    "code": {"id", "form", "tests", "response", "right", "reason"},
}
OPTIONAL = {"maths": {"metadata"}, "code": {"entry"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One response and what was made of it."""

    id: str
    part: str
    group: str
    """The policy, or the form of the tests."""
    right: bool
    correct: bool
    told: str
    """Status and reason of the verdict."""
    why: str
    """The person's reason."""

    @property
    def error(self) -> str | None:
        if self.right == self.correct:
            return None
        return "false negative" if self.right else "false positive"


class Policy(NamedTuple):
    """Settings of the run's verifier for maths."""

    extraction: str
    equality: str

    @property
    def settings(self) -> list[str]:
        return [f"verifier.maths.{name}={value}" for name, value in self._asdict().items()]

    def __str__(self) -> str:
        return f"{self.extraction}, {self.equality}"


class Rows:
    """Problems as a source, so that a run's own way of opening its pool finds what they need."""

    name = "verdicts"
    domains = ("verdicts",)
    answers = False

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = problems

    def size(self, split: Split) -> int:
        return len(self.problems) if split == "train" else 0

    def problem(self, split: Split, index: int) -> Problem:
        return self.problems[index]

    def fingerprint(self) -> str:
        return ""


def read(kind: str, part: str) -> list[dict[str, Any]]:
    """The rows of one part; none where it does not exist. ValueError for a row that is not as it should be."""
    path = SETS / f"{kind}-{part}.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    for number, row in enumerate(rows, 1):
        fault = row_fault(kind, row)
        if fault:
            raise ValueError(f"{path.name}, row {number}: {fault}")
    return rows


def row_fault(kind: str, row: Mapping[str, Any]) -> str | None:
    """What is wrong with a row; None if nothing is."""
    if missing := FIELDS[kind] - row.keys():
        return f"no {', '.join(sorted(missing))}"
    if unknown := row.keys() - FIELDS[kind] - OPTIONAL[kind]:
        return f"unknown: {', '.join(sorted(unknown))}"
    if not isinstance(row["right"], bool):
        return f"right is {row['right']!r}, expected true or false"
    if kind == "code" and row["form"] not in FORMS:
        return f"form is {row['form']!r}, expected one of {', '.join(FORMS)}"
    texts = [row[name] for name in ("id", "response", "reason")]
    return None if all(isinstance(text, str) and text for text in texts) else "id, response or reason is no text"


def problem_of(kind: str, row: Mapping[str, Any]) -> Problem:
    """A row as a data set's problem."""
    metadata = dict(row.get("metadata", {}))
    if kind == "code":
        metadata |= {"tests": row["tests"]} | ({"entry": row["entry"]} if "entry" in row else {})
    messages: tuple[Message, ...] = ({"role": "user", "content": row["problem"]},) if "problem" in row else ()
    return Problem(
        id=row["id"], domain=kind, messages=messages, verifier=kind, answer=row.get("gold"), metadata=metadata
    )


def judge(kind: str, rows: Sequence[tuple[str, Mapping[str, Any]]], policy: Policy | None = None) -> list[Judged]:
    """Verdicts through a run's pool; by its defaults without a policy."""
    items = [(problem_of(kind, row), str(row["response"])) for _, row in rows]
    settings = [] if policy is None else policy.settings
    config = configure.load(assignments=settings)
    with open_pool(config.verifier, find_isolation(config.verifier, [Rows([problem for problem, _ in items])])) as pool:
        verdicts = pool.judge(items)
    group = f"{default_policy()} (default)" if policy is None else str(policy)
    return [
        _judged(part, row, row.get("form", group), verdict.correct, f"{verdict.status}: {verdict.reason}")
        for (part, row), verdict in zip(rows, verdicts, strict=True)
    ]


def _judged(part: str, row: Mapping[str, Any], group: str, correct: bool, told: str) -> Judged:
    return Judged(
        id=row["id"], part=part, group=group, right=row["right"], correct=correct, told=told, why=row["reason"]
    )


def bare(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Judged]:
    """math-verify alone, with all of its defaults."""
    import math_verify

    found = []
    for part, row in rows:
        gold = math_verify.parse(f"\\boxed{{{row['gold']}}}")
        answer = math_verify.parse(row["response"])
        told = f"found {' or '.join(map(str, answer)) or 'nothing'}"
        found.append(_judged(part, row, BARE, bool(math_verify.verify(gold, answer)), " ".join(told.split())[:200]))
    return found


def default_policy() -> Policy:
    """What judges rows that say nothing."""
    settings = MathsConfig()
    return Policy(settings.extraction, settings.equality)


def other_policies() -> list[Policy]:
    """Every other way to find an answer, with every way to compare it."""
    fields = MathsConfig.model_fields
    ways = [get_args(fields[name].annotation) for name in Policy._fields]
    return [policy for policy in starmap(Policy, product(*ways)) if policy != default_policy()]


def measure(kind: str, parts: Iterable[str], limit: int | None = None) -> dict[str, list[Judged]]:
    """All verdicts: `main` by the defaults, `others` by the policies and by math-verify."""
    rows = [(part, row) for part in parts for row in read(kind, part)[:limit]]
    if not rows:
        return {"main": [], "others": []}
    others = [one for policy in other_policies() for one in judge(kind, rows, policy)] if kind == "maths" else []
    others += bare(rows) if kind == "maths" else []
    return {"main": judge(kind, rows), "others": others}


# ---------------------------------------------------------------------------------------------------------
# Told


def table(judged: Sequence[Judged], first: str) -> str:
    """Errors by group and part, as Markdown."""
    parts = [part for part in PARTS if any(one.part == part for one in judged)]
    lines = [
        f"| {first} | {' | '.join(f'{part} part: false negatives | false positives' for part in parts)} | all errors |",
        f"| --- |{' ---: |' * (2 * len(parts) + 1)}",
    ]
    for group in dict.fromkeys(one.group for one in judged):
        cells = []
        for part in parts:
            of_it = [one for one in judged if one.part == part and one.group == group]
            for name, right in (("false negative", True), ("false positive", False)):
                wrong = sum(one.error == name for one in of_it)
                cells.append(f"{wrong} of {sum(one.right is right for one in of_it)}")
        errors = sum(one.error is not None for one in judged if one.group == group)
        lines.append(f"| `{group}` | {' | '.join(cells)} | {errors} |")
    return "\n".join(lines)


def tables(measured: Mapping[str, Mapping[str, Sequence[Judged]]]) -> str:
    """All tables of what was measured."""
    parts = []
    for kind, found in measured.items():
        if found["main"]:
            judged = [*found["main"], *found["others"]]
            parts.append(table(judged, "policy" if kind == "maths" else "form of tests"))
    return "\n\n".join(parts)


def wrong_verdicts(measured: Mapping[str, Mapping[str, Sequence[Judged]]]) -> str:
    """Every wrong verdict by the defaults, and those of math-verify."""
    parts = []
    for kind, found in measured.items():
        for name, judged in ((kind, found["main"]), (BARE, [one for one in found["others"] if one.group == BARE])):
            wrong = [one for one in judged if one.error]
            lines = [f"- {one.id}, {one.error}: {one.why}. Verdict: {one.told}" for one in wrong]
            if judged:
                parts.append(f"Wrong by {name}, {len(wrong)} of {len(judged)}:\n\n" + ("\n".join(lines) or "- none"))
    return "\n\n".join(parts)


def into_docs(text: str, measured: Mapping[str, Mapping[str, Sequence[Judged]]]) -> str:
    """The page with its tables replaced: what stands between `<!-- verdicts: kind -->` and `<!-- end -->`."""
    for kind in measured:
        mark = re.compile(rf"(<!-- verdicts: {kind} -->\n).*?(<!-- end -->)", re.DOTALL)
        fresh = tables({kind: measured[kind]})
        text = mark.sub(lambda found, fresh=fresh: f"{found[1]}{fresh}\n{found[2]}", text)  # type: ignore[misc]
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=sorted(FIELDS), action="append", help="only this kind; repeatable")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; repeatable")
    parser.add_argument("--limit", type=int, help="only the first rows of each part")
    parser.add_argument("--json", action="store_true", help="every verdict, for machines")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write tables and wrong verdicts there, as Markdown")
    parser.add_argument("--docs", action="store_true", help="put the tables into docs/verifiers.md")
    given = parser.parse_args()
    measured = {kind: measure(kind, given.part or PARTS, given.limit) for kind in given.kind or ("maths", "code")}
    if given.json:
        plain = {k: {name: [asdict(one) for one in judged] for name, judged in m.items()} for k, m in measured.items()}
        print(json.dumps(plain, ensure_ascii=False, indent=1))
    else:
        print(f"{tables(measured)}\n\n{wrong_verdicts(measured)}")
    if given.save:
        head = "Made by `python benchmarks/verdicts.py --save`; policies and forms as docs/verifiers.md has them."
        given.save.write_text(
            f"# Verdicts against a person's\n\n{head}\n\n{tables(measured)}\n\n{wrong_verdicts(measured)}\n",
            encoding="utf-8",
        )
    if given.docs:
        DOCS.write_text(into_docs(DOCS.read_text(encoding="utf-8"), measured), encoding="utf-8")


if __name__ == "__main__":
    main()
