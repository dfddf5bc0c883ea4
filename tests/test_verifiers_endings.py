"""Ways in which responses end: an approximation behind a value, a bold sentence, a list that names values, a restriction, yes or no first."""

import pytest

from rlzoo.registry import build_verifier
from rlzoo.types import Problem
from rlzoo.verifiers import listed

MATHS = build_verifier("maths")


def correct(gold: str, response: str, question: str = "") -> bool:
    messages = ({"role": "user", "content": question},) if question else ()
    problem = Problem(id="a", domain="maths", messages=messages, verifier="maths", answer=gold)
    return MATHS.judge(problem, response).correct


@pytest.mark.parametrize(
    ("ending", "right"),
    [
        ("**Probability = 5/36 ≈ 0.139 (about 13.9%)**", True),
        ("The probability is 5/36, or about 0.139.", True),
        (r"The probability is $\frac{5}{36}$ (approximately 13.9%).", True),
        ("So the probability is **5/36** (≈ 0.139).", True),
        (r"\boxed{\frac{5}{36} (\approx 13.9\%)}", True),
        (r"\boxed{\frac{5}{36} \text{ (approximately 0.138)}}", True),
        ("The answer is 5/36, which is about 13.9%.", True),
        ("**5/36, or roughly 0.139**", True),
        ("**Probability = 5/36 ≈ 0.25 (about 25%)**", False),
        ("**Probability = 5/36 ≈ 0.139 (about 25%)**", False),
        ("The probability is 5/36, or about 0.25.", False),
        (r"The probability is $\frac{5}{36}$ (approximately 23.9%).", False),
        ("So the probability is **5/36** (≈ 0.239).", False),
        (r"\boxed{\frac{5}{36} \approx 0.2}", False),
        (r"\boxed{\frac{1}{7} \approx 0.139}", False),
        ("The answer is 5/36, which is about 23.9%.", False),
        ("So the probability is **1/7** (≈ 0.139).", False),
    ],
)
def test_an_approximation_behind_a_value_must_be_of_that_value(ending: str, right: bool):
    assert correct(r"\frac{5}{36}", f"There are 5 of 36.\n\n{ending}") is right


@pytest.mark.parametrize(
    ("gold", "ending", "right"),
    [
        (r"4\pi", "**Answer:** The circumference is **4π cm** (approximately 12.57 cm).", True),
        (r"4\pi", "**Answer:** The circumference is **4π cm** (approximately 20.57 cm).", False),
        (r"4\pi", "**Answer:** The circumference is **5π cm** (approximately 12.57 cm).", False),
        ("1500", "The distance is **1500 m** (about 1.5 km).", True),
        ("1500", "The distance is **1500 m** (about 15 km).", False),
        ("1987", "There are **1987** people (approximately 2000).", True),
        (r"x=\sqrt{2}", r"\boxed{x = \sqrt{2} \approx 1.41}", True),
        (r"x=\sqrt{2}", r"\boxed{x = \sqrt{2} \approx 1.73}", False),
        ("3", r"\boxed{3 \text{ or about } 4}", False),
        ("3", "The answer is 3, or about 4.", False),
    ],
)
def test_approximations_have_units_and_last_digits(gold: str, ending: str, right: bool):
    assert correct(gold, ending) is right


@pytest.mark.parametrize(
    ("gold", "ending", "right"),
    [
        (r"4:35 \text{ p.m.}", "**The film ends at 4:35 PM.**", True),
        (r"4:35 \text{ p.m.}", "**The film ends at 4:35 AM.**", False),
        (r"4:35 \text{ p.m.}", "**The film ends at 4:35 PM or 5:35 PM.**", False),
        (r"25\%", "**The discount is 25 percent.**", True),
        (r"25\%", "**The discount is 20 percent.**", False),
        (r"25\%", "**The discount is 25 or 20 percent.**", False),
        (r"25\%", "**The discount is not 25 percent.**", False),
        ("5", "**He needs 5 apples.**", True),
        ("5", "**She has 5 or 6 apples.**", False),
        ("5", "**It takes at least 5 days.**", False),
    ],
)
def test_a_bold_sentence_says_one_thing(gold: str, ending: str, right: bool):
    assert correct(gold, f"Add.\n\n{ending}") is right


PRIME = "Is 391 a prime number? Answer yes or no."


@pytest.mark.parametrize(
    ("gold", "response", "question", "right"),
    [
        (r"\text{No}", "No.\n\n391 = 17 × 23, so it is composite.", PRIME, True),
        (r"\text{Yes}", "No.\n\n391 = 17 × 23, so it is composite.", PRIME, False),
        ("No", "**No**\n\nBecause 391 = 17 × 23.", PRIME, True),
        ("No", "No, 391 is not prime.\n\n391 = 17 × 23.", PRIME, True),
        ("Yes", "Yes — 391 has no divisors but 1 and itself.\n\nThus it is prime.", PRIME, True),
        ("Yes", "Yes.\n\nOnly 1 and 391 divide it, so it is prime.", "Is 391 prime?", True),
        ("No", "No.\n\nWait, nothing divides 391. Yes, it is prime.", PRIME, False),
        ("No", "No.\n\nActually it is prime.", PRIME, False),
        ("No", "No problem! Here it is.\n\n391 = 17 × 23", PRIME, False),
        ("No", "Yes.\n\nSo the answer is no.", PRIME, True),
        ("No", "No.\n\n\\boxed{\\text{Yes}}", PRIME, False),
        ("5", "Yes.\n\nTherefore x = 5.", "Is there an x? If so, find it.", True),
        ("Tuesday", "Yes.\n\nTherefore it is a Tuesday.", "What day is it?", True),
    ],
)
def test_a_response_may_begin_with_yes_or_no(gold: str, response: str, question: str, right: bool):
    assert correct(gold, response, question) is right


