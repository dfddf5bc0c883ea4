"""Parts that objectives are made of, at their edges: numbers by hand, and what is refused. No model."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from rlzoo import functional as F
from rlzoo import objective as O
from rlzoo import registry
from rlzoo.errors import ObjectiveFault
from rlzoo.settings import ObjectiveConfig
from rlzoo.types import Credit, Insert, MicroBatch, Needs, Term
from tests.test_golden_objectives import batch_of

D = torch.float64


def close(got: Any, expected: Any) -> None:
    torch.testing.assert_close(torch.as_tensor(got, dtype=D), torch.as_tensor(expected, dtype=D), rtol=1e-9, atol=1e-12)


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=D)


# -- groups and means -------------------------------------------------------------------------------------


def test_no_rows_have_no_groups() -> None:
    ids, none, valid = torch.zeros(0, dtype=torch.long), tensor(), torch.zeros(0, dtype=torch.bool)
    assert F.group_mean(none, ids, valid).shape == F.group_size(ids, valid).shape == (0,)
    assert F.group_equal(none, ids, valid).shape == (0,)


def test_a_group_whose_rows_are_not_counted_has_a_mean_of_nothing() -> None:
    ids, valid = torch.tensor([0, 0, 2, 2]), torch.tensor([True, True, False, False])
    values = tensor(1, 2, 7, 9)
    assert F.group_mean(values, ids, valid).tolist() == [1.5, 1.5, 0.0, 0.0]
    assert F.group_size(ids, valid).tolist() == [2.0, 2.0, 0.0, 0.0]
    assert F.group_equal(values, ids, valid).tolist() == [False, False, True, True]


def test_the_usual_addition_to_the_std() -> None:
    """Rewards 1 and 0: half of one over sqrt(1/2) and a millionth."""
    got = F.group_advantages(tensor(1, 0), torch.zeros(2, dtype=torch.long), torch.ones(2, dtype=torch.bool))
    close(got, [0.5 / (math.sqrt(0.5) + 1e-6), -0.5 / (math.sqrt(0.5) + 1e-6)])


def test_sizes_are_counted_in_float32_unless_told() -> None:
    ids, valid = torch.tensor([0, 0, 1]), torch.tensor([True, True, False])
    assert F.group_size(ids, valid).dtype == torch.float32
    assert F.group_size(ids, valid, D).dtype == D


def test_the_number_of_groups_is_a_whole_one() -> None:
    """Three thirds and six sixths add up to a little less than 2 in binary; the weights are to the last bit those of two groups."""
    got = F.reduction_weights(torch.ones(9, 1) > 0, "group", torch.tensor([0] * 3 + [1] * 6), 10)[:, 0].tolist()
    assert got == [1 / 6] * 3 + [1 / 12] * 6


def test_the_usual_threshold_of_mastery() -> None:
    """One half: 2 sqrt(p (1 - p)) beyond it, and 1 up to it."""
    close(F.majority_scale(tensor(0.25, 0.5, 0.75, 0.9)), [1.0, 1.0, math.sqrt(3) / 2, 0.6])


def test_a_share_that_rounding_took_above_one_weighs_nothing() -> None:
    above = tensor(1 + 1e-9)
    assert F.majority_scale(above).tolist() == [0.0]
    assert F.majority_scale(above, 1.0).tolist() == [1.0]


# -- ratios and divergences -------------------------------------------------------------------------------


def test_icepop_keeps_what_lies_at_its_edges() -> None:
    assert F.icepop(tensor(0.0), 1.0, 1.0).tolist() == [1.0]


def test_the_log_ratio_of_a_response_stands_at_each_of_its_tokens() -> None:
    """And nothing of padding is in it, nor it in padding."""
    mask = torch.tensor([[True, True, False], [True, False, False], [False, False, False]])
    told = torch.tensor([[0.5, -0.25, 9.0], [2.0, 9.0, 9.0], [9.0, 9.0, 9.0]], dtype=D)
    assert F.sequence_log_ratio(told, mask).tolist() == [[0.25, 0.25, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    assert F.sequence_log_ratio(told.float(), mask).dtype == torch.float32


def test_a_lopsided_divergence_by_hand() -> None:
    """A quarter of the teacher: m = 3/4 (1/2, 1/2) + 1/4 (0.9, 0.1) = (0.6, 0.4). What is named is not turned by the mix."""
    student, teacher = tensor(0.5, 0.5).log(), tensor(0.9, 0.1).log()
    to_teacher = 0.9 * math.log(0.9 / 0.6) + 0.1 * math.log(0.1 / 0.4)
    to_student = 0.5 * math.log(0.5 / 0.6) + 0.5 * math.log(0.5 / 0.4)
    close(F.divergence(student, teacher, "jsd", 0.25), 0.25 * to_teacher + 0.75 * to_student)
    forward, reverse = (F.divergence(student, teacher, kind, 0.5) for kind in ("forward", "reverse"))  # type: ignore[arg-type]
    close(F.divergence(student, teacher, "forward", 1.0), forward)
    close(F.divergence(student, teacher, "reverse", 0.0), reverse)


def test_the_hinge_has_no_slope_up_to_its_edge() -> None:
    for estimator in ("k1", "k2", "k3"):
        drift = tensor(0.5, -0.5, 0.25).requires_grad_()
        F.hinge_kl(drift, 0.5, estimator).sum().backward()  # type: ignore[arg-type]
        assert drift.grad is not None and drift.grad.tolist() == [0.0, 0.0, 0.0]


# -- evidence ---------------------------------------------------------------------------------------------


def auc(clusters: list[int], values: list[float], right: list[int]) -> tuple[float, float]:
    return F.clustered_auc(tensor(*values), torch.tensor(right) > 0, torch.tensor(clusters))


def test_the_area_and_its_error_by_hand() -> None:
    """Right 3 and 1, wrong 2 and 0: 3 of 4 pairs. Placements 1, 1/2 | 1/2, 1 lie 1/4 from 3/4, over 2 are 1/8 each.

    Each its own cluster: sqrt(4/64 · 4/3). 3 with 0 and 1 with 2: sums 1/4 and -1/4, sqrt(2/16 · 2). 3 with 2: sums of 0.
    """
    values, right = [3.0, 2.0, 1.0, 0.0], [1, 0, 1, 0]
    assert auc([0, 1, 2, 3], values, right) == pytest.approx((0.75, math.sqrt(1 / 12)))
    assert auc([5, 9, 9, 5], values, right) == pytest.approx((0.75, 0.5))
    assert auc([0, 0, 1, 1], values, right) == pytest.approx((0.75, 0.0))
    assert auc([4, 4, 4, 4], values, right) == pytest.approx((0.75, 0.0))
    assert auc([0, 1], [1.0, 1.0], [1, 0]) == pytest.approx((0.5, 0.0))  # ties count half
    for one in (0, 1):
        assert auc([0, 1], [1.0, 2.0], [one, one]) == (0.5, math.inf)


def test_what_is_told_of_evidence() -> None:
    """One token a row, as above: 3/4 ± 1.96 · 0.2887 and its mirror, held in [0, 1]; weights by each row's sign."""
    evidence = tensor(3, 2, 1, 0)[:, None]
    read, sign = torch.ones(4, 1, dtype=torch.bool), torch.ones(4, 1)
    right = torch.tensor([True, False, True, False])
    spread = 1.96 * math.sqrt(1 / 12)
    told = F.evidence_summary(evidence, sign, read, right, 0.5)
    assert told == pytest.approx({"auc": 0.75, "auc_low": 0.75 - spread, "auc_high": 1.0, "clipped": 0.75})
    told = F.evidence_summary(evidence, sign, read, ~right, 0.5)
    assert (told["auc_low"], told["auc_high"]) == pytest.approx((0.0, 0.25 + spread))
    turned = F.evidence_summary(tensor(math.log(0.4))[:, None], -torch.ones(1, 1), read[:1], right[:1], 1.0)
    assert turned["clipped"] == 1.0  # 1 / 0.4 is 1.5 from 1, and 0.4 only 0.6
    nothing = F.evidence_summary(evidence, sign, ~read, right, 0.5)
    assert nothing == {"auc": 0.5, "auc_low": 0.0, "auc_high": 1.0, "clipped": 0.0}
    edge = F.evidence_summary(tensor(0.0, 0.0)[:, None], sign[:2], read[:2], right[:2], 0.0)
    assert edge["clipped"] == 0.0  # a weight at the edge is not cut


