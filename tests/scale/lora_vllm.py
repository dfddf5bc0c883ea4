"""One vLLM in this process, and adapters published to it: prints the largest gaps of log-probs as JSON.

python tests/scale/lora_vllm.py merged|adapter FOLDER
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ |= {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


def main(way: str, folder: Path) -> None:
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    from rlzoo.engine.model.loading import load_adapted, locate
    from rlzoo.engine.model.sequences import Sequences
    from rlzoo.engine.model.weights.adapted import Adapted
    from tests.scale.test_lora import stirred
    from tests.support import small_config

    store = Adapted(load_adapted(small_config("lora.rank=8", "lora.alpha=16")))
    given: dict[str, Any] = {"enable_lora": True, "max_lora_rank": 8} if way == "adapter" else {}
    llm = LLM(
        locate("tiny"),
        dtype="float32",
        max_model_len=128,
        enforce_eager=True,
        seed=0,
        logprobs_mode="processed_logprobs",
        max_num_seqs=64,
        **given,
    )
    prompt = (5, 6, 7, 8)

    def gap(request: LoRARequest | None = None) -> float:
        """Between what vLLM says of tokens it samples, and what the store says of them."""
        asked = SamplingParams(n=8, max_tokens=16, logprobs=0, seed=1)
        found = llm.generate([{"prompt_token_ids": list(prompt)}], asked, use_tqdm=False, lora_request=request)[0]
        rows = Sequences([prompt] * 8, [tuple(one.token_ids) for one in found.outputs])
        theirs = [
            step[token].logprob
            for one in found.outputs
            for step, token in zip(one.logprobs or [], one.token_ids, strict=True)
        ]
        return max(abs(a - b) for a, b in zip(theirs, store.forward(rows).logps_K.tolist(), strict=True))

    told = {"start": gap()}
    stirred(store.policy, 0.02)
    told["unpublished"] = gap()
    started = time.perf_counter()
    if way == "merged":
        llm.collective_rpc("reload_weights", kwargs={"weights_iterator": store.full()})
        llm.reset_prefix_cache()
        told["seconds"] = time.perf_counter() - started
        told["published"] = gap()
    else:
        store.save_adapter(folder)
        told["seconds"] = time.perf_counter() - started
        told["published"] = gap(LoRARequest("rlzoo", 1, str(folder)))
        stirred(store.policy, 0.02)
        store.save_adapter(folder)
        told["same identity"] = gap(LoRARequest("rlzoo", 1, str(folder)))
        told["new identity"] = gap(LoRARequest("rlzoo-2", 2, str(folder)))
        stirred(store.policy, 0.02)
        store.save_adapter(folder)
        told["in place"] = gap(LoRARequest("rlzoo-2", 2, str(folder), load_inplace=True))
    print(json.dumps(told), flush=True)
    os._exit(0)  # vLLM's own end waits


if __name__ == "__main__":
    faulthandler.dump_traceback_later(900, exit=True)
    main(sys.argv[1], Path(sys.argv[2]))
