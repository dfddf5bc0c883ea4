"""A run's state, all of it: into a checkpoint and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlzoo import configure
from rlzoo.config import RunConfig
from rlzoo.engine import checkpoint, provenance
from rlzoo.engine.answering import Answers
from rlzoo.engine.budget import Spent
from rlzoo.engine.diagnostics import Diagnostics
from rlzoo.engine.learning.learner import Learner
from rlzoo.engine.model.copies import PolicyCopies
from rlzoo.engine.model.loading import restore
from rlzoo.engine.model.others import hashes
from rlzoo.engine.model.policy import Policy
from rlzoo.engine.ranks import Ranks
from rlzoo.engine.recorder import Recorder
from rlzoo.engine.reporting import Reporter
from rlzoo.engine.supply import Supply
from rlzoo.errors import ConfigError
from rlzoo.objective import Objective, checked_needs
from rlzoo.runs import repair
from rlzoo.runs.folder import RunDir, write_text


@dataclass(slots=True)
class Saver:
    """Everything that changes during a run, and where it is kept."""

    config: RunConfig
    run: RunDir
    ranks: Ranks
    reporter: Reporter
    supply: Supply
    tokenizer: Any
    learner: Learner
    objective: Objective[Any]
    diagnostics: Diagnostics
    answers: Answers
    spent: Spent
    recorder: Recorder
    best: tuple[float, int] | None = None
    """Best validation pass@1 and its step."""
    saved: int = 0
    """The step of the newest checkpoint; 0 = none."""
    digests: dict[str, str] = field(default_factory=dict)
    """Of the run's files of steps, as they were when a checkpoint first held them."""

    @property
    def copies(self) -> PolicyCopies:
        return self.learner.scorer.copies

    def due(self, step: int) -> bool:
        """Whether this step ends in a checkpoint: by the settings, or in place of one that was found damaged."""
        every = self.config.checkpoint.every
        again = self.ranks.decide(lambda: step in checkpoint.owed(self.run))
        return again or (every > 0 and step % every == 0)

    def save(self) -> None:
        """Checkpoint the step at hand if that is not done, and forget those that are not to be kept. All ranks call it."""
        if self.spent.steps == self.saved:  # before the first step there is nothing to save
            return
        self.reporter.stage("save")
        state = self._state()
        with self.learner.store.whole(host=True) as policy:
            if self.ranks.first:
                self._write(policy, state)
        self.saved = self.spent.steps

    def _write(self, policy: Policy, state: Mapping[str, Any]) -> None:
        before = self.run.checkpoint(self.saved) / checkpoint.RECORDS if self.saved else None
        self.digests = checkpoint.save(
            self.run, self.spent.steps, policy, self.tokenizer, state, known=self.digests, before=before
        )
        keep = self.best[1] if self.best and self.config.checkpoint.keep_best else None
        checkpoint.prune(self.run, self.config.checkpoint.keep_last, keep)
        self.run.write_status("running", self.recorder.standing(), step=self.spent.steps)

    def _state(self) -> dict[str, Any]:
        return {
            "learner": self.learner.state_dict(),
            "copies": self.copies.state_dict(),
            "objective": self.objective.state_dict(),
            "diagnostics": self.diagnostics.state_dict(),
            **self.answers.state_dict(),
            "spent": self.spent.state_dict(),
            "best": list(self.best) if self.best else None,
            "data": provenance.data_fingerprint(self.supply.training),
        }

    def restore(self) -> bool:
        """Go on from the newest whole checkpoint; False if the run never made one and starts from the beginning."""
        step, damaged = self.ranks.decide(lambda: checkpoint.newest(self.run))
        for line in damaged:
            self.reporter.warn(line)
        if not step:
            self.reporter.note("no checkpoint was written yet; starting from the beginning.")
            if self.ranks.first:
                self._rewind(0, None)
            return False
        folder = self.run.checkpoint(step)
        state = checkpoint.load_state(folder)
        data = provenance.data_fingerprint(self.supply.training)
        if state["data"] != data:
            raise ConfigError(
                f"the data of the run in {self.run.path} have changed since its checkpoint of step {step} (fingerprint "
                f"{state['data']}, now {data}), so resuming would mix two runs. "
                "Restore the data, or start a new run in another folder."
            )
        self._refuse_exchanged()
        restore(self.learner.store, self.config, self.ranks, folder)
        self.learner.load_state_dict(state["learner"])
        self.copies.load_state_dict(state["copies"])
        self.objective.load_state_dict(state["objective"])
        self.diagnostics.load_state_dict(state["diagnostics"])
        self.answers.load_state_dict(state)
        self.spent.load_state_dict(state["spent"])
        self.saved = step
        self.best = (state["best"][0], state["best"][1]) if state["best"] else None
        if self.ranks.first:
            self._rewind(step, folder / checkpoint.RECORDS)
            within = provenance.surroundings(self.learner.store.device, self.ranks.world)
            for change in provenance.resume(self.run, self.config, self.supply, step, within):
                self.reporter.warn(change)
        self.reporter.note(f"resumed after step {step}.")
        return True

    def _refuse_exchanged(self) -> None:
        """ConfigError where another model that the objective asks has other weights than the run began with. All ranks call it."""
        before = self.run.provenance()
        for signal, now in hashes(checked_needs(self.objective, 1), self.copies).items():
            begun = before.others.get(signal, now) if before is not None else now
            if begun != now:
                raise ConfigError(
                    f"the model that is asked as {signal} in the run in {self.run.path} has other weights than when it began (fingerprint {begun}, "
                    f"now {now}), so resuming would mix two runs. Restore the model, or start a new run in another folder."
                )

    def _rewind(self, step: int, records: Path | None) -> None:
        for line in repair.rewind(self.run, step, records):
            self.reporter.warn(line)
        self.digests = repair.kept(records) if records is not None else {}
        if self.run.settings() != self.config.model_dump(
            mode="json"
        ):  # it goes on with another budget, or its files were moved
            write_text(self.run.path / "config.yaml", configure.to_yaml(self.config))
        self.run.write_status("running", self.recorder.standing(), step=step)
