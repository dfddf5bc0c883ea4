"""Who is asked what, and with which noise: steps, evaluations, signals. The sampler is a list of what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rlzoo.config import CURVE_PER_LEVEL
from rlzoo.data.mixing import mixer_of, suite
from rlzoo.data.source import build
from rlzoo.engine.answering import Answers
from rlzoo.engine.asking import Asker
from rlzoo.engine.clock import Clock
from rlzoo.engine.control import told
from rlzoo.engine.evaluator import Evaluator
from rlzoo.engine.model.passes import Scores
from rlzoo.engine.model.sequences import Sequences
from rlzoo.engine.prompting import asked_of
from rlzoo.engine.ranks import Ranks
from rlzoo.engine.reporting import Silent
from rlzoo.engine.sampling.base import Decoding, Request
from rlzoo.engine.sampling.noise import row_key
from rlzoo.engine.scorer import _joined
from rlzoo.engine.supply import Supply
from rlzoo.errors import ObjectiveFault
from rlzoo.laws.lab import Bench, toy_config, toy_groups
from rlzoo.types import Group, Insert, Needs, Pooling, Problem, Rollout, Signal, Verdict

GROUPS = toy_groups()
SUMS = [build("maths", {})]


class Sampler:
    """Answers each prompt with as many responses as it has keys."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[Request], Decoding]] = []
        self.slept = 0

    def sample(self, requests: Sequence[Request], decoding: Decoding) -> list[tuple[Rollout, ...]]:
        self.asked.append((list(requests), decoding))
        return [tuple(self.answer(request.prompt_tokens, key) for key in request.keys) for request in requests]

    def answer(self, prompt: tuple[int, ...], key: int) -> Rollout:
        return Rollout(
            prompt_tokens=prompt, response_tokens=(4,), sampler_logps=(-1.0,), text=str(key), truncated=False
        )

    def sleep(self) -> None:
        self.slept += 1


class Pool:
    """Finds that all is right."""

    def submit(self, pairs: Sequence[tuple[Problem, str]]) -> Future[list[Verdict]]:
        ready: Future[list[Verdict]] = Future()
        ready.set_result([Verdict(status="correct", reward=1.0, reason="", extracted="7") for _ in pairs])
        return ready


class Prompts:
    """A prompt is as long as its text; about every other one fits."""

    def prompt(self, messages: Sequence[Any]) -> tuple[int, ...]:
        return (1,) * len(messages[0]["content"])

    def fits(self, problem: Problem) -> bool:
        return bool(row_key("fits", problem.id) & 1)


def asker_of(ranks: Ranks | None = None) -> tuple[Asker, Sampler]:
    sampler: Any = Sampler()
    renderer: Any = Prompts()
    pool: Any = Pool()
    return Asker(sampler, renderer, pool, ranks or Ranks()), sampler


def keys_of(sampler: Sampler, call: int = -1) -> list[list[int]]:
    return [list(request.keys) for request in sampler.asked[call][0]]


def test_a_rank_answers_its_own_share() -> None:
    asker, sampler = asker_of(Ranks(1, 3))
    problems = [group.problem for group in GROUPS]
    decoding = Decoding(max_response=4)
    found = asker.answer(problems, lambda i: [10 * i, 10 * i + 1], decoding, visits=[7, 8, 9, 10, 11, 12])
    assert [(group.problem.id, group.visit) for group in found] == [("toy-0-1", 8), ("toy-0-4", 11)]
    assert [[r.text for r in group.rollouts] for group in found] == [["10", "11"], ["40", "41"]]
    assert sampler.asked[0][1] is decoding
    assert [r.prompt_tokens for r in sampler.asked[0][0]] == [
        asker.renderer.prompt(problems[i].messages) for i in (1, 4)
    ]
    assert [group.visit for group in asker.answer(problems, lambda i: [i], decoding)] == [0, 0]
    judged = asker.begin(found).judged()
    assert all(r.verdict is not None and r.verdict.correct for group in judged for r in group.rollouts)


# -- steps ------------------------------------------------------------------------------------------------


def answers_of(**changes: Any) -> tuple[Answers, Sampler]:
    config = toy_config("grpo", seed=5, **changes)
    asker, sampler = asker_of()
    clock = Clock(Silent(), torch.device("cpu"))
    return Answers(config, mixer_of(config, SUMS * 3, lambda problem: True), asker, clock), sampler


def test_a_steps_noise_is_of_its_problem_visit_attempt_and_place() -> None:
    answers, sampler = answers_of(sampling={"stream": 3, "temperature": 0.5, "top_k": 4})
    for attempt in (0, 2):
        groups = answers.draw(2, attempt)
        assert keys_of(sampler) == [
            [row_key("train", 5, 3, group.problem.id, group.visit, attempt, place) for place in range(4)]
            for group in groups
        ]
    decoding = sampler.asked[0][1]
    assert (decoding.temperature, decoding.top_k, decoding.max_response) == (0.5, 4, 8)
    assert sampler.slept == 0
    with answers.meanwhile():
        assert sampler.slept == 1 and len(sampler.asked) == 2, "nothing is sampled beside learning unless asked for"


