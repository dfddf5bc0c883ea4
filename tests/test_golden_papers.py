"""RLSD, CLIPO, OPSD, SDPO and RLCSD against worked numbers, sums by hand and what their papers say equals what.

`golden/papers.json` was computed in plain Python from the formulas, independently of this package. CLIPO's numbers there hold
the released code's epsilon of 1e-8 in two denominators, so they are compared to 1e-7; the others to 1e-9 in float64.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rlzoo import functional as F
from rlzoo.algorithms.contrast import drawn, row_keys
from rlzoo.algorithms.rlcsd import shuffled
from rlzoo.config import RunConfig
from rlzoo.data.files import FileSource
from rlzoo.data.privileged import reference_prompt
from rlzoo.engine.model.divergence import restrict_support
from rlzoo.engine.plan import check_needs
from rlzoo.errors import UnmetNeed
from rlzoo.laws.lab import Bench, relative_difference, toy_config, toy_groups, toy_policy
from rlzoo.objective import Objective, step_loss, update_weights
from rlzoo.types import (
    CurrentWeights,
    Ema,
    Full,
    Group,
    Initial,
    MicroBatch,
    Pooling,
    Problem,
    Representations,
    Rollout,
    RolloutBatch,
    Snapshot,
    StudentTopK,
    TeacherTopK,
    Verdict,
)
from tests.test_golden_objectives import SHARED, batch_of, build, close, loss_of, pad, shared

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "papers.json").read_text())
GROUPS = toy_groups(policy=toy_policy())
D = torch.float64


def advantages(objective: Objective[Any], batch: RolloutBatch) -> list[float]:
    found: list[float] = objective.assign_credit(batch).advantages_BT[:, 0].tolist()
    return found


# -- groups, for what teachers are told -------------------------------------------------------------------


def rollout(text: str, status: str, reward: float | None = None) -> Rollout:
    given = float(status == "correct") if reward is None else reward
    verdict = Verdict(status=status, reason="", reward=given, extracted=text)
    return Rollout(
        prompt_tokens=(1,), response_tokens=(2,), sampler_logps=(-1.0,), text=text, truncated=False, verdict=verdict
    )


PROBLEM = Problem(
    id="p", domain="maths", messages=({"role": "user", "content": "6*7?"},), verifier="maths", answer="42", solution="7*6=42"
)  # fmt: skip


def group_of(*rollouts: Rollout, visit: int = 0, problem: Problem = PROBLEM) -> Group:
    return Group(problem=problem, rollouts=rollouts, visit=visit)


def texts(contexts: Sequence[Any]) -> list[str | None]:
    """What each rollout's teacher is shown beside the question."""
    found: list[str | None] = []
    for context in contexts:
        (turn,) = context.messages if context is not None else (None,)
        found.append(None if turn is None else turn["content"].split("Reference solution: ")[1].rpartition("\n")[0])
    return found


RIGHT, ALSO = rollout("r1", "correct"), rollout("r2", "correct")
WRONG, OTHER, NEAR = rollout("w1", "wrong"), rollout("w2", "unparsed"), rollout("w3", "wrong", 0.5)
NOBODY = rollout("x", "error", 0.0)

# -- rlsd -------------------------------------------------------------------------------------------------

RLSD = GOLDEN["rlsd"]


def informed(step: int = 1, told: Tensor | None = None, mask: Sequence[bool] = (True,) * 4) -> tuple[Any, ...]:
    signal = pad(RLSD["logp_teacher"], 4) if told is None else told
    old = pad(SHARED["logp_old"], 4)
    more = {"signals": {"informed": signal}, "signal_mask": {"informed": torch.tensor(mask)}, "old_logps_BT": old}
    batch, logps, old = shared(4, step=step, **more)
    return replace(batch, sampler_logps_BT=old), logps, old


FLAT = {"schedule": "constant", "student": "old"}


@pytest.mark.parametrize(("clip", "expected"), [(0.2, RLSD["case"]["adv"]), (0.5, RLSD["paper_adv_clip_0.5"])])
def test_rlsd_advantages(clip: float, expected: Any) -> None:
    credit = build(name="rlsd", evidence_clip=clip, **FLAT).assign_credit(informed()[0])
    close(credit.advantages_BT, pad(expected, 4))


@pytest.mark.parametrize("point", RLSD["schedule"], ids=lambda p: str(p["step"]))
def test_rlsd_schedule(point: Mapping[str, Any]) -> None:
    objective = build(name="rlsd")
    credit = objective.assign_credit(informed(step=point["step"])[0])
    assert credit.metrics["evidence/mix"] == pytest.approx(point["lam"], abs=1e-12)
    needs = objective.needs(point["step"])
    assert (bool(needs.signals), needs.answers) == (point["lam"] > 0,) * 2


