"""Models as their makers build them: what the engine computes is what transformers computes, and what cannot be trained is refused.

What this does not show: that a trained model of such an architecture learns well. All weights here are random.
"""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from rlzoo import configure
from rlzoo.cli import main
from rlzoo.config import RunConfig
from rlzoo.engine.model.loading import frozen_store, load_tokenizer
from rlzoo.engine.model.rendering import Renderer
from rlzoo.engine.model.room import PromptLimit, Room, check_tokenizer, context_of
from rlzoo.engine.model.sequences import Sequences
from rlzoo.engine.sampling.base import Decoding, Request
from rlzoo.engine.sampling.choice import open_sampler
from rlzoo.engine.sampling.transformers import TransformersSampler
from rlzoo.engine.trainer import train
from rlzoo.errors import ConfigError, DataError, ModelError, UnfitModel
from rlzoo.runs.folder import RunDir
from tests import architectures
from tests.architectures import REFUSED, TRAINED

COIN = """
from rlzoo.types import Verdict
from rlzoo.verifier import Verifier


class Coin(Verifier):
    name = "coin"

    def judge(self, problem, response):
        right = sum(map(ord, response)) % 2 == 0
        return Verdict(reward=float(right), status="correct" if right else "wrong", reason="by its letters")
"""
QUESTIONS = ("12+34=", "What is an ant to the tenth of 12 * 12? Think, then say the number alone.")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every model, made when it is first asked for."""
    root = tmp_path_factory.mktemp("architectures")

    class Made(dict[str, Path]):
        def __missing__(self, name: str) -> Path:
            made = TRAINED[name] if name in TRAINED else REFUSED[name][0]
            self[name] = architectures.make(made, root / name)
            return self[name]

    return Made()


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sums whose verifier takes half of what random weights say for right, so that there is something to learn from."""
    folder = tmp_path_factory.mktemp("problems")
    (folder / "coin.py").write_text(COIN)
    splits = ["train"] * 6 + ["test"] * 3
    rows = [
        {"prompt": f"{n}+{n * n}=", "answer": "1", "verifier": f"{folder / 'coin.py'}:Coin", "split": split}
        for n, split in enumerate(splits)
    ]
    file = folder / "sums.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def settings(model: Path, data: Path, steps: int = 1, *more: str) -> RunConfig:
    small = [
        f"model.path={model}", f'data.sources=[{{"name": "file", "options": {{"path": {json.dumps(str(data))}}}}}]',
        "sampling.prompts_per_step=2", "sampling.group_size=4", "sampling.max_response=12", "learner.updates_per_step=1",
        "eval.samples=1", "threads=1", f"budget.steps={steps}", "verifier.check_golds=0",
    ]  # fmt: skip
    return configure.load(algo="grpo", assignments=[*small, *more])


def sampled(config: RunConfig, rows: int = 3) -> tuple[Any, Any, Sequences, list[float]]:
    """Policy, tokenizer, responses to the questions, and their log-probs as the sampler says them."""
    store, tokenizer = frozen_store(config), load_tokenizer(config.model.path)
    renderer = Renderer(tokenizer, PromptLimit(tokens=256))
    requests = [
        Request(
            prompt_tokens=renderer.prompt([{"role": "user", "content": text}]),
            keys=tuple(range(i * rows, i * rows + rows)),
        )
        for i, text in enumerate(QUESTIONS)
    ]
    sampler = open_sampler(config, tokenizer, store, ExitStack())
    rollouts = [r for group in sampler.sample(requests, Decoding(max_response=20)) for r in group]
    sequences = Sequences([r.prompt_tokens for r in rollouts], [r.response_tokens for r in rollouts])
    return store.policy, tokenizer, sequences, [logp for r in rollouts for logp in r.sampler_logps]