# -- contrast ---------------------------------------------------------------------------------------------


def test_rows_too_short_to_have_a_direction_are_not_stretched() -> None:
    close(F.l2_normalize(torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=D)), [[0.6, 0.8], [0.0, 0.0]])
    close(F.l2_normalize(torch.tensor([[1.5e-12, 0.0], [0.5e-12, 0.0]], dtype=D)), [[1.0, 0.0], [0.5, 0.0]])


def test_the_direction_of_a_groups_right_rows() -> None:
    """(1, 0) and (0, 1) of one prompt have (1, 1) over its length; a wrong row sees theirs; a prompt without any has none."""
    z, half = torch.tensor([[1, 0], [0, 1], [-1, 0], [1, 0]], dtype=D), math.sqrt(0.5)
    found = F.centroids(z, torch.tensor([0, 0, 0, 1]), torch.tensor([True, True, False, False]))
    close(found, [[half, half], [half, half], [half, half], [0.0, 0.0]])


def test_soft_transfer_is_by_similarity_over_temperature() -> None:
    """0.1 apart at temperature 0.2: shares of 1 and e^-1/2."""
    similarity, candidates = torch.tensor([[0.5, 0.6, 9.0]], dtype=D), torch.tensor([[True, True, False]])
    share = 1 / (1 + math.exp(-0.5))
    close(F.transfer_weights(similarity, candidates, "soft", 1, 0.0, 0.2), [[1 - share, share, 0.0]])


