"""What it costs to train rows laid end to end instead of padded, on a CPU: seconds padded over seconds packed, five rounds in turn.

    python -m benchmarks.packing [--rounds 5] [--model tiny] [--budget 2048]

256 rows of a prompt of 12 tokens and a response of 4 to `--longest`, most of them short (the longest times a uniform number cubed),
forward and backward of one sum of log-probs, in micro-batches of `--budget` tokens. One thread. Seconds are the process's own on the
processor, which other work on the machine stretches less than those on the wall.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from statistics import median
from typing import Any

import torch

from rlzoo import configure
from rlzoo.engine.model.loading import load_policy
from rlzoo.engine.model.passes import microbatches
from rlzoo.engine.model.policy import Policy
from rlzoo.engine.model.sequences import Sequences

PROMPT, ROWS = 12, 256


def rows_of(longest: int, vocabulary: int) -> Sequences:
    """Ragged rows, the same every time."""
    chance = random.Random(0)
    lengths = [4 + int((longest - 4) * chance.random() ** 3) for _ in range(ROWS)]
    tokens = [[chance.randrange(3, vocabulary) for _ in range(PROMPT + n)] for n in lengths]
    return Sequences([row[:PROMPT] for row in tokens], [row[PROMPT:] for row in tokens])


def once(policy: Policy, rows: Sequences, budget: int, *, packed: bool) -> tuple[float, int]:
    """Seconds on the processor, and passes."""
    policy.packing = packed
    started, passes = time.process_time(), 0
    for index in microbatches(rows.lengths, budget, packed=packed):
        policy(rows.take(index)).logps_K.sum().backward()
        passes += 1
    seconds = time.process_time() - started
    policy.zero_grad()
    return seconds, passes


def measure(model: str, budget: int, longest: int, rounds: int) -> dict[str, Any]:
    policy = load_policy(configure.load(algo="grpo", assignments=[f"model.path={model}"]))
    rows = rows_of(longest, policy.output.out_features)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    passes = {packed: once(policy, rows, budget, packed=packed)[1] for packed in seconds}  # of warm-up
    for _ in range(rounds):
        for packed, found in seconds.items():
            found.append(once(policy, rows, budget, packed=packed)[0])
    padded, real = (
        sum(len(i) * max(rows.take(i).lengths) for i in microbatches(rows.lengths, budget)),
        sum(rows.lengths),
    )
    return {
        "model": model,
        "budget": budget,
        "longest": longest,
        "passes": {"padded": passes[False], "packed": passes[True]},
        "padded_tokens_over_real": round(padded / real, 3),
        "ratios": [round(a / b, 3) for a, b in zip(seconds[False], seconds[True], strict=True)],
        "ratio": round(median(a / b for a, b in zip(seconds[False], seconds[True], strict=True)), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--budget", type=int, default=2048)
    parser.add_argument("--longest", type=int, default=116)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(measure(given.model, given.budget, given.longest, given.rounds)))


if __name__ == "__main__":
    main()
