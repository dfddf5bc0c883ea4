"""The report holds what was found, in three formats, and nothing that a model wrote can act in it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from rlzoo.cli.main import run as rlzoo
from rlzoo.evals import analysis, gather, records, report
from rlzoo.evals.report import alone, content, drill, html, markdown, setup
from rlzoo.runs.folder import RunDir
from tests.fake_runs import GAINS, write_comparison, write_run

HOSTILE = [
    "</script><img src=x onerror=alert(1)>",
    "</pre></div><svg/onload=alert(2)>{{ 7*7 }}{% raw %}",
    "\x1b[31mred\x1b]0;owned\x07 \x1b]8;;http://x\x1b\\link",
    "right\u202eto left\u202c and \u2066isolated\u2069, zero\u200bwidth",
    "[/x] [bold]loud[/bold] `code` | cell | ```",
    "# heading\n\n<b>bold</b>\n```\n[link](http://x)",
]
MARKS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069]")


class Page(HTMLParser):
    """What a browser would see: elements, attributes, text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.data = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.data += data
        elif self._inside != "style":
            self.text.append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_comparison(tmp_path_factory.mktemp("plain") / "c", frozen=True, diagnostics=True)
    report.write(analysis.analyse(*gather.read(folder)), folder)
    return folder


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_comparison(
        tmp_path_factory.mktemp("hostile") / "c",
        gains={"grpo": GAINS["grpo"][:2], "cepo": GAINS["cepo"][:2]},
        texts=HOSTILE,
        domains=("maths", "<i>$x_1$</i>\u202e</script>"),
        diagnostics=True,
        settings={"model": {"path": "</script><script>alert(3)</script>"}},
    )
    report.write(analysis.analyse(*gather.read(folder)), folder)
    return folder


def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


# --------------------------------------------------------------------------------------------------- what it holds


def test_three_formats_say_the_same(written: Path) -> None:
    found = analysis.analyse(*gather.read(written))
    text = " ".join("".join(page(written).text).split())
    plain = (written / "report.md").read_text(encoding="utf-8").replace("\\", "")
    data = json.loads((written / "report.json").read_text(encoding="utf-8"))
    for line in found.verdict_lines()[:-1]:
        assert line in text
        assert line in plain
        assert line in data["verdict_lines"]
    for heading in (
        "Outcome",
        "Gains by domain",
        "Cost",
        "Health of training",
        "Settings that differ",
        "Rollouts side by side",
    ):
        assert heading in text
        assert heading in plain
    assert found.spec.command in text and found.spec.command in plain and data["command"] == found.spec.command


def test_json_holds_the_numbers(written: Path) -> None:
    found = analysis.analyse(*gather.read(written))
    data = json.loads((written / "report.json").read_text(encoding="utf-8"))
    cepo = next(each for each in data["verdicts"] if each["arm"] == "cepo")
    judged = found.verdicts[0].judgement
    assert cepo["objective_over_seeds"]["word"] == "better"
    assert cepo["objective_over_seeds"]["interval"] == pytest.approx(list(judged.interval or ()))
    assert cepo["checkpoints_over_problems"]["problems"] == 120
    frozen = [each for each in data["runs"] if each["arm"] == "frozen"]
    assert [each["final_is_step_0"] for each in frozen] == [True] * 3
    assert len(data["validity"]) == len(found.findings)


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_the_sandbox_is_named(written: Path, name: str) -> None:
    assert "Programs ran in the sandbox: namespaces (seccomp)." in (written / name).read_text(encoding="utf-8")


def test_every_picture_is_drawn(written: Path) -> None:
    text = (written / "report.html").read_text(encoding="utf-8")
    svgs = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    names = set(re.findall(r'id="([a-z]+-?[a-z0-9]*)-figure_1"', text))
    assert {"differences", "train-tokens", "test-steps", "train-seconds", "health-0", "claim-0"} <= names
    assert {"representations-0", "representations-2"} <= names
    assert len(svgs) == len(names)
    for svg in svgs:
        ElementTree.fromstring(svg.replace("xlink:href", "href"))  # well-formed
        assert svg.count("<path") >= 5
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(set(ids)) == len(ids), "one page, one use of each id"
    assert len(text) < 8_000_000


