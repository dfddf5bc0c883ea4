r"""When two numbers or expressions are equal, with their units, bases and per cent signs."""

import re
from fractions import Fraction

from rlzoo.verifiers import units
from rlzoo.verifiers.clocks import CLOCK
from rlzoo.verifiers.naming import is_sum
from rlzoo.verifiers.notation import as_number, as_repeating, in_per_cent, plain
from rlzoo.verifiers.phrases import NUMERALS

DECIMALS = 6
"""Of lenient equality."""
NEAR = Fraction(5, 10**5)
"""Of the larger value, by how much rounded values may differ: what six decimals are of 0.01."""
Outcome = tuple[bool, str]
"""Whether two answers are equal, and a remark on why not."""
BASE = re.compile(
    r"\(?\s*(?P<digits>[0-9A-Fa-f]{1,60}(?:\.[0-9A-Fa-f]{1,60})?)\s*\)?\s*"
    r"(?:_\s*\{?\s*(?:\\text\{\s*)?\(?\s*(?:base\s*\}?\s*)?|\(?\s*(?:\\text\{)?\s*[(,]?\s*(?:in )?base(?:[- ]|\s*\}\s*)?)"
    r"(?P<base>\d{1,2}|[a-z]{2,12})\s*\)?\s*\}?\s*\)?\s*\}?"
)
BASES = {name: number for name, number in NUMERALS.items() if number >= 2}
RATIO = re.compile(r"[\d.]+(?:(?::|to)[\d.]+)+")
RATIO_FRACTION = re.compile(r"(?:\\frac\{)?(?P<top>\d{1,30})(?:\}\{|/)(?P<bottom>\d{1,30})\}?")
AS_WRITTEN = re.compile(r"\\equiv|\\[pb]?mod|\.\.\.|\\gcd")
"""What is compared as text only."""
CONGRUENCE = re.compile(r"^[a-z] ?\\equiv|[(){} ]|\\text|\\[pb]?mod|mod(?:ulo)?")
EQUATION = re.compile(r"(?<![<>\\!])=")
_POWER = r"(?:\d+|\(?-?\d+\)?|\(?\\frac\{\d+\}\{\d+\}\)?|\(?\d+/\d+\)?|\d+\.\d+)\^\{?\(?-?(?:\d+(?:/\d+)?|\d*\.\d+|\\frac\{-?\d+\}\{\d+\})\)?\}?"
_WHOLE = rf"(?:{_POWER}|\d+)"
_ANGLE = r"\\(?:sin|cos|tan|cot|sec|csc)[({]*(?:\\frac\{\d*\\pi\}\{\d+\}|\d*\\pi(?:/\d+)?|\d+)[)}]*"
_ROOT_OF_UNITY = r"e\^\{(?=[^{}]*i)(?:\\pi|\\cdot|\\frac|[\dik/(){}*])*\}"
NUMERIC = re.compile(
    rf"[+-]?\(?(?:{_POWER}|{_ROOT_OF_UNITY}|\d+!|\\binom\{{\d+\}}\{{\d+\}}|\\sqrt(?:\[\d+\])?\{{\d+\}}|\|-?\d+(?:\.\d+)?\||\\frac\{{{_WHOLE}\}}\{{{_WHOLE}\}}|{_WHOLE}/{_WHOLE}|{_ANGLE})\)?"
)
"""A number in another form: one power, factorial, binomial, root or sine, a root of unity, a fraction of powers. Anything longer is yet to be worked out."""
PRIMES = re.compile(r"(\d{1,6})(?:\^\{?(\d{1,2})\}?)?")
UNITLESS = units.Unit("", None)


