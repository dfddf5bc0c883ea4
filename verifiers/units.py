r"""What a quantity is measured in: `5\text{ cm}`, `60^\circ`, `\$18.90`, `12 square inches`, `2 hours 30 minutes`.

A unit is its dimensions and its size in base units. Words that name none (`5 apples`) are a unit without dimensions, which goes with
every other. Letters alone are a unit only where they are marked as text or the expected answer says so: `10m` is ten times m.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from rlzoo.verifiers import phrases

Dimensions = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Unit:
    name: str
    """As it is written, for messages."""
    dimensions: Dimensions | None
    """Powers of base dimensions; None for a word that is no unit that is known."""
    size: Fraction = Fraction(1)
    """How many base units it is, `times` included."""
    times: Fraction = Fraction(1)
    """What a word such as `million` multiplies it by."""
    power: int | None = None
    """Of a length: 2 for an area, also in `square units`; None for what is no length."""


def _table() -> dict[str, tuple[Dimensions, Fraction]]:
    """Known units by each of their names."""
    found: dict[str, tuple[Dimensions, Fraction]] = {}
    for dimension, lines in BASE.items():
        for names, of_it in lines:
            power = 3 if dimension == "volume" else 1
            base = "length" if dimension == "volume" else dimension
            for name in names.split():
                found[name] = (((base, power),), Fraction(of_it))
    for name, hectares in (
        ("ha", "10000"),
        ("hectare", "10000"),
        ("hectares", "10000"),
        ("acre", "4046.8564224"),
        ("acres", "4046.8564224"),
    ):
        found[name] = ((("length", 2),), Fraction(hectares))
    for names, parts in COMPOUND.items():
        dimensions: dict[str, int] = {}
        size = Fraction(1)
        for part, power in parts:
            ((base, one),), factor = found[part]
            dimensions[base] = dimensions.get(base, 0) + one * power
            size *= factor**power
        for name in names.split():
            found[name] = (tuple(sorted(dimensions.items())), size)
    return found


BASE: Mapping[str, tuple[tuple[str, str], ...]] = {
    "length": (
        ("m meter meters metre metres", "1"), ("cm centimeter centimeters centimetre centimetres", "1/100"),
        ("mm millimeter millimeters millimetre millimetres", "1/1000"), ("dm decimeter decimeters decimetre decimetres", "1/10"),
        ("km kilometer kilometers kilometre kilometres", "1000"), ("in inch inches", "127/5000"), ("ft foot feet", "381/1250"),
        ("yd yard yards", "1143/1250"), ("mi mile miles", "201168/125"), ("nm nanometer nanometers nanometre nanometres", "1/1000000000"),
        ("μm µm um micrometer micrometers micrometre micrometres micron microns", "1/1000000"),
    ),
    "mass": (
        ("g gram grams gramme grammes", "1"), ("kg kilogram kilograms", "1000"), ("mg milligram milligrams", "1/1000"),
        ("lb lbs pound pounds", "45359237/100000"), ("oz ounce ounces", "45359237/1600000"), ("tonne tonnes", "1000000"), ("μg µg microgram micrograms", "1/1000000"), ("ton tons", "907184.74"),
    ),
    "time": (
        ("s sec secs second seconds", "1"), ("min mins minute minutes", "60"), ("h hr hrs hour hours", "3600"), ("d day days", "86400"),
        ("week weeks wk wks", "604800"), ("ms millisecond milliseconds", "1/1000"),
    ),
    "months": (("month months mo mos", "1"), ("yr yrs year years", "12"), ("decade decades", "120"), ("century centuries", "1200")),
    "money": (("$ dollar dollars usd", "1"), ("cent cents ¢", "1/100")),
    "euro": (("€ euro euros eur", "1"),),
    "yen": (("¥ yen", "1"),),
    "rupee": (("₹ rupee rupees", "1"),),
    "sterling": (("£ gbp", "1"), ("pence", "1/100")),
    "angle": (("° degree degrees deg", "1"),),
    "radian": (("rad rads radian radians", "1"),),
    "celsius": (("°c celsius", "1"),),
    "fahrenheit": (("°f fahrenheit", "1"),),
    "volume": (
        ("l liter liters litre litres", "1/1000"), ("ml milliliter milliliters millilitre millilitres", "1/1000000"), ("cl centiliter centiliters centilitre centilitres", "1/100000"), ("dl deciliter deciliters decilitre decilitres", "1/10000"),
        ("gallon gallons gal", "473176473/125000000000"), ("quart quarts", "473176473/500000000000"),
        ("pint pints", "473176473/1000000000000"), ("cup cups", "473176473/2000000000000"),
    ),
    "newton": (("n newton newtons", "1"), ("kn kilonewton kilonewtons", "1000")), "mole": (("mol mole moles", "1"),), "kelvin": (("k kelvin kelvins", "1"),),
    "joule": (("j joule joules", "1"), ("kj kilojoule kilojoules", "1000")), "watt": (("w watt watts", "1"), ("kw kilowatt kilowatts", "1000")),
    "volt": (("v volt volts", "1"),), "hertz": (("hz hertz", "1"), ("khz kilohertz", "1000")), "ampere": (("a amp amps ampere amperes", "1"), ("ma milliampere milliamperes", "1/1000")),
    "ohm": (("Ω ohm ohms", "1"), ("kΩ kiloohm kiloohms kilohm kilohms", "1000")), "pascal": (("pa pascal pascals", "1"), ("kpa kilopascal kilopascals", "1000")),
    "byte": (("byte bytes", "1"), ("kb kilobyte kilobytes", "1000"), ("mb megabyte megabytes", "1000000"), ("gb gigabyte gigabytes", "1000000000")),
}  # fmt: skip
"""Units of each dimension with their size, exactly."""
COMPOUND: Mapping[str, tuple[tuple[str, int], ...]] = {
    "mph": (("mi", 1), ("h", -1)),
    "kph kmph kmh": (("km", 1), ("h", -1)),
    "mps": (("m", 1), ("s", -1)),
    "fps": (("ft", 1), ("s", -1)),
}
KNOWN = _table()
TIMES = {
    "hundred": 10**2,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
    "dozens": 12,
}
POWERS = {"square": 2, "squared": 2, "sq": 2, "cubic": 3, "cubed": 3, "cu": 3}
FEW_LETTERS = frozenset("msgh")
"""Letters that are a unit behind a number where none is expected."""
ALL_LETTERS = frozenset("msghdlLJNWVAK")
"""Letters that are one where the other answer has one."""
EMPTY = frozenset(("unit", "units", "of", "a", "an", "the", "each", "in", "total", "about", "only"))
"""Words that say nothing about what is measured."""
_GENERIC = """unit way arrangement combination permutation item thing people person solution piece time total number pair triple set possibility outcome
    possibilitie in of the an to per each choice object different distinct value integer point term element case million thousand hundred
    billion trillion dozen square cubic sq"""
GENERIC = frozenset(_GENERIC.split())
"""Nouns, without their s, that go with every other."""
_NO_UNIT = "sqrt sin cos tan cot sec csc ln log exp pi infty frac cdot times div pm mp and or mod max cup cap infinity le ge ne approx to"
NO_UNIT = frozenset(_NO_UNIT.split())
WORD = re.compile(
    r"\\text\{(?P<text>[^{}]*)\}|(?P<degree>\^ ?\{? ?\\circ ?\}?(?: ?[CF](?![a-zA-Z]))?)|(?P<ohm>\\Omega)|(?P<word>[a-zA-Zμµ€£$¥₹¢]+\.?)"
    r"(?P<raised>[23](?!\d))?|(?P<power>\^ ?\{? ?-?\d ?\}?)|(?P<sign>\\cdot|[-/*()])|\s+"
)
HEDGE = re.compile(r"\d|\b(?:and|or|not|but|maybe|perhaps|except|unless|if|than|then|otherwise|could|might|may)\b")
"""Text that says more than a unit does: `5\\text{ or six}`."""
MARKS = re.compile(r"\^\{?-?\d\}?|(?<=[a-zμµ])[23](?![a-z\d])|[*\\·]|(?<=[a-z])/|/(?=[a-z])")
POWER_BEHIND = re.compile(r"(\b[a-zμµ]+)\s+(?:squared|cubed)\b")
"""`meters squared`; `5 squared` alone is a calculation."""
TRIGONOMETRY = re.compile(r"(?:sin|cos|tan|cot|sec|csc)(?:\^\{?\d\}?)? ?[({]?[\d.]+$")
"""Degrees after it belong to the function's argument."""
QUANTITY = re.compile(r"\s*(?:and\s+)?(\d+(?:\.\d+)?)\s*((?:\\text\{[^{}]*\}|[a-zA-Z]+\.?)+)\s*,?")
SHORT_TIME = re.compile(r"(\d+) ?h ?([0-5]?\d)(?: ?m)?")
FEET = re.compile(r"(\d+) ?(?:'|\^ ?\{? ?\\prime ?\}?) ?(\d+) ?(?:\"|''|”|\^ ?\{? ?\\prime ?\\prime ?\}?)")


