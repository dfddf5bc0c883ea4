"""Views of a run's diagnostics, on small run folders written as training writes them."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rlzoo.cli import main, plain
from rlzoo.errors import DataError
from rlzoo.evals import measurements
from rlzoo.runs.folder import RunDir, append_line, write_text
from tests.test_cli_show import HOSTILE, remove_styles, row


def told(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main.run(["show", *args])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    monkeypatch.setenv("COLUMNS", "80")
    run = RunDir(tmp_path / "run")
    write_text(run.path / "config.yaml", "seed: 0\n")
    lines: list[dict[str, Any]] = [
        {
            "step": 10,
            "interference": {"domains": ["maths", "code"], "cosine": [[1.0, -0.2], [-0.2, 1.0]], "negative": 1},
            "drift": {"prompts": 2, "kl": 0.01, "accuracy_before": 1.0, "accuracy_after": 0.9},
            "representations": {"alignment": 0.5, "uniformity": -1.0, "separability": 0.8},
        },
        {
            "step": 20,
            "interference": {"domains": ["code", "maths"], "cosine": [[1.0, 0.4], [0.4, 1.0]], "negative": 0},
            "drift": {"prompts": 3, "kl": 0.03, "accuracy_before": 1.0, "accuracy_after": 1.0},
            "retention": {"problems": 4, "accuracy": 0.75},
            "representations": {"alignment": 0.4, "uniformity": -1.5},
        },
        {"step": 30, "interference": {}, "drift": {}},
    ]
    for line in lines:
        append_line(run.diagnostics_file, line)
    for step in (10, 20):
        run.write_arrays(
            step,
            {
                # along (3, 4) / 5 the rows lie at -10, 0 and 10; across it they differ by step alone
                "embeddings": np.array([[-6, -8, 0], [0, 0, 0], [6, 8, 0]], dtype=np.float32)
                + np.array([0, 0, step / 10], dtype=np.float32),
                "domain": np.array(["maths", "code", "maths"]),
                "correct": np.array([True, False, True]),
            },
        )
    return run


# -- numbers by hand --------------------------------------------------------------------------------------


def test_pairs_by_hand(run: RunDir) -> None:
    """Cosines -0.2 and 0.4: mean 0.1, standard deviation 0.6 / sqrt 2, error 0.3; one of two steps negative."""
    (pair,) = measurements.pairs(run)
    assert pair.domains == ("code", "maths")
    assert pair.cosine.value == pytest.approx(0.1)
    assert pair.cosine.se == pytest.approx(0.3)
    assert (pair.cosine.steps, pair.negative) == (2, 1)


def test_pairs_of_three_domains(tmp_path: Path) -> None:
    """Neither 0 nor a pair that was not measured counts as pointing apart."""
    run = RunDir(tmp_path)
    cosine = [[1.0, 0.0, None], [0.0, 1.0, -0.5], [None, -0.5, 1.0]]
    append_line(run.diagnostics_file, {"step": 5, "interference": {"domains": ["a", "c", "b"], "cosine": cosine}})
    found = {pair.domains: (pair.cosine.value, pair.cosine.steps, pair.negative) for pair in measurements.pairs(run)}
    assert found == {("a", "c"): (0.0, 1, 0), ("b", "c"): (-0.5, 1, 1)}


@pytest.mark.parametrize(
    ("domains", "cosine"),
    [
        ("ab", [[1.0, 0.0], [0.0, 1.0]]),
        (["a", "b"], "no"),
        (["a", "b"], [[1.0, 0.0]]),
        (["a", "b"], [[1.0], [0.0]]),
        (["a", "b"], [1.0, 0.0]),
        (["a", "b"], None),
    ],
)
def test_what_is_no_square_matrix_is_refused(domains: Any, cosine: Any, tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    append_line(run.diagnostics_file, {"step": 5, "interference": {"domains": domains, "cosine": cosine}})
    with pytest.raises(DataError, match="step 5 is not a square matrix"):
        measurements.pairs(run)


def test_a_step_whose_kl_could_not_be_measured_counts_in_the_rest(run: RunDir) -> None:
    lost = {"prompts": 1, "kl": None, "accuracy_before": 1.0, "accuracy_after": 0.7}
    append_line(run.diagnostics_file, {"step": 40, "drift": lost})
    found = measurements.drift(run)
    assert (found.kl.steps, found.lost.steps, found.prompts) == (2, 3, 6)
    assert found.lost.value == pytest.approx(0.4 / 3)


def test_drift_by_hand(run: RunDir) -> None:
    """KL 0.01 and 0.03; accuracy lost 0.1 and 0: means 0.02 and 0.05, errors 0.01 and 0.05."""
    found = measurements.drift(run)
    assert found.prompts == 5
    assert [found.kl.value, found.kl.se] == pytest.approx([0.02, 0.01])
    assert [found.lost.value, found.lost.se] == pytest.approx([0.05, 0.05])
    assert found.retention == [(20, 4, 0.75)]


def test_axes_are_shared_by_all_steps(run: RunDir) -> None:
    """The first axis is (3, 4, 0) / 5 with 4 x 100 of the squares; the second, (0, 0, 1), has 6 x 0.25."""
    found = measurements.project(run)
    first, second = found.snapshots
    np.testing.assert_allclose(first.points, [[-10, -0.5], [0, -0.5], [10, -0.5]], atol=1e-9)
    np.testing.assert_allclose(second.points, [[-10, 0.5], [0, 0.5], [10, 0.5]], atol=1e-9)
    assert list(found.explained) == pytest.approx([400 / 401.5, 1.5 / 401.5])
    assert (first.domains, first.correct) == (["maths", "code", "maths"], [True, False, True])


@pytest.mark.parametrize("rows", [np.zeros((1, 3)), np.zeros((4, 3)), np.ones((5, 1))])
def test_rows_without_spread_have_points_at_the_centre(rows: Any) -> None:
    axes, centre, explained = measurements.principal_axes(rows)
    assert axes.shape == (2, rows.shape[1])
    np.testing.assert_allclose((rows - centre) @ axes.T, 0)
    assert explained == (0.0, 0.0)


def test_an_axis_points_where_its_largest_entry_is_positive() -> None:
    rng = np.random.default_rng(7)
    for _ in range(8):
        axes, _, _ = measurements.principal_axes(rng.normal(size=(5, 4)))
        assert all(axis[np.abs(axis).argmax()] > 0 for axis in axes)


def test_rows_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    rows = np.array([[1.0, 2.0], [np.nan, 0.0], [3.0, 4.0], [0.0, np.inf]])
    told = {"domain": np.array(["a", "b", "c", "d"]), "correct": np.array([True, True, False, False])}
    np.savez(tmp_path / "step-000001.npz", embeddings=rows, **told)
    embeddings, domains, correct = measurements.representation(tmp_path / "step-000001.npz")
    assert (embeddings.tolist(), domains, correct) == ([[1.0, 2.0], [3.0, 4.0]], ["a", "c"], [True, False])
    np.savez(tmp_path / "step-000002.npz", embeddings=rows[..., None], **told)
    with pytest.raises(DataError, match="holds"):
        measurements.representation(tmp_path / "step-000002.npz")


def test_nothing_projected_explains_nothing(tmp_path: Path) -> None:
    found = measurements.project(RunDir(tmp_path))
    assert found.snapshots == []
    assert all(map(math.isnan, found.explained))


def test_a_mean_of_one_has_no_error() -> None:
    assert measurements.mean([0.5]) == measurements.Mean(value=0.5, se=None, steps=1)
    none = measurements.mean([])
    assert math.isnan(none.value)
    assert (none.se, none.steps) == (None, 0)


def test_a_mean_by_hand() -> None:
    """Of 1, 2 and 6: 3, with a standard deviation of sqrt(7) and its error over sqrt(3)."""
    found = measurements.mean([1.0, 2.0, 6.0])
    assert (found.value, found.steps) == (3.0, 3)
    assert found.se == pytest.approx(math.sqrt(7 / 3))


def test_strength_lies_between_the_largest_magnitudes() -> None:
    assert measurements.largest([0.5, -2.0, math.inf, math.nan]) == 2.0
    assert measurements.largest([]) == 0.0
    assert measurements.largest([math.nan]) == 0.0
    given = [(1.0, 2.0), (-1.0, 2.0), (3.0, 2.0), (-3.0, 2.0), (1.0, 0.0), (math.nan, 2.0), (1.0, math.nan)]
    assert [measurements.strength(*pair) for pair in given] == [0.5, -0.5, 1.0, -1.0, 0.0, 0.0, 0.0]


def test_tokens_by_hand() -> None:
    row = {
        "token_texts": ["a", "b"], "advantages": [0.5, -0.5], "scale/policy": [1.0, 0.0], "scale/kl": None, "evidence": [0.1, 0.2],
        "scaled": [7, 7],
    }  # fmt: skip
    assert measurements.tokens(row) == [
        measurements.Token(text="a", advantage=0.5, scales={"policy": 1.0}, evidence=0.1),
        measurements.Token(text="b", advantage=-0.5, scales={"policy": 0.0}, evidence=0.2),
    ]
    assert [token.evidence for token in measurements.tokens({**row, "evidence": None})] == [None, None]
    assert measurements.tokens({**row, "advantages": None}) == []


def test_damaged_arrays_are_named(run: RunDir) -> None:
    file = measurements.representation_files(run)[0]
    file.write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(DataError, match=r"step-000010\.npz cannot be read"):
        measurements.project(run)
    np.savez(file, embeddings=np.zeros((2, 3)), domain=np.array(["a"]), correct=np.array([True]))
    with pytest.raises(DataError, match="holds"):
        measurements.project(run)
    np.savez(file, embeddings=np.zeros((1, 2)), domain=np.array(["a"]), correct=np.array([True]))
    with pytest.raises(DataError, match="embeddings of several sizes"):
        measurements.project(run)


# -- the commands -----------------------------------------------------------------------------------------


def test_interference(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "interference", str(run.path))
    assert code == 0
    assert out.splitlines()[1].split() == ["code", "·", "maths", "+0.100", "±", "0.300", "50", "%", "2"]
    assert max(map(len, out.splitlines())) <= 80
    assert json.loads(told(capsys, "interference", str(run.path), "--json")[1])[0]["negative"] == 1


def test_drift(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "drift", str(run.path))
    assert code == 0
    assert "KL(before || after): 0.02000 ± 0.01000 nats a token" in out
    assert "accuracy lost: +5.0 ± 5.0 points" in out
    assert "75.0 ± 21.7 %" in out  # sqrt(0.75 · 0.25 / 4)
    assert json.loads(told(capsys, "drift", str(run.path), "--json")[1])["prompts"] == 5


def test_representations_with_picture_and_data(run: RunDir, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "new" / "lie.png"
    code, out, _ = told(capsys, "representations", str(run.path), "--out", str(picture))
    assert code == 0
    assert out.splitlines()[0].split() == ["step", "alignment", "separability", "uniformity"]
    assert out.splitlines()[2].split() == ["20", "0.400", "–", "-1.500"]
    assert "6 rollouts of 2 steps" in out
    assert picture.read_bytes().startswith(b"\x89PNG\r\n")
    data = json.loads(picture.with_suffix(".json").read_text(encoding="utf-8"))
    assert [step["step"] for step in data["steps"]] == [10, 20]
    assert len(data["steps"][0]["points"]) == 3
    assert told(capsys, "representations", str(run.path), "--out", "lie.jpg")[0] == 2


@pytest.mark.parametrize("view", ["interference", "drift", "representations"])
def test_what_was_not_measured_is_said(view: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_text(tmp_path / "config.yaml", "seed: 0\n")
    code, out, err = told(capsys, view, str(tmp_path))
    assert (code, out) == (2, "")
    assert f"holds no {view}" in err
    assert "diagnostics.every" in err
    assert told(capsys, view, str(tmp_path / "nothing"))[0] == 2


def test_a_run_that_was_measured_is_not_told_to_measure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_text(tmp_path / "config.yaml", "seed: 0\n")
    write_text(tmp_path / "diagnostics.jsonl", '{"step": 2}\n{"step": 4}\n')
    code, out, err = told(capsys, "drift", str(tmp_path))
    assert (code, out) == (2, "")
    assert "measured after 2 steps, but has no drift: none of them held a mastered prompt" in err
    assert "diagnostics.every" not in err


def test_show_without_a_view_prints_rollouts(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    run.write_rollouts(1, pa.Table.from_pylist([row()]))
    plain_way = told(capsys, str(run.path))
    assert plain_way[0] == 0
    assert "rollout 0" in plain_way[1]
    assert told(capsys, "rollouts", str(run.path)) == plain_way
    assert told(capsys, "--limit", "1", str(run.path)) == plain_way


# -- token credit -----------------------------------------------------------------------------------------


@pytest.fixture
def credited(run: RunDir) -> RunDir:
    first = row(evidence=[0.2, -0.4, 0.0], advantages=[0.5, 0.25, 0.5], **{"scale/hinge_kl": [0.0, 0.0, 1.0]})
    second = row(rollout=1, status="wrong", advantages=[-1.0] * 3, evidence=[0.0] * 3, **{"scale/hinge_kl": [0.0] * 3})
    run.write_rollouts(1, pa.Table.from_pylist([first, second]))
    return run


def test_credit_says_the_numbers_behind_the_colours(credited: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "credit", str(credited.path))
    assert code == 0
    flat = " ".join(out.split())
    assert (
        "advantage +0.25 to +0.50 scale policy +1.00 scale hinge_kl +0.00 to +1.00 evidence (nats) -0.40 to +0.20"
        in flat
    )
    assert "advantage -1.00 scale policy +1.00 scale hinge_kl +0.00 evidence (nats) +0.00" in flat
    rows = [json.loads(line) for line in told(capsys, "credit", str(credited.path), "--json")[1].splitlines()]
    assert rows[0]["tokens"][1] == {
        "text": "+",
        "advantage": 0.25,
        "scales": {"policy": 1.0, "hinge_kl": 0.0},
        "evidence": -0.4,
    }


def test_credit_is_coloured_in_a_terminal(
    credited: RunDir, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TERM", "xterm-256color")
    _, out, _ = told(capsys, "credit", str(credited.path))
    assert "\x1b[37;48;2;50;135;50m1" in out  # half of the largest pull, upwards
    assert "\x1b[37;48;2;200;30;30m" in out  # the largest, downwards
    assert plain.visible(remove_styles(out)) == remove_styles(out)


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


@pytest.mark.parametrize(
    "text",
    [
        *(text for name, text in HOSTILE.items() if name != "lone surrogate"),
        "</span><script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "{{ 7 * 7 }} {% raw %}",
        "<!-- <style>*{display:none}</style>",
    ],
)
def test_model_text_is_shown_and_never_obeyed(
    run: RunDir, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str
) -> None:
    columns = ("text", "prompt_text", "reason", "problem_id", "domain", "status")
    hostile = row(**dict.fromkeys(columns, text), token_texts=[text, text, text])
    run.write_rollouts(1, pa.Table.from_pylist([hostile]))
    page = tmp_path / "page.html"
    code, out, _ = told(capsys, "credit", str(run.path), "--html", str(page))
    assert code == 0
    assert plain.visible(out) == out
    html = page.read_text(encoding="utf-8")
    assert plain.visible(html) == html
    found = Elements()
    found.feed(html)
    assert set(found.tags) <= {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "h2",
        "p",
        "pre",
        "section",
        "span",
    }
    assert found.tags.count("style") == 1
    assert {name for name, _ in found.attributes} <= {
        "lang",
        "charset",
        "http-equiv",
        "content",
        "name",
        "class",
        "title",
    }
    assert "49" not in html.replace("49%", "")
    policy = next(value for name, value in found.attributes if name == "content" and value and "src" in value)
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "script" not in policy


def test_a_step_without_credit_is_said(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    stopped = row()
    del stopped["advantages"]
    run.write_rollouts(1, pa.Table.from_pylist([stopped]))
    code, _, err = told(capsys, "credit", str(run.path))
    assert code == 2
    assert "stopped before credit" in err