def test_cepo_whose_negative_is_the_student_is_rlsd() -> None:
    batch, logps, old = informed()
    both = {"positive": batch.signals["informed"], "negative": old}
    masks = {name: torch.ones(4, dtype=torch.bool) for name in both}
    read = replace(batch, signals=both, signal_mask=masks)
    rlsd = build(name="rlsd", dual_clip=3.0, **FLAT)
    cepo = build(name="cepo", schedule="constant", evidence_clip=0.2)
    one, two = loss_of(rlsd, batch, logps, old), loss_of(cepo, read, logps, old)
    close(one[0], two[0])
    close(one[1], two[1])


def test_rlsd_with_the_current_student_by_hand() -> None:
    """Row 0, token 2: A = 0.5 nearly, the teacher at -0.8 and the policy at -1.0, so w = e^0.2 = 1.2214, clipped to 1.2; the
    ratio is e^-0.3. Row 2, token 0: A = -1.5, teacher and policy at -1.8: w = 1, ratio e^-0.3 held at 0.8.

    lambda = 0.5, so factors are 1.1 and 1. The mean is over ten tokens. Where the policy has not moved, current is old.
    """
    objective = build(name="rlsd", schedule="constant")
    batch, logps, old = informed()
    weights = update_weights(objective.assign_credit(batch), batch)["policy"]
    assert float(weights[0, 0]) == 0.1
    credit = objective.assign_credit(batch)
    micro = MicroBatch(
        logps_BT=logps, entropy_BT=torch.zeros_like(logps), old_logps_BT=old, rollouts=batch, credit=credit
    )
    loss = objective.token_losses(micro)["policy"]
    A = 0.499999000002
    close(loss[0, 2], -A * 1.1 * math.exp(-0.3))
    close(loss[2, 0], 1.499997000006 * 0.8)
    close(credit.advantages_BT[:, 0], RLSD["adv_seq"])  # the base's: weights are made in the micro-batch
    still = replace(micro, logps_BT=old)
    fixed = build(name="rlsd", **FLAT)
    before = replace(still, credit=fixed.assign_credit(batch))
    close(objective.token_losses(still)["policy"], fixed.token_losses(before)["policy"])


def test_rlsd_where_nothing_was_read_or_earned() -> None:
    """Rows without a teacher's reading keep A; equal rewards earn nothing, evidence or not; a lone rollout is finite."""
    batch = informed(mask=(False, True, False, True))[0]
    credit = build(name="rlsd", **FLAT).assign_credit(batch)
    close(credit.advantages_BT[0, :3], [0.499999000002] * 3)
    close(credit.advantages_BT[3, 0], RLSD["case"]["adv"][3][0])
    equal = replace(informed()[0], rewards_B=torch.ones(4, dtype=D))
    assert advantages(build(name="rlsd", **FLAT), equal) == [0.0] * 4
    alone = informed()[0].rows(torch.tensor([0]))
    assert advantages(build(name="rlsd", **FLAT), alone) == [0.0]


@pytest.mark.parametrize("student", ["old", "current"])
def test_rlsd_whose_teacher_is_the_student_is_its_base_bit_for_bit(student: str) -> None:
    base = {"name": "grpo", "clip_high": 0.28, "reduction": "token"}
    bench, plain = Bench({"name": "rlsd", "student": student}), Bench(base)
    step = bench.score(GROUPS)
    own = bench.scorer.pass_over(bench.store, step.sequences).logps_BT
    old = None if student == "current" else own
    batch = replace(step.batch, signals={"informed": own}, old_logps_BT=old)
    equal = replace(step, batch=batch, credit=bench.objective.assign_credit(batch))
    expected = plain.gradient(plain.step(GROUPS))
    assert relative_difference(bench.gradient(equal), expected) <= 1e-12
    moved = replace(batch, signals={"informed": own - 1})
    other = replace(step, batch=moved, credit=bench.objective.assign_credit(moved))
    assert relative_difference(bench.gradient(other), expected) > 0.01


def test_rlsd_on_another_base_by_settings_alone() -> None:
    """Mastery's advantages, each times its factor: three of four right, so A+ is 0.5 at population std and A- is -1.5 over
    scale sqrt(3)/2, by hand 2/3 and -2."""
    plain = {"std_ddof": 0, "std_eps": 0.0}
    base = advantages(build(name="mcpo-mastery", **plain), informed()[0])
    assert base == pytest.approx([2 / 3, 2 / 3, -2, 2 / 3])
    found = build(name="rlsd", base="mcpo-mastery", **plain, **FLAT).assign_credit(informed()[0])
    factors = torch.tensor(RLSD["case"]["w_clipped"][2], dtype=D) / 2 + 0.5
    close(found.advantages_BT[2], -2 * factors)
    assert set(found.terms) == {"policy", "hinge_kl"}


