r"""Answers that are nearly right, hedged or not worked out are refused, and right answers as models ordinarily write them are taken.

Each rule has both sides; the law at the end is that no response is right for two golds of which one is not the other rounded.
"""

from __future__ import annotations

import random

import pytest

from rlzoo.registry import build_verifier
from rlzoo.types import Problem

MATHS = build_verifier("maths")
OPTIONS = "Which?\n(A) 5\n(B) 12\n(C) 7\n(D) Not enough information"
REFUSED = [  # gold, answer in a box; a third: the question
    # chains of approximations
    ("42", r"x \approx 41 \approx 42 \approx 43"), ("41", r"x \approx 41 \approx 42 \approx 43"), ("6", r"\{8\} \approx 7 \approx 6"),
    ("5", r"f(x) \approx 5 \approx 6"), ("6", r"f(x) \approx 5 \approx 6"), ("B", r"x \approx A \approx B \approx C"), ("7", r"8 \approx \sqrt{49}"),
    ("7", r"8 \approx 7^1"), (r"\pi", r"1 \approx \sqrt{2} \approx \pi"), (r"\pi", r"x \approx 3 \approx \frac{1}{2} \approx \pi"),
    ("(3,4)", r"x \approx (1,2) \approx (3,4)"), ("no", r"x \approx \text{yes} \approx \text{no}"), ("7", r"x+1 \approx 7"), ("7", r"12y \approx 7"),
    ("7", r"\text{eight} \approx 7"), ("7", r"(8,9) \approx 7"), ("2x+1", r"y \approx 2x+1 \approx 2x+3"),
    # two numbers by rounding
    ("5", r"5 \approx 10"), ("10", r"5 \approx 10"), ("100", r"149 \approx 100"), ("149", r"149 \approx 100"), ("1000", r"500 \approx 1000"),
    ("4", r"3.6 \approx 4"), ("7", r"7.5 \approx 7"), ("8", r"7.5 \approx 8"), ("0", r"0.5 \approx 0"), ("10", r"6.5 \approx 7 \approx 10"),
    ("10", "14 (about 10)"), ("1000", "1499 (approximately 1000)"), ("10", r"4\pi \approx 10"), ("13", r"4\pi \approx 13"), ("7", r"x \approx 7.3 \approx 7"),
    # formulas for each integer
    ("2n+1", r"2n-1, n \in \mathbb{Z}"), ("4n-1", "4n+3, where n is an integer"), ("-3n+2", r"3n+2, n \in \mathbb{Z}"), ("5t", r"5t+5, t \in \mathbb{Z}"),
    (r"3k, k \in \mathbb{Z}", r"3k, k \in \mathbb{N}"), (r"k\pi, k \in \mathbb{N}", r"k\pi, k \in \mathbb{Z}"),
    # words before a number
    *[("7", rf"\text{{{words} }}7") for words in ("minus", "negative", "twice", "half of", "cube of", "anything but", "isn't", "never", "no:", "wrong:",
                                                  "nearly", "exceeding", "multiples of", "eight, maybe", "five")],
    ("49", r"\text{the square root of }49"),
    # words behind it
    *[("5", rf"5 \text{{ {words}}}") for words in ("tenths", "hundredths", "squared", "cubed", "factorial", "score", "gross", "negative", "point seven",
                                                   "remainder three", "basis points", "permille", "minus one", "times ten", "below zero", "no wait eight",
                                                   "either six", "is wrong", "incorrect", "?", "(mod six)", "apples, six pears")],
    ("3", "3 quarters"), ("2", "2 thirds"), ("5", "5 six"),
    # equations of something else
    ("7", "-x = 7"), ("7", "|x| = 7"), ("7", r"\sqrt{x} = 7"), ("7", "x! = 7"), ("7", r"\frac{x}{y} = 7"), ("7", r"\log x = 7"), ("7", r"\log(x) = 7"),
    ("7", "e^x = 7"), ("7", r"\text{not} = 7"), ("7", r"\text{wrong} = 7"), ("7", "x = 8 = 7"), ("25", "x^2 = 25"), ("25", "x^2 = 25", "If $x^2 = 25$, what is x?"),
    # calculations that nobody carried out
    ("298", "17^2+3^2"), ("56088", "123*456^1"), ("56088", "x=123*456^1"), ("56088", r"\sqrt{1}\cdot 123\cdot 456"), ("56088", r"\lfloor 123*456 \rfloor"),
    ("56088", r"123\%\cdot 45600"), ("56089", r"123\cdot 456+0!"), ("7", "|3+4|"), ("9900", r"\frac{100!}{98!}"), ("0.75", r"\sqrt{1}\cdot 0.5\cdot 1.5"),
    # small values
    ("e^{-20}", "0.0"), ("2^{-25}", "0.000"), ("3^{-20}", "0.0"), (r"\left(\frac{1}{2}\right)^{30}", "0.000"), (r"\frac{1}{2^{20}}", "0.000001"),
    (r"\frac{\pi}{10^6}", "0.0000034"), (r"\frac{\pi}{10^8}", "0.0000001"), ("e^{-20}", r"0.0\%"),
    # conditions that are other answers
    ("7", "7 or x>8"), ("7", r"7 \text{ or } x \ne 7"), ("7", "7, x > 100"), ("7", r"7 \lor x>8"),
    # letters of options
    ("B", "B) or C)"), ("B", "(B) or (C)"), ("B", "B. or maybe D."), ("B", "B: false"), ("B", "B. is wrong"), ("B", "(B) 9 not 12"), ("(B) 12", "(B) 7"),
    ("B", "(B) 7", OPTIONS), ("B", "(B) 13", OPTIONS), ("7", "(B) 7", OPTIONS),
    # ratios and times
    ("3:4", "0.75"), ("0.75", "3:4"), ("1:2", r"50\%"), ("8:30", r"\frac{4}{15}"), ("8:30", r"\frac{8}{30}"), ("12:30", "0.4"),
    # names and words
    ("Monday", "I doubt that it is Monday"), ("Monday", "tomorrow was Monday"), ("f(2)=5", "f(3)=5"), ("AB=5", "CD=5"), (r"\angle A = 50", r"\angle B = 50"),
    ("A + C", "A + 5 + C"), ("1,234", "234, 1"), ("10", "10 mod 3"), ("yes", "yes it is wrong"), ("no", "no it is not wrong, yes"),
]  # fmt: skip
TAKEN = [
    (r"\frac{22}{7}", r"\frac{22}{7} \approx 3.14"), ("3.14", r"\frac{22}{7} \approx 3.14"), (r"4\pi", r"4\pi \approx 12.57"), ("12.57", r"4\pi \approx 12.57"),
    (r"4\pi", r"4\pi \approx 12.6"), ("12.56", r"4\pi \approx 12.56"), (r"2\sqrt{3}", r"x = 2\sqrt{3} \approx 3.46"), ("3.46", r"x = 2\sqrt{3} \approx 3.46"),
    ("3.6", r"3.6 \approx 4"), ("4", r"3.6 \approx 4", "Round to the nearest whole number."), (r"\pm\sqrt2", r"x=\pm\sqrt{2} \approx \pm 1.41"),
    (r"(1.41,3.14)", r"(\sqrt2,\pi) \approx (1.41, 3.14)"), ("78.54", r"A = \pi r^2 \approx 78.54"), ("0.35", r"P(A) \approx 0.35"), ("7", r"x \approx 7"),
    ("1987", "1987 (approximately 2000)"), (r"\sqrt{2}", r"1.41 \approx \sqrt{2}"), ("3.67", r"\frac{11}{3} \approx 3.667 \approx 3.67"),
    ("2n+1", r"2n+1, n \in \mathbb{Z}"), ("2n-1", r"a_n = 2n-1, n \ge 1"), (r"n\pi, n \in \mathbb{Z}", r"k\pi, k \in \mathbb{Z}"),
    (r"\frac{\pi}{4}+k\pi", r"\frac{5\pi}{4}+n\pi, n \in \mathbb{Z}"), (r"k\pi, k \in \mathbb{N}", r"k\pi, k \in \mathbb{Z}^+"),
    ("12", r"\text{Area} = 12"), ("7", r"\text{Total: }7"), ("7", r"\text{the answer is }7"), ("12", r"\text{Area: }12\text{ cm}^2"), ("500", r"\text{Rs. }500"),
    ("5", r"\text{Day }5"), ("3", r"\text{There are }3\text{ solutions}"), ("7", r"\text{so }7"), ("7", r"\text{The total is }7\text{ apples}"),
    ("12", r"12 \text{ square units}"), ("7", r"7 \text{ apples}"), ("7", r"7 \text{ red apples}"), ("7", r"7 \text{ times}"), ("5", r"5 \text{ more apples}"),
    ("30", r"30 \text{ fifth graders}"), ("36", r"3 \text{ dozen}"), ("3", r"3 \text{ dozen}", "How many dozen eggs?"), ("9.8", r"9.8 \text{ meters per second squared}"),
    ("3", "3 quarters", "How many quarters does he have?"), ("5 negative numbers", "5 negative numbers"), (r"5\frac12", r"5\frac12"),
    ("7", "x+y=7"), ("7", "ab = 7"), ("7", "f(2)=7"), ("30", r"\angle ABC=30"), ("5", "AB=5"), ("6", r"\text{Number of ways} = 6"), ("7", "x = 3+4 = 7"),
    ("25", "x^2+y^2=25", "Find $x^2+y^2$."), (r"\frac12", r"\sin\theta = \frac12", r"What is $\sin \theta$?"), ("5", "|z|=5", "Compute |z|."),
    (r"9\pi", r"A = \pi r^2 = \pi\cdot 3^2 = 9\pi"), (r"5 \text{ cm}", r"x = 2+3 \text{ cm} = 5 \text{ cm}"), ("3.14", r"x = \frac{22}{7} = 3.14"),
    ("1024", "2^{10}"), ("96", r"2^5\cdot 3"), (r"\frac{1}{1024}", r"\frac{1}{2^{10}}"), (r"\frac{125}{216}", r"\left(\frac{5}{6}\right)^3"), ("120", "5!"),
    ("120", r"\binom{10}{3}"), ("7", r"\sqrt{49}"), (r"\frac12", r"\sin 30^\circ"), ("12.566371", r"4\pi"), ("0.707107", r"\frac{\sqrt2}{2}"),
    ("e^{-20}", r"\frac{1}{e^{20}}"), ("2^{-20}", r"\frac{1}{1048576}"), (r"\frac{\pi}{1000}", "0.0031416"), (r"\sin^2x", r"1-\cos^2x"),
    (r"\frac{1}{x}", r"\frac{1}{x}, x \ne 0"), ("x+1", r"x+1 \text{ for } x \ne 1"),
    ("B", "B. 12"), ("B", "(B) 12", OPTIONS), ("(B) 12", "(B) 12"), ("B", r"\text{(B) the cat}"), ("B", "B) I and III"), ("D", "D) Not enough information", OPTIONS),
    ("3:4", r"\frac34"), (r"\frac{3}{4}", "3:4"), ("3:10", r"\frac{3}{10}", "What is the ratio of boys to girls?"),
    ("Monday", "It is Monday"), ("f(2)=5", "f(2) = 5"), ("AB=5", "BA=5"), (r"\angle ABC = 50", r"\angle B = 50"), (r"\frac{x^3}{3}+C", r"\frac{x^3}{3}+5+C"),
    ("1,234", "1234"), ("7", r"7 \pmod{10}"), ("yes", "yes, it is"), ("no", "no it is not"),
]  # fmt: skip
ENDINGS_REFUSED = [
    ("7", "The answer is 7 when rounding up and 8 when rounding down."), ("7", "The answer is 7 as well as 8."),
    ("7", "The answer is 7, which is wrong; the real one is 8."), ("7", "The answer is 7? No, 8."), ("7", "The answer is 7. But it could also be 8."),
    ("7", "The answer is 7, since 8 is also right."), ("7", r"$\boxed{7}$. Wait, it is 8."), ("7", "$\\boxed{7}$\nActually no, the correct value is 8."),
    ("7", r"\boxed{8} is right and \boxed{7} is wrong."), ("7", r"\boxed{8}. The answer cannot be \boxed{7}"), ("Yes", "Yes, unless n is odd."),
    ("42", "The answer is x ≈ 41 ≈ 42 ≈ 43."),
]  # fmt: skip
ENDINGS_TAKEN = [
    ("18", "The answer is 18 because 9 * 2 = 18."), ("25", "The answer is 25 when x = 3."), ("7", "The answer is 7, which is the sum of 3 and 4."),
    ("7", "The answer is 7, since 8 is not prime."), ("7", r"$\boxed{7}$. Let me check: 3+4 is 7. Correct."), ("Yes", "Yes, it is even."),
    ("7", "$\\boxed{7}$\n\nNote: a common mistake is to forget the sign, so there is no x with f(x) = 3."), ("14", r"\boxed{12}. Wait, no: \boxed{14}"),
    ("8", r"\boxed{8} is right and \boxed{7} is wrong."), ("7", r"$\boxed{7}$. Wait, let me check: 2*3+1 = 7. Yes."),
]  # fmt: skip


