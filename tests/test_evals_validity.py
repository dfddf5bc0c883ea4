"""Every check of the validity gate: silent where all is alike, and heard where one thing is changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlzoo.evals import analysis, gather
from rlzoo.evals.analysis import Comparison
from rlzoo.evals.validity import collapse
from rlzoo.evals.validity.result import CheckResult
from rlzoo.runs.comparison import ComparisonRefused
from rlzoo.runs.folder import RunDir, append_line, write_text
from tests.fake_runs import GAINS, evaluation, plan, write_comparison, write_run

TWO = {name: GAINS[name][:2] for name in ("grpo", "cepo")}
ALWAYS = {"rollouts": False}


def finding(found: Comparison, check: str) -> CheckResult:
    (one,) = [each for each in found.findings if each.check == check]
    return one


def analysed(folder: Path) -> Comparison:
    return analysis.analyse(*gather.read(folder))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_comparison(tmp_path / "c", gains=TWO, rollouts=False)


def rewrite(folder: Path, seed: int = 1, **options: Any) -> RunDir:
    """cepo's run of a seed, written otherwise."""
    run = folder / "runs" / f"cepo-seed{seed}"
    for file in ("metrics.jsonl", "evals.jsonl"):
        (run / file).unlink()
    written = write_run(
        run, **({"objective": "cepo", "seed": seed, "gain": TWO["cepo"][seed], "noise": 2} | ALWAYS | options)
    )
    plan(folder)
    return written


def test_all_is_green_where_all_is_alike(folder: Path) -> None:
    found = analysed(folder)
    assert [each.check for each in found.findings if each.level != "green"] == []
    assert len({each.check for each in found.findings}) == len(found.findings) >= 20


@pytest.mark.parametrize(
    ("check", "entry", "told"),
    [
        ("device and threads", {"device": "NVIDIA H200"}, "cepo-seed1: device: cpu -> NVIDIA H200 after step 8"),
        ("device and threads", {"machine": {"cpu": "c", "threads": 8, "ranks": 1}}, "cepo-seed1: machine.threads: 1 -> 8 after step 8"),
        ("code", {"libraries": {"torch": "2.14.0"}}, "cepo-seed1: libraries.torch: 2.13.0 -> 2.14.0 after step 8"),
    ],
)  # fmt: skip
def test_a_run_resumed_in_other_surroundings_is_flagged(
    folder: Path, check: str, entry: dict[str, Any], told: str
) -> None:
    file = folder / "runs" / "cepo-seed1" / "provenance.json"
    origin = json.loads(file.read_text())
    here = {name: origin[name] for name in ("python", "libraries", "machine", "device")}
    (first,) = origin["ran"]
    origin["ran"] = [
        first,
        {**first, "after_step": 4, "within": here},
        {**first, "after_step": 8, "within": here | entry},
    ]
    file.write_text(json.dumps(origin))
    found = analysed(folder)
    assert [each.check for each in found.findings if each.level != "green"] == [check]
    assert finding(found, check).details == (told,)


@pytest.mark.parametrize(
    ("check", "key", "value"),
    [
        ("initial weights", "initial_weights", "0ther"),
        ("tokenizer and template", "tokenizer", "0ther"),
        ("training data", "data", "0ther"),
        ("order of problems", "order", "0ther"),
        ("sampler", "sampler", "vllm"),
        ("verifiers", "verifiers", "0ther"),
        ("device and threads", "machine", {"threads": 2}),
        ("device and threads", "device", "cuda"),
        ("code", "code", "0ther"),
        ("code", "rlzoo", "0.2.0"),
    ],
)
def test_provenance_that_differs_is_flagged(folder: Path, check: str, key: str, value: object) -> None:
    rewrite(folder, provenance={key: value})
    found = analysed(folder)
    assert [each.check for each in found.flags] == [check]
    assert f"{key} at seed 1" in finding(found, check).details[0]
    with pytest.raises(ComparisonRefused, match=check):
        analysis.analyse(*gather.read(folder), strict=True)


