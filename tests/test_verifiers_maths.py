"""Answers that are hard to judge: none hangs, crashes or runs code, and the verdicts are those a careful reader gives."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlzoo.registry import build_verifier
from rlzoo.types import Problem
from rlzoo.verifiers import symbolic
from rlzoo.verifiers.notation import as_number, plain
from rlzoo.verifiers.pool import VerifierPool

MATHS = build_verifier("maths")


def problem(gold: str | None, **metadata: Any) -> Problem:
    metadata = {"extraction": "last-boxed", **metadata}
    return Problem(id=f"{gold}", domain="maths", messages=(), verifier="maths", answer=gold, metadata=metadata)


def boxed(answer: str) -> str:
    return rf"So it is \boxed{{{answer}}}."


# ------------------------------------------------------------------------------------------------------ equal or not

EQUAL = [
    ("0.5", r"\frac{1}{2}"),
    (r"\frac{1}{2}", r"\dfrac12"),
    ("1.5", r"1\frac{1}{2}"),
    (r"-\frac{3}{4}", "-0.75"),
    ("1234567", r"1,\!234,\!567"),
    ("1200", r"1.2\times10^{3}"),
    (r"50\%", r"\frac{1}{2}"),
    ("12", r"\$12"),
    ("x=5", "5"),
    ("x = 5", "x=5.0"),
    (r"\frac{\sqrt{3}}{2}", r"\sqrt{3}/2"),
    (r"2\sqrt{2}", r"\sqrt8"),
    ("x^2+2x+1", "(x+1)^2"),
    ("(x+1)^2", "1+2x+x^2"),
    (r"\frac{x^2-1}{x-1}", "x+1"),
    ("10^{10}x", "10000000000x"),
    (r"2^{2^{2^{2}}}", "65536"),
    (r"\{1,2,3\}", r"\{3,1,2\}"),
    (r"\{1,1,2\}", r"\{1,2\}"),
    ("(1,2)", r"\left(1,\,2\right)"),
    ("[0,1)", "[0, 1)"),
    (r"(-\infty,2)\cup(3,\infty)", r"(3,\infty)\cup(-\infty,2)"),
    ("x<2", "2>x"),
    (r"\pm 2", "2,-2"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix}1 & 2 \\ 3 & 4\end{bmatrix}"),
    (r"\frac{\frac{1}{2}}{3}x", r"\frac{x}{6}"),
    ("3!x", "6x"),
    (r"\binom{5}{2}", "10"),
    (r"\sqrt{2}", "√2"),
    (r"2\pi", "2π"),
    ("1+i", "i+1"),
    ("Monday", r"\text{Monday}"),
    (r"9^{9^{9^9}}", r"9^{9^{9^{9}}}".replace("{9^{9}}", "{9^9}")),  # too large to work out: as written
]
DIFFERENT = [
    ("83", "84"),
    ("0.3333", r"\frac{1}{3}"),
    (r"\frac{1}{3}", "0.333333333"),
    ("50", r"50\%"),
    ("7", "3+4"),
    ("7", r"\sqrt{49}"),
    ("1024", "2^{10}"),
    ("5", r"5\text{ cm}"),
    ("x=5", "y=5"),
    ("A", "a"),
    ("east", "seat"),
    ("[0,1)", "(0,1)"),
    ("[0,1)", "(0,1]"),
    ("(1,2,3)", "(3,2,1)"),
    (r"\{1,2\}", r"\{1,2,3\}"),
    ("x<2", r"x\le 2"),
    (r"2\pi", "6.283185307179586"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&3\\2&4\end{pmatrix}"),
    ("x^2+1", "y^2+1"),
    ("83", "٨٣"),
    ("83", "８３"),
    ("83", "8\u200b3"),
    ("83", "1e999999999"),
    ("83", "83/0"),
]


@pytest.mark.parametrize(("gold", "answer"), EQUAL)
def test_equal(gold: str, answer: str):
    assert MATHS.judge(problem(gold, equality="strict"), boxed(answer)).correct
    assert MATHS.judge(problem(gold), boxed(answer)).correct


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_different(gold: str, answer: str):
    assert MATHS.judge(problem(gold, equality="strict"), boxed(answer)).status == "wrong"


@pytest.mark.parametrize(
    ("gold", "answer", "equal"),
    [
        (r"\frac{1}{3}", "0.333333", True),  # rounded to six decimals
        (r"\frac{1}{3}", "0.33", False),
        ("50", r"50\%", True),
        ("5", r"5\text{ cm}", True),
        ("5", "x=5", True),
        ("7", "3+4", False),  # nobody carried it out
        ("7", "3+4=7", True),
        ("7", "3+5", False),
        ("x<2", r"(-\infty,2)", True),
        ("x^2+1", "y^2+1", False),
    ],
)
def test_lenient(gold: str, answer: str, equal: bool):
    assert MATHS.judge(problem(gold, equality="lenient"), boxed(answer)).correct is equal


def test_the_verdicts_that_math_verify_alone_gets_wrong():
    assert MATHS.judge(problem("5"), r"\boxed{3}, no: \boxed{5}").correct
    assert MATHS.judge(problem("3"), r"\boxed{3}, no: \boxed{5}").status == "wrong"
    assert MATHS.judge(problem("5", extraction="only-boxed"), r"\boxed{3}, no: \boxed{5}").status == "unparsed"
    truncated = MATHS.judge(problem(r"\frac{1}{2}"), r"so \boxed{\frac{1}{2}")
    assert (truncated.status, truncated.extracted) == ("unparsed", None)


@pytest.mark.parametrize("metadata", [{"extraction": "first"}, {"equality": "loose"}])
def test_settings_that_do_not_exist_are_the_problems_fault(metadata: dict[str, str]):
    with pytest.raises(ValueError, match="expected one of"):
        MATHS.judge(problem("5", **metadata), boxed("5"))


@pytest.mark.parametrize(
    ("text", "number"),
    [("12", 12), ("-.5", -0.5), ("3/4", 0.75), (r"\frac34", 0.75), (r"-2\frac{1}{4}", -2.25), ("25%", 0.25), ("1e3", 1000),
     ("1,000", 1000), ("3+4", None), ("2^3", None), ("1/0", None), (r"\frac{1}{0}", None), ("9" * 61, None), ("1e100", None)],
)  # fmt: skip
def test_numbers_are_read_exactly(text: str, number: float | None):
    assert as_number(text) == number


def test_looks_do_not_matter():
    assert plain(r"$\left( \dfrac{1}{2} ,\; \text{cat} \right)$") == r"(\frac{1}{2},cat)"
    assert plain(r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}") == r"\begin{pmatrix}1\\2\end{pmatrix}"


def test_golds_that_fail_against_themselves_are_told():
    for gold in ("83", r"\frac{1}{2}", "x^2+1", "Monday", r"\{1,2\}", "9^{9^{9^9}}"):
        assert MATHS.gold_fault(problem(gold)) is None
    unreadable: tuple[str | None, ...] = (None, " ", r"\frac{1}{", "5%%", r"\begin{cases}1&2\end{cases}")
    assert all(MATHS.gold_fault(problem(gold)) for gold in unreadable)
    with pytest.raises(ValueError, match="cannot be read"):
        MATHS.judge(problem(r"\frac{1}{"), boxed("1"))


def test_numbers_never_load_sympy():
    code = (
        "import sys; from rlzoo.registry import build_verifier; from rlzoo.types import Problem\n"
        "MATHS = build_verifier('maths')\n"
        "p = Problem(id='p', domain='d', messages=(), verifier='maths', answer='83', metadata={'equality': 'strict'})\n"
        "for found in ('83', '83.0', '82', '38+45', 'x', '9^9^9^9', '\\\\frac{1}{2}'): MATHS.judge(p, '#' + found)\n"
        "assert MATHS.loads(p) == () and 'sympy' not in sys.modules, 'sympy was loaded'\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------------------------------------------ pathological

TOWERS = [
    "9^9^9^9", "9^{9^{9^{9}}}", "{{9^9}^9}^9", "9**9**9**9", r"\left(9^9\right)^{\left(9^9\right)}", "(9^9)^(9^9)", r"9^{9\cdot 9^9}",
    "9⁹⁹", "((9^{99})^{99})^{99}", "(10^{9999})^{9999}", r"9^{9999\cdot 9999}", "9^{99999}", r"\exp(9^{9^9})", "e^{9^{9^9}}",
    "e^{e^{e^{e^{9}}}}", r"10^{10^{10}}", r"9^{9^{9^{9}}}-9^{9^{9^{9}}}+83", r"\sqrt[9^{9^9}]{2}", r"(-\infty,9^{9^9})",
    r"\cos(10^{99999})", r"1E99999", "x^{x^{x^{x^{x}}}}",
]  # fmt: skip
FACTORIALS = [
    "100000!", "(2^{31})!", "((9!)!)!", "9!!!!!!", r"\binom{1000000}{500000}", r"\binom{9^9}{5}", r"\Gamma(1000000)", "(9^9)!",
]  # fmt: skip
LONG = [
    r"\frac{1}{" * 40 + "2" + "}" * 40, r"\frac{1}{" * 100_000 + "2" + "}" * 100_000, "(" * 5_000 + ")" * 5_000, "{" * 400 + "1" + "}" * 400,
    r"\alpha+" * 150_000, "x+" * 200 + "x", "||||||||x||||||||", "x" * 400, "1," * 200 + "1", "9" * 5_000, r"\sqrt{" * 12 + "2" + "}" * 12,
    "(or 1)" * 300, r"\{" * 60 + "1" + r"\}" * 60, r"\text{cm}" * 220, "1 hour " * 280, r"\pm" * 600, r"\begin{pmatrix}" * 130, "x<1," * 490,
    "1,000 " * 330, r"\frac" * 390, "(1,2)," * 330, r"\{1,\{2,\{3,\{4,\{5,\{6,\{7,8\}\}\}\}\}\}\}", "x_{" * 12 + "1" + "}" * 12, ".1" * 200, r"\begin{pmatrix}" + "1&" * 200 + r"1\end{pmatrix}",
]  # fmt: skip
WORK = [
    r"\sum_{n=1}^{10^{9}} n", r"\prod_{n=1}^{100000} n", r"\int_0^1 x^x dx", r"\lim_{x\to 0} x", r"\operatorname{eye}(100000)",
    r"\operatorname{zeros}(99999,99999)", r"\gcd(9^{9^9},3)", "(x+y+z)^{1000}", r"(1+\sqrt{2})^{1000}", r"(x^2+1)^{39}(x^3+x+1)^{39}",
    r"\frac{(x^{20}-1)(y^{20}-1)(z^{20}-1)}{(x-1)(y-1)(z-1)}", r"\sin(\sin(\sin(\sin(\sin(x)))))",
]  # fmt: skip
CODE = [
    "__import__('os').system('touch {flag}')", r"\text{{__import__('os').system('touch {flag}')}}", "open('{flag}','w').write('x')",
    r"\operatorname{{exec}}(1)", "exec(\"open('{flag}','w')\")", "x.__class__.__mro__", "lambda: open('{flag}','w')",
    r"\input{{/etc/passwd}}", "eval(open('{flag}','w'))", r"\write18{{touch {flag}}}",
]  # fmt: skip
ODD = [
    "1/0", "0/0", r"\infty-\infty", "0^0", "i^i", "x=1=2=3", "=", "\\", "$$", "}{", "^", "_", "&", "%", "!", r"\frac", r"\frac{}{}", r"\sqrt",
    "--5", "5-", "(,)", "[)", "(1,2", r"\text{}", "\x00", "🙂", "\u202e83", "𝟖𝟑", "٨٣", "\ud800", r"\begin{pmatrix}", r"\mathbb{R}\setminus\{0\}",
]  # fmt: skip
GOLDS = ("x^2+1", "83", r"\{1,2\}", "(0,1)", "x=1", r"\begin{pmatrix}1\\2\end{pmatrix}")


def pathological(flag: Path) -> list[str]:
    code = [text.format(flag=flag) for text in CODE]
    return [*TOWERS, *FACTORIALS, *LONG, *WORK, *code, *ODD]


@pytest.fixture(scope="module")
def pool() -> Iterator[VerifierPool]:
    with VerifierPool(workers=1, timeout_s=5.0, memory_mb=1024) as pool:
        pool.judge([(problem("x+1"), boxed("1+x"))])
        yield pool


@pytest.mark.parametrize("equality", ["strict", "lenient"])
def test_pathological_answers_are_judged_while_the_trainer_goes_on(equality: str, tmp_path: Path, pool: VerifierPool):
    """None is correct, none an error, none even runs out of time; and the main thread is never held up for a second."""
    flag = tmp_path / "flag"
    answers = pathological(flag)
    assert len(answers) >= 90
    golds = GOLDS[:2] if equality == "strict" else GOLDS[:3]
    items = [(problem(gold, equality=equality), boxed(answer)) for gold in golds for answer in answers]
    judged = pool.submit(items)
    latest, beats = time.monotonic(), []
    while not judged.done():
        time.sleep(0.02)
        now = time.monotonic()
        beats.append(now - latest)
        latest = now
    for (asked, response), verdict in zip(items, judged.result(), strict=True):
        told = f"{asked.answer}: {response[:60]}: {verdict.reason[:100]}"
        if (asked.answer, response) == ("x=1", boxed("0^0")):
            continue  # by the usual convention it is 1
        assert verdict.status in ("wrong", "unparsed"), told
        assert len(verdict.reason.splitlines()) == 1
    assert max(beats) < 1.0
    assert not flag.exists()


AUDIT = """
import os, sys
from tests.test_verifiers_maths import GOLDS, MATHS, boxed, pathological, problem
seen = []
def watch(event, arguments):
    if event == "compile" and arguments[1] and os.path.isfile(arguments[1]):
        return  # a library's module, imported for the first time
    if event in ("compile", "os.system", "subprocess.Popen", "os.posix_spawn", "os.exec", "os.fork", "socket.connect"):
        seen.append(f"{event} {arguments}"[:200])
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        seen.append(f"{event} {arguments}"[:200])
sys.addaudithook(watch)
for gold in GOLDS[:1]:
    for text in pathological("FLAG"):
        MATHS.judge(problem(gold), boxed(text))
