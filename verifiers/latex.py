r"""The habits of plain text and of other notations as the LaTeX that the grammar reads; nothing is worked out."""

import re
from fractions import Fraction

from rlzoo.verifiers.notation import ONGOING, REPEATING, as_repeating, clean

DEGREES = re.compile(r"(\d+(?:\.\d+)?) ?\^ ?\{? ?\\circ ?\}?", re.ASCII)
_SMALL = r"\{?(\d{1,4}|[a-z]|\d[a-z]|[a-z][+-]\d{1,2})\}?"
COMBINATIONS = (
    re.compile(rf"(?<![a-zA-Z\\])C_{_SMALL}\^{_SMALL}(?![\w^])"),  # the lower number first
    re.compile(rf"(?:\{{\s*\}}|(?<![\w}}]))\s*(?:\^{_SMALL}\s*|_{_SMALL}\s*)C\s*_{_SMALL}(?![\w^])"),
    re.compile(r"(?<![a-zA-Z\\])C\s*\(\s*([\da-z+\- ]{1,9})\s*,\s*([\da-z+\- ]{1,9})\s*\)"),
)
CIS = re.compile(
    r"\\text\{cis\}\s*(?:\(([^()]*)\)|\{([^{}]*)\}|(\\frac\{[^{}]*\}\{[^{}]*\}|[\d.]+\s*(?:\^\s*\{?\s*\\circ\s*\}?)?|\\[a-z]+))"
)
FLOOR = re.compile(r"\\text\{(floor|ceil)(?:ing)?\}\s*\(([^()]*)\)")
WRITTEN_OUT = re.compile(
    r"(?<![\\a-zA-Z])(pi|sqrt|arcsin|arccos|arctan|sin|cos|tan|cot|sec|csc|sinh|cosh|tanh|ln|log|exp|infty|theta)(?![a-zA-Z])"
)
RATIO_OF_FUNCTIONS = re.compile(r"(\\(?:sin|cos|tan|ln|log|lg))\s*\{?\s*(\d{0,2}[a-zA-Z]|\d{1,4})\s*\}?\s*/\s*(?=\\)")


def as_latex(text: str) -> str:
    """Signs outside ASCII and the habits of plain text as LaTeX; degrees as radians, repeating decimals as fractions."""
    text = re.sub(r"(?<!\.)\.$", "", clean(text))
    for repeating in (REPEATING, ONGOING):
        text = repeating.sub(lambda found: _as_fraction(as_repeating(found[0])), text)
    text = COMBINATIONS[0].sub(r"\\binom{\1}{\2}", text)
    text = COMBINATIONS[1].sub(lambda found: f"\\binom{{{found[1] or found[2]}}}{{{found[3]}}}", text)
    text = COMBINATIONS[2].sub(r"\\binom{\1}{\2}", text)
    text = CIS.sub(lambda found: f" e^{{i({found[1] or found[2] or found[3]})}}", text)
    text = FLOOR.sub(lambda found: f"\\l{found[1]}{{}} {found[2]} \\r{found[1]}", text).replace("{}", "")
    text = DEGREES.sub(r"\\frac{\1\\pi}{180}", text)
    if re.fullmatch(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?", text, re.ASCII):
        text = text.replace(",", "")
    text = WRITTEN_OUT.sub(r"\\\1 ", text)
    text = re.sub(r"\\log\s*_\s*\{?\s*e\s*\}?", r"\\ln ", text)
    text = RATIO_OF_FUNCTIONS.sub(r"\1(\2)/", text)
    text = re.sub(r"\\sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}", text)
    return text.replace("**", "^")


def _as_fraction(value: Fraction | None) -> str:
    return "" if value is None else f"\\frac{{{value.numerator}}}{{{value.denominator}}}"
