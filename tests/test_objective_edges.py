"""Objectives at their edges, by hand: what a step without judged rows tells, what settings beside the usual do, what a base adds.

No model. Where a sum stands in the docstring, it is the whole of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rlzoo import registry
from rlzoo.algorithms.contrast import row_keys, with_bonus
from rlzoo.algorithms.dapo import NONE_MIXED
from rlzoo.algorithms.grpo import Grpo, GrpoConfig
from rlzoo.algorithms.mcpo_contrastive import ONE_DOMAIN
from rlzoo.algorithms.mcpo_mastery import NONE_MASTERED
from rlzoo.algorithms.rlcsd import shuffled
from rlzoo.algorithms.teaching import BY_MEAN, judged, score_of, teacher_weights
from rlzoo.errors import ObjectiveFault
from rlzoo.types import (
    Context,
    Credit,
    Ema,
    Group,
    Head,
    InBatchTerm,
    Insert,
    MicroBatch,
    Needs,
    Representations,
    RolloutBatch,
    Signal,
    Snapshot,
    Term,
)
from tests.test_golden_objectives import batch_of, build, pad
from tests.test_golden_papers import NOBODY, PROBLEM, RIGHT, WRONG, group_of
from tests.test_objective_parts import D, close, tensor

BARE: dict[str, Any] = {"scale_by_std": False}
"""Rewards 1 and 0 then earn advantages of one half and minus one half."""
PAIR = batch_of([1, 1], [1, 0])
REFERENCE = {"signals": {"reference": tensor(-1.5, -1.5)[:, None]}, "signal_mask": {"reference": torch.ones(2) > 0}}


def micro_of(batch: RolloutBatch, credit: Credit, drift: Tensor | float = 0.0, **more: Any) -> MicroBatch:
    """Where the policy stands `drift` above the old one, whose log-probs are -1."""
    old = -torch.ones_like(batch.sampler_logps_BT)
    known = {"old_logps_BT": old, "logps_BT": old + drift, "entropy_BT": torch.zeros_like(old)}
    return MicroBatch(**{**known, **more}, rollouts=batch, credit=credit)


# -- a step without judged rows ---------------------------------------------------------------------------

NO_EVIDENCE = {"evidence/auc": 0.5, "evidence/auc_low": 0.0, "evidence/auc_high": 1.0, "evidence/clipped": 0.0}
NOTHING: dict[str, dict[str, float]] = {
    "dapo": {"dapo/overlong": 0.0},
    "bnpo": {"bnpo/alpha": 1.0, "bnpo/beta": 1.0},
    "mcpo-mastery": {"mastery/prompts": 0.0},
    "mcpo-contrastive": {"contrastive/bonus": 0.0},
    "clipo": {"contrastive/bonus": 0.0},
    "cepo": {**NO_EVIDENCE, "evidence/mix": 0.5},
    "rlsd": {**NO_EVIDENCE, "evidence/mix": 0.49},
    "rlcsd": {"contrast/rows": 0.0, "contrast/moved": 0.0},
    "opd": {"teacher/gap": 0.0},
    "ppo": {"critic/explained": 0.0},
}
HEARD = ("positive", "negative", "informed", "right", "wrong_1", "teacher", "reference", "previous", "shown")


def served(batch: RolloutBatch, heard: Sequence[bool] = ()) -> RolloutBatch:
    """With all that any objective may ask for: log-probs of -1, values of 0, embeddings along the axes."""
    B, T = batch.response_mask_BT.shape
    mask = torch.tensor(heard or [True] * B)
    signals = {name: -torch.ones(B, T, dtype=D) * batch.response_mask_BT for name in HEARD}
    return replace(
        batch, signals=signals, signal_mask=dict.fromkeys(HEARD, mask), old_logps_BT=signals["teacher"],
        values={"value": torch.zeros(B, T, dtype=D)}, projections={"contrast": torch.eye(B, 4, dtype=D)},
        embeddings_BH=torch.eye(B, 4, dtype=D),
    )  # fmt: skip


@pytest.mark.parametrize("name", registry.objectives.names())
def test_a_step_that_nobody_judged_tells_numbers_and_earns_nothing(name: str) -> None:
    batch = replace(served(batch_of([2, 1], [1, 0])), judged_B=torch.zeros(2, dtype=torch.bool))
    credit = build(name=name, **({"mode": "both"} if name == "mcpo-contrastive" else {})).assign_credit(batch)
    assert credit.metrics == pytest.approx(NOTHING.get(name, {}))
    assert not credit.advantages_BT.any()
    assert not any((term.loss_weight_BT * term.loss_mask_BT).any() for term in credit.terms.values())


@pytest.mark.parametrize("name", registry.objectives.names())
def test_weights_and_advantages_are_numbers_of_the_batchs_own_type(name: str) -> None:
    fields = registry.objective_class(name).Config.model_fields
    more = {part: 0.1 for part in ("kl_coef", "entropy_coef") if part in fields}
    credit = build(name=name, **more).assign_credit(served(batch_of([2, 1, 1], [1, 0, 1], groups=[0, 0, 1])))
    assert {term.loss_weight_BT.dtype for term in credit.terms.values()} | {credit.advantages_BT.dtype} == {D}
    assert {term.loss_mask_BT.dtype for term in credit.terms.values()} <= {torch.bool}


def test_which_terms_are_weighed_by_the_mismatch_of_sampler_and_trainer() -> None:
    """Those of a ratio to what was sampled: no hinge, no critic, no divergence but SDPO's, no likelihood of right answers."""
    batch = served(batch_of([1, 1, 1, 1], [1, 1, 1, 0], groups=[0, 0, 1, 1]))
    found = {
        (name, term, told.corrected, told.correction)
        for name in registry.objectives.names()
        for term, told in build(name=name).assign_credit(batch).terms.items()
    }
    others = {("opsd", "match"), ("rft", "likelihood"), ("ppo", "value"), ("mcpo-mastery", "hinge_kl")}
    assert {(name, term) for name, term, corrected, _ in found if not corrected} == others
    assert {name for name, _, _, correction in found if correction == "loss"} == {"vespo"}
    terms = build(name="vespo", kl_coef=0.1, entropy_coef=0.1).assign_credit(batch).terms
    assert {term: told.correction for term, told in terms.items()} == {"policy": "loss", "kl": "scale", "entropy": "scale"}  # fmt: skip


