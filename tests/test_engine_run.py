"""Whole runs: repeatable, resumable, and honest about what they refuse. Real model, real data, real verifiers."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rlzoo.algorithms.grpo import Grpo
from rlzoo.engine.model.loading import load_policy, load_tokenizer
from rlzoo.engine.reporting import LastStage, Reporter, Silent
from rlzoo.engine.trainer import train
from rlzoo.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    ModelError,
    RunConflict,
    UnfitModel,
    UnknownName,
    UnmetNeed,
)
from rlzoo.metrics import find, glossary
from rlzoo.registry import objective_class, objectives
from rlzoo.runs.folder import RunDir
from rlzoo.types import Credit, RolloutBatch
from tests.support import LEAST, Disturbed, Listening, final_weights, small_config, without_times

EVERY_STEP = "checkpoint.every=1"
CODE_IN_TESTS_ALONE = ("data.sources=[{name: maths}]", "eval.sources=[{name: code}]")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps, never interrupted."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(small_config(EVERY_STEP, "checkpoint.keep_last=4", steps=4), out)
    return out


def test_two_runs_are_equal_but_for_times(whole: Path, tmp_path: Path):
    train(small_config(EVERY_STEP, "checkpoint.keep_last=4", steps=4), tmp_path / "run")
    assert without_times(RunDir(tmp_path / "run").metrics()) == without_times(RunDir(whole).metrics())
    assert RunDir(tmp_path / "run").evaluations() == RunDir(whole).evaluations()
    assert final_weights(tmp_path / "run") == final_weights(whole)


def test_training_moves_the_weights_and_a_seed_moves_them_elsewhere(whole: Path, tmp_path: Path):
    train(small_config("seed=1", steps=4), tmp_path / "run")
    assert final_weights(tmp_path / "run") != final_weights(whole)
    first = RunDir(whole).checkpoint(1) / "model.safetensors"
    assert first.read_bytes() != (RunDir(whole).checkpoint(4) / "model.safetensors").read_bytes()


def test_every_metric_is_in_the_glossary(whole: Path):
    for line in RunDir(whole).metrics():
        for name in line:
            assert name == "step" or find(name) is not None, f"{name} has no entry in rlzoo.metrics"


def test_a_checkpoint_is_a_model_with_its_tokenizer(whole: Path):
    """As `from_pretrained` reads it, without the run."""
    folder = RunDir(whole).checkpoint(4)
    shipped, kept = load_tokenizer("tiny"), load_tokenizer(str(folder))
    text = "12+34*56#x=?"
    assert kept.encode(text) == shipped.encode(text) and kept.decode(kept.encode(text)) == shipped.decode(
        shipped.encode(text)
    )
    policy = load_policy(small_config(f"model.path={folder}"))
    assert policy.model.config.vocab_size == load_policy(small_config()).model.config.vocab_size


def test_a_step_accounts_for_its_time_and_tokens(whole: Path):
    for line in RunDir(whole).metrics():
        stages = sum(value for name, value in line.items() if name.startswith("time/") and name.split("/")[1] in STAGES)
        assert stages == pytest.approx(line["time/step"])
        assert line["cost/rollouts"] == 24 * line["step"]
        assert line["cost/flops"] > 0


STAGES = ("sample", "verify", "score", "measure", "update", "publish", "other", "diagnose")


def test_rollouts_are_recorded_with_their_verdicts(whole: Path):
    rows = RunDir(whole).rollouts(2)
    assert len(rows) == 24
    for row in rows:
        assert len(row["tokens"]) == len(row["advantages"]) == len(row["scale/policy"]) == len(row["token_texts"])
        assert "".join(row["token_texts"]).startswith(row["text"])
        assert row["correct"] == (row["status"] == "correct")


def test_an_evaluations_responses_are_kept_with_the_verdicts_of_its_record(whole: Path):
    run = RunDir(whole)
    assert run.answered("test") == [0, 4]
    for found in run.evaluations():
        rows = run.answers(found.split, found.step)
        told = [(row["problem_id"], row["status"], row["extracted"], len(row["tokens"])) for row in rows]
        assert told == [
            (attempt.id, *response)
            for attempt in found.attempts
            for response in zip(attempt.status, attempt.answers, attempt.tokens, strict=True)
        ]
        assert all(row["reason"] and row["prompt_text"] and row["step"] == found.step for row in rows)


def test_responses_that_a_kill_left_without_their_record_are_made_once_more_and_kept_once(whole: Path, tmp_path: Path):
    """Killed after the responses were written and before the line of evals.jsonl; and after a step that is made again."""
    _cut_after(tmp_path / "run", whole, 3)
    run = RunDir(tmp_path / "run")
    run.evals_file.write_text("".join(run.evals_file.read_text().splitlines(keepends=True)[:1]))
    shutil.copy(run.answers_file("test", 0), run.answers_file("test", 4))
    shutil.copy(run.answers_file("test", 0), run.answers_file("validation", 9))
    train(small_config(EVERY_STEP, "checkpoint.keep_last=4", steps=4), run.path, resume=True)
    assert [(found.split, found.step) for found in run.evaluations()] == [("test", 0), ("test", 4)]
    assert (run.answered("test"), run.answered("validation")) == ([0, 4], [])
    assert run.answers("test", 4) == RunDir(whole).answers("test", 4)


def _cut_after(out: Path, whole: Path, step: int) -> None:
    """A folder as a run killed in the step after `step` leaves it."""
    shutil.copytree(whole, out)
    run = RunDir(out)
    for later in run.checkpoint_steps():
        if later > step:
            shutil.rmtree(run.checkpoint(later))
    run.write_status("running", step=step)


@pytest.mark.parametrize("step", [1, 3])
def test_resuming_continues_as_if_nothing_had_happened(whole: Path, tmp_path: Path, step: int):
    _cut_after(tmp_path / "run", whole, step)
    config = small_config(EVERY_STEP, "checkpoint.keep_last=4", steps=4)
    result = train(config, tmp_path / "run", resume=True)
    assert (result.state, result.step) == ("done", 4)
    assert final_weights(tmp_path / "run") == final_weights(whole)
    assert without_times(RunDir(tmp_path / "run").metrics()) == without_times(RunDir(whole).metrics())
    assert RunDir(tmp_path / "run").evaluations() == RunDir(whole).evaluations()


def test_a_damaged_newest_checkpoint_is_passed_over_and_reported(whole: Path, tmp_path: Path):
    _cut_after(tmp_path / "run", whole, 3)
    file = RunDir(tmp_path / "run").checkpoint(3) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    listening = Listening()
    train(
        small_config(EVERY_STEP, "checkpoint.keep_last=4", steps=4), tmp_path / "run", resume=True, reporter=listening
    )
    assert any("step-000003" in text and "damaged" in text for text in listening.warned)
    assert final_weights(tmp_path / "run") == final_weights(whole)


def test_only_damaged_checkpoints_are_refused_and_kept(whole: Path, tmp_path: Path):
    _cut_after(tmp_path / "run", whole, 1)
    (RunDir(tmp_path / "run").checkpoint(1) / "trainer" / "state.pt").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="damaged"):
        train(small_config(EVERY_STEP, "checkpoint.keep_last=4", steps=4), tmp_path / "run", resume=True)
    assert RunDir(tmp_path / "run").checkpoint_steps() == [1]


def test_resume_with_other_settings_lists_the_differences(whole: Path):
    with pytest.raises(ConfigError, match=r"learner\.lr: 0\.0004 -> 0\.0002"):
        train(small_config(EVERY_STEP, "checkpoint.keep_last=4", "learner.lr=2e-4", steps=4), whole, resume=True)


def test_another_run_is_not_overwritten_unasked(whole: Path, tmp_path: Path):
    before = (whole / "metrics.jsonl").read_bytes()
    with pytest.raises(RunConflict, match="--overwrite"):
        train(small_config(steps=4), whole)
    assert (whole / "metrics.jsonl").read_bytes() == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunConflict, match="holds no run"):
        train(small_config(), tmp_path, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_resume_refuses_changed_data(whole: Path, tmp_path: Path):
    rows = [{"prompt": f"{i}+1=?", "answer": str(i + 1), "domain": "maths", "verifier": "maths"} for i in range(60)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = f"data.sources=[{{name: file, options: {{path: {file}}}}}]"
    config = small_config(EVERY_STEP, source, "eval.at_start=false", "eval.at_end=false", steps=2)
    train(config, tmp_path / "run")
    rows[7]["answer"] = "0"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = final_weights(tmp_path / "run")
    with pytest.raises(ConfigError, match="data of the run"):
        train(config, tmp_path / "run", resume=True)
    assert final_weights(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("assignments", "error", "words"),
    [
        (["sampling.group_size=1"], UnmetNeed, "at least 2 rollouts"),
        (["model.path=/nowhere/at/all"], UnfitModel, "does not exist"),
        (["model.path=nonsense"], UnfitModel, "no model 'nonsense'"),
        (["objective={name: mcpo-contrastive}", "data.sources=[{name: maths}]"], UnmetNeed, "at least 2 domains"),
        (["objective={name: mcpo-mastery}", "learner.updates_per_step=1"], UnmetNeed, "previous_step"),
        (["eval.sources=[{name: nosuch}]"], UnknownName, "'nosuch'"),
        (["objective={name: cepo, base: 3}"], UnknownName, "3 names no objective"),
        (["objective={name: cepo, base: [a]}"], UnknownName, "no objective is named 'a'"),
        (["data.sources=[{name: maths, options: {levels: 3}}]"], ConfigError, r"levels of maths is 3.*\[1, 2\]"),
        ([*CODE_IN_TESTS_ALONE, "verifier.sandbox=none"], UnmetNeed, "cannot be verified"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    assignments: list[str], error: type[Exception], words: str, tmp_path: Path
):
    with pytest.raises(error, match=words):
        train(small_config(*assignments), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_programs_that_are_only_tested_are_isolated_and_recorded(tmp_path: Path):
    train(small_config(*CODE_IN_TESTS_ALONE, "control.frozen=true"), tmp_path / "run")
    run = RunDir(tmp_path / "run")
    origin = run.provenance()
    assert origin is not None and origin.sandbox is not None and set(origin.verdicts) == {"maths", "code"}
    assert all("error" not in attempt.status for attempt in run.evaluations()[0].attempts)


def test_answers_that_are_only_tested_are_tried_at_load(tmp_path: Path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "1+1=?", "answer": "\\\\frac{1}{", "verifier": "maths", "split": "test"}\n')
    with pytest.raises(DataError, match=r"1 of 1 answers.*cannot be read"):
        train(small_config(f"eval.sources=[{{name: file, options: {{path: {rows}}}}}]"), tmp_path / "run")


def test_the_suites_fingerprint_changes_with_what_judges_it(tmp_path: Path):
    def suite(**more: Any) -> str:
        row = {"prompt": "1+1=?", "answer": "2", "verifier": "maths", "split": "test", **more}
        (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
        source = f"eval.sources=[{{name: file, options: {{path: {tmp_path / 'rows.jsonl'}}}}}]"
        train(small_config(*LEAST, source, "control.frozen=true"), tmp_path / "run", overwrite=True)
        return RunDir(tmp_path / "run").evaluations()[0].suite

    plain = suite()
    assert suite() == plain
    assert len({plain, suite(verifier="router", domain="maths"), suite(metadata={"equality": "strict"})}) == 3


def test_ctrl_c_in_a_step_ends_the_run_after_it(tmp_path: Path):
    config = small_config("eval.at_start=false", "eval.at_end=false", steps=3)
    asks = Disturbed("update", lambda: signal.raise_signal(signal.SIGINT))
    result = train(config, tmp_path / "run", reporter=asks)
    assert (result.state, result.step, result.reason) == ("interrupted", 1, "stopped by Ctrl-C after the step at hand")
    assert RunDir(tmp_path / "run").checkpoint_steps() == [1]


@pytest.mark.parametrize(("assignment", "step"), [("eval.at_end=false", 0), ("eval.at_start=false", 2)])
def test_an_interrupt_in_an_evaluation_is_recorded_as_one(assignment: str, step: int, tmp_path: Path):
    config = small_config(assignment, steps=2)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "run", reporter=Disturbed("evaluate", lambda: signal.raise_signal(signal.SIGINT)))
    finally:
        signal.signal(signal.SIGINT, before)
    run = RunDir(tmp_path / "run")
    assert (run.status().state, run.status().step) == ("interrupted", step)
    assert "Ctrl-C" in run.status().reason
    train(config, run.path, resume=True)
    assert (run.status().state, run.status().step, len(run.evaluations())) == ("done", 2, 1)


def test_whoever_watches_is_told_of_everything_but_for_the_stage_that_is_remembered() -> None:
    heard: list[tuple[str, object]] = []

    class Overheard(Silent):
        def __getattribute__(self, name: str) -> Any:
            return lambda *told: heard.append((name, told))

    between = LastStage(Overheard())
    calls: dict[str, tuple[Any, ...]] = {
        "plan": ("p",), "stage": ("verify",), "step": (3, {"reward/mean": 0.5}), "evaluated": ("e",), "note": ("n",), "warn": ("w",),
    }  # fmt: skip
    for name, told in calls.items():
        getattr(between, name)(*told)
    assert heard == list(calls.items())
    assert between.name == "verify"
    assert set(calls) == {name for name in vars(Reporter) if not name.startswith("_")}


def test_a_run_that_starts_again_without_a_checkpoint_is_running(tmp_path: Path):
    def fail() -> None:
        raise RuntimeError("no power")

    config, run = small_config("eval.at_start=false", "eval.at_end=false", steps=1), RunDir(tmp_path / "run")
    with pytest.raises(RuntimeError, match="no power"):
        train(config, run.path, reporter=Disturbed("sample", fail))
    assert run.status().state == "failed"
    seen: list[tuple[str, int | None]] = []
    look = Disturbed("sample", lambda: seen.append((run.status().state, run.status().step)))
    train(config, run.path, resume=True, reporter=look)
    assert seen == [("running", 0)]


def test_a_model_that_is_nowhere_is_said_once():
    for load in (lambda: load_tokenizer("nosuch"), lambda: load_policy(small_config("model.path=nosuch"))):
        with pytest.raises(UnfitModel, match=r"^there is no model 'nosuch'"):
            load()


def test_a_folder_that_is_no_model_and_a_model_without_an_end(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnfitModel, match=r"no config\.json"):
        train(small_config(f"model.path={tmp_path / 'empty'}"), tmp_path / "run")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from rlzoo.engine.model.loading import locate

    model: Any = AutoModelForCausalLM.from_pretrained(locate("tiny"))
    tokenizer: Any = AutoTokenizer.from_pretrained(locate("tiny"))
    tokenizer.pad_token = None
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "unpadded")
    quick = ("eval.at_start=false", "eval.at_end=false", f"model.path={tmp_path / 'unpadded'}")
    assert train(small_config(*quick, steps=1), tmp_path / "unpadded-run").state == "done"
    model.generation_config.eos_token_id = model.config.eos_token_id = tokenizer.eos_token = None
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "endless")
    with pytest.raises(ModelError, match="no response could end"):
        train(small_config(f"model.path={tmp_path / 'endless'}"), tmp_path / "endless-run")
    assert RunDir(tmp_path / "endless-run").evaluations() == []


UNLIKE = ("grpo", "cepo", "mcpo-contrastive", "mcpo-mastery", "dapo", "sdpo", "opd", "dpo", "ppo")
"""Objectives that ask the engine for unlike things; the others are tried at length."""


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *(
            pytest.param(
                name,
                ("objective.teacher_path=tiny-clean",) if name == "opd" else (),
                marks=() if name in UNLIKE else pytest.mark.long,
                id=name,
            )
            for name in objectives.names()
        ),
        ("cepo", ("objective.teacher=snapshot", "objective.teacher_every=2")),  # a copy of weights that are gone
    ],
)
def test_every_objective_runs_with_diagnostics_and_resumes(name: str, settings: tuple[str, ...], tmp_path: Path):
    each = ("diagnostics.every=2", "checkpoint.every=2", "eval.at_start=false")
    config = small_config(*each, *settings, algo=name, steps=3)
    train(config, tmp_path / "whole")
    own = glossary(objective_class(name).metrics)
    for line in RunDir(tmp_path / "whole").metrics():
        assert all(key == "step" or find(key, own) for key in line), sorted(k for k in line if not find(k, own))
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(RunDir(tmp_path / "cut").checkpoint(3))
    train(config, tmp_path / "cut", resume=True)
    assert final_weights(tmp_path / "cut") == final_weights(tmp_path / "whole")
    assert without_times(RunDir(tmp_path / "cut").metrics()) == without_times(RunDir(tmp_path / "whole").metrics())
    assert (tmp_path / "cut" / "diagnostics.jsonl").read_text() == (
        tmp_path / "whole" / "diagnostics.jsonl"
    ).read_text()
    begun = RunDir(tmp_path / "cut").provenance()
    assert begun is not None and set(begun.others) == ({"teacher"} if name == "opd" else set())
    if begun.others:  # as if it had been trained under another
        RunDir(tmp_path / "cut").write_provenance(replace(begun, others={"teacher": "0ther"}))
        with pytest.raises(ConfigError, match=r"asked as teacher .* has other weights than when it began"):
            train(config, tmp_path / "cut", resume=True)


@pytest.mark.parametrize("kind", ["random", "shuffled", "format-only"])
def test_control_rewards_leave_correctness_alone(kind: str, whole: Path, tmp_path: Path):
    train(small_config(f"control.reward={kind}", "eval.at_start=false", "eval.at_end=false", steps=1), tmp_path / "run")
    first, truth = RunDir(tmp_path / "run").metrics()[0], RunDir(whole).metrics()[0]
    assert first["correct/mean"] == truth["correct/mean"]
    rows, true_rows = RunDir(tmp_path / "run").rollouts(1), RunDir(whole).rollouts(1)
    assert [row["text"] for row in rows] == [row["text"] for row in true_rows]
    rewards, true_rewards = [r["reward"] for r in rows], [r["reward"] for r in true_rows]
    assert rewards != true_rewards
    if kind == "shuffled":
        assert sorted(rewards) == sorted(true_rewards)


def test_a_frozen_run_trains_nothing(tmp_path: Path):
    result = train(small_config("control.frozen=true"), tmp_path / "run")
    assert (result.state, result.step) == ("done", 0)
    assert [found.step for found in RunDir(tmp_path / "run").evaluations()] == [0]
    assert RunDir(tmp_path / "run").metrics() == []


def test_a_token_budget_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Credit is told on the way of which update each row is."""
    seen: list[RolloutBatch] = []
    credited = Grpo.assign_credit

    def watched(self: Grpo[Any], batch: RolloutBatch) -> Credit:
        seen.append(batch)
        return credited(self, batch)

    monkeypatch.setattr(Grpo, "assign_credit", watched)
    config = small_config("budget.gen_tokens=900", "eval.at_start=false", "eval.at_end=false", steps=50)
    result = train(config, tmp_path / "run")
    last = RunDir(tmp_path / "run").metrics()[-1]
    assert "gen_tokens" in result.reason
    assert 900 <= last["cost/gen_tokens"] < 900 + 24 * 24
    updates = config.learner.updates_per_step
    assert updates > 1
    assert seen and all(sorted(set(batch.update_ids_B.tolist())) == list(range(updates)) for batch in seen)
