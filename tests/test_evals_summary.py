"""A run at a glance, with numbers by hand; and how it is drawn at two widths."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from rlzoo.cli import console, main
from rlzoo.evals import records, summary
from rlzoo.runs.folder import RunDir, write_text
from rlzoo.runs.lock import FolderLock, is_held
from tests.fake_runs import write_run


def rows(step: int, correct: dict[tuple[str, str], list[bool]], reason: str = "4, expected 3") -> pa.Table:
    """A step's rollouts, as far as a summary reads them, by domain and level."""
    return pa.Table.from_pylist(
        [
            {
                "step": step,
                "domain": domain,
                "level": level,
                "status": "correct" if right else "wrong",
                "reason": "3 is right" if right else reason,
                "correct": right,
            }
            for (domain, level), found in correct.items()
            for right in found
        ]
    )


def test_curve_domains_and_tests_by_hand(tmp_path: Path) -> None:
    """Twelve steps: the first five and the last five are told; domain rewards rise by a tenth."""
    run = write_run(tmp_path / "run", gain=0.2, metrics={"reward/maths": 0.25, "correct/maths": 0.25})
    found = summary.of(records.alone(run))
    assert (found.objective, found.model, found.seed, found.state, found.step) == ("grpo", "tiny", 0, "done", 12)
    assert found.spent == {"steps": (12.0, 12.0)}
    assert len(found.rewards) == 12
    assert found.early == pytest.approx(sum(found.rewards[:5]) / 5)
    assert found.late == pytest.approx(sum(found.rewards[-5:]) / 5)
    assert found.domains == {"maths": (0.25, 0.25)}
    assert found.mixed == pytest.approx(0.6)
    assert [change.domain for change in found.changes] == ["maths", "code", "logic", "macro"]
    macro = found.changes[-1].difference
    assert macro.se is not None
    reach = macro.interval()
    assert reach is not None
    assert (reach.low, reach.high) == pytest.approx((macro.value - 1.96 * macro.se, macro.value + 1.96 * macro.se))


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"status/truncated": 0.12}, "12 % of responses are cut off at sampling.max_response = 48 tokens"),
        ({"status/timeout": 0.02}, "2 % of responses take the verifier longer than verifier.timeout_s"),
        ({"status/error": 0.004}, "0.4 % of responses could not be judged"),
        ({"groups/mixed": 0.08}, "only 8 % of groups hold unequal rewards"),
        ({"grad/nonfinite": 1.0}, "12 updates had no finite gradient"),
    ],
)
def test_what_stands_out_of_the_metrics(tmp_path: Path, metrics: dict[str, float], words: str) -> None:
    run = write_run(tmp_path / "run", metrics=metrics, rollouts=False)
    told = summary.outstanding(records.alone(run))
    assert len(told) == 1 and words in told[0]


def test_nothing_stands_out_of_a_sound_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", metrics={"status/truncated": 0.05, "status/timeout": 0.01}, rollouts=False)
    assert summary.outstanding(records.alone(run)) == []


def test_the_longest_wait_and_the_most_frequent_reason(tmp_path: Path) -> None:
    """maths 3 is wrong in the last four steps that asked it (2 + 2 + 2 + 1 responses), right before; logic in three."""
    run = write_run(tmp_path / "run", rollouts=False)
    hard, other, easy = ("maths", "3"), ("logic", ""), ("maths", "1")
    run.write_rollouts(1, rows(1, {hard: [True, False], other: [True]}))
    run.write_rollouts(2, rows(2, {hard: [False, False], easy: [True]}))
    run.write_rollouts(3, rows(3, {hard: [False, False], other: [False], easy: [True]}))
    run.write_rollouts(4, rows(4, {hard: [False, False], other: [False], easy: [False]}))
    run.write_rollouts(5, rows(5, {hard: [False], other: [False], easy: [True, False]}, reason="7, expected 12"))
    assert summary.outstanding(records.alone(run)) == [
        "most frequent reason of a refusal in step 5: wrong, such as `7, expected 12` (3 of 3)",
        "maths level 3 has waited longest for a correct response: none of 7 in the last 4 recorded steps that asked it; "
        "2 levels wait for 3 or more",
    ]


def test_a_level_that_was_seldom_asked_waits_too(tmp_path: Path) -> None:
    """Every level of the newest step is solved; code 5 was asked only in the steps before, in vain."""
    run = write_run(tmp_path / "run", rollouts=False)
    for step in (1, 2, 3):
        run.write_rollouts(step, rows(step, {("code", "5"): [False, False], ("maths", "1"): [True]}))
    run.write_rollouts(4, rows(4, {("maths", "1"): [True]}))
    (told,) = summary.outstanding(records.alone(run))
    assert told.startswith(
        "code level 5 has waited longest for a correct response: none of 6 in the last 3 recorded steps"
    )


