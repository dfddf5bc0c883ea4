"""DeepSpeed's ZeRO: optimizer state (1), gradients too (2), weights too (3) are cut up over ranks.

DeepSpeed averages over ranks and drops an update whose norm is not finite; here gradients are summed, and it is made to drop
what is not to be stepped by giving it such a gradient.
"""

from __future__ import annotations

import copy
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor

from rlzoo.engine.model.divergence import Match
from rlzoo.engine.model.policy import Outputs, Policy
from rlzoo.engine.model.sequences import Sequences
from rlzoo.engine.model.weights.base import WeightStore
from rlzoo.engine.model.weights.fsdp2 import Fsdp2
from rlzoo.engine.model.weights.pieces import ShardedStore, filled, give_room
from rlzoo.engine.model.weights.replicated import MakeOptimizer, Replicated
from rlzoo.engine.ranks import Ranks
from rlzoo.training_config import LearnerConfig
from rlzoo.types import Pooling

PROBE = Sequences([(0,)], [(0,)])
"""One token behind another, for a pass that is worth nothing."""


class Zero(ShardedStore):
    """What is trained, in DeepSpeed's hands. Masters are float32, in pieces."""

    def __init__(
        self,
        policy: Policy,
        settings: LearnerConfig,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
        optimizer: MakeOptimizer,
        ranks: Ranks,
    ) -> None:
        """`policy`: the same on every rank; where its weights are shapes alone, `take` is to follow."""
        dtype, device = dtype or policy.output.weight.dtype, device or policy.device
        super().__init__(policy, dtype=dtype, device=device, ranks=ranks)
        self.stage, self.offload = int(settings.shard[-1]), settings.offload
        self.waiting = False
        """Whether gradients wait for a step."""
        came = {name: p.detach().to("cpu", copy=True) for name, p in policy.named_parameters() if p.dtype != dtype}
        give_room(policy, torch.device("cpu"))
        for parameter in policy.parameters():
            parameter.data = parameter.data.to(dtype)
        deepspeed = _deepspeed(device)
        # It knows matrices from vectors, while there are some.
        made = optimizer(p for p in policy.parameters() if p.requires_grad)
        told = _told(self.stage, dtype, self.offload, sum(p.numel() for p in policy.parameters()))
        if self.stage == 3:  # weight by weight onto the device, never all of them
            deepspeed.zero.Init(module=policy, config_dict_or_path=told, dtype=dtype)
        self.engine, self.zero, *_ = deepspeed.initialize(model=policy, optimizer=made, config=told)
        if self.stage == 3 and dtype == self.wide and not self.offload:
            _share_masters(self.zero)
        policy.eval()
        self.module = self.engine
        self.held: dict[str, Any] = dict(policy.named_parameters())
        self.named = {name: p for name, p in self.held.items() if p.requires_grad}
        for name, tensor in came.items():
            if not tensor.is_meta:
                self.place(name, tensor.to(device))

    # -- pieces -------------------------------------------------------------------------------------------

    @torch.no_grad()
    def gathered(self, name: str) -> Tensor:
        """As the base says. Any shape"""
        from deepspeed import zero
        from deepspeed.utils import safe_get_full_fp32_param

        held, shape = self.held[name], self.shell.get_parameter(name).shape
        if name in self.trainable and (self.stage == 3 or self.dtype != self.wide):
            whole: Tensor = safe_get_full_fp32_param(held).view(shape)
            return whole.to(self.device)
        if self.stage < 3:
            return cast(Tensor, held.detach())
        with zero.GatheredParameters([held]):
            return cast(Tensor, held.detach().clone())

    @torch.no_grad()
    def place(self, name: str, whole: Tensor) -> None:
        from deepspeed import zero

        held = self.held[name]
        if self.stage == 3:
            with zero.GatheredParameters([held], modifier_rank=0):
                held.data.copy_(whole)
        else:
            held.data.copy_(whole)
        if name in self.trainable:
            self._put(held, whole)

    def _put(self, held: Any, whole: Tensor, key: str | None = None) -> None:
        """Keep this rank's piece of a master, or of the optimizer's tensor `key` beside it."""
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        if self.stage < 3:
            whole = whole.float()
            safe_set_full_fp32_param(held, whole) if key is None else safe_set_full_optimizer_state(held, whole, key)
            return
        # its own setter takes no weight that does not divide evenly
        piece, _ = self.zero._get_fp32_opt_state_partition(held, release_swap_buffers=False, optim_state_key=key)
        start = self.ranks.rank * piece.numel()
        mine = whole.reshape(-1)[start : start + piece.numel()]
        piece[: mine.numel()].copy_(mine)

    # -- the gradient -------------------------------------------------------------------------------------

    def forward(
        self,
        sequences: Sequences,
        *,
        pooling: Pooling | None = None,
        logps: bool = True,
        matches: Sequence[Match] = (),
    ) -> Outputs:
        outputs = super().forward(sequences, pooling=pooling, logps=logps, matches=matches)
        if torch.is_grad_enabled():
            outputs = _summed(outputs, self.ranks.world)
            self._remember(outputs)
        return outputs

    def begin(self) -> None:
        self.clear()

    def backward(self, loss: Tensor, *, last: bool) -> None:
        self.engine.set_gradient_accumulation_boundary(last)
        self.engine.backward(self.reaching(loss))
        self.waiting = True

    def gradient(self) -> Tensor:
        from deepspeed.utils import safe_get_full_grad

        if not self.waiting:
            self._pass(0.0)
        return torch.cat([safe_get_full_grad(p).reshape(-1).cpu().double() for p in self.named.values()])

    def clear(self) -> None:
        if self.waiting:
            self._drop()

    def step(self, lr: float, max_norm: float, *, veto: bool = False) -> float:
        if not self.waiting:  # momentum moves weights that no loss reached
            self._pass(0.0)
        if veto:
            self._drop()
            return float("nan")
        self.zero.clip_grad = max_norm
        for group in self.zero.param_groups:
            group["lr"] = lr
        self.engine.step()
        self.waiting = False
        return float(self.engine.get_global_grad_norm())

    def _pass(self, worth: float) -> None:
        """A pass through all weights whose loss is worth so much."""
        with torch.enable_grad():
            loss = self.forward(PROBE).logps_K.sum() * worth
            self.backward(loss, last=True)

    def _drop(self) -> None:
        """Forget the gradients that wait, in the one way that DeepSpeed has: by a norm that is not finite."""
        self._pass(float("nan"))
        self.engine.step()
        self.waiting = False

    # -- the weights --------------------------------------------------------------------------------------

    @contextmanager
    def whole(self, *, host: bool = False) -> Iterator[Policy]:
        if self.stage < 3:
            yield self.policy
            return
        with super().whole(host=host) as policy:
            yield policy

    def copy(self) -> WeightStore:
        if self.stage == 3:
            shell = copy.deepcopy(self.shell)
            sliced = Fsdp2(shell, dtype=self.dtype, device=self.device, ranks=self.ranks, offload=self.offload)
            sliced.follow(self, 0.0)
            return sliced
        return _whole_copy(self)

    def state(self) -> dict[str, Any]:
        from deepspeed.utils import safe_get_full_optimizer_state

        self._link()
        moments: Mapping[str, Any] = next((held for held in self.zero.optimizer.state.values() if held), {})
        optimizer: dict[str, dict[str, Tensor]] = {}
        for name, held in self.named.items():
            for key, value in moments.items():
                shape = self.shell.get_parameter(name).shape
                whole = safe_get_full_optimizer_state(held, key).view(shape) if value.dim() else value
                if self.ranks.first:
                    optimizer.setdefault(name, {})[key] = whole.detach().to("cpu", copy=True)
        return {"masters": self.weights_state()["masters"], "weights": None, "optimizer": optimizer}

    def _link(self) -> None:
        """Let DeepSpeed find the optimizer's tensors beside each weight: it looks once, when not all of them are there."""
        if self.stage < 3:
            self.zero._hp_optimizer_states_linked = False
            self.zero._lazy_init_hp_params_optimizer_state()

    @torch.no_grad()
    def load(self, state: Mapping[str, Any]) -> None:
        self.take_state(state)
        if not state["optimizer"]:
            return
        one = next(iter(state["optimizer"].values()))
        pieces = (
            self.zero.fp32_partitioned_groups_flat if self.stage == 3 else self.zero.single_partition_of_fp32_groups
        )
        for piece in pieces:
            self.zero.optimizer.state[piece] = {
                key: torch.zeros_like(piece) if value.dim() else value.clone() for key, value in one.items()
            }
        self._link()
        for name, held in self.named.items():
            for key, value in state["optimizer"][name].items():
                if value.dim():
                    self._put(held, value.to(self.device), key)


