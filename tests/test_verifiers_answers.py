"""What is found in a response, and how it is judged."""

from collections.abc import Mapping
from typing import Any

import pytest

from rlzoo.data.procedural.maths import MATHS as SUMS
from rlzoo.registry import build_verifier
from rlzoo.types import Problem
from rlzoo.verifiers.answers import final_answer, tagged_answer
from rlzoo.verifiers.logic import truth_fault
from rlzoo.verifiers.sandbox import values

MATHS, CODE, LOGIC = build_verifier("maths"), build_verifier("code"), build_verifier("logic")


def problem(verifier: str, answer: str | None = None, **metadata: Any) -> Problem:
    return Problem(id="p", domain=verifier, messages=(), verifier=verifier, answer=answer, metadata=metadata)


@pytest.mark.parametrize(
    ("response", "found"),
    [
        ("38+45=83#83", "83"),
        ("#1 no #2 ", "2"),
        ("work\n#### 42", "42"),
        (r"so \boxed{7}", "7"),
        (r"\boxed{1} or \boxed{\frac{1}{2}}", r"1, \frac{1}{2}"),  # both, and so hedging earns nothing
        (r"\boxed{1} then #2", "1"),
        (r"#2 then \boxed{1}", "1"),
        ("38+45=83", None),
        ("38+45=83#", None),
        (r"\boxed{1", None),
        (r"\boxed{}", None),
        (r"#2 then \boxed{1", None),
        ("", None),
    ],
)
def test_final_answer(response: str, found: str | None):
    assert final_answer(response) == found


def test_tagged_answer():
    assert tagged_answer("<answer>1</answer> <answer>a\nb</answer>#3") == "a\nb"
    assert tagged_answer("#3") == "3"
    assert tagged_answer("<answer> </answer>") is None


@pytest.mark.parametrize(
    ("gold", "response", "status"),
    [
        ("83", "#83", "correct"),
        ("83", "#083", "correct"),
        ("83", "# 83.0 ", "correct"),
        ("83", "#166/2", "correct"),
        ("0.5", "#1/2", "correct"),
        ("1234", "#1,234", "correct"),
        ("-4", "#-4", "correct"),
        ("83", "#82", "wrong"),
        ("83", "#83 83", "wrong"),
        ("83", "#8 3 apples", "wrong"),
        ("83", "#83/0", "wrong"),
        ("83", "#1e999999999", "wrong"),
        ("83", "#" + "9" * 100_000, "wrong"),
        ("83", "#٨٣", "wrong"),
        ("x^2", "#x^2", "correct"),
        ("x^2", "#x ^ 2", "correct"),
        ("x^2", "#2", "wrong"),
        ("83", "83", "unparsed"),
    ],
)
def test_maths(gold: str, response: str, status: str):
    verdict = MATHS.judge(problem("maths", gold), response)
    assert verdict.status == status
    assert verdict.reward == (status == "correct")
    assert verdict.reason and "\n" not in verdict.reason


def test_a_problem_without_what_its_verifier_needs_is_the_verifiers_failure():
    with pytest.raises(ValueError, match="has no answer"):
        MATHS.judge(problem("maths"), "#1")
    with pytest.raises(ValueError, match=r"neither metadata\.kind nor an answer"):
        LOGIC.judge(problem("logic"), "#abc")
    with pytest.raises(ValueError, match=r"metadata\.kind 'odd'"):
        LOGIC.judge(problem("logic", "abc", kind="odd"), "#abc")
    with pytest.raises(ValueError, match="metadata has no 'tests'"):
        CODE.judge(problem("code"), "#x")
    with pytest.raises(ValueError, match="no tests"):
        CODE.judge(problem("code", tests=[]), "#x")


TESTS = {"tests": [[0, 3], [1, 5], [4, 11]]}


