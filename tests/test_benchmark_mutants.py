"""The mistakes that `benchmarks/mutants.py` makes: each operator by its cases, one place a mutant, and what is chosen against it."""

from __future__ import annotations

import ast
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support import benchmark

operators = benchmark("mutant_operators")
campaign = benchmark("mutants")
ROOT = Path(__file__).resolve().parents[1]


def made(source: str, operator: str) -> list[str]:
    """What an operator makes of a source, in order."""
    found = operators.of_source(source.encode(), "a.py", "engine")
    return [one.applied(source.encode()).decode() for one in found if one.operator == operator]


@pytest.mark.parametrize(
    ("operator", "source", "expected"),
    [
        ("sign", "x = a + b", ["x = (a - b)"]),
        ("sign", "x = -a", ["x = a"]),
        ("sign", "x -= a", ["x += a"]),
        ("off by one", "x = a[1]", ["x = a[2]"]),
        ("off by one", "x = a < b", ["x = (a <= b)"]),
        ("off by one", "x = True", []),
        ("dropped term", "x = a * b", ["x = a", "x = b"]),
        ("dropped term", "x = a - b", ["x = a"]),
        ("dropped term", "x = a.clamp(min=1)", ["x = a"]),
        ("dropped term", "x = a.mean()", []),
        ("dropped term", "def f():\n    x.step()", ["def f():\n    pass"]),
        ("dropped term", "x += 1", ["pass"]),
        ("swapped argument", "x = f(a, b, c)", ["x = f(b, a, c)", "x = f(a, c, b)"]),
        ("swapped argument", "x = f(a, a)", []),
        ("swapped argument", "x = a / b", ["x = (b / a)"]),
        ("swapped argument", "x = a * b", []),
        ("wrong axis", "x = a.sum(1)", ["x = a.sum(0)"]),
        ("wrong axis", "x = a.softmax(-1)", ["x = a.softmax(0)"]),
        ("wrong axis", "x = f.normalize(a, dim=0)", ["x = f.normalize(a, dim=1)"]),
        ("wrong axis", "x = a.item(1)", []),
        ("constant", "x = 0.5", ["x = 1.0"]),
        ("constant", "x = 0.0", ["x = 1.0"]),
        ("constant", "x = True", ["x = False"]),
        ("turned comparison", "x = a < b", ["x = (a > b)"]),
        ("turned comparison", "x = a is None", ["x = (a is not None)"]),
        ("turned comparison", "x = a in b", ["x = (a not in b)"]),
        ("dropped condition", "x = a and b and c", ["x = (b and c)", "x = (a and c)", "x = (a and b)"]),
        ("dropped condition", "x = not a", ["x = a"]),
        ("dropped condition", "x = ~a", ["x = a"]),
        ("dropped condition", "x = a if b else c", ["x = a", "x = c"]),
        ("dropped condition", "x = [a for a in b if c]", ["x = ([a for a in b])"]),
        ("dropped condition", "if a:\n    f()", ["if False:\n    f()", "if True:\n    f()"]),
        ("dropped condition", "while a:\n    f()", ["while False:\n    f()"]),
        ("other reduction", "x = a.mean()", ["x = a.sum()"]),
        ("other reduction", "x = max(a, b)", ["x = min(a, b)"]),
        ("other reduction", "x = sum(a)", []),  # there is no mean among the builtins
    ],
)
def test_what_an_operator_makes(operator: str, source: str, expected: list[str]) -> None:
    assert made(source, operator) == expected


def test_every_operator_is_tried() -> None:
    marks: Any = getattr(test_what_an_operator_makes, "pytestmark", [])
    assert {case[0] for case in marks[0].args[1]} == set(operators.OPERATORS)


@pytest.mark.parametrize(
    "source",
    [
        'x = f"{a + 1}"',
        "def f(a: Tensor[1 + 2]) -> B[1]: ...",
        'raise ValueError("x" + y)',
        "assert a < b",
        "if TYPE_CHECKING:\n    import a",
        "x = f(encoding=a + b)",
        '"""1 + 1"""',
        "@cache(1)\ndef f(): ...",
    ],
)
def test_words_and_types_are_left_alone(source: str) -> None:
    assert operators.of_source(source.encode(), "a.py", "engine") == []


