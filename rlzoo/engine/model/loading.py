"""Loading a policy and its tokenizer: the embedded models, a local folder, or a hub name."""

from __future__ import annotations

import hashlib
from functools import partial
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from rlzoo.anchoring import expanded
from rlzoo.config import EMBEDDED, RunConfig
from rlzoo.engine.model.lora import AdaptedPolicy, adapted, chosen
from rlzoo.engine.model.policy import Policy
from rlzoo.engine.model.suitability import check_kind, check_packing, check_policy
from rlzoo.engine.model.weights.adapted import Adapted
from rlzoo.engine.model.weights.base import WeightStore
from rlzoo.engine.model.weights.holding import hold, holds_whole
from rlzoo.engine.model.weights.replicated import MakeOptimizer, Replicated
from rlzoo.engine.ranks import Ranks
from rlzoo.errors import ConfigError, ModelError, RlzooError, UnfitModel
from rlzoo.mishaps import machine_fault
from rlzoo.placement import placement
from rlzoo.training_config import ModelConfig

FLASH = "flash_attention_2"
"""FlashAttention, as transformers calls it."""


def locate(path: str) -> str:
    """Where `from_pretrained` finds the model that a config names. UnfitModel for a local folder that is no model."""
    if path in EMBEDDED:
        return str(resources.files("rlzoo") / "models" / path)
    folder = expanded(path)
    if not folder.exists():
        if path.startswith((".", "/", "~")) or path.count("/") > 1:
            raise UnfitModel(
                f"model {path!r} does not exist. Give a folder made by save_pretrained, a hub name, or one of {', '.join(EMBEDDED)}."
            )
        if path.count("/") != 1:
            raise UnfitModel(
                f"there is no model {path!r}: no such folder, and a hub name has the form 'owner/name'. "
                f"The embedded ones are {', '.join(EMBEDDED)}."
            )
        return path
    if not (folder / "config.json").is_file():
        raise UnfitModel(
            f"{path!r} is no model: it has no config.json. Give a folder made by save_pretrained, a checkpoint of a run "
            f"(RUN/checkpoints/step-...), a hub name, or one of {', '.join(EMBEDDED)}."
        )
    return str(folder)


def pick_device(config: ModelConfig) -> torch.device:
    """Of several ranks, each has the device of its number on its machine; or the only one it is shown."""
    if config.device == "cpu" or (config.device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UnfitModel("model.device is 'cuda', but torch sees no CUDA device. Set it to 'auto' or 'cpu'.")
    mine = placement()
    return torch.device("cuda") if mine.world == 1 else _own_device(mine.local_rank, torch.cuda.device_count())


def _own_device(local_rank: int, devices: int) -> torch.device:
    if devices == 1:  # whether it is shown to this rank alone is found out where ranks meet
        return torch.device("cuda", 0)
    if local_rank >= devices:
        raise UnfitModel(
            f"it would compute on cuda:{local_rank}, but its machine has {devices} CUDA devices, and ranks do not share one. "
            f"Start at most {devices} ranks there (--nproc, --nproc-per-node), or set model.device=cpu."
        )
    return torch.device("cuda", local_rank)


def load_tokenizer(path: str) -> Any:
    from transformers import AutoTokenizer

    where = locate(path)
    try:
        return AutoTokenizer.from_pretrained(where)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"the tokenizer of {path!r} cannot be loaded: {_first_line(error)}") from error


def settings_of(path: str) -> Any:
    """A model's own settings; no weights are read."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(locate(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, RlzooError):
            raise
        raise ModelError(f"model {path!r} cannot be loaded: {_first_line(error)}") from error


def architecture_of(path: str) -> type:
    """The class of a model, by its settings alone: no weights are read. Refused where it is none that can be trained here."""
    return check_kind(settings_of(path), path)


def shape_of(path: str) -> Any:
    """A model's layers by its settings alone: shapes without memory."""
    from transformers import AutoConfig, AutoModelForCausalLM

    architecture_of(path)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(locate(path)))


def parameters_of(path: str) -> int | None:
    """How many parameters a model has, by its settings alone; None where these cannot be read."""
    try:
        return sum(int(p.numel()) for p in shape_of(path).parameters())
    except Exception:  # a model that is not there, or is of no use: whoever loads it says so
        return None


