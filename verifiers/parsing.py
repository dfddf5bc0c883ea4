r"""Taking an answer apart into its form. What stands within the parts is compared elsewhere; nothing is worked out."""

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import reduce

from rlzoo.verifiers import regions, units
from rlzoo.verifiers.forms import (
    EVERYWHERE,
    About,
    Form,
    Many,
    Matrix,
    Named,
    Pieces,
    Region,
    Span,
    Value,
    Words,
    Worked,
)
from rlzoo.verifiers.naming import is_name
from rlzoo.verifiers.notation import CONDITIONAL, as_number, cut, strip, tokens
from rlzoo.verifiers.patterns import (
    AND,
    ARITHMETIC,
    DISTANCE,
    EMPTY,
    ENVIRONMENT,
    EXCEPT,
    IF,
    JOINS,
    LETTER,
    LINES,
    PLUS_MINUS,
    REALS,
    SCALED,
    SIGNED_REALS,
    THOUSANDS,
    TRANSPOSED,
    TUPLE_OF_NAMES,
    VALUE_COMMANDS,
    VARIABLE,
)
from rlzoo.verifiers.words import INFINITY, NO_SOLUTION, NONE, folded, is_words, joined_words

MOST = 64
"""Parts of a list or matrix that are taken apart; a longer one is a value, compared as it is."""


def readings(text: str) -> list[Form]:
    """What an answer may be, which is clean: commas between digits in threes, outside of brackets, separate thousands or parts."""
    at_top = {at for token, at, depth in tokens(text) if token == "," and depth == 0}
    thousands = {
        at
        for found in THOUSANDS.finditer(text)
        for at in range(found.start(), found.end())
        if text[at] == "," and at in at_top
    }
    if not thousands:
        return [_read(text)]
    return [_read("".join(sign for at, sign in enumerate(text) if at not in thousands)), _read(text)]


def _read(text: str) -> Form:
    if not text:
        return Value(text)
    if special := _special(text):
        return special
    if found := re.fullmatch(r"([^=&\\]{1,20})= ?(\\begin\{cases\}.*)", text, re.DOTALL):
        inner = _read(found[2])
        if isinstance(inner, Pieces):
            return Named(found[1].strip(), inner)
    if found := LINES.fullmatch(text):
        if pieces := _pieces(found[1]):
            return pieces
        if "&" not in re.sub(r"& ?(?==|\\le|\\ge|<|>)", "", found[1]):
            return _read(found[1].replace("&", "").replace("\\\\", ",").strip(" ,"))
        return Value(text)
    if is_words(text):
        return Words(folded(text), joined_words(text))
    region = _union(text)
    if region is not None:
        return region
    parts, joins = cut(text, JOINS)
    if joins and units.total(text) is None:
        return _list([part for part in parts if part], joins) or Value(text)
    if PLUS_MINUS.search(text) and not text.startswith("\\{"):
        return _list([PLUS_MINUS.sub(_signed(sign), text) for sign in "+-"], [","]) or Value(text)
    return _single(text)


def _pieces(inner: str) -> Pieces | None:
    """`x - 2, & x \\ge 2 \\\\ 2 - x, & x < 2`: a function in pieces; None for other lines."""
    rows = [row.split("&") for row in inner.split("\\\\") if row.strip()]
    if len(rows) < 2 or any(len(row) != 2 for row in rows):
        return None
    found = []
    for value, when in rows:
        condition = _read(strip(IF.sub("", strip(when))))
        if not (isinstance(condition, Region | Words) or condition == Value("")):
            return None
        found.append((_read(strip(value.strip().rstrip(",;"))), condition))
    return Pieces(tuple(found))


def _signed(upper: str) -> Callable[[re.Match[str]], str]:
    return lambda found: upper if found[1] == "p" else {"+": "-", "-": "+"}[upper]


