"""Where a path in settings leads, and that the same file is the same objective however it is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlzoo import configure
from rlzoo.anchoring import unplaced
from rlzoo.cli import main
from rlzoo.experiment import design
from rlzoo.runs.folder import RunDir
from tests.support import as_flags, final_weights, without_times

FEW = as_flags(
    "sampling.prompts_per_step=2", "sampling.group_size=2", "sampling.max_response=4", "eval.at_start=false", "eval.at_end=false",
    "eval.curve=0", "threads=1",
)  # fmt: skip
OBJECTIVE = """
from rlzoo.algorithms.grpo import Grpo


class Mine(Grpo):
    name = "mine"
"""


@pytest.fixture(autouse=True)
def _with_an_objective(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(OBJECTIVE)


@pytest.mark.parametrize("named", ["mine.py", "mine.py:Mine"])
@pytest.mark.parametrize(
    "asked", [{"algo": "mine.py"}, {"algo": "mine.py:Mine"}, {"assignments": ["objective.name=mine.py:Mine"]}]
)
def test_naming_a_file_again_keeps_the_settings_made_for_it(named: str, asked: dict[str, object]) -> None:
    Path("s.yaml").write_text(f"objective: {{name: '{named}', clip_low: 0.123}}")
    config = configure.load(file="s.yaml", **asked)  # type: ignore[arg-type]
    assert config.objective.name == f"{Path.cwd()}/mine.py:Mine"
    assert config.objective.model_dump()["clip_low"] == 0.123


def test_another_objective_does_not_get_them() -> None:
    Path("s.yaml").write_text("objective: {name: 'mine.py', clip_low: 0.123}")
    assert configure.load(file="s.yaml", algo="grpo").objective.model_dump()["clip_low"] == 0.2


def test_an_arm_of_a_comparison_gets_them() -> None:
    Path("s.yaml").write_text("objective: {name: 'mine.py:Mine', clip_low: 0.123}")
    request = design.ComparisonRequest(arms=("mine.py:Mine", "cepo"), file=Path("s.yaml"), seeds=(0,))
    runs = {run.arm: run.config for run in design.make(request).runs}
    assert runs["mine"].objective.model_dump()["clip_low"] == 0.123


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("seed=1180591620717411303424", "seed"),
        ("verifier={5: 1}", "verifier"),
        ("model.path=~nosuch/x", "~nosuch/x"),
        ("verifier={maths: 1}", "verifier.maths"),
    ],
)
def test_what_is_no_path_is_told_as_that(setting: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["train", "--dry-run", "--set", setting]) == 2
    told = capsys.readouterr().err
    assert said in told and "bug" not in told


def test_data_of_a_home_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["train", "--dry-run", "--data", "~nosuch/x.jsonl"]) == 2
    told = capsys.readouterr().err
    assert "~nosuch/x.jsonl" in told and "bug" not in told


@pytest.mark.parametrize(
    ("name", "known"),
    [("/a/b/v.py:V", "v.py:V"), ("/a/b/v.py", "v.py"), ("maths", "maths"), ("package.module:V", "package.module:V")],
)
def test_a_fingerprint_knows_no_folder(name: str, known: str) -> None:
    assert unplaced(name) == known


def test_a_project_that_was_moved_goes_on_where_its_data_are_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as the undisturbed run; data that are not the same are refused."""
    rows = "".join(
        json.dumps({"prompt": f"{a}+1=?", "answer": str(a + 1), "domain": "maths", "level": 1}) + "\n"
        for a in range(12)
    )
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    (old / "rows.jsonl").write_text(rows)
    monkeypatch.chdir(old)
    asked = ["train", "--algo", "grpo", "--data", "rows.jsonl", "--out", "run", *FEW]
    assert main.run([*asked, "--steps", "2"]) == 0
    once = run_digests(RunDir(old / "run"))
    assert main.run([*asked[:5], "--out", "first", *FEW, "--steps", "1"]) == 0
    order = RunDir(old / "run").provenance()
    old.rename(new)
    monkeypatch.chdir(new)
    assert main.run(["train", "--resume", "--out", "first", "--data", "rows.jsonl", "--steps", "2"]) == 0
    assert run_digests(RunDir(new / "first")) == once
    moved = RunDir(new / "first").provenance()
    assert moved is not None and order is not None and moved.order == order.order
    assert str(new / "rows.jsonl") in (new / "first" / "config.yaml").read_text()
    (new / "rows.jsonl").write_text(rows.replace("11+1", "10+1"))
    assert main.run(["train", "--resume", "--out", "first", "--data", "rows.jsonl", "--steps", "3"]) == 2


def run_digests(run: RunDir) -> list[object]:
    return [final_weights(run.path), without_times(run.metrics())]
