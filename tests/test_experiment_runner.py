"""Which run starts when, what is tried again, and how all end; runs are played by objects that write the files."""

import signal
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from rlzoo.experiment import design, runner, workspace
from rlzoo.experiment.design import ComparisonRequest
from rlzoo.experiment.runner import Interrupted, Run, Runner
from rlzoo.runs.comparison import run_of
from rlzoo.runs.folder import RunDir, append_line
from rlzoo.runs.identity import RunCode
from tests.fake_runs import evaluation

CODE = RunCode(rlzoo="0", package={}, sources=())

START = evaluation(0, 0, {"maths": 0.5}, 0, problems=1)
ANSWERS = pa.table({"problem_id": ["maths/test/1/0"] * 4, "text": ["41", "40", "41", "40"]})


class Played:
    """A run that takes three looks: it records its evaluation, a step, and its end."""

    def __init__(self, run: RunDir, ends: int | None) -> None:
        self.run, self.ends, self.looks, self.stopped = run, ends, 0, ""
        self.made_start = not self.run.evaluations()

    def poll(self) -> int | None:
        if self.stopped:
            return 130 if self.stopped == "interrupt" else -signal.SIGKILL
        self.looks += 1
        if self.looks == 1 and self.made_start:
            self.run.write_answers("test", 0, ANSWERS)
            append_line(self.run.evals_file, START)
        if self.looks == 2:
            append_line(self.run.metrics_file, {"step": 1, "reward/mean": 0.5})
        if self.looks < 3:
            return None
        if self.ends == 0:
            self.run.write_status("done", step=1)
        elif self.ends == 1:
            self.run.write_status("failed", reason="the loss is not finite")
        return self.ends

    def interrupt(self) -> None:
        self.stopped = "interrupt"

    def kill(self) -> None:
        self.stopped = self.stopped or "kill"


class Stage:
    """An executor whose runs end as `ends` says: exit codes by name, one a start; 0 where nothing is said."""

    def __init__(self, slots: int, ends: dict[str, list[int]] | None = None) -> None:
        self.slots, self.ends = slots, ends or {}
        self.played: list[tuple[str, Played]] = []
        self.most = 0

    def start(self, run: Path, log: Path, slot: int) -> Played:
        assert 0 <= slot < self.slots
        codes = self.ends.get(run.name, [])
        played = Played(RunDir(run), codes.pop(0) if codes else 0)
        self.played.append((run.name, played))
        return played


def comparison(tmp_path: Path, *arms: str, seeds: tuple[int, ...] = (0, 1)) -> list[Run]:
    made = design.make(ComparisonRequest(arms=arms, seeds=seeds, jobs=2), threads=1)
    workspace.write_spec(tmp_path, made)
    return runner.survey(made.runs, tmp_path, lambda config: CODE)


def go(runs: list[Run], tmp_path: Path, stage: Stage, tell: Callable[[str, Run], None] = lambda event, run: None):
    return Runner(runs, tmp_path, stage, tell, poll_s=0.0).run()


def test_a_damaged_record_of_the_start_is_no_record_of_it(tmp_path: Path) -> None:
    planned = comparison(tmp_path, "grpo", "cepo")[0].planned
    workspace.prepare(tmp_path, planned, None)
    run_of(tmp_path, planned.name).evals_file.write_text('{"step": 0, "spl\n{"step": 0}\n')
    assert workspace.start_of(tmp_path, planned) is None


def test_one_evaluation_a_seed_and_no_more_runs_than_slots(tmp_path: Path) -> None:
    runs, stage, told = comparison(tmp_path, "grpo", "cepo", "mcpo-mastery"), Stage(2), []
    assert go(runs, tmp_path, stage, lambda event, run: told.append((event, run.planned.name))) == []
    assert {run.state for run in runs} == {"done"}
    assert [name for name, played in stage.played if played.made_start] == ["grpo-seed0", "grpo-seed1"]
    assert [name for name, _ in stage.played][:2] == ["grpo-seed0", "grpo-seed1"]  # cepo-seed0 waits for its evaluation
    cepo = workspace.start_of(tmp_path, runs[1].planned)
    assert cepo is not None
    assert cepo.as_record() == {**START, "shared_from": "grpo-seed0"}
    assert all(RunDir(run.path).answers("test", 0) == ANSWERS.to_pylist() for run in runs)
    running = 0
    for event, _ in told:
        running += {"started": 1, "done": -1}.get(event, 0)
        assert running <= 2
    assert told.count(("step", "cepo-seed1")) == 1


def test_finished_runs_are_left_alone(tmp_path: Path) -> None:
    go(comparison(tmp_path, "grpo", "cepo"), tmp_path, Stage(2))
    runs, stage = comparison(tmp_path, "grpo", "cepo"), Stage(2)
    assert go(runs, tmp_path, stage) == []
    assert stage.played == []
    assert [len(run.metrics) for run in runs] == [1, 1, 1, 1]


def test_a_failed_run_is_tried_once_more_and_then_named(tmp_path: Path) -> None:
    runs = comparison(tmp_path, "grpo", "cepo", seeds=(0, 1, 2))
    stage = Stage(2, {"grpo-seed0": [1], "cepo-seed0": [1, 1], "cepo-seed1": [-9, -9], "cepo-seed2": [2]})
    failed = go(runs, tmp_path, stage)
    assert {run.planned.name: (run.attempts, run.reason) for run in failed} == {
        "cepo-seed0": (2, "the loss is not finite"),
        "cepo-seed1": (2, "killed by signal 9 (out of memory?)"),
        "cepo-seed2": (1, "ended with exit code 2"),
    }
    assert next(run for run in runs if run.planned.name == "grpo-seed0").state == "done"


def test_a_run_that_ends_well_without_being_done_has_failed(tmp_path: Path) -> None:
    runs, stage = comparison(tmp_path, "grpo", "cepo", seeds=(0,)), Stage(2, {"cepo-seed0": [3, 3]})
    (failed,) = go(runs, tmp_path, stage)
    assert failed.reason == "ended with exit code 3"


def test_another_run_evaluates_where_the_first_one_fails_before(tmp_path: Path) -> None:
    class Stillborn(Stage):
        def start(self, run: Path, log: Path, slot: int) -> Played:
            played = super().start(run, log, slot)
            if run.name == "grpo-seed0":
                played.looks, played.ends = 2, 1
            return played

    runs, stage = comparison(tmp_path, "grpo", "cepo", seeds=(0,)), Stillborn(2)
    assert [run.planned.name for run in go(runs, tmp_path, stage)] == ["grpo-seed0"]
    assert [name for name, played in stage.played if played.looks >= 3 and played.run.evaluations()] == ["cepo-seed0"]


def test_ctrl_c_asks_all_runs_to_save(tmp_path: Path) -> None:
    stage, told = Stage(2), []

    def tell(event: str, run: Run) -> None:
        told.append(event)
        if event == "step":
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        go(comparison(tmp_path, "grpo", "cepo"), tmp_path, stage, tell)
    assert {played.stopped for _, played in stage.played} == {"interrupt"}
    assert told[-2:] == ["stopping", "stopping"]


def test_whatever_ends_the_comparison_ends_its_runs(tmp_path: Path) -> None:
    stage = Stage(2)

    def tell(event: str, run: Run) -> None:
        if event == "step":
            raise ValueError("a bug in a view")

    with pytest.raises(ValueError, match="bug"):
        go(comparison(tmp_path, "grpo", "cepo"), tmp_path, stage, tell)
    assert {played.stopped for _, played in stage.played} == {"kill"}
