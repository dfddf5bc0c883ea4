"""`rlzoo explain`: what an objective computes, asks for and costs, from its own declarations and one toy step."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlzoo.cli import completion, options

if TYPE_CHECKING:
    from rlzoo.objective import Objective
    from rlzoo.types import Needs

HORIZON = 1000
"""Steps among which changes of what an objective asks for are looked for."""

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        autocompletion=completion.objectives,
        help="A name from `rlzoo algos`, module.path:Class, file.py:Class or file.py.",
    ),
]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="A setting of it: objective.x=y; repeatable.")
]


def command(name: Name, sets: Sets = None, json: options.Json = False) -> None:
    """Say what an objective computes, asks for and costs."""
    from rlzoo.cli import console, faults

    section = options.objective_section(name, sets)
    with faults.named(section["name"], section.get("base")):
        facts = about(section)
    if json:
        console.print_json(facts)
    else:
        _print(facts)


def about(section: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the code says of an objective under these settings."""
    from rlzoo import registry
    from rlzoo.cli import described
    from rlzoo.laws.lab import toy_config

    cls = registry.objective_class(section["name"], section.get("base"))
    config = toy_config(section).objective
    objective = registry.build_objective(config)
    formula, notes = docstring(cls)
    base = section.get("base")
    bases = [] if base is None else [base] if isinstance(base, str) else list(base)
    if bases:  # the loss and its mean are the base's
        notes = [(label, text) for label, text in notes if label != "normaliser"]
        below: Any = registry.objective_class(bases[0], bases[1:] or None)
    else:
        parents: list[Any] = list(cls.__mro__[1:])
        below = next((c for c in parents if getattr(c, "name", None) and c.Config is not cls.Config), None)
    inherited = {entry["path"]: entry for entry in described.describe(below.Config)} if below else {}
    entries = [entry for entry in described.describe(cls.Config) if entry["path"] not in ("name", "base")]
    values = _values(config.model_dump(mode="json"))
    for entry in entries:
        entry["value"] = values.get(entry["path"])
        entry["own"] = {**inherited.get(entry["path"], {}), "value": entry["value"]} != {
            key: value for key, value in entry.items() if key != "own"
        }
    return {
        "name": section["name"],
        "base": bases,
        "base_formula": docstring(below)[0] if bases else None,
        "formula": formula,
        "notes": notes,
        "adds_to": getattr(below, "name", None),
        "needs": schedule(objective),
        **_toy_step(section),
        "settings": entries,
        "differs": [entry["path"] for entry in entries if entry["own"] and entry["tag"] in ("OURS", "INFERRED")],
        "exemptions": dict(cls.exemptions),
        "metrics": {metric: list(told) for metric, told in cls.metrics.items()},
    }


def docstring(cls: type) -> tuple[str, list[tuple[str, str]]]:
    """The formula a docstring begins with, and the paragraphs below it, those of the form `Sets: ...` with their label."""
    first, *rest = [" ".join(part.split()) for part in (inspect.getdoc(cls) or "").split("\n\n")]
    notes = []
    for paragraph in rest:
        label, colon, text = paragraph.partition(": ")
        notes.append((label.lower(), text) if colon and label.isalpha() else ("", paragraph))
    return first, notes


def schedule(objective: Objective[Any]) -> list[dict[str, Any]]:
    """What the objective asks for, from the first step on and from each step at which that changes."""
    from rlzoo.objective import checked_needs

    found: list[dict[str, Any]] = []
    for step in range(1, HORIZON + 1):
        asked = needs_as_data(checked_needs(objective, step))
        if not found or asked != found[-1]["asks"]:
            found.append({"from_step": step, "asks": asked})
    return found


def needs_as_data(needs: Needs) -> dict[str, Any]:
    """What differs from asking for nothing."""
    from rlzoo.types import Needs as Nothing
    from rlzoo.types import weights_label

    asked: dict[str, Any] = {
        key: value for key, value in asdict(needs).items() if value != asdict(Nothing())[key] and key != "because"
    }
    if needs.signals:
        asked["signals"] = [
            {"name": s.name, "weights": weights_label(s.weights), "rows": s.rows} for s in needs.signals
        ]
    return {**asked, "because": dict(needs.because)}