@pytest.mark.parametrize(
    ("check", "settings"),
    [
        ("decoding", {"sampling": {"temperature": 0.7}}),
        ("decoding", {"sampling": {"backend": "vllm"}}),
        ("decoding", {"sampling": {"place": "process"}}),
        ("decoding", {"sampling": {"steps_ahead": 1}}),
        ("decoding", {"eval": {"top_p": 0.9}}),
        ("precision and adapters", {"model": {"dtype": "bfloat16"}}),
        ("precision and adapters", {"lora": {"rank": 8}}),
        ("settings", {"learner": {"lr": 1.0}}),
    ],
)
def test_settings_that_differ_are_flagged(folder: Path, check: str, settings: dict[str, Any]) -> None:
    for seed in (0, 1):
        rewrite(folder, seed, settings=settings)
    found = analysed(folder)
    assert finding(found, check).level == "flag"
    assert finding(found, "settings").level == "flag", "every differing setting is named there"
    (section, keys), (name, value) = next(iter(settings.items())), next(iter(next(iter(settings.values())).items()))
    assert keys and found.differing["cepo"][f"{section}.{name}"][1] == json.dumps(value)


def test_the_objectives_own_settings_may_differ(folder: Path) -> None:
    rewrite(folder, 1, settings={"objective": {"mix": 0.3}})
    assert finding(analysed(folder), "settings").level == "green"


def test_a_control_declares_its_own_setting_only(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path / "c", gains=TWO, frozen=True, rollouts=False)
    found = analysed(folder)
    assert finding(found, "settings").level == "green"
    assert "frozen" in finding(found, "settings").text
    assert "frozen" in finding(found, "checkpoint").text
    write_run(folder / "runs" / "frozen-seed0", steps=0, settings={"control": {"frozen": True}, "learner": {"lr": 9.0}})
    plan(folder)
    assert finding(analysed(folder), "settings").details == ("frozen: learner.lr is 0.0001 or 9.0, 0.0001 in grpo",)


# ----------------------------------------------------------------------------------------------- runs left out


def gone(run: RunDir) -> None:
    shutil.rmtree(run.path)


