"""A run's records at a resumption: those of the checkpoint's step, made whole from its copy of them, with every loss named.

Each checkpoint holds the lines that were written up to it, in trainer/records/, and a digest of every other file of a step.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlzoo.errors import DataError
from rlzoo.runs.evaluation import Evaluation
from rlzoo.runs.folder import RunDir, numbers, write_text

DIGESTS = "digests.json"
_LEFT_BEHIND = re.compile(r"\..+\.[a-z0-9_]{8}")
"""Names of the files that `write_text` fills before it puts them in their place."""


def left_behind(folder: Path) -> list[Path]:
    """Files of a writer that was killed before it could put them in their place."""
    return [path for path in folder.glob(".*") if _LEFT_BEHIND.fullmatch(path.name) and path.is_file()]


def keep(run: RunDir, folder: Path, known: Mapping[str, str], before: Path | None) -> dict[str, str]:
    """Copy the run's lines into `folder`, and the digests of its files of steps. `known`: those that were taken before.

    `before`: where the last checkpoint keeps its copy. Lines that it holds are taken from there, so that only new ones are read, and
    one that was damaged since is not lost.
    """
    folder.mkdir(parents=True)
    for file in run.records:
        held = _bytes(before / file.name) if before is not None else b""
        (folder / file.name).write_bytes(held + _beyond(file, held))
    digests = {name: known.get(name) or digest(run.path / name) for name in _of_steps(run)}
    (folder / DIGESTS).write_text(json.dumps(digests, indent=0), encoding="utf-8")
    return digests


def _beyond(file: Path, held: bytes) -> bytes:
    """Lines of `file` that a copy of its beginning does not hold."""
    text = _bytes(file)
    if text.startswith(held):
        lines = list(_lines(text[len(held) :], file.name))
    else:
        known = {_key(line) for _, line in _lines(held, file.name)}
        lines = [(raw, line) for raw, line in _lines(text, file.name) if _key(line) not in known]
    return "".join(f"{raw}\n" for raw, _ in lines).encode()


def kept(folder: Path) -> dict[str, str]:
    """The digests that a checkpoint holds; none in one that holds no records."""
    file = folder / DIGESTS
    found: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return found


def rewind(run: RunDir, step: int, folder: Path | None) -> list[str]:
    """Forget what was recorded after `step` and mend what was recorded before, so that a resumed run goes on as if nothing had
    happened. `folder`: the records that the checkpoint of `step` holds, if it holds any. In words, what had been lost."""
    folder = folder if folder is not None and folder.is_dir() else None
    for place in (run.path, run.path / "code"):
        for file in left_behind(place):
            file.unlink()
    told: list[str] = []
    for file in run.records:
        told += _mend(file, folder / file.name if folder is not None else None, step)
    told += _gaps(run, step)
    for name in _of_steps(run):
        if _step_of(name) > step:
            (run.path / name).unlink()
    for unfinished in ("rollouts/*.partial", "evals/*.partial", "representations/*.partial.npz"):
        for file in run.path.glob(unfinished):
            file.unlink()
    return [*told, *_lost(run, kept(folder) if folder is not None else {})]


def digest(file: Path) -> str:
    """SHA-256 of a file, in hex."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _mend(file: Path, copy: Path | None, step: int) -> list[str]:
    """Put the lines up to `step` into `file`, those of the copy first; in words, how many it had lost."""
    there = {_key(line): raw for raw, line in whole(file) if line["step"] <= step}
    lines = {_key(line): raw for raw, line in whole(copy)} if copy is not None else {}
    lost = len(lines.keys() - there.keys())
    # What the copy cannot hold: evaluations of the step itself, made once it was saved.
    lines |= {key: raw for key, raw in there.items() if key not in lines and (copy is None or key[1] == step)}
    text = "".join(f"{raw}\n" for raw in lines.values())
    if (file.read_bytes() if file.exists() else b"") != text.encode():
        write_text(file, text)
    return [f"{file.name} had lost {lost} of its lines; they were restored from the checkpoint."] if lost else []


def whole(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Lines that are what a run writes, as text and as data; each step's, or each split's at a step, once."""
    return _lines(_bytes(file), file.name)


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""


def _lines(text: bytes, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    read: Callable[[dict[str, Any]], object] = (
        Evaluation.read if name == "evals.jsonl" else lambda line: numbers(line, Path(name))
    )
    if name == "diagnostics.jsonl":
        read = dict
    seen: set[tuple[str, int]] = set()
    for raw in text.split(b"\n"):
        try:
            line = json.loads(raw)
            read(line)
            unseen = isinstance(line["step"], int) and _key(line) not in seen
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, DataError):
            continue
        if unseen:
            seen.add(_key(line))
            yield raw.decode(), line


def _key(line: Mapping[str, Any]) -> tuple[str, int]:
    return str(line.get("split", "")), line["step"]


def _gaps(run: RunDir, step: int) -> list[str]:
    """Steps that neither the file nor the checkpoint still knows."""
    missing = sorted(set(range(1, step + 1)) - {int(line["step"]) for _, line in whole(run.metrics_file)})
    return [f"the metrics of {_listed(missing)} are lost; no checkpoint holds them."] if missing else []


def _lost(run: RunDir, digests: Mapping[str, str]) -> list[str]:
    """Which files of steps are no longer what was written, in words."""
    gone: dict[str, list[int]] = {}
    for name, known in digests.items():
        file = run.path / name
        if not file.is_file() or digest(file) != known:
            gone.setdefault(name.partition("/")[0], []).append(_step_of(name))
    return [
        f"the {kind} of {_listed(sorted(steps))} are missing or damaged and cannot be made again; training goes on as it would have."
        for kind, steps in gone.items()
    ]


def _of_steps(run: RunDir) -> Iterable[str]:
    """Files that belong to a step each, by their path in the run."""
    for pattern in ("rollouts/step-*.parquet", "evals/*-*.parquet", "representations/step-*.npz"):
        for path in sorted(run.path.glob(pattern)):
            if re.fullmatch(r"[a-z]+-\d{6,}", path.stem) and path.is_file():
                yield str(path.relative_to(run.path))


def _step_of(name: str) -> int:
    return int(Path(name).stem.rpartition("-")[2])


def _listed(steps: Sequence[int]) -> str:
    few = ", ".join(map(str, steps[:5]))
    return f"step{'s' if len(steps) > 1 else ''} {few}{f' and {len(steps) - 5} more' if len(steps) > 5 else ''}"
