r"""Answers as people write them: one plain form for comparing texts, and numbers read exactly.

Everything here is cheap and evaluates nothing: `2^{10}` is no number until somebody works it out.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache

# Bounded before anything is converted: a long run of digits or an exponent could cost minutes.
DECIMAL = r"(?:\d{1,60}(?:\.\d{0,60})?|\.\d{1,60})"
NUMBER = re.compile(rf"(?P<top>[+-]?{DECIMAL})(?:/(?P<bottom>\d{{1,60}}))?", re.ASCII)
FRACTION = re.compile(
    r"(?P<sign>[+-]?)(?:(?P<whole>\d{1,60})\+?)?\\frac\{(?P<top>[+-]?\d{1,60})\}\{(?P<bottom>[+-]?\d{1,60})\}", re.ASCII
)
MIXED = re.compile(r"(?P<sign>[+-]?)(?P<whole>\d{1,60})(?: |\+)(?P<top>\d{1,60})/(?P<bottom>\d{1,60})", re.ASCII)
POWER_OF_TEN = re.compile(
    rf"(?P<top>[+-]?{DECIMAL})(?:(?:\\times|\\cdot|\*)10\^(?:\{{(?P<braced>[+-]?\d{{1,2}})\}}|(?P<bare>\d))|[eE](?P<plain>[+-]?\d{{1,2}}))",
    re.ASCII,
)
REPEATING = re.compile(
    r"(?P<sign>[+-]?)(?P<whole>\d{0,30})\.(?P<once>\d{0,30})"
    r"(?:(?:\\overline|\\bar|\\dot) ?\{?(?P<under>\d{1,30})\}?|\((?P<within>\d{1,30})\)|\\dot\{?(?P<first>\d)\}?(?P<between>\d{0,28})\\dot\{?(?P<last>\d)\}?)",
    re.ASCII,
)
ONGOING = re.compile(
    r"(?P<sign>[+-]?)(?P<whole>\d{0,30})\.(?P<once>\d{0,30}?)"
    r"(?:(?P<digit>\d)(?P=digit){1,30}|(?P<block>\d{2,12})(?P=block){1,15})\.\.\.",
    re.ASCII,
)
TEXT = r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf|tt|normal)|mbox|hbox|operatorname|boldsymbol|bm|emph|underline)\*?"
WRAPPER = re.compile(TEXT + r"\s*\{([^{}]*)\}")
BOLD = re.compile(r"\\(?:mathbf|boldsymbol|bm|mathit|vec|hat|mathbb)\s*(?:\{\s*([a-zA-Z])\s*\}|([a-zA-Z])(?![a-zA-Z]))")
"""Letters of vectors and of number sets."""
FUNCTIONS = {
    **{name: name for name in ["sin", "cos", "tan", "cot", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "exp", "ln", "log"]},
    "arccot": "cot^{-1}", "arcsec": "sec^{-1}", "arccsc": "csc^{-1}", "arctg": "arctan", "tg": "tan", "ctg": "cot", "lg": "log_{10}",
    **{f"{arc}{name}": f"{name}^{{-1}}" for arc in ("ar", "arc", "a") for name in ("sinh", "cosh", "tanh")},
}  # fmt: skip
"""Functions by the names they are written out with, in LaTeX."""
NAMED_FUNCTION = re.compile(rf"\\text\{{({'|'.join(FUNCTIONS)})\}}|\\(arccot|arcsec|arccsc|arctg|c?tg|lg)(?![a-zA-Z])")
LETTERS = re.compile(r"\d+|[A-H](?:, ?[A-H])*(?:,? (?:and|&) [A-H])?|\W*[,;]\W*")
"""What stands in `\\text{}` and is no text: digits, letters of options, commas."""
SPACING = re.compile(
    r"\\\\|\\[,!;:> ]|~|\\(?:q?quad|thinspace|enspace|displaystyle|textstyle|scriptstyle|limits|nolimits|left|right|middle|mathstrut|strut|"
    r"(?:footnote)?small|normalsize|[lL]arge|LARGE|huge|[bB]igg?[lrm]?)(?![a-zA-Z])|\\(?:[hv]?phantom|[hv]space)\*?\{[^{}]*\}|\s+"
)
"""Space, and commands for looks; two backslashes, which end a matrix's row, stay."""
GROUPS = re.compile(r"(?<![\d.])(\d{1,3})((?:(?:\{,\}|,\\!|\\[,;: ]|~)\d{3})+)(?!\d)", re.ASCII)
"""Digits in threes with what LaTeX puts between thousands: `1{,}234`, `1,\\!234`, `1\\,234`."""
THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?%?|[+-]?\d{1,3}(?: \d{3})+(?:\.\d*)?%?", re.ASCII)
APART = re.compile(r"(?<=[a-zA-Z]) (?=[a-zA-Z])|(?<=\d) (?=[.\d])")
_PART = r"(?:\s*(\d|[a-zA-Z]|\\(?:pi|theta|alpha|beta|infty)(?![a-zA-Z]))|\s*\{([^{}]*)\})"
SHORT_FRACTION = re.compile(rf"\\frac(?=\s*[^\s{{]|\s*\{{[^{{}}]*\}}\s*[^\s{{]){_PART}{_PART}", re.ASCII)
SLANTED = re.compile(r"(?<![\w}])\^\{?(\d{1,9})\}?/_\{?(\d{1,9})\}?", re.ASCII)
"""`^3/_4`."""
OVER = re.compile(r"\{([^{}]*)\\over(?![a-z])([^{}]*)\}")
CHOOSE = re.compile(r"\{([^{}]*)\\choose([^{}]*)\}")
PERCENT = re.compile(r"(?<=[\d}.)])\s*(?:\\text\{\s*)?(?:per ?cent|pct)(?![a-z])(?:\s*\})?", re.IGNORECASE)
ENDED = re.compile(
    r"(?:\s*(?:\\(?:black)?square|\\(?:checkmark|qed)(?![a-zA-Z])|[\u2600-\u27bf\u25a0\u25a1\u220e\U0001f300-\U0001faff\ufe0f\u200b]))+$"
)
"""What ends a proof, or is only cheerful."""
SHORT_ROOT = re.compile(r"\\sqrt(?: (\d+|[a-zA-Z])|(\d+))(?![.\d])", re.ASCII)
"""`\\sqrt13` is meant as the root of 13."""
INDEXED_ROOT = re.compile(r"(\\sqrt\s?\[\d{1,2}\])\s?(\d+|[a-zA-Z])")
LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
OVERLINED = re.compile("((?:\\d\u0305)+)")
RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
SIGNS = str.maketrans(
    {"−": "-", "–": "-", "﹣": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": r"\div ", "π": r"\pi ", "∞": r"\infty ",
     "≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "≡": r"\equiv ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ",
     "±": r"\pm ", "∓": r"\mp ", "°": r"^{\circ}", "√": r"\sqrt ", "∛": r"\sqrt[3]", "ⁿ": "^n", "∅": r"\emptyset ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "θ": r"\theta ",
     "∠": r"\angle ", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "⟨": r"\langle ", "⟩": r"\rangle ", "〈": r"\langle ", "〉": r"\rangle ",
     "—": "-", "‑": "-", "∙": r"\cdot ", "∗": "*", "⁄": "/", "∕": "/", "∶": ":", "；": ";", "！": "!", "｜": "|", "∣": "|", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}",
     "∖": r"\setminus ", "→": r"\to ", "∨": r"\lor ", "∧": r"\land ", "α": r"\alpha ", "β": r"\beta ", "λ": r"\lambda ", "φ": r"\phi ", "Ω": r"\Omega ",
     "℃": r"^{\circ}C", "℉": r"^{\circ}F", "⅛": r"\frac{1}{8}", "⅜": r"\frac{3}{8}", "⅝": r"\frac{5}{8}", "⅞": r"\frac{7}{8}", "⅙": r"\frac{1}{6}", "⅚": r"\frac{5}{6}",
     "⅕": r"\frac{1}{5}", "⅖": r"\frac{2}{5}", "⅗": r"\frac{3}{5}", "⅘": r"\frac{4}{5}", "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}",
     "，": ",", "。": ".", "：": ":", "（": "(", "）": ")", "＝": "=", "′": "'", "’": "'", "…": "...", "\u00a0": " ", "\u202f": r"\,", "\u2009": r"\,"}
)  # fmt: skip
"""Signs outside ASCII and their LaTeX. Digits of other scripts are left alone: an answer's digits are 0 to 9."""
SYNONYMS = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "leq": "le", "geq": "ge", "leqslant": "le", "geqslant": "ge", "neq": "ne", "lt": "<",
    "gt": ">", "varnothing": "emptyset", "lbrace": r"\{", "rbrace": r"\}", "lbrack": "[", "rbrack": "]", "colon": ":", "degree": r"^{\circ}",
    "dots": "...", "ldots": "...", "cdots": "...", "lor": r"\text{or}", "vee": r"\text{or}", "land": r"\text{and}", "wedge": r"\text{and}",
    "lvert": "|", "rvert": "|", "vert": "|", "setminus": r"\backslash ", "mid": "|", "dbinom": "binom", "tbinom": "binom", "simeq": "approx",
    "infin": "infty", "nicefrac": "frac", "sfrac": "frac", "geqq": "ge", "leqq": "le", "thickspace": " ", "lparen": "(", "rparen": ")", "textdegree": r"^{\circ}",
    "top": "intercal", "emptyset": "emptyset", "Q": r"\mathbb{Q}", "Z": r"\mathbb{Z}", "N": r"\mathbb{N}", "dotsc": "...", "dotsb": "...", "textdollar": r"\$", "R": r"\mathbb{R}", "Reals": r"\mathbb{R}", "longrightarrow": "to", "rightarrow": "to", "ast": "*",
}  # fmt: skip
COMMAND = re.compile(r"\\([a-zA-Z]+)")
OPENING, CLOSING = ("{", "(", "[", "\\{", "\\langle", "\\begin"), ("}", ")", "]", "\\}", "\\rangle", "\\end")
TOKEN = re.compile(
    r"\\(?:text|mathbb)\{[^{}]*\}|\\begin\{[a-z]*\*?\}|\\end\{[a-z]*\*?\}|\\[a-zA-Z]+|\\.|[a-zA-Z]+|.", re.DOTALL
)
CONDITIONAL = re.compile(r"\s*[a-zA-Z]\s*(?:\||:)\s*\S")
"""What braces of a set hold that is described, `{x | x > 3}`."""
ALSO = re.compile(
    r"\s*(?:\\text\{)?\((?:or|i\.e\.,?|that is,?|which is|=)\s*(?!about|approx|roughly|around|\\approx)([^()]*)\)\}?$"
)
"""The same value again, in brackets behind it."""
ROUGHLY = r"(?:approximately|approx\.?|roughly|about|around|nearly|≈|\\approx)"
ROUNDED = re.compile(
    rf"(?<=[\w)}}%$*°²³π])\s*(?:\\text\{{\s*)?(?:[(,]\s*|(?=or\b|which\b|≈\s|\\approx))(?:or|i\.e\.,?|that is,?|which is)?\s*{ROUGHLY}\s*\}}?\s*(?P<rounded>-?[$€£]?\.?\d[^()=;]{{0,40}}?)\s*\)?\s*\}}?$"
)
"""What a value is said to be about, behind it: `(approximately 12.57 cm)`, `or about 0.14`."""