def split(text: str, letters: frozenset[str] = frozenset()) -> tuple[str, Unit | None]:
    r"""The value of a quantity as it is written, and its unit; (text, None) for a text without one. `text` is clean.

    `letters`: these count as units without being marked as text.
    """
    text, money = _currency(text.strip())
    if money is not None:
        value, unit = split(text, letters)
        if unit is None or unit.dimensions not in (None, money.dimensions):
            return value, money
        return value, unit if unit.dimensions else replace(money, size=money.size * unit.times, times=unit.times)
    at = len(text)
    for start in _boundaries(text):
        words = list(_words(text[start:], letters))
        if not words and text[start:].strip():
            break
        at = start
    value, tail = text[:at].strip(), text[at:].strip()
    if not tail or not value or not any(sign.isdigit() or sign == "\\" for sign in value):
        return text, None
    if TRIGONOMETRY.search(value) or value.endswith(("^", "_", "\\", "+", "-", "*", "/", "(", "=")):
        return text, None
    return value, _unit(tail, letters)


def _currency(text: str) -> tuple[str, Unit | None]:
    """The text without a currency sign in front of its number, and the currency."""
    found = re.match(
        r"(-?)\s*(?:\\text\{)?(?:US|CA|A)?\s*([€£$¥₹]|\\pounds|\\euro|USD|EUR|GBP)\s*\}?\s*(?=[\d.\\])", text
    )
    if not found:
        return text, None
    sign = {"\\pounds": "£", "\\euro": "€", "USD": "$", "EUR": "€", "GBP": "£"}.get(found[2], found[2])
    return found[1] + text[found.end() :], Unit(sign, *KNOWN[sign])