sys.stdout.write("\\n".join(seen))
"""


def test_no_code_is_compiled_or_run(tmp_path: Path):
    """Python itself reports what is compiled, started or opened for writing. All of it is sympy's own arithmetic of exponents,
    which it writes out for a number of variables; the answer's text is in none of it."""
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-B", "-c", AUDIT],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(root), "PYTHONPYCACHEPREFIX": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if not line.startswith("compile (b'def monomial_")] == []
    assert not (root / "FLAG").exists()


def test_screens_let_ordinary_answers_pass():
    for text in (
        r"e^{-x^2/2}",
        "x^{2018}-1",
        "2^{2018}x",
        "10!",
        "n!",
        r"\sqrt[3]{x}",
        r"\binom{n}{k}",
        "|x-1|+|y|",
        "2^{n^2}",
        r"3^{3^{3}}",
    ):
        symbolic.parse(text, False)
    for text in ("9^9^9", "10000!", "9^{9^{9}}!"):
        with pytest.raises(symbolic.TooLarge):
            symbolic.parse(text, False)


# ------------------------------------------------------------------------------------------------------ ways of writing

NOTATIONS = [  # expected, written another way, what is beside it and wrong
    (r"24\text{ cm}^2", "24 sq cm", "24 cubic centimeters"),
    (r"24\text{ cm}^2", "24 cm2", "24 cm"),
    ("100 square units", "100 units²", "100 cubic units"),
    (r"5\text{ m}^3", "5000 L", "500 L"),
    (r"2\text{ kJ}", "2000 J", "2000 N"),
    (r"20\,\Omega", "20 ohms", "20 volts"),
    ("2 hours 5 minutes", "2h 5m", "2 h 15 min"),
    (r"20^\circ\text{C}", "20 degrees Celsius", "20 degrees Fahrenheit"),
    (r"20\%", "20 per cent", "2 per cent"),
    ("20", "20 €", "21 €"),
    (r"\$5", "500 cents", "5 cents"),
    ("3:4", "3∶4", "4∶3"),
    (r"1:\sqrt{3}", r"1 : \sqrt3", r"\sqrt3:1"),
    (r"x=\frac{\pi}{4}+n\pi", r"x=\frac{\pi}{4}+k\pi, k\in\mathbb Z", r"x=\frac{\pi}{4}+2k\pi, k\in\mathbb Z"),
    (r"\frac{\pi}{4}+n\pi, n\in\mathbb{Z}", r"\frac{5\pi}{4}+k\pi, k\in\mathbb{Z}", r"\frac{3\pi}{4}+k\pi, k\in\mathbb{Z}"),
    (r"x=(-1)^k\frac{\pi}{6}+k\pi, k\in\mathbb{Z}", r"x=\frac{\pi}{6}+2n\pi \text{ or } x=\frac{5\pi}{6}+2n\pi, n\in\mathbb Z", r"x=\frac{\pi}{6}+2n\pi, n\in\mathbb Z"),
    (r"k\pi, k\in\mathbb{Z}", r"n\pi \text{ for any integer } n", r"\frac{n\pi}{2} \text{ for any integer } n"),
    (r"x\equiv 23 \pmod{105}", r"105k+23\text{ for any integer }k", r"105k+22\text{ for any integer }k"),
    (r"x=3+5t, y=1-2t, t\in\mathbb{Z}", r"x=-2+5k, y=3-2k, k\in\mathbb Z", r"x=-2+5k, y=1-2k, k\in\mathbb Z"),
    (r"1, -\frac12+\frac{\sqrt3}{2}i, -\frac12-\frac{\sqrt3}{2}i", r"e^{2\pi ik/3}, k=0,1,2", r"e^{2\pi ik/3}, k=0,1"),
    (r"\begin{pmatrix}-2&1\\\frac32&-\frac12\end{pmatrix}", r"A^{-1}=\begin{bmatrix}-2&1\\1.5&-0.5\end{bmatrix}", r"A^{-1}=\begin{bmatrix}-2&1\\1.5&0.5\end{bmatrix}"),
    (r"\begin{pmatrix}1\\2\\3\end{pmatrix}", "(1,2,3)^T", "(1,3,2)^T"),
    ("(1,2,3)", r"\mathbf{i}+2\mathbf{j}+3\mathbf{k}", r"\mathbf{i}+2\mathbf{j}-3\mathbf{k}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\binom{1}{2}", r"\binom{2}{1}"),
    (r"0.\overline{45}", "0.4545...", "0.4555..."),
    (r"33.\overline{3}\%", r"\frac13", r"\frac{33}{100}"),
    (r"\binom{2n}{n}", r"\frac{(2n)!}{(n!)^2}", r"\frac{(2n)!}{2\,n!}"),
    (r"\binom{n+k-1}{k-1}", r"\binom{n+k-1}{n}", r"\binom{n-1}{k-1}"),
    (r"\lceil n/2\rceil", r"\left\lfloor\frac{n+1}{2}\right\rfloor", r"\lfloor n/2\rfloor+1"),
    (r"\left\lfloor\frac{n^2}{4}\right\rfloor", r"\lfloor\frac n2\rfloor\lceil\frac n2\rceil", r"\lfloor\frac n2\rfloor^2"),
    (r"\lfloor x\rfloor", r"\lfloor x\rfloor", "x"),
    (r"\log_2 3", r"\frac{\lg 3}{\lg 2}", r"\frac{\lg 2}{\lg 3}"),
    (r"\arctan 2", r"\operatorname{arctg} 2", r"\operatorname{arcctg} 2"),
    ("2-2i", "2(1-i)", "2(1+i)"),
    ("2-2i", r"2\sqrt2e^{-i\pi/4}", r"\frac{4}{1+i}"),  # the last one is not worked out
    (r"2e^{2\pi i/3}", r"2(\cos120^\circ+i\sin120^\circ)", r"2(\cos120^\circ-i\sin120^\circ)"),
    (r"\frac35+\frac45i", "0.6+0.8i", "0.6+0.81i"),
    ("(-4,1)", "]-4,1[", "]-4,1]"),
    (r"(0,1)\cup(1,\infty)", r"x>0, x\ne1", "x>0"),
    (r"(-\infty,-1)\cup(4,\infty)", r"\mathbb{R}\setminus[-1,4]", r"\mathbb{R}\setminus(-1,4)"),
    (r"\{-1\}\cup[2,\infty)", r"x=-1 \text{ or } x\ge2", r"x\ge2"),
    ("1<x<3", "|x-2|<1", "|x-2|<2"),
    ("$x<-1$ or $x>3$", r"x\in(-\infty,-1)\cup(3,+\infty)", r"x\in(-1,3)"),
    ("7 AM", "7 o'clock", "8 o'clock"),
    ("12:00 PM", "noon", "midnight"),
    ("June 4", "4 Jun", "4 Jul"),
    ("June 4", "Tuesday, June 4th, 2024", "Tuesday, June 5th, 2024"),
    ("DNE", r"\text{the limit does not exist}", r"\infty"),
    (r"\text{infinitely many}", r"\text{infinitely many solutions}", r"\text{finitely many}"),
    ("no", r"\text{No, it is not}", r"\text{Yes, it is}"),
    ("even", r"\text{The function is even}", r"\text{The function is not even}"),
    ("Alice and Bob", r"\text{Bob and Alice}", r"\text{Bob and Carol}"),
    ("B", r"\text{Option B}", r"\text{Option C}"),
    (r"\text{(B) }12", "B", "C"),
    (r"\{0,1,-1\}", r"\{0,\pm1\}", r"\{0,1\}"),
    ("a=1, b=2", "b=2, a=1", "2, 1"),
    ("(2,3)", "P(2, 3)", "P(3, 2)"),
    ("f(x)=x^2+2x", "f(n)=n(n+2)", "f(n)=n(n-2)"),
    (r"-\frac12\cos 2x+C", r"\sin^2x+C", r"\cos^2x+C"),
    (r"\frac{\pi}{3}", r"\frac\pi3", r"\frac3\pi"),
    ("2F_{16}", "0x2F", "0x2E"),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "right", "wrong"), NOTATIONS)
