"""What a run is: one frozen pydantic tree. `rlzoo.configure` builds it from a recipe, a file and `--set`.

Nothing here imports torch. Each default stands once; what it does stands below it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, SerializeAsAny, field_validator, model_validator

from rlzoo import registry
from rlzoo.settings import ObjectiveConfig, Settings, VerifierConfig
from rlzoo.training_config import LearnerConfig, LoraConfig, ModelConfig

EMBEDDED = ("tiny", "tiny-clean")
"""Models that come with the package. They spell digits, signs and the letters of their domains, and no other text."""


class SourceConfig(Settings):
    name: str
    """Registered dataset: `maths`, `code`, `logic`, `reasoning-gym`, `file`."""
    weight: float = Field(1.0, gt=0)
    """Share of each step's prompts, relative to the other sources' weights."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What the dataset takes: `levels` of a procedural domain, `dataset` of reasoning-gym, `path` of a file."""


class PassRateConfig(Settings):
    """Rests problems of finite sources that are too hard or too easy now, by the share of their rollouts that were correct."""

    low: float = Field(0.0, ge=0, le=1)
    """A problem solved less often than this when last asked is rested."""
    high: float = Field(1.0, ge=0, le=1)
    """The same for one solved more often."""
    rest: int = Field(1, ge=1, le=16)
    """Epochs of its source that a rested problem is passed over before it is asked again."""


class DataConfig(Settings):
    sources: tuple[SourceConfig, ...] = Field(min_length=1)
    """Training problems, mixed by weight in every step; validation and test come from the same sources' other splits."""
    domains: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Weight of each domain, where shares should go by domain and not by source; 0 leaves a domain out."""
    quotas: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Prompts of every step that come from a domain, exactly; the other domains share the rest by weight."""
    temperature: float | None = Field(None, gt=0)
    """None: shares are as the weights. Else as (weight x train problems) ** (1 / temperature): 1 asks every problem equally often,
    a large number every source or domain. Needs sources that end."""
    pass_rate: PassRateConfig = PassRateConfig()
    curriculum: str | None = None
    """Registered curriculum (`ladder`), `module.path:function` or `file.py:function`: which problems are asked when."""
    long_prompts: Literal["refuse", "skip"] = "refuse"
    """What becomes of problems whose prompt is over `sampling.max_prompt`: the run is refused, or it goes on without them."""


class SamplingConfig(Settings):
    backend: str = "transformers"
    """Registered sampler (`transformers`, `vllm`), `module.path:Class` or `file.py:Class`."""
    place: str = "inside"
    """Where `vllm` samples. inside: in the trainer's process. process: in a server that the run starts, watches and ends.
    `http://host:port`: in a server that you started (docs/scale-vllm.md)."""
    steps_ahead: Literal[0, 1] = 0
    """1: each step's responses are sampled while the step before is learned from, so by weights one step older. Needs a place of its own
    and `learner.mismatch`."""
    prompts_per_step: int = Field(64, ge=1)
    """Prompts drawn a rollout step, over all ranks."""
    group_size: int = Field(8, ge=1)
    """Rollouts a prompt."""
    temperature: float = Field(1.0, gt=0)
    """Of sampling; the learner's log-probs are taken at it too."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Nucleus mass, renormalised; 1 = off."""
    top_k: int = Field(0, ge=0)
    """Likeliest tokens kept, renormalised; 0 = off."""
    max_prompt: int = Field(256, ge=1)
    """Tokens; a longer prompt is refused."""
    max_response: int = Field(32, ge=1)
    """Tokens; a longer response is cut and counts as truncated."""
    max_rows: int = Field(512, ge=1)
    """Rollouts decoded side by side: bounds the cache's memory, changes no result beyond rounding."""
    stream: int = Field(0, ge=0)
    """Number of the sampling-noise stream; arms of a comparison share it."""
    noise: Literal["gumbel", "uniform"] = "gumbel"
    """gumbel: hashed Gumbel-max over the vocabulary, couples arms best. uniform: one hashed number a token through the inverse CDF,
    for vocabularies so large that hashing costs over 10 % of sampling."""
    max_resample: int = Field(4, ge=1)
    """Sampling rounds a step while the objective drops prompts."""

    @field_validator("place")
    @classmethod
    def _place_is_one(cls, value: str) -> str:
        value = value.rstrip("/")
        if value not in ("inside", "process") and not re.fullmatch(r"http://[^/:\s]+:\d+", value):
            raise ValueError(
                f"{value!r} is no place to sample at. Use inside, process, or http://host:port of a server that you started."
            )
        return value


