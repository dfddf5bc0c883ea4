"""Sampling draws from the distribution it says, with noise that belongs to the rollout and not to its batch."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scipy import stats

from rlzoo import configure
from rlzoo.engine.model.passes import score
from rlzoo.engine.model.sequences import Sequences
from rlzoo.engine.model.weights.replicated import Replicated
from rlzoo.engine.sampling import noise
from rlzoo.engine.sampling.base import Decoding, Request, end_tokens
from rlzoo.engine.sampling.noise import choose, row_key, uniforms
from rlzoo.engine.sampling.transformers import TransformersSampler, truncate
from rlzoo.errors import ConfigError, Diverged, MachineFault, ModelError
from rlzoo.laws.lab import toy_config, toy_policy, toy_tokenizer
from rlzoo.types import Rollout

LONG = 12


def keys_of(name: str, count: int) -> tuple[int, ...]:
    return tuple(row_key("test", name, i) for i in range(count))


def sample(requests: Sequence[Request], *, max_rows: int = 512, **decoding: object) -> list[tuple[Rollout, ...]]:
    sampler = TransformersSampler(toy_config("grpo", sampling={"max_rows": max_rows}), toy_tokenizer())
    sampler.publish(Replicated(toy_policy(dtype=torch.float32)), 0)
    return sampler.sample(requests, Decoding(max_response=LONG, **decoding))  # type: ignore[arg-type]


REQUESTS = [
    Request(prompt_tokens=(3, 4, 5), keys=keys_of("a", 6)),
    Request(prompt_tokens=(7,), keys=keys_of("b", 4)),
    Request(prompt_tokens=(9, 10, 11, 12, 13), keys=keys_of("c", 5)),
]


@pytest.mark.parametrize("kind", ["gumbel", "uniform"])
def test_choices_follow_the_distribution(kind: str):
    """Chi-square of 20,000 draws against their probabilities."""
    logps = torch.tensor([0.5, 0.25, 0.15, 0.07, 0.03]).log()
    keys = torch.tensor(keys_of(kind, 20_000))
    drawn = choose(logps.expand(len(keys), -1), keys, 3, kind).bincount(minlength=5)
    assert (
        stats.chisquare(drawn.numpy(), (logps.exp() * len(keys)).double().numpy() * 1.0, sum_check=False).pvalue > 0.001
    )


def test_uniforms_are_uniform_and_independent():
    """Across rows, positions and tokens: flat by Kolmogorov-Smirnov, and uncorrelated with their neighbours."""
    keys = torch.tensor(keys_of("u", 2000))
    block = torch.stack([uniforms(keys, position, 8) for position in range(4)], 1).double()
    assert stats.kstest(block.flatten().numpy(), "uniform").pvalue > 0.001
    assert 0 < float(block.min()) < float(block.max()) < 1
    for left, right in ((block[:-1], block[1:]), (block[:, :-1], block[:, 1:]), (block[..., :-1], block[..., 1:])):
        assert abs(float(torch.corrcoef(torch.stack([left.flatten(), right.flatten()]))[0, 1])) < 0.02


def test_keys_tell_every_part_apart():
    made = {row_key(a, b, c) for a in ("1", "11") for b in ("1", "11") for c in range(50)}
    assert len(made) == 200


def test_a_rollout_does_not_depend_on_its_batch():
    together = sample(REQUESTS)
    narrow = sample(REQUESTS, max_rows=4)
    alone = [sample([Request(prompt_tokens=r.prompt_tokens, keys=(key,))])[0][0] for r in REQUESTS for key in r.keys]
    flat = [rollout for group in together for rollout in group]
    assert [r.response_tokens for r in flat] == [r.response_tokens for r in alone]
    assert [r.response_tokens for r in flat] == [r.response_tokens for group in narrow for r in group]
    assert len({r.response_tokens for r in flat}) > 10


@pytest.mark.parametrize(
    ("most", "batches"), [(15, [15]), (14, [10, 5]), (10, [10, 5]), (9, [4, 6, 5]), (1, [4, 6, 5])]
)
def test_no_more_rows_are_decoded_side_by_side_than_allowed(most: int, batches: list[int], monkeypatch: Any) -> None:
    """The shortest prompts first: 4, 6 and 5 responses; those of one prompt stay together."""
    decode, seen = TransformersSampler._decode, list[int]()

    def watched(self: Any, policy: Any, requests: Sequence[Request], decoding: Decoding) -> Any:
        seen.append(sum(len(request.keys) for request in requests))
        return decode(self, policy, requests, decoding)

    sampler = TransformersSampler(toy_config("grpo", sampling={"max_rows": most}), toy_tokenizer())
    sampler.publish(Replicated(toy_policy(dtype=torch.float32)), 0)
    monkeypatch.setattr(TransformersSampler, "_decode", watched)
    groups = sampler.sample(REQUESTS, Decoding(max_response=1))
    assert seen == batches
    assert [(group[0].prompt_tokens, len(group)) for group in groups] == [
        (request.prompt_tokens, len(request.keys)) for request in REQUESTS
    ]


def test_noise_that_depended_on_the_batch_would_be_seen(monkeypatch: pytest.MonkeyPatch):
    """The seeded mistake: noise keyed by the row's place in the batch."""
    together = sample(REQUESTS)

    def misplaced(logps: torch.Tensor, keys: torch.Tensor, position: int, kind: str) -> torch.Tensor:
        return noise.choose(logps, torch.arange(len(keys)), position, kind)

    monkeypatch.setattr("rlzoo.engine.sampling.transformers.choose", misplaced)
    assert sample(REQUESTS) != sample(REQUESTS, max_rows=4)
    assert sample(REQUESTS) != together


