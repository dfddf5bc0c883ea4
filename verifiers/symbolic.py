r"""Expressions, sets, intervals and matrices, compared by math-verify (sympy) after two screens.

sympy works out whatever it is given: `9^{9^{9^9}}` fills the memory, some texts take minutes to read, and its parser of plain
expressions runs Python's `eval`. So an answer is first screened as text (length, depth, digits, towers, factorials, commands that ask
for work), then read by the LaTeX grammar alone, which builds a tree and works out nothing, then the tree's size is bounded, and only then
compared. What none of this foresees, the pool's limits end. No text ever reaches `eval`: the `parse` of math-verify is not used.
"""

import cmath
import logging
import math
import re
from functools import lru_cache
from typing import Any

import sympy
import sympy.physics.units  # simplify loads it when first called, which no response's time limit should pay
from antlr4.atn.PredictionMode import PredictionMode
from latex2sympy2_extended import NormalizationConfig, normalize_latex
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, _Latex2Sympy
from math_verify import verify as math_verify
from math_verify.grader import should_treat_as_complex
from sympy.core.relational import Relational

from rlzoo.verifiers import points
from rlzoo.verifiers.latex import as_latex
from rlzoo.verifiers.notation import plain

logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its timeouts are off; the pool has its own

LONGEST = 500
"""Characters that are read."""
DEEPEST = 12
"""Brackets inside brackets."""
DIGITS = 60
"""Digits in a row."""
SCALES = (1, 100, sympy.Rational(1, 100))
"""By which values may be told apart that are in per cent."""
HEIGHT = 2
"""Exponents above exponents, with letters in them."""
EXPONENT_DIGITS = 5
"""Digits of an exponent without letters."""
FACTORIAL_DIGITS = 3
LARGEST = 20_000
"""Decimal digits of a number that is worked out."""
TERMS = 1_000
"""Terms that an expression may have once multiplied out."""
NODES = 3_000
POINTS = (sympy.Rational(13, 17), sympy.Rational(31, 11))
"""Values of the first letter where expressions are compared as numbers; the others follow at equal distances."""
APART = 5e-5
"""Relative difference that no rounding explains; rounded values are small or large as others are."""
NOTHING = 1e-100
"""Of two values: a difference that is none."""

WORK = re.compile(
    r"\\(?:sum|prod|coprod|i*int|oint|lim|limsup|liminf|det|gcd|lcm|Gamma|gamma\s*\(|rank|nabla|partial|underbrace|overbrace|input|def|write)(?![a-zA-Z])"
    r"|\\operatorname|\\frac\{?d\}?\{?d[a-z]"
)
"""Commands that ask for work; an answer is its result. Functions by name (`\\operatorname`) include sympy's matrix algebra."""
BINOMIAL = re.compile(r"\\[dt]?binom")
_SMALL = r"\{\s*(?:\d{1,4}|(?=[^{}]*[a-z])(?:\d{0,2}[a-z]|\d{1,2})(?:\s*[+-]\s*(?:\d{0,2}[a-z]|\d{1,2})){0,3})\s*\}"
SMALL_BINOMIAL = re.compile(rf"\\[dt]?binom\s*{_SMALL}\s*{_SMALL}", re.ASCII)
ROOT = re.compile(r"\\sqrt\s*\[([^\]]*)\]")
SMALL_ROOT = re.compile(r"\s*(?:\d{1,3}|[a-zA-Z])\s*", re.ASCII)
SMALL_POWER = re.compile(r"(?<!\d)(\d{1,5})\^(?:\{(\d{1,2})\}|(\d)(?!\d))", re.ASCII)
COMMAND = re.compile(r"\\(?:begin|end)\{[a-z]*\*?\}|\\[a-zA-Z]+")
MISREAD = re.compile(r"\d\s*_|[\d.]\s*\\(?:overline|bar|dot)|\\(?:text|not|equiv|pmod|mathbb|angle|circ)(?![a-zA-Z])")
"""What the grammar reads as something else, or leaves out: `1011_2` as 1011, `0.\\overline{3}` as 0, words as nothing."""
RAISED = re.compile(r"(?<![\\a-zA-Z_^])([abcjkmnp-z])(?=\s?\^(?!\s?\{?\s?-)(?!\s?(?:\w|\{[^{}]*\})\s?\())")
"""A letter with a power, which the fast prediction reads only in braces."""
OTHER_COMMAND = re.compile(
    r"\\(?!(?:frac|sqrt|pi|cdot|times|le|ge)(?![a-zA-Z]))|[_'!|]|\[|(?<![a-zA-Z])[a-zA-Z]{2,}(?=\s?\^)"
)
NORMAL = NormalizationConfig(
    basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
)


class TooLarge(ValueError):
    """Reading or working it out could take more time or memory than an answer is worth."""


