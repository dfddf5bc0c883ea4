"""From settings to a run that can step: its folder made or refused, its collaborators built."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from rlzoo import configure
from rlzoo.config import RunConfig
from rlzoo.data.mixing import mixer_of
from rlzoo.data.source import ProblemSource
from rlzoo.engine.answering import Answers
from rlzoo.engine.asking import Asker
from rlzoo.engine.budget import Spent
from rlzoo.engine.clock import Clock
from rlzoo.engine.collect import Collector
from rlzoo.engine.diagnostics import Diagnostics
from rlzoo.engine.evaluator import Evaluator
from rlzoo.engine.extending import goes_on
from rlzoo.engine.isolation import some_problems
from rlzoo.engine.learning.learner import Learner
from rlzoo.engine.learning.optimizer import adamw
from rlzoo.engine.model.copies import PolicyCopies
from rlzoo.engine.model.heads import Heads
from rlzoo.engine.model.loading import load_tokenizer, open_other, open_store
from rlzoo.engine.model.rendering import Renderer
from rlzoo.engine.model.suitability import check_packing
from rlzoo.engine.model.weights.adapted import Adapted
from rlzoo.engine.model.weights.base import WeightStore
from rlzoo.engine.model.weights.holding import remarks
from rlzoo.engine.plan import Plan
from rlzoo.engine.prompting import asked_of, measure, open_renderer
from rlzoo.engine.ranks import Ranks
from rlzoo.engine.recorder import Recorder
from rlzoo.engine.reporting import Reporter
from rlzoo.engine.sampling.base import Sampler
from rlzoo.engine.sampling.choice import open_sampler
from rlzoo.engine.saving import Saver
from rlzoo.engine.scorer import Scorer
from rlzoo.engine.supply import Supply
from rlzoo.engine.trackers import Trackers
from rlzoo.engine.verification import check_golds, open_pool
from rlzoo.errors import ConfigError, RunConflict
from rlzoo.objective import Objective
from rlzoo.runs import repair
from rlzoo.runs.folder import RunDir, write_text
from rlzoo.runs.lock import FolderLock
from rlzoo.verifiers.pool import VerifierPool


def open_folder(
    run: RunDir, config: RunConfig, lock: FolderLock, *, resume: bool, overwrite: bool, claim: Callable[[], None]
) -> None:
    """Make the folder this run's, or refuse: another run in it is never mixed with or lost without being asked.

    `lock`: taken before anything is read that another trainer may be writing.
    """
    if run.path.is_dir():
        lock.take()
    if run.exists() and resume:
        before = run.config()
        changed = configure.differences(before, config)
        if changed and not goes_on(run, before, config):
            raise ConfigError(
                f"the run in {run.path} was started with other settings, so resuming would mix two runs:\n"
                + "\n".join(f"  {line}" for line in changed)
                + "\nResume with the run's own settings (its budget and who holds its weights may be others), or start a new run in another folder."
            )
        return
    if resume:
        raise RunConflict(
            f"there is no run in {run.path} to resume (it has no config.yaml). Leave out --resume to start one."
        )
    if run.path.exists() and not run.path.is_dir():
        raise RunConflict(f"{run.path} is a file, but a run is a folder. Give another --out.")
    if run.path.exists() and _content(run) and not (overwrite and run.exists()):
        what = "holds a run" if run.exists() else "is not empty and holds no run"
        instead = (
            "Add --overwrite to replace it, --resume to continue it, or give another --out."
            if run.exists()
            else "Give another --out."
        )
        raise RunConflict(f"{run.path} {what}; nothing was changed. {instead}")
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        lock.take()
        for left in repair.left_behind(run.path):
            left.unlink()
        if overwrite:
            _clear(run)
        write_text(run.path / "config.yaml", configure.to_yaml(config))
        claim()  # from here on the status is this run's to write, also for a signal that comes now
        run.write_status("running", step=0)
    except RunConflict:
        raise
    except OSError as error:
        raise RunConflict(f"{run.path} cannot be written: {error.strerror or error}. Give another --out.") from error


def _content(run: RunDir) -> bool:
    """Whether there is more than what a killed writer left."""
    return bool(set(run.path.iterdir()) - set(repair.left_behind(run.path)))


def _clear(run: RunDir) -> None:
    for item in run.path.iterdir():
        shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()


@dataclass(frozen=True, slots=True, kw_only=True)
class Collaborators:
    """The collaborators of one run."""

    config: RunConfig
    run: RunDir
    plan: Plan
    supply: Supply
    objective: Objective[Any]
    ranks: Ranks
    reporter: Reporter
    clock: Clock
    store: WeightStore
    copies: PolicyCopies
    tokenizer: Any
    sampler: Sampler
    answers: Answers
    collector: Collector
    scorer: Scorer
    learner: Learner
    diagnostics: Diagnostics
    evaluator: Evaluator
    recorder: Recorder
    saver: Saver
    spent: Spent


def trained_store(config: RunConfig, ranks: Ranks) -> WeightStore:
    """The policy that `config` trains, with its optimizer."""
    return open_store(config, ranks, partial(adamw, settings=config.learner))


def _judges(
    config: RunConfig, plan: Plan, sources: Sequence[ProblemSource], reporter: Reporter, stack: ExitStack
) -> VerifierPool:
    """Workers that have judged the data's own answers and are starting to import what they will need."""
    pool = stack.enter_context(open_pool(config.verifier, plan.sandbox))
    for warning in check_golds(sources, pool, config.verifier):
        reporter.warn(warning)
    pool.warm_up([problem for source in sources for problem in islice(some_problems(source), 1)])
    return pool


