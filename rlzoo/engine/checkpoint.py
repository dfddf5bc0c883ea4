"""Checkpoints: a plain `save_pretrained` folder with a `trainer/` folder in it, whole or absent, checked when read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from rlzoo.engine.model.policy import Policy
from rlzoo.errors import CheckpointError
from rlzoo.runs import durable, repair
from rlzoo.runs.folder import RunDir

MANIFEST = "trainer/manifest.json"
RECORDS = "trainer/records"


def save(
    run: RunDir,
    step: int,
    policy: Policy,
    tokenizer: Any,
    state: Mapping[str, Any],
    known: Mapping[str, str],
    before: Path | None = None,
) -> dict[str, str]:
    """Write the checkpoint of `step`. It appears under its name only when every byte of it is on disk.

    `known`: digests of the run's files of steps that were taken before; those of all are returned. `before`: the records that the
    checkpoint before holds.
    """
    target = run.checkpoint(step)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    durable.make_folder(partial / "trainer")
    try:
        policy.save(partial)
        tokenizer.save_pretrained(partial)
        torch.save(dict(state), partial / "trainer" / "state.pt")
        digests = repair.keep(run, partial / RECORDS, known, before)
        files = {
            str(file.relative_to(partial)): repair.digest(file) for file in sorted(partial.rglob("*")) if file.is_file()
        }
        (partial / MANIFEST).write_text(json.dumps({"step": step, "files": files}, indent=1), encoding="utf-8")
        durable.sync_tree(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if target.exists():
        durable.remove_tree(target)
    os.replace(partial, target)
    durable.sync(target.parent)
    shutil.rmtree(_aside(target), ignore_errors=True)
    return digests


def newest(run: RunDir) -> tuple[int, list[str]]:
    """The step of the newest checkpoint that is whole, 0 if there never was one; and what is to be said of damaged ones.

    Damaged ones are set aside, so that nothing counts them any more. CheckpointError if there are some and all are damaged.
    """
    steps = run.checkpoint_steps()
    faults = {step: fault for step in steps if (fault := _fault(run.checkpoint(step))) is not None}
    whole = [step for step in steps if step not in faults]
    if steps and not whole:
        told = "; ".join(f"{run.checkpoint(step).name}: {fault}" for step, fault in faults.items())
        raise CheckpointError(
            f"all checkpoints of {run.path} are damaged ({told}). Start again with --overwrite, or restore one from elsewhere."
        )
    for step in faults:
        folder = run.checkpoint(step)
        shutil.rmtree(_aside(folder), ignore_errors=True)
        os.replace(folder, _aside(folder))
    if faults:
        durable.sync(run.checkpoints)
    return max(whole, default=0), [
        f"checkpoint {run.checkpoint(step).name} is damaged ({fault}); "
        + (f"falling back to {run.checkpoint(whole[-1]).name}." if step > whole[-1] else "it counts no longer.")
        for step, fault in faults.items()
    ]


def load_state(folder: Path) -> dict[str, Any]:
    """The trainer's state of a checkpoint that is whole."""
    state: dict[str, Any] = torch.load(folder / "trainer" / "state.pt", map_location="cpu", weights_only=True)
    return state


def owed(run: RunDir) -> frozenset[int]:
    """Steps whose checkpoint was found damaged: to be written again when they come again."""
    found = run.checkpoints.glob(".step-*.damaged")
    return frozenset(int(path.name.split(".")[1].removeprefix("step-")) for path in found)


def prune(run: RunDir, keep_last: int, keep: int | None) -> None:
    """Delete all but the newest `keep_last` checkpoints and the one of step `keep`, and what older writers left unfinished."""
    steps = run.checkpoint_steps()
    for step in steps[:-keep_last]:
        if step != keep:
            durable.remove_tree(run.checkpoint(step))
    for left in (*run.checkpoints.glob(".step-*.old"), *run.checkpoints.glob(".step-*.partial")):
        shutil.rmtree(left)
    for step in owed(run):
        if step < steps[-1]:  # it will not come again
            shutil.rmtree(_aside(run.checkpoint(step)))


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.damaged")


def _fault(folder: Path) -> str | None:
    """What is wrong with a checkpoint folder, or None."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        for name, digest in manifest["files"].items():
            if not (folder / name).is_file():
                return f"{name} is missing"
            if repair.digest(folder / name) != digest:
                return f"{name} is not what was written"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "its manifest cannot be read"
    return None
