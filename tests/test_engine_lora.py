"""Adapters and settings of a GPU where neither peft nor a GPU is: what is refused before a model loads, and how it is said.

Adapters themselves are tried in tests/scale/test_lora.py.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from rlzoo.cli import main
from rlzoo.engine.learning.optimizer import adamw
from rlzoo.engine.model import loading
from rlzoo.engine.model.loading import check_lora, flash_attention, load_policy
from rlzoo.engine.model.lora import adaptable, chosen
from rlzoo.engine.model.sequences import Sequences
from rlzoo.engine.model.weights.replicated import Replicated
from rlzoo.errors import ConfigError, UnfitModel
from rlzoo.laws.lab import toy_policy
from rlzoo.training_config import LearnerConfig, ModelConfig
from tests import architectures
from tests.support import as_flags, small_config

SEVEN = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def refused(*settings: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main.run(["train", "--algo", "grpo", "--dry-run", *as_flags(*settings)]) == 2
    return capsys.readouterr().err


def test_without_peft_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    told = refused("lora.rank=8", capsys=capsys)
    assert "lora.rank is 8, but peft is not installed" in " ".join(told.split())
    assert "pip install 'rlzoo[lora]'" in " ".join(told.split())
    check_lora(small_config())


def test_adapters_and_jitter_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert "lora.rank is 8 and model.jitter is 0.1" in refused("lora.rank=8", "model.jitter=0.1", capsys=capsys)
    assert "did you mean 'rank'" in refused("lora.rnk=8", capsys=capsys)


def test_targets_that_name_nothing_are_refused_before_weights_are_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda name: object())
    told = " ".join(refused("lora.rank=8", "lora.targets=[q_prj]", capsys=capsys).split())
    assert "lora.targets: 'q_prj' names no linear layer of Qwen3ForCausalLM" in told
    assert "Did you mean 'q_proj'?" in told


def test_layers_that_take_an_adapter(tmp_path: Path) -> None:
    model = toy_policy().model
    assert set(chosen(model, ())) == SEVEN
    assert len(adaptable(model)) == 2 * 7
    with pytest.raises(ConfigError, match="'lm_head' is the output layer"):
        chosen(model, ("lm_head",))
    gpt2 = architectures.make(architectures.TRAINED["gpt2"], tmp_path / "gpt2")
    assert set(chosen(loading.shape_of(str(gpt2)), ())) == {"c_attn", "c_proj", "c_fc"}


def test_a_plan_names_adapters_and_packing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda name: object())
    settings = as_flags("lora.rank=8", "learner.packing=true", "budget.steps=1")
    model = architectures.make(architectures.TRAINED["qwen2"], tmp_path / "qwen2")
    assert main.run(["train", "--algo", "grpo", "--dry-run", "--model", str(model), *settings]) == 0
    told = capsys.readouterr()
    words = " ".join((told.out + told.err).split())
    assert "laid end to end, adapters of rank 8" in words
    assert "adapters of rank 8 computing in float32" in words
    assert "Frozen weights take about" in words


# -- attention ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("implementation", ["auto", "sdpa", "eager"])
def test_attention_is_as_asked_for(implementation: str) -> None:
    policy = load_policy(small_config(f"model.attention={implementation}", "model.device=cpu"))
    expected = {"auto": "sdpa"}.get(implementation, implementation)
    assert policy.model.config._attn_implementation == expected
    rows = Sequences([(5, 6, 7), (8,)], [(9, 10), (11, 12, 13)])
    plain = load_policy(small_config("model.device=cpu"))
    torch.testing.assert_close(policy(rows).logps_K, plain(rows).logps_K)


def test_flash_attention_that_could_not_run_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """By what it lacks first; `auto` goes without, and takes it where nothing is lacking."""
    told = refused("model.attention=flash_attention_2", "model.device=cpu", capsys=capsys)
    assert "it runs on CUDA alone" in " ".join(told.split())
    assert not flash_attention(ModelConfig(device="cpu", dtype="bfloat16"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UnfitModel, match=r"computes in bfloat16 and model.dtype is float32"):
        flash_attention(ModelConfig(attention="flash_attention_2"))
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(UnfitModel, match="pip install flash-attn"):
        flash_attention(ModelConfig(attention="flash_attention_2", dtype="bfloat16"))
    assert not flash_attention(ModelConfig(dtype="bfloat16"))
    monkeypatch.setattr(loading, "find_spec", lambda name: object())
    assert flash_attention(ModelConfig(dtype="bfloat16"))
    assert not flash_attention(ModelConfig(dtype="bfloat16", attention="sdpa"))
    (tmp_path / "config.json").write_text('{"model_type": "bloom"}')
    assert not flash_attention(ModelConfig(dtype="bfloat16"), str(tmp_path)), "a teacher is another architecture"
    with pytest.raises(UnfitModel, match="BloomForCausalLM cannot use it"):
        flash_attention(ModelConfig(attention="flash_attention_2", dtype="bfloat16"), str(tmp_path))


# -- the fused optimizer ----------------------------------------------------------------------------------


def test_a_fused_optimizer_goes_on_from_a_checkpoint() -> None:
    """It counts its steps on the weights' device. Here on the CPU, which has a fused kernel too."""
    rows = Sequences([(3, 4, 5)], [(7, 8, 1)])

    def opened() -> Replicated:
        make = partial(torch.optim.AdamW, lr=1e-3, fused=True)
        return Replicated(toy_policy(dtype=torch.float32), optimizer=make)

    def moved(store: Replicated) -> None:
        store.begin()
        store.backward(-store.forward(rows).logps_K.sum(), last=True)
        store.step(1e-3, 1.0)

    store, other = opened(), opened()
    moved(store)
    other.policy.load_state_dict(store.policy.state_dict())
    other.load(store.state())
    moved(store)
    moved(other)
    assert all(torch.equal(master, other.masters[name]) for name, master in store.masters.items())


def test_a_cpu_has_the_plain_optimizer() -> None:
    assert not adamw([nn.Parameter(torch.ones(2, 2))], LearnerConfig()).defaults["fused"]


@pytest.mark.gpu
def test_a_cuda_device_has_the_fused_optimizer() -> None:
    weights = [nn.Parameter(torch.ones(2, 2, device="cuda"))]
    assert adamw(weights, LearnerConfig()).defaults["fused"]
    store = Replicated(toy_policy(dtype=torch.float32).cuda(), optimizer=partial(adamw, settings=LearnerConfig()))
    store.begin()
    store.step(1e-3, 1.0)
    steps = {state["step"].device.type for state in store.optimizer.state.values()}
    assert steps == {"cuda"}
    store.load(store.state())
    store.begin()
    store.step(1e-3, 1.0)


@pytest.mark.gpu
def test_flash_attention_gives_the_same_log_probs(tmp_path: Path) -> None:
    """In bfloat16, padded and packed; needs flash-attn."""
    pytest.importorskip("flash_attn")
    rows = Sequences([(5, 6, 7), (8,)], [(9, 10), (11, 12, 13)])
    folder = architectures.make(architectures.TRAINED["llama"], tmp_path / "llama")
    told = {}
    for attention in ("sdpa", "flash_attention_2"):
        for packing in ("false", "true"):
            settings = (f"model.attention={attention}", f"learner.packing={packing}", "model.dtype=bfloat16")
            told[attention, packing] = load_policy(small_config(*settings, f"model.path={folder}"))(rows).logps_K
    for found in told.values():
        torch.testing.assert_close(found, told["sdpa", "false"], rtol=0.1, atol=0.1)
