"""Judges responses in worker processes that can be killed: a response that hangs costs its own limit and nothing else."""

import importlib
import math
import multiprocessing
import pickle
import resource
import signal
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as LimitExceeded
from contextlib import suppress
from dataclasses import replace
from threading import RLock
from types import TracebackType
from typing import Any, Self

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from rlzoo.types import Problem, Verdict
from rlzoo.verifier import Verifier
from rlzoo.verifiers.sandbox import cgroup

Item = tuple[Problem, str]
"""A problem and one response to it, as text."""
Work = Callable[[bytes], Any]
"""What a worker does with a chunk."""
Key = tuple[str, str, bool, str]
"""Verifier, problem, whether the text is the extracted answer, and the text: the answer, or the whole response."""

LARGEST_CHUNK = 64
CACHE_SIZE = 200_000
SANDBOX = "sandbox"
"""Metadata by which the run tells the verifier `code` how programs are isolated."""
TASKS = 500
"""Chunks that a worker judges before a fresh one takes its place, so that no library's memory grows for good."""
POLL_S = 0.2
"""Seconds between looks at whether the pool was closed meanwhile."""
PAUSE = 0.25
"""Share of the limit after which a worker returns what it has: sound but slow items never add up to the limit."""


class VerifierPool:
    """Killable workers with a memory limit. Verdicts come back in order and are remembered by problem and extracted answer.

    `resolve` turns a problem's verifier name into a function, inside the workers, so it must be importable by name.
    Workers never import torch. They ignore Ctrl-C; leaving the context, by any way, ends them.
    """

    def __init__(
        self,
        workers: int = 1,
        timeout_s: float = 2.0,
        memory_mb: int = 512,
        resolve: Callable[[str], Verifier] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """`timeout_s`: wall clock for one response; what workers import does not count. `memory_mb`: address space that a
        worker may add to its own. `settings`: metadata of every problem, whatever a data set's row says there."""
        self.workers = workers
        self.timeout_s = timeout_s
        self._resolve = resolve or registered
        self._settings = dict(settings or {})
        self._seen: OrderedDict[Key, Verdict] = OrderedDict()
        self._memory_mb = memory_mb
        self._verifiers: dict[str, Verifier | None] = {}
        self._loaded: frozenset[str] = frozenset()
        """Verifiers and modules that workers import when they start, before any limit runs."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="verifier-pool")
        self._closed = False
        self._changing = RLock()
        self._pool: ProcessPool | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers at once, whatever they are doing."""
        self._closed = True
        self._stop()
        self._thread.shutdown(wait=True, cancel_futures=True)

    def submit(self, items: Sequence[Item]) -> "Future[list[Verdict]]":
        """The verdicts of `judge`, to be waited for later. Batches are judged one after another."""
        return self._thread.submit(self._judge_all, list(items))

    def judge(self, items: Sequence[Item]) -> list[Verdict]:
        """One verdict an item, in order. Never raises for what an item does.

        A response over its limit is `timeout`. Where the verifier raises or its worker dies, the item is tried once
        more and is then `error`.
        """
        return self.submit(items).result()

    def warm_up(self, problems: Sequence[Problem]) -> None:
        """Start workers that can judge such problems, and do not wait for them."""
        self.submit([(problem, "") for problem in problems])

    def faults(self, problems: Sequence[Problem]) -> list[str | None]:
        """Why no response to a problem could be judged, where its verifier can tell (`gold_fault`); None where nothing is known."""
        told = [problem for problem in problems if self.tells(problem)]
        verdicts = self._thread.submit(self._golds, told).result()
        found = {id(p): verdict.reason for p, verdict in zip(told, verdicts, strict=True) if not verdict.correct}
        return [found.get(id(problem)) for problem in problems]

    def tells(self, problem: Problem) -> bool:
        """Whether the problem's verifier can say what is wrong with its answer."""
        return hasattr(self._verifier(problem.verifier), "gold_fault")

    # -- in the pool's own thread -------------------------------------------------------------------------

    def _judge_all(self, items: list[Item]) -> list[Verdict]:
        items = [(self._with_settings(problem), response) for problem, response in items]
        self._load(items)
        keys = self._keys(items)
        fresh = {key: item for key, item in zip(keys, items, strict=True) if key not in self._seen}
        found = dict(zip(fresh, self._judge_fresh(list(fresh.values())), strict=True))
        verdicts = [found.get(key) or self._recall(key) for key in keys]
        for key, verdict in found.items():
            if verdict.judged:
                self._seen[key] = verdict
        while len(self._seen) > CACHE_SIZE:
            self._seen.popitem(last=False)
        return verdicts

    def _golds(self, problems: list[Problem]) -> list[Verdict]:
        items = [(self._with_settings(problem), "") for problem in problems]
        self._load(items)
        return self._judge_fresh(items, _judge_gold)

    def _with_settings(self, problem: Problem) -> Problem:
        """The problem with the run's settings: how its programs are isolated is never for a data set's row to say."""
        if not self._settings and SANDBOX not in problem.metadata:
            return problem
        own = {name: value for name, value in problem.metadata.items() if name != SANDBOX}
        return replace(problem, metadata={**own, **self._settings})

    def _recall(self, key: Key) -> Verdict:
        self._seen.move_to_end(key)
        return self._seen[key]

    def _keys(self, items: list[Item]) -> list[Key]:
        """By extracted answer where the verifier tells what that is (`extract`), else by the whole response."""
        whole = [(problem.verifier, problem.id, False, response) for problem, response in items]
        at_work = [
            at
            for at, (problem, _) in enumerate(items)
            if whole[at] not in self._seen and hasattr(self._verifier(problem.verifier), "extract")
        ]
        chunks = [[items[at] for at in chunk] for chunk in self._chunks(at_work)]
        answers = [
            answer if isinstance(answer, str) else None
            for chunk, future in [(chunk, self._schedule(_extract, chunk)) for chunk in chunks]
            for answer in self._outcomes(chunk, future)
        ]
        for at, answer in zip(at_work, answers, strict=True):
            if answer is not None:
                whole[at] = (*whole[at][:2], True, answer)
        return whole

    def _chunks(self, places: Sequence[int]) -> list[Sequence[int]]:
        size = max(1, min(LARGEST_CHUNK, math.ceil(len(places) / self.workers)))
        return [places[start : start + size] for start in range(0, len(places), size)]

    def _judge_fresh(self, items: list[Item], work: Work | None = None) -> list[Verdict]:
        final: dict[int, Verdict] = {}
        tried = [0] * len(items)
        waiting = self._chunks(range(len(items)))
        while waiting:
            submitted = [(chunk, self._schedule(work or _judge, [items[at] for at in chunk])) for chunk in waiting]
            waiting = []
            for chunk, future in submitted:
                outcomes = self._outcomes(chunk, future)
                if len(outcomes) < len(chunk):  # the worker paused: the rest is as good as new
                    waiting.append(chunk[len(outcomes) :])
                for at, outcome in zip(chunk, outcomes, strict=False):
                    over = isinstance(outcome, LimitExceeded)
                    tried[at] += not over
                    if isinstance(outcome, Verdict) or tried[at] == 2 or (over and len(chunk) == 1):
                        final[at] = self._final(outcome)
                    else:
                        waiting.append([at])
        return [final[at] for at in range(len(items))]

    def _schedule(self, work: Work, chunk: list[Item]) -> "ProcessFuture[Any]":
        # One limit for a whole chunk: a sound one takes milliseconds, and any other is judged again item by item.
        # Pickled here, so that what a worker cannot import is a fault of these items and not the worker's end.
        task = pickle.dumps((self._resolve, chunk, PAUSE * self.timeout_s))
        try:
            return self._open().schedule(work, args=(task,), timeout=self.timeout_s)
        except RuntimeError:  # a worker that was lost while idle breaks pebble's pool for good
            self._stop()
            return self._open().schedule(work, args=(task,), timeout=self.timeout_s)

    def _outcomes(self, chunk: Sequence[Any], future: "ProcessFuture[Any]") -> list[Any]:
        """What became of each item of a chunk: its verdict, what its verifier raised, or what befell the whole chunk."""
        while not wait([future], timeout=POLL_S).done:
            if self._closed:  # a stopped pool leaves its futures as they are
                raise CancelledError
        try:
            return list(future.result())
        except (LimitExceeded, ProcessExpired) as fate:
            return [fate] * len(chunk)
        except Exception as fate:
            return [f"{type(fate).__name__}: {fate}"] * len(chunk)

    def _final(self, outcome: Verdict | BaseException | str) -> Verdict:
        if isinstance(outcome, Verdict):
            return outcome
        if isinstance(outcome, LimitExceeded):
            return Verdict(status="timeout", reason=f"over the limit of {self.timeout_s:g} s")
        if isinstance(outcome, ProcessExpired):
            return Verdict(status="error", reason=f"worker lost twice (exit code {outcome.exitcode})")
        return Verdict(status="error", reason=f"verifier failed twice: {outcome}")

    # -- the workers' life --------------------------------------------------------------------------------

    def _open(self) -> ProcessPool:
        with self._changing:
            if self._closed:
                raise CancelledError
            if self._pool is None:
                start = pickle.dumps((self._resolve, sorted(self._loaded)))
                self._pool = ProcessPool(
                    max_workers=self.workers,
                    max_tasks=TASKS,
                    initializer=_start,
                    initargs=(self._memory_mb, start),
                    context=_processes(),
                )
            return self._pool

    def _stop(self) -> None:
        with self._changing:
            pool, self._pool = self._pool, None
            if pool is not None:
                pool.stop()  # type: ignore[no-untyped-call]
                pool.join()
                cgroup.sweep()  # theirs, which workers that are ended from outside do not remove themselves

    def _load(self, items: Iterable[Item]) -> None:
        """See that workers start with all that these items need; where something is new, with fresh workers."""
        needed = set(self._loaded)
        for problem in {id(problem): problem for problem, _ in items}.values():
            verifier = self._verifier(problem.verifier)
            loads = getattr(verifier, "loads", None)
            needed |= set(loads(problem)) if loads else set()
            needed.add(f"{VERIFIER}{problem.verifier}")
        if needed - self._loaded:
            self._loaded = frozenset(needed)
            self._stop()

    def _verifier(self, name: str) -> Verifier | None:
        """The function of that name; None for one that cannot be loaded, whose items will say so."""
        if name not in self._verifiers:
            self._verifiers[name] = None
            with suppress(Exception):
                self._verifiers[name] = self._resolve(name)
        return self._verifiers[name]


def registered(name: str) -> Verifier:
    """The verifier of that name, from the registry."""
    from rlzoo.registry import verifiers  # the registry reads entry points; workers do so once, and only if needed

    return verifiers.load(name)


# ---------------------------------------------------------------------------------------------------------
# In the workers

VERIFIER = "verifier:"


def _processes() -> multiprocessing.context.BaseContext:
    """A server that has imported what workers need and forks them: a killed worker is replaced in milliseconds."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["rlzoo.verifiers.pool"])
    return context


def _start(memory_mb: int, start: bytes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(Exception):  # what cannot be loaded is a fault of the items that need it, and said there
        resolve, needed = pickle.loads(start)
        for name in needed:
            with suppress(Exception):
                if name.startswith(VERIFIER):
                    resolve(name.removeprefix(VERIFIER))
                else:
                    importlib.import_module(name)
    if sys.platform == "linux":
        with open("/proc/self/statm") as statm:
            own = int(statm.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (own + memory_mb * 2**20,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _extract(task: bytes) -> list[str | None]:
    """What each response's verifier extracts; None where it finds or says nothing."""
    resolve, items, _ = pickle.loads(task)
    known: dict[str, Any] = {}
    found: list[str | None] = []
    for problem, response in items:
        answer = None
        with suppress(Exception):
            if problem.verifier not in known:
                known[problem.verifier] = resolve(problem.verifier)
            answer = known[problem.verifier].extract(problem, response)
        found.append(answer)
    return found


def _judge(task: bytes) -> list[Verdict | str]:
    """A verdict, or why there is none, for each item; for the first ones if it takes long."""
    return _in_turn(task, lambda verifier, problem, response: verifier(problem, response))


def _judge_gold(task: bytes) -> list[Verdict | str]:
    """Whether each problem's own answer can be judged, as a verdict."""

    def judge(verifier: Verifier, problem: Problem, response: str) -> Verdict:
        fault: str | None = verifier.gold_fault(problem)  # type: ignore[attr-defined]
        return Verdict(status="error", reason=fault) if fault else Verdict(status="correct", reward=1.0, reason="")

    return _in_turn(task, judge)


def _in_turn(task: bytes, judge: Callable[[Verifier, Problem, str], Verdict]) -> list[Verdict | str]:
    started = time.monotonic()
    resolve, items, pause = pickle.loads(task)
    known: dict[str, Verifier] = {}
    outcomes: list[Verdict | str] = []
    for problem, response in items:
        if outcomes and time.monotonic() - started > pause:
            break
        try:
            if problem.verifier not in known:
                known[problem.verifier] = resolve(problem.verifier)
            outcomes.append(judge(known[problem.verifier], problem, response))
        except Exception as fault:
            outcomes.append(f"{type(fault).__name__}: {fault}".splitlines()[0][:200])
    return outcomes
