"""Adapters and the copies that share what lies below them, where peft is played: what is in force, what is kept, what is told.

peft itself is tried in tests/scale/test_lora.py.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from rlzoo.engine.learning.optimizer import adamw
from rlzoo.engine.model import loading
from rlzoo.engine.model.copies import PolicyCopies
from rlzoo.engine.model.loading import check_lora, load_adapted, load_policy, locate, open_store, restore
from rlzoo.engine.model.lora import adapted
from rlzoo.engine.model.sequences import Sequences
from rlzoo.engine.model.weights.adapted import Adapted, AdapterCopy
from rlzoo.engine.model.weights.replicated import Replicated
from rlzoo.engine.ranks import Ranks
from rlzoo.errors import ConfigError
from rlzoo.laws.lab import Bench, toy_groups, toy_policy
from rlzoo.training_config import LoraConfig
from rlzoo.types import Ema, Initial, Previous, Snapshot
from tests import architectures, played_peft
from tests.adapters import stirred, toy_adapted
from tests.support import small_config

ROWS = Sequences([(3, 4, 5), (6,)], [(7, 8, 1), (9, 10, 11, 1)])
UP = "model.layers.0.mlp.up_proj"


@pytest.fixture(autouse=True)
def _peft(monkeypatch: pytest.MonkeyPatch) -> None:
    played_peft.installed(monkeypatch)
    monkeypatch.setattr(loading, "find_spec", lambda name: object())


def logps(weights: Any) -> Tensor:
    told: Tensor = weights.forward(ROWS).logps_K.detach()
    return told


def held(weights: Any) -> dict[str, Tensor]:
    return {name: factor.detach().clone() for name, factor in weights.adapters().items()}


def far(one: Tensor, other: Tensor) -> bool:
    return float((one - other).abs().max()) > 0.01


def test_new_and_switched_off_they_are_nothing() -> None:
    plain = logps(Replicated(toy_policy()))
    assert torch.equal(logps(Adapted(toy_adapted())), plain), "the second factor begins at zero"
    store = Adapted(toy_adapted(noise=0.1))
    on = logps(store)
    assert far(on, plain)
    off = store.initial()
    assert torch.equal(logps(off), plain)
    assert torch.equal(logps(off.copy()), plain)
    with off.whole() as policy:
        assert torch.equal(policy(ROWS).logps_K, plain)
    assert torch.equal(logps(store), on), "and they are on again afterwards"
    assert {name for name, p in store.policy.named_parameters() if p.requires_grad} == {
        f"model.{name}" for name in store.policy.adapters
    }
    assert len(store.policy.adapters) == 2 * 2 * 7
    assert {p.dtype for p in store.policy.adapters.values()} == {torch.float64}


def test_merged_they_are_the_same_model() -> None:
    """W + (alpha / rank) B A, by the model's own names, a tied head by both of its."""
    store, plain = Adapted(toy_adapted(noise=0.1)), toy_policy()
    told = dict(store.full())
    assert set(told) == set(plain.model.state_dict()) == set(store.policy.plain())
    layer: Any = store.policy.get_submodule(f"model.{UP}")
    by_hand = plain.model.state_dict()[f"{UP}.weight"] + layer.factor("B") @ layer.factor("A") * 2
    torch.testing.assert_close(told[f"{UP}.weight"], by_hand)
    on = logps(store)
    plain.model.load_state_dict(told)
    torch.testing.assert_close(logps(Replicated(plain)), on, rtol=0, atol=1e-12)
    copied = store.copy()
    stirred(store.policy, 0.1)
    assert all(torch.equal(weight, told[name]) for name, weight in copied.full())
    assert not torch.equal(dict(store.full())[f"{UP}.weight"], told[f"{UP}.weight"])


