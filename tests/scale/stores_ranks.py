"""One of the ranks that hold weights in pieces: tries cases of a list one after another and writes what it found.

    torchrun ... stores_ranks.py CASES.json FOUND.pt SECONDS

A case is {"id", "do", ...}; what `do` names is a function below. A rank that waits for another ends with a traceback.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from rlzoo.engine.learning.optimizer import adamw
from rlzoo.engine.model.sequences import Sequences
from rlzoo.engine.model.weights.holding import hold
from rlzoo.engine.ranks import Ranks, join_ranks
from rlzoo.laws.lab import Bench, one_active_row, toy_groups, toy_policy
from rlzoo.training_config import LearnerConfig

GROUPS = toy_groups(policy=toy_policy())


def bench_of(case: dict[str, Any], ranks: Ranks, **changes: Any) -> Bench:
    dtype = case.get("dtype", "float64")
    learner = {"shard": case["shard"], **case.get("learner", {})}
    return Bench(
        case["objective"],
        dtype=getattr(torch, dtype),
        ranks=ranks,
        model={"dtype": dtype},
        learner=learner,
        **changes,
    )


def weights_of(bench: Bench) -> Tensor:
    """All weights, unrounded, as one vector. [parameters]"""
    return torch.cat([tensor.detach().reshape(-1).double().cpu() for _, tensor in bench.store.exact()])


def gradient(case: dict[str, Any], ranks: Ranks) -> Any:
    """The first gradient, heads included."""
    bench = bench_of(case, ranks)
    step = bench.step(GROUPS)
    return bench.gradient(one_active_row(step) if case.get("one_row") else step)


def uneven(case: dict[str, Any], ranks: Ranks) -> Any:
    """Log-probs of three rows that one rank reads in two passes and the other in one, its second row being short."""
    bench = bench_of(case, ranks)
    rows = Sequences([(3,) * 120] * 3, [(4,) * n for n in (30, 20, 25)])
    return bench.scorer.pass_over(bench.store, rows).logps_BT.reshape(-1).double()


def steps(case: dict[str, Any], ranks: Ranks) -> Any:
    """Weights after `steps` steps on the same rollouts, from a state where one is given; and the state."""
    bench = bench_of(case, ranks)
    if "from" in case:
        kept = torch.load(case["from"], weights_only=True)
        policy = toy_policy(dtype=torch.float32)
        policy.load_state_dict(kept["policy"])
        bench.store.take(policy if ranks.first else None)
        bench.learner.load_state_dict(kept["learner"])
    first, last = case["steps"]
    for number in range(first, last + 1):
        step = bench.step(toy_groups(number, policy=toy_policy()), number)
        bench.learner.learn(step, 0.0)
        bench.scorer.copies.after_step(number)
    weights, state = weights_of(bench), bench.learner.state_dict()
    with bench.store.whole(host=True) as policy:
        if ranks.first and "to" in case:
            torch.save({"policy": policy.state_dict(), "learner": state}, case["to"])
    return weights


def refused(case: dict[str, Any], ranks: Ranks) -> Any:
    """What an update that is not finite moves: the largest change, and whether the norm told of it; then a good update's."""
    bench = bench_of(case, ranks)
    step = bench.step(GROUPS)
    terms = {
        name: replace(term, loss_weight_BT=torch.where(term.loss_mask_BT, torch.inf, term.loss_weight_BT))
        for name, term in step.credit.terms.items()
    }
    before = weights_of(bench)
    metrics = bench.learner.learn(replace(step, credit=replace(step.credit, terms=terms)), 0.0)
    still = float((weights_of(bench) - before).abs().max())
    nothing = {n: replace(t, loss_weight_BT=torch.zeros_like(t.loss_weight_BT)) for n, t in step.credit.terms.items()}
    bench.learner.learn(replace(step, credit=replace(step.credit, terms=nothing)), 0.0)
    idle = float((weights_of(bench) - before).abs().max())
    bench.learner.learn(step, 0.0)
    after = float((weights_of(bench) - before).abs().max())
    return {"still": still, "nonfinite": metrics["grad/nonfinite"], "idle": idle, "moved": after}


