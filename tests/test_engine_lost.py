"""What nights do to a run's folder costs it nothing: kills between two files, power cuts, files cut short or gone."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlzoo.config import RunConfig
from rlzoo.engine import checkpoint
from rlzoo.engine.trainer import train
from rlzoo.errors import DataError, ModelError
from rlzoo.runs import repair
from rlzoo.runs.folder import RunDir
from tests import bytes_model, power
from tests.support import LEAST, Disturbed, Listening, final_weights, small_config, without_times

STEPS = 4
BEST = (
    "eval.validation_every=1",
    "eval.validation_per_level=1",
    "eval.every=1",
    "checkpoint.keep_best=true",
    "checkpoint.every=2",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The assignment of a model of a few kilobytes, unlike the embedded ones in architecture and tokenizer."""
    return f"model.path={bytes_model.make(tmp_path_factory.mktemp('model'))}"


@pytest.fixture(scope="module")
def best(model: str) -> RunConfig:
    return small_config(model, *LEAST, *BEST, steps=STEPS)


@pytest.fixture(scope="module")
def every(model: str) -> RunConfig:
    return small_config(model, *LEAST, "checkpoint.every=1", "checkpoint.keep_last=3", steps=STEPS)


@pytest.fixture(scope="module")
def whole(best: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with evaluations of both kinds that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(best, out)
    return out


@pytest.fixture(scope="module")
def saved(every: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that saved every step."""
    out = tmp_path_factory.mktemp("saved") / "run"
    train(every, out)
    return out


class Killed(BaseException):
    """Ends a run where it is raised, as SIGKILL would; nothing of ours catches it but to write its status."""


def die() -> None:
    raise Killed


def equal(one: Path, other: Path) -> None:
    """Weights, metrics without times, evaluations and rollouts are the same."""
    mine, its = RunDir(one), RunDir(other)
    assert final_weights(one) == final_weights(other)
    assert without_times(mine.metrics()) == without_times(its.metrics())
    assert mine.evaluations() == its.evaluations()
    assert mine.rollout_steps() == its.rollout_steps()
    for step in its.rollout_steps():
        assert mine.rollouts(step) == its.rollouts(step)


def resumed(out: Path, config: RunConfig) -> list[str]:
    """What is said when the run goes on to its end."""
    said = Listening()
    assert train(config, out, resume=True, reporter=said).step == STEPS
    assert RunDir(out).status().state == "done"
    return said.warned


@pytest.mark.parametrize(("stage", "nth"), [("evaluate", 2), ("evaluate", 3), ("evaluate", 4), ("save", 2)])
def test_what_was_due_after_a_save_is_made_up(
    stage: str, nth: int, best: RunConfig, whole: Path, tmp_path: Path
) -> None:
    """The best by validation is saved before that step's test evaluation."""
    with pytest.raises(Killed):
        train(best, tmp_path / "run", reporter=Disturbed(stage, die, nth))
    resumed(tmp_path / "run", best)
    assert {("test", 0), ("validation", 1), ("test", 1)} <= {
        (found.split, found.step) for found in RunDir(whole).evaluations()
    }
    equal(tmp_path / "run", whole)


def cut(saved: Path, out: Path, step: int = 3) -> RunDir:
    """The run as a kill in the step after `step` leaves it."""
    shutil.copytree(saved, out)
    shutil.rmtree(RunDir(out).checkpoint(step + 1))
    return RunDir(out)


def shorten(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def blank(file: Path) -> None:
    file.write_bytes(b"")


def nul(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def nul_tail(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: len(data) * 2 // 3] + bytes(len(data) // 3))


def doubled(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data + data[data.rfind(b"\n", 0, -1) + 1 :])


@pytest.mark.parametrize("harm", [shorten, blank, nul, Path.unlink], ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("name", ["model.safetensors", "trainer/state.pt", "trainer/manifest.json"])
def test_a_damaged_checkpoint_is_set_aside(name: str, harm: Callable[[Path], object], tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for step in (1, 2, 3):
        whole_checkpoint(run, step)
    harm(run.checkpoint(3) / name)
    newest, said = checkpoint.newest(run)
    assert newest == 2
    assert "step-000003 is damaged" in said[0]
    assert run.checkpoint_steps() == [1, 2], "it counts no longer"
    assert checkpoint.owed(run) == {3}
    assert checkpoint.newest(run) == (2, [])
    whole_checkpoint(run, 3)
    checkpoint.prune(run, 2, None)
    assert (run.checkpoint_steps(), checkpoint.owed(run)) == ([2, 3], frozenset())
    assert [path.name for path in sorted(run.checkpoints.iterdir())] == ["step-000002", "step-000003"]


class Written:
    """Writes what a model or a tokenizer writes, in a few bytes."""

    def save(self, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"weights")

    save_pretrained = save


def whole_checkpoint(run: RunDir, step: int) -> None:
    written: Any = Written()
    checkpoint.save(run, step, written, written, {"step": step}, {})


def test_a_damaged_checkpoint_is_written_again_when_its_step_comes_again(model: str, tmp_path: Path) -> None:
    """Made on demand, so that the settings alone would never make it again."""
    config = small_config(model, *LEAST, "checkpoint.every=2", "eval.at_start=false", "eval.at_end=false", steps=STEPS)

    def ask_and_die(step: int) -> Disturbed:
        return Disturbed("sample", die, step)

    train(config, tmp_path / "whole")
    with pytest.raises(Killed):
        train(config, tmp_path / "run", reporter=ask_and_die(4))
    run = RunDir(tmp_path / "run")
    shutil.copytree(run.checkpoint(2), run.checkpoint(3))
    nul(run.checkpoint(3) / "model.safetensors")
    with pytest.raises(Killed):
        train(config, run.path, resume=True, reporter=ask_and_die(2))
    assert run.checkpoint_steps() == [2, 3]
    assert checkpoint.newest(run) == (3, [])
    resumed(run.path, config)
    equal(run.path, tmp_path / "whole")


@pytest.mark.parametrize("harm", [shorten, blank, nul, nul_tail, doubled, Path.unlink], ids=lambda harm: harm.__name__)
def test_records_are_mended_from_the_checkpoint(harm: Callable[[Path], object], saved: Path, tmp_path: Path) -> None:
    run = cut(saved, tmp_path / "run")
    for file in (run.metrics_file, run.evals_file):
        harm(file)
    told = repair.rewind(run, 3, run.checkpoint(3) / checkpoint.RECORDS)
    before = without_times(RunDir(saved).metrics())
    assert without_times(run.metrics()) == before[:3]
    assert run.evaluations() == RunDir(saved).evaluations()[:1]
    assert run.rollout_steps() == [1, 2, 3]
    assert any("metrics.jsonl had lost" in line for line in told) == (harm is not doubled)
    assert repair.rewind(run, 3, run.checkpoint(3) / checkpoint.RECORDS) == [], "all is mended"


@pytest.mark.parametrize("harm", [shorten, blank, nul, Path.unlink], ids=lambda harm: harm.__name__)
def test_a_save_takes_old_lines_from_the_save_before(
    harm: Callable[[Path], object], saved: Path, tmp_path: Path
) -> None:
    """What is damaged between two saves is in the second one whole; only lines that are new are read."""
    run = cut(saved, tmp_path / "run")
    before, text = run.checkpoint(3) / checkpoint.RECORDS, run.metrics_file.read_text()
    for name, new in ((run.metrics_file, text), (run.evals_file, run.evals_file.read_text())):
        assert new.startswith((before / name.name).read_text())
    repair.keep(run, tmp_path / "sound", {}, before)
    assert (tmp_path / "sound" / "metrics.jsonl").read_text() == text
    for file in (run.metrics_file, run.evals_file):
        harm(file)
    late = text.splitlines(keepends=True)[-1].replace('"step":4', '"step":9').replace('"step": 4', '"step": 9')
    with run.metrics_file.open("a") as out:
        out.write("\n" + late)
    repair.keep(run, tmp_path / "kept", {}, before)
    steps = [line["step"] for _, line in repair.whole(tmp_path / "kept" / "metrics.jsonl")]
    assert steps[:3] == [1, 2, 3] and sorted(set(steps)) == steps
    assert (tmp_path / "kept" / "evals.jsonl").read_text().startswith((before / "evals.jsonl").read_text())


def test_lost_rollouts_are_named(every: RunConfig, saved: Path, tmp_path: Path) -> None:
    run = cut(saved, tmp_path / "run")
    run.rollouts_file(1).unlink()
    nul_tail(run.rollouts_file(3))
    said = resumed(run.path, every)
    assert [line for line in said if "rollouts" in line] == [
        "the rollouts of steps 1, 3 are missing or damaged and cannot be made again; training goes on as it would have."
    ]
    assert final_weights(run.path) == final_weights(saved)
    assert run.rollouts(4) == RunDir(saved).rollouts(4)


def test_metrics_that_no_checkpoint_holds_are_named(saved: Path, tmp_path: Path) -> None:
    run = cut(saved, tmp_path / "run")
    run.metrics_file.write_text("".join(run.metrics_file.read_text().splitlines(keepends=True)[2:]))
    assert repair.rewind(run, 3, run.checkpoint(3) / "no records") == [
        "the metrics of steps 1, 2 are lost; no checkpoint holds them."
    ]


def test_what_a_killed_writer_left_is_no_obstacle(model: str, every: RunConfig, saved: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / ".config.yaml.ab12_cd9").write_text("objec")
    config = small_config(model, *LEAST, "eval.at_start=false", "eval.at_end=false", steps=1)
    train(config, fresh)
    assert [path.name for path in fresh.glob(".*")] == []
    run = cut(saved, tmp_path / "run")
    for left in (run.path / ".status.json.xyz12345", run.path / "code" / ".grpo-1.py.xyz12345"):
        left.write_text("{")
    (run.path / "rollouts" / "step-000009.partial").write_text("PAR1")
    (run.checkpoints / ".step-000004.partial").mkdir()
    resumed(run.path, every)
    found = [path.name for path in run.path.rglob("*") if path.name.startswith(".") or "partial" in path.name]
    assert found == []


def test_every_moment_of_a_power_cut_leaves_the_last_checkpoint_or_the_one_before(model: str, tmp_path: Path) -> None:
    """Three kinds of cut before each operation of a run that saves every step; a sample of them is resumed to the end."""
    out = tmp_path / "run"
    config = small_config(model, *LEAST, "checkpoint.every=1", "eval.at_start=false", steps=STEPS)
    with power.watched(out) as disk:
        train(config, out)
    saves = [at for at, words in enumerate(disk.operations) if words.endswith(f"-> checkpoints/step-{1:06d}")]
    assert saves, "the run saved"
    distinct: dict[str, tuple[int, power.Tree]] = {}
    for at, trees in enumerate(disk.cuts):
        for tree in trees:
            if tree.get("config.yaml") and disk.blobs[str(tree["config.yaml"])]:
                distinct.setdefault(repr(sorted(tree.items())), (at, tree))
    assert len(distinct) > 100
    for number, (at, tree) in enumerate(distinct.values()):
        run = RunDir(
            disk.rebuild(
                {name: blob for name, blob in tree.items() if name.startswith("checkpoints")},
                tmp_path / "cut" / str(number),
            )
        )
        done = [
            step
            for step in range(1, STEPS + 1)
            if any(words.endswith(f"-> checkpoints/step-{step:06d}") for words in disk.operations[: max(at - 1, 0)])
        ]
        found, _ = checkpoint.newest(run)
        assert found >= max(done, default=0), f"cut before {disk.operations[at]!r}"
        shutil.rmtree(run.path)
    for number, (_, tree) in enumerate(random.Random(0).sample(list(distinct.values()), 2)):
        cut_out = disk.rebuild(tree, tmp_path / "resumed" / str(number))
        resumed(cut_out, config)
        equal(cut_out, out)


@pytest.mark.parametrize(
    ("split", "asked"),
    [
        ("test", "eval.at_start=false"),
        ("test", "eval={at_start: false, at_end: false, every: 0, curve: 2}"),
        ("validation", "eval.validation_every=4"),
    ],
)
def test_a_prompt_too_long_for_an_evaluation_is_found_before_the_first_step(
    split: str, asked: str, model: str, tmp_path: Path
) -> None:
    rows = [{"prompt": f"{i}+1=?", "answer": str(i + 1), "verifier": "maths", "split": "train"} for i in range(12)]
    rows.append({**rows[0], "prompt": "1+" * 200 + "1=?", "split": split})
    rows.append({**rows[0], "prompt": "5+5=?", "split": "test"})
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = f"data.sources=[{{name: file, options: {{path: {file}}}}}]"
    config = small_config(model, *LEAST[1:], source, asked, steps=1)
    with pytest.raises(
        DataError,
        match=rf"{split} prompts of file:rows.jsonl have more tokens than sampling.max_prompt = 256, the longest 4\d\d",
    ):
        train(config, tmp_path / "run")
    assert RunDir(tmp_path / "run").metrics() == []
    config = small_config(model, *LEAST[1:], source, asked, "data.long_prompts=skip", steps=1)
    assert train(config, tmp_path / "skipped").state == "done"


def test_a_template_that_knows_no_system_role_is_told_in_words(model: str, tmp_path: Path) -> None:
    strict = shutil.copytree(Path(model.partition("=")[2]), tmp_path / "strict")
    template = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% endfor %}"
    for file in strict.glob("chat_template.jinja"):
        file.write_text(template)
    assert list(strict.glob("chat_template.jinja")), "the template lies in a file of its own"
    row = {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1=?"}],
        "answer": "2",
    }
    rows = tmp_path / "rows.jsonl"
    rows.write_text((json.dumps({**row, "verifier": "maths", "split": "train"}) + "\n") * 3)
    source = f"data.sources=[{{name: file, options: {{path: {rows}}}}}]"
    with pytest.raises(DataError, match=r"refuses a prompt of the roles system, user: System role not supported"):
        train(small_config(f"model.path={strict}", source, steps=1), tmp_path / "run")


def test_weights_that_are_cut_short_are_no_bug(model: str, tmp_path: Path) -> None:
    cut_short = shutil.copytree(Path(model.partition("=")[2]), tmp_path / "cut")
    shorten(cut_short / "model.safetensors")
    with pytest.raises(ModelError, match="cannot be loaded"):
        train(small_config(f"model.path={cut_short}", *LEAST, steps=1), tmp_path / "run")