def _boundaries(text: str) -> Iterator[int]:
    """Places, from the end, where a value may end and its unit begin."""
    at = len(text)
    while at > 0:
        found = None
        for pattern in _TAILS:
            found = pattern.search(text, max(0, at - 80), at)
            if found:
                break
        if not found:
            return
        at = found.start()
        yield at


_TAILS = tuple(
    re.compile(pattern + r"\s*$")
    for pattern in (
        r"\\text\{[^{}]*\}\s*(?:\^\s*\{? ?-?[1-4] ?\}?)?",
        r"\^\s*\{?\s*\\circ\s*\}?\s*(?:\\text\{\s*[CF]\s*\}|[CF](?![a-zA-Z]))?",
        r"\\Omega",
        r"(?<![\\a-zA-Z_^{])[a-zA-Zμµ€£$¥₹¢]+\.?(?:\^\s*\{? ?-?[1-4] ?\}?|[23])?",
        r"(?<=[a-zA-Z}])\s*(?:/|\\cdot|-)",
        r"\(\s*(?:\\text\{[^{}]*\}|[a-zA-Z ]+)\s*\)",
    )
)


def _words(text: str, letters: frozenset[str]) -> Iterator[str]:
    """The unit's words if that is what the text holds; none if any part of it is something else."""
    found: list[str] = []
    at = 0
    while at < len(text):
        part = WORD.match(text, at)
        if part is None:
            return
        at = part.end()
        if part["text"] is not None:
            if HEDGE.search(part["text"]):
                return
            found.append(part["text"])
        elif part["degree"]:
            found.append("°" + re.sub(r"[^CF]", "", part["degree"]))
        elif part["ohm"]:
            found.append("Ω")
        elif part["word"]:
            word = part["word"].rstrip(".")
            known = word.lower() in KNOWN if len(word) > 1 or not word.isascii() or word == "$" else word in letters
            known = known or word.lower() in POWERS
            if word.lower() in NO_UNIT or not (known or (len(word) > 2 and word.isalpha())):
                return
            found.append(f"{word}^{part['raised']}" if part["raised"] else word)
        elif part["power"] or part["sign"]:
            found.append(re.sub(r"[\s{}]", "", part[0]))
    told = " ".join(found).lower()
    measured = POWER_BEHIND.sub(r"\1", MARKS.sub(" ", told))
    if phrases.counted(measured):
        yield from found