def test_what_was_answered_ahead_is_the_first_draw_and_is_kept() -> None:
    answers, sampler = answers_of()
    before = answers.state_dict()
    assert before["ahead"] is None
    ahead = [
        [{**asdict(replace(r, verdict=None)), "policy_version": 9} for r in group.rollouts] for group in GROUPS[:2]
    ]
    for rollouts in ahead:
        for one in rollouts:
            del one["verdict"]
    answers.load_state_dict({"mixer": before["mixer"], "ahead": ahead})
    kept = answers.state_dict()
    assert (kept["mixer"], kept["ahead"]) == (before["mixer"], ahead)
    other = answers.draw(1, 1)
    assert len(sampler.asked) == 1, "another attempt is made now"
    groups = answers.draw(2, 0)
    assert len(sampler.asked) == 1
    assert [[r.response_tokens for r in g.rollouts] for g in groups] == [
        [r.response_tokens for r in g.rollouts] for g in GROUPS[:2]
    ]
    assert {r.policy_version for g in groups for r in g.rollouts} == {9}
    first, _ = answers_of()
    expected = [group.problem.id for group in first.draw(3, 0)]
    assert [group.problem.id for group in (*groups, *other)] == expected
    assert answers.state_dict()["ahead"] is None
    answers.draw(1, 0)
    assert len(sampler.asked) == 2
    answers.load_state_dict({"mixer": before["mixer"]})
    assert answers.state_dict() == before


# -- evaluations ------------------------------------------------------------------------------------------


def evaluator_of(sources: Sequence[Any] = SUMS, **changes: Any) -> tuple[Evaluator, Sampler]:
    settings = {
        "problems_per_level": 9,
        "validation_per_level": 1,
        "samples": 3,
        "temperature": 0.5,
        "top_p": 0.25,
        "top_k": 6,
    }
    config = toy_config("grpo", seed=5, eval=settings, **changes)
    asker, sampler = asker_of()
    return Evaluator(config, sources, asker), sampler


@pytest.mark.parametrize(
    ("asked", "split", "per_level", "samples"),
    [("test", "test", 9, 3), ("validation", "validation", 1, 1), ("curve", "test", min(CURVE_PER_LEVEL, 9), 1)],
)
def test_an_evaluation_asks_its_suite_with_noise_of_its_own(
    asked: Any, split: Any, per_level: int, samples: int
) -> None:
    evaluator, sampler = evaluator_of()
    problems = suite(SUMS, split, per_level, None)
    found, groups = evaluator.run(asked, 7)
    assert [group.problem for group in groups] == evaluator.problems(asked) == problems
    assert keys_of(sampler) == [
        [row_key("eval", split, 5, problem.id, sample) for sample in range(samples)] for problem in problems
    ]
    assert (found.step, found.split, found.samples, found.seed) == (7, asked, samples, 5)
    assert (found.temperature, found.top_p, found.top_k, found.max_response) == (0.5, 0.25, 6, 8)
    assert 0 <= found.seconds < 60
    first = found.attempts[0]
    assert (first.id, first.domain, first.level) == (problems[0].id, problems[0].domain, problems[0].level)
    assert (first.status, first.answers, first.tokens) == (("correct",) * samples, ("7",) * samples, (1,) * samples)


def test_a_suite_has_one_fingerprint_and_another_suite_another() -> None:
    evaluator, _ = evaluator_of()
    prints = [evaluator.run(asked, 0)[0].suite for asked in ("test", "validation", "curve")]
    again, _ = evaluator_of()
    assert [again.run(asked, 9)[0].suite for asked in ("test", "validation", "curve")] == prints
    assert len(set(prints)) == 3


def test_long_prompts_are_left_out_of_a_suite_where_they_are_skipped() -> None:
    for skipped in (False, True):
        data = {"sources": [{"name": "maths"}], "long_prompts": "skip" if skipped else "refuse"}
        evaluator, _ = evaluator_of(data=data)
        problems = evaluator.problems("test")
        assert all(Prompts().fits(problem) for problem in problems) == skipped and problems


def test_only_splits_that_will_be_asked_are_measured() -> None:
    supply = Supply(training=SUMS, tested=[])
    off = {"at_start": False, "at_end": False, "every": 0, "curve": 0, "validation_every": 0}

    def splits(**changes: Any) -> list[str]:
        found = asked_of(toy_config("grpo", eval={**off, **changes}), supply)
        assert found[0][0] is SUMS and all(sources == [] for sources, _ in found[1:])
        return [split for _, split in found]

    assert splits() == ["train"]
    for asked in ({"at_start": True}, {"at_end": True}, {"every": 3}, {"curve": 2}):
        assert splits(**asked) == ["train", "test"]
    assert splits(validation_every=2) == ["train", "validation"]