def _special(text: str) -> Form | None:
    bare = re.sub(rf"^{LETTER} ?(?:\\in|=) ?", "", text)
    if EMPTY.fullmatch(bare):
        return Many("set", ())
    if NO_SOLUTION.fullmatch(folded(text)):
        return Words(NONE)
    if found := EXCEPT.fullmatch(text):
        holes = _read(strip(found[1]))
        items = (holes.value,) if isinstance(holes, Named) else holes.items if isinstance(holes, Many) else (holes,)
        return Region((Many("set", items),), holes=True)
    if found := SIGNED_REALS.fullmatch(bare):
        which = found["which"] or {"\\ge": "nonnegative", ">": "positive", "<": "negative", "\\le": "nonpositive"}.get(
            found["sign"], "positive" if found["power"] == "+" else "negative"
        )
        closed = which.startswith("non")
        below = which.endswith("positive") if closed else which == "negative"
        return Region((Span("-\\infty", "0", False, closed) if below else Span("0", "\\infty", closed, False),))
    if found := INFINITY.fullmatch(folded(text)):
        return Value("-\\infty" if found[1] in ("-", "negative") else "\\infty")
    if REALS.fullmatch(bare) or folded(text) in ("all real numbers", "all reals", "real numbers"):
        return Region((EVERYWHERE,))
    return None


def _single(text: str) -> Form:
    """What is no list: a relation, something in brackets, a value."""
    relation = _relation(text)
    if relation is not None:
        return relation
    if (
        found := ENVIRONMENT.fullmatch(re.sub(r"^[(\[] ?(?=\\begin)|(?<=\}) ?[)\]]$", "", text))
    ) and "\\begin" not in found[1]:
        rows = [[strip(cell) for cell in row.split("&")] for row in found[1].split("\\\\") if row.strip(" &")]
        if len({len(row) for row in rows}) == 1 and len(rows) * len(rows[0]) <= MOST:
            return Matrix(tuple(tuple(_read(cell) for cell in row) for row in rows))
    if (found := SCALED.fullmatch(text)) and isinstance(matrix := _single(found["matrix"]), Matrix):
        return Matrix(tuple(tuple(_times(found["factor"], cell) for cell in row) for row in matrix.rows))
    if found := TRANSPOSED.fullmatch(text):
        return _transposed(_single(strip(found["inner"]))) or Value(text)
    return _bracketed(text) or Value(text)


def _transposed(form: Form) -> Matrix | None:
    """A matrix turned over; a row in brackets as a column. None for anything else."""
    if isinstance(form, Matrix):
        return Matrix(tuple(zip(*form.rows, strict=True)))
    if isinstance(form, Many) and form.kind in ("tuple", "bracket"):
        return Matrix(tuple((item,) for item in form.items))
    if isinstance(form, Span) and form.low_closed and form.high_closed:
        return Matrix(((Value(form.low),), (Value(form.high),)))
    return None


def _times(factor: str, cell: Form) -> Form:
    """A cell of a matrix with a factor before it."""
    text = cell.text if isinstance(cell, Value) else ""
    one, other = as_number("-1" if factor == "-" else factor), as_number(text)
    if one is not None and other is not None:
        product = one * other
        return Value(f"\\frac{{{product.numerator}}}{{{product.denominator}}}")
    return Value(f"({factor})({text})")


def _bracketed(text: str) -> Form | None:
    for start, end in (
        ("\\{", "\\}"),
        ("\\langle", "\\rangle"),
        ("(", ")"),
        ("[", "]"),
        ("(", "]"),
        ("[", ")"),
        ("]", "["),
        ("]", "]"),
        ("[", "["),
        ("{", "}"),
    ):
        if not (text.startswith(start) and text.endswith(end) and len(text) >= len(start) + len(end)):
            continue
        inner = text[len(start) : len(text) - len(end)].strip()
        if any(depth < 0 for _, _, depth in tokens(inner)) and "]" not in start and "[" not in end:
            return None
        parts, joins = cut(inner, JOINS)
        if start == "\\{" or (start == "{" and CONDITIONAL.match(inner)):
            return _set(inner)
        if not joins or len(parts) > MOST or not all(parts):
            return None
        items = tuple(_read(strip(part)) for part in parts)
        if start in ("\\langle", "{") or (start + end == "()"):
            return Many("set" if start == "{" else "tuple", items)
        if len(items) == 2 and AND.fullmatch(joins[0]) is None:
            low, high = (strip(part) for part in parts)
            return Span(low, high, start == "[", end == "]")
        return Many("bracket", items) if start + end == "[]" else None
    return None