SOURCE = """
LIMIT = 2.5

class Config:
    size: int = 3

def mean(é, b=1):
    if (
        é > b
    ):
        return é / b
    return sum(é, b)
""".lstrip()


def test_each_mutant_differs_in_one_place_and_says_where() -> None:
    found = operators.of_source(SOURCE.encode(), "a.py", "engine")
    assert len({one.id for one in found}) == len(found)
    for one in found:
        source = SOURCE.encode()
        assert source[one.start : one.end].decode() == one.before
        assert one.applied(source) == source[: one.start] + one.after.encode() + source[one.end :]
        assert ast.dump(ast.parse(one.applied(source))) != ast.dump(ast.parse(source))
    by_line = {(one.line, one.first, one.last, one.imported) for one in found}
    # Constants, fields and defaults run at import; a condition over three lines belongs to the head of its statement.
    assert by_line == {
        (1, 1, 1, True),
        (4, 4, 4, True),
        (6, 6, 6, True),
        (8, 7, 9, False),
        (10, 10, 10, False),
        (11, 11, 11, False),
    }


def test_lines_that_move_keep_their_ids() -> None:
    here, moved = (operators.of_source(text.encode(), "a.py", "engine") for text in (SOURCE, f"\n\n{SOURCE}"))
    assert [one.id for one in here] == [one.id for one in moved]
    assert [one.line + 2 for one in here] == [one.line for one in moved]


@pytest.mark.parametrize("path", ["algorithms/cepo.py", "evals/statistics.py", "rlzoo/engine/learning/tally.py"])
def test_mutants_of_real_modules_parse(path: str) -> None:
    source = (ROOT / path).read_bytes()
    for one in operators.of_source(source, path, "engine"):
        ast.parse(one.applied(source))


def test_every_watched_place_is_there() -> None:
    found = operators.watched(ROOT)
    assert set(found.values()) == set(operators.AREAS)
    assert {"rlzoo/engine/trainer.py", "rlzoo/engine/learning/tally.py", "algorithms/grpo.py"} <= set(found)
    assert {"rlzoo/functional.py", "evals/judgement.py"} <= set(found)


# -- what is drawn, and what is tried ---------------------------------------------------------------------


def mutants_of(area: str, lines: int) -> list[Any]:
    source = "".join(f"a{number} = b + {number}\n" for number in range(lines))
    return operators.of_source(source.encode(), f"{area}.py", area)


def test_a_seed_draws_as_many_lines_of_each_area_and_none_twice() -> None:
    found = [one for area in operators.AREAS for one in mutants_of(area, 40)]
    drawn = campaign.drawn(found, 7, 30)
    assert drawn == campaign.drawn(found, 7, 30)
    assert drawn != campaign.drawn(found, 8, 30)
    assert [one.area for one in drawn] == [*operators.AREAS] * 10
    assert len({(one.path, one.line) for one in drawn}) == 30


def test_tests_that_run_the_statement_are_chosen_those_that_run_little_first() -> None:
    (one, *_) = operators.of_source(b"def f():\n    return a + b\n", "a.py", "engine")
    imported = operators.of_source(b"A = 1\n", "a.py", "engine")[0]
    recorded = {
        "wide": {"seconds": 5.0, "lines": {"a.py": [2, 3, 4], "b.py": [1]}},
        "narrow": {"seconds": 1.0, "lines": {"a.py": [2]}},
        "beside": {"seconds": 1.0, "lines": {"a.py": [3]}},
        "elsewhere": {"seconds": 1.0, "lines": {"b.py": [2]}},
        "slow": {"seconds": 90.0, "lines": {"a.py": [2, 3]}},
    }
    assert campaign.tests_of(one, recorded, 30.0) == ["narrow", "wide"]  # the slow one does not fit
    assert campaign.tests_of(imported, recorded, 30.0) == ["beside", "narrow", "wide", "elsewhere"]
    assert campaign.tests_of(one, {"slow": recorded["slow"]}, 30.0) == ["slow"]  # better one that is late than none


