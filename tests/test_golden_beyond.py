"""Objectives beyond the group's advantages, by numbers that a reader can follow: RFT, DPO and IPO, PPO, OPD.

Shown on batches of a few tokens and on the toy policy; that any of them learns a real task is not shown here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rlzoo import functional, registry, returns, surrogates
from rlzoo.algorithms.cepo import Cepo, CepoConfig
from rlzoo.algorithms.grpo import Grpo
from rlzoo.algorithms.mcpo_contrastive import Contrastive, McpoContrastiveConfig
from rlzoo.engine.budget import Spent
from rlzoo.engine.learning.batch import draw_minibatches
from rlzoo.engine.model.copies import PolicyCopies
from rlzoo.engine.model.others import check_others
from rlzoo.engine.step import Costs
from rlzoo.engine.trainer import train
from rlzoo.errors import ConfigError, UnfitModel, UnknownName, UnmetNeed
from rlzoo.laws.lab import Bench, frozen, relative_difference, toy_groups, toy_policy
from rlzoo.runs.folder import RunDir
from rlzoo.types import Initial, MicroBatch, Needs, Representations, RolloutBatch
from tests import bytes_model
from tests.support import LEAST, small_config
from tests.test_golden_objectives import batch_of, build, loss_of, pad

D = torch.float64
GROUPS = toy_groups(policy=toy_policy())
BEYOND = ["rft", "dpo", "ipo", "ppo", "opd"]


def close(got: Any, expected: Any) -> None:
    torch.testing.assert_close(torch.as_tensor(got, dtype=D), torch.as_tensor(expected, dtype=D), rtol=1e-9, atol=1e-9)


# -- rft --------------------------------------------------------------------------------------------------


def test_rft_is_the_mean_over_the_tokens_of_correct_rollouts():
    """Right are rows of 2 and 1 tokens, wrong one of 3: loss (0.5 + 1 + 3) / 3, and each of the three tokens pulls by a third."""
    batch = batch_of([2, 3, 1], [1, 0, 1], groups=[0, 0, 1])
    logps = pad([[-0.5, -1.0], [-9.0, -9.0, -9.0], [-3.0]], 3)
    loss, gradient, shares = loss_of(build(name="rft"), batch, logps, logps - 1)
    close(loss, 1.5)
    close(shares["likelihood"], 1.5)
    close(gradient, [[-1 / 3, -1 / 3, 0], [0, 0, 0], [-1 / 3, 0, 0]])


def test_rft_counts_neither_what_is_wrong_nor_what_is_unjudged():
    batch = batch_of([2, 2, 1], [1, 1, 0])
    batch = replace(batch, judged_B=torch.tensor([True, False, True]))
    logps = pad([[-1.0, -2.0], [-7.0, -7.0], [-7.0]], 2)
    close(loss_of(build(name="rft"), batch, logps, logps)[0], 1.5)
    wrong = batch_of([2, 1], [0, 0])
    credit = build(name="rft").assign_credit(wrong)
    assert not credit.terms["likelihood"].loss_mask_BT.any()  # nothing right: nothing is learned
    assert not credit.advantages_BT.any()


# -- dpo and ipo ------------------------------------------------------------------------------------------

GAINS = [1.0, 0.0, -1.0, 2.0]
"""Summed log-probs of two right rollouts and two wrong ones of a prompt, less the reference's: h is 2, -1, 1 and -2."""


def preference(
    name: str, gains: Sequence[float], correct: Sequence[int], groups: Sequence[int], **settings: Any
) -> Any:
    """The loss of whole responses of two tokens, its gradient by their summed log-prob, and how many rows it ran over."""
    reference = [[-0.5, -1.5] for _ in gains]
    batch = batch_of([2] * len(gains), [float(c) for c in correct], groups=groups, width=3)
    told = pad(reference, 3)
    told[:, 2] = 9.0  # padding, whatever stands in it
    masks = {"reference": torch.ones(len(gains), dtype=torch.bool)}
    batch = replace(batch, signals={"reference": told}, signal_mask=masks, **settings)
    sums = (torch.tensor(gains, dtype=D) - 2.0).requires_grad_()
    terms = build(name=name, beta=0.5).in_batch_losses(
        Representations(embeddings_NH=None, sequence_logps_N=sums), batch
    )
    assert list(terms) == ["preference"] and terms["preference"].coef == 1.0
    (gradient,) = torch.autograd.grad(terms["preference"].loss, sums)
    return terms["preference"].loss.detach(), gradient, terms["preference"].anchors


