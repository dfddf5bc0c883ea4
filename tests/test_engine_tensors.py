"""Log-probs, divergences, heads, batches and sampling noise as numbers, held against the plainest way to have them."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rlzoo import functional as F
from rlzoo.engine.learning.batch import balance_by_length, to_device
from rlzoo.engine.model.divergence import Match, OutputWeights, matched_divergence, restrict_support
from rlzoo.engine.model.heads import Heads
from rlzoo.engine.model.logps import token_logps
from rlzoo.engine.model.policy import Outputs
from rlzoo.engine.ranks import Ranks
from rlzoo.engine.sampling.noise import choose, row_key, uniforms
from rlzoo.laws.lab import Bench, toy_groups
from rlzoo.types import Divergence, Head, StudentTopK, TeacherTopK

D = torch.float64


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=D, generator=torch.Generator().manual_seed(seed))


# -- log-probs and entropy --------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0), (0.7, -0.3)], ids=["logps", "entropy", "both"])
@pytest.mark.parametrize("chunk", [2, 9])
def test_log_probs_and_entropy_are_those_of_full_logits(chunk: int, weights: tuple[float, float]) -> None:
    """Values and gradients, bias and temperature included, whatever the cut."""
    targets, found = torch.tensor([3, 0, 6, 3, 1]), []
    for plain in (True, False):
        given = [drawn(5, 3), drawn(7, 3, seed=1), drawn(7, seed=2)]
        hidden, weight, bias = (t.requires_grad_() for t in given)
        if plain:
            told = ((hidden @ weight.T + bias) / 0.7).log_softmax(1)
            logps, entropy = told[range(5), targets], -(told.exp() * told).sum(1)
        else:
            logps, entropy = token_logps(hidden, weight, bias, targets, temperature=0.7, chunk=chunk)
        size = torch.arange(1.0, 6.0, dtype=D)
        parts = [part * (by * size).sum() for part, by in zip(weights, (logps, entropy), strict=True) if part]
        torch.stack(parts).sum().backward()
        found.append([logps.detach(), entropy.detach(), *(t.grad for t in given)])
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-13)


def test_nothing_is_asked_of_weights_that_are_not_trained() -> None:
    hidden, weight, bias = drawn(5, 3).requires_grad_(), drawn(7, 3, seed=1), drawn(7, seed=2)
    logps, _ = token_logps(hidden, weight, bias, torch.zeros(5, dtype=torch.long), temperature=1.0, chunk=2)
    logps.sum().backward()
    assert (weight.grad, bias.grad) == (None, None)
    assert hidden.grad is not None


# -- divergences ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("temperature", "sampled_at"), [(0.5, 1.3), (None, 0.5)])
@pytest.mark.parametrize("kind", ["forward", "reverse", "jsd"])
def test_a_divergence_stands_at_the_tokens_that_the_teacher_read(
    kind: Any, temperature: float | None, sampled_at: float
) -> None:
    """Of five tokens it read three; its own output layer has another bias, and gets no gradient. Both at 0.5: asked for, or sampled at."""
    student, weight, bias = drawn(5, 3).requires_grad_(), drawn(7, 3, seed=1), drawn(7, seed=2)
    teacher, theirs = drawn(3, 3, seed=3).requires_grad_(), drawn(7, seed=4)
    kept = torch.tensor([0, 2, 3])
    asked = Divergence(signal="s", kind=kind, mix=0.3, temperature=temperature)
    match = Match(asked, kept, teacher, OutputWeights(weight, theirs))
    for chunk in (2, 9):
        found = matched_divergence(student, weight, bias, match, temperature=sampled_at, chunk=chunk)
        own = ((student[kept] @ weight.T + bias) / 0.5).log_softmax(1)
        other = ((teacher @ weight.T + theirs) / 0.5).log_softmax(1).detach()
        torch.testing.assert_close(found[kept], F.divergence(own, other, kind, 0.3))
        assert found[[1, 4]].tolist() == [0.0, 0.0]
        found.sum().backward()
    assert teacher.grad is None
    nobody = Match(asked, kept[:0], teacher[:0], OutputWeights(weight, theirs))
    nothing = matched_divergence(student, weight, bias, nobody, temperature=1.0, chunk=2)
    assert nothing.tolist() == [0.0] * 5
    assert nothing.requires_grad


def test_a_support_without_its_tail_is_renormalised_and_a_whole_one_has_none() -> None:
    own, other = torch.tensor([[0.5, 0.3, 0.2]]).log(), torch.tensor([[0.1, 0.2, 0.7]]).log()
    mine, theirs = restrict_support(own, other, StudentTopK(2, tail=False))
    torch.testing.assert_close(mine.exp(), torch.tensor([[5 / 8, 3 / 8]]))
    torch.testing.assert_close(theirs.exp(), torch.tensor([[1 / 3, 2 / 3]]))
    for k in (3, 9):
        for tail in (True, False):
            mine, theirs = restrict_support(own, other, TeacherTopK(k, tail=tail))
            torch.testing.assert_close(mine.exp(), torch.tensor([[0.2, 0.3, 0.5]]))
            torch.testing.assert_close(theirs.exp(), torch.tensor([[0.7, 0.2, 0.1]]))
    sure = torch.tensor([[0.0, -1e4]])
    told, _ = restrict_support(sure, sure, StudentTopK(1))
    assert bool(told.isfinite().all()), "a tail without mass"
    assert float(told[0, 1]) == pytest.approx(math.log(torch.finfo(torch.float32).eps), rel=1e-3)


# -- an objective's own modules ---------------------------------------------------------------------------


def heads(**changed: Any) -> Heads:
    class Two:
        def heads(self, hidden: int) -> dict[str, Head]:
            return {
                "value": Head(module=nn.Linear(hidden, 1), kind="token", lr=0.5, weight_decay=0.25, **changed),
                "view": Head(module=nn.Linear(hidden, 3, bias=False), kind="rollout", lr=0.125, weight_decay=0.0),
            }

    two: Any = Two()
    return Heads(two, 2, device=torch.device("cpu"), dtype=D)


def test_heads_have_an_optimizer_of_their_own() -> None:
    """A weight of 1 without a gradient decays to 1 - lr x decay; a first step moves by lr; norms are over all of a head's weights."""
    made = heads()
    value, view = made.of_tokens["value"], made.of_rollouts["view"]
    assert (list(made.of_tokens), list(made.of_rollouts)) == (["value"], ["view"])
    assert [p.shape for p in made.parameters()] == [(1, 2), (1,), (3, 2)]
    assert {p.dtype for p in made.parameters()} == {D}
    for parameter in made.parameters():
        nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    assert isinstance(value, nn.Linear)
    assert isinstance(view, nn.Linear)
    value.weight.grad = torch.tensor([[3.0, 0.0]], dtype=D)
    value.bias.grad = torch.tensor([4.0], dtype=D)
    assert {name: float(norm) for name, norm in made.norms().items()} == {"value": 5.0, "view": 0.0}
    kept = made.state_dict()
    made.step()
    torch.testing.assert_close(value.weight.detach(), torch.tensor([[0.875 - 0.5, 0.875]], dtype=D))
    assert view.weight.detach().eq(1).all()
    assert kept["optimizer"] is not None
    made.clear()
    assert all(p.grad is None for p in made.parameters())
    assert float(made.norms()["value"]) == 0.0
    again = heads()
    again.load_state_dict(copy.deepcopy(made.state_dict()))  # as from a file
    for each in (made, again):
        for parameter in each.parameters():
            parameter.grad = torch.ones_like(parameter)
        each.step()
    torch.testing.assert_close(list(again.parameters()), list(made.parameters()), rtol=0, atol=0)


