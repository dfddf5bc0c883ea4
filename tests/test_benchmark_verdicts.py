"""The sets of responses that verdicts are held against, and the script that does it, on a few of their rows.

That a row's `right` is what a careful person says is nothing that a test can show.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support import benchmark

verdicts = benchmark("verdicts")

SIZES = {"maths": (100, 100, 100, 100, 100), "code": (84, 84, 60, 84, 84)}
"""Rows of each part."""
EACH = [(kind, part, size) for kind, sizes in SIZES.items() for part, size in zip(verdicts.PARTS, sizes, strict=False)]
FOUR_AND_CHECKS = dict.fromkeys(verdicts.FORMS[:4], 10) | {"check": 20}
RIGHT = {"third": dict.fromkeys(verdicts.FORMS, 7), "fourth": FOUR_AND_CHECKS, "fifth": FOUR_AND_CHECKS}


@pytest.mark.parametrize(("kind", "part", "size"), EACH)
def test_the_sets_are_well_formed(kind: str, part: str, size: int):
    rows = verdicts.read(kind, part)
    assert len(rows) == size
    assert len({row["id"] for row in rows}) == len(rows)
    assert 0.2 <= sum(not row["right"] for row in rows) / len(rows) <= 0.5
    if kind == "code":
        right = Counter(row["form"] for row in rows if row["right"])
        assert right == RIGHT.get(part, dict.fromkeys(verdicts.FORMS, 10))


ROW = {"id": "a", "problem": "1+1?", "gold": "2", "response": r"\boxed{2}", "right": True, "reason": "two"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"metadata": {"extraction": "final"}}, None),
        ({"right": "yes"}, "right is 'yes'"),
        ({"response": ""}, "no text"),
        ({"golds": "2"}, "unknown: golds"),
    ],
)
def test_faults_of_rows_are_told(changes: dict[str, object], words: str | None):
    fault = verdicts.row_fault("maths", {**ROW, **changes})
    assert fault is None if words is None else words in str(fault)
    assert "gold" in str(verdicts.row_fault("maths", {name: ROW[name] for name in ROW if name != "gold"}))


def test_errors_are_counted_by_hand():
    # Right and correct, right and refused, wrong and accepted, wrong and refused: one error of each kind.
    judged = [
        verdicts.Judged(
            id=f"{n}", part="first", group="final", right=right, correct=correct, told="wrong: no", why="so"
        )
        for n, (right, correct) in enumerate([(True, True), (True, False), (False, True), (False, False)])
    ]
    assert [one.error for one in judged] == [None, "false negative", "false positive", None]
    assert verdicts.table(judged, "policy").splitlines()[-1] == "| `final` | 1 of 2 | 1 of 2 | 2 |"
    measured = {"maths": {"main": judged, "others": []}}
    assert "Wrong by maths, 2 of 4" in verdicts.wrong_verdicts(measured)
    page = "before\n<!-- verdicts: maths -->\nold\n<!-- end -->\nafter <!-- verdicts: code -->\nkept\n<!-- end -->\n"
    fresh = verdicts.into_docs(page, measured)
    assert fresh.startswith("before\n<!-- verdicts: maths -->\n| policy |")
    assert "old" not in fresh and "kept" in fresh
    empty = "<!-- verdicts: maths -->\n<!-- end -->\n\nbetween\n\n<!-- verdicts: code -->\n<!-- end -->\n"
    twice = verdicts.into_docs(verdicts.into_docs(empty, measured), measured)
    assert twice == empty.replace("maths -->\n", f"maths -->\n{verdicts.table(judged, 'policy')}\n")


def test_a_few_rows_are_judged_by_a_runs_pool():
    rows = [("first", {**ROW, "id": f"{n}", "response": rf"\boxed{{{n}}}", "right": n == 2}) for n in range(4)]
    judged = verdicts.judge("maths", rows)
    assert [one.correct for one in judged] == [False, False, True, False]
    assert not any(one.error for one in [*judged, *verdicts.bare(rows)])
    assert str(verdicts.default_policy()) in judged[0].group
    tests = {"kind": "stdio", "inputs": ["2\n"], "outputs": ["4\n"]}
    program = {"id": "p", "form": "stdio", "tests": tests, "response": "```python\nprint(int(input()) * 2)\n```"}
    [one] = verdicts.judge("code", [("first", {**program, "right": True, "reason": "doubles"})])
    assert (one.correct, one.group) == (True, "stdio")
