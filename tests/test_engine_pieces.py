"""Weights in pieces, all of them held by the one rank there is: every number is that of weights held whole.

Ranks that share them are tried in tests/scale/test_stores.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from rlzoo.engine.learning.optimizer import adamw
from rlzoo.engine.model.loading import load_policy, locate, open_store, restore
from rlzoo.engine.model.policy import Policy
from rlzoo.engine.model.sequences import Sequences
from rlzoo.engine.model.weights.fsdp2 import Fsdp2
from rlzoo.engine.model.weights.holding import Recomputed, hold
from rlzoo.engine.model.weights.pieces import emptied, kept_buffers, layers_of
from rlzoo.engine.model.weights.replicated import Replicated
from rlzoo.engine.ranks import Ranks
from rlzoo.laws.lab import relative_difference, toy_policy
from rlzoo.training_config import LearnerConfig
from tests.support import small_config

ROWS = Sequences([(3, 4, 5), (6,)], [(7, 8, 1), (9, 10, 11, 1)])
LATER = Ranks(1, 1)
"""One that is not the first, and waits for nobody."""
FIRST_LAYER, LAST = "model.model.layers.0.mlp.up_proj.weight", "model.model.layers.1.mlp.up_proj.weight"


@pytest.fixture(scope="module", autouse=True)
def _group() -> Iterator[None]:
    """The group of one that sharding joins ends with these tests."""
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def opened(
    shard: Any = "fsdp2", policy: Policy | None = None, *, trained: bool = True, dtype: Any = None, **more: Any
) -> Any:
    settings = LearnerConfig(shard=shard, lr=1e-3, **more)
    make = partial(adamw, settings=settings) if trained else None
    return hold(policy or toy_policy(), settings, Ranks(), optimizer=make, dtype=dtype, device=torch.device("cpu"))


def single(seed: int = 0) -> Policy:
    return toy_policy(seed, dtype=torch.float32)


def learned(store: Any, lr: float = 1e-3, longest: float = 1.0, **more: Any) -> tuple[Tensor, float]:
    """The gradient of one update in two micro-batches, and the norm that its step told."""
    store.begin()
    for row in (0, 1):
        store.backward(-store.forward(ROWS.take([row])).logps_K.sum(), last=row == 1)
    return store.gradient(), store.step(lr, longest, **more)


def weights(store: Any) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in store.exact()}


def agree(one: Any, other: Any) -> None:
    """Weights and moments, to the last digits but two."""
    torch.testing.assert_close(weights(one), weights(other), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(one.state()["optimizer"], other.state()["optimizer"], rtol=1e-10, atol=1e-18)


@pytest.mark.parametrize("offload", [False, True])
def test_updates_are_those_of_whole_weights(offload: bool) -> None:
    """A gradient scaled down, one that is not, one of zero (momentum moves on), and another learning rate than the optimizer began with."""
    whole, pieces = opened("none"), opened(offload=offload)
    assert dist.get_world_size() == 1
    for lr, longest in ((1e-3, 0.5), (2e-3, 1e6)):
        (expected, norm), (found, told) = learned(whole, lr, longest), learned(pieces, lr, longest)
        assert norm > 0.5
        assert told == pytest.approx(norm, rel=1e-12)
        assert relative_difference(found, expected) <= 1e-12
        agree(pieces, whole)
    before = weights(pieces)
    for store in (whole, pieces):
        store.begin()
        assert not store.gradient().any()
        assert store.step(1e-3, 1.0) == 0.0
    agree(pieces, whole)
    assert float((weights(pieces)[LAST] - before[LAST]).abs().max()) > 1e-5


def test_a_step_that_is_refused_moves_nothing() -> None:
    store, before = opened(), weights(opened())
    assert learned(store, veto=True)[1] > 0.5
    for broken in (math.nan, math.inf):
        store.begin()
        store.backward(store.forward(ROWS).logps_K.sum() * broken, last=True)
        assert not math.isfinite(store.step(1e-3, 1.0))
    assert all(torch.equal(weight, before[name]) for name, weight in store.exact())
    store.clear()
    assert all(parameter.grad is None for parameter in store.named.values())


def test_a_loss_that_leaves_an_output_out_has_its_own_gradient() -> None:
    whole, pieces = opened("none"), opened()
    for store in (whole, pieces):
        store.begin()
        store.backward(store.forward(ROWS).entropy_K.sum(), last=True)
    assert relative_difference(pieces.gradient(), whole.gradient()) <= 1e-12


def test_what_is_asked_of_pieces_is_answered_as_by_the_whole() -> None:
    policy = toy_policy()
    policy.model.model.layers[0].requires_grad_(False)
    policy.model.register_buffer("scale", torch.tensor([2.0]))
    pieces, plain = opened(policy=policy), toy_policy()
    frozen = sum(p.numel() for p in plain.model.model.layers[0].parameters())
    assert (pieces.hidden, pieces.num_parameters, pieces.num_frozen) == (16, plain.num_parameters, frozen)
    told = dict(pieces.full())
    assert set(told) == {*plain.model.state_dict(), "scale"}
    assert all(torch.equal(told[name], weight) for name, weight in plain.model.state_dict().items())
    assert set(pieces.weights_state()["weights"]) == {f"model.{name}" for name in told}
    output = pieces.output_weights()
    learned(pieces)
    assert torch.equal(output.weight_VH, plain.output.weight)
    assert output.bias_V is None
    assert torch.equal(weights(pieces)[FIRST_LAYER], plain.get_parameter(FIRST_LAYER))
    assert not torch.equal(weights(pieces)[LAST], plain.get_parameter(LAST))


@pytest.mark.parametrize("host", [False, True])
def test_a_whole_policy_is_made_of_copies_of_the_pieces(host: bool) -> None:
    store, expected = opened(), toy_policy()(ROWS).logps_K
    with store.whole(host=host) as policy, torch.no_grad():
        assert torch.equal(policy(ROWS).logps_K, expected)
        assert not any(parameter.requires_grad for parameter in policy.parameters())
        for parameter in policy.parameters():
            parameter.zero_()
    assert torch.equal(store.forward(ROWS).logps_K, expected)
    store.ranks = LATER
    with store.whole(host=True) if host else store.whole() as policy:
        assert all(parameter.is_meta == host for parameter in policy.parameters())
    learned(store)
    assert store.weights_state() == {"weights": {}, "masters": {}}
    assert store.state()["optimizer"] == {}


def test_shapes_alone_take_over_what_a_policy_holds() -> None:
    """Its buffers, too."""
    given = toy_policy(1)
    given.model.model.rotary_emb.inv_freq *= 2
    for policy in (emptied(toy_policy()), toy_policy()):
        store = opened(policy=policy)
        store.take(given)
        assert torch.equal(store.forward(ROWS).logps_K, given(ROWS).logps_K)
        assert store.output_weights().weight_VH.data_ptr() != given.output.weight.data_ptr()
    learned(store)
    assert not torch.equal(weights(store)[LAST], given.get_parameter(LAST))


def test_kept_buffers_are_told_by_name() -> None:
    inner, outer = nn.Module(), nn.Module()
    inner.register_buffer("kept", torch.ones(1))
    inner.register_buffer("passing", torch.ones(1), persistent=False)
    inner.register_buffer("none", None)
    outer.register_module("inner", inner)
    outer.register_buffer("own", torch.ones(1))
    assert [name for name, _ in kept_buffers(outer)] == ["own", "inner.kept"]


@pytest.mark.parametrize("theirs", ["fsdp2", "none"])
def test_copies_follow_in_part_or_at_once(theirs: str) -> None:
    """A quarter of its own and three quarters of the other's; of what is not trained, the other's."""
    policy = toy_policy()
    policy.model.model.layers[0].requires_grad_(False)
    store = opened(policy=policy)
    twin = store.copy()
    assert not twin.named
    own, other = weights(twin), opened(theirs, toy_policy(1))
    twin.follow(other, 0.25)
    news = weights(other)
    torch.testing.assert_close(weights(twin)[LAST], 0.25 * own[LAST] + 0.75 * news[LAST])
    assert torch.equal(weights(twin)[FIRST_LAYER], news[FIRST_LAYER])
    assert torch.equal(weights(store)[LAST], own[LAST])
    twin.follow(other, 0.0)
    assert all(torch.equal(weight, news[name]) for name, weight in twin.exact())
    again = opened(policy=toy_policy(2), trained=False)
    again.load(twin.state())
    assert all(torch.equal(weight, news[name]) for name, weight in again.exact())
    assert twin.state()["optimizer"] == {}


@pytest.mark.parametrize(
    ("one", "other", "dtype"),
    [("none", "fsdp2", None), ("fsdp2", "none", None), ("fsdp2", "fsdp2", torch.bfloat16)],
)
def test_an_optimizer_goes_on_in_other_hands(one: str, other: str, dtype: Any) -> None:
    store, again = (opened(shard, single(seed), dtype=dtype) for seed, shard in enumerate((one, other)))
    learned(store)
    learned(store)
    state = store.state()
    assert state["weights"] is None
    assert set(state["masters"]) == (set(store.named) if dtype else set())
    with store.whole(host=True) as policy:
        again.take(policy)
    again.load(state)
    assert all(torch.equal(weight, weights(store)[name]) for name, weight in again.exact())
    assert not torch.equal(weights(store)[LAST], single().get_parameter(LAST))
    for each in (store, again):
        learned(each, 5e-3)
    torch.testing.assert_close(weights(again), weights(store), rtol=1e-5, atol=1e-6)


def test_what_is_trained_is_kept_in_float32_and_computed_in_bfloat16() -> None:
    """Frozen weights are kept as they are computed with. AdamW moves a master by about lr an update."""
    policy = single()
    policy.model.model.layers[0].requires_grad_(False)
    store = opened(policy=policy, dtype=torch.bfloat16)
    first = single()
    assert (store.wide, store.dtype) == (torch.float32, torch.bfloat16)
    before = weights(store)
    assert torch.equal(before[LAST], first.get_parameter(LAST))
    assert torch.equal(before[FIRST_LAYER], first.get_parameter(FIRST_LAYER).bfloat16())
    assert {weight.dtype for _, weight in store.full()} == {torch.bfloat16}
    with store.whole() as whole:
        assert {parameter.dtype for parameter in whole.parameters()} == {torch.bfloat16}
        assert torch.equal(whole(ROWS).logps_K, store.forward(ROWS).logps_K)
    for _ in range(5):
        learned(store, 1e-6)
    assert float((weights(store)[LAST] - before[LAST]).abs().max()) == pytest.approx(5e-6, rel=0.2)
    kept = store.weights_state()
    assert set(kept["masters"]) == set(store.named)
    assert torch.equal(kept["masters"][LAST], weights(store)[LAST])
    assert torch.equal(kept["weights"][LAST], weights(store)[LAST].bfloat16())
    assert torch.equal(kept["weights"]["model.lm_head.weight"], kept["weights"]["model.model.embed_tokens.weight"])


def test_who_holds_what_is_by_the_settings() -> None:
    """What is not trained is whole wherever the trained weights are; only what is trained is computed twice."""
    for shard, kind in (("none", Replicated), ("zero2", Replicated), ("zero3", Fsdp2), ("fsdp2", Fsdp2)):
        assert type(opened(shard, trained=False)) is kind
    assert not any(parameter.requires_grad for parameter in opened("none", trained=False).policy.parameters())
    for trained in (False, True):
        store = opened("none", trained=trained, activation_checkpointing=True)
        assert len(layers_of(store.policy)) == 2
        assert all(isinstance(layer.forward, Recomputed) == trained for layer in layers_of(store.policy))


def test_a_runs_own_model_is_opened_in_pieces_and_taken_from_a_checkpoint() -> None:
    config = small_config(
        "learner.shard=fsdp2", "model.device=cpu", "sampling.temperature=0.5", "learner.logit_elements=500"
    )
    store = open_store(config, Ranks(), partial(adamw, settings=config.learner))
    assert isinstance(store, Fsdp2)
    plain = load_policy(config)
    assert store.shell.chunk == plain.chunk == 500 // plain.output.out_features
    assert torch.equal(store.forward(ROWS).logps_K, plain(ROWS).logps_K)
    restore(store, config, Ranks(), Path(locate("tiny-clean")))
    assert torch.equal(store.forward(ROWS).logps_K, load_policy(config, path="tiny-clean")(ROWS).logps_K)
