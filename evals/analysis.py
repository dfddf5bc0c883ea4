"""The verdict: what paired seeds say about each objective against the baseline, and how sure they are.

Two statements are kept apart. "These checkpoints differ on these problems" is paired over problems and holds for the
weights at hand. "The objective differs over seeds" is paired over seeds, and it alone earns a verdict's word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from rlzoo import trouble
from rlzoo.evals import passk, records, statistics
from rlzoo.evals.evaluations import MACRO, same_responses, scores
from rlzoo.evals.gather import Runs
from rlzoo.evals.judgement import START, ArmVerdict, Judgement, judge
from rlzoo.evals.passk import Estimate, Interval
from rlzoo.evals.records import Record
from rlzoo.evals.validity import checklist, collapse, differences, health, spending
from rlzoo.evals.validity.result import CheckResult, Grid
from rlzoo.evals.wording import sentence
from rlzoo.runs.comparison import AXES, ComparisonSpec
from rlzoo.runs.evaluation import Evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One arm in one domain, or over all of them."""

    arm: str
    domain: str
    start: float | None
    final: float
    final_interval: Interval | None
    """Over seeds, 95 %."""
    gain: float | None
    gain_interval: Interval | None
    versus: float | None
    """Against the baseline, paired over seeds."""
    versus_interval: Interval | None
    """95 %, not adjusted for the number of arms and domains."""
    seeds: int
    problems: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All that a report shows."""

    spec: ComparisonSpec
    records: Mapping[str, Mapping[int, Record]]
    """All runs, those left out too."""
    grid: Mapping[str, Mapping[int, Record]]
    """Runs that take part."""
    verdicts: tuple[ArmVerdict, ...]
    starts: tuple[ArmVerdict, ...]
    """Each arm's end against its own evaluation before training."""
    cells: tuple[Cell, ...]
    findings: tuple[CheckResult, ...]
    collapsed: Mapping[tuple[str, int], str]
    saturated: Mapping[str, str]
    differing: Mapping[str, Mapping[str, tuple[str, str]]]
    """Settings beside the objective's own, by arm: the baseline's value and its own."""

    @property
    def domains(self) -> list[str]:
        """In the order of the problems, the macro row last."""
        return [*list(dict.fromkeys(cell.domain for cell in self.cells if cell.domain != MACRO)), MACRO]

    @property
    def flags(self) -> list[CheckResult]:
        return [finding for finding in self.findings if finding.level != "green"]

    def verdict_lines(self) -> list[str]:
        """What a terminal shows at the end: verdicts, starts, and how many checks were flagged."""
        lines = [self.heading()]
        lines += [sentence(verdict, self.spec.margin) for verdict in self.verdicts]
        lines += [sentence(verdict, self.spec.margin) for verdict in self.starts]
        if self.flags:
            lines.append(
                f"validity: {len(self.flags)} of {len(self.findings)} checks flagged: {', '.join(f.check for f in self.flags)}"
            )
        else:
            lines.append(f"validity: all {len(self.findings)} checks passed")
        return lines

    def heading(self) -> str:
        """What was compared, in a line."""
        axes = ", ".join(AXES[axis].words for axis in spending.equalised(self.grid))
        domains = [domain for domain in self.domains if domain != MACRO]
        parts = [
            f"pass@1 over {', '.join(domains)}" if domains else "no run took part",
            _paired_seeds([len(verdict.seeds) for verdict in self.verdicts]),
            f"equal {axes}" if axes else "budgets not equal",
            f"margin {self.spec.margin:g} points",
        ]
        return " · ".join(parts)


def _paired_seeds(counts: Sequence[int]) -> str:
    """In words, of each arm's seeds that the baseline has too."""
    least, most = min(counts, default=0), max(counts, default=0)
    return f"{most if least == most else f'{least} to {most}'} paired seed{'s' * (most != 1)}"


def analyse(spec: ComparisonSpec, runs: Runs, *, strict: bool = False) -> Comparison:
    """Read the runs, check them, judge them. ComparisonRefused where their numbers would mean nothing.

    `strict` also refuses arms that differ in more than the objective. Reading changes no run.
    """
    everything = {
        arm: {seed: records.read(spec, arm, seed, run) for seed, run in runs.get(arm, {}).items()} for arm in spec.names
    }
    grid = {
        arm: {seed: record for seed, record in seeds.items() if record.left_out is None}
        for arm, seeds in everything.items()
    }
    collapsed = {
        (arm, seed): why
        for arm, seeds in grid.items()
        for seed, record in seeds.items()
        if (why := collapse.diagnose(record))
    }
    findings = checklist.examine(spec, everything, grid, collapsed, strict=strict)
    saturated = health.saturated(spec, grid)
    return Comparison(
        spec=spec,
        records=everything,
        grid=grid,
        verdicts=tuple(_against_baseline(spec, grid, collapsed, saturated)),
        starts=tuple(_against_start(spec, grid, saturated)),
        cells=tuple(_cells(spec, grid)),
        findings=tuple(findings),
        collapsed=collapsed,
        saturated=saturated,
        differing=differences.differing(spec, grid),
    )


Pair = tuple[Record, Evaluation, Record, Evaluation]
"""A run with one of its evaluations, and what it is held against."""


