"""Test points on the way: drawn, charged to nobody, and without a trace in what is trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from rlzoo import configure
from rlzoo.cli import main
from rlzoo.config import RunConfig
from rlzoo.engine.budget import passes_a_point
from rlzoo.engine.trainer import train
from rlzoo.evals import evaluations, records
from rlzoo.evals.evaluations import MACRO
from rlzoo.runs.folder import RunDir
from tests import bytes_model
from tests.support import final_weights, small_config, without_times


def curved(*more: str, steps: int = 4, points: int = 3) -> RunConfig:
    """At steps 1, 2 and 3 of four; eight problems a level, of nine that are tested in whole."""
    few = ("eval.problems_per_level=9", "data.sources=[{name: maths}, {name: logic}]", "checkpoint.every=1")
    return small_config(*few, "checkpoint.keep_last=4", f"eval.curve={points}", *more, steps=steps)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    train(curved(), out)
    return out


def made(run: RunDir) -> list[tuple[str, int]]:
    return [(found.split, found.step) for found in run.evaluations()]


def test_points_lie_evenly_between_start_and_end(whole: Path) -> None:
    assert made(RunDir(whole)) == [("test", 0), ("curve", 1), ("curve", 2), ("curve", 3), ("test", 4)]
    assert RunDir(whole).answered("curve") == [1, 2, 3]


def test_no_seconds_are_charged_for_it(whole: Path) -> None:
    lines = RunDir(whole).metrics()
    assert lines[-1]["time/device_seconds"] == pytest.approx(
        sum(line["time/step"] - line["time/measure"] for line in lines)
    )


def test_a_point_is_few_problems_of_each_level_and_one_response(whole: Path) -> None:
    start, point = RunDir(whole).evaluations()[:2]
    levels = {(attempt.domain, attempt.level) for attempt in start.attempts}
    by_level = [(attempt.domain, attempt.level) for attempt in point.attempts]
    assert {level: by_level.count(level) for level in levels} == dict.fromkeys(levels, 8)
    assert point.samples == 1 and all(len(attempt.status) == 1 for attempt in point.attempts)
    assert len({found.suite for found in RunDir(whole).evaluations() if found.split == "curve"}) == 1


@pytest.mark.parametrize("jump", [False, True], ids=["one after another", "in one step"])
def test_which_steps_reach_a_point_by_hand(jump: bool) -> None:
    """Five points over 60 steps: 10, 20, ... 50. Over two steps: the first passes three of them at once, the second is the end."""
    steps = 2 if jump else 60
    reached = [n for n in range(1, steps) if passes_a_point((n - 1) / steps, n / steps, 5)]
    assert reached == ([1] if jump else [10, 20, 30, 40, 50])
    assert not any(passes_a_point((n - 1) / 60, n / 60, 0) for n in range(1, 61))


@pytest.mark.parametrize("steps", [3, 7, 12, 49, 300])
@pytest.mark.parametrize("points", [1, 5, 11])
def test_no_more_points_than_asked_for_and_none_lost_to_rounding(steps: int, points: int) -> None:
    reached = sum(passes_a_point((n - 1) / steps, n / steps, points) for n in range(1, steps))
    assert reached == min(points, steps - 1)


def test_training_is_the_same_to_the_last_bit_with_and_without_a_curve(whole: Path, tmp_path: Path) -> None:
    train(curved(points=0), tmp_path / "run")
    without = RunDir(tmp_path / "run")
    assert made(without) == [("test", 0), ("test", 4)]
    assert without_times(without.metrics()) == without_times(RunDir(whole).metrics())
    assert final_weights(without.path) == final_weights(whole)
    assert [found for found in RunDir(whole).evaluations() if found.split == "test"] == without.evaluations()


def test_the_same_on_another_architecture_and_tokenizer_and_under_a_token_budget(tmp_path: Path) -> None:
    model = bytes_model.make(tmp_path / "bytes")
    found = {}
    for points in (0, 3):
        more = (f"model.path={model}", "sampling.max_prompt=400", "budget.gen_tokens=1500", "eval.problems_per_level=1")
        train(curved(*more, steps=50, points=points), tmp_path / str(points))
        run = RunDir(tmp_path / str(points))
        found[points] = (without_times(run.metrics()), final_weights(run.path))
    assert found[0] == found[3]
    spent = {line["step"]: line["cost/gen_tokens"] / 1500 for line in found[3][0]}
    steps = [step for split, step in made(RunDir(tmp_path / "3")) if split == "curve"]
    shares = [0.0, *(spent[step] for step in sorted(spent))]
    assert steps == [n for n in range(1, len(shares) - 1) if int(4 * shares[n]) > int(4 * shares[n - 1])] != []


@pytest.mark.parametrize("step", [1, 2])
def test_a_resumed_run_makes_each_point_once(whole: Path, tmp_path: Path, step: int) -> None:
    shutil.copytree(whole, tmp_path / "run")
    run = RunDir(tmp_path / "run")
    for later in run.checkpoint_steps():
        if later > step:
            shutil.rmtree(run.checkpoint(later))
    run.write_status("running", step=step)
    train(curved(), run.path, resume=True)
    assert run.evaluations() == RunDir(whole).evaluations()
    assert [run.answers("curve", n) for n in run.answered("curve")] == [
        RunDir(whole).answers("curve", n) for n in (1, 2, 3)
    ]
    assert final_weights(run.path) == final_weights(whole)


def test_a_checkpoint_has_its_points_on_disk_before_it(tmp_path: Path) -> None:
    """Killed in the evaluation of step 2, the run goes on from step 1 and makes it; none is missing after a checkpoint."""
    from tests.support import Disturbed

    def die() -> None:
        raise RuntimeError("killed")

    run = RunDir(tmp_path / "run")
    with pytest.raises(RuntimeError, match="killed"):
        train(curved(), run.path, reporter=Disturbed("evaluate", die, nth=3))  # the start, step 1, step 2
    assert (run.checkpoint_steps(), made(run)) == ([1], [("test", 0), ("curve", 1)])


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose learning rate is 0, so that all of its points are of one model."""
    out = tmp_path_factory.mktemp("still") / "run"
    train(curved("learner.lr=0"), out)
    return out


