"""Problems from rows as they are: a file, a folder or a hub name, in any layout that is known or that one is told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rlzoo.anchoring import unplaced
from rlzoo.data import file_options
from rlzoo.data.file_options import FileOptions
from rlzoo.data.problems import Loaded, load
from rlzoo.data.source import SPLITS, Split, digest, split_of
from rlzoo.errors import DataError
from rlzoo.types import Problem


@dataclass(frozen=True, kw_only=True, eq=False)
class FileSource:
    """Problems held in memory, by split."""

    name: str
    by_split: Mapping[Split, Sequence[Problem]]
    described: str = ""

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(sorted({problem.domain for problems in self.by_split.values() for problem in problems}))

    @property
    def answers(self) -> bool:
        return all(problem.answer is not None for problems in self.by_split.values() for problem in problems)

    def size(self, split: Split) -> int:
        return len(self.by_split[split])

    def problem(self, split: Split, index: int) -> Problem:
        if not 0 <= index < self.size(split):
            raise IndexError(f"{self.name} {split} has no problem {index}; it holds {self.size(split)}")
        return self.by_split[split][index]

    def fingerprint(self) -> str:
        return self._fingerprint

    def describe(self) -> str:
        return self.described

    @cached_property
    def _fingerprint(self) -> str:
        return digest(
            self.name,
            [
                (split, p.id, p.messages, p.answer, unplaced(p.verifier), digest(p.metadata))
                for split in SPLITS
                for p in self.by_split[split]
            ],
        )


def source(path: str, **more: Any) -> FileSource:
    """The problems of a file, a folder or a hub name; options as in `FileOptions`.

    Where rows name a held-out split, they keep the split they name; else they are split by a hash of their prompt.
    DataError if more rows are bad than `skip_bad` allows, with counts and reasons.
    """
    wanted = file_options.parse({"path": path, **more})
    loaded = load(wanted)
    refuse_losses(loaded, wanted)
    by_split = divided(loaded, wanted)
    sizes = " / ".join(f"{len(by_split[split]):,}" for split in SPLITS)
    return FileSource(
        name=f"file:{loaded.name}", by_split=by_split, described=f"{loaded.line()}; train / validation / test {sizes}"
    )


def refuse_losses(loaded: Loaded, wanted: FileOptions) -> None:
    """DataError if more rows are bad than allowed, or if nothing is left."""
    lost = loaded.faults.total
    allowed = wanted.skip_bad if isinstance(wanted.skip_bad, bool) else wanted.skip_bad * loaded.rows
    if lost and (allowed is False or (allowed is not True and lost > allowed)):
        share = lost / loaded.rows
        raise DataError(
            f"{loaded.name}: {lost:,} of {loaded.rows:,} rows cannot be used:\n{loaded.faults.told()}\n"
            f"Repair them, or leave them out: skip_bad: true, or a share of all rows such as skip_bad: {share:.2g}. "
            "`rlzoo check data` tells more."
        )
    if not loaded.problems:
        why = f":\n{loaded.faults.told()}" if lost else "."
        raise DataError(f"{loaded.name} holds no rows that can be used, so there is nothing to train on{why}")


def divided(loaded: Loaded, wanted: FileOptions) -> dict[Split, list[Problem]]:
    """The problems by split."""
    by_split: dict[Split, list[Problem]] = {split: [] for split in SPLITS}
    held_out = any(split not in (None, "train") for _, _, split in loaded.problems)
    for _, problem, split in loaded.problems:
        if split is None or (split == "train" and not held_out and wanted.split is None):
            split = split_of(digest(problem.messages), test=wanted.test, validation=wanted.validation)
        by_split[split].append(problem)
    return by_split