def _against_baseline(
    spec: ComparisonSpec, grid: Grid, collapsed: Mapping[tuple[str, int], str], saturated: Mapping[str, str]
) -> list[ArmVerdict]:
    base = grid.get(spec.baseline, {})
    pairs = {
        arm: [
            (record, record.final, base[seed], base[seed].final) for seed, record in grid[arm].items() if seed in base
        ]
        for arm in spec.names
        if arm != spec.baseline
    }
    fallen = {
        arm: tuple(
            pair[0].seed for pair in members if {(arm, pair[0].seed), (spec.baseline, pair[0].seed)} & collapsed.keys()
        )
        for arm, members in pairs.items()
    }
    upright = {arm: [pair for pair in members if pair[0].seed not in fallen[arm]] for arm, members in pairs.items()}
    whole, rest = _judge_families(spec, pairs, saturated), _judge_families(spec, upright, saturated)
    return [
        _verdict(
            spec,
            arm,
            spec.baseline,
            members,
            whole[arm],
            without=rest[arm] if fallen[arm] else None,
            collapsed=fallen[arm],
        )
        for arm, members in pairs.items()
    ]


def _against_start(spec: ComparisonSpec, grid: Grid, saturated: Mapping[str, str]) -> list[ArmVerdict]:
    pairs = {
        arm: [
            (r, r.final, r, r.start) for r in seeds.values() if r.start is not None and r.start.suite == r.final.suite
        ]
        for arm, seeds in grid.items()
        if any(record.trained for record in seeds.values())
    }
    judged = _judge_families(spec, pairs, saturated)
    return [_verdict(spec, arm, START, members, judged[arm]) for arm, members in pairs.items()]


def _judge_families(
    spec: ComparisonSpec, pairs: Mapping[str, Sequence[Pair]], saturated: Mapping[str, str]
) -> dict[str, Judgement]:
    """Arms that claim something are one family; controls are another, so that adding one costs the claims nothing."""
    claims = {arm: members for arm, members in pairs.items() if arm not in spec.controls}
    controls = {arm: members for arm, members in pairs.items() if arm in spec.controls}
    return _judge_family(spec, claims, saturated) | _judge_family(spec, controls, saturated)


def _judge_family(
    spec: ComparisonSpec, family: Mapping[str, Sequence[Pair]], saturated: Mapping[str, str]
) -> dict[str, Judgement]:
    return judge(
        {arm: [_gap(pair, MACRO) for pair in members] for arm, members in family.items()},
        margin=spec.margin / 100,
        identical={arm for arm, members in family.items() if all(same_responses(p[1], p[3]) for p in members)},
        equivalence={arm: _informative(members, saturated) for arm, members in family.items()} if saturated else None,
    )


def _gap(pair: Pair, domain: str) -> float:
    record, evaluation, other, against = pair
    return record.scores(evaluation)[domain].value - other.scores(against)[domain].value


def _informative(pairs: Sequence[Pair], saturated: Mapping[str, str]) -> list[float]:
    """Differences over the domains that leave room for one; empty if none does."""
    if not pairs:
        return []
    domains = [domain for domain in pairs[0][1].domains if domain not in saturated]
    return [fmean(_gap(pair, domain) for domain in domains) for pair in pairs] if domains else []


def _verdict(
    spec: ComparisonSpec,
    arm: str,
    against: str,
    pairs: Sequence[Pair],
    judgement: Judgement,
    *,
    without: Judgement | None = None,
    collapsed: tuple[int, ...] = (),
) -> ArmVerdict:
    if judgement.word == "identical" and not any(trouble.learned(r.metrics) for p in pairs for r in (p[0], p[2])):
        judgement = replace(judgement, because=f"{judgement.because}; no arm learned, for no step had a gradient")
    scored = [(own.scores(mine)[MACRO].value, other.scores(theirs)[MACRO].value) for own, mine, other, theirs in pairs]
    return ArmVerdict(
        arm=arm,
        against=against,
        control=arm in spec.controls,
        seeds=tuple(pair[0].seed for pair in pairs),
        judgement=judgement,
        correlation=statistics.correlation(scored),
        checkpoints=_checkpoints(pairs),
        without=without,
        collapsed=collapsed,
    )


def _checkpoints(pairs: Sequence[Pair]) -> Estimate | None:
    """The mean difference of these checkpoints, problem by problem, averaged over the seeds first."""
    if not pairs:
        return None
    domains = []
    for domain in pairs[0][1].domains:
        changes: dict[str, list[float]] = {}
        for _, evaluation, _, against in pairs:
            own, other = scores(evaluation, "pass@1", domain), scores(against, "pass@1", domain)
            for problem in own.keys() & other.keys():
                changes.setdefault(problem, []).append(own[problem] - other[problem])
        domains.append(passk.over_problems([fmean(values) for _, values in sorted(changes.items())]))
    return passk.macro(domains)


def _cells(spec: ComparisonSpec, grid: Grid) -> list[Cell]:
    base = grid.get(spec.baseline, {})
    cells = []
    for arm, seeds in grid.items():
        if not seeds:
            continue
        members = list(seeds.values())
        for domain, score in members[0].scores(members[0].final).items():
            finals = [record.scores(record.final)[domain].value for record in members]
            starts = [record.scores(record.start)[domain].value for record in members if record.start is not None]
            gains = [
                record.scores(record.final)[domain].value - record.scores(record.start)[domain].value
                for record in members
                if record.start is not None and record.trained
            ]
            versus = [
                _gap((record, record.final, base[record.seed], base[record.seed].final), domain)
                for record in members
                if record.seed in base and arm != spec.baseline
            ]
            cells.append(
                Cell(
                    arm=arm,
                    domain=domain,
                    start=fmean(starts) if starts else None,
                    final=fmean(finals),
                    final_interval=statistics.difference(finals).interval(),
                    gain=fmean(gains) if gains else None,
                    gain_interval=statistics.difference(gains).interval() if gains else None,
                    versus=fmean(versus) if versus else None,
                    versus_interval=statistics.difference(versus).interval() if versus else None,
                    seeds=len(members),
                    problems=score.problems,
                )
            )
    return cells
