"""Arms x seeds as runs: every run of a seed shares all but what its arm sets, and a folder is never mixed."""

import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from rlzoo import configure, registry
from rlzoo.config import RunConfig
from rlzoo.errors import RlzooError, RunConflict, UsageError
from rlzoo.experiment import design, machine, presets, workspace
from rlzoo.experiment.design import ComparisonRequest, Experiment
from rlzoo.runs.comparison import SPEC
from rlzoo.runs.lock import FolderLock

NO_OPTION = "data.sources=[{name: maths, options: {nix: 3}}]"


def experiment(*arms: str, **more: object) -> Experiment:
    return design.make(ComparisonRequest(arms=arms, **{"seeds": (0, 1), "jobs": 2, **more}), threads=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"), [("3", (0, 1, 2)), ("1", (0,)), ("0,4,7", (0, 4, 7)), ("5,", (5,)), (" 2, 3 ", (2, 3))]
)
def test_seeds(text: str, expected: tuple[int, ...]) -> None:
    assert design.parse_seeds(text) == expected


@pytest.mark.parametrize("text", ["", "0", "-1", "x", "1,1", "1.5", ","])
def test_seeds_refused(text: str) -> None:
    with pytest.raises(RlzooError):
        design.parse_seeds(text)


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("gen_tokens=2M", {"gen_tokens": 2_000_000}),
        ("steps=40", {"steps": 40}),
        ("train_tokens=1.5k", {"train_tokens": 1500}),
        ("flops=3e15", {"flops": 3e15}),
        ("flops=2G", {"flops": 2e9}),
        ("device_seconds=90.5", {"device_seconds": 90.5}),
    ],
)
def test_a_budget_replaces_the_recipes(text: str, limits: dict[str, float]) -> None:
    assert configure.load(assignments=design.parse_budgets([text])).budget.limits() == limits


@pytest.mark.parametrize("text", ["steps", "steps=", "steps=0", "steps=1.5", "gen_tokens=2m", "tokens=3", "flops=-1"])
def test_budgets_refused(text: str) -> None:
    with pytest.raises(RlzooError, match="budget"):
        design.parse_budgets([text])


def test_runs_of_a_seed_differ_in_what_their_arm_sets() -> None:
    made = experiment("grpo", "cepo:mix=0.3", controls=("frozen",), sets=("learner.lr=3e-5",))
    assert [job.name for job in made.runs] == [
        *("grpo-seed0", "cepo-mix-0.3-seed0", "frozen-seed0"),
        *("grpo-seed1", "cepo-mix-0.3-seed1", "frozen-seed1"),
    ]
    grpo, cepo, frozen, again = (made.runs[at].config for at in range(4))
    assert {job.config.learner.lr for job in made.runs} == {3e-5}
    assert cepo.objective.mix == 0.3  # type: ignore[attr-defined]
    assert all(line.startswith("objective.") for line in configure.differences(grpo, cepo))
    assert configure.differences(grpo, frozen) == ["control.frozen: False -> True"]
    assert configure.differences(grpo, again) == ["seed: 0 -> 1"]
    assert made.differing() == {}


def test_a_setting_for_all_arms_may_be_an_objectives() -> None:
    made = experiment("grpo", "cepo", sets=("objective.clip_low=0.1",))
    assert {job.config.objective.clip_low for job in made.runs} == {0.1}  # type: ignore[attr-defined]


def test_arms_of_one_domain_are_tested_on_all_and_flagged() -> None:
    made = experiment("grpo", "grpo@maths")
    whole, part = made.runs[0].config, made.runs[1].config
    assert [source.name for source in part.data.sources] == ["maths"]
    assert whole.eval == part.eval
    assert [source.name for source in part.eval.sources] == ["maths", "code", "logic"]
    assert list(made.differing()) == ["grpo-maths"]