@pytest.mark.parametrize(
    ("response", "status", "reason"),
    [
        ("3-1=2#2*x+3", "correct", "passes 3 tests"),
        ("#x+x+3", "correct", "passes"),
        ("#def f(x):\n    return 2 * x + 3", "correct", "passes"),
        ("#def f(x):\n    return sum([x, x, 3])", "correct", "passes"),
        ("As code:\n```python\ndef f(x):\n    # twice\n    return 2 * x + 3\n```", "correct", "passes"),
        ("#2*x+4", "wrong", "f(0) is 4, expected 3"),
        ("#2*x+3.0", "wrong", "f(0) is 3.0, expected 3"),
        ("#3", "wrong", "f(1) is 3, expected 5"),
        ("#1//x", "wrong", "ZeroDivisionError at f(0)"),
        ("#2*y", "wrong", "NameError"),
        ("#2*", "wrong", "SyntaxError"),
        ("#" + "(" * 9_000, "wrong", "SyntaxError"),
        ("#" + "-" * 9_000 + "x", "wrong", "Error"),
        ("#" + "x" * 20_000, "wrong", "the limit is 10000"),
        ("#def g(x): return 3", "wrong", "neither an expression of x nor a definition of f(x)"),
        ("#import os\ndef f(x): return 3", "wrong", "f(1) is 3"),
        ("#().__class__", "wrong", "f(0) is a type"),
        ("#open('x')", "wrong", "Error at f(0)"),
        ("#def f(x): raise SystemExit", "wrong", "SystemExit"),
        ("#def f(x): return f(x)", "wrong", "RecursionError"),
        ("#x\x00", "wrong", ""),
        ("2*x+3", "unparsed", "no program"),
        ("2*x+3#", "unparsed", "no program"),
    ],
)
def test_code(response: str, status: str, reason: str):
    verdict = CODE.judge(problem("code", **TESTS), response)
    assert (verdict.status, verdict.reward) == (status, float(status == "correct"))
    assert reason in verdict.reason
    assert "\n" not in verdict.reason


@pytest.mark.parametrize(
    ("value", "expected", "equal"),
    [
        (1, 1, True),
        (True, 1, False),
        (1, True, False),
        (1.0, 1, False),
        ([1, [2]], [1, [2]], True),
        ([1, [True]], [1, [1]], False),
        ((1,), [1], False),
        ({"a": 1}, {"a": 1}, True),
        ({"a": True}, {"a": 1}, False),
        ("1", 1, False),
        (None, None, True),
    ],
)
def test_values_are_compared_with_their_types(value: object, expected: object, equal: bool):
    assert values.same(value, expected) is equal


def test_a_value_that_claims_to_equal_everything_does_not():
    response = "#def f(x):\n    return type('Any', (int,), {'_' + '_eq_' + '_': lambda a, b: True})()"
    assert CODE.judge(problem("code", **TESTS), response).status == "wrong"


CHAIN: Mapping[str, Any] = {"kind": "order", "below": [["a", "b"], ["b", "c"]]}
FORK: Mapping[str, Any] = {"kind": "order", "below": [["a", "b"], ["a", "c"]]}
TABLE: Mapping[str, Any] = {"kind": "truth", "expression": "(a&!b)|c", "letters": ["a", "b", "c"]}


@pytest.mark.parametrize(
    ("metadata", "response", "status", "reason"),
    [
        (CHAIN, "so #abc", "correct", "every constraint holds"),
        (CHAIN, "#acb", "wrong", "b<c does not hold"),
        (CHAIN, "#ab", "wrong", "not an order of abc"),
        (CHAIN, "#aabc", "wrong", "not an order of abc"),
        (CHAIN, "#a<b<c", "wrong", "not an order of abc"),
        (CHAIN, "abc", "unparsed", "no final answer"),
        (FORK, "#abc", "correct", "every"),  # both orders keep the constraints
        (FORK, "#acb", "correct", "every"),
        # a b c: TTT TTF TFT TFF FTT FTF FFT FFF. a&!b is true in rows 3 and 4; c in 1, 3, 5 and 7.
        (TABLE, "#TFTTTFTF", "correct", "every"),
        (TABLE, "#TFTTTFTT", "wrong", "is F at a=F b=F c=F"),
        (TABLE, "#TFTT", "wrong", "not 8 letters T or F"),
        (TABLE, "#10111010", "wrong", "not 8 letters T or F"),
    ],
)
def test_logic(metadata: Mapping[str, Any], response: str, status: str, reason: str):
    verdict = LOGIC.judge(problem("logic", **metadata), response)
    assert (verdict.status, verdict.reward) == (status, float(status == "correct"))
    assert reason in verdict.reason


