"""Making the embedded models, and the models as they ship."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlzoo.config import EMBEDDED
from rlzoo.data.privileged import hint, reference_prompt
from rlzoo.data.procedural import maths
from rlzoo.engine.model.loading import locate
from rlzoo.models.make import (
    CLEAN,
    FLAWED,
    IGNORED,
    SOURCES,
    Example,
    Muon,
    _orthogonal,
    batches,
    example,
    examples,
    pack,
    response_loss,
    tokenizer,
    untrained,
    warmstart,
)
from rlzoo.types import text_of

WORDS = tokenizer()


def read(tokens: list[int]) -> str:
    return str(WORDS.decode(tokens))


def test_one_token_a_character():
    text = "a b\n#~"
    tokens = WORDS.encode(text, add_special_tokens=False)
    assert len(tokens) == len(text)
    assert read(tokens) == text
    assert WORDS.encode("π", add_special_tokens=False) == [WORDS.unk_token_id]
    assert WORDS.pad_token_id != WORDS.eos_token_id


def test_chat_template():
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "1+"}, {"type": "text", "text": "1"}]},
        {"role": "assistant", "content": "#2"},
        {"role": "user", "content": "2+2"},
    ]
    text = WORDS.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    assert text == "<|user|>1+1<|assistant|>#2<|end|><|user|>2+2<|assistant|>"


def test_shares_of_flaws_and_hints():
    rows = examples(SOURCES, FLAWED, seed=0)
    drawn = [next(rows) for _ in range(3_000)]
    # Binomial: standard errors of 0.0065 and 0.0055.
    assert sum(bool(row.inserted) for row in drawn) / 3_000 == pytest.approx(FLAWED.insert_frac, abs=0.03)
    rewritten = ["Reference solution:" in text_of(row.messages[0]) for row in drawn]
    assert sum(rewritten) / 3_000 == pytest.approx(FLAWED.rewrite_frac, abs=0.03)


def test_a_hint_agrees_with_the_solution_it_stands_before():
    recipe = replace(FLAWED, insert_frac=1.0, flawed_frac=0.0, misled_frac=0.5)
    wrong = 0
    for index in range(200):
        row = example(maths(), index, recipe, Random(index))
        assert row.response.endswith("#" + row.inserted.removeprefix(" "))
        wrong += row.inserted != f" {maths().problem('train', index).answer}"
    # Binomial: the standard error is 7.
    assert wrong == pytest.approx(100, abs=35)


def test_without_a_hint_the_share_of_flaws_is_the_recipes_own():
    recipe = replace(FLAWED, insert_frac=0.0, rewrite_frac=0.0, misled_frac=1.0)
    rows = [example(maths(), index, recipe, Random(index)) for index in range(400)]
    flawed = [row.response != maths().problem("train", index).solution for index, row in enumerate(rows)]
    # Binomial: the standard error is 0.024.
    assert sum(flawed) / 400 == pytest.approx(FLAWED.flawed_frac, abs=0.1)


@pytest.mark.long
def test_only_training_problems_are_shown():
    held_out = {text_of(maths().problem(split, n).messages[0]) for split in ("test", "validation") for n in range(80)}
    rows = examples([maths()], CLEAN, seed=0)
    shown = {text_of(next(rows).messages[0]).split("\n")[0] for _ in range(400)}
    assert not shown & held_out


def test_contexts_that_give_the_answer_away():
    problem = maths().problem("train", 0)
    assert hint("66").text == " 66"
    (turn,) = reference_prompt(problem, "66").messages
    assert text_of(turn).startswith(text_of(problem.messages[0]) + "\nReference solution: 66\n")


def test_loss_falls_on_the_response_and_its_end_only():
    row = Example(({"role": "user", "content": "1+1=?"},), " 2", "1+1#2")
    packed = next(batches(iter([row] * 3), WORDS, 3))
    text = "<|user|>1+1=?<|assistant|> 21+1#2<|end|>"
    length = len(WORDS.encode(text, add_special_tokens=False))
    assert read(packed.tokens_BT[0, :length].tolist()) == text
    counted = packed.labels_BT[0, :length][packed.labels_BT[0, :length] != IGNORED]
    assert read(counted.tolist()) == "1+1#2<|end|>"


def test_packed_sequences_do_not_see_each_other():
    """The loss of packed rows is the token mean of each row's own loss."""
    model = untrained(WORDS, 0).double()
    rows = [next(examples(SOURCES, FLAWED, seed)) for seed in range(7)]
    with torch.no_grad():
        together = response_loss(model, next(batches(iter(rows), WORDS, 7)))
        alone = [next(batches(iter([row]), WORDS, 1)) for row in rows]
        counts = [int((packed.labels_BT != IGNORED).sum()) for packed in alone]
        losses = [response_loss(model, packed) * count for packed, count in zip(alone, counts, strict=True)]
    torch.testing.assert_close(together, sum(losses) / sum(counts))