def _set(inner: str) -> Form:
    """What braces hold: parts, or a condition."""
    parts, bars = cut(inner, re.compile(r"\||:"))
    if len(bars) == 1 and VARIABLE.match(parts[0]) and (condition := _read(parts[1])) and isinstance(condition, Region):
        return replace(condition, letter=None)
    items, _ = cut(inner, JOINS)
    items = [item for item in items if item]
    if len(items) > MOST:
        return Value("\\{" + inner + "\\}")
    return Many("set", flat(_read(strip(item)) for item in items))


def flat(items: Iterable[Form]) -> tuple[Form, ...]:
    """Items with lists among them, such as both values of `\\pm 3`, laid out."""
    return tuple(
        one for item in items for one in (item.items if isinstance(item, Many) and item.kind == "list" else (item,))
    )


def _union(text: str) -> Region | Named | None:
    """A union of intervals and sets, of a letter or not; the line without some points."""
    letter = None
    parts, signs = cut(text, re.compile(r"\\in"))
    if len(signs) == 1 and VARIABLE.fullmatch(parts[0]):
        letter, text = parts
    elif len(signs) == 1 and TUPLE_OF_NAMES.fullmatch(parts[0]) and parts[1].startswith("\\{"):
        return Named(parts[0], _read(strip(parts[1])))
    pieces, unions = cut(text, re.compile(r"\\cup|U"))
    if unions:
        read_pieces = [_read(strip(piece)) for piece in pieces]
        found: list[Span | Many] = []
        for piece in read_pieces:
            if isinstance(piece, Many) and piece.kind == "tuple" and len(piece.items) == 2:
                low, high = piece.items
                if not (isinstance(low, Value) and isinstance(high, Value)):
                    return None
                found.append(Span(low.text, high.text, False, False))
            elif isinstance(piece, Region) and not piece.holes:
                found += piece.parts
            elif isinstance(piece, Span) or (isinstance(piece, Many) and piece.kind == "set"):
                found.append(piece)
            else:
                return None
        return Region(tuple(found), letter)
    without, _ = cut(text, re.compile(r"\\backslash|\\setminus|-"))
    if len(without) == 2 and REALS.fullmatch(without[0]):
        holes = _read(strip(without[1]))
        if isinstance(holes, Many) and holes.kind == "set":
            return Region((holes,), letter, holes=True)
    if len(without) == 2 and re.search(r"\\backslash", text):
        whole, taken = (as_parts(_read(strip(side))) for side in without)
        rest = regions.without(whole, taken) if whole and taken else None
        return Region(rest, letter) if rest else None
    if letter is not None:
        inner = _read(strip(text))
        if (
            isinstance(inner, Many)
            and inner.kind == "tuple"
            and len(inner.items) == 2
            and all(isinstance(one, Value) for one in inner.items)
        ):
            low, high = inner.items
            assert isinstance(low, Value) and isinstance(high, Value)
            return Region((Span(low.text, high.text, False, False),), letter)
        if isinstance(inner, Region):
            return replace(inner, letter=letter)
        if isinstance(inner, Many) and (inner.kind == "set" or text.startswith("{")):
            return Named(letter, replace(inner, kind="set"))
        return Region((inner,), letter) if isinstance(inner, Span) else None
    return None


def _relation(text: str) -> Form | None:
    """`x = 5`, `x < 2`, `1 \\le x < 2`, `x \\ne 3`, `|x| > 1`; None for anything else."""
    if found := DISTANCE.fullmatch(text):
        return regions.distance(found["letter"], found["sign"], found["high"].strip(), found["centre"])
    sides, signs = cut(text, re.compile(r"[<>=]|\\(?:le|ge|ne|approx|to)"))
    if not signs or not all(sides):
        return None
    if set(signs) <= {"=", "\\approx", "\\to"}:
        return _named(sides, signs)
    if len(signs) == 1:
        return _half(sides[0], signs[0], sides[1])
    if len(signs) > 2 or not ({*signs} <= {"<", "\\le"} or {*signs} <= {">", "\\ge"}):
        return None
    if signs[0] in (">", "\\ge"):
        sides, signs = sides[::-1], signs[::-1]
    low, letter, high = sides
    closed = [sign in ("\\le", "\\ge") for sign in signs]
    return Region((Span(low, high, *closed),), letter) if VARIABLE.fullmatch(letter) else None


