"""Rollouts in the terminal: what a model wrote is shown, and never obeyed."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from rlzoo.cli import main, plain
from rlzoo.runs.folder import RunDir, write_text

HOSTILE = {
    "ANSI colour": "\x1b[31mred\x1b[0m",
    "cleared screen": "\x1b[2J\x1b[H",
    "OSC title": "\x1b]0;owned\x07",
    "OSC link": "\x1b]8;;http://x\x1b\\here\x1b]8;;\x1b\\",
    "one-byte CSI": "\x9b31m",
    "bidi override": "\u202eevil\u202c",
    "bidi isolate": "\u2066x\u2069\u200f\u061c",
    "zero width": "a\u200bb\ufeffc",
    "carriage return": "wrong\rcorrect",
    "backspace": "wrong\x08\x08",
    "line separator": "a\u2028b",
    "tag characters": "\U000e0041",
    "lone surrogate": "\ud800",
    "rich markup": "[bold]b[/bold] [/x] [link=http://x]y[/link]",
    "emoji code": ":smile:",
}


def row(**changes: Any) -> dict[str, Any]:
    """One rollout as the engine records it."""
    return {
        "step": 1,
        "problem_id": "maths-7",
        "domain": "maths",
        "level": "easy",
        "group": 0,
        "rollout": 0,
        "visit": 0,
        "prompt_text": "1+2=?",
        "text": "1+2=3#3",
        "tokens": [1, 2, 3],
        "token_texts": ["1", "+", "2"],
        "status": "correct",
        "reason": "3 is right",
        "extracted": "3",
        "reward": 1.0,
        "correct": True,
        "truncated": False,
        "advantages": [0.5, 0.5, 0.5],
        "scale/policy": [1.0, 1.0, 1.0],
        "sampler_logps": [-0.1, -0.2, -0.3],
        **changes,
    }


def answer(**changes: Any) -> dict[str, Any]:
    """One response of an evaluation as the engine records it."""
    trained = ("visit", "token_texts", "advantages", "scale/policy", "sampler_logps")
    return {name: value for name, value in row().items() if name not in trained} | changes


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    monkeypatch.setenv("COLUMNS", "80")
    run = RunDir(tmp_path / "run")
    write_text(run.path / "config.yaml", "seed: 0\n")
    wrong = row(rollout=1, text="1+2=4#4", status="wrong", reason="4, expected 3", reward=0.0, advantages=[-0.5])
    other = row(
        group=1,
        problem_id="logic-1",
        domain="logic",
        level="",
        text="",
        tokens=[],
        status="unparsed",
        reward=0.0,
        advantages=[],
    )
    run.write_rollouts(1, pa.Table.from_pylist([row(), wrong, other]))
    run.write_rollouts(2, pa.Table.from_pylist([row(step=2, problem_id="maths-9")]))
    run.write_answers("test", 0, pa.Table.from_pylist([answer(step=0)]))
    right, missed = answer(step=3), answer(step=3, rollout=1, status="wrong", reason="4, expected 3", reward=0.0)
    run.write_answers("test", 3, pa.Table.from_pylist([right, missed]))
    return run


def show(capsys: pytest.CaptureFixture[str], run: RunDir, *args: str) -> tuple[int, str, str]:
    code = main.run(["show", str(run.path), *args])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_step_with_its_verdicts(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = show(capsys, run, "--step", "1")
    assert code == 0
    assert out.splitlines() == [
        "step 1 · maths-7 · maths · level easy · visit 0",
        "    │ 1+2=?",
        "  rollout 0  correct  reward 1  advantage +0.50  3 tokens",
        "    │ 1+2=3#3",
        "    3 is right",
        "  rollout 1  wrong  reward 0  advantage -0.50  3 tokens",
        "    │ 1+2=4#4",
        "    4, expected 3",
        "",
        "step 1 · logic-1 · logic · visit 0",
        "    │ 1+2=?",
        "  rollout 0  unparsed  reward 0  advantage –  0 tokens",
        "    │",
        "    3 is right",
        "",
    ]


def test_the_newest_step_is_shown_and_the_newest_that_holds_a_problem(
    run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "step 2" in show(capsys, run)[1]
    assert "step 1" in show(capsys, run, "--problem", "maths-7")[1]


def test_responses_of_an_evaluation(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = show(capsys, run, "--eval")
    assert code == 0
    assert out.splitlines() == [
        "step 3 · maths-7 · maths · level easy",
        "    │ 1+2=?",
        "  response 0  correct  reward 1  3 tokens",
        "    │ 1+2=3#3",
        "    3 is right",
        "  response 1  wrong  reward 0  3 tokens",
        "    │ 1+2=3#3",
        "    4, expected 3",
        "",
    ]
    assert show(capsys, run, "--eval", "0")[1].startswith("step 0 · maths-7")
    assert show(capsys, run, "--eval", "--step", "0")[1] == show(capsys, run, "--eval", "0")[1]
    assert show(capsys, run, "--eval", "--status", "wrong")[1].count("  response ") == 1
    assert "1 of 2 responses" in show(capsys, run, "--eval", "--limit", "1")[2]
    assert json.loads(show(capsys, run, "--eval", "0", "--json")[1]) == answer(step=0)


def test_a_damaged_file_is_told_in_words(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    run.answers_file("test", 3).write_bytes(b"PAR1 no more")
    code, _, err = show(capsys, run, "--eval")
    assert code == 1
    assert "evals/test-000003.parquet cannot be read" in err and "--step" in err and "bug" not in err


def test_filters(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    def count(*args: str) -> int:
        return show(capsys, run, "--step", "1", *args)[1].count("rollout ")

    assert count("--status", "wrong") == 1
    assert count("--status", "wrong", "--status", "unparsed") == 2
    assert count("--problem", "logic-1") == 1
    assert count("--limit", "2") == 2
    assert count("--limit", "0") == 3
    assert "2 of 3 rollouts" in show(capsys, run, "--step", "1", "--limit", "2")[2]


def test_json_rows(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.loads(line) for line in show(capsys, run, "--step", "1", "--json")[1].splitlines()]
    assert rows[0] == row()
    assert len(rows) == 3


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--step", "9"], "holds no rollouts of step 9; it holds steps 1 to 2"),
        (["--status", "corect"], "Did you mean 'correct'?"),
        (["--problem", "nope"], "no rollout of any step"),
        (["--eval", "4"], "no responses to test problems of step 4; it holds steps 0 to 3"),
        (["--eval", "--status", "error"], "no response to test problems of any step"),
        (["--eval", "--split", "validation"], "It holds some of test: --split test."),
    ],
)
def test_what_is_not_there_is_said(
    run: RunDir, capsys: pytest.CaptureFixture[str], args: list[str], words: str
) -> None:
    code, out, err = show(capsys, run, *args)
    assert (code, out) == (2, "")
    assert words in err


def test_a_step_that_stopped_before_credit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unjudged = row(status=None, reason=None, reward=0.0)
    del unjudged["advantages"]
    run = RunDir(tmp_path)
    write_text(run.path / "config.yaml", "seed: 0\n")
    run.write_rollouts(1, pa.Table.from_pylist([unjudged]))
    assert "rollout 0  unjudged  reward 0  advantage –" in show(capsys, run)[1]


def test_a_run_without_rollouts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_text(tmp_path / "config.yaml", "seed: 0\n")
    code, _, err = show(capsys, RunDir(tmp_path), "--status", "wrong")
    assert code == 2
    assert "holds no rollouts" in err


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "lone surrogate"])
@pytest.mark.parametrize("terminal", [False, True])
def test_model_text_is_shown_and_never_obeyed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, terminal: bool
) -> None:
    """In every column that a model, a data set or a verifier's message can reach. With styles on, only ours remain."""
    monkeypatch.setenv("COLUMNS", "80")
    for variable in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(variable, raising=False)
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm-256color")
    text = HOSTILE[name]
    run = RunDir(tmp_path)
    write_text(run.path / "config.yaml", "seed: 0\n")
    columns = ("text", "prompt_text", "reason", "problem_id", "domain", "level")
    run.write_rollouts(1, pa.Table.from_pylist([row(**dict.fromkeys(columns, text))]))
    code, out, _ = show(capsys, run)
    assert code == 0
    ours = remove_styles(out) if terminal else out
    assert terminal == (ours != out)
    assert plain.visible(ours) == ours  # nothing in it steers a terminal
    assert ours.count(plain.visible(text)) == len(columns)


