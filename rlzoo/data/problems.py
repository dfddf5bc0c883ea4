"""Rows to problems, one after another: what each row becomes, or why it cannot become one."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from random import Random
from typing import Any

from rlzoo import anchoring, registry
from rlzoo.anchoring import expanded
from rlzoo.data import fields, hub, layouts, reading
from rlzoo.data.choices import LETTER, Question, choice, options_shown
from rlzoo.data.file_options import FileOptions
from rlzoo.data.layouts import Layout
from rlzoo.data.origins import by_origin
from rlzoo.data.reading import Numbered, Row
from rlzoo.data.rowfaults import Faults, RowFault
from rlzoo.data.rowparts import Parts
from rlzoo.data.source import Split, digest
from rlzoo.data.tests_form import CodeTests, code_tests
from rlzoo.errors import ConfigError, DataError, did_you_mean
from rlzoo.types import Message, Problem, text_of

INSTRUCTIONS = {
    "maths": "\nPut your final answer within \\boxed{}.",
    "choice": "\nPut the letter of the right option within \\boxed{}.",
    "reasoning-gym": "\nPut your final answer within <answer></answer>.",
    "call": "\nWrite Python and put it into one ```python block.",
    "pytest": "\nWrite Python and put it into one ```python block.",
    "check": "\nWrite Python and put it into one ```python block.",
    "stdio": "\nWrite a Python program that reads standard input and writes standard output, in one ```python block.",
}
"""What a bare question is followed by, by its verifier or the kind of its tests."""
SHOWN = 8
"""Domains of a verifier that a line names."""
NUMBER = re.compile(r"[-+]?(0|[1-9][0-9,]*)?(\.[0-9]+)?(/[0-9]+)?")
PROOF = re.compile(
    r"\W*(?:text\W*)?(?:(?:the|see|a)\W+)*(?:proof|solution)s?(?:\W+(?:is\W+)?(?:omitted|above|below|given|completed?))?\W*|not\W?found|q\.?e\.?d\.?",
    re.IGNORECASE,
)
"""Words in an answer's place that say that there is none to compare with: `proof`, `\\text{Proof omitted.}`, `see solution`, `notfound`."""
TAG = "<answer>"
"""Where prompts ask for answers that `logic` finds and `maths` does not."""
OBJECT = '{"'
"""How an answer begins that is JSON data and no mathematics."""


@dataclass(slots=True, kw_only=True)
class Loaded:
    """A source's rows as problems, and what became of the rest."""

    name: str
    layout: Layout
    mapping: dict[str, str]
    """Field to column, as it was applied."""
    problems: list[tuple[int, Problem, Split | None]] = field(default_factory=list)
    """With the row's number, and the split that the row names."""
    faults: Faults = field(default_factory=Faults)
    rows: int = 0
    """Rows seen, bad ones and repetitions included."""
    repeated: int = 0
    """Rows left out because an earlier one is the same in prompt, answer, tests and split."""

    def line(self) -> str:
        """How the rows were read, in a line."""
        rows = f"{self.rows:,} row" if self.rows == 1 else f"{self.rows:,} rows"
        columns = ", ".join(f"{name} from {column}" for name, column in self.mapping.items() if name != column)
        lost = f", {self.faults.total:,} left out" if self.faults.total else ""
        again = f", {self.repeated:,} repeated" if self.repeated else ""
        told = "".join(f"; {part}" for part in (columns, self.judges()) if part)
        return f"{self.name}: {rows} in the layout {self.layout.name!r}{lost}{again}{told}"

    def judges(self) -> str:
        """Which verifier judges rows of which domains: `math by maths, codegen by code`."""
        counts = Counter((problem.verifier, problem.domain) for _, problem, _ in self.problems)
        parts = []
        for verifier in dict.fromkeys(verifier for (verifier, _), _ in counts.most_common()):
            of_it = [domain for (name, domain), _ in counts.most_common() if name == verifier]
            more = f" and {len(of_it) - SHOWN} more" if len(of_it) > SHOWN else ""
            parts.append(f"{', '.join(of_it[:SHOWN])}{more} by {verifier}")
        return f"judged: {'; '.join(parts)}" if parts else ""


