"""Laws about an objective's settings: each does something."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, get_args, get_origin

import torch
from pydantic import BaseModel
from torch import Tensor

from rlzoo import registry
from rlzoo.configure import merge
from rlzoo.errors import ConfigError
from rlzoo.laws.finding import Broken
from rlzoo.laws.lab import Bench, toy_groups, toy_policy
from rlzoo.laws.subject import Subject
from rlzoo.objective import SHIPPED, Objective
from rlzoo.types import Group, Verdict

STEPS = (1, 2, 100_000)
"""Schedules are at their beginning, under way, and over."""
SELDOM = 1e-12
"""Relative difference below which two outcomes are the same but for rounding."""


def settings(subject: Subject) -> None:
    """Every setting changes something: what is needed, kept, credited, lost or learned, if only beside another setting.

    Those that an objective of one's own takes over from its parent may be idle.
    """
    trial = _Trial(subject)
    idle = [path for path in trial.paths() if not trial.acts(path)]
    if idle:
        raise Broken(f"nothing changes with {', '.join(f'objective.{path}' for path in idle)}", "assign_credit")


class _Trial:
    """Outcomes by settings, each computed once."""

    def __init__(self, subject: Subject) -> None:
        self.section = subject.section
        cls = registry.objective_class(self.section["name"], self.section.get("base"))
        self.config = cls.Config
        self.asked = _own(cls) - {"name", "base", *self.config.unused}
        policy = toy_policy()
        self.steps: tuple[list[Group], ...] = (
            subject.groups,
            graded(toy_groups(3, policy=policy)),
            toy_groups(7, prompts=6, rollouts=6, policy=policy),
        )
        self._seen: dict[str, list[Any] | None] = {}

    def paths(self) -> list[str]:
        """Every setting of the objective's own, dotted."""
        return [path for path, _, _ in _leaves(self.config) if path.partition(".")[0] in self.asked]

    def acts(self, path: str) -> bool:
        """Whether some other value of it has another outcome, by itself or beside another value of one more setting.

        Of text nothing is known, so it is taken to act.
        """
        if not list(self._others(path)):
            return True
        beside: list[Mapping[str, Any]] = [{}]
        beside += [_nested(other, value) for other in self._nearest(path) for value in self._others(other)]
        for more in beside:
            here = self._outcome(more)
            if here is None:
                continue
            for value in self._others(path):
                there = self._outcome(merge(more, _nested(path, value)))
                if there is not None and not _same(here, there):
                    return True
        return False

    def _nearest(self, path: str) -> list[str]:
        """The other settings: those that choose between ways first, of them those of the same part."""
        part = path.rpartition(".")[0]
        kinds = {other: get_origin(annotation) is Literal for other, annotation, _ in _leaves(self.config)}
        others = [other for other in self.paths() if other != path]
        return sorted(others, key=lambda other: (not kinds[other], other.rpartition(".")[0] != part))

    def _others(self, path: str) -> Iterator[Any]:
        annotation, default = next((a, d) for p, a, d in _leaves(self.config) if p == path)
        now = _at(self.section, path, default)
        return (value for value in _values(annotation, now) if value != now)

    def _outcome(self, changes: Mapping[str, Any]) -> list[Any] | None:
        """What the objective asks for and does under the section with these changes; None where they are refused."""
        key = repr(sorted(_flat(changes)))
        if key not in self._seen:
            try:
                self._seen[key] = self._observed(merge(self.section, changes))
            except ConfigError:
                self._seen[key] = None
        return self._seen[key]

    def _observed(self, section: Mapping[str, Any]) -> list[Any]:
        bench = Bench(section)
        seen: list[Any] = []
        for head in bench.objective.heads(bench.store.hidden).values():
            seen += [head.lr, head.weight_decay, head.trunk, str(head.module)]
        for number, groups in zip(STEPS, self.steps, strict=True):
            scored = bench.score(groups, number)
            step = replace(scored, credit=bench.objective.assign_credit(scored.batch))
            asked = [bench.objective.contexts(signal.name, g) for signal in step.needs.signals for g in groups]
            old = step.batch.sampler_logps_BT - 0.3 * torch.randn(
                step.batch.sampler_logps_BT.shape, generator=torch.Generator().manual_seed(number), dtype=torch.float64
            )
            credited = [(t.loss_weight_BT, t.loss_mask_BT) for t in step.credit.terms.values()]
            seen += [repr(step.needs), repr(asked), bench.objective.keep(step.batch), step.credit.advantages_BT]
            with torch.no_grad():  # heads as a later update finds them, moved since they were asked for values
                for parameter in bench.heads.parameters():
                    parameter.add_(0.3 * torch.ones_like(parameter))
            seen += [*itertools.chain(*credited), bench.gradient(step, old_logps_BT=old * step.batch.response_mask_BT)]
            bench.objective.observe(step.batch)
        return seen


