"""`rlzoo eval`: test a model, or a run's checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rlzoo.cli import options
from rlzoo.errors import UsageError

if TYPE_CHECKING:
    from rlzoo.config import RunConfig
    from rlzoo.runs.folder import RunDir

Target = Annotated[
    str,
    typer.Argument(metavar="MODEL_OR_RUN", help="A run's folder, a checkpoint, a local model, a hub name or `tiny`."),
]
Step = Annotated[
    int | None, typer.Option("--step", metavar="N", help="A run's checkpoint of this step. [default: its newest]")
]
Samples = Annotated[
    int | None, typer.Option("--samples", metavar="N", help="Responses a problem; same as --set eval.samples=N.")
]
PerLevel = Annotated[
    int | None, typer.Option("--per-level", metavar="N", help="Problems of each level of each domain.")
]
Split = Annotated[Literal["test", "validation"], typer.Option("--split", help="Which problems.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="FOLDER", help="Also keep it with its responses: `rlzoo show FOLDER --eval`."),
]
Temperature = Annotated[
    float | None, typer.Option("--temperature", metavar="T", help="Same as --set eval.temperature=T.")
]


@dataclass(frozen=True, slots=True)
class TestedModel:
    """What is to be tested: a model, and the run it belongs to if it belongs to one."""

    model: str
    run: RunDir | None


def command(
    target: Target,
    step: Step = None,
    samples: Samples = None,
    per_level: PerLevel = None,
    split: Split = "test",
    seed: options.Seed = None,
    temperature: Temperature = None,
    recipe: options.Recipe = None,
    file: options.File = None,
    sets: options.Sets = None,
    data: options.Data = None,
    out: Out = None,
    json: options.Json = False,
) -> None:
    """Test a model or a run: pass@k and maj@n with standard errors.

    pass@k is unbiased; errors are over problems, for each domain and level. A run, or a checkpoint inside one, is tested with the run's own settings unless --recipe or --config says otherwise.
    """
    from rlzoo.cli import console, watch
    from rlzoo.evals import tables

    if split == "validation" and samples is not None:
        raise UsageError(
            "validation problems get one response each, so --samples says nothing there. Leave it out, or use --split test."
        )
    subject = find(target, step)
    per_level_setting = "eval__problems_per_level" if split == "test" else "eval__validation_per_level"
    shortcuts: dict[str, object] = {
        "eval__samples": samples,
        per_level_setting: per_level,
        "eval__temperature": temperature,
        "seed": seed,
    }
    shortcuts["eval__sources"] = options.sources(data)
    config = settings_for(subject, recipe, file, options.assignments(sets, **shortcuts))
    from rlzoo.engine import evaluator  # last: it loads torch, and a wrong request should be answered at once

    reporter = watch.RunLines(config, Path(subject.model))
    with _new_folder(out):
        found = evaluator.evaluate(subject.model, config, split=split, reporter=reporter, out=out)
    if json:
        console.print_json({"model": subject.model, **tables.scores_as_data(found), "record": found.as_record()})
    else:
        console.print_scores(found, subject.model)
        if out is not None:
            console.hint(f"Its responses are in {out}: rlzoo show {quote(str(out))} --eval")


@contextmanager
def _new_folder(out: Path | None) -> Iterator[None]:
    """`out` is there within, and gone again where nothing came of it."""
    if out is None:
        yield
        return
    try:
        if out.is_dir() and any(out.iterdir()):
            raise UsageError(f"{str(out)!r} holds files already, which are kept. Give --out a new folder.")
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{str(out)!r} cannot be made: {error.strerror or error}. Give another --out.") from error
    try:
        yield
    except BaseException:
        with suppress(OSError):  # something is in it
            out.rmdir()
        raise


def find(target: str, step: int | None) -> TestedModel:
    """The model behind a run's folder, a checkpoint inside one, or a model's own name."""
    from rlzoo.runs.folder import RunDir

    run = RunDir(Path(target))
    if run.exists():
        steps = run.checkpoint_steps()
        if not steps:
            raise UsageError(
                f"{target} has no checkpoint yet, so there is no model to test. Resume it, or test the model it began with."
            )
        if step is not None and step not in steps:
            raise UsageError(
                f"{target} has no checkpoint of step {step}. It has those of steps {', '.join(map(str, steps))}."
            )
        return TestedModel(str(run.checkpoint(steps[-1] if step is None else step)), run)
    if step is not None:
        raise UsageError(
            f"--step chooses a run's checkpoint, but {target!r} holds no run (no config.yaml). Leave --step out."
        )
    parent = RunDir(Path(target).resolve().parent.parent)
    inside = Path(target).is_dir() and Path(target).resolve().parent == parent.checkpoints and parent.exists()
    return TestedModel(target, parent if inside else None)


def settings_for(subject: TestedModel, recipe: str | None, file: Path | None, sets: list[str]) -> RunConfig:
    """The settings of the subject's run, or those of recipe and file; options over both, and the model under test last."""
    if subject.run is not None and recipe is None and file is None:
        base = subject.run.config()
    else:
        base = options.load_config(None, recipe, file, options.assignments(None, model__path=subject.model))
    return options.override(base, [*sets, *options.assignments(None, model__path=subject.model)])
