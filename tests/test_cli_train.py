"""The whole command over the real engine, with a model of random weights: it runs, ends, shows, tests and resumes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlzoo.cli import main
from rlzoo.runs.folder import RunDir

SMALL = [
    *(
        "--set",
        "sampling.prompts_per_step=6",
        "--set",
        "learner.updates_per_step=2",
        "--set",
        "sampling.group_size=2",
        "--set",
        "sampling.max_response=6",
    ),
    *("--set", "eval.problems_per_level=1", "--set", "eval.samples=2"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights behind the embedded models' own tokenizer."""
    from rlzoo.models import make as warmstart

    folder = tmp_path_factory.mktemp("model")
    words = warmstart.tokenizer()
    warmstart.untrained(words, 0).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def test_train_show_and_eval(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["train", "--algo", "grpo", "--steps", "2", "--model", str(model), *SMALL]) == 0
    first = capsys.readouterr()
    assert first.out.splitlines()[-1] == "Run: runs/grpo-seed0"
    assert "change, paired" in first.out
    assert "step 1/2  reward" in first.err
    assert "step 2/2  reward" in first.err
    assert first.err.startswith("note: recipe cpu-default, since ")
    assert max(len(line) for line in (first.out + first.err).splitlines() if not line.startswith("note: ")) <= 80
    run = RunDir(Path("runs/grpo-seed0"))
    assert run.status().state == "done"
    assert [(found.split, found.step) for found in run.evaluations()] == [("test", 0), ("curve", 1), ("test", 2)]

    assert main.run(["show", str(run.path), "--step", "1", "--limit", "0"]) == 0
    assert capsys.readouterr().out.count("  rollout ") == 12

    assert main.run(["eval", str(run.path), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (
        again["record"]["problems"] == run.evaluations()[-1].as_record()["problems"]
    )  # same suite, same noise: same answers


def test_an_evaluation_is_kept_with_its_responses_where_asked(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--samples", "2", "--per-level", "1", "--set", "threads=1"]
    assert main.run(["eval", str(model), "--out", "kept", "--json", *small]) == 0
    told = json.loads(capsys.readouterr().out)["record"]
    kept = RunDir(Path("kept"))
    assert [found.as_record() for found in kept.evaluations()] == [told]
    rows = kept.answers("test", 0)
    assert [row["status"] for row in rows] == [each for problem in told["problems"] for each in problem["status"]]
    assert main.run(["show", "kept", "--eval", "--limit", "0"]) == 0
    assert capsys.readouterr().out.count("  response ") == len(rows) == 2 * len(told["problems"])
    assert main.run(["runs", "."]) == 0
    assert "kept" in capsys.readouterr().out

    assert main.run(["eval", str(model), "--out", "kept", *small]) == 2
    assert "'kept' holds files already" in capsys.readouterr().err
    assert [found.as_record() for found in kept.evaluations()] == [told]
    assert main.run(["eval", "nowhere", "--out", "empty", *small]) == 2
    assert not Path("empty").exists()
    Path("file").write_text("")
    assert main.run(["eval", str(model), "--out", "file/below", *small]) == 2
    assert "Give another --out" in capsys.readouterr().err


def test_a_taken_folder_is_refused_and_a_finished_run_may_be_resumed(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ["train", "--algo", "grpo", "--steps", "1", "--model", str(model), "--out", "mine", *SMALL]
    assert main.run([*ask, "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["plan", "evaluated", "step", "evaluated", "result"]
    before = RunDir(Path("mine")).metrics_file.read_bytes()
    assert main.run(ask) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main.run(["train", "--resume", "--out", "mine", "--set", "learner.lr=1"]) == 2
    assert "learner.lr" in capsys.readouterr().err
    assert main.run(["train", "--resume", "--out", "mine"]) == 0
    assert RunDir(Path("mine")).metrics_file.read_bytes() == before


def test_a_refused_run_leaves_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    Path("nothing").mkdir()
    assert main.run(["train", "--model", "nothing"]) == 2
    assert "no config.json" in capsys.readouterr().err
    assert not list(Path("runs").iterdir())
    assert main.run(["train", "--set", "sampling.group_size=1"]) == 2
    assert not list(Path("runs").iterdir())


def test_without_a_whole_checkpoint_no_resumption_is_advised(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["train", "--algo", "grpo", "--steps", "1", "--model", str(model), *SMALL]) == 0
    run = RunDir(Path("runs/grpo-seed0"))
    for step in run.checkpoint_steps():
        (run.checkpoint(step) / "model.safetensors").write_bytes(b"")
    capsys.readouterr()
    assert main.run(["train", "--resume", "--out", str(run.path), "--steps", "2"]) == 1
    said = capsys.readouterr().err
    assert "all checkpoints" in said and "--overwrite" in said
    assert "--resume" not in said and "bug" not in said


def test_a_dry_run_prints_the_plan_and_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["train", "--dry-run", "--steps", "5"]) == 0
    assert "5 steps" in capsys.readouterr().out
    assert main.run(["train", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rollouts_per_step"] == 512
    assert not Path("runs").exists()


@pytest.mark.long
def test_files_that_lie_in_the_folder_are_not_imported(tmp_path: Path) -> None:
    """Verifier workers are processes of their own; a folder may hold a json.py or a clone of this repository."""
    (tmp_path / "json.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
    (tmp_path / "rlzoo").mkdir()
    script = Path(sys.executable).parent / "rlzoo"
    small = ["--set=sampling.prompts_per_step=2", "--set=learner.updates_per_step=2", "--set=eval.at_start=false"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(
        [script, "train", "--steps", "1", "--set=eval.at_end=false", *small],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