def _unit(tail: str, letters: frozenset[str]) -> Unit:
    """What a unit's text says."""
    text = " ".join(_words(tail, letters)).lower().replace("ω", "Ω").replace("\\cdot", " ").replace(".", " ")
    text = re.sub(r"\s*\^\s*", "^", re.sub(r"\bper\b", "/", text))
    text = re.sub(r"(?:°|\bdegrees?)\s*(celsius|fahrenheit|[cf])\b", lambda found: f"°{found[1][0]}", text)
    name = " ".join(text.split())
    dimensions: dict[str, int] = {}
    size, sign, power, known, times = Fraction(1), 1, 1, False, Fraction(1)
    last: tuple[Dimensions, Fraction] | None = None
    noun, units_power = False, 1
    for part in re.findall(r"[a-zμµΩ€£$¥₹¢°]+|\^\{?-?\d\}?|/", text):
        if part == "/":
            sign, last = -1, None
        elif part.startswith("^"):
            raised = int(re.sub(r"[^\d-]", "", part))
            units_power = raised if last is None else units_power
            if last is not None:
                size *= _add(dimensions, last, sign * (raised - 1))
        elif part in ("squared", "cubed") and last is not None:
            size *= _add(dimensions, last, sign * (POWERS[part] - 1))
        elif part in POWERS:
            power = POWERS[part]
        elif part in KNOWN:
            last, known = KNOWN[part], True
            size *= _add(dimensions, last, sign * power)
            power = 1
        elif part in ("unit", "units"):
            units_power, power, last = power, 1, None
        elif part in TIMES:
            times *= TIMES[part]
        elif part not in EMPTY:
            noun = True
    if noun or not known:
        of_length = units_power if re.search(r"\bunits?\b", name) and not noun else None
        return Unit(name, None, times, times, of_length)
    left = tuple(sorted((base, one) for base, one in dimensions.items() if one))
    return Unit(name, left, size * times, times, left[0][1] if len(left) == 1 and left[0][0] == "length" else None)


def _add(dimensions: dict[str, int], unit: tuple[Dimensions, Fraction], power: int) -> Fraction:
    for base, one in unit[0]:
        dimensions[base] = dimensions.get(base, 0) + one * power
    return unit[1] ** power


def alike(one: str, other: str) -> bool:
    """Whether what is counted may be the same: `apples` and `apple`, `ways` and `arrangements`, not `boys` and `girls`."""
    words = [{word.rstrip("s") for word in re.findall("[a-z]{2,}", name)} - GENERIC for name in (one, other)]
    return not words[0] or not words[1] or bool(words[0] & words[1])


def total(text: str) -> tuple[Fraction, Unit, Fraction] | None:
    """A sum of quantities, `2 hours 30 minutes`: in the unit of the first, that unit, and how many of the last one it is. None for
    anything else."""
    text = re.sub(r",? and ?\}", "}", text)
    if short := SHORT_TIME.fullmatch(text):
        text = f"{short[1]} hours {short[2]} minutes"
    if feet := FEET.fullmatch(text):
        text = f"{feet[1]} feet {feet[2]} inches"
    at, value, count = 0, Fraction(0), 0
    first: Unit | None = None
    last: Unit | None = None
    while at < len(text):
        found = QUANTITY.match(text, at)
        if found is None:
            return None
        minutes = found[2] == "m" and last is not None and last.dimensions == (("time", 1),)
        unit = _unit("min" if minutes else found[2], ALL_LETTERS)
        if unit.dimensions is None or (
            last is not None and (unit.dimensions != last.dimensions or unit.size >= last.size)
        ):
            return None
        first, last = first or unit, unit
        value += Fraction(found[1]) * unit.size / first.size
        at, count = found.end(), count + 1
    return (value, first, first.size / last.size) if first is not None and last is not None and count > 1 else None
