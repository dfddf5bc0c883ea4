"""Whole comparisons by name. What they train is in the recipe of that name; the numbers here are theirs as comparisons."""

from __future__ import annotations

from dataclasses import dataclass

from rlzoo.errors import UnknownName, did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    recipe: str
    arms: tuple[str, ...]
    controls: tuple[str, ...]
    seeds: tuple[int, ...]
    minutes: int
    """About how long it takes on two cores."""


PRESETS = {
    "quick": Preset(
        recipe="quick", arms=("grpo", "mcpo-contrastive"), controls=("frozen",), seeds=(0, 1, 2), minutes=6
    ),
    "cpu": Preset(
        recipe="cpu",
        arms=("grpo", "mcpo-contrastive", "mcpo-mastery", "cepo"),
        controls=("frozen",),
        seeds=(0, 1, 2),
        minutes=20,
    ),
    "zoo": Preset(
        recipe="zoo",
        arms=(
            *("grpo", "mcpo-contrastive", "mcpo-mastery", "cepo", "rlsd", "clipo", "rlcsd", "opsd", "sdpo"),
            *("dr-grpo", "dapo", "rloo", "reinforce", "reinforce-pp", "gspo", "cispo", "sapo", "gmpo", "luspo"),
            *("vespo", "max-rl", "bnpo", "ppo", "dpo", "ipo", "rft", "opd=opd:teacher_path=tiny-clean"),
        ),
        controls=("frozen",),
        seeds=(0, 1),
        minutes=80,
    ),
}

DEFAULT = "cpu"


def find(name: str) -> Preset:
    if name not in PRESETS:
        raise UnknownName(f"no preset is named {name!r}. {did_you_mean(name, PRESETS)}")
    return PRESETS[name]