class Unreadable(ValueError):
    """Not an expression that the grammar knows."""


def same(gold: str, found: str, lenient: bool, read: bool = False) -> tuple[bool, str]:
    """Whether `found` equals `gold`, and a remark on why not. ValueError if `gold` itself cannot be read."""
    try:
        expected = parse(gold, lenient)
    except TooLarge:
        return plain(found) == plain(gold), "the expected answer is too large to work out, so texts are compared"
    except Unreadable as fault:
        raise ValueError(
            f"the answer {gold!r} cannot be read: {fault}. Correct it, or give the row another verifier."
        ) from fault
    if plain(found) == plain(gold) and not read:
        return True, ""
    try:
        answer = parse(found, lenient)
    except (TooLarge, Unreadable) as fault:
        return False, str(fault)
    if not lenient and ("%" in gold) != ("%" in found):
        return False, "one is in per cent, the other is not"
    if isinstance(expected, Relational) != isinstance(answer, Relational):
        return False, "a relation is no value"
    if points.counts(expected, answer):
        return points.same_counts(expected, answer), ""
    if points.imaginary(expected, answer):
        if points.unfinished(answer) and not points.unfinished(expected):
            return False, "a calculation that is not carried out"
        return points.same_complex(expected, answer), ""
    if all(differ(expected, answer, scale) for scale in (SCALES if "%" in gold + found else SCALES[:1])):
        return False, ""
    return _equal(expected, answer), ""


def _equal(expected: Any, answer: Any) -> bool:
    """Polynomials by multiplying them out, which is cheap; else as math-verify has it."""
    sides = (expected, answer)
    plainly = all(isinstance(one, sympy.Expr) and one.free_symbols and one.is_polynomial() for one in sides)
    if plainly and not any(one.has(sympy.Float) for one in sides) and sympy.expand(expected - answer) == 0:
        return True
    return bool(math_verify(expected, answer, float_rounding=6, allow_set_relation_comp=False, timeout_seconds=None))


def same_equation(gold: str, found: str, lenient: bool) -> tuple[bool, str]:
    """Whether two equations say the same: one is the other's multiple. ValueError if `gold` cannot be read."""
    try:
        expected = parse(gold, lenient)
    except (TooLarge, Unreadable) as fault:
        raise ValueError(
            f"the answer {gold!r} cannot be read: {fault}. Correct it, or give the row another verifier."
        ) from fault
    try:
        answer = parse(found, lenient)
    except (TooLarge, Unreadable) as fault:
        return False, str(fault)
    if not (isinstance(expected, sympy.Eq) and isinstance(answer, sympy.Eq)):
        return False, "an equation is no value"
    one, other = expected.lhs - expected.rhs, answer.lhs - answer.rhs
    symbols = sorted(one.free_symbols | other.free_symbols, key=str)
    point = {symbol: POINTS[0] + at * sympy.Rational(7, 19) for at, symbol in enumerate(symbols)}
    try:
        factor = one.subs(point) / other.subs(point)
        bound(factor)
    except (TooLarge, ValueError, TypeError, ArithmeticError, AttributeError) as fault:
        return False, str(fault)
    if not factor.is_finite or factor.is_zero or factor.free_symbols or differ(one, other * factor):
        return False, ""
    return _equal(one, other * factor), ""


def coordinates(text: str, size: int) -> tuple[str, ...] | None:
    """The entries of a vector written with the unit vectors i, j and k; None for anything else."""
    try:
        tree = parse(text, True)
    except ValueError:
        return None
    letters = {symbol.name: symbol for symbol in tree.free_symbols} if isinstance(tree, sympy.Expr) else {}
    names = ("i", "j", "k")[:size]
    if size not in (2, 3) or not letters or not letters.keys() <= set(names) or not letters.keys() & {"j", "k"}:
        return None
    nowhere = dict.fromkeys(letters.values(), 0)
    entries = [tree.subs(nowhere | {letters[name]: 1}) if name in letters else sympy.Integer(0) for name in names]
    rest = sympy.expand(
        tree - sum(entry * letters[name] for name, entry in zip(names, entries, strict=True) if name in letters)
    )
    return tuple(sympy.latex(entry) for entry in entries) if rest == 0 else None


def same_antiderivative(gold: str, found: str) -> bool:
    """Whether two expressions without their `+ C` differ by a constant."""
    try:
        return points.constant_apart(parse(gold, True), parse(found, True))
    except ValueError:
        return False


