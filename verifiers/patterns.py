"""How parts of an answer are written: names, joins, inequalities, environments of LaTeX."""

import re

_OR = "and/or|and|or else|or|或者|或|和|与|und|oder|ou|et|y|o"
JOINS = re.compile(rf"[,;&]|\\text\{{[,;]?\s*(?:{_OR})?\s*[,;]?\}}|and|or|或者|或|和|\\\\", re.IGNORECASE)
"""Between the parts of a list, in the languages that models answer in."""
AND = re.compile(r"\\text\{\W*and\W*\}|and")
LETTER = r"(?:[a-zA-Z]|\\[a-z]{2,8})(?:_\{?[a-zA-Z0-9]{1,3}\}?)?'?"
NAME = re.compile(
    rf"{LETTER}|[A-Z]\s*\^\s*\{{?\s*(?:-1|T|\\intercal)\s*\}}?|(?:\\(?:angle|triangle|overline|vec|hat|arc|widehat|overrightarrow|bar|measuredangle)\s*\{{?\s*)?[A-Z]{{1,4}}\}}?|"
    rf"m?\s*\\angle\s*[A-Z0-9]{{1,3}}|{LETTER}(?:\s*\^\s*\{{?-1\}}?)?\s*\(\s*[^()=]{{1,20}}\)|\\text\{{[^{{}}]*\}}(?:_\{{?\w{{1,3}}\}}?)?"
)
"""What a value is given a name by: `x`, `x_1`, `f(3)`, `\\angle ABC`, `AB`, `\\text{Area}`."""
VARIABLE = re.compile(LETTER)
DISTANCE = re.compile(
    rf"\| ?(?P<letter>{LETTER}) ?(?P<centre>[+-] ?[\d./]+)? ?\| ?(?P<sign>[<>]|\\[lg]e(?![a-z])) ?(?P<high>[^<>=|,]+)"
)
TRANSPOSED = re.compile(r"(?P<inner>.*[)\]}])\s*\^\s*\{?\s*(?:T|\\intercal|\\text\{T\}|\\prime)\s*\}?", re.DOTALL)
SCALED = re.compile(r"(?P<factor>[^&,=<>]*[^&,=<>\s([])\s*(?:\\cdot\s*)?(?P<matrix>[(\[]?\s*\\begin\{.*)", re.DOTALL)
TUPLE_OF_NAMES = re.compile(rf"\( ?{LETTER}(?: ?, ?{LETTER})+ ?\)")
PLUS_MINUS = re.compile(r"\\(p|m)[mp](?![a-zA-Z])")
THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d|,\d)", re.ASCII)
ARITHMETIC = re.compile(
    r"\\(?:frac|sqrt|times|cdot|div|pi|binom|pm|text\{[^{}]*\}|[lr](?:floor|ceil)|log|ln|sin|cos|tan|circ)|\bpi\b|\bsqrt\b"
)
"""What a calculation without variables may hold besides digits and signs."""
VALUE_COMMANDS = re.compile(r"\\(?:frac|sqrt|pi|infty|text\{[^{}]*\})")
EMPTY = re.compile(r"\\emptyset|\\\{\s*\\?\s*\\\}|\{\s*\}|\\phi")
EXCEPT = re.compile(r"\\text\{all real (?:numbers|values)(?: of)?(?: x)? (?:except|other than)(?: for)?\} ?(.+)")
IF = re.compile(r"^\\text\{ ?(?:if|for|when|where) ?\} ?|^(?:if|for|when|where)(?![a-z]) ?|^\\text\{[^{}]*\}$")
"""Before the condition of a piece; words alone, such as `otherwise`, are no condition."""
SIGNED_REALS = re.compile(
    r"(?:\\text\{)?(?:(?:all|any|the)\s)?\s*(?P<which>positive|negative|non-?negative|non-?positive)\s*(?:reals?|real numbers?|numbers?)(?: [a-z])?\}?|"
    r"\\mathbb\{R\}_\{?(?P<sign>\\ge|>|<|\\le) ?0\}?|\\mathbb\{R\}\^\{?(?P<power>[+-])\}?"
)
REALS = re.compile(
    r"\\mathbb\{R\}|\( ?- ?\\infty ?, ?\+? ?\\infty ?\)|\\text\{(?:all )?reals?(?: numbers?)?\}|(?:all )?real numbers?|all reals"
)
ENVIRONMENT = re.compile(
    r"\\begin\{(?:[pbBvV]?matrix|smallmatrix|array)\}(?:\{[lcr| ]*\})?(.*)\\end\{(?:[pbB]?matrix|smallmatrix|array)\}",
    re.DOTALL,
)
LINES = re.compile(
    r"\\begin\{(?:cases|aligned|align\*?|gathered)\}(.*)\\end\{(?:cases|aligned|align\*?|gathered)\}", re.DOTALL
)
