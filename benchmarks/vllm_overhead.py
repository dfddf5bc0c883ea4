"""What the sampler costs over vLLM itself: rollouts through `VllmSampler`, inside, against the same prompts through `LLM.generate`.

    python -m benchmarks.vllm_overhead [--rounds 5] [--prompts 64] [--group 8] [--max-response 32] [--model tiny]

Rounds are interleaved, the order turned in each, after one of warm-up; told are minima and medians in seconds. The prefix cache is dropped before each
measurement, so that neither finds what the other has computed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any


def measure(rounds: int, prompts: int, group: int, max_response: int, model: str) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    from rlzoo import configure
    from rlzoo.engine.model.loading import frozen_store, load_tokenizer
    from rlzoo.engine.sampling.base import Decoding, Request
    from rlzoo.engine.sampling.choice import open_sampler
    from rlzoo.engine.sampling.noise import row_key

    config = configure.load(
        algo="grpo",
        assignments=[
            f"model.path={model}",
            "sampling.backend=vllm",
            f"sampling.max_response={max_response}",
            "threads=1",
        ],
    )
    requests = [
        Request(
            prompt_tokens=tuple(3 + row_key(at, place) % 57 for place in range(8 + row_key(at) % 32)),
            keys=tuple(row_key("key", at, k) for k in range(group)),
        )
        for at in range(prompts)
    ]
    with ExitStack() as stack:
        sampler: Any = open_sampler(config, load_tokenizer(model), frozen_store(config), stack)
        engine = sampler.engine
        given = [{"prompt_token_ids": list(r.prompt_tokens)} for r in requests for _ in r.keys]

        def raw() -> None:
            params = [
                engine.params(
                    temperature=1.0,
                    max_tokens=max_response,
                    logprobs=0,
                    seed=key % 2**63,
                    stop_token_ids=list(sampler.ends),
                    detokenize=False,
                )
                for r in requests
                for key in r.keys
            ]
            engine.llm.generate(given, params, use_tqdm=False)

        def ours() -> None:
            sampler.sample(requests, Decoding(max_response=max_response))

        def timed(work: Callable[[], None]) -> float:
            engine.llm.reset_prefix_cache()
            begun = time.perf_counter()
            work()
            return time.perf_counter() - begun

        times: dict[str, list[float]] = {"raw": [], "sampler": []}
        for number in range(rounds + 1):
            order = [("raw", raw), ("sampler", ours)]
            for name, work in order if number % 2 else order[::-1]:
                spent = timed(work)
                if number:
                    times[name].append(spent)
    told = {name: {"min": min(spent), "median": statistics.median(spent)} for name, spent in times.items()}
    over = {how: told["sampler"][how] / told["raw"][how] - 1 for how in ("min", "median")}
    return {**told, "overhead": over, "responses": prompts * group}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--max-response", type=int, default=32)
    parser.add_argument("--model", default="tiny")
    print(json.dumps(measure(**vars(parser.parse_args())), indent=1))