def test_what_rlsds_teacher_is_told() -> None:
    for kind, shown in (("answer", "42"), ("trajectory", "7*6=42")):
        objective = build(name="rlsd", teacher_context=kind)
        assert objective.contexts("informed", group_of(RIGHT, WRONG)) == [reference_prompt(PROBLEM, shown)] * 2
    bare = replace(PROBLEM, solution=None)
    assert texts(
        build(name="rlsd", teacher_context="trajectory").contexts("informed", group_of(RIGHT, problem=bare))
    ) == ["42"]
    silent = replace(bare, answer=None)
    assert build(name="rlsd").contexts("informed", group_of(RIGHT, problem=silent)) == [None]


@pytest.mark.parametrize(
    ("settings", "weights"),
    [
        ({}, Snapshot(10)),
        ({"teacher_every": 3}, Snapshot(3)),
        ({"teacher": "initial"}, Initial()),
        ({"teacher": "policy"}, CurrentWeights()),
    ],
)
def test_whose_weights_rlsds_teacher_has(settings: dict[str, Any], weights: Any) -> None:
    needs = build(name="rlsd", **settings).needs(1)
    assert [(s.name, s.weights, s.rows) for s in needs.signals] == [("informed", weights, "credited")]
    assert not needs.old_logps
    assert build(name="rlsd", student="old").needs(1).old_logps


# -- clipo ------------------------------------------------------------------------------------------------

CLIPO = GOLDEN["clipo"]
EMBEDDED = torch.tensor(CLIPO["raw_embeddings_after_head"], dtype=D)
PICKS = {int(row): picked for row, picked in CLIPO["infonce_positive_pick"].items()}


def eight(**more: Any) -> RolloutBatch:
    batch = batch_of([1] * 8, [float(c) for c in CLIPO["correct"]], groups=CLIPO["group"], **more)
    told = torch.linspace(-3, -0.5, 8, dtype=D)[:, None]
    return replace(batch, sampler_logps_BT=told, projections={"contrast": EMBEDDED})


def bare(form: str, tau: float, **settings: Any) -> Any:
    return build(name="clipo", form=form, tau=tau, head={"kind": "none"}, **settings)


@pytest.mark.parametrize("tau", [0.05, 0.5])
@pytest.mark.parametrize("form", ["supcon_out", "supcon_in", "soft_nn"])
def test_clipo_losses_and_bonus(form: str, tau: float) -> None:
    expected, batch = CLIPO["results"][f"{form}_tau{tau}"], eight()
    objective = bare(form, tau, scale_by_std=False)
    losses, has = objective.contrast(EMBEDDED, batch)
    assert has.nonzero().squeeze(1).tolist() == expected["anchors"]
    near = {"rtol": 0, "atol": 1e-7}  # the published values hold an epsilon of 1e-8
    torch.testing.assert_close(losses, torch.tensor(expected["per_anchor"], dtype=D), **near)
    reps = Representations(embeddings_NH=EMBEDDED, sequence_logps_N=None, heads={"contrast": nn.Identity()})
    head = objective.in_batch_losses(reps, batch)["head"]
    assert (head.anchors, head.coef) == (5, 1.0)
    torch.testing.assert_close(head.loss, torch.tensor(expected["head_loss"], dtype=D), **near)
    shaped = batch.rewards_B + torch.tensor(expected["reward_bonus"], dtype=D)
    centred = shaped - F.group_mean(shaped, batch.group_ids_B, batch.valid_B)
    credit = objective.assign_credit(batch)
    torch.testing.assert_close(credit.advantages_BT[:, 0], centred, **near)
    mean = sum(expected["reward_bonus"]) / 5
    assert credit.metrics["contrastive/bonus"] == pytest.approx(mean, abs=1e-7)


