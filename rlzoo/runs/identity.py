"""What a run is and where its numbers come from: settings, code, machine, and fingerprints of all that arms must share. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import zip_longest
from typing import Any, Literal, Self

from rlzoo.errors import DataError

Role = Literal["objective", "sampler", "verifier", "curriculum"]


def settings_digest(settings: Mapping[str, Any]) -> str:
    """A fingerprint of resolved settings, as config.yaml holds them; their order does not matter."""
    return text_digest(json.dumps(settings, sort_keys=True, default=str))


def text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file that decides what a run computes: of its objective's classes, or of a sampler, verifier or curriculum from outside rlzoo."""

    role: Role
    name: str
    """The module, or a lone file's path."""
    text: str

    @property
    def digest(self) -> str:
        return text_digest(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What code ran in, as far as numbers depend on it."""

    python: str
    libraries: Mapping[str, str | None]
    machine: Mapping[str, Any]
    """Processor, threads, ranks."""
    device: str

    def changes(self, now: Surroundings) -> list[str]:
        """`entry: before -> now` for each that differs."""
        before, after = (dict(_leaves(asdict(each))) for each in (self, now))
        return [
            f"{entry}: {before.get(entry, 'absent')} -> {after.get(entry, 'absent')}"
            for entry in sorted(before.keys() | after.keys())
            if before.get(entry, "absent") != after.get(entry, "absent")
        ]


def _leaves(entries: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in entries.items():
        yield from (
            ((f"{name}.{part}", one) for part, one in value.items()) if isinstance(value, Mapping) else [(name, value)]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCode:
    """All code that a run would be carried out with now."""

    rlzoo: str
    """Version of this package."""
    package: Mapping[str, str]
    """Digest of each of its files, by path."""
    sources: tuple[SourceFile, ...]

    @property
    def digest(self) -> str:
        """Of the whole package."""
        return text_digest(json.dumps(self.package, sort_keys=True))

    def stretch(
        self, after_step: int, within: Surroundings | None = None, budget: Mapping[str, float] | None = None
    ) -> Stretch:
        return Stretch(
            after_step=after_step,
            rlzoo=self.rlzoo,
            code=self.digest,
            sources={source.name: source.digest for source in self.sources},
            within=within,
            budget=budget,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What code the steps after `after_step` ran with and in what, until the next stretch."""

    after_step: int
    rlzoo: str
    code: str
    """Digest of the package."""
    sources: Mapping[str, str]
    """Digest of each source file, by name."""
    within: Surroundings | None = None
    """None where it was not recorded."""
    budget: Mapping[str, float] | None = None
    """Limits that the run had then; a run that was extended has others from there on. None where they were not recorded."""
    at: str = ""
    """When it began, UTC to the second; empty where it was not recorded, as are the next two."""
    revision: str = ""
    """The commit that the package's files were of."""
    cores: int | None = None
    """Of the machine; nothing depends on them but the time."""

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        within, budget = data.get("within"), data.get("budget")
        return cls(
            after_step=int(data["after_step"]),
            rlzoo=str(data["rlzoo"]),
            code=str(data["code"]),
            sources={str(name): str(digest) for name, digest in data["sources"].items()},
            within=None
            if within is None
            else Surroundings(
                python=str(within["python"]),
                libraries=dict(within["libraries"]),
                machine=dict(within["machine"]),
                device=str(within["device"]),
            ),
            budget=None if budget is None else {str(axis): float(limit) for axis, limit in budget.items()},
            at=str(data.get("at") or ""),
            revision=str(data.get("revision") or ""),
            cores=None if data.get("cores") is None else int(data["cores"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What a comparison checks before it believes that two runs differ in their objective alone."""

    rlzoo: str
    code: str
    python: str
    libraries: Mapping[str, str | None]
    machine: Mapping[str, Any]
    device: str
    sampler: str
    initial_weights: str
    parameters: int
    tokenizer: str
    data: str
    order: str
    verifiers: str
    verdicts: Mapping[str, Mapping[str, Any]]
    """By verifier, its version and settings."""
    sandbox: str | None
    settings: str
    """Digest of config.yaml."""
    others: Mapping[str, str] = field(default_factory=dict)
    """Digest of the weights of each other model that the objective asks, by signal; empty where it was not recorded."""
    ran: tuple[Stretch, ...]
    """By step: one for the start, one more for each resumption."""

    @property
    def begun(self) -> Surroundings:
        """What its first step ran in."""
        return Surroundings(python=self.python, libraries=self.libraries, machine=self.machine, device=self.device)

    def moves(self) -> Iterator[tuple[int, Surroundings, Surroundings]]:
        """Where steps ran in something else than those before them: after which step, in what before and in what then."""
        before = self.begun
        for stretch in self.ran:
            if stretch.within is not None and stretch.within != before:
                yield stretch.after_step, before, stretch.within
                before = stretch.within

    def as_data(self) -> dict[str, Any]:
        """As provenance.json holds it."""
        return asdict(self)

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """What `as_data` gave; DataError names what is missing."""
        try:
            known = {each.name: data[each.name] for each in fields(cls) if each.name in data or each.name != "others"}
            known["ran"] = tuple(Stretch.read(stretch) for stretch in data["ran"])
            if not known["ran"]:
                raise ValueError("ran is empty")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"provenance.json cannot be read: {type(error).__name__} {error}. It was written by another version or changed since."
            ) from error
        return cls(**known)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChange:
    """The first line in which two texts differ; None where one has ended."""

    line: int
    before: str | None
    after: str | None

    def __str__(self) -> str:
        return f"line {self.line}: {_shown(self.before)} -> {_shown(self.after)}"


def _shown(line: str | None) -> str:
    if line is None:
        return "no such line"
    stripped = line.strip()
    return repr(stripped if len(stripped) <= 80 else f"{stripped[:77]}...")


def first_change(before: str, after: str) -> LineChange | None:
    """Where `after` first departs from `before`; None for equal texts."""
    pairs: Iterator[tuple[str | None, str | None]] = zip_longest(
        before.splitlines(keepends=True), after.splitlines(keepends=True)
    )
    for number, (one, other) in enumerate(pairs, 1):
        if one != other:
            return LineChange(line=number, before=one, after=other)
    return None