def test_transfer_weights_at_their_edges() -> None:
    """Similarities 0.5, 0.5 and 0.9, of which the last is no candidate; the second anchor has none."""
    similarity = torch.tensor([[0.5, 0.5, 0.9], [0.1, 0.2, 0.3]], dtype=D, requires_grad=True)
    candidates = torch.tensor([[True, True, False], [False, False, False]])

    def weights(rule: Any, k: int = 1, minimum: float = 0.5) -> Tensor:
        return F.transfer_weights(similarity, candidates, rule, k, minimum, 0.1)

    assert weights("topk").tolist() == [[1, 0, 0], [0, 0, 0]]  # the first of equals
    assert weights("threshold").tolist() == [[0.5, 0.5, 0], [0, 0, 0]]  # at least the minimum
    assert (
        weights("threshold", minimum=0.6).tolist() == weights("topk+threshold", minimum=0.6).tolist() == [[0] * 3] * 2
    )
    assert weights("all", minimum=2.0).tolist() == [[0.5, 0.5, 0], [0, 0, 0]]
    close(weights("soft").detach(), [[0.5, 0.5, 0], [0, 0, 0]])
    assert not weights("soft").requires_grad


@pytest.mark.parametrize("denominator", ["per-pair", "supcon"])
def test_an_anchor_without_a_negative_or_a_positive_has_neither_loss_nor_slope(denominator: Any) -> None:
    similarity = torch.tensor([[0.1, 0.2], [0.3, 0.4]], dtype=D, requires_grad=True)
    positives = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=D)
    negatives = torch.tensor([[False, False], [True, True]])
    losses, has = F.info_nce(similarity, positives, negatives, 0.5, denominator)
    losses.sum().backward()
    assert has.tolist() == [False, False] and losses.tolist() == [0.0, 0.0]
    assert similarity.grad is not None and similarity.grad.eq(0).all()


def test_the_mean_over_anchors_is_over_those_that_have_a_term() -> None:
    has = torch.tensor([True, False, False])
    close(F.anchor_mean(tensor(4, 9, math.nan), has), 4.0)
    close(F.anchor_mean(tensor(4, 9, 1), ~has), 5.0)
    close(F.anchor_mean(tensor(4, 9, 1), has & ~has), 0.0)


# -- the form of an objective -----------------------------------------------------------------------------

BATCH = batch_of([2, 1], [1, 0])
MASK = BATCH.response_mask_BT
ONES = torch.ones(2, 2, dtype=D)
TERM = Term(loss_mask_BT=MASK, loss_weight_BT=ONES, reduction="token")
CREDIT = Credit(advantages_BT=ONES, terms={"policy": TERM})


class Answers(O.Objective[ObjectiveConfig]):
    """Returns what it was made with."""

    name = "answers"
    Config = ObjectiveConfig

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def needs(self, step: int) -> Needs:
        return self.answer  # type: ignore[no-any-return]

    def keep(self, batch: Any) -> Tensor:
        return self.answer  # type: ignore[no-any-return]

    def assign_credit(self, batch: Any) -> Credit:
        return self.answer  # type: ignore[no-any-return]

    def token_losses(self, micro: MicroBatch) -> Any:
        return self.answer


