"""A run on disk: what training writes and everything else reads. No torch.

config.yaml        resolved settings
provenance.json    code, versions, machine, hashes of weights, tokenizer, data and verifiers
metrics.jsonl      one object a step; names as in `rlzoo.metrics`
evals.jsonl        one object an evaluation, with every problem's verdicts
evals/             test-000020.parquet: the responses of an evaluation, tokens, text and verdict
rollouts/          step-000001.parquet: tokens, text, verdict, reward, advantages, per-token scales
checkpoints/       step-000020/ (a `save_pretrained` folder) and step-000020/trainer/, with the lines of all records up to it
code/              the source files that decided its numbers, and digests of the whole package
status.json        running, done, failed or interrupted; why; how to resume; what stands in the way of learning
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlzoo import configure
from rlzoo.errors import DataError
from rlzoo.runs import durable
from rlzoo.runs.evaluation import Evaluation
from rlzoo.runs.identity import Provenance, RunCode, Stretch, first_change
from rlzoo.runs.lock import place

if TYPE_CHECKING:
    import pyarrow as pa

    from rlzoo.config import RunConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """How far a run is, as status.json holds it."""

    state: str = "unknown"
    """running, done, failed or interrupted; unknown where nothing was written."""
    step: int | None = None
    reason: str = ""
    place: str = ""
    """Where it was written, as `lock.place` names it."""
    warnings: tuple[str, ...] = ()
    """What stood in the way of learning when it was written."""


@dataclass(frozen=True, slots=True)
class RunDir:
    """One run's folder. Reading never changes it; every write is whole or absent."""

    path: Path

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def evals_file(self) -> Path:
        return self.path / "evals.jsonl"

    @property
    def diagnostics_file(self) -> Path:
        return self.path / "diagnostics.jsonl"

    @property
    def records(self) -> tuple[Path, ...]:
        """Files that a run appends lines to."""
        return self.metrics_file, self.evals_file, self.diagnostics_file

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def exists(self) -> bool:
        """True if a run was started here."""
        return (self.path / "config.yaml").is_file()

    def config(self) -> RunConfig:
        return configure.validate(configure.read_file(self.path / "config.yaml"))

    def settings(self) -> dict[str, Any]:
        """The resolved settings as plain data; no objective is loaded for it."""
        return configure.read_file(self.path / "config.yaml")

    def provenance(self) -> Provenance | None:
        """None where the run never began."""
        data = _read_object(self.path / "provenance.json")
        return Provenance.read(data) if data else None

    def status(self) -> RunStatus:
        data = _read_object(self.path / "status.json")
        step = data.get("step")
        return RunStatus(
            state=str(data.get("state", "unknown")),
            step=step if isinstance(step, int) else None,
            reason=str(data.get("reason") or ""),
            place=str(data.get("place") or ""),
            warnings=tuple(str(text) for text in data.get("warnings") or ()),
        )

    def metrics(self) -> list[dict[str, float]]:
        """One mapping a step, in order, `step` among its numbers; those that were not finite are left out.

        A last line cut short by a kill is left out too.
        """
        return [numbers(line, self.metrics_file) for line in read_lines(self.metrics_file)]

    def evaluations(self) -> list[Evaluation]:
        """All that were recorded, in order of writing, on whatever split."""
        return [Evaluation.read(record) for record in read_lines(self.evals_file)]

    def rollout_steps(self) -> list[int]:
        return _steps((self.path / "rollouts").glob("step-*.parquet"))

    def rollouts_file(self, step: int) -> Path:
        return self.path / "rollouts" / f"step-{step:06d}.parquet"

    def rollouts(self, step: int) -> list[dict[str, Any]]:
        return _read_rows(self.rollouts_file(step))

    def answered(self, split: str) -> list[int]:
        """Steps whose evaluation on `split` has its responses here."""
        files = (self.path / "evals").glob(f"{split}-??????.parquet")
        return sorted(int(file.stem.removeprefix(f"{split}-")) for file in files)

    def answers_file(self, split: str, step: int) -> Path:
        return self.path / "evals" / f"{split}-{step:06d}.parquet"

    def answers(self, split: str, step: int) -> list[dict[str, Any]]:
        """The responses of an evaluation, one row each."""
        return _read_rows(self.answers_file(split, step))

    def checkpoint_steps(self) -> list[int]:
        """Steps that have a checkpoint folder, oldest first; says nothing about their health."""
        return _steps(path for path in self.checkpoints.glob("step-*") if path.is_dir())

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:06d}"

    # -- the code that made it ------------------------------------------------------------------------------

    def keep_code(self, code: RunCode) -> None:
        """Keep the source files, so that a later reader can say in which line they have changed."""
        for source in code.sources:
            file = self._source(source.name, source.digest)
            if not file.exists():
                write_text(file, source.text)
        write_text(self._package(code.digest), dumps(code.package) + "\n")

    def changes(self, ran: Stretch, now: RunCode) -> list[str]:
        """Where the code that a stretch of this run was made with differs from what it would be made with `now`; empty if nowhere."""
        fresh = {source.name: source for source in now.sources}
        changed = []
        for name in dict.fromkeys([*ran.sources, *fresh]):
            digest, source = ran.sources.get(name), fresh.get(name)
            if digest is None or source is None:
                changed.append(f"{name}: {'was not part of it' if digest is None else 'is no longer part of it'}")
            elif digest != source.digest:
                changed.append(f"{name}{self._change(name, digest, source.text)}")
        if ran.code != now.digest:
            changed += [f"rlzoo/{name}" for name in self._package_changes(ran.code, now) if not _told(name, ran)]
        return changed

    def source(self, name: str, digest: str) -> str | None:
        """The text of a source file as this run had it; None where it was not kept."""
        try:
            return self._source(name, digest).read_text(encoding="utf-8")
        except OSError:
            return None

    def _change(self, name: str, digest: str, text: str) -> str:
        before = self.source(name, digest)
        return ": its source was not kept" if before is None else f", {first_change(before, text)}"

    def _package_changes(self, digest: str, now: RunCode) -> list[str]:
        before = _read_object(self._package(digest))
        if not before:
            return ["its files (which ones was not kept)"]
        return [
            name for name in sorted(before.keys() | now.package.keys()) if before.get(name) != now.package.get(name)
        ]

    def _source(self, name: str, digest: str) -> Path:
        plain = re.sub(r"[^A-Za-z0-9_.]+", "-", name.removesuffix(".py")).strip("-.")[-60:]
        return self.path / "code" / f"{plain}-{digest}.py"

    def _package(self, digest: str) -> Path:
        return self.path / "code" / f"rlzoo-{digest}.json"

    # -- writing --------------------------------------------------------------------------------------------

    def write_provenance(self, provenance: Provenance) -> None:
        write_json(self.path / "provenance.json", provenance.as_data())

    def write_status(self, state: str, warnings: Sequence[str] | None = None, **more: Any) -> None:
        """With what stands in the way of learning; None leaves what was said of that. In place where there is no room for another
        file: then above all it must be told."""
        if warnings is None:
            with suppress(DataError):
                warnings = self.status().warnings
        file, data = (
            self.path / "status.json",
            {"state": state, "place": place(), **more, "warnings": list(warnings or ())},
        )
        try:
            write_json(file, data)
        except OSError:
            if not file.exists():
                raise
            durable.overwrite(file, _pretty(data))

    def write_rollouts(self, step: int, table: pa.Table) -> None:
        _write_table(self.rollouts_file(step), table)

    def write_answers(self, split: str, step: int, table: pa.Table) -> None:
        """Replaces what an evaluation left that was cut off before its line of evals.jsonl."""
        _write_table(self.answers_file(split, step), table)

    def write_arrays(self, step: int, arrays: Mapping[str, Any]) -> None:
        """Embeddings of a step's rollouts, with their domain and correctness."""
        import numpy as np

        target = self.path / "representations" / f"step-{step:06d}.npz"
        durable.make_folder(target.parent)
        partial = target.with_suffix(".partial.npz")
        np.savez_compressed(partial, **arrays)
        durable.put(partial, target)