class _Times(torch.autograd.Function):
    """The tensor itself; its gradient so many times."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, times: float) -> Tensor:
        ctx.times = times
        return tensor.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return gradient * ctx.times, None


def _summed(outputs: Outputs, world: int) -> Outputs:
    """The outputs, of whose gradient DeepSpeed's mean over ranks is the sum. Here, so that no head's gradient is multiplied."""

    def times(tensor: Tensor) -> Tensor:
        scaled: Tensor = _Times.apply(tensor, float(world))  # type: ignore[no-untyped-call]
        return scaled

    embeddings_BH = outputs.embeddings_BH
    return outputs._replace(
        logps_K=times(outputs.logps_K),
        entropy_K=times(outputs.entropy_K),
        hidden_KH=times(outputs.hidden_KH),
        embeddings_BH=None if embeddings_BH is None else times(embeddings_BH),
        divergences=tuple(map(times, outputs.divergences)),
    )


def _share_masters(zero: Any) -> None:
    """Let slices of weights that are as precise as their masters be these themselves: DeepSpeed would hold each twice."""
    held = zip(zero.fp16_partitioned_groups_flat, zero.fp32_partitioned_groups_flat, strict=True)
    for weights, masters in held:
        masters.data = weights.data


def _whole_copy(store: Zero) -> Replicated:
    """The store's weights, whole on each rank, with masters and not trained."""
    policy = filled(store.shell, {name: tensor.clone() for name, tensor in store.exact()})
    for name, parameter in policy.named_parameters():
        parameter.requires_grad_(name in store.trainable)
    twin = Replicated(policy, dtype=store.dtype, ranks=store.ranks)
    twin.policy.requires_grad_(False)
    return twin


