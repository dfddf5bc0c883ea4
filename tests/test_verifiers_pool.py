"""Judging in workers that can be killed."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rlzoo.data.procedural import code, logic, maths
from rlzoo.registry import build_verifier
from rlzoo.types import Problem
from rlzoo.verifier import SandboxSettings, VerifierContext
from rlzoo.verifiers import worker
from rlzoo.verifiers.pool import VerifierPool, _Workers
from rlzoo.verifiers.starting import worker_context
from rlzoo.verifiers.worker import Item
from tests.support import offspring

LIMIT_S = 0.5
Make = Callable[..., Item]


MOODY = """
import os, signal, sys, time
from pathlib import Path
from rlzoo.types import Verdict
from rlzoo.verifier import Verifier

class Moody(Verifier):
    "Does what the response says."
    name = "moody"

    def judge(self, problem, response):
        if response == "raise":
            raise KeyError("no such thing\\nsecond line")
        if response == "die":
            os._exit(3)
        if response == "sleep":
            time.sleep(60)
        if response == "fill":
            bytearray(4 * 2**30)
        if response == "torch":
            return Verdict(status="wrong", reason=str("torch" in sys.modules))
        if response == "sigint":
            os.kill(os.getpid(), signal.SIGINT)
        if response.startswith("die later "):
            os.system(f"(sleep 0.3; kill -9 {os.getpid()}) &")
        if response.startswith("once "):
            flag = Path(response.removeprefix("once "))
            if not flag.exists():
                flag.touch()
                os._exit(3)
        if response.startswith("starved "):
            tries = Path(response.removeprefix("starved "))
            with tries.open("a") as told:
                told.write("x")
            if len(tries.read_text()) == 1 or tries.name == "always":
                return Verdict(status="timeout", reason="over the limit", starved=True)
        return Verdict(status="correct", reward=1.0, reason=response)
"""


@pytest.fixture(scope="module")
def item(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Makes problems for a verifier that does what the response says."""
    file = tmp_path_factory.mktemp("moody") / "moody.py"
    file.write_text(MOODY)

    def make(response: str, verifier: str = f"{file}:Moody", id: str = "p") -> Item:
        return Problem(id=id, domain="d", messages=(), verifier=verifier), response

    return make


@pytest.fixture(scope="module")
def pool() -> Iterator[VerifierPool]:
    with VerifierPool(workers=1, timeout_s=LIMIT_S, memory_mb=512) as pool:
        yield pool


def test_order_is_kept(pool: VerifierPool, item: Make):
    words = [f"word {n}" for n in range(300)]
    assert [verdict.reason for verdict in pool.judge([item(word) for word in words])] == words
    assert pool.judge([]) == []


def test_the_embedded_problems(pool: VerifierPool):
    problems = [source.problem("train", n) for n in range(100) for source in (maths(), code(), logic())]
    verdicts = pool.judge([(problem, problem.solution or "") for problem in problems])
    assert all(verdict.correct for verdict in verdicts)


def test_a_hang_costs_its_own_limit_and_nothing_else(pool: VerifierPool, item: Make):
    program = code().problem("train", 0)
    pool.judge([item("start"), (program, "#x")])  # what workers import costs no response its time
    items = [item(f"before {n}") for n in range(70)] + [(program, "#9**9**9**9")] + [item("after")]
    start = time.monotonic()
    verdicts = pool.judge(items)
    assert time.monotonic() - start < 2 * LIMIT_S + 3  # on an idle machine 1.2 s
    assert verdicts[70].status == "timeout"
    assert verdicts[70].judged
    assert all(verdict.correct for at, verdict in enumerate(verdicts) if at != 70)


def test_a_lost_worker_is_an_error_after_a_second_try(pool: VerifierPool, item: Make):
    good, died, raised = pool.judge([item("good"), item("die"), item("raise")])
    assert good.correct
    assert (died.status, died.judged) == ("error", False)
    assert "worker lost twice" in died.reason
    assert (raised.status, raised.judged) == ("error", False)
    assert raised.reason == "verifier failed twice: KeyError: 'no such thing\\nsecond line'"


def test_a_limit_that_the_machine_may_have_reached_is_tried_once_more(pool: VerifierPool, tmp_path: Path, item: Make):
    once, always = tmp_path / "once", tmp_path / "always"
    first, second, third = pool.judge([item("good"), item(f"starved {once}"), item(f"starved {always}")])
    assert (first.status, second.status, third.status) == ("correct", "correct", "timeout")
    assert (once.read_text(), always.read_text()) == ("xx", "xx")