# -- grpo and its relatives -------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["k1", "k2", "k3"])
def test_a_kl_that_is_a_loss_is_not_taken_from_the_reward_too(form: str) -> None:
    """Though what it could be taken by is there; nor is one whose weight is 0, whatever its form."""
    batch = replace(PAIR, old_logps_BT=tensor(-1.0, -2.0)[:, None], **REFERENCE)
    for settings in ({"kl_coef": 0.5, "kl_form": form}, {"kl_form": f"reward-{form}"}):
        close(build(name="grpo", **BARE, **settings).assign_credit(batch).advantages_BT[:, 0], [0.5, -0.5])
    bare = replace(batch, signals={})
    close(build(name="grpo", **BARE, kl_form=f"reward-{form}").assign_credit(bare).advantages_BT[:, 0], [0.5, -0.5])


def test_rows_whose_log_probs_were_not_asked_for_are_not_charged() -> None:
    objective = build(name="grpo", **BARE, kl_coef=0.5, kl_form="reward-k1")
    close(objective.assign_credit(PAIR).advantages_BT[:, 0], [0.5, -0.5])


def test_all_tokens_act_where_no_entropy_was_asked_for() -> None:
    terms = build(name="grpo", entropy_top=0.25).assign_credit(batch_of([2, 1], [1, 0])).terms
    assert terms["policy"].loss_weight_BT.tolist() == [[1.0, 1.0], [1.0, 0.0]]


@pytest.mark.parametrize("name", ["gspo", "luspo", "dapo"])
def test_the_dual_clip_of_relatives(name: str) -> None:
    """At ratio 10 the wrong one of a pair loses 10/2; twice the advantage holds it at 1."""
    settings = {**BARE, "dual_clip": 2.0, **({"overlong": 0.0} if name == "dapo" else {})}
    for told, expected in (({}, 5.0), (settings, 1.0)):
        objective = build(name=name, **{**settings, "dual_clip": None, **told})
        losses = objective.token_losses(micro_of(PAIR, objective.assign_credit(PAIR), math.log(10)))
        close(losses["policy"][1], [expected])


def test_of_two_the_other_is_the_whole_baseline() -> None:
    """1 - 0 and 0 - 1."""
    close(build(name="rloo").assign_credit(PAIR).advantages_BT[:, 0], [1.0, -1.0])


