"""What an objective may ask of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rlzoo.types.rollouts import Message


@dataclass(frozen=True, slots=True)
class CurrentWeights:
    """The weights being trained, as they stand at the start of the step."""


@dataclass(frozen=True, slots=True)
class Initial:
    """The weights the run started from: the usual reference policy."""


@dataclass(frozen=True, slots=True)
class Ema:
    """A running average of the trained weights, updated after each step."""

    decay: float

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay is {self.decay}, expected a number in [0, 1)")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of the trained weights, taken again every so many steps."""

    every: int

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every is {self.every}, expected at least 1 step")


@dataclass(frozen=True, slots=True)
class Previous:
    """The weights as they stood at the start of the step before; at the first step, the present ones."""


@dataclass(frozen=True, slots=True)
class OtherModel:
    """Another model, which is not trained. It reads the same tokens, so its tokenizer must number them as the policy's does."""

    path: str
    """As `model.path`: a folder made by save_pretrained, a hub name, or an embedded model."""


Weights = CurrentWeights | Initial | Ema | Snapshot | Previous | OtherModel


def weights_label(weights: Weights) -> str:
    """Whose weights, in words for people."""
    if isinstance(weights, OtherModel):
        return f"another model ({weights.path or 'not named yet'})"
    return f"{type(weights).__name__.removesuffix('Weights').lower()} weights"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """Per-token log-probs of the same responses under other weights or another context."""

    name: str
    weights: Weights = field(default_factory=CurrentWeights)
    rows: Literal["all", "credited"] = "all"
    """`credited`: only rows of groups whose judged rewards differ, where credit can be other than zero."""


@dataclass(frozen=True, slots=True)
class Insert:
    """Text placed between the generation header and the response, tokenised without special tokens; then tokens as sampled.

    `Insert("")` is the prompt as it was."""

    text: str
    tokens: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Another prompt for the same response."""

    messages: tuple[Message, ...]


Context = Insert | Rewrite | None
"""None: this row has no such context; its signal is masked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooling:
    """Which embedding of a rollout: hidden states after the final norm, at the response's own positions."""

    layer: int = -1
    """-1 is the last layer, after the final norm; other layers are taken as they are."""
    pool: Literal["mean", "last"] = "mean"
    gradient: bool = True
    """True: `in_batch_losses` sees embeddings of the current weights and its gradient reaches the policy.
    False: it sees the step's embeddings as constants, and only heads learn from it."""


@dataclass(frozen=True, slots=True)
class Full:
    """Every entry of the vocabulary."""


@dataclass(frozen=True, slots=True)
class StudentTopK:
    """The student's k likeliest tokens; with `tail`, one bucket holds the rest."""

    k: int
    tail: bool = True


@dataclass(frozen=True, slots=True)
class TeacherTopK:
    """The teacher's k likeliest tokens, renormalised on both sides; with `tail`, one bucket holds the rest instead."""

    k: int
    tail: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """A per-token divergence between the policy and a signal's distribution, with gradient to the policy.

    forward: KL(teacher || student). reverse: KL(student || teacher).
    jsd: mix·KL(teacher || m) + (1 - mix)·KL(student || m) with m = (1 - mix)·student + mix·teacher.
    """

    signal: str
    kind: Literal["forward", "reverse", "jsd"] = "jsd"
    mix: float = 0.5
    temperature: float | None = None
    """What both logits are divided by; None = the sampling temperature, as for all log-probs."""
    support: Full | StudentTopK | TeacherTopK = field(default_factory=Full)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What an objective asks of the run at one step. The engine serves it once, shares it, charges it, or refuses."""

    signals: tuple[Signal, ...] = ()
    divergences: tuple[Divergence, ...] = ()
    embeddings: Pooling | None = None
    sequence_logps: bool = False
    """`in_batch_losses` sees each row's summed log-prob, with gradient."""
    old_logps: bool = False
    """Credit itself reads `old_logps_BT`. Losses have them anyway."""
    entropy: bool = False
    """Credit reads `entropy_BT`."""
    heads_only: bool = False
    """The policy stands still at this step, and so does its optimizer: only heads learn."""
    domains: int = 1
    """How many domains the run's data must hold."""
    answers: bool = False
    """Every problem must carry its answer."""
    min_updates: int = 1
    """Optimizer updates a step below which the objective does nothing."""
    min_group: int = 1
    """Rollouts a prompt below which the objective does nothing."""
    rewards: Literal["any", "nonnegative", "share"] = "any"
    """What rewards must be, however they are shaped. share: between 0 and 1."""
    because: Mapping[str, str] = field(default_factory=dict)
    """For a refusal: why the objective needs it and what to set, by field name."""