def test_what_runs_at_import_is_tried_on_tests_that_run_its_module_and_then_on_all() -> None:
    """A test that reads only a default runs no line of the module, and may stand in any file."""
    imported = operators.of_source(b"A = 1\n", "a.py", "engine")[0]
    recorded = {
        "test_a.py::runs": {"seconds": 1.0, "lines": {"a.py": [2]}},
        "test_a.py::reads": {"seconds": 1.0, "lines": {}},
        "test_b.py::wide": {"seconds": 1.0, "lines": {"b.py": [2, 3, 4]}},
        "test_b.py::other": {"seconds": 1.0, "lines": {"b.py": [2]}},
    }
    first = ["test_a.py::runs", "test_a.py::reads", "test_b.py::other", "test_b.py::wide"]
    assert campaign.tests_of(imported, recorded, 30.0) == first
    assert campaign.tests_of(imported, recorded, 3.0) == first[:3]
    assert (
        campaign.tests_of(imported, {name: recorded[name] for name in first[2:]}, 30.0) == []
    )  # nobody runs the module


def test_the_share_leaves_out_what_was_struck(tmp_path: Path) -> None:
    (one, *_) = mutants_of("engine", 1)
    outcomes = ["noticed"] * 8 + ["survived", "untested", "late"] + ["struck"] * 9
    results = [campaign.Tried(mutant=one, outcome=outcome, by="why") for outcome in outcomes]
    assert campaign.share(results) == 8 / 11
    text = campaign.table(results)
    assert "| engine | 8 | 1 | 1 | 1 | 9 |" in text
    assert text.endswith("noticed: 73% of 11, 0 of them by tests/scale")
    (tmp_path / "equivalent.txt").write_text("# why\n\n0123abcd it is a message\n")
    assert campaign.struck(tmp_path / "equivalent.txt") == {"0123abcd": "it is a message"}
    assert campaign.struck(tmp_path / "none.txt") == {}


@pytest.mark.long
def test_a_mistake_is_tried_in_the_copy_and_taken_back(tmp_path: Path) -> None:
    """A real pytest in a small tree: noticed by its test, survived by one that asserts nothing, untested without any."""
    (tmp_path / "a.py").write_text("def f(x):\n    return x + 1\n")
    (tmp_path / "test_a.py").write_text(
        "import a\ndef test_good():\n    assert a.f(1) == 2\ndef test_idle():\n    a.f(1)\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    long: l\n    gpu: g\n")
    (one, *_) = operators.of_source((tmp_path / "a.py").read_bytes(), "a.py", "engine")
    lines = {"seconds": 0.1, "lines": {"a.py": [2]}}
    for tests, outcome in ((["test_good"], "noticed"), (["test_idle"], "survived"), ([], "untested")):
        tried = campaign.tried(one, tmp_path, {f"test_a.py::{name}": lines for name in tests})
        assert (tried.outcome, tried.tests) == (outcome, len(tests))
    assert campaign.tried(one, tmp_path, {"test_a.py::test_good": lines}).by == "test_a.py::test_good"
    assert (tmp_path / "a.py").read_text() == "def f(x):\n    return x + 1\n"


def small_tree(folder: Path, tests: str) -> Any:
    """A module, its tests, and the first mistake in it."""
    (folder / "a.py").write_text("LIMIT = 1 + 1\n")
    (folder / "test_a.py").write_text(tests)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    long: l\n    gpu: g\n    scale: s\n")
    return operators.of_source((folder / "a.py").read_bytes(), "a.py", "engine")[0]


def test_a_module_that_no_longer_imports_is_noticed(tmp_path: Path) -> None:
    one = small_tree(tmp_path, "import a\ndef test_idle(): pass\n")
    broken = replace(one, after="(1 - '1')")
    lines = {"seconds": 0.1, "lines": {"a.py": [1]}}
    tried = campaign.tried(broken, tmp_path, {"test_a.py::test_idle": lines})
    assert (tried.outcome, tried.by) == ("noticed", "a.py no longer imports")