def _deepspeed(device: torch.device) -> Any:
    """The library, told of the device and of the processes that are there already."""
    if device.type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed

    if device.type == "cpu":
        # It would compile an operator of its own at start, and wait for a compiler that was killed.
        deepspeed.ops.__compatible_ops__.update(dict.fromkeys(deepspeed.ops.__compatible_ops__, False))
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    # What torch says of DeepSpeed's calls, at every one of them.
    warnings.filterwarnings("ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning)
    deepspeed.init_distributed("gloo" if device.type == "cpu" else "nccl", verbose=False)
    return deepspeed


def _told(stage: int, dtype: torch.dtype, offload: bool, size: int) -> dict[str, Any]:
    """DeepSpeed's settings. What it sends at once, or gathers ahead, is a share of the model, whatever its `size` in parameters."""
    part = max(size // 16, 1 << 16)
    cut: dict[str, Any] = {
        "stage": stage,
        "overlap_comm": False,
        "reduce_bucket_size": part,
        "allgather_bucket_size": part,
        "stage3_param_persistence_threshold": 0,
        "stage3_prefetch_bucket_size": part,
        "stage3_max_live_parameters": 2 * part,
        "stage3_max_reuse_distance": 2 * part,
    }
    if offload:
        cut["offload_optimizer"] = {"device": "cpu"}
        if stage == 3:
            cut["offload_param"] = {"device": "cpu"}
    told: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": cut,
        "steps_per_print": 1 << 31,
    }
    if dtype == torch.bfloat16:
        told |= {
            "bf16": {"enabled": True, "check_grad_overflow": True},
            "data_types": {"grad_accum_dtype": "fp32"},
            "communication_data_type": "fp32",
        }
    return told
