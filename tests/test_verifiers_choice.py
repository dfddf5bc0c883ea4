"""Letters, puzzles, routes and what is added to rewards."""

from __future__ import annotations

from typing import Any

import pytest

from rlzoo.config import RewardConfig
from rlzoo.data.choices import choice
from rlzoo.errors import DataError
from rlzoo.lengths import overlong_punishment
from rlzoo.registry import build_verifier
from rlzoo.types import Problem, Rollout, Status, Verdict
from rlzoo.verifier import VerifierContext
from rlzoo.verifiers import shaping
from rlzoo.verifiers.answers import POLICIES, answer_line, only_boxed

CHOICE, LOGIC, ROUTER = build_verifier("choice"), build_verifier("logic"), build_verifier("router")


def problem(verifier: str, answer: str | None = None, domain: str = "d", **metadata: Any) -> Problem:
    return Problem(id="p", domain=domain, messages=(), verifier=verifier, answer=answer, metadata=metadata)


# ----------------------------------------------------------------------------------------------------------- policies


@pytest.mark.parametrize(
    ("response", "found"),
    [
        # final, last-boxed, only-boxed, answer-line
        (r"\boxed{3} or \boxed{5}", ("3, 5", "5", None, None)),
        (r"\boxed{3}, again \boxed{ 3 }", ("3", "3", "3", None)),
        (r"<think>\boxed{1}</think>\boxed{2}", ("2", "2", "2", None)),
        (r"\boxed{\boxed{5}}", ("5", "5", "5", None)),
        (r"\boxed{\{1,2\}}", (r"\{1,2\}", r"\{1,2\}", r"\{1,2\}", None)),
        (r"\boxed{\frac{1}{2}", (None, None, None, None)),
        (r"\boxed{1} and \boxed{2", (None, None, None, None)),
        ("**Answer:** $5$.", ("5", None, None, "5")),
        ("The answer is 7.\nmore", ("7", None, None, "7")),
        ("#### 42", ("42", None, None, "42")),
        (r"Answer: \boxed{7}", ("7", "7", "7", "7")),
        ("", (None, None, None, None)),
    ],
)
def test_policies(response: str, found: tuple[str | None, ...]):
    assert tuple(policy(response) for policy in POLICIES.values()) == found


def test_a_megabyte_is_read_in_time():
    import time

    started = time.monotonic()
    for big in (
        r"\boxed{" * 150_000,
        r"\boxed{" + "{" * 10**6,
        "answer " * 150_000,
        "<answer>" * 125_000,
        "\\" * 10**6,
    ):
        for policy in POLICIES.values():
            policy(big)
    assert only_boxed(r"\boxed{1}" * 100_000) == "1"
    assert answer_line("answer: 1\n" * 100_000) == "1"
    assert time.monotonic() - started < 20  # about 1 s on an idle machine; quadratic time would be hours


# ------------------------------------------------------------------------------------------------------------ choice


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("B", "correct"), ("(B)", "correct"), ("B.", "correct"), (r"\text{B}", "correct"), ("**B**", "correct"), ("B) a cat", "correct"),
        ("B. A cat", "correct"), (r"\textbf{(B)}", "correct"), ("A", "wrong"), ("D", "wrong"), ("A or B", "unparsed"), ("A, B", "unparsed"),
        ("AB", "unparsed"), ("B or A", "unparsed"), ("B (or C)", "unparsed"), ("b", "unparsed"), ("E", "unparsed"), ("42", "unparsed"),
    ],
)  # fmt: skip
def test_one_letter(answer: str, status: str):
    asked = problem("choice", "B", choices=4)
    assert CHOICE.judge(asked, f"#{answer}").status == status


def test_a_gold_that_is_no_option_is_told():
    assert CHOICE.gold_fault(problem("choice", "(B)", choices=["x", "y"])) is None
    assert "from A to B" in str(CHOICE.gold_fault(problem("choice", "C", choices=["x", "y"])))
    with pytest.raises(ValueError, match="letter of the right option"):
        CHOICE.judge(problem("choice", "42"), "#B")


