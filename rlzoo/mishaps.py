"""What a machine does to a program: a full disk, no memory, a file out of reach. Told as that, with what to do about it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rlzoo.errors import MachineFault, RlzooError

if TYPE_CHECKING:
    from rlzoo.config import RunConfig

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_OUT_OF_REACH = frozenset(
    getattr(errno, name)
    for name in ("EIO", "EROFS", "ESTALE", "EMFILE", "ENFILE", "EAGAIN", "ENODEV", "ENXIO", "EACCES", "EPERM")
)
"""Not that a file is missing: that may be the mistake of whoever wrote its name."""
_FULL_TEXTS = (*(f"(os error {number})" for number in _FULL), "inline_container.cc", "PytorchStreamWriter")
"""Of libraries whose errors carry no number: safetensors, and torch's writer, which fails where its file does."""
_MEMORY_TEXTS = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA out of memory",
    "can't start new thread",
)
_DOING = {
    "load": "loading the model",
    "sample": "sampling",
    "verify": "verifying",
    "score": "scoring rollouts",
    "update": "updating the policy",
    "publish": "handing the weights on",
    "diagnose": "measuring diagnostics",
    "evaluate": "evaluating",
    "save": "saving",
}
"""Stages of a run, in words."""
_LOADING = ("model.path", "model.dtype", "verifier.workers")
_DECODING = ("sampling.max_rows", "sampling.max_response", "sampling.max_prompt")
_TRAINING = ("learner.tokens_per_microbatch", "learner.logit_elements", "sampling.max_response")


def machine_fault(error: BaseException, config: RunConfig | None = None, stage: str = "") -> MachineFault | None:
    """The same failure as the machine's, in words; None where it is none. `stage`: what a run of `config` was doing."""
    while_doing = f" while {_DOING[stage]}" if stage in _DOING else ""
    for cause in _causes(error):
        if isinstance(cause, RlzooError):
            return None
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return MachineFault(_full(cause, while_doing))
        if isinstance(cause, MemoryError) or type(cause).__name__ == "OutOfMemoryError" or _says(cause, _MEMORY_TEXTS):
            return MachineFault(_memory(cause, while_doing, config, stage))
    for cause in _causes(error):
        if _says(cause, _FULL_TEXTS):
            return MachineFault(_full(cause, while_doing))
        if isinstance(cause, OSError) and cause.errno in _OUT_OF_REACH:
            return MachineFault(file_refused(cause, while_doing))
    return None


def file_refused(error: OSError, while_doing: str = "") -> str:
    """What kept a file from being used, in words."""
    where = f" ({error.filename})" if error.filename else ""
    return (
        f"the machine refused{while_doing}: {error.strerror or error}{where}. See that the path is there, that you may read and write it, "
        "and that its disk is well."
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, then what led to it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _says(error: BaseException, texts: tuple[str, ...]) -> bool:
    return not isinstance(error, RlzooError) and any(text in str(error) for text in texts)


def _full(error: BaseException, while_doing: str) -> str:
    why = (error.strerror if isinstance(error, OSError) else None) or _first_line(error)
    where = f", at {error.filename}" if isinstance(error, OSError) and error.filename else ""
    return (
        f"there was no room to write{while_doing}: {why}{where}. Free some space (or raise the quota or the limit on a file's size); fewer "
        "checkpoints need less of it (checkpoint.keep_last), as do fewer rollouts (log.rollouts_every)."
    )


def _memory(error: BaseException, while_doing: str, config: RunConfig | None, stage: str) -> str:
    names = {"load": _LOADING, "sample": _DECODING, "evaluate": _DECODING}.get(stage, _TRAINING)
    said = _first_line(error)
    return (
        f"memory ran out{while_doing}{f': {said}' if said else ''}. What takes it is set by {', '.join(_now(config, name) for name in names[:2])} "
        f"and {_now(config, names[2])}: start a run with smaller ones, or go on where more memory is free."
    )


def _now(config: RunConfig | None, name: str) -> str:
    if config is None:
        return name
    section, _, setting = name.partition(".")
    return f"{name} (now {getattr(getattr(config, section), setting)})"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200].rstrip(".") if lines else ""
