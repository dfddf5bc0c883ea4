"""What a sampler is: prompts as tokens in, rollouts as tokens out, with the log-probs really sampled from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rlzoo.config import EvalConfig, RunConfig, SamplingConfig
from rlzoo.engine.model.weights.base import WeightStore
from rlzoo.engine.ranks import Ranks
from rlzoo.errors import ConfigError, ModelError
from rlzoo.types import Rollout


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Responses wanted for one prompt."""

    prompt_tokens: tuple[int, ...]
    keys: tuple[int, ...]
    """One noise key a response; their number is the number of responses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How tokens are drawn."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_response: int
    noise: str = "gumbel"

    @classmethod
    def of(cls, settings: SamplingConfig | EvalConfig, sampling: SamplingConfig) -> Decoding:
        """By `settings`; length and kind of noise are the run's."""
        return cls(
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            max_response=sampling.max_response,
            noise=sampling.noise,
        )


def end_tokens(tokenizer: Any, generation: Any) -> tuple[int, ...]:
    """Every token that ends a response: the tokenizer's, and those of the model's generation config, which may name several
    (one that ends a turn beside one that ends a text). ModelError where there is none, so that no response could end."""
    found = getattr(generation, "eos_token_id", None)
    several = found if isinstance(found, list | tuple) else [found]
    ends = sorted({int(token) for token in (tokenizer.eos_token_id, *several) if token is not None})
    if not ends:
        raise ModelError(
            "neither the tokenizer nor generation_config.json names an end-of-sequence token, so no response could end. "
            "Set eos_token in tokenizer_config.json or eos_token_id in generation_config.json."
        )
    return tuple(ends)


class Sampler(ABC):
    """A generation engine beside the trainer. Subclass, override `sample`, register one name under `rlzoo.samplers`."""

    name: ClassVar[str]
    """As in `sampling.backend`."""
    elsewhere: ClassVar[bool] = False
    """Whether it can sample at other places than in the trainer's process."""

    def __init__(self, config: RunConfig, tokenizer: Any) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.ranks = Ranks()
        """Those that share the run; set by `open`."""
        self.policy_version = -1
        """Optimizer updates that the weights in force have seen; -1 before the first `publish`."""

    @property
    def described(self) -> str:
        """As in a run's provenance: what arms of a comparison share."""
        return self.name

    @classmethod
    def fit(cls, config: RunConfig) -> None:
        """Refuse settings that this sampler cannot serve, and a machine that lacks what it needs, before anything is loaded. UsageError."""
        sampling, learner = config.sampling, config.learner
        if sampling.place != "inside" and not cls.elsewhere:
            raise ConfigError(
                f"sampling.place is {sampling.place!r}, but the sampler {sampling.backend!r} has no place but the trainer's own process. "
                "Use sampling.place=inside, or sampling.backend=vllm."
            )
        if config.lora.publish == "adapter" and not (config.lora.rank and cls.elsewhere):
            why = (
                f"the sampler {sampling.backend!r} computes with the learner's own adapters, and is given none"
                if config.lora.rank
                else "lora.rank is 0, so that there is none"
            )
            raise ConfigError(
                f"lora.publish is 'adapter', but {why}. Use lora.publish=merged, or lora.rank=16 with sampling.backend=vllm."
            )
        if sampling.steps_ahead and sampling.place == "inside":
            raise ConfigError(
                "sampling.steps_ahead is 1, but sampling.place is 'inside', where sampling and learning take turns. Use "
                "sampling.backend=vllm with sampling.place=process or a server's address, or sampling.steps_ahead=0."
            )
        if sampling.steps_ahead and (learner.mismatch.mode == "off" or learner.old_logps == "sampler"):
            raise ConfigError(
                f"sampling.steps_ahead is 1, but learner.mismatch.mode is {learner.mismatch.mode!r} and learner.old_logps {learner.old_logps!r}: responses "
                "come from weights one step older, and nothing would correct for it. Use learner.mismatch.mode=tis and learner.old_logps=trainer."
            )

    @classmethod  # noqa: B027  most engines say themselves what they cannot load
    def check(cls, kind: type, named: str) -> None:
        """Refuse models of a class that this sampler cannot sample from, before weights are read. UnfitModel, by name."""

    def open(self, weights: WeightStore, ranks: Ranks, folder: Path | None) -> None:
        """Start what samples; called once, on all ranks, before the first `publish`. `folder`: the run's; None where there is no run."""
        self.ranks = ranks

    @abstractmethod
    def sample(self, requests: Sequence[Request], decoding: Decoding) -> list[tuple[Rollout, ...]]:
        """Rollouts of each request, in order, one for each of its keys. Equal keys and weights give equal tokens.

        All ranks call it, a rank without prompts too; only entering `weights.whole()` may wait for others.
        """

    def publish(self, weights: WeightStore, updates: int) -> None:
        """Take over the trained weights; `updates` is how many optimizer updates they have seen. Before the first sample, too."""
        self.policy_version = updates

    def sleep(self) -> None:  # noqa: B027  a sampler without memory of its own has nothing to give
        """Nothing will be sampled until `wake`: make room for the learner."""

    def wake(self) -> None:  # noqa: B027
        """Sampling goes on."""

    def measured(self) -> Mapping[str, float]:
        """Metrics of the last `publish`."""
        return {}

    def close(self) -> None:  # noqa: B027  a sampler beside the trainer has nothing to do
        """The run ends, in whatever way."""