@pytest.mark.parametrize(
    ("limit", "lengths", "added"),
    [
        (2, [1, 2], [0.0, -1.0]),  # a fifth of 2 rounds to 0, and one token is the least
        (4, [3, 4], [0.0, -1.0]),  # 0.8: one
        (8, [6, 7], [0.0, -0.5]),  # 1.6: two
        (7, [6, 7], [0.0, -1.0]),  # 1.4: one
    ],
)
def test_over_how_many_tokens_the_punishment_falls(limit: int, lengths: list[int], added: list[float]) -> None:
    credit = build(name="dapo", **BARE).assign_credit(replace(batch_of(lengths, [1, 1]), max_response=limit))
    close(credit.advantages_BT[:, 0], [-added[1] / 2, added[1] / 2])
    assert credit.metrics["dapo/overlong"] == pytest.approx(sum(added) / 2)


def test_the_punishment_of_a_single_judged_row_is_told_whole() -> None:
    batch = replace(batch_of([10, 10], [1, 1]), max_response=10, judged_B=torch.tensor([True, False]))
    assert build(name="dapo").assign_credit(batch).metrics == {"dapo/overlong": -1.0}


def test_of_several_rewards_that_cannot_be_one_is_named() -> None:
    """BNPO's first; MaxRL's lowest."""
    with pytest.raises(ObjectiveFault, match=r"'bnpo' was given a reward of 1\.5, but a Beta density is"):
        build(name="bnpo").assign_credit(batch_of([1] * 3, [0, 1.5, -0.25]))
    with pytest.raises(ObjectiveFault, match=r"'max-rl' was given a reward of -0\.5, but it divides by"):
        build(name="max-rl").assign_credit(batch_of([1] * 3, [-0.25, -0.5, 1]))


def test_rft_shows_what_it_learns_from_as_an_advantage_of_one() -> None:
    credit = build(name="rft").assign_credit(batch_of([2, 1], [1, 0]))
    assert credit.advantages_BT.tolist() == [[1.0, 1.0], [0.0, 0.0]]
    assert credit.terms["likelihood"].loss_weight_BT.tolist() == [[1.0, 1.0], [0.0, 0.0]]


# -- pairs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dpo", "ipo"])
def test_rows_in_no_pair_may_stand_anywhere(name: str) -> None:
    """One that nobody judged at minus infinity: the loss is that of the pair, h = 1, and no slope reaches it."""
    batch = replace(batch_of([1, 1, 1], [1, 0, 1]), judged_B=torch.tensor([True, True, False]))
    batch = replace(batch, signals={"reference": tensor(-1.0, -1.0, -1.0)[:, None]})
    sums = tensor(-0.5, -1.5, -math.inf).requires_grad_()
    reps = Representations(embeddings_NH=None, sequence_logps_N=sums)
    term = build(name=name, beta=0.5).in_batch_losses(reps, batch)["preference"]
    close(term.loss.detach(), math.log1p(math.exp(-0.5)) if name == "dpo" else 0.0)
    term.loss.backward()
    assert sums.grad is not None and sums.grad.isfinite().all() and sums.grad[2] == 0


def test_a_response_without_a_verdict_is_of_neither_kind() -> None:
    waiting = replace(RIGHT, verdict=None)
    objective = build(name="dpo")
    for rollouts, paired in (((RIGHT, WRONG, waiting), True), ((WRONG, waiting), False), ((RIGHT, NOBODY), False)):
        told = objective.contexts("reference", group_of(*rollouts))
        assert told == [Insert("") if paired else None] * len(rollouts)
    group = group_of(waiting, NOBODY, RIGHT, WRONG)
    assert (judged(group), judged(group, correct=True), judged(group, correct=False)) == ([2, 3], [2], [3])
    assert (score_of(waiting), score_of(RIGHT)) == (0.0, 1.0)


# -- critics ----------------------------------------------------------------------------------------------


def test_a_token_that_came_as_foreseen_does_not_act_and_is_learned_by_the_critic() -> None:
    """delta = 1 - 1/2 and 1 - 1 at lambda 0: the second token has no advantage."""
    batch = replace(batch_of([2], [1]), values={"value": tensor(0.5, 1.0)[None]})
    credit = build(name="ppo", lam=0.0, whiten=False).assign_credit(batch)
    close(credit.advantages_BT, [[0.5, 0.0]])
    assert credit.terms["policy"].loss_weight_BT.tolist() == [[1.0, 0.0]]
    assert credit.terms["value"].loss_weight_BT.tolist() == [[1.0, 1.0]]


