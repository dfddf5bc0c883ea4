"""What a step's metrics and its table of rollouts say, by hand."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlzoo.engine.budget import Spent
from rlzoo.engine.learning.batch import build_batch
from rlzoo.engine.ranks import Ranks
from rlzoo.engine.record import TokenTexts, answers_table, batch_metrics, rollout_table
from rlzoo.engine.recorder import Recorder
from rlzoo.engine.reporting import Silent
from rlzoo.engine.trackers import Trackers
from rlzoo.laws.lab import DOMAINS, Bench, toy_groups, toy_tokenizer
from rlzoo.runs.evaluation import Attempt, Evaluation
from rlzoo.runs.folder import RunDir
from rlzoo.types import Credit, Group, Problem, Rollout, RolloutBatch, Term, Verdict

D = torch.float64


def rollout(length: int, status: str, reward: float = 0.0, score: float | None = None) -> Rollout:
    return Rollout(
        prompt_tokens=(3, 4), response_tokens=tuple(range(5, 5 + length)), sampler_logps=(-0.5,) * length, text="",
        truncated=status == "truncated", verdict=Verdict(status=status, reason="", reward=reward, score=score),  # type: ignore[arg-type]
    )  # fmt: skip


def group(domain: str, *rollouts: Rollout, visit: int = 0, **metadata: Any) -> Group:
    problem = Problem(id=f"{domain}-{visit}", domain=domain, messages=(), verifier="maths", metadata=metadata)
    return Group(problem=problem, rollouts=rollouts, visit=visit)


STEP = [
    group("maths", rollout(2, "correct", 1.0, score=0.5), rollout(4, "correct", 1.0), visit=2, chance=0.25),
    group("maths", rollout(3, "correct", 1.0), rollout(3, "wrong", 0.4), rollout(5, "error"), chance=0.75),
    group("code", rollout(1, "wrong", 0.0, score=0.2), rollout(8, "truncated", 0.0, score=0.4), visit=1, chance=1),
    group("code", rollout(2, "correct", 1.0), rollout(2, "wrong", 0.2), chance="half"),
    group("code", rollout(1, "wrong")),
    group("logic", rollout(6, "error"), visit=3),
]
"""One that is mastered, one mixed with an unjudged rollout, one all wrong; one mixed, one all wrong; one that nobody judged.

Eleven responses of 37 tokens, nine of them judged, of 26.
"""


def batch_of(groups: Sequence[Group]) -> RolloutBatch:
    return build_batch(groups, domains=DOMAINS, max_response=8, step=3, total_steps=9, dtype=D)


def credit_of(rows: Mapping[int, Sequence[float]], batch: RolloutBatch, *weights: Mapping[int, float]) -> Credit:
    """Advantages by row, and a term a mapping of weights of whole rows."""
    advantages_BT = torch.zeros_like(batch.sampler_logps_BT)
    for row, values in rows.items():
        advantages_BT[row, : len(values)] = torch.tensor(values, dtype=D)
    terms = {}
    for at, by_row in enumerate(weights):
        weight_BT = torch.zeros_like(advantages_BT)
        for row, value in by_row.items():
            weight_BT[row] = value
        terms[f"term {at}"] = Term(loss_mask_BT=batch.loss_mask_BT, loss_weight_BT=weight_BT, reduction="token")
    return Credit(advantages_BT=advantages_BT, terms=terms, metrics={"own": 7.0})


ADVANTAGES = {2: [0.5] * 8, 3: [-1.0], 4: [9.0] * 5, 10: [9.0] * 6}
"""Of the second group alone: its first row's three tokens (five are padding), one of the second; and two rows that nobody judged."""


