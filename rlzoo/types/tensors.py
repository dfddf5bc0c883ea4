"""A step as tensors, and what an objective concludes from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from torch import Tensor, nn


def _check(owner: Any, shapes: Mapping[str, int]) -> None:
    """Every tensor field of `owner` has the shape that its name's suffix says."""
    for spec in fields(owner):
        name, value = spec.name, getattr(owner, spec.name)
        if isinstance(value, Mapping):
            continue
        letters = name.rsplit("_", 1)[-1]
        if value is None or not letters.isupper():
            continue
        expected = ", ".join(f"{letter}={shapes.get(letter, 'any')}" for letter in letters)
        if not hasattr(value, "shape"):
            raise ValueError(f"{name} is a {type(value).__name__}, expected a tensor [{expected}]")
        if len(value.shape) != len(letters) or any(
            letter in shapes and size != shapes[letter] for letter, size in zip(letters, value.shape, strict=True)
        ):
            raise ValueError(f"{name} has shape {list(value.shape)}, expected [{expected}]")


def _plane(value: Any, name: str) -> dict[str, int]:
    """B and T, as the tensor says that an owner's other tensors follow."""
    shape = list(getattr(value, "shape", ()))
    if len(shape) != 2:
        found = f"has shape {shape}" if hasattr(value, "shape") else f"is a {type(value).__name__}"
        raise ValueError(f"{name} {found}, expected a tensor [B, T]: rollouts x response tokens")
    return {"B": shape[0], "T": shape[1]}


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutBatch:
    """All rollouts of one step, over all ranks; or some of its rows. No gradient anywhere."""

    response_mask_BT: Tensor
    """bool; True at response tokens, the end token included."""
    rewards_B: Tensor
    """After shaping and controls; 0 where unjudged."""
    correct_B: Tensor
    """bool; by verdict, whatever the reward was shaped to."""
    judged_B: Tensor
    """bool; False where the verifier itself failed."""
    truncated_B: Tensor
    group_ids_B: Tensor
    """int64; rows of one prompt share it; consecutive from 0 in a whole step, in prompt order."""
    domain_ids_B: Tensor
    """int64; index into `domains`."""
    sampler_logps_BT: Tensor
    old_logps_BT: Tensor | None = None
    """The trainer's log-probs at the start of the step; given to credit only where needed."""
    signals: Mapping[str, Tensor] = field(default_factory=dict)
    """By name, [B, T]; 0 where masked."""
    signal_mask: Mapping[str, Tensor] = field(default_factory=dict)
    """By name, [B] bool; False where the row has no such context."""
    embeddings_BH: Tensor | None = None
    """Detached, at the start of the step."""
    entropy_BT: Tensor | None = None
    """Of the policy at the start of the step; detached, 0 at padding; only if needed."""
    values: Mapping[str, Tensor] = field(default_factory=dict)
    """Outputs of the objective's token heads, by head, [B, T]; detached, as policy and heads stand before the step's first
    update; 0 at padding."""
    projections: Mapping[str, Tensor] = field(default_factory=dict)
    """Outputs of the objective's rollout heads on `embeddings_BH`, by head, [B, M]; detached, as the heads
    stand before the step's first update."""
    domains: tuple[str, ...] = ("",)
    max_response: int
    """The run's limit on response tokens: the constant of `reduction="constant"`."""
    update_ids_B: Tensor | None = None
    """int64; which of the step's updates the row is for; None: all are for one."""
    step: int = 1
    """Rollout steps are counted from 1."""
    total_steps: int = 1

    def __post_init__(self) -> None:
        B, T = self.response_mask_BT.shape
        _check(self, {"B": B, "T": T})
        for what, tensors in (("signal", self.signals), ("values of head", self.values)):
            for name, value in tensors.items():
                if tuple(value.shape) != (B, T):
                    raise ValueError(f"{what} {name!r} has shape {list(value.shape)}, expected [B={B}, T={T}]")

    @property
    def loss_mask_BT(self) -> Tensor:
        """bool [B, T]; what a mean over the batch runs over: response tokens of judged rollouts."""
        return self.response_mask_BT & self.judged_B[:, None]

    @property
    def valid_B(self) -> Tensor:
        """bool [B]; judged and with at least one response token. The rows that B, G and p(x) count."""
        return self.judged_B & self.response_mask_BT.any(1)

    def rows(self, index: Tensor) -> Self:
        """The rows at `index` (int64), in that order."""
        return replace(
            self,
            **{
                spec.name: getattr(self, spec.name)[index]
                for spec in fields(self)
                if spec.name.rsplit("_", 1)[-1].startswith("B") and getattr(self, spec.name) is not None
            },
            signals={name: value[index] for name, value in self.signals.items()},
            signal_mask={name: value[index] for name, value in self.signal_mask.items()},
            values={name: value[index] for name, value in self.values.items()},
            projections={name: value[index] for name, value in self.projections.items()},
        )


