r"""Words beside a value: which of them name it, `\text{Area} = 12`, `\text{Total: }7`, and which say what it counts, `7 \text{ red apples}`.

Other words make another value of it, or doubt it: `\text{minus }7`, `\text{wrong} = 7`, `7 tenths`, `7 \text{ is wrong}`.
"""

import re

_NUMERALS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty"""
NUMERALS = {name: number for number, name in enumerate(_NUMERALS.split())}
_TENS = "thirty forty fifty sixty seventy eighty ninety score gross"
TENS = frozenset(_TENS.split())
_PARTS = r"hal(?:f|ves)|(?:quarter|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|twelfth|hundredth|thousandth|millionth|billionth)s?"
FRACTION = re.compile(rf"(?:.*[\s-])?(?:{_PARTS}|negative|positive)(?:\s+of\b.*)?")
"""What makes a part of a number: `tenths`, `hundredths of a second`; `fifth graders` are counted."""
_DOUBT = """not no nor never neither none isn't aren't wasn't cannot can't wrong incorrect false untrue mistaken maybe perhaps possibly probably likely guess guessed
    wait or either versus vs rather alternatively instead otherwise but except unless unlike without if could might may than but doubt doubtful unsure"""
DOUBT = frozenset(_DOUBT.split())
_SIGNS = """minus plus negative positive twice thrice double triple half squared cubed factorial remainder below under beyond exceeding above beneath
    nearly almost multiples divisible reciprocal inverse opposite modulo mod other less more fewer greater smaller least most over between up"""
SIGNS = frozenset(_SIGNS.split())
"""Words that work something out, or bound it."""
_CLAUSE = "is are was were be equals does did has had then because since so therefore and"
CLAUSE = frozenset(_CLAUSE.split())
"""Words that make a sentence of what should be one noun with what belongs to it."""
_COUNTED = "minus plus squared cubed factorial remainder below under above beneath beyond permille promille basis bps modulo mod"
NEVER_COUNTED = DOUBT | TENS | NUMERALS.keys() | CLAUSE | frozenset(_COUNTED.split())
PER_MANY = re.compile(r"\bper\s+(?:mille?|hundred|thousand|million|billion)\b")
NOUN = re.compile(r"[^\d,;:?!=<>]*")
LONGEST_NOUN = 8
"""Words of what is counted."""
_LEADS = """so thus hence therefore approximately approx about exactly precisely only just total answer rs rs. inr usd eur gbp us day year month week hour minute
    step term level round grade page room row column figure case box door player person team number point line class group stage game question problem"""
LEADS = frozenset(_LEADS.split())
LEAD = re.compile(
    r"(?:and |so |thus |hence |therefore )?(?:a total of|in total|there (?:are|is|were|was)|(?:we|he|she|they|it|you) (?:get|gets|have|has|had|is|are))"
)
"""Words before a value that add nothing to it."""
TOLD = re.compile(r"(?P<name>.*?)\s*(?:[:=]|\b(?:is|are|was|were|equals|be))")
LONGEST_NAME = 12


def counted(text: str) -> bool:
    """Whether words behind a number say what it counts or measures: one noun with what belongs to it."""
    words = text.lower().replace("’", "'")
    parts = [part.strip(".()-'\"") for part in words.split()]
    if not NOUN.fullmatch(words) or len(parts) > LONGEST_NOUN or NEVER_COUNTED & {*parts} or PER_MANY.search(words):
        return False
    return FRACTION.fullmatch(" ".join(part for part in parts if part)) is None


def named(text: str) -> bool:
    """Whether words may be a value's name: `Area`, `the total cost`; not `not`, `minus`, `eight`."""
    words = re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)?", text.lower().replace("’", "'"))
    return bool(words) and len(words) <= LONGEST_NAME and not (DOUBT | SIGNS | TENS | NUMERALS.keys()) & {*words}


def leads(text: str) -> bool:
    """Whether words before a value leave it as it is: they name it (`Area =`, `the total is`, `Total:`) or add nothing (`about`)."""
    bare = " ".join(text.lower().split()).strip(",")
    if told := TOLD.fullmatch(bare):
        return named(told["name"]) or not told["name"]
    return bare in LEADS or LEAD.fullmatch(bare) is not None or not re.search("[a-z]", bare)