@pytest.mark.parametrize("tau", [0.05, 0.5])
def test_clipo_infonce(tau: float) -> None:
    """The formula at the positives that the worked numbers drew; and the objective's own loss at those that it draws."""
    expected, batch = CLIPO["results"][f"infonce_tau{tau}"], eight()
    z = F.l2_normalize(EMBEDDED)

    def at(picks: Mapping[int, int]) -> list[float]:
        found = [0.0] * 8
        for i, p in picks.items():
            mates = [j for j in range(8) if j != i and CLIPO["group"][j] == CLIPO["group"][i]]
            among = torch.tensor([float(z[i] @ z[j]) / tau for j in mates], dtype=D)
            found[i] = float(among.logsumexp(0)) - float(z[i] @ z[p]) / tau
        return found

    assert at(PICKS) == pytest.approx(expected["per_anchor"], abs=1e-7)
    right = batch.correct_B
    chosen = drawn(F.positive_pairs(batch.group_ids_B, right), row_keys(batch))
    assert chosen.sum(1).tolist() == [1, 1, 0, 0, 1, 1, 0, 1]
    losses, _ = bare("infonce", tau).contrast(EMBEDDED, batch)
    close(losses, at({i: int(chosen[i].nonzero()) for i in PICKS}))


def test_infonce_draws_by_a_hash_of_both_keys() -> None:
    """By Python's integers, cut to 64 bits with a sign: a change of the hash changes what every earlier run drew."""

    def cut(number: int) -> int:
        return (number + 2**63) % 2**64 - 2**63

    def hashed(one: int, other: int) -> int:
        mixed = cut(one * 0x9E3779B1 + other)
        mixed = cut((mixed ^ (mixed >> 29)) * 0x85EBCA77)
        return (mixed ^ (mixed >> 32)) & 0x7FFF_FFFF

    keys = [5, -7 * 10**12, 3 * 10**15, 12345678901, -1, 2**40]
    chosen = drawn(~torch.eye(6, dtype=torch.bool), torch.tensor(keys))
    expected = [max((j for j in range(6) if j != i), key=lambda j: hashed(keys[i], keys[j])) for i in range(6)]
    assert chosen.nonzero()[:, 1].tolist() == expected


def test_infonce_draws_anew_at_each_step() -> None:
    """The same responses get keys one higher a step later, which is another draw."""
    batch = eight()
    later = row_keys(replace(batch, step=batch.step + 1))
    assert (later - row_keys(batch)).tolist() == [1] * 8


def test_infonce_draws_every_positive_as_often_and_in_any_order() -> None:
    """Of three positives, over 3,000 draws each is taken 1,000 times, give or take five standard errors of 26."""
    positives = ~torch.eye(4, dtype=torch.bool)
    taken: Counter[int] = Counter()
    for number in range(3000):
        keys = torch.tensor([number * 7919, number * 104729 + 1, -number, number * number], dtype=torch.int64)
        chosen = drawn(positives, keys)
        assert chosen.sum(1).tolist() == [1] * 4
        taken[int(chosen[0].nonzero())] += 1
    assert set(taken) == {1, 2, 3}
    assert all(abs(count - 1000) < 130 for count in taken.values())
    turned = torch.tensor([2, 0, 3, 1])
    assert torch.equal(drawn(positives, keys[turned]), chosen[turned][:, turned])
    assert not drawn(torch.zeros(4, 4, dtype=torch.bool), keys).any()


@pytest.mark.parametrize(
    ("level", "positives", "others"),
    [("group", [1], [1, 2]), ("cross", [1], [1, 2, 3, 4]), ("batch", [1, 3], [1, 2, 3, 4])],
)
def test_what_an_anchor_competes_with_by_hand(level: str, positives: list[int], others: list[int]) -> None:
    """Anchor 0 of prompt 0 (right, right, wrong), prompt 1 (right, wrong): cosines 0.6, 0, -1 and 0.8; row 5 nobody judged."""
    z = torch.tensor([[1, 0], [0.6, 0.8], [0, 1], [-1, 0], [0.8, 0.6], [1, 0]], dtype=D)
    batch = batch_of([1] * 6, [1, 1, 0, 1, 0, 0], groups=[0, 0, 0, 1, 1, 0])
    batch = replace(batch, judged_B=torch.tensor([True] * 5 + [False]))
    cosines = {1: 0.6, 2: 0.0, 3: -1.0, 4: 0.8}
    rest = math.log(sum(math.exp(cosines[j]) for j in others))
    mean = sum(cosines[j] for j in positives) / len(positives)
    losses, has = bare("supcon_out", 1.0, level=level).contrast(z, batch)
    close(losses[0], rest - mean)
    soft, _ = bare("soft_nn", 1.0, level=level).contrast(z, batch)
    close(soft[0], rest - math.log(sum(math.exp(cosines[j]) for j in positives)))
    inside, _ = bare("supcon_in", 1.0, level=level).contrast(z, batch)
    close(inside[0], rest - math.log(sum(math.exp(cosines[j]) for j in positives) / len(positives)))
    assert has.tolist() == [True, True, False, level == "batch", False, False]