def test_dpo_on_two_by_two_pairs():
    """-log sigmoid(h / 2) at h = 2, -1, 1, -2: 0.31326, 0.97408, 0.47408, 1.31326, mean 0.76867."""
    loss, gradient, anchors = preference("dpo", GAINS, [1, 1, 0, 0], [0, 0, 0, 0])
    each = [math.log1p(math.exp(-h / 2)) for h in (2, -1, 1, -2)]
    assert each == pytest.approx([0.3132616875, 0.9740769842, 0.4740769842, 1.3132616875])
    close(loss, 0.7686693358475513)
    # d/dh = -0.5 sigmoid(-h / 2): -0.13447, -0.31123, -0.18877, -0.36553; a right row has its two pairs' mean over four
    slope = [-0.5 / (1 + math.exp(h / 2)) / 4 for h in (2, -1, 1, -2)]
    close(gradient, [slope[0] + slope[1], slope[2] + slope[3], -slope[0] - slope[2], -slope[1] - slope[3]])
    assert anchors == 4


def test_ipo_on_two_by_two_pairs():
    """(h - 1)^2 at beta = 1/2: 1, 4, 0 and 9, mean 3.5; slopes 2 (h - 1) / 4 are 0.5, -1, 0 and -1.5."""
    loss, gradient, _ = preference("ipo", GAINS, [1, 1, 0, 0], [0, 0, 0, 0])
    close(loss, 3.5)
    close(gradient, [0.5 - 1.0, 0.0 - 1.5, -0.5 - 0.0, 1.0 + 1.5])


@pytest.mark.parametrize(("name", "one", "four"), [("dpo", math.log(2), 0.7686693358475513), ("ipo", 1.0, 3.5)])
def test_a_prompt_with_one_pair_weighs_as_much_as_one_with_four(name: str, one: float, four: float):
    """And prompts without a pair weigh nothing: one all right, one all wrong, rows of any order."""
    gains = [*GAINS, 3.0, 3.0, 5.0, -5.0, 5.0]
    loss, gradient, anchors = preference(name, gains, [1, 1, 0, 0, 1, 0, 1, 1, 0], [0, 0, 0, 0, 3, 3, 5, 5, 9])
    close(loss, (four + one) / 2)
    assert anchors == 6
    assert not gradient[6:].any()


def test_without_a_pair_there_is_no_loss():
    loss, gradient, anchors = preference("dpo", [4.0, 2.0], [1, 1], [0, 0])
    assert (float(loss), anchors) == (0.0, 0)
    assert not gradient.any()


def test_an_unjudged_rollout_is_in_no_pair_and_one_cut_at_the_limit_is_wrong():
    judged = torch.tensor([True, True, True, False])
    truncated = torch.tensor([False, False, True, False])
    loss, gradient, anchors = preference("ipo", GAINS, [1, 1, 0, 0], [0] * 4, judged_B=judged, truncated_B=truncated)
    close(loss, (1 + 0) / 2)  # h = 2 and 1
    assert anchors == 3
    assert gradient[3] == 0


def test_the_reference_reads_prompts_with_a_pair_and_no_others():
    """The toy's first prompt is all right, its second all wrong."""
    bench = Bench("dpo")
    step = bench.step(GROUPS)
    paired_B = step.batch.signal_mask["reference"]
    right, wrong = ((step.batch.correct_B == c) & step.batch.valid_B for c in (True, False))
    ids = step.batch.group_ids_B
    have = set(ids[right].tolist()) & set(ids[wrong].tolist())
    assert have and not have & {0, 1}
    assert paired_B.tolist() == [int(g) in have and bool(v) for g, v in zip(ids, step.batch.valid_B, strict=True)]
    lengths_B = torch.tensor(step.sequences.lengths)
    scored = int(lengths_B.sum() + lengths_B[paired_B].sum())
    assert step.costs.extra_tokens == scored
    metrics = bench.learner.learn(step, 0.0)
    assert metrics["anchors/preference"] > 0 and 0 < metrics["rows/trained"] < 1
    _, later_N = draw_minibatches(step.batch, 2, bench.config.seed)
    assert step.costs.extra_tokens == scored + int(lengths_B[later_N].sum()), (
        "the first update's rows are known by then"
    )


@pytest.mark.parametrize("name", ["dpo", "ipo"])
def test_a_preference_has_the_gradient_of_all_rows_at_once(name: str):
    """Plain autograd over one graph, against the engine's replay in micro-batches of one row."""
    bench = Bench(name, learner={"tokens_per_microbatch": 1})
    step = bench.step(GROUPS)
    replayed = bench.gradient(step)
    outputs = bench.policy(step.sequences)
    logps = outputs.to_padded(outputs.logps_K, len(step.sequences), step.batch.response_mask_BT.shape[1])
    reps = Representations(embeddings_NH=None, sequence_logps_N=logps.sum(1))
    sum(term.loss for term in bench.objective.in_batch_losses(reps, step.batch).values()).backward()
    whole = torch.cat([p.grad.reshape(-1) for p in bench.policy.parameters() if p.grad is not None])
    assert whole.norm() > 0.01
    assert relative_difference(replayed, whole) <= 1e-12


