"""reasoning-gym's data sets as sources."""

import pytest

from rlzoo.data.gym import source
from rlzoo.data.source import SPLITS, ProblemSource
from rlzoo.errors import DataError, UnknownName
from rlzoo.registry import build_verifier
from rlzoo.types import text_of

verify = build_verifier("reasoning-gym").judge
NAMES = ["basic_arithmetic", "leg_counting", "number_sorting"]


@pytest.mark.parametrize("name", NAMES)
def test_its_own_answers_are_correct_and_others_are_not(name: str):
    made = source(name)
    assert isinstance(made, ProblemSource)
    for index in range(30):
        problem = made.problem("train", index)
        assert verify(problem, f"thinking #{problem.answer}").correct
        assert verify(problem, f"<answer>{problem.answer}</answer>").correct
        assert verify(problem, "#none of it").status == "wrong"
        assert verify(problem, f"{problem.answer}").status == "unparsed"


@pytest.mark.parametrize("name", NAMES)
def test_splits_share_no_question(name: str):
    made = source(name, held_out=40)
    asked = [{text_of(made.problem(split, i).messages[0]) for i in range(made.size(split) or 400)} for split in SPLITS]
    assert len(asked[1]) == len(asked[2]) == 40
    assert not (asked[0] & asked[1] | asked[0] & asked[2] | asked[1] & asked[2])


def test_partial_credit_is_not_correct():
    """leg_counting's scorer gives 0.01 to any number."""
    problem = source("leg_counting").problem("test", 0)
    verdict = verify(problem, f"#{int(problem.answer or 0) + 1}")
    assert (verdict.status, verdict.reward) == ("wrong", 0.0)


def test_equal_in_every_build_and_in_any_order():
    one, other = source("basic_arithmetic"), source("basic_arithmetic")
    late = other.problem("test", 9)
    assert [one.problem("test", i) for i in range(10)][9] == late
    assert one.fingerprint() == other.fingerprint()
    assert source("basic_arithmetic", min_terms=3).fingerprint() != one.fingerprint()


def test_options_reach_the_library():
    short = source("basic_arithmetic", min_terms=2, max_terms=2, domain="sums").problem("train", 0)
    assert short.metadata["entry"]["metadata"]["num_terms"] == 2
    assert short.domain == "sums"


def test_what_the_library_does_not_know_is_refused():
    with pytest.raises(UnknownName, match="Did you mean 'basic_arithmetic'"):
        source("basic_aritmetic")
    with pytest.raises(DataError, match="refuses the options"):
        source("basic_arithmetic", no_such_option=1)
    with pytest.raises(IndexError):
        source("basic_arithmetic", held_out=2).problem("test", 2)


def test_a_data_set_that_is_no_name_is_refused():
    with pytest.raises(UnknownName, match=r"no data set \['a'\]"):
        source(["a"])  # type: ignore[arg-type]
