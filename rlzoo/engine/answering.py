"""Problems drawn and answered: when a step asks for them or, with `sampling.steps_ahead`, while the step before is learned from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from rlzoo.config import RunConfig
from rlzoo.data.mixing import Drawn, Mixer
from rlzoo.engine.asking import Asker
from rlzoo.engine.clock import Clock
from rlzoo.engine.sampling.base import Decoding
from rlzoo.engine.sampling.noise import row_key
from rlzoo.types import Group, Rollout


@dataclass(frozen=True, slots=True)
class _Ahead:
    """The next step's problems, this rank's share of them being answered."""

    before: Mapping[str, Any]
    """The order of problems as it was before they were drawn."""
    groups: Future[list[Group]]


class Answers:
    """Draws a step's problems and has this rank's share answered. All ranks draw the same."""

    def __init__(self, config: RunConfig, mixer: Mixer, asker: Asker, clock: Clock) -> None:
        self.config = config
        self.mixer = mixer
        self.asker = asker
        self.clock = clock
        self.decoding = Decoding.of(config.sampling, config.sampling)
        self._ahead: _Ahead | None = None

    def draw(self, prompts: int, attempt: int) -> list[Group]:
        """The next `prompts` problems, answered. `attempt`: the step's how-manieth draw; only the first one is made ahead."""
        if self._ahead is not None and attempt == 0:
            groups, self._ahead = self._ahead.groups.result(), None
            return groups
        return self._answered(self.mixer.draw(prompts), attempt)

    @contextmanager
    def meanwhile(self) -> Iterator[None]:
        """Within, the learner works: the next step is sampled beside it, or the sampler sleeps."""
        if not self.config.sampling.steps_ahead:
            self.asker.sampler.sleep()
            yield
            return
        before = self.mixer.state_dict()
        drawn = self.mixer.draw(self.config.sampling.prompts_per_step)
        thread = ThreadPoolExecutor(1, thread_name_prefix="steps-ahead")
        try:
            self._ahead = _Ahead(before, thread.submit(self._answered, drawn, 0))
            yield
            with self.clock.timed("sample"):  # what of it takes longer than learning
                self._ahead.groups.result()
        finally:
            thread.shutdown(wait=False)

    def state_dict(self) -> dict[str, Any]:
        """The order of problems, and what was answered ahead, over all ranks: its weights are gone when the run goes on."""
        if self._ahead is None:
            return {"mixer": self.mixer.state_dict(), "ahead": None}
        groups = self.asker.ranks.all_gather(self._ahead.groups.result())
        told = [[_told(rollout) for rollout in group.rollouts] for group in groups]
        return {"mixer": dict(self._ahead.before), "ahead": told}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.mixer.load_state_dict(state["mixer"])
        self._ahead = None
        if state.get("ahead") is not None:  # checkpoints from before there was such a thing have none
            before, drawn = self.mixer.state_dict(), self.mixer.draw(len(state["ahead"]))
            every = [
                Group(problem=d.problem, visit=d.visit, rollouts=tuple(Rollout(**one) for one in rollouts))
                for d, rollouts in zip(drawn, state["ahead"], strict=True)
            ]
            ready: Future[list[Group]] = Future()
            ready.set_result(list(self.asker.ranks.shard(every)))
            self._ahead = _Ahead(before, ready)

    def _answered(self, drawn: Sequence[Drawn], attempt: int) -> list[Group]:
        settings = self.config.sampling

        def keys(i: int) -> list[int]:
            shared = ("train", self.config.seed, settings.stream, drawn[i].problem.id, drawn[i].visit, attempt)
            return [row_key(*shared, rollout) for rollout in range(settings.group_size)]

        return self.asker.answer([d.problem for d in drawn], keys, self.decoding, [d.visit for d in drawn])


def _told(rollout: Rollout) -> dict[str, Any]:
    """A rollout without a verdict, as plain data."""
    told = asdict(replace(rollout, verdict=None))
    del told["verdict"]
    return told
