"""Do the quick tests notice a mistake? One-line mistakes drawn by a seed, each tried in a copy of the tree.

    make campaign-mutants                              (seed 61, 60 mistakes; ARGS="--seed 62 --count 30" for others)

A third of the mistakes each from engine, objectives and statistics (`benchmarks/mutant_operators.py`): a line of code of the
area, all lines as likely, then one of the mistakes that can be made on it. The list is written under `runs/mutants`
before any is tried, and the table after; with `--keep` both go to `benchmarks/mutants/`, beside what is committed. Those that
change no outcome are struck by hand in `benchmarks/mutants/equivalent.txt`, a line each: the mistake's id, then the reason. Each
of the others is tried against the quick tests that run its line, those that run little else first, within a minute: a failing
test notices it, and so does its module if it no longer imports; no test, no failure and no end within the minute do not. Where no
quick test runs the line, tests/scale may (`benchmarks/mutant_scale.py`), and the table says so. At the end the tests that noticed
something run once without any mistake: what one notices that fails then too is not counted. Ends with 1 where fewer than nine in
ten are noticed.

Which test runs which line is recorded once, with the tests as they are in the copy (`benchmarks/mutant_lines.py`), and kept
under `runs/mutants`; afterwards only test files that changed are recorded again, unless a watched module changed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.mutant_operators import AREAS, Mutant, mutants, watched
from benchmarks.mutant_process import LIMIT_S, ROOT, copied, environment, load_libraries, run
from benchmarks.mutant_scale import ScaleTests

LISTS = ROOT / "benchmarks" / "mutants"
WORK = ROOT / "runs" / "mutants"
QUICK = ("-m", "not long and not gpu and not scale", "-n", "0", "-p", "no:cacheprovider")
WITHIN_S = 40.0
"""How long the chosen tests took when they were recorded, at most; the rest of the minute is for what they load."""
TOGETHER = 6
"""Test files that are recorded in one process; what is recorded is kept after each."""
GOAL = 0.9

Recorded = Mapping[str, Mapping[str, Any]]
"""By test: its seconds, and the lines it runs by file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What became of one mistake."""

    mutant: Mutant
    outcome: str
    """noticed, survived, untested (no quick test runs the line), late, or struck."""
    by: str = ""
    """The test that noticed, or why it was struck."""
    tests: int = 0
    seconds: float = 0.0


def drawn(found: Sequence[Mutant], seed: int, count: int) -> list[Mutant]:
    """`count` mistakes on as many lines, areas in turn: a line of the area, then one of its mistakes."""
    by_line: dict[str, dict[tuple[str, int], list[Mutant]]] = {area: defaultdict(list) for area in AREAS}
    for one in found:
        by_line[one.area][one.path, one.line].append(one)
    dice = random.Random(seed)
    areas = [*AREAS] * (count // len(AREAS) + 1)
    picked = []
    for area in areas[:count]:
        line = dice.choice(sorted(by_line[area]))
        picked.append(dice.choice(by_line[area].pop(line)))
    return picked


def tests_of(mutant: Mutant, recorded: Recorded, within_s: float) -> list[str]:
    """Tests that run the mistake's statement, those with the fewest lines first, as many as fit.

    What runs at import shows in whoever reads it, which needs to run no line of the module: after tests that do come all others.
    """

    def reach(test: str) -> int:
        return sum(map(len, recorded[test]["lines"].values()))

    def runs(test: str) -> bool:
        lines = recorded[test]["lines"].get(mutant.path, ())
        return bool(lines) if mutant.imported else any(mutant.first <= line <= mutant.last for line in lines)

    known = any(map(runs, recorded))
    chosen: list[str] = []
    spent = 0.0
    for test in sorted(recorded, key=lambda test: (not runs(test), reach(test), test)):
        takes = recorded[test]["seconds"]
        if (runs(test) or (mutant.imported and known)) and (not chosen or spent + takes <= within_s):
            chosen.append(test)
            spent += takes
    return chosen


def recorded_in(copy: Path, store: Path, patterns: Sequence[str]) -> Recorded:
    """Lines by test: from `store` where they are still true, and recorded in the copy where not."""
    watched_now = _hash(copy / name for name in sorted([*watched(copy), "tests/conftest.py", "tests/support.py"]))
    found = sorted({path for pattern in patterns for path in (copy / "tests").glob(f"{pattern}.py")})
    files = {f"tests/{path.name}": _hash([path]) for path in found}
    kept: dict[str, Any] = json.loads(store.read_text()) if store.exists() else {}
    if kept.get("watched") != watched_now:
        kept = {"watched": watched_now, "files": {}, "tests": {}}
    stale = [name for name, now in files.items() if kept["files"].get(name) != now]
    told = copy / "lines.json"
    for at in range(0, len(stale), TOGETHER):
        names = stale[at : at + TOGETHER]
        print(
            f"Recording which lines {len(names)} test files run, {len(stale) - at} to go: {' '.join(names)}", flush=True
        )
        told.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "-p", "benchmarks.mutant_lines", *QUICK, *names]
        subprocess.run(command, cwd=copy, env=environment(copy) | {"RLZOO_LINES": str(told)}, check=False)
        kept["tests"] = {test: said for test, said in kept["tests"].items() if test.partition("::")[0] not in names}
        kept["tests"] |= json.loads(told.read_text())
        kept["files"] |= {name: files[name] for name in names}
        store.parent.mkdir(parents=True, exist_ok=True)
        store.write_text(json.dumps(kept), encoding="utf-8")
    return {test: said for test, said in kept["tests"].items() if test.partition("::")[0] in files}


@contextlib.contextmanager
def applied(mutant: Mutant, copy: Path) -> Iterator[None]:
    """The copy with the mistake in it; as before afterwards."""
    file = copy / mutant.path
    source = file.read_bytes()
    file.write_bytes(mutant.applied(source))
    try:
        yield
    finally:
        file.write_bytes(source)


def tried_at_scale(mutant: Mutant, copy: Path, scale: ScaleTests) -> Tried:
    """What tests/scale say of a line that no quick test runs."""
    tests = scale.of(mutant.path)
    if not tests:
        return Tried(mutant=mutant, outcome="untested")
    began = time.monotonic()
    with applied(mutant, copy):
        by = scale.noticed(tests)
    seconds = round(time.monotonic() - began, 1)
    outcome = "late" if by is None else "noticed" if by else "survived"
    return Tried(mutant=mutant, outcome=outcome, by=by or "", tests=len(tests), seconds=seconds)


def tried(mutant: Mutant, copy: Path, recorded: Recorded, within_s: float = WITHIN_S) -> Tried:
    """The chosen tests with the mistake in the copy, which is as before afterwards."""
    chosen = tests_of(mutant, recorded, within_s)
    if not chosen:
        return Tried(mutant=mutant, outcome="untested")
    began = time.monotonic()
    with applied(mutant, copy):
        code, said = run(["-x", "--tb=short", "-rfE", *QUICK, *chosen], copy)
    seconds = round(time.monotonic() - began, 1)
    if code is None:
        return Tried(mutant=mutant, outcome="late", tests=len(chosen), seconds=seconds)
    if code == 0:
        return Tried(mutant=mutant, outcome="survived", tests=len(chosen), seconds=seconds)
    by = _failed(said, chosen) if code == pytest.ExitCode.TESTS_FAILED else ""
    if code < 0 or (code == pytest.ExitCode.INTERRUPTED and "KeyboardInterrupt" in said):
        by = f"pytest itself, which ended with {code}"
    if not by and re.search(rf"(^|/){re.escape(mutant.path)}:\d+:", said, re.MULTILINE):
        by = f"{mutant.path} no longer imports"
    if not by:
        raise RuntimeError(
            f"pytest ended with {code} and no failing test names why, so mistake {mutant.id} is neither noticed nor survived. "
            f"Mend the tests in the copy first:\n{said[-2000:]}"
        )
    return Tried(mutant=mutant, outcome="noticed", by=by, tests=len(chosen), seconds=seconds)


def _failed(said: str, tests: Sequence[str]) -> str:
    """The first of the tests that pytest's summary calls failed; empty if none."""
    for line in said.splitlines():
        if line.startswith(("FAILED ", "ERROR ")):
            told = line.partition(" ")[2]
            if named := [test for test in tests if told == test or told.startswith(f"{test} - ")]:
                return max(named, key=len)
    return ""


