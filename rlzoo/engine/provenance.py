"""Where a run's numbers come from: code, versions, machine, and fingerprints of all that its arms must share."""

from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import rlzoo
from rlzoo.anchoring import without_places
from rlzoo.config import RunConfig
from rlzoo.data.source import ProblemSource, digest
from rlzoo.engine.isolation import Isolation
from rlzoo.engine.model.loading import tokenizer_hash, weights_hash
from rlzoo.engine.model.policy import Policy
from rlzoo.engine.sources import source_files, used_verifiers
from rlzoo.engine.supply import Supply
from rlzoo.runs.folder import RunDir
from rlzoo.runs.identity import Provenance, RunCode, Stretch, Surroundings, settings_digest, text_digest

LIBRARIES = (
    *("torch", "transformers", "tokenizers", "numpy", "pyarrow", "sympy", "math-verify", "reasoning-gym"),
    *("deepspeed", "peft"),
)
"""Those that can change a run's numbers; what samples is told apart."""
PACKAGES = ("rlzoo", "rlzoo.algorithms", "rlzoo.cli", "rlzoo.evals", "rlzoo.verifiers")
"""Packages whose folders lie apart in a checkout."""


def begin(
    run: RunDir,
    config: RunConfig,
    policy: Policy,
    tokenizer: Any,
    supply: Supply,
    *,
    backend: str,
    world: int,
    sandbox: Isolation | None,
    verdicts: Mapping[str, Mapping[str, Any]],
    others: Mapping[str, str],
) -> None:
    """Record what a run begins with, and keep the code that decides it."""
    code, within = code_of(config, supply), surroundings(policy.device, world)
    run.keep_code(code)
    run.write_provenance(
        Provenance(
            rlzoo=code.rlzoo,
            code=code.digest,
            python=within.python,
            libraries=within.libraries,
            machine=within.machine,
            device=within.device,
            sampler=backend,
            initial_weights=weights_hash(policy),
            parameters=policy.num_parameters,
            tokenizer=tokenizer_hash(tokenizer),
            data=data_fingerprint(supply.training),
            order=digest(config.seed, without_places(config.model_dump(mode="json"))["data"]),
            verifiers=_verifiers(code),
            verdicts=verdicts,
            sandbox=str(sandbox) if sandbox else None,
            settings=settings_digest(config.model_dump(mode="json")),
            others=others,
            ran=(_stretch(code, 0, within, config.budget.limits()),),
        )
    )


def resume(run: RunDir, config: RunConfig, supply: Supply, step: int, within: Surroundings) -> list[str]:
    """Record what the steps after `step` run with; where it differs from that of the steps before, in words."""
    before = run.provenance()
    if before is None:
        return ["its provenance.json is gone, so no comparison will take it for what it is."]
    code = code_of(config, supply)
    run.keep_code(code)
    kept = tuple(stretch for stretch in before.ran if stretch.after_step < step)
    here = _stretch(code, step, within, config.budget.limits())
    settings = settings_digest(config.model_dump(mode="json"))
    run.write_provenance(replace(before, settings=settings, ran=(*kept, here)))
    changes = run.changes(kept[-1], code) if kept else []
    moved = next((stretch.within for stretch in reversed(kept) if stretch.within is not None), before.begun)
    budgets = [stretch.budget for stretch in kept[-1:] if stretch.budget is not None]
    return [
        *(
            f"its budget was {_limits(earlier)} up to step {step} and is {_limits(here.budget or {})} from there on."
            for earlier in budgets
            if earlier != here.budget
        ),
        *(f"its code has changed since step {step} was made, and comparisons will say so: {line}" for line in changes),
        *(
            f"it goes on in other surroundings than step {step} was made in, and comparisons will say so: {line}"
            for line in moved.changes(within)
        ),
    ]


def _limits(budget: Mapping[str, float]) -> str:
    return ", ".join(f"{axis} = {limit:g}" for axis, limit in budget.items())


def _stretch(code: RunCode, after_step: int, within: Surroundings, limits: Mapping[str, float]) -> Stretch:
    """The steps from now on, with what a reader wants to know of them and no result depends on."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return replace(code.stretch(after_step, within, limits), at=now, revision=revision(), cores=os.cpu_count())


@cache
def revision() -> str:
    """The commit that this package's files are of, with `-dirty` where the checkout was edited since; empty where git tracks none."""
    here = Path(__file__).resolve()
    git, quietly = ["git", "-C", str(here.parent)], {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        for wanted in (["ls-files", "--error-unmatch", here.name], ["describe", "--always", "--dirty", "--exclude=*"]):
            done = subprocess.run([*git, *wanted], env=quietly, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def surroundings(device: torch.device, world: int) -> Surroundings:
    """What this process runs in."""
    return Surroundings(
        python=platform.python_version(),
        libraries={name: _version(name) for name in LIBRARIES},
        machine={
            "cpu": _cpu(),
            "threads": torch.get_num_threads(),
            "ranks": world,
            "capability": torch.backends.cpu.get_cpu_capability(),
        },
        device=str(device) if device.type == "cpu" else torch.cuda.get_device_name(device),
    )


def code_of(config: RunConfig, supply: Supply) -> RunCode:
    """The code that a run of these settings would be carried out with."""
    return RunCode(rlzoo=rlzoo.__version__, package=package_files(), sources=source_files(config, supply.every))


@cache
def package_files() -> Mapping[str, str]:
    """Digest of each Python file of this package, by its path in it, wherever its folders lie."""
    found = {}
    for package in PACKAGES:
        below = package.split(".")[1:]
        for root in map(Path, importlib.import_module(package).__path__):
            for file in root.rglob("*.py"):
                path = "/".join([*below, *file.relative_to(root).parts])
                found[path] = text_digest(file.read_text(encoding="utf-8"))
    return dict(sorted(found.items()))


def data_fingerprint(sources: Sequence[ProblemSource]) -> str:
    return digest([(source.name, source.fingerprint()) for source in sources])


def _verifiers(code: RunCode) -> str:
    """A fingerprint of all that verdicts depend on: the package of verifiers, and the run's verifiers from outside."""
    ours = {path: found for path, found in code.package.items() if path.startswith("verifiers/")}
    others = {source.name: source.digest for source in code.sources if source.role == "verifier"}
    return text_digest(json.dumps([ours, others], sort_keys=True))


def _version(library: str) -> str | None:
    """The installed version; None for an extra that is not installed."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def verdict_rules(config: RunConfig, sources: Sequence[ProblemSource]) -> dict[str, dict[str, Any]]:
    """The version and settings of each verifier that judges problems of these sources."""
    used = used_verifiers(config, sources)
    return {name: {"version": one.version, **one.config.model_dump(mode="json")} for name, one in used.items()}


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
