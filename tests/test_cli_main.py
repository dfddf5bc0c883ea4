"""The command line speaks plainly: exit codes, one clear message on standard error, no traceback, and an answer at once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlzoo import __version__
from rlzoo.cli import explain, main, plain, train
from rlzoo.errors import RunError
from rlzoo.runs.folder import RunDir, write_text


class Answer:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


class Shell:
    """Runs commands in this process, in an empty folder."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self.capture = capture

    def __call__(self, *args: str) -> Answer:
        self.capture.readouterr()
        code = main.run(list(args))
        captured = self.capture.readouterr()
        return Answer(code, captured.out, captured.err)


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return Shell(capsys)


def refused(answer: Answer, *words: str) -> None:
    """Asked wrongly: code 2, nothing on standard output, and an error that says these words and holds no traceback."""
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("error: ")
    assert "Traceback" not in answer.err
    for word in words:
        assert word in answer.err


# -- at once ----------------------------------------------------------------------------------------------


def test_help_loads_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "datasets", "pydantic", "numpy", "pyarrow", "yaml", "rich")
    code = f"import sys, rlzoo.cli.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "args", [[], ["--help"], ["-h"], ["config"], ["train", "--help"], ["eval", "-h"], ["show", "--help"]]
)
def test_help_is_a_result(shell: Shell, args: list[str]) -> None:
    answer = shell(*args)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("Usage: rlzoo")
    assert max(map(len, answer.out.splitlines())) <= 80
    assert not any(line.endswith("...") for line in answer.out.splitlines()[1:])  # no summary is cut at 80 columns


def test_version(shell: Shell) -> None:
    assert shell("--version").out == f"rlzoo {__version__}\n"


# -- asked wrongly ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["tran"], ["Did you mean 'train'?"]),
        (["train", "--stepz", "3"], ["--stepz", "--steps"]),
        (["train", "--steps", "three"], ["--steps", "integer"]),
        (["train", "--algo", "gpro"], ["no objective is named 'gpro'", "Did you mean 'grpo'?"]),
        (["train", "--recipe", "cpu-defualt"], ["no recipe is named 'cpu-defualt'", "Did you mean 'cpu-default'?"]),
        (["train", "--algo", "nowhere.at.all:Thing"], ["'nowhere.at.all:Thing' cannot be loaded"]),
        (["train", "--set", "learner.lrr=1"], ["learner.lrr: no such setting; did you mean 'lr'?"]),
        (["train", "--set", "lerner.lr=1"], ["lerner: no such setting; did you mean 'learner'?"]),
        (["train", "--set", "objective.clip_lo=0.1"], ["objective.clip_lo: no such setting; did you mean 'clip_low'?"]),
        (["train", "--set", "learner.lr=-1"], ["learner.lr", "greater than or equal to 0", "(got -1)"]),
        (["train", "--steps", "0"], ["budget.steps", "(got 0)"]),
        (["train", "--set", "seed={a: 1}"], ["seed: Input should be a valid integer (got {'a': 1}); the default is 0"]),
        (["train", "--set", "log=1"], ["log: expected a mapping of its settings (project,", "(got 1)"]),
        (["train", "--seed", "-1"], ["seed", "(got -1)"]),
        (["train", "--set", "sampling.top_p=1.5"], ["sampling.top_p", "(got 1.5)"]),
        (["train", "--set", "learner.lr"], ["'learner.lr' is no assignment", "--set learner.lr=1e-4"]),
        (["train", "--set", "learner.updates_per_step=3"], ["learner.updates_per_step is 3", "multiple of 3"]),
        (["train", "--config", "absent.yaml"], ["absent.yaml cannot be read"]),
        (["train", "--config", "."], ["cannot be read"]),
        (["train", "--resume"], ["--resume needs --out"]),
        (["train", "--resume", "--out", "nothing"], ["'nothing' holds no run"]),
        (["train", "--resume", "--overwrite", "--out", "x"], ["give one of them"]),
        (["config", "check", "absent.yaml"], ["absent.yaml cannot be read"]),
        (["config", "show", "--set", "a.b.c"], ["is no assignment"]),
        (["show", "nothing"], ["'nothing' holds no run"]),
        (["eval"], ["MODEL_OR_RUN"]),
        (["eval", "tiny", "--step", "3"], ["'tiny' holds no run"]),
        (["eval", "tiny", "--split", "train"], ["--split"]),
        (["eval", "tiny", "--samples", "0"], ["eval.samples", "(got 0)"]),
        (["eval", "tiny", "--split", "validation", "--samples", "4"], ["one response each"]),
    ],
)
def test_what_is_asked_wrongly_is_refused(shell: Shell, args: list[str], words: list[str]) -> None:
    refused(shell(*args), *words)
    assert not list(Path().glob("runs/*"))  # nothing was started


