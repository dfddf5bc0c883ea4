"""Worked numbers of the four objectives: losses, advantages and gradients to 1e-9 in float64.

`golden/objectives.json` was computed in plain Python from the papers' formulas, independently of this package. It shows
that the formulas are these; not that the formulas are the papers'.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rlzoo import functional as F
from rlzoo import registry
from rlzoo.objective import Objective, step_loss, update_weights
from rlzoo.types import MicroBatch, Representations, RolloutBatch

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "objectives.json").read_text())
SHARED = GOLDEN["shared_batch"]
D = torch.float64


def close(got: Tensor, expected: Any) -> None:
    torch.testing.assert_close(got, torch.as_tensor(expected, dtype=D), rtol=1e-9, atol=1e-9)


def build(**section: Any) -> Objective[Any]:
    cls = registry.objective_class(section["name"], section.get("base"))
    return registry.build_objective(cls.Config.model_validate(section))


def pad(rows: Sequence[Sequence[float]], width: int) -> Tensor:
    return torch.tensor([[*row, *[0.0] * (width - len(row))] for row in rows], dtype=D)


def batch_of(
    lengths: Sequence[int],
    rewards: Sequence[float],
    *,
    groups: Sequence[int] | None = None,
    domains: Sequence[int] | None = None,
    width: int | None = None,
    **more: Any,
) -> RolloutBatch:
    B, T = len(lengths), width or max(lengths)
    return RolloutBatch(
        response_mask_BT=torch.arange(T)[None, :] < torch.tensor(lengths)[:, None],
        rewards_B=torch.tensor(rewards, dtype=D),
        correct_B=torch.tensor(rewards) > 0.5,
        judged_B=torch.ones(B, dtype=torch.bool),
        truncated_B=torch.zeros(B, dtype=torch.bool),
        group_ids_B=torch.tensor(groups or [0] * B),
        domain_ids_B=torch.tensor(domains or [0] * B),
        sampler_logps_BT=torch.zeros(B, T, dtype=D),
        max_response=SHARED["max_response_length"],
        domains=("math", "code"),
        **more,
    )


def loss_of(
    objective: Objective[Any], batch: RolloutBatch, logps: Tensor, old: Tensor
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Loss of one update of the whole batch, its gradient by log-prob, and each term."""
    credit = objective.assign_credit(batch)
    logps = logps.clone().requires_grad_()
    micro = MicroBatch(
        logps_BT=logps, entropy_BT=torch.zeros_like(logps), old_logps_BT=old, rollouts=batch, credit=credit
    )
    told = step_loss(objective, micro, update_weights(credit, batch))
    told.total.backward()
    assert logps.grad is not None
    assert not any(share.requires_grad for share in told.shares.values())  # what is recorded holds no graph
    return told.total.detach(), logps.grad, dict(told.shares)


WIDTHS = [4, 9]
"""With and without further padding: results must not change."""


def shared(width: int, **more: Any) -> tuple[RolloutBatch, Tensor, Tensor]:
    batch = batch_of(SHARED["response_lengths"], SHARED["rewards"], width=width, **more)
    return batch, pad(SHARED["logp_new"], width), pad(SHARED["logp_old"], width)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("case", GOLDEN["grpo"][:3], ids=lambda case: case["variant"])
def test_grpo(case: Mapping[str, Any], width: int):
    eps = 1e-4 if "1e-4" in case["variant"] else 1e-6
    objective = build(name="grpo", dual_clip=case["dual_clip"], std_eps=eps)
    batch, logps, old = shared(width)
    loss, gradient, _ = loss_of(objective, batch, logps, old)
    close(objective.assign_credit(batch).advantages_BT[:, 0], case["advantages"])
    close(loss, case["loss"])
    close(gradient, pad(case["grad_logp_new"], width))


@pytest.mark.parametrize("width", WIDTHS)
def test_grpo_with_kl(width: int):
    case = GOLDEN["grpo"][3]
    reference = pad(SHARED["logp_ref"], width)
    batch, logps, old = shared(
        width, signals={"reference": reference}, signal_mask={"reference": torch.ones(4, dtype=torch.bool)}
    )
    loss, gradient, shares = loss_of(build(name="grpo", kl_coef=case["beta"]), batch, logps, old)
    close(loss, case["loss"])
    close(shares["kl"], case["kl_term"])
    close(gradient, pad(case["grad_logp_new"], width))


