"""The run: open, evaluate, step until the budget is spent, evaluate. A step reads as its verbs."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from rlzoo import registry
from rlzoo.config import RunConfig
from rlzoo.data.source import descriptions
from rlzoo.engine import provenance
from rlzoo.engine.budget import passes_a_point
from rlzoo.engine.clock import MEASURE, Stop
from rlzoo.engine.ending import Ending
from rlzoo.engine.evaluator import EvalSplit
from rlzoo.engine.model.loading import pick_device
from rlzoo.engine.model.others import hashes
from rlzoo.engine.opening import Collaborators, open_folder, open_parts
from rlzoo.engine.plan import make_plan
from rlzoo.engine.ranks import join_ranks
from rlzoo.engine.reporting import LastStage, Reporter, Silent
from rlzoo.engine.step import Step
from rlzoo.engine.supply import build_supply
from rlzoo.objective import checked_credit, checked_needs
from rlzoo.placement import resuming
from rlzoo.runs.evaluation import Evaluation
from rlzoo.runs.folder import RunDir
from rlzoo.runs.lock import FolderLock
from rlzoo.signals import terminated_like_ctrl_c


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended."""

    state: Literal["done", "interrupted"]
    step: int
    out: Path
    reason: str


def train(
    config: RunConfig, out: Path, *, resume: bool = False, overwrite: bool = False, reporter: Reporter | None = None
) -> RunResult:
    """Run `config` into the folder `out` until its budget is spent or Ctrl-C asks it to stop after the step at hand.

    Raises RlzooError: UsageError before anything is loaded or written, RunError later; status.json then says `failed`.
    """
    run = RunDir(Path(out))
    ranks = join_ranks(lambda: pick_device(config.model))
    reporter = LastStage((reporter if ranks.first else None) or Silent())
    with ExitStack() as signals, ExitStack() as stack:
        signals.enter_context(terminated_like_ctrl_c())
        ending = Ending(run, config, ranks, reporter, signals)
        try:
            if config.threads is not None:
                torch.set_num_threads(config.threads)
            objective = registry.build_objective(config.objective)
            supply = build_supply(config)
            plan = make_plan(config, objective, supply, ranks.places)
            lock = stack.enter_context(FolderLock(run.path))
            ranks.decide(lambda: open_folder(run, config, lock, resume=resume, overwrite=overwrite, claim=ending.claim))
            ending.claim()
            if lock.impossible:
                reporter.warn(f"{run.path} lies where files cannot be locked: see that nothing else trains this run.")
            reporter.plan(plan)
            for line in descriptions(supply.every):
                reporter.note(line)
            parts = open_parts(config, run, plan, supply, objective, ranks, reporter, stack)
            result = Trainer(parts).run(resume=resume)
            ranks.leave(together=result.state != "done")
            return result
        except BaseException as error:
            ended = ending.of(error)
            if ended is error:
                raise
            raise ended from error


