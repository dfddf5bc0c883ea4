"""One of the ranks that hold weights in pieces: tries cases of a list one after another and writes what it found.

    torchrun ... stores_ranks.py CASES.json FOUND.pt SECONDS

A case is {"id", "do", ...}; what `do` names is a function below. A rank that waits for another ends with a traceback.
"""

from __future__ import annotations

import faulthandler
import json
import resource
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from rlzoo.engine.ranks import Ranks, join_ranks
from rlzoo.laws.lab import Bench, one_active_row, toy_groups, toy_policy

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


DO: dict[str, Callable[[dict[str, Any], Ranks], Any]] = {"gradient": gradient, "steps": steps, "refused": refused}


def main(cases: Path, found: Path, seconds: int) -> None:
    faulthandler.dump_traceback_later(seconds, exit=True)
    torch.set_num_threads(1)
    ranks = join_ranks()
    told: dict[str, Any] = {}
    for case in json.loads(cases.read_text()):
        told[case["id"]] = DO[case["do"]](case, ranks)
    told["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if ranks.first:
        torch.save(told, found)
    if ranks.world > 1:
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
