"""Endless, seeded problems with worked solutions, and splits that cannot overlap."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, NamedTuple, Self

from rlzoo.data.source import SPLITS, Split, digest, split_of
from rlzoo.errors import ConfigError
from rlzoo.types import Problem

MARKER = "#"
"""Stands between the working and the final answer."""

HELD_OUT_PER_LEVEL = 110
"""Enough for a standard error below two points a domain at any accuracy of the embedded model."""
MAX_REJECTIONS = 20_000


class Work:
    """Writes the steps of a worked solution, and slips at one of them if told to.

    A slip is carried on: later steps are right about wrong numbers. That is how people err, and what makes a flawed
    solution's own final answer evidence about its steps.
    """

    def __init__(self, rng: Random | None = None, slip_at: int | None = None) -> None:
        self.steps: list[str] = []
        self._rng = rng
        self._slip_at = slip_at
        self._chances = 0

    @property
    def chances(self) -> int:
        """How many steps so far could have slipped."""
        return self._chances

    def slips(self) -> Random | None:
        """To be asked once by every step that can go wrong; the randomness of the mistake if this one does."""
        slipping = self._chances == self._slip_at
        self._chances += 1
        return self._rng if slipping else None

    def write(self, step: str) -> None:
        self.steps.append(step)

    def calc(self, left: int, op: str, right: int) -> int:
        """One arithmetic step, of which the result is written. Division rounds down, and by zero gives zero."""
        if op == "+":
            result = left + right
        elif op == "-":
            result = left - right
        elif op == "*":
            result = left * right
        else:
            result = left // right if right else 0
        if rng := self.slips():
            result = _misread(result, rng)
        self.write(str(result))
        return result

    def text(self, answer: str) -> str:
        """What each step found, the answer in place of the last: `83#66` for 38+45-17. Copies of operands would say nothing."""
        return ";".join(self.steps[:-1]) + MARKER + answer


def _misread(number: int, rng: Random) -> int:
    """The number with one digit wrong; its length is kept."""
    digits = list(str(abs(number)))
    at = rng.randrange(len(digits))
    allowed = "123456789" if at == 0 and len(digits) > 1 else "0123456789"
    digits[at] = rng.choice([digit for digit in allowed if digit != digits[at]])
    return int("".join(digits)) * (-1 if number < 0 else 1)


class Task(NamedTuple):
    """A problem before it has a split."""

    question: str
    key: str
    """Canonical: the same for every way of writing the same problem, such as swapped operands."""
    solve: Callable[[Work], str]
    """Writes the working and returns the final answer that follows from it, slips included."""
    metadata: Mapping[str, Any] = {}
    form: str | None = None
    """Canonical: the same for every problem that what was learned from this one solves too, such as other letters. Its hash
    assigns the split, so no form is in two. None where the problem is its own form."""


def _form(task: Task) -> str:
    return task.key if task.form is None else task.form


class Flawed(NamedTuple):
    solution: str
    answer: str
    """The flawed solution's own final answer; never the right one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Procedural:
    """A domain made by rule. `index` walks the chosen levels in turn, so any run of problems is balanced.

    A problem depends on its level and its place within the level only: leaving levels out changes no other problem.
    """

    name: str
    levels: Mapping[str, Callable[[Random], Task]]
    """Every level of the domain, easiest first."""
    chosen: tuple[str, ...] = ()
    """The levels that this source serves; empty for all of them."""
    split_of: Callable[[str], Split] = field(default=split_of)
    """The rule that assigns a form to its split."""
    held_out_per_level: int = HELD_OUT_PER_LEVEL
    answers: bool = True
    _made: dict[Split, Mapping[str, Sequence[Task]]] = field(default_factory=dict, init=False, repr=False)

    @property
    def domains(self) -> tuple[str, ...]:
        return (self.name,)

    def only(self, levels: Sequence[str] | None) -> Self:
        """The same domain with these levels; all of them for None."""
        if not isinstance(levels, list | tuple | None):
            raise ConfigError(
                f"levels of {self.name} is {levels!r}, and it takes a list. Write levels: [{', '.join(list(self.levels)[:2])}], for example."
            )
        wanted = tuple(map(str, levels or ()))
        if unknown := [level for level in wanted if level not in self.levels]:
            raise ConfigError(
                f"{self.name} has no level {unknown[0]!r}, so it can serve no problems of it. "
                f"Its levels: {', '.join(self.levels)}."
            )
        return replace(self, chosen=wanted)

    def size(self, split: Split) -> int | None:
        return None if split == "train" else self.held_out_per_level * len(self._chosen)

    def fingerprint(self) -> str:
        some = [self.problem(split, index).messages for split in SPLITS for index in range(4 * len(self._chosen))]
        return digest(self.name, self._chosen, self.held_out_per_level, some)

    def problem(self, split: Split, index: int) -> Problem:
        level, place = self._place(split, index)
        task = self._task(split, level, place)
        work = Work()
        answer = task.solve(work)
        return Problem(
            id=f"{self.name}/{split}/{level}/{place}",
            domain=self.name,
            messages=({"role": "user", "content": task.question},),
            verifier=self.name,
            answer=answer,
            solution=work.text(answer),
            level=level,
            metadata=task.metadata,
        )

    def key(self, split: Split, index: int) -> str:
        """The canonical key of that problem."""
        return self._task(split, *self._place(split, index)).key

    def flawed(self, split: Split, index: int, rng: Random) -> Flawed:
        """A solution of that problem with one slip and a wrong final answer."""
        task = self._task(split, *self._place(split, index))
        clean = Work()
        right = task.solve(clean)
        for _ in range(MAX_REJECTIONS):
            work = Work(rng, slip_at=rng.randrange(clean.chances))
            answer = task.solve(work)
            if answer != right:
                return Flawed(work.text(answer), answer)
        raise RuntimeError(f"no slip changes the answer of {task.question!r}; every step must matter")

    def form(self, split: Split, index: int) -> str:
        """The canonical form of that problem: what its split follows from."""
        return _form(self._task(split, *self._place(split, index)))

    @property
    def _chosen(self) -> tuple[str, ...]:
        return self.chosen or tuple(self.levels)

    def _place(self, split: Split, index: int) -> tuple[str, int]:
        """The level of that problem, and its place within the level."""
        size = self.size(split)
        if index < 0 or (size is not None and index >= size):
            raise IndexError(f"{self.name} {split} has no problem {index}; it holds {size}")
        place, level = divmod(index, len(self._chosen))
        return self._chosen[level], place

    def _task(self, split: Split, level: str, place: int) -> Task:
        if split == "train":
            return self._draw(split, level, place, set())
        return self._held_out(split)[level][place]

    def _held_out(self, split: Split) -> Mapping[str, Sequence[Task]]:
        """All problems of a finite split by level, made when first asked for. No key twice, also not in two levels."""
        if split in self._made:
            return self._made[split]
        tasks: dict[str, list[Task]] = {level: [] for level in self.levels}
        seen: set[str] = set()
        for level in self.levels:
            for place in range(self.held_out_per_level):
                task = self._draw(split, level, place, seen)
                tasks[level].append(task)
                seen.add(task.key)
        self._made[split] = tasks
        return tasks

    def _draw(self, split: Split, level: str, place: int, seen: Set[str]) -> Task:
        rng = Random(f"{self.name}/{split}/{level}/{place}")
        for _ in range(MAX_REJECTIONS):
            task = self.levels[level](rng)
            if task.key not in seen and self.split_of(f"{self.name}/{_form(task)}") == split:
                return task
        raise RuntimeError(
            f"{self.name} level {level} has too few problems for its {split} split: "
            f"none in {MAX_REJECTIONS} draws was new. Widen the level or lower held_out_per_level."
        )
