"""Adapters: off they are nothing, merged they are the same, only they move, and what is kept of them is all there is.

What this does not show: that a trained model learns as well by adapters as by all its weights.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rlzoo.config import RunConfig
from rlzoo.engine.budget import Spent
from rlzoo.engine.learning.optimizer import adamw
from rlzoo.engine.model.copies import PolicyCopies
from rlzoo.engine.model.loading import load_adapted, load_policy, weights_hash
from rlzoo.engine.model.lora import chosen
from rlzoo.engine.model.passes import score
from rlzoo.engine.model.sequences import Sequences, sequences_of
from rlzoo.engine.model.weights.adapted import Adapted
from rlzoo.engine.model.weights.replicated import Replicated
from rlzoo.engine.trainer import train
from rlzoo.errors import ConfigError
from rlzoo.laws.lab import Bench, relative_difference, toy_groups, toy_policy
from rlzoo.runs.folder import RunDir
from rlzoo.types import Ema, Initial, Previous, Snapshot
from tests import architectures
from tests.adapters import stirred, toy_adapted
from tests.support import small_config

pytestmark = pytest.mark.scale
pytest.importorskip("peft", reason="in the scale environment only")

SEVEN = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
GROUPS = toy_groups(policy=toy_policy())
ROWS = sequences_of(GROUPS)


def logps(weights: Any, rows: Sequences = ROWS) -> Tensor:
    return score(weights, rows, width=rows.width, budget=4096).logps_BT


def gap(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


# -- what adapters are ------------------------------------------------------------------------------------


def test_new_and_switched_off_they_are_nothing() -> None:
    plain = logps(Replicated(toy_policy()))
    assert torch.equal(logps(Adapted(toy_adapted())), plain), "the second factor begins at zero"
    store = Adapted(toy_adapted(noise=0.1))
    assert gap(logps(store), plain) > 0.01
    assert torch.equal(logps(store.initial()), plain)
    assert gap(logps(store), plain) > 0.01, "and they are on again afterwards"
    assert all(p.requires_grad for p in store.policy.adapters.values())


def test_merged_they_are_the_same_model() -> None:
    store, plain = Adapted(toy_adapted(noise=0.1)), toy_policy()
    missing = plain.model.load_state_dict(dict(store.full()))
    assert not missing.missing_keys
    assert gap(logps(Replicated(plain)), logps(store)) < 1e-13
    by_hand, layer = store.policy.model.model.layers[0].mlp.up_proj, "model.layers.0.mlp.up_proj.weight"
    product = by_hand.lora_B["default"].weight @ by_hand.lora_A["default"].weight * (8 / 4)  # alpha / rank
    torch.testing.assert_close(dict(store.full())[layer], toy_policy().model.state_dict()[layer] + product)


def test_their_gradient_is_what_the_chain_rule_makes_of_the_whole_one() -> None:
    """W + (alpha / rank) B A: dB = 2 dW A^T and dA = 2 B^T dW, with dW the gradient of a merged model trained whole."""
    policy = toy_adapted(noise=0.1)
    plain = toy_policy()
    plain.model.load_state_dict(policy.merged())
    low, whole = Bench("grpo", policy=policy), Bench("grpo", policy=plain)
    for bench in (low, whole):
        step = bench.step(GROUPS)
        bench.learner.backward(bench.update(step).update, step.needs, step.costs)
    for name, layer in policy._layers().items():
        held: Any = whole.store
        dense = held.named[f"model.{name}.weight"].grad
        assert dense is not None
        A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        assert relative_difference(B.grad, 2 * dense @ A.T) < 1e-10
        assert relative_difference(A.grad, 2 * B.T @ dense) < 1e-10


OBJECTIVES = ["grpo", {"name": "grpo", "kl_coef": 0.1}, "mcpo-contrastive", "mcpo-mastery", "cepo"]


@pytest.mark.parametrize("section", [*OBJECTIVES, "tests/seam_objectives.py:Distils"], ids=str)
def test_every_objective_trains_them_and_nothing_else(section: Any) -> None:
    policy = toy_adapted()
    before = {name: weight.clone() for name, weight in policy.plain().items()}
    bench = Bench(section, policy=policy, learner={"tokens_per_microbatch": 40, "lr": 1e-2})
    store: Any = bench.store
    start = logps(store)
    for number in (1, 2, 3):
        bench.learner.learn(bench.step(GROUPS, number), 0.0)
        bench.scorer.copies.after_step(number)
    assert gap(logps(bench.store), start) > 1e-3
    assert all(torch.equal(weight, before[name]) for name, weight in policy.plain().items())
    assert {id(p) for group in store.optimizer.param_groups for p in group["params"]} == {
        id(p) for p in policy.adapters.values()
    }
    assert torch.equal(logps(store.initial()), start)


@pytest.mark.parametrize("section", OBJECTIVES, ids=str)
def test_their_gradient_does_not_depend_on_the_cut(section: Any) -> None:
    vectors = []
    for budget in (40, 4096):
        bench = Bench(section, policy=toy_adapted(noise=0.1), learner={"tokens_per_microbatch": budget})
        vectors.append(bench.gradient(bench.step(GROUPS)))
    assert float(vectors[0].norm()) > 1e-3
    assert relative_difference(*vectors) < 1e-12


def test_copies_hold_adapters_alone() -> None:
    """After one step from 0: an average at decay 0.25 stands at 3/4 of the way, a snapshot of every 2nd step at the start."""
    store = Adapted(toy_adapted())
    copies = PolicyCopies(store, store.initial)
    kinds = (Ema(0.25), Snapshot(2), Previous(), Initial())
    held: dict[Any, Any] = {kind: copies.get(kind) for kind in kinds}
    zero = {name: t.detach().clone() for name, t in store.adapters().items()}
    stirred(store.policy, 0.1)
    copies.after_step(1)
    name = next(n for n in zero if "lora_B" in n)
    moved = store.adapters()[name].detach()
    torch.testing.assert_close(held[Ema(0.25)].adapters()[name], 0.75 * moved)
    assert torch.equal(held[Snapshot(2)].adapters()[name], zero[name])
    copies.after_step(2)
    assert torch.equal(held[Snapshot(2)].adapters()[name], moved)
    assert torch.equal(held[Previous()].adapters()[name], moved)
    assert gap(logps(held[Snapshot(2)]), logps(store)) == 0
    with held[Initial()].whole() as policy:
        assert torch.equal(logps(Replicated(policy)), logps(Replicated(toy_policy())))
    size = sum(t.numel() for t in store.adapters().values())
    state = copies.state_dict()
    assert {sum(t.numel() for t in kept["adapters"].values()) for kept in state.values()} == {size}
    again = PolicyCopies(store, store.initial)
    again.load_state_dict(state)
    average: Any = again.get(Ema(0.25))
    assert torch.equal(average.adapters()[name], held[Ema(0.25)].adapters()[name])


def test_parameters_and_operations_are_counted() -> None:
    """Of 4 x (frozen) + 6 x (adapter) operations a trained token, the gradient of frozen weights is not among them."""
    plain, policy = toy_policy(), toy_adapted()
    adapters = sum(p.numel() for p in policy.adapters.values())
    assert policy.num_parameters == plain.num_parameters + adapters
    assert (plain.num_frozen, policy.num_frozen) == (0, plain.num_parameters)
    spent = Spent(parameters=policy.num_parameters, frozen=policy.num_frozen, gen_tokens=10, train_tokens=3)
    assert spent.flops == 20 * (plain.num_parameters + adapters) + 3 * (4 * plain.num_parameters + 6 * adapters)


def test_bfloat16_below_float32_adapters(tmp_path: Path) -> None:
    """A learning rate that bfloat16 weights would round away moves the adapters; the weights below are the rounded ones."""
    config = small_config("lora.rank=4", "model.dtype=bfloat16", "learner.lr=1e-6")
    policy = load_adapted(config)
    assert {p.dtype for p in policy.adapters.values()} == {torch.float32}
    assert {t.dtype for t in policy.plain().values()} == {torch.bfloat16}
    assert policy.wide == torch.float32
    plain = load_policy(config).model.state_dict()
    assert all(torch.equal(t, plain[n]) for n, t in policy.plain().items())
    first = {n: p.detach().clone() for n, p in policy.adapters.items()}
    store = Adapted(policy, optimizer=partial(adamw, settings=config.learner))
    for _ in range(5):
        store.begin()
        store.backward(-store.forward(Sequences([(5, 6)], [(7, 8)])).logps_K.sum(), last=True)
        store.step(1e-6, 1.0)
    second = [(p.detach() - first[n]).abs().max() for n, p in policy.adapters.items() if "lora_B" in n]
    assert float(torch.stack(second).max()) == pytest.approx(5e-6, rel=0.2)
    policy.save(tmp_path)
    assert {t.dtype for t in load_policy(config, path=str(tmp_path)).model.state_dict().values()} == {torch.bfloat16}


# -- other makers' models ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["gpt2", "qwen2-two-ends", *(pytest.param(n, marks=pytest.mark.long) for n in ("llama", "gpt-neox", "phi3"))],
)
def test_other_architectures(name: str, tmp_path: Path) -> None:
    """GPT-2's layers are the transpose of linear ones; a folder that is saved is the merged model, also where tables are tied."""
    folder = architectures.make(architectures.TRAINED[name], tmp_path / "model")
    config = small_config("lora.rank=2", f"model.path={folder}", "model.dtype=float64")
    policy = stirred(load_adapted(config), 0.1)
    rows, store = Sequences([(5, 6, 7), (8, 9)], [(10, 11), (12, 13, 14)]), Adapted(policy)
    on = logps(store, rows)
    plain = load_policy(config)
    assert torch.equal(logps(store.initial(), rows), logps(Replicated(plain), rows))
    assert gap(on, logps(store.initial(), rows)) > 1e-3
    policy.save(tmp_path / "saved")
    merged = load_policy(config, path=str(tmp_path / "saved"))
    assert gap(logps(Replicated(merged), rows), on) < 1e-5  # norms round to float32
    assert set(policy.merged()) == set(plain.model.state_dict())
    from peft import PeftModel

    theirs = PeftModel.from_pretrained(load_policy(config).model, str(tmp_path / "saved" / "adapter"))
    ids = torch.tensor([[5, 6, 7, 10, 11]])
    torch.testing.assert_close(theirs(input_ids=ids).logits, policy.model(input_ids=ids).logits)