def _own(cls: type[Objective[Any]]) -> set[str]:
    """Settings that must do something: of an objective that ships all, of another those that it adds to what it takes over."""
    found = set(cls.Config.model_fields)
    if cls.__module__.startswith(SHIPPED):
        return found
    parents: list[Any] = list(cls.__mro__[1:])
    above = next((parent.Config for parent in parents if getattr(parent, "Config", cls.Config) is not cls.Config), None)
    return found - set(above.model_fields if above else ()) if "Config" in vars(cls) else set()


def graded(groups: list[Group]) -> list[Group]:
    """The same with rewards and scores between 0 and 1, no two rewards of a kind alike, and each prompt's last response cut off without an answer."""
    made = []
    for group in groups:
        rollouts = []
        for i, rollout in enumerate(group.rollouts):
            verdict = rollout.verdict
            if verdict is not None and verdict.judged:
                reward = 0.7 + 0.05 * i if verdict.correct else 0.1 + 0.15 * i
                verdict = replace(verdict, reward=reward, score=reward)
            if i == len(group.rollouts) - 1:
                verdict = Verdict(status="truncated", reason="invented")
                rollout = replace(rollout, truncated=True)
            rollouts.append(replace(rollout, verdict=verdict))
        made.append(replace(group, rollouts=tuple(rollouts)))
    return made


def _leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Path, type and default of every setting below `model`."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _leaves(inner, f"{prefix}{name}.")
        else:
            yield (
                f"{prefix}{name}",
                inner,
                None if field.is_required() else field.get_default(call_default_factory=True),
            )


def _values(annotation: Any, now: Any) -> Iterator[Any]:
    """Other values that a setting of this type may have; which of them are allowed shows when they are tried."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
        return
    kinds = get_args(annotation) or (annotation,)
    for kind in kinds:
        if get_origin(kind) is Literal:
            yield from get_args(kind)
    if bool in kinds:
        yield from (True, False)
    if type(None) in kinds:
        yield None
    if int in kinds:
        yield from ((now or 0) + 1, 2 * (now or 1), (now or 0) - 1, 1, 0)
    if float in kinds:
        yield from (0.5 * (now or 1.0), 2.0 * (now or 1.0), 1.05 * (now or 1.0), 0.0, 0.9, -0.1)


def _same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(_alike(a, b) for a, b in zip(one, other, strict=True))


def _alike(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor):
        return bool(one == other) or repr(one) == repr(other) == "nan"
    if one.shape != other.shape or not one.isnan().equal(other.isnan()):
        return False
    one, other = one.nan_to_num(0.0), other.nan_to_num(0.0)
    gap = (one.double() - other.double()).norm()
    return bool(gap <= SELDOM * other.double().norm())


def _nested(path: str, value: Any) -> dict[str, Any]:
    for part in reversed(path.split(".")):
        value = {part: value}
    return dict(value)


def _at(section: Mapping[str, Any], path: str, default: Any) -> Any:
    found: Any = section
    for part in path.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return default
        found = found[part]
    return found


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", repr(value)
