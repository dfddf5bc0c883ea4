"""Judging in workers that can be killed."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rlzoo.data.procedural import code, logic, maths
from rlzoo.types import Problem
from rlzoo.verifiers.pool import Item, VerifierPool

LIMIT_S = 0.5
Make = Callable[..., Item]


MOODY = """
import os, signal, sys, time
from pathlib import Path
from rlzoo.types import Verdict

def verify(problem, response):
    "Does what the response says."
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
    if response == "metadata":
        return Verdict(status="wrong", reason=str(sorted(problem.metadata.items())))
    return Verdict(status="correct", reward=1.0, reason=response)
"""


@pytest.fixture(scope="module")
def item(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Makes problems for a verifier that does what the response says."""
    file = tmp_path_factory.mktemp("moody") / "moody.py"
    file.write_text(MOODY)

    def make(response: str, verifier: str = f"{file}:verify", id: str = "p") -> Item:
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


def test_a_worker_lost_once_is_forgiven(pool: VerifierPool, tmp_path: Path, item: Make):
    assert pool.judge([item(f"once {tmp_path / 'flag'}")])[0].correct


def test_a_worker_lost_while_idle_is_replaced(pool: VerifierPool, item: Make):
    assert pool.judge([item("die later 1")])[0].correct
    time.sleep(1)
    assert pool.judge([item("after")])[0].correct


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


UNSAFE = {"level": "none", "allow_unsafe": True, "url": "http://localhost:1/", "wall_s": 900.0, "memory_mb": 10**6}


@pytest.mark.parametrize("settings", [{}, {"sandbox": {"level": "core"}}], ids=["none", "core"])
def test_a_row_never_says_how_its_programs_are_isolated(settings: dict[str, Any], item: Make):
    problem, response = item("metadata")
    row = replace(problem, metadata={"sandbox": UNSAFE, "entry": "f"})
    with VerifierPool(workers=1, timeout_s=5, settings=settings) as pool:
        (verdict,) = pool.judge([(row, response)])
    assert verdict.reason == str(sorted({"entry": "f", **settings}.items()))


@pytest.mark.skipif(sys.platform != "linux", reason="without isolation programs are refused")
def test_a_program_of_a_row_without_isolation_is_isolated():
    program = "def f(x):\n    return len(open('/etc/passwd').read()) > 0"
    metadata = {"tests": [[1, True]], "sandbox": {"level": "none", "allow_unsafe": True}}
    row = Problem(id="p", domain="code", messages=(), verifier="code", metadata=metadata, solution=program)
    with VerifierPool(workers=1, timeout_s=20) as pool:
        (verdict,) = pool.judge([(row, f"#{program}")])
        (fault,) = pool.faults([row])
    assert verdict.status == "wrong"
    assert fault is not None
    assert "its own solution fails" in fault


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