def correct(gold: str, response: str, question: str = "What is it?") -> bool:
    messages = ({"role": "user", "content": question},)
    problem = Problem(id="a", domain="maths", messages=messages, verifier="maths", answer=gold)
    return MATHS.judge(problem, response).correct


@pytest.mark.parametrize("case", REFUSED, ids=" | ".join)
def test_nearly_right_is_refused(case: tuple[str, ...]):
    assert not correct(case[0], f"\\boxed{{{case[1]}}}", *case[2:])


@pytest.mark.parametrize("case", TAKEN, ids=" | ".join)
def test_right_as_models_write_it_is_taken(case: tuple[str, ...]):
    assert correct(case[0], f"\\boxed{{{case[1]}}}", *case[2:])


@pytest.mark.parametrize(("gold", "response"), ENDINGS_REFUSED)
def test_what_is_taken_back_or_offered_beside_another_is_refused(gold: str, response: str):
    assert not correct(gold, response, "Is n even?" if gold == "Yes" else "What is it?")


@pytest.mark.parametrize(("gold", "response"), ENDINGS_TAKEN)
def test_reasons_and_checks_behind_an_answer_leave_it(gold: str, response: str):
    assert correct(gold, response, "Is n even?" if gold == "Yes" else "What is it?")


APART = ("0", "1", "2", "7", "8", "10", "41", "42", "100", "200", r"\frac{1}{2}", r"\pi", r"\sqrt{2}", "A", "B", "C", "Monday", "Tuesday", "(1,2)", "(3,4)",
         "[0,1]", "x>3", "2x+1", "-5", "0.001")  # fmt: skip
