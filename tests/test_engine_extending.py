"""A finished run that is given a larger budget goes on as if it had had it from the start."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rlzoo.cli import main
from rlzoo.engine.trainer import train
from rlzoo.errors import CheckpointError, ConfigError
from rlzoo.runs.folder import RunDir
from rlzoo.runs.identity import settings_digest
from tests.support import LEAST, as_flags, final_weights, small_config, without_times

QUIET = (*LEAST, "eval.at_start=false", "eval.at_end=false", "checkpoint.every=0")


def test_an_extended_run_is_the_longer_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One step, then another two: the weights, metrics and order of problems of three steps at once."""
    whole, run = tmp_path / "whole", RunDir(tmp_path / "run")
    train(small_config(*QUIET, steps=3), whole)
    flags = as_flags(*QUIET)
    assert main.run(["train", "--algo", "grpo", "--out", str(run.path), "--steps", "1", *flags]) == 0
    assert run.status().step == 1
    capsys.readouterr()
    assert main.run(["train", "--resume", "--out", str(run.path), "--steps", "3"]) == 0
    assert "its budget was steps = 1 up to step 1 and is steps = 3 from there on." in capsys.readouterr().err
    assert final_weights(run.path) == final_weights(whole)
    assert without_times(run.metrics()) == without_times(RunDir(whole).metrics())
    assert (run.status().state, run.status().step, run.status().reason) == ("done", 3, "budget.steps = 3 is spent")
    assert run.config().budget.limits() == {"steps": 3}
    found = run.provenance()
    assert found is not None
    assert [(stretch.after_step, stretch.budget) for stretch in found.ran] == [(0, {"steps": 1}), (1, {"steps": 3})]
    assert found.settings == settings_digest(run.settings()), "or a comparison would take it for another run"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    run = RunDir(tmp_path_factory.mktemp("finished") / "run")
    train(small_config(*QUIET, steps=2), run.path)
    return run


def test_a_damaged_record_is_mended_on_the_way(finished: RunDir, tmp_path: Path) -> None:
    run = RunDir(Path(shutil.copytree(finished.path, tmp_path / "run")))
    lines = run.metrics_file.read_text().splitlines(keepends=True)
    run.metrics_file.write_text("{\n" + lines[1])
    assert train(small_config(*QUIET, steps=3), run.path, resume=True).step == 3
    assert [line["step"] for line in run.metrics()] == [1, 2, 3]
    assert run.config().budget.limits() == {"steps": 3}


def test_a_run_that_cannot_be_loaded_keeps_its_settings(finished: RunDir, tmp_path: Path) -> None:
    run = RunDir(Path(shutil.copytree(finished.path, tmp_path / "run")))
    before = (run.path / "config.yaml").read_bytes()
    (run.checkpoint(2) / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError):
        train(small_config(*QUIET, steps=3), run.path, resume=True)
    assert (run.path / "config.yaml").read_bytes() == before


def test_its_own_budget_asks_for_nothing(finished: RunDir) -> None:
    assert train(small_config(*QUIET, steps=2), finished.path, resume=True).step == 2


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (["budget.steps=1"], r"has spent 2 of its steps, and budget\.steps = 1 is not above that"),
        (
            ["budget.steps=9", "budget.gen_tokens=5"],
            r"its sampled tokens, and budget\.gen_tokens = 5 is not above that",
        ),
        (["budget.steps=9", "learner.lr=1e-3"], r"learner\.lr: 0\.0004 -> 0\.001"),
    ],
)
def test_a_budget_that_is_spent_and_any_other_setting_are_refused(
    finished: RunDir, changed: list[str], words: str
) -> None:
    before = (finished.path / "config.yaml").read_bytes()
    with pytest.raises(ConfigError, match=words):
        train(small_config(*QUIET, *changed), finished.path, resume=True)
    assert (finished.path / "config.yaml").read_bytes() == before


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_schedule_that_ends_with_the_budget_cannot_be_extended(tmp_path: Path, schedule: str) -> None:
    bent = f"learner.schedule={schedule}"
    train(small_config(*QUIET, bent, steps=1), tmp_path / "run")
    with pytest.raises(ConfigError, match=rf"{schedule}, which falls until its budget is spent"):
        train(small_config(*QUIET, bent, steps=2), tmp_path / "run", resume=True)
    assert RunDir(tmp_path / "run").config().budget.steps == 1
