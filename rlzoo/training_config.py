"""Settings of what is trained and how: the model, adapters over it, the learner. `rlzoo.config` has the other parts of a run."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from rlzoo.settings import Settings


class ModelConfig(Settings):
    path: str = "tiny"
    """`tiny`, `tiny-clean`, a local folder, or a hub name that `from_pretrained` takes. A relative folder is looked for beside the file of
    settings that names it, then in the present folder, and kept as an absolute path; so is every path in settings."""
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    """In which the model computes. With bfloat16 the optimizer steps float32 weights, which are rounded for each update.
    float64 is for tests of exactness."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: CUDA if there is a device, else CPU."""
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    """How attention is computed. auto: FlashAttention on CUDA in bfloat16 where flash-attn is installed, else as transformers chooses."""
    template: dict[str, Any] = Field(default_factory=dict)
    """What the tokenizer's chat template is told beside the messages: `{enable_thinking: false}`, where it knows of that."""
    jitter: float = Field(0.0, ge=0)
    """Standard deviation of seeded noise added to every initial weight; 0 = none. For measuring how long paired runs stay paired."""


class LoraConfig(Settings):
    """Low-rank adapters over weights that stay as they are (arXiv:2106.09685); they alone are trained. Dropout is always 0."""

    rank: int = Field(0, ge=0)
    """Inner size of each adapter; 0 = none, all weights are trained. Needs `rlzoo[lora]`."""
    alpha: float = Field(32.0, gt=0)
    """An adapter's product is multiplied by alpha / rank."""
    targets: tuple[str, ...] = ()
    """Names of linear layers, or the ends of them: `q_proj`, `self_attn.o_proj`. Empty = all but the output layer."""
    publish: Literal["merged", "adapter"] = "merged"
    """What vLLM is given after each step. merged: one model with the adapters in it. adapter: the adapters alone, a small file, which it computes
    beside the model that it has."""


class MismatchConfig(Settings):
    mode: Literal["off", "tis", "icepop"] = "off"
    """Weights that correct the difference between sampler's and trainer's log-probs, on policy terms.
    tis: min(ratio, cap). icepop: ratio inside [low, high], else 0."""
    level: Literal["token", "sequence"] = "token"
    """Of what the ratio is: of each token, or of the whole response, the product over its tokens, as one weight for all of them."""
    cap: float = Field(2.0, gt=0)
    low: float = Field(0.5, ge=0)
    """With level sequence and low 0, icepop drops whole responses whose ratio is above `high`, and nothing else: a sequence mask."""
    high: float = Field(5.0, gt=0)

    @model_validator(mode="after")
    def _low_below_high(self) -> Self:
        if self.low > self.high:
            raise ValueError(
                f"low is {self.low:g} and high {self.high:g}: no ratio lies between them. Give a low below high; 0.5 and 5 are usual."
            )
        return self


Shard = Literal["none", "fsdp2", "zero1", "zero2", "zero3"]
"""Who holds the weights."""


class LearnerConfig(Settings):
    updates_per_step: int = Field(4, ge=1)
    """Optimizer updates a rollout step; each takes whole groups, stratified by domain."""
    tokens_per_microbatch: int = Field(8192, ge=1)
    """Padded tokens (prompt and response) a forward pass; bounds activations, changes no gradient beyond rounding."""
    packing: bool = False
    """Lay the rows of a pass end to end instead of padding each to the longest: no gradient changes beyond rounding, and
    `tokens_per_microbatch` counts real tokens. Refused where a model's attention would not keep rows apart."""
    lr: float = Field(1e-4, ge=0, le=1)
    """AdamW's peak learning rate; 0 leaves the weights as they are."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """What follows the warm-up; linear and cosine end at `lr_floor` when the budget is spent."""
    warmup_steps: int = Field(0, ge=0)
    """Rollout steps over which the learning rate rises from 0."""
    lr_floor: float = Field(0.0, ge=0, le=1)
    """Final learning rate as a fraction of the peak."""
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    """Of matrices; norms and biases are spared."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients of an update are scaled down to this norm."""
    skip: bool = True
    """Leave rows out of the forward pass that cannot change the gradient. Exact to rounding."""
    old_logps: Literal["trainer", "sampler"] = "trainer"
    """Whose log-probs stand for the policy at the start of the step. sampler saves a pass; its error is measured on each
    step's first update. Needs sampling.top_p = 1 and top_k = 0, since otherwise it draws from another distribution."""
    mismatch: MismatchConfig = MismatchConfig()
    logit_elements: int = Field(1 << 22, ge=1)
    """Logits held at once, in elements: tokens are chunked so that [B, T, V] never exists."""
    shard: Shard = "none"
    """Who holds the weights. none: every rank holds all. fsdp2: each rank a slice of weights, gradients and optimizer state (PyTorch).
    zero1, zero2, zero3: DeepSpeed's; optimizer state, then gradients, then weights are cut up. Changes no result beyond rounding."""
    offload: bool = False
    """Keep the slices in host memory (the optimizer's state alone under zero1 and zero2) and step there: slower, and far less device memory."""
    activation_checkpointing: bool = False
    """Keep only what enters each layer and compute the rest again in the backward pass: about a third more time, far less memory."""
    max_nonfinite: int = Field(3, ge=0)
    """Updates with a non-finite loss or gradient that are skipped before the run stops with a diagnosis."""

    @field_validator("betas")
    @classmethod
    def _betas_below_one(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in value):
            raise ValueError("both betas must lie in [0, 1); AdamW averages with them. (0.9, 0.999) is usual.")
        return value

    @model_validator(mode="after")
    def _slices_to_offload(self) -> Self:
        if self.offload and self.shard == "none":
            raise ValueError(
                "offload is set, but shard is 'none': every rank then steps all weights where it computes with them, and has no slice to keep "
                "elsewhere. Set learner.shard=fsdp2 (one device will do), or leave offload out."
            )
        return self
