"""One run as a comparison sees it: settings, evaluations, metrics, and by what rule it is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from rlzoo import configure
from rlzoo.errors import ConfigError, DataError, RlzooError
from rlzoo.evals import evaluations
from rlzoo.evals.evaluations import MACRO
from rlzoo.evals.passk import Estimate
from rlzoo.runs.comparison import ComparisonSpec, run_name
from rlzoo.runs.evaluation import Evaluation
from rlzoo.runs.folder import RunDir, RunStatus
from rlzoo.runs.identity import Provenance, settings_digest

DAMAGES = (RlzooError, ValueError, TypeError, KeyError, AttributeError, OSError)
"""What reading a damaged file raises."""
LATE = 0.1
"""Share of a run's last steps over which health is averaged."""
LATE_AT_LEAST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What one run left on disk. `left_out` says why it takes no part; nothing of it is then averaged."""

    arm: str
    seed: int
    run: RunDir
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Leaves of its config, by dotted path."""
    provenance: Provenance | None = None
    state: str = "missing"
    metrics: tuple[Mapping[str, float], ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    """On test problems, by step."""
    scored: Mapping[int, Mapping[str, Estimate]] = field(default_factory=dict)
    """pass@1 of every evaluation: by step, by domain and over domains, with errors over problems."""
    curve: Mapping[int, Mapping[str, Estimate]] = field(default_factory=dict)
    """pass@1 on the few test problems of a curve, by step and by domain; for looking at, never for a verdict."""
    eval_seconds: float = 0.0
    """Of all evaluations, the curve's and validation's too."""
    foreign: tuple[str, ...] = ()
    """By what it is another run than the one its place is for; it then takes no part."""
    left_out: str | None = None
    remarks: tuple[str, ...] = ()
    """What is odd about its files, though it takes part."""

    @property
    def name(self) -> str:
        return run_name(self.arm, self.seed)

    @property
    def origin(self) -> Provenance:
        """The provenance of a run that takes part: one without is left out."""
        assert self.provenance is not None
        return self.provenance

    @property
    def start(self) -> Evaluation | None:
        """The evaluation before training, if there was one."""
        return self.evaluations[0] if self.evaluations and self.evaluations[0].step == 0 else None

    @property
    def final(self) -> Evaluation:
        """The last evaluation; of a run that trains nothing, the one before training."""
        return self.evaluations[-1]

    @property
    def trained(self) -> bool:
        return bool(self.metrics)

    @property
    def steps(self) -> int:
        return int(self.metrics[-1]["step"]) if self.metrics else 0

    def scores(self, evaluation: Evaluation) -> Mapping[str, Estimate]:
        """pass@1 of one of its evaluations."""
        return self.scored[evaluation.step]

    def series(self, name: str) -> list[tuple[int, float]]:
        """A metric by step, where it was recorded."""
        return [(int(line["step"]), float(line[name])) for line in self.metrics if name in line]

    def last(self, name: str) -> float | None:
        """A running total at the end; None if it was never recorded."""
        found = self.series(name)
        return found[-1][1] if found else None

    def late(self, name: str, default: float | None = None) -> float | None:
        """Mean of a metric over the last tenth of the steps, at least five; `default` where a step does not hold it."""
        return _mean(last(self.metrics), name, default)

    def early(self, name: str) -> float | None:
        """Mean of a metric over the first steps, as many as `late` takes."""
        return _mean(self.metrics[: max(LATE_AT_LEAST, round(LATE * len(self.metrics)))], name, None)

    @property
    def final_macro(self) -> float:
        return self.scores(self.final)[MACRO].value


def last(lines: Sequence[Mapping[str, float]]) -> Sequence[Mapping[str, float]]:
    """The last tenth, at least five."""
    return lines[-max(LATE_AT_LEAST, round(LATE * len(lines))) :]


def _mean(lines: Sequence[Mapping[str, float]], name: str, default: float | None) -> float | None:
    values = [value for line in lines if (value := line.get(name, default)) is not None]
    return fmean(values) if values else None


def read(spec: ComparisonSpec, arm: str, seed: int, run: RunDir) -> Record:
    """Read a run. What cannot take part says why, in `left_out`; nothing is raised."""
    known: dict[str, Any] = {"arm": arm, "seed": seed, "run": run}
    if not run.exists():
        return Record(**known, left_out="it is missing: no run was started")
    try:
        _fill(known, run)
        status = run.status()
    except DAMAGES as error:
        return Record(**known, left_out=f"it cannot be read: {error}")
    found = Record(**known, remarks=tuple(_remarks(run)))
    found = replace(found, foreign=tuple(_foreign(spec, found)))
    return replace(found, left_out=_unfinished(found, status) or _misplaced(found))


def alone(run: RunDir) -> Record:
    """A run by itself, in whatever state; raises one of DAMAGES where its files are damaged."""
    known: dict[str, Any] = {"run": run}
    _fill(known, run)
    seed = known["settings"].get("seed")
    known |= {"arm": str(known["settings"].get("objective.name", "run")), "seed": seed if isinstance(seed, int) else 0}
    return Record(**known, remarks=tuple(_remarks(run)))


def _fill(known: dict[str, Any], run: RunDir) -> None:
    """What the run's files hold, entry by entry, so that what was read before a damaged one stays known."""
    known["settings"] = dict(configure.flatten(run.settings()))
    known["provenance"] = run.provenance()
    known["state"] = run.status().state
    known["metrics"] = tuple(run.metrics())
    everything = run.evaluations()
    known["evaluations"] = tuple(evaluations.on(everything, "test"))
    _check_problems(known["evaluations"])
    known["scored"] = {found.step: evaluations.pass_at_1(found) for found in known["evaluations"]}
    known["curve"] = {found.step: evaluations.pass_at_1(found) for found in evaluations.curve(everything)}
    known["eval_seconds"] = sum(found.seconds for found in everything)


def _check_problems(found: Sequence[Evaluation]) -> None:
    """DataError where evaluations of one suite hold different problems: pairing them would fail, or lie."""
    first: dict[str, Evaluation] = {}
    for each in found:
        other = first.setdefault(each.suite, each)
        if lacking := evaluations.problems(other) ^ evaluations.problems(each):
            raise DataError(
                f"the evaluations of steps {other.step} and {each.step} name the same suite {each.suite}, but {len(lacking)} of all problems stand "
                f"in only one of them, as {min(lacking)[1]!r}: evals.jsonl was changed since."
            )


def _unfinished(record: Record, status: RunStatus) -> str | None:
    if record.state != "done":
        where = f" at step {status.step}" if status.step is not None else f" after step {record.steps}"
        return f"it did not finish: {record.state}{where}{f' ({status.reason})' if status.reason else ''}"
    if record.provenance is None:
        return "it holds no provenance.json, so nothing says what made it"
    if not record.evaluations:
        return "it holds no evaluation on test problems"
    if record.final.step != record.steps:
        return f"its last evaluation is of step {record.final.step}, but it trained to step {record.steps}"
    return None


def _misplaced(record: Record) -> str | None:
    return f"it is another run than its folder's name says: {'; '.join(record.foreign)}" if record.foreign else None


def _foreign(spec: ComparisonSpec, record: Record) -> Iterator[str]:
    """By what the run is not the one that the comparison has at this place."""
    digest = settings_digest(record.run.settings())
    planned = spec.settings.get(record.name) if spec.settings is not None else digest
    if record.settings.get("seed") != record.seed:
        yield f"its seed is {record.settings.get('seed')}"
    elif planned != digest:
        yield "its settings are not those that were planned"
    arm = next(each for each in spec.arms if each.name == record.arm)
    if planned != digest or spec.settings is None:
        yield from _other_assignments(arm.assignments, record.settings)
    if record.provenance is not None and record.provenance.settings != digest:
        yield "its provenance.json is of a run with other settings than its config.yaml"
    if others := {found.seed for found in record.evaluations} - {record.settings.get("seed")}:
        yield f"its evaluations are of seed {', '.join(map(str, sorted(others)))}"


def _other_assignments(assignments: Sequence[str], settings: Mapping[str, Any]) -> Iterator[str]:
    for text in assignments:
        try:
            wanted = configure.flatten(configure.parse_assignment(text))
        except ConfigError:
            continue  # compare.json was changed by hand; the settings' digest has said so
        for path, value in wanted:
            if settings.get(path) != value:
                yield f"{path} is {settings.get(path)!r}, planned {value!r}"


def _remarks(run: RunDir) -> list[str]:
    return [
        f"{file.name} ends in half a line, which was left out"
        for file in (run.metrics_file, run.evals_file)
        if file.exists() and file.stat().st_size and not file.read_bytes().endswith(b"\n")
    ]