def test_metrics_of_a_step_by_hand() -> None:
    batch = batch_of(STEP)
    shaping = {"format": torch.tensor([1.0, 1, 1, 1, 9, 1, 1, 1, 1, 0, 9], dtype=D)}
    found = batch_metrics(batch, STEP, credit_of(ADVANTAGES, batch), shaping)
    assert found == pytest.approx(
        {
            "reward/mean": 4.6 / 9, "reward/maths": 3.4 / 4, "reward/code": 1.2 / 5,
            "correct/mean": 4 / 9, "correct/maths": 3 / 4, "correct/code": 1 / 5,
            "reward/std": math.sqrt(4.2 / 9 - (4.6 / 9) ** 2),
            "shaping/format": 8 / 9,
            "chance/maths": 0.5, "chance/code": 1.0, "score/maths": 0.5, "score/code": 0.3,
            "status/correct": 4 / 11, "status/wrong": 4 / 11, "status/truncated": 1 / 11, "status/error": 2 / 11,
            "groups/mixed": 2 / 5, "groups/mastered": 1 / 5, "groups/all_wrong": 2 / 5,
            "mixed/maths": 1 / 2, "mixed/code": 1 / 3,
            "length/mean": 37 / 11, "length/max": 8.0, "length/truncated": 1 / 11,
            "credit/groups": 1.0, "credit/advantage_abs": 2.5 / 26, "data/visits": 1.0,
            "own": 7.0,
        }
    )  # fmt: skip


def test_credit_goes_to_groups_that_some_term_weighs() -> None:
    """Where there are terms they say it, and not the advantages; a row that nobody judged is never credited."""
    batch = batch_of(STEP)
    found = batch_metrics(batch, STEP, credit_of(ADVANTAGES, batch, {7: -2.0}, {0: 1.0, 1: 1.0, 10: 1.0}))
    assert found["credit/groups"] == 2.0


def test_a_step_that_nobody_judged_has_metrics_of_nothing() -> None:
    batch = batch_of(STEP[-1:])
    found = batch_metrics(batch, STEP[-1:], credit_of({0: [9.0]}, batch))
    counted = {"length/mean": 6.0, "length/max": 6.0, "status/error": 1.0, "data/visits": 3.0, "own": 7.0}
    nothing = ("reward/mean", "correct/mean", "groups/mixed", "groups/mastered", "groups/all_wrong")
    idle = ("length/truncated", "credit/groups", "credit/advantage_abs")
    assert found == {**counted, **dict.fromkeys((*nothing, *idle), 0.0)}


def test_a_table_of_rollouts_by_hand() -> None:
    verdicts = (
        Verdict(status="correct", reward=1.0, reason="it is", extracted="7", score=0.25),
        Verdict(status="unparsed", reason="no answer"),
        Verdict(status="error", reason="the verifier failed"),
    )
    made = [
        Rollout(
            prompt_tokens=(3, 4, 13), response_tokens=(5, 6, 1)[: 3 - at], sampler_logps=(-0.5, -1.0, -1.5)[: 3 - at],
            text=f"text {at}", truncated=at == 1, policy_version=at + 4, verdict=verdict,
        )
        for at, verdict in enumerate(verdicts)
    ]  # fmt: skip
    problems = [
        Problem(id="a", domain="code", messages=(), verifier="maths", level="2"),
        Problem(id="b", domain="maths", messages=(), verifier="maths"),
    ]
    groups = [
        Group(problem=problems[0], rollouts=tuple(made[:2]), visit=3),
        Group(problem=problems[1], rollouts=(replace(made[2], prompt_tokens=(4,)),)),
    ]
    batch = batch_of(groups)
    credit = replace(
        credit_of({0: [1.0, 2.0, 3.0], 1: [4.0, 5.0]}, batch, {0: 0.5, 2: 2.0}),
        evidence_BT=torch.arange(9, dtype=D).reshape(3, 3),
    )
    texts = TokenTexts(toy_tokenizer())
    said: dict[str, list[Any]] = {
        "step": [3, 3, 3], "problem_id": ["a", "a", "b"], "domain": ["code", "code", "maths"], "level": ["2", "2", ""],
        "group": [0, 0, 1], "rollout": [0, 1, 0], "prompt_text": ["01+", "01+", "1"], "text": ["text 0", "text 1", "text 2"],
        "tokens": [[5, 6, 1], [5, 6], [5]], "status": ["correct", "unparsed", "error"],
        "reason": ["it is", "no answer", "the verifier failed"], "extracted": ["7", None, None],
    }  # fmt: skip
    before: dict[str, list[Any]] = {
        "visit": [3, 3, 0], "token_texts": [["2", "3", "</s>"], ["2", "3"], ["2"]],
        "reward": [1.0, 0.0, 0.0], "correct": [True, False, False], "truncated": [False, True, False],
        "policy_version": [4, 5, 6], "sampler_logps": [[-0.5, -1.0, -1.5], [-0.5, -1.0], [-0.5]],
        "score": [0.25, None, None],
    }  # fmt: skip
    after = {
        "shaping/format": [0.5, 1.0, 1.5],
        "advantages": [[1.0, 2.0, 3.0], [4.0, 5.0], [0.0]],
        "scale/term 0": [[0.5, 0.5, 0.5], [0.0, 0.0], [2.0]],
        "evidence": [[0.0, 1.0, 2.0], [3.0, 4.0], [6.0]],
    }
    assert rollout_table(groups, batch, None, texts).to_pydict() == said | before
    shaping = {"format": torch.tensor([0.5, 1.0, 1.5])}
    assert rollout_table(groups, batch, credit, texts, shaping).to_pydict() == said | before | after
    plain = [replace(each, rollouts=tuple(scoreless(r) for r in each.rollouts)) for each in groups]
    table = rollout_table(plain, batch, replace(credit, evidence_BT=None), texts).to_pydict()
    assert not {"score", "evidence", "shaping/format"} & set(table)
    answers = answers_table(groups, 9, texts).to_pydict()
    assert answers == said | {"step": [9, 9, 9]} | {name: before[name] for name in ("reward", "correct", "truncated")}
    unjudged = [replace(each, rollouts=tuple(replace(r, verdict=None) for r in each.rollouts)) for each in groups]
    told = answers_table(unjudged, 9, texts).to_pydict()
    assert {name: told[name] for name in ("reward", "correct", "status", "reason", "extracted")} == dict.fromkeys(
        ("reward", "correct", "status", "reason", "extracted"), [None] * 3
    )


