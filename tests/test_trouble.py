"""States in which a run learns nothing: told once they have lasted, where it is looked at, and no longer when they are over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlzoo import trouble
from rlzoo.cli import watch
from rlzoo.engine.reporting import Silent
from rlzoo.engine.trainer import train
from rlzoo.evals import analysis, gather
from rlzoo.runs.folder import RunDir
from tests import fake_runs
from tests.support import small_config

WELL = {
    "reward/std": 0.5, "reward/mean": 0.5, "rows/trained": 1.0, "length/truncated": 0.1, "credit/groups": 4.0,
    "mixed/maths": 0.5, "mixed/code": 0.25, "grad/norm": 1.0,
}  # fmt: skip
STATES = [
    ({"reward/std": 0.0, "reward/mean": 0.0, "grad/norm": 0.0}, "all rewards are 0"),
    ({"rows/trained": 0.0}, "no token is in the loss"),
    ({"length/truncated": 0.6}, "60% of responses are cut"),
    ({"credit/groups": 1.0}, "a single group"),
    ({"mixed/code": 0.0}, "no group of code"),
]


@pytest.mark.parametrize(("state", "said"), STATES)
def test_a_state_is_told_once_it_has_lasted_and_no_longer_when_it_is_over(state: dict[str, float], said: str) -> None:
    bad = WELL | state
    assert trouble.standing([bad, bad]) == []
    assert trouble.standing([bad, WELL, bad, bad]) == [], "in a row"
    (told,) = trouble.standing([WELL, bad, bad, bad])
    assert told.startswith("for 3 steps: ") and said in told
    assert trouble.standing([bad] * 5)[0].startswith("for 5 steps: ")
    assert trouble.standing([bad] * 5 + [WELL]) == []


def test_just_half_is_not_over_half() -> None:
    assert trouble.standing([WELL | {"length/truncated": 0.5}] * 3) == []


def test_a_cause_stands_for_what_follows_from_it() -> None:
    """Equal rewards: no group is mixed and nothing is trained. That responses are cut may be why, and is told beside it."""
    bad = WELL | {
        "reward/std": 0.0,
        "grad/norm": 0.0,
        "rows/trained": 0.0,
        "mixed/maths": 0.0,
        "mixed/code": 0.0,
        "length/truncated": 1.0,
    }
    told = trouble.standing([bad] * 3)
    assert [text.partition(": ")[2][:15] for text in told] == ["all rewards are", "100% of respons"]


def test_equal_rewards_are_no_trouble_where_the_gradient_is_not_zero() -> None:
    assert trouble.standing([WELL | {"reward/std": 0.0, "grad/norm": 0.7}] * 3) == []


def test_an_unmixed_domain_is_no_trouble_where_something_is_learned_from_it() -> None:
    assert trouble.standing([WELL | {"mixed/code": 0.0, "learned/code": 0.25}] * 3) == []
    assert "no group of code" in trouble.standing([WELL | {"mixed/code": 0.0, "learned/code": 0.0}] * 3)[0]


def test_a_single_group_is_no_trouble_beside_losses_in_the_batch() -> None:
    assert trouble.standing([WELL | {"credit/groups": 1.0, "coupled/cross": 0.3}] * 3) == []


def test_a_state_stays_itself_while_its_figures_change_and_domains_do_not_stand_for_each_other() -> None:
    watch = trouble.Watch(
        [WELL | {"reward/std": 0.0, "grad/norm": 0.0, "reward/mean": mean} for mean in (0.0, 0.5, 1.0)]
    )
    (kind,) = watch.standing()
    watch.add(WELL | {"reward/std": 0.0, "grad/norm": 0.0, "reward/mean": 0.25})
    assert watch.standing() == {kind: "for 4 steps: " + watch.standing()[kind].partition(": ")[2]}
    assert "all rewards are 0.25" in watch.standing()[kind]
    two = trouble.Watch([WELL | {"mixed/math1": 0.0, "mixed/math2": 0.0}] * 3).standing()
    assert len(two) == 2 and [text.partition("group of ")[2][:5] for text in two.values()] == ["math1", "math2"]


class Heard(Silent):
    def __init__(self, run: RunDir) -> None:
        self.run = run
        self.stood: list[int] = []

    def step(self, step: int, metrics: Any) -> None:
        self.stood.append(len(self.run.status().warnings))


def test_status_json_holds_what_stands(tmp_path: Path) -> None:
    """Responses of two tokens are all cut and all wrong: three steps later it is in status.json, and at the end too."""
    run = RunDir(tmp_path / "run")
    heard = Heard(run)
    train(
        small_config("sampling.max_response=2", "eval.at_start=false", "eval.at_end=false", steps=4),
        run.path,
        reporter=heard,
    )
    assert heard.stood == [0, 0, 2, 2]
    assert run.status().state == "done"
    assert [text.partition(": ")[2][:15] for text in run.status().warnings] == ["all rewards are", "100% of respons"]
    line = run.metrics()[-1]
    assert (line["reward/std"], line["length/truncated"], line["credit/groups"], line["mixed/maths"]) == (0, 1, 0, 0)


def test_a_healthy_run_is_told_nothing(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    train(small_config("eval.at_start=false", "eval.at_end=false", steps=3), run.path)
    assert run.status().warnings == ()
    for line in run.metrics():
        mixed = [line[f"mixed/{domain}"] for domain in ("maths", "code", "logic")]
        assert line["groups/mixed"] == pytest.approx(sum(mixed) / 3), "two prompts of each domain a step"
        assert line["credit/groups"] == pytest.approx(6 * line["groups/mixed"]), (
            "GRPO's advantages are those of mixed groups"
        )


def test_lines_say_when_it_comes_and_when_it_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = watch.RunLines(small_config(), tmp_path)
    bad = WELL | {"mixed/code": 0.0}
    for number, metrics in enumerate([bad, bad, bad, bad, WELL], 1):
        lines.step(number, metrics)
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("step")]
    assert len(said) == 2, "not again at the fourth step"
    assert said[0].startswith("warning: for 3 steps: no group of code")
    assert said[1].startswith("note: over: no group of code")


def test_the_live_view_shows_it_while_it_stands(tmp_path: Path) -> None:
    from rich.console import Console

    screen = Console(width=200, record=True, file=(tmp_path / "screen").open("w"))
    view = watch.View(small_config(), tmp_path, screen)
    for number in (1, 2, 3):
        view.step(number, WELL | {"credit/groups": 1.0})
    screen.print(view)
    assert "warning: for 3 steps: the gradient comes from a single group" in screen.export_text()
    view.step(4, WELL)
    screen.print(view)
    assert "single group" not in screen.export_text()


@pytest.mark.parametrize("norm", [0.0, 0.3])
def test_identical_arms_that_learned_nothing_are_said_to_have_learned_nothing(tmp_path: Path, norm: float) -> None:
    folder = fake_runs.write_comparison(
        tmp_path / "c", gains={"grpo": [0.2, 0.2], "cepo": [0.2, 0.2]}, metrics={"grad/norm": norm}, rollouts=False
    )
    for seed in (0, 1):
        one, other = (folder / "runs" / f"{arm}-seed{seed}" / "evals.jsonl" for arm in ("grpo", "cepo"))
        other.write_bytes(one.read_bytes())
    (line,) = [line for line in analysis.analyse(*gather.read(folder)).verdict_lines() if "identical to grpo" in line]
    assert ("no arm learned" in line) is (norm == 0)
