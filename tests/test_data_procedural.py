"""The embedded problems: right by their own verifiers, and split so that no problem is in two splits."""

from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from random import Random

import pytest

from rlzoo import configure
from rlzoo.data.procedural import Procedural, code, logic, maths
from rlzoo.data.procedural.base import Work
from rlzoo.data.procedural.logic import _order, _truth
from rlzoo.data.source import SPLITS, ProblemSource, split_of
from rlzoo.errors import ConfigError
from rlzoo.registry import build_verifier
from rlzoo.types import text_of

SOURCES = [maths(), code(), logic()]
JUDGE = {name: build_verifier(name).judge for name in ("maths", "code", "logic")}
MANY = 2_000

each_source = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)


def keys(source: Procedural, split, count: int) -> set[str]:
    size = source.size(split)
    return {source.key(split, index) for index in range(count if size is None else size)}


def forms(source: Procedural, split) -> set[str]:
    size = source.size(split)
    return {f"form of {source.form(split, index)}" for index in range(MANY if size is None else size)}


def overlap(source: Procedural) -> set[str]:
    """Keys and forms that two splits share."""
    held = {split: keys(source, split, MANY) | forms(source, split) for split in SPLITS}
    return (held["train"] & held["test"]) | (held["train"] & held["validation"]) | (held["validation"] & held["test"])


@each_source
def test_it_is_a_source(source: Procedural):
    assert isinstance(source, ProblemSource)
    assert len(source.levels) >= 3


@each_source
def test_every_worked_solution_is_correct(source: Procedural):
    for split, index in [*product(("test", "validation"), range(400)), *product(("train",), range(MANY))]:
        problem = source.problem(split, index)
        verdict = JUDGE[source.name](problem, problem.solution or "")
        assert verdict.correct, (problem, verdict)
        assert verdict.extracted == problem.answer


@each_source
def test_every_flawed_solution_is_wrong(source: Procedural):
    rng = Random(0)
    for index in range(MANY):
        problem = source.problem("train", index)
        flawed = source.flawed("train", index, rng)
        verdict = JUDGE[source.name](problem, flawed.solution)
        assert verdict.status == "wrong", (problem, flawed, verdict)
        assert verdict.extracted == flawed.answer


@each_source
def test_sizes_that_the_default_model_was_made_for(source: Procedural):
    for index in range(MANY):
        problem = source.problem("train", index)
        assert len(text_of(problem.messages[0])) <= 26
        assert len(problem.solution or "") < 32


@each_source
def test_splits_share_no_problem(source: Procedural):
    assert overlap(source) == set()


@each_source
def test_an_altered_rule_would_be_caught(source: Procedural):
    """The test above is not empty: with a rule that puts every key in every split, it finds shared ones."""

    class Anything(str):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = str.__hash__

    leaky = Procedural(name=source.name, levels=source.levels, split_of=lambda key: Anything("train"))  # type: ignore[arg-type]
    assert overlap(leaky)


@pytest.mark.parametrize(
    ("source", "level", "one", "other"),
    [
        (maths(), "1", "30+4-2=?", "4+30-2=?"),
        (maths(), "1", "30+4-2=?", "30-2+4=?"),
        (maths(), "2", "7*8+5=?", "5+8*7=?"),
        (logic(), "2", "(p&q)|!p", "(q&p)|!p"),
    ],
)
def test_ways_of_writing_a_problem_share_its_key(source: Procedural, level: str, one: str, other: str):
    """Found by drawing until both came up; what is drawn together with them does not matter."""
    rng, found = Random(0), {}
    for _ in range(2_000_000):
        task = source.levels[level](rng)
        if task.question in (one, other):
            found[task.question] = task.key
        if len(found) == 2:
            break
    assert found[one] == found[other]


@each_source
@pytest.mark.parametrize("split", ["test", "validation"])
def test_every_level_holds_many_forms(source: Procedural, split):
    """So that a level's accuracy is not that of a few problems under other names."""
    size = source.size(split)
    assert size is not None
    held: dict[str | None, set[str]] = {}
    for index in range(size):
        held.setdefault(source.problem(split, index).level, set()).add(source.form(split, index))
    assert min(map(len, held.values())) >= 10


def test_the_page_tells_how_many_problems_and_forms_are_tested():
    """docs/data.md, by source and level; and how many of them the default run takes."""
    text = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
    rows = [line.split(" | ")[1:] for line in text.splitlines() if line.startswith("| tested: problems, forms |")]
    told = [[tuple(map(int, cell.strip(" |").split(", "))) for cell in row] for row in rows]
    counted = []
    for source in SOURCES:
        held: dict[str | None, list[str]] = {level: [] for level in source.levels}
        for index in range(source.size("test") or 0):
            held[source.problem("test", index).level].append(source.form("test", index))
        counted.append([(len(found), len(set(found))) for found in held.values()])
    assert told == counted
    asked = configure.load(algo="grpo").eval.problems_per_level
    taken, whole = (sum(min(most, count) for row in counted for count, _ in row) for most in (asked, 10**6))
    assert f"tested on {asked} problems of each level, {taken:,} of these {whole:,}" in text