def held_alone(results: Sequence[Tried], copy: Path) -> list[Tried]:
    """The same, without what was noticed only by tests that fail without a mistake too."""
    tests = sorted({one.by for one in results if one.outcome == "noticed" and "::" in one.by and not at_scale(one)})
    if not tests:
        return [*results]
    code, said = run(["--tb=no", "-rfE", *QUICK, *tests], copy, LIMIT_S * len(tests))
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f"pytest ended with {code} on the tests that noticed something:\n{said[-2000:]}")
    lines = [line for line in said.splitlines() if code and line.startswith(("FAILED ", "ERROR "))]
    broken = {found for line in lines if (found := _failed(line, tests))}
    return [
        replace(one, outcome="survived", by=f"{one.by} fails without it too") if one.by in broken else one
        for one in results
    ]


def at_scale(one: Tried) -> bool:
    """Whether tests/scale noticed it; those were seen to pass without it before."""
    return one.by.startswith("tests/scale/")


def table(results: Sequence[Tried]) -> str:
    """Outcomes by area and by operator, then every mistake that lived, and every one struck."""
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for one in results:
        for row in (one.mutant.area, one.mutant.operator, "all"):
            counted[row][one.outcome] += 1
    rows = [*AREAS, *sorted({one.mutant.operator for one in results}), "all"]
    outcomes = ("noticed", "survived", "untested", "late", "struck")
    lines = ["| | " + " | ".join(outcomes) + " |", "|---" * (len(outcomes) + 1) + "|"]
    lines += [f"| {row} | " + " | ".join(str(counted[row][name]) for name in outcomes) + " |" for row in rows]
    for one in results:
        if one.outcome != "noticed":
            where = f"{one.mutant.path}:{one.mutant.line}"
            change = f"`{' '.join(one.mutant.before.split())}` → `{one.mutant.after}`"
            lines.append(f"\n{one.outcome}: {one.mutant.id} {where} {one.mutant.operator}: {change} {one.by}".rstrip())
    scale = sum(one.outcome == "noticed" and at_scale(one) for one in results)
    said = f"noticed: {share(results):.0%} of {sum(r.outcome != 'struck' for r in results)}"
    return "\n".join([*lines, "", f"{said}, {scale} of them by tests/scale"])


