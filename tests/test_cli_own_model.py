"""A model of one's own at the command line: which settings it gets, what it will be asked, and what is refused before a run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlzoo import configure
from rlzoo.cli import choosing, main
from tests import architectures, bytes_model
from tests.architectures import TRAINED

ROWS = [
    {"prompt": "12+34=", "answer": "46", "split": "train"},
    {"prompt": "7*8=", "answer": "56", "split": "train"},
    {"prompt": "9+5*2=", "answer": "19", "split": "test"},
]
MINE = """
from rlzoo.algorithms.grpo import Grpo


class Mine(Grpo):
    pass
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen3 whose template can think, two models of other sizes without weights, problems, an objective."""
    root = tmp_path_factory.mktemp("own")
    architectures.make(TRAINED["qwen3"], root / "qwen3")
    for name, hidden, layers in (("middle", 512, 16), ("large", 4096, 24)):
        make_settings(root / name, hidden, layers)
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (root / "mine.py").write_text(MINE)
    return root


def make_settings(folder: Path, hidden: int, layers: int) -> None:
    from transformers import Qwen2Config

    settings = Qwen2Config(
        vocab_size=1000, hidden_size=hidden, intermediate_size=4 * hidden, num_hidden_layers=layers,
        num_attention_heads=hidden // 64, num_key_value_heads=hidden // 64,
    )  # fmt: skip
    settings.save_pretrained(folder)


@pytest.fixture
def say(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """A command given in the folder: its exit code, what it printed and what it said beside."""
    monkeypatch.chdir(folder)

    def run(*words: str) -> tuple[int, str, str]:
        code = main.run([*words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


# ---------------------------------------------------------------------------------------------------- which settings


@pytest.mark.parametrize(
    ("model", "device", "recipe"),
    [
        ("tiny", "cpu", "cpu-default"),
        ("qwen3", "cpu", "cpu-default"),  # 13 k parameters
        ("middle", "cpu", "own-model"),  # 16 layers x 512² x 16, 67 M
        ("middle", "cuda", "own-model-gpu"),
        ("large", "cpu", "own-model"),
        ("large", "cuda", "own-model-gpu-large"),  # 24 layers x 4096² x 16, 6.4 G
    ],
)
def test_the_recipe_is_chosen_by_size_and_device(folder: Path, model: str, device: str, recipe: str) -> None:
    path = model if model == "tiny" else str(folder / model)
    assert choosing.choose(None, None, [f"model.path={path}", f"model.device={device}"]).recipe == recipe
    assert choosing.choose("quick", None, [f"model.path={path}"]).recipe == "quick", "a recipe that is named is taken"


def test_what_was_chosen_is_said_and_set_beats_it(say: Callable[..., tuple[int, str, str]], folder: Path) -> None:
    code, out, err = say(
        "config", "show", "--algo", "grpo", "--model", "middle", "--set", "sampling.max_response=99", "--json"
    )
    found = json.loads(out)
    assert code == 0
    assert "recipe own-model, since middle has 68M parameters and is trained on a CPU: lr 1e-06" in err.replace(
        "\n", " "
    )
    assert "take about 1 GiB" in err.replace("\n", " "), "67.6 M x 16 bytes"
    assert found["learner"]["lr"] == 1e-6
    assert found["sampling"]["max_response"] == 99
    assert found["model"]["dtype"] == "float32"
    assert say("config", "show", "--algo", "grpo", "--model", "middle", "--recipe", "quick")[2] == ""


def test_a_gpu_computes_in_bfloat16() -> None:
    found = configure.load(recipe="own-model-gpu-large", algo="grpo")
    assert (found.model.dtype, found.learner.lr, found.sampling.max_response) == ("bfloat16", 1e-6, 1024)


def test_all_arms_of_a_comparison_get_the_chosen_settings(
    say: Callable[..., tuple[int, str, str]], folder: Path
) -> None:
    """The large one has no tokenizer and no weights; a plan needs neither."""
    code, out, err = say(
        "compare", "grpo", "mine.py", "--model", "middle", "--data", "rows.jsonl", "--steps", "2", "--dry-run", "--json"
    )
    assert code == 0, err
    plan = json.loads(out)
    assert (plan["recipe"], plan["budget"]) == ("own-model", {"steps": 2})
    assert [arm["name"] for arm in plan["arms"]] == ["grpo", "mine"]
    assert "recipe own-model, since middle" in err
    code, _, err = say("compare", "grpo", "mine.py", "--steps", "2", "--budget", "gen_tokens=1k", "--dry-run")
    assert code == 2 and "give one of them" in err


# ------------------------------------------------------------------------------------------------ what it will be asked


@pytest.mark.parametrize(("told", "thinks"), [("{}", False), ("{enable_thinking: false}", True)])
def test_the_template_is_told_what_is_set(say: Callable[..., tuple[int, str, str]], told: str, thinks: bool) -> None:
    code, out, err = say(
        "train",
        "--algo",
        "mine.py",
        "--model",
        "qwen3",
        "--data",
        "rows.jsonl",
        "--dry-run",
        "--json",
        "--set",
        f"model.template={told}",
    )
    assert code == 0, err
    empty = "<think>\n\n</think>\n\n" if thinks else ""
    assert json.loads(out)["prompt"] == f"<|im_start|>user\n12+34=<|im_end|>\n<|im_start|>assistant\n{empty}"


def test_check_data_shows_the_prompt_as_the_model_reads_it(say: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = say("check", "data", "rows.jsonl", "--model", "qwen3", "--golds", "0")
    assert code == 0, err
    assert "│ <|im_start|>user\n    │ 12+34=<|im_end|>\n" in out


def test_a_base_models_prompt_begins_with_its_start(say: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    architectures.make(TRAINED["llama-no-pad"], tmp_path / "base")
    _, out, _ = say("train", "--model", str(tmp_path / "base"), "--data", "rows.jsonl", "--dry-run", "--json")
    assert json.loads(out)["prompt"] == "<s>12+34="


# --------------------------------------------------------------------------------------------------------- where it lies


def test_paths_mean_the_same_from_every_folder(
    say: Callable[..., tuple[int, str, str]], folder: Path, tmp_path: Path
) -> None:
    """Given in one folder, written absolute; in a file of settings, looked for beside the file."""
    _, out, err = say("config", "show", "--algo", "mine.py", "--model", "qwen3", "--data", "rows.jsonl")
    here, there = tmp_path / "here.yaml", folder / "there.yaml"
    here.write_text(out)
    there.write_text(
        "objective: {name: 'mine.py:Mine'}\nmodel: {path: qwen3}\ndata: {sources: [{name: file, options: {path: rows.jsonl}}]}\n"
    )
    os.chdir(tmp_path)
    found: list[dict[str, Any]] = []
    for file in (here, there):
        code, out, err = say("config", "show", "--config", str(file), "--json")
        assert code == 0, err
        found.append(json.loads(out))
    for settings in found:
        assert settings["objective"]["name"] == f"{folder}/mine.py:Mine"
        assert settings["model"]["path"] == f"{folder}/qwen3"
        assert settings["data"]["sources"][0]["options"]["path"] == f"{folder}/rows.jsonl"


def test_a_rows_verifier_is_found_beside_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rlzoo.data.files import source

    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "yes.py").write_text("")
    (tmp_path / "sub" / "rows.jsonl").write_text('{"prompt": "Say yes.", "answer": "yes", "verifier": "yes.py:Yes"}\n')
    monkeypatch.chdir(tmp_path)
    problem = next(p for found in source("sub/rows.jsonl").by_split.values() for p in found)
    assert problem.verifier == f"{tmp_path}/sub/yes.py:Yes"
    before = source("sub/rows.jsonl").fingerprint()
    (tmp_path / "sub").rename(tmp_path / "moved")
    assert source("moved/rows.jsonl").fingerprint() == before, "where it lies is no part of what it is"


# ------------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "./nowhere"], "does not exist"),
        (["--model", "rows.jsonl"], "no config.json"),
        (["--set", "model.device=cuda"], "sees no CUDA device"),
        (["--set", "data.curriculum=ladde"], "Did you mean 'ladder'?"),
        (["--set", "sampling.backend=transformer"], "Did you mean 'transformers'?"),
        (["--set", "eval.sources=[{name: math}]"], "Did you mean 'maths'?"),
        (["--algo", "none.py"], "cannot be loaded"),
    ],
)
@pytest.mark.parametrize("command", [["train"], ["compare", "grpo", "cepo"]])
def test_a_dry_run_refuses_what_the_run_would_refuse(
    say: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    words: list[str],
    said: str,
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if command[0] == "compare" and words[0] == "--algo":
        words = ["none.py"]
    code, _, err = say(*command, *words, "--dry-run")
    assert code == 2
    assert said in " ".join(err.split())


def test_eval_takes_data(say: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    bytes_model.make(tmp_path / "bytes")
    code, out, err = say("eval", str(tmp_path / "bytes"), "--data", "rows.jsonl", "--samples", "1", "--json")
    assert code == 0, err
    assert len(json.loads(out)["record"]["problems"]) == 1, "the row that is held out"