def test_what_cannot_be_adapted_is_refused() -> None:
    model = toy_policy().model
    assert chosen(model, ()) == tuple(sorted(SEVEN))
    assert chosen(model, ("self_attn.q_proj",)) == ("self_attn.q_proj",)
    with pytest.raises(ConfigError, match=r"'q_prj' names no linear layer of Qwen2.*Did you mean 'q_proj'"):
        chosen(model, ("q_prj",))
    with pytest.raises(ConfigError, match="'lm_head' is the output layer"):
        chosen(model, ("lm_head",))
    with pytest.raises(ConfigError, match="names no linear layer"):
        chosen(model, ("embed_tokens",))
    some = toy_adapted(targets=("q_proj",))
    assert {name.split(".")[4] for name in some.adapters} == {"q_proj"}


# -- a run ------------------------------------------------------------------------------------------------


def lora_config(*assignments: str, steps: int = 3) -> RunConfig:
    return small_config(
        "lora.rank=4", "learner.lr=1e-3", "checkpoint.every=1", "checkpoint.keep_last=4", *assignments, steps=steps
    )


def digests(folder: Path) -> dict[str, str]:
    files = [f for f in sorted(folder.rglob("*")) if f.suffix in (".safetensors", ".json") and "trainer" not in f.parts]
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.mark.parametrize(
    "more",
    [(), pytest.param(("model.dtype=bfloat16", "objective.kl_coef=0.1"), marks=pytest.mark.long)],
    ids=["float32", "bfloat16-kl"],
)
def test_a_run_resumes_to_the_same_bytes(more: tuple[str, ...], tmp_path: Path) -> None:
    quiet = ("eval.at_start=false", "eval.at_end=false")
    train(lora_config(*more, *quiet), tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    for step in (2, 3):
        shutil.rmtree(RunDir(tmp_path / "cut").checkpoint(step))
    train(lora_config(*more, *quiet), tmp_path / "cut", resume=True)
    whole, cut = (RunDir(tmp_path / name).checkpoint(3) for name in ("whole", "cut"))
    assert "adapter/adapter_model.safetensors" in digests(whole)
    assert digests(whole) == digests(cut)
    assert digests(whole) != digests(RunDir(tmp_path / "whole").checkpoint(2))
    state = torch.load(whole / "trainer" / "state.pt", weights_only=True)
    named = state["learner"]["weights"]["optimizer"]
    assert named and all(".lora_" in name for name in named)
    told = json.loads((whole / "adapter" / "adapter_config.json").read_text())
    assert (told["r"], told["lora_alpha"], told["lora_dropout"]) == (4, 32, 0)
    assert sorted(told["target_modules"]) == sorted(SEVEN)
    provenance = RunDir(tmp_path / "whole").provenance()
    assert provenance is not None
    assert provenance.initial_weights == weights_hash(load_policy(small_config(*more))), "adapters begin as nothing"


def test_a_law_would_notice_a_base_that_moves() -> None:
    """The seeded mistake: weights below that are trained too."""
    policy = toy_adapted()
    before = copy.deepcopy(policy.plain())
    for parameter in policy.parameters():
        parameter.requires_grad_(True)
    bench = Bench("grpo", policy=policy, learner={"lr": 1e-2})
    bench.learner.learn(bench.step(GROUPS), 0.0)
    assert not all(torch.equal(weight, before[name]) for name, weight in policy.plain().items())
