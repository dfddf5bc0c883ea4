"""What objectives say of themselves: what they ask of a run and why, which settings they have no use for, what they tell.

Written out, so that a change of it is made here on purpose. That what is asked for suffices is shown by the laws.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rlzoo import registry
from rlzoo.laws.lab import Bench, toy_groups, toy_policy
from rlzoo.types import (
    CurrentWeights,
    Divergence,
    Ema,
    Full,
    Initial,
    Needs,
    OtherModel,
    Pooling,
    Previous,
    Signal,
    Snapshot,
    StudentTopK,
    TeacherTopK,
)
from tests.test_golden_objectives import build

# -- what is asked for ------------------------------------------------------------------------------------

GROUP = {"min_group": "advantages are measured against the group's mean"}
GRPO = Needs(min_group=2, because=GROUP)
ALONE = Needs()
REFERENCE = Signal(name="reference", weights=Initial())
PAIRS = Needs(
    signals=(REFERENCE,), sequence_logps=True, min_group=2,
    because={"min_group": "a pair is a right and a wrong rollout of one prompt"},
)  # fmt: skip
NAMED = {"signals": "set objective.teacher_path to a folder made by save_pretrained, or a hub name"}
OPD = Needs(signals=(Signal(name="teacher", weights=OtherModel("")),), old_logps=True, because=NAMED)
TOLD = {"answers": "its teacher is told each problem's solution, or its answer where there is none"}
OPSD = Needs(
    signals=(Signal(name="informed", weights=Initial()),),
    divergences=(Divergence(signal="informed", kind="jsd", mix=0.5, temperature=None, support=Full()),),
    answers=True, because=TOLD,
)  # fmt: skip
SDPO = Needs(
    signals=(Signal(name="shown", weights=Ema(0.95)),),
    divergences=(Divergence(signal="shown", kind="jsd", mix=0.5, support=StudentTopK(100, tail=True)),),
    min_group=2, because={"min_group": "a rollout is shown a correct one of the same prompt"},
)  # fmt: skip
BOTH = tuple(Signal(name=name, weights=CurrentWeights(), rows="credited") for name in ("positive", "negative"))
CEPO = replace(
    GRPO, signals=BOTH, answers=True, because={**GROUP, "answers": "its positive teacher is told the right answer"}
)
INFORMED = Signal(name="informed", weights=Snapshot(10), rows="credited")
RLSD = replace(
    GRPO, signals=(INFORMED,), answers=True, because={**GROUP, "answers": "its teacher is told the right answer"}
)
SIBLINGS = {"min_group": "a rollout is read behind a correct and an incorrect sibling"}
RLCSD = Needs(signals=(Signal(name="right"), Signal(name="wrong_1")), min_group=3, because=SIBLINGS)
COMPARED = {"min_group": "a correct rollout is compared with a correct and an incorrect one of its prompt"}
STILL = Pooling(layer=-1, pool="mean", gradient=False)
CLIPO = Needs(embeddings=STILL, min_group=3, because=COMPARED)
CONTRASTIVE = replace(
    GRPO, embeddings=Pooling(layer=-1, pool="mean", gradient=True), domains=2,
    because={**GROUP, "domains": "its positives are correct rollouts of other domains"},
)  # fmt: skip
HINGE = {"min_updates": "its hinge is zero on a step's first update, unless objective.hkl.anchor=previous_step"}
MASTERY = replace(GRPO, min_updates=2, because={**GROUP, **HINGE})

ASKED: dict[str, Needs] = {
    **dict.fromkeys(("grpo", "cispo", "dapo", "dr-grpo", "gmpo", "gspo", "luspo", "rloo", "sapo", "vespo"), GRPO),
    **dict.fromkeys(("ppo", "reinforce", "reinforce-pp", "rft"), ALONE),
    **dict.fromkeys(("dpo", "ipo"), PAIRS),
    "bnpo": replace(GRPO, rewards="share", because={**GROUP, "rewards": "a Beta density is one of shares between 0 and 1"}),
    "max-rl": replace(GRPO, rewards="nonnegative", because={**GROUP, "rewards": "it divides by the group's mean reward"}),
    "cepo": CEPO, "rlsd": RLSD, "rlcsd": RLCSD, "clipo": CLIPO, "mcpo-contrastive": CONTRASTIVE, "mcpo-mastery": MASTERY,
    "opd": OPD, "opsd": OPSD, "sdpo": SDPO,
}  # fmt: skip
"""Of the first step, under the defaults."""


@pytest.mark.parametrize("name", registry.objectives.names())
def test_what_each_asks_of_a_run_and_why(name: str) -> None:
    assert build(name=name).needs(1) == ASKED[name]


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"name": "grpo", "kl_coef": 0.1}, replace(GRPO, signals=(REFERENCE,))),
        ({"name": "grpo", "kl_form": "exact"}, GRPO),
        (
            {"name": "grpo", "kl_coef": 0.1, "kl_form": "exact"},
            replace(GRPO, signals=(REFERENCE,), divergences=(Divergence(signal="reference", kind="reverse"),)),
        ),
        ({"name": "grpo", "kl_coef": 0.1, "kl_form": "reward-k2"}, replace(GRPO, signals=(REFERENCE,), old_logps=True)),
        ({"name": "grpo", "entropy_top": 0.5}, replace(GRPO, entropy=True)),
        ({"name": "reinforce-pp", "baseline": True}, GRPO),
        ({"name": "reinforce", "kl_coef": 0.1}, Needs(signals=(REFERENCE,))),
        ({"name": "bnpo", "kl_coef": 0.1}, replace(ASKED["bnpo"], signals=(REFERENCE,))),
        ({"name": "clipo", "level": "cross"}, replace(GRPO, embeddings=STILL)),
        ({"name": "clipo", "level": "batch"}, replace(GRPO, embeddings=STILL)),
        ({"name": "clipo", "base": "reinforce"}, CLIPO),
        ({"name": "clipo", "base": "reinforce", "level": "cross"}, Needs(embeddings=STILL, min_group=2)),
        ({"name": "clipo", "base": "max-rl"}, replace(ASKED["max-rl"], embeddings=STILL, min_group=3, because={**ASKED["max-rl"].because, **COMPARED})),
        (
            {"name": "clipo", "embed": {"layer": 2, "pool": "last"}},
            replace(CLIPO, embeddings=Pooling(layer=2, pool="last", gradient=False)),
        ),
        (
            {"name": "mcpo-contrastive", "embed": {"layer": 2, "pool": "last"}, "mode": "reward"},
            replace(CONTRASTIVE, embeddings=Pooling(layer=2, pool="last", gradient=False)),
        ),
        ({"name": "mcpo-mastery", "hkl": {"beta": 0.0}}, GRPO),
        (
            {"name": "mcpo-mastery", "hkl": {"anchor": "previous_step"}, "kl_coef": 0.1},
            replace(GRPO, signals=(REFERENCE, Signal(name="previous", weights=Previous()))),
        ),
        ({"name": "cepo", "mix": 0.0}, GRPO),
        ({"name": "cepo", "kl_coef": 0.1}, replace(CEPO, signals=(REFERENCE, *BOTH))),
        ({"name": "cepo", "base": "mcpo-mastery"}, replace(CEPO, min_updates=2, because={**CEPO.because, **HINGE})),
        ({"name": "rlsd", "mix": 0.0}, GRPO),
        ({"name": "rlsd", "kl_coef": 0.1}, replace(RLSD, signals=(REFERENCE, INFORMED))),
        ({"name": "rlsd", "student": "old"}, replace(RLSD, old_logps=True)),
        (
            {"name": "rlsd", "kl_coef": 0.1, "kl_form": "reward-k1"},
            replace(RLSD, signals=(REFERENCE, INFORMED), old_logps=True),
        ),
        (
            {"name": "rlcsd", "kl_coef": 0.1, "wrong_siblings": 2},
            replace(RLCSD, signals=(REFERENCE, *RLCSD.signals, Signal(name="wrong_2"))),
        ),
        ({"name": "rlcsd", "base": "mcpo-mastery"}, replace(RLCSD, min_updates=2, because={**HINGE, **SIBLINGS})),
        (
            {"name": "opd", "form": "divergence", "beta": 0.25, "teacher_path": "tiny"},
            Needs(
                signals=(Signal(name="teacher", weights=OtherModel("tiny")),),
                divergences=(Divergence(signal="teacher", kind="jsd", mix=0.25),), because=NAMED,
            ),
        ),
        ({"name": "opsd", "form": "sampled"}, replace(OPSD, divergences=())),
        (
            {"name": "opsd", "form": "topk", "beta": 0.25, "temperature": 2.0},
            replace(OPSD, divergences=(
                Divergence(signal="informed", mix=0.25, temperature=2.0, support=TeacherTopK(50, tail=False)),
            )),
        ),
        ({"name": "sdpo", "form": "sampled"}, replace(SDPO, divergences=())),
    ],
    ids=str,
)  # fmt: skip
def test_what_settings_and_bases_change_of_it(section: dict[str, Any], expected: Needs) -> None:
    assert build(**section).needs(1) == expected


@pytest.mark.parametrize(("name", "last"), [("cepo", 25), ("rlsd", 49)])
def test_nothing_more_than_its_base_is_asked_for_once_a_schedule_is_over(name: str, last: int) -> None:
    objective = build(name=name, kl_coef=0.1)
    assert objective.needs(last) == objective.needs(1)
    assert objective.needs(last + 1) == build(name="grpo", kl_coef=0.1).needs(1)


# -- settings without effect ------------------------------------------------------------------------------

STD = dict.fromkeys(("scale_by_std", "std_ddof", "std_eps"), "its advantages are not divided by a std")
CLIP = dict.fromkeys(("clip_low", "clip_high", "dual_clip"), "its loss is not clipped")
WHOLE = {"entropy_top": "its ratio is the whole response's, so no token of it can be left out"}

UNUSED: dict[str, dict[str, str]] = {
    **dict.fromkeys(("rloo", "max-rl", "bnpo", "reinforce-pp"), STD),
    "reinforce": {**STD, **CLIP},
    "sapo": CLIP,
    "vespo": {**CLIP, "entropy_top": "its weight is the whole response's"},
    "cispo": {"dual_clip": "the weight's upper bound already holds every loss"},
    "gmpo": {"dual_clip": "a product of ratios is bounded by other tokens, not by itself", **WHOLE},
    "gspo": WHOLE,
    "luspo": WHOLE,
}
OTHERWISE: dict[str, Any] = {
    "scale_by_std": True, "std_ddof": 0, "std_eps": 0.25, "clip_low": 0.25, "clip_high": 0.25, "dual_clip": 3.0, "entropy_top": 0.5,
}  # fmt: skip
"""A value that is nobody's default."""


