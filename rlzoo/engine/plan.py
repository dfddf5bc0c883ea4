"""What a run will do, worked out before a model is loaded; and the refusals that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlzoo.config import EMBEDDED, RunConfig
from rlzoo.data.filters import filters_of
from rlzoo.data.source import ProblemSource
from rlzoo.engine.isolation import Isolation, find_isolation
from rlzoo.engine.model.loading import architecture_of, check_lora, flash_attention, locate, pick_device
from rlzoo.engine.model.others import check_others
from rlzoo.engine.model.weights.holding import check_holding
from rlzoo.engine.sampling.choice import sampler_class
from rlzoo.engine.supply import Supply
from rlzoo.errors import UnmetNeed
from rlzoo.objective import Objective, checked_needs
from rlzoo.placement import RankPlace, here
from rlzoo.types import Needs, weights_label


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Numbers derived from a config, for printing."""

    objective: str
    domains: tuple[str, ...]
    rollouts_per_step: int
    updates_per_step: int
    prompts_per_update: int
    rollouts_per_update: int
    max_tokens_per_step: int
    """Response tokens a step samples at most."""
    limits: dict[str, float]
    """Budget axes that end the run."""
    sandbox: Isolation | None
    """Of programs that the policy writes; None if the data ask for none."""
    extra: tuple[str, ...]
    """What the objective's first step asks for beyond sampling and updating, in words."""
    ranks: tuple[RankPlace, ...] = ()
    """Where each process of the run computes."""


def make_plan(config: RunConfig, objective: Objective[Any], supply: Supply, ranks: tuple[RankPlace, ...] = ()) -> Plan:
    """The plan of `config`, carried out by `ranks` or by this process alone. Raises UnmetNeed where the run cannot supply what the objective needs."""
    domains = tuple(dict.fromkeys(domain for source in supply.training for domain in source.domains))
    needs = checked_needs(objective, 1)
    check_needs(config, objective, needs, domains, supply.training)
    filters_of(config.data)
    locate(config.model.path)
    check_others(config, needs)
    device = pick_device(config.model)
    check_holding(config.learner)
    check_lora(config)
    flash_attention(config.model)
    sampler = sampler_class(config.sampling.backend)
    sampler.fit(config)
    if config.model.path not in EMBEDDED:  # those are known, and a plan is made at once
        sampler.check(architecture_of(config.model.path), config.model.path)
    sampling, updates = config.sampling, config.learner.updates_per_step
    return Plan(
        objective=config.objective.name,
        domains=domains,
        rollouts_per_step=sampling.prompts_per_step * sampling.group_size,
        updates_per_step=updates,
        prompts_per_update=sampling.prompts_per_step // updates,
        rollouts_per_update=sampling.prompts_per_step * sampling.group_size // updates,
        max_tokens_per_step=sampling.prompts_per_step * sampling.group_size * sampling.max_response,
        limits=config.budget.limits(),
        sandbox=find_isolation(config.verifier, supply.every),
        extra=tuple(_extras(needs)),
        ranks=ranks or (here(str(device)),),
    )


def check_needs(
    config: RunConfig,
    objective: Objective[Any],
    needs: Needs,
    domains: tuple[str, ...],
    sources: Sequence[ProblemSource],
) -> None:
    """Refuse a run that cannot serve `needs`, saying what to set."""
    name = config.objective.name

    def refuse(field: str, what: str, instead: str) -> None:
        because = f" ({needs.because[field]})" if field in needs.because else ""
        raise UnmetNeed(f"objective {name!r} needs {what}{because}, but {instead}")

    if config.sampling.group_size < needs.min_group:
        refuse(
            "min_group",
            f"at least {needs.min_group} rollouts a prompt",
            f"sampling.group_size is {config.sampling.group_size}. Set it to {needs.min_group} or more; 8 or 16 is usual.",
        )
    if config.learner.updates_per_step < needs.min_updates:
        refuse(
            "min_updates",
            f"at least {needs.min_updates} updates a step",
            f"this run makes {config.learner.updates_per_step} (learner.updates_per_step). Set it to {needs.min_updates} or more.",
        )
    allowed = {"nonnegative": "rewards of 0 or more", "share": "rewards between 0 and 1"}
    if needs.rewards != "any" and (parts := config.reward.beyond(needs.rewards)):
        refuse(
            "rewards",
            allowed[needs.rewards],
            f"{' and '.join(f'reward.{part}' for part in parts)} can take them beyond that. Leave it out.",
        )
    if len(domains) < needs.domains:
        refuse(
            "domains",
            f"problems of at least {needs.domains} domains",
            f"data.sources hold {len(domains)}: {', '.join(domains)}. Add a source of another domain.",
        )
    if needs.answers:
        without = [source.name for source in sources if not source.answers]
        if without:
            refuse(
                "answers",
                "every problem's answer",
                f"these sources carry none: {', '.join(without)}. Leave them out, or give their rows an 'answer'.",
            )


def _extras(needs: Needs) -> list[str]:
    words = [f"signal {signal.name} ({weights_label(signal.weights)}, {signal.rows} rows)" for signal in needs.signals]
    words += [f"divergence from {divergence.signal} ({divergence.kind})" for divergence in needs.divergences]
    if needs.embeddings is not None:
        words.append(f"embeddings ({needs.embeddings.pool} of layer {needs.embeddings.layer})")
    if needs.old_logps:
        words.append("old log-probs of all rows")
    if needs.entropy:
        words.append("entropy of all rows")
    return words
