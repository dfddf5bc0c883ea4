"""`rlzoo train`: one run, from its first step or from where it stopped."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlzoo import placement
from rlzoo.cli import faults, folders, launching, options, plain
from rlzoo.errors import CheckpointError, RlzooError, RunError, UsageError
from rlzoo.signals import terminated_like_ctrl_c

if TYPE_CHECKING:
    from rlzoo.config import RunConfig
    from rlzoo.engine.plan import Plan
    from rlzoo.placement import RankPlace

Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Folder of the run. [default: runs/<algo>-seed<seed>, a new one]"),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue the run in --out where it stopped, with its own settings.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")]
Nproc = Annotated[
    int | None,
    typer.Option(
        "--nproc", metavar="N", help="Share the run among N processes of this machine, a GPU each or some cores."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and stop.")]


def command(
    algo: options.Algo = None,
    recipe: options.Recipe = None,
    file: options.File = None,
    sets: options.Sets = None,
    steps: options.Steps = None,
    seed: options.Seed = None,
    model: options.Model = None,
    data: options.Data = None,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    nproc: Nproc = None,
    json: options.Json = False,
    dry_run: DryRun = False,
) -> None:
    """Train a model with an objective, and test it before and after."""
    launching.check(nproc)
    if resume and overwrite:
        raise UsageError("--resume continues the run in --out and --overwrite replaces it; give one of them.")
    if resume:
        _check_resumable(out)
    config = options.load_config(
        algo,
        recipe,
        file,
        options.assignments(
            sets, budget__steps=steps, seed=seed, model__path=model, data__sources=options.sources(data)
        ),
        resumed=out if resume else None,
    )
    if nproc is not None:
        launching.check_room(nproc, config.model)
    if dry_run:
        _print_plan(config, out, launching.places(nproc, config.model), json=json)
        return
    if out is None and placement.several():
        raise UsageError("several processes share this run, and each would choose a folder of its own. Give --out.")
    made = out is None
    out = out or new_folder(config)
    try:
        if nproc is not None and nproc > 1:
            given = launching.arguments(
                algo=algo, recipe=recipe, config=file, set=sets, steps=steps, seed=seed, model=model, data=data, out=out,
                resume=resume, overwrite=overwrite, json=json,
            )  # fmt: skip
            raise typer.Exit(launching.start(nproc, given, out))
        with terminated_like_ctrl_c():  # while packages are loaded, too
            _train(config, out, resume=resume, overwrite=overwrite, json=json)
    finally:
        if made and out.is_dir() and not any(out.iterdir()):
            out.rmdir()  # refused before anything was written


def _train(config: RunConfig, out: Path, *, resume: bool, overwrite: bool, json: bool) -> None:
    from rlzoo.cli import watch
    from rlzoo.engine import trainer as loop
    from rlzoo.experiment import leash

    if placement.NPROC in os.environ:
        leash.follow_parent()
    try:
        with (
            faults.named(config.objective.name, config.objective.base),
            watch.watching(config, out, json=json) as reporter,
        ):
            result = loop.train(config, out, resume=resume, overwrite=overwrite, reporter=reporter)
    except KeyboardInterrupt:  # a second Ctrl-C, or one outside the steps
        if placement.first():
            plain.say(f"interrupted at once{_how_to_resume(out)}")
        raise typer.Exit(plain.INTERRUPTED) from None
    except CheckpointError:  # there is none to go on from
        raise
    except RunError as error:
        if error.exit_code == 1:
            error.args = (f"{error}{_how_to_resume(out)}",)
        raise
    except RlzooError:
        raise
    except Exception as error:
        raise plain.Crash(out) from error
    if placement.first():
        _print_result(result.state, result.step, out, config, json=json)
    if result.state == "interrupted":
        because = f": {result.reason}" if result.reason else ""
        if placement.first():
            plain.say(f"interrupted after step {result.step}{because}{_how_to_resume(out)}")
        raise typer.Exit(plain.INTERRUPTED)


def new_folder(config: RunConfig) -> Path:
    """Make `runs/<algo>-seed<seed>`, or the first of `-2`, `-3`, ... that is not taken; two commands never get the same one."""
    name = config.objective.name.rpartition(":")[2].lower()
    base = f"{re.sub(r'[^a-z0-9._-]+', '-', name).strip('-.') or 'run'}-seed{config.seed}"
    return folders.fresh(base)


def _check_resumable(out: Path | None) -> None:
    from rlzoo.runs.folder import RunDir

    if out is None:
        unfinished = [
            run
            for run in sorted(folders.RUNS.glob("*"))
            if RunDir(run).exists() and RunDir(run).status().state != "done"
        ]
        some = f" Not finished: {', '.join(str(run) for run in unfinished[:5])}." if unfinished else ""
        raise UsageError(f"--resume needs --out, the folder of the run to continue.{some}")
    if not RunDir(out).exists():
        raise UsageError(
            f"{str(out)!r} holds no run (no config.yaml), so there is nothing to resume. Leave --resume out to start one there."
        )


def _how_to_resume(out: Path) -> str:
    from rlzoo.runs.folder import RunDir

    run = RunDir(out)
    if not run.exists():
        return ""
    which = "go on from its newest checkpoint" if run.checkpoint_steps() else "begin it again"
    return f"\nTo {which}: {placement.resuming(out)}"


def _print_plan(config: RunConfig, out: Path | None, ranks: tuple[RankPlace, ...], *, json: bool) -> None:
    from rlzoo.cli import console, watch

    with faults.named(config.objective.name, config.objective.base):
        plan = plan_of(config, ranks)
    if not placement.first():
        return
    prompt = first_prompt(config)
    if json:
        console.print_json({"event": "plan", **watch.plan_as_data(plan), "prompt": prompt})
    else:
        console.emit(console.plan_table(plan, config, out))
        console.print_line()
        console.print_heading("its first prompt, as the model reads it")
        console.print_block(prompt)


def first_prompt(config: RunConfig) -> str:
    """The prompt of one training problem, with special tokens written out. The tokenizer is loaded, and no weights."""
    from itertools import chain

    from rlzoo.data.mixing import walk
    from rlzoo.engine.model.loading import load_tokenizer
    from rlzoo.engine.model.rendering import Renderer
    from rlzoo.engine.model.room import PromptLimit
    from rlzoo.engine.supply import build_supply

    limit = PromptLimit(tokens=config.sampling.max_prompt)
    renderer = Renderer(load_tokenizer(config.model.path), limit, config.model.template)
    every = chain.from_iterable(walk(source, "train") for source in build_supply(config).training)
    return next((renderer.shown(problem) for problem in every), "")


def plan_of(config: RunConfig, ranks: tuple[RankPlace, ...] = ()) -> Plan:
    """What `config` would do; refused where the run cannot supply what its objective needs. No model is loaded."""
    from rlzoo import registry
    from rlzoo.engine.plan import make_plan
    from rlzoo.engine.supply import build_supply

    return make_plan(config, registry.build_objective(config.objective), build_supply(config), ranks)


def _print_result(state: str, step: int, out: Path, config: RunConfig, *, json: bool) -> None:
    from rlzoo.cli import console
    from rlzoo.evals import evaluations, tables
    from rlzoo.runs.folder import RunDir

    found = evaluations.of_run(RunDir(out))
    if json:
        change = tables.changes_as_data(found[0], found[-1]) if len(found) > 1 else None
        scores = tables.scores_as_data(found[-1]) if found else None
        console.print_json(
            {"event": "result", "state": state, "step": step, "out": str(out), "test": scores, "change": change}
        )
        return
    if state == "done" and len(found) > 1:
        console.hint("")
        console.print_changes(found[0], found[-1])
    elif state == "done" and found:
        console.hint("")
        console.print_scores(found[-1], config.objective.name)
    console.print_line(f"Run: {out}")