# -- ppo --------------------------------------------------------------------------------------------------

VALUES = [0.5, 0.2, 0.4]
"""Before each of three tokens; the reward 1 comes at the last."""


def critic_batch(**more: Any) -> RolloutBatch:
    """A response of three tokens rewarded 1, and one of two rewarded 0, with padding whose value must not matter."""
    values = pad([VALUES, [0.1, 0.3]], 4)
    values[1, 2:] = 9.0
    return replace(batch_of([3, 2], [1, 0], groups=[0, 1], width=4), values={"value": values}, **more)


def test_gae_on_three_tokens():
    """delta = 0.2 - 0.5, 0.4 - 0.2, 1 - 0.4 = -0.3, 0.2, 0.6; at lambda 1/2: 0.6, 0.2 + 0.3 = 0.5, -0.3 + 0.25 = -0.05."""
    got = build(name="ppo", lam=0.5, whiten=False).assign_credit(critic_batch()).advantages_BT
    close(got[0], [-0.05, 0.5, 0.6, 0.0])
    close(got[1], [0.2 + 0.5 * -0.3, -0.3, 0.0, 0.0])  # delta = 0.3 - 0.1, 0 - 0.3
    discounted = build(name="ppo", lam=0.5, gamma=0.5, whiten=False).assign_credit(critic_batch()).advantages_BT
    # delta = 0.1 - 0.5, 0.2 - 0.2, 0.6; then 0 + 0.25 * 0.6 and -0.4 + 0.25 * 0.15
    close(discounted[0, :3], [-0.3625, 0.15, 0.6])


def test_a_steps_targets_are_made_once_whatever_the_micro_batches(monkeypatch: pytest.MonkeyPatch):
    """GAE runs over a step twice: for the policy's advantages and for what the critic is to predict."""
    calls: list[int] = []
    gae = returns.gae

    def counted(*given: Any) -> Tensor:
        calls.append(1)
        return gae(*given)

    monkeypatch.setattr(returns, "gae", counted)
    bench = Bench("ppo", learner={"tokens_per_microbatch": 1})
    bench.learner.learn(bench.step(GROUPS), 0.0)
    assert len(calls) == 2


def test_ends_of_lambda():
    """0: the next value's surprise alone. 1: the reward less the value."""
    close(build(name="ppo", lam=0.0, whiten=False).assign_credit(critic_batch()).advantages_BT[0, :3], [-0.3, 0.2, 0.6])
    close(build(name="ppo", lam=1.0, whiten=False).assign_credit(critic_batch()).advantages_BT[0, :3], [0.5, 0.8, 0.6])


def test_lambda_by_length():
    """alpha 1/2: 1 - 2/3 for three tokens, 1 - 2/2 = 0 for two; alpha 1/4 would be negative for both, and is 0."""
    got = build(name="ppo", length_alpha=0.5, whiten=False).assign_credit(critic_batch()).advantages_BT
    close(got[0, :3], [-0.3 + (0.2 + 0.6 / 3) / 3, 0.2 + 0.6 / 3, 0.6])
    close(got[1, :2], [0.2, -0.3])
    got = build(name="ppo", length_alpha=0.25, whiten=False).assign_credit(critic_batch()).advantages_BT
    close(got[0, :3], [-0.3, 0.2, 0.6])


def test_whitening_over_the_steps_judged_tokens():
    """-0.3, 0.2, 0.6, 0.2, -0.3 have mean 0.08 and unbiased variance 0.588 / 4; the unjudged row has no part."""
    batch = replace(
        batch_of([3, 2, 2], [1, 0, 1], groups=[0, 1, 2], width=3),
        values={"value": pad([VALUES, [0.1, 0.3], [7.0, 7.0]], 3)},
        judged_B=torch.tensor([True, True, False]),
    )
    got = build(name="ppo", lam=0.0).assign_credit(batch).advantages_BT
    scale = math.sqrt(0.588 / 4 + 1e-8)
    close(got[0], [-0.38 / scale, 0.12 / scale, 0.52 / scale])
    close(got[1], [0.12 / scale, -0.38 / scale, 0.0])
    assert not got[2].any()
    same = torch.full((1, 3), 0.1, dtype=D)
    assert not surrogates.whiten(same, torch.ones(1, 3, dtype=torch.bool)).any()  # no rounding made into a full step