def renamed(text: str) -> str:
    """With a, b, c, ... for names in the order in which they come up."""
    names = list(dict.fromkeys(char for char in text if char.isalpha()))
    return text.translate(str.maketrans("".join(names), "abcde"[: len(names)]))


def test_no_test_problem_of_logic_is_a_training_problem_under_other_names():
    """By the text alone."""
    source = logic()
    trained = {renamed(text_of(source.problem("train", n).messages[0])) for n in range(6_000)}
    tested = [renamed(text_of(source.problem("test", n).messages[0])) for n in range(source.size("test") or 0)]
    assert not trained & set(tested)


def test_no_test_function_is_a_training_function():
    source = code()
    trained = {source.problem("train", n).answer for n in range(6_000)}
    assert not trained & {source.problem("test", n).answer for n in range(source.size("test") or 0)}


@pytest.mark.parametrize(("level", "items", "said"), [("1", 3, {3, 4}), ("3", 4, {4, 5}), ("4", 5, {4, 5})])
def test_exactly_one_order_keeps_every_comparison(level: str, items: int, said: set[int]):
    counts = set()
    for seed in range(100):
        task = logic().levels[level](Random(seed))
        pairs = [
            (one, other) if sign == "<" else (other, one) for one, sign, other in map(tuple, task.question.split(","))
        ]
        fits = [
            "".join(order)
            for order in permutations({name for pair in pairs for name in pair})
            if all(order.index(low) < order.index(high) for low, high in pairs)
        ]
        assert fits == [task.solve(Work())], task.question
        assert len(fits[0]) == items
        assert len(set(task.question.split(","))) == len(pairs)
        counts.add(len(pairs))
    assert counts == said


def test_letters_make_no_new_form_of_an_order():
    tasks = [_order(Random(seed), 2, (0, 1)) for seed in range(300)]
    by_form: dict[str | None, set[str]] = {}
    for task in tasks:
        by_form.setdefault(task.form, set()).add(renamed(task.question))
    # One comparison of two items in either wording, or both of them in either order.
    assert set(by_form) == {"{0}<{1}", "{1}>{0}", "{0}<{1},{1}>{0}", "{1}>{0},{0}<{1}"}
    assert all(len(texts) == 1 for texts in by_form.values())


def test_forms_of_truth_tables():
    found = {task.question: task.form for task in (_truth(Random(seed), (3,)) for seed in range(20_000))}
    same = ("(p&q)|!p", "(q&p)|!p", "(t&s)|!t", "(p&q)|!q")
    assert {found[question] for question in same} == {"(!a|(a&b))"}
    assert found["(p&q)|!p"] != found["(!p&q)|p"]
    assert found["(p&q)|!p"] != found["(p|q)&!p"]


@each_source
@pytest.mark.parametrize("split", ["test", "validation"])
def test_held_out_sets_are_finite_balanced_and_without_duplicates(source: Procedural, split):
    size = source.size(split)
    assert size is not None
    problems = [source.problem(split, index) for index in range(size)]
    assert len({problem.id for problem in problems}) == len({text_of(p.messages[0]) for p in problems}) == size
    assert len(keys(source, split, size)) == size
    levels = [problem.level for problem in problems]
    assert {levels.count(level) for level in source.levels} == {source.held_out_per_level}
    with pytest.raises(IndexError, match=f"has no problem {size}"):
        source.problem(split, size)


@each_source
def test_access_is_random_and_equal_in_every_build(source: Procedural):
    again = replace(source)
    assert [again.problem("train", i) for i in (7, 3)] == [source.problem("train", i) for i in (7, 3)]
    assert again.fingerprint() == source.fingerprint()


def test_leaving_levels_out_changes_no_other_problem():
    some = maths(["2", "4"])
    assert [some.problem("test", i) for i in (0, 1)] == [maths().problem("test", i) for i in (1, 3)]
    assert some.fingerprint() != maths().fingerprint()
    with pytest.raises(ConfigError, match="maths has no level '9'"):
        maths(["9"])


def test_shares_of_the_splits():
    splits = [split_of(str(key)) for key in range(10_000)]
    # Binomial: the standard error of each share is 0.003.
    assert splits.count("test") == pytest.approx(1_000, abs=100)
    assert splits.count("validation") == pytest.approx(1_000, abs=100)


def test_a_slip_is_carried_on():
    work = Work(Random(0), slip_at=0)
    total = work.calc(work.calc(30, "+", 8), "-", 4)
    first, second = work.steps
    wrong = int(first)
    assert wrong != 38
    assert second == f"{wrong - 4}"
    assert total == wrong - 4
