"""Options that several commands share, and the settings they stand for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlzoo.cli import completion
from rlzoo.errors import UsageError

if TYPE_CHECKING:
    from rlzoo.config import RunConfig

Algo = Annotated[
    str | None,
    typer.Option(
        "--algo",
        metavar="NAME",
        autocompletion=completion.objectives,
        help="Objective: a name from `rlzoo algos`, module.path:Class, file.py:Class or file.py.",
    ),
]
Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME",
        autocompletion=completion.recipes,
        help="Settings to start from; see `rlzoo recipes`. [default: cpu-default; for a model of your own, by its size and device]",
    ),
]
File = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="YAML settings over the recipe's.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="One setting over all else; repeatable.")
]
Steps = Annotated[int | None, typer.Option("--steps", metavar="N", help="Same as --set budget.steps=N.")]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Same as --set seed=N.")]
Model = Annotated[str | None, typer.Option("--model", metavar="MODEL", help="Same as --set model.path=MODEL.")]
Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="PATH",
        help="Problems: a file, a folder or a hub name; repeatable, each an equal share. Same as --set data.sources=[...].",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="For machines: JSON on standard output.")]


def example(command: str) -> str:
    """The last line of a command's help, kept as it is however narrow the terminal."""
    return f"\b\nExample: {command}"


def assignments(sets: list[str] | None, **shortcuts: object) -> list[str]:
    """`--set` texts; shortcuts, by path with `__` for dots, come first, so that an explicit `--set` wins. None is left out."""
    short = [
        f"{path.replace('__', '.')}={json.dumps(value, ensure_ascii=False)}"
        for path, value in shortcuts.items()
        if value is not None
    ]
    return [*short, *(sets or [])]


def sources(paths: list[str] | None) -> list[dict[str, Any]] | None:
    """`data.sources` for files, folders and hub names as they are."""
    return [{"name": "file", "options": {"path": path}} for path in paths] if paths else None


def load_config(
    algo: str | None, recipe: str | None, file: Path | None, sets: list[str], *, resumed: Path | None = None
) -> RunConfig:
    """The run these options describe; those of a run being resumed start from what it was started with."""
    from rlzoo import configure, placement
    from rlzoo.cli import accelerated, choosing

    if resumed is not None and file is None and recipe is None:
        recipe, file = configure.DEFAULT_RECIPE, resumed / "config.yaml"
    chosen = choosing.choose(recipe, file, sets)
    launcher = accelerated.taken(os.environ).beside(choosing.given(file, sets))
    config = configure.load(recipe=chosen.recipe, file=file, algo=algo, assignments=sets, launcher=launcher.nested())
    choosing.tell(chosen, config)
    if placement.first():
        launcher.tell()
    return config


def override(base: RunConfig, sets: list[str]) -> RunConfig:
    """`base` with `--set` texts over it."""
    from rlzoo import configure
    from rlzoo.anchoring import anchored

    data = base.model_dump(mode="json")
    for text in sets:
        data = configure.merge(data, configure.parse_assignment(text))
    return configure.validate(anchored(data, Path.cwd()))


def objective_section(name: str, sets: list[str] | None) -> dict[str, Any]:
    """The `objective` part of a run's settings; of a file that holds one objective, the class need not be named."""
    from rlzoo import configure, registry

    if name.endswith(".py"):
        name = registry.only_objective(name)
    data: dict[str, Any] = {"objective": {"name": name}}
    for text in sets or []:
        assignment = configure.parse_assignment(text)
        if set(assignment) != {"objective"}:
            raise UsageError(
                f"{text!r} is no setting of the objective. Write --set objective.clip_low=0.1, for example."
            )
        data = configure.merge(data, assignment)
    section: dict[str, Any] = data["objective"]
    return section