def values_told(objective: Any, batch: RolloutBatch, now: Tensor) -> Mapping[str, Tensor]:
    credit = objective.assign_credit(batch)
    zeros = torch.zeros_like(now)
    micro = MicroBatch(
        logps_BT=zeros, entropy_BT=zeros, old_logps_BT=zeros, rollouts=batch, credit=credit, heads={"value": now}
    )
    losses: Mapping[str, Tensor] = objective.token_losses(micro)
    return losses


@pytest.mark.parametrize(
    ("critic", "expected"),
    [
        # targets at lambda_value 1 are 1; V = 0.8, 0.1, 1.4 was 0.5, 0.2, 0.4, so it is held at 0.7, 0.1, 0.6
        ({}, [0.5 * 0.3**2, 0.5 * 0.9**2, 0.5 * 0.4**2]),
        ({"clip": 0.1}, [0.5 * 0.4**2, 0.5 * 0.9**2, 0.5 * 0.5**2]),
        ({"clip": None}, [0.5 * 0.2**2, 0.5 * 0.9**2, 0.5 * 0.4**2]),
    ],
)
def test_value_loss(critic: Mapping[str, Any], expected: Sequence[float]):
    now = pad([[0.8, 0.1, 1.4], [0.0, 0.0]], 4)
    close(values_told(build(name="ppo", critic=critic), critic_batch(), now)["value"][0, :3], expected)


def test_value_targets_are_of_their_own_lambda_and_not_whitened():
    """lambda_value 0: r + V of the next token, 0.2, 0.4, 1."""
    now = pad([VALUES, [0.1, 0.3]], 4)
    got = values_told(build(name="ppo", lam=1.0, lam_value=0.0), critic_batch(), now)["value"]
    close(got[0, :3], [0.5 * 0.3**2, 0.5 * 0.2**2, 0.5 * 0.6**2])


def test_terms_of_ppo_and_the_critics_warm_up():
    for step, acts in ((1, False), (2, False), (3, True)):
        objective = build(name="ppo", critic={"warmup_steps": 2, "coef": 0.25})
        terms = objective.assign_credit(critic_batch(step=step)).terms
        assert bool(terms["policy"].loss_weight_BT.any()) == acts
        assert terms["value"].loss_weight_BT.sum() == 5
        assert terms["value"].coef == 0.25
        assert {term.reduction for term in terms.values()} == {"token"}


def test_a_truncated_response_ends_like_any_other():
    whole, cut = (critic_batch(truncated_B=torch.tensor([t, False])) for t in (False, True))
    objective = build(name="ppo")
    close(objective.assign_credit(cut).advantages_BT, objective.assign_credit(whole).advantages_BT)


def test_a_critic_learns_and_reaches_the_policy_only_where_asked():
    moved = {}
    for trunk in (False, True):
        critic = {"lr": 0.05, "trunk": trunk, "warmup_steps": 99}  # so that the policy has no loss of its own
        bench = Bench({"name": "ppo", "critic": critic}, learner={"updates_per_step": 1})
        before = bench.policy.output.weight.detach().clone()
        first = bench.learner.learn(bench.step(GROUPS), 0.0)["loss/value"]
        for _ in range(20):
            last = bench.learner.learn(bench.step(GROUPS), 0.0)["loss/value"]
        assert last < 0.8 * first
        moved[trunk] = not torch.equal(bench.policy.output.weight.detach(), before)
    assert moved == {False: False, True: True}


@pytest.mark.parametrize(
    "section", [{"name": "clipo", "head_steps": 1}, {"name": "ppo", "critic": {"warmup_steps": 1}}]
)
def test_a_policy_that_stands_still_neither_decays_nor_ages_its_optimizer(section: dict[str, Any]) -> None:
    """After a step of three updates in which a head learned alone, the policy is what it was, and its first update as large as ever."""
    bench = Bench(section, learner={"weight_decay": 0.5, "updates_per_step": 3})
    before = [parameter.detach().clone() for parameter in bench.policy.parameters()]
    told = bench.learner.learn(bench.step(GROUPS), 0.0)
    assert "grad/norm" not in told
    assert told["learner/updates"] == 3
    assert all(torch.equal(a, b) for a, b in zip(before, bench.policy.parameters(), strict=True))
    optimizer = bench.store.optimizer  # type: ignore[attr-defined]
    assert not optimizer.state
    assert all(told[f"head/{name}"] > 0 for name in bench.heads.heads)
    moving = bench.learner.learn(bench.step(GROUPS, 2), 0.0)
    assert moving["grad/norm"] > 0
    assert not all(torch.equal(a, b) for a, b in zip(before, bench.policy.parameters(), strict=True))
    assert {float(state["step"]) for state in optimizer.state.values()} == {3.0}