@pytest.mark.parametrize("trunk", [False, True])
def test_a_token_heads_gradient_reaches_the_policy_where_it_may(trunk: bool) -> None:
    hidden = drawn(3, 2).requires_grad_()
    nothing = torch.zeros(3)
    outputs = Outputs(nothing, nothing, torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0]), None, hidden)
    made = heads(trunk=trunk)
    (found,) = made.read(outputs, 2, 2).values()
    expected = made.of_tokens["value"](hidden).squeeze(1)
    torch.testing.assert_close(found, torch.stack([expected[:2], torch.stack([expected[2], torch.zeros((), dtype=D)])]))
    found.sum().backward()
    assert (hidden.grad is not None) == trunk
    made.to_trunk()
    made.read(outputs, 2, 2)["value"].sum().backward()
    assert hidden.grad is not None
    embeddings = drawn(4, 2, seed=1)
    assert made.project(None) == {}
    assert made.project(embeddings)["view"].shape == (4, 3)
    assert not made.project(embeddings)["view"].requires_grad


def test_heads_of_tokens_alone_are_summed_over_ranks() -> None:
    class Counting(Ranks):
        def all_reduce_sum(self, tensors: Any) -> None:
            for tensor in tensors:
                tensor.mul_(2)

    made = heads()
    made.ranks = Counting(0, 2)
    for parameter in made.parameters():
        parameter.grad = torch.ones_like(parameter)
    made.sum_gradients()
    assert [float(p.grad.mean()) for p in made.parameters() if p.grad is not None] == [2.0, 2.0, 1.0]