def test_two_arms_are_asked_the_same_with_the_same_noise(still: Path, tmp_path: Path) -> None:
    """Another objective's points are the same responses, as long as the weights are."""
    told = RunDir(still).settings()
    cepo: Any = configure.validate({**told, "objective": {"name": "cepo"}, "eval": {**told["eval"], "at_end": False}})
    train(cepo, tmp_path / "cepo")
    one, two = (
        [found.attempts for found in RunDir(path).evaluations() if found.split == "curve"]
        for path in (still, tmp_path / "cepo")
    )
    assert one == two and len(one) == 3 and one[0] == one[2]


def test_the_curve_reads_its_ends_off_the_whole_tests(still: Path) -> None:
    """Every point is the same: what the curve asks is what the test's first responses were."""
    found = evaluations.curve(RunDir(still).evaluations())
    assert [point.step for point in found] == [0, 1, 2, 3, 4]
    assert {(point.samples, point.suite) for point in found} == {(1, found[1].suite)}
    assert all(point.attempts == found[1].attempts for point in found)


def test_curves_take_no_part_in_what_is_judged(whole: Path) -> None:
    record = records.alone(RunDir(whole))
    assert [found.step for found in record.evaluations] == [0, 4] and sorted(record.scored) == [0, 4]
    assert sorted(record.curve) == [0, 1, 2, 3, 4]
    assert record.eval_seconds == pytest.approx(sum(found.seconds for found in RunDir(whole).evaluations()))


def test_a_whole_test_on_the_way_stands_for_its_point(tmp_path: Path) -> None:
    train(curved("eval.every=2"), tmp_path / "run")
    expected = [("test", 0), ("curve", 1), ("test", 2), ("curve", 3), ("test", 4)]
    assert made(RunDir(tmp_path / "run")) == expected
    assert sorted(records.alone(RunDir(tmp_path / "run")).curve) == [0, 1, 2, 3, 4]


def test_reports_and_summaries_draw_it(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(whole, tmp_path / "run")
    assert main.run(["report", str(tmp_path / "run")]) == 0
    told = capsys.readouterr().out
    scores = records.alone(RunDir(whole)).curve
    assert " ".join(f"{100 * found[MACRO].value:.0f}" for found in scores.values()) in told
    assert "on the way" in told and "steps 0 to 4" in " ".join(told.split())
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert page.count("pass@1 on a few test problems, macro, %</text>") == 3  # along tokens, steps and seconds
    data = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert [point["step"] for point in data["run"]["test_curve"]] == [0, 1, 2, 3, 4]


def test_its_responses_can_be_read(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["show", str(whole), "--eval", "2", "--split", "curve", "--limit", "0", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    point = next(found for found in RunDir(whole).evaluations() if (found.split, found.step) == ("curve", 2))
    assert [(row["problem_id"], row["status"]) for row in rows] == [(a.id, a.status[0]) for a in point.attempts]
