"""Weights to a vLLM server on the same GPU without leaving it: vLLM's own transfer by CUDA IPC, whose other end is in its workers.

Written against vLLM 0.32 and not yet run: it needs a GPU. The server has to be started with `OPTIONS` and `ENVIRONMENT`.
"""

from __future__ import annotations

import base64
import pickle
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.multiprocessing.reductions import reduce_tensor

from rlzoo.engine.sampling.http_lines import ServerLines

OPTIONS = ("--weight-transfer-config", '{"backend": "ipc"}')
ENVIRONMENT = {"VLLM_ALLOW_INSECURE_SERIALIZATION": "1"}
"""Handles of CUDA memory travel as pickles; the server listens on this machine alone."""


def agree(lines: ServerLines) -> None:
    """Once, before the first weights: each comes as it is, not packed."""
    lines.ask("POST", "/init_weight_transfer_engine", {"init_info": {"packed": False}})


def send(lines: ServerLines, named: Iterable[tuple[str, Tensor]]) -> None:
    """Handles of the weights; back when the server has copied them all, so that they may change again."""
    held = [(name, weight.contiguous()) for name, weight in named]  # handles keep nothing alive
    uuid = str(torch.cuda.get_device_properties(held[0][1].device).uuid)
    torch.cuda.synchronize()
    handles = [{uuid: reduce_tensor(weight)[1]} for _, weight in held]
    told = {
        "names": [name for name, _ in held],
        "dtype_names": [str(weight.dtype).removeprefix("torch.") for _, weight in held],
        "shapes": [list(weight.shape) for _, weight in held],
        "ipc_handles_pickled": base64.b64encode(pickle.dumps(handles)).decode(),
    }
    lines.ask("POST", "/start_weight_update")
    lines.ask("POST", "/update_weights", {"update_info": told})
    lines.ask("POST", "/finish_weight_update", {})
    torch.cuda.ipc_collect()
