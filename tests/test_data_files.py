"""Problems from a file of rows."""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from rlzoo.data.files import source
from rlzoo.data.source import SPLITS, ProblemSource
from rlzoo.errors import ConfigError, DataError
from rlzoo.types import Problem

ROWS = [
    {"prompt": "1+1?", "answer": "2", "split": "train"},
    {"prompt": [{"role": "user", "content": "2+2?"}], "answer": 4, "level": 1, "domain": "sums", "split": "test"},
    {"prompt": "f(1)=2", "verifier": "code", "metadata": {"tests": [[1, 2]]}, "id": "mine", "split": "val"},
]


def write(folder: Path, rows: list, name: str = "rows.jsonl") -> str:
    path = folder / name
    if path.suffix == ".parquet":
        text = [{**row, "metadata": json.dumps(row.get("metadata")), "prompt": row["prompt"]} for row in rows]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(text), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    return str(path)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_columns_become_problems(tmp_path: Path, name: str):
    made = source(write(tmp_path, ROWS, name))
    assert isinstance(made, ProblemSource)
    assert made.name == f"file:{name}"
    assert [made.size(split) for split in SPLITS] == [1, 1, 1]
    train, validation, test = (made.problem(split, 0) for split in SPLITS)
    assert train.messages == ({"role": "user", "content": "1+1?"},)
    assert (train.domain, train.answer, train.verifier) == ("rows", "2", "maths")
    assert (test.domain, test.answer, test.level) == ("sums", "4", "1")
    assert (validation.id, validation.verifier, validation.metadata) == ("mine", "code", {"tests": [[1, 2]]})
    assert made.domains == ("rows", "sums")
    assert not made.answers


def test_parquet(tmp_path: Path):
    rows = [{"prompt": f"{n}+1?", "answer": str(n + 1), "metadata": {"n": n}} for n in range(200)]
    made = source(write(tmp_path, rows, "rows.parquet"), domain="maths")
    assert made.domains == ("maths",)
    assert made.answers
    assert sum(made.size(split) for split in SPLITS) == 200
    everything = [made.problem(split, i) for split in SPLITS for i in range(made.size(split))]
    assert sorted(problem.metadata["n"] for problem in everything) == list(range(200))


def test_rows_without_a_split_are_split_by_their_prompt(tmp_path: Path):
    rows = [{"prompt": f"{n}?", "answer": n} for n in range(1_000)]
    made = source(write(tmp_path, rows))
    # Binomial: the standard error of the held-out counts is 9.5.
    assert made.size("test") == pytest.approx(100, abs=40)
    assert made.size("validation") == pytest.approx(100, abs=40)
    backwards = source(write(tmp_path, rows[::-1], "other.jsonl"))

    def prompts(of, split) -> set[str]:
        return {str(of.problem(split, i).messages) for i in range(of.size(split))}

    assert all(prompts(made, split) == prompts(backwards, split) for split in SPLITS)


def test_a_row_again_counts_once_and_another_answer_is_another_problem(tmp_path: Path):
    rows = [{"prompt": "a", "answer": "1"}] * 3 + [
        {"prompt": "a", "answer": "2"},
        {"prompt": "a", "answer": "1", "id": "x"},
    ]
    made = source(write(tmp_path, rows))
    sizes = [made.size(split) for split in SPLITS]
    assert sorted(sizes) == [0, 0, 3], "one prompt keeps to one split"
    split = SPLITS[sizes.index(3)]
    assert len({made.problem(split, i).id for i in range(3)}) == 3
    assert [made.problem(split, i).answer for i in range(3)] == ["1", "2", "1"]
    assert "2 repeated" in made.describe()


@pytest.mark.parametrize(("named", "sizes"), [(["train"] * 40, None), (["train"] * 39 + ["test"], (39, 0, 1))])
def test_rows_that_name_only_train_are_held_out_from_too(tmp_path: Path, named: list[str], sizes):
    made = source(write(tmp_path, [{"prompt": f"{n}?", "answer": n, "split": name} for n, name in enumerate(named)]))
    got = tuple(made.size(split) for split in SPLITS)
    assert sum(got) == 40
    assert got == sizes if sizes else got[1] + got[2] > 0


def test_options_over_the_layout(tmp_path: Path):
    rows = [{"q": "1+1?", "meta": {"final": 2}, "kind": "sums", "hard": 0.25}]
    told = {"prompt": "q", "answer": "meta.final", "domain": "kind", "pass_rate": "hard"}
    made = source(write(tmp_path, rows), columns=told, split="test", instruction=" Box it.", verifier="logic")
    problem = made.problem("test", 0)
    assert problem.messages[0]["content"] == "1+1? Box it."
    assert (problem.answer, problem.domain, problem.verifier) == ("2", "sums", "logic")
    assert problem.metadata["pass_rate"] == 0.25
    assert "prompt from q, answer from meta.final" in made.describe()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colums": {}}, "options.colums: no such setting; did you mean 'columns'?"),
        ({"columns": {"prompts": "q"}}, "options.columns.prompts"),
        ({"skip_bad": 2.0}, "options.skip_bad is 2.0, expected true, false or a share"),
        ({"test": 0.6, "validation": 0.4}, "leaves nothing to train on"),
        ({"layout": "verll"}, "there is no layout 'verll'. Did you mean 'verl'?"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options, message: str):
    with pytest.raises(ConfigError) as error:
        source(write(tmp_path, ROWS), **options)
    assert message in str(error.value)


