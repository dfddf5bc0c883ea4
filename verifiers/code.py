"""Python written by the policy, run against hidden tests in a sandbox.

The program's process knows the inputs of its tests and never what is expected of it. What it writes is compared here, as
data; nothing that it writes is read for marks such as "passed".
"""

import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from rlzoo.data.tests_form import is_form
from rlzoo.types import Problem, Verdict
from rlzoo.verifier import SandboxSettings, Verifier, VerifierConfig
from rlzoo.verifiers.code_tests import Fault, Tests, over, read_tests, same_output, same_result
from rlzoo.verifiers.programs import Wanted, program_in
from rlzoo.verifiers.sandbox import values
from rlzoo.verifiers.sandbox.client import Outcome, ProgramRun
from rlzoo.verifiers.sandbox.levels import opened

LONGEST = 65_536
"""Characters of a program; longer ones are wrong unread."""
LONGEST_EXPRESSION = 10_000


class Code(Verifier[VerifierConfig]):
    """Correct if the program passes every test of `metadata["tests"]`."""

    name = "code"
    version = 4

    def judge(self, problem: Problem, response: str) -> Verdict:
        tests = read_tests_of(problem)
        sandbox = self.context.sandbox
        if sandbox.url is None:
            opened(sandbox)  # refuses before anything is judged, and is ready when a first program comes
        program = program_in(response, wanted_by(problem.metadata))
        if program is None:
            return Verdict(
                status="unparsed", reason="no program: none in a block of Python, and the response is none itself"
            )
        fault = run(program, tests, sandbox)
        if fault is None:
            count = len(tests.inputs) or "its"
            return Verdict(status="correct", reward=1.0, reason=f"passes {count} tests", extracted=program)
        return Verdict(status=fault.status, reason=fault.reason, extracted=program, starved=fault.starved)

    def extract(self, problem: Problem, response: str) -> str | None:
        try:
            return program_in(response, wanted_by(problem.metadata))
        except ValueError:  # of the tests, which `judge` tells
            return None

    def gold_fault(self, problem: Problem) -> str | None:
        """Also why the problem's own solution fails."""
        try:
            tests = read_tests(problem.metadata)
        except ValueError as error:
            return str(error)[:300]
        if tests.source:
            from rlzoo.verifiers.code_pytest import refusal

            why = refusal(tests.source, check=tests.kind == "check")
            if why is not None:
                return f"the suite {why}"
        program = (
            program_in(problem.solution, wanted_by(problem.metadata)) or problem.solution if problem.solution else None
        )
        if program is None:
            return None
        fault = run(program, tests, self.context.sandbox)
        return f"its own solution fails: {fault.reason}" if fault else None

    def runs_programs(self, problem: Problem) -> bool:
        return True


def read_tests_of(problem: Problem) -> Tests:
    """The problem's tests; ValueError that names the problem where they cannot be used."""
    try:
        return read_tests(problem.metadata)
    except ValueError as error:
        raise ValueError(f"problem {problem.id!r}: {error}. Give it other metadata.tests.") from error


def wanted_by(metadata: Mapping[str, Any]) -> Wanted:
    """What the tests call, by name; RowFault for tests that cannot be used."""
    raw = metadata.get("tests")
    if is_form(raw) and raw["kind"] in {"stdio", "call"}:  # without reading what may be megabytes of cases
        return Wanted(names=(raw["fn_name"],)) if raw["kind"] == "call" else Wanted()
    tests = read_tests(metadata)
    if tests.source:
        from rlzoo.verifiers.code_pytest import called

        return Wanted(names=called(tests.source, tests.kind == "check"))
    if tests.kind == "script":
        return Wanted()
    return Wanted(names=(tests.entry,), expression=tests.kind == "expression")


def run(program: str, tests: Tests, settings: SandboxSettings) -> Fault | None:
    """Why the program fails; None if it passes every test. SandboxFault where the sandbox itself fails."""
    longest = LONGEST_EXPRESSION if tests.kind == "expression" else LONGEST
    if len(program) > longest:
        return Fault("wrong", f"program of {len(program)} characters; the limit is {longest}")
    try:
        program.encode()
    except UnicodeEncodeError:
        return Fault("wrong", "SyntaxError: the program holds characters that no file can")
    if tests.source:
        if settings.url is not None:
            raise ValueError("pytest-style suites talk to the program while it runs, which SandboxFusion cannot offer")
        from rlzoo.verifiers import code_pytest

        return code_pytest.run(program, tests, settings)
    return _run_scripts(program, tests, settings) if tests.kind == "script" else _run_calls(program, tests, settings)