def test_every_problem_has_a_line(shell: Shell) -> None:
    answer = shell("train", "--set", "learner.lr=-1", "--set", "sampling.group_size=many")
    refused(answer)
    first, second = answer.err.splitlines()
    assert first.startswith("error: ")
    assert second.startswith("       ")
    assert {"sampling.group_size", "learner.lr"} == {
        line.removeprefix("error:").split(":")[0].strip() for line in (first, second)
    }


@pytest.mark.parametrize("text", ["a: [1,", "- 1\n- 2\n", "just words", "\x00"])
def test_a_file_that_is_no_settings(shell: Shell, text: str) -> None:
    Path("settings.yaml").write_text(text, encoding="utf-8")
    refused(shell("train", "--config", "settings.yaml"), "settings.yaml")


def test_a_group_of_one_is_refused_before_a_model_is_loaded(shell: Shell) -> None:
    answer = shell("train", "--dry-run", "--model", "no/such/model", "--set", "sampling.group_size=1")
    refused(answer, "needs at least 2 rollouts a prompt", "sampling.group_size is 1")


def test_resume_names_runs_that_are_not_finished(shell: Shell) -> None:
    for name, state in (("a", "interrupted"), ("b", "done")):
        run = RunDir(Path("runs") / name)
        write_text(run.path / "config.yaml", "seed: 0\n")
        run.write_status(state)
    answer = shell("train", "--resume")
    refused(answer, "runs/a")
    assert "runs/b" not in answer.err


def test_an_error_cannot_steer_the_terminal(shell: Shell) -> None:
    answer = shell("show", "\x1b[31mred\x1b]0;title\x07\u202e")
    refused(answer, "holds no run")
    assert not set("\x1b\x07\u202e") & set(answer.err)


# -- failed while working ---------------------------------------------------------------------------------


def test_a_failure_has_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert plain.explain_failure(RunError("the model burned\nUse water.")) == 1
    assert capsys.readouterr().err == "error: the model burned\n       Use water.\n"


def test_a_failed_run_says_how_to_resume(tmp_path: Path) -> None:
    out = tmp_path / "my run"
    assert train._how_to_resume(out) == ""
    RunDir(out).checkpoint(20).mkdir(parents=True)
    (out / "config.yaml").touch()
    assert train._how_to_resume(out).endswith(f"rlzoo train --resume --out '{out}'")


def test_a_bug_is_a_line_and_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    with pytest.raises(plain.Crash) as crash:
        raise plain.Crash(tmp_path) from KeyError("x\ny")
    assert plain.explain_failure(crash.value) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: KeyError: 'x\\ny'\n")
    assert "This is a bug" in err
    assert "Traceback (most recent call last)" not in err
    assert "KeyError" in (tmp_path / "traceback.txt").read_text()