REDUCTIONS: Mapping[str, str] = {
    "token": "mean over all counted tokens",
    "rollout": "mean over rollouts of the mean over their tokens",
    "group": "mean over prompts of the mean over their rollouts of the mean over tokens",
    "constant": "sum over tokens, divided by rollouts x the longest allowed response",
}
"""Units of a term's mean: DAPO's, GRPO's and GSPO's, a prompt's, Dr. GRPO's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One loss term of one update: what counts, how much of it, and over what the mean is taken."""

    loss_mask_BT: Tensor
    """bool; what the mean runs over, zero-advantage rollouts included."""
    loss_weight_BT: Tensor
    """Detached factor; 0 = no loss, so the row may be skipped. Never part of a denominator."""
    reduction: Literal["token", "rollout", "group", "constant"]
    """The mean's unit, a key of `REDUCTIONS`."""
    coef: float = 1.0
    corrected: bool = False
    """Policy terms: the weights that correct rollout/trainer mismatch multiply the scale."""
    correction: Literal["scale", "loss"] = "scale"
    """Of a corrected term. loss: its loss takes the weights in by `MicroBatch.log_mismatch_B`, and the scale is left alone."""

    def __post_init__(self) -> None:
        _check(self, _plane(self.loss_mask_BT, "loss_mask_BT"))
        if str(self.loss_mask_BT.dtype) != "torch.bool":
            raise ValueError(
                f"loss_mask_BT holds {self.loss_mask_BT.dtype}, expected torch.bool: it says what counts; weights go into loss_weight_BT"
            )
        if self.reduction not in REDUCTIONS:
            raise ValueError(f"reduction is {self.reduction!r}, expected one of {', '.join(map(repr, REDUCTIONS))}")

    def rows(self, index: Tensor) -> Self:
        return replace(self, loss_mask_BT=self.loss_mask_BT[index], loss_weight_BT=self.loss_weight_BT[index])


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """What an objective concluded about a step: who gets how much, and which terms the loss has."""

    advantages_BT: Tensor
    """Detached; 0 outside the response."""
    terms: Mapping[str, Term]
    given: Mapping[str, Tensor] = field(default_factory=dict)
    """What losses read beside advantages and need not make again in every micro-batch, by name, [B, T]; detached."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    evidence_BT: Tensor | None = None
    """Per-token evidence, where the objective weighs tokens by some; for display only."""
    warnings: tuple[str, ...] = ()
    """What a reader must know about this step; each distinct text is shown once a run."""

    def __post_init__(self) -> None:
        shapes = _plane(self.advantages_BT, "advantages_BT")
        B, T = shapes.values()
        _check(self, shapes)
        for name, value in self.given.items():
            if tuple(value.shape) != (B, T):
                raise ValueError(f"given {name!r} has shape {list(value.shape)}, expected [B={B}, T={T}]")
        for name, term in self.terms.items():
            if not isinstance(term, Term):
                raise ValueError(f"term {name!r} is a {type(term).__name__}, expected a Term")
            if tuple(term.loss_mask_BT.shape) != (B, T):
                raise ValueError(
                    f"term {name!r} counts over shape {list(term.loss_mask_BT.shape)}, expected [B={B}, T={T}]"
                )

    @classmethod
    def nothing(cls, like_BT: Tensor) -> Self:
        """No advantage and no term, for rows and dtype of `like_BT`."""
        return cls(advantages_BT=like_BT.new_zeros(like_BT.shape), terms={})

    def rows(self, index: Tensor) -> Self:
        return replace(
            self,
            advantages_BT=self.advantages_BT[index],
            terms={name: term.rows(index) for name, term in self.terms.items()},
            given={name: value[index] for name, value in self.given.items()},
            evidence_BT=None if self.evidence_BT is None else self.evidence_BT[index],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """Some rows of an update, seen through the policy with gradient."""

    logps_BT: Tensor
    """The policy now, at the sampling temperature; 0 at padding."""
    entropy_BT: Tensor
    old_logps_BT: Tensor
    """The policy at the start of the step, by the trainer; detached."""
    rollouts: RolloutBatch
    credit: Credit
    heads: Mapping[str, Tensor] = field(default_factory=dict)
    """Outputs of token heads, [B, T], with gradient."""
    divergences: Mapping[str, Tensor] = field(default_factory=dict)
    """By signal name, [B, T], with gradient; 0 where the row has no such context."""
    log_mismatch_B: Tensor | None = None
    """Log of the weight that corrects rollout/trainer mismatch, of each whole response; None where nothing is corrected."""

    def __post_init__(self) -> None:
        B, T = self.logps_BT.shape
        _check(self, {"B": B, "T": T})


@dataclass(frozen=True, slots=True, kw_only=True)
class Representations:
    """The rows of one update as they see each other; leaves whose gradient the engine replays."""

    embeddings_NH: Tensor | None
    """With gradient, if `Pooling.gradient`; rows without a response are zero."""
    sequence_logps_N: Tensor | None
    """Summed log-prob of each response, with gradient, if asked for."""
    heads: Mapping[str, nn.Module] = field(default_factory=dict)
    """The objective's rollout heads, to be called on embeddings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InBatchTerm:
    """A loss over rows that see each other, already a mean over its own anchors."""

    loss: Tensor
    """Scalar."""
    coef: float = 1.0
    anchors: int = 0
    """How many rows the mean ran over; 0 makes the loss an exact zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A small float32 module of the objective's own, trained beside the policy with its own AdamW."""

    module: nn.Module
    kind: Literal["token", "rollout"]
    """token: hidden states at response positions to one number each. rollout: embeddings to embeddings."""
    trunk: bool = False
    """Whether the gradient of a token head's loss reaches the policy. For rollout heads `Pooling.gradient` says so."""
    lr: float = 1e-3
    weight_decay: float = 0.01