def test_options_are_shuffled_by_seed_and_problem():
    options = ("one", "two", "three", "four")
    made = [choice("Which?", options, 2, key=f"q{n}", seed=0) for n in range(400)]
    assert all(one.options["ABCD".index(one.letter)] == "three" for one in made)
    counts = [sum(one.letter == letter for one in made) for letter in "ABCD"]
    assert min(counts) > 60  # 100 each on average, standard deviation 8.7
    assert made[0] == choice("Which?", options, 2, key="q0", seed=0)
    assert any(one != choice("Which?", options, 2, key=f"q{n}", seed=1) for n, one in enumerate(made))
    as_given = choice("Which?", options, 2, key="q", seed=None)
    assert (as_given.letter, as_given.chance, as_given.text.splitlines()[3]) == ("C", 0.25, "C) three")
    with pytest.raises(DataError, match="options"):
        choice("Which?", ("same", "same"), 0, key="q")


# ------------------------------------------------------------------------------------------------------------- logic

HOUSES = {
    "kind": "assignment",
    "variables": {"ann": [1, 2, 3], "bob": [1, 2, 3], "cat": [1, 2, 3]},
    "different": [["ann", "bob", "cat"]],
    "constraints": [["ann", "<", "bob"], ["bob", "next-to", "cat"], ["cat", "!=", "1"]],
}
SQUARE = {"kind": "grid", "grid": [[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], "boxes": [2, 2]}


@pytest.mark.parametrize(
    ("metadata", "answer", "reason"),
    [
        # ann before bob, bob beside cat, cat not first: ann 1, and bob and cat either way.
        (HOUSES, "ann=1, bob=2, cat=3", "every"),
        (HOUSES, '{"ann": 1, "bob": 3, "cat": 2}', "every"),
        (HOUSES, "ann: 1\nbob: 2\ncat: 3", "every"),
        (HOUSES, "ann=2, bob=3, cat=1", "bob next-to cat does not hold"),
        (HOUSES, "ann=1, bob=1, cat=2", "two of ann, bob, cat are equal"),
        (HOUSES, "ann=1, bob=2", "not one value"),
        (HOUSES, "ann=1, bob=2, cat=3, cat=2", "not one value"),
        (HOUSES, "ann=1, bob=2, cat=4", "cat cannot be 4"),
        (SQUARE, "[[1,2,3,4],[3,4,1,2],[2,1,4,3],[4,3,2,1]]", "every"),
        (SQUARE, "1 2 3 4\n3 4 1 2\n2 1 4 3\n4 3 2 1", "every"),
        (SQUARE, "1234\n3412\n2143\n4321", "every"),
        (SQUARE, "[[1,2,3,4],[4,3,1,2],[2,1,4,3],[3,4,2,1]]", "every"),
        (SQUARE, "[[2,1,3,4],[3,4,1,2],[1,2,4,3],[4,3,2,1]]", "was given as 1"),
        (SQUARE, "[[1,2,3,4],[2,3,1,4],[3,1,4,2],[4,2,3,1]]", "column"),
        (SQUARE, "[[1,2],[2,1]]", "not 4 rows"),
        (SQUARE, "[[1,true]]", "not 4 rows"),
        (SQUARE, "[" * 2_000, "not 4 rows"),
    ],
)
def test_constraints(metadata: dict[str, Any], answer: str, reason: str):
    verdict = LOGIC.judge(problem("logic", **metadata), f"#{answer}")
    assert (reason in verdict.reason, verdict.correct) == (True, reason == "every"), verdict.reason


@pytest.mark.parametrize(
    ("answer", "response", "correct"),
    [
        ('{"a": [1, 2.0]}', '<answer>{"a": [1.0, 2]}</answer>', True),
        ('{"a": [1, true]}', '#{"a": [1, 1]}', False),
        ('["cat", "dog"]', '<answer>["dog", "cat"]</answer>', False),
        ("cat", "<answer> 'Cat' </answer>", True),
        ("cat", "<answer>cats</answer>", False),
        ("7", r"\boxed{7.0}", True),
        ("cat", "cat", False),
        ("NaN", "<answer>nan</answer>", True),
        ("[NaN]", "<answer>[NaN]</answer>", True),
        ("[Infinity]", "<answer>[NaN]</answer>", False),
    ],
)
def test_without_constraints_the_answer_is_compared_as_data(answer: str, response: str, correct: bool):
    assert LOGIC.judge(problem("logic", answer), response).correct is correct


def test_null_is_what_columns_hold_for_no_value():
    assert LOGIC.judge(problem("logic", "cat", kind=None), "<answer>cat</answer>").correct
    free = {"kind": "assignment", "variables": {"ann": [1, 2]}, "different": None, "constraints": None}
    assert LOGIC.judge(problem("logic", **free), "#ann=2").correct
    assert LOGIC.gold_fault(problem("logic", "cat", kind=None)) is None


def test_golds_of_puzzles():
    assert LOGIC.gold_fault(problem("logic", "ann=1, bob=2, cat=3", **HOUSES)) is None
    assert LOGIC.gold_fault(problem("logic", **HOUSES)) is None
    assert "bob next-to cat" in str(LOGIC.gold_fault(problem("logic", "ann=2, bob=3, cat=1", **HOUSES)))
    assert "no such data: KeyError: 'grid'" in str(LOGIC.gold_fault(problem("logic", kind="grid")))
    assert "neither metadata.kind nor an answer" in str(LOGIC.gold_fault(problem("logic")))
    assert "this verifier knows order" in str(LOGIC.gold_fault(problem("logic", kind="sudoku")))


@pytest.mark.parametrize(
    "metadata",
    [
        {"kind": "assignment", "variables": ["ann"]},
        {"kind": "assignment", "variables": {"ann": 7}},
        {"kind": "assignment", "variables": {"ann": [1]}, "constraints": [["bob", "=", "1"]]},
        {"kind": "grid", "grid": [[0]], "boxes": [0, 0]},
        {"kind": "grid", "grid": [[]]},
        {"kind": "order", "below": None},
        {"kind": "truth", "expression": ["a"], "letters": "a"},
        {"kind": "truth", "expression": "b", "letters": "a"},
    ],
)
def test_metadata_that_cannot_be_read_are_told_with_the_problem(metadata: dict[str, Any]):
    answer = {"assignment": "ann=1", "grid": "[[1]]", "order": "12", "truth": "TF"}[metadata["kind"]]
    with pytest.raises(ValueError, match=r"problem 'p'|range"):
        LOGIC.judge(problem("logic", **metadata), f"#{answer}")
    assert LOGIC.gold_fault(problem("logic", answer, **metadata))


# ------------------------------------------------------------------------------------------------------------ router


MINE = {"routes": {"my-*": "logic"}}


@pytest.mark.parametrize(
    ("domain", "source", "own", "name"),
    [
        ("d", "openai/gsm8k", {}, "maths"),
        ("d", "Idavidrein/gpqa", {}, "choice"),
        ("d", "codeparrot/apps", {}, "code"),
        ("logic", None, {}, "logic"),
        ("maths", "my-own", {}, "maths"),
        ("maths", "my-own", MINE, "logic"),
        ("poems", None, {}, None),
    ],
)
def test_routes(domain: str, source: str | None, own: dict[str, Any], name: str | None):
    router = build_verifier("router", VerifierContext(settings={"router": own}))
    assert router.routed(problem("router", domain=domain, data_source=source)) == name


def test_a_routed_problem_is_judged_as_by_its_verifier():
    asked = problem("router", r"\frac{1}{2}", domain="maths", extraction="last-boxed")
    assert ROUTER.judge(asked, r"\boxed{0.5}").correct
    assert ROUTER.extract(asked, r"\boxed{0.5}") == "0.5"
    assert ROUTER.loads(problem("router", "x+1", domain="maths")) == ("rlzoo.verifiers.symbolic",)
    assert not ROUTER.runs_programs(asked)
    assert ROUTER.runs_programs(problem("router", domain="d", data_source="apps"))
    with pytest.raises(ValueError, match=r"verifier\.router\.routes"):
        ROUTER.judge(problem("router", "5", domain="poems"), "#5")
    assert "no route" in str(ROUTER.gold_fault(problem("router", "5", domain="poems")))


def test_a_routed_problem_is_judged_under_the_settings_of_its_verifier():
    strict = build_verifier("router", VerifierContext(settings={"maths": {"equality": "strict"}}))
    asked = problem("router", "7", domain="maths")
    assert ROUTER.judge(asked, "#x = 7").correct
    assert strict.judge(asked, "#x = 7").status == "wrong"
    assert strict.judge(problem("router", "7", domain="maths", equality="lenient"), "#x = 7").correct


# ----------------------------------------------------------------------------------------------------------- shaping


def rollout(tokens: int, status: Status, text: str = "#1") -> Rollout:
    verdict = Verdict(
        status=status, reason="r", reward=float(status == "correct"), extracted=None if status == "unparsed" else "1"
    )
    return Rollout(
        prompt_tokens=(1,),
        response_tokens=(1,) * tokens,
        sampler_logps=(0.0,) * tokens,
        text=text,
        truncated=False,
        verdict=verdict,
    )


def test_length_by_hand():
    # Lengths 10 to 30: 0.5 - (n - 10) / 20 = 0.5, 0, -0.5. Wrong ones earn min(0, that), or nothing behind the gate.
    group = [
        rollout(10, "correct"),
        rollout(20, "wrong"),
        rollout(30, "wrong"),
        rollout(30, "correct"),
        rollout(10, "wrong"),
        rollout(10, "error"),
    ]
    gated = shaping.parts(group, RewardConfig(length=2.0), 40)
    assert [part["length"] for part in gated] == [1.0, 0.0, 0.0, -1.0, 0.0, 0.0]
    free = shaping.parts(group, RewardConfig(length=2.0, gated=False), 40)
    assert [part["length"] for part in free] == [1.0, 0.0, -1.0, -1.0, 0.0, 0.0]
    assert shaping.length_reward(7, 7, 7, True) == 0.0


def test_overlong_by_hand():
    # 40 at most, the last 10 punished: 30 is free, 35 costs half, 40 all.
    assert [overlong_punishment(n, 40, 10) for n in (0, 30, 35, 40, 50)] == [0.0, 0.0, -0.5, -1.0, -1.0]
    group = [rollout(35, "correct"), rollout(40, "wrong"), rollout(40, "error")]
    parts = shaping.parts(group, RewardConfig(overlong=0.5, overlong_buffer=10), 40)
    assert [part["overlong"] for part in parts] == [-0.25, -0.5, 0.0]


def test_forms():
    assert [
        p["format"] for p in shaping.parts([rollout(1, "correct"), rollout(1, "wrong")], RewardConfig(format=0.2), 9)
    ] == [0.2, 0.0]
    free = RewardConfig(format=0.2, gated=False)
    assert [p["format"] for p in shaping.parts([rollout(1, "wrong"), rollout(1, "unparsed")], free, 9)] == [0.2, 0.0]
    assert shaping.has_form(rollout(1, "wrong", r"\boxed{1}"), "boxed")
    assert not shaping.has_form(rollout(1, "wrong", r"\boxed{1} \boxed{1}"), "boxed")
    assert shaping.has_form(rollout(1, "wrong", "<think>so</think> 5"), "think")
    for text in ("so</think> 5", "<think></think> 5", "<think>so</think>", "<think>a<think>so</think> 5", "5"):
        assert not shaping.has_form(rollout(1, "wrong", text), "think")


def test_nothing_is_added_unasked():
    assert shaping.parts([rollout(3, "correct")], RewardConfig(), 9) == [{}]
    assert not RewardConfig().shapes
