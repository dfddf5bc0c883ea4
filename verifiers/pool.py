"""Judges responses in worker processes that can be killed: a response that hangs costs its own limit and nothing else."""

import hashlib
import math
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as LimitExceeded
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from threading import RLock
from types import TracebackType
from typing import Any, Self
from weakref import WeakKeyDictionary

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from rlzoo.registry import build_verifier
from rlzoo.types import Problem, Verdict
from rlzoo.verifier import Verifier
from rlzoo.verifiers import worker
from rlzoo.verifiers.sandbox import cgroup
from rlzoo.verifiers.starting import worker_context
from rlzoo.verifiers.worker import VERIFIER, Build, Item

Work = Callable[[bytes], Any]
"""What a worker does with a chunk."""
Key = tuple[str, str, bool, str, str]
"""Verifier, problem, whether the text is the extracted answer, the text (the answer, or the whole response), and a digest of
what the problem asks for: an id is another problem's too where two files hold one prompt."""

LARGEST_CHUNK = 64
CACHE_SIZE = 200_000
TASKS = 500
"""Chunks that a worker judges before a fresh one takes its place, so that no library's memory grows for good."""
POLL_S = 0.2
"""Seconds between looks at whether the pool was closed meanwhile."""
BROKEN = 3
"""Times that workers may be lost before they began an item without its being a fault of the item."""
PAUSE = 0.25
"""Share of the limit after which a worker returns what it has: sound but slow items never add up to the limit."""


class VerifierPool:
    """Killable workers with a memory limit. Verdicts come back in order and are remembered by problem and extracted answer.

    Workers never import torch. They ignore Ctrl-C; leaving the context, by any way, ends them.
    """

    def __init__(
        self, workers: int = 1, timeout_s: float = 2.0, memory_mb: int = 512, build: Build = build_verifier
    ) -> None:
        """`timeout_s`: wall clock for one response; what workers import does not count. `memory_mb`: address space that a
        worker may add to its own. `build`: what turns a problem's verifier name into the verifier, here and in workers."""
        self.workers = workers
        self.timeout_s = timeout_s
        self._build = build
        self._verifiers: dict[str, Verifier[Any] | None] = {}
        self._seen: OrderedDict[Key, Verdict] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="verifier-pool")
        self._processes = _Workers(workers, timeout_s, memory_mb, build)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers at once, whatever they are doing."""
        self._processes.close()
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
        """Whether the problem's verifier can say what is wrong with its answer, or cannot be built, which says it too."""
        verifier = self._verifier(problem.verifier)
        routed = verifier.routed(problem) if verifier is not None else None
        verifier = self._verifier(routed) if routed is not None else verifier
        return verifier is None or type(verifier).gold_fault is not Verifier.gold_fault

    # -- in the pool's own thread -------------------------------------------------------------------------

    def _judge_all(self, items: list[Item]) -> list[Verdict]:
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
        items = [(problem, "") for problem in problems]
        self._load(items)
        return self._judge_fresh(items, worker.judge_gold)

    def _recall(self, key: Key) -> Verdict:
        self._seen.move_to_end(key)
        return self._seen[key]

    def _keys(self, items: list[Item]) -> list[Key]:
        """By extracted answer where the verifier tells what that is (`extract`), else by the whole response."""
        asked = {id(problem): _digest(problem) for problem in {id(problem): problem for problem, _ in items}.values()}
        keys = [(problem.verifier, problem.id, False, response, asked[id(problem)]) for problem, response in items]
        at_work = [
            at for at, (problem, _) in enumerate(items) if keys[at] not in self._seen and self._extracts(problem)
        ]
        chunks = [[items[at] for at in chunk] for chunk in self._chunks(at_work)]
        answers = [
            answer if isinstance(answer, str) else None
            for chunk, future in [(chunk, self._processes.schedule(worker.extract, chunk)) for chunk in chunks]
            for answer in self._processes.outcomes(chunk, future)
        ]
        for at, answer in zip(at_work, answers, strict=True):
            if answer is not None:
                verifier, problem, _, _, told = keys[at]
                keys[at] = (verifier, problem, True, answer, told)
        return keys

    def _extracts(self, problem: Problem) -> bool:
        verifier = self._verifier(problem.verifier)
        return verifier is not None and type(verifier).extract is not Verifier.extract

    def _chunks(self, places: Sequence[int]) -> list[Sequence[int]]:
        size = max(1, min(LARGEST_CHUNK, math.ceil(len(places) / self.workers)))
        return [places[start : start + size] for start in range(0, len(places), size)]

    def _judge_fresh(self, items: list[Item], work: Work = worker.judge) -> list[Verdict]:
        final: dict[int, Verdict] = {}
        tried, broken = [0] * len(items), [0] * len(items)
        again: set[int] = set()
        waiting = self._chunks(range(len(items)))
        while waiting:
            submitted = [(chunk, self._processes.schedule(work, [items[at] for at in chunk])) for chunk in waiting]
            waiting = []
            for chunk, future in submitted:
                outcomes = self._processes.outcomes(chunk, future)
                if len(outcomes) < len(chunk):  # the worker paused: the rest is as good as new
                    waiting.append(chunk[len(outcomes) :])
                for at, outcome in zip(chunk, outcomes, strict=False):
                    over = isinstance(outcome, LimitExceeded)
                    unbegun = isinstance(outcome, BrokenProcessPool) and broken[at] < BROKEN
                    broken[at] += unbegun
                    tried[at] += not (over or unbegun)
                    if at not in again and _may_be_the_machine(outcome, alone=len(chunk) == 1):
                        again.add(at)
                        waiting.append([at])
                    elif isinstance(outcome, Verdict) or tried[at] == 2 or (over and len(chunk) == 1):
                        final[at] = self._final(outcome)
                    else:
                        waiting.append([at])
        return [final[at] for at in range(len(items))]

    def _final(self, outcome: Verdict | BaseException | str) -> Verdict:
        if isinstance(outcome, Verdict):
            return outcome
        if isinstance(outcome, LimitExceeded):
            return Verdict(status="timeout", reason=f"over the limit of {self.timeout_s:g} s")
        if isinstance(outcome, ProcessExpired):
            return Verdict(status="error", reason=f"worker lost twice (exit code {outcome.exitcode})")
        if isinstance(outcome, BrokenProcessPool):
            return Verdict(status="error", reason=f"workers were lost {BROKEN + 2} times before they began: {outcome}")
        return Verdict(status="error", reason=f"verifier failed twice: {outcome}")

    def _load(self, items: Iterable[Item]) -> None:
        """See that workers start with all that these items need."""
        needed: set[str] = set()
        for problem in {id(problem): problem for problem, _ in items}.values():
            needed.add(f"{VERIFIER}{problem.verifier}")
            verifier = self._verifier(problem.verifier)
            with suppress(Exception):  # for a problem that cannot be judged, as its verdict will say
                needed |= set(verifier.loads(problem)) if verifier is not None else set()
        self._processes.load(needed)

    def _verifier(self, name: str) -> Verifier[Any] | None:
        """The verifier of that name; None for one that cannot be built, whose items will say so."""
        if name not in self._verifiers:
            self._verifiers[name] = None
            with suppress(Exception):
                self._verifiers[name] = self._build(name)
        return self._verifiers[name]


