"""Adapters over a model whose own weights stay as they are: low-rank products beside its linear layers, by peft."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rlzoo.engine.model.policy import Policy
from rlzoo.errors import ConfigError, did_you_mean
from rlzoo.training_config import LoraConfig

NAME = "default"
"""What peft calls an adapter that nobody named."""
FOLDER = "adapter"
"""Of a checkpoint, in it: beside the merged weights, since a folder that holds both would be read as the adapter alone."""
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""As peft calls its files."""


def adaptable(model: Any) -> dict[str, nn.Module]:
    """The layers of `model` that can have an adapter, by name: all linear ones, GPT-2's kind included, but the output layer."""
    from transformers.pytorch_utils import Conv1D

    output = model.get_output_embeddings()
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, (nn.Linear, Conv1D)) and layer is not output
    }


def chosen(model: Any, targets: tuple[str, ...]) -> tuple[str, ...]:
    """The names by which layers get an adapter: `targets`, or those of all that can. ConfigError for one that names none."""
    known = adaptable(model)
    kind, leaves = type(model).__name__, {name.rpartition(".")[2] for name in known}
    if not known:
        raise ConfigError(
            f"lora.rank is set, but {kind} has no linear layer beside its output layer, and an adapter is a product beside one. "
            "Set lora.rank=0, or use another architecture."
        )
    for target in targets:
        if not any(_called(name, target) for name in known):
            last = [n for n, layer in model.named_modules() if layer is model.get_output_embeddings()]
            what = "is the output layer" if any(_called(n, target) for n in last) else "names no linear layer"
            raise ConfigError(
                f"lora.targets: {target!r} {what} of {kind}, and only its other linear layers take an adapter. {did_you_mean(target, leaves)}"
            )
    return targets or tuple(sorted(leaves))


def _called(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


class AdaptedPolicy(Policy):
    """A policy with adapters in force. They are float32 at least; what lies below them keeps its precision and never changes."""

    def __init__(self, model: nn.Module, *, base: str, **settings: Any) -> None:
        """`base`: where the weights below came from, for whoever reads the adapter without them."""
        super().__init__(model, **settings)
        self.base = base
        self.adapters: dict[str, nn.Parameter] = {n: p for n, p in self.model.named_parameters() if ".lora_" in n}
        self.requires_grad_(False)
        for adapter in self.adapters.values():
            adapter.requires_grad_(True)

    def _layers(self) -> dict[str, Any]:
        from peft.tuners.tuners_utils import BaseTunerLayer

        return {name: layer for name, layer in self.model.named_modules() if isinstance(layer, BaseTunerLayer)}

    @contextmanager
    def holding(self, adapters: Mapping[str, Tensor] | None) -> Iterator[None]:
        """Within, `adapters` are in force, or none at all: the layers below then answer alone, to the bit."""
        if adapters is None:
            layers = self._layers().values()
            for layer in layers:
                layer.enable_adapters(False)
            try:
                yield
            finally:
                for layer in layers:
                    layer.enable_adapters(True)
            return
        own = {name: parameter.data for name, parameter in self.adapters.items()}
        try:
            for name, parameter in self.adapters.items():
                parameter.data = adapters[name]
            yield
        finally:
            for name, parameter in self.adapters.items():
                parameter.data = own[name]

    # -- by other tools' names ----------------------------------------------------------------------------

    def plain(self) -> dict[str, Tensor]:
        """The weights below the adapters, by the names that the model has without them. Any shape"""
        state = self.model.state_dict()
        return {name.replace(".base_layer.", "."): value for name, value in state.items() if ".lora_" not in name}

    @torch.no_grad()
    def merged(self) -> dict[str, Tensor]:
        """One model that does what weights and adapters do together, in the weights' own precision, by its plain names. Any shape"""
        weights = self.plain()
        for name, layer in self._layers().items():
            weight, product = layer.base_layer.weight, layer.get_delta_weight(NAME)
            weights[f"{name}.weight"] = (weight.to(product.dtype) + product).to(weight.dtype)
        return weights

    def adapter(self) -> Iterator[tuple[str, Tensor]]:
        """The adapters alone, by the names of peft's files. Any shape"""
        for name, parameter in self.adapters.items():
            yield _peft(name), parameter.detach()

    def adapter_config(self) -> dict[str, Any]:
        """As peft's files have it, in an order that is always the same."""
        told = self.model.peft_config[NAME].to_dict() | {"base_model_name_or_path": self.base, "inference_mode": True}
        return {name: sorted(value) if isinstance(value, set) else value for name, value in sorted(told.items())}

    def save_adapter(self, folder: Path) -> None:
        """What `PeftModel.from_pretrained` reads, and servers that take adapters."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.adapter_config(), indent=2, default=str)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
        tensors = {name: value.cpu().contiguous() for name, value in self.adapter()}
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})

    def save(self, folder: Path) -> None:
        """The merged model as any other, and the adapter in a folder within."""
        self.model.save_pretrained(folder, state_dict=self.merged())
        self.save_adapter(folder / FOLDER)

    @torch.no_grad()
    def read(self, folder: Path) -> None:
        """Take over the adapter of a checkpoint, bit for bit."""
        from safetensors.torch import load_file

        found = load_file(folder / FOLDER / WEIGHTS)
        for name, parameter in self.adapters.items():
            parameter.copy_(found[_peft(name)])


def _peft(name: str) -> str:
    return f"base_model.model.{name}".replace(f".{NAME}.", ".")


def adapted(policy: Policy, settings: LoraConfig, *, base: str, seed: int) -> AdaptedPolicy:
    """`policy` with new adapters over it, which begin as nothing: their first factor is noise, their second zero."""
    import peft
    from transformers.pytorch_utils import Conv1D

    model = policy.model
    names, layers = chosen(model, settings.targets), adaptable(model)
    output = [name for name, layer in model.named_modules() if layer is policy.output]
    asked = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=list(names),
        exclude_modules=output if any(_called(o, name) for o in output for name in names) else None,
        lora_dropout=0.0,  # skipped rows, resumed runs and other micro-batches would differ
        fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in layers.values()),
        task_type="CAUSAL_LM",
    )
    device, wide = policy.device, policy.wide
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(asked, model.to("cpu"))
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.to(wide)
    model.to(device)
    given = {name: getattr(policy, name) for name in ("temperature", "logit_elements", "packing")}
    return AdaptedPolicy(model, base=base, **given).eval()