def test_the_share_that_a_critic_explains() -> None:
    """Targets 1, 1, 1 | 0, 0 vary by 0.24 about 0.6; less the values 0.5, 0.8, 0.6 | -0.1, -0.3 are left, by 0.18 about 0.3."""
    values = pad([[0.5, 0.2, 0.4], [0.1, 0.3]], 3)
    batch = replace(batch_of([3, 2], [1, 0], groups=[0, 1]), values={"value": values})
    credit = build(name="ppo").assign_credit(batch)
    assert credit.metrics == pytest.approx({"critic/explained": 0.25})
    close(credit.given["targets"], [[1, 1, 1], [0, 0, 0]])


# -- teachers ---------------------------------------------------------------------------------------------


def test_weights_named_without_more() -> None:
    assert teacher_weights("snapshot") == Snapshot(1)
    assert teacher_weights("ema") == Ema(0.0)


def test_a_problem_without_an_answer_has_an_empty_hint() -> None:
    group = group_of(RIGHT, WRONG, problem=replace(PROBLEM, answer=None))
    assert build(name="cepo").contexts("positive", group) == [Insert(" ")] * 2


def weighed(name: str, **settings: Any) -> tuple[Any, RolloutBatch, Credit]:
    """A pair whose second tokens are the wrong one's padding; evidence log 1.2 and log 1.1, and log 4. A third row nobody judged."""
    batch = replace(batch_of([2, 1, 2], [1, 0, 1], width=2), judged_B=torch.tensor([True, True, False]))
    told, own = (
        pad([[math.log(1.2), math.log(1.1)], [math.log(4), 9.0], [9.0, 9.0]], 2),
        torch.full((3, 2), -1.0, dtype=D),
    )
    batch = replace(
        batch, sampler_logps_BT=own,
        signals={"positive": own + told, "negative": own, "informed": own + told},
        signal_mask=dict.fromkeys(("positive", "negative", "informed"), torch.ones(3, dtype=torch.bool)),
    )  # fmt: skip
    objective = build(name=name, **BARE, schedule="constant", evidence_clip=0.5, **settings)
    return objective, batch, objective.assign_credit(batch)


@pytest.mark.parametrize(("name", "mix"), [("cepo", 0.5), ("rlsd", 0.25)])
def test_what_is_told_and_kept_of_evidence(name: str, mix: float) -> None:
    """Both tokens of the right row lie below the wrong one's: an area of 0, and no spread. Of three weights 1/4 alone is cut.

    RLSD with the current student measures from the sampler, and leaves the advantages to the micro-batch.
    """
    _, _, credit = weighed(name, mix=mix)
    assert credit.metrics == pytest.approx(
        {"evidence/auc": 0.0, "evidence/auc_low": 0.0, "evidence/auc_high": 0.0, "evidence/clipped": 1 / 3, "evidence/mix": mix}
    )  # fmt: skip
    close(credit.evidence_BT, [[math.log(1.2), math.log(1.1)], [math.log(4), 0.0], [0.0, 0.0]])
    factors = [[1 + mix * 0.2, 1 + mix * 0.1], [1 - mix * 0.5, 0.0], [0.0, 0.0]] if name == "cepo" else [[1, 1], [1, 0], [0, 0]]  # fmt: skip
    close(credit.advantages_BT, tensor(0.5, -0.5, 0.0)[:, None] * torch.tensor(factors, dtype=D))


def test_rlsds_current_student_is_no_longer_weighed_once_the_schedule_is_over() -> None:
    """By step 50 nothing is read: the loss is the base's, -1/2 and 1/2, without a teacher's word."""
    objective = build(name="rlsd", **BARE)
    batch = replace(PAIR, step=50)
    credit = objective.assign_credit(batch)
    assert credit.metrics == {"evidence/mix": 0.0} and credit.evidence_BT is None
    close(objective.token_losses(micro_of(batch, credit))["policy"][:, 0], [-0.5, 0.5])


def test_rlsds_weight_follows_the_policy_and_carries_no_slope() -> None:
    """The policy at log 1.1 above the old one, the teacher log 1.2 above that old one: the weight is 12/11, the ratio 1.1.

    loss = -1/2 · (1/2 + 6/11) · 1.1, and its slope is that loss itself: only the ratio has one.
    """
    objective, batch, credit = weighed("rlsd", mix=0.5)
    now = (batch.sampler_logps_BT + math.log(1.1)).requires_grad_()
    loss = objective.token_losses(micro_of(batch, credit, logps_BT=now))["policy"]
    expected = -0.5 * (0.5 + 0.5 * 12 / 11) * 1.1
    close(loss[0, 0].detach(), expected)
    (slope,) = torch.autograd.grad(loss[0, 0], now)
    close(slope, [[expected, 0.0], [0.0, 0.0], [0.0, 0.0]])