def test_columns_nobody_knows(tmp_path: Path):
    with pytest.raises(DataError, match=r"columns left, right, which is no layout that is known .*columns: \{prompt: "):
        source(write(tmp_path, [{"left": 1, "right": 2}]))


def test_fingerprint_follows_the_content(tmp_path: Path):
    first = source(write(tmp_path, ROWS)).fingerprint()
    assert source(write(tmp_path, ROWS)).fingerprint() == first
    assert source(write(tmp_path, [{**ROWS[0], "answer": "3"}, *ROWS[1:]])).fingerprint() != first


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answer": "2"}, "no 'prompt': row 2 (the row has answer)"),
        ({"prompt": " ", "answer": "2"}, "'prompt' is empty: row 2"),
        ({"prompt": 7, "answer": "2"}, "'prompt' is int, expected text or a list of messages: row 2"),
        (
            {"prompt": [{"role": "boss", "content": "a"}], "answer": "2"},
            "a message of 'prompt' has no role out of system, developer, user, assistant, tool: row 2 (message 0)",
        ),
        (
            {"prompt": [{"role": "user"}], "answer": "2"},
            "a message of 'prompt' has content of type NoneType, expected text: row 2",
        ),
        ({"prompt": [{"role": "assistant", "content": "a"}], "answer": "2"}, "ends with an assistant turn"),
        ({"prompt": "a"}, "no 'answer': row 2"),
        ({"prompt": "a", "domain": "logic"}, "no 'answer': row 2 (the verifier 'logic'"),
        ({"prompt": "a", "verifier": "logic", "metadata": {"kind": None}}, "no 'answer': row 2 (the verifier 'logic'"),
        ({"prompt": "a", "answer": ["2"]}, "'answer' is list, expected text or a number: row 2"),
        (
            {"prompt": "a", "answer": "2", "split": "exam"},
            "'split' is none of train, validation, valid, val, dev, test: row 2 ('exam')",
        ),
        (
            {"prompt": "a", "answer": "2", "metadata": [1]},
            "'metadata' is list, expected an object or its JSON text: row 2",
        ),
        (["prompt"], "no object: row 2 (holds list"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row, message: str):
    with pytest.raises(DataError) as error:
        source(write(tmp_path, [ROWS[0], row]))
    assert message in str(error.value)
    assert "1 of 2 rows cannot be used" in str(error.value)
    skipping = source(write(tmp_path, [ROWS[0], row]), skip_bad=0.5)
    assert sum(skipping.size(split) for split in SPLITS) == 1


def test_a_puzzle_with_constraints_needs_no_answer(tmp_path: Path):
    row = {"prompt": "a", "verifier": "logic", "metadata": {"kind": "order", "below": [["1", "2"]]}}
    assert source(write(tmp_path, [row]), test=0, validation=0).problem("train", 0).answer is None


def test_two_rows_with_one_id(tmp_path: Path):
    with pytest.raises(DataError, match=r"an id twice.*: row 2 \('x' is also row 1's\)"):
        source(write(tmp_path, [{"prompt": "a", "answer": "1", "id": "x"}, {"prompt": "b", "answer": "1", "id": "x"}]))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"prompt": "a", "answer": "1"}\n{"prompt"', "no JSON: row 2"),
        ("a.jsonl", b"\xff\xfe\n", "not UTF-8: row 1"),
        ("a.jsonl", b"[" * 100_000, "no JSON: row 1"),
        ("a.jsonl", b"", "holds no rows"),
        ("a.json", b"{}", "holds dict"),
        ("a.json", b"[{", "a.json: no JSON"),
        ("a.parquet", b"PAR1", "a.parquet: no readable Parquet"),
        ("a.txt", b"a,b", "ends in '.txt'"),
        ("a.csv", b"prompt,prompt\n1,2\n", "names a column twice"),
        ("a.arrow", b"ARROW1", "no readable Arrow"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, name: str, content: bytes, message: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        source(str(tmp_path / name))
    assert message in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(ConfigError, match="does not exist"):
        source(str(tmp_path / "no.jsonl"))


def test_indices_beyond_the_end(tmp_path: Path):
    made = source(write(tmp_path, ROWS))
    with pytest.raises(IndexError):
        made.problem("train", 1)
    assert isinstance(made.problem("train", 0), Problem)
