"""Adapters as peft puts them in, for tests where peft is not installed: what rlzoo calls of it, over real low-rank products.

That peft itself does so is tried in tests/scale/test_lora.py.
"""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

import pytest
from torch import Tensor, nn
from transformers.utils.import_utils import is_peft_available


@dataclass
class LoraConfig:
    r: int
    lora_alpha: int
    target_modules: Any
    exclude_modules: Any
    lora_dropout: float
    fan_in_fan_out: bool
    task_type: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"target_modules": set(self.target_modules)}


class BaseTunerLayer:
    """Of all layers that have an adapter."""


class Low(nn.Module, BaseTunerLayer):
    """A linear layer, or GPT-2's kind, which is its transpose, with a product beside it."""

    def __init__(self, layer: Any, config: LoraConfig) -> None:
        super().__init__()
        height, width = layer.weight.shape[::-1] if config.fan_in_fan_out else layer.weight.shape
        self.base_layer = layer
        self.lora_A = nn.ModuleDict({"default": nn.Linear(width, config.r, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(config.r, height, bias=False)})
        nn.init.kaiming_uniform_(self.factor("A"), a=math.sqrt(5))
        nn.init.zeros_(self.factor("B"))
        self.scaling, self.turned, self.on = config.lora_alpha / config.r, config.fan_in_fan_out, True

    def factor(self, which: str) -> Any:
        return getattr(self, f"lora_{which}")["default"].weight

    def enable_adapters(self, enabled: bool) -> None:
        self.on = enabled
        for which in ("A", "B"):
            self.factor(which).requires_grad_(enabled)

    def get_delta_weight(self, adapter: str) -> Tensor:
        assert adapter == "default"
        product: Tensor = self.factor("B") @ self.factor("A") * self.scaling
        return product.T if self.turned else product

    def forward(self, given: Tensor) -> Tensor:
        plain: Tensor = self.base_layer(given)
        if not self.on:
            return plain
        low = given.to(self.factor("A").dtype) @ self.factor("A").T @ self.factor("B").T
        return plain + (low * self.scaling).to(plain.dtype)


def inject_adapter_in_model(config: LoraConfig, model: Any) -> Any:
    assert all(parameter.device.type == "cpu" for parameter in model.parameters())
    assert config.lora_dropout == 0.0
    for name, layer in list(model.named_modules()):
        asked = any(name == target or name.endswith(f".{target}") for target in config.target_modules)
        if asked and name not in (config.exclude_modules or ()):
            model.set_submodule(name, Low(layer, config))
    model.peft_config = {"default": config}
    return model


def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be found under peft's name."""
    is_peft_available()  # transformers remembers the first answer, and that must be the true one
    peft, tuners, utils = (ModuleType(name) for name in ("peft", "peft.tuners", "peft.tuners.tuners_utils"))
    vars(peft).update(LoraConfig=LoraConfig, inject_adapter_in_model=inject_adapter_in_model)
    vars(utils).update(BaseTunerLayer=BaseTunerLayer)
    for module in (peft, tuners, utils):
        monkeypatch.setitem(sys.modules, module.__name__, module)