def test_another_models_word_on_padding_and_unjudged_rows_does_not_count() -> None:
    """Judged: a row of one token that it is surer of by 1/4, and one that it did not read."""
    batch = replace(batch_of([1, 2, 1], [1, 0, 1]), judged_B=torch.tensor([True, False, True]))
    batch = replace(
        batch, old_logps_BT=torch.full((3, 2), -1.0, dtype=D), signals={"teacher": pad([[-0.75, 9], [9, 9], [9, 9]], 2)},
        signal_mask={"teacher": torch.tensor([True, True, False])},
    )  # fmt: skip
    credit = build(name="opd").assign_credit(batch)
    close(credit.advantages_BT, [[0.25, 0.0], [0.0, 0.0], [0.0, 0.0]])
    assert credit.metrics == pytest.approx({"teacher/gap": -0.25})
    for form, term in (("reward", "policy"), ("divergence", "match")):
        told = build(name="opd", form=form).assign_credit(batch).terms[term]
        assert told.loss_mask_BT.tolist() == told.loss_weight_BT.bool().tolist() == [[True, False], [False] * 2, [False] * 2]  # fmt: skip
        assert (told.reduction, told.corrected, told.coef) == ("token", form == "reward", 1.0)


def test_siblings_are_in_the_order_of_a_hash_that_does_not_change() -> None:
    """Another hash, or other words in it, would change what every earlier run read. An id may hold half a character."""
    for key, visit, reader in (("p", 0, 0), ("p", 3, 2), ("\ud800", 1, 4)):
        group = group_of(RIGHT, visit=visit, problem=replace(PROBLEM, id=key))

        def place(other: int, words: str = f"{key}\x1f{visit}\x1f{reader}\x1f") -> bytes:
            return blake2b(f"{words}{other}".encode(errors="replace"), digest_size=8).digest()

        others = [other for other in range(20) if other != reader]
        assert shuffled(range(20), group, reader) == sorted(others, key=place)


def test_rlcsd_where_nothing_was_read_tells_shares_of_nothing() -> None:
    batch = served(batch_of([1, 1], [1, 0]), heard=[False, False])
    credit = build(name="rlcsd").assign_credit(batch)
    assert credit.metrics == {"contrast/rows": 0.0, "contrast/moved": 0.0}
    one = replace(served(batch_of([1], [1])), signals={"right": tensor(3.0)[None], "wrong_1": tensor(0.0)[None]})
    assert build(name="rlcsd").assign_credit(one).metrics == {"contrast/rows": 1.0, "contrast/moved": 1.0}


# -- mastery ----------------------------------------------------------------------------------------------


def test_the_hinge_is_called_idle_only_where_mastered_prompts_are_dropped() -> None:
    batch = served(batch_of([1, 1], [1, 0]))
    for base, expected in (("grpo", ()), ("gspo", ()), ("dapo", (NONE_MASTERED,))):
        assert build(name="mcpo-mastery", base=base).assign_credit(batch).warnings == expected
    over = build(name="mcpo-contrastive", base=("mcpo-mastery", "dapo"))
    assert over.assign_credit(batch).warnings == (NONE_MASTERED, ONE_DOMAIN)


def test_a_step_without_mixed_prompts_is_told_only_where_dapo_would_drop_them() -> None:
    for rewards, settings, expected in (
        ([1.0, 0.0], {}, ()),
        ([0.0, 0.0], {}, (NONE_MIXED,)),
        ([0.0, 0.0], {"overlong": 0}, (NONE_MIXED,)),
        ([0.0, 0.0], {"dynamic_sampling": False}, ()),
    ):
        credit = build(name="dapo", **settings).assign_credit(batch_of([1, 1], rewards))
        assert credit.warnings == expected
    one_of_two = batch_of([1] * 4, [1, 0, 0, 0], groups=[0, 0, 1, 1])
    assert build(name="dapo").assign_credit(one_of_two).warnings == ()