def values(gold: str, found: str, lenient: bool, read: bool = False) -> Outcome:
    """Whether two numbers or expressions are equal, units and all."""
    if not read and plain(gold) == plain(found):
        return True, ""
    for special in (_bases, _clocks, _ratios, _totals):
        outcome = special(gold, found, lenient)
        if outcome is not None:
            return outcome
    (bare_gold, unit_gold), (bare_found, unit_found) = _split(gold, found)
    scale = Fraction(1)
    if unit_gold is not None or unit_found is not None:
        fits = _scale(unit_gold, unit_found)
        if fits is None:
            return (
                False,
                f"{unit_found.name if unit_found else 'no unit'} for {unit_gold.name if unit_gold else 'no unit'}",
            )
        scale = fits
        if "%" in gold + found:
            return False, "per cent for a unit"
        if lenient and (turned := _in_radians(bare_gold, unit_gold, bare_found, unit_found)):
            return _expressions(*turned, lenient, read)
        if not lenient and (unit_gold is None or unit_found is None):
            return False, _unit_name(unit_gold, unit_found)
    return _bare(bare_gold, bare_found, scale, lenient, read)


def _split(gold: str, found: str) -> tuple[tuple[str, units.Unit | None], tuple[str, units.Unit | None]]:
    """Both with their units. A letter that is not marked as text is a unit where the other side says so, or is a bare number."""
    one, other = units.split(gold), units.split(found)
    if one[1] is None and other[1] is not None:
        one = units.split(gold, units.ALL_LETTERS)
    elif other[1] is None and (one[1] is not None or as_number(gold) is not None):
        other = units.split(found, units.FEW_LETTERS if one[1] is None else units.ALL_LETTERS)
    return one, other


def _scale(gold: units.Unit | None, found: units.Unit | None) -> Fraction | None:
    """What the found value must be multiplied by to be in the expected unit; None if it can never be."""
    gold, found = gold or UNITLESS, found or UNITLESS
    if None not in (gold.power, found.power) and gold.power != found.power:
        return None
    if {gold.name, found.name} & {"£"} and {gold.name, found.name} & {"pound", "pounds"}:
        return Fraction(1)
    if gold.dimensions is not None and found.dimensions is not None:
        return found.size / gold.size if gold.dimensions == found.dimensions else None
    if gold.dimensions is None and found.dimensions is None and not units.alike(gold.name, found.name):
        return None
    return found.times / gold.times


def _in_radians(
    gold: str, unit_gold: units.Unit | None, found: str, unit_found: units.Unit | None
) -> tuple[str, str] | None:
    """Both angles in radians, where one is in degrees and the other has pi; None elsewhere."""
    sides = [(gold, unit_gold), (found, unit_found)]
    degrees = [unit is not None and unit.dimensions == (("angle", 1),) for _, unit in sides]
    if degrees[0] == degrees[1] or "\\pi" not in sides[degrees.index(False)][0]:
        return None
    one, other = (
        f"\\frac{{({text})\\pi}}{{180}}" if turn else text for (text, _), turn in zip(sides, degrees, strict=True)
    )
    return one, other


def _unit_name(gold: units.Unit | None, found: units.Unit | None) -> str:
    if found is not None:
        what = "degrees" if found.name == "°" or found.name.startswith("degree") else f"a unit ({found.name})"
        return f"{what}, which strict does not take"
    assert gold is not None
    return f"no unit, where strict expects {gold.name}"


def _bare(gold: str, found: str, scale: Fraction, lenient: bool, read: bool) -> Outcome:
    """Values without their units."""
    expected, number = as_number(gold), as_number(found)
    again = as_repeating(found) if number is None else None
    if again is not None and expected is not None and not lenient:
        return False, "a repeating decimal, which strict does not take"
    number = again if number is None else number
    if expected is None and (expected := as_repeating(gold)) is not None and number is not None:
        return expected == number * scale, ""
    if expected is not None and number is not None:
        return close(gold, found, expected, number * scale) if lenient else expected == number * scale, ""
    if expected is not None and not lenient:
        return False, "not written as a number"
    if expected is not None and not EQUATION.search(found) and not _carried_out(found):
        return False, "a calculation that is not carried out"
    if scale != 1:
        found = f"({found})*{scale.numerator}/{scale.denominator}"
    return _expressions(gold, found, lenient, read)


