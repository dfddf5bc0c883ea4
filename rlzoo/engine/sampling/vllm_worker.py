"""What a vLLM server is taught beside its own: to take weights from a file, and to say whose they are.

`--worker-extension-cls rlzoo.engine.sampling.vllm_worker.WeightReceiver` puts the class below its workers; the trainer calls its methods
over HTTP. Nothing of torch or vLLM is imported with this module, since the trainer reads it too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

EXTENSION = "2"
"""Raised with every change of what the methods below take or tell."""
_SHAPE = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")


def shape_of(settings: Any) -> dict[str, Any]:
    """What tells one model from another by its settings."""
    text = settings.get_text_config()
    return {"architecture": (settings.architectures or ["?"])[0]} | {name: getattr(text, name, None) for name in _SHAPE}


class WeightReceiver:
    """Methods of each worker, which vLLM calls by name. Answers are dictionaries: others would reach the trainer as text."""

    model_runner: Any
    vllm_config: Any
    weights_owner = ""
    weights_updates = -1

    def rlzoo_state(self) -> dict[str, Any]:
        """Whose weights are in force, and what is served."""
        model = self.vllm_config.model_config
        return {
            "extension": EXTENSION,
            "owner": self.weights_owner,
            "updates": self.weights_updates,
            "shape": shape_of(model.hf_config),
            "dtype": str(model.dtype).removeprefix("torch."),
            "room": model.max_model_len,
            "adapter": self._adapter_room(),
            "logps": str(getattr(model.logprobs_mode, "value", model.logprobs_mode)),
        }

    def _adapter_room(self) -> int:
        """The largest rank of an adapter that a run may publish; 0 where it may publish none."""
        settings = self.vllm_config.lora_config
        allowed = os.environ.get("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "0") in ("1", "true", "True")
        return settings.max_lora_rank if settings is not None and allowed else 0

    def rlzoo_load(self, file: str, owner: str, updates: str) -> dict[str, Any]:
        """Take over the weights in a safetensors file."""
        self.weights_updates = -1  # should it fail half-way
        self.model_runner.reload_weights(weights_iterator=_read(file))
        return self.rlzoo_mark(owner, updates)

    def rlzoo_mark(self, owner: str, updates: str) -> dict[str, Any]:
        """Weights came in another way: these are they."""
        self.weights_owner, self.weights_updates = owner, int(updates)
        return self.rlzoo_state()


def _read(file: str) -> Iterator[tuple[str, Any]]:
    from safetensors import safe_open

    with safe_open(file, framework="pt", device="cpu") as weights:
        for name in weights.keys():  # noqa: SIM118  not a mapping
            yield name, weights.get_tensor(name)