def test_a_batch_without_values_is_an_error_that_names_them():
    with pytest.raises(KeyError, match="value"):
        build(name="ppo").assign_credit(replace(critic_batch(), values={}))


# -- opd --------------------------------------------------------------------------------------------------


def taught(**settings: Any) -> tuple[Any, RolloutBatch, Tensor]:
    """Two responses of which the second has no verdict; the teacher is surer of the first's tokens by 0.4 and less sure by 1.5."""
    old = pad([[-1.0, -0.5], [-2.0]], 2)
    batch = replace(
        batch_of([2, 1], [0, 1], groups=[0, 1]),
        judged_B=torch.tensor([True, False]),
        signals={"teacher": pad([[-0.6, -2.0], [0.0]], 2)},
        signal_mask={"teacher": torch.tensor([True, False])},
        old_logps_BT=old,
    )
    return build(name="opd", **settings), batch, old


def test_opd_rewards_what_the_teacher_is_surer_of():
    objective, batch, old = taught()
    credit = objective.assign_credit(batch)
    close(credit.advantages_BT, [[0.4, -1.5], [0.0, 0.0]])
    assert credit.metrics["teacher/gap"] == pytest.approx((1.5 - 0.4) / 2)
    drift = pad([[math.log(1.5), math.log(0.5)], [1.0]], 2)
    loss, gradient, _ = loss_of(objective, batch, old + drift, old)
    close(loss, -(1.2 * 0.4 - 0.8 * 1.5) / 2)  # both beyond the clip
    assert not gradient.any()
    wide, _, _ = taught(clip_low=0.6, clip_high=0.6)
    loss, gradient, _ = loss_of(wide, batch, old + drift, old)
    close(loss, -(1.5 * 0.4 - 0.5 * 1.5) / 2)
    close(gradient, [[-1.5 * 0.4 / 2, 0.5 * 1.5 / 2], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("mix", "kind", "temperature"),
    [(0.0, "forward", 1.0), (0.5, "jsd", 1.0), (1.0, "reverse", 1.0), (1.0, "reverse", 2.0)],
)
def test_opd_by_divergence_is_that_of_full_distributions(mix: float, kind: Any, temperature: float):
    """Both at the temperature that the policy samples at."""
    from rlzoo import functional as F

    bench = Bench({"name": "opd", "form": "divergence", "beta": mix}, logit_elements=200)
    bench.policy.temperature = temperature
    step = bench.step(GROUPS)
    whole = bench.learner.backward(bench.update(step).update, step.needs, step.costs)
    teacher, total, count = toy_policy(1), 0.0, 0
    for rollout in (r for group in GROUPS for r in group.rollouts if r.verdict and r.verdict.judged):
        ids, start = torch.tensor([[*rollout.prompt_tokens, *rollout.response_tokens]]), len(rollout.prompt_tokens) - 1
        own, other = (
            (p.model(input_ids=ids).logits[0, start:-1] / temperature).log_softmax(-1).detach()
            for p in (bench.policy, teacher)
        )
        total += float(F.divergence(own, other, kind, mix).sum())
        count += len(rollout.response_tokens)
    assert whole.sums["loss/match"] == pytest.approx(total / count, rel=1e-9)


def test_another_model_reads_the_policys_own_tokens_and_is_no_part_of_a_checkpoint():
    bench = Bench("opd")
    step = bench.step(GROUPS)
    rollout = GROUPS[3].rollouts[1]
    row = sum(len(group.rollouts) for group in GROUPS[:3]) + 1
    ids = torch.tensor([[*rollout.prompt_tokens, *rollout.response_tokens]])
    told = toy_policy(1).model(input_ids=ids).logits[0, len(rollout.prompt_tokens) - 1 : -1].log_softmax(-1)
    expected = told[range(len(rollout.response_tokens)), list(rollout.response_tokens)].detach()
    close(step.batch.signals["teacher"][row, : len(expected)], expected)
    assert bench.scorer.copies.state_dict() == {}


def test_a_teachers_pass_costs_by_its_own_size():
    """One of 100 parameters more than the policy's 1000: 7 tokens cost 2 x 1100 x 7."""
    costs = Costs()
    sequences = Bench("grpo").step(GROUPS).sequences.take([0])
    tokens = sum(sequences.lengths)
    costs.read(sequences, 100)
    spent = Spent(parameters=1000)
    spent.add(costs)
    assert spent.extra_tokens == tokens and spent.flops == 2 * 1100 * tokens
    bench = Bench("opd")
    larger = PolicyCopies(bench.store, lambda: frozen(toy_policy()), lambda other: frozen(toy_policy(hidden=32)))
    bench.scorer.copies = larger
    step = bench.step(GROUPS)
    gap = toy_policy(hidden=32).num_parameters - bench.policy.num_parameters
    read = sum(n for n, valid in zip(step.sequences.lengths, step.batch.valid_B, strict=True) if valid)
    assert gap > 0 and step.costs.heavier == gap * read
    assert larger.heavier(Initial()) == 0


def test_what_no_teacher_can_be_is_refused_before_the_policy_loads(tmp_path: Path):
    """Exit code 2: no teacher, one whose tokens are others, weights in pieces."""

    def refused(error: type[Exception], *assignments: str) -> str:
        config = small_config(*LEAST, *assignments, algo="opd", steps=1)
        with pytest.raises(error) as caught:
            train(config, tmp_path / "run")
        assert not (tmp_path / "run").exists()
        assert caught.value.exit_code == 2  # type: ignore[attr-defined]
        return str(caught.value)

    assert "objective.teacher_path" in refused(UnmetNeed)
    other = bytes_model.make(tmp_path / "bytes")
    told = refused(UnfitModel, f"objective.teacher_path={other}")
    assert all(word in told for word in ("tokenizer", str(other), "token 0", "same family"))
    assert "learner.shard" in refused(ConfigError, "objective.teacher_path=tiny", "learner.shard=fsdp2")
    assert "does not exist" in refused(UnfitModel, "objective.teacher_path=/nowhere/at/all")


def test_whole_distributions_need_as_many_entries(tmp_path: Path):
    """The same tokenizer under a model with a padded vocabulary: sampled tokens can be compared, distributions cannot."""
    from transformers import AutoModelForCausalLM

    own = bytes_model.make(tmp_path / "own")
    padded = bytes_model.make(tmp_path / "padded")
    model = AutoModelForCausalLM.from_pretrained(padded)
    model.resize_token_embeddings(320)
    model.save_pretrained(padded)
    at = {"model": {"path": str(own)}, "objective": {"name": "opd", "teacher_path": str(padded)}}
    for form, fits in (("reward", True), ("divergence", False)):
        bench = Bench({**at["objective"], "form": form}, model={"path": str(own)})
        needs = bench.objective.needs(1)
        if fits:
            check_others(bench.config, needs)
        else:
            with pytest.raises(UnfitModel, match="entry by entry"):
                check_others(bench.config, needs)


# -- options of every policy-gradient objective -----------------------------------------------------------


def test_exact_kl_is_that_of_full_distributions():
    """KL(policy || initial) over the vocabulary; the initial policy is another here, so that it is not zero."""
    from rlzoo import functional as F

    bench = Bench({"name": "grpo", "kl_coef": 0.1, "kl_form": "exact", "reduction": "token"}, logit_elements=200)
    bench.scorer.copies.hold(Initial(), frozen(toy_policy(1)))
    step = bench.step(GROUPS)
    whole = bench.learner.backward(bench.update(step).update, step.needs, step.costs)
    initial, total, count = toy_policy(1), 0.0, 0
    for rollout in (r for group in GROUPS for r in group.rollouts if r.verdict and r.verdict.judged):
        ids, start = torch.tensor([[*rollout.prompt_tokens, *rollout.response_tokens]]), len(rollout.prompt_tokens) - 1
        own, other = (
            p.model(input_ids=ids).logits[0, start:-1].log_softmax(-1).detach() for p in (bench.policy, initial)
        )
        total += float(F.divergence(own, other, "reverse", 0.5).sum())
        count += len(rollout.response_tokens)
    assert total / count > 0.1
    assert whole.sums["loss/kl"] == pytest.approx(total / count, rel=1e-9)


def test_the_entropy_bonus_raises_entropy():
    bench = Bench({"name": "grpo", "entropy_coef": 100.0}, learner={"updates_per_step": 1})
    first = bench.learner.learn(bench.step(GROUPS), 0.0)["policy/entropy"]
    for _ in range(5):
        last = bench.learner.learn(bench.step(GROUPS), 0.0)["policy/entropy"]
    assert last > first


# -- all of them ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BEYOND)
def test_a_run_of_one_step(name: str, tmp_path: Path):
    """On the embedded model, with as little as a step can hold; a critic takes one response a prompt."""
    more = {"opd": ["objective.teacher_path=tiny-clean"], "ppo": ["sampling.group_size=1"]}.get(name, [])
    config = small_config(*LEAST, "eval.at_start=false", "eval.at_end=false", *more, algo=name, steps=1)
    train(config, tmp_path / "run")
    (line,) = RunDir(tmp_path / "run").metrics()
    assert line["policy/entropy"] > 0
    assert line["cost/rollouts"] == (6 if name == "ppo" else 12)


# -- what cannot go together ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("addition", "base", "shared"),
    [
        ("clipo", "rlcsd", "'contrast'"),
        ("rlcsd", "clipo", "'contrast'"),
        ("rlsd", "cepo", "'evidence_clip'"),
        ("mcpo-contrastive", "clipo", "'floor'"),
        ("mcpo-contrastive", "rlcsd", "'tau'"),
        ("cepo", "cepo", ""),
    ],
)
def test_additions_that_mean_unlike_things_by_one_name_are_refused(addition: str, base: str, shared: str):
    with pytest.raises(UnknownName, match=f"cannot add to {base!r}") as refused:
        registry.objective_class(addition, base)
    assert shared in str(refused.value)