def _carried_out(text: str) -> bool:
    """Whether an expression is a number in another form, or one that no digits can write: `2^{10}`, `2^5 \\cdot 3`, `4\\pi`."""
    from rlzoo.verifiers import latex, points, symbolic

    bare = latex.as_latex(text).replace(" ", "").replace("\\left", "").replace("\\right", "")
    bracketed = re.fullmatch(r"[(\[{](.*)[)\]}]", bare)
    if NUMERIC.fullmatch(bare) or (bracketed and as_number(bracketed[1]) is not None):
        return True
    factors = [PRIMES.fullmatch(part) for part in re.split(r"\\cdot|\\times|\*", bare)]
    powers = [(int(part[1]), int(part[2] or 1)) for part in factors if part]
    if len(powers) == len(factors) > 1 and all(part[2] != "1" for part in factors if part):
        return max(power for _, power in powers) > 1 and points.distinct_primes([base for base, _ in powers])
    try:
        return points.irrational(symbolic.parse(text, True))
    except ValueError:
        return False


def _expressions(gold: str, found: str, lenient: bool, read: bool) -> Outcome:
    from rlzoo.verifiers import symbolic

    if AS_WRITTEN.search(gold):
        one, other = (CONGRUENCE.sub(" " if gold == found else "|", text) for text in (gold, found))
        return re.sub(r"\|+", "|", one).strip("|") == re.sub(r"\|+", "|", other).strip("|"), "compared as text"
    if EQUATION.search(gold) and EQUATION.search(found):
        return symbolic.same_equation(gold, found, lenient)
    if EQUATION.search(found):
        sides = [] if as_number(gold) is not None else EQUATION.split(found)
        if lenient and sides and all(symbolic.same(gold, side, lenient)[0] for side in sides):
            return True, ""  # x^2 - 1 = (x + 1)(x - 1)
        result = _result(found)
        if not lenient or result is None:
            return False, "an equation, which is no value"
        return values(gold, result, lenient, read)
    if lenient and gold.endswith("C") and found.endswith("C") and not read:
        one, other = (re.sub(r"\+\s*C$", "", side) for side in (gold, found))
        if len(one) < len(gold) and len(other) < len(found) and symbolic.same_antiderivative(one, other):
            return True, ""
    return symbolic.same(gold, found, lenient, read=read)


def _result(equation: str) -> str | None:
    """What `a + b = 7` says of its letters; None where they are not only added and multiplied, so that it says something else."""
    left, _, right = equation.rpartition("=")
    return right.strip() if is_sum(left) else None


def close(gold: str, found: str, expected: Fraction, number: Fraction) -> bool:
    """Equal, or rounded to as much where one has a decimal point, or equal but for a per cent sign: 25% for 25, never 0.25% for 0.25."""
    if in_per_cent(gold) != in_per_cent(found) and (100 * number == expected or 100 * expected == number):
        hundredths, whole = (number, expected) if in_per_cent(found) else (expected, number)
        return whole == 100 * hundredths and abs(whole) >= 1
    if expected != number and ("." in gold or "." in found):
        near = abs(expected - number) <= NEAR * max(abs(expected), abs(number))
        return near and round(expected, DECIMALS) == round(number, DECIMALS)
    return expected == number


def taken(lenient: bool, what: str) -> Outcome:
    """What lenient takes, and strict refuses by this name."""
    return lenient, "" if lenient else f"{what}, which strict does not take"


def _bases(gold: str, found: str, lenient: bool) -> Outcome | None:
    """Numbers with their base: `1011_2` equals neither 11 nor `1011_3`."""
    found = re.sub(r"^0x(?=[0-9A-Fa-f]{1,60}$)(.*)", r"\1_{16}", found) if re.search(r"_\s*\{?\s*16", gold) else found
    gold, found = (re.sub(r"^(?:\{|\\text\{)([0-9A-Fa-f]{1,60})\}(?=\s*_)", r"\1", side) for side in (gold, found))
    one, other = BASE.fullmatch(gold), BASE.fullmatch(found)
    if one is None and other is None:
        return None
    base_of = [
        BASES.get(side["base"], int(side["base"]) if side["base"].isdigit() else 0) if side else None
        for side in (one, other)
    ]
    digits = [side["digits"].upper() if side else plain(text).upper() for side, text in ((one, gold), (other, found))]
    if any(base == 0 for base in base_of):
        return None  # an index that is no base
    if one is not None and other is not None:
        return digits[0].lstrip("0") == digits[1].lstrip("0") and base_of[0] == base_of[1], ""
    if base_of == [None, 10]:
        return values(gold, digits[1], lenient)
    if digits[0].lstrip("0") == digits[1].lstrip("0"):
        return taken(lenient, "a number without its base") if one else (False, "a base that is not asked for")
    return False, "another base"