def _toy_step(section: Mapping[str, Any]) -> dict[str, Any]:
    """Terms of the loss and the bill, as one step of 24 toy rollouts in two updates shows them."""
    from rlzoo.laws.lab import Bench, toy_groups, toy_policy
    from rlzoo.types import REDUCTIONS

    groups = toy_groups(policy=toy_policy())
    bench = Bench(section)
    step = bench.step(groups)
    terms = [
        {
            "term": name,
            "normaliser": REDUCTIONS[term.reduction],
            "weight": term.coef,
            "counts": int(term.loss_mask_BT.any(1).sum()),
            "acts_on": int((term.loss_weight_BT * term.loss_mask_BT).ne(0).any(1).sum()),
        }
        for name, term in step.credit.terms.items()
    ]
    for name, in_batch in bench.update(step).terms.items():
        terms.append(
            {
                "term": name,
                "normaliser": "as the formula says, over rows of one update that see each other",
                "weight": in_batch.coef,
                "counts": in_batch.anchors,
                "acts_on": in_batch.anchors,
            }
        )
    return {"terms": terms, "rollouts": len(step.sequences), "cost": cost(section)}


def cost(section: Mapping[str, Any]) -> dict[str, Any]:
    """What a toy step costs under these settings, beside what it costs under grpo."""
    from rlzoo.laws.lab import Bench, toy_groups, toy_policy
    from rlzoo.types import CurrentWeights

    groups = toy_groups(policy=toy_policy())
    bench = Bench(section)
    costs = {name: _bill(other, groups) for name, other in (("this", section), ("grpo", {"name": "grpo"}))}
    needs = bench.objective.needs(1)
    heads = sum(p.numel() for p in bench.heads.parameters())
    return {
        "extra_forward_passes": costs["this"]["extra"] - costs["grpo"]["extra"],
        "trained_passes": costs["this"]["trained"],
        "trained_passes_grpo": costs["grpo"]["trained"],
        "model_copies": len({s.weights for s in needs.signals if not isinstance(s.weights, CurrentWeights)}),
        "stored_per_rollout": "one embedding of the hidden size" if needs.embeddings is not None else None,
        "stored_per_token": len(needs.signals),
        "head_parameters": heads,
        "head_hidden_size": bench.policy.hidden if heads else None,
    }


def _bill(section: Mapping[str, Any], groups: Sequence[Any]) -> dict[str, float]:
    """Tokens of a step in units of one pass over all its rollouts."""
    from rlzoo.laws.lab import Bench

    bench = Bench(section)
    step = bench.step(groups)
    bench.learner.learn(step, 0.0)
    whole = sum(step.sequences.lengths)
    return {
        "extra": (step.costs.extra_tokens + step.costs.scoring_tokens) / whole,
        "trained": step.costs.train_tokens / whole,
    }


def _values(data: Mapping[str, Any]) -> dict[str, Any]:
    from rlzoo import configure

    return dict(configure.flatten(data))


# ---------------------------------------------------------------------------------------------------------
# On paper


def _print(facts: Mapping[str, Any]) -> None:
    from rlzoo.cli import console, described

    console.print_heading(" over ".join([facts["name"], *facts["base"]]))
    console.print_pairs([("", facts["formula"])])
    if facts["base"]:
        console.print_line()
        console.print_pairs([(f"over {facts['base'][0]}", facts["base_formula"])])
    for label, text in facts["notes"]:
        console.print_line()
        console.print_pairs([(label, text)])
    console.print_line()
    console.print_heading("Terms of the loss")
    for term in facts["terms"]:
        console.print_pairs([(f"{term['term']}, weight {term['weight']:g}", term["normaliser"])])
    told = [
        f"{term['term']} counts {term['counts']} and acts on {term['acts_on']} of {facts['rollouts']}"
        for term in facts["terms"]
    ]
    console.print_pairs([("", f"In a toy step, of its rollouts: {'; '.join(told)}.")])
    console.print_line()
    console.print_heading("Asks for")
    for part in facts["needs"]:
        console.print_pairs([(f"from step {part['from_step']}", _asked(part["asks"]))])
    console.print_line()
    console.print_heading("Costs beyond grpo, of a toy step")
    console.print_pairs(cost_lines(facts["cost"]))
    if facts["cost"]["extra_forward_passes"]:
        console.print_pairs([("", "Toy prompts are a few characters: what a teacher is told weighs less in a run.")])
    console.print_line()
    console.print_heading("Not fixed by the paper")
    own = {entry["path"]: entry for entry in facts["settings"]}
    differs = [
        (f"{path}={described.short(own[path]['default'])} [{own[path]['tag']}]", own[path]["source"])
        for path in facts["differs"]
    ]
    console.print_pairs(differs or [("", "nothing: every default of its own was read in the paper or its code")])
    if facts["exemptions"]:
        console.print_line()
        console.print_heading("Laws that it is exempt from")
        console.print_pairs(list(facts["exemptions"].items()))
    console.print_line()
    console.print_heading("Settings of its own")
    for entry in facts["settings"]:
        if entry["own"]:
            _print_setting(entry)
    others = [f"{e['path']}={described.short(e['value'])}" for e in facts["settings"] if not e["own"]]
    if others:
        console.print_pairs([(f"as in {facts['adds_to']}", "  ".join(others))])
    if facts["metrics"]:
        console.print_line()
        console.print_heading("Metrics of its own")
        console.print_pairs([(f"{name} [{unit}]", meaning) for name, (unit, meaning) in facts["metrics"].items()])