def load(wanted: FileOptions) -> Loaded:
    """Every row of `wanted.path`, as a problem or as a fault."""
    rows = _rows(wanted)
    if wanted.limit is not None:
        rows = islice(rows, wanted.limit)
    first = list(islice(rows, layouts.SAMPLE))
    name = wanted.path if hub.is_name(wanted.path) and not Path(wanted.path).exists() else Path(wanted.path).name
    layout = _layout(wanted, [row for _, (_, row) in first if isinstance(row, Mapping)], name)
    columns: dict[str, str] = {str(key): column for key, column in wanted.columns.items()}
    mapping = columns if layout is layouts.OWN else {**layout.mapping, **columns}
    loaded = Loaded(name=name, layout=layout, mapping=mapping)
    builder = _ProblemBuilder(wanted, layout, Path(name).stem)
    seen: dict[str, int] = {}
    again: set[str] = set()
    for split, (number, row) in chain(first, rows):
        loaded.rows += 1
        try:
            if isinstance(row, RowFault):
                raise row
            problem, own_split, named = builder.problem(row)
            own_split = wanted.split or own_split or fields.SPLIT_NAMES.get(split or "")
            if named and problem.id in seen:
                raise RowFault(
                    "an id twice, so that sampling noise and verdicts would be shared",
                    f"{problem.id!r} is also row {seen[problem.id]}'s",
                )
        except RowFault as fault:
            loaded.faults.add(number, fault)
            continue
        if not named:
            key = digest(
                problem.id,
                problem.answer,
                anchoring.unplaced(problem.verifier),
                own_split,
                problem.metadata.get("tests"),
            )
            if key in again:
                loaded.repeated += 1
                continue
            again.add(key)
            while problem.id in seen:
                problem = replace(problem, id=f"{problem.id}+")  # one prompt, two answers: each has noise of its own
        seen[problem.id] = number
        loaded.problems.append((number, problem, own_split))
    return loaded


def _rows(wanted: FileOptions) -> Iterator[tuple[str | None, Numbered]]:
    """(the split that a file's name says, numbered row). Folders: their files by name, else what `datasets` makes of them."""
    path = expanded(wanted.path)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and reading.readable(file))
        if any((path / name).is_file() for name in hub.SAVED) or not files:
            yield from hub.read(str(path), config=wanted.config, streaming=wanted.streaming)
            return
        for file in files:
            yield from ((file.stem, row) for row in reading.read(file))
    elif not path.exists() and hub.is_name(wanted.path) and not path.suffix:
        yield from hub.read(wanted.path, config=wanted.config, streaming=wanted.streaming)
    else:
        yield from ((path.stem, row) for row in reading.read(path))


def _layout(wanted: FileOptions, sample: Sequence[Row], name: str) -> Layout:
    if wanted.layout is not None:
        named = {layout.name: layout for layout in layouts.LAYOUTS}
        if wanted.layout not in named:
            raise ConfigError(
                f"options.layout: there is no layout {wanted.layout!r}. {did_you_mean(wanted.layout, named)}"
            )
        return named[wanted.layout]
    if "prompt" in wanted.columns:
        return layouts.OWN
    found = layouts.sniff(sample)
    if found is not None or not sample:
        return found or layouts.OWN
    columns = sorted({str(column) for row in sample for column in row})
    raise DataError(
        f"{name} has the columns {', '.join(columns[:20]) or '(none)'}, which is no layout that is known "
        f"({', '.join(dict.fromkeys(layout.name for layout in layouts.LAYOUTS))}). Say which column is what: "
        "columns: {prompt: ..., answer: ...}."
    )