def differ(one: Any, other: Any, scale: Any = 1) -> bool:
    """Whether two expressions, the first times `scale`, have clearly different values at some point: cheap, and true of most wrong answers. Telling that
    expressions are equal may take sympy seconds, and so may failing to."""
    one, other = _assigned(one), _assigned(other)
    if not all(isinstance(side, sympy.Expr) and not side.is_Symbol and side.is_commutative for side in (one, other)):
        return False
    symbols = sorted(one.free_symbols | other.free_symbols, key=str)
    for point in POINTS:
        values = {symbol: point + at * sympy.Rational(7, 19) for at, symbol in enumerate(symbols)}
        try:
            left, right = (complex(side.evalf(15, subs=values)) for side in (one * scale, other))
        except (TypeError, ValueError, ArithmeticError, AttributeError):
            return False
        if not cmath.isfinite(left) or not cmath.isfinite(right):
            return False
        if abs(left - right) > max(APART * max(abs(left), abs(right)), NOTHING):
            return True
    return False


def _assigned(tree: Any) -> Any:
    """What an assignment such as `x = 5` assigns; anything else as it is."""
    return tree.rhs if isinstance(tree, sympy.Eq) and tree.lhs.is_Symbol else tree


@lru_cache(maxsize=1_024)
def parse(text: str, lenient: bool) -> Any:
    """The sympy object that `text` writes down, nothing worked out. TooLarge or Unreadable."""
    text = as_latex(text)
    screen(text)
    normal = normalize_latex(text, NORMAL)
    screen(normal)
    try:
        tree = _read(normal, lenient)
    except RecursionError as fault:
        raise TooLarge("nested too deeply") from fault
    except Exception as fault:  # the grammar raises bare exceptions, and sympy any
        raise Unreadable(f"no mathematics that is understood ({type(fault).__name__})") from fault
    if not isinstance(tree, sympy.Basic | sympy.MatrixBase):
        raise Unreadable("no mathematics that is understood")
    bound(tree)
    return tree


class _Reader(_Latex2Sympy):  # type: ignore[misc]
    """The library's reader, which asks Python's `eval` what a number is, with numbers read here: exactly, or as decimals."""

    def __init__(self, text: str, lenient: bool, *, fast: bool) -> None:
        super().__init__(is_real=not should_treat_as_complex(text), config=ConversionConfig(lowercase_symbols=False))
        self.lenient, self.fast = lenient, fast

    def create_parser(self, latex_str: str) -> Any:
        """The parser; `fast`: one that predicts without context, and gives the same tree as the full one or reports an error."""
        parser = super().create_parser(latex_str)
        parser._interp.predictionMode = PredictionMode.SLL if self.fast else PredictionMode.LL
        return parser

    def parse_number(self, text: str) -> Any:
        """A decimal is a fraction unless rounding is allowed, so that a rounded value does not equal what it was rounded from."""
        text = text.replace(",", "")
        if text.isdigit():
            return sympy.Integer(int(text))
        return sympy.Float(text) if self.lenient else sympy.Rational(text)


def _read(text: str, lenient: bool) -> Any:
    plainly = OTHER_COMMAND.search(text) is None
    try:
        return _Reader(text, lenient, fast=True).parse(RAISED.sub(r"{\1}", text) if plainly else text)
    except RecursionError:
        raise
    except Exception:  # some sound texts need the full prediction, which takes four times as long
        return _Reader(text, lenient, fast=False).parse(text)


# ---------------------------------------------------------------------------------------------------------
# As text


def screen(text: str) -> None:
    """TooLarge or Unreadable for a text that must not be read."""
    if len(text) > LONGEST:
        raise TooLarge(f"{len(text)} characters; at most {LONGEST} are read")
    if not text.isascii():
        raise Unreadable("signs outside ASCII")
    if re.search(rf"\d{{{DIGITS + 1}}}|\d[eE][+-]?\d{{3}}", text):
        raise TooLarge(f"more than {DIGITS} digits in a row, or an exponent of more than 2")
    if MISREAD.search(text):
        raise Unreadable("words, or a number with an index")
    if WORK.search(text):
        raise Unreadable("a sum, product, integral, limit or function to be worked out is no answer")
    if text.count("|") + text.count("\\vert") > 8 or "!!" in text.replace(" ", ""):
        raise TooLarge("too many bars or factorials")
    if len(BINOMIAL.findall(text)) != len(SMALL_BINOMIAL.findall(text)):
        raise TooLarge("a binomial coefficient of more than 4 digits")
    if re.search(r"_\{[^{}]*_", text):
        raise TooLarge("indices of indices")
    if not all(SMALL_ROOT.fullmatch(index) for index in ROOT.findall(text)):
        raise TooLarge("a root whose index is no small number")
    _screen_depth(text)
    bare = COMMAND.sub("", re.sub(r"\\(?:cdot|times)(?![a-zA-Z])", "*", text.replace(" ", "")))
    _screen_factorials(bare)
    _screen_powers(bare)


def _screen_depth(text: str) -> None:
    depth = deepest = 0
    for sign in text:
        depth += (sign in "{([") - (sign in "})]")
        deepest = max(deepest, depth)
    if deepest > DEEPEST:
        raise TooLarge(f"brackets {deepest} deep; at most {DEEPEST} are read")


