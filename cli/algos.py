"""`rlzoo algos`: the registered objectives, in groups, and those that ask for something."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlzoo.cli.options import Json

if TYPE_CHECKING:
    from rlzoo.objective import Objective
    from rlzoo.types import Needs

GROUPS = {
    "rewards": "From rewards alone",
    "additions": "Additions, over any base made from grpo (objective.base), mcpo-contrastive over any",
    "teacher": "From a teacher's distribution",
    "pairs": "From pairs, right against wrong",
    "critic": "With a critic",
}
ASKED = {
    "teacher": "log-probs of the same responses under another context or model",
    "reference": "log-probs under the initial policy",
    "answers": "problems with known answers",
    "domains": "two domains or more",
    "updates": "two updates a step or more",
    "embeddings": "hidden states of responses",
    "entropy": "the entropy of every token",
    "heads": "a small trained head",
    "critic": "a head that values every token",
    "pairs": "summed log-probs of whole responses",
    "group": "several rollouts a prompt",
    "rewards": "rewards within limits, of 0 or more",
    "model": "another model than the one that is trained",
}

Wanted = Annotated[
    list[str] | None,
    typer.Option("--needs", metavar="WORD", help=f"Only those that need it: {', '.join(ASKED)}; repeatable."),
]
Cost = Annotated[bool, typer.Option("--cost", help="Also what a step costs beyond grpo's, on a toy step.")]


def command(needs: Wanted = None, cost: Cost = False, json: Json = False) -> None:
    """List the objectives in groups, with what each asks for."""
    from rlzoo import registry
    from rlzoo.cli import console
    from rlzoo.errors import UsageError, did_you_mean

    for word in needs or ():
        if word not in ASKED:
            raise UsageError(f"--needs knows no {word!r}. {did_you_mean(word, ASKED)}")
    names, chosen = registry.objectives.names(), list[dict[str, Any]]()
    with console.stderr().status("reading the objectives") as status:
        for number, name in enumerate(names, 1):
            status.update(f"reading the objectives: {number} of {len(names)}, {name}")
            if told := _told(name, set(needs or ()), cost=cost):
                chosen.append(told)
    if json:
        for entry in chosen:
            console.print_json(entry)
        return
    for group, title in GROUPS.items():
        _print_group(title, [entry for entry in chosen if entry.get("group") == group])
    _print_group("Cannot be loaded", [entry for entry in chosen if "error" in entry])
    words = {word for entry in chosen for word in entry.get("needs", ())}
    if words:
        console.print_heading("What they need")
        console.print_pairs([(word, meaning) for word, meaning in ASKED.items() if word in words])
    if cost and chosen:
        console.hint(
            "Costs are of a toy step, whose prompts are a few characters: what a teacher is told weighs less in a run."
        )
    if not chosen:
        console.print_line(f"No objective here needs {' and '.join(needs or ())}.")
    console.hint("Formula, settings with their sources, and costs of one: rlzoo explain NAME")


def _told(name: str, needs: Set[str], *, cost: bool) -> dict[str, Any] | None:
    """What the objective of this name says of itself; None where it does not need all of `needs`."""
    from rlzoo import registry

    try:
        objective = registry.objectives.load(name)
        if not needs <= set(asked(objective)):
            return None
        return {"name": name, **about(objective, cost=cost)}
    except Exception as error:  # another package's objective must not hide the others
        told = " ".join(f"{type(error).__name__}: {error}".split())
        return None if needs else {"name": name, "error": told}


def about(objective: type[Objective[Any]], *, cost: bool = False) -> dict[str, Any]:
    """What an objective says of itself."""
    from rlzoo.cli import described, explain

    formula, _ = explain.docstring(objective)
    own = [entry for entry in described.describe(objective.Config) if entry["path"] not in ("name", "base")]
    words = asked(objective)
    bill: dict[str, Any] = {"cost": explain.cost({"name": objective.name})} if cost else {}
    return {
        "group": group_of(objective, words),
        "summary": summary(objective),
        "needs": words,
        "formula": formula,
        "settings": own,
        "exemptions": dict(objective.exemptions),
        **bill,
    }


def summary(objective: type[Objective[Any]]) -> str:
    """The first line of its module, without the name that it begins with; of its class where the module says nothing."""
    told = (sys.modules[objective.__module__].__doc__ or objective.__doc__ or "").strip().partition("\n")[0]
    name, colon, rest = told.partition(": ")
    return rest if colon and len(name) < 80 else told


def asked(objective: type[Objective[Any]]) -> list[str]:
    """What it asks for at the first step under its defaults, in the words of `ASKED`."""
    from rlzoo import registry
    from rlzoo.laws.lab import toy_config

    built = registry.build_objective(toy_config({"name": objective.name}).objective)
    kinds = {head.kind for head in built.heads(16).values()}
    needs = built.needs(1)
    here = {
        **_of_needs(needs, informed=_informed(built, needs)),
        "heads": "rollout" in kinds,
        "critic": "token" in kinds,
    }
    return [word for word in ASKED if here[word]]


def _informed(objective: Objective[Any], needs: Needs) -> set[str]:
    """Signals that are told something of a toy group beyond its prompt."""
    from rlzoo.laws.lab import toy_groups, toy_policy
    from rlzoo.types import Insert, Rewrite

    groups = toy_groups(policy=toy_policy()) if needs.signals else []
    return {
        signal.name
        for signal in needs.signals
        if any(
            isinstance(context, Rewrite) or (isinstance(context, Insert) and context != Insert(""))
            for group in groups
            for context in objective.contexts(signal.name, group)
        )
    }


def _of_needs(needs: Needs, *, informed: Set[str]) -> Mapping[str, bool]:
    from rlzoo.types import CurrentWeights, Initial, OtherModel

    matched = {divergence.signal for divergence in needs.divergences}
    taught = [
        signal
        for signal in needs.signals
        if signal.name in informed | matched or not isinstance(signal.weights, Initial | CurrentWeights)
    ]
    return {
        "teacher": bool(taught),
        "reference": any(isinstance(s.weights, Initial) and s not in taught for s in needs.signals),
        "answers": needs.answers,
        "domains": needs.domains > 1,
        "updates": needs.min_updates > 1,
        "embeddings": needs.embeddings is not None,
        "entropy": needs.entropy,
        "pairs": needs.sequence_logps,
        "group": needs.min_group > 1,
        "rewards": needs.rewards != "any",
        "model": any(isinstance(signal.weights, OtherModel) for signal in needs.signals),
    }


def group_of(objective: type[Objective[Any]], words: Sequence[str]) -> str:
    """Which of `GROUPS` it stands in."""
    if objective.addition:
        return "additions"
    return next((group for group in ("pairs", "critic", "teacher") if group in words), "rewards")


def _print_group(title: str, entries: Sequence[Mapping[str, Any]]) -> None:
    from rlzoo.cli import console, explain

    if not entries:
        return
    console.print_heading(title)
    for entry in entries:
        pairs = [(entry["name"], entry.get("summary") or entry.get("error", ""))]
        if entry.get("needs"):
            pairs.append(("    needs", ", ".join(entry["needs"])))
        pairs += [("    exempt from", f"{law}: {why}") for law, why in entry.get("exemptions", {}).items()]
        pairs += (
            [(f"    {label}", text) for label, text in explain.cost_lines(entry["cost"])] if "cost" in entry else []
        )
        console.print_pairs(pairs)
