"""States of a run in which it learns nothing or little: told while there is time, by its metrics alone.

A state is told once it has held for `PATIENCE` steps in a row, and no longer once a step is out of it. The live view, status.json and the
report all ask here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

PATIENCE = 3
"""Steps in a row; a single one may be chance."""
TRUNCATED = 0.5
"""Share of responses cut at the limit above which most of what is sampled cannot be right."""

Step = Mapping[str, float]

EQUAL, UNTRAINED, CUT, ONE_GROUP, UNMIXED = "equal rewards", "untrained", "cut", "one group", "unmixed "


class Watch:
    """How long each state has stood, counted as steps come."""

    def __init__(self, history: Iterable[Step] = ()) -> None:
        self._lasted: dict[str, int] = {}
        self._said: dict[str, str] = {}
        for step in history:
            self.add(step)

    def add(self, step: Step) -> None:
        """The next step's metrics."""
        self._said = _states(step)
        self._lasted = {kind: self._lasted.get(kind, 0) + 1 for kind in self._said}

    def standing(self) -> dict[str, str]:
        """What stands by now, a sentence for each kind: how long, what, and what to do. A cause stands for what follows from it."""
        told = {
            kind: f"for {self._lasted[kind]} steps: {text}"
            for kind, text in self._said.items()
            if self._lasted[kind] >= PATIENCE
        }
        for cause in (EQUAL, UNTRAINED):
            if cause in told:
                return {kind: told[kind] for kind in (cause, CUT) if kind in told}
        return told


def standing(history: Sequence[Step]) -> list[str]:
    """What stands after these steps, in words."""
    return list(Watch(history).standing().values())


def learned(history: Sequence[Step]) -> bool:
    """Whether any step had a gradient."""
    return any(step.get("grad/norm", 0.0) > 0 for step in history)


def _states(step: Step) -> dict[str, str]:
    """The states that a step is in, by kind, and what is said of each."""
    said = {}
    if step.get("reward/std") == 0 and not step.get("grad/norm"):
        said[EQUAL] = (
            f"all rewards are {step.get('reward/mean', 0):g}, so no response is better than another; use easier or harder "
            "problems, or look at the verdicts"
        )
    if step.get("rows/trained") == 0:
        said[UNTRAINED] = (
            "no token is in the loss, so the weights stay as they are; look at groups/mixed, and at what the objective keeps"
        )
    if (share := step.get("length/truncated", 0.0)) > TRUNCATED:
        said[CUT] = (
            f"{share:.0%} of responses are cut at the limit; raise sampling.max_response, or ask for shorter answers"
        )
    if step.get("credit/groups") == 1 and not any(name.startswith("coupled/") for name in step):
        said[ONE_GROUP] = (
            "the gradient comes from a single group; raise sampling.prompts_per_step or sampling.group_size"
        )
    for name, share in step.items():
        domain = name.removeprefix("mixed/")
        if domain != name and share == 0 and not step.get(f"learned/{domain}"):  # not all objectives need mixed groups
            said[UNMIXED + domain] = (
                f"no group of {domain} has both better and worse responses, so nothing is learned from it; use other levels of it, "
                "or larger groups"
            )
    return said