class ControlConfig(Settings):
    """Arms that show what a result is worth: they differ from a run in this section alone."""

    reward: Literal["true", "random", "shuffled", "format-only"] = "true"
    """What the objective is told. random: a fair coin a rollout. shuffled: the step's verdicts, dealt to other rollouts.
    format-only: right is any response with a final answer. Answers and solutions that it sees are those of other problems, too;
    metrics and evaluations keep the verifier's word."""
    frozen: bool = False
    """Train nothing: the run ends after its first evaluation."""


class DiagnosticsConfig(Settings):
    """Measurements that papers argue with. They cost forward passes, which are counted in the run's extra tokens."""

    every: int = Field(0, ge=0)
    """Steps between measurements of drift, retention, interference and representations; 0 = never."""
    retained: int = Field(64, ge=1)
    """Mastered problems that are asked again, the earliest first."""


CURVE_PER_LEVEL = 8
"""Test problems of each level that a curve is drawn from, at most."""


class EvalConfig(Settings):
    problems_per_level: int = Field(60, ge=1)
    """Test problems of each level of each domain."""
    samples: int = Field(4, ge=1)
    """Responses a problem; pass@k is reported for powers of two up to it."""
    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0)
    at_start: bool = True
    at_end: bool = True
    every: int = Field(0, ge=0)
    """Steps between evaluations on test problems for learning curves; 0 = only start and end. Never used for choosing."""
    curve: int = Field(5, ge=0)
    """Points between start and end, evenly over the budget, at which the first test problems of each level (at most 8) are answered once
    each, for a curve to look at. They decide nothing and cost no budget; 0 = none."""
    validation_every: int = Field(0, ge=0)
    """Steps between evaluations on validation problems, by which `checkpoint.keep_best` chooses; 0 = never."""
    validation_per_level: int = Field(16, ge=1)
    """Validation problems of each level of each domain, one response each."""
    sources: tuple[SourceConfig, ...] = ()
    """Where test and validation problems come from; empty = the training sources."""


class VerificationConfig(Settings):
    """How all responses are judged; and, under the name of each verifier, its own settings."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, SerializeAsAny[VerifierConfig]]

    workers: int = Field(1, ge=1)
    """Processes that judge responses beside the trainer."""
    timeout_s: float = Field(2.0, gt=0)
    """Wall-clock seconds one response may take; past it the worker is killed and the verdict is `timeout`."""
    memory_mb: int = Field(1024, ge=64)
    """Address space of a worker in MiB."""
    max_error_rate: float = Field(0.05, ge=0, le=1)
    """Share of a step's responses that verification itself may fail on before the run stops; at load, share of problems
    whose own answer cannot be judged."""
    check_golds: int = Field(2_000, ge=0)
    """Problems of each file whose own answer is tried before the run; 0 = none. `rlzoo check data` tries all."""
    sandbox: Literal["auto", "namespaces", "bubblewrap", "core", "none"] = "auto"
    """Isolation of programs that responses hold; `auto` is the strongest level that withstands its attacks here."""
    allow_unsafe: bool = False
    """Run such programs with your own rights where no level holds. Only on a machine that you can lose."""
    packages: list[str] = ["numpy"]
    """Installed packages that such programs may import beyond the standard library."""
    sandbox_url: str | None = None
    """A SandboxFusion server that runs them instead; its isolation is then what that server is set to."""

    @model_validator(mode="before")
    @classmethod
    def _each_of_its_class(cls, value: Any) -> Any:
        """Verifiers that ship always stand here with all their settings, so that a run's file is whole; others where they are set."""
        if not isinstance(value, Mapping):
            return value
        own: dict[str, Any] = {
            name: {} for name in registry.shipped_verifiers() if registry.verifier_class(name).Config.model_fields
        }
        own |= {name: settings for name, settings in value.items() if name not in cls.model_fields}
        flat = {name: setting for name, setting in value.items() if name in cls.model_fields}
        built = {name: registry.verifier_class(name).Config.model_validate(settings) for name, settings in own.items()}
        return flat | built

    def own(self) -> dict[str, dict[str, Any]]:
        """As plain data, the settings of each verifier that has some here; any other has its defaults."""
        return {name: settings.model_dump(mode="json") for name, settings in self.__pydantic_extra__.items()}