def test_damaged_and_unjudged_rollouts_are_passed_over(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", rollouts=False)
    run.write_rollouts(1, rows(1, {("maths", "1"): [True]}))
    run.rollouts_file(1).write_bytes(b"PAR1 no more")
    unjudged = {"domain": "maths", "level": "1", "status": None, "reason": None, "correct": False}
    run.write_rollouts(2, pa.Table.from_pylist([unjudged]))
    assert summary.outstanding(records.alone(run)) == []


# -- in the terminal --------------------------------------------------------------------------------------


def told(capsys: pytest.CaptureFixture[str], run: RunDir, *args: str) -> tuple[int, str, str]:
    code = main.run(["show", str(run.path), *args])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("width", [80, 120])
def test_a_summary_fits_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.chdir(tmp_path)
    per_domain = {f"{family}/{name}": 0.4 for family in ("reward", "correct") for name in ("maths", "code", "logic")}
    run = write_run(Path("run"), steps=200, metrics={**per_domain, "status/truncated": 0.12})
    code, out, _ = told(capsys, run)
    head, body = out.split("\n\n")[0], out.split("\n\n")[1]
    assert code == 0
    assert head.splitlines()[0] == "run · grpo on tiny, seed 0"
    assert max(map(len, head.splitlines())) <= width
    labels = [line.split("  ")[0] for line in head.splitlines()[1:] if not line.startswith(" ")]
    assert labels == ["state", "reward", "by domain", "groups", "tests", "stands out"]
    assert "done, step 200 of 12" in head and "12 % of responses are cut off" in " ".join(head.split())
    bars = next(line for line in head.splitlines() if line.startswith("reward")).split()[1]
    assert set(bars) <= set("▁▂▃▄▅▆▇█") and len(bars) == min(60, width - 40)
    assert body.startswith("step 200 · ")


def test_filters_print_no_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run")
    for args in (["--step", "12"], ["--status", "wrong"], ["--problem", "maths/train/1/0-0"], ["--json"]):
        assert "stands out" not in told(capsys, run, *args)[1]
        assert "pass@1" not in told(capsys, run, *args)[1]


def test_states_are_told_with_the_way_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    run = write_run(tmp_path / "run", settings={"budget": {"gen_tokens": 11520}})
    again = f"`rlzoo train --resume --out {run.path}` goes on"
    run.write_status("failed", step=12, reason="the loss is not finite")
    assert f"failed, step 12 of 12, 50 % of its sampled tokens: the loss is not finite. {again}" in told(capsys, run)[1]
    run.write_status("running", step=3)
    assert f"so it was killed. {again}" in told(capsys, run)[1]
    with FolderLock(run.path) as lock:
        lock.take()
        assert is_held(run.path) is True
        assert "running, step 12 of 12, 50 % of its sampled tokens\n" in told(capsys, run)[1]
    assert is_held(run.path) is False
    status = run.path / "status.json"
    status.write_text(status.read_text().replace(socket.gethostname(), "node7"))
    said = told(capsys, run)[1]
    assert "running, step 12 of 12, 50 % of its sampled tokens, on node7\n" in said and "killed" not in said


def test_a_run_before_its_first_step_and_a_damaged_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_text(tmp_path / "config.yaml", "seed: 0\n")
    code, out, err = told(capsys, RunDir(tmp_path))
    assert (code, "no step was made yet" in out, "No rollouts are recorded" in err) == (0, True, True)
    run = write_run(tmp_path / "run")
    write_text(run.metrics_file, '{"step": 1\n{"step": 2}\n')
    code, out, err = told(capsys, run)
    assert code == 0
    assert "no summary" in err and "not JSON" in err and out.startswith("step 12 · ")


def test_a_curve_that_is_flat_or_outside_the_unit_interval() -> None:
    assert console.sparkline([0.2, 0.2], 10, low=0.2, high=0.2) == "▅▅"
    assert console.sparkline([-1.0, 0.0, 3.0], 10, low=-1.0, high=3.0) == "▁▃█"


def test_any_record(tmp_path: Path) -> None:
    """What a summary says as data survives JSON."""
    import json

    run: Any = write_run(tmp_path / "run")
    assert json.loads(json.dumps(summary.of(records.alone(run)).as_data()))["step"] == 12