# -- signals ----------------------------------------------------------------------------------------------


def test_a_pass_over_all_rows_is_made_where_something_is_read_from_it() -> None:
    bench = Bench("grpo")
    assert not bench.scorer.asks_for_all(Needs())
    for asked in ({"old_logps": True}, {"entropy": True}, {"sequence_logps": True}, {"embeddings": Pooling()}):
        assert bench.scorer.asks_for_all(Needs(**asked)), asked
    assert Bench("tests/seam_objectives.py:Critic").scorer.asks_for_all(Needs())
    step = bench.step(GROUPS)
    before = step.costs.extra_tokens
    assert bench.scorer.prescore(step.sequences, Needs(), step.costs) is None and step.costs.extra_tokens == before
    scores = bench.scorer.prescore(step.sequences, Needs(embeddings=Pooling()), step.costs)
    assert scores is not None and scores.embeddings_BH is not None
    assert step.costs.extra_tokens - before == sum(step.sequences.lengths)


def test_ranks_make_as_many_passes_as_the_one_that_makes_most() -> None:
    """Ten tokens a pass: rows of 9 and 9 take two, those of 2 and 3 one; the shortest row fills in."""
    rows = Sequences([(1,) * length for length in (8, 1, 8, 2)], [(1,)] * 4)
    scorer = Bench("grpo").scorer
    scorer.budget = 10
    padding = []
    for rank in (0, 1):
        scorer.ranks = Ranks(rank, 2)
        padding.append([each.lengths for each in scorer._padding(rows)])
    assert padding == [[], [[2]]]


def test_parts_of_ranks_are_put_back_in_order() -> None:
    def part(*values: float, embedded: bool = True) -> Scores:
        column = torch.tensor(values)[:, None]
        return Scores(column, column + 10, column + 20 if embedded else None, {"critic": column + 30})

    found = _joined([part(0, 2), part(1)], torch.tensor([0, 2, 1]), torch.device("cpu"))
    assert found.logps_BT.squeeze(1).tolist() == [0, 1, 2]
    assert found.entropy_BT.squeeze(1).tolist() == [10, 11, 12]
    assert found.embeddings_BH is not None and found.embeddings_BH.squeeze(1).tolist() == [20, 21, 22]
    assert found.values["critic"].squeeze(1).tolist() == [30, 31, 32]
    bare = _joined([part(0, embedded=False), part(1, embedded=False)], torch.tensor([0, 1]), torch.device("cpu"))
    assert bare.embeddings_BH is None


def contexts_as(make: Callable[[Group], Sequence[Any]]) -> Bench:
    bench = Bench("grpo")
    bench.scorer.objective = SimpleNamespace(contexts=lambda name, group: make(group))  # type: ignore[assignment]
    return bench


@pytest.mark.parametrize("rows", ["all", "credited"])
def test_only_rows_that_count_have_a_context(rows: Any) -> None:
    """`credited`: groups whose judged rewards differ. A row that nobody judged has none either way."""
    bench = contexts_as(lambda group: [Insert("7")] * len(group.rollouts))
    step = bench.step(GROUPS)
    prompts, crowded = bench.scorer._prompts(Signal(name="s", rows=rows), step)
    assert crowded == 0
    expected = []
    for group in GROUPS:
        judged = [r.verdict for r in group.rollouts if r.verdict is not None and r.verdict.judged]
        differ = len({verdict.reward for verdict in judged}) > 1
        expected += [r.verdict is not None and r.verdict.judged and (rows == "all" or differ) for r in group.rollouts]
    assert [prompt is not None for prompt in prompts] == expected and {True, False} == set(expected)
    at = expected.index(True)
    assert prompts[at] == (*step.sequences.prompts[at], 10)


def test_a_context_for_each_rollout_or_a_fault() -> None:
    bench = contexts_as(lambda group: [None])
    step = bench.step(GROUPS)
    with pytest.raises(ObjectiveFault, match=r"contexts\('s'\) returned 1 contexts for a group of 4 rollouts.*None"):
        bench.scorer._prompts(Signal(name="s"), step)


# -- control arms -----------------------------------------------------------------------------------------


def test_a_coin_is_of_its_problem_visit_and_place() -> None:
    spoken = [r.verdict for g in told(GROUPS, "random", 3, 9) for r in g.rollouts if r.verdict is not None]
    places = [(group, place) for group in GROUPS for place in range(4)]
    for verdict, (group, place) in zip(spoken, places, strict=True):
        if verdict.judged:
            heads = bool(row_key("coin", 3, group.problem.id, group.visit, place) & 1)
            assert (verdict.status, verdict.reward) == (("correct", 1.0) if heads else ("wrong", 0.0))
            assert verdict.reason == "control: a coin"