@pytest.mark.parametrize("name", ["cepo", "rlsd", "rlcsd"])
@pytest.mark.parametrize(
    ("base", "by_mean"), [({"base": "gspo"}, True), ({"base": "luspo"}, True), ({"base": "gmpo"}, True),
    ({"base": "gspo", "token": True}, False), ({"base": "luspo", "token": True}, False), ({"base": "vespo"}, False), ({}, False)],
)  # fmt: skip
def test_credit_by_token_says_where_only_its_mean_acts(name: str, base: dict[str, Any], by_mean: bool) -> None:
    names = ("positive", "negative", "informed", "right", "wrong_1")
    batch = batch_of([2, 1], [1, 0])
    signals = {key: torch.zeros_like(batch.sampler_logps_BT) for key in names}
    batch = replace(batch, signals=signals, signal_mask={key: torch.ones(2, dtype=torch.bool) for key in names})
    warned = build(name=name, **base).assign_credit(batch).warnings
    assert warned == ((BY_MEAN,) if by_mean else ())


# -- contrast ---------------------------------------------------------------------------------------------

Z = torch.tensor([[1, 0], [0, 1], [0.6, 0.8]], dtype=D)
THREE = batch_of([1, 1, 1], [1, 0, 1], groups=[0, 0, 1], domains=[0, 0, 1])
"""Right of two domains, cosine 0.6, and a wrong one that lies across the first and by 0.8 at the third."""
ONE: dict[str, Any] = {"tau": 1.0, "head": {"kind": "none"}}


def lost(cosine: float, *others: float) -> float:
    """-log of a positive's share of itself and its competitors."""
    return -math.log(math.exp(cosine) / (math.exp(cosine) + sum(map(math.exp, others))))


def terms_of(objective: Any, batch: RolloutBatch, z: Tensor) -> Mapping[str, InBatchTerm]:
    reps = Representations(embeddings_NH=z, sequence_logps_N=None, heads={"contrast": nn.Identity()})
    found: Mapping[str, InBatchTerm] = objective.in_batch_losses(reps, batch)
    return found


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_heads_direction_is_that_of_any_length(kind: str) -> None:
    """Without a bias a longer embedding has a longer image, of the same direction."""
    module = build(name="mcpo-contrastive", head={"kind": kind}).heads(4)["contrast"].module.double()
    x = torch.tensor([[0.3, -1.0, 2.0, 0.7]], dtype=D)
    close(module(10 * x), 10 * module(x))


@pytest.mark.parametrize(("mode", "told"), [("loss", ()), ("reward", (ONE_DOMAIN,)), ("both", (ONE_DOMAIN,))])
def test_a_bank_stands_in_for_a_domain_only_where_it_is_read(mode: str, told: tuple[str, ...]) -> None:
    """The bonus on rewards compares a step's own rollouts."""
    objective = build(name="mcpo-contrastive", mode=mode, memory_bank=4, **ONE)
    points = torch.eye(2, dtype=D)
    batch = replace(batch_of([1, 1], [1, 0]), embeddings_BH=points, projections={"contrast": points})
    objective.observe(replace(batch, domain_ids_B=torch.ones(2, dtype=torch.long)))
    assert objective.assign_credit(batch).warnings == told


def test_what_heads_compute() -> None:
    """With weights that turn signs: nothing below 0 passes between an mlp's two matrices, and all does behind them; `none` changes nothing."""
    x = torch.tensor([[-1.0, 2.0]])
    for kind, expected in (("mlp", [[-1.0, 0.0]]), ("linear", [[1.0, -2.0]]), ("none", [[-1.0, 2.0]])):
        module = build(name="clipo", head={"kind": kind}).heads(2)["contrast"].module
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(-torch.eye(2) if parameter.dim() == 2 else torch.zeros(2))
        assert module(x).tolist() == expected


def test_a_right_row_that_nobody_judged_is_neither_anchor_nor_positive_nor_negative() -> None:
    """Beside right, right and wrong ones of a prompt, of two domains: losses are those without it."""
    batch = batch_of([1] * 4, [1, 1, 0, 1], domains=[0, 1, 0, 1])
    batch = replace(batch, judged_B=torch.tensor([True, True, True, False]))
    z, three = torch.cat([Z, Z[:1]]), torch.arange(3)
    for name in ("clipo", "mcpo-contrastive"):
        objective = build(name=name, **ONE)
        whole, alone = terms_of(objective, batch, z), terms_of(objective, batch.rows(three), z[three])
        for term, told in whole.items():
            close(told.loss, alone[term].loss)
            assert told.anchors == alone[term].anchors == (0 if term == "intra" else 2)


