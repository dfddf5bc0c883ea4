r"""When two answers are the same: each taken apart into its form, the forms held against each other, values compared last.

`lenient` is what a person who knows the question would take; `strict` takes another form only where it says nothing else. What
strict refuses and lenient takes, it refuses by name. Neither takes a calculation that nobody carried out for its result.
"""

import re
from collections.abc import Mapping, Sequence

from rlzoo.verifiers import clocks, labels, naming, progressions, words
from rlzoo.verifiers.forms import (
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
    by_name,
    named_once,
)
from rlzoo.verifiers.notation import as_number, clean, plain, strip
from rlzoo.verifiers.parsing import as_parts, readings
from rlzoo.verifiers.patterns import ARITHMETIC, THOUSANDS, VARIABLE
from rlzoo.verifiers.phrases import NUMERALS
from rlzoo.verifiers.quantities import AS_WRITTEN, EQUATION, Outcome, taken, values
from rlzoo.verifiers.regions import beside, is_infinite, punctured
from rlzoo.verifiers.rounding import meant, rounds
from rlzoo.verifiers.words import ENDLESS, NONE, folded

COLUMN = re.compile(r"\\binom\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
"""A column of two, as some write it."""
FUNCTION = re.compile(r"(?P<name>[a-zA-Z](?:\^\{-1\}|')?)\s*\(\s*(?P<letter>[a-z])\s*\)")
MODULO = re.compile(r"^[a-z] ?\\equiv|\(?\s*(?:\\[pb]?mod|\\text\{\(?mod\}|mod)\s*\{?(?P<modulus>\d{1,9})\}?\s*\)?$")

TOLD: Mapping[type, str] = {Named: "a name, `x = ...`", Worked: "a calculation", About: "an approximation"}


def same(gold: str, found: str, lenient: bool, read: bool = False) -> Outcome:
    """Whether two answers are equal. ValueError if `gold` cannot be read by itself, whatever `found` is; never otherwise.

    `read`: also where the texts are equal.
    """
    try:
        return _same(gold, found, lenient, read)
    except ValueError:
        _same(gold, gold, lenient, read=True)  # raises where the expected answer is at fault
        return False, "in a form that the expected answer cannot be brought into"


def _same(gold: str, found: str, lenient: bool, read: bool) -> Outcome:
    gold, found = (strip(clean(text)) for text in (gold, found))
    if not read and plain(gold) == plain(found):
        return True, ""
    if lenient:
        gold, found = clocks.plain_time(gold), clocks.plain_time(found)
        if (told := clocks.same_date(gold, found)) is not None:
            return told, ""
    if (told := labels.same_letter(gold, found, lenient)) is not None:
        return told, ""
    if option := labels.MARKED.fullmatch(gold) and labels.parted(gold):
        given = labels.parted(found)
        gold, found = option[1], given[1] if given is not None and given[0] == option[0] else found
    if lenient and (told := progressions.same(gold, found)) is not None:
        return told, "" if told else "other numbers, for some integers"
    both = progressions.without_condition(gold, found, lenient)
    if both is None:
        return False, "other integers"
    gold, found = both
    if lenient:
        found = labels.shortened(gold, found)
    if lenient and not AS_WRITTEN.search(gold):
        found = beside(_reduced(found))
    try:
        whole = readings(gold)[:1] if THOUSANDS.fullmatch(gold) and not _in_order(gold, found) else readings(gold)
        return _any([(one, other) for one in whole for other in readings(found)], lenient, read)
    except RecursionError:
        return False, "nested too deeply"


def _reduced(text: str) -> str:
    """`7 \\pmod{10}` as 7; other numbers are not what is left of them, and stay as they are."""
    found = MODULO.search(text)
    if found is None or found["modulus"] is None:
        return MODULO.sub("", text)
    value = as_number(text[: found.start()])
    return text if value is not None and not 0 <= value < int(found["modulus"]) else text[: found.start()].strip()


def _in_order(gold: str, found: str) -> bool:
    """Whether numbers stand as they do in `1,234`, which may be two."""
    return gold.replace(",", "") == re.sub(r"[\s,;(){}\[\]\\]", "", found)


def forms(gold: Form, found: Form, lenient: bool, read: bool = False) -> Outcome:
    """Whether two forms are the same."""
    if isinstance(gold, Named | Worked | About) or isinstance(found, Named | Worked | About):
        return _told(gold, found, lenient, read)
    if isinstance(gold, Words) or isinstance(found, Words):
        return _words(gold, found, lenient)
    if isinstance(gold, Value) and isinstance(found, Value):
        return values(gold.text, found.text, lenient, read)
    if isinstance(gold, Region | Span) or isinstance(found, Region | Span):
        return _regions(gold, found, lenient, read)
    if isinstance(gold, Matrix) and isinstance(found, Matrix):
        shape = [len(row) for row in gold.rows] == [len(row) for row in found.rows]
        cells = zip((c for row in gold.rows for c in row), (c for row in found.rows for c in row), strict=False)
        return shape and all(forms(one, other, lenient, read)[0] for one, other in cells), ""
    if isinstance(gold, Pieces) or isinstance(found, Pieces):
        return _in_pieces(gold, found, lenient, read)
    if isinstance(gold, Matrix) or isinstance(found, Matrix):
        return _vectors(gold, found, lenient)
    return _many(gold, found, lenient, read)


def _in_pieces(gold: Form, found: Form, lenient: bool, read: bool) -> Outcome:
    """The same pieces, in any order."""
    if not isinstance(gold, Pieces) or not isinstance(found, Pieces) or len(gold.rows) != len(found.rows):
        return False, ""
    left = list(found.rows)
    for value, when in gold.rows:
        for other in left:
            if forms(value, other[0], lenient, read)[0] and forms(when, other[1], lenient, read)[0]:
                left.remove(other)
                break
        else:
            return False, ""
    return True, ""


def _told(gold: Form, found: Form, lenient: bool, read: bool) -> Outcome:
    """Where a value has a name, a calculation before it, or an approximation behind it."""
    if isinstance(gold, Worked):
        return forms(
            gold.value, found.value if isinstance(found, Worked) and gold.steps == found.steps else found, lenient, read
        )
    if isinstance(gold, About):
        found = found.exact if isinstance(found, About) and found.rounded == gold.rounded else found
        return _any(((gold.exact, found), (gold.rounded, found)), lenient, read)
    if isinstance(gold, Named):
        if isinstance(found, Named):
            return _both_named(gold, found, lenient, read)
        if isinstance(found, Value) and EQUATION.search(found.text) and isinstance(gold.value, Value):
            try:
                return values(f"{gold.name}={gold.value.text}", found.text, lenient, read)
            except ValueError:  # a name in words is in no equation
                return values(gold.value.text, found.text, lenient, read)
        if not isinstance(found, Worked | About):
            return forms(gold.value, found, lenient, read)
    if not lenient:
        return False, f"{TOLD[type(found)]}; strict takes the value alone"
    if isinstance(found, About):
        told = meant(found)
        if not told or not _holds(told[0]):
            return False, "an approximation of another value"
        return _any([(gold, one) for one in told], lenient, read)
    if isinstance(found, Worked):
        return forms(gold, found.value, lenient, read) if _holds(found) else (False, "its calculation does not hold")
    assert isinstance(found, Named)
    if isinstance(gold, Value) and EQUATION.search(gold.text) and isinstance(found.value, Value):
        return values(gold.text, f"{found.name}={found.value.text}", lenient, read)
    return forms(gold, found.value, lenient, read)


def _both_named(gold: Named, found: Named, lenient: bool, read: bool) -> Outcome:
    """`x = 5` and `x = 5.0`; `x = 2y` and `y = x/2` as equations; never `x = 5` and `y = 5`."""
    letters = [VARIABLE.fullmatch(name) for name in (gold.name, found.name)]
    functions = [FUNCTION.fullmatch(name) for name in (gold.name, found.name)]
    if lenient and all(functions) and isinstance(found.value, Value):
        one, other = (function["letter"] for function in functions if function)
        if one != other and functions[0] and functions[1] and functions[0]["name"] == functions[1]["name"]:
            if re.search(rf"(?<![\\a-zA-Z]){one}(?![a-zA-Z])", found.value.text):
                return False, f"{found.name} for {gold.name}"
            renamed = re.sub(rf"(?<![\\a-zA-Z]){other}(?![a-zA-Z])", one, found.value.text)
            return forms(gold.value, Value(renamed), lenient, read)
    if lenient and naming.others(gold.name, found.name):
        return False, f"{found.name} for {gold.name}"
    if not all(letters) or plain(gold.name) == plain(found.name):
        return forms(gold.value, found.value, lenient, read)
    sides = [(side.name, side.value.text) for side in (gold, found) if isinstance(side.value, Value)]
    if len(sides) == 2 and all(VARIABLE.search(ARITHMETIC.sub("", text)) for _, text in sides):
        return values("=".join(sides[0]), "=".join(sides[1]), lenient, read)
    return False, f"{found.name} for {gold.name}"


def _any(pairs: Sequence[tuple[Form, Form]], lenient: bool, read: bool) -> Outcome:
    """Equal if any pair is; else the last one's remark. ValueError if none is, and one cannot be read."""
    outcome, fault = (False, ""), None
    for one, other in pairs:
        try:
            outcome = forms(one, other, lenient, read)
        except ValueError as error:
            fault = error
        if outcome[0]:
            return outcome
    if fault is not None:
        raise fault
    return outcome


def _holds(form: Form) -> bool:
    """Whether every step of a calculation, if it is one, comes to its value, or is rounded to it."""
    if not isinstance(form, Worked):
        return True
    value = form.value.text if isinstance(form.value, Value) else None
    try:
        return value is not None and all(values(step, value, True)[0] or rounds(step, value) for step in form.steps)
    except ValueError:
        return False


def _words(gold: Form, found: Form, lenient: bool) -> Outcome:
    if isinstance(gold, Words) and isinstance(found, Words):
        return words.same(gold.text, found.text) or (gold.parts == found.parts != ()), ""
    if isinstance(gold, Words):
        if gold.text == ENDLESS and isinstance(found, Value) and plain(found.text) in ("\\infty", "+\\infty"):
            return taken(lenient, "infinity for words")
        if gold.text == NONE and isinstance(found, Many) and not found.items:
            return taken(lenient, "the empty set for words")
        return isinstance(found, Value) and words.same(gold.text, folded(found.text)), ""
    assert isinstance(found, Words)
    if found.text == NONE and isinstance(gold, Many) and not gold.items:
        return taken(lenient, "words for the empty set")
    if found.text == ENDLESS and isinstance(gold, Value) and plain(gold.text) in ("\\infty", "+\\infty"):
        return taken(lenient, "words for infinity")
    if isinstance(gold, Value) and found.text in NUMERALS and as_number(gold.text) == NUMERALS[found.text]:
        return taken(lenient, "a number in words")
    return isinstance(gold, Value) and folded(gold.text) == found.text, "words"


def _many(gold: Form, found: Form, lenient: bool, read: bool) -> Outcome:
    if (
        isinstance(gold, Value | Many)
        and isinstance(found, Value | Many)
        and isinstance(gold, Value) != isinstance(found, Value)
    ):
        vector, beside = (found, gold) if isinstance(gold, Value) else (gold, found)
        if (
            isinstance(vector, Many)
            and vector.kind in ("tuple", "bracket")
            and isinstance(beside, Value)
            and re.search(r"(?<![\\a-zA-Z])[jk](?![a-zA-Z])", beside.text)
        ):
            return _vectors(gold, found, lenient)
    if isinstance(gold, Value) and isinstance(found, Many):
        return _for_one(gold, found, lenient, read)
    if isinstance(found, Value) and isinstance(gold, Many):
        if gold.kind in ("set", "list") and len(gold.items) == 1 and forms(gold.items[0], found, lenient, read)[0]:
            return taken(lenient, "a value for a set")
        return False, f"one answer for {len(gold.items)}"
    assert isinstance(gold, Many) and isinstance(found, Many)
    kinds = {gold.kind, found.kind}
    named = [any(isinstance(item, Named) for item in side.items) for side in (gold, found)]
    if not lenient and named[1] and not named[0]:
        return False, "names, `x = ...`; strict takes the values alone"
    if kinds in ({"tuple", "set"}, {"bracket", "set"}):
        return False, "an ordered tuple is no set"
    if gold.kind != found.kind and kinds != {"list", "set"}:
        return taken(lenient and _ordered(gold, found, lenient, read), f"a {found.kind} for a {gold.kind}")
    if kinds <= {"tuple", "bracket"} or (kinds == {"list"} and named_once(gold) and not any(named[1:])):
        return _ordered(gold, found, lenient, read), ""
    if "set" in kinds:
        there = all(any(forms(one, other, lenient, read)[0] for other in found.items) for one in gold.items)
        back = all(any(forms(one, other, lenient, read)[0] for one in gold.items) for other in found.items)
        return there and back, ""
    return _matched(by_name(gold.items), by_name(found.items), lenient, read), ""


def _for_one(gold: Value, found: Many, lenient: bool, read: bool) -> Outcome:
    """A list or set where one value is expected: a condition behind it, `a_n = 2n - 1, n >= 1`, or the same value several times."""
    first, *others = found.items or (found,)
    if found.kind == "list" and others and not found.either and all(_about_letters_of(gold, one) for one in others):
        return forms(gold, first, lenient, read) if lenient else (False, "a condition; strict takes the value alone")
    fits = (found.kind == "list" and others) or (
        found.kind == "set" and isinstance(first, Value | Named) and not others
    )
    if fits and all(forms(gold, item, lenient, read)[0] for item in found.items):
        return taken(lenient, "a set or several forms for one value")
    return False, f"{len(found.items)} answers for one"


def _about_letters_of(gold: Value, form: Form) -> bool:
    """Whether a condition is on a letter of the expected answer: `n >= 1` beside `2n - 1`."""
    letter = form.letter if isinstance(form, Region) else None
    return letter is not None and re.search(rf"(?<![\\a-zA-Z]){re.escape(letter)}(?![a-zA-Z])", gold.text) is not None


def _ordered(gold: Many, found: Many, lenient: bool, read: bool) -> bool:
    """Item by item. A list that names each, `y = 3, x = 4`, is put into the order of its letters."""
    one, other = by_name(gold.items), by_name(found.items)
    if gold.kind != found.kind:
        one, other = (
            tuple(item.value if isinstance(item, Named) else item for item in items) for items in (one, other)
        )
    return len(one) == len(other) and all(forms(a, b, lenient, read)[0] for a, b in zip(one, other, strict=True))


def _matched(gold: Sequence[Form], found: Sequence[Form], lenient: bool, read: bool) -> bool:
    """Whether the items can be paired, in any order. Equality is taken to be transitive."""
    if len(gold) != len(found):
        return False
    left = list(found)
    for one in gold:
        at = next((at for at, other in enumerate(left) if forms(one, other, lenient, read)[0]), None)
        if at is None:
            return False
        del left[at]
    return True


def _vectors(gold: Form, found: Form, lenient: bool) -> Outcome:
    """A matrix of one row or column for a tuple, or the other way round."""
    if isinstance(gold, Matrix) and isinstance(found, Many | Span) and len(gold.rows) > 1:
        items = found.items if isinstance(found, Many) else [readings(end)[-1] for end in (found.low, found.high)]
        rows = [_entries(item, item) for item in items]
        if all(row is not None and len(row) == len(gold.rows[0]) for row in rows) and len(rows) == len(gold.rows):
            return forms(gold, Matrix(tuple(row for row in rows if row is not None)), lenient)
    one, other = _entries(gold, found), _entries(found, gold)
    equal = one is not None and other is not None and len(one) == len(other)
    equal = equal and all(forms(a, b, lenient)[0] for a, b in zip(one or (), other or (), strict=False))
    return taken(lenient, "a tuple for a vector") if equal else (False, "")


def _entries(form: Form, beside: Form) -> tuple[Form, ...] | None:
    if isinstance(form, Value):
        if column := COLUMN.fullmatch(form.text):
            return Value(column[1]), Value(column[2])
        from rlzoo.verifiers import symbolic

        size = len(_entries(beside, beside) or ()) if not isinstance(beside, Value) else 0
        return tuple(map(Value, symbolic.coordinates(form.text, size) or ())) or None
    if isinstance(form, Many):
        return form.items if form.kind in ("tuple", "bracket", "list") else None
    if isinstance(form, Span):
        return (Value(form.low), Value(form.high)) if form.low_closed and form.high_closed else None
    if isinstance(form, Matrix):
        if len(form.rows) == 1:
            return form.rows[0]
        return tuple(row[0] for row in form.rows) if len(form.rows[0]) == 1 else None
    return None


def _regions(gold: Form, found: Form, lenient: bool, read: bool) -> Outcome:
    one, other = _region(gold, found), _region(found, gold)
    if one is None or other is None:
        return _vectors(gold, found, lenient) if isinstance(gold, Matrix) or isinstance(found, Matrix) else (False, "")
    if one.letter is not None and other.letter is not None and one.letter != other.letter:
        return False, f"{other.letter} for {one.letter}"
    if one.holes != other.holes:
        one, other = punctured(one), punctured(other)
        if one is None or other is None:
            return False, ""
    if one.holes:
        equal = forms(one.parts[0], other.parts[0], lenient, read)[0]
    else:
        equal = _matched_parts(one.parts, other.parts, lenient, read)
    if equal and (one.letter is None) != (other.letter is None):
        return taken(lenient, "an inequality for an interval" if other.letter else "an interval for an inequality")
    return equal, ""


def _region(form: Form, beside: Form) -> Region | None:
    if isinstance(form, Region):
        return form
    if isinstance(form, Span):
        return Region((form,))
    opened = isinstance(beside, Span) and not beside.low_closed and not beside.high_closed  # `]1,2[`
    if isinstance(form, Many) and (opened or isinstance(beside, Region)):
        parts = [as_parts(item) for item in (form.items if form.kind == "list" else (form,))]
        spans = [part for one in parts for part in one or () if isinstance(part, Span)]
        return Region(tuple(spans)) if spans and len(spans) == len(parts) else None
    return None


def _matched_parts(gold: Sequence[Span | Many], found: Sequence[Span | Many], lenient: bool, read: bool) -> bool:
    left = list(found)
    for one in gold:
        at = next((at for at, other in enumerate(left) if _same_part(one, other, lenient, read)), None)
        if at is None:
            return False
        del left[at]
    return not left


def _same_part(one: Span | Many, other: Span | Many, lenient: bool, read: bool) -> bool:
    if isinstance(one, Many) or isinstance(other, Many):
        return isinstance(one, Many) and isinstance(other, Many) and forms(one, other, lenient, read)[0]
    if (one.low_closed, one.high_closed) != (other.low_closed, other.high_closed):
        return False
    return _same_end(one.low, other.low, lenient, read) and _same_end(one.high, other.high, lenient, read)


def _same_end(one: str, other: str, lenient: bool, read: bool) -> bool:
    if is_infinite(one) or is_infinite(other):
        return is_infinite(one) and is_infinite(other) and plain(one).startswith("-") == plain(other).startswith("-")
    return values(one, other, lenient, read)[0]