def test_ways_of_writing_and_what_is_beside_them(gold: str, right: str, wrong: str):
    assert MATHS.judge(problem(gold), boxed(right)).correct
    assert not MATHS.judge(problem(gold), boxed(wrong)).correct


FORMS = [  # question, expected, in the form that is asked for, in another
    ("Factor $x^4-16$ completely.", "(x-2)(x+2)(x^2+4)", "(x^2+4)(x+2)(x-2)", "(x^2-4)(x^2+4)"),
    ("Factor completely: $2x^2-8$.", "2(x-2)(x+2)", "2(x+2)(x-2)", "(2x-4)(x+2)"),
    ("Expand $(x+1)^2$.", "x^2+2x+1", "1+2x+x^2", "(x+1)(x+1)"),
    ("Give the fraction in lowest terms.", r"\frac{3}{8}", "3/8", "6/16"),
    ("Give it in simplest radical form.", r"4\sqrt3", "4√3", r"\sqrt{48}"),
    (r"Rationalize the denominator of $\frac{5}{\sqrt3}$.", r"\frac{5\sqrt3}{3}", r"\frac53\sqrt3", r"\frac{5}{\sqrt{3}}"),
    ("Write it in scientific notation.", r"3.2\times10^5", "3.2e5", r"32\times10^4"),
    ("Express it as a mixed number.", r"1\frac16", "1 1/6", r"\frac76"),
    ("Find the prime factorization of 360.", r"2^3\cdot3^2\cdot5", r"2\times2\times2\times3\times3\times5", "360"),
    (r"Simplify $\sin x\cot x$.", r"\cos x", r"\cos(x)", r"\sin x\cot x"),
    ("Order them from least to greatest.", r"\frac14, 0.5, 2", r"0.25, \frac12, 2", r"0.5, \frac14, 2"),
    ("Give the line in slope-intercept form.", "y=2x-3", "y = -3+2x", "2x-y=3"),
]  # fmt: skip


