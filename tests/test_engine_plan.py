"""What a run works out before a model is loaded: its plan, its refusals, how programs are isolated, which verdicts count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from rlzoo import registry
from rlzoo.config import VerificationConfig
from rlzoo.data.source import Split, build
from rlzoo.engine.isolation import Isolation, find_isolation, some_problems, verifier_context
from rlzoo.engine.model.loading import pick_device
from rlzoo.engine.plan import _extras, check_needs, make_plan
from rlzoo.engine.supply import Supply, build_supply
from rlzoo.engine.verification import Pending, _some, check_error_rate, check_golds
from rlzoo.errors import DataError, UnmetNeed, VerifierFault
from rlzoo.laws.lab import DOMAINS, toy_config
from rlzoo.placement import RankPlace, here
from rlzoo.types import Divergence, Group, Initial, Needs, Pooling, Problem, Rollout, Signal, Verdict
from tests.support import small_config


class Source:
    """So many problems by split; none of a split where it never ends."""

    domains = ("maths",)

    def __init__(self, name: str = "source", *, answers: bool = True, **sizes: int | None) -> None:
        self.name, self.answers, self.sizes = name, answers, sizes

    def size(self, split: Split) -> int | None:
        return self.sizes.get(split, 0)

    def problem(self, split: Split, index: int) -> Problem:
        return Problem(id=f"{split}-{index}", domain="maths", messages=(), verifier="maths")

    def fingerprint(self) -> str:
        return self.name


def ids(problems: Sequence[Problem]) -> list[str]:
    return [problem.id for problem in problems]


def test_a_plan_by_hand() -> None:
    """Six prompts of four rollouts of at most 24 tokens, in two updates."""
    config = small_config("data.sources=[{name: maths}, {name: logic}]")
    objective, supply = registry.build_objective(config.objective), build_supply(config)
    plan = make_plan(config, objective, supply)
    assert (plan.objective, plan.domains, plan.limits, plan.sandbox, plan.extra) == (
        "grpo", ("maths", "logic"), {"steps": 3}, None, (),
    )  # fmt: skip
    assert (plan.rollouts_per_step, plan.updates_per_step, plan.prompts_per_update, plan.rollouts_per_update) == (
        24, 2, 3, 12,
    )  # fmt: skip
    assert plan.max_tokens_per_step == 576
    assert plan.ranks == (here(str(pick_device(config.model))),)
    places = (RankPlace(host="a", device="cpu"), RankPlace(host="b", device="cpu"))
    assert make_plan(config, objective, supply, places).ranks == places


OVERLONG = {"overlong": 1.0, "overlong_buffer": 4}


@pytest.mark.parametrize(
    ("needs", "changes", "words"),
    [
        ({"min_group": 4}, {}, None),
        ({"min_group": 5}, {}, r"at least 5 rollouts a prompt \(its own reason\), but sampling\.group_size is 4.* 5 or more"),
        ({"min_updates": 2}, {}, None),
        ({"min_updates": 3}, {}, r"at least 3 updates a step \(its own reason\), but this run makes 2 .* 3 or more"),
        ({"domains": 3}, {}, None),
        ({"domains": 4}, {}, r"problems of at least 4 domains \(its own reason\), but data\.sources hold 3: maths, code, logic"),
        ({"rewards": "share"}, {}, None),
        ({"rewards": "share"}, {"format": 0.5}, r"rewards between 0 and 1 \(its own reason\), but reward\.format can"),
        ({"rewards": "nonnegative"}, {"format": 0.5}, None),
        ({"rewards": "nonnegative"}, OVERLONG, r"rewards of 0 or more \(its own reason\), but reward\.overlong can"),
        ({"rewards": "any"}, OVERLONG, None),
        ({"answers": True}, {}, r"every problem's answer \(its own reason\), but these sources carry none: bare\. "),
        ({}, {}, None),
    ],
)  # fmt: skip
def test_needs_are_met_or_refused_with_what_to_set(
    needs: dict[str, Any], changes: dict[str, Any], words: str | None
) -> None:
    config = toy_config("grpo", reward=changes)
    objective, sources = registry.build_objective(config.objective), [Source("whole"), Source("bare", answers=False)]
    asked = Needs(**needs, because=dict.fromkeys(needs, "its own reason"))
    if words is None:
        check_needs(config, objective, asked, DOMAINS, sources)
        return
    with pytest.raises(UnmetNeed, match=f"^objective 'grpo' needs {words}"):
        check_needs(config, objective, asked, DOMAINS, sources)
    with pytest.raises(UnmetNeed) as told:
        check_needs(config, objective, Needs(**needs), DOMAINS, sources)
    assert "its own reason" not in str(told.value) and "(), but" not in str(told.value)


def test_what_an_objective_asks_for_beyond_sampling_in_words() -> None:
    teacher = Signal(name="teacher", weights=Initial(), rows="credited")
    assert _extras(Needs()) == []
    assert _extras(Needs(signals=(teacher,))) == ["signal teacher (initial weights, credited rows)"]
    match = Divergence(signal="teacher", kind="reverse")
    assert _extras(Needs(signals=(teacher,), divergences=(match,)))[1:] == ["divergence from teacher (reverse)"]
    assert _extras(Needs(embeddings=Pooling(layer=-2, pool="last"))) == ["embeddings (last of layer -2)"]
    assert _extras(Needs(old_logps=True)) == ["old log-probs of all rows"]
    assert _extras(Needs(entropy=True)) == ["entropy of all rows"]


def test_sources_are_counted_once() -> None:
    one, other = Source("one"), Source("other")
    assert Supply(training=(one,), tested=(one, other)).every == (one, other)
    config = small_config("data.sources=[{name: maths}]")
    supply = build_supply(config)
    assert supply.tested is supply.training and supply.every == tuple(supply.training)


# -- isolation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "every", "count"), [(1, 1, 1), (200, 1, 200), (201, 2, 101), (450, 3, 150), (0, 1, 0)]
)
def test_problems_are_looked_at_evenly(size: int, every: int, count: int) -> None:
    found = ids([*some_problems(Source(train=size, validation=2))])
    assert found == [*(f"train-{at}" for at in range(0, size, every)), "validation-0", "validation-1"]
    assert len(found) == count + 2
    assert ids([*some_problems(Source(train=None, test=None))]) == ["train-0", "test-0"]


def test_programs_of_one_source_are_found_before_all_of_another_is_looked_at() -> None:
    """Which made a plan of fifty runs take half a minute."""
    asked: list[str] = []

    class Watched(Source):
        def problem(self, split: Split, index: int) -> Problem:
            asked.append(f"{self.name}-{index}")
            return replace(super().problem(split, index), verifier=self.name)

    far = VerificationConfig(sandbox_url="http://127.0.0.1:1")
    assert find_isolation(far, [Watched("maths", train=200), Watched("code", train=200)]) is not None
    assert asked == ["maths-0", "code-0"]
    asked.clear()
    assert find_isolation(far, [Watched("maths", train=3), Watched("logic", train=1)]) is None
    assert asked == ["maths-0", "logic-0", "maths-1", "maths-2"]


def test_verifiers_are_told_the_level_that_was_found() -> None:
    settings = VerificationConfig(timeout_s=8.0, memory_mb=1000, packages=["numpy"])
    told = verifier_context(settings, Isolation(level="namespaces", layers=("seccomp",))).sandbox
    assert (told.level, told.wall_s, told.memory_mb, told.packages, told.url) == (
        "namespaces",
        6.0,
        500,
        ("numpy",),
        None,
    )
    assert verifier_context(settings, None).sandbox.level == settings.sandbox
    small = verifier_context(settings.model_copy(update={"memory_mb": 100}), None).sandbox
    assert small.memory_mb == 64
    url = "http://127.0.0.1:1"
    far = settings.model_copy(update={"sandbox_url": url})
    found = find_isolation(far, [build("maths", {}), build("code", {})])
    assert found == Isolation(level="sandboxfusion", layers=(url,)) and str(found) == f"sandboxfusion ({url})"
    there = verifier_context(far, found).sandbox
    assert (there.level, there.url) == (settings.sandbox, url)
    assert find_isolation(far, [build("maths", {})]) is None
    assert str(Isolation(level="none", layers=())) == "none"
    assert str(Isolation(level="namespaces", layers=("seccomp", "cgroup"))) == "namespaces (seccomp, cgroup)"


# -- verdicts ---------------------------------------------------------------------------------------------

RIGHT, WRONG = Verdict(status="correct", reward=1.0, reason="yes"), Verdict(status="wrong", reason="no")
UNPARSED, LOST = Verdict(status="unparsed", reason="no answer"), Verdict(status="error", reason="gone")


def groups_of(*truncated: Sequence[bool]) -> list[Group]:
    """Responses of three tokens, each cut off or not."""
    problem = Source().problem("train", 0)
    return [
        Group(
            problem=problem,
            rollouts=tuple(
                Rollout(prompt_tokens=(1,), response_tokens=(2, 3, 4), sampler_logps=(0.0,) * 3, text="", truncated=cut)
                for cut in each
            ),
        )
        for each in truncated
    ]


def judged(groups: Sequence[Group], verdicts: Sequence[Verdict]) -> list[Group]:
    ready: Future[list[Verdict]] = Future()
    ready.set_result(list(verdicts))
    return Pending(groups, ready).judged()


def test_a_response_that_was_cut_off_before_its_answer_is_truncated() -> None:
    groups = groups_of([True, True], [False, False, True])
    found = judged(groups, [UNPARSED, WRONG, UNPARSED, RIGHT, UNPARSED])
    assert [[r.verdict.status for r in g.rollouts if r.verdict] for g in found] == [
        ["truncated", "wrong"],
        ["unparsed", "correct", "truncated"],
    ]
    first = found[0].rollouts[0].verdict
    assert first is not None and "cut off after 3 tokens" in first.reason


def test_too_many_failures_of_verification_stop_a_run() -> None:
    groups = judged(groups_of([False] * 4, [False] * 6), [RIGHT, LOST, WRONG, WRONG, LOST, *[RIGHT] * 5])
    check_error_rate(groups, 0.2)
    check_error_rate(groups_of([False]), 0.0)
    with pytest.raises(
        VerifierFault, match=r"failed on 2 of 10 responses.* = 0\.19\. First failure: gone\. .*--status"
    ):
        check_error_rate(groups, 0.19)


def test_own_answers_are_tried_evenly_and_endless_sources_are_not() -> None:
    source = Source(train=10, validation=3)
    assert ids(_some(source, 5)) == ["train-0", "train-3", "train-6", "train-9", "validation-2"]
    assert len(_some(source, 13)) == 13 and len(_some(source, 12)) == 7 and len(_some(source, 99)) == 13
    assert _some(Source(train=None, test=4), 9) == []


class Judges:
    """A pool that cannot judge some problems."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        self.known, self.asked = faults, 0

    def faults(self, problems: Sequence[Problem]) -> list[str | None]:
        self.asked += 1
        return [self.known.get(problem.id) for problem in problems]


def test_answers_that_cannot_be_judged_are_told_or_end_the_run() -> None:
    settings = VerificationConfig(check_golds=4, max_error_rate=0.25)
    sources = [Source("good", test=4), Source("bad", train=4)]
    pool: Any = Judges({"train-2": "cannot be read", "train-3": "never asked"})
    with pytest.raises(DataError, match=r"2 of 4 answers of bad .*'train-2': cannot be read\n.*max_error_rate = 0\.25"):
        check_golds(sources, pool, settings)
    pool = Judges({"train-2": "cannot be read"})
    (told,) = check_golds(sources, pool, settings)
    assert told.startswith(
        "1 of 4 answers of bad that were tried cannot be judged. First: problem 'train-2': cannot be read"
    )
    assert check_golds(sources, pool, settings.model_copy(update={"check_golds": 0})) == [] and pool.asked == 2