def test_constant_and_token_means():
    batch, logps, old = shared(4)
    dr_grpo, dapo = GOLDEN["dr_grpo"][0], GOLDEN["dapo"]["loss_case"]
    close(loss_of(build(name="grpo", reduction="constant", scale_by_std=False), batch, logps, old)[0], dr_grpo["loss"])
    loss, gradient, _ = loss_of(build(name="grpo", reduction="token", clip_high=0.28), batch, logps, old)
    close(loss, dapo["loss"])
    close(gradient, pad(dapo["grad_logp_new"], 4))


@pytest.mark.parametrize("name", list(GOLDEN["advantages"]))
def test_advantages(name: str):
    settings = {
        "no_std": {"scale_by_std": False},
        "eps1e-4": {"std_eps": 1e-4},
        "population": {"std_ddof": 0, "std_eps": 0},
    }
    chosen: Mapping[str, Any] = next((value for key, value in settings.items() if key in name), {})
    close(build(name="grpo", **chosen).assign_credit(shared(4)[0]).advantages_BT[:, 0], GOLDEN["advantages"][name])


@pytest.mark.parametrize("case", ["all_equal_rewards", "all_wrong_but_format_varies", "one_of_eight"])
def test_advantage_edges(case: str):
    given = GOLDEN["advantage_edge_cases"][case]
    batch = batch_of([1] * len(given["rewards"]), given["rewards"])
    close(build(name="grpo").assign_credit(batch).advantages_BT[:, 0], given["unbiased_eps1e6"])


# -- mastery ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", GOLDEN["mcpo_mastery"]["phi_points"], ids=lambda p: str(p["d"]))
def test_hinge_and_its_slope(point: Mapping[str, float]):
    drift = torch.tensor(point["d"], dtype=D, requires_grad=True)
    value = F.hinge_kl(drift, GOLDEN["mcpo_mastery"]["delta"])
    value.backward()
    assert drift.grad is not None
    close(value.detach(), point["phi"])
    close(drift.grad, point["dphi_dd"])


@pytest.mark.parametrize("row", GOLDEN["mcpo_mastery"]["weight_table"], ids=lambda r: f"{r['n_correct']} of {r['G']}")
def test_query_weights(row: Mapping[str, Any]):
    """p A+ = -(1 - p) A- = W(p), flat above one half."""
    rewards = [1.0] * row["n_correct"] + [0.0] * (row["G"] - row["n_correct"])
    objective = build(name="mcpo-mastery", std_ddof=0, std_eps=0)
    advantages = objective.assign_credit(batch_of([1] * row["G"], rewards)).advantages_BT[:, 0]
    p = row["p"]
    if 0 < p < 1:
        close(advantages[0], row["adv_correct"])
        close(advantages[-1], row["adv_wrong"])
        close(p * advantages[0], row["mcpo_query_weight"])
        close(-(1 - p) * advantages[-1], row["mcpo_query_weight"])
    else:
        close(advantages, [0.0] * row["G"])


def mastery_update() -> tuple[RolloutBatch, Tensor, Tensor]:
    """The shared prompt, and two mastered ones whose drift is given."""
    drift = GOLDEN["mcpo_mastery"]["hinge_kl"]["log_ratio_d"]
    rows = [*drift[0], *drift[1]]
    lengths = [*SHARED["response_lengths"], *map(len, rows)]
    batch = batch_of(lengths, [*SHARED["rewards"], 1, 1, 1], groups=[0, 0, 0, 0, 1, 1, 2])
    old = torch.cat([pad(SHARED["logp_old"], 4), -torch.ones(3, 4, dtype=D)])
    logps = torch.cat([pad(SHARED["logp_new"], 4), pad(rows, 4) - 1])
    return batch, logps, old