@pytest.mark.parametrize(
    ("gold", "ending", "right"),
    [
        ("(3,-2), 5", "- **Center:** \\((3, -2)\\)\n- **Radius:** \\(5\\)", True),
        ("(3,-2), 5", "- Center: (3, -2)\n- Radius: 5", True),
        ("(3,-2), 5", "**Center:** (3, -2)\n**Radius:** 5", True),
        ("(3,-2), 5", "**Center:** (3, -2), **Radius:** 5", True),
        ("(3,-2), 5", "**Answer:**\n- **Center:** (3, -2)\n- **Radius:** 5", True),
        ("(3,-2), 5", "The answer is:\n\n- Center: $(3, -2)$\n- Radius: $5$", True),
        ("12, 5", "- Length: 12 cm\n- Width: 5 cm", True),
        ("2, 3", "- **Root 1:** 3\n- **Root 2:** 2", True),
        (r"\{2, 3\}", "- **First root:** 3\n- **Second root:** 2", True),
        ("(3,-2), 5", "- **Center:** \\((3, 2)\\)\n- **Radius:** \\(5\\)", False),
        ("(3,-2), 5", "- **Center:** \\((3, -2)\\)\n- **Radius:** \\(4\\)", False),
        ("(3,-2), 5", "- **Center:** \\((3, -2)\\)\n- **Radius:** 5\n- **Area:** $25\\pi$", False),
        ("(3,-2), 5", "**Answer:**\n- **Center:** (3, -2)\n- **Radius:** 6", False),
        ("4, 5", "- **Mean:** 5\n- **Median:** 4", False),
        ("2, 3", "- **Root 1:** 3\n- **Root 2:** 4", False),
        ("80, 60", "- **Original price:** 80\n- **Sale price:** 60", False),
        ("5", "- **Center:** \\((3, -2)\\)\n- **Radius:** \\(5\\)", False),
    ],
)
def test_a_list_that_names_values_is_one_answer(gold: str, ending: str, right: bool):
    assert correct(gold, f"So:\n{ending}") is right


def test_named_values_keep_their_order_and_numbered_ones_have_none():
    assert listed.labelled("So\n- **Mean:** 4\n- **Median:** 5") == "(4, 5)"
    assert listed.labelled("So\n- **Root 1:** 4\n- **Root 2:** 5") == "4, 5"
    assert listed.labelled("So\n- **Mean:** 4") is None
    assert listed.labelled("So\n- **Mean:** 4\n- **Median:** the same") is None


@pytest.mark.parametrize(
    ("boxed", "right"),
    [
        (r"\frac{x+2}{x-3}, \quad x \neq 2, 3", True),
        (r"\frac{x+2}{x-3} \text{ for } x \neq 2, 3", True),
        (r"\frac{x+2}{x-3} \text{, where } x \neq 2", True),
        (r"\frac{x+2}{x-3}\ (x \neq 2, 3)", True),
        (r"\frac{x+2}{x-3}, x \notin \{2, 3\}", True),
        (r"\frac{x-2}{x-3}, x \neq 2, 3", False),
        (r"\frac{x-2}{x-3} \text{ for } x \neq 2, 3", False),
        (r"x \neq 2, 3", False),
        (r"\frac{x+2}{x-3}, 2, 3", False),
        (r"\frac{x+2}{x-3}, \frac{x+2}{x-2}, x \neq 2", False),
    ],
)
def test_a_restriction_may_stand_beside_an_expression(boxed: str, right: bool):
    assert correct(r"\frac{x+2}{x-3}", f"Thus $\\boxed{{{boxed}}}$.") is right


@pytest.mark.parametrize(
    ("boxed", "right"),
    [
        (r"x \neq 3, 2", True),
        (r"x \neq 2", False),
        (r"x \neq 2, 4", False),
        (r"\frac{x+2}{x-3}, x \neq 2, 3", False),
    ],
)
def test_where_the_restriction_is_the_answer_it_must_be_all_of_it(boxed: str, right: bool):
    assert correct(r"x \neq 2, 3", f"Thus $\\boxed{{{boxed}}}$.") is right


@pytest.mark.parametrize(
    "text",
    [
        "x^2+8x+124",
        "-x^{2}y+3",
        "x^2(x+1)",
        r"\frac{x^2}{y^2}",
        r"\sqrt{k^{2}+1}",
        "x^{y^2}+1",
        "ab^2",
        "x^10",
        "y=x^2+1",
    ],
)
def test_letters_with_powers_are_read_the_same_by_the_fast_prediction(text: str):
    from rlzoo.verifiers import symbolic

    full = symbolic._Reader(text, True, fast=False).parse(text)
    assert symbolic._read(text, True) == full


@pytest.mark.parametrize(
    ("gold", "found", "equal"),
    [
        ("2^{10}x", r"x\cdot2^{10}", True),
        ("2^{10}x", "2^{11}x", False),
        ("(x+1)(x-1)", "x^2-1", True),
        ("x^2-1", "x^2+1", False),
    ],
)
def test_polynomials_are_equal_multiplied_out(gold: str, found: str, equal: bool):
    assert correct(gold, f"\\boxed{{{found}}}") is equal
