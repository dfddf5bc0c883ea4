"""The list of runs: newest first, damaged ones named, and never a traceback."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from rlzoo.cli import console, main
from rlzoo.runs.folder import RunDir, write_text
from rlzoo.runs.lock import FolderLock
from tests.fake_runs import write_comparison, write_run


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def listed(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = main.run(["runs", *args])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def made(name: str, seconds_ago: float, **more: object) -> RunDir:
    run = write_run(Path("runs") / name, **more)  # type: ignore[arg-type]
    written(run, seconds_ago)
    return run


def written(run: RunDir, seconds_ago: float) -> None:
    then = time.time() - seconds_ago
    for file in run.path.glob("*.*"):
        os.utime(file, (then, then))


def test_newest_first_with_how_far_each_has_come(capsys: pytest.CaptureFixture[str]) -> None:
    made("old", 3 * 86400, objective="cepo")
    failed = made("failed", 7200, settings={"model": {"path": "/models/my-model"}})
    failed.write_status("failed", reason="no", step=12)
    written(failed, 7200)
    made("untrained", 600, steps=0)
    killed = made("killed", 60)
    killed.write_status("running", step=12)
    written(killed, 60)
    code, out, _ = listed(capsys)
    table = [line.split() for line in out.splitlines()]
    assert code == 0
    assert [row[0] for row in table] == ["run", "killed", "untrained", "failed", "old"]
    by_name = {row[0]: row for row in table}
    reward = f"{RunDir(Path('runs/old')).metrics()[-1]['reward/mean']:.2f}"
    assert by_name["old"][1:5] == ["cepo", "tiny", "12/12", reward]
    assert by_name["old"][6:] == ["3", "d", "done"]
    assert by_name["failed"][2] == "my-model" and by_name["failed"][-1] == "failed"
    assert by_name["untrained"][3:5] == ["0/12", "–"] and by_name["untrained"][6:] == ["10", "min", "done"]
    assert by_name["killed"][-1] == "killed"
    assert max(map(len, out.splitlines())) <= 80
    with FolderLock(killed.path) as lock:
        lock.take()
        assert listed(capsys)[1].splitlines()[1].endswith("running")


def test_json_is_one_object_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    made("one", 60)
    entry = json.loads(listed(capsys, "--json")[1])
    score = entry["tested"]["pass@1"]
    assert {name: entry[name] for name in ("name", "objective", "state", "step", "steps", "damage")} == {
        "name": "one",
        "objective": "grpo",
        "state": "done",
        "step": 12,
        "steps": 12,
        "damage": None,
    }
    assert 0 < score < 1 and 59 < entry["age_s"] < 120


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("config.yaml", b"", ""),
        ("config.yaml", b"- 1\n", "config.yaml"),
        ("config.yaml", b"a: [\n", "config.yaml"),
        ("config.yaml", b"\xff\xfe", ""),
        ("config.yaml", None, "no config.yaml"),
        ("status.json", b"[]", "status.json"),
        ("status.json", b"{", "status.json"),
        ("provenance.json", b"{}", ""),
        ("provenance.json", b'{"rlzoo": 1}', "provenance.json"),
        ("metrics.jsonl", b'{"step": 1\n{}\n', "not JSON"),
        ("metrics.jsonl", b"[1]\n", ""),
        ("metrics.jsonl", b'{"step": "x"}\n', "expected a number"),
        ("evals.jsonl", b'{"step": 0}\n', "evaluation record"),
        ("evals.jsonl", b"3\n", ""),
    ],
)
def test_a_damaged_run_is_listed_and_hides_no_other(
    capsys: pytest.CaptureFixture[str], file: str, content: bytes | None, words: str
) -> None:
    made("sound", 60)
    run = made("hurt", 30)
    if content is None:
        (run.path / file).unlink()
    else:
        (run.path / file).write_bytes(content)
    code, out, err = listed(capsys)
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines() if line]
    assert ["sound", "done"] in [[line[0], line[-1]] for line in lines]
    assert words in " ".join(out.split())
    if words:
        assert ["hurt", "damaged"] in [[line[0], line[-1]] for line in lines]
    assert len(listed(capsys, "--json")[1].splitlines()) == 2


def test_runs_of_comparisons_are_found_and_nothing_inside_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    write_comparison(Path("runs/compared"))
    inner = Path("runs/compared/runs/grpo-seed0/checkpoints/step-000012")
    inner.mkdir(parents=True)
    write_text(inner / "config.yaml", "x: 1\n")
    found = {json.loads(line)["name"] for line in listed(capsys, "--json")[1].splitlines()}
    assert found == {f"compared/runs/{arm}-seed{seed}" for arm in ("grpo", "cepo", "mcpo-mastery") for seed in range(3)}


def test_no_folder_and_no_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = listed(capsys)
    assert code == 2 and "'runs'" in err
    Path("runs").mkdir()
    code, out, err = listed(capsys)
    assert (code, out) == (0, "") and "rlzoo train" in err


def test_ages_in_one_unit() -> None:
    assert [console.since(s) for s in (0, 59, 60, 3599, 3600, 86399, 86400, 8 * 86400)] == [
        *("0 s", "59 s", "1 min", "60 min", "1 h", "24 h", "1 d", "8 d")
    ]