def test_an_expression_is_letters_and_operators_only():
    with pytest.raises(ValueError, match="no expression"):
        truth_fault("TF", "a.real", ["a"])


def test_the_embedded_sums_ask_for_numbers():
    asked = SUMS.problem("train", 0)
    question = str(asked.messages[0]["content"]).removesuffix("=?")
    assert MATHS.judge(asked, f"{asked.solution}").correct
    assert MATHS.judge(asked, f"#{asked.answer}").correct
    assert MATHS.judge(asked, f"#{question}").status == "wrong"


def test_versions_say_that_answers_are_found_in_more_places():
    """Runs of version 1 took no announced answer, those of version 2 fewer conclusions, so they are not compared with these."""
    metadata = {"kind": "truth", "expression": "a", "letters": ["a"]}
    assert LOGIC.judge(problem("logic", **metadata), "The answer is TF.").status == "correct"
    assert {name: build_verifier(name).version for name in ("maths", "choice", "code", "logic", "reasoning-gym")} == {
        "maths": 4,
        "choice": 4,
        "code": 4,
        "logic": 4,
        "reasoning-gym": 4,
    }


@pytest.mark.parametrize(
    ("gold", "response", "correct"),
    [
        ("3:5", "So the ratio of boys to girls is 3 to 5.", True),
        ("3:5", "So the ratio of boys to girls is 5 to 3.", False),
        (r"24\text{ cm}^2", "The area is 24 square centimeters.", True),
        (r"24\text{ cm}^2", "The area is 24 cm.", False),
        (r"5\text{ hours}", r"It takes $\boxed{5}$ minutes.", False),
        (r"5\text{ hours}", r"It takes $\boxed{300}$ minutes.", True),
        ("7", "Thus x = 7.\n\nCheck: 2·7 + 1 = 15 ✓", True),
        ("7", "Thus x = 7.\n\nCheck: 2·7 + 1 = 16, which is wrong.", False),
        ("7", "Hence it is $7$. $\\blacksquare$", True),
        ("7", "The maximum is $7$.\n\n**Proof.** Equality holds when $a=b=1$. $\\square$", True),
        ("7", "Therefore the number is **7**.\n\nLet me know if you have questions!", True),
        ("5", "The minimum value is 5, attained at x = 2.", True),
        ("2", "The minimum value is 5, attained at x = 2.", False),
        ("2, 3", "Therefore **x = 2** or **x = 3**.", True),
        ("2, 3", "Therefore **x = 2**.", False),
        ("(3,4)", "We find:\n\n- x = 3\n- y = 4", True),
        ("(3,4)", "We find:\n\n- x = 4\n- y = 3", False),
        ("[-1,1)", "The series converges exactly when −1 ≤ x < 1.", True),
        ("[-1,1)", "The series converges exactly when −1 < x < 1.", False),
        ("DNE", "Since both sides differ, the limit does not exist.", True),
        ("odd", "Therefore the function is odd.", True),
        ("odd", "Therefore the function is not odd.", False),
        ("3:45 PM", "The train arrives at 3:45 PM.", True),
        ("3:45 PM", "The train arrives at 3:45 AM.", False),
        ("25", "Die Antwort ist 25.", True),
        ("25", "答えは25です。", True),
        (r"\frac38", "Probability = 3 ÷ 8 = **0.375** (or 37.5%)", True),
        ("5", "The three numbers are 3, 4 and 5.", False),
    ],
)
def test_what_a_response_concludes(gold: str, response: str, correct: bool):
    assert MATHS.judge(problem("maths", gold), response).correct is correct