@lru_cache(maxsize=2_048)
def clean(text: str) -> str:
    r"""The text without what changes its looks only: dollar signs around it, `\left`, kinds of fraction, of spaces, of signs.

    Text that stands in `\text{}` and its like stays marked, `\text{ cm}` as `\text{cm}`; spaces are single ones.
    """
    text = re.sub("[₀-₉]+", lambda found: f"_{{{found[0].translate(LOWERED)}}}", text)
    text = OVERLINED.sub(lambda found: f"\\overline{{{found[0].replace(chr(0x305), '')}}}", text)
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+", lambda found: f"^{{{found[0].translate(RAISED)}}}", text).translate(SIGNS).strip()
    text = re.sub(r"\\\\\s*\[\s*-?[\d.]+\s*(?:pt|em|ex|mm|cm)\s*\]", lambda found: "\\\\", text)  # room between rows
    text = re.sub(r"\\[()\[\]](?![\d.]*(?:pt|em|ex)\])", " ", text).strip()
    text = _without_dollars(ENDED.sub("", text).strip("`\u200b ") or text)
    text = GROUPS.sub(lambda found: found[1] + re.sub(r"\D", "", found[2]), text)
    text = (
        text.replace(r"\$", "$")
        .replace(r"\%", "%")
        .replace(r"\#", "#")
        .replace(r"\&", "&")
        .replace("{,}", ",")
        .replace("{:}", ":")
    )
    text = COMMAND.sub(_synonym, text)
    text = OVER.sub(r"\\frac{\1}{\2}", CHOOSE.sub(r"\\binom{\1}{\2}", text))
    text = re.sub(r"(?<=\d) ?[xX] ?(?=10 ?\^)", r"\\times ", text)
    for sign, command in (("<=", r"\le "), (">=", r"\ge "), ("!=", r"\ne "), ("+/-", r"\pm "), ("+-", r"\pm ")):
        text = text.replace(sign, command)
    text = re.sub(r"\\(?:left|right|middle)\s*\.", " ", text)
    text = SPACING.sub(lambda found: found[0] if found[0] == "\\\\" else " ", text)
    text = BOLD.sub(_letter, text)
    text = WRAPPER.sub(_marked, text)
    text = NAMED_FUNCTION.sub(lambda found: f"\\{FUNCTIONS[found[1] or found[2]]}", text)
    text = SLANTED.sub(r"\\frac{\1}{\2}", PERCENT.sub("%", text))
    text = INDEXED_ROOT.sub(r"\1{\2}", text)
    text = SHORT_FRACTION.sub(_fraction, SHORT_ROOT.sub(lambda root: f"\\sqrt{{{root[1] or root[2]}}}", text))
    return re.sub(r" +", " ", text).strip()


