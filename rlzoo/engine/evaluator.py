"""Sampling an evaluation suite and recording every verdict. Estimates and their errors are `rlzoo.evals`' work."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from rlzoo import configure
from rlzoo.anchoring import unplaced
from rlzoo.config import CURVE_PER_LEVEL, RunConfig
from rlzoo.data.mixing import suite
from rlzoo.data.source import ProblemSource, Split, digest
from rlzoo.engine.asking import Asker
from rlzoo.engine.isolation import find_isolation
from rlzoo.engine.model.loading import frozen_store, load_tokenizer
from rlzoo.engine.prompting import measure, open_renderer
from rlzoo.engine.ranks import Ranks
from rlzoo.engine.record import TokenTexts, write_evaluation
from rlzoo.engine.reporting import Reporter
from rlzoo.engine.sampling.base import Decoding
from rlzoo.engine.sampling.choice import open_sampler, sampler_class
from rlzoo.engine.sampling.noise import row_key
from rlzoo.engine.supply import build_supply
from rlzoo.engine.verification import open_pool
from rlzoo.runs.evaluation import Attempt, Evaluation
from rlzoo.runs.folder import RunDir, write_text
from rlzoo.types import Group, Problem

EvalSplit = Literal["test", "validation", "curve"]
"""Which problems: all of the test, all of the validation, or the first few of the test with one response each."""


class Evaluator:
    """Answers suites with the current policy. Its noise streams are its own: evaluating moves no training draw."""

    def __init__(self, config: RunConfig, sources: Sequence[ProblemSource], asker: Asker) -> None:
        self.config = config
        self.asker = asker
        self.sources = sources
        self._suites: dict[EvalSplit, list[Problem]] = {}
        self._fingerprints: dict[EvalSplit, str] = {}

    def problems(self, asked: EvalSplit) -> list[Problem]:
        settings = self.config.eval
        if asked not in self._suites:
            per_level = {
                "test": settings.problems_per_level,
                "validation": settings.validation_per_level,
                "curve": min(CURVE_PER_LEVEL, settings.problems_per_level),
            }[asked]
            fits = self.asker.renderer.fits if self.config.data.long_prompts == "skip" else None
            self._suites[asked] = suite(self.sources, _split(asked), per_level, fits)
        return self._suites[asked]

    def run(self, asked: EvalSplit, step: int) -> tuple[Evaluation, list[Group]]:
        """Every problem with the statuses, answers and lengths of its responses; and the responses themselves."""
        started = time.monotonic()
        settings = self.config.eval
        samples = settings.samples if asked == "test" else 1
        problems = self.problems(asked)

        def keys(i: int) -> list[int]:
            split = _split(asked)  # a curve has the test's noise, so that whole tests hold its points too
            return [row_key("eval", split, self.config.seed, problems[i].id, sample) for sample in range(samples)]

        groups = self.asker.ask(problems, keys, Decoding.of(settings, self.config.sampling))
        found = Evaluation(
            step=step,
            split=asked,
            samples=samples,
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            max_response=self.config.sampling.max_response,
            seed=self.config.seed,
            suite=self._fingerprint(asked),
            attempts=tuple(_attempt(group) for group in groups),
            seconds=time.monotonic() - started,
        )
        return found, groups

    def _fingerprint(self, asked: EvalSplit) -> str:
        """Changes with all that is asked, and with all that judges the responses."""
        if asked not in self._fingerprints:
            told = [digest(p.id, p.messages, p.answer, unplaced(p.verifier), p.metadata) for p in self.problems(asked)]
            self._fingerprints[asked] = digest(told)
        return self._fingerprints[asked]


def _split(asked: EvalSplit) -> Split:
    return "validation" if asked == "validation" else "test"


def evaluate(
    model: str,
    config: RunConfig,
    *,
    split: Literal["test", "validation"] = "test",
    reporter: Reporter,
    out: Path | None = None,
) -> Evaluation:
    """Load a model and answer the suite of `config` with it, as if at step 0.

    out: a new folder for its record and its responses, laid out as a run that made no step.
    """
    config = config.model_copy(update={"model": config.model.model_copy(update={"path": model, "jitter": 0.0})})
    sampler_class(config.sampling.backend).fit(config)
    reporter.stage("load")
    weights, tokenizer = frozen_store(config), load_tokenizer(model)
    renderer = open_renderer(config, tokenizer, weights, reporter)
    sources = build_supply(config).tested
    measure(config, renderer, [(sources, split)], reporter)
    with ExitStack() as stack:
        sampler = open_sampler(config, tokenizer, weights, stack)
        reporter.stage("evaluate")
        pool = stack.enter_context(open_pool(config.verifier, find_isolation(config.verifier, sources)))
        found, groups = Evaluator(config, sources, Asker(sampler, renderer, pool, Ranks())).run(split, 0)
    if out is not None:
        run = RunDir(out)
        write_text(run.path / "config.yaml", configure.to_yaml(config))
        write_evaluation(run, found, groups, TokenTexts(tokenizer))
        run.write_status("done", step=0)
    return found


def _attempt(group: Group) -> Attempt:
    verdicts = [rollout.verdict for rollout in group.rollouts if rollout.verdict is not None]
    return Attempt(
        id=group.problem.id,
        domain=group.problem.domain,
        level=group.problem.level,
        status=tuple(verdict.status for verdict in verdicts),
        answers=tuple(verdict.extracted for verdict in verdicts),
        tokens=tuple(len(rollout.response_tokens) for rollout in group.rollouts),
    )