@pytest.mark.parametrize("tests", ["import nothing_of_this_name\ndef test_idle(): pass\n", "def test_other(): pass\n"])
def test_what_pytest_cannot_collect_notices_nothing(tests: str, tmp_path: Path) -> None:
    """A test file that does not import by itself, and a test that is not there."""
    one = small_tree(tmp_path, tests)
    with pytest.raises(RuntimeError, match="neither noticed nor survived"):
        campaign.tried(one, tmp_path, {"test_a.py::test_idle": {"seconds": 0.1, "lines": {"a.py": [1]}}})
    assert (tmp_path / "a.py").read_text() == "LIMIT = 1 + 1\n"


@pytest.mark.long
def test_a_test_that_fails_alone_notices_nothing(tmp_path: Path) -> None:
    one = small_tree(
        tmp_path, "import a\ndef test_good():\n    assert a.LIMIT == 2\ndef test_broken():\n    assert a.LIMIT == 7\n"
    )
    lines = {"seconds": 0.1, "lines": {"a.py": [1]}}
    results = [campaign.tried(one, tmp_path, {f"test_a.py::{name}": lines}) for name in ("test_good", "test_broken")]
    assert [each.outcome for each in results] == ["noticed", "noticed"]
    held = campaign.held_alone(results, tmp_path)
    assert [each.outcome for each in held] == ["noticed", "survived"]
    assert held[1].by == "test_a.py::test_broken fails without it too"


def test_what_was_noticed_before_need_not_be_tried_again(tmp_path: Path) -> None:
    one, other, *_ = mutants_of("engine", 2)
    noticed = campaign.Tried(mutant=one, outcome="noticed", by="FAILED a", tests=2, seconds=1.5)
    campaign.append(tmp_path / "noticed.jsonl", noticed)
    assert campaign.noticed_before(tmp_path / "noticed.jsonl", [one, other]) == {one.id: noticed}
    assert campaign.noticed_before(tmp_path / "noticed.jsonl", [other]) == {}
    assert campaign.noticed_before(tmp_path / "none.jsonl", [one]) == {}


@pytest.mark.long
def test_a_line_that_only_tests_scale_runs_is_tried_there(tmp_path: Path) -> None:
    folder = tmp_path / "tests/scale"
    folder.mkdir(parents=True)
    (tmp_path / "rlzoo/engine/sampling").mkdir(parents=True)
    module = tmp_path / "rlzoo/engine/sampling/vllm.py"
    module.write_text("LIMIT = 2\n", encoding="utf-8")
    scale = benchmark("mutant_scale")
    mark = "import pytest\npytestmark = pytest.mark.scale\n"
    looks = f"from pathlib import Path\ndef test_limit():\n    assert '2' in Path({str(module)!r}).read_text()\n"
    for names in scale.TESTS.values():
        for name in names:
            (folder / name).write_text(mark + (looks if name == "test_vllm.py" else "def test_idle(): pass\n"))
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nmarkers =\n    scale: x\n    long: x\n    gpu: x\n", encoding="utf-8"
    )
    one = next(m for m in operators.of_source(b"LIMIT = 2\n", "rlzoo/engine/sampling/vllm.py", "engine"))
    tests = scale.ScaleTests(Path(sys.executable), tmp_path)
    last = campaign.tried_at_scale(one, tmp_path, tests)
    assert (last.outcome, last.by) == ("noticed", "tests/scale/test_vllm.py::test_limit")
    assert module.read_text(encoding="utf-8") == "LIMIT = 2\n"
    assert "100% of 1, 1 of them by tests/scale" in campaign.table([last])
    elsewhere = replace(one, path="rlzoo/engine/trainer.py")
    assert campaign.tried_at_scale(elsewhere, tmp_path, tests).outcome == "untested"
    assert campaign.tried_at_scale(one, tmp_path, scale.ScaleTests(tmp_path / "none", tmp_path)).outcome == "untested"
    module.write_text("LIMIT = 3\n", encoding="utf-8")  # tests that fail by themselves notice nothing
    broken = scale.ScaleTests(Path(sys.executable), tmp_path)
    assert campaign.tried_at_scale(one, tmp_path, broken).outcome == "untested"


def test_every_module_that_tests_scale_are_tried_for_is_there() -> None:
    scale = benchmark("mutant_scale")
    assert all((ROOT / module).exists() for module in scale.TESTS)
    assert all((ROOT / "tests/scale" / name).exists() for names in scale.TESTS.values() for name in names)