def scoreless(one: Rollout) -> Rollout:
    assert one.verdict is not None
    return replace(one, verdict=replace(one.verdict, score=None))


# -- the recorder -----------------------------------------------------------------------------------------


class Heard(Silent):
    def __init__(self) -> None:
        self.told: list[Any] = []

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        self.told.append((step, dict(metrics)))

    def evaluated(self, evaluation: Evaluation) -> None:
        self.told.append(evaluation)


def recorder(folder: Path, ranks: Ranks | None = None, **changes: Any) -> tuple[Recorder, Heard, Bench]:
    bench, heard = Bench("grpo", **changes), Heard()
    trackers = Trackers(bench.config, folder)
    return Recorder(bench.config, RunDir(folder), ranks or Ranks(), heard, toy_tokenizer(), trackers), heard, bench


def evaluated(step: int, split: str) -> Evaluation:
    """Of one problem with one response."""
    attempt = Attempt(id="p", domain="maths", level="", status=("correct",), answers=("4",), tokens=(3,))
    return Evaluation(
        step=step, split=split, samples=1, temperature=1.0, top_p=1.0, top_k=0, max_response=8, seed=0, suite="s",
        attempts=(attempt,), seconds=1.0,
    )  # fmt: skip


@pytest.mark.parametrize("rank", [0, 1])
def test_a_steps_line_holds_costs_and_times_and_one_rank_writes_it(rank: int, tmp_path: Path) -> None:
    found, heard, bench = recorder(tmp_path, Ranks(rank, 2))
    step = bench.step(toy_groups(), 4)
    tokens = sum(len(r.response_tokens) for g in step.groups for r in g.rollouts)
    spent = Spent(gen_tokens=5, device_seconds=3.0)
    found.step(step, {"reward/mean": 0.5}, spent, {"sample": 1.5, "update": 0.5})
    line = {
        "reward/mean": 0.5, **spent.metrics(), "time/sample": 1.5, "time/update": 0.5, "time/step": 2.0,
        "time/tokens_per_second": tokens / 2,
    }  # fmt: skip
    assert heard.told == [(4, line)]
    assert found.run.metrics() == ([] if rank else [{"step": 4, **line}])
    evaluation = evaluated(4, "test")
    found.evaluation(evaluation, toy_groups()[:1])
    assert heard.told[1] is evaluation
    asked = [("test", 4), ("test", 3), ("curve", 4)]
    assert [found.recorded(*each) for each in asked] == [rank == 0, False, False]
    assert found.run.answered("test") == ([] if rank else [4])
    found.unjudged(toy_groups()[:2], batch_of(toy_groups()[:2]))
    assert found.run.rollout_steps() == ([] if rank else [3])
    found.diagnosis({"step": 4, "x": 1}, {"embeddings": np.ones(2)})
    assert found.run.diagnostics_file.exists() == (tmp_path / "representations").exists() == (rank == 0)