class _Workers:
    """The processes: started when first needed, and again when something broke them or more is to be loaded."""

    def __init__(self, count: int, timeout_s: float, memory_mb: int, build: Build) -> None:
        self._count, self._timeout_s, self._memory_mb = count, timeout_s, memory_mb
        # Packed here, so that what a worker cannot import is a fault of the items and not the worker's end.
        self._build = pickle.dumps(build)
        self._loaded: frozenset[str] = frozenset()
        """Verifiers and modules that workers import when they start, before any limit runs."""
        self._closed = False
        self._changing = RLock()
        self._pool: ProcessPool | None = None
        self._homes: WeakKeyDictionary[ProcessFuture[Any], ProcessPool] = WeakKeyDictionary()
        """The pool of each future: one that broke or was stopped leaves those it had not handed out undone."""

    def close(self) -> None:
        """End them for good."""
        self._closed = True
        self._stop()

    def load(self, needed: Iterable[str]) -> None:
        """Have workers start with all of this; where something is new, fresh ones do."""
        if not self._loaded.issuperset(needed):
            self._loaded |= set(needed)
            self._stop()

    def schedule(self, work: Work, chunk: Sequence[Item]) -> "ProcessFuture[Any]":
        # One limit for a whole chunk: a sound one takes milliseconds, and any other is judged again item by item.
        task = pickle.dumps((self._build, chunk, PAUSE * self._timeout_s))
        try:
            return self._begun(work, task)
        except RuntimeError:  # a worker that was lost while idle breaks pebble's pool for good
            self._stop()
            return self._begun(work, task)

    def _begun(self, work: Work, task: bytes) -> "ProcessFuture[Any]":
        pool = self._open()
        future = pool.schedule(work, args=(task,), timeout=self._timeout_s)
        self._homes[future] = pool
        return future

    def outcomes(self, chunk: Sequence[Any], future: "ProcessFuture[Any]") -> list[Any]:
        """What became of each item of a chunk: its verdict, what its verifier raised, or what befell the whole chunk."""
        while not wait([future], timeout=POLL_S).done:
            if self._closed:  # a stopped pool leaves its futures as they are
                raise CancelledError
            home = self._homes[future]
            if (home is not self._pool or not home.active) and not wait([future], timeout=POLL_S).done:
                return [BrokenProcessPool("its workers were lost before one took it")] * len(chunk)
        try:
            return list(future.result())
        except (LimitExceeded, ProcessExpired, BrokenProcessPool) as fate:
            return [fate] * len(chunk)
        except Exception as fate:
            return [f"{type(fate).__name__}: {fate}"] * len(chunk)

    def _open(self) -> ProcessPool:
        with self._changing:
            if self._closed:
                raise CancelledError
            if self._pool is None:
                start = pickle.dumps((self._build, sorted(self._loaded)))
                self._pool = ProcessPool(
                    max_workers=self._count,
                    max_tasks=TASKS,
                    initializer=worker.start,
                    initargs=(self._memory_mb, start),
                    context=worker_context(["rlzoo.verifiers.worker"]),
                )
            return self._pool

    def _stop(self) -> None:
        with self._changing:
            pool, self._pool = self._pool, None
            if pool is not None:
                pool.stop()
                pool.join()
                cgroup.sweep()  # theirs, which workers that are ended from outside do not remove themselves


def _may_be_the_machine(outcome: object, *, alone: bool) -> bool:
    """Whether a limit was reached for want of a processor: a program says so itself, for a worker the machine's load does."""
    if isinstance(outcome, Verdict):
        return outcome.starved
    return alone and isinstance(outcome, LimitExceeded) and os.getloadavg()[0] > (os.cpu_count() or 1)


def _digest(problem: Problem) -> str:
    """Of all that a verdict depends on beside the response."""
    asked = repr((problem.answer, problem.metadata))
    return hashlib.blake2b(asked.encode(errors="replace"), digest_size=8).hexdigest()