@pytest.mark.parametrize("addition", ["mcpo-contrastive", "mcpo-mastery", "cepo", "rlsd", "clipo", "rlcsd"])
def test_the_base_of_all_may_be_named(addition: str):
    named, plain = build(name=addition, base="grpo"), build(name=addition)
    assert named.config.model_dump(exclude={"base"}) == plain.config.model_dump(exclude={"base"})


def test_of_several_bases_each_adds_to_the_next():
    """Mastery's factor on DAPO's advantages first, CEPO's weights on what comes of it."""
    chain = registry.objective_class("cepo", ["mcpo-mastery", "dapo"])
    assert issubclass(chain, registry.objective_class("mcpo-mastery", "dapo"))
    assert registry.objective_class("cepo", ["dapo"]) is registry.objective_class("cepo", "dapo")
    assert registry.objective_class("cepo", []) is registry.objective_class("cepo")
    config = build(name="cepo", base=("mcpo-mastery", "dapo")).config
    assert (config.clip_high, config.reduction) == (0.28, "token")
    assert {"evidence_clip", "hkl", "overlong"} <= set(config.model_dump())
    with pytest.raises(UnknownName, match="'dapo' stands on its own and takes no base"):
        registry.objective_class("cepo", ["dapo", "mcpo-mastery"])
    with pytest.raises(UnknownName, match="3 names no objective"):
        registry.objective_class("cepo", ["dapo", 3])  # type: ignore[list-item]


