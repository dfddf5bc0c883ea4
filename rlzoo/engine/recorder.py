"""What a run leaves on disk and tells whoever watches. Only the first rank writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rlzoo import trouble
from rlzoo.config import RunConfig
from rlzoo.engine.budget import Spent
from rlzoo.engine.ranks import Ranks
from rlzoo.engine.record import TokenTexts, batch_metrics, mean, rollout_table, write_evaluation
from rlzoo.engine.reporting import Reporter
from rlzoo.engine.reward import shaping_parts
from rlzoo.engine.step import Step
from rlzoo.engine.trackers import Trackers
from rlzoo.runs.evaluation import Evaluation
from rlzoo.runs.folder import RunDir, append_line
from rlzoo.types import Group, RolloutBatch


class Recorder:
    """Writes steps, evaluations and measurements, and tells the reporter."""

    def __init__(
        self, config: RunConfig, run: RunDir, ranks: Ranks, reporter: Reporter, tokenizer: Any, trackers: Trackers
    ) -> None:
        self.config = config
        self.run = run
        self.ranks = ranks
        self.reporter = reporter
        self.texts = TokenTexts(tokenizer)
        self.trackers = trackers
        self._warned: set[str] = set()
        self._watch: trouble.Watch | None = None
        """None before the first step of this process."""
        self._told: set[str] = set()
        """Kinds of trouble that status.json names."""
        self._evaluated: set[tuple[str, int]] | None = None
        """By split and step; None before anybody asked."""

    def rollouts(self, step: Step, shaping: Mapping[str, Any]) -> None:
        """The step's Parquet file, where one is due."""
        every = self.config.log.rollouts_every
        if every and step.number % every == 0 and self.ranks.first:
            table = rollout_table(step.judged, step.truth, step.credit, self.texts, shaping)
            self.run.write_rollouts(step.number, table)

    def unjudged(self, groups: Sequence[Group], batch: RolloutBatch) -> None:
        """The rollouts of a step that ended in verification."""
        if self.ranks.first:
            self.run.write_rollouts(batch.step, rollout_table(groups, batch, None, self.texts))

    def metrics(self, step: Step, metrics: Mapping[str, float]) -> dict[str, float]:
        """All that is known of a step but its costs and times; its rollouts are written on the way."""
        shaping = shaping_parts(step.batch, step.groups, self.config.reward)
        self.rollouts(step, shaping)
        known = batch_metrics(step.truth, step.judged, step.credit, shaping)
        if step.verified is not None:
            known["control/correct"] = mean(step.batch.correct_B, step.batch.valid_B)
        for signal, rows in step.crowded.items():
            known[f"crowded/{signal}"] = rows / len(step.sequences)
        self.warn_once(
            [
                f"what {signal} reads is longer than the model has room for beside a response, so those rollouts go without it; the metric "
                f"crowded/{signal} counts them. Lower sampling.max_response, or leave out problems whose prompts or references are that long."
                for signal, rows in step.crowded.items()
                if rows
            ]
        )
        return {**known, **metrics, "groups/dropped": float(step.dropped)}

    def step(self, step: Step, metrics: Mapping[str, float], spent: Spent, seconds: Mapping[str, float]) -> None:
        """The step's line of metrics.jsonl."""
        total = sum(seconds.values())
        whole = {**metrics, **spent.metrics()}
        whole |= {f"time/{stage}": value for stage, value in seconds.items()} | {"time/step": total}
        whole["time/tokens_per_second"] = sum(map(len, step.sequences.responses)) / max(total, 1e-9)
        if self.ranks.first:
            append_line(self.run.metrics_file, {"step": step.number, **whole})
            self.trackers.log(step.number, whole)
            self._tell_trouble(step.number, whole)
        self.reporter.step(step.number, whole)

    def standing(self) -> list[str]:
        """What stands in the way of learning by now, in words."""
        if self._watch is None:
            self._watch = trouble.Watch(self.run.metrics())  # those before a resumed run's first step, too
        return list(self._watch.standing().values())

    def _tell_trouble(self, step: int, metrics: dict[str, float]) -> None:
        """Write the run's state again where what stands in the way of learning has changed."""
        if self._watch is None:
            self._watch = trouble.Watch(self.run.metrics())
        else:
            self._watch.add(metrics)
        kinds = set(self._watch.standing())
        if kinds != self._told:
            self.run.write_status("running", self.standing(), step=step)
            self._told = kinds

    def diagnosis(self, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """A measurement's line of diagnostics.jsonl, and its arrays."""
        if self.ranks.first:
            append_line(self.run.diagnostics_file, record)
            self.run.write_arrays(record["step"], arrays)

    def evaluation(self, found: Evaluation, groups: Sequence[Group]) -> None:
        if self.ranks.first:
            write_evaluation(self.run, found, groups, self.texts)
            self._known().add((found.split, found.step))
        self.reporter.evaluated(found)

    def recorded(self, split: str, step: int) -> bool:
        """Whether the run holds that evaluation already."""
        return (split, step) in self._known()

    def _known(self) -> set[tuple[str, int]]:
        if self._evaluated is None:
            self._evaluated = {(found.split, found.step) for found in self.run.evaluations()}
        return self._evaluated

    def warn_once(self, warnings: Sequence[str]) -> None:
        """Tell each distinct text once a run."""
        for text in warnings:
            if text not in self._warned:
                self._warned.add(text)
                self.reporter.warn(text)
