"""One rollout step, measured: samples/s, tokens/s, peak memory, achieved FLOP/s over a measured ceiling, disjoint timers.

    python -m benchmarks.step [--steps 8] [--model tiny] [--set NAME=VALUE] [--memory]

`--memory` measures one update of 64 x 256 tokens with a vocabulary of 151,936 and hidden 256 instead.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import torch


def ceiling() -> float:
    """FLOP/s of a large float32 product on this machine, the best of five."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    best = 0.0
    for _ in range(5):
        started = time.perf_counter()
        a @ b
        best = max(best, 2 * 2048**3 / (time.perf_counter() - started))
    return best


def run_steps(steps: int, model: str, overrides: list[str]) -> dict[str, Any]:
    """A short training run of the default recipe; medians over its steps after two of warm-up."""
    from rlzoo import configure
    from rlzoo.engine.trainer import train
    from rlzoo.runs.folder import RunDir

    config = configure.load(
        algo="grpo",
        assignments=[
            f"budget.steps={steps + 2}",
            f"model.path={model}",
            "eval.at_start=false",
            "eval.at_end=false",
            "eval.curve=0",
            *overrides,
        ],
    )
    with tempfile.TemporaryDirectory() as folder:
        train(config, Path(folder) / "run")
        lines = RunDir(Path(folder) / "run").metrics()[2:]

    def median(name: str) -> float:
        values = sorted(line.get(name, 0.0) for line in lines)
        return float(values[len(values) // 2])

    seconds = median("time/step")
    flops = (lines[-1]["cost/flops"] - lines[0]["cost/flops"]) / sum(
        line["time/step"] - line.get("time/measure", 0.0) for line in lines[1:]
    )
    stages = ("sample", "verify", "score", "measure", "update", "publish", "other")
    return {
        "seconds": seconds,
        "samples_per_s": config.sampling.prompts_per_step * config.sampling.group_size / seconds,
        "tokens_per_s": median("time/tokens_per_second"),
        "share": {stage: median(f"time/{stage}") / seconds for stage in stages},
        "flops_over_ceiling": flops / ceiling(),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def update_memory() -> dict[str, float]:
    """Peak resident memory of one update above what stands before it: model, gradients and optimizer state."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from rlzoo.engine.learning.update import build_update
    from rlzoo.engine.model.policy import Policy
    from rlzoo.engine.model.sequences import Sequences
    from rlzoo.engine.step import Step
    from rlzoo.laws.lab import Bench
    from rlzoo.types import Credit, RolloutBatch, Term

    rows, tokens, prompt = 64, 256, 16
    shape = Qwen2Config(
        vocab_size=151_936,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    policy = Policy(Qwen2ForCausalLM(shape)).eval()
    bench = Bench(
        "grpo", policy=policy, dtype=torch.float32, model={"dtype": "float32"}, learner={"tokens_per_microbatch": 4096}
    )
    bench.store.begin()
    bench.store.step(0.0, 1.0)  # the optimizer's state exists before the measurement
    generator = torch.Generator().manual_seed(0)
    made = torch.randint(3, 151_936, (rows, prompt + tokens), generator=generator).tolist()
    mask = torch.ones(rows, tokens, dtype=torch.bool)
    batch = RolloutBatch(
        response_mask_BT=mask,
        rewards_B=torch.zeros(rows),
        correct_B=torch.zeros(rows, dtype=torch.bool),
        judged_B=torch.ones(rows, dtype=torch.bool),
        truncated_B=torch.zeros(rows, dtype=torch.bool),
        group_ids_B=torch.arange(rows) // 8,
        domain_ids_B=torch.zeros(rows, dtype=torch.long),
        sampler_logps_BT=torch.zeros(rows, tokens),
        max_response=tokens,
    )
    scale = torch.randn(rows, 1, generator=generator).expand(rows, tokens)
    credit = Credit(
        advantages_BT=scale.clone(),
        terms={"policy": Term(loss_mask_BT=mask, loss_weight_BT=mask.float(), reduction="rollout")},
    )
    token_rows = Sequences([row[:prompt] for row in made], [row[prompt:] for row in made])
    step = Step(number=1, needs=bench.objective.needs(1), groups=(), batch=batch, sequences=token_rows, credit=credit)
    update = build_update(step, torch.arange(rows), None)
    before = _resident()
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    bench.learner.backward(update, step.needs, step.costs)
    bench.store.step(1e-4, 1.0)
    return {"above_model_gradients_optimizer_mb": _peak() - before, "before_mb": before}


def _status(key: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return float(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {key}")


def _resident() -> float:
    return _status("VmRSS")


def _peak() -> float:
    return _status("VmHWM")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--memory", action="store_true")
    given = parser.parse_args()
    result = update_memory() if given.memory else run_steps(given.steps, given.model, given.set)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