"""Golds of which none is another one rounded."""
HEADS = ("", "x ≈ ", "x = ", r"f(x) \approx ", r"\text{Area} \approx ", r"\{8\} \approx ", "y+1 = ", "about ")
JOINTS = (" ≈ ", r" \approx ", " or ", ", ", r"\text{ or }", " = ", " and ", "; ", r" \sim ", " / ", r" \text{ maybe } ", r" \lor ", " (or ", r"\quad ", " (about ",
          r" \text{ and not } ", " versus ", ": ", " not ")  # fmt: skip


def hedges(count: int) -> list[tuple[str, list[str]]]:
    """Texts that hold several golds, and these."""
    rng = random.Random(5)
    found = []
    for _ in range(count):
        parts = rng.sample(APART, rng.choice((2, 2, 3, 4)))
        joint = rng.choice(JOINTS)
        text = rng.choice(HEADS) + joint.join(parts)
        found.append((text + ")" * (text.count("(") - text.count(")")), parts))
    return found


def test_no_response_is_right_for_two_golds():
    for text, parts in hedges(120):
        for response in (f"\\boxed{{{text}}}", f"The answer is {text}."):
            right = [gold for gold in parts if correct(gold, response)]
            assert len(right) <= 1, (response, right)


def test_a_chain_of_any_length_is_right_for_one_value_at_most():
    for length in (2, 3, 60, 200):
        chain = "≈".join(map(str, range(length)))
        for head in ("", "x≈", "x=", r"\frac{1}{2}≈"):
            golds = {0, 1, length // 2, length - 1}
            assert sum(correct(str(gold), f"\\boxed{{{head}{chain}}}") for gold in golds) <= 1, (head, length)