def test_the_evaluation_at_step_0_is_shared_by_all_arms_of_a_seed_that_start_alike() -> None:
    others = ("model.path=tiny-clean", "sampling.backend=mine.py:Mine", "data.long_prompts=skip")
    arms = [f"other{at}=grpo:{setting}" for at, setting in enumerate(others)]
    made = experiment("grpo", "cepo", "grpo@maths", *arms, controls=("random-reward",))
    keys = {job.name: job.start_key for job in made.runs}
    shared = {keys[f"{arm}-seed0"] for arm in ("grpo", "cepo", "grpo-maths", "random-reward")}
    assert len(shared) == 1
    assert len({*shared, *(keys[f"other{at}-seed0"] for at in range(len(others)))}) == 1 + len(others)
    assert keys["grpo-seed1"] not in shared
    assert experiment("grpo", "cepo", sets=("eval.at_start=false",)).runs[0].start_key is None


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (ComparisonRequest(arms=("grpo",)), "nothing to compare"),
        (ComparisonRequest(arms=()), "no arm"),
        (ComparisonRequest(arms=("grpo", "cepo"), sets=("seed=3",)), "--seeds"),
        (ComparisonRequest(arms=("grpo", "cepo"), sets=("objective.name=grpo",)), "as arms"),
        (ComparisonRequest(arms=("grpo", "cepo:nix=1")), "arm 'cepo-nix-1' cannot be run:\nobjective.nix"),
        (ComparisonRequest(arms=("grpo", "cepo:base=[1]")), "1 names no objective"),
        (ComparisonRequest(arms=("grpo", "grpo@maths"), sets=(NO_OPTION,)), "takes no option 'nix'"),
        (ComparisonRequest(arms=("grpo", "frozen=cepo"), controls=("frozen",)), "more than one arm is named 'frozen'"),
    ],
)
def test_requests_refused(request_: ComparisonRequest, words: str) -> None:
    with pytest.raises(RlzooError) as caught:
        design.make(request_)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", presets.PRESETS)
def test_presets_can_be_planned(name: str) -> None:
    preset = presets.find(name)
    made = design.make(
        ComparisonRequest(arms=preset.arms, controls=preset.controls, seeds=preset.seeds, recipe=preset.recipe, jobs=2)
    )
    assert len(made.runs) == (len(preset.arms) + len(preset.controls)) * len(preset.seeds)
    assert made.budget


def test_the_zoo_is_every_objective_that_ships() -> None:
    arms = [arm.partition("=")[0] for arm in presets.find("zoo").arms]
    assert sorted(arms) == sorted(registry.objectives.names())


def test_threads_are_fixed_and_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configure, "default_threads", lambda: 8)
    assert {job.config.threads for job in design.make(ComparisonRequest(arms=("grpo", "cepo"), jobs=2)).runs} == {4}
    assert design.make(ComparisonRequest(arms=("grpo", "cepo"), jobs=2, sets=("threads=3",))).threads == 3
    assert (
        design.make(ComparisonRequest(arms=("grpo", "cepo"), jobs=1), threads=2).threads == 2
    )  # of the one being continued


def test_as_many_runs_as_the_machine_carries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tiny, other = configure.load(), configure.load(assignments=["model.path=elsewhere"])

    def slots(config: RunConfig, runs: int, gpus_per_run: int | None = None) -> int:
        place = machine.ThisMachine(gpus_per_run=gpus_per_run)
        return place.share(config, runs, jobs=None, threads=None).slots

    monkeypatch.setattr(configure, "default_threads", lambda: 8)
    monkeypatch.setattr(machine, "_carried", lambda: 5)
    monkeypatch.setattr(machine, "devices", lambda config: [])
    assert [slots(tiny, 15), slots(tiny, 3), slots(other, 15)] == [5, 3, 1]
    with pytest.raises(UsageError, match="offers a run no GPUs"):
        slots(other, 15, gpus_per_run=1)
    monkeypatch.setattr(machine, "devices", lambda config: ["0", "1", "2", "3", "7"])
    assert [slots(other, 15), slots(other, 3), slots(other, 15, gpus_per_run=2)] == [5, 3, 2]
    two_each = machine.ThisMachine(gpus_per_run=2).executor(other, 2, tmp_path, lock=0)
    assert two_each.devices == ["0,1", "2,3"]
    with pytest.raises(UsageError, match=r"--gpus-per-run is 6, .* offers a run 5 GPUs"):
        slots(other, 15, gpus_per_run=6)