@pytest.mark.parametrize("form", ["infonce", "supcon_out", "supcon_in", "soft_nn"])
@pytest.mark.parametrize("correct", [[1, 1, 1], [0, 0, 0], [1, 0, 0], [1]])
def test_groups_without_a_positive_or_a_negative_have_no_term(form: str, correct: list[float]) -> None:
    batch = batch_of([1] * len(correct), correct)
    z = EMBEDDED[: len(correct)].clone().requires_grad_()
    losses, has = bare(form, 0.05).contrast(z, batch)
    assert not has.any()
    losses.sum().backward()
    assert z.grad is not None and z.grad.eq(0).all() and losses.eq(0).all()


@pytest.mark.parametrize("form", ["infonce", "supcon_out", "supcon_in", "soft_nn"])
def test_clipo_minds_neither_order_nor_length(form: str) -> None:
    batch, turned = eight(), torch.randperm(8, generator=torch.Generator().manual_seed(1))
    losses, _ = bare(form, 0.5).contrast(EMBEDDED, batch)
    close(bare(form, 0.5).contrast(EMBEDDED[turned], batch.rows(turned))[0], losses[turned])
    factors = torch.linspace(0.1, 30, 8, dtype=D)[:, None]
    close(bare(form, 0.5).contrast(factors * EMBEDDED, batch)[0], losses)


def test_clipos_bonus_is_bounded_and_its_head_alone_learns_at_first() -> None:
    batch = eight()
    far = bare("supcon_out", 0.05, reward_lambda=10.0, floor=0.25).assign_credit(batch)
    assert far.metrics["contrastive/bonus"] == pytest.approx(-0.25)
    objective = bare("infonce", 0.05, head_steps=2)
    for step, learns in ((1, False), (2, False), (3, True)):
        terms = objective.assign_credit(replace(batch, step=step)).terms
        assert bool(terms["policy"].loss_weight_BT.any()) == learns
        assert terms["policy"].loss_mask_BT.all()
    assert objective.needs(1).embeddings == Pooling(layer=-1, pool="mean", gradient=False)


def test_clipo_leaves_the_policy_to_its_base() -> None:
    """The contrastive loss reaches the head and no weight of the policy, whose gradient is that of the credit alone."""
    bench = Bench({"name": "clipo"})
    step = bench.step(GROUPS)
    whole = bench.gradient(step)
    policy = sum(p.numel() for p in bench.policy.parameters())
    assert bool(whole[policy:].ne(0).any())
    plain = Bench("grpo")
    same = replace(plain.step(GROUPS), credit=step.credit)
    assert relative_difference(whole[:policy], plain.gradient(same)) <= 1e-12


# -- opsd and sdpo ----------------------------------------------------------------------------------------

PAIR = GOLDEN["opsd_sdpo"]
STUDENT, TEACHER = (torch.tensor(PAIR[f"{who}_logits"], dtype=D).log_softmax(1) for who in ("student", "teacher"))


def matched(objective: Objective[Any], name: str, drift: Sequence[float] = (0.0, 0.0)) -> tuple[Tensor, Tensor]:
    """Per-token and whole loss of one rollout of two tokens whose student and teacher are those of the worked numbers."""
    batch = batch_of([2], [0.0], signal_mask={name: torch.ones(1, dtype=torch.bool)}, signals={name: torch.zeros(1, 2)})
    (asked,) = objective.needs(1).divergences
    values = F.divergence(*restrict_support(STUDENT, TEACHER, asked.support), asked.kind, asked.mix)
    credit, old = objective.assign_credit(batch), torch.full((1, 2), -1.0, dtype=D)
    micro = MicroBatch(
        logps_BT=old + torch.tensor([drift], dtype=D), entropy_BT=torch.zeros_like(old), old_logps_BT=old,
        rollouts=batch, credit=credit, divergences={name: values[None]},
    )  # fmt: skip
    total = step_loss(objective, micro, update_weights(credit, batch)).total
    return objective.token_losses(micro)["match"][0], total


@pytest.mark.parametrize("beta", [0, 0.5, 1])
def test_opsd(beta: float) -> None:
    expected = PAIR["opsd"][f"beta={beta}"]
    each, whole = matched(build(name="opsd", beta=beta), "informed")
    close(each, expected["per_token"])
    close(whole, expected["loss_token_mean"])


def test_opsd_in_the_middle_is_symmetric() -> None:
    close(F.divergence(STUDENT, TEACHER, "jsd", 0.5), F.divergence(TEACHER, STUDENT, "jsd", 0.5))
    lopsided = F.divergence(STUDENT, TEACHER, "jsd", 0.3), F.divergence(TEACHER, STUDENT, "jsd", 0.3)
    assert not torch.allclose(*lopsided)