def test_a_step_of_no_time_is_no_division_by_zero(tmp_path: Path) -> None:
    found, heard, bench = recorder(tmp_path)
    found.step(bench.step(toy_groups()), {}, Spent(), {})
    assert heard.told[0][1]["time/step"] == 0.0 < heard.told[0][1]["time/tokens_per_second"]


def test_an_evaluation_of_before_is_known(tmp_path: Path) -> None:
    first, _, _ = recorder(tmp_path)
    evaluation = evaluated(2, "curve")
    first.evaluation(evaluation, toy_groups()[:1])
    again, _, _ = recorder(tmp_path)
    assert [again.recorded("curve", step) for step in (1, 2)] == [False, True]


def test_a_control_arm_tells_both_what_is_true_and_what_was_told(tmp_path: Path) -> None:
    """Everything was told to be wrong; of the verifier's own verdicts, one response is right."""
    found, _, bench = recorder(tmp_path, log={"rollouts_every": 0})
    wrong, right = (Verdict(status="wrong", reason=""), Verdict(status="correct", reward=1.0, reason=""))

    def judged(*verdicts: Verdict) -> list[Group]:
        (each,) = toy_groups(prompts=1)
        rollouts = zip(each.rollouts, verdicts, strict=False)
        return [replace(each, rollouts=tuple(replace(r, verdict=verdict) for r, verdict in rollouts))]

    step = replace(bench.step(judged(wrong, wrong)), verified=judged(wrong, right), dropped=3)
    assert step.judged == step.verified and step.truth.correct_B.tolist() == [False, True]
    told = found.metrics(step, {"x": 1.0})
    assert (told["correct/mean"], told["control/correct"], told["groups/dropped"], told["x"]) == (0.5, 0.0, 3.0, 1.0)
    plain = replace(step, verified=None)
    assert plain.judged is plain.groups and plain.truth is plain.batch
    assert "control/correct" not in found.metrics(plain, {})


def test_trouble_is_written_when_it_comes_and_when_it_goes(tmp_path: Path) -> None:
    found, _, bench = recorder(tmp_path)
    step, seen = bench.step(toy_groups()), []
    for number, truncated in enumerate((0.9, 0.9, 0.9, 0.9, 0.1), 1):
        (tmp_path / "status.json").unlink(missing_ok=True)
        found.step(replace(step, number=number), {"length/truncated": truncated}, Spent(), {"sample": 1.0})
        seen.append(found.run.status())
    assert [status.step for status in seen] == [None, None, 3, None, 5]
    assert "90% of responses are cut" in seen[2].warnings[0] and seen[2].state == "running" and seen[4].warnings == ()
    assert found.standing() == []
    lines = [json.loads(line) for line in found.run.metrics_file.read_text().splitlines()]
    found.run.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines[:3]))
    resumed, _, _ = recorder(tmp_path)
    (told,) = resumed.standing()
    assert told.startswith("for 3 steps: ")


def test_metrics_go_to_the_trackers_that_are_named(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    pytest.importorskip("accelerate")
    bench = Bench("grpo", log={"trackers": ["tensorboard"]})
    assert Trackers(bench.config, tmp_path / "idle", active=False)._trackers == []
    trackers = Trackers(bench.config, tmp_path / "run")
    trackers.log(7, {"reward/mean": 0.5})
    (tracker,) = trackers._trackers
    trackers.close()
    events_of = importlib.import_module("tensorboard.backend.event_processing.event_accumulator").EventAccumulator
    (file,) = [path for path in (tmp_path / "run").rglob("*tfevents*") if path.parent.name == "run"]
    events = events_of(str(file)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("reward/mean")] == [(7, 0.5)]
    assert tracker.name == "tensorboard"