def share(results: Sequence[Tried]) -> float:
    """Noticed ones among those that were not struck."""
    counted = [one.outcome == "noticed" for one in results if one.outcome != "struck"]
    return sum(counted) / len(counted) if counted else 0.0


def struck(file: Path) -> dict[str, str]:
    """Reasons by id."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    pairs = [line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#")]
    return {name: reason for name, reason in pairs}


def noticed_before(file: Path, picked: Sequence[Mutant]) -> dict[str, Tried]:
    """Of an earlier run, what was noticed, by the mistake's id."""
    listed = {one.id: one for one in picked}
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    found = [json.loads(line) for line in lines]
    return {name: Tried(mutant=listed[name], **each) for each in found if (name := each.pop("id")) in listed}


def append(file: Path, one: Tried) -> None:
    """Keep it for `--resume`."""
    said = {"id": one.mutant.id, "outcome": one.outcome, "by": one.by, "tests": one.tests, "seconds": one.seconds}
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(said) + "\n")


def _hash(paths: Any) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--seed", type=int, default=61)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--list", action="store_true", help="write the list and stop")
    parser.add_argument("--keep", action="store_true", help=f"write list and table to {LISTS.relative_to(ROOT)}")
    parser.add_argument("--record", action="store_true", help="record which test runs which line and stop")
    parser.add_argument("--areas", nargs="+", choices=[*AREAS], default=[*AREAS], help="of the list, try only these")
    parser.add_argument(
        "--within", type=float, default=WITHIN_S, help="recorded seconds of the tests chosen for a mistake, at most"
    )
    parser.add_argument("--resume", action="store_true", help="try again only what an earlier run did not see noticed")
    parser.add_argument("--tests", nargs="+", default=["test_*"], help="names of test files, with *; all by default")
    parser.add_argument(
        "--scale-python", type=Path, default=ROOT / ".venv-scale/bin/python", help="of the environment of tests/scale"
    )
    parser.add_argument("--work", type=Path, default=WORK, help="where the copy and the recorded lines lie")
    args = parser.parse_args()
    picked = [] if args.record else drawn(mutants(ROOT), args.seed, args.count)
    args.work.mkdir(parents=True, exist_ok=True)
    if not args.record:
        listed = "".join(json.dumps(asdict(one)) + "\n" for one in picked)
        (_lists(args) / f"seed-{args.seed}.jsonl").write_text(listed, encoding="utf-8")
    if args.list:
        return 0
    with tempfile.TemporaryDirectory(dir=args.work, prefix="tree-") as folder:
        return campaign(args, picked, copied(ROOT, Path(folder) / "copy"))


def _lists(args: argparse.Namespace) -> Path:
    return LISTS if args.keep else args.work


def campaign(args: argparse.Namespace, picked: Sequence[Mutant], copy: Path) -> int:
    """Record what is not recorded, try what is drawn, and say what became of it."""
    recorded = recorded_in(copy, args.work / "lines.json", args.tests)
    if args.record:
        return 0
    load_libraries()
    scale = ScaleTests(args.scale_python, copy)
    reasons, results = struck(LISTS / "equivalent.txt"), []
    kept = args.work / f"noticed-{args.seed}.jsonl"
    before = noticed_before(kept, picked) if args.resume else {}
    kept.unlink(missing_ok=True)
    for number, one in enumerate(picked, 1):
        if one.area not in args.areas:
            continue
        if one.id in reasons:
            last = Tried(mutant=one, outcome="struck", by=reasons[one.id])
        else:
            last = before.get(one.id) or tried(one, copy, recorded, args.within)
        results.append(last)
        if last.outcome == "noticed":
            append(kept, last)
        change = f"{' '.join(one.before.split())} -> {one.after}"
        print(
            f"{number:>3} {last.outcome:<9} {last.seconds:>5.1f} s  {one.path}:{one.line} {change}  {last.by}",
            flush=True,
        )
    results = held_alone(results, copy)
    for at, result in enumerate(results):
        if result.outcome == "untested" and scale.of(result.mutant.path):
            results[at] = last = tried_at_scale(result.mutant, copy, scale)
            print(
                f"    {last.outcome:<9} {last.seconds:>5.1f} s  {last.mutant.id} in tests/scale  {last.by}", flush=True
            )
    told = table(results)
    (_lists(args) / f"seed-{args.seed}.md").write_text(told + "\n", encoding="utf-8")
    print(told)
    return 0 if share(results) >= GOAL else 1


if __name__ == "__main__":
    raise SystemExit(main())
