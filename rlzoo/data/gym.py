"""Any data set of the reasoning-gym library as a source: `reasoning-gym` with `dataset="basic_arithmetic"`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import Any

import reasoning_gym
from reasoning_gym.factory import DATASETS

from rlzoo.data.source import SPLITS, Split, digest, split_of
from rlzoo.errors import DataError, UnknownName, did_you_mean
from rlzoo.types import Problem

INSTRUCTION = "\nGive your final answer after #."
HELD_OUT = 100
MAX_REJECTIONS = 2_000
STRIDE = 10**7
"""Indices of the library between two splits: no draw is shared, whatever its key."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GymSource:
    """Endless for training, finite for the rest. A question belongs to the split that its hash says, so none is in two."""

    dataset: str
    options: Mapping[str, Any]
    """The library's own settings of this data set."""
    domain: str
    instruction: str = INSTRUCTION
    seed: int = 0
    held_out: int = HELD_OUT
    answers: bool = True
    _finite: dict[Split, dict[str, dict[str, Any]]] = field(default_factory=dict, repr=False)
    _tried: dict[Split, int] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        return f"reasoning-gym:{self.dataset}"

    @property
    def domains(self) -> tuple[str, ...]:
        return (self.domain,)

    def size(self, split: Split) -> int | None:
        return None if split == "train" else self.held_out

    def fingerprint(self) -> str:
        library = version("reasoning-gym")
        first = self.problem("train", 0).messages
        return digest(self.name, library, sorted(self.options.items()), self.seed, self.held_out, first)

    def problem(self, split: Split, index: int) -> Problem:
        if index < 0 or (split != "train" and index >= self.held_out):
            raise IndexError(f"{self.name} {split} has no problem {index}; it holds {self.size(split)}")
        entry = self._train(index) if split == "train" else self._held_out(split, index)
        return Problem(
            id=f"{self.name}/{split}/{index}",
            domain=self.domain,
            messages=({"role": "user", "content": entry["question"] + self.instruction},),
            verifier="reasoning-gym",
            answer=None if entry["answer"] is None else str(entry["answer"]),
            metadata={"dataset": self.dataset, "entry": entry},
        )

    @cached_property
    def _generator(self) -> Any:
        return reasoning_gym.create_dataset(self.dataset, seed=self.seed, size=2**62, **self.options)

    def _train(self, index: int) -> dict[str, Any]:
        # Neighbouring indices of the library share a seed sequence, so rejected draws go far away.
        for attempt in range(MAX_REJECTIONS):
            entry = self._entry("train", index + attempt * 10**12)
            if entry is not None:
                return entry
        raise self._exhausted("train")

    def _held_out(self, split: Split, index: int) -> dict[str, Any]:
        """Made as far as asked for: some data sets take seconds an entry."""
        made = self._finite.setdefault(split, {})
        first = self._tried.get(split, 0)
        for at in range(first, first + MAX_REJECTIONS * (index + 1)):
            if len(made) > index:
                break
            self._tried[split] = at + 1
            entry = self._entry(split, at)
            if entry is not None:
                made.setdefault(entry["question"], entry)
        else:
            raise self._exhausted(split)
        return list(made.values())[index]

    def _entry(self, split: Split, at: int) -> dict[str, Any] | None:
        """The library's entry there, if its question belongs to the split."""
        entry: dict[str, Any] = self._generator[SPLITS.index(split) * STRIDE * 10**9 + at]
        return entry if split_of(f"{self.name}/{entry['question']}") == split else None

    def _exhausted(self, split: Split) -> DataError:
        return DataError(
            f"{self.name} has too few distinct questions for its {split} split of {self.size(split) or 'any size'}. "
            "Lower `held_out`, or widen the data set by its own options."
        )


def source(
    dataset: str,
    domain: str | None = None,
    instruction: str = INSTRUCTION,
    seed: int = 0,
    held_out: int = HELD_OUT,
    **options: Any,
) -> GymSource:
    """A reasoning-gym data set; `options` are the library's own for it. `domain` defaults to the data set's name."""
    if not isinstance(dataset, str) or dataset not in DATASETS:
        raise UnknownName(f"reasoning-gym has no data set {dataset!r}. {did_you_mean(str(dataset), DATASETS)}")
    made = GymSource(
        dataset=dataset,
        options=options,
        domain=domain or dataset,
        instruction=instruction,
        seed=seed,
        held_out=held_out,
    )
    try:
        made.problem("train", 0)
    except (TypeError, ValueError, AssertionError) as error:
        raise DataError(f"{made.name} refuses the options {options}: {error}") from error
    return made