@pytest.mark.parametrize("decoding", [{}, {"temperature": 0.7}, {"temperature": 1.3, "noise": "uniform"}])
def test_sampler_logps_are_those_of_the_training_forward(decoding: dict[str, object]):
    groups = sample(REQUESTS, **decoding)
    flat = [rollout for group in groups for rollout in group]
    policy = toy_policy(dtype=torch.float32)
    policy.temperature = float(decoding.get("temperature", 1.0))  # type: ignore[arg-type]
    sequences = Sequences([r.prompt_tokens for r in flat], [r.response_tokens for r in flat])
    logps = score(Replicated(policy), sequences, width=LONG, budget=999).logps_BT
    reported = torch.zeros_like(logps)
    for i, rollout in enumerate(flat):
        reported[i, : len(rollout.sampler_logps)] = torch.tensor(rollout.sampler_logps)
    assert float((logps - reported).abs().max()) < 2e-5  # two orders of summation in float32


def test_responses_end_with_the_end_token_or_at_the_limit():
    for rollout in (r for group in sample(REQUESTS) for r in group):
        assert 1 not in rollout.response_tokens[:-1]
        assert rollout.truncated == (rollout.response_tokens[-1] != 1)
        assert len(rollout.response_tokens) == LONG or not rollout.truncated


def test_top_k_and_nucleus_by_hand():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    kept = lambda cut: [round(p, 4) for p in cut.softmax(1)[0].tolist()]  # noqa: E731
    assert kept(truncate(logits, 1.0, 2)) == [0.625, 0.375, 0, 0]
    assert kept(truncate(logits, 0.75, 0)) == [0.625, 0.375, 0, 0]  # 0.5 is short of 0.75, so 0.3 comes in too
    assert kept(truncate(logits, 0.4, 0)) == [1, 0, 0, 0]
    assert kept(truncate(logits, 1.0, 0)) == [0.5, 0.3, 0.15, 0.05]
    assert kept(truncate(logits, 1.0, 1)) == [1, 0, 0, 0]
    assert kept(truncate(torch.zeros(1, 2), 0.5, 0)) in ([1, 0], [0, 1])  # a mass that is just reached suffices
    assert kept(truncate(torch.zeros(1, 3), 1.0, 2)) == [0.3333] * 3  # of equals, none is left out


def test_recorded_logps_are_renormalised_after_truncation():
    """With two tokens allowed, the recorded log-probs are those of a two-way choice: none below the pair's own."""
    for rollout in (r for group in sample(REQUESTS, top_k=1) for r in group):
        assert all(abs(logp) < 1e-6 for logp in rollout.sampler_logps)


def test_every_end_token_ends_a_response():
    """A generation config may name several, as instruct models do: one that ends the turn, one that ends the text."""
    policy = toy_policy(dtype=torch.float32)
    policy.model.generation_config.eos_token_id = [7, 9]
    sampler = TransformersSampler(toy_config("grpo"), toy_tokenizer())
    sampler.publish(Replicated(policy), 0)
    rollouts = [r for group in sampler.sample(REQUESTS, Decoding(max_response=LONG)) for r in group]
    ends = {1, 7, 9}
    for rollout in rollouts:
        assert not ends & set(rollout.response_tokens[:-1])
        assert rollout.truncated == (rollout.response_tokens[-1] not in ends)
        assert len(rollout.response_tokens) == LONG or not rollout.truncated
        said = rollout.response_tokens if rollout.truncated else rollout.response_tokens[:-1]
        assert rollout.text == toy_tokenizer().decode(said, skip_special_tokens=True)
    assert {rollout.response_tokens[-1] for rollout in rollouts} >= {7, 9}


@pytest.mark.parametrize(
    ("own", "generation", "expected"),
    [(1, None, (1,)), (1, 1, (1,)), (1, [5, 1, 3], (1, 3, 5)), (None, [4], (4,)), (None, 4, (4,)), (2, [], (2,))],
)
def test_end_tokens_are_those_of_tokenizer_and_generation_config(own: int | None, generation: Any, expected: Any):
    assert end_tokens(SimpleNamespace(eos_token_id=own), SimpleNamespace(eos_token_id=generation)) == expected


def test_a_model_that_could_never_stop_is_refused():
    for generation in (None, SimpleNamespace(eos_token_id=None)):
        with pytest.raises(ModelError, match="no response could end"):
            end_tokens(SimpleNamespace(eos_token_id=None), generation)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_sample_nothing(value: float):
    policy = toy_policy(dtype=torch.float32)
    sampler = TransformersSampler(toy_config("grpo"), toy_tokenizer())
    sampler.publish(Replicated(policy), 0)
    with torch.no_grad():
        policy.output.weight[3] = value
    with pytest.raises(Diverged, match=r"logits are not finite.*lower learner\.lr"):
        sampler.sample(REQUESTS, Decoding(max_response=LONG))


@pytest.mark.parametrize("lr", ["inf", "nan", "1e3"])
def test_a_learning_rate_that_could_only_destroy_is_refused(lr: str):
    with pytest.raises(ConfigError, match=r"learner\.lr"):
        configure.load(algo="grpo", assignments=[f"learner.lr={lr}"])


def test_memory_that_runs_out_as_the_sampler_is_tried_says_nothing_of_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def give_out(*args: Any, **more: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    sampler = TransformersSampler(toy_config("grpo"), toy_tokenizer())
    monkeypatch.setattr(sampler, "_decode", give_out)
    with pytest.raises(MachineFault, match="memory ran out while sampling"):
        sampler.publish(Replicated(toy_policy()), 0)