def _print_setting(entry: Mapping[str, Any]) -> None:
    from rlzoo.cli import console, described

    parts = [entry["meaning"], f"{entry['limits'][0].upper()}{entry['limits'][1:]}." if entry["limits"] else ""]
    if entry["value"] != entry["default"]:
        parts.append(f"Default {described.short(entry['default'])}.")
    parts.append(f"[{entry['tag']}] {entry['source']}" if entry["source"] else "")
    console.print_pairs([(f"{entry['path']}={described.short(entry['value'])}", " ".join(filter(None, parts)))])


def cost_lines(cost: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The bill of the toy step, in words."""
    extra = cost["extra_forward_passes"]
    lines = [
        ("extra forward tokens", f"{extra:.2f} x one pass over the step's rollouts, at the first step"),
        (
            "trained tokens",
            f"{cost['trained_passes']:.2f} x one pass (grpo: {cost['trained_passes_grpo']:.2f}, since rows without advantage are skipped)",
        ),
    ]
    copies = cost["model_copies"]
    memory = [f"{copies} further {'copy' if copies == 1 else 'copies'} of the model"] if copies else []
    stored = cost["stored_per_token"]
    memory += [f"{stored} {'number' if stored == 1 else 'numbers'} a response token"] if stored else []
    memory += [f"{cost['stored_per_rollout']} a rollout"] if cost["stored_per_rollout"] else []
    if cost["head_parameters"]:
        memory.append(
            f"heads of {cost['head_parameters']} parameters at the toy hidden size of {cost['head_hidden_size']}"
        )
    return [*lines, ("memory", "; ".join(memory) or "nothing further")]


def _asked(asks: Mapping[str, Any]) -> str:
    because = asks.get("because", {})
    words = [
        (
            "signals",
            f"signal {s['name']} (its log-probs under {s['weights']}, {s['rows']} rows)",
        )
        for s in asks.get("signals", ())
    ]
    words += [("divergences", f"divergence from {d['signal']} ({d['kind']})") for d in asks.get("divergences", ())]
    if "embeddings" in asks:
        pooling = asks["embeddings"]
        gradient = "with" if pooling["gradient"] else "without"
        words.append(("embeddings", f"embeddings ({pooling['pool']} of layer {pooling['layer']}, {gradient} gradient)"))
    plain = {
        "sequence_logps": "summed log-probs with gradient",
        "old_logps": "old log-probs of all rows",
        "answers": "every problem's answer",
        "heads_only": "the policy to stand still while heads learn",
    }
    words += [(key, text) for key, text in plain.items() if key in asks]
    limits = {"nonnegative": "rewards of 0 or more", "share": "rewards between 0 and 1"}
    words += [("rewards", limits[asks["rewards"]])] if "rewards" in asks else []
    numbers = {"domains": "domains", "min_updates": "updates a step", "min_group": "rollouts a prompt"}
    words += [(key, f"at least {asks[key]} {thing}") for key, thing in numbers.items() if key in asks]
    told = [f"{text}, since {because[key]}" if key in because else text for key, text in words]
    return "; ".join(told) or "nothing"