def _scorer(
    config: RunConfig, store: WeightStore, renderer: Renderer, objective: Objective[Any], ranks: Ranks
) -> Scorer:
    """What serves an objective: copies of the weights that its signals name, and its own heads."""
    initial = store.initial if isinstance(store, Adapted) else partial(open_store, config, ranks, None)
    heads = Heads(objective, store.hidden, device=store.device, dtype=store.wide, seed=config.seed, ranks=ranks)
    budget = 2 * config.learner.tokens_per_microbatch
    copies = PolicyCopies(store, initial, lambda other: open_other(config, other.path, ranks))
    return Scorer(copies, renderer, objective, heads, ranks, budget=budget, packed=config.learner.packing)


def open_parts(
    config: RunConfig,
    run: RunDir,
    plan: Plan,
    supply: Supply,
    objective: Objective[Any],
    ranks: Ranks,
    reporter: Reporter,
    stack: ExitStack,
) -> Collaborators:
    """Load the model and start what serves it; whatever must end with the run is put on `stack`."""
    reporter.stage("load")
    pool = _judges(config, plan, supply.every, reporter, stack)
    for line in remarks(config.learner, ranks):
        reporter.note(line)
    store = trained_store(config, ranks)
    if config.learner.packing:
        with store.whole() as policy:
            check_packing(policy, config.model.path)
    tokenizer = load_tokenizer(config.model.path)
    renderer = open_renderer(config, tokenizer, store, reporter)
    measure(config, renderer, asked_of(config, supply), reporter)
    sampler = open_sampler(config, tokenizer, store, stack, ranks=ranks, folder=run.path)
    scorer = _scorer(config, store, renderer, objective, ranks)
    learner = Learner(config, ranks, scorer)
    clock = Clock(reporter, store.device)
    trackers = Trackers(config, run.path, active=ranks.first)
    stack.callback(trackers.close)
    recorder = Recorder(config, run, ranks, reporter, tokenizer, trackers)
    asker = Asker(sampler, renderer, pool, ranks)
    answers = Answers(config, mixer_of(config, supply.training, renderer.fits), asker, clock)
    collector = Collector(config, objective, plan.domains, answers, asker, scorer, recorder, clock)
    diagnostics = Diagnostics(config, learner, asker, recorder, clock)
    spent = Spent(parameters=store.num_parameters, frozen=store.num_frozen)
    saver = Saver(
        config, run, ranks, reporter, supply, tokenizer, learner, objective, diagnostics, answers, spent, recorder
    )
    return Collaborators(
        config=config,
        run=run,
        plan=plan,
        supply=supply,
        objective=objective,
        ranks=ranks,
        reporter=reporter,
        clock=clock,
        store=store,
        copies=scorer.copies,
        tokenizer=tokenizer,
        sampler=sampler,
        answers=answers,
        collector=collector,
        scorer=scorer,
        learner=learner,
        diagnostics=diagnostics,
        evaluator=Evaluator(config, supply.tested, asker),
        recorder=recorder,
        saver=saver,
        spent=spent,
    )