def test_needs_and_keep_are_held_to_their_form() -> None:
    needs = Needs(min_group=2)
    assert O.checked_needs(Answers(needs), 1) is needs
    with pytest.raises(ObjectiveFault, match=r"Answers.needs returned dict, expected Needs"):
        O.checked_needs(Answers({}), 1)
    assert O.checked_keep(Answers(torch.tensor([True])), BATCH) == [True]
    for wrong, found in (
        (torch.tensor([True, True]), r"torch.bool \[2\]"),
        (torch.tensor([1.0]), r"torch.float32 \[1\]"),
        ([True], "list"),
    ):
        with pytest.raises(ObjectiveFault, match=rf"keep returned {found}, expected torch.bool \[1\]"):
            O.checked_keep(Answers(wrong), BATCH)


def test_credit_is_held_to_its_form() -> None:
    assert O.checked_credit(Answers(replace(CREDIT, metrics={"a": 1, "b": 0.5})), BATCH).metrics == {"a": 1, "b": 0.5}
    broken = ONES.clone()
    broken[0] = torch.tensor([math.nan, math.inf])
    for wrong, words in (
        (None, "returned NoneType, expected a Credit"),
        (replace(CREDIT, metrics={"a": ONES}), "metric 'a' as a Tensor, expected one number"),
        (replace(CREDIT, advantages_BT=broken), "advantages_BT not finite at 2 tokens"),
        (
            replace(CREDIT, terms={"x": replace(TERM, loss_weight_BT=broken)}),
            "scale of term 'x' not finite at 2 tokens",
        ),
    ):
        with pytest.raises(ObjectiveFault, match=words):
            O.checked_credit(Answers(wrong), BATCH)


def micro(**more: Any) -> MicroBatch:
    known = {"logps_BT": ONES, "entropy_BT": ONES, "old_logps_BT": ONES, "rollouts": BATCH, "credit": CREDIT}
    return MicroBatch(**{**known, **more})


WEIGHTS = {"policy": ONES / 4 * MASK}


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        (ONES, "returned Tensor, expected a mapping"),
        ({"policy": 1.0}, "returned 'policy': float, expected a mapping"),
        ({"policy": ONES, "x": None}, "'x': NoneType"),
        ({"other": ONES}, r"returned terms \['other'\], but its credit declares \['policy'\]"),
        ({"policy": ONES[:, :1]}, r"'policy' with shape \[2, 1\], expected \[2, 2\]"),
    ],
)
def test_losses_are_held_to_their_form(losses: Any, words: str) -> None:
    with pytest.raises(ObjectiveFault, match=words):
        O.step_loss(Answers(losses), micro(), WEIGHTS)


def test_a_share_of_the_loss_by_hand() -> None:
    """Tokens 1, 2 | 3 at a quarter each, twice the coefficient; what stands at padding, even NaN, does not matter."""
    losses = torch.tensor([[1.0, 2.0], [3.0, math.nan]], dtype=D, requires_grad=True)
    credit = replace(CREDIT, terms={"policy": replace(TERM, coef=2.0)})
    told = O.step_loss(Answers({"policy": losses}), micro(credit=credit), WEIGHTS)
    assert (float(told.total.detach()), float(told.shares["policy"]), int(told.stray["policy"])) == (3.0, 1.5, 0)
    assert told.total.requires_grad and not told.shares["policy"].requires_grad
    O.refuse_stray(Answers(None), told.stray)


def test_a_loss_that_is_not_finite_is_the_objectives_fault_where_all_it_was_given_is() -> None:
    losses = torch.tensor([[math.inf, math.nan], [3.0, math.nan]], dtype=D)
    objective = Answers({"policy": losses})
    told = O.step_loss(objective, micro(), WEIGHTS)
    assert int(told.stray["policy"]) == 2
    with pytest.raises(ObjectiveFault, match=r"Answers.token_losses returned 'policy' not finite at 2 counted tokens"):
        O.refuse_stray(objective, told.stray)
    bad = ONES.clone()
    bad[0, 0] = math.inf
    for given in (
        {"logps_BT": bad},
        {"old_logps_BT": bad},
        {"entropy_BT": bad},
        {"credit": replace(CREDIT, advantages_BT=bad)},
        {"heads": {"value": bad}},
        {"divergences": {"teacher": bad}},
        {"rollouts": replace(BATCH, signals={"teacher": bad})},
    ):
        assert int(O.step_loss(objective, micro(**given), WEIGHTS).stray["policy"]) == 0, given