def test_the_command_asks_for_the_same_comparison() -> None:
    made = experiment(
        *("grpo", "cepo:mix=0.3", "a=grpo@maths"),
        **{"controls": ("frozen",), "seeds": (0, 4), "budget": ("gen_tokens=2M",), "sets": ("learner.lr=3e-5",)},
    )
    words = shlex.split(made.command)
    assert words[:5] == ["rlzoo", "compare", "grpo", "cepo:mix=0.3", "a=grpo@maths"]
    pairs = set(pairwise(words))
    assert {
        ("--seeds", "0,4"),
        ("--baseline", "grpo"),
        ("--controls", "frozen"),
        ("--budget", "gen_tokens=2M"),
    } <= pairs
    assert {("--set", "learner.lr=3e-5"), ("--set", "threads=1"), ("--jobs", "2")} <= pairs
    assert "--on" not in words and "--gpus-per-run" not in words
    moved = shlex.split(experiment("grpo", "cepo", on="ray://head:10001", gpus_per_run=2).command)
    assert {("--on", "ray://head:10001"), ("--gpus-per-run", "2")} <= set(pairwise(moved))


# ------------------------------------------------------------------------------------------------------- the folder


def test_a_folder_takes_the_same_comparison_again_and_no_other(tmp_path: Path) -> None:
    out = tmp_path / "out"
    workspace.check_folder(out, experiment("grpo", "cepo"))
    workspace.write_spec(out, experiment("grpo", "cepo"))
    workspace.check_folder(out, experiment("grpo", "cepo"))
    workspace.check_folder(out, experiment("grpo", "cepo", jobs=1))  # how many at a time changes no result
    before = (out / SPEC).read_bytes()
    with pytest.raises(RunConflict) as caught:
        workspace.check_folder(out, experiment("grpo", "cepo:mix=0.3", seeds=(0, 1, 2), sets=("learner.lr=1",)))
    for words in (
        "arm cepo: [",
        'arm cepo-mix-0.3: absent -> ["objective.name=cepo", "objective.mix=0.3"]',
        "seeds: [0, 1] -> [0, 1, 2]",
        'sets: [] -> ["learner.lr=1"]',
    ):
        assert words in str(caught.value)
    assert (out / SPEC).read_bytes() == before


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(RunConflict, match="not empty"):
        workspace.check_folder(tmp_path, experiment("grpo", "cepo"))
    assert [item.name for item in tmp_path.iterdir()] == ["thesis.tex"]


def test_one_comparison_at_a_time(tmp_path: Path) -> None:
    waited: list[bool] = []
    with (
        workspace.locked(tmp_path),
        pytest.raises(RunConflict, match="at work"),
        workspace.locked(tmp_path, patience_s=0.2, waiting=lambda: waited.append(True)),
    ):
        pass
    assert waited
    with workspace.locked(tmp_path, patience_s=0):
        pass


def test_a_comparison_waits_for_runs_that_a_cluster_still_saves(tmp_path: Path) -> None:
    """They hold their own folders: a lock of this machine is not inherited on another."""
    run = tmp_path / "runs" / "grpo-seed0"
    run.mkdir(parents=True)
    waited: list[bool] = []
    with FolderLock(run) as lock:
        lock.take()
        with (
            pytest.raises(RunConflict, match=r"still at work in .*grpo-seed0"),
            workspace.locked(tmp_path, patience_s=0.2, waiting=lambda: waited.append(True)),
        ):
            pass
    assert waited == [True]
    with workspace.locked(tmp_path, patience_s=0):
        pass