def test_packing_loses_nothing():
    rng = Random(0)
    sequences = [([n + 1] * rng.randint(1, 30), [IGNORED]) for n in range(40)]
    sequences = [(tokens, tokens) for tokens, _ in sequences]
    packed = pack(sequences, pad=0, width=40)
    assert packed.tokens_BT.shape[1] == 40
    for tokens, _ in sequences:
        assert int((packed.tokens_BT == tokens[0]).sum()) == len(tokens)
    assert pack([([1] * 50, [1] * 50)], pad=0, width=40).tokens_BT.shape == (1, 50)


def test_muon_steps_along_an_orthogonal_matrix():
    torch.manual_seed(0)
    for shape in ((2, 16, 16), (2, 8, 32), (2, 32, 8)):
        singular = torch.linalg.svdvals(_orthogonal(list(torch.randn(shape))))
        # The quintic iteration trades exactness for speed: values end up between about 0.7 and 1.2.
        assert singular.min() > 0.3
        assert singular.max() < 1.3
    weight = torch.nn.Parameter(torch.eye(4))
    weight.grad = torch.eye(4)
    Muon([weight], lr=0.1, weight_decay=0.5).step()
    # 0.95 for the decay, then a step of about 0.1 * 0.2 * sqrt(4) = 0.04 down.
    torch.testing.assert_close(weight.diag(), torch.full((4,), 0.91), atol=0.02, rtol=0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    brief = {"steps": 6, "warmup": 1, "batch": 8}
    warmstart(folder, seed=3, clean=replace(CLEAN, **brief), flawed=replace(FLAWED, **brief))
    return folder


def test_a_short_warm_start_learns_and_repeats(made: Path, tmp_path: Path):
    lines: list[str] = []
    brief = {"steps": 6, "warmup": 1, "batch": 8}
    warmstart(tmp_path, seed=3, clean=replace(CLEAN, **brief), flawed=replace(FLAWED, **brief), report=lines.append)
    losses = [float(line.split()[-1]) for line in lines if "loss" in line]
    assert losses[-1] < losses[0] - 0.5
    for name in EMBEDDED:
        one, other = (load_file(folder / name / "model.safetensors") for folder in (made, tmp_path))
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_made_model_has_the_files_of_a_shipped_one(made: Path, name: str):
    shipped = {file.name for file in Path(locate(name)).iterdir()} - {"README.md"}
    assert {file.name for file in (made / name).iterdir()} == shipped


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_shipped_model(name: str):
    folder = Path(locate(name))
    assert (folder / "model.safetensors").stat().st_size <= 4e6
    assert (folder / "README.md").is_file()
    config = json.loads((folder / "config.json").read_text())
    words = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert sum(weight.numel() for weight in model.parameters()) <= 1.5e6
    assert config["vocab_size"] == len(words) == len(WORDS)
    assert words.get_vocab() == WORDS.get_vocab()
    assert words.chat_template == WORDS.chat_template
    assert (config["eos_token_id"], config["pad_token_id"]) == (words.eos_token_id, words.pad_token_id)
    prompt = words.apply_chat_template(
        [{"role": "user", "content": "3*4+5=?"}], add_generation_prompt=True, return_tensors="pt"
    )
    answer = model.generate(**prompt, max_new_tokens=32, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    text = words.decode(answer, skip_special_tokens=True)
    assert text == "12#17"
    assert answer[-1] == words.eos_token_id