def test_a_bug_outside_a_run_is_saved_elsewhere(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert plain.explain_failure(plain.Crash(tmp_path)) == 1
    assert not list(tmp_path.iterdir())  # a folder that holds no run must stay fit for one
    saved = Path(capsys.readouterr().err.split("Its traceback: ")[1].strip())
    saved.unlink()


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLZOO_DEBUG", "1")
    with pytest.raises(RunError) as error:
        raise RunError("no")
    plain.explain_failure(error.value)
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_ctrl_c_ends_with_130(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rlzoo.configure.load", stop)
    assert shell("config", "show").code == 130


def test_a_terminal_without_unicode_does_not_end_a_command() -> None:
    code = "import sys; from rlzoo.cli.main import run; sys.exit(run(['explain', 'grpo']))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert done.returncode == 0
    assert b"\\xb7" in done.stdout  # the formula's middle dot


# -- listings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["algos"], ["metrics"], ["recipes"], ["config", "show", "--explain"]])
def test_listings_fit_80_columns(shell: Shell, command: list[str]) -> None:
    answer = shell(*command)
    assert answer.code == 0
    assert max(map(len, answer.out.splitlines())) <= 80


def test_algos_says_formula_settings_and_exemptions(shell: Shell) -> None:
    entries = {entry["name"]: entry for entry in map(json.loads, shell("algos", "--json").out.splitlines())}
    assert entries["grpo"]["formula"].startswith("A_i = (R_i - mean R)")
    assert entries["grpo"]["exemptions"] == {}
    clip = next(setting for setting in entries["grpo"]["settings"] if setting["path"] == "clip_low")
    assert (clip["default"], clip["tag"]) == (0.2, "EXACT")
    assert "verl" in clip["source"]


def test_algos_are_grouped_and_found_by_what_they_need(shell: Shell) -> None:
    listed = shell("algos").out
    assert (
        listed.index("From rewards alone") < listed.index("grpo: ") < listed.index("Additions") < listed.index("cepo: ")
    )
    assert "needs: teacher, answers, group" in listed
    entries = {e["name"]: e for e in map(json.loads, shell("algos", "--json").out.splitlines())}
    assert entries["grpo"]["needs"] == ["group"]
    assert entries["mcpo-contrastive"]["needs"] == ["domains", "embeddings", "heads", "group"]
    assert entries["mcpo-mastery"]["needs"] == ["updates", "group"]
    assert (
        entries["dpo"]["needs"] == entries["ipo"]["needs"] == ["reference", "pairs", "group"]
    )  # nobody is told anything
    assert entries["opd"]["needs"] == ["teacher", "model"]
    assert entries["max-rl"]["needs"] == ["group", "rewards"]
    assert entries["sdpo"]["needs"] == ["teacher", "group"]  # by what it shows
    found = shell("algos", "--needs", "reference").out
    assert "What they need" in found and "log-probs under the initial policy" in " ".join(found.split())
    assert "grpo: " not in found
    both = [
        e["name"]
        for e in map(json.loads, shell("algos", "--needs=teacher", "--needs=answers", "--json").out.splitlines())
    ]
    assert "cepo" in both and not {"grpo", "mcpo-mastery"} & set(both)
    wrong = shell("algos", "--needs", "answer")
    assert wrong.code == 2
    assert "--needs knows no 'answer'. Did you mean 'answers'?" in wrong.err


def test_what_objectives_cost_is_listed(shell: Shell) -> None:
    (entry,) = map(
        json.loads, shell("algos", "--needs", "domains", "--needs", "embeddings", "--cost", "--json").out.splitlines()
    )
    assert entry["name"] == "mcpo-contrastive"
    assert (
        entry["cost"]["extra_forward_passes"] == explain.cost({"name": "mcpo-contrastive"})["extra_forward_passes"] > 1
    )
    assert "extra forward tokens: 1.19 x one pass" in " ".join(
        shell("algos", "--needs", "domains", "--cost").out.split()
    )


def test_every_metric_has_unit_and_meaning(shell: Shell) -> None:
    glossary = json.loads(shell("metrics", "--json").out)
    assert {"reward/mean", "loss/<term>", "time/<stage>"} <= {metric["name"] for metric in glossary}
    assert all(metric["unit"] and metric["meaning"] for metric in glossary)


def test_recipes_say_what_they_are_for(shell: Shell) -> None:
    entries = json.loads(shell("recipes", "--json").out)
    assert "cpu-default" in {entry["name"] for entry in entries}
    assert all(entry["about"] for entry in entries)


# -- settings ---------------------------------------------------------------------------------------------


def test_config_show_is_a_file_that_config_reads(shell: Shell) -> None:
    first = shell("config", "show", "--algo", "grpo", "--steps", "7", "--set", "learner.lr=3e-5", "--seed", "4")
    assert first.code == 0
    Path("mine.yaml").write_text(first.out, encoding="utf-8")
    assert shell("config", "show", "--config", "mine.yaml").out == first.out
    assert "steps: 7" in first.out
    assert "lr: 3.0e-05" in first.out


def test_set_is_stronger_than_its_shortcut(shell: Shell) -> None:
    shown = json.loads(shell("config", "show", "--json", "--steps", "7", "--set", "budget.steps=9").out)
    assert shown["budget"]["steps"] == 9


def test_a_model_name_stays_text(shell: Shell) -> None:
    assert json.loads(shell("config", "show", "--json", "--model", "1e5").out)["model"]["path"] == "1e5"


def test_config_explain_covers_every_setting(shell: Shell) -> None:
    from rlzoo import configure

    entries = [json.loads(line) for line in shell("config", "show", "--explain", "--json").out.splitlines()]
    leaves = {path for path, _ in configure.flatten(configure.load().model_dump(mode="json"))}
    assert {entry["path"] for entry in entries} == leaves
    ours = next(entry for entry in entries if entry["path"] == "sampling.group_size")
    assert ours["meaning"] == "Rollouts a prompt."
    assert ours["limits"] == "at least 1"


def test_config_check(shell: Shell) -> None:
    Path("good.yaml").write_text("learner: {lr: 3e-5}\n", encoding="utf-8")
    Path("bad.yaml").write_text("learner: {lr: fast}\n", encoding="utf-8")
    assert shell("config", "check", "good.yaml").out.startswith("ok: good.yaml")
    refused(shell("config", "check", "bad.yaml"), "learner.lr", "'fast'")


def test_schema_knows_each_objective_s_settings(shell: Shell) -> None:
    schema = json.loads(shell("config", "schema").out)
    grpo = next(entry for entry in schema["properties"]["objective"]["anyOf"] if entry.get("title") == "grpo")
    assert grpo["properties"]["name"]["const"] == "grpo"
    assert "clip_low" in grpo["properties"]
    assert "Rollouts a prompt." in json.dumps(schema["$defs"]["SamplingConfig"])


# -- folders ----------------------------------------------------------------------------------------------


def test_a_new_run_gets_a_new_folder(shell: Shell) -> None:
    from rlzoo import configure

    run = configure.load(assignments=["seed=3"])
    assert [str(train.new_folder(run)) for _ in range(3)] == [
        "runs/grpo-seed3",
        "runs/grpo-seed3-2",
        "runs/grpo-seed3-3",
    ]


def test_no_room_for_a_run(shell: Shell) -> None:
    Path("runs").write_text("not a folder", encoding="utf-8")
    refused(shell("train"), "no folder can be made in runs", "--out")


def test_an_objective_from_a_file_gives_a_tame_folder_name(shell: Shell) -> None:
    Path("own.py").write_text(
        "from rlzoo.algorithms.grpo import Grpo\n\nclass Mine(Grpo):\n    pass\n", encoding="utf-8"
    )
    from rlzoo import configure

    assert str(train.new_folder(configure.load(algo="own.py:Mine"))) == "runs/mine-seed0"


def test_processes_that_share_a_run_must_agree_on_its_folder(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused(shell("train"), "Give --out")