def test_a_bank_counts_domains_and_takes_nothing_from_a_step_without_embeddings() -> None:
    objective = build(name="mcpo-contrastive", **ONE, memory_bank=2)
    objective.observe(THREE)
    assert objective.state_dict()["bank"][1].tolist() == []
    objective.observe(replace(THREE, embeddings_BH=Z))
    embeddings, domains = objective.state_dict()["bank"]
    assert (embeddings.dtype, domains.dtype, domains.tolist()) == (D, torch.int64, [0, 1])


def test_what_the_bank_holds_counts_by_its_direction_alone() -> None:
    """Row 0 of one domain beside its wrong row 1; the bank's (6, 8) has a cosine of 0.6 with it, whatever its length."""
    objective = build(name="mcpo-contrastive", **ONE, memory_bank=2, transfer={"rule": "threshold", "delta_sim": 0.5})
    objective.observe(replace(THREE, embeddings_BH=10 * Z))
    cross = terms_of(objective, THREE.rows(torch.tensor([0, 1])), Z[:2])["cross"]
    assert cross.anchors == 1
    close(cross.loss, lost(0.6, 0.0))


def test_the_bank_is_no_part_of_the_bonus() -> None:
    """Without a transferable positive in the step there is none, however full the bank; with one, it is the step's own."""
    full = build(name="mcpo-contrastive", **ONE, mode="both", memory_bank=8)
    full.observe(replace(THREE, embeddings_BH=Z))
    batch = replace(THREE, projections={"contrast": Z})
    assert full.assign_credit(batch.rows(torch.tensor([0, 1]))).metrics == {"contrastive/bonus": 0.0}
    losses = lost(0.6, 0.0), lost(0.6, 0.8)
    assert full.assign_credit(batch).metrics == pytest.approx({"contrastive/bonus": -0.2 * sum(losses) / 2})


def test_an_in_domain_term_that_is_off_is_in_no_bonus() -> None:
    """Two right rows of a domain at cosine 0.6 and a wrong one: log-losses with the term, nothing without, since none is of another domain."""
    batch = replace(batch_of([1, 1, 1], [1, 0, 1]), projections={"contrast": Z})
    mean = -0.2 * (lost(0.6, 0.0) + lost(0.6, 0.8)) / 2
    for form, bonus in (("infonce", mean), ("off", 0.0)):
        objective = build(name="mcpo-contrastive", **ONE, mode="reward", intra={"form": form})
        assert objective.assign_credit(batch).metrics == pytest.approx({"contrastive/bonus": bonus})


def test_the_mean_bonus_is_over_right_rows_that_were_judged_and_rewards_keep_their_type() -> None:
    """Losses 1, 2 and 4 at weight 1/4: -1/4, -1/2 and, held, -3/4, of which the second row is wrong and the third unjudged."""
    batch = replace(batch_of([1, 1, 1], [1, 0, 1]), judged_B=torch.tensor([True, True, False]))
    shaped, mean = with_bonus(batch, tensor(1, 2, 4), 0.25, 0.75)
    assert (shaped.rewards_B.tolist(), mean) == ([0.75, -0.5, 0.25], -0.25)
    single = replace(batch, rewards_B=batch.rewards_B.float())
    assert with_bonus(single, tensor(1, 2, 4), 0.25, 0.75)[0].rewards_B.dtype == torch.float32


def test_responses_are_told_apart_by_a_sum_that_does_not_change() -> None:
    """Log-probs in units of 2^-24, rounded, each times its place times a constant; padding says nothing. Plus the step."""
    logps = pad([[-0.1, -0.75, 5.0], [-0.2, 7.0, 7.0]], 3)
    batch = replace(batch_of([2, 1], [1, 1], width=3), sampler_logps_BT=logps, step=7)
    first = (-1677722 * 1 + -12582912 * 2) * 0x27D4EB2F + 7  # -0.1 · 2^24 = -1677721.6
    assert row_keys(batch).tolist() == [first, -3355443 * 0x27D4EB2F + 7]  # -0.2 · 2^24 = -3355443.2


def test_while_clipos_head_learns_alone_no_term_of_the_policy_acts() -> None:
    """The KL neither. The step after, all do."""
    objective = build(name="clipo", head_steps=2, kl_coef=0.1, entropy_coef=0.1)
    for step, acts in ((2, 0.0), (3, 1.0)):
        batch = replace(served(PAIR), step=step)
        terms = objective.assign_credit(batch).terms
        assert set(terms) == {"policy", "kl", "entropy"}
        assert {float(term.loss_weight_BT[0, 0]) for term in terms.values()} == {acts}
        assert objective.acting(batch, torch.ones(2, 1, dtype=D)).tolist() == [[acts], [acts]]  # type: ignore[attr-defined]
        assert objective.needs(step).heads_only == (not acts)