def _letter(bold: re.Match[str]) -> str:
    letter = bold[1] or bold[2]
    return f"\\mathbb{{{letter}}}" if letter in "NZQRC" else letter


def _without_dollars(text: str) -> str:
    """Without dollar signs that begin and end formulas; one before an amount stays."""
    if len(re.findall(r"(?<!\\)\$", text)) % 2 and re.match(r"-?\$\s?[\d.]", text):
        return text
    return re.sub(r"(?<!\\)\$", " ", text).strip()


def _marked(found: re.Match[str]) -> str:
    content = " ".join(found[1].split())
    return content if LETTERS.fullmatch(content) else f"\\text{{{content}}}"


def _synonym(command: re.Match[str]) -> str:
    known = SYNONYMS.get(command[1])
    if known is None:
        return command[0]
    return f"\\{known}" if known.isalpha() else known


def _fraction(found: re.Match[str]) -> str:
    return f"\\frac{{{found[1] or found[2]}}}{{{found[3] or found[4]}}}"


@lru_cache(maxsize=2_048)
def plain(text: str) -> str:
    r"""A form for comparing texts: `clean`, without dollar signs, spaces and `\text{}`, but for spaces that keep numbers or words apart.

    A comma is dropped only from a number that is alone and whose digits stand in threes: `1,234`, never `(1,234)` or `1,234,5`.
    """
    text = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", clean(text)).replace("$", "").strip()
    text = joined(" ".join(text.split()))
    return APART.sub("\0", text).replace(" ", "").replace("\0", " ")