class Trainer:
    """The loop over a run's steps."""

    def __init__(self, parts: Collaborators) -> None:
        self.parts = parts
        self.config = parts.config
        self.spent = parts.spent
        self.stop = Stop(parts.reporter.note, parts.ranks)

    def run(self, *, resume: bool) -> RunResult:
        """Step until the budget is spent. Evaluations cost no budget."""
        parts, settings = self.parts, self.config.eval
        if not (resume and self._restore()):
            self._describe()
        if settings.at_start and self.spent.steps == 0 and not self._recorded("test"):
            self.evaluate("test")
        if self.config.control.frozen:
            return self._end("done", "control.frozen: nothing is trained")
        with self.stop.listening():
            while not (reason := self.spent.reached(self.config.budget)):
                self.step()
                if parts.ranks.any(self.stop.save_asked):
                    self.stop.save_asked = False
                    parts.saver.save()
                if parts.ranks.any(self.stop.asked):
                    return self._end("interrupted", "stopped by Ctrl-C after the step at hand")
        if settings.at_end and not self._recorded("test"):
            parts.saver.save()
            self.evaluate("test")
        return self._end("done", reason)

    def step(self) -> None:
        """One rollout step: sample, verify, score, credit, update, publish, record."""
        parts, clock, number = self.parts, self.parts.clock, self.spent.steps + 1
        clock.start()
        step, prescored = parts.collector.collect(number)
        with clock.timed("score"):
            step = parts.learner.dealt(parts.scorer.score(step, prescored))
        with clock.timed("update"):
            step = replace(step, credit=checked_credit(parts.objective, step.batch))
            parts.recorder.warn_once(step.credit.warnings)
        with clock.timed(MEASURE):
            step = parts.learner.measured(step)
        early = parts.diagnostics.before(step)
        with parts.answers.meanwhile(), clock.timed("update"):
            metrics = parts.learner.learn(step, self.spent.progress(self.config.budget, step.costs))
            parts.objective.observe(step.batch)
        with clock.timed("publish"):
            parts.copies.after_step(number)
            parts.sampler.publish(parts.store, parts.learner.updates)
            metrics |= parts.sampler.measured()
        parts.diagnostics.after(step, early)
        self.record(step, metrics)

    def record(self, step: Step, metrics: dict[str, float]) -> None:
        """Count, write and tell; evaluate and save where that is due. Ends the step."""
        parts, before = self.parts, self.spent.progress(self.config.budget)
        with parts.clock.timed("other"):
            self.spent.add(step.costs)
            self.spent.steps = step.number
            whole = parts.recorder.metrics(step, metrics)
        seconds = parts.clock.seconds
        # time is the first rank's: budgets and learning rates follow it, and must be the same everywhere
        charged = sum(seconds.values()) - seconds.get(MEASURE, 0.0)
        self.spent.device_seconds += parts.ranks.gather(charged)[0] * parts.ranks.world
        parts.recorder.step(step, whole, self.spent, seconds)
        self._after_step(step.number, before)

    def _after_step(self, number: int, before: float | None = None) -> None:
        """What is due at the end of this step and was not done before a resumption at it: evaluations first, then a checkpoint, so
        that what was due is on disk before it. `before`: the budget's share spent before the step; None where it is not known."""
        settings, saver = self.config.eval, self.parts.saver
        due = saver.due(number)
        if settings.validation_every and number % settings.validation_every == 0 and not self._recorded("validation"):
            found = self.evaluate("validation")
            if found is not None and (saver.best is None or found.share("correct") > saver.best[0]):
                saver.best = (found.share("correct"), number)
                due = True
        if not self.spent.reached(self.config.budget):
            if settings.every and number % settings.every == 0:
                if not self._recorded("test"):
                    self.evaluate("test")
            elif before is not None and passes_a_point(before, self.spent.progress(self.config.budget), settings.curve):
                self.evaluate("curve")
        if due:
            saver.save()

    def _recorded(self, asked: EvalSplit) -> bool:
        """Whether the step at hand has been evaluated so already."""
        parts = self.parts
        return parts.ranks.decide(lambda: parts.recorder.recorded(asked, self.spent.steps))

    def evaluate(self, asked: EvalSplit) -> Evaluation | None:
        """An evaluation; None, with a warning, where the data hold nothing out for it."""
        parts = self.parts
        if not parts.evaluator.problems(asked):
            parts.recorder.warn_once(
                [
                    f"no {'validation' if asked == 'validation' else 'test'} problems are held out, so the run is not evaluated on any. Hold some out (options `test` and "
                    "`validation` of a source of rows), or name others in eval.sources."
                ]
            )
            return None
        parts.reporter.stage("evaluate")
        found, groups = parts.evaluator.run(asked, self.spent.steps)
        parts.recorder.evaluation(found, groups)
        return found

    def _restore(self) -> bool:
        restored = self.parts.saver.restore()
        if restored:
            self.parts.sampler.publish(self.parts.store, self.parts.learner.updates)
            self._after_step(self.spent.steps)  # a kill may have come between the save and what was due after it
        return restored

    def _describe(self) -> None:
        parts = self.parts
        others = hashes(checked_needs(parts.objective, 1), parts.copies)
        with parts.store.whole(host=True) as policy:
            if not parts.ranks.first:
                return
            provenance.begin(
                parts.run,
                parts.config,
                policy,
                parts.tokenizer,
                parts.supply,
                backend=parts.sampler.described,
                world=parts.ranks.world,
                sandbox=parts.plan.sandbox,
                verdicts=provenance.verdict_rules(parts.config, parts.supply.every),
                others=others,
            )

    def _end(self, state: Literal["done", "interrupted"], reason: str) -> RunResult:
        run = self.parts.run
        self.parts.saver.save()
        more = {} if state == "done" else {"resume": resuming(run.path)}
        if self.parts.ranks.first:
            run.write_status(state, self.parts.recorder.standing(), step=self.spent.steps, reason=reason, **more)
        return RunResult(state=state, step=self.spent.steps, out=run.path, reason=reason)