class RewardConfig(Settings):
    """What is added to a verifier's reward. Correctness stays the verifier's; each part is a metric of its own."""

    format: float = Field(0.0, ge=0)
    """Reward of a response whose form is `format_kind`; 0 = off."""
    format_kind: Literal["answer", "boxed", "think"] = "answer"
    """answer: a final answer was found. boxed: exactly one box. think: `<think>...</think>`, once, then the rest."""
    length: float = Field(0.0, ge=0)
    """Factor of the length reward, which runs from 0.5 for the shortest response of a group to -0.5 for its longest
    (arXiv:2501.12599, 2.3.3); 0 = off."""
    gated: bool = True
    """Format and length rewards only for correct responses. Without the gate, wrong ones earn the format reward and, as in
    the paper, no more than 0 for length."""
    overlong: float = Field(0.0, ge=0)
    """Factor of the soft overlong punishment, which falls from 0 to -1 over the last `overlong_buffer` tokens before
    `sampling.max_response`, for all responses (DAPO, arXiv:2503.14476, eq. 13); 0 = off."""
    overlong_buffer: int = Field(16, ge=1)
    """Tokens; at most `sampling.max_response`."""

    @property
    def shapes(self) -> bool:
        """Whether anything is added at all."""
        return bool(self.format or self.length or self.overlong)

    def beyond(self, limits: Literal["nonnegative", "share"]) -> list[str]:
        """Parts that take rewards of binary verdicts below 0, or for `share` out of [0, 1]."""
        below = {"length": self.length and (not self.gated or self.length > 2), "overlong": self.overlong}
        apart = {"format": self.format, "length": self.length, "overlong": self.overlong}
        return [part for part, on in (below if limits == "nonnegative" else apart).items() if on]


class CheckpointConfig(Settings):
    every: int = Field(20, ge=0)
    """Steps between checkpoints; 0 = only at the end."""
    keep_last: int = Field(2, ge=1)
    """Newest checkpoints kept."""
    keep_best: bool = False
    """Keep also the best by validation; needs `eval.validation_every`."""


class LogConfig(Settings):
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Besides metrics.jsonl, through accelerate's trackers."""
    project: str = "rlzoo"
    rollouts_every: int = Field(1, ge=0)
    """Steps between Parquet files of rollouts; 0 = none."""


class BudgetConfig(Settings):
    """Limits of a run; it stops at the first one reached. Extra forward passes and resampling count."""

    steps: int | None = Field(None, ge=1)
    """Rollout steps."""
    gen_tokens: int | None = Field(None, ge=1)
    """Sampled tokens of training rollouts, dropped prompts included."""
    train_tokens: int | None = Field(None, ge=1)
    """Tokens through forward and backward."""
    flops: float | None = Field(None, gt=0)
    """Floating-point operations of sampling, scoring and training: 2 x parameters a token forward, 6 x a trained token (4 x those
    below adapters)."""
    device_seconds: float | None = Field(None, gt=0)
    """Seconds of training, evaluation not counted, times ranks."""

    @model_validator(mode="after")
    def _ends_somewhere(self) -> Self:
        if not self.limits():
            raise ValueError("no limit is set, so the run would never end. Set budget.steps, or another of its axes.")
        return self

    def limits(self) -> dict[str, float]:
        return {axis: value for axis, value in self.model_dump().items() if value is not None}


