"""All checks, in the order in which a report lists them."""

from __future__ import annotations

from collections.abc import Mapping

from rlzoo.evals.validity.as_planned import identity, one_arm, one_code
from rlzoo.evals.validity.collapse import collapse
from rlzoo.evals.validity.differences import beyond_the_objective
from rlzoo.evals.validity.health import errors, evidence, headroom, overlap, truncation
from rlzoo.evals.validity.presence import finished, paired
from rlzoo.evals.validity.result import CheckResult, Grid
from rlzoo.evals.validity.sharing import DECODING, SHARED, final_checkpoint, same_setting, shared, starts, suites
from rlzoo.evals.validity.spending import budget
from rlzoo.runs.comparison import ComparisonRefused, ComparisonSpec


def examine(
    spec: ComparisonSpec, everything: Grid, grid: Grid, collapsed: Mapping[tuple[str, int], str], *, strict: bool
) -> list[CheckResult]:
    """All checks. `everything` holds all runs, `grid` those that take part. ComparisonRefused where a number would mean nothing."""
    findings = [
        finished(everything),
        identity(spec, everything),
        paired(spec, everything, grid),
        *(shared(grid, check, keys) for check, keys in SHARED),
        one_code(grid),
        same_setting(grid, "decoding", lambda key: key.startswith(DECODING)),
        same_setting(grid, "precision and adapters", lambda key: key == "model.dtype" or key.startswith("lora.")),
        suites(grid),
        starts(grid),
        final_checkpoint(grid),
        budget(grid),
        beyond_the_objective(spec, grid),
        one_arm(grid),
        collapse(collapsed),
        truncation(grid),
        errors(grid),
        evidence(grid),
        overlap(grid),
        headroom(spec, grid),
    ]
    refused = [
        finding
        for finding in findings
        if finding.level == "refuse" or (strict and finding.about_settings and finding.level == "flag")
    ]
    if refused:
        lines = [f"  {finding.check}: {'; '.join([finding.text, *finding.details])}" for finding in refused]
        why = "--strict was given, and " if strict and all(finding.about_settings for finding in refused) else ""
        raise ComparisonRefused(
            f"{why}these runs differ in more than the objective, so their difference would have two causes:\n"
            + "\n".join(lines)
            + "\nRun them again alike, or leave runs out."
        )
    return findings
