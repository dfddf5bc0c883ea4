"""A run's folder made or refused, and its checkpoints kept, found and forgotten, each without a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rlzoo.engine import checkpoint
from rlzoo.engine.opening import open_folder
from rlzoo.errors import CheckpointError, ConfigError, RunConflict
from rlzoo.laws.lab import toy_config
from rlzoo.runs.folder import RunDir
from rlzoo.runs.lock import FolderLock

CONFIG = toy_config("grpo")


def opened(run: RunDir, config: Any = CONFIG, *, resume: bool = False, overwrite: bool = False) -> list[Any]:
    """What there was of the run each time its folder was claimed."""
    claims: list[Any] = []
    with FolderLock(run.path) as lock:
        open_folder(
            run, config, lock, resume=resume, overwrite=overwrite,
            claim=lambda: claims.append((run.config(), run.status().state)),
        )  # fmt: skip
    return claims


def names(run: RunDir) -> list[str]:
    return sorted(path.name for path in run.path.iterdir())


@pytest.mark.parametrize("there", [False, True])
def test_a_new_folder_is_claimed_before_its_status_is_written(there: bool, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "some" / "run")
    if there:
        run.path.mkdir(parents=True)
        (run.path / ".config.yaml.ab12_cd9").write_text("left by a killed writer")
    assert opened(run) == [(CONFIG, "unknown")]
    assert (run.status().state, run.status().step) == ("running", 0)
    assert names(run) == ["config.yaml", "status.json"]


def test_what_is_in_the_way_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunConflict, match=r"file is a file.*--out"):
        opened(RunDir(tmp_path / "file"))
    with pytest.raises(RunConflict, match=r"cannot be written: Not a directory.*--out"):
        opened(RunDir(tmp_path / "file" / "run"))
    folder = RunDir(tmp_path / "folder")
    folder.path.mkdir()
    (folder.path / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(RunConflict, match="not empty and holds no run; nothing was changed") as told:
            opened(folder, overwrite=overwrite)
        assert "--overwrite" not in str(told.value)
    with pytest.raises(RunConflict, match=r"no run in .* to resume.*Leave out --resume"):
        opened(folder, resume=True)
    assert names(folder) == ["notes.txt"]


def test_a_run_is_replaced_only_where_that_is_asked(tmp_path: Path) -> None:
    run, beside = RunDir(tmp_path / "run"), tmp_path / "beside"
    opened(run)
    beside.mkdir()
    (beside / "kept.txt").write_text("kept")
    (run.path / "checkpoints").mkdir()
    (run.path / "link").symlink_to(beside)
    run.write_status("done", step=7)
    before = names(run)
    with pytest.raises(RunConflict, match=r"holds a run; nothing was changed.*--overwrite.*--resume.*--out"):
        opened(run)
    assert (names(run), run.status().step) == (before, 7)
    other = toy_config("grpo", learner={"lr": 0.5})
    assert opened(run, other, overwrite=True) == [(other, "unknown")]
    assert (names(run), run.status().step) == (["config.yaml", "status.json"], 0)
    assert (beside / "kept.txt").read_text() == "kept"


def test_a_run_goes_on_with_its_own_settings_and_none_of_it_is_touched(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    opened(run)
    run.write_status("failed", step=7)
    assert opened(run, resume=True) == []
    with pytest.raises(ConfigError, match=r"(?s)other settings.*\n  learner\.lr: 0\.001 -> 0\.5\n.*another folder"):
        opened(run, toy_config("grpo", learner={"lr": 0.5}), resume=True)
    assert (run.status().state, run.status().step, run.config()) == ("failed", 7, CONFIG)


def test_a_folder_that_another_trains_in_is_refused(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    opened(run)
    with FolderLock(run.path) as other:
        other.take()
        for how in ({"resume": True}, {"overwrite": True}, {}):
            with pytest.raises(RunConflict) as told:
                opened(run, **how)
            assert "holds a run" not in str(told.value)


# -- checkpoints ------------------------------------------------------------------------------------------


class Written:
    """Writes what a model or a tokenizer writes, in a few bytes."""

    def __init__(self, text: str = "weights") -> None:
        self.text = text

    def save(self, folder: Path) -> None:
        if not self.text:
            raise OSError("no room")
        (folder / "model.safetensors").write_text(self.text)

    def save_pretrained(self, folder: Path) -> None:
        (folder / "tokenizer.json").write_text("tokens")


def saved(run: RunDir, step: int, text: str = "weights") -> None:
    written: Any = Written(text)
    checkpoint.save(run, step, written, written, {"step": step, "x": torch.ones(2)}, {})


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def hidden(run: RunDir) -> list[str]:
    return sorted(path.name for path in run.checkpoints.glob(".*"))


def test_a_checkpoint_lists_what_it_holds_and_is_read_back(run: RunDir) -> None:
    saved(run, 2, "old")
    (run.checkpoints / ".step-000002.partial").mkdir()
    (run.checkpoints / ".step-000002.damaged").mkdir()
    saved(run, 2, "new")
    folder = run.checkpoint(2)
    assert (folder / "model.safetensors").read_text() == "new" and hidden(run) == []
    manifest = json.loads((folder / checkpoint.MANIFEST).read_text())
    assert manifest["step"] == 2
    assert {"model.safetensors", "tokenizer.json", "trainer/state.pt"} <= set(manifest["files"])
    assert checkpoint.MANIFEST not in manifest["files"]
    state = checkpoint.load_state(folder)
    assert state["step"] == 2 and state["x"].tolist() == [1.0, 1.0]
    with pytest.raises(OSError, match="no room"):
        saved(run, 3, "")
    assert (run.checkpoint_steps(), hidden(run)) == ([2], []), "what was half written makes room"


def test_the_newest_whole_checkpoint_is_found_and_damaged_ones_are_named(run: RunDir) -> None:
    assert checkpoint.newest(run) == (0, [])
    for step in (1, 2, 3, 4):
        saved(run, step)
    assert checkpoint.newest(run) == (4, [])
    (run.checkpoint(1) / "tokenizer.json").unlink()
    (run.checkpoint(4) / "model.safetensors").write_text("other")
    newest, told = checkpoint.newest(run)
    assert newest == 3 and told == [
        "checkpoint step-000001 is damaged (tokenizer.json is missing); it counts no longer.",
        "checkpoint step-000004 is damaged (model.safetensors is not what was written); falling back to step-000003.",
    ]
    assert (run.checkpoint_steps(), checkpoint.owed(run)) == ([2, 3], frozenset({1, 4}))
    for step in (2, 3):
        (run.checkpoint(step) / checkpoint.MANIFEST).write_text("[]")
    with pytest.raises(
        CheckpointError, match=r"all checkpoints .*step-000002: its manifest cannot be read; step-000003"
    ):
        checkpoint.newest(run)
    assert run.checkpoint_steps() == [2, 3]


@pytest.mark.parametrize(
    ("last", "keep", "left"), [(2, None, [4, 5]), (2, 1, [1, 4, 5]), (1, 5, [5]), (9, 2, [1, 2, 3, 4, 5])]
)
def test_all_but_the_last_and_the_best_are_forgotten(last: int, keep: int | None, left: list[int], run: RunDir) -> None:
    for step in (1, 2, 3, 4, 5):
        run.checkpoint(step).mkdir(parents=True)
    for name in ("3.damaged", "5.damaged", "7.damaged", "2.old", "4.partial"):
        (run.checkpoints / f".step-00000{name}").mkdir()
    checkpoint.prune(run, last, keep)
    assert run.checkpoint_steps() == left
    assert hidden(run) == [".step-000005.damaged", ".step-000007.damaged"], "only those whose step may come again"