@pytest.mark.parametrize(("question", "gold", "right", "wrong"), FORMS)
def test_the_form_that_is_asked_for(question: str, gold: str, right: str, wrong: str):
    asked = Problem(
        id="p", domain="maths", messages=({"role": "user", "content": question},), verifier="maths", answer=gold
    )
    assert MATHS.judge(asked, boxed(right)).correct
    assert MATHS.judge(asked, boxed(wrong)).status == "wrong"
    if question.startswith(("Give", "Write", "Express", "Order", "Factor")):
        assert MATHS.judge(problem(gold), boxed(wrong)).correct  # the value is right, where no form is asked for


def test_an_option_may_be_answered_by_its_text():
    question = "What is half of 8?\n(A) $2$\n(B) $4$\n(C) $\\frac{8}{2}$\n(D) $16$"
    asked = Problem(
        id="p", domain="maths", messages=({"role": "user", "content": question},), verifier="maths", answer="D"
    )
    assert MATHS.judge(asked, boxed("16")).correct
    assert MATHS.judge(asked, boxed("2")).status == "wrong"
    twice = Problem(
        id="p", domain="maths", messages=({"role": "user", "content": question},), verifier="maths", answer="B"
    )
    assert MATHS.judge(twice, boxed("4")).status == "wrong"  # the text of two options


def test_a_worked_solution_of_gsm8k_is_its_last_line():
    assert MATHS.judge(problem("3*12 = <<3*12=36>>36.\n#### 36"), boxed("36")).correct
    assert not MATHS.judge(problem("3*12 = <<3*12=36>>36.\n#### 36"), boxed("3")).correct