def joined(text: str) -> str:
    """A lone number without what separates its thousands; any other text as it is."""
    return re.sub("[, ]", "", text) if THOUSANDS.fullmatch(text) else text


def in_per_cent(text: str) -> bool:
    """Whether a number is written with a per cent sign or the words."""
    return "%" in text or PERCENT.search(text) is not None


def as_number(text: str) -> Fraction | None:
    r"""The number that `text` writes down, exactly; None for anything else, and for what must still be worked out.

    Integers, decimals, `3/4`, `\frac{3}{4}`, mixed numbers (`3 1/2`, `3\frac{1}{2}`), `1.5\times10^{3}`, a per cent sign (a
    hundredth), thousands separators and currency signs. At most 60 digits each.
    """
    simple = _number(text.strip())
    if simple is not None:
        return simple
    text = plain(text)
    while text.startswith("{") and text.endswith("}") and text.count("{") == 1:
        text = text[1:-1]
    bare = text.removesuffix("%")
    value = _number(bare)
    return value if value is None or bare == text else value / 100


def _number(text: str) -> Fraction | None:
    if found := NUMBER.fullmatch(text):
        return _ratio(Fraction(found["top"]), found["bottom"])
    if found := FRACTION.fullmatch(text) or MIXED.fullmatch(text):
        value = _ratio(Fraction(found["top"]), found["bottom"])
        whole = int(found["whole"] or 0)
        if value is None or (found["whole"] and not 0 < value < 1):
            return None
        return -(value + whole) if found["sign"] == "-" else value + whole
    if found := POWER_OF_TEN.fullmatch(text):
        return Fraction(found["top"]) * Fraction(10) ** int(found["braced"] or found["bare"] or found["plain"])
    return None