def test_mastery_in_one_update_and_apart():
    full, hinge = GOLDEN["mcpo_mastery"]["full"], GOLDEN["mcpo_mastery"]["hinge_kl"]
    objective = build(name="mcpo-mastery", std_ddof=0, std_eps=0)
    batch, logps, old = mastery_update()
    loss, gradient, shares = loss_of(objective, batch, logps, old)
    close(loss, full["loss_one_update_of_7_rows"])
    close(shares["hinge_kl"], hinge["mean_over_mastered_prompts"])
    assert gradient[4, 0] == 0  # inside the band
    alone = torch.arange(4)
    loss, _, shares = loss_of(objective, batch.rows(alone), logps[alone], old[alone])
    close(shares["policy"], full["pg_loss"])
    close(shares["hinge_kl"], 0.0)
    mastered = torch.arange(4, 7)
    close(
        loss_of(objective, batch.rows(mastered), logps[mastered], old[mastered])[0], hinge["mean_over_mastered_prompts"]
    )
    with_std = build(name="mcpo-mastery").assign_credit(batch).advantages_BT[:4, 0]
    close(with_std, full["adv_unbiased_std_eps1e_6"])


@pytest.mark.parametrize(
    ("norm", "key"),
    [
        ("mastered_rollouts", "mean_over_mastered_sequences"),
        ("mastered_tokens", "token_mean"),
        ("all_prompts", "mean_over_all_prompts_in_batch_of_3"),
    ],
)
def test_other_norms_of_the_hinge(norm: str, key: str):
    objective = build(name="mcpo-mastery", hkl={"norm": norm})
    batch, logps, old = mastery_update()
    close(loss_of(objective, batch, logps, old)[2]["hinge_kl"], GOLDEN["mcpo_mastery"]["hinge_kl"][key])


# -- cepo -------------------------------------------------------------------------------------------------


def read_batch(
    width: int = 4, step: int = 1, mask: bool = True, negative: str = "logp_neg_teacher"
) -> tuple[RolloutBatch, Tensor, Tensor]:
    cepo = GOLDEN["cepo"]
    told = cepo[negative] if negative in cepo else SHARED[negative]
    given = {"positive": pad(cepo["logp_pos_teacher"], width), "negative": pad(told, width)}
    masks = {name: torch.full((4,), mask) for name in given}
    return shared(width, signals=given, signal_mask=masks, step=step)


@pytest.mark.parametrize("case", GOLDEN["cepo"]["cases"], ids=lambda c: f"mix {c['lam']}, clip {c['eps_w']}")
def test_cepo_advantages(case: Mapping[str, Any]):
    objective = build(name="cepo", mix=case["lam"], evidence_clip=case["eps_w"])
    close(objective.assign_credit(read_batch()[0]).advantages_BT, pad(case["adv"], 4))


@pytest.mark.parametrize("width", WIDTHS)
def test_cepo_loss(width: int):
    case = GOLDEN["cepo"]["loss_case"]
    loss, gradient, _ = loss_of(build(name="cepo"), *read_batch(width))
    close(loss, case["loss"])
    close(gradient, pad(case["grad_logp_new"], width))


@pytest.mark.parametrize("point", GOLDEN["cepo"]["lambda_schedule_cepo_code"], ids=lambda p: str(p["step"]))
def test_cepo_schedule(point: Mapping[str, Any]):
    objective = build(name="cepo")
    assert objective.assign_credit(read_batch(step=point["step"])[0]).metrics["evidence/mix"] == pytest.approx(
        point["lam"], abs=1e-12
    )
    assert bool(objective.needs(point["step"]).signals) == (point["lam"] > 0)


def test_cepo_without_a_rejected_rollout():
    empty = GOLDEN["cepo"]["empty_neg"]
    close(build(name="cepo").assign_credit(read_batch(mask=False)[0]).advantages_BT, pad(empty["code_adv"], 4))
    as_student = build(name="cepo", empty_negative="rlsd", evidence_clip=0.5)
    close(as_student.assign_credit(read_batch(negative="logp_old")[0]).advantages_BT, pad(_rlsd(0.5), 4))