def _clocks(gold: str, found: str, lenient: bool) -> Outcome | None:
    """Times of day; the half of the day may be left out."""
    sides = [CLOCK.fullmatch(re.sub(r"\\text\{([^{}]*)\}", r" \1", text).lower().strip()) for text in (gold, found)]
    one, other = sides
    if one is None or other is None or not (one["half"] or one["minute"]) or not (other["half"] or other["minute"]):
        return None
    if not one["half"] and not other["half"]:
        return None if one["minute"] is None else (one[0] == other[0], "")
    hours = [int(side["hour"]) for side in (one, other)]
    minutes = [int(side["minute"] or 0) for side in (one, other)]
    if one["half"] and other["half"] and one["half"] != other["half"]:
        return False, "the other half of the day"
    for at, (side, beside) in enumerate(((one, other), (other, one))):
        if side["half"] is None and hours[at] > 12:
            hours[at] -= 12
            if beside["half"] == "a":
                return False, "the other half of the day"
    equal = minutes[0] == minutes[1] and hours[0] % 12 == hours[1] % 12
    if equal and (one["half"] is None) != (other["half"] is None):
        return taken(lenient, "a time without its half of the day")
    return equal, ""


def _ratios(gold: str, found: str, lenient: bool) -> Outcome | None:
    """`3:4`, in the same terms."""
    one, other = (re.sub(r"\\text\{([^{}]*)\}", r"\1", text).replace(" ", "") for text in (gold, found))
    ratios = [RATIO.fullmatch(side) is not None for side in (one, other)]
    if ratios[0] != ratios[1]:
        return _as_fraction(*((one, other) if ratios[0] else (other, one)), lenient)
    if not ratios[0]:
        return None
    terms = [[as_number(term) for term in re.split(":|to", side)] for side in (one, other)]
    return terms[0] == terms[1] and None not in terms[0], ""


def _as_fraction(ratio: str, other: str, lenient: bool) -> Outcome | None:
    """`3:4` as \\frac{3}{4}, in the same terms; no decimal, and nothing for what may be a time of day."""
    terms = re.split(":|to", ratio)
    fraction = RATIO_FRACTION.fullmatch(other)
    if fraction is None:
        return (False, "a number for a ratio") if as_number(other) is not None else None
    same_terms = len(terms) == 2 and terms == [fraction["top"], fraction["bottom"]]
    if same_terms and not CLOCK.fullmatch(ratio):
        return taken(lenient, "a ratio for a fraction")
    return False, "a fraction for a ratio, or for a time"


def _totals(gold: str, found: str, lenient: bool) -> Outcome | None:
    """Sums of quantities, `2 hours 30 minutes`; a bare number is in the first unit or the last."""
    sums = [units.total(text) for text in (gold, found)]
    if sums == [None, None]:
        return None
    if plain(gold) == plain(found):
        return True, ""
    sides: list[tuple[Fraction, units.Unit | None]] = []
    for known, text in zip(sums, (gold, found), strict=True):
        value, unit = units.split(text, units.ALL_LETTERS)
        number = as_number(value)
        if known is None and number is None:
            return False, ""
        sides.append(known[:2] if known is not None else (number or Fraction(0), unit))
    (one, unit), (other, beside) = sides
    if unit is None or beside is None:
        whole, last = next((value, smallest) for value, _, smallest in filter(None, sums))
        return (
            taken(lenient, "a quantity for a number")
            if (other if unit else one) in (whole, whole * last)
            else (False, "")
        )
    scale = _scale(unit, beside)
    fits = scale is not None and None not in (unit.dimensions, beside.dimensions) and one == other * scale
    return taken(lenient, "another way to write a quantity") if fits else (False, "")
