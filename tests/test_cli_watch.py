"""What a run prints while it works and when it ends, from the events and files that the engine makes."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rlzoo import configure
from rlzoo.cli import console, evaluate, train, watch
from rlzoo.config import RunConfig
from rlzoo.engine.plan import Plan
from rlzoo.errors import UsageError
from rlzoo.runs.evaluation import Evaluation
from rlzoo.runs.folder import RunDir, append_line, write_text

PLAN = Plan(
    sandbox=None,
    objective="grpo",
    domains=("maths", "code", "logic"),
    rollouts_per_step=256,
    updates_per_step=2,
    prompts_per_update=16,
    rollouts_per_update=128,
    max_tokens_per_step=12_288,
    limits={"steps": 200},
    extra=(),
)


def metrics(**changes: Any) -> Mapping[str, float]:
    return {
        "reward/mean": 0.41,
        "reward/maths": 0.25,
        "reward/code": 0.5,
        "reward/logic": 0.75,
        "correct/mean": 0.4,
        "rows/trained": 212 / 256,
        "length/mean": 1900 / 256,
        "loss/policy": 0.013,
        "grad/norm": 0.5,
        "time/step": 6.2,
        "time/tokens_per_second": 18_200.0,
        **changes,
    }


def record(
    step: int, domains: tuple[str, ...] = ("maths", "logic"), samples: int = 4, right: int = 1
) -> dict[str, Any]:
    status = ["correct"] * right + ["wrong"] * (samples - right)
    problems = [
        {
            "id": f"{domain}-{n}",
            "domain": domain,
            "level": level,
            "status": status,
            "answers": ["x"] * samples,
            "tokens": [1] * samples,
        }
        for domain in domains
        for n, level in enumerate(("easy", "easy", "hard"))
    ]
    return {
        "step": step,
        "split": "test",
        "samples": samples,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "max_response": 32,
        "seed": 0,
        "suite": "s",
        "problems": problems,
        "time/seconds": 1.0,
    }


def run_config(*assignments: str) -> RunConfig:
    return configure.load(assignments=assignments)


# -- lines ------------------------------------------------------------------------------------------------


def test_a_step_s_line() -> None:
    progress = watch.RunProgress({"steps": 200}, 256)
    progress.add(40, metrics())
    assert watch.step_line(progress, metrics()) == (
        "step  40/200  reward 0.41  kept 212/256  tokens 1.9k  loss/policy +0.0130  6.2 s"
    )


def test_columns_stay_in_place() -> None:
    progress = watch.RunProgress({"steps": 200}, 256)
    lines = []
    for step, change in ((1, {"rows/trained": 0.0, "length/mean": 1.0}), (200, {"loss/policy": -0.5})):
        progress.add(step, metrics(**change))
        lines.append(watch.step_line(progress, metrics(**change)))
    assert lines[0].index("loss/policy") == lines[1].index("loss/policy")
    assert all(len(line) <= 80 for line in lines)


def test_lines_go_to_standard_error_without_styles(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with watch.watching(run_config(), Path("runs/x"), json=False) as reporter:
        reporter.plan(PLAN)
        reporter.stage("load")
        reporter.stage("sample")
        reporter.evaluated(Evaluation.read(record(0)))
        reporter.step(1, metrics())
        reporter.note("resumed\x1b[31m")
        reporter.warn("careful")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-5:] == [
        "load ...",
        "step 0 test: maths 25.0±0.0  logic 25.0±0.0  macro 25.0±0.0",
        "step   1/200  reward 0.41  kept 212/256  tokens 1.9k  loss/policy +0.0130  6.2 s",
        "note: resumed\\x1b[31m",
        "warning: careful",
    ]
    assert max(map(len, captured.err.splitlines())) <= 80


def test_machines_get_a_json_line_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    with watch.watching(run_config(), Path("runs/x"), json=True) as reporter:
        reporter.plan(PLAN)
        reporter.stage("sample")
        reporter.step(1, metrics(**{"loss/policy": float("nan")}))
        reporter.evaluated(Evaluation.read(record(0)))
        reporter.warn("careful")
    captured = capsys.readouterr()
    plan, step, evaluated = (json.loads(line) for line in captured.out.splitlines())
    assert (plan["event"], plan["rollouts_per_step"], plan["out"]) == ("plan", 256, "runs/x")
    assert (step["event"], step["step"], step["reward/mean"], step["loss/policy"]) == ("step", 1, 0.41, None)
    assert (evaluated["event"], evaluated["rows"][-1]["domain"]) == ("evaluated", "macro")
    assert captured.err == "warning: careful\n"


# -- time left --------------------------------------------------------------------------------------------


def test_time_left_by_steps() -> None:
    progress = watch.RunProgress({"steps": 10}, 8)
    assert progress.seconds_left is None
    progress.add(1, metrics(**{"time/step": 2.0}))
    assert progress.seconds_left == pytest.approx(9 * 2.0)
    progress.add(2, metrics(**{"time/step": 4.0}))
    assert progress.seconds_left == pytest.approx(8 * 4.0)  # the first step is warm-up, once there is another
    for step in range(3, 11):
        progress.add(step, metrics(**{"time/step": 4.0}))
    assert progress.fraction == 1.0
    assert progress.seconds_left == 0.0


def test_time_left_by_tokens_and_after_a_resume() -> None:
    progress = watch.RunProgress({"gen_tokens": 1000.0}, 8)
    progress.add(41, metrics(**{"cost/gen_tokens": 500.0, "time/step": 1.0}))
    assert progress.fraction == 0.5
    assert progress.seconds_left is None  # 500 tokens were not sampled in this second
    progress.add(42, metrics(**{"cost/gen_tokens": 600.0, "time/step": 2.0}))
    assert progress.seconds_left == pytest.approx(8.0)  # 400 tokens at 100 in 2 s


def test_the_nearest_limit_counts() -> None:
    progress = watch.RunProgress({"steps": 100.0, "gen_tokens": 1000.0}, 8)
    progress.add(10, metrics(**{"cost/gen_tokens": 900.0}))
    assert progress.fraction == 0.9


def test_sparkline() -> None:
    assert console.sparkline([0.0, 0.5, 1.0], 24) == "▁▅█"
    assert console.sparkline([0.0, 0.0, 1.0, 1.0], 2) == "▁█"
    assert console.sparkline([], 24) == ""
    assert len(console.sparkline([0.3] * 1000, 24)) == 24


# -- the live view ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 120])
def test_the_view_fits_and_says_what_matters(width: int) -> None:
    screen = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    view = watch.View(run_config(), Path("runs/grpo-seed0"), screen)
    view.plan(PLAN)
    for step in range(1, 101):
        view.stage("update")
        view.step(step, metrics())
    view.evaluated(Evaluation.read(record(0)))
    view.warn("\x1b[2J")
    screen.print(view)
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= width
    for word in (
        "step 100/200",
        "10:20 left",
        "update",
        "maths",
        "code",
        "logic",
        "0.25",
        "18k tokens/s",
        "loss/policy +0.0130",
    ):
        assert word in shown


def test_the_view_stands_before_the_first_step() -> None:
    screen = Console(file=io.StringIO(), width=80)
    screen.print(watch.View(run_config(), Path("x"), screen))
    assert "step" in screen.file.getvalue()  # type: ignore[attr-defined]


# -- the plan ---------------------------------------------------------------------------------------------


def test_the_plan_in_words() -> None:
    words = dict(console.plan_lines(PLAN, run_config("sampling.group_size=4"), Path("runs/x")))
    assert words["run"] == "grpo on tiny, seed 0, domains maths, code, logic"
    assert words["a step"] == "64 prompts × 4 rollouts = 256, at most 12k response tokens"
    assert words["learning"].startswith(
        "2 updates a step of 16 prompts (128 rollouts), lr 0.0004, micro-batches of 2.0k tokens"
    )
    assert words["ends at"] == "200 steps"
    assert words["asks for"] == "nothing beyond sampling and updating"
    assert (
        words["tests"]
        == "before and after: pass@1 of 60 problems of each level, 4 responses each; a curve of 5 points on a few of them"
    )


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0"),
        (950, "950"),
        (999.6, "1.0k"),
        (1900, "1.9k"),
        (24_000, "24k"),
        (999_400, "999k"),
        (2e6, "2.0M"),
        (3e15, "3000T"),
    ],
)
def test_human(count: float, shown: str) -> None:
    assert console.human(count) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(7, "0:07"), (250, "4:10"), (3723, "1:02:03")])
def test_duration(seconds: float, shown: str) -> None:
    assert console.duration(seconds) == shown


# -- the end ----------------------------------------------------------------------------------------------


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    monkeypatch.setenv("COLUMNS", "80")
    run = RunDir(tmp_path / "run")
    write_text(run.path / "config.yaml", configure.to_yaml(run_config("eval.samples=4", "seed=5")))
    append_line(run.evals_file, record(0, right=1))
    append_line(run.evals_file, record(20, right=3))
    return run


def test_a_run_ends_with_before_and_after(finished: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    train._print_result("done", 20, finished.path, run_config(), json=False)
    assert capsys.readouterr().out.splitlines() == [
        "pass@1 · test · 6 problems · 4 samples each · temperature 1 · seed 0",
        "",
        "domain  problems      step 0     step 20  change, paired",
        "maths          3  25.0 ± 0.0  75.0 ± 0.0     +50.0 ± 0.0",
        "logic          3  25.0 ± 0.0  75.0 ± 0.0     +50.0 ± 0.0",
        "macro          6  25.0 ± 0.0  75.0 ± 0.0     +50.0 ± 0.0",
        "",
        "Percent ± one standard error over problems; macro is the mean over domains.",
        f"Run: {finished.path}",
    ]


def test_the_result_for_machines(finished: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    train._print_result("done", 20, finished.path, run_config(), json=True)
    result = json.loads(capsys.readouterr().out)
    assert (result["event"], result["state"], result["step"]) == ("result", "done", 20)
    assert result["change"]["rows"][-1]["difference"]["value"] == 0.5


def test_an_interrupted_run_claims_no_result(finished: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    train._print_result("interrupted", 3, finished.path, run_config(), json=False)
    assert capsys.readouterr().out == f"Run: {finished.path}\n"


@pytest.mark.parametrize("width", [80, 120])
def test_scores_fit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Sixteen samples give six columns with errors; what does not fit beside stands below, and nothing is left out."""
    monkeypatch.setenv("COLUMNS", str(width))
    console.print_scores(Evaluation.read(record(0, samples=16, right=3)), "tiny")
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= width
    for metric in ("pass@1 ", "pass@2", "pass@4", "pass@8", "pass@16", "maj@16"):
        assert metric in out
    assert out.count("domain  level") == (2 if width == 80 else 1)
    assert "maths   easy" not in out  # a level's row does not repeat its domain
    assert "avg@16" in out


