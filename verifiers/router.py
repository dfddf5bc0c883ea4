"""The verifier for a problem by where it comes from: its `data_source`, else its domain.

`metadata["routes"]` (the setting `verifier.routes`) maps patterns to verifiers and is tried before the table of
`rlzoo/data/origins.py`. The loader gives rows of mixed files their verifiers by itself; this one is for routes of one's own.
"""

from collections.abc import Mapping
from typing import Any

from rlzoo import registry
from rlzoo.data.origins import ROUTES, by_origin
from rlzoo.errors import did_you_mean
from rlzoo.types import Problem, Verdict


def route(problem: Problem) -> str:
    """The name of the problem's verifier. ValueError where nothing matches."""
    routes: Mapping[str, Any] = problem.metadata.get("routes") or {}
    origins = [str(problem.metadata.get("data_source") or ""), problem.domain]
    for table in (routes, ROUTES):
        verifier = by_origin(origins, {pattern: name for pattern, name in table.items() if name != "router"})
        if verifier is not None:
            return verifier
    raise ValueError(
        f"problem {problem.id!r} of data_source {origins[0]!r} and domain {origins[1]!r} has no route to a verifier. "
        f"Set verifier.routes, for example --set 'verifier.routes={{\"{origins[0] or origins[1]}\": maths}}'. "
        f"{did_you_mean(origins[1], registry.verifiers.names())}"
    )


def verify(problem: Problem, response: str) -> Verdict:
    """As the verifier judges that the problem is routed to."""
    return registry.verifiers.load(route(problem))(problem, response)


def _ask(problem: Problem, attribute: str, *arguments: Any) -> Any:
    """What the routed verifier's own `attribute` says; None where it has none."""
    function = getattr(registry.verifiers.load(route(problem)), attribute, None)
    return None if function is None else function(problem, *arguments)


def loads(problem: Problem) -> tuple[str, ...]:
    """What the routed verifier loads."""
    try:
        return tuple(_ask(problem, "loads") or ())
    except (ValueError, LookupError):
        return ()


def extract(problem: Problem, response: str) -> str | None:
    """What the routed verifier extracts."""
    found: str | None = _ask(problem, "extract", response)
    return found


def gold_fault(problem: Problem) -> str | None:
    """What the routed verifier says of the problem's answer; or that there is no route."""
    try:
        fault: str | None = _ask(problem, "gold_fault")
    except (ValueError, LookupError) as error:
        return str(error)
    return fault


def runs_programs(problem: Problem) -> bool:
    """Whether the routed verifier runs what responses hold."""
    try:
        return bool(_ask(problem, "runs_programs"))
    except (ValueError, LookupError):
        return False


verify.runs_programs = runs_programs  # type: ignore[attr-defined]
verify.loads = loads  # type: ignore[attr-defined]
verify.extract = extract  # type: ignore[attr-defined]
verify.gold_fault = gold_fault  # type: ignore[attr-defined]
