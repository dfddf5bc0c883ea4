"""What a comparison is: arms x seeds, each with a resolved config."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlzoo import configure
from rlzoo.config import BudgetConfig, RunConfig
from rlzoo.errors import ConfigError, UnknownName, UsageError, did_you_mean
from rlzoo.experiment import arms as arms_
from rlzoo.experiment.arms import Variant
from rlzoo.experiment.machine import RunsPlace, ThisMachine
from rlzoo.runs.comparison import MARGIN, Arm, ComparisonSpec, run_name
from rlzoo.runs.folder import dumps
from rlzoo.runs.identity import settings_digest

THIS_MACHINE = ThisMachine()
_SUFFIXES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_AMOUNT = re.compile(r"(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?P<suffix>[kMGT]?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """One run of a comparison."""

    arm: str
    seed: int
    config: RunConfig

    @property
    def name(self) -> str:
        return run_name(self.arm, self.seed)

    @property
    def start_key(self) -> str | None:
        """Equal for runs whose evaluations at step 0 are the same, response for response; None without such an evaluation."""
        config = self.config
        if not config.eval.at_start:
            return None
        sampling = config.sampling
        return dumps(
            [
                config.model.model_dump(mode="json"),
                [source.model_dump(mode="json") for source in config.eval.sources or config.data.sources],
                config.eval.model_dump(mode="json", include={"problems_per_level", "samples"}),
                config.eval.model_dump(mode="json", include={"temperature", "top_p", "top_k"}),
                [sampling.backend, sampling.max_prompt, sampling.max_response, sampling.max_rows, sampling.noise],
                config.data.long_prompts,
                config.verifier.model_dump(mode="json"),
                [config.seed, config.threads],
            ]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRequest:
    """What was asked for, before it is worked out."""

    arms: tuple[str, ...]
    controls: tuple[str, ...] = ()
    baseline: str | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    recipe: str = configure.DEFAULT_RECIPE
    file: Path | None = None
    sets: tuple[str, ...] = ()
    budget: tuple[str, ...] = ()
    """As `--budget` takes it; empty = the recipe's."""
    margin: float = MARGIN
    """Percentage points within which arms count as equivalent."""
    jobs: int | None = None
    on: str = "local"
    """Where runs are carried out; changes no result."""
    gpus_per_run: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A comparison, worked out."""

    request: ComparisonRequest
    baseline: str
    arms: tuple[Variant, ...]
    assignments: Mapping[str, Sequence[str]]
    """What each arm sets over the shared settings."""
    runs: tuple[PlannedRun, ...]
    """Seed by seed, so that pairs are complete early."""
    slots: int
    """Runs side by side."""
    threads: int
    """Of each run."""

    @property
    def budget(self) -> dict[str, float]:
        return self.runs[0].config.budget.limits()

    @property
    def command(self) -> str:
        """What does the comparison again, to the digit on a machine like this one."""
        asked = self.request
        words = ["rlzoo", "compare", *asked.arms, "--seeds", _seeds_text(asked.seeds), "--baseline", self.baseline]
        words += ["--controls", ",".join(asked.controls) or "none", "--recipe", asked.recipe]
        words += ["--config", str(asked.file)] if asked.file is not None else []
        for text in (*asked.sets, *([] if _sets(asked, "threads") else [f"threads={self.threads}"])):
            words += ["--set", text]
        for text in asked.budget:
            words += ["--budget", text]
        words += ["--margin", f"{asked.margin:g}"] if asked.margin != MARGIN else []
        words += ["--on", asked.on] if asked.on != "local" else []
        words += ["--gpus-per-run", str(asked.gpus_per_run)] if asked.gpus_per_run is not None else []
        return shlex.join([*words, "--jobs", str(self.slots)])

    @property
    def spec(self) -> ComparisonSpec:
        """What compare.json keeps of it."""
        asked = self.request
        return ComparisonSpec(
            arms=tuple(
                Arm(name=arm.name, assignments=tuple(self.assignments[arm.name]), control=arm.control)
                for arm in self.arms
            ),
            baseline=self.baseline,
            seeds=asked.seeds,
            recipe=asked.recipe,
            config=configure.read_file(asked.file) if asked.file is not None else {},
            sets=tuple(text for text in asked.sets if not text.startswith("threads=")),
            margin=asked.margin,
            budget=self.budget,
            threads=self.threads,
            jobs=self.slots,
            settings={run.name: settings_digest(run.config.model_dump(mode="json")) for run in self.runs},
            command=self.command,
        )

    def differing(self) -> dict[str, list[str]]:
        """Settings beside the objective's own in which an arm differs from the baseline, by arm; controls' own left out."""
        first = {run.arm: run.config for run in reversed(self.runs)}
        found = {
            arm.name: [
                line
                for line in configure.differences(first[self.baseline], first[arm.name])
                if not line.startswith(("objective.", *(("control.",) if arm.control else ())))
            ]
            for arm in self.arms
        }
        return {arm: lines for arm, lines in found.items() if lines}


def make(request: ComparisonRequest, *, threads: int | None = None, place: RunsPlace = THIS_MACHINE) -> Experiment:
    """The comparison asked for. UsageError, before anything is started, where an arm or a setting cannot be.

    `threads` are those of the comparison being continued.
    """
    asked = arms_.parse_all(request.arms)
    if not asked:
        raise UsageError("no arm is given. Name at least one objective; see `rlzoo algos`.")
    baseline = arms_.choose_baseline(asked, request.baseline)
    arms = arms_.with_controls(asked, baseline, request.controls)
    if len(arms) < 2:
        raise UsageError(
            f"{baseline.name!r} is the only arm, so there is nothing to compare it with. Add another, or a control: --controls frozen"
        )
    for section in ("seed", "objective.name"):
        if _sets(request, section):
            raise ConfigError(
                f"--set {section} would set it for all arms. Use --seeds, and name the objectives as arms."
            )
    base = _load(request, baseline.objective, [])
    share = place.share(base, len(arms) * len(request.seeds), jobs=request.jobs, threads=threads)
    shared = [f"threads={share.threads}"]
    if any(arm.domains for arm in arms) and not base.eval.sources:
        # Tested on all domains, and by one setting for all arms.
        sources = [source.model_dump(mode="json") for source in base.data.sources]
        shared.append(f"eval.sources={json.dumps(sources)}")
    own = {arm.name: arms_.assignments(arm, base) for arm in arms}
    configs = {
        (arm.name, seed): _of_arm(arm, request, [*own[arm.name][1:], *shared, f"seed={seed}"])
        for seed in request.seeds
        for arm in arms
    }
    runs = tuple(PlannedRun(arm=arm, seed=seed, config=config) for (arm, seed), config in configs.items())
    return Experiment(
        request=request,
        baseline=baseline.name,
        arms=arms,
        assignments=own,
        runs=runs,
        slots=share.slots,
        threads=share.threads,
    )


def _of_arm(arm: Variant, request: ComparisonRequest, settings: Sequence[str]) -> RunConfig:
    try:
        return _load(request, arm.objective, settings)
    except ConfigError as error:
        raise ConfigError(f"arm {arm.name!r} cannot be run:\n{error}") from error


def _load(request: ComparisonRequest, objective: str, settings: Sequence[str]) -> RunConfig:
    """Recipe and file, the objective, what `--set` says for all arms, then `settings`."""
    return configure.load(
        recipe=request.recipe,
        file=request.file,
        algo=objective,
        assignments=[*request.sets, *parse_budgets(request.budget), *settings],
    )


def _sets(request: ComparisonRequest, path: str) -> bool:
    return any(text.partition("=")[0].strip() == path for text in request.sets)


# ---------------------------------------------------------------------------------------------------------
# Texts of the command line


def parse_seeds(text: str) -> tuple[int, ...]:
    """`3` is 0, 1, 2; `0,4,7` are these; `5,` is 5 alone."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts):
        raise UsageError(f"--seeds is {text!r}, expected how many (3) or which ones (0,4,7).")
    if "," not in text:
        if int(text) < 1:
            raise UsageError("--seeds is 0, so nothing would be run. Use at least 1; a verdict needs 3 or more.")
        return tuple(range(int(text)))
    seeds = tuple(int(part) for part in parts)
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds {text} names a seed twice; the second run would repeat the first. Name each once.")
    return seeds