def test_a_worker_lost_once_is_forgiven(pool: VerifierPool, tmp_path: Path, item: Make):
    assert pool.judge([item(f"once {tmp_path / 'flag'}")])[0].correct


def test_a_worker_lost_while_idle_is_replaced(pool: VerifierPool, item: Make):
    assert pool.judge([item("die later 1")])[0].correct
    time.sleep(1)
    assert pool.judge([item("after")])[0].correct


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
@pytest.mark.parametrize(("times", "status"), [(3, "correct"), (20, "error")])
def test_workers_lost_before_they_began_are_no_fault_of_the_items(
    times: int, status: str, item: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    others, left, schedule = set(offspring(os.getpid())), times, _Workers.schedule

    def and_lost(workers: _Workers, *task: Any) -> Any:
        nonlocal left
        future = schedule(workers, *task)
        for pid in set(offspring(os.getpid())) - others if left else ():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        left -= left > 0
        return future

    monkeypatch.setattr(_Workers, "schedule", and_lost)
    with VerifierPool(workers=1, timeout_s=LIMIT_S) as pool:
        verdicts = pool.judge([item("good"), item("fine")])
    assert [verdict.status for verdict in verdicts] == [status] * 2
    if status == "error":
        assert all("workers were lost 5 times before they began" in verdict.reason for verdict in verdicts)


def test_what_a_stopped_pool_had_not_handed_out_is_given_back(item: Make) -> None:
    """Its future would never be done, and whoever waits for it would wait for ever."""
    with VerifierPool(workers=1, timeout_s=LIMIT_S) as pool:
        workers, chunk = pool._processes, [item("good")]
        future = workers.schedule(worker.judge, chunk)
        workers._stop()
        (fate,) = workers.outcomes(chunk, future)
        assert isinstance(fate, BrokenProcessPool)
        assert pool.judge(chunk)[0].correct


def test_an_unknown_verifier_is_an_error(pool: VerifierPool, item: Make):
    (verdict,) = pool.judge([item("x", verifier="nobody")])
    assert verdict.status == "error"


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux only")
def test_memory_is_limited(pool: VerifierPool, item: Make):
    (verdict,) = pool.judge([item("fill")])
    assert verdict.status == "error"
    assert "MemoryError" in verdict.reason
    (verdict,) = pool.judge([(code().problem("train", 0), "#[0]*10**10")])
    assert (verdict.status, verdict.reason.split()[0]) == ("wrong", "MemoryError")


def test_workers_have_no_torch_and_ignore_ctrl_c(pool: VerifierPool, item: Make):
    free, interrupted = pool.judge([item("torch"), item("sigint")])
    assert free.reason == "False"
    assert interrupted.correct


def test_verdicts_are_remembered_by_problem_and_response(pool: VerifierPool, tmp_path: Path, item: Make):
    flag = tmp_path / "flag"
    first = pool.judge([item(f"once {flag}", id="a"), item(f"once {flag}", id="a")])
    flag.unlink()
    assert pool.judge([item(f"once {flag}", id="a")]) == first[:1]
    assert not flag.exists()
    pool.judge([item(f"once {flag}", id="b")])
    assert flag.exists()


def test_errors_are_not_remembered(pool: VerifierPool, item: Make):
    assert pool.judge([item("raise", id="c")])[0].status == "error"
    assert all(id != "c" for _, id, *_ in pool._seen)


# ------------------------------------------------------------------------------------------- settings of run and of row


def judging(**settings: dict[str, Any]) -> VerifierPool:
    """A pool with a run's settings of each verifier."""
    build = partial(build_verifier, context=VerifierContext(settings=settings))
    return VerifierPool(workers=1, timeout_s=5, memory_mb=1024, build=build)


def sum_(answer: str, verifier: str = "maths", **metadata: Any) -> Problem:
    return Problem(id="p", domain="maths", messages=(), verifier=verifier, answer=answer, metadata=metadata)


@pytest.mark.parametrize(
    ("verifier", "of_run", "of_row", "response", "status"),
    [
        ("maths", {}, {}, "#x = 7", "correct"),
        ("maths", {"equality": "strict"}, {}, "#x = 7", "wrong"),
        ("maths", {"equality": "lenient"}, {"equality": "strict"}, "#x = 7", "wrong"),
        ("maths", {"equality": "strict"}, {"equality": "lenient"}, "#x = 7", "correct"),
        ("router", {"equality": "strict"}, {"equality": "lenient"}, "#x = 7", "correct"),
        ("maths", {"extraction": "last-boxed"}, {}, "#7", "unparsed"),
        ("maths", {"extraction": "last-boxed"}, {"extraction": "final"}, "#7", "correct"),
        ("router", {"extraction": "final"}, {"extraction": "last-boxed"}, "#7", "unparsed"),
        ("choice", {"extraction": "final"}, {"extraction": "last-boxed"}, "#B", "unparsed"),
    ],
)
def test_a_rows_own_settings_beat_the_runs(verifier: str, of_run: dict, of_row: dict, response: str, status: str):
    own = "choice" if verifier == "choice" else "maths"
    with judging(**{own: of_run}) as pool:
        (verdict,) = pool.judge([(sum_("B" if own == "choice" else "7", verifier, **of_row), response)])
    assert verdict.status == status, verdict


def test_verdicts_of_other_problems_with_the_same_id_are_not_recalled():
    """Two files may hold one prompt, and so one id, with other answers or settings of their own."""
    with judging() as pool:
        strict = sum_("7", equality="strict")
        asked = [strict, sum_("7"), sum_("8"), strict]
        found = [pool.judge([(problem, "#x = 7")])[0].status for problem in asked]
        assert (found, len(pool._seen)) == (["wrong", "correct", "wrong", "wrong"], 3)


def test_a_row_with_a_setting_that_does_not_exist_costs_itself_alone():
    with judging() as pool:
        rows = [sum_("7", equality="loose"), sum_("7", extraction="first"), sum_("7")]
        loose, first, sound = pool.judge([(row, "#7") for row in rows])
        assert sound.correct
        assert (loose.judged, "expected one of strict, lenient" in loose.reason) == (False, True)
        assert (first.judged, "expected one of final, last-boxed" in first.reason) == (False, True)
        assert [fault is None for fault in pool.faults(rows)] == [False, False, True]


def test_nothing_is_known_of_golds_where_a_verifier_does_not_tell(item: Make):
    silent, _ = item("x")
    with judging(router={"routes": {"mine": silent.verifier}}) as pool:
        routed = replace(silent, verifier="router", domain="mine")
        unrouted = replace(silent, verifier="router", domain="poems")
        known = sum_("7", "router")
        assert [pool.tells(problem) for problem in (silent, routed, unrouted, known)] == [False, False, True, True]
        assert [fault is None for fault in pool.faults([silent, routed, unrouted, known])] == [True, True, False, True]


UNSAFE = {"level": "none", "allow_unsafe": True, "url": "http://localhost:1/", "wall_s": 900.0, "memory_mb": 10**6}


@pytest.mark.skipif(sys.platform != "linux", reason="without isolation programs are refused")
@pytest.mark.parametrize("verifier", ["code", "router"])
def test_a_row_never_says_how_its_programs_are_isolated(verifier: str):
    """Nor how long they may run: it reads a file that no level shows, and then waits."""
    reads = "def f(x):\n    return len(open('/etc/passwd').read()) > 0"
    waits = "def f(x):\n    while True:\n        pass"
    row = Problem(
        id="p",
        domain="code",
        messages=(),
        verifier=verifier,
        metadata={"tests": [[1, True]], "sandbox": UNSAFE, "sandbox_url": "http://localhost:1/", "allow_unsafe": True},
        solution=reads,
    )
    context = VerifierContext(sandbox=SandboxSettings(wall_s=1.0))
    with VerifierPool(workers=1, timeout_s=20, build=partial(build_verifier, context=context)) as pool:
        first, second = pool.judge([(row, f"#{reads}"), (row, f"#{waits}")])
        (fault,) = pool.faults([row])
    assert (first.status, second.reason) == ("wrong", "over the limit of 1 s")
    assert "its own solution fails" in str(fault)


def test_closing_ends_workers_that_hang(item: Make):
    def interrupted() -> None:
        with VerifierPool(workers=2, timeout_s=60) as pool:
            pool.submit([item("sleep"), item("sleep "[:5])])
            time.sleep(0.5)
            raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - start < 10


def told_by(preload: list[str]) -> int | None:
    """Exit code of a worker: 7 if it has colorsys, which nothing of ours imports, and 8 if not."""
    process: Any = worker_context(preload).Process(  # type: ignore[attr-defined]
        target=exec, args=("import sys; sys.exit(7 if 'colorsys' in sys.modules else 8)",)
    )
    process.start()
    process.join(60)
    code: int | None = process.exitcode
    return code


def test_each_list_of_modules_has_a_server_of_its_own() -> None:
    assert [told_by(["colorsys"]), told_by(["wave"]), told_by(["colorsys"])] == [7, 8, 7]


def test_a_forked_process_has_servers_of_its_own() -> None:
    assert told_by(["colorsys"]) == 7
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            os._exit(told_by(["colorsys"]) or 0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