def _half(left: str, sign: str, right: str) -> Region | None:
    """An inequality of a letter and a value without letters, either way round."""
    closed, below = sign in ("\\le", "\\ge"), sign in ("<", "\\le")
    for letter, value, is_low in ((left, right, not below), (right, left, below)):
        if not VARIABLE.fullmatch(letter) or VARIABLE.search(VALUE_COMMANDS.sub("", value)):
            continue
        if sign == "\\ne":
            return Region((Many("set", (_read(strip(value)),)),), letter, holes=True)
        if is_low:
            return Region((Span(value, "\\infty", closed, False),), letter)
        return Region((Span("-\\infty", value, False, closed),), letter)
    return None


def _named(parts: list[str], signs: list[str]) -> Form | None:
    """`x = 5`, `S = 2+3 = 5`, `(x, y) = (1, 2)`: the last value counts. None for an equation, which is a value of its own."""
    if "\\approx" in signs:
        if signs[0] == "\\approx" and is_name(parts[0]):
            return Named(parts[0], reduce(About, (_read(strip(part)) for part in parts[1:])))
        end = signs.index("\\approx")
        exact = _named(parts[: end + 1], signs[:end]) if end else None
        return reduce(About, (_read(strip(part)) for part in parts[end + 1 :]), exact or _read(strip(parts[end])))
    if is_name(parts[0]) or TUPLE_OF_NAMES.fullmatch(parts[0]):
        if len(parts) > 2 and VARIABLE.fullmatch(parts[-1]):
            parts = parts[:-1]
        steps = tuple(part for part in parts[1:-1] if not VARIABLE.search(ARITHMETIC.sub("", part)))
        value = _read(strip(parts[-1]))
        return Named(parts[0], Worked(steps, value) if steps and isinstance(value, Value) else value)
    if is_name(parts[-1]) and len(parts) == 2:
        return Named(parts[1], _read(strip(parts[0])))
    if not any(map(VARIABLE.search, (ARITHMETIC.sub("", part) for part in parts))):
        return Worked(tuple(parts[:-1]), _read(strip(parts[-1])))
    return None


def _list(parts: list[str], joins: list[str]) -> Form | None:
    if not parts or len(parts) > MOST:
        return None
    if len(parts) == 1:
        return _read(strip(parts[0]))
    items = regions.with_holes([_read(strip(part)) for part in parts])
    if len(items) == 1:
        return items[0]
    lines = [item for item in items if isinstance(item, Region)]
    together = any(AND.fullmatch(join) for join in joins) or all(join in (",", ";") for join in joins)
    if lines and (mixed := regions.mixed(items, together)):
        return mixed
    if len(lines) != len(items):
        return Many("list", flat(items), either=not all(join in (",", ";") for join in joins))
    if len({region.letter for region in lines}) > 1 or len({region.holes for region in lines}) > 1:
        return Many("list", items)
    parts_of = tuple(part for region in lines for part in region.parts)
    if lines[0].holes:
        inner_items = tuple(item for part in parts_of if isinstance(part, Many) for item in part.items)
        return Region((Many("set", inner_items),), lines[0].letter, holes=True)
    if together and len(parts_of) == 2 and (met := regions.meeting(*parts_of)):
        return Region((met,), lines[0].letter)
    return Region(parts_of, lines[0].letter)


def as_parts(form: Form) -> tuple[Span | Many, ...] | None:
    """The parts of a line that brackets, braces or a union hold."""
    if isinstance(form, Region) and not form.holes:
        return form.parts
    if isinstance(form, Many) and form.kind == "tuple" and len(form.items) == 2:
        low, high = form.items
        return (
            (Span(low.text, high.text, False, False),) if isinstance(low, Value) and isinstance(high, Value) else None
        )
    return (form,) if isinstance(form, Span) or (isinstance(form, Many) and form.kind == "set") else None