def load_policy(
    config: RunConfig, *, path: str | None = None, masters: bool = False, device: torch.device | None = None
) -> Policy:
    """The policy of `config`, from `path` if given (a checkpoint), else from `model.path` with its jitter.

    `masters`: in float32 at least, also where the run computes in less. `device`: another than the run's.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    named = path or config.model.path
    where = locate(named)
    device = device or pick_device(config.model)
    architecture_of(named)
    dtype = getattr(torch, config.model.dtype)
    dtype = torch.promote_types(dtype, torch.float32) if masters else dtype
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(where, dtype=dtype, **_masked(config.model))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        if fault := machine_fault(error, config, "load"):
            raise fault from error
        raise ModelError(f"model {named!r} cannot be loaded: {_first_line(error)}") from error
    if path is None and config.model.jitter:
        _jitter(model, config.model.jitter, config.seed)
    policy = Policy(
        model.to(device),
        temperature=config.sampling.temperature,
        logit_elements=config.learner.logit_elements,
        packing=config.learner.packing,
    ).eval()
    check_policy(policy, named)
    if flash_attention(config.model, named):  # after what was tried in float32, which it does not compute in
        policy.model.set_attn_implementation(FLASH)
    return policy


def flash_attention(config: ModelConfig, path: str | None = None) -> bool:
    """Whether attention of the model at `path` (None: the policy) is FlashAttention: where it is asked for, and by `auto` where all that it
    needs is there. UnfitModel where it is asked for and could not run."""
    lacking = (
        _flash_lacks(config, path or config.path) if config.attention in ("auto", FLASH) else "it is not asked for"
    )
    if lacking and config.attention == FLASH:
        raise UnfitModel(f"model.attention is {FLASH!r}, but {lacking}.")
    return not lacking


def _flash_lacks(config: ModelConfig, path: str) -> str:
    """Why FlashAttention cannot run here, in the model at `path`, and what to do instead; empty where it can."""
    if pick_device(config).type != "cuda":
        return "it runs on CUDA alone and this run's device is the CPU. Use 'auto' or 'sdpa'"
    if config.dtype != "bfloat16":
        return f"it computes in bfloat16 and model.dtype is {config.dtype}. Set model.dtype=bfloat16, or use 'sdpa'"
    if find_spec("flash_attn") is None:
        return "flash-attn is not installed. Install it with `pip install flash-attn`, or use 'sdpa'"
    kind = architecture_of(path)
    return (
        "" if getattr(kind, "_supports_flash_attn", False) else f"{kind.__name__} cannot use it. Use 'auto' or 'sdpa'"
    )


def _masked(config: ModelConfig) -> dict[str, str]:
    """What `from_pretrained` is told of attention; nothing where the library chooses."""
    return {"attn_implementation": config.attention} if config.attention in ("sdpa", "eager") else {}


def first_policy(config: RunConfig, ranks: Ranks, *, path: str | None = None, masters: bool = False) -> Policy | None:
    """`load_policy` into host memory on the first rank, None on the others, which hear of its failure. All ranks call it."""
    held: list[Policy] = []
    host = torch.device("cpu")
    ranks.decide(lambda: held.append(load_policy(config, path=path, masters=masters, device=host)))
    return held[0] if held else None


def empty_policy(config: RunConfig) -> Policy:
    """The policy of `config` in shapes alone: weights take no memory, buffers are as they will be."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = AutoConfig.from_pretrained(locate(config.model.path))
    with init_empty_weights():
        model: Any = AutoModelForCausalLM.from_config(settings)
    model.tie_weights()  # each of two names got a shape of its own
    learner, sampling = config.learner, config.sampling
    return Policy(model, temperature=sampling.temperature, logit_elements=learner.logit_elements).eval()


def frozen_store(config: RunConfig) -> Replicated:
    """The policy of `config`, not trained, whole in this process."""
    return Replicated(load_policy(config).requires_grad_(False), dtype=getattr(torch, config.model.dtype))


def open_other(config: RunConfig, path: str, ranks: Ranks) -> Replicated:
    """Another model than the policy, not trained, whole on every rank; at the run's precision and sampling temperature."""
    policy = load_policy(config, path=path).requires_grad_(False)
    if config.learner.packing:
        check_packing(policy, path)
    return Replicated(policy, dtype=getattr(torch, config.model.dtype), ranks=ranks)


def open_store(config: RunConfig, ranks: Ranks, optimizer: MakeOptimizer | None) -> WeightStore:
    """The policy of `config` in the store of its settings; masters of what is trained are read in full precision. All ranks call it.

    Weights that lie in pieces are loaded by the first rank, into its host's memory, and told to the others one by one.
    """
    device, dtype = pick_device(config.model), getattr(torch, config.model.dtype)
    if config.lora.rank and optimizer is not None:
        return Adapted(load_adapted(config), optimizer=optimizer, ranks=ranks)
    holding = partial(hold, settings=config.learner, ranks=ranks, optimizer=optimizer, dtype=dtype, device=device)
    masters = optimizer is not None
    if holds_whole(config.learner):
        return holding(load_policy(config, masters=masters))
    first = first_policy(config, ranks, masters=masters)
    store = holding(empty_policy(config))
    store.take(first)
    return store


def check_lora(config: RunConfig) -> None:
    """Refuse, before weights are loaded, adapters that could not be put in. ConfigError."""
    if not config.lora.rank:
        return
    if find_spec("peft") is None:
        raise ConfigError(
            f"lora.rank is {config.lora.rank}, but peft is not installed, and adapters are its. "
            "Install it with `pip install 'rlzoo[lora]'`, or set lora.rank=0."
        )
    if config.learner.shard != "none":
        raise ConfigError(
            f"lora.rank is {config.lora.rank} and learner.shard is {config.learner.shard!r}, but adapters and what lies below them are held whole "
            "on every rank. Set learner.shard=none, or lora.rank=0."
        )
    chosen(shape_of(config.model.path), config.lora.targets)


def load_adapted(config: RunConfig) -> AdaptedPolicy:
    """The policy of `config` as it is computed with, and the run's adapters over it."""
    policy = load_policy(config).to(getattr(torch, config.model.dtype))
    return adapted(policy, config.lora, base=locate(config.model.path), seed=config.seed)


def restore(store: WeightStore, config: RunConfig, ranks: Ranks, folder: Path) -> None:
    """Take over the weights of a run's checkpoint: those that it trains. All ranks call it."""
    if isinstance(store, Adapted):
        store.policy.read(folder)
    else:
        store.take(first_policy(config, ranks, path=str(folder)))


def weights_hash(policy: Policy) -> str:
    """A fingerprint of all weights that a run starts from, by name, shape and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(policy.plain().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def tokenizer_hash(tokenizer: Any) -> str:
    """A fingerprint of vocabulary, merges and chat template."""
    inner = getattr(tokenizer, "backend_tokenizer", None)
    text = inner.to_str() if inner is not None else repr(sorted(tokenizer.get_vocab().items()))
    return hashlib.sha256((text + (tokenizer.chat_template or "")).encode()).hexdigest()[:16]


@torch.no_grad()
def _jitter(model: Any, scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter.dtype), alpha=scale)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