def test_seeds_and_layers_of_adapters_are_as_asked_for() -> None:
    first, same, other = toy_adapted(seed=1), toy_adapted(seed=1), toy_adapted(seed=2)
    name = next(n for n in first.adapters if "lora_A" in n)
    assert torch.equal(first.adapters[name], same.adapters[name])
    assert not torch.equal(first.adapters[name], other.adapters[name])
    some = toy_adapted(targets=("q_proj",))
    assert {n.split(".")[4] for n in some.adapters} == {"q_proj"}
    asked = some.model.peft_config["default"]
    assert (asked.r, asked.lora_alpha, asked.target_modules, asked.exclude_modules) == (4, 8, ["q_proj"], None)
    assert (asked.fan_in_fan_out, asked.task_type) == (False, "CAUSAL_LM")
    policy = toy_policy(logit_elements=99)
    policy.temperature, policy.packing = 0.5, True
    kept = adapted(policy, LoraConfig(rank=1), base="toy", seed=0)
    assert (kept.temperature, kept.logit_elements, kept.packing, kept.training) == (0.5, 99, True, False)


def test_they_alone_are_trained() -> None:
    policy = toy_adapted()
    before = {name: weight.clone() for name, weight in policy.plain().items()}
    bench = Bench("grpo", policy=policy, learner={"lr": 1e-2})
    start, store = logps(bench.store), bench.store
    for number in (1, 2):
        bench.learner.learn(bench.step(toy_groups(policy=toy_policy()), number), 0.0)
    assert isinstance(store, Adapted)
    assert float((logps(store) - start).abs().max()) > 1e-3
    assert all(torch.equal(weight, before[name]) for name, weight in policy.plain().items())
    assert torch.equal(logps(store.initial()), start)
    plain = sum(p.numel() for p in toy_policy().parameters())
    size = sum(p.numel() for p in policy.adapters.values())
    for each in (store, store.copy()):
        assert (each.num_parameters, each.num_frozen, each.hidden) == (plain + size, plain, 16)
        assert (each.device.type, each.wide) == ("cpu", torch.float64)
        assert torch.equal(each.output_weights().weight_VH, policy.output.weight)


def test_copies_hold_adapters_alone() -> None:
    """After one step from 0: an average at decay 0.25 stands at 3/4 of the way, a snapshot of every 2nd step at the start."""
    store = Adapted(toy_adapted())
    copies = PolicyCopies(store, store.initial)
    kinds: tuple[Any, ...] = (Ema(0.25), Snapshot(2), Previous(), Initial())
    found: dict[Any, Any] = {kind: copies.get(kind) for kind in kinds}
    zero = held(store)
    name = next(n for n in zero if "lora_B" in n)
    stirred(store.policy, 0.1)
    copies.after_step(1)
    moved = held(store)
    torch.testing.assert_close(held(found[Ema(0.25)])[name], 0.75 * moved[name])
    assert torch.equal(held(found[Snapshot(2)])[name], zero[name])
    copies.after_step(2)
    assert all(torch.equal(factor, moved[n]) for n, factor in found[Snapshot(2)].exact())
    assert torch.equal(held(found[Previous()])[name], moved[name])
    assert torch.equal(logps(found[Snapshot(2)]), logps(store))
    assert far(logps(found[Initial()]), logps(store))
    with found[Ema(0.25)].whole() as policy:
        assert torch.equal(policy.adapters[name], held(found[Ema(0.25)])[name])
    assert torch.equal(policy.adapters[name], moved[name])
    again = PolicyCopies(store, store.initial)
    again.load_state_dict(copies.state_dict())
    average: Any = again.get(Ema(0.25))
    assert torch.equal(held(average)[name], held(found[Ema(0.25)])[name])
    twin = average.copy()
    twin.follow(store, 0.0)
    assert not torch.equal(held(twin)[name], held(average)[name])
    assert not twin.forward(ROWS).logps_K.requires_grad


def test_a_copy_is_not_trained() -> None:
    copied: AdapterCopy = Adapted(toy_adapted()).copy()
    copied.begin()
    copied.clear()
    assert len(copied.gradient()) == 0
    for act in (
        lambda: copied.step(1.0, 1.0),
        lambda: copied.backward(torch.zeros(()), last=True),
        lambda: copied.take(None),
    ):
        with pytest.raises(AssertionError, match=r"not trained|read by name"):
            act()


