"""What only a CUDA device can show of the vLLM sampler. Not yet run."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from rlzoo.engine.sampling.base import Decoding
from rlzoo.engine.trainer import train
from rlzoo.runs.folder import RunDir
from tests.scale.vllm_support import disturb, flat, largest_gap, opened, requests_of
from tests.support import small_config

pytestmark = [pytest.mark.scale, pytest.mark.gpu]

GPU = ("sampling.backend=vllm", "model.device=cuda")


def test_it_sleeps_while_the_learner_works_and_wakes_with_the_new_weights() -> None:
    """Asleep, its cache and weights are off the device."""
    with ExitStack() as stack:
        sampler, weights, _ = opened(small_config(*GPU), stack)
        awake = torch.cuda.mem_get_info()[0]
        sampler.sleep()
        assert torch.cuda.mem_get_info()[0] > awake + 2**30
        disturb(weights, 1e-3)
        sampler.publish(weights, 1)
        assert largest_gap(weights, flat(sampler.sample(requests_of(20, 4), Decoding(max_response=16)))) < 1e-3


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("place", ["inside", "process"])
def test_a_run_trains_with_the_canary_green(place: str, dtype: str, tmp_path: Path) -> None:
    """In `process` weights stay on the device, by vLLM's own transfer between processes."""
    config = small_config(*GPU, f"sampling.place={place}", f"model.dtype={dtype}", "eval.at_start=false", steps=3)
    train(config, tmp_path / "run")
    lines = RunDir(tmp_path / "run").metrics()
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert not (tmp_path / "run" / "sampler" / "weights.safetensors").exists()
    print([line["mismatch/canary"] for line in lines])
