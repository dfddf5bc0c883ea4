"""Verdicts in a run: overlapped without a trace in the results, stopped where verification fails, shaped without touching correctness."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlzoo.data.source import build
from rlzoo.engine.provenance import verdict_rules
from rlzoo.engine.reporting import Silent
from rlzoo.engine.trainer import train
from rlzoo.errors import ConfigError, DataError, VerifierFault
from rlzoo.metrics import find
from rlzoo.runs.folder import RunDir
from tests.support import final_weights, small_config, without_times

BROKEN = """
from rlzoo.verifier import Verifier

class Broken(Verifier):
    name = "broken"

    def judge(self, problem, response):
        raise ConnectionError("no judge today")
"""
QUIET = ("eval.at_start=false", "eval.at_end=false")


def rows(file: Path, verifier: str, answers: list[str]) -> str:
    """A `data.sources` assignment for a file of such rows."""
    lines = [{"prompt": f"{i}+1=?", "answer": answer, "split": "train"} for i, answer in enumerate(answers)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return f"data.sources=[{{name: file, options: {{path: {file}, verifier: '{verifier}'}}}}]"


def test_scoring_before_the_verdicts_changes_nothing(tmp_path: Path):
    """An objective that asks for embeddings of all rows: the pass made before the verdicts, and after them by one that chooses prompts."""
    seen: list[str] = []

    class Listening(Silent):
        def stage(self, name: str) -> None:
            seen.append(name)

    train(small_config(*QUIET, algo="mcpo-contrastive", steps=2), tmp_path / "ahead", reporter=Listening())
    assert seen[seen.index("sample") :][:3] == ["sample", "score", "verify"]
    seen.clear()
    choosy = small_config(*QUIET, algo="tests/seam_objectives.py:ChoosesAll", steps=2)
    train(choosy, tmp_path / "after", reporter=Listening())
    assert seen[seen.index("sample") :][:3] == ["sample", "verify", "score"]
    assert final_weights(tmp_path / "ahead") == final_weights(tmp_path / "after")
    assert without_times(RunDir(tmp_path / "ahead").metrics()) == without_times(RunDir(tmp_path / "after").metrics())


def test_failing_verification_stops_the_run_and_keeps_the_rollouts(tmp_path: Path):
    broken = tmp_path / "broken.py"
    broken.write_text(BROKEN)
    config = small_config(*QUIET, rows(tmp_path / "rows.jsonl", f"{broken}:Broken", ["1"] * 12))
    with pytest.raises(VerifierFault, match=r"24 of 24 responses.*no judge today"):
        train(config, tmp_path / "run")
    run = RunDir(tmp_path / "run")
    saved = run.rollouts(1)
    assert len(saved) == 24
    assert {row["status"] for row in saved} == {"error"}
    assert all("no judge today" in row["reason"] for row in saved)
    assert run.status().state == "failed"
    assert run.metrics() == []


def test_answers_that_cannot_be_judged_are_found_at_load(tmp_path: Path):
    golds = [r"\frac{1}{", *map(str, range(11))]
    config = small_config(*QUIET, rows(tmp_path / "rows.jsonl", "maths", golds))
    with pytest.raises(DataError, match=r"1 of 12 answers.*cannot be read(.|\n)*max_error_rate"):
        train(config, tmp_path / "run")
    warned: list[str] = []

    class Listening(Silent):
        def warn(self, text: str) -> None:
            warned.append(text)

    some = small_config(*QUIET, rows(tmp_path / "rows.jsonl", "maths", golds), "verifier.max_error_rate=0.5", steps=1)
    train(some, tmp_path / "other", reporter=Listening())
    assert any("1 of 12 answers" in text for text in warned)


def test_a_route_to_a_verifier_that_does_not_exist_is_found_at_load(tmp_path: Path):
    lines = [{"prompt": f"{i}+1=?", "answer": "1", "verifier": "router", "domain": "my-own"} for i in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    source = f"data.sources=[{{name: file, options: {{path: {tmp_path / 'rows.jsonl'}}}}}]"
    config = small_config(*QUIET, source, 'verifier.router.routes={"my-*": mathz}')
    with pytest.raises(DataError, match=r"20 of 20 answers.*no verifier is named 'mathz'"):
        train(config, tmp_path / "run")


def test_shaping_moves_rewards_and_not_correctness(tmp_path: Path):
    train(small_config(*QUIET, steps=1), tmp_path / "plain")
    shaped = ("reward.format=0.5", "reward.length=0.2", "reward.overlong=1", "reward.overlong_buffer=8")
    train(small_config(*QUIET, *shaped, steps=1), tmp_path / "shaped")
    plain, line = RunDir(tmp_path / "plain").metrics()[0], RunDir(tmp_path / "shaped").metrics()[0]
    assert line["correct/mean"] == plain["correct/mean"]
    added = [line[f"shaping/{part}"] for part in ("format", "length", "overlong")]
    assert line["reward/mean"] == pytest.approx(plain["reward/mean"] + sum(added))
    assert line["shaping/format"] == pytest.approx(0.5 * line["correct/mean"])
    assert all(find(name) for name in line if name != "step")
    for row in RunDir(tmp_path / "shaped").rollouts(1):
        whole = row["correct"] + row["shaping/format"] + row["shaping/length"] + row["shaping/overlong"]
        assert row["reward"] == pytest.approx(whole)


def test_policies_reach_the_workers_and_the_provenance(tmp_path: Path):
    config = small_config(*QUIET, "verifier.maths.extraction=last-boxed", "data.sources=[{name: maths}]", steps=1)
    train(config, tmp_path / "run")
    assert {row["status"] for row in RunDir(tmp_path / "run").rollouts(1)} <= {
        "unparsed",
        "truncated",
    }  # the model writes no boxes
    verdicts: dict[str, Any] = json.loads((tmp_path / "run" / "provenance.json").read_text())["verdicts"]
    assert verdicts == {"maths": {"version": 4, "extraction": "last-boxed", "equality": "lenient"}}


def test_every_verifier_that_judges_is_named_with_version_and_settings(tmp_path: Path):
    """Those of rows that come late in a file, those that a router hands problems to, and those of a user's own file."""
    mine = tmp_path / "mine.py"
    mine.write_text(BROKEN + "    version = 7\n")
    lines = [{"prompt": f"{i}?", "answer": "1", "verifier": "router", "domain": "my-own"} for i in range(600)]
    lines += [{"prompt": f"late {i}?", "answer": "1", "verifier": f"{mine}:Broken"} for i in range(60)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = small_config('verifier.router.routes={"my-*": maths}', "verifier.maths.equality=lenient")
    source = build("file", {"path": str(tmp_path / "rows.jsonl"), "test": 0.0, "validation": 0.0})
    assert verdict_rules(config, [source]) == {
        f"{mine}:Broken": {"version": 7},
        "maths": {"version": 4, "extraction": "final", "equality": "lenient"},
        "router": {"version": 1, "routes": {"my-*": "maths"}},
    }


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("verifier.maths.extraction=first", r"verifier\.maths\.extraction: .*got 'first'"),
        ("verifier.maths.equality=loose", r"verifier\.maths\.equality: .*got 'loose'"),
        ("reward.formt=1", "did you mean 'format'"),
        ("reward={overlong: 1, overlong_buffer: 100}", "even an empty response would be punished"),
    ],
)
def test_settings_that_cannot_work_are_refused(assignment: str, words: str):
    with pytest.raises(ConfigError, match=words):
        small_config(assignment)
