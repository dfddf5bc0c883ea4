"""vLLM in the trainer's own process, one for each rank: it sleeps while the learner works."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlzoo.engine.sampling.engines import CPU_BATCH, CPU_BLOCK, Draw, Sampled, Serving, failed, installed, not_loaded

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",
}
"""Unless they are set: the engine in this process, quiet, its threads as ours, 1 GiB of cache on a CPU."""
MEMORY_SHARE = 0.4
"""Of a GPU, for weights and cache together; the learner has its own beside them."""


class Inside:
    """`vllm.LLM` beside the learner."""

    shared = False
    on_device = True

    def __init__(self, served: Serving, *, device: torch.device, world: int) -> None:
        self.version = installed()
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        self.model = served.model
        self.world = world
        self.gpu = device.type == "cuda"
        self.asleep = False
        self.adapter: Any = None
        """vLLM's request for the adapter in force; None where there is none."""
        threads = torch.get_num_threads()
        own: dict[str, Any] = (
            {"enable_sleep_mode": True, "gpu_memory_utilization": MEMORY_SHARE}
            if self.gpu
            else {
                "block_size": CPU_BLOCK,
                "enable_chunked_prefill": False,
                "max_num_batched_tokens": max(CPU_BATCH, served.room),
            }
        )
        if served.adapter:
            own |= {"enable_lora": True, "max_lora_rank": served.adapter}
        if world > 1:
            own["distributed_executor_backend"] = "external_launcher"
        try:
            from vllm import LLM, SamplingParams

            self.llm: Any = LLM(
                served.model,
                skip_tokenizer_init=True,
                dtype=served.dtype,
                max_model_len=served.room,
                max_num_seqs=served.rows,
                enforce_eager=True,
                enable_prefix_caching=True,
                logprobs_mode="processed_logprobs",
                disable_log_stats=True,
                seed=0,
                **own,
            )
        except Exception as error:  # an engine of somebody else's: whatever it does not like about model or machine
            raise not_loaded(error, served.model) from error
        finally:
            torch.set_num_threads(threads)
        self.params: Any = SamplingParams

    def draw(self, draws: Sequence[Draw], settings: Mapping[str, Any]) -> list[Sampled]:
        self.wake()
        prompts = [{"prompt_token_ids": list(draw.prompt)} for draw in draws]
        params = [self.params(**settings, seed=draw.seed) for draw in draws]
        try:
            outputs = self.llm.generate(prompts, params, use_tqdm=False, lora_request=self.adapter)
        except Exception as error:
            raise failed(error, self.model) from error
        return [_sampled(output.outputs[0]) for output in outputs]

    def load(self, named: Iterator[tuple[str, Tensor]], updates: int) -> None:
        self.wake()
        try:
            self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": named})
            self.llm.reset_prefix_cache()
        except Exception as error:
            raise failed(error, self.model) from error

    def adapt(self, save: Callable[[Path], None], updates: int) -> None:
        from vllm.lora.request import LoRARequest

        self.wake()
        number = 1 if self.adapter is None else self.adapter.lora_int_id + 1
        with tempfile.TemporaryDirectory(prefix="rlzoo-adapter-") as folder:
            save(Path(folder))
            self.adapter = LoRARequest(f"rlzoo-{number}", number, folder)
            try:
                self.llm.llm_engine.add_lora(self.adapter)
            except Exception as error:
                raise failed(error, self.model) from error

    def follow(self, updates: int) -> None:
        """Each rank loads its own."""

    def sleep(self) -> None:
        """Weights to the host's memory and the cache's memory back to the device; on a CPU there is nothing to gain."""
        if self.gpu and not self.asleep:
            self.llm.sleep(level=1)
            self.asleep = True

    def wake(self) -> None:
        if self.asleep:
            self.llm.wake_up()
            self.asleep = False

    def close(self) -> None:
        self.llm = None
        gc.collect()
        if self.world == 1:
            from vllm.distributed import cleanup_dist_env_and_memory

            cleanup_dist_env_and_memory()


def _sampled(output: Any) -> Sampled:
    tokens = list(output.token_ids)
    return Sampled(tokens, [place[token].logprob for place, token in zip(output.logprobs, tokens, strict=True)])
