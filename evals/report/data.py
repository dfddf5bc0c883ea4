"""A comparison as plain data: what report.json holds, and what the HTML file carries along. Fractions, not percent."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rlzoo import trouble
from rlzoo.evals.analysis import Comparison
from rlzoo.evals.judgement import ArmVerdict, Judgement
from rlzoo.evals.records import Record
from rlzoo.evals.report import curves, setup
from rlzoo.evals.validity import spending
from rlzoo.evals.wording import sentence

SCHEMA = 1


def comparison(found: Comparison) -> dict[str, Any]:
    spec = found.spec
    return {
        "schema": SCHEMA,
        "heading": found.heading(),
        "verdict_lines": found.verdict_lines(),
        "baseline": spec.baseline,
        "seeds": list(spec.seeds),
        "margin_points": spec.margin,
        "recipe": spec.recipe,
        "command": spec.command,
        "budget": dict(spec.budget),
        "setup": dict(setup.entries(found)),
        "equalised": spending.equalised(found.grid),
        "arms": [asdict(arm) for arm in spec.arms],
        "verdicts": [verdict(each, spec.margin) for each in found.verdicts],
        "starts": [verdict(each, spec.margin) for each in found.starts],
        "validity": [asdict(finding) for finding in found.findings],
        "outcome": [_intervals(asdict(cell)) for cell in found.cells],
        "saturated": dict(found.saturated),
        "collapsed": [{"arm": arm, "seed": seed, "why": why} for (arm, seed), why in found.collapsed.items()],
        "differing": {
            arm: {key: {"baseline": usual, "arm": own} for key, (usual, own) in keys.items()}
            for arm, keys in found.differing.items()
        },
        "runs": [run(record) for seeds in found.records.values() for record in seeds.values()],
    }


def verdict(each: ArmVerdict, margin: float) -> dict[str, Any]:
    return {
        "arm": each.arm,
        "against": each.against,
        "control": each.control,
        "sentence": sentence(each, margin),
        "seeds": list(each.seeds),
        "correlation": each.correlation,
        "objective_over_seeds": judgement(each.judgement),
        "without_collapsed": {"seeds_left_out": list(each.collapsed), **judgement(each.without)}
        if each.without
        else None,
        "checkpoints_over_problems": asdict(each.checkpoints) if each.checkpoints else None,
    }


def judgement(each: Judgement) -> dict[str, Any]:
    return _intervals(asdict(each)) | {"word": each.word}


def _intervals(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in fields.items()}


def run(record: Record) -> dict[str, Any]:
    """One run: what it scored, what it spent, and its curve."""
    if record.left_out:
        return {"arm": record.arm, "seed": record.seed, "state": record.state, "left_out": record.left_out}
    late = {name: value for name in curves.HEALTH if (value := record.late(name)) is not None}
    spent = {name: value for name in curves.COST if (value := record.last(name)) is not None}
    return {
        "arm": record.arm,
        "seed": record.seed,
        "state": record.state,
        "left_out": None,
        "steps": record.steps,
        "final_is_step_0": not record.trained,
        "remarks": list(record.remarks),
        "warnings": trouble.standing(record.metrics),
        "evaluations": [
            {"step": step, "pass@1": {domain: asdict(score) for domain, score in scores.items()}}
            for step, scores in record.scored.items()
        ],
        "spent": {"steps": record.steps, **spent, "evaluation_seconds": record.eval_seconds},
        "late": late,
        "curve": curves.training(record),
        "test_curve": [
            {"step": step, "pass@1": {domain: score.value for domain, score in scores.items()}}
            for step, scores in record.curve.items()
        ],
        "provenance": record.provenance.as_data() if record.provenance is not None else None,
    }