# -- batches ----------------------------------------------------------------------------------------------


def test_a_batch_goes_to_a_device_with_all_its_tensors() -> None:
    batch = Bench("grpo").step(toy_groups()).batch
    there: Any = to_device({"batch": batch, "name": "x", "kind": Head}, torch.device("meta"))
    assert (there["name"], there["kind"]) == ("x", Head)
    moved = there["batch"]
    assert (moved.step, moved.domains) == (batch.step, batch.domains)
    assert moved.rewards_B.is_meta
    assert moved.sampler_logps_BT.is_meta
    assert to_device(batch, torch.device("cpu")) is batch
    nested = replace(batch, signals={"told": batch.sampler_logps_BT})
    assert to_device(nested, torch.device("meta")).signals["told"].is_meta


def test_the_longest_go_there_and_back_again() -> None:
    """Over three ranks: 0 1 2, 2 1 0, 0; of equals, the first comes first."""
    assert balance_by_length([9, 7, 8, 5, 4, 6, 6], 3) == [[0, 3, 4], [2, 6], [1, 5]]


# -- noise ------------------------------------------------------------------------------------------------

ALL, GOLDEN = 2**64 - 1, 0x9E3779B97F4A7C15


def mixed(z: int) -> int:
    """Splitmix64's finaliser, as published."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & ALL
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & ALL
    return z ^ (z >> 31)


def test_noise_is_splitmix64s() -> None:
    """By whole numbers: the 23 highest bits, and half a step, so that neither end is reached."""
    assert mixed(GOLDEN) == 0xE220A8397B1DCDAF, "the first number of the published generator from 0"
    keys = [0, 1, -1, 2**62, -(2**63), row_key("a", 1)]
    for position in (0, 1, 700):
        found = uniforms(torch.tensor(keys), position, 3).tolist()
        for key, told in zip(keys, found, strict=True):
            row = mixed((key + GOLDEN * (position + 1)) & ALL)
            assert told == [((mixed((row + GOLDEN * n) & ALL) >> 41) + 0.5) / 2**23 for n in (1, 2, 3)]
    assert row_key("a", 1) == -4522502111639797375


def test_choices_are_by_that_noise() -> None:
    keys = torch.tensor([row_key("c", n) for n in range(40)])
    logps = drawn(40, 5).log_softmax(1)
    noise = uniforms(keys, 3, 5).double()
    assert choose(logps, keys, 3, "gumbel").equal((logps - (-noise.log()).log()).argmax(1))
    below = (logps.exp().cumsum(1) <= uniforms(keys, 3, 1).double() * logps.exp().sum(1, keepdim=True)).sum(1)
    assert choose(logps, keys, 3, "uniform").equal(below)