def _seeds_text(seeds: Sequence[int]) -> str:
    if tuple(seeds) == tuple(range(len(seeds))):
        return str(len(seeds))
    return ",".join(map(str, seeds)) + ("," if len(seeds) == 1 else "")


def parse_budgets(texts: Sequence[str]) -> list[str]:
    """`gen_tokens=2M` as assignments that set this limit and lift all others. Several may be given; the first reached ends a run."""
    if not texts:
        return []
    limits: dict[str, str] = dict.fromkeys(BudgetConfig.model_fields, "null")
    for text in texts:
        axis, _, amount = text.partition("=")
        if axis not in limits:
            raise UnknownName(f"no budget is named {axis!r}. {did_you_mean(axis, limits)}")
        limits[axis] = _amount(amount, text, whole=axis in ("steps", "gen_tokens", "train_tokens"))
    return [f"budget.{axis}={limit}" for axis, limit in limits.items()]


def _amount(amount: str, text: str, *, whole: bool) -> str:
    found = _AMOUNT.fullmatch(amount)
    value = float(found["number"]) * _SUFFIXES[found["suffix"]] if found else 0.0
    if value <= 0 or (whole and value != int(value)):
        raise ConfigError(
            f"--budget {text!r} holds no amount. Write a {'whole ' if whole else ''}number above 0, with k, M, G or T if you like: gen_tokens=2M"
        )
    return str(int(value)) if whole else repr(value)
