"""The setup box: what was trained, on what, with which code, where and when. Entries in which runs differ say whose is which."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from rlzoo.evals.analysis import Comparison
from rlzoo.evals.records import Record
from rlzoo.evals.validity.result import members, tell

UNKNOWN = "not recorded"


def entries(comparison: Comparison) -> list[tuple[str, str]]:
    """Label and text, the command that does it again left to the reader of the spec."""
    records = [record for record in members(comparison.records) if record.settings]
    found = [(label, _of_all(records, value)) for label, value in ENTRIES.items()]
    dates = sorted(
        stretch.at for record in records if record.provenance for stretch in record.provenance.ran if stretch.at
    )
    seeds = ", ".join(str(seed) for seed in comparison.spec.seeds)
    return [
        *found,
        ("date", UNKNOWN if not dates else dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"),
        ("seeds", seeds),
    ]


def _of_all(records: Iterable[Record], value: Callable[[Record], str]) -> str:
    """What all runs share; else each value with the runs that have it."""
    found = {record.name: value(record) for record in records}
    known = {name: text for name, text in found.items() if text != UNKNOWN}
    if len(set(known.values())) == 1 and len(known) == len(found):
        return next(iter(known.values()))
    return tell(_by_arm(records, found)) if known else UNKNOWN


def _by_arm(records: Iterable[Record], found: Mapping[str, str]) -> dict[str, str]:
    """By arm where all of an arm's runs agree, else by run."""
    arms: dict[str, list[Record]] = {}
    for record in records:
        arms.setdefault(record.arm, []).append(record)
    named: dict[str, str] = {}
    for arm, mine in arms.items():
        same = len({found[record.name] for record in mine}) == 1
        named |= {arm: found[mine[0].name]} if same else {record.name: found[record.name] for record in mine}
    return named


def _setting(record: Record, path: str) -> Any:
    return record.settings.get(path, UNKNOWN)


def _model(record: Record) -> str:
    dtype = _setting(record, "model.dtype")
    return f"{_setting(record, 'model.path')}{f', {dtype}' if dtype != UNKNOWN else ''}"


def _parameters(record: Record) -> str:
    return f"{record.provenance.parameters:,}" if record.provenance else UNKNOWN


def _data(record: Record) -> str:
    sources = _setting(record, "data.sources")
    if not isinstance(sources, list):
        return UNKNOWN
    return ", ".join(_source(source) for source in sources if isinstance(source, Mapping)) or UNKNOWN


def _source(source: Mapping[str, Any]) -> str:
    """A dataset's name, a file's own, and its weight where it has one beside 1."""
    options = source.get("options") or {}
    path = options.get("path") or options.get("dataset") if isinstance(options, Mapping) else None
    weight = source.get("weight", 1.0)
    return f"{path or source.get('name', '?')}{f' × {weight:g}' if weight != 1.0 else ''}"


def _learning(record: Record) -> str:
    schedule = _setting(record, "learner.schedule")
    rate = _setting(record, "learner.lr")
    rate = f"{rate:g}" if isinstance(rate, float) else str(rate)
    return f"{rate}{f', {schedule}' if schedule != UNKNOWN else ''}"


def _batch(record: Record) -> str:
    prompts, group = _setting(record, "sampling.prompts_per_step"), _setting(record, "sampling.group_size")
    if not isinstance(prompts, int) or not isinstance(group, int):
        return UNKNOWN
    updates = _setting(record, "learner.updates_per_step")
    told = f"{prompts} prompts × {group} rollouts = {prompts * group} a step"
    return f"{told}, {updates} update{'s' * (updates != 1)}" if isinstance(updates, int) else told


def _length(record: Record) -> str:
    return f"at most {_setting(record, 'sampling.max_response')} tokens"


def _machine(record: Record) -> str:
    origin = record.provenance
    if origin is None:
        return UNKNOWN
    cores, ranks = origin.ran[0].cores, origin.machine.get("ranks", 1)
    threads = origin.machine.get("threads", "?")
    parts = [
        "cpu" if origin.device == "cpu" else origin.device,
        str(origin.machine.get("cpu", "")),
        f"{threads} thread{'s' * (threads != 1)}{f' of {cores} cores' if cores else ''}",
        f"{ranks} processes" if ranks != 1 else "",
    ]
    return ", ".join(part for part in parts if part)


def _versions(record: Record) -> str:
    origin = record.provenance
    if origin is None:
        return UNKNOWN
    libraries = [f"{name} {origin.libraries[name]}" for name in ("torch", "transformers") if origin.libraries.get(name)]
    return ", ".join([f"rlzoo {origin.rlzoo}", f"python {origin.python}", *libraries])


def _code(record: Record) -> str:
    """Of the steps from the first on: digests of the package, with the commit where it was a checkout."""
    if record.provenance is None:
        return UNKNOWN
    told = [f"{each.code}{f' (git {each.revision})' if each.revision else ''}" for each in record.provenance.ran]
    return ", then ".join(dict.fromkeys(told))


ENTRIES: Mapping[str, Callable[[Record], str]] = {
    "model": _model,
    "parameters": _parameters,
    "data": _data,
    "learning rate": _learning,
    "batch": _batch,
    "response length": _length,
    "machine": _machine,
    "versions": _versions,
    "code": _code,
}


def again(record: Record) -> str:
    """The command that makes a run of the same settings."""
    return shlex.join(["rlzoo", "train", "--config", str(Path(record.run.path) / "config.yaml")])