def test_the_page_stands_alone(written: Path) -> None:
    text = (written / "report.html").read_text(encoding="utf-8")
    seen = page(written)
    policy = [attrs["content"] for tag, attrs in seen.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy and "default-src 'none'" in str(policy[0]) and "script-src" not in str(policy[0])
    links = [
        value
        for _, attrs in seen.tags
        for key, value in attrs.items()
        if key in {"src", "href", "xlink:href", "action"}
    ]
    assert all(str(value).startswith(("#", "data:")) for value in links)
    assert "@import" not in text and not re.search(r"url\((?!#)", text)
    assert [attrs for tag, attrs in seen.tags if tag == "script"] == [{"type": "application/json", "id": "report"}]
    assert json.loads(seen.data)["baseline"] == "grpo"
    assert "prefers-color-scheme: dark" in text


def test_rendering_again_changes_nothing(written: Path) -> None:
    before = {name: (written / name).read_bytes() for name in ("report.html", "report.md", "report.json")}
    report.write(analysis.analyse(*gather.read(written)), written)
    assert before == {name: (written / name).read_bytes() for name in before}


def test_rollouts_stand_side_by_side(written: Path) -> None:
    seen = page(written)
    sides = [attrs for tag, attrs in seen.tags if attrs.get("class") == "side"]
    assert len(sides) % 3 == 0 and len(sides) >= 9, "three arms that trained, some problems of each domain"
    assert "What is 37 + 4?" in "".join(seen.text)


# ------------------------------------------------------------------------------------------- text that means harm


def test_hostile_text_is_text(hostile: Path) -> None:
    seen = page(hostile)
    tags = {tag for tag, _ in seen.tags}
    assert not tags & {"img", "iframe", "object", "embed", "form", "base"}
    assert [attrs for tag, attrs in seen.tags if tag == "script"] == [{"type": "application/json", "id": "report"}]
    assert not [key for _, attrs in seen.tags for key in attrs if key.startswith("on")]
    shown = "".join(seen.text)
    assert "</script><img src=x onerror=alert(1)>" in shown
    assert "{{ 7*7 }}" in shown and "[/x] [bold]loud[/bold]" in shown
    assert r"\x1b[31mred\x1b]0;owned\x07" in shown
    assert r"right\u202eto left\u202c and \u2066isolated\u2069, zero\u200bwidth" in shown


@pytest.mark.parametrize("name", ["report.html", "report.md", "report.json"])
def test_no_mark_that_steers_survives(hostile: Path, name: str) -> None:
    assert MARKS.findall((hostile / name).read_text(encoding="utf-8")) == []


def test_a_hostile_domain_is_text_in_pictures_too(hostile: Path) -> None:
    text = (hostile / "report.html").read_text(encoding="utf-8")
    assert "<i>" not in re.sub(r"<i> … \d+ more", "", text)
    assert "&lt;i&gt;$x_1$&lt;/i&gt;" in "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))


def test_hostile_text_in_markdown_is_no_markup(hostile: Path) -> None:
    lines = (hostile / "report.md").read_text(encoding="utf-8").splitlines()
    loose = [line for line in lines if not line.startswith("    ")]
    assert not [line for line in loose if re.search(r"(?<!\\)<", line)]
    assert "    </script><img src=x onerror=alert(1)>" in lines
    assert "    # heading" in lines, "inside an indented block"
    assert markdown.escape("a|b\nc `d` [e](f) <g>") == r"a\|b c \`d\` \[e\](f) \<g\>"


@pytest.mark.parametrize(
    "domain", ["1. x", "2) x", "- x", "+ x", "    x", "===", "---", "-", "<p>", "https://e.example"]
)
def test_a_hostile_domain_in_markdown_opens_nothing(domain: str, tmp_path: Path) -> None:
    """As a reader's program renders it: whatever a domain is named, what follows stays in its block of code."""
    texts = ["<script>alert(1)</script>\n\n<img src=x onerror=alert(2)>"]
    run = write_run(tmp_path / "run", domains=("maths", domain), texts=texts)
    assert rlzoo(["report", str(run.path)]) == 0
    found = rendered((run.path / "report.md").read_text(encoding="utf-8"))
    assert {kind for kind, _ in found}.isdisjoint(
        {"html_block", "html_inline", "image", "link_open", "ordered_list_open", "hr"}
    )
    lists = [text for kind, text in found if kind == "bullet_list_open"]
    assert len(lists) == 2, "the setup, and what stands out"
    assert sum("<script>" in text for kind, text in found if kind == "code_block") >= 2
    assert not re.search(
        r"(?<!\\)://", "".join(line for line in Path(run.path / "report.md").read_text().splitlines() if domain in line)
    )


def test_addresses_do_not_become_links() -> None:
    assert markdown.escape("see https://e.example, WWW.e.example") == r"see https\://e.example, WWW\.e.example"
    assert markdown.escape("-0.5 [-1.0, +2.0]") == r"-0.5 \[-1.0, +2.0\]", "numbers stay as they read"


def rendered(text: str) -> list[tuple[str, str]]:
    """Kind and text of every element of a Markdown page, those inside a line too."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    return [(each.type, each.content) for token in tokens for each in (token, *(token.children or ()))]


def test_embedded_json_cannot_end_its_block() -> None:
    text = str(html.embedded({"a": "</script><!--<script>", "b": "&lt;", "c": "\u2028"}))
    assert not re.search("[<>&\u2028]", text)
    assert json.loads(text)["a"] == "</script><!--<script>"


def test_templates_escape_by_default() -> None:
    """A template that shows a text without a filter shows it escaped and visible."""
    shown = html.environment().from_string("{{ text }}").render(text="<b>\x1b\u202e")
    assert shown == r"&lt;b&gt;\x1b\u202e"


# ------------------------------------------------------------------------------------------------- what is missing


def test_damaged_extras_do_not_stop_a_report(tmp_path: Path) -> None:
    folder = write_comparison(
        tmp_path / "c", gains={"grpo": GAINS["grpo"][:2], "cepo": GAINS["cepo"][:2]}, diagnostics=True
    )
    run = RunDir(folder / "runs" / "grpo-seed0")
    (run.path / "representations" / "step-000012.npz").write_bytes(b"PK no")
    run.rollouts_file(12).write_bytes(b"PAR1 no")
    (run.path / "diagnostics.jsonl").write_text(
        '{"step": 1, "interference": {"domains": ["a"], "cosine": []}}\nno\n{}\n', encoding="utf-8"
    )
    report.write(analysis.analyse(*gather.read(folder)), folder)
    assert "cepo" in (folder / "report.html").read_text(encoding="utf-8")


def test_one_unfinished_arm_is_reported(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path / "c", rollouts=False)
    for seed in range(3):
        RunDir(folder / "runs" / f"cepo-seed{seed}").write_status("failed", step=3, reason="<b>out of memory</b>")
    report.write(analysis.analyse(*gather.read(folder)), folder)
    text = "".join(page(folder).text)
    assert "it did not finish: failed at step 3 (<b>out of memory</b>)" in text
    assert "cepo: inconclusive against grpo at these settings: no seed has a finished run on both sides" in text


def test_nothing_at_all_is_reported(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path / "c", rollouts=False)
    for arm in GAINS:
        for seed in range(3):
            (folder / "runs" / f"{arm}-seed{seed}" / "config.yaml").unlink()
    report.write(analysis.analyse(*gather.read(folder)), folder)
    assert "9 of 9 runs take no part" in "".join(page(folder).text)


# --------------------------------------------------------------------------------------------------- the command


def test_report_command(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (written / "report.html").unlink()
    assert rlzoo(["report", str(written)]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[1].startswith("cepo: better than grpo at these settings")
    assert str(written / "report.html") in told.err
    assert (written / "report.html").is_file()
    assert rlzoo(["report", str(written), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["baseline"] == "grpo"


def test_report_command_refuses_other_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rlzoo(["report", str(tmp_path)]) == 2
    assert "no comparison (no compare.json)" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------------------------------- one run


def test_a_runs_report_has_what_its_summary_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", metrics={"status/truncated": 0.12}, diagnostics=True)
    assert rlzoo(["report", str(run.path)]) == 0
    assert f"report: {run.path / 'report.html'}" in capsys.readouterr().err
    text = " ".join("".join(page(run.path).text).split())
    plain = (run.path / "report.md").read_text(encoding="utf-8").replace("\\", "")
    for words in (
        "grpo on tiny, seed 0",
        "done, step 12 of 12",
        "12 % of responses are cut off",
        f"rlzoo train --config {run.path / 'config.yaml'}",
        "the answer is 41",
    ):
        assert words in text and words in plain
    for words in ("Verdicts", "Validity", "against", "over seeds", "side by side", "Gains"):
        assert words not in text and words not in plain
    pictures = (run.path / "report.html").read_text(encoding="utf-8").count("<svg")
    assert pictures > 6, "training and tests along three axes, and health"
    data = json.loads((run.path / "report.json").read_text(encoding="utf-8"))
    assert data["summary"]["step"] == 12 and data["stands_out"][0].startswith("12 % of responses")
    change = next(row for row in data["summary"]["changes"] if row["domain"] == "macro")["difference"]["value"]
    assert f"{100 * change:+.1f} [" in text
    assert rlzoo(["report", str(run.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == data


@pytest.mark.parametrize("state", ["running", "failed", "interrupted"])
@pytest.mark.parametrize("steps", [0, 1, 6])
def test_a_run_that_is_not_done_is_reported_as_far_as_it_came(state: str, steps: int, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=steps)
    run.write_status(state, step=steps, reason="the loss is not finite")
    if steps == 0:
        (run.path / "provenance.json").unlink()
        run.evals_file.unlink()
    assert rlzoo(["report", str(run.path)]) == 0
    text = " ".join("".join(page(run.path).text).split())
    assert f"{state}, step {steps} of 12" in text and f"rlzoo train --resume --out {run.path}" in text
    plain = (run.path / "report.md").read_text(encoding="utf-8")
    assert ("- parameters: not recorded" in plain) == (steps == 0)
    for told in (text, plain):
        assert ("No step's rollouts were recorded." in told) == (steps == 0)
        assert ("Problems whose rollouts are the most mixed" in told) == (steps > 0)


def test_a_run_with_only_its_start_evaluated_shows_one_column(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    whole = alone.tests(records.alone(run))
    assert list(whole.head) == ["domain", "level", "problems", "step 0", "step 12", "change"]
    lines = run.evals_file.read_text(encoding="utf-8").splitlines(keepends=True)
    run.evals_file.write_text(lines[0], encoding="utf-8")
    start = alone.tests(records.alone(run))
    assert list(start.head) == ["domain", "level", "problems", "step 0"]
    assert [row[-1] for row in start.rows] == [row[3] for row in whole.rows] and "change" not in start.note


def test_what_stands_in_the_way_is_told_of_the_last_step(tmp_path: Path) -> None:
    """Of a run still running too: it has not ended."""
    run = write_run(
        tmp_path / "run", state="running", metrics={"reward/std": 0.0, "reward/mean": 0.0, "grad/norm": 0.0}
    )
    note = content.health(alone.grid(records.alone(run))).note
    assert " grpo-seed0, at its last step: for 12 steps: all rewards are 0, so" in note


def test_mixed_problems_and_unlike_rollouts_come_first(tmp_path: Path) -> None:
    """Of four rollouts: one of each verdict, then another text, then what was seen."""
    rows = [
        {"status": "wrong", "text": "a"},
        {"status": "wrong", "text": "a"},
        {"status": "wrong", "text": "b"},
        {"status": "correct", "text": "c"},
    ]
    assert drill._varied(rows) == [rows[0], rows[3], rows[2], rows[1]]
    sure, mixed, all_wrong = [{"correct": True}] * 4, [{"correct": True}, {"correct": False}], [{"correct": False}] * 4
    assert [drill._apart([rows]) for rows in (sure, mixed, all_wrong)] == [0, 1, 0]
    assert drill._apart([sure, mixed]) == 0.5


def test_a_hostile_run_is_shown_and_never_obeyed(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run",
        texts=HOSTILE,
        domains=("maths", "<i>$x_1$</i>\u202e</script>"),
        settings={"model": {"path": "</script><script>alert(3)</script>"}},
    )
    assert rlzoo(["report", str(run.path)]) == 0
    tags = {tag for tag, _ in page(run.path).tags}
    assert not tags & {"img", "i"} and sum(tag == "script" for tag, _ in page(run.path).tags) == 1
    for name in ("report.html", "report.md"):
        assert not MARKS.search((run.path / name).read_text(encoding="utf-8"))


def test_strict_is_for_comparisons_and_damage_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run")
    assert rlzoo(["report", str(run.path), "--strict"]) == 2
    run.metrics_file.write_text('{"step": 1\n{}\n', encoding="utf-8")
    assert rlzoo(["report", str(run.path)]) == 1
    err = capsys.readouterr().err
    assert "--strict" in err and "not JSON" in err and "bug" not in err


def test_an_evaluation_that_lost_a_problem_is_told_and_not_paired(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run")
    *before, last = run.evals_file.read_text(encoding="utf-8").splitlines()
    told = json.loads(last)
    lost = told["problems"].pop()["id"]
    run.evals_file.write_text("\n".join([*before, json.dumps(told)]) + "\n", encoding="utf-8")
    assert rlzoo(["report", str(run.path)]) == 1
    err = " ".join(capsys.readouterr().err.split())
    assert "but 1 of all problems stand in only one of them" in err and repr(lost) in err and "bug" not in err
    assert rlzoo(["show", str(run.path)]) == 0
    assert "no summary" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------- the setup


SETUP = {
    "model": "tiny, float32",
    "parameters": "866,304",
    "data": "maths, code, logic",
    "learning rate": "0.0001",
    "batch": "6 prompts × 4 rollouts = 24 a step",
    "response length": "at most 48 tokens",
    "machine": "cpu, c, 1 thread",
    "versions": "rlzoo 0.1.0, python 3.11.7, torch 2.13.0",
    "code": "c0de",
    "date": "not recorded",
    "seeds": "0, 1, 2",
}


def test_the_setup_of_a_comparison(written: Path) -> None:
    found = analysis.analyse(*gather.read(written))
    assert dict(setup.entries(found)) == SETUP
    text = " ".join("".join(page(written).text).split())
    plain = (written / "report.md").read_text(encoding="utf-8").replace("\\", "")
    for label, value in SETUP.items():
        assert f"{label}{value}" in text and f"- {label}: {value}" in plain
    assert json.loads((written / "report.json").read_text(encoding="utf-8"))["setup"] == SETUP


def test_what_runs_do_not_share_says_whose_it_is(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path / "c", gains={"grpo": (0.1, 0.1), "cepo": (0.2, 0.2)})
    for name in ("cepo-seed0", "cepo-seed1"):
        file = folder / "runs" / name / "config.yaml"
        file.write_text(file.read_text().replace("lr: 0.0001", "lr: 3.0e-05"), encoding="utf-8")
    odd = folder / "runs" / "grpo-seed1" / "provenance.json"
    whole = json.loads(odd.read_text(encoding="utf-8")) | {"machine": {"cpu": "d", "threads": 2, "ranks": 1}}
    whole["ran"][0] |= {"at": "2031-01-02 03:04:05 UTC", "revision": "abc123-dirty", "cores": 8}
    odd.write_text(json.dumps(whole), encoding="utf-8")
    found = dict(setup.entries(analysis.analyse(*gather.read(folder))))
    assert found["learning rate"] == "grpo 0.0001; cepo 3e-05"
    assert found["machine"] == "grpo-seed0, cepo cpu, c, 1 thread; grpo-seed1 cpu, d, 2 threads of 8 cores"
    assert found["code"] == "grpo-seed0, cepo c0de; grpo-seed1 c0de (git abc123-dirty)"
    assert found["date"] == "2031-01-02 03:04:05 UTC"