def test_a_checkpoint_holds_the_merged_model_and_the_adapter(tmp_path: Path) -> None:
    """By the names of peft's files; what is read back is in force, to the bit."""
    store = Adapted(toy_adapted(noise=0.1))
    store.policy.save(tmp_path)
    files = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert set(files) == {name for name, _ in store.adapter()}
    assert f"base_model.model.{UP}.lora_A.weight" in files
    told = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (told["r"], told["base_model_name_or_path"], told["inference_mode"]) == (4, "toy", True)
    assert told["target_modules"] == sorted(told["target_modules"])
    assert list(told) == sorted(told)
    merged = load_file(tmp_path / "model.safetensors")
    assert torch.equal(merged[f"{UP}.weight"], store.policy.merged()[f"{UP}.weight"])
    other = Adapted(toy_adapted(seed=3))
    other.policy.read(tmp_path)
    assert torch.equal(logps(other), logps(store))
    store.save_adapter(tmp_path / "deep" / "folder")
    assert (tmp_path / "deep" / "folder" / "adapter_config.json").read_text().endswith("}\n")


def test_a_runs_adapters_lie_over_weights_as_they_are_computed_with(tmp_path: Path) -> None:
    """bfloat16 below, float32 above: a learning rate that bfloat16 would round away moves them."""
    config = small_config("lora.rank=4", "model.dtype=bfloat16", "learner.lr=1e-6", "model.device=cpu")
    store = open_store(config, Ranks(), partial(adamw, settings=config.learner))
    assert isinstance(store, Adapted)
    policy = store.policy
    assert policy.base == locate("tiny")
    assert {p.dtype for p in policy.adapters.values()} == {torch.float32}
    assert {t.dtype for t in policy.plain().values()} == {torch.bfloat16}
    assert {t.dtype for t in policy.merged().values()} == {torch.bfloat16}
    plain = load_policy(config).model.state_dict()
    assert all(torch.equal(t, plain[n]) for n, t in policy.plain().items())
    first = held(store)
    for _ in range(5):
        store.begin()
        store.backward(-store.forward(ROWS).logps_K.sum(), last=True)
        store.step(1e-6, 1.0)
    gone = {n: float((t - first[n]).abs().max()) for n, t in held(store).items()}
    assert max(way for n, way in gone.items() if "lora_B" in n) == pytest.approx(5e-6, rel=0.2)
    policy.save_adapter(tmp_path / "adapter")
    other = open_store(config, Ranks(), partial(adamw, settings=config.learner))
    restore(other, config, Ranks(), tmp_path)
    assert isinstance(other, Adapted)
    assert all(torch.equal(t, held(store)[n]) for n, t in held(other).items())
    untrained = open_store(config, Ranks(), None)
    assert not isinstance(untrained, Adapted)


def test_adapters_of_gpt2s_layers_are_the_transpose(tmp_path: Path) -> None:
    folder = architectures.make(architectures.TRAINED["gpt2"], tmp_path / "gpt2")
    policy = stirred(load_adapted(small_config("lora.rank=2", f"model.path={folder}", "model.dtype=float64")), 0.1)
    store, plain = Adapted(policy), load_policy(small_config(f"model.path={folder}", "model.dtype=float64"))
    on = logps(store)
    assert far(on, logps(Replicated(plain)))
    plain.model.load_state_dict(policy.merged())
    torch.testing.assert_close(logps(Replicated(plain)), on, rtol=0, atol=1e-5)


def test_adapters_are_held_whole() -> None:
    check_lora(small_config("lora.rank=4"))
    with pytest.raises(ConfigError, match=r"lora\.rank is 4 and learner\.shard is 'fsdp2'.*Set learner\.shard=none"):
        check_lora(small_config("lora.rank=4", "learner.shard=fsdp2"))