def test_the_bases_own_answers() -> None:
    plain = registry.build_objective(registry.objective_class("rft").Config.model_validate({"name": "rft"}))
    assert plain.keep(batch_of([1, 1, 1], [1, 0, 1], groups=[0, 2, 2])).tolist() == [True] * 3
    assert plain.contexts("any", SimpleNamespace(rollouts=[1, 2])) == [Insert("")] * 2  # type: ignore[arg-type]
    assert plain.state_dict() == {} and plain.heads(4) == {}
    plain.load_state_dict({})
    with pytest.raises(ObjectiveFault, match=r"Rft was given state \(a\)"):
        plain.load_state_dict({"a": 1})


class Raises(Answers):
    def needs(self, step: int) -> Needs:
        raise ValueError("x")


class Empty(O.Objective[ObjectiveConfig]):
    name = "empty"


def test_a_fault_is_located_where_the_error_passed_or_by_the_method_it_names() -> None:
    def at(cls: Any, error: BaseException, method: str | None = None) -> int:
        file, _, number = O.locate_fault(cls, error, method).rpartition(":")
        assert Path(file).name == Path(__file__).name
        return int(number)

    def line(of: Any) -> int:
        return inspect.getsourcelines(of)[1]

    with pytest.raises(ValueError, match="x") as caught:
        Raises(None).needs(1)
    assert at(Raises, caught.value) == line(Raises.needs) + 1
    assert at(Raises, caught.value, "keep") == line(Answers.keep)
    assert at(Raises, ValueError("Raises.needs returned x")) == line(Raises.needs)
    assert at(Raises, ValueError("Raises.keep(batch) failed")) == line(Answers.keep)
    assert at(Raises, ValueError("anything")) == line(Answers.token_losses)
    assert at(Empty, ValueError("x")) == line(Empty)
    made = type("Made", (O.Objective,), {})
    assert O.locate_fault(made, ValueError("x")) == made.__module__


# -- settings ---------------------------------------------------------------------------------------------

EDGES: dict[str, dict[str, str]] = {
    "cepo": {"clip_high": "0 <", "dual_clip": "1 <"},
    "dr-grpo": {"clip_low": "0 < < 1", "clip_high": "0 <", "entropy_top": "0 < <= 1"},
    "cispo": {"clip_low": "0 < <= 1", "clip_high": "0 <"},
    "dapo": {"clip_high": "0 <", "overlong_share": "0 < <= 1"},
    "dpo": {"beta": "0 <"},
    "gmpo": {"clip_low": "0 <", "clip_high": "0 <"},
    "gspo": {"clip_low": "0 < < 1", "clip_high": "0 <"},
    "luspo": {"clip_low": "0 < < 1", "clip_high": "0 <"},
    "mcpo-mastery": {"clip_high": "0 <"},
    "mcpo-contrastive": {"head.lr": "0 <"},
    "opd": {"clip_low": "0 < < 1", "clip_high": "0 <", "beta": "0 <= <= 1"},
    "opsd": {"beta": "0 <= <= 1", "temperature": "0 <", "top_k": "1 <=", "ema_decay": "0 <= < 1"},
    "sapo": {"tau_positive": "0 <", "tau_negative": "0 <"},
    "sdpo": {"alpha": "0 <= <= 1", "top_k": "1 <=", "ema_decay": "0 <= < 1", "ratio_cap": "0 <"},
    "rlsd": {
        "clip_high": "0 <", "mix": "0 <= <= 1", "decay_steps": "1 <=", "evidence_clip": "0 <= <= 1", "teacher_every": "1 <=",
    },
    "rlcsd": {
        "std_ddof": "0 <= <= 1", "lam": "0 <=", "tau": "0 <", "delta": "0 <=", "eta": "0 <=", "wrong_siblings": "1 <=",
        "wrong_below": "0 < <= 1",
    },
    "clipo": {
        "head.dim": "1 <=", "head.lr": "0 <", "head.weight_decay": "0 <=", "tau": "0 <", "reward_lambda": "0 <=",
        "floor": "0 <=", "head_steps": "0 <=",
    },
    "ppo": {
        "critic.lr": "0 <", "critic.weight_decay": "0 <=", "critic.clip": "0 <", "critic.coef": "0 <=",
        "critic.warmup_steps": "0 <=", "clip_low": "0 < < 1", "clip_high": "0 <", "gamma": "0 < <= 1", "lam": "0 <= <= 1",
        "lam_value": "0 <= <= 1", "length_alpha": "0 <",
    },
    "vespo": {"k_positive": "0 <=", "lambda_positive": "0 <", "k_negative": "0 <=", "lambda_negative": "0 <"},
}  # fmt: skip
"""By objective: between what a setting must lie."""


