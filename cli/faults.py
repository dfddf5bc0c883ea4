"""Failures of an objective that a user wrote: told with the line of their file, not with a stack of ours."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlzoo.errors import ObjectiveFault, RlzooError


@contextmanager
def named(name: str, base: str | tuple[str, ...] | None = None) -> Iterator[None]:
    """Whatever the objective raises becomes an ObjectiveFault that says where to look; all else passes."""
    try:
        yield
    except ObjectiveFault as error:
        error.args = (f"{error}\nSee {_at_fault(name, base, error)}",)
        raise
    except RlzooError:
        raise
    except (Exception, SystemExit) as error:
        where = _at_fault(name, base, error)
        if not where:
            raise
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ObjectiveFault(
            f"objective {name!r} failed: {said}\nSee {where}, or try `rlzoo check objective`."
        ) from error


def _at_fault(name: str, base: str | tuple[str, ...] | None, error: BaseException) -> str:
    """file:line of the objective's code that an error leads to; empty for one that never passed through a user's objective."""
    import rlzoo
    from rlzoo import registry
    from rlzoo.objective import locate_fault

    where = locate_fault(registry.objective_class(name, base), error)
    file = str(Path(where.rpartition(":")[0]).resolve())
    theirs = not Path(file).is_relative_to((Path(rlzoo.__file__).parent / "algorithms").resolve())
    passed = any(str(Path(frame.filename).resolve()) == file for frame in traceback.extract_tb(error.__traceback__))
    return where if isinstance(error, ObjectiveFault) or (theirs and passed) else ""
