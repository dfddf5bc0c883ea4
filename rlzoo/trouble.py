"""States of a run in which it learns nothing or little: told while there is time, by its metrics alone.

A state is told once it has held for `PATIENCE` steps in a row, and no longer once a step is out of it. The live view, status.json and the
report all ask here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

PATIENCE = 3
"""Steps in a row; a single one may be chance."""
TRUNCATED = 0.5
"""Share of responses cut at the limit above which most of what is sampled cannot be right."""

Step = Mapping[str, float]


def _equal(step: Step) -> str:
    if step.get("reward/std") != 0:
        return ""
    return f"all rewards are {step.get('reward/mean', 0):g}, so no response is better than another; use easier or harder problems, or look at the verdicts"


def _untrained(step: Step) -> str:
    if step.get("rows/trained") != 0:
        return ""
    return "no token is in the loss, so the weights stay as they are; look at groups/mixed, and at what the objective keeps"


def _truncated(step: Step) -> str:
    share = step.get("length/truncated", 0.0)
    if share <= TRUNCATED:
        return ""
    return f"{share:.0%} of responses are cut at the limit; raise sampling.max_response, or ask for shorter answers"


def _one_group(step: Step) -> str:
    if step.get("credit/groups") != 1:
        return ""
    return "the gradient comes from a single group; raise sampling.prompts_per_step or sampling.group_size"


def _domains(step: Step) -> list[str]:
    """Domains none of whose groups is mixed."""
    return [name.removeprefix("mixed/") for name, share in step.items() if name.startswith("mixed/") and share == 0]


def _unmixed(domain: str) -> Callable[[Step], str]:
    def rule(step: Step) -> str:
        if domain not in _domains(step):
            return ""
        return f"no group of {domain} has both better and worse responses, so nothing is learned from it; use other levels of it, or larger groups"

    return rule


def standing(history: Sequence[Step]) -> list[str]:
    """What stands after these steps, a sentence each: how long, what, and what to do. A cause stands for what follows from it."""
    if len(history) < PATIENCE:
        return []
    for rule in (_equal, _untrained):
        if told := _told(history, rule):
            return [told, *filter(None, [_told(history, _truncated)])]
    rules = [_truncated, _one_group, *(_unmixed(domain) for domain in _domains(history[-1]))]
    return [told for rule in rules if (told := _told(history, rule))]


def learned(history: Sequence[Step]) -> bool:
    """Whether any step had a gradient."""
    return any(step.get("grad/norm", 0.0) > 0 for step in history)


def _told(history: Sequence[Step], rule: Callable[[Step], str]) -> str:
    lasted = 0
    for step in reversed(history):
        if not rule(step):
            break
        lasted += 1
    return f"for {lasted} steps: {rule(history[-1])}" if lasted >= PATIENCE else ""


def kind(told: str) -> str:
    """What stays of a sentence from step to step: it begins with how long, and holds figures."""
    return "".join(letter for letter in told if not letter.isdigit())