def rounded(case: dict[str, Any], ranks: Ranks) -> Any:
    """How far float32 masters of a bfloat16 model go in 20 updates along one gradient, too short for bfloat16; and a weight's own type."""
    settings = LearnerConfig(shard=case["shard"], lr=1e-6)
    make = partial(adamw, settings=settings)
    store = hold(toy_policy(dtype=torch.float32), settings, ranks, optimizer=make, dtype=torch.bfloat16)
    rows = Sequences([(3, 4, 5), (6,)], [(7, 8, 1), (9, 10, 11, 1)])
    before = [tensor.clone() for _, tensor in store.exact()]
    came = max(
        float((b - p).abs().max()) for b, p in zip(before, toy_policy(dtype=torch.float32).parameters(), strict=True)
    )
    for _ in range(20):
        store.begin()
        for last in (False, True):
            store.backward(-store.forward(rows).logps_K.sum(), last=last)
        store.step(1e-6, 1.0)
    moved = max(float((t - b).abs().max()) for (_, t), b in zip(store.exact(), before, strict=True))
    return {"moved": moved, "came": came, "full": str(next(iter(store.full()))[1].dtype)}


def held(case: dict[str, Any], ranks: Ranks) -> Any:
    """Bytes that a rank holds after a step of a model of 20 M parameters, counted from the storages of all tensors that there are."""
    before = bytes_held()
    settings = LearnerConfig(shard=case["shard"])
    policy = toy_policy(dtype=torch.float32, hidden=1792)
    size = sum(p.numel() for p in policy.parameters())
    store = hold(policy, settings, ranks, optimizer=partial(adamw, settings=settings))
    del policy
    rows = Sequences([(3, 4, 5), (6,)], [(7, 8, 1), (9, 10, 11, 1)])
    store.begin()
    store.backward(-store.forward(rows).logps_K.sum(), last=True)
    store.step(1e-4, 1.0)
    return {"bytes": bytes_held() - before, "parameters": size}


def bytes_held() -> int:
    gc.collect()
    storages: dict[int, int] = {}
    for found in gc.get_objects():
        if isinstance(found, Tensor):
            for tensor in (found, found.grad if found.is_leaf else None):
                if tensor is not None and not tensor.is_meta:
                    local = tensor._local_tensor if isinstance(tensor, DTensor) else tensor
                    storage = local.untyped_storage()
                    storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def output(case: dict[str, Any], ranks: Ranks) -> Any:
    """Names that `full` tells, whether they are the weights, and how many bytes of a checkpoint other ranks have."""
    bench = bench_of(case, ranks)
    told = {name: tensor.clone() for name, tensor in bench.store.full()}
    with bench.store.whole() as policy:
        kept = policy.model.state_dict()
        same = all(torch.equal(kept[name], tensor) for name, tensor in told.items())
        logps = policy(Sequences([(3, 4, 5)], [(7, 8, 1)])).logps_K.detach()
    return {"names": sorted(told) == sorted(kept), "same": same, "logps": logps}


DO: dict[str, Callable[[dict[str, Any], Ranks], Any]] = {
    "gradient": gradient,
    "uneven": uneven,
    "steps": steps,
    "refused": refused,
    "rounded": rounded,
    "held": held,
    "output": output,
}


def main(cases: Path, found: Path, seconds: int) -> None:
    faulthandler.dump_traceback_later(seconds, exit=True)
    torch.set_num_threads(1)
    ranks = join_ranks()
    told: dict[str, Any] = {}
    for case in json.loads(cases.read_text()):
        began = time.monotonic()
        told[case["id"]] = DO[case["do"]](case, ranks)
        print(f"{case['id']}: {time.monotonic() - began:.1f} s", flush=True)
    told["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if ranks.first:
        torch.save(told, found)
    if ranks.world > 1:
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
