"""`rlzoo compare`: arms x seeds as runs, and a verdict on them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlzoo.cli import completion, folders, options, plain
from rlzoo.errors import UsageError

if TYPE_CHECKING:
    from rlzoo.cli.choosing import RecipeChoice
    from rlzoo.experiment.design import ComparisonRequest, Experiment
    from rlzoo.experiment.machine import RunsPlace
    from rlzoo.experiment.presets import Preset
    from rlzoo.experiment.runner import Run
    from rlzoo.runs.comparison import ComparisonSpec

Arms = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ARM",
        autocompletion=completion.objectives,
        help="Objectives, or variants of them; with --runs, folders.",
        show_default=False,
    ),
]
MoreArms = Annotated[
    list[str] | None,
    typer.Option(
        "--arm",
        metavar="ARM",
        autocompletion=completion.objectives,
        help='A further arm: "cepo:mix=0.3" with settings, "grpo@maths" trained on one domain, "again=grpo" renamed; repeatable.',
    ),
]
Seeds = Annotated[str | None, typer.Option("--seeds", metavar="N", help="How many (3), or which (0,4,7). [default: 3]")]
Budget = Annotated[
    list[str] | None,
    typer.Option(
        "--budget",
        metavar="AXIS=N",
        help="What every run may spend instead of the recipe's budget, such as gen_tokens=2M; repeatable.",
    ),
]
Baseline = Annotated[
    str | None,
    typer.Option(
        "--baseline", metavar="ARM", help="What the others are measured against. [default: grpo, or the first]"
    ),
]
Controls = Annotated[
    str | None,
    typer.Option(
        "--controls",
        metavar="NAMES",
        help="Of frozen, random-reward, shuffled-reward and format-only, with commas; or none.",
    ),
]
PresetName = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        autocompletion=completion.presets,
        help="quick, cpu or zoo: arms, controls, seeds and recipe. [default: cpu, if no arm is given]",
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", metavar="N", min=1, help="Runs side by side. [default: as many as cores and memory carry]"),
]
On = Annotated[
    str,
    typer.Option(
        "--on",
        metavar="PLACE",
        help="Where runs are made: local, ray (the cluster of this machine), or ray://HOST:PORT.",
    ),
]
Gpus = Annotated[
    int | None,
    typer.Option("--gpus-per-run", metavar="K", min=1, help="GPUs of each run. [default: 1 where there are any]"),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Folder of the comparison; one that holds it goes on. [default: a new one in runs/]",
    ),
]
Margin = Annotated[
    float | None,
    typer.Option(
        "--margin", metavar="POINTS", help="Percentage points within which arms count as equivalent. [default: 2]"
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Make runs in --out again that other settings or other code made.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse arms that differ in more than the objective.")]
Analyse = Annotated[
    bool, typer.Option("--runs", help="Run nothing: analyse the folders given, a comparison's or runs'.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and stop.")]


def command(
    arms: Arms = None,
    more: MoreArms = None,
    seeds: Seeds = None,
    budget: Budget = None,
    baseline: Baseline = None,
    controls: Controls = None,
    preset: PresetName = None,
    recipe: options.Recipe = None,
    file: options.File = None,
    sets: options.Sets = None,
    steps: options.Steps = None,
    model: options.Model = None,
    data: options.Data = None,
    jobs: Jobs = None,
    on: On = "local",
    gpus_per_run: Gpus = None,
    out: Out = None,
    overwrite: Overwrite = False,
    margin: Margin = None,
    strict: Strict = False,
    analyse: Analyse = False,
    json: options.Json = False,
    dry_run: DryRun = False,
) -> None:
    """Train objectives alike, and judge what differs.

    Every arm is trained once a seed, in a process of its own; runs that are finished are kept, so the same command with the same --out goes on where it stopped. Without arms grpo, mcpo-contrastive, mcpo-mastery and cepo are compared on the embedded default.
    """
    if margin is not None and not margin > 0:
        raise UsageError(
            f"--margin is {margin:g}, but equivalence needs a margin above 0 percentage points; 2 is usual."
        )
    from rlzoo.cli import verdicts

    if analyse:
        verdicts.only_analyse([*(arms or [])], baseline=baseline, margin=margin, strict=strict, json=json)
        return
    if steps is not None and budget:
        raise UsageError("--steps and --budget both say when a run ends; give one of them: --budget steps=N for steps.")
    named = [*(arms or []), *(more or [])]
    shared = options.assignments(sets, budget__steps=steps, model__path=model, data__sources=options.sources(data))
    request, chosen = _request(named, seeds, budget, baseline, controls, preset, recipe, file, shared, jobs, margin)
    request = replace(request, on=on, gpus_per_run=gpus_per_run)
    with _placed(request) as place:
        experiment = _design(request, out, place)
        _tell_plan(
            experiment, chosen, out, preset or (None if named else "cpu"), strict=strict, json=json, last=dry_run
        )
        if not dry_run:
            _run(experiment, place, out, overwrite=overwrite, strict=strict, json=json)


def _placed(request: ComparisonRequest) -> AbstractContextManager[RunsPlace]:
    from rlzoo.experiment import places

    return places.opened(request.on, request.gpus_per_run)


def _tell_plan(
    experiment: Experiment,
    chosen: RecipeChoice,
    out: Path | None,
    preset: str | None,
    *,
    strict: bool,
    json: bool,
    last: bool,
) -> None:
    from rlzoo.cli import choosing, compare_plan

    choosing.tell(chosen, experiment.runs[0].config)
    compare_plan.check(experiment, strict=strict)
    compare_plan.show(experiment, out, preset, json=json, result=last)


def _run(
    experiment: Experiment, place: RunsPlace, out: Path | None, *, overwrite: bool, strict: bool, json: bool
) -> None:
    """Make the runs, judge them, and name those that failed. Exit code 1 if any did."""
    from rlzoo.cli import launch, verdicts
    from rlzoo.experiment import workspace

    made = out is None
    if out is None:
        out = folders.fresh("compare")
        plain.say(f"the comparison is written to {out}", label="note")
    try:
        failed = launch.carry_out(experiment, place, out, overwrite=overwrite, json=json)
    finally:
        if made and not any(item.name != workspace.LOCK for item in out.iterdir()):
            (out / workspace.LOCK).unlink(missing_ok=True)
            out.rmdir()  # refused before anything was written
    verdicts.conclude(out, failed, strict=strict, json=json)
    if failed:
        _name_failed(experiment, out, failed)
        raise typer.Exit(1)


def _name_failed(experiment: Experiment, out: Path, failed: Sequence[Run]) -> None:
    from rlzoo.cli import console

    plain.say(
        f"{console.count(len(failed), 'run')} failed for good: {', '.join(run.planned.name for run in failed)}\n"
        f"Their logs are in {out / 'logs'}. To try them again: {experiment.command} {shlex.join(['--out', str(out)])}",
        label="error",
    )


# ---------------------------------------------------------------------------------------------------------
# What is asked


def _request(
    arms: Sequence[str],
    seeds: str | None,
    budget: list[str] | None,
    baseline: str | None,
    controls: str | None,
    preset: str | None,
    recipe: str | None,
    file: Path | None,
    sets: list[str],
    jobs: int | None,
    margin: float | None,
) -> tuple[ComparisonRequest, RecipeChoice]:
    """Options over the preset's values over the defaults; and what the recipe was chosen by."""
    from rlzoo.cli import choosing
    from rlzoo.experiment import design, presets
    from rlzoo.runs.comparison import MARGIN

    chosen: Preset | None = presets.find(preset) if preset else None if arms else presets.find(presets.DEFAULT)
    wanted = () if controls is None else tuple(name for name in controls.split(",") if name not in ("", "none"))
    recipe_of = choosing.choose(recipe, file, sets, chosen.recipe if chosen else None)
    request = design.ComparisonRequest(
        arms=tuple(arms) or (chosen.arms if chosen else ()),
        controls=chosen.controls if chosen and controls is None else wanted,
        baseline=baseline,
        seeds=design.parse_seeds(seeds) if seeds is not None else chosen.seeds if chosen else (0, 1, 2),
        recipe=recipe_of.recipe,
        file=file,
        sets=tuple(sets),
        budget=tuple(budget or ()),
        margin=MARGIN if margin is None else margin,
        jobs=jobs,
    )
    return request, recipe_of


def _design(request: ComparisonRequest, out: Path | None, place: RunsPlace) -> Experiment:
    """The comparison worked out, with the threads of the one that is being gone on with: other numbers would give other results."""
    from rlzoo.experiment import design
    from rlzoo.runs.comparison import read_spec

    before: ComparisonSpec | None = read_spec(out) if out is not None else None
    return design.make(request, threads=before.threads if before is not None else None, place=place)
