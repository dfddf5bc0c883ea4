"""Files to rows: JSONL, JSON, CSV, Parquet, Arrow. A row that cannot be read is told as a fault and reading goes on."""

import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rlzoo.data.rowfaults import RowFault, short
from rlzoo.errors import ConfigError, DataError

Row = Mapping[str, Any]
Numbered = tuple[int, Row | RowFault]
"""A row's number, counted from 1 as people count (in JSONL: the line), and the row or what is wrong with it."""

LONGEST_LINE = 1 << 28
"""Bytes of a line of JSONL: 256 MiB."""


def read(file: Path) -> Iterator[Numbered]:
    """Rows of a file, one after another. ConfigError where there is none, DataError where it cannot be read at all."""
    readers = _readers()
    if not file.is_file():
        raise ConfigError(f"{file} does not exist. Give the path of a {', '.join(readers)} file.")
    if file.suffix not in readers:
        raise DataError(f"{file.name} ends in {file.suffix!r}, which is not read. Use one of {', '.join(readers)}.")
    yield from readers[file.suffix](file)


def readable(file: Path) -> bool:
    """Whether the file's ending is one that is read."""
    return file.suffix in _readers()


def _readers() -> dict[str, Callable[[Path], Iterator[Numbered]]]:
    return {
        ".jsonl": _jsonl,
        ".ndjson": _jsonl,
        ".json": _json,
        ".csv": _csv,
        ".parquet": _parquet,
        ".arrow": _arrow,
    }


# ---------------------------------------------------------------------------------------------------------
# Text


def _jsonl(file: Path) -> Iterator[Numbered]:
    objects = _Objects()
    with file.open("rb") as lines:
        number = 0
        while line := lines.readline(LONGEST_LINE):
            number += 1
            if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                while (rest := lines.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                    pass
                yield number, RowFault(f"longer than {LONGEST_LINE >> 20} MiB")
            elif line.strip():
                yield number, _object(line, objects)


def _json(file: Path) -> Iterator[Numbered]:
    """A list of objects; or, as many files so named are, one object a line."""
    content = file.read_bytes()
    objects = _Objects()
    try:
        rows = json.loads(content, object_pairs_hook=objects.made)
    except (ValueError, RecursionError) as fault:
        if content.lstrip().startswith(b"{"):
            yield from _jsonl(file)
            return
        raise DataError(f"{file.name}: no JSON ({_line(fault)}). Rows one a line belong in a .jsonl file.") from fault
    if not isinstance(rows, list):
        raise DataError(f"{file.name} holds {type(rows).__name__}, expected a list of objects, one a row.")
    for number, row in enumerate(rows, 1):
        yield number, objects.twice_in(row) or _mapping(row)


def _object(line: bytes, objects: "_Objects") -> Row | RowFault:
    objects.twice.clear()
    try:
        row = objects.decode(line.decode("utf-8-sig"))
        return objects.twice_in(row) or _mapping(row)
    except UnicodeDecodeError as fault:
        return RowFault("not UTF-8", str(fault.reason))
    except (ValueError, RecursionError) as fault:
        return RowFault("no JSON", _line(fault))


class _Objects:
    """Makes the objects of JSON, and remembers those that say two things under one key, of which `json` keeps the last."""

    def __init__(self) -> None:
        self.twice: dict[int, tuple[object, RowFault]] = {}
        """By identity of the object, which is kept so that no other takes its identity."""
        self.decode = json.JSONDecoder(object_pairs_hook=self.made).decode

    def made(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            for key, value in pairs:
                if repr(value) != repr(found[key]):
                    told = f"{short(key)!r} is {short(value)[:60]!r} and then {short(found[key])[:60]!r}; keep the right one"
                    self.twice[id(found)] = (found, RowFault("a key twice in one object, with two values", told))
                    break
        return found

    def twice_in(self, row: object) -> RowFault | None:
        """The fault of an object anywhere within the row; looked for only where there is one."""
        waiting = [row] if self.twice else []
        while waiting:
            value = waiting.pop()
            if id(value) in self.twice:
                return self.twice[id(value)][1]
            waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return None


def _mapping(row: object) -> Row | RowFault:
    if not isinstance(row, dict):
        return RowFault("no object", f"holds {type(row).__name__}, expected an object with a 'prompt'")
    return row


def _csv(file: Path) -> Iterator[Numbered]:
    """The first line names the columns. An empty cell is no value. Rows are counted without that line."""
    csv.field_size_limit(sys.maxsize)
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        table = csv.reader(lines)
        number, head = 0, next(table, None)
        if head is None:
            return
        if len(set(head)) != len(head):
            raise DataError(f"{file.name} names a column twice: {', '.join(head)}. Rename one of them.")
        while True:
            number += 1
            try:
                cells = next(table)
            except StopIteration:
                return
            except csv.Error as fault:
                yield number, RowFault("no CSV", _line(fault))
                continue
            if not cells:
                continue
            if len(cells) != len(head):
                yield number, RowFault("more or fewer cells than columns", f"{len(cells)} cells, {len(head)} columns")
            elif any("\udc80" <= character <= "\udcff" for cell in cells for character in cell if character > "\ud7ff"):
                yield number, RowFault("not UTF-8")
            else:
                yield number, {name: cell or None for name, cell in zip(head, cells, strict=True)}


# ---------------------------------------------------------------------------------------------------------
# Arrow


def _parquet(file: Path) -> Iterator[Numbered]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(file)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as fault:
        raise DataError(
            f"{file.name}: no readable Parquet ({_line(fault)}). A file that was cut off has lost its index, and with it "
            "every row; copy it again."
        ) from fault
    number = 0
    for group in range(table.num_row_groups):
        last = number + table.metadata.row_group(group).num_rows
        try:
            for batch in table.iter_batches(batch_size=1024, row_groups=[group]):
                for row in _rows(batch):
                    number += 1
                    yield number, row
        except (pyarrow.ArrowException, OSError) as fault:  # a damaged page costs the rest of its row group
            for lost in range(number + 1, last + 1):
                yield lost, RowFault("in a damaged part of the file", _line(fault))
        number = last


def _arrow(file: Path) -> Iterator[Numbered]:
    """Arrow's file or stream format; `datasets` saves the latter."""
    import pyarrow
    import pyarrow.ipc

    number = 0
    try:
        with pyarrow.memory_map(str(file)) as content:
            try:
                table = pyarrow.ipc.open_file(content)
                batches = (table.get_batch(at) for at in range(table.num_record_batches))
            except pyarrow.ArrowInvalid:
                content.seek(0)
                batches = iter(pyarrow.ipc.open_stream(content))
            for batch in batches:
                for row in _rows(batch):
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, OSError) as fault:
        raise DataError(
            f"{file.name}: no readable Arrow after row {number} ({_line(fault)}). Copy it again."
        ) from fault


def _rows(batch: Any) -> Iterator[Row | RowFault]:
    """The rows of a record batch. Text that is not UTF-8 is found by decoding, so then row by row."""
    try:
        yield from batch.to_pylist()
        return
    except UnicodeDecodeError:
        pass
    for at in range(batch.num_rows):
        try:
            yield batch.slice(at, 1).to_pylist()[0]
        except UnicodeDecodeError as fault:
            yield RowFault("not UTF-8", str(fault.reason))


def _line(fault: BaseException) -> str:
    return (str(fault).splitlines() or [type(fault).__name__])[0]