class MoreSettings(McpoContrastiveConfig):
    extra: float = 1.0


class Inheriting(Cepo[CepoConfig]):
    name = "inheriting"


class WithMethod(Contrastive[McpoContrastiveConfig], Grpo[McpoContrastiveConfig]):
    name, Config = "with-method", McpoContrastiveConfig

    def needs(self, step: int) -> Needs:
        return super().needs(step)


class WithSetting(Contrastive[MoreSettings], Grpo[MoreSettings]):
    name, Config = "with-setting", MoreSettings


class MoreOnTheWay(MoreSettings):
    pass


class WithSettingBetween(Contrastive[MoreOnTheWay], Grpo[MoreOnTheWay]):
    name, Config = "with-setting-between", MoreOnTheWay


class Mixed:
    def embedded(self) -> None: ...


class WithMixin(Contrastive[McpoContrastiveConfig], Mixed, Grpo[McpoContrastiveConfig]):
    name, Config = "with-mixin", McpoContrastiveConfig


class Joining(Contrastive[McpoContrastiveConfig], Grpo[McpoContrastiveConfig]):
    name, Config = "joining", McpoContrastiveConfig


@pytest.mark.parametrize("addition", [Inheriting, WithMethod, WithSetting, WithSettingBetween, WithMixin])
def test_over_an_alien_base_nothing_of_an_addition_is_lost(addition: type[Grpo[Any]]):
    """What it adds to its own parent's relatives alone would be left out over another base, and so it is refused there."""
    ppo = registry.objective_class("ppo")
    with pytest.raises(UnknownName, match="adds to objectives made from 'grpo', and 'ppo' is none of them"):
        registry.compose(addition, ppo)
    assert issubclass(registry.compose(addition, registry.objective_class("dapo")), addition)
    over = registry.compose(Joining, ppo)
    assert over.__mro__[1:3] == (Contrastive, ppo) and over.name == "joining"