def _run_calls(program: str, tests: Tests, settings: SandboxSettings) -> Fault | None:
    """All calls in one process, their results compared in order."""
    work = {
        "mode": tests.kind,
        "program": program,
        "entry": tests.entry,
        "inputs": list(tests.inputs),
        "prelude": tests.prelude,
    }
    outcome = _run(settings, _job(work, settings, settings.wall_s, tests))
    results = _results(outcome.results)
    named = "f" if tests.kind == "expression" else tests.entry
    compare = values.same if tests.kind == "expression" else partial(same_result, equality=tests.equality)
    for packed, expected in zip(tests.inputs, tests.expected, strict=True):
        at = f"{named}({', '.join(values.short(value) for value in values.unpack(packed))})"
        result = next(results, None)
        if result is None:
            return _ending(outcome, settings) or Fault("wrong", f"no result at {at}")
        if "error" in result or "load" in result:
            return Fault("wrong", _error(result, f" at {at}"))
        try:
            value = values.unpack(result["value"])
        except (KeyError, values.Malformed) as error:
            return Fault("wrong", f"no value at {at}: {error}")
        if not compare(value, expected) and not (tests.wrapped and compare(value, [expected])):
            return Fault("wrong", f"{at} is {values.short(value)}, expected {values.short(expected)}"[:300])
    return None


def _run_scripts(program: str, tests: Tests, settings: SandboxSettings) -> Fault | None:
    """One run a test, up to the first that fails; the wall limit is for all of them."""
    deadline, used_s = time.monotonic() + settings.wall_s, 0.0
    work = {"mode": "script", "program": program}
    for number, (text, expected) in enumerate(zip(tests.inputs, tests.expected, strict=True), 1):
        left = deadline - time.monotonic()
        if left <= 0:
            return over(settings.wall_s, used_s, f" at test {number}")
        outcome = _run(settings, _job(work, settings, left, tests, text.encode()))
        if outcome.end != "exit" or outcome.code != 0:
            result = next(_results(outcome.results), None)
            if outcome.end == "exit" and result is not None:
                return Fault("wrong", _error(result, f" at test {number}"))
            return _ending(outcome, settings, used_s) or Fault("wrong", f"exit code {outcome.code} at test {number}")
        used_s += outcome.processor_s
        found = outcome.stdout.decode(errors="replace")
        if not same_output(found, expected, tests.tolerance):
            return Fault(
                "wrong", f"writes {values.short(found[:200])} at test {number}, expected {values.short(expected[:200])}"
            )
    return None


def _run(settings: SandboxSettings, job: ProgramRun) -> Outcome:
    if settings.url is None:
        return opened(settings).run(job)
    from rlzoo.verifiers.sandbox import fusion

    return fusion.run(settings.url, job)


def _job(
    work: dict[str, Any], settings: SandboxSettings, wall_s: float, tests: Tests, stdin: bytes = b""
) -> ProgramRun:
    return ProgramRun(work=work, stdin=stdin, wall_s=wall_s, memory_mb=settings.memory_mb, grants=tests.grants)


def _results(lines: bytes) -> Iterator[dict[str, Any]]:
    """The result lines, up to the first that is none."""
    for line in lines.split(b"\n"):
        try:
            result = values.load_json(line)
        except values.Malformed:
            return
        if not isinstance(result, dict):
            return
        yield result


def _error(result: dict[str, Any], at: str) -> str:
    """`Type at f(x): text`, from whatever a program put in its place."""
    told = result.get("error") or result.get("load")
    kind, text = told if isinstance(told, list) and len(told) == 2 else ("error", "")
    return f"{str(kind)[:60]}{'' if 'load' in result else at}: {str(text)[:80]}".replace("\n", " ")


def _ending(outcome: Outcome, settings: SandboxSettings, before_s: float = 0.0) -> Fault | None:
    """What limit or signal ended the program; None if it ended by itself. `before_s`: processor time of earlier runs."""
    if outcome.end == "wall":
        return over(settings.wall_s, outcome.processor_s + before_s)
    if outcome.end == "memory":
        return Fault("wrong", f"over the memory limit of {settings.memory_mb} MiB")
    if outcome.end == "output":
        return Fault("wrong", "writes more than the limit")
    if outcome.end == "signal":
        return Fault("wrong", f"ended by signal {outcome.code}")
    return None