def torn(run: RunDir) -> None:
    text = run.evals_file.read_text(encoding="utf-8")
    run.evals_file.write_text(text[: len(text) // 3] + "\n" + text[-200:], encoding="utf-8")


def unfinished(run: RunDir) -> None:
    run.write_status("failed", step=7, reason="losses are not finite")


def early(run: RunDir) -> None:
    """Killed between the last step and its evaluation, then marked done by hand."""
    run.evals_file.write_text(run.evals_file.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")


def shortened(run: RunDir) -> None:
    """The last evaluation without its last problem."""
    *before, last = run.evals_file.read_text(encoding="utf-8").splitlines()
    told = json.loads(last)
    told["problems"].pop()
    run.evals_file.write_text("\n".join([*before, json.dumps(told)]) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (gone, "missing"),
        (shortened, "steps 0 and 12 name the same suite"),
        (torn, "cannot be read"),
        (unfinished, "failed at step 7 (losses are not finite)"),
        (early, "its last evaluation is of step 0, but it trained to step 12"),
        (lambda run: run.evals_file.unlink(), "no evaluation on test problems"),
        (lambda run: run.write_status("running", step=3), "running at step 3"),
    ],
)
def test_runs_that_cannot_stand_are_named_and_left_out(
    folder: Path, break_it: Callable[[RunDir], None], why: str
) -> None:
    break_it(RunDir(folder / "runs" / "cepo-seed1"))
    found = analysed(folder)
    out = finding(found, "runs")
    assert out.level == "flag"
    assert out.details[0].startswith("cepo-seed1 is left out") and why in out.details[0]
    assert finding(found, "pairs").details == ("cepo: no pair at seed 1",)
    assert found.verdicts[0].seeds == (0,)
    assert found.verdicts[0].judgement.word == "inconclusive"


def test_a_line_cut_short_is_named_and_the_run_kept(folder: Path) -> None:
    with (folder / "runs" / "cepo-seed1" / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 13, "rew')
    found = analysed(folder)
    assert found.verdicts[0].seeds == (0, 1)
    assert finding(found, "runs").details == ("cepo-seed1: metrics.jsonl ends in half a line, which was left out",)


# ------------------------------------------------------------------------------------------- tests, starts, budget


def test_other_test_problems_are_refused(folder: Path) -> None:
    run = RunDir(folder / "runs" / "cepo-seed1")
    text = run.evals_file.read_text(encoding="utf-8").replace("5u17e", "0ther")
    write_text(run.evals_file, text)
    with pytest.raises(ComparisonRefused, match="test problems"):
        analysed(folder)


def test_starts_that_differ_are_flagged(folder: Path) -> None:
    run = RunDir(folder / "runs" / "cepo-seed1")
    last = run.evaluations()[-1].as_record()
    start = evaluation(0, 1, dict.fromkeys(("maths", "code", "logic"), 0.2), 0)
    write_text(run.evals_file, "")
    append_line(run.evals_file, start)
    append_line(run.evals_file, last)
    (detail,) = finding(analysed(folder), "start").details
    assert detail.startswith("seed 1: cepo starts -")


def test_unequal_budgets_are_flagged(folder: Path) -> None:
    for seed in (0, 1):
        rewrite(folder, seed, steps=24, settings={"budget": {"steps": 24}})
    found = analysed(folder)
    assert finding(found, "budget").level == "flag"
    assert finding(found, "budget").details[0] == "budget.steps: grpo 12; cepo 24"
    assert "budgets not equal" in found.heading()


def test_the_equalised_axis_is_named(tmp_path: Path) -> None:
    limits = {"budget": {"steps": None, "gen_tokens": 5760}}
    found = analysed(write_comparison(tmp_path / "c", gains=TWO, settings=limits, rollouts=False))
    assert finding(found, "budget").text.startswith("equal sampled tokens")


# ------------------------------------------------------------------------------------------------ on the way


@pytest.mark.parametrize(
    ("options", "sign"),
    [
        ({"gain": -0.38}, "below half of its start"),
        ({"gain": -0.15}, "standard errors over problems"),
        ({"metrics": {"grad/nonfinite": 1.0}}, "12 updates had no finite gradient"),
    ],
)
def test_collapse_is_diagnosed_and_kept(folder: Path, options: dict[str, Any], sign: str) -> None:
    rewrite(folder, **options)
    found = analysed(folder)
    assert sign in found.collapsed["cepo", 1]
    assert "entropy 0." in found.collapsed["cepo", 1]
    assert finding(found, "collapse").level == "flag"
    assert found.verdicts[0].seeds == (0, 1)


def test_training_that_falls_back_is_a_collapse(folder: Path) -> None:
    run = rewrite(folder)
    lines = run.metrics()
    write_text(run.metrics_file, "")
    for line in lines:
        append_line(
            run.metrics_file,
            line
            | {"correct/mean": 0.6 if line["step"] <= 6 else 0.1, "policy/entropy": 0.4 if line["step"] <= 6 else 1e-4},
        )
    why = analysed(folder).collapsed["cepo", 1]
    assert "correct training rollouts fell from 60 % to 10 %" in why
    assert "entropy fell from 0.4 to 0.0001 nats while nothing was learned" in why


def test_learning_is_no_collapse(folder: Path) -> None:
    """Entropy that falls while scores rise is what learning looks like."""
    rewrite(folder, metrics={"policy/entropy": 0.001})
    assert analysed(folder).collapsed == {}


@pytest.mark.parametrize(
    ("check", "metrics"),
    [
        ("truncation", {"status/truncated": 0.3}),
        ("verification", {"status/error": 0.02}),
        ("evidence", {"evidence/auc": 0.51, "evidence/auc_low": 0.47, "evidence/auc_high": 0.55}),
        ("evidence", {"evidence/auc": 0.30, "evidence/auc_low": 0.25, "evidence/auc_high": 0.35}),
        ("evidence", {"evidence/auc": 0.5, "evidence/auc_low": 0.0, "evidence/auc_high": 1.0}),
    ],
)
def test_rates_are_flagged(folder: Path, check: str, metrics: dict[str, float]) -> None:
    rewrite(folder, metrics=metrics)
    assert [each.check for each in analysed(folder).flags] == [check]


def test_evidence_above_chance_passes(folder: Path) -> None:
    rewrite(folder, metrics={"evidence/auc": 0.7, "evidence/auc_low": 0.6, "evidence/auc_high": 0.8})
    assert finding(analysed(folder), "evidence").level == "green"


def with_evidence(folder: Path, aucs: dict[int, tuple[float, float, float]], steps: int = 40) -> CheckResult:
    """The check of a run of `steps` whose steps named here credit by evidence."""
    run = rewrite(folder, steps=steps)
    lines = run.metrics()
    run.metrics_file.unlink()
    for line in lines:
        ends = dict(
            zip(("evidence/auc", "evidence/auc_low", "evidence/auc_high"), aucs.get(line["step"], ()), strict=False)
        )
        append_line(run.metrics_file, {**line, **ends})
    return finding(analysed(folder), "evidence")


def test_evidence_is_judged_by_the_last_steps_that_credited_by_it(folder: Path) -> None:
    """A schedule ended it after step 25 of 40: steps 21 to 25 count, and a step with rollouts of one verdict alone measured nothing."""
    early, late = dict.fromkeys(range(1, 21), (0.7, 0.6, 0.8)), dict.fromkeys(range(21, 26), (0.5, 0.4, 0.6))
    found = with_evidence(folder, early | late)
    assert (found.level, found.details) == ("flag", ("cepo-seed1: 0.50 [0.40, 0.60] over steps 21 to 25",))
    assert with_evidence(folder, early | dict.fromkeys(range(21, 26), (0.5, 0.0, 1.0))).level == "green"


def test_trained_test_problems_are_flagged(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path / "c", gains=TWO)
    assert "no test problem" in finding(analysed(folder), "overlap").text
    run = RunDir(folder / "runs" / "grpo-seed0")
    text = run.evals_file.read_text(encoding="utf-8").replace("maths/test/1/0", "maths/train/1/0-0")
    write_text(run.evals_file, text)
    other = RunDir(folder / "runs" / "cepo-seed0")
    write_text(
        other.evals_file, other.evals_file.read_text(encoding="utf-8").replace("maths/test/1/0", "maths/train/1/0-0")
    )
    found = finding(analysed(folder), "overlap")
    assert found.level == "flag" and "1 test problems were trained on" in found.details[0]


@pytest.mark.parametrize(("start", "gain", "end"), [(0.4, 1.2, "ceiling"), (-0.6, 0.01, "chance")])
def test_domains_without_headroom_are_flagged(tmp_path: Path, start: float, gain: float, end: str) -> None:
    gains = dict.fromkeys(TWO, (gain, gain))
    folder = write_comparison(tmp_path / "c", gains=gains, start=start, rollouts=False)
    found = analysed(folder)
    assert dict(found.saturated) == dict.fromkeys(("maths", "code", "logic"), end)
    assert finding(found, "headroom").level == "flag"


def test_a_run_that_trained_nothing_cannot_collapse(tmp_path: Path) -> None:
    found = analysed(write_comparison(tmp_path / "c", gains=TWO, frozen=True, rollouts=False))
    assert found.grid["frozen"][0].final.step == 0
    assert collapse.diagnose(found.grid["frozen"][0]) is None
