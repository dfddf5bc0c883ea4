"""Tables of many arms: every number by hand."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, stdev

import pyarrow as pa
import pytest

from rlzoo.evals import analysis, gather
from rlzoo.runs.folder import RunDir, append_line
from tests.fake_runs import write_comparison
from tests.support import benchmark

screening, learned = benchmark("screening"), benchmark("learned")


def test_a_screening_has_a_row_an_arm_and_no_word_of_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gains = {"grpo": (0.15, 0.15), "cepo": (0.30, 0.32)}
    folder = write_comparison(tmp_path / "c", gains=gains, frozen=True, rollouts=False)
    found = analysis.analyse(*gather.read(folder))
    monkeypatch.setattr("sys.argv", ["screening", str(folder)])
    screening.main()
    columns, rule, *rows = capsys.readouterr().out.splitlines()
    table = {row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")[2:-1]] for row in rows}
    assert "against grpo" in columns and set(rule) <= set("| -")
    assert set(table) == {"`grpo`", "`cepo`", "`frozen`"}
    scores = {arm: [record.final_macro for record in seeds.values()] for arm, seeds in found.grid.items()}
    assert table["`grpo`"] == [f"{100 * fmean(scores['grpo']):.1f}", "", "", ""]
    gaps = [100 * (own - base) for own, base in zip(scores["cepo"], scores["grpo"], strict=True)]
    assert table["`cepo`"][0] == f"{100 * fmean(scores['cepo']):.1f}"
    assert table["`cepo`"][1].startswith(f"{fmean(gaps):+.1f} ± ")
    assert table["`cepo`"][2] == ", ".join(f"{gap:+.1f}" for gap in gaps)
    half = 12.7062 * stdev(gaps) / 2**0.5  # Student's t, one degree of freedom
    assert table["`cepo`"][3] == f"[{fmean(gaps) - half:+.1f}, {fmean(gaps) + half:+.1f}]"
    assert [len(cells) for cells in table.values()] == [4, 4, 4]
    assert not any(word in " ".join(rows) for word in ("better", "worse", "equivalent", "inconclusive"))


def rewarded(folder: Path, steps: list[list[list[float]]]) -> RunDir:
    """A run whose rollouts have these rewards: by step, prompt and rollout."""
    folder.mkdir(exist_ok=True)
    run = RunDir(folder)
    for step, prompts in enumerate(steps, 1):
        append_line(run.metrics_file, {"step": step})
        rows = [{"group": group, "reward": reward} for group, rewards in enumerate(prompts) for reward in rewards]
        run.write_rollouts(step, pa.Table.from_pylist(rows))
    return run


def test_a_rise_is_counted_in_standard_errors_over_prompts(tmp_path: Path) -> None:
    low, high = [[0.0, 0.0], [1.0, 0.0]], [[1.0, 1.0], [0.5, 0.5]]
    run = rewarded(tmp_path, [low, low, [[9.0], [9.0]], high, high])
    first, last, errors = learned.rise(run, 2)
    # prompts 0, 0.5, 0, 0.5: mean 0.25, variance 1/12, four of them
    assert (first.value, last.value, first.problems) == (0.25, 0.75, 4)
    assert first.se == pytest.approx((1 / 12 / 4) ** 0.5) and last.se == first.se
    assert errors == pytest.approx(0.5 / (2 / 48) ** 0.5)


@pytest.mark.parametrize(("last", "errors"), [(1.0, float("inf")), (-1.0, -float("inf")), (0.0, 0.0)])
def test_rewards_without_spread_rise_surely_or_not_at_all(tmp_path: Path, last: float, errors: float) -> None:
    run = rewarded(tmp_path, [[[0.0], [0.0]], [[last], [last]]])
    assert learned.rise(run, 1)[2] == errors


def test_rollouts_of_some_steps_are_not_taken_for_all(tmp_path: Path) -> None:
    run = rewarded(tmp_path, [[[0.0], [1.0]]] * 4)
    run.rollouts_file(2).unlink()
    with pytest.raises(SystemExit, match=r"rollouts of 3 of 4 steps.*log.rollouts_every=1"):
        learned.rise(run, 1)
    with pytest.raises(SystemExit, match="train 6 or more"):
        learned.rise(rewarded(tmp_path / "b", [[[0.0], [1.0]]] * 5), 3)


@pytest.mark.parametrize(("last", "code"), [(1.0, 0), (0.0, 1)])
def test_a_run_that_did_not_rise_is_an_exit_code(
    tmp_path: Path, last: float, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rewarded(tmp_path / "a", [[[0.0], [0.0]], [[1.0], [1.0]]])
    rewarded(tmp_path / "b", [[[0.0], [0.0]], [[last], [last]]])
    monkeypatch.setattr("sys.argv", ["learned", str(tmp_path / "a"), str(tmp_path / "b"), "--steps", "1"])
    assert learned.main() == code
    assert (
        capsys.readouterr().out.splitlines()[-1]
        == f"| b | 0.000 | {last:.3f} | {last:+.3f} | {'inf' if last else '0.0'} |"
    )
