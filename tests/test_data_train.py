"""Data as it is, trained on: one command a file; and a mix of three kinds, killed and resumed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from rlzoo.cli.main import run
from rlzoo.registry import verifiers
from rlzoo.runs.folder import RunDir
from tests import bytes_model
from tests.support import as_flags, final_weights, without_times

DATA = Path(__file__).parent / "data"
FILES = sorted(file.name for file in DATA.iterdir() if file.suffix != ".py" and file.is_file())
if "choice" not in verifiers.names():
    FILES.remove("gpqa.csv")
STEP = [
    "--steps", "1", "--set", "sampling.max_prompt=1024", "--set", "sampling.prompts_per_step=2", "--set", "learner.updates_per_step=2", "--set", "sampling.group_size=2",
    "--set", "sampling.max_response=8", "--set", "eval.problems_per_level=1", "--set", "eval.samples=1", "--set", "threads=1",
]  # fmt: skip


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bytes_model.make(tmp_path_factory.mktemp("bytes"))


def train(model: Path, out: Path, *more: str) -> int:
    return run(["train", "--algo", "grpo", "--model", str(model), "--out", str(out), *STEP, *more])


@pytest.mark.long
@pytest.mark.parametrize("name", FILES)
def test_each_format_trains_a_step_by_one_command(name: str, model: Path, tmp_path: Path, capsys):
    assert train(model, tmp_path / "run", "--data", str(DATA / name)) == 0, capsys.readouterr().err
    said = capsys.readouterr().err
    assert f"note: {name}: " in said
    assert "in the layout" in said
    metrics = RunDir(tmp_path / "run").metrics()
    assert len(metrics) == 1
    assert "status/error" not in metrics[0]


def test_rows_of_another_trainer_train_a_step(model: Path, tmp_path: Path, capsys):
    paths = ["--data", str(DATA / "verl.parquet"), "--data", str(DATA / "gsm8k.jsonl")]
    assert train(model, tmp_path / "run", *paths) == 0, capsys.readouterr().err
    assert "note: gsm8k.jsonl: 2 rows in the layout 'gsm8k'" in capsys.readouterr().err
    kept = RunDir(tmp_path / "run").config().data.sources
    assert [source.options["path"] for source in kept] == paths[1::2]


def test_a_long_prompt_is_refused_before_the_first_step_or_skipped(model: Path, tmp_path: Path, capsys):
    rows = [
        {"prompt": "1" * (10 if n else 2000), "answer": "1", "split": "test" if n == 1 else "train"} for n in range(8)
    ]
    rows = [{**row, "id": str(n)} for n, row in enumerate(rows)]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    more = ["--data", str(file), "--set", "eval.at_start=false"]
    assert train(model, tmp_path / "refused", *more) == 1
    said = capsys.readouterr().err
    assert (
        "1 of 7 prompts of file:rows.jsonl have more tokens than sampling.max_prompt = 1024, the longest 2,018" in said
    )
    assert (
        train(
            model,
            tmp_path / "skipped",
            *more,
            "--set",
            "data.long_prompts=skip",
            "--set",
            "sampling.prompts_per_step=12",
        )
        == 0
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--data", "nowhere.jsonl"], "nowhere.jsonl does not exist"),
        (["--set", "data.sources=[{name: file, options: {pth: x}}]"], "dataset 'file' needs the option 'path'"),
        (
            ["--set", "data.sources=[{name: maths, options: {levles: [1]}}]"],
            "takes no option 'levles'. Did you mean 'levels'?",
        ),
    ],
)
def test_sources_that_make_no_sense(more: list[str], said: str, model: Path, tmp_path: Path, capsys):
    assert train(model, tmp_path / "run", *more) == 2
    assert said in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------
# Killed and resumed


STEPS, KILLS = 6, 3
ENVIRONMENT = {**os.environ, "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}


def mix(folder: Path) -> list[str]:
    """Settings of a run on embedded, reasoning-gym and Parquet rows: three verifiers, a quota, a filter by pass rate."""
    rows = [
        {
            "data_source": "sums",
            "prompt": [{"role": "user", "content": f"{a}+{b}="}],
            "ability": "arithmetic",
            "reward_model": {"style": "rule", "ground_truth": str(a + b)},
            "extra_info": {"split": "train", "index": 10 * a + b},
        }
        for a in range(2, 5)
        for b in range(2, 4)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "sums.parquet")
    sources = [
        {"name": "logic"},
        {"name": "reasoning-gym", "options": {"dataset": "basic_arithmetic", "domain": "gym", "instruction": "", "held_out": 4}},
        {"name": "file", "options": {"path": str(folder / "sums.parquet"), "test": 0.2}},
    ]  # fmt: skip
    return as_flags(
        f"data.sources={json.dumps(sources)}",
        "data.quotas={arithmetic: 3}",
        "data.pass_rate={low: 0.2, high: 0.9, rest: 1}",
        "data.curriculum=ladder",
        "data.long_prompts=skip",
        "checkpoint.every=1",
        "eval.at_start=false",
        "eval.at_end=false",
        "verifier.timeout_s=60",  # a loaded machine must not turn a slow import into a verdict
    )


def command(out: Path, flags: list[str], *more: str) -> list[str]:
    rlzoo = str(Path(sys.executable).parent / "rlzoo")
    return [rlzoo, "train", "--algo", "grpo", "--steps", str(STEPS), *flags, "--out", str(out), *more]


@pytest.mark.long
def test_a_mix_of_three_verifiers_killed_and_resumed_is_the_run_nobody_killed(tmp_path: Path):
    flags = mix(tmp_path)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    done = subprocess.run(command(whole, flags), env=ENVIRONMENT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    chance, killed = random.Random(0), 0
    for _ in range(KILLS):
        run_dir = RunDir(cut)
        more = ["--resume"] if run_dir.exists() else []
        steps = len(run_dir.metrics())
        process = subprocess.Popen(
            command(cut, flags, *more), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 240
        while process.poll() is None and len(run_dir.metrics()) <= steps and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(chance.random() * 0.2)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed == KILLS, "the run ended before it could be killed; give it more steps"
    subprocess.run(command(cut, flags, "--resume"), env=ENVIRONMENT, check=True, capture_output=True)
    assert final_weights(cut) == final_weights(whole)
    assert without_times(RunDir(cut).metrics()) == without_times(RunDir(whole).metrics())
    rows = pyarrow.parquet.read_table(whole / "rollouts").to_pylist()
    assert {row["domain"] for row in rows} == {"logic", "gym", "arithmetic"}
    asked = [row for row in rows if row["domain"] == "arithmetic"]
    assert len(asked) == 3 * 4 * STEPS, "three prompts of four rollouts in every step"