class _ProblemBuilder:
    """Builds problems out of rows of one layout."""

    def __init__(self, wanted: FileOptions, layout: Layout, domain: str) -> None:
        self.wanted, self.layout, self.domain = wanted, layout, domain
        self.verifiers = set(registry.verifiers.names())

    def _placed(self, verifier: str) -> str:
        """A verifier that is a file, by its whole path: beside the rows, or else in the present folder."""
        return anchoring.attribute(anchoring.attribute(verifier, Path(self.wanted.path).parent), Path.cwd())

    def problem(self, row: Row) -> tuple[Problem, Split | None, bool]:
        """The problem, the split that its row names, and whether the row names its id. RowFault if it cannot be one."""
        if not all(isinstance(column, str) for column in row):
            raise RowFault("a column whose name is no text")
        parts = self._parts(row)
        messages = fields.as_messages(parts.prompt, self.wanted.columns.get("prompt", "prompt"))
        metadata = dict(parts.metadata)
        verifier, kind = self._judge(parts, messages, metadata), "maths"
        if parts.options:
            asked = self._asked(messages, parts.options)
            messages, parts.answer = fields.extended(messages, asked.text), asked.letter
            metadata |= {"choices": list(asked.options), "chance": asked.chance}
            verifier = kind = "choice"
        elif parts.tests not in (None, "", []):
            metadata["tests"] = tests = self._tests(parts, digest(messages))
            verifier, kind = "code", tests["kind"]
        verifier = self._placed(parts.verifier or self.wanted.verifier or verifier)
        if verifier == "choice" and "choices" not in metadata:
            metadata = options_shown(parts.answer or "", _asked_by(messages)) | metadata
        kind = verifier if verifier in INSTRUCTIONS and kind == "maths" else kind
        addition = self.wanted.instruction
        if addition is None:
            addition = INSTRUCTIONS[kind] if parts.bare else ""
        messages = fields.extended(messages, addition)
        if parts.pass_rate is not None:
            metadata["pass_rate"] = _share(parts.pass_rate)
        problem = Problem(
            id=parts.id or digest(messages),
            domain=self.wanted.domain or parts.domain or self.domain,
            messages=messages,
            verifier=verifier,
            answer=parts.answer,
            solution=parts.solution,
            level=parts.level or "",
            metadata=metadata,
        )
        self._check(problem)
        return problem, parts.split, parts.id is not None

    def _judge(self, parts: Parts, messages: Sequence[Message], metadata: Mapping[str, Any]) -> str:
        """The verifier of a row with neither options nor tests: by its origin, where the row holds what that one needs.

        A letter is for `choice` where the origin or the prompt's own list of options says so. A number is for `maths`, which knows that
        1/2 is 0.5, unless constraints or the prompt's form of the answer are `logic`'s.
        """
        named = metadata.get("data_source")
        origin = by_origin([named if isinstance(named, str) else None, self.wanted.domain or parts.domain])
        answer = parts.answer or ""
        if origin == "choice" and LETTER.fullmatch(answer):
            return "choice"
        if origin == "logic" and answer and NUMBER.fullmatch(answer) and not metadata.get("kind"):
            return "logic" if any(TAG in text_of(message) for message in messages) else "maths"
        if origin == "logic" or (origin != "maths" and answer.startswith(OBJECT)):
            return "logic"
        return "choice" if options_shown(answer, _asked_by(messages)) else "maths"

    def _parts(self, row: Row) -> Parts:
        columns = self.wanted.columns
        if self.layout is layouts.OWN:
            renamed = {str(name): fields.dig(row, column) for name, column in columns.items()}
            if "prompt" not in columns and "prompt" not in row:
                raise RowFault("no 'prompt'", f"the row has {', '.join(map(str, row)) or 'no columns'}")
            return self.layout.parts({**row, **renamed})
        parts = self.layout.parts(row)
        for name, column in columns.items():
            value = fields.dig(row, column)
            if name in ("tests", "pass_rate"):
                setattr(parts, name, value)
            elif name == "metadata":
                parts.metadata |= fields.mapping(value, column)
            elif name == "split":
                parts.split = fields.split(value)
            elif name == "answer":
                parts.answer = fields.gold(value, column)
            else:
                setattr(parts, name, fields.text(value, column))
        return parts

    def _asked(self, messages: Sequence[Any], options: Sequence[str]) -> Question:
        """Options below the question, in an order drawn by it and the seed. The right one comes first in `options`."""
        try:
            return choice("", options, 0, key=digest(messages), seed=self.wanted.seed)
        except DataError as fault:
            raise RowFault("options that cannot be told apart", str(fault)) from fault

    def _tests(self, parts: Parts, key: str) -> CodeTests:
        tests = code_tests(parts.tests, parts.function)
        keep = self.wanted.max_tests
        if keep is None or tests["kind"] == "pytest" or tests["kind"] == "check" or len(tests["inputs"]) <= keep:
            return tests
        kept = sorted(Random(f"tests/{self.wanted.seed}/{key}").sample(range(len(tests["inputs"])), keep))
        inputs, outputs = [tests["inputs"][at] for at in kept], [tests["outputs"][at] for at in kept]
        if tests["kind"] == "call":
            return {**tests, "inputs": inputs, "outputs": outputs}
        return {**tests, "inputs": inputs, "outputs": outputs}

    def _check(self, problem: Problem) -> None:
        if problem.verifier not in self.verifiers and ":" not in problem.verifier:
            raise RowFault(f"no verifier is named {problem.verifier!r}", did_you_mean(problem.verifier, self.verifiers))
        if problem.verifier in ("maths", "choice") and problem.answer is None:
            raise RowFault("no 'answer'", f"the verifier {problem.verifier!r} compares with it")
        if problem.verifier == "maths" and PROOF.fullmatch(problem.answer or ""):
            told = f"{problem.answer!r}; leave the row out, or give it a verifier of your own"
            raise RowFault("no answer to check: a proof, or none was found", told)
        if problem.verifier == "logic" and problem.answer is None and problem.metadata.get("kind") in (None, "value"):
            raise RowFault(
                "no 'answer'", "the verifier 'logic' compares with it, where metadata.kind names no constraints"
            )
        if problem.verifier == "code" and not problem.metadata.get("tests"):
            raise RowFault("no tests", "the verifier 'code' runs them")


def _asked_by(messages: Sequence[Message]) -> str:
    return "\n".join(text_of(message) for message in messages)


def _share(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise RowFault("'pass_rate' is no number in [0, 1]", type(value).__name__)
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise RowFault("'pass_rate' is no number in [0, 1]", str(value)[:40])
    return share
