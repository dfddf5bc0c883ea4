"""Everything rlzoo raises on purpose, in one tree.

    RlzooError
    ├── UsageError            asked wrongly: exit code 2
    │   ├── ConfigError       (ValueError)    a setting is unknown, out of range or contradicts another
    │   ├── UnknownName       (LookupError)   no such objective, verifier, dataset, recipe
    │   ├── UnmetNeed         (ValueError)    the run cannot supply what its objective needs
    │   ├── UnfitModel        (ValueError)    no such model, no such device, or an architecture that cannot be trained here
    │   └── RunConflict       (FileExistsError)  an output folder holds something else
    └── RunError              failed while working: exit code 1
        ├── DataError         (ValueError)    rows that cannot be used
        ├── ModelError        (ValueError)    a model that cannot be read, or a tokenizer that cannot serve
        ├── ObjectiveFault    (RuntimeError)  an objective broke its contract
        ├── VerifierFault     (RuntimeError)  verification itself failed too often
        ├── SamplerFault      (RuntimeError)  what samples is gone, is another's, or has other weights than the learner
        ├── CheckpointError   (OSError)       no usable checkpoint
        ├── MachineFault      (OSError)       no room on the disk, no memory, a file out of reach
        ├── Diverged          (ArithmeticError)  losses or gradients that are not finite
        └── RankLost          (ConnectionError)  another of the processes that share the run has ended

A message has three parts: what is wrong with its value, why it matters, what to do instead.
Each error also derives from the builtin it specialises, so plain `except ValueError` keeps working.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class RlzooError(Exception):
    """Root of the tree. `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(RlzooError):
    """Asked wrongly: nothing was started and nothing was lost."""

    exit_code = 2


class ConfigError(UsageError, ValueError):
    """A setting is unknown, out of range, or contradicts another."""


class UnknownName(UsageError, LookupError):
    """A name that no registry holds."""


class UnmetNeed(UsageError, ValueError):
    """The run cannot supply what its objective declares it needs."""


class UnfitModel(UsageError, ValueError):
    """There is no such model, its device is not there, or its architecture cannot be trained here."""


class RunConflict(UsageError, FileExistsError):
    """An output folder holds something that must not be overwritten or mixed."""


class RunError(RlzooError):
    """Failed while working."""


class DataError(RunError, ValueError):
    """Rows that cannot be used."""


class ModelError(RunError, ValueError):
    """A model whose files cannot be read, or a tokenizer that cannot serve."""


class ObjectiveFault(RunError, RuntimeError):
    """An objective broke its contract: wrong shape, NaN, unknown term."""


class VerifierFault(RunError, RuntimeError):
    """Verification itself failed more often than allowed."""


class SamplerFault(RunError, RuntimeError):
    """What samples is gone, belongs to somebody else, or answers with other weights than those that are learned."""


class CheckpointError(RunError, OSError):
    """No usable checkpoint where one was asked for."""


class MachineFault(RunError, OSError):
    """The machine gave out: a full disk, no memory, a file that it may not touch."""


class Diverged(RunError, ArithmeticError):
    """Losses or gradients stopped being finite."""


class RankLost(RunError, ConnectionError):
    """Another of the processes that share the run has ended, or this one has, and another tells why."""

    def __init__(self, message: str, *, told_here: bool, exit_code: int = 1) -> None:
        super().__init__(message)
        self.told_here = told_here
        """Whether this process is the one that tells it."""
        self.exit_code = exit_code


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A guess at what was meant, then all that is known. One sentence or two, for the end of a message."""
    names = sorted(known)
    near = get_close_matches(name, names, n=9, cutoff=0.5)
    near.sort(key=lambda known_name: sorted(known_name) != sorted(name))  # of equally near ones, letters swapped first
    guess = f"Did you mean {near[0]!r}? " if near else ""
    return f"{guess}Known: {', '.join(names) or 'none'}."