def _screen_factorials(text: str) -> None:
    for at in (found.start() for found in re.finditer("!", text)):
        before = _group_before(text, at)
        if "^" in before or "!" in before or re.search(rf"\d{{{FACTORIAL_DIGITS + 1}}}|\d\D+\d", before):
            raise TooLarge("a factorial of what is no small number")


def _screen_powers(text: str) -> None:
    """Exponents without letters are small numbers and no towers; towers with letters are low."""
    for at in (found.start() for found in re.finditer(r"\^", text)):
        exponent, after = _operand(text, at + 1)
        letters = re.search("[a-zA-Z]", exponent)
        if exponent.count("^") > HEIGHT or (text[after : after + 1] == "^"):
            raise TooLarge("a tower of exponents")
        if letters:
            continue
        for _ in range(HEIGHT):
            exponent = SMALL_POWER.sub(_worked_out, exponent)
        if "^" in exponent or "!" in exponent or len(re.findall(r"\d", exponent)) > EXPONENT_DIGITS:
            raise TooLarge("an exponent that is no small number")


def _worked_out(power: re.Match[str]) -> str:
    """The value of a power of two small numbers; the power itself if the value is not small."""
    value = int(power[1]) ** int(power[2] or power[3]) if int(power[2] or power[3]) <= 16 else 10**EXPONENT_DIGITS
    return str(value) if value < 10**EXPONENT_DIGITS else power[0]


def _operand(text: str, start: int) -> tuple[str, int]:
    """The group, number or sign that starts there, and where it ends."""
    if text[start : start + 1] in ("{", "(", "["):
        depth = 0
        for at in range(start, len(text)):
            depth += (text[at] in "{([") - (text[at] in "})]")
            if depth == 0:
                return text[start : at + 1], at + 1
        return text[start:], len(text)
    found = re.compile(r"[+-]?\d+|.?", re.DOTALL).match(text, start)
    return (found[0], found.end()) if found else ("", start)


def _group_before(text: str, end: int) -> str:
    """The group or number that ends there."""
    if text[end - 1 : end] in ("}", ")", "]"):
        depth = 0
        for at in range(end - 1, -1, -1):
            depth += (text[at] in "})]") - (text[at] in "{([")
            if depth == 0:
                return text[at:end]
        return text[:end]
    found = re.search(r"\d+$|.$", text[:end], re.DOTALL)
    return found[0] if found else ""


# ---------------------------------------------------------------------------------------------------------
# As a tree


def bound(tree: Any) -> None:
    """TooLarge for a tree whose numbers have more than LARGEST digits, or that expands to too many terms."""
    for count, node in enumerate(sympy.preorder_traversal(tree)):
        if count > NODES:
            raise TooLarge(f"more than {NODES} parts")
        if isinstance(node, sympy.Expr) and _terms(node) > TERMS:
            raise TooLarge(f"more than {TERMS} terms once multiplied out")
        if isinstance(node, sympy.Expr) and not node.free_symbols and _size(node) > LARGEST:
            raise TooLarge(f"a number of more than {LARGEST} digits")


@lru_cache(maxsize=1_024)
def _terms(node: Any) -> float:
    """A bound on the number of terms once products and whole powers of sums are multiplied out."""
    parts = [_terms(part) for part in node.args if isinstance(part, sympy.Expr)]
    if isinstance(node, sympy.Add):
        return sum(parts)
    if isinstance(node, sympy.Mul):
        return math.prod(parts)
    if isinstance(node, sympy.Pow) and node.exp.is_Integer and parts[0] > 1:
        power = min(abs(int(node.exp)), TERMS)
        return float(math.comb(power + int(min(parts[0], TERMS)) - 1, power)) if power * parts[0] < 10_000 else math.inf
    return 1.0


def _size(node: Any) -> float:
    """A bound on the decimal digits before (or, for small numbers, after) the point of an unevaluated number."""
    if node.is_Number:
        return _digits(node)
    sizes = [_size(part) for part in node.args if isinstance(part, sympy.Expr)]
    if isinstance(node, sympy.Pow):
        base, power = sizes
        return float(base * 10 ** min(power, 18))
    if isinstance(node, sympy.exp):
        return float(math.log10(math.e) * 10 ** min(sizes[0], 18))
    if isinstance(node, sympy.factorial):
        return float(10 ** min(sizes[0], 18) * max(sizes[0], 1))
    return sum(sizes) + 1


def _digits(number: Any) -> float:
    """The decimal logarithm of a number; of the larger part of a fraction."""
    if not number.is_finite:
        return 1.0
    if number.is_Rational:
        return max(math.log10(abs(int(number.p)) or 1), math.log10(int(number.q)))
    value = abs(float(number))
    return abs(math.log10(value)) if 0 < value < math.inf else 1.0
