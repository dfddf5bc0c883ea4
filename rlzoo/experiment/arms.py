"""Arms of a comparison: what one of them is called, and which settings it changes.

cepo                            an objective
cepo:mix=0.3,learner.lr=3e-5    with settings; those without a section are the objective's
grpo@maths,logic                trained on problems of these domains alone, tested on all
again=grpo                      under a name of its own
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from rlzoo import registry
from rlzoo.config import RunConfig
from rlzoo.configure import flatten, parse_assignment
from rlzoo.data.source import build
from rlzoo.errors import ConfigError, UnknownName, UsageError, did_you_mean
from rlzoo.runs.comparison import default_baseline, is_control

CONTROLS = {
    "frozen": "control.frozen=true",
    "random-reward": "control.reward=random",
    "shuffled-reward": "control.reward=shuffled",
    "format-only": "control.reward=format-only",
}
"""Controls by name, and the setting that makes one out of the baseline."""

SHARED = {
    "seed": "the seeds are shared by all arms (--seeds)",
    "budget": "all arms get the same budget (--budget)",
    "eval": "all arms are tested alike (--set eval.…)",
    "threads": "results depend on the number of threads (--set threads=N)",
}
"""Sections that no arm may change, and why."""

_ARM = re.compile(
    r"(?:(?P<label>[\w.-]+)=)?(?P<objective>[^=@]+?)(?:@(?P<domains>[\w,-]+))?(?::(?P<settings>[A-Za-z_][\w.]*=.*))?"
)
_NEXT_SETTING = re.compile(r",(?=[A-Za-z_][\w.]*=)")
_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    name: str
    """Also the first part of its runs' folders."""
    objective: str
    settings: tuple[str, ...] = ()
    """Assignments over what all arms share."""
    domains: tuple[str, ...] = ()
    """Of the training problems; empty = all."""
    control: bool = False


def parse(text: str) -> Variant:
    """The arm that `text` describes. UnknownName for an objective nobody knows, ConfigError for settings it may not have."""
    found = _ARM.fullmatch(text.strip())
    if found is None:
        raise ConfigError(
            f"{text!r} describes no arm. Write an objective, with what it changes: cepo, cepo:mix=0.3, grpo@maths, again=grpo"
        )
    objective = found["objective"]
    if objective.endswith(".py"):
        objective = registry.only_objective(objective)
    registry.objectives.load(objective)
    settings = tuple(_setting(part, text) for part in _NEXT_SETTING.split(found["settings"] or "") if part)
    domains = tuple(dict.fromkeys(part for part in (found["domains"] or "").split(",") if part))
    described = [_short(objective), *domains, *(part.removeprefix("objective.") for part in settings)]
    control = _is_control(settings)
    if control and found["label"] in registry.objectives.names():
        raise ConfigError(
            f"arm {text!r} is a control, but takes the name of the objective {found['label']!r}, as which readers would take its scores. "
            "Give it another name."
        )
    return Variant(
        name=found["label"] or folder_name("-".join(described)),
        objective=objective,
        settings=settings,
        domains=domains,
        control=control,
    )


def _is_control(settings: Iterable[str]) -> bool:
    return is_control({path: value for text in settings for path, value in flatten(parse_assignment(text))})


def _setting(text: str, arm: str) -> str:
    section = text.partition("=")[0].partition(".")[0]
    whole = text if section in RunConfig.model_fields else f"objective.{text}"
    parse_assignment(whole)
    if section in SHARED:
        raise ConfigError(
            f"arm {arm!r} sets {text.partition('=')[0]}, but {SHARED[section]}, or a difference would have two causes. Leave it out of the arm."
        )
    if whole.startswith(("objective.name=", "objective=")):
        raise ConfigError(f"arm {arm!r} sets the objective's name twice. Write it once, in front: cepo:mix=0.3")
    return whole


def _short(objective: str) -> str:
    """A registered name as it is; of `module.path:Class` and `file.py:Class`, the class."""
    return objective.rpartition(":")[2] if ":" in objective else PurePath(objective).name


def folder_name(text: str) -> str:
    """`text` as a name that any file system takes; long ones end in a digest."""
    name = re.sub(r"[^a-z0-9._]+", "-", text.lower()).strip("-.") or "arm"
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def parse_all(texts: Iterable[str]) -> tuple[Variant, ...]:
    """All arms, in order; two of one name are refused."""
    return _distinct([parse(text) for text in texts])


def _distinct(arms: Sequence[Variant]) -> tuple[Variant, ...]:
    names = [arm.name for arm in arms]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(
            f"more than one arm is named {', '.join(map(repr, twice))}, and runs and results are told apart by the name. "
            f"Give one of them another: again={twice[0]}"
        )
    return tuple(arms)


def choose_baseline(arms: Sequence[Variant], wanted: str | None) -> Variant:
    """The arm that the others are measured against: the one asked for, else grpo, else the first that is no control."""
    by_name = {arm.name: arm for arm in arms}
    if wanted is None:
        return by_name[default_baseline((arm.name, arm.control) for arm in arms)]
    if wanted not in by_name:
        raise UnknownName(f"the baseline {wanted!r} is none of the arms. {did_you_mean(wanted, by_name)}")
    return by_name[wanted]


def with_controls(arms: Sequence[Variant], baseline: Variant, controls: Sequence[str]) -> tuple[Variant, ...]:
    """`arms`, and the controls made of the baseline after them."""
    for name in controls:
        if name not in CONTROLS:
            raise UnknownName(f"no control is named {name!r}. {did_you_mean(name, CONTROLS)}")
    made = [
        Variant(
            name=name,
            objective=baseline.objective,
            settings=(*baseline.settings, CONTROLS[name]),
            domains=baseline.domains,
            control=True,
        )
        for name in dict.fromkeys(controls)
    ]
    return _distinct([*arms, *made])


def assignments(arm: Variant, base: RunConfig) -> list[str]:
    """What the arm sets, as `--set` takes it, the objective's name first. `base` holds the sources that its domains choose from."""
    made = [f"objective.name={arm.objective}", *arm.settings]
    if arm.domains:
        made.append(f"data.sources={json.dumps(_sources_of(arm, base))}")
    return made


def _sources_of(arm: Variant, base: RunConfig) -> list[dict[str, object]]:
    """The sources whose problems are all of the arm's domains."""
    domains = [(source, tuple(build(source.name, source.options).domains)) for source in base.data.sources]
    known = {domain for _, held in domains for domain in held}
    for domain in arm.domains:
        if domain not in known:
            raise UnknownName(
                f"arm {arm.name!r}: no source holds problems of domain {domain!r}. {did_you_mean(domain, known)}"
            )
    for source, held in domains:
        if set(held) & set(arm.domains) and set(held) - set(arm.domains):
            raise ConfigError(
                f"arm {arm.name!r}: the source {source.name!r} mixes {', '.join(held)}, so it cannot be trained on in part. "
                "Make one source of each domain."
            )
    return [source.model_dump(mode="json") for source, held in domains if set(held) <= set(arm.domains)]