def test_sdpo() -> None:
    expected = PAIR["sdpo_topk2_tail_alpha0p5"]
    objective = build(name="sdpo", top_k=2)
    each, whole = matched(objective, "shown")
    close(each, expected["per_token"])
    close(whole, expected["loss_token_mean"])
    clip = PAIR["sdpo_is_clip"]
    weighed, _ = matched(objective, "shown", clip["log_ratio_new_minus_old"])
    close(weighed, torch.tensor(clip["weights"], dtype=D) * torch.tensor(expected["per_token"], dtype=D))
    loose, _ = matched(build(name="sdpo", top_k=2, ratio_cap=9.0), "shown", [0.5, 1.0])
    close(loose[1], math.e * expected["per_token"][1])


@pytest.mark.parametrize(("name", "signal"), [("opsd", "informed"), ("sdpo", "shown")])
def test_the_form_at_sampled_tokens(name: str, signal: str) -> None:
    """sg(log S - log T) · log S at tokens 0 and 3: the value is the golden one, the gradient the difference."""
    case, places = PAIR["sampled_token_reverse_kl"], torch.tensor(PAIR["sampled_token_reverse_kl"]["sampled"])[:, None]
    logps, teacher = (of.gather(1, places).T.clone() for of in (STUDENT, TEACHER))
    objective = build(name=name, form="sampled")
    assert objective.needs(1).divergences == ()
    batch = batch_of([2], [1.0], signals={signal: teacher}, signal_mask={signal: torch.ones(1, dtype=torch.bool)})
    loss, gradient, _ = loss_of(objective, batch, logps, logps.clone())
    close(loss, case["loss_value_sdpo"])
    close(gradient[0], torch.tensor(case["log_student_minus_log_teacher"], dtype=D) / 2)


@pytest.mark.parametrize(("name", "signal"), [("opsd", "informed"), ("sdpo", "shown")])
def test_the_mean_runs_over_judged_rows_with_a_context(name: str, signal: str) -> None:
    batch = batch_of([2, 3, 1], [1, 0, 0], signal_mask={signal: torch.tensor([True, False, True])})
    batch = replace(batch, judged_B=torch.tensor([True, True, False]))
    credit = build(name=name).assign_credit(batch)
    (term,) = credit.terms.values()
    assert term.loss_mask_BT.sum(1).tolist() == [2, 0, 0]
    assert term.reduction == "token"
    assert not credit.advantages_BT.any()


def test_what_distillation_asks_for() -> None:
    (asked,) = build(name="opsd", temperature=2.0).needs(1).divergences
    assert (asked.temperature, asked.support, asked.mix) == (2.0, Full(), 0.5)
    (asked,) = build(name="opsd", form="topk", top_k=7, beta=0.1).needs(1).divergences
    assert (asked.support, asked.mix) == (TeacherTopK(7), 0.1)
    teachers = {"initial": Initial(), "ema": Ema(0.999), "policy": CurrentWeights()}
    for kind, weights in teachers.items():
        assert build(name="opsd", teacher=kind).needs(1).signals[0].weights == weights
    (asked,) = build(name="sdpo", alpha=0.2).needs(1).divergences
    assert (asked.support, asked.mix) == (StudentTopK(100, tail=True), 0.2)
    assert build(name="sdpo").needs(1).signals[0].weights == Ema(0.95)
    told = build(name="opsd").contexts("informed", group_of(WRONG))
    assert told == [reference_prompt(PROBLEM, "7*6=42")]
    assert texts(build(name="opsd", teacher_context="answer").contexts("informed", group_of(WRONG))) == ["42"]


def test_what_sdpo_demonstrates() -> None:
    """The first correct rollout but itself; nobody is shown a wrong one, an unjudged one or its thoughts."""

    def shown(*rollouts: Rollout) -> list[str | None]:
        return texts(build(name="sdpo").contexts("shown", group_of(*rollouts)))

    assert shown(WRONG, RIGHT, ALSO, NOBODY) == ["r1", "r2", "r1", "r1"]
    assert shown(RIGHT, WRONG) == [None, "r1"]
    assert shown(WRONG, OTHER, NOBODY) == [None] * 3
    assert shown(rollout("hm</think> so r3", "correct"), WRONG) == [None, "so r3"]


# -- rlcsd ------------------------------------------------------------------------------------------------

HALF = 0.5 * math.log(3)
"""tanh of it is (3 - 1) / (3 + 1) = 1/2."""
PLAIN = {"lam": 1.0, "tau": 1.0, "delta": 0.1, "eta": 0.5, "std_eps": 0.0}