@pytest.mark.parametrize(("base", "own"), [("dpo", "preference"), ("ppo", "")])
def test_contrastive_terms_stand_beside_those_of_any_base(base: str, own: str):
    over = registry.objective_class("mcpo-contrastive", base)
    assert over.name == "mcpo-contrastive" and "contrastive/bonus" in over.metrics
    objective = build(name="mcpo-contrastive", base=base)
    alone, needs = build(name=base), objective.needs(1)
    assert needs.embeddings is not None and needs.sequence_logps == alone.needs(1).sequence_logps
    assert set(objective.heads(8)) == {"contrast", *alone.heads(8)}
    with pytest.raises(UnknownName, match=f"adds to objectives made from 'grpo', and {base!r} is none of them"):
        registry.objective_class("cepo", base)
    modules = {name: head.module.double() for name, head in objective.heads(8).items()}
    batch = batch_of([1, 1, 1, 1], [1, 0, 1, 0], groups=[0, 0, 1, 1])
    batch = replace(batch, domain_ids_B=torch.tensor([0, 0, 1, 1]), signals={"reference": torch.zeros(4, 1, dtype=D)})
    reps = Representations(
        embeddings_NH=torch.eye(4, 8, dtype=D), sequence_logps_N=torch.zeros(4, dtype=D), heads=modules
    )
    terms = objective.in_batch_losses(reps, batch)
    assert set(terms) == {"cross", "intra", own} - {""}
    if own:
        assert float(terms[own].loss) == pytest.approx(math.log(2))


def test_a_default_is_of_whoever_declares_it_and_of_the_base_where_both_do():
    over = build(name="rlcsd", base="dapo").config
    assert (over.std_ddof, over.clip_high, over.reduction) == (0, 0.28, "token")
    assert build(name="rlcsd", base="dapo", std_ddof=1).config.std_ddof == 1
    with pytest.raises(ValueError, match="std_ddof"):
        build(name="rlcsd", base="dapo", std_ddof=2)  # its limits come with it
    assert build(name="mcpo-mastery", base="gspo").config.clip_high == 4e-4
    means = {base: build(name="cepo", base=base).config.reduction for base in ("rloo", "gspo", "gmpo", "sapo", "luspo")}
    assert means == {"rloo": "token", "gspo": "rollout", "gmpo": "rollout", "sapo": "rollout", "luspo": "rollout"}


@pytest.mark.parametrize("name", ["max-rl", "bnpo"])
def test_kl_in_the_reward_is_refused_where_the_reward_must_stay_a_rate(name: str):
    build(name=name, kl_coef=0.1, kl_form="k1")
    build(name=name, kl_form="reward-k1")  # weighs nothing
    with pytest.raises(ValueError, match="kl_form is 'reward-k1', which takes the KL from the reward"):
        build(name=name, kl_coef=0.1, kl_form="reward-k1")


def test_exemptions_of_a_base_go_with_it():
    assert set(registry.objective_class("rlsd", "reinforce").exemptions) == {
        "equal-groups",
        "at-ratio-one",
        "finite-differences",
    }


def test_what_mastery_scales_to_nothing_stays_nothing_over_a_whitened_step():
    """Values 0, 0, 1, 0 have mean 1/4 and variance 1/4: the mastered prompt's would be -1/2."""
    batch = batch_of([1, 1, 1, 1], [1, 1, 1, 0], groups=[0, 0, 1, 1])
    got = build(name="mcpo-mastery", base="reinforce-pp").assign_credit(batch).advantages_BT
    assert not got[:2].any()
    assert float(got[2]) > 0 > float(got[3])


def test_infinite_evidence_without_an_advantage_gives_one():
    evidence = torch.tensor([[math.inf, -math.inf, 0.5]], dtype=D)
    close(functional.evidence_weights(evidence, torch.zeros(1, 1, dtype=D), mix=0.5, clip=0.2), [[1.0, 1.0, 1.0]])
    close(functional.evidence_weights(evidence, torch.ones(1, 1, dtype=D), mix=0.5, clip=0.2), [[1.1, 0.9, 1.1]])


def test_how_much_a_critic_explains():
    """Targets 0, 1 have variance 1/4; less values 0, 1/2 there are left 0, 1/2, of variance 1/16."""
    mask = torch.tensor([[True, True, False]])
    targets, values = torch.tensor([[0.0, 1.0, 9.0]], dtype=D), torch.tensor([[0.0, 0.5, -9.0]], dtype=D)
    assert returns.explained(targets, values, mask) == pytest.approx(0.75)
    assert returns.explained(torch.ones(1, 3, dtype=D), values, mask) == 0
    assert returns.explained(targets, values, torch.zeros(1, 3, dtype=torch.bool)) == 0
