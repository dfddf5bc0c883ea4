"""A step sampled ahead: by weights that say how old they are, in the order of problems of any run, and resumed as if nothing had happened.

The sampler decodes with a copy of the weights: what is shown is when and with what, not that it is faster.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlzoo import configure
from rlzoo.cli import main
from rlzoo.config import RunConfig
from rlzoo.engine.answering import Answers
from rlzoo.engine.trainer import train
from rlzoo.errors import ConfigError
from rlzoo.runs.folder import RunDir
from tests.apart_sampler import Apart
from tests.support import Disturbed, final_weights, small_config, without_times

STEPS, UPDATES = 4, 2
QUIET = ("eval.at_start=false", "eval.at_end=false", "checkpoint.every=1", "sampling.max_response=12")
PLACE = ("sampling.backend=tests.apart_sampler:Apart", "sampling.place=process")
AHEAD = (*PLACE, "sampling.steps_ahead=1", "learner.mismatch.mode=tis")

THREADS: list[str] = []
"""Which thread asked, call by call, in the run that samples ahead."""


def config_of(*assignments: str, algo: str = "grpo") -> RunConfig:
    return small_config(*QUIET, *assignments, algo=algo, steps=STEPS)


@pytest.fixture(scope="module")
def ahead(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    out = tmp_path_factory.mktemp("ahead") / "run"
    Apart.asked.clear()
    train(config_of(*AHEAD), out)
    THREADS[:] = [name for name, _, _ in Apart.asked]
    return RunDir(out)


def column(run: RunDir, step: int, name: str) -> list[Any]:
    return [row[name] for row in run.rollouts(step)]


def test_each_rollout_says_by_which_weights_it_was_sampled(ahead: RunDir, tmp_path: Path) -> None:
    """The first two steps by the initial weights; each later one by those that the step before the last left."""
    versions = [set(column(ahead, step, "policy_version")) for step in range(1, STEPS + 1)]
    assert versions == [{0}, {0}, {UPDATES}, {2 * UPDATES}]
    train(config_of(*PLACE), tmp_path / "now")
    now = RunDir(tmp_path / "now")
    assert [set(column(now, step, "policy_version")) for step in range(1, STEPS + 1)] == [{0}, {2}, {4}, {6}]
    for step in range(1, STEPS + 1):
        assert column(now, step, "problem_id") == column(ahead, step, "problem_id")
    assert column(now, 1, "tokens") == column(ahead, 1, "tokens")
    assert now.metrics()[1]["mismatch/max"] < 1e-4 < ahead.metrics()[1]["mismatch/max"]


def test_it_is_sampled_on_a_thread_of_its_own(ahead: RunDir) -> None:
    assert THREADS[0] == "MainThread"
    assert len(THREADS) == STEPS + 1  # one more than was used: the budget may be extended
    assert all(name.startswith("steps-ahead") for name in THREADS[1:])


@pytest.mark.parametrize(
    "stage", ["update", *(pytest.param(late, marks=pytest.mark.long) for late in ("publish", "save"))]
)
def test_a_run_that_was_cut_off_goes_on_to_the_same_end(stage: str, ahead: RunDir, tmp_path: Path) -> None:
    def die() -> None:
        raise OSError("cut off")

    config = config_of(*AHEAD)
    nth = {"update": 6, "publish": 3, "save": 3}[stage]  # in step 3
    with pytest.raises(OSError, match="cut off"):
        train(config, tmp_path / "run", reporter=Disturbed(stage, die, nth))
    train(config, tmp_path / "run", resume=True)
    assert final_weights(tmp_path / "run") == final_weights(ahead.path)
    assert without_times(RunDir(tmp_path / "run").metrics()) == without_times(ahead.metrics())


def test_what_was_answered_ahead_is_not_asked_again(
    ahead: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seeded mistake: a checkpoint that forgets it, so that a resumed run samples by newer weights, or other problems."""
    told = Answers.state_dict
    monkeypatch.setattr(Answers, "state_dict", lambda self: {**told(self), "ahead": None})

    def die() -> None:
        raise OSError("cut off")

    config = config_of(*AHEAD)
    with pytest.raises(OSError, match="cut off"):
        train(config, tmp_path / "run", reporter=Disturbed("publish", die, 3))
    train(config, tmp_path / "run", resume=True)
    assert set(column(RunDir(tmp_path / "run"), 3, "policy_version")) == {2 * UPDATES}
    assert final_weights(tmp_path / "run") != final_weights(ahead.path)


def test_a_fault_of_the_thread_reaches_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = Apart.sample

    def failing(self: Apart, requests: Any, decoding: Any) -> Any:
        if len(Apart.asked) == 2:
            raise OSError("the engine is gone")
        return sample(self, requests, decoding)

    Apart.asked.clear()
    monkeypatch.setattr(Apart, "sample", failing)
    with pytest.raises(OSError, match="the engine is gone"):
        train(config_of(*AHEAD), tmp_path / "run")
    assert RunDir(tmp_path / "run").status().state == "failed"
    assert RunDir(tmp_path / "run").checkpoint_steps() == [1]


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        (("sampling.steps_ahead=1", "learner.mismatch.mode=tis"), "sampling.place is 'inside'"),
        ((*PLACE, "sampling.steps_ahead=1"), "learner.mismatch.mode is 'off'"),
        ((*AHEAD, "learner.old_logps=sampler"), "learner.old_logps 'sampler'"),
        (("sampling.place=process",), "has no place but the trainer's own process"),
        (("sampling.place=http://127.0.0.1:1",), "has no place but the trainer's own process"),
    ],
)
def test_what_cannot_sample_ahead_is_refused_before_anything_is_loaded(
    assignments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as told:
        train(config_of(*assignments), tmp_path / "run")
    assert said in str(told.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("mode", ["tis", "icepop"])
@pytest.mark.parametrize("cut", ["sampling.top_p=0.9", "sampling.top_k=5"])
def test_truncated_sampling_with_a_correction_of_mismatch_is_refused(
    mode: str, cut: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One side is renormalised over the tokens kept, the other is not: the ratios would be biased."""
    words = [
        "train",
        "--algo",
        "grpo",
        "--out",
        str(tmp_path / "run"),
        "--set",
        f"learner.mismatch.mode={mode}",
        "--set",
        cut,
    ]
    assert main.run(words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "the ratios are biased" in said
    assert not (tmp_path / "run").exists()
    configure.load(algo="grpo", assignments=[cut])  # without a correction it stands


@pytest.mark.parametrize("place", ["outside", "https://host:1", "http://host", "http://host:1/v1", "http://ho st:1"])
def test_a_place_that_is_none_is_refused(place: str) -> None:
    with pytest.raises(ConfigError, match="is no place to sample at"):
        configure.load(algo="grpo", assignments=[f"sampling.place={place}"])