def contrasted(
    evidence: Sequence[Sequence[float]],
    rewards: Sequence[float],
    read: Sequence[bool] = (),
    entropy: Sequence[Sequence[float]] | None = None,
    **settings: Any,
) -> Any:
    """Credit of one prompt's rollouts whose evidence is given: the right sibling's log-prob is it, the wrong one's 0."""
    lengths = [len(row) for row in evidence]
    right = pad(evidence, max(lengths))
    mask = torch.tensor(read or [True] * len(rewards))
    batch = batch_of(
        lengths, rewards, signals={"right": right, "wrong_1": torch.zeros_like(right)},
        signal_mask={"right": mask, "wrong_1": mask}, entropy_BT=None if entropy is None else pad(entropy, max(lengths)),
    )  # fmt: skip
    return build(name="rlcsd", **{**PLAIN, **settings}).assign_credit(batch)


def test_rlcsd_by_hand() -> None:
    """Rewards 1 and 0: at population std A = ±1. Row 0: m = 1/2, 0, -1/2, 0, so M = 2 of L = 4. Moved: 1/2 · 4/2 · (1 + 1/2) and
    1/2 · 4/2 · (1 - 1/2); the others 1 · 4/2. Row 1: m = 1/2, 0; moved 1/2 · 2/1 · (-1 + 1/2), the other -1 · 2/1."""
    credit = contrasted([[HALF, 0, -HALF, 0], [HALF, 0]], [1, 0])
    close(credit.advantages_BT, [[1.5, 2, 0.5, 2], [-0.5, -2, 0, 0]])
    assert credit.metrics["contrast/rows"] == 1.0
    assert credit.metrics["contrast/moved"] == pytest.approx(3 / 6)
    close(credit.evidence_BT, [[0.5, 0, -0.5, 0], [0.5, 0, 0, 0]])


@pytest.mark.parametrize(
    ("settings", "evidence", "expected"),
    [
        ({}, [0.0, 0.05], [1.0, 1.0]),  # M = 0: no token moves by more than 0.1
        ({"delta": 0.01}, [0.0, 0.05], [2.0, 0.5 * 2 * (1 + math.tanh(0.05))]),
        ({}, [HALF, HALF], [0.5 * 1.5, 0.5 * 1.5]),  # M = L: no plain part
        ({"eta": 2.0}, [HALF, HALF], [3.0, 3.0]),
        ({"lam": 3.0}, [-HALF, 0.0], [0.0, 2.0]),  # 1 - 3/2 would turn the sign: held at 0
        ({"tau": 0.5}, [HALF / 2, 0.0], [1.5, 2.0]),
        ({"lam": 0.2}, [HALF, 0.0], [1.0, 1.0]),  # lam · 1/2 = delta is not above it
    ],
)
def test_rlcsds_settings_by_hand(settings: Any, evidence: list[float], expected: list[float]) -> None:
    """The first of two rollouts, A = 1."""
    found = contrasted([evidence, [0.0]], [1, 0], **settings).advantages_BT[0]
    close(found, expected)


def test_rlcsd_where_an_advantage_is_zero_or_nothing_was_read() -> None:
    """Rewards 1, 1/2, 0: the middle one has A = 0 and keeps raises alone, 1/2 · 2/2 · 1/2, and acts; unread rows keep A."""
    credit = contrasted([[0, 0], [HALF, -HALF], [0, 0]], [1, 0.5, 0])
    close(credit.advantages_BT[1], [0.25, 0.0])
    assert credit.terms["policy"].loss_weight_BT[1].tolist() == [1.0, 0.0]
    assert contrasted([[0, 0], [0, 0], [0, 0]], [1, 0.5, 0]).terms["policy"].loss_weight_BT[1].tolist() == [0.0, 0.0]
    masked = contrasted([[0], [HALF, HALF], [0]], [1, 0.5, 0], entropy=[[0], [1, 2], [0]], entropy_top=0.25)
    assert masked.terms["policy"].loss_weight_BT[1].tolist() == [0.0, 1.0], "one of four tokens"
    longer = contrasted([[0], [HALF, -HALF], [0]], [1, 0.5, 0], base="luspo", token=True)
    assert longer.terms["policy"].loss_weight_BT.tolist() == [[1.0, 0.0], [2.0, 0.0], [1.0, 0.0]], "by length"
    unread = contrasted([[HALF, 0], [HALF, 0]], [1, 0], read=[False, True])
    close(unread.advantages_BT, [[1, 1], [-0.5, -2]])
    assert unread.metrics["contrast/rows"] == 0.5
    alone = contrasted([[HALF]], [1], read=[False])
    assert alone.advantages_BT.tolist() == [[0.0]]


