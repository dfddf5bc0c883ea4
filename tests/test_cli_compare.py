"""`rlzoo compare`: what is asked is planned or refused in words; and, with real runs, a killed comparison goes on to the same end."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rlzoo.cli import main
from rlzoo.runs.folder import RunDir
from tests.support import without_times

SMALL = [
    *(
        "--set",
        "sampling.prompts_per_step=6",
        "--set",
        "learner.updates_per_step=2",
        "--set",
        "sampling.group_size=4",
        "--set",
        "sampling.max_response=24",
    ),
    *("--set", "eval.problems_per_level=1", "--set", "eval.samples=2", "--set", "threads=1"),
]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


# ------------------------------------------------------------------------------------------------------------ quick


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["gpro", "cepo"], ["Did you mean 'grpo'?"]),
        (["grpo"], ["nothing to compare it with"]),
        (["grpo", "grpo"], ["more than one arm is named 'grpo'", "again=grpo"]),
        (["grpo", "cepo:budget.steps=2"], ["all arms get the same budget"]),
        (["grpo", "cepo:nix=3"], ["arm 'cepo-nix-3' cannot be run", "did you mean 'mix'?"]),
        (["grpo", "grpo@math"], ["Did you mean 'maths'?"]),
        (["grpo", "mcpo-contrastive@maths"], ["arm 'mcpo-contrastive-maths' cannot be run", "at least 2 domains"]),
        (["grpo", "cepo@maths", "--strict"], ["--strict", "data.sources"]),
        (["--budget", "gentokens=2"], ["Did you mean 'gen_tokens'?"]),
        (["--budget", "gen_tokens=2Q"], ["holds no amount"]),
        (["--seeds", "x"], ["--seeds is 'x'"]),
        (["--controls", "frosen"], ["Did you mean 'frozen'?"]),
        (["--baseline", "x"], ["the baseline 'x' is none of the arms"]),
        (["--preset", "quik"], ["Did you mean 'quick'?"]),
        (["--margin", "0"], ["margin above 0"]),
        (["--set", "seed=1"], ["Use --seeds"]),
        (["--jobs", "0"], ["--jobs"]),
        (["--on", "rya"], ["--on is 'rya'", "ray://HOST:PORT"]),
        (["--gpus-per-run", "0"], ["--gpus-per-run"]),
        (["--gpus-per-run", "2", "--set", "model.device=cpu"], ["offers a run no GPUs"]),
        (["--runs"], ["--runs needs the folders"]),
        (["--runs", "nothing"], ["'nothing' holds no comparison"]),
    ],
)
def test_refused(args: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["compare", *args]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    for word in words:
        assert word in captured.err
    assert not Path("runs").exists()


def test_without_ray_it_is_said_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    assert main.run(["compare", "grpo", "cepo", "--on", "ray"]) == 2
    assert "Ray is not installed" in (told := capsys.readouterr().err)
    assert "pip install 'rlzoo[ray]'" in told
    assert not Path("runs").exists()


def test_without_arguments_the_four_are_planned(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["compare", "--dry-run"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    for words in ("grpo, mcpo-contrastive, mcpo-mastery, cepo", "frozen", "5 arms × 3 seeds = 15", "minutes", "5.7"):
        assert words in captured.out
    assert max(map(len, captured.out.splitlines())) <= 80
    assert not Path("runs").exists()


def test_a_plan_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["compare", "grpo", "cepo:mix=0.3", "--seeds", "1", "--dry-run", "--json"]) == 0
    captured = capsys.readouterr()
    plan = json.loads(captured.out)
    assert [arm["name"] for arm in plan["arms"]] == ["grpo", "cepo-mix-0.3"]
    assert (plan["event"], plan["runs"], plan["seeds"], plan["baseline"]) == ("plan", 2, [0], "grpo")
    assert "one seed cannot tell" in captured.err


def test_a_difference_beside_the_objective_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["compare", "grpo", "cepo:learner.lr=3e-5", "--dry-run"]) == 0
    assert "learner.lr: 0.0004 -> 3e-05" in capsys.readouterr().err


def test_a_folder_of_something_else_is_refused_and_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("x")
    assert main.run(["compare", "grpo", "cepo", "--out", "mine"]) == 2
    assert "holds no comparison" in capsys.readouterr().err
    assert [item.name for item in Path("mine").iterdir() if not item.name.startswith(".")] == ["notes.txt"]


# ------------------------------------------------------------------------------------------------------------- long


def ask(out: str, *more: str) -> list[str]:
    words = ["grpo", "cepo", "--seeds", "2", "--budget", "steps=8", "--jobs", "2", *SMALL, "--out", out, *more]
    return [str(Path(sys.executable).parent / "rlzoo"), "compare", *words]


ENVIRONMENT = {**os.environ, "PYTHONSAFEPATH": "1"}


def compare(out: str, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ask(out, *more),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def records(out: str) -> dict[str, object]:
    return {
        run.name: (without_times(RunDir(run).metrics()), RunDir(run).evaluations())
        for run in sorted(Path(out, "runs").iterdir())
    }


def recorded(out: str) -> int:
    """Steps and evaluations that the runs of a comparison have written."""
    runs = [RunDir(run) for run in Path(out, "runs").glob("*")]
    return sum(len(run.metrics()) + len(run.evaluations()) for run in runs)


def await_(happened: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.02)


def begun(out: str) -> "subprocess.Popen[str]":
    """A comparison with its first run under way; begun again where it was refused because the last one's runs had not ended yet."""
    said = ""
    for _ in range(10):
        process = subprocess.Popen(
            ask(out), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if "started" in line:
                return process
        assert process.wait() == 2 and "Wait until it has ended" in " ".join(said.split()), said
        time.sleep(2)
    raise AssertionError(said)


def report(out: str) -> object:
    """What a report says, without durations, dates, the folder's name and where its runs were resumed."""

    def timeless(value: object) -> object:
        if isinstance(value, dict):
            return {
                key: timeless(inner)
                for key, inner in value.items()
                if "seconds" not in key and key not in ("ran", "date")
            }
        if isinstance(value, list):
            return [timeless(inner) for inner in value]
        return value.replace(out, "OUT") if isinstance(value, str) else value

    return timeless(json.loads(Path(out, "report.json").read_text()))


@pytest.mark.long
def test_a_comparison_killed_and_interrupted_goes_on_to_the_same_end() -> None:
    whole = compare("never-killed")
    assert whole.returncode == 0, whole.stderr
    assert whole.stdout.splitlines()[-1].startswith("Report: never-killed")
    found = records("never-killed")
    assert list(found) == ["cepo-seed0", "cepo-seed1", "grpo-seed0", "grpo-seed1"]
    shared = {run: RunDir(Path("never-killed/runs", run)).evaluations()[0].shared_from for run in found}
    assert shared == {"grpo-seed0": None, "grpo-seed1": None, "cepo-seed0": "grpo-seed0", "cepo-seed1": "grpo-seed1"}
    assert "started" in whole.stderr

    chance = random.Random(0)
    for number, stop in enumerate([*[signal.SIGKILL] * 5, signal.SIGINT]):
        with begun("often-killed") as process:
            if stop == signal.SIGKILL:
                await_(lambda need=1 + number // 2: recorded("often-killed") >= need, 120)
                time.sleep(chance.uniform(0, 1))
            process.send_signal(stop)
            told = process.communicate(timeout=300)[1]
        assert process.returncode == (130 if stop == signal.SIGINT else -signal.SIGKILL), told
        assert stop == signal.SIGKILL or "To go on: rlzoo compare grpo cepo" in told
    cut = compare("often-killed")
    assert cut.returncode == 0, cut.stderr
    assert records("often-killed") == found
    assert report("often-killed") == report("never-killed")
    origins = [RunDir(Path("often-killed/runs", run)).provenance() for run in found]
    ran = [origin.ran for origin in origins if origin is not None]
    assert len(ran) == 4
    assert max(len(stretches) for stretches in ran) > 1  # a resumption is told
    assert len({stretch.code for stretches in ran for stretch in stretches}) == 1

    again = compare("often-killed", "--json")  # finished: nothing is run again
    events = [json.loads(line) for line in again.stdout.splitlines()]
    assert [event["event"] for event in events] == ["plan", "result"]
    assert "4 of 4 runs finished already" in again.stderr
    assert compare("often-killed", "--set", "learner.lr=0").returncode == 2

    analysed = subprocess.run(
        [ask("")[0], "compare", "--runs", "never-killed"], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert analysed.returncode == 0, analysed.stderr
    assert analysed.stdout.splitlines()[:-1] == whole.stdout.splitlines()[:-1]


@pytest.mark.long
def test_an_arm_that_dies_is_named_and_the_rest_is_reported() -> None:
    Path("dies.py").write_text(
        "from rlzoo.algorithms.grpo import Grpo\n"
        "class Dies(Grpo):\n"
        "    def assign_credit(self, batch):\n"
        "        raise RuntimeError('no credit today')\n"
    )
    done = subprocess.run(
        [
            *(ask("")[0], "compare", "grpo", "cepo", "dies.py:Dies", "--seeds", "2", "--budget", "steps=1"),
            *(*SMALL, "--out", "out"),
        ],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "no credit today" in done.stderr
    assert "dies-seed0, dies-seed1" in done.stderr
    assert "is tried again" in done.stderr
    assert done.stdout.splitlines()[-1].startswith("Report: out")
    assert "Traceback" not in done.stderr