def remove_styles(text: str) -> str:
    """Without SGR sequences, the only ones we write; anything else that begins with ESC stays and is found."""
    import re

    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_model_lines_cannot_pass_for_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunDir(tmp_path)
    write_text(run.path / "config.yaml", "seed: 0\n")
    forged = "no idea\n  rollout 1  correct  reward 1"
    run.write_rollouts(1, pa.Table.from_pylist([row(text=forged, status="wrong", reason="none\n  rollout 2  correct")]))
    _, out, _ = show(capsys, run)
    assert "    │   rollout 1  correct" in out
    assert [line for line in out.splitlines() if line.startswith("  rollout")] == [
        "  rollout 0  wrong  reward 1  advantage +0.50  3 tokens"
    ]


@pytest.mark.parametrize(("name", "text"), HOSTILE.items())
def test_visible_leaves_nothing_that_steers(name: str, text: str) -> None:
    shown = plain.visible(text)
    assert plain.visible(shown) == shown
    assert shown.encode()  # a lone surrogate would fail here
    assert shown.isprintable()


def test_visible_keeps_ordinary_text() -> None:
    text = "x² ≤ 3·π — 中文 é 🙂 [/x] \\d"
    assert plain.visible(text) == text
    assert plain.visible("a\nb\tc") == "a\nb\\tc"
    assert plain.visible("a\nb", keep="") == "a\\nb"