@pytest.mark.parametrize("name", registry.objectives.names())
def test_which_settings_have_no_use_and_why(name: str) -> None:
    Config = registry.objective_class(name).Config
    assert dict(Config.unused) == UNUSED.get(name, {})
    for setting, value in OTHERWISE.items():
        if setting not in Config.model_fields:
            continue
        if (why := Config.unused.get(setting)) is None:
            Config.model_validate({"name": name, setting: value})
            continue
        words = f"{setting} is {value!r}, but objective {name!r} has no use for it: {why}"
        with pytest.raises(ValueError, match=words):
            Config.model_validate({"name": name, setting: value})


# -- what is told of a step -------------------------------------------------------------------------------

EVIDENCE = {f"evidence/{what}": "0-1" for what in ("auc", "auc_low", "auc_high", "clipped", "mix")}
TELLS: dict[str, dict[str, str]] = {
    "bnpo": {"bnpo/alpha": "number", "bnpo/beta": "number"},
    "cepo": EVIDENCE,
    "rlsd": EVIDENCE,
    "clipo": {"contrastive/bonus": "0-1"},
    "mcpo-contrastive": {"contrastive/bonus": "0-1"},
    "dapo": {"dapo/overlong": "reward"},
    "mcpo-mastery": {"mastery/prompts": "prompts"},
    "rlcsd": {"contrast/rows": "0-1", "contrast/moved": "0-1"},
    "opd": {"teacher/gap": "nats"},
    "ppo": {"critic/explained": "-"},
}
"""By objective: its own metrics and their units."""
GROUPS = toy_groups(policy=toy_policy())


@pytest.mark.parametrize("name", registry.objectives.names())
def test_what_each_tells_of_a_step_is_what_it_declares(name: str) -> None:
    declared = registry.objective_class(name).metrics
    assert {metric: unit for metric, (unit, _) in declared.items()} == TELLS.get(name, {})
    section = {"name": name, **({"mode": "both"} if name == "mcpo-contrastive" else {})}
    assert set(Bench(section).step(GROUPS).credit.metrics) == set(declared)
