"""What a set of problems holds: repetitions, overlap, lengths, and which golds their own verifiers cannot judge."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rlzoo import configure, registry
from rlzoo.cli.check_data import ruler, spells_any_text
from rlzoo.cli.main import run
from rlzoo.config import EMBEDDED
from rlzoo.data import procedural, survey
from rlzoo.engine.model.loading import load_tokenizer
from rlzoo.engine.verification import check_golds
from rlzoo.errors import ConfigError, DataError
from rlzoo.types import Problem
from rlzoo.verifiers.pool import VerifierPool

DATA = Path(__file__).parent / "data"


def ask(text: str, answer: str = "1", verifier: str = "maths", **more) -> Problem:
    return Problem(
        id=text, domain="d", messages=({"role": "user", "content": text},), verifier=verifier, answer=answer, **more
    )


def words(*numbers: int) -> str:
    return " ".join(f"w{number}" for number in numbers)


def test_layout_and_case_make_no_other_question():
    found = survey.repetitions(
        [ask("What is  1+1?"), ask("what is\n1+1?"), ask("WHAT is 1 + 1 ?", "2"), ask("what is 1-1?")]
    )
    assert (found.repeated, found.contradicting) == (2, 1)
    assert found.examples == ("What is  1+1?",)


def test_full_width_digits_are_digits():
    assert survey.normalised("１＋１") == survey.normalised("1+1")
    assert survey.normalised("1+1") != survey.normalised("11")


def test_overlap_word_for_word_and_by_thirteen_words():
    train = [ask(words(*range(20))), ask(words(*range(100, 120))), ask("What is 2+2?")]
    exam = [
        ask("what is 2 + 2 ?"),  # exact, though short
        ask(words(0, *range(105, 118), 1)),  # 13 in a row
        ask(words(0, *range(105, 117), 1)),  # only 12
        ask(words(*range(200, 220))),
    ]
    (found,) = survey.overlaps(train, {"exam": exam})
    assert (found.size, found.exact, found.grams) == (4, 1, 1)
    assert found.examples == (survey.question(exam[0]), survey.question(exam[1]))


def test_boilerplate_is_no_overlap():
    fixed = words(*range(20))
    train = [ask(f"{fixed} {words(1000 + n)}") for n in range(50)]
    (found,) = survey.overlaps(train, {"exam": [ask(f"{fixed} {words(5000 + n)}") for n in range(50)]})
    assert (found.exact, found.grams) == (0, 0)
    (found,) = survey.overlaps(train, {"exam": [ask(f"{fixed} {words(9999)}")]})
    assert (found.exact, found.grams) == (0, 0), "boilerplate of the training prompts, not of the suite"
    (found,) = survey.overlaps(train, {"exam": [ask(f"{fixed} {words(1007)}")]})
    assert found.exact == 1


def test_lengths_by_hand():
    found = survey.lengths([5, 1, 9, 3], "tokens")
    assert found == survey.Lengths(unit="tokens", count=4, least=1, median=4, p95=9, most=9)
    assert survey.lengths([], "tokens") is None


@pytest.mark.parametrize("make", [procedural.maths, procedural.code, procedural.logic])
def test_golds_of_the_embedded_domains_pass_their_verifiers(make):
    source = make()
    for index in range(12):
        problem = source.problem("train", index)
        gold_fault = registry.build_verifier(problem.verifier).gold_fault
        assert gold_fault(problem) is None
        assert problem.verifier == "code" or gold_fault(replace(problem, answer="?")) is not None


def check(capsys, *args: str) -> tuple[int, dict]:
    code = run(["check", "data", *args, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_sound_file(capsys):
    code, found = check(capsys, str(DATA / "gsm8k.jsonl"))
    assert code == 0
    assert (found["layout"], found["rows"], found["problems"]) == ("gsm8k", 2, 2)
    assert found["domains"] == {"gsm8k": {"maths": 2}}
    assert found["golds"] == {"tried": 2, "failed": 0, "untold": 0, "reasons": []}
    assert found["lengths"]["answer"] == {
        "unit": "characters",
        "count": 2,
        "least": 2,
        "median": 3.5,
        "p95": 5,
        "most": 5,
    }
    assert [overlap["suite"] for overlap in found["overlap"]] == ["embedded tests"]


def test_a_file_that_would_lose_rows(tmp_path: Path, capsys):
    rows = [
        {"prompt": "1+1?", "answer": "2"},
        {"prompt": "1+1 ?", "answer": "3"},
        {"prompt": "f", "verifier": "code", "metadata": {"tests": [[1, 2]]}, "solution": "x+1"},
        {"prompt": "g", "verifier": "code", "metadata": {"tests": [[1, 2]]}, "solution": "x+2"},
        {"prompt": "", "answer": "2"},
    ]
    file, exam = tmp_path / "rows.jsonl", tmp_path / "exam.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    exam.write_text(json.dumps({"prompt": "1+1?", "answer": "2"}))
    code, found = check(capsys, str(file), "--set", "split=train", "--suite", str(exam))
    assert code == 1
    assert found["dropped"] == [{"reason": "'prompt' is empty", "rows": 1, "first_row": 5, "detail": ""}]
    assert (found["golds"]["tried"], found["golds"]["failed"]) == (4, 1)
    (reason,) = found["golds"]["reasons"]
    assert (reason["first_row"], reason["detail"]) == (4, "its own solution fails: f(1) is 3, expected 2")
    assert (found["repetitions"]["repeated"], found["repetitions"]["contradicting"]) == (1, 1)
    assert {o["suite"]: o["exact"] for o in found["overlap"]} == {"embedded tests": 0, "exam.jsonl": 1}
    assert check(capsys, str(file), "--set", "skip_bad=0.3")[0] == 1  # two of five
    assert check(capsys, str(file), "--set", "skip_bad=0.4")[0] == 0
    assert check(capsys, str(file), "--set", "skip_bad=true")[0] == 0


def test_golds_fail_as_they_do_before_a_run(tmp_path: Path, capsys):
    """The same rows, the same words: what `rlzoo train` refuses is what `check` reports."""
    rows = [{"prompt": f"{n}?", "answer": str(n)} for n in range(6)]
    rows += [
        {"prompt": "a?", "answer": "\\frac{1}{"},
        {"prompt": "b?", "answer": "50\\frac{}"},
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    code, found = check(capsys, str(file), "--set", "split=train")
    assert code == 1
    source = registry.datasets.load("file")(path=str(file), split="train")
    with VerifierPool() as pool, pytest.raises(DataError) as refused:
        check_golds([source], pool, configure.load(algo="grpo").verifier)
    bad = [source.problem("train", at) for at in (6, 7)]
    assert found["golds"]["failed"] == len(bad)
    assert f"{len(bad)} of 8 answers" in str(refused.value)
    assert found["golds"]["reasons"][0]["detail"] in str(refused.value)


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_models_spell_no_text_and_are_known_to(name: str):
    assert not spells_any_text(load_tokenizer(name))
    assert ruler(name).unit == "characters"


def test_settings_of_verification_are_those_of_a_run():
    wanted = ["verifier.maths.equality=strict", "verifier.timeout_s=3"]
    assert configure.verification(wanted) == configure.load(assignments=wanted).verifier


@pytest.mark.parametrize("wrong", ["maths.equalty=strict", "workers=0", "mathz.equality=strict"])
def test_settings_of_verification_are_refused_in_the_words_of_a_run(wrong: str):
    with pytest.raises(ConfigError) as of_a_run:
        configure.load(assignments=[f"verifier.{wrong}"])
    with pytest.raises(ConfigError) as alone:
        configure.verification([f"verifier.{wrong}"])
    assert str(alone.value) == str(of_a_run.value)


def test_for_people_with_tokens(tmp_path: Path, capsys):
    from tests import bytes_model

    model = bytes_model.make(tmp_path / "model")
    assert run(["check", "data", str(DATA / "dapo.parquet"), "--model", str(model), "--max-prompt", "100"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "layout: verl (as verl, guru-RL-92k" in said
    assert "rows: 12, of which 4 problems and 8 repeated rows" in said
    assert "tokens, median" in said
    assert "4 prompts have more than 100 tokens" in said


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["nowhere.jsonl"], 2, "does not exist"),
        ([str(DATA / "gsm8k.jsonl"), "--set", "colums.prompt=q"], 2, "did you mean 'columns'?"),
    ],
)
def test_what_cannot_be_checked(args, code, said, capsys):
    assert run(["check", "data", *args]) == code
    assert said in capsys.readouterr().err