# -- over a base that has everything ----------------------------------------------------------------------


class Laden(Grpo[GrpoConfig]):
    """Asks for, tells and holds one more of all that an objective can."""

    name, Config = "laden", GrpoConfig
    metrics = {"laden/one": ("number", "1")}
    seen = 0

    def needs(self, step: int) -> Needs:
        return Needs(
            signals=(Signal(name="laden"),), old_logps=True, domains=3, min_group=5, answers=True, because={"entropy": "laden"}
        )  # fmt: skip

    def contexts(self, signal: str, group: Group) -> Sequence[Context]:
        return [Insert(signal)] * len(group.rollouts)

    def heads(self, hidden: int) -> Mapping[str, Head]:
        return {"laden": Head(module=nn.Linear(hidden, 1), kind="token")}

    def keep(self, batch: RolloutBatch) -> Tensor:
        return ~super().keep(batch)

    def std_factor(self, batch: RolloutBatch) -> Tensor | None:
        return torch.full_like(batch.rewards_B, 2.0)

    def assign_credit(self, batch: RolloutBatch) -> Credit:
        credit = super().assign_credit(batch)
        mask_BT = batch.loss_mask_BT
        term = Term(loss_mask_BT=mask_BT, loss_weight_BT=mask_BT.double(), reduction="token")
        told = {"laden/one": 1.0}
        return replace(credit, terms={**credit.terms, "laden": term}, metrics=told, warnings=("laden",))

    def token_losses(self, micro: MicroBatch) -> Mapping[str, Tensor]:
        return {**super().token_losses(micro), "laden": micro.logps_BT}

    def in_batch_losses(self, reps: Representations, rows: RolloutBatch) -> Mapping[str, InBatchTerm]:
        return {"laden": InBatchTerm(loss=torch.ones(()))}

    def observe(self, batch: RolloutBatch) -> None:
        self.seen = batch.step

    def state_dict(self) -> dict[str, Any]:
        return {"laden": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        assert set(state) == {"laden"}
        self.seen = state["laden"]


ADDITIONS = ["cepo", "clipo", "mcpo-contrastive", "mcpo-mastery", "rlcsd", "rlsd"]


def test_which_add_to_a_base() -> None:
    assert [name for name in registry.objectives.names() if registry.objectives.load(name).addition] == ADDITIONS


@pytest.mark.parametrize("step", [1, 1000])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {}) for name in ADDITIONS),
        ("mcpo-contrastive", {"mode": "reward"}),
        ("mcpo-contrastive", {"mode": "both"}),
    ],
)
def test_nothing_of_a_base_is_lost_under_an_addition(name: str, settings: dict[str, str], step: int) -> None:
    cls = registry.compose(registry.objectives.load(name), Laden)
    config = {"name": name, **settings}
    objective = cls(cls.Config.model_validate(config))
    needs = objective.needs(step)
    assert needs.signals[0] == Signal(name="laden")
    assert needs.because["entropy"] == "laden"
    assert (needs.old_logps, needs.domains, needs.min_group, needs.answers) == (True, 3, 5, True)
    assert objective.contexts("laden", group_of(RIGHT, WRONG)) == [Insert("laden")] * 2
    assert next(iter(objective.heads(4))) == "laden"
    assert "laden/one" in cls.metrics
    batch = replace(served(PAIR), step=step)
    assert objective.keep(batch).tolist() == [False]
    credit = objective.assign_credit(batch)
    assert credit.metrics["laden/one"] == 1.0 and credit.warnings[0] == "laden"
    std = 0.5 if name == "rlcsd" else math.sqrt(0.5)  # of 1 and 0: of the population, or unbiased
    assert float(credit.advantages_BT[0, 0]) == pytest.approx(0.5 / (2 * std), rel=1e-5)
    losses = objective.token_losses(micro_of(batch, credit))
    assert {"policy", "laden"} <= set(credit.terms) == set(losses)
    modules = {head: held.module.double() for head, held in objective.heads(4).items()}
    reps = Representations(embeddings_NH=torch.eye(2, 4, dtype=D), sequence_logps_N=None, heads=modules)
    assert float(objective.in_batch_losses(reps, batch)["laden"].loss) == 1.0
    objective.observe(batch)
    state = objective.state_dict()
    assert state["laden"] == step
    again = cls(cls.Config.model_validate(config))
    again.load_state_dict(state)
    assert again.state_dict()["laden"] == step
