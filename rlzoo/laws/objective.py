"""The contract every objective keeps, as laws that are tried on it: `rlzoo check objective` and the tests run the same ones.

Each law runs the objective on the toy policy through the real scorer and learner, in float64. A law that holds here can
still be broken by inputs that were not tried; what a law does not show stands in its docstring.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch.multiprocessing.spawn import ProcessRaisedException

from rlzoo import registry
from rlzoo.errors import RlzooError, UnknownName, did_you_mean
from rlzoo.laws import credit, form, gradient, idle_settings, steps
from rlzoo.laws.finding import Broken, Finding, Untried
from rlzoo.laws.lab import toy_config
from rlzoo.laws.subject import Subject
from rlzoo.objective import locate_fault

Law = Callable[[Subject], None]

LAWS: Mapping[str, Law] = {
    law.__name__.replace("_", "-"): law
    for law in (
        form.undeclared,
        form.returns,
        gradient.cut,
        gradient.skipping,
        gradient.ranks,
        gradient.padding,
        gradient.order,
        gradient.masked_tokens,
        gradient.at_ratio_one,
        gradient.off_policy,
        gradient.reinforce,
        gradient.finite_differences,
        credit.equal_groups,
        credit.unjudged,
        credit.lone_rollouts,
        credit.detached,
        credit.pure,
        form.needs,
        steps.state,
        steps.hidden_sizes,
        steps.empty_steps,
        steps.learns,
        idle_settings.settings,
    )
}
"""In the order in which they are tried: where the first two break, no other can tell anything."""

BY_DESIGN = frozenset(
    {"at-ratio-one", "off-policy", "reinforce", "finite-differences", "equal-groups", "lone-rollouts", "learns"}
)
"""Laws that some objectives cannot keep: those that learn from a teacher, or from pairs, or weigh a detached quantity."""


def check(section: Mapping[str, Any], only: Sequence[str] = ()) -> Iterator[Finding]:
    """Try every law (or those named) on the objective that `section` describes, one finding after another."""
    unknown = [name for name in only if name not in LAWS]
    if unknown:
        raise UnknownName(f"no law is called {unknown[0]!r}. {did_you_mean(unknown[0], LAWS)}")
    cls = registry.objective_class(section["name"], section.get("base"))
    toy_config(section)  # what is wrong with the settings is no broken law
    subject: Subject | None = None
    malformed = False
    for name, test in LAWS.items():
        if only and name not in only:
            continue
        statement = (test.__doc__ or "").splitlines()[0]
        if malformed:
            yield Finding(law=name, statement=statement, state="untried")
            continue
        if name in cls.exemptions:
            yield Finding(law=name, statement=statement, state="exempt", detail=cls.exemptions[name])
            continue
        try:
            subject = subject or Subject(section)
            test(subject)
        except Untried as reason:
            yield Finding(law=name, statement=statement, state="untried", detail=str(reason))
        except (Exception, SystemExit) as error:  # whatever the objective raises breaks the law that ran it
            malformed = name in ("undeclared", "returns")
            yield Finding(
                law=name,
                statement=statement,
                state="broken",
                detail=_said(error),
                where=locate_fault(cls, error.__cause__ or error, error.method if isinstance(error, Broken) else None),
            )
        else:
            yield Finding(law=name, statement=statement, state="holds")


def _said(error: BaseException) -> str:
    if isinstance(error, ProcessRaisedException):  # a traceback as text: its last line is what was said
        return str(error).strip().splitlines()[-1].strip()[:300]
    return _one_line(str(error) if isinstance(error, (RlzooError, Broken)) else f"{type(error).__name__}: {error}")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
