"""What `accelerate launch` was told, as defaults of a run: its launcher puts its own configuration into the environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlzoo.cli import plain
from rlzoo.errors import UsageError

DTYPES = {"bf16": "bfloat16"}
"""Of its mixed precisions; `no` leaves ours as it is, since it means as much as nothing was chosen."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Settings of ours by path, and what cannot be had here, in words."""

    settings: Mapping[str, Any]
    left: tuple[str, ...] = ()

    def nested(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for path, value in self.settings.items():
            section, _, name = path.partition(".")
            found.setdefault(section, {})[name] = value
        return found

    def beside(self, given: Mapping[str, Any]) -> Taken:
        """Without what the command or its file of settings says; a shard that is given takes its offload along."""
        sections = {name: section for name, section in given.items() if isinstance(section, Mapping)}
        rest = {
            path: value
            for path, value in self.settings.items()
            if path.partition(".")[2] not in sections.get(path.partition(".")[0], {})
        }
        if "learner.shard" not in rest:
            rest.pop("learner.offload", None)
        return Taken(rest, self.left)

    def tell(self) -> None:
        """One line, where there is anything to say."""
        said = ", ".join(f"{path}={str(value).lower()}" for path, value in self.settings.items())
        left = f" Left out: {'; '.join(self.left)}." if self.left else ""
        if said or left:
            plain.say(
                f"from accelerate's configuration: {said or 'nothing'}.{left} --set and --config win.", label="note"
            )


def taken(environment: Mapping[str, str]) -> Taken:
    """What the environment that accelerate's launcher made asks for; nothing without that launcher."""
    precision = environment.get("ACCELERATE_MIXED_PRECISION")
    if precision is None:
        return Taken({})
    settings: dict[str, Any] = {}
    left = []
    if precision in DTYPES:
        settings["model.dtype"] = DTYPES[precision]
    elif precision != "no":
        left.append(f"mixed precision {precision}, in which nothing is computed here")
    if _is_true(environment, "ACCELERATE_USE_FSDP"):
        settings |= _fsdp(environment)
    elif _is_true(environment, "ACCELERATE_USE_DEEPSPEED"):
        settings |= _deepspeed(environment)
    elif _is_true(environment, "ACCELERATE_USE_MEGATRON_LM"):
        left.append("Megatron-LM, which cuts up models that are written for it")
    return Taken(settings, tuple(left))


def _fsdp(environment: Mapping[str, str]) -> dict[str, Any]:
    if environment.get("FSDP_SHARDING_STRATEGY") in ("NO_SHARD", "3"):
        return {"learner.shard": "none"}
    offload = {"learner.offload": True} if _is_true(environment, "FSDP_OFFLOAD_PARAMS") else {}
    return {"learner.shard": "fsdp2", **offload}


def _deepspeed(environment: Mapping[str, str]) -> dict[str, Any]:
    file = environment.get("ACCELERATE_DEEPSPEED_CONFIG_FILE")
    zero = _zero_of(Path(file)) if file and file.lower() != "none" else {}
    stage = str(zero.get("stage", environment.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")))  # 2 is accelerate's own
    if stage not in ("0", "1", "2", "3"):
        raise UsageError(
            f"accelerate's configuration asks for DeepSpeed's ZeRO stage {stage!r}, but there are 0 to 3. Change zero_stage there."
        )
    if stage == "0":
        return {"learner.shard": "none"}
    kinds = ("OPTIMIZER", "PARAM")
    devices = [environment.get(f"ACCELERATE_DEEPSPEED_OFFLOAD_{kind}_DEVICE", "none") for kind in kinds]
    sections = [zero.get(name) for name in ("offload_optimizer", "offload_param")]
    devices += [str(section.get("device", "none")) for section in sections if isinstance(section, Mapping)]
    offload = {"learner.offload": True} if {"cpu", "nvme"} & set(devices) else {}
    return {"learner.shard": f"zero{stage}", **offload}


def _zero_of(file: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        zero = data.get("zero_optimization", {}) if isinstance(data, Mapping) else None
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the DeepSpeed configuration {file} that accelerate names cannot be read: {error}. Give a JSON file there."
        ) from error
    if not isinstance(zero, Mapping):
        raise UsageError(
            f"the DeepSpeed configuration {file} that accelerate names holds no section zero_optimization. Write one there."
        )
    return zero


def _is_true(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "false").lower() in ("1", "true", "yes")


# ---------------------------------------------------------------------------------------------------------
# The launcher itself


def check_lone() -> None:
    """Refuse to be the one process of several: on a CPU, `accelerate launch --num_processes N` starts one and says nothing of it; nor
    does the environment."""
    if "WORLD_SIZE" in os.environ:
        return
    asked = processes_asked(_command_of(os.getppid()))
    if asked > 1:
        raise UsageError(
            f"accelerate launch was asked for {asked} processes and has started one: on a CPU it starts no others. "
            f"Use `rlzoo train --nproc {asked} ...` or torchrun."
        )


def processes_asked(command: list[str]) -> int:
    """The processes that an `accelerate launch` is to start, by its words or its file; 0 for any other command."""
    names = [Path(word).name for word in command[:4]]
    by_module = any(word.startswith("accelerate.commands") for word in command[:4])
    if not by_module and "accelerate-launch" not in names and not _in_order(names, "accelerate", "launch"):
        return 0
    words = _option(command, "num_processes")
    if words is None:
        words = str(_settings_of(_option(command, "config_file"), on_cpu="--cpu" in command).get("num_processes", 0))
    return int(words) if words.isdecimal() else 0


def _in_order(names: list[str], one: str, other: str) -> bool:
    return one in names and other in names[names.index(one) :]


def _option(command: list[str], name: str) -> str | None:
    for word, after in zip(command, [*command[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        if option.startswith("--") and option[2:].replace("-", "_") == name:
            return value if equals else after
    return None


def _settings_of(file: str | None, *, on_cpu: bool) -> Mapping[str, Any]:
    """Of accelerate's file: the one named, or its default where it looks there."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser() / "accelerate"
    candidates = (
        [Path(file)] if file else [] if on_cpu else [home / "default_config.yaml", home / "default_config.json"]
    )
    for path in candidates:
        import yaml

        with suppress(OSError, ValueError, yaml.YAMLError):
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
            return data if isinstance(data, Mapping) else {}
    return {}


def _command_of(pid: int) -> list[str]:
    try:
        return [
            word.decode(errors="replace") for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") if word
        ]
    except OSError:
        return []