def test_unjudged_responses_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = record(0)
    evaluation["problems"][0]["status"] = ["correct", "error", "wrong", "wrong"]
    console.print_scores(Evaluation.read(evaluation), "tiny")
    assert "1 response could not be judged and counted as wrong" in capsys.readouterr().out


# -- what `eval` tests ------------------------------------------------------------------------------------


def test_a_run_is_tested_at_its_newest_checkpoint_with_its_own_settings(finished: RunDir) -> None:
    for step in (10, 20):
        finished.checkpoint(step).mkdir(parents=True)
    subject = evaluate.find(str(finished.path), None)
    assert subject.model == str(finished.checkpoint(20))
    assert evaluate.find(str(finished.path), 10).model == str(finished.checkpoint(10))
    settings = evaluate.settings_for(subject, None, None, ["eval.samples=9"])
    assert (settings.seed, settings.eval.samples, settings.model.path) == (5, 9, subject.model)
    inside = evaluate.find(str(finished.checkpoint(10)), None)
    assert evaluate.settings_for(inside, None, None, []).seed == 5
    assert evaluate.settings_for(inside, "cpu-default", None, []).seed == 0


def test_a_run_without_the_checkpoint_asked_for(finished: RunDir) -> None:
    with pytest.raises(UsageError, match="no checkpoint yet"):
        evaluate.find(str(finished.path), None)
    finished.checkpoint(10).mkdir(parents=True)
    with pytest.raises(UsageError, match=r"no checkpoint of step 11\. It has those of steps 10"):
        evaluate.find(str(finished.path), 11)


def test_a_model_is_tested_with_the_recipe(finished: RunDir) -> None:
    subject = evaluate.find("tiny-clean", None)
    assert (subject.model, subject.run) == ("tiny-clean", None)
    assert evaluate.settings_for(subject, None, None, []).model.path == "tiny-clean"