@pytest.mark.parametrize("name", TRAINED)
def test_log_probs_are_those_of_a_plain_forward_pass(name: str, folders: dict[str, Path], problems: Path) -> None:
    """Rows of several lengths in one padded batch, prompts beyond the sliding window, against each row alone."""
    from transformers import AutoModelForCausalLM

    policy, _, sequences, said = sampled(settings(folders[name], problems))
    plain = AutoModelForCausalLM.from_pretrained(folders[name], dtype=torch.float32).eval()
    alone = []
    with torch.no_grad():
        for prompt, response in zip(sequences.prompts, sequences.responses, strict=True):
            logits_SV = plain(torch.tensor([[*prompt, *response]]), use_cache=False).logits[0]
            at = torch.arange(len(prompt) - 1, len(prompt) + len(response) - 1)
            alone.append(logits_SV.log_softmax(1)[at, torch.tensor(response)])
        ours_K = policy(sequences).logps_K
    expected_K = torch.cat(alone)
    assert len(expected_K) > 60, "long enough to say something"
    assert len({len(prompt) for prompt in sequences.prompts}) == 2
    torch.testing.assert_close(ours_K, expected_K, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.tensor(said), expected_K, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", TRAINED)
def test_a_step_is_made(name: str, folders: dict[str, Path], problems: Path, tmp_path: Path) -> None:
    config = settings(folders[name], problems, 1, "eval.at_start=false", "eval.at_end=false")
    assert train(config, tmp_path / "run").step == 1
    (line,) = RunDir(tmp_path / "run").metrics()
    assert line["grad/norm"] > 0


@pytest.mark.long
@pytest.mark.parametrize("name", TRAINED)
def test_trained_tested_and_resumed(name: str, folders: dict[str, Path], problems: Path, tmp_path: Path) -> None:
    """Two steps at once are two steps with a stop between them, and are tested alike before and after."""
    config = settings(folders[name], problems, 2, "checkpoint.every=1")
    whole, cut = RunDir(tmp_path / "whole"), RunDir(tmp_path / "cut")
    train(config, whole.path)
    shutil.copytree(whole.path, cut.path)
    shutil.rmtree(cut.checkpoint(2))  # as if it had been killed in its second step
    train(config, cut.path, resume=True)
    weights = [(run.checkpoint(2) / "model.safetensors").read_bytes() for run in (whole, cut)]
    assert weights[0] == weights[1]
    assert weights[0] != (whole.checkpoint(1) / "model.safetensors").read_bytes()
    tested = [[(found.split, found.step, found.attempts) for found in run.evaluations()] for run in (whole, cut)]
    assert tested[0] == tested[1]
    assert [found[:2] for found in tested[0]] == [("test", 0), ("curve", 1), ("test", 2)]


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_is_refused_by_name(name: str, folders: dict[str, Path], problems: Path) -> None:
    reason = REFUSED[name][1]
    with pytest.raises((UnfitModel, ModelError), match=reason):
        sampled(settings(folders[name], problems))


@pytest.mark.parametrize("name", ["mamba", "t5"])
def test_a_dry_run_refuses_by_the_settings_alone(
    name: str, folders: dict[str, Path], problems: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["train", "--algo", "grpo", "--model", str(folders[name]), "--data", str(problems), "--dry-run"]
    assert main.run(asked) == 2
    assert REFUSED[name][1] in capsys.readouterr().err


def test_a_model_that_looks_ahead_would_have_been_trained(folders: dict[str, Path]) -> None:
    """BERT is loaded as a causal language model without a word, so only its own scores tell."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folders["bert"]).eval()
    short, long = (model(torch.tensor([range(1, n)])).logits[0, 2] for n in (4, 6))
    assert (short - long).abs().max() > 0.1


def test_a_cache_that_does_not_hold_is_refused(folders: dict[str, Path], problems: Path) -> None:
    """GPT-2 without the positions it is given: a prompt that is padded on the left is read as if it began later."""
    config = settings(folders["gpt2"], problems)

    def heedless(model: Any) -> Any:
        forward = model.forward
        return lambda position_ids=None, **inputs: forward(**inputs)

    def helpless(model: Any) -> Any:
        forward = model.forward
        return lambda input_ids, use_cache, output_hidden_states=False: forward(input_ids, use_cache=use_cache)

    for change, words in ((heedless, "with a cache differ"), (helpless, "with one cache for several responses")):
        store = frozen_store(config)
        store.policy.model.forward = change(store.policy.model)
        sampler = TransformersSampler(config, load_tokenizer(config.model.path))
        with pytest.raises(UnfitModel, match=rf"GPT2LMHeadModel, .*{words}"):
            sampler.publish(store, 0)


def test_damaged_weights_are_refused(folders: dict[str, Path], problems: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folders["gpt2"])
    model.transformer.h[0].mlp.c_fc.weight.data[0, 0] = torch.nan
    model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="logits that are not finite"):
        frozen_store(settings(tmp_path, problems))


# ------------------------------------------------------------------------------------------------------------ room


def test_the_end_of_a_turn_ends_a_response(folders: dict[str, Path], problems: Path) -> None:
    config = settings(folders["qwen2-two-ends"], problems)
    tokenizer = load_tokenizer(config.model.path)
    sampler = TransformersSampler(config, tokenizer)
    sampler.publish(frozen_store(config), 0)
    assert set(sampler.ends) == set(tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"]))


def test_a_response_that_leaves_no_room_is_refused(folders: dict[str, Path], problems: Path, tmp_path: Path) -> None:
    """GPT-2 here has 256 positions; a prompt of 5 tokens and a response of 252 need 257."""
    fits = settings(
        folders["gpt2"], problems, 1, "sampling.max_response=251", "eval.at_end=false", "eval.at_start=false"
    )
    train(fits, tmp_path / "fits")
    over = settings(folders["gpt2"], problems, 1, "sampling.max_response=252")
    with pytest.raises(
        DataError,
        match=r"4 that sampling\.max_response = 252 leaves of the model's context of 256, the longest 5.*=251",
    ):
        train(over, tmp_path / "over")
    assert not RunDir(tmp_path / "over").rollout_steps(), "before anything is sampled"
    whole = settings(folders["gpt2"], problems, 1, "sampling.max_response=256")
    with pytest.raises(ConfigError, match="no prompt has room"):
        train(whole, tmp_path / "whole")


def test_test_prompts_are_measured_before_training(folders: dict[str, Path], tmp_path: Path) -> None:
    """One test prompt of 40 characters and more; found at the start, though it would be asked at the end only."""
    rows = [
        {"prompt": "1+1=", "answer": "2", "split": "train"},
        {"prompt": "1" * 41 + "=", "answer": "2", "split": "test"},
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = settings(
        folders["gpt2"], file, 1, "sampling.max_prompt=40", "eval.at_start=false", "verifier.check_golds=0"
    )
    with pytest.raises(DataError, match=r"1 of 1 test prompts .* the longest 42"):
        train(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("of", "context"),
    [
        ({"max_position_embeddings": 512}, 512),
        ({"max_position_embeddings": 512, "rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0,
                                                               "original_max_position_embeddings": 512}}, 2048),
        ({"max_position_embeddings": 512, "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}, 512),
    ],
)  # fmt: skip
def test_the_context_is_what_positions_were_made_for(of: dict[str, Any], context: int) -> None:
    from transformers import BloomConfig, Qwen2Config

    assert context_of(Qwen2Config(**of)) == context
    assert context_of(BloomConfig()) is None, "ALiBi has no last position"


def test_a_tokenizer_of_more_tokens_than_the_model_is_refused(folders: dict[str, Path], problems: Path) -> None:
    """259 tokens and a few specials: each row fewer is a token that stands for nothing."""
    tokenizer = load_tokenizer(str(folders["gpt2"]))
    assert not check_tokenizer(tokenizer, Room(rows=len(tokenizer)), "gpt2")
    with pytest.raises(
        ModelError,
        match=rf"numbered up to {len(tokenizer) - 1}, but the model's table holds {len(tokenizer) - 2}: 2 of them",
    ):
        check_tokenizer(tokenizer, Room(rows=len(tokenizer) - 2), "gpt2")


def test_a_special_token_beyond_the_table_is_refused_only_where_a_prompt_holds_it(folders: dict[str, Path]) -> None:
    """Gemma 3's tokenizer has one for images, which its text models have no row for."""
    tokenizer = load_tokenizer(str(folders["gemma3-text"]))
    rows = len(tokenizer) - 1
    (note,) = check_tokenizer(tokenizer, Room(rows=rows), "gemma")
    assert "<image_soft_token>" in note
    renderer = Renderer(tokenizer, PromptLimit(tokens=99, rows=rows))
    assert renderer.prompt([{"role": "user", "content": "an image"}])
    with pytest.raises(DataError, match=rf"'<image_soft_token>', token {rows}, but the model's table holds {rows}"):
        renderer.prompt([{"role": "user", "content": "an <image_soft_token>"}])
