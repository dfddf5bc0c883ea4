"""Problems to rollouts: the rendered prompts, each with the noise keys of its responses, put to the sampler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlzoo.engine.model.rendering import Renderer
from rlzoo.engine.ranks import Ranks
from rlzoo.engine.sampling.base import Decoding, Request, Sampler
from rlzoo.engine.verification import Pending, begin
from rlzoo.types import Group, Problem
from rlzoo.verifiers.pool import VerifierPool


@dataclass(frozen=True, slots=True)
class Asker:
    """A sampler behind its renderer, in front of the verifiers."""

    sampler: Sampler
    renderer: Renderer
    pool: VerifierPool
    ranks: Ranks

    def answer(
        self,
        problems: Sequence[Problem],
        keys: Callable[[int], Sequence[int]],
        decoding: Decoding,
        visits: Sequence[int] = (),
    ) -> list[Group]:
        """This rank's share of `problems`, answered. `keys`: noise keys of the i-th problem's responses."""
        mine = list(self.ranks.shard(range(len(problems))))
        requests = [
            Request(prompt_tokens=self.renderer.prompt(problems[i].messages), keys=tuple(keys(i))) for i in mine
        ]
        responses = self.sampler.sample(requests, decoding)  # with none, too: ranks gather weights together
        return [
            Group(problem=problems[i], rollouts=rollouts, visit=visits[i] if visits else 0)
            for i, rollouts in zip(mine, responses, strict=True)
        ]

    def begin(self, groups: Sequence[Group]) -> Pending:
        """This rank's answered groups, their verdicts on the way."""
        return begin(groups, self.pool)

    def ask(self, problems: Sequence[Problem], keys: Callable[[int], Sequence[int]], decoding: Decoding) -> list[Group]:
        """All problems answered and judged, on every rank."""
        return self.ranks.all_gather(self.begin(self.answer(problems, keys, decoding)).judged())
