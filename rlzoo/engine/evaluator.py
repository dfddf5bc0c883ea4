"""Sampling an evaluation suite and recording every verdict. Estimates and their errors are `rlzoo.evals`' work."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack

from rlzoo.config import RunConfig
from rlzoo.data.mixing import suite
from rlzoo.data.source import ProblemSource, Split, digest
from rlzoo.engine.asking import Asker
from rlzoo.engine.isolation import find_isolation
from rlzoo.engine.model.loading import frozen_store, load_tokenizer
from rlzoo.engine.model.rendering import Renderer, check_suite
from rlzoo.engine.ranks import Ranks
from rlzoo.engine.reporting import Reporter
from rlzoo.engine.sampling.base import Decoding
from rlzoo.engine.sampling.choice import open_sampler
from rlzoo.engine.sampling.noise import row_key
from rlzoo.engine.supply import build_supply
from rlzoo.engine.verification import open_pool
from rlzoo.runs.evaluation import Attempt, Evaluation
from rlzoo.types import Group, Problem


class Evaluator:
    """Answers suites with the current policy. Its noise streams are its own: evaluating moves no training draw."""

    def __init__(self, config: RunConfig, sources: Sequence[ProblemSource], asker: Asker) -> None:
        self.config = config
        self.asker = asker
        self.sources = sources
        self._suites: dict[Split, list[Problem]] = {}
        self._fingerprints: dict[Split, str] = {}

    def problems(self, split: Split) -> list[Problem]:
        settings = self.config.eval
        if split not in self._suites:
            per_level = settings.problems_per_level if split == "test" else settings.validation_per_level
            fits = self.asker.renderer.fits if self.config.data.long_prompts == "skip" else None
            self._suites[split] = suite(self.sources, split, per_level, fits)
        return self._suites[split]

    def check(self) -> None:
        """DataError where an evaluation that the settings ask for could not put a problem to the model."""
        settings = self.config.eval
        due: dict[Split, int] = {
            "test": settings.at_start or settings.at_end or settings.every,
            "validation": settings.validation_every,
        }
        for split, asked in due.items():
            if asked:
                check_suite(self.asker.renderer, self.problems(split), split)

    def run(self, split: Split, step: int) -> Evaluation:
        """Every problem with the statuses, answers and lengths of its responses."""
        started = time.monotonic()
        settings = self.config.eval
        samples = settings.samples if split == "test" else 1
        problems = self.problems(split)

        def keys(i: int) -> list[int]:
            return [row_key("eval", split, self.config.seed, problems[i].id, sample) for sample in range(samples)]

        groups = self.asker.ask(problems, keys, Decoding.of(settings, self.config.sampling))
        return Evaluation(
            step=step,
            split=split,
            samples=samples,
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            max_response=self.config.sampling.max_response,
            seed=self.config.seed,
            suite=self._fingerprint(split),
            attempts=tuple(_attempt(group) for group in groups),
            seconds=time.monotonic() - started,
        )

    def _fingerprint(self, split: Split) -> str:
        """Changes with all that is asked, and with all that judges the responses."""
        if split not in self._fingerprints:
            told = [digest(p.id, p.messages, p.answer, p.verifier, p.metadata) for p in self.problems(split)]
            self._fingerprints[split] = digest(told)
        return self._fingerprints[split]


def evaluate(model: str, config: RunConfig, *, split: Split = "test", reporter: Reporter) -> Evaluation:
    """Load a model and answer the suite of `config` with it, as if at step 0."""
    config = config.model_copy(update={"model": config.model.model_copy(update={"path": model, "jitter": 0.0})})
    reporter.stage("load")
    weights, tokenizer = frozen_store(config), load_tokenizer(model)
    renderer = Renderer.of(tokenizer, config.sampling, weights.policy.positions)
    sources = build_supply(config).tested
    with ExitStack() as stack:
        sampler = open_sampler(config, tokenizer, weights, stack)
        reporter.stage("evaluate")
        pool = stack.enter_context(open_pool(config.verifier, find_isolation(config.verifier, sources)))
        evaluator = Evaluator(config, sources, Asker(sampler, renderer, pool, Ranks()))
        check_suite(renderer, evaluator.problems(split), split)
        return evaluator.run(split, 0)


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