def _ratio(top: Fraction, bottom: str | None) -> Fraction | None:
    if bottom is None:
        return top
    return top / int(bottom) if int(bottom) else None


def as_repeating(text: str) -> Fraction | None:
    r"""The value of a repeating decimal: `0.1\overline{6}`, `0.\dot{1}2\dot{3}`, `0.(3)`, `0.333...`; None for anything else."""
    text = plain(text)
    if text.endswith("%"):
        hundredths = as_repeating(text[:-1])
        return None if hundredths is None else hundredths / 100
    found = REPEATING.fullmatch(text)
    if found:
        again = found["under"] or found["within"] or f"{found['first']}{found['between']}{found['last']}"
    else:
        found = ONGOING.fullmatch(text)
        if not found:
            return None
        again = found["digit"] or found["block"]
    once = found["once"]
    all_digits, before = int(found["whole"] + once + again), int(found["whole"] + once or "0")
    value = Fraction(all_digits - before, int("9" * len(again) + "0" * len(once)))
    return -value if found["sign"] == "-" else value


# ---------------------------------------------------------------------------------------------------------
# Taking text apart


def _without_emphasis(text: str) -> str:
    """Without the stars of Markdown around it; a lone star behind an answer is part of it."""
    stars = len(text) - len(text.lstrip("*"))
    behind = len(text) - len(text.rstrip("*"))
    paired = min(stars, behind)
    if stars + behind and (paired or max(stars, behind) > 1):
        text = text.strip("*")
    return text.strip()


def strip(text: str) -> str:
    """Clean text without what stands around an answer: emphasis, braces, the full stop, a box, `so` and `approximately`."""
    while True:
        before = text
        text = _without_emphasis(text.strip())
        text = text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] == "$" else text.removesuffix("$")
        text = re.sub(r"(?<![\\.,])[.,;:]+$(?<!\.\.)|\\\\$", "", text).strip()
        text = re.sub(
            r"^(?:=|\\(?:therefore|Rightarrow|implies|approx|sim)(?![a-zA-Z])|[~≈]|\\text\{(?:about|approximately|approx\.?)\}|about |(?:all|any|every) (?=[a-z] ?(?:[<>]|\\[lg]e|\\in)))\s*",
            "",
            text,
        )
        text = ALSO.sub(r" or \1", ROUNDED.sub(r" \\approx \g<rounded>", text))
        if found := re.fullmatch(
            r"\\(?:boxed|fbox)\s*\{(.*)\}|\{(.*)\}|\\text\{([^{}]*\d[^{}]*)\}|\\(?:text)?color\{\w+\}(.*)",
            text,
            re.DOTALL,
        ):
            inner = next(part for part in found.groups() if part is not None)
            if balanced(inner) and inner.strip() and not CONDITIONAL.match(inner):
                text = inner
        if text == before:
            return text


def balanced(text: str) -> bool:
    """Whether every brace that opens within the text closes within it."""
    depth = 0
    for found in re.finditer(r"\\.|[{}]", text, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth < 0:
            return False
    return depth == 0


def tokens(text: str) -> Iterator[tuple[str, int, int]]:
    """Each token with its place and the number of brackets around it."""
    depth = 0
    for found in TOKEN.finditer(text):
        token = found[0]
        opens = token in OPENING or token.startswith("\\begin")
        depth -= token in CLOSING or token.startswith("\\end")
        yield token, found.start(), depth
        depth += opens


def cut(text: str, joins: re.Pattern[str]) -> tuple[list[str], list[str]]:
    """The text's parts between separators that stand in no bracket, and the separators."""
    parts, seen, start = [], [], 0
    for token, at, depth in tokens(text):
        if depth == 0 and joins.fullmatch(token):
            parts.append(text[start:at].strip())
            seen.append(token)
            start = at + len(token)
    return [*parts, text[start:].strip()], seen