def _read_rows(file: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    try:
        rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's own errors are among them
        raise DataError(
            f"{file} cannot be read: {str(error).splitlines()[0]} The file was changed or damaged after the run; "
            "choose another step with --step."
        ) from error
    return rows


def _write_table(target: Path, table: pa.Table) -> None:
    import pyarrow.parquet as pq

    durable.make_folder(target.parent)
    partial = target.with_suffix(".partial")
    pq.write_table(table, partial)
    durable.put(partial, target)


def _steps(paths: Iterable[Path]) -> list[int]:
    """The steps that files or folders are named by, in order; other names are nobody's."""
    found = (re.fullmatch(r"step-(\d{6,})", path.name.partition(".")[0]) for path in paths)
    return sorted(int(match[1]) for match in found if match)


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append one JSON object as a line, on disk when this returns. Numbers that are not finite become null."""
    new = not path.exists()
    with path.open("a", encoding="utf-8") as file:
        file.write(dumps(record) + "\n")
        file.flush()
        os.fsync(file.fileno())
    if new:
        durable.sync(path.parent)


def dumps(data: object) -> str:
    """JSON in one line of ASCII. Numbers that are not finite become null."""
    return json.dumps(_finite(data), allow_nan=False)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a JSONL file. A last line without its end is left out; any other broken line raises DataError."""
    if not path.exists():
        return
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        if number == len(lines):  # no newline after it: the writer was killed
            return
        try:
            found = json.loads(line)
        except ValueError as error:
            raise DataError(
                f"{path} line {number} is not JSON: {error}. The file was changed or damaged after the run."
            ) from error
        if not isinstance(found, dict):
            raise DataError(
                f"{path} line {number} holds {type(found).__name__}, expected an object. The file was changed or damaged after the run."
            )
        yield found


def write_text(path: Path, text: str) -> None:
    """Replace a file's content at once: readers see the old or the new, never a part."""
    durable.make_folder(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, 0o644)
        durable.put(Path(name), path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    write_text(path, _pretty(data))


def _pretty(data: Mapping[str, Any]) -> str:
    return json.dumps(_finite(data), indent=2, sort_keys=True) + "\n"


def _told(file: str, ran: Stretch) -> bool:
    """Whether a file of the package is one of the objective's own, which are told with their lines."""
    return f"rlzoo.{file.removesuffix('.py').replace('/', '.')}" in ran.sources


def numbers(line: Mapping[str, Any], file: Path) -> dict[str, float]:
    """A line of metrics.jsonl without what was not finite; DataError where it is none."""
    found = {name: value for name, value in line.items() if value is not None}
    for name, value in found.items():
        if not isinstance(value, (int, float)):
            raise DataError(
                f"{file} holds {value!r} for {name}, expected a number. The file was changed or damaged after the run."
            )
    if "step" not in found:
        raise DataError(f"{file} holds a line without its step. The file was changed or damaged after the run.")
    return found


def _read_object(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    if not isinstance(data, dict):
        raise DataError(f"{path} holds {type(data).__name__}, expected an object.")
    return data


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(item) for item in value]
    return value