def test_wrong_siblings_are_averaged_as_probabilities() -> None:
    """Probabilities 0.1 and 0.3 average to 0.2; the right sibling's is 0.2 · sqrt 3, so e = half of log 3. Where only one was
    heard, e is taken to that one: 0.2 · sqrt 3 over 0.2."""
    right = torch.full((2, 1), 0.2 * math.sqrt(3), dtype=D).log()
    wrong = {
        "wrong_1": torch.tensor([[0.1], [0.2]], dtype=D).log(),
        "wrong_2": torch.tensor([[0.3], [9.0]], dtype=D).log(),
    }
    masks = {
        "right": torch.tensor([True, True]),
        "wrong_1": torch.tensor([True, True]),
        "wrong_2": torch.tensor([True, False]),
    }
    batch = batch_of([1, 1], [1, 0], signals={"right": right, **wrong}, signal_mask=masks)
    objective: Any = build(name="rlcsd", **PLAIN, wrong_siblings=2)
    close(objective.contrast(batch)[0], [[0.5], [0.5]])
    assert [signal.name for signal in objective.needs(1).signals] == ["right", "wrong_1", "wrong_2"]
    nobody = replace(batch, judged_B=torch.zeros(2, dtype=torch.bool))
    close(objective.contrast(nobody)[0], [[0.0], [0.0]])


def test_what_rlcsds_teachers_are_shown() -> None:
    """Siblings of both kinds, never oneself, never an unjudged or a nearly right one; nothing where one kind is missing."""
    objective = build(name="rlcsd", wrong_siblings=2)
    group = group_of(RIGHT, WRONG, ALSO, OTHER, NOBODY, NEAR)
    right, first, second = (texts(objective.contexts(name, group)) for name in ("right", "wrong_1", "wrong_2"))
    assert (right[0], right[2]) == ("r2", "r1")
    assert all(text in ("r1", "r2") for text in right)
    assert (first[1], first[3], second[1], second[3]) == ("w2", "w1", None, None)
    assert all({first[i], second[i]} == {"w1", "w2"} for i in (0, 2, 4, 5))
    for group in (group_of(RIGHT, ALSO), group_of(WRONG, OTHER), group_of(RIGHT), group_of(NOBODY)):
        assert (
            objective.contexts("right", group) == objective.contexts("wrong_1", group) == [None] * len(group.rollouts)
        )
    assert texts(objective.contexts("wrong_1", group_of(RIGHT, WRONG))) == [None, None]
    kinder = build(name="rlcsd", wrong_below=0.6)
    assert texts(kinder.contexts("wrong_1", group_of(RIGHT, ALSO, NEAR))) == ["w3", "w3", None]


def test_siblings_are_drawn_by_problem_visit_and_rollout() -> None:
    """The same in every process; over visits each of three siblings comes first about as often."""
    group = group_of(RIGHT, ALSO, RIGHT, ALSO)
    assert shuffled(range(4), group, 0) == shuffled(range(4), group, 0)
    first = Counter(shuffled(range(4), replace(group, visit=visit), 0)[0] for visit in range(300))
    assert set(first) == {1, 2, 3}
    assert all(60 < count < 140 for count in first.values())  # 100, give or take five standard errors of 8
    readers = {reader: tuple(shuffled(range(9), group, reader)) for reader in range(8)}
    assert all(reader not in order and len(order) == 8 for reader, order in readers.items())


# -- what a run must have ---------------------------------------------------------------------------------


def refused(name: str, **changes: Any) -> str:
    """What a run is told whose problems carry neither answer nor solution."""
    config: RunConfig = toy_config({"name": name}, **changes)
    problem = replace(PROBLEM, answer=None, solution=None)
    source = FileSource(name="rows", by_split={"train": [problem], "validation": [], "test": []})
    objective = build(name=name)
    with pytest.raises(UnmetNeed) as told:
        check_needs(config, objective, objective.needs(1), ("maths",), [source])
    return str(told.value)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("rlsd", {}, ["every problem's answer", "told the right answer", "rows", "give their rows an 'answer'"]),
        ("opsd", {}, ["every problem's answer", "solution, or its answer where there is none", "rows"]),
        ("sdpo", {"sampling": {"group_size": 1}}, ["at least 2 rollouts", "shown a correct one of the same prompt"]),
        ("rlcsd", {"sampling": {"group_size": 2}}, ["at least 3 rollouts", "a correct and an incorrect sibling"]),
    ],
)
def test_a_run_that_cannot_serve_them_is_told_why(name: str, changes: Any, words: list[str]) -> None:
    message = refused(name, **changes)
    assert all(word in message for word in words), message