class RunConfig(Settings):
    """Everything that decides a run's result, and nothing about where it is written."""

    objective: SerializeAsAny[ObjectiveConfig]
    """Which objective, with its own settings."""
    model: ModelConfig = ModelConfig()
    lora: LoraConfig = LoraConfig()
    data: DataConfig
    sampling: SamplingConfig = SamplingConfig()
    learner: LearnerConfig = LearnerConfig()
    eval: EvalConfig = EvalConfig()
    control: ControlConfig = ControlConfig()
    diagnostics: DiagnosticsConfig = DiagnosticsConfig()
    verifier: VerificationConfig = Field(default_factory=VerificationConfig)
    reward: RewardConfig = RewardConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    log: LogConfig = LogConfig()
    budget: BudgetConfig
    seed: int = Field(0, ge=0, lt=1 << 64)
    """Of data order, sampling noise and heads. Torch's generators take 64 bits."""
    threads: int | None = Field(None, ge=1)
    """CPU threads of the trainer; None = all cores. Bit-identical results need the same number."""

    @model_validator(mode="after")
    def _ratios_are_of_one_distribution(self) -> Self:
        sampling, learner = self.sampling, self.learner
        cut = f"sampling.top_p is {sampling.top_p:g} and sampling.top_k {sampling.top_k}"
        if learner.mismatch.mode != "off" and (sampling.top_p < 1 or sampling.top_k):
            raise ValueError(
                f"learner.mismatch.mode is {learner.mismatch.mode!r}, but {cut}: the sampler's log-probs are renormalised over the tokens kept and "
                "the learner's are not, so the ratios are biased. Use learner.mismatch.mode=off, or top_p=1 and top_k=0."
            )
        if learner.mismatch.mode != "off" and learner.old_logps == "sampler":
            raise ValueError(
                f"learner.mismatch.mode is {learner.mismatch.mode!r} and learner.old_logps 'sampler', by which both of its log-probs are the sampler's and "
                "every ratio is 1. Use learner.old_logps=trainer, or learner.mismatch.mode=off."
            )
        return self

    @field_validator("objective", mode="before")
    @classmethod
    def _objective_of_its_class(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping):
            return value
        name = value.get("name")
        if not isinstance(name, str):
            raise ValueError("no objective is named; set objective.name, 'grpo' for example")
        return registry.objective_class(name, value.get("base")).Config.model_validate(value)

    @model_validator(mode="after")
    def _step_divides(self) -> Self:
        prompts, updates = self.sampling.prompts_per_step, self.learner.updates_per_step
        if prompts % updates:
            raise ValueError(
                f"sampling.prompts_per_step is {prompts} and learner.updates_per_step is {updates}, but an update takes whole groups "
                f"and all updates of a step are of one size. Use a multiple of {updates} prompts, for example {-(-prompts // updates) * updates}."
            )
        if self.model.dtype == "float64" and self.learner.shard.startswith("zero"):
            raise ValueError(
                f"model.dtype is 'float64' and learner.shard is {self.learner.shard!r}, but DeepSpeed steps weights in float32. "
                "Use learner.shard=fsdp2, or model.dtype=float32."
            )
        if self.model.dtype == "bfloat16" and self.learner.shard == "zero1":
            raise ValueError(
                "model.dtype is 'bfloat16' and learner.shard is 'zero1', under which DeepSpeed adds up micro-batches in bfloat16, so that small "
                "gradients are lost. Use learner.shard=zero2, which adds in float32 and holds less."
            )
        if self.lora.rank and self.model.jitter:
            raise ValueError(
                f"lora.rank is {self.lora.rank} and model.jitter is {self.model.jitter:g}: an adapter is saved for the model at model.path, and would "
                "be loaded over weights without the noise. Set one of them to 0."
            )
        if self.learner.old_logps == "sampler" and (self.sampling.top_p < 1 or self.sampling.top_k):
            raise ValueError(
                f"learner.old_logps is 'sampler', but sampling.top_p is {self.sampling.top_p:g} and sampling.top_k {self.sampling.top_k}: the "
                "sampler's log-probs are then of a cut distribution, and the ratios biased. Use learner.old_logps=trainer, or top_p=1 and top_k=0."
            )
        if self.reward.overlong and self.reward.overlong_buffer > self.sampling.max_response:
            raise ValueError(
                f"reward.overlong_buffer is {self.reward.overlong_buffer} tokens, but sampling.max_response is {self.sampling.max_response}, so "
                "even an empty response would be punished. Use a smaller buffer; a fifth of max_response is usual."
            )
        if self.checkpoint.keep_best and not self.eval.validation_every:
            raise ValueError(
                "checkpoint.keep_best is set but eval.validation_every is 0, so nothing says which checkpoint is best. "
                "Set eval.validation_every to a number of steps."
            )
        return self