def _rlsd(clip: float) -> list[list[float]]:
    """RLSD's credit on the shared batch, by its formula."""
    rows = []
    for told, own, advantage in zip(
        GOLDEN["cepo"]["logp_pos_teacher"], SHARED["logp_old"], GOLDEN["cepo"]["adv_seq"], strict=True
    ):
        sign = 1 if advantage > 0 else -1
        weights = [
            min(max(torch.tensor(sign * (t - o), dtype=D).exp().item(), 1 - clip), 1 + clip)
            for t, o in zip(told, own, strict=True)
        ]
        rows.append([advantage * (0.5 + 0.5 * w) for w in weights])
    return rows


def test_cepo_with_the_student_as_negative_is_rlsd():
    case = GOLDEN["cepo"]["rlsd_case"]
    objective = build(name="cepo", evidence_clip=0.2)
    close(objective.assign_credit(read_batch(negative="logp_old")[0]).advantages_BT, pad(case["adv"], 4))


def test_infinite_evidence_becomes_the_edge_of_the_clip():
    batch, _, _ = read_batch()
    batch.signals["negative"][0, 0] = -1e4
    advantage = build(name="cepo").assign_credit(batch).advantages_BT[0, 0]
    close(advantage, 0.499999000002 * (0.5 + 0.5 * 1.5))


# -- contrastive ------------------------------------------------------------------------------------------

READING = GOLDEN["contrastive_mcpo_reading"]
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "supcon_denominator": {"denominator": "supcon"},
    "align_intra": {"intra": {"form": "align"}},
    "group_negatives": {"negatives": "group"},
    "threshold": {"transfer": {"rule": "threshold", "delta_sim": 0.93}},
}


def eight_rows(**more: Any) -> tuple[RolloutBatch, Tensor]:
    correct = [float(c) for c in READING["correct"]]
    batch = batch_of([1] * 8, correct, groups=READING["group"], domains=[0] * 4 + [1] * 4, **more)
    return batch, torch.tensor(READING["raw_embeddings_after_head"], dtype=D)


@pytest.mark.parametrize("name", VARIANTS)
def test_contrastive(name: str):
    expected = READING[name]
    objective = build(name="mcpo-contrastive", head={"kind": "none"}, **VARIANTS[name])
    batch, h = eight_rows()
    terms = objective.in_batch_losses(
        Representations(embeddings_NH=h, sequence_logps_N=None, heads={"contrast": nn.Identity()}), batch
    )
    close(terms["cross"].loss, expected["mean_cross"])
    close(terms["intra"].loss, expected["mean_intra"])
    close(terms["cross"].loss + terms["intra"].loss, expected["sum_of_means"])
    assert (terms["cross"].coef, terms["intra"].coef) == (0.1, 0.1)
    cross, has_cross, intra, has_intra = objective.terms(h, h[:0], batch)  # type: ignore[attr-defined]
    for i, anchor in enumerate(expected["per_anchor"]):
        if anchor is None:
            assert not has_cross[i]
            assert not has_intra[i]
        else:
            close(cross[i], anchor["l_cross"] or 0.0)
            close(intra[i], anchor["l_intra"] or 0.0)


@pytest.mark.parametrize("name", VARIANTS)
def test_contrastive_reward_bonus(name: str):
    """Bonus before group normalisation; checked through a base that only subtracts the group's mean."""
    objective = build(
        name="mcpo-contrastive", mode="reward", head={"kind": "none"}, scale_by_std=False, **VARIANTS[name]
    )
    batch, _ = eight_rows(projections={"contrast": torch.tensor(READING["raw_embeddings_after_head"], dtype=D)})
    bonus = torch.tensor(READING[name]["reward_bonus_lambda0p2"], dtype=D)
    shaped = batch.rewards_B + bonus
    expected = shaped - F.group_mean(shaped, batch.group_ids_B, batch.valid_B)
    close(objective.assign_credit(batch).advantages_BT[:, 0], expected)


def test_contrastive_gradient_against_finite_differences():
    objective = build(name="mcpo-contrastive", head={"kind": "none"})
    batch, h = eight_rows()

    def total(flat: Tensor) -> Tensor:
        reps = Representations(embeddings_NH=flat, sequence_logps_N=None, heads={"contrast": nn.Identity()})
        return torch.stack([t.loss for t in objective.in_batch_losses(reps, batch).values()]).sum()

    assert torch.autograd.gradcheck(total, (h.clone().requires_grad_(),), eps=1e-6, atol=1e-7)