@pytest.mark.parametrize("name", EDGES)
def test_what_a_setting_must_lie_between(name: str) -> None:
    Config = registry.objective_class(name).Config

    def taken(path: str, value: float) -> bool:
        part, _, leaf = path.rpartition(".")
        told: Any = {part: {leaf: value}} if part else {leaf: value}
        try:
            Config.model_validate({"name": name, **told})
        except ValueError:
            return False
        return True

    for path, told in EDGES[name].items():
        words = told.split()
        low, whole = int(words[0]), words[:2] == ["1", "<="] or path.endswith(("steps", "ddof"))
        step = 1 if whole else 1e-6
        assert taken(path, low) == (words[1] == "<="), path
        assert taken(path, low + step) and not taken(path, low - step), path
        if len(words) == 4:
            high = int(words[3])
            assert taken(path, high) == (words[2] == "<="), path
            assert (whole or taken(path, high - step)) and not taken(path, high + step), path


DEFAULTS: dict[str, dict[str, Any]] = {
    "rlsd": {
        "clip_high": 0.28, "reduction": "token", "mix": 0.5, "schedule": "linear", "decay_steps": 50, "evidence_clip": 0.2,
        "student": "current", "teacher_context": "answer", "teacher": "snapshot", "teacher_every": 10,
    },
    "clipo": {
        "embed": {"layer": -1, "pool": "mean"}, "head": {"kind": "linear", "dim": 512, "lr": 1e-3, "weight_decay": 0.01},
        "level": "group", "form": "infonce", "tau": 0.05, "reward_lambda": 0.2, "floor": 0.5, "head_steps": 0,
    },
    "opsd": {
        "form": "full", "beta": 0.5, "temperature": None, "top_k": 50, "teacher": "initial", "ema_decay": 0.999,
        "teacher_context": "trajectory",
    },
    "sdpo": {"form": "topk", "alpha": 0.5, "top_k": 100, "ema_decay": 0.95, "ratio_cap": 2.0},
    "rlcsd": {
        "std_ddof": 0, "lam": 0.5, "tau": 1.3, "delta": 0.02, "eta": 0.5, "wrong_siblings": 1, "wrong_below": 0.5,
    },
    "opd": {"teacher_path": "", "form": "reward", "clip_low": 0.2, "clip_high": 0.2, "beta": 0.5},
    "dpo": {"beta": 0.1},
    "ipo": {"beta": 0.1},
    "ppo": {
        "clip_low": 0.2, "clip_high": 0.2, "gamma": 1.0, "lam": 0.95, "lam_value": 1.0, "length_alpha": None, "whiten": True,
        "critic": {"lr": 1e-3, "weight_decay": 0.01, "trunk": False, "clip": 0.2, "coef": 0.5, "warmup_steps": 0},
    },
}  # fmt: skip
"""As the papers and codes that each default names have them: a changed one is changed here on purpose."""


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_are_those_of_their_sources(name: str) -> None:
    found = registry.objective_class(name).Config.model_validate({"name": name}).model_dump()
    assert {key: found[key] for key in DEFAULTS[name]} == DEFAULTS[name]


def test_what_a_critic_is_made_of() -> None:
    """No value is better than a random one."""
    section = {"name": "ppo", "critic": {"lr": 0.5, "weight_decay": 0.25, "trunk": True}}
    (head,) = registry.build_objective(registry.objective_class("ppo").Config.model_validate(section)).heads(3).values()
    assert (head.kind, head.lr, head.weight_decay, head.trunk) == ("token", 0.5, 0.25, True)
    assert head.module(torch.ones(2, 3)).tolist() == [[0.0], [0.0]]


def test_a_teachers_gap_is_a_mean_over_tokens() -> None:
    """One token: minus how much surer the teacher is. None: nothing."""
    objective = registry.build_objective(registry.objective_class("opd").Config.model_validate({"name": "opd"}))
    for heard, gap in ((True, -0.75), (False, 0.0)):
        batch = batch_of(
            [1], [1], signals={"teacher": tensor(-0.25)[None]}, signal_mask={"teacher": torch.tensor([heard])},
            old_logps_BT=tensor(-1.0)[None],
        )  # fmt: skip
        assert objective.assign_credit(batch).metrics == {"teacher/gap": gap}
