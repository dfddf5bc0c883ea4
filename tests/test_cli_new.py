"""`rlzoo new objective` writes something that works as it stands."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from rlzoo.cli import main, new

BIN = Path(sys.executable).parent


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.long
def test_its_test_passes_and_train_and_check_take_it(tmp_path: Path) -> None:
    written = run(BIN / "rlzoo", "new", "objective", "my-idea", cwd=tmp_path)
    assert written.returncode == 0, written.stderr
    folder = tmp_path / "my-idea"
    assert written.stdout.splitlines() == [
        f"my-idea/{name}" for name in ("my_idea.py", "test_my_idea.py", "pyproject.toml", "README.md")
    ]
    tested = run(BIN / "pytest", "-q", "test_my_idea.py", cwd=folder)
    assert tested.returncode == 0, tested.stdout
    checked = run(BIN / "rlzoo", "check", "objective", "./my_idea.py:MyIdea", cwd=folder)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "laws hold" in checked.stdout
    small = [
        "--set=sampling.prompts_per_step=2",
        "--set=learner.updates_per_step=2",
        "--set=sampling.group_size=4",
        "--set=eval.at_start=false",
        "--set=eval.at_end=false",
    ]
    trained = run(BIN / "rlzoo", "train", "--algo", "./my_idea.py:MyIdea", "--steps", "1", *small, cwd=folder)
    assert trained.returncode == 0, trained.stdout + trained.stderr


def test_the_subclass_is_short_and_the_entry_point_leads_to_it(tmp_path: Path) -> None:
    assert main.run(["new", "objective", "my-idea", "--out", str(tmp_path / "p")]) == 0
    source = (tmp_path / "p" / "my_idea.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 30
    project = tomllib.loads((tmp_path / "p" / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["entry-points"]["rlzoo.objectives"] == {"my-idea": "my_idea:MyIdea"}
    assert "@" not in source + (tmp_path / "p" / "test_my_idea.py").read_text(encoding="utf-8").replace("@pytest", "")


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "my_idea.py"
    own.write_text("precious", encoding="utf-8")
    assert main.run(["new", "objective", "my-idea", "--out", str(tmp_path)]) == 2
    assert "holds my_idea.py already; nothing was changed" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["my_idea.py"]
    assert own.read_text(encoding="utf-8") == "precious"
    assert main.run(["new", "objective", "my-idea", "--out", str(own)]) == 2


@pytest.mark.parametrize(
    "name", ["My-Idea", "../x", "a b", "1st", "x--y", "import", "json", "torch", "rlzoo", "grpo", "a\x1b[31m", ""]
)
def test_bad_names_are_refused(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.run(["new", "objective", name]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert "\x1b" not in err
    assert not list(tmp_path.iterdir())


def test_the_written_code_is_in_our_own_style(tmp_path: Path) -> None:
    for file, text in new.package("my-idea").items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    config = Path(__file__).resolve().parents[1] / "pyproject.toml"
    for command in (["check", "--ignore=D,I001"], ["format", "--check"]):
        done = run(BIN / "ruff", *command, "--no-cache", "--config", config, str(tmp_path), cwd=tmp_path)
        assert done.returncode == 0, done.stdout
    assert os.listdir(tmp_path)
